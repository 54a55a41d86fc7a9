//! Documents by kind and name, and how an override changes a template.
//!
//! Every node keeps the file and line it was written at, so that a problem in a merged document points
//! to the part it comes from.

use std::sync::Arc;

use crate::bundle::Source;
use crate::check::{At, Problem, did_you_mean};
use crate::yaml::{self, Node, Tree};

/// What a document is; its first key says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Flow,
    Mapping,
    Lookup,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Flow, Self::Mapping, Self::Lookup];

    const fn key(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Mapping => "mapping",
            Self::Lookup => "lookup",
        }
    }
    /// The key under which an override changes single members, and how many levels deep.
    const fn members(self) -> (&'static str, usize) {
        match self {
            Self::Flow => ("steps", 2),
            Self::Mapping => ("fields", 1),
            Self::Lookup => ("values", 1),
        }
    }
}

#[derive(Debug)]
struct Doc {
    kind: Kind,
    name: String,
    node: Node,
}

/// Merged documents.
#[derive(Debug, Default)]
pub(crate) struct Docs(Vec<Doc>);

impl Docs {
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().filter(move |d| d.kind == kind).map(|d| (d.name.as_str(), &d.node))
    }

    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Node> {
        self.of(kind).find(|(n, _)| *n == name).map(|(_, node)| node)
    }

    /// Reads templates, then overrides, and merges these over those.
    pub(crate) fn read(templates: &[Source], overrides: &[Source], problems: &mut Vec<Problem>) -> Self {
        let mut docs = Self::default();
        for source in templates {
            let Some(doc) = read(source, problems) else { continue };
            if let Some(extends) = doc.node.get("extends") {
                let hint = "only a merchant's own files extend; write the template out";
                problems.push(extends.problem("extends-template", "`extends` in a template", hint));
            }
            docs.add(doc, "give it another name", problems);
        }
        let own: Vec<Doc> = overrides.iter().filter_map(|s| read(s, problems)).collect();
        let (mut changes, new): (Vec<Doc>, Vec<Doc>) =
            own.into_iter().partition(|d| d.node.get("extends").is_some());
        for doc in new {
            let hint = format!("to change it, write `extends: {}` beside its name", doc.name);
            docs.add(doc, &hint, problems);
        }
        // A change may extend what another one makes: go round until nothing more fits.
        while let Some(index) = changes.iter().position(|d| docs.base_of(d).is_some()) {
            let change = changes.remove(index);
            docs.change(change, problems);
        }
        for doc in changes {
            let Some(extends) = doc.node.get("extends") else { continue };
            let name = extends.text("the name of a document", problems).unwrap_or_default();
            let hint = did_you_mean(name, docs.of(doc.kind).map(|(n, _)| n));
            problems.push(extends.problem(
                "unknown-base",
                format!("there is no {} `{name}`", doc.kind.key()),
                hint,
            ));
        }
        docs
    }

    /// Reads the JSON of merged documents.
    pub(crate) fn from_canonical(text: &str, problems: &mut Vec<Problem>) -> Self {
        let file: Arc<str> = "stored flow".into();
        let mut docs = Self::default();
        let json = serde_json::from_str::<Vec<serde_json::Value>>(text).unwrap_or_default();
        for node in &json {
            match Node::from_json(&file, node) {
                Ok(node) => docs.0.extend(named(node, problems)),
                Err(problem) => problems.push(problem),
            }
        }
        if docs.0.is_empty() && problems.is_empty() {
            problems.push(At::new(&file, 0, 0).problem("canonical", "the stored flow cannot be read", ""));
        }
        docs
    }

    fn add(&mut self, doc: Doc, hint: &str, problems: &mut Vec<Problem>) {
        match self.get(doc.kind, &doc.name) {
            Some(first) => {
                let (kind, place) = (doc.kind.key(), format!("{}:{}", first.at.file, first.at.line));
                let what = format!("{kind} `{}` is already defined at {place}", doc.name);
                problems.push(doc.node.problem("duplicate-document", what, hint));
            }
            None => self.0.push(doc),
        }
    }

    fn base_of(&self, doc: &Doc) -> Option<&Node> {
        self.get(doc.kind, doc.node.get("extends")?.as_text()?)
    }

    fn change(&mut self, change: Doc, problems: &mut Vec<Problem>) {
        let Some(base) = self.base_of(&change) else { return };
        let node = over(base, &change, problems);
        let own = change.node.get("extends").and_then(Node::as_text) == Some(&change.name);
        let doc = Doc { node, ..change };
        if own {
            self.0.retain(|d| d.kind != doc.kind || d.name != doc.name);
            self.0.push(doc);
        } else {
            self.add(
                doc,
                "a document that extends another one of a different name makes a new one",
                problems,
            );
        }
    }
}

fn read(source: &Source, problems: &mut Vec<Problem>) -> Option<Doc> {
    match yaml::parse(&source.file, &source.text) {
        Ok(node) => named(node, problems),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

fn named(node: Node, problems: &mut Vec<Problem>) -> Option<Doc> {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|k| node.get(k.key()).is_some()).collect();
    let [kind] = kinds.as_slice() else {
        let hint = "a file holds one document and begins with `flow:`, `mapping:` or `lookup:` and its name";
        problems.push(node.problem("unknown-document", "this is no flow, mapping or lookup", hint));
        return None;
    };
    let name = node.get(kind.key())?.text("a name", problems)?.to_owned();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'/' | b'.');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) {
        let hint = "use letters, digits, `-`, `_`, `/` and `.`";
        problems.push(node.problem("bad-name", format!("`{name}` is no name of a {}", kind.key()), hint));
    }
    Some(Doc { kind: *kind, name, node })
}

/// An override over its base.
fn over(base: &Node, change: &Doc, problems: &mut Vec<Problem>) -> Node {
    let (members, depth) = change.kind.members();
    let mut pairs = base.pairs().to_vec();
    for (key, value) in change.node.pairs() {
        match key.as_text().unwrap_or_default() {
            "extends" => {}
            name if name == members => {
                let empty = Node { value: Tree::Map(Vec::new()), at: value.at.clone() };
                let under = base.get(members).unwrap_or(&empty);
                let merged = merge(under, value, depth, problems);
                set(&mut pairs, key, merged);
            }
            _ => change_one(&mut pairs, key, value, problems),
        }
    }
    Node { value: Tree::Map(pairs), at: change.node.at.clone() }
}

/// The members of a map over those of its base: replaced, removed by `~`, or added.
fn merge(base: &Node, change: &Node, depth: usize, problems: &mut Vec<Problem>) -> Node {
    if !matches!((&base.value, &change.value), (Tree::Map(_), Tree::Map(_))) {
        return change.clone();
    }
    let mut pairs = base.pairs().to_vec();
    for (key, value) in change.pairs() {
        let under = key.as_text().and_then(|name| base.get(name));
        match under {
            _ if depth > 1 && value.get("remove").is_some_and(|r| r.flag(problems)) => {
                let null = Node { value: Tree::Null, at: value.at.clone() };
                change_one(&mut pairs, key, &null, problems);
            }
            Some(under) if depth > 1 && !value.is_null() => {
                let merged = merge(under, value, depth - 1, problems);
                set(&mut pairs, key, merged);
            }
            _ => change_one(&mut pairs, key, value, problems),
        }
    }
    Node { value: Tree::Map(pairs), at: base.at.clone() }
}

fn change_one(pairs: &mut Vec<(Node, Node)>, key: &Node, value: &Node, problems: &mut Vec<Problem>) {
    let name = key.as_text().unwrap_or_default();
    if !value.is_null() {
        set(pairs, key, value.clone());
    } else if pairs.iter().any(|(k, _)| k.as_text() == Some(name)) {
        pairs.retain(|(k, _)| k.as_text() != Some(name));
    } else {
        let hint = did_you_mean(name, pairs.iter().filter_map(|(k, _)| k.as_text()));
        problems.push(key.problem("nothing-to-remove", format!("there is no `{name}` to remove"), hint));
    }
}

/// Puts a value in its key's place, or at the end.
fn set(pairs: &mut Vec<(Node, Node)>, key: &Node, value: Node) {
    match pairs.iter_mut().find(|(k, _)| k.as_text() == key.as_text()) {
        Some(pair) => *pair = (key.clone(), value),
        None => pairs.push((key.clone(), value)),
    }
}
