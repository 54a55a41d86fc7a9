//! The report's lines as CSV (RFC 4180), matched ones too: a row for each line, then one for each expectation that stays
//! open.
//!
//! The file is opened in a spreadsheet, and its texts come from outside: a text that a spreadsheet would take for a
//! formula gets an apostrophe before it. Amounts are ours and decimal with a point, in major units.

use std::collections::BTreeSet;

use super::input::{Fate, Index, Input};
use super::text::{sentence, shown};
use crate::ids::ConnectionName;
use crate::money::Money;
use crate::settle::accepted::BY_PERSON;
use crate::settle::line::{Card, Expected, Ids, SettlementLine};
use crate::settle::outcome::Class;

/// The names of the columns; new ones are added at the end.
pub const COLUMNS: [&str; 26] = [
    "row",
    "status",
    "class",
    "connection",
    "batch",
    "id",
    "kind",
    "day",
    "currency",
    "gross",
    "fee",
    "fee_tax",
    "net",
    "presentment_currency",
    "presentment",
    "card_brand",
    "card_last4",
    "reference",
    "own_id",
    "parent_id",
    "payment_id",
    "matched_by",
    "matched_with",
    "tolerance",
    "account",
    "certificate",
];

/// The first row.
pub fn head(out: &mut String) {
    let mut row = Row::new(out);
    for column in COLUMNS {
        row.ours(column);
    }
    row.end();
}

/// The row of a line; `classes` say what is wrong with it.
pub fn line(
    out: &mut String,
    connection: &ConnectionName,
    line: &SettlementLine,
    fate: Fate<'_>,
    classes: &BTreeSet<Class>,
) {
    let money = |minor: i64| Money::new(minor, line.currency).to_major().to_string();
    let mut row = Row::new(out);
    row.ours("line");
    row.ours(match fate {
        Fate::Matched(_) => "matched",
        Fate::Explained(_) => "explained",
        Fate::Open => "open",
    });
    row.ours(&codes(classes));
    row.text(connection.as_str());
    row.text(&line.batch);
    row.text(&line.id);
    row.ours(line.kind.name());
    row.ours(&line.day.to_string());
    row.ours(line.currency.code());
    for minor in [line.gross, line.fee, line.fee_tax, line.net] {
        row.ours(&money(minor));
    }
    row.ours(line.presentment.map_or("", |m| m.currency.code()));
    row.ours(&line.presentment.map_or(String::new(), |m| m.to_major().to_string()));
    row.names(line.card.as_ref(), line.reference.as_deref(), &line.ids);
    match fate {
        Fate::Matched(certificate) => {
            let group = &certificate.group;
            row.ours(group.tier.name());
            row.texts(&group.expected);
            row.text(group.tolerance.as_deref().unwrap_or_default());
            row.ours("");
            row.text(&certificate.hash);
        }
        Fate::Explained(explained) => {
            row.ours(if explained.rule.as_ref() == BY_PERSON { "person" } else { "rule" });
            row.text(&explained.rule);
            row.ours("");
            row.ours(explained.account.name());
            row.ours("");
        }
        Fate::Open => row.blank(5),
    }
    row.end();
}

/// The row of something noticed: its code as the status, and what is said of it as the reference.
pub fn notice(out: &mut String, connection: &ConnectionName, code: &str, text: &str) {
    let mut row = Row::new(out);
    row.ours("notice");
    row.ours(code);
    row.ours("");
    row.text(connection.as_str());
    row.blank(13);
    row.field(&sentence(text));
    row.blank(8);
    row.end();
}

/// Codes of classes, with a blank between.
fn codes(classes: &BTreeSet<Class>) -> String {
    classes.iter().map(|class| class.code()).collect::<Vec<_>>().join(" ")
}

/// The row of an expectation that stays open; `classes` where it is more than awaited.
pub fn awaited(
    out: &mut String,
    connection: &ConnectionName,
    expected: &Expected,
    classes: &BTreeSet<Class>,
) {
    let mut row = Row::new(out);
    row.ours("expected");
    row.ours(if classes.is_empty() { "awaited" } else { "open" });
    row.ours(&codes(classes));
    row.text(connection.as_str());
    row.ours("");
    row.text(&expected.id);
    row.ours(expected.kind.name());
    row.ours(&expected.due.to_string());
    row.ours(expected.currency.code());
    row.ours(&Money::new(expected.amount, expected.currency).to_major().to_string());
    row.ours(&Money::new(expected.booked_fee, expected.currency).to_major().to_string());
    row.blank(4);
    row.names(expected.card.as_ref(), expected.reference.as_deref(), &expected.ids);
    row.blank(5);
    row.end();
}

/// The whole table of what is in memory.
#[must_use]
pub fn table(input: &Input<'_>) -> String {
    let mut out = String::new();
    head(&mut out);
    let index: Index<'_> = input.index();
    for item in input.own_lines() {
        line(&mut out, input.connection, item, index.fate(&item.id), &index.classes(&item.id).collect());
    }
    let open: BTreeSet<&str> = input.outcome.open_expected.iter().map(AsRef::as_ref).collect();
    let mut rest: Vec<&Expected> = input.expected.iter().filter(|e| open.contains(e.id.as_ref())).collect();
    rest.sort_by(|a, b| a.id.cmp(&b.id));
    rest.dedup_by(|a, b| a.id == b.id);
    for item in rest {
        awaited(&mut out, input.connection, item, &index.classes(&item.id).collect());
    }
    out
}

/// A text from outside as a field, for other tables.
#[must_use]
pub fn cell(text: &str) -> String {
    let mut out = String::new();
    Row::new(&mut out).text(text);
    out
}

struct Row<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> Row<'o> {
    const fn new(out: &'o mut String) -> Self {
        Self { out, first: true }
    }

    /// A field of ours, which holds nothing to be quoted.
    fn ours(&mut self, field: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.out.push_str(field);
    }

    fn blank(&mut self, fields: usize) {
        for _ in 0..fields {
            self.ours("");
        }
    }

    /// A field from outside.
    fn text(&mut self, text: &str) {
        self.field(&shown(text));
    }

    fn texts(&mut self, texts: &[Box<str>]) {
        let texts: Vec<String> = texts.iter().map(|t| shown(t)).collect();
        self.field(&texts.join(" "));
    }

    fn field(&mut self, text: &str) {
        let formula = |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
        let guard = if text.trim_start().starts_with(formula) { "'" } else { "" };
        self.ours("");
        if text.contains([',', '"', ';', '\'', '|', ' ']) || !guard.is_empty() {
            self.out.push('"');
            self.out.push_str(guard);
            self.out.push_str(&text.replace('"', "\"\""));
            self.out.push('"');
        } else {
            self.out.push_str(text);
        }
    }

    fn names(&mut self, card: Option<&Card>, reference: Option<&str>, ids: &Ids) {
        let last4 = card.map_or(String::new(), |c| {
            let digits: Vec<char> = c.last4.chars().rev().take(4).collect();
            digits.into_iter().rev().collect()
        });
        self.text(card.map_or("", |c| &c.brand));
        self.text(&last4);
        self.text(reference.unwrap_or_default());
        for id in [&ids.own, &ids.parent, &ids.payment] {
            self.text(id.as_deref().unwrap_or_default());
        }
    }

    fn end(self) {
        self.out.push_str("\r\n");
    }
}
