//! Who may call: a JWT under the shared secret (HS256) or a certificate's key (RS256), or an HTTP signature.
//!
//! Every claim is checked, for a client that leaves one out is what this sandbox is there to find. The service answers
//! no more than "Authentication Failed"; the reason is counted in [`super::Counters::auth_refusals`].

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::signature::Verifier as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tillway_core::http::{Method, Request};
use tillway_core::time::{Millis, Timestamp};

/// What callers must know.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The transacting merchant.
    pub merchant_id: String,
    /// Id of the REST key.
    pub key_id: String,
    /// The REST shared secret, base64.
    pub shared_secret: String,
    /// The portfolio, where a meta key signs for the merchant.
    pub portfolio_id: Option<String>,
    /// Serial number and public key of a P12 certificate, where JWTs under it are taken.
    pub certificate: Option<(String, rsa::PublicKey)>,
    /// Whether HTTP signatures are still taken; their end was announced for September 2026.
    pub http_signature: bool,
    /// How far a signature's time may be off, either way.
    pub window: Millis,
}

impl Credentials {
    /// A merchant with a shared secret, all else as usual.
    #[must_use]
    pub fn new(merchant: impl Into<String>, key: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            merchant_id: merchant.into(),
            key_id: key.into(),
            shared_secret: secret.into(),
            portfolio_id: None,
            certificate: None,
            http_signature: true,
            window: Millis::mins(2),
        }
    }

    fn key(&self) -> Result<Vec<u8>, Why> {
        STANDARD.decode(&self.shared_secret).map_err(|_| "sandbox: the shared secret is no base64")
    }

    fn signs_for(&self) -> &str {
        self.portfolio_id.as_deref().unwrap_or(&self.merchant_id)
    }
}

/// Why a caller is turned away.
pub(super) type Why = &'static str;

/// What is known of an authentic call.
pub(super) struct Caller {
    /// The JWT's id and when it ends, to be refused from then on.
    pub(super) jti: Option<(String, Timestamp)>,
}

/// HMAC-SHA256.
pub(super) fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        },
    )
}

fn same(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    !signature.is_empty() && mac(key, message) == signature
}

fn digest(body: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(body))
}

/// The path with its query, as on the wire.
fn target(request: &Request) -> String {
    match request.query() {
        "" => request.path().to_owned(),
        query => format!("{}?{query}", request.path()),
    }
}

/// The host called, as the client wrote it.
fn authority(request: &Request) -> Option<&str> {
    let by_url = || {
        let (_, rest) = request.url.split_once("://")?;
        rest.split('/').next()
    };
    request.header("host").or_else(by_url)
}

/// The same without its port.
fn host_of(request: &Request) -> Option<&str> {
    authority(request).map(bare)
}

fn bare(host: &str) -> &str {
    host.split(':').next().unwrap_or(host)
}

fn with_body(method: Method) -> bool {
    matches!(method, Method::Post | Method::Put | Method::Patch)
}

fn timely(credentials: &Credentials, signed: Timestamp, now: Timestamp) -> Result<(), Why> {
    let off = now.since(signed).0.saturating_abs();
    if off > credentials.window.0 { Err("time outside the window") } else { Ok(()) }
}

/// Checks a request's credentials.
pub(super) fn check(credentials: &Credentials, request: &Request, now: Timestamp) -> Result<Caller, Why> {
    match (request.header("authorization"), request.header("signature")) {
        (Some(_), Some(_)) => Err("both a token and a signature"),
        (Some(bearer), None) => {
            let token = bearer.strip_prefix("Bearer ").ok_or("no bearer token")?;
            token_of(credentials, request, token, now)
        }
        (None, Some(signature)) if credentials.http_signature => {
            signature_of(credentials, request, signature, now)?;
            Ok(Caller { jti: None })
        }
        (None, Some(_)) => Err("HTTP signatures are no longer taken"),
        (None, None) => Err("no credentials"),
    }
}

fn json_part(part: &str) -> Result<Value, Why> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| "token: no base64url")?;
    serde_json::from_slice(&bytes).map_err(|_| "token: no JSON")
}

fn token_of(
    credentials: &Credentials,
    request: &Request,
    token: &str,
    now: Timestamp,
) -> Result<Caller, Why> {
    let (signed, signature) = token.rsplit_once('.').ok_or("token: not three parts")?;
    let (header, claims) = signed.split_once('.').ok_or("token: not three parts")?;
    let (header, claims) = (json_part(header)?, json_part(claims)?);
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "token: no base64url")?;
    let says = |name: &str| header.get(name).and_then(Value::as_str);
    if says("typ") != Some("JWT") {
        return Err("token: typ");
    }
    match (says("alg"), &credentials.certificate) {
        (Some("HS256"), _) => {
            if says("kid") != Some(credentials.key_id.as_str()) {
                return Err("token: kid");
            }
            if !same(&credentials.key()?, signed.as_bytes(), &signature) {
                return Err("token: signature");
            }
        }
        (Some("RS256"), Some((serial, key))) => {
            if says("kid") != Some(serial.as_str()) {
                return Err("token: kid");
            }
            let key = VerifyingKey::<Sha256>::new(key.clone());
            let signature = Signature::try_from(signature.as_slice()).map_err(|_| "token: signature")?;
            key.verify(signed.as_bytes(), &signature).map_err(|_| "token: signature")?;
        }
        _ => return Err("token: alg"),
    }
    claims_of(credentials, request, &claims, now)
}

fn claims_of(
    credentials: &Credentials,
    request: &Request,
    claims: &Value,
    now: Timestamp,
) -> Result<Caller, Why> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let seconds = |name: &str| claims.get(name).and_then(Value::as_i64).map(Timestamp::from_unix);
    let (issued, ends) = (seconds("iat").ok_or("claim: iat")?, seconds("exp").ok_or("claim: exp")?);
    if ends <= issued || ends.since(issued) > Millis::secs(120) {
        return Err("claim: exp is not within 120 s of iat");
    }
    timely(credentials, issued, now)?;
    if now >= ends {
        return Err("claim: expired");
    }
    let target = target(request);
    let expected = [
        ("iss", credentials.signs_for()),
        ("v-c-merchant-id", credentials.merchant_id.as_str()),
        ("v-c-jwt-version", "2"),
        ("request-method", request.method.as_str()),
        ("request-resource-path", target.as_str()),
    ];
    for (name, value) in expected {
        if text(name) != Some(value) {
            return Err(name);
        }
    }
    let host = text("request-host").map(bare);
    if host.is_none() || host != host_of(request) {
        return Err("request-host");
    }
    if with_body(request.method) {
        if text("digestAlgorithm") != Some("SHA-256") {
            return Err("digestAlgorithm");
        }
        if text("digest") != Some(digest(&request.body).as_str()) {
            return Err("digest");
        }
    } else if !request.body.is_empty() {
        return Err("a body without a digest");
    }
    let jti = text("jti").filter(|j| is_uuid(j)).ok_or("claim: jti")?;
    Ok(Caller { jti: Some((jti.to_owned(), ends)) })
}

fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(p, n)| p.len() == n && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A parameter of the `Signature` header: `name="value"`.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(',').find_map(|part| {
        let (found, value) = part.trim().split_once('=')?;
        (found == name).then(|| value.trim().trim_matches('"'))
    })
}

fn signature_of(
    credentials: &Credentials,
    request: &Request,
    header: &str,
    now: Timestamp,
) -> Result<(), Why> {
    let get = |name: &str| parameter(header, name).ok_or("signature: a parameter is missing");
    if get("keyid")? != credentials.key_id {
        return Err("signature: keyid");
    }
    if !get("algorithm")?.eq_ignore_ascii_case("HmacSHA256") {
        return Err("signature: algorithm");
    }
    let covered: Vec<&str> = get("headers")?.split(' ').collect();
    let has = |name: &str| covered.contains(&name);
    let dated = has("date") || has("v-c-date");
    let aimed = has("request-target") || has("(request-target)");
    let whole = with_body(request.method) == has("digest");
    if !(has("host") && dated && aimed && whole && has("v-c-merchant-id")) {
        return Err("signature: does not cover what it must");
    }
    if request.header("v-c-merchant-id") != Some(credentials.merchant_id.as_str()) {
        return Err("v-c-merchant-id");
    }
    let text = signing_string(credentials, request, &covered)?;
    let signature = STANDARD.decode(get("signature")?).map_err(|_| "signature: no base64")?;
    if !same(&credentials.key()?, text.as_bytes(), &signature) {
        return Err("signature: wrong");
    }
    let date = request.header(if has("v-c-date") { "v-c-date" } else { "date" }).ok_or("date")?;
    timely(
        credentials,
        Timestamp::parse_http(date)
            .filter(|t| t.http().as_deref() == Some(date))
            .ok_or("date: not as RFC 7231 has it")?,
        now,
    )?;
    if with_body(request.method)
        && request.header("digest") != Some(format!("SHA-256={}", digest(&request.body)).as_str())
    {
        return Err("digest");
    }
    Ok(())
}

fn signing_string(credentials: &Credentials, request: &Request, covered: &[&str]) -> Result<String, Why> {
    let mut lines = Vec::new();
    for name in covered {
        let value = match *name {
            "host" => authority(request).ok_or("host")?.to_owned(),
            "request-target" | "(request-target)" => {
                format!("{} {}", request.method.as_str().to_ascii_lowercase(), target(request))
            }
            "v-c-merchant-id" => credentials.signs_for().to_owned(),
            other => request.header(other).ok_or("a covered header is missing")?.to_owned(),
        };
        lines.push(format!("{name}: {value}"));
    }
    Ok(lines.join("\n"))
}
