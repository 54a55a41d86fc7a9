//! Captures that have ids of their own, and money reserved by an attempt that failed.

use proptest::prelude::*;

use super::OrderState;
use crate::facts::{AuthorizationEnd, Fact, OrderSnapshot, OrderStatus, RefundStatus};
use crate::ids::{ConnectionName, OrderKey};
use crate::journal::{Role, TrialBalance};
use crate::money::{Currency, Money};
use crate::time::Timestamp;
use crate::value::Value;

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::parse("USD").unwrap())
}

fn order(total: i64, status: OrderStatus) -> Fact {
    Fact::Order(Box::new(OrderSnapshot {
        order_id: "A".into(),
        number: "1".into(),
        version: if status == OrderStatus::Cancelled { 2 } else { 1 },
        placed_at: None,
        status,
        total: usd(total),
        tax: 0,
        shipping: 0,
        lines: Vec::new(),
        shipments: Vec::new(),
        token: None,
        payment: None,
        gateway: None,
        guest: true,
        customer_ref: None,
        gateway_customer: None,
        test: false,
    }))
}
fn authorized(minor: i64) -> Fact {
    Fact::Authorized { payment: "p".into(), charge: "p".into(), amount: usd(minor), expires_at: None }
}
fn made(capture: &str, minor: i64) -> Fact {
    Fact::CaptureMade { payment: "p".into(), charge: "p".into(), capture: capture.into(), amount: usd(minor) }
}
fn failed() -> Fact {
    Fact::AttemptFailed {
        payment: "p".into(),
        attempt: "p".into(),
        code: "risk".into(),
        shopper_reason: "generic_decline".into(),
        soft: false,
    }
}
fn returned(refund: &str, minor: i64) -> Fact {
    Fact::Refund {
        refund: refund.into(),
        payment: "p".into(),
        amount: usd(minor),
        status: RefundStatus::Succeeded,
        moved: true,
        returned: false,
        request: None,
        of: None,
        undoes: None,
        resent: false,
    }
}

fn run(facts: &[Fact]) -> (OrderState, TrialBalance, Vec<&'static str>) {
    let mut state = OrderState::new(OrderKey::new("shop/A"), Timestamp(0));
    let (mut balance, mut codes) = (TrialBalance::default(), Vec::new());
    let mut ids = std::collections::BTreeSet::new();
    for fact in facts {
        let applied = state.apply(fact, &ConnectionName::new("gateway"), Timestamp(1));
        codes.extend(applied.contradictions.iter().map(|c| c.code));
        for entry in &applied.entries {
            assert!(ids.insert(entry.id.clone()), "{} booked twice", entry.id);
            balance.add(entry);
        }
    }
    (state, balance, codes)
}

proptest! {
    #[test]
    fn captures_with_ids_add_up_in_any_order_and_count_once(
        shuffled in Just(vec![authorized(100), made("c1", 60), made("c2", 30), made("c3", 10), made("c2", 30),
            order(100, OrderStatus::PendingPayment)]).prop_shuffle(),
    ) {
        let (state, balance, codes) = run(&shuffled);
        prop_assert!(codes.is_empty(), "{codes:?}");
        prop_assert_eq!((state.captured(), state.capturable(), state.project().0), (100, 0, OrderStatus::Paid));
        let dollars = Currency::parse("USD").unwrap();
        prop_assert_eq!(balance.of(Role::GatewayClearing, dollars), 100);
        prop_assert_eq!(balance.of(Role::Receivable, dollars), 0);
        let mut keys: Vec<String> = state.objects("capture", None).into_iter().map(|(key, _)| key).collect();
        prop_assert_eq!(state.object_keys("capture"), keys.clone());
        keys.sort();
        prop_assert_eq!(keys, ["c1", "c2", "c3"], "whatever came first");
        prop_assert!(["c1", "c2", "c3"].iter().all(|c| state.aliases().contains(*c)));
    }
}

#[test]
fn a_capture_that_changes_or_exceeds_what_was_reserved_goes_to_a_person() {
    let (state, _, codes) = run(&[authorized(100), made("c1", 60), made("c1", 50)]);
    assert_eq!((state.captured(), codes), (60, vec!["capture_amount_changed"]));
    let (state, _, codes) = run(&[authorized(100), made("c1", 60), made("c2", 60)]);
    assert_eq!((state.captured(), codes), (120, vec!["captured_above_authorized"]));
}

fn undone(capture: &str, minor: i64, resent: bool) -> Fact {
    Fact::Refund {
        refund: format!("v-{capture}"),
        payment: "p".into(),
        amount: usd(minor),
        status: RefundStatus::Succeeded,
        moved: true,
        returned: false,
        request: None,
        of: None,
        undoes: Some(capture.into()),
        resent,
    }
}

proptest! {
    /// A capture whose answer was lost, undone and sent again: the order is paid, whatever is heard of first.
    #[test]
    fn a_capture_that_was_undone_to_be_sent_again_counts_for_nothing(
        shuffled in Just(vec![undone("c1", 100, true), made("c1", 100), authorized(100),
            order(100, OrderStatus::PendingPayment)]).prop_shuffle(),
    ) {
        let again: Vec<Fact> = shuffled.into_iter().chain([made("c2", 100)]).collect();
        let (state, balance, codes) = run(&again);
        prop_assert!(codes.is_empty(), "{codes:?}");
        prop_assert_eq!((state.captured(), state.refunded(), state.capturable()), (100, 0, 0));
        prop_assert_eq!((state.project().0, state.overpaid(), state.short()), (OrderStatus::Paid, None, None));
        let dollars = Currency::parse("USD").unwrap();
        prop_assert_eq!((balance.of(Role::GatewayClearing, dollars), balance.of(Role::Receivable, dollars)), (100, 0));
        prop_assert_eq!(state.object_keys("capture"), ["c2"]);
        prop_assert_eq!((state.object_keys("refund").len(), state.objects("capture", None).len()), (0, 1));
    }
}

#[test]
fn what_a_void_undid_is_news_once_though_the_void_was_known() {
    let (mut state, _, _) = run(&[authorized(100), made("c1", 100), returned("v-c1", 100)]);
    let mut tell = |fact: &Fact| state.apply(fact, &ConnectionName::new("gateway"), Timestamp(2)).changed;
    assert!(tell(&undone("c1", 100, false)) && !tell(&undone("c1", 100, false)));
    // Of another amount it is a contradiction, and nothing else.
    assert!(!tell(&undone("c1", 90, false)));
}

#[test]
fn what_was_undone_may_be_taken_again_and_of_a_part_the_rest_may_still_be_taken() {
    let (state, _, codes) = run(&[authorized(100), made("c1", 40), undone("c1", 40, true), made("c2", 40)]);
    assert_eq!((state.captured(), state.capturable(), codes.len()), (40, 60, 0));
    // Where the gateway does not show why it was undone, it reads as a refund, and the order is paid all the same.
    let known = order(100, OrderStatus::PendingPayment);
    let facts = [known, authorized(100), made("c1", 100), undone("c1", 100, false), made("c2", 100)];
    let (state, _, codes) = run(&facts);
    assert_eq!((state.captured(), state.refunded(), codes.len()), (200, 100, 0));
    assert_eq!(state.project().0, OrderStatus::Paid);
    let (state, _, _) = run(&facts[..4]);
    assert_eq!(state.project().0, OrderStatus::Refunded);
    // A third one is too many.
    let (_, _, codes) =
        run(&[authorized(100), made("c1", 100), undone("c1", 100, true), made("c2", 100), made("c3", 1)]);
    assert_eq!(codes, ["captured_above_authorized"]);
}

#[test]
fn a_refund_finds_the_capture_that_can_give_it_and_takes_a_whole_one_first() {
    let ask = |minor| Fact::RefundRequested { id: "R".into(), amount: usd(minor), reason: "x".into() };
    let of = |minor, more: &[Fact]| {
        let mut facts = vec![authorized(100), made("c1", 60), made("c2", 40)];
        facts.extend_from_slice(more);
        facts.push(ask(minor));
        let (state, _, _) = run(&facts);
        let (_, view) = state.objects("refund_request", None).remove(0);
        let capture = view.at("capture").as_text().unwrap_or("").to_owned();
        (capture, view.at("whole") == &Value::Bool(true))
    };
    assert_eq!(of(40, &[]), ("c2".to_owned(), true));
    assert_eq!(of(60, &[]), ("c1".to_owned(), true));
    assert_eq!(of(50, &[]), ("c1".to_owned(), false));
    assert_eq!(of(80, &[]), (String::new(), false), "no capture alone holds it");
    assert_eq!(of(60, &[returned("r", 10)]), (String::new(), false));
    let served = |status| {
        let Fact::Refund { refund, payment, amount, moved, returned, .. } = returned("r", 40) else {
            panic!()
        };
        let request = Some("R".to_owned());
        let back = Fact::Refund {
            refund,
            payment,
            amount,
            status,
            moved,
            returned,
            request,
            of: None,
            undoes: None,
            resent: false,
        };
        let (state, _, _) = run(&[authorized(100), made("c2", 40), back, ask(40)]);
        state.objects("refund_request", None).remove(0).1.at("served") == &Value::Bool(true)
    };
    assert!(served(RefundStatus::Pending) && !served(RefundStatus::Failed));
}

#[test]
fn a_refund_is_charged_to_the_capture_it_was_made_at() {
    let at = |refund: &str, minor: i64, capture: Option<&str>| {
        let mut fact = returned(refund, minor);
        if let Fact::Refund { of, .. } = &mut fact {
            *of = capture.map(str::to_owned);
        }
        fact
    };
    let ask = Fact::RefundRequested { id: "R".into(), amount: usd(30), reason: "x".into() };
    let taken_of = |refunds: &[Fact]| {
        let mut facts = vec![authorized(100), made("c1", 40), made("c2", 60), ask.clone()];
        facts.extend_from_slice(refunds);
        let (state, _, _) = run(&facts);
        let (_, view) = state.objects("refund_request", None).remove(0);
        view.at("capture").as_text().unwrap_or("").to_owned()
    };
    // Both were made at the second, which has 10 left.
    assert_eq!(taken_of(&[at("r1", 30, Some("c2")), at("r2", 20, Some("c2"))]), "c1");
    assert_eq!(taken_of(&[at("r1", 30, Some("c1"))]), "c2");
    // Told of it later; and where it is never told, they count in turn.
    assert_eq!(taken_of(&[at("r1", 35, None), at("r1", 35, Some("c2"))]), "c1");
    assert_eq!(taken_of(&[at("r1", 35, None)]), "c2");
    assert_eq!(taken_of(&[at("r1", 35, Some("unheard-of"))]), "c2");
}

#[test]
fn a_whole_capture_says_so_until_something_of_it_went_back() {
    let whole = |facts: &[Fact]| {
        let (state, _, _) = run(facts);
        state
            .objects("capture", None)
            .iter()
            .map(|(_, c)| c.at("whole") == &Value::Bool(true))
            .collect::<Vec<_>>()
    };
    assert_eq!(whole(&[authorized(100), made("c1", 60), made("c2", 40)]), [true, true]);
    assert_eq!(whole(&[authorized(100), made("c1", 60), made("c2", 40), returned("r", 10)]), [false, true]);
}

#[test]
fn money_reserved_by_a_failed_attempt_is_never_captured_and_has_to_be_let_go() {
    for facts in [[authorized(100), failed()], [failed(), authorized(100)]] {
        let mut facts = facts.to_vec();
        facts.push(order(100, OrderStatus::PendingPayment));
        let (state, _, _) = run(&facts);
        assert_eq!((state.capturable(), state.has("authorized")), (0, false));
        assert_eq!(state.project(), (OrderStatus::PaymentFailed, "generic_decline".to_owned()));
        let (_, view) = state.objects("authorization", None).remove(0);
        assert_eq!(view.at("due").as_money(), Some(usd(0)));
        let (_, doomed) = state.objects("doomed_payment", None).remove(0);
        assert_eq!(doomed.at("held").as_money(), Some(usd(100)));
        let how = AuthorizationEnd::Voided;
        facts.push(Fact::AuthorizationEnded { payment: "p".into(), charge: "p".into(), how });
        facts.push(Fact::PaymentCancelled { payment: "p".into(), reason: "reversed".into() });
        let (state, _, _) = run(&facts);
        assert!(state.objects("doomed_payment", None).is_empty());
        assert_eq!(state.project(), (OrderStatus::PaymentFailed, "generic_decline".to_owned()));
    }
    // Another card pays afterwards; nothing of it is doomed.
    let other = |fact: Fact| match fact {
        Fact::Authorized { amount, .. } => {
            Fact::Authorized { payment: "q".into(), charge: "q".into(), amount, expires_at: None }
        }
        other => other,
    };
    let (state, _, _) = run(&[authorized(100), failed(), other(authorized(100))]);
    assert_eq!((state.capturable(), state.project().0), (100, OrderStatus::Authorized));
    let doomed: Vec<String> = state.objects("doomed_payment", None).into_iter().map(|(key, _)| key).collect();
    assert_eq!(doomed, ["p:100"]);
}

#[test]
fn a_dispute_that_names_a_capture_is_booked_at_its_payments_gateway() {
    let mut state = OrderState::new(OrderKey::new("shop/A"), Timestamp(0));
    let gateway = ConnectionName::new("gateway");
    for fact in [authorized(100), made("c1", 100)] {
        state.apply(&fact, &gateway, Timestamp(1));
    }
    let moved = Fact::DisputeMoved {
        dispute: "d".into(),
        payment: "c1".into(),
        txn: "t".into(),
        amount: usd(-100),
        fee: 0,
    };
    let applied = state.apply(&moved, &gateway, Timestamp(2));
    assert_eq!(applied.entries[0].connection, gateway);
    assert_eq!(state.disputed(), 100);
    // Of a payment nobody told of yet, it is the gateway's that tells of the dispute.
    let mut state = OrderState::new(OrderKey::new("shop/B"), Timestamp(0));
    let applied = state.apply(&moved, &gateway, Timestamp(2));
    assert_eq!(applied.entries[0].connection, gateway);
}
