//! Events: what happened, with the object as it was.

use std::sync::Arc;

use serde_json::Value;
use tillway_core::time::Timestamp;

use super::CybersourceSandbox;
use super::errors::ApiError;
use super::ids::Row;

/// One event.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) kind: String,
    pub(super) data: Value,
}

/// What an event told, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its type.
    pub kind: String,
    /// The transaction it is about.
    pub id: String,
    /// The status it told; empty where it told none.
    pub status: String,
}

impl Event {
    /// The provider numbers no events: one is told from another by what it says.
    pub(super) fn name(&self) -> String {
        let part = |name: &str| self.data.get(name).and_then(Value::as_str).unwrap_or("");
        format!("{}:{}:{}", self.kind, part("id"), part("status"))
    }
}

impl CybersourceSandbox {
    /// Everything that was told, oldest first; events have no ids of their own.
    pub fn all_events(&self) -> impl DoubleEndedIterator<Item = &Told> {
        self.told.iter()
    }

    /// An event about a transaction as it is now.
    pub(super) fn tell(&mut self, row: Row, kind: &str) -> Result<(), ApiError> {
        let mut data = self.data(row)?;
        let sale_taken = kind.starts_with("payments.capture.") && self.payment(row).is_some();
        if let Some(members) = data.as_object_mut().filter(|_| sale_taken) {
            // A sale's capture has the payment's id and its own status.
            members.insert("status".into(), self.tx(row)?.way.name().into());
        }
        self.emit(kind, data);
        Ok(())
    }

    pub(super) fn emit(&mut self, kind: &str, data: Value) {
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        self.told.push(Told { kind: kind.to_owned(), id: text("id"), status: text("status") });
        *self.counters.events_emitted.entry(kind.to_owned()).or_default() += 1;
        self.queue(Arc::new(Event { at: self.now, kind: kind.to_owned(), data }));
    }
}
