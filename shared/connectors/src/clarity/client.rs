//! One request and what its answer means. A failed read means that nothing was executed; a write that may
//! have arrived and was not answered is unknown. Bodies of refusals may be a problem (RFC 9457), HTML or
//! bare text: all that is taken from them is a machine's code.

use serde_json::Value;
use tillway_core::doc::{Doc, Json};
use tillway_core::http::{Method, Request, Response};
use tillway_core::time::{Millis, Timestamp};

use super::{actions, auth, settings};
use crate::config::Connection;
use crate::http::HttpError;
use crate::port::{Call, NotDone, Observation, Outcome};

/// Requests an action makes at the most: read, write, and after a conflict both again. The time left is
/// for the whole call and no clock runs here, so each request gets an even share.
fn requests(action: &str) -> i64 {
    if [actions::UPDATE_ORDER, actions::UPDATE_CUSTOMER, actions::ADD_SHIPMENT].contains(&action) {
        4
    } else {
        1
    }
}

/// The longest wait for one answer.
pub fn within(connection: &Connection, limit: Millis) -> Millis {
    limit.min(Millis::secs(settings::number(connection, "timeout_seconds"))).max(Millis(1))
}

/// The address of a configured path, with an id in its placeholder. An id is one segment, whatever is in it.
pub fn url(connection: &Connection, path: &str, id: Option<&str>) -> Option<String> {
    let mut url = reqwest::Url::parse(settings::get(connection, "base_url")).ok()?;
    {
        let mut segments = url.path_segments_mut().ok()?;
        segments.pop_if_empty();
        for segment in settings::get(connection, path).split('/').filter(|s| !s.is_empty()) {
            let placeholder = segment.starts_with('{') && segment.ends_with('}');
            segments.push(if placeholder { id? } else { segment });
        }
    }
    Some(url.into())
}

/// A stable code: the shop's own where it is one, else the HTTP status. Never prose.
fn code(response: &Response) -> String {
    let body = Doc::from_bytes(response.body.clone()).unwrap_or_else(|_| Doc::null());
    let body = body.json();
    let told = body.get("code").or_else(|| body.get("error")).and_then(Json::as_str);
    let machine = |c: &&str| {
        let letters = c.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        letters && (1..=40).contains(&c.len()) && c.bytes().filter(u8::is_ascii_digit).count() <= 4
    };
    told.filter(machine).map_or_else(|| format!("http_{}", response.status), str::to_owned)
}

/// `Retry-After` in seconds or as a date; else `RateLimit-Reset`. At most a day.
fn retry_after(response: &Response, now: Timestamp) -> Option<Millis> {
    let header = |name| response.header(name).map(str::trim);
    let told = header("retry-after")
        .and_then(|v| v.parse().ok().map(Millis::secs).or_else(|| Some(Timestamp::parse_http(v)?.since(now))))
        .or_else(|| header("ratelimit-reset")?.parse().ok().map(Millis::secs));
    told.map(|wait| wait.clamp(Millis(0), Millis::days(1)))
}

fn not_done(why: NotDone) -> Outcome {
    Outcome::NotDone { after: None, why }
}

/// A refusal.
pub fn refused(code: impl Into<String>, summary: impl Into<String>) -> Outcome {
    Outcome::Refused { code: code.into(), observation: Observation::default(), summary: summary.into() }
}

/// Nobody knows.
pub fn unknown(why: impl Into<String>, answer_is_stored: bool) -> Outcome {
    Outcome::Unknown { why: why.into(), answer_is_stored }
}

/// How a write was answered.
pub enum Written {
    /// Executed. The body, where it could be read.
    Done(Option<Doc>),
    /// Another change came between, or the object is there already: nothing was executed.
    Conflict,
    /// Anything else.
    Ended(Outcome),
}

/// What a read found: the object, and what `If-Match` is to be.
pub struct Found {
    /// The object.
    pub body: Doc,
    /// Its tag.
    pub tag: Option<String>,
}

/// A strong tag as it came, else the version: an object that changed meanwhile must not be written over.
fn tag(response: &Response, body: Json<'_>) -> Option<String> {
    let strong = response.header("etag").map(str::trim).filter(|t| t.starts_with('"') && t.len() <= 128);
    let version = || body.get("version").and_then(Json::as_i64).map(|v| format!("\"{v}\""));
    strong.map(str::to_owned).or_else(version)
}

fn send_fault(error: HttpError) -> Option<Outcome> {
    match error {
        HttpError::NotSent => Some(not_done(NotDone::Unavailable)),
        HttpError::Forbidden => {
            Some(refused("address_forbidden", "the configured address is not allowed; nothing was sent"))
        }
        HttpError::NoAnswer => None,
    }
}

/// What every answer but a success means, for a read and a write alike; `None`: it depends.
fn common(response: &Response, now: Timestamp) -> Option<Outcome> {
    match response.status {
        401 => Some(not_done(NotDone::Unauthorized)),
        429 => Some(Outcome::NotDone { after: retry_after(response, now), why: NotDone::Throttled }),
        408 | 425 | 500..=599 => None,
        status => Some(refused(code(response), format!("the shop answered {status}"))),
    }
}

async fn send(call: &Call<'_>, request: Request) -> Result<Response, Option<Outcome>> {
    let request = request.with_header("accept", "application/json, application/problem+json");
    let signed = auth::sign(request, call.connection, call.secrets, call.token);
    let Some(request) = signed else { return Err(Some(not_done(NotDone::Unauthorized))) };
    let limit = within(call.connection, Millis(call.limit.0 / requests(call.action)));
    call.http.send(request, limit).await.map_err(send_fault)
}

/// Reads.
///
/// # Errors
/// How the action ends: nothing was executed, or the shop refuses. The answer comes without its body.
pub async fn get(call: &Call<'_>, url: String) -> Result<(Found, Response), Outcome> {
    let unavailable = || not_done(NotDone::Unavailable);
    let mut response =
        send(call, Request::new(Method::Get, url)).await.map_err(|e| e.unwrap_or_else(unavailable))?;
    if !response.is_success() {
        let after = retry_after(&response, call.now);
        return Err(
            common(&response, call.now).unwrap_or(Outcome::NotDone { after, why: NotDone::Unavailable })
        );
    }
    // A success that is no JSON is a proxy's or a maintenance page.
    let body = Doc::from_bytes(std::mem::take(&mut response.body)).map_err(|_| unavailable())?;
    Ok((Found { tag: tag(&response, body.json()), body }, response))
}

/// Writes.
pub async fn write(
    call: &Call<'_>,
    method: Method,
    url: String,
    body: &Value,
    if_match: Option<&str>,
    key: String,
) -> Written {
    let mut request = Request::new(method, url).with_header("idempotency-key", key);
    if let Some(tag) = if_match {
        request = request.with_header("if-match", tag);
    }
    let response = match send(call, request.with_body("application/json", body.to_string())).await {
        Ok(response) => response,
        Err(ended) => return Written::Ended(ended.unwrap_or_else(|| unknown("no answer", false))),
    };
    match response.status {
        200..=299 => Written::Done(Doc::from_bytes(response.body).ok()),
        412 => Written::Conflict,
        409 => match code(&response).as_str() {
            "invalid_transition" => {
                Written::Ended(refused("invalid_transition", "the shop refuses this change of status"))
            }
            _ => Written::Conflict,
        },
        status => Written::Ended(common(&response, call.now).unwrap_or_else(|| {
            // The mark some servers set on an answer kept under an idempotency key.
            let stored =
                response.header("idempotency-replayed").is_some_and(|v| v.eq_ignore_ascii_case("true"));
            unknown(status.to_string(), stored)
        })),
    }
}
