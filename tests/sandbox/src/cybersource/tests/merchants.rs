//! Several merchant ids of one account through the real connector: everything goes to the id a payment lies with.

use tillway_connectors::port::Owner;

use super::*;

const EU: &str = "acme_eu";
/// Made up: bytes of its own.
const EU_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn world(own: Manner, eu: Manner) -> World {
    let mut config = config(None);
    config.manner = own;
    let credentials = Credentials::new(EU, "eu-key", EU_KEY);
    config.merchants = vec![Merchant { credentials, manner: eu }];
    let mut world = World::with(config, &[("merchant_ids", EU), ("routes.acme_eu.key_id", "eu-key")]);
    world.secrets.0.insert("shared_secret.acme_eu".into(), vec![Secret::new(EU_KEY)]);
    world
}

/// A step at a merchant id.
fn at<'a>(route: &str, step: Step<'a>) -> Step<'a> {
    let mut params = step.params.clone();
    if let Value::Map(fields) = &mut params {
        fields.insert("route".into(), Value::text(route));
    }
    Step { params, ..step }
}

fn lies_with(outcome: &Outcome) -> Vec<(String, String)> {
    let of = |f: &Fact| match f {
        Fact::Routed { payment, route } => Some((payment.clone(), route.clone())),
        _ => None,
    };
    facts(outcome).iter().filter_map(of).collect()
}

#[tokio::test]
async fn each_request_is_signed_for_its_id_and_stays_there() {
    let world = world(Manner::Usual, Manner::Usual);
    let outcome = world.call(&at(EU, authorize("c1", "tok_visa", 1000))).await;
    let payment = world.truth("A-1").payments[0].clone();
    assert_eq!((how(&outcome).as_str(), payment.merchant.as_str()), ("settled", EU));
    assert_eq!(lies_with(&outcome), [(payment.payment.clone(), EU.to_owned())]);
    // Another id does not know it; without a route that is the connection's own.
    let capture = || follow("capture", &payment.payment, 1000, &[]);
    assert_eq!(how(&world.call(&capture()).await), "refused INVALID_PAYMENT_ID");
    let capture = Step { command: "k2", ..capture() };
    assert_eq!(how(&world.call(&at(EU, capture)).await), "settled");
    let refund = follow("refund", &payment.payment, 400, &[("request", Value::text("R-1"))]);
    assert_eq!(how(&world.call(&at(EU, refund)).await), "settled");
    assert_eq!((world.truth("A-1").captured, world.truth("A-1").refunded), (1000, 400));
    assert!(world.sandbox(|s, _| s.counters().auth_refusals.is_empty()));
    let unknown = Cybersource.prepare(
        &world.connection,
        "cybersource.capture",
        &CommandId::new("c"),
        &at("gone", follow("capture", &payment.payment, 1, &[])).params,
    );
    let refused = unknown.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.field.as_str()), ("route_unknown", "route"));
}

#[tokio::test]
async fn manners_are_those_of_the_id() {
    let declines = Manner::Declines { permille: 1000, reason: "ISSUER_UNAVAILABLE" };
    for (manner, expected) in [
        (declines, "refused ISSUER_UNAVAILABLE"),
        (Manner::Unavailable, "not done Unavailable"),
        (Manner::Broken, "unknown"),
        (Manner::NotSetUp, "refused INVALID_MERCHANT_CONFIGURATION"),
    ] {
        let world = world(manner, Manner::Usual);
        assert_eq!(how(&world.call(&authorize("c1", "tok_visa", 1000)).await), expected);
        assert_eq!(how(&world.call(&at(EU, authorize("c2", "tok_visa", 1000))).await), "settled");
    }
    // A currency is the merchant id's own affair: one that is not enabled there says nothing about the rest.
    let euros = |command: &'static str| {
        let mut step = authorize(command, "tok_visa", 1000);
        let amount = Money::new(1000, Currency::parse("EUR").unwrap());
        if let Value::Map(params) = &mut step.params {
            params.insert("amount".into(), Value::Money(amount));
        }
        step
    };
    let without = world(Manner::Without("EUR"), Manner::Usual);
    let outcome = without.call(&euros("c1")).await;
    let Outcome::Refused { code, summary, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(summary.contains("INVALID_MERCHANT_CONFIGURATION") && summary.contains("enable it"), "{summary}");
    assert!(Cybersource.unfit_route(code) && !Cybersource.blames_route(code), "{code}");
    assert_eq!(how(&without.call(&at(EU, euros("c2"))).await), "settled");
    assert_eq!(how(&without.call(&authorize("c3", "tok_visa", 1000)).await), "settled");
    assert!(Cybersource.blames_route("INVALID_MERCHANT_CONFIGURATION"));
    let world = world(Manner::Declines { permille: 300, reason: "ISSUER_UNAVAILABLE" }, Manner::Usual);
    world.sandbox(|s, _| s.config_mut().duplicates = Duplicates::Off);
    let mut declined = 0;
    for n in 0..200 {
        let command = format!("c{n}");
        declined += usize::from(how(&world.call(&authorize(&command, "tok_visa", 1000)).await) != "settled");
    }
    assert!((40..80).contains(&declined), "{declined} of 200");
}

#[tokio::test]
async fn a_lost_answer_is_found_where_it_went_and_everywhere_where_that_is_not_known() {
    let world = world(Manner::Usual, Manner::Usual);
    world.fault("/pts/v2/payments", ApiFault::Fail500AfterEffect);
    let step = at(EU, authorize("c1", "tok_visa", 1000));
    assert_eq!(how(&world.call(&step).await), "unknown");
    world.pass(Millis::mins(1));
    let Finding::Evidence(outcome) = world.find_out(&step).await else { panic!() };
    assert_eq!((how(&outcome).as_str(), lies_with(&outcome)[0].1.as_str()), ("settled", EU));
    // The same command, chosen otherwise after a restore.
    let mut otherwise = authorize("c1", "tok_visa", 1000);
    let own = at(MERCHANT, authorize("c1", "tok_visa", 1000));
    assert!(matches!(world.find_out(&own).await, Finding::NotThere), "it looks where it would have gone");
    if let Value::Map(params) = &mut otherwise.params {
        params.insert("everywhere".into(), Value::Bool(true));
    }
    let otherwise = at(MERCHANT, otherwise);
    let Finding::Evidence(outcome) = world.find_out(&otherwise).await else { panic!() };
    assert_eq!(lies_with(&outcome)[0].1, EU);
    // Sent again all the same, the first is undone wherever it lies.
    let again = Step { generation: 1, ..otherwise };
    assert_eq!(how(&world.call(&again).await), "settled");
    let truth = world.truth("A-1");
    assert_eq!((truth.charges, truth.payments.len()), (1, 2));
    assert!(truth.payments.iter().all(|p| (p.held > 0) == (p.merchant == MERCHANT)), "{truth:?}");
}

/// The Business Center shows all ids of the account, whichever called last.
#[tokio::test]
async fn people_reach_what_lies_with_any_id() {
    let world = world(Manner::Usual, Manner::Usual);
    let payment = world.done(&at(EU, authorize("c1", "tok_visa", 1000))).await;
    let capture = world.sandbox(|s, now| s.capture_by_hand(now, &payment, None)).unwrap();
    world.done(&authorize("c2", "tok_visa", 500)).await;
    world.sandbox(|s, now| s.void_by_hand(now, &capture)).unwrap();
    world.sandbox(|s, now| s.reverse_by_hand(now, &payment)).unwrap();
    let truth = world.truth("A-1");
    assert!(truth.payments[0].transactions.len() == 4 && truth.payments[0].held == 0, "{truth:?}");
}

/// What was sent is looked for where it was sent, whatever the settings say since: nothing is sent a second time elsewhere.
#[tokio::test]
async fn settings_that_change_move_no_authorization_to_another_id() {
    for before in [Some(EU), None] {
        let mut world = world(Manner::Usual, Manner::Usual);
        if before.is_none() {
            world.connection.settings.remove("merchant_ids");
        }
        let step = || match before {
            Some(route) => at(route, authorize("c1", "tok_visa", 1000)),
            None => authorize("c1", "tok_visa", 1000),
        };
        let prepared = world.prepared(&step());
        world.fault("/pts/v2/payments", ApiFault::Fail500AfterEffect);
        let lost = world.go_with(&step(), &prepared, async |call| Cybersource.call(call).await).await;
        assert_eq!(how(&lost), "unknown");
        if before.is_some() {
            world.connection.settings.remove("merchant_ids");
        } else {
            // The other id becomes the connection's own.
            let settings = &mut world.connection.settings;
            settings.insert("merchant_id".into(), EU.into());
            settings.insert("key_id".into(), "eu-key".into());
            settings.insert(format!("routes.{MERCHANT}.key_id"), KEY_ID.into());
            world.secrets.0.insert("shared_secret".into(), vec![Secret::new(EU_KEY)]);
            world.secrets.0.insert(format!("shared_secret.{MERCHANT}"), vec![Secret::new(KEY)]);
        }
        world.pass(Millis::mins(20));
        let found = world.go_with(&step(), &prepared, async |call| Cybersource.find_out(call).await).await;
        assert!(matches!(&found, Finding::Evidence(outcome) if how(outcome) == "settled"), "{found:?}");
        // And should it come to a second sending, the first is undone where it lies.
        let again = step().again(1);
        let sent = world.go_with(&again, &prepared, async |call| Cybersource.call(call).await).await;
        assert_eq!(how(&sent), "settled");
        let truth = world.truth("A-1");
        assert_eq!((truth.charges, truth.held, truth.payments.len()), (1, 1000, 2), "{truth:?}");
        assert!(truth.payments.windows(2).all(|w| w[0].merchant == w[1].merchant), "{truth:?}");
    }
}

#[tokio::test]
async fn an_order_is_read_and_swept_at_every_id() {
    let world = world(Manner::Usual, Manner::Usual);
    world.sandbox(|s, _| s.config_mut().duplicates = Duplicates::Off);
    let own = world.done(&authorize("c1", "tok_visa", 1000)).await;
    let eu = world.done(&at(EU, authorize("c2", "tok_visa", 2000))).await;
    world.pass(Millis::mins(1));
    let expected = [(own.clone(), MERCHANT.to_owned()), (eu.clone(), EU.to_owned())];
    let order = [("order_id", Value::text("A-1"))];
    let read = world.call(&step("read_order", "r", &order)).await;
    assert_eq!((how(&read).as_str(), &lies_with(&read)[..]), ("settled", &expected[..]));
    // Named by a webhook: it lies with one of them.
    let named = [("order_id", Value::text("A-1")), ("object", Value::text(eu.as_str()))];
    let read = world.call(&step("read_order", "r", &named)).await;
    assert_eq!((how(&read).as_str(), &lies_with(&read)[..]), ("settled", &expected[..]));
    let nowhere = [("order_id", Value::text("A-1")), ("object", Value::text("7600000000000000000001"))];
    assert_eq!(how(&world.call(&step("read_order", "r", &nowhere)).await), "not done Conflict");

    let (mut cursor, mut told) = (None::<String>, Vec::new());
    for _ in 0..20 {
        let page = world
            .go(&step("read_order", "s", &order), async |call| {
                let since = call.now - Millis::hours(1);
                Cybersource.sweep(call, since, cursor.as_deref()).await.unwrap()
            })
            .await;
        for event in page.events {
            let read = Cybersource.interpret_read(&world.connection, &event.event_type, event.body.json());
            let tillway_connectors::Interpreted::About { observation, .. } = read.unwrap() else { panic!() };
            told.extend(observation.facts.into_iter().filter_map(|f| match f {
                Fact::Routed { payment, route } => Some((payment, route)),
                _ => None,
            }));
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((cursor, told), (None, expected.to_vec()));

    let found = world
        .go(&step("read_order", "s", &order), async |call| Cybersource.resolve(call, &eu).await.unwrap())
        .await;
    let (owner, observation) = found.unwrap();
    assert_eq!(owner, Owner::Order { id: "A-1".into() });
    assert!(observation.facts.iter().any(|f| matches!(f, Fact::Routed { route, .. } if route == EU)));
}

/// The key of one merchant id is refused: what lies with the other one is told all the same.
#[tokio::test]
async fn an_id_that_cannot_be_read_stops_only_the_reads_that_may_be_about_it() {
    for broken in [MERCHANT, EU] {
        let mut world = world(Manner::Usual, Manner::Usual);
        world.sandbox(|s, _| s.config_mut().duplicates = Duplicates::Off);
        let own = world.done(&authorize("c1", "tok_visa", 1000)).await;
        let eu = world.done(&at(EU, authorize("c2", "tok_visa", 2000))).await;
        world.pass(Millis::mins(1));
        let secret = if broken == EU { "shared_secret.acme_eu" } else { "shared_secret" };
        world.secrets.0.insert(secret.into(), vec![Secret::new("QUFBQUFBQUFBQUFBQUFBQQ==")]);
        let named = |object: &str| vec![("order_id", Value::text("A-1")), ("object", Value::text(object))];
        let (whole, other, lost) = if broken == EU { (MERCHANT, &own, &eu) } else { (EU, &eu, &own) };
        let read = world.call(&step("read_order", "r", &named(other))).await;
        assert_eq!(how(&read), "settled", "{broken}");
        assert_eq!(lies_with(&read), [(other.clone(), whole.to_owned())]);
        let Outcome::Settled { summary, .. } = &read else { panic!("{read:?}") };
        assert!(
            summary.contains(&format!("not read at {broken}: the credentials were refused")),
            "{summary}"
        );
        // What is named may lie where it cannot be asked; and the whole order is not known either.
        for object in [lost.as_str(), "7600000000000000000001"] {
            let read = world.call(&step("read_order", "r", &named(object))).await;
            assert_eq!(how(&read), "not done Unauthorized", "{broken}");
        }
        let read = world.call(&step("read_order", "r", &[("order_id", Value::text("A-1"))])).await;
        assert_eq!(how(&read), "not done Unauthorized", "{broken}");
    }
}

/// The id that the payment is known to lie with is asked first; one that is gone is no reason not to read.
#[tokio::test]
async fn the_id_of_the_payment_is_read_first() {
    let world = world(Manner::Usual, Manner::Usual);
    world.sandbox(|s, _| s.config_mut().duplicates = Duplicates::Off);
    let own = world.done(&authorize("c1", "tok_visa", 1000)).await;
    let eu = world.done(&at(EU, authorize("c2", "tok_visa", 2000))).await;
    world.pass(Millis::mins(1));
    let order = [("order_id", Value::text("A-1"))];
    let (own, eu) = ((own, MERCHANT.to_owned()), (eu, EU.to_owned()));
    for (route, expected) in [(EU, [&eu, &own]), (MERCHANT, [&own, &eu]), ("gone", [&own, &eu])] {
        let asked = || {
            let of = |s: &CybersourceSandbox, what| s.counters().requests.get(what).copied().unwrap_or(0);
            world.sandbox(|s, _| (of(s, "POST /tss/v2/searches"), of(s, "GET /tss/v2/transactions/{id}")))
        };
        let before = asked();
        let read = world.call(&at(route, step("read_order", "r", &order))).await;
        let lies = lies_with(&read);
        assert_eq!(lies.iter().collect::<Vec<_>>(), expected, "{route}");
        // Each id is searched once, and the one payment that lies with it is read.
        let (searches, details) = asked();
        assert_eq!((searches - before.0, details - before.1), (2, 2), "{route}");
    }
}

#[tokio::test]
async fn an_id_that_cannot_be_read_keeps_no_other_from_being_swept_and_the_window_comes_again() {
    let mut world = world(Manner::Usual, Manner::Usual);
    let eu = world.done(&at(EU, authorize("c2", "tok_visa", 2000))).await;
    world.pass(Millis::mins(1));
    // The key of the connection's own id is refused.
    world.secrets.0.insert("shared_secret".into(), vec![Secret::new("QUFBQUFBQUFBQUFBQUFBQQ==")]);
    let (mut cursor, mut seen, mut failed) = (None::<String>, Vec::new(), false);
    for _ in 0..20 {
        let order = [("order_id", Value::text("A-1"))];
        let page = world
            .go(&step("read_order", "s", &order), async |call| {
                let since = call.now - Millis::hours(1);
                Cybersource.sweep(call, since, cursor.as_deref()).await
            })
            .await;
        let Ok(page) = page else {
            failed = true;
            break;
        };
        seen.extend(page.events.into_iter().map(|e| e.event_id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(failed, "the window is not over");
    assert!(seen.iter().any(|id| id.contains(&eu)), "{seen:?}");
}

/// A page that fails once costs itself alone: it is asked again, and nothing of what was read before it.
#[tokio::test]
async fn a_page_that_fails_is_gone_on_with_where_it_failed() {
    for failures in [1, 2, 5] {
        let world = world(Manner::Usual, Manner::Usual);
        world.sandbox(|s, _| s.config_mut().duplicates = Duplicates::Off);
        let mut made = Vec::new();
        for n in 0..23 {
            let command = format!("c{n}");
            made.push(world.done(&authorize(&command, "tok_visa", 1000)).await);
        }
        made.push(world.done(&at(EU, authorize("c-eu", "tok_visa", 2000))).await);
        world.pass(Millis::mins(1));
        let order = [("order_id", Value::text("A-1"))];
        let (mut cursor, mut seen, mut sweeps) = (None::<String>, Vec::new(), 1);
        for n in 0..40 {
            // The third page of transactions of the connection's own id.
            if n == 4 {
                world.sandbox(|s, _| {
                    let (path_contains, method) = ("/tss/v2/searches".to_owned(), Some(Method::Post));
                    let fault = ApiFault::Refuse(503);
                    s.inject(ApiFaultRule { method, path_contains, fault, times: failures });
                });
            }
            let page = world
                .go(&step("read_order", "s", &order), async |call| {
                    let since = call.now - Millis::hours(1);
                    Cybersource.sweep(call, since, cursor.as_deref()).await
                })
                .await;
            let Ok(page) = page else {
                // As the engine does: the next sweep goes on with this page.
                sweeps += 1;
                continue;
            };
            seen.extend(page.events.into_iter().map(|e| e.event_id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!((cursor, sweeps), (None, if failures == 5 { 2 } else { 1 }), "{failures}");
        for payment in &made {
            assert_eq!(seen.iter().filter(|id| id.contains(payment)).count(), 1, "{failures}: {payment}");
        }
    }
}

#[test]
fn ids_are_checked_when_the_configuration_is_read() {
    let wrong = |settings: &[(&str, &str)]| {
        let world = World::with(config(None), settings);
        let found = Cybersource.check_settings(&world.connection);
        found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert!(wrong(&[("merchant_ids", "acme_eu,acme_us"), ("routes.acme_eu.key_id", "k")]).is_empty());
    assert_eq!(wrong(&[("merchant_ids", "acme_eu,acme_eu")]), ["merchant_ids"]);
    assert_eq!(wrong(&[("merchant_ids", MERCHANT)]), ["merchant_ids"]);
    assert_eq!(wrong(&[("merchant_ids", "a b")]), ["merchant_ids"]);
    let found =
        wrong(&[("merchant_ids", "acme_eu"), ("routes.acme_us.key_id", "k"), ("routes.acme_eu.secret", "s")]);
    assert_eq!(found, ["routes.acme_eu.secret", "routes.acme_us.key_id"]);
}
