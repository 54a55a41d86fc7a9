//! The report in plain words. Every match here is total: a class or a reason that is added does not compile until
//! it says what it is.

use std::fmt::Write as _;

use super::amount::{Amount, counted, grouped, percent};
use super::text::argument;
use super::{Item, Report, State, Totals};
use crate::settle::outcome::{Class, Miss, Reason, Tier};

/// Items that the morning's text names one by one.
const NAMED: usize = 20;

/// What is wrong, in two or three words.
#[must_use]
pub const fn title(class: Class) -> &'static str {
    match class {
        Class::MissingAtGateway => "missing at the gateway",
        Class::MissingHere => "missing here",
        Class::Amount => "other amount",
        Class::Currency => "other currency",
        Class::Duplicate => "settled twice",
        Class::Late => "late",
        Class::UnexpectedFee => "unexpected fee",
        Class::UnknownRefund => "unknown refund",
        Class::UnknownChargeback => "unknown chargeback",
        Class::PayoutFailedLater => "payout came back",
        Class::Ambiguous => "several answers",
    }
}

/// By what two items are near.
#[must_use]
pub const fn by(tier: Tier) -> &'static str {
    match tier {
        Tier::OwnId => "the gateway's id of the object",
        Tier::ParentId => "the gateway's id of what it belongs to",
        Tier::PaymentId => "the gateway's id of the payment",
        Tier::Reference => "our reference",
        Tier::Card => "amount, day and card",
        Tier::Amount => "amount and day",
    }
}

/// The nearest miss of an item in `currency`.
pub(super) fn near(miss: &Miss, amount: Amount) -> String {
    let why = match miss.reason {
        Reason::TooMany => "too much is alike to tell apart".to_owned(),
        Reason::OutsideWindow { days } => {
            let apart = counted(u64::from(days.unsigned_abs()), "day");
            format!(
                "{apart} {} than due, further than the rules allow",
                if days < 0 { "earlier" } else { "later" }
            )
        }
        Reason::AmountDiffers { by } => {
            let size = Amount::new(i128::from(by.unsigned_abs()), amount.currency);
            format!("the gateway has {size} {}", if by < 0 { "less" } else { "more" })
        }
        Reason::CurrencyDiffers => "in another currency".to_owned(),
        Reason::IdsDiffer => "the gateway's ids differ".to_owned(),
        Reason::KindDiffers => "of another kind".to_owned(),
    };
    format!("nearest by {}: {}, {why}", by(miss.tier), super::text::shown(&miss.other))
}

/// `today`, `1 day old`, `12 days old`.
#[must_use]
pub fn age(days: i32) -> String {
    match u64::try_from(days) {
        Ok(days) if days > 0 => format!("{} old", counted(days, "day")),
        _ => "new today".to_owned(),
    }
}

impl Item {
    /// `missing at the gateway: 25.00 USD, 4 days old, order shop/A-1, capture:ch_1`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut out = format!("{}: {}, {}", title(self.class), self.amount, age(self.age));
        if let Some(order) = &self.order {
            let _ = write!(out, ", order {order}");
        }
        for id in self.expected.iter().chain(&self.lines).take(3) {
            let _ = write!(out, ", {id}");
        }
        out
    }

    /// The command that shows more of it.
    #[must_use]
    pub fn command(&self) -> Option<String> {
        let explain = self.explain.as_ref().map(|key| format!("tillway explain {}", argument(key)));
        explain.or_else(|| Some(format!("tillway settle show {}", argument(self.batch.as_ref()?))))
    }
}

impl Report {
    /// The morning's text: one line where all is matched, else a line for each open item too.
    ///
    /// ```text
    /// closed: 1,284 payments, 31 refunds, 2 disputes, fees 2.91 %, net 48,221.07 USD, all matched
    /// ```
    #[must_use]
    pub fn morning(&self) -> String {
        let mut out = self.headline();
        for notice in &self.notices {
            let _ = write!(out, "\n! {}", notice.text);
        }
        for (n, item) in self.items.iter().take(NAMED).enumerate() {
            let _ = write!(out, "\n{}. {}: {}", n.saturating_add(1), item.sentence(), item.class.action());
            if let Some(command) = item.command() {
                let _ = write!(out, " ({command})");
            }
        }
        let named = u64::try_from(self.items.len().min(NAMED)).unwrap_or(u64::MAX);
        let more = self.item_count.saturating_sub(named);
        if more > 0 {
            let connection = argument(self.connection.as_str());
            let _ =
                write!(out, "\nand {} more: tillway settle open --connection {connection}", grouped(more));
        }
        out
    }

    /// Its first line.
    #[must_use]
    pub fn headline(&self) -> String {
        let figures: Vec<String> = self.currencies.iter().map(figures).collect();
        let figures = figures.join("; ");
        let open = counted(self.open_item_count, "item");
        match self.state {
            State::Closed => {
                let remarks = self.item_count;
                let end =
                    if remarks == 0 { String::new() } else { format!(", {} to look at", grouped(remarks)) };
                format!("closed: {figures}, all matched{end}")
            }
            State::Open => format!("open: {figures}, {open} not matched{}", self.at_stake()),
            State::Submitted if self.open_item_count > 0 => {
                format!(
                    "submitted: {figures}, {open} not matched{}; funding is not known yet",
                    self.at_stake()
                )
            }
            State::Submitted => format!("submitted: {figures}, all matched; funding is not known yet"),
            State::Refused if self.batches.is_empty() => {
                format!("not posted: what came for {} was refused, nothing was booked", self.day)
            }
            State::Refused if self.is_posted_in_part() => {
                format!("posted in part: {figures}; something else was refused and is not booked")
            }
            State::Refused => format!("not posted: {figures}; the check refused it, nothing was booked"),
            State::Waiting if self.is_posted_in_part() => {
                format!("posted in part: {figures}; something else is still waited for")
            }
            State::Waiting => format!("waiting: no settlement of {} could be read", self.day),
            State::Nothing if self.open_item_count > 0 => {
                format!("open: nothing was settled on {}, {open} not matched{}", self.day, self.at_stake())
            }
            State::Nothing => format!("nothing was settled on {}", self.day),
        }
    }

    fn is_posted_in_part(&self) -> bool {
        self.batches.iter().any(|batch| batch.state < State::Refused)
    }

    fn at_stake(&self) -> String {
        let sums: Vec<String> = self.stakes.iter().map(ToString::to_string).collect();
        if sums.is_empty() { String::new() } else { format!(" ({})", sums.join(", ")) }
    }
}

/// `1,284 payments, 31 refunds, 2 disputes, fees 2.91 %, net 48,221.07 USD`.
fn figures(totals: &Totals) -> String {
    let mut out = counted(totals.payments, "payment");
    for (count, noun) in [(totals.refunds, "refund"), (totals.disputes, "dispute")] {
        if count > 0 {
            let _ = write!(out, ", {}", counted(count, noun));
        }
    }
    if let Some(rate) = totals.fee_rate_basis_points {
        let _ = write!(out, ", fees {}", percent(rate));
    }
    let _ = write!(out, ", net {}", totals.net);
    out
}

impl State {
    /// For the head of the page.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Closed => "Closed",
            Self::Open => "Open",
            Self::Submitted => "Submitted",
            Self::Refused => "Not posted",
            Self::Waiting => "Waiting",
            Self::Nothing => "Nothing settled",
        }
    }
}
