//! Doing it once, and judging the answer: a 201 is `Settled` only where its status stands in the table and amount,
//! currency and our reference come back as they were sent.

use serde_json::Value;
use tillway_core::doc::Json;
use tillway_core::facts::{AuthorizationEnd, Fact, ReviewOutcome};
use tillway_core::money::{Currency, Money};

use super::actions;
use super::client::{Answer, Client, refused, unknown};
use super::facts::{self, CURRENCY, Paid, TOTAL, Went, amounts};
use super::plan::Plan;
use super::settings::{self, Partial};
use super::transaction::{self, COMMENT, Mark};
use super::wire::{self, money, text};
use super::{customer, errors, guard, instruments, lookup, read, routes, ruled_out, screen};
use crate::common::{self, Differs, differs, stored};
use crate::port::{Call, Observation, Outcome};

/// Does it.
pub(super) async fn call(call: &Call<'_>) -> Outcome {
    let plan: Plan = match stored(call) {
        Ok(plan) => plan,
        Err(outcome) => return outcome,
    };
    if routes::is_plain(call.connection, &plan) {
        act(call, &plan).await
    } else {
        routes::call(call, &plan).await
    }
}

/// Does it at the connection's merchant id.
pub(super) async fn act(call: &Call<'_>, plan: &Plan) -> Outcome {
    match call.action {
        actions::READ_NAME => read::order(call, plan).await,
        actions::CUSTOMER_NAME => customer::ensure(call, plan).await,
        actions::UPDATE_CUSTOMER_NAME => customer::update(call, plan).await,
        actions::INSTRUMENT_NAME => instruments::attach(call, plan).await,
        actions::SCREEN_NAME => screen::ask(call, plan).await,
        _ => write(call, plan).await,
    }
}

/// The transaction id of a sending. What was looked up and not found is sent under another: the first is used up.
pub(super) fn transaction_id(call: &Call<'_>, generation: u32) -> String {
    Mark::text(call.command.as_str(), generation)
}

/// The body of this sending: its transaction id, and its number wherever our mark stands.
pub(super) fn body(call: &Call<'_>, plan: &Plan) -> Value {
    let mut body = plan.body.clone();
    let id = transaction_id(call, call.generation);
    if let Some(reference) = body.pointer_mut("/clientReferenceInformation").and_then(Value::as_object_mut) {
        if call.generation > 0 {
            reference.insert("comments".into(), format!("{COMMENT}{id}").into());
        }
        reference.insert("transactionId".into(), id.as_str().into());
    }
    let fields = body.pointer_mut("/merchantDefinedInformation").and_then(Value::as_array_mut);
    for field in fields.into_iter().flatten() {
        if field.get("value").and_then(Value::as_str) == Some(call.command.as_str())
            && let Some(value) = field.get_mut("value")
        {
            *value = id.as_str().into();
        }
    }
    body
}

async fn write(call: &Call<'_>, plan: &Plan) -> Outcome {
    let client = Client::for_write(call);
    // Sent before, and not found since: whatever became of that must be undone before anything is sent again.
    let before = match guard::undo_earlier(&client, plan).await {
        Ok(facts) => facts,
        Err(outcome) => return outcome,
    };
    if plan.look {
        match lookup::adopt(&client, plan).await {
            Ok(None) => {}
            Ok(Some(outcome)) => return outcome,
            Err(fault) => return Outcome::NotDone { after: None, why: fault.not_now() },
        }
    }
    let outcome = match client.post(&plan.path, &body(call, plan)).await {
        Ok(answer) if answer.is_success() => judge(call, plan, answer.body.json(), &answer.said()),
        Ok(answer) => turned_away(&client, plan, &answer).await,
        Err(outcome) => outcome,
    };
    with_facts(outcome, before)
}

/// Adds what was learned before.
pub(super) fn with_facts(mut outcome: Outcome, before: Vec<Fact>) -> Outcome {
    match &mut outcome {
        Outcome::Settled { observation, .. }
        | Outcome::Refused { observation, .. }
        | Outcome::Disagrees { observation, .. } => {
            observation.facts.splice(0..0, before);
        }
        Outcome::NotDone { .. } | Outcome::Unknown { .. } => {}
    }
    outcome
}

/// A refusal. Some may mean that it was done before, which a look tells; a used transaction id surely does.
async fn turned_away(client: &Client<'_>, plan: &Plan, answer: &Answer) -> Outcome {
    let reason = answer.reason();
    let used = reason == "DUPLICATE_REQUEST"
        || errors::field(answer.body.json()).is_some_and(|f| f.ends_with("transactionId"));
    if reason == "AUTH_ALREADY_REVERSED" && client.call.action == actions::REVERSE_NAME {
        let facts = transaction::reversed(plan.payment.as_deref().unwrap_or(""), "reversed");
        return settled(plan, None, facts, &answer.said());
    }
    let on_hold = [actions::CAPTURE_NAME, actions::REVERSE_NAME].contains(&client.call.action);
    if on_hold && reason == "MISSING_AUTH" {
        return not_there(client, plan, answer).await;
    }
    if !used && !errors::says_already(&reason) {
        return refused(answer, Observation::default());
    }
    match lookup::done_before(client, plan).await {
        Ok(Some(outcome)) => outcome,
        // The reference or the transaction id was used within the last minutes or days, and by nobody that can be
        // seen: perhaps by us, a moment ago.
        Ok(None) if used => {
            unknown(format!("{}, and no transaction of ours is to be seen yet", answer.said()))
        }
        // A void that is refused leads to a refund: not where an earlier sending may have voided it.
        Ok(None) if client.call.generation > 0 => match ruled_out::by_what_is_there(client, plan).await {
            Some(known) => refused(answer, known),
            None => unknown(answer.said()),
        },
        Ok(None) => refused(answer, lookup::in_the_way(client, plan).await),
        Err(fault) => unknown(format!("{}, and {}", answer.said(), fault.why())),
    }
}

/// Code of a capture whose hold ran out before it.
const EXPIRED: &str = "authorization_expired";

/// Cybersource knows no hold that could be taken or let go. Only where nobody took it and its time is over, it ran out: a
/// reversal has nothing left to do then, and a capture needs another payment.
async fn not_there(client: &Client<'_>, plan: &Plan, answer: &Answer) -> Outcome {
    let (call, said) = (client.call, answer.said());
    let adopted = match call.action == actions::CAPTURE_NAME && plan.captured.is_some() {
        true => lookup::adopt(client, plan).await,
        false => Ok(None),
    };
    let gone = match adopted {
        Ok(Some(outcome)) => return outcome,
        Ok(None) => lookup::gone(client, plan).await,
        Err(fault) => Err(fault),
    };
    let told = |facts: Vec<Fact>| Observation { facts, ..Observation::default() };
    match gone {
        Ok(lookup::Gone::Taken(facts)) => refused(answer, told(facts)),
        Ok(lookup::Gone::Unexplained) => refused(answer, Observation::default()),
        Ok(lookup::Gone::RanOut { untouched }) => {
            let facts = transaction::ran_out(plan.payment.as_deref().unwrap_or(""), untouched);
            if call.action == actions::REVERSE_NAME {
                return settled(plan, None, facts, &format!("{said}: it ran out before"));
            }
            let summary = format!(
                "{said}: the hold ran out, and nobody took it; ask for another payment, which is authorized as before, or \
                 take no money for this"
            );
            Outcome::Refused { code: EXPIRED.to_owned(), observation: told(facts), summary }
        }
        // Nothing was done, and what is to be known of it cannot be read now.
        Err(fault) => Outcome::NotDone { after: None, why: fault.not_now() },
    }
}

pub(super) fn disagrees(d: Differs, facts: Vec<Fact>) -> Outcome {
    common::disagrees(d, Observation { facts, ..Observation::default() })
}

pub(super) fn settled(plan: &Plan, id: Option<&str>, facts: Vec<Fact>, said: &str) -> Outcome {
    let sum = plan.amount.map(|a| format!(" {a}")).unwrap_or_default();
    Outcome::Settled {
        observation: Observation { facts, ..Observation::default() },
        provider_id: id.map(str::to_owned),
        summary: format!("POST {}{sum} → {said}", plan.path),
    }
}

/// The currency that was asked for, where an answer leaves it out.
fn asked(plan: &Plan) -> Option<Currency> {
    plan.amount.map(|a| a.currency)
}

/// Judges the answer to a request.
fn judge(call: &Call<'_>, plan: &Plan, answer: Json<'_>, said: &str) -> Outcome {
    let judged = match call.action {
        actions::AUTHORIZE_NAME => authorized(call, plan, answer, said),
        actions::CAPTURE_NAME => captured(call, plan, answer, said),
        actions::REVERSE_NAME => reversed(call, plan, answer, said),
        actions::VOID_NAME | actions::VOID_REFUND_NAME => voided(call, plan, answer, said),
        actions::REFUND_NAME => refunded(call, plan, answer, said),
        _ => decided(plan, answer, said),
    };
    judged.unwrap_or_else(|difference| disagrees(difference, Vec::new()))
}

pub(super) fn check_code(plan: &Plan, answer: Json<'_>) -> Result<(), Differs> {
    match wire::code(answer) {
        Some(code) if code == plan.code => Ok(()),
        _ => Err(differs(
            "clientReferenceInformation.code",
            "our reference did not come back as it was sent; look at the order in the Business Center",
        )),
    }
}

/// Whether an amount is the one that was asked for.
pub(super) fn check_amount(plan: &Plan, found: Money, field: &str) -> Result<(), Differs> {
    match plan.amount {
        Some(sent) if sent.currency != found.currency => {
            Err(differs("currency", format!("sent {}, came back {}", sent.currency, found.currency)))
        }
        Some(sent) if sent.minor != found.minor => {
            Err(differs(field, format!("sent {sent}, came back {found}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn status(answer: Json<'_>) -> &str {
    text(answer, &["status"]).unwrap_or("")
}

fn authorized(call: &Call<'_>, plan: &Plan, answer: Json<'_>, said: &str) -> Result<Outcome, Differs> {
    let raw = status(answer);
    let Some(went) = Went::of(raw) else { return Err(wire::status_unknown("payment", raw).into()) };
    if went == Went::Unclear {
        return Ok(unknown(format!("{said} {raw}")));
    }
    if went == Went::Invalid {
        let code = errors::code(answer).unwrap_or_else(|| raw.to_owned());
        let observation = Observation::default();
        return Ok(Outcome::Refused { code, observation, summary: format!("{said} {raw}") });
    }
    let payment = wire::id(answer)?;
    let (total, reserved) = amounts(call.connection, answer, went, asked(plan))?;
    let at = wire::submitted(answer);
    let taken = plan.taking && went.may_be_taken();
    let paid = Paid {
        connection: call.connection,
        payment,
        went,
        total: total.or(plan.amount),
        reserved,
        taken,
        at,
        answer,
    };
    let mut told = paid.facts();
    told.extend(facts::customer(answer));
    // A card that was refused for its risk is nobody's to keep.
    let keeps = went.reserves() && went != Went::RiskDeclined;
    told.extend(facts::instrument(plan, answer).filter(|_| keeps));
    if let Err(difference) = check_code(plan, answer).and_then(|()| check_payment(plan, &paid, total)) {
        return Ok(disagrees(difference, told));
    }
    Ok(judge_paid(plan, &paid, told, said))
}

/// Whether the amounts of a payment are those that were asked for.
pub(super) fn check_payment(plan: &Plan, paid: &Paid<'_>, total: Option<Money>) -> Result<(), Differs> {
    if let Some(total) = total {
        check_amount(plan, total, &TOTAL.join("."))?;
    }
    let Some(reserved) = paid.reserved.filter(|_| paid.went.reserves()) else { return Ok(()) };
    let sent = plan.amount.unwrap_or(reserved);
    let less = sent.currency == reserved.currency && reserved.minor < sent.minor && reserved.minor > 0;
    if paid.went == Went::ReservedInPart && less {
        return Ok(());
    }
    check_amount(plan, reserved, &facts::AUTHORIZED.join("."))
}

/// How a payment ends that agrees with its request.
pub(super) fn judge_paid(plan: &Plan, paid: &Paid<'_>, told: Vec<Fact>, said: &str) -> Outcome {
    let refusal = |told: Vec<Fact>| Outcome::Refused {
        code: paid.reason(),
        observation: Observation { facts: told, ..Observation::default() },
        summary: format!("{said}: {}", paid.reason()),
    };
    match paid.went {
        Went::Declined | Went::RiskDeclined => refusal(told),
        Went::ReservedInPart if paid.unwanted_part() => refusal(told),
        Went::ReservedInPart if settings::partial(paid.connection) != Partial::Accept => {
            let got = paid.reserved.map(|r| r.to_string()).unwrap_or_default();
            let what = format!(
                "only {got} were reserved; to keep it, drop the item; else reverse it in the Business Center \
                 (setting partial_authorization decides this for later payments)"
            );
            disagrees(differs(facts::AUTHORIZED.join("."), what), told)
        }
        Went::Invalid => refusal(told),
        Went::Unclear => unknown(format!("{said}: Cybersource had an error of its own")),
        Went::Reserved | Went::ReservedInPart | Went::Held | Went::HeldUnreserved | Went::MustAct => {
            settled(plan, Some(paid.payment), told, said)
        }
    }
}

fn captured(call: &Call<'_>, plan: &Plan, answer: Json<'_>, said: &str) -> Result<Outcome, Differs> {
    let raw = status(answer);
    if !matches!(raw, "PENDING" | "TRANSMITTED") {
        return Err(wire::status_unknown("capture", raw).into());
    }
    let id = wire::id(answer)?;
    let payment = plan.payment.as_deref().unwrap_or(id);
    let amount = money(call.connection, answer, &TOTAL, &CURRENCY, asked(plan))?;
    let told = capture_facts(plan, payment, id, amount);
    match check_code(plan, answer).and_then(|()| check_amount(plan, amount, &TOTAL.join("."))) {
        Ok(()) => Ok(settled(plan, Some(id), told, said)),
        Err(difference) => Ok(disagrees(difference, told)),
    }
}

/// Facts of a capture of ours. After the last one the rest is taken by nobody; a reversal is refused once something was taken, so it
/// stays reserved until it runs out.
pub(super) fn capture_facts(plan: &Plan, payment: &str, capture: &str, amount: Money) -> Vec<Fact> {
    let mut told = vec![transaction::captured(payment, capture, amount)];
    if plan.last {
        let (payment, how) = (payment.to_owned(), AuthorizationEnd::Kept);
        told.push(Fact::AuthorizationEnded { charge: payment.clone(), payment, how });
    }
    told
}

fn reversed(call: &Call<'_>, plan: &Plan, answer: Json<'_>, said: &str) -> Result<Outcome, Differs> {
    let raw = status(answer);
    if raw != "REVERSED" {
        return Err(wire::status_unknown("reversal", raw).into());
    }
    let path = ["reversalAmountDetails", "reversedAmount"];
    let currency = ["reversalAmountDetails", "currency"];
    let told = transaction::reversed(plan.payment.as_deref().unwrap_or(""), "reversed");
    let amount = answer
        .at(&path)
        .map(|_| money(call.connection, answer, &path, &currency, asked(plan)))
        .transpose()?;
    let checked = check_code(plan, answer)
        .and_then(|()| amount.map_or(Ok(()), |a| check_amount(plan, a, &path.join("."))));
    match checked {
        Ok(()) => Ok(settled(plan, text(answer, &["id"]), told, said)),
        Err(difference) => Ok(disagrees(difference, told)),
    }
}

fn voided(call: &Call<'_>, plan: &Plan, answer: Json<'_>, said: &str) -> Result<Outcome, Differs> {
    match status(answer) {
        "VOIDED" => {}
        // CANCELLED is read as done by some and as refused by others: a person looks before money goes back twice.
        raw @ "FAILED" => {
            let (code, observation) = (raw.to_owned(), Observation::default());
            return Ok(Outcome::Refused { code, observation, summary: format!("{said} {raw}") });
        }
        raw => return Err(wire::status_unknown("void", raw).into()),
    }
    let id = wire::id(answer)?;
    let path = ["voidAmountDetails", "voidAmount"];
    let currency = ["voidAmountDetails", "currency"];
    let found = answer
        .at(&path)
        .map(|_| money(call.connection, answer, &path, &currency, asked(plan)))
        .transpose()?;
    let told = match call.action {
        actions::VOID_REFUND_NAME => withdrawn_facts(plan),
        _ => void_facts(plan, id),
    };
    let checked = check_code(plan, answer)
        .and_then(|()| found.map_or(Ok(()), |a| check_amount(plan, a, &path.join("."))));
    match checked {
        Ok(()) => Ok(settled(plan, Some(id), told, said)),
        Err(difference) => Ok(disagrees(difference, told)),
    }
}

/// A void gives all of its capture back.
pub(super) fn void_facts(plan: &Plan, id: &str) -> Vec<Fact> {
    let (Some(payment), Some(amount)) = (&plan.payment, plan.amount) else { return Vec::new() };
    let status = tillway_core::facts::RefundStatus::Succeeded;
    vec![facts::refund(id, payment, amount, status, plan.request.as_deref(), plan.returns())]
}

/// A refund that is voided never moves.
pub(super) fn withdrawn_facts(plan: &Plan) -> Vec<Fact> {
    let (Some(payment), Some(refund), Some(amount)) = (&plan.payment, &plan.object, plan.amount) else {
        return Vec::new();
    };
    let status = tillway_core::facts::RefundStatus::Cancelled;
    vec![facts::refund(refund, payment, amount, status, None, None)]
}

fn refunded(call: &Call<'_>, plan: &Plan, answer: Json<'_>, said: &str) -> Result<Outcome, Differs> {
    let raw = status(answer);
    if raw == "DECLINED" || raw == "INVALID_REQUEST" {
        let code = errors::reason(answer).unwrap_or_else(|| raw.to_owned());
        let observation = Observation::default();
        return Ok(Outcome::Refused { code, observation, summary: format!("{said} {raw}") });
    }
    let status = facts::refund_status(raw)?;
    let id = wire::id(answer)?;
    let path = ["refundAmountDetails", "refundAmount"];
    let currency = ["refundAmountDetails", "currency"];
    let amount = match answer.at(&path) {
        Some(_) => money(call.connection, answer, &path, &currency, asked(plan))?,
        None => money(call.connection, answer, &TOTAL, &CURRENCY, asked(plan))?,
    };
    let payment = plan.payment.as_deref().unwrap_or(id);
    let told = vec![facts::refund(id, payment, amount, status, plan.request.as_deref(), plan.returns())];
    match check_code(plan, answer).and_then(|()| check_amount(plan, amount, &path.join("."))) {
        Ok(()) => Ok(settled(plan, Some(id), told, said)),
        Err(difference) => Ok(disagrees(difference, told)),
    }
}

fn decided(plan: &Plan, answer: Json<'_>, said: &str) -> Result<Outcome, Differs> {
    let outcome = match (status(answer), plan.accept) {
        ("ACCEPTED", true) => ReviewOutcome::Approved,
        ("REJECTED", false) => ReviewOutcome::Rejected,
        (raw @ ("ACCEPTED" | "REJECTED"), _) => {
            return Err(differs("status", format!("the case reads {raw}, which is not what was asked for")));
        }
        (raw, _) => return Err(wire::status_unknown("case", raw).into()),
    };
    let payment = plan.payment.clone().unwrap_or_default();
    let mut told = vec![Fact::ReviewClosed { review: payment.clone(), payment: payment.clone(), outcome }];
    let done = |name: &str| {
        answer
            .at(&["_embedded", name])
            .is_some_and(|e| matches!(text(e, &["status"]), Some("PENDING" | "TRANSMITTED" | "REVERSED")))
    };
    if plan.taking && !plan.accept && done("reversal") {
        told.extend(transaction::reversed(&payment, "review_rejected"));
    }
    Ok(settled(plan, Some(&payment), told, said))
}
