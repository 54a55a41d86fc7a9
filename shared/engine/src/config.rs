//! What the engine is configured with: connections, pairs, and the checked flows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tillway_connectors::bank::Layout;
use tillway_connectors::{Connection, Connector};
use tillway_core::bundle::Bundle;
use tillway_core::ids::ConnectionName;
use tillway_core::routing::Routing;
use tillway_core::settle::{CutOff, Rules};
use tillway_core::time::Millis;

use crate::allow::Networks;

/// A pair: a flow between a shop connection and a gateway connection.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Name, e.g. `main`.
    pub name: String,
    /// Flow, e.g. `stripe-clarity`.
    pub flow: String,
    /// Shop connection.
    pub shop: ConnectionName,
    /// Gateway connection.
    pub gateway: ConnectionName,
    /// Options with all defaults filled in, `name`, `gateway` and `shop` among them.
    pub options: BTreeMap<String, String>,
    /// System → connection for this pair; `erp` is missing while none is configured.
    pub systems: BTreeMap<String, ConnectionName>,
    /// How authorizations go over the gateway's merchant ids, where its connection has several.
    pub routing: Option<Arc<Routing>>,
}

/// Times the engine keeps to. A scaled clock scales them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// A call to an outside system, at most.
    pub call_limit: Millis,
    /// A command not claimed is sent again after this.
    pub resend_after: Millis,
    /// First and longest wait before a call is tried again.
    pub backoff: (Millis, Millis),
    /// A command that could not be done or found out for this long goes to a person.
    pub give_up_after: Millis,
    /// A waiting event whose owner nobody knows is looked up after this.
    pub resolve_after: Millis,
    /// And is called foreign after this.
    pub foreign_after: Millis,
    /// Events younger than this are late, not lost.
    pub sweep_grace: Millis,
    /// A sweep looks back this far behind its cursor.
    pub sweep_overlap: Millis,
    /// A failing connection is left alone this long.
    pub breaker_open: Millis,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            call_limit: Millis::secs(60),
            resend_after: Millis::mins(1),
            backoff: (Millis::secs(2), Millis::mins(15)),
            give_up_after: Millis::days(3),
            resolve_after: Millis::mins(2),
            foreign_after: Millis::hours(1),
            sweep_grace: Millis::mins(10),
            sweep_overlap: Millis::mins(10),
            breaker_open: Millis::secs(30),
        }
    }
}

/// How a connection is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settling {
    /// The shop's own rules; the connector's where it has none.
    pub rules: Option<Arc<Rules>>,
    /// When a day is due.
    pub cut_off: CutOff,
    /// Days are settled by themselves, and not by command alone.
    pub scheduled: bool,
    /// How the statement of the account is written that its money comes to.
    pub bank: Option<Arc<Layout>>,
    /// Days after which a submitted batch has its money at the latest.
    pub paid_within: i32,
}

impl Default for Settling {
    fn default() -> Self {
        Self { rules: None, cut_off: CutOff::default(), scheduled: true, bank: None, paid_within: 7 }
    }
}

/// Everything the engine is told at start.
pub struct Config {
    /// Connections by name.
    pub connections: BTreeMap<ConnectionName, (Connection, &'static dyn Connector)>,
    /// Pairs.
    pub pairs: Vec<Pair>,
    /// Checked flows, mappings and lookups.
    pub bundle: Arc<Bundle>,
    /// Texts of notices by name (`declined.customer`), subject in the first line.
    pub notices: BTreeMap<String, String>,
    /// Whether people's data is masked on its way to other systems and people: outside production, unless it says `off`.
    pub masking: bool,
    /// What the shop says of the settlement of a connection.
    pub settlement: BTreeMap<ConnectionName, Settling>,
    /// Lines of settlement that a run holds at once, some hundred bytes each and all that comes of them: what is more lies in sections.
    pub in_memory: usize,
    /// Times.
    pub times: Times,
    /// Networks that may send a connection's webhooks; for one that is not here, all.
    pub allow: BTreeMap<ConnectionName, Networks>,
    /// Largest webhook body, bytes.
    pub max_body: usize,
    /// An event that fails by its own fault is buried once it was handed out so often; below the queue's own limit, for what
    /// stands behind it in its group is handed out, and counted, with it.
    pub bury_after: u32,
}

impl Config {
    /// A connection with its connector.
    #[must_use]
    pub fn connection(&self, name: &str) -> Option<(&Connection, &'static dyn Connector)> {
        self.connections.get(&ConnectionName::new(name)).map(|(c, k)| (c, *k))
    }
    /// Connections to a sandbox on this very machine: what goes there leaves to nobody.
    #[must_use]
    pub fn on_this_machine(&self) -> BTreeSet<ConnectionName> {
        let here = |c: &Connection| is_loopback(c.setting("base_url", ""));
        self.connections.values().filter(|(c, _)| here(c)).map(|(c, _)| c.name.clone()).collect()
    }
    /// Whether a connection takes webhooks from an address (`None`: nobody can tell it). To be asked before a body is read.
    #[must_use]
    pub fn takes_from(&self, connection: &str, from: Option<IpAddr>) -> bool {
        self.allow.get(&ConnectionName::new(connection)).is_none_or(|networks| networks.hold(from))
    }
    /// The pairs a connection takes part in.
    pub fn pairs_of<'a>(&'a self, connection: &'a ConnectionName) -> impl Iterator<Item = &'a Pair> {
        self.pairs.iter().filter(move |p| p.shop == *connection || p.gateway == *connection)
    }
    /// Whether a connection takes part in a pair, or the shop says how it is settled. What is neither is not called by itself.
    #[must_use]
    pub fn is_used(&self, connection: &ConnectionName) -> bool {
        self.settlement.contains_key(connection) || self.pairs_of(connection).next().is_some()
    }
    /// The connections that are used.
    pub fn used(&self) -> impl Iterator<Item = (&Connection, &'static dyn Connector)> {
        self.connections.values().filter(|(c, _)| self.is_used(&c.name)).map(|(c, k)| (c, *k))
    }
    /// A pair by name.
    #[must_use]
    pub fn pair(&self, name: &str) -> Option<&Pair> {
        self.pairs.iter().find(|p| p.name == name)
    }
}

/// Whether an address is one of this machine.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Behind a name and a password another host may stand.
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_its_own() {
        for here in
            ["http://127.0.0.1:4711/api/v1", "http://localhost:80", "http://[::1]:9/x", "http://127.9.9.9"]
        {
            assert!(is_loopback(here), "{here}");
        }
        for other in [
            "",
            "127.0.0.1",
            "https://api.stripe.com",
            "https://127.0.0.1.example.com",
            "https://localhost.example.com/",
            "https://localhost:pass@shop.example.com/",
            "https://10.0.0.7",
            "https://shop.example.com/?127.0.0.1",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
