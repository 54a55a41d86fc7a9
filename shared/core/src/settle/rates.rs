//! What one currency is worth in another, by the books: the rate at which the merchant's accounting converts.
//!
//! A gateway that settles in another currency than the customer paid converts at a rate of its own. What it gave over or under
//! the books' rate of the day the payment was booked is the exchange gain or loss ([`super::entries`]). Where the books' rate
//! is not known, none is booked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::line::{Day, Expected, SettlementLine};
use super::outcome::Group;
use super::rules::Rules;
use crate::money::Currency;

/// A rate holds until the next one, for at most so many days: over a weekend and a holiday.
pub const HOLDS: i32 = 7;
/// Digits of a rate.
const DIGITS: usize = 10;

/// What one unit of a currency is worth in another: `num / den`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Of one unit of this.
    pub from: Currency,
    /// In this.
    pub to: Currency,
    /// The day it was given for.
    pub day: Day,
    /// Numerator.
    pub num: u64,
    /// Denominator, never 0.
    pub den: u64,
}

impl Rate {
    /// An amount in the other currency, minor units both, half to even. `None`: it does not fit.
    #[must_use]
    pub fn worth(&self, minor: i64) -> Option<i64> {
        let scale = |currency: Currency| 10_i128.checked_pow(currency.exponent());
        let over = i128::from(minor).checked_mul(i128::from(self.num))?.checked_mul(scale(self.to)?)?;
        let under = i128::from(self.den).checked_mul(scale(self.from)?)?;
        let (whole, rest) = (over.checked_div_euclid(under)?, over.checked_rem_euclid(under)?);
        let up = match rest.checked_mul(2)?.cmp(&under) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => whole.rem_euclid(2),
            std::cmp::Ordering::Greater => 1,
        };
        i64::try_from(whole.checked_add(up)?).ok()
    }
}

/// The books' rates by day: one unit of the first currency in the second, as a decimal text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rates(BTreeMap<Day, BTreeMap<Box<str>, Box<str>>>);

/// Why a rate is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: a rate is a number above 0 of at most {DIGITS} digits, with a point, such as 1.0521")]
pub struct BadRate(pub String);

impl Rates {
    /// Adds a rate. Whether it is another than was known.
    ///
    /// # Errors
    /// [`BadRate`].
    pub fn put(&mut self, day: Day, from: Currency, to: Currency, rate: &str) -> Result<bool, BadRate> {
        let plain = |text: &str| {
            let text =
                if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
            text.to_owned()
        };
        decimal(rate).ok_or_else(|| BadRate(rate.chars().take(20).collect()))?;
        let rate = plain(rate);
        let known = self.0.entry(day).or_default().insert(pair(from, to), rate.as_str().into());
        Ok(known.is_some_and(|known| known.as_ref() != rate))
    }

    /// Takes another table's rates; those of both are the other's. How many differ.
    pub fn take(&mut self, other: Self) -> u64 {
        let mut changed = 0;
        for (day, rates) in other.0 {
            let own = self.0.entry(day).or_default();
            for (pair, rate) in rates {
                let known = own.insert(pair, rate.clone());
                changed += u64::from(known.is_some_and(|known| known != rate));
            }
        }
        changed
    }

    /// The first and the last day.
    #[must_use]
    pub fn span(&self) -> Option<(Day, Day)> {
        Some((*self.0.keys().next()?, *self.0.keys().next_back()?))
    }

    /// How many rates.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// In parts by what a day belongs to.
    #[must_use]
    pub fn parts(self, of: impl Fn(Day) -> Day) -> BTreeMap<Day, Self> {
        let mut out: BTreeMap<Day, Self> = BTreeMap::new();
        for (day, rates) in self.0 {
            out.entry(of(day)).or_default().0.insert(day, rates);
        }
        out
    }

    /// The rate that holds on a day: as given, as given the other way round, or over one currency that both are given in.
    #[must_use]
    pub fn of(&self, from: Currency, to: Currency, day: Day) -> Option<Rate> {
        let known = self.0.range(day.plus(HOLDS.wrapping_neg())..=day).rev();
        let found = known.filter_map(|(day, rates)| Some((*day, converted(rates, from, to)?))).next();
        found.map(|(day, (num, den))| Rate { from, to, day, num, den })
    }
}

fn pair(from: Currency, to: Currency) -> Box<str> {
    format!("{from}/{to}").into()
}

fn converted(rates: &BTreeMap<Box<str>, Box<str>>, from: Currency, to: Currency) -> Option<(u64, u64)> {
    let given = |a: Currency, b: Currency| rates.get(&pair(a, b)).and_then(|text| decimal(text));
    let either = |a, b| given(a, b).or_else(|| given(b, a).map(|(num, den)| (den, num)));
    either(from, to).or_else(|| {
        let named = rates.keys().filter_map(|pair| pair.split_once('/')).flat_map(|(a, b)| [a, b]);
        let over: BTreeSet<&str> = named.collect();
        over.into_iter().filter_map(|code| Currency::parse(code).ok()).find_map(|over| {
            let ((a, b), (c, d)) = (either(from, over)?, either(over, to)?);
            lowest(u128::from(a) * u128::from(c), u128::from(b) * u128::from(d))
        })
    })
}

/// A fraction in its lowest terms.
fn lowest(num: u128, den: u128) -> Option<(u64, u64)> {
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a.checked_rem(b)?);
    }
    Some((u64::try_from(num.checked_div(a)?).ok()?, u64::try_from(den.checked_div(a)?).ok()?))
}

/// A decimal text as a fraction.
fn decimal(text: &str) -> Option<(u64, u64)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{part}");
    let plain = !whole.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && !text.ends_with('.');
    let short = digits.trim_start_matches('0').len() <= DIGITS && part.len() <= DIGITS;
    let num: u64 = digits.parse().ok().filter(|n| *n > 0 && plain && short)?;
    let places = u32::try_from(part.len()).ok()?;
    lowest(u128::from(num), 10_u128.checked_pow(places)?)
}

/// The lines of these groups that were settled in another currency than they are booked in, each with the day it was booked.
pub fn exchanged<'a>(
    groups: impl Iterator<Item = &'a Group>,
    lines: &'a [SettlementLine],
    expected: &'a [Expected],
    rules: &Rules,
) -> Vec<(&'a SettlementLine, Currency, Day)> {
    let lines: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
    let expected: BTreeMap<&str, &Expected> = expected.iter().map(|e| (e.id.as_ref(), e)).collect();
    let mut out = Vec::new();
    for group in groups {
        let first = group.expected.first().and_then(|id| expected.get(id.as_ref()));
        let own = group.lines.iter().filter_map(|id| lines.get(id.as_ref()));
        for line in own.filter(|l| l.currency != group.currency) {
            out.extend(first.map(|e| (*line, group.currency, rules.booked(e.kind, e.due))));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cur(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn table(rates: &[(i32, &str, &str, &str)]) -> Rates {
        let mut out = Rates::default();
        for (day, from, to, rate) in rates {
            assert!(!out.put(Day(*day), cur(from), cur(to), rate).unwrap());
        }
        out
    }

    #[test]
    fn a_rate_is_found_as_given_the_other_way_round_or_over_a_third() {
        let rates =
            table(&[(10, "EUR", "USD", "1.25"), (10, "EUR", "GBP", "0.8"), (10, "EUR", "JPY", "160")]);
        let worth =
            |from, to, day, minor| rates.of(cur(from), cur(to), Day(day)).map(|r| r.worth(minor).unwrap());
        assert_eq!(worth("EUR", "USD", 10, 10_000), Some(12_500));
        assert_eq!(worth("USD", "EUR", 10, 10_000), Some(8_000));
        assert_eq!(worth("GBP", "USD", 10, 10_000), Some(15_625));
        assert_eq!(worth("JPY", "USD", 12, 10_000), Some(7_812), "78.125, and no decimals on one side");
        assert_eq!(worth("USD", "JPY", 12, 10_000), Some(12_800));
        assert_eq!(worth("GBP", "USD", 12, -10_000), Some(-15_625));
        // Until the next one, for a week at most; none before it, none of a currency that is not there.
        assert!(worth("EUR", "USD", 17, 1).is_some() && worth("EUR", "USD", 18, 1).is_none());
        assert!(worth("EUR", "USD", 9, 1).is_none() && worth("CHF", "USD", 10, 1).is_none());
        let newer = table(&[(10, "EUR", "USD", "1.25"), (12, "EUR", "USD", "1.5")]);
        assert_eq!(newer.of(cur("EUR"), cur("USD"), Day(13)).unwrap().day, Day(12));
    }

    #[test]
    fn halves_go_to_the_even_one_and_what_does_not_fit_is_nothing() {
        let half = Rate { from: cur("EUR"), to: cur("USD"), day: Day(1), num: 1, den: 2 };
        assert_eq!([1, 3, 5, -1, -3].map(|n| half.worth(n)), [Some(0), Some(2), Some(2), Some(0), Some(-2)]);
        let large = Rate { num: u64::MAX, den: 1, ..half };
        assert_eq!((large.worth(i64::MAX), large.worth(1)), (None, None));
    }

    #[test]
    fn what_is_no_rate_is_refused_and_a_change_is_told() {
        let mut rates = Rates::default();
        for bad in ["", "0", "0.0", "-1", "1,5", "1.", ".5", "1e3", "12345678901", "1.23456789012", "N/A"] {
            assert!(rates.put(Day(1), cur("EUR"), cur("USD"), bad).is_err(), "{bad}");
        }
        assert!(!rates.put(Day(1), cur("EUR"), cur("USD"), "1.0500").unwrap());
        assert!(!rates.put(Day(1), cur("EUR"), cur("USD"), "1.05").unwrap(), "the same, written otherwise");
        assert!(rates.put(Day(1), cur("EUR"), cur("USD"), "1.06").unwrap());
        let mut other = table(&[(1, "EUR", "USD", "1.06"), (2, "EUR", "USD", "10")]);
        assert_eq!((other.take(rates), other.count(), other.span()), (0, 2, Some((Day(1), Day(2)))));
        assert_eq!(other.of(cur("EUR"), cur("USD"), Day(2)).unwrap().worth(1), Some(10));
    }
}
