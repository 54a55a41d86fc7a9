//! [`SecretKeeper`] over the secrets file: the lines of one connection are changed, all others and every comment
//! stay. The new file is written beside the old one and takes its place, so that nobody reads half of it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use async_trait::async_trait;
use tillway_connectors::Secrets;
use tillway_engine::ports::SecretError;
use tillway_host::keeping::SecretKeeper;

use crate::secrets::FileSecrets;

#[async_trait]
impl SecretKeeper for FileSecrets {
    async fn read(&self, connection: &str) -> Result<Secrets, SecretError> {
        Ok(self.of_file(connection, true)?.unwrap_or_default())
    }

    async fn write(&self, connection: &str, secrets: &Secrets) -> Result<(), SecretError> {
        // Reads it first: a file that others can read is refused, and so is one with a line that is none.
        let before = self.of_file(connection, true)?.unwrap_or_default();
        for (name, _) in secrets.0.iter().filter(|(name, values)| before.0.get(*name) != Some(values)) {
            if let Some(variable) = self.variable(connection, name) {
                let told = format!("{variable} takes the place of {connection}.{name}; change it there");
                return Err(SecretError::Refused(told));
            }
        }
        let text = match std::fs::read_to_string(self.path()) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(self.unwritable(&error)),
        };
        self.replace(&edited(&text, connection, secrets)).map_err(|error| self.unwritable(&error))
    }

    async fn versions(&self, _connection: &str) -> Result<Vec<String>, SecretError> {
        Ok(Vec::new())
    }

    fn place(&self, _connection: &str) -> String {
        self.path().display().to_string()
    }
}

impl FileSecrets {
    fn replace(&self, text: &str) -> std::io::Result<()> {
        // Where it is a link, what it leads to is replaced.
        let path = std::fs::canonicalize(self.path()).unwrap_or_else(|_| self.path().to_owned());
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        let written = like(&path, &file).and_then(|()| file.write_all(text.as_bytes()));
        let written = written.and_then(|()| file.sync_all());
        let moved = written.and_then(|()| std::fs::rename(&beside, &path));
        if moved.is_err() {
            let _left = std::fs::remove_file(&beside);
        }
        moved
    }

    fn unwritable(&self, error: &std::io::Error) -> SecretError {
        // Two who write at once find each other's new file.
        let path = self.path().display();
        let hint = if error.kind() == ErrorKind::AlreadyExists {
            format!("; {path}.new is there: another one writes, or was killed doing so - then remove it")
        } else {
            String::new()
        };
        SecretError::Refused(format!("secrets file {path} cannot be written: {}{hint}", error.kind()))
    }
}

/// Gives it the old file's owner: who runs `serve` reads it, whoever writes it.
#[cfg(unix)]
fn like(old: &std::path::Path, new: &File) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::metadata(old) {
        Ok(old) if old.uid() != new.metadata()?.uid() => {
            std::os::unix::fs::fchown(new, Some(old.uid()), Some(old.gid()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn like(_old: &std::path::Path, _new: &File) -> std::io::Result<()> {
    Ok(())
}

/// The text with these values of the connection, each name where it stood first, new ones at the end.
fn edited(text: &str, connection: &str, secrets: &Secrets) -> String {
    let mut out = String::with_capacity(text.len());
    let mut left = secrets.0.clone();
    let mut line_of = |out: &mut String, name: &str| {
        for value in left.remove(name).into_iter().flatten() {
            // Writing into a String does not fail.
            let _ = writeln!(out, "{connection}.{name} = {}", value.expose());
        }
    };
    for line in text.lines() {
        let named = line.trim().split_once('=').filter(|_| !line.trim().starts_with('#'));
        let named = named.and_then(|(left, _)| left.split_once('.'));
        match named.filter(|(of, _)| of.trim() == connection) {
            Some((_, name)) => line_of(&mut out, name.trim()),
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    for name in secrets.0.keys() {
        line_of(&mut out, name);
    }
    out
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tillway_connectors::Secret;

    use super::*;

    fn of(pairs: &[(&str, &[&str])]) -> Secrets {
        let values = |v: &[&str]| v.iter().map(|s| Secret::new(*s)).collect();
        Secrets(pairs.iter().map(|(n, v)| ((*n).to_owned(), values(v))).collect())
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        let text = "# ours\na.x = 1\nb.y=2\n a.x = 0\n# a.x = old\n";
        let got = edited(text, "a", &of(&[("x", &["3", "1"]), ("z", &["9"])]));
        assert_eq!(got, "# ours\na.x = 3\na.x = 1\nb.y=2\n# a.x = old\na.z = 9\n");
        assert_eq!(edited("a.x = 1\nb.y = 2", "a", &of(&[])), "b.y = 2\n");
    }

    #[tokio::test]
    async fn a_file_is_made_for_its_owner_alone_and_variables_win() {
        let folder = std::env::temp_dir().join(format!("tillway-keeper-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("secrets");
        let variable = ("TILLWAY_SECRET__B__Y".to_owned(), "v".to_owned());
        let keeper = FileSecrets::new(&path, [variable]).unwrap();
        let secrets = of(&[("x", &["new", "old"])]);
        keeper.write("a", &secrets).await.unwrap();
        assert_eq!(keeper.read("a").await.unwrap(), secrets);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let said = keeper.write("b", &of(&[("y", &["canary"])])).await.unwrap_err().to_string();
        assert!(said.contains("TILLWAY_SECRET__B__Y") && !said.contains("canary"), "{said}");
        std::fs::write(folder.join("secrets.new"), "").unwrap();
        let said = keeper.write("a", &of(&[])).await.unwrap_err().to_string();
        assert!(said.contains("secrets.new"), "{said}");
        assert_eq!(keeper.read("a").await.unwrap(), secrets);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
