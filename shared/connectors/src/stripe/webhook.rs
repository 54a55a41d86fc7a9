//! Webhook signatures (reference `stripe.md` section 2).
//!
//! `Stripe-Signature: t=<unix>,v1=<hex>[,v1=<hex>…][,v0=…]`. Expected is the lower-case hex of
//! HMAC-SHA256 under the whole `whsec_…` text over `t`, a dot and the raw body. While a secret is rolled
//! Stripe signs with each active one, and we may hold several: any fitting pair will do. The time is
//! checked after the signature, and unlike Stripe's own libraries in both directions.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tillway_core::doc::{Doc, Json};
use tillway_core::ids::digest;
use tillway_core::time::Timestamp;

use super::wire;
use crate::config::{Connection, Secrets};
use crate::port::{EdgeFault, Inbound, Verified};

/// Name of the secret; several values while one is rotated.
pub(super) const SECRET: &str = "webhook_secret";

/// Elements of the header that are looked at; a longer one is nobody's.
const MAX_ELEMENTS: usize = 32;

struct Signature<'a> {
    time: &'a str,
    v1: Vec<&'a str>,
}

fn read(header: &str) -> Option<Signature<'_>> {
    let mut signature = Signature { time: "", v1: Vec::new() };
    for (at, element) in header.split(',').enumerate() {
        if at >= MAX_ELEMENTS {
            return None;
        }
        match element.split_once('=') {
            // A second time would leave open which one was signed.
            Some(("t", _)) if !signature.time.is_empty() => return None,
            Some(("t", time)) => signature.time = time,
            Some(("v1", hex)) => signature.v1.push(hex),
            _ => {}
        }
    }
    let timed = !signature.time.is_empty()
        && signature.time.len() <= 15
        && signature.time.bytes().all(|b| b.is_ascii_digit());
    (timed && !signature.v1.is_empty()).then_some(signature)
}

fn expected(secret: &str, time: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(hex::encode(mac.finalize().into_bytes()))
}

fn check(
    connection: &Connection,
    secrets: &Secrets,
    inbound: Inbound<'_>,
    now: Timestamp,
) -> Result<(), EdgeFault> {
    let secrets: Vec<&str> =
        secrets.all(SECRET).iter().map(|s| s.expose()).filter(|s| !s.trim().is_empty()).collect();
    if secrets.is_empty() {
        return Err(EdgeFault::NotConfigured);
    }
    let header = inbound.header("stripe-signature").ok_or(EdgeFault::SignatureMissing)?;
    let signature = read(header).ok_or(EdgeFault::SignatureMissing)?;
    // Every pair is compared, whichever fits: the time taken tells nothing.
    let mut fits = subtle::Choice::from(0);
    for secret in secrets {
        let Some(expected) = expected(secret, signature.time, inbound.body) else { continue };
        for given in &signature.v1 {
            fits |= expected.as_bytes().ct_eq(given.as_bytes());
        }
    }
    if !bool::from(fits) {
        return Err(EdgeFault::SignatureWrong);
    }
    let signed_at: i64 = signature.time.parse().map_err(|_| EdgeFault::SignatureMissing)?;
    let tolerance = connection.number("tolerance_seconds", 300);
    let age = now.unix().saturating_sub(signed_at);
    if age > tolerance {
        return Err(EdgeFault::Stale);
    }
    if age < tolerance.saturating_neg() {
        return Err(EdgeFault::Future);
    }
    Ok(())
}

/// Verifies a webhook and names the event in it.
pub(super) fn verify(
    connection: &Connection,
    secrets: &Secrets,
    inbound: Inbound<'_>,
    now: Timestamp,
) -> Result<Verified, EdgeFault> {
    check(connection, secrets, inbound, now)?;
    let body = Doc::from_bytes(inbound.body.to_vec()).map_err(|_| EdgeFault::Malformed)?;
    if !body.json().is_object() {
        return Err(EdgeFault::Malformed);
    }
    Ok(name(connection, body.json()))
}

/// Names an authentic event. One without an id is told apart by its content.
pub(super) fn name(connection: &Connection, body: Json<'_>) -> Verified {
    let event_id = wire::text(body, "id")
        .map_or_else(|| format!("evt_none_{}", digest(&[&body.to_string()])), str::to_owned);
    let event_type = wire::text(body, "type").unwrap_or("unknown").to_owned();
    let object = body.at(&["data", "object"]).unwrap_or(Json::null());
    let group = wire::group(connection, object).unwrap_or(&event_id).to_owned();
    // Version 2 ("thin") events give the time as RFC 3339.
    let created_at = wire::time(body, "created")
        .or_else(|| wire::text(body, "created").and_then(Timestamp::parse_rfc3339));
    Verified { event_id, event_type, group, created_at, opened: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{connection, spec};
    use super::*;
    use crate::config::Secret;

    fn secrets(texts: &[&str]) -> Secrets {
        let values = texts.iter().map(|t| Secret::new(*t)).collect();
        Secrets([(SECRET.to_owned(), values)].into())
    }

    fn run(header: Option<&str>, texts: &[&str], now: i64, body: &[u8]) -> Result<Verified, EdgeFault> {
        let headers: Vec<(String, String)> =
            header.map(|h| ("Stripe-Signature".to_owned(), h.to_owned())).into_iter().collect();
        let inbound = Inbound { topic: "events", headers: &headers, body };
        verify(&connection(), &secrets(texts), inbound, Timestamp::from_unix(now))
    }

    fn signed(secret: &str, now: i64, body: &str) -> String {
        format!("t={now},v1={}", expected(secret, &now.to_string(), body.as_bytes()).unwrap())
    }

    #[test]
    fn the_official_librarys_vectors_hold() {
        let Some(file) = spec("signature-vectors.json") else { return };
        let body = file["body_utf8"].as_str().unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 14);
        for vector in vectors {
            let name = vector["name"].as_str().unwrap();
            let body = vector["body_override"].as_str().unwrap_or(body);
            let secret = vector["secret"].as_str().unwrap();
            let now = vector["now"].as_i64().unwrap();
            let result = run(vector["header"].as_str(), &[secret], now, body.as_bytes());
            match name {
                // Tighter than Stripe's own library, on purpose.
                "future_timestamp_one_hour" => assert_eq!(result.err(), Some(EdgeFault::Future)),
                "expired_301" => assert_eq!(result.err(), Some(EdgeFault::Stale)),
                "only_v0" | "no_timestamp" | "empty_header" | "space_after_comma" => {
                    assert_eq!(result.err(), Some(EdgeFault::SignatureMissing), "{name}");
                }
                _ if vector["valid"] == true => {
                    let verified = result.unwrap();
                    assert_eq!((verified.event_id.as_str(), verified.group.as_str()), ("evt_1KAT", "A-1001"));
                    assert_eq!(verified.event_type, "charge.succeeded");
                    assert_eq!(verified.created_at, Some(Timestamp::from_unix(1_700_000_000)));
                }
                _ => assert_eq!(result.err(), Some(EdgeFault::SignatureWrong), "{name}"),
            }
        }
    }

    #[test]
    fn any_active_secret_fits_and_none_is_an_error_of_ours() {
        let header = signed("whsec_old", 1000, "{}");
        assert!(run(Some(&header), &["whsec_new", "whsec_old"], 1000, b"{}").is_ok());
        assert_eq!(run(Some(&header), &["whsec_new"], 1000, b"{}").err(), Some(EdgeFault::SignatureWrong));
        assert_eq!(run(Some(&header), &[" "], 1000, b"{}").err(), Some(EdgeFault::NotConfigured));
        assert_eq!(run(Some(&header), &[], 1000, b"{}").err(), Some(EdgeFault::NotConfigured));
        assert_eq!(run(None, &["whsec_old"], 1000, b"{}").err(), Some(EdgeFault::SignatureMissing));
    }

    #[test]
    fn two_times_in_one_header_are_refused() {
        let header = format!("t=1,{}", signed("whsec_a", 1000, "{}"));
        assert_eq!(run(Some(&header), &["whsec_a"], 1000, b"{}").err(), Some(EdgeFault::SignatureMissing));
    }

    #[test]
    fn authentic_events_of_unknown_shape_get_in_and_other_json_does_not() {
        let thin =
            json!({"id": "evt_2", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found",
            "created": "2026-11-21T08:00:00.000Z"})
            .to_string();
        let verified = run(Some(&signed("whsec_a", 7, &thin)), &["whsec_a"], 7, thin.as_bytes()).unwrap();
        assert_eq!(
            (verified.group.as_str(), verified.created_at.unwrap().day().as_str()),
            ("evt_2", "2026-11-21")
        );
        for bad in ["[]", "1", "{"] {
            let header = signed("whsec_a", 7, bad);
            assert_eq!(run(Some(&header), &["whsec_a"], 7, bad.as_bytes()).err(), Some(EdgeFault::Malformed));
        }
        let bare = run(Some(&signed("whsec_a", 7, "{}")), &["whsec_a"], 7, b"{}").unwrap();
        assert!(bare.event_id.starts_with("evt_none_"), "{}", bare.event_id);
    }
}
