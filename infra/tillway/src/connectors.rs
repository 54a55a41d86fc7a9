//! `tillway connectors`: what each connector can do, from what it declares.

use std::process::ExitCode;

use tillway_connectors::capabilities;

use crate::open::say;

/// Arguments of `connectors`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  tillway connectors\n  tillway connectors stripe")]
pub struct Args {
    /// Of this system alone.
    pub system: Option<String>,
}

/// Prints the table.
///
/// # Errors
/// There is no such system.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let all = tillway_connectors::registry();
    let wanted = |c: &&dyn tillway_connectors::Connector| {
        args.system.as_deref().is_none_or(|system| system == c.system())
    };
    let chosen: Vec<_> = all.iter().copied().filter(|c| wanted(c)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = all.iter().map(|c| c.system()).collect();
        anyhow::bail!("there is no such system; there are {}", names.join(", "));
    }
    say(capabilities::table(&chosen).trim_end());
    Ok(ExitCode::SUCCESS)
}
