//! Measures the one-machine adapters: `cargo run --release -p tillway-local --example store_bench [dir]`.
//!
//! Durable transactions from 64 tasks, reads while idle and under writes, FIFO messages through a queue of
//! 10,000, and small requests through the HTTP front.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    reason = "a measuring program: it reads the real clock, prints, and stops at the first fault"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Due, Guard, Key, NewItem, OutMessage, Queue, Store, Write};
use tillway_local::clock::SystemClock;
use tillway_local::server::{Answer, Front, Limits, serve};
use tillway_local::sqlite::{Database, Options, SqliteStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TASKS: u64 = 64;

fn item(pk: &str, sk: &str, size: usize) -> NewItem {
    let due = (sk == "cmd").then_some(Due { shard: 3, at: Timestamp(1) });
    NewItem { key: Key::new(pk, sk), body: vec![b'x'; size], due, list: None, expires: None }
}

fn percentiles(mut all: Vec<Duration>) -> String {
    all.sort();
    let at = |p: usize| all[(all.len() - 1) * p / 100];
    format!("p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100))
}

async fn transactions(store: &SqliteStore, writes: u64, length: Duration) {
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (store, done) = (store.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut took = Vec::new();
                for i in 0.. {
                    if start.elapsed() > length {
                        break;
                    }
                    let pk = format!("order/{task}-{writes}-{}", i / 8);
                    // The first write creates an order, the others advance it.
                    let guard = if i % 8 == 0 { Guard::Absent } else { Guard::Rev(i % 8) };
                    let mut all = vec![Write::Put(item(&pk, "state", 1500), guard)];
                    for n in 1..writes {
                        all.push(Write::Put(item(&pk, &format!("e{i}-{n}"), 400), Guard::Absent));
                    }
                    let begun = Instant::now();
                    store.transact(all).await.unwrap();
                    took.push(begun.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    println!("transactions of {writes} write(s), {TASKS} tasks: {rate:.0}/s, {}", percentiles(took));
}

async fn one_by_one(store: &SqliteStore) {
    let mut took = Vec::new();
    for i in 0..500 {
        let begun = Instant::now();
        store.transact(vec![Write::Put(item("lone", &i.to_string(), 400), Guard::Absent)]).await.unwrap();
        took.push(begun.elapsed());
    }
    println!("transactions of 1 write, 1 task: {}", percentiles(took));
}

async fn reads(store: &SqliteStore, what: &str) {
    for keys in [1_u64, 4] {
        let mut took = Vec::new();
        for i in 0..5000 {
            let keys: Vec<Key> = (0..keys)
                .map(|k| Key::new(format!("order/{}-1-{}", (i + k) % TASKS, i % 50), "state"))
                .collect();
            let begun = Instant::now();
            let found = store.get(&keys).await.unwrap();
            took.push(begun.elapsed());
            assert!(found.iter().all(Option::is_some));
            if i % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        println!("get of {keys} key(s), {what}: {}", percentiles(took));
    }
    let mut took = Vec::new();
    for i in 0..2000 {
        let (store, key) = (store.clone(), Key::new(format!("order/{}-1-{}", i % TASKS, i % 50), "state"));
        let begun = Instant::now();
        let handle = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || handle.block_on(store.get(&[key])).unwrap()).await.unwrap();
        took.push(begun.elapsed());
    }
    println!("get of 1 key on the blocking pool, {what}: {}", percentiles(took));
}

async fn messages(database: &Database, fifo: bool) {
    let queue = Arc::new(database.queue());
    let name = if fifo { "events.fifo" } else { "commands" };
    let total = 10_000_u64;
    let start = Instant::now();
    let senders: Vec<_> = (0..32)
        .map(|task| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                for i in (task..total).step_by(32) {
                    let group = fifo.then(|| format!("order-{}", i % 2000));
                    let dedup = fifo.then(|| format!("event-{i}"));
                    let message = OutMessage { group, dedup, body: vec![b'x'; 600], delay: Millis(0) };
                    queue.send(name, vec![message]).await.unwrap();
                }
            })
        })
        .collect();
    for task in senders {
        task.await.unwrap();
    }
    println!("{name}: {:.0} sends/s of one message, 32 tasks", total as f64 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
            tokio::spawn(async move {
                let mut took = Vec::new();
                while done.load(Ordering::Relaxed) < total {
                    let begun = Instant::now();
                    let taken = queue.receive(name, 4, Millis::secs(60)).await.unwrap();
                    took.push(begun.elapsed());
                    let count = taken.len() as u64;
                    for message in taken {
                        queue.delete(name, vec![message.receipt]).await.unwrap();
                    }
                    done.fetch_add(count, Ordering::Relaxed);
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for worker in workers {
        took.extend(worker.await.unwrap());
    }
    let rate = total as f64 / start.elapsed().as_secs_f64();
    println!(
        "{name}: {rate:.0} messages/s received and deleted one by one, 16 workers; receive {}",
        percentiles(took)
    );
    assert_eq!(queue.depth(name).await.unwrap(), 0);
}

struct Ok202;

#[async_trait]
impl Front for Ok202 {
    async fn webhook(&self, _: &str, _: &str, _: Vec<(String, String)>, _: &[u8]) -> Answer {
        Answer { status: 202, body: serde_json::json!({ "received": true }), retry_after: None }
    }
    async fn health(&self) -> (bool, serde_json::Value) {
        (true, serde_json::Value::Null)
    }
}

async fn front() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::new(Ok202), Limits::default(), std::future::pending()));
    let start = Instant::now();
    let clients: Vec<_> = (0..32)
        .map(|_| {
            tokio::spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                let body = "x".repeat(600);
                let request = format!(
                    "POST /webhooks/stripe-main/payments HTTP/1.1\r\nHost: h\r\nContent-Length: 600\r\n\r\n{body}"
                );
                let mut buffer = [0; 1024];
                for _ in 0..2000 {
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let read = stream.read(&mut buffer).await.unwrap();
                    assert!(buffer[..read].starts_with(b"HTTP/1.1 202"));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let rate = 64_000.0 / start.elapsed().as_secs_f64();
    println!("front: {rate:.0} requests/s over 32 kept connections (client on the same cores)");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = dir.join(format!("tillway-bench-{}.db", std::process::id()));
    let database = Database::open(&path, Options::new(Arc::new(SystemClock))).unwrap();
    let store = database.store();
    one_by_one(&store).await;
    for writes in [1, 5] {
        transactions(&store, writes, Duration::from_secs(4)).await;
    }
    reads(&store, "idle").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..16)
        .map(|task| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                for i in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    store
                        .transact(vec![Write::Put(
                            item(&format!("w{task}"), &i.to_string(), 400),
                            Guard::Any,
                        )])
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    reads(&store, "under writes").await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    messages(&database, true).await;
    messages(&database, false).await;
    drop((store, database));
    front().await;
    for suffix in ["", "-wal", "-shm"] {
        let _gone = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}
