//! A chat webhook that takes `{"text": …}`, as Slack, Mattermost and Discord's `/slack` address do.

use std::sync::Arc;

use async_trait::async_trait;
use tillway_connectors::http::{Http, HttpError};
use tillway_core::http::{Method, Request};
use tillway_core::time::Millis;
use tillway_engine::ports::{Notice, Notify, NotifyError, SecretSource};

use super::CUSTOMER;

/// Name of the secret that holds the address: who has the address can post.
const URL: &str = "webhook_url";
const LIMIT: Millis = Millis::secs(10);

/// Posts notices for staff to the address in the secret `<connection>.webhook_url`.
pub struct WebhookNotify {
    http: Arc<dyn Http>,
    secrets: Arc<dyn SecretSource>,
    connection: String,
}

impl WebhookNotify {
    /// Posts through `http` to the address kept under `connection`.
    pub fn new(http: Arc<dyn Http>, secrets: Arc<dyn SecretSource>, connection: impl Into<String>) -> Self {
        Self { http, secrets, connection: connection.into() }
    }
}

#[async_trait]
impl Notify for WebhookNotify {
    async fn notify(&self, notice: Notice) -> Result<(), NotifyError> {
        if notice.audience == CUSTOMER {
            return Err(NotifyError::Refused("a chat webhook is for staff, not for customers".into()));
        }
        let secrets = self
            .secrets
            .secrets(&self.connection, false)
            .await
            .map_err(|e| NotifyError::NotSent(e.to_string()))?;
        let Some(url) = secrets.newest(URL) else {
            return Err(NotifyError::NotSent(format!("secret {}.{URL} is missing", self.connection)));
        };
        let text = format!("*{}*\n{}", escape(&notice.subject), escape(&notice.text));
        let body = serde_json::json!({ "text": text }).to_string();
        let request = Request::new(Method::Post, url.expose()).with_body("application/json", body);
        match self.http.send(request, LIMIT).await {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) if answer.status == 429 => {
                Err(NotifyError::NotSent("the webhook answered 429".into()))
            }
            Ok(answer) if matches!(answer.status, 408 | 500..=599) => {
                Err(NotifyError::Unknown(format!("the webhook answered {}", answer.status)))
            }
            Ok(answer) => Err(NotifyError::Refused(format!("the webhook answered {}", answer.status))),
            Err(error @ HttpError::NotSent) => Err(NotifyError::NotSent(error.to_string())),
            Err(error @ HttpError::NoAnswer) => Err(NotifyError::Unknown(error.to_string())),
            Err(error @ HttpError::Forbidden) => Err(NotifyError::Refused(error.to_string())),
        }
    }
}

/// Slack reads `<…>` as links and mentions (`<!channel>`): texts come from outside, so they are escaped.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tillway_core::http::Response;

    use super::*;
    use crate::notify::secrets;

    struct Answers(Result<u16, HttpError>, Mutex<Vec<Request>>);

    #[async_trait]
    impl Http for Answers {
        async fn send(&self, request: Request, _limit: Millis) -> Result<Response, HttpError> {
            self.1.lock().unwrap().push(request);
            self.0.map(Response::new)
        }
    }

    async fn post(answer: Result<u16, HttpError>, audience: &str) -> (Result<(), NotifyError>, Vec<Request>) {
        let http = Arc::new(Answers(answer, Mutex::new(Vec::new())));
        let secrets = secrets("slack", &[("webhook_url", "https://hooks.example/T/canary")]);
        let way = WebhookNotify::new(http.clone(), secrets, "slack");
        let notice = Notice {
            id: "n1".into(),
            audience: audience.into(),
            to: None,
            subject: "Order A-1 parked".into(),
            text: "totals <!channel> & more".into(),
        };
        let outcome = way.notify(notice).await;
        let requests = http.1.lock().unwrap().clone();
        (outcome, requests)
    }

    #[tokio::test]
    async fn staff_get_an_escaped_text() {
        let (outcome, requests) = post(Ok(200), "staff").await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(requests[0].url, "https://hooks.example/T/canary");
        let body: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
        assert_eq!(body["text"], "*Order A-1 parked*\ntotals &lt;!channel&gt; &amp; more");
    }

    #[tokio::test]
    async fn customers_are_never_posted_about() {
        let (outcome, requests) = post(Ok(200), "customer").await;
        assert!(matches!(outcome, Err(NotifyError::Refused(_))));
        assert!(requests.is_empty());
    }

    #[tokio::test]
    async fn answers_tell_what_became_of_it() {
        use NotifyError::{NotSent, Refused, Unknown};
        assert!(matches!(post(Ok(429), "staff").await.0, Err(NotSent(_))));
        assert!(matches!(post(Ok(503), "staff").await.0, Err(Unknown(_))));
        assert!(matches!(post(Ok(404), "staff").await.0, Err(Refused(_))));
        assert!(matches!(post(Err(HttpError::NotSent), "staff").await.0, Err(NotSent(_))));
        assert!(matches!(post(Err(HttpError::NoAnswer), "staff").await.0, Err(Unknown(_))));
        let (outcome, _) = post(Err(HttpError::Forbidden), "staff").await;
        assert!(matches!(&outcome, Err(Refused(what)) if !what.contains("canary")), "{outcome:?}");
    }
}
