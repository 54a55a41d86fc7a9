//! The stage: sandboxes served over HTTP on loopback, and Tillway beside them on the embedded store.
//!
//! Three merchants share one Tillway, each with a shop and a gateway account of its own: one takes the money
//! at authorization, one on shipment, and one's shop makes the payments itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use tillway_connectors::{Secret, Secrets};
use tillway_core::http::Response;
use tillway_core::ids::ConnectionName;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Clock, SecretError, SecretSource};
use tillway_local::clock::ScaledClock;
use tillway_local::notify::MemoryNotify;
use tillway_local::runtime::{EngineFront, Options, Runtime};
use tillway_local::server::{Limits, serve};
use tillway_sandbox::clarity::{Auth, ClarityConfig, ClaritySandbox, WebhookScheme};
use tillway_sandbox::server::{SandboxClock, SandboxServer};
use tillway_sandbox::stripe::{StripeConfig, StripeSandbox};

use crate::machine::{self, Machine};

/// What the demo's own accounts are opened with. They exist on loopback for as long as the demo runs.
const API_KEY: &str = "sk_test_sandbox";
/// Signs what the sandbox of Stripe sends.
pub const STRIPE_WEBHOOK_SECRET: &str = "whsec_sandbox_stripe";
const SHOP_SECRET: &str = "sandbox-secret";
const SHOP_WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Seals the demo's personal data; drawn by nobody, for the data goes with the demo.
const MASTER_KEY: &str = "6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d";
/// The demo's first moment.
const EPOCH: &str = "2026-11-21T09:00:00Z";
/// Real milliseconds a silenced call hangs.
const SILENCE: u64 = 30;

struct Fixed;

#[async_trait]
impl SecretSource for Fixed {
    async fn secrets(&self, connection: &str, _fresh: bool) -> Result<Secrets, SecretError> {
        let pairs: &[(&str, &str)] = match connection.split('-').next().unwrap_or_default() {
            "tillway" => &[("master_key", MASTER_KEY)],
            "stripe" => &[("api_key", API_KEY), ("webhook_secret", STRIPE_WEBHOOK_SECRET)],
            "shop" => &[
                ("client_id", "tillway"),
                ("client_secret", SHOP_SECRET),
                ("webhook_secret", SHOP_WEBHOOK_SECRET),
            ],
            _ => return Err(SecretError::Missing(connection.to_owned())),
        };
        Ok(Secrets(pairs.iter().map(|(n, v)| ((*n).to_owned(), vec![Secret::new(*v)])).collect()))
    }
}

/// One shop with its gateway account.
pub struct Merchant {
    /// Name of the pair: `now`, `ship` or `follow`.
    pub name: &'static str,
    /// The shop's connection.
    pub shop: ConnectionName,
    /// The gateway's connection.
    pub gateway: ConnectionName,
    /// What its order ids begin with.
    pub prefix: &'static str,
    stripe: Arc<Mutex<StripeSandbox>>,
    clarity: Arc<Mutex<ClaritySandbox>>,
    servers: (SandboxServer, SandboxServer),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Merchant {
    async fn open(
        (name, prefix): (&'static str, &'static str),
        seed: u64,
        clock: &SandboxClock,
    ) -> anyhow::Result<Self> {
        let mut stripe = StripeConfig::new(API_KEY, STRIPE_WEBHOOK_SECRET, seed);
        // Charges settle and refunds change their mind some time after, as they do.
        stripe.async_settlement = Millis::secs(2);
        stripe.refund_delay = Millis::mins(5);
        let stripe = Arc::new(Mutex::new(StripeSandbox::new(stripe).with_schema_beside()));
        let clarity = Arc::new(Mutex::new(ClaritySandbox::new(ClarityConfig {
            auth: Auth::OAuth { client_id: "tillway".into(), client_secret: SHOP_SECRET.into() },
            webhook: WebhookScheme::StandardWebhooks { secrets: vec![SHOP_WEBHOOK_SECRET.into()] },
            order_ids: prefix.to_owned(),
            seed,
            ..ClarityConfig::default()
        })));
        let servers = (
            SandboxServer::start(stripe.clone(), clock.clone(), None).await?,
            SandboxServer::start(clarity.clone(), clock.clone(), None).await?,
        );
        servers.0.set_silence_millis(SILENCE);
        servers.1.set_silence_millis(SILENCE);
        Ok(Self {
            name,
            shop: ConnectionName::new(format!("shop-{name}")),
            gateway: ConnectionName::new(format!("stripe-{name}")),
            prefix,
            stripe,
            clarity,
            servers,
        })
    }

    /// The gateway's sandbox.
    pub fn stripe(&self) -> MutexGuard<'_, StripeSandbox> {
        lock(&self.stripe)
    }

    /// The shop's sandbox.
    pub fn clarity(&self) -> MutexGuard<'_, ClaritySandbox> {
        lock(&self.clarity)
    }
}

/// Sandboxes and Tillway.
pub struct Stage {
    /// The merchants.
    pub merchants: Vec<Merchant>,
    /// Tillway.
    pub machine: Machine,
    /// What people were told.
    pub notices: Arc<MemoryNotify>,
    /// Everybody's clock.
    pub clock: Arc<ScaledClock>,
    /// The first moment.
    pub epoch: Timestamp,
    /// Where Tillway takes webhooks: `http://127.0.0.1:<port>/webhooks`.
    pub front_url: String,
    /// The data folder.
    pub folder: PathBuf,
    keep: bool,
    runtime: Runtime,
    front: tokio::task::JoinHandle<()>,
    shutdown: tokio::sync::oneshot::Sender<()>,
}

/// Connections and pairs as a merchant would write them into the configuration file.
fn config(merchants: &[Merchant]) -> String {
    let mut connections = String::new();
    for m in merchants {
        connections.push_str(&format!(
            "  {}: {{ system: clarity, base_url: \"{}/api/v1\", rate_limit.per_second: 10000 }}\n  \
             {}: {{ system: stripe, base_url: \"{}\", rate_limit.per_second: 10000, \
             multicapture: if_available }}\n",
            m.shop,
            m.servers.1.url(),
            m.gateway,
            m.servers.0.url(),
        ));
    }
    let mut pairs = String::new();
    for m in merchants {
        let (initiates, capture) = match m.name {
            "now" => ("tillway", "authorization"),
            "ship" => ("tillway", "shipment"),
            _ => ("shop", "shipment"),
        };
        pairs.push_str(&format!(
            "  {}: {{ flow: stripe-clarity, shop: {}, gateway: {}, initiates: {initiates}, capture: {capture}, \
             on_total_lowered: refund, return_url: \"https://shop.example.com/checkout/return\" }}\n",
            m.name, m.shop, m.gateway,
        ));
    }
    format!("connections:\n{connections}pairs:\n{pairs}")
}

impl Stage {
    /// Starts everything on free loopback ports.
    ///
    /// # Errors
    /// What could not be started.
    pub async fn start(seed: u64, speed: u32, keep: Option<&Path>) -> anyhow::Result<Self> {
        let epoch = Timestamp::parse_rfc3339(EPOCH).context("the demo's first moment")?;
        let clock = Arc::new(ScaledClock::start(epoch, speed));
        let sandbox_clock = {
            let clock = clock.clone();
            let read: SandboxClock = Arc::new(move || clock.now());
            read
        };
        let mut merchants = Vec::new();
        for (n, named) in [("now", "N-"), ("ship", "S-"), ("follow", "F-")].into_iter().enumerate() {
            // Accounts of their own: no two of them draw the same ids.
            let seed = seed.wrapping_mul(8).wrapping_add(u64::try_from(n).unwrap_or(0));
            merchants.push(Merchant::open(named, seed, &sandbox_clock).await?);
        }
        let (config, extras) = tillway_engine::settings::load(
            "demo.yaml",
            &config(&merchants),
            &tillway_templates::sources(),
            &[],
            tillway_templates::notices(),
        )
        .map_err(|p| machine::problems(&p))?;
        let folder = keep.map_or_else(
            || std::env::temp_dir().join(format!("tillway-demo-{}", std::process::id())),
            Path::to_owned,
        );
        if keep.is_some() && folder.read_dir().is_ok_and(|mut files| files.next().is_some()) {
            anyhow::bail!("the folder {} is not empty; give --keep an empty or new one", folder.display());
        }
        let notices = Arc::new(MemoryNotify::default());
        let machine =
            machine::assemble(config, extras, &folder, clock.clone(), Arc::new(Fixed), Some(notices.clone()))
                .await?;
        // Sweeps are run by the scenarios, so that what they find can be shown.
        let options = Options { deciders: 4, actors: 4, sweep: Millis::days(3650), ..Options::default() };
        let runtime = Runtime::start(&machine.engine, &machine.queue, options);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let front_url = format!("http://{}/webhooks", listener.local_addr()?);
        let front = Arc::new(EngineFront { engine: machine.engine.clone(), alerts: machine.alerts.clone() });
        let (shutdown, stopped) = tokio::sync::oneshot::channel();
        let front = tokio::spawn(async move {
            let stop = async {
                // The sender is dropped or sends: both mean stop.
                let _ = stopped.await;
            };
            if let Err(error) = serve(listener, front, Limits::default(), stop).await {
                tracing::error!("{error}");
            }
        });
        for m in &merchants {
            m.servers.0.set_webhook_base(Some(format!("{front_url}/{}", m.gateway)));
            m.servers.1.set_webhook_base(Some(format!("{front_url}/{}", m.shop)));
        }
        Ok(Self {
            merchants,
            machine,
            notices,
            clock,
            epoch,
            front_url,
            folder,
            keep: keep.is_some(),
            runtime,
            front,
            shutdown,
        })
    }

    /// A merchant by its pair's name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn merchant(&self, name: &str) -> anyhow::Result<&Merchant> {
        self.merchants.iter().find(|m| m.name == name).with_context(|| format!("no merchant {name}"))
    }

    /// Posts a webhook to Tillway as anybody could.
    ///
    /// # Errors
    /// Where nobody answers.
    pub async fn post(
        &self,
        connection: &ConnectionName,
        topic: &str,
        mut request: tillway_core::http::Request,
    ) -> anyhow::Result<Response> {
        request.url = format!("{}/{connection}/{topic}", self.front_url);
        Ok(self.machine.engine.ports.http.send(request, Millis::secs(10)).await?)
    }

    /// Stops everything; the data folder goes unless it is to be kept.
    pub async fn stop(self) {
        // Whoever does not listen any more has stopped already.
        let _ = self.shutdown.send(());
        let _ = self.front.await;
        self.runtime.stop().await;
        for merchant in self.merchants {
            merchant.servers.0.shutdown().await;
            merchant.servers.1.shutdown().await;
        }
        if !self.keep {
            drop(self.machine);
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
