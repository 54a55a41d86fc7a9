//! What the tests settle.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tillway_core::money::{Currency, Money};
use tillway_core::settle::market::{self, Draw, Item, RULES};
use tillway_core::settle::{
    Card, Day, Expected, Ids, Kind, Outcome, Rules, SettlementLine, Standing, settle,
};

use crate::settle::{Plan, Source, SourceError, Stream};

pub(super) struct Given {
    pub(super) lines: Vec<SettlementLine>,
    pub(super) expected: Vec<Expected>,
    pub(super) rules: Rules,
    pub(super) today: Day,
    /// The line after so many cannot be read.
    pub(super) broken_at: Option<usize>,
    /// How often the lines were asked for.
    pub(super) asked: AtomicUsize,
}

impl Given {
    fn new(lines: Vec<SettlementLine>, expected: Vec<Expected>, rules: Rules, today: Day) -> Self {
        Self { lines, expected, rules, today, broken_at: None, asked: AtomicUsize::new(0) }
    }
    pub(super) fn plan<'a>(&'a self, folder: &'a Path, partitions: u16) -> Plan<'a> {
        Plan { folder, run: "given", rules: &self.rules, today: self.today, partitions, seal: false }
    }
    pub(super) fn in_memory(&self) -> Outcome {
        settle(&self.lines, &self.expected, &self.rules, self.today)
    }
    pub(super) fn shuffled(&self, seed: u64) -> Self {
        let (lines, expected) = (shuffled(&self.lines, seed), shuffled(&self.expected, !seed));
        Self::new(lines, expected, self.rules.clone(), self.today)
    }
}

fn shuffled<T: Clone>(items: &[T], seed: u64) -> Vec<T> {
    let mut draw = Draw(seed);
    let mut keyed: Vec<(u64, T)> = items.iter().map(|x| (draw.number(), x.clone())).collect();
    keyed.sort_by_key(|(k, _)| *k);
    keyed.into_iter().map(|(_, x)| x).collect()
}

impl Source for Given {
    fn lines(&self) -> Result<Stream<'_, SettlementLine>, SourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let broken = |i| Some(i) == self.broken_at;
        let read = move |(i, line): (usize, &SettlementLine)| {
            if broken(i) { Err("no more paper".into()) } else { Ok(line.clone()) }
        };
        Ok(Box::new(self.lines.iter().enumerate().map(read)))
    }
    fn expected(&self) -> Result<Stream<'_, Expected>, SourceError> {
        Ok(Box::new(self.expected.iter().cloned().map(Ok)))
    }
}

/// Months of trade.
pub(super) fn market(seed: u64, payments: u32, fault_every: u64) -> Given {
    let plan = market::Plan { seed, payments, days: 30, fault_every };
    let (mut lines, mut expected) = (Vec::new(), Vec::new());
    market::trade(&plan, |item| match item {
        Item::Line(line) => lines.push(line),
        Item::Expected(e) => expected.push(e),
        Item::Batch(_) | Item::Planted(_) | Item::Proven(_) => {}
    })
    .unwrap();
    Given::new(lines, expected, Rules::load("market", RULES).unwrap(), plan.end())
}

/// Few names, few amounts, few days: everything collides, ids as well.
pub(super) fn collide(seed: u64, many: usize) -> Given {
    let mut draw = Draw(seed);
    let text = "settlement: s\nwindows:\n  gateway-id: {early: 3, late: 5}\n  reference: {early: 2, late: 4}\n  \
                content: {early: 1, late: 2}\ntolerances:\n  r: {kinds: [charge], up-to: 1, account: fx, reason: x}\n\
                explain:\n  m: {kinds: [fee], up-to: 3, account: fees, reason: m}\n";
    let names = 1 + u64::try_from(many / 3).unwrap();
    let days = 1 + draw.below(9);
    let mut lines = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..many {
        let mut any = Any { draw: &mut draw, names, days };
        let gross = any.amount();
        lines.push(SettlementLine {
            id: any.name("l").into(),
            batch: any.name("b").into(),
            kind: any.kind(),
            ids: any.ids(),
            reference: any.some("r"),
            gross,
            fee: 0,
            fee_tax: 0,
            net: gross,
            currency: any.currency(),
            presentment: any.one_in(6).then(|| Money::new(gross * 2, Currency::parse("EUR").unwrap())),
            day: any.day(),
            card: any.card(),
        });
        expected.push(Expected {
            id: any.name("e").into(),
            kind: any.kind(),
            standing: match any.draw.below(9) {
                0 => Standing::Unknown,
                1 => Standing::Explained,
                2 => Standing::Ruled,
                _ => Standing::Booked,
            },
            ids: any.ids(),
            reference: any.some("r"),
            amount: any.amount(),
            booked_fee: 0,
            currency: any.currency(),
            due: any.day(),
            card: any.card(),
            order: any.some("shop/"),
        });
    }
    let today = Day(i32::try_from(draw.below(20)).unwrap());
    Given::new(lines, expected, Rules::load("s", text).unwrap(), today)
}

struct Any<'d> {
    draw: &'d mut Draw,
    names: u64,
    days: u64,
}

impl Any<'_> {
    fn one_in(&mut self, n: u64) -> bool {
        self.draw.below(n) == 0
    }
    /// Nine in ten are of their own.
    fn name(&mut self, prefix: &str) -> String {
        let range = if self.one_in(10) { self.names } else { 1 << 40 };
        format!("{prefix}{}", self.draw.below(range))
    }
    fn some(&mut self, prefix: &str) -> Option<Box<str>> {
        (!self.one_in(3)).then(|| format!("{prefix}{}", self.draw.below(self.names)).into())
    }
    fn ids(&mut self) -> Ids {
        let parent = if self.one_in(2) { "o" } else { "p" };
        Ids { own: self.some("o"), parent: self.some(parent), payment: self.some("y") }
    }
    fn kind(&mut self) -> Kind {
        match self.draw.below(8) {
            0 => Kind::Refund,
            1 => Kind::Fee,
            _ => Kind::Charge,
        }
    }
    fn amount(&mut self) -> i64 {
        let size = i64::try_from(1 + self.draw.below(6)).unwrap();
        if self.one_in(8) { -size } else { size }
    }
    fn currency(&mut self) -> Currency {
        Currency::parse(if self.one_in(9) { "EUR" } else { "USD" }).unwrap()
    }
    fn day(&mut self) -> Day {
        Day(i32::try_from(self.draw.below(self.days)).unwrap())
    }
    fn card(&mut self) -> Option<Card> {
        let last4 = self.draw.below(2).to_string().into();
        (!self.one_in(3)).then(|| Card { brand: "visa".into(), last4 })
    }
}

/// A path of its own, removed when it is dropped.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = std::env::temp_dir().join(format!("tillway-settle-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&place);
        Self(place)
    }
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
