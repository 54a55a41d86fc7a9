//! Reading through pages (see `page.rs`): an entry is where its page says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tillway_engine::ports::{Guard, Item, Key, StoreError, Write};

use super::layout::{chunk_key, own_key};
use super::page::{Page, Place, unpack_chunk};
use super::{DynamoStore, MAX_KEYS, unique};
use crate::item::{self, Attributes};

/// Pages kept of those read or written last: what a decision read is what it writes. More than twice what one read brings
/// ([`MAX_KEYS`], as the tick does).
const KEPT: usize = 256;
/// And their bytes: a page may have 200 KB, and a function some megabytes.
const KEPT_BYTES: usize = 1024 * 1024;
/// How often a read begins anew because entries moved meanwhile.
pub(super) const MOVED: u32 = 8;

/// Pages as they were read or written last. They only save reads: every write is under the condition that the page is
/// still that.
#[derive(Default)]
pub(super) struct Kept(Mutex<Stock>);

#[derive(Default)]
struct Stock {
    pages: HashMap<Key, Arc<Page>>,
    bytes: usize,
}

impl Kept {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pages.get(key).cloned()
    }
    pub(super) fn keep(&self, key: Key, page: Arc<Page>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = page.bytes();
        if kept.pages.len() >= KEPT || kept.bytes.saturating_add(bytes) > KEPT_BYTES {
            *kept = Stock::default();
        }
        kept.bytes = kept.bytes.saturating_add(bytes);
        if let Some(before) = kept.pages.insert(key, page) {
            kept.bytes = kept.bytes.saturating_sub(before.bytes());
        }
    }
}

/// The page of an item of the table.
pub(super) fn read_page(key: &Key, attributes: &Attributes) -> Result<Page, StoreError> {
    let other = || {
        let what = format!(
            "item {} {} is no page: the table was written by another version; see infra/DEPLOY.md, \"Upgrade\"",
            key.pk, key.sk
        );
        StoreError::Invalid(what)
    };
    let tag = item::text_of(attributes, "by").ok_or_else(other)?;
    let body = attributes.get("body").and_then(|body| body.as_b().ok()).ok_or_else(other)?;
    let (due, list) = (item::read_due(attributes), item::read_list(attributes));
    Page::unpack(body.as_ref(), tag, due, list.as_ref()).ok_or_else(other)
}

impl DynamoStore {
    /// Reads items alone and pages at once; at most 100 keys. A page that is not there is an empty one.
    pub(super) async fn fetch_pages(
        &self,
        alone: &[Key],
        pages: &[Key],
    ) -> Result<(HashMap<Key, Attributes>, HashMap<Key, Arc<Page>>), StoreError> {
        let keys: Vec<Key> = alone.iter().chain(pages).cloned().collect();
        let mut found = if keys.is_empty() { HashMap::new() } else { self.fetch(&unique(&keys)).await? };
        let mut out = HashMap::new();
        for key in pages {
            let page = match found.remove(key) {
                Some(attributes) => read_page(key, &attributes)?,
                None => Page::default(),
            };
            let page = Arc::new(page);
            self.kept.keep(key.clone(), page.clone());
            out.insert(key.clone(), page);
        }
        Ok((found, out))
    }

    /// Bodies of chunks, by their keys.
    async fn chunks(&self, keys: Vec<Key>) -> Result<HashMap<Key, BTreeMap<String, Vec<u8>>>, StoreError> {
        let mut out = HashMap::new();
        for keys in keys.chunks(MAX_KEYS) {
            for (key, attributes) in self.fetch(keys).await? {
                let body = attributes.get("body").and_then(|body| body.as_b().ok());
                let bodies = body.and_then(|body| unpack_chunk(body.as_ref())).ok_or_else(|| {
                    StoreError::Invalid(format!("item {} {} is not of ours: body", key.pk, key.sk))
                })?;
                out.insert(key, bodies);
            }
        }
        Ok(out)
    }

    /// The entries of pages that are wanted, in the order asked; `None` where one moved since the page was read.
    pub(super) async fn entries(
        &self,
        wanted: &[(&Arc<Page>, Key)],
    ) -> Result<Option<Vec<Option<Item>>>, StoreError> {
        let (mut chunks, mut own) = (BTreeSet::new(), Vec::new());
        for (page, key) in wanted {
            match page.entries.get(&key.sk).map(|entry| &entry.place) {
                Some(Place::Own) => own.push(own_key(&key.pk, &key.sk)),
                Some(Place::Chunk(number)) => drop(chunks.insert(chunk_key(&key.pk, *number))),
                Some(Place::Here(_)) | None => {}
            }
        }
        let chunks = self.chunks(chunks.into_iter().collect()).await?;
        let mut own_items = HashMap::new();
        for keys in unique(&own).chunks(MAX_KEYS) {
            own_items.extend(self.fetch(keys).await?);
        }
        let mut out = Vec::with_capacity(wanted.len());
        for (page, key) in wanted {
            let Some(entry) = page.entries.get(&key.sk) else {
                out.push(None);
                continue;
            };
            let item = match &entry.place {
                Place::Here(body) => entry.item(key.clone(), body.clone()),
                Place::Chunk(number) => {
                    let chunk = chunks.get(&chunk_key(&key.pk, *number));
                    let body = chunk.and_then(|bodies| bodies.get(&key.sk)).ok_or_else(|| {
                        StoreError::Invalid(format!("entry {} {} is in no chunk", key.pk, key.sk))
                    })?;
                    entry.item(key.clone(), body.clone())
                }
                Place::Own => match own_items.get(&own_key(&key.pk, &key.sk)).cloned() {
                    Some(attributes) => Item { key: key.clone(), ..item::read(attributes)? },
                    None => return Ok(None),
                },
            };
            out.push(Some(item));
        }
        Ok(Some(out))
    }

    /// Reads items by key, wherever they lie, in the order asked.
    pub(super) async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let alone: Vec<Key> = keys.iter().filter(|key| (self.layout.page)(key).is_none()).cloned().collect();
        for tried in 0..MOVED {
            let pages: Vec<Key> =
                unique(&keys.iter().filter_map(|key| self.layout.page_key(key)).collect::<Vec<_>>());
            let (found, pages) = self.fetch_pages(&alone, &pages).await?;
            let paged = keys.iter().filter_map(|key| {
                let page = pages.get(&self.layout.page_key(key)?)?;
                Some((page, key.clone()))
            });
            let Some(entries) = self.entries(&paged.collect::<Vec<_>>()).await? else {
                self.pause(tried).await;
                continue;
            };
            let mut entries = entries.into_iter();
            let item = |key: &Key| match (self.layout.page)(key) {
                Some(_) => Ok(entries.next().flatten()),
                None => found.get(key).cloned().map(item::read).transpose(),
            };
            return keys.iter().map(item).collect();
        }
        Err(moving())
    }

    /// The place of the first write whose guard does not hold now.
    pub(super) async fn first_failed(&self, writes: &[Write]) -> Result<Option<usize>, StoreError> {
        let keys: Vec<Key> = writes.iter().map(|write| write.key().clone()).collect();
        let items = self.read(&keys).await?;
        Ok(writes.iter().zip(items).position(|(write, item)| {
            let (Write::Put(_, guard) | Write::Delete(_, guard) | Write::Check(_, guard)) = write;
            match (guard, item) {
                (Guard::Any, _) | (Guard::Absent, None) => false,
                (Guard::Rev(rev), Some(item)) => item.rev != *rev,
                (Guard::Absent, Some(_)) | (Guard::Rev(_), None) => true,
            }
        }))
    }
}

pub(super) fn moving() -> StoreError {
    StoreError::Unavailable("entries of a page moved while they were read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::page::Entry;

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes() {
        let page = |bytes: usize| {
            let place = Place::Here(vec![0; bytes]);
            let entry = Entry { rev: 1, due: None, list: None, place };
            Arc::new(Page { entries: [("state".to_owned(), entry)].into(), ..Page::default() })
        };
        let kept = Kept::default();
        let key = |n: usize| Key::new(format!("order#{n}"), "page");
        let (large, mut most) = (100 * 1024, (0, 0));
        for n in 0..50 {
            // Put again, it counts once.
            kept.keep(key(n), page(large));
            kept.keep(key(n), page(large));
            let stock = kept.0.lock().unwrap();
            let bytes: usize = stock.pages.values().map(|page| page.bytes()).sum();
            assert_eq!(stock.bytes, bytes);
            most = most.max((stock.pages.len(), bytes));
        }
        assert!(most.0 > 5 && most.1 <= KEPT_BYTES, "{most:?}");
        for n in 0..2 * KEPT {
            kept.keep(key(n), page(1));
            assert!(kept.0.lock().unwrap().pages.len() <= KEPT);
        }
        assert!(kept.get(&key(2 * KEPT - 1)).is_some());
    }
}
