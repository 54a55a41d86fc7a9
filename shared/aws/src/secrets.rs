//! [`SecretSource`] over Secrets Manager: the secret `{prefix}/{connection}` is a JSON object of name → text. A list
//! of texts holds several values, newest first, while a secret is being rotated.
//!
//! What was read serves for [`KEEP`]; `fresh` reads anew. However many ask at one time, one reads and the others
//! wait for it, and no more than [`FRESH`] times in [`WINDOW`]: whoever sends wrong signatures makes nobody pay for reading.
//! While Secrets Manager does not answer, what was read last goes on serving.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use serde_json::Value;
use tillway_connectors::{Secret, Secrets};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Clock, SecretError, SecretSource};

use crate::trouble;

/// How long what was read serves.
pub const KEEP: Millis = Millis::mins(5);

/// How long a reading may take where something was read before.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// What was read last serves so long after a reading that was not answered.
pub const AGAIN: Millis = Millis::secs(30);
/// A process reads a secret anew at most so often …
pub const FRESH: u32 = 6;
/// … in this time.
pub const WINDOW: Millis = Millis::mins(1);

/// Reads the text of a secret.
#[async_trait]
pub trait SecretReader: Send + Sync {
    /// The newest text of the secret of that id.
    async fn read(&self, id: &str) -> Result<String, SecretError>;
}

/// Secrets Manager.
pub struct SecretsManager(pub Client);

#[async_trait]
impl SecretReader for SecretsManager {
    async fn read(&self, id: &str) -> Result<String, SecretError> {
        let sent = self.0.get_secret_value().secret_id(id).send().await;
        let answer = sent.map_err(|error| refusal(id, "read", trouble::describe(&error)))?;
        answer.secret_string.ok_or_else(|| SecretError::Refused(format!("secret {id} holds no text")))
    }
}

/// What a code of Secrets Manager's means.
pub(crate) fn refusal(id: &str, done: &str, said: String) -> SecretError {
    match said.as_str() {
        "ResourceNotFoundException" => SecretError::Missing(id.to_owned()),
        "AccessDeniedException"
        | "InvalidRequestException"
        | "DecryptionFailure"
        | "EncryptionFailure"
        | "InvalidParameterException"
        | "ValidationException" => SecretError::Refused(format!("secret {id} cannot be {done}: {said}")),
        _ => SecretError::Unavailable(format!("secret {id}: {said}")),
    }
}

#[derive(Clone)]
struct Kept {
    secrets: Secrets,
    /// When the reading began: what was changed before is in it.
    asked: Timestamp,
    /// When the window of readings began, and how many there were in it.
    readings: (Timestamp, u32),
}

impl Kept {
    /// Counts a reading; `None`: there were enough.
    fn one_more(&self, now: Timestamp) -> Option<(Timestamp, u32)> {
        let (since, times) = self.readings;
        if now.since(since) >= WINDOW {
            return Some((now, 1));
        }
        (times < FRESH).then(|| (since, times.saturating_add(1)))
    }
}

type Cell = Arc<tokio::sync::Mutex<Option<Kept>>>;

/// [`SecretSource`] that remembers.
pub struct CachedSecrets {
    reader: Box<dyn SecretReader>,
    prefix: String,
    keep: Millis,
    clock: Arc<dyn Clock>,
    cells: Mutex<BTreeMap<String, Cell>>,
}

impl CachedSecrets {
    /// Secrets below the prefix, e.g. `tillway/dev`.
    pub fn new(reader: Box<dyn SecretReader>, prefix: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        let cells = Mutex::new(BTreeMap::new());
        Self { reader, prefix: prefix.into(), keep: KEEP, clock, cells }
    }
}

#[async_trait]
impl SecretSource for CachedSecrets {
    async fn secrets(&self, connection: &str, fresh: bool) -> Result<Secrets, SecretError> {
        let wanted = self.clock.now();
        let cell = {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            cells.entry(connection.to_owned()).or_default().clone()
        };
        let mut cell = cell.lock().await;
        let oldest = if fresh { wanted } else { self.clock.now() - self.keep };
        if let Some(kept) = cell.as_ref().filter(|kept| kept.asked > oldest) {
            return Ok(kept.secrets.clone());
        }
        let asked = self.clock.now();
        let mut readings = (asked, 0);
        if let Some(kept) = cell.as_mut() {
            // Every reading after the first counts, whatever comes of it.
            let Some(more) = kept.one_more(asked) else { return Ok(kept.secrets.clone()) };
            (kept.readings, readings) = (more, more);
        }
        let id = format!("{}/{connection}", self.prefix);
        let read = match &*cell {
            None => self.reader.read(&id).await,
            // Whoever waits has what was read last, and not the time of a call that hangs.
            Some(_) => tokio::time::timeout(PATIENCE, self.reader.read(&id))
                .await
                .unwrap_or_else(|_| Err(SecretError::Unavailable(format!("secret {id}: no answer")))),
        };
        let secrets = match (read.and_then(|text| parse(&id, &text)), cell.as_mut()) {
            (Ok(secrets), _) => secrets,
            (Err(error @ SecretError::Unavailable(_)), Some(kept)) if !fresh => {
                tracing::warn!(code = "secrets_stale", "{error}; what was read last serves on");
                kept.asked = asked - self.keep + AGAIN;
                return Ok(kept.secrets.clone());
            }
            (Err(error), _) => return Err(error),
        };
        *cell = Some(Kept { secrets: secrets.clone(), asked, readings });
        Ok(secrets)
    }
}

/// Reads the object. An error names the secret and the name in it, and shows no value.
pub(crate) fn parse(id: &str, text: &str) -> Result<Secrets, SecretError> {
    let refused = |what: String| SecretError::Refused(format!("secret {id}: {what}"));
    let value: Value = serde_json::from_str(text)
        .map_err(|e| refused(format!("not JSON at line {}, column {}", e.line(), e.column())))?;
    let Value::Object(names) = value else {
        return Err(refused("not an object of name and text".to_owned()));
    };
    let mut out = BTreeMap::new();
    for (name, value) in names {
        let values = match value {
            Value::String(text) => vec![text],
            Value::Array(values) => {
                values.into_iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        if values.is_empty() || values.iter().any(String::is_empty) {
            return Err(refused(format!("`{name}` is neither a text nor a list of texts, or is empty")));
        }
        out.insert(name, values.into_iter().map(Secret::new).collect());
    }
    Ok(Secrets(out))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;
    use crate::testing::Hand;

    /// Answers after letting others run, and counts.
    #[derive(Clone, Default)]
    struct Counted(Arc<AtomicUsize>, Arc<Mutex<Option<SecretError>>>);
    #[async_trait]
    impl SecretReader for Counted {
        async fn read(&self, id: &str) -> Result<String, SecretError> {
            let nth = self.0.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if let Some(error) = self.1.lock().unwrap().clone() {
                return Err(error);
            }
            Ok(serde_json::json!({ "id": id, "nth": nth.to_string() }).to_string())
        }
    }

    fn source() -> (CachedSecrets, Counted, Arc<Hand>) {
        let (reader, clock) = (Counted::default(), Arc::new(Hand::default()));
        (CachedSecrets::new(Box::new(reader.clone()), "tillway/dev", clock.clone()), reader, clock)
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_reading() {
        let (source, reader, clock) = source();
        let all = join_all((0..20).map(|_| source.secrets("stripe-main", false))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(reader.0.load(Ordering::SeqCst), 1);
        let first = all.into_iter().next().unwrap().unwrap();
        assert_eq!(first.newest("id").unwrap().expose(), "tillway/dev/stripe-main");
        clock.advance(KEEP);
        source.secrets("stripe-main", false).await.unwrap();
        assert_eq!(reader.0.load(Ordering::SeqCst), 2, "kept no longer than it may");
        source.secrets("other", false).await.unwrap();
        assert_eq!(reader.0.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn fresh_reads_anew_once_for_all_who_wait() {
        let (source, reader, clock) = source();
        source.secrets("a", false).await.unwrap();
        let fresh = source.secrets("a", true).await.unwrap();
        assert_eq!(fresh.newest("nth").unwrap().expose(), "1");
        assert_eq!(reader.0.load(Ordering::SeqCst), 2);
        clock.advance(Millis(1));
        assert_eq!(source.secrets("a", false).await.unwrap(), fresh, "what was read anew serves the others");
    }

    #[tokio::test]
    async fn whoever_asks_anew_all_the_time_reads_now_and_then() {
        let (source, reader, clock) = source();
        source.secrets("a", false).await.unwrap();
        for _ in 0..1_000 {
            clock.advance(Millis(10));
            assert!(source.secrets("a", true).await.is_ok());
        }
        assert_eq!(reader.0.load(Ordering::SeqCst), 7, "the first, and six in ten seconds");
        clock.advance(WINDOW);
        assert_eq!(source.secrets("a", true).await.unwrap().newest("nth").unwrap().expose(), "7");
    }

    #[tokio::test]
    async fn while_nothing_answers_what_was_read_last_serves() {
        let (source, reader, clock) = source();
        let first = source.secrets("a", false).await.unwrap();
        *reader.1.lock().unwrap() = Some(SecretError::Unavailable("Throttling".into()));
        clock.advance(Millis::hours(3));
        for _ in 0..100 {
            assert_eq!(source.secrets("a", false).await.unwrap(), first);
        }
        assert_eq!(reader.0.load(Ordering::SeqCst), 2, "asked once, and not by everybody");
        clock.advance(AGAIN);
        assert_eq!(source.secrets("a", false).await.unwrap(), first);
        assert_eq!(reader.0.load(Ordering::SeqCst), 3, "and again");
        assert!(source.secrets("a", true).await.is_err(), "whoever needs it fresh is told");
        assert!(source.secrets("b", false).await.is_err());
        // What is gone, or forbidden, is not served on.
        *reader.1.lock().unwrap() = Some(SecretError::Missing("a".into()));
        clock.advance(Millis::hours(1));
        assert!(source.secrets("a", false).await.is_err());
    }

    /// Never answers but the first time.
    struct Hangs(AtomicUsize);
    #[async_trait]
    impl SecretReader for Hangs {
        async fn read(&self, _id: &str) -> Result<String, SecretError> {
            if self.0.fetch_add(1, Ordering::SeqCst) > 0 {
                std::future::pending::<()>().await;
            }
            Ok("{\"a\": \"b\"}".to_owned())
        }
    }

    #[tokio::test]
    async fn a_call_that_hangs_holds_nobody_up() {
        let clock = Arc::new(Hand::default());
        let source = CachedSecrets::new(Box::new(Hangs(AtomicUsize::new(0))), "t", clock.clone());
        let first = source.secrets("a", false).await.unwrap();
        clock.advance(KEEP);
        assert_eq!(source.secrets("a", false).await.unwrap(), first);
    }

    /// A secret that cannot be read makes nobody read it all the time either.
    #[tokio::test]
    async fn whoever_asks_for_what_cannot_be_read_reads_now_and_then() {
        let (source, reader, clock) = source();
        source.secrets("a", false).await.unwrap();
        *reader.1.lock().unwrap() = Some(SecretError::Refused("no JSON".into()));
        for _ in 0..1_000 {
            clock.advance(Millis(10));
            let _ = source.secrets("a", true).await;
        }
        assert_eq!(reader.0.load(Ordering::SeqCst), 7);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let (source, reader, _) = source();
        let missing = SecretError::Missing("tillway/dev/a".into());
        *reader.1.lock().unwrap() = Some(missing.clone());
        assert_eq!(source.secrets("a", false).await, Err(missing));
        *reader.1.lock().unwrap() = None;
        assert!(source.secrets("a", false).await.is_ok());
    }

    #[test]
    fn errors_name_the_secret_and_never_a_value() {
        for text in
            ["canary", "[\"canary\"]", "{\"a\": \"canary\"", "{\"a\": 1}", "{\"a\": \"\"}", "{\"a\": []}"]
        {
            let Err(SecretError::Refused(said)) = parse("tillway/dev/x", text) else { panic!("{text}") };
            assert!(said.contains("tillway/dev/x") && !said.contains("canary"), "{said}");
        }
        let two = parse("x", "{\"hook\": [\"new\", \"old\"]}").unwrap();
        assert_eq!(two.all("hook").len(), 2);
        assert_eq!(two.newest("hook").unwrap().expose(), "new");
    }
}
