//! What a batch adds to the journal: only what was not booked when the money was captured, refunded or
//! disputed (`state::ledger`).
//!
//! | line | entry | debit | credit |
//! |---|---|---|---|
//! | fee on a line, tax in it | `fee:<line>` | fees, account of tax on fees | clearing |
//! | fee that a rule expected, on its line | `fee_line:<line>` | fees | clearing |
//! | tolerated difference | `difference:<line>` | clearing | account of the rule |
//! | settled in another currency | `fx:<line>` | clearing (settled), conversion (presented) | conversion (settled, what the presented is worth by the books), clearing (presented) |
//! | more or less than that | with it | | exchange gain or loss (settled) |
//! | explained by a rule, reserve | `settled:<line>` | clearing | account of the rule |
//! | accepted by a person ([`super::accepted`]) | `settled:<line>` | clearing | the account named |
//! | payout that came back | `payout_reversal:<own id>` | clearing | bank |
//! | open | `unexplained:<line>` | clearing | suspense |
//! | open before, matched now | `explained:<line>` | suspense | clearing |
//! | the payout | `payout:<batch>` | bank | clearing |
//!
//! The conversion account holds what was given and what it was worth, each in its currency. Where the books' rate is not known
//! ([`super::rates`]), it holds what was got: no gain or loss is booked then. Ids are made of the provider's ids, so posting a batch again changes nothing.

use std::collections::BTreeMap;

use super::line::{Batch, Expected, Funding, Kind, SettlementLine, Standing};
use super::outcome::{Explained, Group};
use super::rates::Rate;
use super::rule_book::RuleBook;
use super::rules::Rules;
use crate::journal::{Entry, Role, Unbalanced};
use crate::money::{Currency, Money};

/// What a batch is booked from.
#[derive(Debug, Clone, Copy)]
pub struct ToBook<'a> {
    /// The batch.
    pub batch: &'a Batch,
    /// All its lines.
    pub lines: &'a [SettlementLine],
    /// What was matched.
    pub groups: &'a [Group],
    /// What it was matched with.
    pub expected: &'a [Expected],
    /// Lines that need no expectation.
    pub explained: &'a [Explained],
    /// The books' rates for lines settled in another currency, by line.
    pub rates: &'a BTreeMap<Box<str>, Rate>,
    /// The rules of each line.
    pub rules: &'a RuleBook,
}

/// The entries of a batch, all of them whether posted before or not. `posted` tells of an entry id of this
/// connection whether the journal has it: only so is a line known that was open at an earlier run. `groups`
/// may be those of many batches; a line of `lines` in none of them and not explained counts as open. A batch
/// that was only submitted has no entries.
///
/// # Errors
/// [`Unbalanced`]: a defect of ours.
pub fn entries(of: &ToBook<'_>, posted: impl Fn(&str) -> bool) -> Result<Vec<Entry>, Unbalanced> {
    let Funding::Funded { payout, day } = of.batch.funding else { return Ok(Vec::new()) };
    let mut book = Book { batch: of.batch, at: day.start(), out: line_entries(of, posted)? };
    let paid = Money::new(payout, of.batch.currency);
    let sides =
        [(Role::Bank, paid), (Role::GatewayClearing, Money::new(payout.saturating_neg(), of.batch.currency))];
    book.push(format!("payout:{}", of.batch.id), "payout", &sides)?;
    Ok(book.out)
}

/// The same without the payout: the entries of a section of a large batch.
///
/// # Errors
/// [`Unbalanced`]: a defect of ours.
pub fn line_entries(of: &ToBook<'_>, posted: impl Fn(&str) -> bool) -> Result<Vec<Entry>, Unbalanced> {
    let ToBook { batch, lines, groups, expected, explained, rates, rules } = *of;
    let Funding::Funded { day, .. } = batch.funding else { return Ok(Vec::new()) };
    let mut book = Book { batch, at: day.start(), out: Vec::new() };
    let group_of: BTreeMap<&str, &Group> =
        groups.iter().flat_map(|g| g.lines.iter().map(move |id| (id.as_ref(), g))).collect();
    let expected: BTreeMap<&str, &Expected> = expected.iter().map(|e| (e.id.as_ref(), e)).collect();
    let explained: BTreeMap<&str, Role> = explained.iter().map(|x| (x.line.as_ref(), x.account)).collect();
    let mut sorted: Vec<&SettlementLine> = lines.iter().collect();
    sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    for line in sorted {
        let group = group_of.get(line.id.as_ref());
        let account = explained.get(line.id.as_ref());
        let open = format!("unexplained:{}", line.id);
        if (group.is_some() || account.is_some()) && posted(&open) {
            let sides = book.sides(line, Role::Suspense, rules.first());
            book.push(open.clone(), "settlement line without an explanation", &sides)?;
            let back = sides.map(|(role, m)| (role, Money::new(m.minor.saturating_neg(), m.currency)));
            book.push(format!("explained:{}", line.id), "settlement line explained", &back)?;
        }
        match (group, account) {
            (Some(group), _) => {
                let shares = Shares::of(line, group, &expected);
                book.matched(line, &shares, rates.get(&line.id), rules.of(&line.id))?;
            }
            (None, Some(_)) if line.kind == Kind::Payout => book.fee(line, 0, rules.of(&line.id))?,
            // Accepted or not, it is where it is.
            (None, _) if line.kind == Kind::PayoutReversal => {
                let sides = book.sides(line, Role::Bank, rules.first());
                let id = line.ids.own.as_ref().unwrap_or(&line.id);
                book.push(format!("payout_reversal:{id}"), "payout came back", &sides)?;
            }
            (None, Some(account)) => {
                let sides = book.sides(line, *account, rules.of(&line.id));
                book.push(format!("settled:{}", line.id), line.kind.name(), &sides)?;
            }
            (None, None) => {
                let sides = book.sides(line, Role::Suspense, rules.first());
                book.push(open, "settlement line without an explanation", &sides)?;
            }
        }
    }
    Ok(book.out)
}

/// What of its group falls to one line, minor units of the group's currency. What cannot be divided falls to
/// the first line.
struct Shares<'a> {
    currency: Currency,
    /// The line's amount.
    portion: i64,
    /// Fee that the expectations' entries hold already.
    booked_fee: i64,
    /// Expectations that no entry stands for yet.
    ruled: i64,
    /// Lines less expectations.
    difference: i64,
    tolerance: Option<&'a str>,
}

impl<'a> Shares<'a> {
    fn of(line: &SettlementLine, group: &'a Group, expected: &BTreeMap<&str, &Expected>) -> Self {
        let first = group.lines.first() == Some(&line.id);
        let parts = || group.expected.iter().filter(|_| first).filter_map(|id| expected.get(id.as_ref()));
        let add = |sum: i64, minor: i64| sum.saturating_add(minor);
        Self {
            currency: group.currency,
            portion: line.amount_in(group.currency).unwrap_or(0),
            booked_fee: parts().map(|e| e.booked_fee).fold(0, add),
            ruled: parts().filter(|e| e.standing == Standing::Ruled).map(|e| e.amount).fold(0, add),
            difference: if first { group.lines_sum.saturating_sub(group.expected_sum) } else { 0 },
            tolerance: group.tolerance.as_deref(),
        }
    }
}

struct Book<'b> {
    batch: &'b Batch,
    at: crate::time::Timestamp,
    out: Vec<Entry>,
}

type Sides = [(Role, Money); 4];

impl Book<'_> {
    fn push(&mut self, id: String, memo: &str, lines: &[(Role, Money)]) -> Result<(), Unbalanced> {
        let entry = Entry::new(id, &self.batch.connection, self.at, memo, lines)?;
        if !entry.postings.is_empty() {
            self.out.push(entry);
        }
        Ok(())
    }

    /// A line booked whole: clearing by its net, an account by its gross, the fee between them.
    fn sides(&self, line: &SettlementLine, account: Role, rules: &Rules) -> Sides {
        let money = |minor: i64| Money::new(minor, line.currency);
        [
            (Role::GatewayClearing, money(line.gross.saturating_sub(line.fee))),
            (account, money(line.gross.saturating_neg())),
            (Role::Fees, money(line.fee.saturating_sub(line.fee_tax))),
            (rules.tax_on_fees, money(line.fee_tax)),
        ]
    }

    fn fee(&mut self, line: &SettlementLine, booked: i64, rules: &Rules) -> Result<(), Unbalanced> {
        let money = |minor: i64| Money::new(minor, line.currency);
        // Where the fee is booked already, what its tax was is not said again.
        let tax = if booked == 0 { line.fee_tax } else { 0 };
        let due = line.fee.saturating_sub(booked);
        let sides = [
            (Role::Fees, money(due.saturating_sub(tax))),
            (rules.tax_on_fees, money(tax)),
            (Role::GatewayClearing, money(due.saturating_neg())),
        ];
        self.push(format!("fee:{}", line.id), "gateway fee", &sides)
    }

    fn matched(
        &mut self,
        line: &SettlementLine,
        shares: &Shares<'_>,
        rate: Option<&Rate>,
        rules: &Rules,
    ) -> Result<(), Unbalanced> {
        let of_group = |minor: i64| Money::new(minor, shares.currency);
        if shares.ruled != 0 {
            let role = if line.kind == Kind::TaxOnFee { rules.tax_on_fees } else { Role::Fees };
            let sides = [
                (Role::GatewayClearing, of_group(shares.ruled)),
                (role, of_group(shares.ruled.saturating_neg())),
            ];
            self.push(format!("fee_line:{}", line.id), "gateway fee", &sides)?;
        }
        if shares.difference != 0 {
            let rule = shares.tolerance.and_then(|name| rules.tolerances.get(name));
            let account = rule.map_or(Role::Suspense, |r| r.account);
            let sides = [
                (Role::GatewayClearing, of_group(shares.difference)),
                (account, of_group(shares.difference.saturating_neg())),
            ];
            self.push(format!("difference:{}", line.id), rule.map_or("difference", |r| &r.reason), &sides)?;
        }
        if shares.currency == line.currency {
            return self.fee(line, shares.booked_fee, rules);
        }
        let given = shares.portion.saturating_sub(shares.booked_fee);
        let fee = if shares.booked_fee == 0 { 0 } else { line.fee };
        let got = Money::new(line.gross.saturating_sub(fee), line.currency);
        let worth = rate.and_then(|rate| rate.worth(given)).unwrap_or(got.minor);
        let settled = |minor: i64| Money::new(minor, line.currency);
        let sides = [
            (Role::GatewayClearing, of_group(given.saturating_neg())),
            (Role::Conversion, of_group(given)),
            (Role::GatewayClearing, got),
            (Role::Conversion, settled(worth.saturating_neg())),
            (Role::Fx, settled(worth.saturating_sub(got.minor))),
        ];
        self.push(format!("fx:{}", line.id), "settled in another currency", &sides)?;
        if shares.booked_fee == 0 { self.fee(line, 0, rules) } else { Ok(()) }
    }
}
