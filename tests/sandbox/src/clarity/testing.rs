//! What the tests of the modules share.

use serde_json::{Value, json};
use tillway_core::http::{Method, Request, Response};
use tillway_core::money::Currency;
use tillway_core::time::Timestamp;

use super::{Auth, ClarityConfig, ClaritySandbox, Customer, NewLine, NewOrder};
use crate::{Reply, Sandbox};

pub fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-21T08:00:00Z").unwrap()
}

/// Two mugs and a kilogram of tea for a guest: 24.10 with discounts, tax and shipping, where the currency
/// has two places.
pub fn new_order(code: &str) -> NewOrder {
    let mut order = NewOrder::new(Currency::parse(code).unwrap());
    order.customer = Customer { email: Some("guest@example.com".into()), ..Customer::default() };
    let line = |sku: &str, quantity: &str, unit_price, discount, tax| NewLine {
        sku: sku.into(),
        name: sku.to_lowercase(),
        quantity: quantity.into(),
        unit_price,
        discount,
        tax,
    };
    order.lines = vec![line("MUG", "2", 1000, 200, 160), line("TEA", "1.0", 300, 0, 0)];
    (order.shipping, order.discount) = (200, 50);
    order
}

pub fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

/// A shop and, where it takes a token, one.
pub struct Shop(pub ClaritySandbox, String);

impl Shop {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ClarityConfig)) -> Self {
        let mut config = ClarityConfig {
            auth: Auth::OAuth { client_id: "test".into(), client_secret: "test".into() },
            ..ClarityConfig::default()
        };
        change(&mut config);
        let mut shop = Self(ClaritySandbox::new(config), String::new());
        shop.login(now());
        shop
    }

    pub fn login(&mut self, at: Timestamp) {
        let request = Request::new(Method::Post, "/api/v1/oauth/token").with_body(
            "application/x-www-form-urlencoded",
            "grant_type=client_credentials&client_id=test&client_secret=test",
        );
        if let Reply::Answer(response) = self.0.handle(at, &request)
            && response.is_success()
        {
            json_of(&response)["access_token"].as_str().unwrap().clone_into(&mut self.1);
        }
    }

    pub fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Request {
        let request = Request::new(method, format!("https://shop.test/api/v1{path}"))
            .with_header("authorization", format!("Bearer {}", self.1));
        match body {
            Some(body) => request.with_body("application/json", body.to_string()),
            None => request,
        }
    }

    pub fn send(&mut self, at: Timestamp, request: &Request) -> Response {
        match self.0.handle(at, request) {
            Reply::Answer(response) => response,
            Reply::Silence => panic!("no answer"),
        }
    }

    pub fn call(&mut self, at: Timestamp, method: Method, path: &str, body: Option<&Value>) -> Response {
        let request = self.request(method, path, body);
        self.send(at, &request)
    }

    /// Takes what is due, accepts it and returns the bodies.
    pub fn drain(&mut self, at: Timestamp) -> Vec<Value> {
        let taken = self.0.take_deliveries(at);
        for delivery in &taken {
            self.0.delivered(at, delivery.id, Some(202));
        }
        taken.iter().map(|d| serde_json::from_slice(&d.request.body).unwrap_or(json!(null))).collect()
    }
}
