//! The engine at work in one process: workers on the queues, and the schedule.
//!
//! Workers only save time. Each of them may die at any moment; messages come back by visibility, commands
//! by their due time. A panic fails the one message it met and no worker.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use tillway_core::time::Millis;
use tillway_engine::ports::{Alerts as _, InMessage};
use tillway_engine::records::{EVENTS, command_queue};
use tillway_engine::settle::Step;
use tillway_engine::{Engine, guarded};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::alerts::LogAlerts;
use crate::server::{Answer, Front};
use crate::sqlite::SqliteQueue;

/// How many of each, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Workers on the events queue.
    pub deciders: usize,
    /// Workers on each commands queue.
    pub actors: usize,
    /// Time between ticks.
    pub tick: Millis,
    /// Time between sweeps of a connection.
    pub sweep: Millis,
    /// Time between looks at what is to be settled; `None`: by command alone.
    pub settle: Option<Millis>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deciders: 8,
            actors: 8,
            tick: Millis::secs(15),
            sweep: Millis::mins(15),
            settle: Some(Millis::secs(15)),
        }
    }
}

/// A message hidden by a worker that died comes back after this: longer than a worker holds one, which is
/// two calls and the wait for its place in line.
fn visibility(engine: &Engine) -> Millis {
    Millis(engine.config.times.call_limit.0.saturating_mul(3).max(Millis::secs(10).0))
}
/// A message that failed comes back after this.
const RETRY: Millis = Millis::secs(2);

/// A running engine.
pub struct Runtime {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Runtime {
    /// Starts the workers.
    #[must_use]
    pub fn start(engine: &Arc<Engine>, queue: &Arc<SqliteQueue>, options: Options) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for _ in 0..options.deciders {
            tasks.spawn(decider(engine.clone(), queue.clone(), stopped.clone()));
        }
        let mut systems: Vec<String> =
            engine.config.connections.values().map(|(c, _)| c.system.clone()).collect();
        systems.push("notify".to_owned());
        systems.sort();
        systems.dedup();
        let mut dead = vec![EVENTS.to_owned()];
        for system in systems {
            let name = command_queue(&system);
            dead.push(name.clone());
            for _ in 0..options.actors {
                tasks.spawn(actor(engine.clone(), queue.clone(), name.clone(), stopped.clone()));
            }
        }
        for name in dead {
            tasks.spawn(triage(engine.clone(), queue.clone(), name, stopped.clone()));
        }
        tasks.spawn(ticker(engine.clone(), options.tick, stopped.clone()));
        tasks.spawn(watcher(engine.clone(), stopped.clone()));
        for name in engine.config.used().map(|(connection, _)| &connection.name) {
            tasks.spawn(sweeper(engine.clone(), name.clone(), options.sweep, stopped.clone()));
            if let Some(every) = options.settle.filter(|_| engine.settled_by_itself(name).is_some()) {
                tasks.spawn(settler(engine.clone(), name.clone(), every, stopped.clone()));
            }
        }
        Self { tasks, stop }
    }

    /// Lets every worker finish what it holds, then ends.
    pub async fn stop(mut self) {
        // Nobody listening any more is as good as told.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Waits for news on a queue, at most a short while of the engine's clock; `false`: stop.
async fn idle(engine: &Engine, queue: &SqliteQueue, name: &str, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = queue.notified(name) => {}
        () = engine.ports.clock.sleep(Millis::secs(1)) => {}
        _ = stopped.changed() => {}
    }
    !*stopped.borrow()
}

async fn decider(engine: Arc<Engine>, queue: Arc<SqliteQueue>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let batch = match engine.ports.queue.receive(EVENTS, 10, visibility(&engine)).await {
            Ok(batch) if !batch.is_empty() => batch,
            Ok(_) => {
                if idle(&engine, &queue, EVENTS, &mut stopped).await {
                    continue;
                }
                return;
            }
            Err(error) => {
                tracing::error!(code = "queue", "{error}");
                engine.ports.clock.sleep(Millis::secs(1)).await;
                continue;
            }
        };
        let mut groups: BTreeMap<Option<String>, Vec<InMessage>> = BTreeMap::new();
        for message in batch {
            groups.entry(message.group.clone()).or_default().push(message);
        }
        // Each in a box: ten futures side by side are a block of memory that is mapped anew each time.
        join_all(groups.values().map(|group| Box::pin(decide_group(&engine, group)))).await;
    }
}

async fn decide_group(engine: &Engine, group: &[InMessage]) {
    let done = engine.handle_events(group).await;
    let failed: Vec<&InMessage> = group.iter().filter(|m| !done.contains(&m.receipt)).collect();
    if !done.is_empty()
        && let Err(error) = engine.ports.queue.delete(EVENTS, done).await
    {
        // They come back and change nothing.
        tracing::warn!(code = "queue", "{error}");
    }
    for message in failed {
        if let Err(error) = engine.ports.queue.release(EVENTS, &message.receipt, RETRY).await {
            tracing::warn!(code = "queue", "{error}");
        }
    }
}

async fn actor(
    engine: Arc<Engine>,
    queue: Arc<SqliteQueue>,
    name: String,
    mut stopped: watch::Receiver<bool>,
) {
    while !*stopped.borrow() {
        let batch = match engine.ports.queue.receive(&name, 10, visibility(&engine)).await {
            Ok(batch) if !batch.is_empty() => batch,
            Ok(_) => {
                if idle(&engine, &queue, &name, &mut stopped).await {
                    continue;
                }
                return;
            }
            Err(error) => {
                tracing::error!(code = "queue", "{error}");
                engine.ports.clock.sleep(Millis::secs(1)).await;
                continue;
            }
        };
        let work = batch.iter().map(|message| Box::pin(guarded(engine.handle_command(message))));
        let handled = join_all(work).await;
        let mut done = Vec::new();
        for (message, result) in batch.iter().zip(handled) {
            match result {
                Ok(()) => done.push(message.receipt.clone()),
                Err(error) => {
                    tracing::warn!(
                        code = error.code(),
                        attempt = message.receives,
                        "command goes back: {error}"
                    );
                    if let Err(error) = engine.ports.queue.release(&name, &message.receipt, RETRY).await {
                        tracing::warn!(code = "queue", "{error}");
                    }
                }
            }
        }
        if !done.is_empty()
            && let Err(error) = engine.ports.queue.delete(&name, done).await
        {
            tracing::warn!(code = "queue", "{error}");
        }
    }
}

async fn triage(
    engine: Arc<Engine>,
    queue: Arc<SqliteQueue>,
    name: String,
    mut stopped: watch::Receiver<bool>,
) {
    let dead = crate::sqlite::dead_queue(&name);
    while !*stopped.borrow() {
        let batch = engine.ports.queue.receive(&dead, 10, visibility(&engine)).await.unwrap_or_default();
        if batch.is_empty() {
            tokio::select! {
                () = queue.notified(&dead) => {}
                () = engine.ports.clock.sleep(Millis::secs(60)) => {}
                _ = stopped.changed() => {}
            }
            continue;
        }
        for message in batch {
            match guarded(engine.handle_dead(&name, &message)).await {
                Ok(()) => {
                    if let Err(error) = engine.ports.queue.delete(&dead, vec![message.receipt]).await {
                        tracing::warn!(code = "queue", "{error}");
                    }
                }
                Err(error) => tracing::error!(code = error.code(), "triage goes back: {error}"),
            }
        }
    }
}

/// Looks how things stand, for `/healthz`.
async fn watcher(engine: Arc<Engine>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        if let Err(error) = guarded(engine.gauges()).await {
            tracing::error!(code = error.code(), "gauges: {error}");
        }
        tokio::select! {
            () = engine.ports.clock.sleep(Millis::mins(1)) => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn ticker(engine: Arc<Engine>, every: Millis, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        if let Err(error) = guarded(engine.tick()).await {
            tracing::error!(code = error.code(), "tick: {error}");
        }
        tokio::select! {
            () = engine.ports.clock.sleep(every) => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn sweeper(
    engine: Arc<Engine>,
    connection: tillway_core::ids::ConnectionName,
    every: Millis,
    mut stopped: watch::Receiver<bool>,
) {
    let mut more = false;
    while !*stopped.borrow() {
        // A restored store is swept at once: nothing is sent before. So is the rest of a large window.
        let wait = if more || engine.restoring() { Millis::secs(1) } else { every };
        tokio::select! {
            () = engine.ports.clock.sleep(wait) => {}
            _ = stopped.changed() => return,
        }
        let swept = guarded(engine.sweep(&connection)).await;
        more = swept.as_ref().is_ok_and(|report| report.more);
        match swept {
            Ok(report) => tracing::info!(
                connection = %connection,
                seen = report.seen,
                late = report.late,
                lost = report.lost.len(),
                more,
                "swept"
            ),
            Err(error) => tracing::warn!(code = error.code(), connection = %connection, "sweep: {error}"),
        }
    }
}

async fn settler(
    engine: Arc<Engine>,
    connection: tillway_core::ids::ConnectionName,
    every: Millis,
    mut stopped: watch::Receiver<bool>,
) {
    let ends = stopped.clone();
    // A run stops at its next step where the process ends, and is gone on with.
    let goes_on = move |_: &Step| !*ends.borrow();
    while !*stopped.borrow() {
        tokio::select! {
            () = engine.ports.clock.sleep(every) => {}
            _ = stopped.changed() => return,
        }
        match guarded(engine.settle_due(&connection, &goes_on)).await {
            Ok(report) => {
                if report.busy {
                    tracing::debug!(connection = %connection, "settlement waits for another process, or for a sweep after a restore");
                }
                for run in report.runs {
                    let (batches, open, waiting) = (run.batches.len(), run.open.len(), run.waiting.len());
                    tracing::info!(connection = %connection, day = %run.day, batches, open, waiting, "settled");
                }
            }
            Err(error) => {
                tracing::warn!(code = error.code(), connection = %connection, "settlement: {error}");
            }
        }
    }
}

/// The engine behind the HTTP front.
pub struct EngineFront {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Counters for `/healthz`.
    pub alerts: Arc<LogAlerts>,
}

#[async_trait]
impl Front for EngineFront {
    async fn webhook(
        &self,
        connection: &str,
        topic: &str,
        headers: Vec<(String, String)>,
        body: &[u8],
    ) -> Answer {
        self.engine.receive(connection, topic, &headers, body).await.into()
    }

    fn probed(&self, connection: &str, topic: &str) -> bool {
        self.engine.answers_probe(connection, topic)
    }

    fn takes_from(&self, connection: &str, from: IpAddr) -> bool {
        self.engine.config.takes_from(connection, Some(from))
    }

    fn refused(&self, code: &'static str) {
        self.alerts.count("receive_refused", code, 1);
        tracing::warn!(code, "request refused");
    }

    async fn health(&self) -> (bool, serde_json::Value) {
        let depth = self.engine.ports.queue.depth(EVENTS).await;
        let parked = self.engine.ports.store.list("parked", None, false, 100).await;
        let healthy = depth.is_ok() && parked.is_ok();
        let parked = parked.map(|page| page.items.len()).unwrap_or_default();
        let body = serde_json::json!({
            "healthy": healthy,
            "events_queued": depth.unwrap_or_default(),
            "parked": parked,
            "counters": self.alerts.snapshot().json(),
        });
        (healthy, body)
    }
}
