//! Faults at the edge, through a real socket: an answer, a log line, a counter, and nothing else. The table is that of
//! the functions too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tillway_core::time::Millis;
use tillway_engine::ports::Clock as _;
use tillway_local::runtime::EngineFront;
use tillway_local::server::{Limits, serve};
use tillway_tests::edges::{Then, said, table};
use tillway_tests::logs::Logs;
use tillway_tests::wire::exchange;
use tillway_tests::world::{GATEWAY, SHOP, Setup, World, shop_hook_at};
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;

/// A world with its front on a socket.
async fn opened() -> (World, SocketAddr) {
    let w = World::start().await;
    let address = front(&w).await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    (w, address)
}

async fn front(w: &World) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let front = Arc::new(EngineFront { engine: w.engine.clone(), alerts: w.alerts.clone() });
    tokio::spawn(serve(listener, front, Limits::default(), std::future::pending()));
    address
}

#[tokio::test]
async fn a_connection_takes_webhooks_from_its_networks_alone() {
    let of = |networks: &str| {
        let gateway_settings = format!("allow_from: [{networks}]");
        async move {
            let w = World::with(Setup { gateway_settings, ..Setup::default() }).await;
            let address = front(&w).await;
            (w, address)
        }
    };
    let (fenced, address) = of("192.0.2.0/24, \"2001:db8::/32\"").await;
    let (open, open_address) = of("192.0.2.0/24, 127.0.0.0/8").await;
    let edge = table(fenced.now(), Millis(0)).into_iter().find(|e| e.path.contains(GATEWAY)).unwrap();
    let before = traces(&fenced).await;
    let (status, body) = exchange(address, edge.method, &edge.path, &edge.request).await.unwrap();
    assert_eq!((status, said(&body).as_deref()), (403, Some("forbidden")), "{body}");
    // Nor is anybody told there what a path would take.
    assert_eq!(exchange(address, "GET", &edge.path, &edge.request).await.unwrap().0, 403);
    assert_eq!(traces(&fenced).await, before);
    assert_eq!(fenced.counters()[&("receive_refused".to_owned(), "address_refused".to_owned())], 2);
    // The other connection says nothing of networks.
    let shop = table(fenced.now(), Millis(0)).into_iter().find(|e| e.path.contains(SHOP)).unwrap();
    assert_eq!(exchange(address, shop.method, &shop.path, &shop.request).await.unwrap().0, 202);
    assert_eq!(exchange(open_address, edge.method, &edge.path, &edge.request).await.unwrap().0, 202);
    drop(open);
}

/// Everything a request could leave behind.
async fn traces(w: &World) -> (Vec<(String, String, u64)>, usize, usize, BTreeMap<String, u64>) {
    let items = w.items().await.into_iter().map(|i| (i.key.pk, i.key.sk, i.rev)).collect();
    let sent = w.outside.sent.lock().unwrap().len();
    (items, w.depth().await, sent, w.alerts.snapshot().alerts)
}

#[tokio::test]
async fn edge_faults_are_answered_counted_and_leave_nothing() {
    let logs = Logs::default();
    let _collecting = logs.collect(LevelFilter::INFO);
    let (w, address) = opened().await;
    let listed = w.engine.unhandled().await.unwrap().len();
    let (mut accepted, mut parked) = (0, w.parked().await.len());
    for edge in table(w.now(), Millis(0)) {
        let (before, counted, _earlier) = (traces(&w).await, w.counters(), logs.take());
        let (status, body) = exchange(address, edge.method, &edge.path, &edge.request).await.unwrap();
        let named = format!("{}: {} {}", edge.name, edge.method, edge.path);
        assert_eq!((status, said(&body).as_deref()), (edge.status, Some(edge.says)), "{named}: {body}");
        let Then::Refused(code) = edge.then else {
            accepted += 1;
            w.quiet().await;
            assert_eq!(w.engine.unhandled().await.unwrap().len(), listed + accepted, "{named}");
            if let Then::Parked(reason) = edge.then {
                parked += 1;
                assert!(w.parked().await.iter().any(|p| p.item.code == reason), "{named}");
            }
            assert_eq!(w.parked().await.len(), parked, "{named}");
            continue;
        };
        assert_eq!(traces(&w).await, before, "{named}");
        let mut expected = counted;
        *expected.entry(("receive_refused".to_owned(), code.to_owned())).or_default() += 1;
        assert_eq!(w.counters(), expected, "{named}");
        let logged = String::from_utf8(logs.take()).unwrap();
        // What does not come as far as a connection is counted and not written down.
        let early = ["too_large", "method_not_allowed", "not_found"].contains(&edge.says);
        if !early {
            // One line, with the code, and nothing of the body or of the signature.
            assert_eq!(logged.lines().count(), 1, "{named}: {logged}");
            assert!(logged.contains(code) && logged.contains("WARN"), "{named}: {logged}");
        }
        for secret in ["example.com", "47.12", "CU-9", "po_1", "v1=", "v1,"] {
            assert!(!logged.contains(secret), "{named}: {logged}");
        }
    }
    assert!(accepted > 10, "{accepted} accepted");
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
