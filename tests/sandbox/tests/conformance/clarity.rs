//! Clarity in the kit.

use serde_json::json;
use tillway_connectors::clarity::Clarity as Connect;
use tillway_connectors::port::Interpreted;
use tillway_connectors::{Connector, Secret, Secrets};
use tillway_core::doc::Doc;
use tillway_core::facts::Fact;
use tillway_core::http::Method;
use tillway_core::money::{Currency, Money};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;
use tillway_sandbox::clarity::{
    Address, Auth, ClarityConfig, ClaritySandbox, Customer, NewLine, NewOrder, WebhookScheme, sign_standard,
};
use tillway_sandbox::{Delivery, Sandbox};

use crate::redaction::{EMAIL, NAME, PHONE, STREET};
use crate::world::{Kind, Lie, START, System, Vector, World, Write, secret, usd};

pub struct Clarity;

const HOOK: &str = "whsec_Q0FOQVJZY2FuYXJ5Q0FOQVJZY2FuYXJ5Q0FOQVJZ";
const CLIENT_SECRET: &str = "CANARY-client-secret";

const fn lie(action: &'static str, change: fn(&mut serde_json::Value), field: &'static str) -> Lie {
    Lie { action, change, field }
}

fn order(number: usize) -> NewOrder {
    let mut new = NewOrder::new(Currency::parse("USD").unwrap());
    new.order_id = Some(format!("A-{number}"));
    new.customer = Customer {
        customer_id: Some("K-1".into()),
        email: Some(EMAIL.into()),
        first_name: Some(NAME.into()),
        phone: Some(PHONE.into()),
        ..Customer::default()
    };
    new.billing_address = Some(Address { street1: Some(STREET.into()), ..Address::default() });
    new.lines = vec![NewLine {
        sku: "S-1".into(),
        name: "thing".into(),
        quantity: "1".into(),
        unit_price: 1000,
        ..NewLine::default()
    }];
    new.payment_token = Some("tok_1".into());
    new
}

impl System for Clarity {
    type Sandbox = ClaritySandbox;
    const WRITES: &'static [Write] = &[
        Write { action: "clarity.update_order", method: Method::Patch, path: "/orders/" },
        Write { action: "clarity.update_customer", method: Method::Patch, path: "/customers/" },
        Write { action: "clarity.add_shipment", method: Method::Post, path: "/shipments" },
    ];
    const READS: &'static [&'static str] = &["clarity.read_order", "clarity.read_customer"];
    const LIES: &'static [Lie] = &[
        lie("clarity.update_order", |a| a["orderId"] = "A-2".into(), "orderId"),
        lie("clarity.update_order", |a| a["status"] = "Cancelled".into(), "status"),
        lie("clarity.update_order", |a| a["payment"]["amount"]["amount"] = "99.00".into(), "payment.amount"),
        lie("clarity.update_order", |a| a["payment"]["amount"]["currency"] = "EUR".into(), "payment.amount"),
        lie(
            "clarity.update_order",
            |a| a["payment"]["transactionId"] = "ch_2".into(),
            "payment.transactionId",
        ),
        lie("clarity.update_customer", |a| a["customerId"] = "K-2".into(), "customerId"),
        lie("clarity.add_shipment", |a| a["shipmentId"] = "S-2".into(), "shipmentId"),
    ];
    const KINDS: &'static [Kind] = &[Kind {
        name: "order",
        // The contract is YAML; its list is repeated here and compared as text.
        listed: Some(("clarity/openapi.yaml", "enum: [Pending Payment,")),
        words: &[
            "Pending Payment",
            "Payment Received",
            "Payment Failed",
            "Paid",
            "Processing",
            "Shipped",
            "Completed",
            "On Hold",
            "Partially Refunded",
            "Refunded",
            "Disputed",
            "Cancelled",
        ],
        to_a_person: &[],
        free: true,
        open: false,
    }];
    const SIGNED: &'static [(&'static str, &'static [&'static str])] =
        &[("webhook-id", &[""]), ("webhook-timestamp", &[""]), ("webhook-signature", &["v1,"])];
    // A parcel is added whatever the order's status reads.
    const RESULTS: &'static [&'static str] = &["status"];
    const STATUSLESS: &'static [&'static str] = &["clarity.add_shipment"];
    const NEW_WORD: &'static str = "Invented Status";

    fn connector() -> &'static dyn Connector {
        &Connect
    }
    fn sandbox() -> ClaritySandbox {
        ClaritySandbox::new(ClarityConfig {
            auth: Auth::OAuth { client_id: "tillway".into(), client_secret: CLIENT_SECRET.into() },
            webhook: WebhookScheme::StandardWebhooks { secrets: vec![HOOK.into()] },
            ..ClarityConfig::default()
        })
    }
    fn settings() -> Vec<(&'static str, String)> {
        vec![("base_url", "https://shop.example/api/v1".into()), ("page_size", "5".into())]
    }
    fn secrets() -> Secrets {
        let mut all = secret("client_id", "tillway");
        all.0.insert("client_secret".into(), vec![Secret::new(CLIENT_SECRET)]);
        all.0.insert("webhook_secret".into(), vec![Secret::new(HOOK)]);
        all
    }

    /// The vendor has none; the one of the Standard Webhooks specification.
    fn vectors() -> Vec<Vector> {
        let headers = |signature: &str| {
            [
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .to_vec()
        };
        let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let wrong = "v1,h0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let one = |name: &str, signature: &str, valid: bool| Vector {
            name: name.into(),
            topic: "orders",
            headers: headers(signature),
            body: br#"{"test": 2432232314}"#.to_vec(),
            secrets: secret("webhook_secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            now: Timestamp::from_unix(1_614_265_331),
            valid,
        };
        vec![
            one("specification", right, true),
            one("specification, one letter changed", wrong, false),
            one("specification, of two", &format!("{wrong} {right}"), true),
            one("specification, another version", &right.replace("v1,", "v2,"), false),
        ]
    }

    async fn ready(world: &World<Self>, action: &str) -> Value {
        world.sandbox(|s, now| s.place_order(now, order(1))).unwrap();
        let order = ("order_id", Value::text("A-1"));
        match action {
            "clarity.update_order" => Value::map([
                order,
                ("status", Value::text("Paid")),
                (
                    "payment",
                    Value::map([
                        ("gateway", Value::text("stripe")),
                        ("transaction_id", Value::text("ch_1")),
                        ("amount", usd(1000)),
                    ]),
                ),
            ]),
            "clarity.update_customer" => Value::map([
                ("customer_id", Value::text("K-1")),
                ("external_ids", Value::map([("stripe", Value::text("cus_1"))])),
            ]),
            "clarity.read_customer" => Value::map([("customer_id", Value::text("K-1"))]),
            "clarity.add_shipment" => Value::map([
                order,
                ("shipment_id", Value::text("S-1")),
                ("carrier", Value::text("DHL")),
                ("shipped_at", Value::Time(Timestamp::from_unix(START))),
            ]),
            _ => Value::map([order]),
        }
    }
    fn reading() -> Value {
        Value::map([("order_id", Value::text("A-1"))])
    }

    fn count(s: &ClaritySandbox, action: &str) -> usize {
        match action {
            "clarity.update_order" => s.orders().map(|o| usize::try_from(o.version).unwrap() - 1).sum(),
            "clarity.update_customer" => s.customers().map(|c| c.external_ids.len()).sum(),
            _ => s.orders().map(|o| o.shipments.len()).sum(),
        }
    }

    async fn webhooks(world: &World<Self>) -> Vec<(Delivery, usize)> {
        world.sandbox(|s, now| s.place_order(now, order(1))).unwrap();
        let due = world.sandbox(|s, now| s.take_deliveries(now));
        due.into_iter().map(|d| (d, 1)).collect()
    }

    fn sign(body: &[u8], at: Timestamp) -> Vec<(String, String)> {
        [
            ("webhook-id", "evt_1".to_owned()),
            ("webhook-timestamp", at.unix().to_string()),
            ("webhook-signature", sign_standard(HOOK, "evt_1", at.unix(), body)),
        ]
        .map(|(n, v)| (n.to_owned(), v))
        .to_vec()
    }

    async fn told(_kind: &str, word: &str) -> Result<Vec<Fact>, String> {
        let world = World::<Self>::new();
        world.sandbox(|s, now| s.place_order(now, order(1))).unwrap();
        let mut data = world.sandbox(|s, _| serde_json::to_value(s.order("A-1").unwrap()).unwrap());
        data["status"] = word.into();
        let body = json!({"type": "order.updated", "data": data});
        match Connect.interpret(&world.connection, "order.updated", Doc::from(&body).json()) {
            Ok(Interpreted::About { observation, .. }) => Ok(observation.facts),
            Ok(other) => panic!("{word}: {other:?}"),
            Err(rejected) => Err(rejected.what),
        }
    }

    async fn fill(world: &World<Self>, count: usize) -> Vec<String> {
        let place = |n: usize| {
            world.pass(Millis::secs(1));
            world.sandbox(|s, now| s.place_order(now, order(100 + n))).unwrap()
        };
        (0..count).map(place).collect()
    }

    fn paying(amount: Money) -> (&'static str, Value) {
        let payment = Value::map([("amount", Value::Money(amount))]);
        ("clarity.update_order", Value::map([("order_id", Value::text("A-1")), ("payment", payment)]))
    }
}
