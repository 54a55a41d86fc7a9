//! Dynamic values and their schemas: what flows and mappings read, and what actions take.
//!
//! A flow or mapping is data, so the values that pass through it are dynamic; but every source and
//! every target has a declared [`Schema`], so that a misspelt name or a clash of types is found when a
//! flow is loaded and not when an order comes.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::mask::Class;
use crate::money::Money;
use crate::time::Timestamp;

/// A value on its way through a mapping or a condition.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "t", content = "v")]
pub enum Value {
    /// Absent.
    #[default]
    Null,
    /// Yes or no.
    Bool(bool),
    /// A count.
    Int(i64),
    /// A rate, a quantity or a unit price; never an amount of money.
    Decimal(Decimal),
    /// Text.
    Text(String),
    /// An amount.
    Money(Money),
    /// An instant.
    Time(Timestamp),
    /// Several values of one type.
    List(Vec<Value>),
    /// Named values.
    Map(BTreeMap<String, Value>),
}

/// `Debug` tells the kind and never the content: a value may be personal.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(m) => write!(f, "map of {}", m.len()),
            Self::List(l) => write!(f, "list of {}", l.len()),
            other => f.write_str(other.kind()),
        }
    }
}

impl Value {
    /// Text from anything stringy.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
    /// Text, or null where there is none.
    pub fn opt_text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Null, |t| Self::Text(t.into()))
    }
    /// A map from pairs.
    pub fn map(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self::Map(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }
    /// Name of the value's kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Decimal(_) => "decimal",
            Self::Text(_) => "text",
            Self::Money(_) => "money",
            Self::Time(_) => "time",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }
    /// Whether nothing is there: null, or an empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(t) => t.is_empty(),
            _ => false,
        }
    }
    /// Follows a dotted path (`order.customer.email`); null where it leads nowhere.
    #[must_use]
    pub fn at(&self, path: &str) -> &Value {
        static NULL: Value = Value::Null;
        path.split('.').try_fold(self, |v, part| v.get(part)).unwrap_or(&NULL)
    }
    /// A member of a map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Map(m) => m.get(name),
            _ => None,
        }
    }
    /// The text, where it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(t) => Some(t),
            _ => None,
        }
    }
    /// The amount, where it is one.
    #[must_use]
    pub const fn as_money(&self) -> Option<Money> {
        match self {
            Self::Money(m) => Some(*m),
            _ => None,
        }
    }
    /// The flag, where it is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }
    /// The count, where it is one.
    #[must_use]
    pub const fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(i) => Some(*i),
            _ => None,
        }
    }
}

/// The declared type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Yes or no.
    Bool,
    /// A count.
    Int,
    /// A rate, quantity or unit price.
    Decimal,
    /// Text.
    Text,
    /// An amount with its currency.
    Money,
    /// An instant.
    Time,
    /// A list of records.
    List(&'static Schema),
    /// A record with declared fields.
    Record(&'static Schema),
    /// Free keys with text values, e.g. a gateway's metadata. As a mapping target, `metadata.some_key`
    /// sets one key.
    Dict,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Decimal => f.write_str("decimal"),
            Self::Text => f.write_str("text"),
            Self::Money => f.write_str("money"),
            Self::Time => f.write_str("time"),
            Self::List(s) => write!(f, "list of {}", s.name),
            Self::Record(s) => write!(f, "{}", s.name),
            Self::Dict => f.write_str("dict of text"),
        }
    }
}

/// One declared field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name, `snake_case`.
    pub name: &'static str,
    /// Type.
    pub ty: Type,
    /// As a target: a mapping must set it. As a source: it is always there.
    pub required: bool,
    /// Holds data about a person; kept sealed at rest.
    pub personal: bool,
    /// How it is masked outside production; of sources that are personal.
    pub class: Option<Class>,
    /// One line for people: meaning and unit.
    pub doc: &'static str,
}

/// A record's declared fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Schema {
    /// Name shown in messages, e.g. `order`.
    pub name: &'static str,
    /// The fields.
    pub fields: &'static [Field],
}

impl Schema {
    /// Looks a field up.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}

/// Builds a [`Field`] in a `const` table.
#[must_use]
pub const fn field(name: &'static str, ty: Type, doc: &'static str) -> Field {
    Field { name, ty, required: false, personal: false, class: None, doc }
}

impl Field {
    /// Marks the field as required.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }
    /// Marks the field as personal.
    #[must_use]
    pub const fn personal(self) -> Self {
        Self { personal: true, ..self }
    }
    /// Marks the field as personal and says how it is masked.
    #[must_use]
    pub const fn masked(self, class: Class) -> Self {
        Self { personal: true, class: Some(class), ..self }
    }
}

/// An action a connector offers to flows: its name as written in `do:`, what it takes, and whether it
/// moves money (money commands of one order never overlap).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionSpec {
    /// `system.verb`, e.g. `stripe.create_payment`.
    pub name: &'static str,
    /// Parameters.
    pub params: &'static Schema,
    /// Serialised with every other money command of the order.
    pub money: bool,
    /// One line for people.
    pub doc: &'static str,
}
