//! Several merchant ids of one gateway connection, from the order to the money, against the gateway's sandbox.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tillway_core::facts::{Fact, OrderStatus, RouteEnd, StepState};
use tillway_core::routing::Table;
use tillway_core::state::OrderState;
use tillway_sandbox::cybersource::{
    Credentials, CybersourceConfig, CybersourceSandbox, Manner, Merchant, OrderTruth, WebhookConfig,
};
use tillway_sandbox::{Reply, Sandbox as _};

use super::*;
use crate::records::LogRecord;

/// The gateway with two merchant ids, and the shop.
struct Market {
    gateway: CybersourceSandbox,
    shop: BTreeMap<String, Json>,
    /// Payments asked of the gateway, by merchant id.
    asked: BTreeMap<String, u32>,
    /// Where transactions were read, in turn.
    read: Vec<String>,
    /// Captures there get no answer, and how many were asked for.
    down: (&'static str, u32),
}

const OWN: &str = "acme";
const EU: &str = "acme_eu";
const DECLINES: Manner = Manner::Declines { permille: 1000, reason: "ISSUER_UNAVAILABLE" };

impl Market {
    fn answer(&mut self, request: &Request) -> Response {
        // The time and the merchant are what the token says.
        if let Some(claims) = claims(request) {
            let now = Timestamp::from_unix(claims["iat"].as_i64().unwrap());
            if request.method == tillway_core::http::Method::Post && request.path() == "/pts/v2/payments" {
                let merchant = claims["v-c-merchant-id"].as_str().unwrap().to_owned();
                *self.asked.entry(merchant).or_default() += 1;
            }
            if request.path().starts_with("/tss/v2/transactions/") {
                self.read.push(claims["v-c-merchant-id"].as_str().unwrap().to_owned());
            }
            if request.path().ends_with("/captures") && claims["v-c-merchant-id"] == self.down.0 {
                self.down.1 += 1;
                return Response::new(502);
            }
            return match self.gateway.handle(now, request) {
                Reply::Answer(response) => response,
                Reply::Silence => Response::new(504),
            };
        }
        let id = request.path().rsplit('/').next().unwrap_or("").to_owned();
        let Some(Json::Object(order)) = self.shop.get_mut(&id) else { return Response::new(404) };
        if let Ok(Json::Object(patch)) = serde_json::from_slice(&request.body) {
            order.extend(patch);
            let version = order["version"].as_i64().unwrap() + 1;
            order.insert("version".into(), version.into());
        }
        Response::json(200, &Json::Object(order.clone()))
    }
    fn asked(&self, merchant: &str) -> u32 {
        self.asked.get(merchant).copied().unwrap_or(0)
    }
}

fn claims(request: &Request) -> Option<Json> {
    let token = request.header("authorization")?.strip_prefix("Bearer ")?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok().filter(|c: &Json| c.get("v-c-merchant-id").is_some())
}

struct Routed {
    w: World,
    market: Arc<Mutex<Market>>,
}

impl Routed {
    async fn new(own: Manner, eu: Manner, routing: &str) -> Self {
        let hooks = WebhookConfig::new("k", SIGNING, None);
        let mut config = CybersourceConfig::new(Credentials::new(OWN, "k1", SIGNING), hooks, 7);
        config.manner = own;
        config.merchants = vec![Merchant { credentials: Credentials::new(EU, "k1", SIGNING), manner: eu }];
        let gateway = CybersourceSandbox::new(config);
        let market = Market {
            gateway,
            shop: BTreeMap::new(),
            asked: BTreeMap::new(),
            read: Vec::new(),
            down: ("", 0),
        };
        let market = Arc::new(Mutex::new(market));
        let behind = Arc::clone(&market);
        let text = format!(
            "connections:\n  shop: {{ system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key }}\n  \
             signed: {{ system: cybersource, merchant_id: {OWN}, merchant_ids: [{EU}], key_id: k1 }}\npairs:\n  main:\n    flow: \
             cybersource-clarity\n    shop: shop\n    gateway: signed\n    routing: {{ {routing} }}\n"
        );
        let w = World::with(&text, move |request| behind.lock().unwrap().answer(request)).await;
        Self { w, market }
    }
    async fn place(&self, id: &str) {
        self.place_in(id, "USD").await;
    }
    async fn place_in(&self, id: &str, currency: &str) {
        self.placed(id, currency, &format!("tok_visa_{id}")).await;
    }
    async fn place_token(&self, id: &str, token: &str) {
        self.placed(id, "USD", token).await;
    }
    async fn placed(&self, id: &str, currency: &str, token: &str) {
        let mut order = order(id, 1);
        for amount in ["/total/currency", "/lines/0/unitPrice/currency"] {
            *order.pointer_mut(amount).unwrap() = currency.into();
        }
        order["payment"] = json!({"token": token, "cardBrand": "Visa"});
        // A transient token knows no cardholder.
        order["billingAddress"] = json!({"firstName": "Ann", "lastName": "Vogel", "street1": "1 Main St", "city": "Austin",
            "region": "TX", "postalCode": "78701", "country": "US"});
        self.market.lock().unwrap().shop.insert(id.to_owned(), order.clone());
        self.w.engine.work_event(event(&format!("e-{id}"), &order)).await.unwrap();
    }
    /// Works what was sent, and no time passes.
    async fn drain(&self) {
        for _ in 0..30 {
            let sent: Vec<(String, OutMessage)> = self.w.memory.sent.lock().unwrap().drain(..).collect();
            for (queue, message) in sent {
                if queue == rec::EVENTS {
                    self.w.engine.work_event(self.w.engine.open_event(&message.body).unwrap()).await.unwrap();
                } else {
                    let message =
                        InMessage { receipt: "r".into(), group: None, body: message.body, receives: 1 };
                    self.w.engine.handle_command(&message).await.unwrap();
                }
            }
        }
    }
    async fn pay(&self, id: &str) -> OrderState {
        self.place(id).await;
        self.w.live(Millis::mins(4)).await;
        self.state(id)
    }
    fn state(&self, id: &str) -> OrderState {
        let item = self.w.item(&rec::state_key(&OrderKey::new(format!("shop/{id}")))).unwrap();
        serde_json::from_slice::<rec::OrderRecord>(&item.body).unwrap().state
    }
    fn truth(&self, id: &str) -> OrderTruth {
        self.market.lock().unwrap().gateway.order_truth(id)
    }
    fn set(&self, own: Manner) {
        self.market.lock().unwrap().gateway.config_mut().manner = own;
    }
    fn table(&self) -> Table {
        let item = self.w.item(&rec::routes_key(&ConnectionName::new("signed")));
        item.map(|item| serde_json::from_slice(&item.body).unwrap()).unwrap_or_default()
    }
    fn log(&self, id: &str) -> Vec<LogRecord> {
        let items = self.w.memory.items.lock().unwrap();
        let of = |k: &Key| k.pk == format!("order#shop/{id}") && k.sk.starts_with("log#");
        let found = items.values().filter(|i| of(&i.key));
        found.map(|i| serde_json::from_slice(&i.body).unwrap()).collect()
    }
    async fn explained(&self, id: &str) -> String {
        let key = OrderKey::new(format!("shop/{id}"));
        self.w.engine.explain(&key).await.unwrap().unwrap().to_string()
    }
    /// State and log agree byte for byte, though nothing is drawn again.
    fn is_rebuilt(&self, id: &str) {
        let log = self.log(id);
        let facts = log.iter().flat_map(|l| l.facts.iter().map(|f| (l.at, &l.connection, f)));
        let rebuilt = OrderState::rebuild(OrderKey::new(format!("shop/{id}")), facts).0.unwrap();
        let json = |state: &OrderState| serde_json::to_string(state).unwrap();
        assert_eq!(json(&rebuilt), json(&self.state(id)));
    }
}

#[tokio::test]
async fn a_merchant_id_that_fails_is_left_out_and_tried_again_and_every_order_is_paid_once() {
    let r = Routed::new(Manner::Unavailable, Manner::Usual, "pause: 2h, one_in: 4").await;
    let mut elsewhere = 0;
    for n in 0..16 {
        let id = format!("A-{n}");
        let state = r.pay(&id).await;
        let truth = r.truth(&id);
        assert_eq!((state.status, truth.charges, truth.captured), (OrderStatus::Paid, 1, 1000), "{id}");
        assert_eq!(truth.payments[0].merchant, EU, "authorized and captured where it was approved");
        elsewhere += usize::from(state.choices.len() > 1);
        r.is_rebuilt(&id);
    }
    assert!(elsewhere >= 5, "the first ones that drew it went on elsewhere: {elsewhere}");
    let explained = r.explained("A-15").await;
    assert!(explained.contains("route acme_eu: drawn"), "{explained}");
    assert!(explained.contains("acme 0 approved 0 declined, failing, acme_eu 15 approved"), "{explained}");
    // While it rests nothing is asked of it; it is asked again by some, and healed by the first that goes through.
    let before = r.market.lock().unwrap().asked(OWN);
    r.pay("B-0").await;
    assert_eq!(r.market.lock().unwrap().asked(OWN), before, "it rests");
    r.set(Manner::Usual);
    let mut tried = Vec::new();
    for n in 0..12 {
        r.w.live(Millis::hours(1)).await;
        let id = format!("C-{n}");
        let state = r.pay(&id).await;
        assert_eq!(state.status, OrderStatus::Paid);
        tried.push(r.truth(&id).payments[0].merchant.clone());
    }
    let first = tried.iter().position(|m| m == OWN).unwrap_or_else(|| panic!("{tried:?}"));
    assert!(r.explained(&format!("C-{first}")).await.contains("this order tries it again"));
    assert!(r.table().health(OWN).unwrap().failures.is_empty());
    assert_eq!(r.market.lock().unwrap().gateway.counters().auth_refusals.len(), 0);
}

/// Five orders in a currency that one id does not take leave it in the running for all others.
#[tokio::test]
async fn an_id_that_lacks_a_currency_is_not_left_out_for_the_others() {
    let r = Routed::new(Manner::Without("EUR"), Manner::Usual, "leave_out_after: 2, pause: 2h").await;
    let mut elsewhere = 0;
    for n in 0..10 {
        let id = format!("A-{n}");
        r.place_in(&id, "EUR").await;
        r.w.live(Millis::mins(4)).await;
        let (state, truth) = (r.state(&id), r.truth(&id));
        assert_eq!((state.status, truth.charges, truth.captured), (OrderStatus::Paid, 1, 1000), "{id}");
        assert_eq!(truth.payments[0].merchant, EU);
        elsewhere += usize::from(state.choices.values().any(|c| c.end == Some(RouteEnd::Unfit)));
        r.is_rebuilt(&id);
    }
    assert!(elsewhere >= 3, "drawn there first: {elsewhere}");
    assert!(r.table().health(OWN).is_none_or(|health| health.failures.is_empty()), "no failure of the id");
    // In its own currency it is drawn like any other.
    let mut used = std::collections::BTreeSet::new();
    for n in 0..8 {
        let id = format!("B-{n}");
        r.pay(&id).await;
        used.insert(r.truth(&id).payments[0].merchant.clone());
    }
    assert!(used.contains(OWN), "{used:?}");
    // Nowhere enabled, it goes to a person who reads what to do.
    r.market.lock().unwrap().gateway.config_mut().merchants[0].manner = Manner::Without("EUR");
    r.place_in("C-0", "EUR").await;
    r.w.live(Millis::mins(4)).await;
    let parked: Vec<_> = r.w.engine.parked().await.unwrap();
    let [one] = &parked[..] else { panic!("{}", parked.len()) };
    assert_eq!(one.item.code, "currency_not_enabled");
    assert!(one.item.what.contains("enable it there"), "{}", one.item.what);
}

/// Beyond the window of a signature the answer reads like wrong credentials.
#[tokio::test]
async fn a_clock_that_is_off_is_told_from_credentials_that_are_wrong() {
    for (ahead, code, says) in [
        (Millis::mins(5), "clock_off", "5 min 0 s behind the one there: set the machine's clock"),
        (Millis(0), "credentials_refused", "put new ones"),
        (Millis::secs(-301), "clock_off", "5 min 1 s ahead of the one there"),
    ] {
        let r = Routed::new(Manner::Usual, Manner::Usual, "").await;
        {
            let mut market = r.market.lock().unwrap();
            let config = market.gateway.config_mut();
            config.clock_skew = ahead;
            if ahead == Millis(0) {
                config.credentials.shared_secret = "QUFBQUFBQUFBQUFBQUFBQQ==".into();
                config.merchants[0].credentials.shared_secret = "QUFBQUFBQUFBQUFBQUFBQQ==".into();
            }
        }
        r.place("A-1").await;
        r.w.live(Millis::mins(1)).await;
        let alerts = r.w.memory.alerts.lock().unwrap();
        let told =
            |of: &str| alerts.iter().filter(|a| a.code == of).map(|a| a.text.clone()).collect::<Vec<_>>();
        let (clock, credentials) = (told("clock_off"), told("credentials_refused"));
        assert!(clock.is_empty() != credentials.is_empty(), "one or the other: {clock:?} {credentials:?}");
        assert!(told(code).iter().any(|text| text.contains(says)), "{ahead:?}: {clock:?} {credentials:?}");
    }
}

/// What a card field (Microform) gives the shop is a JWT of some thousand characters.
#[tokio::test]
async fn a_transient_token_is_charged_from_the_shops_order_on() {
    let r = Routed::new(Manner::Usual, Manner::Usual, "").await;
    let jwt = |jti: &str, ends: i64| {
        let part = |value: &Json| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(&json!({"kid": "3g", "alg": "RS256"}));
        let context = "c".repeat(2400);
        let claims =
            part(&json!({"iss": "Flex/07", "exp": ends, "type": "mf-2.1.0", "jti": jti, "context": context}));
        format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([7; 256]))
    };
    let now = r.w.memory.now().unix();
    let good = jwt("tok_visa_1", now + 900);
    assert!((3000..8192).contains(&good.len()), "{}", good.len());
    for (id, token, status) in [
        ("A-1", good.clone(), OrderStatus::Paid),
        ("A-2", jwt("tok_stolen_1", now + 900), OrderStatus::PaymentFailed),
    ] {
        r.place_token(id, &token).await;
        r.w.live(Millis::mins(4)).await;
        assert_eq!(r.state(id).status, status, "{id}");
        assert_eq!(r.truth(id).payments.len(), 1);
        let explained = r.explained(id).await;
        assert!(!explained.contains(&token), "what is charged stands in no sentence");
        r.is_rebuilt(id);
    }
    assert_eq!(r.truth("A-1").captured, 1000);
    // One that has run out is refused, and longer than any is parked on the way in.
    for (id, token, code) in
        [("A-3", jwt("tok_visa_2", now - 1), "INVALID_DATA"), ("A-4", "x".repeat(8193), "member_malformed")]
    {
        r.place_token(id, &token).await;
        r.w.live(Millis::mins(4)).await;
        let parked = r.w.engine.parked().await.unwrap();
        assert!(parked.iter().any(|p| p.item.code == code), "{id}");
        assert!(r.truth(id).payments.is_empty());
    }
}

#[tokio::test]
async fn what_follows_goes_to_the_id_of_the_payment() {
    let r = Routed::new(Manner::Usual, Manner::Usual, "").await;
    let mut used = std::collections::BTreeSet::new();
    for n in 0..8 {
        // Nothing is measured yet: either may be drawn.
        r.place(&format!("A-{n}")).await;
    }
    r.w.live(Millis::mins(4)).await;
    for n in 0..8 {
        let id = format!("A-{n}");
        used.insert(r.truth(&id).payments[0].merchant.clone());
        // The shop cancels: the capture is voided where it was made.
        let mut cancelled = r.market.lock().unwrap().shop[&id].clone();
        cancelled["status"] = "Cancelled".into();
        cancelled["version"] = json!(cancelled["version"].as_i64().unwrap() + 1);
        r.w.engine.work_event(event(&format!("x-{id}"), &cancelled)).await.unwrap();
        r.w.live(Millis::mins(4)).await;
        let truth = r.truth(&id);
        assert_eq!((truth.captured, truth.payments.len()), (0, 1), "{id}");
        assert_eq!(r.state(&id).refunded(), 1000);
        r.is_rebuilt(&id);
    }
    assert_eq!(used.len(), 2, "both were drawn: {used:?}");
    let parked: Vec<String> = r.w.engine.parked().await.unwrap().into_iter().map(|p| p.item.what).collect();
    assert!(parked.is_empty(), "{parked:?}");
}

#[tokio::test]
async fn a_soft_decline_goes_once_to_the_other_id_where_that_is_wanted() {
    for (wanted, status) in [("yes", OrderStatus::Paid), ("no", OrderStatus::PaymentFailed)] {
        let r = Routed::new(DECLINES, Manner::Usual, &format!("retry_soft_declines: {wanted}")).await;
        let mut declined = 0;
        for n in 0..8 {
            let id = format!("A-{n}");
            let state = r.pay(&id).await;
            let truth = r.truth(&id);
            let first = truth.payments[0].merchant.clone();
            if first == EU {
                assert_eq!((state.status, truth.payments.len()), (OrderStatus::Paid, 1));
                continue;
            }
            declined += 1;
            assert_eq!(state.status, status, "{id}");
            assert_eq!(truth.charges, usize::from(wanted == "yes"), "never two");
            assert_eq!(truth.payments.len(), if wanted == "yes" { 2 } else { 1 });
            let told = state.steps.iter().find(|(step, _)| step.starts_with("decline-customer/")).unwrap().1;
            assert_eq!(
                matches!(told, StepState::Skipped { .. }),
                wanted == "yes",
                "told only where it is the end"
            );
            // The shop never saw it fail where it did not.
            let failed = r.log(&id).iter().flat_map(|l| l.facts.clone()).any(
                |f| matches!(f, Fact::StatusChanged { status, .. } if status == OrderStatus::PaymentFailed),
            );
            assert_eq!(failed, wanted == "no");
            r.is_rebuilt(&id);
            if wanted == "yes" {
                let explained = r.explained(&id).await;
                assert!(
                    explained.contains("declined softly") && explained.contains("a second time after"),
                    "{explained}"
                );
            }
        }
        assert!(declined >= 2, "{declined}");
    }
}

#[tokio::test]
async fn both_ids_declining_is_one_second_attempt_and_then_the_shopper_is_told() {
    let r = Routed::new(DECLINES, DECLINES, "retry_soft_declines: yes").await;
    let state = r.pay("A-1").await;
    let truth = r.truth("A-1");
    assert_eq!((state.status, truth.payments.len(), truth.charges), (OrderStatus::PaymentFailed, 2, 0));
    let merchants: std::collections::BTreeSet<&str> =
        truth.payments.iter().map(|p| p.merchant.as_str()).collect();
    assert_eq!(merchants.len(), 2, "each once");
    let told =
        state.steps.iter().filter(|(s, st)| s.starts_with("decline-customer/") && **st == StepState::Done);
    assert_eq!(told.count(), 1, "told once");
}

/// Webhooks are not believed about the merchant id, and the payment's own is known: it is asked first.
#[tokio::test]
async fn what_a_webhook_tells_of_is_read_first_where_its_payment_lies() {
    let r = Routed::new(Manner::Usual, Manner::Usual, "rules: [{ routes: acme_eu }]").await;
    r.pay("A-1").await;
    let of = r.truth("A-1").payments[0].payment.clone();
    let capture = r.state("A-1").payments[&of].charges[&of].made.keys().next().unwrap().clone();
    for (n, object) in [of, capture].into_iter().enumerate() {
        let kind = "payments.capture.status.updated";
        let data =
            json!({"id": object, "status": "TRANSMITTED", "clientReferenceInformation": {"code": "A-1"}});
        let body = json!({"eventType": kind, "payload": {"data": data}});
        let body = EventBody::Provider { json: RawJson::from_value(&body).unwrap() };
        let hook = Event {
            connection: ConnectionName::new("signed"),
            kind: kind.to_owned(),
            body,
            ..event("", &json!({}))
        };
        r.market.lock().unwrap().read.clear();
        r.w.engine.work_event(Event { id: format!("hook-{n}"), ..hook }).await.unwrap();
        r.drain().await;
        assert_eq!(r.market.lock().unwrap().read.first().map(String::as_str), Some(EU), "{n}");
    }
    assert_eq!((r.state("A-1").status, r.truth("A-1").captured), (OrderStatus::Paid, 1000));
    r.is_rebuilt("A-1");
}

/// What follows on payments goes to their merchant id alone: where that fails, the others are not held back.
#[tokio::test]
async fn captures_that_fail_at_one_id_hold_back_that_id_alone() {
    let rules = "rules: [{ when: 'order.currency == \"EUR\"', routes: acme_eu }, { routes: acme }]";
    let r = Routed::new(Manner::Usual, Manner::Usual, rules).await;
    r.market.lock().unwrap().down.0 = EU;
    for n in 0..5 {
        r.place_in(&format!("E-{n}"), "EUR").await;
    }
    r.drain().await;
    assert_eq!(r.market.lock().unwrap().down.1, 5);
    let alerts = || {
        let alerts = r.w.memory.alerts.lock().unwrap();
        let texts = alerts.iter().filter(|a| a.code == "breaker_open").map(|a| a.text.clone());
        texts.collect::<Vec<_>>()
    };
    let [text] = &alerts()[..] else { panic!("{:?}", alerts()) };
    assert!(text.contains("at merchant id acme_eu"), "{text}");
    // The next order of the other id is paid at once; of this one, nothing is asked for.
    r.place("A-1").await;
    r.place_in("E-5", "EUR").await;
    r.drain().await;
    assert_eq!((r.state("A-1").status, r.truth("A-1").captured), (OrderStatus::Paid, 1000));
    assert_eq!((r.truth("E-5").captured, r.market.lock().unwrap().down.1), (0, 5));
    // It heals, and all that waited is taken once.
    r.market.lock().unwrap().down.0 = "";
    r.w.live(Millis::hours(2)).await;
    for n in 0..6 {
        let id = format!("E-{n}");
        assert_eq!((r.state(&id).status, r.truth(&id).captured), (OrderStatus::Paid, 1000), "{id}");
    }
    assert_eq!(alerts().len(), 1);
}

#[tokio::test]
async fn an_unknown_outcome_never_goes_elsewhere_and_is_noted_at_once() {
    let r = Routed::new(Manner::Broken, Manner::Broken, "retry_soft_declines: yes").await;
    r.place("A-1").await;
    r.w.live(Millis::mins(13)).await;
    let state = r.state("A-1");
    let chosen = state.choices.values().next().unwrap().clone();
    assert_eq!((state.choices.len(), chosen.end), (1, None));
    let other = if chosen.route == OWN { EU } else { OWN };
    assert_eq!(r.market.lock().unwrap().asked(other), 0, "nothing of it went to the other id");
    let health = r.table();
    assert_eq!(
        health.health(&chosen.route).unwrap().failures.len(),
        1,
        "counted while it is still unknown, once"
    );
    // It heals, and the same command goes through at the same id.
    {
        let mut market = r.market.lock().unwrap();
        market.gateway.config_mut().manner = Manner::Usual;
        for merchant in &mut market.gateway.config_mut().merchants {
            merchant.manner = Manner::Usual;
        }
    }
    r.w.live(Millis::hours(2)).await;
    let truth = r.truth("A-1");
    assert_eq!((r.state("A-1").status, truth.charges), (OrderStatus::Paid, 1));
    assert!(truth.payments.iter().all(|p| p.merchant == chosen.route), "{truth:?}");
    assert_eq!(r.state("A-1").choices.values().next().unwrap().end, Some(RouteEnd::Approved));
    assert_eq!(r.table().folded, 2, "one failure, one approval");
}

#[tokio::test]
async fn each_outcome_counts_once_whatever_is_lost_or_races() {
    let r = Routed::new(DECLINES, Manner::Usual, "").await;
    for n in 0..6 {
        r.place(&format!("A-{n}")).await;
    }
    r.w.live(Millis::secs(20)).await;
    let open = || r.w.memory.items.lock().unwrap().keys().filter(|k| k.sk.starts_with("note#")).count();
    let before = r.table().folded;
    for n in 0..5 {
        r.place(&format!("B-{n}")).await;
    }
    // Worked without a tick: the notes lie there.
    r.drain().await;
    assert_eq!(open(), 5);
    // The answer to the counting is lost: it happened all the same, and is not done again.
    *r.w.memory.lose.lock().unwrap() = Some("routes#signed".into());
    assert!(r.w.engine.tick().await.is_err());
    let both = futures_util::future::join(r.w.engine.tick(), r.w.engine.tick()).await;
    assert_eq!((both.0.unwrap().counted, both.1.unwrap().counted), (0, 0));
    assert_eq!((open(), r.table().folded), (0, before + 5));
    // What is told again tells nothing new.
    let ended = r
        .log("B-0")
        .iter()
        .flat_map(|l| l.facts.clone())
        .filter(|f| matches!(f, Fact::RouteEnded { .. }))
        .count();
    assert_eq!(ended, 1);
}

#[tokio::test]
async fn what_is_measured_moves_orders_to_the_better_id() {
    let r = Routed::new(Manner::Declines { permille: 800, reason: "ISSUER_UNAVAILABLE" }, Manner::Usual, "")
        .await;
    for n in 0..60 {
        r.place(&format!("A-{n}")).await;
        r.w.live(Millis::secs(60)).await;
    }
    let later = (40..60).filter(|n| r.truth(&format!("A-{n}")).payments[0].merchant == EU).count();
    assert!(later >= 17, "{later} of the last 20 at the id that approves");
    let explained = r.explained("A-59").await;
    assert!(explained.contains("segment: USD, visa"), "{explained}");
}

#[tokio::test]
async fn rules_name_the_id_and_nothing_is_drawn() {
    let r = Routed::new(
        Manner::Usual,
        Manner::Usual,
        "rules: [{ when: order.guest, routes: acme }, { routes: acme_eu }]",
    )
    .await;
    for n in 0..4 {
        let id = format!("A-{n}");
        r.pay(&id).await;
        assert_eq!(r.truth(&id).payments[0].merchant, EU);
    }
    assert!(r.explained("A-0").await.contains("route acme_eu: the only one of rule 2"));
}

/// The store forgot the choice, and what is measured since would choose otherwise: the command is the same, and is looked
/// for at every id before anything is sent.
#[tokio::test]
async fn after_a_restore_an_authorization_is_found_wherever_it_was_made() {
    let r = Routed::new(Manner::Usual, Manner::Usual, "").await;
    r.pay("A-1").await;
    let first = r.truth("A-1").payments[0].clone();
    r.w.memory.items.lock().unwrap().clear();
    // Only the other id ever approved anything, as far as the restored store knows.
    let other = if first.merchant == OWN { EU } else { OWN };
    let settings = tillway_core::routing::Settings::default();
    let at = Timestamp(r.w.memory.now.load(Ordering::SeqCst));
    let note = |route: &str, ended| tillway_core::routing::Note {
        route: route.into(),
        segment: "USD|visa||1000".to_owned().into(),
        ended,
        at,
    };
    let mut table = Table::default();
    for _ in 0..100 {
        let good = note(other, tillway_core::routing::Ended::Approved);
        let bad = note(&first.merchant, tillway_core::routing::Ended::Declined);
        table.fold([&good, &bad], &settings);
    }
    let key = rec::routes_key(&ConnectionName::new("signed"));
    r.w.put(&key, &serde_json::to_vec(&table).unwrap(), at);
    r.w.pass(Millis::mins(1));
    r.w.engine.begin_restore(&[]).await.unwrap();
    r.place("A-1").await;
    let chosen = r.state("A-1").choices.values().next().unwrap().route.clone();
    assert_eq!(chosen, other, "it would have gone elsewhere now");
    r.w.live(Millis::hours(1)).await;
    let truth = r.truth("A-1");
    assert_eq!((truth.payments.len(), truth.charges), (1, 1), "nothing was sent again");
    let state = r.state("A-1");
    assert_eq!(state.payments[&first.payment].route.as_deref(), Some(first.merchant.as_str()));
}
