//! Who may call: OAuth client credentials, a key in a header, or a login for a JWT; and what a token is
//! good for.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tillway_core::http::{Request, Response};
use tillway_core::time::Timestamp;

use super::answers::{Check, Outcome, answer, json_body, problem, with_header};
use super::config::{Auth, ClarityConfig};
use crate::faults::scramble;

/// The scopes of the contract.
const SCOPES: [&str; 7] = [
    "orders.read",
    "orders.write",
    "customers.read",
    "customers.write",
    "inventory.read",
    "inventory.write",
    "webhooks.manage",
];

struct Token {
    until: Timestamp,
    /// Space separated; `None` is everything.
    scopes: Option<String>,
}

/// Tokens that are good.
#[derive(Default)]
pub(super) struct Tokens {
    live: HashMap<String, Token>,
    issued: u64,
}

fn oauth_error(status: u16, error: &str) -> Response {
    let response = answer(status, &json!({"error": error}));
    if status == 401 {
        with_header(response, "www-authenticate", "Basic realm=\"clarity\"")
    } else {
        response
    }
}

fn unauthorized(detail: &str) -> Response {
    with_header(problem(401, "unauthorized", detail), "www-authenticate", "Bearer error=\"invalid_token\"")
}

fn basic(request: &Request) -> Option<(String, String)> {
    let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

impl Tokens {
    pub fn revoke(&mut self) {
        self.live.clear();
    }

    fn keep(&mut self, now: Timestamp, config: &ClarityConfig, token: String, scopes: Option<String>) {
        self.live.retain(|_, token| token.until > now);
        self.live.insert(token, Token { until: now + config.token_lifetime, scopes });
    }

    fn next(&mut self, seed: u64) -> u64 {
        self.issued += 1;
        // Another sequence than the event ids'.
        scramble(seed ^ 0x544f_4b45_4e53, self.issued)
    }

    /// `/oauth/token`.
    pub fn issue(&mut self, now: Timestamp, config: &ClarityConfig, request: &Request) -> Outcome {
        let Auth::OAuth { client_id, client_secret } = &config.auth else {
            return Err(problem(404, "not_found", "no such path"));
        };
        let kind = request.header("content-type").unwrap_or_default();
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(oauth_error(400, "invalid_request"));
        }
        let form: HashMap<_, _> = form_urlencoded::parse(&request.body).into_owned().collect();
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        match form.get("grant_type").map(String::as_str) {
            None => return Err(oauth_error(400, "invalid_request")),
            Some("client_credentials") => {}
            Some(_) => return Err(oauth_error(400, "unsupported_grant_type")),
        }
        let (id, secret) = basic(request).unwrap_or_else(|| (field("client_id"), field("client_secret")));
        if (&id, &secret) != (client_id, client_secret) {
            return Err(oauth_error(401, "invalid_client"));
        }
        let scopes = form.get("scope").filter(|s| !s.is_empty()).cloned();
        if scopes.iter().flat_map(|s| s.split(' ')).any(|s| !SCOPES.contains(&s)) {
            return Err(oauth_error(400, "invalid_scope"));
        }
        let token = format!("clr_{:016x}", self.next(config.seed));
        let body = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": config.token_lifetime.0 / 1000,
            "scope": scopes.clone().unwrap_or_else(|| SCOPES.join(" ")),
        });
        self.keep(now, config, token, scopes);
        Ok(with_header(answer(200, &body), "cache-control", "no-store"))
    }

    /// The login path. The answer's members are those of ASP.NET Identity's `/login`.
    pub fn login(&mut self, now: Timestamp, config: &ClarityConfig, request: &Request) -> Outcome {
        let Auth::JwtLogin { username, password, .. } = &config.auth else {
            return Err(problem(404, "not_found", "no such path"));
        };
        let body = json_body(request)?;
        let mut check = Check::default();
        let (mut name, mut word) = (String::new(), String::new());
        if let Some(map) = check.object(&body, "", &["username", "password"]) {
            name = check.needed(map, "", "username");
            word = check.needed(map, "", "password");
        }
        check.done(())?;
        if (&name, &word) != (username, password) {
            return Err(problem(401, "unauthorized", "wrong user name or password"));
        }
        let lifetime = config.token_lifetime.0 / 1000;
        let number = self.next(config.seed);
        let claims = json!({
            "sub": name, "jti": format!("{number:016x}"), "iat": now.unix(), "exp": now.unix() + lifetime,
        });
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let head = json!({"alg": "HS256", "typ": "JWT"});
        let content = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
        let signature = Hmac::<Sha256>::new_from_slice(&config.seed.to_be_bytes())
            .map(|mac| URL_SAFE_NO_PAD.encode(mac.chain_update(&content).finalize().into_bytes()))
            .unwrap_or_default();
        let token = format!("{content}.{signature}");
        let body = json!({"tokenType": "Bearer", "accessToken": token, "expiresIn": lifetime});
        self.keep(now, config, token, None);
        Ok(with_header(answer(200, &body), "cache-control", "no-store"))
    }

    /// Lets a call pass or refuses it. `scope` is what it takes, if anything.
    pub fn admit(
        &self,
        now: Timestamp,
        config: &ClarityConfig,
        request: &Request,
        scope: Option<&str>,
    ) -> Result<(), Response> {
        if let Auth::ApiKey { header, key } = &config.auth {
            return match request.header(header) {
                Some(given) if given == key => Ok(()),
                _ => Err(unauthorized("missing or wrong API key")),
            };
        }
        let given = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let Some(given) = given else { return Err(unauthorized("missing bearer token")) };
        let token = self.live.get(given.trim()).filter(|token| token.until > now);
        let Some(token) = token else { return Err(unauthorized("unknown, revoked or expired token")) };
        match (&token.scopes, scope) {
            (Some(granted), Some(scope)) if !granted.split(' ').any(|s| s == scope) => {
                Err(problem(403, "forbidden", &format!("the token lacks the scope {scope}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tillway_core::http::Method;
    use tillway_core::time::Millis;

    use super::super::testing::{Shop, json_of, now};
    use super::*;

    fn token_request(body: &str) -> Request {
        Request::new(Method::Post, "https://shop.test/api/v1/oauth/token")
            .with_body("application/x-www-form-urlencoded", body)
    }

    fn with_token(token: &str, url: &str) -> Request {
        Request::new(Method::Get, url).with_header("authorization", format!("Bearer {token}"))
    }

    #[test]
    fn client_credentials_come_by_basic_or_body_and_the_token_expires() {
        let mut shop = Shop::with(|c| {
            c.auth = Auth::OAuth { client_id: "me".into(), client_secret: "s:3".into() };
        });
        let by_body = token_request("grant_type=client_credentials&client_id=me&client_secret=s%3A3");
        let by_basic = token_request("grant_type=client_credentials")
            .with_header("authorization", format!("Basic {}", BASE64.encode("me:s:3")));
        let mut tokens = Vec::new();
        for request in [by_body, by_basic] {
            let response = shop.send(now(), &request);
            assert_eq!((response.status, response.header("cache-control")), (200, Some("no-store")));
            let body = json_of(&response);
            assert_eq!((&body["token_type"], &body["expires_in"]), (&"Bearer".into(), &3600.into()));
            tokens.push(body["access_token"].as_str().unwrap().to_owned());
        }
        assert_ne!(tokens[0], tokens[1]);
        let list = with_token(&tokens[0], "/api/v1/orders");
        assert_eq!(shop.send(now() + Millis::secs(3599), &list).status, 200);
        let expired = shop.send(now() + Millis::secs(3600), &list);
        assert_eq!((expired.status, &json_of(&expired)["code"]), (401, &"unauthorized".into()));
    }

    #[test]
    fn bad_token_requests_get_the_error_of_the_rfc() {
        let mut shop = Shop::with(|c| {
            c.auth = Auth::OAuth { client_id: "me".into(), client_secret: "s3".into() };
        });
        for (body, status, error) in [
            ("grant_type=client_credentials&client_id=me&client_secret=no", 401, "invalid_client"),
            ("grant_type=client_credentials", 401, "invalid_client"),
            ("grant_type=password&client_id=me&client_secret=s3", 400, "unsupported_grant_type"),
            ("client_id=me&client_secret=s3", 400, "invalid_request"),
            ("grant_type=client_credentials&client_id=me&client_secret=s3&scope=root", 400, "invalid_scope"),
        ] {
            let response = shop.send(now(), &token_request(body));
            assert_eq!((response.status, &json_of(&response)["error"]), (status, &error.into()), "{body}");
        }
    }

    #[test]
    fn a_missing_a_wrong_and_a_revoked_token_are_401() {
        let mut shop = Shop::new();
        assert_eq!(shop.send(now(), &Request::new(Method::Get, "/api/v1/orders")).status, 401);
        assert_eq!(shop.send(now(), &with_token("clr_0", "/api/v1/orders")).status, 401);
        assert_eq!(shop.call(now(), Method::Get, "/orders", None).status, 200);
        shop.0.revoke_tokens();
        assert_eq!(shop.call(now(), Method::Get, "/orders", None).status, 401);
    }

    #[test]
    fn a_token_is_good_for_its_scopes_only() {
        let mut shop = Shop::with(|c| {
            c.auth = Auth::OAuth { client_id: "me".into(), client_secret: "s3".into() };
        });
        let request = token_request(
            "grant_type=client_credentials&client_id=me&client_secret=s3&scope=orders.read%20orders.write",
        );
        let token = json_of(&shop.send(now(), &request))["access_token"].as_str().unwrap().to_owned();
        assert_eq!(shop.send(now(), &with_token(&token, "/api/v1/orders")).status, 200);
        assert_eq!(shop.send(now(), &with_token(&token, "/api/v1/customers")).status, 403);
    }

    #[test]
    fn an_api_key_and_a_jwt_login_are_other_ways_in() {
        let mut shop = Shop::with(|c| c.auth = Auth::ApiKey { header: "X-Api-Key".into(), key: "k1".into() });
        let list = Request::new(Method::Get, "/api/v1/orders");
        assert_eq!(shop.send(now(), &list.clone().with_header("x-api-key", "k1")).status, 200);
        assert_eq!(shop.send(now(), &list.with_header("x-api-key", "k2")).status, 401);

        let mut shop = Shop::with(|c| {
            c.auth =
                Auth::JwtLogin { username: "u".into(), password: "p".into(), path: "/auth/login".into() };
        });
        let login = |word: &str| {
            let body = json!({"username": "u", "password": word}).to_string();
            Request::new(Method::Post, "/api/v1/auth/login").with_body("application/json", body)
        };
        assert_eq!(shop.send(now(), &login("wrong")).status, 401);
        let body = json_of(&shop.send(now(), &login("p")));
        let token = body["accessToken"].as_str().unwrap();
        assert_eq!(token.split('.').count(), 3);
        assert_eq!(shop.send(now(), &with_token(token, "/api/v1/orders")).status, 200);
    }
}
