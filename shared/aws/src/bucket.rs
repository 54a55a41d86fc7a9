//! A bucket in S3, by the four calls that Tillway makes. Requests are signed by AWS's own signer; of its SDK for S3, which is a
//! tenth of a receiving function with its tables for every checksum there is, nothing else was used.
//!
//! S3 checks what arrives against the SHA-256 that is signed with a request.

use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_async::time::{SystemTimeSource, TimeSource as _};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use tillway_core::settle::report::in_url;

use crate::clients::{ATTEMPT, ATTEMPTS, CALL};

/// Before the second attempt; doubled before each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a bucket is, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) region: String,
    /// An emulator's: the bucket stands in the path.
    pub(crate) endpoint: Option<String>,
    pub(crate) fips: bool,
    pub(crate) dual_stack: bool,
    /// Who asks, for AWS's logs.
    pub(crate) agent: String,
}

impl Place {
    /// Names of parts are encoded, their slashes are not.
    fn url(&self, bucket: &str, key: &str) -> String {
        let path = key.split('/').map(in_url).collect::<Vec<_>>().join("/");
        if let Some(endpoint) = &self.endpoint {
            return format!("{}/{bucket}/{path}", endpoint.trim_end_matches('/'));
        }
        let service = if self.fips { "s3-fips" } else { "s3" };
        let stack = if self.dual_stack { ".dualstack" } else { "" };
        let suffix = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("https://{bucket}.{service}{stack}.{}.{suffix}/{path}", self.region)
    }
}

/// One bucket.
#[derive(Clone)]
pub struct Bucket {
    pub(crate) name: String,
    pub(crate) place: Place,
    /// `None`: nobody said who calls.
    pub(crate) credentials: Option<SharedCredentialsProvider>,
    pub(crate) way: SharedHttpConnector,
}

/// An answer of S3.
struct Said {
    status: u16,
    body: Vec<u8>,
}

impl Said {
    /// S3's code; the text beside it can quote what was sent.
    fn code(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        match code {
            Some((code, _)) if code.bytes().all(|b| b.is_ascii_alphanumeric()) => code.to_owned(),
            _ => format!("an answer {} without a code", self.status),
        }
    }
    const fn is_good(&self) -> bool {
        matches!(self.status, 200..=299)
    }
    const fn may_pass(&self) -> bool {
        self.status >= 500 || self.status == 429
    }
}

impl Bucket {
    /// Puts an object.
    ///
    /// # Errors
    /// S3's code, or what went wrong on the way.
    pub async fn put(&self, key: &str, body: Vec<u8>) -> Result<(), String> {
        let said = self.call("PUT", key, None, body).await?;
        if said.is_good() { Ok(()) } else { Err(said.code()) }
    }

    /// An object; `None`: it is not there.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let said = self.call("GET", key, None, Vec::new()).await?;
        if said.is_good() {
            return Ok(Some(said.body));
        }
        match said.code() {
            code if code == "NoSuchKey" => Ok(None),
            code => Err(code),
        }
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub async fn delete(&self, key: &str) -> Result<(), String> {
        let said = self.call("DELETE", key, None, Vec::new()).await?;
        if said.is_good() { Ok(()) } else { Err(said.code()) }
    }

    /// Copies an object within the bucket; `false`: it is not there.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub async fn copy(&self, from: &str, to: &str) -> Result<bool, String> {
        let source = [self.name.as_str()].into_iter().chain(from.split('/')).map(in_url).collect::<Vec<_>>();
        let said = self.call("PUT", to, Some(&source.join("/")), Vec::new()).await?;
        // A copy that broke off after its answer had begun is a 200 with an error in it.
        let whole = said.is_good() && !String::from_utf8_lossy(&said.body).contains("<Error>");
        match said.code() {
            _ if whole => Ok(true),
            code if code == "NoSuchKey" => Ok(false),
            code => Err(code),
        }
    }

    /// As often and as long as the SDK would try. All four calls may be made twice.
    async fn call(
        &self,
        method: &str,
        key: &str,
        source: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Said, String> {
        let attempts = async {
            let mut last = Err("not tried".to_owned());
            let mut pause = PAUSE;
            for attempt in 0..ATTEMPTS {
                if attempt > 0 {
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
                let once = self.once(method, key, source, body.clone());
                let once = tokio::time::timeout(ATTEMPT, once).await;
                last = once.unwrap_or_else(|_| Err("no answer in time".to_owned()));
                if last.as_ref().is_ok_and(|said| !said.may_pass()) {
                    break;
                }
            }
            last
        };
        tokio::time::timeout(CALL, attempts).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    async fn once(
        &self,
        method: &str,
        key: &str,
        source: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Said, String> {
        let url = self.place.url(&self.name, key);
        let nobody = || "not sent: no credentials".to_owned();
        let keys = self.credentials.as_ref().ok_or_else(nobody)?.provide_credentials().await;
        let keys = keys.map_err(|_| nobody())?.into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let unsigned = |_| "the request could not be signed".to_owned();
        let params = v4::SigningParams::builder()
            .identity(&keys)
            .region(&self.place.region)
            .name("s3")
            .time(SystemTimeSource::new().now())
            .settings(settings)
            .build()
            .map_err(|_| unsigned(()))?
            .into();
        let headers = source.map(|source| ("x-amz-copy-source", source));
        let signable = SignableRequest::new(method, &url, headers.into_iter(), SignableBody::Bytes(&body));
        let signed = sign(signable.map_err(|_| unsigned(()))?, &params).map_err(|_| unsigned(()))?;
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method(method).map_err(|_| unsigned(()))?;
        request.set_uri(url).map_err(|_| unsigned(()))?;
        for (name, value) in headers.into_iter().chain([("user-agent", self.place.agent.as_str())]) {
            request.headers_mut().try_insert(name, value.to_owned()).map_err(|_| unsigned(()))?;
        }
        for (name, value) in signed.into_parts().0.headers() {
            let (name, value) = (name.to_owned(), value.to_owned());
            request.headers_mut().try_insert(name, value).map_err(|_| unsigned(()))?;
        }
        let answer = self.way.call(request).await.map_err(|_| "the connection failed".to_owned())?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|_| "the answer broke off".to_owned())?;
        Ok(Said { status, body: body.to_bytes().to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_credential_types::Credentials;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::{Digest as _, Sha256};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::way::Way;

    /// A bucket whose server gives these answers in turn, the last one for ever, and what it was asked.
    async fn bucket(answers: Vec<(u16, &'static str)>) -> (Bucket, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            let mut next = answers.next().unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut read = vec![0; 64 * 1024];
                let mut request = Vec::new();
                let whole = |r: &[u8]| {
                    let text = String::from_utf8_lossy(r).into_owned();
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
                    (body.len() >= length.map_or(0, |l| l.parse().unwrap())).then_some(text)
                };
                let text = loop {
                    let n = stream.read(&mut read).await.unwrap();
                    request.extend_from_slice(&read[..n]);
                    if let Some(text) = whole(&request) {
                        break text;
                    }
                };
                kept.lock().unwrap().push(text);
                let (status, body) = next;
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                next = answers.next().unwrap_or(next);
            }
        });
        let keys = Credentials::new("AKID", "secret", Some("session".into()), None, "test");
        let bucket = Bucket {
            name: "tillway-dev-claims-123456789012".into(),
            place: Place {
                region: "eu-west-1".into(),
                endpoint: Some(endpoint),
                fips: false,
                dual_stack: false,
                agent: "tillway app/t".into(),
            },
            credentials: Some(SharedCredentialsProvider::new(keys)),
            way: SharedHttpConnector::new(Way::open(Duration::from_secs(5)).unwrap()),
        };
        (bucket, asked)
    }

    fn mac(key: &[u8], text: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    /// The signature by AWS's description, of a request as it went over the wire.
    fn signature(request: &str) -> String {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let (method, path) = (first.next().unwrap(), first.next().unwrap());
        let mut headers: Vec<_> = lines.filter_map(|l| l.split_once(": ")).collect();
        headers.retain(|(name, _)| name.starts_with("x-amz-") || *name == "host");
        headers.sort_unstable();
        let listed: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let of = |name: &str| headers.iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(of("x-amz-content-sha256"), hex::encode(Sha256::digest(body)));
        assert_eq!(of("x-amz-security-token"), "session");
        let canonical = format!("{method}\n{path}\n\n{listed}\n{names}\n{}", of("x-amz-content-sha256"));
        let at = of("x-amz-date");
        let scope = format!("{}/eu-west-1/s3/aws4_request", &at[..8]);
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let key = ["eu-west-1", "s3", "aws4_request"]
            .into_iter()
            .fold(mac(b"AWS4secret", &at[..8]), |key, part| mac(&key, part));
        format!("Credential=AKID/{scope}, SignedHeaders={names}, Signature={}", hex::encode(mac(&key, &text)))
    }

    #[tokio::test]
    async fn requests_are_signed_as_s3_wants_them() {
        let (bucket, asked) = bucket(vec![(200, "")]).await;
        let odd = "settlement/c/1@2026 a+b%2F?v=\u{e4}";
        bucket.put(odd, b"{\"a\":1}".to_vec()).await.unwrap();
        assert_eq!(bucket.get("claims/0a").await, Ok(Some(Vec::new())));
        bucket.delete("claims/0a").await.unwrap();
        assert_eq!(bucket.copy(odd, "settlement-gone/x").await, Ok(true));
        let asked = asked.lock().unwrap();
        let path = "/tillway-dev-claims-123456789012/settlement/c/1%402026%20a%2Bb%252F%3Fv%3D%C3%A4";
        assert!(asked[0].starts_with(&format!("PUT {path} HTTP/1.1\r\n")), "{}", asked[0]);
        assert!(asked[3].contains(&format!("\r\nx-amz-copy-source: {}\r\n", &path[1..])), "{}", asked[3]);
        for request in asked.iter() {
            assert!(request.contains("\r\nuser-agent: tillway app/t\r\n"), "{request}");
            assert!(request.contains(&signature(request)), "{}\n{request}", signature(request));
        }
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_what_does_not_is_said_by_its_code() {
        let slow = (503, "<Error><Code>SlowDown</Code><Message>of bucket x</Message></Error>");
        let (up_again, asked) = bucket(vec![slow, slow, (200, "body")]).await;
        assert_eq!(up_again.get("k").await, Ok(Some(b"body".to_vec())));
        assert_eq!(asked.lock().unwrap().len(), 3);
        let (down, asked) = bucket(vec![slow]).await;
        assert_eq!(down.put("k", b"x".to_vec()).await, Err("SlowDown".to_owned()));
        assert_eq!(asked.lock().unwrap().len(), 4);
        let (denied, asked) = bucket(vec![(403, "<Error><Code>AccessDenied</Code></Error>")]).await;
        assert_eq!(denied.get("k").await, Err("AccessDenied".to_owned()));
        assert_eq!(denied.delete("k").await, Err("AccessDenied".to_owned()));
        assert_eq!(asked.lock().unwrap().len(), 2);
        let (odd, _) = bucket(vec![(404, "<html><Code>jenny@example.com</Code>")]).await;
        assert_eq!(odd.get("k").await, Err("an answer 404 without a code".to_owned()));
    }

    #[tokio::test]
    async fn what_is_not_there_is_none_and_a_copy_that_broke_off_is_none_made() {
        let missing = "<Error><Code>NoSuchKey</Code></Error>";
        let (gone, _) = bucket(vec![(404, missing)]).await;
        assert_eq!((gone.get("k").await, gone.copy("k", "l").await), (Ok(None), Ok(false)));
        let (broken, _) = bucket(vec![(200, "\n<Error><Code>InternalError</Code></Error>")]).await;
        assert_eq!(broken.copy("k", "l").await, Err("InternalError".to_owned()));
    }

    #[test]
    fn a_bucket_is_where_region_and_partition_say() {
        let url = |region: &str, fips, dual_stack| {
            Place { region: region.to_owned(), endpoint: None, fips, dual_stack, agent: String::new() }
                .url("b", "claims/0a")
        };
        assert_eq!(url("eu-west-1", false, false), "https://b.s3.eu-west-1.amazonaws.com/claims/0a");
        assert_eq!(url("cn-north-1", false, false), "https://b.s3.cn-north-1.amazonaws.com.cn/claims/0a");
        assert_eq!(
            url("us-gov-west-1", true, false),
            "https://b.s3-fips.us-gov-west-1.amazonaws.com/claims/0a"
        );
        assert_eq!(
            url("us-east-1", true, true),
            "https://b.s3-fips.dualstack.us-east-1.amazonaws.com/claims/0a"
        );
    }
}
