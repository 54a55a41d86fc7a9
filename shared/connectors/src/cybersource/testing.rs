//! What the tests of this folder share.

use serde_json::Value;

use super::auth::SHARED_SECRET;
use crate::config::{Connection, Secret, Secrets};
use crate::testing;

/// A file from the shared reference, or `None` with a note where it is not at hand.
pub(super) fn spec_text(name: &str) -> Option<String> {
    testing::spec_text("cybersource", name)
}

/// The same, as JSON.
pub(super) fn spec(name: &str) -> Option<Value> {
    testing::spec("cybersource", name)
}

/// A test connection.
pub(super) fn connection() -> Connection {
    let settings = [
        ("base_url", "https://cybersource.example"),
        ("merchant_id", "acme_test_001"),
        ("key_id", "11111111-2222-3333-4444-555555555555"),
    ];
    Connection {
        name: "cyb-test".into(),
        system: "cybersource".into(),
        production: false,
        settings: settings.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
    }
}

/// Secrets that must never show up.
pub(super) fn secrets() -> Secrets {
    let secret = Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    Secrets([(SHARED_SECRET.to_owned(), vec![secret])].into())
}
