//! What is there shows that a lost request never took effect, and cannot any more.
//!
//! | request | ruled out where |
//! |---|---|
//! | void | what it was to take back went to its processor: a void is taken before the batch alone |
//! | reversal | a capture of the payment stands: a hold is let go before it is taken alone |
//! | capture | the whole hold was let go, and no capture of it stands |
//!
//! None of these proves that nothing was sent; each excludes that it was done. What cannot be read proves nothing.

use super::actions;
use super::client::{Client, ReadFault};
use super::lookup::{self, MOST_DETAILS};
use super::plan::Plan;
use super::transaction::{Kind, Transaction};
use super::wire::{self, text};
use crate::port::{Observation, Outcome};

/// What stands in the way of the request, where that rules it out.
pub(super) async fn by_what_is_there(client: &Client<'_>, plan: &Plan) -> Option<Observation> {
    match client.call.action {
        actions::VOID_NAME | actions::VOID_REFUND_NAME => {
            if !went_out(client, plan).await.unwrap_or(false) {
                return None;
            }
            Some(lookup::in_the_way(client, plan).await)
        }
        actions::REVERSE_NAME => {
            let (facts, _) = lookup::captures(client, plan).await.ok()?;
            (!facts.is_empty()).then(|| Observation { facts, ..Observation::default() })
        }
        actions::CAPTURE_NAME => {
            let (taken, _) = lookup::captures(client, plan).await.ok()?;
            let gone = taken.is_empty() && let_go(client, plan).await.unwrap_or(false);
            gone.then(Observation::default)
        }
        _ => None,
    }
}

/// How a request ends that is ruled out: as if the vendor had refused it.
pub(super) fn refused(action: &str, observation: Observation) -> Outcome {
    let code = match action {
        actions::REVERSE_NAME => "TRANSACTION_ALREADY_SETTLED",
        actions::CAPTURE_NAME => "AUTH_ALREADY_REVERSED",
        _ => "NOT_VOIDABLE",
    };
    let summary =
        "its answer was lost; what is there shows that it never took effect, and cannot any more".to_owned();
    Outcome::Refused { code: code.to_owned(), observation, summary }
}

/// Whether what a void was to take back was sent to its processor.
async fn went_out(client: &Client<'_>, plan: &Plan) -> Result<bool, ReadFault> {
    let Some(id) = plan.returns() else { return Ok(false) };
    let detail = lookup::detail(client, id).await?;
    Ok(Transaction::of(client.call.connection, detail.json()).is_ok_and(|found| found.went_out()))
}

/// Whether all that a payment reserved was let go.
async fn let_go(client: &Client<'_>, plan: &Plan) -> Result<bool, ReadFault> {
    let Some(payment) = plan.payment.as_deref() else { return Ok(false) };
    let found = lookup::search(client, &plan.code).await?;
    let held = lookup::detail(client, payment).await?;
    let connection = client.call.connection;
    let Ok(held) = Transaction::of(connection, held.json()) else { return Ok(false) };
    let Some(held) = held.paid().ok().and_then(|paid| paid.reserved) else { return Ok(false) };
    for summary in found.iter().filter(|s| Kind::of(s.json()) == Kind::Reversal).take(MOST_DETAILS) {
        let Some(id) = text(summary.json(), &["id"]).filter(|i| wire::is_id(i)) else { continue };
        let detail = lookup::detail(client, id).await?;
        let Ok(reversal) = Transaction::of(connection, detail.json()) else { continue };
        let of_it = reversal.root() == Some(payment) && reversal.done().unwrap_or(false);
        if of_it && reversal.amount().is_ok_and(|amount| amount == held) {
            return Ok(true);
        }
    }
    Ok(false)
}
