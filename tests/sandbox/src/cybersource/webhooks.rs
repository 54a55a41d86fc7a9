//! Webhooks: topics, envelopes, signatures, delivery and retries, faults of delivery.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
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
    /// How long after a subscription was made, and again and again while it does not live, its address is asked whether it
    /// is there (the provider: 5 to 10 minutes). Nothing is delivered before that is answered 200, and where the retries of a
    /// delivery end it is suspended and keeps what comes. `None`: active from the start, and what is given up is lost.
    pub health: Option<Millis>,
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
            health: None,
            topics: topics.iter().map(|(p, t)| ((*p).into(), (*t).into())).collect(),
        }
    }
}

/// How a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its address was never seen to live.
    Inactive,
    /// Delivered to.
    Active,
    /// Its address failed; what comes waits.
    Suspended,
}

/// The subscription of a topic.
#[derive(Debug)]
struct Subscription {
    standing: Standing,
    /// When its address is asked next; `None` while it is being asked, and where it lives.
    check_at: Option<i64>,
    /// How often it was asked.
    asked: u32,
    /// Deliveries that wait for it.
    held: Vec<u64>,
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
    subscriptions: BTreeMap<String, Subscription>,
    /// Health checks in flight, and whose they are.
    checks: BTreeMap<u64, String>,
}

impl Hooks {
    pub(super) fn in_flight(&self) -> usize {
        let held: usize = self.subscriptions.values().map(|s| s.held.len()).sum();
        let waiting = self.queue.len().saturating_add(held);
        self.live.len().saturating_sub(waiting).saturating_add(self.checks.len())
    }
    pub(super) fn next_due(&self) -> Option<i64> {
        let checks = self.subscriptions.values().filter_map(|s| s.check_at);
        self.queue.peek().map(|Reverse((due, _))| *due).into_iter().chain(checks).min()
    }

    /// Health checks that are due: a GET, then an empty POST, in turns.
    fn due_checks(&mut self, topics: &[(String, String)], now: i64, every: Millis) -> Vec<Delivery> {
        let mut due = Vec::new();
        for (_, topic) in topics {
            let made = || Subscription {
                standing: Standing::Inactive,
                check_at: Some(now.saturating_add(every.0)),
                asked: 0,
                held: Vec::new(),
            };
            let subscription = self.subscriptions.entry(topic.clone()).or_insert_with(made);
            if subscription.check_at.is_none_or(|at| at > now) {
                continue;
            }
            subscription.check_at = None;
            let method = if subscription.asked.is_multiple_of(2) { Method::Get } else { Method::Post };
            subscription.asked += 1;
            self.serial += 1;
            self.checks.insert(self.serial, topic.clone());
            due.push(Delivery {
                id: self.serial,
                topic: topic.clone(),
                event_id: HEALTH.to_owned(),
                event_type: HEALTH.to_owned(),
                request: Request::new(method, ""),
            });
        }
        due
    }

    /// Takes the answer to a health check: 200 alone lets what waits go out.
    fn checked(&mut self, topic: &str, lives: bool, now: i64, every: Millis) {
        let Some(subscription) = self.subscriptions.get_mut(topic) else { return };
        if !lives {
            subscription.check_at = Some(now.saturating_add(every.0));
            return;
        }
        subscription.standing = Standing::Active;
        let held = std::mem::take(&mut subscription.held);
        self.queue.extend(held.into_iter().map(|id| Reverse((now, id))));
    }

    /// Whether a delivery waits for its subscription.
    fn hold(&mut self, id: u64, topic: &str) -> bool {
        let subscription = self.subscriptions.get_mut(topic).filter(|s| s.standing != Standing::Active);
        let Some(subscription) = subscription else { return false };
        subscription.held.push(id);
        true
    }

    /// An address failed as often as is tried: its subscription stops, and the delivery waits with what comes.
    fn suspend(&mut self, id: u64, now: i64, every: Millis) -> bool {
        let Some(hook) = self.live.get_mut(&id) else { return false };
        let Some(subscription) = self.subscriptions.get_mut(&hook.topic) else { return false };
        hook.attempt = 0;
        subscription.held.push(id);
        if subscription.standing == Standing::Active {
            subscription.standing = Standing::Suspended;
            subscription.check_at = Some(now.saturating_add(every.0));
        }
        true
    }
}

/// What a health check is called among deliveries.
const HEALTH: &str = "health";

impl Hooks {
    /// How the subscription of a topic stands.
    fn standing(&self, topic: &str) -> Standing {
        self.subscriptions.get(topic).map_or(Standing::Inactive, |s| s.standing)
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
        if let Some(every) = self.config.webhooks.health {
            due = self.hooks.due_checks(&self.config.webhooks.topics, self.now.0, every);
        }
        while let Some(Reverse((at, id))) = self.hooks.queue.peek().copied() {
            if at > self.now.0 {
                break;
            }
            self.hooks.queue.pop();
            let topic = self.hooks.live.get(&id).map(|hook| hook.topic.clone()).unwrap_or_default();
            if self.hooks.hold(id, &topic) {
                continue;
            }
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
        if let (Some(topic), Some(every)) = (self.hooks.checks.remove(&id), self.config.webhooks.health) {
            self.hooks.checked(&topic, status == Some(200), self.now.0, every);
            return;
        }
        if matches!(status, Some(200..=299)) {
            if self.hooks.live.remove(&id).is_some() {
                self.counters.deliveries_accepted += 1;
            }
            return;
        }
        let retries = self.config.webhooks.retries;
        let Some(hook) = self.hooks.live.get_mut(&id) else { return };
        if hook.attempt >= retries.times {
            if let Some(every) = self.config.webhooks.health
                && self.hooks.suspend(id, self.now.0, every)
            {
                return;
            }
            self.hooks.live.remove(&id);
            self.counters.deliveries_given_up += 1;
            return;
        }
        let wait = retries.first.0.saturating_add(retries.interval.0.saturating_mul(hook.attempt.into()));
        hook.attempt += 1;
        self.hooks.queue.push(Reverse((self.now.0.saturating_add(wait), id)));
    }

    /// How the subscription of a topic stands; told where [`WebhookConfig::health`] is set.
    #[must_use]
    pub fn subscription(&self, topic: &str) -> Standing {
        self.hooks.standing(topic)
    }

    /// Deliveries queued, held or in flight.
    #[must_use]
    pub fn deliveries_open(&self) -> usize {
        self.hooks.live.len()
    }
}
