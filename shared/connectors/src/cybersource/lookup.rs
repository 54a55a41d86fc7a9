//! Finding out what became of a call whose answer was lost. There is no key that could be replayed: our reference is
//! searched, and the details of what is found tell which command made it. Searches lag behind, so what they do not show
//! counts only after the lag, and even then an earlier sending is undone before the next (see `guard`).

use serde_json::json;
use tillway_core::doc::{Doc, Json};
use tillway_core::facts::{Fact, ReviewOutcome};

use super::actions;
use super::client::{Client, ReadFault};
use super::endpoints;
use super::errors;
use super::operations::{self, capture_facts, check_amount, disagrees, judge_paid, void_facts};
use super::plan::Plan;
use super::sweep;
use super::transaction::{Kind, Transaction, captured, mark, request_mark, reversed};
use super::wire::{self, text};
use crate::common::stored;
use crate::port::{Call, Finding, Observation, Outcome};

/// Details one look reads at most.
const MOST_DETAILS: usize = 25;
/// Summaries of one page, and pages.
const PAGE: usize = 100;
const MOST_PAGES: usize = 5;

fn still(why: impl Into<String>) -> Finding {
    Finding::StillUnknown { why: why.into() }
}

/// Finds out.
pub(super) async fn find_out(call: &Call<'_>) -> Finding {
    let plan: Plan = match stored(call) {
        Ok(plan) => plan,
        Err(outcome) => return Finding::Evidence(outcome),
    };
    let client = Client::new(call, 8);
    match call.action {
        // Doing these again does no harm, and tells.
        actions::READ_NAME | actions::CUSTOMER_NAME => match operations::call(call).await {
            Outcome::NotDone { .. } => still("could not be done again yet"),
            Outcome::Unknown { why, .. } => still(why),
            outcome => Finding::Evidence(outcome),
        },
        actions::DECIDE_NAME => decided(&client, &plan).await,
        _ => match look(&client, &plan).await {
            Ok(Seen::Ours(outcome)) => Finding::Evidence(outcome),
            Ok(Seen::Nothing) => Finding::NotThere,
            Ok(Seen::Unclear) => still(
                "a transaction of this order shows no mark of ours, and none that does is there; compare it in the \
                 Business Center",
            ),
            Err(fault) => still(fault.why()),
        },
    }
}

/// What a search shows of our request.
enum Seen {
    Ours(Outcome),
    Nothing,
    /// One that may be ours, and cannot be told.
    Unclear,
}

/// The summaries of all transactions under a reference, oldest first.
pub(super) async fn search(client: &Client<'_>, code: &str) -> Result<Vec<Doc>, ReadFault> {
    let days = client.call.connection.number("search_days", 90);
    let window = format!("submitTimeUtc:[NOW/DAY-{days}DAYS TO NOW/DAY+1DAY}}");
    let query = format!("clientReferenceInformation.code:{code} AND {window}");
    let mut all: Vec<Doc> = Vec::new();
    for _ in 0..MOST_PAGES {
        let page = page(client, &query, all.len(), PAGE).await?;
        let before = all.len();
        all.extend(summaries(page.json()).map(Json::to_doc));
        let total = total(page.json());
        if all.len() == before || all.len() >= total {
            break;
        }
    }
    // A query matches words; only the very reference is ours.
    all.retain(|s| wire::code(s.json()) == Some(code));
    all.sort_by_key(|s| wire::submitted(s.json()));
    Ok(all)
}

/// One page of a search.
pub(super) async fn page(
    client: &Client<'_>,
    query: &str,
    offset: usize,
    limit: usize,
) -> Result<Doc, ReadFault> {
    let body = json!({
        "save": false,
        "name": "Tillway",
        "timezone": "GMT",
        "query": query,
        "offset": offset,
        "limit": limit,
        "sort": "submitTimeUtc:asc",
    });
    client.ask(&endpoints::path(client.call.connection, "searches", ""), &body).await
}

/// The summaries of a page; past the end there are none.
pub(super) fn summaries(page: Json<'_>) -> impl Iterator<Item = Json<'_>> {
    page.at(&["_embedded", "transactionSummaries"]).into_iter().flat_map(Json::items)
}

/// How many a search found in all.
pub(super) fn total(page: Json<'_>) -> usize {
    page.get("totalCount").and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
}

/// Reads a transaction's detail.
pub(super) async fn detail(client: &Client<'_>, id: &str) -> Result<Doc, ReadFault> {
    client.get(&endpoints::path(client.call.connection, "transactions", id)).await
}

/// The kinds of transaction an action makes.
fn makes(action: &str, kind: Kind) -> bool {
    match action {
        actions::AUTHORIZE_NAME => matches!(kind, Kind::Authorization | Kind::Sale),
        actions::CAPTURE_NAME => kind == Kind::Capture,
        actions::REVERSE_NAME => kind == Kind::Reversal,
        actions::VOID_NAME => kind == Kind::Void,
        actions::REFUND_NAME => kind == Kind::Refund,
        _ => false,
    }
}

async fn look(client: &Client<'_>, plan: &Plan) -> Result<Seen, ReadFault> {
    let call = client.call;
    let found = search(client, &plan.code).await?;
    // Where any transaction of the order shows a mark, one that shows none is not ours.
    let mut marked = found.iter().any(|s| mark(call.connection, s.json()).is_some());
    let mut unmarked = false;
    let mut read = 0;
    for summary in found.iter().rev().filter(|s| makes(call.action, Kind::of(s.json()))) {
        let another = mark(call.connection, summary.json()).is_some_and(|m| m != call.command.as_str());
        if another && !serves(call, plan, summary.json()) {
            continue;
        }
        let Some(id) = text(summary.json(), &["id"]).filter(|i| wire::is_id(i)) else { continue };
        read += 1;
        if read > MOST_DETAILS {
            // What was not read may be ours.
            return Ok(Seen::Unclear);
        }
        let detail = detail(client, id).await?;
        let Ok(transaction) = Transaction::of(call.connection, detail.json()) else { continue };
        match (transaction.command(), is_ours(call, plan, &transaction)) {
            (_, true) => return Ok(Seen::Ours(judge(call, plan, &transaction))),
            (None, false) => unmarked = true,
            (Some(_), false) => marked = true,
        }
    }
    Ok(if unmarked && !marked { Seen::Unclear } else { Seen::Nothing })
}

/// Whether a transaction came of our request: by its mark; a reversal or a void by what it undoes, whoever made it.
fn is_ours(call: &Call<'_>, plan: &Plan, found: &Transaction<'_>) -> bool {
    let of_payment = plan.payment.as_deref().is_some_and(|p| found.root() == Some(p));
    let done = || found.done().unwrap_or(false);
    match call.action {
        actions::REVERSE_NAME => of_payment && done(),
        actions::VOID_NAME if of_payment && done() => {
            let capture = plan.object.as_deref();
            found.command() == Some(call.command.as_str()) || found.related().any(|r| Some(r) == capture)
        }
        _ => found.command() == Some(call.command.as_str()) || serves(call, plan, found.detail),
    }
}

/// Whether a refund serves the same request: an earlier command of the same wish may have made it.
fn serves(call: &Call<'_>, plan: &Plan, found: Json<'_>) -> bool {
    let same = plan.request.is_some() && request_mark(call.connection, found) == plan.request.as_deref();
    same && call.action == actions::REFUND_NAME
}

/// Judges a transaction that came of our request, as if its answer had come.
fn judge(call: &Call<'_>, plan: &Plan, found: &Transaction<'_>) -> Outcome {
    judged(call, plan, found).unwrap_or_else(|fault| disagrees(fault.into(), Vec::new()))
}

fn judged(call: &Call<'_>, plan: &Plan, found: &Transaction<'_>) -> Result<Outcome, wire::Fault> {
    let said = format!("found as {} {}", found.kind.name(), found.id);
    if call.action == actions::AUTHORIZE_NAME {
        let paid = found.paid()?;
        let told = found.facts(None)?;
        return Ok(match operations::check_payment(plan, &paid, paid.total) {
            Ok(()) => judge_paid(plan, &paid, told, &said),
            Err(difference) => disagrees(difference, told),
        });
    }
    if !found.done()? {
        let code = errors::reason(found.detail).unwrap_or_else(|| "DECLINED".to_owned());
        return Ok(Outcome::Refused { code, observation: Observation::default(), summary: said });
    }
    let payment = plan.payment.as_deref().unwrap_or("");
    let (told, amount) = match call.action {
        actions::CAPTURE_NAME => {
            found.facts(None)?;
            let amount = found.amount()?;
            (capture_facts(plan, payment, found.id, amount), Some(amount))
        }
        actions::REFUND_NAME => (found.facts(None)?, Some(found.amount()?)),
        actions::VOID_NAME => (void_facts(plan, found.id), None),
        _ => (reversed(payment, "reversed"), None),
    };
    let of_payment = found.root().is_none_or(|root| root == payment);
    let checked = amount.map_or(Ok(()), |a| check_amount(plan, a, "totalAmount"));
    if !of_payment {
        let what = "the transaction found belongs to another payment; look at both in the Business Center"
            .to_owned();
        return Ok(disagrees(operations::Differs { field: "rootId".to_owned(), what }, told));
    }
    Ok(match checked {
        Err(difference) => disagrees(difference, told),
        Ok(()) => Outcome::Settled {
            observation: Observation { facts: told, ..Observation::default() },
            provider_id: Some(found.id.to_owned()),
            summary: said,
        },
    })
}

/// Cybersource turned a request away in a way that may mean that it was done before.
pub(super) async fn done_before(client: &Client<'_>, plan: &Plan) -> Result<Option<Outcome>, ReadFault> {
    if let Seen::Ours(outcome) = look(client, plan).await? {
        return Ok(Some(outcome));
    }
    if client.call.action == actions::CAPTURE_NAME && plan.captured.is_some() {
        return adopt(client, plan).await;
    }
    Ok(None)
}

/// All captures of a payment that a search shows, as facts, and their sum.
async fn captures(client: &Client<'_>, plan: &Plan) -> Result<(Vec<Fact>, i64), ReadFault> {
    let mut told = Vec::new();
    let mut sum = 0_i64;
    let found = search(client, &plan.code).await?;
    for summary in found.iter().filter(|s| Kind::of(s.json()) == Kind::Capture).take(MOST_DETAILS) {
        let Some(id) = text(summary.json(), &["id"]).filter(|i| wire::is_id(i)) else { continue };
        let detail = detail(client, id).await?;
        let Ok(capture) = Transaction::of(client.call.connection, detail.json()) else { continue };
        let ours = plan.payment.as_deref().filter(|p| capture.root() == Some(*p));
        if let (Some(payment), Ok(true), Ok(amount)) = (ours, capture.done(), capture.amount()) {
            sum = sum.saturating_add(amount.minor);
            told.push(captured(payment, capture.id, amount));
        }
    }
    Ok((told, sum))
}

/// Facts of the captures that are there, for a capture that was turned away; none where they cannot be read.
pub(super) async fn captures_of(client: &Client<'_>, plan: &Plan) -> Observation {
    if client.call.action != actions::CAPTURE_NAME && client.call.action != actions::REVERSE_NAME {
        return Observation::default();
    }
    let facts = captures(client, plan).await.map_or_else(|_| Vec::new(), |(facts, _)| facts);
    Observation { facts, ..Observation::default() }
}

/// A capture that somebody else made, in the Business Center or with the acceptance of a case, stands for ours.
pub(super) async fn adopt(client: &Client<'_>, plan: &Plan) -> Result<Option<Outcome>, ReadFault> {
    let (mut told, sum) = captures(client, plan).await?;
    if sum <= plan.captured.unwrap_or(0) {
        return Ok(None);
    }
    let wanted = plan.captured.unwrap_or(0).saturating_add(plan.amount.map_or(0, |a| a.minor));
    if sum < wanted {
        let what = "somebody captured a part of this payment elsewhere; compare with the Business Center, then replay \
                    the step for the rest, or drop it"
            .to_owned();
        return Ok(Some(disagrees(operations::Differs { field: "totalAmount".to_owned(), what }, told)));
    }
    if plan.last {
        let payment = plan.payment.clone().unwrap_or_default();
        let how = tillway_core::facts::AuthorizationEnd::Released;
        told.push(Fact::AuthorizationEnded { charge: payment.clone(), payment, how });
    }
    Ok(Some(Outcome::Settled {
        observation: Observation { facts: told, ..Observation::default() },
        provider_id: None,
        summary: "captured elsewhere before; adopted, nothing was sent".to_owned(),
    }))
}

/// What became of a case: the list of conversions tells.
async fn decided(client: &Client<'_>, plan: &Plan) -> Finding {
    let payment = plan.payment.as_deref().unwrap_or("");
    let since = client.call.now - tillway_core::time::Millis::days(2);
    let list = match sweep::conversions(client, since).await {
        Ok(list) => list,
        Err(fault) => return still(fault.why()),
    };
    let Some(accepted) = list.iter().find(|c| c.payment == payment).map(|c| c.accepted) else {
        return Finding::NotThere;
    };
    let outcome = if accepted { ReviewOutcome::Approved } else { ReviewOutcome::Rejected };
    let fact = Fact::ReviewClosed { review: payment.to_owned(), payment: payment.to_owned(), outcome };
    let observation = Observation { facts: vec![fact], ..Observation::default() };
    let summary = "found in the list of conversions".to_owned();
    Finding::Evidence(if accepted == plan.accept {
        Outcome::Settled { observation, provider_id: Some(payment.to_owned()), summary }
    } else {
        Outcome::Refused { code: "decided_otherwise".to_owned(), observation, summary }
    })
}
