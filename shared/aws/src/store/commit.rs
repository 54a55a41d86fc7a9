//! Writing through pages (see `page.rs`).
//!
//! The pages a transaction is about are those read last, or read now. What its guards say is asked of them; then each
//! is written under the condition that it is still that page. One page alone is a plain conditional write, and the
//! whole transaction; several are one transaction of DynamoDB. Where a condition fails, everything is read
//! again: a guard that does not hold is a conflict, otherwise another wrote something else, and it is tried anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tillway_engine::ports::{Guard, Key, StoreError, Write};

use super::DynamoStore;
use super::layout::{chunk_key, own_key};
use super::page::{Change, Own, Page};
use super::write::{Request, Verdict, not_a_write};
use crate::item::{self, On};

/// How often a transaction is tried against other writers of its pages.
const TRIES: u32 = 24;
/// So often at once; then with widening pauses.
const AT_ONCE: u32 = 3;

/// A transaction as it goes out.
pub(super) struct Outgoing<'a> {
    pub(super) requests: Vec<Request<'a>>,
    /// Pages as they will stand.
    pub(super) pages: Vec<(Key, Arc<Page>)>,
}

/// Writes by the page they are about, and those of items that lie alone.
pub(super) type Grouped<'a> = (BTreeMap<Key, Vec<&'a Write>>, Vec<&'a Write>);

/// How a sending ended.
enum Sent {
    Done,
    /// A condition did not hold, or another transaction was in the way.
    Met,
}

impl DynamoStore {
    /// The writes of a transaction that ask something.
    pub(super) fn grouped<'a>(&self, writes: &'a [Write]) -> Grouped<'a> {
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
        (by_page, alone)
    }

    /// Writes where pages are among what is written.
    pub(super) async fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let (by_page, alone) = self.grouped(writes);
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
            if let Some(outgoing) = self.outgoing(&by_page, &alone, &pages)? {
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
    ) -> Result<Option<Outgoing<'a>>, StoreError> {
        let mut changes: Vec<(&Key, &'a Arc<Page>, Change)> = Vec::new();
        for (key, writes) in by_page {
            let changed = pages.get(key).and_then(|page| Some((key, page, page.change(writes)?)));
            let Some(changed) = changed else { return Ok(None) };
            changes.push(changed);
        }
        let touched = |change: &Change| usize::from(change.page.is_some() || change.looked);
        let count = changes.iter().map(|(_, _, change)| touched(change).saturating_add(change.own.len()));
        let together = count.fold(alone.len(), usize::saturating_add) > 1;
        let mut outgoing = Outgoing { requests: Vec::new(), pages: Vec::new() };
        for (key, before, change) in changes {
            self.page_requests(key, before, change, together, &mut outgoing)?;
        }
        outgoing.requests.extend(alone.iter().filter_map(|write| Request::of(write)));
        Ok(Some(outgoing))
    }

    fn page_requests<'a>(
        &self,
        key: &Key,
        before: &'a Arc<Page>,
        change: Change,
        together: bool,
        outgoing: &mut Outgoing<'a>,
    ) -> Result<(), StoreError> {
        let at = |sk: &str| own_key(&key.pk, sk);
        match change.page {
            Some(mut page) => {
                let not_packed =
                    || StoreError::Invalid(format!("page {} {} cannot be packed", key.pk, key.sk));
                let (packed, chunk) = page.shed(key, &self.layout, together).ok_or_else(not_packed)?;
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
                Own::Make(new, rev) => {
                    let update =
                        item::update_after(&new, rev.saturating_sub(1), On::Guard(Guard::Absent), None);
                    Request::Update(new.key, update)
                }
                Own::Again(new, guard) => {
                    let update = item::update(&new, there(guard), None);
                    Request::Update(new.key, update)
                }
                Own::Drop(sk, guard) => Request::Delete(at(&sk), there(guard)),
                Own::Look(sk, guard) => Request::Check(at(&sk), there(guard)),
            });
        }
        Ok(())
    }

    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<Sent, StoreError> {
        let verdict = match outgoing.requests.as_slice() {
            [] => None,
            // After a lost answer the SDK sends a page again, and then it bears the very tag it was to get.
            [Request::Update(key, update)] if !outgoing.pages.is_empty() => {
                self.send_update(key, update).await?
            }
            requests => self.send_together(requests).await?,
        };
        match verdict {
            None => Ok(Sent::Done),
            Some(Verdict::Failed(_) | Verdict::Busy) => Ok(Sent::Met),
            Some(Verdict::Invalid) => Err(not_a_write()),
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
