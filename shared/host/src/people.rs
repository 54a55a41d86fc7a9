//! The ways to tell people, put together from the settings `people.*`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tillway_connectors::http::Http;
use tillway_engine::ports::{Notify, SecretSource};

use crate::config::ConfigError;
use crate::notify::{ByAudience, LogNotify, SmtpNotify, SmtpSettings, SmtpTls, WebhookNotify};

const KNOWN: [&str; 6] = ["smtp.host", "smtp.port", "smtp.tls", "smtp.from", "smtp.staff", "webhook"];

/// `people.smtp.*` for customers (and staff), `people.webhook: yes` for staff by a webhook such as Slack's;
/// without either a log line. Tells also whether staff can be told.
///
/// # Errors
/// [`ConfigError::People`] names the setting.
pub fn channels(
    people: &BTreeMap<String, String>,
    http: &Arc<dyn Http>,
    secrets: &Arc<dyn SecretSource>,
) -> Result<(Arc<dyn Notify>, bool), ConfigError> {
    let bad = |what: &str| ConfigError::People(what.to_owned());
    if let Some(name) = people.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        let known = KNOWN.map(|k| format!("people.{k}")).join(", ");
        return Err(ConfigError::People(format!("people.{name} is no setting; there are {known}")));
    }
    let text = |name: &str| people.get(name).map(String::as_str);
    let mut customer: Arc<dyn Notify> = Arc::new(LogNotify);
    let mut staff: Arc<dyn Notify> = Arc::new(LogNotify);
    if let Some(host) = text("smtp.host") {
        let tls = SmtpTls::parse(text("smtp.tls").unwrap_or("starttls"))
            .ok_or_else(|| bad("people.smtp.tls is one of starttls, tls, none"))?;
        let port = text("smtp.port").unwrap_or("587").parse();
        let smtp = SmtpNotify::new(
            SmtpSettings {
                host: host.to_owned(),
                port: port.map_err(|_| bad("people.smtp.port is a number"))?,
                tls,
                from: text("smtp.from")
                    .ok_or_else(|| bad("people.smtp.from is missing; set the sender"))?
                    .to_owned(),
                staff: text("smtp.staff")
                    .unwrap_or_default()
                    .split(',')
                    .filter(|a| !a.is_empty())
                    .map(str::to_owned)
                    .collect(),
                connection: "smtp".to_owned(),
                limit: Duration::from_secs(20),
            },
            secrets.clone(),
        )
        .map_err(|e| ConfigError::People(e.to_string()))?;
        customer = Arc::new(smtp);
        staff = customer.clone();
    }
    if text("webhook") == Some("yes") {
        staff = Arc::new(WebhookNotify::new(http.clone(), secrets.clone(), "staff"));
    }
    let told = text("smtp.host").is_some() || text("webhook") == Some("yes");
    Ok((Arc::new(ByAudience { customer, staff }), told))
}
