//! The same contract as SQLite and the simulator's memory.

use tillway_aws::store::Layout;
use tillway_engine::contract::{FIFO, QueueRig, STANDARD, queue_suite, shelf_suite, store_suite};
use tillway_engine::ports::{Queue, Shelf, Store};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::cloud::{MAX_RECEIVES, clock, cloud, dead_queue};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract() {
    let Some(cloud) = cloud("the store's contract").await else { return };
    let make =
        || -> Box<dyn Store> { Box::new(block_in_place(|| Handle::current().block_on(cloud.store()))) };
    let passed = store_suite(&make).await.unwrap();
    assert!(passed.len() > 20, "{passed:?}");
}

/// The engine's records lie in pages; so does here whatever the contract writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract_with_every_item_in_a_page() {
    let Some(cloud) = cloud("the store's contract over pages").await else { return };
    let make = || -> Box<dyn Store> {
        let store = block_in_place(|| Handle::current().block_on(cloud.store()));
        Box::new(store.laid_out(Layout::PAGES))
    };
    let passed = store_suite(&make).await.unwrap();
    assert!(passed.len() > 20, "{passed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shelf_keeps_the_contract() {
    let Some(cloud) = cloud("the shelf's contract").await else { return };
    let make =
        || -> Box<dyn Shelf> { Box::new(block_in_place(|| Handle::current().block_on(cloud.shelf()))) };
    let passed = shelf_suite(&make).await.unwrap();
    assert_eq!(passed.len(), 4, "{passed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queues_keep_the_contract() {
    let test = "the queues' contract";
    let (Some(cloud), Some(advance)) = (cloud(test).await, clock(test)) else { return };
    let claims = cloud.claims().await;
    let make = || -> Box<dyn Queue> {
        let made = cloud.queues(&[STANDARD, FIFO], claims.clone());
        Box::new(block_in_place(|| Handle::current().block_on(made)))
    };
    let rig = QueueRig { make: &make, advance: &advance, max_receives: MAX_RECEIVES, dead: &dead_queue };
    let passed = queue_suite(rig).await.unwrap();
    assert!(passed.len() > 20, "{passed:?}");
}
