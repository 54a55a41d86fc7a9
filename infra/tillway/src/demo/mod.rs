//! `tillway demo`: sandboxes and Tillway on loopback, real orders, and what became of them.

pub mod stage;

use std::process::ExitCode;

/// Example: `tillway demo --seed 7`
#[derive(clap::Args)]
pub struct Args {
    /// Draws inputs and faults; the same number gives the same end states.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs the demo.
///
/// # Errors
/// What could not be started.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    crate::serve::log_json();
    let stage = stage::Stage::start(args.seed).await?;
    let order = stage.place_paid_order("A-1001").await?;
    let status = stage.wait_status(&order, "Paid", 60).await;
    for line in stage.lines() {
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    stage.stop().await;
    Ok(if status { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
