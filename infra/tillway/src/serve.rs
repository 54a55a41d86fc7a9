//! `tillway serve`: the engine for real use on one machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tillway_connectors::Needed;
use tillway_core::time::Millis;
use tillway_engine::ports::{SecretError, SecretSource};
use tillway_host::config::have_secrets;
use tillway_local::clock::SystemClock;
use tillway_local::runtime::{EngineFront, Options, Runtime};
use tillway_local::secrets::FileSecrets;
use tillway_local::server::{Limits, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::machine;

/// Example: `tillway serve --config shop/tillway.yaml --data /var/lib/tillway --listen 127.0.0.1:8080`
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway serve --config shop/tillway.yaml --data /var/lib/tillway --listen 127.0.0.1:8080\n\n\
Webhooks come in at POST /webhooks/{connection}/{topic}; GET /healthz tells how it is. Put a TLS proxy in front.\n\
Configuration:\n  production: true\n  connections:\n    shop: { system: clarity, base_url: \"https://shop.example.com/api/v1\" }\n    \
stripe-main: { system: stripe }\n  pairs:\n    main: { flow: stripe-clarity, shop: shop, gateway: stripe-main, initiates: tillway, \
capture: authorization, return_url: \"https://shop.example.com/checkout/return\" }\n\
With `production: false` names, addresses, e-mail and phone are masked on their way to other systems and people, customers \
written to included; `masking: off` sends them as they are. What goes to a system on loopback is not masked.\n\
Secrets (chmod 600), one a line:\n  tillway.master_key = <openssl rand -hex 32>\n  stripe-main.api_key = rk_live_...\n  \
stripe-main.webhook_secret = whsec_...\n  shop.client_id = ...\n  shop.client_secret = ...\n  shop.webhook_secret = whsec_..."
)]
pub struct Args {
    /// Configuration file (YAML). Overrides of flows stand in the folder `flows` beside it.
    #[arg(long)]
    pub config: PathBuf,
    /// Folder of the database; made where it is missing.
    #[arg(long)]
    pub data: PathBuf,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Secrets file, readable by its owner alone [default: secrets beside the configuration].
    #[arg(long)]
    pub secrets: Option<PathBuf>,
    /// Workers on the events queue, and on each commands queue.
    #[arg(long, default_value_t = 16)]
    pub workers: usize,
}

/// The secrets of a configuration, in their file and in variables.
pub fn file_secrets(config: &std::path::Path, given: Option<PathBuf>) -> Result<FileSecrets, SecretError> {
    let beside = config.parent().map_or_else(PathBuf::new, std::path::Path::to_owned).join("secrets");
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    let variables = std::env::vars();
    FileSecrets::new(given.unwrap_or(beside), variables)
}

/// The same, to be read alone.
pub fn secrets_of(config: &std::path::Path, given: Option<PathBuf>) -> anyhow::Result<Arc<dyn SecretSource>> {
    Ok(Arc::new(file_secrets(config, given)?))
}

/// JSON lines on standard output; the level comes from `TILLWAY_LOG` (info where it is not set).
pub fn log_json() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TILLWAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_env_filter(filter);
    // A second call in one process keeps the first subscriber.
    let _ = subscriber.try_init();
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    log_json();
    tillway_host::panics::quiet();
    let (config, extras) = machine::read_config(&args.config)?;
    let secrets = secrets_of(&args.config, args.secrets)?;
    let machine =
        machine::assemble(config, extras, &args.data, Arc::new(SystemClock), secrets.clone(), None).await?;
    let config = &machine.engine.config;
    for (connection, connector) in config.used() {
        have_secrets(secrets.as_ref(), connection, connector, &[Needed::Webhooks, Needed::Calls])
            .await
            .with_context(|| format!("secrets of connection {}", connection.name))?;
    }
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let options = Options {
        deciders: args.workers,
        actors: args.workers,
        // A tick sends what is due: it is no rarer than that.
        tick: Options::default().tick.min(machine.engine.config.times.resend_after),
        sweep: machine.extras.sweep_every.unwrap_or(Millis::mins(15)),
        settle: Options::default().settle,
    };
    let runtime = Runtime::start(&machine.engine, &machine.queue, options);
    let front = Arc::new(EngineFront { engine: machine.engine.clone(), alerts: machine.alerts.clone() });
    tracing::info!(listen = %address, data = %args.data.display(), "serving");
    let housekeeping = tokio::spawn(housekeep(machine.store.clone()));
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping: no new webhooks, work in hand is finished");
    };
    serve(listener, front, Limits::default(), shutdown).await?;
    housekeeping.abort();
    runtime.stop().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Removes notes and lists that expired, every hour.
async fn housekeep(store: tillway_local::sqlite::SqliteStore) {
    loop {
        let clock = SystemClock;
        match store.purge_expired(tillway_engine::ports::Clock::now(&clock), 10_000).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "expired records removed"),
            Err(error) => tracing::warn!(code = "store", "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    }
}
