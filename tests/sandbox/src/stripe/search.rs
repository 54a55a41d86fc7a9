//! Search: clauses on metadata, `email`, `customer`, `status`, joined by `AND`. Eventually consistent: an
//! object is found from a minute after its creation.

use super::StripeSandbox;
use super::customers::{SEARCH_LAG, metadata_key};
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};

/// One clause: a field, or a metadata key, and the value it must have.
#[derive(Debug, PartialEq, Eq)]
enum Clause {
    Metadata(String, String),
    Field(String, String),
}

impl StripeSandbox {
    pub(super) fn search_customers(&self, form: &Node) -> Result<Doc, ApiError> {
        let clauses = parse(form.text("query").unwrap_or(""))?;
        let pool = clauses.iter().find_map(|clause| match clause {
            Clause::Metadata(k, v) => Some(self.index.customers_by_metadata.get(&metadata_key(k, v))),
            Clause::Field(name, v) if name == "email" => Some(self.index.customers_by_email.get(v)),
            Clause::Field(..) => None,
        });
        let Some(pool) = pool else { return Err(unsupported()) };
        let fits = |row: &Row| {
            self.customers.get(*row).is_some_and(|c| {
                !c.deleted
                    && c.searchable_at <= self.now.0
                    && clauses.iter().all(|clause| match clause {
                        Clause::Metadata(k, v) => c.metadata.get(k) == Some(v),
                        Clause::Field(name, v) => match name.as_str() {
                            "email" => c.email.as_ref() == Some(v),
                            "name" => c.name.as_ref() == Some(v),
                            "phone" => c.phone.as_ref() == Some(v),
                            _ => false,
                        },
                    })
            })
        };
        let mut hits: Vec<Row> = pool.into_iter().flatten().copied().filter(fits).collect();
        hits.sort_unstable();
        self.search_page(Kind::Customer, &hits, form, "/v1/customers/search")
    }

    pub(super) fn search_payments(&self, form: &Node) -> Result<Doc, ApiError> {
        let clauses = parse(form.text("query").unwrap_or(""))?;
        let pool = clauses.iter().find_map(|clause| match clause {
            Clause::Metadata(k, v) => Some(self.index.payments_by_metadata.get(&metadata_key(k, v))),
            Clause::Field(..) => None,
        });
        let Some(pool) = pool else { return Err(unsupported()) };
        let visible = (self.now - SEARCH_LAG).unix();
        let fits = |row: &Row| {
            self.payments.get(*row).is_some_and(|p| {
                p.created <= visible
                    && clauses.iter().all(|clause| match clause {
                        Clause::Metadata(k, v) => p.metadata.get(k) == Some(v),
                        Clause::Field(name, v) => match name.as_str() {
                            "status" => p.status.name() == v,
                            "currency" => p.currency.as_ref() == v,
                            "customer" => {
                                p.customer.map(|c| self.ids.id(Kind::Customer, c)).as_ref() == Some(v)
                            }
                            _ => false,
                        },
                    })
            })
        };
        let hits: Vec<Row> = pool.into_iter().flatten().copied().filter(fits).collect();
        self.search_page(Kind::Payment, &hits, form, "/v1/payment_intents/search")
    }
}

fn unsupported() -> ApiError {
    ApiError::invalid(
        "The sandbox searches by metadata['key']:'value' (customers also by email), joined by AND",
    )
    .param("query")
}

fn parse(query: &str) -> Result<Vec<Clause>, ApiError> {
    let mut clauses = Vec::new();
    let mut rest = query.trim();
    while !rest.is_empty() {
        let (clause, more) = parse_clause(rest).ok_or_else(unsupported)?;
        clauses.push(clause);
        rest = more.trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix("AND ").ok_or_else(unsupported)?.trim_start();
        }
    }
    if clauses.is_empty() { Err(unsupported()) } else { Ok(clauses) }
}

fn parse_clause(text: &str) -> Option<(Clause, &str)> {
    if let Some(rest) = text.strip_prefix("metadata[") {
        let (key, rest) = quoted(rest)?;
        let (value, rest) = quoted(rest.strip_prefix("]:")?)?;
        return Some((Clause::Metadata(key, value), rest));
    }
    let (name, rest) = text.split_once(':')?;
    let (value, rest) = quoted(rest)?;
    name.bytes()
        .all(|b| b.is_ascii_lowercase() || b == b'_')
        .then(|| (Clause::Field(name.into(), value), rest))
}

/// A text in single or double quotes; a backslash takes the next character as it is.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next().filter(|(_, c)| matches!(c, '\'' | '"'))?;
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?.1),
            c if c == quote => return Some((out, text.split_at(at + 1).1)),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_read_and_anything_else_is_refused() {
        let clauses = parse(r"metadata['k']:'it\'s' AND email:'a@b.c'").unwrap();
        assert_eq!(
            clauses,
            [Clause::Metadata("k".into(), "it's".into()), Clause::Field("email".into(), "a@b.c".into())]
        );
        for bad in ["", "email", "email~'x'", "email:'x' OR email:'y'", "email:'x", "-email:'x'"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
