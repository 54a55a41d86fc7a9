//! What was paid out is settled by the functions of the schedules.

use std::time::{Duration, Instant};

use serde_json::json;
use tillway_cloud_tests::{Cloud, SECOND};
use tillway_core::ids::ConnectionName;
use tillway_core::settle::Day;
use tillway_core::time::Millis;
use tillway_engine::ports::{Guard, NewItem, Write};
use tillway_engine::settle::Agenda;
use tillway_engine::settle::records::{Standing, agenda_key};
use tillway_tests::world::GATEWAY;

async fn agenda(cloud: &Cloud, name: &ConnectionName) -> Agenda {
    let store = &cloud.stack.engine().ports.store;
    let item = store.get(&[agenda_key(name)]).await.unwrap().remove(0).unwrap();
    serde_json::from_slice(&item.body).unwrap()
}

/// Orders that are paid out beside those that came before.
const ORDERS: usize = 12;

/// Everything that was charged so far is paid out; the announcement is heard, and the function settles the day.
pub(crate) async fn a_payout_is_settled_once_it_is_announced(cloud: &mut Cloud) {
    let orders: Vec<String> = (0..ORDERS).map(|n| format!("A-{n}")).collect();
    for order in &orders {
        cloud.place(order, "pm_card_visa");
        cloud.until_known(order, "authorized").await;
        let now = cloud.now();
        cloud.shop().ship(now, order, None).unwrap();
    }
    for order in &orders {
        cloud.until_known(order, "paid").await;
    }
    cloud.rest().await;
    let now = cloud.now();
    let payout = cloud.stripe().pay_out(now, "usd").unwrap();
    cloud.rest().await;
    let name = ConnectionName::new(GATEWAY);
    // Every five minutes.
    cloud.clock.forward(Millis::mins(6));
    let begun = Instant::now();
    while !agenda(cloud, &name).await.announced.is_empty() {
        assert!(begun.elapsed() < tillway_cloud_tests::PATIENCE, "the announced day is never settled");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let engine = cloud.stack.engine();
    let batches = engine.settled_batches(&name).await.unwrap();
    let open = engine.settlement_open(Some(&name)).await.unwrap();
    let open: Vec<String> = open.iter().map(|o| format!("{:?}", o.record)).collect();
    assert_eq!((batches.len(), batches[0].standing), (1, Standing::Closed), "{open:?}");
    assert_eq!(&*batches[0].batch.id, payout.as_str());
    let view = engine.settled_batch(Some(&name), &payout).await.unwrap().unwrap();
    let checked = engine.check_batch(&view).await.unwrap();
    assert!(checked.rejected.is_empty() && checked.certificates > 10, "{checked:?}");
    let told = engine.explain(&tillway_cloud_tests::look::key("C-1")).await.unwrap().unwrap().to_string();
    assert!(told.contains(&format!("settled in batch {payout}")), "{told}");
    // The schedule's look at the other accounts may be under way still: this one waits its turn.
    assert_eq!(cloud.stack.invoke("settle-stripe").await, None);
    // Nothing is due any more: the next look reads the agenda and ends.
    let documents = cloud.stack.ask(json!({ "do": "calls" })).await;
    let puts = |calls: &serde_json::Value| {
        let by =
            |c: &&serde_json::Value| c["function"].as_str().unwrap_or_default().ends_with("settle-stripe");
        let all: Vec<String> =
            calls.as_array().unwrap().iter().filter(by).map(|c| c["call"].to_string()).collect();
        let count = |what: &str| all.iter().filter(|c| c.contains(what)).count();
        let written = count("s3:PutObject") + count("s3:CopyObject");
        (written, count("dynamodb:TransactWriteItems") + count("dynamodb:UpdateItem"))
    };
    let before = puts(&documents);
    println!("documents put and store writes of a settlement of {} lines: {before:?}", view.doc.lines.len());
    assert!(before.0 > 3, "documents lie in S3: {before:?}");
    assert_eq!(cloud.stack.invoke("settle-stripe").await, None);
    assert_eq!(puts(&cloud.stack.ask(json!({ "do": "calls" })).await), before);
    let log = cloud.stack.ask(json!({ "do": "logs", "stage": "schedules" })).await;
    // The other accounts' lines stand there, too.
    let of_day = format!("{GATEWAY} {}: ", batches[0].day);
    let told = log.as_array().unwrap().iter().filter_map(|l| l.as_str());
    let told: Vec<&str> = told.filter(|l| l.contains("\"settlement\"") && l.contains(&of_day)).collect();
    let matched = told.iter().filter(|l| l.contains("all matched")).count();
    assert_eq!(matched, 1, "the morning's line is told once: {told:#?}");
}

/// A day of the second gateway, whose report holds nothing yet or is not there.
pub(crate) async fn a_day_of_the_second_gateway_is_asked_for(cloud: &mut Cloud) {
    let (name, now) = (ConnectionName::new(SECOND), cloud.now());
    let yesterday = Day::of(now).plus(-1);
    let asked = Agenda {
        through: yesterday,
        announced: [(yesterday, now)].into(),
        waiting: std::collections::BTreeMap::new(),
        failed: 0,
        begun: 0,
        rests_until: None,
    };
    let store = &cloud.stack.engine().ports.store;
    let body = serde_json::to_vec(&asked).unwrap();
    let item = NewItem { key: agenda_key(&name), body, due: None, list: None, expires: None };
    store.transact(vec![Write::Put(item, Guard::Any)]).await.unwrap();
    cloud.clock.forward(Millis::mins(6));
    let begun = Instant::now();
    let agenda = loop {
        let agenda = agenda(cloud, &name).await;
        if agenda.announced.is_empty() {
            break agenda;
        }
        assert!(begun.elapsed() < tillway_cloud_tests::PATIENCE, "the day is never settled: {agenda:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(agenda.failed == 0, "{agenda:?}");
}
