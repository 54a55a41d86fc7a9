//! Settings of settlement.

use tillway_core::time::Millis;

use crate::config::Connection;

/// Choices, the default first.
pub(super) const CHOICES: [(&str, &[&str]); 5] = [
    ("settlement.format", &["csv", "xml"]),
    ("settlement.mixed_currencies", &["refuse", "split"]),
    ("settlement.report_date", &["same", "next"]),
    ("settlement.funding", &["none", "net_fundings"]),
    ("settlement.fees", &["lump", "details"]),
];

/// Days before a net funding in which the batches it pays were submitted.
pub(super) const FUNDING_DAYS: (&str, i64, i64) = ("settlement.funding_days", 1, 14);

/// Days whose list of chargebacks is read again with a later day's, for what it shows late.
pub(super) const CHARGEBACK_DAYS: (&str, i64, i64) = ("settlement.chargeback_days", 0, 30);
/// As many where nothing is set.
pub(super) const LATE: i64 = 14;

/// The report's name where nothing is set: that of the vendor's daily subscription.
pub(super) const REPORT: &str = "PaymentBatchDetailReport_Daily_Classic";

/// The report's name.
pub(super) fn report(connection: &Connection) -> &str {
    connection.setting("settlement.report", REPORT)
}

/// Local time of the report's subscription less UTC.
pub(super) fn offset(connection: &Connection) -> Millis {
    parse_offset(connection.setting("settlement.utc_offset", "+00:00")).unwrap_or(Millis(0))
}

/// Reads `-08:00`.
pub(super) fn parse_offset(text: &str) -> Option<Millis> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
    let hours: i64 = hours.parse().ok().filter(|h| (0..=14).contains(h))?;
    let minutes: i64 = minutes.parse().ok().filter(|m| (0..60).contains(m))?;
    Some(Millis::mins(sign * (hours * 60 + minutes)))
}

/// A report's name, fit to stand in a query.
pub(super) fn is_report_name(text: &str) -> bool {
    (1..=250).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_both_ways() {
        assert_eq!(parse_offset("-08:00"), Some(Millis::hours(-8)));
        assert_eq!(parse_offset("+05:30"), Some(Millis::mins(330)));
        for bad in ["", "8", "+8:00", "+08:60", "+15:00", "UTC", "ä08:00"] {
            assert_eq!(parse_offset(bad), None, "{bad}");
        }
    }
}
