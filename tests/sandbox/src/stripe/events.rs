//! Events: the log, its calls, and the envelope.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use super::StripeSandbox;
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};
use super::json::{self, Obj};
use super::list::{Pool, list_doc};
use super::model::Snap;

/// The call an event came from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) request: Arc<str>,
    pub(super) key: Option<Arc<str>>,
}

/// One event, with the object as it was.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) row: Row,
    pub(super) created: i64,
    pub(super) kind: Cow<'static, str>,
    object: Snap,
    previous: Option<String>,
    origin: Option<Arc<Origin>>,
}

/// All events that can still be listed.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    first: Row,
    events: VecDeque<Arc<Event>>,
}

impl EventLog {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        self.events.iter()
    }
    fn next_row(&self) -> Row {
        self.first + self.events.len()
    }
    fn get(&self, row: Row) -> Option<&Arc<Event>> {
        self.events.get(row.checked_sub(self.first)?)
    }
    pub(super) fn forget_before(&mut self, unix: i64) {
        while self.events.front().is_some_and(|e| e.created < unix) {
            self.events.pop_front();
            self.first += 1;
        }
    }
}

impl StripeSandbox {
    /// Records an event about a row as it is now, and queues its webhook.
    pub(super) fn emit_of(&mut self, kind: Kind, row: Row, event: &'static str, previous: Option<String>) {
        if let Some(object) = self.snap(kind, row) {
            self.emit(Cow::Borrowed(event), object, previous);
        }
    }

    pub(super) fn emit(&mut self, kind: Cow<'static, str>, object: Snap, previous: Option<String>) -> Row {
        match self.counters.events_emitted.get_mut(kind.as_ref()) {
            Some(count) => *count += 1,
            None => {
                self.counters.events_emitted.insert(kind.to_string(), 1);
            }
        }
        let row = self.events.next_row();
        let origin = self.origin.clone();
        let event = Arc::new(Event { row, created: self.now.unix(), kind, object, previous, origin });
        self.events.events.push_back(event.clone());
        self.queue(event);
        row
    }

    /// The event as it is listed and delivered.
    pub(super) fn write_event(&self, out: &mut String, e: &Event) {
        let mut obj = Obj::new(out);
        obj.text("id", &self.ids.id(Kind::Event, e.row)).text("object", "event");
        obj.text("api_version", &self.config.api_version).int("created", e.created);
        obj.with("data", |out| {
            let mut data = Obj::new(out);
            data.with("object", |out| self.write(out, &e.object, &super::render::Expand::default()));
            if let Some(previous) = &e.previous {
                data.raw("previous_attributes", previous);
            }
            data.end();
        });
        obj.flag("livemode", self.config.livemode).int("pending_webhooks", 1);
        obj.with("request", |out| {
            let mut request = Obj::new(out);
            request.opt("id", e.origin.as_ref().map(|o| o.request.as_ref()));
            request.opt("idempotency_key", e.origin.as_ref().and_then(|o| o.key.as_deref()));
            request.end();
        });
        obj.text("type", &e.kind);
        obj.end();
    }

    pub(super) fn retrieve_event(&self, id: &str) -> Result<Doc, ApiError> {
        let row = self.ids.row(Kind::Event, id);
        let event = row.and_then(|r| self.events.get(r)).ok_or_else(|| ApiError::missing(Kind::Event, id))?;
        let mut out = String::new();
        self.write_event(&mut out, event);
        Ok(Doc::Text(out.into()))
    }

    pub(super) fn list_events(&self, form: &Node) -> Result<Doc, ApiError> {
        let types = form.items("types");
        if types.len() > 20 {
            return Err(ApiError::invalid("You may pass up to 20 types").param("types"));
        }
        let single = form.text("type");
        if single.is_some() && !types.is_empty() {
            return Err(ApiError::invalid("You may pass either type or types, not both").param("type"));
        }
        let pool = Pool::All(self.events.first, self.events.next_row());
        let created = |row| self.events.get(row).map_or(0, |e| e.created);
        let wanted = |row| {
            self.events.get(row).is_some_and(|e| {
                single.is_none_or(|pattern| fits(pattern, &e.kind))
                    && (types.is_empty() || types.iter().any(|t| *t == e.kind))
            })
        };
        let (rows, more) = self.page(form, Kind::Event, &pool, created, wanted)?;
        let events = rows.into_iter().filter_map(|row| self.events.get(row));
        Ok(list_doc("/v1/events", more, |out| json::array(out, events, |out, e| self.write_event(out, e))))
    }
}

/// Whether a type fits a pattern such as `charge.*`.
pub(super) fn fits(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    }
}
