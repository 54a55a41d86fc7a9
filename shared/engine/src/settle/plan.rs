//! Matching, and the plan that follows from it: what is posted for each batch, and what is carried on.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use tillway_connectors::ListedBatch;
use tillway_core::settle::accepted::{Acceptance, BY_PERSON};
use tillway_core::settle::certificate::{Certificate, certify};
use tillway_core::settle::check::{Statement, check, check_run};
use tillway_core::settle::rates::Rate;
use tillway_core::settle::watch::DayFigures;
use tillway_core::settle::{
    Batch, Day, Exception, Expected, Explained, Funding, Ids, Kind, Outcome, RuleBook, SettlementLine,
    Standing as Stands, ToBook, entries, settle,
};

use super::accept::{CameAfterAll, accept_expected, came_after_all, recall, stays_accepted, still_possible};
use super::bank::BY_BANK;
use super::expect::Expectations;
use super::fetch::{Incoming, about_open};
use super::records::{
    BATCHES, BatchDoc, BatchRecord, BookDoc, BookRecord, OpenRecord, PlanDoc, Proof, Proven, RunReport,
    Standing, Sums, batch_key, settle_pk,
};
use super::report::{RunRecord, Sheet, add};
use super::{Run, Step, rates, watched};
use crate::engine::{Engine, WorkError};
use crate::ports::Severity;

/// A proof whose entry did not come within so many days is not waited for any more.
const PROVEN_DAYS: i32 = 120;
/// Objects that are asked for in one run.
const ASKED: usize = 200;

/// A batch in this run.
struct Candidate {
    listed: Option<ListedBatch>,
    /// What is posted of it already.
    before: Option<(BatchRecord, BatchDoc)>,
    /// All its lines.
    lines: Vec<SettlementLine>,
    /// Those among them that are to be matched: new, or carried.
    fresh: BTreeSet<Box<str>>,
    digest: String,
    read: Vec<Box<str>>,
}

/// SHA-256 over all lines, by id.
pub(super) fn digest(lines: &[SettlementLine]) -> String {
    let mut sorted: Vec<&SettlementLine> = lines.iter().collect();
    sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut hasher = Sha256::new();
    for line in sorted {
        let text = line.canonical();
        hasher.update(text.len().to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hex::encode(hasher.finalize())
}

impl Engine {
    /// Matches what came with what is expected, and lets the plan stand.
    pub(super) async fn make_plan(
        &self,
        run: &mut Run<'_>,
        incoming: Vec<Incoming>,
        report: &mut RunReport,
    ) -> Result<(), WorkError> {
        let mut doc = self.book_doc(&run.book).await?;
        let mut read: Vec<Box<str>> = incoming.iter().flat_map(|i| i.read.iter().cloned()).collect();
        let read_of: Vec<Box<str>> = incoming.iter().map(|i| i.listed.batch.id.clone()).collect();
        let mut candidates = self.candidates(run, incoming, report).await?;
        let carried = std::mem::take(&mut doc.lines);
        self.carried_batches(run, &mut candidates, &carried).await?;
        if let Some(taken) = run.taken() {
            // What is accepted looks for nothing any more.
            candidates.values_mut().for_each(|c| c.fresh.retain(|id| !taken.lines.contains(id)));
        }
        let pool = |candidates: &BTreeMap<Box<str>, Candidate>| -> Vec<SettlementLine> {
            let fresh = |c: &Candidate| -> Vec<SettlementLine> {
                c.lines.iter().filter(|l| c.fresh.contains(&l.id)).cloned().collect()
            };
            candidates.values().flat_map(fresh).collect()
        };
        let all = pool(&candidates);
        let expectations = self.expectations(run, &mut doc, &all).await?;
        let Expectations { mut expected, commands, cursor, ahead, newer } = expectations;
        let mut posted = match run.taken() {
            Some(taken) => accept_expected(taken, &mut expected, &mut doc, run.name())?,
            None => Vec::new(),
        };
        // The morning's line says of it: whatever else runs leaves it to the next one of a day.
        let mut came = match run.is_of_day() {
            true => self.voided_after_all(run, &mut doc, &all, &mut posted).await?,
            false => Vec::new(),
        };
        let plain = expected.len();
        let words: Vec<_> = doc.accepted.iter().map(|a| a.sealed.clone()).collect();
        let today = run.book.today.map_or(run.day, |known| known.max(run.day));
        run.tell(&Step::Matching(all.len(), expected.len()))?;
        self.keep_book(run).await?;
        // A batch that the checker rejects is taken out, and what is left is matched anew: nothing rests on it.
        let (outcome, certificates, planned) = loop {
            let lines = pool(&candidates);
            expected.truncate(plain);
            expected.extend(recall(&doc.accepted, &lines));
            let mut outcome = settle(&lines, &expected, &run.rules, today);
            stays_accepted(&doc.accepted, &mut outcome, &mut expected);
            let certificates = certify(&outcome.groups, &lines, &expected);
            check_run(&outcome, &certificates, &lines, &expected, &words, &run.rules)
                .map_err(|bad| WorkError::Config(format!("a defect of ours: {}", texts(&bad).join("; "))))?;
            let rates = self.rates_of(&outcome.groups, &lines, &expected, &run.rules).await?;
            let made = Made { outcome: &outcome, certificates: &certificates, rates: &rates };
            let mut planned = Vec::new();
            let mut rejected: Vec<(Box<str>, Vec<String>)> = Vec::new();
            for (id, candidate) in &candidates {
                match batch_doc(run, id, candidate, &made, &lines, &expected)? {
                    Ok(Some((standing, batch))) => planned.push((id.clone(), standing, batch)),
                    Ok(None) => {}
                    Err(why) => rejected.push((id.clone(), why)),
                }
            }
            if rejected.is_empty() {
                break (outcome, certificates, planned);
            }
            // What a person accepts is refused where it is at fault; what else is refused goes its own way.
            let of_it = |(id, _): &&(Box<str>, Vec<String>)| {
                let lines = candidates.get(id).map_or(&[][..], |c| c.lines.as_slice());
                run.taken().is_some_and(|taken| lines.iter().any(|l| taken.lines.contains(&l.id)))
            };
            if let Some((id, why)) = rejected.iter().find(of_it) {
                let text =
                    format!("batch {id} would not hold with it: {}; nothing was posted", why.join("; "));
                return Err(WorkError::Config(text));
            }
            for (id, why) in rejected {
                // What earlier runs left open of it goes on without what came now.
                let out = candidates.remove(&id);
                if let Some(before) = out.filter(|c| c.listed.is_some()).and_then(|c| c.before) {
                    candidates.extend(left_open(&id, before, &carried));
                }
                self.refuse(run, report, &id, why).await;
            }
        };
        drop(certificates);
        let version = run.book.version.saturating_add(1);
        let stem = format!("{}/{version}-{}", run.name(), run.book.fence);
        let mut records = Vec::new();
        let mut balance = doc.trial_balance();
        for (id, standing, batch) in planned {
            let Some(candidate) = candidates.get(&id) else { continue };
            let name = format!("{stem}/batch/{id}");
            let record = self.batch_record(run, candidate, standing, &batch, name.clone());
            self.shelve(&name, &batch).await?;
            self.renew_book(run).await?;
            batch.new_entries().for_each(|e| balance.add(e));
            records.push((record, batch));
        }
        let lines = pool(&candidates);
        let (more, back) = came_after_all(&mut doc, &outcome, &lines, run.name(), self.now())?;
        came.extend(more);
        posted.extend(back);
        posted.iter().for_each(|e| balance.add(e));
        doc.accepted.retain(|a| still_possible(a, today, &run.rules));
        doc.keep_balance(&balance);
        for gone in doc.proven.iter().filter(|p| today.since(p.day) > PROVEN_DAYS) {
            let text = format!(
                "{}: {} {} was settled on {}, and no order booked it in {PROVEN_DAYS} days; it is waited for no more, and \
                 clearing is off by it",
                run.name(),
                gone.kind.name(),
                gone.own,
                gone.day
            );
            self.alert("settlement_unbooked", Severity::Critical, None, text).await;
        }
        let after = carry_on(&outcome, &lines, &expected, doc, today, &carried, &candidates, &ahead);
        let open = open_records(&outcome, &lines, &expected);
        let watched = if run.is_of_day() {
            let whole = report.waiting.is_empty() && report.refused.is_empty();
            let attempts = self.attempts(run.name(), run.day).await?;
            let new = |figures: &mut DayFigures| {
                for (record, batch) in &records {
                    let before = candidates.get(&record.batch.id).and_then(|c| c.before.as_ref());
                    watched::count(figures, run.day, batch, before.map(|(_, doc)| doc), &run.rules);
                }
                figures.attempts(attempts.approved, attempts.declined.iter().map(String::as_str));
            };
            let seen = self.see(run.name(), run.day, new, whole).await?;
            report.findings = seen.findings;
            Some(seen.month)
        } else {
            None
        };
        let exchanged = rates::sentences(records.iter().map(|(_, batch)| batch));
        let notices = notices(report, &came, exchanged);
        let headline = if run.is_of_day() {
            let mut same = Vec::new();
            for record in
                report.batches.iter().filter(|s| records.iter().all(|(r, _)| r.batch.id != s.batch.id))
            {
                let doc: BatchDoc = self.shelved(&record.doc).await?;
                same.push((record.clone(), doc));
            }
            add(&mut balance, &newer);
            let of_day = records.iter().chain(&same).filter(|(r, _)| r.day == run.day).map(|(r, d)| (r, d));
            let sheet = Sheet {
                connection: run.name(),
                day: run.day,
                today,
                batches: of_day.collect(),
                open: &open,
                awaited: &after.expected,
                balance: &balance,
                notices: &notices,
            };
            format!("{} {}: {}", run.name(), run.day, sheet.report().morning())
        } else {
            String::new()
        };
        let records: Vec<BatchRecord> = records.into_iter().map(|(record, _)| record).collect();
        let proofs = proofs(&outcome, &lines, &commands);
        // Where the gateway was not looked at it is not asked either: the next run of a day does.
        let unknown = if run.is_of_day() { unknown_objects(&outcome, &lines, &open) } else { Vec::new() };
        let book_name = format!("{stem}/book");
        self.shelve(&book_name, &after).await?;
        read.extend(candidates.values().flat_map(|c| c.read.iter().cloned()));
        read.sort();
        read.dedup();
        let plan = PlanDoc {
            day: run.day,
            at: report.at,
            after: BookRecord {
                version,
                cursor: Some(cursor),
                doc: Some(book_name),
                pending: None,
                today: Some(today),
                unfinished: run.book.unfinished,
                held_until: None,
                fence: 0,
            },
            headline,
            run: run.is_of_day().then(|| RunRecord { at: self.now(), notices }),
            batches: records,
            accepted: run.taken().map(|taken| taken.record.clone()).into_iter().collect(),
            came,
            entries: posted,
            watched,
            open,
            proofs,
            unknown,
            read,
            read_of,
        };
        report.batches.retain(|same| plan.batches.iter().all(|b| b.batch.id != same.batch.id));
        report.batches.extend(plan.batches.iter().cloned());
        report.open.clone_from(&plan.open);
        let plan_name = format!("{stem}/plan");
        self.shelve(&plan_name, &plan).await?;
        run.tell(&Step::At("shelved"))?;
        // From here on the plan stands: whoever comes next carries it out.
        run.book.pending = Some(plan_name);
        self.keep_book(run).await
    }

    /// What came, beside what is posted of it already.
    async fn candidates(
        &self,
        run: &Run<'_>,
        incoming: Vec<Incoming>,
        report: &mut RunReport,
    ) -> Result<BTreeMap<Box<str>, Candidate>, WorkError> {
        let mut out = BTreeMap::new();
        for Incoming { listed, lines, read } in incoming {
            let id = listed.batch.id.clone();
            let digest = digest(&lines);
            let before = self.batch_before(run, &id).await?;
            let mut fresh: BTreeSet<Box<str>> = lines.iter().map(|l| l.id.clone()).collect();
            if let Some((record, known)) = &before {
                let now_funded = matches!(record.batch.funding, Funding::Submitted)
                    && matches!(listed.batch.funding, Funding::Funded { .. });
                let same = record.digest == digest && record.batch == listed.batch;
                let as_the_bank = says_what_the_bank_said(&listed.batch, record);
                let posted: BTreeSet<&Box<str>> = known.lines.iter().map(|l| &l.id).collect();
                if as_the_bank && lines.iter().any(|l| l.kind != Kind::Fee && !posted.contains(&l.id)) {
                    let why = "the bank's statement paid it, and what was kept back was booked as fees; the gateway now says what \
                               that was, and something of it is no fee: book the difference by hand";
                    self.refuse(run, report, &id, vec![why.to_owned()]).await;
                    continue;
                }
                if same || as_the_bank || is_submission_of(&listed.batch, &lines, record, known) {
                    report.unchanged.push(id);
                    report.batches.push(record.clone());
                    continue;
                }
                let stands: BTreeMap<&str, &SettlementLine> =
                    lines.iter().map(|l| (l.id.as_ref(), l)).collect();
                let all_there = known.lines.iter().all(|l| stands.get(l.id.as_ref()) == Some(&l));
                if !(now_funded && all_there) {
                    let why = "it is settled, and the gateway now says something else of it; compare the two, and \
                               ask the gateway which holds";
                    self.refuse(run, report, &id, vec![why.to_owned()]).await;
                    continue;
                }
                let open: BTreeSet<&Box<str>> = known.open_lines.iter().collect();
                fresh.retain(|id| !posted.contains(id) || open.contains(id));
            }
            let candidate = Candidate { listed: Some(listed), before, lines, fresh, digest, read };
            out.insert(id, candidate);
        }
        Ok(out)
    }

    /// The batches of lines that earlier runs left open.
    async fn carried_batches(
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

    async fn batch_before(
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

    fn batch_record(
        &self,
        run: &Run<'_>,
        candidate: &Candidate,
        standing: Standing,
        doc: &BatchDoc,
        name: String,
    ) -> BatchRecord {
        let before = candidate.before.as_ref();
        let days = || doc.expected.iter().map(|e| e.due).chain(doc.lines.iter().map(|l| l.day));
        let paid_by = run.paid_by(&doc.batch.id);
        // Money is of the day on which the bank had it, whenever its statement is read.
        let day = match (paid_by, doc.batch.funding) {
            (Some(_), Funding::Funded { day, .. }) => day,
            _ => before.filter(|_| candidate.listed.is_none()).map_or(run.day, |(record, _)| record.day),
        };
        let paid_by = paid_by.or(before.and_then(|(record, _)| record.paid_by.as_ref()));
        BatchRecord {
            batch: doc.batch.clone(),
            day,
            at: self.now(),
            revision: before.map_or(1, |(record, _)| record.revision.saturating_add(1)),
            standing,
            digest: candidate.digest.clone(),
            doc: name,
            posted: doc.fresh.len(),
            sums: sums(doc),
            span: (days().min().unwrap_or(run.day), days().max().unwrap_or(run.day)),
            paid_by: paid_by.cloned(),
        }
    }

    /// The settled batches of a connection.
    pub(super) async fn batch_records(
        &self,
        name: &tillway_core::ids::ConnectionName,
    ) -> Result<Vec<BatchRecord>, WorkError> {
        let mut out = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&settle_pk(name), BATCHES, after.as_deref(), 200).await?;
            for item in page.items {
                out.push(serde_json::from_slice(&item.body)?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(out);
            }
        }
    }
}

/// A batch as a candidate for the lines that earlier runs left open of it; none where there are none.
fn left_open(
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
    let before = Some(before);
    Some((id.into(), Candidate { listed: None, before, lines, fresh, digest, read: Vec::new() }))
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

pub(super) fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// What matching made of everything.
struct Made<'a> {
    outcome: &'a Outcome,
    certificates: &'a [Certificate],
    /// The books' rates of what it exchanged.
    rates: &'a BTreeMap<Box<str>, Rate>,
}

/// What is posted for one batch; nothing where this run has nothing new of it. The inner error: why it may not be.
type Planned = Result<Option<(Standing, BatchDoc)>, Vec<String>>;

fn batch_doc(
    run: &Run<'_>,
    id: &str,
    candidate: &Candidate,
    made: &Made<'_>,
    pool: &[SettlementLine],
    expected: &[Expected],
) -> Result<Planned, WorkError> {
    let Made { outcome, certificates, rates } = *made;
    let own: BTreeSet<&str> = candidate.lines.iter().map(|l| l.id.as_ref()).collect();
    let known = candidate.before.as_ref().map(|(_, doc)| doc);
    let of_it = |c: &&Certificate| c.group.lines.iter().any(|l| own.contains(l.as_ref()));
    let mut sealed: Vec<Certificate> = certificates.iter().filter(of_it).cloned().collect();
    let mut accepted: Vec<Acceptance> = run
        .taken()
        .into_iter()
        .flat_map(|taken| &taken.record.sealed)
        .filter(|a| a.was.is_none() && own.contains(a.item.as_ref()))
        .cloned()
        .collect();
    let by_person: Vec<Explained> = accepted
        .iter()
        .map(|a| Explained { line: a.item.clone(), rule: BY_PERSON.into(), account: a.account })
        .collect();
    let by_rule = || outcome.explained.iter().filter(|x| own.contains(x.line.as_ref()));
    let explained_now = || by_rule().chain(&by_person);
    if candidate.listed.is_none() && sealed.is_empty() && explained_now().next().is_none() {
        return Ok(Ok(None));
    }
    let mut explained: Vec<_> = explained_now().cloned().collect();
    let named: BTreeSet<&Box<str>> = sealed.iter().flat_map(|c| &c.group.expected).collect();
    let mut used: Vec<Expected> = expected.iter().filter(|e| named.contains(&e.id)).cloned().collect();
    let beside: BTreeSet<&Box<str>> = sealed.iter().flat_map(|c| &c.group.lines).collect();
    let other = |l: &&SettlementLine| beside.contains(&l.id) && !own.contains(l.id.as_ref());
    let mut other_lines: Vec<SettlementLine> = pool.iter().filter(other).cloned().collect();
    let mut flaws: Vec<Exception> = {
        let matched: BTreeSet<&str> = beside.iter().map(|l| l.as_ref()).collect();
        let open: BTreeSet<&str> =
            outcome.open_lines.iter().chain(&outcome.open_expected).map(AsRef::as_ref).collect();
        // What is about something open stands among the open items.
        let of_matched = |x: &&Exception| {
            x.lines.iter().any(|l| matched.contains(l.as_ref())) && !about_open(x, |id| open.contains(id))
        };
        outcome.exceptions.iter().filter(of_matched).cloned().collect()
    };
    let rules = {
        let book = known.map_or_else(|| RuleBook::new(&run.rules), |doc| doc.rules.clone());
        let settled = sealed.iter().flat_map(|c| &c.group.lines).chain(explained.iter().map(|x| &x.line));
        book.and(&run.rules, settled)
    };
    if let Some(known) = known {
        sealed.extend(known.certificates.iter().cloned());
        explained.extend(known.explained.iter().cloned());
        accepted.extend(known.accepted.iter().cloned());
        used.extend(known.expected.iter().cloned());
        other_lines.extend(known.other_lines.iter().cloned());
        flaws.extend(known.flaws.iter().cloned());
    }
    sealed.sort_by(|a, b| a.group.cmp(&b.group));
    explained.sort_unstable();
    used.sort_by(|a, b| a.id.cmp(&b.id));
    other_lines.sort_by(|a, b| a.id.cmp(&b.id));
    let settled: BTreeSet<&str> = sealed
        .iter()
        .flat_map(|c| &c.group.lines)
        .chain(explained.iter().map(|x| &x.line))
        .map(AsRef::as_ref)
        .collect();
    let mut open_lines: Vec<Box<str>> =
        candidate.lines.iter().filter(|l| !settled.contains(l.id.as_ref())).map(|l| l.id.clone()).collect();
    open_lines.sort_unstable();
    let listed = candidate.listed.as_ref().map(|l| &l.batch);
    let Some(batch) = listed.or(known.map(|doc| &doc.batch)) else {
        return Err(WorkError::Config(format!("batch {id} is not known")));
    };
    let posted: BTreeSet<&str> =
        known.iter().flat_map(|doc| doc.entries.iter().map(|e| e.id.as_str())).collect();
    let groups: Vec<_> = sealed.iter().map(|c| c.group.clone()).collect();
    // What was converted without a rate stays so.
    let mut used_rates = known.map(|doc| doc.rates.clone()).unwrap_or_default();
    let new = rates.iter().filter(|(line, _)| own.contains(line.as_ref()));
    used_rates.extend(new.map(|(line, rate)| (line.clone(), *rate)));
    let to_book = ToBook {
        batch,
        lines: &candidate.lines,
        groups: &groups,
        expected: &used,
        explained: &explained,
        rates: &used_rates,
        rules: &rules,
    };
    let entries = match entries(&to_book, |id| posted.contains(id)) {
        Ok(entries) => entries,
        Err(error) => return Ok(Err(vec![error.to_string()])),
    };
    let verdict = check(&Statement {
        batch,
        lines: &candidate.lines,
        other_lines: &other_lines,
        expected: &used,
        certificates: &sealed,
        explained: &explained,
        accepted: &accepted,
        open_lines: &open_lines,
        open_expected: &[],
        entries: &entries,
        rates: &used_rates,
        rules: &rules,
    });
    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(bad) => return Ok(Err(texts(&bad))),
    };
    let fresh = entries.iter().map(|e| e.id.clone()).filter(|id| !posted.contains(id.as_str())).collect();
    Ok(Ok(Some((
        verdict.into(),
        BatchDoc {
            batch: batch.clone(),
            lines: candidate.lines.clone(),
            other_lines,
            expected: used,
            certificates: sealed,
            explained,
            accepted,
            open_lines,
            entries,
            fresh,
            rules,
            rates: used_rates,
            flaws,
        },
    ))))
}

fn sums(doc: &BatchDoc) -> Sums {
    let matched: usize = {
        let own: BTreeSet<&str> = doc.lines.iter().map(|l| l.id.as_ref()).collect();
        let lines = doc.certificates.iter().flat_map(|c| &c.group.lines);
        lines.filter(|l| own.contains(l.as_ref())).count()
    };
    let mut sums = Sums {
        lines: doc.lines.len(),
        matched,
        explained: doc.explained.len(),
        open: doc.open_lines.len(),
        ..Sums::default()
    };
    let add = |sum: &mut i64, minor: i64| *sum = sum.saturating_add(minor);
    let one = |count: &mut usize| *count = count.saturating_add(1);
    for line in &doc.lines {
        match line.kind {
            Kind::Charge => {
                one(&mut sums.payments);
                add(&mut sums.gross, line.gross);
            }
            Kind::CaptureReversal => add(&mut sums.gross, line.gross),
            Kind::Refund => {
                one(&mut sums.refunds);
                add(&mut sums.refunded, line.gross);
            }
            Kind::Dispute => one(&mut sums.disputes),
            Kind::Fee | Kind::TaxOnFee => add(&mut sums.fees, line.gross.saturating_neg()),
            _ => {}
        }
        add(&mut sums.fees, line.fee);
        if line.kind != Kind::Payout {
            add(&mut sums.net, line.net);
        }
    }
    sums
}

/// The book after this run.
#[expect(clippy::too_many_arguments, reason = "everything a run knows goes into the book")]
fn carry_on(
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
    let keeps = |e: &&Expected| open.contains(e.id.as_ref()) && e.standing != Stands::Unknown;
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
    let BookDoc { accepted, balance, .. } = doc;
    BookDoc { expected: still, lines: out_lines, ahead: done, proven, accepted, balance }
}

fn open_records(outcome: &Outcome, lines: &[SettlementLine], expected: &[Expected]) -> Vec<OpenRecord> {
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

fn proofs(
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
fn unknown_objects(outcome: &Outcome, lines: &[SettlementLine], open: &[OpenRecord]) -> Vec<Box<str>> {
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
fn notices(report: &RunReport, came: &[CameAfterAll], exchanged: Vec<String>) -> Vec<(String, String)> {
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
