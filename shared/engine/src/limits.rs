//! Rate limit and breaker of a connection, in this process.
//!
//! Both only save work: what they hold back becomes a timer, and correctness never leans on them. On AWS the
//! event source mapping's maximum concurrency bounds all functions together.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tillway_core::ids::ConnectionName;
use tillway_core::time::{Millis, Timestamp};

use crate::config::Config;

/// Work does not begin while the line is longer than this, in microseconds.
const LINE_US: i64 = 2_000_000;
/// Failures in a row that open a breaker.
const TRIP: u32 = 5;

#[derive(Clone)]
struct Gate {
    /// Time between two calls, in microseconds; zero: no limit.
    spacing_us: i64,
    /// When the next call may go, in microseconds.
    next_us: i64,
    failures: u32,
    open_until: Option<Timestamp>,
}

/// Gates of all connections.
pub(crate) struct Limits {
    gates: Mutex<BTreeMap<ConnectionName, Gate>>,
    open_for: Millis,
}

/// May a call go now?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    /// Yes.
    Now,
    /// No, look again at this time.
    NotBefore(Timestamp),
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let gate = |per_second: i64| Gate {
            spacing_us: if per_second > 0 { 1_000_000 / per_second } else { 0 },
            next_us: 0,
            failures: 0,
            open_until: None,
        };
        let gates = config
            .connections
            .iter()
            .map(|(name, (connection, connector))| {
                let default = connector
                    .settings()
                    .iter()
                    .find(|(n, _, _)| *n == "rate_limit.per_second")
                    .and_then(|(_, d, _)| d.parse().ok())
                    .unwrap_or(0);
                (name.clone(), gate(connection.number("rate_limit.per_second", default)))
            })
            .collect();
        Self { gates: Mutex::new(gates), open_for: config.times.breaker_open }
    }

    /// Whether work may begin: the breaker is closed and the line is short.
    pub(crate) fn go(&self, connection: &ConnectionName, now: Timestamp) -> Go {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(gate) = gates.get_mut(connection) else { return Go::Now };
        if let Some(until) = gate.open_until.filter(|u| now < *u) {
            return Go::NotBefore(until);
        }
        let wait_us = gate.next_us.saturating_sub(now.0.saturating_mul(1000));
        if wait_us > LINE_US { Go::NotBefore(now + Millis(wait_us / 1000)) } else { Go::Now }
    }

    /// Takes a place in line for one request: how long it has to wait.
    pub(crate) fn place(&self, connection: &ConnectionName, now: Timestamp) -> Millis {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(gate) = gates.get_mut(connection) else { return Millis(0) };
        let now_us = now.0.saturating_mul(1000);
        // A burst of one second is allowed, as the providers' buckets do.
        let earliest = gate.next_us.max(now_us.saturating_sub(1_000_000));
        gate.next_us = earliest.saturating_add(gate.spacing_us);
        let wait_us = earliest.saturating_sub(now_us);
        if wait_us <= 0 { Millis(0) } else { Millis(wait_us / 1000 + 1) }
    }

    /// Tells how a call went. `true` when this opened the breaker.
    pub(crate) fn tell(&self, connection: &ConnectionName, reachable: bool, now: Timestamp) -> bool {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(gate) = gates.get_mut(connection) else { return false };
        if reachable {
            gate.failures = 0;
            gate.open_until = None;
            return false;
        }
        gate.failures = gate.failures.saturating_add(1);
        if gate.failures < TRIP {
            return false;
        }
        let first = gate.failures == TRIP;
        gate.open_until = Some(now + self.open_for);
        first
    }
}
