//! What `explain` says of an order's settlement: the batch of each movement, and the certificate that proves it.

use std::collections::BTreeSet;

use tillway_core::ids::ConnectionName;
use tillway_core::journal::Entry;
use tillway_core::settle::certificate::Certificate;
use tillway_core::settle::{Day, Kind, Rules, expected_of, section_of};

use super::accept::AcceptedExpected;
use super::records::{BatchDoc, BatchRecord, Section, SectionDoc};
use crate::engine::{Engine, WorkError};
use crate::explain::Line;

/// Days by which what was expected may have been due later than by the rules of today.
const RULES_CHANGED: i32 = 31;

impl Engine {
    /// A line for each batch that settles some of these entries.
    pub(crate) async fn settlement_lines(&self, entries: &[Entry]) -> Result<Vec<Line>, WorkError> {
        let mut out = Vec::new();
        let moves = |e: &&Entry| {
            let what = e.id.split(':').next().unwrap_or_default();
            matches!(what, "capture" | "refund" | "refund_failed" | "dispute")
        };
        let days = || entries.iter().filter(moves).map(|e| Day::of(e.at));
        let (Some(first), Some(newest)) = (days().min(), days().max()) else { return Ok(out) };
        let mut names: Vec<_> = entries.iter().filter(moves).map(|e| &e.connection).collect();
        names.sort();
        names.dedup();
        for name in names.into_iter().filter(|name| self.settles(name)) {
            let rules = self.settlement_rules(name)?;
            let days = (first, last_due(&rules, newest));
            let own: Vec<&Entry> = entries.iter().filter(moves).filter(|e| e.connection == *name).collect();
            for record in self.batch_records(name).await? {
                let found = self.certificates_of(&record, days, &own, &rules).await?;
                if !found.is_empty() {
                    out.push(line(&record, found.iter().map(|(e, sealed)| proof(e, sealed)).collect()));
                }
            }
            let book = self.book_doc(&self.book_of(name).await?).await?;
            let own = |a: &&AcceptedExpected| entries.iter().any(|e| *e.id == *a.expected.id);
            out.extend(book.accepted.iter().filter(own).map(|a| accepted(name, a)));
        }
        Ok(out)
    }

    /// The certificates by which a batch settles some of these entries, with the entry. `days`: of the first of them, and the last on
    /// which one may have been due.
    async fn certificates_of<'e>(
        &self,
        record: &BatchRecord,
        days: (Day, Day),
        entries: &[&'e Entry],
        rules: &Rules,
    ) -> Result<Vec<(&'e Entry, Certificate)>, WorkError> {
        // A batch that ended before the first movement settles none of them, and one whose lines and expectations are all of later
        // than the last was due none either.
        if record.span.1 < days.0 || record.span.0 > days.1 {
            return Ok(Vec::new());
        }
        let doc: BatchDoc = self.shelved(&record.doc).await?;
        let found = |certificates: &[Certificate]| -> Vec<(&'e Entry, Certificate)> {
            entries.iter().filter_map(|e| Some((*e, proven(certificates, e)?.clone()))).collect()
        };
        let mut out = found(&doc.certificates);
        let place = |e: &&Entry| Some(section_of(expected_of(e, None, rules)?.ids.own.as_deref()?));
        let places: BTreeSet<u16> = entries.iter().copied().filter_map(|e| place(&e)).collect();
        let holds = |s: &&Section| places.range(s.parts.0..=s.parts.1).next().is_some();
        for section in doc.sections.iter().filter(holds) {
            let inside: SectionDoc = self.shelved(&section.doc).await?;
            out.extend(found(&inside.certificates));
        }
        Ok(out)
    }

    /// The line that settled an entry, as a certificate says.
    pub(super) async fn line_of(
        &self,
        name: &ConnectionName,
        entry: &Entry,
    ) -> Result<Option<Box<str>>, WorkError> {
        let rules = self.settlement_rules(name)?;
        let booked = Day::of(entry.at);
        let days = (booked, last_due(&rules, booked));
        for record in self.batch_records(name).await? {
            let found = self.certificates_of(&record, days, &[entry], &rules).await?;
            if let Some((_, sealed)) = found.first() {
                return Ok(sealed.group.lines.first().cloned());
            }
        }
        Ok(None)
    }
}

/// What was booked until a day may have been due until then, at the latest.
fn last_due(rules: &Rules, newest: Day) -> Day {
    let due = Kind::ALL.iter().map(|(kind, _)| rules.due(*kind, newest)).max().unwrap_or(newest);
    due.plus(RULES_CHANGED)
}

fn accepted(name: &ConnectionName, a: &AcceptedExpected) -> Line {
    let word = &a.sealed;
    let what = format!("{} accepted by {} to {}", a.expected.id, word.by, word.account.name());
    Line { at: word.at, system: name.to_string(), what, details: vec![word.reason.to_string()] }
}

fn line(record: &BatchRecord, details: Vec<String>) -> Line {
    let what = format!("settled in batch {} of {} ({})", record.batch.id, record.day, record.standing.name());
    Line { at: record.at, system: record.batch.connection.to_string(), what, details }
}

/// The certificate that proves an entry.
fn proven<'c>(certificates: &'c [Certificate], entry: &Entry) -> Option<&'c Certificate> {
    certificates.iter().find(|c| c.group.expected.iter().any(|id| id.as_ref() == entry.id))
}

fn proof(entry: &Entry, sealed: &Certificate) -> String {
    let lines: Vec<&str> = sealed.group.lines.iter().map(AsRef::as_ref).collect();
    format!(
        "{} by line {} (matched by {}, certificate {})",
        entry.id,
        lines.join(", "),
        sealed.group.tier.name(),
        sealed.hash.get(..12).unwrap_or_default()
    )
}
