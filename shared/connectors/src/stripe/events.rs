//! What a webhook event means. Pure: the same body gives the same facts, however often it comes.

use tillway_core::doc::Json;

use super::facts;
use super::subscriptions;
use super::wire::{self, Fault};
use crate::config::Connection;
use crate::port::{Interpreted, Observation, Owner, Rejected};

/// Whether the connection takes live events rather than test ones.
fn wants_live(connection: &Connection) -> bool {
    connection.flag("livemode", connection.production)
}

/// Whether an event is of the mode that the connection is in.
pub(super) fn is_of(connection: &Connection, body: Json<'_>) -> bool {
    check_mode(connection, body, &Owner::Nobody).is_ok()
}

/// Says what an event means.
pub(super) fn interpret(
    connection: &Connection,
    event_type: &str,
    body: Json<'_>,
) -> Result<Interpreted, Rejected> {
    let Some(object) = body.at(&["data", "object"]).filter(|o| o.is_object()) else {
        // A thin event names an object and does not carry it.
        return Ok(Interpreted::Unhandled);
    };
    if !subscriptions::is_handled(event_type) {
        return Ok(Interpreted::Unhandled);
    }
    let owner = wire::owner(connection, object);
    check_mode(connection, body, &owner)?;
    let observation = observe(connection, event_type, object)
        .map_err(|fault| fault.about("data.object.", owner.clone()))?;
    Ok(Interpreted::About { owner, observation, person: None })
}

fn check_mode(connection: &Connection, body: Json<'_>, owner: &Owner) -> Result<(), Rejected> {
    let fault = |code, what| Err(Fault::new(code, "livemode", what).about("", owner.clone()));
    match (wants_live(connection), body.get("livemode").and_then(Json::as_bool)) {
        (true, Some(true)) | (false, Some(false) | None) => Ok(()),
        (true, _) => fault(
            "test_event_in_production",
            "a test event reached a live connection; point Stripe's test endpoint at a test connection",
        ),
        (false, Some(true)) => fault(
            "live_event_in_test",
            "a live event reached a test connection; point Stripe's live endpoint at the live connection",
        ),
    }
}

fn observe(connection: &Connection, event_type: &str, object: Json<'_>) -> Result<Observation, Fault> {
    let facts = match event_type {
        // Carries the cumulative amount only; each refund is told by its own events. Books nothing.
        "charge.refunded" => Vec::new(),
        "charge.expired" => facts::of_expired_charge(connection, object)?,
        t if t.starts_with("payment_intent.") => return facts::observe_payment(connection, object),
        t if t.starts_with("charge.dispute.") => facts::of_dispute(connection, object)?,
        t if t.starts_with("charge.") => facts::of_charge(connection, object)?,
        t if t.starts_with("refund.") => vec![facts::of_refund(connection, object)?],
        _ => facts::of_review(object)?,
    };
    Ok(Observation { facts, ..Observation::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tillway_core::doc::Doc;
    use tillway_core::facts::{AuthorizationEnd, DisputeStatus, Fact, RefundStatus, ReviewOutcome};
    use tillway_core::money::{Currency, Money};
    use tillway_core::time::Timestamp;

    use super::super::testing::{connection, spec};
    use super::*;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::parse("USD").unwrap())
    }

    fn event(kind: &str, object: Value) -> Result<Interpreted, Rejected> {
        let body = json!({"id": "evt_1", "type": kind, "livemode": false, "data": {"object": object}});
        interpret(&connection(), kind, Doc::from(&body).json())
    }

    fn facts(kind: &str, object: Value) -> Vec<Fact> {
        match event(kind, object).unwrap() {
            Interpreted::About { observation, .. } => observation.facts,
            other => panic!("{other:?}"),
        }
    }

    fn payment(status: &str) -> Value {
        json!({"id": "pi_1", "object": "payment_intent", "amount": 1000, "currency": "usd", "status": status,
            "latest_charge": "ch_1", "amount_received": 0, "amount_capturable": 0, "payment_method": "pm_1"})
    }

    fn charge() -> Value {
        json!({"id": "ch_1", "amount": 1000, "amount_captured": 0, "currency": "usd", "status": "succeeded",
            "captured": false, "created": 1_700_000_000, "payment_intent": "pi_1"})
    }

    #[test]
    fn all_fixtures_are_understood_or_counted() {
        let Some(file) = spec("fixtures.json") else { return };
        let events = file["events"].as_object().unwrap();
        assert_eq!(events.len(), 21);
        let mut about = 0;
        for (name, body) in events {
            let kind = body["type"].as_str().unwrap();
            match interpret(&connection(), kind, Doc::from(body).json()) {
                Ok(Interpreted::About { .. }) => about += 1,
                Ok(other) => assert_eq!(other, Interpreted::Unhandled, "{name}"),
                Err(rejected) => panic!("{name}: {rejected:?}"),
            }
        }
        assert_eq!(about, 11);
    }

    #[test]
    fn an_uncaptured_charge_is_an_authorization_and_no_money() {
        let authorized = |expires_at| Fact::Authorized {
            payment: "pi_1".into(),
            charge: "ch_1".into(),
            amount: usd(1000),
            expires_at: Some(Timestamp::from_unix(expires_at)),
        };
        assert_eq!(facts("charge.succeeded", charge()), [authorized(1_700_000_000 + 7 * 86_400)]);
        let mut dated = charge();
        dated["payment_method_details"] = json!({"card": {"capture_before": 1_700_000_099}});
        assert_eq!(facts("charge.succeeded", dated), [authorized(1_700_000_099)]);
    }

    #[test]
    fn a_capture_of_less_releases_the_rest() {
        let mut object = charge();
        object["captured"] = true.into();
        object["amount_captured"] = 600.into();
        let told = facts("charge.captured", object);
        assert!(told.contains(&Fact::Captured {
            payment: "pi_1".into(),
            charge: "ch_1".into(),
            total: usd(600)
        }));
        let released = Fact::AuthorizationEnded {
            payment: "pi_1".into(),
            charge: "ch_1".into(),
            how: AuthorizationEnd::Released,
        };
        assert!(told.contains(&released));
        let mut object = payment("succeeded");
        object["amount_received"] = 600.into();
        assert!(facts("payment_intent.succeeded", object).contains(&released));
    }

    #[test]
    fn requires_payment_method_is_a_failure_only_with_an_error() {
        assert_eq!(facts("payment_intent.created", payment("requires_payment_method")).len(), 1);
        let mut object = payment("requires_payment_method");
        object["last_payment_error"] =
            json!({"code": "card_declined", "decline_code": "lost_card", "charge": "ch_1"});
        let told = facts("payment_intent.payment_failed", object);
        assert!(matches!(&told[1], Fact::AttemptFailed { attempt, shopper_reason, .. }
            if attempt == "ch_1" && shopper_reason == "generic_decline"));
    }

    #[test]
    fn the_link_to_the_bank_is_personal_and_no_fact() {
        let mut object = payment("requires_action");
        object["next_action"] =
            json!({"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/CANARY"}});
        let Interpreted::About { observation, .. } = event("payment_intent.requires_action", object).unwrap()
        else {
            panic!()
        };
        assert!(
            observation
                .facts
                .contains(&Fact::ActionRequired { payment: "pi_1".into(), attempt: "pi_1:pm_1".into() })
        );
        assert_eq!(observation.personal.at("action.url").as_text(), Some("https://bank.example/CANARY"));
        assert!(!format!("{observation:?}").contains("CANARY"));
    }

    #[test]
    fn refunds_are_told_by_their_own_events_only() {
        assert!(facts("charge.refunded", charge()).is_empty());
        let refund = |status: &str, txn: Option<&str>, why: Option<&str>| {
            let object = json!({"id": "re_1", "amount": 300, "currency": "usd", "payment_intent": "pi_1",
                "status": status, "balance_transaction": txn, "failure_reason": why,
                "metadata": {"tillway_request": "R-1"}});
            match facts("refund.updated", object).remove(0) {
                Fact::Refund { status, moved, returned, request, .. } => {
                    assert_eq!(request.as_deref(), Some("R-1"));
                    (status, moved, returned)
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refund("pending", None, None), (RefundStatus::Pending, false, false));
        assert_eq!(refund("pending", Some("txn_1"), None), (RefundStatus::Pending, true, false));
        assert_eq!(refund("succeeded", Some("txn_1"), None), (RefundStatus::Succeeded, true, false));
        assert_eq!(refund("failed", Some("txn_1"), Some("declined")), (RefundStatus::Failed, true, true));
        assert_eq!(refund("failed", None, Some("insufficient_funds")), (RefundStatus::Failed, false, false));
        assert_eq!(refund("canceled", None, None), (RefundStatus::Cancelled, false, false));
    }

    #[test]
    fn a_disputes_status_comes_from_the_object_and_money_from_its_movements() {
        let object = json!({"id": "dp_1", "amount": 1000, "currency": "usd", "payment_intent": "pi_1",
            "status": "under_review", "reason": "fraudulent", "balance_transactions": [
                {"id": "txn_1", "amount": -1000, "fee": 1500, "currency": "usd"},
                {"id": "txn_2", "amount": 1000, "fee": -1500, "currency": "usd"}]});
        let told = facts("charge.dispute.funds_reinstated", object.clone());
        assert!(matches!(&told[0], Fact::Dispute { status: DisputeStatus::UnderReview, .. }));
        assert!(matches!(&told[1], Fact::DisputeMoved { amount, fee: 1500, .. } if *amount == usd(-1000)));
        assert!(matches!(&told[2], Fact::DisputeMoved { amount, fee: -1500, .. } if *amount == usd(1000)));
        let mut other = object.clone();
        other["balance_transactions"][0]["currency"] = "eur".into();
        assert_eq!(event("charge.dispute.created", other).unwrap_err().code, "dispute_currency_differs");
        let mut new = object;
        new["status"] = "invented".into();
        let rejected = event("charge.dispute.updated", new).unwrap_err();
        assert_eq!(
            (rejected.code.as_str(), rejected.field.as_str()),
            ("status_unknown", "data.object.status")
        );
    }

    #[test]
    fn reviews_end_in_go_stop_or_neither() {
        let outcome = |reason: &str| {
            let object =
                json!({"id": "prv_1", "open": false, "closed_reason": reason, "payment_intent": "pi_1"});
            match facts("review.closed", object).remove(0) {
                Fact::ReviewClosed { outcome, .. } => outcome,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(outcome("approved"), ReviewOutcome::Approved);
        for reason in ["refunded", "refunded_as_fraud", "canceled"] {
            assert_eq!(outcome(reason), ReviewOutcome::Rejected, "{reason}");
        }
        for reason in ["disputed", "redacted", "acknowledged", "payment_never_settled", "new"] {
            assert_eq!(outcome(reason), ReviewOutcome::Closed, "{reason}");
        }
    }

    #[test]
    fn test_and_live_do_not_mix() {
        let mut live = connection();
        live.production = true;
        let mut body = json!({"type": "charge.succeeded", "livemode": false, "data": {"object": charge()}});
        let rejected = interpret(&live, "charge.succeeded", Doc::from(&body).json()).unwrap_err();
        assert_eq!(
            (rejected.code.as_str(), rejected.field.as_str()),
            ("test_event_in_production", "livemode")
        );
        body["livemode"] = true.into();
        assert!(interpret(&live, "charge.succeeded", Doc::from(&body).json()).is_ok());
        let rejected = interpret(&connection(), "charge.succeeded", Doc::from(&body).json()).unwrap_err();
        assert_eq!(rejected.code, "live_event_in_test");
    }

    #[test]
    fn the_owner_is_the_order_or_every_id_in_sight() {
        let owner = |object: Value| match event("charge.succeeded", object).unwrap() {
            Interpreted::About { owner, .. } => owner,
            other => panic!("{other:?}"),
        };
        let ids = vec!["pi_1".to_owned(), "ch_1".to_owned()];
        assert_eq!(owner(charge()), Owner::Objects { ids });
        for key in ["clarity_order_id", "clarityorderid"] {
            let mut object = charge();
            object["metadata"] = json!({key: "A-1"});
            assert_eq!(owner(object), Owner::Order { id: "A-1".into() });
        }
    }

    #[test]
    fn negative_amounts_unknown_currencies_and_thin_events_are_told_apart() {
        let mut object = charge();
        object["amount"] = (-5).into();
        assert_eq!(event("charge.succeeded", object).unwrap_err().code, "amount_negative");
        let mut object = charge();
        object["currency"] = "zzz".into();
        let rejected = event("charge.succeeded", object).unwrap_err();
        assert_eq!(
            (rejected.code.as_str(), rejected.field.as_str()),
            ("currency_unknown", "data.object.currency")
        );
        assert_eq!(event("invoice.paid", json!({"id": "in_1"})).unwrap(), Interpreted::Unhandled);
        let thin = json!({"id": "evt_1", "type": "charge.succeeded", "object": "v2.core.event"});
        assert_eq!(
            interpret(&connection(), "charge.succeeded", Doc::from(&thin).json()).unwrap(),
            Interpreted::Unhandled
        );
    }
}
