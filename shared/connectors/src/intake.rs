//! The half of a connector that takes webhooks in: all that a receiving function needs, and so all that is linked into one.
//! Through `dyn Connector` every request, report and look-up of every system would come along, and each start would load it.

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

/// A connector that only takes webhooks in. Asked for anything else it says so and does nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intake<C>(pub(crate) C);

fn not_here() -> Rejected {
    Rejected {
        code: "only_receives".to_owned(),
        field: String::new(),
        what: "this function takes webhooks in and neither reads nor sends anything; a worker does"
            .to_owned(),
        owner: Owner::Nobody,
    }
}

#[async_trait]
impl<C: Connector> Connector for Intake<C> {
    fn system(&self) -> &'static str {
        self.0.system()
    }
    fn capabilities(&self) -> &'static Capabilities {
        self.0.capabilities()
    }
    fn topics(&self) -> &'static [&'static str] {
        self.0.topics()
    }
    fn subscriptions(&self) -> &'static [Subscription] {
        self.0.subscriptions()
    }
    fn media_types(&self) -> &'static [&'static str] {
        self.0.media_types()
    }
    fn answers_probes(&self) -> bool {
        self.0.answers_probes()
    }
    fn actions(&self) -> &'static [Action] {
        &[]
    }
    fn settings(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        self.0.settings()
    }
    fn secrets(&self) -> &'static [(&'static str, &'static str)] {
        self.0.secrets()
    }
    fn lacks(&self, connection: &Connection, secrets: &Secrets, what: Needed) -> Option<&'static str> {
        self.0.lacks(connection, secrets, what)
    }
    fn check_settings(&self, connection: &Connection) -> Vec<(String, String)> {
        self.0.check_settings(connection)
    }
    fn verify(
        &self,
        connection: &Connection,
        secrets: &Secrets,
        inbound: Inbound<'_>,
        now: Timestamp,
    ) -> Result<Verified, EdgeFault> {
        self.0.verify(connection, secrets, inbound, now)
    }
    fn identifier_fields(&self) -> &'static [&'static str] {
        self.0.identifier_fields()
    }
    fn interpret(&self, _: &Connection, _: &str, _: Json<'_>) -> Result<Interpreted, Rejected> {
        Err(not_here())
    }
    fn prepare(&self, _: &Connection, _: &str, _: &CommandId, _: &Value) -> Result<Prepared, Rejected> {
        Err(not_here())
    }
    async fn call(&self, _: Call<'_>) -> Outcome {
        Outcome::NotDone { after: None, why: NotDone::Unavailable }
    }
    async fn find_out(&self, _: Call<'_>) -> Finding {
        Finding::StillUnknown { why: not_here().what }
    }
    fn indexing_lag(&self) -> Millis {
        self.0.indexing_lag()
    }
    fn key_lifetime(&self) -> Millis {
        self.0.key_lifetime()
    }
    fn needs_token(&self, connection: &Connection) -> bool {
        self.0.needs_token(connection)
    }
    async fn fetch_token(
        &self,
        _: &Connection,
        _: &Secrets,
        _: &dyn Http,
        _: Millis,
    ) -> Result<(Secret, Millis), NotDone> {
        Err(NotDone::Unavailable)
    }
    async fn sweep(&self, _: Call<'_>, _: Timestamp, _: Option<&str>) -> Result<SweepPage, NotDone> {
        Err(NotDone::Unavailable)
    }
    async fn resolve(&self, _: Call<'_>, _: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
        Err(NotDone::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tillway_core::ids::ConnectionName;

    use super::*;

    #[test]
    fn at_the_edge_it_is_the_connector_and_beyond_it_says_no() {
        let whole = crate::registry();
        let half = crate::receiving();
        assert_eq!(half.len(), whole.len());
        for (whole, half) in whole.into_iter().zip(half) {
            let connection = Connection {
                name: ConnectionName::new("c"),
                system: whole.system().to_owned(),
                production: false,
                settings: BTreeMap::from([("no_such".to_owned(), "1".to_owned())]),
            };
            assert_eq!(half.system(), whole.system());
            assert_eq!(half.topics(), whole.topics());
            assert_eq!(half.media_types(), whole.media_types());
            assert_eq!(half.answers_probes(), whole.answers_probes());
            assert_eq!(half.settings(), whole.settings());
            assert_eq!(half.secrets(), whole.secrets());
            assert_eq!(half.identifier_fields(), whole.identifier_fields());
            assert_eq!(half.check_settings(&connection), whole.check_settings(&connection));
            let secrets = Secrets::default();
            for needed in [Needed::Webhooks, Needed::Calls] {
                let lacking = whole.lacks(&connection, &secrets, needed);
                assert_eq!(half.lacks(&connection, &secrets, needed), lacking);
            }
            let inbound = Inbound { topic: whole.topics().first().unwrap(), headers: &[], body: b"{}" };
            let now = Timestamp::from_unix(1_790_000_000);
            let verified = whole.verify(&connection, &secrets, inbound, now);
            assert_eq!(half.verify(&connection, &secrets, inbound, now).err(), verified.err());
            assert!(half.actions().is_empty());
            let said = half
                .prepare(
                    &connection,
                    "x",
                    &CommandId::derive(&connection.name, "A-1", "x", "f"),
                    &Value::Null,
                )
                .unwrap_err();
            assert_eq!(said.code, "only_receives");
        }
    }
}
