//! What is declared is what there is.

use std::collections::BTreeSet;

use tillway_connectors::capabilities::{self, Form, Support};
use tillway_core::money::{Currency, Money};

use crate::world::{System, World, command};

/// Every action is driven by this kit, and nothing else; what cannot be done is said.
pub fn actions<S: System>() {
    let connector = S::connector();
    let driven: BTreeSet<&str> = S::WRITES.iter().map(|w| w.action).chain(S::READS.iter().copied()).collect();
    let there: BTreeSet<&str> = connector.actions().iter().map(|a| a.spec.name).collect();
    assert_eq!(driven, there, "the kit drives every action");
    for action in connector.actions() {
        assert_eq!(action.reads, S::READS.contains(&action.spec.name), "{}", action.spec.name);
    }
    for name in connector.capabilities().leaves_another {
        let money = connector.actions().iter().any(|a| a.spec.name == *name && a.spec.money);
        assert!(!money && there.contains(name), "{name} must be done once");
    }
    for (name, support) in connector.capabilities().rows() {
        match support {
            Support::No => println!("{}: {name}: not offered", connector.system()),
            Support::Told(how) => println!("{}: {name}: {how}", connector.system()),
            Support::By(action) | Support::With(action, _) => assert!(there.contains(action), "{name}"),
        }
    }
    for (what, has) in [
        ("encrypted payloads", capabilities::encrypted(connector)),
        ("registering webhooks by API", capabilities::registers(connector)),
        ("idempotency keys", connector.key_lifetime().0 > 0),
    ] {
        if !has {
            println!("{}: {what}: not offered", connector.system());
        }
    }
}

/// Of all currencies there are, those declared as refused are refused, and the others go with the decimals declared.
pub fn amounts<S: System>() {
    let declared = S::connector().capabilities().amounts;
    let world = World::<S>::new();
    let letters = || 'A'..='Z';
    let codes =
        letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
    let (mut sent, mut refused) = (0, BTreeSet::new());
    for currency in codes.filter_map(|code| Currency::parse(&code).ok()) {
        let amount = Money::new(123_000, currency);
        let (action, params) = S::paying(amount);
        let prepared = S::connector().prepare(&world.connection, action, &command(action), &params);
        let Ok(prepared) = prepared else {
            refused.insert(currency.code());
            continue;
        };
        sent += 1;
        let own = currency.exponent();
        let told = declared.own_exponents.iter().find(|(code, _)| *code == currency.code());
        let wire = told.map_or(own, |(_, exponent)| *exponent);
        let expected = match declared.form {
            Form::Counts if wire >= own => (amount.minor * 10_i64.pow(wire - own)).to_string(),
            Form::Counts => (amount.minor / 10_i64.pow(own - wire)).to_string(),
            Form::Decimals => amount.to_major().to_string(),
        };
        let text = String::from_utf8(prepared.bytes).unwrap();
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        assert!(text.split(|c: char| !digits(c)).any(|n| n == expected), "{currency}: {expected} in {text}");
    }
    let declared: BTreeSet<&str> = declared.refused.iter().copied().collect();
    assert_eq!(refused, declared);
    assert!(sent > 100, "{sent}");
}

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
const BEGIN: &str =
    "<!-- capabilities: printed by `tillway connectors`, compared by tests/sandbox/tests/conformance -->\n";
const END: &str = "<!-- end of capabilities -->";

/// README shows what the connectors declare.
#[test]
fn readme_shows_this_table() {
    let table = capabilities::table(&tillway_connectors::registry());
    println!("{table}");
    let readme = std::fs::read_to_string(README).unwrap();
    let shown = readme.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(table, _)| table);
    let hint = "put the output of `tillway connectors` between the marks in README.md";
    assert_eq!(shown.map(str::trim), Some(table.trim()), "{hint}");
}
