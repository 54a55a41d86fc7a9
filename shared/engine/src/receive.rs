//! Receive: bound, verify the raw bytes, scan for card numbers, name the event, send. No store.

use tillway_connectors::{EdgeFault, Inbound};
use tillway_core::ids::ConnectionName;
use tillway_core::pan;

use crate::bugs::Bug;
use crate::engine::Engine;
use crate::ports::{Guard, Key, NewItem, OutMessage, SecretError, Severity, Write};
use crate::records::{Event, EventBody, Origin, RawJson};

/// The answer to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// HTTP status: 202 accepted, 4xx refused at the edge, 503 not stored, deliver again.
    pub status: u16,
    /// Stable code.
    pub code: &'static str,
}

/// What came in.
enum Taken {
    Event,
    /// The provider asks whether anybody is there.
    Probe,
}

impl Engine {
    /// Whether a GET of a webhook address is a provider's probe that is answered with 200.
    #[must_use]
    pub fn answers_probe(&self, connection: &str, topic: &str) -> bool {
        let found = self.config.connection(connection);
        found.is_some_and(|(_, connector)| connector.answers_probes() && connector.topics().contains(&topic))
    }

    /// Takes a webhook in. Only an accepted send is answered 2xx.
    pub async fn receive(
        &self,
        connection: &str,
        topic: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Receipt {
        match self.accept(connection, topic, headers, body).await {
            Ok(Taken::Probe) => Receipt { status: 200, code: "probe" },
            Ok(Taken::Event) => {
                self.ports.alerts.count("received", connection, 1);
                Receipt { status: 202, code: "accepted" }
            }
            Err(fault) => {
                self.ports.alerts.count("receive_refused", fault.code, 1);
                // One line, without the body and without header values.
                tracing::warn!(connection, topic, code = fault.code, bytes = body.len(), "webhook refused");
                fault
            }
        }
    }

    async fn accept(
        &self,
        name: &str,
        topic: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<Taken, Receipt> {
        let edge = |f: EdgeFault| Receipt { status: f.status(), code: f.code() };
        if body.len() > self.config.max_body {
            return Err(edge(EdgeFault::TooLarge));
        }
        let (connection, connector) = self.config.connection(name).ok_or(edge(EdgeFault::UnknownUrl))?;
        if !connector.topics().contains(&topic) {
            return Err(edge(EdgeFault::UnknownUrl));
        }
        if body.is_empty() && connector.answers_probes() {
            return Ok(Taken::Probe);
        }
        let inbound = Inbound { topic, headers, body };
        let taken =
            |given: &str| connector.media_types().iter().any(|t| given.trim().eq_ignore_ascii_case(t));
        let media = inbound.header("content-type").and_then(|t| t.split(';').next());
        if !media.is_some_and(taken) {
            return Err(edge(EdgeFault::ContentType));
        }
        let unavailable = Receipt { status: 503, code: "not_stored" };
        let now = self.now();
        let secrets = self.secrets(name, false).await.map_err(|error| match error {
            SecretError::Unavailable(_) => unavailable,
            _ => edge(EdgeFault::NotConfigured),
        })?;
        let mut verified = connector.verify(connection, &secrets, inbound, now);
        if matches!(verified, Err(EdgeFault::SignatureWrong)) {
            // The secret may have been rotated since it was cached.
            let fresh = self.secrets(name, true).await.map_err(|_| unavailable)?;
            if fresh != secrets {
                verified = connector.verify(connection, &fresh, inbound, now);
            }
        }
        let verified = verified.map_err(edge)?;
        let body = verified.opened.as_deref().unwrap_or(body);
        let mut json = RawJson::from_body(body).map_err(|_| edge(EdgeFault::Malformed))?;
        let mut redacted = Vec::new();
        if pan::scan_bytes(body) {
            // Always from the value: of a member that stands twice in the text it holds only one.
            (json, redacted) =
                json.redacted(connector.identifier_fields()).map_err(|_| edge(EdgeFault::Malformed))?;
            if !redacted.is_empty() {
                let text = format!(
                    "a card number came in by {name}/{topic} (event {}) in {}; it was removed before \
                     anything was stored",
                    verified.event_id,
                    redacted.join(", ")
                );
                self.alert("card_number_received", Severity::Critical, None, text).await;
            }
        }
        let event = Event {
            connection: ConnectionName::new(name),
            id: verified.event_id,
            kind: verified.event_type,
            origin: Origin::Webhook,
            received_at: now,
            created_at: verified.created_at,
            replay: 0,
            group: verified.group,
            redacted,
            body: EventBody::Provider { json },
        };
        if self.planted.has(Bug::SeenBeforeSent) {
            let key = Key::new(format!("seen#{name}#{}", event.id), "seen");
            let item = NewItem { key, body: Vec::new(), due: None, list: None, expires: None };
            if self.ports.store.transact(vec![Write::Put(item, Guard::Absent)]).await.is_err() {
                return Ok(Taken::Event);
            }
        }
        if self.send_events(&[event]).await { Ok(Taken::Event) } else { Err(unavailable) }
    }

    /// Seals events and sends them in batches of ten; `true` when every one was accepted.
    pub(crate) async fn send_events(&self, events: &[Event]) -> bool {
        let mut messages = Vec::with_capacity(events.len());
        for event in events {
            let sealed = self.seal_event(event);
            let dedup = format!("{}:{}:{}", event.connection, event.id, event.replay);
            messages.push(OutMessage {
                group: Some(event.group.clone()),
                dedup: Some(dedup),
                body: sealed,
                delay: tillway_core::time::Millis(0),
            });
        }
        self.send_all(crate::records::EVENTS, messages).await
    }

    /// Sends messages in batches of ten, each at most three times; `true` when every one was accepted.
    pub(crate) async fn send_all(&self, queue: &str, messages: Vec<OutMessage>) -> bool {
        let mut left = messages;
        for _ in 0..3 {
            let mut refused = Vec::new();
            for batch in left.chunks(10) {
                match self.ports.queue.send(queue, batch.to_vec()).await {
                    Ok(accepted) => {
                        let failed = batch.iter().zip(accepted.iter().chain(std::iter::repeat(&false)));
                        refused.extend(failed.filter(|(_, ok)| !**ok).map(|(m, _)| m.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(queue, code = "send_failed", "{error}");
                        refused.extend(batch.iter().cloned());
                    }
                }
            }
            if refused.is_empty() {
                return true;
            }
            left = refused;
        }
        false
    }
}
