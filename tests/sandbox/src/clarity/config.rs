//! How one Clarity shop is set up. Everything the contract marks as an assumption can be changed here.

use std::collections::BTreeMap;

use tillway_core::time::Millis;

use super::model::OrderStatus;

/// How callers prove who they are.
#[derive(Clone)]
pub enum Auth {
    /// OAuth 2.0 client credentials at `<base path>/oauth/token`.
    OAuth {
        /// Client id.
        client_id: String,
        /// Client secret.
        client_secret: String,
    },
    /// A fixed key in a header.
    ApiKey {
        /// Header name, e.g. `x-api-key`.
        header: String,
        /// The key.
        key: String,
    },
    /// User name and password as JSON for a JWT, as ASP.NET Identity does it.
    JwtLogin {
        /// User name.
        username: String,
        /// Password.
        password: String,
        /// Path below the base path, e.g. `/auth/login`.
        path: String,
    },
}

/// How webhooks are made believable.
#[derive(Clone)]
pub enum WebhookScheme {
    /// Standard Webhooks: one signature for each secret, separated by spaces.
    StandardWebhooks {
        /// `whsec_` and base64 of the key.
        secrets: Vec<String>,
    },
    /// A shared secret in a header; no signature.
    SharedHeader {
        /// Header name.
        header: String,
        /// The secret.
        value: String,
    },
}

/// Names and limits of paging. Page numbers count from 0.
#[derive(Clone)]
pub struct Paging {
    /// Query parameter and answer member for the page number.
    pub index: String,
    /// Query parameter and answer member for the page size.
    pub size: String,
    /// Answer member that holds the items.
    pub items: String,
    /// Answer member that holds the count of all items.
    pub total: String,
    /// Page size where none is asked for.
    pub default_size: usize,
    /// Largest page size; more is refused.
    pub max_size: usize,
}

impl Default for Paging {
    fn default() -> Self {
        Self {
            index: "pageIndex".into(),
            size: "pageSize".into(),
            items: "items".into(),
            total: "totalCount".into(),
            default_size: 50,
            max_size: 200,
        }
    }
}

/// The display texts of the statuses; the contract's own text wherever none is given.
#[derive(Clone, Default)]
pub struct StatusTexts(pub BTreeMap<OrderStatus, String>);

impl StatusTexts {
    /// The text this shop shows.
    #[must_use]
    pub fn text(&self, status: OrderStatus) -> &str {
        self.0.get(&status).map_or(status.text(), String::as_str)
    }
    /// Reads a text exactly as this shop writes it.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<OrderStatus> {
        OrderStatus::ALL.into_iter().find(|s| self.text(*s) == text)
    }
}

/// The set-up of one shop. It has no `Debug`: it holds secrets.
#[derive(Clone)]
pub struct ClarityConfig {
    /// How callers prove who they are.
    pub auth: Auth,
    /// How webhooks are made believable.
    pub webhook: WebhookScheme,
    /// What every path begins with.
    pub base_path: String,
    /// Paging.
    pub paging: Paging,
    /// Status texts that differ from the contract.
    pub status_texts: StatusTexts,
    /// What order ids begin with; a number follows.
    pub order_ids: String,
    /// Source of every generated id.
    pub seed: u64,
    /// Lifetime of tokens.
    pub token_lifetime: Millis,
    /// Refuses a status that goes back from Shipped, Completed, Cancelled or Refunded to Pending Payment,
    /// Paid or Payment Received, and shipments of an order that is Cancelled or Refunded.
    pub strict_transitions: bool,
    /// Whether changes through the API emit webhooks too.
    pub echo: bool,
    /// Requests allowed in one second of the clock.
    pub rate_limit: Option<u32>,
    /// Whether `Idempotency-Key` is honoured. The contract says that nobody may rely on it.
    pub idempotency: bool,
    /// How many answers are kept under their idempotency keys, and no longer than 24 hours. A bound on
    /// memory: an answer is as large as an order.
    pub idempotency_keep: usize,
    /// Refusals of the front door (faults, being down) come as HTML instead of a problem.
    pub html_refusals: bool,
}

impl Default for ClarityConfig {
    fn default() -> Self {
        Self {
            auth: Auth::OAuth { client_id: "tillway".into(), client_secret: "clarity-sandbox-secret".into() },
            webhook: WebhookScheme::StandardWebhooks {
                secrets: vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()],
            },
            base_path: "/api/v1".into(),
            paging: Paging::default(),
            status_texts: StatusTexts::default(),
            order_ids: "C-".into(),
            seed: 1,
            token_lifetime: Millis::hours(1),
            strict_transitions: false,
            echo: true,
            rate_limit: None,
            idempotency: true,
            idempotency_keep: 20_000,
            html_refusals: false,
        }
    }
}
