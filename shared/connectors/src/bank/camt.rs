//! camt.053 (ISO 20022), any version: statements, their balances, their entries. Names are read without prefixes, so the
//! version of the namespace does not matter. The last tag shows that all of it came, and the balances that no entry is missing.

use std::io::Read;

use tillway_core::money::{Currency, Money};
use tillway_core::settle::Day;

use super::layout::Layout;
use super::{BankStatement, Booked, Collected, MAX_TEXT};
use crate::settlement::xml::{Tag, Xml};
use crate::settlement::{Ending, FileFault, values};

/// A statement on its way in.
#[derive(Default)]
struct Stmt {
    account: Option<String>,
    opening: Option<i64>,
    closing: Option<i64>,
    sum: i128,
    entries: u64,
    announced: Option<u64>,
    last_page: Option<bool>,
}

/// A balance or an entry on its way in.
#[derive(Default)]
struct Item {
    code: String,
    amount: Option<(String, String)>,
    credit: Option<bool>,
    status: String,
    booked: Option<Day>,
    valued: Option<Day>,
    reference: String,
    text: String,
}

pub(super) fn read(layout: &Layout, bytes: impl Read) -> Result<BankStatement, FileFault> {
    let mut xml = Xml::new(bytes);
    let mut found = Collected::new(layout);
    let (mut stmt, mut item): (Option<Stmt>, Option<Item>) = (None, None);
    let (mut root, mut statements, mut ours) = (false, 0_u64, 0_u64);
    while let Some(tag) = xml.tag()? {
        let line = xml.line();
        match tag {
            Tag::Start { ref name, .. } => {
                if !root && name != "Document" {
                    let what = "is no camt.053; fetch the statement (BkToCstmrStmt) as XML";
                    return Err(FileFault::new("unknown_header", "root", what).at(line));
                }
                root = true;
                match name.as_str() {
                    "Stmt" if item.is_none() => {
                        statements = statements.saturating_add(1);
                        stmt = Some(Stmt::default());
                    }
                    "Bal" | "Ntry" if stmt.is_some() && item.is_none() => item = Some(Item::default()),
                    _ => {}
                }
                // The amount's currency stands in its tag.
                if name == "Amt"
                    && own(&xml, &["Bal", "Ntry"], 2)
                    && let Some(item) = &mut item
                {
                    item.amount = Some((tag.attribute("Ccy").to_owned(), String::new()));
                }
            }
            Tag::End { name, text } => {
                let path: Vec<&str> = xml.path().collect();
                let path = path.as_slice();
                if let Some(item) = &mut item {
                    fill(item, path, &name, &text).map_err(|f| f.at(line))?;
                }
                let Some(open) = &mut stmt else { continue };
                about(open, path, &name, &text);
                match name.as_str() {
                    "Bal" if own_end(path, "Stmt") => {
                        if let Some(item) = item.take() {
                            balance(layout, open, &item).map_err(|f| f.at(line))?;
                        }
                    }
                    "Ntry" if own_end(path, "Stmt") => {
                        if let Some(item) = item.take()
                            && open.account.as_deref().is_some_and(|a| layout.is_account(a))
                        {
                            entry(layout, open, item, &mut found).map_err(|f| f.at(line))?;
                        }
                    }
                    "Stmt" => {
                        if let Some(done) = stmt.take()
                            && done.account.as_deref().is_some_and(|a| layout.is_account(a))
                        {
                            ours = ours.saturating_add(1);
                            check(&done).map_err(|f| f.at(line))?;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    if ours == 0 {
        let what = match statements {
            0 => "holds no statement; fetch the statement of the day",
            _ => "is of another account than the layout's; fetch this account's statement",
        };
        return Err(FileFault::new("wrong_merchant", "Acct", what));
    }
    let seen = xml.seen();
    let Collected { lines, others, .. } = found;
    Ok(BankStatement { lines, others, digest: seen.digest, bytes: seen.bytes, ending: Ending::Closed })
}

/// Whether the element that just began stands right below one of these.
fn own(xml: &Xml<impl Read>, parents: &[&str], depth: usize) -> bool {
    xml.path().rev().nth(depth.saturating_sub(1)).is_some_and(|p| parents.contains(&p))
}
fn own_end(path: &[&str], parent: &str) -> bool {
    path.last() == Some(&parent)
}

/// Where below the item an element stands.
fn below<'a>(path: &'a [&'a str]) -> Option<&'a [&'a str]> {
    let at = path.iter().position(|name| matches!(*name, "Bal" | "Ntry"))?;
    path.get(at.saturating_add(1)..)
}

fn fill(item: &mut Item, path: &[&str], name: &str, text: &str) -> Result<(), FileFault> {
    let Some(below) = below(path) else { return Ok(()) };
    let mut say = |part: &str| {
        if item.text.len() < MAX_TEXT {
            item.text.extend(part.chars().take(MAX_TEXT));
            item.text.push(' ');
        }
    };
    match (below, name) {
        ([], "Amt") => {
            if let Some((_, amount)) = &mut item.amount {
                text.clone_into(amount);
            }
        }
        ([], "CdtDbtInd") => {
            item.credit = Some(match text {
                "CRDT" => true,
                "DBIT" => false,
                _ => {
                    let what = "is neither CRDT nor DBIT; have the statement made anew";
                    return Err(FileFault::new("wrong_sign", "CdtDbtInd", what));
                }
            });
        }
        // A code, or in newer versions an element with one.
        ([], "Sts") | (["Sts"], "Cd") if !text.is_empty() => text.clone_into(&mut item.status),
        (["Tp", "CdOrPrtry"], "Cd") => text.clone_into(&mut item.code),
        (["BookgDt"], "Dt" | "DtTm") => item.booked = Some(values::needed_day("BookgDt", text)?),
        (["ValDt"], "Dt" | "DtTm") => item.valued = Some(values::needed_day("ValDt", text)?),
        ([], "AcctSvcrRef") => text.clone_into(&mut item.reference),
        ([], "NtryRef") if item.reference.is_empty() => text.clone_into(&mut item.reference),
        ([], "AddtlNtryInf") => say(text),
        (["NtryDtls", ..], "Ustrd" | "Ref" | "EndToEndId" | "AddtlTxInf" | "Nm" | "MsgId" | "PmtInfId") => {
            say(text)
        }
        _ => {}
    }
    Ok(())
}

fn about(stmt: &mut Stmt, path: &[&str], name: &str, text: &str) {
    let at = path.iter().position(|name| *name == "Stmt");
    let below = at.and_then(|at| path.get(at.saturating_add(1)..)).unwrap_or_default();
    match (below, name) {
        (["Acct", "Id"], "IBAN") | (["Acct", "Id", "Othr"], "Id") => stmt.account = Some(text.to_owned()),
        (["TxsSummry", "TtlNtries"], "NbOfNtries") => stmt.announced = text.parse().ok(),
        (["StmtPgntn"], "LastPgInd") => stmt.last_page = Some(text == "true" || text == "1"),
        _ => {}
    }
}

fn signed(layout: &Layout, item: &Item, field: &str) -> Result<Money, FileFault> {
    let Some((code, text)) = &item.amount else {
        return Err(FileFault::new("bad_number", field, "has no amount; have the statement made anew"));
    };
    let currency: Currency = values::currency("Ccy", code)?;
    if currency != layout.currency {
        let what =
            format!("{currency} on an account in {}; is it another account's statement?", layout.currency);
        return Err(FileFault::new("mixed_currencies", "Ccy", what));
    }
    let amount = values::amount("Amt", text, currency)?;
    let Some(credit) = item.credit else {
        return Err(FileFault::new("wrong_sign", "CdtDbtInd", "is missing; have the statement made anew"));
    };
    if amount.minor < 0 {
        let what = "is negative; credit or debit is said by CdtDbtInd: have the statement made anew";
        return Err(FileFault::new("wrong_sign", "Amt", what));
    }
    Ok(if credit { amount } else { Money::new(amount.minor.saturating_neg(), currency) })
}

fn balance(layout: &Layout, stmt: &mut Stmt, item: &Item) -> Result<(), FileFault> {
    // Balances of other accounts in the same file are none of ours.
    if !stmt.account.as_deref().is_some_and(|a| layout.is_account(a)) {
        return Ok(());
    }
    let place = match item.code.as_str() {
        "OPBD" | "PRCD" => &mut stmt.opening,
        "CLBD" => &mut stmt.closing,
        _ => return Ok(()),
    };
    let amount = signed(layout, item, "Bal")?.minor;
    // A statement may give both, which must then be the same.
    if place.replace(amount).is_some_and(|before| before != amount) {
        return Err(FileFault::new("sum_differs", "Bal", "two opening or closing balances that differ"));
    }
    Ok(())
}

fn entry(layout: &Layout, stmt: &mut Stmt, item: Item, found: &mut Collected<'_>) -> Result<(), FileFault> {
    stmt.entries = stmt.entries.saturating_add(1);
    // Pending, or for information: not booked, so in no balance.
    if !item.status.is_empty() && item.status != "BOOK" {
        return found.leave();
    }
    let amount = signed(layout, &item, "Ntry")?;
    stmt.sum = stmt.sum.saturating_add(amount.minor.into());
    let Some(day) = item.valued.or(item.booked) else {
        return Err(FileFault::new(
            "wrong_date",
            "ValDt",
            "an entry without a day; have the statement made anew",
        ));
    };
    let id = Some(item.reference.as_str()).filter(|id| !id.is_empty()).map(|id| ("AcctSvcrRef", id));
    found.take(Booked { day, amount, text: item.text.trim().to_owned(), id })
}

/// Whether the entries are all that the statement says there are.
fn check(stmt: &Stmt) -> Result<(), FileFault> {
    if stmt.last_page == Some(false) {
        let what = "further pages follow; fetch the statement whole";
        return Err(FileFault::new("truncated", "StmtPgntn", what));
    }
    if stmt.announced.is_some_and(|n| n != stmt.entries) {
        let what =
            format!("{} entries, and the summary says otherwise; fetch the statement again", stmt.entries);
        return Err(FileFault::new("truncated", "NbOfNtries", what));
    }
    if let (Some(opening), Some(closing)) = (stmt.opening, stmt.closing)
        && i128::from(opening).saturating_add(stmt.sum) != i128::from(closing)
    {
        let what = "opening balance and entries do not give the closing balance: an entry is missing, or stands twice";
        return Err(FileFault::new("sum_differs", "Bal", what));
    }
    Ok(())
}
