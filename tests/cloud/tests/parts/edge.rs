//! What the API answers to what it cannot take.

use serde_json::json;
use tillway_cloud_tests::Cloud;
use tillway_core::http::{Method, Request};
use tillway_sandbox::stripe::sign;
use tillway_tests::world::{CARD_NUMBER, GATEWAY_HOOK, shop_hook_at};

fn charge(id: &str) -> Vec<u8> {
    json!({
        "id": id, "object": "event", "type": "payout.paid", "created": 1_790_000_000, "livemode": false,
        "api_version": "2026-10-28.endive",
        "data": { "object": { "id": "po_1", "object": "payout", "amount": 100, "currency": "usd" } },
    })
    .to_string()
    .into_bytes()
}

fn signed(cloud: &Cloud, body: &[u8]) -> Request {
    Request::new(Method::Post, "")
        .with_body("application/json", body.to_vec())
        .with_header("Stripe-Signature", sign(body, GATEWAY_HOOK, cloud.now().unix()))
}

/// Edge faults get a 4xx; the same faults get the same answers on one machine (`tests/e2e/tests/e2e/edge.rs`).
pub(crate) async fn answers_are_those_of_one_machine(cloud: &Cloud) {
    let payouts = "/webhooks/stripe/payouts";
    let body = charge("evt_edge");
    let good = || signed(cloud, &body);
    let stale = |by: i64| {
        let at = cloud.now().unix() + by;
        Request::new(Method::Post, "")
            .with_body("application/json", body.clone())
            .with_header("stripe-signature", sign(&body, GATEWAY_HOOK, at))
    };
    let broken = Request::new(Method::Post, "")
        .with_body("application/json", b"{".to_vec())
        .with_header("stripe-signature", sign(b"{", GATEWAY_HOOK, cloud.now().unix()));
    let text = Request::new(Method::Post, "")
        .with_body("text/plain", body.clone())
        .with_header("stripe-signature", sign(&body, GATEWAY_HOOK, cloud.now().unix()));
    let unsigned = Request::new(Method::Post, "").with_body("application/json", body.clone());
    let forged = Request::new(Method::Post, "")
        .with_body("application/json", body.clone())
        .with_header("stripe-signature", sign(&body, "whsec_of_somebody", cloud.now().unix()));
    let large = vec![b' '; 1024 * 1024 + 1];
    let table: Vec<(&str, &str, Request, u16)> = vec![
        ("good", payouts, good(), 202),
        ("replayed", payouts, good(), 202),
        ("repeated query keys", "/webhooks/stripe/payouts?a=1&a=2", good(), 202),
        ("stale", payouts, stale(-3600), 401),
        ("future", payouts, stale(3600), 401),
        ("not JSON", payouts, broken, 400),
        ("another content type", payouts, text, 415),
        ("unsigned", payouts, unsigned, 401),
        ("forged", payouts, forged, 401),
        ("unknown connection", "/webhooks/nobody/payouts", good(), 404),
        ("unknown topic", "/webhooks/stripe/nothing", good(), 404),
        ("too large", payouts, signed(cloud, &large), 413),
    ];
    for (what, path, request, status) in table {
        let answer = cloud.post(path, request).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{what}: {said}");
    }
    // Authentic and without a flow: every function is heard from, and what came is listed.
    for (topic, kind) in [
        ("billing", "invoice.paid"),
        ("customers", "customer.updated"),
        ("refunds", "refund.odd"),
        ("disputes", "charge.dispute.odd"),
        ("events", "payout.odd"),
    ] {
        let body = String::from_utf8(charge(&format!("evt_{topic}"))).unwrap().replace("payout.paid", kind);
        let answer = cloud.post(&format!("/webhooks/stripe/{topic}"), signed(cloud, body.as_bytes())).await;
        assert_eq!(answer.status, 202, "{topic}");
    }
    for (topic, kind) in [("customers", "customer.updated"), ("inventory", "inventory.updated")] {
        let body =
            json!({ "type": kind, "timestamp": cloud.now().rfc3339(), "data": { "customerId": "CU-9" } });
        let hook = shop_hook_at(&format!("msg_{topic}"), cloud.now(), body.to_string());
        assert_eq!(cloud.post(&format!("/webhooks/shop/{topic}"), hook).await.status, 202, "{topic}");
    }
    cloud.rest().await;
    let unhandled = cloud.stack.engine().unhandled().await.unwrap();
    let kinds: Vec<&str> = unhandled.iter().map(|u| u.kind.as_str()).collect();
    for kind in ["payout.paid", "payout.odd", "invoice.paid", "refund.odd", "inventory.updated"] {
        assert!(kinds.contains(&kind), "{kind} is not listed: {kinds:?}");
    }
}

/// Authentic and unacceptable: 202, parked with reason and field.
pub(crate) async fn faults_of_meaning_are_parked(cloud: &Cloud) {
    let mut new = tillway_tests::world::new_order("P-1", "USD", Some("pm_card_visa"));
    new.note = Some(format!("card {CARD_NUMBER}"));
    let now = cloud.now();
    cloud.shop().place_order(now, new).unwrap();
    cloud.until_status("P-1", "Paid").await;
    let now = cloud.now();
    cloud.shop().request_refund(now, "P-1", None, 1000, "no_id").unwrap();
    cloud.rest().await;
    let parked = cloud.stack.engine().parked().await.unwrap();
    let mut codes: Vec<&str> = parked.iter().map(|p| p.item.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, ["card_number_removed", "refund_without_id"]);
    for item in &parked {
        cloud.stack.engine().parked_drop(&item.id, "test", "seen").await.unwrap();
    }
    cloud.rest().await;
    assert!(cloud.stack.engine().parked().await.unwrap().is_empty());
}
