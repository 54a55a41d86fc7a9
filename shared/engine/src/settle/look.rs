//! Looking at what was settled: a batch, everything open, and the checker once more.

use serde::Serialize;
use tillway_core::ids::ConnectionName;
use tillway_core::journal::Entry;
use tillway_core::settle::Day;
use tillway_core::settle::check::{Statement, check, check_section};

use super::digest::{Digest, digest, id_mark};
use super::plan::texts;
use super::records::{BatchDoc, BatchRecord, OpenRecord, Posted, SectionDoc, Standing, batch_key};
use super::sections::statement;
use crate::engine::{Engine, WorkError};

/// Items of one page.
const PAGE: usize = 200;

/// A batch with everything it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchView {
    /// The record.
    pub record: BatchRecord,
    /// Lines, certificates and entries.
    pub doc: BatchDoc,
}

impl BatchView {
    /// Certificates, those of sections too: one for each line of theirs.
    #[must_use]
    pub fn certificates(&self) -> usize {
        let inside = self.doc.sections.iter().map(|s| s.sums.matched);
        inside.fold(self.doc.certificates.len(), usize::saturating_add)
    }

    /// Entries, those of sections too.
    #[must_use]
    pub fn entries(&self) -> usize {
        let inside = self.doc.sections.iter().map(|s| s.booked);
        inside.fold(self.doc.entries.len(), usize::saturating_add)
    }
}

/// Something open, with its age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenView {
    /// The connection.
    pub connection: ConnectionName,
    /// Days it has stood.
    pub age: i32,
    /// The item.
    #[serde(flatten)]
    pub record: OpenRecord,
}

/// What the checker says of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The batch.
    pub batch: Box<str>,
    /// How it stands, where it holds.
    pub standing: Option<Standing>,
    /// Certificates looked at.
    pub certificates: usize,
    /// Entries looked at.
    pub entries: usize,
    /// Why it does not hold.
    pub rejected: Vec<String>,
}

impl Engine {
    /// Finds a settled batch by its id; of a connection where one is named.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn settled_batch(
        &self,
        connection: Option<&ConnectionName>,
        id: &str,
    ) -> Result<Option<BatchView>, WorkError> {
        let names = self.config.connections.keys().filter(|name| connection.is_none_or(|c| c == *name));
        for name in names {
            let found = self.ports.store.get(&[batch_key(name, id)]).await?.into_iter().flatten().next();
            if let Some(item) = found {
                let record: BatchRecord = serde_json::from_slice(&item.body)?;
                let doc = self.shelved(&record.doc).await?;
                return Ok(Some(BatchView { record, doc }));
            }
        }
        Ok(None)
    }

    /// A batch with the content of its sections, all at once.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn whole_batch(&self, mut view: BatchView) -> Result<BatchView, WorkError> {
        for section in std::mem::take(&mut view.doc.sections) {
            let SectionDoc { lines, expected, certificates, .. } = self.shelved(&section.doc).await?;
            view.doc.lines.extend(lines);
            view.doc.expected.extend(expected);
            view.doc.certificates.extend(certificates);
            if let Some(entries) = &section.entries {
                view.doc.entries.extend(self.shelved::<Vec<Entry>>(entries).await?);
            }
        }
        Ok(view)
    }

    /// The settled batches of a connection.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn settled_batches(&self, connection: &ConnectionName) -> Result<Vec<BatchRecord>, WorkError> {
        let mut all = self.batch_records(connection).await?;
        all.sort_by(|a, b| (a.day, &a.batch.id).cmp(&(b.day, &b.batch.id)));
        Ok(all)
    }

    /// Everything open, oldest first.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn settlement_open(
        &self,
        connection: Option<&ConnectionName>,
    ) -> Result<Vec<OpenView>, WorkError> {
        let today = Day::of(self.now());
        let mut out = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.list("settle-open", after.as_deref(), false, PAGE).await?;
            for item in page.items {
                let name = item.key.pk.strip_prefix("settle#").unwrap_or_default();
                let name = ConnectionName::new(name);
                if connection.is_some_and(|wanted| *wanted != name) {
                    continue;
                }
                let record: OpenRecord = serde_json::from_slice(&item.body)?;
                out.push(OpenView { connection: name, age: record.exception.age(today), record });
            }
            after = page.next;
            if after.is_none() {
                return Ok(out);
            }
        }
    }

    /// Days that the oldest item has stood of which a person has to know.
    pub(crate) async fn oldest_open(&self) -> Result<i32, WorkError> {
        let today = Day::of(self.now());
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.list("settle-open", after.as_deref(), false, PAGE).await?;
            for item in &page.items {
                let record: OpenRecord = serde_json::from_slice(&item.body)?;
                // The list is in the order of their days.
                if !record.is_quiet() {
                    return Ok(record.exception.age(today));
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(0);
            }
        }
    }

    /// Runs the checker over a posted batch: certificates, sums, and the entries as the journal has them.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn check_batch(&self, view: &BatchView) -> Result<Checked, WorkError> {
        let BatchView { record, doc } = view;
        let (mut rejected, mut certificates, mut booked) =
            (Vec::new(), doc.certificates.len(), doc.entries.len());
        let mut sum = Digest::of(&doc.lines);
        let mut ids: Vec<u128> = doc.lines.iter().map(|l| id_mark(&l.id)).collect();
        let mut due: Vec<u128> = marks(&doc.entries)?;
        for section in &doc.sections {
            let inside: SectionDoc = self.shelved(&section.doc).await?;
            let entries: Vec<Entry> = match &section.entries {
                Some(name) => self.shelved(name).await?,
                None => Vec::new(),
            };
            match check_section(&statement(&doc.batch, &inside, &entries), section.parts) {
                Ok(tally) if tally == section.tally => {}
                Ok(_) => rejected.push(format!("section {}: the sums are others", section.parts.0)),
                Err(bad) => {
                    rejected.extend(bad.iter().map(|why| format!("section {}: {why}", section.parts.0)))
                }
            }
            certificates = certificates.saturating_add(inside.certificates.len());
            booked = booked.saturating_add(entries.len());
            inside.lines.iter().for_each(|line| sum.line(line));
            ids.extend(inside.lines.iter().map(|l| id_mark(&l.id)));
            due.extend(marks(&entries)?);
        }
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair.first() == pair.last()) {
            rejected.push("a line is in two places of the batch".to_owned());
        }
        let verdict = check(&Statement {
            batch: &doc.batch,
            lines: &doc.lines,
            other_lines: &doc.other_lines,
            expected: &doc.expected,
            certificates: &doc.certificates,
            explained: &doc.explained,
            accepted: &doc.accepted,
            open_lines: &doc.open_lines,
            open_expected: &[],
            entries: &doc.entries,
            rates: &doc.rates,
            rules: &doc.rules,
            sections: &doc.sections.iter().map(|s| s.tally.clone()).collect::<Vec<_>>(),
        });
        rejected.extend(verdict.as_ref().err().into_iter().flat_map(|bad| texts(bad)));
        let read = if Digest::parse(&record.digest).is_some() { sum.text() } else { digest(&doc.lines) };
        if read != record.digest {
            rejected.push("the lines are not those that were read".to_owned());
        }
        let mut stands: Vec<u128> = Vec::new();
        let take = |entries: Vec<Entry>| {
            stands.extend(marks(&entries)?);
            Ok(())
        };
        self.each_posted(&record.batch.connection, &record.batch.id, take).await?;
        due.sort_unstable();
        stands.sort_unstable();
        if due != stands {
            let text = format!("the journal has {} entries of it, and {} are due", stands.len(), due.len());
            rejected.push(text);
        }
        Ok(Checked {
            batch: record.batch.id.clone(),
            standing: verdict.ok().map(Standing::from).filter(|_| rejected.is_empty()),
            certificates,
            entries: booked,
            rejected,
        })
    }

    /// The entries of a batch as the journal has them.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn posted_entries(
        &self,
        connection: &ConnectionName,
        batch: &str,
    ) -> Result<Vec<Entry>, WorkError> {
        let mut out = Vec::new();
        let take = |entries: Vec<Entry>| {
            out.extend(entries);
            Ok(())
        };
        self.each_posted(connection, batch, take).await?;
        Ok(out)
    }

    /// The same, one posting after the other.
    async fn each_posted(
        &self,
        connection: &ConnectionName,
        batch: &str,
        mut take: impl FnMut(Vec<Entry>) -> Result<(), WorkError>,
    ) -> Result<(), WorkError> {
        let pk = format!("settle#{connection}#{batch}");
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&pk, "jrns#", after.as_deref(), PAGE).await?;
            for item in page.items {
                match serde_json::from_slice(&item.body)? {
                    Posted::Entries(entries) => take(entries)?,
                    Posted::Doc { doc } => take(self.shelved(&doc).await?)?,
                    Posted::Docs { docs } => {
                        for doc in docs {
                            take(self.shelved(&doc).await?)?;
                        }
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// Each entry in a few bytes: two are the same only where every field is.
fn marks(entries: &[Entry]) -> Result<Vec<u128>, WorkError> {
    entries.iter().map(|entry| Ok(id_mark(&serde_json::to_string(entry)?))).collect()
}
