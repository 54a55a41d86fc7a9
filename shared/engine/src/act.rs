//! Act: one command is one effect on one system, claimed by condition, done once.
//!
//! A command's record goes `Pending → Claimed → Ended`, or through `Unknown` where nobody can tell what
//! happened. Only evidence leaves Unknown: a read at the provider by our reference, a replay under a live
//! idempotency key, or a person. The fence is raised with every claim and every look-up; a worker that
//! stalled sends nothing after its deadline, and cannot write what it thinks it knows.

mod find_out;
mod notice;
mod proven;

use std::sync::Arc;

use tillway_connectors::port::{Action, Call, NotDone};
use tillway_connectors::{Connection, Connector, Observation, Outcome, Secret, Secrets};
use tillway_core::decide::{ROUTE_UNAVAILABLE, system_of};
use tillway_core::facts::CommandEnd;
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use crate::bugs::Bug;
use crate::commit::put_command;
use crate::engine::{Engine, PersonAccess, WorkError};
use crate::limits::Go;
use crate::ports::{Guard, InMessage, Item, Key, SecretError, Severity, StoreError, Write};
use crate::records::{
    CommandMessage, CommandNote, CommandRecord, CommandState, Event, EventBody, Origin, Report, RequestBytes,
    person_key,
};

/// Longest history kept in a record.
const HISTORY: usize = 40;
/// The same bytes under the same key go out again at most this often.
const REPLAYS: u32 = 2;

/// Found not to have happened, it is sent again at once this often; then the pauses widen.
const RESENDS: u32 = 2;

/// A merchant id that was not to be had so often is given up for an authorization that can go to another one.
const ROUTE_TRIES: u32 = 3;

/// A due time that stands may be as much later than wanted.
const SOON: Millis = Millis::secs(30);

/// Why a command is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// It was decided, or certainly not executed.
    Due,
    /// It was looked up and did not happen.
    LookedUp,
    /// The same bytes go out under the same key again.
    Replay,
}

/// A command as held by one worker.
struct Held {
    key: Key,
    rev: u64,
    /// When the item falls due as it lies there.
    due: Option<Timestamp>,
    record: CommandRecord,
    access: Option<PersonAccess>,
}

impl Held {
    /// The due time to be written where `at` is wanted: what stands there, if that is about as good and not before
    /// `from`. Moving an entry of the due index costs two writes of the index, and most commands end long before
    /// they fall due.
    fn about(&self, at: Timestamp, from: Timestamp) -> Timestamp {
        self.due.filter(|due| from <= *due && *due <= at + SOON).unwrap_or(at)
    }
}

impl Engine {
    /// Works one message of a commands queue. `Ok` means it can be deleted: what is left to do carries a
    /// due time.
    ///
    /// # Errors
    /// [`WorkError`]: hand it out again.
    pub async fn handle_command(&self, message: &InMessage) -> Result<(), WorkError> {
        let message: CommandMessage = serde_json::from_slice(&message.body)?;
        let key = Key::new(message.pk, message.sk);
        let mut keys = vec![key.clone()];
        keys.extend(message.person.as_ref().map(person_key));
        let mut items = self.ports.store.get(&keys).await?.into_iter();
        let item: Option<Item> = items.next().flatten();
        let person_item: Option<Item> = items.next().flatten();
        let access = match &message.person {
            Some(person) => Some(self.access(person, person_item.as_ref().map(|i| i.body.as_slice()))?),
            None => None,
        };
        let held = match item {
            Some(item) => {
                let record = Arc::unwrap_or_clone(self.commands.read(&item)?);
                Held { record, rev: item.rev, due: item.due.map(|due| due.at), key, access }
            }
            None => {
                #[cfg(feature = "planted-bugs")]
                if let Some(record) = message.planted {
                    return self.advance(Held { key, rev: 0, due: None, record: *record, access }).await;
                }
                // Sent after the commit, so the record must be there; if it is gone, nothing is to be done.
                return Ok(());
            }
        };
        self.advance(held).await
    }

    async fn advance(&self, mut held: Held) -> Result<(), WorkError> {
        let now = self.now();
        match held.record.state.clone() {
            CommandState::Pending { not_before } if not_before.is_some_and(|t| t > now) => Ok(()),
            CommandState::Pending { .. } => self.send(held, Sending::Due).await,
            CommandState::Claimed { deadline } if now < deadline + Millis::secs(1) => Ok(()),
            CommandState::Claimed { deadline } => {
                // Whoever held it died or stalled: nobody knows whether the first byte left.
                note(&mut held.record, now, "claim ran out; outcome unknown");
                become_unknown(&mut held.record, now, deadline.max(now), false, 0);
                self.find_out(held).await
            }
            CommandState::Unknown { .. } => self.find_out(held).await,
            CommandState::Ended { .. } => self.report(&held).await,
        }
    }

    /// Claims and sends.
    async fn send(&self, mut held: Held, sending: Sending) -> Result<(), WorkError> {
        let now = self.now();
        // In the time a restored store has forgotten it may have been done already.
        let may_be_done = self.may_be_done(&held.record);
        if matches!(system_of(&held.record.action), "notify") {
            if may_be_done {
                // It has no provider to ask, and a second one says less than none.
                let said = "not sent: it may have been sent before the restore from backup".to_owned();
                return self.end(held, CommandEnd::Done, Observation::default(), said).await;
            }
            return self.send_notice(held).await;
        }
        let Some((connection, connector, action)) = self.resolve(&held.record) else {
            return self
                .end_parked(held, "connection_missing", None, "its connection or action is not configured")
                .await;
        };
        if may_be_done && !action.reads {
            if self.restoring() && action.repeatable {
                return self.postpone(held, now + self.config.times.resend_after, None, "restoring").await;
            }
            if !action.repeatable && (self.restoring() || sending == Sending::Due) {
                return self.look_first(held).await;
            }
        }
        match self.limits.go(&connection.name, held_at(&held.record, action), now) {
            Go::Now => {}
            // The message becomes a timer: the breaker is open or the line is long.
            Go::NotBefore(at) => return self.postpone(held, at, None, "held back").await,
        }
        let prepared = match self.prepared(&mut held, connection, connector)? {
            Ok(bytes) => bytes,
            Err((code, field, what)) => return self.end_parked(held, &code, Some(field), &what).await,
        };
        let secrets = match self.secrets(connection.name.as_str(), false).await {
            Ok(secrets) => secrets,
            Err(error) => return self.without_secrets(held, &error).await,
        };
        let token = match self.token_for(connection, connector, None).await? {
            Ok(token) => token,
            Err(why) => return self.not_done(held, connection, None, why).await,
        };

        let now = self.now();
        let deadline = now + self.config.times.call_limit;
        let before = held.record.state.clone();
        held.record.fence = held.record.fence.saturating_add(1);
        held.record.attempts = held.record.attempts.saturating_add(1);
        held.record.first_sent_at.get_or_insert(now);
        held.record.state = CommandState::Claimed { deadline };
        let replay = sending == Sending::Replay;
        note(&mut held.record, now, if replay { "sent again, same bytes, same key" } else { "sent" });
        // Not before the deadline: a tick that touched the record would keep the end of the call from being written.
        let after = deadline + Millis::secs(2);
        let due = held.about(after, after);
        if !self.write(&mut held, due).await? {
            // Another worker claimed it first.
            return Ok(());
        }
        let mut outcome =
            self.call(&held, connection, connector, (&secrets, token.as_ref()), &prepared, deadline).await;
        if matches!(outcome, Outcome::NotDone { why: NotDone::Unauthorized, .. }) {
            outcome =
                self.call_again(&held, connection, connector, token.as_ref(), &prepared, deadline).await?;
        }
        let mut replays = 0;
        if let CommandState::Unknown { replays: so_far, .. } = &before
            && replay
        {
            if let Outcome::NotDone { after, why } = outcome {
                // This sending was not executed. What became of those before it is as unknown as ever.
                held.record.state = before;
                return self.not_done(held, connection, after, why).await;
            }
            replays = so_far.saturating_add(1);
        }
        self.settle(held, connection, action, outcome, deadline, replays).await
    }

    /// Secrets that cannot be read are somebody's to mend, and no reason to use up a message's life.
    async fn without_secrets(&self, held: Held, error: &SecretError) -> Result<(), WorkError> {
        let text = format!("{}: {error}; commands wait until they can be read", held.record.connection);
        self.alert("secrets_unreadable", Severity::Critical, None, text).await;
        let at = self.now() + Millis::mins(1);
        self.postpone(held, at, None, "secrets unreadable").await
    }

    /// On a restored store nothing is sent before the provider was asked whether it was done already.
    async fn look_first(&self, mut held: Held) -> Result<(), WorkError> {
        let now = self.now();
        if !matches!(held.record.state, CommandState::Unknown { .. }) {
            note(&mut held.record, now, "restored from backup: looked up before anything is sent");
        }
        become_unknown(&mut held.record, now, now, false, 0);
        self.write(&mut held, now + self.config.times.resend_after).await.map(|_| ())
    }

    fn resolve<'a>(
        &'a self,
        record: &CommandRecord,
    ) -> Option<(&'a Connection, &'static dyn Connector, &'static Action)> {
        let (connection, connector) = self.config.connection(record.connection.as_str())?;
        let action = connector.actions().iter().find(|a| a.spec.name == record.action)?;
        Some((connection, connector, action))
    }

    async fn token_for(
        &self,
        connection: &Connection,
        connector: &dyn Connector,
        refused: Option<&Secret>,
    ) -> Result<Result<Option<Secret>, NotDone>, WorkError> {
        if !connector.needs_token(connection) {
            return Ok(Ok(None));
        }
        Ok(self.token(connection, connector, refused).await?.map(Some))
    }

    async fn call(
        &self,
        held: &Held,
        connection: &Connection,
        connector: &dyn Connector,
        (secrets, token): (&Secrets, Option<&Secret>),
        prepared: &[u8],
        deadline: Timestamp,
    ) -> Outcome {
        let now = self.now();
        // The deadline is checked before the first byte: a worker that stalled since the claim sends nothing.
        if now >= deadline && !self.planted.has(Bug::NoFence) {
            return Outcome::Unknown { why: "stalled past the deadline".to_owned(), answer_is_stored: false };
        }
        let (limit, until) = match self.planted.has(Bug::NoFence) {
            true => (self.config.times.call_limit, None),
            false => (deadline.since(now), Some(deadline)),
        };
        let out = self.outbound(connection, connector, until);
        let again = self.planted.has(Bug::ResendBlind).then(|| {
            crate::planted::new_identity(&held.record.id, &held.record.connection, held.record.attempts)
        });
        let call = Call {
            connection,
            secrets,
            token,
            http: &out,
            action: &held.record.action,
            command: again.as_ref().unwrap_or(&held.record.id),
            generation: held.record.generation,
            prepared,
            now,
            limit,
        };
        connector.call(call).await
    }

    /// After a 401: secrets read again and a new token, once.
    async fn call_again(
        &self,
        held: &Held,
        connection: &Connection,
        connector: &dyn Connector,
        refused: Option<&Secret>,
        prepared: &[u8],
        deadline: Timestamp,
    ) -> Result<Outcome, WorkError> {
        let unauthorized = Outcome::NotDone { after: Some(Millis::mins(1)), why: NotDone::Unauthorized };
        let Ok(secrets) = self.secrets(connection.name.as_str(), true).await else { return Ok(unauthorized) };
        let token = match self.token_for(connection, connector, refused).await? {
            Ok(token) => token,
            Err(why) => return Ok(Outcome::NotDone { after: None, why }),
        };
        Ok(self.call(held, connection, connector, (&secrets, token.as_ref()), prepared, deadline).await)
    }

    /// Writes down how a call ended.
    async fn settle(
        &self,
        mut held: Held,
        connection: &Connection,
        action: &Action,
        outcome: Outcome,
        deadline: Timestamp,
        replays: u32,
    ) -> Result<(), WorkError> {
        let now = self.now();
        let reachable =
            !matches!(outcome, Outcome::Unknown { .. } | Outcome::NotDone { why: NotDone::Unavailable, .. });
        // One merchant id that fails is no reason to hold back the others. Of an authorization that can go to another one its
        // health tells, and leaves it out; all else that goes to it is held back by a breaker of its own.
        let routed = held.record.taken.as_ref().is_some_and(|taken| taken.others);
        let route = route_of(&held.record, action);
        if (reachable || !routed) && self.limits.tell(&connection.name, route, reachable, now) {
            let at = route.map(|route| format!(" at merchant id {route}")).unwrap_or_default();
            let text = format!("{} does not answer{at}; calls are held back", connection.name);
            self.alert("breaker_open", Severity::Warning, None, text).await;
        }
        match outcome {
            Outcome::Settled { observation, provider_id, summary } => {
                held.record.provider_id = provider_id;
                self.end(held, CommandEnd::Done, observation, summary).await
            }
            Outcome::Refused { code, observation, summary } => {
                self.end(held, CommandEnd::Refused { code }, observation, summary).await
            }
            Outcome::Disagrees { field, observation, what } => {
                held.record.field = Some(field);
                let end = CommandEnd::Parked { code: "answer_disagrees".to_owned() };
                self.end(held, end, observation, what).await
            }
            Outcome::NotDone { after, why } => self.not_done(held, connection, after, why).await,
            Outcome::Unknown { answer_is_stored, .. } if action.repeatable => {
                if answer_is_stored {
                    // The key would give the same failure for as long as it lives.
                    held.record.generation = held.record.generation.saturating_add(1);
                }
                self.not_done(held, connection, None, NotDone::Unavailable).await
            }
            Outcome::Unknown { why, .. } if self.planted.has(Bug::ChargeAgainFromUnknown) => {
                held.record.generation = held.record.generation.saturating_add(1);
                note(&mut held.record, now, &why);
                self.not_done(held, connection, None, NotDone::Unavailable).await
            }
            Outcome::Unknown { why, .. } if self.planted.has(Bug::ResendBlind) => {
                note(&mut held.record, now, &why);
                self.not_done(held, connection, None, NotDone::Unavailable).await
            }
            Outcome::Unknown { .. }
                if self.planted.has(Bug::FailOverFromUnknown) && crate::planted::takes_a_card(action) =>
            {
                let (code, facts) = crate::planted::taken_for_refused(&held.record.id, routed);
                let end = CommandEnd::Refused { code: code.to_owned() };
                let observation = Observation { facts, ..Observation::default() };
                self.end(held, end, observation, "no answer".to_owned()).await
            }
            Outcome::Unknown { why, answer_is_stored } => {
                note(&mut held.record, now, &format!("outcome unknown: {why}"));
                let settled_by = deadline.max(now);
                become_unknown(&mut held.record, now, settled_by, answer_is_stored, replays);
                let told = self.route_unanswered(&mut held.record, now)?;
                self.write_with(&mut held, settled_by + Millis::secs(1), told).await.map(|_| ())
            }
        }
    }

    /// Certainly nothing was executed: try again later, or give up after days.
    async fn not_done(
        &self,
        mut held: Held,
        connection: &Connection,
        after: Option<Millis>,
        why: NotDone,
    ) -> Result<(), WorkError> {
        let now = self.now();
        held.record.last_not_done = Some(why);
        let unknown = matches!(held.record.state, CommandState::Unknown { .. });
        if !unknown && now.since(held.record.created_at) > self.config.times.give_up_after {
            let what = format!("{} was not to be had for days ({why:?})", connection.name);
            return self.end_parked(held, "unavailable", None, &what).await;
        }
        if why == NotDone::Unauthorized {
            let (code, text) = match self.clock_off(&connection.name) {
                Some(text) => ("clock_off", text),
                None => {
                    let text = format!(
                        "{} refuses our credentials; put new ones, then nothing else is to be done",
                        connection.name
                    );
                    ("credentials_refused", text)
                }
            };
            self.alert(code, Severity::Critical, None, text).await;
        }
        let unreachable = matches!(why, NotDone::Unavailable | NotDone::Unauthorized);
        if unreachable && held.record.attempts >= ROUTE_TRIES && may_go_elsewhere(&held.record) {
            let route = held.record.taken.as_ref().map_or("", |taken| taken.route.as_str());
            let said = format!(
                "merchant id {route} is not to be had ({why:?}); nothing was executed there, and another is taken"
            );
            let end = CommandEnd::Refused { code: ROUTE_UNAVAILABLE.to_owned() };
            return self.end(held, end, Observation::default(), said).await;
        }
        let wait = after.unwrap_or_else(|| self.backoff(held.record.attempts, &held.record));
        self.postpone(held, now + wait, Some(why), "not done").await
    }

    async fn postpone(
        &self,
        mut held: Held,
        at: Timestamp,
        why: Option<NotDone>,
        what: &str,
    ) -> Result<(), WorkError> {
        if let Some(why) = why {
            note(&mut held.record, self.now(), &format!("{what}: {why:?}"));
        }
        if !matches!(held.record.state, CommandState::Unknown { .. }) {
            held.record.state = CommandState::Pending { not_before: Some(at) };
        }
        self.write(&mut held, at).await.map(|_| ())
    }

    /// Doubling from the first wait to the longest, spread by the command's own id so that many do not
    /// come back at once.
    fn backoff(&self, attempts: u32, record: &CommandRecord) -> Millis {
        let (first, longest) = self.config.times.backoff;
        let doubled = first.0.saturating_mul(1_i64.checked_shl(attempts.min(20)).unwrap_or(i64::MAX) / 2);
        let wait = doubled.clamp(first.0, longest.0);
        let spread = record.id.as_str().bytes().fold(0_i64, |a, b| (a * 31 + i64::from(b)) % 1000);
        Millis(wait.saturating_add(wait.saturating_mul(spread) / 4000))
    }

    /// The bytes to be sent: what is stored, or prepared now and stored with the claim.
    #[expect(
        clippy::type_complexity,
        reason = "bytes, or code, field and sentence of what cannot go over the wire"
    )]
    fn prepared(
        &self,
        held: &mut Held,
        connection: &Connection,
        connector: &dyn Connector,
    ) -> Result<Result<Vec<u8>, (String, String, String)>, WorkError> {
        let gone = || {
            let what = "the person's data was erased before this was sent; drop the item";
            Ok(Err(("person_erased".to_owned(), "params".to_owned(), what.to_owned())))
        };
        let anew = self.planted.has(Bug::RouteDrawnAnew) && crate::planted::draws_anew(&held.record);
        match held.record.request.as_ref().filter(|_| !anew) {
            Some(RequestBytes::Plain { bytes }) => return Ok(Ok(bytes.clone())),
            Some(RequestBytes::Sealed(sealed)) => {
                let Some(PersonAccess::Live(key)) = &held.access else { return gone() };
                // Sealed under a key that was erased, where the person has come back since.
                let bytes = key.open(sealed.person.as_str().as_bytes(), &sealed.blob);
                return bytes.map_or_else(|_| gone(), |bytes| Ok(Ok(bytes)));
            }
            None => {}
        }
        let mut params = match (&held.record.params, &held.record.sealed_params) {
            (Some(params), _) => params.clone(),
            (None, Some(sealed)) => {
                let Some(PersonAccess::Live(key)) = &held.access else { return gone() };
                match Self::open_value(key, sealed) {
                    Ok(params) => params,
                    Err(_) => return gone(),
                }
            }
            (None, None) => Value::Map(std::collections::BTreeMap::new()),
        };
        if held.record.taken.is_some()
            && self.may_be_done(&held.record)
            && let Value::Map(fields) = &mut params
        {
            // The choice before the restore may have been another one: all are looked at before anything is sent.
            fields.insert("everywhere".to_owned(), Value::Bool(true));
        }
        if anew {
            crate::planted::draw_anew(&held.record, &connector.routes(connection), &mut params);
        }
        if self.planted.has(Bug::IsoExponent) {
            crate::planted::iso_exponent(&mut params);
        }
        if self.planted.has(Bug::CaptureWithoutLooking) {
            crate::planted::forget_to_look(&mut params);
        }
        let prepared = match connector.prepare(connection, &held.record.action, &held.record.id, &params) {
            Ok(prepared) => prepared,
            Err(rejected) => return Ok(Err((rejected.code, rejected.field, rejected.what))),
        };
        held.record.summary = prepared.summary;
        held.record.request = Some(match (&held.record.sealed_params, &held.access) {
            (Some(sealed), Some(PersonAccess::Live(key))) => {
                let context = sealed.person.as_str().as_bytes();
                let blob = key.seal(self.ports.entropy.as_ref(), context, &prepared.bytes);
                RequestBytes::Sealed(crate::records::Sealed { person: sealed.person.clone(), blob })
            }
            _ => RequestBytes::Plain { bytes: prepared.bytes.clone() },
        });
        Ok(Ok(prepared.bytes))
    }

    async fn end_parked(
        &self,
        mut held: Held,
        code: &str,
        field: Option<String>,
        what: &str,
    ) -> Result<(), WorkError> {
        held.record.field = field;
        let code = code.to_owned();
        let end = match held.record.first_sent_at {
            None if held.record.unknown_since.is_none() => CommandEnd::Unsent { code },
            _ => CommandEnd::Parked { code },
        };
        self.end(held, end, Observation::default(), what.to_owned()).await
    }

    async fn end(
        &self,
        held: Held,
        end: CommandEnd,
        observation: Observation,
        summary: String,
    ) -> Result<(), WorkError> {
        self.ends(held, end, observation, summary).await.map(drop)
    }

    /// The same. `false`: someone else took it meanwhile, and nothing was written.
    async fn ends(
        &self,
        mut held: Held,
        end: CommandEnd,
        observation: Observation,
        summary: String,
    ) -> Result<bool, WorkError> {
        let now = self.now();
        note(&mut held.record, now, &summary);
        held.record.state = CommandState::Ended { end };
        held.record.facts = observation.facts;
        held.record.answer = summary;
        held.record.answer_personal = match (&held.access, &held.record.person) {
            (Some(PersonAccess::Live(key)), Some(person)) if observation.personal != Value::Null => {
                Some(self.seal_value(key, person, &observation.personal)?)
            }
            _ => None,
        };
        held.record.answer_unowned = match (&held.record.person, &observation.person) {
            // Read before anybody said whose order it is: decide gives it to the person.
            (None, Some(identity)) if observation.personal != Value::Null => {
                let person = self.vault.person(identity.expose());
                Some(self.seal_value(self.vault.queue_key(), &person, &observation.personal)?)
            }
            _ => None,
        };
        if matches!(&held.record.state, CommandState::Ended { end: CommandEnd::Done }) {
            // Done is done: what was sent is not sent again, and the provider has it.
            held.record.request = None;
            held.record.params = None;
            held.record.sealed_params = None;
        }
        let due = held.about(now + self.config.times.resend_after, now + SOON);
        if !self.write(&mut held, due).await? {
            // The fence was raised: someone else looks it up and will find what happened.
            return Ok(false);
        }
        self.report(&held).await?;
        Ok(true)
    }

    /// Tells every order that waits. What is not accepted is told again by the tick.
    async fn report(&self, held: &Held) -> Result<(), WorkError> {
        let CommandState::Ended { end } = &held.record.state else { return Ok(()) };
        let (person, personal) =
            match (&held.access, &held.record.answer_personal, &held.record.answer_unowned) {
                (Some(PersonAccess::Live(key)), Some(sealed), _) => {
                    (Some(sealed.person.clone()), Self::open_value(key, sealed).unwrap_or_default())
                }
                (_, _, Some(sealed)) => {
                    (Some(sealed.person.clone()), Self::open_value(self.vault.queue_key(), sealed)?)
                }
                _ => (None, Value::Null),
            };
        let mut events = Vec::new();
        for listener in held.record.listeners.iter().filter(|l| !l.told) {
            let report = Report {
                order: listener.order.clone(),
                step: listener.step.clone(),
                command: held.record.id.clone(),
                record: (held.key.pk.clone(), held.key.sk.clone()),
                end: end.clone(),
                facts: held.record.facts.clone(),
                person: person.clone(),
                personal: personal.clone(),
                summary: held.record.answer.clone(),
                field: held.record.field.clone(),
            };
            events.push(Event {
                connection: held.record.connection.clone(),
                id: format!("{}:{}:{}", held.record.id, held.record.fence, listener.order),
                kind: held.record.action.clone(),
                origin: Origin::Result,
                received_at: self.now(),
                created_at: None,
                // Told again by the tick, it must pass the queue's deduplication.
                replay: u32::try_from(self.now().0.div_euclid(60_000) % 1_000_000).unwrap_or(0),
                group: listener.order.order_id().to_owned(),
                redacted: Vec::new(),
                body: EventBody::Result(Box::new(report)),
            });
        }
        if !self.send_events(&events).await {
            tracing::warn!(command = %held.record.id, code = "report_deferred", "result not accepted now; told by the tick");
        }
        Ok(())
    }

    /// Writes the record under its revision. `false`: someone else wrote it meanwhile.
    async fn write(&self, held: &mut Held, due: Timestamp) -> Result<bool, WorkError> {
        self.write_with(held, due, Vec::new()).await
    }

    /// The same, with what is written along in one transaction.
    async fn write_with(
        &self,
        held: &mut Held,
        due: Timestamp,
        along: Vec<Write>,
    ) -> Result<bool, WorkError> {
        let guard = match held.rev {
            _ if self.planted.has(Bug::NoFence) || self.planted.has(Bug::SendBeforeCommit) => Guard::Any,
            0 => Guard::Absent,
            rev => Guard::Rev(rev),
        };
        let surplus = held.record.history.len().saturating_sub(HISTORY);
        held.record.history.drain(..surplus);
        let write = put_command(held.key.clone(), &held.record, due, guard)?;
        // A claim is followed by the end of it, written from here.
        if !matches!(held.record.state, CommandState::Claimed { .. })
            && let Write::Put(item, _) = &write
        {
            self.commands.keep(&item.key, &item.body, held.record.clone());
        }
        let writes = std::iter::once(write).chain(along).collect();
        match self.ports.store.transact(writes).await {
            Ok(()) => {
                held.rev = held.rev.saturating_add(1);
                held.due = Some(due);
                Ok(true)
            }
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The merchant id that a command goes to, and no other; a read begins at the one it names and asks them all.
fn route_of<'a>(record: &'a CommandRecord, action: &Action) -> Option<&'a str> {
    let taken = record.taken.as_ref().map(|taken| taken.route.as_str());
    let named = || record.params.as_ref().and_then(|params| params.at("route").as_text());
    taken.or_else(named).filter(|route| !route.is_empty() && !action.reads)
}

/// The merchant id whose breaker holds a command back: none where it can go to another one.
fn held_at<'a>(record: &'a CommandRecord, action: &Action) -> Option<&'a str> {
    let others = record.taken.as_ref().is_some_and(|taken| taken.others);
    route_of(record, action).filter(|_| !others)
}

/// Whether an authorization may be given up for another merchant id: one is there, and never, in any of its calls, was it
/// unknown what happened.
fn may_go_elsewhere(record: &CommandRecord) -> bool {
    let never_unknown = record.unknown_since.is_none() && record.generation == 0 && !record.forgotten;
    never_unknown && record.taken.as_ref().is_some_and(|taken| taken.others)
}

fn note(record: &mut CommandRecord, at: Timestamp, what: &str) {
    record.history.push(CommandNote { at, what: what.to_owned() });
}

/// Nothing of ours leaves after `settled_by`. The first time counts: what was found not to have happened and
/// sent again is given up as early as if it had been left alone.
fn become_unknown(
    record: &mut CommandRecord,
    now: Timestamp,
    settled_by: Timestamp,
    stored: bool,
    replays: u32,
) {
    let since = *record.unknown_since.get_or_insert(now);
    record.state = CommandState::Unknown { since, settled_by, lookups: 0, stored, replays };
}
