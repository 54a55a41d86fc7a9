//! YAML as a small tree whose scalars are all text and whose nodes know where they stand.
//!
//! A scalar is typed by the field it is meant for and never by its looks, so `NO` stays `NO` and
//! `0123` keeps its zero. What makes YAML dangerous or surprising is refused: anchors and aliases
//! (a page of them can grow to gigabytes), tags, several documents in one file, duplicate keys, and
//! nesting deeper than any flow needs.

use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::check::{At, Problem};

/// The largest file accepted, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// The deepest nesting accepted.
pub const MAX_DEPTH: usize = 24;

/// A node with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it holds.
    pub value: Tree,
    /// Where it begins.
    pub at: At,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// A text.
    Scalar(String),
    /// `~`, `null` or nothing, unquoted.
    Null,
    /// A list.
    Seq(Vec<Node>),
    /// Key and value in the order written; keys are scalars and unique.
    Map(Vec<(Node, Node)>),
}

/// Reads one document.
///
/// # Errors
/// Every problem found; reading goes on after one where the syntax allows.
pub fn parse(file: &str, text: &str) -> Result<Node, Vec<Problem>> {
    let file: Arc<str> = file.into();
    let top = At { file: Arc::clone(&file), line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        let what = format!("the file has {} bytes, more than {MAX_BYTES}", text.len());
        return Err(vec![top.problem("yaml-size", what, "split it: a file holds one document")]);
    }
    let mut builder = Builder { stack: Vec::new(), root: None, problems: Vec::new(), documents: 0 };
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let mark = error.marker();
                let at = At { file: Arc::clone(&file), line: mark.line(), column: mark.col() + 1 };
                builder.problems.push(refused(&at, error.info()));
                return Err(builder.problems);
            }
        };
        let at = At { file: Arc::clone(&file), line: span.start.line(), column: span.start.col() + 1 };
        if let Err(stop) = builder.event(event, at) {
            builder.problems.push(stop);
            return Err(builder.problems);
        }
    }
    match builder.root {
        Some(root) if builder.problems.is_empty() => Ok(root),
        Some(_) => Err(builder.problems),
        None => {
            builder.problems.push(top.problem("yaml-empty", "the file is empty", "delete it or fill it"));
            Err(builder.problems)
        }
    }
}

fn too_deep(at: &At) -> Problem {
    let what = format!("nested deeper than {MAX_DEPTH} levels");
    at.problem("yaml-depth", what, "no flow, mapping or lookup needs that; take levels out")
}

/// What the parser itself says. It reads ahead, and may run into its own bound of nesting before ours.
fn refused(at: &At, said: &str) -> Problem {
    if said.contains("recursion limit") {
        return too_deep(at);
    }
    at.problem("yaml-syntax", said, "the file is not valid YAML; look at brackets, quotes and indentation")
}

/// A list or map under construction; in a map, `key` waits for its value.
struct Open {
    at: At,
    map: bool,
    items: Vec<Node>,
    pairs: Vec<(Node, Node)>,
    key: Option<Node>,
}

struct Builder {
    stack: Vec<Open>,
    root: Option<Node>,
    problems: Vec<Problem>,
    documents: usize,
}

impl Builder {
    /// Takes one event. An error stops the reading; lesser problems are collected.
    fn event(&mut self, event: Event<'_>, at: At) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(at.problem("yaml-documents", "a second document", "one document per file"));
                }
                Ok(())
            }
            Event::Alias(_) => {
                Err(at.problem("yaml-alias", "an alias (`*name`)", "write the value out, or quote the text"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                Self::plain(&at, anchor, tag.is_some())?;
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let value = if null { Tree::Null } else { Tree::Scalar(text.into_owned()) };
                self.put(Node { value, at });
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => self.open(at, false, anchor, tag.is_some()),
            Event::MappingStart(anchor, tag) => self.open(at, true, anchor, tag.is_some()),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.stack.pop() {
                    let value = if open.map { Tree::Map(open.pairs) } else { Tree::Seq(open.items) };
                    self.put(Node { value, at: open.at });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn plain(at: &At, anchor: usize, tagged: bool) -> Result<(), Problem> {
        if anchor != 0 {
            return Err(at.problem(
                "yaml-anchor",
                "an anchor (`&name`)",
                "write the value out, or quote the text",
            ));
        }
        if tagged {
            let hint = "quote a text that begins with `!`, e.g. if: '!order.test'";
            return Err(at.problem("yaml-tag", "a tag (`!name`)", hint));
        }
        Ok(())
    }

    fn open(&mut self, at: At, map: bool, anchor: usize, tagged: bool) -> Result<(), Problem> {
        Self::plain(&at, anchor, tagged)?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(&at));
        }
        self.stack.push(Open { at, map, items: Vec::new(), pairs: Vec::new(), key: None });
        Ok(())
    }

    fn put(&mut self, node: Node) {
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        if !open.map {
            open.items.push(node);
            return;
        }
        let Some(key) = open.key.take() else {
            open.key = Some(node);
            return;
        };
        let Some(name) = key.as_text() else {
            self.problems.push(key.problem("yaml-key", "a key that is no text", "keys are names"));
            return;
        };
        match open.pairs.iter().find(|(k, _)| k.as_text() == Some(name)) {
            Some((first, _)) => {
                let what = format!("key `{name}` is written twice, first in line {}", first.at.line);
                self.problems.push(key.problem("duplicate-key", what, "keep one of the two"));
            }
            None => open.pairs.push((key, node)),
        }
    }
}

impl Node {
    /// A problem at this node.
    pub fn problem(&self, code: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Problem {
        self.at.problem(code, what, hint)
    }
    /// Whether it is `~`, `null` or nothing.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self.value, Tree::Null)
    }
    /// The text, where it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Tree::Scalar(text) => Some(text),
            _ => None,
        }
    }
    /// Key and value pairs; none where it is no map.
    #[must_use]
    pub fn pairs(&self) -> &[(Node, Node)] {
        match &self.value {
            Tree::Map(pairs) => pairs,
            _ => &[],
        }
    }
    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.pairs().iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, v)| v)
    }
    /// What kind of node it is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.value {
            Tree::Scalar(_) => "a text",
            Tree::Null => "nothing",
            Tree::Seq(_) => "a list",
            Tree::Map(_) => "a map",
        }
    }
    fn expected(&self, what: &str) -> Problem {
        self.problem(
            "wrong-shape",
            format!("expected {what}, found {}", self.kind()),
            format!("write {what}"),
        )
    }
    /// The text, or a problem naming what was expected.
    pub fn text(&self, expected: &str, problems: &mut Vec<Problem>) -> Option<&str> {
        let text = self.as_text();
        if text.is_none() {
            problems.push(self.expected(expected));
        }
        text
    }
    /// The pairs, or a problem naming what was expected.
    pub fn map(&self, expected: &str, problems: &mut Vec<Problem>) -> &[(Node, Node)] {
        if !matches!(self.value, Tree::Map(_)) {
            problems.push(self.expected(expected));
        }
        self.pairs()
    }
    /// A list, or a single node as a list of one; a problem where it is neither list nor text.
    pub fn list(&self, expected: &str, problems: &mut Vec<Problem>) -> &[Node] {
        match &self.value {
            Tree::Seq(items) => items,
            Tree::Scalar(_) => std::slice::from_ref(self),
            _ => {
                problems.push(self.expected(expected));
                &[]
            }
        }
    }
    /// `true` or `false`, or a problem.
    pub fn flag(&self, problems: &mut Vec<Problem>) -> bool {
        match self.as_text() {
            Some("true") => true,
            Some("false") => false,
            _ => {
                problems.push(self.expected("`true` or `false`"));
                false
            }
        }
    }
    /// Reports keys that nobody reads.
    pub fn only_keys(&self, known: &[&str], problems: &mut Vec<Problem>) {
        for (key, _) in self.pairs() {
            let name = key.as_text().unwrap_or_default();
            if !known.contains(&name) {
                let hint = crate::check::did_you_mean(name, known);
                problems.push(key.problem("unknown-key", format!("unknown key `{name}`"), hint));
            }
        }
    }

    /// The tree as JSON; places are lost.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Tree::Scalar(text) => Json::String(text.clone()),
            Tree::Null => Json::Null,
            Tree::Seq(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Tree::Map(pairs) => Json::Object(
                pairs
                    .iter()
                    .map(|(k, v)| (k.as_text().unwrap_or_default().to_owned(), v.to_json()))
                    .collect(),
            ),
        }
    }

    /// A tree from JSON made by [`Node::to_json`]; every node stands at line 0 of `file`.
    ///
    /// # Errors
    /// Nesting beyond [`MAX_DEPTH`], numbers and booleans: `to_json` writes none.
    pub fn from_json(file: &Arc<str>, json: &serde_json::Value) -> Result<Self, Problem> {
        Self::from_json_at(file, json, 0)
    }

    fn from_json_at(file: &Arc<str>, json: &serde_json::Value, depth: usize) -> Result<Self, Problem> {
        use serde_json::Value as Json;
        let at = At { file: Arc::clone(file), line: 0, column: 0 };
        if depth > MAX_DEPTH {
            return Err(at.problem("canonical", "nested too deeply", ""));
        }
        let child = |json| Self::from_json_at(file, json, depth + 1);
        let value = match json {
            Json::String(text) => Tree::Scalar(text.clone()),
            Json::Null => Tree::Null,
            Json::Array(items) => Tree::Seq(items.iter().map(child).collect::<Result<_, _>>()?),
            Json::Object(members) => Tree::Map(
                members
                    .iter()
                    .map(|(k, v)| {
                        let key = Node { value: Tree::Scalar(k.clone()), at: at.clone() };
                        child(v).map(|value| (key, value))
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Json::Bool(_) | Json::Number(_) => {
                return Err(at.problem("canonical", "a number or a flag where only text is kept", ""));
            }
        };
        Ok(Self { value, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fails(text: &str) -> Problem {
        parse("f.yaml", text).unwrap_err().remove(0)
    }

    #[test]
    fn scalars_stay_text_and_know_their_place() {
        let node =
            parse("f.yaml", "country: NO\nzip: 0123\nyes: 'null'\nnot: ~\nflow: {a: [1.0, x]}\n").unwrap();
        assert_eq!(node.get("country").unwrap().as_text(), Some("NO"));
        assert_eq!(node.get("zip").unwrap().as_text(), Some("0123"));
        assert_eq!(node.get("yes").unwrap().as_text(), Some("null"));
        assert!(node.get("not").unwrap().is_null());
        let zip = &node.get("zip").unwrap().at;
        assert_eq!((zip.line, zip.column), (2, 6));
    }

    #[test]
    fn what_is_dangerous_or_surprising_is_refused_with_its_line() {
        for (text, code, line) in [
            ("a: 1\nb: 2\na: 3\n", "duplicate-key", 3),
            ("a: &x 1\n", "yaml-anchor", 1),
            ("a: 1\nb: *x\n", "yaml-syntax", 2),
            ("a: &x 1\nb: *x\n", "yaml-anchor", 1),
            ("a: !!int 1\n", "yaml-tag", 1),
            ("a: 1\n---\nb: 2\n", "yaml-documents", 2),
            ("? [a, b]\n: 1\n", "yaml-key", 1),
            ("# nothing\n", "yaml-empty", 1),
            ("a: [1\n", "yaml-syntax", 2),
        ] {
            let problem = fails(text);
            assert_eq!((problem.code, problem.line), (code, line), "{text:?}: {problem}");
        }
        assert!(fails("a: 1\na: 2\n").what.contains("line 1"));
        assert_eq!(fails(&"x".repeat(MAX_BYTES + 1)).code, "yaml-size");
    }

    #[test]
    fn deep_nesting_is_refused_before_anything_recurses() {
        assert_eq!(fails(&"[".repeat(200)).code, "yaml-depth");
        assert_eq!(fails(&"- ".repeat(100_000)).code, "yaml-depth");
        assert_eq!(fails(&"{a: ".repeat(50_000)).code, "yaml-depth");
        assert_eq!(fails(&"[".repeat(2_000)).code, "yaml-depth");
    }

    #[test]
    fn accessors_name_what_they_expected() {
        let node = parse("f.yaml", "a: [1]\n").unwrap();
        let mut problems = Vec::new();
        assert_eq!(node.get("a").unwrap().text("the name of a step", &mut problems), None);
        assert_eq!(problems[0].what, "expected the name of a step, found a list");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
            let _ = parse("f", &text);
        }
        #[test]
        fn arbitrary_yaml_like_text_never_panics(text in "[a-c:\\-\\[\\]{},&*!|>'\"#%@? \n\t\r~0]{0,120}") {
            if let Ok(node) = parse("f", &text) {
                let json = node.to_json();
                prop_assert_eq!(Node::from_json(&"f".into(), &json).unwrap().to_json(), json);
            }
        }
    }
}
