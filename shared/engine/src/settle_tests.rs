//! Settlement from payment to certificate, against the gateway's sandbox.

use std::sync::OnceLock;

use tillway_core::journal::{Entry, Role};
use tillway_core::money::Currency;
use tillway_core::settle::watch::Figure;
use tillway_core::settle::{Class, Day};
use tillway_sandbox::stripe::{ShopPayment, StripeConfig, StripeSandbox};
use tillway_sandbox::{Reply, Sandbox as _};

use super::*;
use crate::settle::records::{RunReport, Standing};
use crate::settle::{BatchView, Step};

#[path = "settle_accept_tests.rs"]
mod accept_tests;
#[path = "settle_due_tests.rs"]
mod due_tests;
#[path = "settle_large_tests.rs"]
mod large_tests;
#[path = "settle_rates_tests.rs"]
mod rates_tests;
#[path = "settle_watch_tests.rs"]
mod watch_tests;

/// A shop that charges by itself, and its account.
struct Trade {
    w: World,
    stripe: Arc<Mutex<StripeSandbox>>,
    /// What stands in place of a text in the gateway's answers.
    bent: Arc<Mutex<Option<(String, String)>>>,
    /// What the gateway knows nothing of.
    gone: Arc<Mutex<Option<String>>>,
}

const TEXT: &str = "connections:\n  shop: { system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key }\n  \
                    gate: { system: stripe }\npairs:\n  main: { flow: stripe-clarity, shop: shop, gateway: gate, initiates: shop, \
                    return_url: \"https://shop.example/back\" }\n";

fn gate() -> ConnectionName {
    ConnectionName::new("gate")
}

fn quiet(_: &Step) -> bool {
    true
}

impl Trade {
    async fn new() -> Self {
        let stripe = Arc::new(Mutex::new(StripeSandbox::new(StripeConfig::new("key", "secret", 7))));
        let clock: Arc<OnceLock<Arc<Memory>>> = Arc::default();
        let bent: Arc<Mutex<Option<(String, String)>>> = Arc::default();
        let (behind, time, bend) = (Arc::clone(&stripe), Arc::clone(&clock), Arc::clone(&bent));
        let gone: Arc<Mutex<Option<String>>> = Arc::default();
        let hidden = Arc::clone(&gone);
        let w = World::with(TEXT, move |request| {
            if request.url.starts_with("https://shop.example") {
                return Response::new(404);
            }
            if hidden.lock().unwrap().as_ref().is_some_and(|part| request.url.contains(part.as_str())) {
                return Response::json(
                    404,
                    &json!({"error": {"type": "invalid_request_error", "code": "resource_missing"}}),
                );
            }
            let mut response = match behind.lock().unwrap().handle(time.get().unwrap().now(), request) {
                Reply::Answer(response) => response,
                Reply::Silence => return Response::new(0),
            };
            if let Some((from, to)) = &*bend.lock().unwrap() {
                let text = String::from_utf8(response.body).unwrap();
                response.body = text.replace(from, to).into_bytes();
            }
            response
        })
        .await;
        assert!(clock.set(Arc::clone(&w.memory)).is_ok());
        Self { w, stripe, bent, gone }
    }
    fn now(&self) -> Timestamp {
        self.w.memory.now()
    }
    fn today(&self) -> Day {
        Day::of(self.now())
    }
    fn stripe<T>(&self, act: impl FnOnce(&mut StripeSandbox, Timestamp) -> T) -> T {
        act(&mut self.stripe.lock().unwrap(), self.now())
    }
    /// The shop charges a card for an order; its webhooks wait.
    fn charge(&self, order: &str, amount: i64) -> String {
        self.charge_with(&format!("pm_card_visa_x{order}"), order, amount)
    }
    fn charge_with(&self, payment_method: &str, order: &str, amount: i64) -> String {
        self.charge_in("usd", payment_method, order, amount)
    }
    fn charge_in(&self, currency: &str, payment_method: &str, order: &str, amount: i64) -> String {
        let shop = ShopPayment {
            amount,
            currency,
            metadata_key: "clarity_order_id",
            order_id: order,
            capture_method: "automatic",
            payment_method,
            customer: None,
        };
        self.stripe(|s, now| s.create_payment_as_shop(now, &shop)).unwrap()
    }
    fn refund(&self, payment: &str, amount: i64) -> String {
        self.stripe(|s, now| s.dashboard_refund(now, payment, Some(amount), None)).unwrap()
    }
    /// The webhooks that wait are worked.
    async fn hear(&self) {
        self.w.pass(Millis::secs(5));
        loop {
            let due = self.stripe(|s, now| s.take_deliveries(now));
            if due.is_empty() {
                break;
            }
            for delivery in due {
                self.stripe(|s, now| s.delivered(now, delivery.id, Some(200)));
                let event = Event {
                    connection: gate(),
                    id: delivery.event_id,
                    kind: delivery.event_type,
                    origin: Origin::Webhook,
                    received_at: self.now(),
                    created_at: None,
                    replay: 0,
                    group: "g".to_owned(),
                    redacted: Vec::new(),
                    body: EventBody::Provider { json: RawJson::from_body(&delivery.request.body).unwrap() },
                };
                self.w.engine.work_event(event).await.unwrap();
            }
            self.w.work().await;
        }
    }
    /// The webhooks that wait are lost.
    fn lose(&self) {
        for delivery in self.stripe(|s, now| s.take_deliveries(now)) {
            self.stripe(|s, now| s.delivered(now, delivery.id, Some(200)));
        }
    }
    fn pay_out(&self) -> String {
        let payout = self.stripe(|s, now| s.pay_out(now, "usd")).unwrap();
        self.lose();
        payout
    }
    async fn settle(&self) -> RunReport {
        let report = self.w.engine.settle_day(&gate(), self.today(), &quiet).await.unwrap();
        assert!(!report.busy);
        report
    }
    /// Three payments, one refunded in part, one disputed.
    async fn busy_day(&self) -> String {
        let first = self.charge("A-1", 10_800);
        let second = self.charge("A-2", 5_000);
        self.charge("A-3", 700);
        self.hear().await;
        self.refund(&first, 800);
        self.stripe(|s, now| s.open_dispute(now, &second, None, "fraudulent")).unwrap();
        self.charge("A-4", 9_000);
        self.hear().await;
        first
    }
    fn journal(&self) -> Vec<Entry> {
        self.w.journal()
    }
    fn account(&self, role: Role) -> i64 {
        self.w.account(role)
    }
    async fn batch(&self, id: &str) -> BatchView {
        self.w.engine.settled_batch(None, id).await.unwrap().unwrap()
    }
    async fn csv(&self, day: Day) -> String {
        let text = Mutex::new(String::new());
        let take = |piece: &str| {
            text.lock().unwrap().push_str(piece);
            Ok(())
        };
        self.w.engine.settlement_csv(&gate(), day, &take).await.unwrap();
        text.into_inner().unwrap()
    }
    async fn open(&self) -> Vec<Class> {
        let open = self.w.engine.settlement_open(None).await.unwrap();
        open.into_iter().map(|o| o.record.exception.class).collect()
    }
    fn payout_amount(&self, id: &str) -> i64 {
        let all: Vec<_> = self.stripe(|s, _| s.all_payouts().collect());
        all.into_iter().find(|(payout, ..)| payout == id).unwrap().1
    }
}

#[tokio::test]
async fn a_day_is_closed_and_clearing_returns_to_zero() {
    let t = Trade::new().await;
    t.busy_day().await;
    let payout = t.pay_out();
    let report = t.settle().await;
    assert!(report.is_clean(), "{report:?}");
    let record = &report.batches[0];
    let s = &record.sums;
    assert_eq!((record.standing, s.payments, s.refunds, s.disputes, s.open), (Standing::Closed, 4, 1, 1, 0));
    assert_eq!((s.matched, s.explained, s.net), (6, 1, t.payout_amount(&payout)));
    assert_eq!(t.account(Role::GatewayClearing), 0);
    assert_eq!(t.account(Role::Bank), t.payout_amount(&payout));
    assert!(report.headline.contains("closed: 4 payments, 1 refund, 1 dispute, fees"), "{}", report.headline);
    assert!(report.headline.contains("all matched"), "{}", report.headline);
    assert_eq!(t.w.alerted("settlement"), 1);
    let view = t.batch(&payout).await;
    let checked = t.w.engine.check_batch(&view).await.unwrap();
    assert_eq!((checked.standing, checked.certificates), (Some(Standing::Closed), 6), "{checked:?}");
    // The report says the same whenever it is asked for, and the books hold nothing at the gateway.
    let told = t.w.engine.settlement_report(&gate(), t.today()).await.unwrap();
    assert_eq!(format!("gate {}: {}", t.today(), told.morning()), report.headline);
    assert_eq!((told.holds[0].clearing.minor, told.holds[0].suspense.minor), (0, 0));
    assert_eq!(told.holds[0].disputed.minor, 5_000);
    let csv = t.csv(t.today()).await;
    assert_eq!(csv.lines().filter(|l| l.contains(",matched,")).count(), 6, "a row for each: {csv}");
    // Settled again, nothing is posted twice.
    let before = t.journal();
    let again = t.settle().await;
    assert_eq!((again.unchanged.len(), again.open.len()), (1, 0));
    assert_eq!(t.journal(), before);
    let order = OrderKey::new("shop/A-1");
    let told = t.w.engine.explain(&order).await.unwrap().unwrap().to_string();
    assert!(told.contains(&format!("settled in batch {payout}")), "{told}");
    assert!(told.contains("matched by own_id, certificate "), "{told}");
}

#[tokio::test]
async fn a_certificate_that_was_changed_is_refused() {
    let t = Trade::new().await;
    t.busy_day().await;
    let payout = t.pay_out();
    t.settle().await;
    let mut view = t.batch(&payout).await;
    view.doc.expected[0].amount += 1;
    let checked = t.w.engine.check_batch(&view).await.unwrap();
    assert!(checked.standing.is_none() && !checked.rejected.is_empty());
    let mut view = t.batch(&payout).await;
    view.doc.lines.pop();
    assert!(t.w.engine.check_batch(&view).await.unwrap().rejected.len() > 1);
    // The journal lost an item.
    let key = Key::new(format!("settle#gate#{payout}"), "jrns#0001");
    assert!(t.w.memory.items.lock().unwrap().remove(&key).is_some());
    let checked = t.w.engine.check_batch(&t.batch(&payout).await).await.unwrap();
    assert!(checked.rejected.iter().any(|r| r.contains("the journal has 0 entries")), "{checked:?}");
}

#[tokio::test]
async fn a_run_that_dies_at_any_write_is_gone_on_with_and_posts_once() {
    let day = async |fuse: i64, lost: bool| {
        let t = Trade::new().await;
        t.busy_day().await;
        t.charge("foreign", 100);
        t.lose();
        t.pay_out();
        t.w.memory.fuse.store(fuse, Ordering::SeqCst);
        t.w.memory.fuse_after.store(lost, Ordering::SeqCst);
        let first = t.w.engine.settle_day(&gate(), t.today(), &quiet).await;
        t.w.memory.fuse.store(i64::MAX, Ordering::SeqCst);
        let broke = first.is_err();
        // The lease of the dead runs out.
        t.w.pass(Millis::mins(3));
        let second = t.settle().await;
        let open = t.open().await;
        assert_eq!(open, [Class::MissingHere], "after {fuse}");
        let watched = t.w.engine.settlement_watch(&gate(), t.today()).await.unwrap();
        let payments = watched.figures.iter().find(|m| m.figure == Figure::Payments).unwrap();
        assert_eq!((payments.part, payments.of), (5, 1), "counted once, after {fuse}");
        let shelf = t.w.memory.items.lock().unwrap().keys().filter(|k| k.sk == "head").count();
        (broke, t.journal(), second.batches[0].standing, shelf)
    };
    let (_, whole, standing, _) = day(i64::MAX, false).await;
    assert_eq!(standing, Standing::Open);
    for lost in [false, true] {
        let mut died = 0;
        for fuse in 0.. {
            let (broke, journal, standing, _) = day(fuse, lost).await;
            assert_eq!(journal, whole, "after {fuse} writes, answer lost: {lost}");
            assert_eq!(standing, Standing::Open);
            if !broke {
                break;
            }
            died += 1;
        }
        assert!(died > 12, "{died}");
    }
}

#[tokio::test]
async fn two_runs_at_a_time_are_one() {
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out();
    let engine = &t.w.engine;
    let day = t.today();
    let inner = Mutex::new(None);
    let watch = |step: &Step| {
        if *step == Step::At("fetched") {
            let other = futures_util::FutureExt::now_or_never(engine.settle_day(&gate(), day, &quiet));
            *inner.lock().unwrap() = other.and_then(Result::ok);
        }
        true
    };
    let report = engine.settle_day(&gate(), day, &watch).await.unwrap();
    assert_eq!(report.batches[0].standing, Standing::Closed);
    let other = inner.into_inner().unwrap().unwrap();
    assert!(other.busy && other.batches.is_empty());
}

#[tokio::test]
async fn what_only_the_gateway_knows_is_asked_for_and_closes_the_batch_later() {
    let t = Trade::new().await;
    let first = t.busy_day().await;
    // Refunded in the dashboard, and no webhook ever came.
    t.refund(&first, 1_000);
    t.lose();
    let payout = t.pay_out();
    let report = t.settle().await;
    assert_eq!(t.open().await, [Class::UnknownRefund]);
    assert_eq!(report.batches[0].standing, Standing::Open);
    assert_eq!((t.account(Role::Suspense), t.account(Role::GatewayClearing)), (1_000, 0));
    assert!(report.headline.contains("1. unknown refund: -10.00 USD, new today"), "{}", report.headline);
    // The order was told meanwhile; the next run explains the line.
    t.w.work().await;
    assert_eq!(t.account(Role::GatewayClearing), -1_000);
    t.w.pass(Millis::hours(20));
    let report = t.settle().await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((t.account(Role::Suspense), t.account(Role::GatewayClearing)), (0, 0));
    let view = t.batch(&payout).await;
    assert_eq!((view.record.standing, view.record.revision), (Standing::Closed, 2));
    let checked = t.w.engine.check_batch(&view).await.unwrap();
    assert_eq!(checked.standing, Some(Standing::Closed), "{checked:?}");
}

#[tokio::test]
async fn what_never_comes_is_missed_and_what_comes_late_is_found() {
    let t = Trade::new().await;
    t.busy_day().await;
    let lost = t.charge("A-9", 4_200);
    t.hear().await;
    t.stripe(|s, _| s.withhold(&lost)).unwrap();
    t.pay_out();
    let report = t.settle().await;
    // Not due yet.
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(t.account(Role::GatewayClearing), 4_200);
    t.w.pass(Millis::days(9));
    let report = t.settle().await;
    assert_eq!(t.open().await, [Class::MissingAtGateway]);
    assert_eq!(&*report.open[0].orders[0], "shop/A-9");
    assert!(
        report.headline.contains("missing at the gateway: 42.00 USD, 7 days old, order shop/A-9"),
        "{}",
        report.headline
    );
}

#[tokio::test]
async fn a_batch_that_does_not_add_up_is_not_posted_and_the_others_are() {
    let t = Trade::new().await;
    t.busy_day().await;
    let good = t.pay_out();
    t.charge("A-5", 3_000);
    t.hear().await;
    let bad = t.pay_out();
    let amount = t.payout_amount(&bad);
    *t.bent.lock().unwrap() = Some((format!("\"amount\":{amount},"), format!("\"amount\":{},", amount + 1)));
    let report = t.settle().await;
    assert_eq!((report.batches.len(), &*report.batches[0].batch.id), (1, good.as_str()));
    assert_eq!((report.refused.len(), &*report.refused[0].batch), (1, bad.as_str()));
    assert!(report.refused[0].why[0].contains("the payout to"), "{report:?}");
    assert_eq!(t.w.alerted("settlement_refused"), 1);
    assert!(report.headline.contains(&format!("! batch {bad} is not posted")), "{}", report.headline);
    let first = report.headline.lines().next().unwrap();
    assert!(first.contains("posted in part: 4 payments") && !first.contains("all matched"), "{first}");
    assert_eq!(t.account(Role::GatewayClearing), 3_000, "its payment is as open as before");
    *t.bent.lock().unwrap() = None;
    let report = t.settle().await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(t.account(Role::GatewayClearing), 0);
}

#[tokio::test]
async fn a_batch_that_says_something_else_later_is_noticed() {
    let t = Trade::new().await;
    t.busy_day().await;
    let payout = t.pay_out();
    t.settle().await;
    let before = t.journal();
    *t.bent.lock().unwrap() =
        Some(("\"fee\":343,\"fee_details\"".into(), "\"fee\":344,\"fee_details\"".into()));
    let report = t.settle().await;
    assert_eq!((report.refused.len(), &*report.refused[0].batch), (1, payout.as_str()));
    assert!(report.refused[0].why[0].contains("says something else"), "{report:?}");
    assert_eq!(t.journal(), before);
}

#[tokio::test]
async fn a_batch_that_is_not_ready_is_waited_for_and_then_missed() {
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out();
    *t.bent.lock().unwrap() = Some(("\"completed\"".into(), "\"in_progress\"".into()));
    let report = t.settle().await;
    assert_eq!((report.waiting.len(), report.batches.len()), (1, 0), "{report:?}");
    assert_eq!(report.waiting[0].again_at, Some(t.now() + Millis::mins(30)));
    *t.bent.lock().unwrap() = None;
    assert!(t.settle().await.is_clean());
}

#[tokio::test]
async fn a_payout_that_came_back_is_in_clearing_again() {
    let t = Trade::new().await;
    t.busy_day().await;
    let payout = t.pay_out();
    t.settle().await;
    let paid = t.payout_amount(&payout);
    t.stripe(|s, now| s.fail_payout(now, &payout)).unwrap();
    t.w.pass(Millis::days(1));
    t.charge("A-7", 1_000);
    t.hear().await;
    let next = t.pay_out();
    let report = t.settle().await;
    assert_eq!(t.open().await, [Class::PayoutFailedLater]);
    assert_eq!(report.batches[0].standing, Standing::Open);
    assert_eq!(t.account(Role::Bank), t.payout_amount(&next));
    assert_eq!((t.account(Role::GatewayClearing), t.account(Role::Suspense)), (0, 0));
    assert!(t.payout_amount(&next) > paid);
}

/// A refund of ours whose answer was lost: it happened, and act knows nothing of it.
fn unknown_refund(t: &Trade, order: &str, payment: &str) -> Key {
    use tillway_core::http::Method;
    use tillway_core::money::Money;
    use tillway_core::value::Value;
    let key = OrderKey::new(format!("shop/{order}"));
    let id = tillway_core::ids::CommandId::derive(&gate(), key.as_str(), "refund", "r-1");
    let body = format!(
        "payment_intent={payment}&amount=300&metadata[tillway_command]={id}&metadata[sync_origin]=tillway"
    );
    let request = Request::new(Method::Post, "https://api.stripe.com/v1/refunds")
        .with_header("Authorization", "Bearer key")
        .with_header("Stripe-Version", tillway_sandbox::stripe::API_VERSION)
        .with_header("idempotency-key", "refund-1")
        .with_body("application/x-www-form-urlencoded", body);
    let reply = t.stripe(|s, now| s.handle(now, &request));
    assert!(matches!(reply, Reply::Answer(response) if response.status == 200));
    t.lose();
    let (now, usd) = (t.now(), Currency::parse("USD").unwrap());
    let params = Value::map([
        ("payment", Value::text(payment)),
        ("amount", Value::Money(Money::new(300, usd))),
        ("request", Value::text("r-1")),
    ]);
    let record: rec::CommandRecord = serde_json::from_value(json!({
        "id": id, "connection": "gate", "action": "stripe.refund", "money": true,
        "listeners": [{"order": key, "step": "refund/r-1", "told": false}],
        "params": params, "summary": "", "created_at": now, "fence": 3,
        "state": {"is": "unknown", "since": now, "settled_by": now, "lookups": 2, "stored": false, "replays": 0},
    }))
    .unwrap();
    let at = rec::command_key(&key, None, &id);
    let write =
        crate::commit::put_command(at.clone(), &record, now + Millis::days(9), Guard::Absent).unwrap();
    let Write::Put(NewItem { key, body, due, list, expires }, _) = write else { panic!("no put") };
    let item = Item { key: key.clone(), rev: 1, body, due, list, expires };
    t.w.memory.items.lock().unwrap().insert(key, item);
    at
}

#[tokio::test]
async fn a_line_that_names_a_call_of_unknown_outcome_proves_it() {
    let t = Trade::new().await;
    let first = t.busy_day().await;
    let at = unknown_refund(&t, "A-1", &first);
    let payout = t.pay_out();
    let report = t.settle().await;
    assert!(report.is_clean(), "{report:?}");
    let record: rec::CommandRecord = serde_json::from_slice(&t.w.item(&at).unwrap().body).unwrap();
    assert_eq!(record.state, rec::CommandState::Ended { end: tillway_core::facts::CommandEnd::Done });
    assert_eq!(record.fence, 4, "who looked it up meanwhile can write nothing");
    assert!(record.answer.contains("proven by settlement line txn_"), "{}", record.answer);
    assert!(record.provider_id.as_deref().unwrap().starts_with("re_"));
    // The order is told the usual way, and the books follow.
    assert_eq!(t.account(Role::GatewayClearing), 300, "the line is settled, and not booked yet");
    t.w.work().await;
    assert_eq!(t.account(Role::GatewayClearing), 0);
    // What the line proved is not expected once more.
    t.w.pass(Millis::days(10));
    let report = t.settle().await;
    assert!(report.is_clean(), "{report:?}");
    let checked = t.w.engine.check_batch(&t.batch(&payout).await).await.unwrap();
    assert_eq!(checked.standing, Some(Standing::Closed));
}

#[tokio::test]
async fn what_a_line_proves_and_the_gateway_does_not_show_stays_unknown_and_is_told() {
    let t = Trade::new().await;
    let first = t.busy_day().await;
    let at = unknown_refund(&t, "A-1", &first);
    t.pay_out();
    *t.gone.lock().unwrap() = Some("/v1/refunds/".to_owned());
    t.settle().await;
    let record: rec::CommandRecord = serde_json::from_slice(&t.w.item(&at).unwrap().body).unwrap();
    assert!(matches!(record.state, rec::CommandState::Unknown { .. }), "nothing would ever book it");
    assert_eq!(t.w.alerted("settlement_evidence"), 1);
}

#[tokio::test]
async fn what_is_settled_twice_is_one_item() {
    let t = Trade::new().await;
    t.charge("A-1", 700);
    t.hear().await;
    let first = t.journal().into_iter().find(|e| e.id.starts_with("capture:ch_")).unwrap();
    t.charge("A-2", 700);
    t.hear().await;
    let is_new = |e: &Entry| e.id.starts_with("capture:ch_") && e.id != first.id;
    let second = t.journal().into_iter().find(is_new).unwrap();
    let id = |entry: &Entry| entry.id.trim_start_matches("capture:").split(':').next().unwrap().to_owned();
    // The line of the second names the first once more.
    *t.bent.lock().unwrap() = Some((id(&second), id(&first)));
    t.pay_out();
    t.settle().await;
    let told = t.w.engine.settlement_report(&gate(), t.today()).await.unwrap();
    let twice: Vec<_> = told.items.iter().map(|item| (item.class, item.matched)).collect();
    assert_eq!(twice, [(Class::Duplicate, false)], "{told:?}");
    assert_eq!((told.item_count, told.open_item_count), (1, 1));
}

#[tokio::test]
async fn secrets_that_changed_are_read_again_by_who_settles_and_who_sweeps() {
    let t = Trade::new().await;
    t.charge("A-1", 5_000);
    t.hear().await;
    t.pay_out();
    t.w.rotate();
    let report = t.settle().await;
    assert!(report.is_clean() && report.batches.len() == 1 && t.w.read_again(), "{report:?}");
    t.charge("A-2", 700);
    t.lose();
    t.w.pass(Millis::mins(10));
    t.w.rotate();
    let swept = t.w.engine.sweep(&gate()).await.unwrap();
    assert!(!swept.busy && !swept.lost.is_empty() && t.w.read_again());
    t.w.work().await;
    assert!(t.journal().iter().any(|e| e.postings.iter().any(|p| p.amount.minor == 700)), "it was found");
}
