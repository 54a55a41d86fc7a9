//! A person's desk on a deployed stack: the same engine as the functions', put together from the names that
//! `infra/template.yaml` gives. Region, account and credentials are those of the AWS configuration.
//!
//! | of `tillway-dev` | name |
//! |---|---|
//! | table | `tillway-dev`, or the restored one that is named |
//! | queues | `tillway-dev-events.fifo`, `tillway-dev-commands-<system>` |
//! | secrets | `tillway/dev/<connection>` |
//! | claim checks | `tillway-dev-claims-<account>`; `erasures/` and `settlement/` in it outlive a restore of the table |
//! | alerts | `tillway-dev-alerts` |

use std::path::Path;

use aws_sdk_s3::primitives::ByteStream;
use futures_util::future::join_all;
use tillway_core::ids::PersonId;
use tillway_engine::Engine;
use tillway_host::config::read_connections;

use crate::clients::Clients;
use crate::entry::{StartError, desk, systems};
use crate::env::Env;
use crate::keeper::SecretsManagerKeeper;
use crate::trouble;

/// Environments, the second part of a stack's name.
const ENVIRONMENTS: [&str; 3] = ["dev", "qa", "prod"];
/// Folder of erasures in the bucket.
const ERASURES: &str = "erasures/";

/// Why a stack cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// Not a stack's name.
    #[error("`{0}` is no stack: write name and environment (dev, qa or prod), such as --aws tillway-dev")]
    Name(String),
    /// No region.
    #[error("no region is known: set AWS_REGION, or `region` in the AWS configuration")]
    Region,
    /// A queue is not there.
    #[error(
        "there is no queue {queue} in region {region} of this account: look at --aws, AWS_REGION and AWS_PROFILE, and \
         whether the stack is deployed and has this system"
    )]
    NoStack {
        /// The queue that was asked for.
        queue: String,
        /// Where.
        region: String,
    },
    /// AWS does not answer, or refuses.
    #[error("AWS: {what}: {why}; look at the credentials (AWS_PROFILE, `aws sts get-caller-identity`)")]
    Aws {
        /// What was asked.
        what: String,
        /// The code.
        why: String,
    },
    /// The engine.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Names that follow from a stack's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    stack: String,
    secrets: String,
}

impl Names {
    /// Of `tillway-dev`.
    ///
    /// # Errors
    /// [`DeskError::Name`].
    pub fn of(stack: &str) -> Result<Self, DeskError> {
        let parts = stack.rsplit_once('-').filter(|(name, environment)| {
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            plain && !name.is_empty() && ENVIRONMENTS.contains(environment)
        });
        let (name, environment) = parts.ok_or_else(|| DeskError::Name(stack.to_owned()))?;
        Ok(Self { stack: stack.to_owned(), secrets: format!("{name}/{environment}") })
    }
}

/// A deployed stack.
pub struct Stack {
    names: Names,
    clients: Clients,
    region: String,
}

impl Stack {
    /// Of that name, in the region and account of the AWS configuration.
    ///
    /// # Errors
    /// [`DeskError::Name`], [`DeskError::Region`].
    pub async fn of(stack: &str) -> Result<Self, DeskError> {
        let (names, clients) = (Names::of(stack)?, Clients::of_person().await);
        let region = clients.region().ok_or(DeskError::Region)?;
        Ok(Self { names, clients, region })
    }

    /// Its secrets, to be changed.
    #[must_use]
    pub fn keeper(&self) -> SecretsManagerKeeper {
        SecretsManagerKeeper::new(self.clients.secrets(), &self.names.secrets)
    }

    async fn queue(&self, part: &str) -> Result<String, DeskError> {
        let queue = format!("{}-{part}", self.names.stack);
        let sent = self.clients.sqs().get_queue_url().queue_name(&queue).send().await;
        match sent {
            Ok(answer) => {
                answer.queue_url.ok_or_else(|| DeskError::Aws { what: queue, why: "no URL".into() })
            }
            Err(error) => match trouble::describe(&error).as_str() {
                "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" => {
                    Err(DeskError::NoStack { queue, region: self.region.clone() })
                }
                why => Err(DeskError::Aws { what: format!("queue {queue}"), why: why.to_owned() }),
            },
        }
    }

    /// The engine over the stack; `table` is one that was restored, where not the stack's own.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn engine(&self, config: &Path, table: Option<&str>) -> Result<Engine, DeskError> {
        let systems = systems(&read_connections(config).map_err(StartError::from)?);
        let events = self.queue("events.fifo").await?;
        let commands = join_all(systems.iter().map(|system| async move {
            let name = format!("TILLWAY_QUEUE_COMMANDS_{}", system.to_ascii_uppercase().replace('-', "_"));
            Ok::<_, DeskError>((name, self.queue(&format!("commands-{system}")).await?))
        }));
        let mut variables = commands.await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let stack = &self.names.stack;
        for (name, value) in [
            ("ENV", stack.clone()),
            ("CONFIG", config.display().to_string()),
            ("SECRETS", self.names.secrets.clone()),
            ("ALERTS", self.topic(account(&events)?)),
            ("CLAIMS", self.bucket(account(&events)?)),
            ("QUEUE_EVENTS", events.clone()),
            ("TABLE", table.unwrap_or(stack).to_owned()),
        ] {
            variables.push((format!("TILLWAY_{name}"), value));
        }
        Ok(desk(&Env::of(variables), self.clients.clone()).await?)
    }

    fn topic(&self, account: &str) -> String {
        let partition = match self.region.split_once('-') {
            Some(("cn", _)) => "aws-cn",
            Some(("us", rest)) if rest.starts_with("gov-") => "aws-us-gov",
            _ => "aws",
        };
        format!("arn:{partition}:sns:{}:{account}:{}-alerts", self.region, self.names.stack)
    }

    fn bucket(&self, account: &str) -> String {
        format!("{}-claims-{account}", self.names.stack)
    }

    /// Writes down who was erased, beside the table: keyed hashes, to be applied again after a restore.
    ///
    /// # Errors
    /// [`DeskError::Aws`].
    pub async fn remember(&self, persons: &[PersonId]) -> Result<(), DeskError> {
        let bucket = self.bucket(account(&self.queue("events.fifo").await?)?);
        for person in persons {
            let put = self.clients.s3().put_object().bucket(&bucket).key(format!("{ERASURES}{person}"));
            put.body(ByteStream::from_static(b"")).send().await.map_err(|e| DeskError::Aws {
                what: format!(
                    "the erasure was done and could not be written down in bucket {bucket}, so that a restore of the \
                     table would bring the person back; erase again"
                ),
                why: trouble::describe(&e),
            })?;
        }
        Ok(())
    }

    /// Everybody who was ever erased.
    ///
    /// # Errors
    /// [`DeskError::Aws`].
    pub async fn erased(&self) -> Result<Vec<PersonId>, DeskError> {
        let bucket = self.bucket(account(&self.queue("events.fifo").await?)?);
        let (mut persons, mut next) = (Vec::new(), None);
        loop {
            let list = self.clients.s3().list_objects_v2().bucket(&bucket).prefix(ERASURES);
            let answer = list.set_continuation_token(next).send().await.map_err(|e| DeskError::Aws {
                what: format!("the erasures in bucket {bucket}"),
                why: trouble::describe(&e),
            })?;
            let names = answer.contents().iter().filter_map(|o| o.key()?.strip_prefix(ERASURES));
            persons.extend(names.filter(|n| !n.is_empty()).map(PersonId::new));
            next = answer.next_continuation_token;
            if next.is_none() {
                return Ok(persons);
            }
        }
    }
}

/// The account in a queue's address: the last part but one.
fn account(url: &str) -> Result<&str, DeskError> {
    let account = url.rsplit('/').nth(1).filter(|a| a.len() == 12 && a.bytes().all(|b| b.is_ascii_digit()));
    account.ok_or_else(|| DeskError::Aws { what: "a queue's URL".into(), why: "names no account".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_stacks() {
        let names = Names::of("tillway-dev").unwrap();
        assert_eq!(names.secrets, "tillway/dev");
        assert_eq!(Names::of("my-shop-prod").unwrap().secrets, "my-shop/prod");
        for wrong in ["tillway/dev", "tillway", "tillway-test", "-dev", "Tillway-dev", ""] {
            let said = Names::of(wrong).unwrap_err().to_string();
            assert!(said.contains("--aws tillway-dev"), "{said}");
        }
    }

    #[test]
    fn the_account_stands_in_a_queues_address() {
        let of = |url: &str| account(url).ok().map(str::to_owned);
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/tillway-dev-events.fifo";
        assert_eq!(of(url).as_deref(), Some("123456789012"));
        assert_eq!(of("http://localhost:4566/000000000000/q").as_deref(), Some("000000000000"));
        assert_eq!(of("http://localhost/q"), None);
    }
}
