//! Stripe: PaymentIntents, customers, refunds, disputes and reviews. What is supported, what was verified
//! and how, and what was not: `README.md` in this folder.

mod actions;
mod client;
mod currency;
mod customer;
#[cfg(test)]
mod customer_tests;
mod errors;
mod events;
mod facts;
mod form;
mod lookup;
#[cfg(test)]
mod lookup_tests;
mod operations;
mod plan;
#[cfg(test)]
mod plan_tests;
mod registrar;
#[cfg(test)]
mod registrar_tests;
mod settings;
mod settlement;
mod settlement_file;
pub mod settlement_report;
#[cfg(test)]
mod settlement_report_tests;
#[cfg(test)]
mod settlement_tests;
mod subscriptions;
mod sweep;
#[cfg(test)]
mod testing;
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
    Owner, Prepared, Rejected, Subscription, SweepPage, Verified,
};
use crate::registrar::Registrar;
use crate::settlement::Settlement;

/// Where Stripe lives.
const DEFAULT_BASE: &str = "https://api.stripe.com";
/// The API version everything here was written against.
const DEFAULT_VERSION: &str = "2026-10-28.endive";

/// The Stripe connector.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stripe;

#[async_trait]
impl Connector for Stripe {
    fn system(&self) -> &'static str {
        "stripe"
    }

    fn capabilities(&self) -> &'static Capabilities {
        &actions::CAPABILITIES
    }

    fn topics(&self) -> &'static [&'static str] {
        &["payments", "refunds", "disputes", "billing", "customers", "payouts", "events"]
    }

    fn subscriptions(&self) -> &'static [Subscription] {
        subscriptions::SUBSCRIPTIONS
    }

    fn registrar(&self, _connection: &Connection) -> Option<&'static dyn Registrar> {
        Some(&registrar::Endpoints)
    }

    fn settlement(&self, connection: &Connection) -> Option<&'static dyn Settlement> {
        match connection.setting("settlement.source", "api") {
            "report" => Some(&settlement_file::ReportFiles),
            _ => Some(&settlement::Payouts),
        }
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

    fn lacks(&self, _connection: &Connection, secrets: &Secrets, what: Needed) -> Option<&'static str> {
        secrets.first_missing(match what {
            Needed::Webhooks => &[webhook::SECRET],
            Needed::Calls => &["api_key"],
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
        // Ids are letters and digits after an underscore and never look like a card number; these members
        // hold what shops and networks number with digits alone.
        &[
            "clarity_order_id",
            "clarityorderid",
            "clarity_customer_id",
            "tillway_request",
            "network_transaction_id",
            "acquirer_reference_number",
            "retrieval_reference_number",
            "receipt_number",
            "fingerprint",
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

    /// Lists and reads by id are consistent at Stripe \[from memory\]; the few seconds are for a write that
    /// was still being executed when its caller gave up.
    fn indexing_lag(&self) -> Millis {
        Millis::secs(5)
    }

    /// Keys may be pruned from 24 hours on; an hour is kept as a margin.
    fn key_lifetime(&self) -> Millis {
        Millis::hours(23)
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
        // The API key is the bearer token; there is none to fetch.
        Err(NotDone::Unauthorized)
    }

    async fn sweep(
        &self,
        call: Call<'_>,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<SweepPage, NotDone> {
        sweep::sweep(&call, since, cursor).await
    }

    async fn resolve(&self, call: Call<'_>, object: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
        sweep::resolve(&call, object).await
    }
}
