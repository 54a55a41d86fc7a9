//! Values of a file: ids, amounts, days.

use tillway_core::money::{Currency, Money, MoneyError, shape};
use tillway_core::settle::Day;
use tillway_core::time::Timestamp;

use super::fault::FileFault;

/// The longest id or reference.
pub(crate) const MAX_ID: usize = 200;

/// Whether a text may be an id.
///
/// # Errors
/// `bad_id`.
pub(crate) fn id(field: &str, text: &str) -> Result<(), FileFault> {
    let fine = (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fine {
        return Ok(());
    }
    let what = format!(
        "is no id ({}): 1 to {MAX_ID} printable characters without blanks; have the report made anew",
        shape(text)
    );
    Err(FileFault::new("bad_id", field, what))
}

/// Whether a text is fit to be kept as a reference: whoever wrote it may have written anything there.
pub(crate) fn is_reference(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len()) && tillway_core::pan::find(text).is_empty()
}

/// A currency.
///
/// # Errors
/// `bad_currency`.
pub(crate) fn currency(field: &str, text: &str) -> Result<Currency, FileFault> {
    Currency::parse(text.trim()).map_err(|e| FileFault::amount(field, text, &e))
}

/// An amount in major units with a decimal point. Three digits behind it may be thousands in a currency that has
/// fewer: `5.000` is not read as 5.
///
/// # Errors
/// `bad_number`, `overflow`.
pub(crate) fn amount(field: &str, text: &str, currency: Currency) -> Result<Money, FileFault> {
    let plain = text.strip_prefix('+').unwrap_or(text);
    let allowed = currency.exponent();
    let thousands =
        plain.rsplit_once('.').is_some_and(|(_, d)| d.len() == 3 && d.bytes().all(|b| b.is_ascii_digit()));
    let read = if thousands && allowed < 3 {
        Err(MoneyError::TooManyDigits { currency, allowed, got: 3 })
    } else {
        Money::parse_major(plain, currency)
    };
    // The least number has no counterpart, and nobody settles that much.
    let read = read.and_then(|m| if m.minor == i64::MIN { Err(MoneyError::Overflow) } else { Ok(m) });
    read.map_err(|e| FileFault::amount(field, text, &e))
}

/// The UTC day of `2026-11-20`, `2026-11-20T04:15:21Z`, `2026-11-20 04:15:21` (UTC), `2026-11-20T04:15:21+01:00`.
pub(crate) fn day(text: &str) -> Option<Day> {
    instant(text).map(Day::of)
}

/// The same, as an instant; a day alone is its beginning.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(10)?;
    let time = rest.strip_prefix(['T', ' ']);
    match time {
        None if rest.is_empty() => Timestamp::parse_rfc3339(&format!("{date}T00:00:00Z")),
        None => None,
        Some(time) if time.len() < 8 => None,
        Some(time) => {
            // `+0100` for `+01:00`; two zones after each other were seen.
            let time = time.split_once('Z').map_or(time, |(time, _)| time);
            let zone = time.find(['+', '-']);
            let (clock, zone) = zone.and_then(|at| time.split_at_checked(at)).unwrap_or((time, "Z"));
            let zone = match zone.split_at_checked(3) {
                Some((hours, minutes)) if minutes.len() == 2 => format!("{hours}:{minutes}"),
                _ => zone.to_owned(),
            };
            Timestamp::parse_rfc3339(&format!("{date}T{}{zone}", clock.trim_end()))
        }
    }
}

/// A day, or what is wrong with it.
///
/// # Errors
/// `wrong_date`.
pub(crate) fn needed_day(field: &str, text: &str) -> Result<Day, FileFault> {
    day(text).ok_or_else(|| {
        let what = format!("is no day ({}); expected one such as 2026-11-20", shape(text));
        FileFault::new("wrong_date", field, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_all_the_forms_that_were_seen() {
        let expected = day("2026-11-20").unwrap();
        assert_eq!(expected.to_string(), "2026-11-20");
        for text in [
            "2026-11-20T04:15:21Z",
            "2026-11-20 04:15:21",
            "2026-11-20T04:15:21.123Z",
            "2026-11-21T00:30:00+01:00",
            "2026-11-21T00:30:00+0100",
            "2026-11-20T00:00:00Z+00:00",
            " 2026-11-20 ",
        ] {
            assert_eq!(day(text), Some(expected), "{text}");
        }
        for text in ["", "20.11.2026", "2026-13-01", "2026-11-20T", "2026-11-20x", "20261120", "ä026-11-20"]
        {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_say_what_is_wrong_with_them() {
        let usd = Currency::parse("USD").unwrap();
        let code = |text: &str| amount("gross", text, usd).map(|m| m.minor).map_err(|f| f.code);
        for (text, minor) in [("1234.56", 123_456), ("-1", -100), ("+0.10", 10), ("1.2000", 120)] {
            assert_eq!(code(text), Ok(minor), "{text}");
        }
        for text in [
            "1.234,56", "1,234.56", "12,5", "1.234", "1.200", "5.000", "-5.000", "+1.000", "", "1e3", "NaN",
            "12 USD", "- 1",
        ] {
            assert_eq!(code(text), Err("bad_number"), "{text}");
        }
        for (currency, text, expected) in [
            ("KRW", "50.000", Err("bad_number")),
            ("KRW", "50.00", Ok(50)),
            ("KWD", "5.000", Ok(5_000)),
            ("KWD", "1.234.567", Err("bad_number")),
        ] {
            let read = amount("gross", text, Currency::parse(currency).unwrap());
            assert_eq!(read.map(|m| m.minor).map_err(|f| f.code), expected, "{currency} {text}");
        }
        for text in ["99999999999999999999", "92233720368547758.08", "-92233720368547758.08", &"9".repeat(31)]
        {
            assert_eq!(code(text), Err("overflow"), "{text}");
        }
        let fault = amount("gross", "1.234,56", usd).unwrap_err().at(7);
        assert!(fault.to_string().starts_with("bad_number: `gross` in line 7: written as another country"));
        assert!(!fault.to_string().contains("234"), "shapes, never contents");
    }
}
