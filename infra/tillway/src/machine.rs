//! One machine put together: SQLite, file secrets, live HTTP, and the engine over them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tillway_connectors::http::Http;
use tillway_connectors::http::live::{AddressPolicy, LiveHttp};
use tillway_core::bundle::Source;
use tillway_core::check::Problem;
use tillway_engine::config::Config;
use tillway_engine::ports::{Clock, Notify, SecretSource};
use tillway_engine::settings::{self, Extras};
use tillway_engine::{Engine, Ports};
use tillway_local::alerts::LogAlerts;
use tillway_local::entropy::OsEntropy;
use tillway_local::notify::{ByAudience, LogNotify, SmtpNotify, SmtpSettings, SmtpTls, WebhookNotify};
use tillway_local::sqlite::{Database, Options, SqliteQueue, SqliteStore};

/// Everything that runs on one machine.
pub struct Machine {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Its queues.
    pub queue: Arc<SqliteQueue>,
    /// Its store, for housekeeping.
    pub store: SqliteStore,
    /// Its alerts and counters.
    pub alerts: Arc<LogAlerts>,
    /// What the configuration says beside the engine's own part.
    pub extras: Extras,
}

/// Name of the database inside the data folder.
const DATABASE: &str = "tillway.sqlite";

/// Prints problems as a checker does, and sums them up.
pub fn problems(found: &[Problem]) -> anyhow::Error {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    anyhow!("{}\n{} problem(s)", lines.join("\n"), found.len())
}

/// Reads every YAML file below a folder, sorted by name.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn yaml_files(folder: &Path) -> anyhow::Result<Vec<Source>> {
    let mut out = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read the folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
            if path.is_dir() {
                open.push(path);
            } else if yaml {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                out.push(Source { file: path.display().to_string(), text });
            }
        }
    }
    out.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(out)
}

/// Reads the configuration file, with the merchant's overrides from the folder `flows` beside it and notices
/// from the folder `notices`, where these are.
///
/// # Errors
/// Every problem, with file and line.
pub fn read_config(file: &Path) -> anyhow::Result<(Config, Extras)> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("cannot read the configuration {}; `tillway serve --help` shows one", file.display())
    })?;
    let beside = file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let flows = beside.join("flows");
    let overrides = if flows.is_dir() { yaml_files(&flows)? } else { Vec::new() };
    let mut notices = tillway_templates::notices();
    let own = beside.join("notices");
    if own.is_dir() {
        for entry in std::fs::read_dir(&own)? {
            let path = entry?.path();
            if let (Some(name), true) = (path.file_stem(), path.extension().is_some_and(|e| e == "txt")) {
                notices.insert(name.to_string_lossy().into_owned(), std::fs::read_to_string(&path)?);
            }
        }
    }
    let name = file.display().to_string();
    settings::load(&name, &text, &tillway_templates::sources(), &overrides, notices).map_err(|p| problems(&p))
}

/// Puts a machine together.
///
/// # Errors
/// What cannot be opened or read, with what to do.
pub async fn assemble(
    config: Config,
    extras: Extras,
    data: &Path,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn SecretSource>,
    notify: Option<Arc<dyn Notify>>,
) -> anyhow::Result<Machine> {
    std::fs::create_dir_all(data)
        .with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let database = Database::open(&data.join(DATABASE), Options::new(clock.clone()))
        .with_context(|| format!("cannot open the database in {}", data.display()))?;
    let production = config.connections.values().any(|(c, _)| c.production);
    let policy = if production { AddressPolicy::PublicOnly } else { AddressPolicy::AllowLoopback };
    let http: Arc<dyn Http> = Arc::new(LiveHttp::new(policy)?);
    let (notify, told) = match notify {
        Some(notify) => (notify, true),
        None => channels(&extras.people, &http, &secrets)?,
    };
    let alerts = LogAlerts::new(clock.clone());
    let alerts = Arc::new(if told { alerts.with_channel(notify.clone()) } else { alerts });
    let queue = Arc::new(database.queue());
    let ports = Ports {
        store: Arc::new(database.store()),
        queue: queue.clone(),
        clock,
        entropy: Arc::new(OsEntropy),
        secrets,
        http,
        notify,
        alerts: alerts.clone(),
    };
    let engine = Engine::new(Arc::new(config), ports).await.context(
        "the secrets file needs the line `tillway.master_key = <64 hex digits>`; make one with `openssl rand -hex 32`",
    )?;
    Ok(Machine { engine: Arc::new(engine), queue, store: database.store(), alerts, extras })
}

/// The ways to tell people: `people.smtp.*` for customers (and staff), `people.webhook: yes` for staff by a
/// webhook such as Slack's; without either a log line. Tells also whether staff can be told.
fn channels(
    people: &BTreeMap<String, String>,
    http: &Arc<dyn Http>,
    secrets: &Arc<dyn SecretSource>,
) -> anyhow::Result<(Arc<dyn Notify>, bool)> {
    let known = ["smtp.host", "smtp.port", "smtp.tls", "smtp.from", "smtp.staff", "webhook"];
    if let Some(name) = people.keys().find(|k| !known.contains(&k.as_str())) {
        bail!("people.{name} is no setting; there are {}", known.map(|k| format!("people.{k}")).join(", "));
    }
    let text = |name: &str| people.get(name).map(String::as_str);
    let mut customer: Arc<dyn Notify> = Arc::new(LogNotify);
    let mut staff: Arc<dyn Notify> = Arc::new(LogNotify);
    if let Some(host) = text("smtp.host") {
        let tls = SmtpTls::parse(text("smtp.tls").unwrap_or("starttls"))
            .ok_or_else(|| anyhow!("people.smtp.tls is one of starttls, tls, none"))?;
        let smtp = SmtpNotify::new(
            SmtpSettings {
                host: host.to_owned(),
                port: text("smtp.port").unwrap_or("587").parse().context("people.smtp.port is a number")?,
                tls,
                from: text("smtp.from")
                    .ok_or_else(|| anyhow!("people.smtp.from is missing; set the sender"))?
                    .to_owned(),
                staff: text("smtp.staff")
                    .unwrap_or_default()
                    .split(',')
                    .filter(|a| !a.is_empty())
                    .map(str::to_owned)
                    .collect(),
                connection: "smtp".to_owned(),
                limit: Duration::from_secs(20),
            },
            secrets.clone(),
        )?;
        customer = Arc::new(smtp);
        staff = customer.clone();
    }
    if text("webhook") == Some("yes") {
        staff = Arc::new(WebhookNotify::new(http.clone(), secrets.clone(), "staff"));
    }
    let told = text("smtp.host").is_some() || text("webhook") == Some("yes");
    Ok((Arc::new(ByAudience { customer, staff }), told))
}
