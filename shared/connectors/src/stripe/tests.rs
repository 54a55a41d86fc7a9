//! Tests from outside, through the connector's trait, against scripted answers.

use serde_json::{Value as Json, json};
use tillway_core::facts::{Fact, RefundStatus};
use tillway_core::http::Response;
use tillway_core::ids::CommandId;
use tillway_core::money::{Currency, Money};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use super::Stripe;
use super::testing::{connection, secrets};
use crate::config::Connection;
use crate::http::HttpError;
use crate::port::{Call, Connector, Finding, NotDone, Outcome, Prepared};
use crate::testing::Script;

pub(super) fn usd(minor: i64) -> Value {
    Value::Money(Money::new(minor, Currency::parse("USD").unwrap()))
}

pub(super) fn ok(body: Json) -> Result<Response, HttpError> {
    answer(200, body)
}

pub(super) fn answer(status: u16, body: Json) -> Result<Response, HttpError> {
    let mut response = Response::json(status, &body);
    response.headers.push(("request-id".into(), "req_1".into()));
    Ok(response)
}

pub(super) fn error(status: u16, code: &str) -> Result<Response, HttpError> {
    answer(status, json!({"error": {"code": code, "type": "invalid_request_error", "message": "CANARY"}}))
}

fn with_header(
    response: Result<Response, HttpError>,
    name: &str,
    value: &str,
) -> Result<Response, HttpError> {
    response.map(|mut r| {
        r.headers.push((name.into(), value.into()));
        r
    })
}

/// One prepared action with its script.
pub(super) struct Run {
    connection: Connection,
    action: &'static str,
    command: CommandId,
    prepared: Prepared,
    pub(super) http: Script,
}

impl Run {
    pub(super) fn new(
        action: &'static str,
        params: Value,
        answers: impl IntoIterator<Item = Result<Response, HttpError>>,
    ) -> Self {
        let connection = connection();
        let command = CommandId::new("c0ffee");
        let prepared = Stripe.prepare(&connection, action, &command, &params).unwrap();
        Self { connection, action, command, prepared, http: Script::new(answers) }
    }
    pub(super) async fn go<T>(&self, run: impl AsyncFn(Call<'_>) -> T) -> T {
        let secrets = secrets();
        let call = Call {
            connection: &self.connection,
            secrets: &secrets,
            token: None,
            http: &self.http,
            action: self.action,
            command: &self.command,
            generation: 1,
            prepared: &self.prepared.bytes,
            now: Timestamp::from_unix(1_700_000_000),
            limit: Millis::secs(30),
        };
        run(call).await
    }
    pub(super) async fn call(&self) -> Outcome {
        self.go(async |call| Stripe.call(call).await).await
    }
    pub(super) async fn find_out(&self) -> Finding {
        self.go(async |call| Stripe.find_out(call).await).await
    }
}

pub(super) fn create_params() -> Value {
    Value::map([
        ("amount", usd(1099)),
        ("order_id", Value::text("A-1")),
        ("customer", Value::text("cus_1")),
        ("receipt_email", Value::text("canary@example.com")),
        ("ship_to", Value::map([("name", Value::text("CANARY")), ("line1", Value::text("1 Main St"))])),
    ])
}

pub(super) fn created() -> Json {
    json!({"id": "pi_1", "object": "payment_intent", "amount": 1099, "currency": "usd", "amount_received": 0,
        "status": "requires_payment_method", "client_secret": "pi_1_secret_CANARY", "latest_charge": null,
        "metadata": {"clarity_order_id": "A-1", "sync_origin": "tillway", "tillway_command": "c0ffee"}})
}

pub(super) fn refund_params() -> Value {
    Value::map([
        ("payment", Value::text("pi_1")),
        ("amount", usd(500)),
        ("request", Value::text("R-1")),
        ("reason", Value::text("changed their mind")),
    ])
}

fn refunded(amount: i64, request: &str, command: &str) -> Json {
    json!({"id": "re_1", "amount": amount, "currency": "usd", "payment_intent": "pi_1", "status": "succeeded",
        "metadata": {"tillway_request": request, "tillway_command": command, "sync_origin": "tillway"}})
}

pub(super) fn confirm_params() -> Value {
    Value::map([("payment", Value::text("pi_1")), ("token", Value::text("pm_card_visa"))])
}

pub(super) fn capture_params() -> Value {
    Value::map([("payment", Value::text("pi_1")), ("amount", usd(1000))])
}

pub(super) fn paid(received: i64, mark: &str) -> Json {
    json!({"id": "pi_1", "amount": 1000, "currency": "usd", "amount_received": received, "status": "succeeded",
        "latest_charge": "ch_1", "metadata": {"tillway_capture": mark}})
}

fn why(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Settled { .. } => "settled",
        Outcome::Refused { .. } => "refused",
        Outcome::NotDone { .. } => "not done",
        Outcome::Unknown { .. } => "unknown",
        Outcome::Disagrees { .. } => "disagrees",
    }
}

#[tokio::test]
async fn a_payment_is_made_with_what_finds_it_again() {
    let run = Run::new("stripe.create_payment", create_params(), [ok(created())]);
    let Outcome::Settled { observation, provider_id, summary } = run.call().await else { panic!() };
    assert_eq!(provider_id.as_deref(), Some("pi_1"));
    assert!(matches!(&observation.facts[..], [Fact::Payment { payment, .. }] if payment == "pi_1"));
    assert!(summary.contains("req_1") && summary.contains("10.99 USD"), "{summary}");
    let seen = run.http.seen.lock().unwrap();
    assert_eq!(seen[0].header("stripe-version"), Some("2026-10-28.endive"));
    assert_eq!(seen[0].header("authorization"), Some("Bearer sk_test_CANARY"));
    assert_eq!(seen[0].header("idempotency-key"), Some("tillway:stripe-test:c0ffee:g1"));
    let body = String::from_utf8(seen[0].body.clone()).unwrap();
    assert_eq!(
        body,
        "amount=1099&currency=usd&automatic_payment_methods%5Benabled%5D=true&customer=cus_1\
         &receipt_email=canary%40example.com&shipping%5Bname%5D=CANARY&shipping%5Baddress%5D%5Bline1%5D=1+Main+St\
         &metadata%5Bclarity_order_id%5D=A-1&metadata%5Bsync_origin%5D=tillway&metadata%5Btillway_command%5D=c0ffee"
    );
}

#[tokio::test]
async fn the_same_bytes_go_out_under_the_same_key() {
    let run = Run::new("stripe.create_payment", create_params(), [Err(HttpError::NoAnswer), ok(created())]);
    assert_eq!(why(&run.call().await), "unknown");
    assert_eq!(why(&run.call().await), "settled");
    let (keys, bodies) = (run.http.keys(), run.http.bodies());
    assert_eq!((&keys[0], &bodies[0]), (&keys[1], &bodies[1]));
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    let cases = [
        (error(400, "parameter_missing"), "refused"),
        (answer(400, json!({"error": {"type": "idempotency_error"}})), "refused"),
        (error(404, "resource_missing"), "refused"),
        (error(402, "card_declined"), "refused"),
        (error(401, "api_key_expired"), "not done"),
        (error(403, "secret_key_required"), "not done"),
        (error(409, "idempotency_key_in_use"), "not done"),
        (error(429, "rate_limit"), "not done"),
        (error(429, "lock_timeout"), "not done"),
        (error(424, "x"), "unknown"),
        (error(500, "x"), "unknown"),
        (error(503, "x"), "unknown"),
        (answer(200, json!("no object")), "unknown"),
        (answer(302, json!({})), "not done"),
        (Err(HttpError::NotSent), "not done"),
        (Err(HttpError::Forbidden), "refused"),
        (Err(HttpError::NoAnswer), "unknown"),
    ];
    for (at, (given, expected)) in cases.into_iter().enumerate() {
        let run = Run::new("stripe.create_payment", create_params(), [given]);
        let outcome = run.call().await;
        assert_eq!(why(&outcome), expected, "case {at}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("CANARY"), "case {at}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_500_is_stored_under_the_key_unless_stripe_says_otherwise_once() {
    let run = Run::new("stripe.create_payment", create_params(), [error(500, "x")]);
    assert!(matches!(run.call().await, Outcome::Unknown { answer_is_stored: true, .. }));
    // What stands before Stripe keeps nothing under its keys.
    let run = Run::new("stripe.create_payment", create_params(), [error(503, "x")]);
    assert!(matches!(run.call().await, Outcome::Unknown { answer_is_stored: false, .. }));
    let again = || with_header(error(500, "x"), "stripe-should-retry", "true");
    // A second one under the same key shows that it holds this answer: else the same would be sent for a day.
    let run = Run::new("stripe.create_payment", create_params(), [again(), again()]);
    assert!(matches!(run.call().await, Outcome::Unknown { answer_is_stored: true, .. }));
    let keys = run.http.keys();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
    // The second being turned away says nothing of the first.
    let run = Run::new("stripe.create_payment", create_params(), [again(), error(429, "rate_limit")]);
    assert_eq!(why(&run.call().await), "unknown");
    let run = Run::new("stripe.create_payment", create_params(), [again(), ok(created())]);
    assert_eq!(why(&run.call().await), "settled");
}

#[tokio::test]
async fn an_answer_that_differs_from_the_request_is_not_settled() {
    for (pointer, other, field) in [
        ("/amount", json!(1098), "amount"),
        ("/currency", json!("eur"), "currency"),
        ("/metadata/clarity_order_id", json!("A-2"), "metadata.clarity_order_id"),
        ("/metadata/tillway_command", json!(null), "metadata.tillway_command"),
    ] {
        let mut body = created();
        *body.pointer_mut(pointer).unwrap() = other;
        let run = Run::new("stripe.create_payment", create_params(), [ok(body)]);
        match run.call().await {
            Outcome::Disagrees { field: found, .. } => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let run = Run::new("stripe.refund", refund_params(), [ok(refunded(499, "R-1", "c0ffee"))]);
    assert_eq!(why(&run.call().await), "disagrees");
}

#[tokio::test]
async fn a_decline_is_a_refusal_with_its_attempt() {
    let body = json!({"error": {"type": "card_error", "code": "card_declined", "decline_code": "stolen_card",
        "charge": "ch_9", "advice_code": "try_again_later", "payment_intent": created()}});
    let run = Run::new("stripe.confirm_payment", confirm_params(), [answer(402, body)]);
    let Outcome::Refused { code, observation, .. } = run.call().await else { panic!() };
    assert_eq!(code, "card_declined");
    let attempt = Fact::AttemptFailed {
        payment: "pi_1".into(),
        attempt: "ch_9".into(),
        code: "stolen_card".into(),
        shopper_reason: "generic_decline".into(),
        soft: true,
    };
    assert_eq!(observation.facts, [attempt]);
}

#[tokio::test]
async fn a_challenge_names_the_token_it_was_asked_for_and_seals_the_link() {
    let body = json!({"id": "pi_1", "amount": 1000, "currency": "usd", "status": "requires_action",
        "payment_method": "pm_other", "next_action": {"redirect_to_url": {"url": "https://bank.example/CANARY"}}});
    let run = Run::new("stripe.confirm_payment", confirm_params(), [ok(body)]);
    let outcome = run.call().await;
    assert!(!format!("{outcome:?}").contains("CANARY"));
    let Outcome::Settled { observation, .. } = outcome else { panic!() };
    assert!(
        observation
            .facts
            .contains(&Fact::ActionRequired { payment: "pi_1".into(), attempt: "pi_1:pm_card_visa".into() })
    );
    assert!(observation.personal.at("action.url").as_text().is_some());
}

#[tokio::test]
async fn done_before_counts_only_where_the_truth_agrees() {
    let already = || error(400, "charge_already_captured");
    let run = Run::new("stripe.capture", capture_params(), [already(), ok(paid(1000, "other"))]);
    assert_eq!(why(&run.call().await), "settled");
    let run = Run::new("stripe.capture", capture_params(), [already(), ok(paid(700, "other"))]);
    assert_eq!(why(&run.call().await), "refused");
    let run = Run::new("stripe.capture", capture_params(), [already(), Err(HttpError::NoAnswer)]);
    assert_eq!(why(&run.call().await), "unknown");

    let already = || error(400, "charge_already_refunded");
    let list = |items: Json| ok(json!({"object": "list", "data": items, "has_more": false}));
    let run =
        Run::new("stripe.refund", refund_params(), [already(), list(json!([refunded(500, "R-2", "x")]))]);
    assert_eq!(why(&run.call().await), "refused");
    let run =
        Run::new("stripe.refund", refund_params(), [already(), list(json!([refunded(500, "R-1", "x")]))]);
    assert_eq!(why(&run.call().await), "settled");
}

#[tokio::test]
async fn a_refund_carries_the_request_and_only_reasons_stripe_knows() {
    let run = Run::new("stripe.refund", refund_params(), [ok(refunded(500, "R-1", "c0ffee"))]);
    let Outcome::Settled { observation, .. } = run.call().await else { panic!() };
    assert!(
        matches!(&observation.facts[..], [Fact::Refund { status: RefundStatus::Succeeded, request: Some(r), .. }] if r == "R-1")
    );
    let body = run.http.bodies().remove(0);
    assert!(
        body.starts_with("payment_intent=pi_1&amount=500&metadata") && !body.contains("reason"),
        "{body}"
    );
}

#[tokio::test]
async fn a_read_tells_everything_around_a_payment() {
    let charge = json!({"id": "ch_1", "amount": 1000, "amount_captured": 1000, "currency": "usd", "captured": true,
        "status": "succeeded", "payment_intent": "pi_1", "disputed": true});
    let pi = json!({"id": "pi_1", "amount": 1000, "currency": "usd", "status": "succeeded", "amount_received": 1000,
        "latest_charge": charge, "review": "prv_1"});
    let review = json!({"id": "prv_1", "open": false, "closed_reason": "approved", "payment_intent": "pi_1"});
    let list = |items: Json| ok(json!({"data": items, "has_more": false}));
    let dispute = json!({"id": "dp_1", "amount": 1000, "currency": "usd", "payment_intent": "pi_1",
        "status": "lost", "balance_transactions": []});
    let answers = [ok(pi), ok(review), list(json!([refunded(5, "R", "x")])), list(json!([dispute]))];
    let run = Run::new("stripe.read_payment", Value::map([("payment", Value::text("pi_1"))]), answers);
    let Outcome::Settled { observation, .. } = run.call().await else { panic!() };
    let told = format!("{:?}", observation.facts);
    for part in ["Captured", "ReviewClosed", "Refund {", "Dispute {"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let run =
        Run::new("stripe.read_payment", Value::map([("payment", Value::text("pi_1"))]), [error(500, "x")]);
    assert!(matches!(run.call().await, Outcome::NotDone { why: NotDone::Unavailable, .. }));
}

#[test]
fn prepared_bytes_hold_no_credentials_and_summaries_nothing_personal() {
    let prepared = Stripe
        .prepare(&connection(), "stripe.create_payment", &CommandId::new("c"), &create_params())
        .unwrap();
    assert_eq!(prepared.summary, "POST /v1/payment_intents 10.99 USD");
    assert!(!format!("{prepared:?}").contains("CANARY"));
    assert!(!String::from_utf8(prepared.bytes).unwrap().contains("sk_test"));
}

#[tokio::test]
async fn without_an_api_key_nothing_is_sent() {
    let run = Run::new("stripe.create_payment", create_params(), []);
    let none = crate::config::Secrets::default();
    let outcome = run.go(async |call| Stripe.call(Call { secrets: &none, ..call }).await).await;
    assert!(matches!(outcome, Outcome::NotDone { why: NotDone::Unauthorized, .. }));
}

#[test]
fn settings_are_checked_and_actions_declare_what_they_are() {
    let mut bad = connection();
    assert!(Stripe.check_settings(&bad).is_empty());
    bad.production = true;
    for (name, value) in [
        ("base_url", "http://stripe.example"),
        ("api_version", "x"),
        ("tolerance_seconds", "0"),
        ("timeout_seconds", "soon"),
        ("order_metadata_key", ""),
        ("livemode", "false"),
        ("allow_ugx", "true"),
        ("allow_redirects", "maybe"),
        ("multicapture", "yes"),
        ("return_url", "shop"),
        ("sweep_types", "charge.succeeded; drop"),
        ("rate_limit.per_second", "-1"),
    ] {
        bad.settings.insert(name.into(), value.into());
    }
    assert_eq!(Stripe.check_settings(&bad).len(), 12, "{:?}", Stripe.check_settings(&bad));
    for action in Stripe.actions() {
        assert!(action.spec.name.starts_with("stripe."));
        assert_eq!(action.per_person, action.spec.name == "stripe.ensure_customer");
    }
}
