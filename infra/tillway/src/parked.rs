//! `tillway parked`: the parking lot.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use similar::TextDiff;
use tillway_engine::parking::ParkedView;

use crate::open::{Place, say, who};

/// Arguments of `parked`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway parked list --config shop/tillway.yaml --data /var/lib/tillway\n  \
tillway parked show ID --config shop/tillway.yaml --data /var/lib/tillway\n  \
tillway parked replay ID --config shop/tillway.yaml --data /var/lib/tillway\n  \
tillway parked list --config infra/config/tillway/tillway.yaml --aws tillway-dev"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists what waits for a person, oldest first.
    #[command(
        after_help = "Example:\n  tillway parked list --config shop/tillway.yaml --data /var/lib/tillway"
    )]
    List {
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Shows one item with the event it came from. The event may hold personal data.
    #[command(
        after_help = "Example:\n  tillway parked show 'event:shop:msg_1' --config shop/tillway.yaml --data /var/lib/tillway"
    )]
    Show {
        /// The item.
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Changes the event of an item: shows the difference, and does it with --yes.
    #[command(after_help = "Example:\n  tillway parked show ID … > event.json   # then mend event.json\n  \
tillway parked edit ID --file event.json --yes --config shop/tillway.yaml --data /var/lib/tillway")]
    Edit {
        /// The item.
        id: String,
        /// The mended event, JSON.
        #[arg(long)]
        file: PathBuf,
        /// Really change it.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Lets an item run again. Whatever was done before is not done again.
    #[command(
        after_help = "Example:\n  tillway parked replay ID --config shop/tillway.yaml --data /var/lib/tillway"
    )]
    Replay {
        /// The item.
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// Drops an item, with a reason that stays in the order's history.
    #[command(
        after_help = "Example:\n  tillway parked drop ID --reason 'refunded by hand' --config shop/tillway.yaml --data /var/lib/tillway"
    )]
    Drop {
        /// The item.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Works the parking lot.
///
/// # Errors
/// An unknown item, an unreadable file, the store's.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { json, place } => list(json, &place).await,
        Command::Show { id, place } => show(&id, &place).await,
        Command::Edit { id, file, yes, place } => edit(&id, &file, yes, &place).await,
        Command::Replay { id, place } => {
            place.open().await?.engine.parked_replay(&id, &who()).await?;
            say(format!("{id} runs again; `tillway explain` shows what becomes of it"));
            Ok(ExitCode::SUCCESS)
        }
        Command::Drop { id, reason, place } => {
            if reason.trim().is_empty() {
                bail!("--reason is empty; say why, it stays in the order's history");
            }
            place.open().await?.engine.parked_drop(&id, &who(), &reason).await?;
            say(format!("{id} is dropped"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list(json: bool, place: &Place) -> anyhow::Result<ExitCode> {
    let machine = place.open().await?;
    let items = machine.engine.parked().await?;
    if json {
        let rows: Vec<serde_json::Value> = items
            .iter()
            .map(|r| {
                serde_json::json!({
                    "id": r.id, "code": r.item.code, "field": r.item.field, "what": r.item.what, "at": r.at.rfc3339(),
                    "order": r.order, "event": r.event.1, "type": r.event.2, "blocks_money": r.item.blocks_money,
                    "replays": r.replays, "edits": r.edits.len(),
                })
            })
            .collect();
        say(serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    if items.is_empty() {
        say("nothing waits for a person");
    }
    for record in items {
        let order = record.order.map(|o| o.to_string()).unwrap_or_else(|| "no order".to_owned());
        let field = record.item.field.map(|f| format!(", field {f}")).unwrap_or_default();
        let money = if record.item.blocks_money { "  [holds money commands back]" } else { "" };
        say(format!(
            "{}  {order}  {}{field}{money}\n    {}\n    id: {}",
            record.at, record.item.code, record.item.what, record.id
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(id: &str, place: &Place) -> anyhow::Result<ExitCode> {
    let ParkedView { record, content } = place.open().await?.engine.parked_show(id).await?;
    let mut err = String::new();
    err.push_str(&format!("{}: {}\n", record.item.code, record.item.what));
    for edit in &record.edits {
        err.push_str(&format!("edited {} by {}: {}\n", edit.at, edit.by, edit.changed.join(", ")));
    }
    // The reason goes to standard error, so that the event alone can be sent to a file and edited.
    crate::warn(err.trim_end());
    match content {
        Some(content) => say(serde_json::to_string_pretty(&content)?),
        None => crate::warn("(this item holds no event; mend the cause, then replay or drop it)"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn edit(id: &str, file: &std::path::Path, yes: bool, place: &Place) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let new: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let machine = place.open().await?;
    let view = machine.engine.parked_show(id).await?;
    let Some(old) = view.content else { bail!("item {id} holds no event that could be edited") };
    let (old, pretty) = (serde_json::to_string_pretty(&old)?, serde_json::to_string_pretty(&new)?);
    if old == pretty {
        bail!("{} says the same as the item; nothing is changed", file.display());
    }
    say(TextDiff::from_lines(&old, &pretty).unified_diff().context_radius(2).header("parked", "edited"));
    if !yes {
        say("nothing is changed yet; add --yes to change it");
        return Ok(ExitCode::SUCCESS);
    }
    let changed = machine.engine.parked_edit(id, new, &who()).await?;
    say(format!("changed {}; `tillway parked replay {id}` lets it run again", changed.join(", ")));
    Ok(ExitCode::SUCCESS)
}
