//! `settle-bench make` invents months of trade and writes it to two files; `settle-bench run` settles them on disk.
//! `tests/bench/settle/run.py` runs it beside DuckDB and pandas.

mod rows;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Parser, Subcommand};
use tillway_core::settle::market::{Draw, Item, Plan as Trade, RULES, trade};
use tillway_core::settle::{Expected, Rules, SettlementLine};
use tillway_host::settle::{Plan, Source, SourceError, Stream, Table, settle};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Days the trade goes over.
const DAYS: i32 = 60;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes lines.csv, expected.csv and planted.csv.
    Make {
        /// About so many lines.
        #[arg(long, default_value_t = 5_000_000)]
        lines: u32,
        /// The same seed gives the same files.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One payment in so many carries an exception.
        #[arg(long, default_value_t = 200)]
        fault_every: u64,
        /// The folder.
        folder: PathBuf,
    },
    /// Settles them.
    Run {
        /// Where `make` wrote.
        folder: PathBuf,
        /// Where the tables go.
        out: PathBuf,
        /// Seals every group with a hash over all fields of its items.
        #[arg(long)]
        seal: bool,
        /// Files a stage is spread over; by the size of lines.csv where it is not said.
        #[arg(long)]
        partitions: Option<u16>,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Make { lines, seed, fault_every, folder } => make(lines, seed, fault_every, &folder),
        Command::Run { folder, out, seal, partitions } => run(&folder, &out, seal, partitions),
    }
}

/// Items leave in another order than they are invented in.
struct Shuffle<T> {
    waiting: Vec<T>,
    draw: Draw,
}

impl<T> Shuffle<T> {
    fn put(&mut self, item: T) -> Option<T> {
        if self.waiting.len() < 100_000 {
            self.waiting.push(item);
            return None;
        }
        let at = usize::try_from(self.draw.below(100_000)).unwrap_or(0);
        self.waiting.get_mut(at).map(|slot| std::mem::replace(slot, item))
    }
}

fn make(lines: u32, seed: u64, fault_every: u64, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    // A payment is 1.23 lines.
    let payments = u32::try_from(u64::from(lines).saturating_mul(100) / 123)?;
    let plan = Trade { seed, payments, days: DAYS, fault_every };
    let mut line_file = rows::writer(&folder.join("lines.csv"), &rows::LINE)?;
    let mut expected_file = rows::writer(&folder.join("expected.csv"), &rows::EXPECTED)?;
    let mut planted = BufWriter::new(File::create(folder.join("planted.csv"))?);
    let mut ls = Shuffle { waiting: Vec::new(), draw: Draw(seed) };
    let mut es = Shuffle { waiting: Vec::new(), draw: Draw(!seed) };
    let (mut lines, mut expected) = (0_u64, 0_u64);
    let mut failed = None;
    let mut put = |item: Item| -> anyhow::Result<()> {
        match item {
            Item::Line(line) => {
                lines = lines.saturating_add(1);
                ls.put(line).map_or(Ok(()), |line| rows::put_line(&mut line_file, &line))
            }
            Item::Expected(e) => {
                expected = expected.saturating_add(1);
                es.put(e).map_or(Ok(()), |e| rows::put_expected(&mut expected_file, &e))
            }
            Item::Planted(p) => {
                let (l, e) = (p.lines.join(" "), p.expected.join(" "));
                Ok(writeln!(planted, "{},{l},{e}", p.class.code())?)
            }
            Item::Batch(_) | Item::Proven(_) => Ok(()),
        }
    };
    let told = trade(&plan, |item| {
        if failed.is_none() {
            failed = put(item).err();
        }
    });
    told.map_err(|e| anyhow!(e))?;
    failed.map_or(Ok(()), Err)?;
    for line in &ls.waiting {
        rows::put_line(&mut line_file, line)?;
    }
    for e in &es.waiting {
        rows::put_expected(&mut expected_file, e)?;
    }
    line_file.flush()?;
    expected_file.flush()?;
    planted.flush()?;
    fs::write(folder.join("today"), plan.end().0.to_string())?;
    say(&format!("{lines} lines, {expected} expectations, {payments} payments"))
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// The two files.
struct Files<'a>(&'a Path);

impl Source for Files<'_> {
    fn lines(&self) -> Result<Stream<'_, SettlementLine>, SourceError> {
        Ok(Box::new(rows::Reader::open(&self.0.join("lines.csv"), &rows::LINE, rows::line)?))
    }
    fn expected(&self) -> Result<Stream<'_, Expected>, SourceError> {
        Ok(Box::new(rows::Reader::open(&self.0.join("expected.csv"), &rows::EXPECTED, rows::expected)?))
    }
}

fn run(folder: &Path, out: &Path, seal: bool, partitions: Option<u16>) -> anyhow::Result<()> {
    let rules = Rules::load("market", RULES).map_err(|p| anyhow!("{p:?}"))?;
    let today = fs::read_to_string(folder.join("today")).context("no data: run `settle-bench make` first")?;
    let today = tillway_core::settle::Day(today.parse()?);
    let size = fs::metadata(folder.join("lines.csv"))?.len();
    // A line is about 150 bytes.
    let partitions = partitions.unwrap_or_else(|| Plan::partitions_for(size / 150));
    let place = out.join("temporary");
    fs::create_dir_all(out)?;
    let name = format!("{} {size}", folder.display());
    let plan = Plan { folder: &place, run: &name, rules: &rules, today, partitions, seal };
    let totals = settle(&plan, &Files(folder), &mut Table::new(&out.join("tables"))?)?;
    fs::write(out.join("report.csv"), totals.csv())?;
    say(&totals.csv())
}
