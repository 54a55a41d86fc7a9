//! Rate limit and breaker of a connection, in this process. Each merchant id of a connection has a breaker of its own: one
//! that does not answer is no reason to hold back the others.
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
    breaker: Breaker,
}

#[derive(Clone, Default)]
struct Breaker {
    failures: u32,
    open_until: Option<Timestamp>,
}

impl Breaker {
    fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.open_until.filter(|until| now < *until)
    }

    /// `true` when this opened it.
    fn tell(&mut self, reachable: bool, now: Timestamp, open_for: Millis) -> bool {
        if reachable {
            *self = Self::default();
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < TRIP {
            return false;
        }
        self.open_until = Some(now + open_for);
        self.failures == TRIP
    }
}

/// Gates of all connections.
pub(crate) struct Limits {
    gates: Mutex<BTreeMap<ConnectionName, Gate>>,
    /// Breakers of merchant ids, as far as any failed.
    routes: Mutex<BTreeMap<(ConnectionName, String), Breaker>>,
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
            breaker: Breaker::default(),
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
        let open_for = config.times.breaker_open;
        Self { gates: Mutex::new(gates), routes: Mutex::default(), open_for }
    }

    /// Whether work may begin: the breakers are closed and the line is short. `route`: the merchant id whose breaker counts.
    pub(crate) fn go(&self, connection: &ConnectionName, route: Option<&str>, now: Timestamp) -> Go {
        if let Some(route) = route {
            let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            let breaker = routes.get(&(connection.clone(), route.to_owned()));
            if let Some(until) = breaker.and_then(|b| b.open_until(now)) {
                return Go::NotBefore(until);
            }
        }
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(gate) = gates.get_mut(connection) else { return Go::Now };
        if let Some(until) = gate.breaker.open_until(now) {
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

    /// Tells how a call went, of a merchant id where it went to one: that answers says that the connection does, and that it
    /// does not nothing of the others. `true` when this opened a breaker.
    pub(crate) fn tell(
        &self,
        connection: &ConnectionName,
        route: Option<&str>,
        reachable: bool,
        now: Timestamp,
    ) -> bool {
        if let Some(route) = route {
            let key = (connection.clone(), route.to_owned());
            let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            if !reachable {
                return routes.entry(key).or_default().tell(false, now, self.open_for);
            }
            routes.remove(&key);
        }
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.get_mut(connection).is_some_and(|gate| gate.breaker.tell(reachable, now, self.open_for))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merchant_id_that_does_not_answer_holds_back_itself_alone() {
        let name = ConnectionName::new("gate");
        let gate = Gate { spacing_us: 0, next_us: 0, breaker: Breaker::default() };
        let gates = Mutex::new(BTreeMap::from([(name.clone(), gate)]));
        let limits = Limits { gates, routes: Mutex::default(), open_for: Millis::secs(30) };
        let (now, open_for) = (Timestamp(1_000), limits.open_for);
        let opened = |route, times: u32| (0..times).filter(|_| limits.tell(&name, route, false, now)).count();
        let waits = |route, at| limits.go(&name, route, at) != Go::Now;
        assert_eq!((opened(Some("b"), TRIP - 1), waits(Some("b"), now)), (0, false));
        assert_eq!((opened(Some("b"), 3), waits(Some("b"), now)), (1, true), "told once");
        assert!(!waits(Some("a"), now) && !waits(None, now));
        assert!(!waits(Some("b"), now + open_for));
        // An answer of one says that the connection works, and nothing of the other.
        assert_eq!((opened(None, TRIP), waits(Some("a"), now)), (1, true), "nothing of it works");
        assert!(!limits.tell(&name, Some("a"), true, now));
        assert!(!waits(None, now) && !waits(Some("a"), now) && waits(Some("b"), now));
        assert!(!limits.tell(&name, Some("b"), true, now));
        assert!(!waits(Some("b"), now));
    }
}
