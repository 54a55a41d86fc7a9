//! How a [`World`](crate::world::World) is set up: configuration, secrets and the two sandboxes.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tillway_connectors::{Secret, Secrets};
use tillway_core::bundle::Source;
use tillway_core::time::Millis;
use tillway_engine::config::Config;
use tillway_engine::ports::{SecretError, SecretSource};
use tillway_sandbox::clarity::{Auth, ClarityConfig, WebhookScheme};
use tillway_sandbox::stripe::StripeConfig;

use crate::outside::{GATEWAY_HOST, SHOP_HOST};
use crate::world::{API_KEY, CLIENT_SECRET, GATEWAY, GATEWAY_HOOK, MASTER_KEY, SHOP, SHOP_HOOK};

/// How a world is set up.
pub struct Setup {
    /// `production:` of the configuration.
    pub production: bool,
    /// `masking:` of the configuration.
    pub masking: bool,
    /// More settings of the shop's connection, as in YAML's braces: `auth: api_key`.
    pub shop_settings: String,
    /// More settings of the gateway's connection.
    pub gateway_settings: String,
    /// More options of the pair.
    pub pair: String,
    /// More top-level lines of the configuration.
    pub more: String,
    /// The merchant's own files.
    pub overrides: Vec<(String, String)>,
    /// The shop's secrets by name.
    pub shop_secrets: Vec<(String, String)>,
    /// The shop's sandbox.
    pub shop: ClarityConfig,
    /// The gateway's sandbox.
    pub gateway: StripeConfig,
}

impl Default for Setup {
    fn default() -> Self {
        let mut gateway = StripeConfig::new(API_KEY, GATEWAY_HOOK, 7);
        gateway.async_settlement = Millis::secs(2);
        let text = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
        };
        Self {
            production: false,
            masking: false,
            shop_settings: String::new(),
            gateway_settings: "multicapture: if_available".to_owned(),
            pair: String::new(),
            more: String::new(),
            overrides: Vec::new(),
            shop_secrets: text(&[
                ("client_id", "tillway"),
                ("client_secret", CLIENT_SECRET),
                ("webhook_secret", SHOP_HOOK),
            ]),
            shop: ClarityConfig {
                auth: Auth::OAuth { client_id: "tillway".into(), client_secret: CLIENT_SECRET.into() },
                webhook: WebhookScheme::StandardWebhooks { secrets: vec![SHOP_HOOK.into()] },
                seed: 7,
                ..ClarityConfig::default()
            },
            gateway,
        }
    }
}

impl Setup {
    /// With options of the pair.
    #[must_use]
    pub fn pair(text: &str) -> Self {
        Self { pair: text.to_owned(), ..Self::default() }
    }

    /// The configuration file this makes.
    #[must_use]
    pub fn yaml(&self) -> String {
        let more = |text: &str| if text.is_empty() { String::new() } else { format!(", {text}") };
        let base = &self.shop.base_path;
        format!(
            "production: {}\nmasking: {}\nconnections:\n  {SHOP}: {{ system: clarity, base_url: \"https://{SHOP_HOST}{base}\"{} }}\n  \
             {GATEWAY}: {{ system: stripe, base_url: \"https://{GATEWAY_HOST}\"{} }}\npairs:\n  main: {{ flow: \
             stripe-clarity, shop: {SHOP}, gateway: {GATEWAY}, return_url: \"https://shop.example/return\"{} }}\n{}",
            self.production,
            if self.masking { "on" } else { "off" },
            more(&self.shop_settings),
            more(&self.gateway_settings),
            more(&self.pair),
            self.more,
        )
    }

    /// The checked configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        let overrides: Vec<Source> = self
            .overrides
            .iter()
            .map(|(file, text)| Source { file: file.clone(), text: text.clone() })
            .collect();
        let loaded = tillway_engine::settings::load(
            "tillway.yaml",
            &self.yaml(),
            &tillway_templates::sources(),
            &overrides,
            tillway_templates::notices(),
        );
        let (config, _) = loaded.unwrap_or_else(|found| {
            panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        config
    }

    /// The secrets of both connections, and the master key.
    #[must_use]
    pub fn secret_source(&self) -> Arc<dyn SecretSource> {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Arc::new(Fixed(BTreeMap::from([
            ("tillway".to_owned(), secrets(&[own("master_key", MASTER_KEY)])),
            (SHOP.to_owned(), secrets(&self.shop_secrets)),
            (GATEWAY.to_owned(), secrets(&[own("api_key", API_KEY), own("webhook_secret", GATEWAY_HOOK)])),
        ])))
    }
}

struct Fixed(BTreeMap<String, Secrets>);

#[async_trait]
impl SecretSource for Fixed {
    async fn secrets(&self, connection: &str, _fresh: bool) -> Result<Secrets, SecretError> {
        self.0.get(connection).cloned().ok_or_else(|| SecretError::Missing(connection.to_owned()))
    }
}

fn secrets(pairs: &[(String, String)]) -> Secrets {
    Secrets(pairs.iter().map(|(n, v)| (n.clone(), vec![Secret::new(v.as_str())])).collect())
}
