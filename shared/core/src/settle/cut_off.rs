//! When a day is settled: so long after its end, on the clock of the merchant's place.

use std::fmt;

use jiff::tz::TimeZone;

use super::line::Day;
use crate::time::{Millis, Timestamp};

/// The hour on the next morning at which a day is settled, in a time zone. The zones are compiled in, so that every
/// machine knows the same ones.
#[derive(Clone, PartialEq, Eq)]
pub struct CutOff {
    zone: TimeZone,
    /// Minutes after midnight.
    minutes: u16,
}

impl Default for CutOff {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, minutes: 6 * 60 }
    }
}

impl fmt::Debug for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.zone.iana_name().unwrap_or("UTC");
        write!(f, "{:02}:{:02} {name}", self.minutes / 60, self.minutes % 60)
    }
}

impl CutOff {
    /// The same hour in a zone of that name, e.g. `Europe/Berlin`. `None`: there is no such zone.
    #[must_use]
    pub fn in_zone(self, name: &str) -> Option<Self> {
        // The database folds case; what stands in a file should be the name that people look for.
        let zone = TimeZone::get(name).ok().filter(|z| z.iana_name() == Some(name))?;
        Some(Self { zone, ..self })
    }
    /// At another hour, `07:30`. `None`: that is no hour of a day.
    #[must_use]
    pub fn at(self, text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
        let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        let read = |t: &str, most: u16| t.parse::<u16>().ok().filter(|n| digits(t) && *n <= most);
        let minutes = read(hours, 23)?.saturating_mul(60).saturating_add(read(minutes, 59)?);
        Some(Self { minutes, ..self })
    }

    /// When a day is due. An hour that the clock skips that night is the one after it, one that it shows twice the first.
    #[must_use]
    pub fn due(&self, day: Day) -> Timestamp {
        let morning = day.plus(1).start() + Millis::mins(i64::from(self.minutes));
        let local = jiff::Timestamp::from_millisecond(morning.0).map(|t| TimeZone::UTC.to_datetime(t));
        let there = local.and_then(|t| self.zone.to_ambiguous_timestamp(t).compatible());
        there.map_or(morning, |t| Timestamp(t.as_millisecond()))
    }

    /// The newest day that is due.
    #[must_use]
    pub fn newest(&self, now: Timestamp) -> Day {
        // No zone is two days away from UTC.
        let mut day = Day::of(now).plus(1);
        while self.due(day) > now {
            day = day.plus(-1);
        }
        day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }
    fn day(text: &str) -> Day {
        Day::of(at(&format!("{text}T00:00:00Z")))
    }

    #[test]
    fn a_day_is_due_on_the_next_morning_of_the_place() {
        let utc = CutOff::default();
        assert_eq!(utc.due(day("2026-11-28")), at("2026-11-29T06:00:00Z"));
        let berlin = CutOff::default().in_zone("Europe/Berlin").unwrap().at("07:30").unwrap();
        assert_eq!(format!("{berlin:?}"), "07:30 Europe/Berlin");
        assert_eq!(berlin.due(day("2026-11-28")), at("2026-11-29T06:30:00Z"));
        assert_eq!(berlin.due(day("2026-07-28")), at("2026-07-29T05:30:00Z"));
        // The hour from two to three is skipped on the 29th of March, and comes twice on the 25th of October.
        let night = CutOff::default().in_zone("Europe/Berlin").unwrap().at("02:30").unwrap();
        assert_eq!(night.due(day("2026-03-28")), at("2026-03-29T01:30:00Z"));
        assert_eq!(night.due(day("2026-10-24")), at("2026-10-25T00:30:00Z"));
        let far = CutOff::default().in_zone("Pacific/Kiritimati").unwrap().at("00:00").unwrap();
        assert_eq!(far.due(day("2026-11-28")), at("2026-11-28T10:00:00Z"));
    }

    #[test]
    fn the_newest_due_day_is_due_and_the_next_is_not() {
        for zone in
            ["Etc/UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati", "Pacific/Pago_Pago"]
        {
            for hour in ["00:00", "06:00", "23:59"] {
                let cut_off = CutOff::default().in_zone(zone).unwrap().at(hour).unwrap();
                for hours in 0..60 {
                    let now = at("2026-10-23T22:30:00Z") + Millis::hours(hours);
                    let newest = cut_off.newest(now);
                    assert!(
                        cut_off.due(newest) <= now && cut_off.due(newest.plus(1)) > now,
                        "{zone} {hour} {now:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_no_zone_and_no_hour_is_none() {
        for zone in ["", "Europe/Berlins", "europe/berlin", "CET+1", "../etc/passwd"] {
            assert!(CutOff::default().in_zone(zone).is_none(), "{zone}");
        }
        for hour in ["", "7:30", "24:00", "07:60", "0730", "+7:30", "07:30:00", "ab:cd"] {
            assert!(CutOff::default().at(hour).is_none(), "{hour}");
        }
    }
}
