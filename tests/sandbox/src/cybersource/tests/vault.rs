//! The token vault: the real connector against it.

use super::*;

const TOKEN: &str = "7010000000016241111";

fn person<'a>(action: &'a str, command: &'a str, more: &[(&'static str, &str)]) -> Step<'a> {
    let own = [("email", "Ann@example.com"), ("reference", "CU-1")];
    let params: Vec<_> = own.iter().chain(more).map(|(name, text)| (*name, Value::text(*text))).collect();
    step(action, command, &params)
}

fn attach(customer: &str) -> Step<'static> {
    step(
        "attach_instrument",
        "a1",
        &[("customer", Value::text(customer)), ("instrument", Value::text(TOKEN))],
    )
}

fn truth(world: &World, id: &str) -> CustomerTruth {
    world.sandbox(|s, _| s.customer_truth(id)).unwrap()
}

#[tokio::test]
async fn a_customer_is_brought_up_to_date_once_and_let_go_when_it_is_gone() {
    let world = World::new();
    let id = world.done(&person("ensure_customer", "e1", &[])).await;
    let update = || person("update_customer", "u1", &[("customer", &id)]);
    world.sandbox(|s, _| s.set_customer(&id, Some("CU-1"), Some("old@example.com")));
    for _ in 0..2 {
        assert_eq!(facts(&world.call(&update()).await), [Fact::Customer { id: id.clone() }]);
        let now = truth(&world, &id);
        assert_eq!((now.email.as_deref(), now.changes), (Some("Ann@example.com"), 2), "written once");
    }
    world.sandbox(|s, _| s.set_customer(&id, Some("CU-9"), Some("else@example.com")));
    let lost = [Fact::CustomerLost { id: id.clone() }];
    assert_eq!(facts(&world.call(&update()).await), lost);
    assert_eq!(truth(&world, &id).email.as_deref(), Some("else@example.com"), "not touched");
    world.sandbox(|s, _| s.delete_customer(&id));
    assert_eq!(facts(&world.call(&update()).await), lost);
    // Nor is it found again: a new one is made.
    let made = world.done(&person("ensure_customer", "e2", &[("known", &id)])).await;
    assert_ne!(made, id);
}

#[tokio::test]
async fn a_lost_answer_of_a_change_and_a_change_in_between_come_out_the_same() {
    let world = World::new();
    let id = world.done(&person("ensure_customer", "e1", &[])).await;
    world.sandbox(|s, _| s.set_customer(&id, Some("CU-1"), Some("old@example.com")));
    let update = || person("update_customer", "u1", &[("customer", &id)]);
    world.fault(&format!("/customers/{id}"), ApiFault::SilenceBefore);
    assert_eq!(how(&world.call(&update()).await), "not done Unavailable", "the read");
    let rule = ApiFaultRule {
        method: Some(Method::Patch),
        path_contains: id.clone(),
        fault: ApiFault::SilenceAfter,
        times: 1,
    };
    world.sandbox(|s, _| s.inject(rule));
    assert_eq!(how(&world.call(&update()).await), "unknown");
    let changes = truth(&world, &id).changes;
    assert_eq!(how(&world.call(&update()).await), "settled");
    assert_eq!(truth(&world, &id).changes, changes, "done already");
}

#[tokio::test]
async fn an_instrument_is_kept_once_whatever_is_lost() {
    for fault in [ApiFault::SilenceAfter, ApiFault::SilenceBefore, ApiFault::Fail500AfterEffect] {
        let world = World::new();
        let id = world.done(&person("ensure_customer", "e1", &[])).await;
        let rule = ApiFaultRule {
            method: Some(Method::Post),
            path_contains: "payment-instruments".into(),
            fault: fault.clone(),
            times: 1,
        };
        world.sandbox(|s, _| s.inject(rule));
        assert_eq!(how(&world.call(&attach(&id)).await), "unknown");
        match world.find_out(&attach(&id)).await {
            Finding::Evidence(outcome) => assert_eq!(how(&outcome), "settled"),
            Finding::NotThere => {
                assert_eq!(fault, ApiFault::SilenceBefore);
                assert_eq!(how(&world.call(&attach(&id).again(1)).await), "settled");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(how(&world.call(&attach(&id).again(2)).await), "settled");
        assert_eq!(truth(&world, &id).instruments, [TOKEN], "{fault:?}");
    }
    let world = World::new();
    let id = world.done(&person("ensure_customer", "e1", &[])).await;
    world.done(&attach(&id)).await;
    world.sandbox(|s, _| s.close_instrument(&id, TOKEN));
    world.done(&attach(&id)).await;
    assert_eq!(truth(&world, &id).instruments, [TOKEN], "a closed one is none");
    world.sandbox(|s, _| s.delete_customer(&id));
    assert_eq!(how(&world.call(&attach(&id)).await), "refused notAvailable");
}

/// What the connector reads first, for the sandbox itself.
#[test]
fn the_vault_answers_with_the_vendors_statuses() {
    let mut sandbox = CybersourceSandbox::new(config(None));
    let now = Timestamp::from_unix(START);
    let id = sandbox.add_customer(Some("CU-1"), Some("ann@example.com"));
    let path = format!("/tms/v2/customers/{id}");
    let patch = |sandbox: &mut CybersourceSandbox, tag: &str, body: &Json| {
        let mut request = signed(&path, body, now, |claims| claims["request-method"] = "PATCH".into());
        request.method = Method::Patch;
        answered(sandbox.handle(now, &request.with_header("if-match", tag))).0
    };
    let body = json!({"buyerInformation": {"email": "new@example.com"}});
    assert_eq!(patch(&mut sandbox, "9", &body), 412);
    assert_eq!(patch(&mut sandbox, "0", &body), 200);
    assert_eq!(patch(&mut sandbox, "1", &json!({"buyerInformation": {"email": "nobody"}})), 400);
    let instruments = format!("{path}/payment-instruments");
    let (status, made) =
        raw(&mut sandbox, now, &instruments, &json!({"instrumentIdentifier": {"id": TOKEN}}));
    assert_eq!((status, made["state"].as_str()), (201, Some("ACTIVE")));
    let (_, listed) = raw(&mut sandbox, now, &instruments, &Json::Null);
    assert_eq!((listed["total"].as_u64(), &listed["_embedded"]["paymentInstruments"][0]), (Some(1), &made));
    sandbox.delete_customer(&id);
    assert_eq!(raw(&mut sandbox, now, &path, &Json::Null).0, 410);
    assert_eq!(raw(&mut sandbox, now, "/tms/v2/customers/none", &Json::Null).0, 404);
    assert_eq!(patch(&mut sandbox, "2", &body), 410);
}
