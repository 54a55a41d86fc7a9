//! `tillway webhooks`: registers the endpoints of every connection at its provider, or prints the steps.
//!
//! A new endpoint's signing secret goes from the answer into the store of secrets, before the others of its name, and
//! is shown nowhere; only then is the endpoint marked as ours and an old one removed. A run that broke off is mended
//! by another.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tillway_connectors::http::Http;
use tillway_connectors::http::live::{AddressPolicy, LiveHttp};
use tillway_connectors::registrar::{self, Endpoint, Fault, Listed, Registrar, Step};
use tillway_connectors::{Call, Connection, Connector, Secret, Secrets};
use tillway_core::ids::CommandId;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::Clock as _;
use tillway_host::config::read_connections;
use tillway_host::keeping;
use tillway_local::clock::SystemClock;

use crate::open::{Kept, Vault, say};

/// Time for one request or a few.
const LIMIT: Millis = Millis::secs(60);

/// Arguments of `webhooks`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway webhooks register --url https://till.example.com --config shop/tillway.yaml --dry-run\n  \
tillway webhooks register --url https://abc.execute-api.eu-central-1.amazonaws.com --aws tillway-dev \
--config infra/config/tillway/tillway.yaml"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Registers what is missing, changes what differs, and keeps the signing secrets.
    #[command(
        after_help = "Example:\n  tillway webhooks register --url https://till.example.com --config shop/tillway.yaml --dry-run\n  \
tillway webhooks register --url https://abc.execute-api.eu-central-1.amazonaws.com --aws tillway-dev \
--config infra/config/tillway/tillway.yaml\n\n\
The URL is where Tillway is reached, of a stack its output WebhookUrl. Stripe's key has to be allowed to write webhook \
endpoints. Where a provider has no API for it, the steps are printed."
    )]
    Register {
        /// Where Tillway is reached from outside.
        #[arg(long)]
        url: String,
        /// Only this connection.
        #[arg(long)]
        connection: Option<String>,
        /// Only says what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Also this topic, with whose events nothing but a record is done yet; may be given several times.
        #[arg(long = "topic", value_name = "TOPIC")]
        topics: Vec<String>,
        /// Makes every endpoint anew, and so every signing secret; the old ones are removed.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        vault: Vault,
    },
    /// Lists the endpoints that the providers know.
    #[command(after_help = "Example:\n  tillway webhooks list --config shop/tillway.yaml")]
    List {
        /// Only this connection.
        #[arg(long)]
        connection: Option<String>,
        #[command(flatten)]
        vault: Vault,
    },
    /// Prints what to do at the providers by hand.
    #[command(
        after_help = "Example:\n  tillway webhooks steps --url https://till.example.com --config shop/tillway.yaml"
    )]
    Steps {
        /// Where Tillway is reached from outside.
        #[arg(long)]
        url: String,
        /// Only this connection.
        #[arg(long)]
        connection: Option<String>,
        /// Configuration file, as given to `serve`.
        #[arg(long)]
        config: std::path::PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// Connections that could not be done, after all others were.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Register { url, connection, dry_run, topics, replace, vault } => {
            let asked = Asked { url: base(&url)?, topics, dry_run, replace };
            known(&asked, &chosen(&vault.config, connection.as_deref())?)?;
            each(&vault, connection.as_deref(), async |desk: &Desk<'_>| desk.register(&asked).await).await
        }
        Command::List { connection, vault } => {
            each(&vault, connection.as_deref(), async |desk: &Desk<'_>| desk.list().await).await
        }
        Command::Steps { url, connection, config } => {
            let url = base(&url)?;
            for (connection, connector) in chosen(&config, connection.as_deref())? {
                steps(&connection, connector, &url);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The address without a path of ours.
fn base(url: &str) -> anyhow::Result<String> {
    let url = url.trim_end_matches('/');
    let rest = url.strip_prefix("https://").unwrap_or_default();
    if rest.is_empty() || rest.contains(['?', '#', '@', ' ']) || rest.contains("/webhooks") {
        bail!(
            "--url is where Tillway is reached from outside, such as https://till.example.com: https, no path of ours"
        );
    }
    Ok(url.to_owned())
}

/// What a registration is asked for.
struct Asked {
    url: String,
    topics: Vec<String>,
    dry_run: bool,
    replace: bool,
}

/// Whether each topic that was asked for is one.
fn known(asked: &Asked, chosen: &Chosen) -> anyhow::Result<()> {
    let all = chosen.iter().flat_map(|(connection, connector)| connector.endpoints(connection, &asked.url));
    let topics: std::collections::BTreeSet<&str> = all.map(|endpoint| endpoint.topic).collect();
    match asked.topics.iter().find(|topic| !topics.contains(topic.as_str())) {
        None => Ok(()),
        Some(topic) => {
            let known = topics.into_iter().collect::<Vec<_>>().join(", ");
            bail!("--topic {topic}: there is no such topic; there are {known}")
        }
    }
}

type Chosen = Vec<(Connection, &'static dyn Connector)>;

fn chosen(config: &std::path::Path, only: Option<&str>) -> anyhow::Result<Chosen> {
    let config = read_connections(config)?;
    let all = config.connections.values().filter(|(c, _)| only.is_none_or(|only| c.name.as_str() == only));
    let chosen: Chosen = all.map(|(connection, connector)| (connection.clone(), *connector)).collect();
    if chosen.is_empty() {
        bail!("there is no connection `{}` in the configuration", only.unwrap_or(""));
    }
    Ok(chosen)
}

fn steps(connection: &Connection, connector: &dyn Connector, url: &str) {
    say(format!("{}:", connection.name));
    for line in connector.webhook_steps(connection, url) {
        say(format!("  {line}"));
    }
}

async fn each<W>(vault: &Vault, only: Option<&str>, work: W) -> anyhow::Result<ExitCode>
where
    W: AsyncFn(&Desk<'_>) -> anyhow::Result<()>,
{
    let kept = vault.open().await?;
    let mut failed = Vec::new();
    for (connection, connector) in chosen(&vault.config, only)? {
        let name = connection.name.to_string();
        let done = async {
            let desk = Desk::of(&connection, connector, &kept, vault).await?;
            work(&desk).await
        };
        if let Err(error) = done.await {
            // The others are not held up by it.
            crate::warn(&format!("  {name}: {error:#}"));
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("not done: {}; mend what is said above and run it again", failed.join(", "))
}

/// One connection, and what a call to its provider takes.
struct Desk<'a> {
    connection: &'a Connection,
    connector: &'a dyn Connector,
    kept: &'a Kept,
    vault: &'a Vault,
    http: Arc<dyn Http>,
    secrets: Secrets,
    token: Option<Secret>,
    command: CommandId,
    now: Timestamp,
}

impl<'a> Desk<'a> {
    async fn of(
        connection: &'a Connection,
        connector: &'a dyn Connector,
        kept: &'a Kept,
        vault: &'a Vault,
    ) -> anyhow::Result<Self> {
        let policy =
            if connection.production { AddressPolicy::PublicOnly } else { AddressPolicy::AllowLoopback };
        let http: Arc<dyn Http> = Arc::new(LiveHttp::new(policy)?);
        let secrets = kept.current(connection.name.as_str()).await?;
        let mut token = None;
        if connector.registrar(connection).is_some() && connector.needs_token(connection) {
            let fetched = connector.fetch_token(connection, &secrets, http.as_ref(), LIMIT).await;
            let (fetched, _) = fetched
                .map_err(|why| Fault::of(tillway_connectors::Outcome::NotDone { after: None, why }))?;
            token = Some(fetched);
        }
        let now = SystemClock.now();
        let command = CommandId::derive(&connection.name, "webhooks", "register", &now.0.to_string());
        Ok(Self { connection, connector, kept, vault, http, secrets, token, command, now })
    }

    fn call(&self) -> Call<'_> {
        Call {
            connection: self.connection,
            secrets: &self.secrets,
            token: self.token.as_ref(),
            http: self.http.as_ref(),
            action: "webhooks",
            command: &self.command,
            generation: 0,
            prepared: &[],
            now: self.now,
            limit: LIMIT,
        }
    }

    async fn list(&self) -> anyhow::Result<()> {
        say(format!("{}:", self.connection.name));
        let Some(api) = self.connector.registrar(self.connection) else {
            say("  the provider has no API for webhooks; look there");
            return Ok(());
        };
        let there = api.list(&self.call()).await?;
        if there.is_empty() {
            say("  none");
        }
        for endpoint in there {
            let state = if endpoint.active { "on " } else { "off" };
            say(format!("  {state} {}  {}", endpoint.url, endpoint.id));
            say(format!("      {}", endpoint.types.join(", ")));
        }
        Ok(())
    }

    async fn register(&self, asked: &Asked) -> anyhow::Result<()> {
        let Asked { url, topics, dry_run, replace } = asked;
        let (dry_run, replace) = (*dry_run, *replace);
        let Some(api) = self.connector.registrar(self.connection) else {
            steps(self.connection, self.connector, url);
            return Ok(());
        };
        let there = match api.list(&self.call()).await {
            Ok(there) => there,
            Err(Fault::NoApi(why)) => {
                say(format!(
                    "{}: the provider has no API for webhooks here ({why}); by hand:",
                    self.connection.name
                ));
                steps(self.connection, self.connector, url);
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        say(format!("{}:", self.connection.name));
        let held = self.secrets.all(api.secret());
        let all = self.connector.endpoints(self.connection, url);
        let (wanted, left): (Vec<Endpoint>, Vec<Endpoint>) = all.into_iter().partition(|e| {
            e.used || topics.iter().any(|t| t == e.topic) || there.iter().any(|l| l.url == e.url)
        });
        let plan: Vec<(Endpoint, Step)> = wanted
            .into_iter()
            .map(|endpoint| {
                let step = registrar::plan(api, &endpoint, &there, held, replace);
                (endpoint, step)
            })
            .collect();
        let made = plan.iter().filter(|(_, s)| matches!(s, Step::Make | Step::Anew { .. })).count();
        if held.len().saturating_add(made) > keeping::MOST {
            bail!(
                "{} holds {} values, and {made} would be added to at most {}; take old ones away first: \
                 tillway secrets retire",
                api.secret(),
                held.len(),
                keeping::MOST
            );
        }
        for (endpoint, step) in &plan {
            self.tell(endpoint, step, dry_run);
            if !dry_run {
                self.take(api, endpoint, step).await.with_context(|| endpoint.url.clone())?;
            }
        }
        if !left.is_empty() {
            let left: Vec<&str> = left.iter().map(|e| e.topic).collect();
            say(format!(
                "  left out, as nothing but a record would be kept yet: {} (--topic)",
                left.join(", ")
            ));
        }
        self.tell_others(&plan, &there, url);
        if made > 0 && !dry_run {
            say(format!("  {made} signing secret(s) are kept in {}; {}", self.place(), self.vault.felt()));
            if made == plan.len() && !held.is_empty() {
                say(format!(
                    "  the older values stay accepted; when no delivery is under way any more:\n    \
                     tillway secrets retire {} {} --keep {made} {}",
                    self.connection.name,
                    api.secret(),
                    self.vault.shown()
                ));
            }
        }
        Ok(())
    }

    fn place(&self) -> String {
        self.kept.keeper().place(self.connection.name.as_str())
    }

    fn tell(&self, endpoint: &Endpoint, step: &Step, dry_run: bool) {
        let be = if dry_run { "would be" } else { "is" };
        let what = match step {
            Step::Keep { id } => format!("is as it should be ({id})"),
            Step::Make => format!("{be} made"),
            Step::Change { id } => format!("{be} changed ({id})"),
            Step::Anew { why, .. } => format!("{be} made anew: {why}"),
        };
        say(format!("  {} {what}", endpoint.url));
        if dry_run && !matches!(step, Step::Keep { .. }) {
            say(format!("    for {}", endpoint.types.join(", ")));
        }
    }

    /// Endpoints below our address that nobody asked for: each event would come twice.
    fn tell_others(&self, plan: &[(Endpoint, Step)], there: &[Listed], url: &str) {
        let ours = registrar::address(url, self.connection, "");
        let wanted = |l: &Listed| plan.iter().any(|(endpoint, _)| endpoint.url == l.url);
        for other in there.iter().filter(|l| l.url.starts_with(&ours) && !wanted(l)) {
            say(format!(
                "  {} ({}) is there too; events it shares with another come twice: remove it there if it is not wanted",
                other.url, other.id
            ));
        }
    }

    async fn take(&self, api: &dyn Registrar, endpoint: &Endpoint, step: &Step) -> anyhow::Result<()> {
        let call = self.call();
        match step {
            Step::Keep { .. } => {}
            Step::Change { id } => api.change(&call, id, endpoint, None).await?,
            Step::Make => self.make(api, endpoint).await?,
            Step::Anew { old, .. } => {
                self.make(api, endpoint).await?;
                for id in old {
                    api.remove(&call, id)
                        .await
                        .with_context(|| format!("{id} was replaced and is still there"))?;
                }
            }
        }
        Ok(())
    }

    /// Makes one, keeps its secret, and marks it then.
    async fn make(&self, api: &dyn Registrar, endpoint: &Endpoint) -> anyhow::Result<()> {
        let call = self.call();
        let made = api.make(&call, endpoint).await?;
        let Some(secret) = made.secret else {
            say(format!(
                "    the provider told no signing secret for {}; put it by hand: tillway secrets rotate {} {} {}",
                made.id,
                self.connection.name,
                api.secret(),
                self.vault.shown()
            ));
            return Ok(());
        };
        if let Err(error) = self.keep(api.secret(), secret.clone()).await {
            // Nobody could check what it sends.
            let removed = api.remove(&call, &made.id).await;
            let left =
                removed.err().map(|e| format!(" ({} is left there: {e})", made.id)).unwrap_or_default();
            return Err(
                error.context(format!("its signing secret could not be kept, so it was removed again{left}"))
            );
        }
        if api.changes() {
            api.change(&call, &made.id, endpoint, Some(&registrar::mark(&secret))).await?;
        }
        Ok(())
    }

    async fn keep(&self, name: &str, secret: Secret) -> anyhow::Result<()> {
        let (keeper, connection) = (self.kept.keeper(), self.connection.name.as_str());
        let mut secrets = keeper.read(connection).await?;
        keeping::add(&mut secrets, name, secret)?;
        Ok(keeper.write(connection, &secrets).await?)
    }
}
