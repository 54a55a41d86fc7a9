//! The parking lot and the lists: what waits for a person, and what nobody has a flow for.
//!
//! A parked item never loses its event: the content is kept under a key of its own until the item is
//! replayed or dropped. An event that is parked already is left as it stands: a redelivery undoes nobody's
//! work. Editing changes the stored event and is audited by paths; replaying sends it again under the next
//! replay number. Whatever was done before stays done: commands are named by intent.

use std::collections::BTreeMap;

use tillway_core::facts::{CommandEnd, Fact, Parked, StepState, Unparked};
use tillway_core::ids::OrderKey;
use tillway_core::time::{Millis, Timestamp};

use crate::commit::CommitParts;
use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Item, Key, NewItem, Severity, StoreError, Write};
use crate::records::{
    self as rec, CommandRecord, CommandState, Event, EventBody, Origin, ParkedEdit, ParkedRaw, ParkedRecord,
    RawJson, UnhandledRecord,
};
use crate::shrink::{grow, shrink};
use crate::vault::{DataKey, VaultError};

/// Largest content kept in the item itself; what is larger is kept beside it in parts of this size. Inside the
/// item it is text, and a third longer.
const PART: usize = 250 * 1024;
/// Most parts of one content: larger is no message of ours.
const MOST_PARTS: u32 = 32;

/// What keeps a command from being looked up again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unless {
    Never,
    /// Its end is still to be told.
    Untold,
}

/// What a person sees of a parked item.
#[derive(Clone)]
pub struct ParkedView {
    /// The record.
    pub record: ParkedRecord,
    /// The event's content, where it is kept: what can be edited.
    pub content: Option<serde_json::Value>,
}

/// Why an operation on a parked item failed.
#[derive(Debug, thiserror::Error)]
pub enum ParkingError {
    /// No such item.
    #[error("there is no parked item {0}; `tillway parked list` shows them")]
    Missing(String),
    /// The item holds no event that could be edited.
    #[error("item {0} holds no event content; mend the cause, then `tillway parked replay {0}`")]
    NothingToEdit(String),
    /// Someone else changed it meanwhile.
    #[error("item {0} changed meanwhile; look at it again")]
    Changed(String),
    /// Engine.
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl From<StoreError> for ParkingError {
    fn from(error: StoreError) -> Self {
        Self::Work(error.into())
    }
}

impl Engine {
    fn seal_raw(&self, id: &str, event: &Event) -> Result<ParkedRaw, WorkError> {
        let key = DataKey::draw(self.ports.entropy.as_ref());
        let plain = shrink(serde_json::to_vec(event)?);
        Ok(ParkedRaw {
            key: self.vault.wrap(self.ports.entropy.as_ref(), id, &key),
            blob: key.seal(self.ports.entropy.as_ref(), id.as_bytes(), &plain),
            parts: 0,
        })
    }

    pub(crate) fn open_raw(&self, id: &str, raw: &ParkedRaw) -> Result<Event, WorkError> {
        let key = self.vault.unwrap(id, &raw.key)?;
        let plain = grow(key.open(id.as_bytes(), &raw.blob)?).ok_or(VaultError::Unreadable)?;
        Ok(serde_json::from_slice(&plain)?)
    }

    /// The event of a parked item, its parts put together; none where it holds none any more.
    pub(crate) async fn open_parked(&self, record: &ParkedRecord) -> Result<Option<Event>, WorkError> {
        let Some(raw) = &record.raw else { return Ok(None) };
        if raw.parts == 0 {
            return self.open_raw(&record.id, raw).map(Some);
        }
        let keys: Vec<Key> = (0..raw.parts.min(MOST_PARTS)).map(|n| rec::part_key(&record.id, n)).collect();
        let mut whole = ParkedRaw { parts: 0, ..raw.clone() };
        for item in self.ports.store.get(&keys).await? {
            let Some(item) = item else { return Ok(None) };
            whole.blob.extend(item.body);
        }
        self.open_raw(&record.id, &whole).map(Some)
    }

    /// The writes of a record, with its content in parts where it is too large for one item. `before`: the parts
    /// it had.
    fn record_writes(mut record: ParkedRecord, before: u32, guard: Guard) -> Result<Vec<Write>, WorkError> {
        let mut parts = Vec::new();
        if let Some(raw) = record.raw.as_mut().filter(|raw| raw.blob.len() > PART) {
            let blob = std::mem::take(&mut raw.blob);
            for (n, piece) in (0..).zip(blob.chunks(PART)) {
                let item = NewItem {
                    key: rec::part_key(&record.id, n),
                    body: piece.to_vec(),
                    due: None,
                    list: None,
                    expires: None,
                };
                parts.push(Write::Put(item, Guard::Any));
                raw.parts = n.saturating_add(1);
            }
        }
        let now = record.raw.as_ref().map_or(0, |raw| raw.parts);
        parts.extend((now..before).map(|n| Write::Delete(rec::part_key(&record.id, n), Guard::Any)));
        parts.insert(0, Write::Put(parked_item(&record)?, guard));
        Ok(parts)
    }

    fn parked_record(
        &self,
        id: String,
        event: &Event,
        item: Parked,
        order: Option<OrderKey>,
        keep: bool,
    ) -> Result<ParkedRecord, WorkError> {
        let raw = if keep { Some(self.seal_raw(&id, event)?) } else { None };
        Ok(ParkedRecord {
            id,
            item,
            order,
            at: self.now(),
            event: (event.connection.clone(), event.id.clone(), event.kind.clone()),
            raw,
            edits: Vec::new(),
            replays: event.replay,
        })
    }

    /// Parks an event as a whole. One that stands in the parking lot, or was dealt with by a person, stays as
    /// it is.
    pub(crate) async fn park_event(
        &self,
        event: &Event,
        parked: Parked,
        order: Option<OrderKey>,
    ) -> Result<(), WorkError> {
        let text = format!("parked: {} ({})", parked.what, parked.code);
        let id = match &order {
            Some(order) => format!("{order}|{}", parked.id),
            None => parked.id.clone(),
        };
        let dealt = order.is_none().then(|| Write::Check(rec::dealt_key(&id), Guard::Absent));
        let record = self.parked_record(id, event, parked, order, true)?;
        let mut writes = Self::record_writes(record, 0, Guard::Absent)?;
        writes.extend(dealt);
        match self.ports.store.transact(writes).await {
            Ok(()) => {
                self.alert("parked", Severity::Warning, None, text).await;
                Ok(())
            }
            Err(StoreError::Conflict(_)) => {
                self.ports.alerts.count("events", "parked_already", 1);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds to a commit the records of what a decision parked and unparked; of one item the last word counts.
    pub(crate) fn write_parked(
        &self,
        event: &Event,
        key: &OrderKey,
        facts: &[Fact],
        raw_of: Option<&Parked>,
        commit: &mut CommitParts,
    ) -> Result<(), WorkError> {
        let mut last: BTreeMap<String, Vec<Write>> = BTreeMap::new();
        let gone = |id: &str| vec![Write::Delete(rec::parked_key(&format!("{key}|{id}")), Guard::Any)];
        if let EventBody::Unpark { item, .. } = &event.body {
            // Also where the order never heard of it.
            last.insert(item.clone(), gone(item));
        }
        for fact in facts {
            match fact {
                Fact::Parked(item) => {
                    let keep = raw_of.is_some_and(|p| p.id == item.id);
                    let id = format!("{key}|{}", item.id);
                    commit.parked.push(item.clone());
                    if matches!(event.body, EventBody::Dead { .. }) && item.id.starts_with("event:") {
                        // Triage wrote the record, with the content.
                        continue;
                    }
                    let record = self.parked_record(id, event, item.clone(), Some(key.clone()), keep)?;
                    last.insert(item.id.clone(), Self::record_writes(record, 0, Guard::Any)?);
                }
                Fact::Unparked { id, .. } => {
                    last.insert(id.clone(), gone(id));
                }
                _ => {}
            }
        }
        for write in last.into_values().flatten() {
            commit.put(write);
        }
        Ok(())
    }

    /// Removes the record of an item its order knows nothing of, where it is older than the word to do so.
    pub(crate) async fn forget_parked(
        &self,
        key: &OrderKey,
        item: &str,
        said_at: Timestamp,
    ) -> Result<(), WorkError> {
        let at = rec::parked_key(&format!("{key}|{item}"));
        let Some(found) = self.ports.store.get(std::slice::from_ref(&at)).await?.into_iter().flatten().next()
        else {
            return Ok(());
        };
        let record: ParkedRecord = serde_json::from_slice(&found.body)?;
        if record.at > said_at {
            return Ok(());
        }
        match self.ports.store.transact(vec![Write::Delete(at, Guard::Rev(found.rev))]).await {
            Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists an event nobody has a flow for, or an object that is not ours: stored, counted, shown.
    pub(crate) async fn list_unhandled(&self, event: &Event, why: &str) -> Result<(), WorkError> {
        self.ports.alerts.count("events_unhandled", event.kind.as_str(), 1);
        let id = format!("unhandled:{}:{}", event.connection, event.id);
        let raw = self.seal_raw(&id, event)?;
        let record = UnhandledRecord {
            connection: event.connection.clone(),
            event: event.id.clone(),
            kind: event.kind.clone(),
            at: self.now(),
            why: why.to_owned(),
            // It moves nothing, and the provider has it still: too large for one item, it is only counted.
            raw: Some(raw).filter(|raw| raw.blob.len() <= PART),
        };
        let item = NewItem {
            key: Key::new(id, "item"),
            body: serde_json::to_vec(&record)?,
            due: None,
            list: Some(("unhandled".to_owned(), format!("{}#{}", record.at.rfc3339(), event.id))),
            expires: Some(self.now() + Millis::days(90)),
        };
        Ok(self.ports.store.transact(vec![Write::Put(item, Guard::Any)]).await?)
    }

    /// Parked items, oldest first.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn parked(&self) -> Result<Vec<ParkedRecord>, WorkError> {
        self.listing("parked").await
    }

    /// Events without a flow, and foreign objects, oldest first.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn unhandled(&self) -> Result<Vec<UnhandledRecord>, WorkError> {
        self.listing("unhandled").await
    }

    pub(crate) async fn listing<T: serde::de::DeserializeOwned>(
        &self,
        list: &str,
    ) -> Result<Vec<T>, WorkError> {
        let mut out = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.list(list, after.as_deref(), false, 200).await?;
            for item in page.items {
                out.push(serde_json::from_slice(&item.body)?);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(out),
            }
        }
    }

    async fn parked_item(&self, id: &str) -> Result<(ParkedRecord, Item), ParkingError> {
        let item = self.ports.store.get(&[rec::parked_key(id)]).await?.into_iter().flatten().next();
        let item = item.ok_or_else(|| ParkingError::Missing(id.to_owned()))?;
        let record = serde_json::from_slice(&item.body).map_err(WorkError::from)?;
        Ok((record, item))
    }

    /// One parked item with its content.
    ///
    /// # Errors
    /// [`ParkingError::Missing`].
    pub async fn parked_show(&self, id: &str) -> Result<ParkedView, ParkingError> {
        let (record, _) = self.parked_item(id).await?;
        let content = match self.open_parked(&record).await?.map(|event| event.body) {
            Some(EventBody::Provider { json }) => Some(json.parse().map_err(WorkError::from)?),
            _ => None,
        };
        Ok(ParkedView { record, content })
    }

    /// Replaces a parked event's content. The audit keeps who, when and which members changed.
    ///
    /// # Errors
    /// [`ParkingError`].
    pub async fn parked_edit(
        &self,
        id: &str,
        mut content: serde_json::Value,
        by: &str,
    ) -> Result<Vec<String>, ParkingError> {
        let (mut record, item) = self.parked_item(id).await?;
        let nothing = || ParkingError::NothingToEdit(id.to_owned());
        let mut event = self.open_parked(&record).await?.ok_or_else(nothing)?;
        let parts = record.raw.as_ref().map_or(0, |raw| raw.parts);
        let EventBody::Provider { json } = &mut event.body else {
            return Err(ParkingError::NothingToEdit(id.to_owned()));
        };
        let mut changed = Vec::new();
        differences("", &json.parse().map_err(WorkError::from)?, &content, &mut changed);
        // An edit is no way in for card numbers either.
        if let Some((_, connector)) = self.config.connection(event.connection.as_str()) {
            tillway_core::pan::redact_json(&mut content, connector.identifier_fields());
        }
        *json = RawJson::from_value(&content).map_err(WorkError::from)?;
        event.redacted.clear();
        record.raw = Some(self.seal_raw(id, &event)?);
        record.edits.push(ParkedEdit { at: self.now(), by: by.to_owned(), changed: changed.clone() });
        let writes = Self::record_writes(record, parts, Guard::Rev(item.rev))?;
        match self.ports.store.transact(writes).await {
            Ok(()) => Ok(changed),
            Err(StoreError::Conflict(_)) => Err(ParkingError::Changed(id.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a parked item run again. An event is sent again under the next replay number; a step whose
    /// command's outcome is unknown has that same command looked up again.
    ///
    /// # Errors
    /// [`ParkingError`].
    pub async fn parked_replay(&self, id: &str, by: &str) -> Result<(), ParkingError> {
        let (record, item) = self.parked_item(id).await?;
        let mut events = Vec::new();
        if let Some(mut event) = self.open_parked(&record).await? {
            event.replay = record.replays.saturating_add(1);
            event.origin = Origin::Replay;
            event.redacted.clear();
            events.push(event);
        }
        let command = record.item.id.strip_prefix("command:");
        if let (Some(command), Some(order)) = (command, &record.order) {
            self.look_again(order, command, Unless::Never).await?;
        }
        self.unpark(&record, Unparked::Replayed { by: by.to_owned() }, &mut events);
        self.finish_unpark(&record, &item, events).await
    }

    /// Drops a parked item, with a reason that is kept in the order's history.
    ///
    /// # Errors
    /// [`ParkingError`].
    pub async fn parked_drop(&self, id: &str, by: &str, reason: &str) -> Result<(), ParkingError> {
        let (record, item) = self.parked_item(id).await?;
        let mut events = Vec::new();
        self.unpark(&record, Unparked::Dropped { by: by.to_owned(), reason: reason.to_owned() }, &mut events);
        self.finish_unpark(&record, &item, events).await
    }

    fn unpark(&self, record: &ParkedRecord, how: Unparked, events: &mut Vec<Event>) {
        let Some(order) = record.order.clone() else { return };
        let now = self.now();
        events.insert(
            0,
            Event {
                connection: record.event.0.clone(),
                id: format!("unpark:{}:{}", record.item.id, now.0),
                kind: "tillway.unparked".to_owned(),
                origin: Origin::Replay,
                received_at: now,
                created_at: None,
                replay: 0,
                group: order.order_id().to_owned(),
                redacted: Vec::new(),
                body: EventBody::Unpark {
                    order,
                    item: record.item.id.clone(),
                    how,
                    step: record.item.step.clone(),
                },
            },
        );
    }

    async fn finish_unpark(
        &self,
        record: &ParkedRecord,
        item: &Item,
        events: Vec<Event>,
    ) -> Result<(), ParkingError> {
        // The event goes first: only when it is accepted may the item that holds its content go.
        for event in events.iter().rev() {
            if !self.send_events(std::slice::from_ref(event)).await {
                return Err(WorkError::NotSent.into());
            }
        }
        let parts = record.raw.as_ref().map_or(0, |raw| raw.parts);
        let mut writes: Vec<Write> =
            (0..parts).map(|n| Write::Delete(rec::part_key(&record.id, n), Guard::Any)).collect();
        if record.order.is_none() {
            writes.push(Write::Delete(item.key.clone(), Guard::Rev(item.rev)));
            // A redelivery, or the next sweep, must not park it again.
            let dealt = NewItem {
                key: rec::dealt_key(&record.id),
                body: Vec::new(),
                due: None,
                list: None,
                expires: Some(self.now() + Millis::days(90)),
            };
            writes.push(Write::Put(dealt, Guard::Any));
        }
        if writes.is_empty() {
            // The order's decision removes the item, together with the fact that it was dealt with.
            return Ok(());
        }
        match self.ports.store.transact(writes).await {
            Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The look a person let be taken again may be over before his word is heard: then it is taken once more, or the
    /// step would wait for an answer that came already.
    pub(crate) async fn look_again_where_over(&self, event: &Event) -> Result<(), WorkError> {
        let EventBody::Unpark { order, item, how: Unparked::Replayed { .. }, step: Some(step) } = &event.body
        else {
            return Ok(());
        };
        let Some(command) = item.strip_prefix("command:") else { return Ok(()) };
        let record = self.order_record(order).await?;
        let standing = record.as_ref().and_then(|record| record.state.steps.get(step));
        match standing {
            Some(StepState::Issued { command: waits_for }) if waits_for.as_str() == command => {
                self.look_again(order, command, Unless::Untold).await
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn order_record(&self, order: &OrderKey) -> Result<Option<rec::OrderRecord>, WorkError> {
        let found = self.ports.store.get(&[rec::state_key(order)]).await?.into_iter().flatten().next();
        Ok(found.map(|item| serde_json::from_slice(&item.body)).transpose()?)
    }

    /// A command that was given up is looked up again: the same command, never a second one.
    async fn look_again(&self, order: &OrderKey, command: &str, unless: Unless) -> Result<(), WorkError> {
        let state = self.order_record(order).await?.map(|record| record.state);
        let id = tillway_core::ids::CommandId::new(command);
        let mut keys = vec![rec::command_key(order, None, &id)];
        // A customer may have become another person since.
        let persons = state.iter().flat_map(|s| s.person.iter().chain(&s.former_persons));
        keys.extend(persons.map(|p| rec::command_key(order, Some(p), &id)));
        for item in self.ports.store.get(&keys).await?.into_iter().flatten() {
            let mut record: CommandRecord = serde_json::from_slice(&item.body)?;
            if unless == Unless::Untold && record.listeners.iter().any(|l| !l.told) {
                continue;
            }
            let now = self.now();
            let sent = record.first_sent_at.is_some();
            // A read that was refused is parked by its order alone.
            if !matches!(
                record.state,
                CommandState::Ended { end: CommandEnd::Parked { .. } | CommandEnd::Refused { .. } }
            ) {
                continue;
            }
            record.state = if sent {
                CommandState::Unknown { since: now, settled_by: now, lookups: 0, stored: false, replays: 0 }
            } else {
                CommandState::Pending { not_before: None }
            };
            record.request = record.request.filter(|_| sent);
            record.created_at = now;
            record.unknown_since = sent.then_some(now);
            record.resends = 0;
            // A person has seen to it.
            record.forgotten = false;
            for listener in &mut record.listeners {
                listener.told = false;
            }
            record
                .history
                .push(rec::CommandNote { at: now, what: "a person let it be looked up again".to_owned() });
            let write = crate::commit::put_command(item.key.clone(), &record, now, Guard::Rev(item.rev))?;
            self.ports.store.transact(vec![write]).await?;
        }
        Ok(())
    }
}

pub(crate) fn parked_item(record: &ParkedRecord) -> Result<NewItem, WorkError> {
    Ok(NewItem {
        key: rec::parked_key(&record.id),
        body: serde_json::to_vec(record)?,
        due: None,
        list: Some(("parked".to_owned(), format!("{}#{}", record.at.rfc3339(), record.id))),
        expires: None,
    })
}

/// Paths at which two documents differ.
fn differences(at: &str, old: &serde_json::Value, new: &serde_json::Value, out: &mut Vec<String>) {
    use serde_json::Value::{Array, Object};
    match (old, new) {
        (Object(a), Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let null = serde_json::Value::Null;
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                differences(&path, a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null), out);
            }
        }
        (Array(a), Array(b)) if a.len() == b.len() => {
            for (n, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}[{n}]"), x, y, out);
            }
        }
        (a, b) if a != b => out.push(at.to_owned()),
        _ => {}
    }
}
