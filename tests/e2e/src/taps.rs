//! Store and queue with a tap: calls are counted by the stage that makes them (reads of aliases alone apart), and single calls can be
//! made to fail, to lose their answer, or to stall.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{
    InMessage, Item, ItemPage, Key, OutMessage, Queue, QueueError, Store, StoreError, Write,
};
use tokio::sync::Notify;

use crate::outside::lock;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nobody of the three.
    Other,
    /// Receive.
    Receive,
    /// Decide.
    Decide,
    /// Act.
    Act,
}

const STAGES: [Stage; 4] = [Stage::Other, Stage::Receive, Stage::Decide, Stage::Act];

/// What becomes of a write.
pub enum Fate {
    /// It is made and answered.
    Pass,
    /// It is made, and nobody hears of it.
    LoseAnswer,
    /// It is not made.
    Fail,
    /// It is made; the answer comes when somebody notifies.
    Stall(Arc<Notify>),
}

type Judge = Box<dyn FnMut(&[Write]) -> Fate + Send>;

/// Calls by stage and kind, and the orders given.
#[derive(Default)]
pub struct Taps {
    stage: AtomicU8,
    counts: Mutex<BTreeMap<(Stage, &'static str), u64>>,
    targets: Mutex<BTreeSet<String>>,
    judge: Mutex<Option<Judge>>,
    deaf: Mutex<Vec<String>>,
}

impl Taps {
    /// Says who calls from now on.
    pub fn enter(&self, stage: Stage) {
        let place = STAGES.iter().position(|s| *s == stage).unwrap_or(0);
        self.stage.store(u8::try_from(place).unwrap_or(0), Ordering::SeqCst);
    }

    /// The counts so far, and none from here on.
    pub fn take(&self) -> BTreeMap<(Stage, &'static str), u64> {
        std::mem::take(&mut *lock(&self.counts))
    }

    /// The queues that were sent to so far, and none from here on.
    pub fn take_targets(&self) -> BTreeSet<String> {
        std::mem::take(&mut *lock(&self.targets))
    }

    /// Decides the fate of every write from now on.
    pub fn judge(&self, judge: impl FnMut(&[Write]) -> Fate + Send + 'static) {
        *lock(&self.judge) = Some(Box::new(judge));
    }

    /// Every write passes again.
    pub fn calm(&self) {
        *lock(&self.judge) = None;
        lock(&self.deaf).clear();
    }

    /// Sends to queues whose name begins so are not accepted, until [`Taps::calm`].
    pub fn deafen(&self, queue: &str) {
        lock(&self.deaf).push(queue.to_owned());
    }

    fn count(&self, kind: &'static str) {
        let stage =
            STAGES.get(usize::from(self.stage.load(Ordering::SeqCst))).copied().unwrap_or(Stage::Other);
        *lock(&self.counts).entry((stage, kind)).or_default() += 1;
    }
}

/// The store behind the tap.
pub struct TappedStore {
    /// The store.
    pub inner: Arc<dyn Store>,
    /// The tap.
    pub taps: Arc<Taps>,
}

#[async_trait]
impl Store for TappedStore {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let aliases = !keys.is_empty() && keys.iter().all(|key| key.pk.starts_with("alias#"));
        self.taps.count(if aliases { "alias" } else { "get" });
        self.inner.get(keys).await
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.taps.count("transact");
        let fate = lock(&self.taps.judge).as_mut().map_or(Fate::Pass, |judge| judge(&writes));
        let lost = || Err(StoreError::Unavailable("the test said so".to_owned()));
        match fate {
            Fate::Pass => self.inner.transact(writes).await,
            Fate::Fail => lost(),
            Fate::LoseAnswer => {
                self.inner.transact(writes).await?;
                lost()
            }
            Fate::Stall(until) => {
                let done = self.inner.transact(writes).await;
                until.notified().await;
                done
            }
        }
    }
    async fn query(
        &self,
        pk: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        self.taps.count("query");
        self.inner.query(pk, prefix, after, limit).await
    }
    async fn list(
        &self,
        list: &str,
        after: Option<&str>,
        descending: bool,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        self.taps.count("list");
        self.inner.list(list, after, descending, limit).await
    }
    async fn due(&self, shard: u16, until: Timestamp, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.taps.count("due");
        self.inner.due(shard, until, limit).await
    }
    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ItemPage, StoreError> {
        self.taps.count("scan");
        self.inner.scan(after, limit).await
    }
}

/// The queue behind the tap.
pub struct TappedQueue {
    /// The queue.
    pub inner: Arc<dyn Queue>,
    /// The tap.
    pub taps: Arc<Taps>,
}

#[async_trait]
impl Queue for TappedQueue {
    async fn send(&self, queue: &str, messages: Vec<OutMessage>) -> Result<Vec<bool>, QueueError> {
        self.taps.count("send");
        lock(&self.taps.targets).insert(queue.to_owned());
        if lock(&self.taps.deaf).iter().any(|deaf| queue.starts_with(deaf.as_str())) {
            return Err(QueueError::Unavailable("the test said so".to_owned()));
        }
        self.inner.send(queue, messages).await
    }
    async fn receive(
        &self,
        queue: &str,
        max: usize,
        visibility: Millis,
    ) -> Result<Vec<InMessage>, QueueError> {
        self.inner.receive(queue, max, visibility).await
    }
    async fn delete(&self, queue: &str, receipts: Vec<String>) -> Result<(), QueueError> {
        self.inner.delete(queue, receipts).await
    }
    async fn release(&self, queue: &str, receipt: &str, delay: Millis) -> Result<(), QueueError> {
        self.inner.release(queue, receipt, delay).await
    }
    async fn depth(&self, queue: &str) -> Result<usize, QueueError> {
        self.inner.depth(queue).await
    }
}
