//! How a sandbox is set up, and what it counts.

use std::collections::BTreeMap;

use tillway_core::time::{Millis, Timestamp};

use super::auth::Credentials;
use super::fees::DetailsFault;
use super::risk::RiskRule;
use super::webhooks::WebhookConfig;

/// Whether a second authorization under one reference is refused within the window (15 minutes at the provider, where
/// the account has it switched on).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// Never.
    Off,
    /// Where an earlier one reserved money or waits for a decision: a decline may be followed by another card.
    Approved,
    /// Always, declines included.
    Any,
}

/// How a merchant id does, besides what tokens and amounts say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// Approves.
    #[default]
    Usual,
    /// Declines so many of a thousand approvals with this reason, drawn from the seed.
    Declines {
        /// Of a thousand.
        permille: u64,
        /// `ISSUER_UNAVAILABLE` and the like.
        reason: &'static str,
    },
    /// 400 PROCESSOR_UNAVAILABLE to every payment: nothing is kept.
    Unavailable,
    /// 502 to every payment, which is not carried out.
    Broken,
    /// 400 INVALID_MERCHANT_CONFIGURATION to every payment.
    NotSetUp,
    /// 400 INVALID_MERCHANT_CONFIGURATION, naming the currency, to payments in this one; approves others.
    Without(&'static str),
    /// 400 PROCESSOR_UNAVAILABLE to every capture; approves.
    NoCaptures,
    /// 503 to every search and detail; approves.
    NoReads,
}

/// A further merchant id of the account. Transactions belong to their id; the token vault is shared.
#[derive(Debug, Clone)]
pub struct Merchant {
    /// What calls for it must be signed with.
    pub credentials: Credentials,
    /// How it does.
    pub manner: Manner,
}

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct CybersourceConfig {
    /// What every call must be signed with.
    pub credentials: Credentials,
    /// How the merchant id of these credentials does.
    pub manner: Manner,
    /// Further merchant ids of the account.
    pub merchants: Vec<Merchant>,
    /// Ids are drawn from it.
    pub seed: u64,
    /// Currencies the account takes.
    pub currencies: Vec<String>,
    /// Webhooks.
    pub webhooks: WebhookConfig,
    /// Duplicate references.
    pub duplicates: Duplicates,
    /// How long a reference counts for that.
    pub duplicate_window: Millis,
    /// How long `clientReferenceInformation.transactionId` cannot be used again.
    pub merchant_id_window: Millis,
    /// Whether Decision Manager looks at payments at all.
    pub decision_manager: bool,
    /// Its rules; of those that strike, the hardest counts.
    pub rules: Vec<RiskRule>,
    /// How long an authorization holds. \[assumed; the provider names no end\]
    pub hold: Millis,
    /// How long a transaction is missing from searches. \[assumed\]
    pub search_lag: Millis,
    /// How long its detail is a 404. \[assumed\]
    pub detail_lag: Millis,
    /// Whether a search for a reference also finds references that begin with it and a dash: a query matches words.
    pub loose_search: bool,
    /// The daily cut-off, from midnight UTC: what is pending goes into a batch and can no longer be voided.
    pub cut_off: Millis,
    /// How long after the batch its rows read TRANSMITTED.
    pub transmit_after: Millis,
    /// Name of the daily Payment Batch Detail report.
    pub report_name: String,
    /// How long after the end of a day, UTC, its report is there. \[assumed\]
    pub report_after: Millis,
    /// Since when reports are subscribed to: of a day before there never is one.
    pub reports_since: Timestamp,
    /// Whether the list of decided cases comes as XML, which the API gives as well.
    pub conversions_as_xml: bool,
    /// How long after its cut-off a batch is funded, where the processor tells of funding at all.
    pub funded_after: Option<Millis>,
    /// What the processor keeps back of captures with a funding, in hundredths of a percent.
    pub fee_basis_points: i64,
    /// How long after its cut-off the fee of each payment of a batch is told in the purchase and refund details, where the processor
    /// tells it at all.
    pub fees_after: Option<Millis>,
    /// What is wrong with these details.
    pub details_fault: Option<DetailsFault>,
    /// How long after its time a chargeback that is made from now on stands in the list.
    pub chargebacks_after: Millis,
    /// Requests per second before 429; none where `None`.
    pub rate_limit: Option<u32>,
    /// By how much the provider's clock is ahead of the caller's.
    pub clock_skew: Millis,
    /// Whether searches and details show merchant-defined fields.
    pub shows_defined: bool,
    /// And comments.
    pub shows_comments: bool,
    /// Takes what the sources say is refused, or leave open: a capture of more than is held, a refund of more than is
    /// left, also of a capture that was voided. Nobody may lean on such a refusal.
    pub lenient: bool,
    /// Whether a time-out reversal or void of an unknown transaction id is a 404; else 400 `INVALID_DATA`.
    pub unknown_is_404: bool,
}

impl CybersourceConfig {
    /// A merchant with the usual currencies and rules; webhooks of `payments.*` need a key in
    /// [`WebhookConfig::encryption`].
    #[must_use]
    pub fn new(credentials: Credentials, webhooks: WebhookConfig, seed: u64) -> Self {
        Self {
            credentials,
            manner: Manner::Usual,
            merchants: Vec::new(),
            seed,
            currencies: ["USD", "EUR", "GBP", "CAD", "JPY"].map(str::to_owned).into(),
            webhooks,
            duplicates: Duplicates::Approved,
            duplicate_window: Millis::mins(15),
            merchant_id_window: Millis::days(60),
            decision_manager: true,
            rules: RiskRule::usual(),
            hold: Millis::days(7),
            search_lag: Millis::secs(5),
            detail_lag: Millis::secs(1),
            loose_search: true,
            cut_off: Millis::hours(21),
            transmit_after: Millis::hours(1),
            report_name: "PaymentBatchDetailReport_Daily_Classic".to_owned(),
            report_after: Millis::hours(2),
            reports_since: Timestamp(0),
            conversions_as_xml: false,
            funded_after: None,
            fee_basis_points: 290,
            fees_after: None,
            chargebacks_after: Millis(0),
            details_fault: None,
            rate_limit: None,
            clock_skew: Millis(0),
            shows_defined: true,
            shows_comments: true,
            lenient: false,
            unknown_is_404: false,
        }
    }
}

impl CybersourceConfig {
    /// The credentials of a merchant id by its place, the first being that of [`CybersourceConfig::credentials`].
    pub(super) fn credentials_of(&self, merchant: usize) -> &Credentials {
        let further = merchant.checked_sub(1).and_then(|n| self.merchants.get(n));
        further.map_or(&self.credentials, |m| &m.credentials)
    }
    pub(super) fn manner_of(&self, merchant: usize) -> Manner {
        let further = merchant.checked_sub(1).and_then(|n| self.merchants.get(n));
        further.map_or(self.manner, |m| m.manner)
    }
}

/// What happened so far, for tests and the demo's page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests by operation (`POST /pts/v2/payments/{id}/captures`).
    pub requests: BTreeMap<&'static str, u64>,
    /// Refusals by status.
    pub refusals: BTreeMap<u16, u64>,
    /// Refusals by reason (`EXCEEDS_AUTH_AMOUNT`, …).
    pub reasons: BTreeMap<&'static str, u64>,
    /// Why callers were turned away with 401.
    pub auth_refusals: BTreeMap<&'static str, u64>,
    /// What a merchant id refused because of its [`Manner`] though it takes payments.
    pub refused_in_manner: BTreeMap<&'static str, u64>,
    /// API faults struck, by name.
    pub faults_struck: BTreeMap<&'static str, u64>,
    /// Webhook faults struck, by name.
    pub hook_faults_struck: BTreeMap<&'static str, u64>,
    /// Events emitted, by type.
    pub events_emitted: BTreeMap<String, u64>,
    /// Webhook deliveries handed out, retries and duplicates included.
    pub deliveries: u64,
    /// Webhook deliveries answered 2xx.
    pub deliveries_accepted: u64,
    /// Webhooks given up.
    pub deliveries_given_up: u64,
    /// `payments.*` events that went nowhere, for no key to encrypt them with is there.
    pub undeliverable: u64,
    /// Captures made before their case was decided: nobody should.
    pub captured_under_review: u64,
    /// Requests that held a card number: there must never be one.
    pub card_numbers_seen: u64,
}
