//! The configuration folder: `tillway.yaml`, and beside it `settlement.yaml`, `flows/` and `notices/`.

use std::path::{Path, PathBuf};

use tillway_connectors::{Connection, Connector, Needed};
use tillway_core::bundle::Source;
use tillway_core::check::Problem;
use tillway_engine::config::Config;
use tillway_engine::ports::{SecretError, SecretSource};
use tillway_engine::settings::{self, Extras};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder cannot be read.
    #[error("cannot read {what} {}: {why}{}", path.display(), hint(what))]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// Problems with file, line and hint, as a checker prints them.
    #[error("{}\n{} problem(s)", lines(.0), .0.len())]
    Problems(Vec<Problem>),
    /// A setting of `people`.
    #[error("{0}")]
    People(String),
}

fn hint(what: &str) -> &'static str {
    if what == "the configuration" { "; `tillway serve --help` shows one" } else { "" }
}

fn lines(found: &[Problem]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn unreadable(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ConfigError {
    let path = path.to_owned();
    move |why| ConfigError::Unreadable { what, path, why }
}

/// Reads every YAML file below a folder, sorted by name.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn yaml_files(folder: &Path) -> Result<Vec<Source>, ConfigError> {
    let mut out = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(unreadable("the folder", &folder))? {
            let path = entry.map_err(unreadable("the folder", &folder))?.path();
            let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
            if path.is_dir() {
                open.push(path);
            } else if yaml {
                let text = std::fs::read_to_string(&path).map_err(unreadable("the file", &path))?;
                out.push(Source { file: path.display().to_string(), text });
            }
        }
    }
    out.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(out)
}

fn read_text(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file).map_err(unreadable("the configuration", file))
}

/// Reads the configuration file, with the merchant's overrides from the folder `flows` beside it, notices from the
/// folder `notices`, and how connections are settled from `settlement.yaml`, where these are.
///
/// # Errors
/// Every problem, with file and line.
pub fn read_config(file: &Path) -> Result<(Config, Extras), ConfigError> {
    let text = read_text(file)?;
    let beside = file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let flows = beside.join("flows");
    let overrides = if flows.is_dir() { yaml_files(&flows)? } else { Vec::new() };
    let mut notices = tillway_templates::notices();
    let own = beside.join("notices");
    if own.is_dir() {
        for entry in std::fs::read_dir(&own).map_err(unreadable("the folder", &own))? {
            let path = entry.map_err(unreadable("the folder", &own))?.path();
            if let (Some(name), true) = (path.file_stem(), path.extension().is_some_and(|e| e == "txt")) {
                let text = std::fs::read_to_string(&path).map_err(unreadable("the notice", &path))?;
                notices.insert(name.to_string_lossy().into_owned(), text);
            }
        }
    }
    let name = file.display().to_string();
    let (mut config, extras) =
        settings::load(&name, &text, &tillway_templates::sources(), &overrides, notices)
            .map_err(ConfigError::Problems)?;
    let own = beside.join("settlement.yaml");
    if own.is_file() {
        let text = std::fs::read_to_string(&own).map_err(unreadable("the file", &own))?;
        tillway_engine::settle::settings::load(&mut config, &own.display().to_string(), &text)
            .map_err(ConfigError::Problems)?;
    }
    Ok((config, extras))
}

/// Reads the connections alone, without the time the flows take to check.
///
/// # Errors
/// Every problem of the connections, with file and line.
pub fn read_connections(file: &Path) -> Result<Config, ConfigError> {
    let text = read_text(file)?;
    settings::load_connections(&file.display().to_string(), &text).map_err(ConfigError::Problems)
}

/// The same for a function that takes webhooks in and does nothing else.
///
/// # Errors
/// As [`read_connections`].
pub fn read_receiving(file: &Path) -> Result<Config, ConfigError> {
    let text = read_text(file)?;
    settings::load_receiving(&file.display().to_string(), &text).map_err(ConfigError::Problems)
}

/// Reads a connection's secrets, and sees that none is missing that it cannot do without for this.
///
/// # Errors
/// [`SecretError`]: they cannot be read, or the first that is missing, by name.
pub async fn have_secrets(
    source: &dyn SecretSource,
    connection: &Connection,
    connector: &dyn Connector,
    needed: &[Needed],
) -> Result<(), SecretError> {
    let secrets = source.secrets(connection.name.as_str(), false).await?;
    match needed.iter().find_map(|what| connector.lacks(connection, &secrets, *what)) {
        None => Ok(()),
        Some(name) => Err(SecretError::Lacking { connection: connection.name.to_string(), name }),
    }
}
