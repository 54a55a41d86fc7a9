//! What is wrong with a file of a gateway or a bank. The first fault ends the reading; what was read before it
//! counts for nothing.

use std::io;

use tillway_core::money::{MoneyError, shape};

use super::source::Trouble;

/// What is wrong, where, and what to do. Shapes, never contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: `{field}`{}: {what}", line.map(|n| format!(" in line {n}")).unwrap_or_default())]
pub struct FileFault {
    /// Stable code: `truncated`, `wrong_merchant`, `wrong_date`, `mixed_currencies`, `bad_number`, `no_id`,
    /// `duplicate_header`, `unknown_header`, `overflow`, …
    pub code: &'static str,
    /// Member, column or element at fault, in the words of the file's owner; `file` for the whole of it.
    pub field: String,
    /// Line of the file, from 1; where a record spans several, its first.
    pub line: Option<u64>,
    /// What is wrong and what to do.
    pub what: String,
}

impl FileFault {
    pub(crate) fn new(code: &'static str, field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { code, field: field.into(), line: None, what: what.into() }
    }
    /// Of the whole file.
    pub(crate) fn of_file(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(code, "file", what)
    }
    /// The same, with its line where none is known yet.
    pub(crate) fn at(mut self, line: u64) -> Self {
        self.line.get_or_insert(line);
        self
    }

    pub(crate) fn cut(what: &str) -> Self {
        Self::of_file(
            "truncated",
            format!("{what}; the file was cut: fetch it again, nothing of it was used"),
        )
    }
    pub(crate) fn doubled(field: &str, what: &str) -> Self {
        Self::new("duplicate_header", field, format!("{what}: two files were joined; fetch the file again"))
    }
    pub(crate) fn no_id(field: impl Into<String>) -> Self {
        let what = "is empty, so the line cannot be told from others; have the report made anew";
        Self::new("no_id", field, what)
    }

    /// Why an amount could not be read.
    pub(crate) fn amount(field: &str, text: &str, error: &MoneyError) -> Self {
        let long = text.len() > 20 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
        let (code, what) = match error {
            MoneyError::Overflow => ("overflow", error.to_string()),
            MoneyError::NotAnAmount { .. } if long => ("overflow", MoneyError::Overflow.to_string()),
            MoneyError::NotAnAmount { .. } if text.contains(',') => (
                "bad_number",
                format!(
                    "written as another country writes numbers ({}); have the report made with a decimal point and \
                     nothing between thousands",
                    shape(text)
                ),
            ),
            MoneyError::TooManyDigits { .. } => (
                "bad_number",
                format!("{error}; if the point stands between thousands, have the report made without"),
            ),
            MoneyError::UnknownCurrency { .. } => ("bad_currency", error.to_string()),
            _ => ("bad_number", format!("{error}; have the report made anew")),
        };
        Self::new(code, field, what)
    }

    /// What a reader of bytes ran into.
    pub(crate) fn trouble(trouble: Trouble) -> Self {
        match trouble {
            Trouble::TooLong => Self::of_file(
                "too_long",
                format!(
                    "one record has more than {} bytes: a quote or a tag is not closed, or this is no such file",
                    super::source::MAX_RECORD
                ),
            ),
            Trouble::Utf16 => {
                Self::of_file("bad_encoding", "is UTF-16; have it made, or save it, as UTF-8".to_owned())
            }
            Trouble::Io(kind) => Self::io(kind),
        }
    }
    fn io(kind: io::ErrorKind) -> Self {
        Self::of_file("truncated", format!("could not be read to its end ({kind}); fetch it again"))
    }
    pub(crate) fn encoding(field: &str) -> Self {
        Self::new("bad_encoding", field, "is no UTF-8; have the file made, or save it, as UTF-8")
    }
}
