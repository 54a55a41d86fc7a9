//! The Payment Batch Detail report as CSV: the classic layout (1.10), the older one (1.0) and custom reports with dotted
//! names. A row says what was **submitted** to the processor, so a batch of it has no money yet.
//!
//! The sign of an amount depends on the layout and on a preference of the subscription, so it is not believed: the
//! application tells (`ics_credit` is a refund). A capture that is negative contradicts that and is refused, and so is a file
//! that writes some refunds with a sign and some without. The file has no end of its own.

use std::io::Read;

use tillway_core::settle::{Day, Ids, Kind, SettlementLine};
use tillway_core::time::{Millis, Timestamp};

use crate::config::Connection;
use crate::settlement::source::Seen;
use crate::settlement::table::{Column, Dialect, Row, Table, column};
use crate::settlement::{Ending, FileFault, Lines, Reader, Unfamiliar, Whole, values};

use super::wire;

// Numbers of the columns in `columns()`.
const BATCH: usize = 0;
const REQUEST: usize = 1;
const CODE: usize = 2;
const CURRENCY: usize = 3;
const AMOUNT: usize = 4;
const APPLICATION: usize = 5;
const BATCH_DATE: usize = 6;
const MERCHANT: usize = 7;
const LINK: usize = 8;
const STATUS: usize = 9;

fn columns() -> Vec<Column> {
    vec![
        column(true, &["batch_id", "Batch.BatchID"]),
        column(true, &["request_id", "Request.RequestID"]),
        column(true, &["merchant_ref_number", "Request.MerchantReferenceNumber"]),
        column(true, &["currency", "PaymentData.CurrencyCode"]),
        column(true, &["amount", "PaymentData.Amount"]),
        column(true, &["ics_applications", "Application.Name", "transaction_type"]),
        column(true, &["batch_date", "Batch.BatchDate"]),
        column(true, &["merchant_id", "Request.MerchantID"]),
        column(false, &["Request.LinkToRequest", "link_to_request"]),
        column(false, &["status", "Batch.Status"]),
    ]
}

/// Days that a batch may be apart from the report's day: where the file tells its period, and where its batches alone
/// tell whose day it is.
pub(super) const TOLD: u32 = 2;
const UNTOLD: u32 = 1;

const PERIOD: &str = "period of the first record";

/// What is asked of a file.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The merchant ids whose rows these may be.
    pub merchants: Vec<String>,
    /// The day its period ends; `None`: any.
    pub day: Option<Day>,
    /// Local time of the subscription less UTC, which decides whose midnight ends a day.
    pub offset: Millis,
    /// Batches of several currencies become one batch for each: `<batch>-<currency>`.
    pub split_currencies: bool,
}

impl Asked {
    /// What a connection's settings say, for a day's report.
    #[must_use]
    pub fn of(connection: &Connection, day: Option<Day>) -> Self {
        Self {
            merchants: super::routes::merchants(connection),
            day,
            offset: super::settlement_settings::offset(connection),
            split_currencies: connection.setting("settlement.mixed_currencies", "refuse") == "split",
        }
    }

    /// # Errors
    /// `wrong_merchant`.
    pub(super) fn merchant(&self, field: &str, found: &str) -> Result<(), FileFault> {
        if self.merchants.iter().any(|m| m.eq_ignore_ascii_case(found)) {
            return Ok(());
        }
        let what = "is another merchant id than those of this connection; fetch this connection's report, or add the id \
                    to `merchant_ids`";
        Err(FileFault::new("wrong_merchant", field, what))
    }

    /// Whether a period that ends then is the day's.
    ///
    /// # Errors
    /// `wrong_date`.
    pub(super) fn ends(&self, field: &str, end: &str) -> Result<(), FileFault> {
        let end = values::instant(end).ok_or_else(|| {
            let what = "is no time, so it cannot be seen whose day the report is; fetch it again";
            FileFault::new("wrong_date", field, what)
        })?;
        let Some(day) = self.day else { return Ok(()) };
        let found = self.day_of(end);
        if found == day {
            return Ok(());
        }
        let what = format!(
            "the report is of {found} and {day} was asked for; fetch that day's, or see `settlement.utc_offset` and \
             `settlement.report_date`"
        );
        Err(FileFault::new("wrong_date", field, what))
    }

    /// The day of a report that ends then: what ends at midnight is of the day before. Clocks are put forward and back by
    /// an hour.
    pub(super) fn day_of(&self, end: Timestamp) -> Day {
        Day::of(end + self.offset - Millis::hours(1) - Millis::secs(1))
    }

    /// Whether a batch of that day may be in the report: at most so many days apart.
    ///
    /// # Errors
    /// `wrong_date`.
    pub(super) fn batched(&self, field: &str, batched: Day, apart: u32) -> Result<(), FileFault> {
        match self.day {
            Some(day) if batched.since(day).unsigned_abs() > apart => {
                let what = format!("a batch of {batched} in the report of {day}; fetch the report anew");
                Err(FileFault::new("wrong_date", field, what))
            }
            _ => Ok(()),
        }
    }
}

/// A row of the report in whatever form, before it is a line.
pub(super) struct Detail<'a> {
    pub(super) batch: &'a str,
    pub(super) request: &'a str,
    pub(super) code: &'a str,
    pub(super) currency: &'a str,
    pub(super) amount: &'a str,
    pub(super) applications: &'a str,
    pub(super) link: &'a str,
    pub(super) status: &'a str,
    pub(super) day: Day,
    /// Names of request, currency, amount, application, as the file has them.
    pub(super) names: [&'a str; 4],
}

/// Whether a file's refunds have a sign.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Signs {
    signed: Option<bool>,
}

/// What the applications of a request say: a capture or a refund.
fn kind_of(applications: &str) -> Option<Kind> {
    let names = || applications.split(',').map(str::trim);
    let any = |wanted: &[&str]| names().any(|n| wanted.iter().any(|w| n.eq_ignore_ascii_case(w)));
    // Electronic checks are named as cards are [from memory].
    match (any(&["ics_bill", "ics_ecp_debit"]), any(&["ics_credit", "ics_ecp_credit"])) {
        (true, false) => Some(Kind::Charge),
        (false, true) => Some(Kind::Refund),
        _ => None,
    }
}

/// A row as a line, with a status that nobody knows.
///
/// # Errors
/// Without its line.
pub(super) fn line(
    connection: &Connection,
    asked: &Asked,
    signs: &mut Signs,
    row: &Detail<'_>,
) -> Result<(SettlementLine, Option<String>), FileFault> {
    let [request, currency_name, amount, application] = row.names;
    let currency = values::currency(currency_name, row.currency)?;
    if super::wire::currency(connection, currency.code(), currency_name).is_err() {
        let what = format!("how Cybersource writes {currency} is not confirmed; see `allow_three_decimals`");
        return Err(FileFault::new("bad_currency", currency_name, what));
    }
    let written = values::amount(amount, row.amount, currency)?.minor;
    let Some(kind) = kind_of(row.applications) else {
        let what = "neither a capture (ics_bill) nor a refund (ics_credit), or both, so the sign of the amount is not \
                    known; look at the request in the Business Center and tell us";
        return Err(FileFault::new("unknown_application", application, what));
    };
    if kind == Kind::Charge && written < 0 {
        let what = "a capture with a negative amount; look at the request in the Business Center";
        return Err(FileFault::new("wrong_sign", amount, what));
    }
    if kind == Kind::Refund && written != 0 && *signs.signed.get_or_insert(written < 0) != (written < 0) {
        let what = "some refunds of this file have a sign and some have none; have the report made anew";
        return Err(FileFault::new("wrong_sign", amount, what));
    }
    let size = written.saturating_abs();
    let gross = if kind == Kind::Refund { size.saturating_neg() } else { size };
    // Submitted is all a row says. Another status says something else, and a person has to read it.
    let settled = row.status.is_empty()
        || ["BATCHED", "TRANSMITTED"].iter().any(|s| row.status.eq_ignore_ascii_case(s));
    let parent = Some(row.link).filter(|l| wire::is_id(l) && *l != row.request);
    if !wire::is_id(row.request) {
        return Err(FileFault::new("bad_id", request, "is no id of a request; have the report made anew"));
    }
    // Our reference is the order's: it names captures, and no refund.
    let ours = kind == Kind::Charge && values::is_reference(row.code);
    let reference = wire::order_of(connection, row.code).filter(|_| ours);
    let batch: Box<str> =
        if asked.split_currencies { format!("{}-{currency}", row.batch).into() } else { row.batch.into() };
    let line = SettlementLine {
        // A request that is batched a second time is a second line.
        id: format!("{}:{}", row.batch, row.request).into(),
        batch,
        kind: if settled { kind } else { Kind::Adjustment },
        ids: Ids { own: Some(row.request.into()), parent: parent.map(Into::into), payment: None },
        reference: reference.map(Into::into),
        gross,
        fee: 0,
        fee_tax: 0,
        net: gross,
        currency,
        presentment: None,
        day: row.day,
        // The report names no last four digits.
        card: None,
    };
    Ok((line, (!settled).then(|| row.status.to_owned())))
}

/// The report, row by row.
pub struct BatchDetail<R> {
    table: Table<R>,
    connection: Connection,
    asked: Asked,
    signs: Signs,
    unfamiliar: Unfamiliar,
    /// Days that a batch may be apart from the report's.
    apart: u32,
    at: u64,
}

/// Opens a report.
///
/// # Errors
/// The first fault up to the header.
pub fn read<R: Read>(
    connection: &Connection,
    asked: Asked,
    bytes: R,
) -> Result<Reader<BatchDetail<R>>, FileFault> {
    let table = Table::open(bytes, columns(), Dialect::default())?;
    let mut apart = UNTOLD;
    for about in table.preamble() {
        head(&asked, &about).map_err(|f| f.at(1))?;
        apart = TOLD;
    }
    Ok(Reader::new(BatchDetail {
        table,
        connection: connection.clone(),
        asked,
        signs: Signs::default(),
        unfamiliar: Unfamiliar::default(),
        apart,
        at: 1,
    }))
}

/// `<merchant>,<report name>,PaymentBatchDetail,1.10,<start> to <end>`
fn head(asked: &Asked, cells: &[std::borrow::Cow<'_, str>]) -> Result<(), FileFault> {
    if let Some(merchant) = cells.first().map(|c| c.trim()).filter(|c| !c.is_empty()) {
        asked.merchant("merchant of the first record", merchant)?;
    }
    let period = cells.iter().find_map(|c| c.split_once(" to "));
    asked.ends(PERIOD, period.map_or("", |(_, end)| end))
}

impl<R: Read> Lines for BatchDetail<R> {
    fn line(&mut self) -> Result<Option<SettlementLine>, FileFault> {
        let Some(row) = self.table.row()? else { return Ok(None) };
        self.at = row.line;
        let (line, status) = of_row(&self.connection, &self.asked, self.apart, &mut self.signs, &row)
            .map_err(|f| f.at(row.line))?;
        if let Some(status) = status {
            self.unfamiliar.note(&status);
        }
        Ok(Some(line))
    }
    fn at(&self) -> u64 {
        self.at
    }
}

fn of_row(
    connection: &Connection,
    asked: &Asked,
    apart: u32,
    signs: &mut Signs,
    row: &Row<'_>,
) -> Result<(SettlementLine, Option<String>), FileFault> {
    asked.merchant(row.name(MERCHANT), &row.text(MERCHANT)?)?;
    let day = values::needed_day(row.name(BATCH_DATE), &row.text(BATCH_DATE)?)?;
    asked.batched(row.name(BATCH_DATE), day, apart)?;
    let (batch, request) = (row.id(BATCH)?, row.id(REQUEST)?);
    let (code, currency, amount) = (row.text(CODE)?, row.text(CURRENCY)?, row.text(AMOUNT)?);
    let (applications, link, status) = (row.text(APPLICATION)?, row.text(LINK)?, row.text(STATUS)?);
    let detail = Detail {
        batch: &batch,
        request: &request,
        code: &code,
        currency: &currency,
        amount: &amount,
        applications: &applications,
        link: &link,
        status: &status,
        day,
        names: [row.name(REQUEST), row.name(CURRENCY), row.name(AMOUNT), row.name(APPLICATION)],
    };
    line(connection, asked, signs, &detail)
}

impl<R: Read> Whole for BatchDetail<R> {
    fn seen(&self) -> Seen {
        self.table.seen()
    }
    fn ending(&self) -> Ending {
        self.table.ending()
    }
    fn unfamiliar(&self) -> &Unfamiliar {
        &self.unfamiliar
    }
}
