//! A function that lacks something, as a process of its own: it ends at once with one line of the log that names what, and shows no
//! secret. AWS is a sandbox on loopback that gives out secrets and has an empty table.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests start processes with environments of their own"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tillway_cloud_tests::{Aws, MASTER_KEY, PATIENCE};
use tillway_engine::ports::Clock as _;
use tillway_sandbox::server::SandboxServer;
use tillway_tests::outside::lock;
use tillway_tests::temp::Temp;
use tillway_tests::world::{API_KEY, CLIENT_SECRET, GATEWAY_HOOK};
use tokio::process::Command;

/// Receives, acts, runs by a schedule: with and without a system's secrets of its own.
const RECEIVE: (&str, &str) = ("stripe-payments", env!("CARGO_BIN_EXE_stripe-payments"));
const WORKER: (&str, &str) = ("act-stripe", env!("CARGO_BIN_EXE_act-stripe"));
const TICK: (&str, &str) = ("tick", env!("CARGO_BIN_EXE_tick"));
const SWEEP: (&str, &str) = ("sweep-stripe", env!("CARGO_BIN_EXE_sweep-stripe"));
const ALL: [(&str, &str); 4] = [RECEIVE, WORKER, TICK, SWEEP];
/// The key that a half-configured function would have; nowhere may it be shown.
const INTAKE_KEY: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
/// What a person typed in a wrong place.
const CANARY: &str = "canary-typed-in-a-wrong-place";

const CONFIG: &str = "connections:\n  shop: { system: clarity, base_url: \"http://127.0.0.1:9/api/v1\" }\n  \
    stripe: { system: stripe, base_url: \"http://127.0.0.1:9\" }\n\
    pairs:\n  main: { flow: stripe-clarity, shop: shop, gateway: stripe, return_url: \"https://shop.example/return\" }\n";

/// What a function is started with.
struct Place {
    aws: Arc<Mutex<Aws>>,
    server: SandboxServer,
    folder: Temp,
}

impl Place {
    async fn open() -> Self {
        let aws = Arc::new(Mutex::new(Aws::default()));
        let clock = Arc::new(|| tillway_host::clock::SystemClock.now());
        let server = SandboxServer::start(aws.clone(), clock, None).await.unwrap();
        let place = Self { aws, server, folder: Temp::new("start") };
        place.folder.write("tillway.yaml", CONFIG);
        place.whole();
        place
    }

    /// Every secret as it should be.
    fn whole(&self) {
        for (name, values) in [
            ("tillway", json!({ "master_key": MASTER_KEY })),
            ("intake", json!({ "key": INTAKE_KEY })),
            ("stripe", json!({ "api_key": API_KEY, "webhook_secret": GATEWAY_HOOK })),
            ("shop", json!({ "client_id": "tillway", "client_secret": CLIENT_SECRET })),
        ] {
            self.secret(name, Some(&values.to_string()));
        }
    }

    fn secret(&self, name: &str, text: Option<&str>) {
        lock(&self.aws).secrets.insert(format!("tillway/dev/{name}"), text.map(str::to_owned));
    }

    /// All that the template sets, and where this machine's AWS is.
    fn environment(&self) -> BTreeMap<String, String> {
        let queue = |name: &str| format!("{}/000000000000/tillway-dev-{name}", self.server.url());
        let runtime = self.server.url().trim_start_matches("http://").to_owned();
        [
            ("AWS_ENDPOINT_URL", self.server.url()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "none".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", CLIENT_SECRET.to_owned()),
            ("AWS_LAMBDA_RUNTIME_API", runtime),
            ("AWS_LAMBDA_FUNCTION_NAME", "tillway-dev-x".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "x".to_owned()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "x".to_owned()),
            ("TILLWAY_ENV", "tillway-dev".to_owned()),
            ("TILLWAY_CONFIG", self.folder.path().join("tillway.yaml").display().to_string()),
            ("TILLWAY_SECRETS", "tillway/dev".to_owned()),
            ("TILLWAY_ALERTS", "arn:aws:sns:us-east-1:000000000000:tillway-dev-alerts".to_owned()),
            ("TILLWAY_CLAIMS", "tillway-dev-claims".to_owned()),
            ("TILLWAY_TABLE", "tillway-dev".to_owned()),
            ("TILLWAY_QUEUE_EVENTS", queue("events.fifo")),
            ("TILLWAY_QUEUE_COMMANDS_STRIPE", queue("commands-stripe")),
            ("TILLWAY_QUEUE_COMMANDS_CLARITY", queue("commands-clarity")),
            ("TILLWAY_QUEUE_COMMANDS_NOTIFY", queue("commands-notify")),
            ("TILLWAY_LOG", "info".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// Starts a function that cannot start; answers what it says of it.
    async fn refused(
        &self,
        function: (&str, &str),
        change: impl Fn(&mut BTreeMap<String, String>),
    ) -> String {
        let mut environment = self.environment();
        change(&mut environment);
        let mut command = Command::new(function.1);
        command.env_clear().envs(environment).stdin(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        let ran = ended.unwrap_or_else(|_| panic!("{} goes on", function.0)).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&ran.stdout), text(&ran.stderr));
        assert_eq!(ran.status.code(), Some(1), "{}: {out}{err}", function.0);
        assert_eq!((out.lines().count(), err.as_str()), (1, ""), "{}: one line: {out}", function.0);
        for secret in [MASTER_KEY, INTAKE_KEY, API_KEY, GATEWAY_HOOK, CLIENT_SECRET, CANARY] {
            assert!(!out.contains(secret), "{}: a secret is shown", function.0);
        }
        let line: Json = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{}: {e}: {out}", function.0));
        assert_eq!((line["level"].as_str(), line["code"].as_str()), (Some("ERROR"), Some("start")), "{out}");
        let said = line["message"].as_str().unwrap().to_owned();
        assert!(said.starts_with("the function cannot start: "), "{said}");
        assert!(!said.contains('\n'), "one line, where the log is shown as text too: {said}");
        println!("{}: {said}", function.0);
        said
    }
}

/// With all it needs each of them asks for its first invocation: what stops it below is what is missing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_it_needs_a_function_starts() {
    let place = Place::open().await;
    for (name, exe) in ALL {
        lock(&place.aws).ready = 0;
        let mut command = Command::new(exe);
        command.env_clear().envs(place.environment()).stdin(Stdio::null()).kill_on_drop(true);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let asked = tokio::time::timeout(PATIENCE, async {
            while lock(&place.aws).ready == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(asked.await.is_ok(), "{name} never asks for an invocation");
        child.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_is_missing_or_malformed_is_named() {
    let place = Place::open().await;
    let common =
        ["TILLWAY_ENV", "TILLWAY_SECRETS", "TILLWAY_ALERTS", "TILLWAY_CLAIMS", "TILLWAY_QUEUE_EVENTS"];
    let commands = ["STRIPE", "CLARITY", "NOTIFY"].map(|system| format!("TILLWAY_QUEUE_COMMANDS_{system}"));
    for function in ALL {
        let mut needed: Vec<&str> = common.to_vec();
        if function != RECEIVE {
            needed.push("TILLWAY_TABLE");
        }
        if function == TICK {
            needed.extend(commands.iter().map(String::as_str));
        }
        for name in needed {
            let gone = place.refused(function, |env| drop(env.remove(name))).await;
            assert!(gone.contains(&format!("the variable {name} is not set")), "{gone}");
        }
        let empty =
            place.refused(function, |env| drop(env.insert("TILLWAY_ENV".into(), String::new()))).await;
        assert!(empty.contains("TILLWAY_ENV"), "{empty}");
    }
    for (function, name, value) in [
        (RECEIVE, "TILLWAY_ALLOW", "192.0.2.0/33"),
        (WORKER, "TILLWAY_CONCURRENCY", "many"),
        (TICK, "TILLWAY_CONCURRENCY", "0"),
        (SWEEP, "TILLWAY_CONCURRENCY", "-1"),
    ] {
        let said = place.refused(function, |env| drop(env.insert(name.into(), value.into()))).await;
        assert!(said.contains(&format!("the variable {name} is not ")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_missing_or_malformed_is_named() {
    let place = Place::open().await;
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |env: &mut BTreeMap<String, String>| drop(env.insert("TILLWAY_CONFIG".to_owned(), path.clone()))
    };
    for function in ALL {
        let nowhere = place.folder.path().join("nowhere.yaml");
        let said = place.refused(function, at(&nowhere)).await;
        assert!(said.contains("configuration: ") && said.contains("nowhere.yaml"), "{said}");
        for (name, text, field) in [
            ("no-yaml", "connections: [\n".to_owned(), "no-yaml.yaml"),
            ("system", CONFIG.replace("system: stripe", "system: strype"), "strype"),
            ("setting", CONFIG.replace("system: stripe,", "system: stripe, base_ulr: x,"), "base_ulr"),
            ("two", CONFIG.replace("system: stripe,", "system: stripe, base_ulr: x, mode: y,"), "base_ulr"),
        ] {
            let file = place.folder.write(&format!("{name}.yaml"), &text);
            let said = place.refused(function, at(&file)).await;
            assert!(said.contains(&format!("{name}.yaml")) && said.contains(field), "{name}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_missing_or_malformed_is_named() {
    let place = Place::open().await;
    let untouched = |_: &mut BTreeMap<String, String>| {};
    let odd = format!("{{\"api_key\": \"{CANARY}\"");
    let short = json!({ "master_key": CANARY }).to_string();
    let key = json!({ "key": CANARY }).to_string();
    let other = json!({ "apikey": CANARY }).to_string();
    let number = json!({ "api_key": 7, "webhook_secret": [], "other": CANARY }).to_string();
    for (function, secret, text, named) in [
        (RECEIVE, "stripe", None, "tillway/dev/stripe"),
        (RECEIVE, "stripe", Some(odd.as_str()), "tillway/dev/stripe: not JSON"),
        (RECEIVE, "stripe", Some(other.as_str()), "webhook_secret"),
        (RECEIVE, "stripe", Some(number.as_str()), "is neither a text nor a list of texts"),
        (RECEIVE, "intake", None, "tillway/dev/intake"),
        (RECEIVE, "intake", Some(key.as_str()), "intake"),
        (RECEIVE, "intake", Some(CANARY), "tillway/dev/intake: not JSON"),
        (WORKER, "stripe", None, "tillway/dev/stripe"),
        (WORKER, "stripe", Some(other.as_str()), "api_key"),
        (WORKER, "stripe", Some(odd.as_str()), "tillway/dev/stripe: not JSON"),
        (WORKER, "tillway", None, "tillway/dev/tillway"),
        (WORKER, "tillway", Some(short.as_str()), "master_key"),
        (SWEEP, "stripe", None, "tillway/dev/stripe"),
        (SWEEP, "stripe", Some(other.as_str()), "api_key"),
        (TICK, "tillway", None, "tillway/dev/tillway"),
        (TICK, "tillway", Some("{}"), "master_key"),
        (TICK, "tillway", Some(short.as_str()), "master_key"),
        (TICK, "tillway", Some(CANARY), "tillway/dev/tillway: not JSON"),
    ] {
        place.whole();
        place.secret(secret, text);
        let said = place.refused(function, untouched).await;
        assert!(said.contains(named), "{}: {secret}: {said}", function.0);
    }
}
