//! Finding out, what was done before, and what is undone before anything is sent again.

use serde_json::{Value as Json, json};
use tillway_core::facts::{AuthorizationEnd, Fact};
use tillway_core::value::Value;

use super::tests::*;
use crate::http::HttpError;
use crate::port::{Finding, Outcome};

const PAY: &str = "cybersource.authorize";

/// A summary or a detail of a transaction.
pub(super) fn transaction(id: &str, apps: &[&str], amount: &str, mark: Option<&str>) -> Json {
    let apps: Vec<Json> =
        apps.iter().map(|a| json!({"name": a, "rCode": "1", "rFlag": "SOK", "reasonCode": "100"})).collect();
    let mut out = json!({"id": id, "rootId": AUTH, "submitTimeUTC": "2026-11-20T10:15:30Z",
        "applicationInformation": {"reasonCode": 100, "applications": apps},
        "clientReferenceInformation": {"code": "ORD-1001"},
        "orderInformation": {"amountDetails": {"totalAmount": amount, "currency": "USD"}}});
    if let Some(mark) = mark {
        out["merchantDefinedInformation"] = json!([{"key": "20", "value": mark}]);
    }
    out
}
pub(super) fn search(found: &[&Json]) -> Answered {
    let count = found.len();
    ok(json!({"totalCount": count, "_embedded": {"transactionSummaries": found}}))
}
pub(super) fn detail(found: &Json) -> Answered {
    answer(200, found.clone())
}
fn declined(mut transaction: Json) -> Json {
    transaction["applicationInformation"]["applications"][0]["rCode"] = "0".into();
    transaction["applicationInformation"]["reasonCode"] = 204.into();
    transaction["errorInformation"] = json!({"reason": "INSUFFICIENT_FUND"});
    transaction
}

#[tokio::test]
async fn a_lost_authorization_is_found_by_its_mark_and_judged_like_an_answer() {
    let ours = transaction(AUTH, &["ics_auth", "ics_decision"], "102.21", Some("c0ffee"));
    let other = transaction("1", &["ics_auth"], "102.21", Some("07be47"));
    let run = Run::new(PAY, pay_params(), [search(&[&other, &ours]), detail(&ours)]);
    let Finding::Evidence(outcome) = run.find_out().await else { panic!() };
    assert_eq!(how(&outcome), "settled");
    assert!(facts(&outcome).iter().any(|f| matches!(f, Fact::Authorized { payment, .. } if payment == AUTH)));
    let query = run.http.json()[0]["query"].as_str().unwrap().to_owned();
    assert!(query.starts_with("clientReferenceInformation.code:ORD-1001 AND submitTimeUtc:["), "{query}");

    let no = declined(ours.clone());
    let run = Run::new(PAY, pay_params(), [search(&[&no]), detail(&no)]);
    let Finding::Evidence(outcome) = run.find_out().await else { panic!() };
    assert_eq!(how(&outcome), "refused INSUFFICIENT_FUND");

    for (code, expected) in [(201, "settled"), (480, "settled"), (481, "refused AUTHORIZED_RISK_DECLINED")] {
        let mut held = ours.clone();
        held["applicationInformation"]["reasonCode"] = code.into();
        let run = Run::new(PAY, pay_params(), [search(&[&held]), detail(&held)]);
        let Finding::Evidence(outcome) = run.find_out().await else { panic!() };
        assert_eq!(how(&outcome), expected);
        assert!(facts(&outcome).len() > 2);
    }
    let wrong = transaction(AUTH, &["ics_auth"], "102.20", Some("c0ffee"));
    let run = Run::new(PAY, pay_params(), [search(&[&wrong]), detail(&wrong)]);
    let Finding::Evidence(outcome) = run.find_out().await else { panic!() };
    assert!(how(&outcome).starts_with("disagrees"));
}

#[tokio::test]
async fn nothing_found_is_said_only_where_marks_are_shown() {
    let run = Run::new(PAY, pay_params(), [search(&[])]);
    assert_eq!(run.find_out().await, Finding::NotThere);
    // An earlier attempt with another card shows its mark.
    let other = transaction("1", &["ics_auth"], "102.21", Some("07be47"));
    let run = Run::new(PAY, pay_params(), [search(&[&other])]);
    assert_eq!(run.find_out().await, Finding::NotThere);
    // One that shows none may be ours.
    let bare = transaction("1", &["ics_auth"], "102.21", None);
    let run = Run::new(PAY, pay_params(), [search(&[&bare]), detail(&bare)]);
    assert!(matches!(run.find_out().await, Finding::StillUnknown { .. }));
    // Unless another one of the order shows that marks are kept.
    let run = Run::new(PAY, pay_params(), [search(&[&bare, &other]), detail(&bare)]);
    assert_eq!(run.find_out().await, Finding::NotThere);
    for fault in [Err(HttpError::NoAnswer), error(500, "x"), error(429, "x"), error(400, "INVALID_DATA")] {
        let run = Run::new(PAY, pay_params(), [fault]);
        assert!(matches!(run.find_out().await, Finding::StillUnknown { .. }));
    }
    // A search matches words: another order's reference is not ours.
    let mut foreign = transaction(AUTH, &["ics_auth"], "102.21", Some("c0ffee"));
    foreign["clientReferenceInformation"]["code"] = "ORD-1001-B".into();
    let run = Run::new(PAY, pay_params(), [search(&[&foreign])]);
    assert_eq!(run.find_out().await, Finding::NotThere);
}

#[tokio::test]
async fn a_reference_used_a_moment_ago_is_looked_up_and_never_paid_for_twice() {
    let used = || {
        answer(
            400,
            json!({"reason": "INVALID_DATA", "details": [{"field": "clientReferenceInformation.transactionId"}]}),
        )
    };
    let ours = transaction(AUTH, &["ics_auth"], "102.21", Some("c0ffee"));
    for refusal in [error(400, "DUPLICATE_REQUEST"), used()] {
        let run = Run::new(PAY, pay_params(), [refusal, search(&[&ours]), detail(&ours)]);
        assert_eq!(how(&run.call().await), "settled");
    }
    for refusal in [error(400, "DUPLICATE_REQUEST"), used()] {
        let run = Run::new(PAY, pay_params(), [refusal, search(&[])]);
        assert_eq!(how(&run.call().await), "unknown");
    }
    let run = Run::new(PAY, pay_params(), [error(400, "INVALID_DATA"), search(&[])]);
    assert_eq!(how(&run.call().await), "refused INVALID_DATA");
}

#[tokio::test]
async fn a_second_authorization_goes_out_only_after_the_first_was_undone() {
    let nothing = || error(404, "notFound");
    let run = Run::new(PAY, pay_params(), [nothing(), ok(paid("AUTHORIZED", "102.21"))]).again();
    assert_eq!(how(&run.call().await), "settled");
    assert_eq!(run.http.calls(), ["POST /pts/v2/reversals", "POST /pts/v2/payments"]);
    let ids: Vec<Json> =
        run.http.json().iter().map(|b| b["clientReferenceInformation"]["transactionId"].clone()).collect();
    assert_eq!(ids, ["c0ffee", "c0ffee.1"], "the first one's id is used up");

    let id = json!([{"field": "clientReferenceInformation.transactionId", "reason": "INVALID_DATA"}]);
    let no_such = answer(400, json!({"reason": "INVALID_DATA", "details": id}));
    let run = Run::new(PAY, pay_params(), [no_such, ok(paid("AUTHORIZED", "102.21"))]).again();
    assert_eq!(how(&run.call().await), "settled");

    // It was there after all: it is reversed, and known as such.
    let reversed = ok(json!({"id": "7", "status": "REVERSED"}));
    let of_lost = transaction("7", &["ics_auth_reversal"], "102.21", None);
    let mut of_lost = of_lost;
    of_lost["rootId"] = "6".into();
    let run =
        Run::new(PAY, pay_params(), [reversed, detail(&of_lost), ok(paid("AUTHORIZED", "102.21"))]).again();
    let told = facts(&run.call().await);
    assert!(
        matches!(&told[2], Fact::AuthorizationEnded { payment, how: AuthorizationEnd::Voided, .. } if payment == "6")
    );
    assert!(told.iter().any(|f| matches!(f, Fact::Authorized { payment, .. } if payment == AUTH)));

    for (fault, expected) in [
        (Err(HttpError::NoAnswer), "not done Unavailable"),
        (error(502, "SERVER_TIMEOUT"), "not done Unavailable"),
        (error(400, "NOT_SUPPORTED"), "unknown"),
        (error(400, "INVALID_DATA"), "unknown"),
        (error(400, "TRANSACTION_ALREADY_SETTLED"), "unknown"),
        // Nobody at that path, as it seems.
        (answer(404, json!({"message": "no such page"})), "unknown"),
        (ok(json!({"id": "7", "status": "WHATEVER"})), "unknown"),
    ] {
        let run = Run::new(PAY, pay_params(), [fault, search(&[])]).again();
        assert_eq!(how(&run.call().await), expected);
        let sent = run.http.calls().iter().filter(|c| c.contains("/pts/")).cloned().collect::<Vec<_>>();
        assert_eq!(sent, ["POST /pts/v2/reversals"], "nothing else was sent");
    }
}

#[tokio::test]
async fn a_capture_or_refund_is_undone_before_it_is_sent_again() {
    let run = Run::new("cybersource.capture", follow(&[]), [error(404, "x"), ok(captured("102.21"))]).again();
    assert_eq!(how(&run.call().await), "settled");
    assert_eq!(run.http.calls()[0], "POST /pts/v2/voids");
    // It exists and cannot be voided any more: captured, perhaps. Nothing is sent.
    for (action, params) in [("cybersource.capture", follow(&[])), ("cybersource.refund", refund_params())] {
        let run = Run::new(action, params, [error(400, "NOT_VOIDABLE"), search(&[])]).again();
        assert_eq!(how(&run.call().await), "unknown");
    }
}

/// The newest of them may never have left: what an older one did is asked of that one.
#[tokio::test]
async fn every_earlier_sending_is_undone_before_another_one() {
    let third = |answers: Vec<Answered>| {
        let mut run = Run::new("cybersource.refund", refund_params(), answers);
        run.generation = 2;
        run
    };
    let voids = |run: &Run| {
        let json = run.http.json();
        let of_voids = json.iter().zip(run.http.calls()).filter(|(_, c)| c.ends_with("/voids"));
        of_voids
            .map(|(b, _)| b["clientReferenceInformation"]["transactionId"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let run = third(vec![error(400, "NOT_VOIDABLE"), search(&[])]);
    assert_eq!(how(&run.call().await), "unknown", "the first one stands");
    assert!(run.http.calls().iter().all(|c| !c.ends_with("/refunds")));
    let voided = || ok(json!({"id": "9", "status": "VOIDED"}));
    let run = third(vec![voided(), error(404, "notFound"), ok(refunded("10.00"))]);
    assert_eq!(how(&run.call().await), "settled");
    assert_eq!(voids(&run), ["c0ffee", "c0ffee.1"]);
    let last = run.http.json().pop().unwrap();
    assert_eq!(
        last["merchantDefinedInformation"][0]["value"], "c0ffee.2",
        "the mark tells the sendings apart"
    );
    assert_eq!(last["clientReferenceInformation"]["comments"], "tillway c0ffee.2");
}

/// Undone by us, and then the next sending was turned away: it stays undone, and is not taken for ours.
#[tokio::test]
async fn what_was_undone_before_a_later_sending_counts_for_nothing() {
    let first = transaction(CAPTURE, &["ics_bill"], "102.21", Some("c0ffee"));
    let mut void = transaction("9", &["ics_void"], "102.21", None);
    void["_links"] = json!({"relatedTransactions": [{"href": format!("/tss/v2/transactions/{CAPTURE}")}]});
    let all = || search(&[&first, &void]);
    // Finding out: neither settled nor open.
    let run = Run::new("cybersource.capture", follow(&[]), [all(), detail(&first), detail(&void)]).again();
    assert_eq!(run.find_out().await, Finding::NotThere);
    // Sending again: the void says no, and it was ours.
    let answers = [error(400, "NOT_VOIDABLE"), all(), detail(&first), detail(&void), ok(captured("102.21"))];
    let run = Run::new("cybersource.capture", follow(&[]), answers).again();
    assert_eq!(how(&run.call().await), "settled");
    // Nothing shows what became of it: it is open, until nothing more can come to light.
    let fresh = || search(&[&first]);
    let run = Run::new("cybersource.capture", follow(&[]), [fresh(), detail(&first)]).again();
    assert!(matches!(run.find_out().await, Finding::StillUnknown { .. }));
    let mut old = first.clone();
    old["submitTimeUTC"] = "2026-11-18T10:15:30Z".into();
    let run = Run::new("cybersource.capture", follow(&[]), [search(&[&old]), detail(&old)]).again();
    assert!(matches!(run.find_out().await, Finding::Evidence(Outcome::Settled { .. })));
    // Nor is a capture that was voided one that somebody else made.
    let look = follow(&[("captured", usd(0)), ("look", Value::Bool(true))]);
    let answers = [all(), detail(&first), detail(&void), ok(captured("102.21"))];
    let run = Run::new("cybersource.capture", look, answers);
    assert_eq!(how(&run.call().await), "settled");
    assert!(run.http.calls().last().unwrap().ends_with("/captures"), "nothing to adopt");
}

/// The void of an earlier sending is younger than the search's lag: that capture is not one that somebody else made.
#[tokio::test]
async fn a_capture_of_ours_that_was_voided_a_moment_ago_is_not_adopted() {
    let look = || follow(&[("captured", usd(0)), ("look", Value::Bool(true))]);
    let voided = || ok(json!({"id": "9", "status": "VOIDED"}));
    let mut commented = transaction(CAPTURE, &["ics_bill"], "102.21", None);
    commented["clientReferenceInformation"]["comments"] = "tillway c0ffee".into();
    for first in [transaction(CAPTURE, &["ics_bill"], "102.21", Some("c0ffee")), commented] {
        let answers =
            [voided(), error(404, "notFound"), search(&[&first]), detail(&first), ok(captured("102.21"))];
        let run = Run::new("cybersource.capture", look(), answers).again();
        assert_eq!(how(&run.call().await), "settled");
        assert!(run.http.calls().last().unwrap().ends_with("/captures"), "{:?}", run.http.calls());
    }
    // Somebody else's stands for ours all the same, and what another command of ours made does.
    for mark in [None, Some("07be47")] {
        let other = transaction("5", &["ics_bill"], "102.21", mark);
        let answers = [voided(), error(404, "notFound"), search(&[&other]), detail(&other)];
        let run = Run::new("cybersource.capture", look(), answers).again();
        let outcome = run.call().await;
        assert!(matches!(&facts(&outcome)[..], [.., Fact::AuthorizationEnded { .. }]), "{outcome:?}");
        assert!(run.http.calls().iter().all(|c| !c.ends_with("/captures")));
    }
}

#[tokio::test]
async fn what_leaves_it_open_is_no_evidence() {
    let open = async |run: Run| matches!(run.find_out().await, Finding::StillUnknown { .. });
    // Marks on another kind prove nothing: an account may show them on some.
    let auth = transaction(AUTH, &["ics_auth"], "102.21", Some("07be47"));
    let refund = transaction("8", &["ics_credit"], "10.00", None);
    let answers = [search(&[&auth, &refund]), detail(&refund)];
    assert!(open(Run::new("cybersource.refund", refund_params(), answers)).await);
    // Nor does a number of somebody else's in the same field.
    let theirs = transaction("7", &["ics_credit"], "10.00", Some("web-77"));
    let answers = [search(&[&theirs, &refund]), detail(&refund), detail(&theirs)];
    assert!(open(Run::new("cybersource.refund", refund_params(), answers)).await);
    // Cybersource had an error of its own.
    let mut error = transaction(AUTH, &["ics_auth"], "102.21", Some("c0ffee"));
    error["applicationInformation"]["applications"][0]["rCode"] = "-1".into();
    error["applicationInformation"]["reasonCode"] = 150.into();
    assert!(open(Run::new(PAY, pay_params(), [search(&[&error]), detail(&error)])).await);
    // More is there than is read.
    let page = || ok(json!({"totalCount": 600, "_embedded": {"transactionSummaries": [auth]}}));
    assert!(open(Run::new(PAY, pay_params(), (0..5).map(|_| page()))).await);
    let cut = ok(json!({"totalCount": 3}));
    assert!(open(Run::new(PAY, pay_params(), [cut])).await);
    // A part of a hold let go by somebody is not our reversal of all of it.
    let part = transaction("7", &["ics_auth_reversal"], "20.00", None);
    let run = Run::new("cybersource.reverse", follow(&[]), [search(&[&part]), detail(&part)]);
    assert!(!matches!(run.find_out().await, Finding::Evidence(_)));
}

#[tokio::test]
async fn a_risk_refusal_is_none_of_the_banks_whatever_the_code_says() {
    for (code, expected) in [(480, "settled"), (481, "refused AUTHORIZED_RISK_DECLINED")] {
        let mut held = declined(transaction(AUTH, &["ics_auth", "ics_decision"], "102.21", Some("c0ffee")));
        held["applicationInformation"]["reasonCode"] = code.into();
        held.as_object_mut().unwrap().remove("errorInformation");
        let run = Run::new(PAY, pay_params(), [search(&[&held]), detail(&held)]);
        let Finding::Evidence(outcome) = run.find_out().await else { panic!() };
        assert_eq!(how(&outcome), expected);
        assert!(
            facts(&outcome).iter().any(|f| matches!(f, Fact::Authorized { .. })),
            "the money is reserved"
        );
    }
}

#[tokio::test]
async fn a_void_that_is_refused_after_it_was_lost_does_not_lead_to_a_refund() {
    let action = "cybersource.void";
    let answers = [error(400, "NOT_VOIDABLE"), search(&[]), search(&[])];
    let run = Run::new(action, void_params(), answers);
    assert_eq!(how(&run.call().await), "refused NOT_VOIDABLE", "settled: a refund may follow");
    // It must know of what went back already.
    let back = transaction("8", &["ics_credit"], "10.00", Some("ea711e"));
    let answers = [error(400, "NOT_VOIDABLE"), search(&[&back]), search(&[&back]), detail(&back)];
    let run = Run::new(action, void_params(), answers);
    let outcome = run.call().await;
    assert_eq!(how(&outcome), "refused NOT_VOIDABLE");
    assert!(facts(&outcome).iter().any(|f| matches!(f, Fact::Refund { refund, .. } if refund == "8")));
    let (mut waits, mut sent) = (transaction(CAPTURE, &["ics_bill"], "102.21", None), Vec::new());
    for status in ["PENDING", "", "VOIDED", "TRANSMITTED"] {
        waits["applicationInformation"]["applications"][0]["status"] = status.into();
        let answers = [error(400, "NOT_VOIDABLE"), search(&[]), detail(&waits), search(&[])];
        let run = Run::new(action, void_params(), answers).again();
        sent.push(how(&run.call().await));
        assert_eq!(run.http.calls()[2], format!("GET /tss/v2/transactions/{CAPTURE}"));
    }
    let maybe = "unknown";
    assert_eq!(
        sent,
        [maybe, maybe, maybe, "refused NOT_VOIDABLE"],
        "the first sending may have voided what is not settled"
    );
    // Nor where the capture itself cannot be read.
    let answers = [error(400, "NOT_VOIDABLE"), search(&[]), answer(404, json!({}))];
    assert_eq!(how(&Run::new(action, void_params(), answers).again().call().await), maybe);
    let mut void = transaction("9", &["ics_void"], "102.21", None);
    void["_links"] = json!({"relatedTransactions": [{"href": format!("https://x.example:-1/tss/v2/transactions/{CAPTURE}")}]});
    let run = Run::new(action, void_params(), [error(400, "NOT_VOIDABLE"), search(&[&void]), detail(&void)])
        .again();
    assert_eq!(how(&run.call().await), "settled");
    let run = Run::new(action, void_params(), [search(&[&void]), detail(&void)]);
    assert!(matches!(run.find_out().await, Finding::Evidence(Outcome::Settled { .. })));
    // The void of another capture of the payment is not ours.
    void["_links"] = json!({"relatedTransactions": [{"href": "/tss/v2/transactions/1"}]});
    void["clientReferenceInformation"]["comments"] = "tillway 07be47".into();
    let run = Run::new(action, void_params(), [search(&[&void])]);
    assert_eq!(run.find_out().await, Finding::NotThere);
}

/// A hold is let go before it is taken alone, and taken before it is let go: where the one stands the other never was.
#[tokio::test]
async fn a_lost_reversal_or_capture_is_ruled_out_by_what_stands() {
    let reason = "TRANSACTION_ALREADY_SETTLED";
    let capture = |status: &str| {
        let mut capture = transaction(CAPTURE, &["ics_bill"], "102.21", None);
        capture["applicationInformation"]["status"] = status.into();
        capture
    };
    for (status, ends) in [("PENDING", "refused TRANSACTION_ALREADY_SETTLED"), ("VOIDED", "unknown")] {
        let found = capture(status);
        let answers = [error(400, reason), search(&[&found]), search(&[&found]), detail(&found)];
        let run = Run::new("cybersource.reverse", follow(&[]), answers).again();
        let outcome = run.call().await;
        assert_eq!(how(&outcome), ends, "{status}");
        let told = |f: &Fact| matches!(f, Fact::CaptureMade { capture, .. } if capture == CAPTURE);
        assert!(ends == "unknown" || facts(&outcome).iter().any(told), "what was taken is told with it");
    }
    let answers = [error(400, reason), search(&[]), search(&[])];
    let run = Run::new("cybersource.reverse", follow(&[]), answers).again();
    assert_eq!(how(&run.call().await), "unknown", "it may have been let go by the first sending");

    let held = transaction(AUTH, &["ics_auth"], "102.21", None);
    let undone = || error(404, "notFound");
    for (amount, ends) in [("102.21", "refused AUTH_ALREADY_REVERSED"), ("10.00", "unknown")] {
        let reversal = transaction("9", &["ics_auth_reversal"], amount, None);
        let all = || search(&[&reversal, &held]);
        let answers = [
            undone(),
            error(400, "AUTH_ALREADY_REVERSED"),
            all(),
            all(),
            all(),
            detail(&held),
            detail(&reversal),
        ];
        let run = Run::new("cybersource.capture", follow(&[]), answers).again();
        assert_eq!(how(&run.call().await), ends, "{amount} were let go");
    }
    // What stands goes before what was let go.
    let (reversal, taken) = (transaction("9", &["ics_auth_reversal"], "102.21", None), capture("PENDING"));
    let all = || search(&[&reversal, &held, &taken]);
    let turned_away = [undone(), error(400, "AUTH_ALREADY_REVERSED")];
    let read = [all(), detail(&taken), all(), detail(&taken), detail(&reversal)];
    let run = Run::new("cybersource.capture", follow(&[]), turned_away.into_iter().chain(read)).again();
    assert_eq!(how(&run.call().await), "unknown");
}

#[tokio::test]
async fn lost_captures_refunds_and_reversals_are_found() {
    let capture = transaction(CAPTURE, &["ics_bill"], "102.21", Some("c0ffee"));
    let run = Run::new("cybersource.capture", follow(&[]), [search(&[&capture]), detail(&capture)]);
    let Finding::Evidence(outcome) = run.find_out().await else { panic!() };
    assert_eq!(facts(&outcome).len(), 2);
    let mut refund = transaction("8", &["ics_credit"], "10.00", Some("ea711e"));
    refund["merchantDefinedInformation"].as_array_mut().unwrap().push(json!({"key": "21", "value": "R-1"}));
    refund["applicationInformation"]["status"] = "TRANSMITTED".into();
    // An earlier command served the same request.
    let run = Run::new("cybersource.refund", refund_params(), [search(&[&refund]), detail(&refund)]);
    assert!(matches!(run.find_out().await, Finding::Evidence(Outcome::Settled { .. })));
    // Where the account shows no such field, the command still knows what it was for.
    let mut bare = transaction("8", &["ics_credit"], "10.00", None);
    bare["clientReferenceInformation"]["comments"] = "tillway c0ffee".into();
    let run = Run::new("cybersource.refund", refund_params(), [search(&[&bare]), detail(&bare)]);
    let Finding::Evidence(outcome) = run.find_out().await else { panic!() };
    let request = facts(&outcome).iter().find_map(|f| match f {
        Fact::Refund { request, .. } => request.clone(),
        _ => None,
    });
    assert_eq!(request.as_deref(), Some("R-1"));
    let reversal = transaction("7", &["ics_auth_reversal"], "102.21", None);
    let run = Run::new("cybersource.reverse", follow(&[]), [search(&[&reversal]), detail(&reversal)]);
    assert!(matches!(run.find_out().await, Finding::Evidence(Outcome::Settled { .. })));
    let run = Run::new("cybersource.reverse", follow(&[]), [search(&[])]);
    assert_eq!(run.find_out().await, Finding::NotThere);
}

#[tokio::test]
async fn a_lost_decision_is_read_from_the_conversions() {
    let params = || follow(&[("decision", Value::text("accept"))]);
    let list = |decision: &str| {
        answer(
            200,
            json!({"conversionDetails": [{"requestId": AUTH, "merchantReferenceNumber": "ORD-1001",
        "newDecision": decision, "originalDecision": "REVIEW", "conversionTime": "2026-11-20T10:00:00Z"}]}),
        )
    };
    let find = async |given| Run::new("cybersource.decide_case", params(), [given]).find_out().await;
    assert!(matches!(find(list("ACCEPT")).await, Finding::Evidence(Outcome::Settled { .. })));
    assert!(matches!(find(list("REJECT")).await, Finding::Evidence(Outcome::Refused { .. })));
    assert_eq!(find(list("REVIEW")).await, Finding::NotThere);
    assert_eq!(find(error(404, "x")).await, Finding::NotThere);
    assert!(matches!(find(error(500, "x")).await, Finding::StillUnknown { .. }));
}

#[tokio::test]
async fn a_decision_that_is_turned_away_may_have_been_made_before() {
    let list = |decision: &str| {
        let case = json!({"requestId": AUTH, "merchantReferenceNumber": "ORD-1001", "newDecision": decision,
            "originalDecision": "REVIEW", "conversionTime": "2026-11-20T10:00:00Z"});
        answer(200, json!({"conversionDetails": [case]}))
    };
    let decide = async |again: bool, listed| {
        let answers = [error(400, "INVALID_DATA"), listed];
        let accept = follow(&[("decision", Value::text("accept"))]);
        let mut run = Run::new("cybersource.decide_case", accept, answers);
        run.generation = u32::from(again);
        run.call().await
    };
    // Ours, whose answer was lost; or somebody else's.
    for (again, listed, expected) in
        [(true, "ACCEPT", "settled"), (false, "REJECT", "refused decided_otherwise")]
    {
        let outcome = decide(again, list(listed)).await;
        assert_eq!((how(&outcome).as_str(), facts(&outcome).len()), (expected, 1));
    }
    // Nothing is listed yet: the first sending may have decided it, so its refusal says nothing.
    assert_eq!(how(&decide(true, error(404, "x")).await), "unknown");
    assert_eq!(how(&decide(false, error(404, "x")).await), "refused INVALID_DATA");
    assert_eq!(how(&decide(true, error(500, "x")).await), "unknown");
}

#[tokio::test]
async fn a_capture_made_elsewhere_is_adopted_and_not_made_again() {
    let params = |known: i64| follow(&[("captured", usd(known)), ("look", Value::Bool(true))]);
    let theirs = transaction(CAPTURE, &["ics_bill"], "102.21", None);
    let run = Run::new("cybersource.capture", params(0), [search(&[&theirs]), detail(&theirs)]);
    let outcome = run.call().await;
    assert_eq!(how(&outcome), "settled");
    assert!(matches!(&facts(&outcome)[0], Fact::CaptureMade { capture, .. } if capture == CAPTURE));
    assert!(run.http.calls().iter().all(|c| !c.contains("captures")), "nothing was captured");
    // Known already: this is another one.
    let run = Run::new(
        "cybersource.capture",
        params(10_221),
        [search(&[&theirs]), detail(&theirs), ok(captured("102.21"))],
    );
    run.call().await;
    assert_eq!(run.http.calls()[2], format!("POST /pts/v2/payments/{AUTH}/captures"));
    // Of two of one sum the id tells which is known: one that was voided is not there any more, and this is another.
    let by_ids = |known: &str| {
        follow(&[("captured", usd(10_221)), ("known", Value::text(known)), ("look", Value::Bool(true))])
    };
    let run = Run::new("cybersource.capture", by_ids("11 12"), [search(&[&theirs]), detail(&theirs)]);
    assert_eq!(how(&run.call().await), "settled");
    assert!(run.http.calls().iter().all(|c| !c.contains("captures")), "nothing was captured");
    let answers = [search(&[&theirs]), detail(&theirs), ok(captured("102.21"))];
    let run = Run::new("cybersource.capture", by_ids(&format!("11 {CAPTURE}")), answers);
    run.call().await;
    assert_eq!(run.http.calls()[2], format!("POST /pts/v2/payments/{AUTH}/captures"));
    // Part of it: a person decides about the rest.
    let part = transaction(CAPTURE, &["ics_bill"], "60.00", None);
    let run = Run::new("cybersource.capture", params(0), [search(&[&part]), detail(&part)]);
    assert_eq!(how(&run.call().await), "disagrees totalAmount");
    // It cannot be looked for now: nothing is captured now.
    let run = Run::new("cybersource.capture", params(0), [error(500, "x")]);
    assert_eq!(how(&run.call().await), "not done Unavailable");
    // Turned away because somebody was faster.
    let late = follow(&[("captured", usd(0))]);
    let answers = [
        error(400, "EXCEEDS_AUTH_AMOUNT"),
        search(&[&theirs]),
        detail(&theirs),
        search(&[&theirs]),
        detail(&theirs),
    ];
    let run = Run::new("cybersource.capture", late, answers);
    assert_eq!(how(&run.call().await), "settled");
}

/// A hold that is said to be missing may have been used up, or let go; it ran out only where nobody took it and its time is over.
#[tokio::test]
async fn a_hold_that_is_not_there_ran_out_only_when_its_time_is_over_and_nobody_took_it() {
    let theirs = transaction(CAPTURE, &["ics_bill"], "102.21", None);
    let hold = |made: &str| {
        let mut auth = transaction(AUTH, &["ics_auth"], "102.21", None);
        auth["submitTimeUTC"] = made.into();
        auth
    };
    let (old, young) = (hold("2026-11-01T10:00:00Z"), hold("2026-11-20T09:00:00Z"));
    let missing = || error(400, "MISSING_AUTH");
    let reverse =
        async |answers: Vec<Answered>| Run::new("cybersource.reverse", follow(&[]), answers).call().await;
    let over = reverse(vec![missing(), search(&[&old]), detail(&old)]).await;
    assert_eq!(how(&over), "settled");
    let ended = |facts: &[Fact], how: AuthorizationEnd| {
        facts.iter().any(|f| matches!(f, Fact::AuthorizationEnded { how: end, .. } if *end == how))
    };
    let cancelled = |facts: &[Fact]| facts.iter().any(|f| matches!(f, Fact::PaymentCancelled { .. }));
    assert!(ended(&facts(&over), AuthorizationEnd::Expired) && cancelled(&facts(&over)));
    let early = reverse(vec![missing(), search(&[&young]), detail(&young)]).await;
    assert_eq!((how(&early).as_str(), facts(&early).len()), ("refused MISSING_AUTH", 0));
    let taken = reverse(vec![missing(), search(&[&old, &theirs]), detail(&theirs)]).await;
    assert_eq!(how(&taken), "refused MISSING_AUTH");
    assert!(matches!(&facts(&taken)[..], [Fact::CaptureMade { .. }]), "{taken:?}");
    // It cannot be looked for now: nothing was done, and it is asked again.
    assert_eq!(how(&reverse(vec![missing(), error(500, "x")]).await), "not done Unavailable");

    let capture = async |known: &str, answers: Vec<Answered>| {
        let params =
            [("captured", usd(if known.is_empty() { 0 } else { 10_221 })), ("known", Value::text(known))];
        Run::new("cybersource.capture", follow(&params), answers).call().await
    };
    let late = capture("", vec![missing(), search(&[&old]), search(&[&old]), detail(&old)]).await;
    assert_eq!(how(&late), "refused authorization_expired");
    assert!(ended(&facts(&late), AuthorizationEnd::Expired) && cancelled(&facts(&late)));
    // Of one that was captured in part the payment stands.
    let both = || search(&[&old, &theirs]);
    let rest =
        capture(CAPTURE, vec![missing(), both(), detail(&theirs), both(), detail(&theirs), detail(&old)])
            .await;
    assert_eq!(how(&rest), "refused authorization_expired");
    assert!(ended(&facts(&rest), AuthorizationEnd::Expired) && !cancelled(&facts(&rest)));
    // Somebody else took it: that is adopted.
    let theirs = capture("", vec![missing(), both(), detail(&theirs)]).await;
    assert_eq!(how(&theirs), "settled");
}

/// Of an account that shows no marks only what could be ours leaves it open: not what acts on something else, has another amount, or
/// undid a sending of ours.
#[tokio::test]
async fn an_unmarked_transaction_that_cannot_be_ours_leaves_nothing_open() {
    let unmarked = |amount: &str, root: &str| {
        let mut found = transaction("9", &["ics_bill"], amount, None);
        found["rootId"] = root.into();
        found
    };
    let capture = async |found: &Json, params: Value| {
        let answers = [search(&[found]), detail(found), search(&[found]), detail(found)];
        Run::new("cybersource.capture", params, answers).find_out().await
    };
    let open = |finding: &Finding| matches!(finding, Finding::StillUnknown { .. });
    assert!(open(&capture(&unmarked("102.21", AUTH), follow(&[])).await), "it may be ours");
    assert_eq!(capture(&unmarked("50.00", AUTH), follow(&[])).await, Finding::NotThere, "another amount");
    assert_eq!(capture(&unmarked("102.21", "77"), follow(&[])).await, Finding::NotThere, "another payment");
    // Where captures made elsewhere are adopted, it is one whoever made it; what is known already is none.
    let adopting = |known: &str| follow(&[("captured", usd(0)), ("known", Value::text(known))]);
    let adopted = capture(&unmarked("102.21", AUTH), adopting("1")).await;
    assert!(matches!(adopted, Finding::Evidence(Outcome::Settled { .. })), "{adopted:?}");
    assert_eq!(capture(&unmarked("102.21", AUTH), adopting("9")).await, Finding::NotThere);

    // Of an authorization a bank may have reserved a part: less leaves it open, more does not.
    let pay = async |amount: &str| {
        let found = transaction("9", &["ics_auth"], amount, None);
        Run::new(PAY, pay_params(), [search(&[&found]), detail(&found)]).find_out().await
    };
    assert!(open(&pay("102.21").await) && open(&pay("50.00").await), "a second one might be sent");
    assert_eq!(pay("150.00").await, Finding::NotThere);

    let void = |of: &str, comment: &str| {
        let mut found = transaction("9", &["ics_void"], "102.21", None);
        let href = format!("/tss/v2/transactions/{of}");
        found["_links"] = json!({"relatedTransactions": [{"href": href}]});
        if !comment.is_empty() {
            found["clientReferenceInformation"]["comments"] = comment.into();
        }
        found
    };
    let looked = async |found: &Json| {
        let answers = [search(&[found]), detail(found)];
        Run::new("cybersource.void", super::tests::void_params(), answers).find_out().await
    };
    // One that may be ours leaves it open, until what was to be voided went to its processor.
    let mut odd = void(CAPTURE, "");
    odd["applicationInformation"]["applications"][0]["rCode"] = "0".into();
    for (status, settled) in [("PENDING", false), ("TRANSMITTED", true)] {
        let mut capture = transaction(CAPTURE, &["ics_bill"], "102.21", None);
        capture["applicationInformation"]["status"] = status.into();
        let answers = [search(&[&odd]), detail(&odd), detail(&capture), search(&[])];
        let found = Run::new("cybersource.void", super::tests::void_params(), answers).find_out().await;
        match found {
            Finding::Evidence(outcome) if settled => assert_eq!(how(&outcome), "refused NOT_VOIDABLE"),
            other => assert!(!settled && open(&other), "{status}: {other:?}"),
        }
    }
    assert_eq!(looked(&void("77", "")).await, Finding::NotThere, "of another capture");
    assert_eq!(looked(&void("77", "tillway-undoes:ab-0")).await, Finding::NotThere, "of a sending");
    assert!(matches!(looked(&void(CAPTURE, "")).await, Finding::Evidence(Outcome::Settled { .. })));
}
