//! The sandbox from outside: raw calls, and the real connector driven against it.

mod connector;
mod hooks;
mod lost;
mod merchants;
mod settlement;
mod vault;
mod wire;

use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tillway_connectors::cybersource::Cybersource;
use tillway_connectors::http::{Http, HttpError};
use tillway_connectors::port::{Call, Connector, Finding, Inbound, Outcome, Prepared, Verified};
use tillway_connectors::{Connection, Secret, Secrets};
use tillway_core::facts::Fact;
use tillway_core::http::{Method, Request, Response};
use tillway_core::ids::{CommandId, digest};
use tillway_core::money::{Currency, Money};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use super::*;
use crate::{ApiFault, HookFault};

/// Made up: the bytes 0 to 31.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY_ID: &str = "11111111-2222-3333-4444-555555555555";
const MERCHANT: &str = "acme_test_001";
const HOST: &str = "cybersource.example";
/// 2026-11-20T10:15:30Z.
const START: i64 = 1_795_169_730;

fn key_pair() -> (Encryption, String) {
    Encryption::made_of(b"a key for tests").unwrap()
}

fn config(encryption: Option<Encryption>) -> CybersourceConfig {
    let hooks = WebhookConfig::new("aaaabbbb-cccc-dddd-eeee-ffff00001111", KEY, encryption);
    CybersourceConfig::new(Credentials::new(MERCHANT, KEY_ID, KEY), hooks, 7)
}

fn usd(minor: i64) -> Value {
    Value::Money(Money::new(minor, Currency::parse("USD").unwrap()))
}

/// The sandbox, the connector and a clock between them.
struct World {
    sandbox: Mutex<CybersourceSandbox>,
    now: Mutex<Timestamp>,
    connection: Connection,
    secrets: Secrets,
}

#[async_trait]
impl Http for World {
    async fn send(&self, request: Request, _limit: Millis) -> Result<Response, HttpError> {
        match self.sandbox.lock().unwrap().handle(self.now(), &request) {
            Reply::Answer(response) => Ok(response),
            Reply::Silence => Err(HttpError::NoAnswer),
        }
    }
}

impl World {
    fn new() -> Self {
        Self::with(config(None), &[])
    }
    fn with(config: CybersourceConfig, settings: &[(&str, &str)]) -> Self {
        let url = format!("https://{HOST}");
        let own = [("base_url", url.as_str()), ("merchant_id", MERCHANT), ("key_id", KEY_ID)];
        let settings = own.iter().chain(settings).map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let secret = |text: &str| vec![Secret::new(text)];
        Self {
            sandbox: Mutex::new(CybersourceSandbox::new(config)),
            now: Mutex::new(Timestamp::from_unix(START)),
            connection: Connection {
                name: "cyb-test".into(),
                system: "cybersource".into(),
                production: false,
                settings: settings.collect(),
            },
            secrets: Secrets(
                [("shared_secret".to_owned(), secret(KEY)), ("webhook_secret".to_owned(), secret(KEY))]
                    .into(),
            ),
        }
    }
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }
    fn pass(&self, time: Millis) {
        let mut now = self.now.lock().unwrap();
        *now = *now + time;
    }
    fn sandbox<T>(&self, run: impl FnOnce(&mut CybersourceSandbox, Timestamp) -> T) -> T {
        run(&mut self.sandbox.lock().unwrap(), self.now())
    }
    fn fault(&self, path: &str, fault: ApiFault) {
        let rule = ApiFaultRule { method: None, path_contains: path.into(), fault, times: 1 };
        self.sandbox(|s, _| s.inject(rule));
    }
    fn truth(&self, order: &str) -> OrderTruth {
        self.sandbox(|s, _| s.order_truth(order))
    }

    fn prepared(&self, step: &Step<'_>) -> Prepared {
        let command = CommandId::new(digest(&[step.command]));
        let action = format!("cybersource.{}", step.action);
        Cybersource.prepare(&self.connection, &action, &command, &step.params).unwrap()
    }
    async fn go<T>(&self, step: &Step<'_>, run: impl AsyncFn(Call<'_>) -> T) -> T {
        self.go_with(step, &self.prepared(step), run).await
    }
    /// With bytes that were made ready before.
    async fn go_with<T>(&self, step: &Step<'_>, prepared: &Prepared, run: impl AsyncFn(Call<'_>) -> T) -> T {
        let action = format!("cybersource.{}", step.action);
        let command = CommandId::new(digest(&[step.command]));
        let call = Call {
            connection: &self.connection,
            secrets: &self.secrets,
            token: None,
            http: self,
            action: &action,
            command: &command,
            generation: step.generation,
            prepared: &prepared.bytes,
            now: self.now(),
            limit: Millis::secs(60),
        };
        run(call).await
    }
    async fn call(&self, step: &Step<'_>) -> Outcome {
        self.go(step, async |call| Cybersource.call(call).await).await
    }
    async fn find_out(&self, step: &Step<'_>) -> Finding {
        self.go(step, async |call| Cybersource.find_out(call).await).await
    }
    /// The provider's id of what a step made.
    async fn done(&self, step: &Step<'_>) -> String {
        match self.call(step).await {
            Outcome::Settled { provider_id, .. } => provider_id.unwrap(),
            other => panic!("{}: {other:?}", step.action),
        }
    }
    /// Webhooks due, each verified by the connector and answered 200.
    fn verified(&self) -> Vec<(String, Verified)> {
        let due = self.sandbox(|s, now| s.take_deliveries(now));
        due.into_iter()
            .map(|delivery| {
                let request = &delivery.request;
                let inbound =
                    Inbound { topic: &delivery.topic, headers: &request.headers, body: &request.body };
                let verified = Cybersource.verify(&self.connection, &self.secrets, inbound, self.now());
                self.sandbox(|s, now| s.delivered(now, delivery.id, Some(200)));
                (delivery.topic, verified.unwrap())
            })
            .collect()
    }
}

/// One command of a flow.
struct Step<'a> {
    action: &'a str,
    command: &'a str,
    params: Value,
    generation: u32,
}

impl Step<'_> {
    const fn again(mut self, generation: u32) -> Self {
        self.generation = generation;
        self
    }
}

fn step<'a>(action: &'a str, command: &'a str, params: &[(&'static str, Value)]) -> Step<'a> {
    Step { action, command, params: Value::map(params.iter().cloned()), generation: 0 }
}

fn authorize<'a>(command: &'a str, token: &str, minor: i64) -> Step<'a> {
    let address = [("email", Value::text("ann@example.com")), ("country", Value::text("DE"))];
    let params = [
        ("order_id", Value::text("A-1")),
        ("amount", usd(minor)),
        ("token", Value::text(token)),
        ("bill_to", Value::map(address)),
    ];
    step("authorize", command, &params)
}

fn follow<'a>(action: &'a str, payment: &str, minor: i64, more: &[(&'static str, Value)]) -> Step<'a> {
    let own = [("order_id", Value::text("A-1")), ("payment", Value::text(payment)), ("amount", usd(minor))];
    let all: Vec<_> = own.into_iter().chain(more.iter().cloned()).collect();
    step(action, action, &all)
}

/// The kind of an outcome, with its code.
fn how(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Settled { .. } => "settled".into(),
        Outcome::Refused { code, .. } => format!("refused {code}"),
        Outcome::Disagrees { field, .. } => format!("disagrees {field}"),
        Outcome::Unknown { .. } => "unknown".into(),
        Outcome::NotDone { why, .. } => format!("not done {why:?}"),
    }
}

fn facts(outcome: &Outcome) -> &[Fact] {
    match outcome {
        Outcome::Settled { observation, .. }
        | Outcome::Refused { observation, .. }
        | Outcome::Disagrees { observation, .. } => &observation.facts,
        _ => &[],
    }
}

/// A call as any client makes it, under a JWT of its own.
fn raw(sandbox: &mut CybersourceSandbox, now: Timestamp, path: &str, body: &Json) -> (u16, Json) {
    let request = signed(path, body, now, |_| {});
    answered(sandbox.handle(now, &request))
}

fn answered(reply: Reply) -> (u16, Json) {
    let Reply::Answer(answer) = reply else { panic!("silence") };
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// A signed request; GET where the body is null.
fn signed(path: &str, body: &Json, now: Timestamp, change: impl FnOnce(&mut Json)) -> Request {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let method = if body.is_null() { Method::Get } else { Method::Post };
    let jti = format!("00000000-0000-4000-a000-{:012x}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut claims = json!({"iat": now.unix(), "exp": now.unix() + 120, "request-method": method.as_str(),
        "request-host": HOST, "request-resource-path": path, "iss": MERCHANT, "jti": jti,
        "v-c-jwt-version": "2", "v-c-merchant-id": MERCHANT});
    if !body.is_null() {
        claims["digest"] = STANDARD.encode(Sha256::digest(&bytes)).into();
        claims["digestAlgorithm"] = "SHA-256".into();
    }
    change(&mut claims);
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "HS256", "kid": KEY_ID, "typ": "JWT"})), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(auth::mac(&STANDARD.decode(KEY).unwrap(), text.as_bytes()));
    let request = Request::new(method, format!("https://{HOST}{path}"))
        .with_header("authorization", format!("Bearer {text}.{signature}"));
    if body.is_null() { request } else { request.with_body("application/json;charset=utf-8", bytes) }
}

/// A payment's body.
fn payment(token: &str, amount: &str) -> Json {
    json!({"clientReferenceInformation": {"code": "A-1"},
        "paymentInformation": {"customer": {"id": token}},
        "orderInformation": {"amountDetails": {"totalAmount": amount, "currency": "USD"}}})
}
