//! Records as they were read or written last, so that reading the same bytes again costs a comparison.
//!
//! An order's events come close together, and each decision reads what the one before it wrote. What counts is
//! the bytes in the store alone: a record is taken from here only where they are the very same, whoever wrote
//! them and whatever became of the write.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use crate::ports::{Item, Key};

/// Records kept of each kind; some kilobytes each.
const KEPT: usize = 128;
/// A larger one is rare, and not worth its place.
const LARGEST: usize = 16 * 1024;

struct Kept<T> {
    records: HashMap<Key, (Vec<u8>, Arc<T>)>,
    /// Oldest first.
    order: VecDeque<Key>,
}

/// The last records of one kind.
pub(crate) struct Parsed<T>(Mutex<Kept<T>>);

impl<T> Default for Parsed<T> {
    fn default() -> Self {
        Self(Mutex::new(Kept { records: HashMap::new(), order: VecDeque::new() }))
    }
}

impl<T: DeserializeOwned + PartialEq> Parsed<T> {
    /// Reads an item's record.
    ///
    /// # Errors
    /// The parser's.
    pub(crate) fn read(&self, item: &Item) -> Result<Arc<T>, serde_json::Error> {
        {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((body, record)) = kept.records.get(&item.key)
                && *body == item.body
            {
                return Ok(record.clone());
            }
        }
        let record = Arc::new(serde_json::from_slice(&item.body)?);
        self.put(&item.key, &item.body, &record);
        Ok(record)
    }

    /// Keeps a record that is about to be written as these bytes.
    pub(crate) fn keep(&self, key: &Key, body: &[u8], record: T) {
        // Only in this crate's tests: it costs as much as was saved.
        #[cfg(test)]
        assert!(
            serde_json::from_slice::<T>(body).is_ok_and(|read| read == record),
            "a record is not read as it was written"
        );
        self.put(key, body, &Arc::new(record));
    }

    fn put(&self, key: &Key, body: &[u8], record: &Arc<T>) {
        if body.len() > LARGEST {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.records.insert(key.clone(), (body.to_vec(), record.clone())).is_none() {
            kept.order.push_back(key.clone());
        }
        while kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.records.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(n: usize, body: &str) -> Item {
        let key = Key::new(format!("order#{n}"), "state");
        Item { key, rev: 1, body: body.as_bytes().to_vec(), due: None, list: None, expires: None }
    }

    #[test]
    fn only_the_same_bytes_are_the_same_record() {
        let parsed: Parsed<Vec<u32>> = Parsed::default();
        let first = parsed.read(&item(1, "[1]")).unwrap();
        assert!(Arc::ptr_eq(&first, &parsed.read(&item(1, "[1]")).unwrap()));
        assert_eq!(*parsed.read(&item(1, "[2]")).unwrap(), [2]);
        assert_eq!(*parsed.read(&item(2, "[1]")).unwrap(), [1]);
        assert!(parsed.read(&item(1, "[")).is_err());
        parsed.keep(&item(1, "").key, b"[7]", vec![7]);
        assert_eq!(*parsed.read(&item(1, "[7]")).unwrap(), [7]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let parsed: Parsed<Vec<u32>> = Parsed::default();
        let first = parsed.read(&item(0, "[0]")).unwrap();
        for n in 1..=KEPT {
            parsed.read(&item(n, "[0]")).unwrap();
        }
        assert!(!Arc::ptr_eq(&first, &parsed.read(&item(0, "[0]")).unwrap()));
        let kept = parsed.0.lock().unwrap();
        assert_eq!((kept.records.len(), kept.order.len()), (KEPT, KEPT));
    }
}
