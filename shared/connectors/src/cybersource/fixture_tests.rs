//! What the shared fixtures mean that are neither an answer to a payment nor a report of a day's batches.

use serde_json::{Value as Json, json};
use tillway_core::doc::Doc;
use tillway_core::http::Response;
use tillway_core::ids::CommandId;
use tillway_core::settle::{Batch, Funding, Kind};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use super::Cybersource;
use super::lookup_tests::{search, transaction};
use super::settlement_detail::{self as detail, Asked};
use super::subscriptions::{SUBSCRIPTIONS, steps};
use super::testing::{connection, secrets, spec, spec_text};
use super::tests::{AUTH, Answered, PAY, Run, answer, follow, how, pay_params};
use crate::port::{Call, Connector, Finding};
use crate::registrar::Endpoint;
use crate::settlement::values::day;
use crate::testing::Script;

/// An answer whose body is a file.
fn file(text: &str) -> Answered {
    Ok(Response { body: text.as_bytes().to_vec(), ..Response::new(200) })
}

/// Whether a list of conversions tells that the fixtures' case was decided so.
async fn decided(list: Answered, decision: &str) -> Finding {
    let params =
        follow(&[("payment", Value::text("7638943960206437203955")), ("decision", Value::text(decision))]);
    Run::new("cybersource.decide_case", params, [list]).find_out().await
}

/// The API gives this list as JSON or as XML: both are read, and mean the same.
#[tokio::test]
async fn a_conversion_is_a_decision_about_the_payment_it_names() {
    let Some(report) = spec_text("fixtures/cdr.xml") else { return };
    let same = json!({"conversionDetails": [{
        "merchantReferenceNumber": "ORD-1001", "conversionTime": "2026-11-20T09:33:32Z", "requestId": "7638943960206437203955",
        "originalDecision": "REVIEW", "newDecision": "ACCEPT", "reviewer": "alex", "reviewerComments": "ok",
    }]});
    for list in [file(&report), answer(200, same)] {
        // It is the fixtures' payment, and the case is accepted: a sweep tells of it, in the name its webhook bears too.
        let run = Run::new("cybersource.read_order", follow(&[]), [list.clone()]);
        let since = Timestamp::parse_rfc3339("2026-11-20T09:00:00Z").unwrap();
        let page = run.go(async |c| Cybersource.sweep(c, since, None).await).await.unwrap();
        let told = page.events.first().unwrap();
        assert_eq!(told.event_type, "risk.casemanagement.decision.accept");
        assert_eq!(Some(told.created_at), Timestamp::parse_rfc3339("2026-11-20T09:33:32Z"));
        assert!(told.event_id.contains("7638943960206437203955"), "{}", told.event_id);
        assert_eq!(told.group, "ORD-1001");
        // And it is evidence of a decision whose answer was lost.
        for (decision, found) in [("accept", "settled"), ("reject", "refused decided_otherwise")] {
            let Finding::Evidence(outcome) = decided(list.clone(), decision).await else {
                panic!("{decision}")
            };
            assert_eq!(how(&outcome), found);
        }
    }
}

#[tokio::test]
async fn a_list_of_conversions_that_cannot_be_read_says_of_no_case_that_it_is_open() {
    let Some(report) = spec_text("fixtures/cdr.xml") else { return };
    let cut = &report[..report.len() - 12];
    for odd in [cut, "<html><body>Busy</body></html>", "Busy", "", "[]"] {
        let found = decided(file(odd), "accept").await;
        assert!(matches!(found, Finding::StillUnknown { .. }), "{odd}: {found:?}");
    }
    // Nobody has decided it yet, and what stands elsewhere in a case is no decision.
    let open = report
        .replace("<NewDecision>ACCEPT</NewDecision>", "<Notes><NewDecision>ACCEPT</NewDecision></Notes>");
    assert_ne!(open, report);
    assert!(matches!(decided(file(&open), "accept").await, Finding::NotThere));
}

#[tokio::test]
async fn a_duplicate_reference_says_nothing_about_what_was_done() {
    let Some(duplicate) = spec("fixtures/error_400_duplicate.json") else { return };
    let turned_away = async |found: &[&Json], details: Vec<Json>| {
        let mut answers = vec![answer(400, duplicate.clone()), search(found)];
        answers.extend(details.into_iter().map(|d| answer(200, d)));
        how(&Run::new(PAY, pay_params(), answers).call().await)
    };
    // Nothing of ours is to be seen yet: it may be there all the same, and is never taken for a refusal.
    assert_eq!(turned_away(&[], Vec::new()).await, "unknown");
    // Somebody else's is there, under a mark of its own.
    let other = transaction(AUTH, &["ics_auth"], "102.21", Some("ab12"));
    assert_eq!(turned_away(&[&other], vec![other.clone()]).await, "unknown");
}

#[test]
fn the_batches_of_a_day_add_up_to_its_summary() {
    let Some(summaries) = spec("fixtures/payment_batch_summaries_200.json") else { return };
    let report = spec_text("fixtures/pbdr_classic.csv").unwrap();
    let connection = connection();
    let mut reader =
        detail::read(&connection, Asked::of(&connection, day("2026-11-20")), report.as_bytes()).unwrap();
    let lines: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    let one = &summaries["paymentBatchSummaries"][0];
    let currency = one["currencyCode"].as_str().unwrap();
    for (kind, count, amount, sign) in
        [(Kind::Charge, "salesCount", "salesAmount", 1), (Kind::Refund, "creditCount", "creditAmount", -1)]
    {
        let of = || lines.iter().filter(|l| l.kind == kind);
        assert!(of().all(|l| l.currency.code() == currency));
        assert_eq!(u64::try_from(of().count()).unwrap(), one[count].as_u64().unwrap(), "{count}");
        let doc = Doc::from(one);
        let told = super::wire::money(&connection, doc.json(), &[amount], &["currencyCode"], None).unwrap();
        assert_eq!(of().map(|l| l.gross).sum::<i64>() * sign, told.minor, "{amount}");
    }
}

#[tokio::test]
async fn a_report_that_is_refused_goes_to_a_person_with_the_field() {
    let Some(body) = spec("fixtures/reporting_error_400.json") else { return };
    let (connection, secrets, http) =
        (connection(), secrets(), Script::new([Ok(Response::json(400, &body))]));
    let command = CommandId::new("settle");
    let call = Call {
        connection: &connection,
        secrets: &secrets,
        token: None,
        http: &http,
        action: "settle",
        command: &command,
        generation: 0,
        prepared: &[],
        now: Timestamp(7),
        limit: Millis::secs(30),
    };
    let batch = Batch {
        id: "21265991580@2026-11-20".into(),
        connection: connection.name.clone(),
        currency: "USD".parse().unwrap(),
        funding: Funding::Submitted,
    };
    let fault = Cybersource.settlement(&connection).unwrap().lines(&call, &batch, None).await.unwrap_err();
    // No empty day, and nothing that comes by waiting: what was asked for is wrong.
    assert_eq!(fault.code(), "refused");
    let said = format!("{fault:?}");
    assert!(said.contains("INVALID_DATA") && said.contains("reportDate"), "{said}");
}

#[test]
fn a_subscription_as_made_by_hand_has_what_the_steps_ask_for() {
    let Some(made) = spec("fixtures/webhook_subscription_201.json") else { return };
    let product = &made["products"][0];
    let types: Vec<&str> =
        product["eventTypes"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
    let ours = SUBSCRIPTIONS.iter().find(|s| types.iter().all(|t| s.types.contains(t))).unwrap();
    assert_eq!(ours.topic, "payments");
    let endpoint = Endpoint {
        topic: ours.topic,
        url: made["webhookUrl"].as_str().unwrap().to_owned(),
        types: ours.types.iter().map(|t| (*t).to_owned()).collect(),
        used: true,
    };
    let said = steps(&connection(), &[endpoint]).join("\n");
    for (what, word) in [
        ("the address", made["webhookUrl"].as_str().unwrap()),
        ("the product", product["productId"].as_str().unwrap()),
        ("its type", types[0]),
        ("how it is signed", made["securityPolicy"]["securityType"].as_str().unwrap()),
        ("whose events", made["notificationScope"].as_str().unwrap()),
    ] {
        assert!(said.contains(word), "{what}: {word} is not in {said}");
    }
    // It sends nothing yet: people look at the address first.
    assert_eq!(made["status"], "PENDING_REVIEW");
}
