//! The HTTP front of one machine: webhooks in, health out, and a limit on everything.
//!
//! | limit | answer |
//! |---|---|
//! | address, where a connection says who may send | 403 and close |
//! | connections | 503 with `Retry-After` and close, for a few; beyond those the connection is dropped |
//! | requests at work | 503 with `Retry-After` |
//! | body | 413 |
//! | time for headers, body | close; 408 |
//!
//! Built on hyper alone: two routes need no router, and each limit sits where its resource is taken.
//!
//! A request means what it would mean to a function behind an HTTP API of API Gateway (`tests/e2e/src/edges.rs`): escapes in
//! the path are resolved, and a header that came twice is one value joined by a comma, so that of two signatures
//! or media types neither is picked.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tillway_host::webhook::ADDRESS;
pub use tillway_host::webhook::Answer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Connections beyond the limit that are told so rather than dropped.
const TURNED_AWAY: usize = 64;

/// What stands behind the front.
#[async_trait]
pub trait Front: Send + Sync {
    /// Takes a webhook: header names in lower case, the exact bytes of the body.
    async fn webhook(
        &self,
        connection: &str,
        topic: &str,
        headers: Vec<(String, String)>,
        body: &[u8],
    ) -> Answer;
    /// Whether a GET of a webhook address is a provider's probe: answered 200, and with no more.
    fn probed(&self, _connection: &str, _topic: &str) -> bool {
        false
    }
    /// Whether a connection takes anything from an address: the peer of the socket, which behind a proxy is the proxy's own.
    fn takes_from(&self, _connection: &str, _from: IpAddr) -> bool {
        true
    }
    /// A request was refused before it came to [`Front::webhook`]: to be counted and logged. `code` is stable.
    fn refused(&self, code: &'static str) {
        tracing::warn!(code, "request refused");
    }
    /// Whether all is well, and the details.
    async fn health(&self) -> (bool, serde_json::Value);
}

/// Limits of the front. At worst it holds `connections` bodies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body in bytes.
    pub body: usize,
    /// Time for the headers of a request (idle time included), and again for its body.
    pub read: Duration,
    /// Open connections.
    pub connections: usize,
    /// Webhooks handed to [`Front::webhook`] at one time.
    pub in_flight: usize,
    /// Seconds in `Retry-After` of our own 503s.
    pub retry_after: u32,
    /// Time for requests at work when the front shuts down.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 1024 * 1024,
            read: Duration::from_secs(10),
            connections: 512,
            in_flight: 256,
            retry_after: 5,
            drain: Duration::from_secs(10),
        }
    }
}

struct Shared {
    front: Arc<dyn Front>,
    limits: Limits,
    at_work: Semaphore,
}

/// Serves until `shutdown` is done, then lets requests at work end.
///
/// # Errors
/// When the listener fails for good. A connection that cannot be accepted is logged and waited out.
pub async fn serve(
    listener: TcpListener,
    front: Arc<dyn Front>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    listener.local_addr()?;
    let shared = Arc::new(Shared { front, limits, at_work: Semaphore::new(limits.in_flight) });
    let (stop, stopped) = watch::channel(false);
    // Every connection holds a sender: the receiver's end is the last connection's end.
    let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
    let seats = Arc::new(Semaphore::new(limits.connections));
    let standing = Arc::new(Semaphore::new(TURNED_AWAY));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: wait for connections to end.
                tracing::error!(code = "accept", error = %error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (seat, full) = match Arc::clone(&seats).try_acquire_owned() {
            Ok(seat) => (seat, false),
            Err(_) => match Arc::clone(&standing).try_acquire_owned() {
                Ok(seat) => (seat, true),
                Err(_) => continue,
            },
        };
        let (shared, from) = (Arc::clone(&shared), peer.ip());
        let connection = Connection { shared, from, full, _seat: seat, _alive: alive.clone() };
        tokio::spawn(connection.run(stream, stopped.clone()));
    }
    drop(listener);
    drop(alive);
    // Ignoring the error: no receiver means that no connection is left to tell.
    let _nobody = stop.send(true);
    if tokio::time::timeout(limits.drain, all_gone.recv()).await.is_err() {
        tracing::warn!(code = "drain", "connections were still open at the end of the time to drain");
    }
    Ok(())
}

/// An open connection and what it holds.
struct Connection {
    shared: Arc<Shared>,
    from: IpAddr,
    full: bool,
    _seat: OwnedSemaphorePermit,
    _alive: mpsc::Sender<Infallible>,
}

impl Connection {
    async fn run(self, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
        // Small answers, each waited for: no reason to gather them.
        let _best_effort = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let (shared, from, full) = (&self.shared, self.from, self.full);
            async move {
                Ok::<_, Infallible>(if full {
                    busy_and_closed(shared.limits)
                } else {
                    shared.answer(from, request).await
                })
            }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.shared.limits.read).max_buf_size(64 * 1024);
        let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = served.as_mut() => Some(ended),
            () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(code = "connection", error = %error, "a connection ended with an error");
        }
    }
}

type Answered = Response<Full<Bytes>>;

impl Shared {
    async fn answer(&self, from: IpAddr, request: Request<Incoming>) -> Answered {
        let path = resolved(request.uri().path()).unwrap_or_default();
        match route(request.method(), &path) {
            Ok(Route::Health) => {
                let (well, details) = self.front.health().await;
                json(if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &details)
            }
            Ok(Route::Webhook { connection, .. } | Route::Probe { connection, .. })
                if !self.front.takes_from(connection, from) =>
            {
                self.closed(ADDRESS.0, fault(StatusCode::FORBIDDEN, ADDRESS.1, ADDRESS.2))
            }
            Ok(Route::Webhook { connection, topic }) => {
                let (connection, topic) = (connection.to_owned(), topic.to_owned());
                self.webhook(&connection, &topic, request).await
            }
            Ok(Route::Probe { connection, topic }) if self.front.probed(connection, topic) => {
                json(StatusCode::OK, &serde_json::json!({ "status": "probe" }))
            }
            Ok(Route::Probe { .. }) => self.not_allowed("POST"),
            Err(Misroute::NotFound) => {
                self.front.refused("unknown_url");
                fault(StatusCode::NOT_FOUND, "not_found", "no such address")
            }
            Err(Misroute::NotAllowed(allow)) => self.not_allowed(allow),
        }
    }

    fn not_allowed(&self, allow: &'static str) -> Answered {
        self.front.refused("method_not_allowed");
        let mut answer =
            fault(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "another method is needed");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        answer
    }

    /// Refuses and ends the connection: the rest of the request is not read.
    fn closed(&self, code: &'static str, answer: Answered) -> Answered {
        self.front.refused(code);
        closing(answer)
    }

    async fn webhook(&self, connection: &str, topic: &str, request: Request<Incoming>) -> Answered {
        let (head, body) = request.into_parts();
        let announced = body.size_hint().lower();
        if announced > u64::try_from(self.limits.body).unwrap_or(u64::MAX) {
            return self.closed("too_large", too_large());
        }
        let reading = Limited::new(body, self.limits.body).collect();
        let body = match tokio::time::timeout(self.limits.read, reading).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return self.closed("too_large", too_large());
            }
            Ok(Err(_)) => {
                let answer = fault(StatusCode::BAD_REQUEST, "body", "the body broke off");
                return self.closed("body", answer);
            }
            Err(_elapsed) => {
                let answer = fault(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long");
                return self.closed("timeout", answer);
            }
        };
        // Taken only now: a slow sender holds its connection, not a place at work.
        let Ok(_place) = self.at_work.try_acquire() else { return busy(self.limits) };
        let answer = self.front.webhook(connection, topic, joined(&head.headers), &body).await;
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, &answer.body);
        if let Some(seconds) = answer.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A path with its escapes resolved, each part by itself: an escaped slash is no slash, and leads nowhere.
fn resolved(path: &str) -> Option<String> {
    let part = |part| percent_decode_str(part).decode_utf8().ok().filter(|part| !part.contains('/'));
    Some(path.split('/').map(part).collect::<Option<Vec<_>>>()?.join("/"))
}

/// Headers, each name once.
fn joined(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let all = |name| headers.get_all(name).iter().map(text).collect::<Vec<_>>().join(",");
    headers.keys().map(|name| (name.as_str().to_owned(), all(name))).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Webhook { connection: &'a str, topic: &'a str },
    Probe { connection: &'a str, topic: &'a str },
    Health,
}

#[derive(Debug, PartialEq, Eq)]
enum Misroute {
    NotFound,
    NotAllowed(&'static str),
}

fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, Misroute> {
    if path == "/healthz" {
        return match *method {
            Method::GET | Method::HEAD => Ok(Route::Health),
            _ => Err(Misroute::NotAllowed("GET, HEAD")),
        };
    }
    match tillway_host::webhook::address(path) {
        Some((connection, topic)) => match *method {
            Method::POST => Ok(Route::Webhook { connection, topic }),
            Method::GET | Method::HEAD => Ok(Route::Probe { connection, topic }),
            _ => Err(Misroute::NotAllowed("POST")),
        },
        None => Err(Misroute::NotFound),
    }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Answered {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn fault(status: StatusCode, code: &str, message: &str) -> Answered {
    json(status, &tillway_host::webhook::fault(code, message))
}

fn too_large() -> Answered {
    fault(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than the limit")
}

fn busy(limits: Limits) -> Answered {
    let mut answer = fault(StatusCode::SERVICE_UNAVAILABLE, "busy", "too much at work; send again later");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(limits.retry_after));
    answer
}

fn busy_and_closed(limits: Limits) -> Answered {
    closing(busy(limits))
}

/// Ends the connection after this answer: what of the request was not read would be in the way.
fn closing(mut answer: Answered) -> Answered {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

#[cfg(test)]
mod tests;
