//! Reading the shop's JSON by name, with the path of whatever is wrong. Messages describe shapes and
//! never repeat what was read.

use std::str::FromStr;

use rust_decimal::Decimal;
use tillway_core::doc::{Json, Kind};
use tillway_core::money::{Currency, Money, MoneyError, shape};
use tillway_core::time::Timestamp;

pub(super) use crate::common::Fault;

/// Members whose digits are identifiers and no card numbers.
pub static IDENTIFIERS: [&str; 14] = [
    "orderId",
    "orderNumber",
    "lineId",
    "sku",
    "gtin",
    "upc",
    "customerId",
    "productId",
    "refundId",
    "shipmentId",
    "trackingNumber",
    "transactionId",
    "authorizationCode",
    "paymentIntentId",
];

/// One step of a path.
#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Item(usize),
}

/// Steps of the longest path anything here asks for, with some to spare.
const DEEPEST: usize = 8;

/// A member that may be absent, and the path to it. The path is only written out where there is a fault.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    value: Option<Json<'a>>,
    path: [Option<Step<'a>>; DEEPEST],
}

fn kind(value: Json<'_>) -> &'static str {
    match value.kind() {
        Kind::Null => "null",
        Kind::Bool(_) => "true or false",
        Kind::Int(_) | Kind::Large(_) | Kind::Fraction(_) => "a number",
        Kind::Text(_) => "a text",
        Kind::List => "a list",
        Kind::Map => "an object",
    }
}

/// Whether a text can be an id: it becomes part of keys and addresses.
pub fn fits_as_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.chars().any(char::is_control)
        && text != "."
        && text != ".."
}

fn plain_decimal(text: &str) -> Option<Decimal> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
    (plain && (1..=24).contains(&digits)).then(|| Decimal::from_str(text).ok()).flatten()
}

impl<'a> Node<'a> {
    /// The root of a document.
    pub fn root(value: Json<'a>) -> Self {
        Self { value: Some(value).filter(|v| !v.is_null()), path: [None; DEEPEST] }
    }

    /// Whether something is there.
    pub const fn is_there(&self) -> bool {
        self.value.is_some()
    }

    /// A fault of this member.
    pub fn fault(&self, code: &'static str, what: impl Into<String>) -> Fault {
        Fault { code, field: self.path(), what: what.into() }
    }

    fn malformed(&self, expected: &str) -> Fault {
        let got = self.value.map_or("nothing", kind);
        self.fault("member_malformed", format!("expected {expected}, got {got}"))
    }

    /// Path from the root, e.g. `data.lines.0.tax`.
    fn path(&self) -> String {
        let text = |step: &Step<'_>| match step {
            Step::Name(name) => (*name).to_owned(),
            Step::Item(at) => at.to_string(),
        };
        self.path.iter().flatten().map(text).collect::<Vec<_>>().join(".")
    }

    fn below(&self, step: Step<'a>, value: Option<Json<'a>>) -> Self {
        let mut path = self.path;
        if let Some(free) = path.iter_mut().find(|step| step.is_none()) {
            *free = Some(step);
        }
        Self { value, path }
    }

    /// A member of an object; absent where the object is. `null` counts as absent.
    pub fn member(&self, name: &'a str) -> Result<Self, Fault> {
        let value = match self.value {
            None => None,
            Some(object) if object.is_object() => object.get(name).filter(|v| !v.is_null()),
            Some(_) => return Err(self.malformed("an object")),
        };
        Ok(self.below(Step::Name(name), value))
    }

    /// The members of a list; none where it is absent.
    pub fn list(&self) -> Result<Vec<Self>, Fault> {
        match self.value {
            None => Ok(Vec::new()),
            Some(list) if list.is_list() => Ok(list
                .items()
                .enumerate()
                .map(|(at, item)| self.below(Step::Item(at), Some(item)))
                .collect()),
            Some(_) => Err(self.malformed("a list")),
        }
    }

    /// A text, trimmed; an empty one is none. A whole number is read as its digits: ids and postal codes
    /// come that way from systems that keep them as numbers.
    pub fn text(&self) -> Result<Option<String>, Fault> {
        match self.value.map(Json::kind) {
            None => Ok(None),
            Some(Kind::Text(text)) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
            Some(Kind::Int(n)) => Ok(Some(n.to_string())),
            Some(Kind::Large(n)) => Ok(Some(n.to_string())),
            Some(_) => Err(self.malformed("a text")),
        }
    }

    /// An id, where there is one.
    pub fn id(&self) -> Result<Option<String>, Fault> {
        let text = self.text()?;
        match text {
            Some(text) if !fits_as_id(&text) => Err(self.fault(
                "member_malformed",
                "expected an id of 1 to 128 characters without control characters",
            )),
            other => Ok(other),
        }
    }

    /// An id that must be there.
    pub fn needed_id(&self) -> Result<String, Fault> {
        self.id()?.ok_or_else(|| self.malformed("an id"))
    }

    /// Yes or no; absent is no.
    pub fn flag(&self) -> Result<bool, Fault> {
        match self.value.map(Json::kind) {
            None => Ok(false),
            Some(Kind::Bool(b)) => Ok(b),
            Some(_) => Err(self.malformed("true or false")),
        }
    }

    /// A whole number that is not negative.
    pub fn count(&self) -> Result<Option<i64>, Fault> {
        let Some(value) = self.value else { return Ok(None) };
        match value.as_i64().filter(|n| *n >= 0) {
            Some(n) => Ok(Some(n)),
            None => Err(self.malformed("a whole number from 0 on")),
        }
    }

    /// An instant.
    pub fn time(&self) -> Result<Option<Timestamp>, Fault> {
        let Some(text) = self.text()? else { return Ok(None) };
        let read = Timestamp::parse_rfc3339(&text);
        read.map(Some).ok_or_else(|| self.fault("member_malformed", "expected an RFC 3339 date-time"))
    }

    /// A quantity: a decimal from 0 on with at most four places.
    pub fn quantity(&self) -> Result<Decimal, Fault> {
        let text = self.text()?.ok_or_else(|| self.malformed("a quantity"))?;
        plain_decimal(&text)
            .map(|q| q.normalize())
            .filter(|q| !q.is_sign_negative() && q.scale() <= 4)
            .ok_or_else(|| {
                let what =
                    format!("expected a decimal from 0 on with at most 4 places, got {}", shape(&text));
                self.fault("member_malformed", what)
            })
    }

    /// `amount` (as text, not yet read) and currency of an amount; the currency must be `order`'s, where
    /// that is known.
    fn amount(&self, order: Option<Currency>) -> Result<Option<(Self, String, Currency)>, Fault> {
        if !self.is_there() {
            return Ok(None);
        }
        let amount = self.member("amount")?;
        // A number would be a float, or leave open whether it counts cents.
        let text = match amount.value.and_then(Json::as_str) {
            Some(text) => text.to_owned(),
            None => {
                let got = amount.value.map_or("nothing", kind);
                let what = format!("expected an amount as a text such as \"10.99\", got {got}");
                return Err(amount.fault("amount_malformed", what));
            }
        };
        let code = self.member("currency")?;
        let named = code.text()?.unwrap_or_default();
        let currency = Currency::parse(&named).map_err(|e| code.fault("currency_unknown", e.to_string()))?;
        if let Some(order) = order.filter(|order| *order != currency) {
            let what = format!("the order is in {order}, this amount in {currency}");
            return Err(code.fault("currency_mixed", what));
        }
        Ok(Some((amount, text, currency)))
    }

    /// An amount in minor units, of any sign.
    pub fn signed_money(&self, order: Option<Currency>) -> Result<Option<Money>, Fault> {
        let Some((amount, text, currency)) = self.amount(order)? else { return Ok(None) };
        Money::parse_major(&text, currency).map(Some).map_err(|e| amount.money_fault(&e))
    }

    /// An amount in minor units from zero on.
    pub fn money(&self, order: Option<Currency>) -> Result<Option<Money>, Fault> {
        let money = self.signed_money(order)?;
        if money.is_some_and(|m| m.minor < 0) {
            return Err(self.member("amount")?.fault("amount_negative", "expected an amount from zero on"));
        }
        Ok(money)
    }

    /// A unit price: a decimal from zero on with at most four places, finer than the currency if need be.
    pub fn price(&self, order: Currency) -> Result<Decimal, Fault> {
        let Some((amount, text, _)) = self.amount(Some(order))? else {
            return Err(self.malformed("a price"));
        };
        let malformed = || amount.money_fault(&MoneyError::NotAnAmount { shape: shape(&text) });
        let price = plain_decimal(&text).ok_or_else(malformed)?.normalize();
        if price.scale() > 4 {
            return Err(
                amount.fault("amount_too_many_digits", "a unit price has at most 4 digits after the point")
            );
        }
        if price.is_sign_negative() && !price.is_zero() {
            return Err(amount.fault("amount_negative", "expected a unit price from zero on"));
        }
        Ok(price)
    }

    /// A fault of an amount.
    pub fn money_fault(&self, error: &MoneyError) -> Fault {
        let code = match error {
            MoneyError::NotAnAmount { .. } => "amount_malformed",
            MoneyError::TooManyDigits { .. } => "amount_too_many_digits",
            MoneyError::UnknownCurrency { .. } => "currency_unknown",
            MoneyError::Mixed { .. } => "currency_mixed",
            MoneyError::Overflow => "amount_overflow",
        };
        self.fault(code, error.to_string())
    }
}
