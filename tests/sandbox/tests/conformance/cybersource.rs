//! Cybersource in the kit.

use std::sync::OnceLock;

use rsa::pkcs8::EncodePrivateKey as _;
use tillway_connectors::cybersource::Cybersource as Connect;
use tillway_connectors::{Connector, Outcome, Secret, Secrets};
use tillway_core::facts::Fact;
use tillway_core::http::Method;
use tillway_core::money::Money;
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;
use tillway_sandbox::cybersource::{
    Credentials, CustomerTruth, CybersourceConfig, CybersourceSandbox, Decision, Encryption, Seeded,
    WebhookConfig, sign,
};
use tillway_sandbox::{Delivery, Sandbox};

use crate::redaction::{EMAIL, NAME, PHONE, STREET};
use crate::world::{Kind, Lie, System, Vector, World, Write, facts_of, secret, spec, usd, write_of};

/// Of another number than 0, with a connector that is broken on purpose.
pub struct Cybersource<const BROKEN: u8 = 0>;

/// Made up: the bytes 0 to 31.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY_ID: &str = "11111111-2222-3333-4444-555555555555";
const HOOK_ID: &str = "aaaabbbb-cccc-dddd-eeee-ffff00001111";
const MERCHANT: &str = "acme_test_001";

/// A key made for the test, once. Small, for a large one takes a while to find.
fn private() -> &'static rsa::PrivateKey {
    static KEY: OnceLock<rsa::PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| rsa::PrivateKey::new(&mut Seeded::new(b"a key for tests"), 1024).unwrap())
}

const fn post(action: &'static str, path: &'static str) -> Write {
    Write { action, method: Method::Post, path }
}

const fn lie(action: &'static str, change: fn(&mut serde_json::Value), field: &'static str) -> Lie {
    Lie { action, change, field }
}

fn other_code(answer: &mut serde_json::Value) {
    answer["clientReferenceInformation"]["code"] = "A-2".into();
}

fn authorize(amount: i64) -> Value {
    let bill_to = [
        ("first_name", Value::text(NAME)),
        ("last_name", Value::text(NAME)),
        ("line1", Value::text(STREET)),
        ("email", Value::text(EMAIL)),
        ("phone", Value::text(PHONE)),
        ("country", Value::text("DE")),
    ];
    Value::map([
        ("order_id", Value::text("A-1")),
        ("amount", usd(amount)),
        ("token", Value::text("tok_visa")),
        ("bill_to", Value::map(bill_to)),
    ])
}

fn of(payment: &str, minor: i64, more: &[(&'static str, Value)]) -> Value {
    let own = [("order_id", Value::text("A-1")), ("payment", Value::text(payment)), ("amount", usd(minor))];
    Value::map(own.into_iter().chain(more.iter().cloned()))
}

fn customers(s: &CybersourceSandbox) -> impl Iterator<Item = CustomerTruth> {
    s.all_customers().filter_map(|(id, _)| s.customer_truth(id))
}

/// A payment with its capture.
async fn captured<const BROKEN: u8>(
    world: &World<Cybersource<BROKEN>>,
) -> (String, Vec<(&'static str, Value)>) {
    let payment = world.done("cybersource.authorize", &authorize(1000)).await;
    let capture = world.done("cybersource.capture", &of(&payment, 1000, &[])).await;
    (payment, vec![("capture", Value::text(capture)), ("request", Value::text("R-1"))])
}

impl<const BROKEN: u8> System for Cybersource<BROKEN> {
    type Sandbox = CybersourceSandbox;
    const WRITES: &'static [Write] = &[
        post("cybersource.ensure_customer", "/customers"),
        Write { action: "cybersource.update_customer", method: Method::Patch, path: "/customers/" },
        post("cybersource.attach_instrument", "/payment-instruments"),
        post("cybersource.screen", "/risk/v1/decisions"),
        post("cybersource.authorize", "/pts/v2/payments"),
        post("cybersource.capture", "/captures"),
        post("cybersource.reverse", "/reversals"),
        post("cybersource.void", "/voids"),
        post("cybersource.refund", "/refunds"),
        post("cybersource.void_refund", "/voids"),
        post("cybersource.decide_case", "/actions"),
    ];
    const READS: &'static [&'static str] = &["cybersource.read_order"];
    const LIES: &'static [Lie] = &[
        lie(
            "cybersource.authorize",
            |a| a["orderInformation"]["amountDetails"]["authorizedAmount"] = "99.00".into(),
            "Amount",
        ),
        lie(
            "cybersource.authorize",
            |a| a["orderInformation"]["amountDetails"]["totalAmount"] = "99.00".into(),
            "totalAmount",
        ),
        lie(
            "cybersource.authorize",
            |a| a["orderInformation"]["amountDetails"]["currency"] = "EUR".into(),
            "currency",
        ),
        lie("cybersource.authorize", other_code, "code"),
        lie(
            "cybersource.capture",
            |a| a["orderInformation"]["amountDetails"]["totalAmount"] = "99.00".into(),
            "totalAmount",
        ),
        lie(
            "cybersource.capture",
            |a| a["orderInformation"]["amountDetails"]["currency"] = "EUR".into(),
            "currency",
        ),
        lie("cybersource.capture", other_code, "code"),
        lie(
            "cybersource.reverse",
            |a| a["reversalAmountDetails"]["reversedAmount"] = "99.00".into(),
            "reversedAmount",
        ),
        lie("cybersource.reverse", other_code, "code"),
        lie("cybersource.void", |a| a["voidAmountDetails"]["voidAmount"] = "99.00".into(), "voidAmount"),
        lie("cybersource.void", other_code, "code"),
        lie(
            "cybersource.refund",
            |a| a["refundAmountDetails"]["refundAmount"] = "99.00".into(),
            "refundAmount",
        ),
        lie("cybersource.refund", |a| a["refundAmountDetails"]["currency"] = "EUR".into(), "currency"),
        lie("cybersource.refund", other_code, "code"),
        lie(
            "cybersource.void_refund",
            |a| a["voidAmountDetails"]["voidAmount"] = "99.00".into(),
            "voidAmount",
        ),
        lie("cybersource.void_refund", other_code, "code"),
        lie("cybersource.screen", other_code, "code"),
        lie("cybersource.decide_case", |a| a["status"] = "REJECTED".into(), "status"),
    ];
    const KINDS: &'static [Kind] = &[
        Kind {
            name: "cybersource.authorize",
            listed: Some((
                "cybersource/openapi.json",
                "/schemas/PtsV2PaymentsPost201Response/properties/status/x-values",
            )),
            words: &[
                "AUTHORIZED",
                "PARTIAL_AUTHORIZED",
                "AUTHORIZED_PENDING_REVIEW",
                "AUTHORIZED_RISK_DECLINED",
                "PENDING_AUTHENTICATION",
                "PENDING_REVIEW",
                "DECLINED",
                "INVALID_REQUEST",
            ],
            to_a_person: &[],
            free: false,
            open: false,
        },
        Kind {
            name: "cybersource.capture",
            listed: Some((
                "cybersource/openapi.json",
                "/schemas/PtsV2PaymentsCapturesPost201Response/properties/status/x-values",
            )),
            words: &["PENDING", "TRANSMITTED"],
            to_a_person: &[],
            free: false,
            open: false,
        },
        Kind {
            name: "cybersource.reverse",
            listed: Some((
                "cybersource/openapi.json",
                "/schemas/PtsV2PaymentsReversalsPost201Response/properties/status/x-values",
            )),
            words: &["REVERSED"],
            to_a_person: &[],
            free: false,
            open: false,
        },
        Kind {
            name: "cybersource.void",
            listed: Some((
                "cybersource/openapi.json",
                "/schemas/PtsV2PaymentsVoidsPost201Response/properties/status/x-values",
            )),
            words: &["VOIDED", "CANCELLED", "FAILED"],
            // Read as done by some and as refused by others: a person looks before money goes back twice.
            to_a_person: &["CANCELLED"],
            free: false,
            open: false,
        },
        Kind {
            name: "cybersource.void_refund",
            listed: Some((
                "cybersource/openapi.json",
                "/schemas/PtsV2PaymentsVoidsPost201Response/properties/status/x-values",
            )),
            words: &["VOIDED", "CANCELLED", "FAILED"],
            to_a_person: &["CANCELLED"],
            free: false,
            open: false,
        },
        Kind {
            name: "cybersource.refund",
            listed: Some((
                "cybersource/openapi.json",
                "/schemas/PtsV2PaymentsRefundPost201Response/properties/status/x-values",
            )),
            words: &["PENDING", "DECLINED", "INVALID_REQUEST"],
            to_a_person: &[],
            free: false,
            open: false,
        },
        Kind {
            name: "cybersource.screen",
            listed: None,
            words: &["ACCEPTED", "PENDING_REVIEW", "REJECTED", "DECLINED", "INVALID_REQUEST", "SERVER_ERROR"],
            to_a_person: &[],
            free: false,
            open: false,
        },
        Kind {
            name: "cybersource.decide_case",
            listed: None,
            words: &["ACCEPTED"],
            to_a_person: &[],
            free: false,
            open: false,
        },
    ];
    const SIGNED: &'static [(&'static str, &'static [&'static str])] = &[("v-c-signature", &["t=", "sig="])];
    const RESULTS: &'static [&'static str] = &["status", "rCode"];
    const STATUSLESS: &'static [&'static str] = &[];
    const NEW_WORD: &'static str = "INVENTED_STATUS";

    fn connector() -> &'static dyn Connector {
        if BROKEN == 0 { &Connect } else { crate::broken::connector(BROKEN) }
    }
    fn sandbox() -> CybersourceSandbox {
        let encryption = Encryption { key_id: "7".into(), key: private().to_public_key() };
        let hooks = WebhookConfig::new(HOOK_ID, KEY, Some(encryption));
        CybersourceSandbox::new(CybersourceConfig::new(Credentials::new(MERCHANT, KEY_ID, KEY), hooks, 7))
    }
    fn settings() -> Vec<(&'static str, String)> {
        vec![
            ("base_url", "https://cybersource.example".into()),
            ("merchant_id", MERCHANT.into()),
            ("key_id", KEY_ID.into()),
        ]
    }
    fn secrets() -> Secrets {
        let mut all = secret("shared_secret", KEY);
        all.0.insert("webhook_secret".into(), vec![Secret::new(format!("{HOOK_ID}:{KEY}"))]);
        let pem = private().to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap().to_string();
        all.0.insert("mle_private_key".into(), vec![Secret::new(pem)]);
        all
    }

    fn vectors() -> Vec<Vector> {
        let Some(text) = spec("cybersource/webhook-vectors.json") else { return Vec::new() };
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        // The others show a message or a sealed text alone, which is no webhook.
        let whole =
            file.as_array().unwrap().iter().filter(|v| v["body"].is_string() && v["header"].is_string());
        let each = |v: &serde_json::Value| {
            let headers = vec![
                ("v-c-signature".to_owned(), v["header"].as_str().unwrap().to_owned()),
                ("v-c-event-type".to_owned(), "payments.authorization.status.accepted".to_owned()),
            ];
            let key = format!("{}:{}", v["key_id"].as_str().unwrap(), v["key_b64"].as_str().unwrap());
            let one = |name: String, key: &str, valid: bool| Vector {
                name,
                topic: "payments",
                headers: headers.clone(),
                body: v["body"].as_str().unwrap().as_bytes().to_vec(),
                secrets: secret("webhook_secret", key),
                now: Timestamp(v["t"].as_i64().unwrap()),
                valid,
            };
            let name = v["name"].as_str().unwrap().to_owned();
            [one(format!("{name}, another key"), "QUFBQUFBQUFBQUFBQUFBQQ==", false), one(name, &key, true)]
        };
        whole.flat_map(each).collect()
    }

    async fn ready(world: &World<Self>, action: &str) -> Value {
        match action {
            "cybersource.ensure_customer" => {
                Value::map([("email", Value::text(EMAIL)), ("reference", Value::text("K-1"))])
            }
            "cybersource.update_customer" => {
                let id = world.sandbox(|s, _| s.add_customer(Some("K-1"), Some("old@example.com")));
                Value::map([
                    ("customer", Value::text(id)),
                    ("email", Value::text(EMAIL)),
                    ("reference", Value::text("K-1")),
                ])
            }
            "cybersource.attach_instrument" => {
                let id = world.sandbox(|s, _| s.add_customer(Some("K-1"), Some(EMAIL)));
                Value::map([("customer", Value::text(id)), ("instrument", Value::text("tok_visa_kit"))])
            }
            "cybersource.authorize" | "cybersource.screen" => authorize(1000),
            "cybersource.capture" | "cybersource.reverse" => {
                of(&world.done("cybersource.authorize", &authorize(1000)).await, 1000, &[])
            }
            "cybersource.void" => {
                let (payment, more) = captured(world).await;
                of(&payment, 1000, &more)
            }
            "cybersource.refund" => {
                let (payment, more) = captured(world).await;
                of(&payment, 400, &more)
            }
            "cybersource.void_refund" => {
                let (payment, more) = captured(world).await;
                let refund = world.done("cybersource.refund", &of(&payment, 400, &more)).await;
                of(&payment, 400, &[("refund", Value::text(refund))])
            }
            "cybersource.decide_case" => {
                let payment = world.done("cybersource.authorize", &authorize(600_000)).await;
                Value::map([
                    ("order_id", Value::text("A-1")),
                    ("payment", Value::text(payment)),
                    ("decision", Value::text("accept")),
                ])
            }
            _ => {
                captured(world).await;
                world.pass(Millis::mins(1));
                Self::reading()
            }
        }
    }
    fn reading() -> Value {
        Value::map([("order_id", Value::text("A-1"))])
    }

    fn count(s: &CybersourceSandbox, action: &str) -> usize {
        let truth = s.order_truth("A-1");
        let times = |minor: i64, of: i64| usize::try_from(minor / of).unwrap();
        match action {
            "cybersource.ensure_customer" => s.all_customers().count(),
            "cybersource.update_customer" => customers(s).filter(|c| c.changes > 0).count(),
            "cybersource.attach_instrument" => customers(s).map(|c| c.instruments.len()).sum(),
            "cybersource.authorize" => truth.charges,
            "cybersource.screen" => truth.payments.len(),
            "cybersource.capture" => times(truth.captured, 1000),
            "cybersource.reverse" => usize::from(!truth.payments.is_empty() && truth.held == 0),
            "cybersource.void" => usize::from(truth.captured == 0),
            "cybersource.refund" => times(truth.refunded, 400),
            "cybersource.void_refund" => usize::from(truth.refunded == 0),
            _ => usize::from(s.open_cases().is_empty()),
        }
    }

    async fn webhooks(world: &World<Self>) -> Vec<(Delivery, usize)> {
        // Encrypted, and each change costs a try to open it; then one in clear.
        world.done("cybersource.authorize", &authorize(600_000)).await;
        let mut due = world.sandbox(|s, now| s.take_deliveries(now));
        assert_eq!(due.len(), 1);
        let case = world.sandbox(|s, _| s.open_cases())[0].clone();
        world.sandbox(|s, now| s.decide(now, &case, Decision::Accept)).unwrap();
        due.extend(world.sandbox(|s, now| s.take_deliveries(now)));
        assert_eq!(due.len(), 2);
        due.into_iter().zip([101, 1]).collect()
    }

    fn sign(body: &[u8], at: Timestamp) -> Vec<(String, String)> {
        vec![("v-c-signature".into(), sign(body, HOOK_ID, KEY, at.0))]
    }

    async fn told(kind: &str, word: &str) -> Result<Vec<Fact>, String> {
        let world = World::<Self>::new();
        let params = Self::ready(&world, kind).await;
        let status = word.to_owned();
        world.bend(write_of::<Self>(kind), move |answer| answer["status"] = status.as_str().into());
        match world.call(kind, &params, 0).await {
            Outcome::Disagrees { field, what, .. } if field == "status" => Err(what),
            outcome => Ok(facts_of(&outcome).to_vec()),
        }
    }

    async fn fill(world: &World<Self>, count: usize) -> Vec<String> {
        let mut made = Vec::new();
        for n in 0..count {
            world.pass(Millis::secs(1));
            let mut params = authorize(1000);
            if let Value::Map(params) = &mut params {
                params.insert("order_id".into(), Value::text(format!("A-{n}")));
            }
            // Another command each time: the transaction id is made of it.
            let id = world.done_as("cybersource.authorize", &params, &format!("fill {n}")).await;
            made.push(id);
        }
        world.pass(Millis::mins(1));
        made
    }

    fn paying(amount: Money) -> (&'static str, Value) {
        let params = [
            ("order_id", Value::text("A-1")),
            ("amount", Value::Money(amount)),
            ("token", Value::text("tok_visa")),
        ];
        ("cybersource.authorize", Value::map(params))
    }
}
