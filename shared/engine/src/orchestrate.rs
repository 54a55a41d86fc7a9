//! Decide, the shell around the pure function: load, interpret, decide, commit in one conditional
//! transaction, then send.
//!
//! The commit is guarded by the order's revision, so two workers on one order end as if one had gone first.
//! Commands carry a due time in the same transaction; if the process dies before they are sent, the tick
//! sends them. Nothing here talks to the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tillway_connectors::{Interpreted, Observation, Owner, Rejected};
use tillway_core::bundle::Bundle;
use tillway_core::decide::{Command, Decision, Input, Plan, decide, system_of};
use tillway_core::facts::{Fact, Parked};
use tillway_core::ids::{CommandId, ConnectionName, FlowHash, OrderKey, PersonId};
use tillway_core::state::OrderState;
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use crate::bugs::Bug;
use crate::config::Pair;
use crate::engine::{Engine, PersonAccess, WorkError};
use crate::ports::{Guard, InMessage, Item, Key, NewItem, OutMessage, Severity, StoreError, Write};
use crate::records::{
    self as rec, CommandMessage, CommandRecord, CommandState, Event, EventBody, Listener, LogRecord,
    OrderRecord, Origin, Report, Waiting,
};
use crate::vault::DataKey;

/// How many event ids an order remembers to tell a duplicate from nothing new.
const SEEN: usize = 48;
/// How often a commit is tried against other writers before the message goes back.
const MAX_TRIES: u32 = 8;

/// What an event turned out to be.
pub(crate) enum Meaning {
    /// Facts about an order.
    Order { key: OrderKey, observation: Observation, person: Option<PersonId>, extra: Extra },
    /// An owner nobody knows yet.
    Waits { ids: Vec<String> },
    /// Dealt with: parked without an order, or listed as unhandled.
    Over,
}

/// What goes along with the facts.
#[derive(Default)]
pub(crate) struct Extra {
    /// The report of a command, where the event is one.
    report: Option<Box<Report>>,
    /// The event's own content is parked with this item.
    parked_raw: Option<Parked>,
    /// A read to be made because the event cannot be believed as it stands.
    read: Option<&'static str>,
}

/// What was loaded for one try.
struct Loaded {
    record: Option<(OrderRecord, u64)>,
    waiting: BTreeMap<String, (Waiting, u64)>,
    command: Option<(CommandRecord, u64)>,
    person: Option<(PersonId, PersonAccess)>,
}

/// A commit being put together.
pub(crate) struct CommitParts {
    writes: Vec<Write>,
    /// Places of command puts, so that a conflict there can be told.
    commands: BTreeMap<usize, usize>,
    messages: Vec<(String, OutMessage)>,
    drained: Vec<(Key, Vec<rec::SealedEvent>)>,
    pub(crate) parked: Vec<Parked>,
}

impl CommitParts {
    /// Adds a write.
    pub(crate) fn put(&mut self, write: Write) {
        self.writes.push(write);
    }
}

impl Engine {
    /// Works one message of the events queue. `Ok` means it can be deleted.
    ///
    /// # Errors
    /// [`WorkError`]: hand it out again.
    pub async fn handle_event(&self, message: &InMessage) -> Result<(), WorkError> {
        let event = self.open_event(&message.body)?;
        self.work_event(event).await
    }

    /// Works a batch of the events queue, in order. Answers the receipts that can be deleted: after a
    /// failure the rest of that message's group is left alone, so that order is kept.
    pub async fn handle_events(&self, batch: &[InMessage]) -> Vec<String> {
        let mut done = Vec::new();
        let mut failed: BTreeSet<Option<String>> = BTreeSet::new();
        for message in batch {
            if failed.contains(&message.group) {
                if self.planted.has(Bug::SkipRestOfGroup) {
                    done.push(message.receipt.clone());
                }
                continue;
            }
            match self.handle_event(message).await {
                Ok(()) => done.push(message.receipt.clone()),
                Err(error) => {
                    tracing::warn!(
                        code = error.code(),
                        attempt = message.receives,
                        "event goes back: {error}"
                    );
                    failed.insert(message.group.clone());
                }
            }
        }
        done
    }

    /// Works one event.
    ///
    /// # Errors
    /// [`WorkError`]: work it again.
    pub async fn work_event(&self, event: Event) -> Result<(), WorkError> {
        for _ in 0..3 {
            match self.mean(&event).await? {
                Meaning::Over => return Ok(()),
                Meaning::Waits { ids } => {
                    if self.let_wait(&event, &ids).await? {
                        self.ports.alerts.count("events_waiting", event.connection.as_str(), 1);
                        return Ok(());
                    }
                    // An alias appeared in between: the owner is known now.
                }
                Meaning::Order { key, observation, person, extra } => {
                    return self.work_order(&event, key, observation, person, extra).await;
                }
            }
        }
        Err(WorkError::Contended)
    }

    /// Finds out what an event says and whom it is about.
    pub(crate) async fn mean(&self, event: &Event) -> Result<Meaning, WorkError> {
        let plain = |key: &OrderKey, facts: Vec<Fact>, extra: Extra| Meaning::Order {
            key: key.clone(),
            observation: Observation { facts, personal: Value::Null },
            person: None,
            extra,
        };
        match &event.body {
            EventBody::Wake { order } => Ok(plain(order, Vec::new(), Extra::default())),
            EventBody::Dead { order, parked } => {
                Ok(plain(order, vec![Fact::Parked(parked.clone())], Extra::default()))
            }
            EventBody::Unpark { order, item, how, .. } => {
                let fact = Fact::Unparked { id: item.clone(), how: how.clone() };
                Ok(plain(order, vec![fact], Extra::default()))
            }
            EventBody::Result(report) => {
                let mut facts = report.facts.clone();
                facts.push(Fact::CommandEnded {
                    command: report.command.clone(),
                    step: report.step.clone(),
                    end: report.end.clone(),
                });
                let observation = Observation { facts, personal: report.personal.clone() };
                let extra = Extra { report: Some(report.clone()), ..Extra::default() };
                Ok(Meaning::Order { key: report.order.clone(), observation, person: None, extra })
            }
            EventBody::Provider { json } => self.mean_provider(event, json).await,
        }
    }

    async fn mean_provider(&self, event: &Event, json: &serde_json::Value) -> Result<Meaning, WorkError> {
        let name = event.connection.as_str();
        let Some((connection, connector)) = self.config.connection(name) else {
            return Err(WorkError::Config(format!("connection {name} is not configured any more")));
        };
        let interpreted = connector.interpret(connection, &event.kind, json);
        let mut extra = Extra::default();
        let redacted = |event: &Event| Parked {
            id: format!("event:{}:{}", event.connection, event.id),
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
                self.list_unhandled(event, "unhandled").await?;
                if !event.redacted.is_empty() {
                    self.park_event(event, redacted(event), None).await?;
                }
                return Ok(Meaning::Over);
            }
            Ok(Interpreted::About { owner, observation, person }) => (owner, observation, person),
            Ok(Interpreted::ReadAgain { owner, action }) => {
                extra.read = Some(action);
                (owner, Observation::default(), None)
            }
            Err(rejected) => {
                let parked = rejected_parked(event, &rejected);
                extra.parked_raw = Some(parked.clone());
                let facts = vec![Fact::Parked(parked)];
                (rejected.owner, Observation { facts, personal: Value::Null }, None)
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
                Ok(Meaning::Order { key, observation, person, extra: Extra { parked_raw, ..extra } })
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
    async fn let_wait(&self, event: &Event, ids: &[String]) -> Result<bool, WorkError> {
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
        if waiting.events.len() >= 64 {
            let what =
                "more than 64 events wait for one unknown payment; find its order, then replay".to_owned();
            let parked = event_parked(event, "too_many_waiting", what);
            self.park_event(event, parked, None).await?;
            return Ok(true);
        }
        waiting.events.push(rec::SealedEvent {
            group: event.group.clone(),
            dedup,
            blob: self.seal_event(event),
        });
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

    async fn work_order(
        &self,
        event: &Event,
        key: OrderKey,
        observation: Observation,
        person: Option<PersonId>,
        extra: Extra,
    ) -> Result<(), WorkError> {
        let mut adopted: BTreeMap<CommandId, (CommandRecord, u64)> = BTreeMap::new();
        let mut adopt: Vec<Key> = Vec::new();
        for _ in 0..MAX_TRIES {
            let mut loaded = self.load(event, &key, &observation, person.as_ref(), &extra).await?;
            if !adopt.is_empty() {
                for item in self.ports.store.get(&adopt).await?.into_iter().flatten() {
                    let record: CommandRecord = serde_json::from_slice(&item.body)?;
                    adopted.insert(record.id.clone(), (record, item.rev));
                }
            }
            let Some(commit) = self
                .prepare(event, &key, &observation, person.as_ref(), &extra, &mut loaded, &adopted)
                .await?
            else {
                return Ok(());
            };
            let CommitParts { writes, commands, messages, drained, parked } = commit;
            if self.planted.has(Bug::SendBeforeCommit) {
                self.send_messages(messages.clone()).await;
            }
            let keys: Vec<Key> = writes.iter().map(|w| w.key().clone()).collect();
            match self.ports.store.transact(writes).await {
                Ok(()) => {
                    self.after_commit(event, &key, messages, drained, parked).await;
                    return Ok(());
                }
                Err(StoreError::Conflict(at)) => {
                    // Another writer, or a command that exists already: read it and adopt it.
                    let Some(met) = keys.get(at) else { continue };
                    if commands.contains_key(&at) {
                        adopt.push(met.clone());
                    } else if met.sk == "alias" && self.is_of_another(met, &key).await? {
                        let what =
                            "this payment belongs to another order already; find out which of the two it \
                                    pays, then drop the item"
                                .to_owned();
                        let parked = event_parked(event, "payment_of_two_orders", what);
                        return self.park_event(event, parked, None).await;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(WorkError::Contended)
    }

    async fn is_of_another(&self, alias: &Key, key: &OrderKey) -> Result<bool, WorkError> {
        let item = self.ports.store.get(std::slice::from_ref(alias)).await?.into_iter().flatten().next();
        let owner: Option<OrderKey> = item.map(|i| serde_json::from_slice(&i.body)).transpose()?;
        Ok(owner.is_some_and(|owner| owner != *key))
    }

    async fn after_commit(
        &self,
        event: &Event,
        key: &OrderKey,
        messages: Vec<(String, OutMessage)>,
        drained: Vec<(Key, Vec<rec::SealedEvent>)>,
        alerts: Vec<Parked>,
    ) {
        self.ports.alerts.count("decided", event.kind.as_str(), 1);
        if !self.planted.has(Bug::SendBeforeCommit) {
            self.send_messages(messages).await;
        }
        for (waiting, events) in drained {
            self.send_waiting(&waiting, events).await;
        }
        for parked in alerts {
            tracing::warn!(order = %key, code = %parked.code, "parked: {}", parked.what);
            let text = format!("parked: {} ({})", parked.what, parked.code);
            self.alert("parked", Severity::Warning, Some(key.to_string()), text).await;
        }
    }

    /// Sends commands and wakes. What is not accepted is sent by the tick: the records carry due times.
    async fn send_messages(&self, messages: Vec<(String, OutMessage)>) {
        let mut by_queue: BTreeMap<String, Vec<OutMessage>> = BTreeMap::new();
        for (queue, message) in messages {
            by_queue.entry(queue).or_default().push(message);
        }
        for (queue, batch) in by_queue {
            if !self.send_all(&queue, batch).await {
                tracing::warn!(queue, code = "send_deferred", "not accepted now; the tick sends it");
            }
        }
    }

    /// Sends what waited for an alias; removes the waiting item only when all was accepted.
    pub(crate) async fn send_waiting(&self, key: &Key, events: Vec<rec::SealedEvent>) -> bool {
        let message = |e: rec::SealedEvent| OutMessage {
            group: Some(e.group),
            // A fresh id: the first send of this event may still be inside the deduplication window.
            dedup: Some(format!("{}:drained", e.dedup)),
            body: e.blob,
            delay: Millis(0),
        };
        if !self.send_all(rec::EVENTS, events.into_iter().map(message).collect()).await {
            return false;
        }
        let Ok(items) = self.ports.store.get(std::slice::from_ref(key)).await else { return false };
        let Some(item) = items.into_iter().flatten().next() else { return true };
        self.ports.store.transact(vec![Write::Delete(key.clone(), Guard::Rev(item.rev))]).await.is_ok()
    }

    async fn load(
        &self,
        event: &Event,
        key: &OrderKey,
        observation: &Observation,
        person: Option<&PersonId>,
        extra: &Extra,
    ) -> Result<Loaded, WorkError> {
        let objects = fact_objects(&observation.facts);
        let mut keys = vec![rec::state_key(key)];
        keys.extend(objects.iter().map(|o| rec::waiting_key(&event.connection, o)));
        let command_at = extra.report.as_ref().map(|report| {
            keys.push(Key::new(report.record.0.clone(), report.record.1.clone()));
            keys.len().saturating_sub(1)
        });
        let person_at = person.map(|p| {
            keys.push(rec::person_key(p));
            keys.len().saturating_sub(1)
        });
        let mut items: Vec<Option<Item>> = self.ports.store.get(&keys).await?;
        let mut take = |at: usize| items.get_mut(at).and_then(Option::take);
        let record = match take(0) {
            Some(item) => Some((serde_json::from_slice::<OrderRecord>(&item.body)?, item.rev)),
            None => None,
        };
        let mut waiting = BTreeMap::new();
        for (n, object) in objects.into_iter().enumerate() {
            if let Some(item) = take(n.saturating_add(1)) {
                waiting.insert(object, (serde_json::from_slice(&item.body)?, item.rev));
            }
        }
        let command = match command_at.and_then(&mut take) {
            Some(item) => Some((serde_json::from_slice(&item.body)?, item.rev)),
            None => None,
        };
        let person = match (person, person_at) {
            (Some(person), Some(at)) => {
                let access = self.access(person, take(at).as_ref().map(|i| i.body.as_slice()))?;
                Some((person.clone(), access))
            }
            _ => None,
        };
        Ok(Loaded { record, waiting, command, person })
    }

    /// The flow an order runs on: the version it is bound to, or the newest of its pair.
    async fn flow_of(&self, state: &OrderState, pair: &Pair) -> Result<(Arc<Bundle>, FlowHash), WorkError> {
        let newest = self.config.bundle.hash_of(&pair.flow).cloned();
        let newest = newest.ok_or_else(|| WorkError::Config(format!("flow {} is not loaded", pair.flow)))?;
        match state.binding.as_ref().filter(|b| b.hash != newest) {
            None => Ok((self.config.bundle.clone(), newest)),
            Some(binding) => Ok((self.stored_flow(&binding.hash).await?, binding.hash.clone())),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        clippy::too_many_lines,
        reason = "one decision from load to commit, in order"
    )]
    async fn prepare(
        &self,
        event: &Event,
        key: &OrderKey,
        observation: &Observation,
        person: Option<&PersonId>,
        extra: &Extra,
        loaded: &mut Loaded,
        adopted: &BTreeMap<CommandId, (CommandRecord, u64)>,
    ) -> Result<Option<CommitParts>, WorkError> {
        let now = self.now();
        let seen_id = format!("{}:{}:{}", event.connection, event.id, event.replay);
        let mut record = match &loaded.record {
            Some((record, _)) => record.clone(),
            None => OrderRecord {
                state: OrderState::new(key.clone(), now),
                seq: 0,
                personal: None,
                seen: Vec::new(),
                wake_at: None,
            },
        };
        let Some(pair) = self.pair_for(&record.state, &event.connection, key) else {
            let what =
                format!("no pair, or more than one, takes orders of {}; configure one pair", key.shop());
            self.park_event(event, event_parked(event, "no_single_pair", what), Some(key.clone())).await?;
            return Ok(None);
        };
        let duplicate =
            matches!(event.origin, Origin::Webhook | Origin::Sweep) && record.seen.contains(&seen_id);
        let (bundle, hash) = self.flow_of(&record.state, pair).await?;
        let flow = bundle.flow(&pair.flow).cloned();
        let flow = flow.ok_or_else(|| WorkError::Config(format!("flow {} is not loaded", pair.flow)))?;

        let mut facts = Vec::new();
        if record.state.binding.is_none() {
            self.store_flow(&hash, &pair.flow).await?;
            facts.push(Fact::Bound { pair: pair.name.clone(), flow: pair.flow.clone(), hash });
        }
        if let Some(person) = person.filter(|_| record.state.person.is_none()) {
            facts.push(Fact::Person { person: person.clone() });
        }
        facts.extend(observation.facts.iter().cloned());
        if self.planted.has(Bug::OlderReadWins) {
            crate::planted::older_read_wins(&record.state, &mut facts);
        }
        if self.planted.has(Bug::IdFromEvent) {
            crate::planted::forget_issued(&mut record.state);
        }
        if duplicate && facts.iter().all(|f| matches!(f, Fact::NothingNew)) {
            facts.push(Fact::Duplicate);
        }
        let answer =
            extra.report.as_ref().map_or_else(Default::default, |r| (r.summary.clone(), r.field.clone()));
        let input = Input { connection: event.connection.clone(), facts, answer };

        let mut opened = self.open_personal(&record, observation, loaded, event).await?;
        let mut decision = loop {
            let per_person = |action: &str| self.per_person(action);
            let plan = Plan {
                flow: &flow,
                bundle: &bundle,
                options: &pair.options,
                systems: &pair.systems,
                per_person: &per_person,
                personal: opened.value.as_ref(),
                erased: opened.erased,
            };
            let first = match decide(&record.state, &input, &plan, now) {
                Ok(decision) => decision,
                Err(_) => {
                    opened = self.open_stored(&record).await?;
                    continue;
                }
            };
            break match adopt_into(first, adopted, &plan, now) {
                Some(decision) => decision,
                None => {
                    opened = self.open_stored(&record).await?;
                    continue;
                }
            };
        };
        if self.planted.has(Bug::IdFromEvent) {
            crate::planted::ids_from_event(&mut decision, &event.id);
        }
        if let Some(action) = extra.read {
            self.add_read(&mut decision, event, key, action);
        }
        let news = decision.facts.iter().any(|f| !matches!(f, Fact::NothingNew | Fact::Duplicate));
        if !news && decision.commands.is_empty() && extra.report.is_none() && extra.parked_raw.is_none() {
            // Nothing to commit: one note in the order's log, so that the event is counted and shown.
            if !matches!(event.body, EventBody::Wake { .. }) || decision.wake_at != record.wake_at {
                self.note_nothing(event, key, &record, decision.wake_at, loaded, duplicate).await?;
            }
            return Ok(None);
        }
        self.build(event, key, record, decision, opened, extra, loaded, adopted, seen_id).map(Some)
    }

    #[expect(clippy::too_many_arguments, clippy::too_many_lines, reason = "one transaction, in order")]
    fn build(
        &self,
        event: &Event,
        key: &OrderKey,
        mut record: OrderRecord,
        decision: Decision,
        opened: Opened,
        extra: &Extra,
        loaded: &mut Loaded,
        adopted: &BTreeMap<CommandId, (CommandRecord, u64)>,
        seen_id: String,
    ) -> Result<CommitParts, WorkError> {
        let now = self.now();
        let before = record.state.aliases();
        let mut commit = CommitParts {
            writes: Vec::new(),
            commands: BTreeMap::new(),
            messages: Vec::new(),
            drained: Vec::new(),
            parked: Vec::new(),
        };
        let guard = loaded.record.as_ref().map_or(Guard::Absent, |(_, rev)| Guard::Rev(*rev));
        record.seq = record.seq.saturating_add(1);
        record.state = decision.state;
        record.wake_at = decision.wake_at;
        if matches!(event.origin, Origin::Webhook | Origin::Sweep | Origin::Replay) {
            record.seen.push(seen_id);
            let surplus = record.seen.len().saturating_sub(SEEN);
            record.seen.drain(..surplus);
        }
        if let (Some((person, data_key)), true) = (&opened.key, opened.changed)
            && let Some(value) = &opened.value
        {
            record.personal = Some(self.seal_value(data_key, person, value)?);
        }
        if let Some((person, wrapped)) = &opened.new_key {
            let body = serde_json::to_vec(&rec::PersonKey::Live { wrapped: wrapped.clone() })?;
            let item = NewItem { key: rec::person_key(person), body, due: None, list: None, expires: None };
            commit.writes.push(Write::Put(item, opened.new_key_guard));
        }

        for command in &decision.commands {
            let (record, guard, send) =
                self.command_record(command, key, &record.state, &opened, adopted, now)?;
            let record_key = rec::command_key(key, command_person(command, &record), &command.id);
            if send {
                let message = CommandMessage {
                    pk: record_key.pk.clone(),
                    sk: record_key.sk.clone(),
                    person: record.person.clone(),
                    planted: self.planted.has(Bug::SendBeforeCommit).then(|| Box::new(record.clone())),
                };
                let message = OutMessage {
                    group: None,
                    dedup: None,
                    body: serde_json::to_vec(&message)?,
                    delay: Millis(0),
                };
                commit.messages.push((rec::command_queue(system_of(&command.action)), message));
            }
            let at = commit.writes.len();
            commit.commands.insert(at, 0);
            commit.writes.push(put_command(
                record_key,
                &record,
                now + self.config.times.resend_after,
                guard,
            )?);
        }
        if let (Some(report), Some((command, rev))) = (&extra.report, loaded.command.take()) {
            commit.writes.push(told(command, rev, report, key, now)?);
        }
        for entry in &decision.entries {
            let item = NewItem {
                key: rec::entry_key(key, entry),
                body: serde_json::to_vec(entry)?,
                due: None,
                list: Some((format!("journal#{}", now.day()), format!("{}#{}", now.rfc3339(), entry.id))),
                expires: None,
            };
            commit.writes.push(Write::Put(item, Guard::Absent));
        }
        self.write_parked(event, key, &decision.facts, extra.parked_raw.as_ref(), &mut commit)?;
        let gateway =
            record.state.payments.values().next().map_or(&event.connection, |p| &p.connection).clone();
        for alias in record.state.aliases().difference(&before) {
            let item = NewItem {
                key: rec::alias_key(&gateway, alias),
                body: serde_json::to_vec(key)?,
                due: None,
                list: None,
                expires: None,
            };
            commit.writes.push(Write::Put(item, Guard::Absent));
            self.claim_waiting(&gateway, alias, key, loaded, &mut commit)?;
        }
        let log = LogRecord {
            at: now,
            connection: event.connection.clone(),
            event: event.id.clone(),
            kind: event.kind.clone(),
            origin: event.origin,
            replay: event.replay,
            received_at: event.received_at,
            created_at: event.created_at,
            facts: decision.facts,
            entries: decision.entries.iter().map(|e| e.id.clone()).collect(),
            why: decision.why,
        };
        let log = NewItem {
            key: rec::log_key(key, record.seq),
            body: serde_json::to_vec(&log)?,
            due: None,
            list: None,
            expires: None,
        };
        commit.writes.push(Write::Put(log, Guard::Absent));
        commit.writes.push(put_state(key, &record, guard)?);
        Ok(commit)
    }

    /// Takes what waits for an alias into the same transaction: marked as owned here, sent and removed
    /// after the commit. Where nothing waits, that too is a condition.
    fn claim_waiting(
        &self,
        gateway: &ConnectionName,
        alias: &str,
        key: &OrderKey,
        loaded: &mut Loaded,
        commit: &mut CommitParts,
    ) -> Result<(), WorkError> {
        let waiting_key = rec::waiting_key(gateway, alias);
        match loaded.waiting.remove(alias) {
            None => {
                if !self.planted.has(Bug::DropWaiting) {
                    commit.writes.push(Write::Check(waiting_key, Guard::Absent));
                }
            }
            Some((_, rev)) if self.planted.has(Bug::DropWaiting) => {
                commit.writes.push(Write::Delete(waiting_key, Guard::Rev(rev)));
            }
            Some((mut waiting, rev)) => {
                waiting.owner = Some(key.clone());
                let item = NewItem {
                    body: serde_json::to_vec(&waiting)?,
                    due: Some(rec::due(&waiting_key, self.now() + self.config.times.resend_after)),
                    list: None,
                    expires: None,
                    key: waiting_key.clone(),
                };
                commit.writes.push(Write::Put(item, Guard::Rev(rev)));
                commit.drained.push((waiting_key, waiting.events));
            }
        }
        Ok(())
    }

    fn per_person(&self, action: &str) -> bool {
        tillway_connectors::find(system_of(action))
            .is_some_and(|c| c.actions().iter().any(|a| a.spec.name == action && a.per_person))
    }

    /// The pair an order belongs to. One order, one pair: bound already, or the only one that fits.
    fn pair_for(&self, state: &OrderState, connection: &ConnectionName, key: &OrderKey) -> Option<&Pair> {
        if let Some(binding) = &state.binding {
            return self.config.pair(&binding.pair);
        }
        let takes = |p: &&Pair| p.shop.as_str() == key.shop();
        let by_gateway = self.config.pairs.iter().filter(takes).filter(|p| p.gateway == *connection);
        let all: Vec<&Pair> = by_gateway.collect();
        match all.as_slice() {
            [one] => Some(one),
            _ => {
                let all: Vec<&Pair> = self.config.pairs.iter().filter(takes).collect();
                match all.as_slice() {
                    [one] => Some(one),
                    _ => None,
                }
            }
        }
    }

    fn add_read(&self, decision: &mut Decision, event: &Event, key: &OrderKey, action: &'static str) {
        let step = format!("~read/{}", event.id);
        let id = CommandId::derive(&event.connection, key.as_str(), "~read", &event.id);
        decision
            .state
            .steps
            .insert(step.clone(), tillway_core::facts::StepState::Issued { command: id.clone() });
        decision.facts.push(Fact::Step {
            step: step.clone(),
            state: tillway_core::facts::StepState::Issued { command: id.clone() },
        });
        decision.commands.push(Command {
            id,
            connection: event.connection.clone(),
            action: action.to_owned(),
            step,
            params: Value::map([("order_id", Value::text(key.order_id()))]),
            personal: false,
            money: false,
            per_person: false,
        });
    }

    #[expect(clippy::too_many_arguments, reason = "a private step of one decision")]
    fn command_record(
        &self,
        command: &Command,
        key: &OrderKey,
        state: &OrderState,
        opened: &Opened,
        adopted: &BTreeMap<CommandId, (CommandRecord, u64)>,
        now: Timestamp,
    ) -> Result<(CommandRecord, Guard, bool), WorkError> {
        let listener = Listener { order: key.clone(), step: command.step.clone(), told: false };
        if let Some((known, rev)) = adopted.get(&command.id) {
            // In flight for another order of the same person: wait for the same answer.
            let mut known = known.clone();
            if !known.listeners.iter().any(|l| l.order == *key && l.step == command.step) {
                known.listeners.push(listener);
            }
            return Ok((known, Guard::Rev(*rev), false));
        }
        let (params, sealed_params) = match (&opened.key, command.personal) {
            (Some((person, data_key)), true) => {
                (None, Some(self.seal_value(data_key, person, &command.params)?))
            }
            _ => (Some(command.params.clone()), None),
        };
        let record = CommandRecord {
            id: command.id.clone(),
            connection: command.connection.clone(),
            action: command.action.clone(),
            money: command.money,
            listeners: vec![listener],
            person: state.person.clone(),
            params,
            sealed_params,
            request: None,
            summary: String::new(),
            state: CommandState::Pending { not_before: None },
            fence: 0,
            generation: 0,
            attempts: 0,
            created_at: now,
            first_sent_at: None,
            facts: Vec::new(),
            answer_personal: None,
            provider_id: None,
            answer: String::new(),
            field: None,
            history: Vec::new(),
            last_not_done: None,
        };
        Ok((record, Guard::Absent, true))
    }
}

/// Personal data as opened for one decision.
#[derive(Default, Clone)]
pub(crate) struct Opened {
    value: Option<Value>,
    key: Option<(PersonId, DataKey)>,
    new_key: Option<(PersonId, Vec<u8>)>,
    new_key_guard: NewKeyGuard,
    changed: bool,
    erased: bool,
}

type NewKeyGuard = Guard;

impl Default for Guard {
    fn default() -> Self {
        Self::Absent
    }
}

impl Engine {
    /// Opens or starts personal data from what came in, without reading anything more.
    async fn open_personal(
        &self,
        record: &OrderRecord,
        observation: &Observation,
        loaded: &Loaded,
        event: &Event,
    ) -> Result<Opened, WorkError> {
        if observation.personal == Value::Null {
            return Ok(Opened::default());
        }
        let bound = record.state.person.clone();
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
            PersonAccess::Erased(at) if event.created_at.unwrap_or(event.received_at) <= at => {
                // Said before the erasure: it must not come back.
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
        merge(&mut value, &observation.personal);
        opened.changed = value != known || opened.new_key.is_some();
        opened.value = Some(value);
        opened.key = Some((person, data_key));
        Ok(opened)
    }

    /// Opens what is stored of the order's person: one more read, made only where a step needs it.
    async fn open_stored(&self, record: &OrderRecord) -> Result<Opened, WorkError> {
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

    async fn note_nothing(
        &self,
        event: &Event,
        key: &OrderKey,
        record: &OrderRecord,
        wake_at: Option<Timestamp>,
        loaded: &Loaded,
        duplicate: bool,
    ) -> Result<(), WorkError> {
        let label = if duplicate { "duplicate" } else { "nothing_new" };
        self.ports.alerts.count("events", label, 1);
        if let Some((_, rev)) = loaded.record.as_ref().filter(|_| wake_at != record.wake_at) {
            let mut record = record.clone();
            record.wake_at = wake_at;
            return match self.ports.store.transact(vec![put_state(key, &record, Guard::Rev(*rev))?]).await {
                Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        let note = LogRecord {
            at: self.now(),
            connection: event.connection.clone(),
            event: event.id.clone(),
            kind: event.kind.clone(),
            origin: event.origin,
            replay: event.replay,
            received_at: event.received_at,
            created_at: event.created_at,
            facts: vec![if duplicate { Fact::Duplicate } else { Fact::NothingNew }],
            entries: Vec::new(),
            why: Vec::new(),
        };
        let item = NewItem {
            key: Key::new(rec::order_pk(key), format!("note#{}#{}", event.connection, event.id)),
            body: serde_json::to_vec(&note)?,
            due: None,
            list: None,
            expires: Some(self.now() + Millis::days(90)),
        };
        Ok(self.ports.store.transact(vec![Write::Put(item, Guard::Any)]).await?)
    }
}

/// Ends of commands that exist already are taken as if they had just been reported.
fn adopt_into(
    mut decision: Decision,
    adopted: &BTreeMap<CommandId, (CommandRecord, u64)>,
    plan: &Plan<'_>,
    now: Timestamp,
) -> Option<Decision> {
    for _ in 0..8 {
        let ended = decision.commands.iter().enumerate().find_map(|(n, c)| match adopted.get(&c.id) {
            Some((record, _)) => match &record.state {
                CommandState::Ended { end } => Some((n, record.clone(), end.clone())),
                _ => None,
            },
            None => None,
        });
        let Some((n, record, end)) = ended else { return Some(decision) };
        let command = decision.commands.remove(n);
        let mut facts = record.facts.clone();
        facts.push(Fact::CommandEnded { command: command.id.clone(), step: command.step.clone(), end });
        let answer = (record.answer.clone(), record.field.clone());
        let input = Input { connection: record.connection.clone(), facts, answer };
        let next = decide(&decision.state, &input, plan, now).ok()?;
        decision.facts.extend(next.facts);
        decision.entries.extend(next.entries);
        decision.commands.extend(next.commands);
        decision.why.extend(next.why);
        decision.state = next.state;
        decision.wake_at = next.wake_at;
    }
    Some(decision)
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

fn command_person<'a>(command: &Command, record: &'a CommandRecord) -> Option<&'a PersonId> {
    record.person.as_ref().filter(|_| command.per_person)
}

fn put_state(key: &OrderKey, record: &OrderRecord, guard: Guard) -> Result<Write, WorkError> {
    let item_key = rec::state_key(key);
    let item = NewItem {
        body: serde_json::to_vec(record)?,
        due: record.wake_at.map(|at| rec::due(&item_key, at)),
        list: Some(("orders".to_owned(), format!("{}#{key}", record.state.first_at.rfc3339()))),
        expires: None,
        key: item_key,
    };
    Ok(Write::Put(item, guard))
}

/// A command's record with its due time.
pub(crate) fn put_command(
    key: Key,
    record: &CommandRecord,
    at: Timestamp,
    guard: Guard,
) -> Result<Write, WorkError> {
    let told = record.listeners.iter().all(|l| l.told);
    let over = matches!(record.state, CommandState::Ended { .. }) && told;
    let unknown = matches!(record.state, CommandState::Unknown { .. });
    let item = NewItem {
        body: serde_json::to_vec(record)?,
        due: (!over).then(|| rec::due(&key, at)),
        list: unknown
            .then(|| ("unknown".to_owned(), format!("{}#{}", record.created_at.rfc3339(), record.id))),
        expires: None,
        key,
    };
    Ok(Write::Put(item, guard))
}

fn told(
    mut record: CommandRecord,
    rev: u64,
    report: &Report,
    key: &OrderKey,
    now: Timestamp,
) -> Result<Write, WorkError> {
    for listener in record.listeners.iter_mut().filter(|l| l.order == *key && l.step == report.step) {
        listener.told = true;
    }
    let at = Key::new(report.record.0.clone(), report.record.1.clone());
    put_command(at, &record, now + Millis::mins(1), Guard::Rev(rev))
}

/// The gateway objects a list of facts names, for looking up what waits for them.
pub(crate) fn fact_objects(facts: &[Fact]) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for fact in facts {
        match fact {
            Fact::Payment { payment, .. }
            | Fact::PaymentCancelled { payment, .. }
            | Fact::AttemptFailed { payment, .. }
            | Fact::ActionRequired { payment, .. } => {
                out.insert(payment.clone());
            }
            Fact::Authorized { payment, charge, .. }
            | Fact::Captured { payment, charge, .. }
            | Fact::AuthorizationEnded { payment, charge, .. } => {
                out.extend([payment.clone(), charge.clone()]);
            }
            Fact::ReviewOpened { review, payment } | Fact::ReviewClosed { review, payment, .. } => {
                out.extend([payment.clone(), review.clone()]);
            }
            Fact::Refund { refund, payment, .. } => out.extend([payment.clone(), refund.clone()]),
            Fact::Dispute { dispute, payment, .. } | Fact::DisputeMoved { dispute, payment, .. } => {
                out.extend([payment.clone(), dispute.clone()]);
            }
            _ => {}
        }
    }
    out
}

fn rejected_parked(event: &Event, rejected: &Rejected) -> Parked {
    Parked {
        id: format!("event:{}:{}", event.connection, event.id),
        code: rejected.code.clone(),
        field: Some(rejected.field.clone()),
        what: rejected.what.clone(),
        step: None,
        blocks_money: false,
    }
}

/// A parked item for an event as a whole.
pub(crate) fn event_parked(event: &Event, code: &str, what: String) -> Parked {
    Parked {
        id: format!("event:{}:{}", event.connection, event.id),
        code: code.to_owned(),
        field: None,
        what,
        step: None,
        blocks_money: false,
    }
}
