//! Profiles from the shop's webhook to the gateway's vault and back, between the sandboxes of both: one customer for a person,
//! its token written back once, whatever answer is lost.

use std::sync::OnceLock;

use tillway_core::http::Method;
use tillway_core::ids::PersonId;
use tillway_core::money::Currency;
use tillway_core::state::OrderState;
use tillway_sandbox::clarity::{
    Address, Auth, ClarityConfig, ClaritySandbox, Customer, NewLine, NewOrder, OrderStatus,
};
use tillway_sandbox::cybersource::{
    Credentials, CustomerTruth, CybersourceConfig, CybersourceSandbox, WebhookConfig,
};
use tillway_sandbox::{ApiFault, ApiFaultRule, Reply, Sandbox};

use super::*;
use crate::profile;

#[path = "masked_tests.rs"]
mod masked_tests;
#[path = "partial_tests.rs"]
mod partial_tests;

/// Never to be seen outside the seals.
const MAIL: &str = "Kanarie.Vogel@example.com";
const CANARIES: [&str; 3] = ["kanarie", "Kanarie", "vogel@"];
const POINTER: &str = "cybersource_customer";
const TOKEN: &str = "7010000000016241111";

const CONFIG: &str = "masking: off\nconnections:\n  shop: { system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key, \
                      gateway_instrument_id: card, paging.style: page-index-plain }\n  signed: { system: cybersource, \
                      merchant_id: acme, key_id: k1 }\npairs:\n  main: { flow: cybersource-clarity, shop: shop, gateway: \
                      signed }\n";

/// Both sides with Tillway between them.
struct Town {
    w: World,
    shop: Arc<Mutex<ClaritySandbox>>,
    vault: Arc<Mutex<CybersourceSandbox>>,
    /// Every request that left.
    sent: Arc<Mutex<Vec<Request>>>,
}

fn told(reply: Reply) -> Response {
    match reply {
        Reply::Answer(response) => response,
        Reply::Silence => Response::new(0),
    }
}

impl Town {
    async fn new() -> Self {
        Self::with(CONFIG).await
    }
    async fn with(config: &str) -> Self {
        Self::keyed(config, 0x6d).await
    }
    async fn keyed(config: &str, master: u8) -> Self {
        let auth = Auth::ApiKey { header: "x-api-key".into(), key: "key".into() };
        let shop = ClaritySandbox::new(ClarityConfig { auth, ..ClarityConfig::default() });
        let hooks = WebhookConfig::new("aaaabbbb-cccc-dddd-eeee-ffff00001111", SIGNING, None);
        let vault = CybersourceConfig::new(Credentials::new("acme", "k1", SIGNING), hooks, 7);
        let (shop, vault) =
            (Arc::new(Mutex::new(shop)), Arc::new(Mutex::new(CybersourceSandbox::new(vault))));
        let clock: Arc<OnceLock<Arc<Memory>>> = Arc::default();
        let (clarity, cybersource, time) = (Arc::clone(&shop), Arc::clone(&vault), Arc::clone(&clock));
        let sent: Arc<Mutex<Vec<Request>>> = Arc::default();
        let out = Arc::clone(&sent);
        let w = World::keyed(config, master, move |request| {
            out.lock().unwrap().push(request.clone());
            let now = time.get().unwrap().now();
            if request.url.starts_with("https://shop.example") {
                told(clarity.lock().unwrap().handle(now, request))
            } else {
                told(cybersource.lock().unwrap().handle(now, request))
            }
        })
        .await;
        assert!(clock.set(Arc::clone(&w.memory)).is_ok());
        Self { w, shop, vault, sent }
    }

    fn now(&self) -> Timestamp {
        self.w.memory.now()
    }

    /// The shop's customer changes; its webhook is on its way.
    fn change(&self, id: &str, change: impl FnOnce(&mut Customer)) {
        let mut shop = self.shop.lock().unwrap();
        let fresh = Customer {
            customer_id: Some(id.to_owned()),
            email: Some(MAIL.to_owned()),
            first_name: Some("Kanarie".to_owned()),
            ..Customer::default()
        };
        let mut customer = shop.customer(id).cloned().unwrap_or(fresh);
        change(&mut customer);
        shop.update_customer(self.now(), customer);
    }

    /// An order of theirs, to be paid with a token of the checkout's.
    fn order(&self, id: &str, token: &str) {
        let some = |text: &str| Some(text.to_owned());
        let mut order = NewOrder::new(Currency::parse("EUR").unwrap());
        order.order_id = some(id);
        order.customer = Customer { customer_id: some("CU-1"), email: some(MAIL), ..Customer::default() };
        order.billing_address = Some(Address {
            first_name: some("Kanarie"),
            last_name: some("Vogel"),
            street1: some("Weg 1"),
            city: some("Bonn"),
            country: some("DE"),
            ..Address::default()
        });
        order.lines = vec![NewLine {
            sku: "MUG".into(),
            name: "mug".into(),
            quantity: "1".into(),
            unit_price: 1000,
            discount: 0,
            tax: 0,
        }];
        order.payment_token = some(token);
        self.shop.lock().unwrap().place_order(self.now(), order).unwrap();
    }

    /// Webhooks that are due.
    fn hooks(&self) -> Vec<Event> {
        let now = self.now();
        let mut shop = self.shop.lock().unwrap();
        let due = shop.take_deliveries(now);
        due.into_iter()
            .map(|delivery| {
                shop.delivered(now, delivery.id, Some(200));
                Event {
                    connection: super::shop(),
                    id: delivery.event_id,
                    kind: delivery.event_type,
                    origin: Origin::Webhook,
                    received_at: now,
                    created_at: Some(now),
                    replay: 0,
                    group: "g".to_owned(),
                    redacted: Vec::new(),
                    body: EventBody::Provider { json: RawJson::from_body(&delivery.request.body).unwrap() },
                }
            })
            .collect()
    }

    /// Works webhooks, events and commands as they come, and lets the time pass.
    async fn live(&self, length: Millis) {
        let end = self.now() + length;
        while self.now() < end {
            for _ in 0..50 {
                for hook in self.hooks() {
                    self.w.engine.work_event(hook).await.unwrap();
                }
                let sent: Vec<(String, OutMessage)> = self.w.memory.sent.lock().unwrap().drain(..).collect();
                if sent.is_empty() {
                    break;
                }
                for (queue, message) in sent {
                    self.w.pass(Millis(7));
                    if queue == rec::EVENTS {
                        let event = self.w.engine.open_event(&message.body).unwrap();
                        self.w.engine.work_event(event).await.unwrap();
                    } else {
                        let body = message.body;
                        let message = InMessage { receipt: "r".into(), group: None, body, receives: 1 };
                        self.w.engine.handle_command(&message).await.unwrap();
                    }
                }
            }
            self.w.pass(Millis::secs(30));
            self.w.engine.tick().await.unwrap();
        }
    }

    /// The gateway's customer that the shop points to.
    fn pointer(&self, id: &str) -> String {
        let shop = self.shop.lock().unwrap();
        shop.customer(id).unwrap().external_ids.get(POINTER).cloned().unwrap_or_default()
    }
    fn pointed(&self, id: &str) -> CustomerTruth {
        let pointer = self.pointer(id);
        let vault = self.vault.lock().unwrap();
        vault.customer_truth(&pointer).unwrap_or_else(|| panic!("{id} points to `{pointer}`"))
    }
    fn customers(&self) -> usize {
        self.vault.lock().unwrap().all_customers().count()
    }
    /// Somebody made a customer in the Business Center.
    fn make(&self, reference: Option<&str>, email: Option<&str>) -> String {
        self.vault.lock().unwrap().add_customer(reference, email)
    }
    /// Requests at either side so far.
    fn requests(&self) -> BTreeMap<String, u64> {
        let mut all = self.shop.lock().unwrap().counters().requests.clone();
        let vault = self.vault.lock().unwrap();
        all.extend(vault.counters().requests.iter().map(|(name, n)| ((*name).to_owned(), *n)));
        all
    }
    fn asked(&self, operation: &str) -> u64 {
        self.requests().get(operation).copied().unwrap_or(0)
    }
    fn lose(&self, side: &str, method: Method, path: &str, fault: ApiFault) {
        let rule = ApiFaultRule { method: Some(method), path_contains: path.into(), fault, times: 1 };
        match side {
            "shop" => self.shop.lock().unwrap().inject(rule),
            _ => self.vault.lock().unwrap().inject(rule),
        }
    }
    fn record(&self, id: &str) -> rec::OrderRecord {
        let key = OrderKey::of_customer(&super::shop(), id);
        serde_json::from_slice(&self.w.item(&rec::state_key(&key)).unwrap().body).unwrap()
    }
    async fn parked(&self) -> Vec<(String, String)> {
        let items = self.w.engine.parked().await.unwrap();
        items.into_iter().map(|p| (p.item.code, p.item.what)).collect()
    }
    /// State and journal come out of the log to the byte, and nothing readable holds a canary.
    fn holds_together(&self, id: &str) {
        let items = self.w.memory.items.lock().unwrap();
        let key = OrderKey::of_customer(&super::shop(), id);
        let pk = rec::order_pk(&key);
        let logs: Vec<rec::LogRecord> = items
            .values()
            .filter(|i| i.key.pk == pk && i.key.sk.starts_with("log#"))
            .map(|i| serde_json::from_slice(&i.body).unwrap())
            .collect();
        let facts = logs.iter().flat_map(|log| log.facts.iter().map(|f| (log.at, &log.connection, f)));
        let (rebuilt, _) = OrderState::rebuild(key, facts);
        let record = items.get(&rec::state_key(&OrderKey::of_customer(&super::shop(), id))).unwrap();
        let record: rec::OrderRecord = serde_json::from_slice(&record.body).unwrap();
        assert_eq!(rebuilt.unwrap(), record.state);
        for item in items.values() {
            let text = format!("{:?} {}", item.key, String::from_utf8_lossy(&item.body));
            for canary in CANARIES {
                assert!(!text.contains(canary), "{canary} in {:?}", item.key);
            }
        }
    }
}

const A_WHILE: Millis = Millis::mins(2);

#[tokio::test]
async fn a_customer_gets_one_token_the_shop_points_to_it_and_the_echo_ends_it() {
    let town = Town::new().await;
    town.change("CU-1", |_| {});
    town.live(A_WHILE).await;
    let truth = town.pointed("CU-1");
    assert_eq!((truth.reference.as_deref(), truth.email.as_deref()), (Some("CU-1"), Some(MAIL)));
    let before = town.requests();
    let expected = [("GET /customers/{id}", 1), ("PATCH /customers/{id}", 1), ("POST /tms/v2/customers", 1)];
    assert_eq!(before, expected.map(|(name, n)| (name.to_owned(), n)).into(), "no more than that");
    let state = town.record("CU-1").state;
    let profile = state.profile.unwrap();
    assert_eq!((profile.seq, state.customer.as_deref()), (1, Some(truth.id.as_str())));
    assert_eq!(profile.snapshot.gateway_customer.as_deref(), Some(truth.id.as_str()), "the echo came in");
    town.live(Millis::hours(3)).await;
    assert_eq!(town.requests(), before, "and nothing goes out any more");
    assert!(town.parked().await.is_empty());
    town.holds_together("CU-1");

    let key = town.w.engine.find_order("CU-1").await.unwrap().unwrap();
    assert_eq!(key.as_str(), "customer@shop/CU-1");
    let told = town.w.engine.explain(&key).await.unwrap().unwrap().to_string();
    for part in ["profile customer@shop/CU-1", truth.id.as_str(), "POST /tms/v2/customers", "PATCH customer"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!CANARIES.iter().any(|c| told.contains(c)), "{told}");
}

#[tokio::test]
async fn two_customers_of_one_e_mail_address_are_one_person_at_once_and_days_apart() {
    for between in [Millis(0), Millis::mins(10), Millis::days(2)] {
        let town = Town::new().await;
        town.change("CU-1", |_| {});
        if between > Millis(0) {
            town.live(between).await;
        }
        town.change("CU-2", |c| c.email = Some(MAIL.to_uppercase()));
        town.live(A_WHILE).await;
        assert_eq!(town.customers(), 1, "{between}");
        assert_eq!(town.pointer("CU-1"), town.pointer("CU-2"), "{between}");
        // Neither undoes what the other wrote, and each is still its own when something else changes.
        let written = town.pointed("CU-1").changes;
        town.change("CU-2", |c| c.last_name = Some("Vogel".into()));
        town.change("CU-1", |c| c.last_name = Some("Vogel".into()));
        town.live(Millis::hours(2)).await;
        assert_eq!((town.customers(), town.pointed("CU-2").changes), (1, written), "{between}");
        assert_eq!(town.pointer("CU-1"), town.pointer("CU-2"), "{between}");
        town.holds_together("CU-2");
    }
}

#[tokio::test]
async fn whatever_answer_is_lost_one_customer_and_one_instrument_are_used() {
    let calls = [
        ("vault", Method::Post, "/tms/v2/customers"),
        ("vault", Method::Get, "payment-instruments"),
        ("vault", Method::Post, "payment-instruments"),
        ("shop", Method::Get, "/customers/CU-1"),
        ("shop", Method::Patch, "/customers/CU-1"),
    ];
    for (side, method, path) in calls {
        for fault in [ApiFault::SilenceBefore, ApiFault::SilenceAfter, ApiFault::Fail500AfterEffect] {
            let town = Town::new().await;
            let case = format!("{side} {} {path} {fault:?}", method.as_str());
            let made = (side, method, path) == ("vault", Method::Post, "/tms/v2/customers");
            town.lose(side, method, path, fault.clone());
            town.change("CU-1", |c| {
                c.external_ids.insert("card".into(), TOKEN.into());
            });
            town.live(Millis::hours(2)).await;
            assert!(town.parked().await.is_empty(), "{case}: {:?}", town.parked().await);
            assert_eq!(town.pointed("CU-1").instruments, [TOKEN], "{case}");
            // Nobody can find one whose making was answered to nobody: it stays behind, empty.
            let orphans = usize::from(made && fault != ApiFault::SilenceBefore);
            assert_eq!(town.customers(), 1 + orphans, "{case}");
            let state = town.record("CU-1").state;
            assert_eq!(state.customer.as_deref(), Some(town.pointer("CU-1").as_str()), "{case}");
            let before = town.requests();
            town.live(Millis::hours(1)).await;
            assert_eq!(town.requests(), before, "{case}: over");
            town.holds_together("CU-1");
        }
    }
}

#[tokio::test]
async fn a_new_address_goes_to_the_token_and_what_is_late_changes_nothing() {
    let town = Town::new().await;
    town.change("CU-1", |_| {});
    let late = town.hooks();
    for hook in &late {
        town.w.engine.work_event(hook.clone()).await.unwrap();
    }
    town.live(A_WHILE).await;
    town.change("CU-1", |c| c.email = Some("new.kanarie@example.com".into()));
    town.live(A_WHILE).await;
    let truth = town.pointed("CU-1");
    assert_eq!(truth.email.as_deref(), Some("new.kanarie@example.com"));
    assert_eq!((town.customers(), town.asked("PATCH /tms/v2/customers/{customerId}")), (1, 1));
    let before = town.requests();
    // The first webhook comes once more, and once more under another id.
    for (n, hook) in late.into_iter().enumerate() {
        let other = Event { id: format!("late-{n}"), ..hook.clone() };
        town.w.engine.work_event(hook).await.unwrap();
        town.w.engine.work_event(other).await.unwrap();
    }
    town.live(A_WHILE).await;
    assert_eq!((town.requests(), town.pointed("CU-1")), (before, truth));
    // Whoever else has the new address now joins the token, days later too.
    town.live(Millis::days(1)).await;
    town.change("CU-2", |c| c.email = Some("NEW.kanarie@example.com".into()));
    town.live(A_WHILE).await;
    assert_eq!((town.customers(), town.pointer("CU-2")), (1, town.pointer("CU-1")));
    // And parts from it with an address of their own; the token stays whose id it bears.
    town.change("CU-2", |c| c.email = Some("other.kanarie@example.com".into()));
    town.live(A_WHILE).await;
    assert_ne!(town.pointer("CU-2"), town.pointer("CU-1"));
    assert_eq!(town.pointed("CU-1").email.as_deref(), Some("new.kanarie@example.com"));
    town.holds_together("CU-2");
}

#[tokio::test]
async fn a_change_while_the_token_is_being_made_is_not_forgotten() {
    let town = Town::new().await;
    town.change("CU-1", |_| {});
    for hook in town.hooks() {
        town.w.engine.work_event(hook).await.unwrap();
    }
    // The command is out, with the old address in it.
    town.w.pass(Millis::secs(1));
    town.change("CU-1", |c| c.email = Some("new.kanarie@example.com".into()));
    for hook in town.hooks() {
        town.w.engine.work_event(hook).await.unwrap();
    }
    town.live(A_WHILE).await;
    assert_eq!(town.customers(), 1);
    assert_eq!(town.pointed("CU-1").email.as_deref(), Some("new.kanarie@example.com"));
    assert!(town.parked().await.is_empty());
}

#[tokio::test]
async fn the_shops_pointer_goes_first_and_anothers_token_is_not_taken_over() {
    for (reference, email, ours) in [
        (Some("CU-1"), Some("old.kanarie@example.com"), true),
        (None, None, true),
        (Some("CU-7"), Some("else@example.com"), false),
        (Some("CU-7"), None, false),
    ] {
        let town = Town::new().await;
        let token = town.make(reference, email);
        let before = town.vault.lock().unwrap().customer_truth(&token).unwrap();
        town.change("CU-1", |c| {
            c.external_ids.insert(POINTER.into(), token.clone());
        });
        town.live(A_WHILE).await;
        let case = format!("{reference:?} {email:?}");
        assert_eq!(town.pointer("CU-1") == token, ours, "{case}");
        let (found, after) = (town.pointed("CU-1"), town.vault.lock().unwrap().customer_truth(&token));
        assert_eq!(
            (found.reference.as_deref(), found.email.as_deref()),
            (Some("CU-1"), Some(MAIL)),
            "{case}"
        );
        assert_eq!(town.customers(), if ours { 1 } else { 2 }, "{case}");
        assert!(ours || after == Some(before), "{case}: it was touched");
    }
    // Deleted, or moved to another one by the shop's staff.
    let town = Town::new().await;
    town.change("CU-1", |_| {});
    town.live(A_WHILE).await;
    let first = town.pointer("CU-1");
    town.vault.lock().unwrap().delete_customer(&first);
    town.change("CU-1", |c| c.last_name = Some("Vogel".into()));
    town.live(A_WHILE).await;
    let second = town.pointer("CU-1");
    assert_ne!(second, first);
    assert_eq!((town.customers(), town.pointed("CU-1").email.as_deref()), (1, Some(MAIL)));
    let other = town.make(Some("CU-1"), Some(MAIL));
    town.change("CU-1", |c| {
        c.external_ids.insert(POINTER.into(), other.clone());
    });
    town.live(A_WHILE).await;
    assert_eq!(
        (town.pointer("CU-1"), town.record("CU-1").state.customer),
        (other.clone(), Some(other.clone()))
    );
    // Taken away by the shop, it is written back.
    town.change("CU-1", |c| {
        c.external_ids.remove(POINTER);
    });
    town.live(A_WHILE).await;
    assert_eq!(town.pointer("CU-1"), other);
    town.holds_together("CU-1");
}

#[tokio::test]
async fn an_instrument_of_two_customers_of_one_person_is_kept_once() {
    let town = Town::new().await;
    for id in ["CU-1", "CU-2"] {
        town.change(id, |c| {
            c.external_ids.insert("card".into(), TOKEN.into());
        });
    }
    town.live(Millis::hours(1)).await;
    assert_eq!((town.customers(), town.pointed("CU-1").instruments), (1, vec![TOKEN.to_owned()]));
    // A second one beside it.
    town.change("CU-2", |c| {
        c.external_ids.insert("card".into(), "7010000000016242222".into());
    });
    town.live(Millis::hours(1)).await;
    assert_eq!(town.pointed("CU-1").instruments, [TOKEN, "7010000000016242222"]);
}

#[tokio::test]
async fn a_token_that_a_payment_made_is_kept_with_the_persons_customer_whichever_came_first() {
    let saving = CONFIG.replace("key_id: k1", "key_id: k1, token_kind: transient_token, save_card: yes");
    for profile_first in [true, false] {
        let town = Town::with(&saving).await;
        if profile_first {
            town.change("CU-1", |_| {});
            town.live(A_WHILE).await;
        }
        town.order("A-1", "tok_visa_1");
        town.live(Millis::hours(1)).await;
        if !profile_first {
            town.change("CU-1", |c| c.last_name = Some("Vogel".into()));
            town.live(A_WHILE).await;
        }
        assert!(town.parked().await.is_empty(), "{:?}", town.parked().await);
        let status = town.shop.lock().unwrap().order("A-1").unwrap().status;
        assert_eq!(status, OrderStatus::PaymentReceived);
        assert_eq!(town.pointed("CU-1").instruments.len(), 1, "profile first: {profile_first}");
        // The payment makes a customer of its own; the profile's stays the person's where there is one.
        assert_eq!(town.customers(), if profile_first { 2 } else { 1 });
        let before = town.requests();
        town.live(Millis::hours(2)).await;
        assert_eq!(town.requests(), before);
        town.holds_together("CU-1");
    }
}

#[tokio::test]
async fn a_refusal_is_parked_with_its_field_and_the_next_change_goes_on() {
    let town = Town::new().await;
    town.change("CU-1", |c| c.email = Some("kanarie at home".into()));
    town.live(A_WHILE).await;
    let parked = town.parked().await;
    let [(code, what)] = &parked[..] else { panic!("{parked:?}") };
    assert_eq!(code, "invalidRequest");
    assert!(what.contains("email") && !CANARIES.iter().any(|c| what.contains(c)), "{what}");
    town.change("CU-1", |c| c.email = Some(MAIL.into()));
    town.live(A_WHILE).await;
    assert_eq!(town.pointed("CU-1").email.as_deref(), Some(MAIL));
    // Meaning at fault: an instrument that is a card number never comes to rest.
    town.change("CU-1", |c| {
        c.external_ids.insert("card".into(), "4111111111111111".into());
    });
    town.live(A_WHILE).await;
    assert_eq!(town.parked().await.len(), 2);
    town.holds_together("CU-1");
}

#[tokio::test]
async fn an_erased_person_stays_erased_by_whatever_name() {
    for name in [MAIL, "CU-1", "new.kanarie@example.com"] {
        let town = Town::new().await;
        town.change("CU-1", |_| {});
        town.live(A_WHILE).await;
        let first = town.record("CU-1").state.person;
        town.change("CU-1", |c| c.email = Some("new.kanarie@example.com".into()));
        town.live(A_WHILE).await;
        assert_ne!(town.record("CU-1").state.person, first, "it is of whoever the newest version says");
        let report = town.w.engine.erase(name).await.unwrap();
        assert_eq!(report.keys, 2, "{name}: under both addresses");
        let kept = town.w.memory.items.lock().unwrap().keys().any(|k| k.sk.starts_with(profile::CUSTOMER));
        assert!(!kept, "{name}: the token is nobody's any more");
        let (record, before) = (town.record("CU-1"), town.requests());
        assert!(town.w.engine.open_stored(&record).await.unwrap().erased, "{name}");
        // The shop still has the customer, and says so.
        town.w.pass(Millis::mins(5));
        town.change("CU-1", |c| c.last_name = Some("Vogel".into()));
        town.change("CU-1", |c| c.email = Some("third.kanarie@example.com".into()));
        town.live(A_WHILE).await;
        assert_eq!(town.requests(), before, "{name}");
        assert_eq!(town.record("CU-1").state, record.state, "{name}");
        let third: PersonId = town.w.engine.vault.person("mail:third.kanarie@example.com");
        assert!(town.w.item(&rec::person_key(&third)).is_none(), "{name}: a key was made");
        assert!(town.parked().await.is_empty());
    }
}

#[tokio::test]
async fn a_lost_webhook_is_found_by_the_sweep_and_a_hint_is_read() {
    let town = Town::new().await;
    town.change("CU-1", |_| {});
    drop(town.hooks());
    town.w.pass(Millis::mins(20));
    let report = town.w.engine.sweep(&super::shop()).await.unwrap();
    assert_eq!((report.lost.len(), report.lost[0].order.as_deref()), (1, Some("customer@shop/CU-1")));
    town.live(A_WHILE).await;
    assert_eq!(town.pointed("CU-1").email.as_deref(), Some(MAIL));
    let again = town.w.engine.sweep(&super::shop()).await.unwrap();
    assert_eq!((again.lost.len(), again.late, again.known), (0, 0, 1), "{again:?}");

    let hints = CONFIG.replace("card,", "card, webhook.scheme: shared_header,");
    let town = Town::with(&hints).await;
    town.change("CU-1", |_| {});
    town.live(A_WHILE).await;
    assert_eq!(town.pointed("CU-1").email.as_deref(), Some(MAIL));
    assert_eq!(town.customers(), 1);
    town.holds_together("CU-1");
}

#[tokio::test]
async fn where_no_pair_keeps_profiles_customers_are_unhandled_and_not_swept() {
    let town = Town::with(&World::text(", paging.style: page-index-plain")).await;
    town.change("CU-1", |_| {});
    town.live(A_WHILE).await;
    assert_eq!(town.w.engine.unhandled().await.unwrap().len(), 1);
    assert!(town.requests().is_empty(), "{:?}", town.requests());
    town.w.pass(Millis::hours(1));
    town.w.engine.sweep(&super::shop()).await.unwrap();
    assert_eq!(town.requests().keys().collect::<Vec<_>>(), ["GET /orders"]);
    // Nor is one that could not be read.
    let body = json!({"type": "customer.updated", "data": {"email": 7}});
    let bad = Event {
        kind: "customer.updated".into(),
        body: EventBody::Provider { json: RawJson::from_value(&body).unwrap() },
        ..event("bad", &json!({}))
    };
    town.w.engine.work_event(bad).await.unwrap();
    assert_eq!(town.w.engine.unhandled().await.unwrap().len(), 2);
    assert!(town.parked().await.is_empty());
}
