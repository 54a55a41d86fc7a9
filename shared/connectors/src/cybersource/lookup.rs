//! Finding out what became of a call whose answer was lost. There is no key that could be replayed: our reference is
//! searched, and the details of what is found tell which command made it. Searches lag behind, so what they do not show
//! counts only after the lag, and even then an earlier sending is undone before the next (see `guard`).

use serde_json::json;
use tillway_core::doc::{Doc, Json};
use tillway_core::facts::{Fact, ReviewOutcome};
use tillway_core::time::Millis;

use super::actions;
use super::client::{Client, ReadFault};
use super::conversions;
use super::endpoints;
use super::errors;
use super::facts;
use super::instruments;
use super::operations::{
    self, capture_facts, check_amount, disagrees, judge_paid, void_facts, withdrawn_facts,
};
use super::plan::Plan;
use super::routes;
use super::ruled_out;
use super::transaction::{
    Kind, Mark, Transaction, captured, is_undoing, mark, request_mark, reversed, sent_as,
};
use super::wire::{self, text};
use crate::common::{Differs, still, stored};
use crate::port::{Call, Finding, Observation, Outcome};

/// Details one look reads at most.
pub(super) const MOST_DETAILS: usize = 25;
/// Summaries of one page, and pages.
const PAGE: usize = 100;
const MOST_PAGES: usize = 5;

/// Finds out.
pub(super) async fn find_out(call: &Call<'_>) -> Finding {
    let plan: Plan = match stored(call) {
        Ok(plan) => plan,
        Err(outcome) => return Finding::Evidence(outcome),
    };
    if routes::is_plain(call.connection, &plan) {
        seek(call, &plan).await
    } else {
        routes::find_out(call, &plan).await
    }
}

/// What doing it again tells.
pub(super) fn again(outcome: Outcome) -> Finding {
    match outcome {
        Outcome::NotDone { .. } => still("could not be done again yet"),
        Outcome::Unknown { why, .. } => still(why),
        outcome => Finding::Evidence(outcome),
    }
}

/// Finds out at the connection's merchant id.
pub(super) async fn seek(call: &Call<'_>, plan: &Plan) -> Finding {
    let client = Client::new(call, 8);
    match call.action {
        // Doing these again does no harm, and tells.
        actions::READ_NAME
        | actions::CUSTOMER_NAME
        | actions::UPDATE_CUSTOMER_NAME
        | actions::SCREEN_NAME => again(operations::act(call, plan).await),
        actions::INSTRUMENT_NAME => instruments::find_out(call, plan).await,
        actions::DECIDE_NAME => decided(&client, plan).await,
        _ => match look(&client, plan).await {
            Ok(Seen::Ours(outcome)) => Finding::Evidence(outcome),
            Ok(Seen::Nothing) => Finding::NotThere,
            // Of a capture one that may be ours is there.
            Ok(Seen::Unclear(why)) if call.action == actions::CAPTURE_NAME => still(why),
            Ok(Seen::Unclear(why)) => match ruled_out::by_what_is_there(&client, plan).await {
                Some(observation) => Finding::Evidence(ruled_out::refused(call.action, observation)),
                None => still(why),
            },
            Err(fault) => still(fault.why()),
        },
    }
}

/// What a search shows of our request.
enum Seen {
    Ours(Outcome),
    Nothing,
    /// One that may be ours, or may stand, and cannot be told.
    Unclear(&'static str),
}

const UNMARKED: &str = "a transaction of this order shows no mark of ours, and none of its kind that does is there; compare \
                        it in the Business Center";
const SYSTEM_ERROR: &str = "it is there with a system error, which leaves open whether it was carried out; look at it in \
                            the Business Center";
const EARLIER: &str = "an earlier sending of it is there, and whether it was undone does not show yet";
const MANY: &str = "more transactions of this order are there than are read";
/// What was made so long ago, and by now shows nothing that undid it, stands.
const SURELY_INDEXED: Millis = Millis::days(1);

/// The summaries of all transactions under a reference, oldest first; a fault where there are more than are read.
pub(super) async fn search(client: &Client<'_>, code: &str) -> Result<Vec<Doc>, ReadFault> {
    let days = client.call.connection.number("search_days", 90);
    let window = format!("submitTimeUtc:[NOW/DAY-{days}DAYS TO NOW/DAY+1DAY}}");
    let query = format!("clientReferenceInformation.code:{code} AND {window}");
    let mut all: Vec<Doc> = Vec::new();
    let mut whole = false;
    for _ in 0..MOST_PAGES {
        // The newest first: what is looked for was made a moment ago.
        let page = page(client, &query, (all.len(), PAGE), "submitTimeUtc:desc").await?;
        let before = all.len();
        all.extend(summaries(page.json()).map(Json::to_doc));
        let got = all.len().saturating_sub(before);
        whole = total(page.json()).map_or(got < PAGE, |total| all.len() >= total);
        if whole || got == 0 {
            break;
        }
    }
    if !whole {
        return Err(ReadFault::TooMany);
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
    (offset, limit): (usize, usize),
    sort: &str,
) -> Result<Doc, ReadFault> {
    let body = json!({
        "save": false,
        "name": "Tillway",
        "timezone": "GMT",
        "query": query,
        "offset": offset,
        "limit": limit,
        "sort": sort,
    });
    client.ask(&endpoints::path(client.call.connection, "searches", ""), &body).await
}

/// The summaries of a page; past the end there are none.
pub(super) fn summaries(page: Json<'_>) -> impl Iterator<Item = Json<'_>> {
    page.at(&["_embedded", "transactionSummaries"]).into_iter().flat_map(Json::items)
}

/// How many a search found in all, where it says so.
pub(super) fn total(page: Json<'_>) -> Option<usize> {
    page.get("totalCount").and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok())
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
        actions::VOID_NAME | actions::VOID_REFUND_NAME => kind == Kind::Void,
        actions::REFUND_NAME => kind == Kind::Refund,
        _ => false,
    }
}

/// Whether what bears this mark was made by our kind of command.
fn is_of_ours(call: &Call<'_>, mark: Mark<'_>) -> bool {
    mark.command.len() == call.command.as_str().len()
}

async fn look(client: &Client<'_>, plan: &Plan) -> Result<Seen, ReadFault> {
    let call = client.call;
    let found = search(client, &plan.code).await?;
    // Where a transaction of the kind shows a mark of ours, one that shows none is not ours. Other kinds prove nothing: an
    // account may show marks on some.
    let mut marked = false;
    let mut unmarked = false;
    let mut open = None;
    let mut read = 0;
    for summary in found.iter().rev().filter(|s| makes(call.action, Kind::of(s.json()))) {
        let shown = mark(call.connection, summary.json());
        marked |= shown.is_some_and(|m| is_of_ours(call, m));
        let another = shown.or(sent_as(summary.json())).is_some_and(|m| m.command != call.command.as_str());
        if another && !serves(call, plan, summary.json()) {
            continue;
        }
        let Some(id) = text(summary.json(), &["id"]).filter(|i| wire::is_id(i)) else { continue };
        read += 1;
        if read > MOST_DETAILS {
            // What was not read may be ours.
            return Ok(Seen::Unclear(MANY));
        }
        let detail = detail(client, id).await?;
        let Ok(transaction) = Transaction::of(call.connection, detail.json()) else { continue };
        marked |= mark(call.connection, detail.json()).is_some_and(|m| is_of_ours(call, m));
        if !is_ours(call, plan, &transaction) {
            unmarked |= transaction.mark().is_none() && may_be_ours(plan, &transaction);
            continue;
        }
        if transaction.is_unclear() {
            return Ok(Seen::Unclear(SYSTEM_ERROR));
        }
        match stands(client, &found, &transaction).await? {
            Some(true) => return Ok(Seen::Ours(judge(call, plan, &transaction))),
            Some(false) => {}
            None => open = Some(EARLIER),
        }
    }
    let open = open.or((unmarked && !marked).then_some(UNMARKED));
    // Whoever captured what was to be captured: the money is taken, and where the flow adopts captures this is one.
    if open == Some(UNMARKED)
        && call.action == actions::CAPTURE_NAME
        && plan.captured.is_some()
        && let Some(outcome @ Outcome::Settled { .. }) = adopt(client, plan).await?
    {
        return Ok(Seen::Ours(outcome));
    }
    Ok(open.map_or(Seen::Nothing, Seen::Unclear))
}

/// Whether a transaction of ours is the one to be judged. An earlier sending was to be undone before a later one left:
/// where it was, it counts for nothing; `None`: that cannot be told yet.
async fn stands(
    client: &Client<'_>,
    found: &[Doc],
    ours: &Transaction<'_>,
) -> Result<Option<bool>, ReadFault> {
    let call = client.call;
    if !is_earlier(call, ours) {
        return Ok(Some(true));
    }
    if ours.is_undone() || undone(client, found, ours.id).await? {
        return Ok(Some(false));
    }
    let old = ours.at().is_some_and(|at| at + SURELY_INDEXED < call.now);
    Ok(old.then_some(true))
}

/// Whether a void or a reversal that is there undid a transaction.
async fn undone(client: &Client<'_>, found: &[Doc], id: &str) -> Result<bool, ReadFault> {
    let undoes = |s: &&Doc| matches!(Kind::of(s.json()), Kind::Void | Kind::Reversal);
    for summary in found.iter().filter(undoes).take(MOST_DETAILS) {
        let Some(other) = text(summary.json(), &["id"]).filter(|i| wire::is_id(i)) else { continue };
        let detail = detail(client, other).await?;
        let Ok(undo) = Transaction::of(client.call.connection, detail.json()) else { continue };
        let of_it = match undo.kind {
            Kind::Reversal => undo.root() == Some(id),
            _ => undo.related().any(|r| r == id),
        };
        if of_it && undo.done().unwrap_or(false) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an earlier sending of ours is there and was undone. Where that cannot be read, it was not.
pub(super) async fn is_undone(client: &Client<'_>, plan: &Plan, sending: u32) -> bool {
    let call = client.call;
    let ours = Mark { command: call.command.as_str(), sending };
    let look = async {
        let found = search(client, &plan.code).await?;
        for summary in found.iter().filter(|s| makes(call.action, Kind::of(s.json()))) {
            let shown = mark(call.connection, summary.json()).or(sent_as(summary.json()));
            let Some(id) = text(summary.json(), &["id"]).filter(|i| wire::is_id(i)) else { continue };
            if shown.is_some_and(|m| m != ours) {
                continue;
            }
            let detail = detail(client, id).await?;
            let Ok(transaction) = Transaction::of(call.connection, detail.json()) else { continue };
            if transaction.mark() == Some(ours) {
                return Ok(transaction.is_undone() || undone(client, &found, id).await?);
            }
        }
        Ok::<bool, ReadFault>(false)
    };
    look.await.unwrap_or(false)
}

/// Whether a transaction came of our request: by its mark; a reversal or a void by what it undoes, whoever made it.
fn is_ours(call: &Call<'_>, plan: &Plan, found: &Transaction<'_>) -> bool {
    let of_payment = plan.payment.as_deref().is_some_and(|p| found.root() == Some(p));
    let done = || found.done().unwrap_or(false);
    let by_mark = || found.mark().is_some_and(|m| m.command == call.command.as_str());
    match call.action {
        // A part of it that somebody let go is not all of it.
        actions::REVERSE_NAME => {
            of_payment && done() && found.amount().is_ok_and(|a| plan.amount.is_none_or(|whole| whole == a))
        }
        actions::VOID_NAME | actions::VOID_REFUND_NAME if of_payment && done() => {
            let undone = plan.object.as_deref();
            by_mark() || found.related().any(|r| Some(r) == undone)
        }
        _ => by_mark() || serves(call, plan, found.detail),
    }
}

/// Whether a transaction that bears no mark could have come of our request, by what it acts on and by its amount. Whatever undid a
/// sending of ours did not.
fn may_be_ours(plan: &Plan, found: &Transaction<'_>) -> bool {
    let of_payment = plan.payment.as_deref().zip(found.root()).is_none_or(|(ours, root)| ours == root);
    // A bank may reserve less than it was asked for.
    let reserves = matches!(found.kind, Kind::Authorization | Kind::Sale);
    let as_much = plan.amount.zip(found.amount().ok()).is_none_or(|(ours, amount)| {
        let less = ours.currency == amount.currency && amount.minor < ours.minor;
        ours == amount || (reserves && less)
    });
    let mut linked = found.related().filter(|id| *id != found.id).peekable();
    let of_object = match (found.kind, plan.object.as_deref()) {
        (Kind::Void, Some(object)) => linked.peek().is_none() || linked.any(|id| id == object),
        _ => true,
    };
    // What the order knew before it asked.
    let known = plan.known.iter().flatten().any(|id| id == found.id);
    of_payment && as_much && of_object && !known && !is_undoing(found.detail)
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
        actions::REFUND_NAME => {
            let mut told = found.facts(None)?;
            for fact in &mut told {
                // An account may not show the field that carries it; the command knows.
                if let Fact::Refund { request, .. } = fact {
                    request.clone_from(&plan.request);
                }
            }
            (told, Some(found.amount()?))
        }
        actions::VOID_NAME => (void_facts(plan, found.id), None),
        actions::VOID_REFUND_NAME => (withdrawn_facts(plan), None),
        _ => (reversed(payment, "reversed"), None),
    };
    let of_payment = found.root().is_none_or(|root| root == payment);
    let checked = amount.map_or(Ok(()), |a| check_amount(plan, a, "totalAmount"));
    if !of_payment {
        let what = "the transaction found belongs to another payment; look at both in the Business Center"
            .to_owned();
        return Ok(disagrees(Differs { field: "rootId".to_owned(), what }, told));
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
    if client.call.action == actions::DECIDE_NAME {
        return listed_decision(client, plan).await;
    }
    if let Seen::Ours(outcome) = look(client, plan).await? {
        return Ok(Some(outcome));
    }
    if client.call.action == actions::CAPTURE_NAME && plan.captured.is_some() {
        return adopt(client, plan).await;
    }
    Ok(None)
}

/// Whether an earlier sending of this command made it: that was undone before this one, though a search may not show it yet.
fn is_earlier(call: &Call<'_>, found: &Transaction<'_>) -> bool {
    found.mark().is_some_and(|m| m.command == call.command.as_str() && m.sending < call.generation)
}

/// All captures of a payment that stand, as facts, and what of them is not known yet: by their ids, where those are known,
/// for one that was taken back and another one of the same sum are two.
pub(super) async fn captures(client: &Client<'_>, plan: &Plan) -> Result<(Vec<Fact>, i64), ReadFault> {
    let mut told = Vec::new();
    let mut new = if plan.known.is_some() { 0 } else { plan.captured.unwrap_or(0).saturating_neg() };
    let known = |id: &str| plan.known.iter().flatten().any(|known| known == id);
    let found = search(client, &plan.code).await?;
    let taking: Vec<&Doc> =
        found.iter().filter(|s| matches!(Kind::of(s.json()), Kind::Capture | Kind::Sale)).collect();
    if taking.len() > MOST_DETAILS {
        return Err(ReadFault::TooMany);
    }
    for summary in taking {
        let Some(id) = text(summary.json(), &["id"]).filter(|i| wire::is_id(i)) else { continue };
        let detail = detail(client, id).await?;
        let Ok(capture) = Transaction::of(client.call.connection, detail.json()) else { continue };
        let Some(payment) = plan.payment.as_deref().filter(|p| capture.root() == Some(*p)) else { continue };
        if is_earlier(client.call, &capture) {
            continue;
        }
        let took = match capture.kind {
            Kind::Sale => capture.paid().is_ok_and(|paid| paid.taken),
            _ => capture.done().unwrap_or(false),
        };
        let (true, Ok(amount)) = (took && !capture.is_undone(), capture.amount()) else { continue };
        if !undone(client, &found, id).await? {
            let more = if known(capture.id) { 0 } else { amount.minor };
            new = new.saturating_add(more);
            told.push(captured(payment, capture.id, amount));
        }
    }
    Ok((told, new))
}

/// What is to be known of a hold that Cybersource says is not there: somebody took it, or its time is over and it ran out.
pub(super) enum Gone {
    /// Captures that are there, with what was not known before.
    Taken(Vec<Fact>),
    /// It ran out; whether nothing of it was taken.
    RanOut { untouched: bool },
    /// Neither: before its time it may have been taken a moment ago, or let go by its bank.
    Unexplained,
}

/// Looks why a hold is not there. That alone says little: a hold that was used up is "missing" as well.
pub(super) async fn gone(client: &Client<'_>, plan: &Plan) -> Result<Gone, ReadFault> {
    let (facts, new) = captures(client, plan).await?;
    if new > 0 {
        return Ok(Gone::Taken(facts));
    }
    let Some(payment) = plan.payment.as_deref() else { return Ok(Gone::Unexplained) };
    let connection = client.call.connection;
    let detail = match detail(client, payment).await {
        Ok(detail) => detail,
        // Not indexed yet: so young its time is not over.
        Err(ReadFault::Missing(_)) => return Ok(Gone::Unexplained),
        Err(fault) => return Err(fault),
    };
    let made = Transaction::of(connection, detail.json()).ok().and_then(|payment| payment.at());
    let over = made.is_some_and(|at| facts::expires_at(connection, at) <= client.call.now);
    Ok(if over { Gone::RanOut { untouched: facts.is_empty() } } else { Gone::Unexplained })
}

/// Facts of what stands in the way of what was turned away: the captures that are there, or of a void the refunds. None
/// where they cannot be read.
pub(super) async fn in_the_way(client: &Client<'_>, plan: &Plan) -> Observation {
    let facts = match client.call.action {
        actions::CAPTURE_NAME | actions::REVERSE_NAME => captures(client, plan).await.map(|(facts, _)| facts),
        // A refund that follows the refused void must know of them.
        actions::VOID_NAME | actions::VOID_REFUND_NAME => refunds(client, plan).await,
        _ => Ok(Vec::new()),
    };
    Observation { facts: facts.unwrap_or_default(), ..Observation::default() }
}

/// Facts of all refunds of a payment.
async fn refunds(client: &Client<'_>, plan: &Plan) -> Result<Vec<Fact>, ReadFault> {
    let mut told = Vec::new();
    let found = search(client, &plan.code).await?;
    for summary in found.iter().filter(|s| Kind::of(s.json()) == Kind::Refund).take(MOST_DETAILS) {
        let Some(id) = text(summary.json(), &["id"]).filter(|i| wire::is_id(i)) else { continue };
        let detail = detail(client, id).await?;
        let Ok(refund) = Transaction::of(client.call.connection, detail.json()) else { continue };
        if plan.payment.as_deref().is_some_and(|p| refund.root() == Some(p)) {
            told.extend(refund.facts(None).unwrap_or_default());
        }
    }
    Ok(told)
}

/// A capture that somebody else made, in the Business Center or with the acceptance of a case, stands for ours.
pub(super) async fn adopt(client: &Client<'_>, plan: &Plan) -> Result<Option<Outcome>, ReadFault> {
    let (mut told, new) = captures(client, plan).await?;
    if new <= 0 {
        return Ok(None);
    }
    if new < plan.amount.map_or(0, |a| a.minor) {
        let what = "somebody captured a part of this payment elsewhere; compare with the Business Center, then replay \
                    the step for the rest, or drop it"
            .to_owned();
        return Ok(Some(disagrees(Differs { field: "totalAmount".to_owned(), what }, told)));
    }
    if plan.last {
        let payment = plan.payment.clone().unwrap_or_default();
        let how = tillway_core::facts::AuthorizationEnd::Kept;
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
    match listed_decision(client, plan).await {
        Ok(Some(outcome)) => Finding::Evidence(outcome),
        Ok(None) => Finding::NotThere,
        Err(fault) => still(fault.why()),
    }
}

/// How a case was decided, by us or by somebody else, where the list of conversions has it.
async fn listed_decision(client: &Client<'_>, plan: &Plan) -> Result<Option<Outcome>, ReadFault> {
    let payment = plan.payment.as_deref().unwrap_or("");
    let list = conversions::since(client, client.call.now - Millis::days(2)).await?;
    let Some(accepted) = list.iter().find(|c| c.payment == payment).map(|c| c.accepted) else {
        return Ok(None);
    };
    let outcome = if accepted { ReviewOutcome::Approved } else { ReviewOutcome::Rejected };
    let fact = Fact::ReviewClosed { review: payment.to_owned(), payment: payment.to_owned(), outcome };
    let observation = Observation { facts: vec![fact], ..Observation::default() };
    let summary = "found in the list of conversions".to_owned();
    Ok(Some(if accepted == plan.accept {
        Outcome::Settled { observation, provider_id: Some(payment.to_owned()), summary }
    } else {
        Outcome::Refused { code: "decided_otherwise".to_owned(), observation, summary }
    }))
}
