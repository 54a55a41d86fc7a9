//! A statement as CSV, in the columns its layout names.

use std::borrow::Cow;
use std::io::Read;

use tillway_core::money::{Currency, Money};
use tillway_core::settle::Day;

use super::layout::{Dates, Layout};
use super::{BankStatement, Booked, Collected};
use crate::settlement::table::{Column, Dialect, Row, Table};
use crate::settlement::{FileFault, values};

// Numbers of the columns in `columns()`; those of text follow.
const DATE: usize = 0;
const AMOUNT: usize = 1;
const CREDIT: usize = 2;
const DEBIT: usize = 3;
const CURRENCY: usize = 4;
const ID: usize = 5;
const ACCOUNT: usize = 6;
const BALANCE: usize = 7;
const TEXT: usize = 8;

fn columns(layout: &Layout) -> Vec<Column> {
    let of = |name: &Option<String>| {
        let names: Vec<Cow<'static, str>> = name.iter().cloned().map(Cow::Owned).collect();
        Column { needed: !names.is_empty(), names }
    };
    let c = &layout.columns;
    let date = Some(c.date.clone());
    let mut all: Vec<Column> =
        [&date, &c.amount, &c.credit, &c.debit, &c.currency, &c.id, &c.account, &c.balance].map(of).into();
    all.extend(c.text.iter().map(|name| of(&Some(name.clone()))));
    all
}

pub(super) fn read(layout: &Layout, bytes: impl Read) -> Result<BankStatement, FileFault> {
    let dialect = Dialect { delimiter: layout.delimiter, latin1: layout.latin1, before: layout.before };
    let mut table = Table::open(bytes, columns(layout), dialect)?;
    let mut found = Collected::new(layout);
    let mut chain = Chain::default();
    while let Some(row) = table.row()? {
        booking(layout, &row, &mut chain, &mut found)?;
    }
    let seen = table.seen();
    // Each balance follows from the one before, but the file may end anywhere.
    let ending = table.ending();
    let Collected { lines, others, .. } = found;
    Ok(BankStatement { lines, others, digest: seen.digest, bytes: seen.bytes, ending })
}

fn booking(
    layout: &Layout,
    row: &Row<'_>,
    chain: &mut Chain,
    found: &mut Collected<'_>,
) -> Result<(), FileFault> {
    if let Some(account) = row.some(ACCOUNT)?
        && !layout.is_account(&account)
    {
        let what = "is another account than the layout's; fetch this account's statement";
        return Err(row.fault("wrong_merchant", ACCOUNT, what));
    }
    let day = day(layout.dates, &row.text(DATE)?)
        .ok_or_else(|| row.fault("wrong_date", DATE, "is not written as `dates` of the layout says"))?;
    let currency = match row.some(CURRENCY)? {
        Some(code) => values::currency(row.name(CURRENCY), &code).map_err(|f| f.at(row.line))?,
        None => layout.currency,
    };
    let amount = match (row.some(CREDIT)?, row.some(DEBIT)?) {
        (None, None) if row.some(AMOUNT)?.is_none() => {
            let column = if layout.columns.amount.is_some() { AMOUNT } else { CREDIT };
            return Err(row.fault("bad_number", column, "is empty; have the statement made anew"));
        }
        (None, None) => number(layout, row, AMOUNT, currency)?,
        (credit, debit) => {
            let credit = if credit.is_some() { number(layout, row, CREDIT, currency)? } else { 0 };
            let debit = if debit.is_some() { number(layout, row, DEBIT, currency)? } else { 0 };
            if credit < 0 || (credit != 0 && debit != 0) {
                return Err(row.fault(
                    "wrong_sign",
                    CREDIT,
                    "a booking is a credit or a debit, each without a sign",
                ));
            }
            credit.saturating_sub(debit.saturating_abs())
        }
    };
    if row.some(BALANCE)?.is_some() {
        let balance = number(layout, row, BALANCE, layout.currency)?;
        chain.next(amount, balance).map_err(|what| row.fault("sum_differs", BALANCE, what))?;
    }
    let mut text = String::new();
    for column in (TEXT..).take(layout.columns.text.len()) {
        if let Some(part) = row.some(column)? {
            text.push_str(&part);
            text.push(' ');
        }
    }
    let id = row.some(ID)?;
    if id.is_none() && layout.columns.id.is_some() && layout.is_ours(&text) {
        return Err(FileFault::no_id(row.name(ID)).at(row.line));
    }
    let id = id.as_deref().map(|id| (row.name(ID), id));
    let amount = Money::new(amount, currency);
    found.take(Booked { day, amount, text: text.trim().to_owned(), id }).map_err(|f| f.at(row.line))
}

/// Balances that follow one another, upwards or downwards.
#[derive(Default)]
struct Chain {
    last: Option<(i64, i64)>,
    newest_first: Option<bool>,
}

impl Chain {
    fn next(&mut self, amount: i64, balance: i64) -> Result<(), String> {
        if let Some((amount_before, balance_before)) = self.last.replace((amount, balance)) {
            let up = balance_before.checked_add(amount) == Some(balance);
            let down = balance.checked_add(amount_before) == Some(balance_before);
            let fits = match self.newest_first {
                None if up != down => {
                    self.newest_first = Some(down);
                    true
                }
                None => up,
                Some(newest_first) => {
                    if newest_first {
                        down
                    } else {
                        up
                    }
                }
            };
            if !fits {
                return Err("does not follow from the balance before: a booking is missing, or stands twice"
                    .to_owned());
            }
        }
        Ok(())
    }
}

fn number(layout: &Layout, row: &Row<'_>, column: usize, currency: Currency) -> Result<i64, FileFault> {
    let text = row.text(column)?;
    let (thousands, point) = if layout.comma { ('.', ',') } else { (',', '.') };
    let plain = ungrouped(&text, thousands, point);
    let what = || {
        let (wanted, decimal) = if layout.comma { ("1.234,56", "comma") } else { ("1,234.56", "point") };
        format!(
            "is not written as `decimal: {decimal}` says, {wanted} ({}); set the layout's `decimal`",
            tillway_core::money::shape(&text)
        )
    };
    let plain = plain.ok_or_else(|| row.fault("bad_number", column, what()))?;
    values::amount(row.name(column), &plain, currency).map(|m| m.minor).map_err(|f| f.at(row.line))
}

/// A number with a point and nothing else; `None` where marks between thousands do not stand between thousands.
fn ungrouped(text: &str, thousands: char, point: char) -> Option<String> {
    let text = text.replace(['\u{a0}', '\u{202f}', '\'', ' '], "");
    let (whole, decimals) = text.split_once(point).map_or((text.as_str(), None), |(w, d)| (w, Some(d)));
    if decimals.is_some_and(|d| d.contains([thousands, point])) {
        return None;
    }
    let mut groups = whole.split(thousands);
    let first = groups.next().unwrap_or_default();
    let grouped = groups.clone().next().is_some();
    let digits = first.trim_start_matches(['-', '+']).len();
    if grouped && (!(1..=3).contains(&digits) || groups.any(|group| group.len() != 3)) {
        return None;
    }
    let whole: String = whole.chars().filter(|c| *c != thousands).collect();
    Some(match decimals {
        Some(decimals) => format!("{whole}.{decimals}"),
        None => whole,
    })
}

fn day(dates: Dates, text: &str) -> Option<Day> {
    let part = |from: usize, len: usize| text.get(from..from.checked_add(len)?);
    let apart = |mark: char| {
        let mut parts = text.splitn(3, mark);
        Some((parts.next()?, parts.next()?, parts.next()?))
    };
    let of = |year: &str, month: &str, day: &str| {
        let digits = |t: &str| (1..=4).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
        let fine = year.len() == 4 && [year, month, day].into_iter().all(digits);
        fine.then(|| values::day(&format!("{year}-{month:0>2}-{day:0>2}"))).flatten()
    };
    match dates {
        Dates::Iso => values::day(text),
        Dates::Dots => apart('.').and_then(|(d, m, y)| of(y, m, d)),
        Dates::DayFirst => apart('/').and_then(|(d, m, y)| of(y, m, d)),
        Dates::MonthFirst => apart('/').and_then(|(m, d, y)| of(y, m, d)),
        Dates::Packed if text.len() == 8 => of(part(0, 4)?, part(4, 2)?, part(6, 2)?),
        Dates::Packed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_layout_says_and_not_otherwise() {
        let comma = |text| ungrouped(text, '.', ',');
        let point = |text| ungrouped(text, ',', '.');
        assert_eq!(comma("1.234,56").as_deref(), Some("1234.56"));
        assert_eq!(comma("-1.234.567,8").as_deref(), Some("-1234567.8"));
        assert_eq!(comma("12").as_deref(), Some("12"));
        assert_eq!(point("1,234.56").as_deref(), Some("1234.56"));
        assert_eq!(point("1\u{a0}234.56").as_deref(), Some("1234.56"));
        for bad in ["1234.56", "1.23,4", "1.2345", "1.234,56,7", "1.234,5.6"] {
            assert_eq!(comma(bad), None, "{bad}");
        }
        for bad in ["1.234,56", "12,5", "1,23"] {
            assert_eq!(point(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_read_as_the_layout_says() {
        let expected = values::day("2026-03-04");
        for (dates, text) in [
            (Dates::Iso, "2026-03-04"),
            (Dates::Dots, "04.03.2026"),
            (Dates::Dots, "4.3.2026"),
            (Dates::DayFirst, "04/03/2026"),
            (Dates::MonthFirst, "03/04/2026"),
            (Dates::Packed, "20260304"),
        ] {
            assert_eq!(day(dates, text), expected, "{text}");
        }
        for (dates, text) in
            [(Dates::Dots, "2026-03-04"), (Dates::DayFirst, "03/14/2026"), (Dates::Dots, "4.3.26")]
        {
            assert_eq!(day(dates, text), None, "{text}");
        }
        assert_eq!(day(Dates::Packed, "2026äö"), None);
    }
}
