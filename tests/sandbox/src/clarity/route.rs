//! Which resource a path means, what may be done there, and what it takes.

use percent_encoding::percent_decode_str;
use tillway_core::http::Method;

use super::config::{Auth, ClarityConfig};

/// A resource of the API.
pub(super) enum Route {
    Token,
    Login,
    Orders,
    Order(String),
    Shipments(String),
    Customers,
    Customer(String),
    Products,
    Inventory(String),
    Webhooks,
    Webhook(String),
}

impl Route {
    pub fn of(config: &ClarityConfig, path: &str) -> Option<Self> {
        let below = path.strip_prefix(config.base_path.as_str())?;
        if let Auth::JwtLogin { path: login, .. } = &config.auth
            && below == login
        {
            return Some(Self::Login);
        }
        let decoded = |part: &str| {
            percent_decode_str(part).decode_utf8().ok().filter(|text| !text.is_empty()).map(String::from)
        };
        let parts: Vec<&str> = below.strip_prefix('/')?.split('/').collect();
        match parts.as_slice() {
            ["oauth", "token"] if matches!(config.auth, Auth::OAuth { .. }) => Some(Self::Token),
            ["orders"] => Some(Self::Orders),
            ["orders", id] => decoded(id).map(Self::Order),
            ["orders", id, "shipments"] => decoded(id).map(Self::Shipments),
            ["customers"] => Some(Self::Customers),
            ["customers", id] => decoded(id).map(Self::Customer),
            ["products"] => Some(Self::Products),
            ["inventory", sku] => decoded(sku).map(Self::Inventory),
            ["webhooks"] => Some(Self::Webhooks),
            ["webhooks", id] => decoded(id).map(Self::Webhook),
            _ => None,
        }
    }

    /// The path with its variable part left open.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Token => "/oauth/token",
            Self::Login => "/login",
            Self::Orders => "/orders",
            Self::Order(_) => "/orders/{id}",
            Self::Shipments(_) => "/orders/{id}/shipments",
            Self::Customers => "/customers",
            Self::Customer(_) => "/customers/{id}",
            Self::Products => "/products",
            Self::Inventory(_) => "/inventory/{sku}",
            Self::Webhooks => "/webhooks",
            Self::Webhook(_) => "/webhooks/{id}",
        }
    }

    pub const fn methods(&self) -> &'static [Method] {
        match self {
            Self::Token | Self::Login | Self::Shipments(_) => &[Method::Post],
            Self::Orders | Self::Products => &[Method::Get],
            Self::Order(_) | Self::Customer(_) => &[Method::Get, Method::Patch],
            Self::Customers | Self::Webhooks => &[Method::Get, Method::Post],
            Self::Inventory(_) => &[Method::Get, Method::Put],
            Self::Webhook(_) => &[Method::Delete],
        }
    }

    /// The scope a call takes. The contract names none for products.
    pub fn scope(&self, method: Method) -> Option<&'static str> {
        let read = method == Method::Get;
        match self {
            Self::Orders | Self::Order(_) | Self::Shipments(_) if read => Some("orders.read"),
            Self::Orders | Self::Order(_) | Self::Shipments(_) => Some("orders.write"),
            Self::Customers | Self::Customer(_) if read => Some("customers.read"),
            Self::Customers | Self::Customer(_) => Some("customers.write"),
            Self::Inventory(_) if read => Some("inventory.read"),
            Self::Inventory(_) => Some("inventory.write"),
            Self::Webhooks | Self::Webhook(_) => Some("webhooks.manage"),
            Self::Token | Self::Login | Self::Products => None,
        }
    }
}
