//! Several merchant ids of one connection: each request is made as if the connection had that one alone, with its key. A
//! payment lies with the id that made it, and all that follows on it goes there.
//!
//! The token vault, and the webhooks' keys, are taken to be shared by all ids of the account.

use serde_json::Value;
use tillway_core::doc::Json;
use tillway_core::facts::Fact;

use super::actions;
use super::auth::SHARED_SECRET;
use super::client::{Client, ReadFault};
use super::plan::{Params, Plan};
use super::wire::{Fault, text};
use super::{guard, lookup, operations, read, sweep};
use crate::config::{Connection, Secret, Secrets};
use crate::port::{Call, Finding, NotDone, Observation, Outcome, Owner};

/// Marks a connection that is seen from one of its merchant ids, and the body of what was read so.
const SEEN_FROM: &str = "seen_from";
/// Most ids of a connection.
const MOST: usize = 20;

/// All merchant ids, the connection's own first; none where it has no others.
pub(super) fn all(connection: &Connection) -> Vec<String> {
    let further = connection.setting("merchant_ids", "");
    if further.is_empty() {
        return Vec::new();
    }
    let own = std::iter::once(connection.setting("merchant_id", ""));
    own.chain(further.split(',').map(str::trim)).map(str::to_owned).collect()
}

/// Every merchant id of a connection, its own first.
pub(super) fn merchants(connection: &Connection) -> Vec<String> {
    let all = all(connection);
    if all.is_empty() { vec![connection.setting("merchant_id", "").to_owned()] } else { all }
}

/// Checks the settings about them.
pub(super) fn check(connection: &Connection, plain: impl Fn(&str) -> bool, say: &mut impl FnMut(&str, &str)) {
    let ids = all(connection);
    if ids.iter().skip(1).any(|id| !plain(id)) {
        say("merchant_ids", "are ids as the Business Center shows them: letters, digits, `-`, `_` and `.`");
    }
    if ids.iter().enumerate().any(|(n, id)| ids.iter().take(n).any(|before| before == id)) {
        say("merchant_ids", "name one id twice; `merchant_id` is one of them already");
    }
    if ids.len() > MOST {
        say("merchant_ids", "are more than 20; make a second connection");
    }
    for (name, key) in connection.under("routes.") {
        match name.strip_suffix(".key_id") {
            Some(id) if ids.iter().any(|known| known == id) => {
                if !plain(key) {
                    say(&format!("routes.{name}"), "holds letters, digits, `-`, `_` and `.` alone");
                }
            }
            Some(_) => say(&format!("routes.{name}"), "is of an id that `merchant_ids` does not name"),
            None => say(&format!("routes.{name}"), "is no setting of a merchant id; there is `key_id` alone"),
        }
    }
}

/// The merchant id that an action goes to. It is kept with the request: whatever the settings say later, that is where it is
/// looked for and undone.
pub(super) fn of(p: &Params<'_>, action: &str) -> Result<Option<String>, Fault> {
    let own = p.connection.setting("merchant_id", "");
    let Some(route) = p.text("route") else {
        return Ok(actions::at_one_id(action).then(|| own.to_owned()));
    };
    if route == own || all(p.connection).iter().any(|id| id == route) {
        return Ok(Some(route.to_owned()));
    }
    // Reads go to all that are left.
    if !actions::at_one_id(action) {
        return Ok(None);
    }
    let what = "this merchant id is no longer in the connection's `merchant_ids`; put it back, for payments lie with it, then \
                replay";
    Err(Fault::new("route_unknown", "route", what))
}

/// What a merchant id signs with: its own shared secret, else the connection's.
pub(super) fn secret<'a>(secrets: &'a Secrets, route: &str) -> Option<&'a [Secret]> {
    let own = format!("{SHARED_SECRET}.{route}");
    // Variables spell names without capitals.
    let lower = own.to_ascii_lowercase();
    let names = [own.as_str(), &lower, SHARED_SECRET];
    names.into_iter().map(|name| secrets.all(name)).find(|all| !all.is_empty())
}

/// The connection and its secrets as seen from one merchant id.
pub(super) struct At {
    connection: Connection,
    secrets: Secrets,
}

impl At {
    pub(super) fn of(call: &Call<'_>, route: &str) -> Self {
        let mut connection = call.connection.clone();
        let mut secrets = call.secrets.clone();
        if let Some(secret) = secret(&secrets, route).map(<[Secret]>::to_vec) {
            secrets.0.insert(SHARED_SECRET.to_owned(), secret);
        }
        let settings = &mut connection.settings;
        if let Some(key) = settings.get(&format!("routes.{route}.key_id")).cloned() {
            settings.insert("key_id".to_owned(), key);
        }
        settings.insert("merchant_id".to_owned(), route.to_owned());
        settings.insert(SEEN_FROM.to_owned(), route.to_owned());
        settings.remove("merchant_ids");
        Self { connection, secrets }
    }

    pub(super) const fn call<'a>(&'a self, of: &Call<'a>) -> Call<'a> {
        Call { connection: &self.connection, secrets: &self.secrets, ..*of }
    }
}

/// Whether a request is made as the connection stands: it has one merchant id, and that is the request's.
pub(super) fn is_plain(connection: &Connection, plan: &Plan) -> bool {
    let own = connection.setting("merchant_id", "");
    all(connection).is_empty() && plan.route.as_deref().is_none_or(|route| route == own)
}

/// The merchant id a request goes to.
fn target<'a>(call: &'a Call<'_>, plan: &'a Plan) -> &'a str {
    plan.route.as_deref().unwrap_or_else(|| call.connection.setting("merchant_id", ""))
}

/// Does it where it belongs.
pub(super) async fn call(call: &Call<'_>, plan: &Plan) -> Outcome {
    if call.action == actions::READ_NAME {
        return read_all(call, plan).await;
    }
    // One vault serves all, and one profile of Decision Manager.
    if !actions::at_one_id(call.action) {
        return operations::act(call, plan).await;
    }
    let route = target(call, plan);
    let mut undone = Vec::new();
    if plan.everywhere {
        for other in all(call.connection).iter().filter(|id| *id != route) {
            let at = At::of(call, other);
            let there = at.call(call);
            match guard::undo_earlier(&Client::for_write(&there), plan).await {
                Ok(mut facts) => {
                    tell(&mut facts, Some(other));
                    undone.extend(facts);
                }
                Err(outcome) => return outcome,
            }
        }
    }
    let at = At::of(call, route);
    operations::with_facts(outcome_of(operations::act(&at.call(call), plan).await, route), undone)
}

/// Finds out where it went; everywhere, where that is not known.
pub(super) async fn find_out(call: &Call<'_>, plan: &Plan) -> Finding {
    if call.action == actions::READ_NAME {
        return lookup::again(read_all(call, plan).await);
    }
    if !actions::at_one_id(call.action) {
        return lookup::seek(call, plan).await;
    }
    let route = target(call, plan);
    let others = all(call.connection).into_iter().filter(|id| plan.everywhere && id != route);
    let mut open = None;
    for route in std::iter::once(route.to_owned()).chain(others) {
        let at = At::of(call, &route);
        match lookup::seek(&at.call(call), plan).await {
            Finding::Evidence(outcome) => return Finding::Evidence(outcome_of(outcome, &route)),
            Finding::NotThere => {}
            other => open = open.or(Some(other)),
        }
    }
    open.unwrap_or(Finding::NotThere)
}

fn outcome_of(mut outcome: Outcome, route: &str) -> Outcome {
    if let Outcome::Settled { observation, .. }
    | Outcome::Refused { observation, .. }
    | Outcome::Disagrees { observation, .. } = &mut outcome
    {
        tell(&mut observation.facts, Some(route));
    }
    outcome
}

/// Tells of each payment where it lies.
pub(super) fn tell(facts: &mut Vec<Fact>, route: Option<&str>) {
    let Some(route) = route else { return };
    let mut payments: Vec<String> = Vec::new();
    for fact in facts.iter() {
        if let Fact::Payment { payment, .. }
        | Fact::Authorized { payment, .. }
        | Fact::AttemptFailed { payment, .. }
        | Fact::ActionRequired { payment, .. }
        | Fact::ReviewOpened { payment, .. } = fact
            && !payments.contains(payment)
        {
            payments.push(payment.clone());
        }
    }
    facts.extend(payments.into_iter().map(|payment| Fact::Routed { payment, route: route.to_owned() }));
}

/// Writes into a body which merchant id it was read from.
pub(super) fn mark(connection: &Connection, body: &mut Value) {
    let from = connection.setting(SEEN_FROM, "");
    if let Some(members) = body.as_object_mut().filter(|_| !from.is_empty()) {
        members.insert(SEEN_FROM.to_owned(), from.into());
    }
}

/// The merchant id in a body that a sweep wrote.
pub(super) fn marked<'a>(connection: &Connection, body: Json<'a>) -> Option<&'a str> {
    text(body, &[SEEN_FROM]).filter(|from| all(connection).iter().any(|id| id == from))
}

/// Reads an order at every merchant id, the one its payment lies with first: any may have served it. One that cannot be read
/// keeps nothing from being told of what the others show, once the transaction that is named was found at one of them.
async fn read_all(call: &Call<'_>, plan: &Plan) -> Outcome {
    let first = plan.route.iter().cloned();
    let others = all(call.connection).into_iter().filter(|id| plan.route.as_ref() != Some(id));
    let ids: Vec<String> = first.chain(others).collect();
    let requests = i64::try_from(ids.len()).unwrap_or(1).saturating_mul(6);
    let mut observation = Observation::default();
    let (mut count, mut named) = (0_usize, false);
    let (mut fault, mut unread, mut left) = (None, None, Vec::new());
    let rest = Plan { object: None, ..plan.clone() };
    for id in &ids {
        let at = At::of(call, id);
        let there = at.call(call);
        // What is named lies with one of them; once it was found the others are asked for the order's other transactions alone.
        let asked = if named { &rest } else { plan };
        let look = match read::look(&there, asked, requests).await {
            Err(ReadFault::Missing(_)) if asked.object.is_some() => read::look(&there, &rest, requests).await,
            Ok(found) => {
                named |= asked.object.is_some();
                Ok(found)
            }
            other => other,
        };
        match look {
            Ok(found) => {
                count = count.saturating_add(found.count);
                let mut facts = found.facts;
                tell(&mut facts, Some(id));
                observation.facts.extend(facts);
                fault = fault.or(found.fault);
            }
            // It answers: a person compares.
            Err(found @ ReadFault::TooMany) => return read::failed(found),
            Err(found) => {
                left.push(format!("{id}: {}", found.why()));
                unread = unread.or(Some(found));
            }
        }
    }
    // Where nothing is named the whole order was asked for.
    if let Some(unread) = unread.filter(|_| !named) {
        return read::failed(unread);
    }
    if !named && plan.object.is_some() {
        // It is not indexed yet anywhere: nothing else is held back for it.
        return Outcome::NotDone { after: None, why: NotDone::Conflict };
    }
    let mut told = read::told(count, observation, fault);
    if let Outcome::Settled { summary, .. } = &mut told
        && !left.is_empty()
    {
        summary.push_str(&format!("; not read at {}", left.join(", ")));
    }
    told
}

/// Reads a transaction by its id, wherever it lies.
pub(super) async fn resolve(call: &Call<'_>, object: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
    let ids = all(call.connection);
    if ids.is_empty() {
        return sweep::owner_of(call, object).await;
    }
    let mut failed = None;
    for id in &ids {
        let at = At::of(call, id);
        match sweep::owner_of(&at.call(call), object).await {
            Ok(Some((owner, mut observation))) => {
                tell(&mut observation.facts, Some(id));
                return Ok(Some((owner, observation)));
            }
            Ok(None) => {}
            Err(why) => failed = failed.or(Some(why)),
        }
    }
    failed.map_or(Ok(None), Err)
}
