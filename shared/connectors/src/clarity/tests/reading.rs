//! Reading orders, sweeping, and getting tokens.

use serde_json::{Value as Json, json};
use tillway_core::facts::Fact;
use tillway_core::http::Response;
use tillway_core::ids::CommandId;
use tillway_core::time::{Millis, Timestamp};

use super::{
    Clarity, Shop, act, act_as, api_secrets, assert_clean, call, connection, now, order, params, problem,
    secrets, text, usd, with,
};
use crate::config::{Connection, Secret};
use crate::http::HttpError;
use crate::port::{Connector, Interpreted, NotDone, Outcome, SweepPage};

const READ: &str = "clarity.read_order";

async fn read(connection: &Connection, answer: Result<Response, HttpError>) -> Outcome {
    let shop = Shop::new([answer]);
    act(&shop, connection, READ, &params(&[("order_id", text("C-1"))])).await
}

#[tokio::test]
async fn an_order_is_read_with_its_personal_data() {
    let outcome = read(&connection(&[]), Ok(Response::json(200, &order()))).await;
    let Outcome::Settled { observation, .. } = outcome else { panic!() };
    assert!(matches!(&observation.facts[..], [Fact::Order(o)] if o.version == 3));
    assert_eq!(observation.personal.at("order.customer.last_name").as_text(), Some("Vogel"));
}

#[tokio::test]
async fn a_read_that_fails_has_executed_nothing() {
    let connection = connection(&[]);
    let why = |outcome: Outcome| match outcome {
        Outcome::NotDone { why, .. } => why,
        other => panic!("{other:?}"),
    };
    let mut page = Response::new(200);
    page.body = b"<html>canary, back soon</html>".to_vec();
    for answer in [
        Err(HttpError::NoAnswer),
        Err(HttpError::NotSent),
        Ok(problem(500, "x")),
        Ok(Response::new(503)),
        Ok(page),
    ] {
        assert_eq!(why(read(&connection, answer).await), NotDone::Unavailable);
    }
    assert_eq!(why(read(&connection, Ok(Response::new(401))).await), NotDone::Unauthorized);
    assert_eq!(why(read(&connection, Ok(Response::new(429))).await), NotDone::Throttled);
    let mut busy = Response::new(503);
    busy.headers.push(("retry-after".into(), "30".into()));
    let expected = Outcome::NotDone { after: Some(Millis::secs(30)), why: NotDone::Unavailable };
    assert_eq!(read(&connection, Ok(busy)).await, expected);
}

#[tokio::test]
async fn an_order_that_cannot_be_accepted_is_refused_with_its_fault() {
    let code = |outcome: Outcome| match outcome {
        Outcome::Refused { code, summary, .. } => (code, summary),
        other => panic!("{other:?}"),
    };
    let connection = connection(&[]);
    let (found, summary) =
        code(read(&connection, Ok(Response::json(200, &with(order(), "/total", usd("1"))))).await);
    assert_eq!((found.as_str(), summary.starts_with("total.amount: ")), ("totals_do_not_add_up", true));
    let unversioned = with(order(), "/version", Json::Null);
    assert_eq!(code(read(&connection, Ok(Response::json(200, &unversioned))).await).0, "version_missing");
    assert_eq!(code(read(&connection, Ok(problem(404, "not_found"))).await).0, "not_found");
    let outcome = read(&connection, Ok(Response::json(200, &with(order(), "/orderId", "C-2".into())))).await;
    assert!(matches!(outcome, Outcome::Disagrees { field, .. } if field == "orderId"));
}

#[tokio::test]
async fn credentials_go_where_they_are_configured_and_ids_are_one_segment() {
    let settings =
        [("auth", "api_key"), ("auth.header", "X-Shop-Key"), ("paths.order", "/v2/order/{orderId}/full")];
    let connection = connection(&settings);
    assert!(!Clarity.needs_token(&connection));
    let odd = with(order(), "/orderId", "C/1?x=ü".into());
    let shop = Shop::new([Ok(Response::json(200, &odd))]);
    let asked = params(&[("order_id", text("C/1?x=ü"))]);
    act_as(&shop, &connection, &api_secrets(), None, READ, &asked).await;
    let request = shop.asked().remove(0);
    assert_eq!(request.url, "https://shop.example.com/api/v1/v2/order/C%2F1%3Fx=%C3%BC/full");
    assert_eq!((request.header("x-shop-key"), request.header("authorization")), (Some("canary_key"), None));
    // Without credentials, or with some that break out of their header, nothing is sent.
    let bad = secrets(&[("api_key", &["canary\r\nx: y"])]);
    for keys in [secrets(&[]), bad] {
        let outcome = act_as(&Shop::new([]), &connection, &keys, None, READ, &asked).await;
        assert_eq!(outcome, Outcome::NotDone { after: None, why: NotDone::Unauthorized });
    }
}

async fn sweep(
    connection: &Connection,
    cursor: Option<&str>,
    answer: Result<Response, HttpError>,
) -> (Result<SweepPage, NotDone>, String) {
    let shop = Shop::new([answer]);
    let (secrets, token, command) = (api_secrets(), Secret::new("tok_secret"), CommandId::new("sweep"));
    let call = call(&shop, connection, &secrets, Some(&token), "", &command, b"");
    let page = Clarity.sweep(call, now() - Millis::hours(1), cursor).await;
    let url = shop.asked.lock().unwrap().first().map(|r| r.url.clone()).unwrap_or_default();
    (page, url)
}

fn changed(id: &str, at: &str) -> Json {
    with(with(order(), "/orderId", id.into()), "/updatedAt", at.into())
}

fn page(items: &[Json]) -> Result<Response, HttpError> {
    Ok(Response::json(200, &json!({"items": items, "pageIndex": 0, "pageSize": 2, "totalCount": 9})))
}

#[tokio::test]
async fn swept_orders_are_events_like_any_other() {
    let connection = connection(&[]);
    let (swept, url) = sweep(&connection, None, page(&[order()])).await;
    let swept = swept.unwrap();
    assert_eq!(
        url,
        "https://shop.example.com/api/v1/orders?updatedSince=2026-11-21T07%3A00%3A00.000Z&pageIndex=0&pageSize=50"
    );
    assert!(swept.next.is_some(), "the shop may give fewer on a page than it was asked for");
    let event = &swept.events[0];
    assert_eq!((event.event_id.as_str(), event.group.as_str()), ("sweep:C-1:3", "C-1"));
    assert_eq!(event.created_at, Timestamp::parse_rfc3339("2026-11-21T07:30:00.250Z").unwrap());
    let read = Clarity.interpret(&connection, &event.event_type, event.body.json()).unwrap();
    assert!(matches!(read, Interpreted::About { .. }));
    // One that cannot even be named is parked by its meaning and not left out.
    let (swept, _) = sweep(&connection, None, page(&[with(order(), "/orderId", Json::Null)])).await;
    let event = swept.unwrap().events.remove(0);
    assert!(Clarity.interpret(&connection, &event.event_type, event.body.json()).is_err());
}

#[tokio::test]
async fn the_next_page_begins_at_the_last_change_seen() {
    let settings = [("page_size", "2")];
    let two = connection(&settings);
    let (a, b) = ("2026-11-21T07:10:00.000Z", "2026-11-21T07:20:00.900Z");
    let (swept, _) = sweep(&two, None, page(&[changed("A", a), changed("B", b)])).await;
    let next = swept.unwrap().next.unwrap();
    // Between the pages A changed and moved to the end: by number alone, C would now be skipped.
    let (swept, url) = sweep(&two, Some(&next), page(&[changed("B", b), changed("C", b)])).await;
    assert!(url.contains("updatedSince=2026-11-21T07%3A20%3A00.000Z&pageIndex=0&"), "{url}");
    // A whole page within that second: now the number goes up.
    let next = swept.unwrap().next.unwrap();
    let (_, url) = sweep(&two, Some(&next), page(&[])).await;
    assert!(url.contains("updatedSince=2026-11-21T07%3A20%3A00.000Z&pageIndex=1&"), "{url}");
    // Lists that are not sorted by change, by their looks or by configuration.
    let plain = connection(&[("page_size", "2"), ("paging.style", "page-index-plain")]);
    for (connection, items) in
        [(&two, [changed("B", b), changed("A", a)]), (&plain, [changed("A", a), changed("B", b)])]
    {
        let (swept, _) = sweep(connection, None, page(&items)).await;
        let (_, url) = sweep(connection, swept.unwrap().next.as_deref(), page(&[])).await;
        assert!(url.contains("updatedSince=2026-11-21T07%3A00%3A00.000Z&pageIndex=1&"), "{url}");
    }
}

#[tokio::test]
async fn a_sweep_ends_with_an_empty_page_the_whole_count_or_a_page_that_comes_again() {
    let counted = |items: &[Json], total: Json| {
        Ok(Response::json(200, &with(json!({"items": items, "totalCount": 1}), "/totalCount", total)))
    };
    let plain = connection(&[("paging.style", "page-index-plain")]);
    let (a, b, c) = (changed("A", "2026-11-21T07:10:00Z"), changed("B", "2026-11-21T07:11:00Z"), order());
    // The shop caps its pages at two and counts three.
    let (first, _) = sweep(&plain, None, counted(&[a.clone(), b.clone()], 3.into())).await;
    let next = first.unwrap().next.unwrap();
    let (second, url) = sweep(&plain, Some(&next), counted(std::slice::from_ref(&c), 3.into())).await;
    assert!(url.contains("pageIndex=1"), "{url}");
    assert!(second.unwrap().next.is_none(), "all three were seen");
    // It counts nothing: the empty page is the last, and so is one that comes a second time.
    let (first, _) = sweep(&plain, None, counted(std::slice::from_ref(&a), Json::Null)).await;
    let next = first.unwrap().next.unwrap();
    let (again, _) = sweep(&plain, Some(&next), counted(&[a], Json::Null)).await;
    assert!(again.unwrap().next.is_none(), "the shop does not know our page numbers");
    let (empty, _) = sweep(&plain, Some(&next), counted(&[], Json::Null)).await;
    assert!(empty.unwrap().next.is_none());
}

#[tokio::test]
async fn an_order_that_does_not_say_when_it_changed_changed_within_the_window() {
    let silent = with(order(), "/updatedAt", Json::Null);
    let (swept, _) = sweep(&connection(&[]), None, page(&[silent])).await;
    assert_eq!(swept.unwrap().events[0].created_at, now() - Millis::hours(1));
}

#[tokio::test]
async fn links_are_followed_within_the_shops_own_origin() {
    let linked = connection(&[("paging.style", "link"), ("paging.items", ".")]);
    let answer = |link: &str| {
        let mut response = Response::json(200, &json!([order()]));
        response.headers.push(("link".into(), format!("</first>; rel=\"first\", <{link}>; rel=\"next\"")));
        Ok(response)
    };
    let (swept, _) = sweep(&linked, None, answer("/api/v1/orders?after=1")).await;
    let next = swept.unwrap().next.unwrap();
    assert_eq!(next, "https://shop.example.com/api/v1/orders?after=1");
    let (_, url) = sweep(&linked, Some(&next), answer("?after=2")).await;
    assert_eq!(url, next);
    for evil in ["https://evil.example.com/", "http://shop.example.com/", "//evil.example.com/x"] {
        assert_eq!(sweep(&linked, None, answer(evil)).await.0.err(), Some(NotDone::Unavailable), "{evil}");
    }
    let in_body = connection(&[("paging.style", "link")]);
    let body = json!({"items": [], "links": {"next": "/api/v1/orders?p=2"}});
    let (swept, _) = sweep(&in_body, None, Ok(Response::json(200, &body))).await;
    assert_eq!(swept.unwrap().next.as_deref(), Some("https://shop.example.com/api/v1/orders?p=2"));
}

#[tokio::test]
async fn a_sweep_that_fails_says_why() {
    let connection = connection(&[]);
    for (answer, why) in [
        (Err(HttpError::NoAnswer), NotDone::Unavailable),
        (Ok(Response::new(401)), NotDone::Unauthorized),
        (Ok(Response::new(429)), NotDone::Throttled),
        (Ok(Response::new(404)), NotDone::Unavailable),
        (Ok(Response::json(200, &json!({"orders": []}))), NotDone::Unavailable),
    ] {
        assert_eq!(sweep(&connection, None, answer).await.0.err(), Some(why));
    }
}

#[tokio::test]
async fn tokens_come_from_client_credentials_or_a_login() {
    let keys = secrets(&[("client_id", &["canary id"]), ("client_secret", &["canary:s", "old"])]);
    let answer = json!({"access_token": "tok_secret", "token_type": "Bearer", "expires_in": 3600});
    let oauth = connection(&[("auth.scope", "orders.read orders.write")]);
    let shop = Shop::new([Ok(Response::json(200, &answer))]);
    let (token, lifetime) = Clarity.fetch_token(&oauth, &keys, &shop, Millis::secs(5)).await.unwrap();
    assert_eq!((token.expose(), lifetime), ("tok_secret", Millis::hours(1)));
    assert_clean(&format!("{token:?} {keys:?}"));
    let asked = shop.asked().remove(0);
    assert_eq!(asked.path(), "/api/v1/oauth/token");
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(asked.body, b"grant_type=client_credentials&scope=orders.read+orders.write");
    // base64 of `canary+id:canary%3As`: form-encoded before it is joined.
    assert_eq!(asked.header("authorization"), Some("Basic Y2FuYXJ5K2lkOmNhbmFyeSUzQXM="));

    let jwt = connection(&[("auth", "jwt"), ("auth.login_path", "/sign-in")]);
    let keys = secrets(&[("username", &["u"]), ("password", &["p"])]);
    for answer in [
        json!({"token": "tok_secret", "expiresIn": 60}),
        json!({"accessToken": "tok_secret", "expiresIn": "60"}),
        json!({"access_token": "tok_secret", "expires_in": 60}),
    ] {
        let shop = Shop::new([Ok(Response::json(200, &answer))]);
        let (token, lifetime) = Clarity.fetch_token(&jwt, &keys, &shop, Millis::secs(5)).await.unwrap();
        assert_eq!((token.expose(), lifetime), ("tok_secret", Millis::secs(60)));
        assert_eq!(
            (shop.asked()[0].path(), shop.body(0)),
            ("/api/v1/sign-in", json!({"username": "u", "password": "p"}))
        );
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_had() {
    let fetch = async |connection: &Connection, answer: Result<Response, HttpError>| {
        let shop = Shop::new([answer]);
        Clarity.fetch_token(connection, &api_secrets(), &shop, Millis::secs(5)).await.err()
    };
    let oauth = connection(&[]);
    for (answer, why) in [
        (Ok(Response::json(400, &json!({"error": "invalid_client"}))), NotDone::Unauthorized),
        (Ok(Response::new(401)), NotDone::Unauthorized),
        (Ok(Response::new(429)), NotDone::Throttled),
        (Ok(Response::new(502)), NotDone::Unavailable),
        (Ok(Response::json(200, &json!({"access_token": ""}))), NotDone::Unavailable),
        (Err(HttpError::NoAnswer), NotDone::Unavailable),
    ] {
        assert_eq!(fetch(&oauth, answer).await, Some(why));
    }
    assert_eq!(
        fetch(&connection(&[("auth", "jwt")]), Ok(Response::new(200))).await,
        Some(NotDone::Unauthorized)
    );
}
