//! What the sandbox keeps. Every request that was carried out is a transaction; captures, refunds, voids and reversals
//! name the payment at the root of their chain, as the provider's do.

use std::sync::Arc;

use serde_json::Value;
use tillway_core::money::{Currency, Money};
use tillway_core::time::Timestamp;

use super::ids::Row;
use super::magic::RefundFate;

/// What kind a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants are the provider's own kinds")]
pub enum Kind {
    Payment,
    Capture,
    Refund,
    Void,
    Reversal,
}

impl Kind {
    /// The path segment of its links.
    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Payment => "payments",
            Self::Capture => "captures",
            Self::Refund => "refunds",
            Self::Void => "voids",
            Self::Reversal => "reversals",
        }
    }
}

/// How far a capture, a sale's capture or a refund got on its way to the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Can be voided.
    Pending,
    /// Submitted with a batch.
    Batched,
    Transmitted,
    Voided,
    /// Turned away by the processor, after the batch.
    Failed,
    /// Was never to go there.
    Not,
}

impl Way {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Batched => "BATCHED",
            Self::Transmitted => "TRANSMITTED",
            Self::Voided => "VOIDED",
            Self::Failed => "FAILED",
            Self::Not => "",
        }
    }
    /// Whether it moves money, so far.
    pub(super) const fn counts(self) -> bool {
        !matches!(self, Self::Voided | Self::Failed | Self::Not)
    }
}

/// A decision about a payment, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// No rule struck, or Decision Manager was skipped.
    None,
    /// Waits for a person.
    Open,
    Accepted,
    Rejected,
    /// Rejected by the profile.
    Refused,
}

/// A card behind a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    /// `001` and so on.
    pub(super) kind: &'static str,
    pub(super) prefix: &'static str,
    pub(super) suffix: &'static str,
    pub(super) month: String,
    pub(super) year: String,
}

impl Card {
    /// The code in a detail's `paymentType.method`.
    pub(super) fn method(&self) -> &'static str {
        match self.kind {
            "002" => "MC",
            "003" => "AX",
            _ => "VI",
        }
    }
}

/// What Decision Manager said.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) rule: String,
    /// `ACCEPT`, `REVIEW` or `REJECT`.
    pub(super) decision: &'static str,
    pub(super) score: u8,
}

/// What only payments have. Amounts are minor units of the transaction's currency.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    /// The sale's own capture was carried out.
    pub(super) took: bool,
    /// The status answered, in the provider's words.
    pub(super) status: &'static str,
    /// Reserved by the issuer; zero where declined.
    pub(super) authorized: i64,
    /// Captured and not voided.
    pub(super) captured: i64,
    pub(super) reversed: i64,
    pub(super) refunded: i64,
    /// Nothing can be captured any more, for another reason than the amount.
    pub(super) closed: Option<Closed>,
    /// When that was.
    pub(super) closed_at: Option<Timestamp>,
    /// Held when the authorization ran out.
    pub(super) lapsed: i64,
    pub(super) case: Case,
    pub(super) verdict: Option<Verdict>,
    pub(super) card: Card,
    /// The stored customer it was made with, or that it made.
    pub(super) customer: Option<String>,
    /// The instrument identifier that it made.
    pub(super) made: Option<String>,
    pub(super) refund_fate: RefundFate,
}

/// Why an authorization is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    Expired,
    Reversed,
}

impl Payment {
    /// Held and neither captured nor released.
    pub(super) fn held(&self) -> i64 {
        let open = self.authorized - self.captured - self.reversed;
        if self.closed.is_some() { 0 } else { open.max(0) }
    }
}

/// A request that was carried out.
#[derive(Debug, Clone)]
pub(super) struct Tx {
    pub(super) row: Row,
    /// Place of the merchant id it belongs to.
    pub(super) merchant: usize,
    pub(super) kind: Kind,
    pub(super) at: Timestamp,
    /// The payment its chain began with; itself for payments.
    pub(super) root: Row,
    /// What it acts on.
    pub(super) target: Option<Row>,
    pub(super) code: Arc<str>,
    /// `clientReferenceInformation.transactionId`.
    pub(super) merchant_id: Option<Arc<str>>,
    pub(super) comments: Option<Arc<str>>,
    pub(super) defined: Value,
    pub(super) currency: Currency,
    /// Asked for.
    pub(super) amount: i64,
    /// `errorInformation.reason`, where there is one.
    pub(super) reason: Option<&'static str>,
    pub(super) approved: bool,
    pub(super) way: Way,
    pub(super) payment: Option<Box<Payment>>,
}

impl Tx {
    pub(super) fn money(&self, minor: i64) -> String {
        Money::new(minor, self.currency).to_major().to_string()
    }
}

/// A batch that went to the processor.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// The cut-off.
    pub(super) at: Timestamp,
    pub(super) rows: Vec<Row>,
}

/// A chargeback.
#[derive(Debug, Clone)]
pub(super) struct Chargeback {
    pub(super) at: Timestamp,
    /// Since when it stands in the list.
    pub(super) listed: Timestamp,
    /// The capture (or sale) it is about.
    pub(super) capture: Row,
    pub(super) amount: i64,
    pub(super) reason: String,
    /// Given back: the merchant won.
    pub(super) returned: bool,
}

/// A decided case.
#[derive(Debug, Clone)]
pub(super) struct Conversion {
    pub(super) at: Timestamp,
    pub(super) payment: Row,
    pub(super) accepted: bool,
    pub(super) reviewer: String,
    pub(super) comments: String,
}
