//! The named transforms of mappings. Each declares what it takes and gives, so that a chain is typed
//! when its file is loaded. None rounds; none answers what it cannot do with an empty value.

use crate::check::did_you_mean;
use crate::money::{Money, shape};
use crate::value::{Type, Value};

/// One named transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// Text to upper case.
    Upper,
    /// Text to lower case.
    Lower,
    /// Text without white space at its ends.
    Trim,
    /// An amount as decimal text in major units with all its places: `10.90`, `1200`, `5.120`.
    MoneyMajor,
    /// An amount's count of minor units.
    MinorUnits,
    /// An amount's currency, upper case.
    CurrencyCode,
    /// The UTC day of a time, `YYYY-MM-DD`.
    Date,
    /// A time in RFC 3339.
    Rfc3339,
    /// All but the last four characters as `*`; a text of four or fewer wholly.
    Mask,
    /// The first N characters.
    Truncate(usize),
    /// What stands before the first space.
    SplitFirst,
    /// What stands after the first space.
    SplitRest,
    /// The digits alone.
    Digits,
    /// A two-letter country code in upper case; anything else is an error.
    Country,
    /// An amount with the other sign.
    Negate,
    /// An int, decimal or bool as text.
    Text,
}

/// Why a transform failed: a stable code and a message that does not repeat the value.
pub type Failed = (&'static str, String);

const NAMES: [(&str, Transform); 15] = [
    ("upper", Transform::Upper),
    ("lower", Transform::Lower),
    ("trim", Transform::Trim),
    ("money_major", Transform::MoneyMajor),
    ("minor_units", Transform::MinorUnits),
    ("currency_code", Transform::CurrencyCode),
    ("date", Transform::Date),
    ("rfc3339", Transform::Rfc3339),
    ("mask", Transform::Mask),
    ("split_first", Transform::SplitFirst),
    ("split_rest", Transform::SplitRest),
    ("digits", Transform::Digits),
    ("country", Transform::Country),
    ("negate", Transform::Negate),
    ("text", Transform::Text),
];

impl Transform {
    /// Finds a transform by its name, `truncate:35` with its number.
    ///
    /// # Errors
    /// What is wrong with the name, and a hint.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        if let Some((_, found)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*found);
        }
        if let Some(count) = text.strip_prefix("truncate:") {
            let count = count.trim().parse().ok().filter(|n| (1..=100_000).contains(n));
            let wrong = || (format!("`{text}` has no length"), "write e.g. `truncate:35`".to_owned());
            return count.map(Self::Truncate).ok_or_else(wrong);
        }
        let known = NAMES.iter().map(|(name, _)| *name).chain(["truncate:N"]);
        Err((format!("unknown transform `{text}`"), did_you_mean(text, known)))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Truncate(n) => format!("truncate:{n}"),
            other => NAMES.iter().find(|(_, t)| *t == other).map_or("", |(name, _)| name).to_owned(),
        }
    }

    /// What it takes.
    #[must_use]
    pub const fn takes(self) -> &'static [Type] {
        match self {
            Self::MoneyMajor | Self::MinorUnits | Self::CurrencyCode | Self::Negate => &[Type::Money],
            Self::Date | Self::Rfc3339 => &[Type::Time],
            Self::Text => &[Type::Int, Type::Decimal, Type::Bool, Type::Text],
            _ => &[Type::Text],
        }
    }

    /// What it gives.
    #[must_use]
    pub const fn gives(self) -> Type {
        match self {
            Self::MinorUnits => Type::Int,
            Self::Negate => Type::Money,
            _ => Type::Text,
        }
    }

    /// Applies it. An absent value stays absent.
    ///
    /// # Errors
    /// A code and a message without the value's content.
    pub fn apply(self, value: Value) -> Result<Value, Failed> {
        if value == Value::Null {
            return Ok(value);
        }
        let kind = value.kind();
        let wrong = || ("transform_type", format!("transform {} cannot take a value of {kind}", self.name()));
        match (&value, self) {
            (Value::Text(t), _) => self.text(t).ok_or_else(wrong)?,
            (Value::Money(m), Self::MoneyMajor) => Ok(Value::text(m.to_major().to_string())),
            (Value::Money(m), Self::MinorUnits) => Ok(Value::Int(m.minor)),
            (Value::Money(m), Self::CurrencyCode) => Ok(Value::text(m.currency.code())),
            (Value::Money(m), Self::Negate) => {
                let minor =
                    m.minor.checked_neg().ok_or(("amount_overflow", "the amount does not fit".to_owned()))?;
                Ok(Value::Money(Money { minor, ..*m }))
            }
            (Value::Time(t), Self::Date) => Ok(Value::Text(t.day())),
            (Value::Time(t), Self::Rfc3339) => Ok(Value::Text(t.rfc3339())),
            (Value::Int(i), Self::Text) => Ok(Value::text(i.to_string())),
            (Value::Decimal(d), Self::Text) => Ok(Value::text(d.to_string())),
            (Value::Bool(b), Self::Text) => Ok(Value::text(b.to_string())),
            _ => Err(wrong()),
        }
    }

    /// The transforms of texts; `None` where this one is not among them.
    fn text(self, text: &str) -> Option<Result<Value, Failed>> {
        Some(Ok(Value::Text(match self {
            Self::Upper => text.to_uppercase(),
            Self::Lower => text.to_lowercase(),
            Self::Trim => text.trim().to_owned(),
            Self::Mask => {
                let count = text.chars().count();
                let shown = if count > 4 { 4 } else { 0 };
                "*".repeat(count - shown) + &text.chars().skip(count - shown).collect::<String>()
            }
            Self::Truncate(n) => text.chars().take(n).collect(),
            Self::SplitFirst => {
                text.trim().split_once(' ').map_or(text.trim(), |(first, _)| first).to_owned()
            }
            Self::SplitRest => text.trim().split_once(' ').map_or("", |(_, rest)| rest.trim()).to_owned(),
            Self::Digits => text.chars().filter(char::is_ascii_digit).collect(),
            Self::Country => {
                let code = text.trim();
                if code.len() != 2 || !code.bytes().all(|b| b.is_ascii_alphabetic()) {
                    let what = format!("expected a two-letter country code, got {}", shape(text));
                    return Some(Err(("country_malformed", what)));
                }
                code.to_ascii_uppercase()
            }
            Self::Text => text.to_owned(),
            _ => return None,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;
    use crate::time::Timestamp;

    fn on(name: &str, value: Value) -> Value {
        let transform = Transform::parse(name).unwrap();
        assert_eq!(transform.name(), name);
        transform.apply(value).unwrap()
    }
    fn text(name: &str, value: &str) -> String {
        on(name, Value::text(value)).as_text().unwrap().to_owned()
    }

    #[test]
    fn texts() {
        assert_eq!(text("mask", "4111111111111111"), "************1111");
        assert_eq!(text("mask", "abcd"), "****");
        assert_eq!(text("truncate:3", "äöüß"), "äöü");
        assert_eq!(text("split_first", " Ada King Lovelace "), "Ada");
        assert_eq!(text("split_rest", " Ada King Lovelace "), "King Lovelace");
        assert_eq!(text("split_rest", "Ada"), "");
        assert_eq!(text("digits", "+1 (555) 010-9"), "15550109");
        assert_eq!(text("country", " no "), "NO");
        assert_eq!(
            (text("upper", "straße"), text("lower", "ÄB"), text("trim", " x ")),
            ("STRASSE".into(), "äb".into(), "x".into())
        );
    }

    #[test]
    fn amounts_keep_every_place_and_never_round() {
        let money = |minor, code| Value::Money(Money::new(minor, Currency::parse(code).unwrap()));
        assert_eq!(on("money_major", money(1090, "USD")), Value::text("10.90"));
        assert_eq!(on("money_major", money(1200, "JPY")), Value::text("1200"));
        assert_eq!(on("money_major", money(-5120, "KWD")), Value::text("-5.120"));
        assert_eq!(on("minor_units", money(7, "USD")), Value::Int(7));
        assert_eq!(on("currency_code", money(7, "usd")), Value::text("USD"));
        assert_eq!(on("negate", money(7, "USD")), money(-7, "USD"));
        assert_eq!(Transform::Negate.apply(money(i64::MIN, "USD")).unwrap_err().0, "amount_overflow");
    }

    #[test]
    fn times_and_others() {
        let time = Value::Time(Timestamp::parse_rfc3339("2026-11-21T23:00:00Z").unwrap());
        assert_eq!(on("date", time.clone()), Value::text("2026-11-21"));
        assert_eq!(on("rfc3339", time), Value::text("2026-11-21T23:00:00.000Z"));
        assert_eq!(on("text", Value::Int(-3)), Value::text("-3"));
        assert_eq!(on("upper", Value::Null), Value::Null);
    }

    #[test]
    fn failures_name_the_shape_and_not_the_content() {
        let (code, what) = Transform::Country.apply(Value::text("Norwegen")).unwrap_err();
        assert_eq!(code, "country_malformed");
        assert!(!what.contains("Norwegen") && what.contains("8 characters"), "{what}");
        assert_eq!(Transform::Date.apply(Value::text("x")).unwrap_err().0, "transform_type");
        assert!(Transform::parse("uper").unwrap_err().1.contains("upper"));
        assert!(Transform::parse("truncate:0").is_err() && Transform::parse("truncate").is_err());
    }
}
