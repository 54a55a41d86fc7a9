//! Flows: what is done for an order, in what order, under which condition.
//!
//! **Skipping.** A step whose `if` is false is skipped. A skipped step skips what needs it, unless that
//! step has its own `if` (which then decides alone) or needs it only through `needs-any` (which asks for
//! one of several to be done). Steps with `for-each` run once for each object, keyed by it; such a step
//! may need steps without `for-each` and steps of the same object, nothing else may need it.

use crate::bundle::Vocabulary;
use crate::check::{At, Problem, did_you_mean};
use crate::expr::Expr;
use crate::ids::FlowHash;
use crate::mapping::Mapping;
use crate::scope::{Scope, View};
use crate::time::{Millis, Timestamp};
use crate::value::{ActionSpec, Type, Value};
use crate::yaml::Node;

/// A checked flow.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// The steps, each after all it needs; else in the order written.
    pub steps: Vec<Step>,
    /// Hash of the flow with every mapping and lookup it uses.
    pub hash: FlowHash,
}

impl Flow {
    /// A step by its id.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|s| s.id == id)
    }
}

/// What becomes of a flow when a step is refused or its wait runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The order is parked with the reason.
    #[default]
    Park,
    /// The step counts as done.
    Continue,
    /// The step counts as skipped.
    Skip,
}

/// When a timer rings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// The path of a time.
    pub path: Vec<String>,
    /// How long before that time; negative is after it.
    pub before: Millis,
}

impl After {
    /// The instant, where the view holds the time.
    #[must_use]
    pub fn due(&self, view: &Value) -> Option<Timestamp> {
        self.due_in(&View::of(view))
    }

    /// The same over a view with an object bound over the base.
    #[must_use]
    pub fn due_in(&self, view: &View<'_>) -> Option<Timestamp> {
        match *view.fetch(&self.path) {
            Value::Time(time) => Some(time - self.before),
            _ => None,
        }
    }
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its id within the flow.
    pub id: String,
    /// The action.
    pub action: &'static ActionSpec,
    /// Steps that must all be done before.
    pub needs: Vec<String>,
    /// Steps of which one must be done before.
    pub needs_any: Vec<String>,
    /// `if`: the condition.
    pub condition: Option<Expr>,
    /// `must`: what has to hold once the condition does, or else the step is parked.
    pub must: Option<Expr>,
    /// `with`: the mapping that gives the parameters.
    pub mapping: Option<String>,
    /// `await`: the fact it waits for before it acts.
    pub awaits: Option<String>,
    /// `within`: how long it waits.
    pub within: Option<Millis>,
    /// `after`: the time from which it is ready.
    pub after: Option<After>,
    /// The object it runs once for.
    pub for_each: Option<String>,
    /// Whether the runs of `for-each` follow one another.
    pub serial: bool,
    /// When the outside system refuses.
    pub on_refused: OnError,
    /// When the wait runs out.
    pub on_timeout: OnError,
    /// One line for people.
    pub about: String,
    /// Where it stands.
    pub line: usize,
    /// The file it stands in.
    pub file: String,
}

const STEP_KEYS: [&str; 15] = [
    "do",
    "needs",
    "needs-any",
    "if",
    "must",
    "with",
    "await",
    "within",
    "after",
    "before",
    "later",
    "for-each",
    "serial",
    "on",
    "about",
];

/// What is known when a flow is checked.
pub(crate) struct Known<'a> {
    pub(crate) vocab: &'a Vocabulary,
    /// The mappings that could be read.
    pub(crate) mappings: &'a std::collections::BTreeMap<String, Mapping>,
    /// The names of all mappings, also of those with problems of their own.
    pub(crate) mapping_names: &'a [String],
}

/// A step's id with the places problems point to.
pub(crate) struct Placed {
    pub(crate) step: Step,
    pub(crate) at: At,
    pub(crate) needs_at: At,
}

impl Flow {
    /// Reads and checks a flow document; its hash is still to be set.
    pub(crate) fn compile(name: &str, node: &Node, known: &Known<'_>, problems: &mut Vec<Problem>) -> Self {
        node.only_keys(&["flow", "about", "steps"], problems);
        let about =
            node.get("about").and_then(|n| n.text("one line", problems)).unwrap_or_default().to_owned();
        let mut placed: Vec<Placed> = Vec::new();
        match node.get("steps") {
            None => problems.push(node.problem(
                "missing-key",
                format!("flow `{name}` has no `steps`"),
                "add `steps:`",
            )),
            Some(steps) => {
                let pairs = steps.map("a map from step id to step", problems);
                let ids: Vec<&str> = pairs.iter().filter_map(|(k, _)| k.as_text()).collect();
                for (key, value) in pairs {
                    placed.extend(step(key, value, &ids, known, problems));
                }
                crate::flow_graph::check(&placed, &ids, problems);
            }
        }
        let steps = crate::flow_graph::ordered(placed, problems);
        Self { name: name.to_owned(), about, steps, hash: FlowHash::new("") }
    }
}

fn step(
    key: &Node,
    node: &Node,
    ids: &[&str],
    known: &Known<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Placed> {
    let id = key.as_text()?;
    if !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        || id.is_empty()
        || id.len() > 64
    {
        let what = format!("`{id}` is no id of a step");
        problems.push(key.problem("bad-name", what, "use letters, digits, `-` and `_`, at most 64"));
    }
    node.map("a step", problems);
    node.only_keys(&STEP_KEYS, problems);
    let for_each = node.get("for-each").and_then(|n| Some((n, n.text("the name of an object", problems)?)));
    let scope = known.vocab.scope(for_each, problems);
    let action = match node.get("do") {
        None => {
            let others = ids.iter().filter(|other| **other != id);
            let hint = format!("say what it does, e.g. `do: system.action`; {}", did_you_mean(id, others));
            problems.push(key.problem("missing-do", format!("step `{id}` has no `do`"), hint));
            None
        }
        Some(at) => {
            at.text("the name of an action", problems).and_then(|name| known.vocab.action(name, at, problems))
        }
    };
    let must = condition(node, "must", scope.as_ref(), problems);
    let condition = condition(node, "if", scope.as_ref(), problems);
    let waits = awaits(node, known.vocab, problems);
    let after = scope.as_ref().and_then(|scope| timer(node, scope, problems));
    let each = for_each.map(|(_, name)| name);
    let mapping = action.and_then(|action| mapping(key, node, action, each, known, problems));
    let (on_refused, on_timeout) = on(node, waits.is_some(), problems);
    let serial = node.get("serial").is_some_and(|n| n.flag(problems));
    if let (true, None, Some(at)) = (serial, each, node.get("serial")) {
        problems.push(at.problem(
            "serial-alone",
            "`serial` without `for-each`",
            "one run has nothing to wait for",
        ));
    }
    if let (Some(at), Some([])) =
        (node.get("needs-any"), node.get("needs-any").map(|n| n.list("", &mut Vec::new())))
    {
        problems.push(at.problem(
            "unreachable-step",
            "`needs-any` is empty, so the step can never run",
            "leave it out",
        ));
    }
    Some(Placed {
        at: key.at.clone(),
        needs_at: node.get("needs").or(node.get("needs-any")).unwrap_or(key).at.clone(),
        step: Step {
            id: id.to_owned(),
            action: action?,
            needs: names(node, "needs", ids, problems),
            needs_any: names(node, "needs-any", ids, problems),
            condition,
            must,
            mapping,
            awaits: waits,
            within: length(node, "within", problems),
            after,
            for_each: each.map(str::to_owned),
            serial,
            on_refused,
            on_timeout,
            about: node
                .get("about")
                .and_then(|n| n.text("one line", problems))
                .unwrap_or_default()
                .to_owned(),
            line: key.at.line,
            file: key.at.file.to_string(),
        },
    })
}

fn names(node: &Node, key: &str, ids: &[&str], problems: &mut Vec<Problem>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for at in node.get(key).map_or(&[][..], |n| n.list("the id of a step", problems)) {
        let Some(name) = at.text("the id of a step", problems) else { continue };
        if !ids.contains(&name) {
            problems.push(at.problem(
                "unknown-need",
                format!("there is no step `{name}`"),
                did_you_mean(name, ids),
            ));
        } else if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn condition(node: &Node, key: &str, scope: Option<&Scope>, problems: &mut Vec<Problem>) -> Option<Expr> {
    let at = node.get(key)?;
    match Expr::compile(at.text("a condition", problems)?, scope?, &at.at) {
        Ok(expr) => Some(expr),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

fn length(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Millis> {
    let at = node.get(key)?;
    let text = at.text("a length of time", problems)?;
    let length = Millis::parse(text);
    if length.is_none() {
        let hint = "write e.g. 90s, 15m, 36h or 7d";
        problems.push(at.problem("bad-length", format!("`{text}` is no length of time"), hint));
    }
    length
}

fn awaits(node: &Node, vocab: &Vocabulary, problems: &mut Vec<Problem>) -> Option<String> {
    let Some(at) = node.get("await") else {
        if let Some(within) = node.get("within") {
            problems.push(within.problem(
                "within-alone",
                "`within` without `await`",
                "say what it waits for",
            ));
        }
        return None;
    };
    let fact = at.text("the name of a fact", problems)?;
    let known: Vec<&str> = vocab.awaits.iter().map(|(name, _)| *name).collect();
    if !known.contains(&fact) {
        problems.push(at.problem(
            "unknown-await",
            format!("unknown fact `{fact}`"),
            did_you_mean(fact, known),
        ));
    }
    if node.get("within").is_none() {
        let hint = "add e.g. `within: 7d`: nothing may wait for ever";
        problems.push(at.problem("await-open", "`await` without `within`", hint));
    }
    Some(fact.to_owned())
}

fn timer(node: &Node, scope: &Scope, problems: &mut Vec<Problem>) -> Option<After> {
    let before = length(node, "before", problems).unwrap_or_default();
    let later = length(node, "later", problems).unwrap_or_default();
    let before = Millis(before.0.saturating_sub(later.0));
    let Some(at) = node.get("after") else {
        for (key, code) in [("before", "before-alone"), ("later", "later-alone")] {
            let Some(at) = node.get(key) else { continue };
            problems.push(at.problem(code, format!("`{key}` without `after`"), "say which time"));
        }
        return None;
    };
    let path = at.text("the path of a time", problems)?;
    match scope.dotted(path) {
        Ok(source) if source.ty == Type::Time => Some(After { path: source.path, before }),
        Ok(source) => {
            let what = format!("`{path}` is {} and no time", source.ty);
            problems.push(at.problem("after-no-time", what, "name a field that holds a time"));
            None
        }
        Err((what, hint)) => {
            problems.push(at.problem("unknown-field", what, hint));
            None
        }
    }
}

fn on(node: &Node, waits: bool, problems: &mut Vec<Problem>) -> (OnError, OnError) {
    let (mut refused, mut timeout) = (OnError::Park, OnError::Park);
    let Some(node) = node.get("on") else { return (refused, timeout) };
    node.map("a map with refused and timeout", problems);
    node.only_keys(&["refused", "timeout"], problems);
    for (key, at) in node.pairs() {
        let Some(text) = at.text("park, continue or skip", problems) else { continue };
        let choice = match text {
            "park" => OnError::Park,
            "continue" => OnError::Continue,
            "skip" => OnError::Skip,
            _ => {
                let hint = did_you_mean(text, ["park", "continue", "skip"]);
                problems.push(at.problem("unknown-choice", format!("`{text}` cannot follow"), hint));
                continue;
            }
        };
        match key.as_text() {
            Some("timeout") if !waits => {
                problems.push(key.problem("timeout-alone", "`timeout` without `await`", "leave it out"));
            }
            Some("timeout") => timeout = choice,
            _ => refused = choice,
        }
    }
    (refused, timeout)
}

fn mapping(
    key: &Node,
    node: &Node,
    action: &'static ActionSpec,
    for_each: Option<&str>,
    known: &Known<'_>,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let Some(at) = node.get("with") else {
        if let Some(field) = action.params.fields.iter().find(|f| f.required) {
            let what =
                format!("`{}` needs parameters (`{}`), and there is no `with`", action.name, field.name);
            problems.push(key.problem("missing-with", what, "name a mapping for this action"));
        }
        return None;
    };
    let name = at.text("the name of a mapping", problems)?;
    let Some(mapping) = known.mappings.get(name) else {
        if !known.mapping_names.iter().any(|n| n == name) {
            let what = format!("unknown mapping `{name}`");
            problems.push(at.problem("unknown-mapping", what, did_you_mean(name, known.mapping_names)));
        }
        return None;
    };
    if mapping.action != action.name {
        let what =
            format!("mapping `{name}` is for `{}` and the step does `{}`", mapping.action, action.name);
        let fit = known.mappings.values().filter(|m| m.action == action.name).map(|m| m.name.as_str());
        problems.push(at.problem("mapping-action", what, did_you_mean(name, fit)));
    }
    if let Some(wanted) = mapping.for_each.as_deref()
        && Some(wanted) != for_each
    {
        let what = format!("mapping `{name}` reads a {wanted}, and the step is not `for-each: {wanted}`");
        problems.push(at.problem("mapping-for-each", what, "give the step the same `for-each`"));
    }
    Some(name.to_owned())
}
