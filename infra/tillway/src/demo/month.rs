//! The second half of `tillway demo --settle`: a month of invented payments, matched, certified, checked and booked, with
//! every class of exception planted and compared with what was found.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use tillway_core::settle::Class;
use tillway_core::settle::check::Verdict;
use tillway_core::settle::market::{Month, Plan};
use tillway_core::settle::report::{Report, csv, grouped, page};

use super::story::say;

/// One payment in so many carries an exception.
const FAULT_EVERY: u64 = 400;
/// Rows of exceptions that are shown where something was missed or invented.
const FEW: usize = 5;

/// What came of it.
pub struct Settled {
    /// Whether all that was planted was found, nothing else was, and no batch was refused.
    pub ok: bool,
    /// For the document.
    pub json: Value,
}

/// Invents and settles it; writes its report into the folder, where there is one.
///
/// # Errors
/// A report that cannot be written, or a defect in the invented trade.
pub fn play(seed: u64, payments: u32, folder: Option<&Path>, loud: bool) -> anyhow::Result<Settled> {
    let tell = |text: String| {
        if loud {
            say(&text);
        }
    };
    let plan = Plan { seed, payments, days: 30, fault_every: FAULT_EVERY };
    tell(format!("\nA month of {} invented payments is settled as well …", grouped(u64::from(payments))));
    let month = Month::of(&plan).map_err(|e| anyhow!(e))?;
    let today = plan.end();
    let night = month.night(today).map_err(|e| anyhow!(e))?;
    let compared = night.compared(&month);
    let input = night.input(&month, today.plus(-1), today);
    let report = Report::of(&input);
    let standing = |wanted: Verdict| {
        night.batches.iter().filter(|(_, verdict)| verdict.as_ref().is_ok_and(|v| *v == wanted)).count()
    };
    let refused = night.batches.iter().filter(|(_, verdict)| verdict.is_err()).count();
    let classes: Vec<&str> = Class::ALL
        .iter()
        .filter(|class| month.planted.iter().any(|p| p.class == **class))
        .map(|class| class.code())
        .collect();
    let balanced = night.balance.unbalanced().is_empty();
    let ok = compared.missed.is_empty() && compared.invented.is_empty() && refused == 0 && balanced;
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)?;
        let links = page::Links { explain: None, csv: Some("month.csv".to_owned()) };
        for (name, text) in [
            ("month.json", report.json()?),
            ("month.csv", csv::table(&input)),
            ("month.html", page::html(&report, &links)),
        ] {
            let file = folder.join(name);
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        tell(format!("report: {}", folder.join("month.html").display()));
    }
    let count = |n: usize| grouped(u64::try_from(n).unwrap_or(u64::MAX));
    tell(format!(
        "{} lines and {} expectations in {} batches: {} groups, each under a certificate; {} batches closed, {} open, {} \
         submitted, {refused} refused by the check",
        count(month.lines.len()),
        count(month.expected.len()),
        month.batches.len(),
        count(night.certificates.len()),
        standing(Verdict::Closed),
        standing(Verdict::Open),
        standing(Verdict::Submitted),
    ));
    tell(format!(
        "{} exceptions of {} classes were planted: {} found, {} missed, {} invented",
        count(month.planted.len()),
        classes.len(),
        count(compared.found),
        compared.missed.len(),
        compared.invented.len()
    ));
    for (what, wrong) in [("missed", &compared.missed), ("invented", &compared.invented)] {
        for p in wrong.iter().take(FEW) {
            let ids: Vec<&str> = p.lines.iter().chain(&p.expected).map(AsRef::as_ref).collect();
            tell(format!("  {what}: {} {}", p.class.code(), ids.join(" ")));
        }
    }
    tell(report.headline());
    let json = json!({
        "payments": payments, "lines": month.lines.len(), "expected": month.expected.len(),
        "batches": month.batches.len(), "refused": refused, "certificates": night.certificates.len(),
        "classes": classes, "planted": month.planted.len(), "found": compared.found,
        "missed": compared.missed.len(), "invented": compared.invented.len(), "balanced": balanced, "ok": ok,
    });
    Ok(Settled { ok, json })
}
