//! The way out: requests go to the sandboxes in memory, and get lost on the way there or back.

use std::sync::Arc;

use async_trait::async_trait;
use tillway_connectors::http::{Http, HttpError};
use tillway_core::http::{Method, Request, Response};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::Key;
use tillway_sandbox::{ApiFault, ApiFaultRule, Reply, Sandbox};

use super::Gate;
use super::gateway::Gateway;
use super::people::Outside;
use super::store::MemoryStore;
use crate::exec::{After, lock};
use crate::faults::{CallFate, Fate, Op};

/// [`Http`] over the sandboxes.
pub(crate) struct SimHttp {
    pub(crate) gate: Gate,
    pub(crate) outside: Arc<Outside>,
    pub(crate) store: MemoryStore,
}

/// The command a write names: in its idempotency key, `tillway:<connection>:<command>…`, or where there are no keys as
/// the transaction id, `<command>` or `<command>.<sending>`.
fn command_of(request: &Request) -> Option<String> {
    let by_key = || request.header("idempotency-key")?.split(':').nth(2).map(str::to_owned);
    let by_id = || {
        let body: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
        let id = body.pointer("/clientReferenceInformation/transactionId")?.as_str()?;
        id.split('.').next().map(str::to_owned)
    };
    let command = by_key().or_else(by_id)?;
    (command.len() == 40 && command.bytes().all(|b| b.is_ascii_hexdigit())).then_some(command)
}

impl SimHttp {
    /// `arrived`: when it came in, where it is carried out later.
    fn execute(
        outside: &Outside,
        request: &Request,
        fault: Option<ApiFault>,
        arrived: Option<Timestamp>,
    ) -> Option<Response> {
        let now = outside.core.now();
        let changes = request.method != Method::Get
            && !request.url.ends_with("/oauth/token")
            && Gateway::changes(&request.url);
        // A failure kept under a key strikes with the first use of the key; later it would not be used up.
        let used =
            request.header("idempotency-key").is_some_and(|key| !lock(&outside.keys).insert(key.to_owned()));
        let fault =
            fault.filter(|f| !(used && matches!(f, ApiFault::Fail500 | ApiFault::Fail500AfterEffect)));
        let reply = outside.at_host(&request.url, changes, |sandbox: &mut dyn Sandbox| {
            if let Some(fault) = fault {
                let path_contains = request.path().to_owned();
                sandbox.inject(ApiFaultRule { method: Some(request.method), path_contains, fault, times: 1 });
            }
            if let Some(at) = arrived {
                sandbox.arrived(at);
            }
            sandbox.handle(now, request)
        });
        let shown = match &reply {
            Some(Reply::Answer(response)) => response.status,
            Some(Reply::Silence) | None => 0,
        };
        outside.trace.note(now, || {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let key = request.header("idempotency-key").unwrap_or("");
            let url = request.url.as_str();
            format!("http {} {url} [{key}] {body} → {shown}", request.method.as_str())
        });
        match reply {
            Some(Reply::Answer(response)) => Some(response),
            Some(Reply::Silence) | None => None,
        }
    }
}

#[async_trait]
impl Http for SimHttp {
    async fn send(&self, request: Request, limit: Millis) -> Result<Response, HttpError> {
        let core = &self.gate.core;
        let began = core.now();
        let port = self.gate.enter(Op::HttpSend).await.map_err(|_| HttpError::NotSent)?;
        if core.now().since(began) > limit {
            // The adapter keeps to the limit: what stalled before the first byte sends none.
            return Err(HttpError::NotSent);
        }
        if let Some(command) = command_of(&request) {
            let mut data = lock(&self.store.data);
            if !data.decided.contains(&command) {
                let key = Key::new("http", command);
                data.wrong.push((key, "was sent before its decision was committed".to_owned()));
            }
        }
        let call = self.gate.faults.call_fate(limit);
        let fault = match call {
            CallFate::NotSent => return Err(HttpError::NotSent),
            CallFate::Late(wait) => {
                let (outside, late) = (self.outside.clone(), request.clone());
                let (at, sleeper) = (core.now() + wait, core.clone());
                let work = Box::pin(async move {
                    sleeper.sleep_until(at).await;
                    Self::execute(&outside, &late, None, Some(began));
                });
                core.spawn("late request", work, After::Immune);
                core.sleep_until(began + limit).await;
                return Err(HttpError::NoAnswer);
            }
            CallFate::Refuse(status) => Some(ApiFault::Refuse(status)),
            CallFate::Fail500 => Some(ApiFault::Fail500),
            CallFate::Fail500After => Some(ApiFault::Fail500AfterEffect),
            CallFate::SilenceBefore => Some(ApiFault::SilenceBefore),
            CallFate::SilenceAfter => Some(ApiFault::SilenceAfter),
            CallFate::Fine => None,
        };
        let (there, back) = (self.gate.faults.latency(), self.gate.faults.latency());
        core.sleep_until(core.now() + there).await;
        let answer = Self::execute(&self.outside, &request, fault, None);
        if port == Fate::CrashAfter || matches!(port, Fate::StallAfter(_)) {
            let left = self.gate.leave(port).await;
            left.map_err(|_| HttpError::NoAnswer)?;
        }
        match answer {
            Some(response) => {
                core.sleep_until(core.now() + back).await;
                Ok(response)
            }
            None => {
                core.sleep_until(began + limit).await;
                Err(HttpError::NoAnswer)
            }
        }
    }
}
