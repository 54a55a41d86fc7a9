//! A clock that runs faster than the system's, for the demo.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::Clock;
pub use tillway_host::clock::SystemClock;
use tokio::sync::watch;

/// A clock that begins at `epoch` and runs `speed` times as fast as the machine's: the demo shows a week of
/// re-reads in a minute. It can also be put forward, so that nobody waits where nothing happens.
#[derive(Debug, Clone)]
pub struct ScaledClock {
    epoch: Timestamp,
    speed: u32,
    started: Instant,
    skipped: Arc<watch::Sender<Millis>>,
}

impl ScaledClock {
    /// Starts the clock at `epoch`; a speed of 0 counts as 1.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the Clock port's adapter")]
    pub fn start(epoch: Timestamp, speed: u32) -> Self {
        let skipped = Arc::new(watch::Sender::new(Millis(0)));
        Self { epoch, speed: speed.max(1), started: Instant::now(), skipped }
    }

    /// Puts the clock forward, never back. Whoever sleeps looks again.
    pub fn jump(&self, length: Millis) {
        self.skipped.send_modify(|skipped| skipped.0 = skipped.0.saturating_add(length.0.max(0)));
    }
}

#[async_trait]
impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        let passed = self.started.elapsed().as_micros().saturating_mul(u128::from(self.speed)) / 1000;
        self.epoch + Millis(i64::try_from(passed).unwrap_or(i64::MAX)) + *self.skipped.borrow()
    }
    async fn sleep(&self, length: Millis) {
        let mut jumps = self.skipped.subscribe();
        let until = self.now() + length;
        loop {
            let left = until.since(self.now());
            if left.0 <= 0 {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(real(left, self.speed)) => {}
                // The sender lives in `self`, so this only ends with a jump.
                _ = jumps.changed() => {}
            }
        }
    }
}

/// Rounded up to the next microsecond, so that a sleep never ends early by the scaled clock.
fn real(length: Millis, speed: u32) -> Duration {
    let micros = u64::try_from(length.0).unwrap_or(0).saturating_mul(1000);
    Duration::from_micros(micros.div_ceil(u64::from(speed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scaled_sleep_passes_at_least_its_length() {
        let clock = ScaledClock::start(Timestamp(1_000_000), 10_000);
        assert!(clock.now() >= Timestamp(1_000_000));
        let before = clock.now();
        clock.sleep(Millis::mins(1)).await;
        assert!(clock.now().since(before) >= Millis::mins(1));
    }

    #[tokio::test]
    async fn a_jump_ends_the_sleep_it_passes() {
        let clock = ScaledClock::start(Timestamp(0), 1);
        let sleeper = clock.clone();
        let slept = tokio::spawn(async move { sleeper.sleep(Millis::days(7)).await });
        tokio::task::yield_now().await;
        clock.jump(Millis::days(3));
        clock.jump(Millis(-5));
        assert!(!slept.is_finished());
        clock.jump(Millis::days(4));
        slept.await.unwrap();
        assert!(clock.now() >= Timestamp(0) + Millis::days(7));
    }

    #[test]
    fn negative_lengths_are_no_wait() {
        assert_eq!(real(Millis(-5), 1), Duration::ZERO);
        assert_eq!(real(Millis(1), 3), Duration::from_micros(334));
    }
}
