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

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, Delete, KeysAndAttributes, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{
    Clock, Entropy, Guard, Item, ItemPage, Key, MAX_BODY, MAX_WRITES, NewItem, Store, StoreError, Write,
};

use crate::item::{self, Attributes};
use crate::trouble;

/// Most keys of one read (BatchGetItem's limit).
const MAX_KEYS: usize = 100;
/// Largest transaction in bytes (DynamoDB's limit is 4 MB, names and all).
const MAX_TRANSACTION: usize = 4_000_000;
/// A write that met a transaction is tried this often in all.
const TRIES: u32 = 5;
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
        let mut out = Vec::with_capacity(entries.len());
        for (key, entry) in keys.iter().zip(&entries) {
            if found.get(key).is_some_and(|now| same(entry, now))
                && let Some(attributes) = found.remove(key)
            {
                out.push(item::read(attributes)?);
            }
        }
        Ok(out)
    }

    async fn alone(&self, write: Write) -> Result<(), StoreError> {
        match write {
            Write::Put(new, guard) => self.put_alone(&new, guard).await,
            Write::Check(_, Guard::Any) => Ok(()),
            // A check alone is a read.
            Write::Check(key, guard) => {
                let found = self.fetch(std::slice::from_ref(&key)).await?.remove(&key);
                let rev = found.map(item::read).transpose()?.map(|item| item.rev);
                let holds = if let Guard::Rev(seen) = guard { rev == Some(seen) } else { rev.is_none() };
                if holds { Ok(()) } else { Err(StoreError::Conflict(0)) }
            }
            // Removing what may be there can be repeated.
            Write::Delete(key, Guard::Any) => {
                let delete = self.client.delete_item().table_name(&self.table);
                let sent = delete.set_key(Some(item::key_of(&key))).send().await;
                sent.map(|_| ()).map_err(|e| refused(&e))
            }
            write @ Write::Delete(..) => self.together(vec![write]).await,
        }
    }

    async fn put_alone(&self, new: &NewItem, guard: Guard) -> Result<(), StoreError> {
        let mut drawn = [0_u8; 8];
        self.entropy.fill(&mut drawn);
        let by = hex::encode(drawn);
        for tried in 0..TRIES {
            let update = item::update(new, guard, Some(&by));
            let sent = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(item::key_of(&new.key)))
                .update_expression(update.expression)
                .set_expression_attribute_names(Some(update.names))
                .set_expression_attribute_values(Some(update.values))
                .set_condition_expression(update.condition.map(str::to_owned))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let error = match sent {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    let there = failed.item().and_then(|old| item::text_of(old, "by"));
                    return if there.as_deref() == Some(&by) { Ok(()) } else { Err(StoreError::Conflict(0)) };
                }
                Some(UpdateItemError::TransactionConflictException(_)) if tried + 1 < TRIES => {
                    self.pause(tried).await;
                }
                _ => return Err(refused(&error)),
            }
        }
        Err(StoreError::Unavailable("other transactions on the item".to_owned()))
    }

    async fn together(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        // A check that always holds is no request; places are those of the caller.
        let mut places = Vec::with_capacity(writes.len());
        let mut items = Vec::with_capacity(writes.len());
        for (place, write) in writes.iter().enumerate() {
            if let Some(item) = self.request(write)? {
                places.push(place);
                items.push(item);
            }
        }
        if items.is_empty() {
            return Ok(());
        }
        for tried in 0..TRIES {
            // Each call has a token of its own: what was cancelled is a new request.
            let sent =
                self.client.transact_write_items().set_transact_items(Some(items.clone())).send().await;
            let error = match sent {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
                error.as_service_error()
            else {
                return Err(refused(&error));
            };
            match verdict(cancelled.cancellation_reasons()) {
                Verdict::Failed(at) => {
                    return Err(StoreError::Conflict(places.get(at).copied().unwrap_or(at)));
                }
                Verdict::Invalid => return Err(StoreError::Invalid("a write of the transaction".to_owned())),
                Verdict::Busy if tried + 1 < TRIES => self.pause(tried).await,
                Verdict::Busy => break,
            }
        }
        Err(StoreError::Unavailable("other transactions on the same items, or throttled".to_owned()))
    }

    fn request(&self, write: &Write) -> Result<Option<TransactWriteItem>, StoreError> {
        let built = match write {
            Write::Check(_, Guard::Any) => return Ok(None),
            Write::Put(new, guard) => {
                let update = item::update(new, *guard, None);
                let update = Update::builder()
                    .table_name(&self.table)
                    .set_key(Some(item::key_of(&new.key)))
                    .update_expression(update.expression)
                    .set_expression_attribute_names(Some(update.names))
                    .set_expression_attribute_values(Some(update.values))
                    .set_condition_expression(update.condition.map(str::to_owned))
                    .build();
                update.map(|update| TransactWriteItem::builder().update(update))
            }
            Write::Delete(key, guard) => {
                let (mut names, mut values) = (HashMap::new(), Attributes::new());
                let condition = item::condition(*guard, &mut names, &mut values);
                let delete = Delete::builder()
                    .table_name(&self.table)
                    .set_key(Some(item::key_of(key)))
                    .set_condition_expression(condition.map(str::to_owned))
                    .set_expression_attribute_names((!names.is_empty()).then_some(names))
                    .set_expression_attribute_values((!values.is_empty()).then_some(values))
                    .build();
                delete.map(|delete| TransactWriteItem::builder().delete(delete))
            }
            Write::Check(key, guard) => {
                let (mut names, mut values) = (HashMap::new(), Attributes::new());
                let condition = item::condition(*guard, &mut names, &mut values);
                let check = ConditionCheck::builder()
                    .table_name(&self.table)
                    .set_key(Some(item::key_of(key)))
                    .set_condition_expression(condition.map(str::to_owned))
                    .set_expression_attribute_names((!names.is_empty()).then_some(names))
                    .set_expression_attribute_values((!values.is_empty()).then_some(values))
                    .build();
                check.map(|check| TransactWriteItem::builder().condition_check(check))
            }
        };
        let built = built.map_err(|_| StoreError::Invalid("a write of the transaction".to_owned()))?;
        Ok(Some(built.build()))
    }
}

/// What a cancelled transaction means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The condition of this request did not hold.
    Failed(usize),
    /// A request that can never be accepted.
    Invalid,
    /// Another transaction, or throttling: not written.
    Busy,
}

fn verdict(reasons: &[CancellationReason]) -> Verdict {
    let is = |code: &'static str| move |reason: &CancellationReason| reason.code() == Some(code);
    if let Some(at) = reasons.iter().position(is("ConditionalCheckFailed")) {
        return Verdict::Failed(at);
    }
    if reasons.iter().any(is("ValidationError")) { Verdict::Invalid } else { Verdict::Busy }
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

fn check(writes: &[Write]) -> Result<(), StoreError> {
    if writes.len() > MAX_WRITES {
        return Err(StoreError::Invalid(format!("{} writes, at most {MAX_WRITES}", writes.len())));
    }
    let mut keys = HashSet::new();
    let mut bytes = 0_usize;
    for write in writes {
        let key = write.key();
        if !keys.insert(key) {
            return Err(StoreError::Invalid(format!("key {} {} twice", key.pk, key.sk)));
        }
        if let Write::Put(item, _) = write {
            if item.body.len() > MAX_BODY {
                let size = item.body.len();
                return Err(StoreError::Invalid(format!("a body of {size} bytes, at most {MAX_BODY}")));
            }
            bytes = bytes.saturating_add(item.body.len());
        }
    }
    if bytes > MAX_TRANSACTION {
        return Err(StoreError::Invalid(format!(
            "a transaction of {bytes} bytes, at most {MAX_TRANSACTION}"
        )));
    }
    Ok(())
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
        check(&writes)?;
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
    use super::*;

    fn reasons(codes: &[&str]) -> Vec<CancellationReason> {
        codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect()
    }

    #[test]
    fn the_first_failed_condition_is_named_whatever_else_went_wrong() {
        let codes = ["None", "TransactionConflict", "ConditionalCheckFailed", "ConditionalCheckFailed"];
        assert_eq!(verdict(&reasons(&codes)), Verdict::Failed(2));
        assert_eq!(verdict(&reasons(&["None", "TransactionConflict"])), Verdict::Busy);
        assert_eq!(verdict(&reasons(&["ThrottlingError", "None"])), Verdict::Busy);
        assert_eq!(verdict(&reasons(&["ProvisionedThroughputExceeded"])), Verdict::Busy);
        assert_eq!(verdict(&reasons(&["ValidationError"])), Verdict::Invalid);
        assert_eq!(verdict(&[]), Verdict::Busy);
    }

    #[test]
    fn a_token_is_its_parts() {
        let made = token(&["so\"rt", "pk", "§"]);
        assert_eq!(from_token::<3>(&made), Ok(["so\"rt".to_owned(), "pk".into(), "§".into()]));
        assert!(matches!(from_token::<2>(&made), Err(StoreError::Invalid(_))));
        assert!(matches!(from_token::<2>("x"), Err(StoreError::Invalid(_))));
    }

    #[test]
    fn a_transaction_too_large_for_dynamodb_is_ours_to_mend() {
        let big = |n: usize| {
            let key = Key::new("p", n.to_string());
            let item = NewItem { key, body: vec![0; MAX_BODY], due: None, list: None, expires: None };
            Write::Put(item, Guard::Any)
        };
        assert!(check(&(0..10).map(big).collect::<Vec<_>>()).is_ok());
        assert!(matches!(check(&(0..11).map(big).collect::<Vec<_>>()), Err(StoreError::Invalid(_))));
    }
}
