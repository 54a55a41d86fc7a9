//! Everything outside: the sandboxes of two shops and two gateways, and a trace of what happened.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use tillway_core::time::Timestamp;
use tillway_sandbox::clarity::{Auth, ClarityConfig, ClaritySandbox, WebhookScheme};
use tillway_sandbox::stripe::StripeSandbox;
use tillway_sandbox::{Delivery, Sandbox};

use super::gateway::Gateway;
use super::small::{CLARITY_HOOKS, CLARITY_SECRET};
use crate::draw::Plan;
use crate::exec::{Bell, Core, lock};
use crate::pair::Pair;

/// Connections of a world: two shops and two gateways.
pub(crate) const PLACES: usize = 4;

/// Lines of what happened, where they are wanted.
pub(crate) struct Trace {
    lines: Option<Mutex<Vec<(Timestamp, String)>>>,
}

impl Trace {
    pub(crate) fn new(on: bool) -> Self {
        Self { lines: on.then(Mutex::default) }
    }
    /// Notes a line; it is only made where someone reads it.
    pub(crate) fn note(&self, now: Timestamp, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            lock(lines).push((now, line()));
        }
    }
    pub(crate) const fn is_on(&self) -> bool {
        self.lines.is_some()
    }
    pub(crate) fn take(&self) -> Vec<(Timestamp, String)> {
        self.lines.as_ref().map(|l| std::mem::take(&mut *lock(l))).unwrap_or_default()
    }
}

/// What became of the webhooks.
#[derive(Default)]
pub(crate) struct Post {
    /// Answered 2xx: connection, event, type.
    pub(crate) accepted: BTreeSet<(&'static str, String, String)>,
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
}

/// The sandboxes.
pub(crate) struct Outside {
    pub(crate) core: Arc<Core>,
    pub(crate) pair: Pair,
    /// Names of the connections, by their place.
    pub(crate) names: [&'static str; PLACES],
    pub(crate) shops: [Mutex<ClaritySandbox>; 2],
    pub(crate) gateways: [Mutex<Gateway>; 2],
    /// One for each connection: rings when there may be webhooks.
    pub(crate) bells: [Bell; PLACES],
    /// One for each connection: how many sweeps are still wanted.
    pub(crate) unswept: [AtomicU8; PLACES],
    pub(crate) sweep_bell: Bell,
    pub(crate) post: Mutex<Post>,
    /// Idempotency keys that were used.
    pub(crate) keys: Mutex<BTreeSet<String>>,
    pub(crate) trace: Trace,
}

impl Outside {
    pub(crate) fn new(core: Arc<Core>, plan: &Plan, trace: bool) -> Self {
        let shop = |n: u64| {
            Mutex::new(ClaritySandbox::new(ClarityConfig {
                auth: Auth::OAuth { client_id: "tillway".into(), client_secret: CLARITY_SECRET.into() },
                webhook: WebhookScheme::StandardWebhooks { secrets: vec![CLARITY_HOOKS.into()] },
                seed: plan.seed.wrapping_add(n),
                ..ClarityConfig::default()
            }))
        };
        let gateway = |place| Mutex::new(Gateway::new(plan, place));
        Self {
            core,
            pair: plan.pair,
            names: plan.pair.connections(),
            shops: [shop(1), shop(2)],
            gateways: [gateway(0), gateway(1)],
            bells: Default::default(),
            unswept: Default::default(),
            sweep_bell: Bell::default(),
            post: Mutex::default(),
            keys: Mutex::default(),
            trace: Trace::new(trace),
        }
    }

    /// Something happened at a connection: look for webhooks, and sweep it again.
    pub(crate) fn stir(&self, place: usize, changed: bool) {
        if let Some(bell) = self.bells.get(place) {
            bell.ring_all();
        }
        if changed && let Some(unswept) = self.unswept.get(place) {
            unswept.store(2, Ordering::Relaxed);
            self.sweep_bell.ring_all();
        }
    }

    /// Works on a sandbox by its place.
    pub(crate) fn at<T>(&self, place: usize, work: impl FnOnce(&mut dyn Sandbox) -> T) -> Option<T> {
        match place {
            0 | 1 => self.shops.get(place).map(|s| work(&mut *lock(s))),
            _ => self.gateways.get(place.checked_sub(2)?).map(|g| work(lock(g).sandbox())),
        }
    }

    /// Works on the sandbox an address leads to.
    pub(crate) fn at_host<T>(
        &self,
        url: &str,
        changes: bool,
        work: impl FnOnce(&mut dyn Sandbox) -> T,
    ) -> Option<T> {
        let host = url.strip_prefix("https://")?.split('.').next()?;
        let place = self.names.iter().position(|name| *name == host)?;
        let done = self.at(place, work);
        self.stir(place, changes);
        done
    }

    /// Works on a shop.
    pub(crate) fn shop<T>(&self, pair: usize, work: impl FnOnce(&mut ClaritySandbox) -> T) -> Option<T> {
        let done = self.shops.get(pair).map(|s| work(&mut lock(s)));
        self.stir(pair, true);
        done
    }

    /// Works on a gateway.
    pub(crate) fn gateway<T>(&self, pair: usize, work: impl FnOnce(&mut Gateway) -> T) -> Option<T> {
        let done = self.gateways.get(pair).map(|g| work(&mut lock(g)));
        self.stir(pair + 2, true);
        done
    }

    /// Works on a gateway that is Stripe.
    pub(crate) fn stripe<T>(&self, pair: usize, work: impl FnOnce(&mut StripeSandbox) -> T) -> Option<T> {
        let work = |gateway: &mut Gateway| match gateway {
            Gateway::Stripe(stripe) => Some(work(stripe)),
            Gateway::Cybersource(_) => None,
        };
        self.gateway(pair, work).flatten()
    }

    pub(crate) fn next_due(&self, place: usize) -> Option<Timestamp> {
        self.at(place, |s| s.next_due()).flatten()
    }

    pub(crate) fn take(&self, place: usize) -> Vec<Delivery> {
        let now = self.core.now();
        let taken = self.at(place, |s| {
            s.advance(now);
            s.take_deliveries(now)
        });
        let taken = taken.unwrap_or_default();
        if !taken.is_empty() {
            self.stir(place, true);
        }
        taken
    }

    pub(crate) fn delivered(&self, place: usize, id: u64, status: Option<u16>) {
        let now = self.core.now();
        self.at(place, |s| s.delivered(now, id, status));
        self.stir(place, false);
    }
}
