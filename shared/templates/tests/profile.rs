//! The shipped flow of profiles, decided on fact by fact.

mod harness;

use harness::{Order, refused};
use tillway_core::facts::{CommandEnd, Fact};
use tillway_core::profile::CustomerSnapshot;
use tillway_core::value::Value;

fn profile() -> Order {
    let mut order = Order::new("cybersource-clarity/profile", "cybersource", &[]);
    let own = [("email", Value::text("a@example.com")), ("name", Value::text("A"))];
    order.personal = Value::map([("profile", Value::map(own))]);
    order
}
fn told(version: i64, digest: &str, pointer: &str) -> Fact {
    with(version, digest, pointer, None)
}
fn with(version: i64, digest: &str, pointer: &str, instrument: Option<&str>) -> Fact {
    Fact::Profile(Box::new(CustomerSnapshot {
        customer_id: "CU-1".into(),
        version,
        gateway_customer: Some(pointer.to_owned()).filter(|p| !p.is_empty()),
        instrument: instrument.map(str::to_owned),
        digest: digest.into(),
    }))
}
fn is(id: &str) -> [Fact; 1] {
    [Fact::Customer { id: id.into() }]
}
fn lost(id: &str) -> [Fact; 1] {
    [Fact::CustomerLost { id: id.into() }]
}
fn param(profile: &Order, step: &str, name: &str) -> String {
    profile.sent(step).params.at(name).as_text().unwrap_or("").to_owned()
}
/// One that was made, and whose id the shop keeps.
fn settled() -> Order {
    let mut profile = profile();
    profile.tell([told(1, "a", "")]);
    profile.done("ensure", is("T"));
    profile.done("reference", []);
    assert!(profile.tell([told(2, "a", "T")]).is_empty(), "the echo");
    profile
}

#[test]
fn one_is_made_and_its_id_written_back_and_the_echo_is_none() {
    let mut profile = profile();
    assert_eq!(profile.tell([told(1, "a", "")]), ["ensure/1"]);
    assert_eq!(param(&profile, "ensure", "email"), "a@example.com");
    assert_eq!(param(&profile, "ensure", "reference"), "CU-1");
    assert_eq!(profile.done("ensure", is("T")), ["reference/1"]);
    assert_eq!(param(&profile, "reference", "customer_id"), "CU-1");
    assert_eq!(param(&profile, "reference", "gateway_customer"), "T");
    assert!(profile.done("reference", []).is_empty());
    assert!(profile.tell([told(2, "a", "T")]).is_empty());
    assert!(profile.out.is_empty() && profile.parked().is_empty());
}

#[test]
fn a_change_brings_the_known_one_up_to_date_and_writes_nothing_back() {
    let mut profile = settled();
    assert_eq!(profile.tell([told(3, "b", "T")]), ["update/2"]);
    assert_eq!(param(&profile, "update", "customer"), "T");
    assert!(profile.done("update", is("T")).is_empty(), "neither made nor written back");
    assert!(profile.tell([told(2, "a", "T"), told(1, "a", "")]).is_empty(), "what is late");
}

#[test]
fn the_shops_pointer_is_asked_about_first() {
    let mut profile = profile();
    assert_eq!(profile.tell([told(1, "a", "T")]), ["update/1"]);
    assert!(profile.done("update", is("T")).is_empty(), "theirs, and the shop knows it");
    // Moved by the shop's staff.
    assert_eq!(profile.tell([told(2, "a", "U")]), ["update/2"]);
    assert_eq!(param(&profile, "update", "customer"), "U");
    assert!(profile.done("update", is("U")).is_empty());
    assert_eq!(profile.state.customer.as_deref(), Some("U"));
}

#[test]
fn one_that_is_gone_or_anothers_is_replaced_and_the_shop_told() {
    let mut profile = settled();
    profile.tell([told(3, "b", "T")]);
    assert_eq!(profile.done("update", lost("T")), ["ensure/2"]);
    assert_eq!(profile.done("ensure", is("U")), ["reference/2"]);
    assert_eq!(param(&profile, "reference", "gateway_customer"), "U");
    profile.done("reference", []);
    assert!(profile.tell([told(4, "b", "U")]).is_empty());
}

#[test]
fn a_change_waits_for_what_is_out_and_then_goes_through_all_steps() {
    let mut profile = profile();
    profile.tell([told(1, "a", "")]);
    assert!(profile.tell([told(2, "b", "")]).is_empty(), "the first one is being made");
    assert!(profile.tell([told(3, "c", "")]).is_empty());
    assert_eq!(profile.done("ensure", is("T")), ["update/3"], "only the newest");
    assert_eq!(profile.done("update", is("T")), ["reference/3"]);
    assert!(profile.done("reference", []).is_empty());
}

#[test]
fn a_pointer_the_shop_lost_is_written_back() {
    let mut profile = settled();
    assert_eq!(profile.tell([told(3, "a", "")]), ["update/2"]);
    assert_eq!(profile.done("update", is("T")), ["reference/2"]);
}

#[test]
fn an_instrument_waits_for_its_customer_and_is_attached_once() {
    let mut profile = profile();
    assert_eq!(profile.tell([with(1, "a", "", Some("7010"))]), ["ensure/1"]);
    assert_eq!(profile.done("ensure", is("T")), ["reference/1", "instrument/7010"]);
    assert_eq!(param(&profile, "instrument", "customer"), "T");
    assert_eq!(param(&profile, "instrument", "instrument"), "7010");
    profile.done("instrument", []);
    profile.done("reference", []);
    assert!(profile.tell([with(2, "a", "T", Some("7010"))]).is_empty());
}

#[test]
fn refusals_are_parked_and_the_next_change_goes_on() {
    let mut profile = profile();
    profile.tell([told(1, "a", "")]);
    assert!(profile.end("ensure", refused("invalidRequest"), []).is_empty());
    assert_eq!(profile.parked(), ["invalidRequest"]);
    assert_eq!(profile.tell([told(2, "b", "")]), ["ensure/2"]);
    let given_up = CommandEnd::Parked { code: "outcome_unknown".into() };
    profile.end("ensure", given_up, []);
    assert_eq!(profile.parked().len(), 2);
}
