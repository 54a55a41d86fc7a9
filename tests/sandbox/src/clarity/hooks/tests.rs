//! Webhooks as they arrive.

use super::super::testing::{Shop, new_order, now};
use super::*;
use crate::Sandbox;

#[test]
fn the_published_vector_holds() {
    let signature = sign_standard(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        br#"{"test": 2432232314}"#,
    );
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn deliveries_are_signed_with_every_secret_as_of_now() {
    let secrets = vec![
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4".into(),
    ];
    let mut shop = Shop::with(|c| c.webhook = WebhookScheme::StandardWebhooks { secrets: secrets.clone() });
    shop.0.place_order(now(), new_order("USD")).unwrap();
    let later = now() + Millis::secs(3);
    let [delivery] = &shop.0.take_deliveries(later)[..] else { panic!("one delivery") };
    let id = delivery.request.header("webhook-id").unwrap();
    assert_eq!(id, delivery.event_id);
    assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{id}");
    assert_eq!(delivery.request.header("webhook-timestamp").unwrap(), later.unix().to_string());
    let expected: Vec<_> =
        secrets.iter().map(|s| sign_standard(s, id, later.unix(), &delivery.request.body)).collect();
    assert_eq!(delivery.request.header("webhook-signature").unwrap(), expected.join(" "));
    let body: Value = serde_json::from_slice(&delivery.request.body).unwrap();
    assert_eq!((&body["type"], &body["timestamp"]), (&"order.created".into(), &now().rfc3339().into()));
    assert_eq!((delivery.topic.as_str(), &body["data"]["status"]), ("orders", &"Pending Payment".into()));
}

#[test]
fn a_shared_header_takes_the_place_of_a_signature() {
    let mut shop = Shop::with(|c| {
        c.webhook = WebhookScheme::SharedHeader { header: "x-shop-key".into(), value: "s3".into() };
    });
    shop.0.place_order(now(), new_order("USD")).unwrap();
    let request = &shop.0.take_deliveries(now())[0].request;
    assert_eq!(request.header("x-shop-key"), Some("s3"));
    assert_eq!(request.header("webhook-signature"), None);
}

#[test]
fn refused_deliveries_come_again_on_schedule_with_the_same_id_until_given_up() {
    let mut shop = Shop::new();
    shop.0.place_order(now(), new_order("USD")).unwrap();
    let mut at = now();
    let mut ids = Vec::new();
    for (attempt, wait) in RETRY_WAITS.into_iter().enumerate() {
        let [delivery] = &shop.0.take_deliveries(at)[..] else { panic!("attempt {attempt}") };
        ids.push(delivery.event_id.clone());
        shop.0.delivered(at, delivery.id, if attempt % 2 == 0 { Some(503) } else { None });
        assert_eq!(shop.0.next_due(), Some(at + wait));
        assert!(shop.0.take_deliveries(at + wait - Millis(1)).is_empty());
        at = at + wait;
    }
    let last = shop.0.take_deliveries(at);
    ids.push(last[0].event_id.clone());
    shop.0.delivered(at, last[0].id, Some(500));
    assert_eq!((shop.0.next_due(), shop.0.counters().given_up, ids.len()), (None, 1, 10));
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[test]
fn an_accepted_delivery_is_done_and_one_in_flight_is_not_taken_twice() {
    let mut shop = Shop::new();
    shop.0.place_order(now(), new_order("USD")).unwrap();
    let taken = shop.0.take_deliveries(now());
    assert!(shop.0.take_deliveries(now() + Millis::days(9)).is_empty());
    shop.0.delivered(now(), taken[0].id, Some(202));
    shop.0.delivered(now(), taken[0].id, Some(500));
    assert_eq!(shop.0.next_due(), None);
}

#[test]
fn webhook_faults_duplicate_delay_and_lose_and_are_then_used_up() {
    let mut shop = Shop::new();
    let order = shop.0.place_order(now(), new_order("USD")).unwrap();
    shop.drain(now());
    for fault in [HookFault::Duplicate(2), HookFault::Delay(Millis::mins(1)), HookFault::Lose] {
        shop.0.inject_hook(HookFaultRule { type_contains: "order.upd".into(), fault, times: 1 });
    }
    shop.0.place_order(now(), new_order("USD")).unwrap();
    assert_eq!(shop.drain(now()).len(), 1, "another type is not struck");

    shop.0.hold(now(), &order).unwrap();
    let copies = shop.0.take_deliveries(now());
    assert_eq!(copies.len(), 3);
    assert!(
        copies.iter().all(|d| d.event_id == copies[0].event_id && d.request.body == copies[0].request.body)
    );
    for copy in &copies {
        shop.0.delivered(now(), copy.id, Some(500));
    }
    assert_eq!(shop.drain(now() + Millis::secs(5)).len(), 1, "only the original is tried again");

    let at = now() + Millis::secs(10);
    shop.0.cancel(at, &order).unwrap();
    assert!(shop.drain(at).is_empty());
    shop.0.set_payment_token(at, &order, "tok_lost").unwrap();
    shop.0.set_payment_token(at, &order, "tok_overtakes").unwrap();
    let overtaking = shop.drain(at);
    assert_eq!((overtaking.len(), &overtaking[0]["data"]["payment"]["token"]), (1, &"tok_overtakes".into()));
    assert_eq!(shop.0.lost_events().len(), 1);
    let late = shop.drain(at + Millis::mins(1));
    assert_eq!((late.len(), &late[0]["data"]["status"]), (1, &"Cancelled".into()));
    assert_eq!(shop.0.counters().faults.values().sum::<u64>(), 3);
}

#[test]
fn ids_are_unique_and_the_same_in_every_run_of_a_seed() {
    let run = |seed| {
        let mut shop = Shop::with(|c| c.seed = seed);
        for _ in 0..500 {
            shop.0.place_order(now(), new_order("USD")).unwrap();
        }
        shop.0.take_deliveries(now()).into_iter().map(|d| d.event_id).collect::<Vec<_>>()
    };
    let ids = run(7);
    assert_eq!(ids, run(7));
    assert_ne!(ids, run(8));
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 500);
}

#[test]
fn raw_events_are_signed_like_any_other() {
    let mut shop = Shop::new();
    let id = shop.0.emit_raw(now(), "orders", "order.exploded", &serde_json::json!({"orderId": 7}));
    let [delivery] = &shop.0.take_deliveries(now())[..] else { panic!("one delivery") };
    assert_eq!((&delivery.event_id, delivery.event_type.as_str()), (&id, "order.exploded"));
    assert!(delivery.request.header("webhook-signature").unwrap().starts_with("v1,"));
}
