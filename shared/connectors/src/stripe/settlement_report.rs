//! The itemized payout-reconciliation report (`payout_reconciliation.itemized.5`), a CSV file in major units.
//!
//! Columns are found by name: their order and columns nobody here knows do not matter, and a missing one is named. A
//! row's category decides what it is; one that nobody knows is an adjustment, which stays open for a person. The file
//! has no end of its own: payouts, or its size, show that all of it came ([`crate::settlement::Statement::prove`]).

use std::borrow::Cow;
use std::io::Read;

use tillway_core::money::{Currency, Money};
use tillway_core::settle::{Day, Ids, Kind, SettlementLine};

use super::settlement::{WRONG_SIGN, wrong_sign};
use super::wire;
use crate::settlement::source::Seen;
use crate::settlement::table::{Column, Dialect, Row, Table, column};
use crate::settlement::{Ending, FileFault, Lines, Reader, Unfamiliar, Whole, values};

/// Type of the report everything here was written against.
pub const REPORT_TYPE: &str = "payout_reconciliation.itemized.5";

/// Columns a report run has to ask for.
pub const COLUMNS: [&str; 19] = [
    "automatic_payout_id",
    "automatic_payout_effective_at_utc",
    "balance_transaction_id",
    "created_utc",
    "available_on_utc",
    "currency",
    "gross",
    "fee",
    "net",
    "reporting_category",
    "source_id",
    "customer_facing_amount",
    "customer_facing_currency",
    "charge_id",
    "payment_intent_id",
    "payment_method_type",
    "connected_account_id",
    "payment_metadata[tillway_command]",
    "refund_metadata[tillway_command]",
];

// Numbers of the columns in `columns()`.
const ID: usize = 0;
const PAYOUT: usize = 1;
const CURRENCY: usize = 2;
const GROSS: usize = 3;
const FEE: usize = 4;
const NET: usize = 5;
const CATEGORY: usize = 6;
const AVAILABLE: usize = 7;
const CREATED: usize = 8;
const EFFECTIVE: usize = 9;
const SOURCE: usize = 10;
const CHARGE: usize = 11;
const INTENT: usize = 12;
const SHOWN: usize = 13;
const SHOWN_CURRENCY: usize = 14;
const ACCOUNT: usize = 15;
const COMMAND: usize = 16;
const REFUND_COMMAND: usize = 17;

fn columns() -> Vec<Column> {
    vec![
        column(true, &["balance_transaction_id"]),
        column(true, &["automatic_payout_id"]),
        column(true, &["currency"]),
        column(true, &["gross"]),
        column(true, &["fee"]),
        column(true, &["net"]),
        column(true, &["reporting_category"]),
        column(false, &["available_on_utc"]),
        column(true, &["created_utc"]),
        column(false, &["automatic_payout_effective_at_utc"]),
        column(true, &["source_id"]),
        column(false, &["charge_id"]),
        column(false, &["payment_intent_id"]),
        column(false, &["customer_facing_amount"]),
        column(false, &["customer_facing_currency"]),
        column(false, &["connected_account_id"]),
        named(&format!("payment_metadata[{}]", wire::COMMAND_KEY)),
        named(&format!("refund_metadata[{}]", wire::COMMAND_KEY)),
    ]
}

fn named(name: &str) -> Column {
    Column { names: vec![Cow::Owned(name.to_owned())], needed: false }
}

/// What a category is, and whether anybody here knows it: what nobody knows is an adjustment. `Err`: what it is, and
/// its gross has another sign than that has.
pub(super) fn kind_of(category: &str, gross: i64) -> Result<(Kind, bool), Kind> {
    // With the sign of the gross: 1, -1, or 0 where it may have either.
    let (kind, sign) = match category {
        "charge" => (Kind::Charge, 1),
        "partial_capture_reversal" => (Kind::CaptureReversal, -1),
        "refund" => (Kind::Refund, -1),
        "refund_failure" => (Kind::RefundFailure, 1),
        "dispute" => (Kind::Dispute, -1),
        "dispute_reversal" => (Kind::DisputeReversal, 1),
        "fee" | "network_cost" => (Kind::Fee, 0),
        "tax" => (Kind::TaxOnFee, 0),
        "payout" => (Kind::Payout, 0),
        "payout_reversal" => (Kind::PayoutReversal, 0),
        "risk_reserved_funds" | "connect_reserved_funds" if gross < 0 => (Kind::ReserveHold, 0),
        "risk_reserved_funds" | "connect_reserved_funds" => (Kind::ReserveRelease, 0),
        // A charge that failed after it was made takes money back that nobody refunded: a person looks.
        "charge_failure"
        | "other_adjustment"
        | "topup"
        | "topup_reversal"
        | "transfer"
        | "transfer_reversal"
        | "advance"
        | "advance_funding"
        | "anticipation_repayment"
        | "contribution"
        | "climate_order_purchase"
        | "climate_order_refund"
        | "connect_collection_transfer"
        | "platform_earning"
        | "platform_earning_refund"
        | "unreconciled_customer_funds" => (Kind::Adjustment, 0),
        _ => return Ok((Kind::Adjustment, false)),
    };
    if sign != 0 && gross.signum() == -sign { Err(kind) } else { Ok((kind, true)) }
}

/// What is asked of a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// First and last day on which its payouts reach the bank, UTC.
    pub days: Option<(Day, Day)>,
    /// The connected account it is about; `None`: rows of connected accounts are somebody else's.
    pub account: Option<&'a str>,
}

/// The report, row by row.
pub struct PayoutReport<R> {
    table: Table<R>,
    days: Option<(Day, Day)>,
    account: Option<String>,
    unfamiliar: Unfamiliar,
    at: u64,
}

/// Opens a report.
///
/// # Errors
/// The first fault up to the header.
pub fn read<R: Read>(asked: Asked<'_>, bytes: R) -> Result<Reader<PayoutReport<R>>, FileFault> {
    let table = Table::open(bytes, columns(), Dialect { before: 0, ..Dialect::default() })?;
    let account = asked.account.map(str::to_owned);
    Ok(Reader::new(PayoutReport {
        table,
        days: asked.days,
        account,
        unfamiliar: Unfamiliar::default(),
        at: 1,
    }))
}

impl<R: Read> Lines for PayoutReport<R> {
    fn line(&mut self) -> Result<Option<SettlementLine>, FileFault> {
        let Some(row) = self.table.row()? else { return Ok(None) };
        self.at = row.line;
        let (line, unknown) = line(&row, self.days, self.account.as_deref())?;
        if let Some(category) = unknown {
            self.unfamiliar.note(&category);
        }
        Ok(Some(line))
    }
    fn at(&self) -> u64 {
        self.at
    }
}

impl<R: Read> Whole for PayoutReport<R> {
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

/// A row, with its category where nobody knows that.
fn line(
    row: &Row<'_>,
    days: Option<(Day, Day)>,
    account: Option<&str>,
) -> Result<(SettlementLine, Option<String>), FileFault> {
    let id = row.id(ID)?;
    let batch = row.id(PAYOUT)?;
    if let Some(found) = row.some(ACCOUNT)?
        && account != Some(found.as_ref())
    {
        let what = "the row is of another account; fetch the report of this connection's account";
        return Err(row.fault("wrong_merchant", ACCOUNT, what));
    }
    let currency = values::currency(row.name(CURRENCY), &row.text(CURRENCY)?).map_err(|f| f.at(row.line))?;
    let amount = |column| money(row, column, currency);
    let (gross, fee, net) = (amount(GROSS)?, amount(FEE)?, amount(NET)?);
    if gross.checked_sub(fee) != Some(net) {
        let what = "is not gross less fee; have the report made anew, and tell Stripe if it comes again";
        return Err(row.fault("sum_differs", NET, what));
    }
    let category = row.text(CATEGORY)?;
    let (kind, known) =
        kind_of(&category, gross).map_err(|kind| row.fault(WRONG_SIGN, GROSS, wrong_sign(kind, &id)))?;
    let available = match row.some(AVAILABLE)? {
        Some(text) => day(row, AVAILABLE, &text)?,
        None => day(row, CREATED, &row.text(CREATED)?)?,
    };
    if let (Some(text), Some((first, last))) = (row.some(EFFECTIVE)?, days) {
        let paid = day(row, EFFECTIVE, &text)?;
        if !(first..=last).contains(&paid) {
            let what =
                format!("the payout is of {paid} and {first} to {last} was asked for; fetch that report");
            return Err(row.fault("wrong_date", EFFECTIVE, what));
        }
    }
    let line = SettlementLine {
        kind,
        ids: ids(row, kind, &id)?,
        reference: reference(row, kind)?,
        gross,
        fee,
        fee_tax: 0,
        net,
        currency,
        presentment: presentment(row, gross, currency)?,
        day: available,
        // The report names no last four digits.
        card: None,
        id: id.into(),
        batch: batch.into(),
    };
    Ok((line, (!known).then(|| category.into_owned())))
}

fn money(row: &Row<'_>, column: usize, currency: Currency) -> Result<i64, FileFault> {
    let read = values::amount(row.name(column), &row.text(column)?, currency);
    read.map(|m| m.minor).map_err(|f| f.at(row.line))
}

fn day(row: &Row<'_>, column: usize, text: &str) -> Result<Day, FileFault> {
    values::needed_day(row.name(column), text).map_err(|f| f.at(row.line))
}

/// By which id the journal names what the row is about: a charge by its own, a refund too, a dispute's movement by
/// the balance transaction.
fn ids(row: &Row<'_>, kind: Kind, id: &str) -> Result<Ids, FileFault> {
    let get = |column| row.some(column).map(|t| t.map(|t| Box::<str>::from(t.as_ref())));
    let (source, charge, payment) = (get(SOURCE)?, get(CHARGE)?, get(INTENT)?);
    let (own, parent) = match kind {
        Kind::Dispute | Kind::DisputeReversal => (Some(id.into()), source),
        Kind::CaptureReversal => (charge.or(source), None),
        _ => (source, charge),
    };
    let parent = parent.filter(|p| own.as_ref() != Some(p));
    Ok(Ids { own, parent, payment })
}

/// The command that caused it. The payment's names charges alone: a refund is another command's.
fn reference(row: &Row<'_>, kind: Kind) -> Result<Option<Box<str>>, FileFault> {
    let column = match kind {
        Kind::Charge | Kind::CaptureReversal => COMMAND,
        Kind::Refund | Kind::RefundFailure => REFUND_COMMAND,
        _ => return Ok(None),
    };
    Ok(row.some(column)?.filter(|t| values::is_reference(t)).map(|t| t.as_ref().into()))
}

/// What the customer saw, where it was another currency; signed as the gross is.
fn presentment(row: &Row<'_>, gross: i64, currency: Currency) -> Result<Option<Money>, FileFault> {
    let Some(code) = row.some(SHOWN_CURRENCY)? else { return Ok(None) };
    let shown = values::currency(row.name(SHOWN_CURRENCY), &code).map_err(|f| f.at(row.line))?;
    if shown == currency || row.some(SHOWN)?.is_none() {
        return Ok(None);
    }
    let minor = money(row, SHOWN, shown)?.saturating_abs();
    Ok(Some(signed(Money::new(minor, shown), gross)))
}

/// An amount without a sign, signed as the gross is.
pub(super) const fn signed(shown: Money, gross: i64) -> Money {
    Money::new(if gross < 0 { shown.minor.saturating_neg() } else { shown.minor }, shown.currency)
}
