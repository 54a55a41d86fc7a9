//! Writes the report of an invented month into a folder, to be looked at:
//! `cargo run -p tillway-core --example settlement_report -- /tmp/report 3000 200`
//! (folder, payments, one exception in so many payments; 0 for none).

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use tillway_core::settle::market::{Month, Plan};
use tillway_core::settle::report::{Report, csv, page};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse::<u64>());
    let folder = PathBuf::from(args.first().ok_or("name a folder")?);
    let plan =
        Plan { seed: 7, payments: u32::try_from(number(1, 3_000)?)?, days: 30, fault_every: number(2, 200)? };
    let month = Month::of(&plan)?;
    let today = plan.end();
    let night = month.night(today)?;
    let input = night.input(&month, today.plus(-1), today);
    let report = Report::of(&input);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("report.json"), report.json()?)?;
    fs::write(folder.join("lines.csv"), csv::table(&input))?;
    let links =
        page::Links { explain: Some("explain/{key}.txt".to_owned()), csv: Some("lines.csv".to_owned()) };
    fs::write(folder.join("report.html"), page::html(&report, &links))?;
    writeln!(std::io::stdout(), "{}", report.morning())?;
    Ok(())
}
