//! What goes over the wire, and what must not.

use serde_json::Value as Json;
use tillway_core::ids::CommandId;
use tillway_core::value::Value;

use super::Stripe;
use super::testing::{connection, spec};
use super::tests::{capture_params, confirm_params, create_params, refund_params, usd};
use crate::port::Connector;

#[test]
fn what_cannot_go_over_the_wire_is_rejected_by_field() {
    let reject = |action: &str, params: Value| {
        let rejected = Stripe.prepare(&connection(), action, &CommandId::new("c"), &params).unwrap_err();
        (rejected.code, rejected.field)
    };
    let base = || [("amount", usd(1)), ("order_id", Value::text("A-1"))];
    let with = |name, value| Value::map(base().into_iter().chain([(name, value)]));
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let long = Value::map([("note", Value::text("x".repeat(501)))]);
    assert_eq!(
        reject("stripe.create_payment", with("metadata", long)),
        pair("metadata_value_too_long", "metadata.note")
    );
    let key = Value::map([("a[b]", Value::text("x"))]);
    assert_eq!(
        reject("stripe.create_payment", with("metadata", key)),
        pair("metadata_key_invalid", "metadata.a[b]")
    );
    assert_eq!(
        reject("stripe.create_payment", with("amount", usd(0))),
        pair("amount_not_positive", "amount")
    );
    assert_eq!(
        reject("stripe.create_payment", with("capture", Value::text("later"))),
        pair("capture_unknown", "capture")
    );
    assert_eq!(
        reject("stripe.create_payment", Value::map([("amount", usd(1))])),
        pair("parameter_missing", "order_id")
    );
    let path = Value::map([("payment", Value::text("pi_1/capture")), ("amount", usd(1))]);
    assert_eq!(reject("stripe.capture", path), pair("id_malformed", "payment"));
    assert_eq!(reject("stripe.ensure_customer", Value::map([])), pair("parameter_missing", "email"));
    assert_eq!(reject("stripe.nothing", Value::Null), pair("action_unknown", "do"));
}

/// Whether a parameter's path (`shipping[address][line1]`) exists in a schema of the vendor's.
fn known(schema: &Json, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let branches = schema["anyOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
    branches.iter().any(|s| match (&s["properties"][*first], &s["items"], &s["additionalProperties"]) {
        (property @ Json::Object(_), ..) => known(property, rest),
        (_, items @ Json::Object(_), _) if first.parse::<u32>().is_ok() => known(items, rest),
        (_, _, Json::Object(_)) => rest.is_empty(),
        _ => false,
    })
}

#[test]
fn every_parameter_sent_is_in_the_vendors_description() {
    let Some(api) = spec("openapi.json") else { return };
    let with = |base: Value, more: &[(&'static str, Value)]| match base {
        Value::Map(mut m) => {
            m.extend(more.iter().map(|(n, v)| ((*n).to_owned(), v.clone())));
            Value::Map(m)
        }
        other => other,
    };
    let text = |t: &str| Value::text(t);
    let mut settings = connection();
    settings.settings.insert("multicapture".into(), "if_available".into());
    settings.settings.insert("allow_redirects".into(), "never".into());
    let token =
        |t: &str| with(confirm_params(), &[("token", text(t)), ("return_url", text("https://shop.example"))]);
    let cases = [
        (
            "stripe.create_payment",
            with(create_params(), &[("capture", text("manual")), ("description", text("x"))]),
            "/v1/payment_intents",
        ),
        ("stripe.update_payment", capture_params(), "/v1/payment_intents/{intent}"),
        ("stripe.confirm_payment", token("pm_1"), "/v1/payment_intents/{intent}/confirm"),
        ("stripe.confirm_payment", token("ctoken_1"), "/v1/payment_intents/{intent}/confirm"),
        (
            "stripe.capture",
            with(capture_params(), &[("last", Value::Bool(false))]),
            "/v1/payment_intents/{intent}/capture",
        ),
        (
            "stripe.cancel_payment",
            with(capture_params(), &[("reason", text("abandoned"))]),
            "/v1/payment_intents/{intent}/cancel",
        ),
        ("stripe.refund", with(refund_params(), &[("reason", text("duplicate"))]), "/v1/refunds"),
    ];
    for (action, params, path) in cases {
        let prepared = Stripe.prepare(&settings, action, &CommandId::new("c"), &params).unwrap();
        let plan: Json = serde_json::from_slice(&prepared.bytes).unwrap();
        let schema = &api["paths"][path]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
            ["schema"];
        assert!(schema.is_object(), "{path}");
        for pair in plan["form"].as_str().unwrap().split('&') {
            let name = pair.split('=').next().unwrap().replace("%5B", "[").replace("%5D", "]");
            let parts: Vec<&str> = name.split('[').map(|p| p.trim_end_matches(']')).collect();
            assert!(known(schema, &parts), "{action}: {name}");
        }
    }
}

#[test]
fn a_capture_that_is_not_the_last_needs_multicapture() {
    let not_last = match capture_params() {
        Value::Map(mut members) => {
            members.insert("last".to_owned(), Value::Bool(false));
            Value::Map(members)
        }
        other => other,
    };
    let id = CommandId::new("c");
    let refused = Stripe.prepare(&connection(), "stripe.capture", &id, &not_last).unwrap_err();
    assert_eq!((refused.code.as_str(), refused.field.as_str()), ("multicapture_off", "last"));
    let mut several = connection();
    several.settings.insert("multicapture".into(), "if_available".into());
    assert!(Stripe.prepare(&several, "stripe.capture", &id, &not_last).is_ok());
    assert!(Stripe.prepare(&connection(), "stripe.capture", &id, &capture_params()).is_ok());
}
