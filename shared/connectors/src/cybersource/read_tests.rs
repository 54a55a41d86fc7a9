//! Reading orders, sweeping and resolving, against scripted answers.

use serde_json::{Value as Json, json};
use tillway_core::facts::{Fact, RefundStatus, ReviewOutcome};
use tillway_core::time::Timestamp;
use tillway_core::value::Value;

use super::Cybersource;
use super::lookup_tests::{detail, search, transaction};
use super::testing::{connection, spec};
use super::tests::*;
use crate::http::HttpError;
use crate::port::{Connector, Interpreted, Outcome, Owner};

const READ: &str = "cybersource.read_order";

fn params(object: &str) -> Value {
    Value::map([("order_id", Value::text("ORD-1001")), ("object", Value::text(object))])
}
fn with_status(mut transaction: Json, status: &str) -> Json {
    transaction["applicationInformation"]["status"] = status.into();
    transaction
}
fn linked(mut transaction: Json, to: &str) -> Json {
    transaction["_links"] = json!({"relatedTransactions": [{"href": format!("/tss/v2/transactions/{to}")}]});
    transaction
}

#[tokio::test]
async fn an_order_is_read_whole_and_told_from_the_payment_on() {
    let auth = transaction(AUTH, &["ics_auth"], "102.21", Some("c1"));
    let capture = with_status(transaction(CAPTURE, &["ics_bill"], "102.21", Some("c2")), "TRANSMITTED");
    let refund = with_status(transaction("8", &["ics_credit"], "10.00", None), "PENDING");
    let answers = [search(&[&refund, &capture, &auth]), detail(&refund), detail(&capture), detail(&auth)];
    let run = Run::new(READ, params(""), answers);
    let told = facts(&run.call().await);
    let kinds: Vec<&str> = told
        .iter()
        .map(|f| match f {
            Fact::Payment { .. } => "payment",
            Fact::Authorized { .. } => "authorized",
            Fact::CaptureMade { .. } => "captured",
            Fact::Refund { .. } => "refund",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["payment", "authorized", "captured", "refund"]);
}

#[tokio::test]
async fn what_a_webhook_told_of_is_waited_for_until_it_is_indexed() {
    // It answers: many webhooks in a row that come too early must not open the breaker and hold charges back.
    let run = Run::new(READ, params(CAPTURE), [error(404, "notFound")]);
    assert_eq!(how(&run.call().await), "not done Conflict");
    let run = Run::new(READ, params(CAPTURE), [Err(HttpError::NoAnswer)]);
    assert_eq!(how(&run.call().await), "not done Unavailable");
}

#[tokio::test]
async fn an_accepted_case_is_told_together_with_its_capture() {
    let auth = transaction(AUTH, &["ics_auth"], "102.21", Some("c1"));
    let capture = transaction(CAPTURE, &["ics_bill"], "102.21", None);
    let object = format!("accept:{AUTH}:{CAPTURE}");
    let run = Run::new(READ, params(&object), [detail(&auth), detail(&capture), search(&[&auth])]);
    let told = facts(&run.call().await);
    assert!(told.iter().any(|f| matches!(f, Fact::CaptureMade { capture, .. } if capture == CAPTURE)));
    let accepted =
        Fact::ReviewClosed { review: AUTH.into(), payment: AUTH.into(), outcome: ReviewOutcome::Approved };
    assert_eq!(told.last(), Some(&accepted), "after the capture");
}

#[tokio::test]
async fn a_void_takes_back_a_capture_or_withdraws_a_refund() {
    let auth = transaction(AUTH, &["ics_auth"], "102.21", Some("c1"));
    let capture = transaction(CAPTURE, &["ics_bill"], "102.21", None);
    let void = linked(transaction("9", &["ics_void"], "102.21", None), CAPTURE);
    let run = Run::new(READ, params(""), [search(&[&void]), detail(&void), detail(&auth), detail(&capture)]);
    let told = facts(&run.call().await);
    assert!(
        told.iter().any(
            |f| matches!(f, Fact::Refund { refund, status: RefundStatus::Succeeded, .. } if refund == "9")
        )
    );
    // Of a capture whose answer was lost, by us, and told before what was taken instead.
    let mut undoing = void.clone();
    undoing["clientReferenceInformation"]["comments"] = "tillway-undoes:c0ffee-0".into();
    let taken = with_status(capture.clone(), "VOIDED");
    let again = transaction("8", &["ics_bill"], "102.21", None);
    let documents = [&undoing, &auth, &taken, &again];
    let read = |documents: &[&Json]| {
        let found = search(documents);
        Run::new(READ, params(""), std::iter::once(found).chain(documents.iter().map(|d| detail(d))))
    };
    let told = facts(&read(&documents).call().await);
    let kinds: Vec<_> = told
        .iter()
        .filter_map(|f| match f {
            Fact::Refund { undoes, resent, .. } => Some((undoes.clone().unwrap_or_default(), *resent)),
            Fact::CaptureMade { capture, .. } => Some((capture.clone(), false)),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [(CAPTURE.to_owned(), true), (CAPTURE.to_owned(), false), ("8".to_owned(), false)]);
    // A capture that shows that it was undone waits for what undid it.
    let told = facts(&read(&[&auth, &taken]).call().await);
    assert!(!told.iter().any(|f| matches!(f, Fact::CaptureMade { .. })), "{told:?}");
    let refund = transaction("8", &["ics_credit"], "10.00", None);
    let void = linked(transaction("9", &["ics_void"], "10.00", None), "8");
    let run = Run::new(READ, params(""), [search(&[&void]), detail(&void), detail(&auth), detail(&refund)]);
    let told = facts(&run.call().await);
    let withdrawn = |f: &Fact| matches!(f, Fact::Refund { refund, status: RefundStatus::Cancelled, returned: true, .. } if refund == "8");
    assert!(
        told.iter().any(withdrawn)
            && !told.iter().any(|f| matches!(f, Fact::Refund { refund, .. } if refund == "9"))
    );
}

#[tokio::test]
async fn a_status_nobody_knows_is_parked_with_what_else_is_known() {
    let auth = transaction(AUTH, &["ics_auth"], "102.21", Some("c1"));
    let capture = with_status(transaction(CAPTURE, &["ics_bill"], "102.21", None), "HALF_DONE");
    let run = Run::new(READ, params(""), [search(&[&auth, &capture]), detail(&auth), detail(&capture)]);
    let outcome = run.call().await;
    let Outcome::Disagrees { what, observation, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(what.contains("`HALF_DONE`") && observation.facts.len() == 2, "{what}");
    // Of a payment neither: the codes say that it went well, and are not believed. What later befell it is no such status.
    let shown = |status: &str, applications: &[&str]| {
        let odd = with_status(transaction(AUTH, applications, "102.21", None), status);
        Run::new(READ, params(""), [search(&[&odd]), detail(&odd)])
    };
    for applications in [&["ics_auth"][..], &["ics_auth", "ics_bill"]] {
        let outcome = shown("AUTHORIZED_HALFWAY", applications).call().await;
        let Outcome::Disagrees { what, observation, .. } = &outcome else { panic!("{outcome:?}") };
        assert!(what.contains("status_unknown") && what.contains("`AUTHORIZED_HALFWAY`"), "{what}");
        assert!(observation.facts.is_empty(), "{observation:?}");
        for known in ["PENDING", "TRANSMITTED", "BATCHED", "VOIDED", "REVERSED", "AUTHORIZED"] {
            let told = facts(&shown(known, applications).call().await);
            assert!(told.iter().any(|f| matches!(f, Fact::Authorized { .. })), "{known}");
        }
    }
    let mut odd = transaction(AUTH, &["ics_auth"], "102.21", None);
    odd["applicationInformation"]["applications"][0]["rCode"] = "7".into();
    let run = Run::new(READ, params(""), [search(&[&odd]), detail(&odd)]);
    assert!(how(&run.call().await).starts_with("disagrees applicationInformation"));
}

/// A code nobody here knows may be a hold: the result code alone says nothing that may be captured on.
#[tokio::test]
async fn a_reason_code_nobody_knows_reserves_nothing() {
    let told = async |of_whole: Json, of_application: Json| {
        let mut auth = transaction(AUTH, &["ics_auth"], "102.21", Some("c1"));
        auth["applicationInformation"]["reasonCode"] = of_whole;
        auth["applicationInformation"]["applications"][0]["reasonCode"] = of_application;
        Run::new(READ, params(""), [search(&[&auth]), detail(&auth)]).call().await
    };
    for (whole, own) in [(json!(100), json!("100")), (json!("100"), json!(null)), (json!(null), json!(null))]
    {
        let outcome = told(whole, own).await;
        assert!(facts(&outcome).iter().any(|f| matches!(f, Fact::Authorized { .. })), "{outcome:?}");
    }
    for (whole, own) in [(json!(520), json!("100")), (json!("520"), json!(null)), (json!(null), json!("520"))]
    {
        let outcome = told(whole, own).await;
        let Outcome::Disagrees { field, what, observation } = &outcome else { panic!("{outcome:?}") };
        assert_eq!(field, "applicationInformation.reasonCode");
        assert!(what.contains("status_unknown") && what.contains("`520`"), "{what}");
        assert!(observation.facts.is_empty(), "{observation:?}");
    }
}

#[tokio::test]
async fn a_sweep_reads_cases_then_transactions_to_the_end() {
    let cases = answer(
        200,
        json!({"conversionDetails": [
        {"requestId": AUTH, "merchantReferenceNumber": "ORD-1001", "newDecision": "ACCEPT", "conversionTime": "2026-11-20T09:00:00Z"},
        {"requestId": "5", "merchantReferenceNumber": "ORD-5", "newDecision": "REVIEW"}]}),
    );
    let auth = transaction(AUTH, &["ics_auth"], "102.21", Some("c1"));
    let reversal = transaction("7", &["ics_auth_reversal"], "102.21", None);
    let auth = linked(auth, "7");
    let token = transaction("4", &["ics_pay_subscription"], "0", None);
    let capture = transaction(CAPTURE, &["ics_bill"], "102.21", None);
    let page = |found: &[&Json], total: usize| {
        ok(json!({"totalCount": total, "_embedded": {"transactionSummaries": found}}))
    };
    let answers = [
        cases,
        answer(200, json!({"chargebackDetails": []})),
        page(&[&auth, &token], 3),
        detail(&auth),
        detail(&reversal),
        page(&[&capture], 3),
        detail(&capture),
    ];
    let run = Run::new(READ, params(""), answers);
    let (mut cursor, mut events) = (None::<String>, Vec::new());
    for _ in 0..4 {
        let page = run
            .go(async |c| Cybersource.sweep(c, Timestamp::from_unix(1_795_000_000), cursor.as_deref()).await)
            .await
            .unwrap();
        events.extend(page.events);
        cursor = page.next;
    }
    assert_eq!(cursor, None);
    let types: Vec<&str> = events.iter().map(|e| e.event_type.as_str()).collect();
    assert_eq!(types, ["risk.casemanagement.decision.accept", "tillway.transaction", "tillway.transaction"]);
    assert_eq!(
        events[0].event_id,
        format!("risk.casemanagement.decision.accept:{AUTH}:"),
        "as its webhook is named"
    );
    let told = |n: usize| match Cybersource
        .interpret_read(&run.connection, &events[n].event_type, events[n].body.json())
        .unwrap()
    {
        Interpreted::About { owner, observation, .. } => {
            assert_eq!(owner, Owner::Order { id: "ORD-1001".into() });
            observation.facts
        }
        other => panic!("{other:?}"),
    };
    // A reservation that was let go is never told as one that stands.
    assert!(told(1).iter().any(|f| matches!(f, Fact::PaymentCancelled { .. })));
    assert!(matches!(&told(2)[..], [Fact::CaptureMade { .. }]));
    let seen = run.http.seen.lock().unwrap();
    assert!(
        seen[0].query().starts_with("startTime=2026-11-17T11%3A06%3A40.000Z&endTime="),
        "{}",
        seen[0].query()
    );
}

#[tokio::test]
async fn a_list_that_may_not_be_read_is_told_and_the_sweep_goes_on() {
    for (cursor, next) in [(None, "chargebacks"), (Some("chargebacks"), "s:0")] {
        for (first, told) in [(error(404, "x"), 0), (error(403, "x"), 1), (error(400, "INVALID_DATA"), 1)] {
            let run = Run::new(READ, params(""), [first]);
            let since = Timestamp::from_unix(500_000);
            let page = run.go(async |c| Cybersource.sweep(c, since, cursor).await).await.unwrap();
            assert_eq!((page.events.len(), page.next.as_deref()), (told, Some(next)));
            for event in page.events {
                let body = event.body.json();
                let rejected =
                    Cybersource.interpret_read(&run.connection, &event.event_type, body).unwrap_err();
                assert_eq!((rejected.code.as_str(), &rejected.owner), ("report_unreadable", &Owner::Nobody));
                assert!(rejected.what.contains("_details"), "{}", rejected.what);
            }
        }
        // Secrets that were changed are read again, and the window is not passed over.
        let run = Run::new(READ, params(""), [answer(401, json!({}))]);
        let since = Timestamp::from_unix(500_000);
        let faulted = run.go(async |c| Cybersource.sweep(c, since, cursor).await).await;
        assert!(matches!(faulted, Err(crate::port::NotDone::Unauthorized)));
    }
    let run = Run::new(READ, params(""), [error(500, "x")]);
    assert!(run.go(async |c| Cybersource.sweep(c, Timestamp::from_unix(5), None).await).await.is_err());
}

/// One that Cybersource refuses for good does not hold back what comes after it: a person is told of it, once.
#[tokio::test]
async fn a_transaction_that_may_not_be_read_is_told_to_a_person_and_the_sweep_goes_on() {
    let auth = transaction(AUTH, &["ics_auth"], "102.21", Some("c1"));
    let capture = transaction(CAPTURE, &["ics_bill"], "102.21", None);
    let sweep = async |answers: Vec<Answered>| {
        let run = Run::new(READ, params(""), answers);
        run.go(async |c| Cybersource.sweep(c, Timestamp::from_unix(1_795_000_000), Some("s:0")).await).await
    };
    let parked = |event: &crate::port::SweptEvent| {
        Cybersource.interpret_read(&connection(), &event.event_type, event.body.json()).unwrap_err()
    };
    let found = || search(&[&auth, &capture]);
    for refused in [error(410, "GONE"), error(400, "INVALID_DATA"), error(403, "NO_RIGHT")] {
        let code = refused.as_ref().unwrap().status.to_string();
        let page = sweep(vec![found(), refused.clone(), detail(&capture)]).await.unwrap();
        let types: Vec<&str> = page.events.iter().map(|e| e.event_type.as_str()).collect();
        assert!(
            types.contains(&"tillway.transaction") && types.len() == 2 && page.next.is_none(),
            "{types:?}"
        );
        let told = page.events.iter().find(|e| e.event_type != "tillway.transaction").unwrap();
        assert_eq!(told.event_id, format!("tillway.transaction_unreadable:{AUTH}:"), "once");
        let rejected = parked(told);
        let of = Owner::Order { id: "ORD-1001".into() };
        assert_eq!((rejected.code.as_str(), rejected.owner), ("transaction_unreadable", of));
        for said in [format!("transaction {AUTH} of acme_test_001"), code, "corr-1".to_owned()] {
            assert!(rejected.what.contains(&said), "{}", rejected.what);
        }
    }
    // What belongs to it: what it says alone may no longer be so.
    let let_go = linked(auth.clone(), "7");
    let page = sweep(vec![search(&[&let_go]), detail(&let_go), error(403, "NO_RIGHT")]).await.unwrap();
    let what = parked(&page.events[0]).what;
    assert!(what.contains(&format!("transaction 7, which belongs to transaction {AUTH}")), "{what}");
    // Without our reference it is nobody's, and nobody is asked for it again.
    let mut bare = auth.clone();
    bare.as_object_mut().unwrap().remove("clientReferenceInformation");
    let page = sweep(vec![search(&[&bare]), error(410, "GONE")]).await.unwrap();
    assert_eq!(parked(&page.events[0]).owner, Owner::Nobody);
    // A key without the right, and a question that is wrong for all, park nothing; what is gone is gone.
    let both = async |status| sweep(vec![found(), error(status, "x"), error(status, "x")]).await;
    assert!(matches!(both(403).await, Err(crate::port::NotDone::Unauthorized)));
    assert!(matches!(both(400).await, Err(crate::port::NotDone::Unavailable)));
    assert_eq!(both(410).await.unwrap().events.len(), 2);
    // Nor does a page with one alone, where that may be the key's doing.
    let alone = async |status| sweep(vec![search(&[&auth]), error(status, "x")]).await;
    assert!(matches!(alone(403).await, Err(crate::port::NotDone::Unauthorized)));
    assert_eq!(parked(&alone(400).await.unwrap().events[0]).code, "transaction_unreadable");
    // What may be otherwise in a moment is asked again.
    for status in [500, 429, 401] {
        assert!(sweep(vec![found(), error(status, "x"), detail(&capture)]).await.is_err(), "{status}");
        assert!(
            sweep(vec![search(&[&let_go]), detail(&let_go), error(status, "x")]).await.is_err(),
            "{status}"
        );
    }
}

#[tokio::test]
async fn an_unknown_transaction_is_resolved_to_its_order() {
    let capture = transaction(CAPTURE, &["ics_bill"], "102.21", None);
    let run = Run::new(READ, params(""), [detail(&capture)]);
    let found = run.go(async |c| Cybersource.resolve(c, CAPTURE).await).await.unwrap();
    let Some((owner, observation)) = found else { panic!() };
    assert_eq!((owner, observation.facts.len()), (Owner::Order { id: "ORD-1001".into() }, 1));
    let run = Run::new(READ, params(""), [error(404, "x")]);
    assert!(run.go(async |c| Cybersource.resolve(c, "9").await).await.unwrap().is_none());
    let run = Run::new(READ, params(""), []);
    assert!(run.go(async |c| Cybersource.resolve(c, "9/../x").await).await.unwrap().is_none());
}

/// Made by hand in the Business Center, without our reference.
#[tokio::test]
async fn a_refund_without_a_reference_belongs_to_the_order_of_its_payment() {
    let mut refund = transaction("8", &["ics_credit"], "10.00", None);
    refund.as_object_mut().unwrap().remove("clientReferenceInformation");
    let auth = transaction(AUTH, &["ics_auth"], "102.21", Some("c1"));
    let run = Run::new(READ, params(""), [detail(&refund), detail(&auth)]);
    let found = run.go(async |c| Cybersource.resolve(c, "8").await).await.unwrap();
    let Some((owner, observation)) = found else { panic!() };
    assert_eq!(owner, Owner::Order { id: "ORD-1001".into() });
    assert!(observation.facts.iter().any(|f| matches!(f, Fact::Refund { refund, .. } if refund == "8")));
}

#[tokio::test]
async fn what_is_let_go_in_part_or_cannot_be_told_goes_to_a_person() {
    let auth = transaction(AUTH, &["ics_auth"], "102.21", Some("c1"));
    let part = transaction("7", &["ics_auth_reversal"], "20.00", None);
    let run = Run::new(READ, params(""), [search(&[&auth, &part]), detail(&auth), detail(&part)]);
    let outcome = run.call().await;
    let Outcome::Disagrees { what, observation, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(what.contains("reversed_in_part"), "{what}");
    assert!(!observation.facts.iter().any(|f| matches!(f, Fact::PaymentCancelled { .. })));
    // What a void took back cannot be read: it may have withdrawn a refund.
    let void = linked(transaction("9", &["ics_void"], "10.00", None), "8");
    let answers = [search(&[&void, &auth]), detail(&auth), detail(&void), error(404, "notFound")];
    let outcome = Run::new(READ, params(""), answers).call().await;
    let Outcome::Disagrees { what, observation, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(what.contains("related_unread"), "{what}");
    assert!(!observation.facts.iter().any(|f| matches!(f, Fact::Refund { .. })));
    // More is there than is read.
    let many: Vec<Json> =
        (0..45).map(|n| transaction(&format!("9{n:02}"), &["ics_bill"], "1.00", None)).collect();
    let found: Vec<&Json> = many.iter().collect();
    let answers = std::iter::once(search(&found)).chain(many.iter().map(detail));
    let outcome = Run::new(READ, params(""), answers).call().await;
    assert_eq!(how(&outcome), "disagrees totalCount");
}

/// A sale that a risk check holds was not taken, and one of somebody else's is not captured once more.
#[tokio::test]
async fn a_sale_is_taken_only_where_the_bill_went_through() {
    let sale = |reason: i64, billed: &str| {
        let mut sale = transaction(AUTH, &["ics_auth", "ics_bill"], "102.21", None);
        sale["applicationInformation"]["reasonCode"] = reason.into();
        sale["applicationInformation"]["applications"][1]["rCode"] = billed.into();
        sale
    };
    for (reason, billed, taken) in [(100, "1", true), (481, "1", false), (480, "1", false), (100, "0", false)]
    {
        let sale = sale(reason, billed);
        let run = Run::new(READ, params(""), [search(&[&sale]), detail(&sale)]);
        let told = facts(&run.call().await);
        assert_eq!(told.iter().any(|f| matches!(f, Fact::CaptureMade { .. })), taken, "{reason} {billed}");
    }
    let theirs = sale(100, "1");
    let look = Value::map([
        ("order_id", Value::text("ORD-1001")),
        ("payment", Value::text(AUTH)),
        ("amount", usd(10_221)),
        ("captured", usd(0)),
        ("look", Value::Bool(true)),
    ]);
    let run = Run::new("cybersource.capture", look, [search(&[&theirs]), detail(&theirs)]);
    assert_eq!(how(&run.call().await), "settled", "adopted");
    assert!(run.http.calls().iter().all(|c| !c.ends_with("/captures")));
}

#[tokio::test]
async fn the_shared_transactions_are_understood() {
    let Some(found) = spec("fixtures/tss_transaction_capture_200.json") else { return };
    let listed = spec("fixtures/tss_search_201.json").unwrap();
    let mut auth = listed["_embedded"]["transactionSummaries"][1].clone();
    auth["rootId"] = AUTH.into();
    let run = Run::new(READ, params(""), [ok(listed), detail(&auth), detail(&found)]);
    let told = facts(&run.call().await);
    assert!(
        matches!(&told[..], [Fact::Payment { .. }, Fact::Authorized { .. }, Fact::CaptureMade { payment, .. }] if payment == AUTH),
        "{told:?}"
    );
}
