//! Reading Stripe's objects. Leniently: unknown members are ignored, unknown statuses are carried as text,
//! and an expandable member may be an id or the object. Events keep the version of their endpoint, so no
//! struct of ours decides what a body may look like; only what we need is looked for.

use tillway_core::doc::{Json, Kind};
use tillway_core::money::Money;
use tillway_core::time::Timestamp;

use super::currency;
pub(super) use crate::common::Fault;
use crate::config::Connection;
use crate::port::Owner;

/// A member that is a text with something in it.
pub(super) fn text<'a>(object: Json<'a>, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|t| !t.is_empty())
}

/// A member that is a whole number.
pub(super) fn int(object: Json<'_>, name: &str) -> Option<i64> {
    object.get(name)?.as_i64()
}

/// A member that is `true`.
pub(super) fn flag(object: Json<'_>, name: &str) -> bool {
    object.get(name).and_then(Json::as_bool).unwrap_or(false)
}

/// The id behind an expandable member.
pub(super) fn id<'a>(object: Json<'a>, name: &str) -> Option<&'a str> {
    let member = object.get(name)?;
    match member.kind() {
        Kind::Text(id) => Some(id).filter(|t| !t.is_empty()),
        Kind::Map => text(member, "id"),
        _ => None,
    }
}

/// The object behind an expandable member, where it was expanded.
pub(super) fn expanded<'a>(object: Json<'a>, name: &str) -> Option<Json<'a>> {
    object.get(name).filter(|v| v.is_object())
}

/// A value of the object's metadata.
pub(super) fn metadata<'a>(object: Json<'a>, key: &str) -> Option<&'a str> {
    text(object.get("metadata")?, key)
}

/// An instant given in Unix seconds.
pub(super) fn time(object: Json<'_>, name: &str) -> Option<Timestamp> {
    int(object, name).map(Timestamp::from_unix)
}

/// The shop's order id in the metadata. The commissioned description spells the key without underscores;
/// both are read, whatever is written.
pub(super) fn order_id<'a>(connection: &Connection, object: Json<'a>) -> Option<&'a str> {
    let own = connection.setting("order_metadata_key", ORDER_KEY);
    [own, ORDER_KEY, "clarityorderid"].into_iter().find_map(|key| metadata(object, key))
}

/// Metadata key of the order id unless configured otherwise.
pub(super) const ORDER_KEY: &str = "clarity_order_id";
/// Metadata key of the shop's customer id.
pub(super) const CUSTOMER_KEY: &str = "clarity_customer_id";
/// Metadata key of the command that made an object.
pub(super) const COMMAND_KEY: &str = "tillway_command";
/// Metadata key of the shop's refund request.
pub(super) const REQUEST_KEY: &str = "tillway_request";
/// Metadata key of the last capture command, written with the capture itself.
pub(super) const CAPTURE_KEY: &str = "tillway_capture";
/// Metadata key that marks an object as ours, against echo loops.
pub(super) const ORIGIN_KEY: &str = "sync_origin";
/// Its value.
pub(super) const ORIGIN: &str = "tillway";

/// An amount member, in the object's own currency; never negative.
///
/// # Errors
/// `amount_missing`, `amount_negative`, `currency_unknown`, `amount_unrepresentable`.
pub(super) fn money(connection: &Connection, object: Json<'_>, name: &str) -> Result<Money, Fault> {
    let amount = signed(connection, object, name)?;
    if amount.minor < 0 {
        return Err(Fault::new(
            "amount_negative",
            name,
            "Stripe gives this amount as a negative number; look there",
        ));
    }
    Ok(amount)
}

/// An amount member that may be negative, in the object's own currency.
///
/// # Errors
/// As [`money`], negative numbers aside.
pub(super) fn signed(connection: &Connection, object: Json<'_>, name: &str) -> Result<Money, Fault> {
    let missing = |field: &str| Fault::new("amount_missing", field, "expected a whole number of minor units");
    let code = text(object, "currency")
        .ok_or_else(|| Fault::new("currency_unknown", "currency", "the object names no currency"))?;
    currency::from_wire(connection, code, int(object, name).ok_or_else(|| missing(name))?, name)
}

/// Whom an object is about: its order, else every gateway id in it, the payment first.
pub(super) fn owner(connection: &Connection, object: Json<'_>) -> Owner {
    if let Some(id) = order_id(connection, object) {
        return Owner::Order { id: id.to_owned() };
    }
    let members = ["payment_intent", "charge", "id", "latest_charge", "review"];
    let mut ids: Vec<String> = Vec::new();
    for found in members.into_iter().filter_map(|m| id(object, m)) {
        if !ids.iter().any(|known| known == found) {
            ids.push(found.to_owned());
        }
    }
    if ids.is_empty() { Owner::Nobody } else { Owner::Objects { ids } }
}

/// Best known business key of an event's object.
pub(super) fn group<'a>(connection: &Connection, object: Json<'a>) -> Option<&'a str> {
    let own = || text(object, "id").filter(|i| i.starts_with("pi_"));
    order_id(connection, object)
        .or_else(own)
        .or_else(|| id(object, "payment_intent"))
        .or_else(|| id(object, "charge"))
        .or_else(|| text(object, "id"))
}

/// Whether a text can stand in a path as one of Stripe's ids.
pub(super) fn is_id(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
