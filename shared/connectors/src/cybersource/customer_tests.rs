//! Customers and their instruments, against scripted answers.

use serde_json::{Value as Json, json};
use tillway_core::facts::Fact;
use tillway_core::value::Value;

use super::tests::*;
use crate::http::HttpError;
use crate::port::{Finding, Outcome};

const ENSURE: &str = "cybersource.ensure_customer";
const UPDATE: &str = "cybersource.update_customer";
const ATTACH: &str = "cybersource.attach_instrument";
const TOKEN: &str = "7010000000016241111";

fn texts(given: &[(&'static str, &str)]) -> Value {
    Value::map(given.iter().map(|(name, text)| (*name, Value::text(*text))))
}
fn buyer(reference: &str, email: &str) -> Json {
    let mut buyer = json!({});
    for (name, text) in [("merchantCustomerID", reference), ("email", email)] {
        if !text.is_empty() {
            buyer[name] = text.into();
        }
    }
    json!({"id": "T1", "buyerInformation": buyer})
}
fn customer(reference: &str, email: &str) -> Answered {
    answer(200, buyer(reference, email)).map(|mut response| {
        response.headers.push(("etag".into(), "7".into()));
        response
    })
}
fn vault_error(status: u16, kind: &str) -> Answered {
    answer(status, json!({"errors": [{"type": kind, "message": "CANARY", "details": [{"name": "email"}]}]}))
}
fn known(id: &str) -> [Fact; 1] {
    [Fact::Customer { id: id.into() }]
}
fn lost(id: &str) -> [Fact; 1] {
    [Fact::CustomerLost { id: id.into() }]
}
fn update(answers: impl IntoIterator<Item = Answered>) -> Run {
    let params = [("customer", "T1"), ("email", "Canary@example.com"), ("reference", "CU-1")];
    Run::new(UPDATE, texts(&params), answers)
}
fn attach(answers: impl IntoIterator<Item = Answered>) -> Run {
    Run::new(ATTACH, texts(&[("customer", "T1"), ("instrument", TOKEN)]), answers)
}
fn listed(total: usize, instruments: &[(&str, &str, &str)]) -> Answered {
    let one = |(id, token, state): &(&str, &str, &str)| json!({"id": id, "state": state, "instrumentIdentifier": {"id": token}});
    let page: Vec<Json> = instruments.iter().map(one).collect();
    answer(200, json!({"count": page.len(), "total": total, "_embedded": {"paymentInstruments": page}}))
}
fn made(id: &str, token: &str) -> Answered {
    ok(json!({"id": id, "state": "ACTIVE", "instrumentIdentifier": {"id": token}}))
}

/// Whose a customer is: by the shop's id, by none, by another id and one e-mail address.
#[tokio::test]
async fn a_customer_is_the_persons_by_reference_or_else_by_e_mail() {
    let params = texts(&[("known", "T1"), ("email", "Canary@example.com"), ("reference", "CU-1")]);
    for (reference, email, ours) in [
        ("CU-1", "other@example.com", true),
        ("", "", true),
        ("", "canary@example.com", true),
        ("", "other@example.com", false),
        ("CU-2", "canary@EXAMPLE.com", true),
        ("CU-2", "other@example.com", false),
        ("CU-2", "", false),
    ] {
        let run = Run::new(ENSURE, params.clone(), [customer(reference, email), ok(json!({"id": "T9"}))]);
        let expected = known(if ours { "T1" } else { "T9" });
        assert_eq!(facts(&run.call().await), expected, "{reference} {email}");
        assert_eq!(run.http.calls().len(), if ours { 1 } else { 2 });
    }
}

#[tokio::test]
async fn whoever_the_shop_points_to_goes_before_who_was_known_and_who_a_payment_made() {
    let params = texts(&[("known", "T1"), ("earlier", "T2"), ("offered", "T1"), ("email", "a@b.example")]);
    let gone = || vault_error(410, "notAvailable");
    let theirs = || answer(200, json!({"id": "T2", "buyerInformation": {"email": "A@b.example"}}));
    let run = Run::new(ENSURE, params.clone(), [gone(), theirs()]);
    assert_eq!(facts(&run.call().await), known("T2"));
    assert_eq!(run.http.calls(), ["GET /tms/v2/customers/T1", "GET /tms/v2/customers/T2"], "each once");
    // Not to be read now is no reason to make another.
    let run = Run::new(ENSURE, params, [gone(), error(503, "x")]);
    assert_eq!(how(&run.call().await), "not done Unavailable");
}

#[tokio::test]
async fn what_differs_is_written_under_the_tag_that_was_read_and_nothing_else_is() {
    let run = update([customer("CU-1", "old@example.com"), customer("CU-1", "Canary@example.com")]);
    assert_eq!(facts(&run.call().await), known("T1"));
    assert_eq!(run.http.calls()[1], "PATCH /tms/v2/customers/T1");
    assert_eq!(run.http.seen.lock().unwrap()[1].header("if-match"), Some("7"));
    let buyer = json!({"merchantCustomerID": "CU-1", "email": "Canary@example.com"});
    assert_eq!(run.http.json()[1], json!({"buyerInformation": buyer}));
    // Letters' case is no difference; nor is what another customer of the shop wrote ours to change.
    for (reference, email) in [("CU-1", "canary@EXAMPLE.com"), ("CU-2", "canary@example.com")] {
        let run = update([customer(reference, email)]);
        assert_eq!(facts(&run.call().await), known("T1"), "{reference}");
        assert_eq!(run.http.calls().len(), 1);
    }
    // One that nobody claimed gets our reference.
    let run = update([customer("", "canary@example.com"), customer("CU-1", "canary@example.com")]);
    run.call().await;
    let buyer = json!({"merchantCustomerID": "CU-1", "email": "canary@example.com"});
    assert_eq!(run.http.json()[1], json!({"buyerInformation": buyer}));
}

#[tokio::test]
async fn one_that_is_gone_or_anothers_is_let_go_and_never_written() {
    for first in [
        vault_error(404, "notFound"),
        vault_error(410, "notAvailable"),
        customer("CU-2", "other@example.com"),
    ] {
        let run = update([first]);
        let outcome = run.call().await;
        assert_eq!((how(&outcome).as_str(), facts(&outcome)), ("settled", lost("T1").to_vec()));
        assert_eq!(run.http.calls().len(), 1, "nothing was written");
    }
    let between = update([customer("CU-1", "old@example.com"), vault_error(410, "notAvailable")]);
    assert_eq!(facts(&between.call().await), lost("T1"));
    let mistyped = texts(&[("customer", "not an id/.."), ("reference", "CU-1")]);
    let run = Run::new(UPDATE, mistyped, []);
    assert_eq!(facts(&run.call().await), lost("not an id/.."));
    assert!(run.http.calls().is_empty());
}

#[tokio::test]
async fn a_change_in_between_and_a_lost_answer_are_done_again_and_a_refusal_names_its_field() {
    let old = || customer("CU-1", "old@example.com");
    for (second, expected) in [
        (vault_error(412, "preconditionFailed"), "not done Conflict"),
        (vault_error(409, "conflict"), "not done Conflict"),
        (Err(HttpError::NoAnswer), "unknown"),
        (error(429, "x"), "not done Throttled"),
        (vault_error(424, "failedDependency"), "refused failedDependency"),
        (vault_error(400, "invalidRequest"), "refused invalidRequest"),
    ] {
        let run = update([old(), second]);
        let outcome = run.call().await;
        assert_eq!(how(&outcome), expected);
        assert!(!format!("{outcome:?}").to_lowercase().contains("canary"), "{outcome:?}");
        if let Outcome::Refused { summary, .. } = &outcome {
            assert!(summary.contains("email"), "{summary}");
        }
    }
    let other = answer(200, json!({"id": "T7"}));
    assert_eq!(how(&update([old(), other]).call().await), "disagrees id");
}

#[tokio::test]
async fn an_instrument_is_made_once_by_its_identifier() {
    let run = attach([listed(1, &[("P1", "7010000000000000000", "ACTIVE")]), made("P2", TOKEN)]);
    assert_eq!(how(&run.call().await), "settled");
    let calls = run.http.calls();
    assert_eq!(calls[0], "GET /tms/v2/customers/T1/payment-instruments");
    assert_eq!(run.http.json()[1], json!({"instrumentIdentifier": {"id": TOKEN}}), "and no card");
    let there = attach([listed(1, &[("P1", TOKEN, "ACTIVE")])]);
    assert_eq!(how(&there.call().await), "settled");
    assert_eq!(there.http.calls().len(), 1);
    // A closed one pays for nothing.
    let closed = attach([listed(1, &[("P1", TOKEN, "CLOSED")]), made("P2", TOKEN)]);
    assert_eq!(how(&closed.call().await), "settled");
    assert_eq!(closed.http.calls().len(), 2);
    // On a later page.
    let many = vec![("P0", "7", "ACTIVE"); 100];
    let paged = attach([listed(101, &many), listed(101, &[("P1", TOKEN, "ACTIVE")])]);
    assert_eq!(how(&paged.call().await), "settled");
    assert!(paged.http.seen.lock().unwrap()[1].url.ends_with("?offset=100&limit=100"));
    let endless = attach((0..5).map(|_| listed(1000, &many)));
    assert_eq!(how(&endless.call().await), "refused too_many_instruments");
    let other = attach([listed(0, &[]), made("P2", "7010000000000000000")]);
    assert_eq!(how(&other.call().await), "disagrees instrumentIdentifier.id");
}

#[tokio::test]
async fn a_lost_answer_about_an_instrument_is_found_by_the_list() {
    let run = attach([listed(0, &[]), Err(HttpError::NoAnswer)]);
    assert_eq!(how(&run.call().await), "unknown");
    let found = attach([listed(1, &[("P2", TOKEN, "ACTIVE")])]);
    assert!(matches!(found.find_out().await, Finding::Evidence(Outcome::Settled { .. })));
    assert_eq!(attach([listed(0, &[])]).find_out().await, Finding::NotThere);
    assert!(matches!(attach([error(503, "x")]).find_out().await, Finding::StillUnknown { .. }));
    let gone = attach([vault_error(410, "notAvailable")]).find_out().await;
    assert!(matches!(gone, Finding::Evidence(Outcome::Refused { .. })), "{gone:?}");
}
