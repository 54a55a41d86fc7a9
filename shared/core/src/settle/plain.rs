//! What the gateway's own id settles by itself: nearly everything, where gateways give ids.
//!
//! A line and an expectation are *plain* where they alone bear their own id, agree to the cent and in currency, and nothing is late or
//! otherwise wrong with them. No other tier could add to them and nothing else looks at them, so a large run takes them out section by
//! section ([`section_of`](super::section_of)) and matches only what is left in one piece: the outcome is that of
//! [`settle`](super::settle) over everything.

use std::collections::{BTreeMap, BTreeSet};

use super::line::{Expected, SettlementLine, Standing};
use super::matching::pass;
use super::outcome::{Group, Open, Tier};
use super::rules::Rules;

/// A section, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plain {
    /// Groups of one line and one expectation, sorted.
    pub groups: Vec<Group>,
    /// Their lines, sorted by id.
    pub lines: Vec<SettlementLine>,
    /// Their expectations, sorted by id.
    pub expected: Vec<Expected>,
    /// All other lines.
    pub other_lines: Vec<SettlementLine>,
    /// All other expectations.
    pub other_expected: Vec<Expected>,
}

impl Plain {
    /// Takes a section apart. Every item with the own id of one of these is among them, but for those of which `apart` knows: what it
    /// says of a line's own id, or of a line that comes twice, keeps the line and its expectation among the others.
    #[must_use]
    pub fn of(
        lines: Vec<SettlementLine>,
        expected: Vec<Expected>,
        rules: &Rules,
        apart: impl Fn(&SettlementLine) -> bool,
    ) -> Self {
        let alone: BTreeSet<Box<str>> = {
            let mut bearing: BTreeMap<&str, (Vec<&SettlementLine>, Vec<&Expected>)> = BTreeMap::new();
            for line in &lines {
                if let Some(own) = line.ids.own.as_deref() {
                    bearing.entry(own).or_default().0.push(line);
                }
            }
            for e in &expected {
                if let Some(own) = e.ids.own.as_deref() {
                    bearing.entry(own).or_default().1.push(e);
                }
            }
            let pair = |(own, (lines, expected)): (&str, (Vec<&SettlementLine>, Vec<&Expected>))| {
                let ([line], [e]) = (lines.as_slice(), expected.as_slice()) else { return None };
                let fits = e.standing == Standing::Booked && line.currency == e.currency && !apart(line);
                fits.then(|| Box::from(own))
            };
            bearing.into_iter().filter_map(pair).collect()
        };
        let is_alone = |own: &Option<Box<str>>| own.as_ref().is_some_and(|own| alone.contains(own));
        let groups: Vec<Group> = {
            let lines = lines.iter().filter(|l| is_alone(&l.ids.own)).map(Open::new).collect();
            let expected = expected.iter().filter(|e| is_alone(&e.ids.own)).map(Open::new).collect();
            let found = pass(Tier::OwnId, lines, expected, rules);
            let flawed: BTreeSet<&str> =
                found.flaws.iter().flat_map(|x| &x.lines).map(AsRef::as_ref).collect();
            let plain = |g: &&Group| {
                g.tolerance.is_none() && g.lines.iter().all(|line| !flawed.contains(line.as_ref()))
            };
            found.groups.iter().filter(plain).cloned().collect()
        };
        let (mut of_lines, mut of_expected) = (BTreeSet::new(), BTreeSet::new());
        for group in &groups {
            of_lines.extend(group.lines.iter().map(AsRef::<str>::as_ref));
            of_expected.extend(group.expected.iter().map(AsRef::<str>::as_ref));
        }
        let (mut own_lines, other_lines): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|l| of_lines.contains(l.id.as_ref()) && is_alone(&l.ids.own));
        let (mut own_expected, other_expected): (Vec<_>, Vec<_>) =
            expected.into_iter().partition(|e| of_expected.contains(e.id.as_ref()) && is_alone(&e.ids.own));
        own_lines.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        own_expected.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut sorted = groups.clone();
        sorted.sort_unstable();
        Self { groups: sorted, lines: own_lines, expected: own_expected, other_lines, other_expected }
    }
}

/// Which expectations some of these lines may meet at any tier; more than really do.
#[derive(Debug, Clone, Default)]
pub struct Meeting(BTreeSet<(Tier, u64)>);

impl Meeting {
    /// Of these lines.
    #[must_use]
    pub fn of<'l>(lines: impl IntoIterator<Item = &'l SettlementLine>) -> Self {
        let keys = |line| {
            let open = Open::new(line);
            Tier::ALL.into_iter().filter_map(move |tier| Some((tier, super::line_partition(tier, &open)?)))
        };
        Self(lines.into_iter().flat_map(keys).collect())
    }

    /// Whether this expectation may meet one of them.
    #[must_use]
    pub fn may_meet(&self, expected: &Expected) -> bool {
        let open = Open::new(expected);
        let key = |tier| super::expected_partition(tier, &open).map(|number| (tier, number));
        Tier::ALL.into_iter().filter_map(key).any(|key| self.0.contains(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settle::market::{Month, Plan};
    use crate::settle::{Outcome, SECTIONS, section_of, settle};

    /// The plain taken out section by section and the rest in one piece, waiting expectations aside where nothing meets them.
    fn in_sections(month: &Month, today: crate::settle::Day) -> (Outcome, usize, usize) {
        let own = |own: &Option<Box<str>>| own.as_deref().map(section_of);
        let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &month.lines {
            *ids.entry(&line.id).or_default() += 1;
        }
        let reserved: BTreeSet<&str> = month
            .expected
            .iter()
            .filter(|e| e.standing != Standing::Booked)
            .filter_map(|e| e.ids.own.as_deref())
            .collect();
        let apart = |l: &SettlementLine| {
            ids[l.id.as_ref()] > 1 || l.ids.own.as_deref().is_some_and(|own| reserved.contains(own))
        };
        let mut groups = Vec::new();
        let mut lines: Vec<_> = month.lines.iter().filter(|l| l.ids.own.is_none()).cloned().collect();
        let spread = |e: &&Expected| e.standing == Standing::Booked && e.ids.own.is_some();
        let mut rest: Vec<_> = month.expected.iter().filter(|e| !spread(e)).cloned().collect();
        for part in 0..SECTIONS {
            let of_part = month.lines.iter().filter(|l| own(&l.ids.own) == Some(part)).cloned().collect();
            let expected =
                month.expected.iter().filter(spread).filter(|e| own(&e.ids.own) == Some(part)).cloned();
            let plain = Plain::of(of_part, expected.collect(), &month.rules, apart);
            assert_eq!(plain.lines.len(), plain.groups.len());
            assert_eq!(plain.expected.len(), plain.groups.len());
            groups.extend(plain.groups);
            lines.extend(plain.other_lines);
            rest.extend(plain.other_expected);
        }
        let meeting = Meeting::of(&lines);
        let before = rest.len();
        let (rest, waiting): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|e| !spread(&e) || e.due <= today || meeting.may_meet(e));
        let mut outcome = settle(&lines, &rest, &month.rules, today);
        outcome.groups.extend(groups);
        outcome.groups.sort_unstable();
        outcome.open_expected.extend(waiting.iter().map(|e| e.id.clone()));
        outcome.open_expected.sort_unstable();
        (outcome, lines.len(), before - rest.len())
    }

    #[test]
    fn sections_and_what_is_left_give_the_outcome_of_everything_in_one_piece() {
        for seed in 1..=6 {
            let plan = Plan { seed, payments: 3_000, days: 40, fault_every: 20 };
            let month = Month::of(&plan).unwrap();
            // At the end, and in the middle, where most is not due yet.
            for today in [plan.end(), plan.end().plus(-50)] {
                let mut month = month.clone();
                month.lines.retain(|l| l.day <= today);
                let whole = settle(&month.lines, &month.expected, &month.rules, today);
                let (apart, left, waiting) = in_sections(&month, today);
                assert_eq!(apart, whole, "seed {seed}");
                // It is worth it.
                assert!(left * 2 < month.lines.len(), "{left} of {}", month.lines.len());
                assert!(today == plan.end() || waiting > 500, "{waiting}");
            }
        }
    }
}
