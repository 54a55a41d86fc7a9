//! Known answers: the vendor's own library's for a made-up key, inline and from the shared reference.

use serde_json::Value;

use super::super::testing::{connection, spec, spec_text};
use super::*;
use crate::config::Secret;

const AT: i64 = 1_795_169_730;
const JTI: &str = "3f0c2d5e-7b1a-4c9d-8e2f-0a1b2c3d4e5f";

fn signer(settings: &[(&str, &str)], secret: (&str, &str)) -> Signer {
    let mut connection = connection();
    for (name, value) in settings {
        connection.settings.insert((*name).into(), (*value).into());
    }
    let secrets = Secrets([(secret.0.to_owned(), vec![Secret::new(secret.1)])].into());
    Signer::of(&connection, &secrets).unwrap()
}

fn made_up(scheme: &str) -> Signer {
    let key = ("key_id", "11111111-2222-3333-4444-555555555555");
    let secret = (SHARED_SECRET, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    signer(&[("auth", scheme), ("merchant_id", "acme_test_001"), key], secret)
}

fn request<'a>(method: Method, target: &'a str, body: Option<&'a [u8]>) -> Signed<'a> {
    let host = "apitest.cybersource.com";
    Signed { method, host, target, body, now: Timestamp::from_unix(AT), jti: JTI }
}

fn header(headers: &[(&'static str, String)], name: &str) -> Option<String> {
    headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())
}

#[test]
fn a_made_up_keys_answers_are_the_vendor_librarys() {
    let http = made_up("http_signature");
    let signature = |method, target: &str, body: Option<&[u8]>| {
        let headers = http.headers(&request(method, target, body)).unwrap();
        header(&headers, "signature").unwrap()
    };
    let voids = "/pts/v2/payments/7638943960206437203955/voids";
    let said = signature(Method::Post, voids, Some(b"{}"));
    assert!(said.ends_with("signature=\"wxUTton2G2N27dFZ4dIUJN5iPYTNMEbJVvaxpr2bR9s=\""), "{said}");
    let hook = "/notification-subscriptions/v2/webhooks/ddb9bced-c3e3-1b1d-e053-9c588e0a3c42";
    let said = signature(Method::Delete, hook, None);
    assert!(said.ends_with("signature=\"WmBvR//EAJmyqE/xlISrZ6oJK9jfazQBIqzmX8/8Wrg=\""), "{said}");
    assert!(said.contains("headers=\"host date request-target v-c-merchant-id\""), "{said}");
    let jwt = made_up("jwt_shared_secret");
    let get = request(Method::Get, "/tss/v2/transactions/7638943960206437203955", None);
    let headers = jwt.headers(&get).unwrap();
    assert_eq!(headers.len(), 1, "neither date nor digest is sent beside a token");
    let token = header(&headers, "authorization").unwrap();
    assert!(token.ends_with(".5o0k8mvjmbN8uVkfeNkjrmGGocafsckXbPN_ttA7qEI"), "{token}");
}

#[test]
fn all_http_signature_vectors_hold() {
    let Some(file) = spec("auth-vectors.json") else { return };
    let vectors = file["http_signature"].as_array().unwrap();
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap_or("");
        let settings = [
            ("auth", "http_signature"),
            ("merchant_id", text("merchant_id")),
            ("key_id", text("key_id")),
            ("portfolio_id", text("portfolio_id")),
        ];
        let signer = signer(&settings, (SHARED_SECRET, text("shared_secret_b64")));
        let request = Signed {
            host: text("host"),
            ..request(
                Method::parse(text("method")).unwrap(),
                text("path"),
                vector["body"].as_str().map(str::as_bytes),
            )
        };
        let headers = signer.headers(&request).unwrap();
        assert_eq!(header(&headers, "date").unwrap(), text("date"), "{}", text("name"));
        assert_eq!(header(&headers, "signature").unwrap(), text("signature_header"), "{}", text("name"));
        assert_eq!(header(&headers, "digest").as_deref(), vector["digest_header"].as_str());
        assert_eq!(header(&headers, "v-c-merchant-id").unwrap(), text("merchant_id"));
    }
}

#[test]
fn all_token_vectors_hold() {
    let Some(file) = spec("auth-vectors.json") else { return };
    let Some(pem) = spec_text("rsa_test.pem") else { return };
    let vectors = file["jwt"].as_array().unwrap();
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap_or("");
        let payload: Value = serde_json::from_str(text("payload_json")).unwrap();
        let signer = if text("header_json").contains("RS256") {
            let settings =
                [("auth", "jwt_p12"), ("merchant_id", "acme_test_001"), ("certificate_serial", text("kid"))];
            signer(&settings, (PRIVATE_KEY, &pem))
        } else {
            let settings = [("merchant_id", text("merchant_id")), ("key_id", text("key_id"))];
            signer(&settings, (SHARED_SECRET, text("shared_secret_b64")))
        };
        let first = vectors[0]["body"].as_str().unwrap().as_bytes();
        let body = (payload["digest"].is_string()).then_some(first);
        let method = Method::parse(payload["request-method"].as_str().unwrap()).unwrap();
        let request = request(method, payload["request-resource-path"].as_str().unwrap(), body);
        assert_eq!(signer.token(&request).unwrap(), text("token"), "{}", text("name"));
    }
}

#[test]
fn a_secret_may_bring_its_own_key_id_and_a_short_one_signs_nothing() {
    let secret = "kid-2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let signer = signer(&[("merchant_id", "m"), ("key_id", "kid-1")], (SHARED_SECRET, secret));
    assert_eq!(signer.key_id, "kid-2");
    let mut connection = connection();
    for bad in ["", "AAEC", "kid-2:", "not base64 at all, and long enough"] {
        let secrets = Secrets([(SHARED_SECRET.to_owned(), vec![Secret::new(bad)])].into());
        assert!(Signer::of(&connection, &secrets).is_none(), "{bad}");
    }
    connection.settings.insert("auth".into(), "jwt_p12".into());
    let secrets = Secrets([(PRIVATE_KEY.to_owned(), vec![Secret::new("no key")])].into());
    assert!(Signer::of(&connection, &secrets).is_none());
}

#[test]
fn no_two_requests_share_an_id() {
    let now = Timestamp::from_unix(AT);
    let ids: std::collections::BTreeSet<String> = (0..100).map(|_| fresh_id("c", now)).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'4' && id.as_bytes()[19] == b'a'));
}
