//! The demo's scenarios through API Gateway, Lambda, SQS and DynamoDB on a local AWS, with the sandboxes outside; and what only a
//! stack can show.
//!
//! `TILLWAY_TEST_CLOUD` names the python of `tests/aws/tools.sh`, `TILLWAY_TEST_CALLS` where the recorded calls are to
//! be left. Without the first this test says so and passes. It is a test of the package of the functions, so that
//! these are built beside it.
//! One deployment serves all: what follows another scenario says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests talk to a service that the environment names"
)]

mod parts {
    pub(crate) mod calls;
    pub(crate) mod demo;
    pub(crate) mod desk;
    pub(crate) mod edge;
    pub(crate) mod faults;
    pub(crate) mod orders;
    pub(crate) mod settle;
    pub(crate) mod upgrade;
}

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use tillway_cloud_tests::Cloud;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundle_works_on_a_local_aws() {
    let Ok(python) = std::env::var("TILLWAY_TEST_CLOUD") else {
        println!("skipped: TILLWAY_TEST_CLOUD is not set (tests/run sets it)");
        return;
    };
    let functions = Path::new(env!("CARGO_BIN_EXE_orchestrate")).parent().unwrap();
    let begun = Instant::now();
    let (mut cloud, merchants) = Cloud::start(&python, functions, parts::demo::casts).await;
    println!("deployed after {:?}", begun.elapsed());
    let step = |what: &str| println!("{what} after {:?}", begun.elapsed());

    let merchants = parts::demo::scenarios_end_as_on_one_machine(&cloud, merchants).await;
    step("the demo's scenarios");
    parts::edge::answers_are_those_of_one_machine(&cloud).await;
    parts::edge::faults_of_meaning_are_parked(&cloud).await;
    step("edge");
    parts::calls::warm_invocations_read_no_secret(&cloud).await;
    parts::calls::an_order_takes_at_most_45_calls(&mut cloud).await;
    step("calls");
    parts::faults::a_worker_is_killed_in_mid_flight(&mut cloud).await;
    step("killed worker");
    parts::faults::a_lost_webhook_is_found_by_the_sweep(&mut cloud).await;
    step("sweep");
    parts::faults::a_dead_letter_is_parked_and_replayed(&mut cloud).await;
    step("dead letter");
    parts::faults::schedules_fire(&cloud).await;
    step("schedules");
    parts::faults::what_the_killed_worker_held_was_done_once(&mut cloud).await;
    step("what the killed worker held");
    parts::faults::a_dead_command_is_parked_and_replayed(&mut cloud).await;
    step("dead command");
    parts::desk::a_parked_order_is_mended_and_replayed(&cloud).await;
    parts::desk::a_sweep_finds_what_never_came(&cloud).await;
    parts::desk::a_rotated_key_is_read_when_the_old_one_is_refused(&cloud).await;
    parts::desk::steps_are_printed_where_a_provider_has_no_api(&cloud).await;
    step("the command");
    parts::upgrade::orders_in_flight_end_after_upgrade_and_rollback(&cloud).await;
    step("upgrade and rollback");
    parts::orders::captured_on_shipment(&mut cloud).await;
    step("shipment");
    parts::settle::a_payout_is_settled_once_it_is_announced(&mut cloud).await;
    parts::settle::a_day_of_the_second_gateway_is_asked_for(&mut cloud).await;
    step("settlement");
    parts::desk::webhooks_are_registered_once_and_taken(&cloud).await;
    step("registered webhooks");
    parts::calls::nothing_secret_is_logged(&mut cloud).await;
    if let Ok(calls) = std::env::var("TILLWAY_TEST_CALLS") {
        std::fs::copy(cloud.stack.calls(), &calls).unwrap();
        let further: BTreeMap<&str, &str> = merchants
            .iter()
            .flat_map(|m| [(m.gateway.as_str(), m.system.key), (m.shop.as_str(), "clarity")])
            .collect();
        std::fs::write(format!("{calls}.connections"), serde_json::json!(further).to_string()).unwrap();
    }
    drop(merchants);
    cloud.stack.stop().await;
    step("all");
}
