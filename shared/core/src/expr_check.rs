//! The checker of conditions: names, types and functions, over the whole tree of an expression.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr as Tree, LiteralValue, operators as op};

use crate::check::{At, Problem, did_you_mean};
use crate::expr::{Slot, slot_name};
use crate::expr_types::{Ty, path_of, positive, texts_of};
use crate::scope::{Domain, Lost, Scope, Source};
use crate::value::{Schema, Type};

const FUNCTIONS: [&str; 7] = ["size", "has", "contains", "startsWith", "endsWith", "exists", "all"];

pub(crate) struct Checker<'a> {
    scope: &'a Scope,
    at: &'a At,
    /// Names bound by `exists` and `all`, innermost last.
    bound: Vec<(String, &'static Schema)>,
    pub(crate) slots: Vec<Slot>,
    /// Names of fields read from list items.
    pub(crate) members: BTreeSet<String>,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(scope: &'a Scope, at: &'a At) -> Self {
        Self {
            scope,
            at,
            bound: Vec::new(),
            slots: Vec::new(),
            members: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// Checks a whole condition and puts slots in the place of its paths.
    pub(crate) fn condition(&mut self, tree: &mut IdedExpr) {
        let ty = self.part(tree);
        if !ty.like(Ty::Bool) {
            let hint =
                if ty == Ty::Int { "compare it, e.g. `… > 0`" } else { "compare it, e.g. `… != \"\"`" };
            self.wrong("condition-type", format!("the condition is {} and not bool", ty.name()), hint);
        }
    }

    fn wrong(&mut self, code: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Ty {
        self.problems.push(self.at.problem(code, what, hint));
        Ty::Wrong
    }

    fn part(&mut self, node: &mut IdedExpr) -> Ty {
        if let Some(steps) = path_of(node) {
            return self.path(node, &steps);
        }
        match &mut node.expr {
            Tree::Literal(literal) => self.literal(literal),
            Tree::Select(select) if select.test => {
                let steps = path_of(&select.operand).map(|mut steps| {
                    steps.push(select.field.clone());
                    steps
                });
                self.presence(node, steps)
            }
            Tree::Select(select) => {
                let inner = self.part(&mut select.operand);
                match inner {
                    Ty::Wrong => Ty::Wrong,
                    _ => self.wrong(
                        "condition-type",
                        format!("{} has no fields here", inner.name()),
                        "end the path before it",
                    ),
                }
            }
            Tree::List(list) => {
                let tys: Vec<Ty> = list.elements.iter_mut().map(|e| self.part(e)).collect();
                match tys.first() {
                    Some(Ty::Text(_)) if tys.iter().all(|t| t.like(Ty::Text(None))) => Ty::Texts,
                    Some(Ty::Int) if tys.iter().all(|t| t.like(Ty::Int)) => Ty::Ints,
                    _ if tys.contains(&Ty::Wrong) => Ty::Wrong,
                    _ => self.wrong(
                        "condition-type",
                        "a list of mixed or unusable types",
                        "e.g. [\"a\", \"b\"]",
                    ),
                }
            }
            Tree::Call(call) => self.call(call),
            Tree::Comprehension(c) => self.comprehension(c),
            _ => self.wrong(
                "condition-syntax",
                "maps and structs cannot be written in a condition",
                "compare single fields",
            ),
        }
    }

    fn literal(&mut self, literal: &LiteralValue) -> Ty {
        match literal {
            LiteralValue::Boolean(_) => Ty::Bool,
            LiteralValue::Int(_) => Ty::Int,
            LiteralValue::String(_) => Ty::Text(None),
            LiteralValue::UInt(_) => self.wrong("condition-type", "an unsigned int", "leave the `u` out"),
            LiteralValue::Double(_) => {
                let hint = "compare amounts in minor units: order.total.minor > 1050";
                self.wrong("condition-type", "a number with a fraction", hint)
            }
            LiteralValue::Null => {
                let hint = "an absent text is \"\", an absent int 0: compare with that, or use has(…)";
                self.wrong("condition-type", "`null` in a condition", hint)
            }
            LiteralValue::Bytes(_) => {
                self.wrong("condition-type", "bytes in a condition", "leave the `b` before the quotes out")
            }
        }
    }

    /// Resolves a path. From the scope: a slot takes its place. From a list's item: it stays.
    fn path(&mut self, node: &mut IdedExpr, steps: &[String]) -> Ty {
        match self.resolve(steps) {
            Err((what, hint)) => self.wrong("unknown-field", what, hint),
            Ok((source, true)) => {
                self.members.extend(steps.iter().skip(1).cloned());
                if source.ty == Type::Dict || source.path.len() != steps.len() {
                    let hint = "only the fields of a list's items can be read";
                    return self.wrong("condition-type", format!("`{}` is a dict", steps.join(".")), hint);
                }
                self.ty_of(&source)
            }
            Ok((source, false)) => {
                let ty = self.ty_of(&source);
                self.slot(node, source, false);
                ty
            }
        }
    }

    /// What a path leads to, and whether it begins at a bound name.
    fn resolve(&self, steps: &[String]) -> Result<(Source, bool), Lost> {
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let item = steps.split_first().and_then(|(first, rest)| {
            self.bound
                .iter()
                .rev()
                .find(|(name, _)| name == first)
                .map(|(name, schema)| (name, *schema, rest))
        });
        match item {
            None => self.scope.follow(&steps).map(|s| (s, false)),
            Some((name, schema, rest)) => {
                let top = Source {
                    path: vec![name.clone()],
                    ty: Type::Record(schema),
                    personal: false,
                    domain: None,
                };
                self.scope.descend(top, rest).map(|s| (s, true))
            }
        }
    }

    fn ty_of(&mut self, source: &Source) -> Ty {
        let path = source.path.join(".");
        match source.ty {
            Type::Bool => Ty::Bool,
            Type::Int | Type::Time => Ty::Int,
            Type::Text => Ty::Text(source.domain),
            Type::Money => Ty::Money,
            Type::Dict => Ty::Dict,
            Type::List(schema) => Ty::List(schema),
            Type::Decimal => {
                let hint = "compare an amount (`… .minor`) or a count instead";
                self.wrong("condition-type", format!("`{path}` is a decimal; conditions have none"), hint)
            }
            Type::Record(schema) => {
                let first = schema.fields.first().map_or("id", |f| f.name);
                let hint = format!("name one of its fields, e.g. `{path}.{first}`");
                self.wrong("condition-type", format!("`{path}` is a record and no value"), hint)
            }
        }
    }

    fn slot(&mut self, node: &mut IdedExpr, source: Source, presence: bool) {
        let slot = Slot { path: source.path, ty: source.ty, presence, personal: source.personal };
        let index = self.slots.iter().position(|s| *s == slot).unwrap_or(self.slots.len());
        if index == self.slots.len() {
            self.slots.push(slot);
        }
        node.expr = Tree::Ident(slot_name(index));
    }

    fn presence(&mut self, node: &mut IdedExpr, steps: Option<Vec<String>>) -> Ty {
        let Some(steps) = steps else {
            return self.wrong("condition-type", "`has` needs a field", "e.g. has(order.token)");
        };
        match self.resolve(&steps) {
            Err((what, hint)) => self.wrong("unknown-field", what, hint),
            Ok((_, true)) => {
                let hint = "compare with the empty value instead, e.g. `x.sku != \"\"`";
                self.wrong("condition-type", "`has` on an item of a list", hint)
            }
            Ok((source, false)) => {
                self.slot(node, source, true);
                Ty::Bool
            }
        }
    }

    fn call(&mut self, call: &mut CallExpr) -> Ty {
        // Whether a text belongs to a field's enumeration is seen on the literals, before slots go in.
        let literals: Vec<Vec<String>> = call.args.iter().map(texts_of).collect();
        let zero = call.args.get(1).is_some_and(|a| !positive(a));
        let target = call.target.as_mut().map(|t| self.part(t));
        let tys: Vec<Ty> = call.args.iter_mut().map(|a| self.part(a)).collect();
        let name = call.func_name.as_str();
        match (name, target, tys.as_slice()) {
            (op::LOGICAL_AND | op::LOGICAL_OR, None, [a, b]) => {
                let sign = if name == op::LOGICAL_AND { "&&" } else { "||" };
                for ty in [a, b].into_iter().filter(|t| !t.like(Ty::Bool)) {
                    self.wrong(
                        "condition-type",
                        format!("`{sign}` joins bools, not {}", ty.name()),
                        "compare it",
                    );
                }
                Ty::Bool
            }
            (op::LOGICAL_NOT, None, [a]) => self.expect(*a, Ty::Bool, "`!`", Ty::Bool),
            (op::CONDITIONAL, None, [cond, a, b]) => {
                self.expect(*cond, Ty::Bool, "`? :`", Ty::Bool);
                self.expect(*b, *a, "`? :` with sides of one type", *a)
            }
            (op::EQUALS | op::NOT_EQUALS, None, [a, b]) => self.equality(*a, *b, &literals),
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, None, [a, b]) => match (a, b) {
                (Ty::Int, Ty::Int) | (Ty::Text(_), Ty::Text(_)) => Ty::Bool,
                (Ty::Wrong, _) | (_, Ty::Wrong) => Ty::Bool,
                (Ty::Money, _) | (_, Ty::Money) => {
                    let hint = "compare minor units: `… .minor`, of amounts of one currency";
                    self.wrong("condition-type", "amounts have no order across currencies", hint)
                }
                _ => self.clash(*a, *b),
            },
            (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, None, [a, b]) => {
                if matches!(name, op::DIVIDE | op::MODULO) && zero {
                    return self.wrong(
                        "condition-type",
                        "a division that could fail",
                        "divide by a literal above 0",
                    );
                }
                self.expect(*a, Ty::Int, "arithmetic", Ty::Int);
                self.expect(*b, Ty::Int, "arithmetic", Ty::Int)
            }
            (op::NEGATE, None, [a]) => self.expect(*a, Ty::Int, "`-`", Ty::Int),
            (op::IN, None, [Ty::Text(domain), Ty::Texts]) => {
                let domain = *domain;
                self.members_of(domain, literals.iter().flatten());
                Ty::Bool
            }
            (
                op::IN,
                None,
                [Ty::Text(_), Ty::Dict] | [Ty::Int, Ty::Ints] | [Ty::Wrong, _] | [_, Ty::Wrong],
            ) => Ty::Bool,
            (op::IN, None, [a, b]) => self.clash(*a, *b),
            ("size", Some(ty), []) | ("size", None, &[ty]) => match ty {
                Ty::Text(_) | Ty::List(_) | Ty::Dict | Ty::Texts | Ty::Ints | Ty::Wrong => Ty::Int,
                _ => self.wrong(
                    "condition-type",
                    format!("{} has no size", ty.name()),
                    "compare it with a number",
                ),
            },
            ("contains" | "startsWith" | "endsWith", Some(on), [what]) => {
                let what = *what;
                self.expect(on, Ty::Text(None), "a function of texts", Ty::Bool);
                self.expect(what, Ty::Text(None), "a function of texts", Ty::Bool);
                Ty::Bool
            }
            (op::INDEX, None, _) => {
                let hint = "d[\"key\"] reads a dict; for lists use .exists(x, …) or .all(x, …)";
                self.wrong("condition-type", "an index that is no literal text on a dict", hint)
            }
            _ => {
                let name = name.trim_matches(['_', '@', ' ']).to_owned();
                let hint = did_you_mean(&name, FUNCTIONS);
                self.wrong("unknown-function", format!("no function `{name}` like this in conditions"), hint)
            }
        }
    }

    fn expect(&mut self, found: Ty, wanted: Ty, by: &str, result: Ty) -> Ty {
        if !found.like(wanted) {
            let what = format!("{by} needs {}, not {}", wanted.name(), found.name());
            let hint = match found {
                Ty::Money => "use its member `minor`",
                Ty::Text(_) if wanted == Ty::Int => {
                    "texts are not added up; `concat` in a mapping joins them"
                }
                _ => "compare values of one type",
            };
            self.wrong("condition-type", what, hint);
        }
        result
    }

    fn clash(&mut self, a: Ty, b: Ty) -> Ty {
        let hint = match (a, b) {
            (Ty::Money, _) | (_, Ty::Money) => "compare its member `minor` or `currency`",
            (Ty::Text(_), Ty::Int) | (Ty::Int, Ty::Text(_)) => "put a text in quotes, leave an int without",
            _ => "both sides must be of one type",
        };
        self.wrong("condition-type", format!("{} is compared with {}", a.name(), b.name()), hint)
    }

    fn equality(&mut self, a: Ty, b: Ty, literals: &[Vec<String>]) -> Ty {
        match (a, b) {
            (Ty::Wrong, _) | (_, Ty::Wrong) => Ty::Bool,
            (Ty::Text(left), Ty::Text(right)) => {
                self.members_of(left.or(right), literals.iter().flatten());
                Ty::Bool
            }
            (Ty::Bool, Ty::Bool) | (Ty::Int, Ty::Int) | (Ty::Money, Ty::Money) => Ty::Bool,
            _ => self.clash(a, b),
        }
    }

    /// Every literal compared with a field of an enumeration must be one of its members, or empty.
    fn members_of<'t>(&mut self, domain: Option<Domain>, texts: impl Iterator<Item = &'t String>) {
        let Some((name, members)) = domain else { return };
        for text in texts.filter(|t| !t.is_empty() && !members.contains(&t.as_str())) {
            let hint = did_you_mean(text, members);
            self.wrong("unknown-member", format!("`{text}` is no {name}"), hint);
        }
    }

    /// `exists` and `all` as the parser expands them; everything else of that shape is refused.
    fn comprehension(&mut self, c: &mut ComprehensionExpr) -> Ty {
        let range = self.part(&mut c.iter_range);
        let body = match (&c.accu_init.expr, &mut c.loop_step.expr) {
            (Tree::Literal(LiteralValue::Boolean(_)), Tree::Call(step))
                if matches!(step.func_name.as_str(), op::LOGICAL_AND | op::LOGICAL_OR) =>
            {
                step.args.get_mut(1)
            }
            _ => None,
        };
        let Some(body) = body else {
            let hint = "`exists` and `all` are there, e.g. order.lines.exists(x, x.sku == \"A\")";
            return self.wrong(
                "unknown-function",
                "`map`, `filter` and `exists_one` are not available",
                hint,
            );
        };
        let Ty::List(schema) = range else {
            return match range {
                Ty::Wrong => Ty::Wrong,
                other => {
                    let hint = "for a written list use `in`";
                    self.wrong(
                        "condition-type",
                        format!("`exists` and `all` go over lists, not {}", other.name()),
                        hint,
                    )
                }
            };
        };
        if self.scope.has(&c.iter_var) || self.bound.iter().any(|(name, _)| *name == c.iter_var) {
            let what = format!("`{}` already means something here", c.iter_var);
            return self.wrong("condition-type", what, "choose another name for the item");
        }
        if self.bound.len() >= 2 {
            return self.wrong(
                "condition-type",
                "`exists` within `exists` within `exists`",
                "two levels at most",
            );
        }
        self.bound.push((c.iter_var.clone(), schema));
        let ty = self.part(body);
        self.bound.pop();
        self.expect(ty, Ty::Bool, "the body of `exists` or `all`", Ty::Bool)
    }
}
