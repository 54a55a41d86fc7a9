//! What explains an item in the parking lot.

use tillway_core::facts::{Fact, Parked, RouteEnd};
use tillway_core::routing::Choice;
use tillway_sandbox::cybersource::Manner;

use super::Stored;
use crate::draw::{Act, Card, OrderPlan, Plan};
use crate::pair::Pair;

/// Whether an item is of a step that asks the bank, whether Decision Manager was asked before or with it.
fn authorizes(item: &Parked) -> bool {
    let step = item.step.as_deref().unwrap_or_default();
    step.starts_with("authorize/") || step.starts_with("authorize-screened/")
}

/// Whether a behaviour explains a parked item, or a fault.
pub(super) fn explained(
    plan: &Plan,
    item: &Parked,
    (order, stored): (Option<&OrderPlan>, Option<&Stored>),
    faulty: bool,
) -> bool {
    let code = item.code.as_str();
    // A failure kept under the key, or days without an answer, leave nothing but a person to ask. A capture
    // that could not be settled while the hold lasted is found to differ when it has ended.
    let of_capture = item.step.as_deref().is_some_and(|s| s.starts_with("capture-"));
    let by_fault = matches!(code, "outcome_unknown" | "unavailable" | "dead_letter")
        || code == "answer_disagrees" && of_capture;
    let of_gateway = match plan.pair {
        Pair::StripeClarity => false,
        Pair::CybersourceClarity => of_cybersource(item, order) || of_merchant_ids(plan, item, order, stored),
    };
    faulty && by_fault
        || of_gateway
        || matches!(
            code,
            "total_raised_after_payment"
                | "captured_less_than_total"
                | "captured_above_total"
                | "must_not_run"
                | "authorized_less_than_total"
                | "total_lowered_after_capture"
                | "cancelled_after_capture"
                | "card_number_removed"
                | "await_timed_out"
                | "charge_disputed"
                | "charge_already_refunded"
                | "payment_intent_unexpected_state"
                | "amount_too_large"
                | "invalid_request_error"
                | "amount_forbidden"
        )
}

/// Whether an attempt was the last there could be: no candidate was left untried, or it followed a decline, which is
/// followed up once.
fn is_last(stored: &Stored, step: &str) -> bool {
    let facts = || stored.logs.iter().flat_map(|l| &l.facts);
    let chosen = |f: &Fact| -> Option<Choice> {
        match f {
            Fact::RouteChosen { step: of, choice, .. } if of == step => Some((**choice).clone()),
            _ => None,
        }
    };
    // What a person ran again was chosen again: the newest counts.
    let Some(choice) = facts().filter_map(chosen).next_back() else { return false };
    let after_decline = |cause: &String| {
        facts().any(|f| {
            matches!(f, Fact::RouteEnded { end: RouteEnd::SoftDeclined, cause: Some(c), .. } if c == cause)
        })
    };
    choice.candidates.len() <= 1 || choice.after.as_ref().is_some_and(after_decline)
}

/// A merchant id that is not set up, or not for the order's currency, and no other one was left that is.
fn of_merchant_ids(plan: &Plan, item: &Parked, order: Option<&OrderPlan>, stored: Option<&Stored>) -> bool {
    let step = item.step.as_deref().unwrap_or_default();
    let last = stored.is_some_and(|stored| is_last(stored, step));
    let Some(order) = order.filter(|_| authorizes(item) && last) else { return false };
    let not_set_up = |act: &Act| matches!(act, Act::Manner { manner: Manner::NotSetUp, .. });
    let beside = || plan.orders.iter().filter(|o| o.pair == order.pair);
    let manners = plan.manners.get(order.pair).into_iter().flatten();
    match item.code.as_str() {
        "INVALID_MERCHANT_CONFIGURATION" => beside().any(|o| o.acts.iter().any(|(_, act)| not_set_up(act))),
        "currency_not_enabled" => manners.into_iter().any(|m| *m == Manner::Without(order.currency)),
        _ => false,
    }
}

/// What this gateway answers to the cards and the people drawn.
fn of_cybersource(item: &Parked, order: Option<&OrderPlan>) -> bool {
    let step = |begins: &str| item.step.as_deref().is_some_and(|s| s.starts_with(begins));
    let card = |token: &'static str| order.is_some_and(|o| o.cards().any(|c| c == Card::Token(token)));
    match item.code.as_str() {
        "answer_disagrees" if authorizes(item) => card("tok_partial") || card("tok_unheard"),
        "status_unknown" => card("tok_unheard"),
        "partial_authorization" => card("tok_partial"),
        // A person took it back and took it again, or refused what was taken.
        "captured_above_authorized" => order.is_some_and(|o| o.does(Act::DashboardVoid)),
        "rejected_after_capture" => order.is_some_and(|o| o.rejects()),
        "action_without_link" => card("tok_challenge"),
        "INVALID_CARD" => authorizes(item) && card("tok_badcard"),
        "INVALID_DATA" => authorizes(item) && card("tok_invalid"),
        // Somebody gave it back by hand, and nobody heard of it in time.
        "INVALID_AMOUNT" | "CAPTURE_ALREADY_VOIDED" | "MISSING_AUTH" if step("refund-") => {
            order.is_some_and(OrderPlan::gives_back_by_hand)
        }
        "PROCESSOR_DECLINED" => step("refund-") && card("tok_refunddeclined"),
        // The hold ran out or was let go by somebody, of which nobody was told in time.
        "MISSING_AUTH" | "AUTH_ALREADY_REVERSED" => step("capture-"),
        // It ran out, or somebody let it go, and was shipped all the same.
        "authorization_expired" => {
            let ships =
                |o: &OrderPlan| o.acts.iter().any(|(_, a)| matches!(a, Act::Ship { .. } | Act::Complete));
            step("capture-") || order.is_some_and(ships)
        }
        // Its merchant id was not set up when a person decided, or somebody let it go.
        "case_not_decided" => order.is_some_and(|o| o.does(Act::Rule(true)) || o.does(Act::Rule(false))),
        _ => false,
    }
}
