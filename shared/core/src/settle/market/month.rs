//! A whole trade in memory, and what one night makes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Item, Plan, Planted, RULES, trade};
use crate::ids::ConnectionName;
use crate::journal::{Entry, Role, TrialBalance};
use crate::money::Money;
use crate::settle::certificate::{Certificate, certify};
use crate::settle::check::{Rejection, Statement, Verdict, check};
use crate::settle::line::{Batch, Day, Expected, SettlementLine, Standing};
use crate::settle::matching::settle;
use crate::settle::outcome::{Explained, Group, Outcome};
use crate::settle::report::Input;
use crate::settle::rules::Rules;
use crate::settle::{RuleBook, ToBook, certificate, entries};

/// The trade of a plan.
#[derive(Debug, Clone)]
pub struct Month {
    /// The rules it goes by.
    pub rules: Rules,
    /// The account it went over.
    pub connection: ConnectionName,
    /// Lines of the reports, copies among them.
    pub lines: Vec<SettlementLine>,
    /// What the books expect.
    pub expected: Vec<Expected>,
    /// The batches.
    pub batches: Vec<Batch>,
    /// What is wrong.
    pub planted: Vec<Planted>,
}

/// What a night left: everything matched, certified, checked and booked.
#[derive(Debug, Clone)]
pub struct Night {
    /// What matching said.
    pub outcome: Outcome,
    /// A certificate for each group.
    pub certificates: Vec<certificate::Certificate>,
    /// The batches, and what the check said of each.
    pub batches: Vec<(Batch, Result<Verdict, Vec<Rejection>>)>,
    /// The books afterwards.
    pub balance: TrialBalance,
}

impl Month {
    /// Invents it.
    ///
    /// # Errors
    /// The text of a defect in the market's own rules.
    pub fn of(plan: &Plan) -> Result<Self, String> {
        let rules = Rules::load("market", RULES).map_err(|p| format!("{p:?}"))?;
        let mut month = Self {
            rules,
            connection: ConnectionName::new("gateway"),
            lines: Vec::new(),
            expected: Vec::new(),
            batches: Vec::new(),
            planted: Vec::new(),
        };
        trade(plan, |item| match item {
            Item::Line(line) => month.lines.push(line),
            Item::Expected(e) => month.expected.push(e),
            Item::Batch(batch) => month.batches.push(batch),
            Item::Planted(planted) => month.planted.push(planted),
            Item::Proven(_) => {}
        })?;
        Ok(month)
    }

    /// Settles it all on one day.
    ///
    /// # Errors
    /// The text of a defect: an entry that does not balance.
    pub fn night(&self, today: Day) -> Result<Night, String> {
        let outcome = settle(&self.lines, &self.expected, &self.rules, today);
        let certificates = certify(&outcome.groups, &self.lines, &self.expected);
        let mut balance = TrialBalance::default();
        let proven: BTreeSet<&str> = outcome.evidence.iter().map(|e| e.expected.as_ref()).collect();
        for e in
            self.expected.iter().filter(|e| e.standing == Standing::Booked || proven.contains(e.id.as_ref()))
        {
            balance.add(&self.booked(e)?);
        }
        let mut batches = Vec::new();
        let part = Parts::of(self, &outcome, &certificates);
        for batch in &self.batches {
            let (verdict, entries) = part.checked(self, batch)?;
            entries.iter().for_each(|entry| balance.add(entry));
            batches.push((batch.clone(), verdict));
        }
        Ok(Night { outcome, certificates, batches, balance })
    }

    /// What the books did when the money moved.
    ///
    /// # Errors
    /// The text of a defect: an entry that does not balance.
    pub fn booked(&self, e: &Expected) -> Result<Entry, String> {
        let money = |minor: i64| Money::new(minor, e.currency);
        let lines = [
            (Role::GatewayClearing, money(e.amount.saturating_sub(e.booked_fee))),
            (Role::Fees, money(e.booked_fee)),
            (Role::Receivable, money(e.amount.saturating_neg())),
        ];
        let at = self.rules.booked(e.kind, e.due).start();
        Entry::new(e.id.to_string(), &self.connection, at, "", &lines).map_err(|e| e.to_string())
    }
}

/// What was planted beside what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Planted and found.
    pub found: usize,
    /// Planted and not found.
    pub missed: Vec<Planted>,
    /// Found and not planted.
    pub invented: Vec<Planted>,
}

impl Night {
    /// Whether every exception that was planted was found, and no other.
    #[must_use]
    pub fn compared(&self, month: &Month) -> Compared {
        let planted: BTreeSet<&Planted> = month.planted.iter().collect();
        let found: BTreeSet<Planted> = self.outcome.exceptions.iter().map(Planted::as_found).collect();
        let missed: Vec<Planted> =
            planted.iter().filter(|p| !found.contains(**p)).map(|p| (*p).clone()).collect();
        Compared {
            found: planted.len().saturating_sub(missed.len()),
            missed,
            invented: found.into_iter().filter(|p| !planted.contains(p)).collect(),
        }
    }

    /// What a report is made of.
    #[must_use]
    pub fn input<'a>(&'a self, month: &'a Month, day: Day, today: Day) -> Input<'a> {
        Input {
            connection: &month.connection,
            day,
            today,
            batches: &self.batches,
            lines: &month.lines,
            expected: &month.expected,
            outcome: &self.outcome,
            certificates: &self.certificates,
            balance: &self.balance,
            notices: &[],
        }
    }
}

/// What the check says.
type Verdicts = Result<Verdict, Vec<Rejection>>;

/// The run by batch.
struct Parts<'a> {
    lines: BTreeMap<&'a str, &'a SettlementLine>,
    of_batch: BTreeMap<&'a str, Vec<SettlementLine>>,
    expected: BTreeMap<&'a str, &'a Expected>,
    certificate_of: BTreeMap<&'a str, &'a Certificate>,
    explained: BTreeMap<&'a str, &'a Explained>,
    open: BTreeSet<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(month: &'a Month, outcome: &'a Outcome, certificates: &'a [Certificate]) -> Self {
        let mut lines: BTreeMap<&str, &SettlementLine> = BTreeMap::new();
        for line in &month.lines {
            lines.entry(&line.id).or_insert(line);
        }
        let mut of_batch: BTreeMap<&str, Vec<SettlementLine>> = BTreeMap::new();
        for line in lines.values() {
            of_batch.entry(&line.batch).or_default().push((*line).clone());
        }
        let groups = certificates.iter().flat_map(|c| c.group.lines.iter().map(move |id| (id.as_ref(), c)));
        Self {
            of_batch,
            expected: month.expected.iter().map(|e| (e.id.as_ref(), e)).collect(),
            certificate_of: groups.collect(),
            explained: outcome.explained.iter().map(|x| (x.line.as_ref(), x)).collect(),
            open: outcome.open_lines.iter().map(AsRef::as_ref).collect(),
            lines,
        }
    }

    /// The check of a batch, and what it adds to the books where it passes.
    fn checked(&self, month: &Month, batch: &Batch) -> Result<(Verdicts, Vec<Entry>), String> {
        let none = Vec::new();
        let lines = self.of_batch.get(batch.id.as_ref()).unwrap_or(&none);
        let own: BTreeSet<&str> = lines.iter().map(|l| l.id.as_ref()).collect();
        let mut certificates: Vec<Certificate> =
            own.iter().filter_map(|id| self.certificate_of.get(id)).map(|c| (*c).clone()).collect();
        certificates.sort_by(|a, b| a.group.cmp(&b.group));
        certificates.dedup();
        let groups: Vec<Group> = certificates.iter().map(|c| c.group.clone()).collect();
        let named = groups.iter().flat_map(|g| &g.expected);
        let expected: Vec<Expected> =
            named.filter_map(|id| self.expected.get(id.as_ref())).map(|e| (*e).clone()).collect();
        let others = groups.iter().flat_map(|g| &g.lines).filter(|id| !own.contains(id.as_ref()));
        let other_lines: Vec<SettlementLine> =
            others.filter_map(|id| self.lines.get(id.as_ref())).map(|l| (*l).clone()).collect();
        let explained: Vec<Explained> =
            own.iter().filter_map(|id| self.explained.get(id)).map(|x| (*x).clone()).collect();
        let open: Vec<Box<str>> =
            own.iter().filter(|id| self.open.contains(*id)).map(|id| (*id).into()).collect();
        let (rates, rules) = (BTreeMap::new(), RuleBook::new(&month.rules));
        let to_book = ToBook {
            batch,
            lines,
            groups: &groups,
            expected: &expected,
            explained: &explained,
            rates: &rates,
            rules: &rules,
        };
        let entries = entries(&to_book, |_| false).map_err(|e| e.to_string())?;
        let verdict = check(&Statement {
            batch,
            lines,
            other_lines: &other_lines,
            expected: &expected,
            certificates: &certificates,
            explained: &explained,
            accepted: &[],
            open_lines: &open,
            open_expected: &[],
            entries: &entries,
            rates: &rates,
            rules: &rules,
            sections: &[],
        });
        let entries = if verdict.is_ok() { entries } else { Vec::new() };
        Ok((verdict, entries))
    }
}
