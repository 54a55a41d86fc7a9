//! The report of a settled day, from what is stored: as the run leaves it, and whenever somebody asks for it.

use serde::{Deserialize, Serialize};
use tillway_core::ids::ConnectionName;
use tillway_core::journal::TrialBalance;
use tillway_core::settle::check::Verdict;
use tillway_core::settle::report::{About, Builder, Index, Report, csv};
use tillway_core::settle::{Day, Exception, Expected, SettlementLine};
use tillway_core::time::Timestamp;

use super::records::{
    BatchDoc, BatchRecord, BookDoc, BookRecord, OpenRecord, SectionDoc, Standing, book_key, run_key,
};
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
    /// The book, with the expectations that stay open.
    pub(super) awaited: &'a BookDoc,
    pub(super) balance: &'a TrialBalance,
    pub(super) notices: &'a [(String, String)],
}

impl Engine {
    pub(super) async fn report_of(&self, sheet: &Sheet<'_>) -> Result<Report, WorkError> {
        let mut builder = Builder::new(sheet.connection, sheet.day, sheet.today);
        for (record, doc) in &sheet.batches {
            builder.batch(&record.batch, &Ok(verdict(record.standing)));
            for section in &doc.sections {
                let section: SectionDoc = self.shelved(&section.doc).await?;
                let index = Index::new(&section.certificates, &[], &[]);
                section.lines.iter().for_each(|line| builder.line(line, index.fate(&line.id)));
            }
            let index = Index::new(&doc.certificates, &doc.explained, &[]);
            for line in &doc.lines {
                builder.line(line, index.fate(&line.id));
            }
            for flaw in &doc.flaws {
                builder.exception(flaw, about_flaw(doc, flaw), true);
            }
        }
        for item in sheet.open {
            let about = About {
                batch: item.batches.first().map(AsRef::as_ref),
                order: item.orders.first().map(AsRef::as_ref),
                gateway: item.objects.first().map(AsRef::as_ref),
            };
            builder.exception(&item.exception, about, false);
        }
        sheet.awaited.expected.iter().for_each(|e| builder.awaited(e));
        for piece in &sheet.awaited.waiting {
            let waiting: Vec<Expected> = self.shelved(&piece.doc).await?;
            waiting.iter().for_each(|e| builder.awaited(e));
        }
        builder.holds(sheet.balance);
        for (code, text) in sheet.notices {
            builder.notice(code, text);
        }
        Ok(builder.finish())
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
            awaited: &book,
            balance: &balance,
            notices: run.as_ref().map_or(&[], |r| r.notices.as_slice()),
        };
        self.report_of(&sheet).await
    }

    /// The day's lines as CSV, matched ones too, and the expectations that stay open, handed to `take` piece by piece.
    ///
    /// # Errors
    /// [`WorkError`]; what `take` says.
    pub async fn settlement_csv(
        &self,
        name: &ConnectionName,
        day: Day,
        take: Take<'_>,
    ) -> Result<(), WorkError> {
        let OfDay { batches, book, open, .. } = self.day_of(name, day).await?;
        let mut out = String::new();
        csv::head(&mut out);
        let open: Vec<Exception> = open.into_iter().map(|o| o.exception).collect();
        let classes = Index::new(&[], &[], &open);
        for (_, doc) in &batches {
            self.rows_of(&mut out, name, doc, &classes, take).await?;
        }
        let await_all = |out: &mut String, all: &[Expected]| {
            for expected in all {
                csv::awaited(out, name, expected, &classes.classes(&expected.id).collect());
            }
            hand(out, take)
        };
        await_all(&mut out, &book.expected)?;
        for piece in &book.waiting {
            await_all(&mut out, &self.shelved::<Vec<Expected>>(&piece.doc).await?)?;
        }
        for (code, text) in self.noticed(name, day).await?.iter().flat_map(|r| &r.notices) {
            csv::notice(&mut out, name, code, text);
        }
        hand(&mut out, take)
    }

    /// The lines of one batch as CSV, with what is wrong with them now, handed to `take` piece by piece.
    ///
    /// # Errors
    /// [`WorkError`]; what `take` says.
    pub async fn batch_csv(
        &self,
        name: &ConnectionName,
        doc: &BatchDoc,
        take: Take<'_>,
    ) -> Result<(), WorkError> {
        let mut out = String::new();
        csv::head(&mut out);
        let open = self.settlement_open(Some(name)).await?;
        let open: Vec<Exception> = open.into_iter().map(|o| o.record.exception).collect();
        self.rows_of(&mut out, name, doc, &Index::new(&[], &[], &open), take).await
    }

    async fn rows_of(
        &self,
        out: &mut String,
        name: &ConnectionName,
        doc: &BatchDoc,
        classes: &Index<'_>,
        take: Take<'_>,
    ) -> Result<(), WorkError> {
        for section in &doc.sections {
            let section: SectionDoc = self.shelved(&section.doc).await?;
            let index = Index::new(&section.certificates, &[], &[]);
            rows(out, name, &section.lines, &index, classes);
            hand(out, take)?;
        }
        let index = Index::new(&doc.certificates, &doc.explained, &doc.flaws);
        rows(out, name, &doc.lines, &index, classes);
        hand(out, take)
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
    pub(crate) async fn book_doc(&self, book: &BookRecord) -> Result<BookDoc, WorkError> {
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

/// Takes a text piece by piece.
pub type Take<'a> = &'a (dyn Fn(&str) -> std::io::Result<()> + Send + Sync);

/// Hands over what there is.
fn hand(out: &mut String, take: Take<'_>) -> Result<(), WorkError> {
    take(out).map_err(|e| WorkError::Config(format!("the text cannot be written: {e}")))?;
    out.clear();
    Ok(())
}

fn rows(
    out: &mut String,
    name: &ConnectionName,
    lines: &[SettlementLine],
    index: &Index<'_>,
    classes: &Index<'_>,
) {
    for line in lines {
        let wrong = index.classes(&line.id).chain(classes.classes(&line.id)).collect();
        csv::line(out, name, line, index.fate(&line.id), &wrong);
    }
}
