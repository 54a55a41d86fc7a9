//! What the unit tests of this crate stand on: a clock moved by hand, a topic and queues in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Clock, InMessage, OutMessage, Queue, QueueError};

use crate::alerts::Topic;
use crate::claims::Claims;

/// A clock moved by hand.
#[derive(Default)]
pub(crate) struct Hand(AtomicI64);

impl Hand {
    pub(crate) fn at(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }
    pub(crate) fn advance(&self, length: Millis) {
        self.0.fetch_add(length.0, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
    async fn sleep(&self, length: Millis) {
        self.advance(length);
    }
}

/// Remembers what was published.
#[derive(Clone, Default)]
pub(crate) struct Published(Arc<Mutex<Vec<(String, String)>>>);

impl Published {
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Topic for Published {
    async fn publish(&self, subject: String, text: String) -> Result<(), String> {
        self.0.lock().unwrap().push((subject, text));
        Ok(())
    }
}

/// Large bodies in memory.
#[derive(Default)]
pub(crate) struct MemoryClaims(pub(crate) Mutex<BTreeMap<String, Vec<u8>>>);

#[async_trait]
impl Claims for MemoryClaims {
    async fn put(&self, body: Vec<u8>) -> Result<String, QueueError> {
        let mut kept = self.0.lock().unwrap();
        let key = format!("claims/{}", kept.len());
        kept.insert(key.clone(), body);
        Ok(key)
    }
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, QueueError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
    async fn delete(&self, key: &str) -> Result<(), QueueError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

/// Remembers what was sent and given back; refuses to send where it is told to.
#[derive(Default)]
pub(crate) struct MemoryQueue {
    pub(crate) sent: Mutex<Vec<(String, OutMessage)>>,
    pub(crate) released: Mutex<Vec<(String, Millis)>>,
    pub(crate) down: Mutex<bool>,
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, queue: &str, messages: Vec<OutMessage>) -> Result<Vec<bool>, QueueError> {
        if *self.down.lock().unwrap() {
            return Err(QueueError::Unavailable("down".to_owned()));
        }
        let accepted = vec![true; messages.len()];
        self.sent.lock().unwrap().extend(messages.into_iter().map(|m| (queue.to_owned(), m)));
        Ok(accepted)
    }
    async fn receive(&self, _: &str, _: usize, _: Millis) -> Result<Vec<InMessage>, QueueError> {
        Ok(Vec::new())
    }
    async fn delete(&self, _: &str, _: Vec<String>) -> Result<(), QueueError> {
        Ok(())
    }
    async fn release(&self, _: &str, receipt: &str, delay: Millis) -> Result<(), QueueError> {
        self.released.lock().unwrap().push((receipt.to_owned(), delay));
        Ok(())
    }
    async fn depth(&self, _: &str) -> Result<usize, QueueError> {
        Ok(self.sent.lock().unwrap().len())
    }
}
