//! The lines of a batch out of a file that holds several, a page at a time, so that a large file's lines are never in memory all
//! at once. Nothing is handed out before the whole file was read through and proven.

use std::sync::Arc;

use tillway_core::settle::SettlementLine;

use super::{FileFault, Reader, Statement, Whole};
use crate::http::kept::{File, Kept, Opened};

/// Lines of a page.
pub(crate) const PAGE: usize = 20_000;

/// Lines of a file on their way.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<SettlementLine, FileFault>> + Send>;

/// What a file says as a whole; read through once, however often it is asked.
pub(crate) fn told<L: Whole>(
    file: &Arc<File>,
    open: impl FnOnce(Opened) -> Result<Reader<L>, FileFault>,
) -> Result<&Statement, FileFault> {
    if let Some(told) = file.told.get() {
        return Ok(told);
    }
    let told = open(file.open())?.finish()?;
    Ok(file.told.get_or_init(|| told))
}

/// A page of the lines that are of a batch (`wanted`, as the file names it), and the next one's cursor: how many came before. `name`
/// is the batch's own; a run that goes on where it stood reads on, any other counts its way there.
pub(crate) fn page(
    kept: Option<&Kept>,
    (name, wanted): (&str, &str),
    cursor: Option<&str>,
    open: impl FnOnce() -> Result<Rows, FileFault>,
) -> Result<(Vec<SettlementLine>, Option<String>), FileFault> {
    let place = |at: usize| format!("{name}#{at}");
    let from: usize = cursor.and_then(|c| c.parse().ok()).unwrap_or(0);
    let (mut rows, mut skip) = match kept.and_then(|kept| kept.take::<Rows>(&place(from))) {
        Some(rows) => (rows, 0),
        None => (open()?, from),
    };
    let mut lines = Vec::new();
    for line in rows.by_ref() {
        let line = line?;
        if line.batch.as_ref() != wanted {
            continue;
        }
        if skip > 0 {
            skip = skip.saturating_sub(1);
            continue;
        }
        lines.push(line);
        if lines.len() >= PAGE {
            let next = from.saturating_add(PAGE);
            if let Some(kept) = kept {
                kept.put(place(next), rows);
            }
            return Ok((lines, Some(next.to_string())));
        }
    }
    Ok((lines, None))
}
