//! Documents too large for one item: put once under a name, read as a whole, thrown away.
//!
//! They lie in the store, in parts. A name is used by one lease alone (it holds the fence), so a document is never
//! written over by a run that lost its lease. Where documents are to lie elsewhere, this is the place.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Key, NewItem, Write};

/// Bytes of a part.
const PART: usize = 300 * 1024;
/// Parts read or removed at a time.
const AT_A_TIME: usize = 8;

#[derive(Serialize, Deserialize)]
struct Head {
    parts: usize,
    hash: String,
}

fn head_key(name: &str) -> Key {
    Key::new(format!("shelf#{name}"), "head")
}
fn part_key(name: &str, n: usize) -> Key {
    Key::new(format!("shelf#{name}"), format!("part#{n:06}"))
}

impl Engine {
    /// Puts a document; the head comes last, so what has one is whole.
    pub(super) async fn shelve<T: Serialize + Sync>(
        &self,
        name: &str,
        document: &T,
    ) -> Result<(), WorkError> {
        let bytes = serde_json::to_vec(document)?;
        let put =
            |key, body| Write::Put(NewItem { key, body, due: None, list: None, expires: None }, Guard::Any);
        let mut parts = 0_usize;
        for part in bytes.chunks(PART) {
            self.ports.store.transact(vec![put(part_key(name, parts), part.to_vec())]).await?;
            parts = parts.saturating_add(1);
        }
        let head = Head { parts, hash: hex::encode(Sha256::digest(&bytes)) };
        self.ports.store.transact(vec![put(head_key(name), serde_json::to_vec(&head)?)]).await?;
        Ok(())
    }

    /// Reads a document.
    pub(super) async fn shelved<T: DeserializeOwned>(&self, name: &str) -> Result<T, WorkError> {
        let gone = || {
            WorkError::Config(format!("the document {name} is missing or damaged; restore it from a backup"))
        };
        let head = self.ports.store.get(&[head_key(name)]).await?.into_iter().flatten().next();
        let head: Head = serde_json::from_slice(&head.ok_or_else(gone)?.body)?;
        let keys: Vec<Key> = (0..head.parts).map(|n| part_key(name, n)).collect();
        let mut bytes = Vec::new();
        for some in keys.chunks(AT_A_TIME) {
            for item in self.ports.store.get(some).await? {
                bytes.extend(item.ok_or_else(gone)?.body);
            }
        }
        if hex::encode(Sha256::digest(&bytes)) != head.hash {
            return Err(gone());
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Throws a document away; one that is gone already is no fault.
    pub(super) async fn unshelve(&self, name: &str) -> Result<(), WorkError> {
        let head = self.ports.store.get(&[head_key(name)]).await?.into_iter().flatten().next();
        let Some(head) = head else { return Ok(()) };
        let head: Head = serde_json::from_slice(&head.body)?;
        let keys: Vec<Key> = (0..head.parts).map(|n| part_key(name, n)).chain([head_key(name)]).collect();
        for some in keys.chunks(AT_A_TIME) {
            let writes = some.iter().map(|key| Write::Delete(key.clone(), Guard::Any)).collect();
            self.ports.store.transact(writes).await?;
        }
        Ok(())
    }
}
