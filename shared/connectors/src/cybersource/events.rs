//! What a webhook event means. Pure: the same body gives the same facts, however often it comes.
//!
//! The payload's shape varies by product: it is brought to one object here. An event about a capture, refund, void or
//! reversal does not say which payment it belongs to, and the acceptance of a case not what was captured with it: for
//! these the order is read.

use tillway_core::doc::{Doc, Json};
use tillway_core::facts::{Fact, ReviewOutcome};
use tillway_core::ids::digest;

use super::actions;
use super::chargebacks::{self, CHARGEBACK};
use super::facts::{self, Paid, Went, amounts};
use super::read;
use super::routes;
use super::transaction;
use super::wire::{self, Fault, text};
use crate::config::Connection;
use crate::port::{Interpreted, Observation, Owner, Rejected};

/// Type of a list that the key may not read.
pub(super) const UNREADABLE: &str = "tillway.report_unreadable";
/// Type of a transaction that a sweep may not read.
pub(super) const TRANSACTION_UNREADABLE: &str = "tillway.transaction_unreadable";
/// Type of what a sweep reads.
pub(super) const SWEPT: &str = "tillway.transaction";

/// Ids of an event of several that a person is told.
const NAMED: usize = 10;

/// What a payload is about, in whichever shape it comes.
enum About<'a> {
    Nothing,
    One(Json<'a>),
    /// A list of them, each of which may have an order of its own.
    Several(Vec<Json<'a>>),
}

fn parts(object: Json<'_>) -> Vec<Json<'_>> {
    if object.is_list() { object.items().collect() } else { vec![object] }
}

fn about_what(body: Json<'_>) -> About<'_> {
    // The test call of a subscription: about nothing, whatever type it bears.
    if body.get("payload").is_none() && body.get("payloads").is_some() {
        return About::Nothing;
    }
    let payload = body.get("payload").unwrap_or(body);
    let found: Vec<Json<'_>> = parts(payload)
        .into_iter()
        .flat_map(|part| {
            let inner =
                part.get("data").or_else(|| part.at(&["transactionResult", "details"])).unwrap_or(part);
            parts(inner)
        })
        .filter(|object| object.is_object())
        .collect();
    match found.as_slice() {
        [] => About::Nothing,
        [one] => About::One(*one),
        _ => About::Several(found),
    }
}

/// Id and ordering group of an event. The trace id changes with each delivery, so the id is made of what the event says:
/// its type, its object and that object's status; else of the payload as it stands.
pub(super) fn name(event_type: &str, body: Json<'_>) -> (String, String) {
    // Several are no event of the first one.
    let object = match about_what(body) {
        About::One(object) => object,
        About::Nothing | About::Several(_) => Json::null(),
    };
    let id = text(object, &["id"]).filter(|i| wire::is_id(i));
    let status = text(object, &["status"]).or_else(|| text(object, &["applicationInformation", "status"]));
    let event_id = match id {
        Some(id) => format!("{event_type}:{id}:{}", status.unwrap_or("")),
        None => {
            let payload = body.get("payload").unwrap_or(body);
            format!("{event_type}:{}", digest(&["cybersource event", &payload.to_string()]))
        }
    };
    let reference = wire::code(object).or_else(|| text(object, &["referenceNumber"]));
    let group = reference.or(id).unwrap_or(&event_id).to_owned();
    (event_id, group)
}

/// Says what an event means.
pub(super) fn interpret(
    connection: &Connection,
    event_type: &str,
    body: Json<'_>,
) -> Result<Interpreted, Rejected> {
    match about_what(body) {
        About::Nothing => Ok(Interpreted::Unhandled),
        About::One(object) => meaning(connection, event_type, body, object),
        About::Several(all) => several(connection, event_type, body, &all),
    }
}

fn meaning(
    connection: &Connection,
    event_type: &str,
    body: Json<'_>,
    object: Json<'_>,
) -> Result<Interpreted, Rejected> {
    match event_type {
        SWEPT => return swept(connection, body, object),
        CHARGEBACK => return chargebacks::interpret(connection, object),
        UNREADABLE => return Err(unreadable(object)),
        TRANSACTION_UNREADABLE => return Err(transaction_unreadable(connection, object)),
        _ => {}
    }
    let owner = wire::owner(connection, object);
    let parts: Vec<&str> = event_type.split('.').collect();
    match parts.as_slice() {
        ["payments", "authorization", "status", _] => payment(connection, object, owner),
        // Nothing came of it.
        ["payments", "void" | "reversal", "status", "rejected"] => Ok(about(owner, Vec::new())),
        ["payments", "capture" | "refund" | "void" | "reversal", "status", _] => {
            let id = needed_id(object, &owner)?;
            Ok(read_again(owner, id.to_owned()))
        }
        ["risk", "casemanagement", "decision", decision @ ("accept" | "reject")] => {
            case(object, owner, decision)
        }
        ["risk", "profile", "decision", "reject" | "review"] => {
            let id = needed_id(object, &owner)?;
            Ok(read_again(owner, id.to_owned()))
        }
        _ => Ok(Interpreted::Unhandled),
    }
}

/// Several objects in one event, which none of the vendor's samples has: told to a person, for an event has one meaning, and
/// none of them must be passed over.
fn several(
    connection: &Connection,
    event_type: &str,
    body: Json<'_>,
    all: &[Json<'_>],
) -> Result<Interpreted, Rejected> {
    let owners: Vec<Owner> = all.iter().map(|object| wire::owner(connection, *object)).collect();
    let first = owners.first().cloned().unwrap_or(Owner::Nobody);
    let alike = owners.iter().all(|owner| *owner == first);
    if alike && first == Owner::Nobody {
        return Ok(about(first, Vec::new()));
    }
    let unheard =
        |object: &Json<'_>| meaning(connection, event_type, body, *object) == Ok(Interpreted::Unhandled);
    if all.iter().all(unheard) {
        return Ok(Interpreted::Unhandled);
    }
    let ids = all.iter().filter_map(|o| text(*o, &["id"])).filter(|i| wire::is_id(i));
    let named: Vec<&str> = ids.take(NAMED).collect();
    Err(Rejected {
        code: "several_objects".to_owned(),
        field: "payload".to_owned(),
        what: format!(
            "this event tells of {} transactions at once ({}), and only events of one are understood: nothing of it was done; \
             compare each with its order in the Business Center, then drop the item, and tell us",
            all.len(),
            named.join(", ")
        ),
        owner: if alike { first } else { Owner::Nobody },
    })
}

fn needed_id<'a>(object: Json<'a>, owner: &Owner) -> Result<&'a str, Rejected> {
    wire::id(object).map_err(|fault| fault.about("payload.data.", owner.clone()))
}

fn about(owner: Owner, facts: Vec<Fact>) -> Interpreted {
    Interpreted::About { owner, observation: Observation { facts, ..Observation::default() }, person: None }
}

fn read_again(owner: Owner, object: String) -> Interpreted {
    Interpreted::ReadAgain { owner, action: actions::READ_NAME, object: Some(object) }
}

/// An authorization tells itself, where it bears its amount; else the order is read.
fn payment(connection: &Connection, object: Json<'_>, owner: Owner) -> Result<Interpreted, Rejected> {
    let id = needed_id(object, &owner)?.to_owned();
    let raw = text(object, &["status"]).unwrap_or("");
    let rejected = |fault: Fault| fault.about("payload.data.", owner.clone());
    let Some(went) = Went::of(raw) else { return Err(rejected(wire::status_unknown("payment", raw))) };
    let told = object.at(&facts::TOTAL).is_some() && object.at(&facts::CURRENCY).is_some();
    // Somebody else's may be a sale, or in part, of which it does not speak.
    let ours = transaction::mark(connection, object).or_else(|| transaction::sent_as(object)).is_some();
    if owner == Owner::Nobody {
        return Ok(about(owner, Vec::new()));
    }
    if !(told && ours) && went != Went::Declined {
        return Ok(read_again(owner, id));
    }
    let (total, reserved) = amounts(connection, object, went, None).map_err(rejected)?;
    let at = wire::submitted(object);
    let paid = Paid { connection, payment: &id, went, total, reserved, taken: false, at, answer: object };
    let mut facts = paid.facts();
    facts.extend(facts::customer(object));
    Ok(about(owner, facts))
}

/// Told to a person: what the list would tell is not known.
fn unreadable(object: Json<'_>) -> Rejected {
    let part = |name| text(object, &[name]).unwrap_or("").to_owned();
    let (report, said) = (part("report"), part("said"));
    Rejected {
        code: "report_unreadable".to_owned(),
        field: "payload.data.report".to_owned(),
        what: format!(
            "Cybersource does not let this key read {report} ({said}): decided cases and chargebacks that no webhook told \
             are not found; give the key the right to reports in the Business Center, then drop the item"
        ),
        owner: Owner::Nobody,
    }
}

/// Told to a person: what became of a transaction is not known.
fn transaction_unreadable(connection: &Connection, object: Json<'_>) -> Rejected {
    let part = |path: &[&str]| text(object, path).unwrap_or("").to_owned();
    let (id, unread, said) = (part(&["id"]), part(&["transactionId"]), part(&["said"]));
    let whose = if unread == id { String::new() } else { format!("transaction {unread}, which belongs to ") };
    // Without our reference nobody can be asked whose it is: that would be the same read.
    let owner = match wire::owner(connection, object) {
        owner @ Owner::Order { .. } => owner,
        _ => Owner::Nobody,
    };
    Rejected {
        code: "transaction_unreadable".to_owned(),
        field: "payload.data.id".to_owned(),
        what: format!(
            "Cybersource does not let {whose}transaction {id} of {} be read ({said}), so what it did is not in the order; look \
             at it in the Business Center, do by hand what is to be done, then drop the item",
            part(&["merchant"])
        ),
        owner,
    }
}

/// A decision about a case. An acceptance may have captured at once: it is told by the read, together with that.
fn case(object: Json<'_>, owner: Owner, decision: &str) -> Result<Interpreted, Rejected> {
    let payment = needed_id(object, &owner)?.to_owned();
    let follow = |name: &str| {
        let href = text(object, &["_embedded", name, "_links", "self", "href"])?;
        wire::last_segment(href).map(str::to_owned)
    };
    if decision == "accept" {
        let capture = follow("capture").map(|c| format!(":{c}")).unwrap_or_default();
        return Ok(read_again(owner, format!("accept:{payment}{capture}")));
    }
    let outcome = ReviewOutcome::Rejected;
    let mut facts = vec![Fact::ReviewClosed { review: payment.clone(), payment: payment.clone(), outcome }];
    // Else the flow lets it go.
    if text(object, &["_embedded", "reversal", "status"]) == Some("REVERSED") {
        facts.extend(transaction::reversed(&payment, "review_rejected"));
    }
    Ok(about(owner, facts))
}

/// A transaction that a sweep read, with what belongs to it.
fn swept(connection: &Connection, body: Json<'_>, object: Json<'_>) -> Result<Interpreted, Rejected> {
    let owner = wire::owner(connection, object);
    let code = wire::code(object);
    let related = body.at(&["payload", "related"]).into_iter().flat_map(Json::items);
    let docs: Vec<(String, Doc)> =
        std::iter::once(object).chain(related).map(|d| (String::new(), d.to_doc())).collect();
    match read::tell(connection, &docs, code) {
        // What it undid was not to be had then.
        (_, Some(fault)) if fault.code == transaction::UNREAD => {
            let id = needed_id(object, &owner)?.to_owned();
            Ok(read_again(owner, id))
        }
        (_, Some(fault)) => Err(fault.about("payload.data.", owner)),
        (mut facts, None) => {
            routes::tell(&mut facts, routes::marked(connection, body));
            Ok(about(owner, facts))
        }
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
