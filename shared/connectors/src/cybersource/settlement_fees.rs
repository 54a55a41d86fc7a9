//! What a funding kept back as fees, payment by payment, from the purchase and refund details (`settlement.fees: details`).
//!
//! A net funding tells one sum of fees. The details tell the fee of each payment, in a shape that is the vendor's schema's and was seen
//! in no sample, so they are believed only where nothing is missing and their sum is the funding's to the cent. Until then the
//! batch waits, and once the patience of settlement is over the one sum is taken, which is said.

use std::collections::BTreeMap;

use tillway_core::settle::{Batch, Day, Ids, Kind, SettlementLine};

use super::client::{Client, ReadFault};
use super::endpoints;
use super::settlement::{NOT_YET, Report, not_read, span};
use super::settlement_detail::Asked;
use super::settlement_docs::{self as docs, NetFunding};
use crate::port::Call;
use crate::settlement::{BatchSum, FileFault, PATIENCE, SettleFault};

/// Requests of a page: the vendor's most.
const PAGE: usize = 2_000;
/// Most pages of a day.
const MAX_PAGES: usize = 1_000;

/// The fees of a funding as lines.
pub(super) enum Fees {
    /// One for each payment that has a fee.
    Each(Vec<SettlementLine>),
    /// Nobody tells in time of which payments: why.
    Lump(String),
}

/// The fees of what a funding of `funded` pays, which was submitted with `report`.
pub(super) async fn per_payment(
    call: &Call<'_>,
    batch: &Batch,
    report: &Report,
    (named, found): (&str, &NetFunding),
    funded: Day,
) -> Result<Fees, SettleFault> {
    let told = match details(call, report.day).await {
        Ok(details) => each(batch, report, (named, found), funded, details)?,
        Err(SettleFault::Unreadable(fault)) => Err(fault.to_string()),
        Err(fault) => return Err(fault),
    };
    match told {
        Ok(lines) => Ok(Fees::Each(lines)),
        Err(_) if call.now.since(funded.plus(1).start()) <= PATIENCE => {
            Err(SettleFault::NotReady { after: NOT_YET })
        }
        Err(why) => Ok(Fees::Lump(why)),
    }
}

/// What the details say of all that was submitted on a day, by request.
async fn details(call: &Call<'_>, day: Day) -> Result<BTreeMap<Box<str>, SettlementLine>, SettleFault> {
    let (from, to) = span(call.connection, day);
    let client = Client::new(call, 2);
    let asked = Asked::of(call.connection, None);
    let mut found = BTreeMap::new();
    for page in 0..MAX_PAGES {
        let from_row = page.saturating_mul(PAGE);
        let target = endpoints::purchase_refund_details(call.connection, (from, to), from_row, PAGE);
        let doc = match client.get(&target).await {
            Ok(doc) => doc,
            // No data, or none behind a last page that was full.
            Err(ReadFault::Missing(_)) => return Ok(found),
            Err(fault) => return Err(not_read(fault)),
        };
        let (rows, lines) = docs::purchase_refund_page(call.connection, &asked, doc.json())?;
        let before = found.len();
        for line in lines {
            let request = line.ids.own.clone().unwrap_or_default();
            if found.get(&request).is_some_and(|known| *known != line) {
                let what = "one request with two fees; ask Cybersource";
                return Err(FileFault::new("duplicate_id", "settlements.requestId", what).into());
            }
            found.insert(request, line);
        }
        // A page that brings nothing new is the last one again.
        if rows < PAGE || found.len() == before {
            return Ok(found);
        }
    }
    let what = "the list of a day has no end";
    Err(FileFault::new("too_long", "requestDetails", what).into())
}

/// The fee lines of what was funded; else why there are none.
fn each(
    batch: &Batch,
    report: &Report,
    (named, found): (&str, &NetFunding),
    funded: Day,
    mut details: BTreeMap<Box<str>, SettlementLine>,
) -> Result<Result<Vec<SettlementLine>, String>, FileFault> {
    let alone = report.told()?.batches.get(named).is_some_and(|sum| is_all_of(sum, found));
    let (mut lines, mut sum, mut untold, mut differ) = (Vec::new(), 0_i128, 0_u64, 0_u64);
    for row in report.rows()? {
        let row = row?;
        let paid = if alone { row.batch.as_ref() == named } else { row.currency == found.currency };
        if !paid {
            continue;
        }
        let Some(told) = row.ids.own.as_ref().and_then(|own| details.remove(own)) else {
            untold = untold.saturating_add(1);
            continue;
        };
        if (told.kind, told.gross, told.currency) != (row.kind, row.gross, row.currency) {
            differ = differ.saturating_add(1);
        }
        sum = sum.saturating_add(told.fee.into());
        if told.fee != 0 {
            let id = format!("fee:{}", row.id);
            let ids = Ids { parent: row.ids.own, ..Ids::default() };
            let line = SettlementLine::of_no_object(id, batch, Kind::Fee, told.fee.saturating_neg(), funded);
            lines.push(SettlementLine { ids, card: told.card, ..line });
        }
    }
    Ok(if untold > 0 {
        Err(format!("they do not tell of {untold} of its payments"))
    } else if differ > 0 {
        Err(format!("they tell another amount of {differ} of its payments"))
    } else if sum != i128::from(found.fees) {
        Err(format!("they add up to {sum} and the funding kept back {} (minor units)", found.fees))
    } else {
        Ok(lines)
    })
}

/// Whether a funding pays one batch alone. Else it pays all of its currency that was submitted with it.
fn is_all_of(sum: &BatchSum, found: &NetFunding) -> bool {
    let gross = |kind| sum.kinds.get(&kind).map_or(0, |(_, gross)| *gross);
    gross(Kind::Charge) == i128::from(found.purchases) && gross(Kind::Refund) == -i128::from(found.refunds)
}
