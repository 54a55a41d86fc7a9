//! What orders are alike for a bank: currency, card brand, country and size of the amount, from coarse to fine. What is not
//! known before the authorization is a value of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::money::Money;

/// A part of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// ISO 4217.
    Currency,
    /// The card's brand, where the shop tells it.
    Brand,
    /// The billing country. It is about a person, and stands in facts that outlive an erasure: off unless asked for.
    Country,
    /// Size of the amount.
    Amount,
}

impl Part {
    /// Names as written in the configuration.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("currency", Self::Currency),
        ("brand", Self::Brand),
        ("country", Self::Country),
        ("amount", Self::Amount),
    ];
}

/// How many parts a segment has.
pub const PARTS: usize = 4;
/// In place of rare values that were put together.
const OTHERS: &str = "~";

/// The segment of an order. Written as `USD|visa|US|3000`, parts that are not known left empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Segment([String; PARTS]);

/// A part as it can stand in a segment: short, plain, without capitals.
fn plain(text: &str) -> String {
    let kept = text.chars().filter(char::is_ascii_alphanumeric).take(20);
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// The lower bound of an amount's size in minor units: two steps to a decade, 1 and 3. Sizes are only compared within one
/// currency.
fn band(minor: i64) -> String {
    let mut decade = 1_i64;
    while decade <= minor / 10 {
        decade = decade.saturating_mul(10);
    }
    let three = decade.saturating_mul(3);
    let lower = if minor <= 0 {
        0
    } else if minor >= three {
        three
    } else {
        decade
    };
    lower.to_string()
}

impl Segment {
    /// The segment of an amount; of the rest what is known, and only the parts that are asked for.
    #[must_use]
    pub fn of(by: &[Part], amount: Option<Money>, brand: &str, country: &str) -> Self {
        let has = |part: Part| by.contains(&part);
        let mut parts: [String; PARTS] = Default::default();
        let [currency, brand_at, country_at, amount_at] = &mut parts;
        if let Some(amount) = amount {
            if has(Part::Currency) {
                amount.currency.code().clone_into(currency);
            }
            if has(Part::Amount) {
                *amount_at = band(amount.minor);
            }
        }
        if has(Part::Brand) {
            *brand_at = plain(brand);
        }
        if has(Part::Country) {
            *country_at = plain(country);
        }
        Self(parts)
    }

    /// How many parts agree, from the coarsest on, before one differs.
    #[must_use]
    pub fn shared(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).take_while(|(a, b)| a == b).count()
    }

    /// The same with its finest part that still says something put together with others; `None` where none does.
    #[must_use]
    pub(super) fn coarser(&self) -> Option<Self> {
        let mut parts = self.0.clone();
        // The currency is never put together: sizes of amounts are compared within one.
        let finest = parts.iter_mut().skip(1).rev().find(|p| !p.is_empty() && p.as_str() != OTHERS)?;
        OTHERS.clone_into(finest);
        Some(Self(parts))
    }
}

impl From<String> for Segment {
    fn from(text: String) -> Self {
        let mut parts = text.split('|').map(str::to_owned);
        Self(std::array::from_fn(|_| parts.next().unwrap_or_default()))
    }
}

impl From<Segment> for String {
    fn from(segment: Segment) -> Self {
        segment.0.join("|")
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [currency, brand, country, amount] = &self.0;
        let mut said = Vec::new();
        said.extend([currency, brand].into_iter().filter(|p| !p.is_empty()).cloned());
        said.extend(Some(country.to_ascii_uppercase()).filter(|c| !c.is_empty()));
        said.extend(Some(format!("{amount} minor units and more")).filter(|_| !amount.is_empty()));
        if said.is_empty() { f.write_str("all orders") } else { f.write_str(&said.join(", ")) }
    }
}
