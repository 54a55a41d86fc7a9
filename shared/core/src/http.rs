//! Plain HTTP messages, as data. Sending them is a port; who sends is `act`, or a sandbox in a test.

use std::fmt;

/// HTTP methods the connectors use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are the methods")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Upper-case name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
    /// Reads an upper-case name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete].into_iter().find(|m| m.as_str() == name)
    }
}

/// A request. `Debug` shows neither header values nor the body: both may hold secrets or personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Absolute URL with query (`https://api.stripe.com/v1/charges?limit=3`). A sandbox sees path and query only.
    pub url: String,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// Raw body bytes.
    pub body: Vec<u8>,
}

/// An answer. `Debug` shows neither header values nor the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// Raw body bytes.
    pub body: Vec<u8>,
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

impl Request {
    /// A request without body.
    #[must_use]
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: Vec::new() }
    }
    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }
    /// Sets the body and its content type.
    #[must_use]
    pub fn with_body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut this = self.with_header("content-type", content_type);
        this.body = body.into();
        this
    }
    /// First header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
    /// The path without scheme, host and query.
    #[must_use]
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let path =
            if rest.starts_with('/') { rest } else { rest.find('/').map_or("/", |at| rest.split_at(at).1) };
        path.split('?').next().unwrap_or("/")
    }
    /// The raw query string, without `?`; empty where there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.url.split_once('?').map_or("", |(_, q)| q)
    }
}

impl Response {
    /// An answer without body.
    #[must_use]
    pub const fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }
    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }
    /// First header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
    /// Whether the status is 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} ({} header(s), {} byte(s))",
            self.method.as_str(),
            self.path(),
            self.headers.len(),
            self.body.len()
        )
    }
}
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} header(s), {} byte(s))", self.status, self.headers.len(), self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_come_from_absolute_and_relative_urls() {
        let absolute = Request::new(Method::Get, "https://api.example.com/v1/a?x=1&y=2");
        assert_eq!((absolute.path(), absolute.query()), ("/v1/a", "x=1&y=2"));
        let relative = Request::new(Method::Get, "/v1/a");
        assert_eq!((relative.path(), relative.query()), ("/v1/a", ""));
        assert_eq!(Request::new(Method::Get, "https://host").path(), "/");
    }

    #[test]
    fn debug_hides_bodies_and_header_values() {
        let request = Request::new(Method::Post, "https://h/p?email=a@b.c")
            .with_header("Authorization", "Bearer sk_secret")
            .with_body("application/json", "canary");
        let shown = format!("{request:?}");
        assert!(!shown.contains("secret") && !shown.contains("canary") && !shown.contains("a@b"), "{shown}");
    }
}
