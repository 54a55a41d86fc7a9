//! What the workers and schedules do with an invocation.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use tillway_core::ids::ConnectionName;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::InMessage;
use tillway_engine::records::{EVENTS, command_queue};
use tillway_engine::settle::Step;
use tillway_engine::{WorkError, guarded};

use super::batch::Batch;
use super::start::Function;

/// A decision takes milliseconds; with several writers on one order, seconds.
const DECISION: Millis = Millis::secs(5);
/// What a worker keeps beside the time of a call: to write the end and to report it.
const AROUND_A_CALL: Millis = Millis::secs(5);
/// A schedule stops this long before its invocation ends.
const BEFORE_THE_END: Millis = Millis::secs(3);
/// A sweep goes on with a large window while there is this much time.
const A_SWEEP: Millis = Millis::secs(60);

impl Function {
    fn batch<'a>(&'a self, queue: &'a str, deadline: Timestamp, needed: Millis) -> Batch<'a> {
        Batch {
            queue,
            queues: Some(self.engine.ports.queue.as_ref()),
            claims: self.claims.as_ref(),
            alerts: self.alerts.as_ref(),
            clock: self.clock.as_ref(),
            deadline,
            needed,
        }
    }

    /// What a step that may hold a call needs.
    fn a_call(&self) -> Millis {
        Millis(self.engine.config.times.call_limit.0.saturating_add(AROUND_A_CALL.0))
    }

    /// Works events.
    pub(crate) async fn decide(
        &self,
        event: SqsEvent,
        deadline: Timestamp,
    ) -> Result<SqsBatchResponse, WorkError> {
        self.engine.refresh_restore().await?;
        let batch = self.batch(EVENTS, deadline, DECISION);
        Ok(batch.ordered(&event.records, async |message| self.engine.handle_event(message).await).await)
    }

    /// Works commands of a system.
    pub(crate) async fn act(
        &self,
        system: &str,
        event: SqsEvent,
        deadline: Timestamp,
    ) -> Result<SqsBatchResponse, WorkError> {
        self.engine.refresh_restore().await?;
        let needed = self.a_call();
        if deadline.since(self.clock.now()) < needed {
            let needed = needed.to_string();
            tracing::error!(
                code = "timeout_too_short",
                needed,
                "the function's time-out leaves no time for a call"
            );
        }
        let queue = command_queue(system);
        let batch = self.batch(&queue, deadline, needed);
        Ok(batch.unordered(&event.records, async |message| self.engine.handle_command(message).await).await)
    }

    /// Looks at dead letters, of whichever queue.
    pub(crate) async fn triage(
        &self,
        event: SqsEvent,
        deadline: Timestamp,
    ) -> Result<SqsBatchResponse, WorkError> {
        self.engine.refresh_restore().await?;
        let arn =
            event.records.iter().find_map(|r: &SqsMessage| r.event_source_arn.as_deref()).unwrap_or_default();
        let queue = origin(arn).ok_or_else(|| {
            WorkError::Config(format!("`{arn}` is no dead-letter queue of events or commands"))
        })?;
        // Receipts are the dead-letter queue's, not that queue's.
        let batch = Batch { queues: None, ..self.batch(&queue, deadline, DECISION) };
        let work = async |message: &InMessage| self.engine.handle_dead(&queue, message).await;
        Ok(if queue == EVENTS {
            batch.ordered(&event.records, work).await
        } else {
            batch.unordered(&event.records, work).await
        })
    }

    /// Sends what is due.
    pub(crate) async fn tick(&self, deadline: Timestamp) -> Result<(), WorkError> {
        self.engine.refresh_restore().await?;
        let limit = Millis(deadline.since(self.clock.now()).0.saturating_sub(BEFORE_THE_END.0));
        tokio::select! {
            done = async {
                // First: afterwards nothing is due. What cannot be looked at holds up nothing that is due.
                let looked = guarded(self.engine.gauges()).await;
                (looked, guarded(self.engine.tick()).await)
            } => {
                let (looked, done) = done;
                let report = done?;
                tracing::info!(
                    commands = report.commands,
                    wakes = report.wakes,
                    waiting = report.waiting,
                    not_sent = report.not_sent,
                    failed = report.failed,
                    "ticked"
                );
                looked?;
            }
            // It may be stopped anywhere: what it did not come to is still due.
            () = self.clock.sleep(limit) => {
                tracing::warn!(code = "out_of_time", "the tick goes on with the next invocation");
            }
        }
        Ok(())
    }

    fn connections_of(&self, system: &str) -> Vec<ConnectionName> {
        let all = self.engine.config.used().map(|(connection, _)| connection);
        all.filter(|connection| connection.system == system)
            .map(|connection| connection.name.clone())
            .collect()
    }

    /// Settles what is due of the connections of a system.
    pub(crate) async fn settle(&self, system: &str, deadline: Timestamp) -> Result<(), WorkError> {
        self.engine.refresh_restore().await?;
        let left = || Millis(deadline.since(self.clock.now()).0.saturating_sub(BEFORE_THE_END.0));
        let needed = self.a_call();
        let in_time = move |_: &Step| left() > needed;
        let mut failed = None;
        for name in self.connections_of(system) {
            let settled = tokio::select! {
                settled = guarded(self.engine.settle_due(&name, &in_time)) => settled,
                // It may be stopped anywhere: the lease of the run ends by itself, and the next one goes on.
                () = self.clock.sleep(left()) => Err(WorkError::OutOfTime),
            };
            match settled {
                Ok(report) => {
                    for run in &report.runs {
                        let (batches, open, waiting) = (run.batches.len(), run.open.len(), run.waiting.len());
                        let refused = run.refused.len();
                        tracing::info!(connection = %name, day = %run.day, batches, open, waiting, refused, "settled");
                    }
                    if report.more || report.busy {
                        let busy = report.busy;
                        tracing::info!(connection = %name, busy, "the settlement is gone on with by the next invocation");
                    }
                }
                Err(WorkError::OutOfTime) => {
                    tracing::warn!(code = "out_of_time", connection = %name, "the settlement was cut short");
                }
                // Another connection may fare better; the invocation is told of the failure at the end.
                Err(error) => {
                    tracing::warn!(code = error.code(), connection = %name, "settlement: {error}");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Sweeps the connections of a system.
    pub(crate) async fn sweep(&self, system: &str, deadline: Timestamp) -> Result<(), WorkError> {
        self.engine.refresh_restore().await?;
        let mut failed = None;
        for name in self.connections_of(system) {
            loop {
                match guarded(self.engine.sweep(&name)).await {
                    Ok(report) => {
                        let lost = report.lost.len();
                        if lost > 0 {
                            let by = u64::try_from(lost).unwrap_or(u64::MAX);
                            self.engine.ports.alerts.count("sweep_lost", name.as_str(), by);
                        }
                        tracing::info!(
                            connection = %name,
                            seen = report.seen,
                            late = report.late,
                            lost,
                            more = report.more,
                            busy = report.busy,
                            "swept"
                        );
                        if !report.more {
                            break;
                        }
                    }
                    // Another connection may fare better; the invocation is told of the failure at the end.
                    Err(error) => {
                        tracing::warn!(code = error.code(), connection = %name, "sweep: {error}");
                        failed = Some(error);
                        break;
                    }
                }
                if deadline.since(self.clock.now()) < A_SWEEP {
                    tracing::info!(connection = %name, "the window is gone on with by the next invocation");
                    break;
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// The engine's name of the queue whose dead letters lie in this one: `…-events-dead.fifo` or
/// `…-commands-<system>-dead`.
fn origin(arn: &str) -> Option<String> {
    let name = arn.rsplit(':').next()?;
    let name = name.strip_suffix(".fifo").unwrap_or(name).strip_suffix("-dead")?;
    if name == "events" || name.ends_with("-events") {
        return Some(EVENTS.to_owned());
    }
    let (before, system) = name.rsplit_once("commands-")?;
    let whole = before.is_empty() || before.ends_with('-');
    (whole && !system.is_empty()).then(|| command_queue(system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_queue_tells_whose_it_is() {
        let arn = |name: &str| origin(&format!("arn:aws:sqs:eu-west-1:123456789012:{name}"));
        assert_eq!(arn("tillway-dev-events-dead.fifo"), Some(EVENTS.to_owned()));
        assert_eq!(arn("events-dead.fifo"), Some(EVENTS.to_owned()));
        assert_eq!(arn("tillway-dev-commands-stripe-dead"), Some("commands-stripe".to_owned()));
        assert_eq!(arn("commands-notify-dead"), Some("commands-notify".to_owned()));
        for other in
            ["tillway-dev-events.fifo", "tillway-schedules-dead", "mycommands-x-dead", "commands--dead"]
        {
            assert!(arn(other).is_none_or(|queue| queue == "commands--"), "{other}");
        }
        assert_eq!(origin(""), None);
    }
}
