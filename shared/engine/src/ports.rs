//! The ports: everything the engine needs from the machine it runs on.
//!
//! They are kept to what DynamoDB and SQS can do: conditional writes, transactions of at most 100 items, items
//! of at most 400 KB, no transaction across store and queue, no scans on the hot path. The suite in
//! [`crate::contract`] runs against every adapter.

use async_trait::async_trait;
use tillway_connectors::Secrets;
use tillway_core::time::{Millis, Timestamp};

/// Most writes in one transaction (DynamoDB's limit).
pub const MAX_WRITES: usize = 100;
/// Largest body of an item in bytes (DynamoDB allows 400 KB with names and keys).
pub const MAX_BODY: usize = 380 * 1024;
/// Largest body of a message in bytes: the largest webhook taken in ([`crate::config::Config::max_body`]), sealed
/// and with its envelope. SQS takes less: an adapter there keeps what is larger beside the queue and sends a
/// claim check.
pub const MAX_MESSAGE: usize = (1024 + 64) * 1024;
/// Number of shards of the due index.
pub const DUE_SHARDS: u16 = 16;

/// Key of an item: items of one `pk` are listed in the order of `sk`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Partition.
    pub pk: String,
    /// Sort key.
    pub sk: String,
}

impl Key {
    /// Builds a key.
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }
}

/// When an item falls due. Items without it are not in the due index (it is sparse).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Shard, below [`DUE_SHARDS`].
    pub shard: u16,
    /// When.
    pub at: Timestamp,
}

/// What is written.
#[derive(Clone, PartialEq, Eq)]
pub struct NewItem {
    /// Key.
    pub key: Key,
    /// Body, at most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
    /// Entry in the due index.
    pub due: Option<Due>,
    /// Entry in the listing index: items of one list name, in the order of the second text.
    pub list: Option<(String, String)>,
    /// May be removed after this; correctness never relies on it.
    pub expires: Option<Timestamp>,
}

/// What is stored. `rev` counts the writes of this key from 1.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// Key.
    pub key: Key,
    /// Revision.
    pub rev: u64,
    /// Body.
    pub body: Vec<u8>,
    /// Entry in the due index.
    pub due: Option<Due>,
    /// Entry in the listing index.
    pub list: Option<(String, String)>,
    /// May be removed after this.
    pub expires: Option<Timestamp>,
}

/// Condition of a write on the item as it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Guard {
    /// There is none (an expired item that was not removed yet counts as there).
    #[default]
    Absent,
    /// Its revision is exactly this.
    Rev(u64),
    /// Whatever is there.
    Any,
}

/// One write of a transaction. No two of one transaction may have the same key.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Writes the item; its revision becomes 1 where none was there, else one more.
    Put(NewItem, Guard),
    /// Removes the item.
    Delete(Key, Guard),
    /// Writes nothing, but the transaction fails where the guard does not hold.
    Check(Key, Guard),
}

impl Write {
    /// The key it is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put(item, _) => &item.key,
            Self::Delete(key, _) | Self::Check(key, _) => key,
        }
    }
}

/// Why the store did not answer as hoped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A guard did not hold; nothing was written. Holds the place of the first failed write.
    #[error("write {0} of the transaction met another state")]
    Conflict(usize),
    /// No answer. A transaction may or may not have been written.
    #[error("the store did not answer: {0}")]
    Unavailable(String),
    /// Too many writes, a body too large, or a key twice: a defect of ours.
    #[error("the store refuses the request: {0}")]
    Invalid(String),
}

/// One page of a listing.
#[derive(Clone, PartialEq, Eq)]
pub struct ItemPage {
    /// Items in order.
    pub items: Vec<Item>,
    /// Pass as `after` for the next page; `None`: done.
    pub next: Option<String>,
}

/// Keeps items. Reads are strongly consistent, except by the two indexes.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads items by key, in the order asked; at most 100.
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError>;
    /// Writes all or nothing, durably: `Ok` means it survives a power cut.
    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError>;
    /// Items of a partition whose sort key begins with `prefix`, in order, after the sort key `after`.
    async fn query(
        &self,
        pk: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ItemPage, StoreError>;
    /// Items of a list, in order, after a page's `next`; descending where asked. May lag behind.
    async fn list(
        &self,
        list: &str,
        after: Option<&str>,
        descending: bool,
        limit: usize,
    ) -> Result<ItemPage, StoreError>;
    /// Items of a shard due at or before `until`, earliest first. May lag behind.
    async fn due(&self, shard: u16, until: Timestamp, limit: usize) -> Result<Vec<Item>, StoreError>;
    /// Every item once, in any order, after a page's `next`. Of items written meanwhile it may tell or not. For
    /// reports and rebuilds, never on the hot path.
    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ItemPage, StoreError>;
}

/// Keeps documents of any size. A name is put once; put again, it is with the same bytes.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// Keeps a document, durably and whole: until this is `Ok` there may be none of that name.
    async fn put(&self, name: &str, document: Vec<u8>) -> Result<(), StoreError>;
    /// The document; `None`: there is none.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Throws it away; one that is not there is gone already.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;
}

/// A message to send.
#[derive(Clone, PartialEq, Eq)]
pub struct OutMessage {
    /// Messages of one group are handed out in order, one batch at a time (FIFO queues only).
    pub group: Option<String>,
    /// Sends with the same id within five minutes are accepted and dropped (FIFO queues only).
    pub dedup: Option<String>,
    /// Body, at most [`MAX_MESSAGE`] bytes.
    pub body: Vec<u8>,
    /// Not handed out before this (standard queues only, at most 15 minutes).
    pub delay: Millis,
}

/// A message handed out.
#[derive(Clone, PartialEq, Eq)]
pub struct InMessage {
    /// Handle for deleting it or giving it back.
    pub receipt: String,
    /// Group, on FIFO queues.
    pub group: Option<String>,
    /// Body.
    pub body: Vec<u8>,
    /// How often it was handed out, this time included.
    pub receives: u32,
}

/// Why a queue did not answer as hoped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No answer. What was sent may or may not have been accepted.
    #[error("the queue did not answer: {0}")]
    Unavailable(String),
    /// Too many or too large messages: a defect of ours.
    #[error("the queue refuses the request: {0}")]
    Invalid(String),
}

/// Passes messages on, at least once. A queue whose name ends in `.fifo` keeps groups in order. A message
/// handed out `max_receives` times goes to the queue `dead` instead of being handed out again.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends at most 10 messages. The answer tells for each whether it was accepted: a batch may be
    /// accepted in part.
    async fn send(&self, queue: &str, messages: Vec<OutMessage>) -> Result<Vec<bool>, QueueError>;
    /// Takes at most `max` (up to 10) messages and hides them for `visibility`. Answers at once, possibly
    /// with nothing.
    async fn receive(
        &self,
        queue: &str,
        max: usize,
        visibility: Millis,
    ) -> Result<Vec<InMessage>, QueueError>;
    /// Removes messages that were dealt with.
    async fn delete(&self, queue: &str, receipts: Vec<String>) -> Result<(), QueueError>;
    /// Gives a message back, to be handed out again after `delay`.
    async fn release(&self, queue: &str, receipt: &str, delay: Millis) -> Result<(), QueueError>;
    /// Messages in the queue, hidden ones included (approximate).
    async fn depth(&self, queue: &str) -> Result<usize, QueueError>;
}

/// Tells the time, and waits.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Waits.
    async fn sleep(&self, length: Millis);
}

/// Draws random bytes (nonces, keys, jitter).
pub trait Entropy: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Hands out secrets.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The secrets of a connection; `fresh` passes any cache by. The name `tillway` holds our own:
    /// `master_key` (64 hex digits, seals personal data) — see `engine::vault`.
    async fn secrets(&self, connection: &str, fresh: bool) -> Result<Secrets, SecretError>;
}

/// Why a secret could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is not there.
    #[error("no secrets for connection {0}")]
    Missing(String),
    /// Of a connection's secrets one that is needed is not there.
    #[error("`{name}` is missing; put it: tillway secrets put … {connection} {name}")]
    Lacking {
        /// The connection.
        connection: String,
        /// The secret.
        name: &'static str,
    },
    /// Others can read the file, or it cannot be read.
    #[error("{0}")]
    Refused(String),
    /// No answer.
    #[error("the secret store did not answer: {0}")]
    Unavailable(String),
}

/// A message to people.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// Identity: the same notice is sent once where the channel can tell.
    pub id: String,
    /// `customer` or `staff`.
    pub audience: String,
    /// The customer's e-mail address; none for staff.
    pub to: Option<String>,
    /// Subject.
    pub subject: String,
    /// Plain text.
    pub text: String,
}

/// Why a notice was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    /// Certainly not sent; trying again may help.
    #[error("not sent: {0}")]
    NotSent(String),
    /// May have been sent.
    #[error("no answer: {0}")]
    Unknown(String),
    /// Will never be accepted (bad address).
    #[error("refused: {0}")]
    Refused(String),
}

/// Tells customers and staff (e-mail, Slack).
#[async_trait]
pub trait Notify: Send + Sync {
    /// Sends one notice.
    async fn notify(&self, notice: Notice) -> Result<(), NotifyError>;
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Someone should look today.
    Warning,
    /// Someone should look now.
    Critical,
}

/// An alert to those who run Tillway. Holds no personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Stable code, e.g. `parked`, `unknown_aging`, `signature_burst`.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// The order, where it is about one.
    pub order: Option<String>,
    /// A sentence.
    pub text: String,
}

/// Raises alerts and counts things.
#[async_trait]
pub trait Alerts: Send + Sync {
    /// Raises an alert.
    async fn raise(&self, alert: Alert);
    /// Adds to a counter, e.g. `("receive_refused", "signature_wrong", 1)`.
    fn count(&self, metric: &'static str, label: &str, by: u64);
    /// Tells how something stands now, e.g. `("parked_open", 3)`.
    fn gauge(&self, metric: &'static str, value: u64);
}
