//! Identities. Newtypes, so that an order key cannot be passed where a command id is meant.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// Wraps a text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

name_type!(
    /// The name of one configured account at an outside system, e.g. `stripe-main`.
    ConnectionName
);
name_type!(
    /// The business key everything about one order is kept under: `<shop connection>/<order id>`. A profile's is
    /// `customer@<shop connection>/<customer id>`: no connection's name holds an `@`, so that no order can be meant.
    OrderKey
);
name_type!(
    /// Identity of intent: a hash of connection, business key, step and causing fact (DESIGN section 2),
    /// never of the event that carried the fact.
    CommandId
);
name_type!(
    /// A person, as a keyed hash of the normalised identity; says nothing to who lacks the key.
    PersonId
);
name_type!(
    /// SHA-256 of a flow with its mappings and lookups, hex.
    FlowHash
);

/// Begins the keys of customers.
const CUSTOMER: &str = "customer@";

impl OrderKey {
    /// Builds the key of an order of a shop connection.
    #[must_use]
    pub fn of(shop: &ConnectionName, order_id: &str) -> Self {
        Self(format!("{shop}/{order_id}"))
    }
    /// The order id without the connection.
    #[must_use]
    pub fn order_id(&self) -> &str {
        self.0.split_once('/').map_or(self.0.as_str(), |(_, id)| id)
    }
    /// Builds the key of a customer of a shop connection.
    #[must_use]
    pub fn of_customer(shop: &ConnectionName, customer_id: &str) -> Self {
        Self(format!("{CUSTOMER}{shop}/{customer_id}"))
    }
    /// Whether it is a customer's.
    #[must_use]
    pub fn is_customer(&self) -> bool {
        self.0.starts_with(CUSTOMER)
    }
    /// The shop connection's name.
    #[must_use]
    pub fn shop(&self) -> &str {
        let shop = self.0.split_once('/').map_or("", |(shop, _)| shop);
        shop.strip_prefix(CUSTOMER).unwrap_or(shop)
    }
}

impl CommandId {
    /// Derives the id of an intent. `cause` is the identity of the causing fact.
    #[must_use]
    pub fn derive(connection: &ConnectionName, key: &str, step: &str, cause: &str) -> Self {
        Self(digest(&["command", connection.as_str(), key, step, cause]))
    }
}

/// SHA-256 over length-prefixed parts, the first 20 bytes in hex: no two lists of parts collide by
/// concatenation.
#[must_use]
pub fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let out = hasher.finalize();
    hex::encode(out.get(..20).unwrap_or(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concatenation_does_not_collide() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["ab"]), digest(&["ab", ""]));
    }

    #[test]
    fn order_key_splits_at_the_first_slash() {
        let key = OrderKey::of(&"shop".into(), "A/1");
        assert_eq!((key.shop(), key.order_id()), ("shop", "A/1"));
        let customer = OrderKey::of_customer(&"shop".into(), "CU/1");
        assert_eq!((customer.shop(), customer.order_id()), ("shop", "CU/1"));
        assert!(customer.is_customer() && !OrderKey::of(&"shop".into(), "customer@shop/CU/1").is_customer());
    }
}
