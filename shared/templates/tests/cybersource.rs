//! The shipped Cybersource flow, decided on fact by fact: what it sends, what it hands to a person.

mod harness;

use harness::{Order, cancelled, plain, refused, snapshot, usd};
use tillway_core::facts::{
    AuthorizationEnd, CommandEnd, Fact, OrderStatus, RefundStatus, ReviewOutcome, Shipment, StepState,
    Unparked,
};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

fn order(options: &[(&str, &str)]) -> Order {
    Order::new("cybersource-clarity", "cybersource", options)
}
/// An order that came in with a token: its authorization is on its way.
fn paying(options: &[(&str, &str)], total: i64) -> Order {
    let mut order = order(options);
    order.tell([snapshot(1, usd(total), |o| o.token = Some("t1".into()))]);
    assert!(order.is_out("authorize"));
    order
}
fn payment(minor: i64) -> Fact {
    Fact::Payment { payment: "p".into(), amount: usd(minor) }
}
fn reserved(minor: i64) -> [Fact; 2] {
    let expires_at = Some(Timestamp(0) + Millis::days(7));
    [
        payment(minor),
        Fact::Authorized { payment: "p".into(), charge: "p".into(), amount: usd(minor), expires_at },
    ]
}
fn made(capture: &str, minor: i64) -> Fact {
    Fact::CaptureMade { payment: "p".into(), charge: "p".into(), capture: capture.into(), amount: usd(minor) }
}
fn held() -> Fact {
    Fact::ReviewOpened { review: "p".into(), payment: "p".into() }
}
fn decided(outcome: ReviewOutcome) -> Fact {
    Fact::ReviewClosed { review: "p".into(), payment: "p".into(), outcome }
}
fn let_go() -> [Fact; 2] {
    let how = AuthorizationEnd::Voided;
    [
        Fact::AuthorizationEnded { payment: "p".into(), charge: "p".into(), how },
        Fact::PaymentCancelled { payment: "p".into(), reason: "reversed".into() },
    ]
}
fn failed(payment: &str, code: &str) -> Fact {
    Fact::AttemptFailed {
        payment: payment.into(),
        attempt: payment.into(),
        code: code.into(),
        shopper_reason: "generic_decline".into(),
        soft: false,
    }
}
fn back(id: &str, minor: i64, request: &str) -> Fact {
    Fact::Refund {
        refund: id.into(),
        payment: "p".into(),
        amount: usd(minor),
        status: RefundStatus::Succeeded,
        moved: true,
        returned: false,
        request: Some(request.into()),
        of: None,
        undoes: None,
        resent: false,
    }
}
fn param(order: &Order, step: &str, name: &str) -> String {
    order.sent(step).params.at(name).as_text().unwrap_or("").to_owned()
}

const LATER: Millis = Millis::mins(11);

#[test]
fn a_reusable_token_is_kept_with_the_persons_customer_and_only_where_nothing_is_held() {
    let token = || Fact::Instrument { id: "7010".into() };
    let mut kept = paying(&[], 100);
    kept.done("authorize", reserved(100).into_iter().chain([token()]));
    assert!(kept.is_out("capture-now") && kept.is_out("customer"));
    assert_eq!(param(&kept, "customer", "email"), "a@example.com");
    assert_eq!(kept.done("customer", []), ["keep-instrument/7010"]);
    assert_eq!(param(&kept, "keep-instrument", "instrument"), "7010");
    let mut looked_at = paying(&[], 100);
    looked_at.done("authorize", reserved(100).into_iter().chain([token(), held()]));
    assert!(!looked_at.is_out("customer"), "a person looks at it first");
    looked_at.tell([decided(ReviewOutcome::Approved)]);
    assert!(looked_at.is_out("customer"));
    // Without a reusable token nothing more is sent than ever.
    let mut plain = paying(&[], 100);
    plain.done("authorize", reserved(100));
    assert!(!plain.is_out("customer") && plain.is_out("capture-now"));
}

#[test]
fn an_order_with_a_token_is_authorized_captured_and_told_as_payment_received() {
    let mut order = paying(&[], 100);
    assert_eq!((order.money("authorize"), param(&order, "authorize", "token").as_str()), (100, "t1"));
    assert_eq!(param(&order, "authorize", "order_id"), "A");
    order.done("authorize", reserved(100));
    assert_eq!(order.money("capture-now"), 100);
    assert_eq!(order.sent("capture-now").params.at("look"), &Value::Bool(false));
    order.done("capture-now", [made("c1", 100)]);
    order.done("status", []);
    assert_eq!(param(&order, "status", "status"), "Payment Received");
    assert_eq!(order.state.status, OrderStatus::Paid);
    order.pass(LATER);
    assert!(order.parked().is_empty() && !order.is_out("release"));
}

#[test]
fn personal_data_and_addresses_go_into_the_authorization_in_their_places() {
    let mut order = order(&[]);
    let text = |t: &str| Value::text(t);
    let address = |line: &str| {
        let company = format!("Ruiz {line}");
        let fields = [("name", text("Ana Maria Ruiz")), ("line1", text(line)), ("country", text("US"))];
        Value::map(fields.into_iter().chain([("company", Value::text(company))]))
    };
    let customer = Value::map([("email", text("ana@example.com"))]);
    let parts =
        [("customer", customer), ("bill_to", address("1 Main St")), ("ship_to", address("2 Side St"))];
    order.personal = Value::map([("order", Value::map(parts))]);
    order.tell([snapshot(1, usd(100), |o| o.token = Some("t1".into()))]);
    let get = |name: &str| param(&order, "authorize", name);
    assert_eq!((get("bill_to.first_name"), get("bill_to.last_name")), ("Ana".into(), "Maria Ruiz".into()));
    assert_eq!((get("bill_to.email"), get("ship_to.line1")), ("ana@example.com".into(), "2 Side St".into()));
    assert_eq!(get("bill_to.company"), "Ruiz 1 Main St");
    assert_eq!(get("ship_to.company"), "Ruiz 2 Side St");
    assert!(order.sent("authorize").personal && order.sent("authorize").money);
}

#[test]
fn a_refund_that_stays_open_is_looked_at_once_for_its_refusal_may_be_told_by_a_lost_webhook() {
    let open = |status: RefundStatus| {
        let mut fact = back("r", 40, "x");
        if let Fact::Refund { status: told, returned, .. } = &mut fact {
            (*told, *returned) = (status, status == RefundStatus::Failed);
        }
        fact
    };
    let mut order = paying(&[], 100);
    order.done("authorize", reserved(100));
    order.done("capture-now", [made("c1", 100)]);
    order.tell([open(RefundStatus::Pending)]);
    order.pass(Millis::days(2));
    assert!(!order.is_out("refund-read"), "its batch may not have been answered");
    order.pass(Millis::days(2));
    assert_eq!(
        (param(&order, "refund-read", "order_id"), param(&order, "refund-read", "object")),
        ("A".into(), "r".into())
    );
    order.done("refund-read", [open(RefundStatus::Failed)]);
    assert!(order.is_out("refund-failed-staff") && order.state.status == OrderStatus::Paid);
    // One that went through is not looked at.
    let mut fine = paying(&[], 100);
    fine.done("authorize", reserved(100));
    fine.done("capture-now", [made("c1", 100)]);
    fine.tell([open(RefundStatus::Pending), open(RefundStatus::Succeeded)]);
    fine.pass(Millis::days(4));
    assert!(!fine.is_out("refund-read"));
}

#[test]
fn a_decline_tells_the_customer_and_another_card_may_pay() {
    let mut order = paying(&[], 100);
    order.end("authorize", refused("INSUFFICIENT_FUND"), [payment(100), failed("p", "INSUFFICIENT_FUND")]);
    assert!(order.is_out("decline-customer") && order.is_out("decline-staff") && order.parked().is_empty());
    assert_eq!(order.state.status, OrderStatus::PaymentFailed);
    assert!(!order.is_out("release"), "nothing is reserved");
    order.tell([snapshot(2, usd(100), |o| o.token = Some("t2".into()))]);
    assert_eq!(param(&order, "authorize", "token"), "t2");
    let authorized =
        Fact::Authorized { payment: "q".into(), charge: "q".into(), amount: usd(100), expires_at: None };
    order.done("authorize", [authorized]);
    assert_eq!(param(&order, "capture-now", "payment"), "q");
}

#[test]
fn a_refusal_that_is_no_decline_goes_to_a_person() {
    let mut order = paying(&[], 100);
    order.end("authorize", refused("INVALID_MERCHANT_CONFIGURATION"), []);
    assert_eq!(order.parked(), ["INVALID_MERCHANT_CONFIGURATION"]);
}

#[test]
fn a_risk_decline_after_the_banks_approval_is_reversed_and_never_captured() {
    let mut order = paying(&[], 100);
    let told = reserved(100).into_iter().chain([failed("p", "DECISION_PROFILE_REJECT")]);
    order.end("authorize", refused("DECISION_PROFILE_REJECT"), told);
    assert!(!order.is_out("capture-now") && order.is_out("decline-customer"));
    assert_eq!((order.money("release"), param(&order, "release", "payment").as_str()), (100, "p"));
    assert_eq!(param(&order, "release", "reason"), "payment refused");
    order.done("release", let_go());
    order.pass(Millis::days(8));
    assert_eq!(order.state.status, OrderStatus::PaymentFailed);
    assert!(order.parked().is_empty() && !order.is_out("expiring") && !order.is_out("capture-now"));
    // Another card pays.
    order.tell([snapshot(2, usd(100), |o| o.token = Some("t2".into()))]);
    assert!(order.is_out("authorize"));
}

#[test]
fn a_hold_that_cannot_be_let_go_is_shown() {
    let mut order = paying(&[], 100);
    let told = reserved(100).into_iter().chain([failed("p", "DECISION_PROFILE_REJECT")]);
    order.end("authorize", refused("DECISION_PROFILE_REJECT"), told);
    order.end("release", refused("NOT_SUPPORTED"), []);
    assert_eq!(order.parked(), ["hold_not_released"]);
    assert!(order.state.money_blocked().is_none());
}

#[test]
fn a_review_holds_the_order_opens_a_case_and_acceptance_goes_on() {
    let mut order = paying(&[], 100);
    order.done("authorize", reserved(100).into_iter().chain([held()]));
    assert!(order.is_out("case-shop") && order.is_out("case-staff") && !order.is_out("capture-now"));
    assert_eq!(param(&order, "case-shop", "external_ids.cybersource_case"), "p");
    assert_eq!(param(&order, "case-staff", "template"), "fraud-case.staff");
    assert_eq!(
        (order.state.status, param(&order, "status", "status").as_str()),
        (OrderStatus::OnHold, "On Hold")
    );
    order.tell([decided(ReviewOutcome::Approved)]);
    // Somebody may have captured with the acceptance: it is looked for first.
    assert_eq!(order.sent("capture-now").params.at("look"), &Value::Bool(true));
    assert_eq!(order.sent("capture-now").params.at("captured").as_money(), Some(usd(0)));
    order.done("capture-now", [made("theirs", 100)]);
    assert_eq!(order.state.status, OrderStatus::Paid);
}

#[test]
fn a_case_goes_to_the_desk_where_one_is_connected_and_is_closed_with_its_decision() {
    let case = |desk: bool, outcome: ReviewOutcome| {
        let mut order = paying(&[], 100);
        order.desk = desk;
        order.done("authorize", reserved(100).into_iter().chain([held()]));
        if desk {
            assert_eq!(param(&order, "case-open", "case"), "p");
            assert_eq!(order.sent("case-open").params.at("amount").as_money(), Some(usd(100)));
            order.done("case-open", []);
        }
        // The shop and its staff are told all the same.
        assert!(order.is_out("case-shop") && order.is_out("case-staff"));
        order.tell([decided(outcome)]);
        order
    };
    for (outcome, accepted) in [(ReviewOutcome::Approved, true), (ReviewOutcome::Rejected, false)] {
        let order = case(true, outcome);
        assert_eq!(order.sent("case-close").params.at("accepted"), &Value::Bool(accepted));
        let order = case(false, outcome);
        assert!(!order.is_out("case-open") && !order.is_out("case-close"));
        assert!(format!("{:?}", order.state.steps).contains("no case is configured"));
    }
}

#[test]
fn a_capture_that_came_with_the_acceptance_is_adopted_and_not_made_twice() {
    let mut order = paying(&[], 100);
    order.done("authorize", reserved(100).into_iter().chain([held()]));
    order.tell([made("theirs", 100), decided(ReviewOutcome::Approved)]);
    assert!(!order.is_out("capture-now"));
    assert_eq!(order.state.status, OrderStatus::Paid);
}

#[test]
fn a_rejected_review_lets_the_money_go() {
    let mut order = paying(&[], 100);
    order.done("authorize", reserved(100).into_iter().chain([held()]));
    order.tell([decided(ReviewOutcome::Rejected)]);
    assert_eq!(order.money("release"), 100);
    order.done("release", let_go());
    assert_eq!(order.state.status, OrderStatus::Cancelled);
    assert!(!order.is_out("capture-now") && order.parked().is_empty());
}

/// A person's word about the case of `p`.
fn ruled(nth: u32, accept: bool) -> Fact {
    Fact::ReviewRuled { review: "p".into(), nth, accept, by: "ann".into(), note: "called them".into() }
}

#[test]
fn a_case_decided_here_is_told_to_the_gateway_and_only_its_answer_ends_the_review() {
    for (accept, outcome) in [(true, ReviewOutcome::Approved), (false, ReviewOutcome::Rejected)] {
        let mut order = paying(&[], 100);
        order.done("authorize", reserved(100).into_iter().chain([held()]));
        order.tell([ruled(1, accept)]);
        let sent = order.sent("decide-case").params.clone();
        let text = |name: &str| sent.at(name).as_text().map(str::to_owned);
        let decision = if accept { "accept" } else { "reject" };
        assert_eq!((text("payment").as_deref(), text("decision").as_deref()), (Some("p"), Some(decision)));
        assert_eq!(text("comment").as_deref(), Some("called them"));
        assert!(!order.is_out("capture-now") && !order.is_out("release"), "a word is no decision");
        assert_eq!(order.state.status, OrderStatus::OnHold);
        // The same once more, or another one that comes while it is out, sends nothing beside it.
        order.tell([ruled(1, accept)]);
        order.tell([ruled(2, !accept)]);
        assert!(!order.state.steps.contains_key("decide-case/p:2"), "two decisions at once");
        order.done("decide-case", [decided(outcome)]);
        let next = if accept { "capture-now" } else { "release" };
        assert_eq!(order.money(next), 100);
        // What came too late is over with the review.
        assert!(order.parked().is_empty() && !order.is_out("case-undecided"));
        assert!(matches!(order.state.steps.get("decide-case/p:2"), None | Some(StepState::Skipped { .. })));
    }
}

#[test]
fn a_decision_that_the_gateway_refuses_waits_for_a_person_and_may_be_said_anew() {
    let mut order = paying(&[], 100);
    order.done("authorize", reserved(100).into_iter().chain([held()]));
    order.tell([ruled(1, true)]);
    order.end("decide-case", refused("NOT_SUPPORTED"), []);
    assert_eq!((order.parked(), order.state.status), (vec!["case_not_decided"], OrderStatus::OnHold));
    assert!(order.state.money_blocked().is_none() && !order.is_out("capture-now"));
    order.tell([ruled(2, false)]);
    assert_eq!(order.sent("decide-case").params.at("decision").as_text(), Some("reject"));
    order.done("decide-case", [decided(ReviewOutcome::Rejected)]);
    assert_eq!(order.money("release"), 100);
    // Somebody else was faster: nobody has to be told.
    let mut order = paying(&[], 100);
    order.done("authorize", reserved(100).into_iter().chain([held()]));
    order.tell([ruled(1, false)]);
    order.end("decide-case", refused("decided_otherwise"), [decided(ReviewOutcome::Approved)]);
    assert!(order.parked().is_empty());
    assert_eq!(order.money("capture-now"), 100);
}

#[test]
fn a_partial_authorization_is_kept_or_let_go_as_the_connection_says() {
    let mut order = paying(&[], 100);
    order.done("authorize", [payment(100)].into_iter().chain([reserved(60)[1].clone()]));
    assert_eq!(order.money("capture-now"), 60);
    order.done("capture-now", [made("c1", 60)]);
    order.pass(LATER);
    assert_eq!(
        (order.state.status, order.parked()),
        (OrderStatus::PartiallyPaid, vec!["authorized_less_than_total"])
    );
    let mut order = paying(&[], 100);
    let told = [payment(100), reserved(60)[1].clone(), failed("p", "PARTIAL_AUTHORIZED")];
    order.end("authorize", refused("PARTIAL_AUTHORIZED"), told);
    assert_eq!(order.money("release"), 60);
    assert!(!order.is_out("capture-now"));
}

#[test]
fn parcels_are_captured_one_by_one_and_the_last_lets_the_rest_go() {
    let mut order = paying(&[("capture", "shipment")], 100);
    order.done("authorize", reserved(100));
    assert!(!order.is_out("capture-now"));
    let ship = |version, parcels: i64| {
        snapshot(version, usd(100), |o| {
            let one = |n: i64| Shipment { id: format!("s{n}"), lines: vec![("1".into(), 2.into())] };
            o.shipments = (0..parcels).map(one).collect();
        })
    };
    order.tell([ship(2, 1)]);
    assert_eq!(order.money("capture-shipment"), 50);
    assert_eq!(order.sent("capture-shipment").params.at("last"), &Value::Bool(false));
    order.done("capture-shipment", [made("c1", 50)]);
    order.tell([ship(3, 2)]);
    assert_eq!(order.sent("capture-shipment").params.at("captured").as_money(), Some(usd(50)));
    assert_eq!(order.sent("capture-shipment").params.at("last"), &Value::Bool(true));
    order.done("capture-shipment", [made("c2", 50)]);
    assert_eq!(order.state.captured(), 100);
}

#[test]
fn an_authorization_about_to_run_out_is_found_before_its_capture() {
    let mut order = paying(&[("capture", "shipment")], 100);
    order.done("authorize", reserved(100));
    order.pass(Millis::hours(145));
    assert!(order.is_out("expiring"));
    let mut order = paying(&[("capture", "shipment"), ("on_expiring", "capture")], 100);
    order.done("authorize", reserved(100));
    order.pass(Millis::hours(145));
    assert_eq!(order.money("capture-expiring"), 100);
    assert!(!order.is_out("expiring"));
    // What is in review cannot be taken: somebody has to decide.
    let mut order = paying(&[("capture", "shipment"), ("on_expiring", "capture")], 100);
    order.done("authorize", reserved(100).into_iter().chain([held()]));
    order.pass(Millis::hours(145));
    assert!(order.is_out("expiring") && !order.is_out("capture-expiring"));
}

/// What the gateway answers where a hold is not there any more.
fn ran_out() -> [Fact; 2] {
    let how = AuthorizationEnd::Expired;
    [
        Fact::AuthorizationEnded { payment: "p".into(), charge: "p".into(), how },
        Fact::PaymentCancelled { payment: "p".into(), reason: "expired".into() },
    ]
}

#[test]
fn a_hold_whose_time_is_over_is_let_go_and_the_gateways_answer_ends_it() {
    let late = Millis::days(7);
    for answer in [ran_out(), let_go()] {
        let mut order = paying(&[("capture", "shipment"), ("on_expired", "release")], 100);
        order.done("authorize", reserved(100));
        order.pass(Millis::hours(167));
        assert!(!order.is_out("release-expired"), "an hour before");
        order.pass(late);
        assert_eq!(order.money("release-expired"), 100);
        assert_eq!(order.state.status, OrderStatus::Authorized, "its time alone ends nothing");
        order.done("release-expired", answer);
        assert_eq!(
            (order.state.status, order.state.status_reason.as_str(), order.state.capturable()),
            (OrderStatus::PaymentFailed, "authorization_ended", 0)
        );
        // It ships all the same: nothing is captured in vain, and a person asks for another payment.
        order.tell([snapshot(2, usd(100), |o| {
            o.shipments = vec![Shipment { id: "s1".into(), lines: vec![("1".into(), 2.into())] }];
        })]);
        assert!(!order.is_out("capture-shipment"));
        assert_eq!(order.parked(), ["authorization_expired"]);
        // Which is authorized beside the parked item, and the shipment taken from it.
        order.tell([snapshot(3, usd(100), |o| {
            o.token = Some("t2".into());
            o.shipments = vec![Shipment { id: "s1".into(), lines: vec![("1".into(), 2.into())] }];
        })]);
        let of = |fact: Fact| match fact {
            Fact::Payment { amount, .. } => Fact::Payment { payment: "q".into(), amount },
            Fact::Authorized { amount, expires_at, .. } => {
                Fact::Authorized { payment: "q".into(), charge: "q".into(), amount, expires_at }
            }
            other => other,
        };
        order.done("authorize", reserved(100).map(of));
        assert_eq!(order.money("capture-shipment"), 50);
        assert_eq!(param(&order, "capture-shipment", "payment"), "q");
    }
    // Kept as it is where the pair does not say so, and where something was taken, of which no reversal is taken.
    let mut order = paying(&[("capture", "shipment")], 100);
    order.done("authorize", reserved(100));
    order.pass(Millis::days(8));
    assert!(!order.is_out("release-expired"));
    let mut order = paying(&[("capture", "manual"), ("on_expired", "release")], 100);
    order.done("authorize", reserved(100));
    order.tell([made("c1", 40)]);
    order.pass(Millis::days(8));
    assert!(!order.is_out("release-expired"));
}

#[test]
fn a_capture_that_comes_too_late_says_so_and_goes_on_with_another_payment() {
    let mut order = paying(&[("capture", "shipment")], 100);
    order.done("authorize", reserved(100));
    order.pass(Millis::days(8));
    order.tell([snapshot(2, usd(100), |o| {
        o.shipments = vec![Shipment { id: "s1".into(), lines: vec![] }];
    })]);
    order.end("capture-shipment", refused("authorization_expired"), ran_out());
    assert_eq!(
        (order.parked(), order.state.status),
        (vec!["authorization_expired"], OrderStatus::PaymentFailed)
    );
    let item = order.state.parked.keys().next().unwrap().clone();
    order.tell([Fact::Unparked { id: item, how: Unparked::Replayed { by: "ann".into() } }]);
    assert!(!order.is_out("capture-shipment"), "nothing is reserved");
    order.tell([snapshot(3, usd(100), |o| {
        o.token = Some("t2".into());
        o.shipments = vec![Shipment { id: "s1".into(), lines: vec![] }];
    })]);
    assert!(order.is_out("authorize"));
}

#[test]
fn cancelling_before_capture_reverses_and_after_it_voids_and_then_refunds() {
    let mut order = paying(&[("capture", "manual")], 100);
    order.done("authorize", reserved(100));
    order.tell([cancelled(2, 100)]);
    assert_eq!(
        (order.money("release"), param(&order, "release", "reason").as_str()),
        (100, "order cancelled")
    );
    order.done("release", let_go());
    assert_eq!(order.state.status, OrderStatus::Cancelled);

    let captured = || {
        let mut order = paying(&[], 100);
        order.done("authorize", reserved(100));
        order.done("capture-now", [made("c1", 100)]);
        order.tell([cancelled(2, 100)]);
        order
    };
    let mut order = captured();
    assert_eq!(
        (order.money("void-cancelled"), param(&order, "void-cancelled", "capture").as_str()),
        (100, "c1")
    );
    assert!(!order.is_out("refund-cancelled"), "a refund never stands beside a pending void");
    order.done("void-cancelled", [back("v1", 100, "cancelled:c1")]);
    // The bank still holds what was reserved.
    assert_eq!(
        (order.money("release-cancelled"), param(&order, "release-cancelled", "payment").as_str()),
        (100, "p")
    );
    order.done("release-cancelled", let_go());
    order.pass(LATER);
    assert!(!order.is_out("refund-cancelled") && order.parked().is_empty());
    assert_eq!(order.state.status, OrderStatus::Refunded);

    let mut order = captured();
    order.end("void-cancelled", refused("NOT_VOIDABLE"), []);
    assert!(!order.is_out("release-cancelled"), "what is settled holds nothing");
    assert_eq!(order.money("refund-cancelled"), 100);
    assert_eq!(param(&order, "refund-cancelled", "request"), "cancelled:c1");
    // Of an unknown void nothing follows.
    let mut order = captured();
    order.end("void-cancelled", CommandEnd::Parked { code: "outcome_unknown".into() }, []);
    order.pass(LATER);
    assert!(!order.is_out("refund-cancelled"));
}

#[test]
fn each_capture_of_a_cancelled_order_goes_back_by_itself() {
    let mut order = paying(&[("capture", "manual")], 100);
    order.done("authorize", reserved(100));
    order.tell([made("c1", 60), made("c2", 40), back("r", 10, "elsewhere")]);
    order.tell([cancelled(2, 100)]);
    // Ten of the first went back: it cannot be voided whole.
    assert_eq!(
        (param(&order, "void-cancelled", "capture").as_str(), order.money("void-cancelled")),
        ("c2", 40)
    );
    order.done("void-cancelled", [back("v", 40, "cancelled:c2")]);
    assert_eq!(
        (param(&order, "refund-cancelled", "capture").as_str(), order.money("refund-cancelled")),
        ("c1", 50)
    );
    order.done("refund-cancelled", [back("r2", 50, "cancelled:c1")]);
    order.pass(LATER);
    assert_eq!((order.state.refunded(), order.parked().len()), (100, 0));
}

#[test]
fn a_refund_of_the_shop_voids_a_whole_capture_and_refunds_a_part() {
    let paid = || {
        let mut order = paying(&[], 100);
        order.done("authorize", reserved(100));
        order.done("capture-now", [made("c1", 100)]);
        order
    };
    let ask = |minor| Fact::RefundRequested { id: "R1".into(), amount: usd(minor), reason: "other".into() };
    let mut order = paid();
    order.tell([ask(30)]);
    assert!(!order.is_out("void-requested"));
    assert_eq!(
        (order.money("refund-requested"), param(&order, "refund-requested", "capture").as_str()),
        (30, "c1")
    );
    let mut order = paid();
    order.tell([ask(100)]);
    assert!(order.is_out("void-requested") && !order.is_out("refund-requested"));
    order.done("void-requested", [back("v", 100, "R1")]);
    assert!(!order.is_out("refund-requested"), "the void served it");
    assert_eq!(order.money("release-requested"), 100);
    order.end("release-requested", refused("TRANSACTION_ALREADY_SETTLED"), []);
    order.pass(LATER);
    assert_eq!((order.state.status, order.parked().len()), (OrderStatus::Refunded, 0));
    let mut order = paid();
    order.tell([ask(100)]);
    order.end("void-requested", refused("NOT_VOIDABLE"), []);
    assert_eq!(order.money("refund-requested"), 100);
}

/// Cybersource may take a second refund of the same money: nobody else holds it back.
#[test]
fn a_refund_of_what_went_back_already_goes_to_a_person() {
    let mut order = paying(&[], 100);
    order.done("authorize", reserved(100));
    order.done("capture-now", [made("c1", 100)]);
    let ask = Fact::RefundRequested { id: "R1".into(), amount: usd(100), reason: "other".into() };
    order.tell([cancelled(2, 100), ask]);
    order.end("void-cancelled", refused("NOT_VOIDABLE"), []);
    order.done("refund-cancelled", [back("r1", 100, "cancelled:c1")]);
    order.pass(LATER);
    assert!(!order.is_out("refund-requested"), "the money is given back");
    assert_eq!(order.parked(), ["must_not_run"]);
    assert_eq!(order.state.refunded(), 100);
}

#[test]
fn a_refund_names_the_payment_of_its_capture_and_a_shipment_what_its_payment_took() {
    let mut order = order(&[("capture", "manual")]);
    order.tell([snapshot(1, usd(100), |o| o.token = Some("t1".into()))]);
    order.done("authorize", reserved(100));
    let of = |payment: &str, capture: &str, minor| {
        let payment = payment.to_owned();
        Fact::CaptureMade { charge: payment.clone(), payment, capture: capture.into(), amount: usd(minor) }
    };
    let second =
        Fact::Authorized { payment: "q".into(), charge: "q".into(), amount: usd(40), expires_at: None };
    order.tell([of("p", "c1", 60), second, of("q", "c2", 40)]);
    order.tell([Fact::RefundRequested { id: "R1".into(), amount: usd(50), reason: "other".into() }]);
    assert_eq!(
        (
            param(&order, "refund-requested", "payment").as_str(),
            param(&order, "refund-requested", "capture").as_str()
        ),
        ("p", "c1")
    );
}

#[test]
fn a_total_lowered_before_capture_is_captured_lower_and_after_it_given_back() {
    let mut order = order(&[("on_total_lowered", "refund")]);
    order.tell([snapshot(1, usd(100), |o| o.token = Some("t1".into()))]);
    order.tell([plain(2, 80)]);
    order.done("authorize", reserved(100));
    assert_eq!(order.money("capture-now"), 80);
    let how = AuthorizationEnd::Kept;
    let rest = Fact::AuthorizationEnded { payment: "p".into(), charge: "p".into(), how };
    order.done("capture-now", [made("c1", 80), rest]);
    order.tell([plain(3, 70)]);
    assert!(!order.is_out("void-lowered"));
    assert_eq!(
        (order.money("refund-lowered"), param(&order, "refund-lowered", "capture").as_str()),
        (10, "c1")
    );
    order.done("refund-lowered", [back("r", 10, "lowered")]);
    order.tell([plain(4, 90)]);
    order.pass(LATER);
    assert_eq!(order.parked(), ["captured_less_than_total"]);
}

/// Only the customer can agree to more: before and after the money is taken a person is asked, and what was agreed is all that moves.
#[test]
fn a_total_raised_before_or_after_capture_goes_to_a_person_once_and_no_more_is_taken() {
    for capture in ["authorization", "shipment"] {
        let mut order = paying(&[("capture", capture), ("on_total_lowered", "refund")], 100);
        order.done("authorize", reserved(100));
        if capture == "authorization" {
            order.done("capture-now", [made("c1", 100)]);
        }
        order.tell([plain(2, 130)]);
        order.pass(LATER);
        order.tell([plain(3, 130)]);
        assert_eq!(order.parked(), ["total_raised_after_payment"], "{capture}");
        assert!(
            !order.state.steps.keys().any(|step| step.starts_with("authorize/") && step != "authorize/t1")
        );
        assert_eq!(order.state.captured(), if capture == "authorization" { 100 } else { 0 });
        // Lowered again it is paid, and nothing goes back.
        order.tell([plain(4, 100)]);
        assert!(!order.is_out("refund-lowered") && !order.is_out("void-lowered"));
    }
}

#[test]
fn erp_steps_stand_in_the_flow_and_are_skipped_without_an_erp() {
    let mut order = paying(&[], 100);
    order.done("authorize", reserved(100));
    order.done("capture-now", [made("c1", 100)]);
    for step in ["erp-order", "erp-invoice/c1", "erp-payment/c1"] {
        let state = format!("{:?}", order.state.steps.get(step));
        assert!(state.contains("no erp is configured") || state.contains("skipped"), "{step}: {state}");
    }
}

#[test]
fn an_order_the_shop_pays_for_itself_is_followed() {
    let mut order = order(&[("initiates", "shop")]);
    order.tell([snapshot(1, usd(100), |o| o.token = Some("t1".into()))]);
    assert!(!order.is_out("authorize"));
    order.tell(reserved(100));
    assert_eq!(order.money("capture-now"), 100);
}

/// With `screening: before` Decision Manager is asked alone, and the bank only about what it let pass.
#[test]
fn what_is_screened_before_is_authorized_only_where_it_passed() {
    let screening = || {
        let mut order = order(&[("screening", "before")]);
        order.tell([snapshot(1, usd(100), |o| o.token = Some("t1".into()))]);
        assert!(order.is_out("screen") && !order.is_out("authorize"));
        assert_eq!((order.money("screen"), param(&order, "screen", "token").as_str()), (100, "t1"));
        order
    };
    let mut order = screening();
    order.done("screen", []);
    assert_eq!(order.money("authorize-screened"), 100);
    assert_eq!(param(&order, "authorize-screened", "screening"), "before");
    order.done("authorize-screened", reserved(100));
    assert_eq!(order.money("capture-now"), 100);

    let of_decision = |id: &str| Fact::Payment { payment: id.into(), amount: usd(100) };
    let mut order = screening();
    order.end(
        "screen",
        refused("DECISION_PROFILE_REJECT"),
        [of_decision("d"), failed("d", "DECISION_PROFILE_REJECT")],
    );
    order.pass(LATER);
    assert!(!order.is_out("authorize-screened") && order.parked().is_empty());
    assert_eq!(order.state.status, OrderStatus::PaymentFailed);

    let held = Fact::ReviewOpened { review: "d".into(), payment: "d".into() };
    let decided = |outcome| Fact::ReviewClosed { review: "d".into(), payment: "d".into(), outcome };
    let mut order = screening();
    order.done("screen", [of_decision("d"), held.clone()]);
    assert_eq!(order.state.status, OrderStatus::OnHold);
    assert!(!order.is_out("authorize-screened") && order.is_out("case-shop"));
    order.tell([decided(ReviewOutcome::Approved)]);
    assert_eq!(order.money("authorize-screened"), 100);
    order.done("authorize-screened", reserved(100));
    order.done("capture-now", [made("c1", 100)]);
    order.pass(LATER);
    assert_eq!((order.state.status, order.parked().len()), (OrderStatus::Paid, 0));

    let mut order = screening();
    order.done("screen", [of_decision("d"), held.clone()]);
    order.tell([decided(ReviewOutcome::Rejected)]);
    order.pass(Millis::days(31));
    assert!(!order.is_out("authorize-screened") && !order.is_out("release"), "nothing is reserved");
    assert_eq!(order.state.status, OrderStatus::Cancelled);

    // Cancelled while a person looks at it: no bank is asked any more.
    let mut order = screening();
    order.done("screen", [of_decision("d"), held]);
    order.tell([cancelled(2, 100)]);
    order.tell([decided(ReviewOutcome::Approved)]);
    assert!(!order.is_out("authorize-screened"));
}

#[test]
fn money_taken_with_a_payment_that_a_review_refused_goes_to_a_person_whichever_is_known_first() {
    let reviewed = || {
        let mut order = paying(&[("capture", "manual")], 100);
        order.done("authorize", reserved(100).into_iter().chain([held()]));
        order
    };
    let mut order = reviewed();
    order.tell([made("c1", 100)]);
    order.tell([decided(ReviewOutcome::Rejected)]);
    assert_eq!((order.parked(), order.state.status), (vec!["rejected_after_capture"], OrderStatus::Paid));

    let mut order = reviewed();
    order.tell([decided(ReviewOutcome::Rejected)]);
    order.end("release", refused("TRANSACTION_ALREADY_SETTLED"), [made("c1", 100)]);
    assert_eq!((order.parked(), order.state.status), (vec!["rejected_after_capture"], OrderStatus::Paid));

    let mut order = reviewed();
    order.tell([made("c1", 100)]);
    order.tell([decided(ReviewOutcome::Approved)]);
    assert!(order.parked().is_empty(), "{:?}", order.parked());
}

/// Nothing is authorized unscreened: not where a person drops a screening, nor where one was not asked for.
#[test]
fn a_screening_that_was_dropped_or_left_out_is_followed_by_nothing() {
    let mut order = order(&[("screening", "before")]);
    order.tell([snapshot(1, usd(100), |o| o.token = Some("t1".into()))]);
    order.end("screen", CommandEnd::Parked { code: "answer_disagrees".into() }, []);
    let item = order.state.parked.keys().next().unwrap().clone();
    order.tell([Fact::Unparked {
        id: item,
        how: Unparked::Dropped { by: "ann".into(), reason: "seen".into() },
    }]);
    order.pass(LATER);
    assert!(!order.is_out("authorize-screened"));
    // The next token is screened anew.
    order.tell([snapshot(2, usd(100), |o| o.token = Some("t2".into()))]);
    assert!(order.is_out("screen") && !order.is_out("authorize-screened"));
}

#[test]
fn what_is_reserved_for_parcels_to_come_is_not_let_go_with_a_voided_one() {
    let mut order = paying(&[("capture", "shipment")], 100);
    order.done("authorize", reserved(100));
    let one = |n: i64| Shipment { id: format!("s{n}"), lines: vec![("1".into(), 2.into())] };
    order.tell([snapshot(2, usd(100), |o| o.shipments = vec![one(0)])]);
    assert_eq!(order.money("capture-shipment"), 50);
    order.done("capture-shipment", [made("c1", 50)]);
    order.tell([Fact::RefundRequested { id: "R1".into(), amount: usd(50), reason: "other".into() }]);
    order.done("void-requested", [back("v", 50, "R1")]);
    order.pass(LATER);
    assert!(!order.is_out("release-requested"), "half of it is still to be taken");
}

#[test]
fn a_hold_is_let_go_in_its_own_amount_whatever_other_attempts_reserved() {
    let of = |payment: &str| {
        let (payment, expires_at) = (payment.to_owned(), Some(Timestamp(0) + Millis::days(7)));
        let charge = payment.clone();
        [
            Fact::Payment { payment: payment.clone(), amount: usd(100) },
            Fact::Authorized { payment, charge, amount: usd(100), expires_at },
        ]
    };
    let mut order = paying(&[], 100);
    let told = of("x").into_iter().chain([failed("x", "AUTHORIZED_RISK_DECLINED")]);
    order.end("authorize", refused("DECISION_PROFILE_REJECT"), told.collect::<Vec<_>>());
    let how = AuthorizationEnd::Voided;
    let gone = Fact::AuthorizationEnded { payment: "x".into(), charge: "x".into(), how };
    order.done("release", [gone, Fact::PaymentCancelled { payment: "x".into(), reason: "reversed".into() }]);
    order.tell([snapshot(2, usd(100), |o| o.token = Some("t2".into()))]);
    order.done("authorize", reserved(100));
    order.done("capture-now", [made("c1", 100)]);
    order.tell([cancelled(3, 100)]);
    order.done("void-cancelled", [back("v", 100, "cancelled:c1")]);
    assert_eq!(order.money("release-cancelled"), 100);
}
