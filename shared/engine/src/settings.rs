//! The configuration file: connections, pairs and how people are told. Texts in, problems with file and line out.
//!
//! ```yaml
//! production: false
//! masking: on              # the default outside production: people's data is masked on its way out; off: sent as it is
//! connections:
//!   shop:        { system: clarity, base_url: https://shop.example.com/api/v1 }
//!   stripe-main: { system: stripe, allow_from: [192.0.2.0/24, "2001:db8::/32"] }   # who may send webhooks; left out: all
//! pairs:
//!   main: { flow: stripe-clarity, shop: shop, gateway: stripe-main, initiates: tillway, capture: authorization,
//!           return_url: "https://shop.example.com/checkout/return" }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use tillway_connectors::{Connection, Connector};
use tillway_core::bundle::{Bundle, Source};
use tillway_core::check::{Problem, did_you_mean, sorted};
use tillway_core::ids::ConnectionName;
use tillway_core::routing::Routing;
use tillway_core::scope::Scope;
use tillway_core::state::view::PAIR_OPTIONS;
use tillway_core::time::Millis;
use tillway_core::yaml::{self, Node};

use crate::allow::{FORM, Networks};
use crate::config::{Config, Pair, Times};
use crate::profile::flow_of_profiles;
use crate::vocabulary::vocabulary;

/// What the file says beside the engine's own configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// `notify.*`, `alerts.*`, dotted.
    pub people: BTreeMap<String, String>,
    /// How often each connection is swept.
    pub sweep_every: Option<Millis>,
}

/// Names that no connection may have: ours, and those of secrets beside them.
const TAKEN: [&str; 7] = [crate::OWN.0, "notify", "erp", "case", crate::INTAKE.0, "smtp", "staff"];
/// An event that fails by its own fault is buried when it was handed out so often: a quarter of an hour on AWS.
const BURY_AFTER: u32 = 10;
/// Largest webhook body, bytes.
const MAX_BODY: usize = 1024 * 1024;

/// Setting of any connection: networks that may send its webhooks.
const ALLOW: &str = "allow_from";

/// [`Config::in_memory`] where nobody says otherwise.
pub const IN_MEMORY: usize = 20_000;
const TOP: [&str; 7] = ["production", "masking", "connections", "pairs", "people", "sweep_every", "times"];

/// Reads a configuration file and checks it with the flows it uses.
///
/// # Errors
/// Every problem found, in order.
pub fn load(
    file: &str,
    text: &str,
    templates: &[Source],
    overrides: &[Source],
    notices: BTreeMap<String, String>,
) -> Result<(Config, Extras), Vec<Problem>> {
    let root = yaml::parse(file, text)?;
    let mut problems = Vec::new();
    let connectors = tillway_connectors::registry();
    let vocabulary = vocabulary(&connectors);
    let bundle = Bundle::load(templates, overrides, &vocabulary).unwrap_or_else(|found| {
        problems.extend(found);
        Bundle::default()
    });
    root.only_keys(&TOP, &mut problems);
    let production = root.get("production").is_some_and(|n| n.flag(&mut problems));
    let masking = read_masking(&root, production, &mut problems);
    let (mut connections, allow) = read_connections(&root, production, &connectors, &mut problems);
    let pairs = read_pairs(&root, &connections, &bundle, &vocabulary.base_scope(), &mut problems);
    name_pointers(&mut connections, &pairs, &bundle);
    let mut times = Times::default();
    read_times(&root, &mut times, &mut problems);
    let mut extras = Extras::default();
    if let Some(node) = root.get("people") {
        flatten(node, "", &mut extras.people, &mut problems);
    }
    if let Some(node) = root.get("sweep_every") {
        extras.sweep_every = length(node, &mut problems);
    }
    if !problems.is_empty() {
        return Err(sorted(problems));
    }
    let bundle = Arc::new(bundle);
    let settlement = BTreeMap::new();
    let config = Config {
        connections,
        pairs,
        bundle,
        notices,
        masking,
        settlement,
        times,
        in_memory: IN_MEMORY,
        allow,
        max_body: MAX_BODY,
        bury_after: BURY_AFTER,
    };
    Ok((config, extras))
}

/// Reads the connections and times of a configuration file and nothing else, for whoever needs no flow. Pairs, flows and
/// notices are empty.
///
/// # Errors
/// Every problem found in this part, in order.
pub fn load_connections(file: &str, text: &str) -> Result<Config, Vec<Problem>> {
    connections_of(file, text, &tillway_connectors::registry())
}

/// The same for a function that takes webhooks in and does nothing else: to check every flow would be most of its start, and
/// the whole of each connector most of its size.
///
/// # Errors
/// As [`load_connections`].
pub fn load_receiving(file: &str, text: &str) -> Result<Config, Vec<Problem>> {
    connections_of(file, text, &tillway_connectors::receiving())
}

fn connections_of(
    file: &str,
    text: &str,
    connectors: &[&'static dyn Connector],
) -> Result<Config, Vec<Problem>> {
    let root = yaml::parse(file, text)?;
    let mut problems = Vec::new();
    root.only_keys(&TOP, &mut problems);
    let production = root.get("production").is_some_and(|n| n.flag(&mut problems));
    let masking = read_masking(&root, production, &mut problems);
    let (connections, allow) = read_connections(&root, production, connectors, &mut problems);
    let mut times = Times::default();
    read_times(&root, &mut times, &mut problems);
    if !problems.is_empty() {
        return Err(sorted(problems));
    }
    Ok(Config {
        connections,
        pairs: Vec::new(),
        bundle: Arc::new(Bundle::default()),
        notices: BTreeMap::new(),
        masking,
        settlement: BTreeMap::new(),
        times,
        in_memory: IN_MEMORY,
        allow,
        max_body: MAX_BODY,
        bury_after: BURY_AFTER,
    })
}

/// Masking is on outside production unless it says `off`, and never on in it.
fn read_masking(root: &Node, production: bool, problems: &mut Vec<Problem>) -> bool {
    let Some(node) = root.get("masking") else { return !production };
    match node.as_text() {
        Some("on") if production => {
            problems.push(node.problem(
                "masking-in-production",
                "masking is on and so is production: the gateway and the customers would get made-up names",
                "leave `masking` out, or say `production: false`",
            ));
            false
        }
        Some("on") => true,
        Some("off") => false,
        _ => {
            problems.push(node.problem("bad-masking", "`masking` is on or off", "write on or off"));
            !production
        }
    }
}

/// What a shop leaves out and its gateway decides: of several gateways the one that profiles are kept for, else the first.
fn name_pointers(connections: &mut Connections, pairs: &[Pair], bundle: &Bundle) {
    let keeps = |pair: &Pair| bundle.flow(&flow_of_profiles(&pair.flow)).is_some();
    let mut ordered: Vec<&Pair> = pairs.iter().collect();
    ordered.sort_by_key(|pair| !keeps(pair));
    for pair in ordered {
        let gateway = pair.options.get("gateway").cloned().unwrap_or_default();
        let Some((shop, connector)) = connections.get_mut(&pair.shop) else { continue };
        for (name, value) in connector.settings_beside(&gateway) {
            shop.settings.entry(name.to_owned()).or_insert(value);
        }
    }
}

fn length(node: &Node, problems: &mut Vec<Problem>) -> Option<Millis> {
    let text = node.text("a length of time such as 90s, 15m, 36h or 7d", problems)?;
    let parsed = Millis::parse(text);
    if parsed.is_none() {
        problems.push(node.problem("bad-length", "not a length of time", "write 90s, 15m, 36h or 7d"));
    }
    parsed
}

fn read_times(root: &Node, times: &mut Times, problems: &mut Vec<Problem>) {
    let Some(node) = root.get("times") else { return };
    let names = [
        "call_limit",
        "resend_after",
        "give_up_after",
        "resolve_after",
        "foreign_after",
        "sweep_grace",
        "sweep_overlap",
        "breaker_open",
    ];
    node.only_keys(&names, problems);
    for (key, value) in node.pairs() {
        let Some(length) = length(value, problems) else { continue };
        match key.as_text() {
            Some("call_limit") => times.call_limit = length,
            Some("resend_after") => times.resend_after = length,
            Some("give_up_after") => times.give_up_after = length,
            Some("resolve_after") => times.resolve_after = length,
            Some("foreign_after") => times.foreign_after = length,
            Some("sweep_grace") => times.sweep_grace = length,
            Some("sweep_overlap") => times.sweep_overlap = length,
            Some("breaker_open") => times.breaker_open = length,
            _ => {}
        }
    }
}

/// Nested maps become dotted names; a list becomes its members with commas.
fn flatten(node: &Node, prefix: &str, out: &mut BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    for (key, value) in node.map("a table of settings", problems) {
        let Some(key) = key.text("a name", problems) else { continue };
        let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        match &value.value {
            yaml::Tree::Map(_) => flatten(value, &name, out, problems),
            yaml::Tree::Seq(items) => {
                let texts: Vec<&str> = items.iter().filter_map(|i| i.text("a text", problems)).collect();
                out.insert(name, texts.join(","));
            }
            _ => {
                if let Some(text) = value.text("a text", problems) {
                    out.insert(name, text.to_owned());
                }
            }
        }
    }
}

type Connections = BTreeMap<ConnectionName, (Connection, &'static dyn Connector)>;

fn read_connections(
    root: &Node,
    production: bool,
    connectors: &[&'static dyn Connector],
    problems: &mut Vec<Problem>,
) -> (Connections, BTreeMap<ConnectionName, Networks>) {
    let (mut out, mut allow) = (Connections::new(), BTreeMap::new());
    let Some(table) = root.get("connections") else {
        problems.push(root.problem(
            "no-connections",
            "there are no connections",
            "add `connections:` with a shop and a gateway",
        ));
        return (out, allow);
    };
    for (key, node) in table.map("a table of connections", problems) {
        let Some(name) = key.text("a connection's name", problems) else { continue };
        let fits = !name.is_empty()
            && name.len() <= 40
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits || TAKEN.contains(&name) {
            let hint = format!("use up to 40 of a-z, 0-9 and -; {} are taken", TAKEN.join(", "));
            problems.push(key.problem("bad-name", format!("`{name}` cannot be a connection's name"), hint));
            continue;
        }
        let mut settings = BTreeMap::new();
        flatten(node, "", &mut settings, problems);
        let system = settings.remove("system").unwrap_or_default();
        let Some(connector) = connectors.iter().find(|c| c.system() == system) else {
            let hint = did_you_mean(&system, connectors.iter().map(|c| c.system()));
            problems.push(node.problem(
                "unknown-system",
                format!("connection {name}: there is no system `{system}`"),
                hint,
            ));
            continue;
        };
        if let Some(text) = settings.remove(ALLOW) {
            match Networks::parse(&text) {
                Some(networks) => drop(allow.insert(ConnectionName::new(name), networks)),
                None => problems.push(node.problem(
                    "bad-setting",
                    format!("connection {name}, setting {ALLOW}: `{text}` is not {FORM}"),
                    "mend the list, or leave it out and take webhooks from anywhere",
                )),
            }
        }
        for setting in settings.keys() {
            let known = |(n, _, _): &&(&str, &str, &str)| {
                n == setting || n.strip_suffix('*').is_some_and(|prefix| setting.starts_with(prefix))
            };
            if !connector.settings().iter().any(|s| known(&s)) {
                let hint = did_you_mean(setting, connector.settings().iter().map(|(n, _, _)| *n));
                let what = format!("connection {name}: {system} has no setting `{setting}`");
                problems.push(node.problem("unknown-setting", what, hint));
            }
        }
        let connection = Connection { name: ConnectionName::new(name), system, production, settings };
        for (setting, what) in connector.check_settings(&connection) {
            problems.push(node.problem(
                "bad-setting",
                format!("connection {name}, setting {setting}: {what}"),
                "mend the setting",
            ));
        }
        out.insert(connection.name.clone(), (connection, *connector));
    }
    (out, allow)
}

fn read_pairs(
    root: &Node,
    connections: &Connections,
    bundle: &Bundle,
    scope: &Scope,
    problems: &mut Vec<Problem>,
) -> Vec<Pair> {
    let mut out = Vec::new();
    let Some(table) = root.get("pairs") else {
        problems.push(root.problem(
            "no-pairs",
            "there are no pairs",
            "add `pairs:` with flow, shop and gateway",
        ));
        return out;
    };
    let mut known: Vec<&str> = vec!["flow", "shop", "gateway", "routing"];
    known.extend(PAIR_OPTIONS.iter().map(|(n, _, _)| *n));
    for (key, node) in table.map("a table of pairs", problems) {
        let Some(name) = key.text("a pair's name", problems) else { continue };
        node.only_keys(&known, problems);
        let text = |field: &str| node.get(field).and_then(Node::as_text).unwrap_or_default().to_owned();
        let (flow, shop, gateway) = (text("flow"), text("shop"), text("gateway"));
        if bundle.flow(&flow).is_none() {
            let hint = did_you_mean(&flow, bundle.flows().map(|f| f.name.as_str()));
            problems.push(node.problem(
                "unknown-flow",
                format!("pair {name}: there is no flow `{flow}`"),
                hint,
            ));
        }
        // Objects at the gateway name an order and no shop: whose it is must be clear from the account.
        let other = out.iter().find(|p: &&Pair| p.gateway.as_str() == gateway && p.shop.as_str() != shop);
        if let Some(other) = other {
            problems.push(node.problem(
                "gateway-of-two-shops",
                format!(
                    "pair {name}: gateway `{gateway}` already serves shop `{}` (pair {})",
                    other.shop, other.name
                ),
                "give each shop an account of its own at the gateway, and a connection to it",
            ));
        }
        let mut systems = BTreeMap::new();
        for (role, connection) in [("shop", &shop), ("gateway", &gateway)] {
            match connections.get(&ConnectionName::new(connection.as_str())) {
                Some((c, _)) => {
                    systems.insert(c.system.clone(), c.name.clone());
                }
                None => {
                    let hint = did_you_mean(connection, connections.keys().map(ConnectionName::as_str));
                    let what = format!("pair {name}: its {role} `{connection}` is no connection");
                    problems.push(node.problem("unknown-connection", what, hint));
                }
            }
        }
        for own in ["tillway", "notify"] {
            systems.insert(own.to_owned(), ConnectionName::new(own));
        }
        let mut options = BTreeMap::new();
        for (option, allowed, _) in PAIR_OPTIONS {
            let default = allowed.first().copied().unwrap_or_default();
            let value = node.get(option).and_then(Node::as_text).unwrap_or(default);
            if !allowed.is_empty() && !allowed.contains(&value) {
                let what = format!("pair {name}: {option} cannot be `{value}`");
                problems.push(node.problem("bad-option", what, format!("one of {}", allowed.join(", "))));
            }
            options.insert((*option).to_owned(), value.to_owned());
        }
        let gateway_says = connections
            .get(&ConnectionName::new(gateway.as_str()))
            .is_some_and(|(c, _)| !c.setting("return_url", "").is_empty());
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        // A gateway that sends nobody anywhere has no such setting.
        let sends_back = connections
            .get(&ConnectionName::new(gateway.as_str()))
            .is_none_or(|(_, connector)| connector.settings().iter().any(|(n, _, _)| *n == "return_url"));
        let asked = option("initiates") == "tillway" && sends_back;
        if asked && option("return_url").is_empty() && !gateway_says {
            let what = format!("pair {name}: initiates is `tillway`, and there is no return_url");
            let hint = "add `return_url: https://…`, where the shopper comes back to after 3-D Secure; or say \
                        `initiates: shop`";
            problems.push(node.get("initiates").unwrap_or(key).problem("missing-return-url", what, hint));
        }
        let system = |c: &str| {
            connections.get(&ConnectionName::new(c)).map(|(c, _)| c.system.clone()).unwrap_or_default()
        };
        options.insert("name".to_owned(), name.to_owned());
        options.insert("shop".to_owned(), system(&shop));
        options.insert("gateway".to_owned(), system(&gateway));
        out.push(Pair {
            name: name.to_owned(),
            flow,
            shop: ConnectionName::new(shop),
            gateway: ConnectionName::new(gateway),
            options,
            systems,
            routing: read_routing(node, name, connections, scope, problems),
        });
    }
    out
}

/// `routing:` of a pair; where its gateway has several merchant ids and nothing is said, all are drawn for.
fn read_routing(
    pair: &Node,
    name: &str,
    connections: &Connections,
    scope: &Scope,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Routing>> {
    let gateway = ConnectionName::new(pair.get("gateway").and_then(Node::as_text).unwrap_or_default());
    let routes = connections.get(&gateway).map(|(c, connector)| connector.routes(c)).unwrap_or_default();
    match (pair.get("routing"), routes.is_empty()) {
        (None, true) => None,
        (None, false) => Some(Arc::new(Routing::over(routes))),
        (Some(node), true) => {
            let what = format!("pair {name}: there is routing, and its gateway has no further merchant ids");
            let hint = "give the gateway's connection `merchant_ids: […]`, or leave `routing` out";
            problems.push(node.problem("routing-without-routes", what, hint));
            None
        }
        (Some(node), false) => Some(Arc::new(Routing::read(node, routes, scope, problems))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(gateway: &str, pair: &str) -> Vec<Problem> {
        let text = format!(
            "connections:\n  shop: {{ system: clarity, base_url: \"https://shop.example.com/api/v1\" }}\n  \
             gate: {{ system: stripe{gateway} }}\npairs:\n  main:\n    flow: none\n    shop: shop\n    \
             gateway: gate\n{pair}"
        );
        let found = load("t.yaml", &text, &[], &[], BTreeMap::new()).err().unwrap_or_default();
        found.into_iter().filter(|p| p.code == "missing-return-url").collect()
    }

    #[test]
    fn a_pair_that_makes_payments_needs_an_address_to_come_back_to() {
        let back = "https://shop.example.com/back";
        let found = problems("", "    initiates: tillway\n");
        assert_eq!(found.len(), 1);
        let said = found.first().map(ToString::to_string).unwrap_or_default();
        assert!(said.contains("t.yaml:9") && said.contains("return_url: https"), "{said}");
        assert_eq!(problems("", "").len(), 1, "tillway is the default");
        assert!(problems("", &format!("    return_url: {back}\n")).is_empty());
        assert!(
            problems(&format!(", return_url: \"{back}\""), "").is_empty(),
            "the gateway's own serves too"
        );
        assert!(problems("", "    initiates: shop\n").is_empty());
    }

    #[test]
    fn a_shop_keeps_the_gateways_customer_under_the_gateways_name() {
        let name = |gateway: &str, own: &str| {
            let text = format!(
                "connections:\n  shop: {{ system: clarity, base_url: \"https://a.example.com\"{own} }}\n  gate: {{ \
                 system: {gateway}, merchant_id: m, key_id: k }}\npairs:\n  main: {{ flow: none, shop: shop, gateway: gate }}\n"
            );
            let root = yaml::parse("t.yaml", &text).ok().unwrap();
            let mut problems = Vec::new();
            let registry = tillway_connectors::registry();
            let (mut connections, _) = read_connections(&root, false, &registry, &mut problems);
            let scope = vocabulary(&tillway_connectors::registry()).base_scope();
            let pairs = read_pairs(&root, &connections, &Bundle::default(), &scope, &mut problems);
            name_pointers(&mut connections, &pairs, &Bundle::default());
            connections[&ConnectionName::new("shop")].0.setting("gateway_external_id", "").to_owned()
        };
        assert_eq!(name("cybersource", ""), "cybersource_customer");
        assert_eq!(name("stripe", ""), "stripe_customer", "as ever");
        assert_eq!(name("cybersource", ", gateway_external_id: token"), "token");
    }

    #[test]
    fn who_may_send_is_said_by_connection() {
        let with = |allow: &str| {
            let text = format!("connections:\n  a: {{ system: stripe{allow} }}\n  b: {{ system: stripe }}\n");
            load_connections("t.yaml", &text)
        };
        let config = with(", allow_from: [192.0.2.0/24, \"2001:db8::/32\"]").ok().unwrap();
        let takes = |connection: &str, from: &str| config.takes_from(connection, from.parse().ok());
        assert!(takes("a", "192.0.2.1") && takes("a", "2001:db8::1") && !takes("a", "198.51.100.1"));
        assert!(!config.takes_from("a", None) && config.takes_from("b", None) && takes("b", "198.51.100.1"));
        for wrong in ["everywhere", "192.0.2.0", "\"\""] {
            let found = with(&format!(", allow_from: {wrong}")).err().unwrap();
            let said = found.first().map(ToString::to_string).unwrap_or_default();
            assert!(
                said.contains("t.yaml:2") && said.contains("allow_from") && said.contains("192.0.2.0/24 or"),
                "{said}"
            );
        }
    }

    #[test]
    fn connections_alone_are_read_as_with_the_flows() {
        let text = "production: true\nconnections:\n  gate: { system: stripe }\ntimes: { call_limit: 20s }\n\
                    pairs:\n  main: { flow: none, shop: nobody, gateway: gate }\n";
        let config = load_connections("t.yaml", text).ok().unwrap();
        assert!(config.connection("gate").is_some_and(|(c, _)| c.production));
        assert_eq!((config.times.call_limit, config.pairs.len()), (Millis::secs(20), 0));
        let found = load_connections("t.yaml", "connections:\n  gate: { system: strip }\n").err().unwrap();
        assert!(found.iter().any(|p| p.code == "unknown-system" && p.to_string().contains("t.yaml:2")));
    }

    #[test]
    fn masking_is_on_outside_production_and_refused_in_it() {
        let with = |top: &str| {
            let text = format!("{top}connections:\n  gate: {{ system: stripe }}\n");
            load_connections("t.yaml", &text).map(|c| c.masking)
        };
        assert_eq!(with("").ok(), Some(true));
        assert_eq!(with("production: false\nmasking: on\n").ok(), Some(true));
        assert_eq!(with("masking: off\n").ok(), Some(false));
        assert_eq!(with("production: true\n").ok(), Some(false));
        assert_eq!(with("production: true\nmasking: off\n").ok(), Some(false));
        for (top, code) in [
            ("production: true\nmasking: on\n", "masking-in-production"),
            ("masking: yes\n", "bad-masking"),
            ("masking: { all: on }\n", "bad-masking"),
        ] {
            let found = with(top).err().unwrap();
            assert!(found.iter().any(|p| p.code == code), "{top}: {found:?}");
        }
    }

    #[test]
    fn routing_is_read_with_its_rules_and_what_is_wrong_is_told_with_its_line() {
        let read = |ids: &str, routing: &str| {
            let text = format!(
                "connections:\n  shop: {{ system: clarity, base_url: \"https://shop.example.com/api/v1\" }}\n  gate: {{ system: \
                 cybersource, merchant_id: us, key_id: k{ids} }}\npairs:\n  main:\n    flow: cybersource-clarity\n    shop: \
                 shop\n    gateway: gate\n{routing}"
            );
            let (flows, notices) = (tillway_templates::sources(), tillway_templates::notices());
            load("t.yaml", &text, &flows, &[], notices).map(|(config, _)| config.pairs[0].routing.clone())
        };
        let ids = ", merchant_ids: [eu, br]";
        assert!(read("", "").unwrap().is_none(), "one merchant id: as ever");
        let all = read(ids, "").unwrap().unwrap();
        assert_eq!(
            (all.routes.as_slice(), all.rules.len(), all.retry),
            (&["us", "eu", "br"].map(String::from)[..], 0, false)
        );
        let said = read(
            ids,
            "    routing:\n      retry_soft_declines: yes\n      half_life: 3d\n      segments: [currency, country]\n      rules:\n        - \
             { when: order.currency == \"EUR\", routes: eu, retry_soft_declines: no }\n        - routes: [us, eu]\n",
        );
        let said = said.unwrap().unwrap();
        assert_eq!(
            (said.rules[0].routes.join(","), said.rules[0].retry, said.retry),
            ("eu".into(), Some(false), true)
        );
        assert_eq!((said.settings.half_life, said.by.len(), said.is_personal()), (Millis::days(3), 2, true));
        for (ids, routing, code, line) in [
            ("", "    routing: { rules: [{ routes: us }] }\n", "routing-without-routes", 9),
            (ids, "    routing:\n      rules:\n        - { routes: [us, es] }\n", "unknown-route", 11),
            (
                ids,
                "    routing:\n      rules:\n        - { when: ordr.guest, routes: us }\n",
                "unknown-field",
                11,
            ),
            (
                ids,
                "    routing:\n      rules:\n        - routes: us\n        - routes: eu\n",
                "unreachable-rule",
                11,
            ),
            (ids, "    routing:\n      rules:\n        - { when: order.guest }\n", "missing-key", 11),
            (ids, "    routing:\n      retry_soft_declines: perhaps\n", "bad-option", 10),
            (ids, "    routing:\n      half_life: 3\n", "bad-length", 10),
            (ids, "    routing:\n      one_in: 0\n", "bad-number", 10),
            (ids, "    routing:\n      segments: [brand, colour]\n", "unknown-part", 10),
            (ids, "    routing:\n      rule: []\n", "unknown-key", 10),
        ] {
            let found = read(ids, routing).err().unwrap();
            let fits = |p: &&Problem| p.code == code && p.line == line && !p.hint.is_empty();
            assert!(found.iter().any(|p| fits(&p)), "{code}: {found:?}");
        }
    }

    #[test]
    fn a_gateway_serves_one_shop() {
        let text = "connections:\n  shop: { system: clarity, base_url: \"https://a.example.com\" }\n  \
                    shop2: { system: clarity, base_url: \"https://b.example.com\" }\n  gate: { system: stripe }\n\
                    pairs:\n  main: { flow: none, shop: shop, gateway: gate, initiates: shop }\n  \
                    other: { flow: none, shop: shop2, gateway: gate, initiates: shop }\n";
        let found = load("t.yaml", text, &[], &[], BTreeMap::new()).err().unwrap_or_default();
        let two: Vec<String> =
            found.iter().filter(|p| p.code == "gateway-of-two-shops").map(ToString::to_string).collect();
        assert_eq!(two.len(), 1, "{two:?}");
        assert!(two.first().is_some_and(|t| t.contains("t.yaml:7") && t.contains("shop `shop`")), "{two:?}");
    }
}
