//! Registering webhooks at the shop.

use serde_json::json;
use tillway_core::http::Response;
use tillway_core::ids::CommandId;

use super::{Clarity, Shop, api_secrets, assert_clean, call, connection, problem};
use crate::port::Connector;
use crate::registrar::{Endpoint, Fault, Listed, Made, Signed};

fn wanted(settings: &[(&str, &str)]) -> Vec<Endpoint> {
    Clarity.endpoints(&connection(settings), "https://till.example/")
}

async fn list(shop: &Shop) -> Result<Vec<Listed>, Fault> {
    let (connection, secrets, command) = (connection(&[]), api_secrets(), CommandId::new("c"));
    let token = crate::config::Secret::new("tok_secret");
    let call = call(shop, &connection, &secrets, Some(&token), "webhooks", &command, &[]);
    Clarity.registrar(&connection).unwrap().list(&call).await
}

async fn make(shop: &Shop, endpoint: &Endpoint) -> Result<Made, Fault> {
    let (connection, secrets, command) = (connection(&[]), api_secrets(), CommandId::new("c"));
    let token = crate::config::Secret::new("tok_secret");
    let call = call(shop, &connection, &secrets, Some(&token), "webhooks", &command, &[]);
    let api = Clarity.registrar(&connection).unwrap();
    let made = api.make(&call, endpoint).await?;
    api.remove(&call, "wh/0").await?;
    Ok(made)
}

#[test]
fn endpoints_bear_the_shops_own_names() {
    let endpoints = wanted(&[("events.order.created", "OrderCreated")]);
    let told: Vec<_> = endpoints.iter().map(|e| (e.url.as_str(), e.types.join(","))).collect();
    assert_eq!(
        told,
        [
            (
                "https://till.example/webhooks/shop/orders",
                "OrderCreated,order.updated,order.refund_requested".to_owned()
            ),
            ("https://till.example/webhooks/shop/customers", "customer.updated".to_owned()),
            ("https://till.example/webhooks/shop/inventory", "inventory.updated".to_owned()),
        ]
    );
    assert_eq!(endpoints.iter().map(|e| e.used).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn a_shop_that_signs_nothing_is_done_by_hand() {
    let shared = connection(&[("webhook.scheme", "shared_header"), ("webhook.header", "X-Ours")]);
    assert!(Clarity.registrar(&shared).is_none());
    let steps = Clarity.webhook_steps(&shared, "https://till.example").join("\n");
    assert!(steps.contains("X-Ours") && steps.contains("/webhooks/shop/inventory"), "{steps}");
}

#[tokio::test]
async fn a_subscription_is_made_and_another_removed() {
    let created = json!({"id": "wh_1", "url": "u", "events": [], "secret": "whsec_c", "active": true});
    let shop = Shop::new([Ok(Response::json(201, &created)), Ok(Response::new(204))]);
    let endpoint = wanted(&[]).remove(0);
    let made = make(&shop, &endpoint).await.unwrap();
    assert_eq!((made.id.as_str(), made.secret.unwrap().expose()), ("wh_1", "whsec_c"));
    let asked = shop.asked();
    assert_eq!(shop.body(0), json!({"url": endpoint.url, "events": endpoint.types}));
    assert_eq!((asked[0].path(), asked[1].path()), ("/api/v1/webhooks", "/api/v1/webhooks/wh%2F0"));
    assert!(asked[0].header("idempotency-key").unwrap().starts_with("tillway:shop:webhook:"));
    assert!(asked[1].body.is_empty() && asked[1].header("authorization").is_some());
}

#[tokio::test]
async fn lists_and_faults_are_read() {
    let rows =
        json!([{"id": "wh_1", "url": "https://x.example", "events": ["a"], "active": false}, {"id": 7}]);
    let shop = Shop::new([
        Ok(Response::json(200, &rows)),
        Ok(problem(404, "not_found")),
        Ok(problem(401, "unauthorized")),
        Ok(problem(400, "url_invalid")),
    ]);
    let found = list(&shop).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].active, &found[0].signed), (false, &Signed::Untold));
    assert!(matches!(list(&shop).await, Err(Fault::NoApi(_))));
    assert_eq!(list(&shop).await.err(), Some(Fault::Unauthorized));
    let refused = list(&shop).await.unwrap_err();
    assert!(refused.to_string().contains("url_invalid"), "{refused}");
    assert_clean(&refused.to_string());
}
