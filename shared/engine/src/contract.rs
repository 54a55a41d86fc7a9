//! Contract tests of the ports: what every adapter of [`Store`] and [`Queue`] must do, sentence by sentence
//! of [`crate::ports`]. Runs under any executor; nothing here waits but through the adapter and the hook.
//!
//! A suite answers the names of the checks that passed, or the first that did not with what was seen.

use std::fmt::Debug;
use std::future::Future;

use futures_util::future::{BoxFuture, join_all};
use tillway_core::time::{Millis, Timestamp};

use crate::ports::{
    DUE_SHARDS, Due, Guard, InMessage, Item, Key, MAX_BODY, MAX_MESSAGE, MAX_WRITES, NewItem, OutMessage,
    Queue, QueueError, Shelf, Store, StoreError, Write,
};

/// Why a check failed.
type Failed = String;
type Checked = Result<(), Failed>;

macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}

macro_rules! run {
    ($over:expr, $passed:ident, $($check:ident),+ $(,)?) => {$(
        $check($over).await.map_err(|what| format!("{}: {what}", stringify!($check)))?;
        $passed.push(stringify!($check));
    )+};
}

fn same<T: PartialEq + Debug>(what: &str, seen: T, expected: T) -> Checked {
    ensure!(seen == expected, "{what}: saw {seen:?}, expected {expected:?}");
    Ok(())
}

// ---------------------------------------------------------------------------------------------- the store

/// A maker of stores. Each call gives an empty one.
pub type MakeStore<'a> = &'a (dyn Fn() -> Box<dyn Store> + Sync);

/// Runs every check of [`Store`], each over an empty store.
///
/// # Errors
/// The first check that failed, and what was seen.
pub async fn store_suite(make: MakeStore<'_>) -> Result<Vec<&'static str>, String> {
    let mut passed = Vec::new();
    run!(
        make,
        passed,
        put_guards,
        delete_guards,
        check_guards,
        a_failed_transaction_writes_nothing,
        the_first_failed_write_is_named,
        a_transaction_sees_the_state_before_it,
        revisions_count_writes,
        every_part_of_an_item_comes_back,
        a_key_twice_is_invalid,
        too_many_writes_are_invalid,
        too_large_a_body_is_invalid,
        get_keeps_the_order_asked,
        query_takes_the_prefix_in_order,
        query_pages,
        query_orders_by_bytes,
        list_goes_both_ways,
        list_pages_through_equal_sort_texts,
        list_follows_rewrites,
        due_is_sparse_and_ordered,
        due_follows_rewrites,
        scan_sees_all_once,
        an_expired_item_counts_until_removed,
        of_racing_creations_one_wins,
        no_racing_update_is_lost,
        racing_transactions_stay_whole,
    );
    Ok(passed)
}

// ------------------------------------------------------------------------------------------------- the shelf

/// A maker of shelves. Each call gives an empty one.
pub type MakeShelf<'a> = &'a (dyn Fn() -> Box<dyn Shelf> + Sync);

/// Runs every check of [`Shelf`], each over an empty one.
///
/// # Errors
/// The first check that failed, and what was seen.
pub async fn shelf_suite(make: MakeShelf<'_>) -> Result<Vec<&'static str>, String> {
    let mut passed = Vec::new();
    run!(
        make,
        passed,
        documents_of_any_size_come_back,
        a_document_put_again_is_one,
        names_are_apart,
        a_deleted_document_is_gone,
    );
    Ok(passed)
}

async fn shelve(shelf: &dyn Shelf, name: &str, document: &[u8]) -> Checked {
    shelf.put(name, document.to_vec()).await.map_err(|e| format!("put {name}: {e}"))
}

async fn holds(shelf: &dyn Shelf, name: &str, document: Option<&[u8]>) -> Checked {
    let found = shelf.get(name).await.map_err(|e| format!("get {name}: {e}"))?;
    // Not shown: it may be of megabytes.
    ensure!(found.as_deref() == document, "{name}: {:?} bytes came back", found.map(|d| d.len()));
    Ok(())
}

async fn documents_of_any_size_come_back(make: MakeShelf<'_>) -> Checked {
    let shelf = make();
    holds(&*shelf, "c/none", None).await?;
    for size in [0_usize, 1, 300 * 1024, 300 * 1024 + 1, 6 * 1024 * 1024] {
        let document: Vec<u8> = (0_u8..251).cycle().take(size).collect();
        let name = format!("c/1-1/batch/{size}");
        shelve(&*shelf, &name, &document).await?;
        holds(&*shelf, &name, Some(&document)).await?;
    }
    Ok(())
}

async fn a_document_put_again_is_one(make: MakeShelf<'_>) -> Checked {
    let (shelf, document) = (make(), vec![7_u8; 700_000]);
    shelve(&*shelf, "c/again", &document).await?;
    shelve(&*shelf, "c/again", &document).await?;
    holds(&*shelf, "c/again", Some(&document)).await
}

async fn names_are_apart(make: MakeShelf<'_>) -> Checked {
    let shelf = make();
    let names = ["c/1", "c/10", "c/1/entries", "c/1@2026-11-28@acme_us", "c/a b+c%2F", "c/\u{e4}"];
    for name in names {
        shelve(&*shelf, name, name.as_bytes()).await?;
    }
    shelf.delete("c/1").await.map_err(|e| format!("delete: {e}"))?;
    holds(&*shelf, "c/1", None).await?;
    for name in names.into_iter().skip(1) {
        holds(&*shelf, name, Some(name.as_bytes())).await?;
    }
    Ok(())
}

async fn a_deleted_document_is_gone(make: MakeShelf<'_>) -> Checked {
    let (shelf, document) = (make(), vec![7_u8; 4 * 1024 * 1024]);
    shelve(&*shelf, "c/gone", &document).await?;
    for _ in 0..2 {
        shelf.delete("c/gone").await.map_err(|e| format!("delete: {e}"))?;
        holds(&*shelf, "c/gone", None).await?;
    }
    shelve(&*shelf, "c/gone", b"new").await?;
    holds(&*shelf, "c/gone", Some(b"new")).await
}

fn thing(pk: &str, sk: &str) -> NewItem {
    NewItem { key: Key::new(pk, sk), body: b"body".to_vec(), due: None, list: None, expires: None }
}

fn put(pk: &str, sk: &str, guard: Guard) -> Write {
    Write::Put(thing(pk, sk), guard)
}

async fn write(store: &dyn Store, writes: Vec<Write>) -> Checked {
    store.transact(writes).await.map_err(|e| format!("a write that should go through: {e}"))
}

async fn conflicts(store: &dyn Store, what: &str, writes: Vec<Write>, place: usize) -> Checked {
    same(what, store.transact(writes).await, Err(StoreError::Conflict(place)))
}

async fn one(store: &dyn Store, pk: &str, sk: &str) -> Result<Option<Item>, Failed> {
    let found = store.get(&[Key::new(pk, sk)]).await.map_err(|e| format!("get: {e}"))?;
    same("answers to one key", found.len(), 1)?;
    Ok(found.into_iter().next().flatten())
}

async fn rev(store: &dyn Store, pk: &str, sk: &str) -> Result<Option<u64>, Failed> {
    Ok(one(store, pk, sk).await?.map(|item| item.rev))
}

async fn put_guards(make: MakeStore<'_>) -> Checked {
    let store = make();
    conflicts(&*store, "Rev where there is none", vec![put("p", "a", Guard::Rev(1))], 0).await?;
    conflicts(&*store, "Rev(0) where there is none", vec![put("p", "a", Guard::Rev(0))], 0).await?;
    write(&*store, vec![put("p", "a", Guard::Absent)]).await?;
    conflicts(&*store, "Absent where there is one", vec![put("p", "a", Guard::Absent)], 0).await?;
    conflicts(&*store, "an older Rev", vec![put("p", "a", Guard::Rev(0))], 0).await?;
    conflicts(&*store, "a newer Rev", vec![put("p", "a", Guard::Rev(2))], 0).await?;
    write(&*store, vec![put("p", "a", Guard::Rev(1))]).await?;
    write(&*store, vec![put("p", "a", Guard::Any), put("p", "b", Guard::Any)]).await?;
    same("revision", rev(&*store, "p", "a").await?, Some(3))?;
    same("revision", rev(&*store, "p", "b").await?, Some(1))
}

async fn delete_guards(make: MakeStore<'_>) -> Checked {
    let store = make();
    let delete = |guard| vec![Write::Delete(Key::new("p", "a"), guard)];
    write(&*store, delete(Guard::Any)).await?;
    write(&*store, delete(Guard::Absent)).await?;
    conflicts(&*store, "Rev where there is none", delete(Guard::Rev(1)), 0).await?;
    write(&*store, vec![put("p", "a", Guard::Absent)]).await?;
    conflicts(&*store, "Absent where there is one", delete(Guard::Absent), 0).await?;
    conflicts(&*store, "another Rev", delete(Guard::Rev(2)), 0).await?;
    ensure!(one(&*store, "p", "a").await?.is_some(), "a failed delete removed the item");
    write(&*store, delete(Guard::Rev(1))).await?;
    ensure!(one(&*store, "p", "a").await?.is_none(), "the item is still there");
    write(&*store, vec![put("p", "a", Guard::Absent)]).await?;
    write(&*store, delete(Guard::Any)).await?;
    ensure!(one(&*store, "p", "a").await?.is_none(), "the item is still there");
    Ok(())
}

async fn check_guards(make: MakeStore<'_>) -> Checked {
    let store = make();
    let check = |guard| vec![Write::Check(Key::new("p", "a"), guard)];
    write(&*store, check(Guard::Absent)).await?;
    write(&*store, check(Guard::Any)).await?;
    conflicts(&*store, "Rev where there is none", check(Guard::Rev(1)), 0).await?;
    ensure!(one(&*store, "p", "a").await?.is_none(), "a check wrote an item");
    write(&*store, vec![put("p", "a", Guard::Absent)]).await?;
    write(&*store, check(Guard::Rev(1))).await?;
    write(&*store, check(Guard::Any)).await?;
    conflicts(&*store, "Absent where there is one", check(Guard::Absent), 0).await?;
    conflicts(&*store, "another Rev", check(Guard::Rev(2)), 0).await?;
    same("a check counts as no write: revision", rev(&*store, "p", "a").await?, Some(1))
}

async fn a_failed_transaction_writes_nothing(make: MakeStore<'_>) -> Checked {
    let store = make();
    write(&*store, vec![put("p", "there", Guard::Absent), put("p", "doomed", Guard::Absent)]).await?;
    let writes = vec![
        put("p", "new", Guard::Absent),
        put("p", "there", Guard::Any),
        Write::Delete(Key::new("p", "doomed"), Guard::Rev(1)),
        Write::Check(Key::new("q", "x"), Guard::Rev(7)),
    ];
    conflicts(&*store, "a failed check at the end", writes, 3).await?;
    same("revision", rev(&*store, "p", "new").await?, None)?;
    same("revision", rev(&*store, "p", "there").await?, Some(1))?;
    same("revision", rev(&*store, "p", "doomed").await?, Some(1))
}

async fn the_first_failed_write_is_named(make: MakeStore<'_>) -> Checked {
    let store = make();
    write(&*store, vec![put("p", "there", Guard::Absent)]).await?;
    let writes = vec![
        put("p", "a", Guard::Absent),
        Write::Check(Key::new("p", "b"), Guard::Any),
        Write::Delete(Key::new("p", "c"), Guard::Rev(1)),
        put("p", "there", Guard::Absent),
    ];
    conflicts(&*store, "the third and fourth fail", writes, 2).await
}

async fn a_transaction_sees_the_state_before_it(make: MakeStore<'_>) -> Checked {
    let store = make();
    write(&*store, vec![put("p", "a", Guard::Absent)]).await?;
    // Both guards hold before; order within the transaction plays no part.
    let writes = vec![
        Write::Delete(Key::new("p", "a"), Guard::Rev(1)),
        put("p", "b", Guard::Absent),
        put("q", "a", Guard::Absent),
    ];
    write(&*store, writes).await?;
    ensure!(one(&*store, "p", "a").await?.is_none(), "the delete was not done");
    same("revision", rev(&*store, "p", "b").await?, Some(1))?;
    same("revision", rev(&*store, "q", "a").await?, Some(1))
}

async fn revisions_count_writes(make: MakeStore<'_>) -> Checked {
    let store = make();
    for expected in 1..=5 {
        write(
            &*store,
            vec![put("p", "a", if expected == 1 { Guard::Absent } else { Guard::Rev(expected - 1) })],
        )
        .await?;
        same("revision", rev(&*store, "p", "a").await?, Some(expected))?;
    }
    write(&*store, vec![Write::Delete(Key::new("p", "a"), Guard::Any)]).await?;
    write(&*store, vec![put("p", "a", Guard::Any)]).await?;
    same("revision after it was removed and written again", rev(&*store, "p", "a").await?, Some(1))
}

async fn every_part_of_an_item_comes_back(make: MakeStore<'_>) -> Checked {
    let store = make();
    let full = NewItem {
        key: Key::new("päge/§1", "s#\u{1F9FE}'\"%_"),
        body: (0..=255).collect(),
        due: Some(Due { shard: DUE_SHARDS - 1, at: Timestamp(1_795_248_000_123) }),
        list: Some(("open".into(), "2026-11-21".into())),
        expires: Some(Timestamp(4_102_444_800_000)),
    };
    write(&*store, vec![Write::Put(full.clone(), Guard::Absent)]).await?;
    let Some(found) = one(&*store, &full.key.pk, &full.key.sk).await? else {
        return Err("the item is not there".into());
    };
    ensure!(
        found.key == full.key && found.body == full.body && found.due == full.due && found.list == full.list,
        "key, body, due or list came back changed"
    );
    ensure!(found.expires == full.expires, "the expiry came back changed");
    let empty = NewItem { body: Vec::new(), due: None, list: None, expires: None, ..full };
    write(&*store, vec![Write::Put(empty.clone(), Guard::Rev(1))]).await?;
    let Some(found) = one(&*store, &empty.key.pk, &empty.key.sk).await? else {
        return Err("the item is not there".into());
    };
    ensure!(
        found.body.is_empty() && found.due.is_none() && found.list.is_none() && found.expires.is_none(),
        "what was written as empty or None came back otherwise"
    );
    Ok(())
}

async fn invalid(store: &dyn Store, what: &str, writes: Vec<Write>) -> Checked {
    let answer = store.transact(writes).await;
    ensure!(matches!(answer, Err(StoreError::Invalid(_))), "{what}: saw {answer:?}, expected Invalid");
    Ok(())
}

async fn a_key_twice_is_invalid(make: MakeStore<'_>) -> Checked {
    let store = make();
    let key = || Key::new("p", "a");
    invalid(&*store, "two puts", vec![put("p", "a", Guard::Any), put("p", "a", Guard::Any)]).await?;
    let twice = vec![put("p", "b", Guard::Any), put("p", "a", Guard::Any), Write::Check(key(), Guard::Any)];
    invalid(&*store, "put and check", twice).await?;
    let twice = vec![Write::Delete(key(), Guard::Any), Write::Check(key(), Guard::Any)];
    invalid(&*store, "delete and check", twice).await?;
    ensure!(one(&*store, "p", "a").await?.is_none(), "an invalid transaction wrote");
    ensure!(one(&*store, "p", "b").await?.is_none(), "an invalid transaction wrote");
    Ok(())
}

async fn too_many_writes_are_invalid(make: MakeStore<'_>) -> Checked {
    let store = make();
    let puts = |n: usize| (0..n).map(|i| put("p", &format!("{i:03}"), Guard::Any)).collect::<Vec<_>>();
    invalid(&*store, "one too many", puts(MAX_WRITES + 1)).await?;
    ensure!(one(&*store, "p", "000").await?.is_none(), "an invalid transaction wrote");
    write(&*store, puts(MAX_WRITES)).await?;
    same("revision of the last", rev(&*store, "p", &format!("{:03}", MAX_WRITES - 1)).await?, Some(1))
}

async fn too_large_a_body_is_invalid(make: MakeStore<'_>) -> Checked {
    let store = make();
    let sized = |n: usize| vec![Write::Put(NewItem { body: vec![7; n], ..thing("p", "a") }, Guard::Any)];
    invalid(&*store, "a byte too many", sized(MAX_BODY + 1)).await?;
    ensure!(one(&*store, "p", "a").await?.is_none(), "an invalid transaction wrote");
    write(&*store, sized(MAX_BODY)).await?;
    let size = one(&*store, "p", "a").await?.map(|item| item.body.len());
    same("size of the largest body", size, Some(MAX_BODY))
}

async fn get_keeps_the_order_asked(make: MakeStore<'_>) -> Checked {
    let store = make();
    write(&*store, vec![put("p", "a", Guard::Any), put("p", "b", Guard::Any), put("q", "a", Guard::Any)])
        .await?;
    let asked = [Key::new("q", "a"), Key::new("p", "nobody"), Key::new("p", "b"), Key::new("p", "a")];
    let found = store.get(&asked).await.map_err(|e| e.to_string())?;
    let found: Vec<Option<Key>> = found.into_iter().map(|item| item.map(|item| item.key)).collect();
    let [first, _, third, fourth] = asked;
    same("keys", found, vec![Some(first), None, Some(third), Some(fourth)])?;
    same("answers to no keys", store.get(&[]).await.map(|found| found.len()), Ok(0))?;
    let hundred: Vec<Key> = (0..100).map(|i| Key::new("none", format!("{i}"))).collect();
    same("answers to 100 keys", store.get(&hundred).await.map(|found| found.len()), Ok(100))?;
    let more: Vec<Key> = (0..101).map(|i| Key::new("none", format!("{i}"))).collect();
    let answer = store.get(&more).await.map(|found| found.len());
    ensure!(matches!(answer, Err(StoreError::Invalid(_))), "101 keys: saw {answer:?}, expected Invalid");
    Ok(())
}

/// Reads all pages of a listing, checking the size of each.
async fn pages<F>(limit: usize, read: impl Fn(Option<String>) -> F) -> Result<Vec<Item>, Failed>
where
    F: Future<Output = Result<crate::ports::ItemPage, StoreError>>,
{
    let mut all = Vec::new();
    let mut after = None;
    for _ in 0..1000 {
        let page = read(after).await.map_err(|e| format!("page: {e}"))?;
        ensure!(page.items.len() <= limit, "a page of {} items, at most {limit} asked", page.items.len());
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
    Err("a listing without end".into())
}

fn sort_keys(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.key.sk.as_str()).collect()
}

async fn query_all(store: &dyn Store, pk: &str, prefix: &str, limit: usize) -> Result<Vec<Item>, Failed> {
    pages(limit, |after| async move { store.query(pk, prefix, after.as_deref(), limit).await }).await
}

async fn query_takes_the_prefix_in_order(make: MakeStore<'_>) -> Checked {
    let store = make();
    for sk in ["cmd#2", "state", "cmd#10", "cmd$", "cmd", "cm", "cmd#", "await#1"] {
        write(&*store, vec![put("o", sk, Guard::Any)]).await?;
    }
    write(&*store, vec![put("o2", "cmd#1", Guard::Any), put("n", "cmd#1", Guard::Any)]).await?;
    let found = query_all(&*store, "o", "cmd#", 50).await?;
    same("prefix cmd#", sort_keys(&found), vec!["cmd#", "cmd#10", "cmd#2"])?;
    let found = query_all(&*store, "o", "", 50).await?;
    let all = vec!["await#1", "cm", "cmd", "cmd#", "cmd#10", "cmd#2", "cmd$", "state"];
    same("empty prefix", sort_keys(&found), all)?;
    let found = query_all(&*store, "o", "nothing", 50).await?;
    same("a prefix nobody has", found.len(), 0)?;
    let found = query_all(&*store, "nobody", "", 50).await?;
    same("an empty partition", found.len(), 0)?;
    let page = store.query("o", "cmd", Some("cmd#10"), 50).await.map_err(|e| e.to_string())?;
    same("after a key", sort_keys(&page.items), vec!["cmd#2", "cmd$"])?;
    let page = store.query("o", "cmd", Some("cmd#11"), 50).await.map_err(|e| e.to_string())?;
    same("after a key that is not there", sort_keys(&page.items), vec!["cmd#2", "cmd$"])
}

async fn query_pages(make: MakeStore<'_>) -> Checked {
    let store = make();
    let names: Vec<String> = (0..23).map(|i| format!("e#{i:04}")).collect();
    write(&*store, names.iter().map(|sk| put("o", sk, Guard::Any)).collect()).await?;
    write(&*store, vec![put("o", "d", Guard::Any), put("o", "f", Guard::Any)]).await?;
    for limit in [1, 7, 22, 23, 24] {
        let found = query_all(&*store, "o", "e#", limit).await?;
        same("all pages", sort_keys(&found), names.iter().map(String::as_str).collect())?;
    }
    Ok(())
}

async fn query_orders_by_bytes(make: MakeStore<'_>) -> Checked {
    let store = make();
    let order = ["A%", "A_", "Aa", "Z", "a", "a_b", "aab", "é", "\u{10FFFF}", "\u{10FFFF}\u{10FFFF}"];
    for sk in order.iter().rev() {
        write(&*store, vec![put("p", sk, Guard::Any)]).await?;
    }
    same("order", sort_keys(&query_all(&*store, "p", "", 3).await?), order.to_vec())?;
    same("prefix A_", sort_keys(&query_all(&*store, "p", "A_", 3).await?), vec!["A_"])?;
    same("prefix A%", sort_keys(&query_all(&*store, "p", "A%", 3).await?), vec!["A%"])?;
    let last = query_all(&*store, "p", "\u{10FFFF}", 3).await?;
    same("the last character as prefix", sort_keys(&last), vec!["\u{10FFFF}", "\u{10FFFF}\u{10FFFF}"])
}

fn listed(pk: &str, sk: &str, list: &str, sort: &str) -> Write {
    Write::Put(NewItem { list: Some((list.into(), sort.into())), ..thing(pk, sk) }, Guard::Any)
}

async fn list_all(
    store: &dyn Store,
    list: &str,
    descending: bool,
    limit: usize,
) -> Result<Vec<String>, Failed> {
    let found =
        pages(limit, |after| async move { store.list(list, after.as_deref(), descending, limit).await });
    Ok(found.await?.into_iter().map(|item| format!("{}/{}", item.key.pk, item.key.sk)).collect())
}

/// Reads an index until it shows what it should: indexes may lag.
async fn settled<T, F>(what: &str, expected: T, read: impl Fn() -> F) -> Checked
where
    T: PartialEq + Debug,
    F: Future<Output = Result<T, Failed>>,
{
    let mut seen = read().await?;
    for _ in 0..200 {
        if seen == expected {
            break;
        }
        yield_once().await;
        seen = read().await?;
    }
    same(what, seen, expected)
}

/// Lets the executor run others.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

async fn list_goes_both_ways(make: MakeStore<'_>) -> Checked {
    let store = make();
    let s = &*store;
    write(
        s,
        vec![listed("o2", "x", "open", "b"), listed("o1", "x", "open", "c"), listed("o3", "x", "open", "a")],
    )
    .await?;
    write(
        s,
        vec![listed("o4", "x", "opened", "a"), listed("o5", "x", "ope", "a"), put("o6", "x", Guard::Any)],
    )
    .await?;
    settled("ascending", texts(&["o3/x", "o2/x", "o1/x"]), || list_all(s, "open", false, 10)).await?;
    settled("descending", texts(&["o1/x", "o2/x", "o3/x"]), || list_all(s, "open", true, 10)).await?;
    settled("a list nobody is in", Vec::new(), || list_all(s, "closed", false, 10)).await
}

async fn list_pages_through_equal_sort_texts(make: MakeStore<'_>) -> Checked {
    let store = make();
    let s = &*store;
    let writes =
        |sort: &str| (0..9).map(|i| listed(&format!("{sort}{i}"), "x", "l", sort)).collect::<Vec<_>>();
    write(s, writes("a")).await?;
    write(s, writes("b")).await?;
    write(s, vec![listed("c", "1", "l", "b"), listed("c", "2", "l", "b")]).await?;
    settled("how many", 20, || async { Ok(list_all(s, "l", false, 50).await?.len()) }).await?;
    for descending in [false, true] {
        let whole = list_all(s, "l", descending, 50).await?;
        for limit in [1, 2, 3, 7, 19, 20, 21] {
            same("all pages", list_all(s, "l", descending, limit).await?, whole.clone())?;
        }
        let mut sorts: Vec<&str> = whole.iter().map(|name| name.get(..1).unwrap_or("")).collect();
        if descending {
            sorts.reverse();
        }
        ensure!(sorts.iter().take(9).all(|sort| *sort == "a"), "sort texts out of order: {sorts:?}");
    }
    Ok(())
}

async fn list_follows_rewrites(make: MakeStore<'_>) -> Checked {
    let store = make();
    let s = &*store;
    write(
        s,
        vec![listed("a", "x", "open", "1"), listed("b", "x", "open", "2"), listed("c", "x", "open", "3")],
    )
    .await?;
    write(s, vec![listed("a", "x", "open", "9")]).await?;
    settled("moved within", texts(&["b/x", "c/x", "a/x"]), || list_all(s, "open", false, 10)).await?;
    write(s, vec![listed("b", "x", "parked", "1")]).await?;
    settled("moved out", texts(&["c/x", "a/x"]), || list_all(s, "open", false, 10)).await?;
    settled("moved in", texts(&["b/x"]), || list_all(s, "parked", false, 10)).await?;
    write(s, vec![put("c", "x", Guard::Any), Write::Delete(Key::new("a", "x"), Guard::Any)]).await?;
    settled("gone", Vec::new(), || list_all(s, "open", false, 10)).await
}

fn due(pk: &str, shard: u16, at: i64) -> Write {
    Write::Put(NewItem { due: Some(Due { shard, at: Timestamp(at) }), ..thing(pk, "x") }, Guard::Any)
}

async fn due_now(store: &dyn Store, shard: u16, until: i64, limit: usize) -> Result<Vec<String>, Failed> {
    let found = store.due(shard, Timestamp(until), limit).await.map_err(|e| format!("due: {e}"))?;
    Ok(found.into_iter().map(|item| item.key.pk).collect())
}

async fn due_is_sparse_and_ordered(make: MakeStore<'_>) -> Checked {
    let store = make();
    let s = &*store;
    write(
        s,
        vec![due("late", 3, 300), due("early", 3, 100), due("middle", 3, 200), put("never", "x", Guard::Any)],
    )
    .await?;
    write(s, vec![due("other", 4, 100), due("first", 0, 0), due("last", DUE_SHARDS - 1, 1)]).await?;
    settled("all of a shard", texts(&["early", "middle", "late"]), || due_now(s, 3, 1000, 10)).await?;
    settled("until counts in", texts(&["early", "middle"]), || due_now(s, 3, 200, 10)).await?;
    settled("a moment before", texts(&["early"]), || due_now(s, 3, 199, 10)).await?;
    settled("nothing yet", Vec::new(), || due_now(s, 3, 99, 10)).await?;
    settled("the earliest within the limit", texts(&["early", "middle"]), || due_now(s, 3, 1000, 2)).await?;
    settled("the first shard", texts(&["first"]), || due_now(s, 0, 0, 10)).await?;
    settled("the last shard", texts(&["last"]), || due_now(s, DUE_SHARDS - 1, 1, 10)).await?;
    settled("another shard", texts(&["other"]), || due_now(s, 4, 1000, 10)).await
}

async fn due_follows_rewrites(make: MakeStore<'_>) -> Checked {
    let store = make();
    let s = &*store;
    write(s, vec![due("a", 1, 100), due("b", 1, 200), due("c", 1, 300)]).await?;
    write(s, vec![due("a", 1, 250)]).await?;
    settled("moved in time", texts(&["b", "a", "c"]), || due_now(s, 1, 1000, 10)).await?;
    write(s, vec![due("b", 2, 200)]).await?;
    settled("moved away", texts(&["a", "c"]), || due_now(s, 1, 1000, 10)).await?;
    settled("moved here", texts(&["b"]), || due_now(s, 2, 1000, 10)).await?;
    write(s, vec![put("a", "x", Guard::Any), Write::Delete(Key::new("c", "x"), Guard::Any)]).await?;
    settled("no longer due", Vec::new(), || due_now(s, 1, 1000, 10)).await?;
    write(s, vec![due("a", 1, 50)]).await?;
    settled("due again", texts(&["a"]), || due_now(s, 1, 1000, 10)).await
}

async fn scan_sees_all_once(make: MakeStore<'_>) -> Checked {
    let store = make();
    let s = &*store;
    let mut keys: Vec<Key> = Vec::new();
    for partition in ["a", "b", "b#", "ab", "é"] {
        keys.extend((0..7).map(|i| Key::new(partition, format!("{i}"))));
    }
    write(s, keys.iter().map(|key| put(&key.pk, &key.sk, Guard::Any)).collect()).await?;
    keys.sort();
    for limit in [1, 6, 34, 35, 36] {
        let found = pages(limit, |after| async move { s.scan(after.as_deref(), limit).await }).await?;
        let mut found: Vec<Key> = found.into_iter().map(|item| item.key).collect();
        found.sort();
        same("keys", found, keys.clone())?;
    }
    Ok(())
}

async fn an_expired_item_counts_until_removed(make: MakeStore<'_>) -> Checked {
    let store = make();
    let gone = NewItem { expires: Some(Timestamp(1)), ..thing("p", "a") };
    write(&*store, vec![Write::Put(gone, Guard::Absent)]).await?;
    // An adapter may remove it at any moment, so between a guard and a read it may go; never come.
    let guarded = store.transact(vec![Write::Check(Key::new("p", "a"), Guard::Absent)]).await;
    let there = one(&*store, "p", "a").await?.is_some();
    match guarded {
        Err(StoreError::Conflict(0)) => Ok(()),
        Ok(()) if !there => Ok(()),
        other => Err(format!("an expired item that is there: {other:?}, expected Conflict(0)")),
    }
}

async fn of_racing_creations_one_wins(make: MakeStore<'_>) -> Checked {
    let store = make();
    for round in 0..20 {
        let sk = format!("{round}");
        let racing = (0..32_u8).map(|i| {
            let item = NewItem { body: vec![i], ..thing("race", &sk) };
            store.transact(vec![Write::Put(item, Guard::Absent)])
        });
        let answers = join_all(racing).await;
        let won: Vec<usize> = answers.iter().enumerate().filter(|(_, a)| a.is_ok()).map(|(i, _)| i).collect();
        same("winners", won.len(), 1)?;
        let lost = answers.iter().filter(|a| **a == Err(StoreError::Conflict(0))).count();
        same("conflicts", lost, 31)?;
        let body = one(&*store, "race", &sk).await?.and_then(|item| item.body.first().copied());
        same("the winner's body", body.map(usize::from), won.first().copied())?;
    }
    Ok(())
}

async fn no_racing_update_is_lost(make: MakeStore<'_>) -> Checked {
    let store = make();
    let s = &*store;
    write(s, vec![put("p", "n", Guard::Absent)]).await?;
    let add = || async move {
        for _ in 0..1000 {
            let Some(seen) = rev(s, "p", "n").await? else { return Err("the item is gone".into()) };
            match s.transact(vec![put("p", "n", Guard::Rev(seen))]).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict(0)) => {}
                Err(other) => return Err(format!("a racing update: {other}")),
            }
        }
        Err("1000 attempts without success: nobody makes progress".to_owned())
    };
    for outcome in join_all((0..24).map(|_| add())).await {
        outcome?;
    }
    same("revision", rev(s, "p", "n").await?, Some(25))
}

async fn racing_transactions_stay_whole(make: MakeStore<'_>) -> Checked {
    let store = make();
    let s = &*store;
    write(s, vec![put("p", "a", Guard::Absent), put("q", "b", Guard::Absent)]).await?;
    // Each writes both or none, so their revisions stay equal.
    let both = |guard| vec![put("p", "a", guard), put("q", "b", guard)];
    let answers = join_all((0..32).map(|i| s.transact(both(Guard::Rev(1 + i % 4))))).await;
    let won = answers.iter().filter(|a| a.is_ok()).count();
    let (a, b) = (rev(s, "p", "a").await?, rev(s, "q", "b").await?);
    same("the two revisions", a, b)?;
    same("revision", a.map(|rev| usize::try_from(rev).unwrap_or(0)), Some(won + 1))?;
    ensure!(won >= 1, "nobody won");
    Ok(())
}

// ---------------------------------------------------------------------------------------------- the queues

/// The standard queue the suite works on.
pub const STANDARD: &str = "contract";
/// The FIFO queue the suite works on.
pub const FIFO: &str = "contract.fifo";

/// What the suite needs of an adapter.
#[derive(Clone, Copy)]
pub struct QueueRig<'a> {
    /// Gives queues that are empty, under a clock that [`QueueRig::advance`] moves.
    pub make: &'a (dyn Fn() -> Box<dyn Queue> + Sync),
    /// Lets this much time pass for the queues last made.
    pub advance: &'a (dyn Fn(Millis) -> BoxFuture<'static, ()> + Sync),
    /// How often a message is handed out before it is dead.
    pub max_receives: u32,
    /// Name of the dead-letter queue of a queue.
    pub dead: &'a (dyn Fn(&str) -> String + Sync),
}

/// Runs every check of [`Queue`], each over empty queues.
///
/// # Errors
/// The first check that failed, and what was seen.
pub async fn queue_suite(rig: QueueRig<'_>) -> Result<Vec<&'static str>, String> {
    let mut passed = Vec::new();
    run!(
        rig,
        passed,
        what_is_sent_comes_out,
        send_answers_for_each_message,
        too_many_messages_are_invalid,
        too_large_a_message_is_invalid,
        too_long_a_delay_is_invalid,
        a_fifo_message_needs_a_group,
        receive_takes_at_most_max,
        receive_answers_at_once_with_nothing,
        a_message_is_hidden_and_comes_back,
        a_delayed_message_waits,
        a_released_message_comes_back,
        an_old_receipt_removes_nothing,
        deleting_twice_is_harmless,
        depth_counts_hidden_messages,
        queues_are_apart,
        groups_keep_their_order,
        a_group_waits_for_its_batch,
        a_group_waits_for_all_of_its_batch,
        a_group_comes_back_from_its_head,
        a_released_head_stays_ahead,
        deduplication_lasts_five_minutes,
        deduplication_within_a_batch,
        racing_receivers_share_no_group,
        what_is_received_too_often_is_dead,
        a_dead_head_frees_its_group,
    );
    Ok(passed)
}

const MINUTE: Millis = Millis::mins(1);

fn message(text: &str) -> OutMessage {
    OutMessage { group: None, dedup: None, body: text.as_bytes().to_vec(), delay: Millis(0) }
}

fn grouped(group: &str, text: &str) -> OutMessage {
    OutMessage { group: Some(group.into()), dedup: Some(format!("{group}/{text}")), ..message(text) }
}

fn text(message: &InMessage) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

async fn send(queue: &dyn Queue, name: &str, messages: Vec<OutMessage>) -> Checked {
    let count = messages.len();
    let accepted = queue.send(name, messages).await.map_err(|e| format!("send: {e}"))?;
    same("accepted", accepted, vec![true; count])
}

async fn take(queue: &dyn Queue, name: &str, max: usize) -> Result<Vec<InMessage>, Failed> {
    let taken = queue.receive(name, max, MINUTE).await.map_err(|e| format!("receive: {e}"))?;
    ensure!(taken.len() <= max, "received {} messages, asked for at most {max}", taken.len());
    Ok(taken)
}

/// Receives until nothing more comes.
async fn take_all(queue: &dyn Queue, name: &str) -> Result<Vec<InMessage>, Failed> {
    let mut all = Vec::new();
    for _ in 0..1000 {
        let taken = take(queue, name, 10).await?;
        if taken.is_empty() {
            return Ok(all);
        }
        all.extend(taken);
    }
    Err("messages without end: are they hidden?".into())
}

async fn take_one(queue: &dyn Queue, name: &str) -> Result<InMessage, Failed> {
    let mut taken = take(queue, name, 1).await?;
    taken.pop().ok_or_else(|| format!("nothing to receive from {name}"))
}

async fn take_none(queue: &dyn Queue, name: &str, why: &str) -> Checked {
    let taken = take(queue, name, 10).await?;
    ensure!(taken.is_empty(), "{why}: received {:?}", taken.iter().map(text).collect::<Vec<_>>());
    Ok(())
}

async fn delete(queue: &dyn Queue, name: &str, messages: &[InMessage]) -> Checked {
    let receipts = messages.iter().map(|m| m.receipt.clone()).collect();
    queue.delete(name, receipts).await.map_err(|e| format!("delete: {e}"))
}

async fn release(queue: &dyn Queue, name: &str, message: &InMessage, delay: Millis) -> Checked {
    queue.release(name, &message.receipt, delay).await.map_err(|e| format!("release: {e}"))
}

async fn depth(queue: &dyn Queue, name: &str) -> Result<usize, Failed> {
    queue.depth(name).await.map_err(|e| format!("depth: {e}"))
}

fn sorted(messages: &[InMessage]) -> Vec<String> {
    let mut all: Vec<String> = messages.iter().map(text).collect();
    all.sort();
    all
}

async fn what_is_sent_comes_out(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    let binary = OutMessage { body: (0..=255).collect(), ..message("") };
    send(q, STANDARD, vec![binary.clone()]).await?;
    let got = take_one(q, STANDARD).await?;
    ensure!(got.body == binary.body, "the body came back changed");
    same("receives", got.receives, 1)?;
    delete(q, STANDARD, &[got]).await?;
    same("depth", depth(q, STANDARD).await?, 0)?;
    send(q, FIFO, vec![grouped("g", "one")]).await?;
    let got = take_one(q, FIFO).await?;
    same("group", got.group.as_deref(), Some("g"))?;
    same("body", text(&got), "one".to_owned())?;
    delete(q, FIFO, &[got]).await?;
    (rig.advance)(MINUTE).await;
    take_none(q, FIFO, "after deleting").await
}

async fn send_answers_for_each_message(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    for (name, fifo) in [(STANDARD, false), (FIFO, true)] {
        let out: Vec<OutMessage> = (0..10)
            .map(|i| if fifo { grouped(&format!("g{i}"), &i.to_string()) } else { message(&i.to_string()) })
            .collect();
        let accepted = q.send(name, out).await.map_err(|e| format!("send: {e}"))?;
        same("answers", accepted.len(), 10)?;
        let expected: Vec<String> = accepted
            .iter()
            .enumerate()
            .filter(|(_, accepted)| **accepted)
            .map(|(i, _)| i.to_string())
            .collect();
        same("exactly those accepted arrive", sorted(&take_all(q, name).await?), expected)?;
    }
    Ok(())
}

async fn refused(queue: &dyn Queue, name: &str, what: &str, messages: Vec<OutMessage>) -> Checked {
    let answer = queue.send(name, messages).await;
    ensure!(matches!(answer, Err(QueueError::Invalid(_))), "{what}: saw {answer:?}, expected Invalid");
    same("depth after a refusal", depth(queue, name).await?, 0)
}

async fn too_many_messages_are_invalid(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    refused(&*queue, STANDARD, "11 messages", (0..11).map(|i| message(&i.to_string())).collect()).await?;
    refused(&*queue, FIFO, "11 messages", (0..11).map(|i| grouped("g", &i.to_string())).collect()).await
}

async fn too_large_a_message_is_invalid(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let sized = |n: usize| OutMessage { body: vec![b'x'; n], ..message("") };
    refused(&*queue, STANDARD, "a byte too many", vec![sized(MAX_MESSAGE + 1)]).await?;
    send(&*queue, STANDARD, vec![sized(MAX_MESSAGE)]).await?;
    same("size", take_one(&*queue, STANDARD).await?.body.len(), MAX_MESSAGE)
}

async fn too_long_a_delay_is_invalid(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let delayed = |delay| vec![OutMessage { delay, ..message("later") }];
    refused(&*queue, STANDARD, "over 15 minutes", delayed(Millis(Millis::mins(15).0 + 1))).await?;
    send(&*queue, STANDARD, delayed(Millis::mins(15))).await
}

async fn a_fifo_message_needs_a_group(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    refused(&*queue, FIFO, "no group", vec![message("x")]).await
}

async fn receive_takes_at_most_max(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    // More groups than are taken: a batch may hold several, and each of them is held up then.
    for start in [0, 10] {
        send(q, STANDARD, (start..start + 10).map(|i| message(&format!("{i:02}"))).collect()).await?;
        send(q, FIFO, (start..start + 10).map(|i| grouped(&format!("g{i}"), &format!("{i:02}"))).collect())
            .await?;
    }
    for name in [STANDARD, FIFO] {
        for max in [1, 3, 10] {
            let taken = take(q, name, max).await?;
            ensure!(!taken.is_empty(), "nothing came of {name}");
        }
    }
    Ok(())
}

async fn receive_answers_at_once_with_nothing(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    take_none(&*queue, STANDARD, "an empty queue").await?;
    take_none(&*queue, FIFO, "an empty queue").await?;
    same("depth of an empty queue", depth(&*queue, STANDARD).await?, 0)
}

async fn a_message_is_hidden_and_comes_back(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, STANDARD, vec![message("a")]).await?;
    let first = take_one(q, STANDARD).await?;
    take_none(q, STANDARD, "while hidden").await?;
    (rig.advance)(Millis::secs(30)).await;
    take_none(q, STANDARD, "while still hidden").await?;
    (rig.advance)(Millis::secs(31)).await;
    let second = take_one(q, STANDARD).await?;
    same("receives", (first.receives, second.receives), (1, 2))?;
    same("body", text(&second), "a".to_owned())?;
    ensure!(first.receipt != second.receipt, "the receipt of the second time is that of the first");
    Ok(())
}

async fn a_delayed_message_waits(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, STANDARD, vec![OutMessage { delay: Millis::secs(90), ..message("later") }, message("now")])
        .await?;
    same("before", sorted(&take_all(q, STANDARD).await?), texts(&["now"]))?;
    same("depth, the delayed one included", depth(q, STANDARD).await?, 2)?;
    (rig.advance)(Millis::secs(45)).await;
    take_none(q, STANDARD, "halfway, and the other still hidden").await?;
    (rig.advance)(Millis::secs(50)).await;
    let got = take_all(q, STANDARD).await?;
    same("after", sorted(&got), texts(&["later", "now"]))?;
    let receives = got.iter().find(|m| text(m) == "later").map(|m| m.receives);
    same("receives of the delayed one", receives, Some(1))
}

async fn a_released_message_comes_back(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, STANDARD, vec![message("a")]).await?;
    let first = take_one(q, STANDARD).await?;
    release(q, STANDARD, &first, Millis(0)).await?;
    let second = take_one(q, STANDARD).await?;
    same("receives", second.receives, 2)?;
    release(q, STANDARD, &second, Millis::mins(10)).await?;
    (rig.advance)(Millis::mins(9)).await;
    take_none(q, STANDARD, "before the delay is over").await?;
    (rig.advance)(Millis::secs(61)).await;
    same("receives", take_one(q, STANDARD).await?.receives, 3)
}

async fn an_old_receipt_removes_nothing(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    for name in [STANDARD, FIFO] {
        send(q, name, vec![if name == FIFO { grouped("g", "a") } else { message("a") }]).await?;
        let old = take_one(q, name).await?;
        (rig.advance)(Millis::secs(61)).await;
        let new = take_one(q, name).await?;
        // Whether the adapter says so or not, nothing may be removed.
        let _said = q.delete(name, vec![old.receipt]).await;
        same("depth after deleting by the old receipt", depth(q, name).await?, 1)?;
        delete(q, name, &[new]).await?;
        same("depth after deleting by the new receipt", depth(q, name).await?, 0)?;
    }
    Ok(())
}

async fn deleting_twice_is_harmless(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, STANDARD, vec![message("a"), message("b")]).await?;
    let taken = take_all(q, STANDARD).await?;
    let first = taken.first().cloned().into_iter().collect::<Vec<_>>();
    delete(q, STANDARD, &first).await?;
    delete(q, STANDARD, &first).await?;
    same("depth", depth(q, STANDARD).await?, 1)
}

async fn depth_counts_hidden_messages(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    for (name, fifo) in [(STANDARD, false), (FIFO, true)] {
        let make = |i: i32| if fifo { grouped(&format!("g{i}"), "x") } else { message("x") };
        send(q, name, (0..7).map(make).collect()).await?;
        same("depth", depth(q, name).await?, 7)?;
        let taken = take(q, name, 3).await?;
        same("depth, hidden ones included", depth(q, name).await?, 7)?;
        delete(q, name, &taken).await?;
        same("depth", depth(q, name).await?, 7 - taken.len())?;
    }
    Ok(())
}

async fn queues_are_apart(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, STANDARD, vec![message("standard")]).await?;
    send(q, FIFO, vec![grouped("g", "fifo")]).await?;
    let standard = take_all(q, STANDARD).await?;
    same("standard", sorted(&standard), texts(&["standard"]))?;
    let fifo = take_all(q, FIFO).await?;
    same("fifo", sorted(&fifo), texts(&["fifo"]))?;
    let _said = q.delete(FIFO, standard.into_iter().map(|m| m.receipt).collect()).await;
    same("depth after deleting by another queue's receipt", depth(q, FIFO).await?, 1)
}

async fn groups_keep_their_order(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    for batch in 0..6 {
        let out = (0..9).map(|i| grouped(&format!("g{}", i % 3), &format!("{:03}", batch * 9 + i))).collect();
        send(q, FIFO, out).await?;
    }
    let mut seen: [Vec<String>; 3] = Default::default();
    for round in 0..200 {
        let taken = take(q, FIFO, 1 + round % 10).await?;
        if taken.is_empty() {
            break;
        }
        for message in &taken {
            let group = message.group.as_deref().and_then(|g| g.strip_prefix('g')?.parse::<usize>().ok());
            match group.and_then(|group| seen.get_mut(group)) {
                Some(seen) => seen.push(text(message)),
                None => return Err(format!("a message of group {:?}", message.group)),
            }
        }
        delete(q, FIFO, &taken).await?;
    }
    for (group, seen) in seen.into_iter().enumerate() {
        let expected: Vec<String> = (0..18).map(|i| format!("{:03}", i * 3 + group)).collect();
        same("order of a group", seen, expected)?;
    }
    Ok(())
}

async fn a_group_waits_for_its_batch(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, FIFO, vec![grouped("g", "1"), grouped("g", "2")]).await?;
    let first = take_one(q, FIFO).await?;
    same("the head", text(&first), "1".to_owned())?;
    take_none(q, FIFO, "while the head is out").await?;
    send(q, FIFO, vec![grouped("g", "3"), grouped("h", "other")]).await?;
    let other = take_all(q, FIFO).await?;
    same("another group is not held up", sorted(&other), texts(&["other"]))?;
    delete(q, FIFO, &[first]).await?;
    let rest = take_one(q, FIFO).await?;
    same("the next of the group", text(&rest), "2".to_owned())?;
    delete(q, FIFO, &[rest]).await?;
    same("the last of the group", text(&take_one(q, FIFO).await?), "3".to_owned())
}

async fn a_group_waits_for_all_of_its_batch(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, FIFO, (0..6).map(|i| grouped("g", &i.to_string())).collect()).await?;
    let batch = take(q, FIFO, 3).await?;
    let expected: Vec<String> = (0..batch.len()).map(|i| i.to_string()).collect();
    same("a batch from the head", batch.iter().map(text).collect(), expected)?;
    let Some((first, others)) = batch.split_first() else { return Err("nothing to receive".into()) };
    if !others.is_empty() {
        delete(q, FIFO, std::slice::from_ref(first)).await?;
        take_none(q, FIFO, "while some of the batch is out").await?;
        delete(q, FIFO, others).await?;
    } else {
        delete(q, FIFO, std::slice::from_ref(first)).await?;
    }
    same("the next", text(&take_one(q, FIFO).await?), batch.len().to_string())
}

async fn a_group_comes_back_from_its_head(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, FIFO, (1..=4).map(|i| grouped("g", &i.to_string())).collect()).await?;
    let first = take_one(q, FIFO).await?;
    (rig.advance)(Millis::secs(61)).await;
    let again = take(q, FIFO, 10).await?;
    let Some(head) = again.first() else { return Err("nothing came back".into()) };
    same("the head", text(head), text(&first))?;
    same("receives", head.receives, 2)?;
    let order: Vec<String> = again.iter().map(text).collect();
    same("in order", order.clone(), (1..=again.len()).map(|i| i.to_string()).collect())
}

async fn a_released_head_stays_ahead(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, FIFO, vec![grouped("g", "1"), grouped("g", "2")]).await?;
    let first = take_one(q, FIFO).await?;
    release(q, FIFO, &first, Millis(0)).await?;
    let again = take_one(q, FIFO).await?;
    same("the head again", (text(&again), again.receives), ("1".to_owned(), 2))?;
    release(q, FIFO, &again, Millis::mins(3)).await?;
    take_none(q, FIFO, "the group waits for its head").await?;
    (rig.advance)(Millis::mins(2)).await;
    take_none(q, FIFO, "the group still waits for its head").await?;
    (rig.advance)(Millis::secs(61)).await;
    let again = take_one(q, FIFO).await?;
    same("the head again", (text(&again), again.receives), ("1".to_owned(), 3))?;
    delete(q, FIFO, &[again]).await?;
    same("then the next", text(&take_one(q, FIFO).await?), "2".to_owned())
}

async fn deduplication_lasts_five_minutes(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    let same_id = |text: &str| vec![OutMessage { dedup: Some("id".into()), ..grouped("g", text) }];
    send(q, FIFO, same_id("first")).await?;
    send(q, FIFO, same_id("second")).await?;
    same("depth", depth(q, FIFO).await?, 1)?;
    let got = take_one(q, FIFO).await?;
    same("the first is kept", text(&got), "first".to_owned())?;
    delete(q, FIFO, &[got]).await?;
    (rig.advance)(Millis::secs(290)).await;
    send(q, FIFO, same_id("third")).await?;
    take_none(q, FIFO, "still remembered, though deleted").await?;
    // Counted from the first send: a dropped one does not prolong it.
    (rig.advance)(Millis::secs(11)).await;
    send(q, FIFO, same_id("fourth")).await?;
    same("after five minutes", text(&take_one(q, FIFO).await?), "fourth".to_owned())
}

async fn deduplication_within_a_batch(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    let id = |id: &str, text: &str| OutMessage { dedup: Some(id.into()), ..grouped("g", text) };
    send(q, FIFO, vec![id("x", "1"), id("x", "2"), id("y", "3")]).await?;
    same("depth", depth(q, FIFO).await?, 2)
}

async fn racing_receivers_share_no_group(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    for batch in 0..4 {
        send(q, FIFO, (0..10).map(|i| grouped(&format!("g{}", i % 5), &format!("{batch}{i}"))).collect())
            .await?;
    }
    let mut holders: Vec<String> = Vec::new();
    for taken in join_all((0..16).map(|_| take(q, FIFO, 2))).await {
        let mut groups: Vec<String> = taken?.into_iter().filter_map(|m| m.group).collect();
        groups.dedup();
        holders.extend(groups);
    }
    holders.sort();
    same("each group has one holder", holders, texts(&["g0", "g1", "g2", "g3", "g4"]))
}

async fn what_is_received_too_often_is_dead(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    let dead = (rig.dead)(STANDARD);
    send(q, STANDARD, vec![message("poison")]).await?;
    for expected in 1..=rig.max_receives {
        let got = take_one(q, STANDARD).await.map_err(|e| format!("time {expected}: {e}"))?;
        same("receives", got.receives, expected)?;
        if expected % 2 == 0 {
            release(q, STANDARD, &got, Millis(0)).await?;
        } else {
            (rig.advance)(Millis::secs(61)).await;
        }
    }
    take_none(q, STANDARD, "after the last time").await?;
    same("depth", depth(q, STANDARD).await?, 0)?;
    same("depth of the dead letters", depth(q, &dead).await?, 1)?;
    let letter = take_one(q, &dead).await?;
    same("the dead letter", text(&letter), "poison".to_owned())?;
    delete(q, &dead, &[letter]).await?;
    same("depth of the dead letters", depth(q, &dead).await?, 0)
}

async fn a_dead_head_frees_its_group(rig: QueueRig<'_>) -> Checked {
    let queue = (rig.make)();
    let q = &*queue;
    send(q, FIFO, vec![grouped("g", "poison"), grouped("g", "good")]).await?;
    for _ in 0..rig.max_receives {
        let got = take_one(q, FIFO).await?;
        same("the head", text(&got), "poison".to_owned())?;
        release(q, FIFO, &got, Millis(0)).await?;
    }
    // The adapter may need one look to bury it and another to go on.
    let mut next = take(q, FIFO, 1).await?;
    if next.is_empty() {
        next = take(q, FIFO, 1).await?;
    }
    same("the next of the group", next.iter().map(text).collect(), texts(&["good"]))?;
    same("the dead letter", sorted(&take_all(q, &(rig.dead)(FIFO)).await?), texts(&["poison"]))
}
