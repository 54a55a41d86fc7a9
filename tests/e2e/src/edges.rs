//! What comes to the edge and what it is answered: one table for one machine (`tests/e2e`) and for API Gateway with
//! functions (`tests/cloud`). Requests are written to the socket by hand ([`crate::wire::exchange`]), names of headers as
//! they stand here.

use serde_json::json;
use tillway_core::http::{Method, Request};
use tillway_core::time::{Millis, Timestamp};
use tillway_sandbox::stripe::sign;

use crate::world::{GATEWAY, GATEWAY_HOOK, SHOP, shop_hook_at};

/// Bytes of a body that are read; one more is refused.
pub const LIMIT: usize = 1024 * 1024;

/// A request and its answer.
pub struct Edge {
    /// What is odd about it.
    pub name: &'static str,
    /// Method.
    pub method: &'static str,
    /// Path, with a query where there is one.
    pub path: String,
    /// Headers and body.
    pub request: Request,
    /// Status of the answer.
    pub status: u16,
    /// Code under which it is counted; empty where it is accepted.
    pub code: &'static str,
    /// What API Gateway answers itself, before a function is asked: it has a route for each address that is known, and no
    /// other.
    pub gateway: Option<u16>,
}

/// An event of the gateway that nobody has a flow for: accepted, stored, listed.
fn odd(id: &str) -> Vec<u8> {
    json!({
        "id": id, "object": "event", "type": "payout.odd", "created": 1_790_000_000, "livemode": false,
        "api_version": "2026-10-28.endive",
        "data": { "object": { "id": "po_1", "object": "payout", "statement_descriptor": "Ünïcødé ✓" } },
    })
    .to_string()
    .into_bytes()
}

fn plain(body: &[u8]) -> Request {
    Request::new(Method::Post, "").with_body("application/json", body.to_vec())
}

fn set(mut request: Request, name: &str, value: Option<&str>) -> Request {
    request.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    match value {
        Some(value) => request.with_header(name, value),
        None => request,
    }
}

/// Every name in capitals.
fn shouted(mut request: Request) -> Request {
    for (name, _) in &mut request.headers {
        *name = name.to_ascii_uppercase();
    }
    request
}

/// A sender: how it signs.
struct Sender {
    connection: &'static str,
    topic: &'static str,
    now: Timestamp,
}

impl Sender {
    fn at(&self, id: &str, body: &[u8], at: Timestamp) -> Request {
        if self.connection == SHOP {
            return shop_hook_at(id, at, body.to_vec());
        }
        plain(body).with_header("stripe-signature", sign(body, GATEWAY_HOOK, at.unix()))
    }
    fn signed(&self, id: &str, body: &[u8]) -> Request {
        self.at(id, body, self.now)
    }
    fn path(&self) -> String {
        format!("/webhooks/{}/{}", self.connection, self.topic)
    }
    fn signature(&self) -> &'static str {
        if self.connection == SHOP { "webhook-signature" } else { "stripe-signature" }
    }
    fn body(&self, id: &str) -> Vec<u8> {
        if self.connection == SHOP {
            let data = json!({ "customerId": "CU-9", "name": "Ünïcødé ✓" });
            return json!({ "type": "customer.updated", "timestamp": self.now.rfc3339(), "data": data })
                .to_string()
                .into_bytes();
        }
        odd(id)
    }
}

/// The table, signed for a time. What is accepted is an event without a flow, of an id of its own.
#[must_use]
pub fn table(now: Timestamp) -> Vec<Edge> {
    let gateway = Sender { connection: GATEWAY, topic: "payouts", now };
    let shop = Sender { connection: SHOP, topic: "customers", now };
    let mut out = Vec::new();
    for from in [gateway, shop] {
        accepted(&from, &mut out);
        bodies(&from, &mut out);
        signatures(&from, &mut out);
        addresses(&from, &mut out);
    }
    out
}

fn push(
    out: &mut Vec<Edge>,
    name: &'static str,
    path: String,
    request: Request,
    status: u16,
    code: &'static str,
) {
    out.push(Edge { name, method: "POST", path, request, status, code, gateway: None });
}

fn accepted(from: &Sender, out: &mut Vec<Edge>) {
    let mut case = |name: &'static str, path: String, change: &dyn Fn(Request) -> Request| {
        let id = format!("edge_{}_{}", from.connection, out.len());
        push(out, name, path, change(from.signed(&id, &from.body(&id))), 202, "");
    };
    let as_type = |value: &'static str| move |request| set(request, "Content-Type", Some(value));
    case("as it should be", from.path(), &|request| request);
    case("names of headers in capitals", from.path(), &shouted);
    case("a charset", from.path(), &as_type("application/json; charset=utf-8"));
    case("a media type in capitals", from.path(), &as_type("Application/JSON;Charset=\"UTF-8\""));
    // What API Gateway takes for binary travels to a function as base64.
    case("a charset nobody knows", from.path(), &as_type("application/json; charset=binary"));
    case("repeated query keys", format!("{}?a=1&a=2&b", from.path()), &|request| request);
    case("a header twice", from.path(), &|request| {
        request.with_header("x-more", "1").with_header("X-More", "2")
    });
    case("a second signature that does not fit", from.path(), &|request| {
        let name = from.signature();
        let good = request.header(name).unwrap_or_default().to_owned();
        let both = if from.connection == SHOP {
            format!("v1,{} {good}", "A".repeat(43) + "=")
        } else {
            format!("{good},v1={}", "0".repeat(64))
        };
        set(request, name, Some(&both))
    });
}

fn bodies(from: &Sender, out: &mut Vec<Edge>) {
    let mut case = |name, body: &[u8], status, code| {
        push(out, name, from.path(), from.signed("edge_body", body), status, code);
    };
    let good = String::from_utf8(from.body("edge_body")).unwrap();
    let not_utf8: Vec<u8> = {
        let (before, after) = good.split_once('Ü').unwrap();
        [before.as_bytes(), &[0xff, 0xfe, 0x00], after.as_bytes()].concat()
    };
    case("not UTF-8", &not_utf8, 400, "malformed");
    case("bytes of a picture", &[0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0x00], 400, "malformed");
    case("not JSON", b"amount=1", 400, "malformed");
    case("cut off", &good.as_bytes()[..good.len() - 1], 400, "malformed");
    case("nothing", b"", 400, "malformed");
    case("a list", b"[]", 400, "malformed");
    case("nested deeper than anybody reads", "[".repeat(100_000).as_bytes(), 400, "malformed");
    case("as large as is read", &vec![b' '; LIMIT], 400, "malformed");
    case("a byte larger", &vec![b' '; LIMIT + 1], 413, "too_large");
    let request = from.signed("edge_body", good.as_bytes());
    push(
        out,
        "wrong content type",
        from.path(),
        set(request.clone(), "content-type", Some("text/plain")),
        415,
        "content_type",
    );
    push(out, "no content type", from.path(), set(request, "content-type", None), 415, "content_type");
}

fn signatures(from: &Sender, out: &mut Vec<Edge>) {
    let body = from.body("edge_sign");
    let good = from.signed("edge_sign", &body);
    let mut case = |name, request, code| push(out, name, from.path(), request, 401, code);
    case("no signature", set(good.clone(), from.signature(), None), "signature_missing");
    let malformed = if from.connection == SHOP {
        set(good.clone(), "webhook-timestamp", Some("noon"))
    } else {
        set(good.clone(), from.signature(), Some("v1=abc"))
    };
    case("a signature that cannot be read", malformed, "signature_missing");
    let mut tampered = good;
    tampered.body = String::from_utf8(tampered.body).unwrap().replace('✓', "x").into_bytes();
    case("another body than was signed", tampered, "signature_wrong");
    if from.connection == GATEWAY {
        let forged = sign(&body, "whsec_of_somebody_else", from.now.unix());
        case(
            "signed by somebody else",
            plain(&body).with_header("stripe-signature", forged),
            "signature_wrong",
        );
    }
    case("stale", from.at("edge_sign", &body, from.now - Millis::secs(3600)), "timestamp_stale");
    case("from the future", from.at("edge_sign", &body, from.now + Millis::secs(3600)), "timestamp_future");
}

fn addresses(from: &Sender, out: &mut Vec<Edge>) {
    let good = || from.signed("edge_url", &from.body("edge_url"));
    let mut case = |name, path: String| push(out, name, path, good(), 404, "unknown_url");
    case("unknown connection", format!("/webhooks/nobody/{}", from.topic));
    case("unknown topic", format!("/webhooks/{}/secrets", from.connection));
    case("no such address", "/hooks".to_owned());
    case("more of a path", format!("{}/more", from.path()));
    out.push(Edge {
        name: "another method",
        method: "PUT",
        path: from.path(),
        request: good(),
        status: 405,
        code: "method_not_allowed",
        gateway: Some(404),
    });
}
