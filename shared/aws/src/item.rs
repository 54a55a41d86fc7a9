//! How an item lies in the table.
//!
//! | attribute | type | what |
//! |---|---|---|
//! | `pk`, `sk` | S | key |
//! | `rev` | N | writes of this key, from 1 |
//! | `body` | B | body, packed (see `pack.rs`) |
//! | `shard`, `at` | N, N | key of the index `due`; absent: not in it |
//! | `list`, `sort` | S, S | key of the index `list`; absent: not in it |
//! | `expires` | N | milliseconds, as the engine wrote it |
//! | `ttl` | N | `expires` in whole seconds, rounded up: what DynamoDB's expiry reads; nothing else does |
//! | `by` | S | who wrote last by a plain write (see [`crate::store`]); of a page: its tag |
//!
//! A page (`store/page.rs`) has `body`, `by` and its places in the indexes; a chunk has `body` alone.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use tillway_core::time::Timestamp;
use tillway_engine::ports::{Due, Guard, Item, Key, NewItem, StoreError};

use crate::pack;
use crate::store::page::Page;

/// An item as DynamoDB tells it.
pub(crate) type Attributes = HashMap<String, AttributeValue>;

/// An expression with its names and values, and a condition.
#[derive(Clone)]
pub(crate) struct Update {
    pub(crate) expression: String,
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: Attributes,
    pub(crate) condition: Option<&'static str>,
}

pub(crate) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}
pub(crate) fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn key_of(key: &Key) -> Attributes {
    [("pk".to_owned(), text(&key.pk)), ("sk".to_owned(), text(&key.sk))].into()
}

/// What a write finds where it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On<'a> {
    /// What the port's guard says.
    Guard(Guard),
    /// An item that is there, at this revision where one is named.
    There(Option<u64>),
    /// A page that bears this tag; `None`: none is there.
    Tag(Option<&'a str>),
}

/// The condition of a write, with what it needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    pub(crate) expression: Option<&'static str>,
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: Attributes,
}

/// The condition that a write finds what it should.
pub(crate) fn condition(on: On<'_>) -> Condition {
    let mut condition = Condition::default();
    let (expression, name, seen) = match on {
        On::Guard(Guard::Any) => return condition,
        On::Guard(Guard::Absent) | On::Tag(None) => ("attribute_not_exists(#pk)", "pk", None),
        On::There(None) => ("attribute_exists(#pk)", "pk", None),
        On::Guard(Guard::Rev(rev)) | On::There(Some(rev)) => ("#rev = :seen", "rev", Some(number(rev))),
        On::Tag(Some(tag)) => ("#by = :seen", "by", Some(text(tag))),
    };
    condition.expression = Some(expression);
    condition.names.insert(format!("#{name}"), name.to_owned());
    condition.values.extend(seen.map(|seen| (":seen".to_owned(), seen)));
    condition
}

/// An expression being put together.
struct Build {
    names: HashMap<String, String>,
    values: Attributes,
    set: Vec<String>,
    remove: Vec<String>,
}

impl Build {
    fn new() -> Self {
        Self { names: HashMap::new(), values: Attributes::new(), set: Vec::new(), remove: Vec::new() }
    }

    /// Sets an attribute, or removes it.
    fn put(&mut self, name: &str, value: Option<AttributeValue>) {
        self.names.insert(format!("#{name}"), name.to_owned());
        match value {
            Some(value) => {
                self.values.insert(format!(":{name}"), value);
                self.set.push(format!("#{name} = :{name}"));
            }
            None => self.remove.push(format!("#{name}")),
        }
    }

    fn places(&mut self, due: Option<Due>, list: Option<&(String, String)>) {
        self.put("shard", due.map(|due| number(due.shard)));
        self.put("at", due.map(|due| number(due.at.0)));
        self.put("list", list.map(|(list, _)| text(list)));
        self.put("sort", list.map(|(_, sort)| text(sort)));
    }

    fn done(mut self, on: On<'_>) -> Update {
        let mut expression = format!("SET {}", self.set.join(", "));
        if !self.remove.is_empty() {
            expression.push_str(" REMOVE ");
            expression.push_str(&self.remove.join(", "));
        }
        let condition = condition(on);
        self.names.extend(condition.names);
        self.values.extend(condition.values);
        Update { expression, names: self.names, values: self.values, condition: condition.expression }
    }
}

/// Writes an item: an update rather than a put, for the revision goes on from what is there. What the new
/// item has not is removed, or the old one's place in an index would stay.
pub(crate) fn update(item: &NewItem, on: On<'_>, by: Option<&str>) -> Update {
    update_after(item, 0, on, by)
}

/// The same where the item comes to lie here, after so many writes elsewhere.
pub(crate) fn update_after(item: &NewItem, before: u64, on: On<'_>, by: Option<&str>) -> Update {
    let mut build = Build::new();
    build.set.push("#rev = if_not_exists(#rev, :none) + :one".to_owned());
    build.names.insert("#rev".to_owned(), "rev".to_owned());
    build.values.insert(":none".to_owned(), number(before));
    build.values.insert(":one".to_owned(), number(1));
    build.put("body", Some(AttributeValue::B(Blob::new(pack::pack(&item.body)))));
    build.places(item.due, item.list.as_ref());
    build.put("expires", item.expires.map(|at| number(at.0)));
    build.put("ttl", item.expires.map(|at| number(at.0.saturating_add(999).div_euclid(1000))));
    if let Some(by) = by {
        build.put("by", Some(text(by)));
    }
    build.done(on)
}

/// Writes a page over the one with that tag.
pub(crate) fn update_page(page: &Page, packed: Vec<u8>, before: Option<&str>, tag: &str) -> Update {
    let mut build = Build::new();
    build.put("body", Some(AttributeValue::B(Blob::new(packed))));
    build.places(page.due, page.list());
    build.put("by", Some(text(tag)));
    build.done(On::Tag(before))
}

/// Writes a chunk.
pub(crate) fn update_chunk(packed: Vec<u8>) -> Update {
    let mut build = Build::new();
    build.put("body", Some(AttributeValue::B(Blob::new(packed))));
    build.done(On::Guard(Guard::Any))
}

pub(crate) fn text_of(attributes: &Attributes, name: &str) -> Option<String> {
    attributes.get(name).and_then(|value| value.as_s().ok()).cloned()
}
fn number_of<T: std::str::FromStr>(attributes: &Attributes, name: &str) -> Option<T> {
    attributes.get(name).and_then(|value| value.as_n().ok()).and_then(|n| n.parse().ok())
}

/// The key of an item or an index entry.
pub(crate) fn read_key(attributes: &Attributes) -> Result<Key, StoreError> {
    let read = text_of(attributes, "pk").zip(text_of(attributes, "sk"));
    let (pk, sk) = read.ok_or_else(|| StoreError::Invalid("an item without pk and sk".to_owned()))?;
    Ok(Key { pk, sk })
}

/// The place of an item or entry in the index `due`.
pub(crate) fn read_due(attributes: &Attributes) -> Option<Due> {
    let shard = number_of(attributes, "shard")?;
    Some(Due { shard, at: Timestamp(number_of(attributes, "at")?) })
}

/// The place of an item or entry in the index `list`.
pub(crate) fn read_list(attributes: &Attributes) -> Option<(String, String)> {
    text_of(attributes, "list").zip(text_of(attributes, "sort"))
}

/// Reads an item.
pub(crate) fn read(mut attributes: Attributes) -> Result<Item, StoreError> {
    let key = read_key(&attributes)?;
    let shape = || StoreError::Invalid(format!("item {} {} is not of ours: rev or body", key.pk, key.sk));
    let rev = number_of(&attributes, "rev").ok_or_else(shape)?;
    let body = match attributes.remove("body") {
        Some(AttributeValue::B(body)) => pack::unpack(body.as_ref()).ok_or_else(shape)?,
        _ => return Err(shape()),
    };
    let due = read_due(&attributes);
    let list = read_list(&attributes);
    let expires = number_of(&attributes, "expires").map(Timestamp);
    Ok(Item { key, rev, body, due, list, expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> NewItem {
        let due = Some(Due { shard: 3, at: Timestamp(1_795_248_000_123) });
        NewItem { key: Key::new("p", "s"), body: vec![0, 255], due, list: None, expires: None }
    }

    #[test]
    fn what_an_item_has_not_is_removed() {
        let update = update(&item(), On::Guard(Guard::Rev(7)), None);
        assert_eq!(
            update.expression,
            "SET #rev = if_not_exists(#rev, :none) + :one, #body = :body, #shard = :shard, #at = :at \
             REMOVE #list, #sort, #expires, #ttl"
        );
        assert_eq!(update.condition, Some("#rev = :seen"));
        assert_eq!(update.values[":seen"], number(7));
        for name in update.names.keys() {
            let used = update.expression.contains(name.as_str())
                || update.condition.is_some_and(|c| c.contains(name.as_str()));
            assert!(used, "{name} is not used: DynamoDB refuses that");
        }
    }

    #[test]
    fn expiry_is_never_early() {
        let expires = NewItem { expires: Some(Timestamp(1_001)), ..item() };
        let update = update(&expires, On::Guard(Guard::Any), Some("me"));
        assert_eq!((&update.values[":ttl"], &update.values[":expires"]), (&number(2), &number(1001)));
        assert!(update.condition.is_none() && update.expression.contains("#by = :by"));
    }

    #[test]
    fn an_item_that_is_not_ours_is_named() {
        let Err(StoreError::Invalid(said)) = read(key_of(&Key::new("p", "s"))) else { panic!("read") };
        assert!(said.contains("item p s"), "{said}");
    }
}
