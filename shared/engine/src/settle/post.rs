//! Carrying a plan out. Every step is conditional and does nothing the second time.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::journal::Entry;

use super::records::{
    BatchDoc, BatchRecord, BookRecord, OPEN, OpenRecord, PlanDoc, Posted, accepted_entries_key, accepted_key,
    batch_key, came_key, entries_key, open_key, read_key, run_key, settle_pk, watch_key,
};
use super::spread::AT_A_TIME;
use super::{Run, Step, item};
use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Key, MAX_WRITES, Severity, StoreError, Write};

/// Bytes of entries that lie in the item of the journal itself: what the store is given does not grow with the lines.
const IN_PLACE: usize = 8 * 1024;

impl Engine {
    /// Carries out the plan that stands, to its end. Answers it.
    pub(super) async fn carry_out(&self, run: &mut Run<'_>) -> Result<Option<PlanDoc>, WorkError> {
        let Some(name) = run.book.pending.clone() else { return Ok(None) };
        let plan: PlanDoc = self.shelved(&name).await?;
        for record in &plan.batches {
            self.post_batch(run, record).await?;
            run.tell(&Step::Posted(record.batch.id.to_string()))?;
            self.keep_book(run).await?;
        }
        self.post_accepted(run, &plan).await?;
        self.write_open(run, &plan.open).await?;
        if let Some((first, month)) = &plan.watched {
            let figures = item(watch_key(run.name(), *first), serde_json::to_vec(month)?, None);
            self.ports.store.transact(vec![Write::Put(figures, Guard::Any)]).await?;
        }
        if let Some(noticed) = &plan.run {
            let noticed = item(run_key(run.name(), plan.day), serde_json::to_vec(noticed)?, None);
            self.ports.store.transact(vec![Write::Put(noticed, Guard::Any)]).await?;
        }
        run.tell(&Step::At("opened"))?;
        self.take_evidence(run, &plan).await?;
        run.tell(&Step::At("proven"))?;
        // From here on nothing stops for want of time: what is told is told once.
        if !plan.headline.is_empty() {
            self.alert("settlement", Severity::Warning, None, plan.headline.clone()).await;
        }
        let before = run.book.doc.take();
        let BookRecord { held_until, fence, .. } = run.book;
        run.book = BookRecord { held_until, fence, trash: Some(name.clone()), ..plan.after.clone() };
        self.keep_book(run).await?;
        if let Some(before) = before {
            self.unshelve(&before).await?;
        }
        self.throw_away(run, &name, &plan).await?;
        Ok(Some(plan))
    }

    /// Throws away what nobody reads any more once a plan was carried out, and last the plan.
    async fn throw_away(&self, run: &mut Run<'_>, name: &str, plan: &PlanDoc) -> Result<(), WorkError> {
        // The names of parts go before the parts: nobody finds a name without its part.
        for id in &plan.read_of {
            let write = Write::Delete(read_key(run.name(), id), Guard::Any);
            self.ports.store.transact(vec![write]).await?;
        }
        for some in plan.read.chunks(AT_A_TIME) {
            futures_util::future::try_join_all(some.iter().map(|part| self.unshelve(part))).await?;
            self.renew_book(run).await?;
        }
        self.unshelve(name).await?;
        run.book.trash = None;
        Ok(())
    }

    /// Goes on with throwing away where an earlier run died over it.
    pub(super) async fn empty_trash(&self, run: &mut Run<'_>) -> Result<(), WorkError> {
        let Some(name) = run.book.trash.clone() else { return Ok(()) };
        // The plan goes last: where it is gone, all is.
        if self.ports.shelf.get(&name).await?.is_none() {
            run.book.trash = None;
            return Ok(());
        }
        let plan: PlanDoc = self.shelved(&name).await?;
        self.throw_away(run, &name, &plan).await
    }

    /// What people accepted, and what came after all: entries, then the records of them.
    async fn post_accepted(&self, run: &Run<'_>, plan: &PlanDoc) -> Result<(), WorkError> {
        let mut once = Vec::new();
        if !plan.entries.is_empty() {
            let key = accepted_entries_key(run.name(), plan.after.version);
            once.push((key, serde_json::to_vec(&plan.entries)?));
        }
        for record in &plan.accepted {
            once.push((accepted_key(run.name(), &record.item.id), serde_json::to_vec(record)?));
        }
        for came in &plan.came {
            once.push((came_key(run.name(), came), serde_json::to_vec(came)?));
        }
        for (key, body) in once {
            self.put_once(key, body).await?;
        }
        Ok(())
    }

    async fn post_batch(&self, run: &Run<'_>, record: &BatchRecord) -> Result<(), WorkError> {
        let id = record.batch.id.as_ref();
        let doc: BatchDoc = self.shelved(&record.doc).await?;
        let entries: Vec<&Entry> = doc.new_entries().collect();
        let fresh = doc.sections.iter().filter(|s| s.fresh);
        let of_sections: Vec<Box<str>> = fresh.filter_map(|s| s.entries.clone()).collect();
        if !entries.is_empty() || !of_sections.is_empty() {
            let body = self.journal_body(&record.doc, &entries, of_sections).await?;
            self.put_once(entries_key(run.name(), id, record.revision), body).await?;
            run.tell(&Step::At("entries"))?;
        }
        let key = batch_key(run.name(), id);
        let found = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
        let known: Option<BatchRecord> =
            found.as_ref().map(|i| serde_json::from_slice(&i.body)).transpose()?;
        if known.as_ref().is_some_and(|k| k.revision >= record.revision) {
            return Ok(());
        }
        let list = Some((format!("settled#{}", run.name()), format!("{}#{id}", record.day)));
        let guard = found.map_or(Guard::Absent, |i| Guard::Rev(i.rev));
        let write = Write::Put(item(key, serde_json::to_vec(record)?, list), guard);
        self.ports.store.transact(vec![write]).await?;
        if let Some(old) = known.filter(|old| old.doc != record.doc) {
            self.unshelve(&old.doc).await?;
        }
        Ok(())
    }

    /// The journal's one item of a batch: its entries, or where they are too many the names of their documents.
    async fn journal_body(
        &self,
        doc: &str,
        entries: &[&Entry],
        mut of_sections: Vec<Box<str>>,
    ) -> Result<Vec<u8>, WorkError> {
        let body = serde_json::to_vec(entries)?;
        if body.len() <= IN_PLACE && of_sections.is_empty() {
            return Ok(body);
        }
        let name: Box<str> = format!("{doc}/entries").into();
        self.shelve(&name, &entries).await?;
        if of_sections.is_empty() {
            return Ok(serde_json::to_vec(&Posted::Doc { doc: name })?);
        }
        of_sections.push(name);
        Ok(serde_json::to_vec(&Posted::Docs { docs: of_sections })?)
    }

    /// Writes what is written once; what stands there already must be the same.
    async fn put_once(&self, key: Key, body: Vec<u8>) -> Result<(), WorkError> {
        let name = format!("{} {}", key.pk, key.sk);
        let write = Write::Put(item(key.clone(), body.clone(), None), Guard::Absent);
        match self.ports.store.transact(vec![write]).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let found = self.ports.store.get(&[key]).await?.into_iter().flatten().next();
        if found.is_some_and(|i| i.body == body) {
            return Ok(());
        }
        let text =
            format!("{name} was posted with other entries; nothing more is posted until a person has looked");
        self.alert("settlement_conflict", Severity::Critical, None, text.clone()).await;
        Err(WorkError::Config(text))
    }

    /// What is open now, and nothing else.
    async fn write_open(&self, run: &Run<'_>, open: &[OpenRecord]) -> Result<(), WorkError> {
        let mut stands: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&settle_pk(run.name()), OPEN, after.as_deref(), 200).await?;
            stands.extend(page.items.into_iter().map(|i| (i.key, i.body)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut writes = Vec::new();
        let mut wanted: BTreeSet<Key> = BTreeSet::new();
        for record in open {
            let key = open_key(run.name(), &record.id);
            wanted.insert(key.clone());
            let body = serde_json::to_vec(record)?;
            if stands.get(&key) != Some(&body) {
                let place = format!("{}#{}#{}", record.exception.since, run.name(), record.id);
                let list = Some(("settle-open".to_owned(), place));
                writes.push(Write::Put(item(key, body, list), Guard::Any));
            }
        }
        let gone = stands.into_keys().filter(|key| !wanted.contains(key));
        writes.extend(gone.map(|key| Write::Delete(key, Guard::Any)));
        for some in writes.chunks(MAX_WRITES) {
            self.ports.store.transact(some.to_vec()).await?;
        }
        Ok(())
    }
}
