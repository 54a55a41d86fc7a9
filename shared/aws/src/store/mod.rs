//! [`Store`] over one DynamoDB table (attributes: see the table in `item.rs`).
//!
//! | port | DynamoDB |
//! |---|---|
//! | `get` | GetItem, or BatchGetItem, consistent |
//! | `transact` | TransactWriteItems of UpdateItem, DeleteItem and ConditionCheck; one write alone: see below |
//! | `query` | Query, consistent |
//! | `list`, `due` | Query of the sparse indexes `list` (`list`, `sort`) and `due` (`shard`, `at`), then BatchGetItem |
//! | `scan` | Scan, consistent |
//!
//! **Indexes hold keys alone** (KEYS_ONLY), so that a write of an item that keeps its places costs no write of
//! an index. What an index tells is fetched consistently and held against the entry: an entry that lags behind
//! its item is left out, so a page may be shorter than asked and there may still be a next one.
//!
//! **A write alone** is a plain UpdateItem, which costs half of a transaction of one. After a lost answer the
//! SDK sends it again, and then its own condition no longer holds. So a plain write leaves a drawn text in
//! `by`; where the condition fails and the item bears it, the write was ours and went through. Where another
//! wrote over ours in between, the caller is told of a conflict, which is what it would find by reading. A
//! conditional delete leaves nothing to recognise it by, and stays a transaction. Transactions are told apart by
//! the SDK's own token, drawn anew for each call and kept over its repetitions: DynamoDB answers a repetition
//! as it did the first time.
//!
//! **Errors.** A condition that fails is a conflict, named by its place, whatever else went wrong beside it. A
//! transaction that met another one was certainly not written: it is tried again a few times with widening
//! pauses, then it is `Unavailable`, as are throttling and time-outs after the SDK's own repetitions.

mod write;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::KeysAndAttributes;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Clock, Entropy, Item, ItemPage, Key, Store, StoreError, Write};

use crate::item::{self, Attributes};
use crate::trouble;

/// Most keys of one read (BatchGetItem's limit).
const MAX_KEYS: usize = 100;
/// Pauses of a read that was answered in part.
const READS: u32 = 8;

/// [`Store`] over a table.
pub struct DynamoStore {
    client: Client,
    table: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl DynamoStore {
    /// Over the table of that name.
    pub fn new(
        client: Client,
        table: impl Into<String>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { client, table: table.into(), clock, entropy }
    }

    /// Waits before the next try: longer each time, and at no common beat.
    async fn pause(&self, tried: u32) {
        let mut drawn = [0_u8; 1];
        self.entropy.fill(&mut drawn);
        let [drawn] = drawn;
        let longest = 20_i64.saturating_mul(1_i64.checked_shl(tried.min(6)).unwrap_or(64));
        self.clock.sleep(Millis(longest / 2 + longest * i64::from(drawn) / 512)).await;
    }

    /// Fetches items, consistently; at most 100 keys, none twice.
    async fn fetch(&self, keys: &[Key]) -> Result<HashMap<Key, Attributes>, StoreError> {
        let mut out = HashMap::new();
        if let [key] = keys {
            let read = self.client.get_item().table_name(&self.table).set_key(Some(item::key_of(key)));
            let answer = read.consistent_read(true).send().await.map_err(|e| refused(&e))?;
            out.extend(answer.item.map(|attributes| (key.clone(), attributes)));
            return Ok(out);
        }
        let mut left: Vec<Attributes> = keys.iter().map(item::key_of).collect();
        let mut idle = 0;
        while !left.is_empty() {
            let before = left.len();
            let wanted = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(left)).build();
            let wanted = wanted.map_err(|_| StoreError::Invalid("keys to read".to_owned()))?;
            let answer = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
            let answer = answer.map_err(|e| refused(&e))?;
            for attributes in answer.responses.into_iter().flatten().flat_map(|(_, found)| found) {
                out.insert(item::read_key(&attributes)?, attributes);
            }
            left = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, k)| k.keys).collect();
            if left.len() == before {
                idle += 1;
            }
            if idle > READS {
                return Err(StoreError::Unavailable("items were not read: throttled".to_owned()));
            }
            if !left.is_empty() {
                self.pause(idle).await;
            }
        }
        Ok(out)
    }

    /// The items behind index entries, those left out whose place is no longer the entry's.
    async fn behind(
        &self,
        entries: Vec<Attributes>,
        same: impl Fn(&Attributes, &Attributes) -> bool,
    ) -> Result<Vec<Item>, StoreError> {
        let keys = entries.iter().map(item::read_key).collect::<Result<Vec<_>, _>>()?;
        let mut found = HashMap::new();
        for keys in unique(&keys).chunks(MAX_KEYS) {
            found.extend(self.fetch(keys).await?);
        }
        holding(&entries, found, same)
    }
}

/// The items whose place is still that of their entry, in the entries' order.
fn holding(
    entries: &[Attributes],
    mut found: HashMap<Key, Attributes>,
    same: impl Fn(&Attributes, &Attributes) -> bool,
) -> Result<Vec<Item>, StoreError> {
    let mut out = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = item::read_key(entry)?;
        if found.get(&key).is_some_and(|now| same(entry, now))
            && let Some(attributes) = found.remove(&key)
        {
            out.push(item::read(attributes)?);
        }
    }
    Ok(out)
}

fn refused<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> StoreError {
    let said = trouble::describe(error);
    let ours = ["ValidationException", "IdempotentParameterMismatchException"];
    if ours.contains(&said.as_str()) { StoreError::Invalid(said) } else { StoreError::Unavailable(said) }
}

fn unique(keys: &[Key]) -> Vec<Key> {
    let mut seen = HashSet::new();
    keys.iter().filter(|key| seen.insert(*key)).cloned().collect()
}

fn limit_of(limit: usize) -> i32 {
    i32::try_from(limit.clamp(1, 1000)).unwrap_or(1000)
}

/// A place in a listing, as callers keep it.
fn token(parts: &[&str]) -> String {
    serde_json::json!(parts).to_string()
}

fn from_token<const N: usize>(token: &str) -> Result<[String; N], StoreError> {
    let parts: Option<Vec<String>> = serde_json::from_str(token).ok();
    let parts = parts.and_then(|parts| parts.try_into().ok());
    parts.ok_or_else(|| StoreError::Invalid("`after` is no page's `next`".to_owned()))
}

#[async_trait]
impl Store for DynamoStore {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        if keys.len() > MAX_KEYS {
            return Err(StoreError::Invalid(format!("{} keys, at most {MAX_KEYS}", keys.len())));
        }
        let found = self.fetch(&unique(keys)).await?;
        keys.iter().map(|key| found.get(key).cloned().map(item::read).transpose()).collect()
    }

    async fn transact(&self, mut writes: Vec<Write>) -> Result<(), StoreError> {
        write::check(&writes)?;
        match (writes.len(), writes.pop()) {
            (1, Some(write)) => self.alone(write).await,
            (_, Some(write)) => {
                writes.push(write);
                self.together(writes).await
            }
            (_, None) => Ok(()),
        }
    }

    async fn query(
        &self,
        pk: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        // DynamoDB takes no start beside the prefix: before it is none at all, behind it nothing is left.
        let after = after.filter(|after| *after >= prefix && !after.is_empty());
        if after.is_some_and(|after| !after.starts_with(prefix)) {
            return Ok(ItemPage { items: Vec::new(), next: None });
        }
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .limit(limit_of(limit))
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_values(":pk", item::text(pk))
            .set_exclusive_start_key(after.map(|after| item::key_of(&Key::new(pk, after))));
        if prefix.is_empty() {
            query = query.key_condition_expression("#pk = :pk");
        } else {
            query = query
                .key_condition_expression("#pk = :pk AND begins_with(#sk, :prefix)")
                .expression_attribute_names("#sk", "sk")
                .expression_attribute_values(":prefix", item::text(prefix));
        }
        let answer = query.send().await.map_err(|e| refused(&e))?;
        let next = answer.last_evaluated_key.and_then(|key| item::text_of(&key, "sk"));
        let items = answer.items.unwrap_or_default().into_iter().map(item::read);
        Ok(ItemPage { items: items.collect::<Result<_, _>>()?, next })
    }

    async fn list(
        &self,
        list: &str,
        after: Option<&str>,
        descending: bool,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        let start = match after {
            None => None,
            Some(after) => {
                let [sort, pk, sk] = from_token(after)?;
                let mut start = item::key_of(&Key { pk, sk });
                start.insert("list".to_owned(), item::text(list));
                start.insert("sort".to_owned(), item::text(&sort));
                Some(start)
            }
        };
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("list")
            .key_condition_expression("#list = :list")
            .expression_attribute_names("#list", "list")
            .expression_attribute_values(":list", item::text(list))
            .scan_index_forward(!descending)
            .limit(limit_of(limit))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|e| refused(&e))?;
        let next = match answer.last_evaluated_key {
            None => None,
            Some(last) => {
                let key = item::read_key(&last)?;
                let sort = item::text_of(&last, "sort").unwrap_or_default();
                Some(token(&[&sort, &key.pk, &key.sk]))
            }
        };
        let same = |entry: &Attributes, now: &Attributes| item::read_list(entry) == item::read_list(now);
        Ok(ItemPage { items: self.behind(answer.items.unwrap_or_default(), same).await?, next })
    }

    async fn due(&self, shard: u16, until: Timestamp, limit: usize) -> Result<Vec<Item>, StoreError> {
        let mut out: Vec<Item> = Vec::new();
        let mut start = None;
        loop {
            let left = limit.saturating_sub(out.len());
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .index_name("due")
                .key_condition_expression("#shard = :shard AND #at <= :until")
                .expression_attribute_names("#shard", "shard")
                .expression_attribute_names("#at", "at")
                .expression_attribute_values(":shard", item::number(shard))
                .expression_attribute_values(":until", item::number(until.0))
                .limit(limit_of(left))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|e| refused(&e))?;
            let same = |entry: &Attributes, now: &Attributes| item::read_due(entry) == item::read_due(now);
            out.extend(self.behind(answer.items.unwrap_or_default(), same).await?);
            start = answer.last_evaluated_key;
            if start.is_none() || out.len() >= limit {
                return Ok(out);
            }
        }
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ItemPage, StoreError> {
        let start = match after {
            None => None,
            Some(after) => {
                let [pk, sk] = from_token(after)?;
                Some(item::key_of(&Key { pk, sk }))
            }
        };
        let scan = self.client.scan().table_name(&self.table).consistent_read(true).limit(limit_of(limit));
        let answer = scan.set_exclusive_start_key(start).send().await.map_err(|e| refused(&e))?;
        let next = answer.last_evaluated_key.as_ref().map(item::read_key).transpose()?;
        let items = answer.items.unwrap_or_default().into_iter().map(item::read);
        let items = items.collect::<Result<_, _>>()?;
        Ok(ItemPage { items, next: next.map(|key| token(&[&key.pk, &key.sk])) })
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::Blob;
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;

    fn due(sk: &str, at: i64) -> Attributes {
        let mut attributes = item::key_of(&Key::new("p", sk));
        attributes.insert("shard".to_owned(), item::number(3));
        attributes.insert("at".to_owned(), item::number(at));
        attributes.insert("rev".to_owned(), item::number(1));
        attributes.insert("body".to_owned(), AttributeValue::B(Blob::new(crate::pack::pack(b""))));
        attributes
    }

    #[test]
    fn an_index_entry_that_lags_behind_its_item_is_left_out() {
        let entries = [due("moved", 1), due("gone", 2), due("same", 3)];
        let found = [("same", 3), ("moved", 9)].map(|(sk, at)| (Key::new("p", sk), due(sk, at))).into();
        let same = |entry: &Attributes, now: &Attributes| item::read_due(entry) == item::read_due(now);
        let held = holding(&entries, found, same).unwrap();
        assert_eq!(held.iter().map(|item| item.key.sk.as_str()).collect::<Vec<_>>(), ["same"]);
    }

    #[test]
    fn a_token_is_its_parts() {
        let made = token(&["so\"rt", "pk", "§"]);
        assert_eq!(from_token::<3>(&made), Ok(["so\"rt".to_owned(), "pk".into(), "§".into()]));
        assert!(matches!(from_token::<2>(&made), Err(StoreError::Invalid(_))));
        assert!(matches!(from_token::<2>("x"), Err(StoreError::Invalid(_))));
    }
}
