//! Tick: sends what is due. Every minute, from any process; two ticks at once do no harm.
//!
//! Whatever is due is moved ahead when it was looked at, also where that failed: one bad item, or many of
//! one kind, holds up nothing else.

use std::collections::BTreeSet;

use tillway_connectors::Owner;
use tillway_connectors::port::{Call, NotDone};
use tillway_core::decide::system_of;
use tillway_core::facts::Parked;
use tillway_core::ids::{CommandId, ConnectionName, OrderKey};
use tillway_core::time::{Millis, Timestamp};

use crate::bugs::Bug;
use crate::engine::{Engine, WorkError, guarded};
use crate::limits::Go;
use crate::meaning::{Meaning, event_parked};
use crate::ports::{
    DUE_SHARDS, Guard, InMessage, Item, Key, NewItem, OutMessage, Severity, StoreError, Write,
};
use crate::records::{self as rec, CommandMessage, CommandState, Event, EventBody, Origin, Waiting};

/// What a tick did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TickReport {
    /// Commands sent again or looked up.
    pub commands: u64,
    /// Orders woken.
    pub wakes: u64,
    /// Waiting events looked at.
    pub waiting: u64,
    /// Sends that were not accepted: still due.
    pub not_sent: u64,
    /// Items that could not be worked: due again later.
    pub failed: u64,
    /// Authorizations counted for their merchant ids.
    pub counted: u64,
}

/// What one tick may still ask the providers.
struct Questions {
    /// Look-ups left.
    left: u32,
    /// None begins after this.
    until: Timestamp,
    /// Connections that gave no answer: asked again by a later tick.
    silent: BTreeSet<ConnectionName>,
}

/// Look-ups of waiting events in one tick.
const QUESTIONS: u32 = 50;
/// The time a tick gives to looking up, and the longest wait for one answer.
const ASKING: (Millis, Millis) = (Millis::secs(20), Millis::secs(10));
/// An item that could not be worked is due again after this.
const AFTER_FAILURE: Millis = Millis::mins(15);
/// An event of ours that nobody can decide on comes back after this.
const BACK_OFF: Millis = Millis::hours(1);

/// Items taken per shard and round.
const PER_ROUND: usize = 100;
/// Rounds per shard: a tick is bounded, the next one goes on.
const ROUNDS: usize = 20;

impl Engine {
    /// Sends what is due now.
    ///
    /// # Errors
    /// [`WorkError`] where the store does not answer; what was not sent stays due.
    pub async fn tick(&self) -> Result<TickReport, WorkError> {
        let mut report = TickReport::default();
        let mut questions =
            Questions { left: QUESTIONS, until: self.now() + ASKING.0, silent: BTreeSet::new() };
        for shard in 0..DUE_SHARDS {
            for _ in 0..ROUNDS {
                let now = self.now();
                let items = self.ports.store.due(shard, now, PER_ROUND).await?;
                let full = items.len() == PER_ROUND;
                let mut moved = false;
                for item in items {
                    let put_off = item.clone();
                    match guarded(self.tick_item(item, now, &mut report, &mut questions)).await {
                        Ok(went) => moved |= went,
                        // Not the item's fault: the rest would fare no better.
                        Err(error @ WorkError::Store(StoreError::Unavailable(_))) => return Err(error),
                        Err(error) => {
                            report.failed = report.failed.saturating_add(1);
                            let text = format!(
                                "{} {} is due and could not be worked ({error}); it is tried again in \
                                 {AFTER_FAILURE}",
                                put_off.key.pk, put_off.key.sk
                            );
                            tracing::error!(code = error.code(), "{text}");
                            self.alert("tick_failed", Severity::Critical, None, text).await;
                            moved |= self.put_off(put_off, now + AFTER_FAILURE).await?;
                        }
                    }
                }
                if !full || !moved {
                    break;
                }
            }
        }
        self.count_routes(&mut report).await?;
        if report != TickReport::default() {
            tracing::debug!(?report, "tick");
        }
        Ok(report)
    }

    async fn tick_item(
        &self,
        item: Item,
        now: Timestamp,
        report: &mut TickReport,
        questions: &mut Questions,
    ) -> Result<bool, WorkError> {
        // The index may lag: what the item itself says counts.
        if item.due.is_none_or(|d| d.at > now) {
            return Ok(false);
        }
        let sk = item.key.sk.as_str();
        if sk.starts_with("cmd#") {
            if self.planted.has(Bug::TickForgets) {
                return Ok(false);
            }
            report.commands = report.commands.saturating_add(1);
            self.tick_command(item, now, report).await
        } else if sk == "state" {
            report.wakes = report.wakes.saturating_add(1);
            self.tick_order(item, now, report).await
        } else if sk == "waiting" {
            report.waiting = report.waiting.saturating_add(1);
            self.tick_waiting(item, now, questions).await
        } else {
            Ok(false)
        }
    }

    async fn tick_command(
        &self,
        item: Item,
        now: Timestamp,
        report: &mut TickReport,
    ) -> Result<bool, WorkError> {
        let record = self.commands.read(&item)?;
        let message = CommandMessage::of(&item.key, record.person.clone());
        let body = serde_json::to_vec(&message)?;
        let message = OutMessage { group: None, dedup: None, body, delay: Millis(0) };
        if !self.send_all(&rec::command_queue(system_of(&record.action)), vec![message]).await {
            report.not_sent = report.not_sent.saturating_add(1);
            return Ok(false);
        }
        // Only after the send was accepted: due again later, in case this message is lost too. Widening, so
        // that a long queue is not filled with copies.
        let age = now.since(record.created_at).0.max(0);
        let next = Millis((age / 4).clamp(self.config.times.resend_after.0, Millis::mins(30).0));
        let write = crate::commit::put_command(item.key, &record, now + next, Guard::Rev(item.rev))?;
        match self.ports.store.transact(vec![write]).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn tick_order(
        &self,
        item: Item,
        now: Timestamp,
        report: &mut TickReport,
    ) -> Result<bool, WorkError> {
        let record = self.orders.read(&item)?;
        let order = record.state.key.clone();
        let event = self.wake(&order, &format!("{}", item.rev), now);
        if !self.send_events(&[event]).await {
            report.not_sent = report.not_sent.saturating_add(1);
            return Ok(false);
        }
        // The decision sets the due time anew; until then a repeated wake changes nothing. Widening, so that
        // orders that cannot be decided on are not before all others for ever.
        let late = record.wake_at.map_or(0, |at| now.since(at).0.max(0));
        let next = Millis((late / 4).clamp(self.config.times.resend_after.0, Millis::mins(30).0));
        self.put_off(item, now + next).await
    }

    /// Makes an item due later, as it is.
    async fn put_off(&self, item: Item, at: Timestamp) -> Result<bool, WorkError> {
        if item.due.is_none() {
            return Ok(false);
        }
        let due = Some(rec::due(&item.key, at));
        let new = NewItem { key: item.key, body: item.body, due, list: item.list, expires: item.expires };
        self.put_or_skip(vec![Write::Put(new, Guard::Rev(item.rev))]).await?;
        // Where somebody else wrote it meanwhile, it has moved too.
        Ok(true)
    }

    /// Puts off what an event of ours came from, after it could not be decided on.
    pub(crate) async fn back_off(&self, event: &Event) -> Result<(), WorkError> {
        let key = match &event.body {
            EventBody::Wake { order } => rec::state_key(order),
            EventBody::Result(report) => Key::new(report.record.0.clone(), report.record.1.clone()),
            // A person can say it again: the item stands in the parking lot.
            // A settlement tells it again as long as its line is open.
            EventBody::Told { .. } => return Ok(()),
            EventBody::Provider { .. } | EventBody::Unpark { .. } | EventBody::Dead { .. } => return Ok(()),
        };
        let item = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
        if let Some(item) = item {
            self.put_off(item, self.now() + BACK_OFF).await?;
        }
        Ok(())
    }

    /// A wake event for an order.
    pub(crate) fn wake(&self, order: &OrderKey, why: &str, now: Timestamp) -> Event {
        Event {
            connection: ConnectionName::new(order.shop()),
            id: format!("wake:{order}:{why}"),
            kind: "tillway.wake".to_owned(),
            origin: Origin::Wake,
            received_at: now,
            created_at: None,
            // A new number each minute, so that a wake that was lost is not dropped as a repetition.
            replay: u32::try_from(now.0.div_euclid(60_000) % 1_000_000).unwrap_or(0),
            group: order.order_id().to_owned(),
            redacted: Vec::new(),
            body: EventBody::Wake { order: order.clone() },
        }
    }

    /// Looks for the owner of waiting events: the alias may be there by now, or the provider knows.
    async fn tick_waiting(
        &self,
        item: Item,
        now: Timestamp,
        questions: &mut Questions,
    ) -> Result<bool, WorkError> {
        let mut waiting: Waiting = serde_json::from_slice(&item.body)?;
        let Some(first) = waiting.events.first() else {
            return self.put_or_skip(vec![Write::Delete(item.key, Guard::Rev(item.rev))]).await;
        };
        let sample = self.open_event(&first.blob)?;
        let known = self.by_alias(&sample.connection, &waiting.ids).await?;
        if waiting.owner.is_some() || known.is_some() {
            return Ok(self.send_waiting(&item.key, waiting.events).await);
        }
        if questions.left == 0
            || self.now() >= questions.until
            || questions.silent.contains(&sample.connection)
        {
            return self.put_off(item, now + self.config.times.resend_after).await;
        }
        questions.left = questions.left.saturating_sub(1);
        let asked = self.ask_provider(&sample, &waiting).await?;
        if matches!(asked, Asked::NoAnswer) {
            questions.silent.insert(sample.connection.clone());
        }
        match asked {
            Asked::Owner(order) => {
                // The alias is written now, under the condition that nobody else did; then the events go.
                let mut writes = Vec::new();
                for id in &waiting.ids {
                    let alias = NewItem {
                        key: rec::alias_key(&sample.connection, id),
                        body: serde_json::to_vec(&order)?,
                        due: None,
                        list: None,
                        expires: None,
                    };
                    writes.push(Write::Put(alias, Guard::Absent));
                }
                waiting.owner = Some(order);
                writes.push(self.waiting_write(&item, &waiting, now)?);
                if self.put_or_skip(writes).await? {
                    return Ok(self.send_waiting(&item.key, waiting.events).await);
                }
                Ok(false)
            }
            Asked::Nobody if now.since(waiting.since) >= self.config.times.foreign_after => {
                for sealed in &waiting.events {
                    let event = self.open_event(&sealed.blob)?;
                    self.list_unhandled(&event, "foreign").await?;
                }
                self.put_or_skip(vec![Write::Delete(item.key, Guard::Rev(item.rev))]).await
            }
            Asked::Nobody | Asked::NoAnswer => {
                if now.since(waiting.since) > self.config.times.give_up_after {
                    for sealed in &waiting.events {
                        let event = self.open_event(&sealed.blob)?;
                        let what =
                            "nobody could tell whose payment this is; find its order, then replay".to_owned();
                        let parked: Parked = event_parked(&event, "owner_unknown", what);
                        self.park_event(&event, parked, None).await?;
                    }
                    return self.put_or_skip(vec![Write::Delete(item.key, Guard::Rev(item.rev))]).await;
                }
                waiting.lookups = waiting.lookups.saturating_add(1);
                let write = self.waiting_write(&item, &waiting, now)?;
                self.put_or_skip(vec![write]).await
            }
        }
    }

    fn waiting_write(&self, item: &Item, waiting: &Waiting, now: Timestamp) -> Result<Write, WorkError> {
        let step = self.config.times.resolve_after.0;
        let next = now + Millis(step.saturating_mul(i64::from(waiting.lookups.min(10)).saturating_add(1)));
        let new = NewItem {
            key: item.key.clone(),
            body: serde_json::to_vec(waiting)?,
            due: Some(rec::due(&item.key, next)),
            list: item.list.clone(),
            expires: None,
        };
        Ok(Write::Put(new, Guard::Rev(item.rev)))
    }

    async fn put_or_skip(&self, writes: Vec<Write>) -> Result<bool, WorkError> {
        match self.ports.store.transact(writes).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn ask_provider(&self, sample: &Event, waiting: &Waiting) -> Result<Asked, WorkError> {
        let Some((connection, connector)) = self.config.connection(sample.connection.as_str()) else {
            return Ok(Asked::NoAnswer);
        };
        if let Go::NotBefore(_) = self.limits.go(&connection.name, None, self.now()) {
            return Ok(Asked::NoAnswer);
        }
        let Ok(mut secrets) = self.secrets(connection.name.as_str(), false).await else {
            return Ok(Asked::NoAnswer);
        };
        let mut read_again = false;
        let id = CommandId::new("resolve");
        let out = self.outbound(connection, connector, None);
        for object in waiting.ids.iter().take(3) {
            let told = loop {
                let call = Call {
                    connection,
                    secrets: &secrets,
                    token: None,
                    http: &out,
                    action: "resolve",
                    command: &id,
                    generation: 0,
                    prepared: &[],
                    now: self.now(),
                    limit: self.config.times.call_limit.min(ASKING.1),
                };
                match connector.resolve(call, object).await {
                    Err(NotDone::Unauthorized) if !read_again => {
                        read_again = true;
                        let Ok(fresh) = self.secrets(connection.name.as_str(), true).await else {
                            return Ok(Asked::NoAnswer);
                        };
                        secrets = fresh;
                    }
                    told => break told,
                }
            };
            match told {
                Ok(Some((Owner::Order { id }, _))) => {
                    if let Some(order) = self.order_key(&sample.connection, &id) {
                        return Ok(Asked::Owner(order));
                    }
                }
                Ok(_) => {}
                Err(_) => return Ok(Asked::NoAnswer),
            }
        }
        Ok(Asked::Nobody)
    }

    /// Triage: a message that was handed out too often. It is parked where a person finds it, and the order
    /// is told, so that its later money commands wait.
    ///
    /// # Errors
    /// [`WorkError`]: hand it out again.
    pub async fn handle_dead(&self, queue: &str, message: &InMessage) -> Result<(), WorkError> {
        let text = format!("a message of {queue} could not be worked");
        self.alert("dead_letter", Severity::Critical, None, text).await;
        if queue.starts_with("events") {
            return self.dead_event(self.open_event(&message.body)?).await;
        }
        // A command's record carries its own due time, so nothing is lost with the message; but what killed
        // the worker every time would kill it again.
        let reference: CommandMessage = serde_json::from_slice(&message.body)?;
        let key = Key::new(reference.pk, reference.sk);
        let Some(item) = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next()
        else {
            return Ok(());
        };
        let record = self.commands.read(&item)?;
        if matches!(record.state, CommandState::Ended { .. }) {
            return Ok(());
        }
        let now = self.now();
        for listener in &record.listeners {
            let parked = Parked {
                id: format!("dead:{}", record.id),
                code: "dead_letter".to_owned(),
                field: None,
                what: format!(
                    "{} could not be worked again and again; read the log for its id",
                    record.action
                ),
                step: None,
                blocks_money: true,
            };
            let told = Event {
                connection: record.connection.clone(),
                id: format!("dead:{}:{}", record.id, listener.order),
                kind: "tillway.dead_letter".to_owned(),
                origin: Origin::Triage,
                received_at: now,
                created_at: None,
                replay: 0,
                group: listener.order.order_id().to_owned(),
                redacted: Vec::new(),
                body: EventBody::Dead { order: listener.order.clone(), parked },
            };
            if !self.send_events(&[told]).await {
                return Err(WorkError::NotSent);
            }
        }
        Ok(())
    }
}

impl Engine {
    /// An event that could not be worked again and again.
    async fn dead_event(&self, event: Event) -> Result<(), WorkError> {
        if !matches!(event.body, EventBody::Provider { .. }) {
            // Its record carries a due time, or stands in the parking lot: nothing is lost with the message,
            // and parked it would come again and again.
            return self.back_off(&event).await;
        }
        let what =
            "this event could not be worked again and again; read the log for its id, then replay".to_owned();
        let parked = event_parked(&event, "dead_letter", what);
        let order = match guarded(self.mean(&event)).await {
            Ok(Meaning::Order(about)) => Some(about.key),
            // Parked or listed by now.
            Ok(Meaning::Over) => return Ok(()),
            _ => None,
        };
        let parked = Parked { blocks_money: order.is_some(), ..parked };
        self.park_event(&event, parked.clone(), order.clone()).await?;
        let Some(order) = order else { return Ok(()) };
        let told = Event {
            id: format!("dead:{}:{}", event.id, event.replay),
            kind: "tillway.dead_letter".to_owned(),
            origin: Origin::Triage,
            received_at: self.now(),
            group: order.order_id().to_owned(),
            body: EventBody::Dead { order, parked },
            redacted: Vec::new(),
            ..event
        };
        if self.send_events(&[told]).await { Ok(()) } else { Err(WorkError::NotSent) }
    }
}

enum Asked {
    Owner(OrderKey),
    Nobody,
    NoAnswer,
}
