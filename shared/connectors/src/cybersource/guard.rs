//! Before anything is sent a second time: undoing what earlier sendings may have done after all.
//!
//! A search that shows nothing proves little. So a payment, capture or refund that is sent anew is preceded by a reversal
//! or void of each earlier sending by its transaction id. It either undoes it, or it was undone before, or Cybersource
//! knows no such transaction; any other answer is no evidence, and nothing is sent.

use serde_json::{Value, json};
use tillway_core::doc::Json;
use tillway_core::facts::Fact;

use super::actions;
use super::client::{Answer, Client, unknown};
use super::endpoints;
use super::errors;
use super::lookup;
use super::operations::transaction_id;
use super::plan::Plan;
use super::transaction::{self, Kind, Transaction, UNDOING, reversed};
use super::wire::{self, text};
use crate::port::Outcome;

/// Refusals that say that there is nothing to undo.
const NOTHING_THERE: [&str; 5] =
    ["INVALID_PAYMENT_ID", "MISSING_AUTH", "AUTH_ALREADY_REVERSED", "CAPTURE_ALREADY_VOIDED", "NOT_FOUND"];

/// Whether a refusal says that Cybersource knows no such transaction. Data that is invalid says so only where it is the
/// transaction id: else our request is at fault, and nothing is known. A 404 that gives no reason is no answer of this
/// endpoint: there may be none at that path.
fn nothing_there(answer: &Answer) -> bool {
    let Some(reason) = errors::reason(answer.body.json()) else { return false };
    let of_id = || errors::field(answer.body.json()).is_some_and(|f| f.ends_with("transactionId"));
    answer.status == 404 || NOTHING_THERE.contains(&reason.as_str()) || reason == "INVALID_DATA" && of_id()
}

/// Undoes every earlier sending: the last one may never have left. `Err`: nothing must be sent now.
pub(super) async fn undo_earlier(client: &Client<'_>, plan: &Plan) -> Result<Vec<Fact>, Outcome> {
    let mut facts = Vec::new();
    for sending in 0..client.call.generation {
        facts.extend(undo_sending(client, plan, sending).await?);
    }
    Ok(facts)
}

async fn undo_sending(client: &Client<'_>, plan: &Plan, sending: u32) -> Result<Vec<Fact>, Outcome> {
    let call = client.call;
    let id = transaction_id(call, sending);
    let comment = format!("{UNDOING}{}-{sending}", call.command);
    let reference = json!({"code": plan.code, "transactionId": id, "comments": comment});
    match call.action {
        actions::AUTHORIZE_NAME => {
            if plan.taking {
                let body = json!({"clientReferenceInformation": reference});
                undo(client, plan, sending, "timeout_voids", body).await?;
            }
            let amount = plan.body.pointer("/orderInformation/amountDetails").cloned().unwrap_or(Value::Null);
            let reversal = json!({"amountDetails": amount, "reason": "timeout"});
            let body = json!({"clientReferenceInformation": reference, "reversalInformation": reversal});
            let undone = undo(client, plan, sending, "timeout_reversals", body).await?;
            Ok(match undone {
                Some(answer) => undone_facts(client, plan, answer.body.json()).await,
                None => Vec::new(),
            })
        }
        actions::CAPTURE_NAME | actions::REFUND_NAME => {
            let body = json!({"clientReferenceInformation": reference});
            let undone = undo(client, plan, sending, "timeout_voids", body).await?;
            Ok(match undone {
                Some(answer) if call.action == actions::CAPTURE_NAME => {
                    taken_back(client, answer.body.json()).await
                }
                _ => Vec::new(),
            })
        }
        // Undoing twice is undoing once.
        _ => Ok(Vec::new()),
    }
}

/// The answer where something was undone, `None` where there was nothing.
async fn undo(
    client: &Client<'_>,
    plan: &Plan,
    sending: u32,
    endpoint: &str,
    body: Value,
) -> Result<Option<Answer>, Outcome> {
    let path = endpoints::path(client.call.connection, endpoint, "");
    let not_now = |outcome| match outcome {
        // Of the request itself nothing was sent; this one may be repeated.
        Outcome::Unknown { .. } => Outcome::NotDone { after: None, why: crate::port::NotDone::Unavailable },
        other => other,
    };
    let answer = client.post(&path, &body).await.map_err(not_now)?;
    let done = matches!(text(answer.body.json(), &["status"]), Some("REVERSED" | "VOIDED"));
    if answer.is_success() && done {
        return Ok(Some(answer));
    }
    // Turned away, perhaps because we undid it ourselves before what followed was turned away.
    let refused = !answer.is_success();
    if refused && (nothing_there(&answer) || lookup::is_undone(client, plan, sending).await) {
        return Ok(None);
    }
    Err(unknown(format!("the earlier sending could not be undone: {path} answered {}", answer.said())))
}

/// What is known of a capture that was undone, where its void can be read already: else a sweep tells it.
async fn taken_back(client: &Client<'_>, void: Json<'_>) -> Vec<Fact> {
    let Some(id) = text(void, &["id"]).filter(|i| wire::is_id(i)) else { return Vec::new() };
    let connection = client.call.connection;
    let Ok(void) = lookup::detail(client, id).await else { return Vec::new() };
    let Ok(void) = Transaction::of(connection, void.json()) else { return Vec::new() };
    for id in void.related() {
        let Ok(capture) = lookup::detail(client, id).await else { continue };
        let Ok(capture) = Transaction::of(connection, capture.json()) else { continue };
        if capture.kind == Kind::Capture {
            return transaction::taken_back(&capture, &void).unwrap_or_default();
        }
    }
    Vec::new()
}

/// What is known of a reservation that was undone: a later sweep must not take it for one that stands.
async fn undone_facts(client: &Client<'_>, plan: &Plan, reversal: Json<'_>) -> Vec<Fact> {
    let Some(id) = text(reversal, &["id"]).filter(|i| wire::is_id(i)) else { return Vec::new() };
    let Ok(detail) = lookup::detail(client, id).await else { return Vec::new() };
    let root = text(detail.json(), &["rootId"]).filter(|r| wire::is_id(r) && *r != id);
    let (Some(payment), Some(amount)) = (root, plan.amount) else { return Vec::new() };
    let mut facts = vec![
        Fact::Payment { payment: payment.to_owned(), amount },
        Fact::Authorized {
            payment: payment.to_owned(),
            charge: payment.to_owned(),
            amount,
            expires_at: None,
        },
    ];
    facts.extend(reversed(payment, "timeout"));
    facts
}
