//! The state of one order: the join of its facts, and what was derived from them on the way.
//!
//! `OrderState` is rebuilt byte for byte by applying the recorded facts in their recorded order; the
//! journal's entries come out of the same fold. Nothing is stored that the facts do not imply.

mod apply;
mod balance;
mod ledger;
#[cfg(test)]
mod made_tests;
mod profile;
mod project;
mod routes;
#[cfg(test)]
mod tests;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::facts::{
    AuthorizationEnd, DisputeStatus, Fact, OrderSnapshot, OrderStatus, Parked, RefundStatus, ReviewOutcome,
    StepState,
};
use crate::ids::{ConnectionName, FlowHash, OrderKey, PersonId};
use crate::journal::Entry;
use crate::money::Money;
use crate::profile::Profile;
use crate::time::Timestamp;

pub use balance::{Imbalance, Overpaid, Short};
pub use project::ShipmentAmount;
pub use routes::Chosen;

/// Begins the step of a read that an event asked for: no flow's.
pub const READ_STEP: &str = "~read/";

/// Which flow an order belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Pair, as configured.
    pub pair: String,
    /// Flow.
    pub flow: String,
    /// Content hash of the flow's version this order runs on.
    pub hash: FlowHash,
}

/// A payment object at a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The gateway account.
    pub connection: ConnectionName,
    /// What it was first heard of with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// Other amounts it was heard of with since, each once, in no particular order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_amounts: Vec<Money>,
    /// Authorizations by the gateway's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub charges: BTreeMap<String, Charge>,
    /// Captures that were undone before settlement, by their id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub undone: BTreeMap<String, UndoneCapture>,
    /// Why it is dead, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<String>,
    /// Failed attempts by their identity, in the order they became known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// Attempts that wait for the cardholder.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub actions: BTreeSet<String>,
    /// The merchant id it lies with, where the connection has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Identity of the attempt.
    pub attempt: String,
    /// The gateway's code.
    pub code: String,
    /// What may be told to the shopper.
    pub shopper_reason: String,
    /// Whether the same card may be tried again.
    pub soft: bool,
}

/// An authorization and what was captured of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Reserved amount.
    pub authorized: Money,
    /// The amount is only implied by a capture; the authorization's own event is still on its way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implied: bool,
    /// Captured so far, minor units: a watermark.
    pub captured: i64,
    /// Booked as sold so far, minor units.
    #[serde(default)]
    pub sold: i64,
    /// When it runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How the rest ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<AuthorizationEnd>,
    /// Watermarks in the order they were seen: each is one capture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captures: Vec<i64>,
    /// Captures that have an id of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made: BTreeMap<String, MadeCapture>,
    /// The attempt failed after the money was reserved (a risk check, a partial approval that is not wanted).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// A capture by its own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeCapture {
    /// What it took, minor units.
    pub amount: i64,
    /// The watermark it raised the authorization to when it became known.
    pub level: i64,
}

/// A capture that was undone before it was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoneCapture {
    /// How much, minor units.
    pub amount: i64,
    /// Its answer was lost, and it was undone to be sent again: it counts as if it had never been.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resent: bool,
}

type Undone = BTreeMap<String, UndoneCapture>;

impl Charge {
    /// Whether what is reserved may still be taken.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.ended.is_none() && !self.refused
    }

    /// What of it was undone, minor units.
    fn undone(&self, undone: &Undone, which: impl Fn(&UndoneCapture) -> bool) -> i64 {
        let ours = undone.iter().filter(|(capture, u)| self.made.contains_key(*capture) && which(u));
        ours.map(|(_, u)| u.amount).sum()
    }

    /// Captured and not undone, minor units.
    pub(crate) fn stands(&self, undone: &Undone) -> i64 {
        self.captured.saturating_sub(self.undone(undone, |_| true))
    }

    /// Captured, minor units, without what was undone to be sent again.
    pub(crate) fn taken(&self, undone: &Undone) -> i64 {
        self.captured.saturating_sub(self.undone(undone, |u| u.resent))
    }

    /// Reserved and not taken, minor units.
    pub(crate) fn open(&self, undone: &Undone) -> i64 {
        self.authorized.minor.saturating_sub(self.taken(undone)).max(0)
    }

    /// The gateway's id of the capture behind a watermark, where it has one.
    #[must_use]
    pub fn capture_at(&self, level: i64) -> Option<&str> {
        self.made.iter().find(|(_, m)| m.level == level).map(|(id, _)| id.as_str())
    }

    /// Identity of the capture behind a watermark: its own id, else the authorization with the watermark.
    #[must_use]
    pub fn capture_key(&self, charge: &str, level: i64) -> String {
        self.capture_at(level).map_or_else(|| format!("{charge}:{level}"), str::to_owned)
    }
}

/// A refund at the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The payment it returns money of.
    pub payment: String,
    /// How much.
    pub amount: Money,
    /// How far.
    pub status: RefundStatus,
    /// The money left the gateway's balance.
    pub moved: bool,
    /// The money came back.
    pub returned: bool,
    /// The request of ours it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The capture it returns money of, where the gateway keeps account of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// When it was first heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The capture it undid before settlement, where it is a void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
    /// That capture's answer was lost, and it was undone to be sent again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resent: bool,
    /// Booked: cash leg, return leg's tax share, and their reversals.
    #[serde(default)]
    pub booked: RefundBooked,
}

/// What of a refund is in the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundBooked {
    /// The cash leg.
    pub cash: bool,
    /// The return leg, with its tax share in minor units.
    pub returned_goods: Option<i64>,
    /// The cash leg's reversal.
    pub cash_reversed: bool,
    /// The return leg's reversal.
    pub goods_reversed: bool,
}

/// A dispute at the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// The payment in dispute.
    pub payment: String,
    /// At stake.
    pub amount: Money,
    /// How far.
    pub status: DisputeStatus,
    /// The gateway's reason code.
    pub reason: String,
    /// Movements by the gateway's id: signed amount, minor units.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub moved: BTreeMap<String, i64>,
    /// Booked as lost, minor units.
    #[serde(default)]
    pub loss_booked: i64,
    /// How many loss entries were made.
    #[serde(default)]
    pub loss_entries: u32,
    /// What a person says of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
}

/// A person's word about how a dispute ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The how manieth word about it.
    pub nth: u32,
    /// For the merchant.
    pub won: bool,
    /// How often money had been withdrawn then.
    pub withdrawals: u32,
}

impl Dispute {
    /// How often money was withdrawn.
    #[must_use]
    pub fn withdrawals(&self) -> u32 {
        u32::try_from(self.moved.values().filter(|minor| **minor < 0).count()).unwrap_or(u32::MAX)
    }

    /// Withdrawn and not given back, minor units.
    #[must_use]
    pub fn withdrawn(&self) -> i64 {
        self.moved.values().sum::<i64>().saturating_neg()
    }

    /// A person's word, as long as it stands: the gateway's own is above it, and money that is withdrawn after it opens
    /// the dispute again (a second chargeback bears the same name).
    #[must_use]
    pub fn word(&self) -> Option<Closed> {
        let standing = |word: &Closed| self.withdrawals() <= word.withdrawals;
        self.closed.filter(|_| !self.status.has_ended()).filter(standing)
    }

    /// How far it got, a person's word counted.
    #[must_use]
    pub fn standing(&self) -> DisputeStatus {
        match self.word() {
            Some(Closed { won: true, .. }) => DisputeStatus::Won,
            Some(_) => DisputeStatus::Lost,
            None => self.status,
        }
    }
}

/// A review at the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// The payment under review.
    pub payment: String,
    /// How it ended, once it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ReviewOutcome>,
    /// How it is to end, where a person said it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruling: Option<Ruling>,
}

/// A person's word about how a review is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// The how manieth word about it.
    pub nth: u32,
    /// Go on.
    pub accept: bool,
    /// Why.
    pub note: String,
}

impl Ruling {
    /// Identity of the word: each is carried out once.
    #[must_use]
    pub fn key(&self, review: &str) -> String {
        format!("{review}:{}", self.nth)
    }
}

/// A refund the shop asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRequest {
    /// How much.
    pub amount: Money,
    /// Code.
    pub reason: String,
}

/// A change of the order's total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalChange {
    /// The version that brought it.
    pub version: i64,
    /// Before.
    pub before: Money,
    /// After.
    pub after: Money,
}

/// Everything known of one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    /// Key.
    pub key: OrderKey,
    /// The flow it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// When anything was first heard of it.
    pub first_at: Timestamp,
    /// The person behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// Persons it was of before: commands made for them lie there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_persons: Vec<PersonId>,
    /// The shop's order, newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Box<OrderSnapshot>>,
    /// Payment tokens in the order the shop offered them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// Brands of the cards behind them, where told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub brands: BTreeMap<String, String>,
    /// Routes chosen, by the step instance that authorizes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<String, Chosen>,
    /// Changes of the total.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub total_changes: Vec<TotalChange>,
    /// The shop cancelled it (and it was not the echo of our own write).
    #[serde(default)]
    pub cancelled_by_shop: bool,
    /// The gateway's customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Customers at the gateway that are gone, or turned out to be another person's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lost_customers: BTreeSet<String>,
    /// The shop's customer, where this is a profile and no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Box<Profile>>,
    /// Reusable tokens of the person's that the shop or a payment told of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub instruments: BTreeSet<String>,
    /// Payments by the gateway's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub payments: BTreeMap<String, Payment>,
    /// Refunds asked for, by the shop's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refund_requests: BTreeMap<String, RefundRequest>,
    /// Refunds by the gateway's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refunds: BTreeMap<String, Refund>,
    /// Disputes by the gateway's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disputes: BTreeMap<String, Dispute>,
    /// Reviews by the gateway's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reviews: BTreeMap<String, Review>,
    /// What was reserved or taken is not what the order is worth, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imbalance: Option<Imbalance>,
    /// Tax booked as collected so far, minor units.
    #[serde(default)]
    pub tax_booked: i64,
    /// Sales booked so far with tax, minor units.
    #[serde(default)]
    pub sold_total: i64,
    /// Step instances.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<String, StepState>,
    /// How often a person let a refused step run again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retries: BTreeMap<String, u32>,
    /// The last computed status that was recorded, its reason, and the count of changes.
    pub status: OrderStatus,
    /// Why the status is what it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status_reason: String,
    /// Count of status changes.
    #[serde(default)]
    pub status_seq: u32,
    /// What waits for a person.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parked: BTreeMap<String, Parked>,
    /// Duplicates dropped.
    #[serde(default)]
    pub duplicates: u32,
}

/// Two facts that cannot both be true. The money involved goes to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Stable code.
    pub code: &'static str,
    /// Object the facts are about.
    pub object: String,
    /// A sentence.
    pub what: String,
}

/// What applying a fact brought.
#[derive(Debug, Default)]
pub struct Applied {
    /// Whether anything is known now that was not before.
    pub changed: bool,
    /// Bookings.
    pub entries: Vec<Entry>,
    /// Contradictions found.
    pub contradictions: Vec<Contradiction>,
}

impl OrderState {
    /// An order of which nothing is known yet.
    #[must_use]
    pub fn new(key: OrderKey, now: Timestamp) -> Self {
        Self {
            key,
            binding: None,
            first_at: now,
            person: None,
            former_persons: Vec::new(),
            order: None,
            tokens: Vec::new(),
            brands: BTreeMap::new(),
            choices: BTreeMap::new(),
            total_changes: Vec::new(),
            cancelled_by_shop: false,
            customer: None,
            lost_customers: BTreeSet::new(),
            profile: None,
            instruments: BTreeSet::new(),
            payments: BTreeMap::new(),
            refund_requests: BTreeMap::new(),
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
            reviews: BTreeMap::new(),
            imbalance: None,
            tax_booked: 0,
            sold_total: 0,
            steps: BTreeMap::new(),
            retries: BTreeMap::new(),
            status: OrderStatus::PendingPayment,
            status_reason: String::new(),
            status_seq: 0,
            parked: BTreeMap::new(),
            duplicates: 0,
        }
    }

    /// Rebuilds state and journal from recorded facts: `(when, connection, fact)` in recorded order.
    pub fn rebuild<'a>(
        key: OrderKey,
        facts: impl IntoIterator<Item = (Timestamp, &'a ConnectionName, &'a Fact)>,
    ) -> (Option<Self>, Vec<Entry>) {
        let mut state: Option<Self> = None;
        let mut entries = Vec::new();
        for (at, connection, fact) in facts {
            let state = state.get_or_insert_with(|| Self::new(key.clone(), at));
            entries.extend(state.apply(fact, connection, at).entries);
        }
        (state, entries)
    }

    /// The payment a capture with an id belongs to.
    pub(super) fn payment_of_capture(&self, capture: &str) -> Option<&String> {
        let has = |p: &Payment| p.charges.values().any(|c| c.made.contains_key(capture));
        self.payments.iter().find(|(_, p)| has(p)).map(|(id, _)| id)
    }

    /// Ids at gateways under which later events may name this order.
    #[must_use]
    pub fn aliases(&self) -> BTreeSet<String> {
        let charges = || self.payments.values().flat_map(|p| &p.charges);
        self.payments
            .keys()
            .chain(charges().map(|(id, _)| id))
            .chain(charges().flat_map(|(_, c)| c.made.keys()))
            .chain(self.refunds.keys())
            .chain(self.disputes.keys())
            .chain(self.reviews.keys())
            .cloned()
            .collect()
    }

    /// Whether money commands must wait for a person.
    #[must_use]
    pub fn money_blocked(&self) -> Option<&Parked> {
        self.parked.values().find(|p| p.blocks_money)
    }
}
