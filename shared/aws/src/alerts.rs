//! [`Alerts`]: people are told through an SNS topic, counters become CloudWatch metrics.
//!
//! An alert is a log line and, a few times of each code and window, a message to the topic. It is waited for: a
//! function that has answered stands still, and with it what it left running.
//!
//! Counters are kept until the invocation ends and are then written as lines in CloudWatch's Embedded Metric
//! Format, which costs no call. [`crate::metrics`] lists them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tillway_engine::ports::{Alert, Alerts, Clock, Severity};
use tillway_host::quiet::{Quiet, Tell};

use crate::metrics::{NAMESPACE, metric};
use crate::trouble;

/// Most labels of a metric within one invocation; what comes after is counted under `other`.
const MOST_LABELS: usize = 100;

/// Tells the people who run it.
#[async_trait]
pub trait Topic: Send + Sync {
    /// Publishes; a failure is told by its code.
    async fn publish(&self, subject: String, text: String) -> Result<(), String>;
}

/// An SNS topic.
pub struct SnsTopic {
    /// Client.
    pub client: aws_sdk_sns::Client,
    /// The topic's ARN.
    pub arn: String,
}

#[async_trait]
impl Topic for SnsTopic {
    async fn publish(&self, subject: String, text: String) -> Result<(), String> {
        let publish = self.client.publish().topic_arn(&self.arn).subject(subject).message(text);
        publish.send().await.map(|_| ()).map_err(|e| trouble::describe(&e))
    }
}

type Counts = BTreeMap<&'static str, BTreeMap<String, u64>>;

/// [`Alerts`] of one function.
pub struct AwsAlerts {
    topic: Box<dyn Topic>,
    environment: String,
    clock: Arc<dyn Clock>,
    quiet: Quiet,
    counts: Mutex<Counts>,
    gauges: Mutex<BTreeMap<&'static str, u64>>,
}

impl AwsAlerts {
    /// Tells through the topic; metrics bear the environment's name.
    pub fn new(topic: Box<dyn Topic>, environment: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        let environment = environment.into();
        let (counts, gauges) = (Mutex::default(), Mutex::default());
        Self { topic, environment, clock, quiet: Quiet::default(), counts, gauges }
    }

    /// The lines of what was counted and seen since the last time.
    #[must_use]
    pub fn take_lines(&self) -> Vec<String> {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        let gauges = std::mem::take(&mut *self.gauges.lock().unwrap_or_else(PoisonError::into_inner));
        let mut lines = Vec::new();
        for (name, labels) in counts {
            for (value, count) in labels {
                lines.push(self.line(name, Some(&value), count));
            }
        }
        lines.extend(gauges.into_iter().map(|(name, value)| self.line(name, None, value)));
        lines
    }

    fn line(&self, name: &'static str, label: Option<&str>, value: u64) -> String {
        let (dimension, unit) = metric(name).map_or(("label", "Count"), |m| (m.label, m.unit));
        let mut dimensions = vec!["environment"];
        dimensions.extend(label.map(|_| dimension));
        let mut line = serde_json::json!({
            "_aws": {
                "Timestamp": self.clock.now().0,
                "CloudWatchMetrics": [{
                    "Namespace": NAMESPACE,
                    "Dimensions": [dimensions],
                    "Metrics": [{ "Name": name, "Unit": unit }],
                }],
            },
            "environment": self.environment,
            name: value,
        });
        if let (Some(label), Some(line)) = (label, line.as_object_mut()) {
            line.insert(dimension.to_owned(), label.into());
        }
        line.to_string()
    }

    /// Writes what was counted to standard output, at the end of an invocation.
    pub fn flush(&self) {
        let mut out = std::io::stdout().lock();
        for line in self.take_lines() {
            // Standard output that is gone is nobody's to read.
            let _ = writeln!(out, "{line}");
        }
    }
}

#[async_trait]
impl Alerts for AwsAlerts {
    async fn raise(&self, alert: Alert) {
        self.count("alerts", &alert.code, 1);
        let told = self.quiet.judge(&alert.code, self.clock.now());
        let Some(Tell { quiet_before, .. }) = told else { return };
        let order = alert.order.as_deref().unwrap_or("");
        let (code, text) = (alert.code.as_str(), alert.text.as_str());
        let severity = match alert.severity {
            Severity::Warning => {
                tracing::warn!(alert = true, code, severity = "warning", order, quiet_before, "{text}");
                "warning"
            }
            Severity::Critical => {
                tracing::error!(alert = true, code, severity = "critical", order, quiet_before, "{text}");
                "critical"
            }
        };
        let mut message = if order.is_empty() { text.to_owned() } else { format!("order {order}: {text}") };
        if quiet_before > 0 {
            message = format!("{message}\n({quiet_before} more of this code were not told)");
        }
        // Subjects are at most 100 characters of ASCII.
        let subject = format!("[{severity}] {code} ({})", self.environment);
        let subject: String = subject.chars().filter(|c| c.is_ascii() && !c.is_control()).take(100).collect();
        if let Err(why) = self.topic.publish(subject, message).await {
            tracing::error!(code = "alert_not_told", why, "an alert did not reach its topic");
        }
    }

    fn count(&self, metric: &'static str, label: &str, by: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = counts.entry(metric).or_default();
        let label = if labels.len() < MOST_LABELS || labels.contains_key(label) { label } else { "other" };
        // A dimension without a value is none, and the line would be refused.
        let label = if label.is_empty() { "none" } else { label };
        let count = labels.entry(label.to_owned()).or_default();
        *count = count.saturating_add(by);
    }

    fn gauge(&self, metric: &'static str, value: u64) {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner).insert(metric, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Hand, Published};

    fn alerts() -> (AwsAlerts, Published) {
        let published = Published::default();
        (AwsAlerts::new(Box::new(published.clone()), "test", Arc::new(Hand::default())), published)
    }

    #[tokio::test]
    async fn counters_become_one_line_for_each_label() {
        let (alerts, _) = alerts();
        alerts.count("received", "stripe-main", 2);
        alerts.count("received", "stripe-main", 1);
        alerts.count("receive_refused", "", 1);
        let lines: Vec<serde_json::Value> =
            alerts.take_lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["received"], 3);
        assert_eq!(lines[1]["connection"], "stripe-main");
        assert_eq!(lines[0]["code"], "none");
        let directive = &lines[1]["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], serde_json::json!([["environment", "connection"]]));
        assert_eq!(directive["Metrics"], serde_json::json!([{ "Name": "received", "Unit": "Count" }]));
        assert!(alerts.take_lines().is_empty(), "told once");
    }

    #[tokio::test]
    async fn a_gauge_is_told_with_the_environment_alone_and_zero_too() {
        let (alerts, _) = alerts();
        alerts.gauge("parked_open", 3);
        alerts.gauge("parked_open", 0);
        let lines = alerts.take_lines();
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["parked_open"], 0);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], serde_json::json!([["environment"]]));
        assert_eq!(directive["Metrics"], serde_json::json!([{ "Name": "parked_open", "Unit": "Count" }]));
    }

    #[tokio::test]
    async fn one_code_does_not_flood_the_topic() {
        let (alerts, published) = alerts();
        for _ in 0..20 {
            let order = Some("shop/1".to_owned());
            let text = "look".to_owned();
            alerts.raise(Alert { code: "parked".into(), severity: Severity::Critical, order, text }).await;
        }
        let told = published.all();
        assert_eq!(told.len(), 5);
        assert_eq!(told[0], ("[critical] parked (test)".to_owned(), "order shop/1: look".to_owned()));
        assert!(alerts.take_lines().iter().any(|line| line.contains("\"alerts\":20")));
    }
}
