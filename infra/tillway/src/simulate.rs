//! `tillway simulate`: the engine under faults, crashes and races, in memory, from one seed.

use std::process::ExitCode;

use tillway_engine::ports::Clock as _;
use tillway_local::clock::SystemClock;
use tillway_simulator::{Options, Pair, run, shrink};

use crate::open::say;

/// Arguments of `simulate`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  cargo run --release -- simulate --seed 7 --pair cybersource-clarity --orders 20000\n\n\
The same seed gives the same run. A failing one prints the shortest history it can find."
)]
pub struct Args {
    /// Everything is drawn from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Gateway and shop, by their template.
    #[arg(long, default_value = Pair::default().name(), value_parser = pair)]
    pub pair: Pair,
    /// How many orders.
    #[arg(long, default_value_t = 2000)]
    pub orders: u32,
    /// Threads; the outcome does not depend on them.
    #[arg(long, default_value_t = 2)]
    pub threads: u32,
}

fn pair(name: &str) -> Result<Pair, String> {
    let names = || Pair::ALL.map(Pair::name).join(" or ");
    Pair::ALL.into_iter().find(|pair| pair.name() == name).ok_or_else(|| format!("give {}", names()))
}

/// Simulates and reports.
///
/// # Errors
/// None; broken promises give a failing exit code.
pub fn run_command(args: &Args) -> anyhow::Result<ExitCode> {
    let options = Options {
        seed: args.seed,
        pair: args.pair,
        orders: args.orders,
        threads: args.threads,
        ..Options::default()
    };
    let begun = SystemClock.now();
    let mut told = begun;
    let outcome = run(&options, &mut |progress| {
        let now = SystemClock.now();
        if now.since(told).0 >= 1000 {
            told = now;
            crate::warn(&format!(
                "{} of {} orders, {} violation(s)",
                progress.orders, progress.of, progress.violations
            ));
        }
    });
    let took = SystemClock.now().since(begun).0.max(1);
    say(&outcome);
    let orders = i64::try_from(outcome.orders).unwrap_or(i64::MAX);
    say(format!(
        "{} orders in {took} ms: {} simulated orders/s",
        outcome.orders,
        orders.saturating_mul(1000) / took
    ));
    if outcome.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    crate::warn("looking for the shortest history …");
    say(shrink(&options, &outcome));
    Ok(ExitCode::FAILURE)
}
