//! Lookups: tables from one text to another, kept as data.
//!
//! A lookup from an enumeration of the vocabulary is total over it, which is checked when it is loaded.
//! A lookup from free text may have a `default`; without one, a text it does not list is an error.

use std::collections::BTreeMap;

use crate::bundle::Vocabulary;
use crate::check::{At, Problem, did_you_mean};
use crate::yaml::Node;

/// A table.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Its name.
    pub name: String,
    /// The enumeration it is total over; `None` for free text.
    pub from: Option<&'static str>,
    /// The enumeration its values belong to, where it declares one.
    pub to: Option<&'static str>,
    /// Whether the case of what is looked up is ignored.
    pub ignore_case: bool,
    /// Where it stands.
    pub at: At,
    values: BTreeMap<String, String>,
    default: Option<String>,
}

/// Lookups by name.
pub type Lookups = BTreeMap<String, Lookup>;

impl Lookup {
    /// What a text stands for; `None` where the table does not say.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<&str> {
        let found = self.values.get(text).or_else(|| self.values.get(&self.key(text)));
        found.or(self.default.as_ref()).map(String::as_str)
    }

    fn key(&self, text: &str) -> String {
        if self.ignore_case { text.trim().to_lowercase() } else { text.to_owned() }
    }

    /// Reads and checks a lookup document.
    pub(crate) fn compile(name: &str, node: &Node, vocab: &Vocabulary, problems: &mut Vec<Problem>) -> Self {
        node.only_keys(&["lookup", "about", "from", "to", "values", "default", "ignore-case"], problems);
        let mut lookup = Self {
            name: name.to_owned(),
            from: None,
            to: None,
            ignore_case: node.get("ignore-case").is_some_and(|n| n.flag(problems)),
            at: node.at.clone(),
            values: BTreeMap::new(),
            default: None,
        };
        let mut enumeration = |key: &str, free: bool| -> Option<(&'static str, &'static [&'static str])> {
            let node = node.get(key)?;
            let text = node.text("the name of an enumeration", problems)?;
            if free && text == "text" {
                return None;
            }
            let found = vocab.enumeration(text);
            if found.is_none() {
                let known = vocab.enums.iter().map(|(n, _)| *n).chain(free.then_some("text"));
                let what = format!("unknown enumeration `{text}`");
                problems.push(node.problem("unknown-enumeration", what, did_you_mean(text, known)));
            }
            found
        };
        let from = enumeration("from", true);
        let to = enumeration("to", false);
        if node.get("from").is_none() {
            let hint = "write `from: text`, or the name of the enumeration it is total over";
            problems.push(node.problem("missing-key", format!("lookup `{name}` has no `from`"), hint));
        }
        lookup.from = from.map(|(name, _)| name);
        lookup.to = to.map(|(name, _)| name);
        let is_target = |node: &Node, text: &str, problems: &mut Vec<Problem>| {
            if let Some((name, members)) = to.filter(|(_, members)| !members.contains(&text)) {
                let what = format!("`{text}` is no {name}");
                problems.push(node.problem("unknown-member", what, did_you_mean(text, members)));
            }
        };
        let Some(values) = node.get("values") else {
            problems.push(node.problem(
                "missing-key",
                format!("lookup `{name}` has no `values`"),
                "add `values:`",
            ));
            return lookup;
        };
        for (key, value) in values.map("a map from text to text", problems) {
            let (Some(from_text), Some(to_text)) = (key.as_text(), value.text("a text", problems)) else {
                continue;
            };
            if let Some((name, members)) = from.filter(|(_, members)| !members.contains(&from_text)) {
                let what = format!("`{from_text}` is no {name}");
                problems.push(key.problem("unknown-member", what, did_you_mean(from_text, members)));
            }
            is_target(value, to_text, problems);
            let folded = lookup.key(from_text);
            if lookup.values.insert(folded, to_text.to_owned()).is_some() {
                let what = format!("`{from_text}` is listed twice when case is ignored");
                problems.push(key.problem("duplicate-value", what, "keep one of the two"));
            }
        }
        let missing: Vec<&str> = from
            .map(|(_, members)| members.iter().filter(|m| !lookup.values.contains_key(&lookup.key(m))))
            .into_iter()
            .flatten()
            .copied()
            .collect();
        if !missing.is_empty() {
            let what = format!("lookup `{name}` has no value for {}", missing.join(", "));
            problems.push(values.problem("lookup-not-total", what, "every member needs one"));
        }
        if let Some(default) = node.get("default") {
            match (from, default.text("a text", problems)) {
                (Some((enumeration, _)), _) => {
                    let what = format!("`default` in a lookup that is total over {enumeration}");
                    problems.push(default.problem(
                        "lookup-default",
                        what,
                        "leave it out, or write `from: text`",
                    ));
                }
                (None, Some(text)) => {
                    is_target(default, text, problems);
                    lookup.default = Some(text.to_owned());
                }
                (None, None) => {}
            }
        }
        lookup
    }
}
