//! Time on the stage. The clock runs a little faster than the real one; where nothing is under way it is put
//! forward to whatever falls due next, so that a week of waiting passes in a moment and nothing is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::Engine;
use tillway_engine::ports::{Clock as _, DUE_SHARDS, Notice, Store};
use tillway_engine::records::{EVENTS, command_queue};
use tillway_sandbox::Sandbox as _;

use super::gateway::SYSTEMS;
use super::stage::{Merchant, Stage};
use super::world::World;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(12);
/// Looks in a row without anything under way that make it quiet: between two queues a message is in neither.
const STILL: u32 = 5;
/// Longest real wait for one thing to happen, and for quiet.
const PATIENCE: Duration = Duration::from_secs(20);
/// What falls due within this of the next thing is taken along, so that many small steps become one.
const TOGETHER: Millis = Millis::secs(2);

/// Queues of Tillway's, by the names the engine has for them.
pub fn queues() -> impl Iterator<Item = String> {
    let systems = SYSTEMS.iter().map(|s| s.key).chain(["clarity", "notify"]);
    std::iter::once(EVENTS.to_owned()).chain(systems.map(command_queue))
}

/// Whether no sandbox has something under way or due.
pub fn outside_rests(merchants: &[Merchant], now: Timestamp) -> bool {
    let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
    merchants.iter().all(|merchant| {
        let (account, clarity) = (merchant.account(), merchant.clarity());
        !due(account.next_due()) && !due(clarity.next_due()) && account.in_flight() + clarity.in_flight() == 0
    })
}

/// The next moment after `after` at which something falls due, in Tillway or in a sandbox; and whether Tillway has something
/// overdue.
///
/// # Errors
/// Where the store does not answer.
pub async fn next_due(
    store: &dyn Store,
    merchants: &[Merchant],
    after: Timestamp,
) -> anyhow::Result<(Option<Timestamp>, bool)> {
    let mut times: Vec<Timestamp> = Vec::new();
    let mut overdue = false;
    let shards = (0..DUE_SHARDS).map(|shard| store.due(shard, after + Millis::days(400), 100));
    for item in try_join_all(shards).await?.into_iter().flatten() {
        match item.due {
            Some(due) if due.at > after => times.push(due.at),
            Some(_) => overdue = true,
            None => {}
        }
    }
    for merchant in merchants {
        times.extend(merchant.account().next_due());
        times.extend(merchant.clarity().next_due());
    }
    Ok((times.into_iter().filter(|at| *at > after).min(), overdue))
}

impl Stage {
    /// Whether nothing is under way at this moment.
    async fn quiet(&self) -> anyhow::Result<bool> {
        if !outside_rests(&self.merchants, self.clock.now()) {
            return Ok(false);
        }
        let (queued, _) = self.queued().await?;
        Ok(queued == 0)
    }

    /// Whether nothing was under way for a while.
    ///
    /// # Errors
    /// Where the store does not answer.
    async fn still(&self) -> anyhow::Result<bool> {
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

    async fn next_due(&self, after: Timestamp) -> anyhow::Result<(Option<Timestamp>, bool)> {
        next_due(self.machine.engine.ports.store.as_ref(), &self.merchants, after).await
    }

    /// Puts the clock forward to the next thing that falls due, at most to `limit`. `false` where nothing
    /// does before. To be called when it is still.
    ///
    /// # Errors
    /// Where the store does not answer.
    async fn skip(&self, limit: Timestamp) -> anyhow::Result<bool> {
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
}

#[async_trait]
impl World for Stage {
    fn merchants(&self) -> &[Merchant] {
        &self.merchants
    }
    fn engine(&self) -> &Engine {
        &self.machine.engine
    }
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn front_url(&self) -> String {
        self.front_url.clone()
    }
    fn looks(&self) -> (Duration, Duration) {
        (LOOK, PATIENCE)
    }
    fn notices(&self) -> Vec<Notice> {
        self.notices.sent()
    }
    async fn alarms(&self, code: &str) -> anyhow::Result<u64> {
        Ok(self.machine.alerts.snapshot().alerts.get(code).copied().unwrap_or(0))
    }
    async fn refused(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        Ok(self.machine.alerts.snapshot().counters.get("receive_refused").cloned().unwrap_or_default())
    }
    async fn queued(&self) -> anyhow::Result<(usize, usize)> {
        let queue = &self.machine.engine.ports.queue;
        let (mut waiting, mut dead) = (0_usize, 0_usize);
        for name in queues() {
            waiting = waiting.saturating_add(queue.depth(&name).await?);
            dead = dead.saturating_add(queue.depth(&tillway_local::sqlite::dead_queue(&name)).await?);
        }
        Ok((waiting, dead))
    }
    async fn kept(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let mut paths = Vec::new();
        files_below(&self.folder, &mut paths);
        paths.into_iter().map(|path| Ok((path.display().to_string(), std::fs::read(&path)?))).collect()
    }
    async fn settle(&self) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        while !self.still().await? {
            if begun.elapsed() > PATIENCE {
                anyhow::bail!("Tillway was still busy after {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
    async fn wait(&self, limit: Timestamp) -> anyhow::Result<bool> {
        let more = !self.still().await? || self.skip(limit).await?;
        tokio::time::sleep(LOOK).await;
        Ok(more)
    }
    async fn pass(&self, length: Millis) -> anyhow::Result<()> {
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

fn files_below(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files_below(&path, out) } else { out.push(path) }
    }
}
