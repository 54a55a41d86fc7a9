//! A line of a settlement is evidence, too: it proves a call whose answer was lost.

use std::sync::Arc;

use tillway_connectors::Observation;
use tillway_core::facts::CommandEnd;

use super::{Held, note};
use crate::engine::{Engine, WorkError};
use crate::ports::Key;
use crate::records::CommandState;

/// How often it is tried against whoever looks the call up at the same time.
const TRIES: u32 = 4;

impl Engine {
    /// Ends a command of unknown outcome as done, and tells its orders. Nothing where it ended meanwhile.
    pub(crate) async fn prove(
        &self,
        key: &Key,
        said: &str,
        provider_id: &str,
        observation: &Observation,
    ) -> Result<(), WorkError> {
        for _ in 0..TRIES {
            let found = self.ports.store.get(std::slice::from_ref(key)).await?.into_iter().flatten().next();
            let Some(item) = found else { return Ok(()) };
            let record = Arc::unwrap_or_clone(self.commands.read(&item)?);
            if !matches!(record.state, CommandState::Unknown { .. }) {
                return Ok(());
            }
            let access = match &record.person {
                Some(person) => Some(self.person_access(person).await?),
                None => None,
            };
            let due = item.due.map(|due| due.at);
            let mut held = Held { key: key.clone(), rev: item.rev, due, record, access };
            // Whoever looks it up now can write nothing any more.
            held.record.fence = held.record.fence.saturating_add(1);
            held.record.provider_id = Some(provider_id.to_owned());
            note(&mut held.record, self.now(), said);
            if self.ends(held, CommandEnd::Done, observation.clone(), said.to_owned()).await? {
                return Ok(());
            }
        }
        Err(WorkError::Contended)
    }
}
