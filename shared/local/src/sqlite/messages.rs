//! The queues.
//!
//! A FIFO queue keeps a row per group (`groups`): whether it is ready, and its oldest message. Receiving is
//! a seek in an index over ready groups, however many messages wait. A batch always takes from the front of
//! its group and no other batch begins before it ended, so whatever of a group is handed out is among its
//! first [`MAX_BATCH`] messages: that bounds the work of finding out whether a group is ready again.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{InMessage, MAX_MESSAGE, OutMessage, Queue, QueueError};

use super::writer::{Batch, Reply, Request};
use super::{Options, Shared};

/// Most messages of one send or receive.
const MAX_BATCH: usize = 10;
/// Longest delay of a message.
const MAX_DELAY: Millis = Millis::mins(15);
/// How long a deduplication id is remembered.
const DEDUP_WINDOW: Millis = Millis::mins(5);
/// How often old deduplication ids are removed, and how many at once.
const DEDUP_PURGE: (Millis, i64) = (Millis::secs(10), 5000);

/// Name of the queue that takes what was handed out too often: `events.fifo` → `events-dead`.
#[must_use]
pub fn dead_queue(queue: &str) -> String {
    format!("{}-dead", queue.strip_suffix(".fifo").unwrap_or(queue))
}

fn is_fifo(queue: &str) -> bool {
    queue.ends_with(".fifo")
}

/// Names one handing-out of a message: valid until it is handed out again.
#[derive(Clone, Copy)]
pub(super) struct Receipt {
    id: i64,
    receives: u32,
}

impl Receipt {
    fn parse(text: &str) -> Result<Self, QueueError> {
        text.split_once('-')
            .and_then(|(id, receives)| Some(Self { id: id.parse().ok()?, receives: receives.parse().ok()? }))
            .ok_or_else(|| QueueError::Invalid("a receipt is not one of this queue".into()))
    }
}

/// [`Queue`] over the file.
#[derive(Clone)]
pub struct SqliteQueue {
    shared: Arc<Shared>,
}

impl SqliteQueue {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Waits until this process made a message of the queue ready: sent it, gave it back, or freed its
    /// group. What becomes ready by time alone (a delay or visibility that ended) or by another process is
    /// not told, so a worker also looks now and then by itself. A wake-up that comes while nobody waits is
    /// kept for the next who does; several at once may be kept as one.
    pub fn notified(&self, queue: &str) -> impl Future<Output = ()> + Send + 'static {
        let waker = self.shared.wakers.of(queue);
        async move { waker.notified().await }
    }

    async fn ask(&self, request: Request) -> Result<Reply, QueueError> {
        self.shared.writer.ask(request).await.map_err(QueueError::Unavailable)
    }
}

fn mixed_up() -> QueueError {
    QueueError::Unavailable("the writer answered another question".into())
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn send(&self, queue: &str, messages: Vec<OutMessage>) -> Result<Vec<bool>, QueueError> {
        check(queue, &messages)?;
        match self.ask(Request::Send { queue: queue.to_owned(), messages }).await? {
            Reply::Accepted(accepted) => Ok(accepted),
            _ => Err(mixed_up()),
        }
    }

    async fn receive(
        &self,
        queue: &str,
        max: usize,
        visibility: Millis,
    ) -> Result<Vec<InMessage>, QueueError> {
        let max = max.clamp(1, MAX_BATCH);
        match self.ask(Request::Receive { queue: queue.to_owned(), max, visibility }).await? {
            Reply::Messages(messages) => Ok(messages),
            _ => Err(mixed_up()),
        }
    }

    async fn delete(&self, queue: &str, receipts: Vec<String>) -> Result<(), QueueError> {
        let receipts = receipts.iter().map(|r| Receipt::parse(r)).collect::<Result<_, _>>()?;
        self.ask(Request::Delete { queue: queue.to_owned(), receipts }).await.map(drop)
    }

    async fn release(&self, queue: &str, receipt: &str, delay: Millis) -> Result<(), QueueError> {
        let receipt = Receipt::parse(receipt)?;
        self.ask(Request::Release { queue: queue.to_owned(), receipt, delay }).await.map(drop)
    }

    async fn depth(&self, queue: &str) -> Result<usize, QueueError> {
        let depth: Option<i64> = self
            .shared
            .readers
            .read(|connection| {
                connection
                    .prepare_cached("SELECT depth FROM queues WHERE name = ?1")?
                    .query_row([queue], |row| row.get(0))
                    .optional()
            })
            .map_err(|e| QueueError::Unavailable(e.to_string()))?;
        Ok(usize::try_from(depth.unwrap_or(0)).unwrap_or(0))
    }
}

/// What the port does not promise is refused.
fn check(queue: &str, messages: &[OutMessage]) -> Result<(), QueueError> {
    let refuse = |what: String| Err(QueueError::Invalid(what));
    if messages.len() > MAX_BATCH {
        return refuse(format!("{} messages in one send, at most {MAX_BATCH}", messages.len()));
    }
    for (place, message) in messages.iter().enumerate() {
        if message.body.len() > MAX_MESSAGE {
            return refuse(format!(
                "message {place} has {} bytes, at most {MAX_MESSAGE}",
                message.body.len()
            ));
        }
        if is_fifo(queue) && message.group.is_none() {
            return refuse(format!("message {place} has no group, and {queue} is a FIFO queue"));
        }
        if is_fifo(queue) && message.delay > Millis(0) {
            return refuse(format!("message {place} has a delay, and {queue} is a FIFO queue"));
        }
        if message.delay > MAX_DELAY {
            return refuse(format!("message {place} is delayed by {}, at most {MAX_DELAY}", message.delay));
        }
    }
    Ok(())
}

/// Adds what a batch did to the number of messages.
pub(super) fn write_depths(connection: &Connection, batch: &mut Batch) -> Result<(), rusqlite::Error> {
    for (queue, change) in batch.depth.drain().filter(|(_, change)| *change != 0) {
        connection
            .prepare_cached("UPDATE queues SET depth = depth + ?2 WHERE id = ?1")?
            .execute([queue, change])?;
    }
    Ok(())
}

/// A request at work inside the writer's transaction.
pub(super) struct Desk<'a> {
    pub(super) connection: &'a Connection,
    pub(super) options: &'a Options,
    pub(super) batch: &'a mut Batch,
    pub(super) now: Timestamp,
}

/// A waiting message.
struct Waiting {
    id: i64,
    receives: u32,
    group: Option<String>,
    body: Vec<u8>,
}

impl Desk<'_> {
    pub(super) fn send(&mut self, queue: &str, messages: &[OutMessage]) -> Result<Reply, rusqlite::Error> {
        let id = self.queue_id(queue)?;
        let fifo = is_fifo(queue);
        if fifo {
            self.purge_dedups()?;
        }
        let mut accepted = Vec::with_capacity(messages.len());
        for message in messages {
            if !(fifo && self.is_duplicate(id, message)?) {
                self.insert(id, queue, fifo, message)?;
            }
            accepted.push(true);
        }
        Ok(Reply::Accepted(accepted))
    }

    fn insert(
        &mut self,
        id: i64,
        queue: &str,
        fifo: bool,
        message: &OutMessage,
    ) -> Result<(), rusqlite::Error> {
        let delay = Millis(message.delay.0.max(0));
        let group = message.group.as_deref().filter(|_| fifo);
        self.connection
            .prepare_cached(
                "INSERT INTO messages (queue, fifo, grp, visible_at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![id, fifo, group, (self.now + delay).0, message.body])?;
        if let Some(group) = group {
            self.connection
                .prepare_cached(
                    "INSERT INTO groups (queue, grp, ready_at, head) VALUES (?1, ?2, 0, ?3) ON CONFLICT DO NOTHING",
                )?
                .execute(params![id, group, self.connection.last_insert_rowid()])?;
        }
        self.add_depth(id, 1);
        if delay == Millis(0) {
            self.wake(queue);
        }
        Ok(())
    }

    /// Whether this id was sent within the window; if not, it is from now on.
    fn is_duplicate(&self, queue: i64, message: &OutMessage) -> Result<bool, rusqlite::Error> {
        let Some(dedup) = &message.dedup else { return Ok(false) };
        let noted = self
            .connection
            .prepare_cached(
                "INSERT INTO dedups (queue, dedup, until) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET until = excluded.until WHERE dedups.until <= ?4",
            )?
            .execute(params![queue, dedup, (self.now + DEDUP_WINDOW).0, self.now.0])?;
        Ok(noted == 0)
    }

    fn purge_dedups(&mut self) -> Result<(), rusqlite::Error> {
        let (pause, limit) = DEDUP_PURGE;
        if self.now.since(self.batch.dedups_purged) < pause {
            return Ok(());
        }
        self.batch.dedups_purged = self.now;
        self.connection
            .prepare_cached(
                "DELETE FROM dedups WHERE (queue, dedup) IN
                 (SELECT queue, dedup FROM dedups WHERE until <= ?1 ORDER BY until LIMIT ?2)",
            )?
            .execute([self.now.0, limit])?;
        Ok(())
    }

    pub(super) fn receive(
        &mut self,
        queue: &str,
        max: usize,
        visibility: Millis,
    ) -> Result<Reply, rusqlite::Error> {
        let Some(id) = self.known_queue_id(queue)? else { return Ok(Reply::Messages(Vec::new())) };
        let until = self.now + Millis(visibility.0.max(0));
        let out = if is_fifo(queue) {
            self.receive_groups(id, queue, max, until)?
        } else {
            self.receive_any(id, queue, max, until)?
        };
        if out.len() == max {
            // There may be more: wake the next worker too.
            self.wake(queue);
        }
        Ok(Reply::Messages(out))
    }

    fn receive_any(
        &mut self,
        id: i64,
        queue: &str,
        max: usize,
        until: Timestamp,
    ) -> Result<Vec<InMessage>, rusqlite::Error> {
        let mut out = Vec::new();
        // Each round hands out or removes what it found, so it ends.
        while out.len() < max {
            let found = self.waiting(
                "SELECT id, receives, grp, body FROM messages
                 WHERE queue = ?1 AND fifo = 0 AND visible_at <= ?2 ORDER BY visible_at, id LIMIT ?3",
                params![id, self.now.0, i64::try_from(max - out.len()).unwrap_or(1)],
            )?;
            if found.is_empty() {
                break;
            }
            let taken = out.len();
            for message in found {
                self.hand_out(id, queue, message, until, &mut out)?;
            }
            if until <= self.now && out.len() > taken {
                break; // Hidden for no time at all: the next round would find them again.
            }
        }
        Ok(out)
    }

    fn receive_groups(
        &mut self,
        id: i64,
        queue: &str,
        max: usize,
        until: Timestamp,
    ) -> Result<Vec<InMessage>, rusqlite::Error> {
        self.connection
            .prepare_cached(
                "UPDATE groups SET ready_at = 0 WHERE queue = ?1 AND ready_at > 0 AND ready_at <= ?2",
            )?
            .execute([id, self.now.0])?;
        let groups: Vec<String> = self
            .connection
            .prepare_cached(
                "SELECT grp FROM groups WHERE queue = ?1 AND ready_at = 0 ORDER BY head LIMIT ?2",
            )?
            .query_map(params![id, i64::try_from(max).unwrap_or(1)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut out = Vec::new();
        for group in groups {
            if out.len() == max {
                break;
            }
            let found = self.waiting(
                "SELECT id, receives, grp, body FROM messages
                 WHERE queue = ?1 AND fifo = 1 AND grp = ?2 ORDER BY id LIMIT ?3",
                params![id, group, i64::try_from(max - out.len()).unwrap_or(1)],
            )?;
            let mut died = false;
            for message in found {
                died |= !self.hand_out(id, queue, message, until, &mut out)?;
            }
            if died {
                self.refresh(id, queue, &group)?;
            } else {
                self.set_group(id, &group, None, if until > self.now { until } else { Timestamp(0) })?;
            }
        }
        Ok(out)
    }

    fn waiting(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Waiting>, rusqlite::Error> {
        let mut select = self.connection.prepare_cached(sql)?;
        let rows = select.query_map(params, |row| {
            Ok(Waiting { id: row.get(0)?, receives: row.get(1)?, group: row.get(2)?, body: row.get(3)? })
        })?;
        rows.collect()
    }

    /// Hands a message out, or moves it to the dead letters; tells whether it was handed out.
    fn hand_out(
        &mut self,
        id: i64,
        queue: &str,
        message: Waiting,
        until: Timestamp,
        out: &mut Vec<InMessage>,
    ) -> Result<bool, rusqlite::Error> {
        let dead = dead_queue(queue);
        if message.receives >= self.max_receives(queue) && !queue.ends_with("-dead") {
            let to = self.queue_id(&dead)?;
            self.connection
                .prepare_cached(
                    "UPDATE messages SET queue = ?2, fifo = 0, visible_at = ?3, receives = 0 WHERE id = ?1",
                )?
                .execute([message.id, to, self.now.0])?;
            self.add_depth(id, -1);
            self.add_depth(to, 1);
            self.wake(&dead);
            tracing::warn!(code = "dead_letter", queue, "a message was handed out too often");
            return Ok(false);
        }
        let receives = message.receives.saturating_add(1);
        self.connection
            .prepare_cached("UPDATE messages SET visible_at = ?2, receives = ?3 WHERE id = ?1")?
            .execute(params![message.id, until.0, receives])?;
        let receipt = format!("{}-{receives}", message.id);
        out.push(InMessage { receipt, group: message.group, body: message.body, receives });
        Ok(true)
    }

    pub(super) fn delete(&mut self, queue: &str, receipts: &[Receipt]) -> Result<Reply, rusqlite::Error> {
        let Some(id) = self.known_queue_id(queue)? else { return Ok(Reply::Done) };
        let mut groups = BTreeSet::new();
        for receipt in receipts {
            let removed: Option<Option<String>> = self
                .connection
                .prepare_cached(
                    "DELETE FROM messages WHERE id = ?1 AND queue = ?2 AND receives = ?3 RETURNING grp",
                )?
                .query_row(params![receipt.id, id, receipt.receives], |row| row.get(0))
                .optional()?;
            if let Some(group) = removed {
                self.add_depth(id, -1);
                groups.extend(group);
            }
        }
        if is_fifo(queue) {
            for group in groups {
                self.refresh(id, queue, &group)?;
            }
        }
        Ok(Reply::Done)
    }

    pub(super) fn release(
        &mut self,
        queue: &str,
        receipt: Receipt,
        delay: Millis,
    ) -> Result<Reply, rusqlite::Error> {
        let Some(id) = self.known_queue_id(queue)? else { return Ok(Reply::Done) };
        let delay = Millis(delay.0.max(0));
        let given_back: Option<Option<String>> = self
            .connection
            .prepare_cached(
                "UPDATE messages SET visible_at = ?4 WHERE id = ?1 AND queue = ?2 AND receives = ?3 RETURNING grp",
            )?
            .query_row(params![receipt.id, id, receipt.receives, (self.now + delay).0], |row| row.get(0))
            .optional()?;
        match given_back {
            Some(Some(group)) if is_fifo(queue) => self.refresh(id, queue, &group)?,
            Some(_) if delay == Millis(0) => self.wake(queue),
            _ => {}
        }
        Ok(Reply::Done)
    }

    /// Finds out anew whether a group is ready and what its oldest message is.
    fn refresh(&mut self, id: i64, queue: &str, group: &str) -> Result<(), rusqlite::Error> {
        let front: Vec<(i64, i64)> = self
            .connection
            .prepare_cached(
                "SELECT id, visible_at FROM messages WHERE queue = ?1 AND fifo = 1 AND grp = ?2 ORDER BY id LIMIT ?3",
            )?
            .query_map(params![id, group, i64::try_from(MAX_BATCH).unwrap_or(10)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        let Some((head, _)) = front.first() else {
            self.connection
                .prepare_cached("DELETE FROM groups WHERE queue = ?1 AND grp = ?2")?
                .execute(params![id, group])?;
            return Ok(());
        };
        let ready_at = front.iter().map(|(_, at)| *at).filter(|at| *at > self.now.0).max().unwrap_or(0);
        if ready_at == 0 {
            self.wake(queue);
        }
        self.set_group(id, group, Some(*head), Timestamp(ready_at))
    }

    fn set_group(
        &self,
        id: i64,
        group: &str,
        head: Option<i64>,
        ready_at: Timestamp,
    ) -> Result<(), rusqlite::Error> {
        self.connection
            .prepare_cached(
                "UPDATE groups SET ready_at = ?3, head = coalesce(?4, head) WHERE queue = ?1 AND grp = ?2",
            )?
            .execute(params![id, group, ready_at.0, head])?;
        Ok(())
    }

    fn known_queue_id(&mut self, queue: &str) -> Result<Option<i64>, rusqlite::Error> {
        if let Some(id) = self.batch.queue_ids.get(queue) {
            return Ok(Some(*id));
        }
        let id: Option<i64> = self
            .connection
            .prepare_cached("SELECT id FROM queues WHERE name = ?1")?
            .query_row([queue], |row| row.get(0))
            .optional()?;
        if let Some(id) = id {
            self.batch.queue_ids.insert(queue.to_owned(), id);
        }
        Ok(id)
    }

    fn queue_id(&mut self, queue: &str) -> Result<i64, rusqlite::Error> {
        if let Some(id) = self.known_queue_id(queue)? {
            return Ok(id);
        }
        self.connection.prepare_cached("INSERT INTO queues (name) VALUES (?1)")?.execute([queue])?;
        let id = self.connection.last_insert_rowid();
        self.batch.queue_ids.insert(queue.to_owned(), id);
        Ok(id)
    }

    fn max_receives(&self, queue: &str) -> u32 {
        self.options.max_receives_of.get(queue).copied().unwrap_or(self.options.max_receives).max(1)
    }

    fn add_depth(&mut self, queue: i64, change: i64) {
        let sum = self.batch.depth.entry(queue).or_default();
        *sum = sum.saturating_add(change);
    }

    fn wake(&mut self, queue: &str) {
        match self.batch.wake.get_mut(queue) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(self.batch.wake.insert(queue.to_owned(), 1)),
        }
    }
}
