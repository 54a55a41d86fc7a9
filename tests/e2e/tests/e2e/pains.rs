//! What people in this field suffer from (DESIGN section 10): each pain is a test of its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tillway_core::facts::OrderStatus;
use tillway_core::http::Method;
use tillway_core::ids::ConnectionName;
use tillway_core::time::Millis;
use tillway_engine::ports::Write;
use tillway_sandbox::clarity::NewLine;
use tillway_sandbox::stripe::{PaymentStatus, ShopPayment};
use tillway_sandbox::{ApiFault, HookFault};
use tillway_tests::taps::Fate;
use tillway_tests::world::{GATEWAY, SHOP, Setup, World, new_order};
use tokio::sync::Notify;

/// How often the shop showed a status.
fn shown(w: &World, order: &str, status: &str) -> usize {
    w.shop().order(order).unwrap().history.iter().filter(|h| h.status.text() == status).count()
}

/// The shop makes a payment by itself.
fn shop_pays(w: &World, order: &str, token: &str) -> String {
    let now = w.now();
    let payment = ShopPayment {
        amount: 4712,
        currency: "usd",
        metadata_key: "clarity_order_id",
        order_id: order,
        capture_method: "automatic",
        payment_method: token,
        customer: None,
    };
    w.stripe().create_payment_as_shop(now, &payment).unwrap()
}

#[tokio::test]
async fn webhook_and_redirect_both_book_the_order() {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_threeDSecure2Required"));
    w.until("the shopper is asked to confirm", |w| {
        w.shop().order("A-1").unwrap().external_ids.contains_key("stripe_next_action")
    })
    .await;
    let payment = w.payment("A-1").payment;
    w.hook("payment_intent.succeeded", HookFault::Duplicate(2), 1);
    w.hook("charge.succeeded", HookFault::Duplicate(2), 1);
    let now = w.now();
    w.stripe().authenticate(now, &payment, true).unwrap();
    // The shopper comes back to the shop in the same moment, and the shop writes down what it saw.
    w.shop().set_payment_intent(now, "A-1", &payment).unwrap();
    w.until_status("A-1", "Paid").await;
    w.pass(Millis::mins(5)).await;
    w.charged_once("A-1", 4712);
    assert_eq!(w.balance("A-1", "gateway_clearing").await, 4712);
    assert_eq!(w.balance("A-1", "receivable").await, 0);
    assert_eq!(shown(&w, "A-1", "Paid"), 1);
}

#[tokio::test]
async fn paid_event_before_created_event() {
    let w = World::with(Setup::pair("initiates: shop")).await;
    w.hook("order.created", HookFault::Delay(Millis::mins(10)), 1);
    w.place("A-1", None);
    shop_pays(&w, "A-1", "pm_card_visa");
    // The gateway's events are all there is; the order is read from the shop, not waited for.
    w.until_status("A-1", "Paid").await;
    w.pass(Millis::mins(15)).await;
    assert_eq!(w.status("A-1"), "Paid");
    w.charged_once("A-1", 4712);
    assert_eq!(w.balance("A-1", "gateway_clearing").await, 4712);
    assert!(w.parked().await.is_empty());
}

#[tokio::test]
async fn charged_but_shown_failed_after_a_time_out() {
    for fault in [ApiFault::SilenceAfter, ApiFault::Fail500AfterEffect] {
        let w = World::start().await;
        w.gateway_fault(Method::Post, "/confirm", fault, 1);
        w.place("A-1", Some("pm_card_visa"));
        w.until_status("A-1", "Paid").await;
        w.pass(Millis::mins(30)).await;
        w.charged_once("A-1", 4712);
        assert_eq!(shown(&w, "A-1", "Payment Failed"), 0);
    }
}

#[tokio::test]
async fn webhook_lost_order_stuck_pending() {
    let w = World::with(Setup::pair("initiates: shop")).await;
    w.place("A-1", None);
    w.quiet().await;
    w.hook("charge", HookFault::Lose, 50);
    w.hook("payment_intent", HookFault::Lose, 50);
    shop_pays(&w, "A-1", "pm_card_visa");
    w.pass(Millis::mins(20)).await;
    assert_eq!(w.status("A-1"), "Pending Payment");
    let report = w.engine.sweep(&ConnectionName::new(GATEWAY)).await.unwrap();
    assert!(!report.lost.is_empty());
    assert_eq!(report.money().iter().map(ToString::to_string).collect::<Vec<_>>(), ["47.12 USD"]);
    w.until_status("A-1", "Paid").await;
    assert_eq!(w.balance("A-1", "gateway_clearing").await, 4712);
    // What was found once is known from then on.
    w.pass(Millis::mins(1)).await;
    let again = w.engine.sweep(&ConnectionName::new(GATEWAY)).await.unwrap();
    assert_eq!((again.lost.len(), again.late), (0, 0));
}

#[tokio::test]
async fn refund_made_in_the_gateways_dashboard() {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    let (now, payment) = (w.now(), w.payment("A-1").payment);
    w.stripe().dashboard_refund(now, &payment, Some(1000), Some("requested_by_customer")).unwrap();
    w.until_status("A-1", "Partially Refunded").await;
    assert_eq!(w.balance("A-1", "gateway_clearing").await, 3712);
    let now = w.now();
    w.stripe().dashboard_refund(now, &payment, None, None).unwrap();
    w.until_status("A-1", "Refunded").await;
    assert_eq!(w.balance("A-1", "gateway_clearing").await, 0);
    // Tillway gave back nothing by itself.
    assert_eq!(w.payment("A-1").refunds, 2);
}

#[tokio::test]
async fn partial_refunds_many_per_order() {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    let payment = w.payment("A-1").payment;
    w.hook("refund", HookFault::Duplicate(1), 12);
    for n in 0..10 {
        let now = w.now();
        if n % 2 == 0 {
            w.stripe().dashboard_refund(now, &payment, Some(101), None).unwrap();
        } else {
            // Equal amounts, told apart by their ids; asked for twice, made once.
            let id = format!("R-{n}");
            w.shop().request_refund(now, "A-1", Some(&id), 101, "goods_returned").unwrap();
            w.shop().request_refund(now, "A-1", Some(&id), 101, "goods_returned").unwrap();
        }
        w.clock.forward(Millis::secs(1));
        w.quiet().await;
    }
    w.pass(Millis::mins(5)).await;
    let truth = w.payment("A-1");
    assert_eq!((truth.refunds, truth.refunded), (10, 1010));
    assert_eq!(w.balance("A-1", "gateway_clearing").await, 4712 - 1010);
    assert_eq!(w.explain("A-1").await.refunded, 1010);
    assert_eq!(w.status("A-1"), "Partially Refunded");
}

#[tokio::test]
async fn zero_decimal_currency_charged_times_100() {
    let w = World::start().await;
    w.place_with(new_order("J-1", "JPY", Some("pm_card_visa")));
    // Of three decimals the last must be zero at the gateway.
    let mut dinars = new_order("K-1", "KWD", Some("pm_card_visa"));
    dinars.lines[0].tax = 310;
    w.place_with(dinars);
    w.until_status("J-1", "Paid").await;
    w.until_status("K-1", "Paid").await;
    assert_eq!((w.payment("J-1").currency.as_str(), w.payment("J-1").amount), ("jpy", 4712));
    assert_eq!((w.payment("K-1").currency.as_str(), w.payment("K-1").amount), ("kwd", 4710));
    assert_eq!(w.balance("J-1", "gateway_clearing").await, 4712);
    assert_eq!(w.balance("K-1", "gateway_clearing").await, 4710);
    let total = |order: &str| w.shop().order(order).unwrap().total.to_string();
    assert_eq!((total("J-1"), total("K-1")), ("4712 JPY".to_owned(), "4.710 KWD".to_owned()));
}

#[tokio::test]
async fn penny_lost_in_tax_or_shipping_split() {
    let w = World::with(Setup::pair("capture: shipment")).await;
    for (n, (price, tax, shipping, discount)) in
        [(333, 28, 100, 0), (1, 0, 0, 0), (999, 85, 499, 7), (10, 1, 1, 1)].into_iter().enumerate()
    {
        let id = format!("A-{n}");
        let mut order = new_order(&id, "USD", Some("pm_card_visa"));
        let line = |sku: &str| NewLine {
            sku: sku.into(),
            name: sku.into(),
            quantity: "1".into(),
            unit_price: price + 50,
            discount: 0,
            tax,
        };
        order.lines = ["a", "b", "c"].map(line).to_vec();
        (order.shipping, order.discount) = (shipping, discount);
        w.place_with(order);
        w.until(&format!("{id} is authorized"), |w| {
            w.payments(&id).first().is_some_and(|p| p.status == PaymentStatus::RequiresCapture)
        })
        .await;
        for line in ["1", "2", "3"] {
            let now = w.now();
            w.shop().ship(now, &id, Some(&[(line, "1")])).unwrap();
            w.pass(Millis::mins(1)).await;
        }
        let total = w.shop().order(&id).unwrap().total.minor;
        let truth = w.payment(&id);
        assert_eq!((truth.captured, truth.captures), (total, 3), "{id}");
        assert_eq!(w.balance(&id, "gateway_clearing").await, total, "{id}");
        assert_eq!(w.balance(&id, "receivable").await, 0, "{id}");
        assert_eq!(w.balance(&id, "tax").await, -3 * tax, "{id}");
    }
}

#[tokio::test]
async fn token_refresh_storm() {
    let w = World::start().await;
    let fetched = |w: &World| -> u64 {
        let shop = w.shop();
        shop.counters().requests.iter().filter(|(k, _)| k.contains("token")).map(|(_, n)| *n).sum()
    };
    for n in 0..24 {
        w.place(&format!("A-{n}"), Some("pm_card_visa"));
    }
    w.until("all are paid", |w| (0..24).all(|n| w.status(&format!("A-{n}")) == "Paid")).await;
    assert_eq!(fetched(&w), 1, "one token for many calls");
    // All of them meet a token that was taken back, at the same time.
    w.shop().revoke_tokens();
    for n in 24..48 {
        w.place(&format!("A-{n}"), Some("pm_card_visa"));
    }
    w.until("all are paid", |w| (24..48).all(|n| w.status(&format!("A-{n}")) == "Paid")).await;
    assert_eq!(fetched(&w), 2, "one refresh for many refusals");
}

#[tokio::test]
async fn rate_limit_hit_in_a_burst() {
    let mut setup = Setup::default();
    setup.gateway.rate_limit = Some(6);
    setup.gateway_settings.push_str(", rate_limit.per_second: 10000");
    setup.shop.rate_limit = Some(6);
    setup.shop_settings = "rate_limit.per_second: 10000".to_owned();
    let w = World::with(setup).await;
    for n in 0..20 {
        w.place(&format!("A-{n}"), Some("pm_card_visa"));
    }
    w.until("all are paid", |w| (0..20).all(|n| w.status(&format!("A-{n}")) == "Paid")).await;
    for n in 0..20 {
        w.charged_once(&format!("A-{n}"), 4712);
    }
    assert!(w.stripe().counters().refusals.get(&429).is_some_and(|n| *n > 0), "the limit was not met");
    assert!(w.parked().await.is_empty());
}

#[tokio::test]
async fn dispute_funds_reinstated_read_as_won() {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    let (now, payment) = (w.now(), w.payment("A-1").payment);
    let dispute = w.stripe().open_dispute(now, &payment, None, "fraudulent").unwrap();
    w.until_status("A-1", "Disputed").await;
    let now = w.now();
    w.stripe().reinstate_funds(now, &dispute).unwrap();
    w.pass(Millis::mins(5)).await;
    assert_eq!(w.explain("A-1").await.status, OrderStatus::Disputed, "the bank has not decided");
    assert_eq!(w.status("A-1"), "Disputed");
    let now = w.now();
    w.stripe().close_dispute(now, &dispute, true).unwrap();
    w.until_status("A-1", "Paid").await;
    assert_eq!(w.balance("A-1", "disputed").await, 0);
}

#[tokio::test]
async fn signature_checked_on_raw_bytes() {
    let w = World::start().await;
    w.place("A-1", None);
    w.quiet().await;
    // Written as no library would: spaces, an escape where none is needed, members out of order.
    let order = w.order_event("A-1", |_| ()).to_string().replacen("{\"", "{ \n \"", 1);
    let order = order.replacen("order.created", "order.\\u0063reated", 1);
    let event = "{ \"data\" : {\"object\":{\"object\":\"invoice\",\"id\":\"in_\\u0031\"}},\"type\":\"invoice.paid\",\r\n\
                 \"livemode\":false,\"id\":\"evt_raw\"}";
    for (connection, topic, request) in
        [(SHOP, "orders", w.shop_hook("msg_raw", order)), (GATEWAY, "billing", w.gateway_hook(event))]
    {
        let parsed: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let mut written_anew = request.clone();
        written_anew.body = serde_json::to_vec(&parsed).unwrap();
        assert_ne!(written_anew.body, request.body);
        let refused = w.post(connection, topic, &written_anew).await;
        assert_eq!((refused.status, refused.code), (401, "signature_wrong"));
        assert_eq!(w.post(connection, topic, &request).await.status, 202);
    }
}

#[tokio::test]
async fn edit_and_replay_runs_the_effect_again() {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    // A refund request with a card number in a note is done, and parked because of the note.
    let request = serde_json::json!({"type": "order.refund_requested", "timestamp": w.now().rfc3339(), "data": {
        "orderId": "A-1", "refundId": "R-1", "amount": {"amount": "10.00", "currency": "USD"},
        "reason": "goods_returned", "note": format!("card {}", tillway_tests::world::CARD_NUMBER)}});
    w.post(SHOP, "orders", &w.shop_hook("msg_r1", request.to_string())).await;
    w.until_status("A-1", "Partially Refunded").await;
    let item = w.parked_one().await;
    let content = w.engine.parked_show(&item.id).await.unwrap().content.unwrap();
    let mut edited = content.clone();
    edited["data"]["note"] = "mended".into();
    w.engine.parked_edit(&item.id, edited, "tester").await.unwrap();
    w.engine.parked_replay(&item.id, "tester").await.unwrap();
    w.pass(Millis::mins(5)).await;
    let truth = w.payment("A-1");
    assert_eq!((truth.refunds, truth.refunded, truth.charges_succeeded), (1, 1000, 1));
    assert!(w.parked().await.is_empty());
    // The event that paid for the order, handed in again by a person's hand under another id.
    let paid = w.order_event("A-1", |_| ());
    w.post(SHOP, "orders", &w.shop_hook("msg_again", paid.to_string())).await;
    w.pass(Millis::mins(5)).await;
    w.charged_once("A-1", 4712);
}

#[tokio::test]
async fn contact_created_twice() {
    let w = World::start().await;
    w.gateway_fault(Method::Post, "/v1/customers", ApiFault::SilenceAfter, 1);
    for n in 0..6 {
        let mut order = new_order(&format!("A-{n}"), "USD", Some("pm_card_visa"));
        // The same person, written in two ways, twice with an account and else as a guest.
        order.customer.email =
            Some(if n % 2 == 0 { "Pat@Example.com" } else { "pat@example.com" }.to_owned());
        order.customer.customer_id = (n > 3).then(|| "C-9".to_owned());
        w.place_with(order);
        if n == 2 {
            w.quiet().await;
        }
    }
    w.until("all are paid", |w| (0..6).all(|n| w.status(&format!("A-{n}")) == "Paid")).await;
    assert_eq!(w.stripe().all_customers().count(), 1);
}

#[tokio::test]
async fn late_event_moves_an_order_backwards() {
    let w = World::with(Setup::pair("initiates: shop")).await;
    w.place("A-1", None);
    w.quiet().await;
    for kind in ["payment_intent.payment_failed", "charge.failed", "payment_intent.created"] {
        w.hook(kind, HookFault::Delay(Millis::mins(10)), 1);
    }
    let payment = shop_pays(&w, "A-1", "pm_card_chargeDeclined");
    let now = w.now();
    w.stripe().shopper_retries(now, &payment, "pm_card_visa").unwrap();
    w.until_status("A-1", "Paid").await;
    w.pass(Millis::mins(20)).await;
    assert!(w.deliveries().iter().any(|(_, d)| d.event_type == "payment_intent.payment_failed"));
    assert_eq!(w.status("A-1"), "Paid");
    assert_eq!(shown(&w, "A-1", "Payment Failed"), 0);
    // The shop's own news out of order: an older version says nothing any more.
    let old = w.order_event("A-1", |o| {
        o["version"] = 0.into();
        o["status"] = "Pending Payment".into();
    });
    w.post(SHOP, "orders", &w.shop_hook("msg_old", old.to_string())).await;
    w.pass(Millis::mins(5)).await;
    assert_eq!(w.status("A-1"), "Paid");
    w.charged_once("A-1", 4712);
}

#[tokio::test]
async fn two_flows_charge_one_order() {
    let two =
        "initiates: tillway }\n  other: { flow: stripe-clarity, shop: shop, gateway: stripe, initiates: shop";
    let w = World::with(Setup::pair(two)).await;
    w.place("A-1", Some("pm_card_visa"));
    w.pass(Millis::mins(5)).await;
    assert!(w.payments("A-1").is_empty());
    let item = w.parked_one().await;
    assert_eq!(item.item.code, "no_single_pair");
    assert!(item.item.what.contains("configure one pair"), "{}", item.item.what);

    // Nor is one of two gateways picked: nobody is asked for money until one pair is configured.
    let other = Setup {
        gateway_settings: "multicapture: if_available }\n  signed: { system: cybersource, merchant_id: acme"
            .to_owned(),
        more: "  signed: { flow: cybersource-clarity, shop: shop, gateway: signed }\n".to_owned(),
        ..Setup::default()
    };
    let w = World::with(other).await;
    w.place("A-1", Some("pm_card_visa"));
    w.pass(Millis::mins(5)).await;
    assert!(w.payments("A-1").is_empty() && w.parked_one().await.item.code == "no_single_pair");
    // Whoever paid it all the same says whose it is: from then on it belongs to that pair.
    shop_pays(&w, "A-1", "pm_card_visa");
    w.until("the order is bound", |w| w.payments("A-1").len() == 1).await;
    w.pass(Millis::mins(5)).await;
    assert_eq!(w.record("A-1").await.unwrap().state.binding.unwrap().pair, "main");
    w.charged_once("A-1", 4712);

    // The shop charges by itself although the pair says that Tillway does.
    let w = World::start().await;
    w.hook("order.created", HookFault::Delay(Millis::mins(1)), 1);
    w.place("A-2", Some("pm_card_visa"));
    shop_pays(&w, "A-2", "pm_card_visa");
    w.pass(Millis::mins(10)).await;
    w.charged_once("A-2", 4712);
    assert_eq!(w.status("A-2"), "Paid");
}

#[tokio::test]
async fn crash_between_commit_and_send() {
    let w = World::start().await;
    w.taps.deafen("commands-");
    w.place("A-1", Some("pm_card_visa"));
    w.quiet().await;
    assert!(w.payments("A-1").is_empty(), "nothing was sent");
    assert!(w.items().await.iter().any(|i| i.key.sk.starts_with("cmd#")), "but it was decided");
    w.taps.calm();
    // Another process finds it by its due time.
    let other = w.second_engine().await;
    w.clock.forward(Millis::mins(2));
    assert!(other.tick().await.unwrap().commands > 0);
    w.until_status("A-1", "Paid").await;
    w.charged_once("A-1", 4712);

    // The commit is made and nobody hears of it: the message is worked again and finds it done.
    let mut lost = 0;
    w.taps.judge(move |writes| {
        let decided = writes.iter().any(|w| w.key().sk == "state");
        if decided && lost < 6 {
            lost += 1;
            return Fate::LoseAnswer;
        }
        Fate::Pass
    });
    w.place("A-2", Some("pm_card_visa"));
    w.until_status("A-2", "Paid").await;
    w.charged_once("A-2", 4712);
    assert_eq!(w.balance("A-2", "gateway_clearing").await, 4712);
}

#[tokio::test]
async fn worker_stalls_and_wakes_after_another_has_taken_over() {
    let w = World::start().await;
    let (wake, stalled) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (until, seen) = (wake.clone(), stalled.clone());
    w.taps.judge(move |writes| {
        let claims_the_charge = writes.iter().any(|write| match write {
            Write::Put(item, _) => {
                let body = String::from_utf8_lossy(&item.body);
                body.contains("stripe.confirm_payment") && body.contains("\"is\":\"claimed\"")
            }
            _ => false,
        });
        if claims_the_charge && !seen.swap(true, Ordering::SeqCst) {
            return Fate::Stall(until.clone());
        }
        Fate::Pass
    });
    w.place("A-1", Some("pm_card_visa"));
    let other = w.second_engine().await;
    let first = async {
        // Ends with the stalled command, when it wakes.
        while !stalled.load(Ordering::SeqCst) {
            w.deliver().await;
            w.decide().await;
            w.act().await;
        }
    };
    let second = async {
        while !stalled.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        for _ in 0..200 {
            w.clock.forward(Millis::secs(15));
            other.tick().await.unwrap();
            while w.act_as(&other).await + w.decide().await > 0 {}
            if w.payments("A-1").iter().any(|p| p.charges_succeeded > 0) {
                break;
            }
        }
        let taken_over = w.payments("A-1").iter().map(|p| p.charges_succeeded).sum::<usize>();
        wake.notify_one();
        taken_over
    };
    let ((), taken_over) = tokio::join!(first, second);
    assert_eq!(taken_over, 1, "the other did it while the first slept");
    w.until_status("A-1", "Paid").await;
    w.pass(Millis::mins(30)).await;
    w.charged_once("A-1", 4712);
}
