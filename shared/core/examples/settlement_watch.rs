//! How well the watch finds what is planted into invented months, by size of the shop:
//! `cargo run -p tillway-core --example settlement_watch` (deterministic; `-- 5 v` for five shops of each size, and every wrong
//! alarm and every miss; `-- 40 q 9000` for shops of other seeds). The settings were chosen on other seeds than those reported.
//!
//! An alarm is a run of days on which a figure is told, three days between them at most. It is right where it begins during
//! something planted into that figure, or within the week after, which a stretch of seven days still holds.

use std::error::Error;
use std::io::Write as _;

use tillway_core::settle::Day;
use tillway_core::settle::watch::habits::{Anomaly, FIRST, Habits, Planting, QUIET, months};
use tillway_core::settle::watch::{Finding, Settings, watch};

const DAYS: i32 = 160;

#[derive(Default)]
struct Tally {
    planted: [u64; 6],
    found: [u64; 6],
    waited: i64,
    right: u64,
    wrong: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let shops: u64 = args.first().map_or(Ok(40), |text| text.parse())?;
    let verbose = args.get(1).is_some_and(|word| word == "v");
    let first: u64 = args.get(2).map_or(Ok(1_000), |text| text.parse())?;
    let most: u64 = args.get(3).map_or(Ok(2_000), |text| text.parse())?;
    let mut out = std::io::stdout();
    writeln!(out, "{shops} shops of each size, {} days judged of each\n", DAYS - QUIET)?;
    writeln!(
        out,
        "| payments a day | precision | recall | fee | declines | refunds | disputes | delay | fall | days until told | wrong alarms a month |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|")?;
    for per_day in [20, 60, 200, 600, 2_000].into_iter().filter(|n| *n <= most) {
        let mut tally = Tally::default();
        for seed in 0..shops {
            shop(&Habits { seed: first + seed, per_day, days: DAYS, plant: true }, &mut tally, verbose)?;
        }
        let share = |part: u64, of: u64| {
            (part * 1000).checked_div(of).map_or("–".to_owned(), |t| format!("{}.{} %", t / 10, t % 10))
        };
        let (found, planted) = (tally.found.iter().sum::<u64>(), tally.planted.iter().sum::<u64>());
        write!(
            out,
            "| {per_day} | {} | {} |",
            share(tally.right, tally.right + tally.wrong),
            share(found, planted)
        )?;
        for (found, planted) in tally.found.iter().zip(tally.planted) {
            write!(out, " {found}/{planted} |")?;
        }
        let waited = (tally.waited * 10).checked_div(i64::try_from(found)?).unwrap_or(0);
        let months = shops * u64::try_from(DAYS - QUIET)? * 100 / 30;
        let wrong = tally.wrong * 10_000 / months.max(1);
        writeln!(out, " {}.{} | {}.{:02} |", waited / 10, waited % 10, wrong / 100, wrong % 100)?;
    }
    Ok(())
}

fn shop(habits: &Habits, tally: &mut Tally, verbose: bool) -> Result<(), Box<dyn Error>> {
    let (days, anomalies) = months(habits)?;
    let settings = Settings::default();
    let mut found: Vec<Finding> = Vec::new();
    for n in QUIET..DAYS {
        found.extend(watch(&days, FIRST.plus(n), &settings));
    }
    found.sort_by(|a, b| (&a.figure, a.day).cmp(&(&b.figure, b.day)));
    for alarm in found.chunk_by(|a, b| a.figure == b.figure && b.day.since(a.day) <= 3) {
        let Some(first) = alarm.first() else { continue };
        if anomalies.iter().any(|a| a.kind.moves(&first.figure) && during(a, first.day)) {
            tally.right += 1;
        } else {
            tally.wrong += 1;
            if verbose {
                writeln!(
                    std::io::stderr(),
                    "wrong: {} {} {} {}",
                    habits.per_day,
                    habits.seed,
                    first.deviations,
                    first.text()
                )?;
            }
        }
    }
    for (kind, (planted, hit)) in Planting::ALL.iter().zip(tally.planted.iter_mut().zip(&mut tally.found)) {
        for anomaly in anomalies.iter().filter(|a| a.kind == *kind) {
            *planted += 1;
            let told = found
                .iter()
                .filter(|f| kind.shows_in(&f.figure) && during(anomaly, f.day))
                .map(|f| f.day)
                .min();
            if let Some(day) = told {
                *hit += 1;
                tally.waited += i64::from(day.since(anomaly.first));
            } else if verbose {
                writeln!(std::io::stderr(), "missed: {} {} {anomaly:?}", habits.per_day, habits.seed)?;
            }
        }
    }
    Ok(())
}

fn during(anomaly: &Anomaly, day: Day) -> bool {
    day >= anomaly.first && day <= anomaly.last.plus(7)
}
