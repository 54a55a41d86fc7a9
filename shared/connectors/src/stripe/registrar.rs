//! Webhook endpoints at Stripe: `/v1/webhook_endpoints` (reference `stripe.md`, spec of the pinned version).
//!
//! `metadata[tillway]` says that we made an endpoint and for which connection, `metadata[tillway_secret]` is the
//! mark of its signing secret, set when the secret was kept. The version an endpoint sends in cannot be changed.

use async_trait::async_trait;
use serde_json::{Value, json};
use tillway_core::doc::Json;
use tillway_core::http::Method;
use tillway_core::ids::digest;

use super::client::{Answer, Client, ReadFault};
use super::{DEFAULT_VERSION, form, wire};
use crate::config::Secret;
use crate::port::{Call, key_prefix};
use crate::registrar::{Endpoint, Fault, Listed, Made, Registrar, Signed};

const PATH: &str = "/v1/webhook_endpoints";
const OURS: &str = "tillway";
const MARK: &str = "tillway_secret";
/// Requests that share a call's time.
const REQUESTS: i64 = 2;

/// Stripe's API for webhook endpoints.
pub(super) struct Endpoints;

fn version<'a>(call: &Call<'a>) -> &'a str {
    call.connection.setting("api_version", DEFAULT_VERSION)
}

/// The same for each sending of one request of one run; another run draws another.
fn key(call: &Call<'_>, what: &[&str]) -> String {
    format!("{}webhook:{}:{}", key_prefix(&call.connection.name), digest(what), call.now.0)
}

async fn post(call: &Call<'_>, path: &str, params: &Value) -> Result<Answer, Fault> {
    let (client, form) = (Client::for_many(call, REQUESTS), form::encode(params));
    let key = key(call, &[path, &form]);
    match client.post(path, &form, &key).await {
        Ok(answer) => Ok(answer),
        // Under the same key the first answer comes again, the secret in it.
        Err(first @ crate::port::Outcome::Unknown { .. }) => {
            client.post(path, &form, &key).await.map_err(|_| Fault::of(first))
        }
        Err(outcome) => Err(Fault::of(outcome)),
    }
}

fn read(call: &Call<'_>, endpoint: Json<'_>) -> Option<Listed> {
    let types = endpoint.get("enabled_events").into_iter().flat_map(Json::items);
    let signed = match (wire::metadata(endpoint, OURS), wire::metadata(endpoint, MARK)) {
        (_, Some(mark)) => Signed::Marked(mark.to_owned()),
        (Some(_), None) => Signed::Lost,
        (None, None) => Signed::Untold,
    };
    Some(Listed {
        id: wire::text(endpoint, "id").filter(|id| wire::is_id(id))?.to_owned(),
        url: wire::text(endpoint, "url")?.to_owned(),
        types: types.filter_map(Json::as_str).map(str::to_owned).collect(),
        active: wire::text(endpoint, "status") != Some("disabled"),
        fits: wire::text(endpoint, "api_version") == Some(version(call)),
        signed,
    })
}

#[async_trait]
impl Registrar for Endpoints {
    fn changes(&self) -> bool {
        true
    }

    async fn list(&self, call: &Call<'_>) -> Result<Vec<Listed>, Fault> {
        let mut found = Vec::new();
        let client = Client::for_many(call, REQUESTS);
        let read_all = client.find(PATH, &[], |endpoint| {
            found.extend(read(call, endpoint));
            false
        });
        match read_all.await {
            Ok(_) => Ok(found),
            Err(Some(ReadFault::NotNow(_, why))) => {
                Err(Fault::of(crate::port::Outcome::NotDone { after: None, why }))
            }
            Err(Some(fault)) => Err(Fault::of(fault.outcome())),
            Err(None) => Err(Fault::Refused("the account has more webhook endpoints than are read".into())),
        }
    }

    async fn make(&self, call: &Call<'_>, endpoint: &Endpoint) -> Result<Made, Fault> {
        let params = json!({
            "url": endpoint.url,
            "enabled_events": endpoint.types,
            "api_version": version(call),
            "description": format!("Tillway: {} of {}", endpoint.topic, call.connection.name),
            "metadata": { OURS: call.connection.name.as_str() },
        });
        let answer = post(call, PATH, &params).await?;
        let id = wire::text(answer.body.json(), "id").filter(|id| wire::is_id(id));
        let id = id.ok_or_else(|| Fault::Unknown("an endpoint without an id".to_owned()))?.to_owned();
        Ok(Made { id, secret: wire::text(answer.body.json(), "secret").map(Secret::new) })
    }

    async fn change(
        &self,
        call: &Call<'_>,
        id: &str,
        endpoint: &Endpoint,
        mark: Option<&str>,
    ) -> Result<(), Fault> {
        let mut params = json!({ "enabled_events": endpoint.types, "disabled": false });
        if let (Some(mark), Some(members)) = (mark, params.as_object_mut()) {
            members.insert("metadata".to_owned(), json!({ MARK: mark }));
        }
        post(call, &format!("{PATH}/{id}"), &params).await.map(|_| ())
    }

    async fn remove(&self, call: &Call<'_>, id: &str) -> Result<(), Fault> {
        let client = Client::for_many(call, REQUESTS);
        let request = client.request(Method::Delete, &format!("{PATH}/{id}")).ok_or(Fault::Unauthorized)?;
        match call.http.send(request, call.limit).await {
            Ok(response) if response.is_success() || response.status == 404 => Ok(()),
            Ok(response) if matches!(response.status, 401 | 403) => Err(Fault::Unauthorized),
            Ok(response) => Err(Fault::Refused(format!("{id} was not removed: {}", response.status))),
            Err(_) => Err(Fault::Unavailable),
        }
    }
}
