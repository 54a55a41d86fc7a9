//! Erase: a person's key is destroyed, and what still names them in clear goes with it.
//!
//! Facts and journal hold no personal data and stay. Whatever was sealed under the key is noise from then
//! on, in every backup too. Events that were never read as far as the person (parked, unhandled, waiting)
//! are opened and searched, and their content is dropped where it names the person.

use serde::Serialize;
use tillway_core::time::Timestamp;

use crate::engine::{Engine, WorkError};
use crate::parking::parked_item;
use crate::ports::{Guard, Key, NewItem, Write};
use crate::records::{self as rec, ParkedRecord, PersonKey, UnhandledRecord, Waiting};

/// What an erasure did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EraseReport {
    /// Keys destroyed.
    pub keys: u32,
    /// Parked and unhandled events whose content was dropped.
    pub events: u32,
    /// The persons erased: keyed hashes, to be applied again after a restore from backup.
    pub persons: Vec<tillway_core::ids::PersonId>,
}

impl Engine {
    /// Erases a person, named by e-mail address or by the shop's customer id.
    ///
    /// # Errors
    /// [`WorkError`]; repeating it is safe.
    pub async fn erase(&self, person: &str) -> Result<EraseReport, WorkError> {
        let mut report = EraseReport::default();
        let wanted = person.trim().to_lowercase();
        let identities = [format!("mail:{wanted}"), format!("ref:{}", person.trim())];
        let now = self.now();
        for identity in identities {
            let id = self.vault.person(&identity);
            let key = rec::person_key(&id);
            let known = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
            let live = match &known {
                Some(item) => matches!(serde_json::from_slice(&item.body)?, PersonKey::Live { .. }),
                None => false,
            };
            if live {
                report.keys = report.keys.saturating_add(1);
            }
            if known.is_some() {
                report.persons.push(id.clone());
                let item = NewItem {
                    key,
                    body: serde_json::to_vec(&PersonKey::Erased { at: now })?,
                    due: None,
                    // After a restore from backup these are applied again.
                    list: Some(("erasures".to_owned(), format!("{}#{id}", now.rfc3339()))),
                    expires: None,
                };
                self.ports.store.transact(vec![Write::Put(item, Guard::Any)]).await?;
            }
        }
        report.events = self.erase_events(&wanted, now).await?;
        Ok(report)
    }

    async fn erase_events(&self, wanted: &str, _now: Timestamp) -> Result<u32, WorkError> {
        let mut dropped = 0_u32;
        for mut record in self.listing::<ParkedRecord>("parked").await? {
            if self.raw_names(&record.id, record.raw.as_ref(), wanted)? {
                record.raw = None;
                self.ports.store.transact(vec![Write::Put(parked_item(&record)?, Guard::Any)]).await?;
                dropped = dropped.saturating_add(1);
            }
        }
        for mut record in self.listing::<UnhandledRecord>("unhandled").await? {
            let id = format!("unhandled:{}:{}", record.connection, record.event);
            if self.raw_names(&id, record.raw.as_ref(), wanted)? {
                record.raw = None;
                let item = NewItem {
                    body: serde_json::to_vec(&record)?,
                    key: Key::new(id, "item"),
                    due: None,
                    list: Some(("unhandled".to_owned(), format!("{}#{}", record.at.rfc3339(), record.event))),
                    expires: Some(record.at + tillway_core::time::Millis::days(90)),
                };
                self.ports.store.transact(vec![Write::Put(item, Guard::Any)]).await?;
                dropped = dropped.saturating_add(1);
            }
        }
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.list("waiting", after.as_deref(), false, 200).await?;
            for item in page.items {
                let mut waiting: Waiting = serde_json::from_slice(&item.body)?;
                let before = waiting.events.len();
                let mut kept = Vec::new();
                for sealed in waiting.events {
                    let event = self.open_event(&sealed.blob)?;
                    if !names(&event, wanted)? {
                        kept.push(sealed);
                    }
                }
                waiting.events = kept;
                let gone = before.saturating_sub(waiting.events.len());
                if gone > 0 {
                    dropped = dropped.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX));
                    let new = NewItem {
                        key: item.key,
                        body: serde_json::to_vec(&waiting)?,
                        due: item.due,
                        list: item.list,
                        expires: None,
                    };
                    self.ports.store.transact(vec![Write::Put(new, Guard::Rev(item.rev))]).await?;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(dropped),
            }
        }
    }

    fn raw_names(&self, id: &str, raw: Option<&rec::ParkedRaw>, wanted: &str) -> Result<bool, WorkError> {
        match raw {
            Some(raw) => names(&self.open_raw(id, raw)?, wanted),
            None => Ok(false),
        }
    }
}

/// Whether an event's content names the person: the whole value of some member.
fn names(event: &rec::Event, wanted: &str) -> Result<bool, WorkError> {
    fn found(json: &serde_json::Value, wanted: &str) -> bool {
        match json {
            serde_json::Value::String(text) => text.trim().to_lowercase() == wanted,
            serde_json::Value::Array(list) => list.iter().any(|v| found(v, wanted)),
            serde_json::Value::Object(map) => map.values().any(|v| found(v, wanted)),
            _ => false,
        }
    }
    Ok(found(&serde_json::to_value(event)?, wanted))
}
