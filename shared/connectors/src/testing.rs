//! What the tests of the connectors share.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::Value;
use tillway_core::http::{Request, Response};
use tillway_core::time::Millis;

use crate::http::{Http, HttpError};

/// A vendor's file from the shared reference, or `None` with a note where it is not at hand.
pub(crate) fn spec_text(system: &str, name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec").join(system).join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        // Past what the test's own output is captured in: nobody else would read why it asked nothing.
        let _told = writeln!(std::io::stderr(), "skipped: {} is not here", path.display());
    }
    text
}

/// The same, as JSON.
pub(crate) fn spec(system: &str, name: &str) -> Option<Value> {
    spec_text(system, name).map(|text| serde_json::from_str(&text).unwrap())
}

/// Answers from a list, in order, and keeps what it was sent.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) answers: Mutex<VecDeque<Result<Response, HttpError>>>,
    pub(crate) seen: Mutex<Vec<Request>>,
}

impl Script {
    pub(crate) fn new(answers: impl IntoIterator<Item = Result<Response, HttpError>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), seen: Mutex::default() }
    }
    fn each<T>(&self, read: impl FnMut(&Request) -> T) -> Vec<T> {
        self.seen.lock().unwrap().iter().map(read).collect()
    }
    /// `POST /v1/refunds` and so on, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.each(|r| format!("{} {}", r.method.as_str(), r.path()))
    }
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.each(|r| String::from_utf8(r.body.clone()).unwrap())
    }
    /// Bodies as JSON, null where there is none.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.each(|r| serde_json::from_slice(&r.body).unwrap_or(Value::Null))
    }
    pub(crate) fn keys(&self) -> Vec<String> {
        self.each(|r| r.header("idempotency-key").map(str::to_owned)).into_iter().flatten().collect()
    }
}

#[async_trait]
impl Http for Script {
    async fn send(&self, request: Request, _limit: Millis) -> Result<Response, HttpError> {
        self.seen.lock().unwrap().push(request);
        self.answers.lock().unwrap().pop_front().expect("more requests than answers")
    }
}
