//! Clarity eCommerce: orders come in, statuses and payment data go back.
//!
//! The vendor publishes no API reference, so the wire is a working contract
//! (`spec/clarity/openapi.yaml`): every path, name and text in it can be set per connection. What is from
//! the commission, what is assumed and how each was checked stands in `README.md` beside this file.
//!
//! Every action reads before it writes, so doing one twice does no harm: a lost answer is followed by
//! doing it again, and nothing leans on the shop honouring an idempotency key.

mod actions;
mod auth;
mod client;
mod customer;
mod events;
mod operations;
mod order;
mod registrar;
mod settings;
mod sweep;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use async_trait::async_trait;
use tillway_core::doc::Json;
use tillway_core::ids::CommandId;
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use crate::capabilities::Capabilities;
use crate::config::{Connection, Secret, Secrets};
use crate::http::Http;
use crate::port::{
    Action, Call, Connector, EdgeFault, Finding, Inbound, Interpreted, Needed, NotDone, Observation, Outcome,
    Owner, Prepared, Rejected, SweepPage, Verified,
};
use crate::registrar::{Endpoint, Registrar};

/// The connector.
pub struct Clarity;

#[async_trait]
impl Connector for Clarity {
    fn system(&self) -> &'static str {
        "clarity"
    }

    fn capabilities(&self) -> &'static Capabilities {
        &actions::CAPABILITIES
    }

    fn topics(&self) -> &'static [&'static str] {
        &webhook::TOPICS
    }

    fn endpoints(&self, connection: &Connection, base: &str) -> Vec<Endpoint> {
        registrar::endpoints(connection, base)
    }

    /// Where the shop signs nothing, its API tells no secret.
    fn registrar(&self, connection: &Connection) -> Option<&'static dyn Registrar> {
        settings::signed(connection).then_some(&registrar::Subscriptions)
    }

    fn webhook_steps(&self, connection: &Connection, base: &str) -> Vec<String> {
        registrar::steps(connection, base)
    }

    fn actions(&self) -> &'static [Action] {
        &actions::ACTIONS
    }

    fn settings(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &settings::SETTINGS
    }

    fn settings_beside(&self, gateway: &str) -> Vec<(&'static str, String)> {
        match gateway {
            "" => Vec::new(),
            gateway => vec![(settings::GATEWAY_CUSTOMER, format!("{gateway}_customer"))],
        }
    }

    fn secrets(&self) -> &'static [(&'static str, &'static str)] {
        &settings::SECRETS
    }

    fn lacks(&self, connection: &Connection, secrets: &Secrets, what: Needed) -> Option<&'static str> {
        secrets.first_missing(match (what, settings::auth(connection)) {
            (Needed::Webhooks, _) => &["webhook_secret"],
            (Needed::Calls, settings::Auth::ClientCredentials) => &["client_id", "client_secret"],
            (Needed::Calls, settings::Auth::ApiKey) => &["api_key"],
            (Needed::Calls, settings::Auth::Jwt) => &["username", "password"],
        })
    }

    fn check_settings(&self, connection: &Connection) -> Vec<(String, String)> {
        settings::check(connection)
    }

    fn verify(
        &self,
        connection: &Connection,
        secrets: &Secrets,
        inbound: Inbound<'_>,
        now: Timestamp,
    ) -> Result<Verified, EdgeFault> {
        webhook::verify(connection, secrets, inbound, now)
    }

    fn identifier_fields(&self) -> &'static [&'static str] {
        &wire::IDENTIFIERS
    }

    fn interpret(
        &self,
        connection: &Connection,
        event_type: &str,
        body: Json<'_>,
    ) -> Result<Interpreted, Rejected> {
        events::interpret(connection, event_type, body, settings::signed(connection))
    }

    fn interpret_read(
        &self,
        connection: &Connection,
        event_type: &str,
        body: Json<'_>,
    ) -> Result<Interpreted, Rejected> {
        events::interpret(connection, event_type, body, true)
    }

    fn prepare(
        &self,
        connection: &Connection,
        action: &str,
        _command: &CommandId,
        params: &Value,
    ) -> Result<Prepared, Rejected> {
        actions::prepare(connection, action, params)
    }

    async fn call(&self, call: Call<'_>) -> Outcome {
        operations::call(&call).await
    }

    /// Every action compares before it writes, so that a second call is the finding out. What it could not
    /// settle is no evidence about the first.
    async fn find_out(&self, call: Call<'_>) -> Finding {
        match operations::call(&call).await {
            Outcome::NotDone { why, .. } => {
                Finding::StillUnknown { why: format!("the shop could not be asked: {why:?}") }
            }
            Outcome::Unknown { why, .. } => Finding::StillUnknown { why },
            evidence => Finding::Evidence(evidence),
        }
    }

    /// An object read by its id shows a write at once as far as anyone knows; a few seconds for a shop that
    /// reads from a replica.
    fn indexing_lag(&self) -> Millis {
        Millis::secs(5)
    }

    /// The contract: an `Idempotency-Key` is sent and never relied on.
    fn key_lifetime(&self) -> Millis {
        Millis(0)
    }

    fn needs_token(&self, connection: &Connection) -> bool {
        settings::auth(connection) != settings::Auth::ApiKey
    }

    async fn fetch_token(
        &self,
        connection: &Connection,
        secrets: &Secrets,
        http: &dyn Http,
        limit: Millis,
    ) -> Result<(Secret, Millis), NotDone> {
        auth::fetch_token(connection, secrets, http, limit).await
    }

    async fn sweep(
        &self,
        call: Call<'_>,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<SweepPage, NotDone> {
        sweep::sweep(&call, since, cursor).await
    }

    async fn sweep_customers(
        &self,
        call: Call<'_>,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<SweepPage, NotDone> {
        sweep::customers(&call, since, cursor).await
    }

    /// A shop's events always name their order: there is nothing to resolve.
    async fn resolve(&self, _call: Call<'_>, _object: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
        Ok(None)
    }
}
