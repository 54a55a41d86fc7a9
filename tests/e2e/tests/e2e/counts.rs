//! How many calls of store and queue an order takes (DESIGN section 9), and what it writes: on AWS each is paid.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use tillway_core::time::Millis;
use tillway_engine::ports::{Key, Write};
use tillway_engine::records::{EVENTS, command_queue};
use tillway_tests::setup::Setup;
use tillway_tests::taps::{Fate, Stage};
use tillway_tests::world::{World, new_order};

type Counts = BTreeMap<(Stage, &'static str), u64>;

fn store(counts: &Counts) -> u64 {
    counts.iter().filter(|((_, kind), _)| *kind != "send").map(|(_, n)| *n).sum()
}
fn sends(counts: &Counts) -> u64 {
    counts.iter().filter(|((_, kind), _)| *kind == "send").map(|(_, n)| *n).sum()
}

/// What an order took: calls by stage and service, and what went over its bound.
#[derive(Default)]
struct Taken {
    calls: BTreeMap<(Stage, &'static str), u64>,
    over: Vec<String>,
}

impl Taken {
    fn of(&self, service: &str) -> u64 {
        self.calls.iter().filter(|((_, by), _)| *by == service).map(|(_, n)| *n).sum()
    }
}

/// Works one order to its end, message by message. `known`: its customer is known, and so taken over by one decision.
async fn work(w: &World, order: &str, mut known: bool) -> Taken {
    let queue = w.queue();
    let (mut taken, mut over, mut lines) = (Taken::default(), Vec::new(), Vec::new());
    w.taps.take();
    w.taps.take_targets();
    let mut note = |what: String, counts: Counts, most: u64| {
        let sum = store(&counts) + sends(&counts);
        for ((stage, kind), n) in &counts {
            let service = if *kind == "send" { SQS } else { DYNAMODB };
            *taken.calls.entry((*stage, service)).or_default() += n;
        }
        lines.push(format!("{what}: {sum} {counts:?}"));
        if sum > most {
            over.push(lines.last().cloned().unwrap_or_default());
        }
    };
    for _ in 0..400 {
        let mut moved = false;
        for delivery in [w.stripe_deliveries(), w.shop_deliveries()].concat() {
            let receipt = w.post(delivery.0, &delivery.1.topic, &delivery.1.request).await;
            assert_eq!(receipt.status, 202);
            w.accepted(delivery.0, delivery.1.id);
            let counts = w.taps.take();
            assert_eq!((store(&counts), sends(&counts)), (0, 1), "receive sends and nothing else");
            note(format!("receive {}", delivery.1.event_type), counts, 1);
            moved = true;
        }
        for message in queue.receive(EVENTS, 1, Millis::secs(90)).await.unwrap() {
            let before = w.counters();
            w.taps.take_targets();
            w.taps.enter(Stage::Decide);
            w.engine.handle_event(&message).await.unwrap();
            let (counts, targets) = (w.taps.take(), w.taps.take_targets());
            let told: Vec<String> = w
                .counters()
                .into_iter()
                .filter(|(k, n)| before.get(k) != Some(n))
                .map(|((m, l), _)| format!("{m} {l}"))
                .collect();
            // Load, commit, send; one more where an alias is read; and a send for each further queue. A customer found for an
            // earlier order is met at the commit, read, and taken over: three more, once, instead of a whole command.
            let alias = u64::from(counts.contains_key(&(Stage::Decide, "alias")));
            let further = u64::try_from(targets.len()).unwrap().saturating_sub(1);
            let taken_over =
                counts.get(&(Stage::Decide, "transact")) == Some(&2) && std::mem::take(&mut known);
            let most = 3 + alias + further + if taken_over { 3 } else { 0 };
            note(format!("decide ({})", told.join(", ")), counts, most);
            queue.delete(EVENTS, vec![message.receipt]).await.unwrap();
            moved = true;
        }
        for system in ["stripe", "clarity", "notify"] {
            let name = command_queue(system);
            for message in queue.receive(&name, 1, Millis::secs(90)).await.unwrap() {
                w.taps.enter(Stage::Act);
                w.engine.handle_command(&message).await.unwrap();
                // Load, claim, end; and one to report.
                let counts = w.taps.take();
                let most = 3 + u64::from(sends(&counts) > 0);
                note(format!("act on {system}"), counts, most);
                queue.delete(&name, vec![message.receipt]).await.unwrap();
                moved = true;
            }
        }
        if !moved {
            if w.status(order) == "Paid" {
                break;
            }
            w.clock.forward(Millis::secs(1));
        }
    }
    assert_eq!(w.status(order), "Paid");
    for line in &lines {
        println!("{line}");
    }
    taken.over = over;
    taken
}

/// The services of an order's calls on AWS: neither large bodies nor alerts are among them.
const DYNAMODB: &str = "DynamoDB";
const SQS: &str = "SQS";
/// What such an order takes at most of each: of a known customer, and of somebody new.
const BY_SERVICE: [(u64, u64); 2] = [(26, 10), (30, 14)];

/// Budget of DESIGN section 9 for an order paid at once by a PaymentIntent that Tillway created.
const BUDGET: u64 = 45;

/// What such an order of somebody new writes: items, those of a transaction twice, and places in lists. On AWS these are the
/// write units where each item is within a kilobyte (`shared/aws/src/store/units_tests.rs` has the rest of them). One is the place
/// of the capture in the list that settlement reads.
const WRITES: usize = 33;

/// Where an item lies on AWS: with others of its partition in one, or alone (`shared/aws/src/store/layout.rs`).
fn lies(key: &Key) -> String {
    let paged = ["order#", "person#", "alias#"].iter().any(|kind| key.pk.starts_with(kind));
    if paged && !key.sk.starts_with("note#") { key.pk.clone() } else { format!("{}/{}", key.pk, key.sk) }
}

fn units(writes: &[Write]) -> usize {
    let items: BTreeSet<String> = writes.iter().map(|write| lies(write.key())).collect();
    let listed =
        writes.iter().filter(|write| matches!(write, Write::Put(item, _) if item.list.is_some())).count();
    listed + if items.len() > 1 { 2 * items.len() } else { 1 }
}

/// A transaction as a line of `shared/aws/tests/order.jsonl`.
fn line(writes: &[Write]) -> String {
    let told = |write: &Write| match write {
        Write::Put(item, guard) => serde_json::json!({
            "put": [item.key.pk, item.key.sk], "guard": format!("{guard:?}"), "body": String::from_utf8_lossy(&item.body),
            "due": item.due.map(|due| (due.shard, due.at.0)), "list": item.list, "expires": item.expires.map(|at| at.0),
        }),
        Write::Delete(key, guard) => {
            serde_json::json!({ "delete": [key.pk, key.sk], "guard": format!("{guard:?}") })
        }
        Write::Check(key, guard) => {
            serde_json::json!({ "check": [key.pk, key.sk], "guard": format!("{guard:?}") })
        }
    };
    serde_json::Value::from(writes.iter().map(told).collect::<Vec<_>>()).to_string()
}

/// A gateway whose endpoints subscribe to what the connector wants, the topics without a flow included.
fn subscribed() -> Setup {
    let mut setup = Setup::default();
    let wanted = tillway_connectors::find("stripe").unwrap().subscriptions();
    setup.gateway.endpoint_topics =
        wanted.iter().flat_map(|s| s.types.iter().map(|t| ((*t).to_owned(), s.topic.to_owned()))).collect();
    setup
}

#[tokio::test]
async fn an_order_paid_at_once_takes_at_most_45_calls() {
    let w = World::with(subscribed()).await;
    // The first order of a process also stores the flow and fetches the shop's token.
    w.place("A-0", Some("pm_card_visa"));
    w.until_status("A-0", "Paid").await;
    w.pass(Millis::mins(1)).await;
    for (order, same_customer) in [("A-1", true), ("A-2", false)] {
        let mut new = new_order(order, "USD", Some("pm_card_visa"));
        if same_customer {
            new.customer.email = Some("a-0@example.com".to_owned());
        }
        w.place_with(new);
        let written = Arc::new(Mutex::new((0, String::new())));
        let noted = written.clone();
        w.taps.judge(move |writes| {
            let mut written = noted.lock().unwrap();
            written.0 += units(writes);
            written.1 += &format!("{}\n", line(writes));
            Fate::Pass
        });
        let taken = work(&w, order, same_customer).await;
        let (over, by_service) = (&taken.over, (taken.of(DYNAMODB), taken.of(SQS)));
        let total = by_service.0 + by_service.1;
        println!(
            "calls of store and queue for an order paid at once, known customer {same_customer}: {total}"
        );
        println!("| stage | {DYNAMODB} | {SQS} |\n|---|---|---|");
        for stage in [Stage::Receive, Stage::Decide, Stage::Act] {
            let of = |service| taken.calls.get(&(stage, service)).copied().unwrap_or(0);
            println!("| {stage:?} | {} | {} |", of(DYNAMODB), of(SQS));
        }
        println!("| all | {} | {} |", by_service.0, by_service.1);
        assert!(over.is_empty(), "{over:#?}");
        assert!(total <= BUDGET, "{total} calls");
        let most = BY_SERVICE[usize::from(!same_customer)];
        assert!(by_service.0 <= most.0 && by_service.1 <= most.1, "{by_service:?} calls, at most {most:?}");
        w.taps.calm();
        let (units, lines) = std::mem::take(&mut *written.lock().unwrap());
        println!("items written, those of a transaction twice, and places in lists: {units}");
        assert!(units <= WRITES, "{units} items and places written");
        if let Some(path) = std::env::var_os("TILLWAY_TEST_RECORD").filter(|_| !same_customer) {
            std::fs::File::create(path).unwrap().write_all(lines.as_bytes()).unwrap();
        }
        w.charged_once(order, 4712);
        w.pass(Millis::mins(1)).await;
    }
}
