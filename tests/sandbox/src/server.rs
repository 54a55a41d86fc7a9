//! Serves a sandbox over HTTP on loopback, and carries its webhooks out.
//!
//! hyper is used as it is: a reply of [`Reply::Silence`] must end in a closed connection without a byte,
//! which a framework that turns every outcome into a response cannot do.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tillway_core::http::{Method, Request, Response};
use tillway_core::time::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::{Delivery, Reply, Sandbox};

/// Where the sandbox's time comes from; may run faster than the real one.
pub type SandboxClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

const MAX_BODY: usize = 2 << 20;
const TICK: Duration = Duration::from_millis(5);
const MAX_DELIVERIES: usize = 64;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_SILENCE_MILLIS: u64 = 1000;

/// A running sandbox. Dropping it stops it; [`SandboxServer::shutdown`] also waits.
#[derive(Debug)]
pub struct SandboxServer {
    /// Where it listens.
    pub addr: SocketAddr,
    webhook_base: Arc<Mutex<Option<String>>>,
    silence_millis: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the tasks share.
struct Shared<S> {
    sandbox: Arc<Mutex<S>>,
    clock: SandboxClock,
    webhook_base: Arc<Mutex<Option<String>>>,
    silence_millis: Arc<AtomicU64>,
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
struct Hush;

impl std::fmt::Display for Hush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("silenced")
    }
}
impl std::error::Error for Hush {}

/// A mutex stays usable when another thread panicked: sandboxes are only used in tests and the demo.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SandboxServer {
    /// Starts serving on a free port of 127.0.0.1. Webhooks go to `<webhook_base>/<topic>` and wait
    /// while there is no base.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub async fn start<S: Sandbox + 'static>(
        sandbox: Arc<Mutex<S>>,
        clock: SandboxClock,
        webhook_base: Option<String>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let webhook_base = Arc::new(Mutex::new(webhook_base));
        let silence_millis = Arc::new(AtomicU64::new(DEFAULT_SILENCE_MILLIS));
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            sandbox,
            clock,
            webhook_base: webhook_base.clone(),
            silence_millis: silence_millis.clone(),
        });
        let tasks = vec![
            tokio::spawn(accept(listener, shared.clone(), stopped.clone())),
            tokio::spawn(drive(shared, stopped)),
        ];
        Ok(Self { addr, webhook_base, silence_millis, stop, tasks })
    }

    /// `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where webhooks go from now on; none are sent while `None`.
    pub fn set_webhook_base(&self, base: Option<String>) {
        *lock(&self.webhook_base) = base;
    }

    /// How long, in real milliseconds, a silenced call hangs before its connection is closed.
    pub fn set_silence_millis(&self, millis: u64) {
        self.silence_millis.store(millis, Ordering::Relaxed);
    }

    /// Stops and waits until nothing runs any more. Calls and deliveries under way are broken off.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // A task that panicked has stopped as well.
            let _ended = task.await;
        }
    }
}

impl Drop for SandboxServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn accept<S: Sandbox + 'static>(
    listener: TcpListener,
    shared: Arc<Shared<S>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, say: give connections time to close.
            tokio::time::sleep(TICK).await;
            continue;
        };
        // Small answers; without this each may wait for an acknowledgement.
        let _delay = stream.set_nodelay(true);
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(|request| serve(shared.clone(), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            // The sandbox's time may run faster than the real one: what has a clock tells it itself.
            http.auto_date_header(false);
            // Ends with an error where a call was silenced or the client went away: both are wanted.
            let _ended = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve<S: Sandbox>(
    shared: Arc<Shared<S>>,
    incoming: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Hush> {
    let request = match read(incoming).await {
        Ok(request) => request,
        Err(status) => return Ok(answer(Response::new(status))),
    };
    let reply = {
        let mut sandbox = lock(&shared.sandbox);
        // Read under the lock: the sandbox's time must not go backwards.
        sandbox.handle((shared.clock)(), &request)
    };
    match reply {
        Reply::Answer(response) => Ok(answer(response)),
        Reply::Silence => {
            let millis = shared.silence_millis.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Err(Hush)
        }
    }
}

async fn read(incoming: hyper::Request<Incoming>) -> Result<Request, u16> {
    let (head, body) = incoming.into_parts();
    let method = Method::parse(head.method.as_str()).ok_or(405_u16)?;
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| 413_u16)?.to_bytes();
    let headers = head.headers.iter().filter_map(|(name, value)| {
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let url = head.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    Ok(Request { method, url, headers: headers.collect(), body: body.into() })
}

fn answer(response: Response) -> hyper::Response<Full<Bytes>> {
    let mut builder = hyper::Response::builder().status(response.status);
    for (name, value) in response.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(Bytes::from(response.body))).unwrap_or_else(|_| {
        let mut broken = hyper::Response::new(Full::default());
        *broken.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}

/// Lets time pass in the sandbox and carries out what falls due.
async fn drive<S: Sandbox + 'static>(shared: Arc<Shared<S>>, mut stopped: watch::Receiver<bool>) {
    let sender = Sender::new();
    let slots = Arc::new(Semaphore::new(MAX_DELIVERIES));
    let mut under_way: JoinSet<Result<(), Infallible>> = JoinSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        while under_way.try_join_next().is_some() {}
        let base = lock(&shared.webhook_base).clone();
        let deliveries = {
            let mut sandbox = lock(&shared.sandbox);
            let now = (shared.clock)();
            match base {
                Some(_) => sandbox.take_deliveries(now),
                None => {
                    sandbox.advance(now);
                    Vec::new()
                }
            }
        };
        let Some(base) = base else { continue };
        for delivery in deliveries {
            let slot = tokio::select! {
                slot = slots.clone().acquire_owned() => slot,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            let (shared, sender, base) = (shared.clone(), sender.clone(), base.clone());
            under_way.spawn(async move {
                let status = sender.deliver(&base, &delivery).await;
                let mut sandbox = lock(&shared.sandbox);
                sandbox.delivered((shared.clock)(), delivery.id, status);
                drop(slot);
                Ok(())
            });
        }
    }
}

/// A plain HTTP client with kept connections.
#[derive(Clone)]
struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Sender {
    fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(MAX_DELIVERIES)
            .build(connector);
        Self { client }
    }

    /// Posts a webhook; `None` where nobody answered in time.
    async fn deliver(&self, base: &str, delivery: &Delivery) -> Option<u16> {
        let url = format!("{}/{}", base.trim_end_matches('/'), delivery.topic);
        let sent = tokio::time::timeout(DELIVERY_TIMEOUT, self.send(&url, &delivery.request));
        sent.await.ok()?.map(|response| response.status)
    }

    async fn send(&self, url: &str, request: &Request) -> Option<Response> {
        let mut builder = hyper::Request::builder().method(request.method.as_str()).uri(url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let outgoing = builder.body(Full::new(Bytes::copy_from_slice(&request.body))).ok()?;
        let (head, body) = self.client.request(outgoing).await.ok()?.into_parts();
        // Read to the end, so that the connection can be used again.
        let body = Limited::new(body, MAX_BODY).collect().await.ok()?.to_bytes();
        let headers = head
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        Some(Response { status: head.status.as_u16(), headers: headers.collect(), body: body.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::{API_VERSION, StripeConfig, StripeSandbox};
    use crate::{ApiFault, ApiFaultRule, HookFaultRule};

    /// Takes webhooks: refuses the first, accepts all others.
    #[derive(Default)]
    struct Receiver {
        got: Vec<Request>,
    }

    impl Sandbox for Receiver {
        fn handle(&mut self, _: Timestamp, request: &Request) -> Reply {
            self.got.push(request.clone());
            Reply::Answer(Response::new(if self.got.len() == 1 { 500 } else { 200 }))
        }
        fn advance(&mut self, _: Timestamp) {}
        fn take_deliveries(&mut self, _: Timestamp) -> Vec<Delivery> {
            Vec::new()
        }
        fn delivered(&mut self, _: Timestamp, _: u64, _: Option<u16>) {}
        fn in_flight(&self) -> usize {
            0
        }
        fn next_due(&self) -> Option<Timestamp> {
            None
        }
        fn inject(&mut self, _: ApiFaultRule) {}
        fn inject_hook(&mut self, _: HookFaultRule) {}
        fn down_until(&mut self, _: Timestamp) {}
    }

    /// A clock that runs 1000 times as fast as the real one.
    #[expect(clippy::disallowed_methods, reason = "the server's tests run in real time")]
    fn fast_clock() -> SandboxClock {
        let start = std::time::Instant::now();
        Arc::new(move || {
            let micros = i64::try_from(start.elapsed().as_micros()).unwrap();
            Timestamp(1_800_000_000_000 + micros)
        })
    }

    fn create(url: &str) -> Request {
        Request::new(Method::Post, format!("{url}/v1/customers"))
            .with_header("authorization", "Bearer k")
            .with_header("stripe-version", API_VERSION)
            .with_body("application/x-www-form-urlencoded", "name=Ann")
    }

    async fn eventually(what: impl Fn() -> bool) {
        for _ in 0..400 {
            if what() {
                return;
            }
            tokio::time::sleep(TICK).await;
        }
        panic!("did not happen within two seconds");
    }

    #[tokio::test]
    async fn calls_are_answered_and_webhooks_arrive() {
        let stripe = Arc::new(Mutex::new(StripeSandbox::new(StripeConfig::new("k", "whsec_s", 1))));
        let receiver = Arc::new(Mutex::new(Receiver::default()));
        let hooks = SandboxServer::start(receiver.clone(), fast_clock(), None).await.unwrap();
        let server = SandboxServer::start(stripe.clone(), fast_clock(), None).await.unwrap();
        let client = Sender::new();
        let request = create(&server.url());
        let answered = client.send(&request.url, &request).await.unwrap();
        assert_eq!(answered.status, 200);
        assert!(answered.header("request-id").is_some());
        assert_eq!(stripe.lock().unwrap().deliveries_open(), 1, "waits for a base");

        server.set_webhook_base(Some(format!("{}/webhooks/stripe-main", hooks.url())));
        eventually(|| stripe.lock().unwrap().counters().deliveries_accepted == 1).await;
        let got = receiver.lock().unwrap().got.clone();
        assert_eq!(got.len(), 2, "refused once, tried again");
        let last = got.last().unwrap();
        assert_eq!(last.path(), "/webhooks/stripe-main/customers");
        let signature = last.header("stripe-signature").unwrap();
        let t = signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
        assert_eq!(signature, crate::stripe::sign(&last.body, "whsec_s", t));
        server.shutdown().await;
        hooks.shutdown().await;
        assert!(client.send(&request.url, &request).await.is_none());
    }

    #[tokio::test]
    async fn a_silenced_call_ends_in_a_closed_connection() {
        let stripe = Arc::new(Mutex::new(StripeSandbox::new(StripeConfig::new("k", "whsec_s", 1))));
        let server = SandboxServer::start(stripe.clone(), fast_clock(), None).await.unwrap();
        server.set_silence_millis(20);
        let rule = ApiFaultRule {
            method: None,
            path_contains: "customers".into(),
            fault: ApiFault::SilenceAfter,
            times: 1,
        };
        stripe.lock().unwrap().inject(rule);
        let client = Sender::new();
        let request = create(&server.url());
        assert!(client.send(&request.url, &request).await.is_none());
        assert_eq!(stripe.lock().unwrap().all_customers().count(), 1);
        assert_eq!(client.send(&request.url, &request).await.unwrap().status, 200);
        let mut big = request.clone();
        big.body = vec![b'a'; MAX_BODY + 1];
        assert!(client.send(&big.url, &big).await.is_none_or(|r| r.status == 413));
        server.shutdown().await;
    }
}
