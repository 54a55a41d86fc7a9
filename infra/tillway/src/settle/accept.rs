//! `tillway settle accept`: a person closes an open item, with a reason and an account.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tillway_core::ids::ConnectionName;
use tillway_core::journal::Role;
use tillway_core::settle::Day;
use tillway_core::settle::report::{shown, title};
use tillway_engine::Engine;
use tillway_engine::settle::{Accepted, Accepting, Step};

use super::progress;
use crate::open::{Place, say, who};

#[derive(clap::Args)]
pub(super) struct Of {
    /// The open item, by its id in `settle open`.
    #[arg(long, value_name = "ID")]
    item: String,
    /// Why: it stands in the books, with your login and the time.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The account that takes it, e.g. chargeback_loss [default: fees for fees, chargeback_loss for disputes, reserve for reserves;
    /// anything else has to be said].
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// The gateway's connection, where several have an item of this id.
    #[arg(long)]
    connection: Option<String>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(of: Of) -> anyhow::Result<ExitCode> {
    let account = of.account.as_deref().map(account).transpose()?;
    let machine = of.place.open().await?;
    let engine = &machine.engine;
    let name = match &of.connection {
        Some(name) => super::connection(name, engine)?,
        None => holder(&of.item, engine).await?,
    };
    let watch = |step: &Step| {
        if let Some(line) = progress(step).filter(|_| !of.json) {
            crate::warn(&format!("  {line}"));
        }
        true
    };
    let said = Accepting { item: &of.item, reason: &of.reason, account, by: &who() };
    let accepted = engine.settle_accept(&name, &said, &watch).await?;
    if of.json {
        say(serde_json::to_string_pretty(&accepted)?);
    } else {
        text(&accepted);
    }
    Ok(if accepted.busy { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn account(name: &str) -> anyhow::Result<Role> {
    let known = || {
        Role::ALL.iter().filter(|role| !matches!(role, Role::Bank | Role::GatewayClearing | Role::Conversion))
    };
    Role::ALL.into_iter().find(|role| role.name() == name).with_context(|| {
        let names: Vec<&str> = known().map(|role| role.name()).collect();
        format!("there is no account `{name}`; accounts: {}", names.join(", "))
    })
}

/// The connection of an item that is open, or was.
async fn holder(item: &str, engine: &Engine) -> anyhow::Result<ConnectionName> {
    let open = engine.settlement_open(None).await?;
    let mut found: Vec<ConnectionName> =
        open.into_iter().filter(|o| o.record.id == item).map(|o| o.connection).collect();
    for name in engine.config.connections.keys().filter(|name| engine.settles(name)) {
        if found.is_empty() && engine.settlement_accepted(name, item).await?.is_some() {
            found.push(name.clone());
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            bail!("nothing open is called {}; `tillway settle open` lists what is, with its ids", shown(item))
        }
        _ => bail!("several connections have an item {}; say which one: --connection NAME", shown(item)),
    }
}

fn text(accepted: &Accepted) {
    let Some(record) = accepted.record.as_ref().filter(|_| !accepted.busy) else {
        say(
            "another process settles the connection now, or after a restore its gateway is swept first; accept it again later",
        );
        return;
    };
    let x = &record.item.exception;
    say(format!(
        "{}: {}, {}, {}accepted by {} on {} to {}: {}",
        record.item.id,
        title(x.class),
        x.amount,
        if accepted.before { "was " } else { "" },
        record.by,
        Day::of(record.at),
        record.account.name(),
        shown(&record.reason)
    ));
    for batch in &accepted.batches {
        say(format!("batch {}: {}, {} open", batch.batch.id, batch.standing.name(), batch.sums.open));
    }
}
