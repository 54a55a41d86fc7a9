//! As much of AWS as a function asks for before its first invocation: secrets, an empty table, and the runtime that has
//! nothing to do.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use tillway_core::http::{Request, Response};
use tillway_core::time::Timestamp;
use tillway_sandbox::{ApiFaultRule, Delivery, HookFaultRule, Reply, Sandbox};

/// The account.
#[derive(Default)]
pub struct Aws {
    /// Texts by the secret's name; without one: made by the stack, and nothing put yet.
    pub secrets: BTreeMap<String, Option<String>>,
    /// How often a function asked for an invocation.
    pub ready: usize,
}

impl Aws {
    fn answer(&mut self, request: &Request) -> (u16, Json) {
        let asked: Json = serde_json::from_slice(&request.body).unwrap_or_default();
        let target = request.header("x-amz-target").unwrap_or_default();
        if request.url.contains("/invocation/next") {
            self.ready += 1;
            return (500, json!({}));
        }
        if target.starts_with("secretsmanager.") {
            let known = self.secrets.get(asked["SecretId"].as_str().unwrap_or_default());
            return match known.and_then(Option::as_deref) {
                Some(text) => (200, json!({ "SecretString": text })),
                None => (400, json!({ "__type": "ResourceNotFoundException", "Message": "no value" })),
            };
        }
        (200, json!({ "Responses": {}, "Items": [], "Count": 0 }))
    }
}

impl Sandbox for Aws {
    fn handle(&mut self, _: Timestamp, request: &Request) -> Reply {
        let (status, body) = self.answer(request);
        let headers = vec![("content-type".to_owned(), "application/x-amz-json-1.1".to_owned())];
        Reply::Answer(Response { status, headers, body: body.to_string().into_bytes() })
    }
    fn advance(&mut self, _: Timestamp) {}
    fn take_deliveries(&mut self, _: Timestamp) -> Vec<Delivery> {
        Vec::new()
    }
    fn delivered(&mut self, _: Timestamp, _: u64, _: Option<u16>) {}
    fn next_due(&self) -> Option<Timestamp> {
        None
    }
    fn in_flight(&self) -> usize {
        0
    }
    fn inject(&mut self, _: ApiFaultRule) {}
    fn inject_hook(&mut self, _: HookFaultRule) {}
    fn down_until(&mut self, _: Timestamp) {}
}
