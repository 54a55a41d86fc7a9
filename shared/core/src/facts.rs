//! Facts: what is known of an order, its payments, refunds, disputes and reviews.
//!
//! Facts from outside are *monotone*: they can be joined in any order and as often as one likes, and the
//! result is the same (DESIGN section 2, "State is facts"). A captured total is a watermark, a refund's
//! status climbs a ladder, an ended authorization stays ended. Only an order snapshot replaces another,
//! and then only by the shop's own version number. No fact holds personal data; that travels beside the
//! facts, sealed under the person's key.

use serde::{Deserialize, Serialize};

use crate::ids::{CommandId, FlowHash, PersonId};
use crate::money::Money;
use crate::profile::CustomerSnapshot;
use crate::routing::Choice;
use crate::time::Timestamp;

/// The canonical status of an order (reference `erp-clarity.md` 5.1), always computed, never an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Nothing has been paid yet.
    PendingPayment,
    /// The gateway holds the payment for review.
    OnHold,
    /// Money is reserved, not taken.
    Authorized,
    /// Some of the money is taken and more may follow.
    PartiallyPaid,
    /// All the money that will be taken is taken.
    Paid,
    /// The last attempt failed; another card may still pay.
    PaymentFailed,
    /// Part of the captured money went back.
    PartiallyRefunded,
    /// All captured money went back.
    Refunded,
    /// The cardholder's bank disputes the charge.
    Disputed,
    /// A dispute was lost.
    ChargedBack,
    /// The order will not be paid.
    Cancelled,
    /// The shop is preparing it. Fulfilment: only the shop sets this.
    Processing,
    /// The shop sent it. Fulfilment: only the shop sets this.
    Shipped,
    /// Done. Fulfilment: only the shop sets this.
    Completed,
}

impl OrderStatus {
    /// All statuses with their names as written in lookup tables.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::PendingPayment, "pending_payment"),
        (Self::OnHold, "on_hold"),
        (Self::Authorized, "authorized"),
        (Self::PartiallyPaid, "partially_paid"),
        (Self::Paid, "paid"),
        (Self::PaymentFailed, "payment_failed"),
        (Self::PartiallyRefunded, "partially_refunded"),
        (Self::Refunded, "refunded"),
        (Self::Disputed, "disputed"),
        (Self::ChargedBack, "charged_back"),
        (Self::Cancelled, "cancelled"),
        (Self::Processing, "processing"),
        (Self::Shipped, "shipped"),
        (Self::Completed, "completed"),
    ];
    /// The names alone: the enumeration `order_status` of flows and lookups.
    pub const NAMES: [&'static str; 14] = [
        "pending_payment",
        "on_hold",
        "authorized",
        "partially_paid",
        "paid",
        "payment_failed",
        "partially_refunded",
        "refunded",
        "disputed",
        "charged_back",
        "cancelled",
        "processing",
        "shipped",
        "completed",
    ];
    /// The name as written in lookup tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(s, _)| *s == self).map_or("pending_payment", |(_, n)| n)
    }
    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(s, _)| *s)
    }
    /// Whether only the shop may set or leave it.
    #[must_use]
    pub const fn is_fulfilment(self) -> bool {
        matches!(self, Self::Processing | Self::Shipped | Self::Completed)
    }
}

/// One line of an order, without anything personal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The shop's line id.
    pub line_id: String,
    /// Stock-keeping unit.
    pub sku: String,
    /// Quantity, up to 4 decimals.
    pub quantity: rust_decimal::Decimal,
    /// Quantity × unit price − discount + tax, minor units of the order's currency.
    pub total: i64,
    /// Tax inside `total`, minor units.
    pub tax: i64,
    /// What the shop calls the article.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Price of one piece, major units, before discount and tax; none where the line was told by an older version of Tillway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<rust_decimal::Decimal>,
    /// Discount taken off inside `total`, minor units.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub discount: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(minor: &i64) -> bool {
    *minor == 0
}

/// One shipment the shop reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// The shop's shipment id.
    pub id: String,
    /// Line id and quantity shipped. Empty: everything not shipped before.
    pub lines: Vec<(String, rust_decimal::Decimal)>,
}

/// The shop's order as of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSnapshot {
    /// The shop's order id.
    pub order_id: String,
    /// Number shown to people.
    pub number: String,
    /// The shop's version counter, or its change time in milliseconds; a lower one never replaces a higher.
    pub version: i64,
    /// When it was placed.
    pub placed_at: Option<Timestamp>,
    /// The shop's status, through the status lookup.
    pub status: OrderStatus,
    /// Grand total.
    pub total: Money,
    /// Tax inside the total, minor units.
    pub tax: i64,
    /// Shipping inside the total, minor units.
    pub shipping: i64,
    /// Lines.
    pub lines: Vec<Line>,
    /// Shipments so far.
    pub shipments: Vec<Shipment>,
    /// A gateway's payment token the shop offers. Never a card number.
    pub token: Option<String>,
    /// The payment object the shop made itself.
    pub payment: Option<String>,
    /// The gateway it is to be paid at, in the shop's word for it, where the shop says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Whether the customer has an account at the shop.
    pub guest: bool,
    /// The shop's customer id, where there is one.
    pub customer_ref: Option<String>,
    /// The shop's pointer back to the gateway's customer, where it has one.
    pub gateway_customer: Option<String>,
    /// A test order.
    pub test: bool,
}

/// How far a refund got. The order of the variants is the ladder: a later one absorbs an earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// On its way.
    Pending,
    /// The gateway says it went through; it can still fail days later.
    Succeeded,
    /// Withdrawn before it moved.
    Cancelled,
    /// Came back.
    Failed,
}

/// How far a dispute got. Later absorbs earlier: a lost dispute can still be won, never the reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// A question, no money moved.
    Inquiry,
    /// The merchant must answer.
    NeedsResponse,
    /// The bank thinks.
    UnderReview,
    /// Closed without a chargeback.
    InquiryClosed,
    /// Refunded before it became a chargeback.
    Prevented,
    /// Lost.
    Lost,
    /// Won.
    Won,
}

impl DisputeStatus {
    /// Still undecided, with money at stake.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::NeedsResponse | Self::UnderReview)
    }

    /// Whether the gateway itself says how it ended.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::InquiryClosed | Self::Prevented | Self::Lost | Self::Won)
    }
}

/// What a review ended in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewOutcome {
    /// Go on.
    Approved,
    /// Closed for a reason that says nothing about go or stop (redacted, acknowledged).
    Closed,
    /// Stop: give the money back or never take it.
    Rejected,
}

/// How an authorization ended without being captured in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationEnd {
    /// A final capture of less was made, and the gateway keeps the rest until it runs out: nothing of it will be taken.
    Kept,
    /// A final capture of less released the rest.
    Released,
    /// It ran out.
    Expired,
    /// It was cancelled.
    Voided,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum CommandEnd {
    /// The outside system did it, or had done it before.
    Done,
    /// The outside system says no, for good.
    Refused {
        /// Stable code, e.g. `card_declined`.
        code: String,
    },
    /// Nobody could find out in time: a person must.
    Parked {
        /// Stable code.
        code: String,
    },
    /// It could not be sent as it was asked for, and never was: once the cause is mended, it is asked anew.
    Unsent {
        /// Stable code.
        code: String,
    },
}

/// Where a step instance stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum StepState {
    /// Waits for what it awaits, since then.
    Waiting {
        /// When the wait began.
        since: Timestamp,
    },
    /// A command is out.
    Issued {
        /// The command.
        command: CommandId,
    },
    /// Done.
    Done,
    /// Not needed.
    Skipped {
        /// Why, for `explain`.
        why: String,
    },
    /// The outside system refused.
    Refused {
        /// Its code.
        code: String,
    },
    /// Stands in the parking lot.
    Parked {
        /// The parked item.
        item: String,
    },
}

impl StepState {
    /// Whether nothing more will happen without a person.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Issued { .. })
    }
}

/// How an authorization that was routed ended, as far as its route is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteEnd {
    /// The bank reserved the money.
    Approved,
    /// It did not, for good.
    Declined,
    /// It did not, and the card may be tried at another merchant id at once.
    SoftDeclined,
    /// The route failed, and certainly nothing was executed.
    Failed,
    /// The route does not take what was asked of it (its currency), which says nothing about how it does; certainly nothing
    /// was executed.
    Unfit,
    /// Says nothing about the route.
    Open,
}

/// Why something waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Identity of the parked item: the same cause parks once.
    pub id: String,
    /// Stable code, e.g. `totals_do_not_add_up`.
    pub code: String,
    /// The field at fault, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// A sentence: what is wrong and what to do. Shapes, never contents.
    pub what: String,
    /// The step that could not go on, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Whether money commands of this order wait until it is dealt with.
    pub blocks_money: bool,
}

/// How a parked item left the parking lot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Unparked {
    /// A person let it run again.
    Replayed {
        /// Who.
        by: String,
    },
    /// A person dropped it.
    Dropped {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Evidence came in by itself.
    Resolved,
}

/// One thing known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// The shop's order, as of a version.
    Order(Box<OrderSnapshot>),
    /// The shop asks for a refund.
    RefundRequested {
        /// The shop's stable id of the request.
        id: String,
        /// How much.
        amount: Money,
        /// Free of personal data: a code.
        reason: String,
    },
    /// The gateway's customer for this order.
    Customer {
        /// The gateway's id.
        id: String,
    },
    /// The gateway's customer is deleted there, or belongs to somebody else.
    CustomerLost {
        /// The gateway's id.
        id: String,
    },
    /// The shop's customer, as of a version.
    Profile(Box<CustomerSnapshot>),
    /// A reusable token of the person's: an identifier at the gateway's vault, never a card number.
    Instrument {
        /// The gateway's id.
        id: String,
    },
    /// A payment object exists.
    Payment {
        /// The gateway's id.
        payment: String,
        /// What it is for.
        amount: Money,
    },
    /// Brand of the card behind a token, where the shop tells it.
    CardBrand {
        /// Token.
        token: String,
        /// Brand, in the shop's words.
        brand: String,
    },
    /// Which of several merchant ids a payment lies with: whatever follows on it goes there.
    Routed {
        /// Payment.
        payment: String,
        /// Merchant id.
        route: String,
    },
    /// An authorization is sent to one of several merchant ids. Recorded with all that the choice saw: whoever replays
    /// reads it, and nothing is drawn again.
    RouteChosen {
        /// The step instance that authorizes.
        step: String,
        /// Its command.
        command: CommandId,
        /// The choice.
        choice: Box<Choice>,
    },
    /// What became of it.
    RouteEnded {
        /// The step instance.
        step: String,
        /// Its command.
        command: CommandId,
        /// How.
        end: RouteEnd,
        /// What ended it, and may cause a second authorization: the failed attempt, or the command that was not executed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// Money is reserved.
    Authorized {
        /// Payment.
        payment: String,
        /// The gateway's id of the authorization (for Stripe the charge).
        charge: String,
        /// How much.
        amount: Money,
        /// Until when, where the gateway says so.
        expires_at: Option<Timestamp>,
    },
    /// Money was taken: the total so far of one authorization.
    Captured {
        /// Payment.
        payment: String,
        /// Authorization.
        charge: String,
        /// Cumulative.
        total: Money,
    },
    /// Money was taken by a capture that has an id of its own. A gateway's captures are told by this or by
    /// [`Fact::Captured`], never by both.
    CaptureMade {
        /// Payment.
        payment: String,
        /// Authorization.
        charge: String,
        /// The gateway's id of the capture.
        capture: String,
        /// What this one took.
        amount: Money,
    },
    /// The rest of an authorization is gone.
    AuthorizationEnded {
        /// Payment.
        payment: String,
        /// Authorization.
        charge: String,
        /// How.
        how: AuthorizationEnd,
    },
    /// The payment object is dead.
    PaymentCancelled {
        /// Payment.
        payment: String,
        /// The gateway's reason code.
        reason: String,
    },
    /// An attempt to pay failed.
    AttemptFailed {
        /// Payment.
        payment: String,
        /// Identity of the attempt (for Stripe the failed charge). Where it is an authorization, the money was
        /// reserved all the same: it is never captured, and has to be let go.
        attempt: String,
        /// The gateway's code.
        code: String,
        /// A reason that may be shown to the shopper (fraud reasons read `generic_decline`).
        shopper_reason: String,
        /// Whether trying the same card again makes sense.
        soft: bool,
    },
    /// The cardholder must do something (3-D Secure). The link itself is personal and travels sealed.
    ActionRequired {
        /// Payment.
        payment: String,
        /// Identity of the attempt.
        attempt: String,
    },
    /// The gateway holds the payment.
    ReviewOpened {
        /// The gateway's id.
        review: String,
        /// Payment.
        payment: String,
    },
    /// The review ended.
    ReviewClosed {
        /// The gateway's id.
        review: String,
        /// Payment.
        payment: String,
        /// How.
        outcome: ReviewOutcome,
    },
    /// A refund, by its own id.
    Refund {
        /// The gateway's id.
        refund: String,
        /// Payment.
        payment: String,
        /// How much.
        amount: Money,
        /// How far.
        status: RefundStatus,
        /// Whether the money left the gateway's balance.
        moved: bool,
        /// Whether it came back.
        returned: bool,
        /// Our own reference on it, where it was ours.
        request: Option<String>,
        /// The capture it returns money of, where the gateway keeps account of each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
        /// The capture it took back before settlement, where it is a void: the authorization may be captured again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<String>,
        /// The capture's answer was lost, and it was undone so that it could be sent again: to the order nothing was
        /// taken and nothing given back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        resent: bool,
    },
    /// A dispute, by its own id.
    Dispute {
        /// The gateway's id.
        dispute: String,
        /// Payment.
        payment: String,
        /// At stake.
        amount: Money,
        /// How far.
        status: DisputeStatus,
        /// The gateway's reason code.
        reason: String,
    },
    /// Money moved because of a dispute: negative is withdrawn, positive reinstated.
    DisputeMoved {
        /// Dispute.
        dispute: String,
        /// Payment.
        payment: String,
        /// The gateway's id of the movement.
        txn: String,
        /// Signed amount, fee aside.
        amount: Money,
        /// Fee charged with it, minor units of the same currency; negative is given back.
        fee: i64,
    },
    /// A person says how a dispute ended, where the gateway never does.
    DisputeClosed {
        /// Dispute.
        dispute: String,
        /// The how manieth word about it, from 1: a later one stands.
        nth: u32,
        /// For the merchant.
        won: bool,
        /// How often money had been withdrawn when it was said: once more, and it is open again.
        withdrawals: u32,
        /// Who.
        by: String,
        /// Why, in a few words.
        reason: String,
    },
    /// A person says how a review is to end, where the gateway lets others decide it. Unlike a word about a dispute this is
    /// no end: the gateway is told, and what it answers ends the review.
    ReviewRuled {
        /// The gateway's id.
        review: String,
        /// The how manieth word about it, from 1: a later one stands.
        nth: u32,
        /// Go on.
        accept: bool,
        /// Who.
        by: String,
        /// Why, in a few words; the reviewers at the gateway read it as well.
        note: String,
    },
    /// The order belongs to this flow.
    Bound {
        /// Pair, as configured.
        pair: String,
        /// Flow.
        flow: String,
        /// Its content hash.
        hash: FlowHash,
    },
    /// The person behind the order.
    Person {
        /// Keyed hash of the normalised identity.
        person: PersonId,
    },
    /// A step instance moved.
    Step {
        /// `step` or `step/object`.
        step: String,
        /// Where it stands now.
        state: StepState,
    },
    /// A command ended.
    CommandEnded {
        /// The command.
        command: CommandId,
        /// The step instance it served.
        step: String,
        /// How.
        end: CommandEnd,
    },
    /// The computed status changed.
    StatusChanged {
        /// Count of changes, from 1.
        seq: u32,
        /// The status.
        status: OrderStatus,
        /// A code that says why, e.g. a decline code; empty where the status says all.
        reason: String,
    },
    /// Something waits for a person.
    Parked(Parked),
    /// It no longer does.
    Unparked {
        /// The parked item.
        id: String,
        /// How.
        how: Unparked,
    },
    /// The same event again.
    Duplicate,
    /// An event that says nothing new: our own echo, or known already.
    NothingNew,
}
