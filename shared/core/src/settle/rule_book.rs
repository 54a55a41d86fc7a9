//! The rules a batch was settled by.
//!
//! A merchant may change rules while items of a batch are open. What is matched by then stands under the rules it was matched
//! by: they are kept with the batch, and each line knows which were its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rules::Rules;

/// The rules of a batch, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleBook {
    first: Rules,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    later: Vec<Rules>,
    /// Lines that were matched or explained under later ones, with the place of these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lines: BTreeMap<Box<str>, usize>,
}

impl RuleBook {
    /// Of a batch that is settled for the first time.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self { first: rules.clone(), later: Vec::new(), lines: BTreeMap::new() }
    }

    /// With what is matched or explained now, of these lines, by these rules.
    #[must_use]
    pub fn and<'a>(mut self, rules: &Rules, lines: impl Iterator<Item = &'a Box<str>>) -> Self {
        if *self.newest() != *rules {
            self.later.push(rules.clone());
        }
        if let Some(place) = self.later.len().checked_sub(1) {
            self.lines.extend(lines.map(|line| (line.clone(), place)));
        }
        self
    }

    /// The rules of a line.
    #[must_use]
    pub fn of(&self, line: &str) -> &Rules {
        self.lines.get(line).and_then(|place| self.later.get(*place)).unwrap_or(&self.first)
    }

    /// Those the batch was first settled by: what is open is booked by them.
    #[must_use]
    pub const fn first(&self) -> &Rules {
        &self.first
    }

    fn newest(&self) -> &Rules {
        self.later.last().unwrap_or(&self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_keeps_the_rules_it_was_matched_by() {
        let rules = |name: &str| Rules { name: name.to_owned(), ..Rules::default() };
        let line = |id: &str| Box::<str>::from(id);
        let book = RuleBook::new(&rules("a")).and(&rules("a"), [line("1")].iter());
        let book = book.and(&rules("b"), [line("2")].iter()).and(&rules("b"), [line("3")].iter());
        let book = book.and(&rules("a"), [line("4")].iter());
        let names = ["1", "2", "3", "4", "5"].map(|id| book.of(id).name.as_str());
        assert_eq!(names, ["a", "b", "b", "a", "a"]);
        assert_eq!((book.first().name.as_str(), book.later.len()), ("a", 2));
        let json = serde_json::to_string(&book).unwrap();
        assert_eq!(serde_json::from_str::<RuleBook>(&json).unwrap(), book);
    }
}
