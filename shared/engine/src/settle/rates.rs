//! The books' rates: kept by month, and looked up for what was settled in another currency than it is booked in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tillway_core::journal::{Posting, Role};
use tillway_core::money::Currency;
use tillway_core::settle::rates::{HOLDS, Rate, Rates, exchanged};
use tillway_core::settle::report::{Amount, counted};
use tillway_core::settle::{Day, Expected, Group, Rules, SettlementLine};

use super::records::{BatchDoc, first_of_month, rates_key};
use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, NewItem, StoreError, Write};

/// How often a month is written against others.
const MAX_TRIES: u32 = 8;

/// What was kept of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RatesReport {
    /// Rates in it.
    pub rates: usize,
    /// Its first day.
    pub first: Day,
    /// Its last day.
    pub last: Day,
    /// Rates that were known otherwise: they hold from now on; what is posted stays as it is.
    pub changed: u64,
}

impl Engine {
    /// Keeps rates. What is posted already is not booked anew.
    ///
    /// # Errors
    /// [`WorkError`]; an empty table.
    pub async fn keep_rates(&self, rates: Rates) -> Result<RatesReport, WorkError> {
        let Some((first, last)) = rates.span() else {
            return Err(WorkError::Config("there is no rate in it".to_owned()));
        };
        let mut report = RatesReport { rates: rates.count(), first, last, changed: 0 };
        for (month, new) in rates.parts(first_of_month) {
            report.changed = report.changed.saturating_add(self.keep_month(month, &new).await?);
        }
        Ok(report)
    }

    async fn keep_month(&self, month: Day, new: &Rates) -> Result<u64, WorkError> {
        let key = rates_key(month);
        for _ in 0..MAX_TRIES {
            let found = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
            let guard = found.as_ref().map_or(Guard::Absent, |item| Guard::Rev(item.rev));
            let mut known: Rates =
                found.map(|item| serde_json::from_slice(&item.body)).transpose()?.unwrap_or_default();
            let before = known.clone();
            let changed = known.take(new.clone());
            if known == before {
                return Ok(0);
            }
            let body = serde_json::to_vec(&known)?;
            let item = NewItem { key: key.clone(), body, due: None, list: None, expires: None };
            match self.ports.store.transact(vec![Write::Put(item, guard)]).await {
                Ok(()) => return Ok(changed),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WorkError::Config("another process keeps rates at the same time; do it again".to_owned()))
    }

    /// The rates for what these groups exchanged, by line; none where the books' rate is not known.
    pub(super) async fn rates_of(
        &self,
        groups: &[Group],
        lines: &[SettlementLine],
        expected: &[Expected],
        rules: &Rules,
    ) -> Result<BTreeMap<Box<str>, Rate>, WorkError> {
        let wanted = exchanged(groups.iter(), lines, expected, rules);
        let months: BTreeSet<Day> = wanted
            .iter()
            .flat_map(|(_, _, day)| [*day, day.plus(HOLDS.saturating_neg())])
            .map(first_of_month)
            .collect();
        let mut known = Rates::default();
        // No more months than one read takes: what is matched so late is converted as it came.
        let keys: Vec<_> = months.into_iter().rev().take(100).map(rates_key).collect();
        if !keys.is_empty() {
            for item in self.ports.store.get(&keys).await?.into_iter().flatten() {
                known.take(serde_json::from_slice(&item.body)?);
            }
        }
        let rated = wanted
            .iter()
            .filter_map(|(line, from, day)| Some((line.id.clone(), known.of(*from, line.currency, *day)?)));
        Ok(rated.collect())
    }
}

/// What batches exchanged in this run, a sentence for each pair of currencies.
pub(super) fn sentences<'a>(batches: impl Iterator<Item = &'a BatchDoc>) -> Vec<String> {
    #[derive(Default)]
    struct Sum {
        lines: u64,
        given: i128,
        got: i128,
        gain: i128,
        unrated: u64,
    }
    let mut sums: BTreeMap<(Currency, Currency), Sum> = BTreeMap::new();
    for doc in batches {
        for entry in doc.new_entries() {
            let Some(line) = entry.id.strip_prefix("fx:") else { continue };
            let is_given =
                |p: &&Posting| p.role == Role::Conversion && p.amount.currency != doc.batch.currency;
            let Some(given) = entry.postings.iter().find(is_given).map(|p| p.amount) else { continue };
            let sum = sums.entry((given.currency, doc.batch.currency)).or_default();
            sum.lines = sum.lines.saturating_add(1);
            sum.given = sum.given.saturating_add(i128::from(given.minor));
            for posting in entry.postings.iter().filter(|p| p.amount.currency == doc.batch.currency) {
                let minor = i128::from(posting.amount.minor);
                match posting.role {
                    Role::GatewayClearing => sum.got = sum.got.saturating_add(minor),
                    Role::Fx => sum.gain = sum.gain.saturating_sub(minor),
                    _ => {}
                }
            }
            sum.unrated = sum.unrated.saturating_add(u64::from(!doc.rates.contains_key(line)));
        }
    }
    let told = sums.into_iter().map(|((from, to), sum)| {
        let Sum { lines, given, got, gain, unrated } = sum;
        let figures = format!(
            "{} in {from} settled in {to}: {} for {}",
            counted(lines, "line"),
            Amount::new(given, from),
            Amount::new(got, to)
        );
        let size = Amount::new(gain.abs(), to);
        let rated = match gain.signum() {
            1 => format!("{size} gained over the books' rates"),
            -1 => format!("{size} lost against the books' rates"),
            _ => "as by the books' rates".to_owned(),
        };
        match unrated {
            0 => format!("{figures}, {rated}"),
            n if n == lines => format!("{figures}; the books' rate is not known: tillway settle rates"),
            n => format!("{figures}, {rated}; of {n} the books' rate is not known: tillway settle rates"),
        }
    });
    told.collect()
}
