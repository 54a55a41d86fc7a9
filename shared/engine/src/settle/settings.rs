//! How connections are settled, as a shop says it: a document, read over the configuration.
//!
//! ```yaml
//! stripe-main:
//!   time-zone: Europe/Berlin   # default UTC
//!   cut-off: "07:00"           # a day is settled on the next morning at this hour; default 06:00
//!   scheduled: true            # false: by command alone
//!   rules:                     # what differs from the connector's rules (`core::settle::Rules`)
//!     grace: 7
//!     tolerances: {rounding: {kinds: [charge], up-to: 2, account: suspense, reason: rounding of the gateway}}
//!   bank:                      # the statement of the account its money comes to, as `connectors::bank::Layout` has it
//!     {bank: main, format: camt053, account: DE02120300000000202051, currency: EUR, ours: [CYBERSOURCE]}
//!   paid-within: 7             # days after which a submitted batch has its money at the latest; default 7
//! ```

use std::sync::Arc;

use tillway_connectors::bank::Layout;
use tillway_core::check::{Problem, did_you_mean, sorted};
use tillway_core::ids::ConnectionName;
use tillway_core::settle::Rules;
use tillway_core::yaml;

use crate::config::{Config, Settling};

/// Most days of `paid-within`: what comes later is no answer to what was submitted.
const LONGEST: i32 = 60;

/// Reads what a document says of the connections of a configuration.
///
/// # Errors
/// Every problem found, in order.
pub fn load(config: &mut Config, file: &str, text: &str) -> Result<(), Vec<Problem>> {
    let root = yaml::parse(file, text)?;
    let mut problems = Vec::new();
    for (key, node) in root.map("a table of connections", &mut problems) {
        let Some(name) = key.text("a connection's name", &mut problems) else { continue };
        let found = config.connection(name);
        let Some((connection, api)) = found.and_then(|(c, k)| Some((c, k.settlement(c)?))) else {
            let gateways = config.connections.values().filter(|(c, k)| k.settlement(c).is_some());
            let hint = did_you_mean(name, gateways.map(|(c, _)| c.name.as_str()));
            problems.push(key.problem(
                "unknown-connection",
                format!("`{name}` is no connection that settles"),
                hint,
            ));
            continue;
        };
        let keys = ["time-zone", "cut-off", "scheduled", "rules", "bank", "paid-within"];
        node.only_keys(&keys, &mut problems);
        let mut settling = Settling::default();
        if let Some(node) = node.get("time-zone") {
            let zone = node.text("a time zone", &mut problems).unwrap_or_default();
            match settling.cut_off.clone().in_zone(zone) {
                Some(cut_off) => settling.cut_off = cut_off,
                None => problems.push(node.problem(
                    "unknown-time-zone",
                    format!("`time-zone`: there is no time zone `{zone}`"),
                    "write its name in the IANA database, e.g. Europe/Berlin, America/New_York or UTC",
                )),
            }
        }
        if let Some(node) = node.get("cut-off") {
            let hour = node.text("an hour", &mut problems).unwrap_or_default();
            match settling.cut_off.clone().at(hour) {
                Some(cut_off) => settling.cut_off = cut_off,
                None => problems.push(node.problem(
                    "bad-hour",
                    format!("`cut-off`: `{hour}` is no hour of a day"),
                    "write 06:00, on 24 hours",
                )),
            }
        }
        settling.scheduled = node.get("scheduled").is_none_or(|n| n.flag(&mut problems));
        settling.bank = node.get("bank").and_then(|n| Layout::of(n, &mut problems)).map(Arc::new);
        if let Some(node) = node.get("paid-within") {
            let days = node.text("a number of days", &mut problems).unwrap_or_default();
            match days.parse().ok().filter(|days| (1..=LONGEST).contains(days)) {
                Some(days) => settling.paid_within = days,
                None => problems.push(node.problem(
                    "bad-number",
                    format!("`paid-within`: `{days}` is no number of days"),
                    format!("write 1 to {LONGEST}"),
                )),
            }
        }
        if let Some(node) = node.get("rules") {
            match Rules::load(name, api.rules(connection)) {
                Ok(rules) => settling.rules = Some(Arc::new(rules.with(node, &mut problems))),
                Err(found) => problems.extend(found),
            }
        }
        config.settlement.insert(ConnectionName::new(name), settling);
    }
    if problems.is_empty() { Ok(()) } else { Err(sorted(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::load_connections;

    #[test]
    fn settlement_is_read_over_the_connectors_rules_or_says_which_field_is_wrong() {
        let config = || {
            let text = "connections:\n  shop: { system: clarity, base_url: \"https://a.example.com\" }\n  \
                        gate: { system: stripe }\n";
            load_connections("t.yaml", text).unwrap_or_else(|p| panic!("{p:?}"))
        };
        let read = |text: &str| {
            let mut config = config();
            load(&mut config, "settlement.yaml", text).map(|()| config)
        };
        let gate = ConnectionName::new("gate");
        let said = "gate:\n  time-zone: America/New_York\n  cut-off: \"07:30\"\n  scheduled: false\n  rules:\n    grace: 9\n    \
                    tolerances: { cent: { kinds: [charge], up-to: 1, account: fx, reason: rounding } }\n";
        let settling = read(said).unwrap().settlement.remove(&gate).unwrap();
        assert_eq!(format!("{:?} {}", settling.cut_off, settling.scheduled), "07:30 America/New_York false");
        let rules = settling.rules.unwrap();
        // What the shop does not say stays the connector's.
        assert_eq!((rules.grace, rules.tolerances.len(), rules.by_gateway_id.late), (9, 1, 400));
        let bare = read("gate: { cut-off: \"00:00\" }\n").unwrap().settlement.remove(&gate).unwrap();
        assert!(bare.rules.is_none() && bare.scheduled && bare.bank.is_none());
        assert_eq!(bare.paid_within, 7);
        let paid = read(
            "gate:\n  paid-within: 3\n  bank: { bank: main, format: camt053, account: DE02 1203, currency: EUR, ours: GATE }\n",
        );
        let paid = paid.unwrap().settlement.remove(&gate).unwrap();
        let layout = paid.bank.unwrap();
        assert_eq!(
            (paid.paid_within, layout.name.as_str(), layout.account.as_str()),
            (3, "main", "DE021203")
        );
        for (text, code, line, named) in [
            ("gate:\n  time-zone: Berlin\n", "unknown-time-zone", 2, "time-zone"),
            ("gate:\n  cut-off: 7h\n", "bad-hour", 2, "cut-off"),
            ("gate:\n  cutoff: \"07:00\"\n", "unknown-key", 2, "cutoff"),
            ("gate:\n  scheduled: perhaps\n", "wrong-shape", 2, ""),
            ("gate:\n  paid-within: 0\n", "bad-number", 2, "paid-within"),
            (
                "gate:\n  bank: { bank: main, account: 1, currency: EUR, ours: GATE }\n",
                "missing-key",
                2,
                "columns",
            ),
            ("gates: {}\n", "unknown-connection", 1, "gates"),
            ("shop: {}\n", "unknown-connection", 1, "shop"),
            ("gate:\n  rules:\n    due: { charge: soon }\n", "bad-number", 3, ""),
            (
                "gate:\n  rules:\n    tolerances:\n      cent: { kinds: [charge], up-to: 1, account: bank, reason: x }\n",
                "unknown-account",
                4,
                "bank",
            ),
        ] {
            let found = read(text).err().unwrap();
            let fits = |p: &&Problem| p.code == code && p.line == line && p.to_string().contains(named);
            assert!(found.iter().any(|p| fits(&p)), "{code}: {found:?}");
        }
    }
}
