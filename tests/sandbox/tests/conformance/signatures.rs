//! What is believed of a webhook.

use tillway_connectors::Secrets;
use tillway_connectors::port::{EdgeFault, Inbound};
use tillway_core::time::{Millis, Timestamp};
use tillway_sandbox::Delivery;

use crate::world::{System, Vector, World};

fn fault<S: System>(
    world: &World<S>,
    secrets: &Secrets,
    topic: &str,
    headers: &[(String, String)],
    body: &[u8],
    now: Timestamp,
) -> Option<EdgeFault> {
    let inbound = Inbound { topic, headers, body };
    S::connector().verify(&world.connection, secrets, inbound, now).err()
}

/// The vendor's vectors, or the standard's.
pub fn vectors<S: System>() {
    let vectors = S::vectors();
    let world = World::<S>::new();
    for Vector { name, topic, headers, body, secrets, now, valid } in &vectors {
        let fault = fault(&world, secrets, topic, headers, body, *now);
        // A vector of a standard is signed well and need not be an event.
        let believed = matches!(fault, None | Some(EdgeFault::Malformed));
        assert_eq!(believed, *valid, "{name}: {fault:?}");
    }
    let valid = vectors.iter().filter(|v| v.valid).count();
    println!("{}: {} vectors, {valid} of them valid", S::connector().system(), vectors.len());
    assert!(vectors.is_empty() || (valid > 0 && valid < vectors.len()));
}

/// Headers with one bit changed in a signed part.
fn changed<S: System>(headers: &[(String, String)]) -> Vec<Vec<(String, String)>> {
    let mut out = Vec::new();
    for (name, marks) in S::SIGNED {
        let at = headers.iter().position(|(n, _)| n.eq_ignore_ascii_case(name)).unwrap();
        for mark in *marks {
            let value = headers[at].1.as_bytes();
            let from = headers[at].1.find(mark).unwrap() + mark.len();
            let length = headers[at].1[from..].find([',', ';', ' ']).unwrap_or(value.len() - from);
            assert!(length > 5, "{name} {mark}");
            for place in from..from + length {
                for bit in 0..7 {
                    let mut other = value.to_vec();
                    other[place] ^= 1 << bit;
                    let mut all = headers.to_vec();
                    all[at].1 = String::from_utf8(other).unwrap();
                    out.push(all);
                }
            }
        }
    }
    out
}

pub async fn flips<S: System>() {
    let world = World::<S>::new();
    let (now, secrets) = (world.now(), &world.secrets);
    let mut tried = 0;
    for (Delivery { topic, request, .. }, step) in S::webhooks(&world).await {
        let check =
            |headers: &[(String, String)], body: &[u8]| fault(&world, secrets, &topic, headers, body, now);
        assert_eq!(check(&request.headers, &request.body), None, "as it was sent");
        for place in (0..request.body.len()).step_by(step) {
            for bit in (0..8).step_by(if step == 1 { 1 } else { 5 }) {
                let mut body = request.body.clone();
                body[place] ^= 1 << bit;
                assert!(check(&request.headers, &body).is_some(), "bit {bit} of byte {place} of the body");
                tried += 1;
            }
        }
        for body in [&request.body[1..], &request.body[..request.body.len() - 1], b""] {
            assert!(check(&request.headers, body).is_some(), "cut to {} bytes", body.len());
        }
        for headers in changed::<S>(&request.headers) {
            let fault = check(&headers, &request.body);
            assert!(
                matches!(fault, Some(EdgeFault::SignatureWrong | EdgeFault::SignatureMissing)),
                "{fault:?} of {headers:?}"
            );
            tried += 1;
        }
        for (name, _) in S::SIGNED {
            let without: Vec<_> =
                request.headers.iter().filter(|(n, _)| !n.eq_ignore_ascii_case(name)).cloned().collect();
            assert_eq!(check(&without, &request.body), Some(EdgeFault::SignatureMissing), "without {name}");
        }
    }
    assert!(tried > 1000, "{tried}");
    println!("{}: {tried} changes refused", S::connector().system());
}

pub async fn times_and_keys<S: System>() {
    let world = World::<S>::new();
    let now = world.now();
    let (delivery, _) = S::webhooks(&world).await.pop().unwrap();
    let headers = |at: Timestamp| {
        let mut all = delivery.request.headers.clone();
        all.retain(|(n, _)| !S::SIGNED.iter().any(|(signed, _)| n.eq_ignore_ascii_case(signed)));
        all.extend(S::sign(&delivery.request.body, at));
        all
    };
    let check = |secrets: &Secrets, at: Timestamp| {
        fault(&world, secrets, &delivery.topic, &headers(at), &delivery.request.body, now)
    };
    assert_eq!(check(&world.secrets, now), None, "signed by the kit itself");
    for (at, expected) in [
        (now - Millis::hours(2), EdgeFault::Stale),
        (now - Millis::days(400), EdgeFault::Stale),
        (now + Millis::hours(2), EdgeFault::Future),
        (now + Millis::days(400), EdgeFault::Future),
    ] {
        assert_eq!(check(&world.secrets, at), Some(expected), "{}", at.rfc3339());
    }
    // The sandbox's own, hours later: a replay.
    let Delivery { topic, request, .. } = &delivery;
    let late = fault(&world, &world.secrets, topic, &request.headers, &request.body, now + Millis::hours(2));
    assert_eq!(late, Some(EdgeFault::Stale));
    let with = |value: Option<&str>| {
        let mut secrets = world.secrets.clone();
        match value {
            Some(value) => {
                secrets.0.insert("webhook_secret".into(), vec![tillway_connectors::Secret::new(value)])
            }
            None => secrets.0.remove("webhook_secret"),
        };
        check(&secrets, now)
    };
    let other = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
    let bare = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
    assert!([with(Some(other)), with(Some(bare))].contains(&Some(EdgeFault::SignatureWrong)));
    for none in [None, Some(""), Some(" ")] {
        assert_eq!(with(none), Some(EdgeFault::NotConfigured), "{none:?}");
    }
}
