//! Tests from outside, through the connector's trait, against scripted answers.

use serde_json::{Value as Json, json};
use tillway_core::facts::{AuthorizationEnd, Fact, RefundStatus, ReviewOutcome};
use tillway_core::http::Response;
use tillway_core::ids::CommandId;
use tillway_core::money::{Currency, Money};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use super::Cybersource;
use super::testing::{connection, secrets};
use crate::config::{Connection, Secrets};
use crate::http::HttpError;
use crate::port::{Call, Connector, Finding, Outcome, Prepared};
use crate::testing::Script;

pub(super) const AUTH: &str = "7638943960206437203955";
pub(super) const CAPTURE: &str = "7638950001206437203999";

pub(super) type Answered = Result<Response, HttpError>;

pub(super) fn money(minor: i64) -> Money {
    Money::new(minor, Currency::parse("USD").unwrap())
}
pub(super) fn usd(minor: i64) -> Value {
    Value::Money(money(minor))
}
pub(super) fn answer(status: u16, body: Json) -> Answered {
    let mut response = Response::json(status, &body);
    response.headers.push(("v-c-correlation-id".into(), "corr-1".into()));
    Ok(response)
}
pub(super) fn ok(body: Json) -> Answered {
    answer(201, body)
}
pub(super) fn error(status: u16, reason: &str) -> Answered {
    answer(status, json!({"status": "INVALID_REQUEST", "reason": reason, "message": "CANARY"}))
}

/// One prepared action with its script.
pub(super) struct Run {
    pub(super) connection: Connection,
    action: &'static str,
    command: CommandId,
    prepared: Prepared,
    pub(super) generation: u32,
    pub(super) http: Script,
}

impl Run {
    pub(super) fn new(
        action: &'static str,
        params: Value,
        answers: impl IntoIterator<Item = Answered>,
    ) -> Self {
        Self::with(&[], action, params, answers)
    }
    pub(super) fn with(
        settings: &[(&str, &str)],
        action: &'static str,
        params: Value,
        answers: impl IntoIterator<Item = Answered>,
    ) -> Self {
        let mut connection = connection();
        for (name, value) in settings {
            connection.settings.insert((*name).into(), (*value).into());
        }
        let command = CommandId::new("c0ffee");
        let prepared = Cybersource.prepare(&connection, action, &command, &params).unwrap();
        Self { connection, action, command, prepared, generation: 0, http: Script::new(answers) }
    }
    /// The command was looked up and not found before.
    pub(super) fn again(mut self) -> Self {
        self.generation = 1;
        self
    }
    pub(super) async fn go<T>(&self, run: impl AsyncFn(Call<'_>) -> T) -> T {
        self.go_with(&secrets(), run).await
    }
    pub(super) async fn go_with<T>(&self, secrets: &Secrets, run: impl AsyncFn(Call<'_>) -> T) -> T {
        let call = Call {
            connection: &self.connection,
            secrets,
            token: None,
            http: &self.http,
            action: self.action,
            command: &self.command,
            generation: self.generation,
            prepared: &self.prepared.bytes,
            now: Timestamp::from_unix(1_795_169_730),
            limit: Millis::secs(60),
        };
        run(call).await
    }
    pub(super) async fn call(&self) -> Outcome {
        self.go(async |call| Cybersource.call(call).await).await
    }
    pub(super) async fn find_out(&self) -> Finding {
        self.go(async |call| Cybersource.find_out(call).await).await
    }
}

/// The paths of the commissioned description, whole: every call about tokens and decisions goes to them, and none beside.
#[tokio::test]
async fn the_commissioned_paths_can_be_set_as_a_whole() {
    const PATHS: [(&str, &str); 5] = [
        ("paths.customers", "/tss/v2/tokens"),
        ("paths.customer", "/tss/v2/tokens/{id}"),
        ("paths.instruments", "/tss/v2/tokens/{id}/payment-instruments"),
        ("paths.decisions", "/dm/v2/decisions"),
        ("paths.case_actions", "/dm/v2/decisions/{id}/actions"),
    ];
    let texts = |given: &[(&'static str, &str)]| {
        Value::map(given.iter().map(|(name, text)| (*name, Value::text(*text))))
    };
    let person = [("email", "canary@example.com"), ("reference", "CU-1")];
    let known = texts(&[&person[..], &[("known", "T1")]].concat());
    let changed = texts(&[&person[..], &[("customer", "T1")]].concat());
    let card = texts(&[("customer", "T1"), ("instrument", "7010000000016241111")]);
    let reject = Value::map([
        ("order_id", Value::text("ORD-1001")),
        ("payment", Value::text(AUTH)),
        ("decision", Value::text("reject")),
    ]);
    let gone = || error(404, "notFound");
    let theirs = || answer(200, json!({"id": "T1", "buyerInformation": {"merchantCustomerID": "CU-1"}}));
    let none = || answer(200, json!({"count": 0, "total": 0}));
    let one = format!("/dm/v2/decisions/{AUTH}/actions");
    let cases = [
        (
            "cybersource.ensure_customer",
            known,
            vec![gone(), ok(json!({"id": "T9"}))],
            vec!["GET /tss/v2/tokens/T1".to_owned(), "POST /tss/v2/tokens".to_owned()],
        ),
        (
            "cybersource.update_customer",
            changed,
            vec![theirs(), theirs()],
            vec!["GET /tss/v2/tokens/T1".to_owned(), "PATCH /tss/v2/tokens/T1".to_owned()],
        ),
        (
            "cybersource.attach_instrument",
            card,
            vec![none(), ok(json!({"id": "I1"}))],
            vec![
                "GET /tss/v2/tokens/T1/payment-instruments".to_owned(),
                "POST /tss/v2/tokens/T1/payment-instruments".to_owned(),
            ],
        ),
        (
            "cybersource.screen",
            pay_params(),
            vec![error(400, "MISSING_FIELD")],
            vec!["POST /dm/v2/decisions".to_owned()],
        ),
        ("cybersource.decide_case", reject, vec![error(400, "MISSING_FIELD")], vec![format!("POST {one}")]),
    ];
    for (action, params, answers, calls) in cases {
        let run = Run::with(&PATHS, action, params, answers);
        assert_eq!(Cybersource.check_settings(&run.connection), []);
        run.call().await;
        assert_eq!(run.http.calls(), calls, "{action}");
    }
}

pub(super) fn pay_params() -> Value {
    Value::map([
        ("order_id", Value::text("ORD-1001")),
        ("amount", usd(10_221)),
        ("token", Value::text("5A9F8E0C1B2D3E4F5A6B7C8D9E0F1A2B")),
        (
            "bill_to",
            Value::map([("first_name", Value::text("CANARY")), ("email", Value::text("canary@example.com"))]),
        ),
    ])
}
pub(super) fn follow(more: &[(&'static str, Value)]) -> Value {
    let base =
        [("order_id", Value::text("ORD-1001")), ("payment", Value::text(AUTH)), ("amount", usd(10_221))];
    Value::map(base.into_iter().chain(more.iter().cloned()))
}
pub(super) fn refund_params() -> Value {
    follow(&[("capture", Value::text(CAPTURE)), ("request", Value::text("R-1")), ("amount", usd(1000))])
}
pub(super) fn void_params() -> Value {
    follow(&[("capture", Value::text(CAPTURE)), ("request", Value::text("R-1"))])
}

/// The answer to a payment.
pub(super) fn paid(status: &str, reserved: &str) -> Json {
    json!({"id": AUTH, "submitTimeUtc": "2026-11-20T10:15:30Z", "status": status,
        "clientReferenceInformation": {"code": "ORD-1001"},
        "orderInformation": {"amountDetails": {"totalAmount": "102.21", "authorizedAmount": reserved, "currency": "USD"}}})
}
pub(super) fn captured(amount: &str) -> Json {
    json!({"id": CAPTURE, "status": "PENDING", "clientReferenceInformation": {"code": "ORD-1001"},
        "orderInformation": {"amountDetails": {"totalAmount": amount, "currency": "USD"}}})
}

pub(super) fn refunded(amount: &str) -> Json {
    json!({"id": "8", "status": "PENDING", "clientReferenceInformation": {"code": "ORD-1001"},
        "refundAmountDetails": {"refundAmount": amount, "currency": "USD"}})
}

fn authorized(minor: i64) -> Fact {
    let expires_at = Some(Timestamp::from_unix(1_795_169_730) + Millis::days(7));
    Fact::Authorized { payment: AUTH.into(), charge: AUTH.into(), amount: money(minor), expires_at }
}

pub(super) fn facts(outcome: &Outcome) -> Vec<Fact> {
    match outcome {
        Outcome::Settled { observation, .. }
        | Outcome::Refused { observation, .. }
        | Outcome::Disagrees { observation, .. } => observation.facts.clone(),
        other => panic!("{other:?}"),
    }
}
pub(super) fn how(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Settled { .. } => "settled".to_owned(),
        Outcome::Refused { code, .. } => format!("refused {code}"),
        Outcome::Disagrees { field, .. } => format!("disagrees {field}"),
        Outcome::NotDone { why, .. } => format!("not done {why:?}"),
        Outcome::Unknown { .. } => "unknown".to_owned(),
    }
}

pub(super) const PAY: &str = "cybersource.authorize";
pub(super) const CAPTURES: &str = "cybersource.capture";
pub(super) const VOIDS: &str = "cybersource.void";
pub(super) const REFUNDS: &str = "cybersource.refund";
pub(super) const REVERSALS: &str = "cybersource.reverse";

pub(super) async fn pay(settings: &[(&str, &str)], body: Json) -> Outcome {
    Run::with(settings, PAY, pay_params(), [ok(body)]).call().await
}

#[tokio::test]
async fn every_known_status_of_a_payment_means_what_the_table_says() {
    let outcome = pay(&[], paid("AUTHORIZED", "102.21")).await;
    assert_eq!(how(&outcome), "settled");
    let expected = [Fact::Payment { payment: AUTH.into(), amount: money(10_221) }, authorized(10_221)];
    assert_eq!(facts(&outcome), expected);

    let outcome = pay(&[], paid("AUTHORIZED_PENDING_REVIEW", "102.21")).await;
    assert_eq!(how(&outcome), "settled");
    let review = Fact::ReviewOpened { review: AUTH.into(), payment: AUTH.into() };
    assert!(facts(&outcome).contains(&review) && facts(&outcome).contains(&authorized(10_221)));

    let outcome = pay(&[], paid("PENDING_REVIEW", "102.21")).await;
    assert!(facts(&outcome).contains(&review) && !facts(&outcome).contains(&authorized(10_221)));

    // The bank approved and the risk check did not: reserved, failed, and to be let go.
    let mut body = paid("AUTHORIZED_RISK_DECLINED", "102.21");
    body["errorInformation"] = json!({"reason": "DECISION_PROFILE_REJECT"});
    let outcome = pay(&[], body).await;
    assert_eq!(how(&outcome), "refused DECISION_PROFILE_REJECT");
    let failed = |f: &Fact| matches!(f, Fact::AttemptFailed { attempt, shopper_reason, .. } if attempt == AUTH && shopper_reason == "generic_decline");
    assert!(facts(&outcome).contains(&authorized(10_221)) && facts(&outcome).iter().any(failed));

    let outcome = pay(
        &[],
        json!({"id": AUTH, "status": "DECLINED", "clientReferenceInformation": {"code": "ORD-1001"},
        "errorInformation": {"reason": "INSUFFICIENT_FUND"}}),
    )
    .await;
    assert_eq!(how(&outcome), "refused INSUFFICIENT_FUND");
    assert!(matches!(&facts(&outcome)[1], Fact::AttemptFailed { soft: true, .. }));

    let outcome = pay(&[], paid("PENDING_AUTHENTICATION", "102.21")).await;
    assert!(facts(&outcome).contains(&Fact::ActionRequired { payment: AUTH.into(), attempt: AUTH.into() }));
    let outcome = pay(
        &[],
        json!({"id": AUTH, "status": "INVALID_REQUEST", "errorInformation": {"reason": "INVALID_DATA"}}),
    )
    .await;
    assert_eq!(how(&outcome), "refused INVALID_DATA");
    assert_eq!(how(&pay(&[], paid("SERVER_ERROR", "102.21")).await), "unknown");
}

#[tokio::test]
async fn a_status_nobody_knows_is_neither_success_nor_failure_and_is_named() {
    let outcome = pay(&[], paid("SETTLED_LATER", "102.21")).await;
    let Outcome::Disagrees { field, what, observation } = outcome else { panic!() };
    assert_eq!((field.as_str(), observation.facts.len()), ("status", 0));
    assert!(what.contains("`SETTLED_LATER`"), "{what}");
    // What is no plain word is not repeated.
    let Outcome::Disagrees { what, .. } = pay(&[], paid("paid by a@b.c", "102.21")).await else { panic!() };
    assert!(!what.contains("a@b.c"), "{what}");
    for (action, params) in [
        (CAPTURES, follow(&[])),
        (VOIDS, void_params()),
        (REFUNDS, refund_params()),
        (REVERSALS, follow(&[])),
        ("cybersource.decide_case", follow(&[("decision", Value::text("accept"))])),
    ] {
        let mut body = captured("102.21");
        body["status"] = "NEVER_SEEN".into();
        let outcome = Run::new(action, params, [ok(body)]).call().await;
        assert_eq!(how(&outcome), "disagrees status", "{action}");
    }
}

#[tokio::test]
async fn a_partial_authorization_is_kept_let_go_or_asked_about() {
    let part = || paid("PARTIAL_AUTHORIZED", "60.00");
    let outcome = pay(&[("partial_authorization", "accept")], part()).await;
    assert_eq!((how(&outcome).as_str(), facts(&outcome).contains(&authorized(6000))), ("settled", true));
    let outcome = pay(&[("partial_authorization", "reverse")], part()).await;
    assert_eq!(how(&outcome), "refused PARTIAL_AUTHORIZED");
    assert!(matches!(facts(&outcome).last(), Some(Fact::AttemptFailed { attempt, .. }) if attempt == AUTH));
    let outcome = pay(&[], part()).await;
    assert_eq!(how(&outcome), "disagrees orderInformation.amountDetails.authorizedAmount");
    assert!(facts(&outcome).contains(&authorized(6000)));
    // Without the amount it is no reservation of any.
    let mut bare = part();
    bare["orderInformation"]["amountDetails"].as_object_mut().unwrap().remove("authorizedAmount");
    assert!(how(&pay(&[("partial_authorization", "accept")], bare).await).starts_with("disagrees"));
}

#[tokio::test]
async fn an_answer_that_differs_from_the_request_is_not_settled() {
    for (pointer, other, field) in [
        (
            "/orderInformation/amountDetails/totalAmount",
            "102.20",
            "orderInformation.amountDetails.totalAmount",
        ),
        (
            "/orderInformation/amountDetails/authorizedAmount",
            "102.22",
            "orderInformation.amountDetails.authorizedAmount",
        ),
        (
            "/orderInformation/amountDetails/authorizedAmount",
            "60.00",
            "orderInformation.amountDetails.authorizedAmount",
        ),
        ("/orderInformation/amountDetails/currency", "EUR", "currency"),
        ("/clientReferenceInformation/code", "ORD-2", "clientReferenceInformation.code"),
    ] {
        let mut body = paid("AUTHORIZED", "102.21");
        *body.pointer_mut(pointer).unwrap() = other.into();
        let outcome = pay(&[], body).await;
        assert_eq!(how(&outcome), format!("disagrees {field}"), "{pointer}");
        assert!(!facts(&outcome).is_empty(), "what is known is told all the same");
    }
    let outcome = Run::new(CAPTURES, follow(&[]), [ok(captured("102.20"))]).call().await;
    assert_eq!(how(&outcome), "disagrees orderInformation.amountDetails.totalAmount");
    let refund = json!({"id": "8", "status": "PENDING", "clientReferenceInformation": {"code": "ORD-1001"},
        "refundAmountDetails": {"refundAmount": "10.01", "currency": "USD"}});
    let outcome = Run::new(REFUNDS, refund_params(), [ok(refund)]).call().await;
    assert_eq!(how(&outcome), "disagrees refundAmountDetails.refundAmount");
}

#[tokio::test]
async fn a_request_carries_order_and_command_and_the_signed_bytes() {
    let run = Run::new(PAY, pay_params(), [ok(paid("AUTHORIZED", "102.21"))]);
    run.call().await;
    let body = run.http.json().remove(0);
    assert_eq!(
        body["clientReferenceInformation"],
        json!({"code": "ORD-1001", "comments": "tillway c0ffee", "transactionId": "c0ffee"})
    );
    assert_eq!(
        body["orderInformation"]["amountDetails"],
        json!({"totalAmount": "102.21", "currency": "USD"})
    );
    assert_eq!(body["paymentInformation"], json!({"customer": {"id": "5A9F8E0C1B2D3E4F5A6B7C8D9E0F1A2B"}}));
    assert_eq!(body["processingInformation"], json!({"capture": false, "commerceIndicator": "internet"}));
    assert_eq!(body["merchantDefinedInformation"], json!([{"key": "20", "value": "c0ffee"}]));
    let seen = run.http.seen.lock().unwrap();
    let token = seen[0].header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: Json = serde_json::from_slice(&claims).unwrap();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&seen[0].body);
    let digest = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    assert_eq!(
        (claims["digest"].as_str(), claims["request-host"].as_str()),
        (Some(digest.as_str()), Some("cybersource.example"))
    );
    assert!(seen[0].header("digest").is_none() && seen[0].header("date").is_none());
}

#[tokio::test]
async fn a_sale_takes_at_once_and_its_capture_has_the_payments_id() {
    let sale = match pay_params() {
        Value::Map(mut m) => {
            m.insert("capture".into(), Value::Bool(true));
            Value::Map(m)
        }
        other => other,
    };
    let outcome = Run::new(PAY, sale, [ok(paid("AUTHORIZED", "102.21"))]).call().await;
    let made = Fact::CaptureMade {
        payment: AUTH.into(),
        charge: AUTH.into(),
        capture: AUTH.into(),
        amount: money(10_221),
    };
    assert!(facts(&outcome).contains(&made));
    let voided = json!({"id": "9", "status": "VOIDED", "clientReferenceInformation": {"code": "ORD-1001"}});
    let params = follow(&[("capture", Value::text(AUTH)), ("request", Value::text("R"))]);
    let run = Run::new(VOIDS, params, [ok(voided)]);
    run.call().await;
    assert_eq!(run.http.calls(), [format!("POST /pts/v2/payments/{AUTH}/voids")]);
}

#[tokio::test]
async fn captures_refunds_voids_and_reversals_tell_their_facts() {
    let run = Run::new(
        CAPTURES,
        follow(&[
            ("amount", usd(6000)),
            ("last", Value::Bool(false)),
            ("sequence", Value::Int(1)),
            ("count", Value::Int(2)),
        ]),
        [ok(captured("60.00"))],
    );
    let outcome = run.call().await;
    let made = Fact::CaptureMade {
        payment: AUTH.into(),
        charge: AUTH.into(),
        capture: CAPTURE.into(),
        amount: money(6000),
    };
    assert_eq!(facts(&outcome), std::slice::from_ref(&made));
    assert_eq!(
        run.http.json()[0]["processingInformation"]["captureOptions"],
        json!({"captureSequenceNumber": 1, "totalCaptureCount": 2})
    );
    let outcome = Run::new(CAPTURES, follow(&[("amount", usd(6000))]), [ok(captured("60.00"))]).call().await;
    let kept =
        Fact::AuthorizationEnded { payment: AUTH.into(), charge: AUTH.into(), how: AuthorizationEnd::Kept };
    assert_eq!(facts(&outcome), [made, kept]);

    let run = Run::new(REFUNDS, refund_params(), [ok(refunded("10.00"))]);
    let outcome = run.call().await;
    assert!(
        matches!(&facts(&outcome)[..], [Fact::Refund { refund, payment, status: RefundStatus::Pending, moved: true, returned: false, request: Some(r), .. }]
        if refund == "8" && payment == AUTH && r == "R-1")
    );
    assert_eq!(run.http.calls(), [format!("POST /pts/v2/captures/{CAPTURE}/refunds")]);
    assert_eq!(run.http.json()[0]["merchantDefinedInformation"][1], json!({"key": "21", "value": "R-1"}));

    let voided = json!({"id": "9", "status": "VOIDED", "clientReferenceInformation": {"code": "ORD-1001"},
        "voidAmountDetails": {"voidAmount": "102.21", "currency": "USD"}});
    let outcome = Run::new(VOIDS, void_params(), [ok(voided)]).call().await;
    assert!(
        matches!(&facts(&outcome)[..], [Fact::Refund { refund, status: RefundStatus::Succeeded, amount, .. }] if refund == "9" && *amount == money(10_221))
    );

    // Read as done by some and as refused by others: no refund may follow from it.
    let cancelled =
        json!({"id": "9", "status": "CANCELLED", "clientReferenceInformation": {"code": "ORD-1001"}});
    assert_eq!(how(&Run::new(VOIDS, void_params(), [ok(cancelled)]).call().await), "disagrees status");

    let reversal = json!({"id": "7", "status": "REVERSED", "clientReferenceInformation": {"code": "ORD-1001"},
        "reversalAmountDetails": {"reversedAmount": "102.21", "currency": "USD"}});
    let outcome = Run::new(REVERSALS, follow(&[]), [ok(reversal)]).call().await;
    assert!(matches!(
        &facts(&outcome)[..],
        [Fact::AuthorizationEnded { how: AuthorizationEnd::Voided, .. }, Fact::PaymentCancelled { .. }]
    ));
    // A reversal that was made before is as good.
    let outcome = Run::new(REVERSALS, follow(&[]), [error(400, "AUTH_ALREADY_REVERSED")]).call().await;
    assert_eq!((how(&outcome).as_str(), facts(&outcome).len()), ("settled", 2));
}

#[tokio::test]
async fn a_case_is_decided_and_a_rejection_may_let_the_money_go() {
    let decide =
        |decision: &str, act: bool| follow(&[("decision", Value::text(decision)), ("act", Value::Bool(act))]);
    let run = Run::new(
        "cybersource.decide_case",
        decide("accept", false),
        [ok(json!({"id": AUTH, "status": "ACCEPTED"}))],
    );
    assert!(matches!(
        &facts(&run.call().await)[..],
        [Fact::ReviewClosed { outcome: ReviewOutcome::Approved, .. }]
    ));
    assert_eq!(run.http.calls(), [format!("POST /risk/v1/decisions/{AUTH}/actions")]);
    let body = json!({"id": AUTH, "status": "REJECTED", "_embedded": {"reversal": {"status": "REVERSED"}}});
    let run = Run::new("cybersource.decide_case", decide("reject", true), [ok(body)]);
    assert_eq!(facts(&run.call().await).len(), 3);
    assert_eq!(run.http.json()[0]["processingInformation"]["actionList"], json!(["REVERSE"]));
    let run = Run::new(
        "cybersource.decide_case",
        decide("accept", false),
        [ok(json!({"id": AUTH, "status": "REJECTED"}))],
    );
    assert_eq!(how(&run.call().await), "disagrees status");
}
