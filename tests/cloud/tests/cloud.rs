//! The demo's scenarios through API Gateway, Lambda, SQS and DynamoDB on a local AWS, with the sandboxes outside.
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
    pub(crate) mod edge;
    pub(crate) mod faults;
    pub(crate) mod orders;
    pub(crate) mod second;
    pub(crate) mod settle;
}

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
    let mut cloud = Cloud::start(&python, functions).await;
    println!("deployed after {:?}", begun.elapsed());
    let step = |what: &str| println!("{what} after {:?}", begun.elapsed());

    parts::orders::ways_of_an_order(&cloud).await;
    step("orders");
    parts::second::ways_of_an_order(&mut cloud).await;
    step("orders of the second gateway");
    parts::edge::answers_are_those_of_one_machine(&mut cloud).await;
    parts::edge::faults_of_meaning_are_parked(&cloud).await;
    step("edge");
    parts::calls::an_order_takes_at_most_45_calls(&mut cloud).await;
    step("calls");
    parts::faults::a_worker_is_killed_in_mid_flight(&mut cloud).await;
    step("killed worker");
    parts::faults::a_lost_webhook_is_found_by_the_sweep(&mut cloud).await;
    step("sweep");
    parts::faults::a_dead_letter_is_parked_and_replayed(&mut cloud).await;
    step("dead letter");
    parts::faults::schedules_fire(&mut cloud).await;
    step("schedules");
    parts::faults::what_the_killed_worker_held_was_done_once(&mut cloud).await;
    step("what the killed worker held");
    parts::orders::captured_on_shipment(&mut cloud).await;
    step("shipment");
    parts::settle::a_payout_is_settled_once_it_is_announced(&mut cloud).await;
    parts::settle::a_day_of_the_second_gateway_is_asked_for(&mut cloud).await;
    step("settlement");
    parts::calls::nothing_secret_is_logged(&mut cloud).await;
    if let Ok(calls) = std::env::var("TILLWAY_TEST_CALLS") {
        std::fs::copy(cloud.stack.calls(), calls).unwrap();
    }
    cloud.stack.stop().await;
    step("all");
}
