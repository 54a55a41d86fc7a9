//! The second half of `tillway demo --settle`: a month of invented payments lies at a gateway and in the books of a machine of its own, and is
//! settled as `tillway settle run` settles a day: read page by page, matched, certified, checked, posted. Every class of exception is
//! planted in it and compared with what was found.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use serde_json::{Value, json};
use tillway_core::journal::TrialBalance;
use tillway_core::settle::Class;
use tillway_core::settle::market::{Plan, Planted};
use tillway_core::settle::report::{grouped, page};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::Engine;
use tillway_engine::ports::{Clock, Guard, MAX_WRITES, NewItem, Write};
use tillway_engine::records::{OrderRecord, entry_item, state_key};
use tillway_engine::settle::Step;
use tillway_engine::settle::records::{BookRecord, RunReport, Standing, book_key};
use tillway_local::clock::SystemClock;
use tillway_local::secrets::FileSecrets;
use tillway_market::{Market, NAME, name};

use super::story::say;
use crate::machine::{self, Machine};

/// One payment in so many carries an exception.
const FAULT_EVERY: u64 = 400;
/// Rows of exceptions that are shown where something was missed or invented.
const FEW: usize = 5;
/// The books are read from so many days before the month is settled.
const LOOK_BACK: i32 = 90;

/// What came of it.
pub struct Settled {
    /// Whether all that was planted was found, nothing else was, and no batch was refused.
    pub ok: bool,
    /// For the document.
    pub json: Value,
}

/// Seed, payments, and lines that are held at once.
type Wanted = (u64, u32, usize);

/// Invents and settles it; writes its report into the folder, where there is one.
///
/// # Errors
/// A report that cannot be written, or a defect in the invented trade.
pub async fn play(wanted: Wanted, folder: Option<&Path>, loud: bool) -> anyhow::Result<Settled> {
    let data = std::env::temp_dir().join(format!("tillway-month-{}", std::process::id()));
    let played = settled(wanted, folder, loud, &data).await;
    // The folder is scratch; a leftover harms nobody.
    let _ = std::fs::remove_dir_all(&data);
    played
}

async fn settled(
    (seed, payments, hold): Wanted,
    folder: Option<&Path>,
    loud: bool,
    data: &Path,
) -> anyhow::Result<Settled> {
    let tell = |text: String| {
        if loud {
            say(&text);
        }
    };
    let count = |n: usize| grouped(u64::try_from(n).unwrap_or(u64::MAX));
    let plan = Plan { seed, payments, days: 30, fault_every: FAULT_EVERY };
    tell(format!("\nA month of {} invented payments is settled as well …", grouped(u64::from(payments))));
    let market = Arc::new(Market::of(&plan).map_err(|e| anyhow!(e))?);
    let machine = machine_of(&market, hold, data).await?;
    let engine = &machine.engine;
    let before = memory(true);
    let began = SystemClock.now();
    let report = engine.settle_day(&name(), market.day, &|_: &Step| true).await?;
    let took = SystemClock.now().since(began).0;
    let peak = memory(false);
    let of_batches = looked_at(engine, &report, &market).await?;
    let standing = |wanted| report.batches.iter().filter(|b| b.standing == wanted).count();
    let mut found: BTreeSet<Planted> =
        report.open.iter().map(|open| Planted::as_found(&open.exception)).collect();
    found.extend(of_batches.flaws);
    let planted: BTreeSet<&Planted> = market.month.planted.iter().collect();
    let missed: Vec<&Planted> = planted.iter().filter(|p| !found.contains(**p)).copied().collect();
    let invented: Vec<&Planted> = found.iter().filter(|p| !planted.contains(p)).collect();
    let seen = planted.len().saturating_sub(missed.len());
    let refused = report.refused.len().saturating_add(of_batches.wrong.len());
    let classes: Vec<&str> = Class::ALL
        .iter()
        .filter(|class| planted.iter().any(|p| p.class == **class))
        .map(|class| class.code())
        .collect();
    let ok = missed.is_empty() && invented.is_empty() && refused == 0 && of_batches.balanced;
    if let Some(folder) = folder {
        write_report(engine, &market, folder).await?;
        tell(format!("report: {}", folder.join("month.html").display()));
    }
    tell(format!(
        "{} lines and {} expectations in {} batches: {} groups, each under a certificate, {} of them in {} sections; {} \
         batches closed, {} open, {} submitted, {refused} refused by the check",
        count(market.month.lines.len()),
        count(market.month.expected.len()),
        market.month.batches.len(),
        count(of_batches.certificates),
        count(of_batches.in_sections),
        count(of_batches.sections),
        standing(Standing::Closed),
        standing(Standing::Open),
        standing(Standing::Submitted),
    ));
    let memory = before.zip(peak).map(|(before, peak)| {
        format!(
            "; the process holds {before} MB with the month in it, and {peak} MB at most while it settles"
        )
    });
    tell(format!(
        "settled in {}.{} s, SQLite and all{}",
        took / 1_000,
        took % 1_000 / 100,
        memory.unwrap_or_default()
    ));
    for (batch, why) in &of_batches.wrong {
        tell(format!("  {batch} does not hold: {why}"));
    }
    for refused in &report.refused {
        tell(format!("  {} is refused: {}", refused.batch, refused.why.join("; ")));
    }
    tell(format!(
        "{} exceptions of {} classes were planted: {} found, {} missed, {} invented",
        count(planted.len()),
        classes.len(),
        count(seen),
        missed.len(),
        invented.len()
    ));
    for (what, wrong) in [("missed", &missed), ("invented", &invented)] {
        for p in wrong.iter().take(FEW) {
            let ids: Vec<&str> = p.lines.iter().chain(&p.expected).map(AsRef::as_ref).collect();
            tell(format!("  {what}: {} {}", p.class.code(), ids.join(" ")));
        }
    }
    let headline = report.headline.lines().next().unwrap_or_default();
    tell(headline.to_owned());
    let json = json!({
        "payments": payments, "lines": market.month.lines.len(), "expected": market.month.expected.len(),
        "batches": market.month.batches.len(), "refused": refused, "certificates": of_batches.certificates,
        "in_sections": of_batches.in_sections, "sections": of_batches.sections,
        "classes": classes, "planted": planted.len(), "found": seen,
        "missed": missed.len(), "invented": invented.len(), "balanced": of_batches.balanced, "ok": ok,
    });
    Ok(Settled { ok, json })
}

/// What the posted batches hold.
#[derive(Default)]
struct OfBatches {
    certificates: usize,
    in_sections: usize,
    sections: usize,
    flaws: Vec<Planted>,
    /// Batches that the checker rejects, looked at once more.
    wrong: Vec<(Box<str>, String)>,
    /// Whether every entry of the books balances, in every currency.
    balanced: bool,
}

async fn looked_at(engine: &Engine, report: &RunReport, market: &Market) -> anyhow::Result<OfBatches> {
    let mut out = OfBatches::default();
    let mut balance = TrialBalance::default();
    for record in &report.batches {
        let id = &record.batch.id;
        let view = engine.settled_batch(Some(&name()), id).await?.context("a posted batch is gone")?;
        let rejected = engine.check_batch(&view).await?.rejected;
        out.wrong.extend(rejected.into_iter().map(|why| (id.clone(), why)));
        out.certificates = out.certificates.saturating_add(view.certificates());
        let inside = view.doc.sections.iter().map(|s| s.sums.matched);
        out.in_sections = inside.fold(out.in_sections, usize::saturating_add);
        out.sections = out.sections.saturating_add(view.doc.sections.len());
        out.flaws.extend(view.doc.flaws.iter().map(Planted::as_found));
        engine.posted_entries(&name(), id).await?.iter().for_each(|entry| balance.add(entry));
    }
    market.journal().map_err(|e| anyhow!(e))?.iter().for_each(|(_, entry)| balance.add(entry));
    out.balanced = balance.unbalanced().is_empty();
    Ok(out)
}

async fn write_report(engine: &Engine, market: &Market, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let report = engine.settlement_report(&name(), market.day).await?;
    let links = page::Links { explain: None, csv: Some("month.csv".to_owned()) };
    for (name, text) in [("month.json", report.json()?), ("month.html", page::html(&report, &links))] {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let file = folder.join("month.csv");
    let failed = || format!("cannot write {}", file.display());
    let out = Mutex::new(BufWriter::new(File::create(&file).with_context(failed)?));
    let locked = || out.lock().unwrap_or_else(PoisonError::into_inner);
    engine.settlement_csv(&name(), market.day, &|text| locked().write_all(text.as_bytes())).await?;
    locked().flush().with_context(failed)
}

/// A machine whose gateway is the market, with the month in its books.
async fn machine_of(market: &Arc<Market>, hold: usize, data: &Path) -> anyhow::Result<Machine> {
    std::fs::create_dir_all(data)?;
    let text = format!(
        "connections:\n  shop: {{ system: clarity, base_url: \"http://127.0.0.1:9/api/v1\", auth: api_key }}\n  \
         {NAME}: {{ system: stripe, base_url: \"http://127.0.0.1:9\" }}\npairs:\n  main: {{ flow: stripe-clarity, shop: shop, gateway: \
         {NAME}, initiates: shop, return_url: \"https://shop.example.com/return\" }}\n"
    );
    let (mut config, extras) = tillway_engine::settings::load(
        "month.yaml",
        &text,
        &tillway_templates::sources(),
        &[],
        tillway_templates::notices(),
    )
    .map_err(|p| machine::problems(&p))?;
    config.in_memory = hold;
    let slot = config.connections.get_mut(&name()).context("the month has no gateway")?;
    slot.1 = Arc::clone(market).connector(slot.1);
    let variables = [
        ("TILLWAY_SECRET__TILLWAY__MASTER_KEY", "6d".repeat(32)),
        ("TILLWAY_SECRET__GATEWAY__API_KEY", "sk_test_month".to_owned()),
        ("TILLWAY_SECRET__GATEWAY__WEBHOOK_SECRET", "whsec_bW9udGg=".to_owned()),
    ];
    let secrets = FileSecrets::new(data.join("secrets"), variables.map(|(n, v)| (n.to_owned(), v)))?;
    let morning = Morning(market.day.plus(1).start());
    let quiet = Arc::new(tillway_local::notify::LogNotify);
    let machine =
        machine::assemble(config, extras, data, Arc::new(morning), Arc::new(secrets), Some(quiet)).await?;
    let put = |item| Write::Put(item, Guard::Absent);
    let mut writes = Vec::new();
    for (order, entry) in market.journal().map_err(|e| anyhow!(e))? {
        writes.push(put(entry_item(&order, &entry, entry.at)?));
    }
    let plain = |key, body| put(NewItem { key, body, due: None, list: None, expires: None });
    for state in market.orders() {
        let key = state_key(&state.key);
        let record = OrderRecord { state, seq: 1, personal: None, seen: Vec::new(), wake_at: None };
        writes.push(plain(key, serde_json::to_vec(&record)?));
    }
    let cursor = Some(market.day.plus(-LOOK_BACK).start());
    let book = BookRecord { cursor, ..BookRecord::default() };
    writes.push(plain(book_key(&name()), serde_json::to_vec(&book)?));
    for some in writes.chunks(MAX_WRITES) {
        machine.engine.ports.store.transact(some.to_vec()).await?;
    }
    Ok(machine)
}

/// A clock that stands: the month is settled on one morning.
struct Morning(Timestamp);

#[async_trait]
impl Clock for Morning {
    fn now(&self) -> Timestamp {
        self.0
    }
    async fn sleep(&self, _length: Millis) {}
}

/// Memory of this process in MB, as the kernel counts it: what it holds now (`begin`), or the most it held since then. `None`: this
/// kernel does not say.
fn memory(begin: bool) -> Option<u64> {
    if begin {
        // Where it may not be written the most since the start is told.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let wanted = if begin { "VmRSS:" } else { "VmHWM:" };
    let line = status.lines().find_map(|line| line.strip_prefix(wanted))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes / 1024)
}
