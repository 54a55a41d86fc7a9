//! What the planted bugs do (see [`crate::bugs`]). Without the feature nothing here is ever called.

use tillway_connectors::port::Action;
use tillway_core::decide::{Decision, ROUTE_UNAVAILABLE, step_of};
use tillway_core::doc::Json;
use tillway_core::facts::{Fact, RefundStatus, StepState};
use tillway_core::flow::Flow;
use tillway_core::ids::{CommandId, ConnectionName};
use tillway_core::money::{Currency, Money};
use tillway_core::state::OrderState;
use tillway_core::value::Value;

use crate::records::CommandRecord;

/// Books the charge's cumulative total as if it were a refund of its own.
pub(crate) fn refund_from_total(kind: &str, json: Json<'_>, facts: &mut Vec<Fact>) {
    if kind != "charge.refunded" {
        return;
    }
    let object = json.at(&["data", "object"]);
    let text = |name: &str| object.and_then(|o| o.get(name)).and_then(Json::as_str);
    let total = object.and_then(|o| o.get("amount_refunded")).and_then(Json::as_i64);
    let currency = text("currency").and_then(|c| Currency::parse(c).ok());
    let (Some(payment), Some(charge), Some(total), Some(currency)) =
        (text("payment_intent"), text("id"), total, currency)
    else {
        return;
    };
    facts.push(Fact::Refund {
        refund: format!("{charge}:{total}"),
        payment: payment.to_owned(),
        amount: Money::new(total, currency),
        status: RefundStatus::Succeeded,
        moved: true,
        returned: false,
        request: None,
        of: None,
        undoes: None,
        resent: false,
    });
}

/// Makes every order snapshot look newer than what is known.
pub(crate) fn older_read_wins(state: &OrderState, facts: &mut [Fact]) {
    let Some(known) = state.order.as_ref().map(|o| o.version) else { return };
    for fact in facts {
        if let Fact::Order(snapshot) = fact {
            snapshot.version = snapshot.version.max(known.saturating_add(1));
        }
    }
}

/// Forgets which steps have a command out: only the command id would tell a repetition.
pub(crate) fn forget_issued(state: &mut OrderState) {
    state.steps.retain(|_, s| !matches!(s, StepState::Issued { .. }));
}

/// Another identity of the same intent for each sending but the first: nobody finds or undoes what bore another.
pub(crate) fn new_identity(id: &CommandId, connection: &ConnectionName, attempts: u32) -> CommandId {
    match attempts {
        0 | 1 => id.clone(),
        n => CommandId::derive(connection, id.as_str(), "again", &n.to_string()),
    }
}

/// Whether an action makes an attempt with a card.
pub(crate) fn takes_a_card(action: &Action) -> bool {
    action.spec.params.field("token").is_some()
}

/// What nobody knows the outcome of, told as a refusal: where another merchant id can be taken as one of a merchant id that
/// does not work, else as an attempt that failed.
pub(crate) fn taken_for_refused(id: &CommandId, routed: bool) -> (&'static str, Vec<Fact>) {
    if routed { (ROUTE_UNAVAILABLE, Vec::new()) } else { ("no_answer", vec![failed_attempt(id)]) }
}

fn failed_attempt(id: &CommandId) -> Fact {
    Fact::AttemptFailed {
        payment: format!("lost:{id}"),
        attempt: format!("lost:{id}"),
        code: "no_answer".to_owned(),
        shopper_reason: "processing_error".to_owned(),
        soft: true,
    }
}

/// Takes every money command that is out and that another waits for as refused. `reported`: the step that just ended.
pub(crate) fn not_waited_for(state: &OrderState, flow: &Flow, reported: Option<&str>, facts: &mut Vec<Fact>) {
    for (step, is) in &state.steps {
        let name = step_of(step);
        let money = flow.step(name).is_some_and(|s| s.action.money);
        let needed = flow.steps.iter().any(|s| s.action.money && s.needs.iter().any(|n| n == name));
        if money && needed && matches!(is, StepState::Issued { .. }) && reported != Some(step) {
            let state = StepState::Refused { code: "not_waited_for".to_owned() };
            facts.push(Fact::Step { step: step.clone(), state });
        }
    }
}

/// Whether the merchant id of a command is drawn anew: it has one, and was sent before.
pub(crate) const fn draws_anew(record: &CommandRecord) -> bool {
    record.taken.is_some() && record.attempts > 0
}

/// Names another merchant id than the one that was chosen.
pub(crate) fn draw_anew(record: &CommandRecord, routes: &[String], params: &mut Value) {
    let chosen = record.taken.as_ref().map(|taken| taken.route.as_str());
    let other = routes.iter().find(|route| Some(route.as_str()) != chosen);
    if let (Value::Map(fields), Some(other)) = (params, other) {
        fields.insert("route".to_owned(), Value::text(other.clone()));
    }
}

/// Drops the wish to look first.
pub(crate) fn forget_to_look(params: &mut Value) {
    if let Value::Map(map) = params {
        map.remove("look");
    }
}

/// Takes command ids from the event.
pub(crate) fn ids_from_event(decision: &mut Decision, event: &str) {
    for command in &mut decision.commands {
        let id = CommandId::derive(&command.connection, event, &command.step, "");
        let issued = StepState::Issued { command: id.clone() };
        for fact in &mut decision.facts {
            if let Fact::Step { step, state } = fact
                && *step == command.step
                && matches!(state, StepState::Issued { .. })
            {
                state.clone_from(&issued);
            }
        }
        decision.state.steps.insert(command.step.clone(), issued);
        command.id = id;
    }
}

/// Puts amounts on the wire with the ISO exponent where the gateway's differs (króna: ISO 0, wire 2).
pub(crate) fn iso_exponent(params: &mut Value) {
    let Value::Map(map) = params else { return };
    for value in map.values_mut() {
        if let Value::Money(money) = value
            && money.currency.code() == "ISK"
        {
            money.minor /= 100;
        }
    }
}
