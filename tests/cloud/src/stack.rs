//! `tests/aws/serve.py` as a child: one JSON line in, one out; and an engine over the same table and queues, which
//! works nothing and is asked what is known.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use tillway_aws::claims::S3Claims;
use tillway_aws::clients::Clients;
use tillway_aws::queue::SqsQueue;
use tillway_aws::shelf::S3Shelf;
use tillway_aws::store::DynamoStore;
use tillway_connectors::http::live::{AddressPolicy, LiveHttp};
use tillway_connectors::{Secret, Secrets};
use tillway_engine::ports::{Alert, Alerts, Entropy, Notice, Notify, NotifyError, SecretError, SecretSource};
use tillway_engine::records::{EVENTS, command_queue};
use tillway_engine::{Engine, Ports};
use tillway_host::entropy::OsEntropy;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::clock::Ahead;

/// The local AWS.
pub struct Stack {
    child: Child,
    talk: tokio::sync::Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    place: Json,
    engine: Engine,
}

struct Nobody;

#[async_trait]
impl Notify for Nobody {
    async fn notify(&self, _: Notice) -> Result<(), NotifyError> {
        Err(NotifyError::Refused("this side tells nobody".to_owned()))
    }
}

#[async_trait]
impl Alerts for Nobody {
    async fn raise(&self, alert: Alert) {
        println!("alert: {} {}", alert.code, alert.text);
    }
    fn count(&self, _: &'static str, _: &str, _: u64) {}
    fn gauge(&self, _: &'static str, _: u64) {}
}

/// The secrets the stack was given.
struct Known(Json);

#[async_trait]
impl SecretSource for Known {
    async fn secrets(&self, connection: &str, _: bool) -> Result<Secrets, SecretError> {
        let known =
            self.0[connection].as_object().ok_or_else(|| SecretError::Missing(connection.to_owned()))?;
        let text = |value: &Json| vec![Secret::new(value.as_str().unwrap_or_default())];
        Ok(Secrets(known.iter().map(|(name, value)| (name.clone(), text(value))).collect()))
    }
}

/// What a stack is deployed with.
pub struct Given<'a> {
    /// The folder of the built functions.
    pub binaries: &'a Path,
    /// The configuration.
    pub config: &'a Path,
    /// Secrets by connection.
    pub secrets: Json,
    /// Connections beside those of the template, and their systems.
    pub connections: BTreeMap<String, String>,
    /// Everybody's clock.
    pub clock: Arc<Ahead>,
    /// For what it writes.
    pub folder: &'a Path,
}

impl Stack {
    /// Starts the emulator and deploys.
    pub async fn deploy(python: &str, given: Given<'_>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../aws/serve.py");
        std::fs::create_dir_all(given.folder).unwrap();
        let write = |name: &str, text: String| {
            let file = given.folder.join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let secrets = write("secrets.json", given.secrets.to_string());
        let connections = write("connections.json", json!(given.connections).to_string());
        let mut child = Command::new(python)
            .arg(script)
            .args(["--binaries".as_ref(), given.binaries.as_os_str()])
            .args(["--config".as_ref(), given.config.as_os_str()])
            .args(["--secrets".as_ref(), secrets.as_os_str()])
            .args(["--connections".as_ref(), connections.as_os_str()])
            .args(["--clock".as_ref(), given.clock.file().as_os_str()])
            .args(["--folder".as_ref(), given.folder.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let first =
            output.next_line().await.unwrap().expect("the local AWS did not come up; its words are above");
        let place: Json = serde_json::from_str(&first).unwrap();
        let engine = engine(&place, given).await;
        Self { child, talk: tokio::sync::Mutex::new((input, output)), place, engine }
    }

    /// Asks `serve.py` something and waits for the answer.
    pub async fn ask(&self, question: Json) -> Json {
        let mut talk = self.talk.lock().await;
        talk.0.write_all(format!("{question}\n").as_bytes()).await.unwrap();
        let line = talk.1.next_line().await.unwrap().expect("the local AWS is gone");
        drop(talk);
        let mut answer: Json = serde_json::from_str(&line).unwrap();
        assert!(answer.get("failed").is_none(), "{question}: {answer}");
        answer["ok"].take()
    }

    /// Invokes a function and waits; answers its error, or nothing.
    pub async fn invoke(&self, function: &str) -> Option<String> {
        let answer = self.ask(json!({ "do": "invoke", "function": function })).await;
        answer["error"].as_str().map(|error| format!("{error}: {}", answer["answer"]))
    }

    /// Where webhooks go.
    #[must_use]
    pub fn url(&self) -> &str {
        self.place["url"].as_str().unwrap()
    }
    /// What the command needs to find it, and its clock.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 6] {
        let text = |name: &str| self.place[name].as_str().unwrap_or_default().to_owned();
        [
            ("AWS_ENDPOINT_URL", text("endpoint")),
            ("AWS_REGION", text("region")),
            ("AWS_ACCESS_KEY_ID", text("access_key")),
            ("AWS_SECRET_ACCESS_KEY", text("secret_key")),
            ("USER", "tester".to_owned()),
            ("LD_PRELOAD", text("shim")),
        ]
    }
    /// The file of recorded calls.
    #[must_use]
    pub fn calls(&self) -> &Path {
        Path::new(self.place["calls"].as_str().unwrap())
    }
    /// An engine over what is stored.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Takes it down and waits for it.
    pub async fn stop(mut self) {
        drop(self.talk);
        self.child.wait().await.unwrap();
    }
}

async fn engine(place: &Json, given: Given<'_>) -> Engine {
    let text = |name: &str| place[name].as_str().unwrap_or_else(|| panic!("no {name} in {place}"));
    let clients =
        Clients::emulated(text("endpoint"), text("region"), text("access_key"), text("secret_key")).unwrap();
    let (clock, entropy): (Arc<Ahead>, Arc<dyn Entropy>) = (given.clock, Arc::new(OsEntropy));
    let prefix = text("prefix");
    let at = |name: &str| format!("{}/{}/{prefix}-{name}", text("endpoint"), text("access_key"));
    let mut urls = BTreeMap::from([(EVENTS.to_owned(), at(EVENTS))]);
    for name in crate::SYSTEMS.map(command_queue) {
        urls.insert(name.clone(), at(&name));
        urls.insert(format!("{name}-dead"), at(&format!("{name}-dead")));
    }
    urls.insert("events-dead.fifo".to_owned(), at("events-dead.fifo"));
    let claims = Arc::new(S3Claims::new(clients.bucket("none"), entropy.clone()));
    let documents = format!("{prefix}-claims-{}", text("access_key"));
    let (config, _) = tillway_host::config::read_config(given.config).unwrap();
    let ports = Ports {
        store: Arc::new(DynamoStore::new(clients.dynamodb(), prefix, clock.clone(), entropy.clone())),
        shelf: Arc::new(S3Shelf::new(clients.bucket(documents))),
        queue: Arc::new(SqsQueue::new(clients.sqs(), urls, claims, entropy.clone())),
        clock,
        entropy,
        secrets: Arc::new(Known(given.secrets)),
        http: Arc::new(LiveHttp::new(AddressPolicy::AllowLoopback).unwrap()),
        notify: Arc::new(Nobody),
        alerts: Arc::new(Nobody),
    };
    Engine::new(Arc::new(config), ports).await.unwrap()
}
