//! The engine's own work against ports in memory: what goes wrong fails alone, and nothing is undone or lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use tillway_connectors::http::{Http, HttpError};
use tillway_connectors::{Owner, Secret, Secrets};
use tillway_core::http::{Request, Response};
use tillway_core::ids::{ConnectionName, OrderKey};
use tillway_core::time::{Millis, Timestamp};

use crate::engine::{Engine, Ports};
use crate::ports::{
    Alert, Alerts, Clock, Entropy, Guard, InMessage, Item, ItemPage, Key, MAX_BODY, MAX_MESSAGE, NewItem,
    Notice, Notify, NotifyError, OutMessage, Queue, QueueError, SecretError, SecretSource, Store, StoreError,
    Write,
};
use crate::records::{self as rec, Event, EventBody, Origin, RawJson};

#[path = "fixtures_tests.rs"]
mod fixtures_tests;
#[path = "keyless_tests.rs"]
mod keyless_tests;
#[path = "owner_tests.rs"]
mod owner_tests;
#[path = "profile_tests.rs"]
mod profile_tests;
#[path = "routes_tests.rs"]
mod routes_tests;
#[path = "settle_tests.rs"]
mod settle_tests;
#[path = "submitted_tests.rs"]
mod submitted_tests;

type Answer = dyn Fn(&Request) -> Response + Send + Sync;

/// Base64 of 24 bytes.
const SIGNING: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// Everything in memory.
struct Memory {
    items: Mutex<BTreeMap<Key, Item>>,
    sent: Mutex<VecDeque<(String, OutMessage)>>,
    now: AtomicI64,
    drawn: AtomicU64,
    alerts: Mutex<Vec<Alert>>,
    gauges: Mutex<BTreeMap<&'static str, u64>>,
    answer: Box<Answer>,
    /// Reading this partition panics.
    trap: Mutex<Option<String>>,
    /// No answer comes from outside.
    silent: AtomicBool,
    /// The answer to the next transaction on this partition is lost, after its effect.
    lose: Mutex<Option<String>>,
    asked: AtomicU64,
    /// So many writes go through; then the store is gone, for good.
    fuse: AtomicI64,
    /// The first that does not is done all the same.
    fuse_after: AtomicBool,
    /// What is kept of secrets is older than what counts, until it is read again.
    stale: AtomicBool,
    /// Of the byte the master key is made of.
    master: u8,
    /// Where all that writes to an order waits for each other, once.
    meet: Mutex<Option<Arc<tokio::sync::Barrier>>>,
    /// What is written is under no condition.
    blind: AtomicBool,
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let trap = self.trap.lock().unwrap().clone();
        assert!(!keys.iter().any(|k| Some(&k.pk) == trap.as_ref()), "a trap");
        let items = self.items.lock().unwrap();
        Ok(keys.iter().map(|k| items.get(k).cloned()).collect())
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let of_order = |w: &Write| w.key().pk.starts_with("order#");
        if writes.iter().any(of_order) {
            let met = self.meet.lock().unwrap().clone();
            if let Some(barrier) = met {
                barrier.wait().await;
                *self.meet.lock().unwrap() = None;
            }
        }
        let left = self.fuse.fetch_sub(1, Ordering::SeqCst);
        let gone = || Err(StoreError::Unavailable("gone".into()));
        if left < 0 || left == 0 && !self.fuse_after.load(Ordering::SeqCst) {
            return gone();
        }
        let mut items = self.items.lock().unwrap();
        let keys: std::collections::BTreeSet<&Key> = writes.iter().map(Write::key).collect();
        if keys.len() < writes.len() || writes.len() > crate::ports::MAX_WRITES {
            return Err(StoreError::Invalid("a key twice, or too many".into()));
        }
        for (at, write) in writes.iter().enumerate() {
            let (Write::Put(_, guard) | Write::Delete(_, guard) | Write::Check(_, guard)) = write;
            let rev = items.get(write.key()).map(|i| i.rev);
            let holds = match guard {
                _ if self.blind.load(Ordering::SeqCst) => true,
                Guard::Any => true,
                Guard::Absent => rev.is_none(),
                Guard::Rev(wanted) => rev == Some(*wanted),
            };
            if !holds {
                return Err(StoreError::Conflict(at));
            }
            if let Write::Put(item, _) = write
                && item.body.len() > MAX_BODY
            {
                return Err(StoreError::Invalid("too large".into()));
            }
        }
        let lost = self.lose.lock().unwrap().take_if(|pk| writes.iter().any(|w| w.key().pk == *pk));
        for write in writes {
            match write {
                Write::Put(NewItem { key, body, due, list, expires }, _) => {
                    let rev = items.get(&key).map_or(0, |i| i.rev) + 1;
                    items.insert(key.clone(), Item { key, rev, body, due, list, expires });
                }
                Write::Delete(key, _) => drop(items.remove(&key)),
                Write::Check(..) => {}
            }
        }
        if left == 0 {
            return gone();
        }
        lost.map_or(Ok(()), |pk| Err(StoreError::Unavailable(pk)))
    }
    async fn query(
        &self,
        pk: &str,
        prefix: &str,
        after: Option<&str>,
        _limit: usize,
    ) -> Result<ItemPage, StoreError> {
        let items = self.items.lock().unwrap();
        let fits =
            |k: &Key| k.pk == pk && k.sk.starts_with(prefix) && after.is_none_or(|a| k.sk.as_str() > a);
        Ok(ItemPage { items: items.values().filter(|i| fits(&i.key)).cloned().collect(), next: None })
    }
    async fn list(
        &self,
        list: &str,
        _after: Option<&str>,
        _descending: bool,
        _limit: usize,
    ) -> Result<ItemPage, StoreError> {
        let items = self.items.lock().unwrap();
        let mut found: Vec<Item> =
            items.values().filter(|i| i.list.as_ref().is_some_and(|(l, _)| l == list)).cloned().collect();
        found.sort_by(|a, b| a.list.cmp(&b.list));
        Ok(ItemPage { items: found, next: None })
    }
    async fn due(&self, shard: u16, until: Timestamp, limit: usize) -> Result<Vec<Item>, StoreError> {
        let items = self.items.lock().unwrap();
        let due = |i: &&Item| i.due.is_some_and(|d| d.shard == shard && d.at <= until);
        let mut found: Vec<Item> = items.values().filter(due).cloned().collect();
        found.sort_by_key(|i| i.due.map(|d| d.at));
        found.truncate(limit);
        Ok(found)
    }
    async fn scan(&self, _after: Option<&str>, _limit: usize) -> Result<ItemPage, StoreError> {
        Ok(ItemPage { items: self.items.lock().unwrap().values().cloned().collect(), next: None })
    }
}

#[async_trait]
impl Queue for Memory {
    async fn send(&self, queue: &str, messages: Vec<OutMessage>) -> Result<Vec<bool>, QueueError> {
        if messages.iter().any(|m| m.body.len() > MAX_MESSAGE) {
            return Err(QueueError::Invalid("too large".into()));
        }
        let accepted = messages.iter().map(|_| true).collect();
        self.sent.lock().unwrap().extend(messages.into_iter().map(|m| (queue.to_owned(), m)));
        Ok(accepted)
    }
    async fn receive(&self, _: &str, _: usize, _: Millis) -> Result<Vec<InMessage>, QueueError> {
        Ok(Vec::new())
    }
    async fn delete(&self, _: &str, _: Vec<String>) -> Result<(), QueueError> {
        Ok(())
    }
    async fn release(&self, _: &str, _: &str, _: Millis) -> Result<(), QueueError> {
        Ok(())
    }
    async fn depth(&self, _: &str) -> Result<usize, QueueError> {
        Ok(self.sent.lock().unwrap().len())
    }
}

#[async_trait]
impl Clock for Memory {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }
    async fn sleep(&self, length: Millis) {
        self.now.fetch_add(length.0, Ordering::SeqCst);
    }
}

impl Entropy for Memory {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = u8::try_from(self.drawn.fetch_add(7, Ordering::SeqCst) % 251).unwrap();
        }
    }
}

#[async_trait]
impl SecretSource for Memory {
    async fn secrets(&self, connection: &str, fresh: bool) -> Result<Secrets, SecretError> {
        self.stale.fetch_and(!fresh, Ordering::SeqCst);
        let old = self.stale.load(Ordering::SeqCst) && connection != "tillway";
        let names = match connection {
            "tillway" => vec![("master_key", format!("{:02x}", self.master).repeat(32))],
            // Signs, and is signed with.
            "signed" => vec![("shared_secret", SIGNING.to_owned()), ("webhook_secret", SIGNING.to_owned())],
            _ => vec![("api_key", "key".to_owned()), ("webhook_secret", "secret".to_owned())],
        };
        let value = |v: String| Secret::new(if old { v.chars().rev().collect() } else { v });
        Ok(Secrets(names.into_iter().map(|(n, v)| (n.to_owned(), vec![value(v)])).collect()))
    }
}

#[async_trait]
impl Http for Memory {
    async fn send(&self, request: Request, limit: Millis) -> Result<Response, HttpError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            self.now.fetch_add(limit.0, Ordering::SeqCst);
            return Err(HttpError::NoAnswer);
        }
        // No status is no answer.
        Some((self.answer)(&request)).filter(|r| r.status > 0).ok_or(HttpError::NoAnswer)
    }
}

#[async_trait]
impl Notify for Memory {
    async fn notify(&self, _: Notice) -> Result<(), NotifyError> {
        Ok(())
    }
}

#[async_trait]
impl Alerts for Memory {
    async fn raise(&self, alert: Alert) {
        self.alerts.lock().unwrap().push(alert);
    }
    fn count(&self, _: &'static str, _: &str, _: u64) {}
    fn gauge(&self, metric: &'static str, value: u64) {
        self.gauges.lock().unwrap().insert(metric, value);
    }
}

struct World {
    engine: Engine,
    memory: Arc<Memory>,
}

const START: &str = "2026-11-21T08:00:00Z";

impl World {
    async fn new(shop: &str, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::with(&Self::text(shop), answer).await
    }
    fn text(shop: &str) -> String {
        format!(
            "connections:\n  shop: {{ system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key{shop} }}\n  \
             gate: {{ system: stripe }}\npairs:\n  main: {{ flow: stripe-clarity, shop: shop, gateway: gate, return_url: \"https://shop.example/back\" }}\n"
        )
    }
    async fn with(text: &str, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::keyed(text, 0x6d, answer).await
    }
    /// With a master key of this byte.
    async fn keyed(
        text: &str,
        master: u8,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let memory = Arc::new(Memory {
            items: Mutex::default(),
            sent: Mutex::default(),
            now: AtomicI64::new(Timestamp::parse_rfc3339(START).unwrap().0),
            drawn: AtomicU64::new(1),
            alerts: Mutex::default(),
            gauges: Mutex::default(),
            answer: Box::new(answer),
            trap: Mutex::default(),
            silent: AtomicBool::new(false),
            lose: Mutex::default(),
            asked: AtomicU64::new(0),
            fuse: AtomicI64::new(i64::MAX),
            fuse_after: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            master,
            meet: Mutex::default(),
            blind: AtomicBool::new(false),
        });
        let engine = Self::engine(text, &memory).await;
        Self { engine, memory }
    }
    async fn quiet() -> Self {
        Self::new("", |_| Response::new(404)).await
    }
    async fn engine(text: &str, memory: &Arc<Memory>) -> Engine {
        Self::engine_of(Self::config(text), memory).await
    }
    fn config(text: &str) -> crate::config::Config {
        let (flows, notices) = (tillway_templates::sources(), tillway_templates::notices());
        let (config, _) = crate::settings::load("t.yaml", text, &flows, &[], notices)
            .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>())
            .unwrap();
        config
    }
    async fn engine_of(config: crate::config::Config, memory: &Arc<Memory>) -> Engine {
        let ports = Ports {
            store: memory.clone(),
            shelf: Arc::new(crate::settle::StoreShelf::new(memory.clone())),
            queue: memory.clone(),
            clock: memory.clone(),
            entropy: memory.clone(),
            secrets: memory.clone(),
            http: memory.clone(),
            notify: memory.clone(),
            alerts: memory.clone(),
        };
        Engine::new(Arc::new(config), ports).await.unwrap()
    }
    /// The pair is gone: no order can be decided on.
    async fn without_pair(&mut self) {
        let text = "connections:\n  shop: { system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key }\n  \
                    other: { system: clarity, base_url: \"https://other.example/api/v1\", auth: api_key }\n  \
                    gate: { system: stripe }\npairs:\n  else: { flow: stripe-clarity, shop: other, gateway: gate, return_url: \"https://shop.example/back\" }\n";
        self.engine = Self::engine(text, &self.memory).await;
    }
    fn pass(&self, length: Millis) {
        self.memory.now.fetch_add(length.0, Ordering::SeqCst);
    }
    /// Works what was sent to the events queue.
    async fn work(&self) {
        for _ in 0..20 {
            let sent: Vec<(String, OutMessage)> = self.memory.sent.lock().unwrap().drain(..).collect();
            if sent.is_empty() {
                return;
            }
            for (queue, message) in sent {
                if queue == rec::EVENTS {
                    let event = self.engine.open_event(&message.body).unwrap();
                    self.engine.work_event(event).await.unwrap();
                }
            }
        }
        panic!("it never ends");
    }
    fn events_sent(&self) -> usize {
        self.memory.sent.lock().unwrap().iter().filter(|(q, _)| q == rec::EVENTS).count()
    }
    fn item(&self, key: &Key) -> Option<Item> {
        self.memory.items.lock().unwrap().get(key).cloned()
    }
    /// Everything that was posted, each entry once.
    fn journal(&self) -> Vec<tillway_core::journal::Entry> {
        use tillway_core::journal::Entry;
        let items = self.memory.items.lock().unwrap();
        let mut out = Vec::new();
        for item in items.values() {
            if item.key.sk.starts_with("jrn#") {
                out.push(serde_json::from_slice(&item.body).unwrap());
            } else if item.key.sk.starts_with("jrns#") {
                out.extend(serde_json::from_slice::<Vec<Entry>>(&item.body).unwrap());
            }
        }
        out.sort_by(|a: &Entry, b| a.id.cmp(&b.id));
        let ids: std::collections::BTreeSet<&str> = out.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(ids.len(), out.len(), "no entry twice");
        out
    }
    /// What an account holds, minor units.
    fn account(&self, role: tillway_core::journal::Role) -> i64 {
        let usd = tillway_core::money::Currency::parse("USD").unwrap();
        let journal = self.journal();
        let postings = journal.iter().flat_map(|e| &e.postings);
        postings.filter(|p| p.role == role && p.amount.currency == usd).map(|p| p.amount.minor).sum()
    }
    /// What is kept of secrets counts no more.
    fn rotate(&self) {
        self.memory.stale.store(true, Ordering::SeqCst);
    }
    /// Whether they were read again since.
    fn read_again(&self) -> bool {
        !self.memory.stale.load(Ordering::SeqCst)
    }
    fn alerted(&self, code: &str) -> usize {
        self.memory.alerts.lock().unwrap().iter().filter(|a| a.code == code).count()
    }
    fn put(&self, key: &Key, body: &[u8], at: Timestamp) {
        let item = Item {
            key: key.clone(),
            rev: 1,
            body: body.to_vec(),
            due: Some(rec::due(key, at)),
            list: None,
            expires: None,
        };
        self.memory.items.lock().unwrap().insert(key.clone(), item);
    }
}

fn shop() -> ConnectionName {
    ConnectionName::new("shop")
}

fn order(id: &str, version: u32) -> Json {
    let usd = |amount: &str| json!({"amount": amount, "currency": "USD"});
    json!({
        "orderId": id, "orderNumber": id, "status": "Pending Payment", "version": version,
        "createdAt": "2026-11-21T06:00:00Z", "updatedAt": "2026-11-21T07:00:00Z",
        "customer": {"customerId": "CU-1", "email": "ann@example.com", "firstName": "Ann", "lastName": "Vogel"},
        "lines": [{"lineId": "1", "sku": "A", "quantity": "1", "unitPrice": usd("10.00")}],
        "total": usd("10.00"),
    })
}

fn event(id: &str, data: &Json) -> Event {
    let body = json!({"type": "order.updated", "data": data});
    Event {
        connection: shop(),
        id: id.to_owned(),
        kind: "order.updated".to_owned(),
        origin: Origin::Webhook,
        received_at: Timestamp::parse_rfc3339(START).unwrap(),
        created_at: None,
        replay: 0,
        group: "g".to_owned(),
        redacted: Vec::new(),
        body: EventBody::Provider { json: RawJson::from_value(&body).unwrap() },
    }
}

/// An order whose parts do not add up.
fn wrong(id: &str) -> Json {
    let mut wrong = order(id, 1);
    wrong["total"]["amount"] = "99.00".into();
    wrong
}

fn list(orders: &[Json]) -> Response {
    Response::json(200, &json!({"items": orders}))
}

fn page_of(request: &Request) -> usize {
    let (_, rest) = request.url.split_once("pageIndex=").unwrap();
    rest.split('&').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_sweep_finds_an_order_whose_unsigned_hint_was_lost() {
    let settings = ", paging.style: page-index-plain, webhook: { scheme: shared_header }";
    let w = World::new(settings, |request| {
        list(&if page_of(request) == 0 { vec![order("A-1", 3)] } else { Vec::new() })
    })
    .await;
    let report = w.engine.sweep(&shop()).await.unwrap();
    assert_eq!((report.lost.len(), report.known), (1, 0), "{report:?}");
    w.work().await;
    let state = w.item(&rec::state_key(&OrderKey::from("shop/A-1"))).unwrap();
    let record: rec::OrderRecord = serde_json::from_slice(&state.body).unwrap();
    assert_eq!(record.state.order.unwrap().version, 3);
    w.pass(Millis::mins(1));
    let again = w.engine.sweep(&shop()).await.unwrap();
    assert_eq!((again.lost.len(), again.known), (0, 1));
}

#[tokio::test]
async fn an_order_that_must_be_read_again_is_read_for_once() {
    let w = World::new(", paging.style: page-index-plain", |request| {
        let mut silent = order("A-1", 1);
        silent.as_object_mut().unwrap().remove("version");
        list(&if page_of(request) == 0 { vec![silent] } else { Vec::new() })
    })
    .await;
    assert_eq!(w.engine.sweep(&shop()).await.unwrap().lost.len(), 1);
    w.work().await;
    let reads = || {
        let items = w.memory.items.lock().unwrap();
        items.keys().filter(|k| k.pk == "order#shop/A-1" && k.sk.starts_with("cmd#")).count()
    };
    let before = reads();
    assert!(before >= 1, "nothing was read");
    w.pass(Millis::mins(1));
    assert_eq!(w.engine.sweep(&shop()).await.unwrap().known, 1);
    assert_eq!(reads(), before);
}

#[tokio::test]
async fn two_hints_alike_are_two_reads_and_one_handed_out_twice_is_one() {
    let w = World::new(", webhook: { scheme: shared_header }", |_| Response::new(404)).await;
    let reads = || {
        let items = w.memory.items.lock().unwrap();
        items.keys().filter(|k| k.sk.starts_with("cmd#")).count()
    };
    let first = event("alike", &order("A-1", 1));
    w.engine.work_event(first.clone()).await.unwrap();
    w.engine.work_event(first.clone()).await.unwrap();
    let once = reads();
    let second = Event { received_at: first.received_at + Millis::mins(7), ..first };
    w.engine.work_event(second).await.unwrap();
    assert_eq!(reads(), once + 1);
}

#[tokio::test]
async fn a_window_of_more_pages_than_one_sweep_reads_is_swept_to_its_end() {
    let settings = ", paging.style: page-index-plain, page_size: 1, rate_limit.per_second: 1000";
    let w = World::new(settings, |request| {
        let n = page_of(request);
        list(&if n < 450 { vec![order(&format!("A-{n}"), 1)] } else { Vec::new() })
    })
    .await;
    let mut seen = Vec::new();
    let mut windows = Vec::new();
    loop {
        let report = w.engine.sweep(&shop()).await.unwrap();
        seen.push(report.seen);
        windows.push((report.since, report.until));
        w.pass(Millis::secs(1));
        if !report.more {
            break;
        }
    }
    assert_eq!(seen, [200, 200, 50]);
    assert_eq!(w.events_sent(), 450);
    assert!(windows.iter().all(|w| *w == windows[0]), "one window");
    // The next window overlaps by what may have been late.
    let next = w.engine.sweep(&shop()).await.unwrap();
    assert_eq!(next.since, windows[0].1 - w.engine.config.times.sweep_grace);
    assert!(next.more);
    // Its next page is not to be had: it is begun anew, and comes through.
    w.memory.silent.store(true, Ordering::SeqCst);
    let said = w.engine.sweep(&shop()).await.unwrap_err().to_string();
    assert!(said.contains("then sweep again"), "{said}");
    w.memory.silent.store(false, Ordering::SeqCst);
    w.pass(Millis::mins(5));
    assert_eq!(w.engine.sweep(&shop()).await.unwrap().seen, 200);
}

#[tokio::test]
async fn an_event_that_waits_makes_no_other_event_of_its_payment_known() {
    let w = World::quiet().await;
    let ids = ["pi_1".to_owned()];
    let gate = |id: &str| Event { connection: ConnectionName::new("gate"), ..event(id, &json!({})) };
    assert!(w.engine.let_wait(&gate("evt_1"), &ids).await.unwrap());
    let owner = Owner::Objects { ids: ids.to_vec() };
    assert!(w.engine.is_listed(&"gate".into(), "evt_1", &owner).await.unwrap());
    assert!(!w.engine.is_listed(&"gate".into(), "evt_2", &owner).await.unwrap());
}

#[tokio::test]
async fn an_event_too_large_for_the_queue_does_not_hold_up_a_sweep() {
    let w = World::new(", paging.style: page-index-plain", |request| {
        let mut large = order("LARGE", 1);
        large["note"] = "x".repeat(MAX_MESSAGE + 1).into();
        list(&if page_of(request) == 0 { vec![large, order("A-2", 1)] } else { Vec::new() })
    })
    .await;
    let report = w.engine.sweep(&shop()).await.unwrap();
    assert!(!report.more);
    assert_eq!(w.events_sent(), 1);
    let parked = w.engine.parked().await.unwrap();
    assert_eq!((parked.len(), parked[0].item.code.as_str()), (1, "too_large"));
}

#[tokio::test]
async fn one_bad_item_stops_no_other_timer() {
    let w = World::quiet().await;
    let now = w.memory.now();
    let mut paid = order("A-1", 1);
    paid["payment"] = json!({"token": "tok_1"});
    w.engine.work_event(event("e-1", &paid)).await.unwrap();
    w.memory.sent.lock().unwrap().clear();
    // Every shard has a bad one before the good ones.
    let bad: Vec<Key> = (0..60).map(|n| Key::new(format!("order#bad{n}"), "cmd#x")).collect();
    for key in &bad {
        w.put(key, b"{not json", now - Millis::hours(1));
    }
    w.pass(Millis::mins(2));
    let report = w.engine.tick().await.unwrap();
    assert_eq!(report.failed, 60);
    assert!(report.commands > 60, "{report:?}");
    assert!(w.memory.sent.lock().unwrap().iter().any(|(q, _)| q.starts_with("commands-")));
    assert!(w.alerted("tick_failed") > 0);
    for key in &bad {
        assert!(w.item(key).unwrap().due.unwrap().at > w.memory.now(), "due again later");
    }
    assert_eq!(w.engine.tick().await.unwrap().failed, 0);
}

#[tokio::test]
async fn orders_that_cannot_be_woken_do_not_starve_the_others() {
    let mut w = World::quiet().await;
    w.engine.work_event(event("e-1", &order("A-1", 1))).await.unwrap();
    let key = rec::state_key(&OrderKey::from("shop/A-1"));
    let body = w.item(&key).unwrap().body;
    w.put(&key, &body, w.memory.now());
    w.memory.sent.lock().unwrap().clear();
    assert_eq!(w.engine.tick().await.unwrap().wakes, 1);
    assert!(w.item(&key).unwrap().due.unwrap().at > w.memory.now(), "looked at: it goes to the back");
    // Nobody can decide on it: nothing is parked, somebody is told, and it comes back an hour later.
    w.without_pair().await;
    let wake = w.engine.wake(&OrderKey::from("shop/A-1"), "1", w.memory.now());
    w.put(&key, &serde_json::to_vec(&unbound(&body)).unwrap(), w.memory.now());
    for _ in 0..3 {
        w.engine.work_event(wake.clone()).await.unwrap();
    }
    assert!(w.engine.parked().await.unwrap().is_empty());
    assert_eq!(w.alerted("no_single_pair"), 3);
    assert_eq!(w.item(&key).unwrap().due.unwrap().at, w.memory.now() + Millis::hours(1));
    // Nor does triage park it.
    w.engine.handle_dead(rec::EVENTS, &dead(&w, &wake)).await.unwrap();
    assert!(w.engine.parked().await.unwrap().is_empty());
}

/// An order's record as before it was bound to a pair.
fn unbound(body: &[u8]) -> rec::OrderRecord {
    let mut record: rec::OrderRecord = serde_json::from_slice(body).unwrap();
    record.state.binding = None;
    record
}

fn dead(w: &World, event: &Event) -> InMessage {
    InMessage { receipt: "1".into(), group: None, body: w.engine.seal_event(event), receives: 50 }
}

#[tokio::test]
async fn triage_does_not_triage_its_own_word_again() {
    let w = World::quiet().await;
    let parked = crate::meaning::event_parked(&event("e-1", &json!({})), "dead_letter", "x".to_owned());
    let told = Event {
        body: EventBody::Dead { order: OrderKey::from("shop/A-1"), parked },
        ..event("dead:e-1", &json!({}))
    };
    w.engine.handle_dead(rec::EVENTS, &dead(&w, &told)).await.unwrap();
    assert_eq!(w.events_sent(), 0);
    assert!(w.engine.parked().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_provider_that_is_down_holds_up_the_tick_only_briefly() {
    let w = World::quiet().await;
    w.memory.silent.store(true, Ordering::SeqCst);
    for n in 0..300 {
        let ids = [format!("pi_{n:024}")];
        let gate = ConnectionName::new("gate");
        assert!(
            w.engine.let_wait(&Event { connection: gate, ..event(&ids[0], &json!({})) }, &ids).await.unwrap()
        );
    }
    w.pass(Millis::mins(5));
    let before = w.memory.now();
    let report = w.engine.tick().await.unwrap();
    assert_eq!(report.waiting, 300);
    assert!(w.memory.now().since(before) <= Millis::secs(60), "{}", w.memory.now().since(before));
    assert!(w.memory.asked.load(Ordering::SeqCst) <= 3);
    // All of them are looked at again later.
    assert_eq!(w.engine.tick().await.unwrap().waiting, 0);
    w.pass(Millis::mins(10));
    assert_eq!(w.engine.tick().await.unwrap().waiting, 300);
}

#[tokio::test]
async fn a_redelivery_undoes_nobodys_work() {
    let w = World::quiet().await;
    // Without an order id it belongs to nobody.
    let mut nameless = order("A-1", 1);
    nameless.as_object_mut().unwrap().remove("orderId");
    for (id, data, by_order) in [("e-1", nameless, false), ("e-2", wrong("A-2"), true)] {
        let rejected = event(id, &data);
        w.engine.work_event(rejected.clone()).await.unwrap();
        let item = w.engine.parked().await.unwrap().remove(0);
        assert_eq!(item.order.is_some(), by_order);
        w.engine
            .parked_edit(&item.id, json!({"type": "order.updated", "data": {"x": 1}}), "ann")
            .await
            .unwrap();
        w.engine.work_event(rejected.clone()).await.unwrap();
        let view = w.engine.parked_show(&item.id).await.unwrap();
        assert_eq!((view.record.edits.len(), &view.content.unwrap()["data"]["x"]), (1, &json!(1)), "{id}");
        w.engine.parked_drop(&item.id, "ann", "by hand").await.unwrap();
        w.work().await;
        assert!(w.engine.parked().await.unwrap().is_empty(), "{id}: dropped");
        w.engine.work_event(rejected.clone()).await.unwrap();
        w.engine.work_event(Event { origin: Origin::Sweep, ..rejected }).await.unwrap();
        assert!(w.engine.parked().await.unwrap().is_empty(), "{id}: parked again");
    }
}

#[tokio::test]
async fn an_item_its_order_never_heard_of_can_be_dropped() {
    let w = World::quiet().await;
    w.engine.work_event(event("e-1", &order("A-1", 1))).await.unwrap();
    w.memory.sent.lock().unwrap().clear();
    let lost = event("e-9", &order("A-1", 2));
    let parked = crate::meaning::event_parked(&lost, "dead_letter", "x".to_owned());
    w.engine.park_event(&lost, parked, Some(OrderKey::from("shop/A-1"))).await.unwrap();
    let item = w.engine.parked().await.unwrap().remove(0);
    w.pass(Millis::secs(1));
    w.engine.parked_drop(&item.id, "ann", "by hand").await.unwrap();
    w.work().await;
    assert!(w.engine.parked().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_large_event_is_parked_whole_and_replayed() {
    let w = World::quiet().await;
    let mut large = wrong("A-1");
    large["note"] = "x".repeat(1_000_000).into();
    w.engine.work_event(event("e-1", &large)).await.unwrap();
    let item = w.engine.parked().await.unwrap().remove(0);
    let mut content = w.engine.parked_show(&item.id).await.unwrap().content.unwrap();
    assert_eq!(content["data"]["note"].as_str().unwrap().len(), 1_000_000);
    content["data"]["total"]["amount"] = "10.00".into();
    w.engine.parked_edit(&item.id, content, "ann").await.unwrap();
    w.engine.parked_replay(&item.id, "ann").await.unwrap();
    w.work().await;
    assert!(w.engine.parked().await.unwrap().is_empty());
    assert!(!w.memory.items.lock().unwrap().keys().any(|k| k.sk.starts_with("part#")), "parts are left");
    let state = w.item(&rec::state_key(&OrderKey::from("shop/A-1"))).unwrap();
    let record: rec::OrderRecord = serde_json::from_slice(&state.body).unwrap();
    assert!(record.state.order.is_some());
}

#[tokio::test]
async fn a_person_is_erased_by_every_name_their_orders_were_told_under() {
    for name in ["CU-1", "ann@example.com", " Ann.New@example.com"] {
        let w = World::quiet().await;
        w.engine.work_event(event("e-1", &order("A-1", 1))).await.unwrap();
        let mut moved = order("A-1", 2);
        moved["customer"]["email"] = "ann.new@example.com".into();
        w.engine.work_event(event("e-2", &moved)).await.unwrap();
        let report = w.engine.erase(name).await.unwrap();
        assert_eq!(report.keys, 1, "{name}");
        let state = w.item(&rec::state_key(&OrderKey::from("shop/A-1"))).unwrap();
        let record: rec::OrderRecord = serde_json::from_slice(&state.body).unwrap();
        assert!(w.engine.open_stored(&record).await.unwrap().erased, "{name}");
        assert!(report.persons.contains(&record.state.person.unwrap()), "to be erased again after a restore");
        assert_eq!(w.engine.erase(name).await.unwrap().keys, 0);
    }
}

#[tokio::test]
async fn who_was_erased_before_anything_was_known_is_not_brought_back_by_what_was_said_before() {
    let w = World::quiet().await;
    assert_eq!(w.engine.erase("ann@example.com").await.unwrap().keys, 0);
    w.pass(Millis::mins(1));
    let late = Event {
        created_at: Timestamp::parse_rfc3339("2026-11-21T07:59:00Z"),
        ..event("e-1", &order("A-1", 1))
    };
    w.engine.work_event(late).await.unwrap();
    assert_eq!(w.engine.erase("ann@example.com").await.unwrap().keys, 0, "a key was made");
}

#[tokio::test]
async fn a_panic_fails_its_own_message_alone() {
    let w = World::quiet().await;
    *w.memory.trap.lock().unwrap() = Some("order#shop/TRAP".to_owned());
    let message = |n: u32, group: &str, order_id: &str| InMessage {
        receipt: n.to_string(),
        group: Some(group.to_owned()),
        body: w.engine.seal_event(&event(&format!("e-{n}"), &order(order_id, n))),
        receives: 1,
    };
    let batch = [message(1, "a", "TRAP"), message(2, "a", "TRAP"), message(3, "b", "A-1")];
    assert_eq!(w.engine.handle_events(&batch).await, ["3"]);
    *w.memory.trap.lock().unwrap() = None;
    assert_eq!(w.engine.handle_events(&batch[..2]).await, ["1", "2"]);
}

/// What stands behind an event that cannot be worked is handed out with it every time, and must not die with it.
#[tokio::test]
async fn a_poison_event_is_buried_before_what_stands_behind_it_counts_as_dead() {
    let w = World::quiet().await;
    *w.memory.trap.lock().unwrap() = Some("order#shop/TRAP".to_owned());
    let message = |n: u32, order_id: &str, receives: u32| InMessage {
        receipt: n.to_string(),
        group: Some("a".to_owned()),
        body: w.engine.seal_event(&event(&format!("e-{n}"), &order(order_id, n))),
        receives,
    };
    let last = w.engine.config.bury_after;
    for receives in 1..last {
        let batch = [message(1, "TRAP", receives), message(2, "A-1", receives)];
        assert!(w.engine.handle_events(&batch).await.is_empty(), "{receives}");
    }
    let batch = [message(1, "TRAP", last), message(2, "A-1", last)];
    assert_eq!(w.engine.handle_events(&batch).await, ["1", "2"]);
    let parked = w.engine.parked().await.unwrap();
    assert_eq!(parked.iter().map(|p| p.item.code.as_str()).collect::<Vec<_>>(), ["dead_letter"]);
    assert!(w.item(&rec::state_key(&OrderKey::from("shop/A-1"))).is_some(), "the other was worked");
    // What is no fault of its own is never buried, however long it lasts.
    *w.memory.trap.lock().unwrap() = None;
    w.memory.fuse.store(0, Ordering::SeqCst);
    assert!(w.engine.handle_events(&[message(3, "A-2", 1_000)]).await.is_empty());
}

/// Whoever has the key of the edge can say that a webhook came, and nothing else.
#[tokio::test]
async fn what_the_edge_sealed_is_a_webhook_or_nothing() {
    let w = World::quiet().await;
    let seal = |event: &Event| {
        let plain = serde_json::to_vec(event).unwrap();
        w.engine.vault.intake_key().seal(w.engine.ports.entropy.as_ref(), b"webhook", &plain)
    };
    let webhook = event("e-1", &order("A-1", 1));
    assert!(w.engine.open_event(&seal(&webhook)).is_ok_and(|read| read == webhook));
    let parked = crate::meaning::event_parked(&webhook, "dead_letter", "x".to_owned());
    let dead = EventBody::Dead { order: OrderKey::from("shop/A-1"), parked };
    for forged in [
        Event { origin: Origin::Replay, ..webhook.clone() },
        Event { origin: Origin::Triage, body: dead.clone(), ..webhook.clone() },
        Event { body: dead, ..webhook.clone() },
    ] {
        assert!(w.engine.open_event(&seal(&forged)).is_err());
    }
    // Nor does it open what stands in the queue.
    assert!(w.engine.vault.intake_key().open(b"event", &w.engine.seal_event(&webhook)).is_err());
}

#[tokio::test]
async fn a_restore_ends_though_a_connection_is_in_no_pair() {
    let text = "connections:\n  shop: { system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key }\n  gate: { system: \
                stripe }\n  spare: { system: stripe }\npairs:\n  main: { flow: stripe-clarity, shop: shop, gateway: gate, \
                return_url: \"https://shop.example/back\" }\n";
    let w = World::with(text, |_| {
        Response::json(200, &json!({"object": "list", "data": [], "has_more": false, "items": []}))
    })
    .await;
    w.engine.begin_restore(&[]).await.unwrap();
    // A shop's waits for the gateways it is paired with.
    for name in ["gate", "shop"] {
        assert!(w.engine.restoring(), "{name}");
        w.engine.sweep(&ConnectionName::new(name)).await.unwrap();
    }
    assert!(!w.engine.restoring());
    assert_eq!(w.alerted("restore_done"), 1);
}
