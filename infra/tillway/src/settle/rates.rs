//! `tillway settle rates`: the rates at which the books convert.

use std::path::PathBuf;
use std::process::ExitCode;

use tillway_connectors::rates;
use tillway_engine::settle::rates::RatesReport;

use super::bank::opened;
use crate::open::{Place, say};

#[derive(clap::Args)]
pub(super) struct Of {
    /// The rates, CSV.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(of: Of) -> anyhow::Result<ExitCode> {
    let read = rates::read(opened(&of.file, rates::MAX_BYTES)?);
    let read = read.map_err(|fault| anyhow::anyhow!("{}: {fault}; nothing was kept", of.file.display()))?;
    let report = of.place.open().await?.engine.keep_rates(read).await?;
    if of.json {
        say(serde_json::to_string_pretty(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    let RatesReport { rates, first, last, changed } = report;
    say(format!("{rates} rates from {first} to {last} are kept"));
    if changed > 0 {
        say(format!(
            "{changed} of them were known otherwise: the new ones hold from now on, and what is posted stays as it is"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
