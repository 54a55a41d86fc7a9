//! `tillway serve` as it is run: a process of its own, killed when it suits nobody.

use tillway_sandbox::clarity::OrderStatus;
use tillway_tests::child::{Place, mode, wait_until};
use tillway_tests::wire::exchange;
use tillway_tests::world::new_order;
use tillway_core::http::{Method, Request};
use tillway_core::journal::Entry;
use tillway_core::time::Millis;
use tillway_engine::ports::{Clock as _, Queue as _, Store as _};
use tillway_engine::records::{EVENTS, command_queue};
use tillway_local::sqlite::{Database, Options};
use tillway_tests::clock::StepClock;

use crate::TILLWAY;

/// Short times, so that what a killed process held is looked at soon; sweeps find what nobody was there for.
const SHORT: &str =
    "sweep_every: 3s\ntimes: { call_limit: 1s, resend_after: 1s, sweep_grace: 1s, sweep_overlap: 5m }\n";

/// Orders placed.
const ORDERS: usize = 40;

/// Lets the minute and a half pass after which a message held by a dead process is handed out again.
async fn let_hidden_messages_return(place: &Place) {
    let later = std::sync::Arc::new(StepClock::at(place.now() + Millis::mins(10)));
    let file = place.data().join("tillway.sqlite");
    let database = Database::open(&file, Options::new(later.clone())).unwrap();
    let queue = database.queue();
    for name in [EVENTS.to_owned()].into_iter().chain(["stripe", "clarity", "notify"].map(command_queue)) {
        loop {
            // Handed out by a clock ten minutes ahead, until a moment before now.
            let past = place.now().since(later.now()) - Millis::secs(1);
            let batch = queue.receive(&name, 10, past).await.unwrap();
            if batch.is_empty() {
                break;
            }
        }
    }
}
