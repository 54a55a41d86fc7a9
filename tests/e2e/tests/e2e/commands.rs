//! The commands on the data of a running `serve`.

use serde_json::{Value as Json, json};
use tillway_sandbox::{HookFault, HookFaultRule, Sandbox as _};
use tillway_tests::child::{Place, wait_for};
use tillway_tests::samples::all;
use tillway_tests::world::{CARD_NUMBER, SHOP_HOOK, new_order};

use crate::TILLWAY;

async fn paid(place: &Place, order: &str) {
    let now = place.now();
    place.shop().place_order(now, new_order(order, "USD", Some("pm_card_visa"))).unwrap();
    place.until_status(order, "Paid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_tells_what_every_system_was_told_and_answered() {
    let place = Place::open(TILLWAY, "", "").await;
    let serving = place.serve().await;
    paid(&place, "A-1").await;
    let payment = place.stripe().payments_by_metadata("clarity_order_id", "A-1").remove(0).payment;
    // The order's own record of the last answer is written a moment after the shop shows it.
    let text = explained(&place, "A-1", "nothing: the flow is finished").await;
    for said in [
        "order shop/A-1: paid",
        "order.created (webhook)",
        "→ stripe",
        "→ shop",
        "books",
        "gateway_clearing",
        "47.12 USD",
        payment.as_str(),
        "flow stripe-clarity @",
        "next:",
        "nothing: the flow is finished",
    ] {
        assert!(text.contains(said), "`{said}` is not in:\n{text}");
    }
    assert!(!text.contains("example.com"), "{text}");
    // By the gateway's id, by the key, and as JSON.
    for name in [payment.as_str(), "shop/A-1"] {
        let shown = place.on_data(&["explain", name, "--json"]).await.json();
        assert_eq!((shown["order"].as_str(), shown["status"].as_str()), (Some("shop/A-1"), Some("paid")));
        let systems: std::collections::BTreeSet<&str> =
            shown["lines"].as_array().unwrap().iter().filter_map(|l| l["system"].as_str()).collect();
        for system in ["shop", "stripe", "→ stripe", "→ shop", "books"] {
            assert!(systems.contains(system), "{systems:?}");
        }
        assert_eq!((shown["captured"].as_i64(), shown["currency"].as_str()), (Some(4712), Some("USD")));
    }
    let said = place.on_data(&["explain", "A-404"]).await.failed();
    assert!(said.contains("A-404") && said.contains("tillway sweep"), "{said}");
    let said =
        place.run(&["explain", "A-1", "--config", "c.yaml", "--data", "/nowhere/at/all"]).await.failed();
    assert!(said.contains("no data folder") && said.contains("serve"), "{said}");
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_items_are_listed_shown_edited_replayed_and_dropped() {
    let place = Place::open(TILLWAY, "", "").await;
    let serving = place.serve().await;
    assert!(place.on_data(&["parked", "list"]).await.ok().contains("nothing waits for a person"));
    for order in ["A-1", "A-2"] {
        let now = place.now();
        let mut shop = place.shop();
        let rule = HookFaultRule { type_contains: "order.created".into(), fault: HookFault::Lose, times: 1 };
        shop.inject_hook(rule);
        shop.place_order(now, new_order(order, "USD", Some("pm_card_visa"))).unwrap();
        let mut data = serde_json::to_value(shop.order(order).unwrap()).unwrap();
        data["status"] = "Vorgemerkt".into();
        shop.emit_raw(now, "orders", "order.created", &data);
    }
    let items = parked(&place, 2).await;
    let of = |order: &str| items.iter().find(|i| i["order"].as_str() == Some(order)).unwrap().clone();
    let (first, second) = (of("shop/A-1"), of("shop/A-2"));
    assert_eq!(
        (first["code"].as_str(), first["field"].as_str()),
        (Some("status_unknown"), Some("data.status"))
    );
    let list = place.on_data(&["parked", "list"]).await.ok();
    assert!(list.contains("status_unknown, field data.status") && list.contains("status_in"), "{list}");
    assert!(!list.contains("Vorgemerkt"), "{list}");

    let id = first["id"].as_str().unwrap();
    let shown = place.on_data(&["parked", "show", id]).await;
    assert!(shown.err.contains("status_unknown"), "{}", shown.err);
    let event = shown.json();
    assert_eq!(event["data"]["status"], "Vorgemerkt");
    let file = place.folder.write("event.json", &event.to_string());
    let file = file.to_str().unwrap();
    let said = place.on_data(&["parked", "edit", id, "--file", file]).await.failed();
    assert!(said.contains("says the same"), "{said}");
    std::fs::write(file, event.to_string().replace("Vorgemerkt", "Pending Payment")).unwrap();
    let dry = place.on_data(&["parked", "edit", id, "--file", file]).await.ok();
    assert!(
        dry.contains("-    \"status\": \"Vorgemerkt\"")
            && dry.contains("+    \"status\": \"Pending Payment\""),
        "{dry}"
    );
    assert!(dry.contains("--yes"), "{dry}");
    assert_eq!(place.on_data(&["parked", "show", id]).await.json()["data"]["status"], "Vorgemerkt");
    let said = place.on_data(&["parked", "edit", id, "--file", file, "--yes"]).await.ok();
    assert!(said.contains("changed data.status") && said.contains("tillway parked replay"), "{said}");
    assert!(place.on_data(&["parked", "show", id]).await.err.contains("by tester: data.status"));
    let _said = place.on_data(&["parked", "replay", id]).await.ok();
    place.until_status("A-1", "Paid").await;

    let id = second["id"].as_str().unwrap();
    let said = place.on_data(&["parked", "drop", id, "--reason", " "]).await.failed();
    assert!(said.contains("--reason"), "{said}");
    let _said = place.on_data(&["parked", "drop", id, "--reason", "ordered by mistake"]).await.ok();
    let text = explained(&place, "A-2", "ordered by mistake").await;
    assert!(text.contains("tester dropped") && text.contains("ordered by mistake"), "{text}");
    assert!(place.on_data(&["parked", "list"]).await.ok().contains("nothing waits for a person"));
    for command in [vec!["show", id], vec!["replay", id], vec!["drop", id, "--reason", "x"]] {
        let said = place.on_data(&[vec!["parked"], command].concat()).await.failed();
        assert!(said.contains("no parked item") && said.contains("tillway parked list"), "{said}");
    }
    assert!(serving.terminate().await.success());
}

/// What waits for a person, once there are so many.
async fn parked(place: &Place, count: usize) -> Vec<Json> {
    let mut items = Vec::new();
    wait_for("so many items are parked", async || {
        items = place.on_data(&["parked", "list", "--json"]).await.json().as_array().unwrap().clone();
        items.len() == count
    })
    .await;
    items
}

/// What `explain` says of an order, once it says this.
async fn explained(place: &Place, order: &str, what: &str) -> String {
    let mut text = String::new();
    wait_for(what, async || {
        text = place.on_data(&["explain", order]).await.ok();
        text.contains(what)
    })
    .await;
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_and_a_replay_repeat_nothing_that_was_done() {
    let place = Place::open(TILLWAY, "", "").await;
    let serving = place.serve().await;
    paid(&place, "A-1").await;
    // The refund is made; its event is parked for the card number somebody typed into the note.
    let now = place.now();
    let refund = json!({"orderId": "A-1", "refundId": "R-1", "amount": {"amount": "10.00", "currency": "USD"},
        "reason": "goods_returned", "note": format!("card {CARD_NUMBER}")});
    place.shop().emit_raw(now, "orders", "order.refund_requested", &refund);
    place.until_status("A-1", "Partially Refunded").await;
    let items = parked(&place, 1).await;
    assert_eq!(items[0]["code"], "card_number_removed", "{items:?}");
    let id = items[0]["id"].as_str().unwrap();
    let mut event = place.on_data(&["parked", "show", id]).await.json();
    assert!(!event.to_string().contains("4111"), "{event}");
    event["data"]["note"] = "mended".into();
    event["data"]["amount"]["amount"] = "10.00".into();
    let file = place.folder.write("event.json", &event.to_string());
    let said = place.on_data(&["parked", "edit", id, "--file", file.to_str().unwrap(), "--yes"]).await.ok();
    assert!(said.contains("changed data.note;"), "{said}");
    let _said = place.on_data(&["parked", "replay", id]).await.ok();
    parked(&place, 0).await;
    // The whole of it once more, under an event id of its own.
    let now = place.now();
    place.shop().emit_raw(now, "orders", "order.refund_requested", &event["data"]);
    let mut text = String::new();
    wait_for("the second event is worked", async || {
        text = place.on_data(&["explain", "A-1"]).await.ok();
        text.matches("order.refund_requested").count() >= 3
    })
    .await;
    assert!(text.contains("tester"), "who replayed it is not told: {text}");
    assert_eq!(text.matches("order.refund_requested").count(), 3, "{text}");
    let payments = place.stripe().payments_by_metadata("clarity_order_id", "A-1");
    let sums: Vec<_> = payments.iter().map(|p| (p.charges_succeeded, p.refunds, p.refunded)).collect();
    assert_eq!(sums, [(1, 1, 1000)]);
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_finds_lost_webhooks_and_tells_the_money() {
    let place = Place::open(TILLWAY, ", initiates: shop", "times: { sweep_grace: 0s }\n").await;
    let serving = place.serve().await;
    let now = place.now();
    place.shop().place_order(now, new_order("A-1", "USD", None)).unwrap();
    for type_contains in ["charge", "payment_intent"] {
        let rule = HookFaultRule { type_contains: type_contains.into(), fault: HookFault::Lose, times: 20 };
        place.stripe().inject_hook(rule);
    }
    let now = place.now();
    let payment = tillway_sandbox::stripe::ShopPayment {
        amount: 4712,
        currency: "usd",
        metadata_key: "clarityorderid",
        order_id: "A-1",
        capture_method: "automatic",
        payment_method: "pm_card_visa",
        customer: None,
    };
    place.stripe().create_payment_as_shop(now, &payment).unwrap();
    let said = place.on_data(&["sweep", "--connection", "stripe"]).await.ok();
    assert!(said.contains("sweeping stripe") && said.contains("would have been missed: 47.12 USD"), "{said}");
    assert!(said.contains("lost: charge.succeeded"), "{said}");
    // The running serve works what was found.
    place.until_status("A-1", "Paid").await;
    let again = place.on_data(&["sweep", "--json"]).await.json();
    let reports = again.as_array().unwrap();
    assert_eq!(reports.len(), 2);
    assert!(reports.iter().all(|r| r["busy"] == false), "{again}");
    assert!(
        reports.iter().all(|r| r["lost"]
            .as_array()
            .unwrap()
            .iter()
            .all(|l| l["money"] == serde_json::json!([]))),
        "{again}"
    );
    let said = place.on_data(&["sweep", "--connection", "paypal"]).await.failed();
    assert!(said.contains("no connection `paypal`"), "{said}");
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erase_asks_first_and_then_forgets() {
    let place = Place::open(TILLWAY, "", "").await;
    let serving = place.serve().await;
    paid(&place, "A-1").await;
    let said = place.on_data(&["erase", "a-1@example.com"]).await.failed();
    assert!(said.contains("--yes") && said.contains("cannot be undone"), "{said}");
    let said = place.on_data(&["erase", "A-1@Example.com", "--yes"]).await.ok();
    assert!(said.contains("1 key(s) destroyed"), "{said}");
    // What is kept for after a restore names nobody.
    let erasures = std::fs::read_to_string(place.data().join("erasures")).unwrap();
    assert!(!erasures.trim().is_empty() && !erasures.contains('@'), "{erasures}");
    let said = place.on_data(&["erase", "nobody@example.com", "--yes"]).await;
    assert_ne!(said.code, Some(0));
    assert!(said.out.contains("nothing personal is kept"), "{}", said.out);
    let text = place.on_data(&["explain", "A-1"]).await.ok();
    assert!(text.contains("47.12 USD") && !text.contains("example.com"), "{text}");
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_is_sent_and_accepted_and_the_unhandled_are_counted() {
    let place = Place::open(TILLWAY, "", "").await;
    let serving = place.serve().await;
    let (config, to) = (place.folder.path().join("tillway.yaml"), format!("http://{}", serving.address));
    let samples: Vec<_> = all().into_iter().filter(|s| s.system != "cybersource").collect();
    for sample in &samples {
        let file = sample.file.display().to_string();
        let said = place.run(&["send", &file, "--to", &to, "--config", config.to_str().unwrap()]).await.ok();
        assert!(said.contains(&sample.kind) && said.contains(": 202 "), "{said}");
    }
    let wanted = ["customer.updated", "inventory.updated", "invoice.paid", "customer.subscription.created"];
    let mut counted = String::new();
    wait_for("all are counted", async || {
        counted = place.on_data(&["unhandled"]).await.ok();
        wanted.iter().all(|k| counted.contains(k))
    })
    .await;
    for kind in wanted {
        let line = counted.lines().find(|l| l.ends_with(kind)).unwrap_or_else(|| panic!("{kind}: {counted}"));
        assert!(line.contains("unhandled"), "{line}");
    }
    // A sample signed with another secret is refused, and the command says so.
    let secrets = place.folder.path().join("secrets");
    let text = std::fs::read_to_string(&secrets).unwrap();
    let other =
        place.folder.write("other", &text.replace(SHOP_HOOK, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"));
    tillway_tests::child::mode(&other, 0o600);
    let file = samples.iter().find(|s| s.kind == "order.created").unwrap().file.display().to_string();
    let args = [
        "send",
        &file,
        "--to",
        &to,
        "--config",
        config.to_str().unwrap(),
        "--secrets",
        other.to_str().unwrap(),
    ];
    let said = place.run(&args).await;
    assert_ne!(said.code, Some(0));
    assert!(said.out.contains("401") && said.out.contains("signature_wrong"), "{}", said.out);
    assert!(serving.terminate().await.success());
    let args = ["send", &file, "--to", &to, "--config", config.to_str().unwrap()];
    let said = place.run(&args).await.failed();
    assert!(said.contains("is `tillway serve` running"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_plays_the_pairs_it_is_asked_for() {
    let place = Place::open(TILLWAY, "", "").await;
    let said = place.run(&["demo", "--pair", "paypal-clarity"]).await.failed();
    for name in ["`paypal-clarity`", "stripe-clarity", "cybersource-clarity"] {
        assert!(said.contains(name), "{said}");
    }
    let listed = place.run(&["demo", "--list"]).await.ok();
    assert!(listed.contains("\npaid-at-once ") || listed.starts_with("paid-at-once "), "{listed}");
    assert!(listed.contains("\ncyb-paid-at-once "), "{listed}");
    let one = place.run(&["demo", "--list", "--pair", "cybersource-clarity"]).await.ok();
    assert!(one.lines().count() > 40 && one.lines().all(|l| l.starts_with("cyb-")), "{one}");
    let args = ["demo", "--pair", "cybersource-clarity", "--scenario", "paid-at-once"];
    let said = place.run(&args).await.failed();
    assert!(said.contains("there is no scenario `paid-at-once`"), "{said}");
    // One of each pair: each gateway under its own name, and no account that nothing was played at.
    let both = ["demo", "--json", "--scenario", "paid-at-once", "--scenario", "cyb-paid-at-once"];
    let played = place.run(&both).await.json();
    assert_eq!(
        (&played["ok"], &played["pairs"]),
        (&json!(true), &json!(["stripe-clarity", "cybersource-clarity"]))
    );
    let end = |scenario: usize, key: &str| played["scenarios"][scenario]["orders"][0]["must"][key].clone();
    assert_eq!((end(0, "stripe"), end(1, "cybersource")), (json!("succeeded"), json!("AUTHORIZED")));
    assert_eq!((end(0, "clarity"), end(1, "clarity")), (json!("Paid"), json!("Payment Received")));
    let one = place.run(&["demo", "--json", "--scenario", "cyb-paid-at-once"]).await.json();
    assert_eq!(one["pairs"], json!(["cybersource-clarity"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_settles_a_day_and_a_month() {
    let place = Place::open(TILLWAY, "", "").await;
    let folder = place.folder.path().join("report");
    let report = folder.to_str().unwrap();
    let args = ["demo", "--settle", "--payments", "12000", "--report", report, "--json"];
    let played = place.run(&args).await.json();
    assert_eq!((&played["ok"], &played["wrong"]), (&json!(true), &json!([])), "{played}");
    let month = &played["month"];
    assert_eq!((&month["missed"], &month["invented"], &month["refused"]), (&json!(0), &json!(0), &json!(0)));
    assert!(month["planted"].as_u64().unwrap() >= 20 && month["planted"] == month["found"], "{month}");
    assert!(month["certificates"].as_u64().unwrap() > 12_000, "{month}");
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(text("month.html").contains("month.csv"));
    assert!(text("month.csv").lines().count() > 12_000);
    let json: serde_json::Value = serde_json::from_str(&text("month.json")).unwrap();
    assert_eq!(json["schema"], "tillway.settlement.report/1");
    let said = place.run(&["demo", "--payments", "10"]).await.failed();
    assert!(said.contains("--settle"), "{said}");
}
