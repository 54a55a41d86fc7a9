//! A customer's versions in any order, and which of them matter.

use super::*;
use crate::facts::Fact;
use crate::ids::OrderKey;
use crate::time::Timestamp;

fn told(version: i64, digest: &str, pointer: Option<&str>) -> Fact {
    Fact::Profile(Box::new(CustomerSnapshot {
        customer_id: "CU-1".into(),
        version,
        gateway_customer: pointer.map(str::to_owned),
        instrument: None,
        digest: digest.into(),
    }))
}

fn state(facts: &[Fact]) -> OrderState {
    let mut state = OrderState::new(OrderKey::of_customer(&"shop".into(), "CU-1"), Timestamp(0));
    for fact in facts {
        state.apply(fact, &"shop".into(), Timestamp(1));
    }
    state
}

fn seq(state: &OrderState) -> u32 {
    state.profile.as_ref().map_or(0, |p| p.seq)
}

fn customer(id: &str) -> Fact {
    Fact::Customer { id: id.into() }
}

#[test]
fn an_older_version_never_replaces_a_newer_one_and_repeating_one_changes_nothing() {
    let mut one = state(&[told(1, "a", None), told(3, "c", None)]);
    let other = state(&[told(3, "c", None), told(1, "a", None)]);
    assert_eq!(one.profile.as_ref().unwrap().snapshot, other.profile.as_ref().unwrap().snapshot);
    for old in [told(1, "a", None), told(2, "b", None), told(3, "c", None)] {
        assert!(!one.apply(&old, &"shop".into(), Timestamp(2)).changed);
    }
    assert_eq!(one.profile.unwrap().snapshot.digest, "c");
}

#[test]
fn an_echo_is_a_newer_version_and_no_change_that_matters() {
    let written = [told(1, "a", None), customer("T")];
    assert_eq!(seq(&state(&written)), 1);
    let mut echoed = state(&written);
    assert!(
        echoed.apply(&told(2, "a", Some("T")), &"shop".into(), Timestamp(2)).changed,
        "the version counts"
    );
    assert_eq!((seq(&echoed), echoed.customer.as_deref()), (1, Some("T")));
    // Stored, so that what was said between the two and comes late is known to be older.
    assert!(!echoed.apply(&told(1, "b", None), &"shop".into(), Timestamp(3)).changed);
}

#[test]
fn a_new_e_mail_another_pointer_and_a_lost_pointer_matter() {
    let before = || state(&[told(1, "a", None), customer("T"), told(2, "a", Some("T"))]);
    for (change, customer) in [
        (told(3, "b", Some("T")), Some("T")),
        // The shop's pointer goes first: what was known is asked about anew.
        (told(3, "a", Some("U")), None),
        (told(3, "a", None), Some("T")),
    ] {
        let mut state = before();
        state.apply(&change, &"shop".into(), Timestamp(3));
        assert_eq!((seq(&state), state.customer.as_deref()), (2, customer), "{change:?}");
    }
}

#[test]
fn within_one_second_another_content_counts_and_a_repeated_one_does_not() {
    let mut state = state(&[told(1, "a", None), told(1, "b", None)]);
    assert_eq!((seq(&state), state.profile.as_ref().unwrap().snapshot.digest.as_str()), (2, "b"));
    assert!(!state.apply(&told(1, "a", None), &"shop".into(), Timestamp(2)).changed, "a redelivery");
    assert_eq!(seq(&state), 2);
}

#[test]
fn a_customer_that_is_gone_makes_room_and_another_ones_loss_does_not() {
    let mut state = state(&[told(1, "a", None), customer("T")]);
    let lose = |state: &mut OrderState, id: &str| {
        state.apply(&Fact::CustomerLost { id: id.into() }, &"gate".into(), Timestamp(2)).changed
    };
    assert!(lose(&mut state, "U") && state.customer.as_deref() == Some("T"));
    assert!(lose(&mut state, "T") && state.customer.is_none());
    assert!(!lose(&mut state, "T"));
    state.apply(&customer("U"), &"gate".into(), Timestamp(3));
    assert_eq!(state.customer.as_deref(), Some("U"));
    assert_eq!(state.lost_customers, ["T".to_owned()].into(), "the other is there after all");
}
