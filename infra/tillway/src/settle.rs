//! `tillway settle`: what a gateway paid out, matched with the books and posted.

mod accept;
mod bank;
mod rates;

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tillway_core::ids::ConnectionName;
use tillway_core::settle::Day;
use tillway_core::settle::report::csv::cell;
use tillway_core::settle::report::{Report, age, argument, in_url, page, shown, title};
use tillway_engine::Engine;
use tillway_engine::settle::records::RunReport;
use tillway_engine::settle::{BatchView, OpenView, Step};

use crate::open::{Opened, Place, say};

/// Arguments of `settle`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway settle run --connection stripe-main --date 2026-11-28 --config shop/tillway.yaml --data /var/lib/tillway\n  \
tillway settle open --config shop/tillway.yaml --data /var/lib/tillway\n  \
tillway settle report --connection stripe-main --date 2026-11-28 --html day.html --csv day.csv --config … --data …\n  \
tillway settle bank --connection cyb-main --statement statement.xml --config … --data …\n  \
tillway settle check po_1Abc --config infra/config/tillway/tillway.yaml --aws tillway-dev"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
struct Of {
    /// The gateway's connection.
    #[arg(long)]
    connection: String,
    /// The day whose payouts reached the bank, YYYY-MM-DD [default: yesterday, UTC].
    #[arg(long, value_name = "DAY")]
    date: Option<String>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Settles a day: reads the batches, matches them, checks and posts them. May be repeated; nothing is posted twice.
    #[command(
        after_help = "Exit code 0: everything that is there is settled; open items may be left. 1: something waits or \
was refused.\n\nExample:\n  tillway settle run --connection stripe-main --date 2026-11-28 --config shop/tillway.yaml --data /var/lib/tillway"
    )]
    Run {
        #[command(flatten)]
        of: Of,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Writes the report of a day: the morning's text, or JSON, CSV and a page.
    #[command(
        after_help = "Example:\n  tillway settle report --connection stripe-main --date 2026-11-28 --html day.html --csv day.csv --config … --data …"
    )]
    Report {
        #[command(flatten)]
        of: Of,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
        /// Every line, matched ones too, as CSV into this file.
        #[arg(long, value_name = "FILE")]
        csv: Option<PathBuf>,
        /// One page for the browser into this file.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Where the page's links lead, with {key} for the order, e.g. https://pay.example.com/explain/{key}.
        #[arg(long, value_name = "URL", requires = "html")]
        explain: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Shows a batch: how it stands, its sums, and what is open in it.
    #[command(after_help = "Example:\n  tillway settle show po_1Abc --csv --config … --data …")]
    Show {
        /// The gateway's id of the batch.
        batch: String,
        /// The batch with lines, certificates and entries as one JSON document.
        #[arg(long, conflicts_with = "csv")]
        json: bool,
        /// Its lines as CSV.
        #[arg(long)]
        csv: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Lists what is open, oldest first, with its age and what to do.
    #[command(after_help = "Example:\n  tillway settle open --connection stripe-main --config … --data …")]
    Open {
        /// Only this connection.
        #[arg(long)]
        connection: Option<String>,
        /// One JSON document instead of text.
        #[arg(long, conflicts_with = "csv")]
        json: bool,
        /// As CSV.
        #[arg(long)]
        csv: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Reads the bank's statement: closes the submitted batches that its bookings pay. May be repeated; nothing is posted twice.
    #[command(
        after_help = "A layout says how the statement is written:\n  bank: main\n  format: camt053            # or csv, with columns\n  \
account: DE02120300000000202051\n  currency: EUR\n  ours: [CYBERSOURCE]        # words in the bookings that are the gateway's\n\n\
Exit code 0: what is paid for sure is closed; bookings and batches may be left open. 1: a batch was refused.\n\n\
Example:\n  tillway settle bank --connection cyb-main --statement statement.xml --layout bank.yaml --config … --data …"
    )]
    Bank(bank::Of),
    /// Accepts an open item: closes it by hand, with a reason, and books it to an account. If its line comes after all, that is
    /// taken back.
    #[command(
        after_help = "Example:\n  tillway settle accept --item missing_at_gateway-0f3a… --account chargeback_loss \\\n    \
--reason 'not worth a claim' --config … --data …"
    )]
    Accept(accept::Of),
    /// Keeps the rates at which the books convert: what a gateway gives over or under them is booked as exchange gain or loss from
    /// then on. Without a rate none is booked.
    #[command(
        after_help = "Forms:\n  day,from,to,rate            a unit of `from` in `to`\n  2026-11-27,GBP,USD,1.2712\n\n  \
Date,USD,JPY,GBP            a unit of the euro in each, as the European Central Bank's table\n  2026-11-27,1.0521,159.8,0.8325\n\n\
A rate holds until the next one, for a week at most.\n\n\
Example:\n  tillway settle rates rates.csv --config … --data …"
    )]
    Rates(rates::Of),
    /// Shows the figures of a day (fee rates, declines, refunds, disputes, delay, volume) beside what was to be expected of them.
    #[command(
        after_help = "Example:\n  tillway settle watch --connection stripe-main --date 2026-11-28 --config … --data …"
    )]
    Watch {
        #[command(flatten)]
        of: Of,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Looks at a posted batch again with the checker: certificates, sums, and the journal's entries.
    #[command(
        after_help = "Exit code 1: it does not hold.\n\nExample:\n  tillway settle check po_1Abc --config … --data …"
    )]
    Check {
        /// The gateway's id of the batch.
        batch: String,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Works settlement.
///
/// # Errors
/// An unknown connection or batch, a gateway that does not answer, the store's.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Run { of, json, place } => settle(&of, json, &place.open().await?).await,
        Command::Report { of, json, csv, html, explain, place } => {
            report(&of, json, (csv, html), explain, &place.open().await?).await
        }
        Command::Show { batch, json, csv, place } => {
            let machine = place.open().await?;
            let view = found(&machine.engine, &batch).await?;
            if json {
                say(serde_json::to_string_pretty(&machine.engine.whole_batch(view).await?)?);
            } else if csv {
                let name = &view.record.batch.connection;
                machine.engine.batch_csv(name, &view.doc, &|text| to_stdout(text)).await?;
            } else {
                show(&view);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Open { connection, json, csv, place } => {
            open(connection.as_deref(), json, csv, &place.open().await?.engine).await
        }
        Command::Bank(of) => bank::run(of).await,
        Command::Rates(of) => rates::run(of).await,
        Command::Accept(of) => accept::run(of).await,
        Command::Watch { of, json, place } => watch(&of, json, &place.open().await?).await,
        Command::Check { batch, json, place } => check(&batch, json, &place.open().await?.engine).await,
    }
}

impl Of {
    fn connection(&self, engine: &Engine) -> anyhow::Result<ConnectionName> {
        connection(&self.connection, engine)
    }

    fn day(&self, engine: &Engine) -> anyhow::Result<Day> {
        let Some(text) = &self.date else { return Ok(Day::of(engine.ports.clock.now()).plus(-1)) };
        Day::parse(text).with_context(|| format!("`{text}` is no day; write it as 2026-11-28"))
    }
}

fn connection(name: &str, engine: &Engine) -> anyhow::Result<ConnectionName> {
    let found = ConnectionName::new(name);
    if engine.settles(&found) {
        return Ok(found);
    }
    let all = engine.config.connections.keys().filter(|name| engine.settles(name));
    let known: Vec<&str> = all.map(ConnectionName::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    bail!("`{name}` settles nothing; connections whose settlement is read: {known}")
}

/// What is shown of a step while a run is at work.
fn progress(step: &Step) -> Option<String> {
    Some(match step {
        Step::Resumed => "an earlier run was broken off; it is carried out first".to_owned(),
        Step::Read(batch, lines) => format!("reading {batch}: {lines} lines"),
        Step::Section(n, of) => format!("matching by the gateway's ids: section {n} of {of}"),
        Step::Matching(lines, expected) => format!("matching {lines} lines with {expected} expectations"),
        Step::Posted(batch) => format!("posted {batch}"),
        Step::At(_) => return None,
    })
}

async fn settle(of: &Of, json: bool, machine: &Opened) -> anyhow::Result<ExitCode> {
    let engine = &machine.engine;
    let (name, day) = (of.connection(engine)?, of.day(engine)?);
    let watch = |step: &Step| {
        if let Some(line) = progress(step).filter(|_| !json) {
            crate::warn(&format!("  {line}"));
        }
        true
    };
    let report = engine.settle_day(&name, day, &watch).await?;
    if json {
        say(serde_json::to_string_pretty(&Ran { clean: report.is_clean(), report: &report })?);
    } else {
        told(&report);
    }
    let done = !report.busy && report.waiting.is_empty() && report.refused.is_empty();
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A run's report as a document.
#[derive(Serialize)]
struct Ran<'a> {
    clean: bool,
    #[serde(flatten)]
    report: &'a RunReport,
}

fn told(report: &RunReport) {
    if report.busy {
        say(
            "another process settles it now, or after a restore its gateway is swept first; run it again later",
        );
        return;
    }
    for record in &report.batches {
        let same = if report.unchanged.contains(&record.batch.id) { ", as before" } else { "" };
        let s = &record.sums;
        say(format!(
            "batch {}: {}{same}, {} lines: {} matched, {} explained, {} open, {} entries posted",
            record.batch.id,
            record.standing.name(),
            s.lines,
            s.matched,
            s.explained,
            s.open,
            if same.is_empty() { record.posted } else { 0 }
        ));
    }
    for w in &report.waiting {
        let again = w.again_at.map(|at| format!("; run it again after {at}")).unwrap_or_default();
        say(format!("waits: {} {}{again}", w.batch, w.why));
    }
    say(&report.headline);
}

async fn report(
    of: &Of,
    json: bool,
    (csv, html): (Option<PathBuf>, Option<PathBuf>),
    explain: Option<String>,
    machine: &Opened,
) -> anyhow::Result<ExitCode> {
    let engine = &machine.engine;
    let (name, day) = (of.connection(engine)?, of.day(engine)?);
    let report: Report = engine.settlement_report(&name, day).await?;
    if let Some(file) = &csv {
        let failed = || format!("cannot write {}", file.display());
        let out = std::sync::Mutex::new(std::io::BufWriter::new(File::create(file).with_context(failed)?));
        let locked = || out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        engine.settlement_csv(&name, day, &|text| locked().write_all(text.as_bytes())).await?;
        locked().flush().with_context(failed)?;
    }
    if let Some(file) = &html {
        // A link only to what lies beside the page.
        let near = csv.as_ref().filter(|f| f.parent() == file.parent());
        let beside = near.and_then(|f| f.file_name()).map(|f| in_url(&f.to_string_lossy()));
        let links = page::Links { explain, csv: beside };
        let text = page::html(&report, &links);
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if json {
        say(report.json()?);
    } else {
        say(report.morning());
    }
    Ok(ExitCode::SUCCESS)
}

async fn watch(of: &Of, json: bool, machine: &Opened) -> anyhow::Result<ExitCode> {
    let engine = &machine.engine;
    let (name, day) = (of.connection(engine)?, of.day(engine)?);
    let view = engine.settlement_watch(&name, day).await?;
    if json {
        say(serde_json::to_string_pretty(&view)?);
        return Ok(ExitCode::SUCCESS);
    }
    if !view.whole {
        say(format!("{day} of {name} was not settled, or something of it is still waited for"));
        return Ok(ExitCode::SUCCESS);
    }
    say(format!("{day} of {name}, beside {} day(s) before it", view.days));
    for figure in &view.figures {
        say(format!("  {}", figure.text()));
    }
    for finding in &view.findings {
        say(format!("! {}", finding.text()));
    }
    if view.findings.is_empty() {
        say("nothing is out of the ordinary");
    }
    Ok(ExitCode::SUCCESS)
}

fn to_stdout(text: &str) -> std::io::Result<()> {
    std::io::stdout().lock().write_all(text.as_bytes())
}

async fn found(engine: &Engine, batch: &str) -> anyhow::Result<BatchView> {
    let found = engine.settled_batch(None, batch).await?;
    found.with_context(|| {
        format!("no batch `{batch}` is settled; `tillway settle run` settles the day it reached the bank")
    })
}

fn show(view: &BatchView) {
    let BatchView { record, doc } = view;
    let s = &record.sums;
    let money = |minor| tillway_core::money::Money::new(minor, record.batch.currency);
    say(format!(
        "batch {} of {}, {}: {}",
        record.batch.id,
        record.batch.connection,
        record.day,
        record.standing.name()
    ));
    say(format!(
        "  {} charges {}, {} refunds {}, {} disputes",
        s.payments,
        money(s.gross),
        s.refunds,
        money(s.refunded),
        s.disputes
    ));
    say(format!("  fees {}, net {}", money(s.fees), money(s.net)));
    if let Some(paid) = &record.paid_by {
        let by = paid.by.as_ref().map(|by| format!(", said by {by}")).unwrap_or_default();
        say(format!("  paid by booking {} of {} at {}{by}", paid.booking, paid.day, paid.bank));
    }
    say(format!(
        "  {} lines: {} matched under {} certificates, {} explained, {} open",
        s.lines,
        s.matched,
        view.certificates(),
        s.explained,
        s.open
    ));
    say(format!("  {} entries in {} posting(s), last at {}", view.entries(), record.revision, record.at));
    for line in doc.lines.iter().filter(|l| doc.open_lines.contains(&l.id)) {
        let own = line.ids.own.as_deref().unwrap_or("no object");
        say(format!("  open: {} {} {} ({own})", line.id, line.kind.name(), money(line.gross)));
    }
    for word in &doc.accepted {
        let account = word.account.name();
        say(format!(
            "  accepted: {} to {account} by {} at {}: {}",
            word.item,
            word.by,
            word.at,
            shown(&word.reason)
        ));
    }
    for flaw in &doc.flaws {
        say(format!("  {}: {}; {}", title(flaw.class), flaw.amount, flaw.class.action()));
    }
}

async fn open(connection: Option<&str>, json: bool, csv: bool, engine: &Engine) -> anyhow::Result<ExitCode> {
    let connection = connection.map(ConnectionName::new);
    let all = engine.settlement_open(connection.as_ref()).await?;
    if json {
        say(serde_json::to_string_pretty(&all)?);
    } else if csv {
        say("connection,class,since,age,amount,currency,orders,objects,batches,lines,expected,action,item");
        for o in &all {
            say(row(o));
        }
    } else if all.is_empty() {
        say("nothing is open");
    } else {
        for o in &all {
            let x = &o.record.exception;
            say(format!(
                "{:<18} {:>14}  {:<12} {} {}",
                x.class.code(),
                x.amount.to_string(),
                age(o.age),
                o.connection,
                named(o)
            ));
            say(format!("  {}", x.class.action()));
            say(format!("  or accept it: --item {}", argument(&o.record.id)));
            for order in &o.record.orders {
                say(format!("  tillway explain {}", argument(order)));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn named(o: &OpenView) -> String {
    let lists = [&o.record.orders, &o.record.objects, &o.record.batches];
    let names: Vec<&str> = lists.iter().flat_map(|list| list.iter().map(AsRef::as_ref)).collect();
    names.join(", ")
}

fn row(o: &OpenView) -> String {
    let x = &o.record.exception;
    let list = |ids: &[Box<str>]| cell(&ids.join(" "));
    let cells = [
        cell(o.connection.as_str()),
        x.class.code().to_owned(),
        x.since.to_string(),
        o.age.max(0).to_string(),
        x.amount.to_major().to_string(),
        x.amount.currency.code().to_owned(),
        list(&o.record.orders),
        list(&o.record.objects),
        list(&o.record.batches),
        list(&x.lines),
        list(&x.expected),
        cell(x.class.action()),
        cell(&o.record.id),
    ];
    cells.join(",")
}

async fn check(batch: &str, json: bool, engine: &Engine) -> anyhow::Result<ExitCode> {
    let view = found(engine, batch).await?;
    let checked = engine.check_batch(&view).await?;
    if json {
        say(serde_json::to_string_pretty(&checked)?);
    } else {
        match checked.standing {
            Some(standing) => say(format!(
                "batch {batch} holds: {}, {} certificates and {} entries verified",
                standing.name(),
                checked.certificates,
                checked.entries
            )),
            None => {
                say(format!("batch {batch} does NOT hold:"));
                for why in &checked.rejected {
                    say(format!("  {why}"));
                }
            }
        }
    }
    Ok(if checked.rejected.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
