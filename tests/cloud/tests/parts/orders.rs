//! What orders go through, side by side.

use tillway_cloud_tests::{Cloud, look};
use tillway_core::http::Method;
use tillway_sandbox::stripe::ReviewVerdict;
use tillway_sandbox::{ApiFault, ApiFaultRule, HookFault, HookFaultRule, Sandbox as _};

/// An order's total, minor units.
const TOTAL: i64 = 4712;

async fn paid(cloud: &Cloud, order: &str) {
    cloud.place(order, "pm_card_visa");
    cloud.until_status(order, "Paid").await;
}

async fn declined_then_paid(cloud: &Cloud) {
    cloud.place("D-1", "pm_card_visa_chargeDeclinedInsufficientFunds");
    cloud.until_status("D-1", "Payment Failed").await;
    cloud.until_told("D-1", "declined").await;
    let now = cloud.now();
    cloud.shop().set_payment_token(now, "D-1", "pm_card_mastercard").unwrap();
    cloud.until_status("D-1", "Paid").await;
}

async fn three_ds(cloud: &Cloud) {
    cloud.place("T-1", "pm_card_threeDSecure2Required");
    let shown =
        |c: &Cloud| c.shop().order("T-1").is_some_and(|o| o.external_ids.contains_key("stripe_next_action"));
    cloud.until("the order shows where to confirm", shown).await;
    let (payment, now) = (cloud.payment("T-1").payment, cloud.now());
    cloud.stripe().authenticate(now, &payment, true).unwrap();
    cloud.until_status("T-1", "Paid").await;
}

async fn review(cloud: &Cloud, order: &str, verdict: ReviewVerdict, status: &str) {
    cloud.place(order, "pm_card_riskLevelElevated");
    cloud.until_status(order, "On Hold").await;
    cloud.until_told(order, "review").await;
    let payment = cloud.payment(order).payment;
    let review = cloud.stripe().open_review_of(&payment).unwrap();
    let now = cloud.now();
    cloud.stripe().close_review(now, &review, verdict).unwrap();
    cloud.until_status(order, status).await;
}

async fn refunds(cloud: &Cloud) {
    paid(cloud, "R-1").await;
    let (payment, now) = (cloud.payment("R-1").payment, cloud.now());
    cloud.stripe().dashboard_refund(now, &payment, Some(1000), None).unwrap();
    cloud.until_status("R-1", "Partially Refunded").await;
    let now = cloud.now();
    cloud.shop().request_refund(now, "R-1", Some("RQ-1"), 712, "goods_returned").unwrap();
    cloud.until("the shop's refund is made", |c| c.payment("R-1").refunded == 1712).await;
}

async fn cancelled(cloud: &Cloud) {
    paid(cloud, "X-1").await;
    let now = cloud.now();
    cloud.shop().cancel(now, "X-1").unwrap();
    cloud.until_status("X-1", "Refunded").await;
    cloud.until("all is given back", |c| c.payment("X-1").refunded == TOTAL).await;
}

async fn dispute(cloud: &Cloud) {
    paid(cloud, "B-1").await;
    let (payment, now) = (cloud.payment("B-1").payment, cloud.now());
    let dispute = cloud.stripe().open_dispute(now, &payment, None, "fraudulent").unwrap();
    cloud.until_status("B-1", "Disputed").await;
    cloud.until_told("B-1", "disputed").await;
    let now = cloud.now();
    cloud.stripe().close_dispute(now, &dispute, true).unwrap();
    cloud.until_status("B-1", "Paid").await;
}

/// Everything that happens while nothing goes wrong, at once; each order is charged once and its books balance.
pub(crate) async fn ways_of_an_order(cloud: &Cloud) {
    {
        // Of all webhooks some come twice, and some late and out of order; two calls fail before they do anything.
        let mut stripe = cloud.stripe();
        for (kind, fault, times) in [
            ("charge.succeeded", HookFault::Duplicate(2), 3),
            ("payment_intent.succeeded", HookFault::Delay(tillway_core::time::Millis::secs(3)), 2),
        ] {
            stripe.inject_hook(HookFaultRule { type_contains: kind.to_owned(), fault, times });
        }
        for (path, fault) in [
            ("/v1/customers", ApiFault::Refuse(429)),
            ("/confirm", ApiFault::Fail500AfterEffect),
            ("/confirm", ApiFault::SilenceAfter),
        ] {
            let (method, path_contains) = (Some(Method::Post), path.to_owned());
            stripe.inject(ApiFaultRule { method, path_contains, fault, times: 1 });
        }
    }
    tokio::join!(
        paid(cloud, "A-1"),
        paid(cloud, "A-2"),
        declined_then_paid(cloud),
        three_ds(cloud),
        review(cloud, "V-1", ReviewVerdict::Approved, "Paid"),
        review(cloud, "V-2", ReviewVerdict::RefundedAsFraud, "Refunded"),
        refunds(cloud),
        cancelled(cloud),
        dispute(cloud),
    );
    cloud.rest().await;
    let engine = cloud.stack.engine();
    for (order, status, kept) in [
        ("A-1", "paid", TOTAL),
        ("A-2", "paid", TOTAL),
        ("D-1", "paid", TOTAL),
        ("T-1", "paid", TOTAL),
        ("V-1", "paid", TOTAL),
        ("V-2", "refunded", 0),
        ("R-1", "partially_refunded", TOTAL - 1712),
        ("X-1", "refunded", 0),
        ("B-1", "paid", TOTAL),
    ] {
        cloud.until_known(order, status).await;
        cloud.charged_once(order, TOTAL);
        let cash = look::balance(engine, order, "gateway_clearing").await
            + look::balance(engine, order, "fees").await;
        assert_eq!(cash, kept, "clearing and fees of {order}");
        assert_eq!(look::balance(engine, order, "receivable").await, 0, "receivable of {order}");
        look::booked_once(engine, order).await;
    }
    let parked = engine.parked().await.unwrap();
    assert!(parked.is_empty(), "{:?}", parked.iter().map(|p| &p.item.what).collect::<Vec<_>>());
    let line = engine.explain(&look::key("R-1")).await.unwrap().unwrap();
    assert!(!serde_json::to_value(&line).unwrap().to_string().contains("r-1@example.com"));
}

/// With the other configuration deployed over the running stack: authorized now, taken when it is shipped.
pub(crate) async fn captured_on_shipment(cloud: &mut Cloud) {
    cloud.rest().await;
    cloud.capture_on_shipment().await;
    cloud.place("S-1", "pm_card_visa");
    cloud.until_known("S-1", "authorized").await;
    assert_eq!(cloud.payment("S-1").captured, 0);
    let now = cloud.now();
    cloud.shop().ship(now, "S-1", None).unwrap();
    cloud.until("it is taken", |c| c.payment("S-1").captured == TOTAL).await;
    cloud.until_known("S-1", "paid").await;
    cloud.charged_once("S-1", TOTAL);
    assert_eq!(cloud.status("S-1"), "Shipped", "a fulfilment status is never overwritten");
    assert_eq!(look::balance(cloud.stack.engine(), "S-1", "gateway_clearing").await, TOTAL);
}
