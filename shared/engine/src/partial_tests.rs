//! A bank that reserves a part of what it was asked for: from the shop's order to what the shop shows, for each value of
//! `partial_authorization`.

use tillway_core::facts::OrderStatus as Known;

use super::*;

/// What the bank reserves of the 10.00 EUR.
const PART: i64 = 600;

async fn partly(how: &str) -> Town {
    let config = CONFIG.replace("key_id: k1", &format!("key_id: k1, partial_authorization: {how}"));
    assert_ne!(config, CONFIG);
    let town = Town::with(&config).await;
    town.order("A-1", "tok_partial_1");
    town.live(A_WHILE).await;
    town
}

/// What is known of the order, what the shop shows, and what the gateway holds and took.
type Seen = (Known, String, i64, i64);

impl Town {
    fn seen(&self) -> Seen {
        let item = self.w.item(&rec::state_key(&OrderKey::from("shop/A-1"))).unwrap();
        let state = serde_json::from_slice::<rec::OrderRecord>(&item.body).unwrap().state;
        let shown = self.shop.lock().unwrap().order("A-1").unwrap().status_text.clone();
        let truth = self.vault.lock().unwrap().order_truth("A-1");
        (state.status, shown, truth.held, truth.captured)
    }
    async fn codes(&self) -> Vec<String> {
        let mut codes: Vec<_> = self.parked().await.into_iter().map(|(code, _)| code).collect();
        codes.sort();
        codes
    }
}

fn shows(status: Known, shown: &str, held: i64, captured: i64) -> Seen {
    (status, shown.to_owned(), held, captured)
}

#[tokio::test]
async fn a_part_that_is_accepted_is_taken_and_the_rest_is_told_to_a_person() {
    let town = partly("accept").await;
    assert_eq!(town.seen(), shows(Known::PartiallyPaid, "Pending Payment", 0, PART));
    assert!(town.parked().await.is_empty(), "the shop has ten minutes to explain it");
    town.live(Millis::mins(12)).await;
    assert_eq!(town.codes().await, ["authorized_less_than_total"]);
    // And no second payment of the whole is asked for.
    town.live(Millis::hours(2)).await;
    assert_eq!(town.seen(), shows(Known::PartiallyPaid, "Pending Payment", 0, PART));
    assert_eq!(town.asked("POST /pts/v2/payments"), 1);
}

#[tokio::test]
async fn a_part_that_is_not_wanted_is_let_go_the_shop_is_told_and_another_card_pays_the_whole() {
    let town = partly("reverse").await;
    assert_eq!(town.seen(), shows(Known::PaymentFailed, "Payment Failed", 0, 0));
    assert_eq!(town.asked("POST /pts/v2/payments/{id}/reversals"), 1);
    assert!(town.parked().await.is_empty());
    let now = town.now();
    town.shop.lock().unwrap().set_payment_token(now, "A-1", "tok_visa_2").unwrap();
    town.live(A_WHILE).await;
    assert_eq!(town.seen(), shows(Known::Paid, "Payment Received", 0, 1000));
}

#[tokio::test]
async fn a_part_that_is_asked_about_waits_for_a_person_who_keeps_it_or_lets_it_go() {
    for keeps in [true, false] {
        let town = partly("ask").await;
        town.live(Millis::mins(12)).await;
        assert_eq!(town.seen(), shows(Known::Authorized, "Pending Payment", PART, 0), "nothing is taken");
        assert_eq!(town.codes().await, ["answer_disagrees", "authorized_less_than_total"]);
        let (_, what) = town.parked().await.into_iter().find(|(code, _)| code == "answer_disagrees").unwrap();
        assert!(what.contains("only 6.00 EUR were reserved; to keep it, drop the item"), "{what}");
        if !keeps {
            let payment = town.vault.lock().unwrap().order_truth("A-1").payments[0].payment.clone();
            let now = town.now();
            town.vault.lock().unwrap().reverse_by_hand(now, &payment).unwrap();
            // Searches show it, and the sweep tells.
            town.live(Millis::mins(20)).await;
            town.w.engine.sweep(&ConnectionName::new("signed")).await.unwrap();
            town.live(A_WHILE).await;
        }
        for item in town.w.engine.parked().await.unwrap() {
            town.w.engine.parked_drop(&item.id, "tester", "seen to").await.unwrap();
        }
        town.live(A_WHILE).await;
        if keeps {
            assert_eq!(town.seen(), shows(Known::PartiallyPaid, "Pending Payment", 0, PART));
            continue;
        }
        assert_eq!(town.seen(), shows(Known::PaymentFailed, "Payment Failed", 0, 0));
        let now = town.now();
        town.shop.lock().unwrap().set_payment_token(now, "A-1", "tok_visa_2").unwrap();
        town.live(A_WHILE).await;
        assert_eq!(town.seen(), shows(Known::Paid, "Payment Received", 0, 1000));
    }
}
