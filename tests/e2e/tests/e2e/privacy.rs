//! Secrets and people's data: planted everywhere, and then looked for in everything that stays.

use tillway_core::http::Method;
use tillway_core::time::Millis;
use tillway_sandbox::clarity::{Address, Device};
use tillway_sandbox::{ApiFault, HookFault};
use tillway_tests::logs::Logs;
use tillway_tests::outside::lock;
use tillway_tests::temp::holds;
use tillway_tests::world::{
    API_KEY, CLIENT_SECRET, GATEWAY_HOOK, MASTER_KEY, SHOP, SHOP_HOOK, Setup, World, new_order,
};
use tracing_subscriber::filter::LevelFilter;

const MAIL: &str = "canary.mail@quarantine.example";
const FIRST: &str = "Canaryfirst";
const LAST: &str = "Canarylast";
const STREET: &str = "77 Canary Row";
const PHONE: &str = "+1 555 0177 7700";
const IP: &str = "203.0.113.177";
const VISIT: &str = "canary-visit-7";
/// Where the shop of these tests tells the latter two.
const DEVICE: &str = "order.ip_address: device.ipAddress, order.device_session: device.sessionId";

fn place(w: &World, order: &str, token: &str) {
    let mut new = new_order(order, "USD", Some(token));
    new.customer.email = Some(MAIL.to_owned());
    new.customer.first_name = Some(FIRST.to_owned());
    new.customer.last_name = Some(LAST.to_owned());
    new.customer.phone = Some(PHONE.to_owned());
    let mut address = Address { street1: Some(STREET.to_owned()), ..Address::default() };
    address.city = Some("Canaryville".to_owned());
    new.billing_address = Some(address);
    new.device = Some(Device { ip_address: Some(IP.to_owned()), session_id: Some(VISIT.to_owned()) });
    w.place_with(new);
}

/// The bearer tokens that were used.
fn tokens(w: &World) -> Vec<String> {
    let sent = lock(&w.outside.sent);
    let mut tokens: Vec<String> = sent
        .iter()
        .filter_map(|s| s.request.header("authorization")?.strip_prefix("Bearer ").map(str::to_owned))
        .collect();
    tokens.sort();
    tokens.dedup();
    tokens
}

#[tokio::test]
async fn nothing_secret_or_personal_stands_in_clear() {
    let logs = Logs::default();
    let _collecting = logs.collect(LevelFilter::TRACE);
    let w = World::with(Setup { shop_settings: DEVICE.to_owned(), ..Setup::default() }).await;
    let mut said = String::new();
    // Paid, declined, silenced, refused, disputed, parked, unhandled, waiting, forged.
    place(&w, "A-1", "pm_card_visa");
    place(&w, "A-2", "pm_card_chargeDeclined");
    w.gateway_fault(Method::Post, "/v1/customers", ApiFault::SilenceAfter, 1);
    w.gateway_fault(Method::Post, "/confirm", ApiFault::Fail500AfterEffect, 1);
    w.until_status("A-1", "Paid").await;
    w.until_status("A-2", "Payment Failed").await;
    w.shop().revoke_tokens();
    w.hook("order.created", HookFault::Lose, 1);
    place(&w, "A-3", "pm_card_visa");
    let bad = w.order_event("A-3", |o| o["status"] = LAST.into());
    w.post(SHOP, "orders", &w.shop_hook("msg_bad", bad.to_string())).await;
    let forged = tillway_tests::world::shop_hook_at("msg_f", w.now() - Millis::days(1), bad.to_string());
    let refused = w.post(SHOP, "orders", &forged).await;
    said.push_str(refused.code);
    for (id, kind, object) in [
        (
            "evt_u",
            "customer.updated",
            serde_json::json!({"id": "cus_1", "object": "customer", "email": MAIL, "name": FIRST}),
        ),
        (
            "evt_w",
            "charge.succeeded",
            serde_json::json!({"id": "ch_nobodys", "object": "charge", "amount": 1, "currency": "usd", "status": "succeeded",
                "captured": true, "amount_captured": 1, "created": 1, "payment_intent": "pi_nobodys",
                "billing_details": {"email": MAIL, "name": LAST, "address": {"line1": STREET}}}),
        ),
    ] {
        let body = serde_json::json!({"id": id, "object": "event", "type": kind, "livemode": false,
            "created": w.now().unix(), "data": {"object": object}});
        w.post("stripe", "payments", &w.gateway_hook(body.to_string())).await;
    }
    // In the queues too.
    w.deliver().await;
    let in_flight = w.folder.bytes();
    w.quiet().await;
    let (now, payment) = (w.now(), w.payment("A-1").payment);
    w.stripe().open_dispute(now, &payment, None, "fraudulent").unwrap();
    w.until_status("A-1", "Disputed").await;
    w.pass(Millis::mins(3)).await;

    assert!(w.notices.sent().iter().any(|n| n.to.as_deref() == Some(MAIL)), "the customer was not told");
    for order in ["A-1", "A-2", "A-3"] {
        said.push_str(&w.explain(order).await.to_string());
        said.push_str(&serde_json::to_string(&w.explain(order).await).unwrap());
    }
    for item in w.parked().await {
        said.push_str(&serde_json::to_string(&item).unwrap());
        for wrong in ["nobody", MAIL] {
            said.push_str(
                &w.engine.parked_edit(wrong, serde_json::json!(1), "x").await.unwrap_err().to_string(),
            );
        }
    }
    let said = said.replace(&format!("no parked item {MAIL}"), "");
    let said = said.replace(&format!("no parked item `{MAIL}`"), "");
    let stored = w.folder.bytes();
    let logged = logs.take();
    assert!(stored.len() > 50_000 && logged.len() > 500, "{} {}", stored.len(), logged.len());

    let tokens = tokens(&w);
    assert!(tokens.len() >= 3, "{tokens:?}");
    let canaries: Vec<&str> = [
        MAIL,
        FIRST,
        LAST,
        STREET,
        PHONE,
        IP,
        VISIT,
        API_KEY,
        CLIENT_SECRET,
        GATEWAY_HOOK,
        SHOP_HOOK,
        MASTER_KEY,
    ]
    .into_iter()
    .chain(["Canaryville", "whsec_", "sk_test_"])
    .chain(tokens.iter().map(String::as_str))
    .collect();
    for canary in canaries {
        for (place, bytes) in
            [("the files", &stored), ("the files, events queued", &in_flight), ("the log", &logged)]
        {
            assert!(!holds(bytes, canary), "{canary} stands in clear in {place}");
        }
        assert!(!said.contains(canary), "{canary} is shown");
    }
    // The log names no payment token either.
    assert!(!holds(&logged, "pm_card_"), "a payment token is logged");
}

/// What the merchant's own mapping sends besides: a name in a text, an address, a receipt.
const TALKATIVE: &str = "mapping: stripe/create-payment\nextends: stripe/create-payment\nfields:\n  \
    description: { concat: [\"for \", { from: order.customer.name }] }\n  \
    metadata.who: order.customer.last_name\n  receipt_email: order.customer.email\n  \
    ship_to.name: order.customer.name\n  ship_to.line1: order.bill_to.line1\n  \
    metadata.ip: order.device.ip_address\n  \
    ship_to.city: order.bill_to.city\n  ship_to.country: order.bill_to.country\n";

/// Everything that left for another system or for people, and the number of customers at the gateway.
async fn left(masking: bool) -> (String, usize) {
    let overrides = vec![("flows/create.yaml".to_owned(), TALKATIVE.to_owned())];
    let shop_settings = DEVICE.to_owned();
    let w = World::with(Setup { masking, overrides, shop_settings, ..Setup::default() }).await;
    place(&w, "A-1", "pm_card_visa");
    place(&w, "A-2", "pm_card_chargeDeclined");
    w.until_status("A-1", "Paid").await;
    w.until_status("A-2", "Payment Failed").await;
    w.pass(Millis::mins(2)).await;
    // The same person, spelled otherwise, hours later: found again.
    w.pass(Millis::hours(3)).await;
    let mut new = new_order("A-3", "USD", Some("pm_card_visa"));
    new.customer.email = Some(MAIL.to_uppercase());
    w.place_with(new);
    w.until_status("A-3", "Paid").await;
    assert!(w.parked().await.is_empty());
    let mut out = String::new();
    for sent in lock(&w.outside.sent).iter() {
        out.push_str(&format!("{} {}\n", sent.request.url, String::from_utf8_lossy(&sent.request.body)));
    }
    let notices = w.notices.sent();
    assert!(notices.iter().any(|n| n.audience == "customer"), "the customer was not written to");
    for notice in notices {
        out.push_str(&format!("to {:?}: {} {}\n", notice.to, notice.subject, notice.text));
    }
    (out.to_lowercase(), w.stripe().all_customers().count())
}

#[tokio::test]
async fn outside_production_people_are_masked_in_all_that_leaves() {
    let canaries = ["canary", "quarantine", "0177", IP];
    let (masked, customers) = left(true).await;
    for canary in canaries {
        let at = masked.lines().find(|line| line.contains(canary));
        assert!(at.is_none(), "{canary} left: {at:?}");
    }
    // Something went in their place, and what belongs together still does.
    assert!(masked.contains("masked.example") && masked.contains("metadata%5bwho%5d="), "{masked}");
    assert!(masked.contains("metadata%5bip%5d=198.1"), "an address for an address: {masked}");
    assert_eq!(customers, 1, "one person is one customer");
    let (plain, customers) = left(false).await;
    for canary in canaries {
        assert!(
            plain.contains(canary),
            "{canary} does not leave with `masking: off`: this test sees nothing"
        );
    }
    assert!(!plain.contains("masked.example"));
    assert_eq!(customers, 1);
}

#[tokio::test]
async fn an_erased_person_cannot_be_read_and_the_books_stay() {
    let w = World::start().await;
    place(&w, "A-1", "pm_card_visa");
    place(&w, "A-2", "pm_card_chargeDeclined");
    w.until_status("A-1", "Paid").await;
    w.until_status("A-2", "Payment Failed").await;
    // Parked, and unhandled, with the address in them.
    let bad = w.order_event("A-1", |o| {
        o["status"] = "Vorgemerkt".into();
        o["version"] = 50.into();
    });
    w.post(SHOP, "orders", &w.shop_hook("msg_bad", bad.to_string())).await;
    let told = serde_json::json!({"type": "customer.updated", "timestamp": w.now().rfc3339(),
        "data": {"customerId": "C-1", "email": MAIL}});
    w.post(SHOP, "customers", &w.shop_hook("msg_told", told.to_string())).await;
    w.quiet().await;
    let item = w.parked_one().await;
    assert!(w.engine.parked_show(&item.id).await.unwrap().content.unwrap().to_string().contains(MAIL));
    let (journal, told_before) = (w.journal(None).await, w.notices.sent().len());

    let report = w.engine.erase(&MAIL.to_uppercase()).await.unwrap();
    assert!(report.keys >= 1 && report.events >= 2, "{report:?}");

    assert!(w.engine.parked_show(&item.id).await.unwrap().content.is_none());
    assert!(
        w.engine.unhandled().await.unwrap().iter().filter(|r| r.event == "msg_told").all(|r| r.raw.is_none())
    );
    assert_eq!(w.journal(None).await, journal);
    for order in ["A-1", "A-2"] {
        let shown = w.explain(order).await.to_string();
        assert!(shown.contains(order) && !shown.contains(MAIL), "{shown}");
    }
    // What happens later goes on without the person: the money side works, nobody is written to.
    let (now, payment) = (w.now(), w.payment("A-1").payment);
    w.stripe().dashboard_refund(now, &payment, Some(100), None).unwrap();
    let declined = w.payment("A-2").payment;
    let now = w.now();
    w.stripe().shopper_retries(now, &declined, "pm_card_chargeDeclinedExpiredCard").unwrap();
    w.until_status("A-1", "Partially Refunded").await;
    w.pass(Millis::mins(5)).await;
    let later = w.notices.sent();
    assert!(
        later[told_before..].iter().all(|n| n.to.as_deref() != Some(MAIL)),
        "the erased person was written to"
    );
    // The shop tells of the old order again, with all that it keeps: it does not come back.
    let again = w.order_event("A-1", |o| o["version"] = 90.into());
    w.post(SHOP, "orders", &w.shop_hook("msg_again", again.to_string())).await;
    w.pass(Millis::mins(5)).await;
    // Once more does no harm.
    assert_eq!(w.engine.erase(MAIL).await.unwrap().keys, 0);
    assert!(!holds(&w.folder.bytes(), MAIL));
    // Who orders anew is a customer like any other.
    w.pass(Millis::mins(1)).await;
    place(&w, "A-3", "pm_card_visa");
    w.until_status("A-3", "Paid").await;
    assert_eq!(w.engine.erase(MAIL).await.unwrap().keys, 1);
}
