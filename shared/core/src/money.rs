//! Money: integer minor units beside an ISO 4217 currency. No floating point, no silent rounding.

use std::fmt;
use std::str::FromStr;

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An ISO 4217 currency, e.g. `USD`. Its exponent comes from the maintained `iso_currency` table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Reads a three-letter code in any case (`usd`, `USD`).
    ///
    /// # Errors
    /// [`MoneyError::UnknownCurrency`] for anything that ISO 4217 does not list.
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        let shaped = code.len() == 3 && code.bytes().all(|b| b.is_ascii_alphabetic());
        shaped
            .then(|| iso_currency::Currency::from_code(&code.to_ascii_uppercase()))
            .flatten()
            // XXX, XTS, XAU and the like are in the list but have no minor unit: they are no money.
            .filter(|c| c.exponent().is_some())
            .map(Self)
            .ok_or_else(|| MoneyError::UnknownCurrency { shape: shape(code) })
    }

    /// The upper-case code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Digits after the decimal point in ISO 4217 (JPY 0, USD 2, KWD 3). A gateway's wire may differ:
    /// that is the connector's business.
    #[must_use]
    pub fn exponent(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or(2))
    }
}

impl PartialOrd for Currency {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Currency {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.code().cmp(other.code())
    }
}
impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(s: &str) -> Result<Self, MoneyError> {
        Self::parse(s)
    }
}
impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.code())
    }
}
impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&code).map_err(serde::de::Error::custom)
    }
}

/// An amount of money: minor units (cents, fils, yen) and their currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Signed count of minor units.
    pub minor: i64,
    /// The currency the units belong to.
    pub currency: Currency,
}

/// Why an amount could not be read or combined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is no amount. The text itself is not repeated: it may hold anything.
    #[error("not an amount: expected digits with an optional decimal point, got {shape}")]
    NotAnAmount {
        /// Shape of the text, e.g. `7 characters: 99xx.99`.
        shape: String,
    },
    /// More digits after the point than the currency has.
    #[error("{currency} has {allowed} digits after the decimal point, got {got}")]
    TooManyDigits {
        /// The currency.
        currency: Currency,
        /// Its exponent.
        allowed: u32,
        /// Digits found, trailing zeros aside.
        got: u32,
    },
    /// Not a currency of ISO 4217.
    #[error("unknown currency ({shape}); expected an ISO 4217 code such as USD")]
    UnknownCurrency {
        /// Shape of the text.
        shape: String,
    },
    /// Two currencies in one sum.
    #[error("cannot combine {left} with {right}")]
    Mixed {
        /// Left side.
        left: Currency,
        /// Right side.
        right: Currency,
    },
    /// The result does not fit 64 bits.
    #[error("the amount does not fit: more than 9.2e18 minor units")]
    Overflow,
}

impl MoneyError {
    /// Stable code for logs and parked items.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAnAmount { .. } => "amount_malformed",
            Self::TooManyDigits { .. } => "amount_too_many_digits",
            Self::UnknownCurrency { .. } => "currency_unknown",
            Self::Mixed { .. } => "currency_mixed",
            Self::Overflow => "amount_overflow",
        }
    }
}

/// Describes a text without repeating it: length, digits as `9`, letters as `x`.
#[must_use]
pub fn shape(text: &str) -> String {
    let drawn: String = text
        .chars()
        .take(24)
        .map(|c| match c {
            '0'..='9' => '9',
            c if c.is_alphabetic() => 'x',
            '.' | ',' | '-' | '+' | ' ' => c,
            _ => '?',
        })
        .collect();
    format!("{} characters: {drawn}", text.chars().count())
}

impl Money {
    /// An amount from minor units.
    #[must_use]
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing, in a currency.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// Reads a decimal text in major units (`"10.99"`) exactly; trailing zeros beyond the exponent are
    /// accepted (`"10.9900"`), any other excess digit is refused rather than rounded.
    ///
    /// # Errors
    /// [`MoneyError::NotAnAmount`], [`MoneyError::TooManyDigits`] or [`MoneyError::Overflow`].
    pub fn parse_major(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let plain = !text.is_empty()
            && text.len() <= 32
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-')
            && text.bytes().any(|b| b.is_ascii_digit());
        let value = plain
            .then(|| Decimal::from_str(text).ok())
            .flatten()
            .ok_or_else(|| MoneyError::NotAnAmount { shape: shape(text) })?;
        Self::from_major(value, currency)
    }

    /// Turns a decimal in major units into minor units, exactly.
    ///
    /// # Errors
    /// [`MoneyError::TooManyDigits`] or [`MoneyError::Overflow`].
    pub fn from_major(value: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let value = value.normalize();
        let allowed = currency.exponent();
        if value.scale() > allowed {
            return Err(MoneyError::TooManyDigits { currency, allowed, got: value.scale() });
        }
        let scaled = value.checked_mul(pow10(allowed)).ok_or(MoneyError::Overflow)?;
        let minor = scaled.to_i64().ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency })
    }

    /// The amount in major units.
    #[must_use]
    pub fn to_major(self) -> Decimal {
        Decimal::new(self.minor, self.currency.exponent())
    }

    /// Adds two amounts of one currency.
    ///
    /// # Errors
    /// [`MoneyError::Mixed`] or [`MoneyError::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// Subtracts an amount of the same currency.
    ///
    /// # Errors
    /// [`MoneyError::Mixed`] or [`MoneyError::Overflow`].
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        let minor = self.minor.checked_sub(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// `self × part ÷ whole`, rounded once, half to even. `whole` of zero gives zero.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn share(self, part: i64, whole: i64) -> Result<Self, MoneyError> {
        if whole == 0 {
            return Ok(Self::zero(self.currency));
        }
        let exact = Decimal::from(self.minor)
            .checked_mul(Decimal::from(part))
            .and_then(|p| p.checked_div(Decimal::from(whole)))
            .ok_or(MoneyError::Overflow)?;
        let minor = exact
            .round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven)
            .to_i64()
            .ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// A unit price times a quantity, rounded once, half to even, to minor units.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn extend(unit_price: Decimal, quantity: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let minor = unit_price
            .checked_mul(quantity)
            .and_then(|v| v.checked_mul(pow10(currency.exponent())))
            .ok_or(MoneyError::Overflow)?
            .round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven)
            .to_i64()
            .ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency })
    }

    /// The smaller of two amounts of one currency.
    ///
    /// # Errors
    /// [`MoneyError::Mixed`].
    pub fn checked_min(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        Ok(if other.minor < self.minor { other } else { self })
    }

    /// Whether the amount is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.minor > 0
    }

    fn same(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::Mixed { left: self.currency, right: other.currency })
        }
    }
}

fn pow10(exponent: u32) -> Decimal {
    Decimal::from(10_i64.pow(exponent.min(18)))
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_major(), self.currency)
    }
}
impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cur(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn zero_decimal_and_three_decimal_currencies_keep_their_exponent() {
        assert_eq!(Money::parse_major("1200", cur("jpy")).unwrap().minor, 1200);
        assert_eq!(Money::parse_major("5.120", cur("KWD")).unwrap().minor, 5120);
        assert_eq!(Money::parse_major("10.9", cur("USD")).unwrap().minor, 1090);
        assert_eq!(Money::new(1200, cur("JPY")).to_string(), "1200 JPY");
        assert_eq!(Money::new(5120, cur("KWD")).to_string(), "5.120 KWD");
        assert_eq!(Money::new(-5, cur("USD")).to_string(), "-0.05 USD");
    }

    #[test]
    fn excess_digits_are_refused_and_trailing_zeros_are_not() {
        assert_eq!(Money::parse_major("10.9900", cur("USD")).unwrap().minor, 1099);
        assert!(matches!(
            Money::parse_major("10.999", cur("USD")),
            Err(MoneyError::TooManyDigits { allowed: 2, got: 3, .. })
        ));
        assert!(matches!(Money::parse_major("1.5", cur("JPY")), Err(MoneyError::TooManyDigits { .. })));
    }

    #[test]
    fn text_that_is_no_amount_is_described_and_not_repeated() {
        for text in ["", "-", "1e5", "1,000.00", "NaN", " 1", "0x10", "１２"] {
            let error = Money::parse_major(text, cur("USD")).unwrap_err();
            assert_eq!(error.code(), "amount_malformed", "{text:?}");
        }
        let message = Money::parse_major("secretvalue", cur("USD")).unwrap_err().to_string();
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn unknown_currencies_and_metals_are_refused() {
        for code in ["XXX", "XAU", "ZZZ", "US", "USDT", "u$d", "ÄÖÜ"] {
            assert!(Currency::parse(code).is_err(), "{code}");
        }
    }

    #[test]
    fn shares_round_half_even_once() {
        assert_eq!(Money::new(5, cur("USD")).share(1, 2).unwrap().minor, 2);
        assert_eq!(Money::new(15, cur("USD")).share(1, 2).unwrap().minor, 8);
        assert_eq!(Money::new(100, cur("USD")).share(1, 3).unwrap().minor, 33);
        assert_eq!(Money::new(100, cur("USD")).share(1, 0).unwrap().minor, 0);
    }

    #[test]
    fn overflow_and_mixed_currencies_are_errors() {
        let max = Money::new(i64::MAX, cur("USD"));
        assert_eq!(max.checked_add(Money::new(1, cur("USD"))), Err(MoneyError::Overflow));
        assert!(matches!(max.checked_add(Money::new(1, cur("EUR"))), Err(MoneyError::Mixed { .. })));
    }
}
