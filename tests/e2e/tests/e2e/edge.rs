//! Faults at the edge, through a real socket: an answer, a log line, a counter, and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tillway_core::http::{Method, Request};
use tillway_core::time::Millis;
use tillway_engine::ports::Clock as _;
use tillway_local::runtime::EngineFront;
use tillway_local::server::{Limits, serve};
use tillway_sandbox::stripe::sign;
use tillway_tests::logs::Logs;
use tillway_tests::wire::exchange;
use tillway_tests::world::{GATEWAY, GATEWAY_HOOK, SHOP, World, shop_hook_at};
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;

/// A world with its front on a socket.
async fn opened() -> (World, SocketAddr) {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let front = Arc::new(EngineFront { engine: w.engine.clone(), alerts: w.alerts.clone() });
    tokio::spawn(serve(listener, front, Limits::default(), std::future::pending()));
    (w, address)
}

/// Everything a request could leave behind.
async fn traces(w: &World) -> (Vec<(String, String, u64)>, usize, usize, BTreeMap<String, u64>) {
    let items = w.items().await.into_iter().map(|i| (i.key.pk, i.key.sk, i.rev)).collect();
    let sent = w.outside.sent.lock().unwrap().len();
    (items, w.depth().await, sent, w.alerts.snapshot().alerts)
}

struct Case {
    name: &'static str,
    path: String,
    request: Request,
    status: u16,
    counter: &'static str,
}

fn stripe_body(id: &str) -> Vec<u8> {
    serde_json::json!({"id": id, "object": "event", "type": "charge.succeeded", "livemode": false, "created": 1,
        "data": {"object": {"id": "ch_edge", "object": "charge"}}})
    .to_string()
    .into_bytes()
}

fn cases(w: &World) -> Vec<Case> {
    let now = w.now();
    let order = w.order_event("A-1", |_| ()).to_string();
    let shop = |at| shop_hook_at("msg_edge", at, order.clone());
    let gateway = |at: i64, secret: &str| {
        let body = stripe_body("evt_edge");
        let signature = sign(&body, secret, at);
        Request::new(Method::Post, "")
            .with_body("application/json", body)
            .with_header("stripe-signature", signature)
    };
    let set = |request: Request, name: &str, value: Option<&str>| {
        let mut request = request;
        request.headers.retain(|(n, _)| n != name);
        match value {
            Some(value) => request.with_header(name, value),
            None => request,
        }
    };
    let not_json = b"amount=1".to_vec();
    let gateway_not_json = {
        let signature = sign(&not_json, GATEWAY_HOOK, now.unix());
        Request::new(Method::Post, "")
            .with_body("application/json", not_json.clone())
            .with_header("stripe-signature", signature)
    };
    let mut tampered = shop(now);
    tampered.body = String::from_utf8(tampered.body).unwrap().replace("47.12", "0.12").into_bytes();
    let mut out = Vec::new();
    for (connection, topic, good, unsigned, malformed, wrong, stale, future, not_json) in [
        (
            GATEWAY,
            "payments",
            gateway(now.unix(), GATEWAY_HOOK),
            set(gateway(now.unix(), GATEWAY_HOOK), "stripe-signature", None),
            set(gateway(now.unix(), GATEWAY_HOOK), "stripe-signature", Some("v1=abc")),
            gateway(now.unix(), "whsec_of_somebody_else"),
            gateway(now.unix() - 301, GATEWAY_HOOK),
            gateway(now.unix() + 301, GATEWAY_HOOK),
            gateway_not_json,
        ),
        (
            SHOP,
            "orders",
            shop(now),
            set(shop(now), "webhook-signature", None),
            set(shop(now), "webhook-timestamp", Some("noon")),
            tampered,
            shop(now - Millis::secs(301)),
            shop(now + Millis::secs(301)),
            shop_hook_at("msg_edge", now, not_json.clone()),
        ),
    ] {
        let path = format!("/webhooks/{connection}/{topic}");
        let mut case = |name, path: &str, request, status, counter| {
            out.push(Case { name, path: path.to_owned(), request, status, counter });
        };
        case(
            "wrong content type",
            &path,
            set(good.clone(), "content-type", Some("text/plain")),
            415,
            "content_type",
        );
        case("no content type", &path, set(good.clone(), "content-type", None), 415, "content_type");
        case("unknown connection", &format!("/webhooks/nobody/{topic}"), good.clone(), 404, "unknown_url");
        case("unknown topic", &format!("/webhooks/{connection}/secrets"), good.clone(), 404, "unknown_url");
        case("no such address", "/hooks", good.clone(), 404, "unknown_url");
        case("no signature", &path, unsigned, 401, "signature_missing");
        case("malformed signature", &path, malformed, 401, "signature_missing");
        case("wrong signature", &path, wrong, 401, "signature_wrong");
        case("stale", &path, stale, 401, "timestamp_stale");
        case("from the future", &path, future, 401, "timestamp_future");
        case("not JSON", &path, not_json, 400, "malformed");
    }
    out
}

#[tokio::test]
async fn edge_faults_are_answered_counted_and_leave_nothing() {
    let logs = Logs::default();
    let _collecting = logs.collect(LevelFilter::INFO);
    let (w, address) = opened().await;
    for case in cases(&w) {
        let (before, counted, _earlier) = (traces(&w).await, w.counters(), logs.take());
        let (status, body) = exchange(address, "POST", &case.path, &case.request).await.unwrap();
        let named = format!("{} {}", case.name, case.path);
        assert_eq!(status, case.status, "{named}: {body}");
        assert!(
            serde_json::from_str::<serde_json::Value>(&body).is_ok_and(|b| b.is_object()),
            "{named}: {body}"
        );
        assert_eq!(traces(&w).await, before, "{named}");
        let mut expected = counted;
        *expected.entry(("receive_refused".to_owned(), case.counter.to_owned())).or_default() += 1;
        assert_eq!(w.counters(), expected, "{named}");
        // One line, with the code, and nothing of the body or of the signature.
        let logged = String::from_utf8(logs.take()).unwrap();
        assert_eq!(logged.lines().count(), 1, "{named}: {logged}");
        assert!(logged.contains(case.counter) && logged.contains("WARN"), "{named}: {logged}");
        for secret in ["example.com", "v1=", "v1,", "47.12"] {
            assert!(!logged.contains(secret), "{named}: {logged}");
        }
    }
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused_unread() {
    let (w, address) = opened().await;
    let limit = 1024 * 1024;
    for (connection, topic) in [(GATEWAY, "payments"), (SHOP, "orders")] {
        let path = format!("/webhooks/{connection}/{topic}");
        let (before, counted) = (traces(&w).await, w.counters());
        let request = w.gateway_hook(vec![b' '; limit + 1]);
        let (status, _) = exchange(address, "POST", &path, &request).await.unwrap();
        assert_eq!(status, 413);
        assert_eq!(traces(&w).await, before);
        let mut expected = counted;
        *expected.entry(("receive_refused".to_owned(), "too_large".to_owned())).or_default() += 1;
        assert_eq!(w.counters(), expected);
    }
    // Just as much as is allowed is read, and refused for what it is.
    let request = w.gateway_hook(vec![b' '; limit]);
    assert_eq!(exchange(address, "POST", "/webhooks/stripe/payments", &request).await.unwrap().0, 400);
}

#[tokio::test]
async fn a_replay_inside_the_tolerance_is_accepted_and_dropped() {
    let (w, address) = opened().await;
    let (connection, delivery) =
        w.deliveries().into_iter().find(|(_, d)| d.event_type == "order.created").unwrap();
    let path = format!("/webhooks/{connection}/{}", delivery.topic);
    let original = w.now();
    let request = shop_hook_at(&delivery.event_id, original, delivery.request.body.clone());
    let state = w.record("A-1").await.unwrap();
    let calls = w.outside.sent.lock().unwrap().len();
    // At once, and in the last second of the tolerance, when the queue has forgotten its id.
    for wait in [Millis(0), Millis::secs(300)] {
        w.clock.forward(wait);
        assert_eq!(exchange(address, "POST", &path, &request).await.unwrap().0, 202);
        w.quiet().await;
    }
    let after = w.record("A-1").await.unwrap();
    assert!(after.state == state.state && after.seq == state.seq, "the order has changed");
    assert_eq!(w.outside.sent.lock().unwrap().len(), calls, "somebody was called");
    assert!(w.counters().get(&("events".to_owned(), "duplicate".to_owned())).is_some_and(|n| *n >= 1));
    let shown = w.explain("A-1").await.to_string();
    assert!(shown.contains("the same event again; nothing changed"), "{shown}");
    w.charged_once("A-1", 4712);
    assert_eq!(w.clock.now().since(original), Millis::secs(300));
}
