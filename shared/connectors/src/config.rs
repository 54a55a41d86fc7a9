//! Configuration of one account at an outside system, and its secrets.

use std::collections::BTreeMap;
use std::fmt;

use tillway_core::ids::ConnectionName;

/// A secret text. `Debug` and `Display` never show it; it has no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The secret itself: only where it is used, never where something is shown.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The secrets of one connection by name. Each name may hold several values, newest first: while a secret
/// is being rotated the old one stays valid.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(pub BTreeMap<String, Vec<Secret>>);

impl Secrets {
    /// The newest value of a secret.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<&Secret> {
        self.0.get(name).and_then(|v| v.first())
    }
    /// The first of these names that no value is there for.
    #[must_use]
    pub fn first_missing(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.all(name).is_empty())
    }
    /// All values of a secret, newest first.
    #[must_use]
    pub fn all(&self, name: &str) -> &[Secret] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secrets {:?}", self.0.keys().collect::<Vec<_>>())
    }
}

/// One configured account at an outside system. Settings are texts as they stand in the configuration
/// file; a connector checks its own (see [`crate::Connector::check_settings`]) and knows their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its name, e.g. `stripe-main`: part of webhook URLs and log lines.
    pub name: ConnectionName,
    /// The system, e.g. `stripe`.
    pub system: String,
    /// Refuses test events and private addresses where `true`.
    pub production: bool,
    /// Dotted settings, e.g. `base_url`, `paths.order`, `status_out.paid`, `rate_limit.per_second`.
    pub settings: BTreeMap<String, String>,
}

impl Connection {
    /// A setting, or the connector's default.
    #[must_use]
    pub fn setting<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.settings.get(name).map_or(default, String::as_str)
    }
    /// A whole-number setting, or the default where it is absent or no number (settings are checked at load).
    #[must_use]
    pub fn number(&self, name: &str, default: i64) -> i64 {
        self.settings.get(name).and_then(|v| v.parse().ok()).unwrap_or(default)
    }
    /// A yes-or-no setting.
    #[must_use]
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.settings.get(name).map_or(default, |v| v == "true" || v == "yes")
    }
    /// All settings under a prefix, e.g. `status_out.`, without the prefix.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.settings.iter().filter_map(move |(k, v)| k.strip_prefix(prefix).map(|k| (k, v.as_str())))
    }
}
