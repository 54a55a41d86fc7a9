//! The live adapter of the `Http` port, over reqwest with rustls.
//!
//! It never follows a redirect, never repeats a request, reads at most [`MAX_ANSWER`] bytes (of a file, what its caller says), and connects
//! only to addresses its policy allows: names are checked after they are resolved, so that a name that
//! points into a private network is refused like the address itself. No proxy from the environment is used.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};
use tillway_core::http::{Method, Request, Response};
use tillway_core::time::Millis;

use super::{Http, HttpError};

/// Longest answer that is read, bytes. Lists of a hundred objects stay far below.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Which addresses may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Production: HTTPS to public addresses only.
    PublicOnly,
    /// Development: any HTTPS, and plain HTTP to this machine itself (sandboxes).
    AllowLoopback,
}

/// Why no client could be made; there is nothing secret in it.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot start: {0}")]
pub struct StartError(String);

/// Sends requests over the network.
pub struct LiveHttp {
    client: Client,
    policy: AddressPolicy,
}

impl fmt::Debug for LiveHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveHttp").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl LiveHttp {
    /// A client with its own pool of connections: one for the whole process.
    ///
    /// # Errors
    /// [`StartError`] where TLS cannot be set up (no root certificates on the machine).
    pub fn new(policy: AddressPolicy) -> Result<Self, StartError> {
        // One provider of TLS for the process; the first one stays, and any is good.
        let _first = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(CONNECT)
            // Shorter than servers keep idle connections, so that few requests meet one being closed.
            .pool_idle_timeout(Duration::from_secs(20))
            .user_agent(concat!("tillway/", env!("CARGO_PKG_VERSION")));
        if policy == AddressPolicy::PublicOnly {
            builder = builder.dns_resolver(Arc::new(PublicResolver));
        }
        let client = builder.build().map_err(|e| StartError(describe(&e)))?;
        Ok(Self { client, policy })
    }

    fn check(&self, url: &str) -> Result<Url, HttpError> {
        let url = Url::parse(url).map_err(|_| HttpError::Forbidden)?;
        let host = url.host_str().ok_or(HttpError::Forbidden)?;
        let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let local = literal.map_or_else(|| host == "localhost", |ip| ip.is_loopback());
        // Credentials belong into headers; in a URL they would end up in logs.
        let plain = url.username().is_empty() && url.password().is_none();
        let allowed = match (self.policy, url.scheme()) {
            (AddressPolicy::PublicOnly, "https") => host != "localhost" && literal.is_none_or(is_public),
            (AddressPolicy::AllowLoopback, "https") => true,
            (AddressPolicy::AllowLoopback, "http") => local,
            _ => false,
        };
        (plain && allowed).then_some(url).ok_or(HttpError::Forbidden)
    }
}

#[async_trait]
impl Http for LiveHttp {
    async fn send(&self, request: Request, limit: Millis) -> Result<Response, HttpError> {
        self.within(request, limit, MAX_ANSWER).await
    }
    async fn download(&self, request: Request, limit: Millis, most: usize) -> Result<Response, HttpError> {
        self.within(request, limit, most).await
    }
}

impl LiveHttp {
    /// Sends, and reads an answer of at most `most` bytes.
    async fn within(&self, request: Request, limit: Millis, most: usize) -> Result<Response, HttpError> {
        let url = self.check(&request.url)?;
        let limit = u64::try_from(limit.0).ok().filter(|ms| *ms > 0).ok_or(HttpError::NotSent)?;
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = self.client.request(method, url).timeout(Duration::from_millis(limit));
        for (name, value) in &request.headers {
            builder = builder.header(name.as_str(), value.as_str());
        }
        let has_body = !request.body.is_empty() || !matches!(request.method, Method::Get | Method::Delete);
        if has_body {
            builder = builder.body(request.body);
        }
        let mut answer = builder.send().await.map_err(|e| failure(&e))?;
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .filter_map(|(n, v)| Some((n.as_str().to_owned(), v.to_str().ok()?.to_owned())))
            .collect();
        // Where the length is announced there is room for it at once: a file that grows is copied, and stands there twice.
        let announced = answer.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        if announced > most {
            return Err(HttpError::NoAnswer);
        }
        let mut body = Vec::with_capacity(announced);
        // What cannot be read to the end is no answer: the request did arrive.
        while let Some(chunk) = answer.chunk().await.map_err(|_| HttpError::NoAnswer)? {
            if body.len().saturating_add(chunk.len()) > most {
                return Err(HttpError::NoAnswer);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }
}

/// Nothing was sent only where that is certain.
fn failure(error: &reqwest::Error) -> HttpError {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = source {
        if inner.is::<NotPublic>() {
            return HttpError::Forbidden;
        }
        source = inner.source();
    }
    if error.is_connect() || error.is_builder() { HttpError::NotSent } else { HttpError::NoAnswer }
}

/// The innermost cause: reqwest's own message may hold the URL.
fn describe(error: &reqwest::Error) -> String {
    let mut inner: &dyn Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// A name that leads into a private network.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to no public address")]
struct NotPublic;

/// Resolves names with the system's resolver and keeps public addresses only.
struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|a| is_public(a.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is reachable by everybody. Anything private, shared, local, reserved or wrapping
/// such an address is not (RFC 6890 and its registry).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast();
    let reserved = a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !special && !reserved
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b) {
        // 4-in-6, mapped and compatible; also :: and ::1.
        (0, 0) if c == 0 && d == 0 && e == 0 => f == 0xffff && is_public_v4(v4(g, h)),
        // NAT64 and 6to4 wrap an address; Teredo, documentation and the rest of 2001::/23 lead nowhere.
        (0x0064, 0xff9b) => c == 0 && is_public_v4(v4(g, h)),
        (0x2002, _) => is_public_v4(v4(b, c)),
        (0x2001, 0..=0x01ff | 0x0db8) => false,
        // Global unicast is 2000::/3; unique local, link local, site local and multicast lie outside.
        _ => (0x2000..=0x3fff).contains(&a),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server on this machine that gives each connection one fixed answer; its address.
    fn serve(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut buffer = [0_u8; 4096];
                let _read = stream.read(&mut buffer);
                let _written = stream.write_all(&answer);
            }
        });
        format!("http://{address}")
    }

    async fn get(policy: AddressPolicy, url: &str) -> Result<Response, HttpError> {
        let http = LiveHttp::new(policy).unwrap();
        http.send(Request::new(Method::Get, url), Millis(2000)).await
    }

    #[tokio::test]
    async fn an_answer_comes_back_whole_and_redirects_are_not_followed() {
        let text = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\nrequest-id: req_1\r\ncontent-length: 2\r\n\r\nhi";
        let url = serve(text.as_bytes().to_vec());
        let answer = get(AddressPolicy::AllowLoopback, &url).await.unwrap();
        assert_eq!(
            (answer.status, answer.header("Request-Id"), answer.body.as_slice()),
            (302, Some("req_1"), &b"hi"[..])
        );
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off_and_counts_as_none() {
        let mut text = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        text.resize(MAX_ANSWER + 100, b'x');
        assert_eq!(get(AddressPolicy::AllowLoopback, &serve(text)).await, Err(HttpError::NoAnswer));
    }

    #[tokio::test]
    async fn a_file_has_a_bound_of_its_own() {
        let http = LiveHttp::new(AddressPolicy::AllowLoopback).unwrap();
        let size = MAX_ANSWER + 100;
        for length in ["".to_owned(), format!("content-length: {size}\r\n")] {
            let mut text = format!("HTTP/1.1 200 OK\r\n{length}\r\n").into_bytes();
            text.resize(text.len() + size, b'x');
            let url = serve(text);
            let got = async |most| http.download(Request::new(Method::Get, &url), Millis(20_000), most).await;
            assert_eq!(got(size).await.unwrap().body.len(), size);
            assert_eq!(got(size - 1).await, Err(HttpError::NoAnswer));
            assert_eq!(
                http.send(Request::new(Method::Get, &url), Millis(20_000)).await,
                Err(HttpError::NoAnswer)
            );
        }
    }

    #[tokio::test]
    async fn silence_is_no_answer_and_a_closed_port_is_not_sent() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = LiveHttp::new(AddressPolicy::AllowLoopback).unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let request = Request::new(Method::Post, &url).with_body("text/plain", "x");
        assert_eq!(http.send(request.clone(), Millis(200)).await, Err(HttpError::NoAnswer));
        drop(silent);
        assert_eq!(http.send(request.clone(), Millis(2000)).await, Err(HttpError::NotSent));
        assert_eq!(http.send(request, Millis(0)).await, Err(HttpError::NotSent));
        // Hung up after the request was read.
        assert_eq!(get(AddressPolicy::AllowLoopback, &serve(Vec::new())).await, Err(HttpError::NoAnswer));
    }

    #[tokio::test]
    async fn production_reaches_public_https_only() {
        for url in [
            "http://api.stripe.com/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://user:pass@api.stripe.com/",
            "https://localhost/",
            "ftp://api.stripe.com/",
            "/v1/charges",
        ] {
            assert_eq!(get(AddressPolicy::PublicOnly, url).await, Err(HttpError::Forbidden), "{url}");
        }
        assert_eq!(
            get(AddressPolicy::AllowLoopback, "http://api.stripe.com/").await,
            Err(HttpError::Forbidden)
        );
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_refused_after_resolving() {
        // Past the check of the text, as any name would be that somebody points at a private address.
        let http = LiveHttp::new(AddressPolicy::PublicOnly).unwrap();
        let error = http.client.get("https://localhost/").send().await.unwrap_err();
        assert_eq!(failure(&error), HttpError::Forbidden);
    }

    #[test]
    fn addresses_are_sorted_into_public_and_not() {
        for (text, public) in [
            ("8.8.8.8", true),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("172.16.0.1", false),
            ("192.0.0.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1", true),
            ("::", false),
            ("::1", false),
            ("::ffff:8.8.8.8", true),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::10.0.0.1", false),
            ("2002:0a00:0001::", false),
            ("2001:db8::1", false),
            ("fc00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }
}
