//! What the tests of this folder share.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::Value;
use tillway_core::http::{Request, Response};
use tillway_core::time::Millis;

use super::auth::SHARED_SECRET;
use crate::config::{Connection, Secret, Secrets};
use crate::http::{Http, HttpError};

fn at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/cybersource").join(name)
}

/// A file from the shared reference, or `None` with a note where it is not at hand.
pub(super) fn spec_text(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(at(name)).ok();
    if text.is_none() {
        println!("skipped: {} is not here", at(name).display());
    }
    text
}

/// The same, as JSON.
pub(super) fn spec(name: &str) -> Option<Value> {
    spec_text(name).map(|text| serde_json::from_str(&text).unwrap())
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

/// Answers from a list, in order, and keeps what it was sent.
#[derive(Default)]
pub(super) struct Script {
    pub(super) answers: Mutex<VecDeque<Result<Response, HttpError>>>,
    pub(super) seen: Mutex<Vec<Request>>,
}

impl Script {
    pub(super) fn new(answers: impl IntoIterator<Item = Result<Response, HttpError>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), seen: Mutex::default() }
    }
    /// `POST /pts/v2/payments` and so on, in order.
    pub(super) fn calls(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|r| format!("{} {}", r.method.as_str(), r.path())).collect()
    }
    pub(super) fn bodies(&self) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|r| serde_json::from_slice(&r.body).unwrap_or(Value::Null)).collect()
    }
}

#[async_trait]
impl Http for Script {
    async fn send(&self, request: Request, _limit: Millis) -> Result<Response, HttpError> {
        self.seen.lock().unwrap().push(request);
        self.answers.lock().unwrap().pop_front().expect("more requests than answers")
    }
}
