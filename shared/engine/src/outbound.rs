//! The way out of a command: every request takes its place in the connection's line, none leaves after the
//! deadline, and no card number comes back in.

use async_trait::async_trait;
use tillway_connectors::http::{Http, HttpError};
use tillway_connectors::{Connection, Connector};
use tillway_core::http::{Request, Response};
use tillway_core::pan;
use tillway_core::time::{Millis, Timestamp};

use crate::engine::Engine;
use crate::ports::Severity;

/// [`Http`] as one call of one connection may use it.
pub(crate) struct Outbound<'a> {
    engine: &'a Engine,
    connection: &'a Connection,
    connector: &'a dyn Connector,
    deadline: Option<Timestamp>,
}

impl Engine {
    /// The way out for one call; not a byte of it leaves at or after the deadline.
    pub(crate) const fn outbound<'a>(
        &'a self,
        connection: &'a Connection,
        connector: &'a dyn Connector,
        deadline: Option<Timestamp>,
    ) -> Outbound<'a> {
        Outbound { engine: self, connection, connector, deadline }
    }
}

#[async_trait]
impl Http for Outbound<'_> {
    async fn send(&self, request: Request, limit: Millis) -> Result<Response, HttpError> {
        let wait = self.engine.limits.place(&self.connection.name, self.engine.now());
        if wait > Millis(0) {
            self.engine.ports.clock.sleep(wait).await;
        }
        let limit = match self.deadline {
            None => limit,
            Some(deadline) => {
                let left = deadline.since(self.engine.now());
                if left <= Millis(0) {
                    return Err(HttpError::NotSent);
                }
                limit.min(left)
            }
        };
        let mut response = self.engine.ports.http.send(request, limit).await?;
        if pan::scan_bytes(&response.body) {
            self.redact(&mut response).await;
        }
        Ok(response)
    }
}

impl Outbound<'_> {
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
