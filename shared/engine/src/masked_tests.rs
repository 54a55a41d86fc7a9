//! Outside production no name, address, e-mail, phone number or IP address reaches the gateway or a log: canaries in all that a
//! shop tells, looked for in all that leaves and all that is said.

use std::fmt::Write as _;

use tillway_sandbox::clarity::Device;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

use super::*;

/// In each personal field a word of its own.
const PLANTED: [(&str, &str); 13] = [
    ("first name", "Kanariea"),
    ("last name", "Kanarieb"),
    ("company", "Kanariec"),
    ("street", "77 Kanaried"),
    ("second line", "Kanariee"),
    ("city", "Kanarief"),
    ("postal code", "53177"),
    ("phone", "+49228771771"),
    ("e-mail", "kanarieg@quarantine.example"),
    ("IP address", "203.0.113.177"),
    ("first name of the goods' address", "Kanarieh"),
    ("street of the goods' address", "88 Kanariei"),
    ("phone of the goods' address", "+49228881881"),
];
/// Told to the gateway as it is, for a masked one is a visit that nobody has heard of; never logged.
const VISIT: &str = "visit-kanariev";

fn planted(field: &str) -> Option<String> {
    PLANTED.iter().find(|(name, _)| *name == field).map(|(_, text)| (*text).to_owned())
}

/// As a masked text may be written: without blanks and signs, in small letters.
fn plain(text: &str) -> String {
    text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

fn config(masking: &str) -> String {
    format!(
        "{masking}connections:\n  shop: {{ system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key, \
         order.ip_address: device.ipAddress, order.device_session: device.sessionId, paging.style: page-index-plain }}\n  \
         signed: {{ system: cybersource, merchant_id: acme, key_id: k1 }}\npairs:\n  main: {{ flow: cybersource-clarity, \
         shop: shop, gateway: signed }}\n"
    )
}

impl Town {
    fn plant(&self, id: &str, token: &str, customer: &str) {
        let address = |first: &str, street: &str, phone: &str| Address {
            first_name: planted(first),
            last_name: planted("last name"),
            company: planted("company"),
            street1: planted(street),
            street2: planted("second line"),
            city: planted("city"),
            postal_code: planted("postal code"),
            country: Some("DE".to_owned()),
            phone: planted(phone),
            email: planted("e-mail"),
            ..Address::default()
        };
        let mut order = NewOrder::new(Currency::parse("EUR").unwrap());
        order.order_id = Some(id.to_owned());
        order.customer = Customer {
            customer_id: Some(customer.to_owned()),
            email: planted("e-mail"),
            first_name: planted("first name"),
            last_name: planted("last name"),
            company: planted("company"),
            phone: planted("phone"),
            ..Customer::default()
        };
        order.billing_address = Some(address("first name", "street", "phone"));
        order.shipping_address = Some(address(
            "first name of the goods' address",
            "street of the goods' address",
            "phone of the goods' address",
        ));
        let session_id = Some(VISIT.to_owned());
        order.device = Some(Device { ip_address: planted("IP address"), session_id });
        order.lines = vec![NewLine {
            sku: "MUG".into(),
            name: "mug".into(),
            quantity: "1".into(),
            unit_price: 1000,
            discount: 0,
            tax: 0,
        }];
        order.payment_token = Some(token.to_owned());
        self.shop.lock().unwrap().place_order(self.now(), order).unwrap();
    }

    /// Everything that went to the gateway.
    fn left(&self) -> Vec<Request> {
        let sent = self.sent.lock().unwrap();
        sent.iter().filter(|r| !r.url.starts_with("https://shop.example")).cloned().collect()
    }
}

/// Everything that is logged on this thread.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut said = self.0.lock().unwrap();
        let _infallible = write!(said, " {}={value:?}", field.name());
    }
}

impl tracing::Subscriber for Said {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
        self.0.lock().unwrap().push('\n');
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// All that leaves of paid, declined, refused, cancelled and refunded orders and of a profile, and what was logged.
async fn played(config: &str, master: u8) -> (Vec<Request>, String) {
    let said = Said::default();
    let collecting = tracing::subscriber::set_default(said.clone());
    let town = Town::keyed(config, master).await;
    town.plant("A-1", "tok_visa_x1", "CU-1");
    town.plant("A-2", "tok_declined_x2", "CU-1");
    town.lose("vault", Method::Post, "/captures", ApiFault::SilenceAfter);
    town.live(Millis::hours(1)).await;
    // The same person again, and what only goes wrong.
    town.plant("A-3", "tok_visa_x3", "CU-1");
    town.plant("A-4", "tok_badcard_x4", "CU-2");
    town.change("CU-1", |c| {
        c.email = planted("e-mail");
        c.first_name = planted("first name");
        c.external_ids.insert("card".to_owned(), TOKEN.to_owned());
    });
    town.live(Millis::hours(1)).await;
    town.shop.lock().unwrap().cancel(town.now(), "A-3").unwrap();
    let asked =
        town.shop.lock().unwrap().request_refund(town.now(), "A-1", Some("R-1"), 300, "goods_returned");
    asked.unwrap();
    town.live(Millis::hours(1)).await;
    for order in ["A-1", "A-4"] {
        let key = town.w.engine.find_order(order).await.unwrap().unwrap();
        tracing::info!(told = %town.w.engine.explain(&key).await.unwrap().unwrap(), "explained");
    }
    for (code, what) in town.parked().await {
        tracing::info!(code, what, "parked");
    }
    drop(collecting);
    (town.left(), said.0.lock().unwrap().clone())
}

/// What stands at a place of all requests on a path, once each.
fn at(sent: &[Request], path: &str, place: &str) -> std::collections::BTreeSet<String> {
    let bodies = sent.iter().filter(|r| r.path() == path).map(|r| serde_json::from_slice::<Json>(&r.body));
    let texts = bodies.flatten().filter_map(|b| b.pointer(place)?.as_str().map(str::to_owned));
    texts.collect()
}

#[tokio::test]
async fn outside_production_nobody_reaches_the_gateway_or_a_log() {
    let (sent, said) = played(&config(""), 0x6d).await;
    let whole: String =
        sent.iter().map(|r| format!("{} {}", r.url, String::from_utf8_lossy(&r.body))).collect();
    for path in ["/pts/v2/payments", "/tms/v2/customers"] {
        assert!(sent.iter().any(|r| r.path() == path), "nothing went to {path}");
    }
    for part in ["/captures", "/refunds", "/voids", "/searches"] {
        assert!(sent.iter().any(|r| r.path().contains(part)), "nothing went to {part}: {said}");
    }
    assert!(said.lines().count() > 20, "{said}");
    for (field, text) in PLANTED {
        let text = plain(text);
        for request in &sent {
            let left = format!("{} {}", request.url, String::from_utf8_lossy(&request.body));
            assert!(!plain(&left).contains(&text), "{field} went to {}: {left}", request.path());
        }
        assert!(!plain(&said).contains(&text), "{field} is logged");
    }
    // The session of the visit goes as it is, where it has to, and nowhere else.
    let session = "/deviceInformation/fingerprintSessionId";
    assert_eq!(at(&sent, "/pts/v2/payments", session), [VISIT.to_owned()].into());
    assert_eq!(whole.matches(VISIT).count(), 4, "once with each authorization");
    assert!(!said.contains(VISIT), "the visit is logged");

    // Something went in their place: the same for the same, an address for an address.
    let bill = |sent: &[Request], name: &str| {
        at(sent, "/pts/v2/payments", &format!("/orderInformation/billTo/{name}"))
    };
    for name in ["firstName", "lastName", "address1", "locality", "postalCode", "phoneNumber", "email"] {
        assert_eq!(bill(&sent, name).len(), 1, "{name}: {:?}", bill(&sent, name));
    }
    let mail = bill(&sent, "email");
    assert!(mail.iter().all(|m| m.ends_with("@masked.example")), "{mail:?}");
    assert_eq!(
        at(&sent, "/tms/v2/customers", "/buyerInformation/email"),
        mail,
        "the profile's is the order's"
    );
    let goods = at(&sent, "/pts/v2/payments", "/orderInformation/shipTo/lastName");
    assert_eq!(goods, bill(&sent, "lastName"), "one family, one mask");
    assert_ne!(at(&sent, "/pts/v2/payments", "/orderInformation/shipTo/firstName"), bill(&sent, "firstName"));
    let ip = at(&sent, "/pts/v2/payments", "/deviceInformation/ipAddress");
    assert!(
        ip.len() == 1 && ip.iter().all(|ip| ip.starts_with("198.18.") || ip.starts_with("198.19.")),
        "{ip:?}"
    );

    // Under another key everybody is somebody else; under the same one the same, in another process too.
    let (again, _) = played(&config(""), 0x6d).await;
    let (other, _) = played(&config(""), 0x6e).await;
    for name in ["firstName", "lastName", "address1", "phoneNumber", "email"] {
        assert_eq!(bill(&again, name), bill(&sent, name), "{name} under the same key");
        assert!(bill(&other, name).is_disjoint(&bill(&sent, name)), "{name} under another key");
    }
}

#[tokio::test]
async fn without_masking_the_canaries_do_leave_and_are_logged_all_the_same_nowhere() {
    let (sent, said) = played(&config("masking: off\n"), 0x6d).await;
    let whole: String = sent.iter().map(|r| String::from_utf8_lossy(&r.body).into_owned()).collect();
    for (field, text) in PLANTED {
        // Else the test above sees nothing.
        assert!(plain(&whole).contains(&plain(text)), "{field} does not leave with `masking: off`");
        assert!(!plain(&said).contains(&plain(text)), "{field} is logged");
    }
}
