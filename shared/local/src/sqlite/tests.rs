//! The contract over a real file, and what only this adapter promises.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::contract::{QueueRig, queue_suite, shelf_suite, store_suite};
use tillway_engine::ports::{Guard, Key, NewItem, OutMessage, Queue, Shelf, Store, StoreError, Write};
use tillway_engine::settle::StoreShelf;

use super::*;

/// A clock moved by hand.
struct HandClock(AtomicI64);

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
    async fn sleep(&self, length: Millis) {
        self.0.fetch_add(length.0, Ordering::SeqCst);
    }
}

fn hand_clock() -> Arc<HandClock> {
    Arc::new(HandClock(AtomicI64::new(1_795_248_000_000)))
}

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tillway-local-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Database {
    Database::open(path, Options::new(hand_clock())).unwrap()
}

fn put(sk: &str, guard: Guard) -> Write {
    let key = Key::new("p", sk);
    Write::Put(NewItem { key, body: b"body".to_vec(), due: None, list: None, expires: None }, guard)
}

fn message(group: &str, text: &str) -> OutMessage {
    OutMessage { group: Some(group.into()), dedup: None, body: text.into(), delay: Millis(0) }
}

/// Who stops a process and copies the file has everything.
#[tokio::test]
async fn a_file_that_was_closed_is_whole_by_itself() {
    let dir = Dir::new();
    for n in 0..20 {
        let path = dir.file(&format!("closed-{n}.db"));
        let store = open(&path).store();
        store.transact(vec![put("a", Guard::Absent)]).await.unwrap();
        assert!(store.get(&[Key::new("p", "a")]).await.unwrap()[0].is_some());
        drop(store);
        assert!(!dir.file(&format!("closed-{n}.db-wal")).exists(), "the log is left beside the file");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract() {
    let dir = Dir::new();
    let count = AtomicU64::new(0);
    let make = || -> Box<dyn Store> {
        let name = format!("store-{}.db", count.fetch_add(1, Ordering::SeqCst));
        Box::new(open(&dir.file(&name)).store())
    };
    let passed = store_suite(&make).await.unwrap();
    assert!(passed.len() > 20, "{passed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shelf_keeps_the_contract() {
    let dir = Dir::new();
    let count = AtomicU64::new(0);
    let make = || -> Box<dyn Shelf> {
        let name = format!("shelf-{}.db", count.fetch_add(1, Ordering::SeqCst));
        Box::new(StoreShelf::new(Arc::new(open(&dir.file(&name)).store())))
    };
    let passed = shelf_suite(&make).await.unwrap();
    assert_eq!(passed.len(), 4, "{passed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queues_keep_the_contract() {
    let dir = Dir::new();
    let count = AtomicU64::new(0);
    let clock = hand_clock();
    let make = || -> Box<dyn Queue> {
        let name = format!("queue-{}.db", count.fetch_add(1, Ordering::SeqCst));
        let mut options = Options::new(clock.clone());
        options.max_receives = 5;
        Box::new(Database::open(&dir.file(&name), options).unwrap().queue())
    };
    let passing = Arc::clone(&clock);
    let advance = move |length: Millis| {
        let clock = Arc::clone(&passing);
        async move { clock.sleep(length).await }.boxed()
    };
    let rig = QueueRig { make: &make, advance: &advance, max_receives: 5, dead: &|name| dead_queue(name) };
    let passed = queue_suite(rig).await.unwrap();
    assert!(passed.len() > 20, "{passed:?}");
}

/// Copying the files while the writer runs is what a power cut leaves, for whatever was acknowledged before
/// the copy began: the copy of the log is cut anywhere, also in the middle of a frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_a_cut_at_any_moment() {
    let dir = Dir::new();
    let path = dir.file("live.db");
    let database = open(&path);
    let store = database.store();
    let acknowledged = Arc::new(Mutex::new(Vec::<String>::new()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|task| {
            let (store, acknowledged, stop) = (store.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
            tokio::spawn(async move {
                for i in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let sk = format!("{task}-{i}");
                    let both = vec![put(&sk, Guard::Absent), put(&format!("twin-{sk}"), Guard::Absent)];
                    store.transact(both).await.unwrap();
                    acknowledged.lock().unwrap().push(sk);
                }
            })
        })
        .collect();
    for cut in 0..5 {
        let before = acknowledged.lock().unwrap().len();
        while acknowledged.lock().unwrap().len() < before + 50 {
            assert!(!writers.iter().any(tokio::task::JoinHandle::is_finished), "a writer failed");
            tokio::task::yield_now().await;
        }
        let expected = acknowledged.lock().unwrap().clone();
        let copy = dir.file(&format!("copy-{cut}.db"));
        // A checkpoint between the two copies would tear them apart, which no power cut does: hold one off.
        let holder = rusqlite::Connection::open(&path).unwrap();
        holder.execute_batch("BEGIN; SELECT count(*) FROM items;").unwrap();
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(dir.file("live.db-wal"), dir.file(&format!("copy-{cut}.db-wal"))).unwrap();
        drop(holder);
        let copied = open(&copy).store();
        for keys in expected.chunks(40) {
            let keys: Vec<Key> =
                keys.iter().flat_map(|sk| [Key::new("p", sk), Key::new("p", format!("twin-{sk}"))]).collect();
            assert!(
                copied.get(&keys).await.unwrap().iter().all(Option::is_some),
                "cut {cut}: a write is lost"
            );
        }
        let mut after = None;
        loop {
            let page = copied.query("p", "", after.as_deref(), 500).await.unwrap();
            for item in page.items.iter().filter(|item| !item.key.sk.starts_with("twin-")) {
                let twin = Key::new("p", format!("twin-{}", item.key.sk));
                assert!(copied.get(&[twin]).await.unwrap()[0].is_some(), "cut {cut}: half a transaction");
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_reopened_file_holds_everything() {
    let dir = Dir::new();
    let path = dir.file("a.db");
    {
        let database = open(&path);
        database.store().transact(vec![put("a", Guard::Absent)]).await.unwrap();
        database.queue().send("q.fifo", vec![message("g", "1"), message("g", "2")]).await.unwrap();
        let taken = database.queue().receive("q.fifo", 1, Millis::secs(60)).await.unwrap();
        database.queue().delete("q.fifo", vec![taken[0].receipt.clone()]).await.unwrap();
    }
    let database =
        Database::open(&path, Options { quick_check: true, ..Options::new(hand_clock()) }).unwrap();
    assert_eq!(database.store().transact(vec![put("a", Guard::Absent)]).await, Err(StoreError::Conflict(0)));
    assert_eq!(database.queue().depth("q.fifo").await.unwrap(), 1);
    let taken = database.queue().receive("q.fifo", 10, Millis::secs(60)).await.unwrap();
    assert_eq!(taken.iter().map(|m| m.body.as_slice()).collect::<Vec<_>>(), [b"2"]);
}

#[tokio::test]
async fn two_processes_may_share_the_file() {
    let dir = Dir::new();
    let (one, two) = (open(&dir.file("a.db")), open(&dir.file("a.db")));
    let racing = (0..40).map(|i| {
        let store = if i % 2 == 0 { one.store() } else { two.store() };
        async move { store.transact(vec![put("a", Guard::Absent)]).await }
    });
    let answers = join_all(racing).await;
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 1, "{answers:?}");
    one.queue().send("q.fifo", vec![message("g", "1"), message("g", "2")]).await.unwrap();
    assert_eq!(two.queue().receive("q.fifo", 1, Millis::secs(60)).await.unwrap().len(), 1);
    assert_eq!(
        one.queue().receive("q.fifo", 1, Millis::secs(60)).await.unwrap().len(),
        0,
        "the group is held"
    );
    assert_eq!(one.queue().depth("q.fifo").await.unwrap(), 2);
}

#[test]
fn a_newer_or_foreign_file_is_refused() {
    let dir = Dir::new();
    let newer = dir.file("newer.db");
    drop(open(&newer));
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Database::open(&newer, Options::new(hand_clock())).err().unwrap();
    assert!(matches!(refused, OpenError::Newer { file: 99, .. }), "{refused}");
    let foreign = dir.file("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let refused = Database::open(&foreign, Options::new(hand_clock())).err().unwrap();
    assert!(matches!(refused, OpenError::Foreign), "{refused}");
    let text = dir.file("text.db");
    std::fs::write(&text, "x".repeat(5000)).unwrap();
    assert!(matches!(Database::open(&text, Options::new(hand_clock())).err().unwrap(), OpenError::Sqlite(_)));
}

#[cfg(unix)]
#[test]
fn the_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let path = dir.file("a.db");
    let _database = open(&path);
    for name in ["a.db", "a.db-wal"] {
        let mode = std::fs::metadata(dir.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[tokio::test]
async fn workers_are_woken() {
    let dir = Dir::new();
    let queue = open(&dir.file("a.db")).queue();
    let woken = queue.notified("q.fifo");
    queue.send("q.fifo", vec![message("g", "1"), message("g", "2")]).await.unwrap();
    woken.await;
    queue.notified("q.fifo").now_or_never();
    let taken = queue.receive("q.fifo", 1, Millis::secs(60)).await.unwrap();
    queue.notified("q.fifo").now_or_never();
    assert!(queue.notified("q.fifo").now_or_never().is_none(), "nothing is ready");
    queue.delete("q.fifo", vec![taken[0].receipt.clone()]).await.unwrap();
    queue.notified("q.fifo").await; // the group is free again
}

#[tokio::test]
async fn expired_items_are_purged_and_no_others() {
    let dir = Dir::new();
    let store = open(&dir.file("a.db")).store();
    let expiring = |sk: &str, at| {
        let expires = Some(Timestamp(at));
        let item = NewItem { key: Key::new("p", sk), body: Vec::new(), due: None, list: None, expires };
        Write::Put(item, Guard::Any)
    };
    store
        .transact(vec![expiring("a", 1), expiring("b", 2), expiring("c", 9), put("d", Guard::Any)])
        .await
        .unwrap();
    assert_eq!(store.purge_expired(Timestamp(5), 1).await, Ok(1));
    assert_eq!(store.purge_expired(Timestamp(5), 10).await, Ok(1));
    assert_eq!(store.purge_expired(Timestamp(5), 10).await, Ok(0));
    assert_eq!(store.query("p", "", None, 10).await.unwrap().items.len(), 2);
}
