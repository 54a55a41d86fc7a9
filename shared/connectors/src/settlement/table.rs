//! CSV as gateways and banks write it: columns found by name whatever their order, records that must be whole.

use std::borrow::Cow;
use std::io::Read;

use csv::ByteRecord;

use super::Ending;
use super::fault::FileFault;
use super::source::{END, Seen, Source};

/// A column and the names it goes by.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) names: Vec<Cow<'static, str>>,
    pub(crate) needed: bool,
}

/// A column by its names.
pub(crate) fn column(needed: bool, names: &[&'static str]) -> Column {
    Column { names: names.iter().copied().map(Cow::Borrowed).collect(), needed }
}

impl Column {
    /// The name it goes by first.
    pub(crate) fn name(&self) -> &str {
        self.names.first().map_or("", |n| n.as_ref())
    }
    fn is(&self, cell: &str) -> bool {
        let cell = cell.trim();
        self.names.iter().any(|n| n.as_ref().eq_ignore_ascii_case(cell))
    }
}

/// How a file is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) latin1: bool,
    /// Records that may stand before the header.
    pub(crate) before: usize,
}
impl Default for Dialect {
    fn default() -> Self {
        Self { delimiter: b',', latin1: false, before: 2 }
    }
}

/// A CSV file whose header was found.
pub(crate) struct Table<R> {
    csv: csv::Reader<Source<R>>,
    dialect: Dialect,
    columns: Vec<Column>,
    at: Vec<Option<usize>>,
    header: ByteRecord,
    /// What stands before the header.
    before: Vec<ByteRecord>,
    record: ByteRecord,
    ended: bool,
}

impl<R: Read> Table<R> {
    /// Reads up to the header.
    ///
    /// # Errors
    /// `empty`, `unknown_header`, `duplicate_header`, `truncated`, `too_long`, `bad_encoding`.
    pub(crate) fn open(inner: R, columns: Vec<Column>, dialect: Dialect) -> Result<Self, FileFault> {
        let csv = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(dialect.delimiter)
            .buffer_capacity(8 * 1024)
            .from_reader(Source::for_csv(inner));
        let mut table = Self {
            csv,
            dialect,
            columns,
            at: Vec::new(),
            header: ByteRecord::new(),
            before: Vec::new(),
            record: ByteRecord::new(),
            ended: false,
        };
        table.find_header()?;
        Ok(table)
    }

    fn find_header(&mut self) -> Result<(), FileFault> {
        let mut nearest: Option<(usize, Vec<String>, u64)> = None;
        for _ in 0..=self.dialect.before {
            if !self.advance()? {
                break;
            }
            let line = self.line();
            let cells = self.record.iter().map(|c| self.decode(c)).collect::<Option<Vec<_>>>();
            let cells = cells.ok_or_else(|| FileFault::encoding("header").at(line))?;
            let mut at = Vec::new();
            for column in &self.columns {
                let mut found = cells.iter().enumerate().filter(|(_, cell)| column.is(cell)).map(|(i, _)| i);
                at.push(found.next());
                if found.next().is_some() {
                    let what = "stands twice in the header; have the report made with each column once";
                    return Err(FileFault::new("duplicate_header", column.name(), what).at(line));
                }
            }
            let known = at.iter().flatten().count();
            let missing: Vec<String> = (self.columns.iter().zip(&at))
                .filter(|(column, at)| column.needed && at.is_none())
                .map(|(column, _)| column.name().to_owned())
                .collect();
            if missing.is_empty() {
                self.at = at;
                self.header = std::mem::take(&mut self.record);
                return Ok(());
            }
            if known >= 2 && nearest.as_ref().is_none_or(|(most, ..)| known > *most) {
                nearest = Some((known, missing, line));
            }
            self.before.push(std::mem::take(&mut self.record));
        }
        Err(match nearest {
            _ if self.before.is_empty() => {
                FileFault::of_file("empty", "holds nothing, not even a header; fetch it again")
            }
            Some((_, missing, line)) => {
                let what = format!("{} not in the header; have the report made with it", list(&missing));
                FileFault::new("unknown_header", missing.join(", "), what).at(line)
            }
            None => {
                let needed = self.columns.iter().filter(|c| c.needed).map(|c| c.name().to_owned());
                let what = format!(
                    "no header among the first {} records; expected one with {}",
                    self.dialect.before.saturating_add(1),
                    needed.collect::<Vec<_>>().join(", ")
                );
                FileFault::new("unknown_header", "header", what)
            }
        })
    }

    /// The next record, or false at the end.
    fn advance(&mut self) -> Result<bool, FileFault> {
        if self.ended {
            return Ok(false);
        }
        self.csv.get_mut().allow();
        let more = match self.csv.read_byte_record(&mut self.record) {
            Ok(more) => more,
            Err(_) => {
                let line = self.csv.position().line();
                let trouble = self.csv.get_ref().trouble();
                return Err(trouble
                    .map_or_else(|| FileFault::cut("a record cannot be read"), FileFault::trouble)
                    .at(line));
            }
        };
        let last = self.record.iter().next_back().unwrap_or_default();
        if more && self.record.len() == 1 && last == END {
            self.ended = true;
            let more = self.csv.read_byte_record(&mut self.record).unwrap_or(true);
            return if more {
                Err(FileFault::of_file("bad_encoding", "holds control characters"))
            } else {
                Ok(false)
            };
        }
        if !more || last.ends_with(END) || last.ends_with(b"\x01end\x01\n") {
            let line = self.line();
            return Err(FileFault::cut("a quoted value does not end").at(line));
        }
        Ok(more)
    }

    /// Line of the record at hand.
    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    fn decode<'a>(&self, cell: &'a [u8]) -> Option<Cow<'a, str>> {
        decode(cell, self.dialect.latin1)
    }

    /// Cells before the header, record by record.
    pub(crate) fn preamble(&self) -> impl Iterator<Item = Vec<Cow<'_, str>>> {
        self.before.iter().map(|record| record.iter().filter_map(|c| self.decode(c)).collect())
    }

    /// The next row with anything in it.
    ///
    /// # Errors
    /// `duplicate_header`, `truncated`, `row_long`, `too_long`.
    pub(crate) fn row(&mut self) -> Result<Option<Row<'_>>, FileFault> {
        loop {
            if !self.advance()? {
                return Ok(None);
            }
            if self.record.iter().any(|cell| cell.iter().any(|b| !b.is_ascii_whitespace())) {
                break;
            }
        }
        let line = self.line();
        if self.record == self.header || self.before.contains(&self.record) {
            return Err(FileFault::doubled("header", "comes a second time").at(line));
        }
        let (have, expected) = (self.record.len(), self.header.len());
        if have < expected {
            let what = format!("a row has {have} of {expected} columns");
            return Err(FileFault::cut(&what).at(line));
        }
        if have > expected {
            let what = format!(
                "a row has {have} columns and the header {expected}: a comma in an amount or a text without quotes; \
                 have the report made anew"
            );
            return Err(FileFault::new("row_long", "row", what).at(line));
        }
        Ok(Some(Row {
            record: &self.record,
            table: (&self.columns, &self.at),
            latin1: self.dialect.latin1,
            line,
        }))
    }

    pub(crate) fn seen(&self) -> Seen {
        self.csv.get_ref().seen()
    }

    /// What a table shows of its end: none of its own.
    pub(crate) fn ending(&self) -> Ending {
        if self.seen().line_ended { Ending::Open } else { Ending::Torn }
    }
}

fn decode(cell: &[u8], latin1: bool) -> Option<Cow<'_, str>> {
    if latin1 {
        return Some(Cow::Owned(cell.iter().map(|b| char::from(*b)).collect()));
    }
    std::str::from_utf8(cell).ok().map(Cow::Borrowed)
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    format!("{} {}", quoted.join(", "), if names.len() == 1 { "is" } else { "are" })
}

/// A row whose columns go by their number in the list the table was opened with.
pub(crate) struct Row<'a> {
    record: &'a ByteRecord,
    table: (&'a [Column], &'a [Option<usize>]),
    latin1: bool,
    pub(crate) line: u64,
}

impl<'a> Row<'a> {
    /// Name of a column, for people.
    pub(crate) fn name(&self, column: usize) -> &'a str {
        self.table.0.get(column).map_or("", Column::name)
    }
    /// The cell, trimmed; empty where the column is not there.
    pub(crate) fn text(&self, column: usize) -> Result<Cow<'a, str>, FileFault> {
        let at = self.table.1.get(column).copied().flatten();
        let cell = at.and_then(|at| self.record.get(at)).unwrap_or_default();
        let text = decode(cell, self.latin1);
        let text = text.ok_or_else(|| FileFault::encoding(self.name(column)).at(self.line))?;
        Ok(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        })
    }
    /// The cell, where there is something in it.
    pub(crate) fn some(&self, column: usize) -> Result<Option<Cow<'a, str>>, FileFault> {
        Ok(Some(self.text(column)?).filter(|t| !t.is_empty()))
    }
    /// The cell as an id: something short, printable, without blanks.
    pub(crate) fn id(&self, column: usize) -> Result<Cow<'a, str>, FileFault> {
        let text = self.text(column)?;
        if text.is_empty() {
            return Err(FileFault::no_id(self.name(column)).at(self.line));
        }
        super::values::id(self.name(column), &text).map_err(|f| f.at(self.line))?;
        Ok(text)
    }
    pub(crate) fn fault(&self, code: &'static str, column: usize, what: impl Into<String>) -> FileFault {
        FileFault::new(code, self.name(column), what).at(self.line)
    }
}
