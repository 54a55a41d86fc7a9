//! Orders through the API.

use serde_json::{Value, json};
use tillway_core::http::Method;
use tillway_core::time::{Millis, Timestamp};

use super::super::testing::{Shop, json_of, new_order, now};
use super::super::{Actor, OrderStatus, StatusTexts};

fn shop_with_order() -> (Shop, String) {
    let mut shop = Shop::new();
    let order = shop.0.place_order(now(), new_order("USD")).unwrap();
    shop.drain(now());
    (shop, order)
}

fn patch(shop: &mut Shop, order: &str, body: Value) -> tillway_core::http::Response {
    shop.call(now() + Millis::secs(1), Method::Patch, &format!("/orders/{order}"), Some(&body))
}

#[test]
fn an_order_reads_as_the_contract_has_it() {
    let (mut shop, order) = shop_with_order();
    let response = shop.call(now(), Method::Get, &format!("/orders/{order}"), None);
    assert_eq!((response.status, response.header("etag")), (200, Some("\"1\"")));
    let body = json_of(&response);
    assert_eq!((&body["orderId"], &body["status"]), (&order.as_str().into(), &"Pending Payment".into()));
    assert_eq!(body["updatedAt"], "2026-11-21T08:00:00.000Z");
    assert_eq!((&body["version"], &body["shipments"]), (&1.into(), &json!([])));
    assert_eq!(body["lines"][0]["unitPrice"], json!({"amount": "10.00", "currency": "USD"}));
    assert_eq!(body["lines"][0]["quantity"], "2");
    assert!(body["customer"].get("customerId").is_none(), "a guest");
    assert!(body.get("payment").is_none() && body.get("history").is_none());
    let missing = shop.call(now(), Method::Get, "/orders/none", None);
    assert_eq!((missing.status, &json_of(&missing)["code"]), (404, &"not_found".into()));
    assert_eq!(shop.call(now(), Method::Get, "/nowhere", None).status, 404);
    assert_eq!(shop.call(now(), Method::Put, "/orders", None).status, 405);
}

#[test]
fn a_patch_changes_what_it_names_and_comes_back_as_an_echo() {
    let (mut shop, order) = shop_with_order();
    let body = json!({
        "status": "Payment Received", "statusReason": "ok", "note": "paid",
        "payment": {"gateway": "stripe", "transactionId": "ch_1", "cardLast4": "4242",
                    "amount": {"amount": "24.10", "currency": "USD"}},
        "externalIds": {"erp": "SO-1", "books": "INV-1"},
    });
    let response = patch(&mut shop, &order, body);
    assert_eq!((response.status, response.header("etag")), (200, Some("\"2\"")));
    let echo = shop.drain(now() + Millis::secs(1));
    assert_eq!(echo.len(), 1);
    assert_eq!(echo[0]["type"], "order.updated");
    assert_eq!(echo[0]["data"], json_of(&response));

    let truth = shop.0.order(&order).unwrap();
    assert_eq!((truth.status, truth.payment.amount.unwrap().minor), (OrderStatus::PaymentReceived, 2410));
    let last = truth.history.last().unwrap();
    assert_eq!(
        (last.status, last.by, last.at),
        (OrderStatus::PaymentReceived, Actor::Api, now() + Millis::secs(1))
    );

    let merged = json_of(&patch(
        &mut shop,
        &order,
        json!({"externalIds": {"books": null, "desk": "7"}, "payment": {"cardBrand": "visa"}}),
    ));
    assert_eq!(merged["externalIds"], json!({"erp": "SO-1", "desk": "7"}));
    assert_eq!(
        (&merged["payment"]["transactionId"], &merged["payment"]["cardBrand"]),
        (&"ch_1".into(), &"visa".into())
    );
}

#[test]
fn a_patch_that_changes_nothing_makes_no_version_and_no_echo() {
    let (mut shop, order) = shop_with_order();
    let response = patch(&mut shop, &order, json!({"status": "Pending Payment", "externalIds": {"x": null}}));
    assert_eq!((response.status, response.header("etag")), (200, Some("\"1\"")));
    assert!(shop.drain(now() + Millis::secs(9)).is_empty());
}

#[test]
fn without_echo_the_api_changes_orders_silently_and_the_shop_does_not() {
    let (mut shop, order) = shop_with_order();
    shop.0.set_echo(false);
    assert_eq!(patch(&mut shop, &order, json!({"status": "Paid"})).status, 200);
    assert!(shop.drain(now() + Millis::secs(1)).is_empty());
    shop.0.hold(now() + Millis::secs(2), &order).unwrap();
    assert_eq!(shop.drain(now() + Millis::secs(2)).len(), 1);
}

#[test]
fn wrong_patches_are_refused_whole_with_pointers() {
    let (mut shop, order) = shop_with_order();
    for (body, pointer) in [
        (json!({}), ""),
        (json!([]), ""),
        (json!({"status": "Payed"}), "/status"),
        (json!({"status": "paid"}), "/status"),
        (json!({"status": 7}), "/status"),
        (json!({"status": null}), "/status"),
        (json!({"note": "kept out", "total": 1}), "/total"),
        (json!({"note": false}), "/note"),
        (json!({"payment": "x"}), "/payment"),
        (json!({"payment": {"pan": "4111"}}), "/payment/pan"),
        (json!({"payment": {"gateway": "acme"}}), "/payment/gateway"),
        (json!({"payment": {"cardLast4": "42424"}}), "/payment/cardLast4"),
        (json!({"payment": {"amount": {"amount": 49, "currency": "USD"}}}), "/payment/amount/amount"),
        (json!({"payment": {"amount": {"amount": "1.001", "currency": "USD"}}}), "/payment/amount/amount"),
        (json!({"payment": {"amount": {"amount": "1.00", "currency": "usd"}}}), "/payment/amount/currency"),
        (json!({"payment": {"amount": {"amount": "1.00", "currency": "EUR"}}}), "/payment/amount/currency"),
        (json!({"payment": {"amount": {"amount": "1.00"}}}), "/payment/amount/currency"),
        (json!({"externalIds": {"a/b": 1}}), "/externalIds/a~1b"),
    ] {
        let response = patch(&mut shop, &order, body.clone());
        assert_eq!(
            (response.status, response.header("content-type")),
            (400, Some("application/problem+json")),
            "{body}"
        );
        let problem = json_of(&response);
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&"validation_failed".into(), &400.into()),
            "{body}"
        );
        let pointers: Vec<_> =
            problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
        assert_eq!(pointers, [pointer], "{body}");
    }
    assert_eq!(shop.0.order(&order).unwrap().version, 1);
    assert!(shop.0.order(&order).unwrap().note.as_deref() != Some("kept out"));
    let text = shop
        .request(Method::Patch, &format!("/orders/{order}"), None)
        .with_body("text/plain", r#"{"note":"x"}"#);
    assert_eq!(shop.send(now(), &text).status, 415);
    let broken = shop
        .request(Method::Patch, &format!("/orders/{order}"), None)
        .with_body("application/json; charset=utf-8", "{");
    assert_eq!(shop.send(now(), &broken).status, 400);
}

#[test]
fn if_match_guards_the_version() {
    let (mut shop, order) = shop_with_order();
    let guarded = |shop: &mut Shop, tag: &str, note: &str| {
        let request = shop
            .request(Method::Patch, &format!("/orders/{order}"), Some(&json!({"note": note})))
            .with_header("if-match", tag);
        shop.send(now(), &request)
    };
    assert_eq!(guarded(&mut shop, "\"1\"", "a").status, 200);
    let stale = guarded(&mut shop, "\"1\"", "b");
    assert_eq!((stale.status, &json_of(&stale)["code"]), (412, &"version_conflict".into()));
    assert_eq!(guarded(&mut shop, "W/\"2\"", "c").status, 200);
    assert_eq!(guarded(&mut shop, "*", "d").status, 200);
    assert_eq!(shop.0.order(&order).unwrap().note.as_deref(), Some("d"));
}

#[test]
fn a_strict_shop_does_not_go_back() {
    let mut shop = Shop::with(|c| c.strict_transitions = true);
    let order = shop.0.place_order(now(), new_order("USD")).unwrap();
    shop.0.cancel(now(), &order).unwrap();
    for status in ["Pending Payment", "Paid", "Payment Received"] {
        let response = patch(&mut shop, &order, json!({"status": status}));
        assert_eq!((response.status, &json_of(&response)["code"]), (409, &"invalid_transition".into()));
    }
    assert_eq!(patch(&mut shop, &order, json!({"status": "Refunded"})).status, 200);

    let (mut lenient, order) = shop_with_order();
    lenient.0.cancel(now(), &order).unwrap();
    assert_eq!(patch(&mut lenient, &order, json!({"status": "Paid"})).status, 200);
}

#[test]
fn a_shop_can_have_its_own_status_texts() {
    let texts = StatusTexts([(OrderStatus::Paid, "Bezahlt".to_owned())].into());
    let mut shop = Shop::with(|c| c.status_texts = texts);
    let order = shop.0.place_order(now(), new_order("EUR")).unwrap();
    assert_eq!(patch(&mut shop, &order, json!({"status": "Paid"})).status, 400);
    assert_eq!(json_of(&patch(&mut shop, &order, json!({"status": "Bezahlt"})))["status"], "Bezahlt");
    assert_eq!(json_of(&shop.call(now(), Method::Get, "/orders?status=Bezahlt", None))["totalCount"], 1);
}

#[test]
fn pages_come_oldest_change_first_and_a_changed_order_moves_to_the_end() {
    let mut shop = Shop::new();
    let at = |n: i64| now() + Millis::secs(n);
    let ids: Vec<_> = (0..5).map(|n| shop.0.place_order(at(n), new_order("USD")).unwrap()).collect();
    shop.0.hold(at(10), &ids[1]).unwrap();
    let list = |shop: &mut Shop, query: &str| {
        let body = json_of(&shop.call(at(20), Method::Get, &format!("/orders{query}"), None));
        let found: Vec<_> = body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o["orderId"].as_str().unwrap().to_owned())
            .collect();
        (found, body["totalCount"].as_u64().unwrap())
    };
    let pick = |indexes: &[usize]| indexes.iter().map(|i| ids[*i].clone()).collect::<Vec<_>>();
    assert_eq!(list(&mut shop, ""), (pick(&[0, 2, 3, 4, 1]), 5));
    assert_eq!(list(&mut shop, "?pageIndex=1&pageSize=2"), (pick(&[3, 4]), 5));
    assert_eq!(list(&mut shop, "?pageIndex=9&pageSize=2"), (pick(&[]), 5));
    let since = |t: Timestamp| format!("?updatedSince={}", t.rfc3339());
    assert_eq!(list(&mut shop, &since(at(3))), (pick(&[3, 4, 1]), 3));
    assert_eq!(list(&mut shop, &since(at(3) + Millis(1))), (pick(&[4, 1]), 2));
    assert_eq!(list(&mut shop, "?status=On%20Hold"), (pick(&[1]), 1));
    assert_eq!(list(&mut shop, "?status=On+Hold&pageSize=1"), (pick(&[1]), 1));
    let page = json_of(&shop.call(at(20), Method::Get, "/orders?pageSize=2&pageIndex=2", None));
    assert_eq!((&page["pageIndex"], &page["pageSize"]), (&2.into(), &2.into()));
    for query in [
        "?pageSize=0",
        "?pageSize=201",
        "?pageIndex=-1",
        "?status=Gone",
        "?updatedSince=now",
        "?updated_since=x",
    ] {
        assert_eq!(shop.call(at(20), Method::Get, &format!("/orders{query}"), None).status, 400, "{query}");
    }
}
