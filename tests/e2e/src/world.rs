//! A whole Tillway in one thread: engine and SQLite between both sandboxes, under a clock that stands until
//! the test puts it forward. Nothing waits; a test is as fast as its work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value as Json;
use tillway_core::http::{Method, Request};
use tillway_core::ids::{ConnectionName, OrderKey, PersonId};
use tillway_core::journal::Entry;
use tillway_core::money::Currency;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::config::Config;
use tillway_engine::explain::Explanation;
use tillway_engine::ports::{Clock, Item, Queue, SecretSource, Store};
use tillway_engine::receive::Receipt;
use tillway_engine::records::{EVENTS, OrderRecord, ParkedRecord, command_queue};
use tillway_engine::settle::StoreShelf;
use tillway_engine::{Engine, Ports};
use tillway_local::alerts::LogAlerts;
use tillway_local::entropy::OsEntropy;
use tillway_local::notify::MemoryNotify;
use tillway_local::sqlite::{Database, Options, dead_queue};
use tillway_sandbox::clarity::{ClaritySandbox, NewLine, NewOrder, sign_standard};
use tillway_sandbox::stripe::{PaymentTruth, StripeSandbox, sign};
use tillway_sandbox::{ApiFault, ApiFaultRule, Delivery, HookFault, HookFaultRule, Sandbox};

use crate::clock::StepClock;
use crate::outside::{Outside, lock};
pub use crate::setup::Setup;
use crate::taps::{Stage, TappedQueue, TappedStore, Taps};
use crate::temp::Temp;

/// Signs the gateway's webhooks.
pub const GATEWAY_HOOK: &str = "whsec_canary_of_the_gateway";
/// Signs the shop's webhooks.
pub const SHOP_HOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The gateway's API key.
pub const API_KEY: &str = "sk_test_canary_of_the_api";
/// The shop's client secret.
pub const CLIENT_SECRET: &str = "canary-client-secret";
/// Seals.
pub const MASTER_KEY: &str = "6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d";
/// A number with a known prefix that passes Luhn.
pub const CARD_NUMBER: &str = "4111 1111 1111 1111";
/// The first moment.
pub const EPOCH: &str = "2026-11-21T09:00:00Z";

/// The database in a data folder.
pub const DATABASE: &str = "tillway.sqlite";
/// Connection of the shop.
pub const SHOP: &str = "shop";
/// Connection of the gateway.
pub const GATEWAY: &str = "stripe";

/// Tillway and everything around it.
pub struct World {
    /// The clock.
    pub clock: Arc<StepClock>,
    /// The way out.
    pub outside: Arc<Outside>,
    /// The engine.
    pub engine: Arc<Engine>,
    /// Counters.
    pub alerts: Arc<LogAlerts>,
    /// What people were told.
    pub notices: Arc<MemoryNotify>,
    /// Faults and counts of the ports.
    pub taps: Arc<Taps>,
    /// The data folder.
    pub folder: Temp,
    delivered: Mutex<Vec<(String, Delivery)>>,
}

impl World {
    /// A world with the defaults.
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// A world.
    pub async fn with(setup: Setup) -> Self {
        let clock = Arc::new(StepClock::at(Timestamp::parse_rfc3339(EPOCH).unwrap()));
        let (config, secrets) = (Arc::new(setup.config()), setup.secret_source());
        let outside = Arc::new(Outside {
            stripe: Arc::new(Mutex::new(StripeSandbox::new(setup.gateway).with_schema_beside())),
            shop: Arc::new(Mutex::new(ClaritySandbox::new(setup.shop))),
            clock: clock.clone(),
            sent: Mutex::default(),
        });
        Self::assemble(config, secrets, outside, clock, Temp::new("world")).await
    }

    async fn assemble(
        config: Arc<Config>,
        secrets: Arc<dyn SecretSource>,
        outside: Arc<Outside>,
        clock: Arc<StepClock>,
        folder: Temp,
    ) -> Self {
        let database = Database::open(&folder.path().join(DATABASE), Options::new(clock.clone())).unwrap();
        let taps = Arc::new(Taps::default());
        let notices = Arc::new(MemoryNotify::default());
        let alerts = Arc::new(LogAlerts::new(clock.clone()));
        let store = Arc::new(TappedStore { inner: Arc::new(database.store()), taps: taps.clone() });
        let ports = Ports {
            store: store.clone(),
            shelf: Arc::new(StoreShelf::new(store)),
            queue: Arc::new(TappedQueue { inner: Arc::new(database.queue()), taps: taps.clone() }),
            clock: clock.clone(),
            entropy: Arc::new(OsEntropy),
            secrets,
            http: outside.clone(),
            notify: notices.clone(),
            alerts: alerts.clone(),
        };
        let engine = Arc::new(Engine::new(config, ports).await.unwrap());
        Self { clock, outside, engine, alerts, notices, taps, folder, delivered: Mutex::default() }
    }

    /// A copy of the database, as a backup would have it.
    #[must_use]
    pub fn backup(&self) -> Temp {
        let copy = Temp::new("backup");
        // Nobody writes at this moment; what was committed stands in the file and in its log.
        for name in [DATABASE.to_owned(), format!("{DATABASE}-wal")] {
            std::fs::copy(self.folder.path().join(&name), copy.path().join(&name)).unwrap();
        }
        copy
    }

    /// The data is lost, a backup put in its place and marked as such, and another process begins with it.
    /// Both outside systems and the time go on; what was sent and told is counted anew.
    pub async fn restored(self, backup: Temp, erased: &[PersonId]) -> Self {
        let (config, secrets) = (self.engine.config.clone(), self.engine.ports.secrets.clone());
        let (outside, clock) = (self.outside.clone(), self.clock.clone());
        drop(self);
        lock(&outside.sent).clear();
        let mut world = Self::assemble(config, secrets, outside, clock, backup).await;
        world.engine.begin_restore(erased).await.unwrap();
        world.engine = world.second_engine().await;
        world
    }

    /// A second process on the same data: nothing remembered in memory is shared.
    pub async fn second_engine(&self) -> Arc<Engine> {
        Arc::new(Engine::new(self.engine.config.clone(), self.engine.ports.clone()).await.unwrap())
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
    /// The gateway.
    pub fn stripe(&self) -> MutexGuard<'_, StripeSandbox> {
        lock(&self.outside.stripe)
    }
    /// The shop.
    pub fn shop(&self) -> MutexGuard<'_, ClaritySandbox> {
        lock(&self.outside.shop)
    }
    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.engine.ports.store.clone()
    }
    /// The queues.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        self.engine.ports.queue.clone()
    }

    // --- driving -----------------------------------------------------------------------------------------

    /// Hands a webhook in.
    pub async fn post(&self, connection: &str, topic: &str, request: &Request) -> Receipt {
        self.taps.enter(Stage::Receive);
        let receipt = self.engine.receive(connection, topic, &request.headers, &request.body).await;
        self.taps.enter(Stage::Other);
        receipt
    }

    /// Carries out the webhooks that are due; answers how many.
    pub async fn deliver(&self) -> usize {
        let now = self.now();
        let gateway = self.stripe().take_deliveries(now);
        let shop = self.shop().take_deliveries(now);
        let all = gateway.into_iter().map(|d| (GATEWAY, d)).chain(shop.into_iter().map(|d| (SHOP, d)));
        let mut count = 0;
        for (connection, delivery) in all {
            count += 1;
            let receipt = self.post(connection, &delivery.topic, &delivery.request).await;
            let (id, now, status) = (delivery.id, self.now(), Some(receipt.status));
            if connection == GATEWAY {
                self.stripe().delivered(now, id, status);
            } else {
                self.shop().delivered(now, id, status);
            }
            lock(&self.delivered).push((connection.to_owned(), delivery));
        }
        count
    }

    /// Every webhook delivered so far, with its connection.
    pub fn deliveries(&self) -> Vec<(String, Delivery)> {
        lock(&self.delivered).clone()
    }

    /// Works what stands in the events queue.
    pub async fn decide(&self) -> usize {
        let queue = self.queue();
        let batch = queue.receive(EVENTS, 10, Millis::secs(90)).await.unwrap();
        self.taps.enter(Stage::Decide);
        let done = self.engine.handle_events(&batch).await;
        self.taps.enter(Stage::Other);
        for message in batch.iter().filter(|m| !done.contains(&m.receipt)) {
            queue.release(EVENTS, &message.receipt, Millis::secs(2)).await.unwrap();
        }
        if !done.is_empty() {
            queue.delete(EVENTS, done).await.unwrap();
        }
        batch.len()
    }

    /// Works what stands in the command queues, all of a batch at once.
    pub async fn act(&self) -> usize {
        self.act_as(&self.engine).await
    }

    /// The same by another process.
    pub async fn act_as(&self, engine: &Engine) -> usize {
        let queue = self.queue();
        let mut count = 0;
        for system in ["stripe", "clarity", "notify"] {
            let name = command_queue(system);
            let batch = queue.receive(&name, 10, Millis::secs(90)).await.unwrap();
            self.taps.enter(Stage::Act);
            let ended = futures_util::future::join_all(batch.iter().map(|m| engine.handle_command(m))).await;
            self.taps.enter(Stage::Other);
            for (message, ended) in batch.iter().zip(ended) {
                match ended {
                    Ok(()) => queue.delete(&name, vec![message.receipt.clone()]).await.unwrap(),
                    Err(_) => queue.release(&name, &message.receipt, Millis::secs(2)).await.unwrap(),
                }
            }
            count += batch.len();
        }
        count
    }

    /// Works until nothing can be done at this moment.
    pub async fn quiet(&self) {
        for _ in 0..5_000 {
            let moved = self.deliver().await + self.decide().await + self.act().await;
            if moved == 0 {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Lets time pass in steps, with a tick at each.
    pub async fn pass_in(&self, length: Millis, step: Millis) {
        let until = self.now() + length;
        self.quiet().await;
        while self.now() < until {
            self.clock.forward(Millis(step.0.min(until.since(self.now()).0)));
            self.engine.tick().await.unwrap();
            self.quiet().await;
        }
    }

    /// Lets time pass.
    pub async fn pass(&self, length: Millis) {
        let step = if length > Millis::hours(2) { Millis::mins(10) } else { Millis::secs(15) };
        self.pass_in(length, step).await;
    }

    /// Works and lets time pass until it is so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..400 {
            self.quiet().await;
            if is_so(self) {
                return;
            }
            self.clock.forward(Millis::secs(5));
            self.engine.tick().await.unwrap();
        }
        let parked = self.parked().await;
        let parked: Vec<String> =
            parked.iter().map(|p| format!("{}: {}", p.item.code, p.item.what)).collect();
        panic!("never so: {what}; parked: {parked:?}");
    }

    /// Until the shop shows this status.
    pub async fn until_status(&self, order: &str, status: &str) {
        let what = format!("{order} is {status}");
        self.until(&what, |w| w.status(order) == status).await;
    }

    // --- looking -----------------------------------------------------------------------------------------

    /// The status the shop shows.
    #[must_use]
    pub fn status(&self, order: &str) -> String {
        self.shop().order(order).map(|o| o.status_text.clone()).unwrap_or_default()
    }

    /// Everything that was charged for an order.
    #[must_use]
    pub fn payments(&self, order: &str) -> Vec<PaymentTruth> {
        self.stripe().payments_by_metadata("clarity_order_id", order)
    }

    /// The one payment of an order.
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

    /// Everything stored.
    pub async fn items(&self) -> Vec<Item> {
        let mut out = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store().scan(after.as_deref(), 500).await.unwrap();
            out.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return out,
            }
        }
    }

    /// Messages in all queues.
    pub async fn depth(&self) -> usize {
        let mut sum = 0;
        for name in [EVENTS.to_owned()].into_iter().chain(["stripe", "clarity", "notify"].map(command_queue))
        {
            sum += self.queue().depth(&name).await.unwrap();
            sum += self.queue().depth(&dead_queue(&name)).await.unwrap();
        }
        sum
    }

    /// The gauges as last told.
    #[must_use]
    pub fn gauges(&self) -> BTreeMap<&'static str, u64> {
        self.alerts.snapshot().gauges
    }

    /// All counters: metric, label, count.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<(String, String), u64> {
        let all = self.alerts.snapshot().counters;
        all.into_iter()
            .flat_map(|(metric, labels)| {
                labels.into_iter().map(move |(label, n)| ((metric.to_owned(), label), n))
            })
            .collect()
    }

    /// Journal entries of an order (every one balances), or of all where `None`.
    pub async fn journal(&self, order: Option<&str>) -> Vec<Entry> {
        let pk = order.map(|o| format!("order#{SHOP}/{o}"));
        let mut entries = Vec::new();
        for item in self.items().await {
            if item.key.sk.starts_with("jrn#") && pk.as_ref().is_none_or(|pk| item.key.pk == *pk) {
                let entry: Entry = serde_json::from_slice(&item.body).unwrap();
                entry.check().unwrap();
                entries.push(entry);
            }
        }
        entries
    }

    /// Sum of a role over an order's journal, minor units: debits less credits.
    pub async fn balance(&self, order: &str, role: &str) -> i64 {
        let entries = self.journal(Some(order)).await;
        let postings = entries.iter().flat_map(|e| &e.postings);
        postings.filter(|p| p.role.name() == role).map(|p| p.amount.minor).sum()
    }

    /// What is stored of an order.
    pub async fn record(&self, order: &str) -> Option<OrderRecord> {
        let key = tillway_engine::records::state_key(&Self::key(order));
        let item = self.store().get(&[key]).await.unwrap().into_iter().flatten().next()?;
        Some(serde_json::from_slice(&item.body).unwrap())
    }

    /// An order's key.
    #[must_use]
    pub fn key(order: &str) -> OrderKey {
        OrderKey::of(&ConnectionName::new(SHOP), order)
    }

    /// The parking lot.
    pub async fn parked(&self) -> Vec<ParkedRecord> {
        self.engine.parked().await.unwrap()
    }

    /// The one parked item.
    pub async fn parked_one(&self) -> ParkedRecord {
        let mut all = self.parked().await;
        let shown: Vec<&str> = all.iter().map(|p| p.item.code.as_str()).collect();
        assert_eq!(all.len(), 1, "parked: {shown:?}");
        all.remove(0)
    }

    /// The time line of an order.
    pub async fn explain(&self, order: &str) -> Explanation {
        let key =
            self.engine.find_order(order).await.unwrap().unwrap_or_else(|| panic!("{order} is not known"));
        self.engine.explain(&key).await.unwrap().unwrap()
    }

    // --- doing -------------------------------------------------------------------------------------------

    /// Places an order: two teas, tax, shipping; 47.12 in a currency of two digits.
    pub fn place(&self, order: &str, token: Option<&str>) -> String {
        self.place_with(new_order(order, "USD", token))
    }

    /// Places any order.
    pub fn place_with(&self, order: NewOrder) -> String {
        let now = self.now();
        self.shop().place_order(now, order).unwrap()
    }

    /// The next webhook of this kind (of the shop or the gateway) meets a fault.
    pub fn hook(&self, kind: &str, fault: HookFault, times: u32) {
        let rule = HookFaultRule { type_contains: kind.to_owned(), fault, times };
        if kind.starts_with("order.") {
            self.shop().inject_hook(rule);
        } else {
            self.stripe().inject_hook(rule);
        }
    }

    /// Calls to the gateway whose path holds this meet a fault.
    pub fn gateway_fault(&self, method: Method, path: &str, fault: ApiFault, times: u32) {
        let rule = ApiFaultRule { method: Some(method), path_contains: path.to_owned(), fault, times };
        self.stripe().inject(rule);
    }

    /// A signed webhook of the gateway.
    #[must_use]
    pub fn gateway_hook(&self, body: impl Into<Vec<u8>>) -> Request {
        let body = body.into();
        let signature = sign(&body, GATEWAY_HOOK, self.now().unix());
        Request::new(Method::Post, "")
            .with_body("application/json", body)
            .with_header("stripe-signature", signature)
    }

    /// A signed webhook of the shop.
    #[must_use]
    pub fn shop_hook(&self, id: &str, body: impl Into<Vec<u8>>) -> Request {
        shop_hook_at(id, self.now(), body)
    }

    /// An event of the shop about an order, changed on the way.
    #[must_use]
    pub fn order_event(&self, order: &str, change: impl FnOnce(&mut Json)) -> Json {
        let shop = self.shop();
        let mut data = serde_json::to_value(shop.order(order).unwrap()).unwrap();
        change(&mut data);
        serde_json::json!({ "type": "order.created", "timestamp": self.now().rfc3339(), "data": data })
    }
}

/// A webhook of the shop signed at a time.
#[must_use]
pub fn shop_hook_at(id: &str, at: Timestamp, body: impl Into<Vec<u8>>) -> Request {
    let body = body.into();
    let signature = sign_standard(SHOP_HOOK, id, at.unix(), &body);
    Request::new(Method::Post, "")
        .with_body("application/json", body)
        .with_header("webhook-id", id)
        .with_header("webhook-timestamp", at.unix().to_string())
        .with_header("webhook-signature", signature)
}

/// Two teas, tax, shipping: 47.12 in a currency of two digits, 4712 minor units in any.
#[must_use]
pub fn new_order(order: &str, currency: &str, token: Option<&str>) -> NewOrder {
    let mut new = NewOrder::new(Currency::parse(currency).unwrap());
    new.order_id = Some(order.to_owned());
    new.customer.email = Some(format!("{}@example.com", order.to_lowercase()));
    new.customer.first_name = Some("Jenny".to_owned());
    new.customer.last_name = Some("Rosen".to_owned());
    new.lines = vec![NewLine {
        sku: "TEA".into(),
        name: "Tea".into(),
        quantity: "2".into(),
        unit_price: 1950,
        discount: 0,
        tax: 312,
    }];
    new.shipping = 500;
    new.payment_token = token.map(str::to_owned);
    new
}

impl World {
    /// What the gateway wants delivered now.
    pub fn stripe_deliveries(&self) -> Vec<(&'static str, Delivery)> {
        let now = self.now();
        self.stripe().take_deliveries(now).into_iter().map(|d| (GATEWAY, d)).collect()
    }
    /// What the shop wants delivered now.
    pub fn shop_deliveries(&self) -> Vec<(&'static str, Delivery)> {
        let now = self.now();
        self.shop().take_deliveries(now).into_iter().map(|d| (SHOP, d)).collect()
    }
    /// Tells that a delivery was accepted.
    pub fn accepted(&self, connection: &str, id: u64) {
        let now = self.now();
        if connection == GATEWAY {
            self.stripe().delivered(now, id, Some(202));
        } else {
            self.shop().delivered(now, id, Some(202));
        }
    }
}
