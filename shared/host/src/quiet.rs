//! Keeps alerts of one code from flooding people: a few are told in a window of time, the others are counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tillway_core::time::{Millis, Timestamp};

/// Alerts of one code within [`WINDOW`] that are told.
pub const TOLD: u64 = 5;
/// Length of a window.
pub const WINDOW: Millis = Millis::mins(10);
/// Codes that have a window of their own; what comes after shares one.
const MOST_CODES: usize = 200;
const OTHER: &str = "other";

/// How often each code was raised of late, in this process.
#[derive(Default)]
pub struct Quiet {
    windows: Mutex<BTreeMap<String, Window>>,
}

struct Window {
    since: Timestamp,
    raised: u64,
}

/// An alert that is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tell {
    /// So many of this code were kept quiet in the window before.
    pub quiet_before: u64,
    /// When this window began.
    pub since: Timestamp,
    /// Its place in the window, from 1.
    pub nth: u64,
}

impl Quiet {
    /// Counts an alert of this code; `None`: it is one too many.
    pub fn judge(&self, code: &str, now: Timestamp) -> Option<Tell> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let code = if windows.len() < MOST_CODES || windows.contains_key(code) { code } else { OTHER };
        let window = windows.entry(code.to_owned()).or_insert(Window { since: now, raised: 0 });
        let mut quiet_before = 0;
        if now.since(window.since) >= WINDOW {
            quiet_before = window.raised.saturating_sub(TOLD);
            *window = Window { since: now, raised: 0 };
        }
        window.raised = window.raised.saturating_add(1);
        let tell = Tell { quiet_before, since: window.since, nth: window.raised };
        (window.raised <= TOLD).then_some(tell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_code_does_not_flood_and_hides_no_other() {
        let quiet = Quiet::default();
        let told = (0..50).filter_map(|_| quiet.judge("parked", Timestamp(0))).count();
        assert_eq!(told, 5);
        assert!(quiet.judge("rare", Timestamp(0)).is_some());
        let next = quiet.judge("parked", Timestamp(0) + WINDOW).unwrap();
        assert_eq!((next.quiet_before, next.nth), (45, 1));
    }
}
