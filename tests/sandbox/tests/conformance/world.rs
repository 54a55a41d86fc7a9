//! A connector, its sandbox, and a clock and a line between them that can be bent.

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::Value as Json;
use tillway_connectors::http::{Http, HttpError};
use tillway_connectors::port::{Call, NotDone};
use tillway_connectors::{Connection, Connector, Finding, Outcome, Prepared, Secret, Secrets, SweepPage};
use tillway_core::facts::Fact;
use tillway_core::http::{Method, Request, Response};
use tillway_core::ids::{CommandId, digest};
use tillway_core::money::{Currency, Money};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;
use tillway_sandbox::{ApiFault, ApiFaultRule, Delivery, Reply, Sandbox};

/// 2026-11-20T10:15:30Z.
pub const START: i64 = 1_795_169_730;

/// An action that changes something, and the request of it that does so.
pub struct Write {
    pub action: &'static str,
    pub method: Method,
    /// Part of the request's path.
    pub path: &'static str,
}

/// An answer that is not about what was asked for.
pub struct Lie {
    pub action: &'static str,
    /// Changes the answer to the action's write.
    pub change: fn(&mut Json),
    /// What the outcome names, in part.
    pub field: &'static str,
}

/// A webhook of the vendor's own making.
pub struct Vector {
    pub name: String,
    pub topic: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub secrets: Secrets,
    pub now: Timestamp,
    pub valid: bool,
}

/// An object of a system that has a status.
pub struct Kind {
    pub name: &'static str,
    /// Where the vendor's list of them stands in the specification: file, and pointer to the list.
    pub listed: Option<(&'static str, &'static str)>,
    /// The words known here, which must be those of the list.
    pub words: &'static [&'static str],
    /// Those of the vendor's list that go to a person on purpose.
    pub to_a_person: &'static [&'static str],
    /// The status is a text that people write: it is shown with the parked event alone, and repeated nowhere.
    pub free: bool,
    /// A new word is no fault where it means nothing for the order either way.
    pub open: bool,
}

/// One system in the kit.
pub trait System: Sized + Send + Sync + 'static {
    type Sandbox: Sandbox + 'static;
    /// Actions that change something.
    const WRITES: &'static [Write];
    /// Actions that read.
    const READS: &'static [&'static str];
    const LIES: &'static [Lie];
    const KINDS: &'static [Kind];
    /// Where a webhook's signature stands: header, and what leads to a signed part of it.
    const SIGNED: &'static [(&'static str, &'static [&'static str])];
    /// Members of answers that say how it went.
    const RESULTS: &'static [&'static str];
    /// Actions that no status is about.
    const STATUSLESS: &'static [&'static str];
    /// A status nobody has heard of, as the vendor would spell it.
    const NEW_WORD: &'static str;

    fn connector() -> &'static dyn Connector;
    fn sandbox() -> Self::Sandbox;
    fn settings() -> Vec<(&'static str, String)>;
    fn secrets() -> Secrets;
    /// The vendor's signature vectors; none where the shared folder is absent.
    fn vectors() -> Vec<Vector>;
    /// Makes what an action needs, and its parameters.
    async fn ready(world: &World<Self>, action: &str) -> Value;
    /// Parameters of the first of [`System::READS`], for anything; it may not exist.
    fn reading() -> Value;
    /// How often an action took effect.
    fn count(sandbox: &Self::Sandbox, action: &str) -> usize;
    /// Lets webhooks become due; each with the distance between the bytes of its body that are changed.
    async fn webhooks(world: &World<Self>) -> Vec<(Delivery, usize)>;
    /// Signs a body as of a time: the headers.
    fn sign(body: &[u8], at: Timestamp) -> Vec<(String, String)>;
    /// What an object of a kind says in a status: facts, or the sentence for a person.
    async fn told(kind: &str, word: &str) -> Result<Vec<Fact>, String>;
    /// Makes this many things a sweep finds, and answers whose they are.
    async fn fill(world: &World<Self>, count: usize) -> Vec<String>;
    /// The parameters of some action that sends an amount, and the action.
    fn paying(amount: Money) -> (&'static str, Value);
}

type Before = Box<dyn FnMut(&Request) -> Option<Response> + Send>;
type After = Box<dyn FnMut(&Request, &mut Response) + Send>;

pub struct World<S: System> {
    sandbox: Mutex<S::Sandbox>,
    now: Mutex<Timestamp>,
    pub connection: Connection,
    pub secrets: Secrets,
    before: Mutex<Option<Before>>,
    after: Mutex<Option<After>>,
}

#[async_trait]
impl<S: System> Http for World<S> {
    async fn send(&self, request: Request, _limit: Millis) -> Result<Response, HttpError> {
        if let Some(before) = self.before.lock().unwrap().as_mut()
            && let Some(answer) = before(&request)
        {
            return Ok(answer);
        }
        match self.sandbox.lock().unwrap().handle(self.now(), &request) {
            Reply::Answer(mut response) => {
                if let Some(after) = self.after.lock().unwrap().as_mut() {
                    after(&request, &mut response);
                }
                Ok(response)
            }
            Reply::Silence => Err(HttpError::NoAnswer),
        }
    }
}

/// The line as it is, for tokens: they are the engine's to fetch.
struct Straight<'a, S: System>(&'a World<S>);

#[async_trait]
impl<S: System> Http for Straight<'_, S> {
    async fn send(&self, request: Request, _limit: Millis) -> Result<Response, HttpError> {
        match self.0.sandbox.lock().unwrap().handle(self.0.now(), &request) {
            Reply::Answer(response) => Ok(response),
            Reply::Silence => Err(HttpError::NoAnswer),
        }
    }
}

impl<S: System> World<S> {
    pub fn new() -> Self {
        let system = S::connector().system();
        let settings: Vec<_> = S::settings().into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
        let connection = Connection {
            name: format!("{system}-test").as_str().into(),
            system: system.to_owned(),
            production: false,
            settings: settings.into_iter().collect(),
        };
        assert_eq!(S::connector().check_settings(&connection), []);
        Self {
            sandbox: Mutex::new(S::sandbox()),
            now: Mutex::new(Timestamp::from_unix(START)),
            connection,
            secrets: S::secrets(),
            before: Mutex::new(None),
            after: Mutex::new(None),
        }
    }

    pub fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }
    pub fn pass(&self, time: Millis) {
        let mut now = self.now.lock().unwrap();
        *now = *now + time;
    }
    pub fn sandbox<T>(&self, run: impl FnOnce(&mut S::Sandbox, Timestamp) -> T) -> T {
        run(&mut self.sandbox.lock().unwrap(), self.now())
    }
    pub fn count(&self, action: &str) -> usize {
        self.sandbox(|s, _| S::count(s, action))
    }
    /// The next write of an action meets a fault.
    pub fn fault(&self, write: &Write, fault: ApiFault) {
        let path_contains = write.path.to_owned();
        let rule = ApiFaultRule { method: Some(write.method), path_contains, fault, times: 1 };
        self.sandbox(|s, _| s.inject(rule));
    }
    /// Answers in the sandbox's place.
    pub fn before(&self, answer: impl FnMut(&Request) -> Option<Response> + Send + 'static) {
        *self.before.lock().unwrap() = Some(Box::new(answer));
    }
    /// Changes what the sandbox answers.
    pub fn after(&self, change: impl FnMut(&Request, &mut Response) + Send + 'static) {
        *self.after.lock().unwrap() = Some(Box::new(change));
    }
    /// Changes the body of what an action's write is answered with.
    pub fn bend(&self, write: &'static Write, change: impl Fn(&mut Json) + Send + 'static) {
        self.after(move |request, response| {
            if request.method == write.method && request.path().contains(write.path) && response.is_success()
            {
                let mut body: Json = serde_json::from_slice(&response.body).unwrap();
                change(&mut body);
                response.body = body.to_string().into_bytes();
            }
        });
    }
    pub fn straighten(&self) {
        *self.before.lock().unwrap() = None;
        *self.after.lock().unwrap() = None;
    }

    pub fn prepare(&self, action: &str, params: &Value) -> Prepared {
        S::connector().prepare(&self.connection, action, &command(action), params).unwrap()
    }

    async fn go<T>(
        &self,
        action: &str,
        params: &Value,
        (name, generation): (&str, u32),
        run: impl AsyncFn(Call<'_>) -> T,
    ) -> T {
        let connector = S::connector();
        let prepared = connector.prepare(&self.connection, action, &command(name), params).unwrap();
        let limit = Millis::secs(60);
        let token = match connector.needs_token(&self.connection) {
            true => {
                let line = Straight(self);
                let fetched = connector.fetch_token(&self.connection, &self.secrets, &line, limit).await;
                Some(fetched.unwrap().0)
            }
            false => None,
        };
        let call = Call {
            connection: &self.connection,
            secrets: &self.secrets,
            token: token.as_ref(),
            http: self,
            action,
            command: &command(name),
            generation,
            prepared: &prepared.bytes,
            now: self.now(),
            limit,
        };
        run(call).await
    }
    pub async fn call(&self, action: &str, params: &Value, generation: u32) -> Outcome {
        self.go(action, params, (action, generation), async |call| S::connector().call(call).await).await
    }
    pub async fn find_out(&self, action: &str, params: &Value, generation: u32) -> Finding {
        self.go(action, params, (action, generation), async |call| S::connector().find_out(call).await).await
    }
    pub async fn sweep(&self, since: Timestamp, cursor: Option<&str>) -> Result<SweepPage, NotDone> {
        let read = S::READS[0];
        let params = S::reading();
        self.go(read, &params, (read, 0), async |call| S::connector().sweep(call, since, cursor).await).await
    }
    /// The provider's id of what an action made.
    pub async fn done(&self, action: &str, params: &Value) -> String {
        self.done_as(action, params, action).await
    }
    /// The same under a command of another name: what the command under test is named after stays free.
    pub async fn done_as(&self, action: &str, params: &Value, name: &str) -> String {
        match self.go(action, params, (name, 0), async |call| S::connector().call(call).await).await {
            Outcome::Settled { provider_id, .. } => provider_id.unwrap(),
            other => panic!("{action}: {other:?}"),
        }
    }

    /// Carries a command through as the engine does: what is unknown is looked up after the deadline and the lag, and
    /// sent again only on evidence. Answers the end, and the outcome of the first sending.
    pub async fn carry(&self, action: &str, params: &Value) -> (Outcome, Outcome) {
        let connector = S::connector();
        let repeatable = connector.actions().iter().any(|a| a.spec.name == action && a.repeatable);
        let (mut generation, mut replays) = (0, 0);
        let first = self.call(action, params, generation).await;
        let mut outcome = first.clone();
        for _ in 0..12 {
            match outcome {
                Outcome::NotDone { after, .. } => {
                    self.pass(after.unwrap_or(Millis::secs(2)));
                    outcome = self.call(action, params, generation).await;
                }
                Outcome::Unknown { answer_is_stored, .. } if repeatable => {
                    generation += u32::from(answer_is_stored);
                    self.pass(Millis::secs(2));
                    outcome = self.call(action, params, generation).await;
                }
                Outcome::Unknown { answer_is_stored, .. } => {
                    self.pass(Millis::secs(61));
                    self.pass(connector.indexing_lag());
                    match self.find_out(action, params, generation).await {
                        Finding::Evidence(found) => outcome = found,
                        Finding::NotThere => {
                            generation += 1;
                            outcome = self.call(action, params, generation).await;
                        }
                        Finding::Replay => {
                            assert!(connector.key_lifetime() > Millis(0), "{action}: no key to replay");
                            replays += 1;
                            assert!(replays <= 2, "{action}: replayed for ever");
                            outcome = self.call(action, params, generation).await;
                        }
                        Finding::StillUnknown { why } => {
                            outcome = Outcome::Unknown { why, answer_is_stored };
                        }
                    }
                }
                end => return (end, first),
            }
        }
        panic!("{action} comes to no end: {outcome:?}")
    }
}

/// The command of an action; one to a world.
pub fn command(action: &str) -> CommandId {
    CommandId::new(digest(&[action]))
}

pub fn write_of<S: System>(action: &str) -> &'static Write {
    S::WRITES.iter().find(|w| w.action == action).unwrap()
}

/// The kind of an outcome, with what it names.
pub fn how(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Settled { .. } => "settled".into(),
        Outcome::Refused { code, .. } => format!("refused {code}"),
        Outcome::Disagrees { field, .. } => format!("disagrees {field}"),
        Outcome::Unknown { why, .. } => format!("unknown {why}"),
        Outcome::NotDone { why, after } => format!("not done {why:?} {after:?}"),
    }
}

pub fn facts_of(outcome: &Outcome) -> &[Fact] {
    match outcome {
        Outcome::Settled { observation, .. }
        | Outcome::Refused { observation, .. }
        | Outcome::Disagrees { observation, .. } => &observation.facts,
        _ => &[],
    }
}

pub fn usd(minor: i64) -> Value {
    Value::Money(Money::new(minor, Currency::parse("USD").unwrap()))
}

pub fn secret(name: &str, value: &str) -> Secrets {
    Secrets([(name.to_owned(), vec![Secret::new(value)])].into())
}

/// A file of the shared folder, or a printed line where it is absent.
pub fn spec(path: &str) -> Option<String> {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec").join(path);
    let text = std::fs::read_to_string(&at).ok();
    if text.is_none() {
        // Past what the test's own output is captured in.
        let _told = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: {} is not here\n", at.display()),
        );
    }
    text
}
