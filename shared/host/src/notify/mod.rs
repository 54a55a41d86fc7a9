//! Ways to tell people: e-mail, a chat webhook, the log; and one that remembers, for tests and the demo.

mod smtp;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tillway_engine::ports::{Notice, Notify, NotifyError};

pub use smtp::{SettingsError, SmtpNotify, SmtpSettings, SmtpTls};
pub use webhook::WebhookNotify;

/// Audience of notices to customers.
pub const CUSTOMER: &str = "customer";

/// Sends notices to customers one way and all others another.
pub struct ByAudience {
    /// For customers.
    pub customer: Arc<dyn Notify>,
    /// For everyone else.
    pub staff: Arc<dyn Notify>,
}

#[async_trait]
impl Notify for ByAudience {
    async fn notify(&self, notice: Notice) -> Result<(), NotifyError> {
        let way = if notice.audience == CUSTOMER { &self.customer } else { &self.staff };
        way.notify(notice).await
    }
}

/// Stands where no channel is configured: says so, and writes that there was a notice into the log: its audience
/// and id, nothing of what it says.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogNotify;

#[async_trait]
impl Notify for LogNotify {
    async fn notify(&self, notice: Notice) -> Result<(), NotifyError> {
        tracing::info!(
            code = "notice",
            audience = notice.audience,
            id = notice.id,
            "notice not sent: no channel configured"
        );
        Err(NotifyError::Refused(format!(
            "no channel is configured for notices to {}; set people.smtp or people.webhook",
            notice.audience
        )))
    }
}

/// Remembers notices, each id once.
#[derive(Default)]
pub struct MemoryNotify {
    sent: Mutex<Vec<Notice>>,
}

impl MemoryNotify {
    /// What was sent so far, oldest first.
    #[must_use]
    pub fn sent(&self) -> Vec<Notice> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Notify for MemoryNotify {
    async fn notify(&self, notice: Notice) -> Result<(), NotifyError> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.iter().all(|earlier| earlier.id != notice.id) {
            sent.push(notice);
        }
        Ok(())
    }
}

/// Secrets by connection and name, for the tests of this folder.
#[cfg(test)]
pub(crate) fn secrets(
    connection: &str,
    values: &[(&str, &str)],
) -> Arc<dyn tillway_engine::ports::SecretSource> {
    use tillway_connectors::{Secret, Secrets};
    use tillway_engine::ports::{SecretError, SecretSource};

    struct One(String, Secrets);
    #[async_trait]
    impl SecretSource for One {
        async fn secrets(&self, connection: &str, _fresh: bool) -> Result<Secrets, SecretError> {
            let known = (connection == self.0).then(|| self.1.clone());
            known.ok_or_else(|| SecretError::Missing(connection.to_owned()))
        }
    }
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), vec![Secret::new(*value)]));
    Arc::new(One(connection.to_owned(), Secrets(values.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_notice_without_a_channel_is_not_called_sent() {
        let notice = Notice {
            id: "n-1".into(),
            audience: CUSTOMER.into(),
            to: Some("canary@example.com".into()),
            subject: "canary".into(),
            text: "canary".into(),
        };
        let said = LogNotify.notify(notice).await.unwrap_err();
        assert!(matches!(&said, NotifyError::Refused(why) if why.contains("no channel is configured")));
        assert!(!said.to_string().contains("canary"), "{said}");
    }
}
