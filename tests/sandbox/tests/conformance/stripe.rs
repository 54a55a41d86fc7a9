//! Stripe in the kit.

use serde_json::json;
use tillway_connectors::port::Interpreted;
use tillway_connectors::stripe::Stripe as Connect;
use tillway_connectors::{Connector, Secret, Secrets};
use tillway_core::doc::Doc;
use tillway_core::facts::Fact;
use tillway_core::http::Method;
use tillway_core::money::Money;
use tillway_core::time::Timestamp;
use tillway_core::value::Value;
use tillway_sandbox::stripe::{StripeConfig, StripeSandbox, sign};
use tillway_sandbox::{Delivery, Sandbox};

use crate::redaction::{EMAIL, NAME, PHONE, STREET};
use crate::world::{Kind, Lie, System, Vector, World, Write, secret, spec, usd};

pub struct Stripe;

const API_KEY: &str = "sk_test_CANARYapikey0123456789";
const HOOK: &str = "whsec_CANARYwebhooksecret0123456789";

const fn post(action: &'static str, path: &'static str) -> Write {
    Write { action, method: Method::Post, path }
}

const fn lie(action: &'static str, change: fn(&mut serde_json::Value), field: &'static str) -> Lie {
    Lie { action, change, field }
}

async fn customer(world: &World<Stripe>) -> String {
    let params = Value::map([("email", Value::text(EMAIL)), ("reference", Value::text("K-1"))]);
    world.done("stripe.ensure_customer", &params).await
}

fn create(customer: &str, capture: &str) -> Value {
    let ship_to = [
        ("name", Value::text(NAME)),
        ("line1", Value::text(STREET)),
        ("city", Value::text("Berlin")),
        ("country", Value::text("DE")),
        ("phone", Value::text(PHONE)),
    ];
    Value::map([
        ("amount", usd(1000)),
        ("order_id", Value::text("A-1")),
        ("customer", Value::text(customer)),
        ("capture", Value::text(capture)),
        ("receipt_email", Value::text(EMAIL)),
        ("ship_to", Value::map(ship_to)),
    ])
}

/// A payment, charged or reserved.
async fn paid(world: &World<Stripe>, capture: &str) -> String {
    let params = create(&customer(world).await, capture);
    let payment = world.done("stripe.create_payment", &params).await;
    world.done("stripe.confirm_payment", &confirm(&payment)).await;
    payment
}

fn confirm(payment: &str) -> Value {
    Value::map([
        ("payment", Value::text(payment)),
        ("token", Value::text("pm_card_visa_x1")),
        ("return_url", Value::text("https://shop.example/back")),
    ])
}

/// Where an event about an object of this kind says its status.
fn object(kind: &str, word: &str) -> (&'static str, serde_json::Value) {
    let metadata = json!({"clarity_order_id": "A-1"});
    match kind {
        "payment" => (
            "payment_intent.succeeded",
            json!({"id": "pi_1", "object": "payment_intent", "amount": 1000, "currency": "usd", "status": word,
                "latest_charge": "ch_1", "amount_received": 1000, "amount_capturable": 0, "metadata": metadata}),
        ),
        "charge" => (
            "charge.updated",
            json!({"id": "ch_1", "amount": 1000, "amount_captured": 1000, "currency": "usd", "status": word,
                "captured": true, "payment_intent": "pi_1", "metadata": metadata}),
        ),
        "refund" => (
            "refund.updated",
            json!({"id": "re_1", "amount": 300, "currency": "usd", "payment_intent": "pi_1", "status": word}),
        ),
        "dispute" => (
            "charge.dispute.updated",
            json!({"id": "dp_1", "amount": 300, "currency": "usd", "payment_intent": "pi_1", "status": word,
                "balance_transactions": []}),
        ),
        _ => (
            "review.closed",
            json!({"id": "prv_1", "open": false, "closed_reason": word, "reason": word, "payment_intent": "pi_1"}),
        ),
    }
}

impl System for Stripe {
    type Sandbox = StripeSandbox;
    const WRITES: &'static [Write] = &[
        post("stripe.ensure_customer", "/v1/customers"),
        post("stripe.create_payment", "/v1/payment_intents"),
        post("stripe.update_payment", "/v1/payment_intents"),
        post("stripe.confirm_payment", "/confirm"),
        post("stripe.capture", "/capture"),
        post("stripe.cancel_payment", "/cancel"),
        post("stripe.refund", "/v1/refunds"),
    ];
    const READS: &'static [&'static str] = &["stripe.read_payment"];
    const LIES: &'static [Lie] = &[
        lie("stripe.create_payment", |a| a["amount"] = 1001.into(), "amount"),
        lie("stripe.create_payment", |a| a["currency"] = "eur".into(), "currency"),
        lie("stripe.create_payment", |a| a["metadata"]["clarity_order_id"] = "A-2".into(), "metadata"),
        lie("stripe.create_payment", |a| a["metadata"]["tillway_command"] = "other".into(), "metadata"),
        lie("stripe.update_payment", |a| a["amount"] = 1.into(), "amount"),
        lie("stripe.update_payment", |a| a["id"] = "pi_other".into(), "id"),
        lie("stripe.confirm_payment", |a| a["id"] = "pi_other".into(), "id"),
        lie("stripe.confirm_payment", |a| a["status"] = "canceled".into(), "status"),
        lie("stripe.capture", |a| a["amount_received"] = 999.into(), "amount_received"),
        lie("stripe.capture", |a| a["currency"] = "eur".into(), "currency"),
        lie("stripe.capture", |a| a["id"] = "pi_other".into(), "id"),
        lie("stripe.cancel_payment", |a| a["status"] = "succeeded".into(), "status"),
        lie("stripe.cancel_payment", |a| a["id"] = "pi_other".into(), "id"),
        lie("stripe.refund", |a| a["amount"] = 401.into(), "amount"),
        lie("stripe.refund", |a| a["currency"] = "eur".into(), "currency"),
        lie("stripe.refund", |a| a["payment_intent"] = "pi_other".into(), "payment_intent"),
        lie("stripe.refund", |a| a["metadata"]["tillway_request"] = "R-2".into(), "metadata"),
    ];
    const KINDS: &'static [Kind] = &[
        Kind {
            name: "payment",
            listed: Some((
                "stripe/openapi.json",
                "/components/schemas/payment_intent/properties/status/enum",
            )),
            words: &[
                "canceled",
                "processing",
                "requires_action",
                "requires_capture",
                "requires_confirmation",
                "requires_payment_method",
                "succeeded",
            ],
            to_a_person: &[],
            free: false,
            open: false,
        },
        Kind {
            name: "charge",
            listed: Some(("stripe/openapi.json", "/components/schemas/charge/properties/status/enum")),
            words: &["failed", "pending", "succeeded"],
            to_a_person: &[],
            free: false,
            open: false,
        },
        Kind {
            // The schema says text; the words are of the documentation.
            name: "refund",
            listed: None,
            words: &["pending", "requires_action", "succeeded", "failed", "canceled"],
            to_a_person: &[],
            free: false,
            open: false,
        },
        Kind {
            name: "dispute",
            listed: Some(("stripe/openapi.json", "/components/schemas/dispute/properties/status/enum")),
            words: &[
                "appeal_needs_response",
                "appeal_under_review",
                "lost",
                "needs_response",
                "prevented",
                "under_review",
                "warning_closed",
                "warning_needs_response",
                "warning_under_review",
                "won",
            ],
            to_a_person: &[],
            free: false,
            open: false,
        },
        Kind {
            name: "review",
            listed: Some(("stripe/openapi.json", "/components/schemas/review/properties/closed_reason/enum")),
            words: &[
                "acknowledged",
                "approved",
                "canceled",
                "disputed",
                "payment_never_settled",
                "redacted",
                "refunded",
                "refunded_as_fraud",
            ],
            to_a_person: &[],
            free: false,
            open: true,
        },
    ];
    const SIGNED: &'static [(&'static str, &'static [&'static str])] =
        &[("stripe-signature", &["t=", "v1="])];
    const RESULTS: &'static [&'static str] = &["status"];
    const STATUSLESS: &'static [&'static str] = &[];
    const NEW_WORD: &'static str = "invented_status";

    fn connector() -> &'static dyn Connector {
        &Connect
    }
    fn sandbox() -> StripeSandbox {
        StripeSandbox::new(StripeConfig::new(API_KEY, HOOK, 7)).with_schema_beside()
    }
    fn settings() -> Vec<(&'static str, String)> {
        vec![("base_url", "https://stripe.example".into())]
    }
    fn secrets() -> Secrets {
        let mut all = secret("api_key", API_KEY);
        all.0.insert("webhook_secret".into(), vec![Secret::new(HOOK)]);
        all
    }

    fn vectors() -> Vec<Vector> {
        let Some(text) = spec("stripe/signature-vectors.json") else { return Vec::new() };
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let body = file["body_utf8"].as_str().unwrap();
        let each = |v: &serde_json::Value| {
            let name = v["name"].as_str().unwrap().to_owned();
            // The vendor's library takes times of the future; the connector does not, on purpose.
            let valid = v["valid"] == true && name != "future_timestamp_one_hour";
            Vector {
                valid,
                name,
                topic: "events",
                headers: v["header"]
                    .as_str()
                    .map(|h| ("stripe-signature".to_owned(), h.to_owned()))
                    .into_iter()
                    .collect(),
                body: v["body_override"].as_str().unwrap_or(body).as_bytes().to_vec(),
                secrets: secret("webhook_secret", v["secret"].as_str().unwrap()),
                now: Timestamp::from_unix(v["now"].as_i64().unwrap()),
            }
        };
        file["vectors"].as_array().unwrap().iter().map(each).collect()
    }

    async fn ready(world: &World<Self>, action: &str) -> Value {
        let payment = |id: String| ("payment", Value::text(id));
        match action {
            "stripe.ensure_customer" => Value::map([
                ("email", Value::text(EMAIL)),
                ("name", Value::text(NAME)),
                ("phone", Value::text(PHONE)),
                ("reference", Value::text("K-1")),
            ]),
            "stripe.create_payment" => create(&customer(world).await, "automatic"),
            "stripe.update_payment" | "stripe.confirm_payment" => {
                let made = create(&customer(world).await, "automatic");
                let made = world.done("stripe.create_payment", &made).await;
                match action {
                    "stripe.confirm_payment" => confirm(&made),
                    _ => Value::map([payment(made), ("amount", usd(1500))]),
                }
            }
            "stripe.capture" => Value::map([payment(paid(world, "manual").await), ("amount", usd(1000))]),
            "stripe.cancel_payment" => {
                let reason = ("reason", Value::text("requested_by_customer"));
                Value::map([payment(paid(world, "manual").await), reason])
            }
            "stripe.refund" => Value::map([
                payment(paid(world, "automatic").await),
                ("amount", usd(400)),
                ("request", Value::text("R-1")),
            ]),
            _ => Value::map([payment(paid(world, "automatic").await)]),
        }
    }
    fn reading() -> Value {
        Value::map([("payment", Value::text("pi_1"))])
    }

    fn count(s: &StripeSandbox, action: &str) -> usize {
        match action {
            "stripe.ensure_customer" => s.all_customers().count(),
            "stripe.create_payment" => s.all_payments().count(),
            "stripe.update_payment" => s.all_payments().filter(|p| p.amount == 1500).count(),
            "stripe.confirm_payment" => s.all_payments().map(|p| p.charges_succeeded).sum(),
            "stripe.capture" => s.all_payments().map(|p| usize::try_from(p.captures).unwrap()).sum(),
            "stripe.cancel_payment" => s.all_payments().filter(|p| p.status.name() == "canceled").count(),
            _ => s.all_payments().map(|p| p.refunds).sum(),
        }
    }

    async fn webhooks(world: &World<Self>) -> Vec<(Delivery, usize)> {
        paid(world, "automatic").await;
        let due = world.sandbox(|s, now| s.take_deliveries(now));
        let charged = due.into_iter().find(|d| d.event_type == "charge.succeeded").unwrap();
        vec![(charged, 1)]
    }

    fn sign(body: &[u8], at: Timestamp) -> Vec<(String, String)> {
        vec![("stripe-signature".into(), sign(body, HOOK, at.unix()))]
    }

    async fn told(kind: &str, word: &str) -> Result<Vec<Fact>, String> {
        let (event, object) = object(kind, word);
        let body = json!({"id": "evt_1", "type": event, "livemode": false, "data": {"object": object}});
        let world = World::<Self>::new();
        match Connect.interpret(&world.connection, event, Doc::from(&body).json()) {
            Ok(Interpreted::About { observation, .. }) => Ok(observation.facts),
            Ok(other) => panic!("{kind} {word}: {other:?}"),
            Err(rejected) => Err(rejected.what),
        }
    }

    async fn fill(world: &World<Self>, count: usize) -> Vec<String> {
        // A page has a hundred of them.
        let more = count * 12;
        let emit = |n: usize| {
            world.pass(tillway_core::time::Millis::secs(1));
            let object = json!({"id": format!("re_{n}"), "object": "refund", "amount": 1, "currency": "usd",
                "payment_intent": "pi_1", "status": "succeeded"});
            world.sandbox(|s, now| s.emit_event(now, "refund.updated", object))
        };
        (0..more).map(emit).collect()
    }

    fn paying(amount: Money) -> (&'static str, Value) {
        let params = [
            ("payment", Value::text("pi_1")),
            ("amount", Value::Money(amount)),
            ("request", Value::text("R-1")),
        ];
        ("stripe.refund", Value::map(params))
    }
}
