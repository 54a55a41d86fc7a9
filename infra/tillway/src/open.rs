//! What the commands share that look into a data folder or a stack: where things are, and opening them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tillway_connectors::Secrets;
use tillway_core::ids::PersonId;
use tillway_engine::Engine;
use tillway_engine::ports::{SecretError, SecretSource as _};
use tillway_host::keeping::SecretKeeper;
use tillway_local::clock::SystemClock;
use tillway_local::secrets::FileSecrets;

use crate::machine;
use crate::stack::Stack;

/// Where configuration and secrets are.
#[derive(clap::Args, Clone)]
pub struct Vault {
    /// Configuration file, as given to `serve`; of a stack the one in its layer.
    #[arg(long)]
    pub config: PathBuf,
    /// Secrets file [default: secrets beside the configuration].
    #[arg(long, conflicts_with = "aws")]
    pub secrets: Option<PathBuf>,
    /// A stack in an AWS account, by name and environment, e.g. tillway-dev.
    #[arg(long, value_name = "STACK")]
    pub aws: Option<String>,
}

/// Where configuration, secrets and data are.
#[derive(clap::Args, Clone)]
pub struct Place {
    #[command(flatten)]
    vault: Vault,
    /// Data folder, as given to `serve`.
    #[arg(long, required_unless_present = "aws", conflicts_with = "aws")]
    data: Option<PathBuf>,
    /// Table of the stack that was restored from a backup [default: the stack's own].
    #[arg(long, value_name = "TABLE", requires = "aws")]
    table: Option<String>,
}

/// What a command works on.
pub struct Opened {
    /// The engine.
    pub engine: Arc<Engine>,
    erasures: Erasures,
}

/// Where erasures are written down beside the store, to be applied again after a restore: keyed hashes.
enum Erasures {
    /// A file of the data folder, one a line.
    File(PathBuf),
    /// The stack's bucket.
    Stack(Box<Stack>),
}

/// Name of the list of erasures inside the data folder.
pub const ERASURES: &str = "erasures";

impl Place {
    /// Opens it without starting workers; a running `serve`, or the functions, go on.
    ///
    /// # Errors
    /// What cannot be opened, with what to do.
    pub async fn open(&self) -> anyhow::Result<Opened> {
        if let Some(stack) = &self.vault.aws {
            let stack = Stack::of(stack).await?;
            let engine = stack.engine(&self.vault.config, self.table.as_deref()).await?;
            return Ok(Opened { engine: Arc::new(engine), erasures: Erasures::Stack(Box::new(stack)) });
        }
        let Some(data) = self.data.as_deref().filter(|data| data.is_dir()) else {
            let data = self.data.as_deref().unwrap_or(Path::new("")).display();
            anyhow::bail!("there is no data folder {data}; give the one `serve` uses");
        };
        let (config, extras) = machine::read_config(&self.vault.config)?;
        let secrets = crate::serve::secrets_of(&self.vault.config, self.vault.secrets.clone())?;
        let machine = machine::assemble(config, extras, data, Arc::new(SystemClock), secrets, None).await?;
        Ok(Opened { engine: machine.engine, erasures: Erasures::File(data.join(ERASURES)) })
    }
}

impl Opened {
    /// Writes down who was erased.
    ///
    /// # Errors
    /// What cannot be written.
    pub async fn remember(&self, persons: &[PersonId]) -> anyhow::Result<()> {
        use std::io::Write as _;
        match &self.erasures {
            Erasures::Stack(stack) => Ok(stack.remember(persons).await?),
            Erasures::File(path) => {
                let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
                for person in persons {
                    writeln!(file, "{person}")?;
                }
                Ok(file.sync_all()?)
            }
        }
    }

    /// Everybody who was ever erased.
    ///
    /// # Errors
    /// What cannot be read.
    pub async fn erased(&self) -> anyhow::Result<Vec<PersonId>> {
        match &self.erasures {
            Erasures::Stack(stack) => Ok(stack.erased().await?),
            Erasures::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.lines().filter(|l| !l.is_empty()).map(PersonId::new).collect()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// What starts the work again, for messages.
    #[must_use]
    pub fn worker(&self) -> &'static str {
        match self.erasures {
            Erasures::File(_) => "`tillway serve`",
            Erasures::Stack(_) => "the functions (`sam deploy … Paused=no RestoredTable=…`)",
        }
    }
}

/// Secrets that can be changed.
pub enum Kept {
    /// Of one machine.
    File(FileSecrets),
    /// Of a stack.
    Stack(Box<dyn SecretKeeper>),
}

impl Vault {
    /// Opens the secrets.
    ///
    /// # Errors
    /// What cannot be opened, with what to do.
    pub async fn open(&self) -> anyhow::Result<Kept> {
        Ok(match &self.aws {
            Some(stack) => Kept::Stack(Box::new(Stack::of(stack).await?.keeper())),
            None => Kept::File(crate::serve::file_secrets(&self.config, self.secrets.clone())?),
        })
    }

    /// Whether it is a stack's.
    #[must_use]
    pub const fn is_stack(&self) -> bool {
        self.aws.is_some()
    }

    /// The options again, for the command that a message proposes.
    #[must_use]
    pub fn shown(&self) -> String {
        let config = format!("--config {}", self.config.display());
        match (&self.aws, &self.secrets) {
            (Some(stack), _) => format!("{config} --aws {stack}"),
            (None, Some(file)) => format!("{config} --secrets {}", file.display()),
            (None, None) => config,
        }
    }

    /// When a change is felt, for messages.
    #[must_use]
    pub fn felt(&self) -> &'static str {
        if self.aws.is_some() {
            "functions read it within five minutes"
        } else {
            "a running serve reads it at once"
        }
    }
}

impl Kept {
    /// What changes them.
    #[must_use]
    pub fn keeper(&self) -> &dyn SecretKeeper {
        match self {
            Self::File(secrets) => secrets,
            Self::Stack(keeper) => keeper.as_ref(),
        }
    }

    /// What is used of a connection now: on one machine, variables take the place of the file.
    ///
    /// # Errors
    /// The store's.
    pub async fn current(&self, connection: &str) -> Result<Secrets, SecretError> {
        match self {
            Self::Stack(keeper) => keeper.read(connection).await,
            Self::File(secrets) => match secrets.secrets(connection, true).await {
                Err(SecretError::Missing(_)) => Ok(Secrets::default()),
                other => other,
            },
        }
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
