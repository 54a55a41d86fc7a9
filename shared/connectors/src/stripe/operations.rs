//! Doing it once, and judging the answer: a 2xx is `Settled` only where amount, currency and our own
//! references come back as they were sent.

use serde_json::{Value, json};
use tillway_core::doc::{Doc, Json};
use tillway_core::facts::Fact;
use tillway_core::money::Money;

use super::client::{Answer, Client, ReadFault, refused};
use super::plan::Plan;
use super::wire::{self, Fault, id, text};
use super::{customer, errors, facts, lookup};
use crate::common::{Differs, differs, disagrees, stored};
use crate::config::Connection;
use crate::port::{Call, Observation, Outcome};

/// Does it.
pub(super) async fn call(call: &Call<'_>) -> Outcome {
    let plan: Plan = match stored(call) {
        Ok(plan) => plan,
        Err(outcome) => return outcome,
    };
    match call.action {
        "stripe.ensure_customer" => customer::ensure(call, &plan).await,
        "stripe.read_payment" => read_payment(call, &plan).await,
        _ => write(call, &plan).await,
    }
}

async fn write(call: &Call<'_>, plan: &Plan) -> Outcome {
    let client = Client::for_write(call);
    let answer = match client.post_or_refusal(&plan.path, &plan.form, &client.key()).await {
        Ok(answer) => answer,
        Err(outcome) => return outcome,
    };
    if answer.is_success() {
        return judge(call, plan, answer.body.json(), &answer.said());
    }
    let code = errors::code(answer.error());
    if errors::says_already(code) {
        return lookup::already_done(call, plan, &client, &answer).await;
    }
    refused(&answer, told_by_refusal(plan, &answer))
}

/// Facts that come with a refusal: a declined attempt.
fn told_by_refusal(plan: &Plan, answer: &Answer) -> Observation {
    let (Some(payment), 402, Some(_)) = (&plan.payment, answer.status, &plan.token) else {
        return Observation::default();
    };
    let facts = vec![errors::attempt_failed(payment, answer.error())];
    Observation { facts, ..Observation::default() }
}

/// Judges an object that Stripe gave in answer to a request, or that was found afterwards.
pub(super) fn judge(call: &Call<'_>, plan: &Plan, object: Json<'_>, said: &str) -> Outcome {
    let connection = call.connection;
    let (observed, checked) = if call.action == "stripe.refund" {
        let facts = facts::of_refund(connection, object).map(|f| vec![f]);
        let observed = facts.map(|facts| Observation { facts, ..Observation::default() });
        (observed, check_refund(connection, plan, object))
    } else {
        let observed = facts::observe_payment(connection, object).map(|o| with_token(o, plan, object));
        (observed, check_payment(call, plan, object))
    };
    match (observed, checked) {
        (Ok(observation), Ok(())) => {
            if let Some(error) = declined(plan, object) {
                return Outcome::Refused {
                    code: errors::safe(errors::code(error)),
                    observation,
                    summary: format!("{said} {}", text(object, "status").unwrap_or("")),
                };
            }
            let sum = plan.amount.map(|a| format!(" {a}")).unwrap_or_default();
            let status = text(object, "status").filter(|s| s.len() <= 40).unwrap_or("?");
            Outcome::Settled {
                observation,
                provider_id: text(object, "id").map(str::to_owned),
                summary: format!("{} {}{sum} → {status}, {said}", plan.method, plan.path),
            }
        }
        (Ok(observation), Err(difference)) => disagrees(difference, observation),
        (Err(fault), _) if fault.code == "status_unknown" => {
            disagrees(unreadable(&fault), Observation::default())
        }
        // What nobody can read agrees with nothing.
        (Err(fault), Ok(())) => disagrees(unreadable(&fault), Observation::default()),
        (Err(_), Err(difference)) => disagrees(difference, Observation::default()),
    }
}

fn unreadable(fault: &Fault) -> Differs {
    differs(fault.field.clone(), format!("{}: {}", fault.code, fault.what))
}

/// A confirmed payment that answered 2xx and yet failed.
fn declined<'a>(plan: &Plan, pi: Json<'a>) -> Option<Json<'a>> {
    plan.token.as_ref()?;
    (text(pi, "status") == Some("requires_payment_method")).then_some(())?;
    wire::expanded(pi, "last_payment_error")
}

/// Names the attempt by the token that was asked for: test tokens come back under another id.
fn with_token(mut observation: Observation, plan: &Plan, pi: Json<'_>) -> Observation {
    if let (Some(token), Some(payment)) = (&plan.token, text(pi, "id")) {
        for fact in &mut observation.facts {
            if matches!(fact, Fact::ActionRequired { .. }) {
                *fact = facts::action_required(payment, token);
            }
        }
    }
    observation
}

fn check_echo(plan: &Plan, object: Json<'_>) -> Result<(), Differs> {
    for (key, sent) in &plan.echo {
        if wire::metadata(object, key) != Some(sent.as_str()) {
            let what = format!(
                "sent metadata `{key}` did not come back as it was sent; look at the object at Stripe"
            );
            return Err(differs(format!("metadata.{key}"), what));
        }
    }
    Ok(())
}

fn check_id(sent: Option<&str>, found: Option<&str>, field: &str) -> Result<(), Differs> {
    if sent.is_some() && sent != found {
        return Err(differs(field, "the answer is about another object than the one asked for"));
    }
    Ok(())
}

fn read_money(connection: &Connection, object: Json<'_>, name: &str) -> Result<Money, Differs> {
    wire::money(connection, object, name).map_err(|f| unreadable(&f))
}

fn check_refund(connection: &Connection, plan: &Plan, refund: Json<'_>) -> Result<(), Differs> {
    let of = plan.payment.as_deref().map_or("payment_intent", super::plan::refund_of);
    check_id(plan.payment.as_deref(), id(refund, of), of)?;
    check_amount(plan, read_money(connection, refund, "amount")?, "amount")?;
    check_echo(plan, refund)
}

fn check_amount(plan: &Plan, found: Money, field: &str) -> Result<(), Differs> {
    let Some(sent) = plan.amount else { return Ok(()) };
    if sent.currency != found.currency {
        return Err(differs("currency", format!("sent {}, came back {}", sent.currency, found.currency)));
    }
    if sent.minor != found.minor {
        return Err(differs(field, format!("sent {sent}, came back {found}")));
    }
    Ok(())
}

fn check_payment(call: &Call<'_>, plan: &Plan, pi: Json<'_>) -> Result<(), Differs> {
    check_id(plan.payment.as_deref(), text(pi, "id"), "id")?;
    let status = text(pi, "status").unwrap_or("");
    let wrong = |wanted: &str| Err(differs("status", format!("expected {wanted} after {}", call.action)));
    match call.action {
        "stripe.capture" => {
            let received = read_money(call.connection, pi, "amount_received")?;
            let sent = plan.amount.unwrap_or(received);
            if sent.currency != received.currency || received.minor < sent.minor {
                check_amount(plan, received, "amount_received")?;
            }
            if plan.last && status != "succeeded" {
                return wrong("succeeded");
            }
        }
        "stripe.cancel_payment" if status != "canceled" => return wrong("canceled"),
        "stripe.confirm_payment" => {
            let went = matches!(status, "succeeded" | "requires_capture" | "processing" | "requires_action");
            if !went && declined(plan, pi).is_none() {
                return wrong("a result");
            }
        }
        _ => check_amount(plan, read_money(call.connection, pi, "amount")?, "amount")?,
    }
    check_echo(plan, pi)
}

/// Reads a payment with everything around it.
pub(super) async fn read_payment(call: &Call<'_>, plan: &Plan) -> Outcome {
    match read_around(call, plan.payment.as_deref().unwrap_or("")).await {
        Ok(observation) => Outcome::Settled {
            summary: format!("GET {} → {} fact(s)", plan.path, observation.facts.len()),
            provider_id: plan.payment.clone(),
            observation,
        },
        Err(outcome) => outcome,
    }
}

async fn read_around(call: &Call<'_>, payment: &str) -> Result<Observation, Outcome> {
    let client = Client::for_many(call, 5);
    let connection = call.connection;
    let bad = |fault: Fault| Outcome::Disagrees {
        observation: Observation::default(),
        what: fault.what,
        field: fault.field,
    };
    let of = super::plan::refund_of(payment);
    let (mut observation, disputed) = if of == "charge" {
        let charge =
            client.get(&format!("/v1/charges/{payment}"), &Value::Null).await.map_err(ReadFault::outcome)?;
        let charge = charge.json();
        let facts = facts::of_charge(connection, charge).map_err(bad)?;
        (Observation { facts, ..Observation::default() }, wire::flag(charge, "disputed"))
    } else {
        let path = format!("/v1/payment_intents/{payment}");
        let pi =
            client.get(&path, &json!({"expand": ["latest_charge"]})).await.map_err(ReadFault::outcome)?;
        let pi = pi.json();
        let mut observation = facts::observe_payment(connection, pi).map_err(bad)?;
        if let Some(review) = id(pi, "review").filter(|r| wire::is_id(r)) {
            let review = client.get(&format!("/v1/reviews/{review}"), &Value::Null).await;
            let review = review.map_err(ReadFault::outcome)?;
            observation.facts.extend(facts::of_review(review.json()).map_err(bad)?);
        }
        let disputed = wire::expanded(pi, "latest_charge").is_some_and(|c| wire::flag(c, "disputed"));
        (observation, disputed)
    };
    for refund in list_all(&client, "/v1/refunds", (of, payment)).await? {
        observation.facts.push(facts::of_refund(connection, refund.json()).map_err(bad)?);
    }
    if disputed {
        for dispute in list_all(&client, "/v1/disputes", (of, payment)).await? {
            observation.facts.extend(facts::of_dispute(connection, dispute.json()).map_err(bad)?);
        }
    }
    Ok(observation)
}

/// All objects of a list, through the bounded search for one that is never found.
async fn list_all(client: &Client<'_>, path: &str, filter: (&str, &str)) -> Result<Vec<Doc>, Outcome> {
    let mut found = Vec::new();
    let collect = |item: Json<'_>| {
        found.push(item.to_doc());
        false
    };
    match client.find(path, &[filter], collect).await {
        // More than a thousand of one payment: what was read is true, and the rest is older.
        Ok(_) | Err(None) => Ok(found),
        Err(Some(fault)) => Err(fault.outcome()),
    }
}
