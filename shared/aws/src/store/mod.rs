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

mod commit;
mod layout;
mod listing;
pub(crate) mod page;
mod pages;
#[cfg(test)]
mod units_tests;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::KeysAndAttributes;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Clock, Entropy, Item, ItemPage, Key, Store, StoreError, Write};

pub use self::layout::Layout;
use self::pages::Kept;
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
    layout: Layout,
    kept: Kept,
}

impl DynamoStore {
    /// Over the table of that name.
    pub fn new(
        client: Client,
        table: impl Into<String>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { client, table: table.into(), clock, entropy, layout: Layout::ENGINE, kept: Kept::default() }
    }

    /// With items lying elsewhere: tests hold the contract against each layout.
    #[must_use]
    pub fn laid_out(self, layout: Layout) -> Self {
        Self { layout, ..self }
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
        self.read(keys).await
    }

    async fn transact(&self, mut writes: Vec<Write>) -> Result<(), StoreError> {
        write::check(&writes)?;
        if writes.iter().any(|write| (self.layout.page)(write.key()).is_some()) {
            return self.commit(&writes).await;
        }
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
        self.partition(pk, prefix, after, limit).await
    }

    async fn list(
        &self,
        list: &str,
        after: Option<&str>,
        descending: bool,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        self.listed(list, after, descending, limit).await
    }

    async fn due(&self, shard: u16, until: Timestamp, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.fallen_due(shard, until, limit).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ItemPage, StoreError> {
        self.everything(after, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_parts() {
        let made = token(&["so\"rt", "pk", "§"]);
        assert_eq!(from_token::<3>(&made), Ok(["so\"rt".to_owned(), "pk".into(), "§".into()]));
        assert!(matches!(from_token::<2>(&made), Err(StoreError::Invalid(_))));
        assert!(matches!(from_token::<2>("x"), Err(StoreError::Invalid(_))));
    }
}
