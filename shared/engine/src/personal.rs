//! Personal data of an order, opened for one decision.

use std::collections::BTreeMap;

use tillway_connectors::Observation;
use tillway_core::facts::Fact;
use tillway_core::ids::PersonId;
use tillway_core::time::Timestamp;
use tillway_core::value::Value;

use crate::commit::Loaded;
use crate::engine::{Engine, PersonAccess, WorkError};
use crate::ports::Guard;
use crate::records::{Event, OrderRecord};
use crate::vault::DataKey;

/// Personal data as opened for one decision.
#[derive(Default, Clone)]
pub(crate) struct Opened {
    pub(crate) value: Option<Value>,
    pub(crate) key: Option<(PersonId, DataKey)>,
    pub(crate) new_key: Option<(PersonId, Vec<u8>)>,
    pub(crate) new_key_guard: Guard,
    pub(crate) changed: bool,
    pub(crate) erased: bool,
}

impl Engine {
    /// Opens or starts personal data from what came in, without reading anything more.
    pub(crate) async fn open_personal(
        &self,
        record: &OrderRecord,
        observation: &Observation,
        loaded: &Loaded,
        event: &Event,
        // A profile: all of it was told, and it goes to whoever was named.
        moves: bool,
    ) -> Result<Opened, WorkError> {
        if observation.personal == Value::Null {
            return Ok(Opened::default());
        }
        let told = loaded.person.as_ref().map(|(person, _)| person);
        if let Some(before) = record.state.person.as_ref().filter(|before| moves && told != Some(before))
            && matches!(self.person_access(before).await?, PersonAccess::Erased(_))
        {
            // Erased under another e-mail address: a new address does not bring the person back.
            return Ok(Opened { erased: true, ..Opened::default() });
        }
        let bound = record.state.person.clone().filter(|_| !moves);
        let (person, access) = match (&loaded.person, bound) {
            (Some((person, access)), None) => (person.clone(), access.clone()),
            (Some((person, access)), Some(bound)) if *person == bound => (bound, access.clone()),
            // Another person than the order began with, or none named: the order's first one keeps it.
            (_, Some(bound)) => {
                let access = self.person_access(&bound).await?;
                (bound, access)
            }
            (None, None) => return Ok(Opened::default()),
        };
        let mut opened = Opened::default();
        let data_key = match access {
            PersonAccess::Live(key) => key,
            // Said before the erasure, or of an order of that time (the echo of a write of ours says it again):
            // it must not come back. A new order is the person's own doing.
            PersonAccess::Erased(at)
                if event.created_at.unwrap_or(event.received_at) <= at
                    || began(record, observation) <= at =>
            {
                return Ok(Opened { erased: true, ..opened });
            }
            PersonAccess::Fresh | PersonAccess::Erased(_) => {
                let fresh = DataKey::draw(self.ports.entropy.as_ref());
                let wrapped = self.vault.wrap(self.ports.entropy.as_ref(), person.as_str(), &fresh);
                opened.new_key = Some((person.clone(), wrapped));
                opened.new_key_guard =
                    if matches!(access, PersonAccess::Fresh) { Guard::Absent } else { Guard::Any };
                fresh
            }
        };
        let mut value = match record.personal.as_ref().filter(|_| opened.new_key.is_none()) {
            Some(sealed) => Self::open_value(&data_key, sealed).unwrap_or_default(),
            None => Value::Null,
        };
        let known = value.clone();
        if moves {
            value = Value::Null;
        }
        merge(&mut value, &observation.personal);
        opened.changed = value != known || opened.new_key.is_some();
        opened.value = Some(value);
        opened.key = Some((person, data_key));
        Ok(opened)
    }

    /// Opens what is stored of the order's person: one more read, made only where a step needs it.
    pub(crate) async fn open_stored(&self, record: &OrderRecord) -> Result<Opened, WorkError> {
        let gone = Opened { erased: true, ..Opened::default() };
        let Some(person) = record.state.person.clone() else { return Ok(gone) };
        let PersonAccess::Live(key) = self.person_access(&person).await? else { return Ok(gone) };
        let value = match &record.personal {
            Some(sealed) => Self::open_value(&key, sealed).ok(),
            None => Some(Value::Map(BTreeMap::new())),
        };
        let erased = value.is_none();
        Ok(Opened { value, key: Some((person, key)), erased, ..Opened::default() })
    }
}

/// When an order was placed, or first heard of where that is earlier or all that is known.
fn began(record: &OrderRecord, observation: &Observation) -> Timestamp {
    let told = observation.facts.iter().find_map(|f| match f {
        Fact::Order(order) => order.placed_at,
        _ => None,
    });
    let placed = told.or_else(|| record.state.order.as_ref().and_then(|o| o.placed_at));
    placed.map_or(record.state.first_at, |placed| placed.min(record.state.first_at))
}

/// Lays new personal data over what is known.
fn merge(known: &mut Value, new: &Value) {
    match (known, new) {
        (Value::Map(known), Value::Map(new)) => {
            for (name, value) in new {
                merge(known.entry(name.clone()).or_default(), value);
            }
        }
        (_, Value::Null) => {}
        (known, new) => *known = new.clone(),
    }
}
