//! Webhook subscriptions at the shop: `/webhooks` of the working contract. The contract knows no change of a
//! subscription and no place for a mark, and its API is our assumption: a shop that answers 404 or 405 has none.

use async_trait::async_trait;
use serde_json::json;
use tillway_core::doc::Json;
use tillway_core::http::{Method, Request};
use tillway_core::ids::digest;

use super::client::{self, Written};
use super::{auth, settings};
use crate::config::{Connection, Secret};
use crate::port::{Call, Outcome, key_prefix};
use crate::registrar::{self, Endpoint, Fault, Listed, Made, Registrar, Signed};

/// What each topic's endpoint subscribes to, by our names, and whether a flow uses it.
const TOPICS: [(&str, &[&str], bool); 3] = [
    ("orders", &["order.created", "order.updated", "order.refund_requested"], true),
    ("customers", &["customer.updated"], true),
    ("inventory", &["inventory.updated"], false),
];

/// The endpoints of a connection, with the shop's names of the events.
pub fn endpoints(connection: &Connection, base: &str) -> Vec<Endpoint> {
    let theirs = |ours: &&str| connection.setting(&format!("events.{ours}"), ours).to_owned();
    let endpoint = |(topic, types, used): (&'static str, &[&str], bool)| Endpoint {
        topic,
        url: registrar::address(base, connection, topic),
        types: types.iter().map(theirs).collect(),
        used,
    };
    TOPICS.into_iter().map(endpoint).collect()
}

/// By hand: also what the shop has to send where it signs nothing.
pub fn steps(connection: &Connection, base: &str) -> Vec<String> {
    let mut steps = registrar::steps(connection, &endpoints(connection, base));
    if !settings::signed(connection) {
        let name = &connection.name;
        steps.pop();
        steps.push(format!(
            "Let the shop send a long random text in the header {}, and put the same: \
             `tillway secrets put … {name} webhook_secret`.",
            settings::get(connection, "webhook.header")
        ));
    }
    steps
}

/// The contract's API.
pub struct Subscriptions;

fn url(call: &Call<'_>, id: Option<&str>) -> Result<String, Fault> {
    let path = if id.is_some() { "paths.webhook" } else { "paths.webhooks" };
    client::url(call.connection, path, id).ok_or_else(|| Fault::Refused("base_url is no address".to_owned()))
}

fn fault(outcome: Outcome) -> Fault {
    match &outcome {
        Outcome::Refused { summary, .. } if ["404", "405"].iter().any(|status| summary.ends_with(status)) => {
            Fault::NoApi(summary.clone())
        }
        Outcome::Refused { code, summary, .. } if !summary.contains(code.as_str()) => {
            Fault::Refused(format!("{summary} ({code})"))
        }
        _ => Fault::of(outcome),
    }
}

fn read(subscription: Json<'_>) -> Option<Listed> {
    let text = |name: &str| subscription.get(name).and_then(Json::as_str).map(str::to_owned);
    let types = subscription.get("events").into_iter().flat_map(Json::items);
    Some(Listed {
        id: text("id")?,
        url: text("url")?,
        types: types.filter_map(Json::as_str).map(str::to_owned).collect(),
        active: subscription.get("active").and_then(Json::as_bool).unwrap_or(true),
        fits: true,
        signed: Signed::Untold,
    })
}

#[async_trait]
impl Registrar for Subscriptions {
    fn changes(&self) -> bool {
        false
    }

    async fn list(&self, call: &Call<'_>) -> Result<Vec<Listed>, Fault> {
        let (found, _) = client::get(call, url(call, None)?).await.map_err(fault)?;
        let body = found.body.json();
        let list = if body.is_list() { Some(body) } else { body.get("items").filter(|l| l.is_list()) };
        let list = list.ok_or_else(|| Fault::NoApi("the answer is no list".to_owned()))?;
        Ok(list.items().filter_map(read).collect())
    }

    async fn make(&self, call: &Call<'_>, endpoint: &Endpoint) -> Result<Made, Fault> {
        let body = json!({ "url": endpoint.url, "events": endpoint.types });
        let print = digest(&[&body.to_string()]);
        let key = format!("{}webhook:{print}:{}", key_prefix(&call.connection.name), call.now.0);
        let made = match client::write(call, Method::Post, url(call, None)?, &body, None, key).await {
            Written::Done(Some(made)) => made,
            Written::Done(None) => return Err(Fault::Unknown("a body nobody can read".to_owned())),
            Written::Conflict => return Err(Fault::Refused("the shop says it conflicts".to_owned())),
            Written::Ended(outcome) => return Err(fault(outcome)),
        };
        let made = made.json();
        let id = made.get("id").and_then(Json::as_str);
        let id = id.ok_or_else(|| Fault::Unknown("a subscription without an id".to_owned()))?.to_owned();
        Ok(Made { id, secret: made.get("secret").and_then(Json::as_str).map(Secret::new) })
    }

    async fn change(&self, _: &Call<'_>, _: &str, _: &Endpoint, _: Option<&str>) -> Result<(), Fault> {
        Err(Fault::NoApi("a subscription cannot be changed".to_owned()))
    }

    async fn remove(&self, call: &Call<'_>, id: &str) -> Result<(), Fault> {
        let request = Request::new(Method::Delete, url(call, Some(id))?)
            .with_header("accept", "application/json, application/problem+json");
        let request = auth::sign(request, call.connection, call.secrets, call.token);
        let request = request.ok_or(Fault::Unauthorized)?;
        match call.http.send(request, client::within(call.connection, call.limit)).await {
            Ok(response) if response.is_success() || response.status == 404 => Ok(()),
            Ok(response) if matches!(response.status, 401 | 403) => Err(Fault::Unauthorized),
            Ok(response) => Err(Fault::Refused(format!("{id} was not removed: {}", response.status))),
            Err(_) => Err(Fault::Unavailable),
        }
    }
}
