//! The batches of a run: what came, beside what is posted of it already.

use std::collections::{BTreeMap, BTreeSet};

use tillway_connectors::ListedBatch;
use tillway_core::settle::{Batch, Funding, Ids, Kind, SettlementLine};

use super::Run;
use super::bank::BY_BANK;
use super::digest::{Digest, digest};
use super::fetch::Incoming;
use super::records::{BatchDoc, BatchRecord, RunReport, Section, batch_key};
use super::sections::Sectioned;
use crate::engine::{Engine, WorkError};

/// A batch in this run.
pub(super) struct Candidate {
    pub(super) listed: Option<ListedBatch>,
    /// What is posted of it already.
    pub(super) before: Option<(BatchRecord, BatchDoc)>,
    /// All its lines.
    pub(super) lines: Vec<SettlementLine>,
    /// Those among them that are to be matched: new, or carried.
    pub(super) fresh: BTreeSet<Box<str>>,
    pub(super) digest: String,
    pub(super) read: Vec<Box<str>>,
    /// Of a large one: its sections, posted or made in this run.
    pub(super) sectioned: Sectioned,
}

impl Candidate {
    /// The batch, where it was submitted and has its money now.
    pub(super) fn funded_now(&self) -> Option<Batch> {
        let (listed, (record, _)) = (self.listed.as_ref()?, self.before.as_ref()?);
        is_funded_now(&listed.batch, record).then(|| listed.batch.clone())
    }
}

fn is_funded_now(listed: &Batch, record: &BatchRecord) -> bool {
    record.batch.funding == Funding::Submitted && matches!(listed.funding, Funding::Funded { .. })
}

/// The sections that are posted of a batch, as they stand from then on.
fn stand(known: &BatchDoc) -> Sectioned {
    let sections = known.sections.iter().map(|s| Section { fresh: false, ..s.clone() }).collect();
    Sectioned { sections, ..Sectioned::default() }
}

impl Engine {
    /// What came, beside what is posted of it already.
    pub(super) async fn candidates(
        &self,
        run: &mut Run<'_>,
        incoming: Vec<Incoming>,
        report: &mut RunReport,
    ) -> Result<BTreeMap<Box<str>, Candidate>, WorkError> {
        let mut out = BTreeMap::new();
        for one in incoming {
            let id = one.listed.batch.id.clone();
            let before = match one.before {
                Some(before) => Some(before),
                None => self.batch_before(run, &id).await?,
            };
            let Incoming { listed, lines, read, mut sectioned, .. } = one;
            let digest = one.digest.map_or_else(|| digest(&lines), |sum| sum.text());
            let mut fresh: BTreeSet<Box<str>> = lines.iter().map(|l| l.id.clone()).collect();
            if let Some((record, known)) = &before {
                // Of sections nothing is known where the lines came all together.
                let changed = one.changed || !known.sections.is_empty() && one.digest.is_none();
                let now_funded = is_funded_now(&listed.batch, record);
                let same = one.same || record.digest == digest && record.batch == listed.batch;
                let as_the_bank = says_what_the_bank_said(&listed.batch, record);
                let posted: BTreeSet<&Box<str>> = known.lines.iter().map(|l| &l.id).collect();
                if as_the_bank && lines.iter().any(|l| l.kind != Kind::Fee && !posted.contains(&l.id)) {
                    let why = "the bank's statement paid it, and what was kept back was booked as fees; the gateway now says what \
                               that was, and something of it is no fee: book the difference by hand";
                    self.refuse(run, report, &id, vec![why.to_owned()]).await;
                    continue;
                }
                let submitted = !changed && is_submission_of(&listed.batch, &lines, record, known);
                let told_otherwise = !changed && tells_fees_otherwise(&listed.batch, &lines, record, known);
                if same || as_the_bank || submitted || told_otherwise {
                    report.unchanged.push(id);
                    report.batches.push(record.clone());
                    continue;
                }
                let stands: BTreeMap<&str, &SettlementLine> =
                    lines.iter().map(|l| (l.id.as_ref(), l)).collect();
                let all_there = known.lines.iter().all(|l| stands.get(l.id.as_ref()) == Some(&l));
                if changed || !(now_funded && all_there) {
                    let why = "it is settled, and the gateway now says something else of it; compare the two, and \
                               ask the gateway which holds";
                    self.refuse(run, report, &id, vec![why.to_owned()]).await;
                    continue;
                }
                let open: BTreeSet<&Box<str>> = known.open_lines.iter().collect();
                fresh.retain(|id| !posted.contains(id) || open.contains(id));
                sectioned = stand(known);
            }
            let listed = Some(listed);
            let mut candidate = Candidate { listed, before, lines, fresh, digest, read, sectioned };
            self.fund_sections(run, &mut candidate).await?;
            out.insert(id, candidate);
        }
        Ok(out)
    }

    /// The batches of lines that earlier runs left open.
    pub(super) async fn carried_batches(
        &self,
        run: &Run<'_>,
        candidates: &mut BTreeMap<Box<str>, Candidate>,
        carried: &[SettlementLine],
    ) -> Result<(), WorkError> {
        let batches: BTreeSet<&Box<str>> = carried.iter().map(|l| &l.batch).collect();
        for id in batches {
            if candidates.contains_key(id) {
                continue;
            }
            let Some(before) = self.batch_before(run, id).await? else { continue };
            candidates.extend(left_open(id, before, carried));
        }
        Ok(())
    }

    pub(super) async fn batch_before(
        &self,
        run: &Run<'_>,
        id: &str,
    ) -> Result<Option<(BatchRecord, BatchDoc)>, WorkError> {
        let key = batch_key(run.name(), id);
        let Some(item) = self.ports.store.get(&[key]).await?.into_iter().flatten().next() else {
            return Ok(None);
        };
        let record: BatchRecord = serde_json::from_slice(&item.body)?;
        let doc = self.shelved(&record.doc).await?;
        Ok(Some((record, doc)))
    }
}

/// A batch as a candidate for the lines that earlier runs left open of it; none where there are none.
pub(super) fn left_open(
    id: &str,
    before: (BatchRecord, BatchDoc),
    carried: &[SettlementLine],
) -> Option<(Box<str>, Candidate)> {
    let fresh: BTreeSet<Box<str>> =
        carried.iter().filter(|l| l.batch.as_ref() == id).map(|l| l.id.clone()).collect();
    if fresh.is_empty() {
        return None;
    }
    let (lines, digest) = (before.1.lines.clone(), before.0.digest.clone());
    let sectioned = stand(&before.1);
    let before = Some(before);
    let candidate = Candidate { listed: None, before, lines, fresh, digest, read: Vec::new(), sectioned };
    Some((id.into(), candidate))
}

/// Whether it is what was submitted once, of a batch that was funded since: all that was traded in it, and not yet what was kept
/// back of it.
fn is_submission_of(batch: &Batch, lines: &[SettlementLine], record: &BatchRecord, known: &BatchDoc) -> bool {
    let funded = matches!(record.batch.funding, Funding::Funded { .. });
    if !funded || *batch != (Batch { funding: Funding::Submitted, ..record.batch.clone() }) {
        return false;
    }
    let given: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
    let posted: BTreeSet<&str> = known.lines.iter().map(|l| l.id.as_ref()).collect();
    // What a funding keeps back: fees, chargebacks, or a sum of no object.
    let kept_back = |l: &SettlementLine| match l.kind {
        Kind::Fee | Kind::Dispute | Kind::DisputeReversal => true,
        Kind::Adjustment => l.ids == Ids::default(),
        _ => l.id.starts_with(BY_BANK),
    };
    let as_posted = |l: &SettlementLine| given.get(l.id.as_ref()).map_or_else(|| kept_back(l), |g| *g == l);
    posted.is_superset(&given.keys().copied().collect()) && known.lines.iter().all(as_posted)
}

/// Whether it is what was settled, with the same sum of fees in other lines: where they were taken in one, and are told one by one
/// since. What was posted stays as it is.
fn tells_fees_otherwise(
    batch: &Batch,
    lines: &[SettlementLine],
    record: &BatchRecord,
    known: &BatchDoc,
) -> bool {
    let split = |lines: &[SettlementLine]| {
        let (fees, others): (Vec<_>, Vec<_>) = lines.iter().cloned().partition(|l| l.kind == Kind::Fee);
        let sum: i128 = fees.iter().map(|l| i128::from(l.net)).sum();
        let one_by_one = fees.iter().filter(|l| l.ids.parent.is_some()).count();
        (sum, (fees.len(), one_by_one), Digest::of(&others))
    };
    let ((sum, fees, others), (booked, told, stand)) = (split(lines), split(&known.lines));
    let in_one = |(all, one_by_one): (usize, usize)| all == 1 && one_by_one == 0;
    let each = |(all, one_by_one): (usize, usize)| all == one_by_one && all > 0;
    let otherwise = in_one(told) && each(fees) || each(told) && in_one(fees);
    record.batch == *batch && otherwise && (sum, others) == (booked, stand)
}

/// Whether the gateway now says of a batch what the bank's statement said before it.
fn says_what_the_bank_said(batch: &Batch, record: &BatchRecord) -> bool {
    let paid = |b: &Batch| match b.funding {
        Funding::Funded { payout, .. } => Some(payout),
        Funding::Submitted => None,
    };
    record.paid_by.is_some()
        && paid(batch).is_some_and(|payout| paid(&record.batch) == Some(payout))
        && batch.currency == record.batch.currency
}
