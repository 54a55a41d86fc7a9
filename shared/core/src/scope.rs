//! What a condition or a mapping can see, and what each name in it is.
//!
//! A path is followed through the declared schemas when a file is loaded, never guessed at run time.
//! Two members exist beyond the declared fields: an amount has `minor` (int) and `currency` (text),
//! and a dict takes the whole rest of the path as its key.

use std::borrow::Cow;

use crate::check::did_you_mean;
use crate::value::{Field, Schema, Type, Value};

/// Which texts a field can hold: the name of an enumeration and its members.
pub type Domain = (&'static str, &'static [&'static str]);

/// The names in scope.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    roots: Vec<Field>,
    domains: Vec<(&'static str, Domain)>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The steps of the path; the key of a dict is one step.
    pub path: Vec<String>,
    /// The type found there.
    pub ty: Type,
    /// Whether a field on the way, or within what is found, is personal.
    pub personal: bool,
    /// The enumeration its texts belong to, where one is declared.
    pub domain: Option<Domain>,
}

/// Why a path leads nowhere: what is wrong, and a hint.
pub type Lost = (String, String);

impl Scope {
    /// The fields of a schema, as top-level names.
    #[must_use]
    pub fn of(base: &'static Schema) -> Self {
        Self { roots: base.fields.to_vec(), domains: Vec::new() }
    }
    /// One more name; it hides an earlier one of the same name.
    #[must_use]
    pub fn with(mut self, name: &'static str, ty: Type) -> Self {
        self.roots.retain(|f| f.name != name);
        self.roots.push(crate::value::field(name, ty, ""));
        self
    }
    /// Declares which texts `schema.field` can hold.
    #[must_use]
    pub fn domains(mut self, domains: impl IntoIterator<Item = (&'static str, Domain)>) -> Self {
        self.domains.extend(domains);
        self
    }
    /// Whether a name is in scope.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.roots.iter().any(|f| f.name == name)
    }
    /// The names in scope.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.roots.iter().map(|f| f.name)
    }
    /// The enumeration declared for a field of a schema.
    #[must_use]
    pub fn domain(&self, schema: &str, field: &str) -> Option<Domain> {
        // A schema's name may hold a dot itself (`stripe.create_payment`), a field's never does.
        let matches = |name: &str| name.rsplit_once('.').is_some_and(|(s, f)| s == schema && f == field);
        self.domains.iter().find(|(name, _)| matches(name)).map(|(_, domain)| *domain)
    }

    /// Follows a dotted path.
    ///
    /// # Errors
    /// What is wrong with it and the nearest known name.
    pub fn dotted(&self, path: &str) -> Result<Source, Lost> {
        let steps: Vec<&str> = path.split('.').collect();
        if steps.iter().any(|s| s.is_empty()) {
            return Err((format!("`{path}` is no path"), "write e.g. `order.total`".to_owned()));
        }
        self.follow(&steps)
    }

    /// Follows a path given as steps.
    ///
    /// # Errors
    /// What is wrong with it and the nearest known name.
    pub fn follow(&self, steps: &[&str]) -> Result<Source, Lost> {
        let (first, rest) = steps.split_first().ok_or_else(|| ("an empty path".to_owned(), String::new()))?;
        let root = self.roots.iter().find(|f| f.name == *first).ok_or_else(|| {
            (format!("nothing called `{first}` is in scope here"), did_you_mean(first, self.names()))
        })?;
        let top =
            Source { path: vec![(*first).to_owned()], ty: root.ty, personal: root.personal, domain: None };
        self.descend(top, rest)
    }

    /// Follows the steps of a path from a record that is no name in scope, e.g. the item of a list.
    ///
    /// # Errors
    /// As [`Scope::follow`].
    pub fn descend(&self, from: Source, steps: &[&str]) -> Result<Source, Lost> {
        let mut here = from;
        let mut steps = steps.iter();
        while let Some(step) = steps.next() {
            let so_far = here.path.join(".");
            let (ty, personal, domain) = match here.ty {
                Type::Record(schema) => {
                    let Some(field) = schema.field(step) else {
                        let hint = did_you_mean(step, schema.fields.iter().map(|f| f.name));
                        return Err((format!("`{so_far}` has no field `{step}`"), hint));
                    };
                    (field.ty, field.personal, self.domain(schema.name, field.name))
                }
                Type::Money if *step == "minor" => (Type::Int, false, None),
                Type::Money if *step == "currency" => (Type::Text, false, None),
                Type::Money => {
                    let hint = did_you_mean(step, ["minor", "currency"]);
                    return Err((format!("`{so_far}` is an amount and has no member `{step}`"), hint));
                }
                Type::Dict => {
                    let rest: Vec<&str> = std::iter::once(step).chain(steps.by_ref()).copied().collect();
                    here.path.push(rest.join("."));
                    return Ok(Source { ty: Type::Text, domain: None, ..here });
                }
                Type::List(_) => {
                    let hint = "use `each` in a mapping, or `.exists(x, …)` in a condition";
                    return Err((format!("`{so_far}` is a list and has no field `{step}`"), hint.to_owned()));
                }
                other => {
                    return Err((format!("`{so_far}` is {other} and has no field `{step}`"), String::new()));
                }
            };
            here.path.push((*step).to_owned());
            here = Source { path: here.path, ty, personal: here.personal || personal, domain };
        }
        here.personal = here.personal || holds_personal(here.ty, 0);
        Ok(here)
    }
}

fn holds_personal(ty: Type, depth: usize) -> bool {
    match ty {
        Type::Record(schema) | Type::List(schema) if depth < 8 => {
            schema.fields.iter().any(|f| f.personal || holds_personal(f.ty, depth + 1))
        }
        _ => false,
    }
}

/// Values by name: a base view, and items bound over it by `each`.
#[derive(Clone, Copy)]
pub struct View<'v> {
    base: &'v Value,
    bound: Option<(&'v str, &'v Value, &'v View<'v>)>,
}

impl<'v> View<'v> {
    /// A view over one map.
    #[must_use]
    pub const fn of(base: &'v Value) -> Self {
        Self { base, bound: None }
    }
    /// The same view with one more name.
    #[must_use]
    pub const fn with(&'v self, name: &'v str, value: &'v Value) -> Self {
        Self { base: self.base, bound: Some((name, value, self)) }
    }

    /// Reads the value a checked path leads to; null where a part of the way is absent.
    #[must_use]
    pub fn fetch(&self, path: &[String]) -> Cow<'v, Value> {
        match (self.bound, path.split_first()) {
            (Some((name, value, _)), Some((first, rest))) if first == name => walk(value, rest),
            (Some((_, _, outer)), _) => outer.fetch(path),
            (None, _) => walk(self.base, path),
        }
    }
}

fn walk<'v>(from: &'v Value, path: &[String]) -> Cow<'v, Value> {
    let mut here = from;
    for step in path {
        here = match here {
            Value::Map(members) => match members.get(step) {
                Some(value) => value,
                None => return Cow::Owned(Value::Null),
            },
            Value::Money(money) if step == "minor" => return Cow::Owned(Value::Int(money.minor)),
            Value::Money(money) if step == "currency" => {
                return Cow::Owned(Value::text(money.currency.code()));
            }
            _ => return Cow::Owned(Value::Null),
        };
    }
    Cow::Borrowed(here)
}
