//! Sending to Stripe: authentication, version, idempotency key, at most one repetition, and what an answer
//! without success means.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | done; the body is checked against the request by the caller |
//! | 400, 404, 402, other 4xx | refused for good |
//! | 401, 403 | not done: credentials |
//! | 409 | not done: another call under the key is in flight, or a lock |
//! | 429 | not done: the limiter (or the lock timeout) stands before execution |
//! | 424, 5xx after a POST | unknown; a 500 alone is stored under the key, unless `Stripe-Should-Retry: true` |
//! | address not allowed | refused: nothing was sent, and nothing will be until `base_url` is mended |
//! | not connected | not done |
//! | no answer | unknown |

use std::sync::Arc;

use serde_json::Value;
use tillway_core::doc::{Doc, Json};
use tillway_core::http::{Method, Request, Response};
use tillway_core::time::Millis;

use super::form;
use super::{DEFAULT_BASE, DEFAULT_VERSION, errors, wire};
use crate::common::{address_forbidden, retry_after, share, trace_id};
use crate::http::HttpError;
use crate::http::kept::{self, File};
use crate::port::{Call, NotDone, Observation, Outcome, key_prefix};

/// An answer of Stripe's.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The body, null where it was no JSON.
    pub(super) body: Doc,
    /// Stripe's id of the request, for its support and our log.
    pub(super) request_id: String,
    should_retry: Option<bool>,
    after: Option<Millis>,
}

impl Answer {
    fn read(response: Response) -> Self {
        let flag = |name: &str| match response.header(name) {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        Self {
            status: response.status,
            request_id: trace_id(&response, "request-id"),
            should_retry: flag("stripe-should-retry"),
            after: retry_after(&response),
            body: Doc::from_bytes(response.body).unwrap_or_else(|_| Doc::null()),
        }
    }
    pub(super) fn error(&self) -> Json<'_> {
        self.body.json().get("error").unwrap_or(Json::null())
    }
    /// The code of a refusal, fit to be shown.
    pub(super) fn code(&self) -> String {
        if self.error().is_object() {
            errors::safe(errors::code(self.error()))
        } else {
            format!("http_{}", self.status)
        }
    }
    pub(super) const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }
    /// `200 (req_1)`, with the code where it was refused.
    pub(super) fn said(&self) -> String {
        let code = if self.is_success() { String::new() } else { format!(" {}", self.code()) };
        let request =
            if self.request_id.is_empty() { String::new() } else { format!(" ({})", self.request_id) };
        format!("{}{code}{request}", self.status)
    }
}

/// Why a read gave no object.
pub(super) enum ReadFault {
    /// It does not exist.
    Missing(Answer),
    /// Stripe does not take the question.
    Refused(Answer),
    /// Could not be read now.
    NotNow(Option<Millis>, NotDone),
}

impl ReadFault {
    /// The end of an action that only reads, or reads before it writes.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Missing(answer) | Self::Refused(answer) => refused(&answer, Observation::default()),
            Self::NotNow(after, why) => Outcome::NotDone { after, why },
        }
    }
}

/// A refusal with what is known.
pub(super) fn refused(answer: &Answer, observation: Observation) -> Outcome {
    Outcome::Refused { code: answer.code(), observation, summary: answer.said() }
}

/// Sends the requests of one call of an action.
pub(super) struct Client<'a> {
    call: &'a Call<'a>,
    post: Millis,
    get: Millis,
}

impl<'a> Client<'a> {
    /// One write, which may be repeated once, and a look afterwards: all within the call's limit, so that
    /// no byte of a write leaves after the deadline.
    pub(super) fn for_write(call: &'a Call<'a>) -> Self {
        Self { call, post: share(call, TIMEOUT, 2, 5), get: share(call, TIMEOUT, 1, 5) }
    }
    /// Several requests, each with an equal share of the limit.
    pub(super) fn for_many(call: &'a Call<'a>, requests: i64) -> Self {
        let part = share(call, TIMEOUT, 1, requests);
        Self { call, post: part, get: part }
    }

    /// `tillway:<connection>:<command>:g<generation>`: the same for each sending of one intent.
    pub(super) fn key(&self) -> String {
        format!("{}{}:g{}", key_prefix(&self.call.connection.name), self.call.command, self.call.generation)
    }

    pub(super) fn request(&self, method: Method, path_and_query: &str) -> Option<Request> {
        let connection = self.call.connection;
        let key = self.call.secrets.newest("api_key").filter(|k| !k.expose().trim().is_empty())?;
        let base = connection.setting("base_url", DEFAULT_BASE).trim_end_matches('/');
        Some(
            Request::new(method, format!("{base}{path_and_query}"))
                .with_header("authorization", format!("Bearer {}", key.expose()))
                .with_header("stripe-version", connection.setting("api_version", DEFAULT_VERSION))
                .with_header("accept", "application/json"),
        )
    }

    /// Writes under a key. `Err` is the outcome where there was no success.
    pub(super) async fn post(&self, path: &str, form: &str, key: &str) -> Result<Answer, Outcome> {
        let answer = self.try_post(path, form, key).await?;
        if answer.is_success() {
            if answer.body.json().is_object() {
                return Ok(answer);
            }
            // Done, says the status; what was done stands in a body nobody can read.
            return Err(unknown(format!("{} with an unreadable body", answer.said()), true));
        }
        Err(unsuccessful(&answer))
    }

    /// Writes under a key; refusals (4xx) come back as answers for the caller to look into.
    pub(super) async fn post_or_refusal(&self, path: &str, form: &str, key: &str) -> Result<Answer, Outcome> {
        let answer = self.try_post(path, form, key).await?;
        match answer.status {
            200..=299 if answer.body.json().is_object() => Ok(answer),
            200..=299 => Err(unknown(format!("{} with an unreadable body", answer.said()), true)),
            _ => match unsuccessful(&answer) {
                Outcome::Refused { .. } => Ok(answer),
                other => Err(other),
            },
        }
    }

    async fn try_post(&self, path: &str, form: &str, key: &str) -> Result<Answer, Outcome> {
        let Some(request) = self.request(Method::Post, path) else {
            return Err(Outcome::NotDone { after: None, why: NotDone::Unauthorized });
        };
        let request = request
            .with_header("idempotency-key", key)
            .with_body("application/x-www-form-urlencoded", form.as_bytes());
        let first = self.call.http.send(request.clone(), self.post).await;
        match first {
            Ok(response) => {
                let answer = Answer::read(response);
                // Stripe itself says that this very key may be sent again.
                let again =
                    answer.should_retry == Some(true) && matches!(answer.status, 409 | 424 | 500..=599);
                if !again {
                    return Ok(answer);
                }
                // What the first may have done, no later refusal to look at it undoes.
                let maybe_done = answer.status != 409;
                match self.call.http.send(request, self.post).await {
                    Ok(response)
                        if maybe_done
                            && matches!(response.status, 100..=399 | 401 | 403 | 409 | 429)
                            && !response.is_success() =>
                    {
                        Err(unknown(answer.said(), false))
                    }
                    Ok(response) => {
                        let mut answer = Answer::read(response);
                        if answer.status >= 500 {
                            // Twice the same under one key: it is stored there, whatever the header says.
                            answer.should_retry = None;
                        }
                        Ok(answer)
                    }
                    Err(_) if maybe_done => Err(unknown(answer.said(), false)),
                    Err(error) => Err(unsent(error)),
                }
            }
            Err(error) => Err(unsent(error)),
        }
    }

    /// Reads an object or a list.
    pub(super) async fn get(&self, path: &str, query: &Value) -> Result<Doc, ReadFault> {
        let query = form::encode(query);
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let answer = Answer::read(self.fetch(self.request(Method::Get, &target)).await?);
        let readable = answer.is_success() && answer.body.json().is_object();
        if readable { Ok(answer.body) } else { Err(fault_of(answer)) }
    }

    /// Reads a file. The caller sees to it that the address is Stripe's: the key goes with it.
    pub(super) async fn download(&self, url: &str) -> Result<Arc<File>, ReadFault> {
        let request = self.request(Method::Get, "/").map(|mut request| {
            url.clone_into(&mut request.url);
            request.headers.retain(|(name, _)| name != "accept");
            request
        });
        let Some(request) = request else {
            return Err(ReadFault::NotNow(None, NotDone::Unauthorized));
        };
        let got = kept::file(self.call.http, request, self.get).await;
        let got = got.map_err(|_| ReadFault::NotNow(None, NotDone::Unavailable))?;
        got.map_err(|response| fault_of(Answer::read(response)))
    }

    async fn fetch(&self, request: Option<Request>) -> Result<Response, ReadFault> {
        let Some(request) = request else {
            return Err(ReadFault::NotNow(None, NotDone::Unauthorized));
        };
        let sent = self.call.http.send(request, self.get).await;
        sent.map_err(|_| ReadFault::NotNow(None, NotDone::Unavailable))
    }

    /// Reads a list page by page, newest first, until `wanted` picks one. `Ok(None)`: the whole list was
    /// read and none fits. `Err(None)`: the list is longer than we read.
    pub(super) async fn find(
        &self,
        path: &str,
        filter: &[(&str, &str)],
        mut wanted: impl FnMut(Json<'_>) -> bool + Send,
    ) -> Result<Option<Doc>, Option<ReadFault>> {
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut query = serde_json::Map::new();
            query.extend(filter.iter().map(|(n, v)| ((*n).to_owned(), Value::from(*v))));
            query.insert("limit".to_owned(), Value::from(100));
            query.extend(after.map(|id| ("starting_after".to_owned(), Value::from(id))));
            let page = self.get(path, &Value::Object(query)).await.map_err(Some)?;
            let page = page.json();
            let items = || page.get("data").into_iter().flat_map(Json::items);
            if let Some(found) = items().find(|i| wanted(*i)) {
                return Ok(Some(found.to_doc()));
            }
            after = items().last().and_then(|i| wire::text(i, "id")).map(str::to_owned);
            if !wire::flag(page, "has_more") || after.is_none() {
                return Ok(None);
            }
        }
        Err(None)
    }
}

/// Pages of a hundred that finding out reads at most.
const MAX_PAGES: usize = 10;
/// Longest wait for one answer, unless set otherwise; seconds.
const TIMEOUT: i64 = 30;

fn unknown(why: String, answer_is_stored: bool) -> Outcome {
    Outcome::Unknown { why, answer_is_stored }
}

/// Why an answer to a read is none that can be used.
fn fault_of(answer: Answer) -> ReadFault {
    match answer.status {
        404 => ReadFault::Missing(answer),
        401 | 403 => ReadFault::NotNow(None, NotDone::Unauthorized),
        409 => ReadFault::NotNow(answer.after, NotDone::Conflict),
        429 => ReadFault::NotNow(answer.after, NotDone::Throttled),
        400 if answer.code() == "rate_limit" => ReadFault::NotNow(answer.after, NotDone::Throttled),
        424 => ReadFault::NotNow(answer.after, NotDone::Unavailable),
        400..=499 => ReadFault::Refused(answer),
        _ => ReadFault::NotNow(answer.after, NotDone::Unavailable),
    }
}

fn unsent(error: HttpError) -> Outcome {
    match error {
        HttpError::NotSent => Outcome::NotDone { after: None, why: NotDone::Unavailable },
        HttpError::Forbidden => address_forbidden(),
        HttpError::NoAnswer => unknown("no answer".to_owned(), false),
    }
}

/// What an answer without success means for a write.
fn unsuccessful(answer: &Answer) -> Outcome {
    let not_done = |why| Outcome::NotDone { after: answer.after, why };
    match answer.status {
        401 | 403 => not_done(NotDone::Unauthorized),
        409 => not_done(NotDone::Conflict),
        429 if answer.code() == "lock_timeout" => not_done(NotDone::Conflict),
        429 => not_done(NotDone::Throttled),
        // The limiter's answer of very old API versions.
        400 if answer.code() == "rate_limit" => not_done(NotDone::Throttled),
        // Some other system failed Stripe in the midst of it.
        424 => unknown(answer.said(), false),
        400..=499 => refused(answer, Observation::default()),
        // Redirects are never followed, and nobody executes a request he sends elsewhere.
        100..=399 => not_done(NotDone::Unavailable),
        // Only Stripe's own 500 is kept under the key; what a gateway before it says is not.
        status => unknown(answer.said(), status == 500 && answer.should_retry != Some(true)),
    }
}
