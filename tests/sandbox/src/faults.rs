//! What every sandbox does alike: faults put in by name, a limit of requests, and numbers that look drawn.

use tillway_core::http::Request;
use tillway_core::time::{Millis, Timestamp};

use crate::{ApiFault, ApiFaultRule, HookFault, HookFaultRule};

impl ApiFault {
    /// Its name in counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refuse(_) => "refuse",
            Self::Fail500 => "fail_500",
            Self::Fail500AfterEffect => "fail_500_after_effect",
            Self::SilenceBefore => "silence_before",
            Self::SilenceAfter => "silence_after",
        }
    }
}

/// Faults of API calls to come.
#[derive(Debug, Default)]
pub(crate) struct ApiFaults(Vec<ApiFaultRule>);

impl ApiFaults {
    pub(crate) fn inject(&mut self, rule: ApiFaultRule) {
        self.0.push(rule);
    }

    /// The fault that strikes a request, and its place for [`ApiFaults::use_up`].
    pub(crate) fn matching(&self, request: &Request) -> Option<(usize, ApiFault)> {
        let hit = |r: &ApiFaultRule| {
            r.times > 0
                && r.method.is_none_or(|m| m == request.method)
                && request.path().contains(&r.path_contains)
        };
        let at = self.0.iter().position(hit)?;
        Some((at, self.0.get(at)?.fault.clone()))
    }

    /// Uses up one stroke; answers the fault's name.
    pub(crate) fn use_up(&mut self, at: usize) -> Option<&'static str> {
        let rule = self.0.get_mut(at)?;
        let name = rule.fault.name();
        rule.times = rule.times.saturating_sub(1);
        if rule.times == 0 {
            self.0.remove(at);
        }
        Some(name)
    }
}

impl HookFault {
    /// Its name in counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Duplicate(_) => "duplicate",
            Self::Delay(_) => "delay",
            Self::Lose => "lose",
        }
    }

    /// How many times the event is delivered, and after how long.
    pub(crate) fn deliveries(&self) -> (u32, Millis) {
        match self {
            Self::Duplicate(extra) => (extra.saturating_add(1), Millis(0)),
            Self::Delay(wait) => (1, *wait),
            Self::Lose => (0, Millis(0)),
        }
    }
}

/// Faults of webhooks to come.
#[derive(Debug, Default)]
pub(crate) struct HookFaults(Vec<HookFaultRule>);

impl HookFaults {
    pub(crate) fn inject(&mut self, rule: HookFaultRule) {
        self.0.push(rule);
    }

    /// The fault that strikes an event of this type; one stroke of it is used up.
    pub(crate) fn take(&mut self, event_type: &str) -> Option<HookFault> {
        let at = self.0.iter().position(|r| r.times > 0 && event_type.contains(&r.type_contains))?;
        let rule = self.0.get_mut(at)?;
        let fault = rule.fault.clone();
        rule.times = rule.times.saturating_sub(1);
        if rule.times == 0 {
            self.0.remove(at);
        }
        Some(fault)
    }
}

/// A limit of requests per second that lets a second's worth through at once.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// Thousandths of a request.
    tokens: i64,
    refilled: Timestamp,
}

impl Bucket {
    pub(crate) fn admit(&mut self, now: Timestamp, per_second: u32) -> bool {
        let rate = i64::from(per_second);
        let refill = now.since(self.refilled).0.clamp(0, 1000) * rate;
        self.tokens = (self.tokens + refill).min(rate * 1000);
        self.refilled = now;
        if self.tokens < 1000 {
            return false;
        }
        self.tokens -= 1000;
        true
    }
}

/// Where SplitMix64's counter stands after `n` steps from a seed.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A one-to-one scrambling of a counter (SplitMix64): ids that look drawn, never repeat and are the same in every run
/// of a seed.
pub(crate) const fn scramble(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(STEP));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The same of a single number.
pub(crate) const fn mix(z: u64) -> u64 {
    scramble(z, 1)
}
