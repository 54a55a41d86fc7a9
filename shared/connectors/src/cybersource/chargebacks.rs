//! Chargebacks, which no webhook tells: the list of the last thirty days, read with every sweep.
//!
//! The vendor's lists of codes were not to be had, so little is read into them: the sign says whether money was taken or
//! given back, a retrieval is a question, and whatever else it is called is a dispute that somebody has to answer. Money
//! that came back is no verdict.

use serde_json::{Value, json};
use tillway_core::doc::{Doc, Json};
use tillway_core::facts::{DisputeStatus, Fact};
use tillway_core::money::Money;
use tillway_core::time::{Millis, Timestamp};

use super::client::{Client, ReadFault};
use super::wire::{self, Fault, money, scalar, text};
use super::{endpoints, events};
use crate::config::Connection;
use crate::port::{Interpreted, Observation, Owner, Rejected, SweptEvent};

/// Type of what is read from the list.
pub(super) const CHARGEBACK: &str = "tillway.chargeback";
/// A chargeback is listed days after its time.
const WINDOW: Millis = Millis::days(30);

/// The chargebacks of the last thirty days; none where the account has no such list.
pub(super) async fn list(client: &Client<'_>) -> Result<Vec<SweptEvent>, ReadFault> {
    let call = client.call;
    let target = endpoints::report(call.connection, "chargeback_details", call.now - WINDOW, call.now);
    let list = match client.get(&target).await {
        Ok(list) => list,
        // No data.
        Err(ReadFault::Missing(_)) => return Ok(Vec::new()),
        Err(fault) => return Err(fault),
    };
    let items = list.json().get("chargebackDetails").into_iter().flat_map(Json::items);
    Ok(items.map(|item| event(item, call.now)).collect())
}

fn event(item: Json<'_>, now: Timestamp) -> SweptEvent {
    let data = serde_json::to_value(item).unwrap_or(Value::Null);
    let body = Doc::from(&json!({"eventType": CHARGEBACK, "payload": {"data": data}}));
    let (event_id, _) = events::name(CHARGEBACK, body.json());
    let group = text(item, &["merchantReferenceNumber"]).unwrap_or(&event_id).to_owned();
    let created_at = text(item, &["time"]).and_then(Timestamp::parse_rfc3339).unwrap_or(now);
    SweptEvent { event_id, event_type: CHARGEBACK.to_owned(), group, created_at, body }
}

/// What a chargeback means.
pub(super) fn interpret(connection: &Connection, item: Json<'_>) -> Result<Interpreted, Rejected> {
    let order = text(item, &["merchantReferenceNumber"]).and_then(|code| wire::order_of(connection, code));
    let request = text(item, &["requestId"]).filter(|i| wire::is_id(i));
    let owner = match (order, request) {
        (Some(id), _) => Owner::Order { id: id.to_owned() },
        (None, Some(request)) => Owner::Objects { ids: vec![request.to_owned()] },
        (None, None) => Owner::Nobody,
    };
    let facts = facts(connection, item, request).map_err(|f| f.about("payload.data.", owner.clone()))?;
    Ok(Interpreted::About {
        owner,
        observation: Observation { facts, ..Observation::default() },
        person: None,
    })
}

/// What is known of it; `request` is the payment it names.
pub(super) fn facts(
    connection: &Connection,
    item: Json<'_>,
    request: Option<&str>,
) -> Result<Vec<Fact>, Fault> {
    let what = "the chargeback names no transaction; find it in the Business Center and book it by hand";
    let payment = request.ok_or_else(|| Fault::new("id_missing", "requestId", what))?;
    let amount = money(connection, item, &["amount"], &["currencyCode"], None)?;
    let nature = text(item, &["natureOfDispute"]).unwrap_or("").to_ascii_lowercase();
    let dispute = format!("chargeback:{payment}");
    let plain =
        |r: &String| r.len() <= 40 && r.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let reason = scalar(item, &["reasonCode"]).filter(plain).unwrap_or_else(|| "general".to_owned());
    let signed = match text(item, &["sign"]) {
        Some("-") => Some(Money::new(amount.minor.saturating_neg(), amount.currency)),
        Some("+") => Some(amount),
        _ => None,
    };
    let (status, moved) = match signed {
        _ if nature.contains("retrieval") => (DisputeStatus::Inquiry, None),
        Some(taken) if taken.minor < 0 => (DisputeStatus::NeedsResponse, Some(taken)),
        Some(given) => (DisputeStatus::UnderReview, Some(given)),
        None => {
            let what = "the chargeback does not say whether money was taken or given back (`sign` is neither - nor +); \
                        look at it in the Business Center and book it by hand";
            return Err(Fault::new("chargeback_unclear", "sign", what));
        }
    };
    let mut facts =
        vec![Fact::Dispute { dispute: dispute.clone(), payment: payment.to_owned(), amount, status, reason }];
    facts.extend(moved.map(|amount| {
        // A second presentment bears the number and the amount of the first, at another time.
        let part = |name| scalar(item, &[name]).unwrap_or_default();
        let (number, time) = (part("trackingNumber"), part("time"));
        let sign = if amount.minor < 0 { '-' } else { '+' };
        let txn = format!("{dispute}:{number}:{time}:{sign}{}", amount.minor.saturating_abs());
        Fact::DisputeMoved { dispute, payment: payment.to_owned(), txn, amount, fee: 0 }
    }));
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{connection, spec};
    use super::*;

    fn item(sign: &str, nature: &str) -> Value {
        json!({"requestId": "764", "merchantReferenceNumber": "ORD-1001", "amount": "102.21", "currencyCode": "USD",
            "sign": sign, "natureOfDispute": nature, "trackingNumber": "000123", "reasonCode": "10.4",
            "time": "2026-11-19T08:00:00Z"})
    }
    fn told(item: &Value) -> Vec<Fact> {
        match interpret(&connection(), Doc::from(item).json()).unwrap() {
            Interpreted::About { owner, observation, .. } => {
                assert_eq!(owner, Owner::Order { id: "ORD-1001".into() });
                observation.facts
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn money_is_told_by_its_sign_and_what_came_back_is_no_verdict() {
        let taken = told(&item("-", "Chargeback"));
        assert!(
            matches!(&taken[0], Fact::Dispute { status: DisputeStatus::NeedsResponse, reason, .. } if reason == "10.4")
        );
        assert!(matches!(&taken[1], Fact::DisputeMoved { amount, .. } if amount.minor == -10_221));
        let given = told(&item("+", "Anything"));
        assert!(matches!(&given[0], Fact::Dispute { status: DisputeStatus::UnderReview, .. }));
        assert!(matches!(&given[1], Fact::DisputeMoved { amount, .. } if amount.minor == 10_221));
        // A second presentment under the same number is another movement.
        let txn = |item: &Value| match &told(item)[1] {
            Fact::DisputeMoved { txn, .. } => txn.clone(),
            other => panic!("{other:?}"),
        };
        let mut again = item("-", "Chargeback");
        assert_eq!(txn(&again), txn(&item("-", "Chargeback")));
        again["time"] = "2026-12-01T08:00:00Z".into();
        assert_ne!(txn(&again), txn(&item("-", "Chargeback")));
        assert!(matches!(
            &told(&item("-", "Retrieval request"))[..],
            [Fact::Dispute { status: DisputeStatus::Inquiry, .. }]
        ));
        let odd = interpret(&connection(), Doc::from(&item("", "Chargeback")).json()).unwrap_err();
        assert_eq!((odd.code.as_str(), odd.field.as_str()), ("chargeback_unclear", "payload.data.sign"));
    }

    #[test]
    fn the_shared_list_is_understood_and_its_events_keep_their_names() {
        let Some(file) = spec("fixtures/chargeback_details_200.json") else { return };
        let found = Doc::from(&file["chargebackDetails"][0]);
        let named = event(found.json(), Timestamp(0));
        assert_eq!((named.group.as_str(), named.created_at.day().as_str()), ("ORD-1001", "2026-11-19"));
        assert_eq!(event(found.json(), Timestamp(9)).event_id, named.event_id);
        assert_eq!(told(&file["chargebackDetails"][0]).len(), 2);
    }
}
