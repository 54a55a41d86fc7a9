//! Webhooks on their way out: signing, faults and retries.
//!
//! An event's body is fixed when the event happens; only the timestamp and the signature are made anew
//! with each attempt. The id is the same in every attempt and every duplicate.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tillway_core::http::{Method, Request};
use tillway_core::time::{Millis, Timestamp};

use super::Counters;
use super::config::WebhookScheme;
use crate::faults::{HookFaults, scramble};
use crate::{Delivery, HookFault, HookFaultRule};

/// Waits before the second, third, … attempt; after the last of them the shop gives up. Standard Webhooks'
/// own proposal.
pub const RETRY_WAITS: [Millis; 9] = [
    Millis::secs(5),
    Millis::mins(5),
    Millis::mins(30),
    Millis::hours(2),
    Millis::hours(5),
    Millis::hours(10),
    Millis::hours(14),
    Millis::hours(20),
    Millis::hours(24),
];

/// An event that a fault kept from being delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostEvent {
    /// Its id.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// When it happened.
    pub at: Timestamp,
}

/// A key in working order. Text that is not `whsec_` and base64 is taken as the key's own bytes, so that a
/// wrong secret signs wrongly instead of not at all.
fn keyed(secret: &str) -> Option<Hmac<Sha256>> {
    let decoded = secret.strip_prefix("whsec_").and_then(|text| BASE64.decode(text).ok());
    Hmac::new_from_slice(&decoded.unwrap_or_else(|| secret.as_bytes().to_vec())).ok()
}

fn signed(mut mac: Hmac<Sha256>, id: &str, unix: i64, body: &[u8]) -> String {
    mac.update(format!("{id}.{unix}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

/// Signs as Standard Webhooks does: `v1,` and the base64 of the HMAC-SHA256 of `id.unix seconds.body`.
/// `secret` is `whsec_` and the base64 of the key.
#[must_use]
pub fn sign_standard(secret: &str, id: &str, unix: i64, body: &[u8]) -> String {
    keyed(secret).map_or_else(String::new, |mac| signed(mac, id, unix, body))
}

/// The topic of an event type: the last part of the webhook URL.
pub(super) fn topic_of(event_type: &str) -> &'static str {
    match event_type.split('.').next() {
        Some("customer") => "customers",
        Some("inventory") => "inventory",
        _ => "orders",
    }
}

struct Pending {
    event_id: Arc<str>,
    event_type: Arc<str>,
    topic: Arc<str>,
    body: Arc<[u8]>,
    /// Attempts made.
    attempts: usize,
    /// Duplicates are not tried again: they would multiply.
    retried: bool,
}

/// The outbox.
pub(super) struct Hooks {
    scheme: WebhookScheme,
    keys: Vec<Hmac<Sha256>>,
    /// Keys of registered subscriptions, by subscription id.
    registered: Vec<(String, Hmac<Sha256>)>,
    seed: u64,
    events: u64,
    handles: u64,
    due: BTreeMap<(Timestamp, u64), Pending>,
    in_flight: HashMap<u64, Pending>,
    faults: HookFaults,
    pub lost: Vec<LostEvent>,
}

impl Hooks {
    pub fn new(scheme: WebhookScheme, seed: u64) -> Self {
        let mut hooks = Self {
            scheme: WebhookScheme::StandardWebhooks { secrets: Vec::new() },
            keys: Vec::new(),
            registered: Vec::new(),
            seed,
            events: 0,
            handles: 0,
            due: BTreeMap::new(),
            in_flight: HashMap::new(),
            faults: HookFaults::default(),
            lost: Vec::new(),
        };
        hooks.set_scheme(scheme);
        hooks
    }

    pub fn set_scheme(&mut self, scheme: WebhookScheme) {
        self.keys = match &scheme {
            WebhookScheme::StandardWebhooks { secrets } => secrets.iter().filter_map(|s| keyed(s)).collect(),
            WebhookScheme::SharedHeader { .. } => Vec::new(),
        };
        self.scheme = scheme;
    }

    /// Signs with this secret too; tells whether webhooks are signed at all.
    pub fn register(&mut self, subscription: &str, secret: &str) -> bool {
        let signs = matches!(self.scheme, WebhookScheme::StandardWebhooks { .. });
        if let (true, Some(key)) = (signs, keyed(secret)) {
            self.registered.push((subscription.to_owned(), key));
        }
        signs
    }

    pub fn unregister(&mut self, subscription: &str) {
        self.registered.retain(|(id, _)| id != subscription);
    }

    pub fn inject(&mut self, rule: HookFaultRule) {
        self.faults.inject(rule);
    }

    /// Queues an event. `data` is JSON already. Returns the event's id.
    pub fn emit(
        &mut self,
        now: Timestamp,
        topic: &str,
        event_type: &str,
        data: &[u8],
        counters: &mut Counters,
    ) -> String {
        self.events += 1;
        let event_id = format!("msg_{:016x}", scramble(self.seed, self.events));
        counters.count_event(event_type);
        let head =
            format!("{{\"type\":{},\"timestamp\":\"{}\",\"data\":", Value::from(event_type), now.rfc3339());
        let mut body = Vec::with_capacity(head.len() + data.len() + 1);
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(data);
        body.push(b'}');
        let body: Arc<[u8]> = body.into();

        let fault = self.faults.take(event_type);
        match &fault {
            Some(HookFault::Duplicate(_)) => counters.count_fault("hook_duplicate"),
            Some(HookFault::Delay(_)) => counters.count_fault("hook_delay"),
            Some(HookFault::Lose) => counters.count_fault("hook_lose"),
            None => {}
        }
        let (copies, wait) = fault.map_or((1, Millis(0)), |fault| fault.deliveries());
        if copies == 0 {
            let event_type = event_type.to_owned();
            self.lost.push(LostEvent { event_id: event_id.clone(), event_type, at: now });
        }
        let (id, kind, topic): (Arc<str>, Arc<str>, Arc<str>) =
            (event_id.as_str().into(), event_type.into(), topic.into());
        for copy in 0..copies {
            self.handles += 1;
            let pending = Pending {
                event_id: id.clone(),
                event_type: kind.clone(),
                topic: topic.clone(),
                body: body.clone(),
                attempts: 0,
                retried: copy == 0,
            };
            self.due.insert((now + wait, self.handles), pending);
        }
        event_id
    }

    fn request(&self, now: Timestamp, pending: &Pending) -> Request {
        let unix = now.unix();
        let request = Request::new(Method::Post, "")
            .with_header("webhook-id", &*pending.event_id)
            .with_header("webhook-timestamp", unix.to_string())
            .with_body("application/json", pending.body.to_vec());
        match &self.scheme {
            WebhookScheme::StandardWebhooks { .. } => {
                let keys = self.keys.iter().chain(self.registered.iter().map(|(_, key)| key));
                let signatures: Vec<_> =
                    keys.map(|key| signed(key.clone(), &pending.event_id, unix, &pending.body)).collect();
                request.with_header("webhook-signature", signatures.join(" "))
            }
            WebhookScheme::SharedHeader { header, value } => request.with_header(header, value),
        }
    }

    pub fn take(&mut self, now: Timestamp, counters: &mut Counters) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, id), mut pending) = entry.remove_entry();
            pending.attempts += 1;
            counters.attempts += 1;
            taken.push(Delivery {
                id,
                topic: pending.topic.to_string(),
                event_id: pending.event_id.to_string(),
                event_type: pending.event_type.to_string(),
                request: self.request(now, &pending),
            });
            self.in_flight.insert(id, pending);
        }
        taken
    }

    pub fn delivered(&mut self, now: Timestamp, id: u64, status: Option<u16>, counters: &mut Counters) {
        let Some(pending) = self.in_flight.remove(&id) else { return };
        if status.is_some_and(|s| (200..300).contains(&s)) || !pending.retried {
            return;
        }
        match RETRY_WAITS.get(pending.attempts.saturating_sub(1)) {
            Some(wait) => {
                counters.retries += 1;
                self.due.insert((now + *wait, id), pending);
            }
            None => counters.given_up += 1,
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }
}

#[cfg(test)]
mod tests;
