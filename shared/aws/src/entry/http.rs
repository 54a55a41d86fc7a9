//! Webhooks as API Gateway hands them to a function (HTTP API, payload version 2).
//!
//! The body is a text, or base64 where `isBase64Encoded` says so: it is brought back to the bytes that were sent,
//! for signatures are over these. Address, bounds and answers are those of one machine
//! (`tillway_host::webhook`).

use std::net::IpAddr;

use aws_lambda_events::encodings::Body;
use aws_lambda_events::event::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tillway_engine::Engine;
use tillway_engine::allow::Networks;
use tillway_host::webhook::{ADDRESS, Answer, address, fault};

/// What one function takes in.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    /// System of the connections it serves.
    pub(crate) system: &'static str,
    /// Topics.
    pub(crate) topics: &'static [&'static str],
    /// Networks that may send to any connection of the system; `None`: all. An HTTP API has no resource policy that would look.
    pub(crate) allow: Option<Networks>,
}

impl Desk {
    /// Answers a webhook.
    pub(crate) async fn take(
        &self,
        engine: &Engine,
        request: ApiGatewayV2httpRequest,
    ) -> ApiGatewayV2httpResponse {
        response(self.answer(engine, request).await)
    }

    async fn answer(&self, engine: &Engine, request: ApiGatewayV2httpRequest) -> Answer {
        let context = &request.request_context;
        let from: Option<IpAddr> = context.http.source_ip.as_deref().and_then(|ip| ip.parse().ok());
        if self.allow.as_ref().is_some_and(|networks| !networks.hold(from)) {
            return refuse(engine, 403, ADDRESS.0, fault(ADDRESS.1, ADDRESS.2));
        }
        let path = request.raw_path.as_deref().unwrap_or_default();
        // A stage that has a name stands before the path.
        let stage = context.stage.as_deref().filter(|stage| *stage != "$default").unwrap_or_default();
        let path = path
            .strip_prefix('/')
            .and_then(|p| p.strip_prefix(stage))
            .filter(|_| !stage.is_empty())
            .unwrap_or(path);
        let Some((connection, topic)) = address(path) else {
            return refuse(engine, 404, "unknown_url", fault("not_found", "no such address"));
        };
        if !engine.config.takes_from(connection, from) {
            return refuse(engine, 403, ADDRESS.0, fault(ADDRESS.1, ADDRESS.2));
        }
        let ours = engine.config.connection(connection).is_some_and(|(c, _)| c.system == self.system);
        let ours = ours && self.topics.contains(&topic);
        let method = context.http.method.as_str();
        if ours && matches!(method, "GET" | "HEAD") && engine.answers_probe(connection, topic) {
            return Answer { status: 200, body: serde_json::json!({ "status": "probe" }), retry_after: None };
        }
        if method != "POST" {
            let body = fault("method_not_allowed", "another method is needed");
            return refuse(engine, 405, "method_not_allowed", body);
        }
        if !ours {
            // As the engine answers for a connection or topic that nobody has.
            return refuse(engine, 404, "unknown_url", serde_json::json!({ "error": "unknown_url" }));
        }
        let text = request.body.unwrap_or_default();
        let body =
            if request.is_base64_encoded { STANDARD.decode(text).ok() } else { Some(text.into_bytes()) };
        let Some(body) = body else {
            return refuse(engine, 400, "body", fault("body", "the body is not the base64 it is said to be"));
        };
        if body.len() > engine.config.max_body {
            return refuse(engine, 413, "too_large", fault("too_large", "the body is larger than the limit"));
        }
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_ascii_lowercase(), text(value.as_bytes())))
            .collect();
        engine.receive(connection, topic, &headers, &body).await.into()
    }
}

fn refuse(engine: &Engine, status: u16, code: &'static str, body: serde_json::Value) -> Answer {
    engine.ports.alerts.count("receive_refused", code, 1);
    tracing::warn!(code, "request refused");
    Answer { status, body, retry_after: None }
}

fn response(answer: Answer) -> ApiGatewayV2httpResponse {
    let mut out = ApiGatewayV2httpResponse::default();
    out.status_code = i64::from(answer.status);
    out.body = Some(Body::Text(answer.body.to_string()));
    if let Ok(json) = "application/json".parse() {
        out.headers.insert("content-type", json);
    }
    if let Some(seconds) = answer.retry_after {
        out.headers.insert("retry-after", seconds.into());
    }
    if answer.status == 405
        && let Ok(allow) = "POST".parse()
    {
        out.headers.insert("allow", allow);
    }
    out
}
