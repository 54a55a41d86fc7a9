//! Rates of the books, read from a file in one of two forms:
//!
//! ```text
//! day,from,to,rate                 one rate a row: a unit of `from` in `to`
//! 2026-11-27,GBP,USD,1.2712
//!
//! Date,USD,JPY,GBP,                a column for each currency: a unit of the euro in it
//! 2026-11-27,1.0521,159.8,0.8325,
//! ```
//! The second is the table of reference rates of the European Central Bank, as people know it: no file of theirs was at hand to
//! compare (**unverified**). `N/A` and an empty cell are no rate.

use std::io::Read;

use tillway_core::money::Currency;
use tillway_core::settle::Day;
use tillway_core::settle::rates::Rates;

use crate::settlement::{FileFault, values};

/// Largest file, bytes: the table of all years has some 700 KB.
pub const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// What the second form's rates are of.
const EURO: &str = "EUR";

/// Where a rate of a row stands.
enum Form {
    /// In columns of its own.
    Long { day: usize, from: usize, to: usize, rate: usize },
    /// Under its currency, by column.
    Wide(Vec<(usize, Currency)>),
}

/// Reads all rates of a file.
///
/// # Errors
/// `unreadable`, `missing_column`, `bad_currency`, `bad_date`, `bad_number`, `empty`: the first fault, with its line.
pub fn read(bytes: impl Read) -> Result<Rates, FileFault> {
    let unreadable = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        FileFault::new("unreadable", "rates", "is no CSV in UTF-8 with rows of one length").at(line)
    };
    let mut file = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let form = form(file.headers().map_err(unreadable)?)?;
    let mut rates = Rates::default();
    for row in file.records() {
        let row = row.map_err(unreadable)?;
        let line = row.position().map_or(1, csv::Position::line);
        take(&mut rates, &form, &row).map_err(|fault| fault.at(line))?;
    }
    if rates.count() == 0 {
        return Err(FileFault::new("empty", "rates", "has no rate; save the file anew"));
    }
    Ok(rates)
}

fn form(head: &csv::StringRecord) -> Result<Form, FileFault> {
    let at = |name: &str| {
        let found = head.iter().position(|h| h.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let what = "is no column: write `day,from,to,rate`, or `Date` and a column for each currency";
            FileFault::new("missing_column", name, what).at(1)
        })
    };
    if at("date") != Ok(0) {
        return Ok(Form::Long { day: at("day")?, from: at("from")?, to: at("to")?, rate: at("rate")? });
    }
    let named = head.iter().enumerate().skip(1).filter(|(_, name)| !name.is_empty());
    // A table over many years has currencies that are no more.
    let known: Vec<(usize, Currency)> =
        named.filter_map(|(n, name)| Some((n, Currency::parse(name).ok()?))).collect();
    Ok(Form::Wide(known))
}

fn take(rates: &mut Rates, form: &Form, row: &csv::StringRecord) -> Result<(), FileFault> {
    let cell = |n: usize| row.get(n).unwrap_or("");
    let mut put = |day: Day, from: Currency, to: Currency, text: &str| {
        if from == to {
            return Err(FileFault::new("bad_currency", "to", "is the currency the rate is of"));
        }
        let bad =
            |bad: tillway_core::settle::rates::BadRate| FileFault::new("bad_number", "rate", bad.to_string());
        rates.put(day, from, to, text).map(|_| ()).map_err(bad)
    };
    match form {
        Form::Long { day, from, to, rate } => {
            let of = |field: &str, n: usize| values::currency(field, cell(n));
            put(day_of("day", cell(*day))?, of("from", *from)?, of("to", *to)?, cell(*rate))
        }
        Form::Wide(columns) => {
            let (day, euro) = (day_of("Date", cell(0))?, values::currency("Date", EURO)?);
            let given = columns.iter().map(|(n, currency)| (*currency, cell(*n)));
            for (currency, text) in given.filter(|(_, text)| !text.is_empty() && *text != "N/A") {
                put(day, euro, currency, text)?;
            }
            Ok(())
        }
    }
}

fn day_of(field: &str, text: &str) -> Result<Day, FileFault> {
    Day::parse(text).ok_or_else(|| FileFault::new("bad_date", field, "is no day; write it as 2026-11-28"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cur(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn both_forms_are_read() {
        let day = Day::parse("2026-11-27").unwrap();
        let long = read("from,to,day,rate\nGBP,USD,2026-11-27,1.25\n".as_bytes()).unwrap();
        assert_eq!(long.of(cur("GBP"), cur("USD"), day).unwrap().worth(400), Some(500));
        let wide = "\u{feff}Date,USD,CYP,GBP,\n2026-11-27,1.25,N/A,0.8,\n2026-11-26,1.5,0.58,,\n";
        let wide = read(wide.as_bytes()).unwrap();
        assert_eq!(wide.of(cur("GBP"), cur("USD"), day).unwrap().worth(1_600), Some(2_500));
        assert_eq!((wide.count(), wide.span()), (3, Some((day.plus(-1), day))), "no pound on the day before");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, code, line) in [
            ("", "missing_column", 1),
            ("day,from,to\n", "missing_column", 1),
            ("day,from,to,rate\n", "empty", 0),
            ("day,from,to,rate\n2026-11-27,GBP,USD\n", "unreadable", 2),
            ("day,from,to,rate\n2026-11-27,GBP,USD,1.2\n27.11.2026,GBP,USD,1.2\n", "bad_date", 3),
            ("day,from,to,rate\n2026-11-27,GBP,Dollar,1.2\n", "bad_currency", 2),
            ("day,from,to,rate\n2026-11-27,USD,USD,1\n", "bad_currency", 2),
            ("day,from,to,rate\n2026-11-27,GBP,USD,\"1,2\"\n", "bad_number", 2),
            ("Date,USD\n2026-11-27,1.2x\n", "bad_number", 2),
        ] {
            let fault = read(text.as_bytes()).unwrap_err();
            assert_eq!((fault.code, fault.line.unwrap_or(0)), (code, line), "{text:?}: {fault}");
        }
    }
}
