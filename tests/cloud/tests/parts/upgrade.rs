//! infra/DEPLOY.md, "Upgrade" and "Rollback", with orders in mid-flight.

use std::time::{Duration, Instant};

use serde_json::json;
use tillway_cloud_tests::{Cloud, look};
use tillway_core::time::Millis;
use tillway_sandbox::Sandbox as _;

/// For so long the gateway answers nobody.
const OUTAGE: Millis = Millis::mins(10);

/// An order's total, minor units.
const TOTAL: i64 = 4712;

/// Another version is deployed over what runs and the newest over that: orders that began before end after it, in either direction.
///
/// The other version is the template before its newest change, and where `TILLWAY_TEST_EARLIER` names a folder of functions that were
/// built from other sources, these.
pub(crate) async fn orders_in_flight_end_after_upgrade_and_rollback(cloud: &Cloud) {
    cloud.rest().await;
    let functions = std::env::var("TILLWAY_TEST_EARLIER").ok();
    let url = cloud.stack.url().to_owned();
    for (what, earlier) in [("B", true), ("U", false)] {
        let order = |kind: &str, n: usize| format!("{what}-{kind}{n}");
        let held: Vec<String> = (1..=2).map(|n| order("held", n)).collect();
        let moving: Vec<String> = (1..=4).map(|n| order("moving", n)).collect();
        // The gateway is away: these stand by a command that is due again later.
        let until = cloud.now() + OUTAGE;
        cloud.stripe().down_until(until);
        for name in &held {
            cloud.place(name, "pm_card_visa");
        }
        for name in &held {
            let begun = Instant::now();
            while look::record(cloud.stack.engine(), name).await.is_none() {
                assert!(begun.elapsed() < tillway_cloud_tests::PATIENCE, "nothing was decided on {name}");
            }
            assert!(cloud.payments(name).is_empty(), "the gateway is away");
        }
        // And these, at the other gateway, are on their way through the queues as the functions are replaced.
        for name in &moving {
            cloud.place_at(name, "cybersource", "tok_visa");
        }
        let before = cloud.stack.ask(json!({ "do": "code" })).await;
        let deploy = json!({ "do": "deploy", "earlier": earlier, "functions": functions });
        let deployed = cloud.stack.ask(deploy).await;
        let after = cloud.stack.ask(json!({ "do": "code" })).await;
        let replaced =
            before.as_object().unwrap().iter().filter(|(name, code)| after[*name] != **code).count();
        println!(
            "deployed {}: {replaced} functions of other code",
            deployed["version"].as_str().unwrap_or("?")
        );
        assert_eq!(replaced > 0, functions.is_some(), "{before}, {after}");
        assert_eq!(deployed["url"], url.as_str(), "providers know the address");
        cloud.clock.forward(OUTAGE);
        for name in held.iter().chain(&moving) {
            cloud.until_known(name, "paid").await;
        }
        comes_to_rest(cloud).await;
        for name in held.iter().chain(&moving) {
            look::booked_once(cloud.stack.engine(), name).await;
            assert_eq!(look::balance(cloud.stack.engine(), name, "gateway_clearing").await, TOTAL, "{name}");
            assert!(look::open_commands(cloud.stack.engine(), name).await.is_empty(), "{name} has not ended");
        }
        held.iter().for_each(|name| cloud.charged_once(name, TOTAL));
        let parked = cloud.command(&["parked", "list"]).await;
        let ours = held.iter().chain(&moving).find(|name| parked.contains(&format!("shop/{name}")));
        assert_eq!(ours, None, "{parked}");
        // What the other version wrote is read by this one's command.
        let told = cloud.command(&["explain", &held[0]]).await;
        assert!(told.contains(&format!("order shop/{}: paid", held[0])), "{told}");
    }
}

/// What the API could not take while the functions were replaced is delivered again by its provider, minutes later.
async fn comes_to_rest(cloud: &Cloud) {
    for _ in 0..12 {
        if tokio::time::timeout(Duration::from_secs(5), cloud.rest()).await.is_ok() {
            return;
        }
        cloud.clock.forward(OUTAGE);
    }
    cloud.rest().await;
}
