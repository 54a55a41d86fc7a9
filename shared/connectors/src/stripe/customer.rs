//! One customer for one person, whatever is duplicated or runs at the same time.
//!
//! Looked for by the id the shop has, by the shop's own id (search: a hit counts, a miss proves nothing),
//! then by e-mail (a consistent list). Made in two steps: first with the e-mail alone, under a key derived
//! from connection and e-mail, so that two orders racing get one and the same customer; then everything
//! else is written onto it. The first answer under a key is replayed as it was then, so what was made is
//! read again before it is believed.
//!
//! Not covered: two *different* shop customers with one e-mail address who adopt one unclaimed customer in
//! the same instant; the later stamp stays, and the earlier finds an own one next time.

use serde_json::{Map, Value, json};
use tillway_core::doc::{Doc, Json};
use tillway_core::facts::Fact;
use tillway_core::ids::digest;

use super::client::{Client, ReadFault, refused};
use super::form;
use super::plan::{Plan, Wanted};
use super::wire::{self, CUSTOMER_KEY, flag, id, metadata, text};
use crate::common::unreadable;
use crate::port::{Call, Observation, Outcome, key_prefix};

/// Requests of the longest path: known, search, two lists, create, read, create, read, update.
const REQUESTS: i64 = 9;

/// Finds or makes the customer.
pub(super) async fn ensure(call: &Call<'_>, plan: &Plan) -> Outcome {
    let Some(wanted) = &plan.wanted else {
        return unreadable("names no customer");
    };
    let work = Work { call, client: Client::for_many(call, REQUESTS), wanted };
    match work.run().await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

struct Work<'a> {
    call: &'a Call<'a>,
    client: Client<'a>,
    wanted: &'a Wanted,
}

/// Whose a customer is, as far as its stamp tells.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Stamp {
    Ours,
    None,
    Other,
}

impl Work<'_> {
    async fn run(&self) -> Result<Outcome, Outcome> {
        if let Some((customer, how)) = self.existing().await? {
            return self.bring_up_to_date(&customer, how).await;
        }
        let (customer, how) = self.create().await?;
        self.bring_up_to_date(&customer, how).await
    }

    fn stamp(&self, customer: Json<'_>) -> Stamp {
        match (metadata(customer, CUSTOMER_KEY), self.wanted.reference.as_deref()) {
            (None, _) => Stamp::None,
            (Some(found), Some(own)) if found == own => Stamp::Ours,
            _ => Stamp::Other,
        }
    }

    async fn existing(&self) -> Result<Option<(Doc, &'static str)>, Outcome> {
        if let Some(known) = &self.wanted.known {
            let found = self.read(known).await?;
            if let Some(customer) = found.filter(|c| self.stamp(c.json()) != Stamp::Other) {
                return Ok(Some((customer, "known")));
            }
        }
        if let Some(customer) = self.search().await? {
            return Ok(Some((customer, "by reference")));
        }
        Ok(self.by_email().await?.map(|c| (c, "by e-mail")))
    }

    /// A customer by its id; `None` where it does not exist or was deleted.
    async fn read(&self, customer: &str) -> Result<Option<Doc>, Outcome> {
        match self.client.get(&format!("/v1/customers/{customer}"), &Value::Null).await {
            Ok(found) => Ok(Some(found).filter(|c| !flag(c.json(), "deleted"))),
            Err(ReadFault::Missing(_)) => Ok(None),
            Err(fault) => Err(fault.outcome()),
        }
    }

    /// Search lags behind by up to a minute, and some accounts have none: only a hit means anything.
    async fn search(&self) -> Result<Option<Doc>, Outcome> {
        let Some(reference) = &self.wanted.reference else { return Ok(None) };
        let quoted = reference.replace('\\', "\\\\").replace('\'', "\\'");
        let query = json!({"query": format!("metadata['{CUSTOMER_KEY}']:'{quoted}'"), "limit": 10});
        match self.client.get("/v1/customers/search", &query).await {
            Ok(page) => Ok(oldest(page.json(), |c| self.stamp(c) == Stamp::Ours)),
            Err(ReadFault::Missing(_) | ReadFault::Refused(_)) => Ok(None),
            Err(fault) => Err(fault.outcome()),
        }
    }

    async fn by_email(&self) -> Result<Option<Doc>, Outcome> {
        let Some(email) = &self.wanted.email else { return Ok(None) };
        let lower = email.to_lowercase();
        let mut spellings = vec![email.as_str()];
        // The filter distinguishes case [from memory], and mail does not.
        if lower != *email {
            spellings.push(&lower);
        }
        let mut unclaimed = None;
        for spelling in spellings {
            let query = json!({"email": spelling, "limit": 100});
            let page = self.client.get("/v1/customers", &query).await.map_err(ReadFault::outcome)?;
            if let Some(ours) = oldest(page.json(), |c| self.stamp(c) == Stamp::Ours) {
                return Ok(Some(ours));
            }
            unclaimed = unclaimed.or_else(|| oldest(page.json(), |c| self.stamp(c) == Stamp::None));
        }
        Ok(unclaimed)
    }

    /// A key is given up only where the list of an e-mail shows that nothing came of it (the generation);
    /// without an e-mail there is no such list, and its key is waited for.
    fn key(&self, parts: &[&str]) -> String {
        let connection = &self.call.connection.name;
        let given_up = self.call.generation.min(if self.wanted.email.is_some() { u32::MAX } else { 0 });
        let again = if given_up > 0 { format!(":g{given_up}") } else { String::new() };
        format!("{}customer:{}{again}", key_prefix(connection), digest(parts))
    }

    /// Makes a customer; the same one for whoever else does so at the same time.
    async fn create(&self) -> Result<(Doc, &'static str), Outcome> {
        let reference = self.wanted.reference.as_deref().unwrap_or("");
        let Some(email) = self.wanted.email.as_ref().map(|e| e.to_lowercase()) else {
            let key = self.key(&["reference", reference]);
            let params = json!({"metadata": {CUSTOMER_KEY: reference}});
            return self.made(&params, &key).await;
        };
        // Always these very parameters: a key goes with one set of them.
        let (customer, how) = self.made(&json!({"email": email}), &self.key(&["email", &email])).await?;
        if self.stamp(customer.json()) != Stamp::Other {
            return Ok((customer, how));
        }
        let params = json!({"email": email, "metadata": {CUSTOMER_KEY: reference}});
        let params = if reference.is_empty() { json!({"email": email}) } else { params };
        self.made(&params, &self.key(&["email and reference", &email, reference])).await
    }

    async fn made(&self, params: &Value, key: &str) -> Result<(Doc, &'static str), Outcome> {
        let form = form::encode(params);
        let answer = self.client.post("/v1/customers", &form, key).await?;
        let made = text(answer.body.json(), "id").unwrap_or("").to_owned();
        if let Some(customer) = self.read(&made).await? {
            return Ok((customer, "made"));
        }
        // Made under this key within a day, and deleted since. The command's own key makes another.
        let key = format!("{}:again", self.client.key());
        let answer = self.client.post("/v1/customers", &form, &key).await?;
        Ok((answer.body, "made again"))
    }

    /// What differs from what the shop has.
    fn changes(&self, customer: Json<'_>) -> Value {
        let mut changes = Map::new();
        let fields = [("name", &self.wanted.name), ("phone", &self.wanted.phone)];
        for (name, wanted) in fields {
            if let Some(wanted) = wanted.as_deref().filter(|w| text(customer, name) != Some(w)) {
                changes.insert(name.into(), wanted.into());
            }
        }
        let same =
            |email: &str| text(customer, "email").is_some_and(|e| e.to_lowercase() == email.to_lowercase());
        if let Some(email) = self.wanted.email.as_deref().filter(|e| !same(e)) {
            changes.insert("email".into(), email.into());
        }
        let stamps: Map<String, Value> = self
            .wanted
            .metadata
            .iter()
            .filter(|(key, value)| metadata(customer, key) != Some(value.as_str()))
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect();
        if !stamps.is_empty() {
            changes.insert("metadata".into(), Value::Object(stamps));
        }
        Value::Object(changes)
    }

    async fn bring_up_to_date(&self, customer: &Doc, how: &str) -> Result<Outcome, Outcome> {
        let Some(own) = id_of(customer.json()) else {
            return Ok(Outcome::Unknown {
                why: "an answer without an id".to_owned(),
                answer_is_stored: true,
            });
        };
        let form = form::encode(&self.changes(customer.json()));
        let (customer, said) = if form.is_empty() {
            (customer.clone(), "nothing to change".to_owned())
        } else {
            // One key for one set of changes: another set later must not meet this one's stored answer.
            let key = format!("{}:{}", self.client.key(), digest(&[own, &form]));
            let path = format!("/v1/customers/{own}");
            let answer = self.client.post_or_refusal(&path, &form, &key).await?;
            if !answer.is_success() {
                return Ok(refused(&answer, Observation::default()));
            }
            let said = answer.said();
            (answer.body, said)
        };
        let observation =
            Observation { facts: vec![Fact::Customer { id: own.to_owned() }], ..Observation::default() };
        if let Some(field) = self.disagreement(customer.json(), own) {
            return Ok(Outcome::Disagrees {
                what: format!(
                    "`{field}` of the customer did not come back as it was sent; look at it at Stripe"
                ),
                field,
                observation,
            });
        }
        Ok(Outcome::Settled {
            observation,
            provider_id: Some(own.to_owned()),
            summary: format!("customer {own} ({how}), {said}"),
        })
    }

    fn disagreement(&self, customer: Json<'_>, own: &str) -> Option<String> {
        if text(customer, "id") != Some(own) {
            return Some("id".to_owned());
        }
        let reference = self.wanted.reference.as_deref();
        if reference.is_some() && metadata(customer, CUSTOMER_KEY) != reference {
            return Some(format!("metadata.{CUSTOMER_KEY}"));
        }
        None
    }
}

fn id_of(customer: Json<'_>) -> Option<&str> {
    text(customer, "id").filter(|i| wire::is_id(i))
}

/// Of several that fit the oldest, so that everybody picks the same; deleted ones never.
fn oldest(page: Json<'_>, fits: impl Fn(Json<'_>) -> bool) -> Option<Doc> {
    let alive = page.get("data")?.items().filter(|c| !flag(*c, "deleted") && fits(*c));
    alive.min_by_key(|c| (wire::int(*c, "created"), id(*c, "id"))).map(Json::to_doc)
}
