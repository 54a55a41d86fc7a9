use tillway_core::http::{Method, Request, Response};
use tillway_core::time::Millis;

use super::{Bench, KEY, json, request};
use crate::stripe::{API_VERSION, StripeConfig, StripeSandbox};
use crate::{ApiFault, ApiFaultRule, Reply, Sandbox};

const CREATE: &str = "amount=1099&currency=usd&metadata[clarity_order_id]=A-1";

fn keyed(key: &str, body: &str) -> Request {
    request(Method::Post, "/v1/payment_intents", body).with_header("Idempotency-Key", key)
}

fn fault(bench: &mut Bench, fault: ApiFault) {
    bench.s.inject(ApiFaultRule { method: None, path_contains: "payment_intents".into(), fault, times: 1 });
}

fn replayed(response: &Response) -> bool {
    response.header("idempotent-replayed") == Some("true")
}

#[test]
fn credentials_and_version_are_demanded() {
    let mut bench = Bench::new();
    let plain = |auth: &str, version: &str| {
        Request::new(Method::Get, "/v1/events")
            .with_header("authorization", auth)
            .with_header("stripe-version", version)
    };
    let good = format!("Bearer {KEY}");
    assert_eq!(bench.send(&plain(&good, API_VERSION)).status, 200);
    assert_eq!(bench.send(&plain("Bearer sk_other", API_VERSION)).status, 401);
    assert_eq!(bench.send(&plain(&good, "2023-08-16")).status, 400);
    assert_eq!(bench.send(&Request::new(Method::Get, "/v1/events")).status, 401);
    let response = bench.send(&request(Method::Get, "/v1/nothing", ""));
    assert_eq!(response.status, 404);
    assert!(response.header("request-id").is_some_and(|id| id.starts_with("req_")));
}

#[test]
fn a_key_replays_the_first_answer_and_refuses_other_parameters() {
    let mut bench = Bench::new();
    let first = bench.send(&keyed("k1", CREATE));
    assert!(first.status == 200 && !replayed(&first));
    let again = bench.send(&keyed("k1", "currency=usd&metadata[clarity_order_id]=A-1&amount=1099"));
    assert!(replayed(&again));
    assert_eq!(again.body, first.body);
    let other = bench.send(&keyed("k1", "amount=1100&currency=usd"));
    assert_eq!((other.status, &json(&other)["error"]["type"]), (400, &"idempotency_error".into()));
    assert_eq!(bench.s.all_payments().count(), 1);

    bench.wait(Millis::hours(24));
    let late = bench.send(&keyed("k1", CREATE));
    assert!(late.status == 200 && !replayed(&late));
    assert_eq!(bench.s.all_payments().count(), 2, "keys live for a day");
}

#[test]
fn a_replay_shows_the_object_as_it_was() {
    let mut bench = Bench::new();
    let first = bench.send(&keyed("k", CREATE));
    let id = super::id(&json(&first));
    bench.done(&format!("/v1/payment_intents/{id}"), "metadata[clarity_order_id]=B-2");
    assert_eq!(bench.send(&keyed("k", CREATE)).body, first.body);
}

#[test]
fn what_fails_validation_is_not_stored_and_a_decline_is() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(&keyed("k", "amount=x&currency=usd")).status, 400);
    assert_eq!(bench.send(&keyed("k", CREATE)).status, 200);
    let declined = "amount=500&currency=usd&confirm=true&payment_method=pm_card_visa_chargeDeclined&return_url=https://a.b";
    let first = bench.send(&keyed("d", declined));
    assert_eq!(first.status, 402);
    let again = bench.send(&keyed("d", declined));
    assert!(again.status == 402 && replayed(&again) && again.body == first.body);
    assert_eq!(bench.events().iter().filter(|e| *e == "charge.failed").count(), 1);
}

#[test]
fn a_500_is_stored_with_and_without_effect() {
    let mut bench = Bench::new();
    fault(&mut bench, ApiFault::Fail500);
    assert_eq!(bench.send(&keyed("a", CREATE)).status, 500);
    let again = bench.send(&keyed("a", CREATE));
    assert!(again.status == 500 && replayed(&again));
    assert_eq!(again.header("stripe-should-retry"), Some("true"));
    assert_eq!(bench.s.all_payments().count(), 0);

    fault(&mut bench, ApiFault::Fail500AfterEffect);
    assert_eq!(bench.send(&keyed("b", CREATE)).status, 500);
    assert_eq!(bench.send(&keyed("b", CREATE)).status, 500);
    assert_eq!(bench.s.payments_by_metadata("clarity_order_id", "A-1").len(), 1);
}

#[test]
fn silence_leaves_the_truth_to_be_found_out() {
    let mut bench = Bench::new();
    fault(&mut bench, ApiFault::SilenceBefore);
    assert_eq!(bench.s.handle(bench.now, &keyed("a", CREATE)), Reply::Silence);
    assert_eq!(bench.s.all_payments().count(), 0);
    fault(&mut bench, ApiFault::SilenceAfter);
    assert_eq!(bench.s.handle(bench.now, &keyed("a", CREATE)), Reply::Silence);
    assert_eq!(bench.s.all_payments().count(), 1);
    let found = bench.send(&keyed("a", CREATE));
    assert!(found.status == 200 && replayed(&found));
    assert_eq!(bench.s.all_payments().count(), 1);
    assert_eq!(bench.s.counters().faults_struck.values().sum::<u64>(), 2);
}

#[test]
fn a_key_in_flight_is_a_conflict_until_it_lands() {
    let mut bench = Bench::new();
    for (key, kind, payments) in [("a", ApiFault::SilenceAfter, 1), ("b", ApiFault::SilenceBefore, 2)] {
        bench.s.hold_key_in_flight(Millis::secs(5));
        let silent_effect = kind == ApiFault::SilenceAfter;
        fault(&mut bench, kind);
        assert_eq!(bench.s.handle(bench.now, &keyed(key, CREATE)), Reply::Silence);
        let busy = bench.send(&keyed(key, CREATE));
        assert_eq!((busy.status, &json(&busy)["error"]["code"]), (409, &"idempotency_key_in_use".into()));
        assert_eq!(busy.header("stripe-should-retry"), Some("true"));
        bench.wait(Millis::secs(5));
        let landed = bench.send(&keyed(key, CREATE));
        assert_eq!((landed.status, replayed(&landed)), (200, silent_effect), "{key}");
        assert_eq!(bench.s.all_payments().count(), payments);
    }
}

#[test]
fn refusals_and_outages_execute_nothing() {
    let mut bench = Bench::new();
    fault(&mut bench, ApiFault::Refuse(429));
    let busy = bench.send(&keyed("a", CREATE));
    assert_eq!((busy.status, &json(&busy)["error"]["code"]), (429, &"rate_limit".into()));
    assert!(busy.header("stripe-should-retry").is_none());
    assert!(busy.header("stripe-rate-limited-reason").is_some());
    bench.s.down_until(bench.now + Millis::mins(1));
    assert_eq!(bench.send(&keyed("a", CREATE)).status, 503);
    bench.wait(Millis::mins(1));
    assert_eq!(bench.send(&keyed("a", CREATE)).status, 200);
}

#[test]
fn the_rate_limit_refills_with_time() {
    let mut bench = Bench::new();
    let mut config = StripeConfig::new(KEY, "whsec_x", 1);
    config.rate_limit = Some(3);
    bench.s = StripeSandbox::new(config);
    let mut statuses = || -> Vec<u16> { (0..4).map(|_| bench.get("/v1/events").0).collect() };
    assert_eq!(statuses(), [200, 200, 200, 429]);
    bench.now = bench.now + Millis(334);
    assert_eq!((bench.get("/v1/events").0, bench.get("/v1/events").0), (200, 429));
}

#[test]
fn parameters_are_strict() {
    let mut bench = Bench::new();
    let cases = [
        ("currency=usd", "parameter_missing", "amount"),
        ("amount=10.99&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=1099&currency=usd&nope=1", "parameter_unknown", "nope"),
        ("amount=1099&currency=usd&payment_method_types[]=card", "parameter_unknown", "payment_method_types"),
        ("amount=1099&currency=usd&shipping[nope]=1", "parameter_unknown", "shipping[nope]"),
        ("amount=1099&currency=usd&customer=", "parameter_invalid_empty", "customer"),
        ("amount=1099&currency=usd&shipping[name]=x", "parameter_missing", "shipping[address]"),
        ("amount=1099&currency=usd&confirm=1", "-", "confirm"),
        ("amount=1099&currency=usd&capture_method=later", "-", "capture_method"),
        ("amount=1099&currency=usd&metadata=x", "-", "metadata"),
        ("amount=1099&currency=usd&customer=cus_nobody", "resource_missing", "customer"),
        ("amount=1099&currency=USD", "-", "currency"),
        ("amount=1099&currency=usd&payment_method=pm_unknown", "resource_missing", "payment_method"),
        ("amount=20&currency=usd", "amount_too_small", "amount"),
        ("amount=5124&currency=kwd", "invalid_charge_amount", "amount"),
        ("amount=1250&currency=isk", "invalid_charge_amount_no_decimal_compatible", "amount"),
        ("amount=1099&currency=usd&expand[]=nothing", "-", "expand"),
    ];
    for (body, code, param) in cases {
        let (status, value) = bench.post("/v1/payment_intents", body);
        let error = &value["error"];
        assert_eq!(status, 400, "{body}: {value}");
        assert_eq!(error["type"], "invalid_request_error", "{body}");
        assert_eq!(error["code"].as_str().unwrap_or("-"), code, "{body}: {value}");
        assert_eq!(error["param"], param, "{body}: {value}");
    }
    let mut wrong_kind = request(Method::Post, "/v1/payment_intents", "");
    wrong_kind.headers.retain(|(n, _)| n != "content-type");
    let json_body = wrong_kind.with_body("application/json", "{\"amount\":1}");
    assert_eq!(bench.send(&json_body).status, 400);
    assert_eq!(bench.s.all_payments().count(), 0);
}
