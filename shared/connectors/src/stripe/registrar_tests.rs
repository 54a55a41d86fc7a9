//! Registering webhooks against a scripted server.

use serde_json::{Value, json};
use tillway_core::http::Response;

use super::Stripe;
use super::testing::Bench;
use crate::http::HttpError;
use crate::port::Connector;
use crate::registrar::{Fault, Registrar, Signed};

fn bench(answers: impl IntoIterator<Item = Result<Response, HttpError>>) -> Bench {
    Bench::new("webhooks", answers)
}
fn api(bench: &Bench) -> &'static dyn Registrar {
    Stripe.registrar(&bench.connection).unwrap()
}

fn made() -> Response {
    Response::json(200, &json!({"id": "we_1", "object": "webhook_endpoint", "secret": "whsec_CANARY"}))
}

#[tokio::test]
async fn an_endpoint_is_made_once_though_the_answer_was_lost() {
    let bench = bench([Err(HttpError::NoAnswer), Ok(made())]);
    let wanted = Stripe.endpoints(&bench.connection, "https://till.example/");
    let of = |used: bool| wanted.iter().filter(|e| e.used == used).map(|e| e.topic).collect::<Vec<_>>();
    assert_eq!(of(true), ["payments", "refunds", "disputes", "payouts"]);
    assert_eq!(of(false), ["billing", "customers"]);
    assert_eq!(wanted[0].url, "https://till.example/webhooks/stripe-test/payments");
    let endpoint = api(&bench).make(&bench.call(), &wanted[1]).await.unwrap();
    assert_eq!((endpoint.id.as_str(), endpoint.secret.unwrap().expose()), ("we_1", "whsec_CANARY"));
    let (bodies, keys) = (bench.http.bodies(), bench.http.keys());
    assert_eq!((&bodies[0], &keys[0]), (&bodies[1], &keys[1]), "sent again under the same key");
    assert!(keys[0].starts_with("tillway:stripe-test:webhook:"));
    for part in [
        "url=https%3A%2F%2Ftill.example%2Fwebhooks%2Fstripe-test%2Frefunds",
        "enabled_events%5B0%5D=charge.refunded",
        "enabled_events%5B3%5D=refund.updated",
        "api_version=2026-10-28.endive",
        "metadata%5Btillway%5D=stripe-test",
    ] {
        assert!(bodies[0].contains(part), "{part} is not in {}", bodies[0]);
    }
}

#[tokio::test]
async fn a_list_tells_whose_secret_each_endpoint_has() {
    let endpoint = |id: &str, status: &str, version: Value, metadata: Value| {
        json!({"id": id, "url": "https://x.example", "status": status, "api_version": version,
               "enabled_events": ["a"], "metadata": metadata})
    };
    let version = json!("2026-10-28.endive");
    let list = json!({"object": "list", "has_more": false, "data": [
        endpoint("we_1", "enabled", version.clone(), json!({"tillway": "s", "tillway_secret": "m"})),
        endpoint("we_2", "disabled", version, json!({"tillway": "s"})),
        endpoint("we_3", "enabled", Value::Null, json!({})),
    ]});
    let bench = bench([Ok(Response::json(200, &list))]);
    let found = api(&bench).list(&bench.call()).await.unwrap();
    let told: Vec<_> = found.iter().map(|l| (l.active, l.fits, l.signed.clone())).collect();
    assert_eq!(
        told,
        [
            (true, true, Signed::Marked("m".into())),
            (false, true, Signed::Lost),
            (true, false, Signed::Untold),
        ]
    );
}

#[tokio::test]
async fn faults_say_what_to_do_and_show_no_secret() {
    let refused =
        json!({"error": {"type": "invalid_request_error", "code": "url_invalid", "message": "CANARY"}});
    let bench = bench([
        Ok(Response::json(401, &json!({}))),
        Ok(Response::json(403, &json!({}))),
        Ok(Response::json(400, &refused)),
        Err(HttpError::NotSent),
        Err(HttpError::NoAnswer),
        Err(HttpError::NoAnswer),
        Ok(Response::json(404, &json!({}))),
    ]);
    let wanted = Stripe.endpoints(&bench.connection, "https://till.example").remove(0);
    assert_eq!(api(&bench).list(&bench.call()).await.err(), Some(Fault::Unauthorized));
    let mut faults = Vec::new();
    for _ in 0..4 {
        faults.push(api(&bench).make(&bench.call(), &wanted).await.err().unwrap());
    }
    assert_eq!(faults[0], Fault::Unauthorized);
    assert!(matches!(&faults[1], Fault::Refused(said) if said.contains("url_invalid")), "{faults:?}");
    assert_eq!(faults[2], Fault::Unavailable);
    assert!(matches!(faults[3], Fault::Unknown(_)));
    assert!(faults.iter().all(|f| !f.to_string().contains("CANARY")));
    api(&bench).remove(&bench.call(), "we_1").await.unwrap();
    assert!(bench.http.calls().contains(&"DELETE /v1/webhook_endpoints/we_1".to_owned()));
}
