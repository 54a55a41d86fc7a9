//! Cybersource: payments with Decision Manager, captures, reversals, voids, refunds, reviews. What is supported, what
//! was verified and how, and what was not: `README.md` in this folder.

mod actions;
#[cfg(test)]
mod answer_tests;
mod auth;
mod chargebacks;
mod client;
mod conversions;
mod customer;
#[cfg(test)]
mod customer_tests;
mod endpoints;
mod errors;
mod events;
mod facts;
#[cfg(test)]
mod fixture_tests;
mod guard;
mod instruments;
mod jwe;
mod lookup;
#[cfg(test)]
mod lookup_tests;
mod operations;
mod plan;
mod plan_lines;
mod plan_pay;
#[cfg(test)]
mod plan_tests;
mod read;
#[cfg(test)]
mod read_tests;
mod routes;
mod routes_sweep;
mod ruled_out;
mod screen;
mod settings;
mod settlement;
mod settlement_chargebacks;
pub mod settlement_detail;
pub mod settlement_docs;
mod settlement_fees;
mod settlement_funding;
mod settlement_settings;
#[cfg(test)]
mod settlement_tests;
pub mod settlement_xml;
mod subscriptions;
mod sweep;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transaction;
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
    Owner, Prepared, Rejected, Subscription, SweepPage, Verified,
};
use crate::settlement::Settlement;

/// The Cybersource connector.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cybersource;

pub use auth::private_key;

/// The commissioned names of webhooks and the topic that each means; each is a topic as well.
pub const COMMISSIONED_TOPICS: [(&str, &str); 3] = subscriptions::COMMISSIONED;

#[async_trait]
impl Connector for Cybersource {
    fn system(&self) -> &'static str {
        "cybersource"
    }

    fn capabilities(&self) -> &'static Capabilities {
        &actions::CAPABILITIES
    }

    fn topics(&self) -> &'static [&'static str] {
        &subscriptions::TOPICS
    }

    fn subscriptions(&self) -> &'static [Subscription] {
        subscriptions::SUBSCRIPTIONS
    }

    fn media_types(&self) -> &'static [&'static str] {
        // Encrypted as a whole.
        &["application/json", "application/jose"]
    }

    fn answers_probes(&self) -> bool {
        true
    }

    fn webhook_steps(&self, connection: &Connection, base: &str) -> Vec<String> {
        subscriptions::steps(connection, &self.endpoints(connection, base))
    }

    fn actions(&self) -> &'static [Action] {
        actions::ACTIONS
    }

    fn settings(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        settings::SETTINGS
    }

    fn secrets(&self) -> &'static [(&'static str, &'static str)] {
        settings::SECRETS
    }

    fn lacks(&self, connection: &Connection, secrets: &Secrets, what: Needed) -> Option<&'static str> {
        secrets.first_missing(match (what, auth::Scheme::of(connection)) {
            (Needed::Webhooks, _) => &[settings::WEBHOOK_SECRET],
            (Needed::Calls, auth::Scheme::JwtP12) => &[auth::PRIVATE_KEY],
            (Needed::Calls, _) => {
                // Each of its merchant ids may have its own.
                let signs = |id: &String| routes::secret(secrets, id).is_some();
                let all = routes::merchants(connection).iter().all(signs);
                return (!all).then_some(auth::SHARED_SECRET);
            }
        })
    }

    fn routes(&self, connection: &Connection) -> Vec<String> {
        routes::all(connection)
    }

    fn blames_route(&self, code: &str) -> bool {
        errors::blames_route(code)
    }

    fn unfit_route(&self, code: &str) -> bool {
        code == errors::CURRENCY_NOT_ENABLED
    }

    fn tried_elsewhere(&self, code: &str) -> bool {
        errors::tried_elsewhere(code)
    }

    fn settlement(&self, _connection: &Connection) -> Option<&'static dyn Settlement> {
        Some(&settlement::Reports)
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
        // Cybersource numbers with digits alone, some of them as long as a card number.
        &[
            "id",
            "rootId",
            "requestId",
            "code",
            "referenceNumber",
            "merchantReferenceNumber",
            "reconciliationId",
            "transactionId",
            "networkTransactionId",
            "retrievalReferenceNumber",
            "processorMerchantId",
            "transactionReferenceNumber",
            "trackingNumber",
        ]
    }

    fn interpret(
        &self,
        connection: &Connection,
        event_type: &str,
        body: Json<'_>,
    ) -> Result<Interpreted, Rejected> {
        events::interpret(connection, event_type, body)
    }

    fn prepare(
        &self,
        connection: &Connection,
        action: &str,
        command: &CommandId,
        params: &Value,
    ) -> Result<Prepared, Rejected> {
        plan::prepare(connection, action, command, params).map_err(|f| f.about("", Owner::Nobody))
    }

    async fn call(&self, call: Call<'_>) -> Outcome {
        operations::call(&call).await
    }

    async fn find_out(&self, call: Call<'_>) -> Finding {
        lookup::find_out(&call).await
    }

    /// How long a search lags behind is documented nowhere. What it does not show after this is undone before anything is
    /// sent again.
    fn indexing_lag(&self) -> Millis {
        Millis::mins(settings::SEARCH_LAG.1)
    }

    fn lag_of(&self, connection: &Connection) -> Millis {
        Millis::mins(connection.number(settings::SEARCH_LAG.0, settings::SEARCH_LAG.1))
    }

    /// There is no idempotency key, so nothing is ever replayed.
    fn key_lifetime(&self) -> Millis {
        Millis(0)
    }

    fn needs_token(&self, _connection: &Connection) -> bool {
        false
    }

    async fn fetch_token(
        &self,
        _connection: &Connection,
        _secrets: &Secrets,
        _http: &dyn Http,
        _limit: Millis,
    ) -> Result<(Secret, Millis), NotDone> {
        // Every request is signed by itself; there is no token to fetch.
        Err(NotDone::Unauthorized)
    }

    async fn sweep(
        &self,
        call: Call<'_>,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<SweepPage, NotDone> {
        routes_sweep::sweep(&call, since, cursor).await
    }

    async fn resolve(&self, call: Call<'_>, object: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
        routes::resolve(&call, object).await
    }
}
