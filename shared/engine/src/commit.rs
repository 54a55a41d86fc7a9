//! One decision as one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tillway_core::decide::{Command, Decision, system_of};
use tillway_core::facts::Parked;
use tillway_core::ids::{CommandId, ConnectionName, OrderKey, PersonId};
use tillway_core::state::OrderState;
use tillway_core::time::{Millis, Timestamp};

use crate::bugs::Bug;
use crate::engine::{Engine, PersonAccess, WorkError};
use crate::meaning::Extra;
use crate::personal::Opened;
use crate::ports::{Guard, Key, MAX_WRITES, NewItem, OutMessage, Write};
use crate::records::{
    self as rec, CommandMessage, CommandRecord, CommandState, Event, Listener, LogRecord, OrderRecord,
    Origin, Report, Waiting,
};

/// How many event ids an order remembers to tell a duplicate from nothing new.
const SEEN: usize = 48;

/// Commands that exist already, with their revisions.
pub(crate) type Adopted = BTreeMap<CommandId, (Arc<CommandRecord>, u64)>;

/// What was loaded for one try.
pub(crate) struct Loaded {
    pub(crate) record: Option<Arc<OrderRecord>>,
    /// Revision of the order's item; `None` where there is none yet.
    pub(crate) rev: Option<u64>,
    pub(crate) waiting: BTreeMap<String, (Waiting, u64)>,
    pub(crate) command: Option<(Arc<CommandRecord>, u64)>,
    pub(crate) person: Option<(PersonId, PersonAccess)>,
    /// Aliases of this order that stand already: whoever resolved a waiting event wrote them.
    pub(crate) own_aliases: BTreeSet<Key>,
}

/// A commit being put together.
pub(crate) struct CommitParts {
    pub(crate) writes: Vec<Write>,
    /// Places of command puts, so that a conflict there can be told.
    pub(crate) commands: BTreeMap<usize, usize>,
    pub(crate) messages: Vec<(String, OutMessage)>,
    pub(crate) drained: Vec<(Key, Vec<rec::SealedEvent>)>,
    pub(crate) parked: Vec<Parked>,
}

impl CommitParts {
    /// Adds a write.
    pub(crate) fn put(&mut self, write: Write) {
        self.writes.push(write);
    }
}

impl Engine {
    #[expect(clippy::too_many_arguments, clippy::too_many_lines, reason = "one transaction, in order")]
    pub(crate) fn build(
        &self,
        event: &Event,
        key: &OrderKey,
        before: &OrderRecord,
        decision: Decision,
        opened: Opened,
        extra: &Extra,
        loaded: &mut Loaded,
        adopted: &Adopted,
        seen_id: String,
        // The decision's own: state and journal must come out of the log to the byte.
        now: Timestamp,
    ) -> Result<CommitParts, WorkError> {
        let known_aliases = before.state.aliases();
        let mut commit = CommitParts {
            writes: Vec::new(),
            commands: BTreeMap::new(),
            messages: Vec::new(),
            drained: Vec::new(),
            parked: Vec::new(),
        };
        let guard = loaded.rev.map_or(Guard::Absent, Guard::Rev);
        let mut record = OrderRecord {
            state: decision.state,
            seq: before.seq.saturating_add(1),
            personal: before.personal.clone(),
            seen: before.seen.clone(),
            wake_at: decision.wake_at,
        };
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

        let ended = loaded.command.as_ref().map(|(command, _)| command.as_ref());
        let forgotten = self.follows_forgotten(event, ended, record.state.first_at);
        for command in &decision.commands {
            let (mut record, guard, send) =
                self.command_record(command, key, &record.state, &opened, adopted, now)?;
            record.forgotten |= send && forgotten;
            let record_key = rec::command_key(key, command_person(command, &record), &command.id);
            if send {
                #[cfg_attr(not(feature = "planted-bugs"), expect(unused_mut, reason = "a bug adds to it"))]
                let mut message = CommandMessage::of(&record_key, record.person.clone());
                #[cfg(feature = "planted-bugs")]
                if self.planted.has(Bug::SendBeforeCommit) {
                    message.planted = Some(Box::new(record.clone()));
                }
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
            let due = now + self.config.times.resend_after;
            commit.writes.push(self.put_command(record_key, record, due, guard)?);
        }
        if let (Some(report), Some((command, rev))) = (&extra.report, loaded.command.take()) {
            commit.writes.push(self.told(Arc::unwrap_or_clone(command), rev, report, key, now)?);
        }
        for entry in &decision.entries {
            commit.writes.push(Write::Put(rec::entry_item(key, entry, now)?, Guard::Absent));
        }
        for note in self.route_notes(&record.state, &decision.facts, now)? {
            commit.writes.push(note);
        }
        self.write_parked(event, key, &decision.facts, extra.parked_raw.as_ref(), &mut commit)?;
        let gateway =
            record.state.payments.values().next().map_or(&event.connection, |p| &p.connection).clone();
        for alias in record.state.aliases().difference(&known_aliases) {
            let item = NewItem {
                key: rec::alias_key(&gateway, alias),
                body: serde_json::to_vec(key)?,
                due: None,
                list: None,
                expires: None,
            };
            if !loaded.own_aliases.contains(&item.key) {
                commit.writes.push(Write::Put(item, Guard::Absent));
            }
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
        // Kept free: the state's own place, and what the decision's caller adds.
        let room = MAX_WRITES.saturating_sub(commit.writes.len().saturating_add(8));
        commit.writes.extend(self.decline_notes((&before.state, &record.state), now, room)?);
        let write = put_state(key, &record, guard)?;
        if let Write::Put(item, _) = &write {
            self.orders.keep(&item.key, &item.body, record);
        }
        commit.writes.push(write);
        Ok(commit)
    }

    /// Takes what waits for an alias into the same transaction: marked as owned here, sent and removed
    /// after the commit. Where nothing waits, that too is a condition.
    pub(crate) fn claim_waiting(
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

    pub(crate) fn command_record(
        &self,
        command: &Command,
        key: &OrderKey,
        state: &OrderState,
        opened: &Opened,
        adopted: &Adopted,
        now: Timestamp,
    ) -> Result<(CommandRecord, Guard, bool), WorkError> {
        let listener = Listener { order: key.clone(), step: command.step.clone(), told: false };
        let before = adopted.get(&command.id);
        if let Some((known, rev)) = before.filter(|(known, _)| !is_ended(known)) {
            // In flight for another order of the same person: wait for the same answer.
            let mut known = CommandRecord::clone(known);
            if !known.listeners.iter().any(|l| l.order == *key && l.step == command.step) {
                known.listeners.push(listener);
            }
            return Ok((known, Guard::Rev(*rev), false));
        }
        // Whoever still waits for the last end hears of the next one.
        let mut listeners: Vec<Listener> = before
            .map(|(known, _)| known.listeners.iter().filter(|l| !l.told).cloned().collect())
            .unwrap_or_default();
        listeners.retain(|l| l.order != listener.order || l.step != listener.step);
        listeners.push(listener);
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
            listeners,
            person: state.person.clone(),
            params,
            sealed_params,
            request: None,
            summary: String::new(),
            state: CommandState::Pending { not_before: None },
            fence: 0,
            // Run anew for a person some time after it ended: under another key than the last time.
            generation: before.map_or(0, |(known, _)| known.generation.saturating_add(1)),
            unknown_since: None,
            resends: 0,
            taken: command.taken.clone(),
            route_told: false,
            forgotten: false,
            attempts: 0,
            created_at: now,
            first_sent_at: None,
            facts: Vec::new(),
            answer_personal: None,
            answer_unowned: None,
            provider_id: None,
            answer: String::new(),
            field: None,
            history: Vec::new(),
            last_not_done: None,
        };
        Ok((record, before.map_or(Guard::Absent, |(_, rev)| Guard::Rev(*rev)), true))
    }
}

pub(crate) const fn is_ended(record: &CommandRecord) -> bool {
    matches!(record.state, CommandState::Ended { .. })
}

fn command_person<'a>(command: &Command, record: &'a CommandRecord) -> Option<&'a PersonId> {
    record.person.as_ref().filter(|_| command.per_person)
}

pub(crate) fn put_state(key: &OrderKey, record: &OrderRecord, guard: Guard) -> Result<Write, WorkError> {
    let item_key = rec::state_key(key);
    let item = NewItem {
        body: serde_json::to_vec(record)?,
        due: record.wake_at.map(|at| rec::due(&item_key, at)),
        list: None,
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

impl Engine {
    fn told(
        &self,
        mut record: CommandRecord,
        rev: u64,
        report: &Report,
        key: &OrderKey,
        now: Timestamp,
    ) -> Result<Write, WorkError> {
        // A report of an end that no longer stands (a person had it looked up again) tells nobody of the new one.
        if matches!(&record.state, CommandState::Ended { end } if *end == report.end) {
            for listener in record.listeners.iter_mut().filter(|l| l.order == *key && l.step == report.step) {
                listener.told = true;
            }
            record.answer_unowned = None;
        }
        let at = Key::new(report.record.0.clone(), report.record.1.clone());
        self.put_command(at, record, now + Millis::mins(1), Guard::Rev(rev))
    }

    /// A command's record with its due time, as [`put_command`]; kept for whoever reads it next.
    fn put_command(
        &self,
        key: Key,
        record: CommandRecord,
        at: Timestamp,
        guard: Guard,
    ) -> Result<Write, WorkError> {
        let write = put_command(key, &record, at, guard)?;
        if let Write::Put(item, _) = &write {
            self.commands.keep(&item.key, &item.body, record);
        }
        Ok(write)
    }
}
