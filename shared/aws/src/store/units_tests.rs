//! What a recorded order costs in write units, counted on the requests as they would go out (no network).
//!
//! `tests/order.jsonl` holds the transactions of an order paid at once by somebody new, one a line. It is written by
//! `TILLWAY_TEST_RECORD=shared/aws/tests/order.jsonl cargo test --workspace --test e2e counts`; what the engine writes is
//! held to a number there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value as Json;
use tillway_core::time::Timestamp;
use tillway_engine::ports::{Due, Guard, Key, NewItem, Write};
use tillway_host::entropy::OsEntropy;

use super::page::Page;
use super::write::Request;
use super::{DynamoStore, Layout};
use crate::clients::Clients;
use crate::item::{self, On, Update};
use crate::testing::Hand;

/// Write units of the order.
const UNITS: usize = 41;
/// With an item for each record, as before there were pages.
const UNITS_ALONE: usize = 82;

fn key(at: &Json) -> Key {
    Key::new(at[0].as_str().unwrap(), at[1].as_str().unwrap())
}

fn guard(said: &Json) -> Guard {
    match said.as_str().unwrap() {
        "Absent" => Guard::Absent,
        "Any" => Guard::Any,
        rev => Guard::Rev(rev.trim_start_matches("Rev(").trim_end_matches(')').parse().unwrap()),
    }
}

fn write(said: &Json) -> Write {
    let guard = guard(&said["guard"]);
    if said["check"].is_array() {
        return Write::Check(key(&said["check"]), guard);
    }
    if said["delete"].is_array() {
        return Write::Delete(key(&said["delete"]), guard);
    }
    let due = said["due"].as_array().map(|due| Due {
        shard: u16::try_from(due[0].as_u64().unwrap()).unwrap(),
        at: Timestamp(due[1].as_i64().unwrap()),
    });
    let text = |at: usize| said["list"][at].as_str().unwrap_or_default().to_owned();
    let list = said["list"].is_array().then(|| (text(0), text(1)));
    let body = said["body"].as_str().unwrap().as_bytes().to_vec();
    let expires = said["expires"].as_i64().map(Timestamp);
    Write::Put(NewItem { key: key(&said["put"]), body, due, list, expires }, guard)
}

/// An item as DynamoDB counts it, and its places in the indexes.
#[derive(Default, Clone)]
struct Seen {
    bytes: usize,
    places: [Option<String>; 2],
}

fn seen(key: &Key, update: &Update) -> Seen {
    let of = |name: &str| update.values.get(&format!(":{name}"));
    let length = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len() / 2 + 2,
        AttributeValue::B(blob) => blob.as_ref().len(),
        _ => panic!("an attribute of another kind"),
    };
    let names = ["body", "by", "shard", "at", "list", "sort", "expires", "ttl"];
    let attributes = names.iter().filter_map(|name| Some(name.len() + length(of(name)?)));
    // `rev` is told by an expression.
    let rev = if update.expression.contains("#rev =") { 8 } else { 0 };
    let bytes = 4 + key.pk.len() + key.sk.len() + rev + attributes.sum::<usize>();
    let place = |hash: &str, range: &str| Some(format!("{:?} {:?}", of(hash)?, of(range)?));
    Seen { bytes, places: [place("shard", "at"), place("list", "sort")] }
}

/// The units of requests of one call.
fn units(requests: &[Request<'_>], table: &mut BTreeMap<Key, Seen>) -> usize {
    let factor = if requests.len() > 1 { 2 } else { 1 };
    let mut units = 0;
    for request in requests {
        let (key, now) = match request {
            Request::Update(key, update) => (key, seen(key, update)),
            Request::Delete(key, _) => (key, Seen::default()),
            Request::Check(key, _) => (key, table.get(key).cloned().unwrap_or_default()),
        };
        let before = table.insert(key.clone(), now.clone()).unwrap_or_default();
        units += factor * now.bytes.max(before.bytes).max(1).div_ceil(1024);
        let moved = now.places.iter().zip(&before.places).filter(|(now, before)| now != before);
        units += moved
            .map(|(now, before)| usize::from(now.is_some()) + usize::from(before.is_some()))
            .sum::<usize>();
    }
    units
}

async fn cost(layout: Layout) -> usize {
    let clients = Clients::emulated("http://127.0.0.1:1", "eu-west-1", "test", "test").unwrap();
    let store = DynamoStore::new(clients.dynamodb(), "t", Arc::new(Hand::default()), Arc::new(OsEntropy));
    let store = store.laid_out(layout);
    let (mut table, mut pages) = (BTreeMap::new(), HashMap::<Key, Arc<Page>>::new());
    let mut sum = 0;
    for line in include_str!("../../tests/order.jsonl").lines() {
        let said: Vec<Json> = serde_json::from_str(line).unwrap();
        let writes: Vec<Write> = said.iter().map(write).collect();
        let (by_page, alone) = store.grouped(&writes);
        for key in by_page.keys() {
            pages.entry(key.clone()).or_default();
        }
        if let ([Write::Put(new, guard)], true) = (writes.as_slice(), by_page.is_empty()) {
            let update = item::update(new, On::Guard(*guard), Some("0123456789abcdef"));
            sum += units(&[Request::Update(new.key.clone(), update)], &mut table);
            continue;
        }
        let outgoing = store.outgoing(&by_page, &alone, &pages).unwrap();
        let outgoing = outgoing.expect("guards that held then hold again");
        sum += units(&outgoing.requests, &mut table);
        let now = outgoing.pages;
        pages.extend(now);
    }
    sum
}

#[tokio::test]
async fn an_order_costs_so_many_write_units_and_no_more() {
    let (pages, alone) = (cost(Layout::ENGINE).await, cost(Layout::ALONE).await);
    println!("write units of the recorded order: {pages}; with an item for each record: {alone}");
    assert!(pages <= UNITS, "{pages} write units, at most {UNITS}");
    assert_eq!(alone, UNITS_ALONE, "this count has lost its measure");
}
