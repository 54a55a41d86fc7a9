//! Where the scenarios play: on this machine, or on a stack. Outside are sandboxes in both cases; what differs is how time passes,
//! who was told, and how one sees that nothing is under way.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tillway_core::http::{Request, Response};
use tillway_core::ids::ConnectionName;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::Engine;
use tillway_engine::ports::Notice;
use tillway_engine::sweep::SweepReport;

use super::gateway::SYSTEMS;
use super::stage::Merchant;

/// Tillway with sandboxes outside.
#[async_trait]
pub trait World: Send + Sync {
    /// The merchants.
    fn merchants(&self) -> &[Merchant];
    /// An engine over what is stored.
    fn engine(&self) -> &Engine;
    /// The time, everybody's.
    fn now(&self) -> Timestamp;
    /// Where Tillway takes webhooks: `http://…/webhooks`.
    fn front_url(&self) -> String;
    /// Between two looks, and the longest real wait for one thing.
    fn looks(&self) -> (Duration, Duration);
    /// What people were told.
    fn notices(&self) -> Vec<Notice>;
    /// How often an alarm of this code was raised.
    async fn alarms(&self, code: &str) -> anyhow::Result<u64>;
    /// How often webhooks were refused, by code.
    async fn refused(&self) -> anyhow::Result<BTreeMap<String, u64>>;
    /// Messages in the queues, and those that were given up.
    async fn queued(&self) -> anyhow::Result<(usize, usize)>;
    /// Everything that lies anywhere, each with the name of its place.
    async fn kept(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>>;
    /// Waits until what is under way is done. What falls due later is left for later.
    async fn settle(&self) -> anyhow::Result<()>;
    /// Gives what is under way a moment, and where nothing is, goes on to what falls due next, at most to `limit`. `false`:
    /// nothing does before.
    async fn wait(&self, limit: Timestamp) -> anyhow::Result<bool>;
    /// Whoever waited has what it waited for.
    fn goes_on(&self) {}
    /// Lets time pass, with everything that falls due in it.
    async fn pass(&self, length: Millis) -> anyhow::Result<()>;
    /// Asks a provider for what was missed.
    async fn sweep(&self, connection: &ConnectionName) -> anyhow::Result<SweepReport> {
        Ok(self.engine().sweep(connection).await?)
    }
}

impl dyn World + '_ {
    /// A merchant by its name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn merchant(&self, name: &str) -> anyhow::Result<&Merchant> {
        self.merchants().iter().find(|m| m.name == name).with_context(|| format!("no merchant {name}"))
    }

    /// The names of the gateways played, each with this behind it.
    pub fn gateways(&self, suffix: &str) -> String {
        let played = |key: &str| self.merchants().iter().any(|m| m.system.key == key);
        let names = SYSTEMS.iter().filter(|s| played(s.key)).map(|s| format!("{}{suffix}", s.name));
        names.collect::<Vec<_>>().join(" and ")
    }

    /// Posts a webhook to Tillway as anybody could.
    ///
    /// # Errors
    /// Where nobody answers.
    pub async fn post(
        &self,
        connection: &ConnectionName,
        topic: &str,
        mut request: Request,
    ) -> anyhow::Result<Response> {
        request.url = format!("{}/{connection}/{topic}", self.front_url());
        Ok(self.engine().ports.http.send(request, Millis::secs(10)).await?)
    }
}
