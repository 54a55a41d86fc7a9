//! `tillway settle bank`: the bank's statement closes what was only submitted.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tillway_connectors::bank::{self, BankStatement, Layout};
use tillway_core::ids::ConnectionName;
use tillway_core::money::Money;
use tillway_core::settle::report::shown;
use tillway_engine::Engine;
use tillway_engine::settle::bank::{BankReport, Told};
use tillway_engine::settle::{Received, Step};

use super::{connection, progress};
use crate::open::{Place, say, who};

/// Largest statement.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Largest layout.
const MAX_LAYOUT: u64 = 64 * 1024;

#[derive(clap::Args)]
pub(super) struct Of {
    /// The gateway's connection.
    #[arg(long)]
    connection: String,
    /// The bank's statement: camt.053, or CSV.
    #[arg(long, value_name = "FILE")]
    statement: PathBuf,
    /// How the statement is written, YAML [default: `bank` of the connection in settlement.yaml].
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// Size of the file as the bank has it; needed for CSV: nothing else shows that all of it is there. camt.053 tells its own end.
    #[arg(long, value_name = "N")]
    bytes: Option<u64>,
    /// What a booking pays where the statement does not tell; of several batches the last takes the difference.
    #[arg(long, value_name = "BOOKING=BATCH[,BATCH]")]
    pays: Vec<String>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(of: Of) -> anyhow::Result<ExitCode> {
    let pays = of.pays.iter().map(|text| assigned(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let machine = of.place.open().await?;
    let engine = &machine.engine;
    let name = connection(&of.connection, engine)?;
    let layout = layout(&of, &name, engine)?;
    let statement = read(&of.statement, &layout, of.bytes)?;
    let within = engine.config.settlement.get(&name).cloned().unwrap_or_default().paid_within;
    let told = Received { layout: &layout, statement: &statement, within, pays: &pays, by: &who() };
    let watch = |step: &Step| {
        if let Some(line) = progress(step).filter(|_| !of.json) {
            crate::warn(&format!("  {line}"));
        }
        true
    };
    let report = engine.settle_bank(&name, &told, &watch).await?;
    if of.json {
        say(serde_json::to_string_pretty(&report)?);
    } else {
        text(&report);
    }
    let done = !report.busy && report.refused.is_empty();
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn assigned(text: &str) -> anyhow::Result<(Box<str>, Vec<Box<str>>)> {
    let parts = text.rsplit_once('=').map(|(booking, batches)| {
        (booking.trim(), batches.split(',').map(str::trim).map(Box::from).collect::<Vec<Box<str>>>())
    });
    match parts {
        Some((booking, batches)) if !booking.is_empty() && batches.iter().all(|b| !b.is_empty()) => {
            Ok((booking.into(), batches))
        }
        _ => bail!("`--pays {text}`: write it as BOOKING=BATCH or BOOKING=BATCH,BATCH"),
    }
}

fn layout(of: &Of, name: &ConnectionName, engine: &Engine) -> anyhow::Result<Arc<Layout>> {
    let Some(file) = &of.layout else {
        let known = engine.config.settlement.get(name).and_then(|s| s.bank.clone());
        return known.with_context(|| {
            format!("nothing says how the statement is written: give --layout FILE, or `bank` of {name} in settlement.yaml")
        });
    };
    let text = String::from_utf8(whole(file, MAX_LAYOUT)?)
        .with_context(|| format!("{}: it is not written in UTF-8", file.display()))?;
    Layout::load(&file.display().to_string(), &text).map(Arc::new).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })
}

fn whole(file: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    opened(file, most)?.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(bytes)
}

/// A file that is no larger than it may be.
pub(super) fn opened(file: &Path, most: u64) -> anyhow::Result<std::io::Take<std::fs::File>> {
    let shown = file.display();
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read {shown}"))?;
    let about = opened.metadata().with_context(|| format!("cannot read {shown}"))?;
    if !about.is_file() {
        bail!("{shown} is no file");
    }
    if about.len() > most {
        bail!("{shown} has {} bytes, and {most} are read at most: cut it by month or day", about.len());
    }
    Ok(opened.take(most))
}

fn read(file: &Path, layout: &Layout, bytes: Option<u64>) -> anyhow::Result<BankStatement> {
    let fault = |fault| anyhow::anyhow!("{}: {fault}", file.display());
    let statement = bank::read(layout, opened(file, MAX_BYTES)?).map_err(fault)?;
    statement.prove(bytes).map_err(fault)?;
    Ok(statement)
}

fn text(report: &BankReport) {
    if report.busy {
        say(
            "another process settles the connection now, or after a restore its gateway is swept first; read the statement again later",
        );
        return;
    }
    let BankReport { bank, bookings, others, .. } = report;
    say(format!("{}: {bookings} booking(s) of the gateway, {others} other(s)", shown(bank)));
    for c in &report.closed {
        let difference = match c.difference.minor {
            0 => String::new(),
            n if n < 0 => format!(", {} kept back", Money::new(n.saturating_neg(), c.difference.currency)),
            _ => format!(", {} more than its lines", c.difference),
        };
        let open = if c.open == 0 {
            String::new()
        } else {
            format!(", {} line(s) open: `tillway settle open`", c.open)
        };
        say(format!(
            "batch {}: {} by booking {} of {}, {}{difference}{open}",
            shown(&c.batch),
            c.standing.name(),
            shown(&c.booking),
            c.day,
            c.amount
        ));
    }
    for refused in &report.refused {
        say(format!("batch {} is not posted: {}", shown(&refused.batch), refused.why.join("; ")));
    }
    let known = |told: &Told, how: &str| {
        let batches: Vec<String> = told.batches.iter().map(|b| shown(b)).collect();
        say(format!(
            "booking {} of {}, {}: {how} {}",
            shown(&told.booking),
            told.day,
            told.amount,
            batches.join(", ")
        ));
    };
    report.before.iter().for_each(|told| known(told, "has paid"));
    report.confirmed.iter().for_each(|told| known(told, "is what the gateway paid out for"));
    for o in &report.open {
        let could: Vec<String> = o.candidates.iter().map(|b| shown(b)).collect();
        let could =
            if could.is_empty() { String::new() } else { format!("; could be of {}", could.join(", ")) };
        say(format!("open: booking {} of {}, {}{could}", shown(&o.booking), o.day, o.amount));
        say(format!("  {}", o.action));
    }
    for w in &report.waiting {
        let could: Vec<String> = w.candidates.iter().map(|b| shown(b)).collect();
        let could =
            if could.is_empty() { String::new() } else { format!("; could be paid by {}", could.join(", ")) };
        say(format!(
            "waits: batch {} of {}, {}, {}{could}",
            shown(&w.batch),
            w.day,
            w.net,
            tillway_core::settle::report::age(w.age)
        ));
        say(format!("  {}", w.action));
    }
    if report.closed.is_empty() && report.refused.is_empty() {
        say("nothing was posted");
    }
}
