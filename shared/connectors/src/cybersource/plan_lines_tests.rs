//! Lines on the wire, whatever they are.

use serde_json::{Value as Json, json};
use tillway_core::ids::CommandId;
use tillway_core::money::{Currency, Money};
use tillway_core::value::Value;

use super::super::Cybersource;
use super::super::testing::connection;
use super::super::tests::pay_params;
use crate::port::Connector as _;

fn usd(minor: i64) -> Value {
    Value::Money(Money::new(minor, Currency::parse("USD").unwrap()))
}

fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse().unwrap())
}

fn line(more: &[(&'static str, Value)]) -> Value {
    let usual = [
        ("sku", Value::text("W-1")),
        ("name", Value::text("Widget")),
        ("quantity", decimal("2")),
        ("unit_price", decimal("51.10")),
        ("discount", usd(0)),
        ("tax", usd(1)),
        ("total", usd(10_221)),
    ];
    Value::map(usual.into_iter().chain(more.iter().cloned()))
}

/// What a payment or a screening says of these lines, with a setting; or why it is not sent.
fn sent(action: &str, lines: Vec<Value>, setting: Option<(&str, &str)>) -> Result<Json, String> {
    let Value::Map(mut params) = pay_params() else { unreachable!() };
    params.insert("lines".into(), Value::List(lines));
    let mut connection = connection();
    connection.settings.extend(setting.map(|(n, v)| (n.to_owned(), v.to_owned())));
    let prepared = Cybersource.prepare(&connection, action, &CommandId::new("c"), &Value::Map(params));
    let prepared = prepared.map_err(|r| format!("{} {}", r.code, r.field))?;
    let plan: Json = serde_json::from_slice(&prepared.bytes).unwrap();
    Ok(plan["body"]["orderInformation"]["lineItems"].clone())
}

fn one(more: &[(&'static str, Value)]) -> Json {
    sent("cybersource.authorize", vec![line(more)], None).unwrap()[0].clone()
}

#[test]
fn a_line_is_told_as_each_call_names_its_members() {
    let paid = [("discount", usd(500))];
    assert_eq!(
        one(&paid),
        json!({"productCode": "default", "productName": "Widget", "productSku": "W-1", "quantity": 2,
            "unitPrice": "51.10", "taxAmount": "0.01", "discountAmount": "5.00"})
    );
    let screened = sent("cybersource.screen", vec![line(&paid)], None).unwrap();
    assert_eq!(
        screened[0],
        json!({"productCode": "default", "productName": "Widget", "productSKU": "W-1", "quantity": 2,
            "unitPrice": "51.10", "taxAmount": "0.01"})
    );
}

#[test]
fn what_does_not_fit_the_wire_is_made_to_fit() {
    let counted = |quantity: &str, price: &str| {
        let line = one(&[("quantity", decimal(quantity)), ("unit_price", decimal(price))]);
        (line["quantity"].as_i64().unwrap(), line["unitPrice"].as_str().unwrap().to_owned())
    };
    assert_eq!(counted("2.0000", "3"), (2, "3.00".into()), "a whole number however it is written");
    assert_eq!(counted("0.5", "3.01"), (1, "1.50".into()), "half a metre is one piece at what it costs");
    assert_eq!(counted("1000", "0.0125"), (1000, "0.01".into()), "no more places than the currency has");
    assert_eq!(counted("1000", "0.0150"), (1000, "0.02".into()), "half to even");
    assert_eq!(
        counted("1000000000", "0.01"),
        (1, "10000000.00".into()),
        "more pieces than there is room for"
    );
    let free = one(&[("unit_price", decimal("0")), ("tax", usd(0))]);
    assert_eq!((free["unitPrice"].as_str(), free.get("taxAmount")), (Some("0.00"), None));
    let old = one(&[("unit_price", Value::Null)]);
    assert_eq!((old["quantity"].as_i64(), old.get("unitPrice")), (Some(2), None), "told before prices were");
    let long = one(&[("name", Value::text("n\u{7}é".repeat(200))), ("sku", Value::text("s".repeat(300)))]);
    assert_eq!(long["productName"].as_str().unwrap().chars().count(), 255);
    assert!(!long["productName"].as_str().unwrap().contains('\u{7}'));
    assert_eq!(long["productSku"].as_str().unwrap().len(), 255);
    assert_eq!(one(&[("name", Value::Null)])["productName"], "W-1");
    let euro = Value::Money(Money::new(7, Currency::parse("EUR").unwrap()));
    assert!(one(&[("tax", euro)]).get("taxAmount").is_none(), "tax in another currency");
}

#[test]
fn a_line_that_says_nothing_is_left_out_and_a_bad_product_code_is_named() {
    let none = vec![line(&[("quantity", decimal("0"))]), line(&[("sku", Value::Null)]), Value::text("x")];
    assert_eq!(sent("cybersource.authorize", none, None).unwrap(), Json::Null);
    let coded = |code: &str| {
        let lines = vec![line(&[]), line(&[("code", Value::text(code))])];
        sent("cybersource.authorize", lines, None)
    };
    assert_eq!(coded("gift_card").unwrap()[1]["productCode"], "gift_card");
    for bad in ["gift card", &"x".repeat(256), "käse"] {
        assert_eq!(coded(bad).unwrap_err(), "line_code_malformed lines[1].code", "{bad}");
    }
}

#[test]
fn of_many_lines_those_worth_most_are_sent_in_their_order() {
    let many =
        |n: i64| (0..n).map(|i| line(&[("sku", Value::text(format!("S{i}"))), ("total", usd(i * 7 % 101))]));
    let skus = |lines: Json| -> Vec<String> {
        lines
            .as_array()
            .map_or_else(Vec::new, |l| l.iter().map(|l| l["productSku"].as_str().unwrap().into()).collect())
    };
    let all = skus(sent("cybersource.authorize", many(100).collect(), None).unwrap());
    assert_eq!(all.len(), 100);
    let most = skus(sent("cybersource.authorize", many(101).collect(), None).unwrap());
    assert_eq!((most.len(), most.contains(&"S0".to_owned())), (100, false), "the one worth nothing");
    let three = skus(sent("cybersource.authorize", many(101).collect(), Some(("order_lines", "3"))).unwrap());
    // 7 × 72, 7 × 43 and 7 × 14 leave 100, 99 and 98 of 101.
    assert_eq!(three, ["S14", "S43", "S72"]);
    assert_eq!(
        sent("cybersource.authorize", many(3).collect(), Some(("order_lines", "0"))).unwrap(),
        Json::Null
    );
}

#[test]
fn address_and_session_are_sent_or_named() {
    let device = |name: &str, value: &str| {
        let Value::Map(mut params) = pay_params() else { unreachable!() };
        params.insert(name.into(), Value::text(value));
        let prepared = Cybersource.prepare(
            &connection(),
            "cybersource.authorize",
            &CommandId::new("c"),
            &Value::Map(params),
        );
        prepared.map_err(|r| {
            assert!(!r.what.contains(value), "{}", r.what);
            format!("{} {}", r.code, r.field)
        })
    };
    for good in ["203.0.113.7", "2001:db8::1"] {
        assert!(device("ip_address", good).is_ok(), "{good}");
    }
    for bad in ["203.0.113.7, 10.0.0.1", "canary.example", "203.0.113.777"] {
        assert_eq!(device("ip_address", bad).unwrap_err(), "ip_address_malformed ip_address");
    }
    assert!(device("fingerprint", &"f".repeat(88)).is_ok());
    for bad in ["visit 66", &"f".repeat(89)] {
        assert_eq!(device("fingerprint", bad).unwrap_err(), "fingerprint_malformed fingerprint");
    }
}
