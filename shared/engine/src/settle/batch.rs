//! What is posted for one batch, checked, and what it comes to.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::settle::accepted::{Acceptance, BY_PERSON};
use tillway_core::settle::certificate::Certificate;
use tillway_core::settle::check::{Statement, check};
use tillway_core::settle::rates::Rate;
use tillway_core::settle::{
    Exception, Expected, Explained, Kind, Outcome, RuleBook, SettlementLine, ToBook, entries,
};

use super::Run;
use super::candidates::Candidate;
use super::fetch::about_open;
use super::plan::texts;
use super::records::{BatchDoc, Standing, Sums};
use crate::engine::WorkError;

/// What matching made of everything.
pub(super) struct Made<'a> {
    /// The books' rates of what it exchanged.
    rates: &'a BTreeMap<Box<str>, Rate>,
    lines: BTreeMap<&'a str, &'a SettlementLine>,
    expected: BTreeMap<&'a str, &'a Expected>,
    /// Certificates by the batches of their lines.
    certificates: BTreeMap<&'a str, Vec<&'a Certificate>>,
    explained: BTreeMap<&'a str, Vec<&'a Explained>>,
    /// Exceptions about something that is matched, by line, with their places.
    flaws: BTreeMap<&'a str, Vec<(usize, &'a Exception)>>,
}

impl<'a> Made<'a> {
    /// By batch, so that a run of many batches looks at each item once.
    pub(super) fn of(
        outcome: &'a Outcome,
        certificates: &'a [Certificate],
        rates: &'a BTreeMap<Box<str>, Rate>,
        (lines, expected): (&'a [SettlementLine], &'a [Expected]),
    ) -> Self {
        let lines: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
        let batch_of = |line: &str| lines.get(line).map(|l| l.batch.as_ref());
        let mut of_batch: BTreeMap<&str, Vec<&Certificate>> = BTreeMap::new();
        for certificate in certificates {
            let batches: BTreeSet<&str> =
                certificate.group.lines.iter().filter_map(|line| batch_of(line)).collect();
            batches.into_iter().for_each(|batch| of_batch.entry(batch).or_default().push(certificate));
        }
        let mut explained: BTreeMap<&str, Vec<&Explained>> = BTreeMap::new();
        for x in &outcome.explained {
            if let Some(batch) = batch_of(&x.line) {
                explained.entry(batch).or_default().push(x);
            }
        }
        let open: BTreeSet<&str> =
            outcome.open_lines.iter().chain(&outcome.open_expected).map(AsRef::as_ref).collect();
        let mut flaws: BTreeMap<&str, Vec<(usize, &Exception)>> = BTreeMap::new();
        // What is about something open stands among the open items.
        let of_matched = |x: &&Exception| !about_open(x, |id| open.contains(id));
        for (place, exception) in outcome.exceptions.iter().filter(of_matched).enumerate() {
            for line in &exception.lines {
                flaws.entry(line).or_default().push((place, exception));
            }
        }
        Self {
            rates,
            expected: expected.iter().map(|e| (e.id.as_ref(), e)).collect(),
            lines,
            certificates: of_batch,
            explained,
            flaws,
        }
    }
}

/// What is posted for one batch; nothing where this run has nothing new of it. The inner error: why it may not be.
pub(super) type Planned = Result<Option<(Standing, BatchDoc)>, Vec<String>>;

pub(super) fn batch_doc(
    run: &Run<'_>,
    id: &str,
    candidate: &Candidate,
    made: &Made<'_>,
) -> Result<Planned, WorkError> {
    let own: BTreeSet<&str> = candidate.lines.iter().map(|l| l.id.as_ref()).collect();
    let known = candidate.before.as_ref().map(|(_, doc)| doc);
    let mut sealed: Vec<Certificate> =
        made.certificates.get(id).into_iter().flatten().map(|c| (*c).clone()).collect();
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
    let by_rule = || made.explained.get(id).into_iter().flatten().copied();
    let explained_now = || by_rule().chain(&by_person);
    if candidate.listed.is_none() && sealed.is_empty() && explained_now().next().is_none() {
        return Ok(Ok(None));
    }
    let mut explained: Vec<_> = explained_now().cloned().collect();
    let named: BTreeSet<&Box<str>> = sealed.iter().flat_map(|c| &c.group.expected).collect();
    let found = named.iter().filter_map(|id| made.expected.get(id.as_ref()));
    let mut used: Vec<Expected> = found.map(|e| (*e).clone()).collect();
    let beside: BTreeSet<&Box<str>> = sealed.iter().flat_map(|c| &c.group.lines).collect();
    let others = beside.iter().filter(|l| !own.contains(l.as_ref()));
    let mut other_lines: Vec<SettlementLine> =
        others.filter_map(|l| made.lines.get(l.as_ref()).map(|l| (*l).clone())).collect();
    let mut flaws: Vec<Exception> = {
        let of_matched = beside.iter().filter_map(|l| made.flaws.get(l.as_ref())).flatten();
        let each: BTreeMap<usize, &Exception> = of_matched.copied().collect();
        each.into_values().cloned().collect()
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
    let new = made.rates.iter().filter(|(line, _)| own.contains(line.as_ref()));
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
    if !candidate.sectioned.wrong.is_empty() {
        return Ok(Err(candidate.sectioned.wrong.clone()));
    }
    let sections = candidate.sectioned.sections.clone();
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
        sections: &sections.iter().map(|s| s.tally.clone()).collect::<Vec<_>>(),
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
            sections,
        },
    ))))
}

pub(super) fn sums(doc: &BatchDoc) -> Sums {
    let matched: usize = {
        let own: BTreeSet<&str> = doc.lines.iter().map(|l| l.id.as_ref()).collect();
        let lines = doc.certificates.iter().flat_map(|c| &c.group.lines);
        lines.filter(|l| own.contains(l.as_ref())).count()
    };
    let mut sums = sums_of(&doc.lines, matched);
    (sums.explained, sums.open) = (doc.explained.len(), doc.open_lines.len());
    doc.sections.iter().for_each(|section| sums.add(&section.sums));
    sums
}

/// The same of some lines of which so many are matched.
pub(super) fn sums_of(lines: &[SettlementLine], matched: usize) -> Sums {
    let mut sums = Sums { lines: lines.len(), matched, ..Sums::default() };
    let add = |sum: &mut i64, minor: i64| *sum = sum.saturating_add(minor);
    let one = |count: &mut usize| *count = count.saturating_add(1);
    for line in lines {
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
