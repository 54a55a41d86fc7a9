//! The SDK's clients, made once for a process. Region, credentials and endpoint come from where the SDK looks for
//! them; in a function that is its environment.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// Times a call is tried in all, with the SDK's pauses.
const ATTEMPTS: u32 = 4;
/// For a connection, one attempt, and all attempts of a call.
const CONNECT: Duration = Duration::from_secs(2);
const ATTEMPT: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(15);

/// The SDK's way out, without its check of each client as it is made: that check reads every root certificate anew,
/// and again at the first call. Here they are read once for all clients, with the first call of any.
#[derive(Debug)]
struct Way(SharedHttpClient);

impl HttpClient for Way {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.0.http_connector(settings, components)
    }
}

/// Makes clients over one configuration; each opens its connection with its first call.
pub struct Clients(SdkConfig);

impl Clients {
    /// Reads the SDK's configuration.
    pub async fn load() -> Self {
        let times = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(CALL)
            .build();
        let way = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(Way(way))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(times)
            .load()
            .await;
        Self(config)
    }

    /// Over an emulator at an address, as whoever bears these keys.
    pub async fn emulated(endpoint: &str, region: &str, access_key: &str, secret_key: &str) -> Self {
        let keys =
            aws_sdk_sqs::config::Credentials::new(access_key, secret_key, None, None, "given by the caller");
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https())
            .region(Region::new(region.to_owned()))
            .credentials_provider(keys)
            .endpoint_url(endpoint)
            .load()
            .await;
        Self(config)
    }

    /// The region; `None` where none is configured.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        self.0.region().map(ToString::to_string)
    }

    /// DynamoDB.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.0)
    }
    /// SQS.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.0)
    }
    /// S3, buckets in the path where the endpoint is not AWS's own.
    #[must_use]
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let path = self.0.endpoint_url().is_some();
        let config = aws_sdk_s3::config::Builder::from(&self.0).force_path_style(path).build();
        aws_sdk_s3::Client::from_conf(config)
    }
    /// Secrets Manager.
    #[must_use]
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.0)
    }
    /// SNS.
    #[must_use]
    pub fn sns(&self) -> aws_sdk_sns::Client {
        aws_sdk_sns::Client::new(&self.0)
    }
}
