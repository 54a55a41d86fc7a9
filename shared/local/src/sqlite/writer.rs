//! The writer thread: group commit.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{InMessage, OutMessage, Write};
use tokio::sync::{mpsc, oneshot};

use super::{Options, Wakers, items, messages};

/// Most requests in one commit.
const GROUP: usize = 512;
/// Requests that may wait for the writer; more senders wait themselves.
const WAITING: usize = 4096;
/// Most workers woken for one queue by one commit.
const WAKE_AT_MOST: usize = 16;

/// What can be asked of the writer.
pub(super) enum Request {
    Transact(Vec<Write>),
    PurgeExpired { before: Timestamp, limit: usize },
    Send { queue: String, messages: Vec<OutMessage> },
    Receive { queue: String, max: usize, visibility: Millis },
    Delete { queue: String, receipts: Vec<messages::Receipt> },
    Release { queue: String, receipt: messages::Receipt, delay: Millis },
}

/// What it answers, after the commit.
pub(super) enum Reply {
    Done,
    Conflict(usize),
    Count(usize),
    Accepted(Vec<bool>),
    Messages(Vec<InMessage>),
}

struct Job {
    request: Request,
    answer: oneshot::Sender<Result<Reply, String>>,
}

/// Handle on the thread. Dropping it waits until the thread has ended and closed its connection: a process that stops in
/// good order leaves a file that is whole by itself, without a write-ahead log beside it.
pub(super) struct Writer {
    /// `None` while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // A panic of the thread was told by whoever asked it.
        let _ended = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        options: Options,
        wakers: Arc<Wakers>,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel(WAITING);
        let mut desk = Desk { connection, options, wakers, batch: Batch::default() };
        let named = std::thread::Builder::new().name("tillway-writer".into());
        let thread = named.spawn(move || desk.run(inbox))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Hands a request over and waits for the commit. The error says why it is not known to be written.
    pub(super) async fn ask(&self, request: Request) -> Result<Reply, String> {
        let stopped = || "the writer has stopped".to_owned();
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { request, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// What one transaction gathers beside the tables.
#[derive(Default)]
pub(super) struct Batch {
    /// Ids of queues by name; forgotten on a roll-back, which may have taken a new queue's row with it.
    pub(super) queue_ids: HashMap<String, i64>,
    /// Change of the number of messages by queue id.
    pub(super) depth: HashMap<i64, i64>,
    /// Messages that became ready, by queue name.
    pub(super) wake: HashMap<String, usize>,
    /// When old deduplication ids were last removed.
    pub(super) dedups_purged: Timestamp,
}

struct Desk {
    connection: Connection,
    options: Options,
    wakers: Arc<Wakers>,
    batch: Batch,
}

impl Desk {
    fn run(&mut self, mut inbox: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(GROUP);
        while inbox.blocking_recv_many(&mut jobs, GROUP) > 0 {
            self.serve(std::mem::take(&mut jobs));
        }
    }

    fn serve(&mut self, jobs: Vec<Job>) {
        let outcome = self.commit(&jobs);
        match outcome {
            Ok(replies) => {
                for (job, reply) in jobs.into_iter().zip(replies) {
                    // Who asked may have gone; the work is done all the same.
                    let _gone = job.answer.send(Ok(reply));
                }
                self.wake();
            }
            // One request met an error of SQLite's own (a disk nearly full, a text it cannot hold): each is
            // tried alone, so that one bad request does not fail its neighbours.
            Err(Failure::Request(_)) if jobs.len() > 1 => {
                jobs.into_iter().for_each(|job| self.serve(vec![job]))
            }
            Err(Failure::Request(error) | Failure::Transaction(error)) => {
                tracing::error!(code = "sqlite_write", error = %error, requests = jobs.len(), "write failed");
                for job in jobs {
                    let _gone = job.answer.send(Err(error.to_string()));
                }
            }
        }
    }

    fn commit(&mut self, jobs: &[Job]) -> Result<Vec<Reply>, Failure> {
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")
            .and_then(|mut s| s.execute([]))
            .map_err(Failure::Transaction)?;
        let outcome = self.apply_all(jobs);
        let outcome = outcome.and_then(|replies| {
            let mut commit = self.connection.prepare_cached("COMMIT").map_err(Failure::Transaction)?;
            commit.execute([]).map_err(Failure::Transaction)?;
            Ok(replies)
        });
        if outcome.is_err() {
            self.batch = Batch::default();
            if !self.connection.is_autocommit() {
                let rolled_back = self.connection.execute_batch("ROLLBACK");
                if let Err(error) = rolled_back {
                    tracing::error!(code = "sqlite_rollback", error = %error, "roll-back failed");
                }
            }
        }
        outcome
    }

    fn apply_all(&mut self, jobs: &[Job]) -> Result<Vec<Reply>, Failure> {
        let mut replies = Vec::with_capacity(jobs.len());
        for job in jobs {
            replies.push(self.apply(&job.request).map_err(Failure::Request)?);
        }
        messages::write_depths(&self.connection, &mut self.batch).map_err(Failure::Request)?;
        Ok(replies)
    }

    fn apply(&mut self, request: &Request) -> Result<Reply, rusqlite::Error> {
        let mut desk = messages::Desk {
            connection: &self.connection,
            options: &self.options,
            batch: &mut self.batch,
            now: self.options.clock.now(),
        };
        match request {
            Request::Transact(writes) => items::transact(&self.connection, writes),
            Request::PurgeExpired { before, limit } => {
                items::purge_expired(&self.connection, *before, *limit)
            }
            Request::Send { queue, messages } => desk.send(queue, messages),
            Request::Receive { queue, max, visibility } => desk.receive(queue, *max, *visibility),
            Request::Delete { queue, receipts } => desk.delete(queue, receipts),
            Request::Release { queue, receipt, delay } => desk.release(queue, *receipt, *delay),
        }
    }

    fn wake(&mut self) {
        for (queue, count) in self.batch.wake.drain() {
            let waker = self.wakers.of(&queue);
            (0..count.min(WAKE_AT_MOST)).for_each(|_| waker.notify_one());
        }
    }
}

/// Where a commit failed.
enum Failure {
    /// In applying one of the requests.
    Request(rusqlite::Error),
    /// In beginning or committing: no request could have gone through.
    Transaction(rusqlite::Error),
}
