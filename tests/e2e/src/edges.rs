//! What comes to the edge and what it is answered: one table for one machine (`tests/e2e`) and for API Gateway with
//! functions (`tests/cloud`). Requests are written to the socket by hand ([`crate::wire::exchange`]), names of headers as
//! they stand here.

use serde_json::{Value as Json, json};
use tillway_core::http::{Method, Request};
use tillway_core::time::{Millis, Timestamp};
use tillway_sandbox::clarity::sign_standard;
use tillway_sandbox::stripe::sign;

use crate::world::{CARD_NUMBER, GATEWAY, GATEWAY_HOOK, SHOP, shop_hook_at};

/// Signs for nobody here.
const OTHER_SECRET: &str = "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgMzIgYnl0ZXM=";
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
    /// What the answer says: see [`said`].
    pub says: &'static str,
    /// What becomes of it.
    pub then: Then,
    /// What API Gateway makes of it.
    pub gateway: Gateway,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Counted under this code, and nothing else is left.
    Refused(&'static str),
    /// Stored and listed as an event that no flow uses.
    Listed,
    /// Listed, and parked for this reason.
    Parked(&'static str),
}

/// What API Gateway makes of a request. Differences are its own; ours would be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// Hands it on: the function answers and does as `serve`.
    Same,
    /// Answers 404 itself, for it has no route there: no function runs, and we count nothing.
    NoRoute,
    /// Hands on something else than was sent, and why.
    Changes {
        /// Status of the answer to that.
        status: u16,
        /// What becomes of that.
        then: Then,
        /// Why, and whether AWS's does so as well.
        why: &'static str,
    },
}

/// JSON travels to a function as text.
const AS_TEXT: Gateway = Gateway::Changes {
    status: 401,
    then: Then::Refused("signature_wrong"),
    why: "the local API Gateway decodes bodies of type application/json with replacement characters, so that other bytes \
          arrive than were signed; what AWS's does is not known. Under a type that it takes for binary they arrive whole",
};

/// Of two signatures one is picked.
const JOINED: Gateway = Gateway::Changes {
    status: 202,
    then: Then::Listed,
    why: "the local API Gateway joins headers with a comma and a space; AWS documents a comma, as serve does, and then neither \
          is picked (`of_what_came_twice_neither_is_picked` in shared/aws)",
};

/// An escaped slash is taken for one.
const RESOLVED: Gateway = Gateway::Changes {
    status: 202,
    then: Then::Listed,
    why: "the local API Gateway resolves escapes before it looks for the route; what AWS's does is not known. serve looks at \
          each part of the path by itself",
};

impl Edge {
    /// Through API Gateway: status, what the answer says where a function gave it, and what becomes of the request.
    #[must_use]
    pub const fn through_the_gateway(&self) -> (u16, Option<&'static str>, Option<Then>) {
        match self.gateway {
            Gateway::Same => (self.status, Some(self.says), Some(self.then)),
            Gateway::NoRoute => (404, None, None),
            Gateway::Changes { status, then, .. } => {
                let says = if let Then::Refused(code) = then { code } else { "accepted" };
                (status, Some(says), Some(then))
            }
        }
    }
}

/// What an answer says: `status`, `error`, or the code in `error` where the front gave it.
#[must_use]
pub fn said(body: &str) -> Option<String> {
    let body: Json = serde_json::from_str(body).ok()?;
    let said = body["status"].as_str().or(body["error"].as_str()).or(body["error"]["code"].as_str());
    said.map(str::to_owned)
}

/// An event of the gateway that nobody has a flow for: accepted, stored, listed.
fn odd(id: &str, text: &str) -> Vec<u8> {
    json!({
        "id": id, "object": "event", "type": "payout.odd", "created": 1_790_000_000, "livemode": false,
        "api_version": "2026-10-28.endive",
        "data": { "object": { "id": "po_1", "object": "payout", "statement_descriptor": text, "total": "47.12",
            "email": "jenny@example.com" } },
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
    /// Of the events that no flow uses.
    topic: &'static str,
    /// Where the money is, and what is refused comes.
    busy: &'static str,
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
    fn forged(&self, body: &[u8]) -> Request {
        let unix = self.now.unix();
        if self.connection == SHOP {
            let signature = sign_standard(OTHER_SECRET, "edge_forged", unix, body);
            return set(self.signed("edge_forged", body), "webhook-signature", Some(&signature));
        }
        plain(body).with_header("stripe-signature", sign(body, OTHER_SECRET, unix))
    }
    fn path(&self) -> String {
        format!("/webhooks/{}/{}", self.connection, self.topic)
    }
    fn busy_path(&self) -> String {
        format!("/webhooks/{}/{}", self.connection, self.busy)
    }
    fn signature(&self) -> &'static str {
        if self.connection == SHOP { "webhook-signature" } else { "stripe-signature" }
    }
    fn body(&self, id: &str) -> Vec<u8> {
        self.body_with(id, "Ünïcødé ✓")
    }
    fn body_with(&self, id: &str, text: &str) -> Vec<u8> {
        if self.connection == SHOP {
            let data =
                json!({ "customerId": "CU-9", "name": text, "email": "jenny@example.com", "spent": "47.12" });
            return json!({ "type": "customer.updated", "timestamp": self.now.rfc3339(), "data": data })
                .to_string()
                .into_bytes();
        }
        odd(id, text)
    }
    /// What is refused and counted under its code, as the answer says.
    fn refused(&self, name: &'static str, request: Request, status: u16, code: &'static str) -> Edge {
        let (path, then, gateway) = (self.busy_path(), Then::Refused(code), Gateway::Same);
        Edge { name, method: "POST", path, request, status, says: code, then, gateway }
    }
    /// What is accepted and listed.
    fn accepted(&self, name: &'static str, request: Request) -> Edge {
        let (path, then, gateway) = (self.path(), Then::Listed, Gateway::Same);
        Edge { name, method: "POST", path, request, status: 202, says: "accepted", then, gateway }
    }
}

/// The table, signed for a time; `passing` may go by until a request is sent. What is accepted is an event without a
/// flow, of an id of its own.
#[must_use]
pub fn table(now: Timestamp, passing: Millis) -> Vec<Edge> {
    let gateway = Sender { connection: GATEWAY, topic: "payouts", busy: "payments", now };
    let shop = Sender { connection: SHOP, topic: "customers", busy: "orders", now };
    let mut out = Vec::new();
    for from in [gateway, shop] {
        accepted(&from, &mut out);
        bodies(&from, &mut out);
        signatures(&from, passing, &mut out);
        addresses(&from, &mut out);
    }
    out
}

fn accepted(from: &Sender, out: &mut Vec<Edge>) {
    let mut case = |name: &'static str, change: &dyn Fn(Request) -> Request| {
        let id = format!("edge_{}_{}", from.connection, out.len());
        out.push(from.accepted(name, change(from.signed(&id, &from.body(&id)))));
    };
    let as_type = |value: &'static str| move |request| set(request, "Content-Type", Some(value));
    case("as it should be", &|request| request);
    case("names of headers in capitals", &shouted);
    case("a charset", &as_type("application/json; charset=utf-8"));
    case("a media type in capitals", &as_type("Application/JSON;Charset=\"UTF-8\""));
    case("a charset nobody knows", &as_type("application/json; charset=binary"));
    case("another header twice", &|request| request.with_header("x-more", "1").with_header("X-More", "2"));
    case("a second signature that does not fit", &|request| {
        let name = from.signature();
        let good = request.header(name).unwrap_or_default().to_owned();
        let both = if from.connection == SHOP {
            format!("v1,{} {good}", "A".repeat(43) + "=")
        } else {
            format!("{good},v1={}", "0".repeat(64))
        };
        set(request, name, Some(&both))
    });
    for (name, path) in [
        ("repeated query keys", format!("{}?a=1&a=2&b", from.path())),
        ("an escaped letter in the path", from.path().replace("ers", "er%73").replace("outs", "out%73")),
    ] {
        let id = format!("edge_{}_{}", from.connection, out.len());
        out.push(Edge { path, ..from.accepted(name, from.signed(&id, &from.body(&id))) });
    }
    let id = format!("edge_{}_{}", from.connection, out.len());
    let request = from.signed(&id, &from.body_with(&id, CARD_NUMBER));
    out.push(Edge { then: Then::Parked("card_number_removed"), ..from.accepted("a card number", request) });
}

fn bodies(from: &Sender, out: &mut Vec<Edge>) {
    let mut case = |name, body: &[u8], status, code| {
        out.push(from.refused(name, from.signed("edge_body", body), status, code));
    };
    let good = String::from_utf8(from.body("edge_body")).unwrap();
    case("not JSON", b"amount=1", 400, "malformed");
    case("cut off", &good.as_bytes()[..good.len() - 1], 400, "malformed");
    case("nothing", b"", 400, "malformed");
    case("a list", b"[]", 400, "malformed");
    case("nested deeper than anybody reads", "[".repeat(100_000).as_bytes(), 400, "malformed");
    for (name, size) in [("a byte less than is read", LIMIT - 1), ("as large as is read", LIMIT)] {
        case(name, &vec![b' '; size], 400, "malformed");
    }
    case("a byte larger", &vec![b' '; LIMIT + 1], 413, "too_large");
    let not_utf8: Vec<u8> = {
        let (before, after) = good.split_once('Ü').unwrap();
        [before.as_bytes(), &[0xff, 0xfe, 0x00], after.as_bytes()].concat()
    };
    let picture = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0x00];
    for (name, body) in [("not UTF-8", not_utf8.as_slice()), ("bytes of a picture", &picture)] {
        let request = from.signed("edge_body", body);
        // API Gateway takes this type for binary: it travels to a function as base64.
        let binary = set(request.clone(), "content-type", Some("application/octet-stream"));
        out.push(Edge { gateway: AS_TEXT, ..from.refused(name, request, 400, "malformed") });
        out.push(from.refused(name, binary, 415, "content_type"));
    }
    let request = from.signed("edge_body", good.as_bytes());
    for (name, value) in [
        ("text", Some("text/plain")),
        ("encrypted, which neither is", Some("application/jose")),
        ("a form", Some("application/x-www-form-urlencoded")),
        ("no content type", None),
        ("an empty content type", Some("")),
    ] {
        out.push(from.refused(name, set(request.clone(), "content-type", value), 415, "content_type"));
    }
    let twice = request.with_header("content-type", "application/json");
    out.push(from.refused("the content type twice", twice, 415, "content_type"));
}

fn signatures(from: &Sender, passing: Millis, out: &mut Vec<Edge>) {
    let body = from.body("edge_sign");
    let good = from.signed("edge_sign", &body);
    let mut case = |name, request, code| out.push(from.refused(name, request, 401, code));
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
    case("signed by somebody else", from.forged(&body), "signature_wrong");
    // A second more than either sender's five minutes.
    let over = Millis::secs(301);
    case("stale", from.at("edge_sign", &body, from.now - over), "timestamp_stale");
    case("from the future", from.at("edge_sign", &body, from.now + over + passing), "timestamp_future");
    let id = format!("edge_{}_twice", from.connection);
    let once = from.signed(&id, &from.body(&id));
    let signature = once.header(from.signature()).unwrap_or_default().to_owned();
    let twice = once.with_header(from.signature(), signature);
    let refused = from.refused("the signature twice", twice, 401, "signature_missing");
    out.push(Edge { path: from.path(), gateway: JOINED, ..refused });
}

fn addresses(from: &Sender, out: &mut Vec<Edge>) {
    let mut case = |name, method, path: String, (status, says, code): (u16, _, _)| {
        let request = from.signed("edge_url", &from.body("edge_url"));
        let refused = from.refused(name, request, status, code);
        out.push(Edge { method, path, says, gateway: Gateway::NoRoute, ..refused });
    };
    let nobodys = (404, "unknown_url", "unknown_url");
    let nowhere = (404, "not_found", "unknown_url");
    case("unknown connection", "POST", format!("/webhooks/nobody/{}", from.busy), nobodys);
    case("unknown topic", "POST", format!("/webhooks/{}/secrets", from.connection), nobodys);
    let path = from.busy_path();
    case("topic in capitals", "POST", path.replace(from.busy, &from.busy.to_uppercase()), nobodys);
    case("no such address", "POST", "/hooks".to_owned(), nowhere);
    case("more of a path", "POST", format!("{path}/more"), nowhere);
    case("an escaped escape", "POST", path.replace(from.busy, &from.busy.replace('s', "%2573")), nowhere);
    let escaped = format!("/webhooks/{}%2F{}", from.connection, from.topic);
    case("an escaped slash", "POST", escaped, nowhere);
    let method = (405, "method_not_allowed", "method_not_allowed");
    for other in ["PUT", "GET", "DELETE"] {
        case("another method", other, path.clone(), method);
    }
    for edge in out.iter_mut().filter(|edge| edge.name == "an escaped slash") {
        edge.gateway = RESOLVED;
    }
}
