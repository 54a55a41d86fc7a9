use serde_json::Value;
use tillway_core::time::Millis;

use super::{Bench, id};
use crate::Sandbox;
use crate::stripe::{PaymentStatus, ReviewVerdict};

fn status(bench: &mut Bench, payment: &str) -> String {
    bench.read(&format!("/v1/payment_intents/{payment}"))["status"].as_str().unwrap().to_owned()
}

#[test]
fn created_then_confirmed_it_succeeds_and_settles_later() {
    let mut bench = Bench::new();
    let payment =
        bench.done("/v1/payment_intents", "amount=1099&currency=usd&automatic_payment_methods[enabled]=true");
    assert_eq!(payment["status"], "requires_payment_method");
    assert_eq!(payment["capture_method"], "automatic_async");
    let confirm = format!("/v1/payment_intents/{}/confirm", id(&payment));
    assert_eq!(bench.refused(&confirm, "").1, "payment_intent_unexpected_state");
    assert_eq!(bench.refused(&confirm, "payment_method=pm_card_visa").0, 400, "no return_url");
    let paid =
        bench.done(&confirm, "payment_method=pm_card_visa_x9&return_url=https://a.b&expand[]=latest_charge");
    assert_eq!((&paid["status"], &paid["amount_received"]), (&"succeeded".into(), &1099.into()));
    let charge = &paid["latest_charge"];
    assert_eq!(
        (&charge["paid"], &charge["captured"], &charge["balance_transaction"]),
        (&true.into(), &true.into(), &Value::Null)
    );
    assert_eq!(bench.events(), ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]);

    bench.wait(Millis::secs(2));
    let event = bench.last_event("charge.updated");
    assert_eq!(event["data"]["previous_attributes"], serde_json::json!({"balance_transaction": null}));
    let charge = bench.read(&format!("/v1/charges/{}?expand[]=balance_transaction", id(charge)));
    let txn = &charge["balance_transaction"];
    assert_eq!((&txn["amount"], &txn["fee"], &txn["net"]), (&1099.into(), &62.into(), &1037.into()));
    assert_eq!(
        bench.refused(&confirm, "payment_method=pm_card_visa&return_url=https://a.b").1,
        "payment_intent_unexpected_state"
    );
}

#[test]
fn a_decline_leaves_the_payment_payable() {
    let mut bench = Bench::new();
    let (code, value) = bench.pay("pm_card_chargeDeclinedInsufficientFunds_x4", "automatic");
    let error = &value["error"];
    assert_eq!((code, &error["type"], &error["code"]), (402, &"card_error".into(), &"card_declined".into()));
    assert_eq!(error["decline_code"], "insufficient_funds");
    let payment = &error["payment_intent"];
    assert_eq!(payment["status"], "requires_payment_method");
    assert_eq!(payment["last_payment_error"]["decline_code"], "insufficient_funds");
    assert_eq!(payment["latest_charge"], error["charge"]);
    assert_eq!(bench.events(), ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]);

    let pi = id(payment);
    bench.s.shopper_retries(bench.now, &pi, "pm_card_mastercard").unwrap();
    let truth = bench.s.payment_truth(&pi).unwrap();
    assert_eq!((truth.status, truth.attempts, truth.charges_succeeded), (PaymentStatus::Succeeded, 2, 1));
    let charges = bench.read(&format!("/v1/charges?payment_intent={pi}"));
    let paid: Vec<bool> =
        charges["data"].as_array().unwrap().iter().map(|c| c["paid"].as_bool().unwrap()).collect();
    assert_eq!(paid, [true, false], "newest first");
}

#[test]
fn a_challenge_waits_for_the_shopper() {
    let mut bench = Bench::new();
    let (code, payment) = bench.pay("pm_card_threeDSecure2Required", "manual");
    assert_eq!((code, &payment["status"]), (200, &"requires_action".into()));
    let url = payment["next_action"]["redirect_to_url"]["url"].as_str().unwrap();
    assert!(url.starts_with("https://shop.example/back?"), "{url}");
    let pi = id(&payment);
    bench.s.authenticate(bench.now, &pi, false).unwrap();
    assert_eq!(status(&mut bench, &pi), "requires_payment_method");
    assert_eq!(
        bench.last_event("payment_intent.payment_failed")["data"]["object"]["last_payment_error"]["code"],
        "payment_intent_authentication_failure"
    );
    bench.s.shopper_retries(bench.now, &pi, "pm_card_authenticationRequired_x2").unwrap();
    bench.s.authenticate(bench.now, &pi, true).unwrap();
    assert_eq!(status(&mut bench, &pi), "requires_capture");
    assert!(bench.s.authenticate(bench.now, &pi, true).is_err());

    let (code, value) = bench.post(
        "/v1/payment_intents",
        "amount=500&currency=usd&confirm=true&off_session=true&payment_method=pm_card_authenticationRequired",
    );
    assert_eq!((code, &value["error"]["code"]), (402, &"authentication_required".into()));
}

#[test]
fn a_hold_is_captured_whole() {
    let mut bench = Bench::new();
    let pi = bench.held();
    assert_eq!(
        bench.events(),
        ["payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated"]
    );
    let charge = bench.last_event("charge.succeeded")["data"]["object"].clone();
    assert_eq!((&charge["captured"], &charge["amount_captured"]), (&false.into(), &0.into()));
    let before = charge["payment_method_details"]["card"]["capture_before"].as_i64().unwrap();
    assert_eq!(before - charge["created"].as_i64().unwrap(), 7 * 86_400);
    let capture = format!("/v1/payment_intents/{pi}/capture");
    assert_eq!(bench.refused(&capture, "amount_to_capture=1100").1, "amount_too_large");
    let done = bench.done(&capture, "");
    assert_eq!(
        (&done["status"], &done["amount_received"], &done["amount_capturable"]),
        (&"succeeded".into(), &1099.into(), &0.into())
    );
    assert_eq!(bench.events_since(3), ["charge.captured", "payment_intent.succeeded"]);
    let (code, again) = bench.post(&capture, "");
    assert_eq!((code, &again["error"]["code"]), (400, &"payment_intent_unexpected_state".into()));
    assert_eq!(again["error"]["payment_intent"]["status"], "succeeded");
    bench.wait(Millis::days(8));
    assert_eq!(status(&mut bench, &pi), "succeeded");
}

#[test]
fn a_partial_capture_releases_the_rest() {
    let mut bench = Bench::new();
    let pi = bench.held();
    let done = bench
        .done(&format!("/v1/payment_intents/{pi}/capture"), "amount_to_capture=700&expand[]=latest_charge");
    assert_eq!((&done["status"], &done["amount_received"]), (&"succeeded".into(), &700.into()));
    let charge = &done["latest_charge"];
    assert_eq!(
        (&charge["amount_captured"], &charge["amount_refunded"], &charge["refunded"]),
        (&700.into(), &0.into(), &false.into())
    );
    let rows = bench.read(&format!("/v1/balance_transactions?source={}", id(charge)));
    let rows: Vec<(String, i64)> = rows["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["reporting_category"].as_str().unwrap().to_owned(), r["amount"].as_i64().unwrap()))
        .collect();
    assert_eq!(rows, [("partial_capture_reversal".into(), -399), ("charge".into(), 1099)]);
    assert_eq!(bench.s.balance("usd"), 700 - 50);
    assert_eq!(bench.s.payment_truth(&pi).unwrap().captured, 700);
}

#[test]
fn several_captures_add_up() {
    let mut bench = Bench::new();
    let once = bench.held();
    let not_last = format!("/v1/payment_intents/{once}/capture");
    let (status, _) = bench.refused(&not_last, "amount_to_capture=300&final_capture=false");
    assert_eq!(status, 400, "several captures were not asked for");
    let (_, payment) =
        bench.pay("pm_card_visa", "manual&payment_method_options[card][request_multicapture]=if_available");
    let pi = id(&payment);
    let capture = format!("/v1/payment_intents/{pi}/capture");
    let from = bench.event_count();
    let first = bench.done(&capture, "amount_to_capture=300&final_capture=false");
    assert_eq!((&first["status"], &first["amount_capturable"]), (&"requires_capture".into(), &799.into()));
    bench.done(&capture, "amount_to_capture=400&final_capture=false");
    assert_eq!(bench.refused(&capture, "amount_to_capture=400").1, "amount_too_large");
    let last = bench.done(&capture, "amount_to_capture=100&final_capture=true");
    assert_eq!((&last["status"], &last["amount_received"]), (&"succeeded".into(), &800.into()));
    let charge = bench.last_event("charge.captured")["data"]["object"].clone();
    assert_eq!((&charge["amount_captured"], &charge["captured"]), (&800.into(), &true.into()));
    let step = ["charge.captured", "payment_intent.amount_capturable_updated"];
    let end = ["charge.captured", "payment_intent.succeeded"];
    assert_eq!(bench.events_since(from), [step, step, end].concat());
    let truth = bench.s.payment_truth(&pi).unwrap();
    assert_eq!((truth.captured, truth.captures, truth.charges_succeeded), (800, 3, 1));
    // One fixed part of the fee: 9 + 30, 12, 3.
    assert_eq!(bench.s.balance("usd"), 800 - 39 - 12 - 3);
}

#[test]
fn a_hold_expires_or_is_canceled() {
    let mut bench = Bench::new();
    let (expiring, canceled) = (bench.held(), bench.held());
    let from = bench.event_count();
    let done =
        bench.done(&format!("/v1/payment_intents/{canceled}/cancel"), "cancellation_reason=fraudulent");
    assert_eq!((&done["status"], &done["cancellation_reason"]), (&"canceled".into(), &"fraudulent".into()));
    assert_eq!(bench.s.next_due().map(|t| t.since(bench.now)), Some(Millis(0)), "webhooks");
    bench.wait(Millis::days(7));
    assert_eq!(
        bench.events_since(from),
        ["payment_intent.canceled", "charge.expired", "payment_intent.canceled"]
    );
    let event = bench.last_event("payment_intent.canceled");
    assert_eq!(
        (&event["data"]["object"]["id"], &event["data"]["object"]["cancellation_reason"]),
        (&expiring.as_str().into(), &"automatic".into())
    );
    assert_eq!(event["request"], serde_json::json!({"id": null, "idempotency_key": null}));
    let capture = bench.refused(&format!("/v1/payment_intents/{expiring}/capture"), "");
    assert_eq!(capture, (400, "payment_intent_unexpected_state".into()));
    assert_eq!(bench.refused(&format!("/v1/payment_intents/{canceled}/cancel"), "").0, 400);
}

#[test]
fn a_released_remainder_shows_as_refunded_where_asked_for() {
    let mut bench = Bench::new();
    bench.s.config_mut().release_marks_refunded = true;
    let pi = bench.held();
    bench.done(&format!("/v1/payment_intents/{pi}/cancel"), "");
    let charge = bench.last_event("charge.refunded")["data"]["object"].clone();
    assert_eq!(
        (&charge["refunded"], &charge["amount_refunded"], &charge["amount_captured"]),
        (&true.into(), &1099.into(), &0.into())
    );
    let truth = bench.s.payment_truth(&pi).unwrap();
    assert_eq!((truth.refunded, truth.captured), (0, 0));
}

#[test]
fn a_review_is_opened_and_closed() {
    let mut bench = Bench::new();
    for (capture, verdict, end) in [
        ("manual", ReviewVerdict::Approved, "requires_capture"),
        ("manual", ReviewVerdict::RefundedAsFraud, "canceled"),
        ("automatic", ReviewVerdict::RefundedAsFraud, "succeeded"),
    ] {
        let (_, payment) = bench.pay("pm_card_riskLevelElevated_x1", capture);
        let pi = id(&payment);
        let review = bench.s.open_review_of(&pi).unwrap();
        assert_eq!(payment["review"], review.as_str());
        let charge = bench.last_event("charge.succeeded")["data"]["object"].clone();
        assert_eq!(
            (&charge["outcome"]["type"], &charge["outcome"]["risk_level"]),
            (&"manual_review".into(), &"elevated".into())
        );
        assert_eq!(bench.last_event("review.opened")["data"]["object"]["open"], true);
        bench.s.close_review(bench.now, &review, verdict).unwrap();
        let closed = bench.last_event("review.closed")["data"]["object"].clone();
        let reason = if verdict == ReviewVerdict::Approved { "approved" } else { "refunded_as_fraud" };
        assert_eq!((&closed["id"], &closed["closed_reason"]), (&review.as_str().into(), &reason.into()));
        assert_eq!(status(&mut bench, &pi), end);
        let refunded = if capture == "automatic" { 1099 } else { 0 };
        assert_eq!(bench.s.payment_truth(&pi).unwrap().refunded, refunded);
        assert!(bench.s.close_review(bench.now, &review, verdict).is_err());
    }
    let (_, payment) = bench.pay("pm_card_riskLevelElevated_x2", "manual");
    let review = payment["review"].as_str().unwrap().to_owned();
    assert_eq!(bench.read("/v1/reviews")["data"].as_array().unwrap().len(), 1, "open ones");
    bench.done(&format!("/v1/reviews/{review}/approve"), "");
    assert_eq!(bench.refused(&format!("/v1/reviews/{review}/approve"), "").0, 400);
}

#[test]
fn an_open_payment_can_be_updated_and_a_settled_one_only_in_its_labels() {
    let mut bench = Bench::new();
    let payment = bench.done("/v1/payment_intents", "amount=1099&currency=usd&metadata[a]=1&metadata[b]=2");
    let path = format!("/v1/payment_intents/{}", id(&payment));
    let updated = bench.done(&path, "amount=1200&metadata[a]=&metadata[c]=3&description=x");
    assert_eq!(
        (&updated["amount"], &updated["metadata"]),
        (&1200.into(), &serde_json::json!({"b": "2", "c": "3"}))
    );
    let pi = bench.paid();
    let path = format!("/v1/payment_intents/{pi}");
    assert_eq!(bench.refused(&path, "amount=5").1, "payment_intent_unexpected_state");
    assert_eq!(bench.done(&path, "metadata=")["metadata"], serde_json::json!({}));
}

#[test]
fn a_shop_that_pays_by_itself_is_found_by_its_order() {
    let mut bench = Bench::new();
    let shop = crate::stripe::ShopPayment {
        amount: 4200,
        currency: "eur",
        metadata_key: "clarityorderid",
        order_id: "S-7",
        capture_method: "manual",
        payment_method: "pm_card_visa_x7",
        customer: None,
    };
    let pi = bench.s.create_payment_as_shop(bench.now, &shop).unwrap();
    let found = bench.s.payments_by_metadata("clarityorderid", "S-7");
    assert_eq!((found.len(), &found[0].payment, found[0].capturable), (1, &pi, 4200));
    let declined = crate::stripe::ShopPayment { payment_method: "pm_card_visa_chargeDeclined", ..shop };
    let pi = bench.s.create_payment_as_shop(bench.now, &declined).unwrap();
    assert_eq!(bench.s.payment_truth(&pi).unwrap().status, PaymentStatus::RequiresPaymentMethod);
}
