//! The samples in events/: each is understood, and none is missing.

use std::collections::BTreeSet;

use tillway_connectors::{Connection, Connector, Interpreted};
use tillway_core::doc::Doc;
use tillway_tests::samples::{all, root};
use tillway_tests::world::{GATEWAY, SHOP, World};

/// A connection of a sample's system; the world has none to Cybersource.
fn connection(w: &World, system: &str) -> (Connection, &'static dyn Connector) {
    let name = if system == "clarity" { SHOP } else { GATEWAY };
    let (known, connector) = w.engine.config.connection(name).unwrap();
    if system == known.system {
        return (known.clone(), connector);
    }
    let name = system.into();
    let known = Connection { name, system: system.to_owned(), production: false, settings: [].into() };
    (known, tillway_connectors::find(system).unwrap())
}

#[tokio::test]
async fn every_sample_is_understood_or_listed() {
    let w = World::start().await;
    let samples = all();
    assert!(samples.len() > 30);
    for sample in &samples {
        let (connection, connector) = connection(&w, &sample.system);
        let file = sample.file.display();
        match connector.interpret(&connection, &sample.kind, Doc::from(&sample.body).json()) {
            Ok(Interpreted::Unhandled) if sample.system == "cybersource" => panic!("{file} has no meaning"),
            Ok(Interpreted::About { .. } | Interpreted::Unhandled) => {}
            // Cybersource's name no payment, or say too little: the order is read.
            Ok(Interpreted::ReadAgain { .. }) if sample.system == "cybersource" => {}
            Ok(Interpreted::ReadAgain { .. }) => panic!("{file} is not believed"),
            Err(rejected) => panic!("{file}: {rejected:?}"),
        }
        let name = sample.file.file_stem().unwrap().to_string_lossy();
        assert_eq!(name, sample.kind.as_str(), "{file} is named after its type");
        // Nothing of the real world in a sample.
        let text = sample.body.to_string();
        assert!(tillway_core::pan::find(&text).is_empty() && !text.contains("_live_"), "{file}");
    }
}

/// The types a connector's source says it handles: the texts between two marks.
fn texts_between(file: &str, from: &str, to: &str) -> BTreeSet<String> {
    let source = std::fs::read_to_string(root().join(file)).unwrap();
    let part = source.split_once(from).unwrap_or_else(|| panic!("{file} has no {from}")).1;
    let part = part.split_once(to).unwrap().0;
    part.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_handled_type_has_a_sample() {
    let samples = all();
    let of = |system: &str| -> BTreeSet<String> {
        samples.iter().filter(|s| s.system == system).map(|s| s.kind.clone()).collect()
    };
    let told = |system: &str| -> BTreeSet<String> {
        let connector = tillway_connectors::find(system).unwrap();
        connector.subscriptions().iter().flat_map(|s| s.types).map(|t| (*t).to_owned()).collect()
    };
    assert_eq!(told("cybersource"), of("cybersource"));
    let mut handled = told("stripe");
    handled.insert("payment_intent.created".to_owned());
    assert!(handled.len() > 30);
    let missing: Vec<_> = handled.difference(&of("stripe")).cloned().collect();
    assert!(missing.is_empty(), "events/stripe lacks {missing:?}");
    let handled = texts_between("shared/connectors/src/clarity/settings.rs", "EVENTS: [&str; 5] =", "];");
    assert_eq!(handled.len(), 5);
    let missing: Vec<_> = handled.difference(&of("clarity")).cloned().collect();
    assert!(missing.is_empty(), "events/clarity lacks {missing:?}");
}

#[tokio::test]
async fn types_without_a_flow_are_stored_counted_and_shown() {
    let w = World::start().await;
    let mut unhandled = BTreeSet::new();
    for sample in all().into_iter().filter(|s| s.system != "cybersource") {
        let (connection, connector) = connection(&w, &sample.system);
        if connector.interpret(&connection, &sample.kind, Doc::from(&sample.body).json())
            == Ok(Interpreted::Unhandled)
        {
            unhandled.insert(sample.kind.clone());
        }
        let body = sample.body.to_string();
        let (name, topic, request) = if sample.system == "clarity" {
            let topic = match sample.kind.split('.').next() {
                Some("customer") => "customers",
                Some("inventory") => "inventory",
                _ => "orders",
            };
            (SHOP, topic, w.shop_hook(&format!("msg_{}", sample.kind.replace('.', "_")), body))
        } else {
            (GATEWAY, "events", w.gateway_hook(body))
        };
        let receipt = w.post(name, topic, &request).await;
        assert_eq!(receipt.status, 202, "{}", sample.kind);
    }
    w.quiet().await;
    let listed = w.engine.unhandled().await.unwrap();
    let kinds: BTreeSet<String> = listed.iter().map(|r| r.kind.clone()).collect();
    assert_eq!(kinds, unhandled);
    assert!(listed.iter().all(|r| r.why == "unhandled" && r.raw.is_some()));
    for kind in &unhandled {
        let counted = w.counters().get(&("events_unhandled".to_owned(), kind.clone())).copied();
        // The samples of orders make the sandboxes say some of it themselves.
        assert!(counted.is_some_and(|n| n >= 1), "{kind}");
    }
}
