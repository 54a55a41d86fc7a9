//! What goes over the wire, and what must not.

use serde_json::{Value as Json, json};
use tillway_core::ids::CommandId;
use tillway_core::value::Value;

use super::Cybersource;
use super::testing::{connection, spec};
use super::tests::{follow, pay_params, refund_params, usd, void_params};
use crate::config::Connection;
use crate::port::Connector;

fn prepared(connection: &Connection, action: &str, params: &Value) -> Json {
    let prepared = Cybersource.prepare(connection, action, &CommandId::new("c0ffee"), params).unwrap();
    serde_json::from_slice::<Json>(&prepared.bytes).unwrap()["body"].clone()
}
fn with(base: Value, more: &[(&str, Value)]) -> Value {
    match base {
        Value::Map(mut m) => {
            m.extend(more.iter().map(|(n, v)| ((*n).to_owned(), v.clone())));
            Value::Map(m)
        }
        other => other,
    }
}
fn set(settings: &[(&str, &str)]) -> Connection {
    let mut connection = connection();
    connection.settings.extend(settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    connection
}
fn text(t: &str) -> Value {
    Value::text(t)
}

#[test]
fn what_cannot_go_over_the_wire_is_rejected_by_field() {
    let reject = |action: &str, params: Value| {
        let rejected = Cybersource.prepare(&connection(), action, &CommandId::new("c"), &params).unwrap_err();
        format!("{} {}", rejected.code, rejected.field)
    };
    let pay = |name, value| with(pay_params(), &[(name, value)]);
    let authorize = "cybersource.authorize";
    assert_eq!(reject(authorize, pay("amount", usd(0))), "amount_not_positive amount");
    assert_eq!(reject(authorize, pay("amount", Value::Null)), "parameter_missing amount");
    assert_eq!(reject(authorize, pay("token", text(""))), "parameter_missing token");
    assert_eq!(reject(authorize, pay("token", text("4111111111111111"))), "card_number token");
    assert_eq!(reject(authorize, pay("token", text("a b"))), "token_malformed token");
    assert_eq!(reject(authorize, pay("order_id", text("A:1 OR *"))), "reference_malformed order_id");
    for key in ["0", "101", "x", "20", "21"] {
        let data = Value::Map([(key.to_owned(), text("v"))].into());
        assert_eq!(reject(authorize, pay("data", data)), format!("data_malformed data.{key}"));
    }
    let yen = tillway_core::money::Money::new(1, tillway_core::money::Currency::parse("JPY").unwrap());
    let attach = |params: &[(&str, Value)]| {
        let given = params.iter().map(|(n, v)| ((*n).to_owned(), v.clone()));
        reject("cybersource.attach_instrument", Value::Map(given.collect()))
    };
    let card = ("instrument", text("4111111111111111"));
    assert_eq!(attach(&[("customer", text("T1")), card]), "card_number instrument");
    assert_eq!(attach(&[("instrument", text("7010"))]), "parameter_missing customer");
    assert_eq!(attach(&[("customer", text("a/b")), ("instrument", text("7010"))]), "id_malformed customer");
    let nameless = Value::map([("customer", text("T1"))]);
    assert_eq!(reject("cybersource.update_customer", nameless), "parameter_missing email");
    assert_eq!(
        reject("cybersource.capture", follow(&[("captured", Value::Money(yen))])),
        "currency_mixed captured"
    );
    assert_eq!(
        reject("cybersource.capture", follow(&[("payment", text("763/voids"))])),
        "id_malformed payment"
    );
    assert_eq!(reject("cybersource.capture", follow(&[("known", text("763 a/b"))])), "id_malformed known");
    assert_eq!(reject("cybersource.refund", follow(&[])), "parameter_missing request");
    assert_eq!(reject("cybersource.void", follow(&[("request", text("R"))])), "parameter_missing capture");
    assert_eq!(
        reject("cybersource.decide_case", follow(&[("decision", text("maybe"))])),
        "decision_unknown decision"
    );
    let both = follow(&[("decision", text("accept")), ("act", Value::Bool(true))]);
    assert_eq!(reject("cybersource.decide_case", both), "act_not_taken act");
    assert_eq!(
        reject(
            "cybersource.read_order",
            Value::map([("order_id", text("A")), ("object", text("accept:1/2"))])
        ),
        "id_malformed object"
    );
    assert_eq!(reject("cybersource.ensure_customer", Value::map([])), "parameter_missing email");
    assert_eq!(reject("cybersource.nothing", Value::Null), "action_unknown do");
}

#[test]
fn a_token_goes_where_its_kind_belongs() {
    let of = |settings: &[(&str, &str)], token: &str, more: &[(&str, Value)]| {
        let params = with(with(pay_params(), &[("token", text(token))]), more);
        let body = prepared(&set(settings), "cybersource.authorize", &params);
        [body["paymentInformation"].clone(), body["tokenInformation"].clone()]
    };
    let jwt = format!("{}.{}.{}", "eyJhbGciOiJSUzI1NiJ9", "e".repeat(60), "s".repeat(40));
    let jti = "a1".repeat(32);
    assert_eq!(of(&[], &jwt, &[]), [Json::Null, json!({"transientTokenJwt": jwt})]);
    assert_eq!(of(&[], &jti, &[]), [Json::Null, json!({"jti": jti})]);
    assert_eq!(of(&[], "ABC1", &[]), [json!({"customer": {"id": "ABC1"}}), Json::Null]);
    let instrument = of(&[("token_kind", "payment_instrument")], "ABC1", &[("customer", text("C1"))]);
    assert_eq!(instrument[0], json!({"customer": {"id": "C1"}, "paymentInstrument": {"id": "ABC1"}}));
    assert_eq!(
        of(&[("token_kind", "instrument_identifier")], "I1", &[])[0],
        json!({"instrumentIdentifier": {"id": "I1"}})
    );
    assert_eq!(of(&[("token_kind", "legacy")], "I1", &[])[0], json!({"legacyToken": {"id": "I1"}}));
    let params = with(pay_params(), &[("token", text(&jwt))]);
    let body = prepared(
        &set(&[("save_card", "yes"), ("decision_manager", "off")]),
        "cybersource.authorize",
        &params,
    );
    assert_eq!(body["processingInformation"]["actionList"], json!(["DECISION_SKIP", "TOKEN_CREATE"]));
    assert_eq!(body["processingInformation"]["actionTokenTypes"][0], "customer");
    let body = prepared(&set(&[("save_card", "yes")]), "cybersource.authorize", &pay_params());
    assert!(body["processingInformation"].get("actionList").is_none(), "a stored card is not stored again");
}

#[test]
fn a_shipping_address_is_sent_only_where_it_differs() {
    let address = |line: &str| {
        Value::map([("first_name", text("CANARY")), ("line1", text(line)), ("country", text("US"))])
    };
    let of = |ship: Value| {
        let params = with(pay_params(), &[("bill_to", address("1 Main St")), ("ship_to", ship)]);
        prepared(&connection(), "cybersource.authorize", &params)["orderInformation"]["shipTo"].clone()
    };
    assert_eq!(of(address("1 Main St")), Json::Null);
    assert_eq!(of(Value::Null), Json::Null);
    assert_eq!(of(address("2 Side St"))["address1"], "2 Side St");
    assert_eq!(of(address(" 1 Main St ")), Json::Null);
    // Either may say what the other does not: an apartment that the billing address names is not where it is sent.
    assert_eq!(of(with(address("1 Main St"), &[("line2", text("Apt 4"))]))["address2"], "Apt 4");
    let apartment = with(address("1 Main St"), &[("line2", text("Apt 4"))]);
    let params = with(pay_params(), &[("bill_to", apartment), ("ship_to", address("1 Main St"))]);
    let body = prepared(&connection(), "cybersource.authorize", &params);
    assert_eq!(body["orderInformation"]["shipTo"]["address1"], "1 Main St");
    // An e-mail address is of the billing address alone.
    let written = with(address("1 Main St"), &[("email", text("canary@example.com"))]);
    let params = with(pay_params(), &[("bill_to", written), ("ship_to", address("1 Main St"))]);
    let body = prepared(&connection(), "cybersource.authorize", &params);
    assert!(body["orderInformation"].get("shipTo").is_none());
}

/// Whether a member's path exists in the vendor's structure.
fn known(schemas: &Json, name: &str, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let property = &schemas[name]["properties"][first.as_str()];
    if !property.is_object() {
        return false;
    }
    let reference = property["$ref"].as_str().or_else(|| property["items"]["$ref"].as_str());
    match reference.and_then(|r| r.rsplit('/').next()) {
        Some(inner) => known(schemas, inner, rest),
        None => rest.is_empty(),
    }
}
fn paths(value: &Json, at: &[String], out: &mut Vec<Vec<String>>) {
    match value {
        Json::Object(map) => {
            for (name, inner) in map {
                paths(inner, &[at, std::slice::from_ref(name)].concat(), out);
            }
        }
        Json::Array(list) => list.iter().for_each(|inner| paths(inner, at, out)),
        _ => out.push(at.to_vec()),
    }
}

/// Claims of a transient token.
fn jwt_claims() -> String {
    use base64::Engine as _;
    let claims = json!({"jti": "1E0WC1GO87JG1BDP0CROX1J8KXS7VGGS", "iss": "Flex/08", "exp": 1_795_170_000});
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims.to_string())
}

#[test]
fn decision_manager_alone_sees_the_id_of_a_transient_token_and_no_instrument() {
    let token = format!("eyJ.{}.{}", jwt_claims(), "s".repeat(40));
    let body = prepared(&connection(), "cybersource.screen", &with(pay_params(), &[("token", text(&token))]));
    assert_eq!(body["tokenInformation"], json!({"jti": "1E0WC1GO87JG1BDP0CROX1J8KXS7VGGS"}));
    assert!(body.get("processingInformation").is_none() && body.get("paymentInformation").is_none());
    for (settings, token) in
        [(&[][..], format!("eyJ.{}.s", "e".repeat(60))), (&[("token_kind", "legacy")], "5A9F".into())]
    {
        let params = with(pay_params(), &[("token", text(&token))]);
        let refused =
            Cybersource.prepare(&set(settings), "cybersource.screen", &CommandId::new("c"), &params);
        assert_eq!(refused.unwrap_err().field, "token");
    }
}

#[test]
fn every_member_sent_is_in_the_vendors_structure() {
    let Some(api) = spec("openapi.json") else { return };
    let address = Value::map(
        [
            "first_name",
            "last_name",
            "company",
            "line1",
            "line2",
            "city",
            "region",
            "postal_code",
            "country",
            "email",
            "phone",
        ]
        .map(|name| (name, text(name))),
    );
    let sum = Value::Money(tillway_core::money::Money::new(
        7,
        tillway_core::money::Currency::parse("USD").unwrap(),
    ));
    let line = Value::map([
        ("sku", text("W-1")),
        ("quantity", Value::Decimal(2.into())),
        ("unit_price", Value::Decimal(3.into())),
        ("discount", sum.clone()),
        ("tax", sum),
    ]);
    let full = with(
        pay_params(),
        &[
            ("bill_to", address.clone()),
            ("ship_to", with(address, &[("line1", text("other"))])),
            ("customer_ref", text("C-77")),
            ("ip_address", text("203.0.113.7")),
            ("fingerprint", text("f")),
            ("lines", Value::List(vec![line])),
            ("data", Value::Map([("1".to_owned(), text("x"))].into())),
            ("token", text(&format!("eyJ.{}.{}", jwt_claims(), "s".repeat(40)))),
        ],
    );
    let settings = set(&[("partner.developer_id", "D"), ("partner.solution_id", "S"), ("save_card", "yes")]);
    let several = follow(&[("sequence", Value::Int(1)), ("count", Value::Int(2))]);
    let stored = with(full.clone(), &[("token", text("5A9F8E0C"))]);
    let cases = [
        ("cybersource.screen", full.clone(), "/risk/v1/decisions"),
        ("cybersource.screen", stored, "/risk/v1/decisions"),
        ("cybersource.authorize", full, "/pts/v2/payments"),
        ("cybersource.authorize", pay_params(), "/pts/v2/payments"),
        ("cybersource.capture", several, "/pts/v2/payments/{id}/captures"),
        ("cybersource.reverse", follow(&[("reason", text("cancelled"))]), "/pts/v2/payments/{id}/reversals"),
        ("cybersource.void", void_params(), "/pts/v2/captures/{id}/voids"),
        ("cybersource.refund", refund_params(), "/pts/v2/captures/{id}/refunds"),
        (
            "cybersource.decide_case",
            follow(&[("decision", text("reject")), ("act", Value::Bool(true))]),
            "/risk/v1/decisions/{id}/actions",
        ),
    ];
    let mut settled = settings;
    for (action, params, path) in cases {
        if action == "cybersource.authorize" && params == pay_params() {
            settled.settings.insert("token_kind".into(), "payment_instrument".into());
        }
        let mut body = prepared(&settled, action, &params);
        let reference = body.pointer_mut("/clientReferenceInformation").and_then(Json::as_object_mut);
        if let Some(reference) = reference.filter(|_| action != "cybersource.screen") {
            reference.insert("transactionId".into(), "c".into());
        }
        let schema = api["paths"][path]["post"]["requestBody"].as_str().unwrap();
        let mut all = Vec::new();
        paths(&body, &[], &mut all);
        for member in all {
            assert!(
                known(&api["schemas"], schema, &member),
                "{action}: {} is not in {schema}",
                member.join(".")
            );
        }
    }
}

#[test]
fn prepared_bytes_hold_no_credentials_and_summaries_nothing_personal() {
    let prepared = Cybersource
        .prepare(&connection(), "cybersource.authorize", &CommandId::new("c"), &pay_params())
        .unwrap();
    assert_eq!(prepared.summary, "POST /pts/v2/payments 102.21 USD");
    assert!(!format!("{prepared:?}").contains("CANARY"));
    let bytes = String::from_utf8(prepared.bytes).unwrap();
    assert!(!bytes.contains("AAECAwQF") && !bytes.contains("Bearer"));
}

#[test]
fn the_commissioned_paths_can_be_set_and_wrong_ones_are_named() {
    let connection = set(&[
        ("paths.case_actions", "/dm/v2/decisions/{id}/actions"),
        ("paths.customers", "/tss/v2/tokens"),
    ]);
    assert!(Cybersource.check_settings(&connection).is_empty());
    let path = |action: &str, params: &Value| {
        let bytes = Cybersource.prepare(&connection, action, &CommandId::new("c"), params).unwrap().bytes;
        serde_json::from_slice::<Json>(&bytes).unwrap()["path"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        path("cybersource.decide_case", &follow(&[("decision", text("accept"))])),
        format!("/dm/v2/decisions/{}/actions", super::tests::AUTH)
    );
    assert_eq!(
        path("cybersource.ensure_customer", &Value::map([("email", text("a@b.example"))])),
        "/tss/v2/tokens"
    );
    let wrong =
        set(&[("paths.captures", "/no/id"), ("paths.nothing", "/x"), ("paths.payments", "https://x")]);
    assert_eq!(Cybersource.check_settings(&wrong).len(), 3);
}

#[test]
fn settings_are_checked_and_actions_declare_what_they_are() {
    assert!(Cybersource.check_settings(&connection()).is_empty());
    let bad = Connection {
        production: true,
        ..set(&[
            ("base_url", "http://api.cybersource.com"),
            ("merchant_id", ""),
            ("auth", "basic"),
            ("key_id", "a b"),
            ("timeout_seconds", "soon"),
            ("search_days", "365"),
            ("command_field", "100"),
            ("hold_days", "0"),
            ("search_lag_minutes", "5"),
            ("tolerance_minutes", "1"),
            ("partial_authorization", "maybe"),
            ("token_kind", "card"),
            ("reference_prefix", "a b"),
            ("rate_limit.per_second", "0"),
            ("decision_manager", "yes"),
        ])
    };
    assert_eq!(Cybersource.check_settings(&bad).len(), 15, "{:?}", Cybersource.check_settings(&bad));
    assert_eq!(Cybersource.check_settings(&set(&[("auth", "jwt_p12")])).len(), 1);
    let fees = ("settlement.fees", "details");
    let alone = Cybersource.check_settings(&set(&[fees]));
    let names_it = |(name, what): &(String, String)| {
        name == "settlement.fees" && what.contains("settlement.funding: net_fundings")
    };
    assert!(alone.len() == 1 && alone.iter().all(names_it), "{alone:?}");
    assert_eq!(Cybersource.check_settings(&set(&[fees, ("settlement.funding", "net_fundings")])), []);
    for action in Cybersource.actions() {
        assert!(action.spec.name.starts_with("cybersource."));
        let for_a_person = ["cybersource.ensure_customer", "cybersource.attach_instrument"];
        assert_eq!(action.per_person, for_a_person.contains(&action.spec.name));
        assert_eq!(action.reads, action.spec.name == "cybersource.read_order");
        assert!(!action.spec.money || !action.repeatable);
    }
    let lag = |minutes| Cybersource.lag_of(&set(&[("search_lag_minutes", minutes)]));
    assert_eq!((lag("15"), lag("60")), (Cybersource.indexing_lag(), tillway_core::time::Millis::hours(1)));
    assert_eq!(Cybersource.key_lifetime(), tillway_core::time::Millis(0));
    let steps = Cybersource.webhook_steps(&connection(), "https://hooks.example").join("\n");
    assert!(
        steps.contains("https://hooks.example/webhooks/cyb-test/fraud-decisions  product decisionManager"),
        "{steps}"
    );
}
