//! What connectors do alike: naming what is wrong with a field, reading a flow's parameters, reading back a stored
//! request, and the members of an answer that say the same everywhere.

use serde::de::DeserializeOwned;
use tillway_core::http::Response;
use tillway_core::money::Money;
use tillway_core::time::Millis;
use tillway_core::value::Value;

use crate::port::{Call, Finding, Observation, Outcome, Owner, Rejected};

/// What is wrong with an object or a parameter, before it is known whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Stable code.
    pub(crate) code: &'static str,
    /// Path of the field at fault.
    pub(crate) field: String,
    /// A sentence without contents.
    pub(crate) what: String,
}

impl Fault {
    pub(crate) fn new(code: &'static str, field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { code, field: field.into(), what: what.into() }
    }
    /// The fault with whom it is about; `prefix` leads to the object the field is in.
    pub(crate) fn about(self, prefix: &str, owner: Owner) -> Rejected {
        let field = format!("{prefix}{}", self.field);
        Rejected { code: self.code.to_owned(), field, what: self.what, owner }
    }
}

/// Longest plain word.
const PLAIN: usize = 40;

/// Whether a word of a provider's is fit to be shown: letters and digits, and of other signs these alone. No more digits in
/// a row than a code has: more may be a number of somebody's.
pub(crate) fn plain_word(word: &str, signs: &[u8]) -> bool {
    (1..=PLAIN).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || signs.contains(&b))
        && word.split(|c: char| !c.is_ascii_digit()).all(|digits| digits.len() <= 3)
        && word.bytes().filter(u8::is_ascii_digit).count() <= 4
}

/// A text parameter with something in it, without blanks around it.
pub(crate) fn text<'a>(params: &'a Value, name: &str) -> Option<&'a str> {
    params.at(name).as_text().map(str::trim).filter(|t| !t.is_empty())
}

/// The same, where nothing can be done without it.
pub(crate) fn needed<'a>(params: &'a Value, name: &str) -> Result<&'a str, Fault> {
    text(params, name).ok_or_else(|| {
        let what = format!("`{name}` is empty; map it to a field that is always there");
        Fault::new("parameter_missing", name, what)
    })
}

/// The amount of money an action is about.
pub(crate) fn amount(params: &Value) -> Result<Money, Fault> {
    params.at("amount").as_money().ok_or_else(|| {
        Fault::new("parameter_missing", "amount", "`amount` is empty; map it to an amount of money")
    })
}

/// Reads back what `prepare` wrote.
pub(crate) fn stored<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, Outcome> {
    serde_json::from_slice(call.prepared).map_err(|_| unreadable("cannot be read"))
}

/// A stored request lacks what its action needs. Nothing was sent.
pub(crate) fn unreadable(how: &str) -> Outcome {
    Outcome::Refused {
        code: "prepared_unreadable".to_owned(),
        observation: Observation::default(),
        summary: format!("the stored request {how}; nothing was sent"),
    }
}

/// The configured address may not be called.
pub(crate) fn address_forbidden() -> Outcome {
    Outcome::Refused {
        code: "address_forbidden".to_owned(),
        observation: Observation::default(),
        summary: "`base_url` may not be called from production (private, or not https); nothing was sent"
            .to_owned(),
    }
}

/// A part of the time a call has, and no more than setting `timeout_seconds`.
pub(crate) fn share(call: &Call<'_>, default: i64, part: i64, of: i64) -> Millis {
    let most = Millis::secs(call.connection.number("timeout_seconds", default));
    let part = call.limit.0.max(0).saturating_mul(part).checked_div(of.max(1)).unwrap_or(0);
    most.min(Millis(part))
}

/// A difference between request and answer.
pub(crate) struct Differs {
    pub(crate) field: String,
    pub(crate) what: String,
}

impl From<Fault> for Differs {
    fn from(fault: Fault) -> Self {
        Self { field: fault.field, what: format!("{}: {}", fault.code, fault.what) }
    }
}

pub(crate) fn differs(field: impl Into<String>, what: impl Into<String>) -> Differs {
    Differs { field: field.into(), what: what.into() }
}

/// To a person, with what is known.
pub(crate) fn disagrees(d: Differs, observation: Observation) -> Outcome {
    Outcome::Disagrees { field: d.field, observation, what: d.what }
}

/// Nothing was found out now.
pub(crate) fn still(why: impl Into<String>) -> Finding {
    Finding::StillUnknown { why: why.into() }
}

/// How long the provider asks to wait, up to an hour.
pub(crate) fn retry_after(response: &Response) -> Option<Millis> {
    let seconds = response.header("retry-after")?.trim().parse().ok()?;
    Some(seconds).filter(|s| (0..=3600).contains(s)).map(Millis::secs)
}

/// The provider's id of a request, fit to be shown.
pub(crate) fn trace_id(response: &Response, header: &str) -> String {
    let fit = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    response.header(header).unwrap_or("").chars().filter(fit).take(64).collect()
}
