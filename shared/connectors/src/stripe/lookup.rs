//! Finding out what became of a call whose answer was lost, by reads that are consistent: an object by its
//! id, or a list. Search is not: what it does not find may exist.

use serde_json::json;
use tillway_core::doc::{Doc, Json};

use super::client::{Answer, Client, ReadFault, refused};
use super::facts;
use super::operations::{self, judge};
use super::plan::{Plan, refund_of};
use super::wire::{self, text};
use crate::common::{still, stored};
use crate::port::{Call, Finding, NotDone, Observation, Outcome};

fn unread(fault: ReadFault) -> Finding {
    match fault {
        ReadFault::Missing(answer) | ReadFault::Refused(answer) => still(answer.said()),
        ReadFault::NotNow(_, why) => still(match why {
            NotDone::Throttled => "the read was throttled",
            NotDone::Unavailable => "Stripe could not be read",
            NotDone::Conflict => "the read met a conflict",
            NotDone::Unauthorized => "the credentials were refused",
        }),
    }
}

/// Finds out.
pub(super) async fn find_out(call: &Call<'_>) -> Finding {
    let plan: Plan = match stored(call) {
        Ok(plan) => plan,
        Err(outcome) => return Finding::Evidence(outcome),
    };
    match call.action {
        "stripe.create_payment" => created(call, &plan).await,
        "stripe.refund" => refunded(call, &plan).await,
        // Doing these again does no harm, and tells.
        "stripe.ensure_customer" | "stripe.read_payment" => match operations::call(call).await {
            Outcome::NotDone { .. } => still("could not be done again yet"),
            Outcome::Unknown { why, .. } => still(why),
            outcome => Finding::Evidence(outcome),
        },
        _ => changed(call, &plan).await,
    }
}

/// A PaymentIntent that carries our command.
async fn created(call: &Call<'_>, plan: &Plan) -> Finding {
    let client = Client::for_many(call, 5);
    let from = call.now.unix().saturating_sub(WINDOW_SECONDS).to_string();
    let filter = match &plan.customer {
        Some(customer) => ("customer", customer.as_str()),
        None => ("created[gte]", from.as_str()),
    };
    let ours = |pi: Json<'_>| wire::metadata(pi, wire::COMMAND_KEY) == Some(call.command.as_str());
    match client.find(&plan.path, &[filter], ours).await {
        Ok(Some(pi)) => Finding::Evidence(judge(call, plan, pi.json(), "found in the list")),
        // The customer's whole list was read.
        Ok(None) if plan.customer.is_some() => Finding::NotThere,
        // A window of time proves nothing about a call before it; the key does, while it lives.
        Ok(None) | Err(None) => Finding::Replay,
        Err(Some(fault)) => unread(fault),
    }
}

/// How far back payments without a customer are listed: as long as a key lives.
const WINDOW_SECONDS: i64 = 24 * 3600;

async fn refunded(call: &Call<'_>, plan: &Plan) -> Finding {
    let client = Client::for_many(call, 5);
    match find_refund(&client, plan).await {
        Ok(Some(refund)) => {
            Finding::Evidence(judge(call, &without_command(plan), refund.json(), "found in the list"))
        }
        Ok(None) => Finding::NotThere,
        Err(None) => Finding::Replay,
        Err(Some(fault)) => unread(fault),
    }
}

async fn find_refund(client: &Client<'_>, plan: &Plan) -> Result<Option<Doc>, Option<ReadFault>> {
    let payment = plan.payment.as_deref().unwrap_or("");
    let ours = |refund: Json<'_>| {
        plan.echo.get(wire::REQUEST_KEY).is_some_and(|r| wire::metadata(refund, wire::REQUEST_KEY) == Some(r))
    };
    client.find("/v1/refunds", &[(refund_of(payment), payment)], ours).await
}

/// The shop's request is what a refund is known by; which command of ours made it does not matter.
fn without_command(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.echo.remove(wire::COMMAND_KEY);
    plan
}

/// Update, confirm, capture, cancel: the payment itself tells.
async fn changed(call: &Call<'_>, plan: &Plan) -> Finding {
    let client = Client::for_many(call, 5);
    match read(&client, plan).await {
        Ok(pi) => weigh(call, plan, pi.json()),
        // A payment that does not exist was neither charged nor changed, and never will be.
        Err(ReadFault::Missing(answer)) => Finding::Evidence(refused(&answer, Observation::default())),
        Err(fault) => unread(fault),
    }
}

async fn read(client: &Client<'_>, plan: &Plan) -> Result<Doc, ReadFault> {
    let path = format!("/v1/payment_intents/{}", plan.payment.as_deref().unwrap_or(""));
    client.get(&path, &json!({"expand": ["latest_charge"]})).await
}

/// What a payment's state says about our request.
fn weigh(call: &Call<'_>, plan: &Plan, pi: Json<'_>) -> Finding {
    let status = text(pi, "status").unwrap_or("");
    let evidence = || Finding::Evidence(judge(call, plan, pi, "read afterwards"));
    if !facts::is_known(status) {
        // Neither done nor refused: to a person, with the word.
        return evidence();
    }
    match call.action {
        "stripe.confirm_payment" => match status {
            "succeeded" | "requires_capture" | "processing" | "requires_action" => evidence(),
            // A charge that was not there before is that of ours: attempts of a payment follow one another.
            "requires_payment_method" if failed_since(plan, pi) => evidence(),
            // Else the error may be of an attempt before ours, and the same card may have been tried twice: the answer
            // stored under the key is the only witness.
            "requires_payment_method" if wire::expanded(pi, "last_payment_error").is_some() => {
                Finding::Replay
            }
            "requires_payment_method" | "requires_confirmation" => Finding::NotThere,
            _ => refused_by_state(call, pi),
        },
        "stripe.capture" => {
            let ours = wire::metadata(pi, wire::CAPTURE_KEY) == Some(call.command.as_str());
            let later = wire::metadata(pi, wire::CAPTURE_KEY).is_some();
            match status {
                "succeeded" | "requires_capture" if ours => evidence(),
                // The mark is of the last capture: ours may be hidden under a later one.
                "requires_capture" if later => Finding::Replay,
                "requires_capture" => Finding::NotThere,
                // Captured by someone else, or ours under a mark that was overwritten.
                "succeeded" if captured_as_asked(call, plan, pi) => {
                    Finding::Evidence(judge(call, &without_echo(plan), pi, "captured already"))
                }
                "succeeded" => evidence(),
                _ => refused_by_state(call, pi),
            }
        }
        "stripe.cancel_payment" => match status {
            "canceled" => evidence(),
            "succeeded" => refused_by_state(call, pi),
            _ => Finding::NotThere,
        },
        // Update: an amount that is as asked is as asked, whoever set it.
        _ => match wire::money(call.connection, pi, "amount") {
            Ok(found) if Some(found) == plan.amount => evidence(),
            Ok(_) => Finding::NotThere,
            Err(_) => evidence(),
        },
    }
}

/// Whether the payment's error is of a charge made since our attempt was decided on, with the card that it named.
fn failed_since(plan: &Plan, pi: Json<'_>) -> bool {
    let Some(error) = wire::expanded(pi, "last_payment_error") else { return false };
    let (Some(before), Some(charge)) = (plan.failure_before.as_deref(), wire::id(error, "charge")) else {
        return false;
    };
    // Test tokens and tokens for one use come back under another id.
    let method = wire::id(error, "payment_method");
    let named = plan.token.as_deref().filter(|t| t.starts_with("pm_") && !t.starts_with("pm_card_"));
    let other_card = named.is_some_and(|token| method.is_some_and(|m| m != token));
    charge != before && !other_card
}

fn captured_as_asked(call: &Call<'_>, plan: &Plan, pi: Json<'_>) -> bool {
    wire::money(call.connection, pi, "amount_received").is_ok_and(|received| plan.amount == Some(received))
}

fn without_echo(plan: &Plan) -> Plan {
    Plan { echo: std::collections::BTreeMap::new(), ..plan.clone() }
}

/// The payment is in a state from which ours can no longer happen, and did not.
fn refused_by_state(call: &Call<'_>, pi: Json<'_>) -> Finding {
    Finding::Evidence(Outcome::Refused {
        code: "payment_intent_unexpected_state".to_owned(),
        observation: facts::observe_payment(call.connection, pi).unwrap_or_default(),
        summary: format!(
            "the payment is {}",
            text(pi, "status").filter(|s| s.len() <= 40).unwrap_or("unreadable")
        ),
    })
}

/// Stripe says that it was done before. Believed only where the truth agrees with our request.
pub(super) async fn already_done(
    call: &Call<'_>,
    plan: &Plan,
    client: &Client<'_>,
    refusal: &Answer,
) -> Outcome {
    let unknown = || Outcome::Unknown {
        why: format!("{}, and the payment could not be read", refusal.said()),
        answer_is_stored: true,
    };
    if call.action == "stripe.refund" {
        return match find_refund(client, plan).await {
            Ok(Some(refund)) => judge(call, &without_command(plan), refund.json(), &refusal.said()),
            Ok(None) => refused(refusal, Observation::default()),
            Err(_) => unknown(),
        };
    }
    let pi = match read(client, plan).await {
        Ok(pi) => pi,
        Err(ReadFault::Missing(_)) => return refused(refusal, Observation::default()),
        Err(ReadFault::Refused(_) | ReadFault::NotNow(..)) => return unknown(),
    };
    let observation = facts::observe_payment(call.connection, pi.json()).unwrap_or_default();
    match weigh(call, plan, pi.json()) {
        Finding::Evidence(settled @ Outcome::Settled { .. }) => settled,
        _ => refused(refusal, observation),
    }
}
