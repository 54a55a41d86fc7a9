//! Webhooks: topics, signatures, delivery and retries, faults of delivery.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tillway_core::http::{Method, Request};
use tillway_core::time::{Millis, Timestamp};

use super::StripeSandbox;
use super::events::{Event, fits};
use super::ids::Kind;
use crate::Delivery;
use crate::faults::HookFaults;

/// Waits before each retry; the last one repeats. "Exponential backoff up to three days" is documented,
/// the steps are not. \[from memory\]
const RETRIES: [Millis; 7] = [
    Millis::secs(5),
    Millis::mins(5),
    Millis::mins(30),
    Millis::hours(2),
    Millis::hours(5),
    Millis::hours(10),
    Millis::hours(12),
];
const GIVE_UP: Millis = Millis::days(3);

#[derive(Debug)]
struct Hook {
    event: Arc<Event>,
    topic: Arc<str>,
    attempt: usize,
    first: Timestamp,
}

/// Deliveries to come and in flight.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    pub(super) faults: HookFaults,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    live: HashMap<u64, Hook>,
    serial: u64,
    topics: HashMap<String, Option<Arc<str>>>,
}

impl Hooks {
    /// Taken and not answered: what waits for its time is in the queue, once.
    pub(super) fn in_flight(&self) -> usize {
        self.live.len().saturating_sub(self.queue.len())
    }
    pub(super) fn next_due(&self) -> Option<i64> {
        self.queue.peek().map(|Reverse((due, _))| *due)
    }
    /// The topic rules may have changed.
    pub(super) fn forget_topics(&mut self) {
        self.topics.clear();
    }
    fn push(&mut self, due: Timestamp, hook: Hook) {
        self.serial += 1;
        self.live.insert(self.serial, hook);
        self.queue.push(Reverse((due.0, self.serial)));
    }
}

/// The `Stripe-Signature` header for a body: scheme `v1`, one secret.
#[must_use]
pub fn sign(body: &[u8], secret: &str, t: i64) -> String {
    sign_all(body, &[secret], t)
}

/// The `Stripe-Signature` header with one `v1` for each secret, as while a secret is being rolled.
#[must_use]
pub fn sign_all<S: AsRef<str>>(body: &[u8], secrets: &[S], t: i64) -> String {
    let mut header = format!("t={t}");
    for secret in secrets {
        // HMAC takes keys of any length.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_ref().as_bytes()) {
            mac.update(t.to_string().as_bytes());
            mac.update(b".");
            mac.update(body);
            header.push_str(",v1=");
            header.push_str(&hex::encode(mac.finalize().into_bytes()));
        }
    }
    header
}

/// A webhook with a body and signature of the caller's choice: forged, stale, tampered with, or replayed.
#[must_use]
pub fn forge(body: impl Into<Vec<u8>>, signature: &str) -> Request {
    Request::new(Method::Post, "")
        .with_body("application/json; charset=utf-8", body)
        .with_header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .with_header("stripe-signature", signature)
}

impl StripeSandbox {
    fn topic(&mut self, kind: &str) -> Option<Arc<str>> {
        if let Some(topic) = self.hooks.topics.get(kind) {
            return topic.clone();
        }
        let rules = &self.config.endpoint_topics;
        let topic = rules.iter().find(|(pattern, _)| fits(pattern, kind)).map(|(_, t)| Arc::from(t.as_str()));
        self.hooks.topics.insert(kind.to_owned(), topic.clone());
        topic
    }

    /// Queues the webhook of an event, as a fault may have it.
    pub(super) fn queue(&mut self, event: Arc<Event>) {
        let Some(topic) = self.topic(&event.kind) else { return };
        let fault = self.hooks.faults.take(&event.kind);
        if let Some(fault) = &fault {
            *self.counters.hook_faults_struck.entry(fault.name()).or_default() += 1;
        }
        let (copies, wait) = fault.map_or((1, Millis(0)), |fault| fault.deliveries());
        for _ in 0..copies {
            let hook = Hook { event: event.clone(), topic: topic.clone(), attempt: 0, first: self.now };
            self.hooks.push(self.now + wait, hook);
        }
    }

    /// What is due now, signed as of now.
    pub(super) fn due_deliveries(&mut self) -> Vec<Delivery> {
        let mut due = Vec::new();
        while let Some(Reverse((at, id))) = self.hooks.queue.peek().copied() {
            if at > self.now.0 {
                break;
            }
            self.hooks.queue.pop();
            let Some(hook) = self.hooks.live.get(&id) else { continue };
            let mut body = String::with_capacity(3072);
            self.write_event(&mut body, &hook.event);
            let signature = sign_all(body.as_bytes(), &self.signing_secrets(&hook.topic), self.now.unix());
            due.push(Delivery {
                id,
                topic: hook.topic.as_ref().to_owned(),
                event_id: self.ids.id(Kind::Event, hook.event.row),
                event_type: hook.event.kind.to_string(),
                request: forge(body, &signature),
            });
        }
        self.counters.deliveries += u64::try_from(due.len()).unwrap_or(0);
        due
    }

    /// Takes the answer to a delivery; anything but 2xx is tried again.
    pub(super) fn settle_delivery(&mut self, id: u64, status: Option<u16>) {
        if matches!(status, Some(200..=299)) {
            if self.hooks.live.remove(&id).is_some() {
                self.counters.deliveries_accepted += 1;
            }
            return;
        }
        let Some(hook) = self.hooks.live.get_mut(&id) else { return };
        let wait = RETRIES.get(hook.attempt).or(RETRIES.last()).copied().unwrap_or(GIVE_UP);
        hook.attempt += 1;
        let due = self.now + wait;
        if due.since(hook.first) > GIVE_UP {
            self.hooks.live.remove(&id);
            self.counters.deliveries_given_up += 1;
        } else {
            self.hooks.queue.push(Reverse((due.0, id)));
        }
    }

    /// Deliveries queued or in flight.
    #[must_use]
    pub fn deliveries_open(&self) -> usize {
        self.hooks.live.len()
    }
}
