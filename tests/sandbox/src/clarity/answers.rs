//! Answers and the reading of requests: problems (RFC 9457), pages, queries and checked JSON bodies.

use std::borrow::Cow;

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tillway_core::http::{Request, Response};
use tillway_core::money::{Currency, Money};
use tillway_core::time::Timestamp;

use super::config::Paging;

/// An answer, or the refusal that takes its place.
pub(super) type Outcome = Result<Response, Response>;

const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

/// The contract's code for a status that says enough by itself.
const fn code_of(status: u16) -> &'static str {
    match status {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        409 => "conflict",
        412 => "version_conflict",
        429 => "rate_limited",
        500.. => "unavailable",
        _ => "validation_failed",
    }
}

fn problem_body(status: u16, code: &str, detail: &str, errors: &[(String, String)]) -> Response {
    let mut body = json!({
        "type": "about:blank", "title": title(status), "status": status, "detail": detail, "code": code,
    });
    if let (false, Some(map)) = (errors.is_empty(), body.as_object_mut()) {
        let list = errors.iter().map(|(pointer, detail)| json!({"pointer": pointer, "detail": detail}));
        map.insert("errors".into(), list.collect());
    }
    with_header(
        Response { status, headers: Vec::new(), body: body.to_string().into_bytes() },
        "content-type",
        "application/problem+json",
    )
}

pub(super) fn problem(status: u16, code: &str, detail: &str) -> Response {
    problem_body(status, code, detail, &[])
}

pub(super) fn invalid(pointer: &str, detail: &str) -> Response {
    problem_body(400, "validation_failed", detail, &[(pointer.to_owned(), detail.to_owned())])
}

pub(super) fn not_found(what: &str) -> Response {
    problem(404, "not_found", &format!("no such {what}"))
}

/// A refusal of the front door, before the application has seen the call.
pub(super) fn refusal(status: u16, html: bool, retry_after: i64) -> Response {
    let response = if html {
        let body = format!("<html><body><h1>{status} {}</h1></body></html>", title(status));
        with_header(
            Response { status, headers: Vec::new(), body: body.into_bytes() },
            "content-type",
            "text/html",
        )
    } else {
        problem(status, code_of(status), "the call was not executed")
    };
    if matches!(status, 429 | 503) {
        with_header(response, "retry-after", &retry_after.to_string())
    } else {
        response
    }
}

pub(super) fn with_header(mut response: Response, name: &str, value: &str) -> Response {
    response.headers.push((name.to_owned(), value.to_owned()));
    response
}

/// Serialises; these types cannot fail to.
pub(super) fn bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

pub(super) fn answer<T: Serialize + ?Sized>(status: u16, value: &T) -> Response {
    with_header(
        Response { status, headers: Vec::new(), body: bytes(value) },
        "content-type",
        "application/json",
    )
}

/// A query string whose every parameter is known: a misspelt filter must not list everything.
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub fn read(raw: &'a str, paging: &Paging, allowed: &[&str]) -> Result<Self, Response> {
        let pairs: Vec<_> = form_urlencoded::parse(raw.as_bytes()).collect();
        for (at, (name, _)) in pairs.iter().enumerate() {
            let known = *name == *paging.index || *name == *paging.size || allowed.contains(&&**name);
            if !known {
                return Err(invalid(&format!("/query/{name}"), "unknown query parameter"));
            }
            if pairs.iter().skip(at + 1).any(|(other, _)| other == name) {
                return Err(invalid(&format!("/query/{name}"), "given more than once"));
            }
        }
        Ok(Self(pairs))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| &**v)
    }

    pub fn updated_since(&self) -> Result<Option<Timestamp>, Response> {
        self.get("updatedSince")
            .map(|text| {
                Timestamp::parse_rfc3339(text)
                    .ok_or_else(|| invalid("/query/updatedSince", "expected an RFC 3339 date-time"))
            })
            .transpose()
    }

    fn number(&self, name: &str, otherwise: usize) -> Result<usize, Response> {
        self.get(name).map_or(Ok(otherwise), |text| {
            text.parse().map_err(|_| invalid(&format!("/query/{name}"), "expected a whole number"))
        })
    }

    /// The page asked for.
    pub fn page<T: Serialize>(&self, paging: &Paging, rows: impl Iterator<Item = T>) -> Outcome {
        let index = self.number(&paging.index, 0)?;
        let size = self.number(&paging.size, paging.default_size)?;
        if size == 0 || size > paging.max_size {
            let detail = format!("expected 1 to {}", paging.max_size);
            return Err(invalid(&format!("/query/{}", paging.size), &detail));
        }
        let first = index.saturating_mul(size);
        let mut items: Vec<u8> = Vec::new();
        let mut total = 0_usize;
        for row in rows {
            if total >= first && total - first < size {
                if total > first {
                    items.push(b',');
                }
                items.append(&mut bytes(&row));
            }
            total += 1;
        }
        let mut body = format!("{}:[", Value::from(paging.items.as_str())).into_bytes();
        body.insert(0, b'{');
        body.append(&mut items);
        let tail = [(&paging.index, index), (&paging.size, size), (&paging.total, total)]
            .map(|(name, number)| format!("{}:{number}", Value::from(name.as_str())));
        body.extend_from_slice(format!("],{}}}", tail.join(",")).as_bytes());
        let response = Response { status: 200, headers: Vec::new(), body };
        Ok(with_header(response, "content-type", "application/json"))
    }
}

/// Reads the JSON body of a request.
pub(super) fn json_body(request: &Request) -> Result<Value, Response> {
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !matches!(kind, "application/json" | "application/merge-patch+json") {
        return Err(problem(415, "validation_failed", "expected application/json"));
    }
    serde_json::from_slice(&request.body).map_err(|_| invalid("", "the body is not JSON"))
}

/// Collects what is wrong with a body, each with its JSON pointer.
#[derive(Default)]
pub(super) struct Check(Vec<(String, String)>);

fn under(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

impl Check {
    pub fn wrong(&mut self, pointer: String, detail: &str) {
        self.0.push((pointer, detail.to_owned()));
    }

    /// Everything is right, or a 400 that tells what is not.
    pub fn done<T>(self, value: T) -> Result<T, Response> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            let detail = format!("{} member(s) refused", self.0.len());
            Err(problem_body(400, "validation_failed", &detail, &self.0))
        }
    }

    /// An object with no other members than these.
    pub fn object<'a>(
        &mut self,
        value: &'a Value,
        at: &str,
        allowed: &[&str],
    ) -> Option<&'a Map<String, Value>> {
        let Some(map) = value.as_object() else {
            self.wrong(at.to_owned(), "expected an object");
            return None;
        };
        for name in map.keys().filter(|name| !allowed.contains(&name.as_str())) {
            self.wrong(under(at, name), "unknown member");
        }
        Some(map)
    }

    /// A text, where the member is there.
    pub fn text(&mut self, map: &Map<String, Value>, at: &str, name: &str) -> Option<String> {
        let value = map.get(name)?;
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong(under(at, name), "expected a string");
        }
        text
    }

    /// A text that must be there and not be empty.
    pub fn needed(&mut self, map: &Map<String, Value>, at: &str, name: &str) -> String {
        let text = self.text(map, at, name).unwrap_or_default();
        if text.is_empty() && map.get(name).is_none_or(Value::is_string) {
            self.wrong(under(at, name), "required");
        }
        text
    }

    /// Texts by name; null where `null` says that a name is to go.
    pub fn texts(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        name: &str,
        null: bool,
    ) -> Vec<(String, Option<String>)> {
        let Some(value) = map.get(name) else { return Vec::new() };
        let at = under(at, name);
        let Some(map) = value.as_object() else {
            self.wrong(at, "expected an object");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in map {
            match value {
                Value::String(text) => found.push((key.clone(), Some(text.clone()))),
                Value::Null if null => found.push((key.clone(), None)),
                _ => self.wrong(under(&at, key), "expected a string"),
            }
        }
        found
    }

    /// A list, where the member is there.
    pub fn list<'a>(&mut self, map: &'a Map<String, Value>, at: &str, name: &str) -> Option<&'a Vec<Value>> {
        let value = map.get(name)?;
        if !value.is_array() {
            self.wrong(under(at, name), "expected an array");
        }
        value.as_array()
    }

    /// An amount, where the member is there.
    pub fn money(&mut self, map: &Map<String, Value>, at: &str, name: &str) -> Option<Money> {
        let value = map.get(name)?;
        let at = under(at, name);
        let map = self.object(value, &at, &["amount", "currency"])?;
        let (amount, code) = (self.needed(map, &at, "amount"), self.needed(map, &at, "currency"));
        if amount.is_empty() || code.is_empty() {
            return None;
        }
        let known = Currency::parse(&code).ok().filter(|c| c.code() == code);
        let Some(currency) = known else {
            self.wrong(under(&at, "currency"), "expected an ISO 4217 code");
            return None;
        };
        let money = Money::parse_major(&amount, currency);
        if let Err(error) = &money {
            self.wrong(under(&at, "amount"), &error.to_string());
        }
        money.ok()
    }
}

/// Reads a count with at most four decimal places.
pub(super) fn read_quantity(text: &str) -> Option<Decimal> {
    let plain = !text.is_empty()
        && text.len() <= 20
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && text.ends_with(|c: char| c.is_ascii_digit());
    plain.then(|| text.parse::<Decimal>().ok()).flatten().filter(|d| d.normalize().scale() <= 4)
}
