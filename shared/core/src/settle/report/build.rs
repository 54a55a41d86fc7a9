//! Builds a report line by line.

use std::collections::{BTreeMap, BTreeSet};

use super::amount::{Amount, share_of};
use super::input::{About, Fate, Input};
use super::sheet::{Known, Sheet};
use super::text::{sentence, shown};
use super::{
    Aging, BatchRow, Held, Item, MOST_BATCHES, MOST_ITEMS, Matching, Notice, Report, State, Totals, words,
};
use crate::ids::ConnectionName;
use crate::journal::{Role, TrialBalance};
use crate::money::Currency;
use crate::settle::check::{Rejection, Verdict};
use crate::settle::line::{Batch, Day, Expected, Funding, Kind, SettlementLine, Standing};
use crate::settle::outcome::{Class, Exception};

/// Codes of notices that say nothing of what is not posted.
const REMARKS: [&str; 3] = ["watch", "came_after_all", "exchange"];
/// Ids of an item, and refusals of a batch, that are named.
const FEW: usize = 5;

impl Report {
    /// The report of what is in memory.
    #[must_use]
    pub fn of(input: &Input<'_>) -> Self {
        let mut builder = Builder::new(input.connection, input.day, input.today);
        for (batch, verdict) in input.batches {
            builder.batch(batch, verdict);
        }
        let index = input.index();
        for line in input.own_lines() {
            builder.line(line, index.fate(&line.id));
        }
        let mut lines: BTreeMap<&str, &SettlementLine> =
            input.lines.iter().map(|l| (l.id.as_ref(), l)).collect();
        // Of copies the one that matching took.
        lines.extend(input.own_lines().into_iter().map(|l| (l.id.as_ref(), l)));
        let expected: BTreeMap<&str, &Expected> = input.expected.iter().map(|e| (e.id.as_ref(), e)).collect();
        let out = input.outcome;
        let open: BTreeSet<&str> =
            out.open_lines.iter().chain(&out.open_expected).map(AsRef::as_ref).collect();
        for exception in &out.exceptions {
            let l: Vec<_> = exception.lines.iter().filter_map(|i| lines.get(i.as_ref()).copied()).collect();
            let e: Vec<_> =
                exception.expected.iter().filter_map(|i| expected.get(i.as_ref()).copied()).collect();
            let mut ids = exception.lines.iter().chain(&exception.expected);
            builder.exception(exception, About::of(&l, &e), !ids.any(|id| open.contains(id.as_ref())));
        }
        for e in out.open_expected.iter().filter_map(|id| expected.get(id.as_ref())) {
            builder.awaited(e);
        }
        builder.holds(input.balance);
        for notice in input.notices {
            builder.notice(&notice.code, &notice.text);
        }
        builder.finish()
    }
}

/// Takes a day item by item, in any order; memory grows with batches and exceptions, not with lines.
#[derive(Debug)]
pub struct Builder {
    connection: ConnectionName,
    day: Day,
    today: Day,
    batches: BTreeMap<Box<str>, Sheet>,
    matching: Matching,
    items: Vec<Item>,
    open_items: u64,
    stakes: BTreeMap<Currency, i128>,
    aging: BTreeMap<(Class, Currency), Aging>,
    holds: BTreeMap<Currency, Held>,
    notices: Vec<Notice>,
}

impl Builder {
    /// Begins. `day` was settled, `today` is when it is looked at.
    #[must_use]
    pub fn new(connection: &ConnectionName, day: Day, today: Day) -> Self {
        Self {
            connection: connection.clone(),
            day,
            today,
            batches: BTreeMap::new(),
            matching: Matching::default(),
            items: Vec::new(),
            open_items: 0,
            stakes: BTreeMap::new(),
            aging: BTreeMap::new(),
            holds: BTreeMap::new(),
            notices: Vec::new(),
        }
    }

    /// A batch, and what the check said of it.
    pub fn batch(&mut self, batch: &Batch, verdict: &Result<Verdict, Vec<Rejection>>) {
        let (payout, funded_on) = match batch.funding {
            Funding::Funded { payout, day } => {
                (Some(Amount::new(i128::from(payout), batch.currency)), Some(day))
            }
            Funding::Submitted => (None, None),
        };
        let (state, refusals) = match verdict {
            Ok(Verdict::Closed) => (State::Closed, Vec::new()),
            Ok(Verdict::Open) => (State::Open, Vec::new()),
            Ok(Verdict::Submitted) => (State::Submitted, Vec::new()),
            Err(why) => (State::Refused, why.iter().take(FEW).map(|r| sentence(&r.to_string())).collect()),
        };
        let sheet = self.batches.entry(batch.id.clone()).or_default();
        sheet.known = Some(Known { state, payout, funded_on, refusals });
        sheet.totals.entry(batch.currency).or_insert_with(|| Totals::new(batch.currency));
    }

    /// A line of a batch; each id once.
    pub fn line(&mut self, line: &SettlementLine, fate: Fate<'_>) {
        let sheet = self.batches.entry(line.batch.clone()).or_default();
        sheet.totals.entry(line.currency).or_insert_with(|| Totals::new(line.currency)).take(line);
        if line.kind == Kind::Payout && !matches!(fate, Fate::Open) {
            return;
        }
        let [matched, explained, open] = &mut sheet.counts;
        match fate {
            Fate::Matched(certificate) => {
                *matched += 1;
                self.matching.matched += 1;
                *self.matching.by_tier.entry(certificate.group.tier.name()).or_default() += 1;
                self.matching.tolerated += u64::from(certificate.group.tolerance.is_some());
            }
            Fate::Explained(_) => {
                *explained += 1;
                self.matching.explained += 1;
            }
            Fate::Open => {
                *open += 1;
                self.matching.open += 1;
            }
        }
    }

    /// Something for a person to look at; `matched` where nothing of it stays open.
    pub fn exception(&mut self, exception: &Exception, about: About<'_>, matched: bool) {
        let amount = Amount::from(exception.amount);
        let size = amount.minor.abs();
        let age = exception.age(self.today).max(0);
        self.open_items += u64::from(!matched);
        if !matched {
            *self.stakes.entry(amount.currency).or_default() += size;
        }
        let row = self.aging.entry((exception.class, amount.currency)).or_insert_with(|| Aging {
            class: exception.class,
            count: 0,
            days_0_3: 0,
            days_4_7: 0,
            days_8_30: 0,
            older: 0,
            amount: Amount::new(0, amount.currency),
        });
        row.count += 1;
        row.amount.minor += size;
        *match age {
            ..=3 => &mut row.days_0_3,
            4..=7 => &mut row.days_4_7,
            8..=30 => &mut row.days_8_30,
            31.. => &mut row.older,
        } += 1;
        let few = |ids: &[Box<str>]| ids.iter().take(FEW).map(|id| shown(id)).collect();
        // By what is shown in part nothing is found.
        let whole = |id: &&str| shown(id) == *id;
        self.items.push(Item {
            class: exception.class,
            amount,
            since: exception.since,
            age,
            matched,
            batch: about.batch.map(shown),
            order: about.order.map(shown),
            explain: about.order.filter(whole).or(about.gateway.filter(whole)).map(str::to_owned),
            lines: few(&exception.lines),
            expected: few(&exception.expected),
            nearest: exception.nearest.as_ref().map(|miss| words::near(miss, amount)),
            action: exception.class.action(),
        });
        if self.items.len() >= MOST_ITEMS.saturating_mul(2) {
            self.keep_first();
        }
    }

    /// An expectation that stays open.
    pub fn awaited(&mut self, expected: &Expected) {
        let held = self.held(expected.currency);
        match expected.standing {
            Standing::Booked => {
                held.awaited_count += 1;
                held.awaited.minor += i128::from(expected.amount) - i128::from(expected.booked_fee);
            }
            Standing::Unknown => held.unknown_count += 1,
            Standing::Ruled | Standing::Explained => {}
        }
    }

    /// What the journal holds at the connection.
    pub fn holds(&mut self, balance: &TrialBalance) {
        for ((currency, role), sum) in &balance.0 {
            let held = self.held(*currency);
            match role {
                Role::GatewayClearing => held.clearing.minor += sum,
                Role::Suspense => held.suspense.minor += sum,
                Role::Reserve => held.reserve.minor += sum,
                Role::Disputed => held.disputed.minor += sum,
                Role::Receivable
                | Role::Sales
                | Role::Tax
                | Role::Refunds
                | Role::Bank
                | Role::Fees
                | Role::ChargebackLoss
                | Role::Fx
                | Role::Conversion => {}
            }
        }
    }

    fn held(&mut self, currency: Currency) -> &mut Held {
        let none = Amount::new(0, currency);
        self.holds.entry(currency).or_insert(Held {
            currency,
            clearing: none,
            awaited: none,
            awaited_count: 0,
            unknown_count: 0,
            suspense: none,
            reserve: none,
            disputed: none,
        })
    }

    /// Something noticed: a stable code, and what to do in words. `refused` and `waiting` say that a batch is not posted, beside those
    /// that are; `watch`, `came_after_all` and `exchange` are remarks on what is.
    pub fn notice(&mut self, code: &str, text: &str) {
        self.notices.push(Notice { code: shown(code), text: sentence(text) });
    }

    fn keep_first(&mut self) {
        self.items.sort_by(|a, b| {
            let size = |i: &Item| std::cmp::Reverse(i.amount.minor.unsigned_abs());
            (a.matched, a.since, size(a), a.class, &a.expected, &a.lines).cmp(&(
                b.matched,
                b.since,
                size(b),
                b.class,
                &b.expected,
                &b.lines,
            ))
        });
        self.items.truncate(MOST_ITEMS);
    }

    /// The report.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.keep_first();
        let mut currencies: BTreeMap<Currency, Totals> = BTreeMap::new();
        let mut batches: Vec<BatchRow> = std::mem::take(&mut self.batches)
            .into_iter()
            .map(|(id, sheet)| sheet.row(&id, &mut currencies))
            .collect();
        currencies.values_mut().for_each(Totals::rate);
        // What is not closed comes first; in order of id the rows are already.
        batches.sort_by_key(|row| std::cmp::Reverse(row.state));
        let of_items = self.aging.values().map(|row| row.count).sum();
        let said = |code: &str| self.notices.iter().any(|notice| notice.code == code);
        let state = match batches.iter().map(|b| b.state).max() {
            _ if said("refused") => State::Refused,
            None if self.notices.iter().any(|n| !REMARKS.contains(&n.code.as_str())) => State::Waiting,
            None => State::Nothing,
            Some(State::Refused) => State::Refused,
            Some(_) if said("waiting") => State::Waiting,
            Some(State::Closed) if self.open_items > 0 => State::Open,
            Some(state) => state,
        };
        let m = &mut self.matching;
        m.match_rate_basis_points = share_of(m.matched, m.matched.saturating_add(m.open));
        let batch_count = u64::try_from(batches.len()).unwrap_or(u64::MAX);
        Report {
            schema: "tillway.settlement.report/1",
            connection: self.connection,
            day: self.day,
            today: self.today,
            state,
            currencies: currencies.into_values().collect(),
            matching: self.matching,
            batches: batches.into_iter().take(MOST_BATCHES).collect(),
            batch_count,
            items: self.items,
            item_count: of_items,
            open_item_count: self.open_items,
            stakes: self.stakes.into_iter().map(|(c, sum)| Amount::new(sum, c)).collect(),
            aging: self.aging.into_values().collect(),
            holds: self.holds.into_values().collect(),
            notices: self.notices,
        }
    }
}
