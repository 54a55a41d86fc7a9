//! What every connector does.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tillway_core::doc::{Doc, Json};
use tillway_core::facts::Fact;
use tillway_core::ids::{CommandId, ConnectionName};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::{ActionSpec, Value};

use crate::capabilities::Capabilities;
use crate::config::{Connection, Secret, Secrets};
use crate::http::Http;
use crate::registrar::{self, Endpoint, Registrar};
use crate::settlement::Settlement;

/// A webhook request as it came in.
#[derive(Clone, Copy)]
pub struct Inbound<'a> {
    /// Last part of the URL.
    pub topic: &'a str,
    /// Header names in lower case.
    pub headers: &'a [(String, String)],
    /// Exact bytes: signatures are checked over these, before anything is parsed.
    pub body: &'a [u8],
}

impl Inbound<'_> {
    /// First header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// An authentic, well-formed webhook.
#[derive(Clone, PartialEq)]
pub struct Verified {
    /// The provider's event id, or one derived from the body where the provider has none.
    pub event_id: String,
    /// The provider's event type, e.g. `charge.succeeded`.
    pub event_type: String,
    /// Best known business key for ordering: the order id, else the payment object's id, else the event id.
    pub group: String,
    /// When the provider says it happened.
    pub created_at: Option<Timestamp>,
    /// The JSON to be worked on in place of the body, where the provider encrypted that.
    pub opened: Option<Vec<u8>>,
}

/// Why a webhook is turned away at the edge. Leaves a log line and a counter, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EdgeFault {
    /// 413.
    #[error("body larger than the limit")]
    TooLarge,
    /// 415.
    #[error("content type is not application/json")]
    ContentType,
    /// 400.
    #[error("body is not JSON of the expected shape")]
    Malformed,
    /// 404.
    #[error("no such connection or topic")]
    UnknownUrl,
    /// 401: no signature, or one that cannot be read.
    #[error("signature header missing or malformed")]
    SignatureMissing,
    /// 401: a signature that fits no secret.
    #[error("signature does not fit")]
    SignatureWrong,
    /// 401: signed too long ago.
    #[error("signature timestamp is too old")]
    Stale,
    /// 401: signed in the future.
    #[error("signature timestamp lies in the future")]
    Future,
    /// 500: the connection has no webhook secret. Ours to mend, so the provider should retry.
    #[error("no webhook secret is configured")]
    NotConfigured,
}

impl EdgeFault {
    /// Stable code for logs and counters.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::ContentType => "content_type",
            Self::Malformed => "malformed",
            Self::UnknownUrl => "unknown_url",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureWrong => "signature_wrong",
            Self::Stale => "timestamp_stale",
            Self::Future => "timestamp_future",
            Self::NotConfigured => "secret_missing",
        }
    }
    /// HTTP status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::ContentType => 415,
            Self::Malformed => 400,
            Self::UnknownUrl => 404,
            Self::SignatureMissing | Self::SignatureWrong | Self::Stale | Self::Future => 401,
            Self::NotConfigured => 500,
        }
    }
}

/// Whom an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "owner")]
pub enum Owner {
    /// An order of the shop, by the shop's order id.
    Order {
        /// Order id.
        id: String,
    },
    /// Objects of the gateway, any of which may be known by alias; most telling first.
    Objects {
        /// The gateway's ids.
        ids: Vec<String>,
    },
    /// A customer of the shop, by the shop's customer id; empty where an event does not tell it. Unhandled where no pair of
    /// the shop has a flow for customers.
    Customer {
        /// Customer id.
        id: String,
    },
    /// Nobody's order: products, payouts.
    Nobody,
}

/// Facts with the personal data that came beside them.
#[derive(Clone, Default, PartialEq)]
pub struct Observation {
    /// Facts; free of personal data.
    pub facts: Vec<Fact>,
    /// Personal data by the names flows know (`order.customer.email` → `{"order":{"customer":{"email":…}}}`);
    /// kept sealed, merged over what is known. `Value::Null` where there is none.
    pub personal: Value,
    /// Normalised identity of the person it belongs to, where it came with an answer that tells.
    pub person: Option<Secret>,
}

/// `Debug` shows facts and hides personal data.
impl fmt::Debug for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observation").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub enum Interpreted {
    /// A known event about an order.
    About {
        /// Whom.
        owner: Owner,
        /// What.
        observation: Observation,
        /// Normalised identity of the person (`ref:<shop's id>` or `mail:<lower-case e-mail>`), where told.
        person: Option<Secret>,
    },
    /// A known topic without a flow yet, or a type nobody listed: stored, counted, shown as unhandled.
    Unhandled,
    /// Not to be believed as it stands (no signature scheme, or no version): read the object again.
    ReadAgain {
        /// Whom.
        owner: Owner,
        /// Name of the read action of this connector, e.g. `clarity.read_order`.
        action: &'static str,
        /// What to read besides, in the connector's own words: the action's parameter `object`.
        object: Option<String>,
    },
}

/// Authentic, but unacceptable in meaning: parked with the reason and the field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Stable code, e.g. `totals_do_not_add_up`.
    pub code: String,
    /// Path of the field at fault, e.g. `data.total.amount`.
    pub field: String,
    /// A sentence: what is wrong and what to do. Shapes, never contents.
    pub what: String,
    /// Whom it is about, where that much is clear.
    pub owner: Owner,
}

/// An action and how the engine treats it.
#[derive(Debug, Clone, Copy)]
pub struct Action {
    /// Name, parameters, whether it moves money.
    pub spec: &'static ActionSpec,
    /// Keyed by the person and not by the order: one command serves every order of that person. Where it has a parameter
    /// `earlier`, it is told the customer that the person had at the gateway before, by whatever order or profile.
    pub per_person: bool,
    /// Doing it twice does no harm (reads, read-compare-write, upserts guarded by the connector): a lost
    /// answer is simply followed by doing it again.
    pub repeatable: bool,
    /// Changes nothing at the provider: allowed even while a restored store may only look.
    pub reads: bool,
}

/// A request made ready, before it is claimed. The bytes are stored before the first one leaves and are
/// what is sent again, if anything ever is.
#[derive(Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Connector's own form, without credentials.
    pub bytes: Vec<u8>,
    /// A few words for `explain`, free of personal data: `POST /v1/refunds 10.00 USD`.
    pub summary: String,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("summary", &self.summary).finish_non_exhaustive()
    }
}

/// One call of an action.
pub struct Call<'a> {
    /// The account.
    pub connection: &'a Connection,
    /// Its secrets as of now.
    pub secrets: &'a Secrets,
    /// A bearer token the engine keeps for connections that need one ([`Connector::needs_token`]).
    pub token: Option<&'a Secret>,
    /// The way out.
    pub http: &'a dyn Http,
    /// Action name.
    pub action: &'a str,
    /// The command; its text is our reference at the provider.
    pub command: &'a CommandId,
    /// Raised each time a new idempotency key is allowed: only after evidence that nothing happened.
    pub generation: u32,
    /// What [`Connector::prepare`] gave, byte for byte.
    pub prepared: &'a [u8],
    /// Now.
    pub now: Timestamp,
    /// Time left for the whole call.
    pub limit: Millis,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Done, and the provider's echo agrees with what was asked.
    Settled {
        /// What is known now.
        observation: Observation,
        /// The provider's id of what was made or changed.
        provider_id: Option<String>,
        /// A few words for `explain`, free of personal data.
        summary: String,
    },
    /// The provider says no, for good. Facts may come with it (a declined attempt).
    Refused {
        /// Stable code: the provider's.
        code: String,
        /// What is known now.
        observation: Observation,
        /// A few words for `explain`.
        summary: String,
    },
    /// Certainly nothing was executed: not sent, 429, a conflict with a call in flight, an expired token.
    NotDone {
        /// Wait at least this long, where the provider says so.
        after: Option<Millis>,
        /// Why.
        why: NotDone,
    },
    /// Nobody knows. Never followed by a second attempt before [`Connector::find_out`] gave evidence.
    Unknown {
        /// A few words for `explain`, e.g. `no answer`, `500`.
        why: String,
        /// The answer came under the idempotency key and will come again under it (a stored 500).
        answer_is_stored: bool,
    },
    /// The provider's answer does not agree with the request (amount, currency, reference): to a person.
    Disagrees {
        /// Field that differs.
        field: String,
        /// What is known now.
        observation: Observation,
        /// A sentence.
        what: String,
    },
}

/// Why nothing was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotDone {
    /// Rate limit.
    Throttled,
    /// Not connected, or the service says it is down before executing.
    Unavailable,
    /// A call under the same key is in flight, a lock or version conflict, or what was made a moment ago does not show yet.
    Conflict,
    /// The credentials were refused: read them again, then alarm.
    Unauthorized,
}

/// What finding out found.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// It happened (or was refused): the outcome, as if the first call had answered.
    Evidence(Outcome),
    /// A consistent read shows that it did not happen. Counts only after the deadline and the provider's lag.
    NotThere,
    /// The provider keeps the first answer under the key: send the same bytes under the same key.
    Replay,
    /// Could not be found out now.
    StillUnknown {
        /// Why.
        why: String,
    },
}

/// One event or object found by a sweep.
#[derive(Clone, PartialEq)]
pub struct SweptEvent {
    /// Same id the webhook would have, so that the two are told to be one.
    pub event_id: String,
    /// Event type.
    pub event_type: String,
    /// Group as in [`Verified::group`].
    pub group: String,
    /// When it happened at the provider.
    pub created_at: Timestamp,
    /// Body as the webhook would have it.
    pub body: Doc,
}

/// A page of a sweep.
#[derive(Clone, PartialEq)]
pub struct SweepPage {
    /// Events, oldest first.
    pub events: Vec<SweptEvent>,
    /// Where the next page of this sweep begins; `None`: done.
    pub next: Option<String>,
}

/// What a connection's secrets are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// Taking webhooks in.
    Webhooks,
    /// Calling it.
    Calls,
}

/// What the webhook endpoint of one topic subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// Topic, the last part of the endpoint's URL.
    pub topic: &'static str,
    /// Event types, in the provider's words.
    pub types: &'static [&'static str],
    /// What they are for.
    pub purpose: Purpose,
}

/// What the events of a topic are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// They say something about orders.
    Orders,
    /// They announce what is settled.
    Settlement,
    /// Nothing yet: what comes is stored, counted and shown, and costs as much as what is used. So it is subscribed to
    /// only where a person asks for it.
    Later,
}

/// An outside system.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Name, e.g. `stripe`.
    fn system(&self) -> &'static str;

    /// What it can do, beside what the other methods tell.
    fn capabilities(&self) -> &'static Capabilities;

    /// Webhook topics (last part of the URL).
    fn topics(&self) -> &'static [&'static str];

    /// What the endpoint of each topic is to subscribe to at the provider; empty where a provider has no
    /// choice of types.
    fn subscriptions(&self) -> &'static [Subscription] {
        &[]
    }

    /// The webhook endpoints a connection is to have at the provider, below the address where Tillway listens.
    fn endpoints(&self, connection: &Connection, base: &str) -> Vec<Endpoint> {
        registrar::endpoints(connection, base, self.subscriptions())
    }

    /// The provider's API for webhook endpoints; `None`: [`Connector::webhook_steps`] are taken by hand.
    fn registrar(&self, _connection: &Connection) -> Option<&'static dyn Registrar> {
        None
    }

    /// How the provider tells what it settled; `None`: it settles nothing, or nothing reads it yet.
    fn settlement(&self, _connection: &Connection) -> Option<&'static dyn Settlement> {
        None
    }

    /// What a person does at the provider so that webhooks come, a line each.
    fn webhook_steps(&self, connection: &Connection, base: &str) -> Vec<String> {
        registrar::steps(connection, &self.endpoints(connection, base))
    }

    /// Media types of webhook bodies; parameters such as a charset aside.
    fn media_types(&self) -> &'static [&'static str] {
        &["application/json"]
    }

    /// Whether a webhook address is to answer a provider's probe, a GET or an empty POST, with 200.
    fn answers_probes(&self) -> bool {
        false
    }

    /// Actions flows may use.
    fn actions(&self) -> &'static [Action];

    /// Settings and secrets it knows, with defaults, for `check` and for documentation:
    /// `(name, default, meaning)`. A name ending in `.*` stands for a table.
    fn settings(&self) -> &'static [(&'static str, &'static str, &'static str)];

    /// Settings that follow from the gateway of its pair, where a shop does not say them: name and value.
    fn settings_beside(&self, _gateway: &str) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Names of the secrets it needs.
    fn secrets(&self) -> &'static [(&'static str, &'static str)];

    /// The first secret that this connection cannot do without for that, and that is not there.
    fn lacks(&self, connection: &Connection, secrets: &Secrets, what: Needed) -> Option<&'static str>;

    /// The merchant ids among which authorizations are routed; none where a connection has one alone. An action whose
    /// parameters have a `route` takes one of them, or nothing for the connection's own.
    fn routes(&self, _connection: &Connection) -> Vec<String> {
        Vec::new()
    }

    /// Whether a refusal with this code is the fault of the merchant id (not set up, no right) and not of card or request.
    fn blames_route(&self, _code: &str) -> bool {
        false
    }

    /// Whether a refusal with this code says that the merchant id does not take such orders (their currency is not enabled
    /// there): another may, and how this one does with others is not told by it.
    fn unfit_route(&self, _code: &str) -> bool {
        false
    }

    /// Whether a soft decline with this code may be tried at another merchant id at once, as far as scheme rules and
    /// sense allow.
    fn tried_elsewhere(&self, _code: &str) -> bool {
        false
    }

    /// Checks a connection's settings: `(setting, what is wrong and what to do)`.
    fn check_settings(&self, connection: &Connection) -> Vec<(String, String)>;

    /// Verifies a webhook over its raw bytes, then reads and names it. No I/O.
    ///
    /// # Errors
    /// [`EdgeFault`] for whatever is not authentic or not well-formed.
    fn verify(
        &self,
        connection: &Connection,
        secrets: &Secrets,
        inbound: Inbound<'_>,
        now: Timestamp,
    ) -> Result<Verified, EdgeFault>;

    /// Member names whose digits are identifiers and no card numbers (see [`tillway_core`]'s PAN rule).
    fn identifier_fields(&self) -> &'static [&'static str];

    /// Says what an event means. Pure: the same body means the same facts.
    ///
    /// # Errors
    /// [`Rejected`] for faults of meaning.
    fn interpret(
        &self,
        connection: &Connection,
        event_type: &str,
        body: Json<'_>,
    ) -> Result<Interpreted, Rejected>;

    /// The same for what we read from the provider ourselves (a sweep): it needs no second reading, where a
    /// webhook that nobody signed does.
    ///
    /// # Errors
    /// As [`Connector::interpret`].
    fn interpret_read(
        &self,
        connection: &Connection,
        event_type: &str,
        body: Json<'_>,
    ) -> Result<Interpreted, Rejected> {
        self.interpret(connection, event_type, body)
    }

    /// Turns a flow's parameters into the bytes of a request. Pure.
    ///
    /// # Errors
    /// [`Rejected`] where a parameter cannot go over this wire (an amount the currency's rules forbid).
    fn prepare(
        &self,
        connection: &Connection,
        action: &str,
        command: &CommandId,
        params: &Value,
    ) -> Result<Prepared, Rejected>;

    /// Does it, once. Inside it may read before it writes.
    async fn call(&self, call: Call<'_>) -> Outcome;

    /// Finds out what became of a call whose answer was lost.
    async fn find_out(&self, call: Call<'_>) -> Finding;

    /// How long after a call's deadline a read at the provider is sure to show its effect.
    fn indexing_lag(&self) -> Millis;

    /// The same for one connection, where it can be set.
    fn lag_of(&self, _connection: &Connection) -> Millis {
        self.indexing_lag()
    }

    /// How long the provider keeps an answer under its idempotency key; zero where it keeps none.
    fn key_lifetime(&self) -> Millis;

    /// Whether [`Call::token`] must be filled.
    fn needs_token(&self, connection: &Connection) -> bool;

    /// Fetches a bearer token: the token and its lifetime.
    async fn fetch_token(
        &self,
        connection: &Connection,
        secrets: &Secrets,
        http: &dyn Http,
        limit: Millis,
    ) -> Result<(Secret, Millis), NotDone>;

    /// Lists what happened from `since` on (events, or objects changed), `cursor` continues a page.
    async fn sweep(
        &self,
        call: Call<'_>,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<SweepPage, NotDone>;

    /// Lists customers changed from `since` on; asked only where a pair of the connection has a flow for them.
    async fn sweep_customers(
        &self,
        _call: Call<'_>,
        _since: Timestamp,
        _cursor: Option<&str>,
    ) -> Result<SweepPage, NotDone> {
        Ok(SweepPage { events: Vec::new(), next: None })
    }

    /// Reads one object of the gateway again by its id and tells what it means, for events whose owner is
    /// unknown. `None`: the object does not exist or says nothing about an owner.
    async fn resolve(&self, call: Call<'_>, object: &str) -> Result<Option<(Owner, Observation)>, NotDone>;
}

/// The name under which a connection's own echo is recognised: our idempotency keys begin with it.
#[must_use]
pub fn key_prefix(connection: &ConnectionName) -> String {
    format!("tillway:{connection}:")
}
