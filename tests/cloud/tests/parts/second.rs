//! The shop's other gateway: reviews, voids, encrypted webhooks, no idempotency keys.

use tillway_cloud_tests::{Cloud, SECOND, look};
use tillway_core::http::{Method, Request};
use tillway_sandbox::cybersource::{Decision, OrderTruth};
use tillway_sandbox::{ApiFault, ApiFaultRule, HookFault, HookFaultRule, Sandbox as _};

/// An order's total, minor units.
const TOTAL: i64 = 4712;

fn truth(cloud: &Cloud, order: &str) -> OrderTruth {
    cloud.cybersource().order_truth(order)
}

async fn paid(cloud: &Cloud, order: &str) {
    cloud.place_at(order, "cybersource", "tok_visa");
    cloud.until_status(order, "Payment Received").await;
}

async fn declined_then_paid(cloud: &Cloud) {
    cloud.place_at("CD-1", "cybersource", "tok_insufficient");
    cloud.until_status("CD-1", "Payment Failed").await;
    cloud.until_told("CD-1", "declined").await;
    let now = cloud.now();
    cloud.shop().set_payment_token(now, "CD-1", "tok_mastercard").unwrap();
    cloud.until_status("CD-1", "Payment Received").await;
}

async fn review(cloud: &Cloud, order: &str, decision: Decision, status: &str) {
    cloud.place_at(order, "cybersource", "tok_avs");
    cloud.until_status(order, "On Hold").await;
    let payment = truth(cloud, order).payments[0].payment.clone();
    let now = cloud.now();
    cloud.cybersource().decide(now, &payment, decision).unwrap();
    cloud.until_status(order, status).await;
}

/// Before the batch a refund of everything is a void, and moves nothing.
async fn refunded(cloud: &Cloud) {
    paid(cloud, "CR-1").await;
    let now = cloud.now();
    cloud.shop().request_refund(now, "CR-1", Some("CRQ-1"), TOTAL, "goods_returned").unwrap();
    cloud.until_status("CR-1", "Refunded").await;
    let truth = truth(cloud, "CR-1");
    assert_eq!((truth.captured, truth.refunded), (0, 0), "voided");
}

/// A part cannot be voided: it is refunded, and the refund's own webhook comes.
async fn refunded_in_part(cloud: &Cloud) {
    paid(cloud, "CR-2").await;
    let now = cloud.now();
    cloud.shop().request_refund(now, "CR-2", Some("CRQ-2"), 712, "goods_returned").unwrap();
    cloud.until_status("CR-2", "Partially Refunded").await;
    assert_eq!(truth(cloud, "CR-2").refunded, 712);
}

/// The answer to an authorization is lost: it is looked for, and not sent twice.
async fn answer_lost(cloud: &Cloud) {
    let fault = ApiFault::SilenceAfter;
    let path_contains = "/pts/v2/payments".to_owned();
    cloud.cybersource().inject(ApiFaultRule { method: Some(Method::Post), path_contains, fault, times: 1 });
    paid(cloud, "CL-1").await;
    assert_eq!(truth(cloud, "CL-1").payments.len(), 1, "sent once");
}

/// What no webhook tells: the issuer takes money back, and the sweep reads of it.
async fn charged_back(cloud: &mut Cloud) {
    paid(cloud, "CB-1").await;
    cloud.rest().await;
    let capture = truth(cloud, "CB-1").payments[0].transactions.last().unwrap().id.clone();
    let now = cloud.now();
    cloud.cybersource().charge_back(now, &capture, TOTAL, "10.4", false).unwrap();
    // What is younger than the grace might still be told.
    cloud.rest().await;
    assert_eq!(cloud.stack.invoke("sweep-cybersource").await, None);
    cloud.until_status("CB-1", "Disputed").await;
    cloud.until_told("CB-1", "disputed").await;
}

/// Everything that happens while nothing goes wrong, and one answer that is lost.
pub(crate) async fn ways_of_an_order(cloud: &mut Cloud) {
    let probe = Request::new(Method::Get, "");
    let answer = cloud.post(&format!("/webhooks/{SECOND}/paymentstatusupdate"), probe).await;
    assert_eq!(answer.status, 200, "the provider asks whether the address lives");
    let rule = |kind: &str, fault| HookFaultRule { type_contains: kind.to_owned(), fault, times: 2 };
    cloud.cybersource().inject_hook(rule("payments.authorization", HookFault::Duplicate(2)));
    answer_lost(cloud).await;
    tokio::join!(
        paid(cloud, "CP-1"),
        declined_then_paid(cloud),
        review(cloud, "CV-1", Decision::Accept, "Payment Received"),
        review(cloud, "CV-2", Decision::AcceptAndCapture, "Payment Received"),
        review(cloud, "CV-3", Decision::Reject, "Cancelled"),
        refunded(cloud),
        refunded_in_part(cloud),
    );
    charged_back(cloud).await;
    cloud.rest().await;
    let engine = cloud.stack.engine();
    for (order, status, held, taken) in [
        ("CL-1", "paid", 0, TOTAL),
        ("CP-1", "paid", 0, TOTAL),
        ("CD-1", "paid", 0, TOTAL),
        ("CV-1", "paid", 0, TOTAL),
        ("CV-2", "paid", 0, TOTAL),
        ("CV-3", "cancelled", 0, 0),
        ("CR-1", "refunded", 0, 0),
        ("CR-2", "partially_refunded", 0, TOTAL),
        ("CB-1", "disputed", 0, TOTAL),
    ] {
        cloud.until_known(order, status).await;
        cloud.until(&format!("nothing of {order} is held"), |c| truth(c, order).held == held).await;
        let truth = truth(cloud, order);
        assert_eq!(truth.captured, taken, "{order}: {truth:?}");
        assert!(truth.charges <= 1 && truth.by_mark.values().all(|n| *n == 1), "{order}: {truth:?}");
        let withdrawn = if status == "disputed" { TOTAL } else { 0 };
        let cash = look::balance(engine, order, "gateway_clearing").await;
        assert_eq!(cash, taken - truth.refunded - withdrawn, "clearing of {order}");
        assert_eq!(look::balance(engine, order, "receivable").await, 0, "receivable of {order}");
        look::booked_once(engine, order).await;
    }
    let counters = cloud.cybersource().counters().clone();
    assert_eq!(counters.events_emitted.get("payments.refund.status.accepted"), Some(&1));
    assert_eq!((counters.deliveries_given_up, counters.undeliverable), (0, 0));
    let parked = engine.parked().await.unwrap();
    assert!(parked.is_empty(), "{:?}", parked.iter().map(|p| &p.item.what).collect::<Vec<_>>());
    // One conditional claim: the other gateway's flow never touched these orders.
    assert!(cloud.payments("CP-1").is_empty());
}
