//! Looking for what no webhook told: the list of decided cases, then transactions by time with their details.

use serde_json::{Value, json};
use tillway_core::doc::{Doc, Json};
use tillway_core::time::{Millis, Timestamp};

use super::client::{Answer, Client, ReadFault};
use super::conversions::{self, Conversion};
use super::events::{self, SWEPT, TRANSACTION_UNREADABLE, UNREADABLE};
use super::lookup::{detail, page, summaries, total};
use super::read;
use super::transaction::{Kind, Transaction};
use super::wire::{self, text};
use super::{chargebacks, routes};
use crate::port::{Call, NotDone, Observation, Owner, SweepPage, SweptEvent};

/// Transactions of one page: each costs a read or two.
const PAGE: usize = 10;
/// How late a decision may be listed.
const LISTED_LATE: Millis = Millis::days(1);
/// Cursor of the chargebacks.
const CHARGEBACKS: &str = "chargebacks";
/// What belongs to a transaction and is read with it.
const MOST_RELATED: usize = 5;

/// One page of one merchant id: the cases first, then chargebacks (`chargebacks`), then transactions by offset (`s:<offset>`).
pub(super) async fn pages(
    call: &Call<'_>,
    since: Timestamp,
    cursor: Option<&str>,
) -> Result<SweepPage, NotDone> {
    let client = Client::new(call, 6);
    if cursor == Some(CHARGEBACKS) {
        let events = listed(chargebacks::list(&client).await, "chargeback_details", call.now)?;
        return Ok(SweepPage { events, next: Some("s:0".to_owned()) });
    }
    let Some(offset) = cursor.and_then(|c| c.strip_prefix("s:")) else {
        // Decisions are listed hours after they were made.
        let cases = conversions::since(&client, since - LISTED_LATE).await;
        let events = cases.map(|cases| cases.iter().map(|c| case_event(c, since)).collect());
        let events = listed(events, "conversion_details", call.now)?;
        return Ok(SweepPage { events, next: Some(CHARGEBACKS.to_owned()) });
    };
    let offset: usize = offset.parse().unwrap_or(0);
    let query = format!("submitTimeUtc:[{} TO {}}}", since.rfc3339(), call.now.rfc3339());
    let found = page(&client, &query, (offset, PAGE), "submitTimeUtc:asc").await.map_err(|f| f.not_now())?;
    let listed: Vec<Json<'_>> = summaries(found.json()).collect();
    let (mut events, mut refused, mut answered) = (Vec::new(), 0_usize, false);
    let mut fault = NotDone::Unavailable;
    for summary in &listed {
        match transaction_event(&client, *summary, since).await.map_err(|f| f.not_now())? {
            Told::NotAsked => {}
            Told::NotThere => answered = true,
            Told::Event(event) => {
                answered = true;
                events.push(event);
            }
            Told::Refused(event, why) => {
                refused = refused.saturating_add(1);
                fault = why;
                events.push(event);
            }
        }
    }
    // One that is refused is told to a person. Where all of several are it is not theirs: the key has not the right, or the
    // question is wrong. Of a right that lacks one alone is enough, where nothing shows that the others may be read.
    if (refused > 1 || refused == 1 && fault == NotDone::Unauthorized) && !answered {
        return Err(fault);
    }
    events.sort_by_key(|e| e.created_at);
    let seen = offset.saturating_add(listed.len());
    let next = (!listed.is_empty() && total(found.json()).is_none_or(|total| seen < total))
        .then(|| format!("s:{seen}"));
    Ok(SweepPage { events, next })
}

/// What a list holds. A key without the right to read it is told to a person, once a day, and the sweep goes on.
fn listed(
    read: Result<Vec<SweptEvent>, ReadFault>,
    report: &str,
    now: Timestamp,
) -> Result<Vec<SweptEvent>, NotDone> {
    match read {
        Ok(events) => Ok(events),
        Err(ReadFault::Refused(answer) | ReadFault::Forbidden(answer)) => {
            let data =
                json!({"id": format!("{report}-{}", now.day()), "report": report, "said": answer.said()});
            let body = Doc::from(&json!({"eventType": UNREADABLE, "payload": {"data": data}}));
            Ok(vec![swept(UNREADABLE.to_owned(), body, now)])
        }
        Err(fault) => Err(fault.not_now()),
    }
}

/// A decided case as its webhook would tell it.
fn case_event(case: &Conversion, since: Timestamp) -> SweptEvent {
    let decision = if case.accepted { "accept" } else { "reject" };
    let event_type = format!("risk.casemanagement.decision.{decision}");
    let data = json!({"id": case.payment, "clientReferenceInformation": {"code": case.code}});
    let body = Doc::from(&json!({"eventType": event_type, "payload": {"data": data}}));
    swept(event_type, body, case.at.unwrap_or(since))
}

fn swept(event_type: String, body: Doc, created_at: Timestamp) -> SweptEvent {
    let named = events::name(&event_type, body.json());
    SweptEvent { event_id: named.0, event_type, group: named.1, created_at, body }
}

/// What was heard of a transaction.
enum Told {
    /// Nothing was asked: it moves no money, or is not ours.
    NotAsked,
    /// Its detail is not there yet, which the next window covers: windows overlap by more than the lag.
    NotThere,
    Event(SweptEvent),
    /// It is refused; what a person is told, and what it is where all are.
    Refused(SweptEvent, NotDone),
}

/// A transaction with all that tells what it means. One that is refused for good, or to which another belongs that is, is an
/// event for a person: else the sweep would never get past it.
async fn transaction_event(
    client: &Client<'_>,
    summary: Json<'_>,
    since: Timestamp,
) -> Result<Told, ReadFault> {
    let kind = Kind::of(summary);
    let id = text(summary, &["id"]).filter(|i| wire::is_id(i) && kind != Kind::Other);
    let Some(id) = id else { return Ok(Told::NotAsked) };
    let connection = client.call.connection;
    // What does not bear our reference is nobody's of ours: not worth a read.
    if wire::code(summary).is_some_and(|c| wire::order_of(connection, c).is_none()) {
        return Ok(Told::NotAsked);
    }
    let at = |of: Json<'_>| wire::submitted(of).or_else(|| wire::submitted(summary)).unwrap_or(since);
    let found = match detail(client, id).await {
        Ok(found) => found,
        Err(ReadFault::Missing(_)) => return Ok(Told::NotThere),
        Err(fault) => {
            let why = fault.not_now();
            let (ReadFault::Refused(answer) | ReadFault::Forbidden(answer)) = fault else {
                return Err(fault);
            };
            let event = unreadable(client, summary, (id, id), &answer, at(summary));
            // Gone is said of this one alone.
            return Ok(if answer.status == 410 { Told::Event(event) } else { Told::Refused(event, why) });
        }
    };
    let at = at(found.json());
    let related = match around(client, found.json()).await {
        Ok(related) => related,
        Err((other, ReadFault::Refused(answer) | ReadFault::Forbidden(answer))) => {
            return Ok(Told::Event(unreadable(client, found.json(), (id, &other), &answer, at)));
        }
        Err((_, fault)) => return Err(fault),
    };
    let related: Vec<Value> = related.iter().filter_map(|d| serde_json::to_value(d.json()).ok()).collect();
    let data = serde_json::to_value(found.json()).unwrap_or(Value::Null);
    let mut body = json!({"eventType": SWEPT, "payload": {"data": data, "related": related}});
    routes::mark(connection, &mut body);
    Ok(Told::Event(swept(SWEPT.to_owned(), Doc::from(&body), at)))
}

/// What a person is told of a transaction that cannot be told, because `unread`, it or one that belongs to it, is refused.
/// Named by the transaction alone: once, however often it is swept.
fn unreadable(
    client: &Client<'_>,
    seen: Json<'_>,
    (id, unread): (&str, &str),
    answer: &Answer,
    at: Timestamp,
) -> SweptEvent {
    let data = json!({
        "id": id,
        "transactionId": unread,
        "merchant": client.call.connection.setting("merchant_id", ""),
        "said": answer.said(),
        "clientReferenceInformation": {"code": wire::code(seen)},
    });
    let body = json!({"eventType": TRANSACTION_UNREADABLE, "payload": {"data": data}});
    swept(TRANSACTION_UNREADABLE.to_owned(), Doc::from(&body), at)
}

/// What is read besides: of a reservation whether it was let go, of a void what it undid. A fault names whose it is.
async fn around(client: &Client<'_>, found: Json<'_>) -> Result<Vec<Doc>, (String, ReadFault)> {
    let Ok(transaction) = Transaction::of(client.call.connection, found) else { return Ok(Vec::new()) };
    let undoes = matches!(transaction.kind, Kind::Void | Kind::Reversal);
    if !undoes && !matches!(transaction.kind, Kind::Authorization | Kind::Sale) {
        return Ok(Vec::new());
    }
    let mut ids: Vec<&str> = transaction.related().take(MOST_RELATED).collect();
    if let Some(root) = transaction.root().filter(|root| undoes && !ids.contains(root)) {
        ids.push(root);
    }
    let mut out = Vec::new();
    for id in ids {
        match detail(client, id).await {
            Ok(found) => out.push(found),
            Err(ReadFault::Missing(_)) => {}
            Err(fault) => return Err((id.to_owned(), fault)),
        }
    }
    Ok(out)
}

/// Reads a transaction of one merchant id and tells whose it is.
pub(super) async fn owner_of(call: &Call<'_>, object: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
    if !wire::is_id(object) {
        return Ok(None);
    }
    let client = Client::new(call, 3);
    let found = match detail(&client, object).await {
        Ok(found) => found,
        Err(ReadFault::Missing(_)) => return Ok(None),
        Err(fault) => return Err(fault.not_now()),
    };
    let related = around(&client, found.json()).await.map_err(|(_, f)| f.not_now())?;
    let mut docs = vec![found];
    docs.extend(related);
    // Made by hand without our reference, it belongs to the order of its payment.
    let root =
        docs.first().and_then(|d| text(d.json(), &["rootId"])).filter(|r| wire::is_id(r) && *r != object);
    let named =
        matches!(docs.first().map(|d| wire::owner(call.connection, d.json())), Some(Owner::Order { .. }));
    if let Some(root) = root.map(str::to_owned).filter(|_| !named)
        && !docs.iter().any(|d| text(d.json(), &["id"]) == Some(&root))
    {
        match detail(&client, &root).await {
            Ok(root) => docs.push(root),
            Err(ReadFault::Missing(_)) => {}
            Err(fault) => return Err(fault.not_now()),
        }
    }
    let named = docs.iter().find_map(|d| match wire::owner(call.connection, d.json()) {
        owner @ Owner::Order { .. } => Some((owner, wire::code(d.json())?.to_owned())),
        _ => None,
    });
    let Some((owner, code)) = named else { return Ok(None) };
    let docs: Vec<(String, Doc)> = docs.into_iter().map(|d| (String::new(), d)).collect();
    let (facts, _) = read::tell(call.connection, &docs, Some(&code));
    Ok(Some((owner, Observation { facts, ..Observation::default() })))
}
