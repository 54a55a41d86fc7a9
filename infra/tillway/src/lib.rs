//! The `tillway` command, as a library so that tests can run its parts.

pub mod demo;
pub mod machine;
pub mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Order to cash between payment gateways and shops, on one machine.
#[derive(Parser)]
#[command(name = "tillway", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts sandboxes and Tillway on loopback, places orders and shows what becomes of them.
    Demo(demo::Args),
    /// Runs the engine for real on this machine: webhooks in, orders worked, until SIGTERM.
    Serve(serve::Args),
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln_line(&format!("error: cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
        }
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln_line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error; a closed pipe is nobody's fault.
fn eprintln_line(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
