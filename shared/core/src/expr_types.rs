//! The types of conditions, and small readers of their tree.

use cel::IdedExpr;
use cel::common::ast::{Expr as Tree, LiteralValue, operators as op};

use crate::scope::Domain;
use crate::value::Schema;

/// The type of a part of a condition. `Wrong` follows a problem and silences those it would cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    Bool,
    Int,
    Text(Option<Domain>),
    Money,
    Dict,
    List(&'static Schema),
    Texts,
    Ints,
    Wrong,
}

impl Ty {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Text(_) => "text",
            Self::Money => "money",
            Self::Dict => "dict",
            Self::List(_) => "list",
            Self::Texts => "list of texts",
            Self::Ints => "list of ints",
            Self::Wrong => "unknown",
        }
    }
    pub(crate) fn like(self, other: Self) -> bool {
        self == Self::Wrong || other == Self::Wrong || self.name() == other.name()
    }
}

/// The steps of `a.b.c` or `a.b["c"]`.
pub(crate) fn path_of(node: &IdedExpr) -> Option<Vec<String>> {
    match &node.expr {
        Tree::Ident(name) => Some(vec![name.clone()]),
        Tree::Select(select) if !select.test => {
            let mut steps = path_of(&select.operand)?;
            steps.push(select.field.clone());
            Some(steps)
        }
        Tree::Call(call) if call.func_name == op::INDEX => match call.args.as_slice() {
            [on, key] => {
                let Tree::Literal(LiteralValue::String(key)) = &key.expr else { return None };
                let mut steps = path_of(on)?;
                steps.push(key.inner().to_owned());
                Some(steps)
            }
            _ => None,
        },
        _ => None,
    }
}

/// A literal text, or the literal texts of a written list.
pub(crate) fn texts_of(node: &IdedExpr) -> Vec<String> {
    match &node.expr {
        Tree::Literal(LiteralValue::String(text)) => vec![text.inner().to_owned()],
        Tree::List(list) => list.elements.iter().flat_map(texts_of).collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn positive(node: &IdedExpr) -> bool {
    matches!(&node.expr, Tree::Literal(LiteralValue::Int(i)) if *i.inner() > 0)
}
