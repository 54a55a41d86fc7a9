//! The lines of an order as Decision Manager takes them (`orderInformation.lineItems`).
//!
//! They say what was bought and decide on no money: what is charged is the total. So they need not add up to it, and a
//! line that does not fit the wire is made to fit. What a person would have to mend is refused with its field: a product
//! code, which rules are written by.

use std::borrow::Cow;

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Map, Value as Json};
use tillway_core::money::{Currency, Money};
use tillway_core::value::Value;

use super::plan::Params;
use super::wire::Fault;
use crate::common;

/// The setting that bounds how many are sent, with its least and most value.
pub(super) const LIMIT: (&str, i64, i64) = ("order_lines", 0, 200);
/// How many where nothing is set.
const USUAL: i64 = 100;
/// Longest text of a line.
const LONGEST: usize = 255;
/// More pieces than this are sent as one.
const PIECES: i64 = 999_999_999;
/// Digits of an amount.
const WIDEST: usize = 15;

/// Which call the lines are for: the two name their members differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// `POST /pts/v2/payments`.
    Payment,
    /// `POST /risk/v1/decisions`: `productSKU`, and no discount.
    Decision,
}

/// The member, where there is a line to send.
pub(super) fn lines(p: &Params<'_>, currency: Currency, asks: Asks) -> Result<Option<Json>, Fault> {
    let Value::List(all) = p.params.at("lines") else { return Ok(None) };
    let most = usize::try_from(p.connection.number(LIMIT.0, USUAL)).unwrap_or(0);
    let mut sent = Vec::with_capacity(all.len().min(most));
    for at in worth_most(all, most) {
        if let Some(line) = all.get(at) {
            sent.extend(one(line, at, currency, asks)?.map(Json::Object));
        }
    }
    Ok((!sent.is_empty()).then_some(Json::Array(sent)))
}

/// Places of the lines that are sent, in their order. Who fills a cart chooses what comes first, so it is not what counts.
fn worth_most(all: &[Value], most: usize) -> Vec<usize> {
    let worth = |at: &usize| all.get(*at).and_then(|l| l.at("total").as_money()).map_or(0, |m| m.minor);
    let mut places: Vec<usize> = (0..all.len()).collect();
    if places.len() > most {
        places.sort_by_key(|at| (std::cmp::Reverse(worth(at)), *at));
        places.truncate(most);
        places.sort_unstable();
    }
    places
}

fn one(line: &Value, at: usize, currency: Currency, asks: Asks) -> Result<Option<Map<String, Json>>, Fault> {
    let Some(sku) = common::text(line, "sku").map(short) else { return Ok(None) };
    let Some((quantity, price)) = pieces(line, currency) else { return Ok(None) };
    let code = common::text(line, "code").unwrap_or("default");
    if code.len() > LONGEST || !code.bytes().all(|b| b.is_ascii_graphic()) {
        let what = "a product code has at most 255 letters, digits and signs without spaces; correct the mapping or its lookup";
        return Err(Fault::new("line_code_malformed", format!("lines[{at}].code"), what));
    }
    let name = common::text(line, "name").map_or_else(|| sku.clone(), short);
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<Json>| out.extend(value.map(|v| (name.to_owned(), v)));
    put("productCode", Some(code.into()));
    put("productName", Some(name.into()));
    put(if asks == Asks::Payment { "productSku" } else { "productSKU" }, Some(sku.into()));
    put("quantity", Some(quantity.into()));
    put("unitPrice", price.and_then(wire));
    let money = |name: &str| line.at(name).as_money().filter(|m| m.is_positive() && m.currency == currency);
    put("taxAmount", money("tax").and_then(wire));
    put("discountAmount", money("discount").filter(|_| asks == Asks::Payment).and_then(wire));
    Ok(Some(out))
}

/// How many, and at what price each. Cybersource counts whole pieces: half a metre is one piece at what it costs.
fn pieces(line: &Value, currency: Currency) -> Option<(i64, Option<Money>)> {
    let Value::Decimal(quantity) = line.at("quantity") else { return None };
    if *quantity <= Decimal::ZERO {
        return None;
    }
    let price = match line.at("unit_price") {
        Value::Decimal(price) if !price.is_sign_negative() => Some(*price),
        _ => None,
    };
    let whole =
        Some(*quantity).filter(|q| q.fract().is_zero()).and_then(|q| q.to_i64()).filter(|n| *n <= PIECES);
    Some(match whole {
        Some(count) => (count, price.and_then(|price| rounded(price, currency))),
        None => {
            let worth = price.and_then(|price| Money::extend(price, *quantity, currency).ok());
            (1, worth.or_else(|| line.at("total").as_money().filter(|m| m.currency == currency)))
        }
    })
}

/// A price may be finer than the currency, and Cybersource cuts off what it has no digits for: rounded half to even.
fn rounded(price: Decimal, currency: Currency) -> Option<Money> {
    let price = price.round_dp_with_strategy(currency.exponent(), RoundingStrategy::MidpointNearestEven);
    Money::from_major(price, currency).ok()
}

fn wire(amount: Money) -> Option<Json> {
    Some(amount.to_major().to_string())
        .filter(|text| amount.minor >= 0 && text.len() <= WIDEST)
        .map(Json::from)
}

/// A text as the wire takes it.
fn short(text: &str) -> Cow<'_, str> {
    let fits = text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
    if fits { text.into() } else { text.chars().filter(|c| !c.is_control()).take(LONGEST).collect() }
}

#[cfg(test)]
#[path = "plan_lines_tests.rs"]
mod tests;
