//! What a request passes before and after its handler: outage, credentials, version, rate limit, faults
//! and idempotency keys.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tillway_core::http::{Method, Request, Response};
use tillway_core::time::{Millis, Timestamp};

use super::StripeSandbox;
use super::errors::ApiError;
use super::events::Origin;
use super::form::{self, Node};
use super::ids::Kind;
use super::model::Snap;
use super::ops::{self, Op};
use super::params;
use crate::faults::{ApiFaults, Bucket};
use crate::{ApiFault, Reply};

/// A body: rendered when asked for, so that a stored answer costs a pointer.
#[derive(Debug, Clone)]
pub(super) enum Doc {
    Plain(Snap),
    Text(Arc<str>),
}

#[derive(Debug, Clone)]
struct Outcome {
    status: u16,
    doc: Doc,
    request: Arc<str>,
}

#[derive(Debug)]
struct Stored {
    print: u64,
    /// `None`: begun and never executed.
    outcome: Option<Outcome>,
    in_flight_until: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) faults: ApiFaults,
    pub(super) down_until: Timestamp,
    pub(super) hold: Option<Millis>,
    keys: HashMap<Arc<str>, Stored>,
    key_order: VecDeque<(Timestamp, Arc<str>)>,
    requests: usize,
    rate: Bucket,
}

/// Idempotency keys live this long.
const KEY_LIFE: Millis = Millis::hours(24);

impl Gate {
    pub(super) fn prune(&mut self, now: Timestamp) {
        while self.key_order.front().is_some_and(|(at, _)| now.since(*at) >= KEY_LIFE) {
            if let Some((_, key)) = self.key_order.pop_front() {
                self.keys.remove(&key);
            }
        }
    }

    fn store(&mut self, now: Timestamp, key: &str, stored: Stored) {
        let key: Arc<str> = key.into();
        if self.keys.insert(key.clone(), stored).is_none() {
            self.key_order.push_back((now, key));
        }
    }
}

struct Call<'a> {
    op: Op,
    operation: &'static str,
    id: Option<&'a str>,
    form: Node,
    key: Option<&'a str>,
    print: u64,
    request_id: Arc<str>,
}

impl StripeSandbox {
    /// Answers one request; the time was set by the caller.
    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        self.gate.requests += 1;
        let request_id: Arc<str> = self.ids.id(Kind::Request, self.gate.requests).into();
        match self.pass(request, &request_id) {
            Ok(reply) => reply,
            Err(error) => Reply::Answer(self.refuse(&error, &request_id)),
        }
    }

    fn pass(&mut self, request: &Request, request_id: &Arc<str>) -> Result<Reply, ApiError> {
        if self.now < self.gate.down_until {
            return Err(unavailable(503));
        }
        self.check_credentials(request)?;
        let Some((route, id)) = ops::find(request.method, request.path()) else {
            let message =
                format!("Unrecognized request URL ({}: {}).", request.method.as_str(), request.path());
            return Err(ApiError::invalid(message).status(404));
        };
        *self.counters.requests.entry(route.operation()).or_default() += 1;
        if let Some(rate) = self.config.rate_limit
            && !self.gate.rate.admit(self.now, rate)
        {
            return Err(unavailable(429));
        }
        let key = match request.method {
            Method::Post => checked_key(request)?,
            _ => None,
        };
        let fault = self.gate.faults.matching(request);
        match &fault {
            Some((at, ApiFault::Refuse(status))) => {
                self.strike(*at);
                return Err(unavailable(*status));
            }
            Some((at, ApiFault::SilenceBefore)) => {
                self.strike(*at);
                let form = read_form(request).unwrap_or(Node::empty());
                self.hold_unexecuted(request.path(), key, &form);
                return Ok(Reply::Silence);
            }
            _ => {}
        }
        let form = read_form(request)?;
        params::check(&form, route.params, "")?;
        if let Some(schemas) = &self.schemas {
            schemas.check(request.method, route.operation(), &form)?;
        }
        let print = form::fingerprint(request.path(), &form);
        let call = Call {
            op: route.op,
            operation: route.operation(),
            id,
            form,
            key,
            print,
            request_id: request_id.clone(),
        };
        let (outcome, replayed) = self.execute_once(&call, fault.as_ref())?;
        if let Some((at, ApiFault::SilenceAfter)) = fault {
            self.strike(at);
            self.hold_executed(key);
            return Ok(Reply::Silence);
        }
        Ok(Reply::Answer(self.respond(&call, &outcome, replayed)))
    }

    fn strike(&mut self, at: usize) {
        if let Some(name) = self.gate.faults.use_up(at) {
            *self.counters.faults_struck.entry(name).or_default() += 1;
        }
    }

    fn check_credentials(&self, request: &Request) -> Result<(), ApiError> {
        let given = request.header("authorization").and_then(|h| h.strip_prefix("Bearer "));
        if given != Some(self.config.api_key.as_str()) {
            let message =
                if given.is_some() { "Invalid API Key provided" } else { "You did not provide an API key." };
            return Err(ApiError::invalid(message).status(401));
        }
        let version = request.header("stripe-version");
        if version != Some(self.config.api_version.as_str()) {
            // The real server falls back to the account's version; a client that forgot to pin it, or
            // pins another one, is what this sandbox is there to find.
            let message = format!(
                "Invalid Stripe API version: {} (this sandbox speaks {})",
                version.unwrap_or("none"),
                self.config.api_version
            );
            return Err(ApiError::invalid(message));
        }
        Ok(())
    }

    /// Replays a stored answer, or executes and stores.
    fn execute_once(
        &mut self,
        call: &Call<'_>,
        fault: Option<&(usize, ApiFault)>,
    ) -> Result<(Outcome, bool), ApiError> {
        if let Some(outcome) = self.stored(call)? {
            self.counters.replays += 1;
            return Ok((outcome, true));
        }
        let crash = || ApiError::bug().executed();
        let result = match fault {
            Some((at, ApiFault::Fail500)) => {
                self.strike(*at);
                Err(crash())
            }
            Some((at, ApiFault::Fail500AfterEffect)) => {
                self.strike(*at);
                let _effect = self.run(call);
                Err(crash())
            }
            _ => self.run(call),
        };
        let outcome = match result {
            Ok(doc) => Outcome { status: 200, doc, request: call.request_id.clone() },
            Err(error) if !error.executed => return Err(error),
            Err(error) => {
                *self.counters.refusals.entry(error.status).or_default() += 1;
                let doc = Doc::Text(self.error_body(&error).into());
                Outcome { status: error.status, doc, request: call.request_id.clone() }
            }
        };
        if let Some(key) = call.key {
            let in_flight_until = self.now;
            let stored = Stored { print: call.print, outcome: Some(outcome.clone()), in_flight_until };
            self.gate.store(self.now, key, stored);
        }
        Ok((outcome, false))
    }

    fn run(&mut self, call: &Call<'_>) -> Result<Doc, ApiError> {
        self.origin = (!call.operation.starts_with("GET"))
            .then(|| Arc::new(Origin { request: call.request_id.clone(), key: call.key.map(Into::into) }));
        let result = self.dispatch(call.op, call.id, &call.form);
        self.origin = None;
        result
    }

    fn stored(&self, call: &Call<'_>) -> Result<Option<Outcome>, ApiError> {
        let Some((key, stored)) = call.key.and_then(|key| Some((key, self.gate.keys.get(key)?))) else {
            return Ok(None);
        };
        if stored.print != call.print {
            let message = format!(
                "Keys for idempotent requests can only be used with the same parameters they were first used \
                 with. Try using a key other than '{key}' if you meant to execute a different request."
            );
            return Err(ApiError::invalid(message).kind("idempotency_error"));
        }
        if self.now < stored.in_flight_until {
            let message = format!("There is currently another in-progress request using this key: {key}");
            let error = ApiError::invalid(message).status(409).kind("idempotency_error");
            return Err(error.code("idempotency_key_in_use"));
        }
        Ok(stored.outcome.clone())
    }

    fn hold_unexecuted(&mut self, path: &str, key: Option<&str>, form: &Node) {
        let Some(key) = key else { return };
        let Some(hold) = self.gate.hold.take() else { return };
        let until = self.now + hold;
        match self.gate.keys.get_mut(key) {
            Some(stored) => stored.in_flight_until = until,
            None => {
                let print = form::fingerprint(path, form);
                self.gate.store(self.now, key, Stored { print, outcome: None, in_flight_until: until });
            }
        }
    }

    fn hold_executed(&mut self, key: Option<&str>) {
        let Some(key) = key else { return };
        let Some(hold) = self.gate.hold.take() else { return };
        if let Some(stored) = self.gate.keys.get_mut(key) {
            stored.in_flight_until = self.now + hold;
        }
    }

    fn respond(&self, call: &Call<'_>, outcome: &Outcome, replayed: bool) -> Response {
        let body = match &outcome.doc {
            Doc::Text(text) => text.as_bytes().to_vec(),
            Doc::Plain(snap) => self.json(snap).into_bytes(),
        };
        let mut headers = self.headers(&call.request_id);
        if let Some(key) = call.key {
            headers.push(("idempotency-key".into(), key.into()));
        }
        if replayed {
            headers.push(("idempotent-replayed".into(), "true".into()));
            headers.push(("original-request".into(), outcome.request.as_ref().into()));
        }
        if outcome.status >= 500 {
            headers.push(("stripe-should-retry".into(), "true".into()));
        }
        Response { status: outcome.status, headers, body }
    }

    fn refuse(&mut self, error: &ApiError, request_id: &str) -> Response {
        *self.counters.refusals.entry(error.status).or_default() += 1;
        let mut headers = self.headers(request_id);
        match error.status {
            409 | 500.. => headers.push(("stripe-should-retry".into(), "true".into())),
            429 => headers.push(("stripe-rate-limited-reason".into(), "global-rate".into())),
            401 => headers.push(("www-authenticate".into(), "Bearer realm=\"Stripe\"".into())),
            _ => {}
        }
        Response { status: error.status, headers, body: self.error_body(error).into_bytes() }
    }

    fn headers(&self, request_id: &str) -> Vec<(String, String)> {
        vec![
            ("content-type".into(), "application/json".into()),
            ("request-id".into(), request_id.into()),
            ("stripe-version".into(), self.config.api_version.clone()),
        ]
    }
}

fn unavailable(status: u16) -> ApiError {
    match status {
        429 => ApiError::invalid("Request rate limit exceeded.").status(429).code("rate_limit"),
        status => ApiError::bug().status(status),
    }
}

fn checked_key(request: &Request) -> Result<Option<&str>, ApiError> {
    match request.header("idempotency-key") {
        Some(key) if key.is_empty() || key.len() > 255 => {
            Err(ApiError::invalid("Idempotency keys have 1 to 255 characters.").kind("idempotency_error"))
        }
        key => Ok(key),
    }
}

/// Parameters: from the body of a POST, from the query of anything else.
fn read_form(request: &Request) -> Result<Node, ApiError> {
    if request.method != Method::Post {
        if !request.body.is_empty() {
            return Err(ApiError::invalid("This call takes its parameters in the query."));
        }
        return form::decode(request.query());
    }
    if !request.query().is_empty() {
        return Err(ApiError::invalid("This call takes its parameters in the body."));
    }
    let kind = request.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim();
    if !request.body.is_empty() && kind != "application/x-www-form-urlencoded" {
        return Err(ApiError::invalid(format!(
            "Invalid content type: {kind}; the v1 API takes form bodies."
        )));
    }
    let text = std::str::from_utf8(&request.body).map_err(|_| ApiError::invalid("The body is not UTF-8."))?;
    form::decode(text)
}
