//! Customers: what their events mean, reading them, sweeping them, and the pointer that is written back.

use serde_json::{Value as Json, json};
use tillway_core::facts::Fact;
use tillway_core::http::Response;
use tillway_core::ids::CommandId;
use tillway_core::profile::CustomerSnapshot;
use tillway_core::time::{Millis, Timestamp};

use super::{Clarity, Shop, act, api_secrets, assert_clean, call, connection, doc, now, params, text, with};
use crate::config::Connection;
use crate::port::{Connector, Interpreted, Observation, Outcome, Owner, Rejected};

fn customer() -> Json {
    json!({"customerId": "CU-1", "email": " Canary@Example.com ", "firstName": "Kanarie", "lastName": "Vogel",
        "company": "canary ltd", "phone": "+canary", "addresses": [{"street1": "canary street 1"}],
        "externalIds": {"cybersource_customer": "T1", "cybersource_instrument": "7010000000016242222", "crm": "canary"},
        "updatedAt": "2026-11-21T07:30:00.250Z"})
}

fn shop() -> Connection {
    connection(&[
        ("auth", "api_key"),
        ("gateway_external_id", "cybersource_customer"),
        ("gateway_instrument_id", "cybersource_instrument"),
    ])
}

fn interpret(connection: &Connection, data: &Json) -> Result<Interpreted, Rejected> {
    Clarity.interpret(connection, "customer.updated", doc("customer.updated", data).json())
}

fn told(data: &Json) -> (CustomerSnapshot, Observation, String) {
    let Ok(Interpreted::About { owner, observation, person }) = interpret(&shop(), data) else { panic!() };
    assert_eq!(owner, Owner::Customer { id: "CU-1".into() });
    let [Fact::Profile(snapshot)] = &observation.facts[..] else { panic!() };
    (*snapshot.clone(), observation, person.unwrap().expose().to_owned())
}

#[test]
fn a_customer_becomes_a_snapshot_of_ids_and_sealed_personal_data_that_a_gateway_needs() {
    let (snapshot, observation, person) = told(&customer());
    assert_eq!((snapshot.customer_id.as_str(), snapshot.digest.as_str()), ("CU-1", ""));
    assert_eq!(Timestamp(snapshot.version).rfc3339(), "2026-11-21T07:30:00.250Z");
    assert_eq!(snapshot.gateway_customer.as_deref(), Some("T1"));
    assert_eq!(snapshot.instrument.as_deref(), Some("7010000000016242222"));
    assert_eq!(person, "mail:canary@example.com", "as an order of theirs says it");
    let personal = |path| observation.personal.at(path).as_text();
    assert_eq!(personal("profile.email"), Some("Canary@Example.com"));
    assert_eq!(personal("profile.name"), Some("Kanarie Vogel"));
    let all = serde_json::to_string(&observation.personal).unwrap();
    assert!(!all.contains("street") && !all.contains("ltd") && !all.contains('+'), "no more than is used");
    assert_clean(&serde_json::to_string(&observation.facts).unwrap());
    assert_clean(&format!("{:?}", interpret(&shop(), &customer()).unwrap()));

    let nameless = told(&json!({"customerId": "CU-1", "updatedAt": "2026-11-21T07:30:00Z"}));
    assert_eq!(nameless.2, "ref:CU-1");
    assert!(nameless.1.personal.at("profile.email").is_empty());
    assert!(!nameless.1.personal.is_empty(), "it takes the place of what was known");
    // Without its setting no instrument is read.
    let plain = interpret(&connection(&[]), &customer()).unwrap();
    let Interpreted::About { observation, .. } = plain else { panic!() };
    assert!(matches!(&observation.facts[..], [Fact::Profile(c)] if c.instrument.is_none()));
}

#[test]
fn what_is_no_proof_or_no_version_is_read_again_and_a_fault_is_named() {
    let again = |connection: &Connection, data: &Json| match interpret(connection, data).unwrap() {
        Interpreted::ReadAgain { owner, action, .. } => (owner, action),
        other => panic!("{other:?}"),
    };
    let expected = (Owner::Customer { id: "CU-1".into() }, "clarity.read_customer");
    let unsigned = connection(&[("webhook.scheme", "shared_header")]);
    assert_eq!(again(&unsigned, &customer()), expected);
    assert_eq!(again(&shop(), &with(customer(), "/updatedAt", Json::Null)), expected);
    for (data, field, id) in [
        (with(customer(), "/customerId", Json::Null), "data.customerId", ""),
        (with(customer(), "/email", json!(["canary"])), "data.email", "CU-1"),
        (with(customer(), "/updatedAt", "yesterday".into()), "data.updatedAt", "CU-1"),
        (
            with(customer(), "/externalIds/cybersource_instrument", "4111111111111111".into()),
            "data.externalIds.cybersource_instrument",
            "CU-1",
        ),
    ] {
        let rejected = interpret(&shop(), &data).unwrap_err();
        assert_eq!((rejected.field.as_str(), rejected.owner), (field, Owner::Customer { id: id.into() }));
        assert_clean(&rejected.what);
    }
}

#[tokio::test]
async fn a_customer_is_read_again() {
    let read = async |answer: &Json| {
        let shop_side = Shop::new([Ok(Response::json(200, answer))]);
        act(&shop_side, &shop(), "clarity.read_customer", &params(&[("customer_id", text("CU-1"))])).await
    };
    let Outcome::Settled { observation, .. } = read(&customer()).await else { panic!() };
    assert!(
        matches!(&observation.facts[..], [Fact::Profile(c)] if c.gateway_customer.as_deref() == Some("T1"))
    );
    assert_eq!(observation.personal.at("profile.last_name").as_text(), Some("Vogel"));
    let outcome = read(&with(customer(), "/updatedAt", Json::Null)).await;
    assert!(matches!(outcome, Outcome::Refused { code, .. } if code == "version_missing"));
    let outcome = read(&with(customer(), "/customerId", "CU-2".into())).await;
    assert!(matches!(outcome, Outcome::Disagrees { field, .. } if field == "customerId"));
}

#[tokio::test]
async fn the_gateways_customer_is_written_under_the_name_the_shop_is_set_to() {
    for (name, connection) in [("cybersource_customer", shop()), ("stripe_customer", connection(&[]))] {
        let before = with(customer(), "/externalIds", json!({"crm": "K1"}));
        let after = with(customer(), &format!("/externalIds/{name}"), "T2".into());
        let shop_side = Shop::new([Ok(Response::json(200, &before)), Ok(Response::json(200, &after))]);
        let params = params(&[("customer_id", text("CU-1")), ("gateway_customer", text("T2"))]);
        let outcome = act(&shop_side, &connection, "clarity.update_customer", &params).await;
        assert!(matches!(outcome, Outcome::Settled { .. }), "{outcome:?}");
        assert_eq!(shop_side.body(1), json!({"externalIds": {name: "T2"}}));
    }
}

#[tokio::test]
async fn customers_are_swept_by_what_changed_and_named_apart_from_orders() {
    let list = json!({"items": [customer()], "totalCount": 1});
    let shop_side = Shop::new([Ok(Response::json(200, &list))]);
    let (connection, secrets, command) = (shop(), api_secrets(), CommandId::new("sweep"));
    let call = call(&shop_side, &connection, &secrets, None, "sweep", &command, &[]);
    let page = Clarity.sweep_customers(call, now() - Millis::hours(1), None).await.unwrap();
    assert!(page.next.is_none());
    let asked = &shop_side.asked()[0];
    assert_eq!(asked.path(), "/api/v1/customers");
    assert!(asked.url.contains("updatedSince=2026-11-21T07%3A00%3A00"), "{}", asked.url);
    let [event] = &page.events[..] else { panic!() };
    let version = told(&customer()).0.version;
    assert_eq!(event.event_id, format!("sweep-customer:CU-1:{version}"));
    assert_eq!((event.event_type.as_str(), event.group.as_str()), ("customer.updated", "CU-1"));
    let read = Clarity.interpret_read(&connection, &event.event_type, event.body.json()).unwrap();
    assert_eq!(read, interpret(&connection, &customer()).unwrap());
}

#[tokio::test]
async fn a_shop_that_does_not_show_its_customers_is_told_of_once_a_day_and_swept_all_the_same() {
    let shop_side = Shop::new([Ok(Response::json(403, &json!({"code": "scope_missing"})))]);
    let (connection, secrets, command) = (shop(), api_secrets(), CommandId::new("sweep"));
    let call = call(&shop_side, &connection, &secrets, None, "sweep", &command, &[]);
    let page = Clarity.sweep_customers(call, now() - Millis::hours(1), None).await.unwrap();
    let [event] = &page.events[..] else { panic!() };
    assert_eq!((page.next, event.event_id.as_str()), (None, "tillway.customers_unreadable:2026-11-21"));
    let read = Clarity.interpret_read(&connection, &event.event_type, event.body.json()).unwrap_err();
    assert_eq!((read.code.as_str(), read.field.as_str()), ("customers_unreadable", "paths.customers"));
    assert!(read.what.contains("403"), "{}", read.what);
    // Out of order is something else: the window comes again.
    let shop_side = Shop::new([Ok(Response::new(503))]);
    let call = super::call(&shop_side, &connection, &secrets, None, "sweep", &command, &[]);
    let failed = Clarity.sweep_customers(call, now(), None).await.err();
    assert_eq!(failed, Some(crate::port::NotDone::Unavailable));
}
