//! What the commands that look into a data folder share.

use std::path::PathBuf;
use std::sync::Arc;

use tillway_local::clock::SystemClock;

use crate::machine::{self, Machine};

/// Where configuration, data and secrets are.
#[derive(clap::Args, Clone)]
pub struct Place {
    /// Configuration file, as given to `serve`.
    #[arg(long)]
    pub config: PathBuf,
    /// Data folder, as given to `serve`.
    #[arg(long)]
    pub data: PathBuf,
    /// Secrets file [default: secrets beside the configuration].
    #[arg(long)]
    pub secrets: Option<PathBuf>,
}

impl Place {
    /// Opens the machine without starting its workers; a running `serve` on the same data goes on.
    ///
    /// # Errors
    /// What cannot be opened, with what to do.
    pub async fn open(&self) -> anyhow::Result<Machine> {
        if !self.data.is_dir() {
            anyhow::bail!("there is no data folder {}; give the one `serve` uses", self.data.display());
        }
        let (config, extras) = machine::read_config(&self.config)?;
        let secrets = crate::serve::secrets_of(&self.config, self.secrets.clone())?;
        machine::assemble(config, extras, &self.data, Arc::new(SystemClock), secrets, None).await
    }
}

/// Writes a line to standard output; a closed pipe is nobody's fault.
pub fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Who is at the keyboard, for the audit.
#[must_use]
pub fn who() -> String {
    #[expect(clippy::disallowed_methods, reason = "the audit names the login")]
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    user.unwrap_or_else(|_| "unknown".to_owned())
}
