//! Sums and shares as they are read: integers to the end.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::money::{Currency, Money};

/// A sum of many amounts: wider than [`Money`], so that no report overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Signed count of minor units.
    pub minor: i128,
    /// Their currency.
    pub currency: Currency,
}

impl Amount {
    /// A sum.
    #[must_use]
    pub const fn new(minor: i128, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Major units for machines: `-48221.07`.
    #[must_use]
    pub fn plain(&self) -> String {
        self.text("")
    }

    /// Major units for people: `-48,221.07`.
    #[must_use]
    pub fn grouped(&self) -> String {
        self.text(",")
    }

    fn text(&self, between: &str) -> String {
        let places = usize::try_from(self.currency.exponent()).unwrap_or(0);
        let digits = format!("{:0>1$}", self.minor.unsigned_abs(), places.saturating_add(1));
        let (whole, part) = digits.split_at(digits.len().saturating_sub(places));
        let sign = if self.minor < 0 { "-" } else { "" };
        let point = if places == 0 { "" } else { "." };
        format!("{sign}{}{point}{part}", thousands(whole, between))
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self::new(i128::from(money.minor), money.currency)
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.grouped(), self.currency)
    }
}

/// `{"amount": "48221.07", "minor": 4822107, "currency": "USD"}`.
impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_struct("Amount", 3)?;
        out.serialize_field("amount", &self.plain())?;
        out.serialize_field("minor", &self.minor)?;
        out.serialize_field("currency", &self.currency)?;
        out.end()
    }
}

fn thousands(digits: &str, between: &str) -> String {
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            out.push_str(between);
        }
        out.push(digit);
    }
    out
}

/// A count with its noun: `1 refund`, `1,284 payments`.
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// A count for people.
#[must_use]
pub fn grouped(count: u64) -> String {
    thousands(&count.to_string(), ",")
}

/// `part` of `whole` in hundredths of a percent, rounded half to even; nothing of nothing.
#[must_use]
pub fn basis_points(part: i128, whole: i128) -> Option<i128> {
    if whole <= 0 {
        return None;
    }
    let exact = part.checked_mul(10_000)?;
    let (down, rest) = (exact.div_euclid(whole), exact.rem_euclid(whole));
    let up = rest > whole - rest || rest == whole - rest && down.rem_euclid(2) == 1;
    Some(down + i128::from(up))
}

/// Like [`basis_points`] and rounded down, so that 100 % is said of all and of nothing less.
#[must_use]
pub fn share_of(part: u64, whole: u64) -> Option<i128> {
    i128::from(part).checked_mul(10_000)?.checked_div(i128::from(whole))
}

/// Hundredths of a percent for people: `2.91 %`.
#[must_use]
pub fn percent(basis_points: i128) -> String {
    let size = basis_points.unsigned_abs();
    let sign = if basis_points < 0 { "-" } else { "" };
    format!("{sign}{}.{:02} %", size / 100, size % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_their_currencys_places() {
        let of = |minor, code| Amount::new(minor, Currency::parse(code).unwrap());
        assert_eq!(of(4_822_107, "USD").to_string(), "48,221.07 USD");
        assert_eq!(of(-5, "USD").to_string(), "-0.05 USD");
        assert_eq!(of(1_234_567, "JPY").to_string(), "1,234,567 JPY");
        assert_eq!(of(-1_234_567, "KWD").to_string(), "-1,234.567 KWD");
        assert_eq!(of(-123_456, "USD").plain(), "-1234.56");
        assert_eq!(of(i128::MIN, "USD").plain(), "-1701411834604692317316873037158841057.28");
        let json = serde_json::to_string(&of(99, "USD")).unwrap();
        assert_eq!(json, r#"{"amount":"0.99","minor":99,"currency":"USD"}"#);
    }

    #[test]
    fn shares_round_once_and_all_is_only_said_of_all() {
        assert_eq!(basis_points(291, 10_000).map(percent).unwrap(), "2.91 %");
        assert_eq!(basis_points(1, 20_000), Some(0), "half goes to the even 0");
        assert_eq!(basis_points(3, 20_000), Some(2));
        assert_eq!(basis_points(-1, 3).map(percent).unwrap(), "-33.33 %");
        assert_eq!(basis_points(1, 0), None);
        assert_eq!(share_of(999_999, 1_000_000), Some(9_999));
        assert_eq!(share_of(7, 7), Some(10_000));
        assert_eq!(share_of(0, 0), None);
        assert_eq!(counted(1, "refund"), "1 refund");
        assert_eq!(counted(1284, "payment"), "1,284 payments");
    }
}
