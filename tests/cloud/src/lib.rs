//! A local AWS with the whole bundle on it, between sandboxes on sockets.
//!
//! `tests/aws/serve.py` starts the emulator, deploys `infra/template.yaml` with the functions that were built, and
//! answers questions; this side plays the outside world and looks into the table as `explain` does.

// Helpers of tests: a failure here is a failed test, and says where it happened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test helpers fail by panicking"
)]

mod aws;
mod chat;
mod clock;
pub mod look;
mod mail;
mod stack;
pub mod theatre;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tillway::demo::gateway::Keys;
use tillway::demo::stage::Merchant;
use tillway_core::http::{Request, Response};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::Clock as _;
use tillway_sandbox::clarity::{Auth, ClarityConfig, ClaritySandbox, WebhookScheme};
use tillway_sandbox::cybersource::{
    Credentials, CybersourceConfig, CybersourceSandbox, Encryption, WebhookConfig,
};
use tillway_sandbox::server::{SandboxClock, SandboxServer};
use tillway_sandbox::stripe::{PaymentTruth, StripeConfig, StripeSandbox};
use tillway_tests::child::Ran;
use tillway_tests::outside::lock;
use tillway_tests::temp::Temp;
use tillway_tests::world::{API_KEY, CLIENT_SECRET, GATEWAY, GATEWAY_HOOK, SHOP, SHOP_HOOK};
use tokio::io::AsyncWriteExt as _;

pub use aws::Aws;
pub use chat::Chat;
pub use clock::Ahead;
pub use mail::Mail;
pub use stack::{Given, Stack};

/// Longest wait for anything; generous, for the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Seals; a canary, as the other secrets are.
pub const MASTER_KEY: &str = tillway_tests::world::MASTER_KEY;

/// Systems that have a queue of commands.
pub const SYSTEMS: [&str; 4] = ["stripe", "cybersource", "clarity", "notify"];
/// Connection of the second gateway.
pub const SECOND: &str = "cybersource";
/// The second gateway's shared secret, and what signs its webhooks: bytes 0 to 31.
pub const SECOND_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// What the first gateway's key is replaced by for a while.
pub const SECOND_API_KEY: &str = "sk_test_canary_of_the_key_after_it";
/// Draws what the demo's merchants have.
pub const SEED: u64 = 7;
const MERCHANT: &str = "acme_test_001";
const KEY_ID: &str = "11111111-2222-3333-4444-555555555555";

/// What may be shown nowhere.
#[must_use]
pub const fn canaries() -> [&'static str; 7] {
    [API_KEY, CLIENT_SECRET, GATEWAY_HOOK, MASTER_KEY, SHOP_HOOK, SECOND_KEY, SECOND_API_KEY]
}

/// Side by side, on one task.
pub async fn together<T>(all: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::future::join_all(all).await
}

/// The local AWS, the bundle on it, and the outside systems: one shop with two gateways.
pub struct Cloud {
    /// The gateway.
    pub stripe: Arc<Mutex<StripeSandbox>>,
    /// The shop's other gateway.
    pub cybersource: Arc<Mutex<CybersourceSandbox>>,
    /// The shop.
    pub shop: Arc<Mutex<ClaritySandbox>>,
    /// Where staff are told.
    pub chat: Arc<Mutex<Chat>>,
    /// Where customers are told.
    pub mail: Mail,
    /// Everybody's clock.
    pub clock: Arc<Ahead>,
    /// The emulator.
    pub stack: Stack,
    servers: [SandboxServer; 4],
    exe: PathBuf,
    folder: Temp,
}

/// The configuration of both deployments: money is taken at authorization, or on shipment. The merchants of the demo stand in it.
fn config(servers: &[SandboxServer; 4], merchants: &[Merchant], mail: u16, capture: &str) -> String {
    let [connections, pairs] = tillway::demo::stage::config(merchants);
    format!(
        "connections:\n  {SHOP}: {{ system: clarity, base_url: \"{}/api/v1\", rate_limit.per_second: 1000 }}\n  \
         {GATEWAY}: {{ system: stripe, base_url: \"{}\", rate_limit.per_second: 1000 }}\n  \
         {SECOND}: {{ system: cybersource, base_url: \"{}\", merchant_id: {MERCHANT}, key_id: {KEY_ID}, \
         allow_from: [127.0.0.0/8, \"::1/128\"], rate_limit.per_second: 1000 }}\n{connections}\
         pairs:\n  main: {{ flow: stripe-clarity, shop: {SHOP}, gateway: {GATEWAY}, capture: {capture}, \
         return_url: \"https://shop.example/return\" }}\n  second: {{ flow: cybersource-clarity, shop: {SHOP}, \
         gateway: {SECOND}, capture: {capture} }}\n{pairs}\
         people: {{ webhook: yes, smtp: {{ host: 127.0.0.1, port: {mail}, tls: none, from: \"Shop <shop@shop.example>\" }} }}\n\
         times: {{ call_limit: 30s }}\n",
        servers[1].url(),
        servers[0].url(),
        servers[3].url(),
    )
}

impl Cloud {
    /// Deploys, with what the merchants of the demo need as well. `binaries`: the folder of the built functions. `casts`: how often
    /// each merchant of the demo is there.
    pub async fn start(
        python: &str,
        binaries: &Path,
        casts: impl Fn(&str) -> usize,
    ) -> (Self, Vec<Merchant>) {
        let folder = Temp::new("cloud");
        let clock = Arc::new(Ahead::new(&folder.path().join("clock")));
        let now: SandboxClock = {
            let clock = clock.clone();
            Arc::new(move || clock.now())
        };
        let keys = Keys::make(SEED).unwrap();
        let merchants = tillway::demo::stage::open(|part, _| casts(part), SEED, &keys, &now).await.unwrap();
        let mut gateway = StripeConfig::new(API_KEY, GATEWAY_HOOK, 23);
        let wanted = tillway_connectors::find("stripe").unwrap().subscriptions();
        gateway.endpoint_topics = wanted
            .iter()
            // As `webhooks register` makes them where it is not asked for more.
            .filter(|s| s.purpose != tillway_connectors::Purpose::Later)
            .flat_map(|s| s.types.iter().map(|t| ((*t).to_owned(), s.topic.to_owned())))
            .collect();
        let stripe = Arc::new(Mutex::new(StripeSandbox::new(gateway).with_schema_beside()));
        let shop = Arc::new(Mutex::new(ClaritySandbox::new(ClarityConfig {
            auth: Auth::OAuth { client_id: "tillway".into(), client_secret: CLIENT_SECRET.into() },
            webhook: WebhookScheme::StandardWebhooks { secrets: vec![SHOP_HOOK.into()] },
            seed: 23,
            ..ClarityConfig::default()
        })));
        let (encryption, private_key) = Encryption::made_of(b"a key of the local aws").unwrap();
        let hooks = WebhookConfig::new("aaaabbbb-cccc-dddd-eeee-ffff00001111", SECOND_KEY, Some(encryption));
        let credentials = Credentials::new(MERCHANT, KEY_ID, SECOND_KEY);
        let mut second = CybersourceConfig::new(credentials, hooks, 23);
        // Half a day away: no run meets it.
        second.cut_off = Millis((clock.now().0 + Millis::hours(12).0).rem_euclid(Millis::days(1).0));
        let cybersource = Arc::new(Mutex::new(CybersourceSandbox::new(second)));
        let chat = Arc::new(Mutex::new(Chat::default()));
        let servers = [
            SandboxServer::start(stripe.clone(), now.clone(), None).await.unwrap(),
            SandboxServer::start(shop.clone(), now.clone(), None).await.unwrap(),
            SandboxServer::start(chat.clone(), now.clone(), None).await.unwrap(),
            SandboxServer::start(cybersource.clone(), now, None).await.unwrap(),
        ];
        servers[0].set_silence_millis(50);
        servers[3].set_silence_millis(50);
        let mail = Mail::start().await;
        let file = folder.write("tillway.yaml", &config(&servers, &merchants, mail.port, "authorization"));
        folder.write("shipment.yaml", &config(&servers, &merchants, mail.port, "shipment"));
        let mut secrets = serde_json::json!({
            "tillway": { "master_key": MASTER_KEY },
            GATEWAY: { "api_key": API_KEY, "webhook_secret": GATEWAY_HOOK },
            SECOND: { "shared_secret": SECOND_KEY, "webhook_secret": SECOND_KEY, "mle_private_key": private_key },
            SHOP: { "client_id": "tillway", "client_secret": CLIENT_SECRET, "webhook_secret": SHOP_HOOK },
            "staff": { "webhook_url": format!("{}/staff", servers[2].url()) },
            "smtp": { "username": "tillway", "password": CLIENT_SECRET },
        });
        let mut connections = BTreeMap::new();
        for merchant in &merchants {
            for (name, system) in [(&merchant.gateway, merchant.system.key), (&merchant.shop, "clarity")] {
                let own: BTreeMap<&str, String> =
                    tillway::demo::stage::secrets(name.as_str(), &keys).unwrap().into_iter().collect();
                secrets[name.as_str()] = serde_json::json!(own);
                connections.insert(name.to_string(), system.to_owned());
            }
        }
        let aws = folder.path().join("aws");
        let given =
            Given { binaries, config: &file, secrets, connections, clock: clock.clone(), folder: &aws };
        let stack = Stack::deploy(python, given).await;
        let exe = binaries.join("tillway-under-test");
        let cloud = Self { stripe, cybersource, shop, chat, mail, clock, stack, servers, exe, folder };
        for merchant in &merchants {
            merchant.plug(&format!("{}/webhooks", cloud.stack.url()));
        }
        cloud.plug();
        (cloud, merchants)
    }

    /// Webhooks go to the API.
    pub fn plug(&self) {
        self.servers[0].set_webhook_base(Some(format!("{}/webhooks/{GATEWAY}", self.stack.url())));
        self.servers[1].set_webhook_base(Some(format!("{}/webhooks/{SHOP}", self.stack.url())));
        self.servers[3].set_webhook_base(Some(format!("{}/webhooks/{SECOND}", self.stack.url())));
    }

    /// Money is taken on shipment from now on: another configuration, deployed over what runs.
    pub async fn capture_on_shipment(&mut self) {
        let file = self.folder.path().join("shipment.yaml").display().to_string();
        let parameters = serde_json::json!({ "ConfigPath": file });
        self.stack.ask(serde_json::json!({ "do": "deploy", "parameters": parameters })).await;
    }

    /// How long a call hangs whose answer is lost.
    pub fn hang(&self, length: Duration) {
        self.servers[0].set_silence_millis(u64::try_from(length.as_millis()).unwrap());
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
    /// How often webhooks were refused so far, by code.
    pub async fn refused(&self) -> BTreeMap<String, u64> {
        let metrics = self.stack.ask(serde_json::json!({ "do": "metrics" })).await;
        let counted = metrics["receive_refused"].as_object().cloned().unwrap_or_default();
        counted.into_iter().map(|(code, n)| (code, n.as_u64().unwrap_or(0))).collect()
    }
    /// The gateway.
    pub fn stripe(&self) -> MutexGuard<'_, StripeSandbox> {
        lock(&self.stripe)
    }
    /// The second gateway.
    pub fn cybersource(&self) -> MutexGuard<'_, CybersourceSandbox> {
        lock(&self.cybersource)
    }
    /// The shop.
    pub fn shop(&self) -> MutexGuard<'_, ClaritySandbox> {
        lock(&self.shop)
    }

    /// Places an order of 47.12 dollars, to be paid at the first gateway.
    pub fn place(&self, order: &str, token: &str) {
        self.place_at(order, "stripe", token);
    }
    /// Places an order of 47.12 dollars, to be paid at a gateway of this system.
    pub fn place_at(&self, order: &str, system: &str, token: &str) {
        let mut new = tillway_tests::world::new_order(order, "USD", Some(token));
        new.gateway = Some(system.to_owned());
        let now = self.now();
        self.shop().place_order(now, new).unwrap();
    }
    /// The status the shop shows.
    #[must_use]
    pub fn status(&self, order: &str) -> String {
        self.shop().order(order).map(|o| o.status_text.clone()).unwrap_or_default()
    }
    /// What was charged for an order.
    #[must_use]
    pub fn payments(&self, order: &str) -> Vec<PaymentTruth> {
        self.stripe().payments_by_metadata("clarity_order_id", order)
    }
    /// The id of an order's one payment.
    #[must_use]
    pub fn payment(&self, order: &str) -> PaymentTruth {
        let mut all = self.payments(order);
        assert_eq!(all.len(), 1, "payments of {order}: {all:?}");
        all.remove(0)
    }
    /// Charged exactly once, for this much.
    pub fn charged_once(&self, order: &str, minor: i64) {
        let charges: usize = self.payments(order).iter().map(|p| p.charges_succeeded).sum();
        let captured: i64 = self.payments(order).iter().map(|p| p.captured).sum();
        assert_eq!((charges, captured), (1, minor), "charges and money of {order}");
    }

    /// Waits until it is so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if waited.await.is_err() {
            let parked = self.stack.engine().parked().await.unwrap();
            let parked: Vec<&str> = parked.iter().map(|p| p.item.what.as_str()).collect();
            panic!("never so: {what}; parked: {parked:?}");
        }
    }
    /// Waits until the shop shows this status.
    pub async fn until_status(&self, order: &str, status: &str) {
        self.until(&format!("{order} is {status}"), |c| c.status(order) == status).await;
    }
    /// Waits until staff were told.
    pub async fn until_told(&self, order: &str, about: &str) {
        let told = |c: &Self| lock(&c.chat).posts.iter().any(|p| p.contains(order) && p.contains(about));
        self.until(&format!("staff are told of {order}: {about}"), told).await;
    }
    /// Waits until the order's own record says so; what the shop shows may come before it.
    pub async fn until_known(&self, order: &str, status: &str) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while look::status(self.stack.engine(), order).await.as_deref() != Some(status) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(waited.await.is_ok(), "{order} is never known to be {status}");
    }
    /// Waits until nothing is under way: no message, no webhook, no command.
    pub async fn rest(&self) {
        let waited = tokio::time::timeout(PATIENCE, async {
            let mut still = 0;
            while still < 5 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let hooks = self.stripe().deliveries_open()
                    + self.cybersource().deliveries_open()
                    + tillway_sandbox::Sandbox::in_flight(&*self.shop());
                let busy = hooks > 0 || look::messages(self.stack.engine()).await > 0;
                still = if busy { 0 } else { still + 1 };
            }
        });
        assert!(waited.await.is_ok(), "it does not come to rest");
    }

    /// Runs the `tillway` command on the stack by everybody's clock, with this on its standard input.
    pub async fn run(&self, args: &[&str], given: &str) -> Ran {
        let config = self.folder.path().join("tillway.yaml");
        let mut command = tokio::process::Command::new(&self.exe);
        command.args(args).arg("--config").arg(config).args(["--aws", "tillway-dev"]);
        command.env_clear().envs(self.stack.environment()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("no command: `cargo build -p tillway-tests` makes it");
        child.stdin.take().unwrap().write_all(given.as_bytes()).await.unwrap();
        Ran::from(child.wait_with_output().await.unwrap())
    }

    /// Runs the command, which does what it is asked for; answers all it said.
    pub async fn command(&self, args: &[&str]) -> String {
        let ran = self.run(args, "").await;
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, Some(0), "{args:?}: {said}");
        said
    }

    /// Writes a file for a command; answers its path.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> String {
        self.folder.write(name, text).display().to_string()
    }

    /// Posts to the API as anybody could.
    pub async fn post(&self, path: &str, mut request: Request) -> Response {
        request.url = format!("{}{path}", self.stack.url());
        self.stack.engine().ports.http.send(request, Millis::secs(30)).await.unwrap()
    }
}
