//! An answer that is not about what was asked for goes to a person.

use std::collections::BTreeSet;

use tillway_connectors::Outcome;

use crate::world::{System, World, how, write_of};

pub async fn lies<S: System>() {
    for lie in S::LIES {
        let world = World::<S>::new();
        let params = S::ready(&world, lie.action).await;
        world.bend(write_of::<S>(lie.action), lie.change);
        let outcome = world.call(lie.action, &params, 0).await;
        let named = matches!(&outcome, Outcome::Disagrees { field, .. } if field.contains(lie.field));
        assert!(named, "{} with another {}: {}", lie.action, lie.field, how(&outcome));
        // And without the lie it is settled: it is the lie that was noticed.
        let world = World::<S>::new();
        let params = S::ready(&world, lie.action).await;
        let outcome = world.call(lie.action, &params, 0).await;
        assert!(matches!(outcome, Outcome::Settled { .. }), "{}: {}", lie.action, how(&outcome));
    }
    // Money never moves without its answer being compared.
    let compared: BTreeSet<&str> = S::LIES.iter().map(|l| l.action).collect();
    for action in S::connector().actions().iter().filter(|a| a.spec.money) {
        assert!(compared.contains(action.spec.name), "nobody lies about {}", action.spec.name);
    }
    println!("{}: {} lies noticed", S::connector().system(), S::LIES.len());
}
