//! How much was settled: counts and sums that do not grow with the lines, kept with the manifest.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use tillway_core::money::Currency;
use tillway_core::settle::{Class, Tier};

use super::sink::Found;

/// How much was settled.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Lines read.
    pub lines: u64,
    /// Expectations read.
    pub expected: u64,
    /// Lines and expectations whose id came before.
    pub copies: u64,
    /// Groups, by what they were matched.
    pub tiers: BTreeMap<(Tier, Currency), TierSum>,
    /// Lines that need no expectation.
    pub explained: u64,
    /// Lines that stay open.
    pub open_lines: u64,
    /// Expectations that stay open.
    pub open_expected: u64,
    /// Unknown effects that lines prove.
    pub evidence: u64,
    /// Things for a person to look at.
    pub classes: BTreeMap<(Class, Currency), ClassSum>,
}

/// Of the groups of one tier and currency.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierSum {
    /// Groups.
    pub groups: u64,
    /// Lines in them.
    pub lines: u64,
    /// Expectations in them.
    pub expected: u64,
    /// The lines' amounts, minor units.
    pub lines_sum: i128,
    /// The expectations' amounts, minor units.
    pub expected_sum: i128,
}

/// Of the exceptions of one class and currency.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassSum {
    /// How many.
    pub count: u64,
    /// Their amounts added up by size, minor units.
    pub at_stake: u128,
}

pub(super) fn add(total: &mut u64, count: usize) {
    *total = total.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
}

impl Totals {
    /// Counts what a partition gave.
    pub(super) fn count(&mut self, found: &Found<'_>) {
        for matched in &found.matched {
            let group = &matched.group;
            let sum = self.tiers.entry((group.tier, group.currency)).or_default();
            add(&mut sum.groups, 1);
            add(&mut sum.lines, group.lines.len());
            add(&mut sum.expected, group.expected.len());
            sum.lines_sum = sum.lines_sum.saturating_add(i128::from(group.lines_sum));
            sum.expected_sum = sum.expected_sum.saturating_add(i128::from(group.expected_sum));
        }
        for exception in &found.rest.exceptions {
            let sum = self.classes.entry((exception.class, exception.amount.currency)).or_default();
            add(&mut sum.count, 1);
            sum.at_stake = sum.at_stake.saturating_add(u128::from(exception.amount.minor.unsigned_abs()));
        }
        add(&mut self.explained, found.rest.explained.len());
        add(&mut self.open_lines, found.rest.open_lines.len());
        add(&mut self.open_expected, found.rest.open_expected.len());
        add(&mut self.evidence, found.rest.evidence.len());
    }

    /// All groups.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.tiers.values().map(|sum| sum.groups).sum()
    }
    /// Lines in groups.
    #[must_use]
    pub fn matched_lines(&self) -> u64 {
        self.tiers.values().map(|sum| sum.lines).sum()
    }
    /// All exceptions.
    #[must_use]
    pub fn exceptions(&self) -> u64 {
        self.classes.values().map(|sum| sum.count).sum()
    }

    /// A table of them, with a header; amounts in minor units.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut out = String::from("is,what,currency,count,lines,expected,lines_sum,expected_sum,at_stake\n");
        let single = [
            ("read", self.lines.saturating_add(self.expected), self.lines, self.expected),
            ("copies", self.copies, 0, 0),
            ("explained", self.explained, self.explained, 0),
            ("open", self.open_lines.saturating_add(self.open_expected), self.open_lines, self.open_expected),
            ("evidence", self.evidence, 0, self.evidence),
        ];
        for (is, count, lines, expected) in single {
            let _ = writeln!(out, "{is},,,{count},{lines},{expected},,,");
        }
        for ((tier, currency), sum) in &self.tiers {
            let TierSum { groups, lines, expected, lines_sum, expected_sum } = sum;
            let (tier, currency) = (tier.name(), currency.code());
            let _ = writeln!(
                out,
                "groups,{tier},{currency},{groups},{lines},{expected},{lines_sum},{expected_sum},"
            );
        }
        for ((class, currency), ClassSum { count, at_stake }) in &self.classes {
            let _ = writeln!(out, "exceptions,{},{},{count},,,,,{at_stake}", class.code(), currency.code());
        }
        out
    }
}
