//! What events mean.

use serde_json::{Value as Json, json};
use tillway_core::facts::{Fact, Line, OrderSnapshot, OrderStatus};

use super::{Clarity, assert_clean, connection, doc, order, usd, with};
use crate::config::Connection;
use crate::port::{Connector, Interpreted, Observation, Owner};

pub fn interpret(connection: &Connection, data: &Json) -> Interpreted {
    Clarity.interpret(connection, "order.updated", doc("order.updated", data).json()).unwrap()
}

fn about(connection: &Connection, data: &Json) -> (OrderSnapshot, Observation, Option<String>) {
    let Interpreted::About { owner, observation, person } = interpret(connection, data) else { panic!() };
    assert_eq!(owner, Owner::Order { id: "C-1".into() });
    let [Fact::Order(snapshot)] = &observation.facts[..] else { panic!() };
    (*snapshot.clone(), observation, person.map(|p| p.expose().to_owned()))
}

#[test]
fn an_order_becomes_a_snapshot_and_sealed_personal_data() {
    let data = with(
        order(),
        "/shipments",
        json!([{"shipmentId": "S1", "lines": [{"lineId": "1", "quantity": "1.5"}]}]),
    );
    let (snapshot, observation, person) = about(&connection(&[]), &data);
    assert_eq!((snapshot.order_id.as_str(), snapshot.number.as_str(), snapshot.version), ("C-1", "1001", 3));
    assert_eq!(
        (snapshot.total.to_string().as_str(), snapshot.tax, snapshot.shipping),
        ("25.52 USD", 152, 500)
    );
    assert_eq!((snapshot.lines[0].total, snapshot.lines[0].tax), (2052, 152));
    assert_eq!(snapshot.status, OrderStatus::PendingPayment);
    assert_eq!((snapshot.token.as_deref(), snapshot.payment.as_deref()), (Some("tok_secret"), Some("pi_1")));
    assert_eq!((snapshot.guest, snapshot.customer_ref.as_deref()), (false, Some("CU-1")));
    assert_eq!(snapshot.gateway_customer.as_deref(), Some("cus_9"));
    assert_eq!(
        (snapshot.shipments[0].id.as_str(), snapshot.shipments[0].lines[0].1.to_string()),
        ("S1", "1.5".into())
    );
    assert_eq!(person.as_deref(), Some("mail:canary@example.com"));
    let personal = |path| observation.personal.at(path).as_text();
    assert_eq!(personal("order.customer.email"), Some("Canary@Example.com"));
    assert_eq!(personal("order.customer.name"), Some("Kanarie Vogel"));
    assert_eq!(personal("order.bill_to.line1"), Some("canary street 1"));
    assert_eq!(personal("order.ship_to.line1"), None);
    let facts = serde_json::to_string(&observation.facts).unwrap().replace("tok_secret", "");
    assert_clean(&facts);
    assert_clean(&format!("{:?}", interpret(&connection(&[]), &data)).replace("tok_secret", ""));
}

#[test]
fn lines_are_told_whole_and_a_name_is_never_in_the_way() {
    let named =
        |name: Json| about(&connection(&[]), &with(order(), "/lines/0/name", name)).0.lines[0].clone();
    let line = named("Wid\u{7}get".into());
    assert_eq!((line.name.as_deref(), line.discount), (Some("Widget"), 100));
    assert_eq!(line.unit_price.map(|p| p.to_string()).as_deref(), Some("10"));
    assert_eq!(named(json!({"en": "Widget"})).name, None);
    assert_eq!(named("n".repeat(300).into()).name.map(|n| n.len()), Some(255));
    // What an older version wrote down is read.
    let old: Line =
        serde_json::from_value(json!({"line_id": "1", "sku": "A", "quantity": "2", "total": 1, "tax": 0}))
            .unwrap();
    assert_eq!((old.unit_price, old.name, old.discount), (None, None, 0));
}

#[test]
fn address_and_session_are_personal_and_read_only_where_the_shop_is_said_to_tell_them() {
    let data = with(order(), "/device", json!({"ip": "203.0.113.7", "visit": {"id": "v-1"}}));
    assert!(about(&connection(&[]), &data).1.personal.at("order.device").is_empty());
    let set = connection(&[("order.ip_address", "device.ip"), ("order.device_session", "device.visit.id")]);
    assert!(Clarity.check_settings(&set).iter().all(|(name, _)| !name.starts_with("order.")));
    let (snapshot, observation, _) = about(&set, &data);
    let personal = |path| observation.personal.at(path).as_text();
    assert_eq!(personal("order.device.ip_address"), Some("203.0.113.7"));
    assert_eq!(personal("order.device.session"), Some("v-1"));
    let facts = serde_json::to_string(&observation.facts).unwrap() + &format!("{snapshot:?}");
    assert!(!facts.contains("203.0.113.7") && !facts.contains("v-1"));
    assert!(about(&set, &order()).1.personal.at("order.device").is_empty(), "an order that tells neither");
    for bad in ["device..ip", ".", "a.b.c.d.e", "device ip"] {
        let wrong = Clarity.check_settings(&connection(&[("order.ip_address", bad)]));
        assert!(wrong.iter().any(|(name, _)| name == "order.ip_address"), "{bad}");
    }
    let misspelt = Clarity.check_settings(&connection(&[("order.ip", "device.ip")]));
    assert!(misspelt.iter().any(|(name, _)| name == "order.ip"));
}

#[test]
fn a_shipping_address_counts_only_where_it_differs() {
    let billing = order()["billingAddress"].clone();
    let (_, same, _) = about(&connection(&[]), &with(order(), "/shippingAddress", billing.clone()));
    assert!(same.personal.at("order.ship_to").is_empty());
    let other = with(billing, "/city", "Dallas".into());
    let (_, differs, _) = about(&connection(&[]), &with(order(), "/shippingAddress", other));
    assert_eq!(differs.personal.at("order.ship_to.city").as_text(), Some("Dallas"));
}

#[test]
fn a_company_stands_beside_the_name_and_for_one_that_is_missing() {
    let billing = order()["billingAddress"].clone();
    let firm = with(with(billing, "/company", "Firm".into()), "/city", "Dallas".into());
    let nobody = with(with(firm.clone(), "/firstName", Json::Null), "/lastName", Json::Null);
    let data = with(with(order(), "/billingAddress", firm), "/shippingAddress", nobody);
    let (_, observation, _) = about(&connection(&[]), &data);
    let personal = |path| observation.personal.at(path).as_text();
    assert_eq!(
        (personal("order.bill_to.company"), personal("order.ship_to.company")),
        (Some("Firm"), Some("Firm"))
    );
    assert_eq!(
        (personal("order.bill_to.name"), personal("order.ship_to.name")),
        (Some("Kanarie Vogel"), Some("Firm"))
    );
}

#[test]
fn a_token_may_be_as_long_as_the_jwt_of_a_card_field() {
    for (length, fits) in [(257, true), (8192, true), (8193, false)] {
        let data = with(order(), "/payment/token", "e".repeat(length).into());
        let read = Clarity.interpret(&connection(&[]), "order.updated", doc("order.updated", &data).json());
        assert_eq!(read.is_ok(), fits, "{length}");
        if let Err(rejected) = read {
            assert!(rejected.field.ends_with("payment.token"), "{}", rejected.field);
        }
    }
}

#[test]
fn the_person_is_known_by_mail_then_by_account_then_not() {
    let person = |data: Json| about(&connection(&[]), &data).2;
    let without_mail = with(order(), "/customer/email", Json::Null);
    assert_eq!(person(without_mail.clone()).as_deref(), Some("ref:CU-1"));
    let guest = with(without_mail, "/customer/customerId", Json::Null);
    assert_eq!(person(guest.clone()), None);
    let mailed = with(guest, "/billingAddress/email", "A@b.c".into());
    assert_eq!(person(mailed.clone()).as_deref(), Some("mail:a@b.c"));
    let (snapshot, observation, _) = about(&connection(&[]), &mailed);
    assert!(snapshot.guest && snapshot.customer_ref.is_none());
    assert_eq!(observation.personal.at("order.customer.email").as_text(), Some("A@b.c"));
}

#[test]
fn ids_that_come_as_numbers_are_read_as_their_digits() {
    let data = with(with(order(), "/lines/0/lineId", 7.into()), "/billingAddress/postalCode", 78701.into());
    let (snapshot, observation, _) = about(&connection(&[]), &data);
    assert_eq!(snapshot.lines[0].line_id, "7");
    assert_eq!(observation.personal.at("order.bill_to.postal_code").as_text(), Some("78701"));
}

#[test]
fn the_version_comes_from_one_member_alone() {
    let again = |settings: &[(&str, &str)], data: &Json| {
        let read = interpret(&connection(settings), data);
        let expected = Owner::Order { id: "C-1".into() };
        matches!(read, Interpreted::ReadAgain { owner, action: "clarity.read_order", object: None } if owner == expected)
    };
    let unversioned = with(order(), "/version", Json::Null);
    assert!(again(&[], &unversioned), "its time is not taken for a counter");
    let by_time = [("version_from", "updated_at")];
    let (snapshot, ..) = about(&connection(&by_time), &order());
    assert_eq!(snapshot.version, 1_795_246_200_250);
    assert!(again(&by_time, &with(order(), "/updatedAt", Json::Null)));
}

#[test]
fn an_unsigned_order_event_is_a_hint() {
    let unsigned = connection(&[("webhook.scheme", "shared_header")]);
    let lied = with(order(), "/total", usd("0.01"));
    assert!(matches!(interpret(&unsigned, &lied), Interpreted::ReadAgain { .. }));
}

#[test]
fn statuses_are_read_in_any_case_and_by_the_merchants_table() {
    let status = |settings: &[(&str, &str)], text: &str| {
        about(&connection(settings), &with(order(), "/status", text.into())).0.status
    };
    for (theirs, ours) in super::super::settings::STATUS_IN {
        assert_eq!(status(&[], &theirs.to_uppercase()), ours);
    }
    let own = [("status_in.Wartet auf Übergabe", "processing"), ("status_in.Paid", "authorized")];
    assert_eq!(status(&own, "WARTET AUF ÜBERGABE"), OrderStatus::Processing);
    assert_eq!(status(&own, "paid"), OrderStatus::Authorized, "the merchant's word counts");
    assert_eq!(status(&own, "Shipped"), OrderStatus::Shipped);
}

#[test]
fn a_refund_request_keeps_its_id_and_a_coded_reason() {
    let refund = |data: Json| {
        Clarity.interpret(
            &connection(&[]),
            "order.refund_requested",
            doc("order.refund_requested", &data).json(),
        )
    };
    let data =
        json!({"orderId": "C-1", "refundId": "R-1", "amount": usd("5.00"), "reason": "Goods Returned"});
    let Ok(Interpreted::About { observation, .. }) = refund(data.clone()) else { panic!() };
    let [Fact::RefundRequested { id, amount, reason }] = &observation.facts[..] else { panic!() };
    assert_eq!((id.as_str(), amount.minor, reason.as_str()), ("R-1", 500, "goods_returned"));
    let told = with(data, "/reason", "canary is unhappy".into());
    assert!(format!("{:?}", refund(told).unwrap()).contains("\"other\""));
}

#[test]
fn other_events_are_unhandled_and_names_can_be_set() {
    let read = |settings: &[(&str, &str)], event_type: &str| {
        Clarity.interpret(&connection(settings), event_type, doc(event_type, &order()).json()).unwrap()
    };
    for event_type in ["inventory.updated", "order.exploded", "OrderCreated"] {
        assert_eq!(read(&[], event_type), Interpreted::Unhandled);
    }
    let named = [("events.order.created", "OrderCreated"), ("events.order.updated", "OrderChanged")];
    for event_type in ["OrderCreated", "OrderChanged", "order.updated"] {
        assert!(
            matches!(read(&named, event_type), Interpreted::About { .. }),
            "{event_type}: a sweep says ours"
        );
    }
}

#[test]
fn the_brand_of_the_card_behind_the_token_is_told_where_the_shop_says_it() {
    let brand = |brand: Json| {
        let data = with(order(), "/payment/cardBrand", brand);
        let Interpreted::About { observation, .. } = interpret(&connection(&[]), &data) else { panic!() };
        observation.facts.get(1).cloned()
    };
    let told = Fact::CardBrand { token: "tok_secret".into(), brand: "American Express".into() };
    assert_eq!(brand(json!("American Express")), Some(told));
    // What is no brand is not known, and no reason to refuse the order.
    for odd in [
        json!(null),
        json!(7),
        json!(""),
        json!("4111 1111 1111 1111 and more than a brand has"),
        json!("a@b.c"),
    ] {
        assert_eq!(brand(odd.clone()), None, "{odd}");
    }
}
