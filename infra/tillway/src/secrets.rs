//! `tillway secrets`: puts, rotates, retires and lists the secrets of connections. Values are asked for, or read from
//! standard input; they are never an argument and never shown.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tillway_connectors::{Secret, Secrets};
use tillway_core::check::did_you_mean;
use tillway_engine::INTAKE;
use tillway_engine::config::Config;
use tillway_engine::vault::Vault as Keys;
use tillway_host::config::read_connections;
use tillway_host::keeping::{self, EditError, OWN};

use crate::open::{Vault, say};

/// Longest standard input that is read.
const MAX_INPUT: u64 = 256 * 1024;

/// Arguments of `secrets`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway secrets put stripe api_key webhook_secret --config shop/tillway.yaml\n  \
tillway secrets put tillway master_key --aws tillway-dev --config infra/config/tillway/tillway.yaml\n  \
tillway secrets list --aws tillway-dev --config infra/config/tillway/tillway.yaml\n\n\
Besides the connections of the configuration there are `tillway` (master_key), `smtp` (username, password) and `staff` \
(webhook_url)."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Puts values: asks for each without showing it, or reads a line for each from standard input.
    #[command(
        after_help = "Example:\n  tillway secrets put stripe api_key webhook_secret --config shop/tillway.yaml\n  \
openssl rand -hex 32 | tillway secrets put tillway master_key --aws tillway-dev --config infra/config/tillway/tillway.yaml\n\n\
All values a name had before are gone; `rotate` keeps them accepted."
    )]
    Put {
        /// The connection.
        connection: String,
        /// Names of its secrets.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        vault: Vault,
    },
    /// Puts a new value before the old one: the new one is sent, both are accepted until the old one is retired.
    #[command(
        after_help = "Example:\n  tillway secrets rotate stripe webhook_secret --config shop/tillway.yaml\n  \
tillway secrets rotate shop client_secret --aws tillway-dev --config infra/config/tillway/tillway.yaml"
    )]
    Rotate {
        /// The connection.
        connection: String,
        /// Names of its secrets.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        vault: Vault,
    },
    /// Takes the old values away.
    #[command(
        after_help = "Example:\n  tillway secrets retire stripe api_key --config shop/tillway.yaml\n  \
tillway secrets retire stripe webhook_secret --keep 6 --aws tillway-dev --config infra/config/tillway/tillway.yaml"
    )]
    Retire {
        /// The connection.
        connection: String,
        /// Name of the secret.
        name: String,
        /// How many of the newest values stay [default: 1, where there are two].
        #[arg(long)]
        keep: Option<usize>,
        #[command(flatten)]
        vault: Vault,
    },
    /// Lists names, how many values each has, and the store's versions; never a value.
    #[command(after_help = "Example:\n  tillway secrets list --config shop/tillway.yaml\n  \
tillway secrets list stripe --aws tillway-dev --config infra/config/tillway/tillway.yaml")]
    List {
        /// Only this connection.
        connection: Option<String>,
        #[command(flatten)]
        vault: Vault,
    },
}

/// Does it.
///
/// # Errors
/// An unknown name, a value that is none, the store's.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Put { connection, names, vault } => {
            change(&vault, &connection, &names, "put", keeping::put).await
        }
        Command::Rotate { connection, names, vault } => {
            change(&vault, &connection, &names, "rotated", keeping::rotate).await
        }
        Command::Retire { connection, name, keep, vault } => retire(&vault, &connection, &name, keep).await,
        Command::List { connection, vault } => list(&vault, connection.as_deref()).await,
    }
}

type Edit = fn(&mut Secrets, &str, &str, Secret) -> Result<(), EditError>;

async fn change(
    vault: &Vault,
    connection: &str,
    names: &[String],
    done: &str,
    edit: Edit,
) -> anyhow::Result<ExitCode> {
    if connection == INTAKE.0 {
        bail!("{} of {} is made of the master key: put that one", INTAKE.1, INTAKE.0);
    }
    let known = known(&read_connections(&vault.config)?, connection)?;
    for (at, name) in names.iter().enumerate() {
        check_name(connection, &known, name)?;
        if names.iter().take(at).any(|before| before == name) {
            bail!("{connection}.{name} is named twice");
        }
    }
    // Before anybody types: what is kept is there and can be read.
    let kept = vault.open().await?;
    let mut secrets = kept.keeper().read(connection).await?;
    for (name, typed) in names.iter().zip(ask(connection, names)?) {
        let value = keeping::value(connection, name, typed.expose());
        value
            .and_then(|value| edit(&mut secrets, connection, name, value))
            .with_context(|| format!("{connection}.{name}; nothing is changed"))?;
    }
    let master = secrets.newest(OWN.1).filter(|_| connection == OWN.0 && vault.is_stack());
    if let Some(master) = master {
        // First, for a run that breaks off here is mended by another.
        let key = Keys::new(master.expose())?.intake_key().hex();
        let intake = Secrets([(INTAKE.1.to_owned(), vec![Secret::new(key)])].into());
        kept.keeper().write(INTAKE.0, &intake).await?;
        say(format!("put: {} of {} in {}, made of it", INTAKE.1, INTAKE.0, kept.keeper().place(INTAKE.0)));
    }
    kept.keeper().write(connection, &secrets).await?;
    let place = kept.keeper().place(connection);
    say(format!("{done}: {} of {connection} in {place}; {}", names.join(", "), vault.felt()));
    if done == "rotated" {
        let shown = vault.shown();
        say("the old values stay accepted; when nothing uses them any more:");
        for name in names {
            say(format!("  tillway secrets retire {connection} {name} {shown}"));
        }
    }
    if names.iter().any(|name| (connection, name.as_str()) == OWN) {
        say("keep a copy of the master key offline: without it people's data cannot be read again");
    }
    Ok(ExitCode::SUCCESS)
}

async fn retire(
    vault: &Vault,
    connection: &str,
    name: &str,
    keep: Option<usize>,
) -> anyhow::Result<ExitCode> {
    check_name(connection, &known(&read_connections(&vault.config)?, connection)?, name)?;
    let kept = vault.open().await?;
    let mut secrets = kept.keeper().read(connection).await?;
    let gone = keeping::retire(&mut secrets, name, keep).with_context(|| format!("{connection}.{name}"))?;
    if gone == 0 {
        say(format!("{connection}.{name} holds no older value; nothing is changed"));
        return Ok(ExitCode::SUCCESS);
    }
    kept.keeper().write(connection, &secrets).await?;
    let (place, left) = (kept.keeper().place(connection), secrets.all(name).len());
    say(format!("retired: {gone} value(s) of {connection}.{name} in {place}, {left} left; {}", vault.felt()));
    Ok(ExitCode::SUCCESS)
}

async fn list(vault: &Vault, only: Option<&str>) -> anyhow::Result<ExitCode> {
    let config = read_connections(&vault.config)?;
    let names: Vec<String> = match only {
        Some(only) => vec![only.to_owned()],
        None => {
            // One process has the master key, whatever it does; of a stack those at the edge have less.
            let ours = [OWN.0, INTAKE.0].into_iter().filter(|name| *name == OWN.0 || vault.is_stack());
            let ours = ours.map(str::to_owned);
            let others = ["smtp", "staff"].map(str::to_owned);
            ours.chain(config.connections.keys().map(ToString::to_string)).chain(others).collect()
        }
    };
    let kept = vault.open().await?;
    let mut failed = false;
    for connection in names {
        let known = known(&config, &connection)?;
        let keeper = kept.keeper();
        say(format!("{connection}  ({})", keeper.place(&connection)));
        let (secrets, versions) = match (keeper.read(&connection).await, keeper.versions(&connection).await) {
            (Ok(secrets), Ok(versions)) => (secrets, versions),
            (Err(error), _) | (_, Err(error)) => {
                say(format!("  {error}"));
                failed = true;
                continue;
            }
        };
        let named = |(name, meaning): &(&'static str, &'static str)| {
            let all = secrets.0.keys().filter(|kept| name.ends_with(".*") && fits(name, kept)).cloned();
            let mut names: Vec<(String, &str)> = all.map(|kept| (kept, *meaning)).collect();
            if names.is_empty() {
                names.push(((*name).to_owned(), *meaning));
            }
            names
        };
        for (name, meaning) in &known.iter().flat_map(named).collect::<Vec<_>>() {
            let count = match secrets.all(name).len() {
                0 => "none".to_owned(),
                1 => "1 value".to_owned(),
                count => format!("{count} values"),
            };
            say(format!("  {name:<16} {count:<10} {meaning}"));
        }
        for name in secrets.0.keys().filter(|name| !known.iter().any(|(known, _)| fits(known, name))) {
            say(format!("  {name:<16} nobody reads a secret of this name here"));
        }
        for version in versions {
            say(format!("  version {version}"));
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Names and meanings of the secrets of a connection.
fn known(config: &Config, connection: &str) -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    Ok(match connection {
        name if name == OWN.0 => vec![(OWN.1, "64 hex digits; seals people's data")],
        name if name == INTAKE.0 => {
            vec![(INTAKE.1, "made of the master key; seals events where webhooks come in")]
        }
        "smtp" => vec![("username", "mail server, where `people.smtp` is set"), ("password", "its password")],
        "staff" => vec![("webhook_url", "address of a chat's webhook, where `people.webhook: yes`")],
        _ => match config.connection(connection) {
            Some((_, connector)) => connector.secrets().to_vec(),
            None => {
                let others = config.connections.keys().map(|name| name.as_str());
                let all: Vec<&str> = others.chain([OWN.0, "smtp", "staff"]).collect();
                bail!(
                    "there is no connection `{connection}` in the configuration; there are {}",
                    all.join(", ")
                )
            }
        },
    })
}

/// Whether a name is a known one; `name.*` stands for all that begin so.
fn fits(known: &str, name: &str) -> bool {
    known == name
        || known.strip_suffix('*').is_some_and(|begins| name.len() > begins.len() && name.starts_with(begins))
}

fn check_name(connection: &str, known: &[(&str, &str)], name: &str) -> anyhow::Result<()> {
    if known.iter().any(|(known, _)| fits(known, name)) {
        return Ok(());
    }
    // What is no name may be a value that was given as an argument: it is not said again.
    let hint = did_you_mean(name, known.iter().map(|(known, _)| *known));
    bail!("that is no name of a secret of {connection}: {hint}")
}

/// A value for each name, from the keyboard or a line each from standard input.
fn ask(connection: &str, names: &[String]) -> anyhow::Result<Vec<Secret>> {
    if std::io::stdin().is_terminal() {
        let prompt = |name: &String| {
            let typed = rpassword::prompt_password(format!("{connection}.{name}: "));
            Ok(Secret::new(
                typed.context("the terminal cannot be asked; send a line each to standard input")?,
            ))
        };
        return names.iter().map(prompt).collect();
    }
    let mut lines = Vec::new();
    for line in std::io::stdin().lock().take(MAX_INPUT).lines() {
        // An error may quote what was read.
        let line = line.ok().context("standard input is not UTF-8")?;
        lines.push(Secret::new(line));
    }
    while lines.last().is_some_and(|line| line.expose().trim().is_empty()) {
        lines.pop();
    }
    if lines.len() != names.len() {
        bail!("{} lines came on standard input for {} names; send one each", lines.len(), names.len());
    }
    Ok(lines)
}
