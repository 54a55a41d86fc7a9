//! Every way to one customer.

use serde_json::{Value as Json, json};
use tillway_core::facts::Fact;
use tillway_core::http::Response;
use tillway_core::ids::CommandId;
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

use super::Stripe;
use super::testing::{connection, secrets};
use crate::http::HttpError;
use crate::port::{Call, Connector, Outcome};
use crate::testing::Script;

fn ok(body: Json) -> Result<Response, HttpError> {
    Ok(Response::json(200, &body))
}

fn list(items: &[Json]) -> Result<Response, HttpError> {
    ok(json!({"object": "list", "data": items, "has_more": false}))
}

fn customer(id: &str, reference: Option<&str>) -> Json {
    json!({"id": id, "object": "customer", "email": "jo@example.com", "name": "Jo", "created": 7,
        "metadata": {"clarity_customer_id": reference}})
}

fn params(parts: &[(&'static str, &str)]) -> Value {
    Value::map(parts.iter().map(|(n, v)| (*n, Value::text(*v))))
}

async fn ensure(
    params: Value,
    answers: impl IntoIterator<Item = Result<Response, HttpError>>,
) -> (Outcome, Script) {
    let (connection, command, secrets) = (connection(), CommandId::new("c0ffee"), secrets());
    let prepared = Stripe.prepare(&connection, "stripe.ensure_customer", &command, &params).unwrap();
    let http = Script::new(answers);
    let call = Call {
        connection: &connection,
        secrets: &secrets,
        token: None,
        http: &http,
        action: "stripe.ensure_customer",
        command: &command,
        generation: 0,
        prepared: &prepared.bytes,
        now: Timestamp(0),
        limit: Millis::secs(30),
    };
    (Stripe.call(call).await, http)
}

fn settled(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Settled { observation, provider_id: Some(id), summary } => {
            assert_eq!(observation.facts, [Fact::Customer { id: id.clone() }]);
            assert!(!summary.contains('@'), "{summary}");
            id
        }
        other => panic!("{other:?}"),
    }
}

const JO: &[(&str, &str)] = &[("email", "jo@example.com"), ("reference", "77")];

#[tokio::test]
async fn the_id_the_shop_has_is_taken_where_it_is_still_theirs() {
    let known: Vec<_> = JO.iter().copied().chain([("known", "cus_1")]).collect();
    let (outcome, http) = ensure(params(&known), [ok(customer("cus_1", Some("77")))]).await;
    assert_eq!((settled(&outcome), http.calls()), ("cus_1", vec!["GET /v1/customers/cus_1".to_owned()]));
    // Someone else's, and deleted: looked for further on.
    for first in
        [customer("cus_1", Some("88")), json!({"id": "cus_1", "object": "customer", "deleted": true})]
    {
        let found = list(&[customer("cus_2", Some("77"))]);
        let (outcome, _) = ensure(params(&known), [ok(first), found]).await;
        assert_eq!(settled(&outcome), "cus_2");
    }
}

#[tokio::test]
async fn a_missed_search_proves_nothing_and_an_unclaimed_customer_is_adopted() {
    let mine = [
        list(&[]),
        list(&[customer("cus_9", Some("88")), customer("cus_3", None)]),
        ok(customer("cus_3", Some("77"))),
    ];
    let (outcome, http) = ensure(params(JO), mine).await;
    assert_eq!(settled(&outcome), "cus_3");
    assert_eq!(http.calls(), ["GET /v1/customers/search", "GET /v1/customers", "POST /v1/customers/cus_3"]);
    assert_eq!(http.bodies()[2], "metadata%5Bclarity_customer_id%5D=77");
    // The one that is theirs goes before an older one that is nobody's.
    let both = list(&[customer("cus_1", None), customer("cus_5", Some("77"))]);
    let (outcome, _) = ensure(params(JO), [list(&[]), both]).await;
    assert_eq!(settled(&outcome), "cus_5");
}

#[tokio::test]
async fn search_that_is_not_to_be_had_is_a_miss() {
    let refused = Ok(Response::json(400, &json!({"error": {"type": "invalid_request_error"}})));
    let (outcome, _) = ensure(params(JO), [refused, list(&[customer("cus_5", Some("77"))])]).await;
    assert_eq!(settled(&outcome), "cus_5");
}

#[tokio::test]
async fn mail_is_looked_for_in_both_spellings() {
    let shouted = params(&[("email", "Jo@Example.COM")]);
    let (outcome, http) = ensure(shouted, [list(&[]), list(&[customer("cus_5", None)])]).await;
    assert_eq!(settled(&outcome), "cus_5");
    let seen = http.seen.lock().unwrap();
    assert_eq!(seen[0].query(), "email=Jo%40Example.COM&limit=100");
    assert_eq!(seen[1].query(), "email=jo%40example.com&limit=100");
}

#[tokio::test]
async fn racing_orders_make_one_customer_with_the_mail_alone() {
    let answers = || {
        let bare = || ok(customer("cus_1", None));
        [list(&[]), list(&[]), bare(), bare(), ok(customer("cus_1", Some("77")))]
    };
    let (outcome, http) = ensure(params(JO), answers()).await;
    assert_eq!(settled(&outcome), "cus_1");
    assert_eq!(http.bodies()[2], "email=jo%40example.com");
    // Another spelling, another command's parameters: the same key with the same body.
    let other = params(&[("email", "JO@example.com"), ("reference", "77"), ("name", "Jo")]);
    let more = [list(&[]), list(&[]), list(&[])].into_iter().chain(answers().into_iter().skip(2));
    let (_, second) = ensure(other, more).await;
    assert_eq!(http.keys()[0], second.keys()[0]);
    assert_eq!(http.bodies()[2], second.bodies()[3]);
}

#[tokio::test]
async fn a_replayed_creation_that_is_someone_elses_by_now_leads_to_an_own_one() {
    let answers = [
        list(&[]),
        list(&[]),
        // The stored answer shows the customer as it was; reading it again shows whose it is.
        ok(customer("cus_1", None)),
        ok(customer("cus_1", Some("88"))),
        ok(customer("cus_2", Some("77"))),
        ok(customer("cus_2", Some("77"))),
    ];
    let (outcome, http) = ensure(params(JO), answers).await;
    assert_eq!(settled(&outcome), "cus_2");
    let keys = http.keys();
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_replayed_creation_that_was_deleted_since_is_made_again() {
    let gone = json!({"id": "cus_1", "object": "customer", "deleted": true});
    let answers = [
        list(&[]),
        list(&[]),
        ok(customer("cus_1", None)),
        ok(gone),
        ok(customer("cus_2", None)),
        ok(customer("cus_2", Some("77"))),
    ];
    assert_eq!(settled(&ensure(params(JO), answers).await.0), "cus_2");
}

#[tokio::test]
async fn without_mail_the_shops_id_is_the_key() {
    let reference = params(&[("reference", "77")]);
    let made = || ok(customer("cus_1", Some("77")));
    let (outcome, http) = ensure(reference, [list(&[]), made(), made()]).await;
    assert_eq!(settled(&outcome), "cus_1");
    assert_eq!(http.bodies()[1], "metadata%5Bclarity_customer_id%5D=77");
}

#[tokio::test]
async fn lost_answers_and_refusals_end_as_they_should() {
    let (outcome, _) = ensure(params(JO), [Err(HttpError::NoAnswer)]).await;
    assert!(matches!(outcome, Outcome::NotDone { .. }));
    let (outcome, _) = ensure(params(JO), [list(&[]), list(&[]), Err(HttpError::NoAnswer)]).await;
    assert!(matches!(outcome, Outcome::Unknown { .. }));
    let refused =
        Ok(Response::json(400, &json!({"error": {"code": "email_invalid", "message": "jo@example.com"}})));
    let (outcome, _) = ensure(params(JO), [list(&[]), list(&[]), refused]).await;
    assert!(matches!(&outcome, Outcome::Refused { code, .. } if code == "email_invalid"));
    assert!(!format!("{outcome:?}").contains('@'));
    let stubborn = [list(&[customer("cus_1", None)]), ok(customer("cus_1", None))];
    let (outcome, _) = ensure(params(JO), [list(&[])].into_iter().chain(stubborn)).await;
    assert!(matches!(&outcome, Outcome::Disagrees { field, .. } if field == "metadata.clarity_customer_id"));
}
