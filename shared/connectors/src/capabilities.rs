//! What each connector can do, as data, and the table of it that README shows.
//!
//! What a connector declares anyway (topics, media types, keys, lag, actions) is read from there; only the rest is said
//! in [`Capabilities`]. The conformance kit (`tests/sandbox/tests/conformance.rs`) holds every row against the connector.

use std::collections::BTreeMap;

use crate::config::Connection;
use crate::port::Connector;

/// Whether and how something can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Not at all: the system has no such thing, or the connector does not use it.
    No,
    /// By an action of flows.
    By(&'static str),
    /// By an action, with a parameter or under a setting.
    With(&'static str, &'static str),
    /// Nothing is done; it is heard of.
    Told(&'static str),
}

impl Support {
    /// The action it is done by.
    #[must_use]
    pub const fn action(self) -> Option<&'static str> {
        match self {
            Self::By(action) | Self::With(action, _) => Some(action),
            Self::No | Self::Told(_) => None,
        }
    }
}

/// What a system is to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes and gives back money.
    Gateway,
    /// Has the orders.
    Shop,
}

/// How amounts stand on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Whole numbers of the system's own smallest unit.
    Counts,
    /// Decimal texts in major units.
    Decimals,
}

/// Amounts on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// How they are written.
    pub form: Form,
    /// Decimals on the wire, where they are not those of ISO 4217.
    pub own_exponents: &'static [(&'static str, u32)],
    /// Currencies that are not sent unless a setting says how: nobody has confirmed their decimals.
    pub refused: &'static [&'static str],
}

/// What a connector can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the rows of the table, named in `rows`")]
pub struct Capabilities {
    pub role: Role,
    /// How webhooks prove themselves.
    pub signature: &'static str,
    /// What a sweep reads.
    pub sweep: &'static str,
    pub amounts: Amounts,
    /// Actions of which a lost answer may leave a second object behind that nobody uses; never one of money.
    pub leaves_another: &'static [&'static str],
    pub customer: Support,
    pub instruments: Support,
    pub create: Support,
    pub change: Support,
    pub screening: Support,
    pub authorize: Support,
    pub sale: Support,
    pub challenge: Support,
    pub review: Support,
    pub capture: Support,
    pub part_of_it: Support,
    pub several_captures: Support,
    pub cancel: Support,
    pub void: Support,
    pub refund: Support,
    pub part_refund: Support,
    pub unrefund: Support,
    pub dispute: Support,
    /// Who tells how they ended; nobody: a person says it (`tillway dispute close`).
    pub dispute_end: Support,
    pub read: Support,
    pub status: Support,
    pub shipment: Support,
    pub references: Support,
}

impl Capabilities {
    /// Of a system that does nothing yet: a connector names what it does.
    pub const NONE: Self = Self {
        role: Role::Shop,
        signature: "",
        sweep: "",
        amounts: Amounts { form: Form::Decimals, own_exponents: &[], refused: &[] },
        leaves_another: &[],
        customer: Support::No,
        instruments: Support::No,
        create: Support::No,
        change: Support::No,
        screening: Support::No,
        authorize: Support::No,
        sale: Support::No,
        challenge: Support::No,
        review: Support::No,
        capture: Support::No,
        part_of_it: Support::No,
        several_captures: Support::No,
        cancel: Support::No,
        void: Support::No,
        refund: Support::No,
        part_refund: Support::No,
        unrefund: Support::No,
        dispute: Support::No,
        dispute_end: Support::No,
        read: Support::No,
        status: Support::No,
        shipment: Support::No,
        references: Support::No,
    };

    /// What is done or told, by its name in the table.
    #[must_use]
    pub const fn rows(&self) -> [(&'static str, Support); 23] {
        [
            ("customers", self.customer),
            ("cards kept for them", self.instruments),
            ("payment made before it is charged", self.create),
            ("its amount changed", self.change),
            ("fraud screening alone", self.screening),
            ("authorize", self.authorize),
            ("charge at once", self.sale),
            ("3-D Secure", self.challenge),
            ("reviews", self.review),
            ("capture", self.capture),
            ("of a part", self.part_of_it),
            ("in several parts", self.several_captures),
            ("release what is reserved", self.cancel),
            ("void a capture", self.void),
            ("refund", self.refund),
            ("in part, several", self.part_refund),
            ("take a refund back", self.unrefund),
            ("disputes", self.dispute),
            ("how they ended", self.dispute_end),
            ("read again", self.read),
            ("write status and payment", self.status),
            ("add shipments", self.shipment),
            ("write ids to customers", self.references),
        ]
    }
}

/// How a command is done once however often it is sent.
#[must_use]
pub fn once(connector: &dyn Connector) -> String {
    let lag = connector.indexing_lag();
    match connector.key_lifetime().0 {
        0 if connector.actions().iter().all(|a| a.repeatable) => {
            "reads, compares, writes what differs".to_owned()
        }
        0 => format!("our reference and a look {lag} later; earlier sendings are undone"),
        _ => format!("idempotency key, relied on for {}; looked up after {lag}", connector.key_lifetime()),
    }
}

/// Whether payloads come encrypted.
#[must_use]
pub fn encrypted(connector: &dyn Connector) -> bool {
    connector.media_types().contains(&"application/jose")
}

/// Whether its webhooks can be registered by the system's API, as a connection without settings has it.
#[must_use]
pub fn registers(connector: &dyn Connector) -> bool {
    let system = connector.system();
    let connection = Connection {
        name: system.into(),
        system: system.to_owned(),
        production: false,
        settings: BTreeMap::new(),
    };
    connector.registrar(&connection).is_some()
}

fn amounts(amounts: &Amounts) -> String {
    let mut text = match amounts.form {
        Form::Counts => "counts".to_owned(),
        Form::Decimals => "decimal texts".to_owned(),
    };
    let own: Vec<String> = amounts.own_exponents.iter().map(|(code, n)| format!("{code} {n}")).collect();
    for (what, list) in [("decimals", own.join(", ")), ("not", amounts.refused.join(" "))] {
        if !list.is_empty() {
            text.push_str(&format!("; {what} {list}"));
        }
    }
    text
}

fn shown(support: Support) -> String {
    match support {
        Support::No => "–".to_owned(),
        Support::By(action) => format!("`{}`", verb(action)),
        Support::With(action, how) => format!("`{}`, {how}", verb(action)),
        Support::Told(how) => how.to_owned(),
    }
}

fn verb(action: &str) -> &str {
    action.split_once('.').map_or(action, |(_, verb)| verb)
}

/// The table as Markdown, a column for each connector.
#[must_use]
pub fn table(connectors: &[&dyn Connector]) -> String {
    let mut out = String::new();
    let mut row = |name: &str, cells: Vec<String>| {
        out.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    };
    let each = |read: &dyn Fn(&dyn Connector) -> String| connectors.iter().map(|c| read(*c)).collect();
    row("", each(&|c| c.system().to_owned()));
    row("---", each(&|_| "---".to_owned()));
    row(
        "role",
        each(&|c| match c.capabilities().role {
            Role::Gateway => "gateway".to_owned(),
            Role::Shop => "shop".to_owned(),
        }),
    );
    row("webhooks", each(&|c| c.topics().join(", ")));
    row("signed", each(&|c| c.capabilities().signature.to_owned()));
    row("encrypted payloads", each(&|c| if encrypted(c) { "JWE".to_owned() } else { shown(Support::No) }));
    row(
        "webhooks registered",
        each(&|c| if registers(c) { "by API".to_owned() } else { "by hand".to_owned() }),
    );
    row("missed events", each(&|c| c.capabilities().sweep.to_owned()));
    row("done once by", each(&once));
    row("amounts", each(&|c| amounts(&c.capabilities().amounts)));
    for (at, (name, _)) in Capabilities::NONE.rows().into_iter().enumerate() {
        row(name, each(&|c| c.capabilities().rows().get(at).map_or_else(String::new, |(_, s)| shown(*s))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_an_action_there_is_and_every_action_stands_in_a_row() {
        for connector in crate::registry() {
            let named: Vec<&str> =
                connector.capabilities().rows().into_iter().filter_map(|(_, s)| s.action()).collect();
            let there: Vec<&str> = connector.actions().iter().map(|a| a.spec.name).collect();
            for name in &named {
                assert!(there.contains(name), "{name} is no action of {}", connector.system());
            }
            for name in there {
                assert!(named.contains(&name), "no capability of {} names {name}", connector.system());
            }
        }
    }

    #[test]
    fn the_table_has_a_cell_for_each_connector_in_every_row() {
        let all = crate::registry();
        for line in table(&all).lines() {
            assert_eq!(line.matches(" |").count(), all.len() + 1, "{line}");
        }
    }
}
