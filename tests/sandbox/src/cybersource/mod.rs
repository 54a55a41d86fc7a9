//! Cybersource as a deterministic state machine: the REST payments, search, Decision Manager, customers, reports
//! and webhooks, as far as a merchant's card payments need them.
//!
//! Facts and their sources are in `reference/cybersource.md`; what goes beyond it is marked `[assumed]` here. Nothing of
//! this was compared with the live service.
//!
//! One request goes through `gate` (outage, credentials, rate, faults, body) and reaches its handler through `ops`. No clock
//! and no randomness: time comes in with each call, ids from a seed and a count.
//!
//! # What becomes of a payment
//! A payment is approved unless its token or its amount says otherwise. Tokens stand wherever an id of the vault may
//! (customer, payment instrument, instrument identifier, legacy token, transient token) and may end in anything that
//! makes them unique: `tok_partial_7`. A transient token may be a JWT with one as `jti`, good until its `exp`. Amounts are whole major units in any currency: 4001.00 USD, 4001 JPY.
//!
//! | amount | token | answer |
//! |---|---|---|
//! | any other | `tok_visa`, `tok_mastercard`, `tok_amex` | 201 AUTHORIZED |
//! | 4001 | `tok_insufficient` | 201 DECLINED, INSUFFICIENT_FUND |
//! | 4002 | `tok_expired` | 201 DECLINED, EXPIRED_CARD |
//! | 4003 | `tok_stolen` | 201 DECLINED, STOLEN_LOST_CARD |
//! | 4004 | `tok_declined` | 201 DECLINED, PROCESSOR_DECLINED |
//! | 4005 | `tok_issuer` | 201 DECLINED, ISSUER_UNAVAILABLE |
//! | 4006 | `tok_cvn` | 201 DECLINED, CVN_NOT_MATCH |
//! | 4007 | `tok_limit` | 201 DECLINED, EXCEEDS_CREDIT_LIMIT |
//! | 4010, 4011, 4012 | `tok_avs`, `tok_cv`, `tok_contact` | 201 AUTHORIZED_PENDING_REVIEW, AVS_FAILED, CV_FAILED, CONTACT_PROCESSOR |
//! | 4020 | `tok_partial` | 201 PARTIAL_AUTHORIZED: three fifths |
//! | 4030 | `tok_invalid` | 201 INVALID_REQUEST |
//! | 4031 | `tok_unavailable` | 400 PROCESSOR_UNAVAILABLE, nothing kept |
//! | 4032, 4033 | `tok_badcard`, `tok_noaccept` | 400 INVALID_CARD, CARD_TYPE_NOT_ACCEPTED |
//! | 4040, 4042 | `tok_timeout`, `tok_service` | 502 SERVER_TIMEOUT, SERVICE_TIMEOUT: **carried out** |
//! | 4041 | `tok_system` | 502 SYSTEM_ERROR: not carried out |
//! | 4050 | `tok_unheard` | 201 with a status nobody has seen before; reserved |
//! | 4060 | `tok_challenge` | 201 PENDING_AUTHENTICATION, nothing reserved |
//! | 4070 | `tok_pending` | 201 PENDING_REVIEW, nothing reserved |
//! | refund of 4101 | `tok_refunddeclined` | refunds: 201 DECLINED |
//! | refund of 4102 | `tok_refundfails` | refunds: PENDING, and FAILED after the batch |
//!
//! Decision Manager looks at what the issuer approved ([`RiskRule::usual`]; others can be set):
//!
//! | what | answer |
//! |---|---|
//! | 5000 or more, in major units (JPY 500000) | AUTHORIZED_PENDING_REVIEW |
//! | 10000 or more (JPY 1000000) | AUTHORIZED_RISK_DECLINED |
//! | an address or e-mail with `review` in it as a word | AUTHORIZED_PENDING_REVIEW |
//! | an address or e-mail with `reject` in it as a word | AUTHORIZED_RISK_DECLINED |
//! | the IP address 198.51.100.66 | AUTHORIZED_RISK_DECLINED |
//! | the device session `visit-66`, a line of 100 pieces or more, or of the product `GIFTCARD` | AUTHORIZED_PENDING_REVIEW |
//!
//! `POST /risk/v1/decisions` asks the same rules and no bank: ACCEPTED, PENDING_REVIEW, REJECTED.
//! A sale that is held for review is not captured. `DECISION_SKIP` in `actionList` leaves the rules out.
//!
//! An account may have several merchant ids ([`CybersourceConfig::merchants`]): each has its key and its [`Manner`], and sees
//! its own transactions alone. Webhooks bear the first one's name, whoever they are about. \[assumed\]
//!
//! # Subscriptions
//! Webhooks go out from the start, as if their subscriptions had been approved. With [`WebhookConfig::health`] they live as
//! the provider's do: nothing before the address answered a health check (GET, then empty POST, in turns) with 200; suspended
//! where the retries of a delivery end, and what comes waits until it answers again. The review of an address by people,
//! BLOCKED, and subscriptions made and changed by API are not modelled.
//!
//! # Guesses
//! Reasons the sources do not settle: capturing an expired, declined or risk-declined authorization is `MISSING_AUTH`;
//! refunding more than was captured is `INVALID_AMOUNT`; an unknown payment in a path is `INVALID_PAYMENT_ID`; an unknown
//! merchant transaction id is `INVALID_DATA`; reversing where something is captured is `TRANSACTION_ALREADY_SETTLED`.

mod auth;
mod batch_detail;
mod body;
mod chain;
mod config;
mod controls;
mod details;
mod errors;
mod events;
mod fees;
mod gate;
mod ids;
mod jwe;
mod magic;
mod model;
mod ops;
mod payments;
mod refunds;
mod reports;
mod risk;
mod rules;
mod screening;
mod search;
mod settle;
mod source;
#[cfg(test)]
mod tests;
mod truth;
mod undo;
mod vault;
mod webhooks;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use tillway_core::time::Timestamp;

pub use auth::Credentials;
pub use config::{Counters, CybersourceConfig, Duplicates, Manner, Merchant};
pub use controls::{Decision, ShopPayment};
pub use errors::{ApiError, Refusal};
pub use events::Told;
pub use fees::DetailsFault;
pub use jwe::{Encryption, Seeded};
pub use model::Kind;
pub use risk::{RiskRule, RiskTest};
pub use truth::{OrderTruth, PaymentTruth, TransactionTruth};
pub use vault::CustomerTruth;
pub use webhooks::{Envelope, RetryPolicy, SignedOver, Standing, WebhookConfig, forge, sign};

use crate::{ApiFaultRule, Delivery, HookFaultRule, Reply, Sandbox};
use ids::{Ids, Row};
use model::{Batch, Chargeback, Conversion, Tx};

/// Things that happen by time alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    ExpireAuthorization(Row),
    CutOff,
    Transmit(Row),
}

/// The sandbox.
pub struct CybersourceSandbox {
    config: CybersourceConfig,
    ids: Ids,
    now: Timestamp,
    txs: Vec<Tx>,
    /// Rows of each chain, by its root.
    chains: HashMap<Row, Vec<Row>>,
    by_code: BTreeMap<Arc<str>, Vec<Row>>,
    /// By merchant id and the transaction id it gave.
    by_merchant_id: HashMap<(usize, Arc<str>), Row>,
    /// Place of the merchant id that calls.
    caller: usize,
    /// Captures and refunds that no batch holds yet.
    pending: Vec<Row>,
    batches: Vec<Batch>,
    chargebacks: Vec<Chargeback>,
    conversions: Vec<Conversion>,
    vault: vault::Vault,
    searches: usize,
    timers: BinaryHeap<Reverse<(i64, u64, Timer)>>,
    timer_serial: u64,
    hooks: webhooks::Hooks,
    told: Vec<Told>,
    gate: gate::Gate,
    counters: Counters,
}

impl std::fmt::Debug for CybersourceSandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CybersourceSandbox")
            .field("transactions", &self.txs.len())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl CybersourceSandbox {
    /// An empty account.
    #[must_use]
    pub fn new(config: CybersourceConfig) -> Self {
        Self {
            ids: Ids::new(config.seed),
            config,
            now: Timestamp(0),
            txs: Vec::new(),
            chains: HashMap::new(),
            by_code: BTreeMap::new(),
            by_merchant_id: HashMap::new(),
            caller: 0,
            pending: Vec::new(),
            batches: Vec::new(),
            chargebacks: Vec::new(),
            conversions: Vec::new(),
            vault: vault::Vault::default(),
            searches: 0,
            timers: BinaryHeap::new(),
            timer_serial: 0,
            hooks: webhooks::Hooks::default(),
            told: Vec::new(),
            gate: gate::Gate::default(),
            counters: Counters::default(),
        }
    }

    /// How it is set up; may be changed while it runs.
    pub const fn config_mut(&mut self) -> &mut CybersourceConfig {
        &mut self.config
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn set_timer(&mut self, at: Timestamp, timer: Timer) {
        self.timer_serial += 1;
        self.timers.push(Reverse((at.0, self.timer_serial, timer)));
    }

    fn stale(&self, timer: Timer) -> bool {
        match timer {
            Timer::ExpireAuthorization(row) => self.payment(row).is_none_or(|p| p.held() == 0),
            Timer::CutOff => self.pending.is_empty(),
            Timer::Transmit(_) => false,
        }
    }

    /// Runs what fell due, in order, and sets the time.
    fn tick(&mut self, now: Timestamp) {
        while let Some(Reverse((due, _, timer))) = self.timers.peek().copied() {
            let stale = self.stale(timer);
            if !stale && due > now.0 {
                break;
            }
            self.timers.pop();
            if !stale {
                self.now = self.now.max(Timestamp(due));
                self.fire(timer);
            }
        }
        self.now = self.now.max(now);
        self.gate.prune(self.now);
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::ExpireAuthorization(row) => self.expire(row),
            Timer::CutOff => self.batch(),
            Timer::Transmit(batch) => self.transmit(batch),
        }
    }
}

impl Sandbox for CybersourceSandbox {
    fn handle(&mut self, now: Timestamp, request: &tillway_core::http::Request) -> Reply {
        self.tick(now);
        self.answer(request)
    }
    fn arrived(&mut self, at: Timestamp) {
        self.gate.arrived = Some(at);
    }
    fn advance(&mut self, now: Timestamp) {
        self.tick(now);
    }
    fn take_deliveries(&mut self, now: Timestamp) -> Vec<Delivery> {
        self.tick(now);
        self.due_deliveries()
    }
    fn delivered(&mut self, now: Timestamp, id: u64, status: Option<u16>) {
        self.tick(now);
        self.settle_delivery(id, status);
    }
    fn in_flight(&self) -> usize {
        self.hooks.in_flight()
    }
    fn next_due(&self) -> Option<Timestamp> {
        let live = self.timers.iter().filter(|Reverse((_, _, t))| !self.stale(*t));
        let timer = live.map(|Reverse((due, _, _))| *due).min();
        [timer, self.hooks.next_due()].into_iter().flatten().min().map(Timestamp)
    }
    fn inject(&mut self, rule: ApiFaultRule) {
        self.gate.faults.inject(rule);
    }
    fn inject_hook(&mut self, rule: HookFaultRule) {
        self.hooks.faults.inject(rule);
    }
    fn down_until(&mut self, until: Timestamp) {
        self.gate.down_until = until;
    }
}
