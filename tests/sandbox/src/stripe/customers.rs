//! Customers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tillway_core::time::Millis;

use super::StripeSandbox;
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};
use super::json;
use super::json::Obj;
use super::list::{Pool, list_doc};
use super::model::{Customer, Metadata, Snap};
use super::render::{address_json, metadata as write_metadata, shipping_json};

/// Search finds an object this much after its creation.
pub(super) const SEARCH_LAG: Millis = Millis::secs(60);

/// Applies a `metadata` parameter: keys are merged, an empty value removes a key, `metadata=` removes all.
pub(super) fn merge_metadata(current: &Metadata, form: &Node) -> Metadata {
    match form.get("metadata") {
        None => current.clone(),
        Some(Node::Text(_)) => Metadata::default(),
        Some(Node::Map(members)) => {
            let mut merged: BTreeMap<String, String> = current.as_ref().clone();
            for (name, value) in members {
                match value {
                    Node::Text(text) if !text.is_empty() => merged.insert(name.clone(), text.clone()),
                    _ => merged.remove(name),
                };
            }
            Arc::new(merged)
        }
    }
}

/// The index key of one metadata entry.
pub(super) fn metadata_key(name: &str, value: &str) -> String {
    format!("{name}\u{1f}{value}")
}

/// Files a row in an ascending list, once. A value that all objects share makes a long list.
pub(super) fn file(rows: &mut Vec<Row>, row: Row) {
    if rows.last().is_none_or(|last| *last < row) {
        rows.push(row);
    } else if let Err(at) = rows.binary_search(&row) {
        rows.insert(at, row);
    }
}

fn set(field: &mut Option<String>, form: &Node, name: &str) {
    if let Some(text) = form.text(name) {
        *field = (!text.is_empty()).then(|| text.to_owned());
    }
}

fn apply(customer: &mut Customer, form: &Node) {
    set(&mut customer.email, form, "email");
    set(&mut customer.name, form, "name");
    set(&mut customer.phone, form, "phone");
    set(&mut customer.description, form, "description");
    if let Some(node) = form.get("address") {
        customer.address = (!node.members().is_empty()).then(|| address_json(node).into());
    }
    if let Some(node) = form.get("shipping") {
        customer.shipping = shipping_json(Some(node));
    }
    customer.metadata = merge_metadata(&customer.metadata, form);
}

fn check_email(form: &Node) -> Result<(), ApiError> {
    match form.filled("email") {
        Some(email) if !email.contains('@') || email.contains(char::is_whitespace) => {
            Err(ApiError::invalid(format!("Invalid email address: {email}"))
                .code("email_invalid")
                .param("email"))
        }
        _ => Ok(()),
    }
}

impl StripeSandbox {
    fn index_customer(&mut self, row: Row) {
        let Some(customer) = self.customers.get(row).cloned() else { return };
        if let Some(email) = &customer.email {
            file(self.index.customers_by_email.entry(email.clone()).or_default(), row);
        }
        for (name, value) in customer.metadata.iter() {
            file(self.index.customers_by_metadata.entry(metadata_key(name, value)).or_default(), row);
        }
    }

    pub(super) fn create_customer(&mut self, form: &Node) -> Result<Doc, ApiError> {
        check_email(form)?;
        let row = self.customers.len();
        let mut customer = Customer {
            row,
            created: self.now.unix(),
            searchable_at: (self.now + SEARCH_LAG).0,
            ..Customer::default()
        };
        apply(&mut customer, form);
        self.customers.push(customer);
        self.index_customer(row);
        self.emit_of(Kind::Customer, row, "customer.created", None);
        self.shown(Kind::Customer, row, form)
    }

    fn live_customer(&self, id: &str) -> Result<Row, ApiError> {
        let row = self.row_at(Kind::Customer, id)?;
        match self.customers.get(row) {
            Some(customer) if !customer.deleted => Ok(row),
            _ => Err(ApiError::missing(Kind::Customer, id)),
        }
    }

    pub(super) fn update_customer(&mut self, id: &str, form: &Node) -> Result<Doc, ApiError> {
        check_email(form)?;
        let row = self.live_customer(id)?;
        let before = self.customers.get(row).cloned().ok_or_else(ApiError::bug)?;
        apply(self.customers.edit(row).ok_or_else(ApiError::bug)?, form);
        self.index_customer(row);
        let after = self.customers.get(row).cloned().ok_or_else(ApiError::bug)?;
        if let Some(previous) = changes(&before, &after) {
            self.emit_of(Kind::Customer, row, "customer.updated", Some(previous));
        }
        self.shown(Kind::Customer, row, form)
    }

    pub(super) fn delete_customer(&mut self, id: &str) -> Result<Doc, ApiError> {
        let row = self.live_customer(id)?;
        // The event shows the customer as it was; the answer and later reads only say that it is gone.
        self.emit_of(Kind::Customer, row, "customer.deleted", None);
        self.customers.edit(row).ok_or_else(ApiError::bug)?.deleted = true;
        self.snap(Kind::Customer, row).map(Doc::Plain).ok_or_else(ApiError::bug)
    }

    pub(super) fn list_customers(&self, form: &Node) -> Result<Doc, ApiError> {
        let email = form.text("email");
        let pool = match email {
            Some(email) => {
                Pool::Some(self.index.customers_by_email.get(email).map_or(&[][..], Vec::as_slice))
            }
            None => Pool::All(0, self.customers.len()),
        };
        let created = |row| self.customers.get(row).map_or(0, |c| c.created);
        let keep = |row| {
            self.customers
                .get(row)
                .is_some_and(|c| !c.deleted && (email.is_none() || c.email.as_deref() == email))
        };
        let page = self.page(form, Kind::Customer, &pool, created, keep)?;
        self.listed(Kind::Customer, page, "/v1/customers", form)
    }

    /// The page of a search: newest first, `page` is the number of hits to skip.
    pub(super) fn search_page(
        &self,
        kind: Kind,
        hits: &[Row],
        form: &Node,
        url: &str,
    ) -> Result<Doc, ApiError> {
        let expand = Self::expand(kind, form, true)?;
        let limit = usize::try_from(form.int("limit").unwrap_or(10)).unwrap_or(10).clamp(1, 100);
        let skip: usize = form
            .text("page")
            .unwrap_or("0")
            .parse()
            .map_err(|_| ApiError::invalid("Invalid page").param("page"))?;
        let next = skip + limit;
        let more = hits.len() > next;
        let snaps: Vec<Snap> =
            hits.iter().rev().skip(skip).take(limit).filter_map(|row| self.snap(kind, *row)).collect();
        let data = |out: &mut String| json::array(out, &snaps, |out, snap| self.write(out, snap, &expand));
        let Doc::Text(list) = list_doc(url, more, data) else { return Err(ApiError::bug()) };
        let mut out = list.replacen("\"object\":\"list\"", "\"object\":\"search_result\"", 1);
        out.pop();
        out.push_str(",\"next_page\":");
        if more {
            json::text(&mut out, &next.to_string())
        } else {
            out.push_str("null")
        }
        out.push('}');
        Ok(Doc::Text(out.into()))
    }
}

/// The old values of what changed, as JSON.
fn changes(before: &Customer, after: &Customer) -> Option<String> {
    let mut out = String::new();
    let mut obj = Obj::new(&mut out);
    let texts = [
        ("email", &before.email, &after.email),
        ("name", &before.name, &after.name),
        ("phone", &before.phone, &after.phone),
        ("description", &before.description, &after.description),
    ];
    let mut any = false;
    for (name, old, new) in texts {
        if old != new {
            obj.opt(name, old.as_deref());
            any = true;
        }
    }
    for (name, old, new) in
        [("address", &before.address, &after.address), ("shipping", &before.shipping, &after.shipping)]
    {
        if old != new {
            obj.raw(name, old.as_deref().unwrap_or("null"));
            any = true;
        }
    }
    if before.metadata != after.metadata {
        write_metadata(&mut obj, &before.metadata);
        any = true;
    }
    obj.end();
    any.then_some(out)
}
