//! Looking for what no webhook told: the list of events, and single objects by their id.

use serde_json::{Value, json};
use tillway_core::doc::{Doc, Json};
use tillway_core::time::Timestamp;

use super::client::{Client, ReadFault};
use super::wire::{self, Fault, id, text};
use super::{facts, subscriptions, webhook};
use crate::config::Connection;
use crate::port::{Call, NotDone, Observation, Owner, SweepPage, SweptEvent};

/// Types one request may name \[from memory\].
const TYPES_PER_REQUEST: usize = 20;

/// The types a sweep asks for.
fn types(connection: &Connection) -> Vec<&str> {
    let set = connection.setting("sweep_types", "");
    let chosen: Vec<&str> = set.split([',', ' ']).map(str::trim).filter(|t| !t.is_empty()).collect();
    if chosen.is_empty() { subscriptions::swept() } else { chosen }
}

fn not_now(fault: ReadFault) -> NotDone {
    match fault {
        ReadFault::NotNow(_, why) => why,
        ReadFault::Missing(_) | ReadFault::Refused(_) => NotDone::Unavailable,
    }
}

/// One page of events. Stripe lists newest first and pages towards the past, so the pages of a sweep come
/// newest first, each sorted oldest first; the caller reads them all before it moves its own mark. What
/// happens meanwhile is newer than the first page and belongs to the next sweep.
///
/// The cursor is `<group of types>:<last id>`.
pub(super) async fn sweep(
    call: &Call<'_>,
    since: Timestamp,
    cursor: Option<&str>,
) -> Result<SweepPage, NotDone> {
    let (group, after) = cursor.and_then(|c| c.split_once(':')).unwrap_or(("0", ""));
    let group: usize = group.parse().unwrap_or(0);
    let types = types(call.connection);
    let mut groups = types.chunks(TYPES_PER_REQUEST).skip(group);
    let Some(asked) = groups.next() else { return Ok(SweepPage { events: Vec::new(), next: None }) };
    let more_groups = groups.next().is_some();
    let query = json!({
        "created": {"gte": since.unix()},
        "types": asked,
        "limit": 100,
        "starting_after": Some(after).filter(|a| !a.is_empty()),
    });
    let page = Client::for_many(call, 1).get("/v1/events", &query).await.map_err(not_now)?;
    let page = page.json();
    let items = || page.get("data").into_iter().flat_map(Json::items);
    let last = items().last().and_then(|e| text(e, "id")).filter(|_| wire::flag(page, "has_more"));
    let next = match last {
        Some(last) => Some(format!("{group}:{last}")),
        None => more_groups.then(|| format!("{}:", group.saturating_add(1))),
    };
    let mut events: Vec<SweptEvent> = items().map(|e| swept(call, since, e)).collect();
    events.sort_by_key(|e| e.created_at);
    Ok(SweepPage { events, next })
}

fn swept(call: &Call<'_>, since: Timestamp, event: Json<'_>) -> SweptEvent {
    let named = webhook::name(call.connection, event);
    SweptEvent {
        event_id: named.event_id,
        event_type: named.event_type,
        group: named.group,
        created_at: named.created_at.unwrap_or(since),
        body: event.to_doc(),
    }
}

/// Reads an object by its id, follows it to its payment, and tells whose it is.
pub(super) async fn resolve(call: &Call<'_>, object: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
    let Some(path) = path_of(object) else { return Ok(None) };
    let client = Client::for_many(call, 3);
    let Some(found) = read(&client, &path).await? else { return Ok(None) };
    let found = found.json();
    let mut told = vec![observe(call.connection, object, found)];
    let mut owner = wire::order_id(call.connection, found).map(str::to_owned);
    // Refunds and disputes carry none of the payment's metadata; the payment does.
    if let Some(payment) = id(found, "payment_intent").filter(|p| wire::is_id(p)) {
        if let Some(pi) = read(&client, &format!("/v1/payment_intents/{payment}")).await? {
            owner = owner.or_else(|| wire::order_id(call.connection, pi.json()).map(str::to_owned));
            told.insert(0, observe(call.connection, payment, pi.json()));
        }
    } else if let Some(charge) = id(found, "charge").filter(|c| owner.is_none() && wire::is_id(c)) {
        let charge = read(&client, &format!("/v1/charges/{charge}")).await?;
        owner = charge.and_then(|c| wire::order_id(call.connection, c.json()).map(str::to_owned));
    }
    let Some(owner) = owner else { return Ok(None) };
    let mut all = Observation::default();
    for observation in told.into_iter().flatten() {
        all.facts.extend(observation.facts);
        if !observation.personal.is_empty() {
            all.personal = observation.personal;
        }
    }
    Ok(Some((Owner::Order { id: owner }, all)))
}

fn path_of(object: &str) -> Option<String> {
    let kind = object.split_once('_').filter(|_| wire::is_id(object))?.0;
    let folder = match kind {
        "pi" => "payment_intents",
        "ch" | "py" => "charges",
        "re" | "pyr" => "refunds",
        "dp" | "du" => "disputes",
        "prv" => "reviews",
        _ => return None,
    };
    Some(format!("/v1/{folder}/{object}"))
}

async fn read(client: &Client<'_>, path: &str) -> Result<Option<Doc>, NotDone> {
    let expand = path.starts_with("/v1/payment_intents/").then(|| json!({"expand": ["latest_charge"]}));
    match client.get(path, &expand.unwrap_or(Value::Null)).await {
        Ok(found) => Ok(Some(found)),
        Err(ReadFault::Missing(_)) => Ok(None),
        Err(fault) => Err(not_now(fault)),
    }
}

/// Facts of an object; an owner is worth telling even where the facts cannot be read, for the event that
/// asked is then parked with the order and with its own reason.
fn observe(connection: &Connection, object: &str, found: Json<'_>) -> Result<Observation, Fault> {
    let facts = match object.split_once('_').map_or("", |(kind, _)| kind) {
        "pi" => return facts::observe_payment(connection, found),
        "ch" | "py" => facts::of_charge(connection, found)?,
        "re" | "pyr" => vec![facts::of_refund(connection, found)?],
        "dp" | "du" => facts::of_dispute(connection, found)?,
        _ => facts::of_review(found)?,
    };
    Ok(Observation { facts, ..Observation::default() })
}
