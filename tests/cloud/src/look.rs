//! What is known, read from the table as any operator's command reads it.

use tillway_core::ids::{ConnectionName, OrderKey};
use tillway_core::journal::Entry;
use tillway_engine::Engine;
use tillway_engine::ports::Item;
use tillway_engine::records::{
    CommandRecord, CommandState, EVENTS, LogRecord, OrderRecord, command_queue, order_pk, state_key,
};
use tillway_tests::world::SHOP;

/// An order's key.
#[must_use]
pub fn key(order: &str) -> OrderKey {
    OrderKey::of(&ConnectionName::new(SHOP), order)
}

/// What is stored of an order.
pub async fn record(engine: &Engine, order: &str) -> Option<OrderRecord> {
    let item =
        engine.ports.store.get(&[state_key(&key(order))]).await.unwrap().into_iter().flatten().next()?;
    Some(serde_json::from_slice(&item.body).unwrap())
}

/// The status that is known.
pub async fn status(engine: &Engine, order: &str) -> Option<String> {
    record(engine, order).await.map(|r| r.state.status.name().to_owned())
}

async fn items(engine: &Engine, order: &str, prefix: &str) -> Vec<Item> {
    let (mut out, mut after) = (Vec::new(), None::<String>);
    loop {
        let page =
            engine.ports.store.query(&order_pk(&key(order)), prefix, after.as_deref(), 100).await.unwrap();
        out.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return out,
        }
    }
}

/// The journal of an order, each entry balanced.
pub async fn journal(engine: &Engine, order: &str) -> Vec<Entry> {
    let entries: Vec<Entry> =
        items(engine, order, "jrn#").await.iter().map(|i| serde_json::from_slice(&i.body).unwrap()).collect();
    for entry in &entries {
        entry.check().unwrap();
    }
    entries
}

/// Sum of a role over an order's journal, minor units: debits less credits.
pub async fn balance(engine: &Engine, order: &str, role: &str) -> i64 {
    let entries = journal(engine, order).await;
    let postings = entries.iter().flat_map(|e| &e.postings);
    postings.filter(|p| p.role.name() == role).map(|p| p.amount.minor).sum()
}

/// Decisions on an order.
pub async fn log(engine: &Engine, order: &str) -> Vec<LogRecord> {
    items(engine, order, "log#").await.iter().map(|i| serde_json::from_slice(&i.body).unwrap()).collect()
}

/// Each entry of an order's journal stands in its log, once.
pub async fn booked_once(engine: &Engine, order: &str) {
    let (log, entries) = (log(engine, order).await, journal(engine, order).await);
    let mut booked: Vec<&String> = log.iter().flat_map(|l| &l.entries).collect();
    booked.sort();
    booked.dedup();
    assert_eq!(booked.len(), entries.len(), "each entry of {order} stands in its log, once");
}

/// Commands of an order that have not ended, or whose end the order has not been told.
pub async fn open_commands(engine: &Engine, order: &str) -> Vec<String> {
    let all = items(engine, order, "cmd#").await;
    let records = all.iter().map(|i| serde_json::from_slice::<CommandRecord>(&i.body).unwrap());
    records
        .filter(|r| !matches!(r.state, CommandState::Ended { .. }) || r.listeners.iter().any(|l| !l.told))
        .map(|r| format!("{} {:?}", r.action, r.state))
        .collect()
}

/// Messages in all queues, dead letters included.
pub async fn messages(engine: &Engine) -> usize {
    let mut names = vec![EVENTS.to_owned(), "events-dead.fifo".to_owned()];
    for name in crate::SYSTEMS.map(command_queue) {
        names.push(format!("{name}-dead"));
        names.push(name);
    }
    let mut sum = 0;
    for name in names {
        sum += engine.ports.queue.depth(&name).await.unwrap();
    }
    sum
}
