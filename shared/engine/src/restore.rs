//! After a restore from backup.
//!
//! The store has forgotten what was done since the backup, the gateways have not, and their idempotency keys
//! may be dead. So act only reads until every connection was swept clean: swept, and nothing found any more
//! that happened before the restore and is not known. Gateways come first, so that what they did is known
//! before the shop's orders ask for anything. Whatever was decided until then is looked up by its own id,
//! which is the same as before the restore, and is sent only where the provider does not know it; a notice
//! is not sent again; what nobody can find out goes to a person. Erasures made since the backup are applied again from the list kept beside it.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tillway_core::ids::{ConnectionName, PersonId};
use tillway_core::time::{Millis, Timestamp};

use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Item, Key, NewItem, Severity, StoreError, Write};
use crate::records::{CommandRecord, Event, Origin};

/// What was found is worked in seconds. What is not known after this long stands in the way of nothing else.
const PATIENCE: Millis = Millis::hours(1);

#[derive(Serialize, Deserialize)]
struct Restoring {
    since: Timestamp,
    /// Connections not swept clean yet.
    left: BTreeSet<ConnectionName>,
    /// When the last one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over: Option<Timestamp>,
}

/// What this engine knows of the restore of its store.
#[derive(Default)]
pub(crate) struct RestoreMode(RwLock<Option<Restored>>);

#[derive(Clone, Copy)]
struct Restored {
    since: Timestamp,
    over: Option<Timestamp>,
}

impl RestoreMode {
    fn get(&self) -> Option<Restored> {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn set(&self, known: Option<Restored>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

fn key() -> Key {
    Key::new("system#restore", "state")
}

fn put(state: &Restoring, guard: Guard) -> Result<Write, WorkError> {
    let body = serde_json::to_vec(state)?;
    Ok(Write::Put(NewItem { key: key(), body, due: None, list: None, expires: None }, guard))
}

impl Engine {
    /// Marks the store as restored from a backup, and applies erasures again.
    ///
    /// # Errors
    /// [`WorkError`]; repeating it is safe.
    pub async fn begin_restore(&self, erased: &[PersonId]) -> Result<(), WorkError> {
        let now = self.now();
        self.erase_again(erased, now).await?;
        let left = self.config.used().map(|(connection, _)| connection.name.clone()).collect();
        let state = Restoring { since: now, left, over: None };
        self.ports.store.transact(vec![put(&state, Guard::Any)?]).await?;
        self.restore.set(Some(Restored { since: now, over: None }));
        Ok(())
    }

    /// Reads the mark; once, at start.
    pub(crate) async fn load_restore(&self) -> Result<(), WorkError> {
        let state = self.restore_state().await?.map(|(state, _)| state);
        self.restore.set(state.map(|s| Restored { since: s.since, over: s.over }));
        Ok(())
    }

    /// Looks whether a restore is over, where this engine was last told that one is going on: another
    /// process may have swept the last connection. Costs a read while it goes on, and nothing otherwise. A
    /// restore that begins needs no looking out for: the backup becomes a new table, and processes that are
    /// given it start anew.
    ///
    /// # Errors
    /// [`WorkError`] where the store does not answer.
    pub async fn refresh_restore(&self) -> Result<(), WorkError> {
        if self.restoring() { self.load_restore().await } else { Ok(()) }
    }

    async fn restore_state(&self) -> Result<Option<(Restoring, Item)>, WorkError> {
        let Some(item) = self.ports.store.get(&[key()]).await?.into_iter().flatten().next() else {
            return Ok(None);
        };
        Ok(Some((serde_json::from_slice(&item.body)?, item)))
    }

    /// Whether act may only read.
    #[must_use]
    pub fn restoring(&self) -> bool {
        self.restore.get().is_some_and(|r| r.over.is_none())
    }

    /// Whether something happened before the restore, while that is not over: its webhook came to a store
    /// that is gone, and will not come again.
    pub(crate) fn forgotten(&self, at: Timestamp) -> bool {
        self.restore.get().is_some_and(|r| r.over.is_none() && at <= r.since)
    }

    /// Whether what is decided on an event may follow from what happened before the restore: the event is of
    /// that time, or tells the end of a command that is, or lets go on what stood still in an order of that time.
    pub(crate) fn follows_forgotten(
        &self,
        event: &Event,
        ended: Option<&CommandRecord>,
        order_since: Timestamp,
    ) -> bool {
        let Some(Restored { since, over }) = self.restore.get() else { return false };
        let Some(over) = over else { return true };
        match event.origin {
            Origin::Webhook | Origin::Sweep => event.created_at.is_some_and(|at| at <= since),
            Origin::Result => ended.is_none_or(|command| self.may_be_done(command)),
            Origin::Wake | Origin::Replay | Origin::Triage => order_since <= over,
        }
    }

    /// Whether a command may have been done in the time that was forgotten.
    pub(crate) fn may_be_done(&self, command: &CommandRecord) -> bool {
        let decided_before =
            |r: Restored| r.over.is_none_or(|over| command.forgotten || command.created_at <= over);
        self.restore.get().is_some_and(decided_before)
    }

    /// Whether a connection's sweep has to wait: a shop's for the gateways it is paired with.
    pub(crate) async fn waits_for_gateway(&self, connection: &ConnectionName) -> Result<bool, WorkError> {
        if !self.restoring() {
            return Ok(false);
        }
        let Some((state, _)) = self.restore_state().await? else { return Ok(false) };
        Ok(self.config.pairs.iter().any(|p| p.shop == *connection && state.left.contains(&p.gateway)))
    }

    /// A connection was swept; `unknown` counts what was found that happened before the restore and was not
    /// known. After the last clean one act may act again. Answers whether this one is.
    pub(crate) async fn swept(&self, connection: &ConnectionName, unknown: u64) -> Result<bool, WorkError> {
        let (Some(known), true) = (self.restore.get(), self.restoring()) else { return Ok(true) };
        let now = self.now();
        if unknown > 0 && now.since(known.since) <= PATIENCE {
            return Ok(false);
        }
        if unknown > 0 {
            let text = format!(
                "{unknown} event(s) of {connection} from before the restore could not be worked; look at the log and at \
                 `tillway parked list`"
            );
            self.alert("restore_incomplete", Severity::Critical, None, text).await;
        }
        let Some((mut state, item)) = self.restore_state().await? else {
            self.restore.set(None);
            return Ok(true);
        };
        state.left.remove(connection);
        // What is used no more is swept by nobody.
        state.left.retain(|left| self.config.is_used(left));
        let over = state.left.is_empty();
        if over {
            state.over.get_or_insert(now);
        }
        match self.ports.store.transact(vec![put(&state, Guard::Rev(item.rev))?]).await {
            Ok(()) if over => {
                self.restore.set(Some(Restored { since: state.since, over: state.over }));
                let text = "every connection was swept after the restore; commands are sent again".to_owned();
                self.alert("restore_done", Severity::Warning, None, text).await;
            }
            // Where another sweep wrote it, the next sweep of this connection says it again.
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}
