//! What the tests of this folder share.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::Value;
use tillway_core::http::{Request, Response};
use tillway_core::time::Millis;

use crate::config::{Connection, Secret, Secrets};
use crate::http::{Http, HttpError};

/// A vendor file from the shared reference, or `None` with a note where it is not at hand.
pub(super) fn spec(name: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/stripe").join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(_) => {
            println!("skipped: {} is not here", path.display());
            None
        }
    }
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
    /// `POST /v1/refunds` and so on, in order.
    pub(super) fn calls(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|r| format!("{} {}", r.method.as_str(), r.path())).collect()
    }
    pub(super) fn bodies(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|r| String::from_utf8(r.body.clone()).unwrap()).collect()
    }
    pub(super) fn keys(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter_map(|r| r.header("idempotency-key").map(str::to_owned)).collect()
    }
}

#[async_trait]
impl Http for Script {
    async fn send(&self, request: Request, _limit: Millis) -> Result<Response, HttpError> {
        self.seen.lock().unwrap().push(request);
        self.answers.lock().unwrap().pop_front().expect("more requests than answers")
    }
}
