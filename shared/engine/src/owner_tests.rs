//! A shop with two gateways: each order belongs to one pair, whoever speaks first, and what the other gateway tells of it
//! goes to a person before any more money moves.

use super::*;

#[path = "race_tests.rs"]
mod race_tests;

const TWO: &str = "connections:\n  shop: { system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key }\n  \
                   gate: { system: stripe }\n  signed: { system: cybersource, merchant_id: acme, key_id: k1 }\npairs:\n  \
                   cards: { flow: stripe-clarity, shop: shop, gateway: gate, return_url: \"https://shop.example/back\" }\n  \
                   bank: { flow: cybersource-clarity, shop: shop, gateway: signed }\n";

async fn two() -> World {
    World::with(TWO, |_| Response::new(404)).await
}

fn at(gateway: Option<&str>, version: u32) -> Json {
    let mut order = order("A-1", version);
    order["payment"] = json!({"token": "5A9F8E0C1B2D3E4F"});
    if let Some(gateway) = gateway {
        order["payment"]["gateway"] = gateway.into();
    }
    order
}

fn charge(id: &str) -> Event {
    let charge = json!({
        "id": "ch_1", "object": "charge", "amount": 1000, "amount_captured": 1000, "amount_refunded": 0, "captured": true,
        "created": 1_763_712_000, "currency": "usd", "paid": true, "status": "succeeded", "payment_intent": "pi_1",
        "refunded": false, "disputed": false, "metadata": {"clarity_order_id": "A-1"},
    });
    let body =
        json!({"id": id, "type": "charge.succeeded", "created": 1_763_712_000, "data": {"object": charge}});
    Event {
        connection: ConnectionName::new("gate"),
        kind: "charge.succeeded".to_owned(),
        body: EventBody::Provider { json: RawJson::from_value(&body).unwrap() },
        ..event(id, &Json::Null)
    }
}

impl World {
    fn record(&self) -> rec::OrderRecord {
        let item = self.item(&rec::state_key(&OrderKey::from("shop/A-1"))).unwrap();
        serde_json::from_slice(&item.body).unwrap()
    }
    fn bound(&self) -> Option<String> {
        self.record().state.binding.map(|b| b.pair)
    }
    /// Actions commanded so far.
    fn commands(&self) -> Vec<String> {
        let items = self.memory.items.lock().unwrap();
        let commands = items.values().filter(|i| i.key.sk.starts_with("cmd#"));
        commands.map(|i| serde_json::from_slice::<rec::CommandRecord>(&i.body).unwrap().action).collect()
    }
}

#[tokio::test]
async fn the_gateway_an_order_names_decides_and_no_other_is_asked() {
    for (gateway, pair, action) in
        [("cybersource", "bank", "cybersource.authorize"), ("Stripe", "cards", "stripe.ensure_customer")]
    {
        let w = two().await;
        w.engine.work_event(event("e-1", &at(Some(gateway), 1))).await.unwrap();
        assert_eq!(w.bound().as_deref(), Some(pair));
        assert_eq!(w.commands(), [action]);
    }
}

#[tokio::test]
async fn an_order_that_names_no_gateway_or_one_nobody_has_is_parked_and_bound_to_none() {
    for (gateway, said) in [
        (None, "send payment.gateway"),
        (Some("clarity"), "to be paid at clarity"),
        (Some("invoice"), "send payment.gateway"),
    ] {
        let w = two().await;
        w.engine.work_event(event("e-1", &at(gateway, 1))).await.unwrap();
        let parked = w.engine.parked().await.unwrap();
        assert_eq!(parked.len(), 1);
        let item = &parked[0].item;
        assert!(item.code == "no_single_pair" && item.what.contains(said), "{item:?}");
        assert!(w.commands().is_empty());
    }
}

/// An event that cannot be read names no pair either: a person is told what is wrong in it, not that it names none.
#[tokio::test]
async fn an_order_that_cannot_be_read_is_parked_for_that_and_not_for_want_of_a_pair() {
    let w = two().await;
    let mut odd = at(Some("stripe"), 1);
    odd["status"] = "Vorgemerkt".into();
    w.engine.work_event(event("e-1", &odd)).await.unwrap();
    let parked = w.engine.parked().await.unwrap();
    let told: Vec<_> = parked.iter().map(|p| (p.item.code.as_str(), p.item.field.as_deref())).collect();
    assert_eq!(told, [("status_unknown", Some("data.status"))]);
    // Mended it is taken by the pair that it names.
    let mut content = w.engine.parked_show(&parked[0].id).await.unwrap().content.unwrap();
    content["data"]["status"] = "Pending Payment".into();
    w.engine.parked_edit(&parked[0].id, content, "mender").await.unwrap();
    w.engine.work_event(event("e-2", &at(Some("stripe"), 2))).await.unwrap();
    assert_eq!(w.bound().as_deref(), Some("cards"));
}

/// Nobody can say yet whose it is, and that is not what is wrong: the event that would say it lies in the parking lot.
#[tokio::test]
async fn a_dead_event_of_an_order_that_was_never_bound_has_a_reason_of_its_own() {
    let w = two().await;
    w.engine.handle_dead(rec::EVENTS, &dead(&w, &event("e-1", &at(Some("stripe"), 1)))).await.unwrap();
    w.work().await;
    assert_eq!((w.alerted("dead_letter_unbound"), w.alerted("no_single_pair")), (1, 0));
    let parked = w.engine.parked().await.unwrap();
    let told: Vec<_> = parked.iter().map(|p| p.item.code.as_str()).collect();
    assert_eq!(told, ["dead_letter"]);
    // Replayed it names its pair.
    w.engine.parked_replay(&parked[0].id, "mender").await.unwrap();
    w.work().await;
    assert_eq!(w.bound().as_deref(), Some("cards"));
    assert!(w.engine.parked().await.unwrap().is_empty());
}

#[tokio::test]
async fn whoever_speaks_first_has_the_order_and_the_other_gateway_is_not_asked_for_money_too() {
    let w = two().await;
    w.engine.work_event(charge("evt_1")).await.unwrap();
    assert_eq!(w.bound().as_deref(), Some("cards"), "a payment of the one gateway came before the order");
    w.engine.work_event(event("e-1", &at(Some("cybersource"), 1))).await.unwrap();
    assert_eq!(w.bound().as_deref(), Some("cards"));
    let state = w.record().state;
    let item = state.parked.get("gateway_changed").unwrap();
    assert!(item.blocks_money && item.what.contains("paid at cybersource"), "{item:?}");
    assert!(!w.commands().iter().any(|c| c.starts_with("cybersource.") || c == "stripe.create_payment"));
    // Said again it is no second item.
    w.engine.work_event(event("e-2", &at(Some("cybersource"), 2))).await.unwrap();
    assert_eq!(w.engine.parked().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_another_gateway_tells_of_an_order_is_parked_whole_and_money_waits() {
    let w = two().await;
    w.engine.work_event(event("e-1", &at(Some("cybersource"), 1))).await.unwrap();
    w.engine.work_event(charge("evt_1")).await.unwrap();
    let state = w.record().state;
    assert!(state.payments.is_empty(), "it is not joined: {:?}", state.payments.keys());
    let item = state.parked.values().next().unwrap();
    assert!(item.code == "other_pair" && item.blocks_money && item.what.contains("pair bank"), "{item:?}");
    let parked = w.engine.parked().await.unwrap();
    assert_eq!(parked.len(), 1);
    // The same event again is the same item.
    w.engine.work_event(charge("evt_1")).await.unwrap();
    assert_eq!(w.engine.parked().await.unwrap().len(), 1);
    assert_eq!(w.record().state.parked.len(), 1);
}

#[tokio::test]
async fn an_older_version_of_the_order_that_comes_late_moves_it_nowhere() {
    let w = two().await;
    w.engine.work_event(event("e-2", &at(Some("cybersource"), 2))).await.unwrap();
    w.engine.work_event(event("e-1", &at(Some("stripe"), 1))).await.unwrap();
    assert_eq!(w.bound().as_deref(), Some("bank"));
    assert!(w.engine.parked().await.unwrap().is_empty() && w.record().state.parked.is_empty());
}
