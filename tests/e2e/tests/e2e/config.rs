//! The shop's side is configuration: each way to log in, to sign webhooks and to name things, with a sandbox
//! set up the same way, takes one order to its end.

use tillway_core::http::Method;
use tillway_core::ids::ConnectionName;
use tillway_core::time::Millis;
use tillway_sandbox::clarity::{Auth, OrderStatus, Paging, StatusTexts, WebhookScheme};
use tillway_sandbox::{ApiFault, HookFault};
use tillway_tests::world::{SHOP, SHOP_HOOK, Setup, World};

fn secrets(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

/// One order through, with the calls that were made looked at.
async fn one_order(setup: Setup, paid: &str) -> World {
    let w = World::with(setup).await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", paid).await;
    w.charged_once("A-1", 4712);
    w.pass(Millis::mins(2)).await;
    assert!(w.parked().await.is_empty());
    assert_eq!(w.stripe().all_customers().next().unwrap().1.as_deref(), Some("a-1@example.com"));
    let refused: Vec<u16> =
        w.outside.sent.lock().unwrap().iter().filter_map(|s| s.status.filter(|s| *s >= 400)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    w
}

#[tokio::test]
async fn an_api_key_in_a_header_of_its_own() {
    let mut setup =
        Setup { shop_settings: "auth: api_key, auth.header: X-Shop-Key".into(), ..Setup::default() };
    setup.shop.auth = Auth::ApiKey { header: "x-shop-key".into(), key: "key-1".into() };
    setup.shop_secrets = secrets(&[("api_key", "key-1"), ("webhook_secret", SHOP_HOOK)]);
    let w = one_order(setup, "Paid").await;
    assert!(w.shop().counters().requests.keys().all(|k| !k.contains("token")));
}

#[tokio::test]
async fn a_login_that_answers_a_jwt() {
    let mut setup =
        Setup { shop_settings: "auth: jwt, auth.login_path: /session/new".into(), ..Setup::default() };
    setup.shop.auth =
        Auth::JwtLogin { username: "till".into(), password: "pass word".into(), path: "/session/new".into() };
    setup.shop.token_lifetime = Millis::mins(20);
    setup.shop_secrets =
        secrets(&[("username", "till"), ("password", "pass word"), ("webhook_secret", SHOP_HOOK)]);
    let w = one_order(setup, "Paid").await;
    // Renewed before it runs out.
    w.pass(Millis::mins(30)).await;
    w.place("A-2", Some("pm_card_visa"));
    w.until_status("A-2", "Paid").await;
    assert!(!w.shop().counters().answers.contains_key(&401), "a token was used after its end");
}

#[tokio::test]
async fn webhooks_with_a_shared_header_are_hints_and_every_event_is_read_again() {
    let mut setup = Setup {
        shop_settings: "webhook.scheme: shared_header, webhook.header: X-Hook-Word".into(),
        ..Setup::default()
    };
    setup.shop.webhook =
        WebhookScheme::SharedHeader { header: "X-Hook-Word".into(), value: "open sesame".into() };
    setup.shop_secrets = secrets(&[
        ("client_id", "tillway"),
        ("client_secret", tillway_tests::world::CLIENT_SECRET),
        ("webhook_secret", "open sesame"),
    ]);
    let w = one_order(setup, "Paid").await;
    let read = w
        .outside
        .sent
        .lock()
        .unwrap()
        .iter()
        .any(|s| s.request.method == Method::Get && s.request.path().ends_with("/orders/A-1"));
    assert!(read, "the order was not read");
    // What such an event claims counts for nothing: another total and token, and the order is as the shop has it.
    let forged = w.order_event("A-1", |o| {
        o["total"]["amount"] = "999.00".into();
        o["version"] = 99.into();
    });
    let request = tillway_core::http::Request::new(Method::Post, "")
        .with_body("application/json", forged.to_string())
        .with_header("x-hook-word", "open sesame");
    assert_eq!(w.post(SHOP, "orders", &request).await.status, 202);
    w.pass(Millis::mins(5)).await;
    assert_eq!(w.record("A-1").await.unwrap().state.order.unwrap().total.minor, 4712);
    // A lost one is found by the sweep, and what we read ourselves is believed.
    w.hook("order.created", HookFault::Lose, 1);
    w.place("A-2", Some("pm_card_visa"));
    w.pass(Millis::mins(15)).await;
    let report = w.engine.sweep(&ConnectionName::new(SHOP)).await.unwrap();
    assert_eq!(report.lost.len(), 1, "{report:?}");
    w.until_status("A-2", "Paid").await;
    let again = w.engine.sweep(&ConnectionName::new(SHOP)).await.unwrap();
    assert!(again.lost.is_empty(), "{again:?}");
    let mut stranger = request.clone();
    stranger.headers.retain(|(n, _)| n != "x-hook-word");
    assert_eq!(w.post(SHOP, "orders", &stranger).await.code, "signature_missing");
    let stranger = stranger.with_header("x-hook-word", "open");
    assert_eq!(w.post(SHOP, "orders", &stranger).await.code, "signature_wrong");
}

#[tokio::test]
async fn other_paths_status_texts_and_names_of_paging() {
    let texts = [(OrderStatus::Paid, "Bezahlt"), (OrderStatus::PendingPayment, "Offen")];
    let settings = [
        "status_in.Bezahlt: paid",
        "status_in.Offen: pending_payment",
        "status_out.paid: Bezahlt",
        "status_out.pending_payment: Offen",
        "paging.index: page",
        "paging.size: per",
        "paging.items: rows",
        "rate_limit.per_second: 5",
        "page_size: 2",
    ];
    let mut setup = Setup { shop_settings: settings.join(", "), ..Setup::default() };
    setup.shop.base_path = "/shop-api/v7".into();
    setup.shop.status_texts = StatusTexts(texts.into_iter().map(|(s, t)| (s, t.to_owned())).collect());
    setup.shop.paging =
        Paging { index: "page".into(), size: "per".into(), items: "rows".into(), ..Paging::default() };
    let w = one_order(setup, "Bezahlt").await;
    // The sweep reads lists under their names: an order whose webhook was lost is found, pages long.
    w.hook("order.created", HookFault::Lose, 5);
    for n in 2..7 {
        w.place(&format!("A-{n}"), Some("pm_card_visa"));
    }
    w.pass(Millis::mins(15)).await;
    let report = w.engine.sweep(&ConnectionName::new(SHOP)).await.unwrap();
    assert_eq!(report.lost.len(), 5, "{report:?}");
    w.until("all are paid", |w| (2..7).all(|n| w.status(&format!("A-{n}")) == "Bezahlt")).await;
}

#[tokio::test]
async fn both_secrets_hold_while_one_is_rotated() {
    let old = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let w = World::start().await;
    // The shop signs with a secret that nobody told us yet, and with both while it rotates.
    w.shop()
        .set_webhook_scheme(WebhookScheme::StandardWebhooks { secrets: vec![old.into(), SHOP_HOOK.into()] });
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    w.shop().set_webhook_scheme(WebhookScheme::StandardWebhooks { secrets: vec![old.into()] });
    w.place("A-2", Some("pm_card_visa"));
    w.quiet().await;
    assert_eq!(w.counters().get(&("receive_refused".into(), "signature_wrong".into())), Some(&1));
    w.shop().set_webhook_scheme(WebhookScheme::StandardWebhooks { secrets: vec![SHOP_HOOK.into()] });
    w.until_status("A-2", "Paid").await;
    w.gateway_fault(Method::Get, "/", ApiFault::Refuse(503), 0);
}
