//! Profiles: customers of a shop kept in step with a gateway, beside the orders.
//!
//! A pair whose flow is `NAME` keeps profiles where there is a flow `NAME/profile`; without one its shop's customer events
//! are unhandled. A profile is decided on, committed, explained and parked as an order is. What differs:
//!
//! - It has no end, so it moves on to the newest version of its flow with the next change.
//! - It belongs to whoever the newest version says: with another e-mail address the personal data goes under another key,
//!   and the old identity leads to it, so that erasing finds it by either.
//! - Of a person who was erased nothing is taken in again, whatever the shop says of a customer it told of before.
//! - Two profiles of one person, and the person's orders, share the gateway's customer: what one of them ended with is told to
//!   whoever wants one next (parameter `earlier`), for as long as the store lasts.

use tillway_connectors::{Interpreted, Observation, Owner, Rejected};
use tillway_core::decide::{Decision, system_of};
use tillway_core::facts::Fact;
use tillway_core::ids::{ConnectionName, OrderKey, PersonId};
use tillway_core::profile::CustomerSnapshot;
use tillway_core::state::OrderState;
use tillway_core::value::Value;

use crate::config::{Config, Pair};
use crate::engine::{Engine, WorkError};
use crate::erase::{mail_identity, ref_identity};
use crate::ports::{Guard, Key, NewItem, Write};
use crate::records::{Event, Origin, person_key};

/// The parameter by which an action for a person hears of the customer that the person had before.
const EARLIER: &str = "earlier";

/// The flow of a pair's profiles.
#[must_use]
pub fn flow_of_profiles(flow: &str) -> String {
    format!("{flow}/profile")
}

impl Config {
    /// The pair that keeps the profiles of a shop: the first one with a flow for them.
    #[must_use]
    pub fn profile_pair(&self, shop: &ConnectionName) -> Option<&Pair> {
        let keeps = |p: &&Pair| p.shop == *shop && self.bundle.flow(&flow_of_profiles(&p.flow)).is_some();
        self.pairs.iter().find(keeps)
    }
}

/// The name of the flow that an order or a profile of a pair runs on.
pub(crate) fn flow_name(pair: &Pair, key: &OrderKey) -> String {
    if key.is_customer() { flow_of_profiles(&pair.flow) } else { pair.flow.clone() }
}

/// The snapshot that an observation tells.
pub(crate) fn snapshot(observation: &Observation) -> Option<&CustomerSnapshot> {
    observation.facts.iter().find_map(|fact| match fact {
        Fact::Profile(snapshot) => Some(snapshot.as_ref()),
        _ => None,
    })
}

/// What was observed, as far as it is news: an older version tells nothing of the person either.
pub(crate) fn current(state: &OrderState, observation: &Observation) -> Option<Observation> {
    let stale = snapshot(observation).is_some_and(|told| !state.is_newer_profile(told));
    stale.then(|| Observation { facts: observation.facts.clone(), ..Observation::default() })
}

fn has_earlier(action: &str) -> bool {
    let takes = |connector: &'static dyn tillway_connectors::Connector| {
        let spec = connector.actions().iter().find(|a| a.spec.name == action);
        spec.is_some_and(|a| a.per_person && a.spec.params.fields.iter().any(|f| f.name == EARLIER))
    };
    tillway_connectors::find(system_of(action)).is_some_and(takes)
}

/// Begins the items of a person that name their customers at gateways.
pub(crate) const CUSTOMER: &str = "customer#";

fn customer_key(person: &PersonId, connection: &ConnectionName) -> Key {
    Key::new(person_key(person).pk, format!("{CUSTOMER}{connection}"))
}

/// The gateway's customer that an answer found or made for the person.
pub(crate) fn customer_told<'a>(
    event: &Event,
    key: &OrderKey,
    observation: &'a Observation,
) -> Option<&'a str> {
    let for_the_person = event.origin == Origin::Result && (key.is_customer() || has_earlier(&event.kind));
    let mut told = observation.facts.iter().filter(|_| for_the_person).filter_map(|fact| match fact {
        Fact::Customer { id } => Some(id.as_str()),
        _ => None,
    });
    told.next()
}

impl Engine {
    /// The key of a profile named by an event of its shop.
    pub(crate) fn customer_key(&self, connection: &ConnectionName, id: &str) -> Option<OrderKey> {
        let pair = self.config.profile_pair(connection)?;
        (!id.is_empty()).then(|| OrderKey::of_customer(&pair.shop, id))
    }

    /// What an event says to this configuration: customers are unhandled where no pair keeps profiles.
    pub(crate) fn heard(
        &self,
        connection: &ConnectionName,
        told: Result<Interpreted, Rejected>,
    ) -> Result<Interpreted, Rejected> {
        let owner = match &told {
            Ok(Interpreted::About { owner, .. } | Interpreted::ReadAgain { owner, .. }) => owner,
            Err(rejected) => &rejected.owner,
            Ok(Interpreted::Unhandled) => return told,
        };
        let customer = matches!(owner, Owner::Customer { .. });
        if customer && self.config.profile_pair(connection).is_none() {
            return Ok(Interpreted::Unhandled);
        }
        told.map(|mut interpreted| {
            if let Interpreted::About { observation, .. } = &mut interpreted {
                self.mark_profiles(observation);
            }
            interpreted
        })
    }

    /// Marks snapshots with a digest of the personal data beside them.
    pub(crate) fn mark_profiles(&self, observation: &mut Observation) {
        let personal = observation.personal.at("profile").clone();
        for fact in &mut observation.facts {
            if let Fact::Profile(snapshot) = fact {
                let text = serde_json::to_string(&personal).unwrap_or_default();
                snapshot.digest = self.vault.person(&format!("profile:{text}")).to_string();
            }
        }
    }

    /// Whose a profile is, by what was just told of it.
    pub(crate) fn person_of_profile(&self, key: &OrderKey, observation: &Observation) -> Option<PersonId> {
        snapshot(observation)?;
        let email = observation.personal.at("profile.email").as_text();
        let identity = email.map_or_else(|| ref_identity(key.order_id()), mail_identity);
        Some(self.vault.person(&identity))
    }

    /// Tells commands for the person of the gateway's customer that the person had before. `told`: what is being decided on
    /// says which that is.
    pub(crate) async fn tell_earlier(
        &self,
        decision: &mut Decision,
        connection: &ConnectionName,
        told: Option<&str>,
    ) -> Result<(), WorkError> {
        let Some(person) = decision.state.person.clone() else { return Ok(()) };
        // Where another order's end was adopted, and nobody noted it yet.
        let adopted = decision.state.customer.clone();
        for command in decision.commands.iter_mut().filter(|c| has_earlier(&c.action)) {
            let told = told.filter(|_| command.connection == *connection).map(str::to_owned);
            let known = match told {
                Some(id) => Some(id),
                None => {
                    let key = customer_key(&person, &command.connection);
                    let item = self.ports.store.get(&[key]).await?.into_iter().flatten().next();
                    item.map(|item| serde_json::from_slice(&item.body)).transpose()?
                }
            };
            if let (Some(id), Value::Map(params)) = (known.or_else(|| adopted.clone()), &mut command.params) {
                params.insert(EARLIER.to_owned(), Value::Text(id));
            }
        }
        Ok(())
    }

    /// Notes the gateway's customer of a person, for whoever wants one next.
    pub(crate) fn note_customer(
        &self,
        event: &Event,
        person: Option<&PersonId>,
        told: Option<&str>,
    ) -> Result<Option<Write>, WorkError> {
        let (Some(person), Some(id)) = (person, told) else { return Ok(None) };
        let item = NewItem {
            key: customer_key(person, &event.connection),
            body: serde_json::to_vec(id)?,
            due: None,
            list: None,
            expires: None,
        };
        Ok(Some(Write::Put(item, Guard::Any)))
    }
}
