//! What an event means: whom it is about and which facts it tells.

use tillway_connectors::{Interpreted, Observation, Owner, Rejected};
use tillway_core::doc::Json;
use tillway_core::facts::{CommandEnd, Fact, Parked};
use tillway_core::ids::{ConnectionName, OrderKey, PersonId};
use tillway_core::state::READ_STEP;
use tillway_core::value::Value;

use crate::bugs::Bug;
use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Key, NewItem, StoreError, Write};
use crate::records::{self as rec, Event, EventBody, Origin, Report, Waiting};

/// Sealed bytes that may wait in one item; as text they are a third longer.
const MOST_WAITING: usize = 250 * 1024;

/// What an event turned out to be.
pub(crate) enum Meaning {
    /// Facts about an order.
    Order(Box<About>),
    /// An owner nobody knows yet.
    Waits { ids: Vec<String> },
    /// Dealt with: parked without an order, or listed as unhandled.
    Over,
}

/// Facts about an order.
pub(crate) struct About {
    /// The order.
    pub(crate) key: OrderKey,
    /// What is known now.
    pub(crate) observation: Observation,
    /// The person, where told.
    pub(crate) person: Option<PersonId>,
    /// What goes along.
    pub(crate) extra: Extra,
}

/// What goes along with the facts.
#[derive(Default)]
pub(crate) struct Extra {
    /// The report of a command, where the event is one.
    pub(crate) report: Option<Box<Report>>,
    /// The event's own content is parked with this item.
    pub(crate) parked_raw: Option<Parked>,
    /// A read to be made because the event cannot be believed as it stands.
    pub(crate) read: Option<(&'static str, Option<String>)>,
}

impl Engine {
    /// Finds out what an event says and whom it is about.
    pub(crate) async fn mean(&self, event: &Event) -> Result<Meaning, WorkError> {
        let plain = |key: &OrderKey, facts: Vec<Fact>, extra: Extra| {
            let observation = Observation { facts, ..Observation::default() };
            Meaning::Order(Box::new(About { key: key.clone(), observation, person: None, extra }))
        };
        match &event.body {
            EventBody::Wake { order } => Ok(plain(order, Vec::new(), Extra::default())),
            EventBody::Told { order, facts } => Ok(plain(order, facts.clone(), Extra::default())),
            EventBody::Dead { order, parked } => {
                Ok(plain(order, vec![Fact::Parked(parked.clone())], Extra::default()))
            }
            EventBody::Unpark { order, item, how, .. } => {
                let fact = Fact::Unparked { id: item.clone(), how: how.clone() };
                Ok(plain(order, vec![fact], Extra::default()))
            }
            EventBody::Result(report) => {
                let mut facts = report.facts.clone();
                let end = match &report.end {
                    // No step of the flow waits for it, so nobody would hear of it: it goes to a person.
                    CommandEnd::Refused { code } if report.step.starts_with(READ_STEP) => {
                        CommandEnd::Parked { code: code.clone() }
                    }
                    end => end.clone(),
                };
                facts.push(Fact::CommandEnded {
                    command: report.command.clone(),
                    step: report.step.clone(),
                    end,
                });
                let mut observation = Observation { facts, personal: report.personal.clone(), person: None };
                self.mark_profiles(&mut observation);
                let extra = Extra { report: Some(report.clone()), ..Extra::default() };
                let told = self.person_of_profile(&report.order, &observation);
                let person = told.or_else(|| report.person.clone());
                Ok(Meaning::Order(Box::new(About { key: report.order.clone(), observation, person, extra })))
            }
            EventBody::Provider { json } => self.mean_provider(event, json.doc()?.json()).await,
        }
    }

    pub(crate) async fn mean_provider(&self, event: &Event, json: Json<'_>) -> Result<Meaning, WorkError> {
        let name = event.connection.as_str();
        let Some((connection, connector)) = self.config.connection(name) else {
            return Err(WorkError::Config(format!("connection {name} is not configured any more")));
        };
        let interpreted = match event.origin {
            Origin::Sweep => connector.interpret_read(connection, &event.kind, json),
            _ => connector.interpret(connection, &event.kind, json),
        };
        let interpreted = self.heard(&event.connection, interpreted);
        let mut extra = Extra::default();
        let redacted = |event: &Event| Parked {
            id: parked_id(event),
            code: "card_number_removed".to_owned(),
            field: event.redacted.first().cloned(),
            what:
                "a card number stood in this event and was removed; find out who typed it there, then drop \
                   the item"
                    .to_owned(),
            step: None,
            blocks_money: false,
        };
        let (owner, mut observation, person) = match interpreted {
            Ok(Interpreted::Unhandled) => {
                if !self.hear_of_settlement(event, json).await? {
                    self.list_unhandled(event, "unhandled").await?;
                }
                if !event.redacted.is_empty() {
                    self.park_event(event, redacted(event), None).await?;
                }
                return Ok(Meaning::Over);
            }
            Ok(Interpreted::About { owner, observation, person }) => (owner, observation, person),
            Ok(Interpreted::ReadAgain { owner, action, object }) => {
                extra.read = Some((action, object));
                (owner, Observation::default(), None)
            }
            Err(rejected) => {
                let parked = rejected_parked(event, &rejected);
                extra.parked_raw = Some(parked.clone());
                let facts = vec![Fact::Parked(parked)];
                (rejected.owner, Observation { facts, ..Observation::default() }, None)
            }
        };
        if !event.redacted.is_empty() && extra.parked_raw.is_none() {
            let parked = redacted(event);
            observation.facts.push(Fact::Parked(parked.clone()));
            extra.parked_raw = Some(parked);
        }
        if self.planted.has(Bug::RefundFromTotal) {
            crate::planted::refund_from_total(&event.kind, json, &mut observation.facts);
        }
        let person = person.map(|p| self.vault.person(p.expose()));
        let key = match owner {
            Owner::Order { id } => self.order_key(&event.connection, &id),
            Owner::Customer { id } => self.customer_key(&event.connection, &id),
            Owner::Objects { ids } => match self.by_alias(&event.connection, &ids).await? {
                Some(key) => Some(key),
                None if extra.parked_raw.is_some() => None,
                None => return Ok(Meaning::Waits { ids }),
            },
            Owner::Nobody => None,
        };
        match (key, extra.parked_raw) {
            (Some(key), parked_raw) => {
                // Personal data without an identity belongs to whoever stands behind this order.
                let nameless = person.is_none() && observation.personal != Value::Null;
                let person = if nameless { Some(self.vault.person(&format!("order:{key}"))) } else { person };
                let extra = Extra { parked_raw, ..extra };
                Ok(Meaning::Order(Box::new(About { key, observation, person, extra })))
            }
            (None, Some(parked)) => {
                self.park_event(event, parked, None).await?;
                Ok(Meaning::Over)
            }
            (None, None) => {
                self.list_unhandled(event, "foreign").await?;
                Ok(Meaning::Over)
            }
        }
    }

    /// The key of an order named by an event of a connection: of the shop itself, or of a gateway whose pair
    /// names the shop.
    pub(crate) fn order_key(&self, connection: &ConnectionName, order_id: &str) -> Option<OrderKey> {
        let pair = self.config.pairs_of(connection).next()?;
        Some(OrderKey::of(&pair.shop, order_id))
    }

    /// The order known under any of these ids.
    pub(crate) async fn by_alias(
        &self,
        connection: &ConnectionName,
        ids: &[String],
    ) -> Result<Option<OrderKey>, WorkError> {
        let keys: Vec<Key> = ids.iter().take(20).map(|id| rec::alias_key(connection, id)).collect();
        if keys.is_empty() {
            return Ok(None);
        }
        let items = self.ports.store.get(&keys).await?;
        let found = items.into_iter().flatten().next();
        Ok(found.map(|item| serde_json::from_slice(&item.body)).transpose()?)
    }

    /// Stores an event as waiting for its owner, under the condition that no alias appeared. `false` where
    /// one did.
    pub(crate) async fn let_wait(&self, event: &Event, ids: &[String]) -> Result<bool, WorkError> {
        let Some(first) = ids.first() else {
            self.list_unhandled(event, "foreign").await?;
            return Ok(true);
        };
        let now = self.now();
        let key = rec::waiting_key(&event.connection, first);
        let known = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
        let (mut waiting, guard) = match &known {
            Some(item) => (serde_json::from_slice::<Waiting>(&item.body)?, Guard::Rev(item.rev)),
            None => {
                let fresh =
                    Waiting { owner: None, since: now, ids: ids.to_vec(), events: Vec::new(), lookups: 0 };
                (fresh, Guard::Absent)
            }
        };
        let dedup = format!("{}:{}:{}", event.connection, event.id, event.replay);
        if waiting.events.iter().any(|e| e.dedup == dedup) {
            return Ok(true);
        }
        let blob = self.seal_event(event);
        let size = waiting.events.iter().fold(blob.len(), |sum, e| sum.saturating_add(e.blob.len()));
        if waiting.events.len() >= 64 || size > MOST_WAITING {
            let what =
                "too many or too large events wait for one unknown payment; find its order, then replay"
                    .to_owned();
            let parked = event_parked(event, "too_many_waiting", what);
            self.park_event(event, parked, None).await?;
            return Ok(true);
        }
        waiting.events.push(rec::SealedEvent { group: event.group.clone(), dedup, blob });
        let at = now + self.config.times.resolve_after;
        let item = NewItem {
            body: serde_json::to_vec(&waiting)?,
            due: Some(rec::due(&key, at)),
            list: Some(("waiting".to_owned(), format!("{}#{first}", waiting.since.rfc3339()))),
            expires: None,
            key,
        };
        let mut writes = vec![Write::Put(item, guard)];
        // The condition that closes the race with whoever writes an alias right now.
        writes.extend(
            ids.iter().take(20).map(|id| Write::Check(rec::alias_key(&event.connection, id), Guard::Absent)),
        );
        match self.ports.store.transact(writes).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Identity of a parked event. A replay that is refused again is parked anew, so that taking the old item
/// away and parking the new one may happen in any order.
fn parked_id(event: &Event) -> String {
    match event.replay {
        0 => format!("event:{}:{}", event.connection, event.id),
        n => format!("event:{}:{}~{n}", event.connection, event.id),
    }
}

fn rejected_parked(event: &Event, rejected: &Rejected) -> Parked {
    Parked {
        id: parked_id(event),
        code: rejected.code.clone(),
        field: Some(rejected.field.clone()),
        what: rejected.what.clone(),
        step: None,
        blocks_money: false,
    }
}

/// A parked item for an event as a whole.
pub(crate) fn event_parked(event: &Event, code: &str, what: String) -> Parked {
    Parked { id: parked_id(event), code: code.to_owned(), field: None, what, step: None, blocks_money: false }
}
