//! Which items lie in pages (see `page.rs`), and where their pages are.

use tillway_engine::ports::Key;

/// Before the sort key of an entry's own item.
pub(crate) const OWN: &str = "~o";
/// Before the number of a chunk.
pub(crate) const CHUNK: &str = "~c";

/// Where items lie.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The sort key of the page an item lies in; `None`: it lies alone, under its own key.
    pub page: fn(&Key) -> Option<&'static str>,
    /// Entries that nothing reads but people: they leave a page that gets large.
    pub cold: fn(&str) -> bool,
}

impl Layout {
    /// The engine's records. An order's decisions, commands, journal and state are one page, as are a person's key and
    /// commands, and an alias with what waits for it. Notes are written without a look at the order, and expire.
    pub const ENGINE: Self = Self {
        page: |key| {
            if key.sk.starts_with("note#") {
                return None;
            }
            // Where the item of the layout before this one lay, so that a table of that time is noticed.
            match key.pk.split_once('#')?.0 {
                "order" => Some("state"),
                "person" => Some("key"),
                "alias" => Some("alias"),
                _ => None,
            }
        },
        cold: |sk| ["log#", "jrn#", "cmd#"].iter().any(|kind| sk.starts_with(kind)),
    };
    /// Every item alone.
    pub const ALONE: Self = Self { page: |_| None, cold: |_| false };
    /// Every item in a page, and every entry cold: what the contract is also held against.
    pub const PAGES: Self = Self { page: |_| Some(" page"), cold: |_| true };

    /// The key of an item's page.
    pub(crate) fn page_key(&self, key: &Key) -> Option<Key> {
        (self.page)(key).map(|sk| Key::new(key.pk.as_str(), sk))
    }

    /// Whether this is where a page lies.
    pub(crate) fn is_page(&self, key: &Key) -> bool {
        (self.page)(key) == Some(key.sk.as_str())
    }
}

/// The key of an entry's own item.
pub(crate) fn own_key(pk: &str, sk: &str) -> Key {
    Key::new(pk, format!("{OWN}{sk}"))
}

/// The key of a chunk.
pub(crate) fn chunk_key(pk: &str, number: u64) -> Key {
    Key::new(pk, format!("{CHUNK}{number:06}"))
}
