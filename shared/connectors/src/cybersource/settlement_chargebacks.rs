//! Chargebacks of a day, and those of the days before it that are listed late.
//!
//! A chargeback is listed hours or days after its time. So the list of a day is asked again on the days after it
//! (`settlement.chargeback_days`), and its batch is one that grows: what an earlier run settled of it stays, and what is new is a
//! batch of the day on which it was first seen ([`crate::Settlement::grows`]).
//!
//! The list is asked by whole weeks, so that a run asks once for what its list of batches, each of them and a funding want of it.

use std::collections::BTreeMap;

use tillway_core::doc::Doc;
use tillway_core::settle::{Day, SettlementLine};
use tillway_core::time::Timestamp;

use super::client::{Client, ReadFault};
use super::settlement::{Name, not_read, ready, span, submitted};
use super::{endpoints, routes, settlement_docs as docs, settlement_settings as settings};
use crate::config::Connection;
use crate::port::Call;
use crate::settlement::{FileFault, ListedBatch, SettleFault};

/// How their batches' names begin; the currency follows.
pub(super) const CHARGEBACKS: &str = "chargebacks";
/// Days that are asked for at once.
const WEEK: i32 = 7;

/// The chargebacks of some days at all merchant ids, each in the batch of its day, merchant id and currency.
pub(super) async fn all(
    call: &Call<'_>,
    (first, last): (Day, Day),
) -> Result<Vec<SettlementLine>, SettleFault> {
    let mut lines = Vec::new();
    for merchant in routes::merchants(call.connection) {
        lines.extend(at(call, &merchant, (first, last)).await?);
    }
    Ok(lines)
}

/// The same at one merchant id.
pub(super) async fn at(
    call: &Call<'_>,
    merchant: &str,
    (first, last): (Day, Day),
) -> Result<Vec<SettlementLine>, SettleFault> {
    let from = routes::At::of(call, merchant);
    let there = from.call(call);
    let batch = |c, day| Name::of(&format!("{CHARGEBACKS}-{c}"), day, merchant, call.connection);
    let mut lines = Vec::new();
    let mut week = first.0.div_euclid(WEEK);
    while Day(week.saturating_mul(WEEK)) <= last {
        let begins = Day(week.saturating_mul(WEEK));
        if let Some(found) = week_of(&there, begins).await? {
            let days = (first.max(begins), last.min(begins.plus(WEEK - 1)));
            lines.extend(docs::chargeback_lines(call.connection, found.json(), days, batch)?);
        }
        week = week.saturating_add(1);
    }
    Ok(lines)
}

/// The list of a week, up to the end of today; nothing where it has no data.
async fn week_of(call: &Call<'_>, begins: Day) -> Result<Option<Doc>, SettleFault> {
    let today = day_of(call.connection, call.now);
    let ends = begins.plus(WEEK - 1).min(today);
    if ends < begins {
        return Ok(None);
    }
    let (from, to) = (span(call.connection, begins).0, span(call.connection, ends).1);
    let target = endpoints::report(call.connection, "chargeback_details", from, to);
    match Client::new(call, 1).download(&target, "application/hal+json;charset=utf-8").await {
        Ok(file) => Ok(Some(Doc::from_bytes(file.bytes().to_vec()).map_err(|_| {
            let what = "is no JSON; ask again, then ask Cybersource";
            FileFault::new("unreadable", "chargebackDetails", what)
        })?)),
        Err(ReadFault::Missing(_)) => Ok(None),
        Err(fault) => Err(not_read(fault)),
    }
}

/// The day of an instant as the settings count it.
pub(super) fn day_of(connection: &Connection, at: Timestamp) -> Day {
    Day::of(at + settings::offset(connection))
}

/// The days whose lists are read with a day's: its own the last.
pub(super) fn window(connection: &Connection, day: Day) -> (Day, Day) {
    let (name, ..) = settings::CHARGEBACK_DAYS;
    let back = i32::try_from(connection.number(name, settings::LATE)).unwrap_or(0);
    (day.plus(back.saturating_neg()), day)
}

/// The submitted batches that chargebacks are in.
pub(super) fn batches(connection: &Connection, lines: Vec<SettlementLine>) -> Vec<ListedBatch> {
    let named = lines.into_iter().map(|line| (line.batch, line.currency));
    let batches: BTreeMap<Box<str>, _> = named.collect();
    batches.into_iter().map(|(id, currency)| ready(submitted(connection, &id, currency))).collect()
}
