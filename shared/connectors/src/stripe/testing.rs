//! What the tests of this folder share.

use serde_json::Value;

use crate::config::{Connection, Secret, Secrets};
use crate::testing;

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
