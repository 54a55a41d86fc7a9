//! Calls whose outcome nobody knows, and what may and may not follow.

use tillway_core::http::Method;
use tillway_core::time::Millis;
use tillway_sandbox::stripe::API_VERSION;
use tillway_sandbox::{ApiFault, Reply, Sandbox as _};
use tillway_tests::outside::lock;
use tillway_tests::world::{API_KEY, World, new_order};

/// Requests to the gateway of one method whose URL ends so.
fn sent(w: &World, method: Method, end: &str) -> usize {
    let all = lock(&w.outside.sent);
    all.iter().filter(|s| s.request.method == method && s.request.url.ends_with(end)).count()
}

#[tokio::test]
async fn a_stored_failure_does_not_hold_up_a_person_for_a_day() {
    let w = World::start().await;
    w.gateway_fault(Method::Post, "/v1/customers", ApiFault::Fail500, 1);
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    w.charged_once("A-1", 4712);
    assert_eq!(w.stripe().all_customers().count(), 1);
    // The same where the customer was made before it failed.
    w.gateway_fault(Method::Post, "/v1/customers", ApiFault::Fail500AfterEffect, 1);
    w.place("A-2", Some("pm_card_visa"));
    w.until_status("A-2", "Paid").await;
    assert_eq!(w.stripe().all_customers().count(), 2);
}

#[tokio::test]
async fn a_call_that_fails_for_ever_is_tried_with_widening_pauses_and_handed_to_a_person() {
    let w = World::start().await;
    w.gateway_fault(Method::Post, "/confirm", ApiFault::Fail500, 10_000);
    w.place("A-1", Some("pm_card_visa"));
    w.pass(Millis::hours(6)).await;
    let tried = sent(&w, Method::Post, "/confirm");
    assert!((3..20).contains(&tried), "{tried} times in six hours");
    w.pass_in(Millis::days(4), Millis::mins(30)).await;
    assert_eq!(w.parked_one().await.item.code, "outcome_unknown");
    let tried = sent(&w, Method::Post, "/confirm");
    assert!(tried < 40, "{tried} times in four days");
    assert_eq!(w.payment("A-1").captured, 0);
}

#[tokio::test]
async fn a_replay_that_was_turned_away_leaves_it_unknown() {
    let w = World::start().await;
    // Answered by nobody, and then the key is asked for again in vain: nothing is known by that.
    w.gateway_fault(Method::Post, "/v1/payment_intents", ApiFault::SilenceAfter, 1);
    w.place("A-1", Some("pm_card_visa"));
    w.quiet().await;
    w.gateway_fault(Method::Post, "/v1/payment_intents", ApiFault::Refuse(429), 3);
    w.until_status("A-1", "Paid").await;
    w.charged_once("A-1", 4712);
    assert_eq!(w.payments("A-1").len(), 1);
}

#[tokio::test]
async fn a_customer_deleted_at_the_gateway_is_found_out_by_the_next_order() {
    let w = World::start().await;
    let same = |order: &str| {
        let mut new = new_order(order, "USD", Some("pm_card_visa"));
        new.customer.email = Some("jo@example.com".to_owned());
        new
    };
    w.place_with(same("A-1"));
    w.until_status("A-1", "Paid").await;
    let first = w.stripe().all_customers().next().unwrap().0;
    let delete = tillway_core::http::Request::new(
        Method::Delete,
        format!("https://gateway.example/v1/customers/{first}"),
    )
    .with_header("authorization", format!("Bearer {API_KEY}"))
    .with_header("stripe-version", API_VERSION);
    let now = w.now();
    let answer = w.stripe().handle(now, &delete);
    assert!(matches!(&answer, Reply::Answer(answer) if answer.is_success()), "{answer:?}");
    w.pass(Millis::mins(90)).await;
    w.place_with(same("A-2"));
    w.until_status("A-2", "Paid").await;
    w.charged_once("A-2", 4712);
    let made: Vec<String> = w.stripe().all_customers().map(|(id, _)| id).collect();
    assert!(made.iter().any(|id| *id != first), "{made:?}");
}

#[tokio::test]
async fn a_card_number_in_the_shops_answers_goes_no_further() {
    let w = World::start().await;
    let mut new = new_order("A-1", "USD", Some("pm_card_visa"));
    let number = "4111 1111 1111 1111";
    new.customer.last_name = Some(number.to_owned());
    w.place_with(new);
    w.until_status("A-1", "Paid").await;
    w.pass(Millis::mins(10)).await;
    let (mut asked, mut leaked) = (0, Vec::new());
    for one in lock(&w.outside.sent).iter() {
        asked += 1;
        let body = String::from_utf8_lossy(&one.request.body).replace(['+', '-', ' '], "");
        if body.contains("4111111111111111") || body.contains("4111%201111") {
            leaked.push(one.request.path().to_owned());
        }
    }
    assert!(asked > 3 && leaked.is_empty(), "{leaked:?}");
    let alarmed = w.counters().iter().any(|((name, _), n)| name == "alert" && *n > 0);
    let items = w.items().await;
    let parked = w.parked().await;
    assert!(alarmed || parked.iter().any(|p| p.item.code == "card_number_removed"), "{}", items.len());
}

#[tokio::test]
async fn gauges_tell_how_old_the_unknown_and_the_due_are_and_how_much_is_parked() {
    let w = World::start().await;
    w.gateway_fault(Method::Post, "/confirm", ApiFault::Fail500, 10_000);
    w.place("A-1", Some("pm_card_visa"));
    w.pass(Millis::hours(2)).await;
    let seen = w.engine.gauges().await.unwrap();
    assert!(seen.unknown_oldest > Millis::mins(100), "{seen:?}");
    assert!(seen.unknown_oldest < Millis::hours(3), "{seen:?}");
    assert_eq!(seen.parked, 0);
    // Nobody ticks for half an hour.
    w.clock.forward(Millis::hours(12));
    let seen = w.engine.gauges().await.unwrap();
    assert!(seen.due_oldest > Millis::mins(30), "{seen:?}");
    w.pass_in(Millis::days(4), Millis::mins(30)).await;
    let seen = w.engine.gauges().await.unwrap();
    assert_eq!((seen.unknown_oldest, seen.parked), (Millis(0), 1));
    let told = w.gauges();
    assert_eq!((told["parked_open"], told["unknown_oldest_seconds"]), (1, 0));
}

#[tokio::test]
async fn a_decline_whose_answer_was_lost_does_not_hold_up_the_next_card() {
    for fault in [ApiFault::Fail500AfterEffect, ApiFault::SilenceAfter] {
        for second in [None, Some(ApiFault::SilenceAfter), Some(ApiFault::Fail500AfterEffect)] {
            let w = World::start().await;
            w.gateway_fault(Method::Post, "/confirm", fault.clone(), 1);
            w.place("A-1", Some("pm_card_visa_chargeDeclinedInsufficientFunds"));
            w.until_status("A-1", "Payment Failed").await;
            let begun = w.now();
            if let Some(second) = second.clone() {
                w.gateway_fault(Method::Post, "/confirm", second, 1);
            }
            w.shop().set_payment_token(begun, "A-1", "pm_card_mastercard").unwrap();
            w.until_status("A-1", "Paid").await;
            let waited = w.now().since(begun);
            assert!(waited < Millis::mins(5), "{waited} after {fault:?}, then {second:?}");
            w.charged_once("A-1", 4712);
            assert_eq!(w.payment("A-1").attempts, 2, "each card was asked once");
        }
    }
}
