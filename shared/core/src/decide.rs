//! Decide: a pure function from what is known, what came in and the flow to what is to be done.
//!
//! No clock, no I/O, no randomness. The same state, input, flow and time give the same decision, so every
//! orchestration bug can be replayed. Rules that are written once and hold for every flow:
//!
//! - A step runs when all its `needs` are done. A skipped need skips the step, unless the step has its own
//!   `if` (then that decides) or uses `needs-any`. A refused or parked need holds the step back, unless the
//!   needed step says `on: {refused: continue}`.
//! - Then its awaited fact must be there (`await`, with `within` and `on: {timeout: …}`), and its time must
//!   have come (`after`, with `before` or `later`).
//! - Money commands of one order never overlap, and wait while anything that blocks money is parked.
//! - Only then is `if` evaluated, once. False skips the step for good; an error parks the order. Then `must`
//!   has to hold, or the step is parked; a person who mended the cause replays it, and it is asked again.
//! - An attempt (`for-each: attempt`) that is refused is parked as its `on: {refused: …}` says, unless the same
//!   answer tells of the failed attempt or the dead payment, or money is there already: the order's status shows
//!   that, and the order stays open for the next attempt.
//! - A money command in another currency than the payment it names is parked, before anything is sent.
//! - Where a gateway connection has several merchant ids, an action that takes a `route` goes to that of the payment it
//!   names; one that names none, an authorization, is routed (see `routes`), and what was chosen is recorded.
//! - The command's id is made of connection, business key, step and causing object: the same intent is the
//!   same command, whatever event told of it.

mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bundle::Bundle;
use crate::facts::{CommandEnd, Fact, OrderStatus, Parked, StepState};
use crate::flow::{Flow, OnError, Step};
use crate::ids::{CommandId, ConnectionName};
use crate::journal::Entry;
use crate::mask::Masking;
use crate::scope::View;
use crate::state::{Contradiction, OrderState};
use crate::time::Timestamp;
use crate::value::Value;

pub use routes::{ROUTE_UNAVAILABLE, Routes, Taken};

/// What came in.
#[derive(Debug, Clone)]
pub struct Input {
    /// The connection it came from.
    pub connection: ConnectionName,
    /// Facts it told.
    pub facts: Vec<Fact>,
    /// Where a command ended: its answer in a few words and the field at fault, for the parked item.
    pub answer: (String, Option<String>),
}

/// What a flow may use besides its own text.
pub struct Plan<'a> {
    /// The flow.
    pub flow: &'a Flow,
    /// Mappings and lookups.
    pub bundle: &'a Bundle,
    /// The pair's options, all of them, defaults filled in.
    pub options: &'a BTreeMap<String, String>,
    /// System name → the connection of this pair that serves it. A system that is not here is not
    /// configured: its steps are skipped.
    pub systems: &'a BTreeMap<String, ConnectionName>,
    /// Actions keyed by the person and not by the order.
    pub per_person: &'a (dyn Fn(&str) -> bool + Sync),
    /// Personal data, opened; `None` where it was not opened (then a step that needs it asks for it).
    pub personal: Option<&'a Value>,
    /// How people's data is masked before a mapping reads it; `None` in production.
    pub masking: Option<&'a Masking>,
    /// Personal data was erased: a step that needs it is parked instead of asking.
    pub erased: bool,
    /// The merchant ids of the gateway's connection, where it has several.
    pub routes: Option<Routes<'a>>,
}

/// A command to be sent.
#[derive(Clone, PartialEq)]
pub struct Command {
    /// Identity of intent.
    pub id: CommandId,
    /// The connection that serves it.
    pub connection: ConnectionName,
    /// Action.
    pub action: String,
    /// The step instance that waits for it.
    pub step: String,
    /// Mapped parameters.
    pub params: Value,
    /// Whether the parameters hold personal data.
    pub personal: bool,
    /// Whether it moves money.
    pub money: bool,
    /// Shared by every order of the person.
    pub per_person: bool,
    /// The merchant id it authorizes at, where one was chosen.
    pub taken: Option<Taken>,
}

/// What is to be done.
#[derive(Clone)]
pub struct Decision {
    /// Facts to record, in order: those of the input that were news, then what was decided.
    pub facts: Vec<Fact>,
    /// The state after them.
    pub state: OrderState,
    /// Bookings.
    pub entries: Vec<Entry>,
    /// Commands to send.
    pub commands: Vec<Command>,
    /// When to look again though nothing came in.
    pub wake_at: Option<Timestamp>,
    /// Why, step by step, for `explain`.
    pub why: Vec<String>,
}

/// What a decision lacks: get it and ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A step needs personal data that was not opened.
    Personal,
    /// A route is to be chosen, and the counts were not loaded.
    Counts,
}

/// Most rounds over the flow in one decision; a flow cannot loop, this bounds a defect.
const MAX_ROUNDS: usize = 64;

/// Decides.
///
/// # Errors
/// [`Needs`] where the decision needs personal data or counts that are not in `plan`: get them and ask again.
pub fn decide(state: &OrderState, input: &Input, plan: &Plan<'_>, now: Timestamp) -> Result<Decision, Needs> {
    let mut run = Run {
        now,
        plan,
        connection: &input.connection,
        out: Decision {
            facts: Vec::new(),
            state: state.clone(),
            entries: Vec::new(),
            commands: Vec::new(),
            wake_at: None,
            why: Vec::new(),
        },
        view: None,
    };
    let declined =
        input.facts.iter().any(|f| matches!(f, Fact::AttemptFailed { .. } | Fact::PaymentCancelled { .. }));
    for fact in &input.facts {
        run.apply(fact.clone());
        run.after_route(fact, &input.facts);
        run.after_command(fact, &input.answer, declined);
    }
    if input.facts.iter().all(|f| !matches!(f, Fact::Duplicate))
        && run.out.facts.is_empty()
        && !input.facts.is_empty()
    {
        run.out.facts.push(Fact::NothingNew);
    }
    for _ in 0..MAX_ROUNDS {
        if !run.round()? {
            break;
        }
    }
    Ok(run.out)
}

struct Run<'a> {
    now: Timestamp,
    plan: &'a Plan<'a>,
    connection: &'a ConnectionName,
    out: Decision,
    /// The base view, built when first needed after a change.
    view: Option<Arc<Value>>,
}

enum Gate {
    Open,
    Shut,
    Skip(String),
}

impl Run<'_> {
    /// Applies a fact and records it where it was news.
    fn apply(&mut self, fact: Fact) -> bool {
        let applied = self.out.state.apply(&fact, self.connection, self.now);
        self.out.entries.extend(applied.entries);
        if applied.changed || matches!(fact, Fact::Duplicate) {
            // Where steps stand, and what is parked, is in no view; most facts of a decision are of that kind.
            if !matches!(fact, Fact::Step { .. } | Fact::Parked(_)) {
                self.view = None;
            }
            self.out.facts.push(fact);
        }
        for contradiction in applied.contradictions {
            let parked = contradiction_parked(&contradiction);
            if !self.out.state.parked.contains_key(&parked.id) {
                self.apply(Fact::Parked(parked));
            }
        }
        applied.changed
    }

    /// A command that was refused or given up may have to go to a person. `declined`: the answer tells of a
    /// failed attempt or a dead payment.
    fn after_command(&mut self, fact: &Fact, answer: &(String, Option<String>), declined: bool) {
        let Fact::CommandEnded { command, step, end } = fact else { return };
        let spec = self.plan.flow.step(step_of(step));
        let money = spec.is_some_and(|s| s.action.money);
        let attempt = spec.is_some_and(|s| s.for_each.as_deref() == Some("attempt"));
        let (id, code) = match end {
            CommandEnd::Done => return,
            CommandEnd::Refused { .. } if attempt && (declined || self.out.state.has("authorized")) => return,
            // It goes on at another merchant id.
            CommandEnd::Refused { .. } if attempt && self.out.state.leads_on(step) => return,
            CommandEnd::Refused { .. } if spec.is_none_or(|s| s.on_refused != OnError::Park) => return,
            CommandEnd::Refused { code } => (format!("step:{step}"), code),
            CommandEnd::Parked { code } => (format!("command:{command}"), code),
            CommandEnd::Unsent { code } => (format!("unsent:{command}"), code),
        };
        let stands = matches!(
            self.out.state.steps.get(step),
            Some(StepState::Refused { .. } | StepState::Parked { .. })
        );
        if !stands || self.out.state.parked.contains_key(&id) {
            return;
        }
        self.out.why.push(format!("{step}: parked, {code}"));
        self.apply(Fact::Parked(Parked {
            id,
            code: code.clone(),
            field: answer.1.clone(),
            what: format!("{step} ended with {code} ({}); mend the cause, then replay or drop", answer.0),
            step: Some(step.clone()),
            blocks_money: money,
        }));
    }

    fn round(&mut self) -> Result<bool, Needs> {
        let mut progress = self.project();
        for step in &self.plan.flow.steps {
            let Some(kind) = &step.for_each else {
                progress |= self.try_step(step, None, None)?;
                continue;
            };
            if !self.out.state.may_have(kind) {
                continue;
            }
            // Most instances are over: only where one is not are the objects' views worth building.
            let keys = self.out.state.object_keys(kind);
            if keys.iter().all(|key| self.rests(&instance(&step.id, Some(key)))) {
                continue;
            }
            for (key, object) in self.out.state.objects(kind, self.plan.personal) {
                progress |= self.try_step(step, Some(&key), Some(&object))?;
            }
        }
        Ok(progress)
    }

    fn project(&mut self) -> bool {
        let (status, reason) = self.out.state.project();
        if (status, reason.as_str()) == (self.out.state.status, self.out.state.status_reason.as_str()) {
            return false;
        }
        if status == OrderStatus::PaymentFailed && self.goes_on() {
            return false;
        }
        let seq = self.out.state.status_seq.saturating_add(1);
        self.out.why.push(format!("status {} → {}", self.out.state.status.name(), status.name()));
        self.apply(Fact::StatusChanged { seq, status, reason })
    }

    /// Whether an instance is over, or waits for its command.
    fn rests(&self, instance: &str) -> bool {
        let standing = self.out.state.steps.get(instance);
        standing.is_some_and(|s| s.is_final() || matches!(s, StepState::Issued { .. }))
    }

    fn try_step(&mut self, step: &Step, key: Option<&str>, object: Option<&Value>) -> Result<bool, Needs> {
        let instance = instance(&step.id, key);
        if self.rests(&instance) {
            return Ok(false);
        }
        let current = self.out.state.steps.get(&instance).cloned();
        match self.needs(step, key) {
            Gate::Open => {}
            Gate::Shut => return Ok(false),
            Gate::Skip(why) => return Ok(self.skip(&instance, why)),
        }
        let Some(connection) = self.plan.systems.get(system_of(step.action.name)).cloned() else {
            let why = format!("no {} is configured", system_of(step.action.name));
            return Ok(self.skip(&instance, why));
        };
        match self.waits(step, &instance, current.as_ref(), object) {
            Gate::Open => {}
            Gate::Shut => return Ok(false),
            Gate::Skip(why) if why == "parked" => return Ok(true),
            Gate::Skip(why) => return Ok(self.skip(&instance, why)),
        }
        let money = step.action.money;
        if money && self.lane_busy() {
            return Ok(false);
        }
        if step.serial && self.sibling_out(&step.id) {
            return Ok(false);
        }
        // What is sealed reads like nothing: it is opened before the question is asked, once and for good.
        let asks = step.condition.iter().chain(&step.must).any(crate::expr::Expr::is_personal);
        if asks && self.plan.personal.is_none() && !self.plan.erased {
            return Err(Needs::Personal);
        }
        let base = self.base();
        let plain = View::of(&base);
        let view = over(&plain, step, object);
        if let Some(condition) = &step.condition {
            match condition.eval_in(&view) {
                Ok(true) => {}
                Ok(false) => {
                    let why = format!("if {} is false", condition.source());
                    return Ok(self.skip(&instance, why));
                }
                Err(error) => return Ok(self.park_step(&instance, error.code, None, &error.what)),
            }
        }
        if let Some(must) = &step.must {
            let what = match must.eval_in(&view) {
                Ok(true) => None,
                Ok(false) => {
                    let source = must.source();
                    Some((
                        "must_not_run",
                        format!("`{source}` does not hold; mend that, then replay or drop"),
                    ))
                }
                Err(error) => Some((error.code, error.what)),
            };
            if let Some((code, what)) = what {
                return Ok(self.park_step(&instance, code, None, &what));
            }
        }
        self.issue((step, object), &instance, key, connection, &view, money)
    }

    /// The view as this connection may have it, where people's data in it is to be masked.
    fn masked_base(&self, connection: &ConnectionName) -> Option<Value> {
        let masked = self.plan.masking?.masked(connection, self.plan.personal?)?;
        Some(self.out.state.base_view(self.plan.options, Some(&masked)))
    }

    fn issue(
        &mut self,
        (step, object): (&Step, Option<&Value>),
        instance: &str,
        key: Option<&str>,
        connection: ConnectionName,
        view: &View<'_>,
        money: bool,
    ) -> Result<bool, Needs> {
        let mapping = step.mapping.as_deref().and_then(|name| self.plan.bundle.mapping(name));
        let personal = mapping.is_some_and(|m| m.personal);
        let per_person = (self.plan.per_person)(step.action.name);
        if (personal || per_person) && self.plan.personal.is_none() {
            if self.plan.erased {
                let what = "the person's data was erased, and this step needs it; drop the item";
                return Ok(self.park_step(instance, "person_erased", None, what));
            }
            return Err(Needs::Personal);
        }
        let masked = personal.then(|| self.masked_base(&connection)).flatten();
        let plain = masked.as_ref().map(View::of);
        let masked = plain.as_ref().map(|plain| over(plain, step, object));
        let mut params = match mapping {
            None => Value::Map(BTreeMap::new()),
            Some(mapping) => {
                match mapping.apply_in(masked.as_ref().unwrap_or(view), self.plan.bundle.lookups()) {
                    Ok(params) => params,
                    Err(error) => {
                        return Ok(self.park_step(instance, error.code, Some(&error.field), &error.what));
                    }
                }
            }
        };
        if let Some((field, what)) = self.other_currency(&params).filter(|_| money) {
            return Ok(self.park_step(instance, "currency_differs", Some(&field), &what));
        }
        if step.action.name == "tillway.park" {
            let text = |name: &str, default: &str| {
                params.get(name).and_then(Value::as_text).unwrap_or(default).to_owned()
            };
            let (code, what) = (text("code", "flow"), text("what", "the flow hands this to a person"));
            let parked = Parked {
                id: format!("step:{instance}"),
                code,
                field: None,
                what,
                step: None,
                blocks_money: params.get("blocks_money").and_then(Value::as_bool).unwrap_or(false),
            };
            self.out.why.push(format!("{instance}: parked"));
            self.apply(Fact::Step { step: instance.to_owned(), state: StepState::Done });
            self.apply(Fact::Parked(parked));
            return Ok(true);
        }
        let order_key = self.out.state.key.clone();
        let retry = self.out.state.retries.get(instance).copied().unwrap_or(0);
        // What a person has many of is wanted once for the person and each of them: such an action names it.
        let named = |kind: &str| step.action.params.field(kind).is_some();
        let of_one = !per_person || step.for_each.as_deref().is_some_and(named);
        let mut cause = key.filter(|_| of_one).unwrap_or("").to_owned();
        if retry > 0 {
            // A person ran a refused step again: the first intent is dead for certain, this is a new one.
            cause = format!("{cause}~{retry}");
        }
        let id = match (&self.out.state.person, per_person) {
            (Some(person), true) => CommandId::derive(&connection, person.as_str(), step.action.name, &cause),
            _ => CommandId::derive(&connection, order_key.as_str(), &step.id, &cause),
        };
        let taken = match self.route(step, instance, key, (&id, &cause), &mut params, view)? {
            Ok(taken) => taken,
            Err(error) => return Ok(self.park_step(instance, error.code, Some("route"), &error.what)),
        };
        self.out.why.push(format!("{instance}: {}", step.action.name));
        let state = StepState::Issued { command: id.clone() };
        self.apply(Fact::Step { step: instance.to_owned(), state });
        let command = Command {
            id,
            connection,
            action: step.action.name.to_owned(),
            step: instance.to_owned(),
            params,
            personal: personal || per_person,
            money,
            per_person,
            taken,
        };
        self.out.commands.push(command);
        Ok(true)
    }

    /// The first amount among parameters that is in another currency than the payment they name.
    fn other_currency(&self, params: &Value) -> Option<(String, String)> {
        let payment = params.get("payment").and_then(Value::as_text)?;
        let known = self.out.state.payments.get(payment)?;
        let Value::Map(fields) = params else { return None };
        let amounts = fields.iter().filter_map(|(name, value)| Some((name, value.as_money()?)));
        let (name, amount) = amounts.into_iter().find(|(_, amount)| !known.is_in(amount.currency))?;
        let what = format!(
            "{amount} is in another currency than payment {payment}; nothing was sent, compare the two, then \
             replay or drop"
        );
        Some((name.clone(), what))
    }

    fn needs(&self, step: &Step, key: Option<&str>) -> Gate {
        let state_of = |need: &str| {
            let same = self.plan.flow.step(need).is_some_and(|n| n.for_each.is_some());
            self.out.state.steps.get(&instance(need, if same { key } else { None }))
        };
        let goes_on = |need: &str, class: fn(&Step) -> OnError| {
            self.plan.flow.step(need).is_some_and(|n| class(n) == OnError::Continue)
        };
        let standing = |need: &String| match state_of(need) {
            Some(StepState::Done) => Standing::Done,
            Some(StepState::Skipped { .. }) => Standing::Skipped,
            Some(StepState::Refused { .. }) if goes_on(need, |s| s.on_refused) => Standing::Done,
            Some(StepState::Refused { .. })
                if self.plan.flow.step(need).is_some_and(|n| n.on_refused == OnError::Skip) =>
            {
                Standing::Skipped
            }
            _ => Standing::Pending,
        };
        let mut skipped = None;
        for need in &step.needs {
            match standing(need) {
                Standing::Pending => return Gate::Shut,
                Standing::Skipped => skipped = Some(need),
                Standing::Done => {}
            }
        }
        if let Some(need) = skipped.filter(|_| step.condition.is_none()) {
            return Gate::Skip(format!("needs {need}, which was skipped"));
        }
        if !step.needs_any.is_empty() {
            let all: Vec<Standing> = step.needs_any.iter().map(standing).collect();
            if !all.contains(&Standing::Done) {
                let over = all.iter().all(|s| *s == Standing::Skipped);
                return if over {
                    Gate::Skip("none of what it needs was done".to_owned())
                } else {
                    Gate::Shut
                };
            }
        }
        Gate::Open
    }

    /// `await`, `within` and `after`.
    fn waits(
        &mut self,
        step: &Step,
        instance: &str,
        current: Option<&StepState>,
        object: Option<&Value>,
    ) -> Gate {
        if let Some(after) = &step.after {
            let base = self.base();
            let plain = View::of(&base);
            let Some(at) = after.due_in(&over(&plain, step, object)) else { return Gate::Shut };
            if self.now < at {
                self.wake(at);
                return Gate::Shut;
            }
        }
        let Some(awaited) = step.awaits.as_deref().filter(|a| !self.out.state.has(a)) else {
            return Gate::Open;
        };
        let since = match current {
            Some(StepState::Waiting { since }) => *since,
            _ => {
                self.apply(Fact::Step {
                    step: instance.to_owned(),
                    state: StepState::Waiting { since: self.now },
                });
                self.now
            }
        };
        let Some(within) = step.within else { return Gate::Shut };
        if self.now < since + within {
            self.wake(since + within);
            return Gate::Shut;
        }
        match step.on_timeout {
            OnError::Continue => Gate::Open,
            OnError::Skip => Gate::Skip(format!("{awaited} did not come within {within}")),
            OnError::Park => {
                let what =
                    format!("{awaited} did not come within {within}; look at the order, then replay or drop");
                self.park_step(instance, "await_timed_out", None, &what);
                Gate::Skip("parked".to_owned())
            }
        }
    }

    fn wake(&mut self, at: Timestamp) {
        self.out.wake_at = Some(self.out.wake_at.map_or(at, |known| known.min(at)));
    }

    /// Whether a money command of this order is out, or something that blocks money is parked.
    fn lane_busy(&self) -> bool {
        let out = self.out.state.steps.iter().any(|(name, state)| {
            matches!(state, StepState::Issued { .. })
                && self.plan.flow.step(step_of(name)).is_some_and(|s| s.action.money)
        });
        out || self.out.state.money_blocked().is_some()
    }

    fn sibling_out(&self, step: &str) -> bool {
        let ours = |name: &str| step_of(name) == step;
        self.out.state.steps.iter().any(|(n, s)| ours(n) && matches!(s, StepState::Issued { .. }))
    }

    fn skip(&mut self, instance: &str, why: String) -> bool {
        self.out.why.push(format!("{instance}: skipped, {why}"));
        self.apply(Fact::Step { step: instance.to_owned(), state: StepState::Skipped { why } })
    }

    fn park_step(&mut self, instance: &str, code: &str, field: Option<&str>, what: &str) -> bool {
        let id = format!("step:{instance}");
        let money = self.plan.flow.step(step_of(instance)).is_some_and(|s| s.action.money);
        self.out.why.push(format!("{instance}: parked, {code}"));
        self.apply(Fact::Step { step: instance.to_owned(), state: StepState::Parked { item: id.clone() } });
        self.apply(Fact::Parked(Parked {
            id,
            code: code.to_owned(),
            field: field.map(str::to_owned),
            what: what.to_owned(),
            step: Some(instance.to_owned()),
            blocks_money: money,
        }))
    }

    /// The base view, built when first needed after a change.
    fn base(&mut self) -> Arc<Value> {
        let (state, plan) = (&self.out.state, self.plan);
        let fresh = || state.base_view(plan.options, plan.personal);
        let view = self.view.get_or_insert_with(|| Arc::new(fresh())).clone();
        // Only in this crate's tests: it costs as much as was saved.
        #[cfg(test)]
        assert!(*view == fresh(), "a view is out of date");
        view
    }
}

/// Lays the object of a `for-each` step over the base view.
fn over<'v>(base: &'v View<'v>, step: &'v Step, object: Option<&'v Value>) -> View<'v> {
    match (&step.for_each, object) {
        (Some(kind), Some(object)) => base.with(kind, object),
        _ => *base,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Done,
    Skipped,
    Pending,
}

/// Name of a step's instance.
#[must_use]
pub fn instance(step: &str, key: Option<&str>) -> String {
    key.map_or_else(|| step.to_owned(), |key| [step, "/", key].concat())
}

/// The step of an instance name.
#[must_use]
pub fn step_of(instance: &str) -> &str {
    instance.split('/').next().unwrap_or(instance)
}

/// The system of an action name.
#[must_use]
pub fn system_of(action: &str) -> &str {
    action.split('.').next().unwrap_or(action)
}

fn contradiction_parked(c: &Contradiction) -> Parked {
    Parked {
        id: format!("contradiction:{}:{}", c.code, c.object),
        code: c.code.to_owned(),
        field: None,
        what: c.what.clone(),
        step: None,
        blocks_money: true,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
