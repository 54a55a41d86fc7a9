//! What is stored and sent: records, their keys, and the messages between the stages.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tillway_connectors::port::NotDone;
use tillway_core::decide::Taken;
use tillway_core::doc::{Doc, Json};
use tillway_core::facts::{CommandEnd, Fact};
use tillway_core::ids::{CommandId, ConnectionName, OrderKey, PersonId};
use tillway_core::journal::Entry;
use tillway_core::settle::Day;
use tillway_core::state::OrderState;
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use crate::ports::{DUE_SHARDS, Due, Key};

/// Bytes as base64 text in JSON.
pub mod b64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes.
    ///
    /// # Errors
    /// The serialiser's.
    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(bytes))
    }
    /// Reads.
    ///
    /// # Errors
    /// Text that is no base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

/// Where an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A webhook.
    Webhook,
    /// A sweep found it: the webhook was lost or is late.
    Sweep,
    /// A command of ours ended.
    Result,
    /// Time passed.
    Wake,
    /// A person, from the parking lot.
    Replay,
    /// Triage of a dead letter.
    Triage,
}

/// An event on its way to decide. In a queue it is sealed as a whole.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The connection it came from.
    pub connection: ConnectionName,
    /// The provider's event id, or ours.
    pub id: String,
    /// The provider's event type, or ours.
    pub kind: String,
    /// Where it came from.
    pub origin: Origin,
    /// When it reached us.
    pub received_at: Timestamp,
    /// When it happened, where the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// 0 from receive; counts replays by hand.
    #[serde(default)]
    pub replay: u32,
    /// Ordering group.
    pub group: String,
    /// Places where a card number was removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
    /// Content.
    pub body: EventBody,
}

/// A provider's JSON as text. It is checked and searched for card numbers where it comes in, and parsed
/// once, where its meaning is asked for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// The bytes of a body, where they are JSON.
    ///
    /// # Errors
    /// The parser's.
    pub fn from_body(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body).map(Self)
    }
    /// A value as text.
    ///
    /// # Errors
    /// The serialiser's.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }
    /// A document, or a part of one, as text.
    ///
    /// # Errors
    /// The serialiser's.
    pub fn from_json(json: Json<'_>) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(&json).map(Self)
    }
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }
    /// Without card numbers, and where they stood.
    ///
    /// # Errors
    /// As [`RawJson::doc`].
    pub fn redacted(&self, identifiers: &[&str]) -> Result<(Self, Vec<String>), serde_json::Error> {
        let mut value = self.parse()?;
        let hits = tillway_core::pan::redact_json(&mut value, identifiers);
        Ok((Self::from_value(&value)?, hits.into_iter().map(|hit| hit.path).collect()))
    }
    /// To be looked at.
    ///
    /// # Errors
    /// The parser's: nested deeper than it goes.
    pub fn doc(&self) -> Result<Doc, serde_json::Error> {
        Doc::parse(self.0.get())
    }
    /// To be changed.
    ///
    /// # Errors
    /// As [`RawJson::doc`].
    pub fn parse(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// Content of an event. Tagged from outside: the provider's part is then passed on as it is, unparsed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventBody {
    /// What the provider sent.
    Provider {
        /// Card numbers removed.
        json: RawJson,
    },
    /// How a command ended.
    Result(Box<Report>),
    /// Look at the order again.
    Wake {
        /// The order.
        order: OrderKey,
    },
    /// A person dealt with a parked item.
    Unpark {
        /// The order.
        order: OrderKey,
        /// The item.
        item: String,
        /// How.
        how: tillway_core::facts::Unparked,
        /// The step to run again, where it is one.
        step: Option<String>,
    },
    /// What the gateway says of an object of the order's that only a settlement named.
    Told {
        /// The order.
        order: OrderKey,
        /// What is known now.
        facts: Vec<Fact>,
    },
    /// A message about the order could not be worked.
    Dead {
        /// The order.
        order: OrderKey,
        /// What to park.
        parked: tillway_core::facts::Parked,
    },
}

/// How a command ended, on its way back to decide.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The order told.
    pub order: OrderKey,
    /// The step instance that waits.
    pub step: String,
    /// The command.
    pub command: CommandId,
    /// Where its record is.
    pub record: (String, String),
    /// How.
    pub end: CommandEnd,
    /// What is known now.
    pub facts: Vec<Fact>,
    /// Personal data that came with it.
    #[serde(default)]
    pub personal: Value,
    /// The person it belongs to, so that their key is loaded with the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// A few words.
    pub summary: String,
    /// Field at fault, where the end is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Sealed bytes with the person under whose key they are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The person.
    pub person: PersonId,
    /// Ciphertext.
    #[serde(with = "b64")]
    pub blob: Vec<u8>,
}

/// What is stored of an order.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// State, rebuilt from the log.
    pub state: OrderState,
    /// Count of log records.
    pub seq: u64,
    /// Personal data, newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Sealed>,
    /// The last event ids worked (connection and id), to tell a duplicate from nothing new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<String>,
    /// When to look again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Timestamp>,
}

/// One decision, as recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When decided.
    pub at: Timestamp,
    /// Where the event came from.
    pub connection: ConnectionName,
    /// Event id.
    pub event: String,
    /// Event type.
    pub kind: String,
    /// Origin.
    pub origin: Origin,
    /// Replay number.
    #[serde(default)]
    pub replay: u32,
    /// When it reached us.
    pub received_at: Timestamp,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Facts recorded.
    pub facts: Vec<Fact>,
    /// Entries booked, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

/// Where a command stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum CommandState {
    /// Not sent, or certainly not executed.
    Pending {
        /// Not before this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<Timestamp>,
    },
    /// A worker holds it until the deadline, and sends nothing after it.
    Claimed {
        /// The deadline.
        deadline: Timestamp,
    },
    /// Nobody knows.
    Unknown {
        /// Since when.
        since: Timestamp,
        /// No call of ours can still arrive after this.
        settled_by: Timestamp,
        /// How often it was looked up.
        lookups: u32,
        /// The key holds an answer that is no answer (a stored 500).
        stored: bool,
        /// How often the same bytes were sent again under the same key.
        replays: u32,
    },
    /// Ended.
    Ended {
        /// How.
        end: CommandEnd,
    },
}

/// A line of a command's history, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandNote {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: String,
}

/// An order that waits for a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The order.
    pub order: OrderKey,
    /// Its step instance.
    pub step: String,
    /// Whether it was told.
    pub told: bool,
}

/// A command's record: the outbox, the claim and the memory of what was sent and answered.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// Identity of intent.
    pub id: CommandId,
    /// Connection.
    pub connection: ConnectionName,
    /// Action.
    pub action: String,
    /// Moves money.
    pub money: bool,
    /// Who waits.
    pub listeners: Vec<Listener>,
    /// The person whose data it may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// Parameters, plain, where they hold nothing personal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Parameters, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_params: Option<Sealed>,
    /// Request bytes as prepared (plain, or sealed where personal).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestBytes>,
    /// What it does, in a few words.
    #[serde(default)]
    pub summary: String,
    /// Where it stands.
    pub state: CommandState,
    /// Raised with every claim and look-up.
    pub fence: u64,
    /// Idempotency key generation.
    #[serde(default)]
    pub generation: u32,
    /// Since when, in any of its calls, it was not known what happened; what is found out by evidence that
    /// nothing did, and sent again, does not begin anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<Timestamp>,
    /// How often it was sent again after it had been found not to have happened.
    #[serde(default)]
    pub resends: u32,
    /// The merchant id it authorizes at, where one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// It was noted that this merchant id gave no answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub route_told: bool,
    /// Decided because of what happened in a time that a restored store had forgotten: it may have been done
    /// then. See [`crate::restore`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub forgotten: bool,
    /// Calls made.
    #[serde(default)]
    pub attempts: u32,
    /// When it was decided.
    pub created_at: Timestamp,
    /// When the first byte may have left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sent_at: Option<Timestamp>,
    /// What is known by it, once ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// Personal data that came with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_personal: Option<Sealed>,
    /// The same where it named the person first: under the queue's key, until the order has taken it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_unowned: Option<Sealed>,
    /// The provider's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The answer in a few words.
    #[serde(default)]
    pub answer: String,
    /// Field at fault, where it ended parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What happened to it.
    #[serde(default)]
    pub history: Vec<CommandNote>,
    /// Why it was not done, last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_not_done: Option<NotDone>,
}

impl CommandRecord {
    /// Whether it ended no longer ago than this.
    #[must_use]
    pub fn ended_within(&self, length: Millis, now: Timestamp) -> bool {
        let last = self.history.last().map_or(self.created_at, |note| note.at);
        matches!(self.state, CommandState::Ended { .. }) && now.since(last) <= length
    }
}

/// Request bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum RequestBytes {
    /// Nothing personal in them.
    Plain {
        /// Bytes.
        #[serde(with = "b64")]
        bytes: Vec<u8>,
    },
    /// Under the person's key.
    Sealed(Sealed),
}

/// A command's message: a reference.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandMessage {
    /// Where the record is.
    pub pk: String,
    /// Sort key.
    pub sk: String,
    /// The person whose key will be needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// What a planted bug sends along.
    #[cfg(feature = "planted-bugs")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<Box<CommandRecord>>,
}

impl CommandMessage {
    /// The message for a record.
    #[must_use]
    pub fn of(key: &Key, person: Option<PersonId>) -> Self {
        Self {
            pk: key.pk.clone(),
            sk: key.sk.clone(),
            person,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

/// A person's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum PersonKey {
    /// Wrapped by the vault.
    Live {
        /// Wrapped key.
        #[serde(with = "b64")]
        wrapped: Vec<u8>,
    },
    /// Erased: what was sealed under it cannot be read again.
    Erased {
        /// When.
        at: Timestamp,
    },
}

/// Events whose owner nobody knows yet, under one alias.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The order, once the alias appeared: then they only need to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OrderKey>,
    /// Since when the first waits.
    pub since: Timestamp,
    /// All ids the events go by.
    pub ids: Vec<String>,
    /// The sealed events.
    pub events: Vec<SealedEvent>,
    /// How often the provider was asked.
    #[serde(default)]
    pub lookups: u32,
}

/// A sealed event in the store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedEvent {
    /// Ordering group.
    pub group: String,
    /// Deduplication id.
    pub dedup: String,
    /// Ciphertext of the event.
    #[serde(with = "b64")]
    pub blob: Vec<u8>,
}

/// A parked item as listed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ParkedRecord {
    /// Identity (`<order key>|<item>` or `event|…`).
    pub id: String,
    /// The item.
    pub item: tillway_core::facts::Parked,
    /// The order, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderKey>,
    /// When it was parked.
    pub at: Timestamp,
    /// The event it came from: connection, id, type.
    pub event: (ConnectionName, String, String),
    /// Its content, wrapped under a key of its own, where replaying needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<ParkedRaw>,
    /// Edits so far, for the audit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<ParkedEdit>,
    /// Replays so far.
    #[serde(default)]
    pub replays: u32,
}

/// A parked event's content.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRaw {
    /// The item's key, wrapped.
    #[serde(with = "b64")]
    pub key: Vec<u8>,
    /// The event, sealed under it; empty where it is kept in parts.
    #[serde(with = "b64")]
    pub blob: Vec<u8>,
    /// Items beside the record that hold the sealed event, where it is too large for one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parts: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the serialiser hands out references")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the serialiser hands out references")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// An edit of a parked event. Holds paths, never contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedEdit {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Paths of the members that changed.
    pub changed: Vec<String>,
}

/// An event nobody has a flow for, or an object that is not ours.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct UnhandledRecord {
    /// Connection.
    pub connection: ConnectionName,
    /// Event id.
    pub event: String,
    /// Event type.
    pub kind: String,
    /// When it reached us.
    pub at: Timestamp,
    /// `unhandled` or `foreign`.
    pub why: String,
    /// Its content under a key of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<ParkedRaw>,
}

/// Partition of an order.
#[must_use]
pub fn order_pk(order: &OrderKey) -> String {
    format!("order#{order}")
}
/// An order's state.
#[must_use]
pub fn state_key(order: &OrderKey) -> Key {
    Key::new(order_pk(order), "state")
}
/// A decision.
#[must_use]
pub fn log_key(order: &OrderKey, seq: u64) -> Key {
    Key::new(order_pk(order), format!("log#{seq:010}"))
}
/// A journal entry of an order.
#[must_use]
pub fn entry_key(order: &OrderKey, entry: &Entry) -> Key {
    Key::new(order_pk(order), format!("jrn#{}#{}", entry.connection, entry.id))
}
/// A journal entry of an order as it is stored by a decision of that time.
///
/// # Errors
/// JSON's.
pub fn entry_item(
    order: &OrderKey,
    entry: &Entry,
    now: Timestamp,
) -> Result<crate::ports::NewItem, serde_json::Error> {
    // Settlement reads these alone: each place in a list is a paid write, and so is what makes a page longer.
    let minute = || now.rfc3339().get(11..16).unwrap_or("00:00").to_owned();
    let place = || (format!("journal#{}", now.day()), minute());
    Ok(crate::ports::NewItem {
        key: entry_key(order, entry),
        body: serde_json::to_vec(entry)?,
        due: None,
        list: entry.is_at_gateway().then(place),
        expires: None,
    })
}
/// An alias.
#[must_use]
pub fn alias_key(connection: &ConnectionName, object: &str) -> Key {
    Key::new(format!("alias#{connection}#{object}"), "alias")
}
/// Events waiting for an alias.
#[must_use]
pub fn waiting_key(connection: &ConnectionName, object: &str) -> Key {
    Key::new(format!("alias#{connection}#{object}"), "waiting")
}
/// A person's key.
#[must_use]
pub fn person_key(person: &PersonId) -> Key {
    Key::new(format!("person#{person}"), "key")
}
/// The index of an identity (the same keyed hash as a person's): its items name persons.
#[must_use]
pub fn identity_pk(identity: &PersonId) -> String {
    format!("identity#{identity}")
}
/// What was measured of a connection's merchant ids.
#[must_use]
pub fn routes_key(connection: &ConnectionName) -> Key {
    Key::new(format!("routes#{connection}"), "counts")
}
/// How one authorization ended, until it is counted: one of each kind.
#[must_use]
pub fn route_note_key(connection: &ConnectionName, command: &CommandId, kind: &str) -> Key {
    Key::new(format!("routes#{connection}"), format!("note#{command}#{kind}"))
}
/// The list of what is not counted yet.
#[must_use]
pub fn route_list(connection: &ConnectionName) -> String {
    format!("routes#{connection}")
}
/// The attempts of a day at a connection that were declined.
#[must_use]
pub fn declines_pk(connection: &ConnectionName, day: Day) -> String {
    format!("declines#{connection}#{day}")
}
/// A parked item.
#[must_use]
pub fn parked_key(id: &str) -> Key {
    Key::new(format!("parked#{id}"), "item")
}
/// A piece of a parked item's content, where it is too large for one item.
#[must_use]
pub fn part_key(id: &str, n: u32) -> Key {
    Key::new(format!("parked#{id}"), format!("part#{n:04}"))
}
/// The mark of a parked event without an order that a person dealt with.
#[must_use]
pub fn dealt_key(id: &str) -> Key {
    Key::new(format!("parked#{id}"), "dealt")
}
/// A command: of the person where it serves all their orders, else of the order.
#[must_use]
pub fn command_key(order: &OrderKey, person: Option<&PersonId>, id: &CommandId) -> Key {
    let pk = person.map_or_else(|| order_pk(order), |p| format!("person#{p}"));
    Key::new(pk, format!("cmd#{id}"))
}

/// A due index entry: the shard comes from the key.
#[must_use]
pub fn due(key: &Key, at: Timestamp) -> Due {
    let sum = key.pk.bytes().fold(5381_u32, |h, b| h.wrapping_mul(33) ^ u32::from(b));
    let shard = u16::try_from(sum % u32::from(DUE_SHARDS)).unwrap_or(0);
    Due { shard, at }
}

/// The queue of an outside system's commands.
#[must_use]
pub fn command_queue(system: &str) -> String {
    format!("commands-{system}")
}
/// The queue of events.
pub const EVENTS: &str = "events.fifo";
