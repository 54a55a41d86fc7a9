//! Settlement where the gateway says what was submitted and not what was funded, against its sandbox.

use std::sync::OnceLock;

use tillway_core::settle::{Class, Day, Reason, Tier};
use tillway_sandbox::cybersource::{Credentials, CybersourceConfig, CybersourceSandbox, WebhookConfig};
use tillway_sandbox::{Reply, Sandbox as _};

use super::*;
use crate::settle::Step;
use crate::settle::records::{RunReport, Standing};

#[path = "settle_bank_tests.rs"]
mod bank_tests;
#[path = "settle_fees_tests.rs"]
mod fees_tests;
#[path = "settle_late_tests.rs"]
mod late_tests;

const CONFIG: &str = "connections:\n  shop: { system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key }\n  \
                      signed: { system: cybersource, base_url: \"https://gateway.example\", merchant_id: acme, key_id: k1, \
                      settlement.funding: net_fundings }\npairs:\n  main: { flow: cybersource-clarity, shop: shop, \
                      gateway: signed }\n";

/// A shop that keeps what is written to its orders, and the merchant's account.
struct Trade {
    w: World,
    gateway: Arc<Mutex<CybersourceSandbox>>,
    /// What stands in place of a text in the gateway's answers.
    bent: Arc<Mutex<Option<(String, String)>>>,
}

fn signed() -> ConnectionName {
    ConnectionName::new("signed")
}

fn quiet(_: &Step) -> bool {
    true
}

impl Trade {
    async fn new() -> Self {
        Self::with(CONFIG, Some(Millis::days(2))).await
    }
    async fn with(config_text: &str, funded_after: Option<Millis>) -> Self {
        let credentials = Credentials::new("acme", "k1", SIGNING);
        let mut config = CybersourceConfig::new(credentials, WebhookConfig::new("hook", SIGNING, None), 7);
        config.funded_after = funded_after;
        let gateway = Arc::new(Mutex::new(CybersourceSandbox::new(config)));
        let clock: Arc<OnceLock<Arc<Memory>>> = Arc::default();
        let (behind, time) = (Arc::clone(&gateway), Arc::clone(&clock));
        let bent: Arc<Mutex<Option<(String, String)>>> = Arc::default();
        let bend = Arc::clone(&bent);
        let orders: Mutex<std::collections::BTreeMap<String, Json>> = Mutex::default();
        let w = World::with(config_text, move |request| {
            if request.url.starts_with("https://shop.example") {
                let id = request.path().rsplit('/').next().unwrap().to_owned();
                let mut orders = orders.lock().unwrap();
                let known = orders.entry(id.clone()).or_insert_with(|| order(&id, 1));
                if let (Json::Object(known), Ok(Json::Object(patch))) =
                    (&mut *known, serde_json::from_slice(&request.body))
                {
                    let version = known["version"].as_i64().unwrap() + 1;
                    known.extend(patch);
                    known.insert("version".into(), version.into());
                }
                return Response::json(200, known);
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
        Self { w, gateway, bent }
    }
    /// An order of 10.00 comes and is paid by card. Gives its capture.
    async fn paid(&self, order_id: &str) -> String {
        let mut by_token = order(order_id, 1);
        by_token["payment"] = json!({"token": "tok_visa"});
        self.w.engine.work_event(event(order_id, &by_token)).await.unwrap();
        self.w.live(Millis::mins(5)).await;
        let truth = self.gateway(|g, _| g.order_truth(order_id));
        let ids: Vec<String> = truth.payments[0]
            .transactions
            .iter()
            .filter(|t| t.amount == 1_000)
            .map(|t| t.id.clone())
            .collect();
        ids.last().unwrap().clone()
    }
    fn gateway<T>(&self, act: impl FnOnce(&mut CybersourceSandbox, Timestamp) -> T) -> T {
        act(&mut self.gateway.lock().unwrap(), self.w.memory.now())
    }
    /// What no webhook told is found.
    async fn sweep(&self) {
        self.w.live(Millis::mins(10)).await;
        self.w.engine.sweep(&signed()).await.unwrap();
        self.w.live(Millis::mins(5)).await;
    }
    async fn settle(&self, day: Day) -> RunReport {
        let report = self.w.engine.settle_day(&signed(), day, &quiet).await.unwrap();
        assert!(!report.busy);
        report
    }
    async fn clearing(&self, day: Day) -> i128 {
        let told = self.w.engine.settlement_report(&signed(), day).await.unwrap();
        told.holds[0].clearing.minor
    }
    async fn open(&self) -> Vec<Class> {
        let open = self.w.engine.settlement_open(None).await.unwrap();
        open.into_iter().map(|o| o.record.exception.class).collect()
    }
}

#[tokio::test]
async fn secrets_that_changed_are_read_again_before_a_call_is_given_up() {
    let t = Trade::new().await;
    t.w.rotate();
    t.paid("A-1").await;
    assert!(t.w.read_again());
    let truth = t.gateway(|g, _| g.order_truth("A-1"));
    assert_eq!(truth.payments.len(), 1, "and once");
}

#[tokio::test]
async fn what_was_voided_before_the_cut_off_is_not_missed() {
    let t = Trade::new().await;
    let day = Day::of(t.w.memory.now());
    t.paid("A-1").await;
    let second = t.paid("A-2").await;
    t.gateway(|g, now| g.void_by_hand(now, &second)).unwrap();
    t.sweep().await;
    t.w.pass(Millis::hours(20));
    let report = t.settle(day).await;
    assert!(report.refused.is_empty() && report.waiting.is_empty(), "{report:?}");
    let record = &report.batches[0];
    assert_eq!((record.standing, record.sums.payments, record.sums.refunds), (Standing::Submitted, 1, 0));
    assert_eq!(t.clearing(day).await, 1_000, "the gateway owes the first");
    // It would be due by now.
    t.w.pass(Millis::days(12));
    t.settle(day.plus(12)).await;
    assert_eq!(t.open().await, []);
}

#[tokio::test]
async fn a_run_downloads_the_report_of_a_day_once() {
    const DOWNLOAD: &str = "GET /reporting/v3/report-downloads";
    let t = Trade::new().await;
    let day = Day::of(t.w.memory.now());
    t.paid("A-1").await;
    t.w.pass(Millis::hours(20));
    let asked = || t.gateway(|g, _| g.counters().requests.get(DOWNLOAD).copied().unwrap_or(0));
    let mut before = asked();
    assert_eq!(t.settle(day).await.batches.len(), 1);
    assert_eq!(asked() - before, 1, "for the list and for the batch");
    t.w.pass(Millis::days(2));
    before = asked();
    let report = t.settle(day.plus(2)).await;
    assert_eq!(report.batches[0].standing, Standing::Closed, "{report:?}");
    // Its own and those of five days before, for the list and for the batch that is funded. Its own is not there and is asked
    // for by the list of what was submitted and by that of what was funded.
    assert_eq!(asked() - before, 1 + 6);
    // Another run asks anew: it may say something else.
    before = asked();
    t.settle(day).await;
    assert!(asked() > before);
}

#[tokio::test]
async fn a_file_that_is_wrong_posts_nothing_until_it_is_mended() {
    let t = Trade::new().await;
    let day = Day::of(t.w.memory.now());
    let capture = t.paid("A-1").await;
    t.paid("A-2").await;
    t.w.pass(Millis::hours(20));
    let (journal, period) = (t.w.journal(), format!("{day}T00:00:00Z to "));
    for (n, (from, to, code)) in [
        ("acme,PaymentBatch", "other,PaymentBatch", "wrong_merchant"),
        (&format!(",acme,{day}"), &format!(",other,{day}"), "wrong_merchant"),
        (&period, &format!("{day} until "), "wrong_date"),
        (&format!(",acme,{day}"), ",acme,2026-01-01", "wrong_date"),
        (&format!("{capture},A-1,"), ",A-1,", "no_id"),
        ("10.00", "\"1.010,00\"", "bad_number"),
        ("10.00", "92233720368547758.08", "overflow"),
        ("payment_type", "amount", "duplicate_header"),
        ("currency,", "curr,", "unknown_header"),
        ("\"ics_bill\"", "\"ics_auth\"", "unknown_application"),
    ]
    .into_iter()
    .enumerate()
    {
        *t.bent.lock().unwrap() = Some((from.to_owned(), to.to_owned()));
        let report = t.settle(day).await;
        let [refused] = report.refused.as_slice() else { panic!("{code} {report:?}") };
        assert!(refused.why.iter().any(|why| why.starts_with(code)), "{code} {refused:?}");
        assert!(report.batches.is_empty(), "{code} {report:?}");
        assert_eq!((t.w.alerted("settlement_refused"), t.w.journal() == journal), (n + 1, true), "{code}");
    }
    *t.bent.lock().unwrap() = None;
    let mended = t.settle(day).await;
    assert_eq!((mended.refused.len(), mended.batches[0].sums.payments), (0, 2), "{mended:?}");
    // Issued again with another amount it is told, and what is settled stays.
    *t.bent.lock().unwrap() = Some(("10.00".to_owned(), "11.00".to_owned()));
    let again = t.settle(day).await;
    assert!(again.refused[0].why[0].contains("says something else"), "{again:?}");
    assert_eq!(t.w.alerted("settlement_refused"), 11);
    *t.bent.lock().unwrap() = None;
    assert_eq!(t.settle(day).await.unchanged.len(), 1);
}

#[tokio::test]
async fn a_report_that_is_not_there_is_waited_for_then_missed_and_settled_when_it_comes() {
    let t = Trade::new().await;
    let day = Day::of(t.w.memory.now());
    t.paid("A-1").await;
    t.gateway(|g, _| g.config_mut().report_after = Millis::days(4));
    for (hours, late) in [(20, 0), (24, 0), (24, 1)] {
        t.w.pass(Millis::hours(hours));
        let report = t.settle(day).await;
        assert_eq!(
            (report.waiting.len(), report.refused.len(), report.batches.len()),
            (1, 0, 0),
            "{report:?}"
        );
        assert!(report.waiting[0].again_at.is_some());
        assert_eq!(t.w.alerted("settlement_late"), late, "{hours}");
    }
    t.w.pass(Millis::days(3));
    assert_eq!(t.settle(day).await.batches[0].standing, Standing::Submitted);
}

/// A capture of an order that the books have under another id is no match, and the item says which one it may be.
#[tokio::test]
async fn a_line_under_another_id_names_what_our_reference_says_it_may_be() {
    let t = Trade::new().await;
    let day = Day::of(t.w.memory.now());
    let capture = t.paid("A-1").await;
    t.paid("A-2").await;
    t.w.pass(Millis::hours(20));
    let other = format!("9{}", &capture[1..]);
    assert_ne!(other, capture);
    *t.bent.lock().unwrap() = Some((capture.clone(), other));
    let report = t.settle(day).await;
    assert_eq!(report.open.len(), 1, "{report:?}");
    let exception = &report.open[0].exception;
    let nearest = exception.nearest.as_ref().map(|m| (m.tier, m.reason, m.other.as_ref()));
    assert_eq!(exception.class, Class::MissingHere);
    assert_eq!(nearest, Some((Tier::Reference, Reason::IdsDiffer, format!("capture:{capture}").as_str())));
}

#[tokio::test]
async fn a_funding_closes_the_batch_and_its_day_may_be_settled_again() {
    let t = Trade::new().await;
    let day = Day::of(t.w.memory.now());
    t.paid("A-1").await;
    t.w.pass(Millis::hours(20));
    assert_eq!(t.settle(day).await.batches[0].standing, Standing::Submitted);
    let mut funded = day;
    let closed = loop {
        t.w.pass(Millis::days(1));
        funded = funded.plus(1);
        assert!(funded < day.plus(6), "never funded");
        let report = t.settle(funded).await;
        assert!(report.refused.is_empty(), "{report:?}");
        if let Some(batch) = report.batches.first() {
            break batch.clone();
        }
    };
    assert_eq!((closed.standing, closed.revision), (Standing::Closed, 2));
    assert_eq!((t.clearing(funded).await, t.open().await), (0, vec![]));
    // Its payment was seen on the day it was submitted, and is no payment of another day.
    for (of, payments) in [(day, 1), (funded, 0)] {
        let view = t.w.engine.settlement_watch(&signed(), of).await.unwrap();
        let found = view.figures.iter().find(|m| m.figure == tillway_core::settle::watch::Figure::Payments);
        assert_eq!(found.map(|m| (m.part, m.of)), Some((payments, 1)), "{of}");
    }
    // What was submitted is listed as it was, and what was kept back is no part of it.
    let again = t.settle(day).await;
    assert_eq!((again.unchanged.len(), again.refused.len()), (1, 0), "{again:?}");
}

#[tokio::test]
async fn a_funding_that_took_a_chargeback_along_lets_the_day_be_settled_again() {
    let t = Trade::new().await;
    let day = Day::of(t.w.memory.now());
    let capture = t.paid("A-1").await;
    t.w.pass(Millis::hours(20));
    t.settle(day).await;
    t.w.pass(Millis::days(1));
    t.gateway(|g, now| g.charge_back(now, &capture, 300, "10.4", false)).unwrap();
    t.w.pass(Millis::days(1));
    let report = t.settle(day.plus(2)).await;
    assert!(report.refused.is_empty(), "{report:?}");
    let funded = &report.batches[0];
    assert_eq!((funded.revision, funded.sums.disputes), (2, 1), "{report:?}");
    let again = t.settle(day).await;
    assert_eq!((again.unchanged.len(), again.refused.len()), (1, 0), "{again:?}");
}

#[tokio::test]
async fn a_void_that_is_heard_of_late_closes_what_was_missed() {
    let t = Trade::new().await;
    let day = Day::of(t.w.memory.now());
    // From here on each sweep begins where the last one ended.
    t.sweep().await;
    t.paid("A-1").await;
    let second = t.paid("A-2").await;
    t.gateway(|g, now| g.void_by_hand(now, &second)).unwrap();
    t.w.pass(Millis::hours(20));
    t.settle(day).await;
    t.w.pass(Millis::days(1));
    // It is due, looked at, and not yet missed; nobody told us of the void.
    t.settle(day.plus(1)).await;
    assert_eq!(t.clearing(day.plus(1)).await, 2_000);
    t.sweep().await;
    t.w.pass(Millis::days(11));
    t.settle(day.plus(12)).await;
    assert_eq!((t.open().await, t.clearing(day.plus(12)).await), (vec![], 1_000));
}

#[tokio::test]
async fn a_void_that_is_heard_of_after_it_was_accepted_takes_that_back() {
    use tillway_core::journal::Role;
    let t = Trade::new().await;
    let day = Day::of(t.w.memory.now());
    t.sweep().await;
    t.paid("A-1").await;
    let second = t.paid("A-2").await;
    t.gateway(|g, now| g.void_by_hand(now, &second)).unwrap();
    t.w.pass(Millis::hours(20));
    t.settle(day).await;
    t.w.pass(Millis::days(8));
    t.settle(day.plus(8)).await;
    let open = t.w.engine.settlement_open(None).await.unwrap();
    assert_eq!(open.iter().map(|o| o.record.exception.class).collect::<Vec<_>>(), [Class::MissingAtGateway]);
    let account = Some(Role::ChargebackLoss);
    let said = crate::settle::Accepting { item: &open[0].record.id, reason: "lost", account, by: "ada" };
    t.w.engine.settle_accept(&signed(), &said, &quiet).await.unwrap();
    let accounts = || [Role::ChargebackLoss, Role::GatewayClearing].map(|role| t.w.account(role));
    assert_eq!((accounts(), t.open().await), ([1_000, 1_000], vec![]));
    t.sweep().await;
    t.w.pass(Millis::days(1));
    let report = t.settle(day.plus(9)).await;
    assert!(report.headline.contains("it was voided before it was settled"), "{}", report.headline);
    assert_eq!((accounts(), t.open().await), ([0, 1_000], vec![]));
    // Once.
    let before = t.w.journal();
    t.w.pass(Millis::days(1));
    t.settle(day.plus(10)).await;
    assert_eq!(t.w.journal(), before);
}
