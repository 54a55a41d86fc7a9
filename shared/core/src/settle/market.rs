//! Months of invented trade, from a seed: what a gateway's reports and our books would hold of it, with every
//! class of exception planted and listed apart.
//!
//! Public and behind no feature, because the bench and other crates' tests draw from it as the tests here do;
//! nothing that touches a merchant's money calls it. [`trade`] hands out item after item and keeps only the totals of
//! batches, so that millions fit; [`Month`] holds a trade in memory and runs a night over it.

mod faults;
mod month;

use std::collections::BTreeMap;

use super::line::{Batch, Card, Day, Expected, Funding, Ids, Kind, SettlementLine, Standing};
use super::outcome::{Class, Exception};
use super::rules::Rules;
use crate::ids::ConnectionName;
use crate::money::{Currency, Money};

pub use month::{Compared, Month, Night};

/// The rules the trade goes by.
pub const RULES: &str = "\
settlement: market
due: {charge: 2, refund: 1, dispute: 0}
grace: 3
tolerances:
  rounding: {kinds: [charge, refund], up-to: 2, account: suspense, reason: rounding}
fees:
  dollars: {kinds: [charge], currency: USD, basis-points: 290, fixed: 30, tolerance: 1}
  euros: {kinds: [charge], currency: EUR, basis-points: 150, fixed: 25, tolerance: 1}
  yen: {kinds: [charge], currency: JPY, basis-points: 360}
explain:
  monthly: {kinds: [fee], up-to: 5000, account: fees, reason: monthly fee}
tax-on-fees: tax
";

/// How much trade.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The same seed gives the same trade.
    pub seed: u64,
    /// Payments; lines are about a fifth more.
    pub payments: u32,
    /// Over so many days.
    pub days: i32,
    /// One payment in so many carries an exception; 0 for none.
    pub fault_every: u64,
}

impl Plan {
    /// A day on which everything is overdue.
    #[must_use]
    pub const fn end(&self) -> Day {
        FIRST.plus(self.days).plus(30)
    }
}

const FIRST: Day = Day(20_500);

/// An exception that was planted, as the engine should report it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Planted {
    /// Its class.
    pub class: Class,
    /// Ids of the lines, sorted.
    pub lines: Vec<Box<str>>,
    /// Ids of the expectations, sorted.
    pub expected: Vec<Box<str>>,
}

impl Planted {
    /// What matching reports, so that it can be compared with what was planted.
    #[must_use]
    pub fn as_found(exception: &Exception) -> Self {
        let Exception { class, lines, expected, .. } = exception;
        Self { class: *class, lines: lines.clone(), expected: expected.clone() }
    }
}

/// One thing of the trade.
#[derive(Debug, Clone)]
pub enum Item {
    /// A line of a report.
    Line(SettlementLine),
    /// What the books expect.
    Expected(Expected),
    /// A batch; after all its lines.
    Batch(Batch),
    /// What is wrong, listed apart.
    Planted(Planted),
    /// An effect of unknown outcome that a line proves: the id of its expectation.
    Proven(Box<str>),
}

/// Draws: splitmix64.
#[derive(Debug, Clone)]
pub struct Draw(pub u64);

impl Draw {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number().checked_rem(n).unwrap_or(0)
    }
    fn small(&mut self, n: u64) -> i32 {
        i32::try_from(self.below(n)).unwrap_or(0)
    }
    fn amount(&mut self, from: i64, range: u64) -> i64 {
        from.saturating_add(i64::try_from(self.below(range)).unwrap_or(0))
    }
}

/// Hands out the trade of a plan.
///
/// # Errors
/// The text of a defect in [`RULES`] or in a currency.
pub fn trade(plan: &Plan, sink: impl FnMut(Item)) -> Result<(), String> {
    let rules = Rules::load("market", RULES).map_err(|p| format!("{p:?}"))?;
    let currency = |code| Currency::parse(code).map_err(|e| e.to_string());
    let (usd, eur, jpy, gbp) = (currency("USD")?, currency("EUR")?, currency("JPY")?, currency("GBP")?);
    let mut teller =
        Teller { plan, rules, usd, eur, jpy, gbp, sink, net: BTreeMap::new(), draw: Draw(plan.seed) };
    for n in 0..plan.payments {
        teller.payment(n);
    }
    teller.close();
    Ok(())
}

struct Teller<'p, S> {
    plan: &'p Plan,
    rules: Rules,
    usd: Currency,
    eur: Currency,
    jpy: Currency,
    gbp: Currency,
    sink: S,
    /// Net of each batch.
    net: BTreeMap<(Currency, Day), i64>,
    draw: Draw,
}

impl<S: FnMut(Item)> Teller<'_, S> {
    fn payment(&mut self, n: u32) {
        let day =
            i64::from(n).saturating_mul(i64::from(self.plan.days)) / i64::from(self.plan.payments.max(1));
        let day = FIRST.plus(i32::try_from(day).unwrap_or(0));
        let currency = match self.draw.below(10) {
            0..=6 => self.usd,
            7 | 8 => self.eur,
            _ => self.jpy,
        };
        let amount = self.draw.amount(100, 50_000);
        let brand = if self.draw.below(3) == 0 { "mastercard" } else { "visa" };
        let last4 = format!("{:04}", self.draw.below(10_000));
        let booked = Expected {
            id: format!("capture:ch_{n}").into(),
            kind: Kind::Charge,
            standing: Standing::Booked,
            ids: Ids { own: id("ch", n), parent: None, payment: id("pi", n) },
            reference: Some(format!("A-{n}").into()),
            amount,
            booked_fee: 0,
            currency,
            due: self.rules.due(Kind::Charge, day),
            card: Some(Card { brand: brand.into(), last4: last4.into() }),
            order: Some(format!("shop/A-{n}").into()),
        };
        if self.plan.fault_every > 0 && self.draw.below(self.plan.fault_every) == 0 {
            return self.fault(n, booked);
        }
        match self.draw.below(40) {
            0 | 1 => self.captured_twice(n, booked),
            2 | 3 => self.captured_in_part(n, booked),
            4 | 5 => self.by_reference(n, booked),
            6 => self.by_content(n, booked),
            7 => self.rounded(n, booked),
            8 => self.converted(n, booked),
            9 => self.paid_in_two(n, booked),
            10 => self.unknown(n, booked),
            11..=14 => self.refunded(n, booked),
            15 => self.disputed(n, booked),
            _ => self.plain(n, booked),
        }
    }

    /// The line that settles an expectation as it should.
    fn line_of(&mut self, n: u32, part: u32, e: &Expected) -> SettlementLine {
        let mut line = SettlementLine {
            id: format!("txn_{n}_{part}").into(),
            batch: "".into(),
            kind: e.kind,
            ids: e.ids.clone(),
            reference: e.reference.clone(),
            gross: e.amount,
            fee: 0,
            fee_tax: 0,
            net: e.amount,
            currency: e.currency,
            presentment: None,
            day: e.due.plus(self.draw.small(2)),
            card: e.card.clone(),
        };
        self.charge_fee(&mut line);
        line
    }

    fn charge_fee(&mut self, line: &mut SettlementLine) {
        line.fee = self.rules.fee_on(line).map_or(0, |(fee, _)| fee);
        line.fee_tax = if line.currency == self.eur { line.fee / 6 } else { 0 };
    }

    fn expect(&mut self, e: Expected) {
        (self.sink)(Item::Expected(e));
    }

    /// Puts a line into its batch.
    fn settle(&mut self, mut line: SettlementLine) {
        line.net = line.gross.saturating_sub(line.fee);
        line.batch = batch_id(line.currency, line.day);
        let net = self.net.entry((line.currency, line.day)).or_default();
        *net = net.saturating_add(line.net);
        (self.sink)(Item::Line(line));
    }

    fn plant(&mut self, class: Class, lines: &[&SettlementLine], expected: &[&Expected]) {
        let mut lines: Vec<Box<str>> = lines.iter().map(|l| l.id.clone()).collect();
        let mut expected: Vec<Box<str>> = expected.iter().map(|e| e.id.clone()).collect();
        lines.sort_unstable();
        expected.sort_unstable();
        (self.sink)(Item::Planted(Planted { class, lines, expected }));
    }

    fn plain(&mut self, n: u32, e: Expected) {
        let line = self.line_of(n, 0, &e);
        self.expect(e);
        self.settle(line);
    }

    /// Two captures of one charge, which the gateway settles in one line.
    fn captured_twice(&mut self, n: u32, e: Expected) {
        let second = Expected {
            id: format!("capture:ch_{n}:2").into(),
            amount: e.amount.saturating_add(7),
            ..e.clone()
        };
        let mut line = self.line_of(n, 0, &e);
        line.gross = e.amount.saturating_add(second.amount);
        self.charge_fee(&mut line);
        self.expect(e);
        self.expect(second);
        self.settle(line);
    }

    /// The whole charge and, on a row of its own, what was never captured.
    fn captured_in_part(&mut self, n: u32, e: Expected) {
        let mut whole = self.line_of(n, 0, &e);
        let mut back = self.line_of(n, 1, &e);
        whole.gross = e.amount.saturating_add(55);
        self.charge_fee(&mut whole);
        (back.kind, back.gross, back.fee, back.fee_tax) = (Kind::CaptureReversal, -55, 0, 0);
        back.ids = Ids { own: id("rv", n), parent: e.ids.own.clone(), payment: None };
        self.expect(e);
        self.settle(whole);
        self.settle(back);
    }

    fn by_reference(&mut self, n: u32, e: Expected) {
        let mut line = self.line_of(n, 0, &e);
        line.ids = Ids::default();
        self.expect(e);
        self.settle(line);
    }

    /// Neither id nor reference; the amount is one of its kind.
    fn by_content(&mut self, n: u32, mut e: Expected) {
        e.amount = 1_000_000_i64.saturating_add(i64::from(n).saturating_mul(7));
        let mut line = self.line_of(n, 0, &e);
        (line.ids, line.reference) = (Ids::default(), None);
        if self.draw.below(2) == 0 {
            line.card = None;
        }
        self.expect(e);
        self.settle(line);
    }

    fn rounded(&mut self, n: u32, e: Expected) {
        let mut line = self.line_of(n, 0, &e);
        line.gross =
            line.gross.saturating_add(i64::from(self.draw.small(2)).saturating_mul(3)).saturating_sub(1);
        self.charge_fee(&mut line);
        self.expect(e);
        self.settle(line);
    }

    fn converted(&mut self, n: u32, mut e: Expected) {
        e.currency = self.gbp;
        let mut line = self.line_of(n, 0, &e);
        line.presentment = Some(Money::new(e.amount, self.gbp));
        (line.currency, line.gross) = (self.usd, e.amount.saturating_mul(127) / 100);
        self.charge_fee(&mut line);
        self.expect(e);
        self.settle(line);
    }

    /// One capture in two lines of two batches.
    fn paid_in_two(&mut self, n: u32, e: Expected) {
        let (mut first, mut second) = (self.line_of(n, 0, &e), self.line_of(n, 1, &e));
        first.gross = e.amount / 3;
        second.gross = e.amount.saturating_sub(first.gross);
        second.day = first.day.plus(1);
        self.charge_fee(&mut first);
        self.charge_fee(&mut second);
        self.expect(e);
        self.settle(first);
        self.settle(second);
    }

    /// A capture nobody knows the end of; where it happened, the gateway gives back our reference.
    fn unknown(&mut self, n: u32, mut e: Expected) {
        e.id = format!("command:{n}").into();
        e.standing = Standing::Unknown;
        let line = self.line_of(n, 0, &e);
        let proof = e.id.clone();
        (e.ids.own, e.ids.payment) = (None, None);
        self.expect(e);
        if self.draw.below(3) > 0 {
            self.settle(line);
            (self.sink)(Item::Proven(proof));
        }
    }

    /// A refund by its id; two that are netted into one line; or one that comes back.
    fn refunded(&mut self, n: u32, e: Expected) {
        let refund = |name: &str, minor: i64| Expected {
            id: format!("refund:{name}_{n}").into(),
            kind: Kind::Refund,
            ids: Ids { own: id(name, n), parent: e.ids.own.clone(), payment: e.ids.payment.clone() },
            amount: minor.saturating_neg(),
            due: e.due.plus(5),
            ..e.clone()
        };
        let (first, second) = (refund("ra", e.amount / 2), refund("rb", e.amount / 3));
        let mut line = self.line_of(n, 1, &first);
        match self.draw.below(3) {
            0 => {
                line.gross = first.amount.saturating_add(second.amount);
                (line.ids.own, line.ids.parent) = (None, None);
                self.expect(second);
            }
            1 => {
                let mut back = Expected {
                    id: format!("refund_failed:ra_{n}").into(),
                    kind: Kind::RefundFailure,
                    amount: first.amount.saturating_neg(),
                    ..first.clone()
                };
                back.due = back.due.plus(3);
                let line = self.line_of(n, 2, &back);
                self.expect(back);
                self.settle(line);
            }
            _ => {}
        }
        self.expect(first);
        self.settle(line);
        self.plain(n, e);
    }

    /// Withdrawn with its fee, and in part given back.
    fn disputed(&mut self, n: u32, e: Expected) {
        let moved = |kind, name: &str, minor: i64, fee| Expected {
            id: format!("dispute:{name}_{n}").into(),
            kind,
            ids: Ids { own: id(name, n), parent: id("dp", n), payment: e.ids.payment.clone() },
            amount: minor,
            booked_fee: fee,
            due: e.due.plus(8),
            ..e.clone()
        };
        let taken = moved(Kind::Dispute, "dt", e.amount.saturating_neg(), 1_500);
        let mut line = self.line_of(n, 1, &taken);
        line.fee = 1_500;
        self.expect(taken);
        self.settle(line);
        if self.draw.below(2) == 0 {
            let given = moved(Kind::DisputeReversal, "dr", e.amount, 0);
            let line = self.line_of(n, 2, &given);
            self.expect(given);
            self.settle(line);
        }
        self.plain(n, e);
    }

    /// Monthly fees and reserves, then every batch with its payout.
    fn close(&mut self) {
        let months = self.plan.days / 30;
        for (c, currency) in [self.usd, self.eur, self.jpy].into_iter().enumerate() {
            for month in 0..=months {
                for (kind, gross, later) in
                    [(Kind::Fee, -4_000, 0), (Kind::ReserveHold, -900, 1), (Kind::ReserveRelease, 900, 9)]
                {
                    let line = SettlementLine {
                        id: format!("txn_{}_{c}_{month}", kind.name()).into(),
                        batch: "".into(),
                        kind,
                        ids: Ids::default(),
                        reference: None,
                        gross,
                        fee: 0,
                        fee_tax: 0,
                        net: gross,
                        currency,
                        presentment: None,
                        day: FIRST.plus(month.saturating_mul(30)).plus(later),
                        card: None,
                    };
                    self.settle(line);
                }
            }
        }
        for ((currency, day), net) in std::mem::take(&mut self.net) {
            let own = batch_id(currency, day);
            (self.sink)(Item::Line(SettlementLine {
                id: format!("txn_{own}").into(),
                batch: own.clone(),
                kind: Kind::Payout,
                ids: Ids { own: Some(own.clone()), ..Ids::default() },
                reference: None,
                gross: net.saturating_neg(),
                fee: 0,
                fee_tax: 0,
                net: net.saturating_neg(),
                currency,
                presentment: None,
                day,
                card: None,
            }));
            (self.sink)(Item::Batch(Batch {
                id: own,
                connection: ConnectionName::new("gateway"),
                currency,
                funding: Funding::Funded { payout: net, day },
            }));
        }
    }
}

fn id(prefix: &str, n: u32) -> Option<Box<str>> {
    Some(format!("{prefix}_{n}").into())
}

fn batch_id(currency: Currency, day: Day) -> Box<str> {
    format!("po_{}_{}", currency.code(), day.0).into()
}
