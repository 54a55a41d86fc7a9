//! `/webhooks`. A subscription gets a secret of its own, and webhooks are signed with it beside the
//! configured ones. Events go out whether or not anybody subscribed: where to is the caller's knowledge.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use tillway_core::http::{Request, Response};

use super::ClaritySandbox;
use super::answers::{Check, Outcome, answer, json_body, not_found};
use crate::faults::scramble;

#[derive(Clone, Serialize)]
struct Subscription {
    id: String,
    url: String,
    events: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    active: bool,
}

/// The subscriptions.
#[derive(Default)]
pub(super) struct Subscriptions {
    rows: Vec<Subscription>,
    made: u64,
}

impl Subscriptions {
    pub fn list(&self) -> Response {
        answer(200, &self.rows)
    }
}

impl ClaritySandbox {
    pub(super) fn post_webhook(&mut self, request: &Request) -> Outcome {
        let body = json_body(request)?;
        let mut check = Check::default();
        let mut row = Subscription {
            id: String::new(),
            url: String::new(),
            events: Vec::new(),
            secret: None,
            active: true,
        };
        if let Some(map) = check.object(&body, "", &["url", "events", "active"]) {
            row.url = check.needed(map, "", "url");
            if !row.url.is_empty() && !row.url.starts_with("https://") {
                check.wrong("/url".into(), "expected https");
            }
            let events = check.list(map, "", "events").cloned().unwrap_or_default();
            row.events = events.iter().filter_map(|e| e.as_str().map(str::to_owned)).collect();
            if row.events.is_empty() || row.events.len() != events.len() {
                check.wrong("/events".into(), "expected at least one event type, all of them strings");
            }
            match map.get("active").map(serde_json::Value::as_bool) {
                None => {}
                Some(Some(active)) => row.active = active,
                Some(None) => check.wrong("/active".into(), "expected true or false"),
            }
        }
        let mut row = check.done(row)?;
        self.subscriptions.made += 1;
        let number = self.subscriptions.made;
        row.id = format!("wh_{number}");
        // 24 bytes, from a sequence of its own.
        let seed = self.config.seed ^ 0x0057_4542_484f_4f4b;
        let key: Vec<u8> = (0..3).flat_map(|n| scramble(seed, number * 3 + n).to_be_bytes()).collect();
        let secret = format!("whsec_{}", BASE64.encode(key));
        let signs = self.hooks.register(&row.id, &secret);
        self.subscriptions.rows.push(row.clone());
        row.secret = signs.then_some(secret);
        Ok(answer(201, &row))
    }

    pub(super) fn delete_webhook(&mut self, id: &str) -> Outcome {
        let before = self.subscriptions.rows.len();
        self.subscriptions.rows.retain(|row| row.id != id);
        if self.subscriptions.rows.len() == before {
            return Err(not_found("subscription"));
        }
        self.hooks.unregister(id);
        Ok(Response::new(204))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tillway_core::http::Method;

    use super::super::sign_standard;
    use super::super::testing::{Shop, json_of, new_order, now};
    use crate::Sandbox;

    #[test]
    fn a_subscription_shows_its_secret_once_and_signs_until_deleted() {
        let mut shop = Shop::new();
        let body = json!({"url": "https://till.example/hooks/orders", "events": ["order.created"]});
        let created = shop.call(now(), Method::Post, "/webhooks", Some(&body));
        assert_eq!(created.status, 201);
        let created = json_of(&created);
        let (id, secret) = (created["id"].as_str().unwrap(), created["secret"].as_str().unwrap());
        let listed = json_of(&shop.call(now(), Method::Get, "/webhooks", None));
        assert_eq!(listed, json!([{"id": id, "url": body["url"], "events": body["events"], "active": true}]));

        let signatures = |shop: &mut Shop| {
            shop.0.place_order(now(), new_order("USD")).unwrap();
            let delivery = shop.0.take_deliveries(now()).remove(0);
            let own = sign_standard(secret, &delivery.event_id, now().unix(), &delivery.request.body);
            let all: Vec<_> =
                delivery.request.header("webhook-signature").unwrap().split(' ').map(str::to_owned).collect();
            (all.len(), all.contains(&own))
        };
        assert_eq!(signatures(&mut shop), (2, true));
        assert_eq!(shop.call(now(), Method::Delete, &format!("/webhooks/{id}"), None).status, 204);
        assert_eq!(signatures(&mut shop), (1, false));
        assert_eq!(shop.call(now(), Method::Delete, &format!("/webhooks/{id}"), None).status, 404);
        for body in [
            json!({"url": "http://plain.example", "events": ["a"]}),
            json!({"url": "https://x.example", "events": []}),
            json!({"url": "https://x.example", "events": [1]}),
            json!({"url": "https://x.example", "events": ["a"], "secret": "mine"}),
        ] {
            assert_eq!(shop.call(now(), Method::Post, "/webhooks", Some(&body)).status, 400, "{body}");
        }
    }
}
