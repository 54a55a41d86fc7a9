//! Writes: alone, or together in a transaction (see the module above).

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, Delete, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
};
use tillway_engine::ports::{Guard, Key, MAX_BODY, MAX_WRITES, NewItem, StoreError, Write};

use super::{DynamoStore, refused};
use crate::item::{self, On};

/// Largest transaction in bytes (DynamoDB's limit is 4 MB, names and all).
const MAX_TRANSACTION: usize = 4_000_000;
/// A write that met a transaction is tried this often in all.
const TRIES: u32 = 5;

/// One request of a transaction.
pub(super) enum Request<'a> {
    Update(Key, item::Update),
    Delete(Key, On<'a>),
    Check(Key, On<'a>),
}

impl Request<'_> {
    /// A write of an item that lies alone; `None`: a check that always holds.
    pub(super) fn of(write: &Write) -> Option<Self> {
        Some(match write {
            Write::Check(_, Guard::Any) => return None,
            Write::Put(new, guard) => {
                Self::Update(new.key.clone(), item::update(new, On::Guard(*guard), None))
            }
            Write::Delete(key, guard) => Self::Delete(key.clone(), On::Guard(*guard)),
            Write::Check(key, guard) => Self::Check(key.clone(), On::Guard(*guard)),
        })
    }
}

impl DynamoStore {
    pub(super) async fn alone(&self, write: Write) -> Result<(), StoreError> {
        match write {
            Write::Put(new, guard) => self.put_alone(&new, guard).await,
            Write::Check(_, Guard::Any) => Ok(()),
            // A check alone is a read.
            write @ Write::Check(..) => match self.first_failed(&[write]).await? {
                None => Ok(()),
                Some(place) => Err(StoreError::Conflict(place)),
            },
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
        let update = item::update(new, On::Guard(guard), Some(&hex::encode(drawn)));
        for tried in 0..TRIES {
            match self.send_update(&new.key, &update).await? {
                None => return Ok(()),
                Some(Verdict::Failed(at)) => return Err(StoreError::Conflict(at)),
                Some(Verdict::Invalid) => return Err(not_a_write()),
                Some(Verdict::Busy) if tried + 1 < TRIES => self.pause(tried).await,
                Some(Verdict::Busy) => break,
            }
        }
        Err(StoreError::Unavailable("other transactions on the item".to_owned()))
    }

    pub(super) async fn together(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        // A check that always holds is no request; places are those of the caller.
        let asked = writes.iter().enumerate().filter_map(|(place, write)| Some((place, Request::of(write)?)));
        let (places, requests): (Vec<usize>, Vec<Request<'_>>) = asked.unzip();
        if requests.is_empty() {
            return Ok(());
        }
        for tried in 0..TRIES {
            match self.send_together(&requests).await? {
                None => return Ok(()),
                Some(Verdict::Failed(at)) => {
                    return Err(StoreError::Conflict(places.get(at).copied().unwrap_or(at)));
                }
                Some(Verdict::Invalid) => return Err(not_a_write()),
                Some(Verdict::Busy) if tried + 1 < TRIES => self.pause(tried).await,
                Some(Verdict::Busy) => break,
            }
        }
        Err(StoreError::Unavailable("other transactions on the same items, or throttled".to_owned()))
    }

    /// A plain write, which bears in `by` who it is from; `None`: it is written. After a lost answer the SDK sends it again, and
    /// finds itself.
    pub(super) async fn send_update(
        &self,
        key: &Key,
        update: &item::Update,
    ) -> Result<Option<Verdict>, StoreError> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item::key_of(key)))
            .update_expression(&update.expression)
            .set_expression_attribute_names(Some(update.names.clone()))
            .set_expression_attribute_values(Some(update.values.clone()))
            .set_condition_expression(update.condition.map(str::to_owned))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = sent else { return Ok(None) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let ours = update.values.get(":by").and_then(|by| by.as_s().ok());
                let there = failed.item().and_then(|old| item::text_of(old, "by"));
                Ok(if ours.is_some() && there.as_ref() == ours { None } else { Some(Verdict::Failed(0)) })
            }
            Some(UpdateItemError::TransactionConflictException(_)) => Ok(Some(Verdict::Busy)),
            _ => Err(refused(&error)),
        }
    }

    /// A transaction; `None`: it is written. Each call has a token of its own: what was cancelled is a new request.
    pub(super) async fn send_together(
        &self,
        requests: &[Request<'_>],
    ) -> Result<Option<Verdict>, StoreError> {
        let items = requests.iter().map(|request| self.built(request)).collect::<Result<Vec<_>, _>>()?;
        let sent = self.client.transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(None) };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                Ok(Some(verdict(cancelled.cancellation_reasons())))
            }
            _ => Err(refused(&error)),
        }
    }

    fn built(&self, request: &Request<'_>) -> Result<TransactWriteItem, StoreError> {
        match request {
            Request::Update(key, update) => self.transact_update(key, update.clone()),
            Request::Delete(key, on) => self.transact_delete(key, *on),
            Request::Check(key, on) => self.transact_check(key, *on),
        }
    }

    fn transact_update(&self, key: &Key, update: item::Update) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(item::key_of(key)))
            .update_expression(update.expression)
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(Some(update.values))
            .set_condition_expression(update.condition.map(str::to_owned))
            .build()
            .map_err(|_| not_a_write())?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn transact_delete(&self, key: &Key, on: On<'_>) -> Result<TransactWriteItem, StoreError> {
        let condition = item::condition(on);
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(item::key_of(key)))
            .set_condition_expression(condition.expression.map(str::to_owned))
            .set_expression_attribute_names(some(condition.names))
            .set_expression_attribute_values(some(condition.values))
            .build()
            .map_err(|_| not_a_write())?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    fn transact_check(&self, key: &Key, on: On<'_>) -> Result<TransactWriteItem, StoreError> {
        let condition = item::condition(on);
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(item::key_of(key)))
            .set_condition_expression(condition.expression.map(str::to_owned))
            .set_expression_attribute_names(some(condition.names))
            .set_expression_attribute_values(some(condition.values))
            .build()
            .map_err(|_| not_a_write())?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}

/// What is empty is not sent: DynamoDB refuses it.
fn some<V>(map: HashMap<String, V>) -> Option<HashMap<String, V>> {
    (!map.is_empty()).then_some(map)
}

pub(super) fn not_a_write() -> StoreError {
    StoreError::Invalid("a write of the transaction".to_owned())
}

/// What a cancelled transaction means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The condition of this request did not hold.
    Failed(usize),
    /// A request that can never be accepted.
    Invalid,
    /// Another transaction, or throttling: not written.
    Busy,
}

pub(super) fn verdict(reasons: &[CancellationReason]) -> Verdict {
    let is = |code: &'static str| move |reason: &CancellationReason| reason.code() == Some(code);
    if let Some(at) = reasons.iter().position(is("ConditionalCheckFailed")) {
        return Verdict::Failed(at);
    }
    if reasons.iter().any(is("ValidationError")) { Verdict::Invalid } else { Verdict::Busy }
}

/// What DynamoDB would refuse is found before it is asked.
pub(super) fn check(writes: &[Write]) -> Result<(), StoreError> {
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
