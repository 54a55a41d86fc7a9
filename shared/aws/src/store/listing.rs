//! Listings through pages: what an index or a scan names is an item alone, an entry's own item, or a page.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tillway_core::time::Timestamp;
use tillway_engine::ports::{Item, ItemPage, Key, StoreError};

use super::layout::{Layout, OWN};
use super::page::Page;
use super::pages::{MOVED, moving, read_page};
use super::{DynamoStore, MAX_KEYS, from_token, limit_of, refused, token, unique};
use crate::item::{self, Attributes};

/// Entries of the index `due` that are read at once, at least, where as many as were asked for did not suffice.
const MORE: usize = 25;

/// What stands behind the entries of an index, read after them and consistently: what no longer is where its entry says is
/// left out.
struct Behind {
    layout: Layout,
    items: HashMap<Key, Attributes>,
    pages: HashMap<Key, Arc<Page>>,
}

/// What an entry of the index of lists stands for.
enum Listed<'a> {
    Alone(Box<Item>),
    In(&'a Arc<Page>, Key),
}

impl Behind {
    /// Where what an entry of the index of lists stands for lies: in a page, or alone.
    fn listed(&self, entry: &Attributes) -> Result<Option<Listed<'_>>, StoreError> {
        let (key, place) = (item::read_key(entry)?, item::read_list(entry));
        if let Some(page) = self.pages.get(&key) {
            let mut there =
                page.entries.iter().filter(|(_, there)| there.list.is_some() && there.list == place);
            return Ok(there.next().map(|(sk, _)| Listed::In(page, Key::new(key.pk.as_str(), sk.as_str()))));
        }
        let now = self.items.get(&key).filter(|now| item::read_list(now) == place);
        now.cloned().map(|now| self.known(now).map(|item| Listed::Alone(Box::new(item)))).transpose()
    }

    /// The items that an entry of the due index stands for: of a page, all that are due.
    fn due(&self, entry: &Attributes, shard: u16, until: Timestamp) -> Result<Vec<Item>, StoreError> {
        let (key, place) = (item::read_key(entry)?, item::read_due(entry));
        if let Some(page) = self.pages.get(&key) {
            let items = page.entries.keys().filter_map(|sk| page.item(&key.pk, sk));
            let due = |item: &Item| item.due.is_some_and(|due| due.shard == shard && due.at <= until);
            return Ok(items.filter(due).collect());
        }
        let now = self.items.get(&key).filter(|now| item::read_due(now) == place);
        now.cloned().map(|now| self.known(now)).into_iter().collect()
    }

    /// An item as callers know it: an entry's own bears the entry's key.
    fn known(&self, attributes: Attributes) -> Result<Item, StoreError> {
        let mut item = item::read(attributes)?;
        if let Some(sk) = item.key.sk.strip_prefix(OWN) {
            let key = Key::new(item.key.pk.as_str(), sk);
            if (self.layout.page)(&key).is_some() {
                item.key = key;
            }
        }
        Ok(item)
    }
}

impl DynamoStore {
    /// What stands behind index entries, consistently.
    async fn behind(&self, entries: &[Attributes]) -> Result<Behind, StoreError> {
        let keys = entries.iter().map(item::read_key).collect::<Result<Vec<_>, _>>()?;
        let mut out = Behind { layout: self.layout, items: HashMap::new(), pages: HashMap::new() };
        for keys in unique(&keys).chunks(MAX_KEYS) {
            let (pages, alone): (Vec<Key>, Vec<Key>) =
                keys.iter().cloned().partition(|key| self.layout.is_page(key));
            let (items, pages) = self.fetch_pages(&alone, &pages).await?;
            out.items.extend(items);
            out.pages.extend(pages);
        }
        Ok(out)
    }

    pub(super) async fn listed(
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
        let entries = answer.items.unwrap_or_default();
        let behind = self.behind(&entries).await?;
        let found = entries.iter().filter_map(|entry| behind.listed(entry).transpose());
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let in_pages = found.iter().filter_map(|listed| match listed {
            Listed::In(page, key) => Some((*page, key.clone())),
            Listed::Alone(_) => None,
        });
        let bodies = self.entries(&in_pages.collect::<Vec<_>>()).await?.ok_or_else(moving)?;
        let mut bodies = bodies.into_iter();
        let item = |listed| match listed {
            Listed::Alone(item) => Some(*item),
            Listed::In(..) => bodies.next().flatten(),
        };
        Ok(ItemPage { items: found.into_iter().filter_map(item).collect(), next })
    }

    pub(super) async fn fallen_due(
        &self,
        shard: u16,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut out: Vec<Item> = Vec::new();
        let (mut start, mut reached, mut at_once) = (None, Timestamp(i64::MIN), limit);
        loop {
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
                .limit(limit_of(at_once))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|e| refused(&e))?;
            let entries = answer.items.unwrap_or_default();
            let behind = self.behind(&entries).await?;
            for entry in &entries {
                reached = item::read_due(entry).map_or(reached, |place| place.at);
                out.extend(behind.due(entry, shard, until)?);
            }
            start = answer.last_evaluated_key;
            at_once = limit.max(MORE);
            // A page lies in the index where its first entry is due; its others may be due after what is not read yet.
            out.sort_by(|a, b| (a.due.map(|due| due.at)).cmp(&b.due.map(|due| due.at)));
            let sure = out.iter().filter(|item| item.due.is_some_and(|due| due.at <= reached)).count();
            if start.is_none() || sure >= limit {
                out.truncate(limit);
                return Ok(out);
            }
        }
    }

    pub(super) async fn partition(
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
        let limit = limit.clamp(1, 1000);
        let page_key = self.layout.page_key(&Key::new(pk, prefix));
        for tried in 0..MOVED {
            let page = match &page_key {
                Some(key) => self.fetch_pages(&[], std::slice::from_ref(key)).await?.1.remove(key),
                None => None,
            };
            let page = page.unwrap_or_default();
            let within =
                |sk: &&String| sk.starts_with(prefix) && after.is_none_or(|after| sk.as_str() > after);
            let wanted: Vec<(&Arc<Page>, Key)> = page
                .entries
                .keys()
                .filter(within)
                .take(limit.saturating_add(1))
                .map(|sk| (&page, Key::new(pk, sk.as_str())))
                .collect();
            let Some(entries) = self.entries(&wanted).await? else {
                self.pause(tried).await;
                continue;
            };
            let mut found: BTreeMap<String, Item> =
                entries.into_iter().flatten().map(|item| (item.key.sk.clone(), item)).collect();
            // One more than asked tells whether there is a next page.
            for attributes in self.alone_in(pk, prefix, after, limit.saturating_add(1)).await? {
                let item = item::read(attributes)?;
                found.insert(item.key.sk.clone(), item);
            }
            let more = found.len() > limit;
            let items: Vec<Item> = found.into_values().take(limit).collect();
            let next = items.last().filter(|_| more).map(|item| item.key.sk.clone());
            return Ok(ItemPage { items, next });
        }
        Err(moving())
    }

    /// Items of a partition that lie in no page.
    async fn alone_in(
        &self,
        pk: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Attributes>, StoreError> {
        let mut out = Vec::new();
        let mut start = after.map(|after| item::key_of(&Key::new(pk, after)));
        loop {
            let mut query = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .limit(limit_of(limit))
                .expression_attribute_names("#pk", "pk")
                .expression_attribute_values(":pk", item::text(pk))
                .set_exclusive_start_key(start);
            if prefix.is_empty() {
                query = query.key_condition_expression("#pk = :pk");
            } else {
                query = query
                    .key_condition_expression("#pk = :pk AND begins_with(#sk, :prefix)")
                    .expression_attribute_names("#sk", "sk")
                    .expression_attribute_values(":prefix", item::text(prefix));
            }
            let answer = query.send().await.map_err(|e| refused(&e))?;
            for attributes in answer.items.into_iter().flatten() {
                if (self.layout.page)(&item::read_key(&attributes)?).is_none() {
                    out.push(attributes);
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() || out.len() >= limit {
                out.truncate(limit);
                return Ok(out);
            }
        }
    }

    /// Everything, page by page. A page is told with all its entries, wherever they lie; what stands behind it is passed
    /// over. A token is the item read last, and how far into the next page callers were told.
    pub(super) async fn everything(&self, after: Option<&str>, limit: usize) -> Result<ItemPage, StoreError> {
        let [mut last_pk, mut last_sk, within_pk, within] = match after {
            None => Default::default(),
            Some(after) => from_token(after)?,
        };
        let start =
            (!last_pk.is_empty()).then(|| item::key_of(&Key::new(last_pk.as_str(), last_sk.as_str())));
        let limit = limit.clamp(1, 1000);
        let scan = self.client.scan().table_name(&self.table).consistent_read(true).limit(limit_of(limit));
        let answer = scan.set_exclusive_start_key(start).send().await.map_err(|e| refused(&e))?;
        let mut items: Vec<Item> = Vec::new();
        for attributes in answer.items.into_iter().flatten() {
            let key = item::read_key(&attributes)?;
            let paged = (self.layout.page)(&key).is_some();
            if self.layout.is_page(&key) {
                let page = Arc::new(read_page(&key, &attributes)?);
                let told = |sk: &String| key.pk == within_pk && *sk <= within;
                let wanted: Vec<(&Arc<Page>, Key)> = page
                    .entries
                    .keys()
                    .filter(|sk| !told(sk))
                    .map(|sk| (&page, Key::new(key.pk.as_str(), sk.as_str())))
                    .collect();
                let room = limit.saturating_sub(items.len());
                let some = wanted.get(..room).unwrap_or(&wanted);
                let read = match self.entries(some).await? {
                    Some(read) => read,
                    // Moved since: asked by name.
                    None => self.read(&some.iter().map(|(_, key)| key.clone()).collect::<Vec<_>>()).await?,
                };
                items.extend(read.into_iter().flatten());
                if wanted.len() > room {
                    let so_far = if key.pk == within_pk { within.as_str() } else { "" };
                    let told = some.last().map_or(so_far, |(_, key)| key.sk.as_str());
                    let next = token(&[&last_pk, &last_sk, &key.pk, told]);
                    return Ok(ItemPage { items, next: Some(next) });
                }
            } else if !paged {
                if items.len() == limit {
                    return Ok(ItemPage { items, next: Some(token(&[&last_pk, &last_sk, "", ""])) });
                }
                items.push(item::read(attributes)?);
            }
            (last_pk, last_sk) = (key.pk, key.sk);
        }
        let more = answer.last_evaluated_key.is_some();
        Ok(ItemPage { items, next: more.then(|| token(&[&last_pk, &last_sk, "", ""])) })
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::Blob;
    use aws_sdk_dynamodb::types::AttributeValue;
    use tillway_engine::ports::{Due, Guard, NewItem, Write};

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
        let items = [("same", 3), ("moved", 9)].map(|(sk, at)| (Key::new("p", sk), due(sk, at))).into();
        let behind = Behind { layout: Layout::ENGINE, items, pages: HashMap::new() };
        let told = [due("moved", 1), due("gone", 2), due("same", 3)]
            .iter()
            .flat_map(|entry| behind.due(entry, 3, Timestamp(5)).unwrap())
            .map(|item| item.key.sk)
            .collect::<Vec<_>>();
        assert_eq!(told, ["same"]);
    }

    #[test]
    fn of_a_page_is_told_what_is_due_now_whatever_its_entry_says() {
        let put = |sk: &str, at: i64| {
            let due = Some(Due { shard: 3, at: Timestamp(at) });
            let key = Key::new("order#a", sk);
            Write::Put(NewItem { key, body: Vec::new(), due, list: None, expires: None }, Guard::Any)
        };
        let (soon, late) = (put("cmd#1", 4), put("cmd#2", 9));
        let page = Page::default().change(&[&soon, &late]).unwrap().page.unwrap();
        let key = Key::new("order#a", "state");
        let pages = [(key.clone(), Arc::new(page))].into();
        let behind = Behind { layout: Layout::ENGINE, items: HashMap::new(), pages };
        let mut entry = due("", 1);
        entry.extend(item::key_of(&key));
        let told = |until| -> Vec<String> {
            behind.due(&entry, 3, Timestamp(until)).unwrap().into_iter().map(|item| item.key.sk).collect()
        };
        assert_eq!((told(3), told(4)), (vec![], vec!["cmd#1".to_owned()]));
        assert_eq!(told(9), ["cmd#1", "cmd#2"]);
        assert!(behind.due(&entry, 4, Timestamp(9)).unwrap().is_empty(), "another shard");
    }
}
