//! What tells of the money: net fundings, and the chargebacks of a day.
//!
//! A net funding tells sums and no batches, so it closes what its purchases and refunds equal to the cent: one batch, or all
//! batches of one report's currency. Where none does, or several could be meant, nothing is closed: the funding is listed
//! for a person. What it took for chargebacks are lines of the batch it closes where the list of the day adds up to it. Every
//! other chargeback is in the day's submitted batch.

use std::collections::BTreeMap;

use tillway_core::money::Money;
use tillway_core::settle::{Batch, Day, Funding, Kind, SettlementLine};
use tillway_core::time::Millis;

use super::routes;
use super::settlement::{Name, Report, document, ready, report, span, submitted};
use super::settlement_chargebacks as chargebacks;
use super::settlement_docs::{self as docs, NetFunding};
use super::settlement_fees::{self as fees, Fees};
use crate::config::Connection;
use crate::port::Call;
use crate::settlement::{BatchStanding, BatchSum, FileFault, ListedBatch, SettleFault};

/// A report that is not there so long after its day is taken for one that never will be.
const NEVER: Millis = Millis::days(3);

/// A batch by its name.
type Named = (Box<str>, BatchSum);

/// What a day's net fundings say at a merchant id: the batches they pay, each with its money; fundings that pay none for
/// sure; and the chargebacks that no closed batch has.
pub(super) async fn listed(
    call: &Call<'_>,
    merchant: &str,
    day: Day,
) -> Result<Vec<ListedBatch>, SettleFault> {
    let mut fundings = fundings(call, merchant, day).await?;
    fundings.retain(|f| [f.purchases, f.refunds, f.fees, f.chargebacks] != [0; 4]);
    let (days, unknown) = match fundings.is_empty() {
        true => (Vec::new(), Vec::new()),
        false => submitted_before(call, merchant, day).await?,
    };
    let mut charged = chargebacks::at(call, merchant, (day, day)).await?;
    let mut out = Vec::new();
    for funding in &fundings {
        let sets = paid_by(&days, funding);
        if let ([set], []) = (sets.as_slice(), unknown.as_slice()) {
            out.extend(closed(call.connection, day, funding, set)?.into_iter().map(ready));
            if takes_along(funding, &charged) {
                charged.retain(|l| l.currency != funding.currency);
            }
        } else {
            let how = match (unknown.as_slice(), sets.len()) {
                ([], 0) => "no batch of the days before has these sums".to_owned(),
                ([], _) => "several batches have these sums".to_owned(),
                (days, _) => {
                    let days: Vec<String> = days.iter().map(Day::to_string).collect();
                    let days = days.join(", ");
                    format!(
                        "there never was a report of {days}, and what was submitted then may have these sums"
                    )
                }
            };
            out.push(unlisted(call.connection, merchant, day, funding, &how));
        }
    }
    charged.extend(late(call, merchant, day).await?);
    out.extend(chargebacks::batches(call.connection, charged));
    Ok(out)
}

/// The chargebacks of the days before that no funding of their day took along. Where one took just these, they are in the batch it
/// closed, or it is listed for a person.
async fn late(call: &Call<'_>, merchant: &str, day: Day) -> Result<Vec<SettlementLine>, SettleFault> {
    let before = (chargebacks::window(call.connection, day).0, day.plus(-1));
    let mut by_day: BTreeMap<Day, Vec<SettlementLine>> = BTreeMap::new();
    for line in chargebacks::at(call, merchant, before).await? {
        by_day.entry(line.day).or_default().push(line);
    }
    let mut out = Vec::new();
    for (of, mut charged) in by_day {
        for funding in fundings(call, merchant, of).await? {
            if takes_along(&funding, &charged) {
                charged.retain(|l| l.currency != funding.currency);
            }
        }
        out.extend(charged);
    }
    Ok(out)
}

/// The batches of the days in which those were submitted that a funding pays, day by day, and the days of which there is no
/// report. One that is not there yet could have another batch of the same sums, so nothing is said before it is there; but
/// it may never have been, as before the subscription.
async fn submitted_before(
    call: &Call<'_>,
    merchant: &str,
    day: Day,
) -> Result<(Vec<Vec<Named>>, Vec<Day>), SettleFault> {
    let days = i32::try_from(call.connection.number("settlement.funding_days", 5)).unwrap_or(5);
    let (mut all, mut unknown) = (Vec::new(), Vec::new());
    for back in 0..=days {
        let submitted = day.plus(back.saturating_neg());
        let report = match report(call, merchant, submitted).await {
            Err(SettleFault::NotReady { .. }) if span(call.connection, submitted).1 + NEVER < call.now => {
                unknown.push(submitted);
                continue;
            }
            report => report?,
        };
        let told = report.as_ref().map(Report::told).transpose()?;
        let batches = told.into_iter().flat_map(|told| &told.batches);
        let named =
            batches.map(|(id, sum)| (Name::of(id, submitted, merchant, call.connection), sum.clone()));
        all.push(named.collect());
    }
    Ok((all, unknown))
}

/// The sets of batches that a funding may pay.
fn paid_by<'a>(days: &'a [Vec<Named>], funding: &NetFunding) -> Vec<Vec<&'a Named>> {
    let mut sets: Vec<Vec<&Named>> = Vec::new();
    for batches in days {
        let of_day: Vec<_> = batches.iter().filter(|(_, sum)| sum.currency == funding.currency).collect();
        if of_day.len() > 1 {
            sets.extend(of_day.iter().map(|one| vec![*one]));
        }
        if !of_day.is_empty() {
            sets.push(of_day);
        }
    }
    let gross = |set: &[&Named], kind: Kind| -> i128 {
        set.iter().filter_map(|(_, sum)| sum.kinds.get(&kind)).map(|(_, gross)| *gross).sum()
    };
    sets.retain(|set| {
        gross(set, Kind::Charge) == i128::from(funding.purchases)
            && gross(set, Kind::Refund) == -i128::from(funding.refunds)
            && set.iter().all(|(_, sum)| !sum.kinds.contains_key(&Kind::Adjustment))
    });
    sets
}

/// The batches of a set, each with its money. What was kept back is kept back from the first.
fn closed(
    connection: &Connection,
    day: Day,
    funding: &NetFunding,
    set: &[&Named],
) -> Result<Vec<Batch>, FileFault> {
    let mut left = i128::from(funding.net);
    let mut batches = Vec::new();
    let overflow = |_| FileFault::new("overflow", "netTotal.value", "does not fit 64 bits");
    let mut sorted = set.to_vec();
    sorted.sort_by(|a, b| b.0.cmp(&a.0));
    for (n, (id, sum)) in sorted.iter().enumerate() {
        let payout = if n.saturating_add(1) == sorted.len() { left } else { sum.net };
        left = left.saturating_sub(payout);
        let payout = i64::try_from(payout).map_err(overflow)?;
        let batch = submitted(connection, id, sum.currency);
        batches.push(Batch { funding: Funding::Funded { payout, day }, ..batch });
    }
    Ok(batches)
}

/// A funding of which it is not known what it pays.
fn unlisted(
    connection: &Connection,
    merchant: &str,
    day: Day,
    funding: &NetFunding,
    how: &str,
) -> ListedBatch {
    let shown = |minor: i64| Money::new(minor, funding.currency);
    let why = format!(
        "a net funding of {}: purchases {}, refunds {}, fees {}, chargebacks {}; {how}, so none is closed by it: \
         compare it with the processor's statement",
        shown(funding.net),
        shown(funding.purchases),
        shown(funding.refunds),
        shown(funding.fees),
        shown(funding.chargebacks),
    );
    let id = Name::of(&format!("funding-{}", funding.currency), day, merchant, connection);
    let batch = submitted(connection, &id, funding.currency);
    let funded = Funding::Funded { payout: funding.net, day };
    ListedBatch { batch: Batch { funding: funded, ..batch }, standing: BatchStanding::Unlisted { why } }
}

/// Whether the chargebacks of a day are what a funding of their currency took for chargebacks.
fn takes_along(funding: &NetFunding, chargebacks: &[SettlementLine]) -> bool {
    let of = chargebacks.iter().filter(|l| l.currency == funding.currency);
    let sum: i128 = of.map(|l| i128::from(l.net)).sum();
    funding.chargebacks != 0 && sum == -i128::from(funding.chargebacks)
}

async fn fundings(call: &Call<'_>, merchant: &str, day: Day) -> Result<Vec<NetFunding>, SettleFault> {
    let at = routes::At::of(call, merchant);
    match document(&at.call(call), "net_fundings", day).await? {
        Some(found) => Ok(docs::net_fundings(found.json())?),
        None => Ok(Vec::new()),
    }
}

/// A batch that a net funding paid.
pub(super) struct Funded<'a> {
    pub(super) batch: &'a Batch,
    /// Its name in the report it was submitted with.
    pub(super) named: &'a str,
    pub(super) report: &'a Report,
    /// What its lines are.
    pub(super) net: i128,
    pub(super) payout: i64,
    pub(super) day: Day,
}

/// What the net funding kept back from a batch: its payout less what its lines are; and what is to be said of it.
pub(super) async fn kept_back(
    call: &Call<'_>,
    merchant: &str,
    funded: &Funded<'_>,
) -> Result<(Vec<SettlementLine>, Option<String>), SettleFault> {
    let Funded { batch, named, report, net, payout, day } = *funded;
    let difference = i128::from(payout).saturating_sub(net);
    if difference == 0 {
        return Ok((Vec::new(), None));
    }
    let all = fundings(call, merchant, day).await?;
    let found = all.iter().find(|f| f.currency == batch.currency);
    let found = found.filter(|f| -i128::from(f.fees) - i128::from(f.chargebacks) == difference);
    let Some(found) = found else {
        let what = format!(
            "the bank got {payout} and the lines of the batch are {net} (minor units), and no net funding of {day} tells \
             why; look at the processor's statement"
        );
        return Err(FileFault::new("sum_differs", "payout", what).into());
    };
    let line = |id, kind, minor| SettlementLine::of_no_object(id, batch, kind, minor, day);
    let (mut out, mut said) = (Vec::new(), None);
    let mut lump = found.fees != 0;
    if lump && call.connection.setting("settlement.fees", "lump") == "details" {
        let at = routes::At::of(call, merchant);
        match fees::per_payment(&at.call(call), batch, report, (named, found), day).await? {
            Fees::Each(lines) => {
                out = lines;
                lump = false;
            }
            Fees::Lump(why) => {
                said = Some(format!(
                    "its fees are one line, {}, for the purchase and refund details do not tell them by payment in time: {why}",
                    Money::new(found.fees, found.currency)
                ));
            }
        }
    }
    if lump {
        out.push(line(
            format!("fees:{merchant}:{day}:{}", batch.currency),
            Kind::Fee,
            found.fees.saturating_neg(),
        ));
    }
    if found.chargebacks != 0 {
        let mut each = chargebacks::at(call, merchant, (day, day)).await?;
        if takes_along(found, &each) {
            each.retain(|l| l.currency == batch.currency);
            each.iter_mut().for_each(|l| l.batch.clone_from(&batch.id));
            out.extend(each);
        } else {
            // Which ones it paid for is not known: one line, and a person looks.
            let id = format!("chargebacks:{merchant}:{day}:{}", batch.currency);
            out.push(line(id, Kind::Adjustment, found.chargebacks.saturating_neg()));
        }
    }
    Ok((out, said))
}
