//! Time on the stage. The clock runs a little faster than the real one; where nothing is under way it is put
//! forward to whatever falls due next, so that a week of waiting passes in a moment and nothing is left out.

use std::time::Duration;

use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Clock as _, DUE_SHARDS};
use tillway_engine::records::{EVENTS, command_queue};
use tillway_sandbox::Sandbox as _;

use super::gateway::SYSTEMS;
use super::stage::Stage;

/// Between two looks.
pub const LOOK: Duration = Duration::from_millis(12);
/// Looks in a row without anything under way that make it quiet: between two queues a message is in neither.
const STILL: u32 = 5;
/// Longest real wait for quiet.
const SETTLE: Duration = Duration::from_secs(20);
/// What falls due within this of the next thing is taken along, so that many small steps become one.
const TOGETHER: Millis = Millis::secs(2);

impl Stage {
    fn queues() -> impl Iterator<Item = String> {
        let systems = SYSTEMS.iter().map(|s| s.key).chain(["clarity", "notify"]);
        std::iter::once(EVENTS.to_owned()).chain(systems.map(command_queue))
    }

    /// Messages in Tillway's queues.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn queued(&self) -> anyhow::Result<usize> {
        let mut sum = 0_usize;
        for queue in Self::queues() {
            sum = sum.saturating_add(self.machine.engine.ports.queue.depth(&queue).await?);
        }
        Ok(sum)
    }

    /// Messages that were given up.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn dead(&self) -> anyhow::Result<usize> {
        let mut sum = 0_usize;
        for queue in Self::queues() {
            let dead = tillway_local::sqlite::dead_queue(&queue);
            sum = sum.saturating_add(self.machine.engine.ports.queue.depth(&dead).await?);
        }
        Ok(sum)
    }

    /// Whether nothing is under way at this moment.
    async fn quiet(&self) -> anyhow::Result<bool> {
        let now = self.clock.now();
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        for merchant in &self.merchants {
            let (gateway, shop) = (merchant.account().next_due(), merchant.clarity().next_due());
            if due(gateway) || due(shop) {
                return Ok(false);
            }
            if merchant.account().in_flight() + merchant.clarity().in_flight() > 0 {
                return Ok(false);
            }
        }
        Ok(self.queued().await? == 0)
    }

    /// Whether nothing was under way for a while.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn still(&self) -> anyhow::Result<bool> {
        for look in 0..STILL {
            if look > 0 {
                tokio::time::sleep(LOOK).await;
            }
            if !self.quiet().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until what is under way is done. What falls due later is left for later.
    ///
    /// # Errors
    /// Where the store does not answer, or work goes on and on.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        while !self.still().await? {
            if begun.elapsed() > SETTLE {
                anyhow::bail!("Tillway was still busy after {} s", SETTLE.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The next moment after `after` at which something falls due, in Tillway or in a sandbox; and whether
    /// Tillway has something overdue.
    async fn next_due(&self, after: Timestamp) -> anyhow::Result<(Option<Timestamp>, bool)> {
        let mut times: Vec<Timestamp> = Vec::new();
        let mut overdue = false;
        for shard in 0..DUE_SHARDS {
            let until = after + Millis::days(400);
            for item in self.machine.engine.ports.store.due(shard, until, 100).await? {
                match item.due {
                    Some(due) if due.at > after => times.push(due.at),
                    Some(_) => overdue = true,
                    None => {}
                }
            }
        }
        for merchant in &self.merchants {
            times.extend(merchant.account().next_due());
            times.extend(merchant.clarity().next_due());
        }
        Ok((times.into_iter().filter(|at| *at > after).min(), overdue))
    }

    /// Puts the clock forward to the next thing that falls due, at most to `limit`. `false` where nothing
    /// does before. To be called when it is still.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn skip(&self, limit: Timestamp) -> anyhow::Result<bool> {
        let (mut next, overdue) = self.next_due(self.clock.now()).await?;
        if overdue {
            // The ticker would see it in a moment. What it set going may be over before anybody looks.
            self.machine.engine.tick().await?;
            self.settle().await?;
            let (then, stuck) = self.next_due(self.clock.now()).await?;
            if !stuck {
                return Ok(true);
            }
            next = then;
        }
        let now = self.clock.now();
        let Some(at) = next.filter(|at| *at <= limit) else { return Ok(false) };
        let at = (at + TOGETHER).0.min(limit.0.max(at.0));
        self.clock.jump(Timestamp(at).since(now));
        self.machine.engine.tick().await?;
        Ok(true)
    }

    /// Lets time pass, with everything that falls due in it.
    ///
    /// # Errors
    /// Where the store does not answer, or work goes on and on.
    pub async fn pass(&self, length: Millis) -> anyhow::Result<()> {
        let until = self.clock.now() + length;
        while self.clock.now() < until {
            self.settle().await?;
            if !self.skip(until).await? {
                self.clock.jump(until.since(self.clock.now()));
            }
        }
        self.machine.engine.tick().await?;
        self.settle().await
    }
}
