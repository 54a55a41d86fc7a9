//! Findings in words.

use std::fmt::Write as _;

use super::{Figure, Finding, Measured};
use crate::settle::line::Day;
use crate::settle::report::{Amount, counted, grouped, percent, shown};

/// 1970-01-01 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

impl Figure {
    /// Its name: `fee rate of amex`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::FeeRate { brand, currency } => format!("fee rate of {} in {currency}", shown(brand)),
            Self::DeclineRate => "decline rate".to_owned(),
            Self::RefundRate => "refund rate".to_owned(),
            Self::DisputeRate => "dispute rate".to_owned(),
            Self::Delay => "settlement delay".to_owned(),
            Self::Payments => "payments a day".to_owned(),
            Self::Volume { currency } => format!("volume a day in {currency}"),
        }
    }

    /// A spread given in millionths of its unit, rounded up: nothing varies by nothing.
    fn spread(&self, millionths: u64) -> String {
        let half = match self {
            Self::FeeRate { .. } | Self::DeclineRate | Self::RefundRate | Self::DisputeRate => 49,
            Self::Delay | Self::Payments => 49_999,
            Self::Volume { .. } => 499_999,
        };
        self.value(millionths.saturating_add(half))
    }

    /// A value given in millionths of its unit.
    fn value(&self, millionths: u64) -> String {
        let tenths = |n: u64| {
            let tenths = n.saturating_add(50_000) / 100_000;
            format!("{}.{}", grouped(tenths / 10), tenths % 10)
        };
        match self {
            Self::FeeRate { .. } | Self::DeclineRate | Self::RefundRate | Self::DisputeRate => {
                percent(i128::from(millionths.saturating_add(50) / 100))
            }
            Self::Delay => format!("{} days", tenths(millionths)),
            Self::Payments => tenths(millionths),
            Self::Volume { currency } => {
                Amount::new(i128::from(millionths.saturating_add(500_000) / 1_000_000), *currency).to_string()
            }
        }
    }

    /// What its kinds are kinds of.
    fn kind(&self, kind: &str, count: u64) -> Option<String> {
        let kind = shown(kind);
        match self {
            Self::FeeRate { .. } => Some(format!("{} at {kind} %", counted(count, "payment"))),
            Self::Delay => Some(format!("{} after {kind} days", counted(count, "line"))),
            Self::DeclineRate => Some(format!("{} with {kind}", counted(count, "decline"))),
            Self::RefundRate | Self::DisputeRate | Self::Payments | Self::Volume { .. } => None,
        }
    }
}

impl Measured {
    /// `fee rate of amex in USD 2.91 %, expected 2.90 % ± 0.05 % over 56 days`.
    #[must_use]
    pub fn text(&self) -> String {
        let head = format!("{} {}", self.figure.name(), self.figure.value(self.measured));
        let days = counted(self.days, "day");
        match &self.expected {
            Some(e) => {
                let (value, spread) = (self.figure.value(e.value), self.figure.spread(e.spread));
                format!("{head}, expected {value} ± {spread} over {days}")
            }
            None => format!("{head}, no expectation yet: {days} known"),
        }
    }
}

impl Finding {
    /// `fee rate of amex in USD 3.41 %, expected 2.90 % ± 0.05 % over 56 days: 61 payments at 3.5 % since Tuesday`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!(
            "{} {}, expected {} ± {} over {}: ",
            self.figure.name(),
            self.figure.value(self.measured),
            self.figure.value(self.expected),
            self.figure.spread(self.spread),
            counted(self.days, "day")
        );
        let most = self.most.as_ref().and_then(|(kind, count)| self.figure.kind(kind, *count));
        out.push_str(&most.unwrap_or_else(|| match self.figure {
            Figure::DeclineRate => {
                format!("{} of {} attempts declined", grouped(self.part), grouped(self.of))
            }
            Figure::RefundRate => {
                format!("{} on {}", counted(self.part, "refund"), counted(self.of, "payment"))
            }
            Figure::DisputeRate => {
                format!("{} on {}", counted(self.part, "dispute"), counted(self.of, "payment"))
            }
            Figure::Payments => counted(self.part, "payment"),
            Figure::Volume { currency } => Amount::new(i128::from(self.part), currency).to_string(),
            Figure::Delay => counted(self.of, "line"),
            Figure::FeeRate { currency, .. } => {
                let fees = Amount::new(i128::from(self.part), currency);
                format!("{fees} of fees on {}", Amount::new(i128::from(self.of), currency))
            }
        }));
        let _ = write!(out, " {}", since(self.since, self.day));
        out
    }
}

fn since(first: Day, day: Day) -> String {
    let weekday = usize::try_from(first.0.rem_euclid(7)).ok().and_then(|at| WEEKDAYS.get(at));
    match (day.since(first), weekday) {
        (0, _) => format!("on {day}"),
        (1..=6, Some(weekday)) => format!("since {weekday}"),
        _ => format!("since {first}"),
    }
}
