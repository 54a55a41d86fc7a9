//! Which webhooks get in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tillway_core::time::Timestamp;

use super::{Clarity, connection, event, order, secrets};
use crate::config::Secrets;
use crate::port::{Connector, EdgeFault, Inbound, Verified};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const AT: i64 = 1_614_265_330;

fn sign(secret: &str, id: &str, at: &str, body: &[u8]) -> String {
    let key = BASE64.decode(secret.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

fn verify(
    settings: &[(&str, &str)],
    secrets: &Secrets,
    headers: &[(&str, &str)],
    body: &[u8],
    now: i64,
) -> Result<Verified, EdgeFault> {
    let headers: Vec<_> = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let inbound = Inbound { topic: "orders", headers: &headers, body };
    Clarity.verify(&connection(settings), secrets, inbound, Timestamp::from_unix(now))
}

fn fault(result: Result<Verified, EdgeFault>) -> EdgeFault {
    result.err().unwrap()
}

fn standard(
    secret: &str,
    id: &str,
    at: &str,
    signature: &str,
    body: &[u8],
    now: i64,
) -> Result<Verified, EdgeFault> {
    let headers = [("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", signature)];
    verify(&[], &secrets(&[("webhook_secret", &[secret])]), &headers, body, now)
}

#[test]
fn the_published_vector_fits_and_its_body_is_no_event() {
    let body = br#"{"test": 2432232314}"#;
    let (id, signature) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_eq!(sign(OLD, id, &AT.to_string(), body), signature);
    assert_eq!(fault(standard(OLD, id, "1614265330", signature, body, AT)), EdgeFault::Malformed);
    let other = br#"{"test": 2432232315}"#;
    assert_eq!(fault(standard(OLD, id, "1614265330", signature, other, AT)), EdgeFault::SignatureWrong);
}

#[test]
fn an_event_is_named_and_grouped_by_its_order() {
    let body = event("order.created", &order()).to_string().into_bytes();
    let at = AT.to_string();
    let verified = standard(OLD, "msg_1", &at, &sign(OLD, "msg_1", &at, &body), &body, AT).unwrap();
    let named = (verified.event_id.as_str(), verified.event_type.as_str(), verified.group.as_str());
    assert_eq!(named, ("msg_1", "order.created", "C-1"));
    assert_eq!(verified.created_at, Timestamp::parse_rfc3339("2026-11-21T07:31:00Z"));

    let body = event("customer.updated", &json!({"customerId": "CU-1"})).to_string().into_bytes();
    let verified = standard(OLD, "msg_2", &at, &sign(OLD, "msg_2", &at, &body), &body, AT).unwrap();
    assert_eq!(verified.group, "CU-1");
    let body = event("inventory.updated", &json!({"sku": "A"})).to_string().into_bytes();
    let verified = standard(OLD, "msg_3", &at, &sign(OLD, "msg_3", &at, &body), &body, AT).unwrap();
    assert_eq!(verified.group, "msg_3", "neither order nor customer: a group of its own");
}

#[test]
fn any_signature_under_any_secret_is_enough() {
    let body = event("order.created", &order()).to_string().into_bytes();
    let at = AT.to_string();
    let (old, new) = (sign(OLD, "m", &at, &body), sign(NEW, "m", &at, &body));
    let check = |configured: &[&str], offered: &str| {
        let headers = [("webhook-id", "m"), ("webhook-timestamp", &at), ("webhook-signature", offered)];
        verify(&[], &secrets(&[("webhook_secret", configured)]), &headers, &body, AT)
    };
    assert!(check(&[NEW, OLD], &old).is_ok());
    assert!(check(&[OLD], &format!("v1a,xxxx v1,bm8= {new} {old}")).is_ok());
    assert_eq!(fault(check(&[OLD], &new)), EdgeFault::SignatureWrong);
    assert_eq!(fault(check(&[OLD], &old.replace("v1,", "v2,"))), EdgeFault::SignatureMissing);
    let unusable: [&[&str]; 4] = [&[], &[""], &["whsec_"], &["whsec_c2hvcnQ="]];
    for configured in unusable {
        assert_eq!(fault(check(configured, &old)), EdgeFault::NotConfigured, "a key anyone could guess");
    }
}

#[test]
fn time_and_id_are_part_of_what_is_signed() {
    let body = event("order.created", &order()).to_string().into_bytes();
    let at = AT.to_string();
    let signature = sign(OLD, "m", &at, &body);
    for (now, expected) in
        [(AT + 300, None), (AT + 301, Some(EdgeFault::Stale)), (AT - 301, Some(EdgeFault::Future))]
    {
        assert_eq!(standard(OLD, "m", &at, &signature, &body, now).err(), expected);
    }
    let check = |id: &str, at: &str| standard(OLD, id, at, &signature, &body, AT).err().unwrap();
    assert_eq!(check("n", &at), EdgeFault::SignatureWrong);
    assert_eq!(check("m", &(AT + 1).to_string()), EdgeFault::SignatureWrong);
    for (id, at) in [("", at.as_str()), ("m", ""), ("m", "soon"), ("m", "-5"), ("m", "+1614265330")] {
        assert_eq!(check(id, at), EdgeFault::SignatureMissing);
    }
    // "a.1" at 2 and "a" at "1.2" are the same signed text.
    let dotted = sign(OLD, "a.1", &at, &body);
    assert_eq!(fault(standard(OLD, "a.1", &at, &dotted, &body, AT)), EdgeFault::SignatureMissing);
    let none = verify(&[], &secrets(&[("webhook_secret", &[OLD])]), &[], &body, AT);
    assert_eq!(fault(none), EdgeFault::SignatureMissing);
}

#[test]
fn header_names_and_topics_are_configuration() {
    let body = event("order.created", &order()).to_string().into_bytes();
    let at = AT.to_string();
    let signature = sign(OLD, "m", &at, &body);
    let settings = [
        ("webhook.id_header", "X-Id"),
        ("webhook.timestamp_header", "X-Time"),
        ("webhook.signature_header", "X-Sign"),
    ];
    let headers = [("x-id", "m"), ("x-time", at.as_str()), ("x-sign", signature.as_str())];
    let secrets = secrets(&[("webhook_secret", &[OLD])]);
    assert!(verify(&settings, &secrets, &headers, &body, AT).is_ok());
    let headers: Vec<(String, String)> = Vec::new();
    let inbound = Inbound { topic: "payments", headers: &headers, body: &body };
    let result = Clarity.verify(&connection(&[]), &secrets, inbound, Timestamp::from_unix(AT));
    assert_eq!(fault(result), EdgeFault::UnknownUrl);
}

#[test]
fn a_shared_header_is_compared_with_every_value() {
    let settings = [("webhook.scheme", "shared_header"), ("webhook.header", "X-Shop")];
    let body = event("customer.updated", &order()).to_string().into_bytes();
    let known = secrets(&[("webhook_secret", &["new", "old"])]);
    let check = |headers: &[(&str, &str)]| verify(&settings, &known, headers, &body, 0);
    let first = check(&[("x-shop", "old")]).unwrap();
    assert_eq!(first.event_id.len(), 64);
    assert_eq!(check(&[("x-shop", "new")]).unwrap().event_id, first.event_id, "the body's own");
    assert_eq!(fault(check(&[("x-shop", "ol")])), EdgeFault::SignatureWrong);
    assert_eq!(fault(check(&[])), EdgeFault::SignatureMissing);
    let blank = secrets(&[("webhook_secret", &["", " "])]);
    assert_eq!(fault(verify(&settings, &blank, &[("x-shop", " ")], &body, 0)), EdgeFault::NotConfigured);
}

#[test]
fn hints_alike_are_told_apart_by_when_they_came() {
    let settings = [("webhook.scheme", "shared_header"), ("webhook.header", "X-Shop")];
    let body = event("order.updated", &order()).to_string().into_bytes();
    let known = secrets(&[("webhook_secret", &["new"])]);
    let at = |now| verify(&settings, &known, &[("x-shop", "new")], &body, now).unwrap();
    assert_ne!(at(0).event_id, at(1).event_id);
    assert_eq!((at(0).event_id, at(0).group.as_str()), (at(0).event_id, "C-1"));
}

#[test]
fn what_is_no_event_is_malformed() {
    let at = AT.to_string();
    for body in ["", "[]", "{", r#"{"type":"x"}"#, r#"{"type":"","data":{}}"#, r#"{"type":"x","data":[]}"#] {
        let signature = sign(OLD, "m", &at, body.as_bytes());
        let result = standard(OLD, "m", &at, &signature, body.as_bytes(), AT);
        assert_eq!(fault(result), EdgeFault::Malformed, "{body}");
    }
}
