//! What is wrong with a flow, a mapping or a lookup, and where: `file:line:column: error[code]: what`.
//!
//! Checking goes on after the first problem, so that one run shows a merchant's engineer all of them.

use std::fmt;
use std::sync::Arc;

/// A place in a file. Lines and columns count from 1; line 0 means the whole file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The file as the caller named it.
    pub file: Arc<str>,
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl At {
    /// A place.
    #[must_use]
    pub fn new(file: &str, line: usize, column: usize) -> Self {
        Self { file: file.into(), line, column }
    }
    /// A problem at this place.
    pub fn problem(&self, code: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            code,
            what: what.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// Stable code, e.g. `unknown-field`.
    pub code: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: error[{}]: {}", self.file, self.line, self.column, self.code, self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  hint: {}", self.hint) }
    }
}

impl std::error::Error for Problem {}

/// Sorts problems by place and drops repetitions.
#[must_use]
pub fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| (&a.file, a.line, a.column, a.code).cmp(&(&b.file, b.line, b.column, b.code)));
    problems.dedup();
    problems
}

/// A hint for a name nobody knows: the nearest known one, else all of them.
pub fn did_you_mean<S: AsRef<str>>(word: &str, known: impl IntoIterator<Item = S>) -> String {
    let known: Vec<S> = known.into_iter().collect();
    let reach = word.chars().count().min(64).div_ceil(3);
    let nearest = known
        .iter()
        .map(|k| (distance(word, k.as_ref()), k.as_ref()))
        .filter(|(d, _)| *d <= reach.clamp(1, 4))
        .min_by_key(|(d, _)| *d);
    match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "there is none to choose from".to_owned(),
        None => {
            let mut names: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
            names.sort_unstable();
            names.dedup();
            let more = names.len().saturating_sub(24);
            names.truncate(24);
            let tail = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("known: {}{tail}", names.join(", "))
        }
    }
}

/// Levenshtein distance, ignoring ASCII case; only the first 64 characters count.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        let mut next = vec![left];
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            let change = diagonal + usize::from(!from.eq_ignore_ascii_case(to));
            left = change.min(*above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("ORDER", "order"), 0);
    }

    #[test]
    fn the_nearest_name_is_offered_else_all_are_listed() {
        assert_eq!(did_you_mean("toatl", ["total", "tax"]), "did you mean `total`?");
        assert_eq!(did_you_mean("zzzzzz", ["total", "tax"]), "known: tax, total");
    }

    #[test]
    fn a_problem_reads_like_a_compiler_message() {
        let problem = At::new("a.yaml", 3, 7).problem("unknown-field", "no field `x`", "did you mean `y`?");
        assert_eq!(
            problem.to_string(),
            "a.yaml:3:7: error[unknown-field]: no field `x`\n  hint: did you mean `y`?"
        );
    }
}
