//! Documents too large for one item: put once under a name, read as a whole, thrown away.
//!
//! A name is used by one lease alone (it holds the fence), or for the same bytes, so a document is never written over
//! by a run that lost its lease. What is read is compared with the digest it was put with. Where the machine has no
//! better place ([`Shelf`]), documents lie in the store, in parts ([`StoreShelf`]).

use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Key, NewItem, Shelf, Store, StoreError, Write};

/// Bytes of a part.
const PART: usize = 300 * 1024;
/// Parts read or removed at a time.
const AT_A_TIME: usize = 8;

/// [`Shelf`] in a store.
pub struct StoreShelf(Arc<dyn Store>);

impl StoreShelf {
    /// In this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    async fn parts(&self, name: &str) -> Result<Option<Vec<Key>>, StoreError> {
        let head = self.0.get(&[head_key(name)]).await?.into_iter().flatten().next();
        let Some(head) = head else { return Ok(None) };
        let Ok(Head { parts }) = serde_json::from_slice(&head.body) else { return Ok(None) };
        Ok(Some((0..parts).map(|n| part_key(name, n)).collect()))
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    parts: usize,
}

fn head_key(name: &str) -> Key {
    Key::new(format!("shelf#{name}"), "head")
}
fn part_key(name: &str, n: usize) -> Key {
    Key::new(format!("shelf#{name}"), format!("part#{n:06}"))
}

#[async_trait]
impl Shelf for StoreShelf {
    /// The head comes last, so what has one is whole.
    async fn put(&self, name: &str, document: Vec<u8>) -> Result<(), StoreError> {
        let put =
            |key, body| Write::Put(NewItem { key, body, due: None, list: None, expires: None }, Guard::Any);
        let mut parts = 0_usize;
        for part in document.chunks(PART) {
            self.0.transact(vec![put(part_key(name, parts), part.to_vec())]).await?;
            parts = parts.saturating_add(1);
        }
        let head = serde_json::to_vec(&Head { parts }).unwrap_or_default();
        self.0.transact(vec![put(head_key(name), head)]).await
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(keys) = self.parts(name).await? else { return Ok(None) };
        let mut document = Vec::new();
        for some in keys.chunks(AT_A_TIME) {
            for part in self.0.get(some).await? {
                let Some(part) = part else { return Ok(None) };
                document.extend(part.body);
            }
        }
        Ok(Some(document))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let Some(mut keys) = self.parts(name).await? else { return Ok(()) };
        keys.push(head_key(name));
        for some in keys.chunks(AT_A_TIME) {
            let writes = some.iter().map(|key| Write::Delete(key.clone(), Guard::Any)).collect();
            self.0.transact(writes).await?;
        }
        Ok(())
    }
}

/// Separates the digest from the document.
const END_OF_DIGEST: u8 = b'\n';

impl Engine {
    /// Puts a document.
    pub(super) async fn shelve<T: Serialize + Sync>(
        &self,
        name: &str,
        document: &T,
    ) -> Result<(), WorkError> {
        let json = serde_json::to_vec(document)?;
        let mut bytes = hex::encode(Sha256::digest(&json)).into_bytes();
        bytes.push(END_OF_DIGEST);
        bytes.extend(json);
        Ok(self.ports.shelf.put(name, bytes).await?)
    }

    /// Reads a document.
    pub(crate) async fn shelved<T: DeserializeOwned>(&self, name: &str) -> Result<T, WorkError> {
        let found = self.ports.shelf.get(name).await?;
        let whole = found.as_deref().and_then(|bytes| {
            let at = bytes.iter().position(|b| *b == END_OF_DIGEST)?;
            let (digest, json) = (bytes.get(..at)?, bytes.get(at.saturating_add(1)..)?);
            (hex::encode(Sha256::digest(json)).as_bytes() == digest).then_some(json)
        });
        let gone = || {
            WorkError::Config(format!("the document {name} is missing or damaged; restore it from a backup"))
        };
        Ok(serde_json::from_slice(whole.ok_or_else(gone)?)?)
    }

    /// Throws a document away; one that is gone already is no fault.
    pub(super) async fn unshelve(&self, name: &str) -> Result<(), WorkError> {
        Ok(self.ports.shelf.delete(name).await?)
    }
}
