//! What was found as tables, for other programs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tillway_core::settle::Outcome;

use super::Stage;
use super::sink::{Found, Sink};

/// Writes two tables for each stage: the groups, one a row, and the rest (open items, explained lines, evidence and
/// exceptions). For programs: ids as the gateway wrote them, separated by spaces, not made safe for a spreadsheet as the
/// report's are ([`tillway_core::settle::report::csv`]). Same data, same bytes, in whatever order it came. What an earlier process wrote of the same run is kept
/// where it is still what was written.
#[derive(Debug)]
pub struct Table {
    folder: PathBuf,
    /// Fingerprint, then a line for each table that is complete.
    log: String,
    now: Option<[Sheet; 2]>,
}

type Sheet = csv::Writer<Summed<File>>;

const LOG: &str = "run";
const SHEETS: [(&str, &[&str]); 2] = [
    (
        "groups",
        &["tier", "currency", "lines_sum", "expected_sum", "tolerance", "lines", "expected", "sha256"],
    ),
    ("rest", &["is", "what", "lines", "expected", "since", "currency", "amount", "nearest", "nearest_by"]),
];

impl Table {
    /// Into a folder of its own, which is made where it is not there.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), log: String::new(), now: None })
    }

    /// The table of a stage.
    #[must_use]
    pub fn file(folder: &Path, stage: Stage, sheet: &str) -> PathBuf {
        folder.join(format!("{}-{}-{sheet}.csv", stage.rank(), stage.name()))
    }

    fn keep_log(&self) -> io::Result<()> {
        let new = self.folder.join("run.new");
        fs::write(&new, &self.log)?;
        fs::rename(new, self.folder.join(LOG))
    }

    /// What the log says of a table.
    fn entry(stage: Stage, sheet: &str, (bytes, check): (u64, u32)) -> String {
        format!("{} {sheet} {bytes} {check:08x}", stage.name())
    }

    fn is_whole(&self, stage: Stage, sheet: &str) -> bool {
        let summed = sum(&Self::file(&self.folder, stage, sheet));
        summed.is_ok_and(|sum| self.log.lines().any(|line| line == Self::entry(stage, sheet, sum)))
    }
}

impl Sink for Table {
    fn kept(&mut self, run: &str) -> Option<Stage> {
        self.log = fs::read_to_string(self.folder.join(LOG)).ok()?;
        if self.log.lines().next() != Some(run) {
            return None;
        }
        let whole = |stage: &Stage| SHEETS.iter().all(|(sheet, _)| self.is_whole(*stage, sheet));
        Stage::all().take_while(whole).last()
    }

    fn begin(&mut self, run: &str, stage: Stage) -> io::Result<()> {
        if stage == Stage::Read {
            self.log = format!("{run}\n");
        }
        let later: Vec<Stage> = Stage::all().filter(|s| *s >= stage).collect();
        let of_later = |line: &str| later.iter().any(|s| line.split(' ').next() == Some(s.name()));
        self.log = self.log.lines().filter(|line| !of_later(line)).map(|line| format!("{line}\n")).collect();
        self.keep_log()?;
        for stage in later {
            for (sheet, _) in SHEETS {
                match fs::remove_file(Self::file(&self.folder, stage, sheet)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        let open = |(sheet, head): (&str, &[&str])| -> io::Result<Sheet> {
            let file = File::create(Self::file(&self.folder, stage, sheet))?;
            let mut sheet = csv::WriterBuilder::new().buffer_capacity(1 << 18).from_writer(Summed::new(file));
            sheet.write_record(head)?;
            Ok(sheet)
        };
        let [groups, rest] = SHEETS;
        self.now = Some([open(groups)?, open(rest)?]);
        Ok(())
    }

    fn take(&mut self, _stage: Stage, _part: u16, found: Found<'_>) -> io::Result<()> {
        let Some([groups, rest]) = &mut self.now else { return Err(io::Error::other("no stage has begun")) };
        let (mut lines, mut expected) = (String::new(), String::new());
        for matched in &found.matched {
            let group = &matched.group;
            joined(&mut lines, &group.lines);
            joined(&mut expected, &group.expected);
            let (lines_sum, expected_sum) = (group.lines_sum.to_string(), group.expected_sum.to_string());
            groups.write_record([
                group.tier.name(),
                group.currency.code(),
                &lines_sum,
                &expected_sum,
                group.tolerance.as_deref().unwrap_or_default(),
                &lines,
                &expected,
                matched.hash.as_deref().unwrap_or_default(),
            ])?;
        }
        write_rest(rest, &found.rest)
    }

    fn end(&mut self, stage: Stage) -> io::Result<()> {
        let Some(sheets) = self.now.take() else { return Ok(()) };
        for (sheet, (name, _)) in sheets.into_iter().zip(SHEETS) {
            let summed = sheet.into_inner().map_err(|e| io::Error::other(e.to_string()))?;
            let sum = summed.end()?;
            self.log.push_str(&Self::entry(stage, name, sum));
            self.log.push('\n');
        }
        self.keep_log()
    }
}

/// Ids in one cell, separated by spaces.
fn joined(cell: &mut String, ids: &[Box<str>]) {
    cell.clear();
    for id in ids {
        if !cell.is_empty() {
            cell.push(' ');
        }
        cell.push_str(id);
    }
}

fn write_rest(sheet: &mut Sheet, rest: &Outcome) -> io::Result<()> {
    for id in &rest.open_lines {
        sheet.write_record(["open_line", "", id, "", "", "", "", "", ""])?;
    }
    for id in &rest.open_expected {
        sheet.write_record(["open_expected", "", "", id, "", "", "", "", ""])?;
    }
    for explained in &rest.explained {
        sheet.write_record(["explained", &explained.rule, &explained.line, "", "", "", "", "", ""])?;
    }
    let (mut lines, mut expected) = (String::new(), String::new());
    for proof in &rest.evidence {
        joined(&mut lines, &proof.lines);
        sheet.write_record(["evidence", proof.tier.name(), &lines, &proof.expected, "", "", "", "", ""])?;
    }
    for e in &rest.exceptions {
        joined(&mut lines, &e.lines);
        joined(&mut expected, &e.expected);
        let (since, amount) = (e.since.to_string(), e.amount.minor.to_string());
        let (nearest, by) =
            e.nearest.as_ref().map_or(("", ""), |miss| (miss.other.as_ref(), miss.tier.name()));
        let (class, currency) = (e.class.code(), e.amount.currency.code());
        sheet.write_record([
            "exception",
            class,
            &lines,
            &expected,
            &since,
            currency,
            &amount,
            nearest,
            by,
        ])?;
    }
    Ok(())
}

/// Counts and sums what goes through it.
#[derive(Debug)]
struct Summed<W> {
    to: W,
    bytes: u64,
    check: crc32fast::Hasher,
}

impl<W: Write> Summed<W> {
    fn new(to: W) -> Self {
        Self { to, bytes: 0, check: crc32fast::Hasher::new() }
    }
    fn end(mut self) -> io::Result<(u64, u32)> {
        self.to.flush()?;
        Ok((self.bytes, self.check.finalize()))
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.check.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Length and checksum of a file.
fn sum(file: &Path) -> io::Result<(u64, u32)> {
    let mut summed = Summed::new(io::sink());
    io::copy(&mut File::open(file)?, &mut summed)?;
    summed.end()
}
