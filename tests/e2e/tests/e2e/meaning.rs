//! Faults of meaning: authentic events that cannot be accepted are answered 2xx and parked, with a code, a
//! field and what to do, and without repeating what they hold; a person mends them and lets them run.

use serde_json::{Value as Json, json};
use tillway_core::time::Millis;
use tillway_engine::records::ParkedRecord;
use tillway_sandbox::HookFault;
use tillway_tests::temp::holds;
use tillway_tests::world::{CARD_NUMBER, GATEWAY, SHOP, Setup, World, new_order};

/// What is put where, and must not be shown again.
const CANARY: &str = "Zanzibar-7";

struct Case {
    name: &'static str,
    change: fn(&mut Json),
    code: &'static str,
    field: &'static str,
    /// The content that must not be repeated.
    content: &'static str,
}

const SHOP_CASES: &[Case] = &[
    Case {
        name: "negative amount",
        change: |o| o["lines"][0]["tax"]["amount"] = "-313.37".into(),
        code: "amount_negative",
        field: "data.lines.0.tax.amount",
        content: "313.37",
    },
    Case {
        name: "too many digits",
        change: |o| o["total"]["amount"] = "31.3371".into(),
        code: "amount_too_many_digits",
        field: "data.total.amount",
        content: "31.3371",
    },
    Case {
        name: "unknown currency",
        change: |o| o["total"]["currency"] = "ZQZ".into(),
        code: "currency_unknown",
        field: "data.total.currency",
        content: "ZQZ",
    },
    Case {
        name: "no lines",
        change: |o| o["lines"] = json!([]),
        code: "no_lines",
        field: "data.lines",
        content: "TEA",
    },
    Case {
        name: "totals that do not add up",
        change: |o| o["total"]["amount"] = "313.37".into(),
        code: "totals_do_not_add_up",
        field: "data.total.amount",
        content: "313.37",
    },
    Case {
        name: "a status never seen",
        change: |o| o["status"] = CANARY.into(),
        code: "status_unknown",
        field: "data.status",
        content: CANARY,
    },
];

/// A parked item says what is wrong and what to do, and nothing of what was in the event.
fn well_said(item: &ParkedRecord, case: (&str, &str, &str, &str)) {
    let (name, code, field, content) = case;
    assert_eq!((item.item.code.as_str(), item.item.field.as_deref()), (code, Some(field)), "{name}");
    assert!(item.item.what.len() > 15, "{name}: {}", item.item.what);
    let said = serde_json::to_string(&(&item.item, &item.event, &item.order)).unwrap();
    assert!(!said.contains(content), "{name} repeats the content: {said}");
}

#[tokio::test]
async fn orders_that_make_no_sense_are_parked_mended_and_paid() {
    let w = World::start().await;
    for (n, case) in SHOP_CASES.iter().enumerate() {
        let order = format!("A-{n}");
        w.hook("order.created", HookFault::Lose, 1);
        w.place(&order, Some("pm_card_visa"));
        let bad = w.order_event(&order, case.change);
        let receipt = w.post(SHOP, "orders", &w.shop_hook(&format!("msg_{n}"), bad.to_string())).await;
        assert_eq!(receipt.status, 202, "{}", case.name);
        w.quiet().await;
        let item = w.parked_one().await;
        well_said(&item, (case.name, case.code, case.field, case.content));
        assert!(w.payments(&order).is_empty(), "{}: charged", case.name);
        let shown = w.explain(&order).await.to_string();
        assert!(shown.contains(case.code) && !shown.contains(case.content), "{}: {shown}", case.name);

        // A person mends the event; the audit keeps the paths, and who and when, not the contents.
        assert_eq!(w.engine.parked_show(&item.id).await.unwrap().content.unwrap(), bad, "{}", case.name);
        let good = w.order_event(&order, |_| ());
        let changed = w.engine.parked_edit(&item.id, good, "mender").await.unwrap();
        assert!(
            changed.iter().any(|p| case.field.starts_with(&p.replace('[', ".").replace(']', ""))),
            "{changed:?}"
        );
        let audited = w.parked_one().await;
        assert_eq!((audited.edits.len(), audited.edits[0].by.as_str()), (1, "mender"));
        assert_eq!(audited.edits[0].changed, changed);
        w.engine.parked_replay(&item.id, "mender").await.unwrap();
        w.until_status(&order, "Paid").await;
        w.charged_once(&order, 4712);
        assert!(w.parked().await.is_empty(), "{}", case.name);
        let shown = w.explain(&order).await.to_string();
        assert!(shown.contains("mender let event:"), "{}: {shown}", case.name);
    }
}

#[tokio::test]
async fn gateway_events_that_make_no_sense_are_parked() {
    type Change = fn(&mut Json);
    let cases: [(&str, &str, Change, &str, &str, &str); 4] = [
        (
            "negative amount",
            "charge.succeeded",
            |o| o["amount"] = (-31337).into(),
            "amount_negative",
            "data.object.amount",
            "31337",
        ),
        (
            "unknown currency",
            "charge.succeeded",
            |o| o["currency"] = "zqz".into(),
            "currency_unknown",
            "data.object.currency",
            "zqz",
        ),
        (
            "a refund's status never seen",
            "refund.created",
            |o| o["status"] = CANARY.into(),
            "status_unknown",
            "data.object.status",
            CANARY,
        ),
        (
            "a live event at a test account",
            "charge.succeeded",
            |o| o["event_livemode"] = true.into(),
            "live_event_in_test",
            "livemode",
            CANARY,
        ),
    ];
    for (n, (name, kind, change, code, field, content)) in cases.into_iter().enumerate() {
        let w = World::start().await;
        w.place("A-1", Some("pm_card_visa"));
        w.until_status("A-1", "Paid").await;
        let payment = w.payment("A-1").payment;
        let mut object = json!({"id": format!("x_{n}"), "object": kind.split('.').next(), "amount": 100, "currency": "usd",
            "status": "succeeded", "payment_intent": payment, "charge": "ch_1", "captured": false,
            "metadata": {"clarity_order_id": "A-1"}});
        change(&mut object);
        let live = object.as_object_mut().unwrap().remove("event_livemode").is_some();
        let body = json!({"id": format!("evt_{n}"), "object": "event", "type": kind, "livemode": live,
            "created": w.now().unix(), "data": {"object": object}});
        let state = w.record("A-1").await.unwrap().state;
        let receipt = w.post(GATEWAY, "payments", &w.gateway_hook(body.to_string())).await;
        assert_eq!(receipt.status, 202, "{name}");
        w.quiet().await;
        let item = w.parked_one().await;
        well_said(&item, (name, code, field, content));
        let after = w.record("A-1").await.unwrap().state;
        assert_eq!((after.payments, after.refunds), (state.payments, state.refunds), "{name}");

        // Nothing to be mended: dropped, with a reason that stays.
        w.engine.parked_drop(&item.id, "mender", "the gateway sent nonsense").await.unwrap();
        w.quiet().await;
        assert!(w.parked().await.is_empty());
        let shown = w.explain("A-1").await.to_string();
        assert!(shown.contains("mender dropped") && shown.contains("the gateway sent nonsense"), "{shown}");
        w.charged_once("A-1", 4712);
    }
}

#[tokio::test]
async fn test_events_in_production_are_parked_and_nobody_is_called() {
    let setup = Setup { production: true, ..Setup::default() };
    let w = World::with(setup).await;
    w.hook("order.created", HookFault::Lose, 1);
    w.place("A-1", Some("pm_card_visa"));
    let test_order = w.order_event("A-1", |o| o["testMode"] = true.into());
    assert_eq!(w.post(SHOP, "orders", &w.shop_hook("msg_1", test_order.to_string())).await.status, 202);
    let charge = json!({"id": "evt_1", "object": "event", "type": "charge.succeeded", "livemode": false, "created": 1,
        "data": {"object": {"id": "ch_1", "object": "charge", "amount": 100, "currency": "usd", "status": "succeeded",
            "captured": true, "amount_captured": 100, "payment_intent": "pi_1", "created": 1,
            "metadata": {"clarity_order_id": "A-2"}}}});
    assert_eq!(w.post(GATEWAY, "payments", &w.gateway_hook(charge.to_string())).await.status, 202);
    w.quiet().await;
    let mut found: Vec<_> =
        w.parked().await.into_iter().map(|p| (p.item.code, p.item.field.unwrap(), p.item.what)).collect();
    found.sort();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].0.as_str(), found[0].1.as_str()), ("test_event_in_production", "data.testMode"));
    assert_eq!((found[1].0.as_str(), found[1].1.as_str()), ("test_event_in_production", "livemode"));
    assert!(found.iter().all(|(_, _, what)| what.contains("point ")), "{found:?}");
    assert!(w.outside.sent.lock().unwrap().is_empty());
    assert!(w.journal(None).await.is_empty());
}

#[tokio::test]
async fn a_refund_without_a_stable_id_is_parked_not_guessed() {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    let now = w.now();
    w.shop().request_refund(now, "A-1", None, 1000, CANARY).unwrap();
    w.quiet().await;
    let item = w.parked_one().await;
    well_said(&item, ("refund", "refund_without_id", "data.refundId", CANARY));
    assert_eq!(w.payment("A-1").refunds, 0);
    // With an id it goes through, once.
    let mut content = w.engine.parked_show(&item.id).await.unwrap().content.unwrap();
    content["data"]["refundId"] = "R-1".into();
    assert_eq!(w.engine.parked_edit(&item.id, content, "mender").await.unwrap(), ["data.refundId"]);
    w.engine.parked_replay(&item.id, "mender").await.unwrap();
    w.until_status("A-1", "Partially Refunded").await;
    let truth = w.payment("A-1");
    assert_eq!((truth.refunds, truth.refunded), (1, 1000));
}

#[tokio::test]
async fn a_card_number_is_removed_before_anything_is_stored() {
    let w = World::start().await;
    let digits: String = CARD_NUMBER.chars().filter(char::is_ascii_digit).collect();
    let mut order = new_order("A-1", "USD", Some("pm_card_visa"));
    order.note = Some(format!("charge {CARD_NUMBER} please"));
    order.customer.last_name = Some(digits.clone());
    w.place_with(order);
    w.deliver().await;
    assert!(w.depth().await > 0);
    for _ in 0..2 {
        let stored = w.folder.bytes();
        assert!(!stored.is_empty() && !holds(&stored, CARD_NUMBER) && !holds(&stored, &digits));
        w.until_status("A-1", "Paid").await;
    }
    let item = w.parked().await.into_iter().find(|p| p.item.code == "card_number_removed").unwrap();
    assert!(item.item.what.contains("drop the item"), "{}", item.item.what);
    let field = item.item.field.clone().unwrap();
    assert!(["data.note", "data.customer.lastName"].contains(&field.as_str()), "{field}");
    let content = w.engine.parked_show(&item.id).await.unwrap().content.unwrap().to_string();
    assert!(!content.contains(CARD_NUMBER) && !content.contains(&digits), "{content}");
    // Nor by the hand of a person who mends it.
    let mut edited = w.engine.parked_show(&item.id).await.unwrap().content.unwrap();
    edited["data"]["note"] = CARD_NUMBER.into();
    w.engine.parked_edit(&item.id, edited, "mender").await.unwrap();
    let content = w.engine.parked_show(&item.id).await.unwrap().content.unwrap().to_string();
    assert!(!content.contains(CARD_NUMBER), "{content}");
    // In a body that nobody signed it is refused like any other.
    let event = w.order_event("A-1", |o| o["note"] = CARD_NUMBER.into());
    let mut forged = w.shop_hook("msg_forged", event.to_string());
    forged.body.push(b' ');
    assert_eq!(w.post(SHOP, "orders", &forged).await.status, 401);
    // A gateway's token never is a card number.
    let mut order = new_order("A-2", "USD", None);
    order.payment_token = Some(digits.clone());
    w.place_with(order);
    w.pass(Millis::mins(1)).await;
    assert!(w.payments("A-2").is_empty());
    assert!(!holds(&w.folder.bytes(), &digits));
}
