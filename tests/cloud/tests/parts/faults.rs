//! What happens when parts of it die.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tillway_cloud_tests::{Cloud, look};
use tillway_core::http::Method;
use tillway_core::time::Millis;
use tillway_sandbox::{ApiFault, ApiFaultRule, HookFault, HookFaultRule, Sandbox as _};
use tillway_tests::world::{API_KEY, GATEWAY, GATEWAY_HOOK};

use crate::parts::desk::parked_of;

/// The worker is killed while the gateway holds its call, after the effect.
pub(crate) async fn a_worker_is_killed_in_mid_flight(cloud: &mut Cloud) {
    cloud.rest().await;
    // So that the message need not lie hidden for as long as a worker may run.
    cloud
        .stack
        .ask(json!({ "do": "impatient", "queue": "commands-stripe", "visibility": 5, "receives": 12 }))
        .await;
    let fault = ApiFault::SilenceAfter;
    let rule =
        ApiFaultRule { method: Some(Method::Post), path_contains: "/confirm".to_owned(), fault, times: 1 };
    cloud.stripe().inject(rule);
    cloud.hang(Duration::from_secs(20));
    cloud.place("K-1", "pm_card_visa");
    cloud.until("the gateway has charged", |c| c.payments("K-1").iter().any(|p| p.captured > 0)).await;
    cloud.stack.ask(json!({ "do": "kill", "function": "act-stripe" })).await;
    cloud.hang(Duration::from_millis(50));
    // The webhooks tell of the charge; what became of the command is still to be found out.
    cloud.until_status("K-1", "Paid").await;
    let open = look::open_commands(cloud.stack.engine(), "K-1").await;
    assert!(open.iter().any(|o| o.contains("confirm")), "the claim has run out already: {open:?}");
}

/// The tick finds the claim that ran out; the command is looked up, not sent again.
pub(crate) async fn what_the_killed_worker_held_was_done_once(cloud: &mut Cloud) {
    let begun = Instant::now();
    while !look::open_commands(cloud.stack.engine(), "K-1").await.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(300), "a command of K-1 never ends");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    cloud.charged_once("K-1", 4712);
    cloud
        .stack
        .ask(json!({ "do": "impatient", "queue": "commands-stripe", "visibility": 450, "receives": 12 }))
        .await;
}

/// A webhook that never came: nothing moves until the sweep.
pub(crate) async fn a_lost_webhook_is_found_by_the_sweep(cloud: &mut Cloud) {
    cloud.rest().await;
    let fault = HookFault::Lose;
    cloud.shop().inject_hook(HookFaultRule { type_contains: "order.created".to_owned(), fault, times: 1 });
    cloud.place("L-1", "pm_card_visa");
    cloud.rest().await;
    assert_eq!(cloud.status("L-1"), "Pending Payment");
    // Its schedule's time comes, and the order is older than what may still be told.
    cloud.clock.forward(Millis::mins(16));
    cloud.until_status("L-1", "Paid").await;
    cloud.charged_once("L-1", 4712);
}

/// Decide cannot start, so that an event is buried: it is parked with its order, and a person replays it.
pub(crate) async fn a_dead_letter_is_parked_and_replayed(cloud: &mut Cloud) {
    cloud.rest().await;
    cloud
        .stack
        .ask(json!({ "do": "impatient", "queue": "events.fifo", "visibility": 2, "receives": 1 }))
        .await;
    // Triage starts while the secret is whole; of nothing it makes an error.
    let empty = json!({ "do": "invoke", "function": "triage", "event": { "Records": [] } });
    assert!(cloud.stack.ask(empty).await["error"].is_string());
    cloud.stack.ask(json!({ "do": "secret", "connection": "tillway", "values": { "other": "x" } })).await;
    cloud.stack.ask(json!({ "do": "kill", "function": "orchestrate" })).await;
    cloud.place("E-1", "pm_card_visa");
    let begun = Instant::now();
    let item = loop {
        let parked = cloud.stack.engine().parked().await.unwrap();
        if let Some(item) = parked.into_iter().find(|p| p.item.code == "dead_letter") {
            break item;
        }
        assert!(begun.elapsed() < tillway_cloud_tests::PATIENCE, "nothing was parked");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(cloud.payments("E-1").is_empty());
    let key = json!({ "master_key": tillway_cloud_tests::MASTER_KEY });
    cloud.stack.ask(json!({ "do": "secret", "connection": "tillway", "values": key })).await;
    cloud
        .stack
        .ask(json!({ "do": "impatient", "queue": "events.fifo", "visibility": 360, "receives": 12 }))
        .await;
    cloud.stack.engine().parked_replay(&item.id, "test").await.unwrap();
    cloud.until_status("E-1", "Paid").await;
    cloud.charged_once("E-1", 4712);
}

/// The worker cannot start, so that a command's message is buried: its order's money stands until a person has mended the cause
/// and lets it go on. The command was never worked; by its due time it is sent again.
pub(crate) async fn a_dead_command_is_parked_and_replayed(cloud: &mut Cloud) {
    // Whose customer the gateway knows: the next order's first command is about money.
    cloud.place("T-1", "pm_card_visa");
    cloud.until_status("T-1", "Paid").await;
    cloud.rest().await;
    // The tick would send the command again meanwhile.
    cloud.stack.ask(json!({ "do": "schedules", "state": "DISABLED" })).await;
    cloud
        .stack
        .ask(json!({ "do": "impatient", "queue": "commands-stripe", "visibility": 2, "receives": 1 }))
        .await;
    let half = json!({ "webhook_secret": GATEWAY_HOOK });
    cloud.stack.ask(json!({ "do": "secret", "connection": GATEWAY, "values": half })).await;
    cloud.stack.ask(json!({ "do": "kill", "function": "act-stripe" })).await;
    let mut new = tillway_tests::world::new_order("T-2", "USD", Some("pm_card_visa"));
    new.customer.email = Some("t-1@example.com".to_owned());
    new.gateway = Some("stripe".to_owned());
    let now = cloud.now();
    cloud.shop().place_order(now, new).unwrap();
    let begun = Instant::now();
    let item = loop {
        if let Some(item) = parked_of(cloud, "T-2").await {
            break item;
        }
        assert!(begun.elapsed() < tillway_cloud_tests::PATIENCE, "nothing was parked");
    };
    assert_eq!((item["code"].as_str(), item["blocks_money"].as_bool()), (Some("dead_letter"), Some(true)));
    assert!(item["what"].as_str().unwrap().contains("stripe.create_payment"), "{item}");
    let why = cloud.stack.invoke("act-stripe").await.unwrap_or_default();
    assert!(why.contains("the function cannot start") && why.contains("`api_key` is missing"), "{why}");
    let id = item["id"].as_str().unwrap();
    let listed = cloud.command(&["parked", "list"]).await;
    assert!(listed.contains("dead_letter  [holds money commands back]"), "{listed}");
    let shown = cloud.command(&["parked", "show", id]).await;
    assert!(shown.contains("could not be worked again and again"), "{shown}");
    assert!(shown.contains("mend the cause, then replay or drop it"), "{shown}");
    assert!(cloud.payments("T-2").is_empty());

    // As a person mends it.
    let said = cloud.run(&["secrets", "put", GATEWAY, "api_key"], &format!("{API_KEY}\n")).await.ok();
    assert!(said.contains("put: api_key of stripe"), "{said}");
    cloud
        .stack
        .ask(json!({ "do": "impatient", "queue": "commands-stripe", "visibility": 450, "receives": 12 }))
        .await;
    // Its due time has come; what blocks money is not lifted by that.
    cloud.clock.forward(Millis::mins(2));
    assert_eq!(cloud.stack.invoke("tick").await, None);
    cloud.rest().await;
    assert!(parked_of(cloud, "T-2").await.is_some());
    let charged = |c: &Cloud| c.payments("T-2").iter().map(|p| p.charges_succeeded).sum::<usize>();
    assert_eq!(charged(cloud), 0, "money moved past what a person has not looked at");
    cloud.command(&["parked", "replay", id]).await;
    cloud.until_status("T-2", "Paid").await;
    cloud.rest().await;
    cloud.charged_once("T-2", 4712);
    look::booked_once(cloud.stack.engine(), "T-2").await;
    assert_eq!(parked_of(cloud, "T-2").await, None);
    assert!(look::open_commands(cloud.stack.engine(), "T-2").await.is_empty());
    let told = cloud.command(&["explain", "T-2"]).await;
    assert!(told.contains("order shop/T-2: paid") && told.contains("dead_letter"), "{told}");
    cloud.stack.ask(json!({ "do": "schedules", "state": "ENABLED" })).await;
}

/// Every schedule fires by itself when its time has come: the clock is put forward, and nobody invokes anything.
pub(crate) async fn schedules_fire(cloud: &Cloud) {
    let functions =
        ["tick", "sweep-stripe", "sweep-cybersource", "sweep-clarity", "settle-stripe", "settle-cybersource"];
    let before = worked(cloud).await;
    cloud.clock.forward(Millis::mins(16));
    let begun = Instant::now();
    loop {
        let now = worked(cloud).await;
        let silent = |name: &&&str| now.get(**name) == before.get(**name);
        let silent: Vec<&&str> = functions.iter().filter(silent).collect();
        if silent.is_empty() {
            return;
        }
        assert!(begun.elapsed() < tillway_cloud_tests::PATIENCE, "never invoked by a schedule: {silent:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// How many calls each function made.
async fn worked(cloud: &Cloud) -> BTreeMap<String, usize> {
    let calls = cloud.stack.ask(json!({ "do": "calls" })).await;
    let mut out = BTreeMap::new();
    for call in calls.as_array().unwrap() {
        let name = call["function"].as_str().unwrap_or_default().trim_start_matches("tillway-dev-");
        *out.entry(name.to_owned()).or_default() += 1;
    }
    out
}
