//! Read, compare, write.

use serde_json::{Value as Json, json};
use tillway_core::facts::Fact;
use tillway_core::http::{Method, Response};
use tillway_core::ids::CommandId;
use tillway_core::time::Millis;
use tillway_core::value::Value;

use super::{
    Clarity, Shop, act, api_secrets, call, connection, dict, now, order, params, problem, tagged, text, usd,
    with,
};
use crate::config::Secret;
use crate::http::HttpError;
use crate::port::{Connector, Finding, NotDone, Outcome};

const UPDATE: &str = "clarity.update_order";

fn paid() -> Value {
    params(&[
        ("order_id", text("C-1")),
        ("status", text("Paid")),
        ("external_ids", dict(&[("stripe", "pi_1")])),
    ])
}

fn paid_order() -> Json {
    let changed = with(with(order(), "/status", "Paid".into()), "/version", 4.into());
    with(changed, "/externalIds", json!({"stripe": "pi_1"}))
}

fn settled(outcome: Outcome) -> (usize, String) {
    let Outcome::Settled { observation, summary, .. } = outcome else { panic!("{outcome:?}") };
    (observation.facts.len(), summary)
}

#[tokio::test]
async fn only_what_differs_is_written_against_the_version_that_was_read() {
    let shop = Shop::new([Ok(tagged(&order(), "\"v3\"")), Ok(tagged(&paid_order(), "\"v4\""))]);
    let outcome = act(&shop, &connection(&[]), UPDATE, &paid()).await;
    let Outcome::Settled { observation, provider_id, summary } = outcome else { panic!() };
    let [Fact::Order(snapshot)] = &observation.facts[..] else { panic!() };
    assert_eq!((snapshot.version, provider_id.as_deref()), (4, Some("C-1")), "the echo brings nothing new");
    assert_eq!(summary, "wrote status, externalIds to the order");
    let asked = shop.asked();
    assert_eq!(
        (asked[0].method, asked[0].url.as_str()),
        (Method::Get, "https://shop.example.com/api/v1/orders/C-1")
    );
    assert_eq!((asked[1].method, asked[1].header("if-match")), (Method::Patch, Some("\"v3\"")));
    assert!(asked[1].header("idempotency-key").unwrap().starts_with("tillway:shop:cmd1"));
    assert_eq!(asked[1].header("authorization"), Some("Bearer tok_secret"));
    assert_eq!(shop.body(1), json!({"status": "Paid", "externalIds": {"stripe": "pi_1"}}));
    assert_eq!(*shop.limits.lock().unwrap(), [Millis::secs(10), Millis::secs(10)], "four shares of 40 s");
}

#[tokio::test]
async fn what_stands_already_is_left_out_and_nothing_left_is_no_write() {
    let half = with(order(), "/externalIds", json!({"stripe": "pi_1", "erp": "X"}));
    let shop = Shop::new([Ok(Response::json(200, &half)), Ok(tagged(&paid_order(), "\"4\""))]);
    act(&shop, &connection(&[]), UPDATE, &paid()).await;
    assert_eq!(shop.body(1), json!({"status": "Paid"}));
    assert_eq!(shop.asked()[1].header("if-match"), Some("\"3\""), "no tag: the version");

    let there = with(paid_order(), "/status", "PAID".into());
    let shop = Shop::new([Ok(Response::json(200, &there))]);
    let (facts, summary) = settled(act(&shop, &connection(&[]), UPDATE, &paid()).await);
    assert_eq!((facts, summary.as_str(), shop.asked().len()), (1, "already so", 1));
}

#[tokio::test]
async fn payment_data_is_compared_by_value() {
    let amount = tillway_core::money::Money::new(2550, tillway_core::money::Currency::parse("USD").unwrap());
    let payment = Value::map([("gateway", text("stripe")), ("amount", Value::Money(amount))]);
    let params = params(&[("order_id", text("C-1")), ("payment", payment)]);
    let there =
        with(order(), "/payment", json!({"gateway": "stripe", "amount": usd("25.5"), "cardBrand": "visa"}));
    let shop = Shop::new([Ok(Response::json(200, &there))]);
    assert_eq!(settled(act(&shop, &connection(&[]), UPDATE, &params).await).1, "already so");
    let other = with(there, "/payment/amount", usd("25.51"));
    let shop = Shop::new([Ok(Response::json(200, &other)), Ok(Response::json(200, &other))]);
    act(&shop, &connection(&[]), UPDATE, &params).await;
    assert_eq!(shop.body(1), json!({"payment": {"gateway": "stripe", "amount": usd("25.50")}}));
}

#[tokio::test]
async fn fulfilment_stays_the_shops_unless_allowed() {
    let refund = params(&[
        ("order_id", text("C-1")),
        ("status", text("Refunded")),
        ("status_reason", text("asked")),
        ("note", text("seen")),
    ]);
    for status in ["Processing", "shipped", "COMPLETED"] {
        let there = with(order(), "/status", status.into());
        let shop = Shop::new([Ok(Response::json(200, &there)), Ok(Response::json(200, &there))]);
        let (_, summary) = settled(act(&shop, &connection(&[]), UPDATE, &refund).await);
        assert_eq!(shop.body(1), json!({"note": "seen"}));
        let stays = format!("wrote note to the order; the shop's status {} stays", status.to_lowercase());
        assert_eq!(summary, stays);
    }
    for (setting, status, writes) in [
        ("true", "Refunded", true),
        ("refunded,cancelled", "Refunded", true),
        ("refunded,cancelled", "Paid", false),
    ] {
        let there = with(order(), "/status", "Shipped".into());
        let answer = with(order(), "/status", status.into());
        let mut answers = vec![Ok(Response::json(200, &there))];
        if writes {
            answers.push(Ok(Response::json(200, &answer)));
        }
        let shop = Shop::new(answers);
        let asked = params(&[("order_id", text("C-1")), ("status", text(status))]);
        settled(act(&shop, &connection(&[("overwrite_fulfilment", setting)]), UPDATE, &asked).await);
        assert_eq!(shop.asked().len() == 2, writes, "{setting} {status}");
    }
    // A step of this shop's own that nobody listed is not written over blindly.
    let there = with(order(), "/status", "canary step".into());
    let shop = Shop::new([Ok(Response::json(200, &there))]);
    let outcome = act(&shop, &connection(&[]), UPDATE, &refund).await;
    assert!(matches!(outcome, Outcome::Refused { code, .. } if code == "status_unknown"));
}

#[tokio::test]
async fn cancelled_is_not_written_over_by_what_went_before_it() {
    let there = with(order(), "/status", "Cancelled".into());
    let written = async |status: &str| {
        let answer = with(there.clone(), "/status", status.into());
        let shop = Shop::new([Ok(Response::json(200, &there)), Ok(Response::json(200, &answer))]);
        let asked = params(&[("order_id", text("C-1")), ("status", text(status)), ("note", text("seen"))]);
        let (_, summary) = settled(act(&shop, &connection(&[]), UPDATE, &asked).await);
        (shop.body(1), summary)
    };
    for status in ["Pending Payment", "On Hold", "Authorized", "Partially Paid", "Paid", "Payment Failed"] {
        let (body, summary) = written(status).await;
        assert_eq!(body, json!({"note": "seen"}), "{status}");
        assert!(summary.ends_with("the shop's status cancelled stays"), "{summary}");
    }
    // What follows a cancellation is told.
    for status in ["Refunded", "Partially Refunded", "Disputed"] {
        assert_eq!(written(status).await.0, json!({"status": status, "note": "seen"}));
    }
}

#[tokio::test]
async fn a_conflict_is_read_again_once() {
    for conflict in [problem(412, "version_conflict"), problem(409, "version_conflict"), Response::new(412)] {
        let moved = with(order(), "/version", 9.into());
        let shop = Shop::new([
            Ok(Response::json(200, &order())),
            Ok(conflict.clone()),
            Ok(Response::json(200, &moved)),
            Ok(Response::json(200, &paid_order())),
        ]);
        settled(act(&shop, &connection(&[]), UPDATE, &paid()).await);
        let asked = shop.asked();
        assert_eq!(
            (asked[1].header("if-match"), asked[3].header("if-match")),
            (Some("\"3\""), Some("\"9\""))
        );
        assert_ne!(asked[1].header("idempotency-key"), asked[3].header("idempotency-key"), "a kept refusal");

        let shop = Shop::new([
            Ok(Response::json(200, &order())),
            Ok(conflict.clone()),
            Ok(Response::json(200, &order())),
            Ok(conflict),
        ]);
        let outcome = act(&shop, &connection(&[]), UPDATE, &paid()).await;
        assert_eq!(outcome, Outcome::NotDone { after: None, why: NotDone::Conflict });
        shop.asked();
    }
    // The other writer did it for us.
    let shop = Shop::new([
        Ok(Response::json(200, &order())),
        Ok(problem(412, "version_conflict")),
        Ok(Response::json(200, &paid_order())),
    ]);
    assert_eq!(settled(act(&shop, &connection(&[]), UPDATE, &paid()).await).1, "already so");
    let shop = Shop::new([Ok(Response::json(200, &order())), Ok(problem(409, "invalid_transition"))]);
    let outcome = act(&shop, &connection(&[]), UPDATE, &paid()).await;
    assert!(matches!(outcome, Outcome::Refused { code, .. } if code == "invalid_transition"));
}

async fn after_write(answer: Result<Response, HttpError>) -> Outcome {
    let shop = Shop::new([Ok(Response::json(200, &order())), answer]);
    let outcome = act(&shop, &connection(&[]), UPDATE, &paid()).await;
    shop.asked();
    outcome
}

fn header(mut response: Response, name: &str, value: &str) -> Response {
    response.headers.push((name.into(), value.into()));
    response
}

#[tokio::test]
async fn a_write_without_a_clear_answer_is_unknown() {
    let unknown = |stored| move |o: &Outcome| matches!(o, Outcome::Unknown { answer_is_stored, .. } if *answer_is_stored == stored);
    assert!(unknown(false)(&after_write(Err(HttpError::NoAnswer)).await));
    assert!(unknown(false)(&after_write(Ok(problem(500, "unavailable"))).await));
    assert!(unknown(false)(&after_write(Ok(Response::new(503))).await));
    assert!(unknown(true)(
        &after_write(Ok(header(Response::new(500), "Idempotency-Replayed", "true"))).await
    ));
    let not_done = |why, after| Outcome::NotDone { after, why };
    assert_eq!(after_write(Err(HttpError::NotSent)).await, not_done(NotDone::Unavailable, None));
    assert_eq!(after_write(Ok(problem(401, "unauthorized"))).await, not_done(NotDone::Unauthorized, None));
    let wait = |value: &str| header(problem(429, "rate_limited"), "Retry-After", value);
    let throttled = |s| not_done(NotDone::Throttled, Some(Millis::secs(s)));
    assert_eq!(after_write(Ok(wait("7"))).await, throttled(7));
    assert_eq!(after_write(Ok(wait("Sat, 21 Nov 2026 08:01:00 GMT"))).await, throttled(60));
    assert_eq!(after_write(Ok(wait("Sat, 21 Nov 2020 08:01:00 GMT"))).await, throttled(0));
    assert_eq!(after_write(Ok(wait("99999999"))).await, throttled(86_400));
    assert_eq!(after_write(Ok(header(Response::new(429), "ratelimit-reset", "3"))).await, throttled(3));
    assert_eq!(after_write(Ok(wait("canary"))).await, not_done(NotDone::Throttled, None));
}

#[tokio::test]
async fn refusals_give_a_code_and_never_prose() {
    let html = |status| {
        let mut response = Response::new(status);
        response.body = b"<html>canary@example.com</html>".to_vec();
        response
    };
    for (answer, expected) in [
        (problem(400, "validation_failed"), "validation_failed"),
        (problem(404, "not_found"), "not_found"),
        (html(403), "http_403"),
        (html(302), "http_302"),
        (problem(422, "Kanarie Vogel"), "http_422"),
        (Response::json(400, &json!({"error": "invalid_request"})), "invalid_request"),
    ] {
        let outcome = after_write(Ok(answer)).await;
        assert!(matches!(&outcome, Outcome::Refused { code, .. } if code == expected), "{outcome:?}");
    }
    let outcome = after_write(Err(HttpError::Forbidden)).await;
    assert!(matches!(outcome, Outcome::Refused { code, .. } if code == "address_forbidden"));
}

#[tokio::test]
async fn an_answer_must_agree() {
    let field = |outcome: Outcome| match outcome {
        Outcome::Disagrees { field, .. } => field,
        other => panic!("{other:?}"),
    };
    let other = with(paid_order(), "/orderId", "C-2".into());
    assert_eq!(field(after_write(Ok(Response::json(200, &other))).await), "orderId");
    assert_eq!(field(after_write(Ok(Response::json(200, &order()))).await), "status");
    let alike = with(paid_order(), "/status", "Payment Received".into());
    settled(after_write(Ok(Response::json(200, &alike))).await);
    let shop = Shop::new([Ok(Response::json(200, &other))]);
    assert_eq!(field(act(&shop, &connection(&[]), UPDATE, &paid()).await), "orderId");
    // An order that adds up no longer: written all the same, and its webhook will be parked.
    let (facts, summary) =
        settled(after_write(Ok(Response::json(200, &with(paid_order(), "/total", usd("1"))))).await);
    assert_eq!((facts, summary.contains("totals_do_not_add_up")), (0, true));
}

#[tokio::test]
async fn an_answer_without_the_order_is_read() {
    let shop = Shop::new([
        Ok(Response::json(200, &order())),
        Ok(Response::new(204)),
        Ok(Response::json(200, &paid_order())),
    ]);
    assert_eq!(settled(act(&shop, &connection(&[]), UPDATE, &paid()).await).0, 1);
    let shop =
        Shop::new([Ok(Response::json(200, &order())), Ok(Response::new(204)), Err(HttpError::NoAnswer)]);
    assert!(matches!(act(&shop, &connection(&[]), UPDATE, &paid()).await, Outcome::Unknown { .. }));
}

#[tokio::test]
async fn finding_out_is_doing_it_again() {
    let connection = connection(&[]);
    let command = CommandId::new("cmd1");
    let prepared = Clarity.prepare(&connection, UPDATE, &command, &paid()).unwrap().bytes;
    let token = Secret::new("tok_secret");
    let secrets = api_secrets();
    let find = async |answers: Vec<Result<Response, HttpError>>| {
        let shop = Shop::new(answers);
        Clarity.find_out(call(&shop, &connection, &secrets, Some(&token), UPDATE, &command, &prepared)).await
    };
    let found = find(vec![Ok(Response::json(200, &paid_order()))]).await;
    assert!(matches!(found, Finding::Evidence(Outcome::Settled { .. })));
    for answers in [
        vec![Err(HttpError::NoAnswer)],
        vec![Ok(Response::new(401))],
        vec![Ok(Response::json(200, &order())), Err(HttpError::NoAnswer)],
    ] {
        assert!(matches!(find(answers).await, Finding::StillUnknown { .. }));
    }
}

#[tokio::test]
async fn customers_get_the_ids_they_lack() {
    let customer = json!({"customerId": "CU-1", "email": "canary@example.com", "externalIds": {"erp": "K1"}});
    let linked = with(customer.clone(), "/externalIds/stripe_customer", "cus_1".into());
    let params = params(&[
        ("customer_id", text("CU-1")),
        ("external_ids", dict(&[("stripe_customer", "cus_1"), ("erp", "K1")])),
    ]);
    let action = "clarity.update_customer";
    let shop = Shop::new([Ok(Response::json(200, &customer)), Ok(Response::json(200, &linked))]);
    settled(act(&shop, &connection(&[]), action, &params).await);
    assert_eq!(shop.asked()[1].path(), "/api/v1/customers/CU-1");
    assert_eq!(shop.body(1), json!({"externalIds": {"stripe_customer": "cus_1"}}));
    let shop = Shop::new([Ok(Response::json(200, &linked))]);
    assert_eq!(settled(act(&shop, &connection(&[]), action, &params).await), (0, "already so".into()));
}

#[tokio::test]
async fn a_shipment_is_added_once() {
    let params = params(&[
        ("order_id", text("C-1")),
        ("shipment_id", text("S-1")),
        ("carrier", text("UPS")),
        ("shipped_at", Value::Time(now())),
    ]);
    let action = "clarity.add_shipment";
    let echo = json!({"shipmentId": "S-1", "carrier": "UPS", "shippedAt": "2026-11-21T08:00:00Z"});
    let shop = Shop::new([Ok(Response::json(200, &order())), Ok(Response::json(201, &echo))]);
    settled(act(&shop, &connection(&[]), action, &params).await);
    let asked = shop.asked();
    assert_eq!((asked[1].method, asked[1].path()), (Method::Post, "/api/v1/orders/C-1/shipments"));
    assert_eq!(asked[1].header("idempotency-key"), Some("tillway:shop:cmd1"), "one body, one key");
    assert_eq!(
        shop.body(1),
        json!({"shipmentId": "S-1", "carrier": "UPS", "shippedAt": "2026-11-21T08:00:00.000Z"})
    );

    let there = with(order(), "/shipments", json!([echo]));
    let shop = Shop::new([Ok(Response::json(200, &there))]);
    assert_eq!(settled(act(&shop, &connection(&[]), action, &params).await), (1, "already so".into()));
    let shop = Shop::new([
        Ok(Response::json(200, &order())),
        Ok(problem(409, "conflict")),
        Ok(Response::json(200, &there)),
    ]);
    assert_eq!(settled(act(&shop, &connection(&[]), action, &params).await).1, "already so");
    let shop = Shop::new([
        Ok(Response::json(200, &order())),
        Ok(problem(409, "conflict")),
        Ok(Response::json(200, &order())),
    ]);
    let outcome = act(&shop, &connection(&[]), action, &params).await;
    assert_eq!(outcome, Outcome::NotDone { after: None, why: NotDone::Conflict });
    let other = with(echo, "/shipmentId", "S-2".into());
    let shop = Shop::new([Ok(Response::json(200, &order())), Ok(Response::json(201, &other))]);
    let outcome = act(&shop, &connection(&[]), action, &params).await;
    assert!(matches!(outcome, Outcome::Disagrees { field, .. } if field == "shipmentId"));
}
