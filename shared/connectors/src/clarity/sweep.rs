//! Finding orders and customers whose webhook never came: the list of what changed since an instant.
//!
//! Pages by number shift when an order on an earlier page changes meanwhile and moves to the end: what
//! slides back across the page's edge would be missed. So after a full page, sorted as the contract says,
//! the next one asks for what changed since the last change seen; the number goes up only where a whole
//! page lies within one second. Orders met twice have the same event id and are dropped.

use tillway_core::doc::{Doc, Json, Member};
use tillway_core::ids::digest;
use tillway_core::time::Timestamp;

use super::client::{self, Found};
use super::settings::{self, Paging};
use super::wire::{Fault, Node};
use super::{customer, order};
use crate::config::Connection;
use crate::port::{Call, NotDone, Outcome, SweepPage, SweptEvent};

/// Where the next page by number begins.
#[derive(Clone)]
struct Place {
    since: Timestamp,
    index: u64,
    /// Orders on the pages before this one, of the same `since`.
    before: u64,
    /// Digest of the page before, of the same `since`: a shop that gives it again does not know our numbers.
    last: String,
}

impl Place {
    const fn start(since: Timestamp) -> Self {
        Self { since, index: 0, before: 0, last: String::new() }
    }
    fn read(cursor: &str) -> Option<Self> {
        let mut parts = cursor.splitn(4, '/');
        Some(Self {
            since: Timestamp(parts.next()?.parse().ok()?),
            index: parts.next()?.parse().ok()?,
            before: parts.next()?.parse().ok()?,
            last: parts.next()?.to_owned(),
        })
    }
    fn text(&self) -> String {
        format!("{}/{}/{}/{}", self.since.0, self.index, self.before, self.last)
    }
}

/// One page of orders changed since an instant.
///
/// # Errors
/// [`NotDone`]; the page is asked for again.
pub async fn sweep(call: &Call<'_>, since: Timestamp, cursor: Option<&str>) -> Result<SweepPage, NotDone> {
    page(call, since, cursor, &ORDERS).await.map_err(not_done)
}

fn not_done(ended: Outcome) -> NotDone {
    match ended {
        Outcome::NotDone { why, .. } => why,
        _ => NotDone::Unavailable,
    }
}

/// Type of what is told where the shop does not show its customers.
pub const UNREADABLE: &str = "tillway.customers_unreadable";

/// One page of customers changed since an instant. Where the shop refuses the list a person is told, once a day, and the
/// orders are swept all the same.
///
/// # Errors
/// As [`sweep`].
pub async fn customers(
    call: &Call<'_>,
    since: Timestamp,
    cursor: Option<&str>,
) -> Result<SweepPage, NotDone> {
    match page(call, since, cursor, &CUSTOMERS).await {
        Err(Outcome::Refused { summary, .. }) => {
            let event_id = format!("{UNREADABLE}:{}", call.now.day());
            let body = Doc::object([("type", Member::Text(UNREADABLE)), ("said", Member::Text(&summary))]);
            let (group, event_type) = (event_id.clone(), UNREADABLE.to_owned());
            let event = SweptEvent { group, event_type, event_id, created_at: since, body };
            Ok(SweepPage { events: vec![event], next: None })
        }
        page => page.map_err(not_done),
    }
}

/// A list of the shop's.
struct List {
    path: &'static str,
    id: &'static str,
    event: &'static str,
    /// Stands before ids, so that no event of one list has the id of another's.
    mark: &'static str,
    version: fn(&Connection, &Node<'_>) -> Result<Option<i64>, Fault>,
}

const ORDERS: List = List {
    path: "paths.orders",
    id: "orderId",
    event: "order.updated",
    mark: "sweep",
    version: order::version,
};
const CUSTOMERS: List = List {
    path: "paths.customers",
    id: "customerId",
    event: "customer.updated",
    mark: "sweep-customer",
    version: |_, node| customer::version(node),
};

async fn page(
    call: &Call<'_>,
    since: Timestamp,
    cursor: Option<&str>,
    list: &List,
) -> Result<SweepPage, Outcome> {
    let unavailable = || Outcome::NotDone { after: None, why: NotDone::Unavailable };
    let link = settings::paging(call.connection) == Paging::Link;
    let place = cursor.filter(|_| !link).and_then(Place::read).unwrap_or_else(|| Place::start(since));
    let url = match cursor.filter(|_| link) {
        Some(next) => next.to_owned(),
        None => first_url(call, &place, list).ok_or_else(unavailable)?,
    };
    let asked = url.clone();
    let (Found { body, .. }, response) = client::get(call, url).await?;
    let body = body.json();
    let items = items(call, body).ok_or_else(unavailable)?;
    let events = items.iter().map(|item| event(call, *item, since, list)).collect();
    let next = if link {
        match link_of(&response, body) {
            Some(next) => Some(resolve(call, &asked, next).ok_or_else(unavailable)?),
            None => None,
        }
    } else {
        following(call, &place, &items, body).map(|place| place.text())
    };
    Ok(SweepPage { events, next })
}

fn first_url(call: &Call<'_>, place: &Place, list: &List) -> Option<String> {
    let get = |name| settings::get(call.connection, name);
    let mut url = reqwest::Url::parse(&client::url(call.connection, list.path, None)?).ok()?;
    url.query_pairs_mut()
        .append_pair(get("updated_since"), &place.since.rfc3339())
        .append_pair(get("paging.index"), &place.index.to_string())
        .append_pair(get("paging.size"), get("page_size"));
    Some(url.into())
}

fn items<'a>(call: &Call<'_>, body: Json<'a>) -> Option<Vec<Json<'a>>> {
    let path = settings::get(call.connection, "paging.items");
    let list = path.split('.').filter(|p| !p.is_empty()).try_fold(body, |v, name| v.get(name))?;
    list.is_list().then(|| list.items().collect())
}

fn changed_at(item: Json<'_>) -> Option<Timestamp> {
    Node::root(item).member("updatedAt").and_then(|at| at.time()).ok().flatten()
}

/// The next page: from the last change on where the page is sorted by change and got ahead by a second.
/// `None` after the last one.
fn following(call: &Call<'_>, place: &Place, items: &[Json<'_>], body: Json<'_>) -> Option<Place> {
    if items.is_empty() {
        return None;
    }
    let seen = place.before.saturating_add(u64::try_from(items.len()).unwrap_or(u64::MAX));
    let total = settings::get(call.connection, "paging.total");
    if body.get(total).and_then(Json::as_u64).is_some_and(|total| seen >= total) {
        return None;
    }
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    let page = digest(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    if page == place.last {
        return None;
    }
    let onward = Place { since: place.since, index: place.index.saturating_add(1), before: seen, last: page };
    if settings::paging(call.connection) == Paging::IndexPlain {
        return Some(onward);
    }
    let times: Option<Vec<Timestamp>> = items.iter().copied().map(changed_at).collect();
    let Some(times) = times.filter(|times| times.is_sorted()) else { return Some(onward) };
    // Whole seconds, for a shop that compares no finer.
    let last = times.last().map_or(place.since, |last| Timestamp::from_unix(last.unix()));
    Some(if last > place.since { Place::start(last) } else { onward })
}

/// An order or a customer as its webhook would have it. What cannot be named still becomes an event: it is parked with
/// its fault and not skipped. One that does not say when it changed has changed within the window.
fn event(call: &Call<'_>, item: Json<'_>, since: Timestamp, list: &List) -> SweptEvent {
    let node = Node::root(item);
    let id = node.member(list.id).and_then(|id| id.id()).ok().flatten();
    let version = (list.version)(call.connection, &node).ok().flatten();
    let event_id = match (&id, version) {
        (Some(id), Some(version)) => format!("{}:{id}:{version}", list.mark),
        _ => format!("{}:{}", list.mark, digest(&[&item.to_string()])),
    };
    let created_at = changed_at(item).unwrap_or(since);
    let body = Doc::object([
        ("type", Member::Text(list.event)),
        ("timestamp", Member::Text(&created_at.rfc3339())),
        ("data", Member::Part(item)),
    ]);
    SweptEvent {
        group: id.unwrap_or_else(|| event_id.clone()),
        event_type: list.event.to_owned(),
        event_id,
        created_at,
        body,
    }
}

/// The next page's address: `Link: <…>; rel="next"` (RFC 8288), or `next` or `links.next` in the answer.
fn link_of(response: &tillway_core::http::Response, body: Json<'_>) -> Option<String> {
    let from_header = response.header("link").and_then(|header| {
        header.split(',').find_map(|link| {
            let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let next = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
            next.then(|| address.to_owned())
        })
    });
    let told = || body.get("next").or_else(|| body.get("links")?.get("next"))?.as_str().map(str::to_owned);
    from_header.or_else(told).filter(|next| !next.is_empty())
}

/// The address in full. Only the shop's own origin is followed: our credentials go with the request.
fn resolve(call: &Call<'_>, asked: &str, next: String) -> Option<String> {
    let base = reqwest::Url::parse(settings::get(call.connection, "base_url")).ok()?;
    let url = reqwest::Url::parse(asked).ok()?.join(&next).ok()?;
    let onward = url.origin() == base.origin() && url.as_str() != asked;
    onward.then(|| url.into())
}
