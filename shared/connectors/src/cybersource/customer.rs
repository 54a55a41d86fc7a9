//! The person's customer token. There is no way to search for one by the shop's id, and none to make one once: the id that
//! the shop keeps, or that another order or profile of the person ended with, finds it again. One whose making was
//! answered to nobody stays behind empty.
//!
//! **Whose a customer is.** It is the person's where it bears the shop's id of this customer, or the same e-mail address (case
//! aside), or neither an id nor an address: two customers of the shop with one e-mail address are one person, as is
//! a guest. Any other is somebody else's: it is neither used nor changed, and a new one is made. Only whose id it bears changes
//! its e-mail address, so that of two who share one neither undoes what the other wrote; one whose address
//! changes parts from what they shared and gets one of their own.

use serde_json::{Map, Value, json};
use tillway_core::doc::Json;
use tillway_core::facts::Fact;

use super::client::{Client, ReadFault, refused, unknown};
use super::endpoints;
use super::plan::{Plan, Wanted};
use super::wire::{self, text};
use crate::common::{differs, disagrees, unreadable};
use crate::port::{Call, Observation, Outcome};

const BUYER: &str = "buyerInformation";
// Spelled with ID here, and with Id in payments.
const REFERENCE: &str = "merchantCustomerID";

/// Finds or makes the customer.
pub(super) async fn ensure(call: &Call<'_>, plan: &Plan) -> Outcome {
    let Some(wanted) = &plan.wanted else {
        return unreadable("names no customer");
    };
    // Three that it may be, and the making of one.
    let client = Client::new(call, 4);
    for known in &wanted.known {
        match client.get(&endpoints::path(call.connection, "customer", known)).await {
            Ok(found) if belongs(found.json(), wanted) => return settled(known, "known"),
            // Another person's, or deleted (410).
            Ok(_) | Err(ReadFault::Missing(_) | ReadFault::Refused(_)) => {}
            Err(ReadFault::NotNow(after, why)) => return Outcome::NotDone { after, why },
            Err(fault) => return Outcome::NotDone { after: None, why: fault.not_now() },
        }
    }
    let answer = match client.post(&plan.path, &body(wanted)).await {
        Ok(answer) if answer.is_success() => answer,
        Ok(answer) => return refused(&answer, Observation::default()),
        Err(outcome) => return outcome,
    };
    match text(answer.body.json(), &["id"]).filter(|i| wire::is_id(i)) {
        Some(id) => settled(id, "made"),
        None => unknown("an answer without an id"),
    }
}

/// Reads a customer, and writes what differs of it.
pub(super) async fn update(call: &Call<'_>, plan: &Plan) -> Outcome {
    let (Some(wanted), Some(named)) = (&plan.wanted, &plan.object) else {
        return unreadable("names no customer");
    };
    let Some(id) = wanted.known.first() else { return lost(named, "is no id of Cybersource's") };
    let client = Client::new(call, 2);
    let found = match client.get_tagged(&plan.path).await {
        Ok(found) => found,
        Err(ReadFault::Missing(_)) => return lost(id, "does not exist"),
        Err(ReadFault::Refused(answer)) if answer.status == 410 => return lost(id, "was deleted"),
        Err(ReadFault::Refused(answer)) => return refused(&answer, Observation::default()),
        Err(ReadFault::NotNow(after, why)) => return Outcome::NotDone { after, why },
        Err(fault) => return Outcome::NotDone { after: None, why: fault.not_now() },
    };
    let there = found.body.json();
    if !belongs(there, wanted) {
        return lost(id, "belongs to another customer of the shop");
    }
    let Some(change) = change(there, wanted) else { return settled(id, "already so") };
    match client.patch(&plan.path, &change, found.tag.as_deref()).await {
        Ok(answer) if answer.is_success() => match text(answer.body.json(), &["id"]) {
            Some(other) if other != id.as_str() => {
                let what = "another customer than the one asked for was answered; compare the two in the Business Center";
                disagrees(differs("id", what), Observation::default())
            }
            _ => settled(id, "brought up to date"),
        },
        // Between the two.
        Ok(answer) if matches!(answer.status, 404 | 410) => lost(id, "was deleted"),
        Ok(answer) => refused(&answer, Observation::default()),
        Err(outcome) => outcome,
    }
}

fn reference(customer: Json<'_>) -> Option<&str> {
    text(customer, &[BUYER, REFERENCE])
}

fn email(customer: Json<'_>) -> Option<String> {
    text(customer, &[BUYER, "email"]).map(folded)
}

fn folded(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Whether a customer is the person's; see the top of this file.
fn belongs(customer: Json<'_>, wanted: &Wanted) -> bool {
    let found = reference(customer);
    if found.is_some() && found == wanted.reference.as_deref() {
        return true;
    }
    match email(customer) {
        Some(theirs) => Some(theirs) == wanted.email.as_deref().map(folded),
        None => found.is_none(),
    }
}

/// What is to be written; none where nothing differs, or where it is another's to write.
fn change(there: Json<'_>, wanted: &Wanted) -> Option<Value> {
    let found = reference(there);
    let own = wanted.reference.as_deref();
    if found.is_some() && found != own {
        return None;
    }
    let other_email = wanted.email.as_deref().filter(|wanted| email(there) != Some(folded(wanted)));
    if other_email.is_none() && found == own {
        return None;
    }
    let email = other_email.or_else(|| text(there, &[BUYER, "email"]));
    let members = [(REFERENCE, found.or(own)), ("email", email)];
    let buyer: Map<String, Value> =
        members.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?)))).collect();
    Some(json!({BUYER: buyer}))
}

fn body(wanted: &Wanted) -> Value {
    let mut buyer = Map::new();
    buyer.extend(wanted.reference.as_ref().map(|r| (REFERENCE.to_owned(), Value::from(r.as_str()))));
    buyer.extend(wanted.email.as_ref().map(|e| ("email".to_owned(), Value::from(e.as_str()))));
    let code = wanted.reference.as_deref().unwrap_or("guest");
    json!({BUYER: buyer, "clientReferenceInformation": {"code": code}})
}

fn settled(id: &str, how: &str) -> Outcome {
    done(id, Fact::Customer { id: id.to_owned() }, how)
}

/// The customer that the shop points to is none of this person's: no fault of the call's.
fn lost(id: &str, how: &str) -> Outcome {
    done(id, Fact::CustomerLost { id: id.to_owned() }, how)
}

fn done(id: &str, fact: Fact, how: &str) -> Outcome {
    let shown = if wire::is_id(id) { id } else { "named by the shop" };
    Outcome::Settled {
        observation: Observation { facts: vec![fact], ..Observation::default() },
        provider_id: Some(id.to_owned()).filter(|i| wire::is_id(i)),
        summary: format!("customer {shown} ({how})"),
    }
}
