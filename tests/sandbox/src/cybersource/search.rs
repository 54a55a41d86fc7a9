//! Searches: clauses `field:value` joined by `AND`, of which a reference and a time are understood. A transaction is found
//! some time after it was made.

use serde_json::{Value, json};
use tillway_core::time::{Millis, Timestamp};

use super::CybersourceSandbox;
use super::body::Body;
use super::errors::{ApiError, time};
use super::ids::{Kind, Row};
use super::model::Tx;

/// One clause.
#[derive(Debug, PartialEq, Eq)]
enum Clause {
    Code(String),
    /// From, before.
    Time(Timestamp, Timestamp),
}

/// `NOW/DAY-90DAYS`, `NOW/DAY`, `NOW` or an absolute time.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let Some(rest) = text.strip_prefix("NOW") else { return Timestamp::parse_rfc3339(text) };
    let (base, rest) = match rest.strip_prefix("/DAY") {
        Some(rest) => (Timestamp(now.0 - now.0.rem_euclid(86_400_000)), rest),
        None => (now, rest),
    };
    if rest.is_empty() {
        return Some(base);
    }
    let (sign, rest) = match (rest.strip_prefix('-'), rest.strip_prefix('+')) {
        (Some(rest), _) => (-1, rest),
        (_, Some(rest)) => (1, rest),
        _ => return None,
    };
    let days = rest.strip_suffix("DAYS").or_else(|| rest.strip_suffix("DAY"))?;
    let days: i64 = days.parse().ok().filter(|d| (0..=3650).contains(d))?;
    Some(base + Millis::days(sign * days))
}

fn parse(query: &str, now: Timestamp) -> Option<Vec<Clause>> {
    let clause = |text: &str| {
        let (field, value) = text.trim().split_once(':')?;
        match field {
            "clientReferenceInformation.code" => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.#/".contains(&b);
                (!value.is_empty() && value.bytes().all(plain)).then(|| Clause::Code(value.to_owned()))
            }
            "submitTimeUtc" => {
                let (from, to) = value.strip_prefix('[')?.strip_suffix(['}', ']'])?.split_once(" TO ")?;
                Some(Clause::Time(moment(from, now)?, moment(to, now)?))
            }
            _ => None,
        }
    };
    query.split(" AND ").map(clause).collect()
}

impl CybersourceSandbox {
    /// `POST /tss/v2/searches`.
    pub(super) fn search(&mut self, body: Body<'_>) -> Result<Value, ApiError> {
        let query = body.needed("query")?;
        let clauses = parse(query, self.now)
            .ok_or_else(|| ApiError::invalid("query", "the sandbox searches by reference and time"))?;
        let number = |name: &str, default: i64, most: i64| {
            let found = body.whole(name)?.unwrap_or(default);
            let fits = (0..=most).contains(&found).then_some(found);
            let fits = fits.and_then(|n| usize::try_from(n).ok());
            fits.ok_or_else(|| ApiError::invalid(name, "out of range"))
        };
        let (limit, offset) = (number("limit", 20, 2500)?, number("offset", 0, i64::MAX)?);
        let falling = match body.text("sort")? {
            None | Some("submitTimeUtc:desc") => true,
            Some("submitTimeUtc:asc") => false,
            Some(_) => return Err(ApiError::invalid("sort", "the sandbox sorts by submitTimeUtc")),
        };
        let mut hits = self.hits(&clauses);
        if falling {
            hits.reverse();
        }
        let page: Vec<Value> = hits
            .iter()
            .skip(offset)
            .take(limit)
            .filter_map(|row| self.txs.get(*row))
            .map(|tx| {
                let mut summary = self.summary(tx);
                if let Some(members) = summary.as_object_mut() {
                    members.insert("_links".into(), json!({"transactionDetail": self.link(tx.row)}));
                }
                summary
            })
            .collect();
        self.searches += 1;
        let mut out = json!({"searchId": self.ids.uuid(Kind::Search, self.searches), "query": query,
            "count": page.len(), "totalCount": hits.len(), "limit": limit, "offset": offset,
            "submitTimeUtc": time(self.now)});
        // Past the end there is no list.
        if let Some(members) = out.as_object_mut().filter(|_| !page.is_empty()) {
            members.insert("_embedded".into(), json!({"transactionSummaries": page}));
        }
        Ok(out)
    }

    fn hits(&self, clauses: &[Clause]) -> Vec<Row> {
        let fits = |tx: &&Tx| {
            tx.merchant == self.caller
                && self.now.since(tx.at) >= self.config.search_lag
                && clauses.iter().all(|clause| match clause {
                    Clause::Code(code) => self.matches(code, &tx.code),
                    Clause::Time(from, before) => (*from..*before).contains(&tx.at),
                })
        };
        let named = clauses.iter().find_map(|c| match c {
            Clause::Code(code) => Some(code.as_str()),
            Clause::Time(..) => None,
        });
        match named {
            Some(code) => {
                // References that begin with this one stand right after it.
                let range = self
                    .by_code
                    .range::<str, _>((std::ops::Bound::Included(code), std::ops::Bound::Unbounded));
                let near = range.take_while(|(known, _)| known.starts_with(code));
                let rows = near.flat_map(|(_, rows)| rows).filter_map(|row| self.txs.get(*row));
                let mut rows: Vec<Row> = rows.filter(fits).map(|t| t.row).collect();
                rows.sort_unstable();
                rows
            }
            None => self.txs.iter().filter(fits).map(|t| t.row).collect(),
        }
    }

    fn matches(&self, wanted: &str, code: &str) -> bool {
        let rest = code.strip_prefix(wanted);
        rest.is_some_and(|rest| rest.is_empty() || self.config.loose_search && rest.starts_with('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_and_anything_else_is_refused() {
        let now = Timestamp::from_unix(1_795_169_730);
        let query = "clientReferenceInformation.code:A-1 AND submitTimeUtc:[NOW/DAY-7DAYS TO NOW/DAY+1DAY}";
        let clauses = parse(query, now).unwrap();
        assert_eq!(clauses[0], Clause::Code("A-1".into()));
        let Clause::Time(from, before) = clauses[1] else { panic!() };
        assert!(from < now && now < before && before.since(from) == Millis::days(8));
        for bad in ["", "code:A", "clientReferenceInformation.code:A OR x:y", "submitTimeUtc:[a TO b}"] {
            assert!(parse(bad, now).is_none(), "{bad}");
        }
    }
}
