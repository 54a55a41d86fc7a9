//! Reading an order: every transaction under our reference, and a decision about a case with what followed from it.

use tillway_core::doc::Doc;
use tillway_core::facts::{Fact, ReviewOutcome};

use super::client::{Client, ReadFault, refused};
use super::lookup::{detail, search};
use super::operations::{Differs, disagrees};
use super::plan::Plan;
use super::transaction::{Kind, Transaction};
use super::wire::{self, Fault, text};
use crate::config::Connection;
use crate::port::{Call, NotDone, Observation, Outcome};

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
        if !self.has(id) && self.docs.len() < MOST {
            let doc = detail(self.client, id).await?;
            self.docs.push((id.to_owned(), doc));
        }
        Ok(())
    }
}

/// Reads an order.
pub(super) async fn order(call: &Call<'_>, plan: &Plan) -> Outcome {
    let client = Client::new(call, 6);
    let mut read = Read { client: &client, docs: Vec::new() };
    match gather(&mut read, plan).await {
        Ok(()) => {}
        // What a webhook told of is there: it is not indexed yet.
        Err(ReadFault::Missing(_)) => return Outcome::NotDone { after: None, why: NotDone::Unavailable },
        Err(ReadFault::Refused(answer)) => return refused(&answer, Observation::default()),
        Err(ReadFault::NotNow(after, why)) => return Outcome::NotDone { after, why },
    }
    let (mut facts, fault) = tell(call.connection, &read.docs, &plan.code);
    if let Some(fact) = decision(plan, &read) {
        facts.push(fact);
    }
    if let Some(fault) = fault {
        return disagrees(Differs::from(fault), facts);
    }
    Outcome::Settled {
        summary: format!("{} transaction(s) read, {} fact(s)", read.docs.len(), facts.len()),
        observation: Observation { facts, ..Observation::default() },
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

/// The facts of transactions that belong together: payments first, what was undone last. Those of another order are left
/// out; what cannot be read is told besides.
pub(super) fn tell(
    connection: &Connection,
    docs: &[(String, Doc)],
    code: &str,
) -> (Vec<Fact>, Option<Fault>) {
    let mut all: Vec<Transaction<'_>> = docs
        .iter()
        .filter(|(_, doc)| wire::code(doc.json()) == Some(code))
        .filter_map(|(_, doc)| Transaction::of(connection, doc.json()).ok())
        .collect();
    let rank = |kind: Kind| match kind {
        Kind::Authorization | Kind::Sale => 0,
        Kind::Capture => 1,
        Kind::Refund => 2,
        Kind::Void => 3,
        Kind::Reversal => 4,
        Kind::Other => 5,
    };
    all.sort_by_key(|t| (rank(t.kind), t.at()));
    let (mut facts, mut fault) = (Vec::new(), None);
    for transaction in &all {
        let target = (transaction.kind == Kind::Void)
            .then(|| {
                all.iter().find(|t| t.kind != Kind::Authorization && transaction.related().any(|r| r == t.id))
            })
            .flatten();
        match transaction.facts(target) {
            Ok(told) => facts.extend(told),
            Err(found) => fault = fault.or(Some(found)),
        }
    }
    (facts, fault)
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
