//! The store in memory: items by key, a due index and a listing index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tillway_core::journal::Entry;
use tillway_core::time::Timestamp;
use tillway_engine::ports::{
    Guard, Item, ItemPage, Key, MAX_BODY, MAX_WRITES, NewItem, Store, StoreError, Write,
};

use super::{Broken, Gate};
use crate::exec::{Bell, lock};
use crate::faults::Op;

/// What is looked for in everything that is written.
pub(crate) const CANARIES: [&str; 3] = ["canary", "4111111111111111", "4111 1111 1111 1111"];

/// Whether bytes hold what must not be there.
pub(crate) fn has_canary(bytes: &[u8]) -> bool {
    // Nearly everything is text, and the standard library looks for a text in many bytes at once.
    if let Ok(text) = std::str::from_utf8(bytes) {
        let [canary, numbers @ ..] = CANARIES;
        return text.contains(canary) || text.contains("4111") && numbers.iter().any(|n| text.contains(n));
    }
    // How each begins is looked for first: ciphertext nearly never does.
    bytes.windows(4).any(|begins| matches!(begins, b"cana" | b"4111"))
        && CANARIES.iter().any(|c| bytes.windows(c.len()).any(|there| there == c.as_bytes()))
}

/// Most keys of one `get`.
const MAX_GET: usize = 100;

#[derive(Default)]
pub(crate) struct Data {
    pub(crate) items: BTreeMap<Key, Item>,
    due: BTreeMap<u16, BTreeSet<(i64, Key)>>,
    lists: BTreeMap<String, BTreeSet<(String, Key)>>,
    /// Every parked item there ever was, and every event listed or noted, by key.
    pub(crate) parked_ever: BTreeSet<String>,
    pub(crate) entries: u64,
    /// Commands whose decision is committed.
    pub(crate) decided: BTreeSet<String>,
    /// What was wrong with something as it was written.
    pub(crate) wrong: Vec<(Key, String)>,
    watched: bool,
}

impl Data {
    fn stands(&self, key: &Key, guard: Guard) -> bool {
        let known = self.items.get(key).map(|item| item.rev);
        match guard {
            Guard::Absent => known.is_none(),
            Guard::Rev(rev) => known == Some(rev),
            Guard::Any => true,
        }
    }
    fn remove(&mut self, key: &Key) -> u64 {
        let Some(item) = self.items.remove(key) else { return 0 };
        if let Some(due) = item.due
            && let Some(shard) = self.due.get_mut(&due.shard)
        {
            shard.remove(&(due.at.0, key.clone()));
        }
        if let Some((list, sort)) = item.list
            && let Some(list) = self.lists.get_mut(&list)
        {
            list.remove(&(sort, key.clone()));
        }
        item.rev
    }
    fn put(&mut self, new: NewItem) {
        self.look(&new);
        let rev = self.remove(&new.key).saturating_add(1);
        if let Some(due) = new.due {
            self.due.entry(due.shard).or_default().insert((due.at.0, new.key.clone()));
        }
        if let Some((list, sort)) = &new.list {
            self.lists.entry(list.clone()).or_default().insert((sort.clone(), new.key.clone()));
        }
        let NewItem { key, body, due, list, expires } = new;
        self.items.insert(key.clone(), Item { key, rev, body, due, list, expires });
    }
    /// Checks what is written, in the moment it is.
    fn look(&mut self, new: &NewItem) {
        if !self.watched {
            return;
        }
        if has_canary(&new.body) || has_canary(new.key.pk.as_bytes()) || has_canary(new.key.sk.as_bytes()) {
            self.wrong.push((new.key.clone(), "personal data, a card number or a secret in clear".into()));
        }
        if new.key.sk.starts_with("jrn#") {
            self.entries += 1;
            let checked = serde_json::from_slice::<Entry>(&new.body)
                .map_err(|e| e.to_string())
                .and_then(|entry| entry.check().map_err(|e| e.to_string()));
            if let Err(what) = checked {
                self.wrong.push((new.key.clone(), what));
            }
            if self.items.contains_key(&new.key) {
                self.wrong.push((new.key.clone(), "a journal entry was written again".into()));
            }
        } else if let Some(id) = new.key.pk.strip_prefix("parked#") {
            self.parked_ever.insert(id.to_owned());
        }
    }
    /// The earliest due time.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        self.due.values().filter_map(|s| s.first()).map(|(at, _)| Timestamp(*at)).min()
    }
}

/// [`Store`] in memory.
#[derive(Clone)]
pub(crate) struct MemoryStore {
    gate: Gate,
    pub(crate) data: Arc<Mutex<Data>>,
    /// Rings when something may fall due earlier than before.
    pub(crate) bell: Arc<Bell>,
}

fn unavailable(_: Broken) -> StoreError {
    StoreError::Unavailable("the simulator said so".into())
}

fn page_token(sort: &str, key: &Key) -> String {
    serde_json::json!([sort, key.pk, key.sk]).to_string()
}

fn read_token(token: &str) -> Option<(String, Key)> {
    let (sort, pk, sk): (String, String, String) = serde_json::from_str(token).ok()?;
    Some((sort, Key { pk, sk }))
}

impl MemoryStore {
    /// An empty store; `watched`: each write is checked in the moment it is made.
    pub(crate) fn new(gate: Gate, watched: bool) -> Self {
        let data = Data { watched, ..Data::default() };
        Self { gate, data: Arc::new(Mutex::new(data)), bell: Arc::default() }
    }
    fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let invalid = |what: &str| Err(StoreError::Invalid(what.to_owned()));
        if writes.len() > MAX_WRITES {
            return invalid("too many writes");
        }
        let keys: BTreeSet<&Key> = writes.iter().map(Write::key).collect();
        if keys.len() < writes.len() {
            return invalid("a key twice");
        }
        if writes.iter().any(|w| matches!(w, Write::Put(item, _) if item.body.len() > MAX_BODY)) {
            return invalid("a body too large");
        }
        let mut data = lock(&self.data);
        let failed = writes.iter().position(|w| match w {
            Write::Put(item, guard) => !data.stands(&item.key, *guard),
            Write::Delete(key, guard) | Write::Check(key, guard) => !data.stands(key, *guard),
        });
        if let Some(at) = failed {
            return Err(StoreError::Conflict(at));
        }
        if data.watched && writes.iter().any(|w| w.key().sk.starts_with("log#")) {
            let commands = writes.iter().filter_map(|w| w.key().sk.strip_prefix("cmd#"));
            data.decided.extend(commands.map(str::to_owned));
        }
        let mut due = false;
        for write in writes {
            match write {
                Write::Put(item, _) => {
                    due |= item.due.is_some();
                    data.put(item);
                }
                Write::Delete(key, _) => {
                    data.remove(&key);
                }
                Write::Check(..) => {}
            }
        }
        drop(data);
        if due {
            self.bell.ring_all();
        }
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        if keys.len() > MAX_GET {
            return Err(StoreError::Invalid(format!("{} keys in one get, at most {MAX_GET}", keys.len())));
        }
        let fate = self.gate.enter(Op::StoreGet).await.map_err(unavailable)?;
        let found = {
            let data = lock(&self.data);
            keys.iter().map(|key| data.items.get(key).cloned()).collect()
        };
        self.gate.leave(fate).await.map_err(unavailable)?;
        Ok(found)
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let fate = self.gate.enter(Op::StoreTransact).await.map_err(unavailable)?;
        let written = self.write(writes);
        self.gate.leave(fate).await.map_err(unavailable)?;
        written
    }

    async fn query(
        &self,
        pk: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        let fate = self.gate.enter(Op::StoreGet).await.map_err(unavailable)?;
        let (items, more) = {
            let data = lock(&self.data);
            let from = Key::new(pk, after.map_or(prefix, |a| a.max(prefix)));
            let all = data.items.range(from..).take_while(|(k, _)| k.pk == pk);
            let mut fitting = all
                .skip_while(|(k, _)| after.is_some_and(|a| k.sk.as_str() <= a))
                .take_while(|(k, _)| k.sk.starts_with(prefix))
                .map(|(_, item)| item);
            let items: Vec<Item> = fitting.by_ref().take(limit).cloned().collect();
            (items, fitting.next().is_some())
        };
        self.gate.leave(fate).await.map_err(unavailable)?;
        let next = items.last().filter(|_| more).map(|i| i.key.sk.clone());
        Ok(ItemPage { items, next })
    }

    async fn list(
        &self,
        list: &str,
        after: Option<&str>,
        descending: bool,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        let fate = self.gate.enter(Op::StoreList).await.map_err(unavailable)?;
        let page = {
            let data = lock(&self.data);
            let after = after.and_then(read_token);
            let empty = BTreeSet::new();
            let all = data.lists.get(list).unwrap_or(&empty);
            let mut chosen: Vec<&(String, Key)> = if descending {
                all.iter().rev().filter(|e| after.as_ref().is_none_or(|a| *e < a)).take(limit + 1).collect()
            } else {
                all.iter().filter(|e| after.as_ref().is_none_or(|a| *e > a)).take(limit + 1).collect()
            };
            let more = chosen.len() > limit;
            chosen.truncate(limit);
            let next = chosen.last().filter(|_| more).map(|(sort, key)| page_token(sort, key));
            let items = chosen.iter().filter_map(|(_, key)| data.items.get(key).cloned()).collect();
            ItemPage { items, next }
        };
        self.gate.leave(fate).await.map_err(unavailable)?;
        Ok(page)
    }

    async fn due(&self, shard: u16, until: Timestamp, limit: usize) -> Result<Vec<Item>, StoreError> {
        let fate = self.gate.enter(Op::StoreDue).await.map_err(unavailable)?;
        let items = {
            let data = lock(&self.data);
            let all = data.due.get(&shard).into_iter().flatten();
            let due = all.take_while(|(at, _)| *at <= until.0).take(limit);
            due.filter_map(|(_, key)| data.items.get(key).cloned()).collect()
        };
        self.gate.leave(fate).await.map_err(unavailable)?;
        Ok(items)
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ItemPage, StoreError> {
        let fate = self.gate.enter(Op::StoreList).await.map_err(unavailable)?;
        let page = {
            let data = lock(&self.data);
            let after = after.and_then(read_token).map(|(_, key)| key);
            let from = after.clone().unwrap_or_else(|| Key::new("", ""));
            let mut all = data.items.range(from..).filter(|(k, _)| after.as_ref() != Some(k)).map(|(_, i)| i);
            let items: Vec<Item> = all.by_ref().take(limit).cloned().collect();
            let next = items.last().filter(|_| all.next().is_some()).map(|i| page_token("", &i.key));
            ItemPage { items, next }
        };
        self.gate.leave(fate).await.map_err(unavailable)?;
        Ok(page)
    }
}
