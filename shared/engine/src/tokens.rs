//! Bearer tokens: one per connection for all functions, fetched by one of them at a time, kept sealed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tillway_connectors::port::NotDone;
use tillway_connectors::{Connection, Connector, Secret};
use tillway_core::time::{Millis, Timestamp};

use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Key, NewItem, StoreError, Write};

#[derive(Serialize, Deserialize)]
struct TokenRecord {
    #[serde(with = "crate::records::b64")]
    sealed: Vec<u8>,
    expires: Timestamp,
    /// Whoever fetches holds this until then; others use the old token or wait.
    fetching_until: Option<Timestamp>,
}

/// Tokens this process has seen, so that a call needs no read of the store. One that was refused is looked
/// for in the store again: another process may have renewed it.
#[derive(Default)]
pub(crate) struct TokenCache(Mutex<BTreeMap<String, (Secret, Timestamp)>>);

impl TokenCache {
    fn get(&self, name: &str, now: Timestamp) -> Option<Secret> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|(_, expires)| *expires > now).map(|(token, _)| token.clone())
    }
    fn put(&self, name: &str, token: &Secret, expires: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), (token.clone(), expires));
    }
}

impl Engine {
    /// The connection's token: from memory, from the store, or fetched. `refused` is the token a 401 came for.
    pub(crate) async fn token(
        &self,
        connection: &Connection,
        connector: &dyn Connector,
        refused: Option<&Secret>,
    ) -> Result<Result<Secret, NotDone>, WorkError> {
        let name = connection.name.as_str();
        if let Some(token) = self.tokens.get(name, self.now()).filter(|t| refused != Some(t)) {
            return Ok(Ok(token));
        }
        let key = Key::new(format!("conn#{name}"), "token");
        for _ in 0..20 {
            let now = self.now();
            let item = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
            let known: Option<TokenRecord> =
                item.as_ref().map(|i| serde_json::from_slice(&i.body)).transpose()?;
            if let Some(record) = known.as_ref().filter(|r| !r.sealed.is_empty()) {
                let plain = self.vault.queue_key().open(name.as_bytes(), &record.sealed)?;
                let token = Secret::new(String::from_utf8_lossy(&plain).into_owned());
                if record.expires > now && refused != Some(&token) {
                    self.tokens.put(name, &token, record.expires);
                    return Ok(Ok(token));
                }
            }
            if known.as_ref().and_then(|r| r.fetching_until).is_some_and(|until| until > now) {
                self.ports.clock.sleep(Millis(250)).await;
                continue;
            }
            let guard = item.as_ref().map_or(Guard::Absent, |i| Guard::Rev(i.rev));
            let mut record = known.unwrap_or(TokenRecord {
                sealed: Vec::new(),
                expires: Timestamp(0),
                fetching_until: None,
            });
            // No longer than a fetch takes: whoever is killed in one keeps all others waiting.
            record.fetching_until = Some(now + self.config.times.call_limit.min(Millis::secs(30)));
            match self.put_token(&key, &record, guard).await {
                Ok(()) => {}
                Err(StoreError::Conflict(_)) => continue,
                Err(error) => return Err(error.into()),
            }
            let secrets = self.secrets(name, refused.is_some()).await?;
            let out = self.outbound(connection, connector, None);
            let fetched =
                connector.fetch_token(connection, &secrets, &out, self.config.times.call_limit).await;
            let (token, lifetime) = match fetched {
                Ok(fetched) => fetched,
                Err(not_done) => {
                    record.fetching_until = None;
                    // Losing this write only means that others wait the lease out.
                    let _ = self.put_token(&key, &record, Guard::Any).await;
                    return Ok(Err(not_done));
                }
            };
            // Renewed at four fifths of its life, so that it does not run out under a call.
            record.expires = now + Millis(lifetime.0.saturating_mul(4) / 5);
            record.fetching_until = None;
            record.sealed = self.vault.queue_key().seal(
                self.ports.entropy.as_ref(),
                name.as_bytes(),
                token.expose().as_bytes(),
            );
            self.put_token(&key, &record, Guard::Any).await?;
            self.tokens.put(name, &token, record.expires);
            return Ok(Ok(token));
        }
        Ok(Err(NotDone::Unavailable))
    }

    async fn put_token(&self, key: &Key, record: &TokenRecord, guard: Guard) -> Result<(), StoreError> {
        let body = serde_json::to_vec(record).map_err(|e| StoreError::Invalid(e.to_string()))?;
        let item = NewItem { key: key.clone(), body, due: None, list: None, expires: None };
        self.ports.store.transact(vec![Write::Put(item, guard)]).await
    }
}
