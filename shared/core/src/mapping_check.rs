//! The checker of mappings: from a document to a [`Mapping`] whose every name and type is known.

use std::collections::BTreeSet;

use crate::bundle::Vocabulary;
use crate::check::{Problem, did_you_mean};
use crate::expr::Expr;
use crate::lookup::Lookups;
use crate::mapping::{Chain, Entry, Fields, Mapping, Origin};
use crate::mapping_types::{constant, fits, remedy};
use crate::scope::{Domain, Scope};
use crate::transforms::Transform;
use crate::value::{Schema, Type, Value};
use crate::yaml::{Node, Tree};

const ORIGINS: [&str; 5] = ["from", "text", "concat", "join", "each"];
const ENTRY_KEYS: [&str; 11] =
    ["from", "text", "concat", "join", "each", "fields", "by", "transform", "lookup", "default", "when"];

/// A parameter an entry sets.
struct Target {
    path: Vec<String>,
    ty: Type,
    /// Required, and so is every record it lies in.
    required: bool,
    personal: bool,
    domain: Option<Domain>,
}

struct Check<'a> {
    lookups: &'a Lookups,
    problems: &'a mut Vec<Problem>,
    used: BTreeSet<String>,
    personal: bool,
}

impl Mapping {
    /// Reads and checks a mapping document. `None` where too little is known to build one.
    pub(crate) fn compile(
        name: &str,
        node: &Node,
        vocab: &Vocabulary,
        lookups: &Lookups,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        node.only_keys(&["mapping", "about", "action", "for-each", "fields"], problems);
        let spec = match node.get("action") {
            None => {
                let hint = "write e.g. `action: system.action`";
                problems.push(node.problem("missing-key", format!("mapping `{name}` has no `action`"), hint));
                None
            }
            Some(at) => at
                .text("the name of an action", problems)
                .and_then(|action| vocab.action(action, at, problems)),
        };
        let for_each =
            node.get("for-each").and_then(|n| Some((n, n.text("the name of an object", problems)?)));
        let scope = vocab.scope(for_each, problems)?;
        let spec = spec?;
        let Some(fields) = node.get("fields") else {
            problems.push(node.problem(
                "missing-key",
                format!("mapping `{name}` has no `fields`"),
                "add `fields:`",
            ));
            return None;
        };
        let mut check = Check { lookups, problems, used: BTreeSet::new(), personal: false };
        let fields = check.fields(fields, spec.params, &scope);
        Some(Self {
            name: name.to_owned(),
            action: spec.name.to_owned(),
            for_each: for_each.map(|(_, name)| name.to_owned()),
            personal: check.personal,
            lookups: check.used.into_iter().collect(),
            at: node.at.clone(),
            fields,
        })
    }
}

impl Check<'_> {
    fn wrong(&mut self, at: &Node, code: &'static str, what: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(at.problem(code, what, hint));
    }

    fn fields(&mut self, node: &Node, schema: &'static Schema, scope: &Scope) -> Fields {
        let mut entries = Vec::new();
        let mut seen: Vec<(Vec<String>, usize)> = Vec::new();
        for (key, value) in node.map("a map from target field to its source", self.problems) {
            let Some(target) = self.target(key, schema, scope) else { continue };
            let twice =
                seen.iter().find(|(path, _)| path.starts_with(&target.path) || target.path.starts_with(path));
            if let Some((path, line)) = twice {
                let what =
                    format!("`{}` and `{}` (line {line}) overlap", target.path.join("."), path.join("."));
                self.wrong(key, "overlapping-target", what, "set the whole or its parts, not both");
            }
            seen.push((target.path.clone(), key.at.line));
            if let Some(entry) = self.entry(value, target, scope) {
                entries.push(entry);
            }
        }
        self.required(node, schema, "", &seen);
        Fields { schema, entries }
    }

    /// Every required field needs an entry; within a record that is not required, once one field has one.
    fn required(&mut self, node: &Node, schema: &Schema, prefix: &str, seen: &[(Vec<String>, usize)]) {
        for field in schema.fields {
            let path = format!("{prefix}{}", field.name);
            let whole = seen.iter().any(|(p, _)| p.join(".") == path);
            let inner = format!("{path}.");
            let parts = seen.iter().any(|(p, _)| p.join(".").starts_with(&inner));
            match field.ty {
                _ if whole => {}
                Type::Record(schema) if parts => self.required(node, schema, &inner, seen),
                _ if field.required && !parts => {
                    let hint = format!("add `{path}: …` ({}: {})", field.ty, field.doc);
                    self.wrong(node, "missing-target", format!("required field `{path}` is not set"), hint);
                }
                _ => {}
            }
        }
    }

    fn target(&mut self, key: &Node, schema: &'static Schema, scope: &Scope) -> Option<Target> {
        let name = key.as_text()?;
        let (mut here, mut required, mut personal) = (schema, true, false);
        let mut path = Vec::new();
        let mut steps = name.split('.');
        while let Some(step) = steps.next() {
            let Some(field) = here.field(step) else {
                let hint = did_you_mean(step, here.fields.iter().map(|f| f.name));
                self.wrong(key, "unknown-target", format!("{} has no field `{step}`", here.name), hint);
                return None;
            };
            path.push(step.to_owned());
            required = required && field.required;
            personal = personal || field.personal;
            let rest = steps.clone().collect::<Vec<_>>().join(".");
            match field.ty {
                _ if rest.is_empty() => {
                    let domain = scope.domain(here.name, field.name);
                    return Some(Target { path, ty: field.ty, required, personal, domain });
                }
                Type::Record(inner) => here = inner,
                Type::Dict => {
                    path.push(rest);
                    return Some(Target { path, ty: Type::Text, required: false, personal, domain: None });
                }
                other => {
                    let what = format!("`{step}` is {other} and has no field `{rest}`");
                    self.wrong(key, "unknown-target", what, format!("write `{step}` alone"));
                    return None;
                }
            }
        }
        None
    }

    fn entry(&mut self, node: &Node, target: Target, scope: &Scope) -> Option<Entry> {
        self.personal = self.personal || target.personal;
        let before = self.problems.len();
        let (chain, ty) = self.chain(node, target.ty, target.domain, scope)?;
        let when = match node.get("when") {
            None => None,
            Some(at) => match Expr::compile(at.text("a condition", self.problems)?, scope, &at.at) {
                Ok(expr) => Some((expr, at)),
                Err(found) => {
                    self.problems.extend(found);
                    return None;
                }
            },
        };
        if let Some((_, at)) = &when
            && target.required
            && chain.default.is_none()
        {
            let what =
                format!("required field `{}` would be missing when this is false", target.path.join("."));
            self.wrong(at, "required-when", what, "add a `default`, or leave `when` out");
        }
        if !fits(ty, target.ty) {
            let what = format!("`{}` is {} and its source gives {ty}", target.path.join("."), target.ty);
            self.wrong(node, "type-clash", what, remedy(ty, target.ty));
        }
        (self.problems.len() == before).then_some(Entry {
            target: target.path,
            ty: target.ty,
            chain,
            when: when.map(|(expr, _)| expr),
        })
    }

    /// An origin with what is done to it, and the type that comes out.
    fn chain(
        &mut self,
        node: &Node,
        target: Type,
        domain: Option<Domain>,
        scope: &Scope,
    ) -> Option<(Chain, Type)> {
        if let Tree::Scalar(path) = &node.value {
            let (origin, ty, _) = self.path(node, path, scope)?;
            return Some((Chain { origin, transforms: Vec::new(), lookup: None, default: None }, ty));
        }
        let given: Vec<&str> = ORIGINS.into_iter().filter(|k| node.get(k).is_some()).collect();
        let (Tree::Map(_), [key]) = (&node.value, given.as_slice()) else {
            let hint = "write a path, or a map with one of from, text, concat, join, each";
            self.wrong(
                node,
                "wrong-shape",
                format!("expected one source, found {}", found(node, &given)),
                hint,
            );
            return None;
        };
        node.only_keys(&ENTRY_KEYS, self.problems);
        for (extra, with) in [("fields", "each"), ("by", "join")] {
            if node.get(extra).is_some() && *key != with {
                self.wrong(
                    node,
                    "wrong-shape",
                    format!("`{extra}` belongs to `{with}`"),
                    format!("add `{with}`, or take `{extra}` out"),
                );
            }
        }
        let transforms = self.transforms(node);
        let source = node.get(key)?;
        let (origin, mut ty, from_domain) = match *key {
            "from" => {
                let path = source.text("a path", self.problems)?;
                self.path(source, path, scope)?
            }
            "text" => {
                let typed =
                    if transforms.is_empty() && node.get("lookup").is_none() { target } else { Type::Text };
                let value = self.constant(source, typed, if typed == target { domain } else { None })?;
                (Origin::Constant(value), typed, None)
            }
            "each" => self.each(node, source, target, scope)?,
            _ => self.parts(node, source, *key == "join", scope)?,
        };
        for (at, transform) in &transforms {
            if !transform.takes().contains(&ty) {
                let takes: Vec<String> = transform.takes().iter().map(ToString::to_string).collect();
                let what = format!("transform `{}` takes {}, not {ty}", transform.name(), takes.join(" or "));
                self.wrong(at, "type-clash", what, remedy(ty, Type::Text));
                return None;
            }
            ty = transform.gives();
        }
        let lookup = self.lookup(node, &mut ty, from_domain, domain);
        let default = node.get("default").and_then(|n| self.constant(n, target, domain));
        let transforms = transforms.into_iter().map(|(_, t)| t).collect();
        Some((Chain { origin, transforms, lookup, default }, ty))
    }

    fn path(&mut self, at: &Node, path: &str, scope: &Scope) -> Option<(Origin, Type, Option<Domain>)> {
        match scope.dotted(path) {
            Ok(source) => {
                self.personal = self.personal || source.personal;
                Some((Origin::Path { path: source.path, ty: source.ty }, source.ty, source.domain))
            }
            Err((what, hint)) => {
                let hint =
                    if path.contains(' ') { "a constant is written {text: …}".to_owned() } else { hint };
                self.wrong(at, "unknown-source", what, hint);
                None
            }
        }
    }

    fn transforms<'n>(&mut self, node: &'n Node) -> Vec<(&'n Node, Transform)> {
        let mut chain = Vec::new();
        let list =
            node.get("transform").map_or(&[][..], |n| n.list("the name of a transform", self.problems));
        for at in list {
            match at.text("the name of a transform", self.problems).map(Transform::parse) {
                Some(Ok(transform)) => chain.push((at, transform)),
                Some(Err((what, hint))) => self.wrong(at, "unknown-transform", what, hint),
                None => {}
            }
        }
        chain
    }

    fn lookup(
        &mut self,
        node: &Node,
        ty: &mut Type,
        from: Option<Domain>,
        to: Option<Domain>,
    ) -> Option<String> {
        let at = node.get("lookup")?;
        let name = at.text("the name of a lookup", self.problems)?;
        let Some(table) = self.lookups.get(name) else {
            let hint = did_you_mean(name, self.lookups.keys());
            self.wrong(at, "unknown-lookup", format!("unknown lookup `{name}`"), hint);
            return None;
        };
        if *ty != Type::Text {
            self.wrong(at, "type-clash", format!("a lookup takes text, not {ty}"), remedy(*ty, Type::Text));
        }
        *ty = Type::Text;
        if let (Some((source, _)), Some(domain)) = (from, table.from)
            && source != domain
        {
            let what = format!("lookup `{name}` is over {domain}, and the source holds {source}");
            self.wrong(at, "lookup-domain", what, format!("use a lookup with `from: {source}`"));
        }
        if let Some((target, _)) = to
            && table.to != Some(target)
        {
            let what = format!(
                "lookup `{name}` gives {}, and the target takes {target}",
                table.to.unwrap_or("text")
            );
            self.wrong(at, "lookup-domain", what, format!("write `to: {target}` in the lookup"));
        }
        self.used.insert(name.to_owned());
        Some(name.to_owned())
    }

    fn parts(
        &mut self,
        node: &Node,
        source: &Node,
        join: bool,
        scope: &Scope,
    ) -> Option<(Origin, Type, Option<Domain>)> {
        let mut parts = Vec::new();
        for part in source.list("a list of texts and sources", self.problems) {
            if let Some(text) = part.as_text() {
                let origin = Origin::Constant(Value::text(text));
                parts.push(Chain { origin, transforms: Vec::new(), lookup: None, default: None });
            } else if let Some((chain, ty)) = self.chain(part, Type::Text, None, scope) {
                if !matches!(ty, Type::Text | Type::Int) {
                    let what = format!("a part gives {ty}, and only texts and ints are joined");
                    self.wrong(part, "type-clash", what, remedy(ty, Type::Text));
                }
                if let Some(when) = part.get("when") {
                    self.wrong(when, "wrong-shape", "`when` on a part", "put it on the whole field");
                }
                parts.push(chain);
            }
        }
        let by = node.get("by").and_then(|n| n.text("a separator", self.problems));
        let separator = if join { by.unwrap_or(" ") } else { "" }.to_owned();
        Some((Origin::Parts { parts, separator }, Type::Text, None))
    }

    fn each(
        &mut self,
        node: &Node,
        source: &Node,
        target: Type,
        scope: &Scope,
    ) -> Option<(Origin, Type, Option<Domain>)> {
        let path = source.text("the path of a list", self.problems)?;
        let (_, ty, _) = self.path(source, path, scope)?;
        let Type::List(item) = ty else {
            self.wrong(
                source,
                "type-clash",
                format!("`{path}` is {ty} and no list"),
                "leave `each` and `fields` out",
            );
            return None;
        };
        let Type::List(wanted) = target else {
            self.wrong(
                node,
                "type-clash",
                format!("the target is {target} and no list"),
                "leave `each` and `fields` out",
            );
            return None;
        };
        let Some(fields) = node.get("fields") else {
            self.wrong(
                node,
                "missing-key",
                "`each` without `fields`",
                "say which field of an item goes where",
            );
            return None;
        };
        let fields = self.fields(fields, wanted, &scope.clone().with(item.name, Type::Record(item)));
        let path = scope.dotted(path).ok()?.path;
        Some((Origin::Each { path, item: item.name, fields }, target, None))
    }

    fn constant(&mut self, node: &Node, ty: Type, domain: Option<Domain>) -> Option<Value> {
        let text = node.text("a text", self.problems)?;
        if let Some((name, members)) = domain.filter(|(_, members)| !members.contains(&text)) {
            self.wrong(node, "unknown-member", format!("`{text}` is no {name}"), did_you_mean(text, members));
        }
        let value = constant(text, ty);
        if value.is_none() {
            let hint = match ty {
                Type::Money => "write e.g. `10.50 USD`",
                Type::Time => "write e.g. `2026-11-21T08:00:00Z`",
                Type::Bool => "write `true` or `false`",
                Type::Int => "write digits alone, e.g. `3`",
                _ => "take it from a source of that type",
            };
            self.wrong(node, "type-clash", format!("`{text}` is no {ty}"), hint);
        }
        value
    }
}

fn found(node: &Node, given: &[&str]) -> String {
    match (&node.value, given) {
        (Tree::Null, _) => "nothing (`~` removes a field only in a file that `extends`)".to_owned(),
        (Tree::Map(_), []) => "none".to_owned(),
        (Tree::Map(_), several) => several.join(" and "),
        _ => node.kind().to_owned(),
    }
}
