//! The store: items by key, and the indexes over them.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tillway_core::time::Timestamp;
use tillway_engine::ports::{
    Due, Guard, Item, ItemPage, Key, MAX_BODY, MAX_WRITES, NewItem, Store, StoreError, Write,
};

use super::Shared;
use super::writer::{Reply, Request};

/// Most keys of one `get`.
const MAX_GET: usize = 100;

const COLUMNS: &str = "pk, sk, rev, due_shard, due_at, list, list_sort, expires, body";

/// [`Store`] over the file.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

impl SqliteStore {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Removes at most `limit` items that expired before `before`; tells how many there were. Called now and
    /// then by the process's schedule.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn purge_expired(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        match self.ask(Request::PurgeExpired { before, limit }).await? {
            Reply::Count(count) => Ok(count),
            _ => Err(mixed_up()),
        }
    }

    async fn ask(&self, request: Request) -> Result<Reply, StoreError> {
        self.shared.writer.ask(request).await.map_err(StoreError::Unavailable)
    }

    /// Reads where it is asked for: right for reads of microseconds.
    fn read_here<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.shared.readers.read(work).map_err(|e| StoreError::Unavailable(e.to_string()))
    }

    /// Reads on the blocking pool: right for whatever may walk many pages.
    async fn read_aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || shared.readers.read(work)).await;
        done.map_err(|e| StoreError::Unavailable(e.to_string()))?
            .map_err(|e| StoreError::Unavailable(e.to_string()))
    }
}

fn mixed_up() -> StoreError {
    StoreError::Unavailable("the writer answered another question".into())
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        if keys.len() > MAX_GET {
            return Err(StoreError::Invalid(format!("{} keys in one get, at most {MAX_GET}", keys.len())));
        }
        self.read_here(|connection| {
            // One snapshot for several keys: the file's locks are taken once.
            let snapshot = if keys.len() > 1 { Some(connection.unchecked_transaction()?) } else { None };
            let mut select = connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM items WHERE pk = ?1 AND sk = ?2"))?;
            let rows = keys.iter().map(|key| select.query_row([&key.pk, &key.sk], item).optional());
            let found = rows.collect::<Result<_, _>>()?;
            snapshot.map_or(Ok(()), rusqlite::Transaction::commit)?;
            Ok(found)
        })
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        check(&writes)?;
        match self.ask(Request::Transact(writes)).await? {
            Reply::Done => Ok(()),
            Reply::Conflict(place) => Err(StoreError::Conflict(place)),
            _ => Err(mixed_up()),
        }
    }

    async fn query(
        &self,
        pk: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        // One bound only, so that the index is entered at the right place.
        let (comparison, from) = match after {
            Some(after) if after >= prefix => (">", after),
            _ => (">=", prefix),
        };
        let limit = limit.max(1);
        let mut items = self.read_here(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM items WHERE pk = ?1 AND sk {comparison} ?2 ORDER BY sk LIMIT ?3"
            ))?;
            let rows = select.query_map(params![pk, from, limit_of(limit)], item)?;
            rows.take_while(|row| row.as_ref().map_or(true, |item| item.key.sk.starts_with(prefix)))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let next = cut(&mut items, limit, |item| item.key.sk.clone());
        Ok(ItemPage { items, next })
    }

    async fn list(
        &self,
        list: &str,
        after: Option<&str>,
        descending: bool,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        let (comparison, order) = if descending { ("<", "DESC") } else { (">", "ASC") };
        let after: Option<[String; 3]> = after.map(cursor_of).transpose()?;
        let list = list.to_owned();
        let limit = limit.max(1);
        let mut items = self
            .read_aside(move |connection| {
                let bound = if after.is_some() {
                    format!("AND (list_sort, pk, sk) {comparison} (?3, ?4, ?5)")
                } else {
                    String::new()
                };
                let mut select = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM items WHERE list = ?1 {bound}
                     ORDER BY list_sort {order}, pk {order}, sk {order} LIMIT ?2"
                ))?;
                match &after {
                    Some([sort, pk, sk]) => {
                        select.query_map(params![list, limit_of(limit), sort, pk, sk], item)?.collect()
                    }
                    None => select.query_map(params![list, limit_of(limit)], item)?.collect(),
                }
            })
            .await?;
        let next = cut(&mut items, limit, |item| {
            let sort = item.list.as_ref().map_or("", |(_, sort)| sort.as_str());
            cursor(&[sort, &item.key.pk, &item.key.sk])
        });
        Ok(ItemPage { items, next })
    }

    async fn due(&self, shard: u16, until: Timestamp, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.read_aside(move |connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM items WHERE due_shard = ?1 AND due_at <= ?2
                 ORDER BY due_at, pk, sk LIMIT ?3"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            select.query_map(params![shard, until.0, limit], item)?.collect()
        })
        .await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ItemPage, StoreError> {
        let after: Option<[String; 2]> = after.map(cursor_of).transpose()?;
        let limit = limit.max(1);
        let mut items = self
            .read_aside(move |connection| {
                let bound = if after.is_some() { "WHERE (pk, sk) > (?2, ?3)" } else { "" };
                let mut select = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM items {bound} ORDER BY pk, sk LIMIT ?1"
                ))?;
                match &after {
                    Some([pk, sk]) => select.query_map(params![limit_of(limit), pk, sk], item)?.collect(),
                    None => select.query_map(params![limit_of(limit)], item)?.collect(),
                }
            })
            .await?;
        let next = cut(&mut items, limit, |item| cursor(&[&item.key.pk, &item.key.sk]));
        Ok(ItemPage { items, next })
    }
}

/// One row more than asked for, to know whether there is a next page.
fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// Cuts a list read by [`limit_of`] to its limit; tells where the next page begins.
fn cut(items: &mut Vec<Item>, limit: usize, place: impl Fn(&Item) -> String) -> Option<String> {
    if items.len() <= limit {
        return None;
    }
    items.truncate(limit);
    items.last().map(place)
}

fn cursor(parts: &[&str]) -> String {
    serde_json::Value::from(parts).to_string()
}

fn cursor_of<const N: usize>(text: &str) -> Result<[String; N], StoreError> {
    let parts: Option<Vec<String>> = serde_json::from_str(text).ok();
    parts
        .and_then(|parts| parts.try_into().ok())
        .ok_or_else(|| StoreError::Invalid("`after` is not a `next` of this listing".into()))
}

/// What DynamoDB would refuse is refused here too.
fn check(writes: &[Write]) -> Result<(), StoreError> {
    if writes.len() > MAX_WRITES {
        return Err(StoreError::Invalid(format!("{} writes, at most {MAX_WRITES}", writes.len())));
    }
    let mut keys = HashSet::with_capacity(writes.len());
    for (place, write) in writes.iter().enumerate() {
        if !keys.insert(write.key()) {
            return Err(StoreError::Invalid(format!("write {place} has the key of an earlier one")));
        }
        if let Write::Put(item, _) = write
            && item.body.len() > MAX_BODY
        {
            return Err(StoreError::Invalid(format!(
                "the body of write {place} has {} bytes, at most {MAX_BODY}",
                item.body.len()
            )));
        }
    }
    Ok(())
}

/// Checks every guard, then writes.
pub(super) fn transact(connection: &Connection, writes: &[Write]) -> Result<Reply, rusqlite::Error> {
    let mut found = Vec::with_capacity(writes.len());
    {
        let mut select = connection.prepare_cached("SELECT rev FROM items WHERE pk = ?1 AND sk = ?2")?;
        for (place, write) in writes.iter().enumerate() {
            let key = write.key();
            let rev: Option<i64> = select.query_row([&key.pk, &key.sk], |row| row.get(0)).optional()?;
            let (Write::Put(_, guard) | Write::Delete(_, guard) | Write::Check(_, guard)) = write;
            let holds = match guard {
                Guard::Absent => rev.is_none(),
                Guard::Rev(expected) => {
                    rev.is_some_and(|rev| u64::try_from(rev).is_ok_and(|r| r == *expected))
                }
                Guard::Any => true,
            };
            if !holds {
                return Ok(Reply::Conflict(place));
            }
            found.push(rev);
        }
    }
    for (write, rev) in writes.iter().zip(found) {
        match write {
            Write::Put(item, _) => put(connection, item, rev)?,
            Write::Delete(key, _) if rev.is_some() => {
                connection
                    .prepare_cached("DELETE FROM items WHERE pk = ?1 AND sk = ?2")?
                    .execute([&key.pk, &key.sk])?;
            }
            Write::Delete(..) | Write::Check(..) => {}
        }
    }
    Ok(Reply::Done)
}

fn put(connection: &Connection, item: &NewItem, rev: Option<i64>) -> Result<(), rusqlite::Error> {
    let sql = if rev.is_some() {
        "UPDATE items SET rev = ?3, due_shard = ?4, due_at = ?5, list = ?6, list_sort = ?7, expires = ?8, body = ?9
         WHERE pk = ?1 AND sk = ?2"
    } else {
        "INSERT INTO items (pk, sk, rev, due_shard, due_at, list, list_sort, expires, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    };
    connection.prepare_cached(sql)?.execute(params![
        item.key.pk,
        item.key.sk,
        rev.unwrap_or(0).saturating_add(1),
        item.due.map(|due| due.shard),
        item.due.map(|due| due.at.0),
        item.list.as_ref().map(|(list, _)| list),
        item.list.as_ref().map(|(_, sort)| sort),
        item.expires.map(|at| at.0),
        item.body,
    ])?;
    Ok(())
}

pub(super) fn purge_expired(
    connection: &Connection,
    before: Timestamp,
    limit: usize,
) -> Result<Reply, rusqlite::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let count = connection
        .prepare_cached(
            "DELETE FROM items WHERE (pk, sk) IN
             (SELECT pk, sk FROM items WHERE expires < ?1 ORDER BY expires LIMIT ?2)",
        )?
        .execute(params![before.0, limit])?;
    Ok(Reply::Count(count))
}

fn item(row: &Row<'_>) -> Result<Item, rusqlite::Error> {
    let due: Option<Due> = match (row.get(3)?, row.get(4)?) {
        (Some(shard), Some(at)) => Some(Due { shard, at: Timestamp(at) }),
        _ => None,
    };
    let rev: i64 = row.get(2)?;
    let list: Option<String> = row.get(5)?;
    let sort: Option<String> = row.get(6)?;
    let expires: Option<i64> = row.get(7)?;
    Ok(Item {
        key: Key { pk: row.get(0)?, sk: row.get(1)? },
        rev: u64::try_from(rev).unwrap_or(0),
        body: row.get(8)?,
        due,
        list: list.zip(sort),
        expires: expires.map(Timestamp),
    })
}
