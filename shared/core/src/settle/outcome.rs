//! What matching says: groups, what stays open with its nearest miss, and exceptions by class.

use serde::{Deserialize, Serialize};

use super::line::{Day, Expected, SettlementLine};
use crate::journal::Role;
use crate::money::{Currency, Money};

/// By what a line found its expectation. Earlier is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The gateway's id of the object itself.
    OwnId,
    /// The gateway's id of what it belongs to.
    ParentId,
    /// The gateway's id of the payment.
    PaymentId,
    /// Our reference.
    Reference,
    /// Amount, currency, day and card.
    Card,
    /// Amount, currency and day, where one side does not name the card.
    Amount,
}

impl Tier {
    /// In the order they are tried.
    pub const ALL: [Self; 6] =
        [Self::OwnId, Self::ParentId, Self::PaymentId, Self::Reference, Self::Card, Self::Amount];
    /// Whether it names the object: by gateway id or by our reference. Only that is evidence.
    #[must_use]
    pub const fn is_identity(self) -> bool {
        matches!(self, Self::OwnId | Self::ParentId | Self::PaymentId | Self::Reference)
    }
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OwnId => "own_id",
            Self::ParentId => "parent_id",
            Self::PaymentId => "payment_id",
            Self::Reference => "reference",
            Self::Card => "card",
            Self::Amount => "amount",
        }
    }
}

/// Lines and expectations that answer each other: one to one, one to many or many to one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// By what.
    pub tier: Tier,
    /// Ids of the lines, sorted.
    pub lines: Vec<Box<str>>,
    /// Ids of the expectations, sorted.
    pub expected: Vec<Box<str>>,
    /// Currency they were compared in: the one the books expect.
    pub currency: Currency,
    /// Sum of the lines, minor units.
    pub lines_sum: i64,
    /// Sum of the expectations, minor units.
    pub expected_sum: i64,
    /// The tolerance that covers the difference, where there is one.
    pub tolerance: Option<Box<str>>,
}

/// Why two items that are near are not a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Reason {
    /// Too many items are alike to tell them apart.
    TooMany,
    /// All agrees but the day.
    OutsideWindow {
        /// Days from the due day to the line's.
        days: i32,
    },
    /// The amounts differ by more than any tolerance.
    AmountDiffers {
        /// Line less expectation, minor units.
        by: i64,
    },
    /// They are in different currencies.
    CurrencyDiffers,
    /// Both name an object, and not the same.
    IdsDiffer,
    /// One is a charge and the other a refund, say.
    KindDiffers,
}

impl Reason {
    /// Less is nearer.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::TooMany => 0,
            Self::OutsideWindow { .. } => 1,
            Self::AmountDiffers { .. } => 2,
            Self::CurrencyDiffers => 3,
            Self::IdsDiffer => 4,
            Self::KindDiffers => 5,
        }
    }
}

/// The nearest item of the other side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Miss {
    /// By what they are near.
    pub tier: Tier,
    /// Why they are no match.
    pub reason: Reason,
    /// Id of the other.
    pub other: Box<str>,
}

/// An item that no tier has matched so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open<'a, T> {
    /// The item.
    pub item: &'a T,
    /// An item of the other side bears the same gateway id and does not agree with it. Neither is matched by
    /// anything weaker than gateway ids any more.
    pub bound: bool,
    /// Nearest miss so far.
    pub nearest: Option<Miss>,
}

impl<'a, T> Open<'a, T> {
    /// An item nothing has been tried on.
    #[must_use]
    pub const fn new(item: &'a T) -> Self {
        Self { item, bound: false, nearest: None }
    }
}

/// Why a set of items stays open although they are near each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undecided {
    /// More than one best solution.
    Tie,
    /// More lines than expectations bear one gateway id, and nothing tells which is the surplus.
    Surplus,
    /// Only several lines together equal several expectations together.
    ManyToMany,
}

/// Items among which the matcher will not choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ambiguous {
    /// By what they are near.
    pub tier: Tier,
    /// Why.
    pub why: Undecided,
    /// Ids of the lines, sorted.
    pub lines: Vec<Box<str>>,
    /// Ids of the expectations, sorted.
    pub expected: Vec<Box<str>>,
    /// The earliest day of them.
    pub since: Day,
    /// Lines less expectations.
    pub amount: Money,
}

/// An effect whose outcome was unknown and that a line proves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// Id of the expectation: the command.
    pub expected: Box<str>,
    /// The lines that prove it, sorted.
    pub lines: Vec<Box<str>>,
    /// By what they name it.
    pub tier: Tier,
}

/// A line that needs no expectation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Explained {
    /// The line.
    pub line: Box<str>,
    /// The rule.
    pub rule: Box<str>,
    /// The account that takes it.
    pub account: Role,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The books have it, and no line came in time.
    MissingAtGateway,
    /// A line came that the books know nothing of.
    MissingHere,
    /// The amount differs.
    Amount,
    /// The currency differs.
    Currency,
    /// The line settles what is settled already.
    Duplicate,
    /// It came, but late.
    Late,
    /// A fee that no rule expects, or of another amount.
    UnexpectedFee,
    /// A refund the books know nothing of.
    UnknownRefund,
    /// A chargeback, or money given back of one, that the books know nothing of.
    UnknownChargeback,
    /// A payout came back.
    PayoutFailedLater,
    /// Several solutions are equally good.
    Ambiguous,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 11] = [
        Self::MissingAtGateway,
        Self::MissingHere,
        Self::Amount,
        Self::Currency,
        Self::Duplicate,
        Self::Late,
        Self::UnexpectedFee,
        Self::UnknownRefund,
        Self::UnknownChargeback,
        Self::PayoutFailedLater,
        Self::Ambiguous,
    ];
    /// Stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::MissingAtGateway => "missing_at_gateway",
            Self::MissingHere => "missing_here",
            Self::Amount => "amount",
            Self::Currency => "currency",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::UnexpectedFee => "unexpected_fee",
            Self::UnknownRefund => "unknown_refund",
            Self::UnknownChargeback => "unknown_chargeback",
            Self::PayoutFailedLater => "payout_failed_later",
            Self::Ambiguous => "ambiguous",
        }
    }
    /// What to do about it.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::MissingAtGateway => {
                "read the object at the gateway by its id; if it was never submitted, submit it or void it here"
            }
            Self::MissingHere => {
                "read the object at the gateway and book it to its order; if it is foreign, tell the gateway"
            }
            Self::Amount => {
                "compare with the gateway; book the difference or claim it, never edit what is posted"
            }
            Self::Currency => "find which side holds the wrong currency; correct the connection or the entry",
            Self::Duplicate => "claim the surplus from the gateway; if two captures were made, refund one",
            Self::Late => "nothing to book; if it comes often, widen `due` or `grace`, or ask the gateway",
            Self::UnexpectedFee => "compare with the contract; add a rule for it, or claim it back",
            Self::UnknownRefund => "find who refunded at the gateway; take the refund over to its order",
            Self::UnknownChargeback => "open the dispute here and answer it before its time limit",
            Self::PayoutFailedLater => "mend the bank account at the gateway; the money is in clearing again",
            Self::Ambiguous => "choose by hand: the candidates are named",
        }
    }
}

/// One thing for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// What is wrong.
    pub class: Class,
    /// Ids of the lines, sorted.
    pub lines: Vec<Box<str>>,
    /// Ids of the expectations, sorted.
    pub expected: Vec<Box<str>>,
    /// When it was due, or came.
    pub since: Day,
    /// What is at stake: the amount of the item, or the difference where two differ. Signed as the balance.
    pub amount: Money,
    /// Of open items, the nearest miss.
    pub nearest: Option<Miss>,
}

impl Exception {
    /// Days it has stood.
    #[must_use]
    pub const fn age(&self, today: Day) -> i32 {
        today.since(self.since)
    }
}

/// What one tier made of its items. Groups, ambiguities and duplicates are final; what is in `lines` and
/// `expected` goes on to the next tier.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pass<'a> {
    /// Matched.
    pub groups: Vec<Group>,
    /// Undecided.
    pub ambiguous: Vec<Ambiguous>,
    /// Lines that settle again what another line of the tier settles: the surplus line, and the other.
    pub duplicates: Vec<(&'a SettlementLine, Box<str>)>,
    /// What the groups prove.
    pub evidence: Vec<Evidence>,
    /// What is wrong with what was matched: late, or with an unexpected fee.
    pub flaws: Vec<Exception>,
    /// Lines still open.
    pub lines: Vec<Open<'a, SettlementLine>>,
    /// Expectations still open.
    pub expected: Vec<Open<'a, Expected>>,
}

/// The result of a run. All lists are sorted by content, so that equal data give equal results in whatever
/// order it comes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Matched.
    pub groups: Vec<Group>,
    /// Lines that need no expectation.
    pub explained: Vec<Explained>,
    /// Ids of lines that stay open.
    pub open_lines: Vec<Box<str>>,
    /// Ids of expectations that stay open; many are only not due yet.
    pub open_expected: Vec<Box<str>>,
    /// What the groups prove of unknown effects.
    pub evidence: Vec<Evidence>,
    /// What a person has to look at.
    pub exceptions: Vec<Exception>,
}

impl Outcome {
    /// One of several that share no item, as a run over partitions gives them.
    #[must_use]
    pub fn joined(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut out = Self::default();
        for mut part in parts {
            out.groups.append(&mut part.groups);
            out.explained.append(&mut part.explained);
            out.open_lines.append(&mut part.open_lines);
            out.open_expected.append(&mut part.open_expected);
            out.evidence.append(&mut part.evidence);
            out.exceptions.append(&mut part.exceptions);
        }
        out.sort();
        out
    }

    /// Puts every list into its order.
    pub fn sort(&mut self) {
        self.groups.sort_unstable();
        self.explained.sort_unstable();
        self.open_lines.sort_unstable();
        self.open_expected.sort_unstable();
        self.evidence.sort_unstable();
        // All of it, so that copies of one id that differ in a currency do not stand in the order they came in.
        self.exceptions.sort_by(|a, b| {
            let key = |e: &Exception| (e.class, e.since, e.amount.minor, e.amount.currency.code());
            (a.class, &a.lines, &a.expected).cmp(&(b.class, &b.lines, &b.expected)).then(key(a).cmp(&key(b)))
        });
    }
}
