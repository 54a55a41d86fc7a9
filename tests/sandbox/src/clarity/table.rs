//! Rows with an id and a time of change, listed by either. Listing is by (time of change, id), so a sweep
//! meets the oldest change first, and a row that changes meanwhile moves to the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tillway_core::time::Timestamp;

/// Rows in the order they were put in, with two indexes.
pub(super) struct Table<T> {
    rows: Vec<Row<T>>,
    slots: HashMap<Arc<str>, usize>,
    changed: BTreeSet<(Timestamp, Arc<str>, usize)>,
}

struct Row<T> {
    id: Arc<str>,
    at: Timestamp,
    value: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), slots: HashMap::new(), changed: BTreeSet::new() }
    }
}

impl<T> Table<T> {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn contains(&self, id: &str) -> bool {
        self.slots.contains_key(id)
    }

    pub fn get(&self, id: &str) -> Option<&T> {
        self.slots.get(id).and_then(|slot| self.rows.get(*slot)).map(|row| &row.value)
    }

    /// Puts a row in; one with the same id is replaced.
    pub fn put(&mut self, id: &str, at: Timestamp, value: T) {
        let mut value = Some(value);
        let replaced = self.change(id, at, |row| {
            if let Some(new) = value.take() {
                *row = new;
            }
            (true, ())
        });
        if let (None, Some(value)) = (replaced, value) {
            let id: Arc<str> = id.into();
            let slot = self.rows.len();
            self.slots.insert(id.clone(), slot);
            self.changed.insert((at, id.clone(), slot));
            self.rows.push(Row { id, at, value });
        }
    }

    /// Changes a row. `edit` tells beside its result whether anything changed; if so the row is listed
    /// under the new time.
    pub fn change<R>(
        &mut self,
        id: &str,
        at: Timestamp,
        edit: impl FnOnce(&mut T) -> (bool, R),
    ) -> Option<R> {
        let slot = *self.slots.get(id)?;
        let row = self.rows.get_mut(slot)?;
        let (touched, result) = edit(&mut row.value);
        if touched && row.at != at {
            self.changed.remove(&(row.at, row.id.clone(), slot));
            self.changed.insert((at, row.id.clone(), slot));
            row.at = at;
        }
        Some(result)
    }

    /// Rows changed at or after a time, oldest change first.
    pub fn changed_since(&self, since: Option<Timestamp>) -> impl Iterator<Item = &T> {
        let from: (Timestamp, Arc<str>, usize) = (since.unwrap_or(Timestamp(i64::MIN)), "".into(), 0);
        self.changed.range(from..).filter_map(|(_, _, slot)| self.rows.get(*slot)).map(|row| &row.value)
    }

    /// Every row, in the order they were put in.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().map(|row| &row.value)
    }
}
