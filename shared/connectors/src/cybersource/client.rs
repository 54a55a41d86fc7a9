//! Sending to Cybersource: signed anew each time, and what an answer without success means. There is no idempotency
//! key, so a write is never repeated here.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | done; the status in it and its echo are judged by the caller |
//! | 400 `PROCESSOR_UNAVAILABLE`, 409, 412, 429 | not done |
//! | 400, 404, other 4xx | refused for good |
//! | 401 | not done: credentials, or the clock |
//! | 5xx after a write | unknown |
//! | address not allowed | refused: nothing was sent |
//! | not connected | not done |
//! | no answer, or one nobody can read | unknown |

use std::sync::Arc;

use serde_json::Value;
use tillway_core::doc::Doc;
use tillway_core::http::{Method, Request, Response};
use tillway_core::time::Millis;

use super::auth::{self, Signed, Signer};
use super::{errors, settings};
use crate::common::{address_forbidden, retry_after, share, trace_id};
use crate::http::HttpError;
use crate::http::kept::{self, File};
use crate::port::{Call, NotDone, Observation, Outcome};

/// An answer of Cybersource's.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The body, null where it was no JSON.
    pub(super) body: Doc,
    /// What `If-Match` is to be.
    pub(super) tag: Option<String>,
    /// Its id of the request, for support and our log.
    correlation: String,
    after: Option<Millis>,
}

impl Answer {
    fn read(response: Response) -> Self {
        Self {
            status: response.status,
            correlation: trace_id(&response, "v-c-correlation-id"),
            after: retry_after(&response),
            tag: response
                .header("etag")
                .map(str::trim)
                .filter(|t| (1..=128).contains(&t.len()))
                .map(str::to_owned),
            body: Doc::from_bytes(response.body).unwrap_or_else(|_| Doc::null()),
        }
    }
    pub(super) const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }
    /// The reason of a refusal, fit to be shown.
    pub(super) fn reason(&self) -> String {
        errors::reason(self.body.json()).unwrap_or_else(|| format!("http_{}", self.status))
    }
    /// The code it ends a command with.
    fn code(&self) -> String {
        errors::code(self.body.json()).unwrap_or_else(|| self.reason())
    }
    /// `400 INVALID_DATA orderInformation.…`, with the correlation id.
    pub(super) fn said(&self) -> String {
        let mut said = self.status.to_string();
        if !self.is_success() {
            said.push(' ');
            said.push_str(&self.reason());
            if let Some(field) = errors::field(self.body.json()) {
                said.push(' ');
                said.push_str(&field);
            }
        }
        if !self.correlation.is_empty() {
            said.push_str(&format!(" ({})", self.correlation));
        }
        said
    }
}

/// What helps where a merchant id does not take the order's currency.
const CURRENCY_CURE: &str =
    ": the merchant id is not enabled for this currency; enable it there, or route by `order.currency`";

/// A refusal with what is known.
pub(super) fn refused(answer: &Answer, observation: Observation) -> Outcome {
    let (code, mut summary) = (answer.code(), answer.said());
    if code == errors::CURRENCY_NOT_ENABLED {
        summary.push_str(CURRENCY_CURE);
    }
    Outcome::Refused { code, observation, summary }
}

pub(super) fn unknown(why: impl Into<String>) -> Outcome {
    Outcome::Unknown { why: why.into(), answer_is_stored: false }
}

/// Why a read gave no object.
pub(super) enum ReadFault {
    /// It does not exist, or is not indexed yet.
    Missing(Answer),
    /// Cybersource does not take the question.
    Refused(Answer),
    /// The key has no right to it.
    Forbidden(Answer),
    /// More is there than is read, and what is left out may matter.
    TooMany,
    /// Could not be read now.
    NotNow(Option<Millis>, NotDone),
}

impl ReadFault {
    /// Why, in a few words.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Missing(answer) | Self::Refused(answer) | Self::Forbidden(answer) => answer.said(),
            Self::TooMany => "more transactions bear this reference than can be read".to_owned(),
            Self::NotNow(_, NotDone::Throttled) => "the read was throttled".to_owned(),
            Self::NotNow(_, NotDone::Unauthorized) => "the credentials were refused".to_owned(),
            Self::NotNow(..) => "Cybersource could not be read".to_owned(),
        }
    }
    /// For those that try again later.
    pub(super) const fn not_now(&self) -> NotDone {
        match self {
            Self::NotNow(_, why) => *why,
            Self::Forbidden(_) => NotDone::Unauthorized,
            // Not indexed yet: Cybersource answers, so nothing else is held back for it.
            Self::Missing(_) => NotDone::Conflict,
            Self::Refused(_) | Self::TooMany => NotDone::Unavailable,
        }
    }
}

/// Longest wait for one answer, unless set otherwise; seconds. Processors may be slow.
const TIMEOUT: i64 = 60;

/// Sends the requests of one call.
pub(super) struct Client<'a> {
    pub(super) call: &'a Call<'a>,
    /// Longest wait for a write, which processors may be slow with.
    write: Millis,
    each: Millis,
}

impl<'a> Client<'a> {
    /// `requests`: how many follow one another at most, so that all fit into the call's limit.
    pub(super) fn new(call: &'a Call<'a>, requests: i64) -> Self {
        let each = share(call, TIMEOUT, 1, requests);
        Self { call, write: each, each }
    }

    /// One write, which gets most of the time, and a few looks around it.
    pub(super) fn for_write(call: &'a Call<'a>) -> Self {
        Self { call, write: share(call, TIMEOUT, 3, 5), each: share(call, TIMEOUT, 1, 8) }
    }

    fn request(&self, method: Method, target: &str, body: Option<&[u8]>) -> Option<Request> {
        let call = self.call;
        let signer = Signer::of(call.connection, call.secrets)?;
        let jti = auth::fresh_id(call.command.as_str(), call.now);
        let host = auth::host(call.connection);
        let signed = Signed { method, host, target, body, now: call.now, jti: &jti };
        let url = format!("{}{target}", settings::base_url(call.connection));
        let mut request =
            Request::new(method, url).with_header("accept", "application/hal+json;charset=utf-8");
        for (name, value) in signer.headers(&signed)? {
            request = request.with_header(name, value);
        }
        Some(match body {
            // The very bytes that were signed.
            Some(body) => request.with_body("application/json;charset=utf-8", body),
            None => request,
        })
    }

    async fn send(&self, request: Request, limit: Millis) -> Result<Answer, HttpError> {
        self.call.http.send(request, limit).await.map(Answer::read)
    }

    /// Writes, once. Refusals (4xx) come back as answers for the caller to look into; `Err` is the outcome where it was
    /// neither done nor refused.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Outcome> {
        self.change(Method::Post, path, body, None).await
    }

    /// Changes an object, where it is still as it was read.
    pub(super) async fn patch(&self, path: &str, body: &Value, tag: Option<&str>) -> Result<Answer, Outcome> {
        self.change(Method::Patch, path, body, tag).await
    }

    async fn change(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        tag: Option<&str>,
    ) -> Result<Answer, Outcome> {
        let bytes = body.to_string().into_bytes();
        let Some(mut request) = self.request(method, path, Some(&bytes)) else {
            return Err(Outcome::NotDone { after: None, why: NotDone::Unauthorized });
        };
        if let Some(tag) = tag {
            request = request.with_header("if-match", tag);
        }
        let answer = match self.send(request, self.write).await {
            Ok(answer) => answer,
            Err(HttpError::NotSent) => {
                return Err(Outcome::NotDone { after: None, why: NotDone::Unavailable });
            }
            Err(HttpError::Forbidden) => return Err(address_forbidden()),
            Err(HttpError::NoAnswer) => return Err(unknown("no answer")),
        };
        let not_done = |why| Err(Outcome::NotDone { after: answer.after, why });
        match answer.status {
            200..=299 if answer.body.json().is_object() => Ok(answer),
            200..=299 => Err(unknown(format!("{} with an unreadable body", answer.said()))),
            401 => not_done(NotDone::Unauthorized),
            409 | 412 => not_done(NotDone::Conflict),
            429 => not_done(NotDone::Throttled),
            400 if answer.reason() == "PROCESSOR_UNAVAILABLE" => not_done(NotDone::Unavailable),
            400..=499 => Ok(answer),
            // Redirects are never followed, and nobody executes a request he sends elsewhere.
            100..=399 => not_done(NotDone::Unavailable),
            _ => Err(unknown(answer.said())),
        }
    }

    /// Reads an object.
    pub(super) async fn get(&self, target: &str) -> Result<Doc, ReadFault> {
        self.get_tagged(target).await.map(|answer| answer.body)
    }

    /// Reads an object that is to be changed.
    pub(super) async fn get_tagged(&self, target: &str) -> Result<Answer, ReadFault> {
        let request = self.request(Method::Get, target, None);
        self.read(request).await
    }

    /// Reads a file of a form that is asked for.
    pub(super) async fn download(&self, target: &str, accept: &str) -> Result<Arc<File>, ReadFault> {
        let request = self.request(Method::Get, target, None).map(|mut request| {
            request.headers.retain(|(name, _)| name != "accept");
            request.with_header("accept", accept)
        });
        let Some(request) = request else {
            return Err(ReadFault::NotNow(None, NotDone::Unauthorized));
        };
        let got = kept::file(self.call.http, request, self.each).await;
        let got = got.map_err(|_| ReadFault::NotNow(None, NotDone::Unavailable))?;
        got.map_err(|response| fault_of(Answer::read(response)))
    }

    /// Reads a list that may come in another form than JSON.
    pub(super) async fn text(&self, target: &str) -> Result<Vec<u8>, ReadFault> {
        let response = self.fetch(self.request(Method::Get, target, None)).await?;
        if response.is_success() { Ok(response.body) } else { Err(fault_of(Answer::read(response))) }
    }

    /// Asks a search, which is a POST that changes nothing.
    pub(super) async fn ask(&self, path: &str, body: &Value) -> Result<Doc, ReadFault> {
        let bytes = body.to_string().into_bytes();
        let request = self.request(Method::Post, path, Some(&bytes));
        self.read(request).await.map(|answer| answer.body)
    }

    async fn read(&self, request: Option<Request>) -> Result<Answer, ReadFault> {
        let answer = Answer::read(self.fetch(request).await?);
        if answer.is_success() && answer.body.json().is_object() { Ok(answer) } else { Err(fault_of(answer)) }
    }

    async fn fetch(&self, request: Option<Request>) -> Result<Response, ReadFault> {
        let Some(request) = request else {
            return Err(ReadFault::NotNow(None, NotDone::Unauthorized));
        };
        let sent = self.call.http.send(request, self.each).await;
        sent.map_err(|_| ReadFault::NotNow(None, NotDone::Unavailable))
    }
}

/// Why an answer to a read is none that can be used.
fn fault_of(answer: Answer) -> ReadFault {
    match answer.status {
        404 => ReadFault::Missing(answer),
        401 => ReadFault::NotNow(None, NotDone::Unauthorized),
        403 => ReadFault::Forbidden(answer),
        409 => ReadFault::NotNow(answer.after, NotDone::Conflict),
        429 => ReadFault::NotNow(answer.after, NotDone::Throttled),
        400..=499 => ReadFault::Refused(answer),
        _ => ReadFault::NotNow(answer.after, NotDone::Unavailable),
    }
}
