//! The shipped Stripe flow, decided on fact by fact: what it sends, what it hands to a person.

mod harness;

use harness::{Order, cancelled, plain, refused, snapshot, usd};
use tillway_core::facts::{
    AuthorizationEnd, Fact, OrderStatus, RefundStatus, ReviewOutcome, Shipment, Unparked,
};
use tillway_core::money::{Currency, Money};
use tillway_core::time::Millis;
use tillway_core::value::Value;

/// An order whose payment Tillway makes.
fn tillway(options: &[(&str, &str)]) -> Order {
    Order::new("stripe-clarity", "stripe", options)
}

/// An order whose payment the shop makes.
fn follows(options: &[(&str, &str)]) -> Order {
    let mut all = vec![("initiates", "shop")];
    all.extend(options);
    tillway(&all)
}

/// A tillway order up to the attempt: the confirmation is on its way.
fn confirming(options: &[(&str, &str)], total: i64) -> Order {
    let mut order = tillway(options);
    order.tell([snapshot(1, usd(total), |o| o.token = Some("t1".into()))]);
    order.done("customer", [Fact::Customer { id: "cus".into() }]);
    order.done("payment", [payment(usd(total))]);
    assert!(order.is_out("confirm"));
    order
}

fn payment(amount: Money) -> Fact {
    Fact::Payment { payment: "pi".into(), amount }
}
fn authorized(amount: Money) -> Fact {
    Fact::Authorized { payment: "pi".into(), charge: "ch".into(), amount, expires_at: None }
}
fn captured(total: Money) -> Fact {
    Fact::Captured { payment: "pi".into(), charge: "ch".into(), total }
}
fn released() -> Fact {
    Fact::AuthorizationEnded { payment: "pi".into(), charge: "ch".into(), how: AuthorizationEnd::Released }
}
fn paid(amount: Money) -> [Fact; 3] {
    [payment(amount), authorized(amount), captured(amount)]
}
fn refund(id: &str, minor: i64, status: RefundStatus) -> Fact {
    Fact::Refund {
        refund: id.into(),
        payment: "pi".into(),
        amount: usd(minor),
        status,
        moved: true,
        returned: status == RefundStatus::Failed,
        request: None,
        of: None,
        undoes: None,
        resent: false,
    }
}
fn given(id: &str, minor: i64) -> Fact {
    refund(id, minor, RefundStatus::Succeeded)
}
fn failed(attempt: &str) -> Fact {
    Fact::AttemptFailed {
        payment: "pi".into(),
        attempt: attempt.into(),
        code: "card_declined".into(),
        shopper_reason: "card_declined".into(),
        soft: false,
    }
}

const LATER: Millis = Millis::mins(11);

#[test]
fn a_cancelled_order_gives_back_every_capture() {
    let mut order = follows(&[("capture", "manual")]);
    order.tell([plain(1, 100), payment(usd(100)), authorized(usd(100))]);
    order.tell([captured(usd(60))]);
    order.tell([captured(usd(100))]);
    // Ten went back in the dashboard before.
    order.tell([given("re_0", 10)]);
    order.tell([cancelled(2, 100)]);
    assert_eq!(order.money("refund-cancelled"), 50);
    order.done("refund-cancelled", [given("re_1", 50)]);
    assert_eq!(order.money("refund-cancelled"), 40, "the second capture is not forgotten");
    order.done("refund-cancelled", [given("re_2", 40)]);
    order.pass(LATER);
    assert_eq!((order.state.refunded(), order.is_out("refund-cancelled")), (100, false));
    assert!(order.parked().is_empty(), "{:?}", order.parked());
}

#[test]
fn a_cancelled_order_whose_money_is_not_refunded_is_parked() {
    let mut order = follows(&[("on_cancelled", "park")]);
    order.tell([plain(1, 100)].into_iter().chain(paid(usd(100))));
    order.tell([cancelled(2, 100)]);
    assert_eq!(order.parked(), ["cancelled_after_capture"]);
    assert!(!order.is_out("refund-cancelled"));
}

#[test]
fn a_total_lowered_while_the_confirmation_is_in_flight_is_refunded_or_parked() {
    for (option, sent, parked) in
        [("park", false, &["total_lowered_after_capture"][..]), ("refund", true, &[][..])]
    {
        let mut order = confirming(&[("on_total_lowered", option)], 100);
        order.tell([plain(2, 80)]);
        order.done("confirm", paid(usd(100)));
        assert_eq!(order.is_out("refund-lowered"), sent, "{option}");
        if sent {
            assert_eq!(order.money("refund-lowered"), 20);
            order.done("refund-lowered", [given("re", 20)]);
        }
        order.pass(LATER);
        assert_eq!(order.parked(), parked, "{option}");
        assert!(order.state.money_blocked().is_none());
    }
}

#[test]
fn a_total_lowered_before_a_followed_payment_is_known_is_refunded_or_parked() {
    for option in ["park", "refund"] {
        let mut order = follows(&[("on_total_lowered", option)]);
        order.tell([plain(1, 100)]);
        order.tell([plain(2, 80)]);
        order.tell(paid(usd(100)));
        assert_eq!(order.is_out("refund-lowered"), option == "refund");
        order.pass(LATER);
        assert_eq!(order.parked().is_empty(), option == "refund");
    }
}

#[test]
fn the_present_total_decides_and_not_the_one_in_between() {
    let mut order = confirming(&[("on_total_lowered", "refund")], 100);
    order.tell([plain(2, 50)]);
    order.tell([plain(3, 90)]);
    order.done("confirm", paid(usd(100)));
    assert_eq!(order.money("refund-lowered"), 10);
    // Lowered once more while the refund is on its way: only the rest is given back.
    order.tell([plain(4, 70)]);
    assert_eq!(order.out.iter().filter(|c| c.step.starts_with("refund-")).count(), 1);
    order.done("refund-lowered", [given("re_1", 10)]);
    assert_eq!(order.money("refund-lowered"), 20);
    order.done("refund-lowered", [given("re_2", 20)]);
    order.pass(LATER);
    assert!(order.parked().is_empty() && order.out.iter().all(|c| !c.money));
}

#[test]
fn a_refund_of_the_shop_makes_the_parking_needless() {
    let mut order = follows(&[]);
    order.tell([plain(1, 100)].into_iter().chain(paid(usd(100))));
    order.tell([plain(2, 80)]);
    order.tell([Fact::RefundRequested { id: "R1".into(), amount: usd(20), reason: "other".into() }]);
    order.done("refund-requested", [given("re", 20)]);
    order.pass(LATER);
    assert!(order.parked().is_empty());
}

#[test]
fn a_refund_of_a_lowered_total_that_comes_back_is_parked_and_not_sent_again() {
    let mut order = follows(&[("on_total_lowered", "refund")]);
    order.tell([plain(1, 100)].into_iter().chain(paid(usd(100))));
    order.tell([plain(2, 80)]);
    order.done("refund-lowered", [given("re", 20)]);
    order.tell([refund("re", 20, RefundStatus::Failed)]);
    order.pass(LATER);
    assert_eq!(order.parked(), ["total_lowered_after_capture"]);
    order.tell([plain(3, 75)]);
    assert_eq!(order.money("refund-lowered"), 5, "what came back is in a person's hands");
}

#[test]
fn two_payments_for_one_order_are_parked_and_never_refunded_alone() {
    let mut order = follows(&[("on_total_lowered", "refund")]);
    order.tell([plain(1, 100)].into_iter().chain(paid(usd(100))));
    order.tell([Fact::Captured { payment: "pi_2".into(), charge: "ch_2".into(), total: usd(100) }]);
    order.pass(LATER);
    assert_eq!(order.parked(), ["captured_above_total"]);
    assert!(!order.is_out("refund-lowered"));
}

#[test]
fn a_new_amount_that_is_refused_keeps_the_old_one_from_being_charged() {
    let mut order = tillway(&[]);
    order.tell([snapshot(1, usd(100), |o| o.token = Some("t1".into()))]);
    order.done("customer", [Fact::Customer { id: "cus".into() }]);
    order.tell([plain(2, 10)]);
    order.done("payment", [payment(usd(100))]);
    assert!(order.is_out("new-amount") && !order.is_out("confirm"));
    order.end("new-amount", refused("amount_too_small"), []);
    assert!(!order.is_out("confirm"));
    assert_eq!(order.parked(), ["must_not_run"]);
    // The shop mends the order, the amount is changed, a person lets the attempt run.
    let item = order.state.parked.keys().next().unwrap().clone();
    order.tell([plain(3, 90), Fact::Unparked { id: item, how: Unparked::Replayed { by: "me".into() } }]);
    order.done("new-amount", [payment(usd(90))]);
    assert!(order.is_out("confirm") && order.parked().is_empty());
}

#[test]
fn a_payment_of_less_than_the_total_is_not_paid_and_is_parked() {
    let mut order = follows(&[]);
    order.tell([plain(1, 4712)]);
    order.tell(paid(usd(100)));
    assert_eq!(order.state.status, OrderStatus::PartiallyPaid);
    assert!(order.parked().is_empty(), "the order may be on its way");
    order.pass(LATER);
    assert_eq!(order.parked(), ["authorized_less_than_total"]);
    assert!(order.state.money_blocked().is_none());

    // The payment overtakes its order.
    let mut order = follows(&[]);
    order.tell(paid(usd(100)));
    order.tell([plain(1, 4712)]);
    order.pass(LATER);
    assert_eq!(order.parked(), ["authorized_less_than_total"]);

    // The order's change overtakes nothing for long.
    let mut order = follows(&[]);
    order.tell([plain(1, 4712)]);
    order.tell(paid(usd(100)));
    order.pass(Millis::mins(5));
    order.tell([plain(2, 100)]);
    order.pass(LATER);
    assert!(order.parked().is_empty());
    assert_eq!(order.state.status, OrderStatus::Paid);
}

#[test]
fn a_total_raised_while_the_payment_is_made_or_after_it_is_parked_once() {
    let mut order = confirming(&[], 100);
    order.tell([plain(2, 120)]);
    order.done("confirm", paid(usd(100)));
    assert_eq!(order.parked(), ["total_raised_after_payment"]);
    order.pass(LATER);
    assert_eq!(order.parked().len(), 1);

    let mut order = follows(&[]);
    order.tell([plain(1, 100)].into_iter().chain(paid(usd(100))));
    order.tell([plain(2, 120)]);
    order.pass(LATER);
    assert_eq!((order.parked(), order.state.status), (vec!["total_raised_after_payment"], OrderStatus::Paid));
}

#[test]
fn shipments_in_parts_are_waited_for_and_what_was_let_go_is_missed_at_the_end() {
    let ship = |version, pieces: i64, status| {
        snapshot(version, usd(100), |o| {
            o.status = status;
            o.shipments = vec![Shipment { id: "S1".into(), lines: vec![("1".into(), pieces.into())] }];
        })
    };
    let mut order = follows(&[("capture", "shipment")]);
    order.tell([plain(1, 100), payment(usd(100)), authorized(usd(100))]);
    order.tell([ship(2, 1, OrderStatus::Processing)]);
    assert_eq!(order.money("capture-shipment"), 25);
    // One capture is all this account may make: the rest is let go.
    order.done("capture-shipment", [captured(usd(25)), released()]);
    order.pass(Millis::days(8));
    assert!(order.parked().is_empty(), "{:?}", order.parked());
    order.tell([ship(3, 4, OrderStatus::Shipped)]);
    order.pass(LATER);
    assert_eq!(order.parked(), ["captured_less_than_total"]);
}

#[test]
fn a_payment_in_another_currency_pays_nothing_and_holds_money_back() {
    let jpy = Money::new(4712, Currency::parse("JPY").unwrap());
    for order_first in [true, false] {
        let mut order = follows(&[]);
        if order_first {
            order.tell([plain(1, 4712)]);
        }
        order.tell(paid(jpy));
        if !order_first {
            order.tell([plain(1, 4712)]);
        }
        assert_eq!(order.state.status, OrderStatus::PendingPayment);
        assert_eq!(order.parked(), ["currency_differs"]);
        assert!(order.state.money_blocked().is_some());
        assert_eq!(order.state.captured(), 0);
    }
}

#[test]
fn a_refund_in_another_currency_than_the_payment_is_parked_before_anything_is_sent() {
    let mut order = follows(&[]);
    order.tell([plain(1, 4712)].into_iter().chain(paid(usd(4712))));
    let eur = Money::new(100, Currency::parse("EUR").unwrap());
    order.tell([Fact::RefundRequested { id: "R".into(), amount: eur, reason: "other".into() }]);
    assert!(!order.is_out("refund-requested"));
    assert_eq!(order.parked(), ["currency_differs"]);
    assert_eq!(order.state.parked.values().next().unwrap().field.as_deref(), Some("amount"));
}

#[test]
fn a_refused_confirmation_is_parked_and_a_decline_is_open_for_the_next_card() {
    let mut order = confirming(&[], 100);
    order.end("confirm", refused("parameter_missing"), []);
    assert_eq!(
        (order.parked(), order.state.status),
        (vec!["parameter_missing"], OrderStatus::PendingPayment)
    );

    let mut order = confirming(&[], 100);
    order.end("confirm", refused("card_declined"), [failed("ch_0")]);
    assert!(order.parked().is_empty());
    assert_eq!(order.state.status, OrderStatus::PaymentFailed);
    order.tell([snapshot(2, usd(100), |o| o.token = Some("t2".into()))]);
    assert!(order.is_out("confirm"), "another card");

    // The decline was heard of by webhook before its answer came.
    let mut order = confirming(&[], 100);
    order.tell([failed("ch_0")]);
    order.end("confirm", refused("card_declined"), [failed("ch_0")]);
    assert!(order.parked().is_empty());
}

#[test]
fn a_customer_is_told_of_a_decline_whoever_made_the_payment() {
    let mut order = follows(&[]);
    order.tell([payment(usd(100)), failed("ch_0")]);
    assert!(!order.is_out("decline-customer"), "nobody is known yet");
    order.tell([plain(1, 100)]);
    assert!(order.is_out("decline-customer") && order.is_out("decline-staff"));
    let mut order = follows(&[("notify_customer", "no")]);
    order.tell([plain(1, 100), payment(usd(100)), failed("ch_0")]);
    assert!(!order.is_out("decline-customer") && order.is_out("decline-staff"));
}

#[test]
fn a_payment_a_review_refused_is_cancelled_as_fraudulent() {
    let reason = |order: &Order| {
        order.sent("void").params.get("reason").and_then(Value::as_text).map(str::to_owned).unwrap()
    };
    let mut order = follows(&[]);
    order.tell([plain(1, 100), payment(usd(100)), authorized(usd(100))]);
    order.done("capture-now", []);
    let review =
        Fact::ReviewClosed { review: "prv".into(), payment: "pi".into(), outcome: ReviewOutcome::Rejected };
    order.tell([review]);
    assert_eq!(reason(&order), "fraudulent");
    let mut order = follows(&[("capture", "manual")]);
    order.tell([plain(1, 100), payment(usd(100)), authorized(usd(100))]);
    order.tell([cancelled(2, 100)]);
    assert_eq!(reason(&order), "requested_by_customer");
}

#[test]
fn a_cardholder_without_an_address_to_go_to_is_handed_to_a_person() {
    let action = || [Fact::ActionRequired { payment: "pi".into(), attempt: "pi:t1".into() }];
    let mut order = confirming(&[], 100);
    order.done("confirm", action());
    assert!(!order.is_out("next-action"));
    assert_eq!(order.parked(), ["action_without_link"]);
    let mut order = confirming(&[], 100);
    let url = Value::map([("url", Value::text("https://bank.example/3ds"))]);
    let Value::Map(personal) = &mut order.personal else { unreachable!() };
    personal.insert("action".into(), url);
    order.done("confirm", action());
    assert!(order.is_out("next-action") && order.parked().is_empty());
}
