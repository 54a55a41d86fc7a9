//! The stage: sandboxes served over HTTP on loopback, and Tillway beside them on the embedded store.
//!
//! Merchants share one Tillway, each with a shop and a gateway account of its own: at each gateway one takes the
//! money at authorization and one on shipment; at Stripe one's shop makes the payments itself, at Cybersource one has two
//! merchant ids and one asks Decision Manager before the bank.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Context as _;
use async_trait::async_trait;
use tillway_connectors::{Secret, Secrets};
use tillway_core::ids::ConnectionName;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Clock, SecretError, SecretSource};
use tillway_local::clock::ScaledClock;
use tillway_local::notify::MemoryNotify;
use tillway_local::runtime::{EngineFront, Options, Runtime};
use tillway_local::server::{Limits, serve};
use tillway_sandbox::clarity::{Auth, ClarityConfig, ClaritySandbox, WebhookScheme};
use tillway_sandbox::cybersource::CybersourceSandbox;
use tillway_sandbox::server::{SandboxClock, SandboxServer};
use tillway_sandbox::stripe::StripeSandbox;

use super::gateway::{self, Account, CYBERSOURCE, Keys, Open, STRIPE, System, lock};
use crate::machine::{self, Machine};

/// What the demo's own shops are opened with. They exist on loopback for as long as the demo runs.
const SHOP_SECRET: &str = "sandbox-secret";
const SHOP_WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Seals the demo's personal data; drawn by nobody, for the data goes with the demo.
const MASTER_KEY: &str = "6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d";
/// The demo's first moment.
const EPOCH: &str = "2026-11-21T09:00:00Z";
/// Real milliseconds a silenced call hangs.
const SILENCE: u64 = 30;

struct Fixed(Keys);

/// The secrets of a connection of the play, by the system its name begins with.
pub fn secrets(connection: &str, keys: &Keys) -> Option<Vec<(&'static str, String)>> {
    let own = |pairs: &[(&'static str, &str)]| pairs.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
    match connection.split('-').next().unwrap_or_default() {
        "tillway" => Some(own(&[("master_key", MASTER_KEY)])),
        "shop" => Some(own(&[
            ("client_id", "tillway"),
            ("client_secret", SHOP_SECRET),
            ("webhook_secret", SHOP_WEBHOOK_SECRET),
        ])),
        system => gateway::secrets(system, keys),
    }
}

#[async_trait]
impl SecretSource for Fixed {
    async fn secrets(&self, connection: &str, _fresh: bool) -> Result<Secrets, SecretError> {
        let pairs =
            secrets(connection, &self.0).ok_or_else(|| SecretError::Missing(connection.to_owned()))?;
        Ok(Secrets(pairs.into_iter().map(|(n, v)| (n.to_owned(), vec![Secret::new(v)])).collect()))
    }
}

/// A merchant's part in the play.
struct Part {
    name: &'static str,
    /// What its order ids begin with; a further cast's number and a dash follow.
    prefix: &'static str,
    system: &'static System,
    initiates: &'static str,
    capture: &'static str,
    /// What else its gateway's connection and its pair say.
    more: [&'static str; 2],
}

const fn part(
    name: &'static str,
    prefix: &'static str,
    system: &'static System,
    pays: [&'static str; 2],
) -> Part {
    let [initiates, capture] = pays;
    Part { name, prefix, system, initiates, capture, more: ["", ""] }
}

impl Part {
    const fn saying(self, more: [&'static str; 2]) -> Self {
        Self { more, ..self }
    }
}

/// All merchants. Accounts draw their ids by the place here.
static CAST: [Part; 7] = [
    part("now", "N", &STRIPE, ["tillway", "authorization"]),
    part("ship", "S", &STRIPE, ["tillway", "shipment"]),
    part("follow", "F", &STRIPE, ["shop", "shipment"]),
    part("cnow", "CN", &CYBERSOURCE, ["tillway", "authorization"]),
    part("cship", "CS", &CYBERSOURCE, ["tillway", "shipment"]).saying(["", ", on_expired: release"]),
    part("croute", "CR", &CYBERSOURCE, ["tillway", "authorization"])
        .saying([", merchant_ids: [acme_test_002]", ", routing: { retry_soft_declines: yes }"]),
    part("cscreen", "CD", &CYBERSOURCE, ["tillway", "authorization"]).saying(["", ", screening: before"]),
];

/// The gateway a merchant has its account at.
pub fn system_of(merchant: &str) -> &'static System {
    CAST.iter().find(|part| part.name == merchant).map_or(&STRIPE, |part| part.system)
}

/// One shop with its gateway account.
pub struct Merchant {
    /// Name of the pair in the configuration: `now`, `ship`, `follow`; at Cybersource `cnow`, `cship`, `croute`, `cscreen`. In a
    /// further cast its number follows.
    pub name: String,
    /// The gateway's words.
    pub system: &'static System,
    /// The shop's connection.
    pub shop: ConnectionName,
    /// The gateway's connection.
    pub gateway: ConnectionName,
    part: &'static Part,
    account: Account,
    clarity: Arc<Mutex<ClaritySandbox>>,
    servers: (SandboxServer, SandboxServer),
}

impl Merchant {
    async fn open(
        part: &'static Part,
        cast: usize,
        seed: u64,
        keys: &Keys,
        clock: &SandboxClock,
    ) -> anyhow::Result<Self> {
        let Part { prefix, system, .. } = *part;
        let number = if cast == 0 { String::new() } else { cast.to_string() };
        let name = format!("{}{number}", part.name);
        let (account, server) = Account::open(system, seed, keys, clock).await?;
        let clarity = Arc::new(Mutex::new(ClaritySandbox::new(ClarityConfig {
            auth: Auth::OAuth { client_id: "tillway".into(), client_secret: SHOP_SECRET.into() },
            webhook: WebhookScheme::StandardWebhooks { secrets: vec![SHOP_WEBHOOK_SECRET.into()] },
            order_ids: format!("{prefix}{number}-"),
            seed,
            ..ClarityConfig::default()
        })));
        let servers = (server, SandboxServer::start(clarity.clone(), clock.clone(), None).await?);
        servers.0.set_silence_millis(SILENCE);
        servers.1.set_silence_millis(SILENCE);
        Ok(Self {
            system,
            shop: ConnectionName::new(format!("shop-{name}")),
            gateway: ConnectionName::new(format!("{}-{name}", system.key)),
            name,
            part,
            account,
            clarity,
            servers,
        })
    }

    /// The gateway's sandbox, whichever gateway it is.
    pub fn account(&self) -> Open<'_> {
        self.account.look()
    }

    /// The same as Stripe's.
    ///
    /// # Errors
    /// Where the account is elsewhere.
    pub fn stripe(&self) -> anyhow::Result<MutexGuard<'_, StripeSandbox>> {
        match self.account() {
            Open::Stripe(account) => Ok(account),
            Open::Cybersource(_) => anyhow::bail!("{} has no account at Stripe", self.name),
        }
    }

    /// The same as Cybersource's.
    ///
    /// # Errors
    /// Where the account is elsewhere.
    pub fn cybersource(&self) -> anyhow::Result<MutexGuard<'_, CybersourceSandbox>> {
        match self.account() {
            Open::Cybersource(account) => Ok(account),
            Open::Stripe(_) => anyhow::bail!("{} has no account at Cybersource", self.name),
        }
    }

    /// Webhooks of both go to `<front>/<connection>`.
    pub fn plug(&self, front: &str) {
        self.servers.0.set_webhook_base(Some(format!("{front}/{}", self.gateway)));
        self.servers.1.set_webhook_base(Some(format!("{front}/{}", self.shop)));
    }

    /// Closes both.
    pub async fn close(self) {
        self.servers.0.shutdown().await;
        self.servers.1.shutdown().await;
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
    /// The key pair of encrypted webhooks.
    pub keys: Keys,
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

/// Opens these merchants, and their sandboxes on free loopback ports. `casts`: names of [`CAST`]'s parts and how often each is there.
///
/// # Errors
/// Where no port can be bound.
pub async fn open(
    casts: impl Fn(&str, &'static System) -> usize,
    seed: u64,
    keys: &Keys,
    clock: &SandboxClock,
) -> anyhow::Result<Vec<Merchant>> {
    let mut merchants = Vec::new();
    for (n, part) in CAST.iter().enumerate() {
        for cast in 0..casts(part.name, part.system) {
            // Accounts of their own: no two of them draw the same ids.
            let place = u64::try_from(n.saturating_add(cast.saturating_mul(8))).unwrap_or(0);
            let cast_seed = seed.wrapping_mul(if cast == 0 { 8 } else { 1024 }).wrapping_add(place);
            merchants.push(Merchant::open(part, cast, cast_seed, keys, clock).await?);
        }
    }
    Ok(merchants)
}

/// Connections, and pairs, as a merchant would write them into the configuration file.
pub fn config(merchants: &[Merchant]) -> [String; 2] {
    let mut connections = String::new();
    for m in merchants {
        let [more, _] = m.part.more;
        connections.push_str(&format!(
            "  {}: {{ system: clarity, base_url: \"{}/api/v1\", rate_limit.per_second: 10000, \
             order.ip_address: device.ipAddress, order.device_session: device.sessionId }}\n  \
             {}: {{ system: {}, base_url: \"{}\", rate_limit.per_second: 10000, {}{} }}\n",
            m.shop,
            m.servers.1.url(),
            m.gateway,
            m.system.key,
            m.servers.0.url(),
            m.system.settings,
            more,
        ));
    }
    let mut pairs = String::new();
    for m in merchants {
        let Part { initiates, capture, more: [_, more], .. } = *m.part;
        pairs.push_str(&format!(
            "  {}: {{ flow: {}, shop: {}, gateway: {}, initiates: {initiates}, capture: {capture}, \
             on_total_lowered: refund, return_url: \"https://shop.example.com/checkout/return\"{more} }}\n",
            m.name, m.system.pair, m.shop, m.gateway,
        ));
    }
    [connections, pairs]
}

impl Stage {
    /// Starts everything that these gateways need on free loopback ports.
    ///
    /// # Errors
    /// What could not be started.
    pub async fn start(
        systems: &[&'static System],
        seed: u64,
        speed: u32,
        keep: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let epoch = Timestamp::parse_rfc3339(EPOCH).context("the demo's first moment")?;
        let clock = Arc::new(ScaledClock::start(epoch, speed));
        let sandbox_clock = {
            let clock = clock.clone();
            let read: SandboxClock = Arc::new(move || clock.now());
            read
        };
        let keys = Keys::make(seed)?;
        let once = |_: &str, system: &System| usize::from(systems.iter().any(|s| s.key == system.key));
        let merchants = open(once, seed, &keys, &sandbox_clock).await?;
        let [connections, pairs] = config(&merchants);
        let (config, extras) = tillway_engine::settings::load(
            "demo.yaml",
            &format!("connections:\n{connections}pairs:\n{pairs}"),
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
        let machine = machine::assemble(
            config,
            extras,
            &folder,
            clock.clone(),
            Arc::new(Fixed(keys.clone())),
            Some(notices.clone()),
        )
        .await?;
        // Sweeps are run by the scenarios, so that what they find can be shown.
        let options =
            Options { deciders: 4, actors: 4, sweep: Millis::days(3650), settle: None, ..Options::default() };
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
            m.plug(&front_url);
        }
        Ok(Self {
            merchants,
            keys,
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

    /// Stops everything; the data folder goes unless it is to be kept.
    pub async fn stop(self) {
        // Whoever does not listen any more has stopped already.
        let _ = self.shutdown.send(());
        let _ = self.front.await;
        self.runtime.stop().await;
        for merchant in self.merchants {
            merchant.close().await;
        }
        if !self.keep {
            drop(self.machine);
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
