//! A person accepts an open item: what no other side will come of is booked to an account and open no more.
//!
//! It goes the way of a run, with nothing read at the gateway: the accepted lines are explained in their batches, which are checked
//! and posted anew; what the books hold of accepted expectations leaves clearing; the record says who, when and why, and is never
//! written over. The book keeps accepted expectations as long as a line may come for them. Where one comes after all, it is
//! matched like any other, the acceptance is taken back in the journal, and the morning's line says so: nothing is booked twice.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tillway_core::ids::ConnectionName;
use tillway_core::journal::{Entry, Role};
use tillway_core::settle::accepted::{Acceptance, Said, may_take, put_back, usual_account, written_off};
use tillway_core::settle::{Day, Expected, Kind, Outcome, Rules, SettlementLine, Standing};
use tillway_core::time::Timestamp;

use super::records::{BookDoc, OpenRecord, RunReport, accepted_key, open_key};
use super::{Matter, Run, Step, Watch};
use crate::engine::{Engine, WorkError};

/// Longest reason, in characters.
const LONGEST: usize = 500;

/// What was accepted, by whom and why. Written once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedRecord {
    /// The item as it stood open.
    pub item: OpenRecord,
    /// Who.
    pub by: Box<str>,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Box<str>,
    /// The account that takes it.
    pub account: Role,
    /// The seals: one for each open line and expectation of the item.
    pub sealed: Vec<Acceptance>,
}

/// An acceptance that was taken back: the line came after all. Written once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameAfterAll {
    /// The item that had been accepted.
    pub item: Box<str>,
    /// Who had accepted it.
    pub by: Box<str>,
    /// The expectation.
    pub expected: Box<str>,
    /// The line; none where it was voided, so that none comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<Box<str>>,
    /// Its batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Box<str>>,
    /// When.
    pub at: Timestamp,
}

impl CameAfterAll {
    pub(super) fn sentence(&self) -> String {
        let Self { by, expected, .. } = self;
        match &self.batch {
            Some(batch) => {
                format!("{by} had accepted {expected}; it came in batch {batch}, so that was taken back")
            }
            None => format!(
                "{by} had accepted {expected}; it was voided before it was settled, so that was taken back"
            ),
        }
    }
}

/// An accepted expectation, as the book keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedExpected {
    /// The expectation; it stands as explained.
    pub expected: Expected,
    /// The person's word.
    pub sealed: Acceptance,
}

/// What a person says.
#[derive(Debug, Clone, Copy)]
pub struct Accepting<'a> {
    /// The item, by its id.
    pub item: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The account that takes it; `None`: the usual one of its kind.
    pub account: Option<Role>,
    /// Who.
    pub by: &'a str,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// Another process settles the connection, or after a restore a sweep comes first: nothing was done.
    pub busy: bool,
    /// It was accepted before, in the same words.
    pub before: bool,
    /// The record.
    #[serde(flatten)]
    pub record: Option<AcceptedRecord>,
    /// Batches as they stand now.
    pub batches: Vec<super::records::BatchRecord>,
}

/// What a run accepts.
pub(super) struct Taken {
    pub(super) record: AcceptedRecord,
    pub(super) lines: BTreeSet<Box<str>>,
    /// As they were sealed.
    expected: Vec<Expected>,
}

impl Taken {
    /// The expectations among it.
    pub(super) fn expected_ids(&self) -> BTreeSet<Box<str>> {
        self.expected.iter().map(|e| e.id.clone()).collect()
    }
}

fn no<T>(text: String) -> Result<T, WorkError> {
    Err(WorkError::Config(text))
}

impl Engine {
    /// Accepts an open item of a connection.
    ///
    /// # Errors
    /// [`WorkError`]: no such item, no reason, an account that may not take it, an item that was accepted otherwise; nothing is half
    /// posted.
    pub async fn settle_accept(
        &self,
        name: &ConnectionName,
        said: &Accepting<'_>,
        watch: Watch<'_>,
    ) -> Result<Accepted, WorkError> {
        let mut out = Accepted { busy: false, before: false, record: None, batches: Vec::new() };
        if said.reason.trim().is_empty() || said.by.trim().is_empty() {
            return no("say why: the reason stands in the books".to_owned());
        }
        if said.reason.chars().count() > LONGEST {
            return no(format!("the reason is longer than {LONGEST} characters"));
        }
        let Some(mut run) = self.begin_run(name, None, watch).await? else {
            out.busy = true;
            return Ok(out);
        };
        let done = self.take_acceptance(&mut run, said, &mut out).await;
        // What a person has to say otherwise is told to that person.
        let failed = done.as_ref().err().filter(|e| !matches!(e, WorkError::Config(_)));
        self.end_run(run, &format!("accepting {}", said.item), failed).await?;
        done.map(|()| out)
    }

    /// What was accepted of a connection under an item's id.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn settlement_accepted(
        &self,
        name: &ConnectionName,
        item: &str,
    ) -> Result<Option<AcceptedRecord>, WorkError> {
        let found = self.ports.store.get(&[accepted_key(name, item)]).await?.into_iter().flatten().next();
        Ok(found.map(|i| serde_json::from_slice(&i.body)).transpose()?)
    }

    async fn take_acceptance(
        &self,
        run: &mut Run<'_>,
        said: &Accepting<'_>,
        out: &mut Accepted,
    ) -> Result<(), WorkError> {
        self.finish_pending(run).await?;
        let name = run.name().clone();
        if let Some(record) = self.settlement_accepted(&name, said.item).await? {
            let same =
                *record.reason == *said.reason.trim() && said.account.is_none_or(|a| a == record.account);
            if !same {
                return no(format!(
                    "{} was accepted by {} on {} to {}: {}",
                    said.item,
                    record.by,
                    Day::of(record.at),
                    record.account.name(),
                    record.reason
                ));
            }
            (out.before, out.record) = (true, Some(record));
            return Ok(());
        }
        let found = self.ports.store.get(&[open_key(&name, said.item)]).await?.into_iter().flatten().next();
        let Some(item) = found.map(|i| serde_json::from_slice::<OpenRecord>(&i.body)).transpose()? else {
            return no(format!(
                "nothing open of {name} is called {}; `tillway settle open` lists what is, with its ids",
                said.item
            ));
        };
        let book = self.book_doc(&run.book).await?;
        let taken = taken(item, &book, said, self.now())?;
        out.record = Some(taken.record.clone());
        run.matter = Matter::Accept(Box::new(taken));
        let mut report = RunReport::of(&name, run.day, self.now());
        self.make_plan(run, Vec::new(), &mut report).await?;
        run.tell(&Step::At("planned"))?;
        self.carry_out(run).await?;
        out.batches = report.batches;
        Ok(())
    }

    /// Accepted expectations of which the order now knows that they were voided before they were settled: to the books they are nothing
    /// together with the void.
    pub(super) async fn voided_after_all(
        &self,
        run: &Run<'_>,
        doc: &mut BookDoc,
        lines: &[SettlementLine],
        entries: &mut Vec<Entry>,
    ) -> Result<Vec<CameAfterAll>, WorkError> {
        if doc.accepted.is_empty() {
            return Ok(Vec::new());
        }
        let mut known: Vec<Expected> = doc.accepted.iter().map(|a| a.expected.clone()).collect();
        self.know_orders(run, &mut known, lines).await?;
        let stays: BTreeSet<&str> = known.iter().map(|e| e.id.as_ref()).collect();
        let (kept, voided): (Vec<_>, Vec<_>) = std::mem::take(&mut doc.accepted)
            .into_iter()
            .partition(|a| stays.contains(a.expected.id.as_ref()));
        doc.accepted = kept;
        let at = self.now();
        let mut came = Vec::new();
        for AcceptedExpected { expected, sealed } in voided {
            let entry = put_back(&expected, &sealed, run.name(), at);
            entries.extend(entry.map_err(|e| WorkError::Config(e.to_string()))?);
            let Acceptance { under, by, .. } = sealed;
            came.push(CameAfterAll { item: under, by, expected: expected.id, line: None, batch: None, at });
        }
        Ok(came)
    }
}

/// Seals what is open of an item.
fn taken(item: OpenRecord, book: &BookDoc, said: &Accepting<'_>, at: Timestamp) -> Result<Taken, WorkError> {
    let lines: Vec<&SettlementLine> =
        book.lines.iter().filter(|l| item.exception.lines.contains(&l.id)).collect();
    let expected: Vec<&Expected> =
        book.expected.iter().filter(|e| item.exception.expected.contains(&e.id)).collect();
    let booked = |id: &str| {
        expected.iter().any(|e| *e.id == *id) || book.accepted.iter().any(|a| *a.expected.id == *id)
    };
    if let Some(id) = item.exception.expected.iter().find(|id| !booked(id)) {
        return no(format!(
            "{id} is an effect of unknown outcome, or settled by now; settle its call, then the day once more"
        ));
    }
    if lines.is_empty() && expected.is_empty() {
        return no(format!("nothing of {} is open any more; settle the day once more", item.id));
    }
    let kinds: BTreeSet<Kind> = lines.iter().map(|l| l.kind).chain(expected.iter().map(|e| e.kind)).collect();
    let usual = || {
        let mut all = kinds.iter().map(|kind| usual_account(*kind));
        let first = all.next().flatten()?;
        all.all(|other| other == Some(first)).then_some(first)
    };
    let names: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
    let Some(account) = said.account.or_else(usual) else {
        return no(format!(
            "say which account takes it, --account NAME: {} has no usual one",
            names.join(" and ")
        ));
    };
    if !kinds.iter().all(|kind| may_take(account, *kind)) {
        return no(format!("{} may not take a {}", account.name(), names.join(" and a ")));
    }
    let reason = said.reason.trim();
    let word = Said { under: &item.id, by: said.by, at, reason };
    let of_lines = lines.iter().map(|l| Acceptance::of_line(l, account, &word));
    let sealed =
        of_lines.chain(expected.iter().map(|e| Acceptance::of_expected(e, account, &word))).collect();
    let lines = lines.into_iter().map(|l| l.id.clone()).collect();
    let expected = expected.into_iter().cloned().collect();
    let record = AcceptedRecord { by: said.by.into(), at, reason: reason.into(), account, sealed, item };
    Ok(Taken { record, lines, expected })
}

/// Takes what a run accepts out of what is expected, and answers the entries of it.
pub(super) fn accept_expected(
    taken: &Taken,
    expected: &mut Vec<Expected>,
    doc: &mut BookDoc,
    name: &ConnectionName,
) -> Result<Vec<Entry>, WorkError> {
    let mut entries = Vec::new();
    for e in &taken.expected {
        let Some(at) = expected.iter().position(|other| other.id == e.id) else { continue };
        expected.remove(at);
        let Some(sealed) = taken.record.sealed.iter().find(|a| a.item == e.id).cloned() else { continue };
        entries.extend(written_off(e, &sealed, name).map_err(|e| WorkError::Config(e.to_string()))?);
        // What only its order knows was added to the other since; the seal is over this one.
        let expected = Expected { standing: Standing::Explained, ..e.clone() };
        doc.accepted.push(AcceptedExpected { expected, sealed });
    }
    Ok(entries)
}

/// Lets accepted expectations that a line names be matched again; the others stand as explained.
pub(super) fn recall(accepted: &[AcceptedExpected], lines: &[SettlementLine]) -> Vec<Expected> {
    let named: BTreeSet<&str> = lines
        .iter()
        .flat_map(|l| [&l.ids.own, &l.ids.parent, &l.ids.payment, &l.reference])
        .filter_map(|id| id.as_deref())
        .collect();
    let again = |a: &AcceptedExpected| {
        let e = &a.expected;
        let ids = [&e.ids.own, &e.ids.parent, &e.ids.payment, &e.reference];
        let named = ids.into_iter().any(|id| id.as_deref().is_some_and(|id| named.contains(id)));
        let standing = a.sealed.was.filter(|_| named).unwrap_or(Standing::Explained);
        Expected { standing, ..e.clone() }
    };
    accepted.iter().map(again).collect()
}

/// What was recalled and stays unmatched is as explained as before.
pub(super) fn stays_accepted(
    accepted: &[AcceptedExpected],
    outcome: &mut Outcome,
    expected: &mut [Expected],
) {
    let ours: BTreeSet<&str> = accepted.iter().map(|a| a.expected.id.as_ref()).collect();
    let open: BTreeSet<Box<str>> =
        outcome.open_expected.iter().filter(|id| ours.contains(id.as_ref())).cloned().collect();
    outcome.open_expected.retain(|id| !open.contains(id));
    // What is about a line as well stands with the line.
    outcome.exceptions.retain(|x| !x.lines.is_empty() || !x.expected.iter().all(|id| open.contains(id)));
    for e in expected.iter_mut().filter(|e| open.contains(&e.id)) {
        e.standing = Standing::Explained;
    }
}

/// What came after all: the records of it, and the entries that take the acceptances back.
pub(super) fn came_after_all(
    doc: &mut BookDoc,
    outcome: &Outcome,
    lines: &[SettlementLine],
    name: &ConnectionName,
    at: Timestamp,
) -> Result<(Vec<CameAfterAll>, Vec<Entry>), WorkError> {
    let (mut records, mut entries) = (Vec::new(), Vec::new());
    let mut kept = Vec::new();
    for accepted in std::mem::take(&mut doc.accepted) {
        let group = outcome.groups.iter().find(|g| g.expected.contains(&accepted.expected.id));
        let line = group.and_then(|g| lines.iter().find(|l| g.lines.contains(&l.id)));
        let Some(line) = line else {
            kept.push(accepted);
            continue;
        };
        let AcceptedExpected { expected, sealed } = accepted;
        let entry = put_back(&expected, &sealed, name, at).map_err(|e| WorkError::Config(e.to_string()))?;
        entries.extend(entry);
        records.push(CameAfterAll {
            item: sealed.under,
            by: sealed.by,
            expected: expected.id,
            line: Some(line.id.clone()),
            batch: Some(line.batch.clone()),
            at,
        });
    }
    doc.accepted = kept;
    Ok((records, entries))
}

/// Accepted expectations for which a line may still come.
pub(super) fn still_possible(accepted: &AcceptedExpected, today: Day, rules: &Rules) -> bool {
    let late = [rules.by_gateway_id, rules.by_reference].into_iter().map(|w| w.late).max().unwrap_or(0);
    today.since(accepted.expected.due) <= late
}
