//! What `explain` says of an order's settlement: the batch of each movement, and the certificate that proves it.

use std::collections::BTreeSet;

use tillway_core::ids::ConnectionName;
use tillway_core::journal::Entry;
use tillway_core::settle::certificate::Certificate;
use tillway_core::settle::{Day, Kind, expected_of, section_of};

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
            let due = Kind::ALL.iter().map(|(kind, _)| rules.due(*kind, newest)).max().unwrap_or(newest);
            let last = due.plus(RULES_CHANGED);
            for record in self.batch_records(name).await? {
                // A batch that ended before the first movement settles none of them, and one whose lines and expectations
                // are all of later than the last was due none either.
                if record.span.1 < first || record.span.0 > last {
                    continue;
                }
                let doc: BatchDoc = self.shelved(&record.doc).await?;
                let own: Vec<&Entry> =
                    entries.iter().filter(moves).filter(|e| e.connection == *name).collect();
                let mut details: Vec<String> =
                    own.iter().filter_map(|e| proven(&doc.certificates, e)).collect();
                let part = |e: &&Entry| section_of(expected_of(e, None, &rules)?.ids.own.as_deref()?).into();
                let parts: BTreeSet<u16> = own.iter().copied().filter_map(|e| part(&e)).collect();
                let holds = |s: &&Section| parts.range(s.parts.0..=s.parts.1).next().is_some();
                for section in doc.sections.iter().filter(holds) {
                    let inside: SectionDoc = self.shelved(&section.doc).await?;
                    details.extend(own.iter().filter_map(|e| proven(&inside.certificates, e)));
                }
                if !details.is_empty() {
                    out.push(line(&record, details));
                }
            }
            let book = self.book_doc(&self.book_of(name).await?).await?;
            let own = |a: &&AcceptedExpected| entries.iter().any(|e| *e.id == *a.expected.id);
            out.extend(book.accepted.iter().filter(own).map(|a| accepted(name, a)));
        }
        Ok(out)
    }
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

fn proven(certificates: &[Certificate], entry: &Entry) -> Option<String> {
    let sealed = certificates.iter().find(|c| c.group.expected.iter().any(|id| id.as_ref() == entry.id))?;
    let lines: Vec<&str> = sealed.group.lines.iter().map(AsRef::as_ref).collect();
    Some(format!(
        "{} by line {} (matched by {}, certificate {})",
        entry.id,
        lines.join(", "),
        sealed.group.tier.name(),
        sealed.hash.get(..12).unwrap_or_default()
    ))
}
