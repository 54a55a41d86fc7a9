//! Signing requests (reference `cybersource.md` section 2): a JWT with the shared secret, an HTTP signature,
//! or a JWT with a certificate's key. All three sign the exact bytes that are sent and the path as it stands
//! on the wire, and all are made anew for each sending: a token is good for two minutes and once.
//!
//! The tokens are put together here and not by a JWT crate: those fix the order of members and of the header, and
//! the vendor's known answers are over members in alphabetical order.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tillway_core::http::Method;
use tillway_core::time::Timestamp;

use super::settings;
use crate::config::{Connection, Secret, Secrets};

/// Name of the secret behind JWT and HTTP signature.
pub(super) const SHARED_SECRET: &str = "shared_secret";
/// Name of the certificate's key.
pub(super) const PRIVATE_KEY: &str = "private_key";

/// How requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// JWT, HS256 with the REST shared secret. The vendor's recommendation since HTTP signatures are deprecated.
    JwtSharedSecret,
    /// HTTP signature with the same key; its end was announced for September 2026.
    HttpSignature,
    /// JWT, RS256 with the key of a P12 certificate.
    JwtP12,
}

impl Scheme {
    pub(super) const NAMES: [&str; 3] = ["jwt_shared_secret", "http_signature", "jwt_p12"];

    pub(super) fn of(connection: &Connection) -> Self {
        match connection.setting("auth", "jwt_shared_secret") {
            "http_signature" => Self::HttpSignature,
            "jwt_p12" => Self::JwtP12,
            _ => Self::JwtSharedSecret,
        }
    }
}

/// Who signs. No `Debug`: it holds the key.
pub(super) struct Signer {
    scheme: Scheme,
    merchant: String,
    /// The portfolio whose (meta) key signs for the merchant.
    portfolio: Option<String>,
    key_id: String,
    key: Key,
}

enum Key {
    Shared(Vec<u8>),
    Rsa(Box<SigningKey<Sha256>>),
}

/// A request as far as it is signed.
pub(super) struct Signed<'a> {
    pub(super) method: Method,
    pub(super) host: &'a str,
    /// Path with the query, as on the wire.
    pub(super) target: &'a str,
    pub(super) body: Option<&'a [u8]>,
    pub(super) now: Timestamp,
    /// Fresh for each request.
    pub(super) jti: &'a str,
}

/// A `key id:secret` pair, or a secret under the connection's key id.
fn with_id<'a>(secret: &'a Secret, default: &'a str) -> (&'a str, &'a str) {
    let text = secret.expose().trim();
    text.split_once(':').map_or((default, text), |(id, key)| (id.trim(), key.trim()))
}

/// Reads a private key in PEM, PKCS#8 or PKCS#1. Files and prompts take a secret to a line, so it may stand on one: with
/// `\n`, blanks or nothing where the lines broke.
#[must_use]
pub fn private_key(secret: &Secret) -> Option<rsa::PrivateKey> {
    // Nothing, the first line's name, what it holds.
    let body = secret.expose().trim().split("-----").nth(2)?;
    let body: String = body.replace("\\r", "").replace("\\n", "").split_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    let pkcs8 = rsa::PrivateKey::from_pkcs8_der(&der).ok();
    pkcs8.or_else(|| rsa::PrivateKey::from_pkcs1_der(&der).ok())
}

impl Signer {
    /// `None` where the connection lacks what its scheme needs.
    pub(super) fn of(connection: &Connection, secrets: &Secrets) -> Option<Self> {
        let scheme = Scheme::of(connection);
        let merchant = connection.setting("merchant_id", "").to_owned();
        let portfolio = Some(connection.setting("portfolio_id", "").to_owned()).filter(|p| !p.is_empty());
        let (key_id, key) = match scheme {
            Scheme::JwtP12 => {
                let key = secrets.newest(PRIVATE_KEY).and_then(private_key)?;
                let serial = connection.setting("certificate_serial", "").to_owned();
                (serial, Key::Rsa(Box::new(SigningKey::new(key))))
            }
            _ => {
                let secret = secrets.newest(SHARED_SECRET)?;
                let (id, key) = with_id(secret, connection.setting("key_id", ""));
                (id.to_owned(), Key::Shared(STANDARD.decode(key).ok()?))
            }
        };
        let there = !merchant.is_empty() && !key_id.is_empty();
        let usable = !matches!(&key, Key::Shared(bytes) if bytes.len() < 16);
        (there && usable).then_some(Self { scheme, merchant, portfolio, key_id, key })
    }

    /// The headers that make a request authentic.
    pub(super) fn headers(&self, request: &Signed<'_>) -> Option<Vec<(&'static str, String)>> {
        match self.scheme {
            Scheme::HttpSignature => self.http_signature(request),
            Scheme::JwtSharedSecret | Scheme::JwtP12 => {
                Some(vec![("authorization", format!("Bearer {}", self.token(request)?))])
            }
        }
    }

    fn http_signature(&self, request: &Signed<'_>) -> Option<Vec<(&'static str, String)>> {
        let date = request.now.http()?;
        let digest = request.body.map(|body| format!("SHA-256={}", digest(body)));
        let method = request.method.as_str().to_ascii_lowercase();
        let text = self.signing_string(request, &date, &method, digest.as_deref());
        let Key::Shared(key) = &self.key else { return None };
        let signature = STANDARD.encode(mac(key, text.as_bytes())?);
        let covered =
            if digest.is_some() { "host date request-target digest" } else { "host date request-target" };
        let header = format!(
            "keyid=\"{}\", algorithm=\"HmacSHA256\", headers=\"{covered} v-c-merchant-id\", signature=\"{signature}\"",
            self.key_id
        );
        let mut headers =
            vec![("v-c-merchant-id", self.merchant.clone()), ("date", date), ("signature", header)];
        headers.extend(digest.map(|d| ("digest", d)));
        Some(headers)
    }

    fn signing_string(&self, request: &Signed<'_>, date: &str, method: &str, digest: Option<&str>) -> String {
        let digest = digest.map(|d| format!("digest: {d}\n")).unwrap_or_default();
        // With a meta key the portfolio stands in what is signed, and the merchant in the header.
        let signs_for = self.portfolio.as_deref().unwrap_or(&self.merchant);
        format!(
            "host: {}\ndate: {date}\nrequest-target: {method} {}\n{digest}v-c-merchant-id: {signs_for}",
            request.host, request.target
        )
    }

    /// Version 2 of the vendor's claims.
    fn token(&self, request: &Signed<'_>) -> Option<String> {
        let alg = if matches!(self.key, Key::Rsa(_)) { "RS256" } else { "HS256" };
        let header = json!({"alg": alg, "kid": self.key_id, "typ": "JWT"});
        let issued = request.now.unix();
        let mut claims = serde_json::Map::new();
        if let Some(body) = request.body {
            claims.insert("digest".into(), digest(body).into());
            claims.insert("digestAlgorithm".into(), "SHA-256".into());
        }
        claims.insert("exp".into(), issued.saturating_add(LIFETIME_SECONDS).into());
        claims.insert("iat".into(), issued.into());
        claims.insert("iss".into(), self.portfolio.as_deref().unwrap_or(&self.merchant).into());
        claims.insert("jti".into(), request.jti.into());
        claims.insert("request-host".into(), request.host.into());
        claims.insert("request-method".into(), request.method.as_str().into());
        claims.insert("request-resource-path".into(), request.target.into());
        claims.insert("v-c-jwt-version".into(), "2".into());
        claims.insert("v-c-merchant-id".into(), self.merchant.as_str().into());
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let text = format!("{}.{}", part(&header), part(&Value::Object(claims)));
        let signature = match &self.key {
            Key::Shared(key) => mac(key, text.as_bytes())?,
            Key::Rsa(key) => key.try_sign(text.as_bytes()).ok()?.to_vec(),
        };
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// How long a token is good.
const LIFETIME_SECONDS: i64 = 120;

fn digest(body: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(body))
}

/// HMAC-SHA256.
pub(super) fn mac(key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(mac.finalize().into_bytes().to_vec())
}

/// Sets one request of this process apart from another.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// An id that no two requests share, in the form of a version 4 UUID. There is no randomness to be had here: command,
/// time and a count of this process make it unique, and nobody gains by guessing it.
pub(super) fn fresh_id(command: &str, now: Timestamp) -> String {
    let count = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let hash = Sha256::digest(format!("{command}\n{}\n{count}\n{}", now.0, std::process::id()));
    let hex = hex::encode(hash);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or("");
    format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// The host of the connection's address, as it is signed: without a port where it is the scheme's own.
pub(super) fn host(connection: &Connection) -> &str {
    let base = settings::base_url(connection);
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
