//! A customer as the shop has it: the snapshot, and the personal data beside it.

use std::collections::BTreeMap;

use tillway_core::facts::Fact;
use tillway_core::profile::CustomerSnapshot;
use tillway_core::value::Value;

use super::actions;
use super::order::{STORED, joined, map, token};
use super::settings;
use super::wire::{Fault, Node};
use crate::config::{Connection, Secret};
use crate::port::{Interpreted, Observation, Owner};

/// What orders the snapshots of one customer: the contract counts no versions of customers.
pub fn version(customer: &Node<'_>) -> Result<Option<i64>, Fault> {
    Ok(customer.member("updatedAt")?.time()?.map(|at| at.0))
}

/// Whom an event is about, as far as it tells.
pub fn owner(data: &Node<'_>) -> Owner {
    let id = data.member("customerId").and_then(|id| id.needed_id());
    Owner::Customer { id: id.unwrap_or_default() }
}

/// What `customer.updated` means.
pub fn event(connection: &Connection, data: &Node<'_>, believed: bool) -> Result<Interpreted, Fault> {
    let owner = Owner::Customer { id: data.member("customerId")?.needed_id()? };
    let read = if believed { read(connection, data)? } else { None };
    Ok(match read {
        Some(observation) => {
            let person = observation.person.clone();
            Interpreted::About { owner, observation, person }
        }
        // A hint, or one that does not say how new it is.
        None => Interpreted::ReadAgain { owner, action: actions::READ_CUSTOMER, object: None },
    })
}

/// Reads a customer; none where it does not say when it changed. Only what a gateway is told is taken from it.
pub fn read(connection: &Connection, customer: &Node<'_>) -> Result<Option<Observation>, Fault> {
    let customer_id = customer.member("customerId")?.needed_id()?;
    let Some(version) = version(customer)? else { return Ok(None) };
    let ids = customer.member("externalIds")?;
    let gateway_customer = match settings::get(connection, settings::GATEWAY_CUSTOMER) {
        "" => None,
        name => ids.member(name)?.id()?,
    };
    let instrument = match settings::get(connection, settings::INSTRUMENT) {
        "" => None,
        name => token(&ids.member(name)?, STORED)?,
    };
    let text = |name| customer.member(name)?.text();
    let (email, first, last) = (text("email")?, text("firstName")?, text("lastName")?);
    // As with orders: the e-mail, for other systems know the person by it.
    let person = match &email {
        Some(email) => format!("mail:{}", email.to_lowercase()),
        None => format!("ref:{customer_id}"),
    };
    let snapshot = CustomerSnapshot {
        version,
        gateway_customer,
        instrument,
        // The engine's, which has the key.
        digest: String::new(),
        customer_id,
    };
    let profile = map([
        ("email", email),
        ("name", joined(first.as_ref(), last.as_ref())),
        ("first_name", first),
        ("last_name", last),
    ]);
    // Also where nothing is left of it: what was known before is not kept.
    let personal = Value::map([("profile", profile.unwrap_or_else(|| Value::Map(BTreeMap::new())))]);
    let facts = vec![Fact::Profile(Box::new(snapshot))];
    Ok(Some(Observation { facts, personal, person: Some(Secret::new(person)) }))
}
