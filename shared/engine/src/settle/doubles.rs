//! Lines of an object that another line has settled: in the same run the matching sees both; here are those of earlier runs.

use std::collections::BTreeMap;

use tillway_core::ids::OrderKey;
use tillway_core::journal::Entry;
use tillway_core::settle::{Class, Exception, Outcome, SettlementLine, expected_of};

use super::Run;
use super::records::BookDoc;
use crate::engine::{Engine, WorkError};
use crate::records::{alias_key, order_pk};

/// Lines that are looked up in one run, at most.
const ASKED: usize = 50;
/// Entries of one page.
const PAGE: usize = 100;

impl Engine {
    /// Calls an open line by its name: what nobody expects is a duplicate where a certificate says that another line settled its
    /// object, of that kind and amount.
    pub(super) async fn name_doubles(
        &self,
        run: &Run<'_>,
        outcome: &mut Outcome,
        doc: &mut BookDoc,
        lines: &[SettlementLine],
    ) -> Result<(), WorkError> {
        let by_id: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
        let mut asked = 0_usize;
        for exception in &mut outcome.exceptions {
            if let (Class::Duplicate, [_, _]) = (exception.class, exception.lines.as_slice()) {
                note(exception, &outcome.open_lines, doc);
            }
            let Some(line) = unexpected(exception).and_then(|id| by_id.get(id)) else { continue };
            let found = match doc.doubles.get(&line.id) {
                Some(other) => Some(other.clone()),
                None if asked < ASKED => {
                    asked = asked.saturating_add(1);
                    self.settled_by(run, line).await?
                }
                None => None,
            };
            if let Some(other) = found {
                exception.class = Class::Duplicate;
                exception.lines.push(other.clone());
                exception.lines.sort_unstable();
                doc.doubles.insert(line.id.clone(), other);
            }
        }
        outcome.sort();
        Ok(())
    }

    /// The line that settled what this one says.
    async fn settled_by(&self, run: &Run<'_>, line: &SettlementLine) -> Result<Option<Box<str>>, WorkError> {
        let Some(own) = line.ids.own.as_deref() else { return Ok(None) };
        let alias = self.ports.store.get(&[alias_key(run.name(), own)]).await?.into_iter().flatten().next();
        let Some(alias) = alias else { return Ok(None) };
        let order: OrderKey = serde_json::from_slice(&alias.body)?;
        let begins = format!("jrn#{}#", run.name());
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&order_pk(&order), &begins, after.as_deref(), PAGE).await?;
            for item in page.items {
                let entry: Entry = serde_json::from_slice(&item.body)?;
                let Some(e) = expected_of(&entry, None, &run.rules) else { continue };
                let is_it = e.ids.own.as_deref() == Some(own)
                    && e.kind == line.kind
                    && line.amount_in(e.currency) == Some(e.amount);
                if let (true, Some(other)) = (is_it, self.line_of(run.name(), &entry).await?) {
                    return Ok(Some(other).filter(|other| *other != line.id));
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(None);
            }
        }
    }
}

/// The line of an exception that is about one line alone, which nobody expects.
fn unexpected(exception: &Exception) -> Option<&str> {
    let class =
        matches!(exception.class, Class::MissingHere | Class::UnknownRefund | Class::UnknownChargeback);
    match exception.lines.as_slice() {
        [line] if class && exception.expected.is_empty() => Some(line),
        _ => None,
    }
}

/// Keeps what the matching saw of two lines of which one stays open.
fn note(exception: &Exception, open: &[Box<str>], doc: &mut BookDoc) {
    let is_open = |id: &str| open.binary_search_by(|other| other.as_ref().cmp(id)).is_ok();
    if let [a, b] = exception.lines.as_slice() {
        match (is_open(a), is_open(b)) {
            (true, false) => doc.doubles.insert(a.clone(), b.clone()),
            (false, true) => doc.doubles.insert(b.clone(), a.clone()),
            _ => None,
        };
    }
}
