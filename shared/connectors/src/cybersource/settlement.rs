//! What Cybersource settled: the Payment Batch Detail report of a day, which says what was submitted, and what tells of the
//! money.
//!
//! A batch is `<batch>@<day of the report>`, and of a further merchant id `<batch>@<day>@<merchant id>`: only so is
//! its report found again. It is submitted until a net funding (`settlement.funding: net_fundings`) or a line of the
//! bank's statement closes it. A net funding tells sums and no batches, so it closes what its purchases and refunds equal to
//! the cent: one batch, or all batches of one report's currency; where several could be meant, none.
//!
//! Without net fundings, the chargebacks of a day are a submitted batch of their own, `chargebacks-<currency>@<day>`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tillway_core::doc::Doc;
use tillway_core::settle::{Batch, Day, Funding, Ids, Kind, SettlementLine};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value as Params;

use super::client::{Client, ReadFault};
use super::settlement_detail::{self as detail, Asked};
use super::settlement_docs::{self as docs, NetFunding};
use super::wire::text;
use super::{actions, endpoints, routes, settlement_settings as settings, settlement_xml as xml, wire};
use crate::config::Connection;
use crate::port::{Call, NotDone};
use crate::settlement::{
    BatchPage, BatchStanding, BatchSum, Effect, Evidence, FileFault, LinePage, ListedBatch, SettleFault,
    Settlement, Statement, values,
};

/// The rules where a shop gives none. What is captured is submitted at the next cut-off.
const RULES: &str = "\
settlement: cybersource
due: {charge: 1, refund: 1}
grace: 5
windows:
  gateway-id: {early: 30, late: 400}
  reference: {early: 7, late: 60}
  content: {early: 2, late: 4}
explain:
  kept-back: {kinds: [fee], up-to: 1000000, account: fees, reason: what the processor kept back of a funding}
";

/// A report that is being made is asked for again after this.
const BEING_MADE: Millis = Millis::mins(30);
/// One of which nothing is known yet.
const NOT_YET: Millis = Millis::hours(1);
/// Cursors: the merchant id by its place, then chargebacks or the net funding.
const CHARGEBACKS: &str = "chargebacks";
const FUNDING: &str = "funding";

/// Reports over the reporting API.
pub(super) struct Reports;

/// A batch's name, taken apart.
struct Name<'a> {
    batch: &'a str,
    day: Day,
    merchant: Option<&'a str>,
}

impl<'a> Name<'a> {
    fn parse(id: &'a str) -> Option<Self> {
        let mut parts = id.splitn(3, '@');
        let (batch, day, merchant) = (parts.next()?, values::day(parts.next()?)?, parts.next());
        Some(Self { batch, day, merchant })
    }
    fn of(batch: &str, day: Day, merchant: &str, connection: &Connection) -> Box<str> {
        if merchant == connection.setting("merchant_id", "") {
            format!("{batch}@{day}").into()
        } else {
            format!("{batch}@{day}@{merchant}").into()
        }
    }
}

#[async_trait]
impl Settlement for Reports {
    fn rules(&self, _connection: &Connection) -> &'static str {
        RULES
    }

    async fn batches(
        &self,
        call: &Call<'_>,
        day: Day,
        cursor: Option<&str>,
    ) -> Result<BatchPage, SettleFault> {
        let merchants = routes::merchants(call.connection);
        match cursor {
            Some(CHARGEBACKS) => {
                let lines = chargebacks(call, day).await?;
                let mut batches: BTreeMap<Box<str>, Batch> = BTreeMap::new();
                for line in lines {
                    let batch = submitted(call.connection, &line.batch, line.currency);
                    batches.insert(line.batch, batch);
                }
                Ok(BatchPage { batches: batches.into_values().map(ready).collect(), next: None })
            }
            Some(FUNDING) => {
                let mut batches = Vec::new();
                for merchant in merchants {
                    for funding in funding(call, &merchant, day).await? {
                        batches.extend(funded(call, &merchant, day, &funding).await?);
                    }
                }
                Ok(BatchPage { batches: batches.into_iter().map(ready).collect(), next: None })
            }
            place => {
                let place: usize = place.and_then(|p| p.parse().ok()).unwrap_or(0);
                let merchant = merchants.get(place).map_or("", String::as_str);
                let told = report(call, merchant, day, None).await?;
                let batches = told.into_iter().flat_map(|(told, _)| told.batches);
                let batches = batches.map(|(id, sum)| {
                    let id = Name::of(&id, day, merchant, call.connection);
                    ready(sum.batch(&id, &call.connection.name))
                });
                let next = place.saturating_add(1);
                let last = if nets(call.connection) { FUNDING } else { CHARGEBACKS };
                let next = if next < merchants.len() { next.to_string() } else { last.to_owned() };
                Ok(BatchPage { batches: batches.collect(), next: Some(next) })
            }
        }
    }

    async fn batch(&self, call: &Call<'_>, id: &str) -> Result<Option<ListedBatch>, SettleFault> {
        let Some(name) = Name::parse(id) else { return Ok(None) };
        if name.batch.starts_with(CHARGEBACKS) {
            let found = chargebacks(call, name.day).await?.into_iter().find(|l| l.batch.as_ref() == id);
            return Ok(found.map(|l| ready(submitted(call.connection, id, l.currency))));
        }
        let own = call.connection.setting("merchant_id", "");
        let told = report(call, name.merchant.unwrap_or(own), name.day, None).await?;
        let sum = told.and_then(|(told, _)| told.batches.get(name.batch).cloned());
        Ok(sum.map(|sum| ready(sum.batch(id, &call.connection.name))))
    }

    async fn lines(
        &self,
        call: &Call<'_>,
        batch: &Batch,
        _cursor: Option<&str>,
    ) -> Result<LinePage, SettleFault> {
        let name = Name::parse(&batch.id).ok_or_else(|| {
            let what =
                "is no batch of this connection: `<batch>@<day>` is expected, as `settle show` lists them";
            FileFault::new("no_id", "batch", what)
        })?;
        if name.batch.starts_with(CHARGEBACKS) {
            let mut lines = chargebacks(call, name.day).await?;
            lines.retain(|l| l.batch == batch.id);
            return Ok(LinePage { lines, next: None });
        }
        let own = call.connection.setting("merchant_id", "");
        let merchant = name.merchant.unwrap_or(own);
        let told = report(call, merchant, name.day, Some(name.batch)).await?;
        let mut lines = told.map(|(_, lines)| lines).unwrap_or_default();
        for line in &mut lines {
            line.batch.clone_from(&batch.id);
        }
        if let Funding::Funded { payout, day } = batch.funding {
            lines.extend(kept_back(call, merchant, batch, &lines, (payout, day)).await?);
        }
        Ok(LinePage { lines, next: None })
    }

    fn effect(&self, connection: &Connection, action: &str, params: &Params) -> Option<Effect> {
        let kind = match action {
            actions::CAPTURE_NAME => Kind::Charge,
            actions::REFUND_NAME => Kind::Refund,
            _ => return None,
        };
        let _ = connection;
        let payment: Option<Box<str>> = params.at("payment").as_text().map(Into::into);
        // A capture's row names the authorization it is of.
        let parent = payment.clone().filter(|_| kind == Kind::Charge);
        Some(Effect { kind, amount: params.at("amount").as_money(), payment, parent })
    }
}

fn nets(connection: &Connection) -> bool {
    connection.setting("settlement.funding", "none") == "net_fundings"
}

fn ready(batch: Batch) -> ListedBatch {
    ListedBatch { batch, standing: BatchStanding::Ready }
}

fn submitted(connection: &Connection, id: &str, currency: tillway_core::money::Currency) -> Batch {
    Batch { id: id.into(), connection: connection.name.clone(), currency, funding: Funding::Submitted }
}

/// Beginning and end of a day as the settings count it.
fn span(connection: &Connection, day: Day) -> (Timestamp, Timestamp) {
    let offset = settings::offset(connection);
    (day.start() - offset, day.plus(1).start() - offset)
}

fn not_read(fault: ReadFault) -> SettleFault {
    match fault {
        ReadFault::NotNow(after, why) => SettleFault::NotNow { why, after },
        ReadFault::Forbidden(_) => SettleFault::NotNow { why: NotDone::Unauthorized, after: None },
        other => {
            let what =
                format!("Cybersource said {}; look at the connection's `settlement.*` settings", other.why());
            FileFault::new("refused", "reporting", what).into()
        }
    }
}

/// A report's lines: those of one batch, or none, and what it says as a whole. `None`: there was nothing to report.
async fn report(
    call: &Call<'_>,
    merchant: &str,
    day: Day,
    wanted: Option<&str>,
) -> Result<Option<(Statement, Vec<SettlementLine>)>, SettleFault> {
    let at = routes::At::of(call, merchant);
    let there = at.call(call);
    let client = Client::new(&there, 2);
    let connection = there.connection;
    let as_xml = connection.setting("settlement.format", "csv") == "xml";
    let accept = if as_xml { "application/xml" } else { "text/csv" };
    let target = endpoints::report_download(connection, settings::report(connection), day);
    let bytes = match client.download(&target, accept).await {
        Ok(bytes) => bytes,
        Err(ReadFault::Missing(_)) => return missing(&client, day).await,
        Err(fault) => return Err(not_read(fault)),
    };
    let asked = Asked::of(connection, Some(day));
    let mut lines = Vec::new();
    let mut keep = |line: SettlementLine| {
        if Some(line.batch.as_ref()) == wanted {
            lines.push(line);
        }
    };
    let told = if as_xml {
        let mut reader = xml::read(connection, asked, bytes.as_slice())?;
        reader.by_ref().map_while(Result::ok).for_each(&mut keep);
        reader.finish()?
    } else {
        let mut reader = detail::read(connection, asked, bytes.as_slice())?;
        reader.by_ref().map_while(Result::ok).for_each(&mut keep);
        reader.finish()?
    };
    // The way out gives whole answers alone: one that broke off is none.
    let whole = u64::try_from(bytes.len()).ok();
    told.prove(&Evidence { bytes: whole, ..Evidence::default() })?;
    Ok(Some((told, lines)))
}

/// Why a report is not there.
async fn missing(
    client: &Client<'_>,
    day: Day,
) -> Result<Option<(Statement, Vec<SettlementLine>)>, SettleFault> {
    let connection = client.call.connection;
    let name = settings::report(connection);
    let (from, to) = span(connection, day);
    let target = endpoints::report_search(connection, name, from - Millis::days(1), to + Millis::days(1));
    let found = match client.get(&target).await {
        Ok(found) => found,
        Err(ReadFault::Missing(_)) => return Err(SettleFault::NotReady { after: NOT_YET }),
        Err(fault) => return Err(not_read(fault)),
    };
    let asked = Asked::of(connection, None);
    let results = found.json().get("reportSearchResults");
    let of_day = results.into_iter().flat_map(tillway_core::doc::Json::items).filter(|r| {
        let end = text(*r, &["reportEndTime"]).and_then(values::instant);
        text(*r, &["reportName"]) == Some(name) && end.is_some_and(|end| asked.day_of(end) == day)
    });
    // Run again, a report is listed again: the latest counts.
    let latest = of_day.max_by_key(|r| text(*r, &["queuedTime"]).and_then(values::instant));
    match latest.and_then(|r| text(r, &["status"])) {
        Some("NO_DATA") => Ok(None),
        Some("ERROR") => {
            let what = "the report could not be made; run it again in the Business Center, then settle the day again";
            Err(FileFault::new("report_failed", "status", what).into())
        }
        Some("PENDING" | "QUEUED" | "RUNNING" | "RERUN" | "COMPLETED") => {
            Err(SettleFault::NotReady { after: BEING_MADE })
        }
        Some(other) => {
            let what = format!("the report's status is {}, which nobody here knows", wire::shown(other));
            Err(FileFault::new("report_failed", "status", what).into())
        }
        None => Err(SettleFault::NotReady { after: NOT_YET }),
    }
}

/// A document of the reporting API; nothing where it has no data.
async fn document(call: &Call<'_>, name: &str, day: Day) -> Result<Option<Doc>, SettleFault> {
    let (from, to) = span(call.connection, day);
    let client = Client::new(call, 1);
    match client.get(&endpoints::report(call.connection, name, from, to)).await {
        Ok(found) => Ok(Some(found)),
        Err(ReadFault::Missing(_)) => Ok(None),
        Err(fault) => Err(not_read(fault)),
    }
}

/// The chargebacks of a day, batch by merchant id and currency.
async fn chargebacks(call: &Call<'_>, day: Day) -> Result<Vec<SettlementLine>, SettleFault> {
    let mut lines = Vec::new();
    for merchant in routes::merchants(call.connection) {
        lines.extend(chargebacks_at(call, &merchant, day).await?);
    }
    Ok(lines)
}

async fn chargebacks_at(
    call: &Call<'_>,
    merchant: &str,
    day: Day,
) -> Result<Vec<SettlementLine>, SettleFault> {
    let at = routes::At::of(call, merchant);
    let there = at.call(call);
    let batch = |c| Name::of(&format!("{CHARGEBACKS}-{c}"), day, merchant, call.connection);
    match document(&there, "chargeback_details", day).await? {
        Some(found) => Ok(docs::chargeback_lines(call.connection, found.json(), day, batch)?),
        None => Ok(Vec::new()),
    }
}

async fn funding(call: &Call<'_>, merchant: &str, day: Day) -> Result<Vec<NetFunding>, SettleFault> {
    let at = routes::At::of(call, merchant);
    match document(&at.call(call), "net_fundings", day).await? {
        Some(found) => Ok(docs::net_fundings(found.json())?),
        None => Ok(Vec::new()),
    }
}

/// The batches a net funding pays, each with its money.
async fn funded(
    call: &Call<'_>,
    merchant: &str,
    day: Day,
    funding: &NetFunding,
) -> Result<Vec<Batch>, SettleFault> {
    let connection = call.connection;
    let days = i32::try_from(connection.number("settlement.funding_days", 5)).unwrap_or(5);
    let mut sets: Vec<Vec<(Box<str>, BatchSum)>> = Vec::new();
    for back in 0..=days {
        let submitted = day.plus(back.saturating_neg());
        let told = match report(call, merchant, submitted, None).await {
            Ok(told) => told,
            // That day's own run waits for it.
            Err(SettleFault::NotReady { .. }) => None,
            Err(fault) => return Err(fault),
        };
        let batches = told.into_iter().flat_map(|(told, _)| told.batches);
        let of_day: Vec<(Box<str>, BatchSum)> = batches
            .filter(|(_, sum)| sum.currency == funding.currency)
            .map(|(id, sum)| (Name::of(&id, submitted, merchant, connection), sum))
            .collect();
        if of_day.len() > 1 {
            sets.extend(of_day.iter().map(|one| vec![one.clone()]));
        }
        if !of_day.is_empty() {
            sets.push(of_day);
        }
    }
    let gross = |set: &[(Box<str>, BatchSum)], kind: Kind| -> i128 {
        set.iter().filter_map(|(_, sum)| sum.kinds.get(&kind)).map(|(_, gross, _)| *gross).sum()
    };
    sets.retain(|set| {
        gross(set, Kind::Charge) == i128::from(funding.purchases)
            && gross(set, Kind::Refund) == -i128::from(funding.refunds)
            && set.iter().all(|(_, sum)| !sum.kinds.contains_key(&Kind::Adjustment))
    });
    let [set] = sets.as_slice() else { return Ok(Vec::new()) };
    let mut left = i128::from(funding.net);
    let mut batches = Vec::new();
    let overflow = |_| FileFault::new("overflow", "netTotal.value", "does not fit 64 bits");
    let mut sorted: Vec<&(Box<str>, BatchSum)> = set.iter().collect();
    sorted.sort_by(|a, b| b.0.cmp(&a.0));
    // What was kept back is kept back from the first.
    for (n, (id, sum)) in sorted.iter().enumerate() {
        let payout = if n.saturating_add(1) == sorted.len() { left } else { sum.net };
        left = left.saturating_sub(payout);
        let payout = i64::try_from(payout).map_err(overflow)?;
        let batch = submitted(connection, id, sum.currency);
        batches.push(Batch { funding: Funding::Funded { payout, day }, ..batch });
    }
    Ok(batches)
}

/// What the net funding kept back from a batch: its payout less its lines.
async fn kept_back(
    call: &Call<'_>,
    merchant: &str,
    batch: &Batch,
    lines: &[SettlementLine],
    (payout, day): (i64, Day),
) -> Result<Vec<SettlementLine>, SettleFault> {
    let net: i128 = lines.iter().map(|l| i128::from(l.net)).sum();
    let difference = i128::from(payout).saturating_sub(net);
    if difference == 0 {
        return Ok(Vec::new());
    }
    let all = funding(call, merchant, day).await?;
    let found = all.iter().find(|f| f.currency == batch.currency);
    let found = found.filter(|f| -i128::from(f.fees) - i128::from(f.chargebacks) == difference);
    let Some(found) = found else {
        let what = format!(
            "the bank got {payout} and the lines of the batch are {net} (minor units), and no net funding of {day} tells \
             why; look at the processor's statement"
        );
        return Err(FileFault::new("sum_differs", "payout", what).into());
    };
    let line = |id: String, kind: Kind, minor: i64| SettlementLine {
        id: id.into(),
        batch: batch.id.clone(),
        kind,
        ids: Ids::default(),
        reference: None,
        gross: minor,
        fee: 0,
        fee_tax: 0,
        net: minor,
        currency: batch.currency,
        presentment: None,
        day,
        card: None,
    };
    let mut out = Vec::new();
    if found.fees != 0 {
        out.push(line(
            format!("fees:{merchant}:{day}:{}", batch.currency),
            Kind::Fee,
            found.fees.saturating_neg(),
        ));
    }
    if found.chargebacks != 0 {
        let mut each = chargebacks_at(call, merchant, day).await?;
        each.retain(|l| l.currency == batch.currency);
        let sum: i128 = each.iter().map(|l| i128::from(l.net)).sum();
        if sum == -i128::from(found.chargebacks) {
            each.iter_mut().for_each(|l| l.batch.clone_from(&batch.id));
            out.extend(each);
        } else {
            // Which ones it paid for is not known: one line, and a person looks.
            let id = format!("chargebacks:{merchant}:{day}:{}", batch.currency);
            out.push(line(id, Kind::Adjustment, found.chargebacks.saturating_neg()));
        }
    }
    Ok(out)
}
