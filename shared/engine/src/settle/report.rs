//! The report of a settled day, from what is stored: as the run leaves it, and whenever somebody asks for it.

use serde::{Deserialize, Serialize};
use tillway_core::ids::ConnectionName;
use tillway_core::journal::TrialBalance;
use tillway_core::settle::check::Verdict;
use tillway_core::settle::report::{About, Builder, Index, Report, csv};
use tillway_core::settle::{Day, Exception, Expected, SettlementLine};
use tillway_core::time::Timestamp;

use super::records::{BatchDoc, BatchRecord, BookDoc, BookRecord, OpenRecord, Standing, book_key, run_key};
use crate::engine::{Engine, WorkError};

/// What a run noticed of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// When it ran.
    pub at: Timestamp,
    /// Code and sentence: what is not posted or not there yet, and why.
    pub notices: Vec<(String, String)>,
}

/// Everything a day's report is made of.
pub(super) struct Sheet<'a> {
    pub(super) connection: &'a ConnectionName,
    pub(super) day: Day,
    pub(super) today: Day,
    pub(super) batches: Vec<(&'a BatchRecord, &'a BatchDoc)>,
    pub(super) open: &'a [OpenRecord],
    /// Expectations that stay open.
    pub(super) awaited: &'a [Expected],
    pub(super) balance: &'a TrialBalance,
    pub(super) notices: &'a [(String, String)],
}

impl Sheet<'_> {
    pub(super) fn report(&self) -> Report {
        let mut builder = Builder::new(self.connection, self.day, self.today);
        for (record, doc) in &self.batches {
            builder.batch(&record.batch, &Ok(verdict(record.standing)));
            let index = Index::new(&doc.certificates, &doc.explained, &[]);
            for line in &doc.lines {
                builder.line(line, index.fate(&line.id));
            }
            for flaw in &doc.flaws {
                builder.exception(flaw, about_flaw(doc, flaw), true);
            }
        }
        for item in self.open {
            let about = About {
                batch: item.batches.first().map(AsRef::as_ref),
                order: item.orders.first().map(AsRef::as_ref),
                gateway: item.objects.first().map(AsRef::as_ref),
            };
            builder.exception(&item.exception, about, false);
        }
        for expected in self.awaited {
            builder.awaited(expected);
        }
        builder.holds(self.balance);
        for (code, text) in self.notices {
            builder.notice(code, text);
        }
        builder.finish()
    }
}

/// Adds one trial balance to another.
pub(super) fn add(to: &mut TrialBalance, more: &TrialBalance) {
    for (account, sum) in &more.0 {
        let held = to.0.entry(*account).or_default();
        *held = held.saturating_add(*sum);
    }
}

const fn verdict(standing: Standing) -> Verdict {
    match standing {
        Standing::Closed => Verdict::Closed,
        Standing::Open => Verdict::Open,
        Standing::Submitted => Verdict::Submitted,
    }
}

fn about_flaw<'a>(doc: &'a BatchDoc, flaw: &Exception) -> About<'a> {
    let lines: Vec<&SettlementLine> = doc.lines.iter().filter(|l| flaw.lines.contains(&l.id)).collect();
    let expected: Vec<&Expected> = doc.expected.iter().filter(|e| flaw.expected.contains(&e.id)).collect();
    About::of(&lines, &expected)
}

impl Engine {
    /// The report of a day of a connection as things stand: batches settled under it, and everything open now.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn settlement_report(&self, name: &ConnectionName, day: Day) -> Result<Report, WorkError> {
        let OfDay { batches, cursor, book, open } = self.day_of(name, day).await?;
        let mut balance = book.trial_balance();
        if let Some(cursor) = cursor {
            add(&mut balance, &self.moved_since(name, cursor).await?);
        }
        let run = self.noticed(name, day).await?;
        let sheet = Sheet {
            connection: name,
            day,
            today: Day::of(self.now()).max(day),
            batches: batches.iter().map(|(r, d)| (r, d)).collect(),
            open: &open,
            awaited: &book.expected,
            balance: &balance,
            notices: run.as_ref().map_or(&[], |r| r.notices.as_slice()),
        };
        Ok(sheet.report())
    }

    /// The day's lines as CSV, matched ones too, and the expectations that stay open.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn settlement_csv(&self, name: &ConnectionName, day: Day) -> Result<String, WorkError> {
        let OfDay { batches, book, open, .. } = self.day_of(name, day).await?;
        let mut out = String::new();
        csv::head(&mut out);
        let open: Vec<Exception> = open.into_iter().map(|o| o.exception).collect();
        let classes = Index::new(&[], &[], &open);
        for (_, doc) in &batches {
            batch_rows(&mut out, name, doc, &classes);
        }
        for expected in &book.expected {
            csv::awaited(&mut out, name, expected, &classes.classes(&expected.id).collect());
        }
        for (code, text) in self.noticed(name, day).await?.iter().flat_map(|r| &r.notices) {
            csv::notice(&mut out, name, code, text);
        }
        Ok(out)
    }

    /// The lines of one batch as CSV, with what is wrong with them now.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn batch_csv(&self, name: &ConnectionName, doc: &BatchDoc) -> Result<String, WorkError> {
        let mut out = String::new();
        csv::head(&mut out);
        let open = self.settlement_open(Some(name)).await?;
        let open: Vec<Exception> = open.into_iter().map(|o| o.record.exception).collect();
        batch_rows(&mut out, name, doc, &Index::new(&[], &[], &open));
        Ok(out)
    }

    async fn noticed(&self, name: &ConnectionName, day: Day) -> Result<Option<RunRecord>, WorkError> {
        let found = self.ports.store.get(&[run_key(name, day)]).await?.into_iter().flatten().next();
        Ok(found.map(|i| serde_json::from_slice(&i.body)).transpose()?)
    }

    pub(super) async fn book_of(&self, name: &ConnectionName) -> Result<BookRecord, WorkError> {
        let found = self.ports.store.get(&[book_key(name)]).await?.into_iter().flatten().next();
        Ok(found.map(|i| serde_json::from_slice(&i.body)).transpose()?.unwrap_or_default())
    }

    /// What a book holds.
    pub(super) async fn book_doc(&self, book: &BookRecord) -> Result<BookDoc, WorkError> {
        match &book.doc {
            Some(doc) => self.shelved(doc).await,
            None => Ok(BookDoc::default()),
        }
    }

    async fn day_of(&self, name: &ConnectionName, day: Day) -> Result<OfDay, WorkError> {
        let mut batches = Vec::new();
        for record in self.settled_batches(name).await?.into_iter().filter(|r| r.day == day) {
            let doc = self.shelved(&record.doc).await?;
            batches.push((record, doc));
        }
        let record = self.book_of(name).await?;
        let book = self.book_doc(&record).await?;
        let open = self.settlement_open(Some(name)).await?.into_iter().map(|o| o.record).collect();
        Ok(OfDay { batches, cursor: record.cursor, book, open })
    }
}

/// What stands of a day.
struct OfDay {
    batches: Vec<(BatchRecord, BatchDoc)>,
    /// Up to where the journal is in the book.
    cursor: Option<Timestamp>,
    book: BookDoc,
    open: Vec<OpenRecord>,
}

fn batch_rows(out: &mut String, name: &ConnectionName, doc: &BatchDoc, classes: &Index<'_>) {
    let index = Index::new(&doc.certificates, &doc.explained, &doc.flaws);
    for line in &doc.lines {
        let wrong = index.classes(&line.id).chain(classes.classes(&line.id)).collect();
        csv::line(out, name, line, index.fate(&line.id), &wrong);
    }
}
