//! The memory adapters under the suite that every adapter of the ports must pass.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Queue, Store};

use crate::dice::Dice;
use crate::exec::{After, Exec, lock};
use crate::faults::{FaultLevel, Faults, Mask};
use crate::memory::Gate;
use crate::memory::queue::{MemoryQueue, dead_queue};
use crate::memory::store::MemoryStore;

/// A bench: an executor and the ports over it, without faults.
pub struct Bench {
    exec: Exec,
    gate: Gate,
}

/// How often a message is handed out on the bench before it is dead.
pub const MAX_RECEIVES: u32 = 5;

impl Bench {
    /// A bench.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let exec = Exec::new(Timestamp(1_795_248_000_000), Dice::new(seed, 1));
        let core = exec.core.clone();
        let faults = Faults::new(core.clone(), Dice::new(seed, 2), FaultLevel::None, Mask::default());
        let gate = Gate { core, faults: Arc::new(faults) };
        Self { exec, gate }
    }
    /// Makes empty stores.
    pub fn stores(&self) -> impl Fn() -> Box<dyn Store> + Send + Sync + use<> {
        let gate = self.gate.clone();
        move || Box::new(MemoryStore::new(gate.clone(), false))
    }
    /// Makes empty queues.
    pub fn queues(&self) -> impl Fn() -> Box<dyn Queue> + Send + Sync + use<> {
        let gate = self.gate.clone();
        move || Box::new(MemoryQueue::new(gate.clone(), MAX_RECEIVES))
    }
    /// Lets time pass.
    pub fn advance(
        &self,
    ) -> impl Fn(Millis) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + use<> {
        let core = self.gate.core.clone();
        move |length| Box::pin(core.sleep_until(core.now() + length))
    }
    /// Name of the dead-letter queue of a queue.
    #[must_use]
    pub fn dead(queue: &str) -> String {
        dead_queue(queue)
    }
    /// Runs a future to its end.
    pub fn run<T: Send + 'static>(&mut self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let done: Arc<Mutex<Option<T>>> = Arc::default();
        let into = done.clone();
        let work = Box::pin(async move {
            let value = work.await;
            *lock(&into) = Some(value);
        });
        self.exec.core.spawn("bench", work, After::Immune);
        while self.exec.step() || lock(&done).is_none() && self.exec.jump() {}
        lock(&done).take()
    }
}
