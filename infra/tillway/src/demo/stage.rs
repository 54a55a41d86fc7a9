//! The stage: both sandboxes served over HTTP on loopback, and Tillway beside them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tillway_connectors::{Secret, Secrets};
use tillway_core::money::Currency;
use tillway_core::time::Timestamp;
use tillway_engine::ports::{Clock, SecretError, SecretSource};
use tillway_local::clock::ScaledClock;
use tillway_local::notify::MemoryNotify;
use tillway_local::runtime::{EngineFront, Options, Runtime};
use tillway_local::server::{Limits, serve};
use tillway_sandbox::clarity::{Auth, ClarityConfig, ClaritySandbox, NewLine, NewOrder, WebhookScheme};
use tillway_sandbox::server::SandboxServer;
use tillway_sandbox::stripe::{StripeConfig, StripeSandbox};

use crate::machine::{self, Machine};

struct Fixed;

#[async_trait]
impl SecretSource for Fixed {
    async fn secrets(&self, connection: &str, _fresh: bool) -> Result<Secrets, SecretError> {
        let pairs: &[(&str, &str)] = match connection {
            "tillway" => {
                &[("master_key", "6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d")]
            }
            "stripe" => &[("api_key", "sk_test_sandbox"), ("webhook_secret", "whsec_sandbox_stripe")],
            "shop" => &[
                ("client_id", "tillway"),
                ("client_secret", "sandbox-secret"),
                ("webhook_secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            ],
            other => return Err(SecretError::Missing(other.to_owned())),
        };
        Ok(Secrets(pairs.iter().map(|(n, v)| ((*n).to_owned(), vec![Secret::new(*v)])).collect()))
    }
}

/// Sandboxes and Tillway.
pub struct Stage {
    /// Stripe.
    pub stripe: Arc<Mutex<StripeSandbox>>,
    /// Clarity.
    pub clarity: Arc<Mutex<ClaritySandbox>>,
    /// Tillway.
    pub machine: Machine,
    /// What people were told.
    pub notices: Arc<MemoryNotify>,
    clock: Arc<ScaledClock>,
    servers: (SandboxServer, SandboxServer),
    runtime: Runtime,
    front: tokio::task::JoinHandle<()>,
    shutdown: tokio::sync::oneshot::Sender<()>,
    folder: std::path::PathBuf,
}

impl Stage {
    /// Starts everything on free loopback ports.
    ///
    /// # Errors
    /// What could not be started.
    pub async fn start(seed: u64) -> anyhow::Result<Self> {
        let epoch = Timestamp::parse_rfc3339("2026-11-21T09:00:00Z").context("epoch")?;
        let clock = Arc::new(ScaledClock::start(epoch, 60));
        let sandbox_clock = {
            let clock = clock.clone();
            Arc::new(move || clock.now()) as tillway_sandbox::server::SandboxClock
        };
        let stripe = Arc::new(Mutex::new(StripeSandbox::new(StripeConfig::new(
            "sk_test_sandbox",
            "whsec_sandbox_stripe",
            seed,
        ))));
        let clarity = Arc::new(Mutex::new(ClaritySandbox::new(ClarityConfig {
            auth: Auth::OAuth { client_id: "tillway".into(), client_secret: "sandbox-secret".into() },
            webhook: WebhookScheme::StandardWebhooks {
                secrets: vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()],
            },
            seed,
            ..ClarityConfig::default()
        })));
        let stripe_server = SandboxServer::start(stripe.clone(), sandbox_clock.clone(), None).await?;
        let clarity_server = SandboxServer::start(clarity.clone(), sandbox_clock, None).await?;
        let config = format!(
            "connections:\n  shop: {{ system: clarity, base_url: \"{}/api/v1\", rate_limit.per_second: 10000 }}\n  stripe: {{ system: stripe, base_url: \"{}\", rate_limit.per_second: 10000 }}\npairs:\n  main: {{ flow: stripe-clarity, shop: shop, gateway: stripe, return_url: \"https://shop.example.com/return\" }}\n",
            clarity_server.url(),
            stripe_server.url()
        );
        let (config, extras) = tillway_engine::settings::load(
            "demo.yaml",
            &config,
            &tillway_templates::sources(),
            &[],
            tillway_templates::notices(),
        )
        .map_err(|p| machine::problems(&p))?;
        let folder = std::env::temp_dir().join(format!("tillway-demo-{}", std::process::id()));
        let notices = Arc::new(MemoryNotify::default());
        let machine =
            machine::assemble(config, extras, &folder, clock.clone(), Arc::new(Fixed), Some(notices.clone()))
                .await?;
        let runtime = Runtime::start(&machine.engine, &machine.queue, Options::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let front = Arc::new(EngineFront { engine: machine.engine.clone(), alerts: machine.alerts.clone() });
        let (shutdown, stopped) = tokio::sync::oneshot::channel();
        let front = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            if let Err(error) = serve(listener, front, Limits::default(), stop).await {
                tracing::error!("{error}");
            }
        });
        stripe_server.set_webhook_base(Some(format!("http://{address}/webhooks/stripe")));
        clarity_server.set_webhook_base(Some(format!("http://{address}/webhooks/shop")));
        Ok(Self {
            stripe,
            clarity,
            machine,
            notices,
            clock,
            servers: (stripe_server, clarity_server),
            runtime,
            front,
            shutdown,
            folder,
        })
    }

    /// Places an order that is paid at once.
    ///
    /// # Errors
    /// The sandbox's.
    pub async fn place_paid_order(&self, id: &str) -> anyhow::Result<String> {
        let mut order = NewOrder::new(Currency::parse("USD")?);
        order.order_id = Some(id.to_owned());
        order.customer.email = Some("jenny@example.com".to_owned());
        order.lines = vec![NewLine {
            sku: "TEA".into(),
            name: "Tea".into(),
            quantity: "2".into(),
            unit_price: 1950,
            discount: 0,
            tax: 312,
        }];
        order.shipping = 500;
        order.payment_token = Some("pm_card_visa_x1".to_owned());
        let now = self.clock.now();
        Ok(self.clarity.lock().unwrap_or_else(PoisonError::into_inner).place_order(now, order)?)
    }

    /// Waits for a status in the shop.
    pub async fn wait_status(&self, order: &str, status: &str, seconds: u64) -> bool {
        for _ in 0..seconds * 50 {
            let now = self
                .clarity
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .order(order)
                .map(|o| o.status_text.clone());
            if now.as_deref() == Some(status) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// What is to be seen.
    pub fn lines(&self) -> Vec<String> {
        let clarity = self.clarity.lock().unwrap_or_else(PoisonError::into_inner);
        let stripe = self.stripe.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out: Vec<String> =
            clarity.orders().map(|o| format!("{} {}", o.order_id, o.status_text)).collect();
        out.extend(
            stripe
                .all_payments()
                .map(|p| format!("{} {:?} {} of {}", p.payment, p.status, p.captured, p.amount)),
        );
        out.push(self.machine.alerts.snapshot().json().to_string());
        out
    }

    /// Stops everything.
    pub async fn stop(self) {
        let _ = self.shutdown.send(());
        let _ = self.front.await;
        self.runtime.stop().await;
        self.servers.0.shutdown().await;
        self.servers.1.shutdown().await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
