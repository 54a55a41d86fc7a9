//! After a restore from backup.
//!
//! The store has forgotten what was done since the backup, the gateways have not. So act only reads until every
//! connection was swept: a command decided in that time is looked up by its own id, which is the same as
//! before the restore, and is sent only where the provider does not know it. Erasures made since the backup
//! are applied again from the list kept beside it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tillway_core::ids::{ConnectionName, PersonId};
use tillway_core::time::Timestamp;

use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Key, NewItem, Severity, StoreError, Write};
use crate::records::{PersonKey, person_key};

#[derive(Serialize, Deserialize)]
struct Restoring {
    since: Timestamp,
    /// Connections not swept yet.
    left: BTreeSet<ConnectionName>,
}

/// Whether this engine works on a restored store.
#[derive(Default)]
pub(crate) struct RestoreMode(AtomicBool);

fn key() -> Key {
    Key::new("system#restore", "state")
}

impl Engine {
    /// Marks the store as restored from a backup, and applies erasures again.
    ///
    /// # Errors
    /// [`WorkError`]; repeating it is safe.
    pub async fn begin_restore(&self, erased: &[PersonId]) -> Result<(), WorkError> {
        let now = self.now();
        for person in erased {
            let item = NewItem {
                key: person_key(person),
                body: serde_json::to_vec(&PersonKey::Erased { at: now })?,
                due: None,
                list: Some(("erasures".to_owned(), format!("{}#{person}", now.rfc3339()))),
                expires: None,
            };
            self.ports.store.transact(vec![Write::Put(item, Guard::Any)]).await?;
        }
        let left = self.config.connections.keys().cloned().collect();
        let body = serde_json::to_vec(&Restoring { since: now, left })?;
        let item = NewItem { key: key(), body, due: None, list: None, expires: None };
        self.ports.store.transact(vec![Write::Put(item, Guard::Any)]).await?;
        self.restore.0.store(true, Ordering::Release);
        Ok(())
    }

    /// Reads the mark; once, at start.
    pub(crate) async fn load_restore(&self) -> Result<(), WorkError> {
        let marked = self.ports.store.get(&[key()]).await?.iter().any(Option::is_some);
        self.restore.0.store(marked, Ordering::Release);
        Ok(())
    }

    /// Whether act may only read.
    #[must_use]
    pub fn restoring(&self) -> bool {
        self.restore.0.load(Ordering::Acquire)
    }

    /// A connection was swept; after the last one act may act again.
    pub(crate) async fn swept(&self, connection: &ConnectionName) -> Result<(), WorkError> {
        if !self.restoring() {
            return Ok(());
        }
        let Some(item) = self.ports.store.get(&[key()]).await?.into_iter().flatten().next() else {
            self.restore.0.store(false, Ordering::Release);
            return Ok(());
        };
        let mut state: Restoring = serde_json::from_slice(&item.body)?;
        state.left.remove(connection);
        let write = if state.left.is_empty() {
            Write::Delete(key(), Guard::Rev(item.rev))
        } else {
            let body = serde_json::to_vec(&state)?;
            Write::Put(
                NewItem { key: key(), body, due: None, list: None, expires: None },
                Guard::Rev(item.rev),
            )
        };
        match self.ports.store.transact(vec![write]).await {
            Ok(()) if state.left.is_empty() => {
                self.restore.0.store(false, Ordering::Release);
                let text = "every connection was swept after the restore; commands are sent again".to_owned();
                self.alert("restore_done", Severity::Warning, None, text).await;
                Ok(())
            }
            // Another sweep wrote it: the next sweep of this connection says it again.
            Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
