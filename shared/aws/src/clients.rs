//! The SDK's clients, made once for a process.
//!
//! A function has what Lambda puts into its environment and reads nothing else: no profile, no metadata service. A person at the
//! command line has all places the SDK knows.

use std::time::Duration;

use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_types::SdkConfig;
use aws_types::app_name::AppName;
use aws_types::sdk_config::Builder;

use crate::bucket::{Bucket, Place};
use crate::env::{Account, Env, EnvError};
use crate::way::Way;

/// Times a call is tried in all, with the SDK's pauses.
pub(crate) const ATTEMPTS: u32 = 4;
/// For a connection, one attempt, and all attempts of a call.
const CONNECT: Duration = Duration::from_secs(2);
pub(crate) const ATTEMPT: Duration = Duration::from_secs(5);
pub(crate) const CALL: Duration = Duration::from_secs(15);

/// Why there are no clients.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// A variable.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Makes clients over one configuration; each opens its connection with its first call.
#[derive(Clone)]
pub struct Clients {
    config: SdkConfig,
    /// As the SDK's clients go out.
    way: SharedHttpConnector,
    place: Place,
}

fn times() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(CALL)
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

/// With these credentials, over [`Way`]; the configuration is not complete.
fn with(account: &Account<'_>) -> Result<(Builder, Way), ClientsError> {
    let way = Way::open(CONNECT)?;
    let keys = Credentials::new(
        account.access_key,
        account.secret_key,
        account.session.map(str::to_owned),
        None,
        "the environment",
    );
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(account.region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .sleep_impl(TokioSleep::new())
        .time_source(SystemTimeSource::new())
        .http_client(way.clone())
        .use_fips(account.fips)
        .use_dual_stack(account.dual_stack);
    // Longer than 50 letters, or of others than the user agent takes: the calls bear none.
    config.set_app_name(account.app.and_then(|name| AppName::new(name.to_owned()).ok()));
    config.set_endpoint_url(account.endpoint.map(str::to_owned));
    Ok((config, way))
}

impl Clients {
    /// A function's.
    ///
    /// # Errors
    /// [`ClientsError`]: a variable that Lambda sets is not there.
    pub fn of_function(env: &Env) -> Result<Self, ClientsError> {
        let (config, way) = with(&env.account()?)?;
        let config = config.retry_config(retries()).timeout_config(times()).build();
        Ok(Self::of(config, SharedHttpConnector::new(way)))
    }

    /// A person's: region, credentials and endpoint come from where the SDK looks for them.
    #[cfg(feature = "desk")]
    pub async fn of_person() -> Self {
        use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

        let provider = Provider::Rustls(CryptoMode::Ring);
        let client = aws_smithy_http_client::Builder::new().tls_provider(provider.clone()).build_https();
        let config = aws_config::defaults(BehaviorVersion::latest()).http_client(client);
        let config = config.retry_config(retries()).timeout_config(times()).load().await;
        let way = aws_smithy_http_client::Connector::builder().tls_provider(provider).build();
        Self::of(config, SharedHttpConnector::new(way))
    }

    /// Over an emulator at an address, as whoever bears these keys; with the SDK's own times and attempts.
    ///
    /// # Errors
    /// [`ClientsError`]: without TLS there is no way.
    pub fn emulated(
        endpoint: &str,
        region: &str,
        access_key: &str,
        secret_key: &str,
    ) -> Result<Self, ClientsError> {
        let account = Account { region, access_key, secret_key, ..Account::default() };
        let (config, way) = with(&Account { endpoint: Some(endpoint), ..account })?;
        Ok(Self::of(config.build(), SharedHttpConnector::new(way)))
    }

    fn of(config: SdkConfig, way: SharedHttpConnector) -> Self {
        let place = Place {
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            endpoint: config.endpoint_url().map(str::to_owned),
            fips: config.use_fips().unwrap_or_default(),
            dual_stack: config.use_dual_stack().unwrap_or_default(),
            agent: config
                .app_name()
                .map_or_else(|| "tillway".to_owned(), |name| format!("tillway app/{name}")),
        };
        Self { config, way, place }
    }

    /// A bucket of the region.
    #[must_use]
    pub fn bucket(&self, name: impl Into<String>) -> Bucket {
        let (name, place, way) = (name.into(), self.place.clone(), self.way.clone());
        Bucket { name, place, credentials: self.config.credentials_provider(), way }
    }

    /// The region; `None` where none is configured.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        self.config.region().map(ToString::to_string)
    }

    /// DynamoDB.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }
    /// SQS.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }
    /// The whole of S3, buckets in the path where the endpoint is not AWS's own.
    #[cfg(feature = "desk")]
    #[must_use]
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let path = self.config.endpoint_url().is_some();
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(path).build();
        aws_sdk_s3::Client::from_conf(config)
    }
    /// Secrets Manager.
    #[must_use]
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }
    /// SNS.
    #[must_use]
    pub fn sns(&self) -> aws_sdk_sns::Client {
        aws_sdk_sns::Client::new(&self.config)
    }
}
