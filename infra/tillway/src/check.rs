//! `tillway check`: flows, mappings and lookups, before anything is deployed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use tillway_core::bundle::Bundle;
use tillway_engine::vocabulary::vocabulary;

use crate::machine;
use crate::open::say;

/// Arguments of `check`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway check shop/flows\n  tillway check shop          # with shop/tillway.yaml\n  \
tillway check infra/config/tillway/prod.yaml\n\n\
Files that say `extends: NAME` override single fields or steps of the built-in templates."
)]
pub struct Args {
    /// Folder with flows, mappings and lookups; where it holds a tillway.yaml, that is checked too. Or a configuration file.
    pub dir: PathBuf,
}

/// Checks a folder.
///
/// # Errors
/// Problems, each with file, line and hint.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.dir.exists() {
        bail!("{} is no folder and no file", args.dir.display());
    }
    let config = if args.dir.is_file() { args.dir.clone() } else { args.dir.join("tillway.yaml") };
    if config.is_file() {
        let (config, _) = machine::read_config(&config)?;
        say(format!(
            "{} connection(s) and {} pair(s) are sound",
            config.connections.len(),
            config.pairs.len()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let files = machine::yaml_files(&args.dir)?;
    if files.is_empty() {
        bail!("there is no YAML file in {}", args.dir.display());
    }
    let connectors = tillway_connectors::registry();
    match Bundle::load(&tillway_templates::sources(), &files, &vocabulary(&connectors)) {
        Ok(bundle) => {
            for flow in bundle.flows() {
                say(format!(
                    "flow {} is sound: {} steps, version {}",
                    flow.name,
                    flow.steps.len(),
                    flow.hash.as_str().get(..12).unwrap_or("")
                ));
            }
            say(format!("{} file(s), no problems", files.len()));
            Ok(ExitCode::SUCCESS)
        }
        Err(found) => Err(machine::problems(&found)),
    }
}
