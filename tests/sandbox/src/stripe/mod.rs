//! Stripe as a deterministic state machine: API version `2026-10-28.endive`, form-encoded v1 calls, events
//! and webhooks, as far as a merchant's payments need them.
//!
//! Facts and their sources are in `reference/stripe.md`; what is taken from memory there, or goes beyond
//! it, is marked `[from memory]` here. Nothing of this was compared with the live service.
//!
//! One request goes through `gate` (credentials, version, faults, idempotency keys), is checked against
//! the tables in `params`, and reaches its handler through `ops`. Handlers change rows and call `emit`;
//! `webhooks` queues the event for its topic. No clock and no randomness: time comes in with each call.

mod attempt;
mod capture;
mod controls;
mod currency;
mod customers;
mod disputes;
mod endpoints;
mod errors;
mod events;
mod form;
mod gate;
mod ids;
mod json;
mod ledger;
mod list;
mod model;
mod ops;
mod params;
mod payments;
mod payouts;
mod refunds;
mod render;
mod render_charge;
mod reviews;
mod schema;
mod search;
#[cfg(test)]
mod tests;
mod tokens;
mod truth;
mod webhooks;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::{Arc, OnceLock};

use tillway_core::time::{Millis, Timestamp};

pub use controls::{ReviewVerdict, ShopPayment};
pub use errors::{ApiError, Refusal};
pub use model::PaymentStatus;
pub use payouts::Schedule;
pub use truth::PaymentTruth;
pub use webhooks::{forge, sign, sign_all};

use crate::{ApiFaultRule, Delivery, HookFaultRule, Reply, Sandbox};
use ids::{Ids, Row};
use model::{Charge, Customer, Dispute, Endpoint, Payment, Payout, Refund, Review, Source, Table, Txn};

/// The API version this sandbox speaks and demands.
pub const API_VERSION: &str = "2026-10-28.endive";

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct StripeConfig {
    /// The secret (or restricted) key every call must carry.
    pub api_key: String,
    /// Webhooks are signed with each of them.
    pub webhook_secrets: Vec<String>,
    /// Ids are drawn from it.
    pub seed: u64,
    /// What objects and events say about themselves.
    pub livemode: bool,
    /// The version calls must name.
    pub api_version: String,
    /// Event type patterns (`charge.dispute.*`) and the topic they are delivered to; the first that fits
    /// counts. An event that fits none is stored and not delivered.
    pub endpoint_topics: Vec<(String, String)>,
    /// Requests per second before 429; none where `None`.
    pub rate_limit: Option<u32>,
    /// How long events can be listed.
    pub event_retention: Millis,
    /// Whether confirming without `return_url` is refused where redirects are possible.
    pub require_return_url: bool,
    /// Whether a released remainder (cancel, expiry, partial capture) shows up in `charge.amount_refunded`
    /// and sends `charge.refunded`, as the real service is remembered to do. Off: money released was
    /// never taken, and `charge.refunded` speaks of refunds only.
    pub release_marks_refunded: bool,
    /// Whether a partial capture is booked as the full charge and a `partial_capture_reversal` row
    /// (reference section 4), or as what was captured.
    pub partial_capture_reversal: bool,
    /// How long the balance transaction of an `automatic_async` charge is missing.
    pub async_settlement: Millis,
    /// How long a refund of a `pendingRefund` or `refundFail` card takes to change its mind.
    pub refund_delay: Millis,
    /// Refunds of every card stay pending this long; they succeed at once where `None`.
    pub refunds_pending: Option<Millis>,
    /// Payouts made every day; by hand alone where `None`.
    pub payouts: Option<Schedule>,
    /// Currencies that are settled in another one: what, in what, and ten thousandths of that for one.
    pub converts: Vec<(String, String, i64)>,
}

impl StripeConfig {
    /// A test-mode account with the usual topics.
    #[must_use]
    pub fn new(api_key: impl Into<String>, webhook_secret: impl Into<String>, seed: u64) -> Self {
        let topics = [
            ("payment_intent.*", "payments"),
            ("charge.dispute.*", "disputes"),
            ("charge.refunded", "refunds"),
            ("charge.refund.*", "refunds"),
            ("charge.*", "payments"),
            ("review.*", "payments"),
            ("radar.*", "payments"),
            ("refund.*", "refunds"),
            ("customer.subscription.*", "billing"),
            ("invoice.*", "billing"),
            ("customer.*", "customers"),
            ("payout.*", "payouts"),
        ];
        Self {
            api_key: api_key.into(),
            webhook_secrets: vec![webhook_secret.into()],
            seed,
            livemode: false,
            api_version: API_VERSION.into(),
            endpoint_topics: topics.iter().map(|(p, t)| ((*p).into(), (*t).into())).collect(),
            rate_limit: None,
            event_retention: Millis::days(30),
            require_return_url: true,
            release_marks_refunded: false,
            partial_capture_reversal: true,
            async_settlement: Millis::secs(2),
            refund_delay: Millis::secs(60),
            refunds_pending: None,
            payouts: None,
            converts: Vec::new(),
        }
    }
}

/// What happened so far, for tests and the demo's page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests by operation (`POST /v1/payment_intents/{intent}/confirm`), replays included.
    pub requests: BTreeMap<&'static str, u64>,
    /// Refusals by status, before or after execution.
    pub refusals: BTreeMap<u16, u64>,
    /// API faults struck, by name.
    pub faults_struck: BTreeMap<&'static str, u64>,
    /// Webhook faults struck, by name.
    pub hook_faults_struck: BTreeMap<&'static str, u64>,
    /// Events emitted, by type.
    pub events_emitted: BTreeMap<String, u64>,
    /// Answers replayed from an idempotency key.
    pub replays: u64,
    /// Webhook deliveries handed out, retries and duplicates included.
    pub deliveries: u64,
    /// Webhook deliveries answered 2xx.
    pub deliveries_accepted: u64,
    /// Webhooks given up after three days.
    pub deliveries_given_up: u64,
}

/// Things that happen by time alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    ExpireAuthorization(Row),
    SettleCharge(Row),
    RefundSucceeds(Row),
    RefundFails(Row),
    OpenDispute(Row),
    CutOff,
    PutTogether(Row),
    Arrives(Row),
}

/// What belongs to a payment.
#[derive(Debug, Default)]
struct Links {
    charges: Vec<Row>,
    refunds: Vec<Row>,
    disputes: Vec<Row>,
    reviews: Vec<Row>,
    captures: u32,
}

#[derive(Debug, Default)]
struct Index {
    customers_by_email: HashMap<String, Vec<Row>>,
    customers_by_metadata: HashMap<String, Vec<Row>>,
    payments_by_metadata: HashMap<String, Vec<Row>>,
    payments_of: HashMap<Row, Vec<Row>>,
    charges_of: HashMap<Row, Vec<Row>>,
    txns_of: HashMap<Source, Vec<Row>>,
    txns_of_payout: HashMap<Row, Vec<Row>>,
    not_paid_out: Vec<Row>,
}

/// The sandbox.
pub struct StripeSandbox {
    config: StripeConfig,
    ids: Ids,
    schemas: Option<Arc<schema::Schemas>>,
    now: Timestamp,
    origin: Option<Arc<events::Origin>>,
    customers: Table<Customer>,
    payments: Table<Payment>,
    charges: Table<Charge>,
    refunds: Table<Refund>,
    disputes: Table<Dispute>,
    reviews: Table<Review>,
    txns: Table<Txn>,
    payouts: Table<Payout>,
    endpoints: Table<Endpoint>,
    links: Vec<Links>,
    index: Index,
    events: events::EventLog,
    timers: BinaryHeap<Reverse<(i64, u64, Timer)>>,
    timer_serial: u64,
    other_serial: usize,
    /// A cut-off is set.
    cut_off_waits: bool,
    hooks: webhooks::Hooks,
    gate: gate::Gate,
    counters: Counters,
}

impl std::fmt::Debug for StripeSandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StripeSandbox")
            .field("payments", &self.payments.len())
            .field("events", &self.events.len())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl StripeSandbox {
    /// An empty account.
    #[must_use]
    pub fn new(config: StripeConfig) -> Self {
        Self {
            ids: Ids::new(config.seed),
            config,
            schemas: None,
            now: Timestamp(0),
            origin: None,
            customers: Table::default(),
            payments: Table::default(),
            charges: Table::default(),
            refunds: Table::default(),
            disputes: Table::default(),
            reviews: Table::default(),
            txns: Table::default(),
            payouts: Table::default(),
            endpoints: Table::default(),
            links: Vec::new(),
            index: Index::default(),
            events: events::EventLog::default(),
            timers: BinaryHeap::new(),
            timer_serial: 0,
            other_serial: 0,
            cut_off_waits: false,
            hooks: webhooks::Hooks::default(),
            gate: gate::Gate::default(),
            counters: Counters::default(),
        }
    }

    /// The account's key is another one from now on.
    pub fn replace_key(&mut self, key: &str) {
        key.clone_into(&mut self.config.api_key);
    }
    /// Checks every call against the vendor's OpenAPI document as well.
    #[must_use]
    pub fn with_schema(mut self, openapi: &serde_json::Value) -> Self {
        self.schemas = Some(Arc::new(schema::Schemas::from_openapi(openapi)));
        self
    }

    /// Checks every call against the vendor's OpenAPI document where it lies beside the repository; it is
    /// read once.
    #[must_use]
    pub fn with_schema_beside(mut self) -> Self {
        static BESIDE: OnceLock<Option<Arc<schema::Schemas>>> = OnceLock::new();
        let read = || {
            let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read(here.join("../../../shared/spec/stripe/openapi.json")).ok()?;
            let document: serde_json::Value = serde_json::from_slice(&text).ok()?;
            Some(Arc::new(schema::Schemas::from_openapi(&document)))
        };
        self.schemas = BESIDE.get_or_init(read).clone();
        self
    }

    /// How it is set up; may be changed while it runs.
    pub fn config_mut(&mut self) -> &mut StripeConfig {
        self.hooks.forget_topics();
        &mut self.config
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Forgets events older than `before`, to bound memory; objects stay.
    pub fn forget_before(&mut self, before: Timestamp) {
        self.events.forget_before(before.unix());
    }

    fn set_timer(&mut self, at: Timestamp, timer: Timer) {
        self.timer_serial += 1;
        self.timers.push(Reverse((at.0, self.timer_serial, timer)));
    }

    fn stale(&self, timer: Timer) -> bool {
        match timer {
            Timer::ExpireAuthorization(row) => {
                self.payments.get(row).is_none_or(|p| p.status != PaymentStatus::RequiresCapture)
            }
            Timer::SettleCharge(row) => self.charges.get(row).is_none_or(|c| c.txn.is_some()),
            Timer::RefundSucceeds(row) => self.refunds.get(row).is_none_or(|r| r.status != "pending"),
            Timer::RefundFails(row) => {
                self.refunds.get(row).is_none_or(|r| matches!(r.status, "failed" | "canceled"))
            }
            Timer::OpenDispute(_) | Timer::CutOff | Timer::PutTogether(_) => false,
            Timer::Arrives(row) => self.payouts.get(row).is_none_or(|p| p.status != "in_transit"),
        }
    }

    /// Runs what fell due, in order, and sets the time.
    fn tick(&mut self, now: Timestamp) {
        self.origin = None;
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
        self.events.forget_before((self.now - self.config.event_retention).unix());
    }

    fn fire(&mut self, timer: Timer) {
        // A timer that is not stale concerns rows that exist; nothing else can be refused here.
        let _done = match timer {
            Timer::ExpireAuthorization(row) => self.expire(row),
            Timer::SettleCharge(row) => self.settle_async(row),
            Timer::RefundSucceeds(row) => self.refund_succeeds(row),
            Timer::RefundFails(row) => self.refund_fails(row, "expired_or_canceled_card"),
            Timer::OpenDispute(row) => self.dispute(row, None, "fraudulent").map(drop),
            Timer::CutOff => {
                self.cut_off();
                Ok(())
            }
            Timer::PutTogether(row) => {
                self.put_together(row);
                Ok(())
            }
            Timer::Arrives(row) => {
                self.arrives(row);
                Ok(())
            }
        };
    }
}

impl Sandbox for StripeSandbox {
    fn handle(&mut self, now: Timestamp, request: &tillway_core::http::Request) -> Reply {
        self.tick(now);
        let reply = self.answer(request);
        self.origin = None;
        reply
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
        let timer = match self.timers.peek() {
            Some(Reverse((_, _, timer))) if self.stale(*timer) => {
                let live = self.timers.iter().filter(|Reverse((_, _, t))| !self.stale(*t));
                live.map(|Reverse((due, _, _))| *due).min()
            }
            Some(Reverse((due, _, _))) => Some(*due),
            None => None,
        };
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
