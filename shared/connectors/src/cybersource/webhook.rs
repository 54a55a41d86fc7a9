//! Webhook signatures and encrypted payloads (reference `cybersource.md` sections 4.4 and 4.5).
//!
//! `v-c-signature: t=<ms>;keyId=<uuid>;sig=<base64>`; expected is HMAC-SHA256 under the decoded key over `t`, a dot and
//! a message. Sources disagree on the message, so each is tried in this order, and any that fits will do: the raw body,
//! the raw text of its member `payload`, that member written compactly, and of an encrypted payload the plain text.
//! Several messages under one key do not weaken the signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use subtle::{Choice, ConstantTimeEq as _};
use tillway_core::doc::{Doc, Json};
use tillway_core::time::{Millis, Timestamp};

use super::auth::{mac, private_key};
use super::jwe::{self, Sealed};
use super::settings::{MLE_KEY, WEBHOOK_SECRET};
use super::{events, wire};
use crate::config::{Connection, Secrets};
use crate::port::{EdgeFault, Inbound, Verified};

struct Signature<'a> {
    time: &'a str,
    key_id: &'a str,
    sig: Vec<u8>,
}

fn read(header: &str) -> Option<Signature<'_>> {
    let (mut time, mut key_id, mut sig) = (None, "", None);
    // Quotes around it and a last semicolon were seen.
    for element in header.trim().trim_matches('"').split(';').take(16) {
        // At the first `=` alone: base64 ends with more of them.
        match element.trim().split_once('=') {
            // A second one would leave open which was meant.
            Some(("t", t)) if time.is_none() => time = Some(t.trim()),
            Some(("t", _)) => return None,
            Some(("keyId", id)) => key_id = id.trim(),
            Some(("sig", s)) if sig.is_none() => sig = Some(s.trim().trim_matches('"')),
            Some(("sig", _)) => return None,
            _ => {}
        }
    }
    let time = time.filter(|t| (1..=16).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit()))?;
    let sig = STANDARD.decode(sig?).ok().filter(|s| s.len() == 32)?;
    Some(Signature { time, key_id, sig })
}

/// The keys a signature may be of: those that bear its key id, and those that bear none.
fn keys(secrets: &Secrets, key_id: &str) -> Vec<Vec<u8>> {
    let one = |text: &str| {
        let (id, key) = text.split_once(':').map_or(("", text), |(id, key)| (id.trim(), key.trim()));
        let fits = id.is_empty() || key_id.is_empty() || id == key_id;
        // An empty or a short key would let anyone sign.
        STANDARD.decode(key).ok().filter(|k| fits && k.len() >= MIN_KEY)
    };
    secrets.all(WEBHOOK_SECRET).iter().filter_map(|s| one(s.expose().trim())).collect()
}

/// Shortest key that is taken, bytes.
const MIN_KEY: usize = 16;

fn fits(keys: &[Vec<u8>], signature: &Signature<'_>, message: &[u8]) -> bool {
    let mut text = Vec::with_capacity(message.len().saturating_add(20));
    text.extend_from_slice(signature.time.as_bytes());
    text.push(b'.');
    text.extend_from_slice(message);
    let mut any = Choice::from(0);
    for key in keys {
        let Some(expected) = mac(key, &text) else { continue };
        any |= expected.as_slice().ct_eq(&signature.sig);
    }
    any.into()
}

/// A body taken apart, before anything of it is believed.
struct Body<'a> {
    raw: &'a [u8],
    /// The top level, members as they stand.
    members: Vec<(String, &'a RawValue)>,
    /// The encrypted text, where there is one.
    sealed: Option<String>,
}

/// Top-level members as text; `None` where the body is no JSON object.
fn members(raw: &[u8]) -> Option<Vec<(String, &RawValue)>> {
    let map: std::collections::BTreeMap<String, &RawValue> = serde_json::from_slice(raw).ok()?;
    Some(map.into_iter().collect())
}

impl<'a> Body<'a> {
    fn read(raw: &'a [u8]) -> Result<Self, EdgeFault> {
        if let Some(whole) = std::str::from_utf8(raw).ok().map(str::trim).filter(|t| jwe::is_compact(t)) {
            return Ok(Self { raw, members: Vec::new(), sealed: Some(whole.to_owned()) });
        }
        let members = members(raw).ok_or(EdgeFault::Malformed)?;
        let mut body = Self { raw, members, sealed: None };
        body.sealed = body.find_sealed();
        Ok(body)
    }

    fn member(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// The names under which encrypted text was seen; which one the vendor uses is not documented.
    fn find_sealed(&self) -> Option<String> {
        let text = |value: Json<'_>| value.as_str().filter(|t| jwe::is_compact(t)).map(str::to_owned);
        let under = |value: Json<'_>| {
            SEALED_NAMES.iter().find_map(|name| value.get(name).and_then(text)).or_else(|| text(value))
        };
        let top = SEALED_NAMES.iter().find_map(|name| {
            let doc = Doc::parse(self.member(name)?.get()).ok()?;
            text(doc.json())
        });
        top.or_else(|| {
            let doc = Doc::parse(self.member("payload")?.get()).ok()?;
            let payload = doc.json();
            under(payload)
                .or_else(|| payload.items().find_map(under))
                .or_else(|| payload.get("data").and_then(under))
        })
    }
}

const SEALED_NAMES: [&str; 4] = ["encData", "encryptedRequest", "encryptedPayload", "encryptedResponse"];

/// Verifies a webhook, opens it where it is encrypted, and names the event in it.
pub(super) fn verify(
    connection: &Connection,
    secrets: &Secrets,
    inbound: Inbound<'_>,
    now: Timestamp,
) -> Result<Verified, EdgeFault> {
    if secrets.all(WEBHOOK_SECRET).iter().all(|s| s.expose().trim().is_empty()) {
        return Err(EdgeFault::NotConfigured);
    }
    let header = inbound.header("v-c-signature").ok_or(EdgeFault::SignatureMissing)?;
    let signature = read(header).ok_or(EdgeFault::SignatureMissing)?;
    let keys = keys(secrets, signature.key_id);
    let body = Body::read(inbound.body)?;
    let plain = authentic(&keys, &signature, &body, secrets)?;
    timely(connection, &signature, now)?;
    let opened = match plain {
        Some(plain) => Some(open(&body, inbound, &plain)?),
        None => None,
    };
    let document = Doc::from_bytes(opened.clone().unwrap_or_else(|| inbound.body.to_vec()));
    let document = document.map_err(|_| EdgeFault::Malformed)?;
    named(document.json(), inbound, opened)
}

/// Whether any message fits; answers the plain text of an encrypted one.
fn authentic(
    keys: &[Vec<u8>],
    signature: &Signature<'_>,
    body: &Body<'_>,
    secrets: &Secrets,
) -> Result<Option<Vec<u8>>, EdgeFault> {
    let payload = body.member("payload").map(RawValue::get);
    let compact = || {
        let value: Value = serde_json::from_str(payload?).ok()?;
        Some(value.to_string())
    };
    // A signature over a member in which the encrypted text does not stand says nothing about that.
    let speaks = |payload: &&str| body.sealed.as_ref().is_none_or(|sealed| payload.contains(sealed.as_str()));
    let payload = payload.filter(speaks);
    let by_text = fits(keys, signature, body.raw)
        || payload.is_some_and(|p| fits(keys, signature, p.as_bytes()))
        || payload.and_then(|_| compact()).is_some_and(|c| fits(keys, signature, c.as_bytes()))
        || body.sealed.as_ref().is_some_and(|s| fits(keys, signature, s.as_bytes()));
    let Some(sealed) = &body.sealed else {
        return if by_text { Ok(None) } else { Err(EdgeFault::SignatureWrong) };
    };
    let private: Vec<_> = secrets.all(MLE_KEY).iter().filter_map(private_key).collect();
    if private.is_empty() {
        // Ours to mend: the provider shall deliver it again.
        return Err(EdgeFault::NotConfigured);
    }
    let plain = jwe::open(sealed, &private).map_err(|fault| match (fault, by_text) {
        (Sealed::Malformed, _) => EdgeFault::Malformed,
        // Authentic, and encrypted for a key that is not here.
        (Sealed::NoKey, true) => EdgeFault::NotConfigured,
        (Sealed::NoKey, false) => EdgeFault::SignatureWrong,
    })?;
    if by_text || fits(keys, signature, &plain) { Ok(Some(plain)) } else { Err(EdgeFault::SignatureWrong) }
}

fn timely(connection: &Connection, signature: &Signature<'_>, now: Timestamp) -> Result<(), EdgeFault> {
    let millis: i64 = signature.time.parse().map_err(|_| EdgeFault::SignatureMissing)?;
    let tolerance = Millis::mins(connection.number("tolerance_minutes", 60));
    let signed_at = Timestamp(millis);
    if signed_at + tolerance < now {
        return Err(EdgeFault::Stale);
    }
    if signed_at > now + tolerance {
        return Err(EdgeFault::Future);
    }
    Ok(())
}

/// The body with its plain payload in place of the encrypted one.
fn open(body: &Body<'_>, inbound: Inbound<'_>, plain: &[u8]) -> Result<Vec<u8>, EdgeFault> {
    let plain: Value = serde_json::from_slice(plain).map_err(|_| EdgeFault::Malformed)?;
    if plain.get("payload").is_some() && plain.get("eventType").is_some() {
        return Ok(plain.to_string().into_bytes());
    }
    let mut out = Map::new();
    for (name, raw) in
        body.members.iter().filter(|(n, _)| n != "payload" && !SEALED_NAMES.contains(&n.as_str()))
    {
        let value = serde_json::from_str(raw.get()).map_err(|_| EdgeFault::Malformed)?;
        out.insert(name.clone(), value);
    }
    for (name, header) in [("eventType", "v-c-event-type"), ("webhookId", "v-c-webhook-id")] {
        if let (false, Some(value)) = (out.contains_key(name), inbound.header(header)) {
            out.insert(name.to_owned(), value.into());
        }
    }
    out.insert("payload".to_owned(), plain);
    Ok(Value::Object(out).to_string().into_bytes())
}

fn named(body: Json<'_>, inbound: Inbound<'_>, opened: Option<Vec<u8>>) -> Result<Verified, EdgeFault> {
    if !body.is_object() {
        return Err(EdgeFault::Malformed);
    }
    let stated = wire::text(body, &["eventType"]).or_else(|| inbound.header("v-c-event-type"));
    let plain =
        |t: &&str| t.len() <= 120 && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let event_type = match stated.map(str::trim).filter(plain) {
        Some(stated) => stated.to_owned(),
        // The vendor's test call names no type.
        None if body.get("payloads").is_some() => "test".to_owned(),
        None => "unknown".to_owned(),
    };
    let (event_id, group) = events::name(&event_type, body);
    let created_at = wire::text(body, &["eventDate"])
        .and_then(|at| Timestamp::parse_rfc3339(at).or_else(|| Timestamp::parse_rfc3339(&format!("{at}Z"))));
    Ok(Verified { event_id, event_type, group, created_at, opened })
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
