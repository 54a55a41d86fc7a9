//! Routing within a decision: which merchant id an action goes to, and what became of an authorization.

use serde::{Deserialize, Serialize};

use super::{Needs, Run};
use crate::expr::EvalError;
use crate::facts::{CommandEnd, Fact, RouteEnd, StepState};
use crate::flow::Step;
use crate::ids::CommandId;
use crate::routing::{Choice, Part, Routing, Segment, Table, choose};
use crate::scope::View;
use crate::value::Value;

/// What a flow may route over.
#[derive(Clone, Copy)]
pub struct Routes<'a> {
    /// What the pair says.
    pub routing: &'a Routing,
    /// What was measured; `None` where it was not loaded (then a step that draws asks for it).
    pub counts: Option<&'a Table>,
    /// Whether a refusal with this code is the fault of the merchant id, as the connector tells.
    pub fault: &'a (dyn Fn(&str) -> bool + Sync),
    /// Whether it says that the merchant id does not take such orders, however well it does with others.
    pub unfit: &'a (dyn Fn(&str) -> bool + Sync),
    /// Whether a soft decline with this code may be tried at another one at once.
    pub again: &'a (dyn Fn(&str) -> bool + Sync),
}

/// A merchant id that a command authorizes at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Name.
    pub route: String,
    /// The order's segment.
    pub segment: Segment,
    /// What certainly was not executed here may be given up: there is another candidate, or a decline that stands.
    pub others: bool,
}

/// The parameter that names the route.
const PARAM: &str = "route";
/// Code of a command that was given up because its merchant id did not work, with nothing executed.
pub const ROUTE_UNAVAILABLE: &str = "route_unavailable";

impl Run<'_> {
    /// Fills in the route of an action that takes one: the payment's, or for an authorization a chosen one.
    pub(super) fn route(
        &mut self,
        step: &Step,
        instance: &str,
        key: Option<&str>,
        (id, cause): (&CommandId, &str),
        params: &mut Value,
        view: &View<'_>,
    ) -> Result<Result<Option<Taken>, EvalError>, Needs> {
        let schema = step.action.params;
        // A mapping that names the route has the last word.
        if schema.field(PARAM).is_none() || params.get(PARAM).is_some_and(|given| !given.is_empty()) {
            return Ok(Ok(None));
        }
        if schema.field("payment").is_some() {
            let payment = params.get("payment").and_then(Value::as_text);
            let route = payment.and_then(|p| self.out.state.payments.get(p)).and_then(|p| p.route.clone());
            if let (Some(route), Value::Map(fields)) = (route, params) {
                fields.insert(PARAM.to_owned(), Value::text(route));
            }
            return Ok(Ok(None));
        }
        let Some(routes) = self.plan.routes.filter(|_| step.action.money) else { return Ok(Ok(None)) };
        if routes.routing.is_personal() && self.plan.personal.is_none() && !self.plan.erased {
            return Err(Needs::Personal);
        }
        let choice = match self.choose(&routes, key, cause, params, view)? {
            Ok(Some(choice)) => choice,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        };
        if let Value::Map(fields) = params {
            fields.insert(PARAM.to_owned(), Value::text(choice.route.clone()));
        }
        // A second attempt after a decline waits for nobody: the order has failed already.
        let state = &self.out.state;
        let failed = key.and_then(|key| state.choice_before(key)).map(|(_, first)| first.end);
        let declined = choice.after.is_some() && !failed.flatten().is_some_and(RouteEnd::is_unexecuted);
        let taken = Taken {
            route: choice.route.clone(),
            segment: choice.segment.clone(),
            others: choice.candidates.len() > 1 || declined,
        };
        let (step, command) = (instance.to_owned(), id.clone());
        self.apply(Fact::RouteChosen { step, command, choice: Box::new(choice) });
        Ok(Ok(Some(taken)))
    }

    fn choose(
        &self,
        routes: &Routes<'_>,
        key: Option<&str>,
        cause: &str,
        params: &Value,
        view: &View<'_>,
    ) -> Result<Result<Option<Choice>, EvalError>, Needs> {
        let state = &self.out.state;
        let before = key.and_then(|key| state.choice_before(key));
        let (rule, candidates, retry) = match before {
            // Somewhere else, among those the first could have gone to; after a decline that is the last one.
            Some((_, first)) => {
                let retry = first.retry && first.end.is_some_and(RouteEnd::is_unexecuted);
                (first.rule, first.others.as_slice(), retry)
            }
            None => match routes.routing.candidates(view) {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            },
        };
        let amount = params.get("amount").and_then(Value::as_money);
        let token = params.get("token").and_then(Value::as_text);
        let brand = token.and_then(|t| state.brands.get(t)).map_or("", String::as_str);
        let country = match routes.routing.by.contains(&Part::Country) {
            true => view.fetch(&["order", "bill_to", "country"].map(str::to_owned)).into_owned(),
            false => Value::Null,
        };
        let segment = Segment::of(&routes.routing.by, amount, brand, country.as_text().unwrap_or_default());
        let seed = [state.key.as_str(), cause];
        let settings = &routes.routing.settings;
        let nothing = Table::default();
        let table = match routes.counts {
            Some(table) => table,
            // One candidate needs no counts.
            None if candidates.len() < 2 => &nothing,
            None => return Err(Needs::Counts),
        };
        let choice = choose(&seed, candidates, segment, table, settings, self.now);
        let after = before.map(|(cause, _)| cause.to_owned());
        Ok(Ok(choice.map(|choice| Choice { rule, retry, after, ..choice })))
    }

    /// Tells how a routed authorization ended, once its command has. `told` is all that came with it.
    pub(super) fn after_route(&mut self, fact: &Fact, told: &[Fact]) {
        let Fact::CommandEnded { command, step, end } = fact else { return };
        if self.out.state.choices.get(step).is_none_or(|c| c.command != *command) {
            return;
        }
        let failed = told.iter().find_map(|f| match f {
            Fact::AttemptFailed { attempt, code, soft, .. } => Some((attempt.clone(), code.as_str(), *soft)),
            _ => None,
        });
        let reserved = told.iter().any(|f| matches!(f, Fact::Authorized { .. }));
        let blamed = |code: &str| self.plan.routes.is_some_and(|routes| (routes.fault)(code));
        let unfit = |code: &str| self.plan.routes.is_some_and(|routes| (routes.unfit)(code));
        let again = |code: &str| self.plan.routes.is_some_and(|routes| (routes.again)(code));
        let (end, cause) = match (end, failed) {
            (CommandEnd::Done | CommandEnd::Refused { .. }, Some((attempt, code, soft))) => {
                let end = match code {
                    code if unfit(code) => RouteEnd::Unfit,
                    code if blamed(code) => RouteEnd::Failed,
                    code if soft && again(code) => RouteEnd::SoftDeclined,
                    _ => RouteEnd::Declined,
                };
                (end, Some(attempt))
            }
            (CommandEnd::Done, None) if reserved => (RouteEnd::Approved, None),
            // Nothing was executed, for certain: a refusal is settled.
            (CommandEnd::Refused { code }, None) if unfit(code) => {
                (RouteEnd::Unfit, Some(command.to_string()))
            }
            (CommandEnd::Refused { code }, None) if code == ROUTE_UNAVAILABLE || blamed(code) => {
                (RouteEnd::Failed, Some(command.to_string()))
            }
            // Of what nobody knows, or a person decides, nothing follows elsewhere.
            _ => (RouteEnd::Open, None),
        };
        self.apply(Fact::RouteEnded { step: step.clone(), command: command.clone(), end, cause });
    }

    /// Whether an attempt that failed is not the last: a routed authorization is out, or a second one is due.
    pub(super) fn goes_on(&self) -> bool {
        let state = &self.out.state;
        if state.choices.is_empty() {
            return false;
        }
        let due = |step: &Step, key: &str| {
            let standing = state.steps.get(&super::instance(&step.id, Some(key)));
            !standing.is_some_and(StepState::is_final)
        };
        let attempts = || self.plan.flow.steps.iter().filter(|s| s.for_each.as_deref() == Some("attempt"));
        state.route_is_out(|_| true)
            || state.second_attempts().any(|(key, _)| attempts().any(|step| due(step, &key)))
    }
}

impl RouteEnd {
    /// Whether nothing was executed, so that what follows elsewhere is no second attempt.
    const fn is_unexecuted(self) -> bool {
        matches!(self, Self::Failed | Self::Unfit)
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::SoftDeclined => "declined softly",
            Self::Failed => "unexecuted: the route failed",
            Self::Unfit => "unexecuted: the route does not take such orders",
            Self::Open => "in a way that says nothing about the route",
        }
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
