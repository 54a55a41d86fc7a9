//! The objects, as typed rows. An event holds the `Arc` of the row as it was; changing a row afterwards
//! copies it, so a snapshot costs nothing until then.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ids::Row;
use super::tokens::RefundFate;

/// Metadata of an object.
pub(super) type Metadata = Arc<BTreeMap<String, String>>;
/// JSON written when it came in.
pub(super) type RawJson = Option<Arc<str>>;

#[derive(Debug, Clone, Default)]
pub(super) struct Customer {
    pub(super) row: Row,
    pub(super) created: i64,
    /// Sandbox time in milliseconds from which search finds it.
    pub(super) searchable_at: i64,
    pub(super) email: Option<String>,
    pub(super) name: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) description: Option<String>,
    pub(super) address: RawJson,
    pub(super) shipping: RawJson,
    pub(super) metadata: Metadata,
    pub(super) deleted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capture {
    Automatic,
    AutomaticAsync,
    Manual,
}

impl Capture {
    pub(super) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("manual") => Self::Manual,
            Some("automatic") => Self::Automatic,
            // Default since API version 2024-04-10. [from memory]
            _ => Self::AutomaticAsync,
        }
    }
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::AutomaticAsync => "automatic_async",
            Self::Manual => "manual",
        }
    }
}

/// Status of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the variants are the provider's own names")]
pub enum PaymentStatus {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Succeeded,
    Canceled,
}

impl PaymentStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresConfirmation => "requires_confirmation",
            Self::RequiresAction => "requires_action",
            Self::RequiresCapture => "requires_capture",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

/// `last_payment_error` of a payment.
#[derive(Debug, Clone)]
pub(super) struct LastError {
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
    pub(super) decline_code: Option<&'static str>,
    pub(super) advice_code: Option<&'static str>,
    pub(super) message: &'static str,
    pub(super) payment_method: Arc<str>,
    pub(super) charge: Option<Row>,
}

#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub(super) row: Row,
    pub(super) created: i64,
    pub(super) amount: i64,
    pub(super) amount_capturable: i64,
    pub(super) amount_received: i64,
    pub(super) currency: Arc<str>,
    pub(super) customer: Option<Row>,
    pub(super) metadata: Metadata,
    pub(super) capture: Capture,
    /// Several captures were asked for; without it the first one is the last.
    pub(super) multicapture: bool,
    pub(super) status: PaymentStatus,
    pub(super) payment_method: Option<Arc<str>>,
    pub(super) description: Option<Arc<str>>,
    pub(super) receipt_email: Option<Arc<str>>,
    pub(super) shipping: RawJson,
    pub(super) descriptor_suffix: Option<Arc<str>>,
    pub(super) future_usage: Option<Arc<str>>,
    /// Types the caller allowed; where none, those "enabled in the dashboard".
    pub(super) allowed_types: Arc<[String]>,
    pub(super) redirects: bool,
    pub(super) return_url: Option<Arc<str>>,
    pub(super) latest_charge: Option<Row>,
    pub(super) last_error: Option<Arc<LastError>>,
    pub(super) canceled_at: Option<i64>,
    pub(super) cancellation_reason: Option<&'static str>,
    pub(super) review: Option<Row>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Authorized,
    ManualReview,
    Declined,
    Blocked,
}

#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) decline_code: &'static str,
    pub(super) advice_code: Option<&'static str>,
    pub(super) message: &'static str,
}

#[derive(Debug, Clone)]
pub(super) struct Charge {
    pub(super) row: Row,
    pub(super) payment: Row,
    pub(super) created: i64,
    pub(super) amount: i64,
    pub(super) amount_captured: i64,
    /// As shown: refunds that have not failed, and released remainders where the sandbox is told so.
    pub(super) amount_refunded: i64,
    pub(super) captured: bool,
    pub(super) currency: Arc<str>,
    pub(super) customer: Option<Row>,
    pub(super) metadata: Metadata,
    pub(super) payment_method: Arc<str>,
    pub(super) outcome: Outcome,
    pub(super) failure: Option<Failure>,
    pub(super) authenticated: bool,
    pub(super) capture_before: Option<i64>,
    pub(super) multicapture: bool,
    pub(super) txn: Option<Row>,
    pub(super) disputed: bool,
    pub(super) review: Option<Row>,
    pub(super) description: Option<Arc<str>>,
    pub(super) receipt_email: Option<Arc<str>>,
    pub(super) shipping: RawJson,
    pub(super) descriptor_suffix: Option<Arc<str>>,
    pub(super) refund_fate: RefundFate,
    /// Released without capture: expired, or its payment canceled.
    pub(super) released: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Refund {
    pub(super) row: Row,
    pub(super) charge: Row,
    pub(super) payment: Row,
    pub(super) created: i64,
    pub(super) amount: i64,
    pub(super) currency: Arc<str>,
    pub(super) metadata: Metadata,
    pub(super) reason: Option<Arc<str>>,
    /// `pending`, `succeeded`, `failed`, `canceled`.
    pub(super) status: &'static str,
    pub(super) failure_reason: Option<&'static str>,
    pub(super) txn: Option<Row>,
    pub(super) failure_txn: Option<Row>,
}

#[derive(Debug, Clone)]
pub(super) struct Dispute {
    pub(super) row: Row,
    pub(super) charge: Row,
    pub(super) payment: Row,
    pub(super) created: i64,
    pub(super) amount: i64,
    pub(super) currency: Arc<str>,
    pub(super) reason: Arc<str>,
    /// `needs_response`, `under_review`, `won`, `lost`.
    pub(super) status: &'static str,
    pub(super) withdrawn: i64,
    pub(super) reinstated: i64,
    pub(super) txns: Vec<Row>,
}

#[derive(Debug, Clone)]
pub(super) struct Review {
    pub(super) row: Row,
    pub(super) charge: Row,
    pub(super) payment: Row,
    pub(super) created: i64,
    pub(super) closed_reason: Option<&'static str>,
}

/// What a balance transaction is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Charge(Row),
    Refund(Row),
    Dispute(Row),
    Payout(Row),
    /// Nothing: what the account itself is charged.
    Account,
}

#[derive(Debug, Clone)]
pub(super) struct Txn {
    pub(super) row: Row,
    pub(super) created: i64,
    pub(super) amount: i64,
    pub(super) fee: i64,
    pub(super) currency: Arc<str>,
    /// Ten thousandths of it for one of the source's, where that is in another.
    pub(super) rate: Option<i64>,
    pub(super) kind: &'static str,
    pub(super) category: &'static str,
    pub(super) source: Source,
    pub(super) payout: Option<Row>,
}

#[derive(Debug, Clone)]
pub(super) struct Payout {
    pub(super) row: Row,
    pub(super) created: i64,
    /// A midnight.
    pub(super) arrival: i64,
    pub(super) amount: i64,
    pub(super) currency: Arc<str>,
    pub(super) txn: Row,
    /// `in_transit`, `paid`, `failed`.
    pub(super) status: &'static str,
    /// Whether its rows can be listed by now.
    pub(super) put_together: bool,
    pub(super) failure_code: Option<&'static str>,
    pub(super) failure_txn: Option<Row>,
}

#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) row: Row,
    pub(super) created: i64,
    pub(super) url: String,
    pub(super) events: Vec<String>,
    pub(super) description: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) metadata: Metadata,
    pub(super) disabled: bool,
    pub(super) deleted: bool,
}

/// An object as it was at some moment.
#[derive(Debug, Clone)]
pub(super) enum Snap {
    Customer(Arc<Customer>),
    Payment(Arc<Payment>),
    Charge(Arc<Charge>),
    Refund(Arc<Refund>),
    Dispute(Arc<Dispute>),
    Review(Arc<Review>),
    Txn(Arc<Txn>),
    Payout(Arc<Payout>),
    Endpoint(Arc<Endpoint>),
    Raw(Arc<str>),
}

/// A table of rows.
#[derive(Debug)]
pub(super) struct Table<T> {
    rows: Vec<Arc<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<T: Clone> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
    pub(super) fn push(&mut self, row: T) {
        self.rows.push(Arc::new(row));
    }
    pub(super) fn get(&self, row: Row) -> Option<&Arc<T>> {
        self.rows.get(row)
    }
    /// The row for changing it; events keep what it was.
    pub(super) fn edit(&mut self, row: Row) -> Option<&mut T> {
        self.rows.get_mut(row).map(Arc::make_mut)
    }
}
