//! Settings, declarations and the making of requests.

use tillway_core::facts::OrderStatus;
use tillway_core::ids::CommandId;
use tillway_core::money::{Currency, Money};
use tillway_core::value::Value;

use super::{Clarity, assert_clean, connection, dict, now, params, text};
use crate::config::Connection;
use crate::port::{Connector, Rejected};

fn prepare(action: &str, pairs: &[(&'static str, Value)]) -> Result<(serde_json::Value, String), Rejected> {
    let prepared = Clarity.prepare(&connection(&[]), action, &CommandId::new("c"), &params(pairs))?;
    Ok((serde_json::from_slice(&prepared.bytes).unwrap(), prepared.summary))
}

#[test]
fn requests_are_stored_as_the_wire_has_them() {
    let amount = Value::Money(Money::new(2552, Currency::parse("USD").unwrap()));
    let payment = Value::map([
        ("gateway", text("stripe")),
        ("transaction_id", text("ch_1")),
        ("card_last4", text("4242")),
        ("token", Value::Null),
        ("amount", amount),
    ]);
    let pairs = [
        ("order_id", text("C-1")),
        ("status", text("Paid")),
        ("note", text("canary note")),
        ("payment", payment),
        ("external_ids", dict(&[("stripe", "pi_1"), ("erp", "")])),
    ];
    let (bytes, summary) = prepare("clarity.update_order", &pairs).unwrap();
    let expected = serde_json::json!({"order_id": "C-1", "patch": {
        "status": "Paid", "note": "canary note",
        "payment": {"gateway": "stripe", "transactionId": "ch_1", "cardLast4": "4242",
                    "amount": {"amount": "25.52", "currency": "USD"}},
        "externalIds": {"stripe": "pi_1"},
    }});
    assert_eq!(bytes, expected);
    assert_eq!(summary, "PATCH order: status, note, payment, externalIds (status paid)");
    assert_clean(&summary);
}

#[test]
fn parameters_that_cannot_go_over_the_wire() {
    let fault = |action: &str, pairs: &[(&'static str, Value)]| {
        let rejected = prepare(action, pairs).unwrap_err();
        assert_clean(&format!("{rejected:?}"));
        (rejected.code, rejected.field)
    };
    let of = |code: &str, field: &str| (code.to_owned(), field.to_owned());
    let update = |name: &'static str, value: Value| {
        fault("clarity.update_order", &[("order_id", text("C-1")), (name, value)])
    };
    assert_eq!(fault("clarity.read_order", &[]), of("parameter_malformed", "order_id"));
    assert_eq!(
        fault("clarity.read_order", &[("order_id", text(".."))]),
        of("parameter_malformed", "order_id")
    );
    assert_eq!(update("status", text("canary")), of("status_unknown", "status"));
    assert_eq!(update("note", Value::Int(1)), of("parameter_malformed", "note"));
    assert_eq!(update("external_ids", text("x")), of("parameter_malformed", "external_ids"));
    let token = Value::map([("token", text("4111111111111111"))]);
    assert_eq!(update("payment", token), of("card_number", "payment.token"));
    let last4 = Value::map([("card_last4", text("41111"))]);
    assert_eq!(update("payment", last4), of("parameter_malformed", "payment.card_last4"));
    let shipment = [("order_id", text("C-1")), ("shipment_id", text("S-1"))];
    assert_eq!(fault("clarity.add_shipment", &shipment), of("parameter_malformed", "shipped_at"));
    assert_eq!(fault("clarity.explode", &[]).0, "action_unknown");
    let shipped =
        [("order_id", text("C-1")), ("shipment_id", text("S-1")), ("shipped_at", Value::Time(now()))];
    assert!(prepare("clarity.add_shipment", &shipped).is_ok());
}

#[test]
fn every_action_is_repeatable_and_moves_no_money() {
    let names: Vec<_> = Clarity.actions().iter().map(|a| a.spec.name).collect();
    assert_eq!(
        names,
        [
            "clarity.update_order",
            "clarity.read_order",
            "clarity.update_customer",
            "clarity.read_customer",
            "clarity.add_shipment"
        ]
    );
    assert!(Clarity.actions().iter().all(|a| a.repeatable && !a.spec.money && !a.per_person));
}

#[test]
fn every_canonical_status_can_be_read_from_some_text() {
    for (status, name) in OrderStatus::ALL {
        let known = super::super::settings::STATUS_IN.iter().any(|(_, s)| *s == status);
        assert!(known, "{name} has no text");
    }
}

#[test]
fn settings_are_checked() {
    let faults = |settings: &[(&str, &str)]| -> Vec<String> {
        Clarity.check_settings(&connection(settings)).into_iter().map(|(name, _)| name).collect()
    };
    assert!(faults(&[]).is_empty(), "the defaults are fine");
    assert!(faults(&[("status_in.Wartet", "on_hold"), ("status_out.on_hold", "WARTET")]).is_empty());
    assert!(
        faults(&[("overwrite_fulfilment", "refunded, cancelled"), ("events.order.created", "X")]).is_empty()
    );
    for (name, value) in [
        ("base_url", ""),
        ("base_url", "http://shop.example.com"),
        ("base_url", "https://u@shop.example.com"),
        ("base_url", "shop"),
        ("paths.order", "/orders"),
        ("paths.token", "oauth"),
        ("page_size", "0"),
        ("page_size", "many"),
        ("auth", "basic"),
        ("auth.header", "X Key"),
        ("paging.style", "cursor"),
        ("webhook.scheme", "none"),
        ("version_from", "both"),
        ("status_in.Wartet", "waiting"),
        ("status_out.waiting", "Paid"),
        ("status_out.paid", "Bezahlt"),
        ("events.order.exploded", "X"),
        ("overwrite_fulfilment", "always"),
        ("paths.ordres", "/x"),
    ] {
        assert_eq!(faults(&[(name, value)]), [name], "{value}");
    }
    let two = [("events.order.created", "X"), ("events.order.updated", "X")];
    assert_eq!(faults(&two).len(), 2);
    let local = Connection { production: false, ..connection(&[("base_url", "http://127.0.0.1:9/api")]) };
    assert!(Clarity.check_settings(&local).is_empty());
    let unset = Connection { settings: Default::default(), ..connection(&[]) };
    let (name, what) = Clarity.check_settings(&unset).remove(0);
    assert!(name == "base_url" && what.starts_with("set base_url"));
}
