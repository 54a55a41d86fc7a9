//! A customer of the shop, as one of its flows keeps it in step with a gateway.
//!
//! A profile is a business object beside the order, under a key of its own ([`crate::ids::OrderKey::of_customer`]), with a
//! state, a log and a flow like an order's. No e-mail address and no name stands in its facts: a keyed digest tells that they
//! changed, and they themselves lie beside the facts, sealed under the person's key.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::digest;

/// The shop's customer as of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerSnapshot {
    /// The shop's customer id.
    pub customer_id: String,
    /// The shop's change time in milliseconds; a lower one never replaces a higher.
    pub version: i64,
    /// The gateway's customer that the shop points to, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_customer: Option<String>,
    /// A reusable token that the shop keeps for this customer. Never a card number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument: Option<String>,
    /// Keyed digest of the personal data beside it, by the engine: who lacks the key learns nothing of it.
    #[serde(default)]
    pub digest: String,
}

impl CustomerSnapshot {
    /// Tells contents of one version apart.
    #[must_use]
    pub fn mark(&self) -> String {
        let text = |id: &Option<String>| id.clone().unwrap_or_default();
        digest(&["profile", &self.digest, &text(&self.gateway_customer), &text(&self.instrument)])
    }
}

/// What is known of a customer of the shop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The shop's customer, newest version.
    pub snapshot: CustomerSnapshot,
    /// Count of changes that matter to the gateway, from 1. The echo of our own write is none.
    pub seq: u32,
    /// Contents told at this very version. Shops that count whole seconds may change a customer twice in one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub told: BTreeSet<String>,
}
