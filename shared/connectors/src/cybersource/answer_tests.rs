//! Refusals, lost answers, customers, and the fixtures of the shared reference.

use serde_json::json;
use tillway_core::facts::Fact;
use tillway_core::value::Value;

use super::Cybersource;
use super::testing::spec;
use super::tests::*;
use crate::config::Secrets;
use crate::http::HttpError;
use crate::port::{Connector, NotDone, Outcome};

#[tokio::test]
async fn what_no_answer_tells_is_unknown_and_what_was_not_executed_is_not() {
    for (given, expected) in [
        (Err(HttpError::NoAnswer), "unknown"),
        (Err(HttpError::NotSent), "not done Unavailable"),
        (Err(HttpError::Forbidden), "refused address_forbidden"),
        (error(502, "SERVER_TIMEOUT"), "unknown"),
        (error(503, "x"), "unknown"),
        (error(500, "SYSTEM_ERROR"), "unknown"),
        (error(429, "x"), "not done Throttled"),
        (error(400, "PROCESSOR_UNAVAILABLE"), "not done Unavailable"),
        (answer(401, json!({"response": {"rmsg": "Authentication Failed"}})), "not done Unauthorized"),
        (error(400, "INVALID_MERCHANT_CONFIGURATION"), "refused INVALID_MERCHANT_CONFIGURATION"),
        (answer(201, json!("text")), "unknown"),
        (answer(302, json!({})), "not done Unavailable"),
    ] {
        let run = Run::new(PAY, pay_params(), [given]);
        let outcome = run.call().await;
        assert_eq!(how(&outcome), expected);
        assert_eq!(run.http.calls().len(), 1, "a write is never repeated");
        assert!(!format!("{outcome:?}").contains("CANARY"));
    }
}

#[tokio::test]
async fn a_refusal_names_its_field() {
    let body = json!({"status": "INVALID_REQUEST", "reason": "MISSING_FIELD", "message": "CANARY",
        "details": [{"field": "orderInformation.billTo.locality", "reason": "MISSING_FIELD"}]});
    let Outcome::Refused { summary, .. } = Run::new(PAY, pay_params(), [answer(400, body)]).call().await
    else {
        panic!()
    };
    assert_eq!(summary, "400 MISSING_FIELD orderInformation.billTo.locality (corr-1)");
}

#[tokio::test]
async fn a_currency_that_is_not_enabled_is_not_the_merchant_ids_fault() {
    let named = json!({"status": "INVALID_REQUEST", "reason": "INVALID_MERCHANT_CONFIGURATION", "message": "x",
        "details": [{"field": "orderInformation.amountDetails.currency", "reason": "INVALID_DATA"}]});
    let told = json!({"reason": "INVALID_MERCHANT_CONFIGURATION", "message": "Currency not supported"});
    let other = json!({"reason": "INVALID_MERCHANT_CONFIGURATION", "message": "not set up",
        "details": [{"field": "processingInformation.commerceIndicator", "reason": "INVALID_DATA"}]});
    let wrong = json!({"reason": "INVALID_DATA",
        "details": [{"field": "orderInformation.amountDetails.currency", "reason": "INVALID_DATA"}]});
    for (body, code) in [
        (named, "currency_not_enabled"),
        (told, "currency_not_enabled"),
        (other, "INVALID_MERCHANT_CONFIGURATION"),
        (wrong, "INVALID_DATA"),
    ] {
        // A refusal of data may mean that it was done before: that is looked up.
        let none = answer(201, json!({"totalCount": 0}));
        let outcome = Run::new(PAY, pay_params(), [answer(400, body), none]).call().await;
        assert_eq!(how(&outcome), format!("refused {code}"));
    }
    let declined = json!({"id": "7", "status": "DECLINED", "clientReferenceInformation": {"code": "ORD-1001"},
        "errorInformation": {"reason": "INVALID_MERCHANT_CONFIGURATION", "message": "currency not enabled"}});
    let outcome = Run::new(PAY, pay_params(), [answer(201, declined)]).call().await;
    assert_eq!(how(&outcome), "refused currency_not_enabled");
}

#[tokio::test]
async fn without_a_secret_nothing_is_sent() {
    let run = Run::new(PAY, pay_params(), []);
    let outcome = run.go_with(&Secrets::default(), async |call| Cybersource.call(call).await).await;
    assert!(matches!(outcome, Outcome::NotDone { why: NotDone::Unauthorized, .. }));
}

#[tokio::test]
async fn a_known_customer_is_kept_and_another_persons_is_not() {
    let params = |known: &str| {
        Value::map([
            ("email", Value::text("canary@example.com")),
            ("reference", Value::text("C-77")),
            ("known", Value::text(known)),
        ])
    };
    let found = |own: &str| answer(200, json!({"id": "T1", "buyerInformation": {"merchantCustomerID": own}}));
    let run = Run::new("cybersource.ensure_customer", params("T1"), [found("C-77")]);
    assert_eq!(facts(&run.call().await), [Fact::Customer { id: "T1".into() }]);
    let made = || ok(json!({"id": "T2"}));
    for first in [found("C-78"), error(404, "x"), answer(410, json!({"errors": [{"type": "notAvailable"}]}))]
    {
        let run = Run::new("cybersource.ensure_customer", params("T1"), [first, made()]);
        assert_eq!(facts(&run.call().await), [Fact::Customer { id: "T2".into() }]);
        assert_eq!(run.http.json()[1]["buyerInformation"]["merchantCustomerID"], "C-77");
    }
}

#[tokio::test]
async fn the_shared_fixtures_are_understood() {
    let fixture = |name: &str| spec(&format!("fixtures/{name}"));
    let Some(body) = fixture("payment_authorized_201.json") else { return };
    let outcome = pay(&[], body).await;
    assert_eq!(how(&outcome), "settled");
    assert!(facts(&outcome).contains(&Fact::Customer { id: "5A9F8E0C1B2D3E4F5A6B7C8D9E0F1A2B".into() }));
    assert_eq!(how(&pay(&[], fixture("payment_dm_review_201.json").unwrap()).await), "settled");
    assert_eq!(
        how(&pay(&[], fixture("payment_dm_reject_201.json").unwrap()).await),
        "refused DECISION_PROFILE_REJECT"
    );
    assert_eq!(
        how(&pay(&[], fixture("payment_declined_201.json").unwrap()).await),
        "refused INSUFFICIENT_FUND"
    );
    assert_eq!(
        how(&pay(&[("partial_authorization", "accept")], fixture("payment_partial_201.json").unwrap()).await),
        "settled"
    );
    let one = async |action, params, name: &str| {
        how(&Run::new(action, params, [ok(fixture(name).unwrap())]).call().await)
    };
    assert_eq!(one(CAPTURES, follow(&[]), "capture_201.json").await, "settled");
    assert_eq!(one(VOIDS, void_params(), "void_201.json").await, "settled");
    assert_eq!(one(REVERSALS, follow(&[]), "reversal_201.json").await, "settled");
    // The fixture's refund has a reference of its own.
    assert_eq!(
        one(REFUNDS, refund_params(), "refund_201.json").await,
        "disagrees clientReferenceInformation.code"
    );
    for (name, status, expected) in [
        ("error_400.json", 400, "refused MISSING_FIELD"),
        ("error_401.json", 401, "not done Unauthorized"),
        ("error_404.json", 404, "refused notFound"),
        ("error_502.json", 502, "unknown"),
    ] {
        let outcome = Run::new(PAY, pay_params(), [answer(status, fixture(name).unwrap())]).call().await;
        assert_eq!(how(&outcome), expected, "{name}");
    }
}
