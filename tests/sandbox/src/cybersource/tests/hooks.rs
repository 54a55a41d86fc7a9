//! Webhooks as the connector verifies and reads them; cases; faults of delivery.

use tillway_connectors::port::{EdgeFault, Interpreted};
use tillway_core::doc::Doc;
use tillway_core::facts::ReviewOutcome;

use super::*;

fn sealed() -> World {
    let (encryption, pem) = key_pair();
    let mut world = World::with(config(Some(encryption)), &[]);
    world.secrets.0.insert("mle_private_key".into(), vec![Secret::new(pem)]);
    world
}

fn names(verified: &[(String, Verified)]) -> Vec<(&str, &str)> {
    verified.iter().map(|(topic, v)| (topic.as_str(), v.event_type.as_str())).collect()
}

#[tokio::test]
async fn encrypted_events_are_opened_in_every_form() {
    for envelope in [Envelope::EncData, Envelope::EncryptedRequest, Envelope::Payload, Envelope::Whole] {
        for over in [SignedOver::Body, SignedOver::Payload] {
            let world = sealed();
            world.sandbox(|s, _| {
                s.config_mut().webhooks.envelope = envelope;
                s.config_mut().webhooks.signed_over = over;
            });
            let payment = world.done(&authorize("c1", "tok_visa", 1000)).await;
            let told = world.verified();
            let only = [("payments", "payments.authorization.status.accepted")];
            assert_eq!(names(&told), only, "{envelope:?} {over:?}");
            let opened = told[0].1.opened.clone().unwrap();
            let body = Doc::from_bytes(opened).unwrap();
            let read = Cybersource.interpret(&world.connection, &told[0].1.event_type, body.json()).unwrap();
            let Interpreted::About { observation, .. } = read else { panic!("{read:?}") };
            let reserved = observation.facts.iter().any(|f| {
                matches!(f, Fact::Authorized { payment: p, amount, .. } if *p == payment && amount.minor == 1000)
            });
            assert!(reserved, "{observation:?}");
        }
    }
}

#[tokio::test]
async fn from_reservation_to_refund_each_step_is_told() {
    let world = sealed();
    let payment = world.done(&authorize("c1", "tok_visa", 1000)).await;
    let capture = world.done(&follow("capture", &payment, 1000, &[])).await;
    let more = [("capture", Value::text(capture)), ("request", Value::text("R-1"))];
    world.done(&follow("refund", &payment, 1000, &more)).await;
    let told = world.verified();
    let expected = [
        ("payments", "payments.authorization.status.accepted"),
        ("payments", "payments.capture.status.accepted"),
        ("refunds", "payments.refund.status.accepted"),
    ];
    assert_eq!(names(&told), expected);
    assert!(told.iter().all(|(_, v)| v.group == "A-1" && v.created_at.is_some()));
    world.pass(Millis::hours(12));
    let later = world.verified();
    let expected =
        [("payments", "payments.capture.status.updated"), ("refunds", "payments.refund.status.updated")];
    assert_eq!(names(&later), expected, "with the batch");
    assert_eq!((world.sandbox(|s, _| s.deliveries_open()), world.truth("A-1").refunded), (0, 1000));
}

#[tokio::test]
async fn a_person_decides_a_case_and_the_webhook_says_so() {
    for (decision, event, outcome, held, captured) in [
        (Decision::Accept, "accept", ReviewOutcome::Approved, 600_000, 0),
        (Decision::AcceptAndCapture, "accept", ReviewOutcome::Approved, 0, 600_000),
        (Decision::Reject, "reject", ReviewOutcome::Rejected, 600_000, 0),
        (Decision::RejectAndReverse, "reject", ReviewOutcome::Rejected, 0, 0),
    ] {
        let world = World::new();
        let payment = world.done(&authorize("c1", "tok_visa", 600_000)).await;
        assert_eq!(world.sandbox(|s, _| s.open_cases()), [payment.as_str()]);
        world.sandbox(|s, now| s.decide(now, &payment, decision)).unwrap();
        let told = world.verified();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].1.event_type, format!("risk.casemanagement.decision.{event}"));
        assert_eq!((told[0].0.as_str(), told[0].1.opened.is_none()), ("fraud-decisions", true), "in clear");
        assert!(world.sandbox(|s, now| s.decide(now, &payment, decision)).is_err(), "once");
        let truth = world.truth("A-1");
        assert_eq!((truth.held, truth.captured), (held, captured), "{decision:?}");
        // The sweep's list tells the same.
        world.pass(Millis::mins(1));
        let swept = world
            .go(&step("read_order", "r", &[("order_id", Value::text("A-1"))]), async |call| {
                let since = call.now - Millis::hours(1);
                Cybersource.sweep(call, since, None).await.unwrap()
            })
            .await;
        assert_eq!(swept.events.len(), 1);
        assert_eq!(swept.events[0].event_id, told[0].1.event_id);
        let object = format!("{event}:{payment}");
        let read = [("order_id", Value::text("A-1")), ("object", Value::text(object))];
        let read = world.call(&step("read_order", "r", &read)).await;
        let closed = |f: &Fact| matches!(f, Fact::ReviewClosed { outcome: o, .. } if *o == outcome);
        assert!(facts(&read).iter().any(closed), "{read:?}");
    }
}

#[tokio::test]
async fn the_connector_decides_a_case() {
    let world = World::new();
    let payment = world.done(&authorize("c1", "tok_avs", 1000)).await;
    let params = [
        ("order_id", Value::text("A-1")),
        ("payment", Value::text(payment.as_str())),
        ("decision", Value::text("reject")),
        ("act", Value::Bool(true)),
    ];
    assert_eq!(how(&world.call(&step("decide_case", "d1", &params)).await), "settled");
    assert_eq!((world.truth("A-1").held, world.sandbox(|s, _| s.open_cases().len())), (0, 0));
}

/// Nobody tells but the list, and an account may give it in the other form.
#[tokio::test]
async fn a_decision_whose_answer_was_lost_is_found_in_the_list_whatever_its_form() {
    for conversions_as_xml in [false, true] {
        let world = World::with(CybersourceConfig { conversions_as_xml, ..config(None) }, &[]);
        let payment = world.done(&authorize("c1", "tok_avs", 1000)).await;
        let params = [
            ("order_id", Value::text("A-1")),
            ("payment", Value::text(payment.as_str())),
            ("decision", Value::text("accept")),
        ];
        let decide = step("decide_case", "d1", &params);
        assert_eq!(world.find_out(&decide).await, Finding::NotThere);
        world.fault("/actions", ApiFault::SilenceAfter);
        assert_eq!(how(&world.call(&decide).await), "unknown");
        // The list tells what was decided before it is asked for.
        world.pass(Millis::mins(1));
        let Finding::Evidence(outcome) = world.find_out(&decide).await else {
            panic!("{conversions_as_xml}")
        };
        assert_eq!(how(&outcome), "settled");
    }
}

#[tokio::test]
async fn deliveries_are_repeated_doubled_lost_and_late() {
    let rule = |fault| HookFaultRule { type_contains: "risk".into(), fault, times: 1 };
    let tell = |world: &World| {
        let payment = world.sandbox(|s, _| s.open_cases())[0].clone();
        world.sandbox(|s, now| s.decide(now, &payment, Decision::Accept)).unwrap();
    };
    let world = World::new();
    world.done(&authorize("c1", "tok_avs", 1000)).await;
    tell(&world);
    let first = world.sandbox(|s, now| s.take_deliveries(now));
    assert_eq!((first.len(), world.sandbox(|s, _| s.in_flight())), (1, 1));
    world.sandbox(|s, now| s.delivered(now, first[0].id, Some(500)));
    assert!(world.sandbox(|s, now| s.take_deliveries(now)).is_empty());
    world.pass(Millis::mins(10));
    let again = world.sandbox(|s, now| s.take_deliveries(now));
    assert_eq!(again[0].request.header("v-c-request-type"), Some("RETRY"));
    let trace = "v-c-transaction-trace-id";
    assert_ne!(again[0].request.header(trace), first[0].request.header(trace));
    world.sandbox(|s, now| s.delivered(now, again[0].id, None));
    for _ in 0..9 {
        world.pass(Millis::hours(2));
        let due = world.sandbox(|s, now| s.take_deliveries(now));
        world.sandbox(|s, now| s.delivered(now, due[0].id, None));
    }
    assert_eq!(world.sandbox(|s, _| (s.deliveries_open(), s.counters().deliveries_given_up)), (0, 1));

    for (fault, at_once, later) in
        [(HookFault::Duplicate(2), 3, 0), (HookFault::Lose, 0, 0), (HookFault::Delay(Millis::mins(5)), 0, 1)]
    {
        let world = World::new();
        world.done(&authorize("c1", "tok_avs", 1000)).await;
        world.sandbox(|s, _| s.inject_hook(rule(fault.clone())));
        tell(&world);
        let told = world.verified();
        let ids: std::collections::BTreeSet<_> = told.iter().map(|(_, v)| v.event_id.clone()).collect();
        assert!(told.len() == at_once && ids.len() <= 1, "{fault:?}");
        world.pass(Millis::mins(5));
        assert_eq!(world.verified().len(), later, "{fault:?}");
    }
}

#[tokio::test]
async fn a_forged_a_stale_and_a_keyless_webhook_are_turned_away() {
    let world = sealed();
    world.done(&authorize("c1", "tok_avs", 1000)).await;
    let delivery = world.sandbox(|s, now| s.take_deliveries(now)).remove(0);
    let check = |secrets: &Secrets, request: &Request, now: Timestamp| {
        let inbound = Inbound { topic: "payments", headers: &request.headers, body: &request.body };
        Cybersource.verify(&world.connection, secrets, inbound, now).err()
    };
    assert_eq!(check(&world.secrets, &delivery.request, world.now()), None);
    let late = world.now() + Millis::hours(2);
    assert_eq!(check(&world.secrets, &delivery.request, late), Some(EdgeFault::Stale));
    let header = sign(b"{}", "k", "QUFBQUFBQUFBQUFBQUFBQQ==", world.now().0);
    let forged = forge("{}", &header, "payments.authorization.status.accepted");
    assert_eq!(check(&world.secrets, &forged, world.now()), Some(EdgeFault::SignatureWrong));
    let mut keyless = world.secrets.clone();
    keyless.0.remove("mle_private_key");
    assert_eq!(check(&keyless, &delivery.request, world.now()), Some(EdgeFault::NotConfigured));
}

#[tokio::test]
async fn without_a_key_payment_events_go_nowhere() {
    let world = World::new();
    world.done(&authorize("c1", "tok_visa", 1000)).await;
    assert!(world.verified().is_empty());
    assert_eq!(world.sandbox(|s, _| s.counters().undeliverable), 1);
}

#[tokio::test]
async fn a_webhook_can_be_made_again_and_what_was_told_is_remembered_as_the_connector_names_it() {
    let world = sealed();
    let payment = world.done(&authorize("c1", "tok_visa", 1000)).await;
    let told = world.verified().remove(0).1;
    let again = world.sandbox(|s, _| s.webhook(&told.event_type, &payment)).unwrap();
    let inbound = Inbound { topic: "payments", headers: &again.headers, body: &again.body };
    let verified = Cybersource.verify(&world.connection, &world.secrets, inbound, world.now()).unwrap();
    assert_eq!(verified.event_id, told.event_id, "the same event");
    assert_eq!(world.sandbox(|s, _| s.deliveries_open()), 0, "delivered to nobody");
    let named = |e: &Told| format!("{}:{}:{}", e.kind, e.id, e.status);
    let all: Vec<String> = world.sandbox(|s, _| s.all_events().map(named).collect());
    assert_eq!(all, [told.event_id]);
    assert!(world.sandbox(|s, _| s.webhook(&told.event_type, "7600000000000000000000")).is_none());
}

#[tokio::test]
async fn what_issuers_took_back_and_returned_is_told_of_the_payment() {
    let world = World::new();
    let payment = world.done(&authorize("c1", "tok_visa", 1000)).await;
    let capture = world.done(&follow("capture", &payment, 1000, &[])).await;
    world.sandbox(|s, now| s.charge_back(now, &capture, 700, "10.4", false)).unwrap();
    world.sandbox(|s, now| s.charge_back(now, &capture, 200, "10.4", true)).unwrap();
    let truth = world.truth("A-1").payments.remove(0);
    assert_eq!((truth.withdrawn, truth.reinstated, truth.captured), (700, 200, 1000));
}

/// Nothing is delivered before the address lives, and what a failing one would have lost waits for it.
#[tokio::test]
async fn a_subscription_is_asked_whether_it_lives_and_suspended_where_it_fails() {
    let world = sealed();
    let every = Millis::mins(5);
    world.sandbox(|s, _| s.config_mut().webhooks.health = Some(every));
    world.sandbox(|s, _| s.config_mut().webhooks.retries.times = 1);
    let due = || world.sandbox(|s, now| s.take_deliveries(now));
    let told = |id: u64, status: u16| world.sandbox(|s, now| s.delivered(now, id, Some(status)));
    let standing = || world.sandbox(|s, _| s.subscription("payments"));
    let only = |topic: &str, status: u16| {
        let mut due = due();
        let at = due.iter().position(|d| d.topic == topic).unwrap_or_else(|| panic!("nothing for {topic}"));
        let one = due.swap_remove(at);
        for other in due {
            told(other.id, 200);
        }
        told(one.id, status);
        one
    };
    world.done(&authorize("c1", "tok_visa", 1000)).await;
    assert!(due().is_empty() && standing() == Standing::Inactive, "nobody was asked yet");
    world.pass(every);
    let check = only("payments", 503);
    assert_eq!(
        (check.request.method, check.request.body.len(), check.event_type.as_str()),
        (Method::Get, 0, "health")
    );
    assert!(due().is_empty() && standing() == Standing::Inactive);
    world.pass(every);
    let check = only("payments", 200);
    assert_eq!((check.request.method, standing()), (Method::Post, Standing::Active));
    // The event that happened before it goes out now, fails, and with its last retry suspends.
    assert_eq!(only("payments", 500).event_type, "payments.authorization.status.accepted");
    world.pass(Millis::mins(10));
    only("payments", 500);
    assert_eq!(standing(), Standing::Suspended);
    world.pass(Millis::mins(1));
    world.call(&authorize("c2", "tok_insufficient", 1000)).await;
    assert!(due().is_empty(), "what comes waits");
    assert_eq!(
        world.sandbox(|s, _| (s.deliveries_open(), s.in_flight(), s.counters().deliveries_given_up)),
        (2, 0, 0)
    );
    world.pass(every);
    let checks = due();
    let [check] = &checks[..] else { panic!("{}", checks.len()) };
    told(check.id, 200);
    let kinds: Vec<String> = due()
        .into_iter()
        .map(|d| {
            told(d.id, 200);
            d.event_type
        })
        .collect();
    assert_eq!(kinds, ["payments.authorization.status.accepted", "payments.authorization.status.rejected"]);
    assert_eq!((standing(), world.sandbox(|s, _| s.deliveries_open())), (Standing::Active, 0));
}
