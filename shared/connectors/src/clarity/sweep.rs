//! Finding orders whose webhook never came: the list of what changed since an instant.
//!
//! Pages by number shift when an order on an earlier page changes meanwhile and moves to the end: what
//! slides back across the page's edge would be missed. So after a full page, sorted as the contract says,
//! the next one asks for what changed since the last change seen; the number goes up only where a whole
//! page lies within one second. Orders met twice have the same event id and are dropped.

use serde_json::Value as Json;
use tillway_core::ids::digest;
use tillway_core::time::Timestamp;

use super::client::{self, Found};
use super::order;
use super::settings::{self, Paging};
use super::wire::Node;
use crate::port::{Call, NotDone, Outcome, SweepPage, SweptEvent};

/// Where the next page by number begins.
#[derive(Clone, Copy)]
struct Place {
    since: Timestamp,
    index: u64,
}

impl Place {
    fn read(cursor: &str) -> Option<Self> {
        let (since, index) = cursor.split_once('/')?;
        Some(Self { since: Timestamp(since.parse().ok()?), index: index.parse().ok()? })
    }
    fn text(self) -> String {
        format!("{}/{}", self.since.0, self.index)
    }
}

/// One page of orders changed since an instant.
///
/// # Errors
/// [`NotDone`]; the page is asked for again.
pub async fn sweep(call: &Call<'_>, since: Timestamp, cursor: Option<&str>) -> Result<SweepPage, NotDone> {
    let link = settings::paging(call.connection) == Paging::Link;
    let start = Place { since, index: 0 };
    let place = cursor.filter(|_| !link).and_then(Place::read).unwrap_or(start);
    let url = match cursor.filter(|_| link) {
        Some(next) => next.to_owned(),
        None => first_url(call, place).ok_or(NotDone::Unavailable)?,
    };
    let asked = url.clone();
    let (Found { body, .. }, response) = client::get(call, url).await.map_err(|ended| match ended {
        Outcome::NotDone { why, .. } => why,
        _ => NotDone::Unavailable,
    })?;
    let items = items(call, &body).ok_or(NotDone::Unavailable)?;
    let events = items.iter().map(|item| event(call, item)).collect();
    let next = if link {
        match link_of(&response, &body) {
            Some(next) => Some(resolve(call, &asked, next).ok_or(NotDone::Unavailable)?),
            None => None,
        }
    } else {
        let size = usize::try_from(settings::number(call.connection, "page_size")).unwrap_or(50);
        (items.len() >= size).then(|| following(call, place, items).text())
    };
    Ok(SweepPage { events, next })
}

fn first_url(call: &Call<'_>, place: Place) -> Option<String> {
    let get = |name| settings::get(call.connection, name);
    let mut url = reqwest::Url::parse(&client::url(call.connection, "paths.orders", None)?).ok()?;
    url.query_pairs_mut()
        .append_pair(get("updated_since"), &place.since.rfc3339())
        .append_pair(get("paging.index"), &place.index.to_string())
        .append_pair(get("paging.size"), get("page_size"));
    Some(url.into())
}

fn items<'a>(call: &Call<'_>, body: &'a Json) -> Option<&'a [Json]> {
    let path = settings::get(call.connection, "paging.items");
    let list = path.split('.').filter(|p| !p.is_empty()).try_fold(body, |v, name| v.get(name))?;
    list.as_array().map(Vec::as_slice)
}

fn changed_at(item: &Json) -> Option<Timestamp> {
    Node::root(item, "").member("updatedAt").and_then(|at| at.time()).ok().flatten()
}

/// The next page: from the last change on where the page is sorted by change and got ahead by a second.
fn following(call: &Call<'_>, place: Place, items: &[Json]) -> Place {
    let onward = Place { index: place.index.saturating_add(1), ..place };
    if settings::paging(call.connection) == Paging::IndexPlain {
        return onward;
    }
    let times: Option<Vec<Timestamp>> = items.iter().map(changed_at).collect();
    let Some(times) = times.filter(|times| times.is_sorted()) else { return onward };
    // Whole seconds, for a shop that compares no finer.
    let last = times.last().map_or(place.since, |last| Timestamp::from_unix(last.unix()));
    if last > place.since { Place { since: last, index: 0 } } else { onward }
}

/// An order as its webhook would have it. What cannot be named still becomes an event: it is parked with
/// its fault and not skipped.
fn event(call: &Call<'_>, item: &Json) -> SweptEvent {
    let node = Node::root(item, "");
    let id = node.member("orderId").and_then(|id| id.id()).ok().flatten();
    let version = order::version(call.connection, &node).ok().flatten();
    let event_id = match (&id, version) {
        (Some(id), Some(version)) => format!("sweep:{id}:{version}"),
        _ => format!("sweep:{}", digest(&[&item.to_string()])),
    };
    let created_at = changed_at(item).unwrap_or(call.now);
    let body = serde_json::json!({
        "type": "order.updated", "timestamp": created_at.rfc3339(), "data": item,
    });
    SweptEvent {
        group: id.unwrap_or_else(|| event_id.clone()),
        event_type: "order.updated".to_owned(),
        event_id,
        created_at,
        body,
    }
}

/// The next page's address: `Link: <…>; rel="next"` (RFC 8288), or `next` or `links.next` in the answer.
fn link_of(response: &tillway_core::http::Response, body: &Json) -> Option<String> {
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
