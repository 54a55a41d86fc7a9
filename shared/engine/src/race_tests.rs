//! Two pairs of one shop that would take one order at the same moment, on threads of their own, over one store.

use tokio::sync::Barrier;

use super::*;

/// What two engines made of one order whose two events they decided at once.
struct Race {
    /// The pair it belongs to.
    pair: String,
    /// How often it was bound, by its log.
    bindings: usize,
    /// Gateways that were asked for anything.
    gateways: std::collections::BTreeSet<String>,
    parked: Vec<String>,
}

/// `blind`: the claim is written whether or not it still holds.
async fn race(events: [Event; 2], blind: bool) -> Race {
    let w = two().await;
    // Both have read the order, and found it to be nobody's, before either writes.
    *w.memory.meet.lock().unwrap() = Some(Arc::new(Barrier::new(2)));
    w.memory.blind.store(blind, Ordering::SeqCst);
    let mut running = Vec::new();
    for event in events {
        let engine = World::engine(TWO, &w.memory).await;
        running.push(tokio::spawn(async move { engine.work_event(event).await }));
    }
    for done in running {
        done.await.unwrap().unwrap();
    }
    assert!(w.memory.meet.lock().unwrap().is_none(), "they met");
    let of_gateway = |action: String| {
        let system = action.split('.').next().unwrap_or_default().to_owned();
        ["stripe", "cybersource"].contains(&system.as_str()).then_some(system)
    };
    let items: Vec<Item> = w.memory.items.lock().unwrap().values().cloned().collect();
    let logs = items.iter().filter(|i| i.key.sk.starts_with("log#"));
    let facts = logs.flat_map(|i| serde_json::from_slice::<rec::LogRecord>(&i.body).unwrap().facts);
    let bound = |f: &tillway_core::facts::Fact| matches!(f, tillway_core::facts::Fact::Bound { .. });
    Race {
        pair: w.bound().unwrap(),
        bindings: facts.filter(bound).count(),
        gateways: w.commands().into_iter().filter_map(of_gateway).collect(),
        parked: w.record().state.parked.values().map(|p| p.code.clone()).collect(),
    }
}

/// The shop sends the order twice, and changes its mind about the gateway in between.
fn of_the_shop() -> [Event; 2] {
    [event("e-1", &at(Some("stripe"), 1)), event("e-2", &at(Some("cybersource"), 2))]
}

/// One gateway tells of a payment while the shop asks for one at the other.
fn of_both_sides() -> [Event; 2] {
    [charge("evt_1"), event("e-1", &at(Some("cybersource"), 1))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_pairs_that_take_an_order_at_the_same_moment_one_works_it() {
    let mut winners = BTreeMap::<String, usize>::new();
    for n in 0..60 {
        let mut events = if n % 2 == 0 { of_the_shop() } else { of_both_sides() };
        if n % 4 > 1 {
            events.reverse();
        }
        let race = race(events, false).await;
        let own = if race.pair == "bank" { "cybersource" } else { "stripe" };
        assert_eq!(race.bindings, 1, "{n}: bound once");
        assert!(race.gateways.iter().all(|g| g == own), "{n}: {} and {:?}", race.pair, race.gateways);
        // Who came too late is told to a person, or said something that is older than what is known.
        let told = ["gateway_changed", "other_pair"];
        assert!(race.parked.iter().all(|code| told.contains(&code.as_str())), "{n}: {:?}", race.parked);
        *winners.entry(race.pair).or_default() += 1;
    }
    println!("{winners:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_condition_both_would_work_it() {
    let race = race(of_the_shop(), true).await;
    assert_eq!(race.gateways.len(), 2, "this race is none: {:?}", race.gateways);
}
