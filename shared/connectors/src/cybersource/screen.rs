//! Decision Manager alone, before the bank is asked (`POST /risk/v1/decisions`): what it refuses is never authorized.
//!
//! | status | meaning |
//! |---|---|
//! | ACCEPTED | the attempt goes on |
//! | PENDING_REVIEW | a person decides; the attempt waits, and nothing is reserved |
//! | REJECTED, DECLINED | the attempt failed |
//! | INVALID_REQUEST | refused, as a 400 |
//! | SERVER_ERROR | unknown: asked again |
//!
//! The words are from memory but for the first three. What stands in no row is parked with its raw name.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tillway_core::doc::Json;

use super::client::{Client, refused, unknown};
use super::errors;
use super::facts::{CURRENCY, Paid, TOTAL, Went};
use super::operations::{body, check_amount, check_code, disagrees, settled, status};
use super::plan::{Params, Plan};
use super::plan_lines::Asks;
use super::plan_pay::{bought, is_transient, token};
use super::wire::{self, Fault};
use crate::common::Differs;
use crate::port::{Call, Observation, Outcome};

/// The id inside a transient token that is a JWT: a decision takes no other form of it.
fn jti(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims.get("jti")?.as_str().filter(|jti| wire::is_id(jti)).map(str::to_owned)
}

/// The request.
pub(super) fn plan(p: &Params<'_>) -> Result<Plan, Fault> {
    let (code, amount, mut body) = bought(p, Asks::Decision)?;
    // Its addresses have no company.
    if let Some(order) = body.get_mut("orderInformation") {
        for whose in ["billTo", "shipTo"] {
            let address = order.get_mut(whose).and_then(Value::as_object_mut);
            address.map(|address| address.remove("company"));
        }
    }
    let token = token(p)?;
    if is_transient(p) {
        let id = if token.contains('.') { jti(token) } else { Some(token.to_owned()) };
        let Some(id) = id else {
            let what = "the transient token holds no id (jti) that Decision Manager could look at";
            return Err(Fault::new("token_malformed", "token", what));
        };
        body.insert("tokenInformation".into(), json!({"jti": id}));
    } else if matches!(p.connection.setting("token_kind", "auto"), "auto" | "customer") {
        body.insert("paymentInformation".into(), json!({"customer": {"id": token}}));
    } else {
        let what = "Decision Manager alone looks at stored customers and transient tokens; leave `screening` at \
                    `inline`, or set token_kind";
        return Err(Fault::new("token_not_screened", "token", what));
    }
    let path = p.path("decisions", "");
    Ok(Plan { path, body: Value::Object(body), code, amount: Some(amount), ..Plan::default() })
}

/// Asks.
pub(super) async fn ask(call: &Call<'_>, plan: &Plan) -> Outcome {
    let client = Client::new(call, 1);
    let mut request = body(call, plan);
    // Decisions have no transaction id of the caller's.
    if let Some(reference) = request.pointer_mut("/clientReferenceInformation").and_then(Value::as_object_mut)
    {
        reference.remove("transactionId");
    }
    match client.post(&plan.path, &request).await {
        Ok(answer) if answer.is_success() => {
            let judged = judge(call, plan, answer.body.json(), &answer.said());
            judged.unwrap_or_else(|difference| disagrees(difference, Vec::new()))
        }
        Ok(answer) => refused(&answer, Observation::default()),
        Err(outcome) => outcome,
    }
}

fn judge(call: &Call<'_>, plan: &Plan, answer: Json<'_>, said: &str) -> Result<Outcome, Differs> {
    let raw = status(answer);
    let went = match raw {
        "ACCEPTED" => None,
        "PENDING_REVIEW" => Some(Went::HeldUnreserved),
        "REJECTED" | "DECLINED" => Some(Went::Declined),
        "INVALID_REQUEST" => {
            let code = errors::reason(answer).unwrap_or_else(|| raw.to_owned());
            let observation = Observation::default();
            return Ok(Outcome::Refused { code, observation, summary: format!("{said} {raw}") });
        }
        "SERVER_ERROR" => return Ok(unknown(format!("{said} {raw}"))),
        _ => return Err(wire::status_unknown("decision", raw).into()),
    };
    check_code(plan, answer)?;
    if answer.at(&TOTAL).is_some() {
        let amount =
            wire::money(call.connection, answer, &TOTAL, &CURRENCY, plan.amount.map(|a| a.currency))?;
        check_amount(plan, amount, &TOTAL.join("."))?;
    }
    let decision = wire::id(answer)?;
    let Some(went) = went else { return Ok(settled(plan, Some(decision), Vec::new(), said)) };
    let at = wire::submitted(answer);
    let (total, reserved) = (plan.amount, None);
    let asked = Paid {
        connection: call.connection,
        payment: decision,
        went,
        total,
        reserved,
        taken: false,
        at,
        answer,
    };
    let told = asked.facts();
    if went == Went::HeldUnreserved {
        return Ok(settled(plan, Some(decision), told, said));
    }
    let code = errors::reason(answer).unwrap_or_else(|| "DECISION_PROFILE_REJECT".to_owned());
    let observation = Observation { facts: told, ..Observation::default() };
    Ok(Outcome::Refused { summary: format!("{said}: {code}"), code, observation })
}
