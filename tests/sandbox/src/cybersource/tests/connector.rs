//! The real connector through what a flow does.

use tillway_core::facts::RefundStatus;

use super::*;

#[tokio::test]
async fn statuses_as_the_connector_reads_them() {
    for (token, minor, expected, held) in [
        ("tok_visa", 1000, "settled", 1000),
        ("tok_insufficient", 1000, "refused INSUFFICIENT_FUND", 0),
        ("tok_visa", 600_000, "settled", 600_000),
        ("tok_visa", 1_200_000, "refused DECISION_PROFILE_REJECT", 1_200_000),
        ("tok_partial", 1000, "disagrees orderInformation.amountDetails.authorizedAmount", 600),
        ("tok_timeout", 1000, "unknown", 1000),
        ("tok_system", 1000, "unknown", 0),
        ("tok_unheard", 1000, "disagrees status", 1000),
        ("tok_invalid", 1000, "refused INVALID_DATA", 0),
        ("tok_badcard", 1000, "refused INVALID_CARD", 0),
        ("tok_unavailable", 1000, "not done Unavailable", 0),
        ("tok_challenge", 1000, "settled", 0),
    ] {
        let world = World::new();
        let outcome = world.call(&authorize("c1", token, minor)).await;
        assert_eq!((how(&outcome).as_str(), world.truth("A-1").held), (expected, held), "{token} {minor}");
    }
}

/// What Decision Manager knows of an order beside its total reaches it, in a payment and alone.
#[tokio::test]
async fn rules_strike_by_address_device_quantity_and_product() {
    let line = |sku: &str, code: &str, pieces: i64| {
        Value::List(vec![Value::map([
            ("sku", Value::text(sku)),
            ("code", Value::text(code)),
            ("quantity", Value::Decimal(pieces.into())),
            ("unit_price", Value::Decimal(1.into())),
            ("discount", usd(10)),
            ("tax", usd(10)),
        ])])
    };
    let cases: [(&str, Value, bool); 9] = [
        ("ip_address", Value::text("203.0.113.7"), true),
        ("ip_address", Value::text("198.51.100.66"), false),
        ("fingerprint", Value::text("visit-65"), true),
        ("fingerprint", Value::text("visit-66"), false),
        ("lines", line("A", "default", 99), true),
        ("lines", line("A", "default", 100), false),
        ("lines", line("GIFTCARD", "default", 1), false),
        ("lines", line("A", "GIFTCARD", 1), false),
        ("lines", line("GIFTCARDS", "gift", 1), true),
    ];
    for (name, value, passes) in cases {
        for action in ["authorize", "screen"] {
            let world = World::new();
            let mut step = Step { action, ..authorize("c1", "tok_visa", 1000) };
            let Value::Map(params) = &mut step.params else { unreachable!() };
            params.insert(name.into(), value.clone());
            let outcome = world.call(&step).await;
            let told = world.sandbox(|s, _| s.order_truth("A-1").payments[0].status);
            let fine = told == if action == "authorize" { "AUTHORIZED" } else { "ACCEPTED" };
            assert_eq!(fine, passes, "{action} with {name} {value:?}: {told}, {}", how(&outcome));
        }
    }
}

#[tokio::test]
async fn both_ways_to_sign_are_taken_and_a_wrong_secret_is_not() {
    let world = World::with(config(None), &[("auth", "http_signature")]);
    assert_eq!(how(&world.call(&authorize("c1", "tok_visa", 1000)).await), "settled");
    world.sandbox(|s, _| s.config_mut().credentials.http_signature = false);
    assert_eq!(how(&world.call(&authorize("c2", "tok_visa", 1000)).await), "not done Unauthorized");
    let mut world = World::new();
    world.secrets.0.insert("shared_secret".into(), vec![Secret::new("QUFBQUFBQUFBQUFBQUFBQQ==")]);
    assert_eq!(how(&world.call(&authorize("c1", "tok_visa", 1000)).await), "not done Unauthorized");
    assert_eq!(world.sandbox(|s, _| s.counters().auth_refusals.clone()).get("token: signature"), Some(&1));
}

/// RS256 with a certificate's key, as a P12 holds it; and its serial number and key are asked for.
#[tokio::test]
async fn a_certificates_key_signs_what_the_sandbox_takes() {
    use rsa::pkcs8::DecodePrivateKey as _;
    let world = |serial: &str, key: &str| {
        let (encryption, _) = key_pair();
        let mut config = config(None);
        config.credentials.certificate = Some(("1677854".to_owned(), encryption.key));
        let mut world = World::with(config, &[("auth", "jwt_p12"), ("certificate_serial", serial)]);
        // The certificate's key alone: what the shared secret would sign is not sent.
        world.secrets.0.remove("shared_secret");
        world.secrets.0.insert("private_key".into(), vec![Secret::new(key)]);
        world
    };
    let (_, pem) = key_pair();
    let right = world("1677854", &pem);
    let payment = right.done(&authorize("c1", "tok_visa", 1000)).await;
    right.done(&follow("capture", &payment, 1000, &[])).await;
    right.pass(Millis::mins(1));
    let read = right.call(&step("read_order", "r1", &[("order_id", Value::text("A-1"))])).await;
    assert_eq!((how(&read).as_str(), right.truth("A-1").captured), ("settled", 1000));
    let other = rsa::PrivateKey::new(&mut Seeded::new(b"another"), 1024).unwrap();
    let other = rsa::pkcs8::EncodePrivateKey::to_pkcs8_pem(&other, rsa::pkcs8::LineEnding::LF).unwrap();
    assert!(rsa::PrivateKey::from_pkcs8_pem(&other).is_ok());
    for (serial, key, why) in
        [("1677854", other.as_str(), "token: signature"), ("1677855", pem.as_str(), "token: kid")]
    {
        let wrong = world(serial, key);
        assert_eq!(how(&wrong.call(&authorize("c1", "tok_visa", 1000)).await), "not done Unauthorized");
        assert_eq!(wrong.sandbox(|s, _| s.counters().auth_refusals.clone()).get(why), Some(&1), "{why}");
    }
}

/// Forms of the HTTP signature that other connectors send, with `v-c-date` and `(request-target)`.
#[test]
fn the_dialects_of_the_http_signature_are_taken() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/spec/cybersource/auth-vectors.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        // Past the test's captured output: a vector that was not asked is not one that holds.
        let _told = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: {path} is not here, so no dialect was checked\n"),
        );
        return;
    };
    let file: Json = serde_json::from_str(&text).unwrap();
    let first = &file["http_signature"][0];
    let of = |vector: &Json, name: &str| vector[name].as_str().unwrap().to_owned();
    let credentials =
        Credentials::new(of(first, "merchant_id"), of(first, "key_id"), of(first, "shared_secret_b64"));
    let dialects = file["http_signature_dialects_not_from_sdk"].as_array().unwrap();
    assert_eq!(dialects.len(), 2);
    for vector in dialects {
        let covered = of(vector, "headers");
        let dated = if covered.contains("v-c-date") { "v-c-date" } else { "date" };
        let signed = |signature: &str| {
            let header = format!(
                "keyid=\"{}\", algorithm=\"HmacSHA256\", headers=\"{covered}\", signature=\"{signature}\"",
                of(first, "key_id")
            );
            Request::new(Method::Post, format!("https://{}{}", of(first, "host"), of(first, "path")))
                .with_header("v-c-merchant-id", of(first, "merchant_id"))
                .with_header(dated, of(first, "date"))
                .with_header("digest", of(first, "digest_header"))
                .with_header("signature", header)
                .with_body("application/json", of(first, "body").into_bytes())
        };
        let now = Timestamp::parse_http(&of(first, "date")).unwrap();
        let (signature, name) = (of(vector, "signature"), of(vector, "name"));
        assert!(super::super::auth::check(&credentials, &signed(&signature), now).is_ok(), "{name}");
        // The other's does not fit this one.
        let swapped = dialects.iter().map(|d| of(d, "signature")).find(|s| *s != signature).unwrap();
        assert_eq!(
            super::super::auth::check(&credentials, &signed(&swapped), now).err(),
            Some("signature: wrong"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_currency_the_account_lacks_is_refused_with_what_to_do() {
    let world = World::new();
    let amount = Money::new(1000, Currency::parse("SEK").unwrap());
    let mut step = authorize("c1", "tok_visa", 1000);
    if let Value::Map(params) = &mut step.params {
        params.insert("amount".into(), Value::Money(amount));
    }
    let outcome = world.call(&step).await;
    let Outcome::Refused { code, summary, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(code, "currency_not_enabled");
    assert!(summary.contains("orderInformation.amountDetails.currency"), "{summary}");
    assert!(summary.contains("enable it there"), "{summary}");
    assert!(world.truth("A-1").payments.is_empty());
}

#[tokio::test]
async fn reserved_captured_in_parts_refunded_and_read() {
    let world = World::new();
    let payment = world.done(&authorize("c1", "tok_visa", 1000)).await;
    let first = world.done(&follow("capture", &payment, 600, &[("last", Value::Bool(false))])).await;
    let second = Step { command: "k2", ..follow("capture", &payment, 400, &[]) };
    world.done(&second).await;
    let third = Step { command: "k3", ..follow("capture", &payment, 1, &[]) };
    assert_eq!(how(&world.call(&third).await), "refused EXCEEDS_AUTH_AMOUNT");
    let more = [("capture", Value::text(first.as_str())), ("request", Value::text("R-1"))];
    let refund = world.done(&follow("refund", &payment, 250, &more)).await;
    let truth = world.truth("A-1");
    assert_eq!((truth.charges, truth.captured, truth.refunded, truth.held), (1, 1000, 250, 0));
    assert_eq!(truth.payments[0].transactions.last().unwrap().request.as_deref(), Some("R-1"));
    assert!(truth.by_mark.values().all(|n| *n == 1), "{:?}", truth.by_mark);

    world.pass(Millis::mins(1));
    let read = world.call(&step("read_order", "r1", &[("order_id", Value::text("A-1"))])).await;
    let of_refund = |f: &Fact| match f {
        Fact::Refund { refund, payment, amount, status, .. } => {
            Some((refund.clone(), payment.clone(), amount.minor, *status))
        }
        _ => None,
    };
    let told: Vec<_> = facts(&read).iter().filter_map(of_refund).collect();
    assert_eq!(told, [(refund.clone(), payment.clone(), 250, RefundStatus::Pending)]);
    let captures = facts(&read).iter().filter(|f| matches!(f, Fact::CaptureMade { .. })).count();
    assert_eq!(captures, 2, "{read:?}");
    // After the batch it went out.
    world.pass(Millis::days(1));
    let read = world.call(&step("read_order", "r1", &[("order_id", Value::text("A-1"))])).await;
    let told: Vec<_> = facts(&read).iter().filter_map(of_refund).collect();
    assert_eq!(told, [(refund, payment, 250, RefundStatus::Succeeded)]);
}

#[tokio::test]
async fn a_sale_takes_at_once_and_is_voided_until_the_cut_off() {
    let sale = || {
        let mut step = authorize("c1", "tok_visa", 1000);
        if let Value::Map(params) = &mut step.params {
            params.insert("capture".into(), Value::Bool(true));
        }
        step
    };
    let void = |payment: &str| {
        follow("void", payment, 1000, &[("capture", Value::text(payment)), ("request", Value::text("R-1"))])
    };
    let world = World::new();
    let payment = world.done(&sale()).await;
    assert_eq!(world.truth("A-1").captured, 1000);
    assert_eq!(how(&world.call(&void(&payment)).await), "settled");
    assert_eq!(world.truth("A-1").captured, 0);

    let world = World::new();
    let payment = world.done(&sale()).await;
    world.pass(Millis::hours(12));
    assert_eq!(how(&world.call(&void(&payment)).await), "refused NOT_VOIDABLE");
    let refund = follow("refund", &payment, 1000, &[("request", Value::text("R-1"))]);
    assert_eq!(how(&world.call(&refund).await), "settled");
    assert_eq!((world.truth("A-1").captured, world.truth("A-1").refunded), (1000, 1000));
}

#[tokio::test]
async fn a_hold_is_let_go_once_and_never_captured_after() {
    let world = World::new();
    let payment = world.done(&authorize("c1", "tok_visa", 1000)).await;
    assert_eq!(how(&world.call(&follow("reverse", &payment, 1000, &[])).await), "settled");
    let twice = Step { command: "again", ..follow("reverse", &payment, 1000, &[]) };
    assert_eq!(how(&world.call(&twice).await), "settled", "already reversed is reversed");
    assert_eq!(
        how(&world.call(&follow("capture", &payment, 1000, &[])).await),
        "refused AUTH_ALREADY_REVERSED"
    );
    let truth = world.truth("A-1");
    assert_eq!((truth.held, truth.captured, truth.payments[0].reversed), (0, 0, 1000));

    let world = World::new();
    let payment = world.done(&authorize("c1", "tok_visa", 1000)).await;
    world.pass(Millis::days(8));
    let late = world.call(&follow("capture", &payment, 1000, &[])).await;
    assert_eq!(how(&late), "refused authorization_expired");
}

#[tokio::test]
async fn refunds_are_declined_and_fail_later() {
    for (token, expected) in
        [("tok_refunddeclined", "refused PROCESSOR_DECLINED"), ("tok_refundfails", "settled")]
    {
        let world = World::new();
        let payment = world.done(&authorize("c1", token, 1000)).await;
        let capture = world.done(&follow("capture", &payment, 1000, &[])).await;
        let more = [("capture", Value::text(capture)), ("request", Value::text("R-1"))];
        assert_eq!(how(&world.call(&follow("refund", &payment, 1000, &more)).await), expected);
        world.pass(Millis::days(1));
        world.sandbox(|s, now| s.advance(now));
        assert_eq!(world.truth("A-1").refunded, 0, "{token}");
    }
}

#[tokio::test]
async fn a_customer_is_made_and_known_again() {
    let world = World::new();
    let params = [("email", Value::text("ann@example.com")), ("reference", Value::text("C-7"))];
    let id = world.done(&step("ensure_customer", "e1", &params)).await;
    let known = [("reference", Value::text("C-7")), ("known", Value::text(id.as_str()))];
    assert_eq!(world.done(&step("ensure_customer", "e2", &known)).await, id);
    assert_eq!(world.sandbox(|s, _| s.all_customers().count()), 1);
}

#[tokio::test]
async fn what_people_do_in_the_business_center_is_seen() {
    let world = World::new();
    let payment = world.done(&authorize("c1", "tok_avs", 1000)).await;
    world.sandbox(|s, now| s.decide(now, &payment, Decision::AcceptAndCapture)).unwrap();
    world.pass(Millis::mins(1));
    // A capture that looks first takes that one for its own.
    let capture = follow("capture", &payment, 1000, &[("look", Value::Bool(true)), ("captured", usd(0))]);
    let outcome = world.call(&capture).await;
    assert!(facts(&outcome).iter().any(|f| matches!(f, Fact::CaptureMade { .. })), "{outcome:?}");
    let truth = world.truth("A-1");
    assert_eq!((how(&outcome).as_str(), truth.captured), ("settled", 1000));
    let made = truth.payments[0].transactions[1].id.clone();
    world.sandbox(|s, now| s.refund_by_hand(now, &made, 300)).unwrap();
    world.sandbox(|s, now| s.charge_back(now, &made, 500, "10.4", false)).unwrap();
    assert_eq!(world.truth("A-1").refunded, 300);
    world.pass(Millis::mins(1));
    let swept = world
        .go(&step("read_order", "r", &[("order_id", Value::text("A-1"))]), async |call| {
            let since = call.now - Millis::hours(1);
            Cybersource.sweep(call, since, Some("chargebacks")).await.unwrap()
        })
        .await;
    assert_eq!((swept.events.len(), swept.events[0].group.as_str()), (1, "A-1"));
}

#[tokio::test]
async fn a_capture_before_the_decision_is_counted() {
    let world = World::new();
    let payment = world.done(&authorize("c1", "tok_avs", 1000)).await;
    world.done(&follow("capture", &payment, 1000, &[])).await;
    assert_eq!(world.sandbox(|s, _| s.counters().captured_under_review), 1);
    let declined = World::new();
    let outcome = declined.call(&authorize("c1", "tok_visa", 1_200_000)).await;
    assert_eq!(how(&outcome), "refused DECISION_PROFILE_REJECT");
    let payment = declined.truth("A-1").payments[0].payment.clone();
    assert_eq!(how(&declined.call(&follow("capture", &payment, 1, &[])).await), "refused MISSING_AUTH");
    assert_eq!(how(&declined.call(&follow("reverse", &payment, 1_200_000, &[])).await), "settled");
    assert_eq!((declined.truth("A-1").held, declined.truth("A-1").captured), (0, 0));
}

/// Over the loopback, as the demo has it: the host that is signed bears a port.
#[tokio::test]
async fn both_ways_to_sign_fit_a_host_with_a_port() {
    for auth in ["jwt_shared_secret", "http_signature"] {
        let world = World::with(config(None), &[("auth", auth), ("base_url", "http://127.0.0.1:4711")]);
        assert_eq!(how(&world.call(&authorize("c1", "tok_visa", 1000)).await), "settled", "{auth}");
    }
}

#[tokio::test]
async fn decision_manager_alone_reserves_nothing_and_its_cases_are_decided_as_others_are() {
    let screen = |token: &str, minor: i64| Step { action: "screen", ..authorize("s1", token, minor) };
    let world = World::new();
    let outcome = world.call(&screen("tok_visa", 1000)).await;
    assert_eq!((how(&outcome).as_str(), facts(&outcome).len()), ("settled", 0));
    assert_eq!(world.truth("A-1").held, 0);
    let outcome = world.call(&screen("tok_visa", 1_200_000)).await;
    assert_eq!(how(&outcome), "refused DECISION_PROFILE_REJECT");
    assert!(
        facts(&outcome).iter().any(|f| matches!(f, Fact::AttemptFailed { soft: false, .. })),
        "{outcome:?}"
    );
    let outcome = world.call(&screen("tok_visa", 600_000)).await;
    let Outcome::Settled { provider_id: Some(decision), .. } = &outcome else { panic!("{outcome:?}") };
    let opened = |f: &Fact| matches!(f, Fact::ReviewOpened { payment, .. } if payment == decision);
    assert!(facts(&outcome).iter().any(opened), "{outcome:?}");
    world.sandbox(|s, now| s.decide(now, decision, Decision::Accept)).unwrap();
    world.pass(Millis::mins(1));
    let object = format!("accept:{decision}");
    let read = [("order_id", Value::text("A-1")), ("object", Value::text(object))];
    let read = world.call(&step("read_order", "r", &read)).await;
    let closed = |f: &Fact| matches!(f, Fact::ReviewClosed { payment, .. } if payment == decision);
    assert!(facts(&read).iter().any(closed), "{read:?}");
    // What was screened is not screened again with the authorization.
    let mut authorized = authorize("c1", "tok_visa", 1_200_000);
    if let Value::Map(params) = &mut authorized.params {
        params.insert("screening".into(), Value::text("before"));
    }
    assert_eq!(how(&world.call(&authorized).await), "settled");
    assert_eq!(world.truth("A-1").held, 1_200_000);
}

/// A refund that is taken back before the batch never moves; after it there is nothing to take back.
#[tokio::test]
async fn a_refund_is_taken_back_before_it_is_settled_and_not_after() {
    for late in [false, true] {
        let world = World::new();
        let payment = world.done(&authorize("c1", "tok_visa", 1000)).await;
        let capture = world.done(&follow("capture", &payment, 1000, &[])).await;
        let of = [("capture", Value::text(capture.as_str())), ("request", Value::text("R-1"))];
        let refund = world.done(&follow("refund", &payment, 400, &of)).await;
        assert_eq!(world.truth("A-1").refunded, 400);
        if late {
            world.sandbox(|s, now| s.cut_off_now(now));
        }
        let outcome = world
            .call(&follow("void_refund", &payment, 400, &[("refund", Value::text(refund.as_str()))]))
            .await;
        let told = facts(&outcome).iter().any(|f| {
            matches!(f, Fact::Refund { refund: id, status: RefundStatus::Cancelled, returned: true, .. } if *id == refund)
        });
        let expected = if late { ("refused NOT_VOIDABLE", 400) } else { ("settled", 0) };
        assert_eq!((how(&outcome).as_str(), world.truth("A-1").refunded), expected);
        assert_eq!(told, !late, "{outcome:?}");
    }
}
