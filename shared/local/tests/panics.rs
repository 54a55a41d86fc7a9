//! A panic fails the message it met, and neither the worker nor the messages beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tillway_connectors::http::{Http, HttpError};
use tillway_connectors::{Secret, Secrets};
use tillway_core::http::{Request, Response};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{
    Item, ItemPage, Key, Queue, SecretError, SecretSource, Store, StoreError, Write,
};
use tillway_engine::records::EVENTS;
use tillway_engine::{Engine, Ports};
use tillway_local::alerts::LogAlerts;
use tillway_local::clock::SystemClock;
use tillway_local::entropy::OsEntropy;
use tillway_local::notify::LogNotify;
use tillway_local::runtime::{Options, Runtime};
use tillway_local::sqlite::{self, Database, SqliteStore};

/// The file's store, with a defect that one order meets.
struct Trapped {
    store: SqliteStore,
    armed: AtomicBool,
}

#[async_trait]
impl Store for Trapped {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let met = keys.iter().any(|k| k.pk == "order#shop/TRAP");
        assert!(!(met && self.armed.load(Ordering::SeqCst)), "a defect");
        self.store.get(keys).await
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.store.transact(writes).await
    }
    async fn query(
        &self,
        pk: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        self.store.query(pk, prefix, after, limit).await
    }
    async fn list(
        &self,
        list: &str,
        after: Option<&str>,
        descending: bool,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        self.store.list(list, after, descending, limit).await
    }
    async fn due(&self, shard: u16, until: Timestamp, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.store.due(shard, until, limit).await
    }
    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ItemPage, StoreError> {
        self.store.scan(after, limit).await
    }
}

struct Known;

#[async_trait]
impl SecretSource for Known {
    async fn secrets(&self, _: &str, _: bool) -> Result<Secrets, SecretError> {
        let known =
            [("master_key", "6d".repeat(32)), ("api_key", "k".into()), ("webhook_secret", "s".into())];
        Ok(Secrets(known.into_iter().map(|(n, v)| (n.to_owned(), vec![Secret::new(v)])).collect()))
    }
}

struct Nobody;

#[async_trait]
impl Http for Nobody {
    async fn send(&self, _: Request, _: Millis) -> Result<Response, HttpError> {
        Err(HttpError::NotSent)
    }
}

const CONFIG: &str = r#"
connections:
  shop: { system: clarity, base_url: "https://shop.example/api/v1", auth: api_key, webhook: { scheme: shared_header } }
  gate: { system: stripe }
pairs:
  main: { flow: stripe-clarity, shop: shop, gateway: gate, return_url: "https://shop.example/back" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_one_message_and_no_worker() {
    let folder = std::env::temp_dir().join(format!("tillway-panics-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let clock = Arc::new(SystemClock);
    let database = Database::open(&folder.join("t.sqlite"), sqlite::Options::new(clock.clone())).unwrap();
    let store = Arc::new(Trapped { store: database.store(), armed: AtomicBool::new(true) });
    let queue = Arc::new(database.queue());
    let (flows, notices) = (tillway_templates::sources(), tillway_templates::notices());
    let (config, _) = tillway_engine::settings::load("t.yaml", CONFIG, &flows, &[], notices).unwrap();
    let ports = Ports {
        store: store.clone(),
        shelf: Arc::new(tillway_engine::settle::StoreShelf::new(store.clone())),
        queue: queue.clone(),
        clock: clock.clone(),
        entropy: Arc::new(OsEntropy),
        secrets: Arc::new(Known),
        http: Arc::new(Nobody),
        notify: Arc::new(LogNotify),
        alerts: Arc::new(LogAlerts::new(clock)),
    };
    let engine = Arc::new(Engine::new(Arc::new(config), ports).await.unwrap());
    // One worker, so that one that died would be missed.
    let options =
        Options { deciders: 1, actors: 1, tick: Millis::hours(1), sweep: Millis::hours(1), settle: None };
    let runtime = Runtime::start(&engine, &queue, options);
    for id in ["TRAP", "A-1", "A-2"] {
        let body = json!({"type": "order.created", "data": {"orderId": id}}).to_string();
        let headers = [("content-type", "application/json"), ("x-webhook-secret", "s")];
        let headers: Vec<(String, String)> = headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        assert_eq!(engine.receive("shop", "orders", &headers, body.as_bytes()).await.status, 202);
    }
    let known = async |id: &str| {
        let key = Key::new(format!("order#shop/{id}"), "state");
        store.store.get(&[key]).await.unwrap().remove(0).is_some()
    };
    let until = async |ids: &[&str]| {
        for _ in 0..600 {
            let mut all = true;
            for id in ids {
                all &= known(id).await;
            }
            if all {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{ids:?} were not worked");
    };
    until(&["A-1", "A-2"]).await;
    assert!(queue.depth(EVENTS).await.unwrap() >= 1, "the message that met the defect is kept");
    // Mended, it is worked by the worker that met it.
    store.armed.store(false, Ordering::SeqCst);
    until(&["TRAP"]).await;
    runtime.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}
