//! Controls.

use serde_json::json;
use tillway_core::money::{Currency, Money};
use tillway_core::time::Millis;

use super::super::testing::{Shop, new_order, now};
use super::super::{Actor, ControlError, Customer, NewLine, NewOrder, OrderStatus, OrderTruth};

fn adds_up(order: &OrderTruth) {
    let sum = order.subtotal.minor - order.discount_total.minor
        + order.shipping_total.minor
        + order.tax_total.minor;
    assert_eq!(sum, order.total.minor);
}

fn priced(code: &str, unit_price: i64) -> NewOrder {
    let mut order = NewOrder::new(Currency::parse(code).unwrap());
    order.lines.push(NewLine {
        sku: "A".into(),
        name: "A".into(),
        quantity: "1.5".into(),
        unit_price,
        discount: 10,
        tax: 7,
    });
    (order.shipping, order.discount) = (100, 5);
    order
}

#[test]
fn totals_are_consistent_in_every_currency() {
    // 1.5 pieces, rounded half to even; less 10 and 5, plus 7 and 100.
    for (code, unit_price, subtotal, shown) in [
        ("USD", 333, 500, "5.92"),
        ("JPY", 801, 1202, "1294"),
        ("KWD", 5120, 7680, "7.772"),
        ("EUR", 1001, 1502, "15.94"),
    ] {
        let mut shop = Shop::new();
        let id = shop.0.place_order(now(), priced(code, unit_price)).unwrap();
        let order = shop.0.order(&id).unwrap();
        adds_up(order);
        assert_eq!(
            (order.subtotal.minor, order.discount_total.minor, order.tax_total.minor),
            (subtotal, 15, 7)
        );
        let event = &shop.drain(now())[0];
        assert_eq!(event["type"], "order.created");
        assert_eq!(event["data"]["total"], json!({"amount": shown, "currency": code}));
    }
}

#[test]
fn a_smaller_order_costs_less_and_says_so() {
    let mut shop = Shop::new();
    let id = shop.0.place_order(now(), new_order("USD")).unwrap();
    shop.drain(now());
    assert_eq!(shop.0.order(&id).unwrap().total.minor, 2410);
    shop.0.change_total(now() + Millis(1), &id, "1", Some("1")).unwrap();
    let order = shop.0.order(&id).unwrap();
    adds_up(order);
    // Half of the price (10.00), discount (2.00 to 1.00) and tax (1.60 to 0.80) of the first line is gone.
    assert_eq!((order.total.minor, order.version, order.updated_at), (1430, 2, now() + Millis(1)));
    shop.0.change_total(now(), &id, "2", None).unwrap();
    adds_up(shop.0.order(&id).unwrap());
    assert_eq!(shop.0.change_total(now(), &id, "1", None), Err(ControlError::NoLines));
    assert_eq!(shop.0.change_total(now(), &id, "2", Some("1")), Err(ControlError::UnknownLine("2".into())));
    for quantity in ["0", "-1", "x", "", "1.00001", "."] {
        let refused = shop.0.change_total(now(), &id, "1", Some(quantity));
        assert_eq!(refused, Err(ControlError::Quantity(quantity.into())));
    }
    assert_eq!(shop.drain(now() + Millis(1)).len(), 2);
}

#[test]
fn shoppers_and_staff_leave_a_trail_and_tell_of_each_step() {
    let mut shop = Shop::new();
    let id = shop.0.place_order(now(), new_order("USD")).unwrap();
    shop.0.set_payment_token(now(), &id, "tok_1").unwrap();
    shop.0.set_payment_intent(now(), &id, "pi_1").unwrap();
    shop.0.set_payment_intent(now(), &id, "pi_1").unwrap();
    shop.0.hold(now() + Millis(5), &id).unwrap();
    shop.0.ship(now() + Millis(6), &id, None).unwrap();
    shop.0.complete(now() + Millis(7), &id).unwrap();
    let order = shop.0.order(&id).unwrap();
    let trail: Vec<_> = order.history.iter().map(|h| (h.status, h.at.since(now()).0, h.by)).collect();
    let by = Actor::Shop;
    assert_eq!(
        trail,
        [
            (OrderStatus::PendingPayment, 0, by),
            (OrderStatus::OnHold, 5, by),
            (OrderStatus::Shipped, 6, by),
            (OrderStatus::Completed, 7, by),
        ]
    );
    let events = shop.drain(now() + Millis(7));
    let versions: Vec<_> = events.iter().map(|e| e["data"]["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6], "the second pi_1 changes nothing");
    assert_eq!(events[2]["data"]["payment"], json!({"token": "tok_1", "paymentIntentId": "pi_1"}));
    assert_eq!(shop.0.counters().events["order.updated"], 5);
    assert_eq!(shop.0.cancel(now(), "none"), Err(ControlError::UnknownOrder("none".into())));
}

#[test]
fn a_refund_request_names_an_amount_and_perhaps_an_id_and_leaves_the_order_alone() {
    let mut shop = Shop::new();
    let id = shop.0.place_order(now(), new_order("JPY")).unwrap();
    shop.drain(now());
    shop.0.request_refund(now(), &id, Some("R1"), 500, "broken").unwrap();
    shop.0.request_refund(now(), &id, None, 700, "late").unwrap();
    let events = shop.drain(now());
    assert_eq!(events[0]["type"], "order.refund_requested");
    let amount = json!({"amount": "500", "currency": "JPY"});
    assert_eq!(
        events[0]["data"],
        json!({"orderId": id, "amount": amount, "reason": "broken", "refundId": "R1"})
    );
    assert!(events[1]["data"].get("refundId").is_none());
    let order = shop.0.order(&id).unwrap();
    assert_eq!((order.version, order.refund_requests.len()), (1, 2));
    assert_eq!(order.refund_requests[1].amount, Money::new(700, order.currency()));
}

#[test]
fn ids_are_given_or_counted_and_never_taken_twice() {
    let mut shop = Shop::with(|c| c.order_ids = "W".into());
    assert_eq!(shop.0.place_order(now(), new_order("USD")).unwrap(), "W100001");
    let mut named = new_order("USD");
    named.order_id = Some("A/1 ö".into());
    shop.0.place_order(now(), named.clone()).unwrap();
    assert_eq!(shop.0.place_order(now(), named), Err(ControlError::OrderExists("A/1 ö".into())));
    let read = shop.call(now(), tillway_core::http::Method::Get, "/orders/A%2F1%20%C3%B6", None);
    assert_eq!(read.status, 200);
    assert_eq!(
        shop.0.place_order(now(), NewOrder::new(Currency::parse("USD").unwrap())),
        Err(ControlError::NoLines)
    );
    assert_eq!(shop.0.orders().count(), 2);
}

#[test]
fn an_account_is_opened_with_its_first_order_and_a_guest_has_none() {
    let mut shop = Shop::new();
    let mut order = new_order("USD");
    order.customer =
        Customer { customer_id: Some("K1".into()), email: Some("a@b.example".into()), ..Customer::default() };
    shop.0.place_order(now(), order).unwrap();
    shop.0.place_order(now(), new_order("USD")).unwrap();
    assert_eq!(shop.0.customers().count(), 1);
    assert_eq!(shop.0.customer("K1").unwrap().email.as_deref(), Some("a@b.example"));
    assert!(!shop.0.counters().events.contains_key("customer.updated"));
}
