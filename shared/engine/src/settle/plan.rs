//! Matching, and the plan that follows from it: what is posted for each batch, and what is carried on.

use std::collections::BTreeMap;

use tillway_core::settle::certificate::certify;
use tillway_core::settle::check::check_run;
use tillway_core::settle::watch::DayFigures;
use tillway_core::settle::{Funding, SettlementLine, settle};

use super::accept::{Taken, accept_expected, came_after_all, recall, stays_accepted, still_possible};
use super::batch::{Made, batch_doc, sums};
use super::candidates::{Candidate, left_open};
use super::carry::{PROVEN_DAYS, carry_on, notices, open_records, proofs, unknown_objects};
use super::expect::Expectations;
use super::fetch::Incoming;
use super::records::{
    BATCHES, BatchDoc, BatchRecord, BookRecord, LargeBook, PlanDoc, RunReport, Standing, settle_pk,
};
use super::report::{RunRecord, Sheet, add};
use super::sections::{Beside, Left};
use super::watched::{self, NewLines};
use super::{Run, Step, rates};
use crate::engine::{Engine, WorkError};
use crate::ports::Severity;

impl Engine {
    /// Matches what came with what is expected, and lets the plan stand.
    pub(super) async fn make_plan(
        &self,
        run: &mut Run<'_>,
        mut incoming: Vec<Incoming>,
        report: &mut RunReport,
    ) -> Result<(), WorkError> {
        let mut doc = self.book_doc(&run.book).await?;
        let mut read: Vec<Box<str>> = incoming.iter().flat_map(|i| i.read.iter().cloned()).collect();
        read.extend(run.book.doc.clone().map(Box::from));
        read.extend(doc.waiting.iter().map(|piece| piece.doc.clone()));
        let read_of: Vec<Box<str>> = incoming.iter().map(|i| i.listed.batch.id.clone()).collect();
        let carried = std::mem::take(&mut doc.lines);
        let today = run.book.today.map_or(run.day, |known| known.max(run.day));
        let Expectations { spread, mut loose, cursor, ahead, newer } =
            self.expectations(run, &mut doc).await?;
        let mut unknown_effects = Vec::new();
        let commands = self.unknown_effects(run, &mut unknown_effects).await?;
        let apart = unknown_effects.iter().chain(doc.accepted.iter().map(|a| &a.expected));
        let beside = Beside {
            carried: &carried,
            named: apart.filter_map(|e| e.ids.own.clone()).collect(),
            taken: run.taken().map(Taken::expected_ids).unwrap_or_default(),
            today,
        };
        let Left { mut expected, mut waiting, matched } =
            self.take_sections(run, &mut incoming, spread, beside).await?;
        expected.append(&mut loose);
        let mut candidates = self.candidates(run, incoming, report).await?;
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
        self.know_orders(run, &mut expected, &all).await?;
        expected.append(&mut unknown_effects);
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
        let by_sections = |held: usize| held.saturating_add(matched);
        run.tell(&Step::Matching(by_sections(all.len()), by_sections(expected.len())))?;
        self.keep_book(run).await?;
        // A batch that the checker rejects is taken out, and what is left is matched anew: nothing rests on it.
        let (outcome, certificates, planned) = loop {
            let lines = pool(&candidates);
            expected.truncate(plain);
            expected.extend(recall(&doc.accepted, &lines));
            let mut outcome = settle(&lines, &expected, &run.rules, today);
            stays_accepted(&doc.accepted, &mut outcome, &mut expected);
            self.name_doubles(run, &mut outcome, &mut doc, &lines).await?;
            let certificates = certify(&outcome.groups, &lines, &expected);
            check_run(&outcome, &certificates, &lines, &expected, &words, &run.rules)
                .map_err(|bad| WorkError::Config(format!("a defect of ours: {}", texts(&bad).join("; "))))?;
            let rates = self.rates_of(&outcome.groups, &lines, &expected, &run.rules).await?;
            let made = Made::of(&outcome, &certificates, &rates, (&lines, &expected));
            let mut planned = Vec::new();
            let mut rejected: Vec<(Box<str>, Vec<String>)> = Vec::new();
            for (id, candidate) in &candidates {
                match batch_doc(run, id, candidate, &made)? {
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
                if let Some(out) = &out {
                    self.give_back(run, out, &mut waiting).await?;
                }
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
            add(&mut balance, &candidate.sectioned.booked);
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
        doc.waiting = waiting;
        let after = carry_on(&outcome, &lines, &expected, doc, today, &carried, &candidates, &ahead);
        let open = open_records(&outcome, &lines, &expected);
        let watched = if run.is_of_day() {
            let whole = report.waiting.is_empty() && report.refused.is_empty();
            let attempts = self.attempts(run.name(), run.day).await?;
            let mut charged = Vec::new();
            for (_, batch) in &records {
                charged.push(self.charged_in_sections(batch).await?);
            }
            let new = |figures: &mut DayFigures| {
                for ((record, batch), charged) in records.iter().zip(&charged) {
                    let candidate = candidates.get(&record.batch.id);
                    let before = candidate.and_then(|c| c.before.as_ref()).map(|(_, doc)| doc);
                    watched::count(figures, run.day, &NewLines::of_batch(batch, before, charged), &run.rules);
                    let sections = candidate.and_then(|c| c.sectioned.figures.as_ref());
                    sections.into_iter().for_each(|more| figures.add(more));
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
                awaited: &after,
                balance: &balance,
                notices: &notices,
            };
            format!("{} {}: {}", run.name(), run.day, self.report_of(&sheet).await?.morning())
        } else {
            String::new()
        };
        let records: Vec<BatchRecord> = records.into_iter().map(|(record, _)| record).collect();
        let proofs = proofs(&outcome, &lines, &commands);
        // Where the gateway was not looked at it is not asked either: the next run of a day does.
        let unknown = if run.is_of_day() { unknown_objects(&outcome, &lines, &open) } else { Vec::new() };
        let book_name = format!("{stem}/book");
        match LargeBook::of(&after) {
            Some(large) => self.shelve(&book_name, &large).await?,
            None => self.shelve(&book_name, &after).await?,
        }
        read.extend(candidates.values().flat_map(|c| c.read.iter().cloned()));
        read.append(&mut run.drafts.passing);
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
                scratch: None,
                trash: None,
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
        run.book.scratch = None;
        self.keep_book(run).await
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
        let sections = || doc.sections.iter().flat_map(|s| [s.span.0, s.span.1]);
        let days =
            || doc.expected.iter().map(|e| e.due).chain(doc.lines.iter().map(|l| l.day)).chain(sections());
        let new_of_sections = doc.sections.iter().filter(|s| s.fresh).map(|s| s.booked);
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
            posted: new_of_sections.fold(doc.fresh.len(), usize::saturating_add),
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

pub(super) fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}
