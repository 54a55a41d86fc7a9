//! The parking lot: what a worker could not work comes to a person, and a replay goes on where it stopped.

use tillway_core::http::Method;
use tillway_core::time::Millis;
use tillway_engine::dispute::Word;
use tillway_engine::ports::InMessage;
use tillway_engine::records::{EVENTS, command_queue};
use tillway_sandbox::ApiFault;
use tillway_tests::world::World;

/// Takes the next message of a queue out of it, and hands it to triage, as the queue does with one that came
/// back too often.
async fn give_up(w: &World, queue: &str) -> InMessage {
    let message = w.queue().receive(queue, 1, Millis::secs(90)).await.unwrap().remove(0);
    w.engine.handle_dead(queue, &message).await.unwrap();
    w.queue().delete(queue, vec![message.receipt.clone()]).await.unwrap();
    message
}

#[tokio::test]
async fn triage_parks_an_event_that_cannot_be_worked_and_money_waits_behind_it() {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_visa"));
    w.deliver().await;
    give_up(&w, EVENTS).await;
    w.quiet().await;
    let item = w.parked_one().await;
    assert_eq!((item.item.code.as_str(), item.item.blocks_money), ("dead_letter", true));
    assert!(item.item.what.contains("then replay"), "{}", item.item.what);
    let content = w.engine.parked_show(&item.id).await.unwrap().content.unwrap();
    assert_eq!(content["data"]["orderId"], "A-1");
    // The order knows it, and what comes later moves no money past it.
    let record = w.record("A-1").await.unwrap();
    assert!(record.state.parked.contains_key(&item.item.id));
    let again = w.order_event("A-1", |_| ());
    w.post(tillway_tests::world::SHOP, "orders", &w.shop_hook("msg_again", again.to_string())).await;
    w.pass(Millis::mins(10)).await;
    assert!(w.payments("A-1").is_empty(), "money moved past a parked event");

    // Nothing is unparked that the queue did not accept.
    w.taps.deafen(EVENTS);
    assert!(w.engine.parked_replay(&item.id, "tester").await.is_err());
    w.taps.calm();
    assert!(w.engine.parked_show(&item.id).await.unwrap().content.is_some());
    w.engine.parked_replay(&item.id, "tester").await.unwrap();
    // The event goes first: were the rest lost, it would stand in the lot still.
    let first = w.queue().receive(EVENTS, 1, Millis::secs(90)).await.unwrap().remove(0);
    w.engine.handle_event(&first).await.unwrap();
    w.queue().delete(EVENTS, vec![first.receipt]).await.unwrap();
    assert_eq!((w.parked().await.len(), w.queue().depth(EVENTS).await.unwrap()), (1, 1));
    w.until_status("A-1", "Paid").await;
    assert!(w.parked().await.is_empty());
    w.charged_once("A-1", 4712);
}

#[tokio::test]
async fn triage_parks_a_command_that_cannot_be_worked_and_the_order_goes_on_after_a_replay() {
    let w = World::start().await;
    let stripe = command_queue("stripe");
    // The gateway does not answer at the moment; the command stays due.
    w.gateway_fault(Method::Post, "/v1/payment_intents", ApiFault::Refuse(503), 1);
    w.place("A-1", Some("pm_card_visa"));
    for _ in 0..2 {
        w.deliver().await;
        w.decide().await;
        if w.queue().depth(&stripe).await.unwrap() > 0
            && w.record("A-1").await.unwrap().state.customer.is_some()
        {
            break;
        }
        w.act().await;
        w.decide().await;
    }
    let dead = give_up(&w, &stripe).await;
    w.quiet().await;
    let item = w.parked_one().await;
    assert_eq!((item.item.code.as_str(), item.item.blocks_money), ("dead_letter", true));
    assert!(item.item.what.contains("stripe.create_payment"), "{}", item.item.what);
    assert!(item.id.starts_with("shop/A-1|dead:"), "{}", item.id);
    // The command itself is kept by its due time; no money follows it while a person has not looked.
    w.pass(Millis::mins(10)).await;
    assert_eq!(w.payments("A-1").iter().map(|p| p.charges_succeeded).sum::<usize>(), 0);
    w.engine.parked_replay(&item.id, "tester").await.unwrap();
    w.until_status("A-1", "Paid").await;
    w.charged_once("A-1", 4712);
    assert!(w.parked().await.is_empty());
    // The same message once more, from a queue that hands it out late: the command has ended, nothing is parked.
    w.engine.handle_dead(&stripe, &dead).await.unwrap();
    w.pass(Millis::mins(5)).await;
    assert!(w.parked().await.is_empty());
    w.charged_once("A-1", 4712);
}

/// Stripe tells how a dispute ended: nobody else's word is taken for it.
#[tokio::test]
async fn where_the_gateway_tells_the_end_of_a_dispute_no_person_does() {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    let (now, payment) = (w.now(), w.payment("A-1").payment);
    w.stripe().open_dispute(now, &payment, None, "fraudulent").unwrap();
    w.until_status("A-1", "Disputed").await;
    let key = w.engine.find_order("A-1").await.unwrap().unwrap();
    let word = Word { dispute: None, won: true, by: "ann", reason: "seen" };
    let said = w.engine.dispute_close(&key, word).await.unwrap_err().to_string();
    assert!(said.contains("stripe tells by itself how a dispute ends"), "{said}");
    w.quiet().await;
    w.until_status("A-1", "Disputed").await;
}
