//! One bucket: the open lines and expectations that share a key of a tier.

use super::line::{Day, Expected, SettlementLine, Standing};
use super::near::{Near, apart, components, contradict, currencies, left, note, subsets, total, why_not};
use super::outcome::{
    Ambiguous, Class, Evidence, Exception, Group, Miss, Open, Pass, Reason, Tier, Undecided,
};
use super::packing::{Candidate, MAX_ITEMS, pack};
use super::rules::{Rules, Window};
use crate::money::Money;

/// Most pairs looked at one by one in a bucket; in a larger one (a reference that stands on every line, say)
/// nothing can be told apart, and its items go on to the next tier.
const MAX_PAIRS: usize = 16_384;

/// What an unknown effect costs over a booked one: it is chosen only where no booked one fits.
const UNKNOWN: u64 = 1 << 40;

/// A pass at work. Items are named by their index, which is their rank by id.
pub(super) struct Work<'a, 'r> {
    tier: Tier,
    rules: &'r Rules,
    window: Window,
    lines: Vec<Open<'a, SettlementLine>>,
    expected: Vec<Open<'a, Expected>>,
    /// Matched or held: does not go on.
    line_done: Vec<bool>,
    expected_done: Vec<bool>,
    /// In a group of this pass.
    line_matched: Vec<bool>,
    line_miss: Vec<Option<Near>>,
    expected_miss: Vec<Option<Near>>,
    out: Pass<'a>,
}

/// The items of a bucket that may meet by their days.
struct Slice {
    lines: Vec<usize>,
    expected: Vec<usize>,
}

/// A possible group by position in a slice.
struct Proposal {
    lines: Vec<usize>,
    expected: Vec<usize>,
    cost: u64,
}

impl<'a, 'r> Work<'a, 'r> {
    pub(super) fn new(
        tier: Tier,
        rules: &'r Rules,
        lines: Vec<Open<'a, SettlementLine>>,
        expected: Vec<Open<'a, Expected>>,
    ) -> Self {
        let window = match tier {
            Tier::OwnId | Tier::ParentId | Tier::PaymentId => rules.by_gateway_id,
            Tier::Reference => rules.by_reference,
            Tier::Card | Tier::Amount => rules.by_content,
        };
        Self {
            tier,
            rules,
            window,
            line_done: vec![false; lines.len()],
            expected_done: vec![false; expected.len()],
            line_matched: vec![false; lines.len()],
            line_miss: vec![None; lines.len()],
            expected_miss: vec![None; expected.len()],
            lines,
            expected,
            out: Pass::default(),
        }
    }

    fn line(&self, i: usize) -> Option<&'a SettlementLine> {
        self.lines.get(i).map(|l| l.item)
    }
    fn exp(&self, i: usize) -> Option<&'a Expected> {
        self.expected.get(i).map(|e| e.item)
    }

    /// Decides on the items of one key, given by rank.
    pub(super) fn bucket(&mut self, lines: Vec<usize>, expected: Vec<usize>) {
        for slice in self.by_day(lines, expected) {
            self.slice(slice);
        }
    }

    /// Cuts a bucket of what only looks alike where more days lie between neighbours than the window spans.
    fn by_day(&self, lines: Vec<usize>, expected: Vec<usize>) -> Vec<Slice> {
        if self.tier.is_identity() {
            return vec![Slice { lines, expected }];
        }
        let reach = self.window.early.max(self.window.late);
        let mut all: Vec<(Day, bool, usize)> = Vec::with_capacity(lines.len().saturating_add(expected.len()));
        all.extend(lines.into_iter().filter_map(|i| Some((self.line(i)?.day, false, i))));
        all.extend(expected.into_iter().filter_map(|i| Some((self.exp(i)?.due, true, i))));
        all.sort_unstable();
        let of = |run: &[(Day, bool, usize)], side: bool| {
            let mut list: Vec<usize> = run.iter().filter(|x| x.1 == side).map(|x| x.2).collect();
            list.sort_unstable();
            list
        };
        let runs = all.chunk_by(|a, b| b.0.since(a.0) <= reach);
        runs.map(|run| Slice { lines: of(run, false), expected: of(run, true) }).collect()
    }

    fn slice(&mut self, slice: Slice) {
        if slice.lines.len().saturating_mul(slice.expected.len()) > MAX_PAIRS {
            return self.too_many(&slice);
        }
        if let ([line], [e]) = (slice.lines.as_slice(), slice.expected.as_slice()) {
            return self.alone(*line, *e, &slice);
        }
        self.pairs(&slice, |_, difference| difference == 0);
        if self.tier != Tier::Amount {
            self.sums(&slice);
            self.pairs(&slice, |covered, difference| covered && difference != 0);
        }
        if self.tier.is_identity() {
            self.duplicates(&slice);
            self.many_to_many(&slice);
        }
        self.misses(&slice);
    }

    /// What the steps come to for one line and one expectation, as most buckets are.
    fn alone(&mut self, l: usize, x: usize, slice: &Slice) {
        let (Some(line), Some(e)) = (self.line(l), self.exp(x)) else { return };
        let amount = line.amount_in(e.currency).filter(|_| line.kind == e.kind && self.linked(line, e));
        let fits = amount.and_then(|amount| amount.checked_sub(e.amount)).is_some_and(|difference| {
            let covered = || self.rules.tolerates(e.kind, e.currency, difference).is_some();
            difference == 0 || self.tier != Tier::Amount && covered()
        });
        if fits {
            self.accept(&Proposal { lines: vec![l], expected: vec![x], cost: 0 });
        } else {
            self.misses(slice);
        }
    }

    fn too_many(&mut self, slice: &Slice) {
        let (Some(l), Some(x)) = (slice.lines.first(), slice.expected.first()) else { return };
        for line in &slice.lines {
            note(&mut self.line_miss, *line, (Reason::TooMany, 0, 0, *x));
        }
        for e in &slice.expected {
            note(&mut self.expected_miss, *e, (Reason::TooMany, 0, 0, *l));
        }
    }

    fn free(&self, slice: &Slice) -> Slice {
        let open = |done: &[bool], list: &[usize]| {
            list.iter().copied().filter(|i| done.get(*i) == Some(&false)).collect()
        };
        Slice {
            lines: open(&self.line_done, &slice.lines),
            expected: open(&self.expected_done, &slice.expected),
        }
    }

    /// Whether the two may stand in one group: nothing they say of themselves speaks against it.
    fn linked(&self, line: &SettlementLine, e: &Expected) -> bool {
        self.window.holds(line.day, e.due) && !contradict(self.tier, line, e)
    }

    fn cost(line: &SettlementLine, e: &Expected) -> u64 {
        let days = u64::from(line.day.since(e.due).unsigned_abs());
        let unknown = if e.standing == Standing::Unknown { UNKNOWN } else { 0 };
        days.saturating_mul(days).saturating_add(unknown)
    }

    /// One to one. The predicate is given whether a tolerance covers the difference, and the difference.
    fn pairs(&mut self, slice: &Slice, fits: impl Fn(bool, i64) -> bool) {
        let free = self.free(slice);
        let mut options = Vec::new();
        for (l, line) in free.lines.iter().filter_map(|i| Some((*i, self.line(*i)?))) {
            for (x, e) in free.expected.iter().filter_map(|i| Some((*i, self.exp(*i)?))) {
                let Some(amount) = line.amount_in(e.currency).filter(|_| line.kind == e.kind) else {
                    continue;
                };
                let Some(difference) = amount.checked_sub(e.amount) else { continue };
                let covered = self.rules.tolerates(e.kind, e.currency, difference).is_some();
                if fits(covered, difference) && self.linked(line, e) {
                    options.push(Proposal { lines: vec![l], expected: vec![x], cost: Self::cost(line, e) });
                }
            }
        }
        self.choose(&free, options);
    }

    /// One line for several expectations, or several lines for one: sums that agree to the minor unit.
    fn sums(&mut self, slice: &Slice) {
        let free = self.free(slice);
        let count = free.lines.len().saturating_add(free.expected.len());
        if free.lines.is_empty() || free.expected.is_empty() || !(3..=MAX_ITEMS).contains(&count) {
            return;
        }
        let lines: Vec<&SettlementLine> = free.lines.iter().filter_map(|i| self.line(*i)).collect();
        let expected: Vec<&Expected> = free.expected.iter().filter_map(|i| self.exp(*i)).collect();
        let mut options = Vec::new();
        for (line, l) in lines.iter().zip(&free.lines) {
            let parts = expected.iter().zip(&free.expected).filter(|(e, _)| self.linked(line, e));
            for currency in currencies(line) {
                let Some(target) = line.amount_in(currency) else { continue };
                let of = parts.clone().filter(|(e, _)| e.currency == currency);
                let parts: Vec<_> = of.map(|(e, i)| (e.amount, Self::cost(line, e), *i)).collect();
                for (chosen, cost) in subsets(&parts, target) {
                    options.push(Proposal { lines: vec![*l], expected: chosen, cost });
                }
            }
        }
        for (e, x) in expected.iter().zip(&free.expected) {
            let of = lines.iter().zip(&free.lines).filter(|(line, _)| self.linked(line, e));
            let parts: Vec<_> = of
                .filter_map(|(line, i)| Some((line.amount_in(e.currency)?, Self::cost(line, e), *i)))
                .collect();
            for (chosen, cost) in subsets(&parts, e.amount) {
                options.push(Proposal { lines: chosen, expected: vec![*x], cost });
            }
        }
        self.choose(&free, options);
    }

    /// Takes the options that every best choice agrees on and holds back what they do not agree on. Options
    /// that share no item are chosen among apart.
    fn choose(&mut self, free: &Slice, options: Vec<Proposal>) {
        let lines = free.lines.len();
        let place = |o: &Proposal| -> Vec<usize> {
            let l = o.lines.iter().filter_map(|i| free.lines.binary_search(i).ok());
            let e = o.expected.iter().filter_map(|i| free.expected.binary_search(i).ok());
            l.chain(e.map(|p| p.saturating_add(lines))).collect()
        };
        let options: Vec<(Vec<usize>, Proposal)> = options.into_iter().map(|o| (place(&o), o)).collect();
        let roots = components(lines.saturating_add(free.expected.len()), options.iter().map(|(p, _)| p));
        let mut parts: Vec<(usize, usize)> = options
            .iter()
            .enumerate()
            .filter_map(|(i, (p, _))| Some((*roots.get(*p.first()?)?, i)))
            .collect();
        parts.sort_unstable();
        for part in parts.chunk_by(|a, b| a.0 == b.0) {
            let part: Vec<&(Vec<usize>, Proposal)> =
                part.iter().filter_map(|(_, i)| options.get(*i)).collect();
            let mut items: Vec<usize> = part.iter().flat_map(|(p, _)| p.iter().copied()).collect();
            items.sort_unstable();
            items.dedup();
            if items.len() > MAX_ITEMS {
                continue;
            }
            let bits = |places: &[usize]| {
                places.iter().filter_map(|p| items.binary_search(p).ok()).fold(0_u32, |b, i| b | 1 << i)
            };
            let candidates: Vec<Candidate> =
                part.iter().map(|(p, o)| Candidate { items: bits(p), cost: o.cost }).collect();
            let packed = pack(items.len(), &candidates);
            for option in packed.agreed.iter().filter_map(|i| part.get(*i)) {
                self.accept(&option.1);
            }
            if packed.tied != 0 {
                let held = items.iter().enumerate().filter(|(i, _)| packed.tied & 1 << i != 0);
                let held: Vec<usize> = held.map(|(_, place)| *place).collect();
                let l: Vec<usize> = held.iter().filter_map(|p| free.lines.get(*p)).copied().collect();
                let e = held.iter().filter_map(|p| p.checked_sub(lines).and_then(|p| free.expected.get(p)));
                let e: Vec<usize> = e.copied().collect();
                let surplus = self.tier == Tier::OwnId && l.len() > e.len();
                self.hold(if surplus { Undecided::Surplus } else { Undecided::Tie }, &l, &e);
            }
        }
    }

    fn accept(&mut self, option: &Proposal) {
        let lines: Vec<&SettlementLine> = option.lines.iter().filter_map(|i| self.line(*i)).collect();
        let expected: Vec<&Expected> = option.expected.iter().filter_map(|i| self.exp(*i)).collect();
        let Some(first) = expected.first() else { return };
        let currency = first.currency;
        let lines_sum = total(lines.iter().filter_map(|l| l.amount_in(currency)));
        let expected_sum = total(expected.iter().map(|e| e.amount));
        let difference = lines_sum.saturating_sub(expected_sum);
        let tolerance = self.rules.tolerates(first.kind, currency, difference).filter(|_| difference != 0);
        let mut ids: Vec<Box<str>> = lines.iter().map(|l| l.id.clone()).collect();
        ids.sort_unstable();
        for e in expected.iter().filter(|e| e.standing == Standing::Unknown && difference == 0) {
            let evidence = Evidence { expected: e.id.clone(), lines: ids.clone(), tier: self.tier };
            self.out.evidence.push(evidence);
        }
        let mut names: Vec<Box<str>> = expected.iter().map(|e| e.id.clone()).collect();
        names.sort_unstable();
        self.flaws(&lines, &expected, &ids, &names);
        self.out.groups.push(Group {
            tier: self.tier,
            lines: ids,
            expected: names,
            currency,
            lines_sum,
            expected_sum,
            tolerance: tolerance.map(|(name, _)| name.into()),
        });
        mark(&mut self.line_matched, &option.lines);
        self.done(&option.lines, &option.expected);
    }

    /// What is wrong with a match: it came late, or a line's fee is not what the rules say.
    fn flaws(
        &mut self,
        lines: &[&SettlementLine],
        expected: &[&Expected],
        ids: &[Box<str>],
        names: &[Box<str>],
    ) {
        let booked = expected.iter().filter(|e| e.standing != Standing::Unknown);
        let (came, due) = (lines.iter().map(|l| l.day).max(), booked.map(|e| e.due).max());
        if let (Some(came), Some(due), Some(e)) = (came, due, expected.first())
            && came.since(due) > self.rules.grace
        {
            self.out.flaws.push(Exception {
                class: Class::Late,
                lines: ids.to_vec(),
                expected: names.to_vec(),
                since: due,
                amount: Money::new(total(expected.iter().map(|e| e.amount)), e.currency),
                nearest: None,
            });
        }
        for line in lines {
            let Some((want, tolerance)) = self.rules.fee_on(line) else { continue };
            let over = line.fee.saturating_sub(want);
            if over.unsigned_abs() > tolerance.unsigned_abs() {
                self.out.flaws.push(Exception {
                    class: Class::UnexpectedFee,
                    lines: vec![line.id.clone()],
                    expected: Vec::new(),
                    since: line.day,
                    amount: Money::new(over.saturating_neg(), line.currency),
                    nearest: None,
                });
            }
        }
    }

    fn done(&mut self, lines: &[usize], expected: &[usize]) {
        mark(&mut self.line_done, lines);
        mark(&mut self.expected_done, expected);
    }

    fn hold(&mut self, why: Undecided, lines: &[usize], expected: &[usize]) {
        let l: Vec<&SettlementLine> = lines.iter().filter_map(|i| self.line(*i)).collect();
        let e: Vec<&Expected> = expected.iter().filter_map(|i| self.exp(*i)).collect();
        let Some(currency) = e.first().map(|e| e.currency) else { return };
        let days = l.iter().map(|l| l.day).chain(e.iter().map(|e| e.due));
        let came = total(l.iter().filter_map(|l| l.amount_in(currency)));
        let due = total(e.iter().map(|e| e.amount));
        self.out.ambiguous.push(Ambiguous {
            tier: self.tier,
            why,
            lines: l.iter().map(|l| l.id.clone()).collect(),
            expected: e.iter().map(|e| e.id.clone()).collect(),
            since: days.min().unwrap_or(Day(0)),
            amount: Money::new(came.saturating_sub(due), currency),
        });
        self.done(lines, expected);
    }

    /// A line left over beside one of the same kind and amount that was matched here, and that does not name
    /// another object, settles the same thing again.
    fn duplicates(&mut self, slice: &Slice) {
        let free = self.free(slice);
        let matched: Vec<&SettlementLine> = slice
            .lines
            .iter()
            .filter(|i| self.line_matched.get(**i) == Some(&true))
            .filter_map(|i| self.line(*i))
            .collect();
        if matched.is_empty() {
            return;
        }
        let again = |line: &SettlementLine| {
            let same = |m: &&&SettlementLine| m.kind == line.kind && m.tender() == line.tender();
            matched.iter().filter(same).find(|m| !apart(&m.ids, &line.ids)).map(|m| m.id.clone())
        };
        for i in free.lines {
            if let Some((line, twin)) = self.line(i).and_then(|line| Some((line, again(line)?))) {
                self.out.duplicates.push((line, twin));
                self.done(&[i], &[]);
            }
        }
    }

    /// Several lines that equal several expectations together, and no smaller part of them does.
    fn many_to_many(&mut self, slice: &Slice) {
        let free = self.free(slice);
        let lines: Vec<&SettlementLine> = free.lines.iter().filter_map(|i| self.line(*i)).collect();
        let expected: Vec<&Expected> = free.expected.iter().filter_map(|i| self.exp(*i)).collect();
        let Some(currency) = expected.first().map(|e| e.currency) else { return };
        if lines.len() < 2 || expected.len() < 2 || expected.iter().any(|e| e.currency != currency) {
            return;
        }
        let came: Option<Vec<i64>> = lines.iter().map(|l| l.amount_in(currency)).collect();
        let came: Option<i128> = came.map(|list| list.into_iter().map(i128::from).sum());
        let due: i128 = expected.iter().map(|e| i128::from(e.amount)).sum();
        let all_linked = || lines.iter().all(|l| expected.iter().all(|e| self.linked(l, e)));
        if came == Some(due) && all_linked() {
            self.hold(Undecided::ManyToMany, &free.lines, &free.expected);
        }
    }

    /// Notes for what is left the nearest of the other side.
    fn misses(&mut self, slice: &Slice) {
        let free = self.free(slice);
        for l in free.lines {
            for x in &free.expected {
                let (x, Some(line), Some(e)) = (*x, self.line(l), self.exp(*x)) else { continue };
                let reason = why_not(self.tier, self.window, line, e);
                let by = match reason {
                    Reason::AmountDiffers { by } => by.unsigned_abs(),
                    _ => 0,
                };
                let days = u64::from(line.day.since(e.due).unsigned_abs());
                note(&mut self.line_miss, l, (reason, by, days, x));
                note(&mut self.expected_miss, x, (reason, by, days, l));
                if self.tier == Tier::OwnId && line.kind == e.kind {
                    let bind = (self.lines.get_mut(l), self.expected.get_mut(x));
                    if let (Some(line), Some(e)) = bind {
                        (line.bound, e.bound) = (true, true);
                    }
                }
            }
        }
    }

    /// Hands over what was decided and what goes on.
    pub(super) fn finish(mut self) -> Pass<'a> {
        let tier = self.tier;
        let found =
            |(reason, _, _, _): &Near, other: &str| Miss { tier, reason: *reason, other: other.into() };
        let line_misses: Vec<Option<Miss>> = self
            .line_miss
            .iter()
            .map(|near| near.as_ref().and_then(|n| Some(found(n, &self.exp(n.3)?.id))))
            .collect();
        let expected_misses: Vec<Option<Miss>> = self
            .expected_miss
            .iter()
            .map(|near| near.as_ref().and_then(|n| Some(found(n, &self.line(n.3)?.id))))
            .collect();
        self.out.lines = left(self.lines, &self.line_done, line_misses);
        self.out.expected = left(self.expected, &self.expected_done, expected_misses);
        self.out
    }
}

fn mark(done: &mut [bool], list: &[usize]) {
    for i in list {
        if let Some(flag) = done.get_mut(*i) {
            *flag = true;
        }
    }
}
