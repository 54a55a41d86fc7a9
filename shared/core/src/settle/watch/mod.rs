//! The watch over a connection's figures: what is out of the ordinary although every line is matched.
//!
//! ```text
//! lines, attempts ─▶ DayFigures of each day ─▶ watch(history, day) ─▶ Findings, in words
//! ```
//! # One expectation for all figures
//! Every figure is a sum over an exposure: fees over what was charged (by brand and currency), declines over attempts,
//! refunds and disputes over payments, days of delay over lines, payments and amounts over days. So one model serves all,
//! a *robust quasi-Poisson rate*: a day's sum has the mean `rate × weekday × exposure` and the variance
//! `chance × lump × mean + (wobble × mean)²`. It is estimated over the [`Settings::history`] days before the week judged:
//! - *Rate*: sum over exposure of the days that lie within 3.5 deviations; the first guess is a weighted median, the first
//!   deviation the median of absolute deviations. A past anomaly of up to a third of the days so moves nothing.
//! - *Weekday*: each weekday's own factor, shrunk towards 1 by how little the weekdays differ beyond chance (empirical
//!   Bayes). Volume so gets its week, while a fee rate, which has none, is not made noisier by seven small samples.
//! - *Chance*: of counts that of Poisson; of amounts that of Poisson lumps, from the sum of squares, so that one large
//!   payment makes its day uncertain and no alarm; of fees and delays what the days showed.
//! - *Wobble*: what days differ by beyond chance. It does not grow less with the size of the trade, which is why a large
//!   shop is not told of every Tuesday.
//! - *Deviation*: the signed root of the deviance, which stays nearly normal where a sum is a handful of events (disputes,
//!   a small shop) and where a median would be zero. Delay is late by whole days: what varies of it is a number of such steps, as
//!   many as its variance says, and it is they that are held against Poisson. A small shop's three late lines so are three.
//!
//! Why not others: median and MAD over the same weekday has four to eight values to rest on and says 0 ± 0 of rare events; a
//! beta-binomial knows rates of yes and no, not fees, delays or amounts; a seasonal forecast wants years of history.
//!
//! A day is judged alone and with the two and the six before it, so that a small shift is seen once it has lasted. What is
//! said is that which lies furthest out, if it is beyond [`Settings::alarm`] deviations and large enough to matter
//! ([`Settings::least`]). [`Finding::text`] says it in words and names what is too many of, since when.
//!
//! # What it does not see
//! A figure with fewer than [`Settings::fewest_days`] days; what grows too slowly to leave its own expectation; what is too
//! small for the size of the trade: BENCHMARKS.md has the sizes. A change that stays is told until it is the larger part of
//! the history, then it is the expectation.
//!
//! Floating point stands in `model` alone and leaves it as whole numbers; nothing of it enters money.

pub mod habits;
mod judge;
mod model;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::line::{Day, Kind, SettlementLine};
use crate::money::Currency;

pub use judge::{measured, watch};

/// Kinds of one figure that are told apart on a day; what goes beyond is counted as others.
const MOST_KINDS: usize = 64;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Figure {
    /// Fees on charges over what was charged, minor units both.
    FeeRate {
        /// Card brand, lower case.
        brand: Box<str>,
        /// Settlement currency.
        currency: Currency,
    },
    /// Declined of all attempts.
    DeclineRate,
    /// Refunds over payments of the day.
    RefundRate,
    /// Disputes over payments of the day.
    DisputeRate,
    /// Days from booking to settlement, over lines.
    Delay,
    /// Payments of a day.
    Payments,
    /// What was charged in a day, minor units.
    Volume {
        /// Settlement currency.
        currency: Currency,
    },
}

/// A figure on one day: a sum over an exposure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The sum.
    pub part: u64,
    /// What it is over.
    pub of: u64,
    /// Of amounts the sum of their squares, in thousands: one large payment makes a day uncertain.
    #[serde(default)]
    pub squares: u64,
    /// How many there were of each kind: payments by fee rate, lines by delay, declines by code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<Box<str>, u64>,
}

impl Sum {
    fn count(&mut self, kind: &str) {
        self.counted(kind, 1);
    }

    fn counted(&mut self, kind: &str, times: u64) {
        let kind =
            if self.kinds.len() < MOST_KINDS || self.kinds.contains_key(kind) { kind } else { "others" };
        let count = self.kinds.entry(kind.into()).or_default();
        *count = count.saturating_add(times);
    }
}

/// The figures of one day. Small, so that a year of them is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayFigures {
    /// The day.
    pub day: Day,
    /// Its figures.
    #[serde(with = "pairs")]
    pub figures: BTreeMap<Figure, Sum>,
}

impl DayFigures {
    /// Of a day on which nothing was seen yet.
    #[must_use]
    pub fn new(day: Day) -> Self {
        Self { day, figures: BTreeMap::new() }
    }

    /// A line, and how many days after booking it came, where that is known.
    pub fn line(&mut self, line: &SettlementLine, after: Option<i32>) {
        match line.kind {
            Kind::Charge => self.charge(line),
            Kind::Refund => self.figure(Figure::RefundRate).part += 1,
            Kind::Dispute => self.figure(Figure::DisputeRate).part += 1,
            _ => {}
        }
        if let Some(after) = after.and_then(|days| u64::try_from(days).ok()) {
            let delay = self.figure(Figure::Delay);
            delay.part = delay.part.saturating_add(after);
            delay.of += 1;
            delay.count(&after.to_string());
        }
    }

    fn charge(&mut self, line: &SettlementLine) {
        self.figure(Figure::RefundRate).of += 1;
        self.figure(Figure::DisputeRate).of += 1;
        let payments = self.figure(Figure::Payments);
        (payments.part, payments.of) = (payments.part + 1, 1);
        let gross = u64::try_from(line.gross).unwrap_or(0);
        let volume = self.figure(Figure::Volume { currency: line.currency });
        (volume.part, volume.of) = (volume.part.saturating_add(gross), 1);
        let square = u64::try_from(u128::from(gross) * u128::from(gross) / 1000).unwrap_or(u64::MAX);
        volume.squares = volume.squares.saturating_add(square);
        self.fee(line, line.fee, line.gross);
    }

    /// A fee of a payment by card, on the payment's own line or on one of its own, and what was charged. Minor units both.
    pub fn fee(&mut self, line: &SettlementLine, fee: i64, charged: i64) {
        let gross = u64::try_from(charged).unwrap_or(0);
        let (Some(card), true) = (&line.card, gross > 0) else { return };
        let fee = u64::try_from(fee).unwrap_or(0);
        let square = u64::try_from(u128::from(gross) * u128::from(gross) / 1000).unwrap_or(u64::MAX);
        let sum = self.figure(Figure::FeeRate { brand: card.brand.clone(), currency: line.currency });
        sum.part = sum.part.saturating_add(fee);
        sum.of = sum.of.saturating_add(gross);
        sum.squares = sum.squares.saturating_add(square);
        // Tenths of a percent, rounded.
        let rate = (u128::from(fee) * 2_000 + u128::from(gross)) / (u128::from(gross) * 2);
        sum.count(&format!("{}.{}", rate / 10, rate % 10));
    }

    /// Takes figures of other lines of the same day in.
    pub fn add(&mut self, other: &Self) {
        for (figure, more) in &other.figures {
            let sum = self.figure(figure.clone());
            sum.part = sum.part.saturating_add(more.part);
            // These two are of a day, the others of what was counted.
            sum.of = match figure {
                Figure::Payments | Figure::Volume { .. } => sum.of.max(more.of),
                _ => sum.of.saturating_add(more.of),
            };
            sum.squares = sum.squares.saturating_add(more.squares);
            for (kind, count) in &more.kinds {
                sum.counted(kind, *count);
            }
        }
    }

    /// All attempts of the day: how many were approved, and the code of each that was declined. What was said of it before is
    /// forgotten.
    pub fn attempts<'c>(&mut self, approved: u64, declined: impl IntoIterator<Item = &'c str>) {
        let mut sum = Sum { of: approved, ..Sum::default() };
        for code in declined {
            (sum.part, sum.of) = (sum.part + 1, sum.of + 1);
            sum.count(code);
        }
        if sum.of == 0 {
            self.figures.remove(&Figure::DeclineRate);
        } else {
            self.figures.insert(Figure::DeclineRate, sum);
        }
    }

    fn figure(&mut self, figure: Figure) -> &mut Sum {
        self.figures.entry(figure).or_default()
    }
}

/// Figures as a list of pairs: JSON's names are texts only.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Figure, Sum};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Figure, Sum>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(map)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<Figure, Sum>, D::Error> {
        Ok(Vec::<(Figure, Sum)>::deserialize(d)?.into_iter().collect())
    }
}

/// When something is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Days that make the expectation.
    pub history: i32,
    /// Days of them on which a figure must have been seen.
    pub fewest_days: usize,
    /// Deviations beyond which something is said, in hundredths.
    pub alarm: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { history: 56, fewest_days: 21, alarm: 450 }
    }
}

impl Settings {
    /// The least change that is worth a word, in parts of a thousand of what is expected.
    #[must_use]
    pub const fn least(figure: &Figure) -> u64 {
        match figure {
            Figure::FeeRate { .. } => 20,
            Figure::DeclineRate => 150,
            Figure::RefundRate | Figure::DisputeRate => 300,
            Figure::Delay => 100,
            Figure::Payments | Figure::Volume { .. } => 200,
        }
    }
}

/// A figure of one day beside what was to be expected of it, ordinary or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Of what.
    pub figure: Figure,
    /// Sum and exposure of the day.
    pub part: u64,
    /// Its exposure.
    pub of: u64,
    /// Days on which it was seen that an expectation would rest on.
    pub days: u64,
    /// What was measured, in millionths of the figure's unit.
    pub measured: u64,
    /// What was expected, with one deviation of that; nothing where too few days are known.
    pub expected: Option<Expected>,
}

/// What was expected of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// In millionths of the figure's unit.
    pub value: u64,
    /// One deviation of that.
    pub spread: u64,
    /// Deviations from it, in hundredths; below 0 where less was measured.
    pub deviations: i64,
}

/// Something out of the ordinary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of what.
    pub figure: Figure,
    /// Since when, up to the day judged.
    pub since: Day,
    /// The day judged.
    pub day: Day,
    /// Sum and exposure since then.
    pub part: u64,
    /// Its exposure.
    pub of: u64,
    /// What was measured since then, in millionths of the figure's unit.
    pub measured: u64,
    /// What was expected.
    pub expected: u64,
    /// One deviation of that, for so long a time.
    pub spread: u64,
    /// Days the expectation rests on.
    pub days: u64,
    /// Deviations from it, in hundredths; below 0 where less was measured.
    pub deviations: i64,
    /// The kind there is too much of, and how many of it there were.
    pub most: Option<(Box<str>, u64)>,
}
