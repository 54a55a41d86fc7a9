//! Signatures in every accepted form, encrypted payloads, and what is turned away.

use serde_json::json;
use sha2::Sha256;

use super::super::testing::{connection, spec, spec_text};
use super::*;
use crate::config::Secret;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ID: &str = "aaaabbbb-cccc-dddd-eeee-ffff00001111";
const AT: i64 = 1_795_169_730_123;

fn secrets(keys: &[&str], mle: &[&str]) -> Secrets {
    let list = |texts: &[&str]| texts.iter().map(|t| Secret::new(*t)).collect::<Vec<_>>();
    Secrets([(WEBHOOK_SECRET.to_owned(), list(keys)), (MLE_KEY.to_owned(), list(mle))].into())
}

fn signed(message: &[u8]) -> String {
    let mut text = format!("{AT}.").into_bytes();
    text.extend_from_slice(message);
    let sig = STANDARD.encode(mac(&STANDARD.decode(KEY).unwrap(), &text).unwrap());
    format!("t={AT};keyId={ID};sig={sig}")
}

fn run_at(header: Option<&str>, secrets: &Secrets, body: &[u8], now: i64) -> Result<Verified, EdgeFault> {
    let headers: Vec<(String, String)> = [
        header.map(|h| ("v-c-signature".to_owned(), h.to_owned())),
        Some(("v-c-event-type".to_owned(), "payments.authorization.status.accepted".to_owned())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let inbound = Inbound { topic: "payments", headers: &headers, body };
    verify(&connection(), secrets, inbound, Timestamp(now))
}

fn run(header: &str, secrets: &Secrets, body: &[u8]) -> Result<Verified, EdgeFault> {
    run_at(Some(header), secrets, body, AT)
}

fn event() -> serde_json::Value {
    json!({"eventType": "payments.authorization.status.accepted", "webhookId": "w", "transactionTraceId": "t1",
        "payload": {"data": {"id": "763", "status": "AUTHORIZED", "clientReferenceInformation": {"code": "ORD-1"}}}})
}

#[test]
fn each_accepted_message_fits_and_no_other() {
    let body = serde_json::to_string_pretty(&event()).unwrap();
    let payload: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(&body).unwrap();
    let raw = payload["payload"].get().to_owned();
    let compact = event()["payload"].to_string();
    assert_ne!(raw, compact);
    for message in [body.as_str(), &raw, &compact] {
        let verified = run(&signed(message.as_bytes()), &secrets(&[KEY], &[]), body.as_bytes()).unwrap();
        assert_eq!(verified.event_id, "payments.authorization.status.accepted:763:AUTHORIZED");
        assert_eq!((verified.group.as_str(), verified.opened), ("ORD-1", None));
    }
    let other = signed(event()["payload"]["data"].to_string().as_bytes());
    assert_eq!(run(&other, &secrets(&[KEY], &[]), body.as_bytes()).err(), Some(EdgeFault::SignatureWrong));
}

/// What the vendor's test of a subscription sends: answered 2xx, and about nothing, also where it names a type that moves money.
#[test]
fn the_test_call_of_a_subscription_is_taken_and_unhandled() {
    let payloads = json!({"testPayload": {"message": "test"}});
    for (stated, expected) in [
        (json!({"payloads": payloads}), "payments.authorization.status.accepted"),
        (
            json!({"eventType": "payments.capture.status.accepted", "webhookId": "w", "payloads": payloads}),
            "payments.capture.status.accepted",
        ),
    ] {
        let body = stated.to_string();
        let verified = run(&signed(body.as_bytes()), &secrets(&[KEY], &[]), body.as_bytes()).unwrap();
        assert_eq!(verified.event_type, expected);
        let doc = Doc::from(&stated);
        let meant = events::interpret(&connection(), &verified.event_type, doc.json()).unwrap();
        assert_eq!(meant, crate::port::Interpreted::Unhandled);
    }
    let unnamed = json!({"payloads": payloads}).to_string();
    let headers = [("v-c-signature".to_owned(), signed(unnamed.as_bytes()))];
    let inbound = Inbound { topic: "payments", headers: &headers, body: unnamed.as_bytes() };
    let verified = verify(&connection(), &secrets(&[KEY], &[]), inbound, Timestamp(AT)).unwrap();
    assert_eq!(verified.event_type, "test");
}

#[test]
fn the_shared_vectors_hold() {
    let Some(file) = spec("webhook-vectors.json") else { return };
    let vectors = file.as_array().unwrap();
    assert_eq!(vectors.len(), 5);
    let w1 = &vectors[0];
    let signature = read(w1["header"].as_str().unwrap()).unwrap();
    let key = STANDARD.decode(w1["key_b64"].as_str().unwrap()).unwrap();
    assert!(fits(&[key], &signature, w1["message"].as_str().unwrap().as_bytes()));
    for vector in &vectors[1..4] {
        let (header, body) = (vector["header"].as_str().unwrap(), vector["body"].as_str().unwrap());
        let verified =
            run(header, &secrets(&[vector["key_b64"].as_str().unwrap()], &[]), body.as_bytes()).unwrap();
        assert_eq!(verified.group, "ORD-1001", "{}", vector["name"]);
        assert!(verified.created_at.is_some());
    }
    let Some(pem) = spec_text("rsa_test.pem") else { return };
    let (jwe, plain) = (vectors[4]["jwe"].as_str().unwrap(), vectors[4]["plaintext"].as_str().unwrap());
    // All places where the encrypted text was seen, signed over the body or over the plain text.
    let bodies = [
        json!({"eventType": "payments.authorization.status.accepted", "encData": jwe}).to_string(),
        json!({"eventType": "payments.authorization.status.accepted", "encryptedRequest": jwe}).to_string(),
        json!({"eventType": "payments.authorization.status.accepted", "payload": jwe}).to_string(),
        json!({"eventType": "payments.authorization.status.accepted", "payload": [{"encryptedRequest": jwe}]}).to_string(),
        jwe.to_owned(),
    ];
    for body in &bodies {
        for header in [signed(body.as_bytes()), signed(plain.as_bytes())] {
            let verified = run(&header, &secrets(&[KEY], &[&pem]), body.as_bytes()).unwrap();
            assert_eq!(
                verified.event_id,
                "payments.authorization.status.accepted:7638943960206437203955:AUTHORIZED"
            );
            let opened = String::from_utf8(verified.opened.unwrap()).unwrap();
            assert!(opened.contains("102.21") && !opened.contains("eyJ"), "{opened}");
        }
        // Without the key it is ours to mend, and comes again.
        assert_eq!(
            run(&signed(body.as_bytes()), &secrets(&[KEY], &[]), body.as_bytes()).err(),
            Some(EdgeFault::NotConfigured)
        );
        assert_eq!(
            run(&signed(b"other"), &secrets(&[KEY], &[&pem]), body.as_bytes()).err(),
            Some(EdgeFault::SignatureWrong)
        );
    }
    // Signed is a member in which the encrypted text does not stand: nobody vouches for that.
    let genuine = json!({"data": {"id": "1"}});
    let swapped = json!({"payload": genuine, "encData": jwe}).to_string();
    let header = signed(genuine.to_string().as_bytes());
    let verdict = run(&header, &secrets(&[KEY], &[&pem]), swapped.as_bytes());
    assert_eq!(verdict.err(), Some(EdgeFault::SignatureWrong));
    // Broken in any part.
    for (part, fault) in [
        (0, EdgeFault::Malformed),
        (1, EdgeFault::NotConfigured),
        (2, EdgeFault::NotConfigured),
        (3, EdgeFault::NotConfigured),
        (4, EdgeFault::NotConfigured),
    ] {
        let mut parts: Vec<String> = jwe.split('.').map(str::to_owned).collect();
        let at = if part == 0 { 20 } else { 3 };
        let flipped = if parts[part].as_bytes()[at] == b'A' { "B" } else { "A" };
        parts[part].replace_range(at..=at, flipped);
        let body = json!({"encData": parts.join(".")}).to_string();
        assert_eq!(
            run(&signed(body.as_bytes()), &secrets(&[KEY], &[&pem]), body.as_bytes()).err(),
            Some(fault),
            "part {part}"
        );
    }
}

/// A key made for this test: the same paths without the shared reference. Small, for a large one takes a while to find.
#[test]
fn only_the_one_kind_of_encryption_is_opened() {
    use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    use rsa::pkcs8::EncodePrivateKey as _;
    let mut rng = rand_for_tests();
    let private = rsa::PrivateKey::new(&mut rng, 1024).unwrap();
    let content = [7_u8; 32];
    let seal = |header: serde_json::Value| {
        let header = B64.encode(header.to_string());
        let key = private.to_public_key().oaep_encrypt::<Sha256>(&content).unwrap();
        let cipher = aes_gcm::Aes256Gcm::new_from_slice(&content).unwrap();
        let payload = Payload { msg: br#"{"a":1}"#, aad: header.as_bytes() };
        let mut sealed = cipher.encrypt(&aes_gcm::Nonce::from([1_u8; 12]), payload).unwrap();
        let tag = sealed.split_off(sealed.len() - 16);
        [header, B64.encode(key), B64.encode([1_u8; 12]), B64.encode(sealed), B64.encode(tag)].join(".")
    };
    let good = seal(json!({"alg": "RSA-OAEP-256", "enc": "A256GCM"}));
    assert!(jwe::is_compact(&good));
    // A secret is kept to a line: the key is the same however its lines were joined.
    let pem = private.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap().to_string();
    for breaks in ["\n", "\r\n", "\\n", " ", ""] {
        let key = private_key(&Secret::new(pem.trim().replace('\n', breaks))).expect(breaks);
        assert!(jwe::open(&good, &[key]).is_ok(), "{breaks:?}");
    }
    assert!(
        private_key(&Secret::new(pem.replace('M', ""))).is_none() && private_key(&Secret::new("k")).is_none()
    );
    assert_eq!(jwe::open(&good, std::slice::from_ref(&private)).unwrap(), br#"{"a":1}"#);
    let other = rsa::PrivateKey::new(&mut rng, 1024).unwrap();
    assert_eq!(jwe::open(&good, std::slice::from_ref(&other)), Err(Sealed::NoKey));
    assert!(jwe::open(&good, &[other, private.clone()]).is_ok(), "either of two while one is rotated");
    for header in [
        json!({"alg": "RSA-OAEP", "enc": "A256GCM"}),
        json!({"alg": "RSA1_5", "enc": "A256GCM"}),
        json!({"alg": "dir", "enc": "A256GCM"}),
        json!({"alg": "RSA-OAEP-256", "enc": "A128CBC-HS256"}),
        json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"}),
        json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "crit": ["x"]}),
    ] {
        assert_eq!(
            jwe::open(&seal(header.clone()), std::slice::from_ref(&private)),
            Err(Sealed::Malformed),
            "{header}"
        );
    }
    for bad in ["", "a.b.c", "eyJ.b.c.d.e", "eyJhIjoxfQ....", &good.replacen('.', "..", 1)] {
        assert!(jwe::open(bad, std::slice::from_ref(&private)).is_err(), "{bad}");
    }
}

fn rand_for_tests() -> impl rsa::rand_core::CryptoRng {
    /// SHA-256 in counter mode: the same key each time.
    struct Counter(u64);
    impl rsa::rand_core::TryRng for Counter {
        type Error = std::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(u32::try_from(self.try_next_u64()? >> 32).unwrap())
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            self.0 += 1;
            let hash = <Sha256 as sha2::Digest>::digest(self.0.to_be_bytes());
            Ok(u64::from_be_bytes(hash[..8].try_into().unwrap()))
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            for chunk in out.chunks_mut(8) {
                let bytes = self.try_next_u64()?.to_be_bytes();
                chunk.copy_from_slice(&bytes[..chunk.len()]);
            }
            Ok(())
        }
    }
    impl rsa::rand_core::TryCryptoRng for Counter {}
    Counter(0)
}

#[test]
fn a_key_is_chosen_by_its_id_and_two_are_held_while_it_is_rotated() {
    let body = event().to_string();
    let header = signed(body.as_bytes());
    let with = |keys: &[&str]| run(&header, &secrets(keys, &[]), body.as_bytes()).map(|_| ());
    let own = format!("{ID}:{KEY}");
    let other = "ffffffff-0000-0000-0000-000000000000:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
    assert_eq!(with(&[other, &own]), Ok(()));
    assert_eq!(with(&[KEY]), Ok(()));
    assert_eq!(with(&[other]), Err(EdgeFault::SignatureWrong));
    // A key that anybody could guess signs nothing.
    for weak in ["AAEC", "not base64"] {
        assert_eq!(with(&[weak]), Err(EdgeFault::SignatureWrong), "{weak}");
    }
    assert_eq!(with(&[" "]), Err(EdgeFault::NotConfigured));
    assert_eq!(with(&[]), Err(EdgeFault::NotConfigured));
}

#[test]
fn headers_are_read_as_they_come_and_times_are_bounded() {
    let body = event().to_string();
    let (good, keys) = (signed(body.as_bytes()), secrets(&[KEY], &[]));
    for odd in [format!("{good};"), format!("\"{good};\""), good.replace(';', "; ")] {
        assert!(run(&odd, &keys, body.as_bytes()).is_ok(), "{odd}");
    }
    for bad in
        ["", "t=1;sig=", "sig=AAAA", "t=x;sig=AAAA", &format!("t=1;{good}"), &good.replace("sig=", "sig=A")]
    {
        assert_eq!(run(bad, &keys, body.as_bytes()).err(), Some(EdgeFault::SignatureMissing), "{bad}");
    }
    assert_eq!(run_at(None, &keys, body.as_bytes(), AT).err(), Some(EdgeFault::SignatureMissing));
    let hour = 3_600_000;
    for (now, expected) in [
        (AT + hour, None),
        (AT + hour + 1, Some(EdgeFault::Stale)),
        (AT - hour, None),
        (AT - hour - 1, Some(EdgeFault::Future)),
    ] {
        assert_eq!(run_at(Some(&good), &keys, body.as_bytes(), now).err(), expected);
    }
    for bad in ["[]", "1", "{", ""] {
        assert_eq!(
            run(&signed(bad.as_bytes()), &keys, bad.as_bytes()).err(),
            Some(EdgeFault::Malformed),
            "{bad}"
        );
    }
}
