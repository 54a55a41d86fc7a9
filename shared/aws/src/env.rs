//! The environment of a function: the one place where it is read.
//!
//! | variable | what | who |
//! |---|---|---|
//! | `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | region and role, from Lambda | all |
//! | `AWS_SDK_UA_APP_ID` | name that calls bear in AWS's logs | all |
//! | `AWS_ENDPOINT_URL`, `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT` | other addresses of AWS's services | who needs them |
//! | `TILLWAY_ENV` | name of the environment, on metrics and alerts | all |
//! | `TILLWAY_CONFIG` | path of `tillway.yaml`; default: where the layer puts it | all |
//! | `TILLWAY_SECRETS` | prefix of the secrets' names, e.g. `tillway/dev` | all |
//! | `TILLWAY_ALERTS` | ARN of the topic of alerts | all |
//! | `TILLWAY_QUEUE_EVENTS` | URL of the events queue | all |
//! | `TILLWAY_CLAIMS` | bucket of large message bodies | all |
//! | `TILLWAY_TABLE` | table | all but webhooks |
//! | `TILLWAY_QUEUE_COMMANDS_<SYSTEM>` | URL of a system's commands queue (`_NOTIFY` for notices) | orchestrate, tick; a worker its own, to give a message back early |
//! | `TILLWAY_CONCURRENCY` | how many of this function run at most: the rate limit of a connection is shared among them; default 1 | whoever calls a system |
//! | `TILLWAY_ALLOW` | addresses that may send webhooks, CIDRs with commas; default: all | webhooks |
//! | `TILLWAY_LOG` | level of the log, e.g. `info` or `warn,tillway_engine=debug`; default `info`. Others' lines (SDK, HTTP) from `warn` alone, unless they are named | all |

use std::collections::BTreeMap;
use std::path::PathBuf;

use tillway_engine::allow::{FORM, Networks};

/// Where the layer with the configuration is mounted.
const CONFIG: &str = "/opt/tillway/tillway.yaml";
/// Whoever asks for more of ours is not given what others say of it: the SDK tells of every identity it loads, and who
/// carries a request tells of its parts.
const OTHERS: [&str; 8] =
    ["aws_config", "aws_runtime", "aws_sigv4", "aws_smithy_runtime", "h2", "hyper", "hyper_util", "rustls"];

/// What is wrong with the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A variable is not set, or empty.
    #[error("the variable {0} is not set; the template sets it for each function that needs it")]
    Missing(String),
    /// A variable of Lambda's is not set, or empty.
    #[error("the variable {0} is not set; Lambda sets it for each function")]
    Absent(&'static str),
    /// A variable says what it cannot.
    #[error("the variable {0} is not {1}")]
    Malformed(&'static str, &'static str),
}

/// Where and as whom AWS's services are called. No `Debug`: it holds a key.
#[derive(Default)]
pub struct Account<'a> {
    /// Region.
    pub region: &'a str,
    /// Who calls.
    pub access_key: &'a str,
    /// What requests are signed with.
    pub secret_key: &'a str,
    /// That of a role's session.
    pub session: Option<&'a str>,
    /// Name that calls bear (`app/…` in their user agent).
    pub app: Option<&'a str>,
    /// One address for every service: an emulator's.
    pub endpoint: Option<&'a str>,
    /// Addresses whose TLS is FIPS 140's.
    pub fips: bool,
    /// Addresses that have IPv6 as well.
    pub dual_stack: bool,
}

/// The variables whose names begin with `TILLWAY_` or `AWS_`.
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// Reads them.
    #[must_use]
    pub fn read() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place where a function's environment is read")]
        let variables = std::env::vars();
        Self::of(variables)
    }

    /// Of these variables.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |(name, value): &(String, String)| {
            (name.starts_with("TILLWAY_") || name.starts_with("AWS_")) && !value.is_empty()
        };
        Self(variables.into_iter().filter(ours).collect())
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
    fn needed(&self, name: &str) -> Result<String, EnvError> {
        self.given(name).map(str::to_owned).ok_or_else(|| EnvError::Missing(name.to_owned()))
    }

    /// Name of the environment.
    ///
    /// # Errors
    /// [`EnvError::Missing`], as for all that follow.
    pub fn environment(&self) -> Result<String, EnvError> {
        self.needed("TILLWAY_ENV")
    }
    /// Path of the configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        PathBuf::from(self.given("TILLWAY_CONFIG").unwrap_or(CONFIG))
    }
    /// Table.
    ///
    /// # Errors
    /// [`EnvError::Missing`].
    pub fn table(&self) -> Result<String, EnvError> {
        self.needed("TILLWAY_TABLE")
    }
    /// URL of the events queue.
    ///
    /// # Errors
    /// [`EnvError::Missing`].
    pub fn events(&self) -> Result<String, EnvError> {
        self.needed("TILLWAY_QUEUE_EVENTS")
    }
    /// URL of a system's commands queue.
    ///
    /// # Errors
    /// [`EnvError::Missing`].
    pub fn commands(&self, system: &str) -> Result<String, EnvError> {
        self.needed(&format!("TILLWAY_QUEUE_COMMANDS_{}", system.to_ascii_uppercase().replace('-', "_")))
    }
    /// Bucket of large message bodies.
    ///
    /// # Errors
    /// [`EnvError::Missing`].
    pub fn claims(&self) -> Result<String, EnvError> {
        self.needed("TILLWAY_CLAIMS")
    }
    /// Prefix of the secrets' names.
    ///
    /// # Errors
    /// [`EnvError::Missing`].
    pub fn secrets(&self) -> Result<String, EnvError> {
        self.needed("TILLWAY_SECRETS")
    }
    /// ARN of the topic of alerts.
    ///
    /// # Errors
    /// [`EnvError::Missing`].
    pub fn alerts(&self) -> Result<String, EnvError> {
        self.needed("TILLWAY_ALERTS")
    }
    /// How many of this function run at most.
    ///
    /// # Errors
    /// [`EnvError::Malformed`] where it is no number above zero.
    pub fn concurrency(&self) -> Result<i64, EnvError> {
        let malformed = EnvError::Malformed("TILLWAY_CONCURRENCY", "a whole number from 1 to 1000");
        let Some(text) = self.given("TILLWAY_CONCURRENCY") else { return Ok(1) };
        text.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or(malformed)
    }
    /// Where and as whom AWS's services are called.
    ///
    /// # Errors
    /// [`EnvError::Absent`].
    pub fn account(&self) -> Result<Account<'_>, EnvError> {
        let set = |name: &'static str| self.given(name).ok_or(EnvError::Absent(name));
        let yes = |name| self.given(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(Account {
            region: set("AWS_REGION")?,
            access_key: set("AWS_ACCESS_KEY_ID")?,
            secret_key: set("AWS_SECRET_ACCESS_KEY")?,
            session: self.given("AWS_SESSION_TOKEN"),
            app: self.given("AWS_SDK_UA_APP_ID"),
            endpoint: self.given("AWS_ENDPOINT_URL"),
            fips: yes("AWS_USE_FIPS_ENDPOINT"),
            dual_stack: yes("AWS_USE_DUALSTACK_ENDPOINT"),
        })
    }
    /// Networks that may send webhooks; `None`: all.
    ///
    /// # Errors
    /// [`EnvError::Malformed`] where one of them is no network.
    pub fn allow(&self) -> Result<Option<Networks>, EnvError> {
        let Some(text) = self.given("TILLWAY_ALLOW") else { return Ok(None) };
        Networks::parse(text).map(Some).ok_or(EnvError::Malformed("TILLWAY_ALLOW", FORM))
    }
    /// Level of the log.
    #[must_use]
    pub fn log(&self) -> String {
        let given = self.given("TILLWAY_LOG").unwrap_or("info");
        let parts = || given.split(',').map(|part| part.split_once('=').unwrap_or((part, "")));
        // A part without a target is the level of all that are not named.
        let quiet = parts().any(|(level, of)| of.is_empty() && matches!(level.trim(), "error" | "off"));
        let mut log = given.to_owned();
        for name in OTHERS.iter().filter(|name| !quiet && parts().all(|(target, _)| target.trim() != **name))
        {
            log.push_str(&format!(",{name}=warn"));
        }
        log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        Env::of(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn what_is_missing_is_named() {
        let some =
            env(&[("TILLWAY_TABLE", "t"), ("TILLWAY_ENV", ""), ("TILLWAY_QUEUE_COMMANDS_STRIPE", "u")]);
        assert_eq!(some.table(), Ok("t".to_owned()));
        assert_eq!(some.environment(), Err(EnvError::Missing("TILLWAY_ENV".to_owned())), "empty is not set");
        assert_eq!(some.commands("stripe"), Ok("u".to_owned()));
        let said = some.commands("clarity").unwrap_err().to_string();
        assert!(said.contains("TILLWAY_QUEUE_COMMANDS_CLARITY"), "{said}");
        assert_eq!(some.config(), PathBuf::from("/opt/tillway/tillway.yaml"));
    }

    #[test]
    fn whoever_asks_for_more_is_not_given_what_others_say() {
        let level = |log: &str, target: &str| {
            let given: &[(&str, &str)] = if log.is_empty() { &[] } else { &[("TILLWAY_LOG", log)] };
            let levels: tracing_subscriber::filter::Targets = env(given).log().parse().unwrap();
            levels.would_enable(target, &tracing::Level::DEBUG)
        };
        for log in ["", "info"] {
            assert!(!level(log, "tillway_engine") && !level(log, "hyper_util"), "{log}");
        }
        assert!(level("debug", "tillway_engine"));
        for quiet in
            ["hyper_util::client", "aws_runtime", "aws_smithy_runtime::client", "aws_sigv4", "h2::codec"]
        {
            assert!(!level("debug", quiet), "{quiet}");
        }
        assert!(level("debug,hyper_util=debug", "hyper_util::client"), "who names it means it");
        assert!(!level("debug,hyper_util=debug", "hyper::proto"), "and nothing else");
        let said = env(&[("TILLWAY_LOG", "error")]).log();
        assert_eq!(said, "error", "others are no louder than we are");
    }

    #[test]
    fn networks_are_read_or_named() {
        assert_eq!(env(&[]).allow(), Ok(None));
        let two = env(&[("TILLWAY_ALLOW", "192.0.2.0/24, 2001:db8::/32")]).allow().unwrap().unwrap();
        assert!(two.hold("192.0.2.9".parse().ok()));
        for text in ["192.0.2.0/33", "x", "192.0.2.0/24,", "192.0.2.1"] {
            assert!(env(&[("TILLWAY_ALLOW", text)]).allow().is_err(), "{text}");
        }
    }

    #[test]
    fn concurrency_is_a_number() {
        assert_eq!(env(&[]).concurrency(), Ok(1));
        assert_eq!(env(&[("TILLWAY_CONCURRENCY", "5")]).concurrency(), Ok(5));
        for text in ["0", "-1", "x", "1001"] {
            assert!(env(&[("TILLWAY_CONCURRENCY", text)]).concurrency().is_err(), "{text}");
        }
    }
}
