//! [`SecretSource`] over Secrets Manager: the secret `{prefix}/{connection}` is a JSON object of name → text. A list
//! of texts holds several values, newest first, while a secret is being rotated.
//!
//! What was read serves for [`KEEP`]; `fresh` reads anew. However many ask at one time, one reads and the others
//! wait for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use serde_json::Value;
use tillway_connectors::{Secret, Secrets};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Clock, SecretError, SecretSource};

use crate::trouble;

/// How long what was read serves.
pub const KEEP: Millis = Millis::mins(5);

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
        let id = format!("{}/{connection}", self.prefix);
        let secrets = parse(&id, &self.reader.read(&id).await?)?;
        *cell = Some(Kept { secrets: secrets.clone(), asked });
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
