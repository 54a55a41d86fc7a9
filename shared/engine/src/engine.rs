//! The engine: configuration and ports together, and what all stages share.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tillway_connectors::Secrets;
use tillway_connectors::http::Http;
use tillway_core::ids::PersonId;
use tillway_core::mask::Masking;
use tillway_core::time::Timestamp;
use tillway_core::value::Value;

use crate::bugs::Planted;
use crate::config::Config;
use crate::limits::Limits;
use crate::parsed::Parsed;
use crate::ports::{
    Alert, Alerts, Clock, Entropy, Notify, Queue, SecretError, SecretSource, Severity, Shelf, Store,
    StoreError,
};
use crate::records::{CommandRecord, Event, EventBody, OrderRecord, Origin, PersonKey, Sealed, person_key};
use crate::shrink::{grow, shrink};
use crate::vault::{DataKey, Vault, VaultError};

/// Everything the engine needs from the machine.
#[derive(Clone)]
pub struct Ports {
    /// Keeps items.
    pub store: Arc<dyn Store>,
    /// Keeps documents.
    pub shelf: Arc<dyn Shelf>,
    /// Passes messages on.
    pub queue: Arc<dyn Queue>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Hands out secrets.
    pub secrets: Arc<dyn SecretSource>,
    /// The way out.
    pub http: Arc<dyn Http>,
    /// Tells people.
    pub notify: Arc<dyn Notify>,
    /// Tells those who run it.
    pub alerts: Arc<dyn Alerts>,
}

/// The engine.
pub struct Engine {
    /// Configuration.
    pub config: Arc<Config>,
    /// Ports.
    pub ports: Ports,
    pub(crate) vault: Vault,
    /// Seals events in place of the vault's, where an engine only takes webhooks in.
    intake: Option<DataKey>,
    pub(crate) masking: Option<Masking>,
    pub(crate) planted: Planted,
    pub(crate) limits: Limits,
    pub(crate) flows: crate::flows::FlowCache,
    pub(crate) tokens: crate::tokens::TokenCache,
    pub(crate) restore: crate::restore::RestoreMode,
    pub(crate) orders: Parsed<OrderRecord>,
    pub(crate) commands: Parsed<CommandRecord>,
    pub(crate) routes: crate::routes::RouteCounts,
    pub(crate) clocks: crate::outbound::Clocks,
}

/// Why a piece of work could not be finished now; its message is handed out again.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secret source.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Sealed data.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A stored or sent record of another shape.
    #[error("a record cannot be read: {0}")]
    Record(#[from] serde_json::Error),
    /// Too many writers met on one order.
    #[error("too many conflicts on one order; it is tried again")]
    Contended,
    /// A send was not accepted.
    #[error("a message was not accepted by the queue")]
    NotSent,
    /// Configuration and data do not fit.
    #[error("{0}")]
    Config(String),
    /// Whoever gave the time wants an end; what was done stands.
    #[error("there was no time for all of it; the next run goes on where it stood")]
    OutOfTime,
    /// A defect of ours met on the way.
    #[error("a defect of ours stopped this piece of work; the log above says where")]
    Panicked,
}

/// Does a piece of work so that a panic in it fails this piece alone. What the panic says may hold data and
/// is not told.
///
/// # Errors
/// The work's own, or [`WorkError::Panicked`].
pub async fn guarded<T>(work: impl Future<Output = Result<T, WorkError>>) -> Result<T, WorkError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Err(WorkError::Panicked))
}

impl WorkError {
    /// Whether it lies in the piece of work itself, so that waiting mends nothing.
    #[must_use]
    pub const fn is_its_own(&self) -> bool {
        matches!(self, Self::Record(_) | Self::Panicked | Self::Store(StoreError::Invalid(_)))
    }
    /// Stable code for logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Secret(_) => "secret",
            Self::Vault(_) => "vault",
            Self::Record(_) => "record",
            Self::Contended => "contended",
            Self::NotSent => "not_sent",
            Self::Config(_) => "config",
            Self::OutOfTime => "out_of_time",
            Self::Panicked => "panicked",
        }
    }
}

/// Our own connection, and the key in it that seals people's data.
pub const OWN: (&str, &str) = ("tillway", "master_key");
/// The secret of whoever takes webhooks in, where they have not the master key: made of it, and good for sealing webhooks alone.
pub const INTAKE: (&str, &str) = ("intake", "key");

/// What the edge seals is sealed for.
const AT_THE_EDGE: &[u8] = b"webhook";

/// What is known of a person's key.
#[derive(Clone)]
pub(crate) enum PersonAccess {
    /// No key yet.
    Fresh,
    /// A key.
    Live(DataKey),
    /// Erased.
    Erased(Timestamp),
}

impl Engine {
    /// Puts an engine together. The master key is read once.
    ///
    /// # Errors
    /// [`WorkError`] where the master key is missing or malformed.
    pub async fn new(config: Arc<Config>, ports: Ports) -> Result<Self, WorkError> {
        Self::with_planted(config, ports, Planted::default()).await
    }

    /// An engine that only takes webhooks in: it reads nothing from the store, and has no need of one; nor of the master key,
    /// of which it has what seals webhooks ([`INTAKE`]). It names, masks and opens nothing of people's.
    ///
    /// # Errors
    /// [`WorkError`] where that key is missing or malformed.
    pub async fn receiver(config: Arc<Config>, ports: Ports) -> Result<Self, WorkError> {
        let own = ports.secrets.secrets(INTAKE.0, false).await?;
        let missing = || SecretError::Lacking { connection: INTAKE.0.to_owned(), name: INTAKE.1 };
        let intake = DataKey::read(own.newest(INTAKE.1).ok_or_else(missing)?.expose())?;
        // Of no use to anybody: nothing that another process wrote is sealed with it, and nothing that this one writes.
        let vault = Vault::new(&DataKey::draw(ports.entropy.as_ref()).hex())?;
        Ok(Self {
            intake: Some(intake),
            masking: None,
            ..Self::assemble(config, ports, Planted::default(), vault)
        })
    }

    /// An engine with a planted bug (simulator only; see [`crate::bugs`]).
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub async fn with_planted(
        config: Arc<Config>,
        ports: Ports,
        planted: Planted,
    ) -> Result<Self, WorkError> {
        let own = ports.secrets.secrets(OWN.0, false).await?;
        let master = own.newest(OWN.1).ok_or_else(|| SecretError::Missing(OWN.0.to_owned()))?;
        let vault = Vault::new(master.expose())?;
        let engine = Self::assemble(config, ports, planted, vault);
        engine.load_restore().await?;
        Ok(engine)
    }

    fn assemble(config: Arc<Config>, ports: Ports, planted: Planted, vault: Vault) -> Self {
        let limits = Limits::new(&config);
        let masking = config.masking.then(|| Masking::new(vault.masker(), config.on_this_machine()));
        Self {
            config,
            ports,
            vault,
            intake: None,
            masking,
            planted,
            limits,
            flows: crate::flows::FlowCache::default(),
            tokens: crate::tokens::TokenCache::default(),
            restore: crate::restore::RestoreMode::default(),
            orders: Parsed::default(),
            commands: Parsed::default(),
            routes: crate::routes::RouteCounts::default(),
            clocks: crate::outbound::Clocks::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    pub(crate) async fn secrets(&self, connection: &str, fresh: bool) -> Result<Secrets, SecretError> {
        self.ports.secrets.secrets(connection, fresh).await
    }

    pub(crate) async fn alert(&self, code: &str, severity: Severity, order: Option<String>, text: String) {
        self.ports.alerts.raise(Alert { code: code.to_owned(), severity, order, text }).await;
    }

    /// Seals an event for a queue or the store.
    pub(crate) fn seal_event(&self, event: &Event) -> Vec<u8> {
        // An event is plain data; writing it as JSON cannot fail.
        let plain = serde_json::to_vec(event).unwrap_or_default();
        let entropy = self.ports.entropy.as_ref();
        match &self.intake {
            Some(key) => key.seal(entropy, AT_THE_EDGE, &plain),
            None => self.vault.queue_key().seal(entropy, b"event", &plain),
        }
    }

    /// Opens a sealed event. What the edge sealed is a webhook and nothing else: whoever has its key tells no results of calls.
    pub(crate) fn open_event(&self, sealed: &[u8]) -> Result<Event, WorkError> {
        if let Ok(plain) = self.vault.queue_key().open(b"event", sealed) {
            return Ok(serde_json::from_slice(&plain)?);
        }
        let event: Event = serde_json::from_slice(&self.vault.intake_key().open(AT_THE_EDGE, sealed)?)?;
        let webhook = event.origin == Origin::Webhook && matches!(event.body, EventBody::Provider { .. });
        if webhook { Ok(event) } else { Err(VaultError::Unreadable.into()) }
    }

    /// Reads a person's key item.
    pub(crate) fn access(&self, person: &PersonId, body: Option<&[u8]>) -> Result<PersonAccess, WorkError> {
        match body.map(serde_json::from_slice::<PersonKey>).transpose()? {
            None => Ok(PersonAccess::Fresh),
            Some(PersonKey::Erased { at }) => Ok(PersonAccess::Erased(at)),
            Some(PersonKey::Live { wrapped }) => {
                Ok(PersonAccess::Live(self.vault.unwrap(person.as_str(), &wrapped)?))
            }
        }
    }

    /// Reads a person's key from the store.
    pub(crate) async fn person_access(&self, person: &PersonId) -> Result<PersonAccess, WorkError> {
        let items = self.ports.store.get(&[person_key(person)]).await?;
        let body = items.first().and_then(Option::as_ref).map(|i| i.body.as_slice());
        self.access(person, body)
    }

    pub(crate) fn seal_value(
        &self,
        key: &DataKey,
        person: &PersonId,
        value: &Value,
    ) -> Result<Sealed, WorkError> {
        let plain = shrink(serde_json::to_vec(value)?);
        let blob = key.seal(self.ports.entropy.as_ref(), person.as_str().as_bytes(), &plain);
        Ok(Sealed { person: person.clone(), blob })
    }

    pub(crate) fn open_value(key: &DataKey, sealed: &Sealed) -> Result<Value, WorkError> {
        let plain = grow(key.open(sealed.person.as_str().as_bytes(), &sealed.blob)?);
        Ok(serde_json::from_slice(&plain.ok_or(VaultError::Unreadable)?)?)
    }
}
