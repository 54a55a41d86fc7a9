//! The matcher once more, naively: every possible group among all items, every set of disjoint groups, the
//! best of them. For at most twelve items, as the oracle of the tests; it shares no code with the engine.

use std::collections::BTreeSet;

use super::line::{Expected, SettlementLine, Standing};
use super::outcome::Tier;
use super::rules::Rules;

/// What the oracle says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Tier, lines, expectations.
    pub(super) groups: BTreeSet<(Tier, Vec<String>, Vec<String>)>,
    /// Lines and expectations held back as undecided.
    pub(super) undecided: BTreeSet<String>,
    /// Lines that settle again.
    pub(super) duplicates: BTreeSet<String>,
    /// What stays.
    pub(super) open: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Try {
    lines: Vec<usize>,
    expected: Vec<usize>,
    cost: u64,
}

impl Try {
    fn meets(&self, other: &Self) -> bool {
        self.lines.iter().any(|l| other.lines.contains(l))
            || self.expected.iter().any(|e| other.expected.contains(e))
    }
}

pub(super) struct Brute<'a> {
    pub(super) lines: &'a [SettlementLine],
    pub(super) expected: &'a [Expected],
    pub(super) rules: &'a Rules,
    line_out: Vec<bool>,
    expected_out: Vec<bool>,
    line_bound: Vec<bool>,
    expected_bound: Vec<bool>,
    answer: Answer,
}

fn key_of_line(tier: Tier, l: &SettlementLine) -> Option<String> {
    let text = |x: &Option<Box<str>>| x.as_ref().map(ToString::to_string);
    match tier {
        Tier::OwnId => text(&l.ids.own),
        Tier::ParentId => text(&l.ids.parent).or(text(&l.ids.own)),
        Tier::PaymentId => text(&l.ids.payment).or(text(&l.ids.parent)).or(text(&l.ids.own)),
        Tier::Reference => text(&l.reference),
        Tier::Card => l.card.as_ref().map(|c| format!("{:?}{c:?}{:?}", l.kind, l.tender().currency)),
        Tier::Amount => Some(format!("{:?}{:?}", l.kind, l.tender())),
    }
}

fn key_of_expected(tier: Tier, e: &Expected) -> Option<String> {
    let text = |x: &Option<Box<str>>| x.as_ref().map(ToString::to_string);
    match tier {
        Tier::OwnId => text(&e.ids.own),
        Tier::ParentId => text(&e.ids.parent).or(text(&e.ids.own)),
        Tier::PaymentId => text(&e.ids.payment).or(text(&e.ids.parent)).or(text(&e.ids.own)),
        Tier::Reference => text(&e.reference),
        Tier::Card => e.card.as_ref().map(|c| format!("{:?}{c:?}{:?}", e.kind, e.currency)),
        Tier::Amount => Some(format!("{:?}{:?}", e.kind, crate::money::Money::new(e.amount, e.currency))),
    }
}

fn takes_part(tier: Tier, e: &Expected) -> bool {
    match (tier, e.standing) {
        (_, Standing::Explained) => false,
        (Tier::ParentId | Tier::PaymentId, Standing::Unknown) => e.kind == super::line::Kind::Charge,
        (Tier::Card | Tier::Amount, Standing::Unknown) => false,
        _ => true,
    }
}

fn ids_conflict(a: &super::line::Ids, b: &super::line::Ids) -> bool {
    match (&a.own, &b.own) {
        (Some(x), Some(y)) => {
            x != y
                && ![&a.parent, &a.payment].contains(&&Some(y.clone()))
                && ![&b.parent, &b.payment].contains(&&Some(x.clone()))
        }
        _ => false,
    }
}

impl<'a> Brute<'a> {
    pub(super) fn run(lines: &'a [SettlementLine], expected: &'a [Expected], rules: &'a Rules) -> Answer {
        let mut brute = Brute {
            lines,
            expected,
            rules,
            line_out: vec![false; lines.len()],
            expected_out: expected.iter().map(|e| e.standing == Standing::Explained).collect(),
            line_bound: vec![false; lines.len()],
            expected_bound: vec![false; expected.len()],
            answer: Answer::default(),
        };
        for tier in Tier::ALL {
            brute.stage(tier, 0);
            if tier != Tier::Amount {
                brute.stage(tier, 1);
                brute.stage(tier, 2);
            }
            if tier.is_identity() {
                brute.by_key(tier);
            }
        }
        for (i, l) in lines.iter().enumerate() {
            if !brute.line_out[i] {
                brute.answer.open.insert(l.id.to_string());
            }
        }
        for (i, e) in expected.iter().enumerate() {
            if !brute.expected_out[i] {
                brute.answer.open.insert(e.id.to_string());
            }
        }
        brute.answer
    }

    /// Whether two items may stand in one group at a tier.
    fn may(&self, tier: Tier, l: usize, e: usize) -> bool {
        let (line, exp) = (&self.lines[l], &self.expected[e]);
        let weak = !tier.is_identity();
        if self.line_out[l] || self.expected_out[e] {
            return false;
        }
        if (weak || tier == Tier::Reference) && (self.line_bound[l] || self.expected_bound[e]) {
            return false;
        }
        if !takes_part(tier, exp) {
            return false;
        }
        let (a, b) = (key_of_line(tier, line), key_of_expected(tier, exp));
        if a.is_none() || a != b {
            return false;
        }
        let window = match tier {
            Tier::OwnId | Tier::ParentId | Tier::PaymentId => self.rules.by_gateway_id,
            Tier::Reference => self.rules.by_reference,
            _ => self.rules.by_content,
        };
        let days = line.day.0 - exp.due.0;
        if days < -window.early || days > window.late {
            return false;
        }
        if tier != Tier::OwnId && ids_conflict(&line.ids, &exp.ids) {
            return false;
        }
        let both = |a: &Option<Box<str>>, b: &Option<Box<str>>| a.is_some() && b.is_some() && a != b;
        !(weak
            && (both(&line.reference, &exp.reference)
                || both(&line.ids.payment, &exp.ids.payment)
                || line.card.is_some() && exp.card.is_some() && line.card != exp.card))
    }

    fn amount(&self, l: usize, e: usize) -> Option<i64> {
        let (line, currency) = (&self.lines[l], self.expected[e].currency);
        if line.currency == currency {
            Some(line.gross)
        } else {
            line.presentment.filter(|p| p.currency == currency).map(|p| p.minor)
        }
    }

    fn cost(&self, lines: &[usize], expected: &[usize]) -> u64 {
        let one = |l: &usize, e: &usize| {
            let days = i64::from(self.lines[*l].day.0 - self.expected[*e].due.0);
            let unknown = u64::from(self.expected[*e].standing == Standing::Unknown) << 40;
            days.unsigned_abs().pow(2) + unknown
        };
        lines.iter().flat_map(|l| expected.iter().map(move |e| one(l, e))).max().unwrap()
    }

    fn tries(&self, tier: Tier, stage: u8) -> Vec<Try> {
        let mut out = Vec::new();
        let (n, m) = (self.lines.len(), self.expected.len());
        let may: Vec<Vec<bool>> = (0..n).map(|l| (0..m).map(|e| self.may(tier, l, e)).collect()).collect();
        for ls in 1_u32..1 << n {
            for es in 1_u32..1 << m {
                let (a, b) = (ls.count_ones(), es.count_ones());
                let shape = if stage == 1 { (a == 1) != (b == 1) } else { a == 1 && b == 1 };
                if !shape {
                    continue;
                }
                let lines: Vec<usize> = (0..n).filter(|i| ls >> i & 1 == 1).collect();
                let expected: Vec<usize> = (0..m).filter(|i| es >> i & 1 == 1).collect();
                if lines.iter().any(|l| expected.iter().any(|e| !may[*l][*e])) {
                    continue;
                }
                let currency = self.expected[expected[0]].currency;
                if expected.iter().any(|e| self.expected[*e].currency != currency) {
                    continue;
                }
                let came: Option<Vec<i64>> = lines.iter().map(|l| self.amount(*l, expected[0])).collect();
                let Some(came) = came else { continue };
                let by =
                    came.iter().sum::<i64>() - expected.iter().map(|e| self.expected[*e].amount).sum::<i64>();
                let kinds = self.lines[lines[0]].kind == self.expected[expected[0]].kind;
                let good = match stage {
                    0 => kinds && by == 0,
                    1 => by == 0,
                    _ => {
                        let kind = self.expected[expected[0]].kind;
                        kinds && by != 0 && self.rules.tolerates(kind, currency, by).is_some()
                    }
                };
                if good {
                    let cost = self.cost(&lines, &expected);
                    out.push(Try { lines, expected, cost });
                }
            }
        }
        out
    }

    fn stage(&mut self, tier: Tier, stage: u8) {
        let tries = self.tries(tier, stage);
        let mut best: Vec<Vec<usize>> = Vec::new();
        let mut score = (0, 0);
        search(&tries, 0, &mut Vec::new(), &mut score, &mut best);
        let in_some: BTreeSet<usize> = best.iter().flatten().copied().collect();
        for i in in_some {
            let group = &tries[i];
            let name = |out: &mut BTreeSet<String>| {
                out.extend(group.lines.iter().map(|l| self.lines[*l].id.to_string()));
                out.extend(group.expected.iter().map(|e| self.expected[*e].id.to_string()));
            };
            if best.iter().all(|set| set.contains(&i)) {
                let mut l: Vec<String> = group.lines.iter().map(|l| self.lines[*l].id.to_string()).collect();
                let mut e: Vec<String> =
                    group.expected.iter().map(|e| self.expected[*e].id.to_string()).collect();
                l.sort();
                e.sort();
                self.answer.groups.insert((tier, l, e));
            } else {
                name(&mut self.answer.undecided);
            }
            for l in &group.lines {
                self.line_out[*l] = true;
            }
            for e in &group.expected {
                self.expected_out[*e] = true;
            }
        }
    }

    /// What is asked of the items of one key after its groups are taken.
    fn by_key(&mut self, tier: Tier) {
        let keys: BTreeSet<String> = self.lines.iter().filter_map(|l| key_of_line(tier, l)).collect();
        for key in keys {
            let matched_here: Vec<usize> = (0..self.lines.len())
                .filter(|l| {
                    let id = self.lines[*l].id.to_string();
                    let group = self.answer.groups.iter().any(|(t, ls, _)| *t == tier && ls.contains(&id));
                    key_of_line(tier, &self.lines[*l]).as_ref() == Some(&key) && group
                })
                .collect();
            let open = |out: &[bool], bound: &[bool]| -> Vec<usize> {
                (0..out.len()).filter(|i| !(out[*i] || tier == Tier::Reference && bound[*i])).collect()
            };
            let of_line = |l: &usize| key_of_line(tier, &self.lines[*l]).as_ref() == Some(&key);
            let of_exp = |e: &usize| {
                let e = &self.expected[*e];
                takes_part(tier, e) && key_of_expected(tier, e).as_ref() == Some(&key)
            };
            let lines: Vec<usize> =
                open(&self.line_out, &self.line_bound).into_iter().filter(of_line).collect();
            let expected: Vec<usize> =
                open(&self.expected_out, &self.expected_bound).into_iter().filter(of_exp).collect();
            let mut rest = Vec::new();
            for l in lines {
                let line = &self.lines[l];
                let again = matched_here.iter().map(|m| &self.lines[*m]).any(|m| {
                    m.kind == line.kind && m.tender() == line.tender() && !ids_conflict(&m.ids, &line.ids)
                });
                if again {
                    self.answer.duplicates.insert(line.id.to_string());
                    self.line_out[l] = true;
                } else {
                    rest.push(l);
                }
            }
            if rest.is_empty() || expected.is_empty() {
                continue;
            }
            let currency = self.expected[expected[0]].currency;
            let came: Option<i64> = rest.iter().map(|l| self.amount(*l, expected[0])).sum();
            let due: i64 = expected.iter().map(|e| self.expected[*e].amount).sum();
            let linked = rest.iter().all(|l| expected.iter().all(|e| self.may(tier, *l, *e)));
            let one_currency = expected.iter().all(|e| self.expected[*e].currency == currency);
            if rest.len() > 1 && expected.len() > 1 && one_currency && linked && came == Some(due) {
                for l in rest {
                    self.answer.undecided.insert(self.lines[l].id.to_string());
                    self.line_out[l] = true;
                }
                for e in expected {
                    self.answer.undecided.insert(self.expected[e].id.to_string());
                    self.expected_out[e] = true;
                }
            } else if tier == Tier::OwnId {
                for l in &rest {
                    for e in &expected {
                        if self.lines[*l].kind == self.expected[*e].kind {
                            (self.line_bound[*l], self.expected_bound[*e]) = (true, true);
                        }
                    }
                }
            }
        }
    }
}

/// Every set of disjoint groups; keeps all of the best.
fn search(
    tries: &[Try],
    from: usize,
    chosen: &mut Vec<usize>,
    score: &mut (usize, u64),
    best: &mut Vec<Vec<usize>>,
) {
    if from == tries.len() {
        let cost: u64 = chosen.iter().map(|i| tries[*i].cost).sum();
        let now = (chosen.len(), cost);
        if best.is_empty() || now.0 > score.0 || now.0 == score.0 && now.1 < score.1 {
            *score = now;
            best.clear();
        }
        if now == *score {
            best.push(chosen.clone());
        }
        return;
    }
    if chosen.iter().all(|i| !tries[*i].meets(&tries[from])) {
        chosen.push(from);
        search(tries, from + 1, chosen, score, best);
        chosen.pop();
    }
    search(tries, from + 1, chosen, score, best);
}
