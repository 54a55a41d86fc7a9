//! Matching, tier by tier (the algorithm is told in [`super`]).

use std::collections::BTreeMap;

use super::bucket::Work;
use super::line::{Card, Day, Expected, Kind, SettlementLine, Standing};
use super::outcome::{
    Ambiguous, Class, Exception, Explained, Miss, Open, Outcome, Pass, Reason, Tier, Undecided,
};
use super::rules::Rules;
use crate::money::{Currency, Money};

/// What both sides must share at a tier; at the tiers by content also what is equal without being compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key<'a> {
    Name(&'a str),
    Card(Currency, Kind, &'a Card),
    Amount(Currency, Kind, i64),
}

impl Key<'_> {
    /// A number that equal keys share: FNV-1a over what they are made of.
    fn spread(self) -> u64 {
        let fnv = |seed: u64, bytes: &[u8]| {
            bytes.iter().fold(seed, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
        };
        let base = 0xcbf2_9ce4_8422_2325;
        match self {
            Key::Name(text) => fnv(base, text.as_bytes()),
            Key::Card(currency, kind, card) => {
                let head = fnv(fnv(base, currency.code().as_bytes()), kind.name().as_bytes());
                fnv(fnv(head, card.brand.as_bytes()), card.last4.as_bytes())
            }
            Key::Amount(currency, kind, minor) => {
                let head = fnv(fnv(base, currency.code().as_bytes()), kind.name().as_bytes());
                fnv(head, &minor.to_be_bytes())
            }
        }
    }
}

fn line_key<'a>(tier: Tier, open: &Open<'a, SettlementLine>) -> Option<Key<'a>> {
    let line = open.item;
    let ids = &line.ids;
    let name = |id: Option<&'a Box<str>>| id.map(|text| Key::Name(text.as_ref()));
    let tender = line.tender();
    match tier {
        Tier::OwnId => name(ids.own.as_ref()),
        Tier::ParentId => name(ids.parent.as_ref().or(ids.own.as_ref())),
        Tier::PaymentId => name(ids.payment.as_ref().or(ids.parent.as_ref()).or(ids.own.as_ref())),
        _ if open.bound => None,
        Tier::Reference => name(line.reference.as_ref()),
        Tier::Card => line.card.as_ref().map(|card| Key::Card(tender.currency, line.kind, card)),
        Tier::Amount => Some(Key::Amount(tender.currency, line.kind, tender.minor)),
    }
}

fn expected_key<'a>(tier: Tier, open: &Open<'a, Expected>) -> Option<Key<'a>> {
    let e = open.item;
    let ids = &e.ids;
    let name = |id: Option<&'a Box<str>>| id.map(|text| Key::Name(text.as_ref()));
    match tier {
        _ if e.standing == Standing::Explained => None,
        // A payment may be refunded by others too: only its own id or our reference names a refund.
        Tier::ParentId | Tier::PaymentId if e.standing == Standing::Unknown && e.kind != Kind::Charge => None,
        Tier::OwnId => name(ids.own.as_ref()),
        Tier::ParentId => name(ids.parent.as_ref().or(ids.own.as_ref())),
        Tier::PaymentId => name(ids.payment.as_ref().or(ids.parent.as_ref()).or(ids.own.as_ref())),
        _ if open.bound => None,
        Tier::Reference => name(e.reference.as_ref()),
        _ if e.standing == Standing::Unknown => None,
        Tier::Card => e.card.as_ref().map(|card| Key::Card(e.currency, e.kind, card)),
        Tier::Amount => Some(Key::Amount(e.currency, e.kind, e.amount)),
    }
}

/// Where a line goes when one tier's items are spread over files: items that may meet at this tier share the
/// number, whatever it is taken modulo. None: it meets nothing at this tier and goes on to the next.
#[must_use]
pub fn line_partition(tier: Tier, line: &Open<'_, SettlementLine>) -> Option<u64> {
    line_key(tier, line).map(Key::spread)
}

/// The same for an expectation.
#[must_use]
pub fn expected_partition(tier: Tier, expected: &Open<'_, Expected>) -> Option<u64> {
    expected_key(tier, expected).map(Key::spread)
}

/// Runs one tier over items of which no id comes twice; every item that shares a partition with one of them
/// must be there. O(n log n), but for the bounded search among items of one key.
#[must_use]
pub fn pass<'a>(
    tier: Tier,
    mut lines: Vec<Open<'a, SettlementLine>>,
    mut expected: Vec<Open<'a, Expected>>,
    rules: &Rules,
) -> Pass<'a> {
    // From here on an index stands for an id, so that nothing depends on the order of the input.
    lines.sort_unstable_by(|a, b| a.item.id.cmp(&b.item.id));
    expected.sort_unstable_by(|a, b| a.item.id.cmp(&b.item.id));
    // A number before the key: comparing it is cheaper than comparing texts, and which bucket is first decides nothing.
    let mut keys: Vec<(u64, Key<'a>, bool, usize)> =
        Vec::with_capacity(lines.len().saturating_add(expected.len()));
    let numbered = |key: Key<'a>, is_expected, i| (key.spread(), key, is_expected, i);
    keys.extend(lines.iter().enumerate().filter_map(|(i, l)| Some(numbered(line_key(tier, l)?, false, i))));
    let of_expected = expected.iter().enumerate();
    keys.extend(of_expected.filter_map(|(i, e)| Some(numbered(expected_key(tier, e)?, true, i))));
    keys.sort_unstable();
    let mut work = Work::new(tier, rules, lines, expected);
    for bucket in keys.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1) {
        let split = bucket.partition_point(|(_, _, is_expected, _)| !is_expected);
        if let Some((left, right)) = bucket.split_at_checked(split)
            && !left.is_empty()
            && !right.is_empty()
        {
            work.bucket(left.iter().map(|k| k.3).collect(), right.iter().map(|k| k.3).collect());
        }
    }
    work.finish()
}

/// Matches lines with expectations, all in memory. `today` decides what is overdue.
#[must_use]
pub fn settle(lines: &[SettlementLine], expected: &[Expected], rules: &Rules, today: Day) -> Outcome {
    let (lines, line_copies) = once(lines, |l| &l.id, SettlementLine::canonical);
    let (expected, expected_copies) = once(expected, |e| &e.id, Expected::canonical);
    let mut end = Conclusion::new(rules, today);
    end.copies(&line_copies, &expected_copies);
    let mut lines: Vec<_> = lines.into_iter().map(Open::new).collect();
    let mut expected: Vec<_> = expected.into_iter().map(Open::new).collect();
    for tier in Tier::ALL {
        let mut done = pass(tier, lines, expected, rules);
        (lines, expected) = (std::mem::take(&mut done.lines), std::mem::take(&mut done.expected));
        end.take(done);
    }
    end.conclude(lines, expected)
}

/// Every id once, the least by content; and what is left over.
fn once<T>(items: &[T], id: impl Fn(&T) -> &str, text: impl Fn(&T) -> String) -> (Vec<&T>, Vec<&T>) {
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort_unstable_by(|a, b| id(a).cmp(id(b)).then_with(|| text(a).cmp(&text(b))));
    let mut copies = Vec::new();
    let mut last: Option<&T> = None;
    sorted.retain(|item| {
        let again = last.is_some_and(|l| id(l) == id(item));
        last = Some(item);
        if again {
            copies.push(*item);
        }
        !again
    });
    (sorted, copies)
}

/// Collects what passes found and says at the end what is wrong with what stayed open.
#[derive(Debug)]
pub struct Conclusion<'r> {
    rules: &'r Rules,
    today: Day,
    out: Outcome,
}

impl<'r> Conclusion<'r> {
    /// Begins.
    #[must_use]
    pub fn new(rules: &'r Rules, today: Day) -> Self {
        Self { rules, today, out: Outcome::default() }
    }

    /// Notes items whose id came before. The same id twice is a report read twice, or a defect of its reader.
    pub fn copies(&mut self, lines: &[&SettlementLine], expected: &[&Expected]) {
        for line in lines {
            self.out.exceptions.push(of_line(Class::Duplicate, line, None));
        }
        for e in expected {
            self.out.exceptions.push(of_expected(Class::Duplicate, e, None));
        }
    }

    /// Takes what one pass decided; its open items are for the next pass.
    pub fn take(&mut self, pass: Pass<'_>) {
        self.out.groups.extend(pass.groups);
        self.out.evidence.extend(pass.evidence);
        self.out.exceptions.extend(pass.flaws);
        for (line, other) in pass.duplicates {
            self.out.open_lines.push(line.id.clone());
            let mut exception = of_line(Class::Duplicate, line, None);
            exception.lines.push(other);
            exception.lines.sort_unstable();
            self.out.exceptions.push(exception);
        }
        for Ambiguous { why, lines, expected, since, amount, .. } in pass.ambiguous {
            self.out.open_lines.extend(lines.iter().cloned());
            self.out.open_expected.extend(expected.iter().cloned());
            let class = if why == Undecided::Surplus { Class::Duplicate } else { Class::Ambiguous };
            self.out.exceptions.push(Exception { class, lines, expected, since, amount, nearest: None });
        }
    }

    /// Ends: what is still open after the last tier is explained, excepted or not due yet.
    #[must_use]
    pub fn conclude(
        mut self,
        lines: Vec<Open<'_, SettlementLine>>,
        expected: Vec<Open<'_, Expected>>,
    ) -> Outcome {
        let by_id: BTreeMap<&str, usize> =
            lines.iter().enumerate().map(|(i, l)| (l.item.id.as_ref(), i)).collect();
        let mut paired = vec![false; lines.len()];
        for e in expected.iter().filter(|e| e.item.standing != Standing::Explained) {
            self.out.open_expected.push(e.item.id.clone());
            let mutual = e.nearest.as_ref().and_then(|miss| {
                let i = *by_id.get(miss.other.as_ref())?;
                let line = lines.get(i)?;
                let back = line.nearest.as_ref()?;
                let same = back.other == e.item.id && back.tier == miss.tier;
                Some((i, line.item, same.then(|| class_of_pair(e.item.kind, miss))??))
            });
            if let Some((i, line, class)) = mutual {
                if let Some(flag) = paired.get_mut(i) {
                    *flag = true;
                }
                self.out.exceptions.push(of_pair(class, line, e));
            } else if e.item.standing != Standing::Unknown && self.today.since(e.item.due) > self.rules.grace
            {
                let nearest = e.nearest.clone();
                let class = if crowded(&nearest) { Class::Ambiguous } else { Class::MissingAtGateway };
                self.out.exceptions.push(of_expected(class, e.item, nearest));
            }
        }
        for (line, paired) in lines.iter().zip(paired) {
            let explained = if paired { None } else { self.rules.explains(line.item) };
            if let Some((rule, account)) = explained {
                let line = line.item.id.clone();
                self.out.explained.push(Explained { line, rule: rule.into(), account });
                continue;
            }
            self.out.open_lines.push(line.item.id.clone());
            if !paired {
                let crowded = crowded(&line.nearest);
                let class = if crowded { Class::Ambiguous } else { class_of_line(line.item.kind) };
                self.out.exceptions.push(of_line(class, line.item, line.nearest.clone()));
            }
        }
        self.out.sort();
        self.out
    }
}

/// What two items that name each other are together.
fn class_of_pair(kind: Kind, miss: &Miss) -> Option<Class> {
    let fee = matches!(kind, Kind::Fee | Kind::TaxOnFee);
    match miss.reason {
        _ if !miss.tier.is_identity() => None,
        Reason::AmountDiffers { .. } if fee => Some(Class::UnexpectedFee),
        Reason::AmountDiffers { .. } => Some(Class::Amount),
        Reason::CurrencyDiffers => Some(Class::Currency),
        Reason::OutsideWindow { .. } => Some(Class::Late),
        Reason::TooMany | Reason::IdsDiffer | Reason::KindDiffers => None,
    }
}

fn crowded(nearest: &Option<Miss>) -> bool {
    nearest.as_ref().is_some_and(|miss| miss.reason == Reason::TooMany)
}

const fn class_of_line(kind: Kind) -> Class {
    match kind {
        Kind::Refund => Class::UnknownRefund,
        Kind::Dispute | Kind::DisputeReversal => Class::UnknownChargeback,
        Kind::Fee | Kind::TaxOnFee => Class::UnexpectedFee,
        Kind::PayoutReversal => Class::PayoutFailedLater,
        _ => Class::MissingHere,
    }
}

fn of_line(class: Class, line: &SettlementLine, nearest: Option<Miss>) -> Exception {
    let amount = Money::new(line.gross, line.currency);
    let lines = vec![line.id.clone()];
    Exception { class, lines, expected: Vec::new(), since: line.day, amount, nearest }
}

fn of_expected(class: Class, e: &Expected, nearest: Option<Miss>) -> Exception {
    let amount = Money::new(e.amount, e.currency);
    Exception { class, lines: Vec::new(), expected: vec![e.id.clone()], since: e.due, amount, nearest }
}

fn of_pair(class: Class, line: &SettlementLine, e: &Open<'_, Expected>) -> Exception {
    let amount = match e.nearest.as_ref().map(|m| m.reason) {
        Some(Reason::AmountDiffers { by }) => by,
        _ => e.item.amount,
    };
    Exception {
        class,
        lines: vec![line.id.clone()],
        expected: vec![e.item.id.clone()],
        since: line.day.min(e.item.due),
        amount: Money::new(amount, e.item.currency),
        nearest: e.nearest.clone(),
    }
}
