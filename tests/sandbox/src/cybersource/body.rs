//! Reading request bodies: members by dotted paths, amounts as decimal texts, and the errors that name them.

use serde_json::Value;
use tillway_core::money::{Currency, Money};

use super::errors::ApiError;

/// A JSON body.
#[derive(Clone, Copy)]
pub(super) struct Body<'a>(pub(super) &'a Value);

/// Where an order's amount stands.
pub(super) const TOTAL: &str = "orderInformation.amountDetails.totalAmount";
/// And its currency.
pub(super) const CURRENCY: &str = "orderInformation.amountDetails.currency";

impl<'a> Body<'a> {
    pub(super) fn get(self, path: &str) -> Option<&'a Value> {
        let found = path.split('.').try_fold(self.0, |at, name| at.get(name))?;
        (!found.is_null()).then_some(found)
    }

    /// A text; anything else there is refused.
    pub(super) fn text(self, path: &str) -> Result<Option<&'a str>, ApiError> {
        match self.get(path) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid(path, "expected a text")),
        }
    }

    pub(super) fn needed(self, path: &str) -> Result<&'a str, ApiError> {
        self.text(path)?.ok_or_else(|| ApiError::missing(path))
    }

    /// A text of at most `most` characters.
    pub(super) fn short(self, path: &str, most: usize) -> Result<Option<&'a str>, ApiError> {
        match self.text(path)? {
            Some(text) if text.chars().count() > most => {
                Err(ApiError::invalid(path, format!("at most {most} characters")))
            }
            found => Ok(found),
        }
    }

    pub(super) fn flag(self, path: &str) -> Result<bool, ApiError> {
        match self.get(path) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(ApiError::invalid(path, "expected true or false")),
        }
    }

    pub(super) fn whole(self, path: &str) -> Result<Option<i64>, ApiError> {
        match self.get(path) {
            None => Ok(None),
            Some(value) => {
                value.as_i64().map(Some).ok_or_else(|| ApiError::invalid(path, "expected a whole number"))
            }
        }
    }

    /// A list of texts.
    pub(super) fn words(self, path: &str) -> Result<Vec<&'a str>, ApiError> {
        let Some(list) = self.get(path) else { return Ok(Vec::new()) };
        let wrong = || ApiError::invalid(path, "expected a list of texts");
        let items = list.as_array().ok_or_else(wrong)?;
        items.iter().map(|item| item.as_str().ok_or_else(wrong)).collect()
    }

    /// A currency the account has.
    pub(super) fn currency(self, path: &str, enabled: &[Currency]) -> Result<Currency, ApiError> {
        let code = self.needed(path)?;
        let upper = code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
        let known = Currency::parse(code).ok().filter(|_| upper);
        let known = known.ok_or_else(|| ApiError::invalid(path, "no ISO 4217 code"))?;
        if enabled.contains(&known) {
            return Ok(known);
        }
        let message = "the currency is not enabled for this merchant";
        Err(ApiError::refuse("INVALID_MERCHANT_CONFIGURATION", message).at(path))
    }

    /// An amount above zero in major units. The real service cuts off what the currency has no digits for without a
    /// word; here it is refused, for it is a bug of the caller's.
    pub(super) fn amount(self, path: &str, currency: Currency) -> Result<i64, ApiError> {
        let text = self.needed(path)?;
        let wrong = |what: &str| ApiError::invalid(path, what.to_owned());
        let (units, cents) = text.split_once('.').unwrap_or((text, ""));
        let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        if units.is_empty() || !digits(units) || !digits(cents) || text.ends_with('.') || text.len() > 15 {
            return Err(wrong("expected a decimal text in major units, e.g. 102.21"));
        }
        if u32::try_from(cents.len()).unwrap_or(u32::MAX) > currency.exponent() {
            return Err(wrong("more decimals than the currency has"));
        }
        let money = Money::parse_major(text, currency).map_err(|_| wrong("does not fit"))?;
        if money.is_positive() {
            Ok(money.minor)
        } else {
            Err(ApiError::refuse("INVALID_AMOUNT", "must be above zero").at(path))
        }
    }
}

/// What every payment call says about itself.
pub(super) struct Reference<'a> {
    pub(super) code: &'a str,
    pub(super) merchant_id: Option<&'a str>,
    pub(super) comments: Option<&'a str>,
}

impl<'a> Reference<'a> {
    pub(super) fn of(body: Body<'a>) -> Result<Self, ApiError> {
        let code = "clientReferenceInformation.code";
        body.needed(code)?;
        Ok(Self {
            code: body.short(code, 50)?.unwrap_or(""),
            merchant_id: body.short("clientReferenceInformation.transactionId", 60)?,
            comments: body.short("clientReferenceInformation.comments", 255)?,
        })
    }
}

/// Merchant-defined fields, numbered 1 to 100.
pub(super) fn defined(body: Body<'_>) -> Result<Value, ApiError> {
    let path = "merchantDefinedInformation";
    let Some(list) = body.get(path) else { return Ok(Value::Array(Vec::new())) };
    let wrong =
        |at: usize, name: &str| ApiError::invalid(format!("{path}[{at}].{name}"), "not as it must be");
    let items = list.as_array().ok_or_else(|| ApiError::invalid(path, "expected a list"))?;
    let mut seen = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let key = item.get("key").and_then(Value::as_str).ok_or_else(|| wrong(at, "key"))?;
        let number = key.parse::<u32>().ok().filter(|n| (1..=100).contains(n));
        if number.is_none() || seen.contains(&key) {
            return Err(wrong(at, "key"));
        }
        let value = item.get("value").and_then(Value::as_str);
        value.filter(|v| v.chars().count() <= 255).ok_or_else(|| wrong(at, "value"))?;
        seen.push(key);
    }
    Ok(list.clone())
}
