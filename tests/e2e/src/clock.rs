//! A clock that stands until it is put forward.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::Clock;

/// The clock. Who sleeps puts it forward: the tests' driver is the only one who waits.
pub struct StepClock(AtomicI64);

impl StepClock {
    /// Stands at an instant.
    #[must_use]
    pub const fn at(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.0))
    }

    /// Goes forward.
    pub fn forward(&self, length: Millis) {
        self.0.fetch_add(length.0.max(0), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for StepClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
    async fn sleep(&self, length: Millis) {
        self.forward(length);
        // Lets the others run: what is waited for may be another task's work.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
