//! Batches through entries and checker: what is sound passes, what was tampered with does not.

use std::collections::{BTreeMap, BTreeSet};

use super::accepted::{Acceptance, BY_PERSON, Said};
use super::certificate::{Certificate, certify, hash};
use super::check::{Rejection, Statement, Tally, Verdict, check, check_run, check_section};
use super::matching_tests::{Market, market};
use super::rates::{Rate, Rates, exchanged};
use super::*;
use crate::journal::{Entry, Role, TrialBalance};
use crate::money::{Currency, Money};
use crate::time::Timestamp;

fn cur(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

/// Everything the checker is shown for one batch, owned.
#[derive(Clone)]
struct Case {
    batch: Batch,
    lines: Vec<SettlementLine>,
    other_lines: Vec<SettlementLine>,
    expected: Vec<Expected>,
    certificates: Vec<Certificate>,
    explained: Vec<Explained>,
    accepted: Vec<Acceptance>,
    open_lines: Vec<Box<str>>,
    open_expected: Vec<Box<str>>,
    entries: Vec<Entry>,
    rates: BTreeMap<Box<str>, Rate>,
    rules: Rules,
    /// Rules that came later, and the lines under them.
    later: Option<(Rules, Vec<Box<str>>)>,
}

impl Case {
    fn check(&self) -> Result<Verdict, Vec<Rejection>> {
        self.check_with(&[])
    }

    fn check_with(&self, sections: &[Tally]) -> Result<Verdict, Vec<Rejection>> {
        let rules = self.kept();
        check(&Statement { sections, ..self.statement(&rules) })
    }

    fn statement<'a>(&'a self, rules: &'a RuleBook) -> Statement<'a> {
        Statement {
            batch: &self.batch,
            lines: &self.lines,
            other_lines: &self.other_lines,
            expected: &self.expected,
            certificates: &self.certificates,
            explained: &self.explained,
            accepted: &self.accepted,
            open_lines: &self.open_lines,
            open_expected: &self.open_expected,
            entries: &self.entries,
            rates: &self.rates,
            rules,
            sections: &[],
        }
    }

    fn kept(&self) -> RuleBook {
        let book = RuleBook::new(&self.rules);
        match &self.later {
            Some((rules, lines)) => book.and(rules, lines.iter()),
            None => book,
        }
    }

    /// Booked anew, with what stands in it now.
    fn book(&mut self, posted: impl Fn(&str) -> bool) {
        let groups: Vec<Group> = self.certificates.iter().map(|c| c.group.clone()).collect();
        let rules = self.kept();
        let to_book = ToBook {
            batch: &self.batch,
            lines: &self.lines,
            groups: &groups,
            expected: &self.expected,
            explained: &self.explained,
            rates: &self.rates,
            rules: &rules,
        };
        self.entries = entries(&to_book, posted).unwrap();
    }

    /// A batch of a market as the nightly job would post it.
    fn of(m: &Market, outcome: &Outcome, batch: &Batch, posted: impl Fn(&str) -> bool) -> Self {
        let mut seen = BTreeSet::new();
        let all: Vec<SettlementLine> = m.lines.iter().filter(|l| seen.insert(&l.id)).cloned().collect();
        let lines: Vec<SettlementLine> = all.iter().filter(|l| l.batch == batch.id).cloned().collect();
        let own: BTreeSet<&Box<str>> = lines.iter().map(|l| &l.id).collect();
        let groups: Vec<Group> =
            outcome.groups.iter().filter(|g| g.lines.iter().any(|id| own.contains(id))).cloned().collect();
        let named: BTreeSet<&Box<str>> = groups.iter().flat_map(|g| &g.expected).collect();
        let shared: BTreeSet<&Box<str>> = groups.iter().flat_map(|g| &g.lines).collect();
        let other_lines = all
            .iter()
            .filter(|l| shared.contains(&l.id) && !own.contains(&l.id))
            .cloned()
            .collect::<Vec<_>>();
        let expected: Vec<Expected> = m.expected.iter().filter(|e| named.contains(&e.id)).cloned().collect();
        let explained: Vec<Explained> =
            outcome.explained.iter().filter(|x| own.contains(&x.line)).cloned().collect();
        let open_lines = outcome.open_lines.iter().filter(|id| own.contains(id)).cloned().collect();
        let mut case = Self {
            batch: batch.clone(),
            certificates: certify(&groups, &all, &expected),
            lines,
            other_lines,
            expected,
            explained,
            accepted: Vec::new(),
            open_lines,
            open_expected: Vec::new(),
            entries: Vec::new(),
            rates: BTreeMap::new(),
            rules: m.rules.clone(),
            later: None,
        };
        case.book(posted);
        case
    }
}

/// The entry the books made when the money moved.
fn booked(e: &Expected) -> Entry {
    let money = |minor| Money::new(minor, e.currency);
    let lines = [
        (Role::GatewayClearing, money(e.amount - e.booked_fee)),
        (Role::Fees, money(e.booked_fee)),
        (Role::Receivable, money(-e.amount)),
    ];
    Entry::new(e.id.to_string(), &"gateway".into(), Timestamp(0), "", &lines).unwrap()
}

#[test]
fn every_batch_of_a_market_passes_and_clearing_holds_only_what_is_open() {
    let m = market(11, 4_000, 12);
    let outcome = settle(&m.lines, &m.expected, &m.rules, m.today);
    let certificates = certify(&outcome.groups, &m.lines, &m.expected);
    let run = |outcome: &Outcome, certificates: &[Certificate]| {
        check_run(outcome, certificates, &m.lines, &m.expected, &[], &m.rules)
    };
    assert_eq!(run(&outcome, &certificates), Ok(()));
    assert!(run(&outcome, &certificates[1..]).is_err());
    let mut forgetful = outcome.clone();
    let forgotten = forgetful.open_expected.pop().unwrap();
    assert_eq!(run(&forgetful, &certificates), Err(vec![Rejection::Lost(forgotten)]));
    let mut books = TrialBalance::default();
    let mut verdicts = [0, 0];
    let mut ids = BTreeSet::new();
    for batch in &m.batches {
        let case = Case::of(&m, &outcome, batch, |_| false);
        match case.check() {
            Ok(Verdict::Closed) => verdicts[0] += 1,
            Ok(Verdict::Open) => verdicts[1] += 1,
            other => panic!("{}: {other:?}", batch.id),
        }
        for entry in &case.entries {
            assert!(ids.insert(entry.id.clone()), "{} in two batches", entry.id);
            books.add(entry);
        }
    }
    assert!(verdicts[0] > 20 && verdicts[1] > 20, "{verdicts:?}");
    // What evidence proves is booked by then, what is unproven is not.
    let proven: BTreeSet<_> = outcome.evidence.iter().map(|e| &e.expected).collect();
    let open: BTreeSet<_> = outcome.open_expected.iter().collect();
    let real = m.expected.iter().filter(|e| e.standing == Standing::Booked || proven.contains(&e.id));
    real.clone().for_each(|e| books.add(&booked(e)));
    assert!(books.unbalanced().is_empty());
    for currency in ["USD", "EUR", "JPY", "GBP"].map(cur) {
        let left: i64 =
            real.clone().filter(|e| open.contains(&e.id) && e.currency == currency).map(|e| e.amount).sum();
        assert_eq!(books.of(Role::GatewayClearing, currency), i128::from(left), "{currency}");
    }
    for role in [Role::Fees, Role::Tax, Role::Conversion, Role::Bank, Role::Suspense] {
        assert_ne!(books.of(role, cur("EUR")).abs() + books.of(role, cur("USD")).abs(), 0, "{role:?}");
    }
    assert_ne!(books.of(Role::Conversion, cur("GBP")), 0);
    assert!(books.0.keys().all(|(_, role)| *role != Role::Fx), "no rate of the books is known");
}

/// A closed batch with a tolerated, a converted and a split group, and one that is open.
fn closed() -> Case {
    let m = market(12, 9_000, 0);
    let outcome = settle(&m.lines, &m.expected, &m.rules, m.today);
    let cases = m.batches.iter().map(|b| Case::of(&m, &outcome, b, |_| false));
    let rich = |case: &Case| {
        let groups = || case.certificates.iter().map(|c| &c.group);
        groups().any(|g| g.tolerance.is_some())
            && groups().any(|g| g.currency != case.batch.currency)
            && groups().any(|g| g.lines.len() == 1 && g.expected.len() == 2)
            && groups().any(|g| g.tier == Tier::Card)
            && case.lines.iter().any(|l| l.kind == Kind::Dispute)
    };
    let case = cases.into_iter().find(rich).unwrap();
    assert_eq!(case.check(), Ok(Verdict::Closed));
    case
}

fn find(case: &Case, fits: impl Fn(&Group) -> bool) -> usize {
    case.certificates.iter().position(|c| fits(&c.group)).unwrap()
}

/// Seals a changed group again, as someone would who can compute the hash.
fn reseal(case: &mut Case, i: usize, change: impl Fn(&mut Group)) {
    let mut group = case.certificates[i].group.clone();
    change(&mut group);
    let all: Vec<&SettlementLine> = case.lines.iter().chain(&case.other_lines).collect();
    let l: Vec<&SettlementLine> =
        group.lines.iter().map(|id| *all.iter().find(|l| l.id == *id).unwrap()).collect();
    let e: Vec<&Expected> =
        group.expected.iter().map(|id| case.expected.iter().find(|e| e.id == *id).unwrap()).collect();
    let hash = hash(&group, &l, &e);
    case.certificates[i] = Certificate { group, hash };
}

type Tamper = (&'static str, fn(&mut Case), &'static str);

const TAMPERED: &[Tamper] = &[
    (
        "the payout is a cent more",
        |c| {
            let Funding::Funded { payout, .. } = &mut c.batch.funding else { panic!() };
            *payout += 1;
        },
        "come to",
    ),
    (
        "a line is left out",
        |c| {
            c.lines.remove(0);
        },
        "come to",
    ),
    ("a line is there twice", |c| c.lines.push(c.lines[0].clone()), "used twice"),
    ("a line is of another batch", |c| c.lines[0].batch = "other".into(), "another batch"),
    ("a line is in another currency", |c| c.lines[0].currency = cur("CHF"), "currency of the batch"),
    ("a fee does not fit the net", |c| c.lines[0].fee += 1, "net is not gross less fee"),
    ("more tax than fee", |c| c.lines[0].fee_tax = 1_000_000, "more tax"),
    ("an expectation was changed after matching", |c| c.expected[0].due.0 += 1, "the hash is another"),
    ("a sum is forged", |c| reseal(c, 0, |g| g.lines_sum += 1), "the sums are others"),
    (
        "a difference without a tolerance",
        |c| {
            let i = find(c, |g| g.tolerance.is_some());
            reseal(c, i, |g| g.tolerance = None);
        },
        "differ without a tolerance",
    ),
    (
        "a tolerance nobody wrote",
        |c| {
            let i = find(c, |g| g.tolerance.is_some());
            reseal(c, i, |g| g.tolerance = Some("generous".into()));
        },
        "that no rule gives",
    ),
    (
        "a tolerance beyond its rule",
        |c| {
            c.rules.tolerances.get_mut("rounding").unwrap().up_to = 0;
        },
        "does not cover",
    ),
    (
        "a stronger tier is claimed",
        |c| {
            let i = find(c, |g| g.tier == Tier::Card);
            reseal(c, i, |g| g.tier = Tier::OwnId);
        },
        "does not share",
    ),
    (
        "two groups are melted into one",
        |c| {
            let i = find(c, |g| g.expected.len() == 2);
            let j = find(c, |g| g.lines.len() == 1 && g.expected.len() == 1 && g.tolerance.is_none());
            let (lines, sum) = (c.certificates[j].group.lines.clone(), c.certificates[j].group.lines_sum);
            reseal(c, i, |g| {
                g.lines.extend(lines.clone());
                g.lines_sum += sum;
            });
        },
        "one to many or many to one",
    ),
    (
        "a certificate is lost",
        |c| {
            c.certificates.pop();
        },
        "neither matched",
    ),
    ("a certificate is there twice", |c| c.certificates.push(c.certificates[0].clone()), "used twice"),
    (
        "a matched line is called open as well",
        |c| c.open_lines.push(c.certificates[0].group.lines[0].clone()),
        "used twice",
    ),
    (
        "a refund is explained away",
        |c| {
            let i = find(c, |g| g.lines.len() == 1 && g.expected.len() == 1);
            let line = c.certificates.remove(i).group.lines.remove(0);
            c.explained.push(Explained { line, rule: "monthly".into(), account: Role::Fees });
        },
        "does not cover it",
    ),
    (
        "an unknown effect is taken for matched by looks",
        |c| {
            let i = find(c, |g| g.tier == Tier::Card);
            let id = c.certificates[i].group.expected[0].clone();
            c.expected.iter_mut().find(|e| e.id == id).unwrap().standing = Standing::Unknown;
            reseal(c, i, |_| {});
        },
        "may not be matched so",
    ),
    ("days beyond the window", |c| c.rules.by_content.late = -1, "further apart"),
    (
        "an entry is left out",
        |c| {
            c.entries.remove(0);
        },
        "clearing is left",
    ),
    ("an entry is there twice", |c| c.entries.push(c.entries[0].clone()), "is there twice"),
    ("an entry does not balance", |c| c.entries[0].postings[0].amount.minor += 1, "does not balance"),
    ("an entry of another connection", |c| c.entries[0].connection = "other".into(), "another connection"),
    (
        "the payout is booked short",
        |c| {
            let payout = c.entries.last_mut().unwrap();
            payout.postings[0].amount.minor -= 1;
            payout.postings[1].amount.minor += 1;
        },
        "come to",
    ),
    ("the batch was only submitted", |c| c.batch.funding = Funding::Submitted, "only submitted"),
];

#[test]
fn the_checker_rejects_what_was_tampered_with() {
    let sound = closed();
    for (what, tamper, why) in TAMPERED {
        let mut case = sound.clone();
        tamper(&mut case);
        let rejections = case.check().expect_err(what);
        assert!(rejections.iter().any(|r| r.to_string().contains(why)), "{what}: {rejections:?}");
    }
}

#[test]
fn a_submitted_batch_posts_nothing_until_its_funding_is_known() {
    let m = market(13, 800, 0);
    let outcome = settle(&m.lines, &m.expected, &m.rules, m.today);
    let submitted = Batch { funding: Funding::Submitted, ..m.batches[5].clone() };
    let case = Case::of(&m, &outcome, &submitted, |_| false);
    assert_eq!((case.check(), case.entries.len()), (Ok(Verdict::Submitted), 0));
    let funded = Case::of(&m, &outcome, &m.batches[5], |_| false);
    assert_eq!(funded.check(), Ok(Verdict::Closed));
    assert!(funded.entries.iter().any(|e| e.id == format!("payout:{}", m.batches[5].id)));
}

#[test]
fn what_was_in_suspense_leaves_it_when_it_is_explained() {
    let mut m = market(14, 800, 0);
    let batch = m.batches[9].clone();
    let full = m.expected.clone();
    let named = |l: &SettlementLine| m.expected.iter().any(|e| l.ids.own.is_some() && e.ids.own == l.ids.own);
    let fits = |l: &&SettlementLine| l.batch == batch.id && l.kind == Kind::Charge && l.fee != 0 && named(l);
    let line = m.lines.iter().find(fits).unwrap().clone();
    m.expected.retain(|e| e.ids.own != line.ids.own);
    let before = settle(&m.lines, &m.expected, &m.rules, m.today);
    let first = Case::of(&m, &before, &batch, |_| false);
    assert_eq!(first.check(), Ok(Verdict::Open));
    let posted: BTreeSet<String> = first.entries.iter().map(|e| e.id.clone()).collect();
    assert!(posted.contains(&format!("unexplained:{}", line.id)));
    m.expected = full;
    let after = settle(&m.lines, &m.expected, &m.rules, m.today);
    let second = Case::of(&m, &after, &batch, |id| posted.contains(id));
    assert_eq!(second.check(), Ok(Verdict::Closed));
    // Posting is by id: what is there stays, what is new is added; nothing is left in suspense.
    let mut books = TrialBalance::default();
    let fresh = second.entries.iter().filter(|e| !posted.contains(&e.id));
    first.entries.iter().chain(fresh).for_each(|e| books.add(e));
    let rounding: i64 = after
        .groups
        .iter()
        .filter(|g| second.lines.iter().any(|l| l.id == g.lines[0]))
        .map(|g| g.lines_sum - g.expected_sum)
        .sum();
    assert_eq!(books.of(Role::Suspense, batch.currency), -i128::from(rounding));
    let implied: BTreeSet<&str> = second.entries.iter().map(|e| e.id.as_str()).collect();
    assert!(posted.iter().all(|id| implied.contains(id.as_str())), "what was posted is still implied");
}

#[test]
fn presentment_and_settlement_currency_are_both_kept() {
    let case = closed();
    let group = case.certificates.iter().map(|c| &c.group).find(|g| g.currency == cur("GBP")).unwrap();
    let line = case.lines.iter().find(|l| l.id == group.lines[0]).unwrap();
    let entry = case.entries.iter().find(|e| e.id == format!("fx:{}", line.id)).unwrap();
    let of = |role, code| {
        let fits = entry.postings.iter().filter(|p| p.role == role && p.amount.currency == cur(code));
        fits.map(|p| p.amount.minor).sum::<i64>()
    };
    assert_eq!(of(Role::GatewayClearing, "GBP"), -group.expected_sum);
    assert_eq!(of(Role::Conversion, "GBP"), group.expected_sum);
    assert_eq!(of(Role::GatewayClearing, "USD"), line.gross);
    assert_eq!(of(Role::Conversion, "USD"), -line.gross);
}

#[test]
fn what_was_matched_stands_under_the_rules_it_was_matched_by() {
    let mut case = closed();
    let before = case.entries.clone();
    let mut rules = Rules { tax_on_fees: Role::Suspense, ..case.rules.clone() };
    rules.tolerances.clear();
    rules.explain.clear();
    rules.by_gateway_id.late = -1;
    case.later = Some((rules.clone(), Vec::new()));
    case.book(|_| false);
    assert!(case.entries == before && case.check() == Ok(Verdict::Closed));
    // What is matched by the new ones is held to them.
    case.later = Some((rules, case.lines.iter().map(|l| l.id.clone()).collect()));
    case.book(|_| false);
    assert_ne!(case.entries, before);
    let bad: Vec<String> = case.check().unwrap_err().iter().map(ToString::to_string).collect();
    assert!(bad.iter().any(|b| b.contains("a tolerance that no rule gives")), "{bad:?}");
    assert!(bad.iter().any(|b| b.contains("further apart")), "{bad:?}");
}

#[test]
fn what_a_gateway_gives_over_or_under_the_books_rate_is_gain_or_loss() {
    let mut case = closed();
    let exchanged: Vec<(SettlementLine, Day)> =
        exchanged(case.certificates.iter().map(|c| &c.group), &case.lines, &case.expected, &case.rules)
            .into_iter()
            .map(|(line, _, day)| (line.clone(), day))
            .collect();
    let mut rates = Rates::default();
    for (_, day) in &exchanged {
        rates.put(day.plus(-2), cur("USD"), cur("GBP"), "0.8").unwrap();
    }
    for (line, day) in &exchanged {
        case.rates.insert(line.id.clone(), rates.of(cur("GBP"), cur("USD"), *day).unwrap());
    }
    case.book(|_| false);
    assert_eq!(case.check(), Ok(Verdict::Closed));
    let mut books = TrialBalance::default();
    case.entries.iter().filter(|e| e.id.starts_with("fx:")).for_each(|e| books.add(e));
    let given: i64 = exchanged.iter().map(|(line, _)| line.presentment.unwrap().minor).sum();
    let got: i64 = exchanged.iter().map(|(line, _)| line.gross).sum();
    assert_eq!(books.of(Role::Conversion, cur("GBP")), i128::from(given));
    assert_eq!(books.of(Role::Conversion, cur("USD")), -i128::from(given * 5 / 4), "worth, at 1.25");
    assert_eq!(books.of(Role::Fx, cur("USD")), i128::from(given * 5 / 4 - got));
    assert_ne!(given * 5 / 4, got);
    // The checker computes it again.
    let first = exchanged[0].0.id.clone();
    let change = |change: &dyn Fn(&mut Rate)| {
        let mut other = case.clone();
        change(other.rates.get_mut(&first).unwrap());
        other.check().unwrap_err()[0].to_string()
    };
    assert!(change(&|r| r.num += 1).contains("not converted at the rate"));
    assert!(change(&|r| r.from = cur("EUR")).contains("other currencies"));
    assert!(change(&|r| r.day = r.day.plus(3)).contains("another day"));
    assert!(change(&|r| r.day = r.day.plus(-6)).contains("another day"));
    let mut other = case.clone();
    other.rates.clear();
    assert!(other.check().unwrap_err()[0].to_string().contains("without a rate"));
    // A unit put from worth to gain balances, and is refused.
    let mut other = case.clone();
    let entry = other.entries.iter_mut().find(|e| e.id == format!("fx:{first}")).unwrap();
    for posting in entry.postings.iter_mut().filter(|p| p.amount.currency == cur("USD")) {
        match posting.role {
            Role::Conversion => posting.amount.minor += 1,
            Role::Fx => posting.amount.minor -= 1,
            _ => {}
        }
    }
    assert!(other.check().unwrap_err()[0].to_string().contains("not converted at the rate"));
}

#[test]
fn a_payout_that_came_back_returns_to_clearing() {
    let m = market(15, 3_000, 5);
    let outcome = settle(&m.lines, &m.expected, &m.rules, m.today);
    let line = m.lines.iter().find(|l| l.kind == Kind::PayoutReversal).unwrap();
    let batch = m.batches.iter().find(|b| b.id == line.batch).unwrap();
    let case = Case::of(&m, &outcome, batch, |_| false);
    let id = format!("payout_reversal:{}", line.ids.own.as_ref().unwrap());
    let entry = case.entries.iter().find(|e| e.id == id).unwrap();
    let sides: Vec<_> = entry.postings.iter().map(|p| (p.role, p.amount.minor)).collect();
    assert_eq!(sides, [(Role::GatewayClearing, line.gross), (Role::Bank, -line.gross)]);
}

/// An open batch of which a person accepts a line.
#[test]
fn what_a_person_accepts_is_explained_by_a_word_that_holds() {
    let m = market(11, 4_000, 12);
    let outcome = settle(&m.lines, &m.expected, &m.rules, m.today);
    let mut cases = m.batches.iter().map(|b| Case::of(&m, &outcome, b, |_| false));
    let mut case = cases.find(|c| c.open_lines.len() > 1 && c.check() == Ok(Verdict::Open)).unwrap();
    let said = Said { under: "missing_here-1", by: "ada", at: Timestamp(1), reason: "seen" };
    let open = std::mem::take(&mut case.open_lines);
    for id in &open {
        let line = case.lines.iter().find(|l| l.id == *id).unwrap();
        let account = if line.kind == Kind::PayoutReversal { Role::Bank } else { Role::ChargebackLoss };
        case.accepted.push(Acceptance::of_line(line, account, &said));
        case.explained.push(Explained { line: id.clone(), rule: BY_PERSON.into(), account });
    }
    // As they were posted when they were open.
    let posted = |entry: &str| open.iter().any(|id| entry == format!("unexplained:{id}"));
    case.book(posted);
    assert_eq!(case.check(), Ok(Verdict::Closed));
    let mut books = TrialBalance::default();
    case.entries.iter().filter(|e| e.id.contains("explained:")).for_each(|e| books.add(e));
    assert_eq!(books.of(Role::Suspense, case.batch.currency), 0);
    type Change = fn(&mut Case);
    let changes: [(Change, &str); 6] = [
        (|c| c.accepted[0].reason = "well".into(), "the hash is another"),
        (|c| c.accepted[0].under = "other".into(), "the hash is another"),
        (|c| c.accepted[0].by = String::new().into(), "by whom"),
        (|c| c.accepted[0].account = Role::GatewayClearing, "may not take it"),
        (|c| c.accepted.clear(), "does not cover it"),
        (|c| c.accepted.push(c.accepted[0].clone()), "said twice"),
    ];
    for (change, said) in changes {
        let mut other = case.clone();
        change(&mut other);
        let bad = other.check().unwrap_err();
        assert!(bad.iter().any(|r| r.to_string().contains(said)), "{said}: {bad:?}");
    }
}

#[test]
fn an_expectation_is_explained_by_a_persons_word_alone() {
    let m = market(12, 9_000, 0);
    let booked = m.expected.iter().find(|e| e.standing == Standing::Booked).unwrap();
    let said = Said { under: "missing_at_gateway-1", by: "ada", at: Timestamp(1), reason: "seen" };
    let word = Acceptance::of_expected(booked, Role::ChargebackLoss, &said);
    let stands = [Expected { standing: Standing::Explained, ..booked.clone() }];
    let run = |words: &[Acceptance]| {
        check_run(&settle(&[], &stands, &m.rules, m.today), &[], &[], &stands, words, &m.rules)
    };
    assert_eq!(run(std::slice::from_ref(&word)), Ok(()));
    let why = |words: &[Acceptance]| run(words).unwrap_err()[0].to_string();
    assert!(why(&[]).contains("nobody explained it"));
    for changed in [
        Acceptance { reason: "well".into(), ..word.clone() },
        Acceptance { was: Some(Standing::Ruled), ..word.clone() },
    ] {
        assert!(why(&[changed]).contains("the hash is another"));
    }
    assert!(
        why(&[Acceptance { was: Some(Standing::Unknown), ..word.clone() }]).contains("not booked or ruled")
    );
    // What it takes out of clearing it puts back.
    let gate = "gate".into();
    let off = accepted::written_off(booked, &word, &gate).unwrap().unwrap();
    let back = accepted::put_back(booked, &word, &gate, Timestamp(9)).unwrap().unwrap();
    let mut books = TrialBalance::default();
    books.add(&off);
    assert_eq!(
        books.of(Role::ChargebackLoss, booked.currency),
        i128::from(booked.amount - booked.booked_fee)
    );
    books.add(&back);
    assert_eq!(books.of(Role::ChargebackLoss, booked.currency), 0);
    assert_ne!(off.id, back.id);
}

/// A closed batch in pieces: what is plain in the first half of the places, in the second, and the rest.
fn in_pieces() -> [Case; 3] {
    static PIECES: std::sync::OnceLock<[Case; 3]> = std::sync::OnceLock::new();
    PIECES.get_or_init(|| cut(&closed())).clone()
}

fn cut(whole: &Case) -> [Case; 3] {
    let empty = || Case {
        batch: whole.batch.clone(),
        lines: Vec::new(),
        other_lines: Vec::new(),
        expected: Vec::new(),
        certificates: Vec::new(),
        explained: Vec::new(),
        accepted: Vec::new(),
        open_lines: Vec::new(),
        open_expected: Vec::new(),
        entries: Vec::new(),
        rates: BTreeMap::new(),
        rules: whole.rules.clone(),
        later: None,
    };
    let mut pieces = [empty(), empty(), empty()];
    for certificate in &whole.certificates {
        let group = &certificate.group;
        let own = whole.lines.iter().find(|l| l.id == group.lines[0]).and_then(|l| l.ids.own.clone());
        let is_plain = group.tier == Tier::OwnId
            && group.lines.len() == 1
            && group.expected.len() == 1
            && group.tolerance.is_none()
            && group.currency == whole.batch.currency;
        let piece = match own.filter(|_| is_plain).map(|own| section_of(&own)) {
            Some(0..=31) => 0,
            Some(_) => 1,
            None => 2,
        };
        let piece = &mut pieces[piece];
        piece.certificates.push(certificate.clone());
        piece.lines.extend(whole.lines.iter().filter(|l| group.lines.contains(&l.id)).cloned());
        piece.expected.extend(whole.expected.iter().filter(|e| group.expected.contains(&e.id)).cloned());
    }
    let [first, second, rest] = &mut pieces;
    for section in [first, second] {
        let posted = whole.entries.iter().filter(|e| {
            let of = e.id.split_once(':').map_or("", |(_, line)| line);
            section.lines.iter().any(|l| *l.id == *of)
        });
        section.entries = posted.cloned().collect();
    }
    rest.other_lines = whole.other_lines.clone();
    rest.explained = whole.explained.clone();
    let taken = |id: &str| pieces.iter().any(|p| p.lines.iter().any(|l| *l.id == *id));
    let others: Vec<_> = whole.lines.iter().filter(|l| !taken(&l.id)).cloned().collect();
    let booked = |id: &str| pieces.iter().any(|p| p.entries.iter().any(|e| e.id == id));
    let entries: Vec<_> = whole.entries.iter().filter(|e| !booked(&e.id)).cloned().collect();
    pieces[2].lines.extend(others);
    pieces[2].entries = entries;
    pieces
}

const HALVES: [(u16, u16); 2] = [(0, 31), (32, 63)];

/// The sections by themselves, then the whole.
fn check_pieces(pieces: &[Case; 3], halves: [(u16, u16); 2]) -> Result<Verdict, Vec<Rejection>> {
    let tally = |i: usize| {
        let rules = pieces[i].kept();
        check_section(&pieces[i].statement(&rules), halves[i])
    };
    let sections = [tally(0)?, tally(1)?];
    let text = serde_json::to_string(&sections).unwrap();
    assert_eq!(serde_json::from_str::<[Tally; 2]>(&text).unwrap(), sections);
    pieces[2].check_with(&sections)
}

#[test]
fn a_batch_in_sections_adds_up_and_what_is_tampered_with_is_refused() {
    let good = in_pieces();
    assert!(good.iter().all(|p| p.certificates.len() > 5), "{:?}", good.map(|p| p.certificates.len()));
    assert_eq!(check_pieces(&in_pieces(), HALVES), Ok(Verdict::Closed));
    // None of the pieces alone is the batch.
    assert!(in_pieces().iter().all(|p| p.check().is_err()));
    let rules = in_pieces()[2].kept();
    assert!(check_section(&in_pieces()[2].statement(&rules), (0, 63)).is_err());
    type Change = fn(&mut [Case; 3]);
    let tampered: [(&str, Change); 9] = [
        ("belongs to another section", |p| {
            let line = p[0].lines[0].clone();
            p[1].lines.push(line);
        }),
        ("neither matched nor open", |p| drop(p[0].certificates.pop())),
        ("the hash is another", |p| p[1].lines[0].gross += 1),
        ("net is not gross less fee", |p| p[0].lines[0].fee += 1),
        ("the lines come to", |p| {
            let c = p[0].certificates.pop().unwrap();
            p[0].lines.retain(|l| !c.group.lines.contains(&l.id));
            p[0].expected.retain(|e| !c.group.expected.contains(&e.id));
        }),
        ("clearing is left with", |p| drop(p[0].entries.pop())),
        ("is there twice", |p| {
            let entry = p[0].entries[0].clone();
            p[0].entries.push(entry);
        }),
        ("is neither matched nor open", |p| {
            let open = p[0].lines[0].id.clone();
            p[0].certificates.retain(|c| !c.group.lines.contains(&open));
            p[0].open_lines.push(open);
        }),
        ("and the payout to", |p| {
            let payout = p[2].entries.iter().position(|e| e.id.starts_with("payout:")).unwrap();
            let entry = p[2].entries.remove(payout);
            p[1].entries.push(entry.clone());
            p[0].entries.push(entry);
        }),
    ];
    for (wanted, change) in tampered {
        let mut pieces = in_pieces();
        change(&mut pieces);
        let said: String =
            check_pieces(&pieces, HALVES).unwrap_err().iter().map(|r| format!("{r}\n")).collect();
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // Sections that share a place may use an expectation twice.
    let overlapping = check_pieces(&in_pieces(), [(0, 32), (32, 63)]);
    assert_eq!(overlapping, Err(vec![Rejection::Sections]));
}
