//! Which booking pays which batch.

use std::collections::BTreeMap;

use tillway_core::settle::{Batch, Day, Funding};

use super::BankLine;

/// A batch that waits for its money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The batch.
    pub batch: Batch,
    /// Net of its lines, minor units.
    pub net: i64,
    /// When it was submitted.
    pub day: Day,
}

/// A batch with the money it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The batch, funded.
    pub batch: Batch,
    /// The booking that pays it.
    pub line: Box<str>,
    /// What the bank got less the net of its lines: fees that were kept back, say. Never but where the booking
    /// names the batch.
    pub difference: i64,
    /// Whether the booking names it; else it has its amount alone.
    pub named: bool,
}

/// A booking that names a batch pays it where no more than one part in so many is missing, or too much: fees are that; what is
/// more may be an instalment.
const KEPT_BACK: i128 = 10;

/// A booking that pays no batch for sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclosed {
    /// The booking.
    pub line: Box<str>,
    /// Batches it could pay; none: no batch waits for such an amount.
    pub candidates: Vec<Box<str>>,
}

/// Finds the booking of each batch: the one that names it, goes the same way and has about its amount, else the one booking
/// of its amount within `window` days after it was submitted, where that booking could pay no other batch. What several
/// could be stays open on both sides.
#[must_use]
pub fn close(waiting: &[Waiting], lines: &[BankLine], window: i32) -> (Vec<Closing>, Vec<Unclosed>) {
    let mut left: BTreeMap<&str, &Waiting> = waiting.iter().map(|w| (w.batch.id.as_ref(), w)).collect();
    let mut closed = Vec::new();
    let in_time = |w: &Waiting, line: &BankLine| {
        w.batch.currency == line.amount.currency && (0..=window).contains(&line.day.since(w.day))
    };
    // What takes money back, a returned payout say, pays nothing.
    let same_way = |w: &Waiting, line: &BankLine| w.net.signum() == line.amount.minor.signum();
    let about = |w: &Waiting, line: &BankLine| {
        let (net, got) = (i128::from(w.net), i128::from(line.amount.minor));
        (net - got).abs() * KEPT_BACK <= net.abs()
    };
    let naming: Vec<(&BankLine, Vec<&str>)> = lines
        .iter()
        .map(|line| {
            let named = left.keys().copied().filter(|id| names(&line.text, id));
            (line, named.collect())
        })
        .collect();
    let mut by_amount = Vec::new();
    let mut open = Vec::new();
    for (line, named) in &naming {
        match named.as_slice() {
            [] => by_amount.push(*line),
            [id] if naming.iter().filter(|(_, other)| other.contains(id)).count() == 1 => {
                match left
                    .get(id)
                    .copied()
                    .filter(|w| in_time(w, line) && same_way(w, line) && about(w, line))
                {
                    Some(w) => {
                        left.remove(id);
                        closed.push(paid(w, line, true));
                    }
                    None => open.push(unclosed(line, named)),
                }
            }
            _ => open.push(unclosed(line, named)),
        }
    }
    let fits = |w: &Waiting, line: &BankLine| w.net == line.amount.minor && in_time(w, line);
    let mut found = Vec::new();
    for line in &by_amount {
        let candidates: Vec<&str> = left.iter().filter(|(_, w)| fits(w, line)).map(|(id, _)| *id).collect();
        let only = match candidates.as_slice() {
            [id] => left.get(id).copied().filter(|w| by_amount.iter().filter(|l| fits(w, l)).count() == 1),
            _ => None,
        };
        match only {
            Some(w) => found.push(paid(w, line, false)),
            None => open.push(unclosed(line, &candidates)),
        }
    }
    closed.extend(found);
    closed.sort_by(|a, b| a.batch.id.cmp(&b.batch.id));
    open.sort_by(|a, b| a.line.cmp(&b.line));
    (closed, open)
}

fn unclosed(line: &BankLine, candidates: &[&str]) -> Unclosed {
    Unclosed { line: line.id.clone(), candidates: candidates.iter().map(|id| (*id).into()).collect() }
}

fn paid(waiting: &Waiting, line: &BankLine, named: bool) -> Closing {
    let funding = Funding::Funded { payout: line.amount.minor, day: line.day };
    Closing {
        batch: Batch { funding, ..waiting.batch.clone() },
        line: line.id.clone(),
        difference: line.amount.minor.saturating_sub(waiting.net),
        named,
    }
}

/// Whether a text names a batch: its id stands there as a word, not as part of a longer one.
fn names(text: &str, id: &str) -> bool {
    // What stands behind `@` in an id is ours: the gateway's own id is before it.
    let id = id.split('@').next().unwrap_or(id);
    let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    id.len() >= 6
        && text.match_indices(id).any(|(at, _)| {
            let before = text.get(..at).and_then(|t| t.chars().next_back());
            let after = text.get(at.saturating_add(id.len())..).and_then(|t| t.chars().next());
            !inside(before) && !inside(after)
        })
}
