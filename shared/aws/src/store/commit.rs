//! Writing through pages (see `page.rs`).
//!
//! The pages a transaction is about are those read last, or read now. What its guards say is asked of them; then each
//! is written under the condition that it is still that page. One page alone is a plain conditional write, and the
//! whole transaction; several are one transaction of DynamoDB. Where a condition fails, everything is read
//! again: a guard that does not hold is a conflict, otherwise another wrote something else, and it is tried anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use tillway_engine::ports::{Guard, Key, NewItem, StoreError, Write};

use super::layout::{chunk_key, own_key};
use super::page::{Change, NewItemOf, Own, Page};
use super::write::{Verdict, verdict};
use super::{DynamoStore, refused};
use crate::item::{self, On, Update};

/// How often a transaction is tried against other writers of its pages.
const TRIES: u32 = 24;
/// So often at once; then with widening pauses.
const AT_ONCE: u32 = 3;

/// One request of a transaction.
pub(super) enum Request<'a> {
    Update(Key, Update),
    Delete(Key, On<'a>),
    Check(Key, On<'a>),
}

/// A transaction as it goes out.
pub(super) struct Outgoing<'a> {
    pub(super) requests: Vec<Request<'a>>,
    /// Pages as they will stand.
    pub(super) pages: Vec<(Key, Arc<Page>)>,
}

/// How a sending ended.
enum Sent {
    Done,
    /// A condition did not hold, or another transaction was in the way.
    Met,
}

impl DynamoStore {
    /// Writes where pages are among what is written.
    pub(super) async fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        // A check that always holds asks nothing.
        let asks = |write: &&Write| !matches!(write, Write::Check(_, Guard::Any));
        let mut by_page: BTreeMap<Key, Vec<&Write>> = BTreeMap::new();
        let mut alone = Vec::new();
        for write in writes.iter().filter(asks) {
            match self.layout.page_key(write.key()) {
                Some(page) => by_page.entry(page).or_default().push(write),
                None => alone.push(write),
            }
        }
        if by_page.is_empty() && alone.is_empty() {
            return Ok(());
        }
        let mut pages: HashMap<Key, Arc<Page>> = HashMap::new();
        for key in by_page.keys() {
            pages.extend(self.kept.get(key).map(|page| (key.clone(), page)));
        }
        let mut fresh = false;
        for tried in 0..TRIES {
            let missing: Vec<Key> = by_page.keys().filter(|key| !pages.contains_key(key)).cloned().collect();
            for missing in missing.chunks(super::MAX_KEYS) {
                pages.extend(self.fetch_pages(&[], missing).await?.1);
            }
            if let Some(outgoing) = self.outgoing(&by_page, &alone, &pages) {
                match self.send(&outgoing).await? {
                    Sent::Done => {
                        for (key, page) in outgoing.pages {
                            self.kept.keep(key, page);
                        }
                        return Ok(());
                    }
                    Sent::Met => fresh = true,
                }
            }
            // The pages may be old, and so is what they said.
            if fresh && let Some(place) = self.first_failed(writes).await? {
                return Err(StoreError::Conflict(place));
            }
            fresh = true;
            pages.clear();
            if tried >= AT_ONCE {
                self.pause(tried - AT_ONCE).await;
            }
        }
        Err(StoreError::Unavailable("others wrote the same pages all the time".to_owned()))
    }

    /// What is to be sent; `None` where a guard does not hold on these pages.
    pub(super) fn outgoing<'a>(
        &self,
        by_page: &BTreeMap<Key, Vec<&Write>>,
        alone: &[&Write],
        pages: &'a HashMap<Key, Arc<Page>>,
    ) -> Option<Outgoing<'a>> {
        let mut changes: Vec<(&Key, &'a Arc<Page>, Change)> = Vec::new();
        for (key, writes) in by_page {
            let page = pages.get(key)?;
            changes.push((key, page, page.change(writes)?));
        }
        let touched = |change: &Change| usize::from(change.page.is_some() || change.looked);
        let count = changes.iter().map(|(_, _, change)| touched(change).saturating_add(change.own.len()));
        let together = count.fold(alone.len(), usize::saturating_add) > 1;
        let mut outgoing = Outgoing { requests: Vec::new(), pages: Vec::new() };
        for (key, before, change) in changes {
            self.page_requests(key, before, change, together, &mut outgoing);
        }
        for write in alone {
            outgoing.requests.push(match write {
                Write::Put(new, guard) => {
                    Request::Update(new.key.clone(), item::update(new, On::Guard(*guard), None))
                }
                Write::Delete(key, guard) => Request::Delete(key.clone(), On::Guard(*guard)),
                Write::Check(key, guard) => Request::Check(key.clone(), On::Guard(*guard)),
            });
        }
        Some(outgoing)
    }

    fn page_requests<'a>(
        &self,
        key: &Key,
        before: &'a Arc<Page>,
        change: Change,
        together: bool,
        outgoing: &mut Outgoing<'a>,
    ) {
        let at = |sk: &str| own_key(&key.pk, sk);
        let item = |of: NewItemOf| NewItem {
            key: own_key(&key.pk, &of.sk),
            body: of.body,
            due: of.due,
            list: of.list,
            expires: of.expires,
        };
        match change.page {
            Some(mut page) => {
                let (packed, chunk) = page.shed(key, &self.layout, together);
                if let Some((number, body)) = chunk {
                    let key = chunk_key(&key.pk, number);
                    outgoing.requests.push(Request::Update(key, item::update_chunk(body)));
                }
                let mut drawn = [0_u8; 6];
                self.entropy.fill(&mut drawn);
                let tag = hex::encode(drawn);
                let update = item::update_page(&page, packed, before.tag.as_deref(), &tag);
                page.tag = Some(tag);
                outgoing.requests.push(Request::Update(key.clone(), update));
                outgoing.pages.push((key.clone(), Arc::new(page)));
            }
            None if change.looked => {
                outgoing.requests.push(Request::Check(key.clone(), On::Tag(before.tag.as_deref())));
            }
            None => {}
        }
        for own in change.own {
            outgoing.requests.push(match own {
                Own::Make(of, rev) => {
                    let new = item(of);
                    let before = rev.saturating_sub(1);
                    Request::Update(
                        new.key.clone(),
                        item::update_after(&new, before, On::Guard(Guard::Absent), None),
                    )
                }
                Own::Again(of, guard) => {
                    let new = item(of);
                    Request::Update(new.key.clone(), item::update(&new, there(guard), None))
                }
                Own::Drop(sk, guard) => Request::Delete(at(&sk), there(guard)),
                Own::Look(sk, guard) => Request::Check(at(&sk), there(guard)),
            });
        }
    }

    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<Sent, StoreError> {
        match outgoing.requests.as_slice() {
            [] => Ok(Sent::Done),
            [Request::Update(key, update)] if !outgoing.pages.is_empty() => self.send_page(key, update).await,
            requests => self.send_together(requests).await,
        }
    }

    /// A page alone. After a lost answer the SDK sends it again, and then the page bears the very tag it was to get.
    async fn send_page(&self, key: &Key, update: &Update) -> Result<Sent, StoreError> {
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
        let Err(error) = sent else { return Ok(Sent::Done) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let ours = update.values.get(":by").and_then(|tag| tag.as_s().ok());
                let there = failed.item().and_then(|old| item::text_of(old, "by"));
                Ok(if ours.is_some() && there.as_ref() == ours { Sent::Done } else { Sent::Met })
            }
            Some(UpdateItemError::TransactionConflictException(_)) => Ok(Sent::Met),
            _ => Err(refused(&error)),
        }
    }

    async fn send_together(&self, requests: &[Request<'_>]) -> Result<Sent, StoreError> {
        let items = requests.iter().map(|request| self.built(request)).collect::<Result<Vec<_>, _>>()?;
        let sent = self.client.transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(Sent::Done) };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
        else {
            return Err(refused(&error));
        };
        match verdict(cancelled.cancellation_reasons()) {
            Verdict::Failed(_) | Verdict::Busy => Ok(Sent::Met),
            Verdict::Invalid => Err(StoreError::Invalid("a write of the transaction".to_owned())),
        }
    }

    fn built(&self, request: &Request<'_>) -> Result<TransactWriteItem, StoreError> {
        match request {
            Request::Update(key, update) => self.transact_update(key, update.clone()),
            Request::Delete(key, on) => self.transact_delete(key, *on),
            Request::Check(key, on) => self.transact_check(key, *on),
        }
    }
}

/// The guard on an entry's own item, which has to be there: the page says so.
const fn there(guard: Guard) -> On<'static> {
    match guard {
        Guard::Rev(rev) => On::There(Some(rev)),
        Guard::Any | Guard::Absent => On::There(None),
    }
}
