//! The report of a day: what a connection settled, whether all of it is matched, and what is left to do.
//!
//! ```text
//! batches + verdicts ─┐
//! lines + fates ──────┼─▶ Builder ─▶ Report ─┬─▶ morning()   one line, or one for each open item
//! exceptions ─────────┤   (one by one)       ├─▶ json()      stable names
//! trial balance ──────┘                      └─▶ page::html  one file, nothing from outside
//! lines + fates ────────────────────────────────▶ csv::line  a row for each line, matched ones too
//! ```
//! A [`Builder`] takes line after line and keeps sums, so that a report of millions of lines costs as much memory as one
//! of a hundred. Where everything is in memory [`Report::of`] and [`csv::table`] do it in one call.
//!
//! # What the figures are
//! - *Payments, refunds, disputes*: lines of kind charge, refund and dispute.
//! - *Fees*: what the gateway took on lines and on lines of its own, tax on it included; the rate is that over what was
//!   charged, in the settlement currency. Rates of several currencies are never put into one.
//! - *Net*: the sum of all lines' net amounts but payouts'; of a funded batch that is the payout, to the minor unit, or
//!   the check refuses it.
//! - *Match rate*: matched lines of those that look for an expectation. Explained lines and payouts do not count. It is
//!   rounded down: 100 % means all.
//! - *At stake*: the open items' amounts added up by size.
//!
//! All of it is pure, integers only, and shows ids, amounts, days and a card's brand and last four digits. Texts from
//! reports are bounded, and an address or a card number in them is not shown, whatever field it came in.

mod amount;
mod build;
pub mod csv;
mod input;
pub mod page;
mod sheet;
mod text;
mod waterfall;
mod words;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use amount::{Amount, counted, grouped, percent};
pub use build::Builder;
pub use input::{About, Fate, Index, Input};
pub use text::{argument, in_url, shown};
pub use words::{age, by, title};

use super::line::{Day, Kind};
use super::outcome::Class;
use crate::ids::ConnectionName;
use crate::money::Currency;

/// Items a report names; those that go beyond are counted.
pub const MOST_ITEMS: usize = 1_000;
/// Batches a report names one by one.
pub const MOST_BATCHES: usize = 400;

/// What became of a connection's day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name and version of this document's shape.
    pub schema: &'static str,
    /// The account at the gateway.
    pub connection: ConnectionName,
    /// The day that was settled.
    pub day: Day,
    /// The day it was looked at; ages count up to it.
    pub today: Day,
    /// How it stands.
    pub state: State,
    /// Totals of each settlement currency.
    pub currencies: Vec<Totals>,
    /// How many lines were matched, and by what.
    pub matching: Matching,
    /// The batches, those that are not closed first; at most [`MOST_BATCHES`].
    pub batches: Vec<BatchRow>,
    /// How many there are.
    pub batch_count: u64,
    /// What a person has to look at: open ones first, then the oldest; at most [`MOST_ITEMS`].
    pub items: Vec<Item>,
    /// How many there are.
    pub item_count: u64,
    /// How many of them are not matched.
    pub open_item_count: u64,
    /// What the open ones are worth, by size, in each currency.
    pub stakes: Vec<Amount>,
    /// How many there are of each class, by age.
    pub aging: Vec<Aging>,
    /// What the journal holds at this connection.
    pub holds: Vec<Held>,
    /// What was noticed about the reports themselves.
    pub notices: Vec<Notice>,
}

/// How a day stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Every batch is funded, every line matched or explained, and nothing is missing.
    Closed,
    /// Posted, with items that are not matched.
    Open,
    /// Funding of a batch is not known yet.
    Submitted,
    /// A batch was refused by the check and not posted.
    Refused,
    /// What is to be read is not there, or could not be read: the notices say why.
    Waiting,
    /// There was nothing to settle.
    Nothing,
}

/// A step from gross to net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Charges, less what was never captured of them.
    Charges,
    /// Refunds, less those that came back.
    Refunds,
    /// Disputes, less what was given back.
    Disputes,
    /// What the gateway charges, without tax.
    Fees,
    /// Tax on that.
    FeeTax,
    /// The gateway's corrections.
    Adjustments,
    /// Held back, less released.
    Reserves,
    /// Gained or lost by exchange.
    Exchange,
    /// Payouts that came back.
    Returned,
}

impl Step {
    /// In the order of the waterfall.
    pub const ALL: [Self; 9] = [
        Self::Charges,
        Self::Refunds,
        Self::Disputes,
        Self::Fees,
        Self::FeeTax,
        Self::Adjustments,
        Self::Reserves,
        Self::Exchange,
        Self::Returned,
    ];
    /// Its name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Charges => "Charges",
            Self::Refunds => "Refunds",
            Self::Disputes => "Disputes",
            Self::Fees => "Fees",
            Self::FeeTax => "Tax on fees",
            Self::Adjustments => "Adjustments",
            Self::Reserves => "Reserves",
            Self::Exchange => "Exchange",
            Self::Returned => "Returned payouts",
        }
    }
    /// Where the gross amount of a line belongs; that of a payout is no step but the end.
    #[must_use]
    pub const fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Charge | Kind::CaptureReversal => Self::Charges,
            Kind::Refund | Kind::RefundFailure => Self::Refunds,
            Kind::Dispute | Kind::DisputeReversal => Self::Disputes,
            Kind::Fee => Self::Fees,
            Kind::TaxOnFee => Self::FeeTax,
            Kind::Adjustment => Self::Adjustments,
            Kind::ReserveHold | Kind::ReserveRelease => Self::Reserves,
            Kind::Fx => Self::Exchange,
            Kind::PayoutReversal => Self::Returned,
            Kind::Payout => return None,
        })
    }
}

/// One step's sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StepSum {
    /// Which.
    pub step: Step,
    /// Its sum, signed as it changes the balance.
    pub sum: Amount,
}

/// Totals in one settlement currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// The currency.
    pub currency: Currency,
    /// Lines, payouts aside.
    pub lines: u64,
    /// Lines of charges.
    pub payments: u64,
    /// Lines of refunds.
    pub refunds: u64,
    /// Lines of disputes.
    pub disputes: u64,
    /// From gross to net, all steps in their order.
    pub steps: Vec<StepSum>,
    /// What is left of it all.
    pub net: Amount,
    /// Fees with tax over charges, hundredths of a percent; nothing where nothing was charged.
    pub fee_rate_basis_points: Option<i128>,
    /// What was sent to the bank, as funding states it; of funded batches.
    pub paid_out: Amount,
}

impl Totals {
    /// The sum of a step.
    #[must_use]
    pub fn step(&self, step: Step) -> Amount {
        let found = self.steps.iter().find(|s| s.step == step);
        found.map_or(Amount::new(0, self.currency), |s| s.sum)
    }
}

/// How lines were matched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Matching {
    /// Matched under a certificate.
    pub matched: u64,
    /// Explained by a rule, payouts aside.
    pub explained: u64,
    /// Open.
    pub open: u64,
    /// Matched lines by the name of their tier.
    pub by_tier: std::collections::BTreeMap<&'static str, u64>,
    /// Matched within a tolerance.
    pub tolerated: u64,
    /// Matched of matched and open, hundredths of a percent, rounded down.
    pub match_rate_basis_points: Option<i128>,
}

/// A batch in one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchRow {
    /// The gateway's id.
    pub id: String,
    /// How it stands.
    pub state: State,
    /// Totals; one, unless lines of another currency stand in it.
    pub totals: Vec<Totals>,
    /// The payout, where it is funded.
    pub payout: Option<Amount>,
    /// When the payout came.
    pub funded_on: Option<String>,
    /// Lines matched.
    pub matched: u64,
    /// Lines explained, payouts aside.
    pub explained: u64,
    /// Lines open.
    pub open: u64,
    /// Why the check refused it; the first few.
    pub refusals: Vec<String>,
}

/// One thing for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What is wrong.
    pub class: Class,
    /// What is at stake, signed as the balance.
    pub amount: Amount,
    /// When it was due, or came.
    pub since: Day,
    /// Days since then.
    pub age: i32,
    /// It is matched all the same: late, or with a fee nobody expected.
    pub matched: bool,
    /// The batch it came in.
    pub batch: Option<String>,
    /// The order.
    pub order: Option<String>,
    /// What `tillway explain` is asked by: the order, else the gateway's id of the payment or the object.
    pub explain: Option<String>,
    /// Ids of its lines, the first few.
    pub lines: Vec<String>,
    /// Ids of its expectations, the first few.
    pub expected: Vec<String>,
    /// Its nearest miss, in words.
    pub nearest: Option<String>,
    /// What to do.
    pub action: &'static str,
}

/// The items of a class in one currency by age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Aging {
    /// The class.
    pub class: Class,
    /// How many.
    pub count: u64,
    /// Up to 3 days old.
    pub days_0_3: u64,
    /// 4 to 7 days.
    pub days_4_7: u64,
    /// 8 to 30 days.
    pub days_8_30: u64,
    /// Older.
    pub older: u64,
    /// Their amounts by size.
    pub amount: Amount,
}

/// What the journal holds of one currency at the connection: debit less credit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The currency.
    pub currency: Currency,
    /// At the gateway.
    pub clearing: Amount,
    /// What is still awaited of that: booked, not settled.
    pub awaited: Amount,
    /// In how many expectations.
    pub awaited_count: u64,
    /// Effects of unknown outcome, which are not booked.
    pub unknown_count: u64,
    /// Lines without an explanation.
    pub suspense: Amount,
    /// Held back by the processor.
    pub reserve: Amount,
    /// Disputed.
    pub disputed: Amount,
}

/// Something noticed about the reports read: cut, doubled, issued again with changes, late, empty, of another merchant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Stable code.
    pub code: String,
    /// What, and what to do.
    pub text: String,
}

impl Report {
    /// The report as a JSON document.
    ///
    /// # Errors
    /// Never in practice: there is nothing in it that JSON cannot hold.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}
