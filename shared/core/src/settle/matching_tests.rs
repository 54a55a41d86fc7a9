//! Matching against the oracle, against the planted market, and under permutation.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::brute::{Answer, Brute};
use super::market::{Draw, Item, Plan, Planted, RULES, trade};
use super::*;
use crate::money::{Currency, Money};

fn cur(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

/// Few names, few amounts, few days: everything collides.
fn small(seed: u64) -> (Vec<SettlementLine>, Vec<Expected>, Rules) {
    let mut draw = Draw(seed);
    let text = "settlement: s\nwindows:\n  gateway-id: {early: 3, late: 5}\n  reference: {early: 2, late: 4}\n  \
                content: {early: 1, late: 2}\ntolerances:\n  r: {kinds: [charge], up-to: 1, account: fx, reason: x}\n";
    let rules = Rules::load("s", text).unwrap();
    let names = 1 + draw.below(3);
    fn some(draw: &mut Draw, prefix: &str, n: u64) -> Option<Box<str>> {
        (draw.below(3) > 0).then(|| format!("{prefix}{}", draw.below(n)).into())
    }
    let ids = |draw: &mut Draw| Ids {
        own: some(draw, "o", names),
        parent: some(draw, if draw.clone().below(2) == 0 { "o" } else { "p" }, 2),
        payment: some(draw, "y", 2),
    };
    let kind = |draw: &mut Draw| if draw.below(5) == 0 { Kind::Refund } else { Kind::Charge };
    let card = |draw: &mut Draw| {
        (draw.below(3) > 0).then(|| Card { brand: "visa".into(), last4: format!("{}", draw.below(2)).into() })
    };
    let currency = |draw: &mut Draw| if draw.below(9) == 0 { cur("EUR") } else { cur("USD") };
    let (range, span) = (2 + draw.below(8), 1 + draw.below(7));
    let amount = |draw: &mut Draw| {
        i64::try_from(1 + draw.below(range)).unwrap() * if draw.below(8) == 0 { -1 } else { 1 }
    };
    let day = |draw: &mut Draw| Day(i32::try_from(draw.below(span)).unwrap());
    let total = 3 + draw.below(10);
    let count = total / 2 + draw.below(3) - 1;
    let lines = (0..count)
        .map(|n| {
            let gross = amount(&mut draw);
            SettlementLine {
                id: format!("l{n}").into(),
                batch: "b".into(),
                kind: kind(&mut draw),
                ids: ids(&mut draw),
                reference: some(&mut draw, "r", 2),
                gross,
                fee: 0,
                fee_tax: 0,
                net: gross,
                currency: currency(&mut draw),
                presentment: (draw.below(6) == 0).then(|| Money::new(gross * 2, cur("EUR"))),
                day: day(&mut draw),
                card: card(&mut draw),
            }
        })
        .collect();
    let expected = (0..total - count)
        .map(|n| Expected {
            id: format!("e{n}").into(),
            kind: kind(&mut draw),
            standing: match draw.below(8) {
                0 => Standing::Unknown,
                1 => Standing::Explained,
                _ => Standing::Booked,
            },
            ids: ids(&mut draw),
            reference: some(&mut draw, "r", 2),
            amount: amount(&mut draw),
            booked_fee: 0,
            currency: currency(&mut draw),
            due: day(&mut draw),
            card: card(&mut draw),
            order: None,
        })
        .collect();
    (lines, expected, rules)
}

fn names(list: &[Box<str>]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// The engine's passes in the oracle's words.
fn engine(
    lines: &[SettlementLine],
    expected: &[Expected],
    rules: &Rules,
) -> (Answer, BTreeSet<&'static str>) {
    let mut out = Answer::default();
    let mut seen = BTreeSet::new();
    let mut l: Vec<_> = lines.iter().map(Open::new).collect();
    let mut e: Vec<_> = expected.iter().map(Open::new).collect();
    for tier in Tier::ALL {
        let done = pass(tier, l, e, rules);
        for g in &done.groups {
            seen.insert(tier.name());
            seen.insert(match (g.lines.len(), g.expected.len()) {
                (1, 1) if g.tolerance.is_some() => "tolerated",
                (1, 1) => "one to one",
                (1, _) => "one to many",
                _ => "many to one",
            });
            out.groups.insert((g.tier, names(&g.lines), names(&g.expected)));
        }
        for a in &done.ambiguous {
            seen.insert(match a.why {
                Undecided::Tie => "tie",
                Undecided::Surplus => "surplus",
                Undecided::ManyToMany => "many to many",
            });
            out.undecided.extend(names(&a.lines));
            out.undecided.extend(names(&a.expected));
        }
        out.duplicates.extend(done.duplicates.iter().map(|(line, _)| line.id.to_string()));
        (l, e) = (done.lines, done.expected);
    }
    out.open.extend(l.iter().map(|x| x.item.id.to_string()));
    out.open
        .extend(e.iter().filter(|x| x.item.standing != Standing::Explained).map(|x| x.item.id.to_string()));
    if !out.duplicates.is_empty() {
        seen.insert("duplicate");
    }
    (out, seen)
}

#[test]
fn the_engine_agrees_with_the_oracle_on_small_batches() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..10_000 {
        let (lines, expected, rules) = small(seed);
        assert!(lines.len() + expected.len() <= 12);
        let (found, kinds) = engine(&lines, &expected, &rules);
        assert_eq!(found, Brute::run(&lines, &expected, &rules), "seed {seed}: {lines:#?} {expected:#?}");
        for kind in kinds {
            *seen.entry(kind).or_default() += 1;
        }
    }
    // Every tier and every shape came up often enough to say something.
    for kind in [
        "own_id",
        "parent_id",
        "payment_id",
        "reference",
        "card",
        "amount",
        "one to one",
        "one to many",
        "many to one",
        "tolerated",
        "tie",
        "surplus",
        "many to many",
        "duplicate",
    ] {
        assert!(seen.get(kind).copied().unwrap_or(0) >= 15, "{kind}: {seen:?}");
    }
}

/// A market in memory.
pub(super) struct Market {
    pub(super) lines: Vec<SettlementLine>,
    pub(super) expected: Vec<Expected>,
    pub(super) batches: Vec<Batch>,
    pub(super) planted: Vec<Planted>,
    pub(super) proven: BTreeSet<Box<str>>,
    pub(super) rules: Rules,
    pub(super) today: Day,
}

pub(super) fn market(seed: u64, payments: u32, fault_every: u64) -> Market {
    let plan = Plan { seed, payments, days: 90, fault_every };
    let mut m = Market {
        lines: Vec::new(),
        expected: Vec::new(),
        batches: Vec::new(),
        planted: Vec::new(),
        proven: BTreeSet::new(),
        rules: Rules::load("market", RULES).unwrap(),
        today: plan.end(),
    };
    trade(&plan, |item| match item {
        Item::Line(line) => m.lines.push(line),
        Item::Expected(e) => m.expected.push(e),
        Item::Batch(batch) => m.batches.push(batch),
        Item::Planted(p) => m.planted.push(p),
        Item::Proven(id) => {
            m.proven.insert(id);
        }
    })
    .unwrap();
    m.planted.sort();
    m
}

fn excepted(outcome: &Outcome) -> Vec<Planted> {
    outcome.exceptions.iter().map(Planted::as_found).collect()
}

#[test]
fn every_planted_exception_is_found_and_none_is_invented() {
    for (seed, payments, every) in [(1, 17_000, 40), (2, 2_000, 4), (3, 2_000, 0)] {
        let m = market(seed, payments, every);
        let outcome = settle(&m.lines, &m.expected, &m.rules, m.today);
        let (found, planted) = (excepted(&outcome), &m.planted);
        let missed: Vec<_> = planted.iter().filter(|p| !found.contains(p)).take(5).collect();
        let invented: Vec<_> = found.iter().filter(|p| !planted.contains(p)).take(5).collect();
        assert!(
            missed.is_empty() && invented.is_empty(),
            "seed {seed}: missed {missed:#?}, invented {invented:#?}"
        );
        assert_eq!(found.len(), planted.len());
        if every > 0 {
            let classes: BTreeSet<Class> = planted.iter().map(|p| p.class).collect();
            assert_eq!(classes.len(), Class::ALL.len());
        }
        let proven: BTreeSet<Box<str>> = outcome.evidence.iter().map(|e| e.expected.clone()).collect();
        assert_eq!(proven, m.proven);
        assert!(outcome.evidence.iter().all(|e| e.tier.is_identity()));
    }
}

#[test]
fn tiers_run_over_partitions_give_what_one_run_gives() {
    let m = market(4, 3_000, 9);
    let whole = settle(&m.lines, &m.expected, &m.rules, m.today);
    // What a reader has to do before it spreads items over files: every id once.
    let mut ids = BTreeSet::new();
    let (mut once, mut copies) = (Vec::new(), Vec::new());
    for line in &m.lines {
        if ids.insert(&line.id) { once.push(line) } else { copies.push(line) }
    }
    let mut end = Conclusion::new(&m.rules, m.today);
    end.copies(&copies, &[]);
    let mut lines: Vec<_> = once.into_iter().map(Open::new).collect();
    let mut expected: Vec<_> = m.expected.iter().map(Open::new).collect();
    for tier in Tier::ALL {
        let parts = 7;
        let mut next = (Vec::new(), Vec::new());
        for part in 0..parts {
            let mine = |key: Option<u64>| key.map_or(part == 0, |k| k % parts == part);
            let l = lines.iter().filter(|l| mine(line_partition(tier, l))).cloned().collect();
            let e = expected.iter().filter(|e| mine(expected_partition(tier, e))).cloned().collect();
            let mut done = pass(tier, l, e, &m.rules);
            next.0.append(&mut done.lines);
            next.1.append(&mut done.expected);
            end.take(done);
        }
        (lines, expected) = next;
    }
    assert_eq!(end.conclude(lines, expected), whole);
}

fn shuffled<T: Clone>(items: &[T], seed: u64) -> Vec<T> {
    let mut draw = Draw(seed);
    let mut keyed: Vec<(u64, T)> = items.iter().map(|x| (draw.number(), x.clone())).collect();
    keyed.sort_by_key(|(k, _)| *k);
    keyed.into_iter().map(|(_, x)| x).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_small_batches_gives_the_same_outcome(seed in any::<u64>(), order in any::<u64>()) {
        let (lines, expected, rules) = small(seed);
        let first = settle(&lines, &expected, &rules, Day(9));
        let again = settle(&shuffled(&lines, order), &shuffled(&expected, !order), &rules, Day(9));
        prop_assert_eq!(first, again);
    }
}

#[test]
fn any_order_of_a_market_gives_the_same_outcome() {
    let m = market(5, 2_500, 10);
    let first = settle(&m.lines, &m.expected, &m.rules, m.today);
    for order in 0..4 {
        let (lines, expected) = (shuffled(&m.lines, order), shuffled(&m.expected, order + 9));
        assert!(settle(&lines, &expected, &m.rules, m.today) == first, "order {order}");
    }
}

#[test]
fn what_stays_open_names_its_nearest_miss() {
    let m = market(6, 3_000, 6);
    let outcome = settle(&m.lines, &m.expected, &m.rules, m.today);
    for class in [Class::Amount, Class::Currency] {
        for e in outcome.exceptions.iter().filter(|e| e.class == class) {
            let miss = e.nearest.as_ref().unwrap();
            assert_eq!((miss.tier, &miss.other), (Tier::OwnId, &e.lines[0]));
            let by = Reason::AmountDiffers { by: 500 };
            assert_eq!(miss.reason, if class == Class::Amount { by } else { Reason::CurrencyDiffers });
        }
    }
    // A refund of the same charge under another id is named, and is not taken for ours.
    let strange = outcome.exceptions.iter().filter(|e| e.class == Class::UnknownRefund);
    assert!(strange.filter_map(|e| e.nearest.as_ref()).any(|m| m.reason == Reason::IdsDiffer));
}

#[test]
fn what_is_not_due_is_open_and_no_exception() {
    let m = market(7, 400, 3);
    let early = settle(&[], &m.expected, &m.rules, Day(0));
    assert!(early.exceptions.is_empty());
    let booked = m.expected.iter().filter(|e| e.standing == Standing::Booked).count();
    let late = settle(&[], &m.expected, &m.rules, m.today);
    assert_eq!(late.exceptions.len(), booked);
    assert!(late.exceptions.iter().all(|e| e.class == Class::MissingAtGateway && e.age(m.today) > 3));
    assert_eq!(late.open_expected.len(), m.expected.len());
}

#[test]
fn a_fee_on_a_line_of_its_own_is_expected_and_matched() {
    let text = "settlement: s\nfees:\n  f: {kinds: [charge], basis-points: 200, own-line: true}\n";
    let rules = Rules::load("s", text).unwrap();
    let m = market(8, 40, 0);
    let ids = Ids { own: Some("c".into()), parent: None, payment: Some("p".into()) };
    let capture = Expected {
        amount: 1_000,
        kind: Kind::Charge,
        standing: Standing::Booked,
        ids,
        ..m.expected[0].clone()
    };
    let fee = rules.fee_line_of(&capture).unwrap();
    assert_eq!((fee.amount, fee.kind, fee.standing), (-20, Kind::Fee, Standing::Ruled));
    let mut line = SettlementLine {
        kind: Kind::Charge,
        ids: capture.ids.clone(),
        gross: 1_000,
        fee: 0,
        fee_tax: 0,
        net: 1_000,
        presentment: None,
        currency: capture.currency,
        day: capture.due,
        reference: None,
        ..m.lines[0].clone()
    };
    let mut charged = SettlementLine {
        id: "fee".into(),
        kind: Kind::Fee,
        gross: -20,
        net: -20,
        ids: Ids { own: None, parent: capture.ids.own.clone(), payment: None },
        ..line.clone()
    };
    let both = [capture.clone(), fee.clone()];
    let outcome = settle(&[line.clone(), charged.clone()], &both, &rules, capture.due);
    assert_eq!((outcome.groups.len(), outcome.exceptions.len()), (2, 0), "{outcome:?}");
    // Netted into the charge's line, both are settled by it.
    (line.gross, line.net) = (980, 980);
    let netted = settle(&[line.clone()], &both, &rules, capture.due);
    assert_eq!(netted.groups.len(), 1, "{netted:?}");
    assert_eq!(netted.groups[0].expected.len(), 2);
    // Another fee than expected is an unexpected fee.
    (charged.gross, charged.net, line.gross, line.net) = (-25, -25, 1_000, 1_000);
    let other = settle(&[line, charged], &both, &rules, capture.due);
    assert_eq!(
        other.exceptions.iter().map(|e| (e.class, e.amount.minor)).collect::<Vec<_>>(),
        [(Class::UnexpectedFee, -5)]
    );
}

/// A capture and the line that settles it, without a name.
fn bare(n: i64, minor: i64) -> (SettlementLine, Expected) {
    let e = Expected {
        id: format!("e{n}").into(),
        kind: Kind::Charge,
        standing: Standing::Booked,
        ids: Ids::default(),
        reference: None,
        amount: minor,
        booked_fee: 0,
        currency: cur("USD"),
        due: Day(1),
        card: None,
        order: None,
    };
    let line = SettlementLine {
        id: format!("l{n}").into(),
        batch: "b".into(),
        kind: e.kind,
        ids: Ids::default(),
        reference: None,
        gross: minor,
        fee: 0,
        fee_tax: 0,
        net: minor,
        currency: e.currency,
        presentment: None,
        day: Day(1),
        card: None,
    };
    (line, e)
}

#[test]
fn a_refund_someone_else_made_proves_nothing_of_ours() {
    let (line, e) = bare(1, -500);
    let payment = Ids { payment: Some("p".into()), ..Ids::default() };
    let ours = Expected {
        kind: Kind::Refund,
        standing: Standing::Unknown,
        ids: payment.clone(),
        reference: Some("our-7".into()),
        ..e
    };
    let mut line =
        SettlementLine { kind: Kind::Refund, ids: Ids { own: Some("re_1".into()), ..payment }, ..line };
    let theirs = settle(std::slice::from_ref(&line), std::slice::from_ref(&ours), &Rules::default(), Day(9));
    assert!(theirs.evidence.is_empty() && theirs.groups.is_empty());
    assert_eq!(theirs.exceptions.iter().map(|e| e.class).collect::<Vec<_>>(), [Class::UnknownRefund]);
    line.reference = Some("our-7".into());
    let proven = settle(&[line], &[ours], &Rules::default(), Day(9));
    assert_eq!((proven.evidence.len(), proven.exceptions.len()), (1, 0));
    assert_eq!(proven.evidence[0].tier, Tier::Reference);
}

#[test]
fn a_reference_that_stands_on_every_line_is_no_name() {
    let (mut lines, mut expected): (Vec<_>, Vec<_>) = (0..200).map(|n| bare(n, 1_000 + n * 5)).unzip();
    lines.iter_mut().for_each(|l| l.reference = Some("WEB".into()));
    expected.iter_mut().for_each(|e| e.reference = Some("WEB".into()));
    let told_apart = settle(&lines, &expected, &Rules::default(), Day(9));
    assert_eq!((told_apart.groups.len(), told_apart.exceptions.len()), (200, 0));
    lines.iter_mut().for_each(|l| (l.gross, l.net) = (1_000, 1_000));
    expected.iter_mut().for_each(|e| e.amount = 1_000);
    let alike = settle(&lines, &expected, &Rules::default(), Day(9));
    assert_eq!((alike.groups.len(), alike.exceptions.len()), (0, 400));
    assert!(alike.exceptions.iter().all(|e| e.class == Class::Ambiguous));
    assert!(alike.exceptions.iter().all(|e| e.nearest.as_ref().unwrap().reason == Reason::TooMany));
}

#[test]
fn the_largest_amounts_do_not_overflow() {
    let ends = [i64::MAX, i64::MIN, i64::MAX - 1, 1];
    let (mut lines, mut expected): (Vec<_>, Vec<_>) =
        ends.into_iter().zip(0..).map(|(minor, n)| bare(n, minor)).unzip();
    lines.iter_mut().for_each(|l| l.reference = Some("r".into()));
    expected.iter_mut().for_each(|e| e.reference = Some("r".into()));
    assert_eq!(settle(&lines, &expected, &Rules::default(), Day(2)).groups.len(), 4);
    expected.iter_mut().for_each(|e| e.kind = Kind::Adjustment);
    let mixed = settle(&lines, &expected, &Rules::default(), Day(2));
    let matched: usize = mixed.groups.iter().map(|g| g.expected.len()).sum();
    assert_eq!(matched + mixed.open_expected.len(), 4);
}

#[test]
#[ignore = "for measuring by hand: 200,000 lines"]
fn two_hundred_thousand_lines() {
    let m = market(9, 167_000, 100);
    println!("{} lines, {} expectations, {} planted", m.lines.len(), m.expected.len(), m.planted.len());
    let outcome = settle(&m.lines, &m.expected, &m.rules, m.today);
    assert_eq!(excepted(&outcome), m.planted);
}
