//! The person's customer token. There is no way to search for one by the shop's id, and none to make one once: the id the
//! shop keeps is what finds it again, and a token nobody keeps harms nobody.

use serde_json::{Map, Value, json};
use tillway_core::doc::Json;
use tillway_core::facts::Fact;

use super::client::{Client, ReadFault, refused, unknown};
use super::endpoints;
use super::plan::{Plan, Wanted};
use super::wire::{self, text};
use crate::common::unreadable;
use crate::port::{Call, Observation, Outcome};

/// Finds or makes the customer.
pub(super) async fn ensure(call: &Call<'_>, plan: &Plan) -> Outcome {
    let Some(wanted) = &plan.wanted else {
        return unreadable("names no customer");
    };
    let client = Client::new(call, 2);
    if let Some(known) = &wanted.known {
        match client.get(&endpoints::path(call.connection, "customer", known)).await {
            Ok(found) if belongs(found.json(), wanted) => return settled(known, "known"),
            // Another person's, or deleted (410): a new one is made.
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

/// Whether a customer is the shop's: it bears the shop's id, or none.
fn belongs(customer: Json<'_>, wanted: &Wanted) -> bool {
    let found = text(customer, &["buyerInformation", "merchantCustomerID"]);
    match (&wanted.reference, found) {
        (Some(own), Some(found)) => own == found,
        _ => true,
    }
}

fn body(wanted: &Wanted) -> Value {
    let mut buyer = Map::new();
    // Spelled with ID here, and with Id in payments.
    buyer.extend(
        wanted.reference.as_ref().map(|r| ("merchantCustomerID".to_owned(), Value::from(r.as_str()))),
    );
    buyer.extend(wanted.email.as_ref().map(|e| ("email".to_owned(), Value::from(e.as_str()))));
    let code = wanted.reference.as_deref().unwrap_or("guest");
    json!({"buyerInformation": buyer, "clientReferenceInformation": {"code": code}})
}

fn settled(id: &str, how: &str) -> Outcome {
    let facts = vec![Fact::Customer { id: id.to_owned() }];
    Outcome::Settled {
        observation: Observation { facts, ..Observation::default() },
        provider_id: Some(id.to_owned()),
        summary: format!("customer {id} ({how})"),
    }
}
