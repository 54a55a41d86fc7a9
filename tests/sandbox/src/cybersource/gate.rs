//! What a request passes before and after its handler: outage, credentials, rate limit, faults and its body.

use std::collections::HashMap;

use serde_json::Value;
use tillway_core::http::{Method, Request, Response};
use tillway_core::time::Timestamp;

use super::CybersourceSandbox;
use super::errors::ApiError;
use super::ids::Kind;
use super::{auth, ops};
use crate::faults::{ApiFaults, Bucket};
use crate::{ApiFault, Reply};

/// Status and body of an answer, and its `etag` where the object has one.
pub(super) struct Doc(pub(super) u16, pub(super) Value, pub(super) Option<String>);

#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) faults: ApiFaults,
    pub(super) down_until: Timestamp,
    /// When the request at hand arrived, where that was before it is carried out.
    pub(super) arrived: Option<Timestamp>,
    /// Ids of tokens used, and when they end: each is good for one request.
    jtis: HashMap<String, Timestamp>,
    pruned: Timestamp,
    requests: usize,
    rate: Bucket,
}

/// How often ended token ids are thrown away.
const PRUNE_EVERY: i64 = 60_000;

impl Gate {
    pub(super) fn prune(&mut self, now: Timestamp) {
        if now.since(self.pruned).0 >= PRUNE_EVERY {
            // An id whose token ended is refused by its time; a day covers any clock skew.
            self.jtis.retain(|_, ends| now.since(*ends).0 < 86_400_000);
            self.pruned = now;
        }
    }
}

impl CybersourceSandbox {
    /// Answers one request; the time was set by the caller.
    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        self.gate.requests += 1;
        let correlation = self.ids.uuid(Kind::Correlation, self.gate.requests);
        match self.pass(request) {
            Ok(Some(doc)) => Reply::Answer(respond(doc, correlation, self.now + self.config.clock_skew)),
            Ok(None) => Reply::Silence,
            Err(error) => {
                *self.counters.refusals.entry(error.status).or_default() += 1;
                let tally = match error.status {
                    401 => &mut self.counters.auth_refusals,
                    _ => &mut self.counters.reasons,
                };
                *tally.entry(error.reason).or_default() += 1;
                Reply::Answer(respond(
                    Doc(error.status, error.body(self.now), None),
                    correlation,
                    self.now + self.config.clock_skew,
                ))
            }
        }
    }

    fn authentic(&mut self, request: &Request) -> Result<(), ApiError> {
        let now = self.gate.arrived.take().unwrap_or(self.now) + self.config.clock_skew;
        let first = auth::check(&self.config.credentials, request, now);
        let further = |first| {
            let all = (1_usize..).zip(&self.config.merchants);
            let mut fits =
                all.filter_map(|(n, m)| Some((n, auth::check(&m.credentials, request, now).ok()?)));
            fits.next().ok_or(first)
        };
        let (merchant, caller) = match first {
            Ok(caller) => (0, caller),
            Err(why) => further(why).map_err(ApiError::credentials)?,
        };
        self.caller = merchant;
        if let Some((jti, ends)) = caller.jti
            && self.gate.jtis.insert(jti, ends).is_some()
        {
            return Err(ApiError::credentials("claim: jti was used before"));
        }
        Ok(())
    }

    fn pass(&mut self, request: &Request) -> Result<Option<Doc>, ApiError> {
        if self.now < self.gate.down_until {
            self.gate.arrived = None;
            return Err(ApiError::unavailable(503));
        }
        self.authentic(request)?;
        let (route, id) = ops::find(request.method, request.path()).ok_or_else(ApiError::not_found)?;
        *self.counters.requests.entry(route.operation).or_default() += 1;
        if let Some(rate) = self.config.rate_limit
            && !self.gate.rate.admit(self.now, rate)
        {
            return Err(ApiError::unavailable(429));
        }
        let fault = self.gate.faults.matching(request);
        match &fault {
            Some((at, ApiFault::Refuse(status))) => {
                self.strike(*at);
                return Err(ApiError::unavailable(*status));
            }
            Some((at, ApiFault::SilenceBefore)) => {
                self.strike(*at);
                return Ok(None);
            }
            Some((at, ApiFault::Fail500)) => {
                self.strike(*at);
                return Err(ApiError::server("SYSTEM_ERROR"));
            }
            _ => {}
        }
        let body = self.read(request)?;
        let result = self.dispatch(route.op, &id, &body, request);
        match fault {
            Some((at, ApiFault::Fail500AfterEffect)) => {
                self.strike(at);
                Err(ApiError::server("SERVER_TIMEOUT"))
            }
            Some((at, ApiFault::SilenceAfter)) => {
                self.strike(at);
                Ok(None)
            }
            _ => result.map(Some),
        }
    }

    fn strike(&mut self, at: usize) {
        if let Some(name) = self.gate.faults.use_up(at) {
            *self.counters.faults_struck.entry(name).or_default() += 1;
        }
    }

    /// The body as JSON, checked for what no request may hold.
    fn read(&mut self, request: &Request) -> Result<Value, ApiError> {
        if !matches!(request.method, Method::Post | Method::Put | Method::Patch) {
            return Ok(Value::Null);
        }
        let kind = request.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim();
        if kind != "application/json" {
            return Err(ApiError::refuse("INVALID_DATA", "expected content type application/json"));
        }
        let text = std::str::from_utf8(&request.body)
            .map_err(|_| ApiError::refuse("INVALID_DATA", "the body is no UTF-8"))?;
        let body: Value = serde_json::from_str(text)
            .map_err(|_| ApiError::refuse("INVALID_DATA", "the body is no JSON"))?;
        if !body.is_object() {
            return Err(ApiError::refuse("INVALID_DATA", "the body is no JSON object"));
        }
        if body.pointer("/paymentInformation/card/number").is_some()
            || body.pointer("/card/number").is_some()
            || !tillway_core::pan::find(text).is_empty()
        {
            // The real service takes one. Nothing this sandbox serves may ever send one.
            self.counters.card_numbers_seen += 1;
            let message = "this sandbox takes no card numbers: send a token";
            return Err(ApiError::refuse("NOT_SUPPORTED", message).at("paymentInformation.card.number"));
        }
        Ok(body)
    }
}

fn respond(Doc(status, body, tag): Doc, correlation: String, at: Timestamp) -> Response {
    // A report is the one body that is no JSON.
    let (kind, body) = match body {
        Value::String(file) if file.starts_with('<') => ("application/xml", file),
        Value::String(file) => ("text/csv", file),
        body => ("application/hal+json;charset=utf-8", body.to_string()),
    };
    let mut headers =
        vec![("content-type".to_owned(), kind.to_owned()), ("v-c-correlation-id".to_owned(), correlation)];
    headers.extend(at.http().map(|date| ("date".to_owned(), date)));
    headers.extend(tag.map(|tag| ("etag".to_owned(), tag)));
    Response { status, headers, body: body.into_bytes() }
}
