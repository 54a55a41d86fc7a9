//! Whether a webhook is authentic, and what it is called.
//!
//! `standard` is Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, base64 of it behind `v1,`. Any
//! one signature under any one secret is enough, so that secrets can be rotated on either side.
//! `shared_header` is the fallback for a shop that signs nothing: it proves the sender and neither the
//! bytes nor the time, so its events are hints (see `events`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tillway_core::doc::{Doc, Json};
use tillway_core::time::{Millis, Timestamp};

use super::settings;
use super::wire::Node;
use crate::config::{Connection, Secret, Secrets};
use crate::port::{EdgeFault, Inbound, Verified};

/// Last parts of the webhook URLs.
pub static TOPICS: [&str; 3] = ["orders", "customers", "inventory"];

/// More signatures than this in one header are no rotation.
const MOST_SIGNATURES: usize = 16;

/// Verifies, then parses and names.
///
/// # Errors
/// [`EdgeFault`] for whatever is not authentic or not well-formed.
pub fn verify(
    connection: &Connection,
    secrets: &Secrets,
    inbound: Inbound<'_>,
    now: Timestamp,
) -> Result<Verified, EdgeFault> {
    if !TOPICS.contains(&inbound.topic) {
        return Err(EdgeFault::UnknownUrl);
    }
    let known = secrets.all("webhook_secret");
    let event_id = if settings::signed(connection) {
        standard(connection, known, inbound, now)?
    } else {
        shared_header(connection, known, inbound)?
    };
    let body = Doc::from_bytes(inbound.body.to_vec()).map_err(|_| EdgeFault::Malformed)?;
    let mut named = name(event_id, body.json())?;
    let hint = !settings::signed(connection)
        && matches!(settings::event(connection, &named.event_type), Some("order.created" | "order.updated"));
    if hint {
        // Two hints may be alike to the byte, and the order may have changed between them: each is read for.
        let id = format!("{}@{}", named.event_id, now.0);
        if named.group == named.event_id {
            named.group.clone_from(&id);
        }
        named.event_id = id;
    }
    Ok(named)
}

fn header<'a>(
    connection: &Connection,
    inbound: &'a Inbound<'_>,
    setting: &str,
) -> Result<&'a str, EdgeFault> {
    let value = inbound.header(settings::get(connection, setting)).map(str::trim);
    value.filter(|v| !v.is_empty()).ok_or(EdgeFault::SignatureMissing)
}

/// The key behind `whsec_`: base64 of 24 to 64 bytes. Anything shorter, the empty text above all, would
/// let anyone sign.
fn key(secret: &Secret) -> Option<Hmac<Sha256>> {
    let text = secret.expose().trim();
    let bytes = BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
    (24..=64).contains(&bytes.len()).then(|| Hmac::new_from_slice(&bytes).ok()).flatten()
}

fn standard(
    connection: &Connection,
    secrets: &[Secret],
    inbound: Inbound<'_>,
    now: Timestamp,
) -> Result<String, EdgeFault> {
    let keys: Vec<_> = secrets.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Err(EdgeFault::NotConfigured);
    }
    let id = header(connection, &inbound, "webhook.id_header")?;
    let at = header(connection, &inbound, "webhook.timestamp_header")?;
    let signatures = header(connection, &inbound, "webhook.signature_header")?;
    // A dot in the id would let one signed text be read as another id and timestamp.
    if id.len() > 128 || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'.') {
        return Err(EdgeFault::SignatureMissing);
    }
    if at.is_empty() || at.len() > 15 || !at.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EdgeFault::SignatureMissing);
    }
    let seconds: i64 = at.parse().map_err(|_| EdgeFault::SignatureMissing)?;
    let offered: Vec<Vec<u8>> = signatures
        .split_ascii_whitespace()
        .take(MOST_SIGNATURES)
        .filter_map(|s| BASE64.decode(s.strip_prefix("v1,")?).ok())
        .collect();
    if offered.is_empty() {
        return Err(EdgeFault::SignatureMissing);
    }
    let fits = keys.into_iter().any(|mut mac| {
        mac.update(format!("{id}.{at}.").as_bytes());
        mac.update(inbound.body);
        let expected = mac.finalize().into_bytes();
        offered.iter().fold(Choice::from(0), |any, s| any | expected.as_slice().ct_eq(s)).into()
    });
    if !fits {
        return Err(EdgeFault::SignatureWrong);
    }
    let tolerance = Millis::secs(settings::number(connection, "tolerance_seconds"));
    let signed_at = Timestamp::from_unix(seconds);
    if signed_at + tolerance < now {
        return Err(EdgeFault::Stale);
    }
    if signed_at > now + tolerance {
        return Err(EdgeFault::Future);
    }
    Ok(id.to_owned())
}

fn shared_header(
    connection: &Connection,
    secrets: &[Secret],
    inbound: Inbound<'_>,
) -> Result<String, EdgeFault> {
    // Digests are compared, so that not even the length shows.
    let digest = |text: &str| Sha256::digest(text.trim().as_bytes());
    let known: Vec<_> =
        secrets.iter().map(Secret::expose).filter(|s| !s.trim().is_empty()).map(digest).collect();
    if known.is_empty() {
        return Err(EdgeFault::NotConfigured);
    }
    let given = digest(header(connection, &inbound, "webhook.header")?);
    let fits = known.iter().fold(Choice::from(0), |any, k| any | k.as_slice().ct_eq(given.as_slice()));
    if !bool::from(fits) {
        return Err(EdgeFault::SignatureWrong);
    }
    Ok(hex::encode(Sha256::digest(inbound.body)))
}

fn name(event_id: String, body: Json<'_>) -> Result<Verified, EdgeFault> {
    let event_type = body.get("type").and_then(Json::as_str).map(str::trim).unwrap_or_default().to_owned();
    if event_type.is_empty() || event_type.len() > 128 || !body.get("data").is_some_and(Json::is_object) {
        return Err(EdgeFault::Malformed);
    }
    let root = Node::root(body);
    let named = |id: &'static str| root.member("data").and_then(|data| data.member(id)?.id()).ok().flatten();
    let group = named("orderId").or_else(|| named("customerId")).unwrap_or_else(|| event_id.clone());
    // Informative: a time that cannot be read is no reason to turn the event away.
    let created_at = root.member("timestamp").and_then(|at| at.time()).ok().flatten();
    Ok(Verified { event_id, event_type, group, created_at, opened: None })
}
