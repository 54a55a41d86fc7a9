//! A batch of messages as SQS hands it to a function, message by message.
//!
//! What was dealt with is deleted by Lambda; what was not is named in the answer (`batchItemFailures`) and is
//! handed out again. On a FIFO queue the rest of a failed message's group is named with it, so that order is
//! kept; groups go side by side. No message is begun for which there is not enough time left.
//!
//! A message that failed is given back with a pause that doubles with each time it was handed out, rather than
//! after the queue's visibility, which is made for functions that died. A pause grows past any short outage
//! before the message counts as dead.

use std::collections::BTreeMap;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsMessage};
use futures_util::future::join_all;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Alerts, Clock, InMessage, Queue};
use tillway_engine::{WorkError, guarded};

use crate::claims::Claims;
use crate::queue::{Opened, open};

/// Longest pause of a message that failed.
const LONGEST: Millis = Millis::mins(15);

/// What working a batch needs.
pub(crate) struct Batch<'a> {
    /// The engine's name of the queue.
    pub(crate) queue: &'a str,
    /// Through which messages are given back; without it they come back by the queue's visibility.
    pub(crate) queues: Option<&'a dyn Queue>,
    pub(crate) claims: &'a dyn Claims,
    pub(crate) alerts: &'a dyn Alerts,
    pub(crate) clock: &'a dyn Clock,
    /// The invocation ends then.
    pub(crate) deadline: Timestamp,
    /// No message is begun with less time than this.
    pub(crate) needed: Millis,
}

impl Batch<'_> {
    /// Works messages of a FIFO queue: groups side by side, each in order.
    pub(crate) async fn ordered<W>(&self, records: &[SqsMessage], work: W) -> SqsBatchResponse
    where
        W: AsyncFn(&InMessage) -> Result<(), WorkError>,
    {
        let mut groups: BTreeMap<Option<&String>, Vec<&SqsMessage>> = BTreeMap::new();
        for record in records {
            groups.entry(record.attributes.get("MessageGroupId")).or_default().push(record);
        }
        let work = &work;
        let each = groups.into_values().map(|group| async move {
            let mut left = group.as_slice();
            while let [record, rest @ ..] = left {
                if !self.one(record, work).await {
                    break;
                }
                left = rest;
            }
            // In order, so that whoever looks between two of them sees the head go back first.
            for record in left {
                self.give_back(record).await;
            }
            left.to_vec()
        });
        answer(join_all(each).await.into_iter().flatten())
    }

    /// Works messages of a standard queue, side by side.
    pub(crate) async fn unordered<W>(&self, records: &[SqsMessage], work: W) -> SqsBatchResponse
    where
        W: AsyncFn(&InMessage) -> Result<(), WorkError>,
    {
        let work = &work;
        let each = records.iter().map(|record| async move {
            if self.one(record, work).await {
                return None;
            }
            self.give_back(record).await;
            Some(record)
        });
        answer(join_all(each).await.into_iter().flatten())
    }

    /// Works one; `true`: it was dealt with.
    async fn one<W>(&self, record: &SqsMessage, work: &W) -> bool
    where
        W: AsyncFn(&InMessage) -> Result<(), WorkError>,
    {
        let left = self.deadline.since(self.clock.now());
        if left < self.needed {
            let needed = self.needed.to_string();
            tracing::warn!(
                queue = self.queue,
                code = "out_of_time",
                needed,
                "a message is left for the next time"
            );
            return false;
        }
        let (body, claim) = match open(self.claims, record.body.as_deref().unwrap_or_default()).await {
            Ok(Opened::Body(body, claim)) => (body, claim),
            Ok(Opened::Gone(_)) => {
                self.alerts.count("claims_gone", self.queue, 1);
                tracing::warn!(
                    queue = self.queue,
                    code = "claim_gone",
                    "a message that was dealt with came again"
                );
                return true;
            }
            Err(error) => {
                tracing::warn!(queue = self.queue, code = "claim", "a message goes back: {error}");
                return false;
            }
        };
        let message = InMessage {
            receipt: record.receipt_handle.clone().unwrap_or_default(),
            group: record.attributes.get("MessageGroupId").cloned(),
            body,
            receives: receives(record),
        };
        if let Err(error) = guarded(work(&message)).await {
            tracing::warn!(
                queue = self.queue,
                code = error.code(),
                attempt = message.receives,
                "a message goes back: {error}"
            );
            return false;
        }
        if let Some(claim) = claim
            && let Err(error) = self.claims.delete(&claim).await
        {
            // The bucket's lifecycle removes it.
            tracing::warn!(queue = self.queue, code = "claim_left", "{error}");
        }
        true
    }

    async fn give_back(&self, record: &SqsMessage) {
        self.alerts.count("messages_returned", self.queue, 1);
        let Some((queues, receipt)) = self.queues.zip(record.receipt_handle.as_deref()) else { return };
        if let Err(error) = queues.release(self.queue, receipt, pause(receives(record))).await {
            // Then it comes back by the queue's visibility.
            tracing::debug!(queue = self.queue, code = "queue", "{error}");
        }
    }
}

fn receives(record: &SqsMessage) -> u32 {
    record.attributes.get("ApproximateReceiveCount").and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// 2, 4, 8 … seconds.
fn pause(receives: u32) -> Millis {
    Millis::secs(1_i64.checked_shl(receives.clamp(1, 20)).unwrap_or(i64::MAX)).min(LONGEST)
}

fn answer<'a>(failed: impl Iterator<Item = &'a SqsMessage>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for record in failed {
        // A message without an id is none of SQS's; an empty id makes Lambda hand out the whole batch again.
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = record.message_id.clone().unwrap_or_default();
        response.batch_item_failures.push(failure);
    }
    response
}
