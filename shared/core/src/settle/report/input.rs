//! What a report is made of.

use std::collections::{BTreeMap, BTreeSet};

use super::{Notice, Step};
use crate::ids::ConnectionName;
use crate::journal::TrialBalance;
use crate::settle::certificate::Certificate;
use crate::settle::check::{Rejection, Verdict};
use crate::settle::line::{Batch, Day, Expected, Ids, SettlementLine};
use crate::settle::outcome::{Class, Exception, Explained, Outcome};

/// What became of a line.
#[derive(Debug, Clone, Copy)]
pub enum Fate<'a> {
    /// Matched under this certificate.
    Matched(&'a Certificate),
    /// Needs no expectation.
    Explained(&'a Explained),
    /// Open.
    Open,
}

/// Finds the fate of a line: of a whole run, or of the groups that a batch or a partition needs.
#[derive(Debug, Default)]
pub struct Index<'a> {
    fates: BTreeMap<&'a str, Fate<'a>>,
    classes: BTreeMap<&'a str, BTreeSet<Class>>,
}

impl<'a> Index<'a> {
    /// Over these.
    #[must_use]
    pub fn new(
        certificates: &'a [Certificate],
        explained: &'a [Explained],
        exceptions: &'a [Exception],
    ) -> Self {
        let matched =
            certificates.iter().flat_map(|c| c.group.lines.iter().map(move |id| (id, Fate::Matched(c))));
        let explained = explained.iter().map(|x| (&x.line, Fate::Explained(x)));
        let ids = |e: &'a Exception| e.lines.iter().chain(&e.expected).map(move |id| (id.as_ref(), e.class));
        let mut classes: BTreeMap<&str, BTreeSet<Class>> = BTreeMap::new();
        for (id, class) in exceptions.iter().flat_map(ids) {
            classes.entry(id).or_default().insert(class);
        }
        Self { fates: matched.chain(explained).map(|(id, fate)| (id.as_ref(), fate)).collect(), classes }
    }
    /// What became of the line.
    #[must_use]
    pub fn fate(&self, line: &str) -> Fate<'a> {
        self.fates.get(line).copied().unwrap_or(Fate::Open)
    }
    /// What is wrong with a line or an expectation, where anything is.
    pub fn classes(&self, id: &str) -> impl Iterator<Item = Class> + '_ {
        self.classes.get(id).into_iter().flatten().copied()
    }
}

/// Where an exception belongs, for people.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// The batch.
    pub batch: Option<&'a str>,
    /// The order.
    pub order: Option<&'a str>,
    /// An id of the gateway by which `explain` finds it, where no order is known.
    pub gateway: Option<&'a str>,
}

impl<'a> About<'a> {
    /// From the items that the exception names.
    #[must_use]
    pub fn of(lines: &[&'a SettlementLine], expected: &[&'a Expected]) -> Self {
        // No order stands behind a payout, a reserve or what is charged by the month.
        let of_orders = lines.iter().filter(|l| {
            matches!(Step::of(l.kind), Some(Step::Charges | Step::Refunds | Step::Disputes))
                || l.ids.payment.is_some()
        });
        let ids = expected.iter().map(|e| &e.ids).chain(of_orders.map(|l| &l.ids));
        let named = |ids: &'a Ids| ids.payment.as_deref().or(ids.own.as_deref()).or(ids.parent.as_deref());
        Self {
            batch: lines.first().map(|l| l.batch.as_ref()),
            order: expected.iter().find_map(|e| e.order.as_deref()),
            gateway: ids.into_iter().find_map(named),
        }
    }
}

/// Everything of a day in memory.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The account at the gateway.
    pub connection: &'a ConnectionName,
    /// The day that was settled.
    pub day: Day,
    /// The day it is looked at.
    pub today: Day,
    /// The batches and what the check said of each.
    pub batches: &'a [(Batch, Result<Verdict, Vec<Rejection>>)],
    /// Their lines; lines of other batches are left out.
    pub lines: &'a [SettlementLine],
    /// The expectations.
    pub expected: &'a [Expected],
    /// What matching said.
    pub outcome: &'a Outcome,
    /// A certificate for each group.
    pub certificates: &'a [Certificate],
    /// The journal of the connection, the batches posted.
    pub balance: &'a TrialBalance,
    /// What was noticed about the reports.
    pub notices: &'a [Notice],
}

impl<'a> Input<'a> {
    /// The lines of the batches, each id once, in order of id: of copies the one that matching took.
    pub(super) fn own_lines(&self) -> Vec<&'a SettlementLine> {
        let batches: BTreeSet<&str> = self.batches.iter().map(|(b, _)| b.id.as_ref()).collect();
        let mut lines: Vec<_> = self.lines.iter().filter(|l| batches.contains(l.batch.as_ref())).collect();
        lines.sort_by_cached_key(|l| (l.id.clone(), l.canonical()));
        lines.dedup_by(|a, b| a.id == b.id);
        lines
    }
    /// The fates of the lines.
    #[must_use]
    pub fn index(&self) -> Index<'a> {
        Index::new(self.certificates, &self.outcome.explained, &self.outcome.exceptions)
    }
}
