//! `tillway review`: how a case of fraud review is to end.

use std::process::ExitCode;

use anyhow::bail;
use tillway_engine::review::Ruling;

use crate::open::{Place, say, who};

/// Arguments of `review`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway review accept A-1001 --note 'called the customer' --config shop/tillway.yaml --data /var/lib/tillway"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lets a held order go on: the gateway's case is accepted, then the money is taken as the pair takes it, or what was
    /// captured elsewhere is adopted.
    #[command(
        after_help = "Example:\n  tillway review accept A-1001 --note 'called the customer' --config shop/tillway.yaml \
--data /var/lib/tillway\n  tillway review accept 7638943960206437203955 --note 'known buyer' --config \
infra/config/tillway/tillway.yaml --aws tillway-dev"
    )]
    Accept(Word),
    /// Stops a held order: the gateway's case is rejected, then what is reserved is let go.
    #[command(
        after_help = "Example:\n  tillway review reject A-1001 --note 'stolen card' --config shop/tillway.yaml \
--data /var/lib/tillway"
    )]
    Reject(Word),
}

#[derive(clap::Args)]
struct Word {
    /// The shop's order id, `connection/order`, or the gateway's id of the payment.
    order: String,
    /// Why, in a few words that stay in the order's history and with the gateway's case; nothing personal.
    #[arg(long)]
    note: String,
    /// Which review, where several are open; `tillway explain` shows their names.
    #[arg(long)]
    review: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Takes a person's word.
///
/// # Errors
/// An unknown order, no open review, or a gateway that decides it elsewhere.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (accept, word) = match args.command {
        Command::Accept(word) => (true, word),
        Command::Reject(word) => (false, word),
    };
    let Word { order, note, review, place } = word;
    let engine = place.open().await?.engine;
    let Some(key) = engine.find_order(&order).await? else {
        bail!("nothing is known of `{order}`: no order and no payment of that id was ever heard of");
    };
    let ruling = Ruling { review: review.as_deref(), accept, by: &who(), note: &note };
    let ruled = engine.review_decide(&key, ruling).await?;
    let what = if accept { "accept" } else { "reject" };
    say(if ruled.before {
        format!("it was said before to {what} review {} of order {key}; nothing is changed", ruled.review)
    } else {
        format!(
            "the gateway is told to {what} review {} of order {key}; `tillway explain {order}` shows what becomes of it",
            ruled.review
        )
    });
    Ok(ExitCode::SUCCESS)
}
