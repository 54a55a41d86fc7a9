//! `explain`, `sweep`, `erase`, `restored`, `unhandled`: looking into a data folder or a stack.

use std::process::ExitCode;

use anyhow::bail;
use tillway_core::ids::ConnectionName;

use crate::open::{Place, say};

/// Arguments of `explain`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway explain A-1001 --config shop/tillway.yaml --data /var/lib/tillway\n  \
tillway explain pi_3Abc... --json --config shop/tillway.yaml --data /var/lib/tillway\n  \
tillway explain A-1001 --config infra/config/tillway/tillway.yaml --aws tillway-dev"
)]
pub struct Explain {
    /// The shop's order id, `connection/order`, or a gateway's id (pi_…, ch_…, re_…).
    pub order: String,
    /// One JSON document instead of text.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    place: Place,
}

/// Prints the causal time line of an order.
///
/// # Errors
/// An unknown order.
pub async fn explain(args: Explain) -> anyhow::Result<ExitCode> {
    let machine = args.place.open().await?;
    let Some(key) = machine.engine.find_order(&args.order).await? else {
        bail!(
            "nothing is known of `{}`: no order and no payment of that id was ever heard of; `tillway sweep` asks the \
             providers for what was missed",
            args.order
        );
    };
    let Some(explanation) = machine.engine.explain(&key).await? else { bail!("order {key} has no record") };
    if args.json {
        say(serde_json::to_string_pretty(&explanation)?);
    } else {
        say(explanation);
    }
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `sweep`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway sweep --connection stripe-main --config shop/tillway.yaml --data /var/lib/tillway\n\n\
What is found is sent to the queue of the data folder, or of the stack (--aws); who works there works it."
)]
pub struct Sweep {
    /// Only this connection; all where it is left out.
    #[arg(long)]
    pub connection: Option<String>,
    /// One JSON document instead of text.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    place: Place,
}

/// Asks the providers what happened and finds webhooks that never came.
///
/// # Errors
/// Providers that could not be swept, after all others were; their cursors have not moved.
pub async fn sweep(args: Sweep) -> anyhow::Result<ExitCode> {
    let machine = args.place.open().await?;
    let mut names: Vec<ConnectionName> = machine.engine.config.connections.keys().cloned().collect();
    if let Some(wanted) = &args.connection {
        names.retain(|n| n.as_str() == wanted);
        if names.is_empty() {
            bail!("there is no connection `{wanted}` in the configuration");
        }
    }
    let mut reports = Vec::new();
    let mut failed: Vec<String> = Vec::new();
    for name in names {
        if !args.json {
            say(format!("sweeping {name} …"));
        }
        // A large window takes several sweeps.
        loop {
            let report = match machine.engine.sweep(&name).await {
                Ok(report) => report,
                Err(error) => {
                    // The others are not held up by it.
                    crate::warn(&format!("  {name} was not swept: {error}"));
                    failed.push(name.to_string());
                    break;
                }
            };
            if !args.json {
                show(&report);
            }
            let more = report.more;
            reports.push(report);
            if !more {
                break;
            }
        }
    }
    if args.json {
        say(serde_json::to_string_pretty(&reports)?);
    }
    if !failed.is_empty() {
        bail!(
            "{} of the connections could not be swept: {}; mend what is said above, then \
             `tillway sweep --connection {}` begins where it stopped",
            failed.len(),
            failed.join(", "),
            failed.first().map_or("", String::as_str)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn show(report: &tillway_engine::sweep::SweepReport) {
    if report.busy {
        say("  another process is sweeping it now, or after a restore a gateway comes first");
    }
    say(format!(
        "  {} looked at, {} known, {} late, {} lost{}",
        report.seen,
        report.known,
        report.late,
        report.lost.len(),
        if report.more { ", and more to come" } else { "" }
    ));
    for lost in &report.lost {
        let money: Vec<String> = lost.money.iter().map(ToString::to_string).collect();
        say(format!(
            "  lost: {} {} of {} (order {}) {}",
            lost.kind,
            lost.event,
            lost.at,
            lost.order.as_deref().unwrap_or("unknown"),
            money.join(", ")
        ));
    }
    let money: Vec<String> = report.money().iter().map(ToString::to_string).collect();
    if !money.is_empty() {
        say(format!("  would have been missed: {}", money.join(", ")));
    }
}

/// Arguments of `erase`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway erase jenny@example.com --yes --config shop/tillway.yaml --data /var/lib/tillway\n\n\
Facts and journal hold nothing personal and stay. The gateway and the shop keep their own copies: erase there too."
)]
pub struct Erase {
    /// E-mail address or the shop's customer id.
    pub person: String,
    /// Really do it: it cannot be undone.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    place: Place,
}

/// Destroys a person's key.
///
/// # Errors
/// The store's.
pub async fn erase(args: Erase) -> anyhow::Result<ExitCode> {
    if !args.yes {
        bail!("this cannot be undone; add --yes to erase this person's data");
    }
    let machine = args.place.open().await?;
    let report = machine.engine.erase(&args.person).await?;
    machine.remember(&report.persons).await?;
    if report.keys == 0 && report.events == 0 {
        say("nothing personal is kept under that e-mail address or customer id");
        return Ok(ExitCode::FAILURE);
    }
    say(format!("erased: {} key(s) destroyed, {} event content(s) dropped", report.keys, report.events));
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `restored`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  # with serve stopped, the backup's tillway.sqlite put back, and `erasures` kept:\n  \
tillway restored --config shop/tillway.yaml --data /var/lib/tillway\n  tillway serve …\n  \
# of a paused stack (infra/DEPLOY.md):\n  tillway restored --config infra/config/tillway/prod.yaml --aws tillway-prod \
--table tillway-prod-restored\n\nUntil every connection was swept, it only reads at the gateways: what was done since the backup is found, not repeated."
)]
pub struct Restored {
    #[command(flatten)]
    place: Place,
}

/// Marks the data folder, or the stack's table, as restored from a backup.
///
/// # Errors
/// The store's.
pub async fn restored(args: Restored) -> anyhow::Result<ExitCode> {
    let machine = args.place.open().await?;
    let erased = machine.erased().await?;
    machine.engine.begin_restore(&erased).await?;
    say(format!(
        "marked: {} erasure(s) applied again; start {}, it only reads until every connection was swept",
        erased.len(),
        machine.worker()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `unhandled`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway unhandled --config shop/tillway.yaml --data /var/lib/tillway\n  \
tillway unhandled --config infra/config/tillway/tillway.yaml --aws tillway-dev"
)]
pub struct Unhandled {
    #[command(flatten)]
    place: Place,
}

/// Counts events nobody has a flow for, and foreign objects.
///
/// # Errors
/// The store's.
pub async fn unhandled(args: Unhandled) -> anyhow::Result<ExitCode> {
    let machine = args.place.open().await?;
    let mut counts = std::collections::BTreeMap::<(String, String, String), u64>::new();
    for record in machine.engine.unhandled().await? {
        let count = counts.entry((record.why, record.connection.to_string(), record.kind)).or_default();
        *count = count.saturating_add(1);
    }
    if counts.is_empty() {
        say("every event had a flow");
    }
    for ((why, connection, kind), count) in counts {
        say(format!("{count:>6}  {why:<10} {connection:<16} {kind}"));
    }
    Ok(ExitCode::SUCCESS)
}
