//! The watch over a connection's figures: what a day's new lines add to them, and what is out of the ordinary.
//!
//! Figures are of the day whose run saw a line first: a batch that is funded later adds only what is new in it then. They are kept a
//! month to a record, and the plan holds the record whole, so that a run that is gone on with counts nothing twice. A day of which
//! something is waited for, or was refused, is kept and not judged, and judges no other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tillway_core::ids::ConnectionName;
use tillway_core::settle::watch::{DayFigures, Finding, Measured, Settings, measured, watch};
use tillway_core::settle::{Day, Expected, Rules};

use super::records::{BatchDoc, watch_key};
use crate::engine::{Engine, WorkError};

/// Days that are looked back for one.
const BACK: i32 = 70;
/// Largest record of a month, bytes; beyond it the oldest days lose what there was of each kind.
const LARGEST: usize = 300 * 1024;

/// The figures of one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedDay {
    /// Everything of it was there.
    pub whole: bool,
    /// Its figures.
    pub figures: DayFigures,
}

/// A month of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedMonth {
    /// Days, in order.
    pub days: Vec<WatchedDay>,
}

/// A day's figures beside what was to be expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WatchView {
    /// The connection.
    pub connection: ConnectionName,
    /// The day.
    pub day: Day,
    /// Whether it was settled, and everything of it was there.
    pub whole: bool,
    /// Days before it that are known.
    pub days: usize,
    /// Each figure.
    pub figures: Vec<Measured>,
    /// What is out of the ordinary.
    pub findings: Vec<Finding>,
}

/// What a run adds.
pub(super) struct Seen {
    /// The month after it, with its first day.
    pub(super) month: (Day, WatchedMonth),
    pub(super) findings: Vec<Finding>,
}

/// The first day of a day's month.
fn first_of_month(day: Day) -> Day {
    let text = day.to_string();
    text.get(..8).and_then(|head| Day::parse(&format!("{head}01"))).unwrap_or(day)
}

impl Engine {
    /// The days before one that are known, and itself.
    async fn watched(
        &self,
        name: &ConnectionName,
        day: Day,
    ) -> Result<BTreeMap<Day, WatchedMonth>, WorkError> {
        let mut months = BTreeSet::new();
        let mut at = day;
        while at >= day.plus(BACK.saturating_neg()) {
            let first = first_of_month(at);
            months.insert(first);
            at = first.plus(-1);
        }
        let months: Vec<Day> = months.into_iter().collect();
        let keys: Vec<_> = months.iter().map(|month| watch_key(name, *month)).collect();
        let mut out = BTreeMap::new();
        for (month, item) in months.into_iter().zip(self.ports.store.get(&keys).await?) {
            // What a later version wrote is no reason to settle nothing: the watch begins that month anew.
            match item.map(|item| serde_json::from_slice(&item.body)).transpose() {
                Ok(read) => out.extend(read.map(|read| (month, read))),
                Err(error) => {
                    tracing::warn!(code = "watch_unreadable", connection = %name, "figures of {month}: {error}")
                }
            }
        }
        Ok(out)
    }

    /// Adds what came new on a day, and judges the day where `whole`.
    pub(super) async fn see(
        &self,
        name: &ConnectionName,
        day: Day,
        new: impl Fn(&mut DayFigures),
        whole: bool,
    ) -> Result<Seen, WorkError> {
        let mut months = self.watched(name, day).await?;
        let first = first_of_month(day);
        let mut month = months.remove(&first).unwrap_or_default();
        let at = month.days.partition_point(|d| d.figures.day < day);
        if month.days.get(at).is_none_or(|d| d.figures.day != day) {
            month.days.insert(at, WatchedDay { whole, figures: DayFigures::new(day) });
        }
        if let Some(own) = month.days.get_mut(at) {
            own.whole |= whole;
            new(&mut own.figures);
        }
        let findings = {
            let history = whole_days(months.values().chain([&month]), day);
            if whole { watch(&history, day, &Settings::default()) } else { Vec::new() }
        };
        for n in 0..month.days.len() {
            if serde_json::to_vec(&month)?.len() <= LARGEST {
                break;
            }
            let oldest = month.days.get_mut(n).map(|d| &mut d.figures.figures);
            oldest.into_iter().flat_map(|f| f.values_mut()).for_each(|sum| sum.kinds.clear());
        }
        Ok(Seen { month: (first, month), findings })
    }

    /// The figures of a day of a connection, each beside what was to be expected of it.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn settlement_watch(&self, name: &ConnectionName, day: Day) -> Result<WatchView, WorkError> {
        let months = self.watched(name, day).await?;
        let history = whole_days(months.values(), day);
        let whole = history.iter().any(|d| d.day == day);
        let settings = Settings::default();
        Ok(WatchView {
            connection: name.clone(),
            day,
            whole,
            days: history.iter().filter(|d| d.day < day).count(),
            figures: if whole { measured(&history, day, &settings) } else { Vec::new() },
            findings: if whole { watch(&history, day, &settings) } else { Vec::new() },
        })
    }
}

fn whole_days<'a>(months: impl Iterator<Item = &'a WatchedMonth>, day: Day) -> Vec<DayFigures> {
    let days = months.flat_map(|m| &m.days).filter(|d| d.whole && d.figures.day <= day);
    days.map(|d| d.figures.clone()).collect()
}

/// Counts the lines of a batch that it did not have before.
pub(super) fn count(
    figures: &mut DayFigures,
    day: Day,
    batch: &BatchDoc,
    before: Option<&BatchDoc>,
    rules: &Rules,
) {
    let known: BTreeSet<&str> =
        before.into_iter().flat_map(|doc| &doc.lines).map(|l| l.id.as_ref()).collect();
    let expected: BTreeMap<&str, &Expected> = batch.expected.iter().map(|e| (e.id.as_ref(), e)).collect();
    let booked = |e: &Expected| e.due.plus(rules.due.get(&e.kind).copied().unwrap_or(0).saturating_neg());
    let mut after: BTreeMap<&str, i32> = BTreeMap::new();
    for group in batch.certificates.iter().map(|c| &c.group) {
        let first = group.expected.iter().find_map(|id| expected.get(id.as_ref()));
        let days = first.map(|e| day.since(booked(e)));
        after.extend(group.lines.iter().filter_map(|l| Some((l.as_ref(), days?))));
    }
    for line in batch.lines.iter().filter(|l| !known.contains(l.id.as_ref())) {
        figures.line(line, after.get(line.id.as_ref()).copied());
    }
}
