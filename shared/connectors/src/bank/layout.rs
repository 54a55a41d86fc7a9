//! How an account's statement is written, as data: a YAML document, checked when it is loaded.
//!
//! ```yaml
//! bank: main
//! format: csv                            # or camt053
//! account: DE02120300000000202051        # IBAN or number; of a CSV file checked where a column names it
//! currency: EUR
//! ours: [CYBERSOURCE, ACME ACQUIRING]    # a booking with one of these in its text is the gateway's
//! delimiter: ";"
//! encoding: utf-8                        # or latin-1
//! decimal: comma                         # 1.234,56; `point` is 1,234.56
//! dates: DD.MM.YYYY                      # or YYYY-MM-DD, DD/MM/YYYY, MM/DD/YYYY, YYYYMMDD
//! before: 5                              # records that may stand before the header
//! columns:                               # names as the bank has them; text may have several
//!   date: Valuta
//!   amount: Betrag                       # signed; or credit: and debit:, each without a sign
//!   currency: Währung                    # optional, as are id, account and balance
//!   id: Referenz
//!   account: IBAN
//!   balance: Saldo                       # after the booking: shows that no booking is missing
//!   text: [Verwendungszweck, Auftraggeber]
//! ```

use tillway_core::check::{Problem, sorted};
use tillway_core::money::Currency;
use tillway_core::yaml::{self, Node};

/// What a statement is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated, in columns the layout names.
    Csv,
    /// ISO 20022.
    Camt053,
}

/// How days are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dates {
    Iso,
    Dots,
    DayFirst,
    MonthFirst,
    Packed,
}

/// Names of the columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) date: String,
    pub(super) amount: Option<String>,
    pub(super) credit: Option<String>,
    pub(super) debit: Option<String>,
    pub(super) currency: Option<String>,
    pub(super) id: Option<String>,
    pub(super) account: Option<String>,
    pub(super) balance: Option<String>,
    pub(super) text: Vec<String>,
}

/// How an account's statement is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Its name.
    pub name: String,
    /// What it is written in.
    pub format: Format,
    /// The account, without blanks.
    pub account: String,
    /// The account's currency.
    pub currency: Currency,
    pub(super) ours: Vec<String>,
    pub(super) delimiter: u8,
    pub(super) latin1: bool,
    pub(super) comma: bool,
    pub(super) dates: Dates,
    pub(super) before: usize,
    pub(super) columns: Columns,
}

const KEYS: [&str; 11] = [
    "bank",
    "format",
    "account",
    "currency",
    "ours",
    "delimiter",
    "encoding",
    "decimal",
    "dates",
    "before",
    "columns",
];
const COLUMNS: [&str; 9] =
    ["date", "amount", "credit", "debit", "currency", "id", "account", "balance", "text"];

impl Layout {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// Every problem found, by place, with a hint.
    pub fn load(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let node = yaml::parse(file, text)?;
        let mut problems = Vec::new();
        let layout = Self::of(&node, &mut problems);
        match layout {
            Some(layout) if problems.is_empty() => Ok(layout),
            _ => Err(sorted(problems)),
        }
    }

    /// The same of a part of a document. It holds where no problem was added.
    #[must_use]
    pub fn of(node: &Node, out: &mut Vec<Problem>) -> Option<Self> {
        node.map("a map", out);
        node.only_keys(&KEYS, out);
        let name = needed(node, "bank", "name it: `bank: main`", out);
        let account = needed(node, "account", "the IBAN or number of the account", out);
        let code = needed(node, "currency", "the account's currency, e.g. `currency: EUR`", out);
        let format = match choice(node, "format", &["csv", "camt053"], out) {
            1 => Format::Camt053,
            _ => Format::Csv,
        };
        let currency = code.and_then(|(text, at)| match Currency::parse(&text) {
            Ok(currency) => Some(currency),
            Err(e) => {
                out.push(at.problem("bad-currency", e.to_string(), "an ISO 4217 code such as EUR"));
                None
            }
        });
        let ours = texts(node, "ours", out);
        if ours.is_empty() {
            let hint = "the words by which the gateway's bookings are known: `ours: [CYBERSOURCE]`";
            out.push(node.problem("missing-key", "no `ours`", hint));
        }
        let delimiter = match node.get("delimiter").and_then(|n| n.text("one character", out)) {
            Some("tab") => b'\t',
            Some(text) if text.len() == 1 && !text.starts_with(['"', '\r', '\n']) => {
                text.bytes().next().unwrap_or(b',')
            }
            Some(_) => {
                out.push(node.problem(
                    "bad-delimiter",
                    "`delimiter` is no single character",
                    "`;`, `,` or `tab`",
                ));
                b','
            }
            None => b',',
        };
        let dates = [Dates::Iso, Dates::Dots, Dates::DayFirst, Dates::MonthFirst, Dates::Packed];
        let names = ["YYYY-MM-DD", "DD.MM.YYYY", "DD/MM/YYYY", "MM/DD/YYYY", "YYYYMMDD"];
        let dates = dates.get(choice(node, "dates", &names, out)).copied().unwrap_or(Dates::Iso);
        let before = node.get("before").and_then(|n| n.text("a number up to 30", out)).map_or(0, |text| {
            text.parse().ok().filter(|n| *n <= 30).unwrap_or_else(|| {
                out.push(node.problem(
                    "bad-number",
                    "`before` is no number up to 30",
                    "records before the header",
                ));
                0
            })
        });
        let columns = columns(node, format, out);
        Some(Self {
            name: name?.0,
            format,
            account: plain(&account?.0),
            currency: currency?,
            ours: ours.iter().map(|t| t.to_lowercase()).collect(),
            delimiter,
            latin1: choice(node, "encoding", &["utf-8", "latin-1"], out) == 1,
            comma: choice(node, "decimal", &["point", "comma"], out) == 1,
            dates,
            before,
            columns,
        })
    }

    /// Whether a booking of this text is the gateway's.
    pub(super) fn is_ours(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.ours.iter().any(|word| text.contains(word.as_str()))
    }
    /// Whether an account in the file is this one.
    pub(super) fn is_account(&self, found: &str) -> bool {
        plain(found).eq_ignore_ascii_case(&self.account)
    }
}

fn plain(account: &str) -> String {
    account.chars().filter(|c| !c.is_whitespace()).collect()
}

fn columns(node: &Node, format: Format, out: &mut Vec<Problem>) -> Columns {
    let Some(columns) = node.get("columns") else {
        if format == Format::Csv {
            let hint = "name the bank's columns: `columns: {date: …, amount: …, text: […]}`";
            out.push(node.problem("missing-key", "no `columns`", hint));
        }
        return Columns::default();
    };
    if format != Format::Csv {
        out.push(columns.problem("unknown-key", "`columns` is for `format: csv`", "take it out"));
        return Columns::default();
    }
    columns.map("a map from column to the bank's name of it", out);
    columns.only_keys(&COLUMNS, out);
    let date = needed(columns, "date", "the column of the value date", out).map(|(text, _)| text);
    let mut one =
        |key: &str| columns.get(key).and_then(|n| n.text("a column's name", out)).map(str::to_owned);
    let (amount, credit, debit) = (one("amount"), one("credit"), one("debit"));
    let (currency, id, account, balance) = (one("currency"), one("id"), one("account"), one("balance"));
    let two = credit.is_some() && debit.is_some();
    if amount.is_some() == two || (amount.is_some() && (credit.is_some() || debit.is_some())) {
        let hint = "give `amount`, or `credit` and `debit`";
        out.push(columns.problem("missing-key", "no column of amounts, or too many", hint));
    }
    let text = texts(columns, "text", out);
    if text.is_empty() {
        let hint = "the columns that tell whose booking it is: `text: [Purpose, Payer]`";
        out.push(columns.problem("missing-key", "no `text`", hint));
    }
    Columns { date: date.unwrap_or_default(), amount, credit, debit, currency, id, account, balance, text }
}

/// A text that has to be there, with its place.
fn needed(node: &Node, key: &str, hint: &str, out: &mut Vec<Problem>) -> Option<(String, Node)> {
    let Some(found) = node.get(key) else {
        out.push(node.problem("missing-key", format!("no `{key}`"), hint));
        return None;
    };
    found.text("a text", out).filter(|t| !t.trim().is_empty()).map(|t| (t.trim().to_owned(), found.clone()))
}

/// The number of the chosen word; the first where none is given.
fn choice(node: &Node, key: &str, words: &[&str], out: &mut Vec<Problem>) -> usize {
    let Some(found) = node.get(key) else { return 0 };
    let text = found.text("a word", out).unwrap_or_default();
    words.iter().position(|w| w.eq_ignore_ascii_case(text)).unwrap_or_else(|| {
        out.push(found.problem("unknown-word", format!("`{key}` is no such word"), words.join(", ")));
        0
    })
}

/// One text or a list of them.
fn texts(node: &Node, key: &str, out: &mut Vec<Problem>) -> Vec<String> {
    let Some(found) = node.get(key) else { return Vec::new() };
    let list = match found.as_text() {
        Some(text) => vec![text],
        None => found
            .list("a text, or a list of texts", out)
            .iter()
            .filter_map(|n| n.text("a text", out))
            .collect(),
    };
    list.into_iter().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
}
