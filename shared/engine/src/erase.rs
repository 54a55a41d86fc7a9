//! Erase: a person's key is destroyed, and what still names them in clear goes with it.
//!
//! Facts and journal hold no personal data and stay. Whatever was sealed under the key is noise from then
//! on, in every backup too. An order keeps the key it began with when its e-mail address changes, or when the
//! first data came without one: an index, written with the decision, leads from every identity an order was
//! told under to the persons whose keys hold it. Events that were never read as far as the person (parked, unhandled, waiting)
//! are opened and searched, and their content is dropped where it names the person.

use std::collections::BTreeSet;

use serde::Serialize;
use tillway_connectors::Observation;
use tillway_core::facts::Fact;
use tillway_core::ids::PersonId;
use tillway_core::time::Timestamp;
use tillway_core::value::Value;

use crate::engine::{Engine, WorkError};
use crate::parking::parked_item;
use crate::ports::{Guard, Key, NewItem, Write};
use crate::profile;
use crate::records::{self as rec, ParkedRecord, PersonKey, UnhandledRecord, Waiting};

/// What an erasure did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EraseReport {
    /// Keys destroyed.
    pub keys: u32,
    /// Parked and unhandled events whose content was dropped.
    pub events: u32,
    /// The persons erased: keyed hashes, to be applied again after a restore from backup.
    pub persons: Vec<PersonId>,
}

impl Engine {
    /// Erases a person, named by e-mail address or by the shop's customer id.
    ///
    /// # Errors
    /// [`WorkError`]; repeating it is safe.
    pub async fn erase(&self, person: &str) -> Result<EraseReport, WorkError> {
        let mut report = EraseReport::default();
        let wanted = person.trim().to_lowercase();
        let now = self.now();
        for identity in identities(person) {
            let id = self.vault.person(&identity);
            for person in self.known_as(&id).await? {
                let key = rec::person_key(&person);
                let known =
                    self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
                if let Some(item) = &known
                    && matches!(serde_json::from_slice(&item.body)?, PersonKey::Live { .. })
                {
                    report.keys = report.keys.saturating_add(1);
                }
                // Also where there is no key yet: what was said before this and comes late must not make one.
                self.bury(&person, now).await?;
                if !report.persons.contains(&person) {
                    report.persons.push(person);
                }
            }
        }
        report.events = self.erase_events(&|text| text.trim().to_lowercase() == wanted).await?;
        Ok(report)
    }

    /// Erases again the persons of a list: their names are not in it, so every text is asked.
    pub(crate) async fn erase_again(&self, persons: &[PersonId], now: Timestamp) -> Result<(), WorkError> {
        for person in persons {
            self.bury(person, now).await?;
        }
        if !persons.is_empty() {
            let named = |text: &str| identities(text).iter().any(|i| persons.contains(&self.vault.person(i)));
            self.erase_events(&named).await?;
        }
        Ok(())
    }

    /// Puts a tombstone in the place of a person's key.
    async fn bury(&self, person: &PersonId, now: Timestamp) -> Result<(), WorkError> {
        let item = NewItem {
            key: rec::person_key(person),
            body: serde_json::to_vec(&PersonKey::Erased { at: now })?,
            due: None,
            // After a restore from backup these are applied again.
            list: Some(("erasures".to_owned(), format!("{}#{person}", now.rfc3339()))),
            expires: None,
        };
        // Nor is a person who comes back one day led to the customers they had at the gateways.
        let customers = self.ports.store.query(&item.key.pk, profile::CUSTOMER, None, 90).await?.items;
        let mut writes = vec![Write::Put(item, Guard::Any)];
        writes.extend(customers.into_iter().map(|known| Write::Delete(known.key, Guard::Any)));
        Ok(self.ports.store.transact(writes).await?)
    }

    /// The persons under whose keys data of an identity is: the identity's own, and those that its orders began
    /// with.
    async fn known_as(&self, identity: &PersonId) -> Result<Vec<PersonId>, WorkError> {
        let mut persons = vec![identity.clone()];
        let mut after: Option<String> = None;
        loop {
            let pk = rec::identity_pk(identity);
            let page = self.ports.store.query(&pk, "person#", after.as_deref(), 200).await?;
            for item in page.items {
                persons.push(serde_json::from_slice(&item.body)?);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(persons),
            }
        }
    }

    /// Every identity that an observation names.
    pub(crate) fn identities_in(
        &self,
        observation: &Observation,
        person: Option<&PersonId>,
    ) -> BTreeSet<PersonId> {
        fn mails<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
            let Value::Map(map) = value else { return };
            for (name, value) in map {
                match value {
                    Value::Text(text) if name == "email" => out.push(text),
                    value => mails(value, out),
                }
            }
        }
        let mut found: BTreeSet<PersonId> = person.into_iter().cloned().collect();
        let mut texts = Vec::new();
        mails(&observation.personal, &mut texts);
        found.extend(texts.into_iter().map(|mail| self.vault.person(&mail_identity(mail))));
        found.extend(observation.facts.iter().filter_map(|fact| match fact {
            Fact::Order(order) => {
                order.customer_ref.as_deref().map(|id| self.vault.person(&ref_identity(id)))
            }
            Fact::Profile(customer) => Some(self.vault.person(&ref_identity(&customer.customer_id))),
            _ => None,
        }));
        found
    }

    async fn erase_events(&self, named: &(dyn Fn(&str) -> bool + Sync)) -> Result<u32, WorkError> {
        let mut dropped = 0_u32;
        for mut record in self.listing::<ParkedRecord>("parked").await? {
            if let Some(event) = self.open_parked(&record).await?
                && names(&event, named)?
            {
                let parts = record.raw.take().map_or(0, |raw| raw.parts);
                let mut writes = vec![Write::Put(parked_item(&record)?, Guard::Any)];
                writes.extend((0..parts).map(|n| Write::Delete(rec::part_key(&record.id, n), Guard::Any)));
                self.ports.store.transact(writes).await?;
                dropped = dropped.saturating_add(1);
            }
        }
        for mut record in self.listing::<UnhandledRecord>("unhandled").await? {
            let id = format!("unhandled:{}:{}", record.connection, record.event);
            if self.raw_names(&id, record.raw.as_ref(), named)? {
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
                    if !names(&event, named)? {
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

    fn raw_names(
        &self,
        id: &str,
        raw: Option<&rec::ParkedRaw>,
        named: &dyn Fn(&str) -> bool,
    ) -> Result<bool, WorkError> {
        match raw {
            Some(raw) => names(&self.open_raw(id, raw)?, named),
            None => Ok(false),
        }
    }
}

/// What a text stands for where it is a person's e-mail address or the shop's customer id.
fn identities(text: &str) -> [String; 2] {
    [mail_identity(text), ref_identity(text)]
}

pub(crate) fn mail_identity(mail: &str) -> String {
    format!("mail:{}", mail.trim().to_lowercase())
}

pub(crate) fn ref_identity(id: &str) -> String {
    format!("ref:{}", id.trim())
}

/// Whether an event's content names the person: the whole value of some member.
fn names(event: &rec::Event, named: &dyn Fn(&str) -> bool) -> Result<bool, WorkError> {
    fn found(json: &serde_json::Value, named: &dyn Fn(&str) -> bool) -> bool {
        match json {
            serde_json::Value::String(text) => named(text),
            serde_json::Value::Array(list) => list.iter().any(|v| found(v, named)),
            serde_json::Value::Object(map) => map.values().any(|v| found(v, named)),
            _ => false,
        }
    }
    Ok(found(&serde_json::to_value(event)?, named))
}
