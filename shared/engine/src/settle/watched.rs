//! The watch over a connection's figures: what a day's new lines add to them, and what is out of the ordinary.
//!
//! Figures are of the day whose run saw a line first: a batch that is funded later adds only what is new in it then. They are kept a
//! month to a record, and the plan holds the record whole, so that a run that is gone on with counts nothing twice. A day of which
//! something is waited for, or was refused, is kept and not judged, and judges no other.
//!
//! Declines have no line. Each is noted in the transaction that learned of it, on the day it was heard of; the approved attempts
//! beside them are the orders of which something was captured that day. Of an approved attempt no note is written: that would
//! cost every order a write.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tillway_core::ids::ConnectionName;
use tillway_core::settle::certificate::Certificate;
use tillway_core::settle::watch::{DayFigures, Finding, Measured, Settings, measured, watch};
use tillway_core::settle::{Day, Expected, Kind, Rules, SettlementLine, expected_of};
use tillway_core::state::{Failure, OrderState};
use tillway_core::time::{Millis, Timestamp};

use super::digest::id_mark;
use super::expect::Booked;
use super::records::{BatchDoc, SectionDoc, first_of_month, watch_key};
use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Key, NewItem, Write};
use crate::records::declines_pk;

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

/// What was tried on a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attempts {
    /// Orders of which something was captured.
    pub(super) approved: u64,
    /// The gateway's code of each that was declined.
    pub(super) declined: Vec<String>,
}

/// Notes of declines are of no use after so long.
const NOTED: Millis = Millis::days(90);
/// Items of one page.
const PAGE: usize = 500;

impl Engine {
    /// Notes of the attempts that a decision learned to be declined. Each once: its key is the attempt. No more of them than
    /// there is `room` for: where cards are tried by the dozen, what is decided comes first.
    pub(crate) fn decline_notes(
        &self,
        (before, after): (&OrderState, &OrderState),
        at: Timestamp,
        room: usize,
    ) -> Result<Vec<Write>, WorkError> {
        let mut writes = Vec::new();
        for (name, payment) in &after.payments {
            let known = before.payments.get(name).map_or(&[][..], |p| p.failures.as_slice());
            if payment.failures.len() == known.len() || !self.settles(&payment.connection) {
                continue;
            }
            let new = |f: &&Failure| known.iter().all(|k| k.attempt != f.attempt);
            for failure in payment.failures.iter().filter(new).take(room.saturating_sub(writes.len())) {
                let pk = declines_pk(&payment.connection, Day::of(at));
                let item = NewItem {
                    key: Key::new(pk, format!("{name}#{}", failure.attempt)),
                    body: serde_json::to_vec(&failure.code)?,
                    due: None,
                    list: None,
                    expires: Some(at + NOTED),
                };
                writes.push(Write::Put(item, Guard::Any));
            }
        }
        Ok(writes)
    }

    /// What was tried at a connection on a day.
    pub(super) async fn attempts(&self, name: &ConnectionName, day: Day) -> Result<Attempts, WorkError> {
        let rules = self.settlement_rules(name)?;
        let mut booked = Booked::of_day(day);
        let mut paid: BTreeSet<u128> = BTreeSet::new();
        while let Some(page) = booked.next(self, name).await? {
            let charged = page.iter().filter(|(entry, _)| {
                expected_of(entry, None, &rules).is_some_and(|e| e.kind == Kind::Charge)
            });
            paid.extend(charged.map(|(_, order)| id_mark(order)));
        }
        let mut out =
            Attempts { approved: u64::try_from(paid.len()).unwrap_or(u64::MAX), declined: Vec::new() };
        let pk = declines_pk(name, day);
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&pk, "", after.as_deref(), PAGE).await?;
            for item in page.items {
                out.declined.push(serde_json::from_slice(&item.body)?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(out);
            }
        }
    }

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

/// Lines to be counted, and what they were matched with.
pub(super) struct NewLines<'a> {
    lines: Vec<&'a SettlementLine>,
    expected: &'a [Expected],
    certificates: &'a [Certificate],
    /// What was charged beside them, by the gateway's id.
    charged: BTreeMap<&'a str, i64>,
}

impl<'a> NewLines<'a> {
    /// Those of a batch that it did not have before, its sections aside; of these, what was charged.
    pub(super) fn of_batch(
        batch: &'a BatchDoc,
        before: Option<&BatchDoc>,
        in_sections: &'a BTreeMap<Box<str>, i64>,
    ) -> Self {
        let known: BTreeSet<&str> =
            before.into_iter().flat_map(|doc| &doc.lines).map(|l| l.id.as_ref()).collect();
        let lines = batch.lines.iter().filter(|l| !known.contains(l.id.as_ref())).collect();
        let charged = batch
            .lines
            .iter()
            .filter(|l| l.kind == Kind::Charge)
            .filter_map(|l| Some((l.ids.own.as_deref()?, l.gross)))
            .chain(in_sections.iter().map(|(own, gross)| (own.as_ref(), *gross)))
            .collect();
        Self { lines, expected: &batch.expected, certificates: &batch.certificates, charged }
    }

    /// Those of a section.
    pub(super) fn of_section(doc: &'a SectionDoc) -> Self {
        let lines = doc.lines.iter().collect();
        let charged = BTreeMap::new();
        Self { lines, expected: &doc.expected, certificates: &doc.certificates, charged }
    }
}

/// Counts new lines.
pub(super) fn count(figures: &mut DayFigures, day: Day, new: &NewLines<'_>, rules: &Rules) {
    let expected: BTreeMap<&str, &Expected> = new.expected.iter().map(|e| (e.id.as_ref(), e)).collect();
    let mut after: BTreeMap<&str, i32> = BTreeMap::new();
    for group in new.certificates.iter().map(|c| &c.group) {
        let first = group.expected.iter().find_map(|id| expected.get(id.as_ref()));
        let days = first.map(|e| day.since(rules.booked(e.kind, e.due)));
        after.extend(group.lines.iter().filter_map(|l| Some((l.as_ref(), days?))));
    }
    for line in &new.lines {
        figures.line(line, after.get(line.id.as_ref()).copied());
        // The fee of a payment on a line of its own, which names the card.
        let of = line.ids.parent.as_deref().filter(|_| line.kind == Kind::Fee);
        if let Some(gross) = of.and_then(|parent| new.charged.get(parent)) {
            figures.fee(line, line.net.saturating_neg(), *gross);
        }
    }
}
