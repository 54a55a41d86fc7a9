//! The way out of a command: every request takes its place in the connection's line, none leaves after the
//! deadline, and no card number comes back in.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tillway_connectors::http::kept::Kept;
use tillway_connectors::http::{Http, HttpError};
use tillway_connectors::{Connection, Connector};
use tillway_core::http::{Request, Response};
use tillway_core::ids::ConnectionName;
use tillway_core::pan;
use tillway_core::time::{Millis, Timestamp};

use crate::engine::Engine;
use crate::ports::Severity;

/// Signatures and tokens are good for minutes: a clock off by more than this is the likelier reason to be turned away than
/// the credentials.
const CLOCK: Millis = Millis::mins(2);

/// By how much a provider's clock was ahead of ours when it last turned us away.
#[derive(Default)]
pub(crate) struct Clocks(Mutex<BTreeMap<ConnectionName, Millis>>);

/// [`Http`] as one call of one connection may use it.
pub(crate) struct Outbound<'a> {
    engine: &'a Engine,
    connection: &'a Connection,
    connector: &'a dyn Connector,
    deadline: Option<Timestamp>,
    kept: Option<&'a Kept>,
}

impl Engine {
    /// The way out for one call; not a byte of it leaves at or after the deadline.
    pub(crate) const fn outbound<'a>(
        &'a self,
        connection: &'a Connection,
        connector: &'a dyn Connector,
        deadline: Option<Timestamp>,
    ) -> Outbound<'a> {
        Outbound { engine: self, connection, connector, deadline, kept: None }
    }

    /// What a refusal of our credentials comes of and how it is mended, where it is our clock.
    pub(crate) fn clock_off(&self, name: &ConnectionName) -> Option<String> {
        let ahead = self.clocks.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()?;
        let seconds = ahead.0.saturating_abs().saturating_add(500) / 1000;
        let whose = if ahead > Millis(0) { "behind" } else { "ahead of" };
        (seconds > CLOCK.0 / 1000).then(|| {
            format!(
                "{name} turns us away, and this machine's clock is {} min {} s {whose} the one there: set the machine's \
                 clock (NTP), then nothing else is to be done; the credentials are likely right",
                seconds / 60,
                seconds % 60
            )
        })
    }
}

#[async_trait]
impl Http for Outbound<'_> {
    async fn send(&self, request: Request, limit: Millis) -> Result<Response, HttpError> {
        let limit = self.place(limit).await?;
        self.took(self.engine.ports.http.send(request, limit).await?).await
    }

    async fn download(&self, request: Request, limit: Millis, most: usize) -> Result<Response, HttpError> {
        let limit = self.place(limit).await?;
        self.took(self.engine.ports.http.download(request, limit, most).await?).await
    }

    fn kept(&self) -> Option<&Kept> {
        self.kept
    }
}

impl<'a> Outbound<'a> {
    /// The same, with what a run keeps of its downloads.
    pub(crate) const fn keeping(self, kept: &'a Kept) -> Self {
        Self { kept: Some(kept), ..self }
    }
}

impl Outbound<'_> {
    /// Waits for its place in the connection's line; how long the request may take then.
    async fn place(&self, limit: Millis) -> Result<Millis, HttpError> {
        let wait = self.engine.limits.place(&self.connection.name, self.engine.now());
        if wait > Millis(0) {
            self.engine.ports.clock.sleep(wait).await;
        }
        let Some(deadline) = self.deadline else { return Ok(limit) };
        let left = deadline.since(self.engine.now());
        if left <= Millis(0) { Err(HttpError::NotSent) } else { Ok(limit.min(left)) }
    }

    /// What came, fit to be used.
    async fn took(&self, mut response: Response) -> Result<Response, HttpError> {
        self.compare_clocks(&response);
        if pan::scan_bytes(&response.body) {
            self.redact(&mut response).await;
        }
        Ok(response)
    }

    /// Notes by how much the clocks differ, where we are turned away.
    fn compare_clocks(&self, response: &Response) {
        if !matches!(response.status, 401 | 403) {
            return;
        }
        let theirs = response.header("date").and_then(Timestamp::parse_http);
        let mut clocks = self.engine.clocks.0.lock().unwrap_or_else(PoisonError::into_inner);
        match theirs {
            Some(theirs) => {
                clocks.insert(self.connection.name.clone(), theirs.since(self.engine.now()));
            }
            None => {
                clocks.remove(&self.connection.name);
            }
        }
    }

    /// Takes card numbers out of an answer. What is no JSON is read by nobody.
    async fn redact(&self, response: &mut Response) {
        let Ok(mut body) = serde_json::from_slice::<serde_json::Value>(&response.body) else { return };
        let hits = pan::redact_json(&mut body, self.connector.identifier_fields());
        if hits.is_empty() {
            return;
        }
        response.body = body.to_string().into_bytes();
        let paths: Vec<&str> = hits.iter().map(|hit| hit.path.as_str()).collect();
        let text = format!(
            "a card number stands at {} in {}; it was removed from the answer before anything was kept, and \
             has to be removed there",
            self.connection.name,
            paths.join(", ")
        );
        self.engine.alert("card_number_received", Severity::Critical, None, text).await;
    }
}
