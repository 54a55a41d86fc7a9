//! Tillway as it is run: a child process with its own data folder, between sandboxes on real sockets, and
//! the `tillway` commands on the same data.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value as Json;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::Clock as _;
use tillway_local::clock::SystemClock;
use tillway_sandbox::Sandbox;
use tillway_sandbox::clarity::{Auth, ClarityConfig, ClaritySandbox, WebhookScheme};
use tillway_sandbox::cybersource::{
    Credentials, CybersourceConfig, CybersourceSandbox, Encryption, WebhookConfig,
};
use tillway_sandbox::server::{SandboxClock, SandboxServer};
use tillway_sandbox::stripe::{StripeConfig, StripeSandbox};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::outside::lock;
use crate::temp::Temp;
use crate::world::{API_KEY, CLIENT_SECRET, GATEWAY, GATEWAY_HOOK, MASTER_KEY, SHOP, SHOP_HOOK};

/// Longest wait for anything; generous, for the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it is so, looking again and again.
pub async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "never so: {what}");
}

/// The same where looking takes a call.
pub async fn wait_for(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "never so: {what}");
}

/// Both outside systems on sockets, and a place for configuration, secrets and data.
pub struct Place<G = StripeSandbox> {
    exe: PathBuf,
    /// The gateway.
    pub gateway: Arc<Mutex<G>>,
    connection: &'static str,
    /// The shop.
    pub shop: Arc<Mutex<ClaritySandbox>>,
    servers: (SandboxServer, SandboxServer),
    /// The folder.
    pub folder: Temp,
    /// Every line any serve wrote, in order.
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Place {
    /// Opens both systems. `exe` is the `tillway` command; `more` goes to the end of the configuration.
    pub async fn open(exe: &str, pair: &str, more: &str) -> Self {
        let stripe = StripeSandbox::new(StripeConfig::new(API_KEY, GATEWAY_HOOK, 11)).with_schema_beside();
        let gateway = Side {
            sandbox: stripe,
            connection: GATEWAY,
            settings: "system: stripe",
            pair: format!("flow: stripe-clarity, return_url: \"https://shop.example/return\"{pair}"),
            secrets: vec![("api_key", API_KEY.to_owned()), ("webhook_secret", GATEWAY_HOOK.to_owned())],
        };
        Self::between(exe, gateway, more).await
    }

    /// The gateway.
    pub fn stripe(&self) -> MutexGuard<'_, StripeSandbox> {
        lock(&self.gateway)
    }
}

/// Connection of Cybersource.
pub const CYBERSOURCE: &str = "signed";
/// Made up; signs its calls: `canary of the REST shared secret`.
pub const CYBERSOURCE_SECRET: &str = "Y2FuYXJ5IG9mIHRoZSBSRVNUIHNoYXJlZCBzZWNyZXQ=";
/// Made up; signs its webhooks: `canary of the digital signature`.
pub const CYBERSOURCE_HOOK: &str = "Y2FuYXJ5IG9mIHRoZSBkaWdpdGFsIHNpZ25hdHVyZQ==";
/// Names the key that signs webhooks.
pub const CYBERSOURCE_HOOK_ID: &str = "aaaabbbb-cccc-dddd-eeee-ffff00001111";

impl Place<CybersourceSandbox> {
    /// The same with Cybersource in place of Stripe, its webhooks about payments encrypted; answers the private key too.
    pub async fn with_cybersource(exe: &str, more: &str) -> (Self, String) {
        let (encryption, pem) = Encryption::made_of(b"end to end").unwrap();
        let hooks = WebhookConfig::new(CYBERSOURCE_HOOK_ID, CYBERSOURCE_HOOK, Some(encryption));
        let credentials = Credentials::new("acme_test_001", "key-1", CYBERSOURCE_SECRET);
        let mut config = CybersourceConfig::new(credentials, hooks, 11);
        // Indexed at once: a read that comes too early is made again with a later tick, and a process waits in real time.
        (config.search_lag, config.detail_lag) = (Millis(0), Millis(0));
        // For the same reason a day's report is there while it lasts.
        config.report_after = Millis::days(-1);
        let gateway = Side {
            sandbox: CybersourceSandbox::new(config),
            connection: CYBERSOURCE,
            settings: "system: cybersource, merchant_id: acme_test_001, key_id: key-1",
            pair: "flow: cybersource-clarity".to_owned(),
            secrets: vec![
                ("shared_secret", CYBERSOURCE_SECRET.to_owned()),
                ("webhook_secret", format!("{CYBERSOURCE_HOOK_ID}:{CYBERSOURCE_HOOK}")),
                // To a line, as the file has it.
                ("mle_private_key", pem.replace('\n', "")),
            ],
        };
        (Self::between(exe, gateway, more).await, pem)
    }

    /// The gateway.
    pub fn cybersource(&self) -> MutexGuard<'_, CybersourceSandbox> {
        lock(&self.gateway)
    }
}

/// A gateway and how the configuration names it.
struct Side<G> {
    sandbox: G,
    connection: &'static str,
    settings: &'static str,
    pair: String,
    secrets: Vec<(&'static str, String)>,
}

impl<G: Sandbox + 'static> Place<G> {
    async fn between(exe: &str, side: Side<G>, more: &str) -> Self {
        let now: SandboxClock = Arc::new(|| SystemClock.now());
        let Side { sandbox, connection, settings, pair, secrets } = side;
        let gateway = Arc::new(Mutex::new(sandbox));
        let shop = Arc::new(Mutex::new(ClaritySandbox::new(ClarityConfig {
            auth: Auth::OAuth { client_id: "tillway".into(), client_secret: CLIENT_SECRET.into() },
            webhook: WebhookScheme::StandardWebhooks { secrets: vec![SHOP_HOOK.into()] },
            seed: 11,
            ..ClarityConfig::default()
        })));
        let servers = (
            SandboxServer::start(gateway.clone(), now.clone(), None).await.unwrap(),
            SandboxServer::start(shop.clone(), now, None).await.unwrap(),
        );
        let folder = Temp::new("place");
        folder.write(
            "tillway.yaml",
            &format!(
                "connections:\n  {SHOP}: {{ system: clarity, base_url: \"{}/api/v1\", rate_limit.per_second: 10000 }}\n  \
                 {connection}: {{ {settings}, base_url: \"{}\", rate_limit.per_second: 10000 }}\npairs:\n  main: {{ \
                 shop: {SHOP}, gateway: {connection}, {pair} }}\n{more}",
                servers.1.url(),
                servers.0.url(),
            ),
        );
        let own: String =
            secrets.iter().map(|(name, value)| format!("{connection}.{name} = {}\n", value)).collect();
        let secrets = folder.write(
            "secrets",
            &format!(
                "tillway.master_key = {MASTER_KEY}\n{own}{SHOP}.client_id = tillway\n{SHOP}.client_secret = \
                 {CLIENT_SECRET}\n{SHOP}.webhook_secret = {SHOP_HOOK}\n"
            ),
        );
        mode(&secrets, 0o600);
        Self { exe: exe.into(), gateway, connection, shop, servers, folder, log: Arc::default() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        SystemClock.now()
    }
    /// The shop.
    pub fn shop(&self) -> MutexGuard<'_, ClaritySandbox> {
        lock(&self.shop)
    }
    /// The status the shop shows.
    #[must_use]
    pub fn status(&self, order: &str) -> String {
        self.shop().order(order).map(|o| o.status_text.clone()).unwrap_or_default()
    }
    /// Waits for the shop to show a status.
    pub async fn until_status(&self, order: &str, status: &str) {
        wait_until(&format!("{order} is {status}"), || self.status(order) == status).await;
    }
    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Webhooks go nowhere until the next serve.
    pub fn unplug(&self) {
        self.servers.0.set_webhook_base(None);
        self.servers.1.set_webhook_base(None);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.exe);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.env("USER", "tester").env_remove("SUDO_USER");
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, args: &[&str]) -> Ran {
        let output = tokio::time::timeout(PATIENCE, self.command().args(args).output());
        Ran::from(output.await.expect("the command did not end").unwrap())
    }

    /// Runs a command on this place's configuration and data.
    pub async fn on_data(&self, args: &[&str]) -> Ran {
        let (config, data) = (self.folder.path().join("tillway.yaml"), self.data());
        let mut all = args.to_vec();
        let (config, data) = (config.display().to_string(), data.display().to_string());
        all.extend(["--config", &config, "--data", &data]);
        self.run(&all).await
    }

    /// Starts `serve` and plugs the webhooks in.
    pub async fn serve(&self) -> Serving {
        let config = self.folder.path().join("tillway.yaml");
        let mut command = self.command();
        command.arg("serve").arg("--config").arg(config).arg("--data").arg(self.data());
        command.args(["--listen", "127.0.0.1:0", "--workers", "4"]).env("TILLWAY_LOG", "debug,hyper=info");
        let mut child = command.spawn().unwrap();
        let from = lock(&self.log).len();
        gather(child.stdout.take().unwrap(), self.log.clone());
        gather(child.stderr.take().unwrap(), self.log.clone());
        let address = || {
            let log = lock(&self.log);
            let lines = log.get(from..).unwrap_or_default();
            let serving = |line: &String| {
                let line: Json = serde_json::from_str(line).ok()?;
                (line["message"] == "serving").then(|| line["listen"].as_str().unwrap_or_default().to_owned())
            };
            lines.iter().find_map(serving)
        };
        wait_until("serve listens", || address().is_some()).await;
        let address = address().unwrap();
        self.servers.0.set_webhook_base(Some(format!("http://{address}/webhooks/{}", self.connection)));
        self.servers.1.set_webhook_base(Some(format!("http://{address}/webhooks/{SHOP}")));
        Serving { child, address }
    }
}

fn gather(stream: impl AsyncRead + Unpin + Send + 'static, into: Arc<Mutex<Vec<String>>>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            lock(&into).push(line);
        }
    });
}

/// Sets a file's mode.
pub fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A running serve.
pub struct Serving {
    child: Child,
    /// `127.0.0.1:<port>`.
    pub address: String,
}

impl Serving {
    /// SIGKILL: no chance to finish anything.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; waits for the end.
    pub async fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
        assert!(told.success());
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("serve did not stop").unwrap()
    }
}

/// What a command said.
pub struct Ran {
    /// Exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Ran {
    /// It went well; answers what it said.
    #[must_use]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "out: {}\nerr: {}", self.out, self.err);
        self.out
    }
    /// It failed; answers why.
    #[must_use]
    pub fn failed(self) -> String {
        assert_ne!(self.code, Some(0), "out: {}", self.out);
        self.err
    }
    /// It went well and said this as JSON.
    #[must_use]
    pub fn json(self) -> Json {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }
}
