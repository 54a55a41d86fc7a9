//! What Cybersource settled: the Payment Batch Detail report of a day, which says what was submitted, and what tells of the
//! money.
//!
//! A batch is `<batch>@<day of the report>`, and of a further merchant id `<batch>@<day>@<merchant id>`: only so is
//! its report found again. It is submitted until a net funding (`settlement.funding: net_fundings`) or a line of the
//! bank's statement closes it (`settlement_funding.rs`).
//!
//! The chargebacks of a day that no net funding took along are a submitted batch of their own,
//! `chargebacks-<currency>@<day>`, which grows (`settlement_chargebacks.rs`).

use std::sync::Arc;

use async_trait::async_trait;
use tillway_core::doc::Doc;
use tillway_core::settle::{Batch, Day, Funding, Kind};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value as Params;

use super::client::{Client, ReadFault};
use super::settlement_chargebacks::{self as chargebacks, CHARGEBACKS};
use super::settlement_detail::{self as detail, Asked};
use super::wire::text;
use super::{actions, endpoints, routes, settlement_funding as funding, settlement_settings as settings};
use super::{settlement_xml as xml, wire};
use crate::config::Connection;
use crate::http::kept::File;
use crate::port::{Call, NotDone};
use crate::settlement::paged::{self, Rows};
use crate::settlement::{
    BatchPage, BatchStanding, Effect, Evidence, FileFault, LinePage, ListedBatch, SettleFault, Settlement,
    Statement, values,
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
pub(super) const NOT_YET: Millis = Millis::hours(1);
/// Cursors: the merchant id by its place, then chargebacks or the net funding.
const FUNDING: &str = "funding";

/// Reports over the reporting API.
pub(super) struct Reports;

/// A batch's name, taken apart.
pub(super) struct Name<'a> {
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
    pub(super) fn of(batch: &str, day: Day, merchant: &str, connection: &Connection) -> Box<str> {
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

    /// The order's id, as the readers make of it: of captures alone, for a refund bears its order's too.
    fn reference(&self, kind: Kind, order_id: &str) -> Option<Box<str>> {
        (kind == Kind::Charge).then(|| order_id.into())
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
                let lines = chargebacks::all(call, chargebacks::window(call.connection, day)).await?;
                Ok(BatchPage { batches: chargebacks::batches(call.connection, lines), next: None })
            }
            Some(FUNDING) => {
                let mut batches = Vec::new();
                for merchant in merchants {
                    batches.extend(funding::listed(call, &merchant, day).await?);
                }
                Ok(BatchPage { batches, next: None })
            }
            place => {
                let place: usize = place.and_then(|p| p.parse().ok()).unwrap_or(0);
                let merchant = merchants.get(place).map_or("", String::as_str);
                let report = report(call, merchant, day).await?;
                let told = report.as_ref().map(Report::told).transpose()?;
                let batches = told.into_iter().flat_map(|told| &told.batches).map(|(id, sum)| {
                    let id = Name::of(id, day, merchant, call.connection);
                    ready(sum.batch(&id, &call.connection.name))
                });
                let next = place.saturating_add(1);
                let last = if nets(call.connection) { FUNDING } else { CHARGEBACKS };
                let next = if next < merchants.len() { next.to_string() } else { last.to_owned() };
                Ok(BatchPage { batches: batches.collect(), next: Some(next) })
            }
        }
    }

    async fn lines(
        &self,
        call: &Call<'_>,
        batch: &Batch,
        cursor: Option<&str>,
    ) -> Result<LinePage, SettleFault> {
        let name = Name::parse(&batch.id).ok_or_else(|| {
            let what =
                "is no batch of this connection: `<batch>@<day>` is expected, as `settle show` lists them";
            FileFault::new("no_id", "batch", what)
        })?;
        if name.batch.starts_with(CHARGEBACKS) {
            let mut lines = chargebacks::all(call, (name.day, name.day)).await?;
            lines.retain(|l| l.batch == batch.id);
            return Ok(LinePage { lines, ..LinePage::default() });
        }
        let own = call.connection.setting("merchant_id", "");
        let merchant = name.merchant.unwrap_or(own);
        let Some(report) = report(call, merchant, name.day).await? else { return Ok(LinePage::default()) };
        let told = report.told()?;
        let named = (batch.id.as_ref(), name.batch);
        let mut remarks = Vec::new();
        let (mut lines, next) = paged::page(call.http.kept(), named, cursor, || report.rows())?;
        for line in &mut lines {
            line.batch.clone_from(&batch.id);
        }
        // What was kept back stands behind the last line.
        if let (Funding::Funded { payout, day }, None) = (batch.funding, &next) {
            let net = told.batches.get(name.batch).map_or(0, |sum| sum.net);
            let funded = funding::Funded { batch, named: name.batch, report: &report, net, payout, day };
            let (kept, said) = funding::kept_back(call, merchant, &funded).await?;
            lines.extend(kept);
            remarks.extend(said);
        }
        Ok(LinePage { lines, next, unfamiliar: told.unfamiliar.clone(), remarks })
    }

    fn grows(&self, batch: &str) -> bool {
        batch.starts_with(CHARGEBACKS)
    }

    fn effect(&self, _connection: &Connection, action: &str, params: &Params) -> Option<Effect> {
        let kind = match action {
            actions::CAPTURE_NAME => Kind::Charge,
            actions::REFUND_NAME => Kind::Refund,
            _ => return None,
        };
        let payment: Option<Box<str>> = params.at("payment").as_text().map(Into::into);
        // A capture's row names the authorization it is of.
        let parent = payment.clone().filter(|_| kind == Kind::Charge);
        Some(Effect { kind, amount: params.at("amount").as_money(), payment, parent })
    }
}

fn nets(connection: &Connection) -> bool {
    connection.setting("settlement.funding", "none") == "net_fundings"
}

pub(super) fn ready(batch: Batch) -> ListedBatch {
    ListedBatch { batch, standing: BatchStanding::Ready }
}

pub(super) fn submitted(connection: &Connection, id: &str, currency: tillway_core::money::Currency) -> Batch {
    Batch { id: id.into(), connection: connection.name.clone(), currency, funding: Funding::Submitted }
}

/// Beginning and end of a day as the settings count it.
pub(super) fn span(connection: &Connection, day: Day) -> (Timestamp, Timestamp) {
    let offset = settings::offset(connection);
    (day.start() - offset, day.plus(1).start() - offset)
}

pub(super) fn not_read(fault: ReadFault) -> SettleFault {
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

/// A day's report at a merchant id.
pub(super) struct Report {
    file: Arc<File>,
    /// As seen from the merchant id.
    connection: Connection,
    pub(super) day: Day,
}

impl Report {
    fn is_xml(connection: &Connection) -> bool {
        connection.setting("settlement.format", "csv") == "xml"
    }
    fn asked(&self) -> Asked {
        Asked::of(&self.connection, Some(self.day))
    }
    /// What it says as a whole, all of it being there.
    pub(super) fn told(&self) -> Result<&Statement, FileFault> {
        let told = if Self::is_xml(&self.connection) {
            paged::told(&self.file, |bytes| xml::read(&self.connection, self.asked(), bytes))?
        } else {
            paged::told(&self.file, |bytes| detail::read(&self.connection, self.asked(), bytes))?
        };
        told.prove(&Evidence { bytes: self.file.length(), ..Evidence::default() })?;
        Ok(told)
    }
    /// Its lines, from the first.
    pub(super) fn rows(&self) -> Result<Rows, FileFault> {
        let bytes = self.file.open();
        Ok(if Self::is_xml(&self.connection) {
            Box::new(xml::read(&self.connection, self.asked(), bytes)?)
        } else {
            Box::new(detail::read(&self.connection, self.asked(), bytes)?)
        })
    }
}

/// The report of a day. `None`: there was nothing to report.
pub(super) async fn report(call: &Call<'_>, merchant: &str, day: Day) -> Result<Option<Report>, SettleFault> {
    let at = routes::At::of(call, merchant);
    let there = at.call(call);
    let client = Client::new(&there, 2);
    let connection = there.connection;
    let accept = if Report::is_xml(connection) { "application/xml" } else { "text/csv" };
    let target = endpoints::report_download(connection, settings::report(connection), day);
    match client.download(&target, accept).await {
        Ok(file) => Ok(Some(Report { file, connection: connection.clone(), day })),
        Err(ReadFault::Missing(_)) => missing(&client, day).await.map(|()| None),
        Err(fault) => Err(not_read(fault)),
    }
}

/// Why a report is not there. Without a fault: there was nothing to report.
async fn missing(client: &Client<'_>, day: Day) -> Result<(), SettleFault> {
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
        Some("NO_DATA") => Ok(()),
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
pub(super) async fn document(call: &Call<'_>, name: &str, day: Day) -> Result<Option<Doc>, SettleFault> {
    let (from, to) = span(call.connection, day);
    let client = Client::new(call, 1);
    match client.get(&endpoints::report(call.connection, name, from, to)).await {
        Ok(found) => Ok(Some(found)),
        Err(ReadFault::Missing(_)) => Ok(None),
        Err(fault) => Err(not_read(fault)),
    }
}
