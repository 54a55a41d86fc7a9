//! One machine put together: SQLite, file secrets, live HTTP, and the engine over them.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tillway_connectors::http::Http;
use tillway_connectors::http::live::{AddressPolicy, LiveHttp};
use tillway_core::check::Problem;
use tillway_engine::config::Config;
use tillway_engine::ports::{Clock, Notify, SecretSource};
use tillway_engine::settings::Extras;
use tillway_engine::settle::StoreShelf;
use tillway_engine::{Engine, Ports};
use tillway_host::config::ConfigError;
pub use tillway_host::config::{read_config, yaml_files};
use tillway_host::entropy::OsEntropy;
use tillway_host::people::channels;
use tillway_local::alerts::LogAlerts;
use tillway_local::sqlite::{DEFAULT_MAX_RECEIVES, Database, Options, SqliteQueue, SqliteStore};

/// Everything that runs on one machine.
pub struct Machine {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Its queues.
    pub queue: Arc<SqliteQueue>,
    /// Its store, for housekeeping.
    pub store: SqliteStore,
    /// Its alerts and counters.
    pub alerts: Arc<LogAlerts>,
    /// What the configuration says beside the engine's own part.
    pub extras: Extras,
}

/// Name of the database inside the data folder.
const DATABASE: &str = "tillway.sqlite";

/// Prints problems as a checker does, and sums them up.
pub fn problems(found: &[Problem]) -> anyhow::Error {
    ConfigError::Problems(found.to_vec()).into()
}

/// Puts a machine together.
///
/// # Errors
/// What cannot be opened or read, with what to do.
pub async fn assemble(
    mut config: Config,
    extras: Extras,
    data: &Path,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn SecretSource>,
    notify: Option<Arc<dyn Notify>>,
) -> anyhow::Result<Machine> {
    std::fs::create_dir_all(data)
        .with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let database = Database::open(&data.join(DATABASE), Options::new(clock.clone()))
        .with_context(|| format!("cannot open the database in {}", data.display()))?;
    // The queue here hands out more often before it gives up.
    config.bury_after = DEFAULT_MAX_RECEIVES.saturating_sub(10);
    let production = config.connections.values().any(|(c, _)| c.production);
    let policy = if production { AddressPolicy::PublicOnly } else { AddressPolicy::AllowLoopback };
    let http: Arc<dyn Http> = Arc::new(LiveHttp::new(policy)?);
    let (notify, told) = match notify {
        Some(notify) => (notify, true),
        None => channels(&extras.people, &http, &secrets)?,
    };
    let alerts = LogAlerts::new(clock.clone());
    let alerts = Arc::new(if told { alerts.with_channel(notify.clone()) } else { alerts });
    let queue = Arc::new(database.queue());
    let ports = Ports {
        store: Arc::new(database.store()),
        shelf: Arc::new(StoreShelf::new(Arc::new(database.store()))),
        queue: queue.clone(),
        clock,
        entropy: Arc::new(OsEntropy),
        secrets,
        http,
        notify,
        alerts: alerts.clone(),
    };
    let engine = Engine::new(Arc::new(config), ports).await.context(
        "the secrets file needs the line `tillway.master_key = <64 hex digits>`; make one with `openssl rand -hex 32`",
    )?;
    Ok(Machine { engine: Arc::new(engine), queue, store: database.store(), alerts, extras })
}
