//! The sandbox from outside: requests in, answers, events and webhooks out.

mod events;
mod gate;
mod money;
mod objects;
mod payments;
mod schema;
mod speed;

use serde_json::Value;
use tillway_core::http::{Method, Request, Response};
use tillway_core::time::{Millis, Timestamp};

use super::{API_VERSION, StripeConfig, StripeSandbox};
use crate::{Reply, Sandbox};

pub(super) const KEY: &str = "rk_test_bench";
pub(super) const SECRET: &str = "whsec_test_0123456789abcdefABCDEF";

/// A sandbox with its own clock.
pub(super) struct Bench {
    pub(super) s: StripeSandbox,
    pub(super) now: Timestamp,
}

pub(super) fn request(method: Method, path: &str, body: &str) -> Request {
    let request = Request::new(method, format!("https://api.stripe.com{path}"))
        .with_header("Authorization", format!("Bearer {KEY}"))
        .with_header("Stripe-Version", API_VERSION);
    match method {
        Method::Post => request.with_body("application/x-www-form-urlencoded", body),
        _ => request,
    }
}

pub(super) fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

impl Bench {
    pub(super) fn new() -> Self {
        let config = StripeConfig::new(KEY, SECRET, 42);
        Self { s: StripeSandbox::new(config), now: Timestamp::from_unix(1_795_248_000) }
    }
    pub(super) fn wait(&mut self, time: Millis) {
        self.now = self.now + time;
        self.s.advance(self.now);
    }
    pub(super) fn send(&mut self, request: &Request) -> Response {
        match self.s.handle(self.now, request) {
            Reply::Answer(response) => response,
            Reply::Silence => panic!("nobody answered"),
        }
    }
    /// A POST without idempotency key.
    pub(super) fn post(&mut self, path: &str, body: &str) -> (u16, Value) {
        let response = self.send(&request(Method::Post, path, body));
        (response.status, json(&response))
    }
    /// A POST that must succeed.
    pub(super) fn done(&mut self, path: &str, body: &str) -> Value {
        let (status, value) = self.post(path, body);
        assert_eq!(status, 200, "{value}");
        value
    }
    /// A POST that must be refused: status and code.
    pub(super) fn refused(&mut self, path: &str, body: &str) -> (u16, String) {
        let (status, value) = self.post(path, body);
        assert_ne!(status, 200, "{value}");
        (status, value["error"]["code"].as_str().unwrap_or("-").to_owned())
    }
    pub(super) fn get(&mut self, path: &str) -> (u16, Value) {
        let response = self.send(&request(Method::Get, path, ""));
        (response.status, json(&response))
    }
    pub(super) fn read(&mut self, path: &str) -> Value {
        let (status, value) = self.get(path);
        assert_eq!(status, 200, "{value}");
        value
    }
    /// A confirmed payment of 10.99 USD.
    pub(super) fn pay(&mut self, token: &str, capture: &str) -> (u16, Value) {
        let body = format!(
            "amount=1099&currency=usd&payment_method={token}&capture_method={capture}&confirm=true\
             &return_url=https://shop.example/back&metadata[clarity_order_id]=A-1001"
        );
        self.post("/v1/payment_intents", &body)
    }
    pub(super) fn paid(&mut self) -> String {
        let (status, payment) = self.pay("pm_card_visa", "automatic");
        assert_eq!((status, &payment["status"]), (200, &"succeeded".into()), "{payment}");
        id(&payment)
    }
    pub(super) fn held(&mut self) -> String {
        let (status, payment) = self.pay("pm_card_visa", "manual");
        assert_eq!((status, &payment["status"]), (200, &"requires_capture".into()), "{payment}");
        id(&payment)
    }
    /// Types of all events so far, oldest first.
    pub(super) fn events(&self) -> Vec<String> {
        self.s.all_events().map(|(_, kind, _)| kind).collect()
    }
    /// Types of the events since `from`.
    pub(super) fn events_since(&self, from: usize) -> Vec<String> {
        self.events().split_off(from)
    }
    pub(super) fn event_count(&self) -> usize {
        self.events().len()
    }
    /// The object of the newest event of a type.
    pub(super) fn last_event(&mut self, kind: &str) -> Value {
        let list = self.read(&format!("/v1/events?type={kind}&limit=1"));
        list["data"][0].clone()
    }
}

pub(super) fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}
