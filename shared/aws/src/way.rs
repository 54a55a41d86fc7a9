//! The way to AWS's services from a function: HTTP/1.1, which is all they speak, over rustls.
//!
//! The roots are Mozilla's, as the system has them, but read when this was built: to read them from the system's file is half of
//! a receiving function's start. `tillway --aws`, which runs behind whatever proxy a person has, trusts what its machine trusts.

use std::fmt;
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// A connection that nobody used for so long is not used again.
const IDLE: Duration = Duration::from_secs(60);

/// One pool of connections, for all clients.
#[derive(Clone)]
pub(crate) struct Way(Client<HttpsConnector<Tcp>, SdkBody>);

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the way to AWS")
    }
}

impl Way {
    /// With so long for a TCP connection to open. Opens none.
    pub(crate) fn open(connect: Duration) -> Result<Self, rustls::Error> {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect));
        // An endpoint that is an emulator's has no TLS.
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let mut pool = Client::builder(TokioExecutor::new());
        pool.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        Ok(Self(pool.build(https)))
    }
}

/// The SDK times attempts and calls itself.
impl HttpClient for Way {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Way {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let user = |error| ConnectorError::user(BoxError::from(error));
            let request = request.try_into_http1x().map_err(user)?;
            // Whatever happens on the way may have happened before or after the service acted: `io` is tried again, as the SDK
            // does with its own client.
            let answer = client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x)).map_err(user)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// Answers every request on every connection, each connection numbered.
    async fn server() -> (String, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            for number in 1.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut read = vec![0; 4096];
                    while stream.read(&mut read).await.is_ok_and(|n| n > 0) {
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nx-connection: {number}\r\ncontent-length: 2\r\n\r\nok"
                        );
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        (url, served)
    }

    #[tokio::test]
    async fn one_connection_serves_call_after_call() {
        let (url, served) = server().await;
        let way = Way::open(PATIENCE).unwrap();
        let mut seen = BTreeMap::new();
        for _ in 0..3 {
            let answer = way.call(HttpRequest::get(&url).unwrap()).await.unwrap();
            assert_eq!(answer.status().as_u16(), 200);
            let connection = answer.headers().get("x-connection").unwrap().to_owned();
            let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
            assert_eq!(body.to_bytes(), "ok");
            *seen.entry(connection).or_insert(0) += 1;
        }
        assert_eq!(seen, BTreeMap::from([("1".to_owned(), 3)]));
        served.abort();
    }

    #[tokio::test]
    async fn who_is_not_there_and_who_proves_nothing_are_failures_of_the_way() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let way = Way::open(PATIENCE).unwrap();
        let gone = way.call(HttpRequest::get(format!("http://{nobody}/")).unwrap()).await.unwrap_err();
        assert!(gone.is_io(), "{gone}");
        // TLS wanted, and what answers speaks none.
        let (url, served) = server().await;
        let plain = way.call(HttpRequest::get(url.replace("http:", "https:")).unwrap()).await.unwrap_err();
        assert!(plain.is_io(), "{plain}");
        served.abort();
    }
}
