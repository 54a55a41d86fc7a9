//! What happens when parts of it die.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tillway_cloud_tests::{Cloud, look};
use tillway_core::http::Method;
use tillway_core::time::Millis;
use tillway_sandbox::{ApiFault, ApiFaultRule, HookFault, HookFaultRule, Sandbox as _};

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
