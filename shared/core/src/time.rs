//! Instants and lengths of time. The core never asks what time it is: callers pass it in.

use std::fmt;
use std::ops::{Add, Sub};

use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use serde::{Deserialize, Serialize};

/// An instant in milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// Whole seconds.
    #[must_use]
    pub const fn secs(n: i64) -> Self {
        Self(n.saturating_mul(1000))
    }
    /// Whole minutes.
    #[must_use]
    pub const fn mins(n: i64) -> Self {
        Self::secs(n.saturating_mul(60))
    }
    /// Whole hours.
    #[must_use]
    pub const fn hours(n: i64) -> Self {
        Self::mins(n.saturating_mul(60))
    }
    /// Whole days of 24 hours.
    #[must_use]
    pub const fn days(n: i64) -> Self {
        Self::hours(n.saturating_mul(24))
    }
    /// Reads `90s`, `15m`, `36h` or `7d`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let unit = text.chars().last()?;
        let number: i64 = text.strip_suffix(unit)?.trim().parse().ok().filter(|n| *n >= 0)?;
        match unit {
            's' => Some(Self::secs(number)),
            'm' => Some(Self::mins(number)),
            'h' => Some(Self::hours(number)),
            'd' => Some(Self::days(number)),
            _ => None,
        }
    }
}

impl Timestamp {
    /// From whole Unix seconds.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }
    /// Whole Unix seconds, rounded down.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0.div_euclid(1000)
    }
    /// Reads RFC 3339, e.g. `2026-11-21T08:00:00Z`.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }
    /// Writes RFC 3339 in UTC with milliseconds.
    #[must_use]
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0)
            .map_or_else(|_| format!("@{}ms", self.0), |t| format!("{t:.3}"))
    }
    /// Reads the form of date HTTP writes, `Fri, 20 Nov 2026 10:15:30 GMT`.
    #[must_use]
    pub fn parse_http(text: &str) -> Option<Self> {
        static HTTP: DateTimeParser = DateTimeParser::new();
        HTTP.parse_timestamp(text).ok().map(|t| Self(t.as_millisecond()))
    }
    /// Writes it.
    #[must_use]
    pub fn http(self) -> Option<String> {
        static HTTP: DateTimePrinter = DateTimePrinter::new();
        let at = jiff::Timestamp::from_second(self.unix()).ok()?;
        HTTP.timestamp_to_rfc9110_string(&at).ok()
    }
    /// The UTC day, `YYYY-MM-DD`.
    #[must_use]
    pub fn day(self) -> String {
        self.rfc3339().chars().take(10).collect()
    }
    /// Time from `earlier` to `self`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Millis> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Millis) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}
impl Sub<Millis> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Millis) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}
impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        match ms {
            _ if ms % 86_400_000 == 0 && ms != 0 => write!(f, "{}d", ms / 86_400_000),
            _ if ms % 3_600_000 == 0 && ms != 0 => write!(f, "{}h", ms / 3_600_000),
            _ if ms % 60_000 == 0 && ms != 0 => write!(f, "{}m", ms / 60_000),
            _ if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            _ => write!(f, "{ms}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips() {
        let t = Timestamp::parse_rfc3339("2026-11-21T08:00:00.250Z").unwrap();
        assert_eq!(t.rfc3339(), "2026-11-21T08:00:00.250Z");
        assert_eq!(t.day(), "2026-11-21");
        assert_eq!(t.unix(), 1_795_248_000);
        assert!(Timestamp::parse_rfc3339("yesterday").is_none());
        assert_eq!(t.http().unwrap(), "Sat, 21 Nov 2026 08:00:00 GMT");
        assert_eq!(Timestamp::parse_http("Sat, 21 Nov 2026 08:00:00 GMT").unwrap(), t - Millis(250));
        for bad in ["", "Sat", "Sat, 21 Nov 2026", "Sat, 21 Now 2026 08:00:00 GMT", "Sat, 21 Nov 2026 8 GMT"]
        {
            assert!(Timestamp::parse_http(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn lengths_read_and_print() {
        assert_eq!(Millis::parse("36h"), Some(Millis::hours(36)));
        assert_eq!(Millis::parse("7d").unwrap().to_string(), "7d");
        assert_eq!(Millis::parse("-1h"), None);
        assert_eq!(Millis::parse("5 weeks"), None);
    }
}
