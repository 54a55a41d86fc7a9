//! Types in mappings: constants, and what fits where.

use rust_decimal::Decimal;

use crate::money::{Currency, Money};
use crate::time::Timestamp;
use crate::value::{Type, Value};

/// Reads a constant as the type it is meant for.
pub(crate) fn constant(text: &str, ty: Type) -> Option<Value> {
    match ty {
        Type::Text => Some(Value::text(text)),
        Type::Bool => text.parse().ok().map(Value::Bool),
        Type::Int => text.parse().ok().map(Value::Int),
        Type::Decimal => text.parse::<Decimal>().ok().map(Value::Decimal),
        Type::Time => Timestamp::parse_rfc3339(text).map(Value::Time),
        Type::Money => {
            let (amount, currency) = text.split_once(' ')?;
            let currency = Currency::parse(currency).ok()?;
            Money::parse_major(amount, currency).ok().map(Value::Money)
        }
        Type::List(_) | Type::Record(_) | Type::Dict => None,
    }
}

/// Whether a value of one type can be put where another is wanted.
pub(crate) fn fits(from: Type, to: Type) -> bool {
    match (from, to) {
        (Type::Int, Type::Decimal) => true,
        (Type::List(a), Type::List(b)) | (Type::Record(a), Type::Record(b)) => std::ptr::eq(a, b) || a == b,
        (a, b) => a == b,
    }
}

/// What turns one type into another.
pub(crate) fn remedy(from: Type, to: Type) -> &'static str {
    match (from, to) {
        (Type::Money, Type::Text) => "use transform: money_major, or currency_code",
        (Type::Money, Type::Int) => "use transform: minor_units",
        (Type::Time, Type::Text) => "use transform: rfc3339, or date",
        (Type::Int | Type::Decimal | Type::Bool, Type::Text) => "use transform: text",
        (Type::List(_), Type::List(_)) => "use {each: …, fields: {…}}",
        (Type::Record(_), _) => "name one of its fields",
        _ => "take a source of that type, or a transform that gives it",
    }
}
