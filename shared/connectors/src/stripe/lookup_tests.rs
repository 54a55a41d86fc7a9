//! Finding out, sweeping and resolving, against scripted answers.

use serde_json::{Value as Json, json};
use tillway_core::time::Timestamp;
use tillway_core::value::Value;

use super::Stripe;
use super::tests::{Run, capture_params, confirm_params, create_params, created, error, ok, paid, usd};
use crate::http::HttpError;
use crate::port::{Connector, Finding, Outcome, Owner};

#[tokio::test]
async fn a_lost_creation_is_found_in_the_customers_list() {
    let page = |items: Json, more: bool| ok(json!({"object": "list", "data": items, "has_more": more}));
    let other = json!({"id": "pi_0", "metadata": {"tillway_command": "other"}});
    let pages = [page(json!([other]), true), page(json!([created()]), false)];
    let run = Run::new("stripe.create_payment", create_params(), pages);
    assert!(matches!(run.find_out().await, Finding::Evidence(Outcome::Settled { .. })));
    let query = run.http.seen.lock().unwrap()[1].query().to_owned();
    assert_eq!(query, "customer=cus_1&limit=100&starting_after=pi_0");

    let run = Run::new("stripe.create_payment", create_params(), [page(json!([other]), false)]);
    assert_eq!(run.find_out().await, Finding::NotThere);
    let run = Run::new("stripe.create_payment", create_params(), [Err(HttpError::NoAnswer)]);
    assert!(matches!(run.find_out().await, Finding::StillUnknown { .. }));

    // Without a customer a window of time is no proof.
    let params = Value::map([("amount", usd(1099)), ("order_id", Value::text("A-1"))]);
    let run = Run::new("stripe.create_payment", params, [page(json!([]), false)]);
    assert_eq!(run.find_out().await, Finding::Replay);
}

#[tokio::test]
async fn a_list_that_never_ends_proves_nothing() {
    let page = || ok(json!({"data": [{"id": "pi_0"}], "has_more": true}));
    let run = Run::new("stripe.create_payment", create_params(), std::iter::repeat_with(page).take(10));
    assert_eq!(run.find_out().await, Finding::Replay);
}

#[tokio::test]
async fn a_lost_confirmation_is_read_from_the_payment() {
    let pi = |status: &str, error: Json| {
        ok(json!({"id": "pi_1", "amount": 1000, "currency": "usd", "status": status, "latest_charge": "ch_1",
            "amount_received": 1000, "last_payment_error": error}))
    };
    let find = async |answer| Run::new("stripe.confirm_payment", confirm_params(), [answer]).find_out().await;
    assert!(matches!(find(pi("succeeded", json!(null))).await, Finding::Evidence(Outcome::Settled { .. })));
    assert_eq!(find(pi("requires_payment_method", json!(null))).await, Finding::NotThere);
    // The error may be of an earlier attempt: only the stored answer knows.
    assert_eq!(find(pi("requires_payment_method", json!({"code": "card_declined"}))).await, Finding::Replay);
    // Nor does it tell where it is of a charge that was known, or of another card; of a new charge it is ours.
    let failed = |charge: &str, method: &str| {
        json!({"code": "card_declined", "decline_code": "insufficient_funds", "charge": charge,
            "payment_method": {"id": method}})
    };
    for (token, before, charge, method, ours) in [
        ("pm_live1", "none", "ch_2", "pm_live1", true),
        ("pm_live1", "ch_1", "ch_2", "pm_live1", true),
        ("pm_live1", "ch_2", "ch_2", "pm_live1", false),
        ("pm_live1", "none", "ch_2", "pm_live2", false),
        ("pm_card_visa", "none", "ch_2", "pm_1Visa", true),
        ("tok_1", "none", "ch_2", "pm_1Visa", true),
        ("pm_live1", "", "ch_2", "pm_live1", false),
    ] {
        let params = [("payment", "pi_1"), ("token", token), ("failure_before", before)];
        let params = Value::map(params.map(|(name, value)| (name, Value::text(value))));
        let answer = pi("requires_payment_method", failed(charge, method));
        let found = Run::new("stripe.confirm_payment", params, [answer]).find_out().await;
        let declined =
            matches!(&found, Finding::Evidence(Outcome::Refused { code, .. }) if code == "card_declined");
        assert_eq!(declined, ours, "{token} {before} {charge} {method}: {found:?}");
        assert!(ours || found == Finding::Replay, "{found:?}");
    }
    assert!(matches!(find(pi("canceled", json!(null))).await, Finding::Evidence(Outcome::Refused { .. })));
    assert!(matches!(find(error(404, "resource_missing")).await, Finding::Evidence(Outcome::Refused { .. })));
    assert!(matches!(find(error(500, "x")).await, Finding::StillUnknown { .. }));
}

#[tokio::test]
async fn a_lost_capture_is_known_by_its_mark() {
    let find = async |answer| Run::new("stripe.capture", capture_params(), [answer]).find_out().await;
    assert!(matches!(find(ok(paid(1000, "c0ffee"))).await, Finding::Evidence(Outcome::Settled { .. })));
    let open = |mark: Json| {
        ok(
            json!({"id": "pi_1", "amount": 1000, "amount_capturable": 1000, "currency": "usd", "amount_received": 0,
            "status": "requires_capture", "latest_charge": "ch_1", "metadata": {"tillway_capture": mark}}),
        )
    };
    assert_eq!(find(open(json!(null))).await, Finding::NotThere);
    assert_eq!(find(open(json!("other"))).await, Finding::Replay);
    assert!(matches!(find(ok(paid(700, "other"))).await, Finding::Evidence(Outcome::Disagrees { .. })));
}

#[tokio::test]
async fn a_sweep_reads_every_group_of_types_to_its_end() {
    let event = |n: i64| {
        json!({"id": format!("evt_{n}"), "type": "charge.succeeded", "created": n,
        "data": {"object": {"id": "ch_1", "payment_intent": "pi_1"}}})
    };
    let answers = [
        ok(json!({"data": [event(9), event(8)], "has_more": true})),
        ok(json!({"data": [event(7)], "has_more": false})),
        ok(json!({"data": [], "has_more": false})),
    ];
    let run = Run::new("stripe.create_payment", create_params(), answers);
    let mut cursor: Option<String> = None;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let page = run
            .go(async |c| Stripe.sweep(c, Timestamp::from_unix(5), cursor.as_deref()).await)
            .await
            .unwrap();
        ids.extend(page.events.iter().map(|e| (e.event_id.clone(), e.group.clone())));
        cursor = page.next;
    }
    assert_eq!(cursor, None);
    assert_eq!(ids.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["evt_8", "evt_9", "evt_7"]);
    assert!(ids.iter().all(|(_, group)| group == "pi_1"));
    let seen = run.http.seen.lock().unwrap();
    assert!(seen[0].query().starts_with("created%5Bgte%5D=5&types%5B0%5D=charge.captured"));
    assert!(seen[1].query().ends_with("starting_after=evt_8"), "{}", seen[1].query());
    assert!(seen[2].query().contains("types%5B0%5D=charge.dispute.funds_reinstated"), "{}", seen[2].query());
}

#[tokio::test]
async fn an_object_is_followed_to_its_payment() {
    let dispute = json!({"id": "dp_1", "amount": 1000, "currency": "usd", "payment_intent": "pi_1",
        "status": "needs_response", "balance_transactions": []});
    let run = Run::new("stripe.create_payment", create_params(), [ok(dispute.clone()), ok(created())]);
    let found = run.go(async |c| Stripe.resolve(c, "dp_1").await).await.unwrap();
    let Some((owner, observation)) = found else { panic!() };
    assert_eq!((owner, observation.facts.len()), (Owner::Order { id: "A-1".into() }, 2));
    let foreign = json!({"id": "pi_1", "amount": 1, "currency": "usd", "status": "processing"});
    let run = Run::new("stripe.create_payment", create_params(), [ok(dispute), ok(foreign)]);
    assert!(run.go(async |c| Stripe.resolve(c, "dp_1").await).await.unwrap().is_none());
    let run = Run::new("stripe.create_payment", create_params(), []);
    assert!(run.go(async |c| Stripe.resolve(c, "cus_1/../x").await).await.unwrap().is_none());
}
