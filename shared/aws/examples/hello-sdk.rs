//! The measure of a receiving function's start in tests/bench: a Lambda function that answers, and makes the same
//! clients of the AWS SDK as a receiving function in the way the SDK's guide shows, and uses none of them.

use aws_config::BehaviorVersion;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let clients = (
        aws_sdk_sqs::Client::new(&config),
        aws_sdk_secretsmanager::Client::new(&config),
        aws_sdk_s3::Client::new(&config),
        aws_sdk_sns::Client::new(&config),
    );
    std::hint::black_box(&clients);
    let answer = async |_: LambdaEvent<Value>| Ok::<_, Error>(json!({ "statusCode": 200, "body": "hello" }));
    lambda_runtime::run(service_fn(answer)).await
}
