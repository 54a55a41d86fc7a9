//! Decide, the shell around the pure function: load, interpret, decide, commit in one conditional
//! transaction, then send.
//!
//! The commit is guarded by the order's revision, so two workers on one order end as if one had gone first.
//! Commands carry a due time in the same transaction; if the process dies before they are sent, the tick
//! sends them. Nothing here talks to the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tillway_connectors::Observation;
use tillway_core::bundle::Bundle;
use tillway_core::decide::{Command, Decision, Input, Needs, Plan, Routes, decide, system_of};
use tillway_core::facts::{CommandEnd, Fact, Parked};
use tillway_core::ids::{CommandId, FlowHash, OrderKey, PersonId};
use tillway_core::state::{Binding, OrderState, READ_STEP};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use crate::bugs::Bug;
use crate::commit::{Adopted, CommitParts, Loaded, put_state};
use crate::engine::{Engine, WorkError, guarded};
use crate::meaning::{About, Extra, Meaning, event_parked};
use crate::personal::Opened;
use crate::ports::{Guard, InMessage, Item, Key, NewItem, OutMessage, Severity, StoreError, Write};
use crate::profile;
use crate::records::{self as rec, CommandState, Event, EventBody, LogRecord, OrderRecord, Origin};

/// How long the end of a command for a person serves that person's other orders.
const FOR_A_PERSON: Millis = Millis::hours(1);
/// How often a commit is tried against other writers before the message goes back.
const MAX_TRIES: u32 = 8;

impl Engine {
    /// Works one message of the events queue. `Ok` means it can be deleted: it was worked, or it failed by its own fault so
    /// often that it is buried ([`crate::config::Config::bury_after`]).
    ///
    /// # Errors
    /// [`WorkError`]: hand it out again.
    pub async fn handle_event(&self, message: &InMessage) -> Result<(), WorkError> {
        let event = self.open_event(&message.body)?;
        match guarded(self.work_event(event)).await {
            Err(error) if message.receives >= self.config.bury_after && error.is_its_own() => {
                tracing::error!(
                    code = error.code(),
                    attempt = message.receives,
                    "an event is given up: {error}"
                );
                self.handle_dead(rec::EVENTS, message).await
            }
            done => done,
        }
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
            match guarded(self.handle_event(message)).await {
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
                Meaning::Order(about) => {
                    let About { key, observation, person, extra } = *about;
                    self.work_order(&event, key, observation, person, extra).await?;
                    return self.look_again_where_over(&event).await;
                }
            }
        }
        Err(WorkError::Contended)
    }

    async fn work_order(
        &self,
        event: &Event,
        key: OrderKey,
        observation: Observation,
        person: Option<PersonId>,
        extra: Extra,
    ) -> Result<(), WorkError> {
        let mut adopted = Adopted::new();
        let mut adopt: Vec<Key> = Vec::new();
        let mut own_aliases: BTreeSet<Key> = BTreeSet::new();
        for _ in 0..MAX_TRIES {
            let mut loaded = self.load(event, &key, &observation, person.as_ref(), &extra).await?;
            loaded.own_aliases.clone_from(&own_aliases);
            if let Some((record, rev)) = &loaded.command {
                // Another step of this order may want the very command that just ended (one for the person):
                // it takes the same end, instead of writing the same record twice in one transaction.
                adopted.insert(record.id.clone(), (record.clone(), *rev));
            }
            if !adopt.is_empty() {
                for item in self.ports.store.get(&adopt).await?.into_iter().flatten() {
                    let record = self.commands.read(&item)?;
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
                        return self.set_aside(event, &key, "payment_of_two_orders", what).await;
                    } else if met.sk == "alias" {
                        // Ours already, written by whoever resolved an event that waited for it.
                        own_aliases.insert(met.clone());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(WorkError::Contended)
    }

    /// An event that cannot be decided on. A provider's goes to the parking lot. Our own come back by their due
    /// time, later than usual, and somebody is told: parked, there would be a new one each time.
    async fn set_aside(
        &self,
        event: &Event,
        key: &OrderKey,
        code: &str,
        what: String,
    ) -> Result<(), WorkError> {
        if matches!(event.body, EventBody::Provider { .. }) {
            return self.park_event(event, event_parked(event, code, what), None).await;
        }
        self.alert(code, Severity::Critical, Some(key.to_string()), what).await;
        self.back_off(event).await
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
            Some(item) => Some((self.orders.read(&item)?, item.rev)),
            None => None,
        };
        let (record, rev) = record.unzip();
        let mut waiting = BTreeMap::new();
        for (n, object) in objects.into_iter().enumerate() {
            if let Some(item) = take(n.saturating_add(1)) {
                waiting.insert(object, (serde_json::from_slice(&item.body)?, item.rev));
            }
        }
        let command = match command_at.and_then(&mut take) {
            Some(item) => Some((self.commands.read(&item)?, item.rev)),
            None => None,
        };
        let person = match (person, person_at) {
            (Some(person), Some(at)) => {
                let access = self.access(person, take(at).as_ref().map(|i| i.body.as_slice()))?;
                Some((person.clone(), access))
            }
            _ => None,
        };
        Ok(Loaded { record, rev, waiting, command, person, own_aliases: BTreeSet::new() })
    }

    /// The flow an order runs on: the version it is bound to, or the newest of its pair.
    pub(crate) async fn flow_of(
        &self,
        binding: Option<&Binding>,
        flow: &str,
    ) -> Result<(Arc<Bundle>, FlowHash), WorkError> {
        let newest = self.config.bundle.hash_of(flow).cloned();
        let newest = newest.ok_or_else(|| WorkError::Config(format!("flow {flow} is not loaded")))?;
        match binding.filter(|b| b.hash != newest) {
            None => Ok((self.config.bundle.clone(), newest)),
            Some(binding) => Ok((self.stored_flow(&binding.hash).await?, binding.hash.clone())),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one decision from load to commit, in order")]
    async fn prepare(
        &self,
        event: &Event,
        key: &OrderKey,
        observation: &Observation,
        person: Option<&PersonId>,
        extra: &Extra,
        loaded: &mut Loaded,
        adopted: &Adopted,
    ) -> Result<Option<CommitParts>, WorkError> {
        let now = self.now();
        let seen_id = format!("{}:{}:{}", event.connection, event.id, event.replay);
        let mut record = match loaded.record.take() {
            Some(record) => record,
            None => Arc::new(OrderRecord {
                state: OrderState::new(key.clone(), now),
                seq: 0,
                personal: None,
                seen: Vec::new(),
                wake_at: None,
            }),
        };
        let pair = match self.pair_for(&record.state, &event.connection, key, &observation.facts) {
            Ok(pair) => pair,
            Err(what) => {
                match (&extra.parked_raw, observation.facts.as_slice()) {
                    // What is wrong with it is why nothing in it names a pair.
                    (Some(parked), [Fact::Parked(_)]) => {
                        self.park_event(event, parked.clone(), None).await?;
                    }
                    // Its event lies in the parking lot, and it is that event which names the pair.
                    _ if matches!(event.body, EventBody::Dead { .. }) && record.state.binding.is_none() => {
                        let what = "an event of this order could not be worked and is parked, and the order belongs to no pair \
                                    yet: nothing of it is done until the event is replayed or another one comes; see \
                                    tillway parked list";
                        self.set_aside(event, key, "dead_letter_unbound", what.to_owned()).await?;
                    }
                    _ => self.set_aside(event, key, "no_single_pair", what).await?,
                }
                return Ok(None);
            }
        };
        let elsewhere = self.of_another_pair(pair, event, key);
        let (observation, extra) = match &elsewhere {
            Some((observation, extra)) => (observation, extra),
            None => (observation, extra),
        };
        let seen = record.seen.contains(&seen_id);
        let duplicate = matches!(event.origin, Origin::Webhook | Origin::Sweep) && seen;
        if seen && matches!(event.body, EventBody::Unpark { .. }) {
            // A person's word counts once: the item may have been parked anew since.
            return Ok(None);
        }
        let stale = profile::current(&record.state, observation);
        let observation = stale.as_ref().unwrap_or(observation);
        let person = person.filter(|_| stale.is_none());
        // A profile has no end: with each change it moves on to the newest flow, and to whoever it is of now.
        let moves = key.is_customer() && stale.is_none() && profile::snapshot(observation).is_some();
        let mut opened = self.open_personal(&record, observation, loaded, event, moves).await?;
        let erased = moves && opened.erased;
        if erased && extra.report.is_none() {
            self.note_nothing(event, key, &record, record.wake_at, loaded, duplicate).await?;
            return Ok(None);
        }
        let moves = moves && !erased;
        let name = profile::flow_name(pair, key);
        let binding = record.state.binding.as_ref().filter(|_| !moves);
        let (bundle, hash) = self.flow_of(binding, &name).await?;
        let flow = bundle.flow(&name).cloned();
        let flow = flow.ok_or_else(|| WorkError::Config(format!("flow {name} is not loaded")))?;

        let mut facts = Vec::new();
        if binding.is_none() && record.state.binding.as_ref().is_none_or(|b| b.hash != hash) {
            self.store_flow(&hash, &name).await?;
            facts.push(Fact::Bound { pair: pair.name.clone(), flow: name, hash });
        }
        let known = record.state.person.as_ref();
        if let Some(person) = person.filter(|told| known.is_none() || (moves && known != Some(*told))) {
            facts.push(Fact::Person { person: person.clone() });
        }
        // What was parked with this very event was seen to, or stands there still.
        let again = |f: &Fact| duplicate && matches!(f, Fact::Parked(_));
        let routed = pair.routing.is_some();
        let gone = |f: &Fact| match f {
            Fact::Profile(_) => erased,
            // Told for routing alone.
            Fact::CardBrand { .. } => !routed,
            _ => false,
        };
        facts.extend(observation.facts.iter().filter(|f| !again(f) && !gone(f)).cloned());
        facts.extend(self.names_another_gateway(&record.state, pair, &observation.facts));
        if self.planted.has(Bug::OlderReadWins) {
            crate::planted::older_read_wins(&record.state, &mut facts);
        }
        if self.planted.has(Bug::IdFromEvent) {
            crate::planted::forget_issued(&mut Arc::make_mut(&mut record).state);
        }
        if self.planted.has(Bug::RefundBesideVoid) {
            let reported = extra.report.as_ref().map(|report| report.step.as_str());
            crate::planted::not_waited_for(&record.state, &flow, reported, &mut facts);
        }
        if duplicate && facts.iter().all(|f| matches!(f, Fact::NothingNew)) {
            facts.push(Fact::Duplicate);
        }
        let answer =
            extra.report.as_ref().map_or_else(Default::default, |r| (r.summary.clone(), r.field.clone()));
        let input = Input { connection: event.connection.clone(), facts, answer };
        let reported = extra.report.as_ref().map(|report| &report.command);

        let mut counts = None;
        let mut decision = loop {
            let per_person = |action: &str| self.per_person(action);
            let fault = |code: &str| self.blames_route(&pair.gateway, code);
            let unfit = |code: &str| self.unfit_route(&pair.gateway, code);
            let again = |code: &str| self.tried_elsewhere(&pair.gateway, code);
            let plan = Plan {
                flow: &flow,
                bundle: &bundle,
                options: &pair.options,
                systems: &pair.systems,
                per_person: &per_person,
                personal: opened.value.as_ref(),
                masking: self.masking.as_ref(),
                erased: opened.erased,
                routes: pair.routing.as_deref().map(|routing| Routes {
                    routing,
                    counts: counts.as_deref(),
                    fault: &fault,
                    unfit: &unfit,
                    again: &again,
                }),
            };
            let decided = decide(&record.state, &input, &plan, now);
            match decided.and_then(|first| adopt_into(first, adopted, reported, &plan, now)) {
                Ok(decision) => break decision,
                Err(Needs::Personal) => opened = self.open_stored(&record).await?,
                Err(Needs::Counts) => counts = Some(self.route_counts(&pair.gateway).await?),
            }
        };
        if self.planted.has(Bug::IdFromEvent) {
            crate::planted::ids_from_event(&mut decision, &event.id);
        }
        let customer = profile::customer_told(event, key, observation);
        self.tell_earlier(&mut decision, &event.connection, customer).await?;
        if let Some((action, object)) = &extra.read {
            self.add_read(&mut decision, event, key, (action, object.as_deref()));
        }
        let news = decision.facts.iter().any(|f| !matches!(f, Fact::NothingNew | Fact::Duplicate));
        let parks = extra.parked_raw.is_some() && !duplicate;
        if !news && decision.commands.is_empty() && extra.report.is_none() && !parks {
            // Nothing to commit: one note in the order's log, so that the event is counted and shown.
            if !matches!(event.body, EventBody::Wake { .. }) || decision.wake_at != record.wake_at {
                self.note_nothing(event, key, &record, decision.wake_at, loaded, duplicate).await?;
            }
            if let EventBody::Unpark { item, .. } = &event.body {
                self.forget_parked(key, item, event.received_at).await?;
            }
            return Ok(None);
        }
        let mut index = self.identity_index(&record.state, &decision.state, observation, person, &opened)?;
        index.extend(self.note_customer(event, decision.state.person.as_ref(), customer)?);
        let mut commit =
            self.build(event, key, &record, decision, opened, extra, loaded, adopted, seen_id, now)?;
        for write in index {
            commit.put(write);
        }
        Ok(Some(commit))
    }

    /// Where another identity than the order's person was told, it leads to that person from now on: whoever
    /// erases it finds the key.
    fn identity_index(
        &self,
        before: &OrderState,
        after: &OrderState,
        observation: &Observation,
        told: Option<&PersonId>,
        opened: &Opened,
    ) -> Result<Vec<Write>, WorkError> {
        let customer = |state: &OrderState| state.order.as_ref().and_then(|o| o.customer_ref.clone());
        let news = opened.changed || before.person != after.person || customer(before) != customer(after);
        let Some(person) = after.person.as_ref().filter(|_| news) else { return Ok(Vec::new()) };
        let mut writes = Vec::new();
        let mut leads: Vec<(PersonId, &PersonId)> =
            self.identities_in(observation, told).into_iter().map(|identity| (identity, person)).collect();
        if let Some(before) = &before.person {
            // A profile that went over to another identity is erased with either.
            leads.extend([(before.clone(), person), (person.clone(), before)]);
        }
        for (identity, person) in leads {
            if identity == *person {
                continue;
            }
            let item = NewItem {
                key: Key::new(rec::identity_pk(&identity), format!("person#{person}")),
                body: serde_json::to_vec(person)?,
                due: None,
                list: None,
                expires: None,
            };
            writes.push(Write::Put(item, Guard::Any));
        }
        Ok(writes)
    }

    fn per_person(&self, action: &str) -> bool {
        tillway_connectors::find(system_of(action))
            .is_some_and(|c| c.actions().iter().any(|a| a.spec.name == action && a.per_person))
    }

    /// Adds the read that an event asks for. A provider may name two hints alike: each is read for, and what is
    /// handed out twice asks for the same read.
    fn add_read(
        &self,
        decision: &mut Decision,
        event: &Event,
        key: &OrderKey,
        (action, object): (&'static str, Option<&str>),
    ) {
        let cause = format!("{}@{}~{}", event.id, event.received_at.0, event.replay);
        let step = format!("{READ_STEP}{cause}");
        let id = CommandId::derive(&event.connection, key.as_str(), "~read", &cause);
        let whose = if key.is_customer() { "customer_id" } else { "order_id" };
        let mut params: BTreeMap<String, Value> = BTreeMap::new();
        params.insert(whose.to_owned(), Value::text(key.order_id()));
        params.insert("object".to_owned(), Value::opt_text(object));
        // Where the gateway has several merchant ids, the likeliest is asked first.
        if let Some(route) = object.and_then(|object| decision.state.route_of(object)) {
            params.insert("route".to_owned(), Value::text(route));
        }
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
            params: Value::Map(params),
            personal: false,
            money: false,
            per_person: false,
            taken: None,
        });
    }
}

impl Engine {
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
        if let Some(rev) = loaded.rev.filter(|_| wake_at != record.wake_at) {
            let mut record = record.clone();
            record.wake_at = wake_at;
            match self.ports.store.transact(vec![put_state(key, &record, Guard::Rev(rev))?]).await {
                // Whoever wrote the order meanwhile set its own time.
                Ok(()) | Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if matches!(event.body, EventBody::Wake { .. }) {
            return Ok(());
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
    adopted: &Adopted,
    reported: Option<&CommandId>,
    plan: &Plan<'_>,
    now: Timestamp,
) -> Result<Decision, Needs> {
    for _ in 0..8 {
        let ended = decision.commands.iter().enumerate().find_map(|(n, c)| {
            let (record, _) = adopted.get(&c.id)?;
            let CommandState::Ended { end } = &record.state else { return None };
            // What was found for a person a while ago may have been changed or removed at the provider since,
            // and what failed for another order need not fail for this one: it is done anew.
            let fresh = *end == CommandEnd::Done && record.ended_within(FOR_A_PERSON, now);
            let lost = &decision.state.lost_customers;
            let gone = record.facts.iter().any(|f| matches!(f, Fact::Customer { id } if lost.contains(id)));
            let stands = !c.per_person || (fresh && !gone) || reported == Some(&c.id);
            stands.then(|| (n, record.clone(), end.clone()))
        });
        let Some((n, record, end)) = ended else { return Ok(decision) };
        let command = decision.commands.remove(n);
        let mut facts = record.facts.clone();
        facts.push(Fact::CommandEnded { command: command.id.clone(), step: command.step.clone(), end });
        let answer = (record.answer.clone(), record.field.clone());
        let input = Input { connection: record.connection.clone(), facts, answer };
        let next = decide(&decision.state, &input, plan, now)?;
        decision.facts.extend(next.facts);
        decision.entries.extend(next.entries);
        decision.commands.extend(next.commands);
        decision.why.extend(next.why);
        decision.state = next.state;
        decision.wake_at = next.wake_at;
    }
    Ok(decision)
}

/// The gateway objects a list of facts names, for looking up what waits for them.
pub(crate) fn fact_objects(facts: &[Fact]) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for fact in facts {
        match fact {
            Fact::Payment { payment, .. }
            | Fact::PaymentCancelled { payment, .. }
            | Fact::AttemptFailed { payment, .. }
            | Fact::Routed { payment, .. }
            | Fact::ActionRequired { payment, .. } => {
                out.insert(payment.clone());
            }
            Fact::Authorized { payment, charge, .. }
            | Fact::Captured { payment, charge, .. }
            | Fact::AuthorizationEnded { payment, charge, .. } => {
                out.extend([payment.clone(), charge.clone()]);
            }
            Fact::CaptureMade { payment, charge, capture, .. } => {
                out.extend([payment.clone(), charge.clone(), capture.clone()]);
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
