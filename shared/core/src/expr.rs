//! Conditions: CEL, checked against what is in scope before it is ever evaluated.
//!
//! **What is absent reads as its type's zero**: an absent text is `""`, an int `0`, a bool `false`, a
//! time `0`, an amount `{minor: 0, currency: ""}`, a list `[]`, a dict `{}`. So `payment.id != ""` asks
//! whether there is a payment and never fails, and `has(payment.id)` asks the same.
//!
//! **A misspelt name is found when the file is loaded.** CEL's `&&` swallows an error on one side when
//! the other is false, so the checker walks the whole tree instead of waiting for an evaluation. On
//! the way it replaces each path by a slot; evaluation fetches those few values and converts no more
//! of the view. All of them are fetched first, so a value that is not of its declared type is an error
//! and is never swallowed either.
//!
//! Types: bool; int (also times, in milliseconds since the epoch); text; amounts, by their members
//! `minor` and `currency`; lists, by `size`, `exists` and `all`; dicts, by `d["key"]`, `size` and `in`.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelMapKey, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, IdedExpr};

use crate::check::{At, Problem};
use crate::expr_check::Checker;
use crate::scope::{Scope, View};
use crate::value::{Type, Value};

/// The longest condition accepted, in bytes.
pub const MAX_LENGTH: usize = 2000;
/// The deepest nesting of brackets accepted.
pub const MAX_NESTING: usize = 16;
/// The most operators, dots and commas accepted: each may add a level to the tree.
pub const MAX_OPERATORS: usize = 200;

/// A checked condition.
#[derive(Clone)]
pub struct Expr {
    source: String,
    tree: Arc<IdedExpr>,
    slots: Arc<[Slot]>,
    members: Arc<BTreeSet<String>>,
}

impl std::fmt::Debug for Expr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

/// A value a condition reads from the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Where it is.
    pub(crate) path: Vec<String>,
    /// What it is.
    pub(crate) ty: Type,
    /// Only whether it is there: `has(…)`.
    pub(crate) presence: bool,
    /// It is about a person, and sealed until asked for.
    pub(crate) personal: bool,
}

/// Why a condition could not be evaluated. Holds no value of the view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("condition `{expr}`: {what}")]
pub struct EvalError {
    /// The condition.
    pub expr: String,
    /// Stable code.
    pub code: &'static str,
    /// What went wrong, without values.
    pub what: String,
}

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

impl Expr {
    /// Reads and checks a condition.
    ///
    /// # Errors
    /// Every problem found, at the place given.
    pub fn compile(text: &str, scope: &Scope, at: &At) -> Result<Self, Vec<Problem>> {
        bounded(text).map_err(|(what, hint)| vec![at.problem("condition-syntax", what, hint)])?;
        let mut tree = cel::parser::Parser::new().parse(text).map_err(|errors| {
            let first = errors.errors.first().map_or(String::new(), |e| e.msg.clone());
            let hint = "conditions are CEL, e.g. order.total.minor > 0 && order.token != \"\"";
            vec![at.problem("condition-syntax", format!("`{text}` is no condition: {first}"), hint)]
        })?;
        let mut checker = Checker::new(scope, at);
        checker.condition(&mut tree);
        if !checker.problems.is_empty() {
            return Err(checker.problems);
        }
        Ok(Self {
            source: text.to_owned(),
            tree: Arc::new(tree),
            slots: checker.slots.into(),
            members: Arc::new(checker.members),
        })
    }

    /// The condition as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it is written as `false`: what depends on it can never happen.
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.source.trim() == "false"
    }

    /// Whether it reads anything personal, which must be opened before it can tell.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        self.slots.iter().any(|s| s.personal)
    }

    /// The paths it reads.
    pub fn reads(&self) -> impl Iterator<Item = String> + '_ {
        self.slots.iter().map(|s| s.path.join("."))
    }

    /// Evaluates over a view.
    ///
    /// # Errors
    /// [`EvalError`] where a value is not of its declared type, or an int overflows.
    pub fn eval(&self, view: &Value) -> Result<bool, EvalError> {
        self.eval_in(&View::of(view))
    }

    /// Evaluates over a view with bound names.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn eval_in(&self, view: &View<'_>) -> Result<bool, EvalError> {
        let values: Vec<_> = self.slots.iter().map(|slot| view.fetch(&slot.path)).collect();
        let slots = self
            .slots
            .iter()
            .zip(&values)
            .map(|(slot, value)| {
                if slot.presence {
                    return Ok(boxed(CelBool::from(!value.is_empty())));
                }
                to_cel(value, slot.ty, &self.members).ok_or_else(|| {
                    let (path, found) = (slot.path.join("."), value.kind());
                    self.error("condition_type", format!("`{path}` should be {} and is {found}", slot.ty))
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let slots = Slots(slots);
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(&slots);
        let result = cel::Value::resolve_val(&self.tree, &context)
            .map(|value| value.downcast_ref::<CelBool>().map(|b| *b.inner()));
        match result {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.error("condition_type", "the result is no bool".to_owned())),
            // The error's own text may repeat values.
            Err(ExecutionError::Overflow(..)) => {
                Err(self.error("condition_overflow", "an int does not fit 64 bits".to_owned()))
            }
            Err(_) => Err(self.error("condition_failed", "it could not be evaluated".to_owned())),
        }
    }

    fn error(&self, code: &'static str, what: String) -> EvalError {
        EvalError { expr: self.source.clone(), code, what }
    }
}

/// Name of the slot with this number; no CEL identifier can hold a `$`.
pub(crate) fn slot_name(index: usize) -> String {
    format!("${index}")
}

struct Slots<'v>(Vec<Box<dyn Val + 'v>>);

impl VariableResolver for Slots<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let index: usize = name.strip_prefix('$')?.parse().ok()?;
        self.0.get(index).map(|v| CowVal::Borrowed(v.as_ref()))
    }
}

fn boxed<'v>(value: impl Val + 'v) -> Box<dyn Val + 'v> {
    Box::new(value)
}

/// A value as CEL sees it; `None` where it is not of the declared type. `members` are the only fields
/// of list items that any condition part reads.
fn to_cel<'v>(value: &'v Value, ty: Type, members: &BTreeSet<String>) -> Option<Box<dyn Val + 'v>> {
    let key = |name: &'v str| CelMapKey::String(CelString::from(name));
    Some(match (ty, value) {
        (Type::Bool, Value::Null) => boxed(CelBool::from(false)),
        (Type::Bool, Value::Bool(b)) => boxed(CelBool::from(*b)),
        (Type::Int | Type::Time, Value::Null) => boxed(CelInt::from(0)),
        (Type::Int, Value::Int(i)) => boxed(CelInt::from(*i)),
        (Type::Time, Value::Time(t)) => boxed(CelInt::from(t.0)),
        (Type::Text, Value::Null) => boxed(CelString::from("")),
        (Type::Text, Value::Text(t)) => boxed(CelString::from(t.as_str())),
        (Type::Money, Value::Null | Value::Money(_)) => {
            let (minor, currency) = value.as_money().map_or((0, ""), |m| (m.minor, m.currency.code()));
            boxed(CelMap::from(HashMap::from([
                (key("minor"), boxed(CelInt::from(minor))),
                (key("currency"), boxed(CelString::from(currency))),
            ])))
        }
        (Type::Dict, Value::Null) => boxed(CelMap::default()),
        (Type::Dict, Value::Map(map)) => {
            let pairs = map.iter().map(|(k, v)| Some((key(k), to_cel(v, Type::Text, members)?)));
            boxed(CelMap::from(pairs.collect::<Option<HashMap<_, _>>>()?))
        }
        (Type::List(_), Value::Null) => boxed(CelList::default()),
        (Type::List(schema), Value::List(items)) => {
            let items = items.iter().map(|item| to_cel(item, Type::Record(schema), members));
            boxed(CelList::from(items.collect::<Option<Vec<_>>>()?))
        }
        (Type::Record(schema), Value::Null | Value::Map(_)) => {
            static NULL: Value = Value::Null;
            let fields = schema.fields.iter();
            let fields = fields.filter(|f| f.ty != Type::Decimal && members.contains(f.name));
            let pairs = fields.map(|f| {
                let member = value.get(f.name).unwrap_or(&NULL);
                Some((key(f.name), to_cel(member, f.ty, members)?))
            });
            boxed(CelMap::from(pairs.collect::<Option<HashMap<_, _>>>()?))
        }
        _ => return None,
    })
}

/// Bounds a condition before it is parsed: the parser and everything after it recurse.
fn bounded(text: &str) -> Result<(), (String, String)> {
    let refuse = |what: String, hint: &str| Err((what, hint.to_owned()));
    if text.trim().is_empty() {
        return refuse("an empty condition".to_owned(), "leave `if` or `when` out");
    }
    if text.len() > MAX_LENGTH {
        return refuse(format!("a condition of {} bytes, more than {MAX_LENGTH}", text.len()), "split it");
    }
    // With these left out, every text ends at the next quote of its kind, and brackets can be counted.
    for (odd, name) in
        [("\\", "a backslash"), ("\"\"\"", "a triple quote"), ("'''", "a triple quote"), ("`", "a back-tick")]
    {
        if text.contains(odd) {
            return refuse(format!("{name} in a condition"), "write the text plainly in one pair of quotes");
        }
    }
    let (mut depth, mut operators, mut quote) = (0_usize, 0_usize, None);
    let mut last = ' ';
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, '/') if last == '/' => {
                return refuse("a comment in a condition".to_owned(), "write it in YAML, after a `#`");
            }
            (
                None,
                '.' | ',' | '+' | '-' | '*' | '/' | '%' | '?' | ':' | '!' | '<' | '>' | '=' | '&' | '|',
            ) => {
                operators += 1;
            }
            _ => {}
        }
        last = c;
        if depth > MAX_NESTING {
            return refuse(format!("brackets nested deeper than {MAX_NESTING}"), "simplify or split it");
        }
        if operators > MAX_OPERATORS {
            return refuse("too many operators in one condition".to_owned(), "simplify or split it");
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "expr_tests.rs"]
mod tests;
