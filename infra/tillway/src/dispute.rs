//! `tillway dispute`: how a dispute ended, where no gateway says it.

use std::process::ExitCode;

use anyhow::bail;
use tillway_engine::dispute::Word;

use crate::open::{Place, say, who};

/// Arguments of `dispute`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway dispute close --order A-1001 --lost --reason 'second chargeback, not answered' --config shop/tillway.yaml \
--data /var/lib/tillway"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Says that an order's dispute is won or lost. Lost: what was withdrawn becomes a loss in the books. Won: the order has the
    /// status it had before. Only where the gateway does not tell it; said twice it is said once, and the other word corrects it.
    #[command(
        after_help = "Example:\n  tillway dispute close --order A-1001 --won --reason 'representment accepted' --config shop/tillway.yaml \
--data /var/lib/tillway\n  tillway dispute close --order A-1001 --lost --reason 'not answered in time' --config \
infra/config/tillway/tillway.yaml --aws tillway-dev"
    )]
    Close {
        /// The shop's order id, `connection/order`, or a gateway's id.
        #[arg(long)]
        order: String,
        #[command(flatten)]
        how: How,
        /// Why, in a few words that stay in the order's history.
        #[arg(long)]
        reason: String,
        /// Which dispute, where several are open; `tillway explain` shows their names.
        #[arg(long)]
        dispute: Option<String>,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct How {
    /// Decided for the merchant.
    #[arg(long)]
    won: bool,
    /// Decided for the cardholder.
    #[arg(long)]
    lost: bool,
}

/// Takes a person's word.
///
/// # Errors
/// An unknown order, no open dispute, or a gateway that tells the end itself.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Close { order, how, reason, dispute, place } = args.command;
    let engine = place.open().await?.engine;
    let Some(key) = engine.find_order(&order).await? else {
        bail!("nothing is known of `{order}`: no order and no payment of that id was ever heard of");
    };
    let won = how.won && !how.lost;
    let word = Word { dispute: dispute.as_deref(), won, by: &who(), reason: &reason };
    let said = engine.dispute_close(&key, word).await?;
    let how = if won { "won" } else { "lost" };
    say(if said.before {
        format!("{} was closed as {how} before; nothing is changed", said.dispute)
    } else {
        format!(
            "{} of order {key} is {how}, with {} withdrawn; `tillway explain {order}` shows what becomes of it",
            said.dispute, said.withdrawn
        )
    });
    Ok(ExitCode::SUCCESS)
}
