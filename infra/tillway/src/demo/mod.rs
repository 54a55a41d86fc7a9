//! `tillway demo`: sandboxes and Tillway on loopback, real orders, and what became of them.

pub mod end;
pub mod gateway;
pub mod month;
pub mod pace;
pub mod promises;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod seen;
pub mod settle;
pub mod stage;
pub mod story;
pub mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use tillway_core::check::did_you_mean;

use gateway::{SYSTEMS, System};
use report::{Outcome, Row};
use run::{Draw, Placed, Run};
use scenarios::Scenario;
use stage::Stage;
use story::{Story, say};
use world::World;

/// Starts sandboxes of Stripe, Cybersource and Clarity and Tillway beside them, places orders, tells what happens at
/// each, and checks the five promises.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  tillway demo\n  tillway demo --seed 7 --scenario paid-at-once --scenario dispute-won\n  \
tillway demo --pair cybersource-clarity --json > demo.json\n\n\
Everything runs on 127.0.0.1 and in a temporary folder. The exit code is 0 when every order ended as it must and\n\
no promise was broken. TILLWAY_LOG=info shows Tillway's own log on standard error."
)]
pub struct Args {
    /// Draws inputs and faults; the same number gives the same end states.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Play only this pair of systems; may be given several times [stripe-clarity, cybersource-clarity].
    #[arg(long = "pair", value_name = "NAME")]
    pub pairs: Vec<String>,
    /// Play only this scenario; may be given several times.
    #[arg(long = "scenario", value_name = "NAME")]
    pub scenarios: Vec<String>,
    /// Play a day's orders, its payout and its settlement instead of the scenarios, then settle an invented month.
    #[arg(long, conflicts_with_all = ["pairs", "scenarios", "list"])]
    pub settle: bool,
    /// With --settle: so many payments of an invented month, settled after it; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 200_000, requires = "settle", value_parser = clap::value_parser!(u32).range(..=2_000_000))]
    pub payments: u32,
    /// With --settle: lines of the month that are held at once; what is more is matched in sections.
    #[arg(long, value_name = "LINES", default_value_t = tillway_engine::settings::IN_MEMORY, requires = "settle")]
    pub hold: usize,
    /// With --settle: write the month's report into this folder, as a page, as CSV and as JSON.
    #[arg(long, value_name = "DIR", requires = "settle")]
    pub report: Option<PathBuf>,
    /// List the scenarios and play none.
    #[arg(long)]
    pub list: bool,
    /// Print one JSON document at the end and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Keep the data folder here; it must be new or empty [default: a temporary one, removed afterwards].
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// How much faster than the real one the demo's clock runs; where nothing is under way it is put forward.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub speed: u32,
}

/// The engine's log goes to standard error, and only where it is asked for.
fn log_if_asked() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("TILLWAY_LOG") {
        let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
        // A second call in one process keeps the first subscriber.
        let _ = subscriber.try_init();
    }
}

/// The gateways of the pairs asked for; of all where none is.
fn systems(pairs: &[String]) -> anyhow::Result<Vec<&'static System>> {
    let known: Vec<&str> = SYSTEMS.iter().map(|s| s.pair).collect();
    if let Some(pair) = pairs.iter().find(|p| !known.contains(&p.as_str())) {
        bail!("there is no pair `{pair}`; known pairs: {}", known.join(", "));
    }
    let asked = |s: &&&System| pairs.is_empty() || pairs.iter().any(|p| p == s.pair);
    Ok(SYSTEMS.iter().filter(asked).copied().collect())
}

fn chosen(names: &[String], systems: &[&System]) -> anyhow::Result<Vec<Scenario>> {
    let of_pair = |s: &&Scenario| systems.iter().any(|system| system.key == s.system().key);
    let known = || scenarios::ALL.iter().filter(of_pair).map(|s| s.name);
    for name in names {
        if !known().any(|k| k == name) {
            let hint = did_you_mean(name, known());
            bail!("there is no scenario `{name}`; {hint} (`tillway demo --list` lists them)");
        }
    }
    let wanted = |s: &&Scenario| names.is_empty() || names.iter().any(|n| n == s.name);
    Ok(scenarios::ALL.iter().filter(of_pair).filter(wanted).copied().collect())
}

/// Runs the demo.
///
/// # Errors
/// What could not be started, or a name nobody knows.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.settle {
        log_if_asked();
        let stage = Stage::start(&[&gateway::STRIPE], args.seed, args.speed, args.keep.as_deref()).await?;
        let played = settle::play(&stage, &args).await;
        stage.stop().await;
        return Ok(if played? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let systems = systems(&args.pairs)?;
    let chosen = chosen(&args.scenarios, &systems)?;
    if args.list {
        for scenario in &chosen {
            say(&format!("{:<30} {}", scenario.name, scenario.title));
        }
        return Ok(ExitCode::SUCCESS);
    }
    log_if_asked();
    // Nobody waits for sandboxes that nothing is played at.
    let played = |s: &&System| chosen.iter().any(|c| c.system().key == s.key);
    let systems: Vec<&System> = systems.into_iter().filter(played).collect();
    let stage = Stage::start(&systems, args.seed, args.speed, args.keep.as_deref()).await?;
    let played = play_all(&stage, &args, &systems, &chosen).await;
    stage.stop().await;
    Ok(if played? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play_all(
    stage: &Stage,
    args: &Args,
    systems: &[&'static System],
    chosen: &[Scenario],
) -> anyhow::Result<bool> {
    if !args.json {
        let pairs: Vec<&str> = systems.iter().map(|s| s.pair).collect();
        let names: Vec<&str> = systems.iter().map(|s| s.name).collect();
        say(&format!(
            "{} and Clarity (sandboxes) and Tillway on 127.0.0.1; {} {}, seed {}, {} scenarios.",
            names.join(", "),
            if pairs.len() == 1 { "pair" } else { "pairs" },
            pairs.join(" and "),
            args.seed,
            chosen.len()
        ));
        say("Times are the demo's own clock: it runs faster, and skips ahead where nothing is under way.");
    }
    first_sweeps(stage).await?;
    let mut story = Story::new(!args.json, stage.epoch, systems);
    let mut played = Vec::new();
    for scenario in chosen {
        played.push(play_one(stage, &mut story, args.seed, *scenario, scenario.merchant).await?);
    }
    let Judged { outcomes, kept, books } = judged(stage, played).await?;
    let ok = outcomes.iter().all(Outcome::ok) && kept.iter().all(|p| p.kept);
    if args.json {
        let document = report::json(args.seed, systems, &outcomes, &books, &kept, ok);
        say(&serde_json::to_string_pretty(&document)?);
        return Ok(ok);
    }
    for system in systems {
        say("");
        let of_it: Vec<&Outcome> =
            outcomes.iter().filter(|o| o.scenario.system().key == system.key).collect();
        report::table(system, &of_it).iter().for_each(|l| say(l));
    }
    say("\nTrial balance of the journal\n");
    report::books(&books).iter().for_each(|l| say(l));
    say("\nPromises\n");
    report::promises(&kept).iter().for_each(|l| say(l));
    let good = outcomes.iter().filter(|o| o.ok()).count();
    let verdict = if ok { "All as it must be" } else { "NOT as it must be" };
    let promise = if kept.iter().all(|p| p.kept) { "" } else { ", and a promise was broken" };
    say(&format!("\n{verdict}: {good} of {} scenarios ended well{promise}.", outcomes.len()));
    if args.keep.is_some() {
        say(&format!("The data is kept in {}.", stage.folder.display()));
    }
    Ok(ok)
}

/// Puts the cursors of all sweeps at the beginning, so that the last one looks at everything.
///
/// # Errors
/// Where a sandbox or the store does not answer.
pub async fn first_sweeps(stage: &dyn World) -> anyhow::Result<()> {
    for merchant in stage.merchants() {
        stage.sweep(&merchant.gateway).await?;
        stage.sweep(&merchant.shop).await?;
    }
    Ok(())
}

/// Plays a scenario at a merchant.
///
/// # Errors
/// Where there is no such merchant. What did not come to be as it must stands in the outcome.
pub async fn play_one(
    stage: &dyn World,
    story: &mut Story,
    seed: u64,
    scenario: Scenario,
    merchant: &str,
) -> anyhow::Result<(Outcome, Vec<Placed>)> {
    story.head(scenario.name, scenario.title);
    let mut run = Run {
        stage,
        merchant: stage.merchant(merchant)?,
        story,
        draw: Draw::new(seed, scenario.name),
        placed: Vec::new(),
    };
    let played = scenarios::play(scenario.name, &mut run).await;
    let placed = std::mem::take(&mut run.placed);
    let failed = match played.and(stage.settle().await) {
        Ok(()) => None,
        Err(error) => {
            let now = run.now();
            run.story.tell(now, "", "demo", format!("FAILED: {error:#}"));
            Some(format!("{error:#}"))
        }
    };
    let lines = std::mem::take(&mut story.lines);
    Ok((Outcome { scenario, rows: Vec::new(), failed, lines }, placed))
}

/// What became of all that was played.
pub struct Judged {
    /// With each order's row as it stands at the very end.
    pub outcomes: Vec<Outcome>,
    /// The promises.
    pub kept: Vec<promises::Promise>,
    /// The books.
    pub books: promises::Books,
}

/// Checks the promises, and whether what ended well still stands.
///
/// # Errors
/// Where the store or a sandbox does not answer.
pub async fn judged(stage: &dyn World, played: Vec<(Outcome, Vec<Placed>)>) -> anyhow::Result<Judged> {
    let (mut outcomes, placed): (Vec<Outcome>, Vec<Vec<Placed>>) = played.into_iter().unzip();
    let told: Vec<String> = outcomes.iter().flat_map(|o| &o.lines).map(|l| l.what.clone()).collect();
    let flat: Vec<&Placed> = placed.iter().flatten().collect();
    let (kept, books) = promises::check(stage, &flat, &told).await?;
    for (outcome, placed) in outcomes.iter_mut().zip(&placed) {
        for placed in placed {
            outcome.rows.push(row(stage, placed).await?);
        }
    }
    Ok(Judged { outcomes, kept, books })
}

async fn row(stage: &dyn World, placed: &Placed) -> anyhow::Result<Row> {
    let seen = stage.look(stage.merchant(&placed.merchant)?, &placed.order).await?;
    Ok(Row {
        order: placed.order.clone(),
        clarity: seen.shop_status().to_owned(),
        gateway: seen.payment().map_or_else(|| "no payment".to_owned(), seen::describe),
        tillway: seen.status().map_or("unknown", tillway_core::facts::OrderStatus::name).to_owned(),
        parked: seen.parked(),
        wrong: placed.end.as_ref().map(|end| end.differences_at_last(&seen)).unwrap_or_default(),
        must: placed.end.clone(),
    })
}
