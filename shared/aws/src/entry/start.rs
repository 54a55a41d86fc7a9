//! Puts a function together from its environment: exactly what it needs, each missing piece named.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tillway_connectors::http::Http;
use tillway_connectors::http::live::{AddressPolicy, LiveHttp, StartError as HttpStartError};
use tillway_connectors::{Connection, Connector, Needed};
use tillway_engine::config::Config;
use tillway_engine::ports::{Clock, Entropy, Notify, SecretError, SecretSource, Store};
use tillway_engine::records::{EVENTS, command_queue};
use tillway_engine::settings::Extras;
use tillway_engine::{Engine, INTAKE, Ports, WorkError};
use tillway_host::clock::SystemClock;
use tillway_host::config::{ConfigError, have_secrets, read_config, read_receiving};
use tillway_host::entropy::OsEntropy;
use tillway_host::people::channels;

use crate::absent::{NoHttp, NoNotify, NoShelf, NoStore};
use crate::alerts::{AwsAlerts, SnsTopic};
use crate::claims::{Claims, S3Claims};
use crate::clients::{Clients, ClientsError};
use crate::env::{Env, EnvError};
use crate::queue::SqsQueue;
use crate::secrets::{CachedSecrets, SecretsManager};
use crate::shelf::S3Shelf;
use crate::store::DynamoStore;

/// Why a function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its environment.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Its configuration.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// A secret of a connection.
    #[error("secrets of connection {0}: {1}")]
    Secret(String, SecretError),
    /// The secret of its own.
    #[error(
        "the secret `tillway` has to hold `master_key`, 64 hex digits (of webhook functions `intake` the `key` made of it: \
         put master_key again), and the store has to answer: {0}"
    )]
    Engine(#[from] WorkError),
    /// Clients of AWS's services.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// The way out.
    #[error(transparent)]
    Http(#[from] HttpStartError),
    /// The runtime.
    #[error("the runtime stopped: {0}")]
    Runtime(String),
}

/// A function that has started.
pub(crate) struct Function {
    pub(crate) engine: Engine,
    pub(crate) alerts: Arc<AwsAlerts>,
    pub(crate) claims: Arc<dyn Claims>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What a worker does, and so what it has to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Works events: writes the store and every commands queue, and has no way out.
    Decide,
    /// Calls one system.
    Act(&'static str),
    /// Tells people.
    Notify,
    /// Looks at dead letters.
    Triage,
    /// Sends what is due, and asks every system.
    Tick,
    /// Asks one system.
    Sweep(&'static str),
    /// Settles what one system paid out.
    Settle(&'static str),
    /// A person at the command line: all that a schedule may, and whatever secrets are there.
    #[cfg_attr(not(feature = "desk"), expect(dead_code, reason = "made by the feature `desk` alone"))]
    Desk,
}

impl Role {
    /// Whose commands it sends, or gives back to a queue.
    fn sends_commands(self) -> bool {
        matches!(self, Self::Decide | Self::Tick | Self::Desk)
    }
    /// Its own commands queue.
    fn works_commands_of(self) -> Option<&'static str> {
        match self {
            Self::Act(system) => Some(system),
            Self::Notify => Some("notify"),
            _ => None,
        }
    }
    fn goes_out(self) -> bool {
        matches!(
            self,
            Self::Act(_) | Self::Notify | Self::Tick | Self::Sweep(_) | Self::Settle(_) | Self::Desk
        )
    }
    /// The system that it calls.
    const fn calls(self) -> Option<&'static str> {
        match self {
            Self::Act(own) | Self::Sweep(own) | Self::Settle(own) => Some(own),
            // The tick asks now and then; that one secret is missing holds up nothing else that is due.
            Self::Tick | Self::Decide | Self::Notify | Self::Triage | Self::Desk => None,
        }
    }
}

/// What every function has.
struct Common {
    clients: Clients,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    secrets: Arc<dyn SecretSource>,
    alerts: Arc<AwsAlerts>,
    claims: Arc<dyn Claims>,
}

fn common(env: &Env, clients: Option<Clients>) -> Result<Common, StartError> {
    // Read before the first call, so that what is missing is told at once.
    let (environment, topic, prefix, bucket) =
        (env.environment()?, env.alerts()?, env.secrets()?, env.claims()?);
    let clients = clients.map_or_else(|| Clients::of_function(env), Ok)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let reader = Box::new(SecretsManager(clients.secrets()));
    let secrets: Arc<dyn SecretSource> = Arc::new(CachedSecrets::new(reader, prefix, clock.clone()));
    let topic = Box::new(SnsTopic { client: clients.sns(), arn: topic });
    let alerts = Arc::new(AwsAlerts::new(topic, environment, clock.clone()));
    let claims: Arc<dyn Claims> = Arc::new(S3Claims::new(clients.bucket(bucket), entropy.clone()));
    Ok(Common { clients, clock, entropy, secrets, alerts, claims })
}

impl Common {
    fn queue(&self, urls: BTreeMap<String, String>) -> Arc<SqsQueue> {
        Arc::new(SqsQueue::new(self.clients.sqs(), urls, self.claims.clone(), self.entropy.clone()))
    }

    /// Reads the secrets of a system's connections, side by side: they are kept for the first invocation. Where there is no
    /// such connection the function is there and idle: the template knows more gateways than a shop has.
    async fn have_secrets(
        &self,
        config: &Config,
        system: &'static str,
        needed: Needed,
        wanted: impl Fn(&Connection) -> bool,
    ) -> Result<(), StartError> {
        let of_system = config.connections.values().filter(|(c, _)| c.system == system && wanted(c));
        let read = |(connection, connector): &(Connection, &'static dyn Connector)| {
            let (connection, connector) = (connection.clone(), *connector);
            async move {
                have_secrets(self.secrets.as_ref(), &connection, connector, &[needed])
                    .await
                    .map_err(|error| StartError::Secret(connection.name.to_string(), error))
            }
        };
        let read: Vec<Result<(), StartError>> = join_all(of_system.map(read)).await;
        if read.is_empty() {
            tracing::info!(system, "idle: no connection of this system is used");
        }
        read.into_iter().collect()
    }
}

/// A function that takes webhooks in: connections, the events queue and secrets, and nothing else.
pub(crate) async fn receiver(env: &Env, system: &'static str) -> Result<Function, StartError> {
    let events = env.events()?;
    let config = read_receiving(&env.config())?;
    let common = common(env, None)?;
    let (secrets, own) = tokio::join!(
        common.have_secrets(&config, system, Needed::Webhooks, |_| true),
        common.secrets.secrets(INTAKE.0, false),
    );
    secrets?;
    own.map_err(|error| StartError::Secret(INTAKE.0.to_owned(), error))?;
    let ports = Ports {
        store: Arc::new(NoStore),
        shelf: Arc::new(NoShelf),
        queue: common.queue([(EVENTS.to_owned(), events)].into()),
        clock: common.clock.clone(),
        entropy: common.entropy.clone(),
        secrets: common.secrets.clone(),
        http: Arc::new(NoHttp),
        notify: Arc::new(NoNotify),
        alerts: common.alerts.clone(),
    };
    let engine = Engine::receiver(Arc::new(config), ports).await?;
    Ok(Function { engine, alerts: common.alerts, claims: common.claims, clock: common.clock })
}

/// A worker or a schedule.
pub(crate) async fn worker(env: &Env, role: Role) -> Result<Function, StartError> {
    worker_over(env, role, None).await
}

async fn worker_over(env: &Env, role: Role, clients: Option<Clients>) -> Result<Function, StartError> {
    let table = env.table()?;
    let mut urls = BTreeMap::from([(EVENTS.to_owned(), env.events()?)]);
    let (mut config, extras) = read_config(&env.config())?;
    for system in systems(&config) {
        let name = command_queue(&system);
        if role.sends_commands() {
            urls.insert(name, env.commands(&system)?);
        } else if role.works_commands_of() == Some(system.as_str())
            && let Ok(url) = env.commands(&system)
        {
            // Only to give messages back early; without it they come back by the queue's visibility.
            urls.insert(name, url);
        }
    }
    share_rates(&mut config, env.concurrency()?);
    let common = common(env, clients)?;
    if let Some(system) = role.calls() {
        common.have_secrets(&config, system, Needed::Calls, |c| config.is_used(&c.name)).await?;
    }
    let (http, notify) = ways(role, &config, &extras, &common)?;
    let store: Arc<dyn Store> = Arc::new(DynamoStore::new(
        common.clients.dynamodb(),
        table,
        common.clock.clone(),
        common.entropy.clone(),
    ));
    let shelf = Arc::new(S3Shelf::new(common.clients.bucket(env.claims()?)));
    let ports = Ports {
        store,
        shelf,
        queue: common.queue(urls),
        clock: common.clock.clone(),
        entropy: common.entropy.clone(),
        secrets: common.secrets.clone(),
        http,
        notify,
        alerts: common.alerts.clone(),
    };
    let engine = Engine::new(Arc::new(config), ports).await?;
    Ok(Function { engine, alerts: common.alerts, claims: common.claims, clock: common.clock })
}

/// The engine for a person at the command line.
#[cfg(feature = "desk")]
pub(crate) async fn desk(env: &Env, clients: Clients) -> Result<Engine, StartError> {
    Ok(worker_over(env, Role::Desk, Some(clients)).await?.engine)
}

/// Every system commands go to, notices included.
pub(crate) fn systems(config: &Config) -> Vec<String> {
    let mut systems: Vec<String> = config.connections.values().map(|(c, _)| c.system.clone()).collect();
    systems.push("notify".to_owned());
    systems.sort();
    systems.dedup();
    systems
}

/// The way out, and the way to people.
type Ways = (Arc<dyn Http>, Arc<dyn Notify>);

fn ways(role: Role, config: &Config, extras: &Extras, common: &Common) -> Result<Ways, StartError> {
    if !role.goes_out() {
        return Ok((Arc::new(NoHttp), Arc::new(NoNotify)));
    }
    let production = config.connections.values().any(|(c, _)| c.production);
    let policy = if production { AddressPolicy::PublicOnly } else { AddressPolicy::AllowLoopback };
    let http: Arc<dyn Http> = Arc::new(LiveHttp::new(policy)?);
    if role != Role::Notify {
        return Ok((http, Arc::new(NoNotify)));
    }
    let (notify, _) = channels(&extras.people, &http, &common.secrets)?;
    Ok((http, notify))
}

/// A connection's rate limit is for all that run at one time: each gets its share, at least one a second.
fn share_rates(config: &mut Config, concurrency: i64) {
    const RATE: &str = "rate_limit.per_second";
    for (connection, connector) in config.connections.values_mut() {
        let default = connector.settings().iter().find(|(name, _, _)| *name == RATE);
        let default = default.and_then(|(_, default, _)| default.parse().ok()).unwrap_or(0);
        let rate = connection.number(RATE, default);
        if rate > 0 {
            let share = (rate / concurrency.max(1)).max(1);
            connection.settings.insert(RATE.to_owned(), share.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use tillway_engine::settings::load_connections;

    use super::*;

    #[test]
    fn a_rate_is_shared_and_never_none() {
        let text = "connections:\n  a: { system: stripe, rate_limit: { per_second: 20 } }\n  \
                    b: { system: stripe, rate_limit: { per_second: 3 } }\n";
        let mut config = load_connections("t.yaml", text).map_err(|p| format!("{p:?}")).unwrap();
        share_rates(&mut config, 8);
        let rate = |name: &str| config.connection(name).unwrap().0.number("rate_limit.per_second", -1);
        assert_eq!((rate("a"), rate("b")), (2, 1));
    }

    #[tokio::test]
    async fn what_is_missing_stops_a_function_and_is_named() {
        let env = |names: &[(&str, &str)]| {
            Env::of(names.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        };
        let said = receiver(&env(&[]), "stripe").await.err().unwrap().to_string();
        assert!(said.contains("TILLWAY_QUEUE_EVENTS"), "{said}");
        let said =
            worker(&env(&[("TILLWAY_QUEUE_EVENTS", "u")]), Role::Decide).await.err().unwrap().to_string();
        assert!(said.contains("TILLWAY_TABLE"), "{said}");
        let nowhere = [("TILLWAY_QUEUE_EVENTS", "u"), ("TILLWAY_CONFIG", "/nonexistent/tillway.yaml")];
        let said = receiver(&env(&nowhere), "stripe").await.err().unwrap().to_string();
        assert!(said.contains("/nonexistent/tillway.yaml"), "{said}");
    }

    #[test]
    fn a_role_is_given_no_more_than_it_uses() {
        assert!(Role::Decide.sends_commands() && !Role::Decide.goes_out());
        assert!(!Role::Triage.goes_out() && !Role::Triage.sends_commands());
        assert_eq!((Role::Act("stripe").calls(), Role::Tick.calls()), (Some("stripe"), None));
        assert_eq!(Role::Notify.works_commands_of(), Some("notify"));
    }
}
