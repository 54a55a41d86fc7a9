//! What the contract does not say of pages: two processes on one page, old pages kept in memory, lost answers, entries
//! that move, and a table of another layout.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use tillway_aws::store::{DynamoStore, Layout};
use tillway_core::time::Timestamp;
use tillway_engine::ports::{Due, Guard, Item, Key, NewItem, Store as _, StoreError, Write};

use super::cloud::{cloud, losing};

const ORDER: &str = "order#shop/A-1";

fn item(pk: &str, sk: &str, body: &[u8]) -> NewItem {
    NewItem { key: Key::new(pk, sk), body: body.to_vec(), due: None, list: None, expires: None }
}

fn put(sk: &str, guard: Guard) -> Write {
    Write::Put(item(ORDER, sk, sk.as_bytes()), guard)
}

/// A decision: state, a record of the log, a command.
fn decision(nth: u64) -> Vec<Write> {
    let guard = if nth == 1 { Guard::Absent } else { Guard::Rev(nth - 1) };
    let due = Some(Due { shard: 3, at: Timestamp(1000) });
    let command = NewItem { due, ..item(ORDER, &format!("cmd#{nth}"), b"command") };
    vec![
        put("state", guard),
        put(&format!("log#{nth:04}"), Guard::Absent),
        Write::Put(command, Guard::Absent),
    ]
}

async fn one(store: &DynamoStore, sk: &str) -> Option<Item> {
    store.get(&[Key::new(ORDER, sk)]).await.unwrap().remove(0)
}

async fn names(store: &DynamoStore, prefix: &str) -> Vec<String> {
    let (mut out, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = store.query(ORDER, prefix, after.as_deref(), 3).await.unwrap();
        out.extend(page.items.into_iter().map(|item| item.key.sk));
        after = page.next;
        if after.is_none() {
            return out;
        }
    }
}

/// A listing of everything, by threes.
async fn everything(store: &DynamoStore) -> Vec<(String, u64, usize)> {
    let (mut out, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = store.scan(after.as_deref(), 3).await.unwrap();
        assert!(page.items.len() <= 3);
        out.extend(page.items.into_iter().map(|item| (item.key.sk, item.rev, item.body.len())));
        after = page.next;
        if after.is_none() {
            out.sort();
            return out;
        }
    }
}

#[tokio::test]
async fn of_two_processes_that_decide_on_one_order_one_goes_first() {
    let Some(cloud) = cloud("two deciders").await else { return };
    let (first, table) = cloud.table().await;
    let second = cloud.over(&table);
    for nth in 1..=6 {
        // Both read the same state, and one of them had an older page in its memory.
        let answers = join_all([first.transact(decision(nth)), second.transact(decision(nth))]).await;
        let lost: Vec<_> = answers.iter().filter_map(|answer| answer.clone().err()).collect();
        assert_eq!(lost, [StoreError::Conflict(0)], "decision {nth}");
    }
    for store in [&first, &second] {
        assert_eq!(one(store, "state").await.unwrap().rev, 6);
        assert_eq!(names(store, "log#").await.len(), 6);
    }
}

#[tokio::test]
async fn what_different_writers_write_beside_each_other_is_all_there() {
    let Some(cloud) = cloud("writers beside each other").await else { return };
    let (first, table) = cloud.table().await;
    first.transact(decision(1)).await.unwrap();
    let others: Vec<DynamoStore> = (0..6).map(|_| cloud.over(&table)).collect();
    // Each process claims a command of its own, while another decides: nobody's guard is about the other's entry.
    let writes = others.iter().enumerate().map(|(n, store)| async move {
        for round in 0..4 {
            let guard = if round == 0 { Guard::Absent } else { Guard::Rev(round) };
            store.transact(vec![put(&format!("cmd#w{n}"), guard)]).await.unwrap();
        }
    });
    let deciding = async {
        for nth in 2..=5 {
            first.transact(decision(nth)).await.unwrap();
        }
    };
    futures_util::join!(join_all(writes), deciding);
    for n in 0..6 {
        assert_eq!(one(&first, &format!("cmd#w{n}")).await.unwrap().rev, 4);
    }
    assert_eq!(one(&others[0], "state").await.unwrap().rev, 5);
}

#[tokio::test]
async fn a_page_in_memory_that_is_old_neither_refuses_nor_overwrites() {
    let Some(cloud) = cloud("old pages").await else { return };
    let (old, table) = cloud.table().await;
    let new = cloud.over(&table);
    old.transact(decision(1)).await.unwrap();
    new.transact(decision(2)).await.unwrap();
    // By its memory the state is at revision 1: the guard holds all the same, and nothing of the others' is lost.
    old.transact(vec![put("state", Guard::Rev(2)), put("log#0003", Guard::Absent)]).await.unwrap();
    new.transact(vec![put("state", Guard::Rev(3))]).await.unwrap();
    // And what its memory says holds no longer.
    assert_eq!(old.transact(vec![put("state", Guard::Rev(3))]).await, Err(StoreError::Conflict(0)));
    assert_eq!(
        old.transact(vec![put("log#0009", Guard::Absent), put("cmd#2", Guard::Absent)]).await,
        Err(StoreError::Conflict(1))
    );
    // A check of what was taken away.
    new.transact(vec![Write::Delete(Key::new(ORDER, "cmd#2"), Guard::Rev(1))]).await.unwrap();
    let check = Write::Check(Key::new(ORDER, "cmd#2"), Guard::Rev(1));
    assert_eq!(old.transact(vec![check]).await, Err(StoreError::Conflict(0)));
    assert_eq!(names(&old, "").await, ["cmd#1", "log#0001", "log#0002", "log#0003", "state"]);
}

#[tokio::test]
async fn what_an_old_page_does_not_have_is_removed_all_the_same() {
    let Some(cloud) = cloud("removed by an old page").await else { return };
    let (old, table) = cloud.table().await;
    let new = cloud.over(&table);
    let whatever_is_there = |sk: &str| Write::Delete(Key::new(ORDER, sk), Guard::Any);
    old.transact(decision(1)).await.unwrap();
    new.transact(decision(2)).await.unwrap();
    // By its memory there is no such command.
    old.transact(vec![whatever_is_there("cmd#2")]).await.unwrap();
    assert_eq!(names(&new, "cmd#").await, ["cmd#1"]);
    // Nor among other writes: neither of this page, nor of another one.
    new.transact(decision(3)).await.unwrap();
    old.transact(vec![put("log#0009", Guard::Absent), whatever_is_there("cmd#3")]).await.unwrap();
    new.transact(decision(4)).await.unwrap();
    let alias = Write::Put(item("alias#stripe#pi_1", "alias", b"a"), Guard::Absent);
    old.transact(vec![alias, whatever_is_there("cmd#4")]).await.unwrap();
    assert_eq!(names(&new, "cmd#").await, ["cmd#1"]);
    // What is nowhere is removed already, on a page and where there is none.
    old.transact(vec![whatever_is_there("cmd#9")]).await.unwrap();
    old.transact(vec![Write::Delete(Key::new("order#shop/A-2", "cmd#1"), Guard::Any)]).await.unwrap();
    assert_eq!(everything(&new).await.len(), 8);
}

#[tokio::test]
async fn a_transaction_over_two_pages_is_whole_or_not_at_all() {
    let Some(cloud) = cloud("two pages").await else { return };
    let (store, table) = cloud.table().await;
    let alias = |guard| Write::Put(item("alias#stripe#pi_1", "alias", b"\"shop/A-1\""), guard);
    let nobody_waits = || Write::Check(Key::new("alias#stripe#pi_1", "waiting"), Guard::Absent);
    let waits = Write::Put(item("alias#stripe#pi_1", "waiting", b"[]"), Guard::Absent);
    // Somebody began to wait, and the one who decides has seen nobody.
    assert!(store.get(&[Key::new("alias#stripe#pi_1", "waiting")]).await.unwrap()[0].is_none());
    let other = cloud.over(&table);
    other
        .transact(vec![waits, Write::Check(Key::new("alias#stripe#pi_1", "alias"), Guard::Absent)])
        .await
        .unwrap();
    let mut writes = decision(1);
    writes.extend([alias(Guard::Absent), nobody_waits()]);
    assert_eq!(store.transact(writes.clone()).await, Err(StoreError::Conflict(4)));
    assert!(one(&store, "state").await.is_none(), "half of it was written");
    other
        .transact(vec![Write::Delete(Key::new("alias#stripe#pi_1", "waiting"), Guard::Rev(1))])
        .await
        .unwrap();
    store.transact(writes).await.unwrap();
    // Now nobody can begin to wait, whatever they remember.
    let late = vec![
        Write::Put(item("alias#stripe#pi_1", "waiting", b"[]"), Guard::Absent),
        Write::Check(Key::new("alias#stripe#pi_1", "alias"), Guard::Absent),
    ];
    assert_eq!(other.transact(late).await, Err(StoreError::Conflict(1)));
}

#[tokio::test]
async fn a_page_whose_answer_was_lost_is_no_conflict_with_itself() {
    let Some((cloud, lose)) = losing("lost answers of pages").await else { return };
    let (store, _) = cloud.table().await;
    let mut two_pages = decision(2);
    two_pages.push(Write::Put(item("alias#stripe#pi_1", "alias", b"a"), Guard::Absent));
    for (case, writes) in [("one page", decision(1)), ("two pages", two_pages), ("again one", decision(3))] {
        lose.store(true, Ordering::SeqCst);
        assert_eq!(store.transact(writes).await, Ok(()), "{case}");
        assert!(!lose.load(Ordering::SeqCst), "{case}: no answer was lost");
    }
    assert_eq!(one(&store, "state").await.unwrap().rev, 3);
    lose.store(true, Ordering::SeqCst);
    assert_eq!(
        store.transact(decision(3)).await,
        Err(StoreError::Conflict(0)),
        "another's is one all the same"
    );
}

#[tokio::test]
async fn entries_move_out_of_their_page_and_back() {
    let Some(cloud) = cloud("entries that move").await else { return };
    let (store, table) = cloud.table().await;
    store.transact(decision(1)).await.unwrap();
    let large: Vec<u8> =
        (0..40_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let state = |body: &[u8], guard| Write::Put(item(ORDER, "state", body), guard);
    let listed = |sk: &str, guard| {
        let list = Some(("unknown".to_owned(), sk.to_owned()));
        Write::Put(NewItem { list, ..item(ORDER, sk, b"listed") }, guard)
    };
    let of = async |store: &DynamoStore| {
        let state = one(store, "state").await.unwrap();
        (state.rev, state.body.len())
    };
    store.transact(vec![state(&large, Guard::Rev(1)), put("log#0002", Guard::Absent)]).await.unwrap();
    assert_eq!(of(&store).await, (2, 40_000), "outside");
    let other = cloud.over(&table);
    other.transact(vec![state(&large[..39_000], Guard::Rev(2))]).await.unwrap();
    assert_eq!(of(&store).await, (3, 39_000), "written where it stands");
    assert_eq!(store.transact(vec![state(&large, Guard::Rev(2))]).await, Err(StoreError::Conflict(0)));
    assert_eq!(store.transact(vec![state(&large, Guard::Absent)]).await, Err(StoreError::Conflict(0)));
    store.transact(vec![state(b"small", Guard::Rev(3))]).await.unwrap();
    assert_eq!((of(&store).await, of(&other).await), ((4, 5), (4, 5)), "back");
    other.transact(vec![state(&large, Guard::Any)]).await.unwrap();
    assert_eq!(of(&store).await, (5, 40_000), "out again, its revisions counted on");
    store.transact(vec![state(b"tiny", Guard::Any)]).await.unwrap();
    assert_eq!(of(&other).await, (6, 4), "written whatever is there");

    // A page is in one list; the next one lies beside it. Both are found.
    store.transact(vec![listed("cmd#8", Guard::Absent), listed("cmd#9", Guard::Absent)]).await.unwrap();
    let page = other.list("unknown", None, false, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|item| item.key.sk.as_str()).collect::<Vec<_>>(), ["cmd#8", "cmd#9"]);
    store.transact(vec![put("cmd#8", Guard::Rev(1)), put("cmd#9", Guard::Rev(1))]).await.unwrap();
    assert!(other.list("unknown", None, false, 10).await.unwrap().items.is_empty());
    other.transact(vec![Write::Delete(Key::new(ORDER, "state"), Guard::Rev(6))]).await.unwrap();
    assert!(one(&store, "state").await.is_none());
    assert_eq!(names(&store, "").await, ["cmd#1", "cmd#8", "cmd#9", "log#0001", "log#0002"]);
    assert_eq!(everything(&other).await.len(), 5);
}

#[tokio::test]
async fn what_is_cold_leaves_a_page_that_grows_and_is_still_there() {
    let Some(cloud) = cloud("pages that grow").await else { return };
    let (store, table) = cloud.table().await;
    let noise = |nth: u64| -> Vec<u8> {
        (0..700_u64)
            .map(|n| u8::try_from((n + nth * 997).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).unwrap())
            .collect()
    };
    for nth in 1..=150 {
        let mut writes = decision(nth);
        // One of them is in a list, and goes away with the others.
        let list = (nth == 5).then(|| ("told".to_owned(), "09:02".to_owned()));
        let log = NewItem { list, ..item(ORDER, &format!("log#{nth:04}"), &noise(nth)) };
        writes[1] = Write::Put(log, Guard::Absent);
        if nth > 1 {
            // The command before this one ended, and is told.
            writes.push(put(&format!("cmd#{}", nth - 1), Guard::Rev(1)));
        }
        store.transact(writes).await.unwrap();
    }
    let items = cloud.raw(&table).await;
    let page = items.iter().find(|(sk, _)| sk == "state").unwrap();
    assert!(page.1 < 60_000, "{} bytes of page", page.1);
    assert!(items.len() > 2 && items.iter().all(|(_, bytes)| *bytes < 100_000), "{items:?}");
    let other = cloud.over(&table);
    for nth in [1, 7, 150] {
        assert_eq!(one(&other, &format!("log#{nth:04}")).await.unwrap().body, noise(nth));
    }
    let told = other.list("told", None, false, 10).await.unwrap().items;
    assert_eq!((told.len(), told[0].key.sk.as_str(), &told[0].body), (1, "log#0005", &noise(5)));
    assert_eq!(names(&other, "log#").await.len(), 150);
    assert_eq!(everything(&other).await.len(), 301);
    // An entry of a chunk is written again (a person looks a command up once more), and removed.
    other.transact(vec![put("cmd#1", Guard::Rev(2))]).await.unwrap();
    assert_eq!(one(&store, "cmd#1").await.unwrap().rev, 3);
    assert_eq!(store.transact(vec![put("cmd#2", Guard::Rev(1))]).await, Err(StoreError::Conflict(0)));
    store.transact(vec![Write::Delete(Key::new(ORDER, "cmd#2"), Guard::Rev(2))]).await.unwrap();
    assert!(one(&other, "cmd#2").await.is_none());
    assert_eq!(everything(&store).await.len(), 300);
}

#[tokio::test]
async fn entries_of_one_page_fall_due_each_at_its_time() {
    let Some(cloud) = cloud("entries that fall due").await else { return };
    let (store, _) = cloud.table().await;
    let due = |pk: &str, sk: &str, at: i64| {
        let due = Some(Due { shard: 5, at: Timestamp(at) });
        Write::Put(NewItem { due, ..item(pk, sk, b"due") }, Guard::Any)
    };
    let told = async |until: i64, limit: usize| -> Vec<String> {
        let found = store.due(5, Timestamp(until), limit).await.unwrap();
        found.into_iter().map(|item| format!("{}{}", &item.key.pk[11..], item.key.sk)).collect()
    };
    store
        .transact(vec![due("order#shop/A", "cmd#1", 100_000), due("order#shop/A", "cmd#2", 900_000)])
        .await
        .unwrap();
    store.transact(vec![due("order#shop/B", "cmd#1", 500_000)]).await.unwrap();
    assert_eq!(told(1_000_000, 10).await, ["Acmd#1", "Bcmd#1", "Acmd#2"]);
    assert_eq!(told(1_000_000, 2).await, ["Acmd#1", "Bcmd#1"], "the earliest, whatever page they are in");
    assert_eq!(told(99_999, 10).await, [""; 0]);
    // The first is put off a little: the page stays where it is in the index, and nothing falls due too early.
    store.transact(vec![due("order#shop/A", "cmd#1", 120_000)]).await.unwrap();
    assert_eq!(told(119_999, 10).await, [""; 0]);
    assert_eq!(told(120_000, 10).await, ["Acmd#1"]);
    // Far off, it is far off.
    store.transact(vec![due("order#shop/A", "cmd#1", 950_000)]).await.unwrap();
    assert_eq!(told(899_999, 10).await, ["Bcmd#1"]);
    assert_eq!(told(950_000, 10).await, ["Bcmd#1", "Acmd#2", "Acmd#1"]);
}

#[tokio::test]
async fn a_table_of_another_layout_is_refused_and_not_taken_for_an_empty_one() {
    let Some(cloud) = cloud("another layout").await else { return };
    let (store, table) = cloud.table().await;
    let before = cloud.over(&table).laid_out(Layout::ALONE);
    before.transact(decision(1)).await.unwrap();
    let read = store.get(&[Key::new(ORDER, "state")]).await;
    let Err(StoreError::Invalid(said)) = read else { panic!("an order that is there was not seen") };
    assert!(said.contains("another version") && said.contains("infra/DEPLOY.md"), "{said}");
    let written = store.transact(decision(1)).await;
    assert!(matches!(written, Err(StoreError::Invalid(_))), "{written:?}");
}
