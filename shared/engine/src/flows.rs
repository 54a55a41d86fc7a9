//! Flow versions: kept by content, so that a running order finishes on the version it started with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tillway_connectors::Connector;
use tillway_core::bundle::Bundle;
use tillway_core::ids::FlowHash;

use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Key, NewItem, StoreError, Write};

/// Versions this process knows or has stored.
#[derive(Default)]
pub(crate) struct FlowCache {
    bundles: Mutex<BTreeMap<FlowHash, Arc<Bundle>>>,
    stored: Mutex<std::collections::BTreeSet<FlowHash>>,
}

fn flow_key(hash: &FlowHash) -> Key {
    Key::new(format!("flow#{hash}"), "canonical")
}

impl Engine {
    /// Stores the version an order is about to be bound to; once per process and version.
    pub(crate) async fn store_flow(&self, hash: &FlowHash, flow: &str) -> Result<(), WorkError> {
        if self.flows.stored.lock().unwrap_or_else(PoisonError::into_inner).contains(hash) {
            return Ok(());
        }
        let text = self.config.bundle.canonical(flow).unwrap_or_default();
        let item = NewItem {
            key: flow_key(hash),
            body: text.as_bytes().to_vec(),
            due: None,
            list: None,
            expires: None,
        };
        match self.ports.store.transact(vec![Write::Put(item, Guard::Absent)]).await {
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.flows.stored.lock().unwrap_or_else(PoisonError::into_inner).insert(hash.clone());
        Ok(())
    }

    /// An older version, from the store.
    pub(crate) async fn stored_flow(&self, hash: &FlowHash) -> Result<Arc<Bundle>, WorkError> {
        if let Some(known) = self.flows.bundles.lock().unwrap_or_else(PoisonError::into_inner).get(hash) {
            return Ok(known.clone());
        }
        let item = self.ports.store.get(&[flow_key(hash)]).await?.into_iter().flatten().next();
        let item =
            item.ok_or_else(|| WorkError::Config(format!("flow version {hash} is not in the store")))?;
        let text = String::from_utf8_lossy(&item.body).into_owned();
        let connectors: Vec<&'static dyn Connector> = tillway_connectors::registry();
        let vocabulary = crate::vocabulary::vocabulary(&connectors);
        let bundle = Bundle::from_canonical(&text, &vocabulary).map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            WorkError::Config(format!("flow version {hash} no longer loads: {first}"))
        })?;
        let bundle = Arc::new(bundle);
        let mut bundles = self.flows.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        bundles.insert(hash.clone(), bundle.clone());
        Ok(bundle)
    }
}
