//! The connector from outside, against a scripted shop.

mod actions;
mod customers;
mod hooks;
mod meaning;
mod meaning_faults;
mod reading;
mod registrar;
mod writing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use tillway_core::doc::Doc;
use tillway_core::http::{Request, Response};
use tillway_core::ids::CommandId;
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use super::Clarity;
use crate::config::{Connection, Secret, Secrets};
use crate::http::{Http, HttpError};
use crate::port::{Call, Connector, Outcome};

/// What must never show up in a log, an error or a summary.
pub const CANARIES: [&str; 5] = ["canary", "Kanarie", "tok_secret", "whsec_", "4111"];

pub fn assert_clean(shown: &str) {
    for canary in CANARIES {
        assert!(!shown.contains(canary), "{canary} in {shown}");
    }
}

pub fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-21T08:00:00Z").unwrap()
}

pub fn connection(settings: &[(&str, &str)]) -> Connection {
    let base = [("base_url", "https://shop.example.com/api/v1")];
    Connection {
        name: "shop".into(),
        system: "clarity".into(),
        production: true,
        settings: base.iter().chain(settings).map(|(k, v)| ((*k).into(), (*v).into())).collect(),
    }
}

pub fn secrets(pairs: &[(&str, &[&str])]) -> Secrets {
    let all = pairs.iter().map(|(k, v)| ((*k).to_owned(), v.iter().map(|s| Secret::new(*s)).collect()));
    Secrets(all.collect())
}

pub fn usd(amount: &str) -> Json {
    json!({"amount": amount, "currency": "USD"})
}

/// An order that adds up: 2 × 10.00 − 1.00 + 1.52, shipping 5.00.
pub fn order() -> Json {
    json!({
        "orderId": "C-1", "orderNumber": "1001", "status": "Pending Payment", "version": 3,
        "createdAt": "2026-11-21T07:00:00Z", "updatedAt": "2026-11-21T07:30:00.250Z",
        "customer": {"customerId": "CU-1", "email": " Canary@Example.com ", "firstName": "Kanarie",
                     "lastName": "Vogel", "externalIds": {"stripe_customer": "cus_9"}},
        "billingAddress": {"firstName": "Kanarie", "lastName": "Vogel", "street1": "canary street 1",
                           "city": "Austin", "region": "TX", "postalCode": "78701", "country": "US"},
        "lines": [{"lineId": "1", "sku": "A", "quantity": "2", "unitPrice": usd("10.00"),
                   "discount": usd("1.00"), "tax": usd("1.52")}],
        "shippingTotal": usd("5.00"), "taxTotal": usd("1.52"), "total": usd("25.52"),
        "payment": {"token": "tok_secret", "paymentIntentId": "pi_1"},
    })
}

/// The document with one member set; `null` takes it out.
pub fn with(mut document: Json, pointer: &str, value: Json) -> Json {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Json::Object(map), Json::Null) => {
            map.remove(name);
        }
        (Json::Object(map), value) => {
            map.insert(name.into(), value);
        }
        (Json::Array(items), value) => items[name.parse::<usize>().unwrap()] = value,
        _ => panic!("no such parent"),
    }
    document
}

pub fn event(event_type: &str, data: &Json) -> Json {
    json!({"type": event_type, "timestamp": "2026-11-21T07:31:00Z", "data": data})
}

/// The same as it comes in.
pub fn doc(event_type: &str, data: &Json) -> Doc {
    Doc::from(&event(event_type, data))
}

pub fn tagged(order: &Json, tag: &str) -> Response {
    let mut response = Response::json(200, order);
    response.headers.push(("etag".into(), tag.into()));
    response
}

pub fn problem(status: u16, code: &str) -> Response {
    let body = json!({"title": "canary", "detail": "canary@example.com", "status": status, "code": code});
    Response::json(status, &body)
}

/// Answers in turn and remembers what it was asked.
#[derive(Default)]
pub struct Shop {
    answers: Mutex<VecDeque<Result<Response, HttpError>>>,
    pub asked: Mutex<Vec<Request>>,
    pub limits: Mutex<Vec<Millis>>,
}

#[async_trait]
impl Http for Shop {
    async fn send(&self, request: Request, limit: Millis) -> Result<Response, HttpError> {
        self.asked.lock().unwrap().push(request);
        self.limits.lock().unwrap().push(limit);
        self.answers.lock().unwrap().pop_front().expect("one request too many")
    }
}

impl Shop {
    pub fn new(answers: impl IntoIterator<Item = Result<Response, HttpError>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }
    pub fn asked(&self) -> Vec<Request> {
        assert!(self.answers.lock().unwrap().is_empty(), "an answer was not asked for");
        self.asked.lock().unwrap().clone()
    }
    pub fn body(&self, at: usize) -> Json {
        serde_json::from_slice(&self.asked.lock().unwrap()[at].body).unwrap()
    }
}

pub fn params(pairs: &[(&'static str, Value)]) -> Value {
    Value::map(pairs.iter().cloned())
}

/// Prepares and calls an action; checks on the way that nothing leaks.
pub async fn act(shop: &Shop, connection: &Connection, action: &str, params: &Value) -> Outcome {
    act_as(shop, connection, &api_secrets(), Some("tok_secret"), action, params).await
}

pub fn api_secrets() -> Secrets {
    secrets(&[("api_key", &["canary_key"]), ("client_id", &["canary id"]), ("client_secret", &["canary:s"])])
}

pub async fn act_as(
    shop: &Shop,
    connection: &Connection,
    secrets: &Secrets,
    token: Option<&str>,
    action: &str,
    params: &Value,
) -> Outcome {
    let command = CommandId::new("cmd1");
    let prepared = Clarity.prepare(connection, action, &command, params).unwrap();
    assert_clean(&format!("{prepared:?} {}", prepared.summary));
    let token = token.map(Secret::new);
    let outcome =
        Clarity.call(call(shop, connection, secrets, token.as_ref(), action, &command, &prepared.bytes));
    let outcome = outcome.await;
    assert_clean(&format!("{outcome:?}").replace("token: Some(\"tok_secret\")", ""));
    outcome
}

pub fn call<'a>(
    shop: &'a Shop,
    connection: &'a Connection,
    secrets: &'a Secrets,
    token: Option<&'a Secret>,
    action: &'a str,
    command: &'a CommandId,
    prepared: &'a [u8],
) -> Call<'a> {
    Call {
        connection,
        secrets,
        token,
        http: shop,
        action,
        command,
        generation: 0,
        prepared,
        now: now(),
        limit: Millis::secs(40),
    }
}

pub fn text(text: &str) -> Value {
    Value::text(text)
}

pub fn dict(pairs: &[(&str, &str)]) -> Value {
    Value::Map(pairs.iter().map(|(k, v)| ((*k).to_owned(), text(v))).collect::<BTreeMap<_, _>>())
}
