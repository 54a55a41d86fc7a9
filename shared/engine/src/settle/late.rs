//! Batches that grow: lists that are read again on later days, for what they show late.
//!
//! What an earlier run settled of such a batch stays as it is. What is new in it is a batch of its own, `<batch>~<day>` by the day
//! whose run first saw it, so that no settled batch ever says something else and a day that is settled again says the same.

use std::collections::BTreeMap;

use tillway_connectors::ListedBatch;
use tillway_core::settle::{Batch, Day, SettlementLine};

use super::Run;
use super::fetch::{Incoming, MAX_PAGES, Stop};
use super::records::{BATCHES, BatchDoc, BatchRecord, settle_pk};
use crate::engine::{Engine, WorkError};

/// Records of one page.
const PAGE: usize = 200;

impl Engine {
    /// Reads a batch that grows, in one go, for such a list is short, and divides it: what was settled of it by runs of this day, and
    /// what was settled by none.
    pub(super) async fn read_growing(
        &self,
        run: &Run<'_>,
        listed: &ListedBatch,
    ) -> Result<Vec<Incoming>, Stop> {
        let mut lines = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = self.ask_lines(run, &listed.batch, cursor.as_deref()).await.map_err(Stop::Fault)?;
            lines.extend(page.lines);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let settled = self.settled_of(run, &listed.batch.id).await?;
        let batches = divide(&listed.batch.id, run.day, &settled, lines);
        let incoming = |(id, mut lines): (Box<str>, Vec<SettlementLine>)| {
            lines.iter_mut().for_each(|l| l.batch.clone_from(&id));
            let batch = Batch { id, ..listed.batch.clone() };
            Incoming { listed: ListedBatch { batch, ..listed.clone() }, lines, read: Vec::new() }
        };
        Ok(batches.into_iter().map(incoming).collect())
    }

    /// What runs settled of a batch that grows: each batch made of it, the day of its run, and its lines.
    async fn settled_of(&self, run: &Run<'_>, id: &str) -> Result<Vec<Settled>, WorkError> {
        let mut out = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let begins = format!("{BATCHES}{id}");
            let page =
                self.ports.store.query(&settle_pk(run.name()), &begins, after.as_deref(), PAGE).await?;
            for item in page.items {
                let record: BatchRecord = serde_json::from_slice(&item.body)?;
                let own = record.batch.id.strip_prefix(id);
                // Of another merchant id it is another batch.
                if !own.is_some_and(|rest| rest.is_empty() || rest.starts_with('~')) {
                    continue;
                }
                let doc: BatchDoc = self.shelved(&record.doc).await?;
                let lines = doc.lines.into_iter().map(|l| l.id).collect();
                out.push(Settled { id: record.batch.id, day: record.day, lines });
            }
            after = page.next;
            if after.is_none() {
                return Ok(out);
            }
        }
    }
}

/// A batch that a run made of one that grows.
struct Settled {
    id: Box<str>,
    day: Day,
    lines: Vec<Box<str>>,
}

/// The lines of a list by the batch they are of: those this day's runs settled, as they were, and new ones under a name of
/// their own. What other days' runs settled is left out.
fn divide(
    base: &str,
    day: Day,
    settled: &[Settled],
    lines: Vec<SettlementLine>,
) -> BTreeMap<Box<str>, Vec<SettlementLine>> {
    let taken = |id: &str| settled.iter().any(|s| s.id.as_ref() == id);
    let names = [base.to_owned(), format!("{base}~{day}")].into_iter();
    let further = (2_u64..).map(|n| format!("{base}~{day}.{n}"));
    let new = names.chain(further).find(|name| !taken(name)).unwrap_or_default();
    let of: BTreeMap<&str, &Settled> =
        settled.iter().flat_map(|s| s.lines.iter().map(move |l| (l.as_ref(), s))).collect();
    let mut out: BTreeMap<Box<str>, Vec<SettlementLine>> = BTreeMap::new();
    for line in lines {
        let id = match of.get(line.id.as_ref()) {
            None => new.as_str(),
            Some(known) if known.day == day => known.id.as_ref(),
            Some(_) => continue,
        };
        out.entry(id.into()).or_default().push(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use tillway_core::settle::Kind;

    use super::*;

    #[test]
    fn what_is_settled_stays_where_it_is_and_each_run_names_what_is_new() {
        let batch = Batch {
            id: "b".into(),
            connection: "c".into(),
            currency: "USD".parse().unwrap(),
            funding: tillway_core::settle::Funding::Submitted,
        };
        let (first, second) = (Day(20_000), Day(20_003));
        let line =
            |id: &&str| SettlementLine::of_no_object((*id).to_owned(), &batch, Kind::Dispute, -1, first);
        let settled = |id: &str, day, lines: &[&str]| Settled {
            id: id.into(),
            day,
            lines: lines.iter().map(|l| (*l).into()).collect(),
        };
        let divided = |day, settled: &[Settled], lines: &[&str]| -> Vec<(String, Vec<String>)> {
            let out = divide("b", day, settled, lines.iter().map(line).collect());
            out.iter()
                .map(|(id, lines)| (id.to_string(), lines.iter().map(|l| l.id.to_string()).collect()))
                .collect()
        };
        let of = |id: &str, lines: &[&str]| {
            (id.to_owned(), lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(divided(second, &[], &["1", "2"]), [of("b", &["1", "2"])]);
        let known = [settled("b", first, &["1"])];
        let late = format!("b~{second}");
        assert_eq!(divided(second, &known, &["1"]), []);
        assert_eq!(divided(second, &known, &["1", "2"]), [of(&late, &["2"])]);
        assert_eq!(divided(first, &known, &["1", "2"]), [of("b", &["1"]), of(&format!("b~{first}"), &["2"])]);
        let known = [settled("b", first, &["1"]), settled(&late, second, &["2"])];
        assert_eq!(
            divided(second, &known, &["1", "2", "3"]),
            [of(&late, &["2"]), of(&format!("{late}.2"), &["3"])]
        );
        assert_eq!(divided(first, &known, &["1", "2"]), [of("b", &["1"])]);
    }
}
