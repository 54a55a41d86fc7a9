//! Mappings: which parameter of an action takes which value, executed.
//!
//! Rules: a source that is absent (or an empty text) leaves its field out, or gives the field's
//! `default`; a field that is required and then missing is an error that names it. A record that is not
//! required is left out whole when none of its fields has a value; once one has, its required fields are
//! required. In `concat` and `join`, absent parts are left out, and if every source is absent so is the
//! whole. Nothing is rounded, and no error repeats what a value holds.

use crate::check::At;
use crate::expr::{EvalError, Expr};
use crate::lookup::Lookups;
use crate::money::shape;
use crate::scope::View;
use crate::transforms::Transform;
use crate::value::{Schema, Type, Value};

/// A checked mapping.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Its name.
    pub name: String,
    /// The action whose parameters it sets.
    pub action: String,
    /// The object that is in scope beside the base view.
    pub for_each: Option<String>,
    /// Whether anything it reads or sets is about a person.
    pub personal: bool,
    /// The lookups it uses.
    pub lookups: Vec<String>,
    /// Where it stands.
    pub at: At,
    pub(crate) fields: Fields,
}

/// Why a mapping could not be applied. Holds no content of any value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {what}")]
pub struct MapError {
    /// The target field, e.g. `lines[2].sku`.
    pub field: String,
    /// Stable code, e.g. `missing_required`.
    pub code: &'static str,
    /// What went wrong.
    pub what: String,
}

/// The entries for one record.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    pub(crate) schema: &'static Schema,
    pub(crate) entries: Vec<Entry>,
}

/// One target and where its value comes from.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The target's path; the key of a dict is one step.
    pub(crate) target: Vec<String>,
    pub(crate) ty: Type,
    pub(crate) chain: Chain,
    pub(crate) when: Option<Expr>,
}

/// A value on its way: where it starts, and what is done to it in turn.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) origin: Origin,
    pub(crate) transforms: Vec<Transform>,
    pub(crate) lookup: Option<String>,
    pub(crate) default: Option<Value>,
}

#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Constant(Value),
    Path { path: Vec<String>, ty: Type },
    Parts { parts: Vec<Chain>, separator: String },
    Each { path: Vec<String>, item: &'static str, fields: Fields },
}

/// An error before its field is known: field within (for lists), code, message.
struct Fail(String, &'static str, String);

impl Fail {
    fn new(code: &'static str, what: impl Into<String>) -> Self {
        Self(String::new(), code, what.into())
    }
    fn within(self, outer: &str) -> Self {
        let dot = if self.0.is_empty() || self.0.starts_with('[') || outer.is_empty() { "" } else { "." };
        Self(format!("{outer}{dot}{}", self.0), self.1, self.2)
    }
}

impl From<EvalError> for Fail {
    fn from(error: EvalError) -> Self {
        Self::new(error.code, error.to_string())
    }
}

impl Mapping {
    /// Builds the action's parameters from a view.
    ///
    /// # Errors
    /// [`MapError`] naming the field: a required one without a value, a text a lookup does not list, a
    /// transform that cannot take the value, a condition that cannot be evaluated.
    pub fn apply(&self, view: &Value, lookups: &Lookups) -> Result<Value, MapError> {
        self.apply_in(&View::of(view), lookups)
    }

    /// The same over a view with an object bound over the base.
    ///
    /// # Errors
    /// As [`Mapping::apply`].
    pub fn apply_in(&self, view: &View<'_>, lookups: &Lookups) -> Result<Value, MapError> {
        let run = Run { lookups };
        run.fields(&self.fields, view).map_err(|Fail(field, code, what)| MapError { field, code, what })
    }
}

struct Run<'a> {
    lookups: &'a Lookups,
}

impl Run<'_> {
    fn fields(&self, fields: &Fields, view: &View<'_>) -> Result<Value, Fail> {
        let mut out = Value::Map(Default::default());
        for entry in &fields.entries {
            let value = self.entry(entry, view).map_err(|fail| fail.within(&entry.target.join(".")))?;
            if !value.is_empty() {
                put(&mut out, &entry.target, value);
            }
        }
        complete(&out, fields.schema)?;
        Ok(out)
    }

    fn entry(&self, entry: &Entry, view: &View<'_>) -> Result<Value, Fail> {
        let wanted = entry.when.as_ref().map_or(Ok(true), |when| when.eval_in(view))?;
        let value = if wanted {
            self.chain(&entry.chain, view)?
        } else {
            entry.chain.default.clone().unwrap_or_default()
        };
        Ok(match (value, entry.ty) {
            (Value::Int(i), Type::Decimal) => Value::Decimal(i.into()),
            (value, _) => value,
        })
    }

    fn chain(&self, chain: &Chain, view: &View<'_>) -> Result<Value, Fail> {
        let mut value = self.origin(&chain.origin, view)?;
        for transform in &chain.transforms {
            value = transform.apply(value).map_err(|(code, what)| Fail::new(code, what))?;
        }
        if let (Some(name), Value::Text(text)) = (&chain.lookup, &value)
            && !text.is_empty()
        {
            let table = self.lookups.get(name);
            let table = table.ok_or_else(|| Fail::new("lookup_unknown", format!("no lookup `{name}`")))?;
            let found = table.get(text).ok_or_else(|| {
                Fail::new(
                    "lookup_unmapped",
                    format!("lookup `{name}` does not list this value ({})", shape(text)),
                )
            })?;
            value = Value::text(found);
        }
        if value.is_empty() {
            return Ok(chain.default.clone().unwrap_or_default());
        }
        Ok(value)
    }

    fn origin(&self, origin: &Origin, view: &View<'_>) -> Result<Value, Fail> {
        match origin {
            Origin::Constant(value) => Ok(value.clone()),
            Origin::Path { path, ty } => {
                let value = view.fetch(path);
                if !is_of(&value, *ty) {
                    let what = format!("source `{}` should be {ty} and is {}", path.join("."), value.kind());
                    return Err(Fail::new("source_type", what));
                }
                Ok(without_nulls(value.into_owned()))
            }
            Origin::Parts { parts, separator } => {
                let mut texts = Vec::with_capacity(parts.len());
                let mut sourced = None;
                for part in parts {
                    let text = match self.chain(part, view)? {
                        Value::Text(text) => text,
                        Value::Int(i) => i.to_string(),
                        _ => String::new(),
                    };
                    if !matches!(part.origin, Origin::Constant(_)) {
                        sourced = Some(sourced == Some(true) || !text.is_empty());
                    }
                    texts.push(text);
                }
                texts.retain(|t| !t.is_empty());
                Ok(if sourced == Some(false) { Value::Null } else { Value::Text(texts.join(separator)) })
            }
            Origin::Each { path, item, fields } => {
                let list = view.fetch(path);
                let items = match &*list {
                    Value::Null => return Ok(Value::Null),
                    Value::List(items) => items,
                    other => {
                        let what =
                            format!("source `{}` should be a list and is {}", path.join("."), other.kind());
                        return Err(Fail::new("source_type", what));
                    }
                };
                let mapped = items.iter().enumerate().map(|(i, value)| {
                    self.fields(fields, &view.with(item, value))
                        .map_err(|fail| fail.within(&format!("[{i}]")))
                });
                Ok(Value::List(mapped.collect::<Result<_, _>>()?))
            }
        }
    }
}

/// Whether a value is of a declared type, or absent. Looks one level deep: what lies deeper is looked at
/// when it is read.
fn is_of(value: &Value, ty: Type) -> bool {
    match ty {
        _ if *value == Value::Null => true,
        Type::Bool => matches!(value, Value::Bool(_)),
        Type::Int => matches!(value, Value::Int(_)),
        Type::Decimal => matches!(value, Value::Decimal(_)),
        Type::Text => matches!(value, Value::Text(_)),
        Type::Money => matches!(value, Value::Money(_)),
        Type::Time => matches!(value, Value::Time(_)),
        Type::List(_) => matches!(value, Value::List(_)),
        Type::Record(_) | Type::Dict => matches!(value, Value::Map(_)),
    }
}

/// A record copied whole, without what is absent in it.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Map(members) => {
            let kept = members.into_iter().map(|(k, v)| (k, without_nulls(v))).filter(|(_, v)| !v.is_empty());
            let kept: std::collections::BTreeMap<_, _> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Map(kept) }
        }
        Value::List(items) => Value::List(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn put(out: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *out = value;
        return;
    };
    if !matches!(out, Value::Map(_)) {
        *out = Value::Map(Default::default());
    }
    if let Value::Map(members) = out {
        put(members.entry(first.clone()).or_default(), rest, value);
    }
}

/// Refuses a record in which a required field is missing, at any depth.
fn complete(value: &Value, schema: &Schema) -> Result<(), Fail> {
    for field in schema.fields {
        let found = value.get(field.name).filter(|v| !v.is_empty());
        let inner = match (found, field.ty) {
            (None, _) if field.required => {
                return Err(Fail::new("missing_required", "is required and has no value").within(field.name));
            }
            (Some(record), Type::Record(schema)) => complete(record, schema),
            (Some(Value::List(items)), Type::List(schema)) => items
                .iter()
                .enumerate()
                .try_for_each(|(i, item)| complete(item, schema).map_err(|f| f.within(&format!("[{i}]")))),
            _ => Ok(()),
        };
        inner.map_err(|fail| fail.within(field.name))?;
    }
    Ok(())
}
