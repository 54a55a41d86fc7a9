//! The small ports: clock, entropy, secrets, notices, alerts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tillway_connectors::{Secret, Secrets};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{
    Alert, Alerts, Clock, Entropy, Notice, Notify, NotifyError, SecretError, SecretSource,
};

use super::Gate;
use super::gateway::mle;
use crate::dice::Dice;
use crate::exec::{Core, lock};
use crate::faults::Op;

/// [`Clock`] under virtual time.
pub(crate) struct SimClock(pub(crate) Arc<Core>);

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
    async fn sleep(&self, length: Millis) {
        self.0.sleep_until(self.0.now() + length).await;
    }
}

/// [`Entropy`] from the seed.
pub(crate) struct SimEntropy(pub(crate) Mutex<Dice>);

impl Entropy for SimEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        lock(&self.0).fill(buffer);
    }
}

/// Key of every Stripe sandbox. The canary in it must never be stored.
pub(crate) const STRIPE_KEY: &str = "sk_test_canarycanary";
/// Secret of Stripe's webhooks.
pub(crate) const STRIPE_HOOKS: &str = "whsec_canary_stripe";
/// Shared secret of every Cybersource sandbox, base64.
pub(crate) const CYBERSOURCE_KEY: &str = "canarycanarycanarycanarycanarycanarycanarycanary";
/// Key of Cybersource's webhooks, base64.
pub(crate) const CYBERSOURCE_HOOKS: &str = "canaryhookscanaryhooks//";
/// Secret of Clarity's webhooks.
pub(crate) const CLARITY_HOOKS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Client secret of Clarity's API.
pub(crate) const CLARITY_SECRET: &str = "canary-client-secret";

/// [`SecretSource`] of the simulation.
pub(crate) struct SimSecrets(pub(crate) Gate);

#[async_trait]
impl SecretSource for SimSecrets {
    async fn secrets(&self, connection: &str, _fresh: bool) -> Result<Secrets, SecretError> {
        let broken = || SecretError::Unavailable("the simulator said so".into());
        let fate = self.0.enter(Op::Secrets).await.map_err(|_| broken())?;
        let pairs: &[(&str, &str)] = match connection {
            "tillway" => {
                &[("master_key", "6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d")]
            }
            c if c.starts_with("cyber") => &[
                ("shared_secret", CYBERSOURCE_KEY),
                ("shared_secret.sim_eu", CYBERSOURCE_KEY),
                ("shared_secret.sim_br", CYBERSOURCE_KEY),
                ("webhook_secret", CYBERSOURCE_HOOKS),
                ("mle_private_key", mle().map_or("", |(_, pem)| pem.as_str())),
            ],
            c if c.starts_with("stripe") => &[("api_key", STRIPE_KEY), ("webhook_secret", STRIPE_HOOKS)],
            _ => &[
                ("client_id", "tillway"),
                ("client_secret", CLARITY_SECRET),
                ("webhook_secret", CLARITY_HOOKS),
            ],
        };
        self.0.leave(fate).await.map_err(|_| broken())?;
        Ok(Secrets(pairs.iter().map(|(n, v)| ((*n).to_owned(), vec![Secret::new(*v)])).collect()))
    }
}

/// [`Notify`] that counts what went out.
pub(crate) struct SimNotify {
    pub(crate) gate: Gate,
    pub(crate) sent: Arc<Mutex<BTreeMap<String, u64>>>,
}

#[async_trait]
impl Notify for SimNotify {
    async fn notify(&self, notice: Notice) -> Result<(), NotifyError> {
        let lost = || NotifyError::Unknown("the simulator said so".into());
        let fate = self.gate.enter(Op::Notify).await.map_err(|_| lost())?;
        if self.gate.faults.draw("notice not sent", 150) {
            return Err(NotifyError::NotSent("the simulator said so".into()));
        }
        *lock(&self.sent).entry(notice.id).or_default() += 1;
        if self.gate.faults.draw("notice unconfirmed", 150) {
            return Err(lost());
        }
        self.gate.leave(fate).await.map_err(|_| lost())
    }
}

/// [`Alerts`] that counts.
pub(crate) struct SimAlerts {
    pub(crate) gate: Gate,
    pub(crate) raised: Arc<Mutex<BTreeMap<String, u64>>>,
    pub(crate) counted: Arc<Mutex<BTreeMap<(&'static str, String), u64>>>,
}

#[async_trait]
impl Alerts for SimAlerts {
    async fn raise(&self, alert: Alert) {
        let Ok(fate) = self.gate.enter(Op::Alert).await else { return };
        *lock(&self.raised).entry(alert.code).or_default() += 1;
        // An alert that nobody heard of is an alert that nobody heard of.
        let _heard = self.gate.leave(fate).await;
    }
    fn count(&self, metric: &'static str, label: &str, by: u64) {
        *lock(&self.counted).entry((metric, label.to_owned())).or_default() += by;
    }
    // Nobody looks at them here; what they are made from is checked in whole.
    fn gauge(&self, _: &'static str, _: u64) {}
}
