//! Routes of an order's authorizations: what was chosen, what became of it, and what may be tried again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::OrderState;
use crate::facts::{RouteEnd, StepState};
use crate::ids::{CommandId, digest};
use crate::routing::{Choice, Segment};

/// A choice, as far as later decisions need it; the fact holds all that it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The command that authorizes.
    pub command: CommandId,
    /// Where.
    pub route: String,
    /// The order's segment then.
    pub segment: Segment,
    /// The rule that named the candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Candidates that were not tried yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// A soft decline may be tried at one of them, once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RouteEnd>,
    /// What ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

impl Chosen {
    /// What may cause another authorization: settled evidence that nothing is reserved here, and somewhere else to go.
    fn leads_on(&self) -> Option<&str> {
        let over = match self.end? {
            RouteEnd::SoftDeclined => self.retry,
            RouteEnd::Failed | RouteEnd::Unfit => true,
            RouteEnd::Approved | RouteEnd::Declined | RouteEnd::Open => false,
        };
        self.cause.as_deref().filter(|_| over && !self.others.is_empty())
    }
}

impl OrderState {
    /// The merchant id that a gateway's object lies with: a payment, a capture or a refund; of one nobody heard of yet, the
    /// one that all payments of the order lie with.
    #[must_use]
    pub fn route_of(&self, object: &str) -> Option<&str> {
        let payment = self.payments.get_key_value(object).map(|(id, _)| id);
        let known = payment
            .or_else(|| self.payment_of_capture(object))
            .or_else(|| self.refunds.get(object).map(|refund| &refund.payment));
        if let Some(payment) = known {
            return self.payments.get(payment)?.route.as_deref();
        }
        let mut routes = self.payments.values().map(|payment| payment.route.as_deref());
        let first = routes.next()?;
        first.filter(|_| routes.all(|other| other == first))
    }

    pub(super) fn join_chosen(&mut self, step: &str, command: &CommandId, choice: &Choice) -> bool {
        let others = choice.candidates.iter().map(|c| &c.route).filter(|r| **r != choice.route);
        let chosen = Chosen {
            command: command.clone(),
            route: choice.route.clone(),
            segment: choice.segment.clone(),
            rule: choice.rule,
            others: others.cloned().collect(),
            retry: choice.retry,
            end: None,
            cause: None,
        };
        let new = self.choices.get(step) != Some(&chosen);
        self.choices.insert(step.to_owned(), chosen);
        new
    }

    /// How an authorization ended counts once. What said nothing may be followed by what does.
    pub(super) fn join_route_end(
        &mut self,
        step: &str,
        command: &CommandId,
        end: RouteEnd,
        cause: Option<&str>,
    ) -> bool {
        let Some(chosen) = self.choices.get_mut(step).filter(|c| c.command == *command) else { return false };
        if !matches!(chosen.end, None | Some(RouteEnd::Open)) || chosen.end == Some(end) {
            return false;
        }
        chosen.end = Some(end);
        chosen.cause = cause.map(str::to_owned);
        true
    }

    /// Second attempts with a token: key (the token and what causes it) and token. Never while the first may hold money.
    pub(crate) fn second_attempts(&self) -> impl Iterator<Item = (String, &str)> {
        self.choices.iter().filter_map(|(step, chosen)| {
            let cause = chosen.leads_on()?;
            // A reservation under the failed attempt would stand beside the second one.
            let of_it = |p: &&super::Payment| p.failures.iter().any(|f| f.attempt == cause);
            let mut payments = self.payments.values().filter(of_it);
            let holds = payments.any(|p| p.charges.values().any(|c| c.ended.is_none()));
            let token = self.tokens.iter().find(|t| is_of(step, &attempt_key(t))).filter(|_| !holds)?;
            Some((format!("{}{AGAIN}{cause}", attempt_key(token)), token.as_str()))
        })
    }

    /// The choice a second attempt follows.
    pub(crate) fn choice_before(&self, key: &str) -> Option<(&str, &Chosen)> {
        self.choices.values().find_map(|chosen| {
            let cause = chosen.leads_on()?;
            key.strip_suffix(cause).is_some_and(|rest| rest.ends_with(AGAIN)).then_some((cause, chosen))
        })
    }

    /// Whether a step's authorization is followed by a second one.
    pub(crate) fn leads_on(&self, step: &str) -> bool {
        self.choices.get(step).is_some_and(|chosen| chosen.leads_on().is_some())
    }

    /// Whether a failed attempt is followed by a second one.
    pub(super) fn goes_on(&self, attempt: &str) -> bool {
        let mut leading = self.choices.values().filter_map(Chosen::leads_on);
        leading.any(|cause| cause == attempt)
    }

    /// Whether it is not known yet what follows a failed attempt: a webhook may overtake the answer.
    pub(super) fn is_unsettled(&self) -> bool {
        self.route_is_out(|chosen| !chosen.others.is_empty())
    }

    /// Whether a routed authorization of a kind is on its way.
    pub(crate) fn route_is_out(&self, which: impl Fn(&Chosen) -> bool) -> bool {
        let out = |step: &String, chosen: &Chosen| matches!(self.steps.get(step), Some(StepState::Issued { command }) if *command == chosen.command);
        self.choices.iter().any(|(step, chosen)| chosen.end.is_none() && which(chosen) && out(step, chosen))
    }
}

/// Longest token that is its attempt's key.
const SHORT: usize = 256;

/// The key of an attempt: its token, or the hash of one that would make every name of a step some thousand characters long.
pub(super) fn attempt_key(token: &str) -> Cow<'_, str> {
    if token.len() <= SHORT {
        return Cow::Borrowed(token);
    }
    Cow::Owned(format!("token-{}", digest(&["attempt", token])))
}

/// Stands between a token and what causes a second attempt with it.
const AGAIN: &str = "~after:";

/// Whether a step instance is of an attempt, or of a second one with the same token.
fn is_of(step: &str, first: &str) -> bool {
    let Some((_, key)) = step.split_once('/') else { return false };
    key.strip_prefix(first).is_some_and(|rest| rest.is_empty() || rest.starts_with(AGAIN))
}
