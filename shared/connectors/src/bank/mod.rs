//! The bank's statement: what closes a batch of which the gateway only said that it was submitted.
//!
//! A statement comes as camt.053 (ISO 20022), or as a CSV file whose columns a document names ([`Layout`]). It gives
//! [`BankLine`]s; [`close`] tells which of them pay which batch, and guesses nothing: a line pays the one batch it names,
//! else the one batch of its amount in the days it may take. What several could be stays open.

mod camt;
mod close;
mod csv;
mod layout;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use tillway_core::ids::digest;
use tillway_core::money::Money;
use tillway_core::settle::Day;

pub use close::{Closing, Unclosed, Waiting, close};
pub use layout::{Format, Layout};

use crate::settlement::{Ending, FileFault, values};

/// Longest text kept of a booking.
const MAX_TEXT: usize = 2_000;
/// Most bookings of one statement that are the gateway's.
const MAX_LINES: usize = 100_000;

/// One booking of the bank's.
#[derive(Clone, PartialEq, Eq)]
pub struct BankLine {
    /// The bank's id of it, else one made of what it says.
    pub id: Box<str>,
    /// The day the money was there (value date), else the day it was booked.
    pub day: Day,
    /// Signed: a credit is positive.
    pub amount: Money,
    /// What stands beside it: references and purpose. It may name people, so it is never shown.
    pub text: Box<str>,
}

impl fmt::Debug for BankLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {}", self.id, self.day, self.amount)
    }
}

/// A statement, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BankStatement {
    /// The bookings that are the gateway's by the layout's `ours`.
    pub lines: Vec<BankLine>,
    /// Bookings of others and what is not booked yet.
    pub others: u64,
    /// SHA-256 of the bytes, hexadecimal.
    pub digest: String,
    /// Bytes.
    pub bytes: u64,
    /// Whether the file shows its own end, as its last tag does.
    pub ending: Ending,
}

impl BankStatement {
    /// Whether all of it is there; `bytes` is its size as announced with it.
    ///
    /// # Errors
    /// `truncated`, `unproven`.
    pub fn prove(&self, bytes: Option<u64>) -> Result<(), FileFault> {
        match bytes {
            Some(bytes) if bytes != self.bytes => {
                Err(FileFault::cut(&format!("has {} of {bytes} bytes", self.bytes)))
            }
            Some(_) => Ok(()),
            None if self.ending == Ending::Closed => Ok(()),
            None => {
                let what = "nothing says that all of it is here: give its size as the bank has it, or fetch the statement as \
                            camt.053, which tells its own end; nothing of it was used";
                Err(FileFault::of_file("unproven", what))
            }
        }
    }
}

/// Reads a statement of the layout's account.
///
/// # Errors
/// The first fault; nothing is used then.
pub fn read(layout: &Layout, bytes: impl Read) -> Result<BankStatement, FileFault> {
    match layout.format {
        Format::Csv => csv::read(layout, bytes),
        Format::Camt053 => camt::read(layout, bytes),
    }
}

/// What banks write where they have no reference.
fn is_placeholder(reference: &str) -> bool {
    ["NONREF", "NOTPROVIDED", "NOREF", "NONE"].iter().any(|word| word.eq_ignore_ascii_case(reference.trim()))
}

/// A booking as a file has it.
struct Booked<'a> {
    day: Day,
    amount: Money,
    text: String,
    /// The bank's id and the field it stands in.
    id: Option<(&'a str, &'a str)>,
}

/// Bookings as they are collected.
struct Collected<'a> {
    layout: &'a Layout,
    lines: Vec<BankLine>,
    others: u64,
    /// How often a name was made up.
    made_up: BTreeMap<String, u64>,
}

impl<'a> Collected<'a> {
    const fn new(layout: &'a Layout) -> Self {
        Self { layout, lines: Vec::new(), others: 0, made_up: BTreeMap::new() }
    }
    fn take(&mut self, booked: Booked<'_>) -> Result<(), FileFault> {
        let Booked { day, amount, text, id } = booked;
        if amount.currency != self.layout.currency {
            let what = format!(
                "a booking in {} on an account in {}; is it another account's statement?",
                amount.currency, self.layout.currency
            );
            return Err(FileFault::new("mixed_currencies", "currency", what));
        }
        // Others' bookings are left out, whatever they are called.
        if !self.layout.is_ours(&text) {
            return self.leave();
        }
        let id = match id.filter(|(_, id)| !is_placeholder(id)) {
            Some((field, id)) => {
                values::id(field, id)?;
                id.to_owned()
            }
            None => self.made_up(day, amount.minor, &text),
        };
        if self.lines.iter().rev().take(1_000).any(|known| *known.id == *id) {
            let what = "comes twice in the statement; fetch it again";
            return Err(FileFault::new("duplicate_line", "id", what));
        }
        if self.lines.len() >= MAX_LINES {
            let what = format!("more than {MAX_LINES} bookings of the gateway; say in `ours` which are");
            return Err(FileFault::new("too_many_lines", "text", what));
        }
        let text = text.chars().take(MAX_TEXT).collect::<String>();
        self.lines.push(BankLine { id: id.into(), day, amount, text: text.into() });
        Ok(())
    }
    /// A name for a booking that has none: the same in whatever statement it comes, however long that is.
    fn made_up(&mut self, day: Day, amount: i64, text: &str) -> String {
        let name = digest(&[&amount.to_string(), text]);
        let n = self.made_up.entry(format!("{day}:{name}")).or_default();
        *n = n.saturating_add(1);
        // Of the second one and those after it, which one it is.
        let name = if *n == 1 { name } else { digest(&[&name, &n.to_string()]) };
        format!("{}:{day}:{name}", self.layout.name)
    }
    fn leave(&mut self) -> Result<(), FileFault> {
        self.others = self.others.saturating_add(1);
        Ok(())
    }
}
