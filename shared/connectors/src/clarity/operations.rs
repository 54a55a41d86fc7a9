//! The actions: each reads, compares, and writes only what differs.

use serde_json::{Map, Value};
use tillway_core::doc::Json;
use tillway_core::facts::OrderStatus;
use tillway_core::http::Method;
use tillway_core::ids::digest;
use tillway_core::money::{Currency, Money};

use super::client::{self, Found, Written, refused, unknown};
use super::order;
use super::wire::Node;
use super::{actions, customer, settings};
use crate::config::Connection;
use crate::port::{Call, NotDone, Observation, Outcome, key_prefix};

/// What [`actions::prepare`] stored.
struct Intent(Value);

impl Intent {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }
    fn object(&self, name: &str) -> Map<String, Value> {
        self.0.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
    }
}

/// Does an action.
pub async fn call(call: &Call<'_>) -> Outcome {
    let Ok(intent) = serde_json::from_slice(call.prepared).map(Intent) else {
        return refused("request_unreadable", "the stored request cannot be read");
    };
    match call.action {
        actions::READ_ORDER => read_order(call, &intent).await,
        actions::READ_CUSTOMER => read_customer(call, &intent).await,
        actions::UPDATE_ORDER => update(call, &intent, &ORDER).await,
        actions::UPDATE_CUSTOMER => update(call, &intent, &CUSTOMER).await,
        actions::ADD_SHIPMENT => add_shipment(call, &intent).await,
        _ => refused("action_unknown", "this connector has no such action"),
    }
}

/// An object that is updated by read, compare and write.
struct Kind {
    /// What people call it.
    name: &'static str,
    /// The intent's member that holds its id.
    id: &'static str,
    /// The wire's.
    wire_id: &'static str,
    path: &'static str,
    is_order: bool,
}

const ORDER: Kind =
    Kind { name: "order", id: "order_id", wire_id: "orderId", path: "paths.order", is_order: true };
const CUSTOMER: Kind = Kind {
    name: "customer",
    id: "customer_id",
    wire_id: "customerId",
    path: "paths.customer",
    is_order: false,
};

fn disagrees(field: &str) -> Outcome {
    Outcome::Disagrees {
        field: field.to_owned(),
        observation: Observation::default(),
        what: format!("the shop's answer has another {field} than the request"),
    }
}

/// Reads one object and makes sure that it is the one asked for.
async fn read(call: &Call<'_>, kind: &Kind, id: &str) -> Result<Found, Outcome> {
    let url = client::url(call.connection, kind.path, Some(id));
    let url = url.ok_or_else(|| refused("address_forbidden", "base_url is missing or no address"))?;
    let (found, _) = client::get(call, url).await?;
    if is(found.body.json(), kind.wire_id, id) { Ok(found) } else { Err(disagrees(kind.wire_id)) }
}

fn is(body: Json<'_>, member: &str, id: &str) -> bool {
    let told = Node::root(body).member(member).and_then(|m| m.text());
    told.is_ok_and(|told| told.as_deref() == Some(id))
}

/// What an order read or answered means; `Err` where it has a fault of meaning, as code and sentence.
fn observe(connection: &Connection, body: Json<'_>) -> Result<Observation, (&'static str, String)> {
    let node = Node::root(body);
    let read = order::version(connection, &node).and_then(|version| {
        let missing = || {
            let what = "the order has no version; where the shop counts none, set version_from: updated_at";
            node.fault("version_missing", what)
        };
        order::read(connection, &node, version.ok_or_else(missing)?)
    });
    read.map(Observation::from).map_err(|fault| (fault.code, format!("{}: {}", fault.field, fault.what)))
}

fn settled(observation: Observation, provider_id: &str, summary: String) -> Outcome {
    Outcome::Settled { observation, provider_id: Some(provider_id.to_owned()), summary }
}

/// Settles with what the order says. An order that cannot be accepted does not undo what was written; its
/// own webhook brings it to the parking lot.
fn settled_with(call: &Call<'_>, kind: &Kind, body: Json<'_>, id: &str, summary: String) -> Outcome {
    if !kind.is_order {
        return settled(Observation::default(), id, summary);
    }
    match observe(call.connection, body) {
        Ok(observation) => settled(observation, id, summary),
        Err((code, _)) => settled(Observation::default(), id, format!("{summary}; the order itself: {code}")),
    }
}

async fn read_order(call: &Call<'_>, intent: &Intent) -> Outcome {
    let id = intent.text("order_id");
    let found = match read(call, &ORDER, id).await {
        Ok(found) => found,
        Err(ended) => return ended,
    };
    match observe(call.connection, found.body.json()) {
        Ok(observation) => settled(observation, id, "read the order".to_owned()),
        Err((code, what)) => refused(code, what),
    }
}

async fn read_customer(call: &Call<'_>, intent: &Intent) -> Outcome {
    let id = intent.text("customer_id");
    let found = match read(call, &CUSTOMER, id).await {
        Ok(found) => found,
        Err(ended) => return ended,
    };
    match customer::read(call.connection, &Node::root(found.body.json())) {
        Ok(Some(observation)) => settled(observation, id, "read the customer".to_owned()),
        Ok(None) => refused("version_missing", "updatedAt: the customer does not say when it changed"),
        Err(fault) => refused(fault.code, format!("{}: {}", fault.field, fault.what)),
    }
}

fn same_amount(a: Json<'_>, b: &Map<String, Value>) -> bool {
    let money = |currency: Option<&str>, amount: Option<&str>| {
        Money::parse_major(amount?, Currency::parse(currency?).ok()?).ok()
    };
    let there = |name: &str| a.get(name).and_then(Json::as_str);
    let wanted = |name: &str| b.get(name).and_then(Value::as_str);
    let there = money(there("currency"), there("amount"));
    there.is_some() && there == money(wanted("currency"), wanted("amount"))
}

/// Whether every wanted member stands there already.
fn holds(there: Option<Json<'_>>, wanted: &Value) -> bool {
    match (there, wanted) {
        (Some(there), Value::Object(members)) if members.contains_key("currency") => {
            same_amount(there, members)
        }
        (Some(there), Value::Object(members)) => members.iter().all(|(name, w)| holds(there.get(name), w)),
        (there, wanted) => there.is_some_and(|there| there == *wanted),
    }
}

fn same_status(there: Option<Json<'_>>, wanted: &str) -> bool {
    let there = there.and_then(Json::as_str).unwrap_or_default();
    there.trim().to_lowercase() == wanted.trim().to_lowercase()
}

/// What is left to be written, and why something is not.
fn difference(
    connection: &Connection,
    there: Json<'_>,
    wanted: &Map<String, Value>,
) -> Result<(Map<String, Value>, Option<&'static str>), Outcome> {
    let mut left = wanted.clone();
    let mut kept = None;
    if let Some(target) = wanted.get("status").and_then(Value::as_str) {
        let current = there.get("status").and_then(Json::as_str).unwrap_or_default();
        if same_status(there.get("status"), target) {
            left.remove("status");
        } else {
            // A text nobody listed may well be a step of fulfilment of this shop's own.
            let current = settings::status_in(connection, current).ok_or_else(|| {
                refused("status_unknown", "status: the order's present text is not in status_in; add it")
            })?;
            let target = settings::status_in(connection, target);
            let allowed = target.is_some_and(|t| settings::may_overwrite_fulfilment(connection, t));
            // Cancelled while we were writing: only what follows a cancellation goes over it.
            let late = current == OrderStatus::Cancelled && target.is_some_and(precedes_cancelling);
            if late || (current.is_fulfilment() && !allowed) {
                left.remove("status");
                left.remove("statusReason");
                kept = Some(current.name());
            }
        }
    }
    left.retain(|name, wanted| name == "status" || !holds(there.get(name), wanted));
    // Ids are written one by one: sending one again that stands already would only make a larger change.
    if let Some(ids) = left.get_mut("externalIds").and_then(Value::as_object_mut) {
        let stands = |name: &str| there.get("externalIds").and_then(|ids| ids.get(name));
        ids.retain(|name, wanted| stands(name).is_none_or(|there| there != *wanted));
    }
    Ok((left, kept))
}

/// Statuses of an order that still goes on.
const fn precedes_cancelling(status: OrderStatus) -> bool {
    matches!(
        status,
        OrderStatus::PendingPayment
            | OrderStatus::OnHold
            | OrderStatus::Authorized
            | OrderStatus::PartiallyPaid
            | OrderStatus::Paid
            | OrderStatus::PaymentFailed
    )
}

/// The key of a write. It begins with the command's own; what follows names this request alone: a shop
/// that keeps the answer of a refused or failed write must not give it to the next one, which was made
/// from a newer read.
fn key(call: &Call<'_>, parts: &[&str]) -> String {
    let command = format!("{}{}", key_prefix(&call.connection.name), call.command);
    if parts.is_empty() && call.generation == 0 {
        return command;
    }
    let generation = call.generation.to_string();
    let own: Vec<&str> = std::iter::once(generation.as_str()).chain(parts.iter().copied()).collect();
    format!("{command}:{}", digest(&own).get(..12).unwrap_or_default())
}

/// Reads, compares, writes what differs; after a conflict once more from the start.
async fn update(call: &Call<'_>, intent: &Intent, kind: &Kind) -> Outcome {
    let (id, wanted) = (intent.text(kind.id), intent.object("patch"));
    for attempt in 0..2 {
        let found = match read(call, kind, id).await {
            Ok(found) => found,
            Err(ended) => return ended,
        };
        let (left, kept) = match difference(call.connection, found.body.json(), &wanted) {
            Ok(difference) => difference,
            Err(ended) => return ended,
        };
        let kept = kept.map_or_else(String::new, |status| format!("; the shop's status {status} stays"));
        if left.is_empty() {
            return settled_with(call, kind, found.body.json(), id, format!("already so{kept}"));
        }
        let summary = format!("wrote {} to the {}{kept}", actions::names(&left), kind.name);
        let Some(url) = client::url(call.connection, kind.path, Some(id)) else {
            return refused("address_forbidden", "base_url is missing or no address");
        };
        let body = Value::Object(left);
        let key = key(
            call,
            &[found.tag.as_deref().unwrap_or_default(), &body.to_string(), &call.now.0.to_string()],
        );
        match client::write(call, Method::Patch, url, &body, found.tag.as_deref(), key).await {
            Written::Conflict => {}
            Written::Ended(ended) => return ended,
            Written::Done(Some(answer)) => {
                return check(call, kind, answer.json(), id, &body, summary);
            }
            Written::Done(None) if attempt == 0 => {
                // Executed, but the answer does not show the object: read it.
                return match read(call, kind, id).await {
                    Ok(found) => check(call, kind, found.body.json(), id, &body, summary),
                    Err(disagrees @ Outcome::Disagrees { .. }) => disagrees,
                    Err(_) => unknown("an answer without the object", false),
                };
            }
            Written::Done(None) => return unknown("an answer without the object", false),
        }
    }
    Outcome::NotDone { after: None, why: NotDone::Conflict }
}

/// The first member of the payment that the shop shows otherwise than it was written. One it does not show tells nothing.
fn payment_differs(there: Json<'_>, sent: &Value) -> Option<String> {
    let there = there.get("payment")?;
    // A shop may show an id as a number, a system's name in its own case, and a token masked.
    let agrees = |name: &str, found: Json<'_>, wanted: &Value| match (name, wanted.as_str()) {
        ("token", _) => true,
        ("gateway", Some(wanted)) => same_status(Some(found), wanted),
        (_, Some(wanted)) if name.ends_with("Id") => {
            let id = Node::root(there).member(name).and_then(|at| at.id());
            id.is_ok_and(|id| id.as_deref() == Some(wanted))
        }
        _ => holds(Some(found), wanted),
    };
    let differs = |(name, wanted): &(&String, &Value)| {
        there.get(name).is_some_and(|found| !found.is_null() && !agrees(name, found, wanted))
    };
    let (name, _) = sent.get("payment")?.as_object()?.iter().find(differs)?;
    Some(format!("payment.{name}"))
}

/// Whether the answer agrees with the request.
fn check(call: &Call<'_>, kind: &Kind, body: Json<'_>, id: &str, sent: &Value, summary: String) -> Outcome {
    if !is(body, kind.wire_id, id) {
        return disagrees(kind.wire_id);
    }
    if let Some(field) = payment_differs(body, sent) {
        return disagrees(&field);
    }
    let there = body.get("status");
    let agrees = sent.get("status").and_then(Value::as_str).is_none_or(|wanted| {
        let canonical = |text: &str| settings::status_in(call.connection, text);
        let same = there.and_then(Json::as_str).and_then(canonical).filter(|s| Some(*s) == canonical(wanted));
        // The same meaning in another text is the shop's own way to show it.
        same_status(there, wanted) || same.is_some()
    });
    if agrees { settled_with(call, kind, body, id, summary) } else { disagrees("status") }
}

fn has_shipment(order: Json<'_>, shipment: &str) -> bool {
    let mut shipments = order.get("shipments").into_iter().flat_map(Json::items);
    shipments.any(|one| is(one, "shipmentId", shipment))
}

async fn add_shipment(call: &Call<'_>, intent: &Intent) -> Outcome {
    let (id, shipment) = (intent.text("order_id"), intent.object("shipment"));
    let shipment_id = shipment.get("shipmentId").and_then(Value::as_str).unwrap_or_default().to_owned();
    let body = Value::Object(shipment);
    for attempt in 0..2 {
        let found = match read(call, &ORDER, id).await {
            Ok(found) => found,
            Err(ended) => return ended,
        };
        if has_shipment(found.body.json(), &shipment_id) {
            return settled_with(call, &ORDER, found.body.json(), &shipment_id, "already so".to_owned());
        }
        if attempt > 0 {
            break;
        }
        let Some(url) = client::url(call.connection, "paths.shipments", Some(id)) else {
            return refused("address_forbidden", "base_url is missing or no address");
        };
        // One body for the command, and one key: a shop that honours it adds no second parcel.
        match client::write(call, Method::Post, url, &body, None, key(call, &[])).await {
            Written::Conflict => {}
            Written::Ended(ended) => return ended,
            Written::Done(Some(echo)) if !is(echo.json(), "shipmentId", &shipment_id) => {
                return disagrees("shipmentId");
            }
            Written::Done(_) => {
                return settled(Observation::default(), &shipment_id, "added the shipment".to_owned());
            }
        }
    }
    Outcome::NotDone { after: None, why: NotDone::Conflict }
}
