//! The checker: looks at certificates, entries and a batch again, and shares no code with the matching.
//!
//! It knows only what a match claims and what a batch must add up to, so it is short enough to be read whole.
//! A batch it rejects is not posted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::accepted::{Acceptance, BY_PERSON};
use super::certificate::{Certificate, hash};
use super::line::{Batch, Expected, Funding, Kind, SettlementLine, Standing, section_of};
use super::outcome::{Explained, Group, Outcome, Tier};
use super::rates::Rate;
use super::rule_book::RuleBook;
use super::rules::Rules;
use crate::journal::{Entry, Role};
use crate::money::Currency;

/// What is to be posted for one batch, and what it rests on.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// The batch.
    pub batch: &'a Batch,
    /// All its lines.
    pub lines: &'a [SettlementLine],
    /// Lines of other batches that share a group with them.
    pub other_lines: &'a [SettlementLine],
    /// The expectations: at least those that the certificates name.
    pub expected: &'a [Expected],
    /// A certificate for each group with a line of this batch.
    pub certificates: &'a [Certificate],
    /// Lines of this batch that need no expectation.
    pub explained: &'a [Explained],
    /// The words of people that explain some of them.
    pub accepted: &'a [Acceptance],
    /// Lines of this batch that stay open.
    pub open_lines: &'a [Box<str>],
    /// Those of `expected` that stay open.
    pub open_expected: &'a [Box<str>],
    /// Every entry of this batch.
    pub entries: &'a [Entry],
    /// The books' rates that were used, by line.
    pub rates: &'a BTreeMap<Box<str>, Rate>,
    /// The rules of each line.
    pub rules: &'a RuleBook,
    /// What the sections of a large batch add to its sums; each was checked by itself ([`check_section`]).
    pub sections: &'a [Tally],
}

/// What a batch, or a section of one, adds to the sums that only the whole batch proves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The places of a section ([`section_of`]), first and last; none where it is no section.
    pub parts: Option<(u16, u16)>,
    /// Net of the lines, that of the payout's own line aside; minor units.
    pub net: i128,
    /// What lines of the payout say was paid, where there are any.
    pub paid: Option<i128>,
    /// What entries of the payout move to the bank.
    pub banked: i128,
    /// What clearing is left with in each currency: what the books held for the matched lines, with the entries.
    pub left: Vec<(Currency, i128)>,
}

impl Tally {
    /// Takes another part of the same batch in.
    pub fn add(&mut self, other: &Self) {
        self.net += other.net;
        self.banked += other.banked;
        self.paid = match (self.paid, other.paid) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        for (currency, minor) in &other.left {
            self.leave(*currency, *minor);
        }
    }

    fn leave(&mut self, currency: Currency, minor: i128) {
        match self.left.binary_search_by_key(&currency, |(c, _)| *c) {
            Ok(at) => self.left.iter_mut().skip(at).take(1).for_each(|(_, left)| *left += minor),
            Err(at) => self.left.insert(at, (currency, minor)),
        }
    }

    /// What must hold of the whole.
    fn adds_up(&self, batch: &Batch, bad: &mut Vec<Rejection>) {
        let Funding::Funded { payout, .. } = batch.funding else { return };
        let payout = wide(payout);
        for lines in [Some(self.net), self.paid, Some(self.banked)].into_iter().flatten() {
            if lines != payout {
                bad.push(Rejection::Sum { lines, payout });
            }
        }
        let left = self.left.iter().filter(|(_, left)| *left != 0);
        bad.extend(left.map(|&(currency, left)| Rejection::Clearing { currency, left }));
    }
}

/// How a batch that adds up stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Funded, every line matched or explained.
    Closed,
    /// Funded and in balance, with lines in suspense.
    Open,
    /// Submitted; the clearing account stays open until funding is known.
    Submitted,
}

/// Why a batch may not be posted. The text names ids and amounts, nothing personal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Rejection {
    /// A line that is not of this batch, or does not add up in itself.
    #[error("line {0}: {1}")]
    Line(Box<str>, &'static str),
    /// The lines and the payout differ.
    #[error("the lines come to {lines} and the payout to {payout} minor units: list the batch again")]
    Sum {
        /// Sum of the lines' net amounts.
        lines: i128,
        /// The payout.
        payout: i128,
    },
    /// A certificate that does not hold.
    #[error("certificate of {0}: {1}")]
    Certificate(Box<str>, &'static str),
    /// An item that is used twice.
    #[error("{0} is used twice")]
    Twice(Box<str>),
    /// An item that is neither matched, nor open, nor explained.
    #[error("{0} is neither matched nor open nor explained")]
    Lost(Box<str>),
    /// An explanation that no rule gives.
    #[error("line {0} is explained by a rule that does not cover it")]
    Explained(Box<str>),
    /// A person's word that does not hold.
    #[error("what a person said of {0}: {1}")]
    Accepted(Box<str>, &'static str),
    /// An entry that may not be posted for this batch.
    #[error("entry {0}: {1}")]
    Entry(String, &'static str),
    /// Two sections of a large batch may hold the same line.
    #[error("two sections of the batch may hold the same line")]
    Sections,
    /// The clearing account does not return to zero.
    #[error("clearing is left with {left} minor units of {currency}")]
    Clearing {
        /// In this currency.
        currency: Currency,
        /// Debit less credit.
        left: i128,
    },
}

/// Checks a batch.
///
/// # Errors
/// Every rejection, sorted.
pub fn check(statement: &Statement<'_>) -> Result<Verdict, Vec<Rejection>> {
    let mut bad = Vec::new();
    let mut whole = looked_at(statement, &mut bad);
    statement.sections.iter().for_each(|section| whole.add(section));
    whole.adds_up(statement.batch, &mut bad);
    let mut parts: Vec<(u16, u16)> = statement.sections.iter().filter_map(|s| s.parts).collect();
    parts.sort_unstable();
    let apart = |pair: &[(u16, u16)]| matches!(pair, [(_, to), (from, _)] if to < from);
    if parts.len() != statement.sections.len() || !parts.windows(2).all(apart) {
        bad.push(Rejection::Sections);
    }
    bad.sort();
    bad.dedup();
    match statement.batch.funding {
        _ if !bad.is_empty() => Err(bad),
        Funding::Submitted => Ok(Verdict::Submitted),
        Funding::Funded { .. } if statement.open_lines.is_empty() => Ok(Verdict::Closed),
        Funding::Funded { .. } => Ok(Verdict::Open),
    }
}

/// Checks a section of a large batch: lines that are each matched, alone with its expectation, by the gateway's own id. That id says
/// in which place a line is ([`section_of`]), so that no expectation is used in two sections: `parts` are the first and last of this one.
///
/// # Errors
/// Every rejection, sorted.
pub fn check_section(statement: &Statement<'_>, parts: (u16, u16)) -> Result<Tally, Vec<Rejection>> {
    let mut bad = Vec::new();
    let tally = Tally { parts: Some(parts), ..looked_at(statement, &mut bad) };
    for line in statement.lines {
        let place = line.ids.own.as_deref().map(section_of);
        if !place.is_some_and(|place| (parts.0..=parts.1).contains(&place)) {
            bad.push(Rejection::Line(line.id.clone(), "belongs to another section"));
        }
    }
    for group in statement.certificates.iter().map(|c| &c.group) {
        if group.tier != Tier::OwnId || group.lines.len() != 1 || group.expected.len() != 1 {
            let name = group.lines.first().cloned().unwrap_or_default();
            bad.push(Rejection::Certificate(
                name,
                "is none of a line alone with its expectation, by its own id",
            ));
        }
    }
    let beside = statement.open_lines.iter().chain(statement.explained.iter().map(|x| &x.line));
    bad.extend(beside.map(|id| Rejection::Lost(id.clone())));
    bad.sort();
    bad.dedup();
    if bad.is_empty() { Ok(tally) } else { Err(bad) }
}

/// Everything that one part of a batch can be asked.
fn looked_at(statement: &Statement<'_>, bad: &mut Vec<Rejection>) -> Tally {
    let mut tally = lines_add_up(statement, bad);
    certificates_hold(statement, bad);
    let Statement {
        lines,
        expected,
        certificates,
        explained,
        accepted,
        open_lines,
        open_expected,
        rules,
        ..
    } = statement;
    let open = Sides { lines: open_lines, expected: open_expected };
    let said = Words { explained, accepted };
    all_accounted_for(lines, expected, certificates, &said, &open, &|line| rules.of(line), bad);
    words_hold(lines, &said, bad);
    clearing_left(statement, &mut tally, bad);
    exchange_holds(statement, bad);
    tally
}

/// Checks that a whole run accounts for every line and every expectation once: matched under a certificate,
/// explained, or open. An expectation is explained by a person's word alone, which is among `accepted`.
///
/// # Errors
/// Every rejection, sorted.
pub fn check_run(
    outcome: &Outcome,
    certificates: &[Certificate],
    lines: &[SettlementLine],
    expected: &[Expected],
    accepted: &[Acceptance],
    rules: &Rules,
) -> Result<(), Vec<Rejection>> {
    let mut bad = Vec::new();
    let open = Sides { lines: &outcome.open_lines, expected: &outcome.open_expected };
    let said = Words { explained: &outcome.explained, accepted: &[] };
    all_accounted_for(lines, expected, certificates, &said, &open, &|_| rules, &mut bad);
    for e in expected.iter().filter(|e| e.standing == Standing::Explained) {
        let word = accepted.iter().find(|a| a.item == e.id && a.was.is_some());
        let wrong = word.map_or(Some("nobody explained it"), |a| a.wrong_of_expected(e));
        bad.extend(wrong.map(|why| Rejection::Accepted(e.id.clone(), why)));
    }
    bad.sort();
    bad.dedup();
    if bad.is_empty() { Ok(()) } else { Err(bad) }
}

/// Ids of what stays open.
struct Sides<'a> {
    lines: &'a [Box<str>],
    expected: &'a [Box<str>],
}

/// What says why a line needs no expectation.
struct Words<'a> {
    explained: &'a [Explained],
    accepted: &'a [Acceptance],
}

/// Each person's word is about a line of the batch, is whole, and explains that line.
fn words_hold(lines: &[SettlementLine], said: &Words<'_>, bad: &mut Vec<Rejection>) {
    let own: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
    let mut seen = BTreeSet::new();
    for word in said.accepted {
        let used = said.explained.iter().any(|x| x.line == word.item && x.rule.as_ref() == BY_PERSON);
        let wrong = match own.get(word.item.as_ref()) {
            None => Some("names an item that is not there"),
            Some(_) if !used => Some("explains nothing"),
            Some(_) if !seen.insert(&word.item) => Some("is said twice"),
            Some(line) => word.wrong_of_line(line),
        };
        bad.extend(wrong.map(|why| Rejection::Accepted(word.item.clone(), why)));
    }
}

fn wide(minor: i64) -> i128 {
    i128::from(minor)
}

fn lines_add_up(s: &Statement<'_>, bad: &mut Vec<Rejection>) -> Tally {
    let mut seen = BTreeSet::new();
    let mut tally = Tally::default();
    for line in s.lines {
        let mut no = |why| bad.push(Rejection::Line(line.id.clone(), why));
        if line.batch != s.batch.id {
            no("belongs to another batch");
        }
        if line.currency != s.batch.currency {
            no("is not in the currency of the batch");
        }
        if wide(line.net) != wide(line.gross) - wide(line.fee) {
            no("net is not gross less fee");
        }
        if line.fee_tax != 0 && (line.fee_tax < 0) != (line.fee < 0)
            || line.fee_tax.unsigned_abs() > line.fee.unsigned_abs()
        {
            no("more tax on the fee than fee");
        }
        if !seen.insert(&line.id) {
            bad.push(Rejection::Twice(line.id.clone()));
        }
        if line.kind == Kind::Payout {
            tally.paid = Some(tally.paid.unwrap_or(0) - wide(line.gross));
            tally.net -= wide(line.fee);
        } else {
            tally.net += wide(line.net);
        }
    }
    tally
}

fn certificates_hold(s: &Statement<'_>, bad: &mut Vec<Rejection>) {
    let all = s.lines.iter().chain(s.other_lines);
    let lines: BTreeMap<&str, &SettlementLine> = all.map(|l| (l.id.as_ref(), l)).collect();
    let expected: BTreeMap<&str, &Expected> = s.expected.iter().map(|e| (e.id.as_ref(), e)).collect();
    for certificate in s.certificates {
        let group = &certificate.group;
        let name = group.lines.first().or(group.expected.first()).cloned().unwrap_or_default();
        let l: Vec<&SettlementLine> =
            group.lines.iter().filter_map(|i| lines.get(i.as_ref()).copied()).collect();
        let e: Vec<&Expected> =
            group.expected.iter().filter_map(|i| expected.get(i.as_ref()).copied()).collect();
        let known = l.len() == group.lines.len() && e.len() == group.expected.len();
        let wrong = if known {
            wrong_with(certificate, &l, &e, s.rules.of(&name))
        } else {
            Some("names an item that is not there")
        };
        if let Some(why) = wrong {
            bad.push(Rejection::Certificate(name, why));
        }
    }
}

fn wrong_with(
    certificate: &Certificate,
    lines: &[&SettlementLine],
    expected: &[&Expected],
    rules: &Rules,
) -> Option<&'static str> {
    let group = &certificate.group;
    if hash(group, lines, expected) != certificate.hash {
        return Some("the hash is another: the group or its items were changed");
    }
    let pair = lines.len() == 1 && expected.len() == 1;
    if lines.is_empty() || expected.is_empty() || lines.len() > 1 && expected.len() > 1 {
        return Some("is not one to one, one to many or many to one");
    }
    let amounts: Vec<i128> = lines.iter().filter_map(|l| l.amount_in(group.currency)).map(wide).collect();
    if amounts.len() != lines.len() || expected.iter().any(|e| e.currency != group.currency) {
        return Some("an item is in another currency");
    }
    let due: i128 = expected.iter().map(|e| wide(e.amount)).sum();
    let came: i128 = amounts.iter().sum();
    if came != wide(group.lines_sum) || due != wide(group.expected_sum) {
        return Some("the sums are others");
    }
    let rule = group.tolerance.as_ref().map(|name| rules.tolerances.get(name.as_ref()));
    let kind = expected.first().map(|e| e.kind)?;
    match (came - due, rule) {
        (0, None) => {}
        (0, Some(_)) => return Some("a tolerance where nothing differs"),
        (_, None) => return Some("the sums differ without a tolerance"),
        (_, Some(None)) => return Some("a tolerance that no rule gives"),
        (by, Some(Some(rule))) => {
            let within = by.unsigned_abs() <= u128::from(rule.up_to.unsigned_abs());
            if !pair || !within || !rule.covers(kind, group.currency) {
                return Some("the tolerance does not cover the difference");
            }
        }
    }
    let named = matches!(group.tier, Tier::OwnId | Tier::ParentId | Tier::PaymentId | Tier::Reference);
    for (line, e) in lines.iter().flat_map(|l| expected.iter().map(move |e| (l, e))) {
        if !claim_holds(group.tier, line, e) {
            return Some("an item does not share what it is said to be matched by");
        }
        if (pair || !named) && line.kind != e.kind {
            return Some("the kinds differ");
        }
        let may = match e.standing {
            Standing::Booked | Standing::Ruled => true,
            Standing::Explained => false,
            Standing::Unknown => {
                let of_effect = matches!(group.tier, Tier::OwnId | Tier::Reference);
                of_effect || named && e.kind == Kind::Charge
            }
        };
        if !may {
            return Some("an expectation that may not be matched so");
        }
        let window = match group.tier {
            Tier::OwnId | Tier::ParentId | Tier::PaymentId => rules.by_gateway_id,
            Tier::Reference => rules.by_reference,
            Tier::Card | Tier::Amount => rules.by_content,
        };
        if !window.holds(line.day, e.due) {
            return Some("the days are further apart than the rules allow");
        }
    }
    None
}

/// Whether the two share what the tier says they do.
fn claim_holds(tier: Tier, line: &SettlementLine, e: &Expected) -> bool {
    let (l, x) = (&line.ids, &e.ids);
    let any = |list: [&Option<Box<str>>; 3]| list.into_iter().flatten().next().cloned();
    let parent = |own: &Option<Box<str>>, parent: &Option<Box<str>>| any([parent, own, &None]);
    let same = |a: Option<Box<str>>, b: Option<Box<str>>| a.is_some() && a == b;
    match tier {
        Tier::OwnId => same(l.own.clone(), x.own.clone()),
        Tier::ParentId => same(parent(&l.own, &l.parent), parent(&x.own, &x.parent)),
        Tier::PaymentId => same(any([&l.payment, &l.parent, &l.own]), any([&x.payment, &x.parent, &x.own])),
        Tier::Reference => same(line.reference.clone(), e.reference.clone()),
        Tier::Card => line.card.is_some() && line.card == e.card,
        Tier::Amount => line.card.is_none() || e.card.is_none() || line.card == e.card,
    }
}

fn all_accounted_for<'r>(
    lines: &[SettlementLine],
    expected: &[Expected],
    certificates: &[Certificate],
    said: &Words<'_>,
    open: &Sides<'_>,
    rules: &dyn Fn(&str) -> &'r Rules,
    bad: &mut Vec<Rejection>,
) {
    let groups = || certificates.iter().map(|c| &c.group);
    let explained_lines = said.explained.iter().map(|x| &x.line);
    let uses = count(groups().flat_map(|g| &g.lines).chain(explained_lines).chain(open.lines), bad);
    let own: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
    bad.extend(own.keys().filter(|id| !uses.contains(*id)).map(|id| Rejection::Lost((*id).into())));
    for x in said.explained {
        let by_rule = own.get(x.line.as_ref()).and_then(|line| rules(&line.id).explains(line));
        let of_it = |a: &Acceptance| a.item == x.line && a.account == x.account;
        let by_person = x.rule.as_ref() == BY_PERSON && said.accepted.iter().any(of_it);
        if by_rule != Some((x.rule.as_ref(), x.account)) && !by_person {
            bad.push(Rejection::Explained(x.line.clone()));
        }
    }
    let uses = count(groups().flat_map(|g| &g.expected).chain(open.expected), bad);
    let due = expected.iter().filter(|e| e.standing != Standing::Explained);
    let lost = due.filter(|e| !uses.contains(e.id.as_ref()));
    bad.extend(lost.map(|e| Rejection::Lost(e.id.clone())));
}

/// The ids, and a rejection for each that comes twice.
fn count<'a>(ids: impl Iterator<Item = &'a Box<str>>, bad: &mut Vec<Rejection>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id.as_ref()) {
            bad.push(Rejection::Twice(id.clone()));
        }
    }
    seen
}

/// What was settled in another currency is converted at the books' rate that is stated for it, and the rest is gain or loss;
/// where none is stated there is none.
fn exchange_holds(s: &Statement<'_>, bad: &mut Vec<Rejection>) {
    let groups = || s.certificates.iter().map(|c| &c.group);
    let group_of: BTreeMap<&str, &Group> =
        groups().flat_map(|g| g.lines.iter().map(move |l| (l.as_ref(), g))).collect();
    let expected: BTreeMap<&str, &Expected> = s.expected.iter().map(|e| (e.id.as_ref(), e)).collect();
    let booked = |line: &str| {
        let group = group_of.get(line)?;
        let first = expected.get(group.expected.first()?.as_ref())?;
        Some((group.currency, first.due.plus(-s.rules.of(line).due.get(&first.kind).copied().unwrap_or(0))))
    };
    for entry in s.entries {
        let sum = |role: Role, settled: bool| -> i128 {
            let of_it = |p: &&crate::journal::Posting| {
                p.role == role && (p.amount.currency == s.batch.currency) == settled
            };
            entry.postings.iter().filter(of_it).map(|p| wide(p.amount.minor)).sum()
        };
        let Some(line) = entry.id.strip_prefix("fx:") else {
            if entry.postings.iter().any(|p| p.role == Role::Conversion) {
                bad.push(Rejection::Entry(entry.id.clone(), "converts what was settled in its own currency"));
            }
            continue;
        };
        let (given, worth) = (sum(Role::Conversion, false), -sum(Role::Conversion, true));
        let (gain, got) = (-sum(Role::Fx, true), sum(Role::GatewayClearing, true));
        let holds = match (s.rates.get(line), booked(line)) {
            (_, None) => Some("is of a line that is not matched"),
            (None, _) => (gain != 0 || worth != got).then_some("a gain or a loss without a rate"),
            (Some(rate), Some((currency, day))) => {
                let scale = |c: Currency| 10_i128.pow(c.exponent());
                let over =
                    given.checked_mul(i128::from(rate.num)).and_then(|n| n.checked_mul(scale(rate.to)));
                let under = i128::from(rate.den).checked_mul(scale(rate.from));
                // No more than half a unit from the fraction.
                let apart = over.zip(under).and_then(|(over, under)| {
                    Some((over.checked_sub(worth.checked_mul(under)?)?.checked_mul(2)?.abs(), under))
                });
                match apart {
                    _ if (rate.from, rate.to) != (currency, s.batch.currency) => {
                        Some("a rate of other currencies")
                    }
                    _ if !(0..=7).contains(&day.since(rate.day)) => Some("a rate of another day"),
                    Some((apart, under)) if apart <= under => None,
                    // What is too large to be computed is converted as it came.
                    None if gain == 0 && worth == got => None,
                    _ => Some("is not converted at the rate that is stated"),
                }
            }
        };
        bad.extend(holds.map(|why| Rejection::Entry(entry.id.clone(), why)));
        if worth + gain != got {
            bad.push(Rejection::Entry(entry.id.clone(), "what was got is neither worth nor gain"));
        }
    }
}

/// What the books held of the matched lines before the batch, with its own entries: of the whole batch that is zero in every
/// currency once the money has reached the bank.
fn clearing_left(s: &Statement<'_>, tally: &mut Tally, bad: &mut Vec<Rejection>) {
    let mut ids = BTreeSet::new();
    let mut left: BTreeMap<Currency, i128> = BTreeMap::new();
    for entry in s.entries {
        let mut no = |why| bad.push(Rejection::Entry(entry.id.clone(), why));
        if entry.check().is_err() {
            no("does not balance");
        }
        if entry.connection != s.batch.connection {
            no("is of another connection");
        }
        if !ids.insert(&entry.id) {
            no("is there twice");
        }
        for posting in &entry.postings {
            let minor = wide(posting.amount.minor);
            if posting.role == Role::GatewayClearing {
                *left.entry(posting.amount.currency).or_default() += minor;
            }
            if posting.role == Role::Bank && entry.id.starts_with("payout:") {
                tally.banked += minor;
            }
        }
    }
    if s.batch.funding == Funding::Submitted {
        // Nothing says that money moved.
        let entries = s.entries.iter();
        bad.extend(entries.map(|e| Rejection::Entry(e.id.clone(), "the batch was only submitted")));
        return;
    }
    let own: BTreeMap<&str, &SettlementLine> = s.lines.iter().map(|l| (l.id.as_ref(), l)).collect();
    let expected: BTreeMap<&str, &Expected> = s.expected.iter().map(|e| (e.id.as_ref(), e)).collect();
    for Group { lines, expected: names, currency, lines_sum, expected_sum, .. } in
        s.certificates.iter().map(|c| &c.group)
    {
        let held = left.entry(*currency).or_default();
        for line in lines.iter().filter_map(|id| own.get(id.as_ref())) {
            *held += line.amount_in(*currency).map_or(0, wide);
        }
        // The difference, and what a group's expectations do not hold in clearing, fall to its first line.
        if lines.first().is_some_and(|id| own.contains_key(id.as_ref())) {
            *held -= wide(*lines_sum) - wide(*expected_sum);
            for e in names.iter().filter_map(|id| expected.get(id.as_ref())) {
                *held -= wide(if e.standing == Standing::Ruled { e.amount } else { e.booked_fee });
            }
        }
    }
    tally.left = left.into_iter().collect();
}
