//! Webhooks: topics, envelopes, signatures, delivery and retries, faults of delivery.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tillway_core::http::{Method, Request};
use tillway_core::time::Millis;

use super::events::Event;
use super::ids::Kind;
use super::jwe::Encryption;
use super::{CybersourceSandbox, auth};
use crate::Delivery;
use crate::faults::HookFaults;

/// Where the encrypted text stands; the sources disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// Member `encData` beside the event's other members.
    EncData,
    /// Member `encryptedRequest`.
    EncryptedRequest,
    /// Member `payload`.
    Payload,
    /// The whole body.
    Whole,
}

/// What is signed; the sources disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedOver {
    /// The body as it is sent.
    Body,
    /// The payload as it was before it was encrypted.
    Payload,
}

/// When a delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Before the first retry.
    pub first: Millis,
    /// Added before each further one.
    pub interval: Millis,
    /// Retries before it is given up.
    pub times: u32,
}

/// How webhooks are sent.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Id of the digital signature key.
    pub key_id: String,
    /// The key, base64.
    pub key: String,
    /// What `payments.*` is encrypted for; they go nowhere where `None`.
    pub encryption: Option<Encryption>,
    /// Where the encrypted text stands.
    pub envelope: Envelope,
    /// What is signed.
    pub signed_over: SignedOver,
    /// Retries.
    pub retries: RetryPolicy,
    /// How event types begin, and their topic; the first that fits counts. What fits none is not delivered.
    pub topics: Vec<(String, String)>,
}

impl WebhookConfig {
    /// The usual topics, and the retries that `tillway webhooks` tells people to set.
    #[must_use]
    pub fn new(key_id: impl Into<String>, key: impl Into<String>, encryption: Option<Encryption>) -> Self {
        let topics =
            [("payments.refund.", "refunds"), ("payments.", "payments"), ("risk.", "fraud-decisions")];
        Self {
            key_id: key_id.into(),
            key: key.into(),
            encryption,
            envelope: Envelope::EncData,
            signed_over: SignedOver::Body,
            retries: RetryPolicy { first: Millis::mins(10), interval: Millis::mins(10), times: 10 },
            topics: topics.iter().map(|(p, t)| ((*p).into(), (*t).into())).collect(),
        }
    }
}

#[derive(Debug)]
struct Hook {
    event: Arc<Event>,
    topic: String,
    attempt: u32,
}

/// Deliveries to come and in flight.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    pub(super) faults: HookFaults,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    live: HashMap<u64, Hook>,
    serial: u64,
}

impl Hooks {
    pub(super) fn in_flight(&self) -> usize {
        self.live.len().saturating_sub(self.queue.len())
    }
    pub(super) fn next_due(&self) -> Option<i64> {
        self.queue.peek().map(|Reverse((due, _))| *due)
    }
}

/// The `v-c-signature` header over a message; `key` is base64, `t` Unix milliseconds.
#[must_use]
pub fn sign(message: &[u8], key_id: &str, key: &str, t: i64) -> String {
    let mut text = format!("{t}.").into_bytes();
    text.extend_from_slice(message);
    let signature = auth::mac(&STANDARD.decode(key).unwrap_or_default(), &text);
    format!("t={t};keyId={key_id};sig={}", STANDARD.encode(signature))
}

/// A webhook with a body, a signature and an event type of the caller's choice: forged, stale or tampered with.
#[must_use]
pub fn forge(body: impl Into<Vec<u8>>, signature: &str, event_type: &str) -> Request {
    Request::new(Method::Post, "")
        .with_body("application/json", body)
        .with_header("v-c-signature", signature)
        .with_header("v-c-event-type", event_type)
}

impl CybersourceSandbox {
    /// Queues the webhook of an event, as a fault may have it.
    pub(super) fn queue(&mut self, event: Arc<Event>) {
        let Some(topic) = self.topic(&event.kind) else { return };
        if event.kind.starts_with("payments.") && self.config.webhooks.encryption.is_none() {
            self.counters.undeliverable += 1;
            return;
        }
        let fault = self.hooks.faults.take(&event.kind);
        if let Some(fault) = &fault {
            *self.counters.hook_faults_struck.entry(fault.name()).or_default() += 1;
        }
        let (copies, wait) = fault.map_or((1, Millis(0)), |fault| fault.deliveries());
        for _ in 0..copies {
            self.hooks.serial += 1;
            let id = self.hooks.serial;
            let hook = Hook { event: event.clone(), topic: topic.clone(), attempt: 0 };
            self.hooks.live.insert(id, hook);
            self.hooks.queue.push(Reverse(((self.now + wait).0, id)));
        }
    }

    fn topic(&self, kind: &str) -> Option<String> {
        let fits = |(begins, _): &&(String, String)| kind.starts_with(begins.as_str());
        self.config.webhooks.topics.iter().find(fits).map(|(_, topic)| topic.clone())
    }

    /// The webhook of an event about a transaction as that stands now, signed as of now and delivered to nobody: for whoever
    /// replays, tampers with or breaks one.
    #[must_use]
    pub fn webhook(&self, kind: &str, transaction: &str) -> Option<Request> {
        let data = self.data(self.ids.tx_row(transaction)?).ok()?;
        let event = Arc::new(Event { at: self.now, kind: kind.to_owned(), data });
        // Beyond the numbers of deliveries, so that its trace id is its own.
        let serial = u64::from(u32::MAX).saturating_add(self.counters.deliveries);
        self.request(&Hook { event, topic: self.topic(kind)?, attempt: 0 }, serial)
    }

    /// What is due now, signed as of now.
    pub(super) fn due_deliveries(&mut self) -> Vec<Delivery> {
        let mut due = Vec::new();
        while let Some(Reverse((at, id))) = self.hooks.queue.peek().copied() {
            if at > self.now.0 {
                break;
            }
            self.hooks.queue.pop();
            self.counters.deliveries += 1;
            let serial = self.counters.deliveries;
            let Some(hook) = self.hooks.live.get(&id) else { continue };
            let Some(request) = self.request(hook, serial) else {
                self.hooks.live.remove(&id);
                self.counters.undeliverable += 1;
                continue;
            };
            due.push(Delivery {
                id,
                topic: hook.topic.clone(),
                event_id: hook.event.name(),
                event_type: hook.event.kind.clone(),
                request,
            });
        }
        due
    }

    fn request(&self, hook: &Hook, serial: u64) -> Option<Request> {
        let (config, event) = (&self.config.webhooks, &hook.event);
        let merchant = &self.config.credentials.merchant_id;
        let payments = event.kind.starts_with("payments.");
        let product = if payments { "payments" } else { "decisionManager" };
        let topic = config.topics.iter().position(|(_, t)| *t == hook.topic).unwrap_or(0);
        let webhook = self.ids.uuid(Kind::Webhook, topic);
        // A new one each time: nobody may tell events apart by it.
        let trace = self.ids.uuid(Kind::Trace, usize::try_from(serial).ok()?);
        let kind = if hook.attempt == 0 { "NEW" } else { "RETRY" };
        let payload = json!({"data": event.data, "organizationId": merchant});
        let plain = payload.to_string();
        let date = event.at.rfc3339();
        let mut members = json!({"eventType": event.kind, "webhookId": webhook, "productId": product,
            "organizationId": merchant, "eventDate": date.get(..19).unwrap_or(&date),
            "transactionTraceId": trace, "retryNumber": hook.attempt, "requestType": kind});
        let mut put = |name: &str, value: Value| {
            members.as_object_mut().map(|m| m.insert(name.to_owned(), value));
        };
        let body = if payments {
            let seed = format!("{} jwe {serial}", self.config.seed);
            let sealed =
                config.encryption.as_ref()?.seal(plain.as_bytes(), self.now.unix(), seed.as_bytes())?;
            match config.envelope {
                Envelope::Whole => sealed,
                Envelope::EncData => {
                    put("encData", sealed.into());
                    members.to_string()
                }
                Envelope::EncryptedRequest => {
                    put("encryptedRequest", sealed.into());
                    members.to_string()
                }
                Envelope::Payload => {
                    put("payload", sealed.into());
                    members.to_string()
                }
            }
        } else {
            put("payload", payload);
            members.to_string()
        };
        let message = match config.signed_over {
            SignedOver::Body => body.as_str(),
            SignedOver::Payload => plain.as_str(),
        };
        let clock = self.now + self.config.clock_skew;
        let signature = sign(message.as_bytes(), &config.key_id, &config.key, clock.0);
        let request = forge(body, &signature, &event.kind)
            .with_header("v-c-organization-id", merchant)
            .with_header("v-c-product-name", product)
            .with_header("v-c-request-type", kind)
            .with_header("v-c-retry-count", hook.attempt.to_string())
            .with_header("v-c-transaction-trace-id", trace)
            .with_header("v-c-webhook-id", webhook);
        Some(request)
    }

    /// Takes the answer to a delivery; anything but 2xx is tried again.
    pub(super) fn settle_delivery(&mut self, id: u64, status: Option<u16>) {
        if matches!(status, Some(200..=299)) {
            if self.hooks.live.remove(&id).is_some() {
                self.counters.deliveries_accepted += 1;
            }
            return;
        }
        let retries = self.config.webhooks.retries;
        let Some(hook) = self.hooks.live.get_mut(&id) else { return };
        if hook.attempt >= retries.times {
            self.hooks.live.remove(&id);
            self.counters.deliveries_given_up += 1;
            return;
        }
        let wait = retries.first.0.saturating_add(retries.interval.0.saturating_mul(hook.attempt.into()));
        hook.attempt += 1;
        self.hooks.queue.push(Reverse((self.now.0.saturating_add(wait), id)));
    }

    /// Deliveries queued or in flight.
    #[must_use]
    pub fn deliveries_open(&self) -> usize {
        self.hooks.live.len()
    }
}
