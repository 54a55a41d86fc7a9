//! The `tillway` command, as a library so that tests can run its parts.

pub mod bench;
pub mod check;
pub mod connectors;
pub mod demo;
pub mod dispute;
pub mod inspect;
pub mod machine;
mod market;
pub mod micro;
pub mod open;
pub mod parked;
pub mod review;
pub mod secrets;
pub mod send;
pub mod serve;
pub mod settle;
pub mod simulate;
pub mod stack;
pub mod webhooks;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Order to cash between payment gateways and shops, on one machine or in an AWS account.
#[derive(Parser)]
#[command(
    name = "tillway",
    version,
    about,
    max_term_width = 110,
    after_help = "Example:\n  tillway demo\n  tillway check shop/\n  \
tillway serve --config shop/tillway.yaml --data /var/lib/tillway --listen 127.0.0.1:8080\n  \
tillway explain A-1001 --config shop/tillway.yaml --data /var/lib/tillway\n  \
tillway secrets list --config infra/config/tillway/tillway.yaml --aws tillway-dev"
)]
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
    /// Tells what happened to an order, why, and what comes next.
    Explain(inspect::Explain),
    /// Shows and works what waits for a person.
    Parked(parked::Args),
    /// Says how a dispute ended, where the gateway never does.
    Dispute(dispute::Args),
    /// Says how a case of fraud review is to end; the gateway is told.
    Review(review::Args),
    /// Checks flows, mappings and lookups: file, line, what, and a hint.
    Check(check::Args),
    /// Prints what each connector can do, as a table in Markdown.
    Connectors(connectors::Args),
    /// Runs the engine under faults, crashes and races, in memory.
    Simulate(simulate::Args),
    /// Asks the providers for what was missed.
    Sweep(inspect::Sweep),
    /// Settles what gateways paid out: matches it with the books, posts it, shows what is open.
    Settle(settle::Args),
    /// Erases a person: their key is destroyed.
    Erase(inspect::Erase),
    /// Says that the data folder, or the stack's table, was restored from a backup.
    Restored(inspect::Restored),
    /// Counts events without a flow, and foreign objects.
    Unhandled(inspect::Unhandled),
    /// Puts, rotates and lists the secrets of connections.
    Secrets(secrets::Args),
    /// Registers webhooks at the providers, or prints the steps.
    Webhooks(webhooks::Args),
    /// Measures orders per second on this machine.
    Bench(bench::Args),
    /// Signs a sample webhook and posts it.
    Send(send::Args),
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            warn(&format!("error: cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Explain(args) => inspect::explain(args).await,
            Command::Parked(args) => parked::run(args).await,
            Command::Dispute(args) => dispute::run(args).await,
            Command::Review(args) => review::run(args).await,
            Command::Check(args) => check::run(&args),
            Command::Connectors(args) => connectors::run(&args),
            Command::Simulate(args) => simulate::run_command(&args),
            Command::Sweep(args) => inspect::sweep(args).await,
            Command::Settle(args) => settle::run(args).await,
            Command::Erase(args) => inspect::erase(args).await,
            Command::Restored(args) => inspect::restored(args).await,
            Command::Unhandled(args) => inspect::unhandled(args).await,
            Command::Secrets(args) => secrets::run(args).await,
            Command::Webhooks(args) => webhooks::run(args).await,
            Command::Bench(args) => bench::run(args).await,
            Command::Send(args) => send::run(args).await,
        }
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            warn(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error; a closed pipe is nobody's fault.
pub(crate) fn warn(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
