//! What the API answers to what it cannot take.

use std::time::{Duration, Instant};

use serde_json::json;
use tillway_cloud_tests::{Cloud, SECOND};
use tillway_core::http::{Method, Request};
use tillway_core::time::Millis;
use tillway_engine::records::ParkedRecord;
use tillway_sandbox::stripe::sign;
use tillway_tests::edges::{Then, said, table};
use tillway_tests::wire::exchange;
use tillway_tests::world::{CARD_NUMBER, GATEWAY, GATEWAY_HOOK, SHOP, shop_hook_at};

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

/// One table for both ways to run (`tests/e2e/src/edges.rs`).
pub(crate) async fn answers_are_those_of_one_machine(cloud: &Cloud) {
    let base = cloud.stack.url().to_owned();
    let (to, prefix) = base.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let to = to.parse().unwrap();
    let mut counted = cloud.refused().await;
    let (mut listed, mut parked) = (0, Vec::new());
    // Longer than the table takes.
    for edge in table(cloud.now(), Millis::mins(5)) {
        let path = format!("/{prefix}{}", edge.path);
        let (status, body) = exchange(to, edge.method, &path, &edge.request).await.unwrap();
        let (expected, says, then) = edge.through_the_gateway();
        let named = format!("{}: {} {}: {body}", edge.name, edge.method, edge.path);
        assert_eq!((status, said(&body).as_deref()), (expected, says), "{named}");
        listed += usize::from(edge.path.contains("/stripe") && status == 202);
        match then {
            Some(Then::Refused(code)) => *counted.entry(code.to_owned()).or_default() += 1,
            Some(Then::Parked(reason)) => parked.push(reason),
            Some(Then::Listed) | None => {}
        }
    }
    // The last invocation's line may be on its way.
    let begun = Instant::now();
    while cloud.refused().await != counted && begun.elapsed() < Duration::from_secs(30) {}
    assert_eq!(cloud.refused().await, counted);
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
    // What no queue takes goes by way of the bucket, and is gone from there once it is decided.
    let large = json!({ "id": "po_1", "object": "payout", "description": "x".repeat(300 * 1024) });
    let body = String::from_utf8(charge("evt_large")).unwrap().replace("payout.paid", "payout.odd");
    let mut body: serde_json::Value = serde_json::from_str(&body).unwrap();
    body["data"]["object"] = large;
    let answer = cloud.post("/webhooks/stripe/events", signed(cloud, body.to_string().as_bytes())).await;
    assert_eq!(answer.status, 202);
    listed += 1;
    let probe = Request::new(Method::Get, "");
    let answer = cloud.post(&format!("/webhooks/{SECOND}/paymentstatusupdate"), probe).await;
    assert_eq!(answer.status, 200, "the provider asks whether the address lives");
    let empty = Request::new(Method::Post, "").with_body("application/json", Vec::<u8>::new());
    let answer = cloud.post(&format!("/webhooks/{SECOND}/paymentstatusupdate"), empty).await;
    assert_eq!(answer.status, 200, "or with a POST of nothing");
    cloud.rest().await;
    let calls = cloud.stack.ask(json!({ "do": "calls" })).await;
    for (function, call) in [
        ("stripe-payments", "s3:PutObject"),
        ("orchestrate", "s3:GetObject"),
        ("orchestrate", "s3:DeleteObject"),
    ] {
        let made = |c: &serde_json::Value| {
            c["call"] == call && c["function"].as_str().is_some_and(|f| f.contains(function))
        };
        assert!(calls.as_array().unwrap().iter().any(made), "{function} never made {call}");
    }
    let unhandled = cloud.stack.engine().unhandled().await.unwrap();
    let kinds: Vec<&str> = unhandled.iter().map(|u| u.kind.as_str()).collect();
    // Every accepted one of the gateway's half of the table, and the one of topic `events`.
    assert_eq!(kinds.iter().filter(|kind| **kind == "payout.odd").count(), listed + 1, "{kinds:?}");
    for kind in ["payout.odd", "invoice.paid", "refund.odd", "inventory.updated"] {
        assert!(kinds.contains(&kind), "{kind} is not listed: {kinds:?}");
    }
    // A pair of this shop keeps profiles: a customer that the shop then does not know is shown to a person.
    let (unknown, items): (Vec<_>, Vec<_>) =
        parked_here(cloud).await.into_iter().partition(|p| p.item.code == "not_found");
    let whose =
        |p: &ParkedRecord| p.order.as_ref().is_some_and(|o| o.to_string() == format!("customer@{SHOP}/CU-9"));
    assert!(
        !unknown.is_empty() && unknown.iter().all(whose),
        "a webhook about a customer ends in its own flow"
    );
    assert_eq!(items.iter().map(|p| p.item.code.as_str()).collect::<Vec<_>>(), parked);
    drop_parked(cloud).await;
}

/// What waits for a person, but for what the demo's scenarios end with.
async fn parked_here(cloud: &Cloud) -> Vec<ParkedRecord> {
    let all = cloud.stack.engine().parked().await.unwrap();
    all.into_iter().filter(|p| [SHOP, GATEWAY, SECOND].contains(&p.event.0.as_str())).collect()
}

async fn drop_parked(cloud: &Cloud) {
    for item in parked_here(cloud).await {
        cloud.stack.engine().parked_drop(&item.id, "test", "seen").await.unwrap();
    }
    cloud.rest().await;
    assert!(parked_here(cloud).await.is_empty());
}

/// Authentic and unacceptable: 202, parked with reason and field.
pub(crate) async fn faults_of_meaning_are_parked(cloud: &Cloud) {
    let mut new = tillway_tests::world::new_order("P-1", "USD", Some("pm_card_visa"));
    new.gateway = Some("stripe".to_owned());
    new.note = Some(format!("card {CARD_NUMBER}"));
    let now = cloud.now();
    cloud.shop().place_order(now, new).unwrap();
    cloud.until_status("P-1", "Paid").await;
    let now = cloud.now();
    cloud.shop().request_refund(now, "P-1", None, 1000, "no_id").unwrap();
    cloud.rest().await;
    let parked = parked_here(cloud).await;
    let mut codes: Vec<&str> = parked.iter().map(|p| p.item.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, ["card_number_removed", "refund_without_id"]);
    drop_parked(cloud).await;
}
