//! What a run leaves: the book after it, what is open, what was proven, and what is told.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::settle::{Day, Expected, Kind, Outcome, SettlementLine, Standing};

use super::accept::CameAfterAll;
use super::candidates::Candidate;
use super::fetch::about_open;
use super::records::{BookDoc, OpenRecord, Proof, Proven, RunReport};

/// A proof whose entry did not come within so many days is not waited for any more.
pub(super) const PROVEN_DAYS: i32 = 120;
/// Objects that are asked for in one run.
const ASKED: usize = 200;

/// The book after this run.
#[expect(clippy::too_many_arguments, reason = "everything a run knows goes into the book")]
pub(super) fn carry_on(
    outcome: &Outcome,
    lines: &[SettlementLine],
    expected: &[Expected],
    doc: BookDoc,
    today: Day,
    carried: &[SettlementLine],
    candidates: &BTreeMap<Box<str>, Candidate>,
    ahead: &BTreeSet<Box<str>>,
) -> BookDoc {
    let open: BTreeSet<&str> = outcome.open_expected.iter().map(AsRef::as_ref).collect();
    let open_lines: BTreeSet<&str> = outcome.open_lines.iter().map(AsRef::as_ref).collect();
    let keeps = |e: &&Expected| open.contains(e.id.as_ref()) && e.standing != Standing::Unknown;
    let still: Vec<Expected> = expected.iter().filter(keeps).cloned().collect();
    let kept: BTreeSet<&str> = still.iter().map(|e| e.id.as_ref()).collect();
    let mut out_lines: Vec<SettlementLine> =
        lines.iter().filter(|l| open_lines.contains(l.id.as_ref())).cloned().collect();
    out_lines.extend(carried.iter().filter(|l| !candidates.contains_key(&l.batch)).cloned());
    out_lines.sort_by(|a, b| a.id.cmp(&b.id));
    let by_id: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
    let mut proven: Vec<Proven> = doc.proven;
    proven.retain(|p| today.since(p.day) <= PROVEN_DAYS);
    for line in outcome.evidence.iter().flat_map(|e| &e.lines).filter_map(|id| by_id.get(id.as_ref())) {
        if let Some(own) = &line.ids.own {
            proven.push(Proven { kind: line.kind, own: own.clone(), day: line.day });
        }
    }
    // Entries newer than the cursor that are settled now, or were: the next run meets them again.
    let done: Vec<Box<str>> = ahead.iter().filter(|id| !kept.contains(id.as_ref())).cloned().collect();
    let BookDoc { accepted, balance, waiting, mut doubles, .. } = doc;
    let carried: BTreeSet<&str> = out_lines.iter().map(|l| l.id.as_ref()).collect();
    doubles.retain(|line, _| carried.contains(line.as_ref()));
    BookDoc { expected: still, waiting, lines: out_lines, ahead: done, proven, accepted, doubles, balance }
}

pub(super) fn open_records(
    outcome: &Outcome,
    lines: &[SettlementLine],
    expected: &[Expected],
) -> Vec<OpenRecord> {
    let open: BTreeSet<&str> =
        outcome.open_lines.iter().chain(&outcome.open_expected).map(AsRef::as_ref).collect();
    let by_id: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
    let books: BTreeMap<&str, &Expected> = expected.iter().map(|e| (e.id.as_ref(), e)).collect();
    let mut out: BTreeMap<String, OpenRecord> = BTreeMap::new();
    for exception in outcome.exceptions.iter().filter(|x| about_open(x, |id| open.contains(id))) {
        let ids: Vec<&str> = exception.lines.iter().chain(&exception.expected).map(AsRef::as_ref).collect();
        let hash = tillway_core::ids::digest(&ids);
        let id = format!("{}-{}", exception.class.code(), hash.get(..16).unwrap_or_default());
        let of_lines = || exception.lines.iter().filter_map(|l| by_id.get(l.as_ref()));
        let of_books = || exception.expected.iter().filter_map(|e| books.get(e.as_ref()));
        let own = of_lines().filter_map(|l| l.ids.own.clone());
        let mut objects: Vec<Box<str>> = own.chain(of_books().filter_map(|e| e.ids.own.clone())).collect();
        let mut orders: Vec<Box<str>> = of_books().filter_map(|e| e.order.clone()).collect();
        let mut batches: Vec<Box<str>> = of_lines().map(|l| l.batch.clone()).collect();
        for list in [&mut objects, &mut orders, &mut batches] {
            list.sort_unstable();
            list.dedup();
        }
        let record = OpenRecord { id: id.clone(), exception: exception.clone(), orders, batches, objects };
        out.insert(id, record);
    }
    out.into_values().collect()
}

pub(super) fn proofs(
    outcome: &Outcome,
    lines: &[SettlementLine],
    commands: &BTreeMap<Box<str>, (String, String)>,
) -> Vec<Proof> {
    let by_id: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
    let proof = |e: &tillway_core::settle::Evidence| {
        let record = commands.get(&e.expected)?.clone();
        let line = e.lines.iter().find_map(|id| by_id.get(id.as_ref()))?;
        let object = line.ids.own.clone().or(line.ids.payment.clone())?;
        Some(Proof { record, object, line: line.id.clone(), batch: line.batch.clone() })
    };
    outcome.evidence.iter().filter_map(proof).collect()
}

/// Objects that lines name and the books do not know: the gateway is asked what they are.
pub(super) fn unknown_objects(
    outcome: &Outcome,
    lines: &[SettlementLine],
    open: &[OpenRecord],
) -> Vec<Box<str>> {
    use tillway_core::settle::Class;
    let wanted = |o: &&OpenRecord| {
        let class = o.exception.class;
        matches!(class, Class::MissingHere | Class::UnknownRefund | Class::UnknownChargeback)
            && o.exception.expected.is_empty()
    };
    let names: BTreeSet<&str> =
        open.iter().filter(wanted).flat_map(|o| o.exception.lines.iter().map(AsRef::as_ref)).collect();
    let open_lines: BTreeSet<&str> = outcome.open_lines.iter().map(AsRef::as_ref).collect();
    let asked = lines
        .iter()
        .filter(|l| names.contains(l.id.as_ref()) && open_lines.contains(l.id.as_ref()))
        // A movement of a dispute is told with the dispute.
        .filter_map(|l| match l.kind {
            Kind::Dispute | Kind::DisputeReversal => l.ids.parent.clone(),
            _ => l.ids.own.clone(),
        });
    let all: BTreeSet<Box<str>> = asked.collect();
    all.into_iter().take(ASKED).collect()
}

/// What the run noticed, for the report.
pub(super) fn notices(
    report: &RunReport,
    came: &[CameAfterAll],
    exchanged: Vec<String>,
) -> Vec<(String, String)> {
    let name = |batch: &str| {
        if batch.is_empty() { "the list of the day".to_owned() } else { format!("batch {batch}") }
    };
    let refused = report
        .refused
        .iter()
        .map(|r| ("refused".to_owned(), format!("{} is not posted: {}", name(&r.batch), r.why.join("; "))));
    let waiting = report
        .waiting
        .iter()
        .map(|w| ("waiting".to_owned(), format!("{} is waited for: {}", name(&w.batch), w.why)));
    let came = came.iter().map(|c| ("came_after_all".to_owned(), c.sentence()));
    let remarkable = report.findings.iter().map(|f| ("watch".to_owned(), f.text()));
    let exchanged = exchanged.into_iter().map(|text| ("exchange".to_owned(), text));
    refused.chain(waiting).chain(came).chain(remarkable).chain(exchanged).collect()
}
