//! Looking at what was settled: a batch, everything open, and the checker once more.

use serde::Serialize;
use tillway_core::ids::ConnectionName;
use tillway_core::journal::Entry;
use tillway_core::settle::Day;
use tillway_core::settle::check::{Statement, check};

use super::candidates::digest;
use super::plan::texts;
use super::records::{BatchDoc, BatchRecord, OpenRecord, Posted, Standing, batch_key};
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
        });
        let mut rejected = match &verdict {
            Ok(_) => Vec::new(),
            Err(bad) => texts(bad),
        };
        if digest(&doc.lines) != record.digest {
            rejected.push("the lines are not those that were read".to_owned());
        }
        let posted = self.posted_entries(&record.batch.connection, &record.batch.id).await?;
        let mut wanted: Vec<&Entry> = doc.entries.iter().collect();
        let mut stands: Vec<&Entry> = posted.iter().collect();
        wanted.sort_by(|a, b| a.id.cmp(&b.id));
        stands.sort_by(|a, b| a.id.cmp(&b.id));
        if wanted != stands {
            let text =
                format!("the journal has {} entries of it, and {} are due", stands.len(), wanted.len());
            rejected.push(text);
        }
        Ok(Checked {
            batch: record.batch.id.clone(),
            standing: verdict.ok().map(Standing::from).filter(|_| rejected.is_empty()),
            certificates: doc.certificates.len(),
            entries: doc.entries.len(),
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
        let pk = format!("settle#{connection}#{batch}");
        let mut out = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&pk, "jrns#", after.as_deref(), PAGE).await?;
            for item in page.items {
                match serde_json::from_slice(&item.body)? {
                    Posted::Entries(entries) => out.extend(entries),
                    Posted::Doc { doc } => out.extend(self.shelved::<Vec<Entry>>(&doc).await?),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(out);
            }
        }
    }
}
