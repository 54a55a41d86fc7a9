//! The queues in memory, as SQS behaves: group lock, deduplication window, visibility, receive count, dead
//! letters, delay and expiry; a standard queue keeps no order and may hand a message out twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{InMessage, MAX_MESSAGE, OutMessage, Queue, QueueError};

use super::store::has_canary;
use super::{Broken, Gate};
use crate::exec::{Bell, lock};
use crate::faults::{Fate, Op};

const MAX_BATCH: usize = 10;
const MAX_DELAY: Millis = Millis::mins(15);
const DEDUP_WINDOW: Millis = Millis::mins(5);
const RETENTION: Millis = Millis::days(14);

/// Name of the queue that takes what was handed out too often.
pub(crate) fn dead_queue(queue: &str) -> String {
    format!("{}-dead", queue.strip_suffix(".fifo").unwrap_or(queue))
}

struct Message {
    group: Option<String>,
    body: Vec<u8>,
    sent_at: Timestamp,
    visible_at: Timestamp,
    receives: u32,
}

#[derive(Default)]
struct One {
    messages: BTreeMap<u64, Message>,
    groups: BTreeMap<String, VecDeque<u64>>,
    dedup: BTreeMap<String, Timestamp>,
    dedup_order: VecDeque<(Timestamp, String)>,
    bell: Arc<Bell>,
}

impl One {
    fn drop_message(&mut self, id: u64) -> Option<Message> {
        let message = self.messages.remove(&id)?;
        if let Some(group) = &message.group
            && let Some(line) = self.groups.get_mut(group)
        {
            line.retain(|m| *m != id);
            if line.is_empty() {
                self.groups.remove(group);
            }
        }
        Some(message)
    }
    /// When a group may be handed out: when nothing of it is out any more.
    fn group_at(&self, line: &VecDeque<u64>) -> Timestamp {
        let out = line.iter().take(MAX_BATCH).filter_map(|id| self.messages.get(id)).map(|m| m.visible_at);
        out.max().unwrap_or(Timestamp(0))
    }
    fn next_visible(&self, fifo: bool) -> Option<Timestamp> {
        if fifo {
            self.groups.values().map(|line| self.group_at(line)).min()
        } else {
            self.messages.values().map(|m| m.visible_at).min()
        }
    }
}

#[derive(Default)]
struct Data {
    queues: BTreeMap<String, One>,
    serial: u64,
    canary: Vec<String>,
    dead: u64,
    expired: u64,
}

/// [`Queue`] in memory.
#[derive(Clone)]
pub(crate) struct MemoryQueue {
    gate: Gate,
    data: Arc<Mutex<Data>>,
    max_receives: u32,
}

fn unavailable(_: Broken) -> QueueError {
    QueueError::Unavailable("the simulator said so".into())
}

fn is_fifo(queue: &str) -> bool {
    queue.ends_with(".fifo")
}

fn check(queue: &str, messages: &[OutMessage]) -> Result<(), QueueError> {
    let refuse = |what: &str| Err(QueueError::Invalid(what.to_owned()));
    if messages.len() > MAX_BATCH {
        return refuse("too many messages");
    }
    for message in messages {
        if message.body.len() > MAX_MESSAGE {
            return refuse("too large a message");
        }
        if is_fifo(queue) && (message.group.is_none() || message.delay > Millis(0)) {
            return refuse("a FIFO message has a group and no delay");
        }
        if message.delay > MAX_DELAY {
            return refuse("too long a delay");
        }
    }
    Ok(())
}

fn receipt(id: u64, receives: u32) -> String {
    format!("{id}-{receives}")
}

fn read_receipt(text: &str) -> Option<(u64, u32)> {
    let (id, receives) = text.split_once('-')?;
    Some((id.parse().ok()?, receives.parse().ok()?))
}

impl MemoryQueue {
    pub(crate) fn new(gate: Gate, max_receives: u32) -> Self {
        Self { gate, data: Arc::default(), max_receives }
    }

    /// Waits until something can be received.
    pub(crate) async fn wait(&self, queue: &str) {
        let bell = lock(&self.data).queues.entry(queue.to_owned()).or_default().bell.clone();
        let when = || lock(&self.data).queues.get(queue).and_then(|q| q.next_visible(is_fifo(queue)));
        bell.wait(&self.gate.core, when).await;
    }

    /// Messages in all queues, and the earliest moment one can be received.
    pub(crate) fn left(&self) -> usize {
        lock(&self.data).queues.values().map(|q| q.messages.len()).sum()
    }
    /// Messages that came to the dead letters, and that grew too old.
    pub(crate) fn lost(&self) -> (u64, u64) {
        let data = lock(&self.data);
        (data.dead, data.expired)
    }
    /// Queues in which something stood in clear that must not.
    pub(crate) fn canaries(&self) -> Vec<String> {
        lock(&self.data).canary.clone()
    }

    fn put(&self, queue: &str, messages: Vec<OutMessage>, refuse: impl Fn(usize) -> bool) -> Vec<bool> {
        let now = self.gate.core.now();
        let mut guard = lock(&self.data);
        let data = &mut *guard;
        let fifo = is_fifo(queue);
        let mut accepted = Vec::with_capacity(messages.len());
        for (place, message) in messages.into_iter().enumerate() {
            if refuse(place) {
                accepted.push(false);
                continue;
            }
            accepted.push(true);
            if has_canary(&message.body) {
                data.canary.push(queue.to_owned());
            }
            data.serial += 1;
            let id = data.serial;
            if !data.queues.contains_key(queue) {
                data.queues.insert(queue.to_owned(), One::default());
            }
            let Some(one) = data.queues.get_mut(queue) else { continue };
            while one.dedup_order.front().is_some_and(|(until, _)| *until <= now) {
                if let Some((_, old)) = one.dedup_order.pop_front()
                    && one.dedup.get(&old).is_some_and(|until| *until <= now)
                {
                    one.dedup.remove(&old);
                }
            }
            if let Some(dedup) = message.dedup.filter(|_| fifo) {
                if one.dedup.get(&dedup).is_some_and(|until| *until > now) {
                    continue;
                }
                one.dedup.insert(dedup.clone(), now + DEDUP_WINDOW);
                one.dedup_order.push_back((now + DEDUP_WINDOW, dedup));
            }
            let group = message.group.filter(|_| fifo);
            if let Some(group) = &group {
                one.groups.entry(group.clone()).or_default().push_back(id);
            }
            let visible_at = now + Millis(message.delay.0.max(0));
            one.messages
                .insert(id, Message { group, body: message.body, sent_at: now, visible_at, receives: 0 });
        }
        let bell = guard.queues.get(queue).map(|q| q.bell.clone());
        drop(guard);
        if let Some(bell) = bell {
            bell.ring();
        }
        accepted
    }

    fn take(&self, queue: &str, max: usize, visibility: Millis) -> Vec<InMessage> {
        let now = self.gate.core.now();
        let max = max.clamp(1, MAX_BATCH);
        let until = now + Millis(visibility.0.max(0));
        let twice = !is_fifo(queue) && self.gate.faults.draw("message handed out twice", 40);
        let start = if is_fifo(queue) { 0 } else { self.gate.faults.number(0, 1 << 30) };
        let mut guard = lock(&self.data);
        let data = &mut *guard;
        let Some(one) = data.queues.get_mut(queue) else { return Vec::new() };
        let mut out = Vec::new();
        let mut buried = Vec::new();
        let candidates: Vec<Vec<u64>> = if is_fifo(queue) {
            let mut free: Vec<Vec<u64>> = Vec::new();
            for line in one.groups.values() {
                if one.group_at(line) <= now {
                    free.push(line.iter().copied().take(max).collect());
                }
            }
            free.sort_by_key(|line| line.first().copied());
            free
        } else {
            let mut ids: Vec<u64> =
                one.messages.iter().filter(|(_, m)| m.visible_at <= now).map(|(id, _)| *id).collect();
            let length = i64::try_from(ids.len()).unwrap_or(1).max(1);
            ids.rotate_left(usize::try_from(start % length).unwrap_or(0));
            vec![ids]
        };
        'lines: for line in candidates {
            for id in line {
                if out.len() == max {
                    break 'lines;
                }
                let Some(message) = one.messages.get_mut(&id) else { continue };
                if now.since(message.sent_at) >= RETENTION {
                    one.drop_message(id);
                    data.expired += 1;
                    continue;
                }
                if message.receives >= self.max_receives && !queue.ends_with("-dead") {
                    buried.extend(one.drop_message(id));
                    continue;
                }
                message.receives += 1;
                message.visible_at = if twice { now + Millis(500) } else { until };
                let (group, body) = (message.group.clone(), message.body.clone());
                let receives = message.receives;
                out.push(InMessage { receipt: receipt(id, receives), group, body, receives });
            }
        }
        let more = one.next_visible(is_fifo(queue)).is_some_and(|at| at <= now).then(|| one.bell.clone());
        let mut dead_bell = None;
        if !buried.is_empty() {
            let name = dead_queue(queue);
            for message in buried {
                data.serial += 1;
                data.dead += 1;
                let dead = data.queues.entry(name.clone()).or_default();
                let letter = Message { group: None, visible_at: now, receives: 0, ..message };
                dead.messages.insert(data.serial, letter);
                dead_bell = Some(dead.bell.clone());
            }
        }
        drop(guard);
        for bell in [more, dead_bell].into_iter().flatten() {
            bell.ring();
        }
        out
    }

    fn remove(&self, queue: &str, receipts: &[String]) {
        let mut data = lock(&self.data);
        let Some(one) = data.queues.get_mut(queue) else { return };
        for (id, receives) in receipts.iter().filter_map(|r| read_receipt(r)) {
            if one.messages.get(&id).is_some_and(|m| m.receives == receives) {
                one.drop_message(id);
            }
        }
        let bell = one.bell.clone();
        drop(data);
        bell.ring();
    }

    fn give_back(&self, queue: &str, receipt: &str, delay: Millis) {
        let now = self.gate.core.now();
        let mut data = lock(&self.data);
        let Some(one) = data.queues.get_mut(queue) else { return };
        if let Some((id, receives)) = read_receipt(receipt)
            && let Some(message) = one.messages.get_mut(&id).filter(|m| m.receives == receives)
        {
            message.visible_at = now + Millis(delay.0.max(0));
        }
        let bell = one.bell.clone();
        drop(data);
        bell.ring();
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, queue: &str, messages: Vec<OutMessage>) -> Result<Vec<bool>, QueueError> {
        check(queue, &messages)?;
        let fate = self.gate.enter(Op::QueueSend).await.map_err(unavailable)?;
        let odd = self.gate.faults.number(0, 1);
        let refuse = |place: usize| fate == Fate::Partial && i64::try_from(place).is_ok_and(|p| p % 2 == odd);
        let accepted = self.put(queue, messages, refuse);
        self.gate.leave(fate).await.map_err(unavailable)?;
        Ok(accepted)
    }

    async fn receive(
        &self,
        queue: &str,
        max: usize,
        visibility: Millis,
    ) -> Result<Vec<InMessage>, QueueError> {
        let fate = self.gate.enter(Op::QueueReceive).await.map_err(unavailable)?;
        let taken = self.take(queue, max, visibility);
        self.gate.leave(fate).await.map_err(unavailable)?;
        Ok(taken)
    }

    async fn delete(&self, queue: &str, receipts: Vec<String>) -> Result<(), QueueError> {
        let fate = self.gate.enter(Op::QueueDelete).await.map_err(unavailable)?;
        self.remove(queue, &receipts);
        self.gate.leave(fate).await.map_err(unavailable)
    }

    async fn release(&self, queue: &str, receipt: &str, delay: Millis) -> Result<(), QueueError> {
        let fate = self.gate.enter(Op::QueueRelease).await.map_err(unavailable)?;
        self.give_back(queue, receipt, delay);
        self.gate.leave(fate).await.map_err(unavailable)
    }

    async fn depth(&self, queue: &str) -> Result<usize, QueueError> {
        let fate = self.gate.enter(Op::QueueReceive).await.map_err(unavailable)?;
        let depth = lock(&self.data).queues.get(queue).map_or(0, |q| q.messages.len());
        self.gate.leave(fate).await.map_err(unavailable)?;
        Ok(depth)
    }
}
