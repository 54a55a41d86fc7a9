//! What the tests of this folder share.

use serde_json::Value;
use tillway_core::http::Response;
use tillway_core::ids::CommandId;
use tillway_core::time::{Millis, Timestamp};

use crate::config::{Connection, Secret, Secrets};
use crate::http::HttpError;
use crate::port::Call;
use crate::testing::{self, Script};

/// A vendor's file from the shared reference, or `None` with a note where it is not at hand.
pub(super) fn spec(name: &str) -> Option<Value> {
    testing::spec("stripe", name)
}

/// A test connection.
pub(super) fn connection() -> Connection {
    Connection {
        name: "stripe-test".into(),
        system: "stripe".into(),
        production: false,
        settings: [("base_url".to_owned(), "https://stripe.example".to_owned())].into(),
    }
}

/// Secrets that must never show up.
pub(super) fn secrets() -> Secrets {
    Secrets([("api_key".to_owned(), vec![Secret::new("sk_test_CANARY")])].into())
}

/// A scripted server and what it is called with, where no action is prepared.
pub(super) struct Bench {
    pub(super) connection: Connection,
    secrets: Secrets,
    pub(super) http: Script,
    action: &'static str,
    command: CommandId,
}

impl Bench {
    pub(super) fn new(
        action: &'static str,
        answers: impl IntoIterator<Item = Result<Response, HttpError>>,
    ) -> Self {
        let connection = connection();
        let command = CommandId::derive(&connection.name, action, "bench", "1");
        Self { connection, secrets: secrets(), http: Script::new(answers), action, command }
    }
    pub(super) fn call(&self) -> Call<'_> {
        Call {
            connection: &self.connection,
            secrets: &self.secrets,
            token: None,
            http: &self.http,
            action: self.action,
            command: &self.command,
            generation: 0,
            prepared: &[],
            now: Timestamp(7),
            limit: Millis::secs(30),
        }
    }
}
