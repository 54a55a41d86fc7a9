//! Webhook endpoints. One has a signing secret of its own, told once, and the webhooks of its topic (the last part
//! of its URL) are signed with it beside the configured secrets. Where to they go is the caller's knowledge, and
//! they go whether or not an endpoint was made.

use tillway_core::ids::digest;

use super::StripeSandbox;
use super::customers::merge_metadata;
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};
use super::json;
use super::list::Pool;
use super::model::{Endpoint, Metadata};

/// Most endpoints of an account. \[from memory\]
const MOST: usize = 16;

fn events(form: &Node) -> Vec<String> {
    form.items("enabled_events").into_iter().map(str::to_owned).collect()
}

fn check_url(url: &str) -> Result<(), ApiError> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(());
    }
    Err(ApiError::invalid("Invalid URL").param("url"))
}

impl StripeSandbox {
    fn endpoint_secret(&self, row: Row) -> String {
        format!("whsec_{}", digest(&["endpoint", &self.ids.id(Kind::Endpoint, row)]))
    }

    pub(super) fn create_endpoint(&mut self, form: &Node) -> Result<Doc, ApiError> {
        let row = self.endpoints.len();
        let url = form.text("url").unwrap_or("").to_owned();
        check_url(&url)?;
        if self.live_endpoints().count() >= MOST {
            return Err(ApiError::invalid("You have reached the maximum of 16 test webhook endpoints."));
        }
        self.endpoints.push(Endpoint {
            row,
            created: self.now.unix(),
            url,
            events: events(form),
            description: form.filled("description").map(str::to_owned),
            api_version: form.filled("api_version").map(str::to_owned),
            metadata: merge_metadata(&Metadata::default(), form),
            disabled: false,
            deleted: false,
        });
        let shown = self.json(&self.snap(Kind::Endpoint, row).ok_or_else(ApiError::bug)?);
        let mut out = shown.strip_suffix('}').unwrap_or(&shown).to_owned();
        out.push_str(",\"secret\":");
        json::text(&mut out, &self.endpoint_secret(row));
        out.push('}');
        Ok(Doc::Text(out.into()))
    }

    fn live_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        (0..self.endpoints.len())
            .filter_map(|row| self.endpoints.get(row))
            .map(AsRef::as_ref)
            .filter(|e| !e.deleted)
    }

    fn live_endpoint(&self, id: &str) -> Result<Row, ApiError> {
        let row = self.row_at(Kind::Endpoint, id)?;
        let live = self.endpoints.get(row).is_some_and(|e| !e.deleted);
        if live { Ok(row) } else { Err(ApiError::missing(Kind::Endpoint, id)) }
    }

    pub(super) fn retrieve_endpoint(&self, id: &str, form: &Node) -> Result<Doc, ApiError> {
        self.shown(Kind::Endpoint, self.live_endpoint(id)?, form)
    }

    pub(super) fn update_endpoint(&mut self, id: &str, form: &Node) -> Result<Doc, ApiError> {
        let row = self.live_endpoint(id)?;
        if let Some(url) = form.text("url") {
            check_url(url)?;
        }
        let endpoint = self.endpoints.edit(row).ok_or_else(ApiError::bug)?;
        if form.get("enabled_events").is_some() {
            endpoint.events = events(form);
        }
        if let Some(url) = form.text("url") {
            endpoint.url = url.to_owned();
        }
        if let Some(disabled) = form.flag("disabled") {
            endpoint.disabled = disabled;
        }
        if form.get("description").is_some() {
            endpoint.description = form.filled("description").map(str::to_owned);
        }
        endpoint.metadata = merge_metadata(&endpoint.metadata, form);
        self.shown(Kind::Endpoint, row, form)
    }

    pub(super) fn delete_endpoint(&mut self, id: &str) -> Result<Doc, ApiError> {
        let row = self.live_endpoint(id)?;
        self.endpoints.edit(row).ok_or_else(ApiError::bug)?.deleted = true;
        let mut out = String::new();
        let mut obj = json::Obj::new(&mut out);
        obj.text("id", id).text("object", "webhook_endpoint").flag("deleted", true);
        obj.end();
        Ok(Doc::Text(out.into()))
    }

    pub(super) fn list_endpoints(&self, form: &Node) -> Result<Doc, ApiError> {
        let created = |row| self.endpoints.get(row).map_or(0, |e| e.created);
        let live = |row| self.endpoints.get(row).is_some_and(|e| !e.deleted);
        let page = self.page(form, Kind::Endpoint, &Pool::All(0, self.endpoints.len()), created, live)?;
        self.listed(Kind::Endpoint, page, "/v1/webhook_endpoints", form)
    }

    /// The secrets the webhooks of a topic are signed with.
    pub(super) fn signing_secrets(&self, topic: &str) -> Vec<String> {
        let mut secrets = self.config.webhook_secrets.clone();
        let of_topic = |e: &&Endpoint| !e.disabled && e.url.rsplit('/').next() == Some(topic);
        secrets.extend(self.live_endpoints().filter(of_topic).map(|e| self.endpoint_secret(e.row)));
        secrets
    }
}
