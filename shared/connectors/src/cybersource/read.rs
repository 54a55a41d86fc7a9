//! Reading an order: every transaction under our reference, and a decision about a case with what followed from it.

use tillway_core::doc::Doc;
use tillway_core::facts::{Fact, ReviewOutcome};

use super::client::{Client, ReadFault, refused};
use super::lookup::{detail, search};
use super::operations::disagrees;
use super::plan::Plan;
use super::transaction::{Kind, Transaction};
use super::wire::{self, Fault, text};
use crate::common::Differs;
use crate::config::Connection;
use crate::port::{Call, Observation, Outcome};

/// Transactions of an order that are read at most.
const MOST: usize = 40;

/// Details of an order's transactions, each once.
struct Read<'a> {
    client: &'a Client<'a>,
    docs: Vec<(String, Doc)>,
}

impl Read<'_> {
    fn has(&self, id: &str) -> bool {
        self.docs.iter().any(|(known, _)| known == id)
    }
    async fn add(&mut self, id: &str) -> Result<(), ReadFault> {
        if self.has(id) {
            return Ok(());
        }
        if self.docs.len() >= MOST {
            return Err(ReadFault::TooMany);
        }
        let doc = detail(self.client, id).await?;
        self.docs.push((id.to_owned(), doc));
        Ok(())
    }
}

/// What was read of an order.
pub(super) struct Look {
    pub(super) count: usize,
    pub(super) facts: Vec<Fact>,
    pub(super) fault: Option<Fault>,
}

/// Reads an order.
pub(super) async fn order(call: &Call<'_>, plan: &Plan) -> Outcome {
    match look(call, plan, 6).await {
        Ok(found) => {
            told(found.count, Observation { facts: found.facts, ..Observation::default() }, found.fault)
        }
        Err(fault) => failed(fault),
    }
}

/// Reads what there is. `requests`: how many follow one another at most.
pub(super) async fn look(call: &Call<'_>, plan: &Plan, requests: i64) -> Result<Look, ReadFault> {
    let client = Client::new(call, requests);
    let mut read = Read { client: &client, docs: Vec::new() };
    gather(&mut read, plan).await?;
    let (mut facts, fault) = tell(call.connection, &read.docs, Some(&plan.code));
    if let Some(fact) = decision(plan, &read) {
        facts.push(fact);
    }
    Ok(Look { count: read.docs.len(), facts, fault })
}

/// An order that could not be read.
pub(super) fn failed(fault: ReadFault) -> Outcome {
    match fault {
        // What a webhook told of is there: it is not indexed yet.
        fault @ ReadFault::Missing(_) => Outcome::NotDone { after: None, why: fault.not_now() },
        ReadFault::Refused(answer) => refused(&answer, Observation::default()),
        ReadFault::NotNow(after, why) => Outcome::NotDone { after, why },
        fault @ ReadFault::TooMany => {
            let what = format!("{}; compare the order in the Business Center", fault.why());
            disagrees(Differs { field: "totalCount".to_owned(), what }, Vec::new())
        }
        fault @ ReadFault::Forbidden(_) => Outcome::NotDone { after: None, why: fault.not_now() },
    }
}

/// An order that was read.
pub(super) fn told(count: usize, observation: Observation, fault: Option<Fault>) -> Outcome {
    if let Some(fault) = fault {
        return disagrees(Differs::from(fault), observation.facts);
    }
    Outcome::Settled {
        summary: format!("{count} transaction(s) read, {} fact(s)", observation.facts.len()),
        observation,
        provider_id: None,
    }
}

async fn gather(read: &mut Read<'_>, plan: &Plan) -> Result<(), ReadFault> {
    if let Some(object) = &plan.object {
        let bare =
            object.strip_prefix("accept:").or_else(|| object.strip_prefix("reject:")).unwrap_or(object);
        for id in bare.split(':') {
            read.add(id).await?;
        }
    }
    for summary in search(read.client, &plan.code).await? {
        let Some(id) = text(summary.json(), &["id"]).filter(|i| wire::is_id(i)) else { continue };
        if Kind::of(summary.json()) != Kind::Other {
            read.add(id).await?;
        }
    }
    // The payment a transaction belongs to, and what it undid, may lie outside the search.
    let mut more: Vec<String> = Vec::new();
    for (_, doc) in &read.docs {
        let Ok(found) = Transaction::of(read.client.call.connection, doc.json()) else { continue };
        more.extend(found.root().map(str::to_owned));
        if found.kind == Kind::Void {
            more.extend(found.related().map(str::to_owned));
        }
    }
    for id in more {
        match read.add(&id).await {
            Ok(()) | Err(ReadFault::Missing(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// The order in which kinds are told. What was undone may be taken again: the void of a capture is told before captures, that of
/// a refund after it.
const fn rank(kind: Kind, undone: Option<Kind>) -> u8 {
    match (kind, undone) {
        (Kind::Authorization | Kind::Sale, _) => 0,
        (Kind::Void, Some(Kind::Capture | Kind::Sale)) => 1,
        (Kind::Capture, _) => 2,
        (Kind::Refund, _) => 3,
        (Kind::Void, _) => 4,
        (Kind::Reversal, _) => 5,
        (Kind::Other, _) => 6,
    }
}

/// The facts of transactions that belong together: payments first, what was let go last. Those of another order are left
/// out; what cannot be read is told besides.
pub(super) fn tell(
    connection: &Connection,
    docs: &[(String, Doc)],
    code: Option<&str>,
) -> (Vec<Fact>, Option<Fault>) {
    // Somebody in the Business Center may have given none.
    let of_order = |doc: &Doc| wire::code(doc.json()).is_none_or(|found| code.is_none_or(|c| c == found));
    let all: Vec<Transaction<'_>> = docs
        .iter()
        .filter(|(_, doc)| of_order(doc))
        .filter_map(|(_, doc)| Transaction::of(connection, doc.json()).ok())
        .collect();
    let mut told: Vec<(u8, &Transaction<'_>, Option<&Transaction<'_>>)> = all
        .iter()
        .map(|t| (t, target(&all, t)))
        .map(|(t, undone)| (rank(t.kind, undone.map(|u| u.kind)), t, undone))
        .collect();
    told.sort_by_key(|(rank, t, _)| (*rank, t.at()));
    let taken_back = |id: &str| told.iter().any(|(_, _, undone)| undone.is_some_and(|u| u.id == id));
    let (mut facts, mut fault) = (Vec::new(), None);
    for (_, transaction, undone) in &told {
        // What was undone is told with what undid it.
        if transaction.kind == Kind::Capture && transaction.is_undone() && !taken_back(transaction.id) {
            continue;
        }
        match transaction.facts(*undone) {
            Ok(found) => facts.extend(found),
            Err(found) => fault = fault.or(Some(found)),
        }
    }
    (facts, fault)
}

/// What a void undid or a reversal let go. Of a void that is linked with nothing: the only thing of its amount that there is.
fn target<'t, 'a>(all: &'t [Transaction<'a>], undo: &Transaction<'a>) -> Option<&'t Transaction<'a>> {
    if undo.kind == Kind::Reversal {
        return all.iter().find(|t| Some(t.id) == undo.root());
    }
    if undo.kind != Kind::Void {
        return None;
    }
    let undoable = || all.iter().filter(|t| matches!(t.kind, Kind::Sale | Kind::Capture | Kind::Refund));
    if let Some(linked) = undoable().find(|t| undo.related().any(|r| r == t.id)) {
        return Some(linked);
    }
    let alike = |t: &&Transaction<'_>| {
        t.root() == undo.root() && t.amount().is_ok_and(|a| undo.amount().is_ok_and(|b| a == b))
    };
    let mut alike = undoable().filter(alike);
    let only = alike.next()?;
    alike.next().is_none().then_some(only)
}

/// The decision about a case, told with the captures that may have come with it: alone it would let another capture go out.
fn decision(plan: &Plan, read: &Read<'_>) -> Option<Fact> {
    let object = plan.object.as_deref()?;
    let (outcome, rest) = match (object.strip_prefix("accept:"), object.strip_prefix("reject:")) {
        (Some(rest), _) => (ReviewOutcome::Approved, rest),
        (_, Some(rest)) => (ReviewOutcome::Rejected, rest),
        _ => return None,
    };
    let payment = rest.split(':').next().filter(|p| read.has(p))?.to_owned();
    Some(Fact::ReviewClosed { review: payment.clone(), payment, outcome })
}
