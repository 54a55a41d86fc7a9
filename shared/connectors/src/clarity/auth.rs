//! How a call proves who we are, and where bearer tokens come from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use tillway_core::doc::{Doc, Json};
use tillway_core::http::{Method, Request};
use tillway_core::time::Millis;

use super::client;
use super::settings::{self, Auth};
use crate::config::{Connection, Secret, Secrets};
use crate::http::Http;
use crate::port::NotDone;

/// Lifetime of a token whose answer does not tell.
const UNTOLD: i64 = 300;

/// Whether a text can stand in a header.
fn fits_in_header(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| (0x20..=0x7e).contains(&b))
}

/// Adds credentials. `None` where there are none, or none that can be sent.
pub fn sign(
    request: Request,
    connection: &Connection,
    secrets: &Secrets,
    token: Option<&Secret>,
) -> Option<Request> {
    if settings::auth(connection) == Auth::ApiKey {
        let key = secrets.newest("api_key").map(Secret::expose).filter(|key| fits_in_header(key))?;
        return Some(request.with_header(settings::get(connection, "auth.header"), key));
    }
    let token = token.map(Secret::expose).filter(|token| fits_in_header(token))?;
    Some(request.with_header("authorization", format!("Bearer {token}")))
}

/// `application/x-www-form-urlencoded`.
fn form(pairs: &[(&str, &str)]) -> String {
    let Ok(mut url) = reqwest::Url::parse("form:") else { return String::new() };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// One text in that encoding.
fn form_text(text: &str) -> String {
    form(&[("", text)]).trim_start_matches('=').to_owned()
}

fn oauth(connection: &Connection, secrets: &Secrets) -> Option<Request> {
    let (id, secret) = (secrets.newest("client_id")?.expose(), secrets.newest("client_secret")?.expose());
    let scope = settings::get(connection, "auth.scope");
    let mut pairs = vec![("grant_type", "client_credentials")];
    if !scope.is_empty() {
        pairs.push(("scope", scope));
    }
    // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
    let basic = BASE64.encode(format!("{}:{}", form_text(id), form_text(secret)));
    let url = client::url(connection, "paths.token", None)?;
    let request = Request::new(Method::Post, url).with_header("authorization", format!("Basic {basic}"));
    Some(request.with_body("application/x-www-form-urlencoded", form(&pairs)))
}

fn login(connection: &Connection, secrets: &Secrets) -> Option<Request> {
    let (name, word) = (secrets.newest("username")?.expose(), secrets.newest("password")?.expose());
    let url = client::url(connection, "auth.login_path", None)?;
    let body = json!({"username": name, "password": word}).to_string();
    Some(Request::new(Method::Post, url).with_body("application/json", body))
}

/// Fetches a bearer token and its lifetime. Refreshing in time, and one caller at a time, is the engine's.
///
/// # Errors
/// [`NotDone`]: `Unauthorized` where credentials are missing or refused.
pub async fn fetch_token(
    connection: &Connection,
    secrets: &Secrets,
    http: &dyn Http,
    limit: Millis,
) -> Result<(Secret, Millis), NotDone> {
    let request = match settings::auth(connection) {
        Auth::ClientCredentials => oauth(connection, secrets),
        Auth::Jwt => login(connection, secrets),
        Auth::ApiKey => None,
    };
    let request = request.ok_or(NotDone::Unauthorized)?.with_header("accept", "application/json");
    let limit = client::within(connection, limit);
    let answer = http.send(request, limit).await.map_err(|_| NotDone::Unavailable)?;
    match answer.status {
        200..=299 => {}
        400 | 401 | 403 => return Err(NotDone::Unauthorized),
        429 => return Err(NotDone::Throttled),
        _ => return Err(NotDone::Unavailable),
    }
    let body = Doc::from_bytes(answer.body).map_err(|_| NotDone::Unavailable)?;
    let member = |names: [&str; 3]| names.into_iter().find_map(|name| body.json().get(name));
    let token = member(["access_token", "accessToken", "token"]).and_then(Json::as_str);
    let token = token.filter(|token| fits_in_header(token)).ok_or(NotDone::Unavailable)?;
    let seconds = member(["expires_in", "expiresIn", "expires"]);
    let seconds = seconds.and_then(|s| s.as_i64().or_else(|| s.as_str()?.parse().ok()));
    let seconds = seconds.filter(|s| *s > 0).unwrap_or(UNTOLD);
    Ok((Secret::new(token), Millis::secs(seconds)))
}
