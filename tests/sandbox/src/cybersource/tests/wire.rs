//! Raw calls: credentials, statuses by token and amount, refusals.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(START + seconds)
}

fn fresh() -> CybersourceSandbox {
    let mut config = config(None);
    config.duplicates = Duplicates::Off;
    CybersourceSandbox::new(config)
}

#[test]
fn every_row_of_the_table_answers_as_it_says() {
    let mut sandbox = fresh();
    let table = [
        ("tok_visa", "10.00", 201, "AUTHORIZED", ""),
        ("tok_insufficient", "10.00", 201, "DECLINED", "INSUFFICIENT_FUND"),
        ("tok_visa", "4001.00", 201, "DECLINED", "INSUFFICIENT_FUND"),
        ("tok_stolen_7", "10.00", 201, "DECLINED", "STOLEN_LOST_CARD"),
        ("tok_avs", "10.00", 201, "AUTHORIZED_PENDING_REVIEW", "AVS_FAILED"),
        ("tok_partial", "10.00", 201, "PARTIAL_AUTHORIZED", ""),
        ("tok_visa", "4020", 201, "PARTIAL_AUTHORIZED", ""),
        ("tok_invalid", "10.00", 201, "INVALID_REQUEST", "INVALID_DATA"),
        ("tok_unavailable", "10.00", 400, "INVALID_REQUEST", "PROCESSOR_UNAVAILABLE"),
        ("tok_badcard", "10.00", 400, "INVALID_REQUEST", "INVALID_CARD"),
        ("tok_noaccept", "10.00", 400, "INVALID_REQUEST", "CARD_TYPE_NOT_ACCEPTED"),
        ("tok_timeout", "10.00", 502, "SERVER_ERROR", "SERVER_TIMEOUT"),
        ("tok_system", "10.00", 502, "SERVER_ERROR", "SYSTEM_ERROR"),
        ("tok_service", "10.00", 502, "SERVER_ERROR", "SERVICE_TIMEOUT"),
        ("tok_unheard", "10.00", 201, magic::UNHEARD, ""),
        ("tok_challenge", "10.00", 201, "PENDING_AUTHENTICATION", "CONSUMER_AUTHENTICATION_REQUIRED"),
        ("tok_pending", "10.00", 201, "PENDING_REVIEW", "DECISION_PROFILE_REVIEW"),
        ("tok_visa", "6000.00", 201, "AUTHORIZED_PENDING_REVIEW", "DECISION_PROFILE_REVIEW"),
        ("tok_visa", "12000.00", 201, "AUTHORIZED_RISK_DECLINED", "DECISION_PROFILE_REJECT"),
    ];
    for (nr, (token, amount, http, status, reason)) in table.into_iter().enumerate() {
        let (code, body) = raw(&mut sandbox, at(0), "/pts/v2/payments", &payment(token, amount));
        let found = body["errorInformation"]["reason"].as_str().or_else(|| body["reason"].as_str());
        let seen = (code, body["status"].as_str().unwrap(), found.unwrap_or(""));
        assert_eq!(seen, (http, status, reason), "row {nr}: {token} {amount}");
    }
    let kept = sandbox.order_truth("A-1");
    assert_eq!(kept.payments.len(), table.len() - 4, "what is refused or not carried out is not kept");
    assert_eq!(kept.payments[5].authorized, 600, "three fifths");
}

#[test]
fn a_token_that_says_anything_else_than_the_request_is_refused() {
    let mut sandbox = fresh();
    let body = payment("tok_visa", "10.00");
    let wrong: [(&str, Json, &str); 8] = [
        ("iss", "other".into(), "iss"),
        ("v-c-merchant-id", "other".into(), "v-c-merchant-id"),
        ("v-c-jwt-version", "1".into(), "v-c-jwt-version"),
        ("request-method", "GET".into(), "request-method"),
        ("request-resource-path", "/pts/v2/payment".into(), "request-resource-path"),
        ("request-host", "other.example".into(), "request-host"),
        ("digest", "x".into(), "digest"),
        ("jti", "x".into(), "claim: jti"),
    ];
    for (name, value, why) in wrong {
        let request = signed("/pts/v2/payments", &body, at(0), |c| c[name] = value);
        assert_eq!(answered(sandbox.handle(at(0), &request)).0, 401, "{name}");
        assert_eq!(sandbox.counters().auth_refusals.get(why), Some(&1), "{name}");
    }
    let good = signed("/pts/v2/payments", &body, at(0), |_| {});
    assert_eq!(answered(sandbox.handle(at(121), &good)).0, 401, "stale");
    assert_eq!(answered(sandbox.handle(at(0), &good)).0, 401, "time never goes backwards");
    let good = signed("/pts/v2/payments", &body, at(121), |_| {});
    assert_eq!(answered(sandbox.handle(at(121), &good)).0, 201);
    assert_eq!(answered(sandbox.handle(at(121), &good)).0, 401, "each token is good for one request");
    let mut tampered = signed("/pts/v2/payments", &body, at(121), |_| {});
    tampered.body = payment("tok_visa", "99.00").to_string().into_bytes();
    assert_eq!(answered(sandbox.handle(at(121), &tampered)).0, 401);
    assert_eq!(sandbox.order_truth("A-1").payments.len(), 1);
}

#[test]
fn the_vendors_own_signatures_are_taken_with_their_keys() {
    let at_hand = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = at_hand.join("../../../shared/spec/cybersource/auth-vectors.json");
    let Ok(text) = std::fs::read(file) else {
        println!("skipped: the shared vectors are not here");
        return;
    };
    let file: Json = serde_json::from_slice(&text).unwrap();
    let mut seen = 0;
    for vector in file["http_signature"].as_array().unwrap() {
        let get = |name: &str| vector[name].as_str().unwrap_or("");
        let mut credentials = Credentials::new(get("merchant_id"), get("key_id"), get("shared_secret_b64"));
        credentials.portfolio_id = vector["portfolio_id"].as_str().map(str::to_owned);
        let url = format!("https://{}{}", get("host"), get("path"));
        let mut request = Request::new(Method::parse(get("method")).unwrap(), url)
            .with_header("date", get("date"))
            .with_header("v-c-merchant-id", get("merchant_id"))
            .with_header("signature", get("signature_header"));
        if let Some(digest) = vector["digest_header"].as_str() {
            request = request.with_header("digest", digest).with_body("application/json", get("body"));
        }
        assert!(auth::check(&credentials, &request, at(0)).is_ok(), "{}", get("name"));
        credentials.http_signature = false;
        assert!(auth::check(&credentials, &request, at(0)).is_err());
        seen += 1;
    }
    assert!(seen >= 9);
}

#[test]
fn a_reference_and_a_transaction_id_count_for_a_while() {
    let mut sandbox = CybersourceSandbox::new(config(None));
    let mut body = payment("tok_visa", "10.00");
    body["clientReferenceInformation"]["transactionId"] = "t-1".into();
    assert_eq!(raw(&mut sandbox, at(0), "/pts/v2/payments", &body).0, 201);
    let (code, error) = raw(&mut sandbox, at(1), "/pts/v2/payments", &body);
    assert_eq!((code, error["reason"].as_str()), (400, Some("INVALID_DATA")));
    assert_eq!(error["details"][0]["field"], "clientReferenceInformation.transactionId");
    body["clientReferenceInformation"]["transactionId"] = "t-2".into();
    let (code, error) = raw(&mut sandbox, at(2), "/pts/v2/payments", &body);
    assert_eq!((code, error["reason"].as_str()), (400, Some("DUPLICATE_REQUEST")));
    assert_eq!(raw(&mut sandbox, at(901), "/pts/v2/payments", &body).0, 201, "a quarter of an hour later");
    // Unknown, by id: as the account has it.
    let undo = json!({"clientReferenceInformation": {"code": "A-1", "transactionId": "t-9"}});
    let (code, error) = raw(&mut sandbox, at(902), "/pts/v2/voids", &undo);
    assert_eq!((code, error["reason"].as_str()), (400, Some("INVALID_DATA")));
    assert_eq!(error["details"][0]["field"], "clientReferenceInformation.transactionId");
    sandbox.config_mut().unknown_is_404 = true;
    assert_eq!(raw(&mut sandbox, at(903), "/pts/v2/voids", &undo).0, 404);
}

#[test]
fn card_numbers_are_not_taken_and_counted() {
    let mut sandbox = fresh();
    let mut body = payment("tok_visa", "10.00");
    body["paymentInformation"] = json!({"card": {"number": "4111111111111111"}});
    assert_eq!(raw(&mut sandbox, at(0), "/pts/v2/payments", &body).0, 400);
    assert_eq!((sandbox.counters().card_numbers_seen, sandbox.order_truth("A-1").payments.len()), (1, 0));
}

#[test]
fn throttling_outage_and_lag() {
    let mut config = config(None);
    config.rate_limit = Some(2);
    let mut sandbox = CybersourceSandbox::new(config);
    let (_, paid) = raw(&mut sandbox, at(0), "/pts/v2/payments", &payment("tok_visa", "10.00"));
    let path = format!("/tss/v2/transactions/{}", paid["id"].as_str().unwrap());
    assert_eq!(raw(&mut sandbox, at(0), &path, &Json::Null).0, 404, "not indexed yet");
    assert_eq!(raw(&mut sandbox, at(0), &path, &Json::Null).0, 429);
    assert_eq!(raw(&mut sandbox, at(1), &path, &Json::Null).0, 200);
    sandbox.down_until(at(9));
    assert_eq!(raw(&mut sandbox, at(8), &path, &Json::Null).0, 503);
    let query = json!({"query": "clientReferenceInformation.code:A-1"});
    let (code, found) = raw(&mut sandbox, at(9), "/tss/v2/searches", &query);
    assert_eq!((code, found["totalCount"].as_u64()), (201, Some(1)));
}

/// What came back through the payment cannot be taken back once more by voiding its capture.
#[test]
fn a_capture_refunded_through_its_payment_is_not_voidable() {
    let (mut s, now) = (CybersourceSandbox::new(config(None)), Timestamp::from_unix(START));
    let amount = |a: &str| {
        json!({"clientReferenceInformation": {"code": "A-1"},
        "orderInformation": {"amountDetails": {"totalAmount": a, "currency": "USD"}}})
    };
    let id = |v: &Json| v["id"].as_str().unwrap().to_owned();
    let (_, paid) = raw(&mut s, now, "/pts/v2/payments", &payment("tok_visa", "10.00"));
    let (_, taken) = raw(&mut s, now, &format!("/pts/v2/payments/{}/captures", id(&paid)), &amount("10.00"));
    let (code, _) = raw(&mut s, now, &format!("/pts/v2/payments/{}/refunds", id(&paid)), &amount("10.00"));
    assert_eq!(code, 201);
    let (code, said) = raw(&mut s, now, &format!("/pts/v2/captures/{}/voids", id(&taken)), &amount("10.00"));
    let truth = s.order_truth("A-1");
    assert_eq!((code, said["reason"].as_str()), (400, Some("NOT_VOIDABLE")));
    assert!(truth.refunded <= truth.captured);
}
