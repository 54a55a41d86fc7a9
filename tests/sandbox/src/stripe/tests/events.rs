use serde_json::{Value, json};
use tillway_core::http::Method;
use tillway_core::time::Millis;

use super::{Bench, SECRET, id, request};
use crate::stripe::{forge, sign, sign_all};
use crate::{Delivery, HookFault, HookFaultRule, Sandbox};

fn kinds(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|d| d.event_type.as_str()).collect()
}

fn accept(bench: &mut Bench) -> Vec<Delivery> {
    let deliveries = bench.s.take_deliveries(bench.now);
    for delivery in &deliveries {
        bench.s.delivered(bench.now, delivery.id, Some(200));
    }
    deliveries
}

#[test]
fn signatures_match_the_vectors_of_the_official_library() {
    let body = "{\"id\":\"evt_1KAT\",\"object\":\"event\",\"api_version\":\"2026-10-28.endive\",\"created\":1700000000,\
                \"type\":\"charge.succeeded\",\"livemode\":false,\"pending_webhooks\":1,\"request\":{\"id\":null,\
                \"idempotency_key\":null},\"data\":{\"object\":{\"id\":\"ch_1KAT\",\"object\":\"charge\",\"amount\":1099,\
                \"currency\":\"usd\",\"metadata\":{\"clarity_order_id\":\"A-1001\",\"note\":\"café ✓\"}}}}";
    let one = "1a5bdb41d836eb1244a729724cafb0e81130fa6052340eae0c9b81a3d424eb50";
    let two = "0533eebab2156cc656c2a081ee471f599963f9d8dfab6e9410eb3f0bfc279de9";
    assert_eq!(body.len(), 342);
    assert_eq!(sign(body.as_bytes(), SECRET, 1_700_000_000), format!("t=1700000000,v1={one}"));
    let secrets = [SECRET, "whsec_rotated_fedcba9876543210"];
    assert_eq!(sign_all(body.as_bytes(), &secrets, 1_700_000_000), format!("t=1700000000,v1={one},v1={two}"));
    let forged = forge(body, "t=1,v1=00");
    assert_eq!(forged.header("stripe-signature"), Some("t=1,v1=00"));
}

#[test]
fn webhooks_carry_the_event_and_go_to_their_topic() {
    let mut bench = Bench::new();
    let create = request(Method::Post, "/v1/payment_intents", "amount=1099&currency=usd&metadata[k]=v");
    let made = bench.send(&create.with_header("idempotency-key", "till:1"));
    let deliveries = accept(&mut bench);
    assert_eq!(kinds(&deliveries), ["payment_intent.created"]);
    let delivery = &deliveries[0];
    let event: Value = serde_json::from_slice(&delivery.request.body).unwrap();
    let t = bench.now.unix();
    assert_eq!(
        delivery.request.header("stripe-signature"),
        Some(sign(&delivery.request.body, SECRET, t).as_str())
    );
    assert_eq!(event["id"], delivery.event_id.as_str());
    assert_eq!((&event["object"], &event["api_version"]), (&"event".into(), &"2026-10-28.endive".into()));
    assert_eq!((&event["livemode"], &event["created"]), (&false.into(), &t.into()));
    assert_eq!(event["request"], json!({"id": made.header("request-id"), "idempotency_key": "till:1"}));
    assert_eq!(event["data"]["object"], super::json(&made));
    let read = bench.read(&format!("/v1/events/{}", delivery.event_id));
    assert_eq!(read, event);

    let pi = bench.paid();
    let refund = bench.s.dashboard_refund(bench.now, &pi, Some(100), None).unwrap();
    bench.s.fail_refund(bench.now, &refund).unwrap();
    bench.s.open_dispute(bench.now, &pi, Some(500), "general").unwrap();
    bench.s.warn_of_fraud(bench.now, &pi, true).unwrap();
    bench.s.emit_event(bench.now, "invoice.paid", json!({"amount_paid": 5}));
    bench.s.emit_event(bench.now, "product.updated", json!({}));
    bench.done("/v1/customers", "email=a@b.c");
    let topics: Vec<(String, String)> =
        accept(&mut bench).into_iter().map(|d| (d.topic, d.event_type)).collect();
    for (topic, kind) in &topics {
        let expected = match kind.as_str() {
            k if k.starts_with("charge.dispute") => "disputes",
            k if k.starts_with("refund.") || k == "charge.refunded" => "refunds",
            "invoice.paid" => "billing",
            k if k.starts_with("customer.") => "customers",
            _ => "payments",
        };
        assert_eq!(topic, expected, "{kind}");
    }
    assert!(topics.iter().any(|(_, k)| k == "radar.early_fraud_warning.created"));
    assert!(!topics.iter().any(|(_, k)| k == "product.updated"), "nobody listens");
    assert!(bench.events().contains(&"product.updated".to_owned()));
}

#[test]
fn what_is_not_accepted_is_tried_again_for_three_days() {
    let mut bench = Bench::new();
    bench.done("/v1/customers", "name=x");
    let mut waits = Vec::new();
    let start = bench.now;
    let mut body = None;
    for attempt in 0..100 {
        let deliveries = bench.s.take_deliveries(bench.now);
        assert_eq!(deliveries.len(), 1);
        assert!(bench.s.take_deliveries(bench.now).is_empty(), "in flight");
        let bytes = deliveries[0].request.body.clone();
        assert_eq!(body.get_or_insert_with(|| bytes.clone()), &bytes, "the same body each time");
        let answer = if attempt % 2 == 0 { None } else { Some(500) };
        bench.s.delivered(bench.now, deliveries[0].id, answer);
        let Some(due) = bench.s.next_due() else { break };
        waits.push(due.since(bench.now).to_string());
        bench.now = due;
    }
    assert_eq!(waits, ["5s", "5m", "30m", "2h", "5h", "10h", "12h", "12h", "12h", "12h"]);
    assert!(bench.now.since(start) <= Millis::days(3));
    assert_eq!((bench.s.counters().deliveries_given_up, bench.s.deliveries_open()), (1, 0));
}

#[test]
fn deliveries_can_be_doubled_delayed_and_lost() {
    let mut bench = Bench::new();
    let rule =
        |type_contains: &str, fault| HookFaultRule { type_contains: type_contains.into(), fault, times: 1 };
    bench.s.inject_hook(rule("payment_intent.created", HookFault::Lose));
    bench.s.inject_hook(rule("charge.succeeded", HookFault::Delay(Millis::secs(30))));
    bench.s.inject_hook(rule("payment_intent.succeeded", HookFault::Duplicate(2)));
    bench.paid();
    let now = accept(&mut bench);
    assert_eq!(kinds(&now), ["payment_intent.succeeded"; 3]);
    assert!(now.iter().all(|d| d.event_id == now[0].event_id));
    bench.wait(Millis::secs(30));
    assert_eq!(kinds(&accept(&mut bench)), ["charge.succeeded"]);
    assert_eq!(bench.event_count(), 3, "all can be listed");
    assert_eq!(bench.s.counters().hook_faults_struck.values().sum::<u64>(), 3);
    bench.paid();
    assert_eq!(accept(&mut bench).len(), 3, "used up");
}

#[test]
fn events_are_paged_newest_first() {
    let mut bench = Bench::new();
    for n in 0..25 {
        bench.done("/v1/customers", &format!("name=c{n}"));
        bench.wait(Millis::secs(1));
    }
    let all: Vec<String> = bench.s.all_events().map(|(id, _, _)| id).rev().collect();
    let mut seen = Vec::new();
    let mut path = "/v1/events?limit=10&types[]=customer.created".to_owned();
    loop {
        let page = bench.read(&path);
        let ids: Vec<String> = page["data"].as_array().unwrap().iter().map(id).collect();
        seen.extend(ids.clone());
        if page["has_more"] == false {
            break;
        }
        path = format!("/v1/events?limit=10&types[]=customer.created&starting_after={}", ids.last().unwrap());
    }
    assert_eq!(seen, all);
    let back = bench.read(&format!("/v1/events?limit=3&ending_before={}", all[10]));
    let ids: Vec<String> = back["data"].as_array().unwrap().iter().map(id).collect();
    assert_eq!((ids.as_slice(), &back["has_more"]), (&all[7..10], &true.into()));

    let start = bench.now.unix() - 25;
    let count = |bench: &mut Bench, query: &str| {
        bench.read(&format!("/v1/events?limit=100&{query}"))["data"].as_array().unwrap().len()
    };
    assert_eq!(count(&mut bench, &format!("created[gte]={}", start + 5)), 20);
    assert_eq!(count(&mut bench, &format!("created[gt]={}&created[lte]={}", start + 5, start + 9)), 4);
    assert_eq!(count(&mut bench, &format!("created[lt]={}", start + 5)), 5);
    assert_eq!(count(&mut bench, &format!("created={}", start + 5)), 1);
    assert_eq!(count(&mut bench, "types[]=charge.failed"), 0);
    assert_eq!(count(&mut bench, "type=customer.*"), 25);
    for bad in ["limit=0", "limit=101", "starting_after=evt_x", "created[near]=1", "type=a&types[]=b"] {
        assert_eq!(bench.get(&format!("/v1/events?{bad}")).0, 400, "{bad}");
    }
    bench.wait(Millis::days(31));
    assert_eq!(count(&mut bench, ""), 0, "listable for 30 days");
    assert_eq!(bench.get(&format!("/v1/events/{}", all[0])).0, 404);
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    let run = |seed: u64| {
        let mut bench = Bench::new();
        bench.s =
            crate::stripe::StripeSandbox::new(crate::stripe::StripeConfig::new(super::KEY, SECRET, seed));
        let pi = bench.paid();
        bench.s.dashboard_refund(bench.now, &pi, Some(100), None).unwrap();
        accept(&mut bench).into_iter().map(|d| String::from_utf8(d.request.body).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
