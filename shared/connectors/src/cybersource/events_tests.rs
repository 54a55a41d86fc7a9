//! Shapes, names and meanings of events.

use serde_json::{Value, json};

use super::super::testing::{connection, spec};
use super::*;

fn meaning(event_type: &str, payload: Value) -> Result<Interpreted, Rejected> {
    let body = json!({"eventType": event_type, "payload": payload});
    interpret(&connection(), event_type, Doc::from(&body).json())
}
fn told(event_type: &str, payload: Value) -> Vec<Fact> {
    match meaning(event_type, payload).unwrap() {
        Interpreted::About { observation, .. } => observation.facts,
        other => panic!("{other:?}"),
    }
}
fn reads(event_type: &str, payload: Value) -> String {
    match meaning(event_type, payload).unwrap() {
        Interpreted::ReadAgain { owner, action, object } => {
            assert_eq!((owner, action), (Owner::Order { id: "ORD-1001".into() }, "cybersource.read_order"));
            object.unwrap()
        }
        other => panic!("{other:?}"),
    }
}
fn object(status: &str) -> Value {
    json!({"id": "763", "status": status, "submitTimeUtc": "2026-11-20T10:15:30Z",
        "clientReferenceInformation": {"code": "ORD-1001", "transactionId": "c0ffee"},
        "orderInformation": {"amountDetails": {"totalAmount": "102.21", "currency": "USD"}}})
}
const ACCEPTED: &str = "payments.authorization.status.accepted";

#[test]
fn every_shape_of_payload_is_the_same_event() {
    let shapes = [
        json!({"data": object("AUTHORIZED")}),
        json!([{"data": object("AUTHORIZED")}]),
        json!([object("AUTHORIZED")]),
        json!({"data": [object("AUTHORIZED")]}),
        json!([{"transactionResult": {"details": object("AUTHORIZED")}}]),
        json!({"transactionResult": {"details": object("AUTHORIZED")}}),
        object("AUTHORIZED"),
    ];
    for payload in shapes {
        assert_eq!(told(ACCEPTED, payload.clone()).len(), 2, "{payload}");
        let body = json!({"payload": payload, "transactionTraceId": "changes"});
        let named = name(ACCEPTED, Doc::from(&body).json());
        assert_eq!(named, (format!("{ACCEPTED}:763:AUTHORIZED"), "ORD-1001".to_owned()));
    }
}

/// The second one must not be dropped with a 2xx.
#[test]
fn several_objects_in_one_event_go_to_a_person_as_a_whole() {
    let of = |id: &str, order: &str| {
        let mut object = object("AUTHORIZED");
        object["id"] = id.into();
        object["clientReferenceInformation"]["code"] = order.into();
        object
    };
    for (order, owner) in [("ORD-1001", Owner::Order { id: "ORD-1001".into() }), ("ORD-2", Owner::Nobody)] {
        let (first, second) = (of("763", "ORD-1001"), of("764", order));
        for payload in [
            json!([{"data": first}, {"data": second}]),
            json!([first, second]),
            json!({"data": [first, second]}),
            json!({"transactionResult": {"details": [first, second]}}),
        ] {
            for kind in [ACCEPTED, "payments.capture.status.accepted", "risk.casemanagement.decision.accept"]
            {
                let rejected = meaning(kind, payload.clone()).unwrap_err();
                assert_eq!((rejected.code.as_str(), &rejected.owner), ("several_objects", &owner), "{kind}");
                assert!(rejected.what.contains("2 transactions at once (763, 764)"), "{}", rejected.what);
            }
            assert_eq!(meaning("tms.networktoken.updated", payload.clone()).unwrap(), Interpreted::Unhandled);
            // It is no delivery of the first one's event again.
            let named = |payload: &Value| name(ACCEPTED, Doc::from(&json!({"payload": payload})).json()).0;
            assert_ne!(named(&payload), named(&json!({"data": first})));
        }
    }
    let mut prefixed = connection();
    prefixed.settings.insert("reference_prefix".into(), "web-".into());
    let body = json!({"payload": [of("763", "ORD-1001"), of("764", "ORD-2")]});
    let told = interpret(&prefixed, ACCEPTED, Doc::from(&body).json()).unwrap();
    assert_eq!(told, about(Owner::Nobody, Vec::new()), "somebody else's");
}

#[test]
fn an_event_keeps_its_name_when_it_is_delivered_again() {
    let of = |payload: Value, trace: &str, retry: u32| {
        let body =
            json!({"webhookId": "w", "transactionTraceId": trace, "retryNumber": retry, "payload": payload});
        name("t", Doc::from(&body).json()).0
    };
    assert_eq!(
        of(json!({"data": object("PENDING")}), "a", 0),
        of(json!({"data": object("PENDING")}), "b", 3)
    );
    assert_ne!(
        of(json!({"data": object("PENDING")}), "a", 0),
        of(json!({"data": object("BATCHED")}), "a", 0)
    );
    // Without an id the payload tells it apart.
    assert_eq!(of(json!({"x": 1}), "a", 0), of(json!({"x": 1}), "b", 1));
    assert_ne!(of(json!({"x": 1}), "a", 0), of(json!({"x": 2}), "a", 0));
}

#[test]
fn an_authorization_tells_itself_and_what_has_no_amount_is_read() {
    assert!(
        told("payments.authorization.status.reviewed", json!({"data": object("AUTHORIZED_PENDING_REVIEW")}))
            .contains(&Fact::ReviewOpened { review: "763".into(), payment: "763".into() })
    );
    let bare = json!({"data": {"id": "763", "status": "AUTHORIZED", "clientReferenceInformation": {"code": "ORD-1001"}}});
    assert_eq!(reads(ACCEPTED, bare), "763");
    // Somebody else's may be a sale, which the event does not say.
    let mut theirs = object("AUTHORIZED");
    theirs["clientReferenceInformation"] = json!({"code": "ORD-1001", "transactionId": "theirs-1"});
    assert_eq!(reads(ACCEPTED, json!({"data": theirs})), "763");
    let declined = json!({"data": {"id": "763", "status": "DECLINED", "clientReferenceInformation": {"code": "ORD-1001"}}});
    assert!(matches!(
        &told("payments.authorization.status.rejected", declined)[..],
        [Fact::AttemptFailed { .. }]
    ));
    let rejected = meaning(ACCEPTED, json!({"data": object("NEW_STATUS")})).unwrap_err();
    assert_eq!((rejected.code.as_str(), rejected.field.as_str()), ("status_unknown", "payload.data.status"));
    assert!(rejected.what.contains("`NEW_STATUS`"));
}

#[test]
fn what_does_not_name_its_payment_is_read() {
    for kind in ["capture", "refund", "void", "reversal"] {
        assert_eq!(
            reads(&format!("payments.{kind}.status.accepted"), json!({"data": object("PENDING")})),
            "763"
        );
    }
    assert!(told("payments.void.status.rejected", json!({"data": object("FAILED")})).is_empty());
    assert_eq!(reads("risk.profile.decision.reject", json!({"data": object("REJECTED")})), "763");
    let missing = meaning(
        "payments.capture.status.updated",
        json!({"data": {"clientReferenceInformation": {"code": "A"}}}),
    );
    assert_eq!(missing.unwrap_err().code, "id_missing");
}

#[test]
fn an_accepted_case_is_read_with_the_capture_that_came_with_it() {
    let case = |decision: &str, embedded: Value| {
        (
            format!("risk.casemanagement.decision.{decision}"),
            json!({"data": {"id": "763", "referenceNumber": "ORD-1001",
            "notes": [{"comment": "by phone, CANARY"}], "_embedded": embedded}}),
        )
    };
    let linked = |status: &str, to: &str| json!({"status": status, "_links": {"self": {"href": to}}});
    let link = |to: &str| linked("PENDING", to);
    let (kind, payload) = case("accept", json!({"capture": link("/pts/v2/captures/764")}));
    assert_eq!(reads(&kind, payload), "accept:763:764");
    let (kind, payload) = case("accept", json!({}));
    assert_eq!(reads(&kind, payload), "accept:763");
    let (kind, payload) = case("reject", json!({}));
    let outcome = ReviewOutcome::Rejected;
    assert_eq!(
        told(&kind, payload),
        [Fact::ReviewClosed { review: "763".into(), payment: "763".into(), outcome }]
    );
    let reversal = "https://x.example:-1/pts/v2/reversals/765";
    let (kind, payload) = case("reject", json!({"reversal": linked("REVERSED", reversal)}));
    assert_eq!(told(&kind, payload).len(), 3);
    let (kind, payload) = case("reject", json!({"reversal": linked("FAILED", reversal)}));
    assert_eq!(told(&kind, payload).len(), 1, "the hold stands: the flow lets it go");
    if let Some(file) = spec("webhook-vectors.json") {
        let body: Value = serde_json::from_str(file[3]["body"].as_str().unwrap()).unwrap();
        assert_eq!(
            reads(body["eventType"].as_str().unwrap(), body["payload"].clone()),
            "accept:7638943960206437203955:7638950001206437203999"
        );
    }
}

#[test]
fn what_nobody_listed_and_what_is_not_ours_is_told_apart() {
    for kind in [
        "risk.casemanagement.addnote",
        "risk.profile.decision.monitor",
        "tms.networktoken.updated",
        "test",
        "payments.credit.status.accepted",
    ] {
        assert_eq!(meaning(kind, json!({"data": object("X")})).unwrap(), Interpreted::Unhandled, "{kind}");
    }
    let mut prefixed = connection();
    prefixed.settings.insert("reference_prefix".into(), "web-".into());
    let body = json!({"payload": {"data": object("AUTHORIZED")}});
    match interpret(&prefixed, ACCEPTED, Doc::from(&body).json()).unwrap() {
        Interpreted::About { owner, .. } => assert_eq!(owner, Owner::Nobody),
        other => panic!("{other:?}"),
    }
    let mut bare = object("AUTHORIZED");
    bare.as_object_mut().unwrap().remove("clientReferenceInformation");
    match meaning(ACCEPTED, json!({"data": bare})).unwrap() {
        Interpreted::ReadAgain { owner, .. } => assert_eq!(owner, Owner::Objects { ids: vec!["763".into()] }),
        other => panic!("{other:?}"),
    }
}

#[test]
fn commissioned_names_lead_to_topics_with_real_types() {
    let meant = [
        ("paymentstatusupdate", "payments"),
        ("refundstatusupdate", "refunds"),
        ("frauddecisionupdate", "fraud-decisions"),
    ];
    assert_eq!(super::super::COMMISSIONED_TOPICS, meant);
    for (name, topic) in meant {
        assert!(super::super::subscriptions::TOPICS.contains(&name));
        assert!(
            super::super::subscriptions::SUBSCRIPTIONS
                .iter()
                .any(|s| s.topic == topic && !s.types.is_empty())
        );
    }
}
