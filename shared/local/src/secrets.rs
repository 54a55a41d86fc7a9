//! Secrets from a file that its owner alone can read, and from the environment.
//!
//! ```text
//! # one per line; of several values of one name the first is the newest, the others are still accepted
//! stripe-main.api_key        = sk_live_…
//! stripe-main.webhook_secret = whsec_new…
//! stripe-main.webhook_secret = whsec_old…
//! ```
//! A variable `TILLWAY_SECRET__STRIPE_MAIN__API_KEY` takes the place of all values of `stripe-main.api_key`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use tillway_connectors::{Secret, Secrets};
use tillway_engine::ports::{SecretError, SecretSource};

/// Prefix of variables that hold secrets.
pub const VARIABLE_PREFIX: &str = "TILLWAY_SECRET__";

/// Largest file that is read.
const MAX_FILE: u64 = 1024 * 1024;

type ByConnection = BTreeMap<String, Secrets>;

/// [`SecretSource`] over a file and variables. The file is read again when it changed.
pub struct FileSecrets {
    path: PathBuf,
    /// By connection and name as variables spell them.
    variables: BTreeMap<String, Secrets>,
    cache: Mutex<Option<Cached>>,
}

struct Cached {
    stamp: Stamp,
    secrets: ByConnection,
}

/// Tells one state of the file from another.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl FileSecrets {
    /// Takes the path of the file (which may be absent) and the process's variables, of which those that
    /// begin with [`VARIABLE_PREFIX`] count.
    ///
    /// # Errors
    /// [`SecretError::Refused`] for a variable of that prefix that names no connection and secret, or is
    /// empty.
    pub fn new(
        path: impl Into<PathBuf>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SecretError> {
        let mut known = BTreeMap::<String, Secrets>::new();
        for (variable, value) in variables {
            let Some(rest) = variable.strip_prefix(VARIABLE_PREFIX) else { continue };
            let (connection, name) = rest
                .split_once("__")
                .filter(|(connection, name)| !connection.is_empty() && !name.is_empty())
                .ok_or_else(|| {
                    SecretError::Refused(format!(
                        "{variable}: should be {VARIABLE_PREFIX}<CONNECTION>__<NAME>"
                    ))
                })?;
            let value = value.trim();
            if value.is_empty() {
                return Err(SecretError::Refused(format!("{variable} is empty")));
            }
            let secrets = known.entry(connection.to_owned()).or_default();
            secrets.0.insert(name.to_ascii_lowercase(), vec![Secret::new(value)]);
        }
        Ok(Self { path: path.into(), variables: known, cache: Mutex::new(None) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The variable that takes the place of a name, where there is one.
    pub(crate) fn variable(&self, connection: &str, name: &str) -> Option<String> {
        let connection = as_variable(connection);
        self.variables.get(&connection)?.0.get(&name.to_ascii_lowercase())?;
        Some(format!("{VARIABLE_PREFIX}{connection}__{}", name.to_ascii_uppercase()))
    }

    pub(crate) fn of_file(&self, connection: &str, fresh: bool) -> Result<Option<Secrets>, SecretError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&self.path, &error)),
        };
        // Of the open file and not of its path: what is checked is what is read.
        let about = file.metadata().map_err(|error| unreadable(&self.path, &error))?;
        refuse_shared(&self.path, &about)?;
        let stamp = Stamp { modified: about.modified().ok(), length: about.len() };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if !fresh
            && let Some(cached) = cache.as_ref()
            && cached.stamp == stamp
        {
            return Ok(cached.secrets.get(connection).cloned());
        }
        let mut text = String::new();
        Read::by_ref(&mut file)
            .take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(|error| unreadable(&self.path, &error))?;
        let secrets = parse(&text).map_err(|(line, what)| {
            SecretError::Refused(format!("{} line {line}: {what}", self.path.display()))
        })?;
        let found = secrets.get(connection).cloned();
        *cache = Some(Cached { stamp, secrets });
        Ok(found)
    }
}

#[async_trait]
impl SecretSource for FileSecrets {
    async fn secrets(&self, connection: &str, fresh: bool) -> Result<Secrets, SecretError> {
        let mut found = self.of_file(connection, fresh)?;
        if let Some(variables) = self.variables.get(&as_variable(connection)) {
            found.get_or_insert_default().0.extend(variables.0.clone());
        }
        found.ok_or_else(|| SecretError::Missing(connection.to_owned()))
    }
}

/// `stripe-main` as a part of a variable's name.
fn as_variable(connection: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    connection.chars().map(upper).collect()
}

fn unreadable(path: &Path, error: &std::io::Error) -> SecretError {
    // An error's text may quote what was read where it is no UTF-8; its kind does not.
    SecretError::Refused(format!("secrets file {} cannot be read: {}", path.display(), error.kind()))
}

#[cfg(unix)]
fn refuse_shared(path: &Path, about: &std::fs::Metadata) -> Result<(), SecretError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(SecretError::Refused(format!(
            "secrets file {path} can be read by others (mode {mode:o}); run: chmod 600 {path}"
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_shared(_path: &Path, _about: &std::fs::Metadata) -> Result<(), SecretError> {
    Ok(())
}

/// Reads the lines; an error names the line and never shows it.
fn parse(text: &str) -> Result<ByConnection, (usize, &'static str)> {
    let mut all = ByConnection::new();
    for (index, line) in text.lines().enumerate() {
        let number = index.saturating_add(1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (left, value) = line.split_once('=').ok_or((number, "should be `connection.name = value`"))?;
        let (connection, name) =
            left.split_once('.').ok_or((number, "the part before `=` should be `connection.name`"))?;
        let (connection, name, value) = (connection.trim(), name.trim(), value.trim());
        let plain = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        if !plain(connection) || !plain(name) {
            return Err((number, "connection and name are letters, digits, `-`, `_` and `.`"));
        }
        if value.is_empty() {
            return Err((number, "the value is empty"));
        }
        all.entry(connection.to_owned())
            .or_default()
            .0
            .entry(name.to_owned())
            .or_default()
            .push(Secret::new(value));
    }
    Ok(all)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Temp(PathBuf);
    impl Temp {
        fn new(text: &str) -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let name =
                format!("tillway-secrets-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
            let temp = Self(std::env::temp_dir().join(name));
            temp.write(text, 0o600);
            temp
        }
        fn write(&self, text: &str, mode: u32) {
            std::fs::write(&self.0, text).unwrap();
            std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        fn secrets(&self) -> FileSecrets {
            FileSecrets::new(&self.0, []).unwrap()
        }
    }
    impl Drop for Temp {
        fn drop(&mut self) {
            let _gone = std::fs::remove_file(&self.0);
        }
    }

    fn shown(secrets: &Secrets, name: &str) -> Vec<String> {
        secrets.all(name).iter().map(|secret| secret.expose().to_owned()).collect()
    }

    #[tokio::test]
    async fn several_values_come_newest_first() {
        let file = Temp::new(
            "# ours\nstripe-main.api_key = sk_a=b#c \n\nstripe-main.hook=new\nstripe-main.hook = old\nzoho.x = y\n",
        );
        let found = file.secrets().secrets("stripe-main", false).await.unwrap();
        assert_eq!(shown(&found, "api_key"), ["sk_a=b#c"]);
        assert_eq!(shown(&found, "hook"), ["new", "old"]);
        assert_eq!(found.0.len(), 2);
        let missing = file.secrets().secrets("nobody", false).await;
        assert_eq!(missing, Err(SecretError::Missing("nobody".into())));
    }

    #[tokio::test]
    async fn a_file_others_can_read_is_refused() {
        let file = Temp::new("a.b = canary");
        let secrets = file.secrets();
        secrets.secrets("a", false).await.unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            file.write("a.b = canary", mode);
            let Err(SecretError::Refused(what)) = secrets.secrets("a", false).await else {
                panic!("mode {mode:o} was accepted")
            };
            assert!(what.contains(&format!("chmod 600 {}", file.0.display())), "{what}");
        }
        file.write("a.b = canary", 0o400);
        secrets.secrets("a", false).await.unwrap();
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again() {
        let file = Temp::new("a.b = one");
        let secrets = file.secrets();
        assert_eq!(shown(&secrets.secrets("a", false).await.unwrap(), "b"), ["one"]);
        file.write("a.b = two!", 0o600);
        assert_eq!(shown(&secrets.secrets("a", false).await.unwrap(), "b"), ["two!"]);
        // Same length and, by hand, same time: only `fresh` sees it.
        let modified = std::fs::metadata(&file.0).unwrap().modified().unwrap();
        file.write("a.b = tre!", 0o600);
        File::options().write(true).open(&file.0).unwrap().set_modified(modified).unwrap();
        assert_eq!(shown(&secrets.secrets("a", false).await.unwrap(), "b"), ["two!"]);
        assert_eq!(shown(&secrets.secrets("a", true).await.unwrap(), "b"), ["tre!"]);
    }

    #[tokio::test]
    async fn errors_name_the_line_and_never_the_value() {
        for (line, text) in
            [(1, "canary"), (3, "a.b = c\n\ncanary = x"), (2, "a.b = c\na b.c = canary"), (1, "a.b =")]
        {
            let file = Temp::new(text);
            let Err(SecretError::Refused(what)) = file.secrets().secrets("a", false).await else {
                panic!("accepted: {text}")
            };
            assert!(what.contains(&format!("line {line}:")), "{what}");
            assert!(!what.contains("canary"), "{what}");
        }
    }

    #[tokio::test]
    async fn variables_take_the_place_of_the_file() {
        let file = Temp::new("stripe-main.api_key = file\nstripe-main.api_key = older\nstripe-main.hook = h");
        let variables = [
            ("TILLWAY_SECRET__STRIPE_MAIN__API_KEY", "variable"),
            ("TILLWAY_SECRET__SMTP__PASSWORD", "p"),
            ("HOME", "/root"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = FileSecrets::new(&file.0, variables.clone()).unwrap();
        let found = secrets.secrets("stripe-main", false).await.unwrap();
        assert_eq!(shown(&found, "api_key"), ["variable"]);
        assert_eq!(shown(&found, "hook"), ["h"]);
        let without = FileSecrets::new("/nonexistent/secrets", variables).unwrap();
        assert_eq!(shown(&without.secrets("smtp", true).await.unwrap(), "password"), ["p"]);
        assert!(FileSecrets::new("x", [("TILLWAY_SECRET__STRIPE".to_owned(), "x".to_owned())]).is_err());
        assert!(FileSecrets::new("x", [("TILLWAY_SECRET__A__B".to_owned(), " ".to_owned())]).is_err());
    }
}
