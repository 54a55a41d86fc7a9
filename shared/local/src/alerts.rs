//! Alerts as log lines and, where configured, through a channel to people; counters in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tillway_engine::ports::{Alert, Alerts, Clock, Notice, Notify, Severity};
use tillway_host::quiet::{Quiet, Tell};

/// Most labels kept of a metric, and most codes of alerts counted; what comes after is counted under `other`.
const MOST_LABELS: usize = 200;
const OTHER: &str = "other";

/// Counters by metric and label, since the process began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What was counted.
    pub counters: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Alerts by code, those not told included.
    pub alerts: BTreeMap<String, u64>,
    /// How things stood when somebody last looked.
    pub gauges: BTreeMap<&'static str, u64>,
}

impl Snapshot {
    /// `{"counters": {metric: {label: n}}, "alerts": {code: n}, "gauges": {metric: n}}`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "counters": self.counters, "alerts": self.alerts, "gauges": self.gauges })
    }
}

/// [`Alerts`] of one machine.
pub struct LogAlerts {
    clock: Arc<dyn Clock>,
    channel: Option<Arc<dyn Notify>>,
    known: Mutex<Snapshot>,
    quiet: Quiet,
}

impl LogAlerts {
    /// Alerts to the log alone.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, channel: None, known: Mutex::new(Snapshot::default()), quiet: Quiet::default() }
    }

    /// Tells people too, as a notice to staff (a chat webhook, e-mail).
    #[must_use]
    pub fn with_channel(mut self, channel: Arc<dyn Notify>) -> Self {
        self.channel = Some(channel);
        self
    }

    /// The counters as they stand.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.known().clone()
    }

    fn known(&self) -> MutexGuard<'_, Snapshot> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Alerts for LogAlerts {
    async fn raise(&self, alert: Alert) {
        add(&mut self.known().alerts, &alert.code, 1);
        let told = self.quiet.judge(&alert.code, self.clock.now());
        let Some(Tell { quiet_before, since, nth }) = told else { return };
        let order = alert.order.as_deref().unwrap_or("");
        let severity = match alert.severity {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        match alert.severity {
            Severity::Warning => {
                tracing::warn!(
                    alert = true,
                    code = alert.code,
                    severity,
                    order,
                    quiet_before,
                    "{}",
                    alert.text
                );
            }
            Severity::Critical => {
                tracing::error!(
                    alert = true,
                    code = alert.code,
                    severity,
                    order,
                    quiet_before,
                    "{}",
                    alert.text
                );
            }
        }
        let Some(channel) = self.channel.clone() else { return };
        let mut text = alert.text;
        if !order.is_empty() {
            text = format!("order {order}: {text}");
        }
        if quiet_before > 0 {
            text = format!("{text}\n({quiet_before} more of this code were not told)");
        }
        let notice = Notice {
            id: format!("alert/{}/{}/{nth}", alert.code, since.0),
            audience: "staff".into(),
            to: None,
            subject: format!("[{severity}] {}", alert.code),
            text,
        };
        // Not waited for: who raises an alert is at work on an order. Bounded by the limit per code.
        tokio::spawn(async move {
            if let Err(error) = channel.notify(notice).await {
                tracing::error!(code = "alert_not_told", error = %error, "an alert did not reach its channel");
            }
        });
    }

    fn count(&self, metric: &'static str, label: &str, by: u64) {
        add(self.known().counters.entry(metric).or_default(), label, by);
    }

    fn gauge(&self, metric: &'static str, value: u64) {
        self.known().gauges.insert(metric, value);
    }
}

fn add(counts: &mut BTreeMap<String, u64>, label: &str, by: u64) {
    if let Some(count) = counts.get_mut(label) {
        *count = count.saturating_add(by);
        return;
    }
    let label = if counts.len() < MOST_LABELS { label } else { OTHER };
    let count = counts.entry(label.to_owned()).or_default();
    *count = count.saturating_add(by);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use tillway_core::time::{Millis, Timestamp};
    use tillway_engine::ports::NotifyError;
    use tillway_host::quiet::WINDOW;
    use tokio::sync::mpsc;

    use super::*;

    struct Hand(AtomicI64);
    #[async_trait]
    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
        async fn sleep(&self, length: Millis) {
            self.0.fetch_add(length.0, Ordering::SeqCst);
        }
    }

    struct Told(mpsc::UnboundedSender<Notice>);
    #[async_trait]
    impl Notify for Told {
        async fn notify(&self, notice: Notice) -> Result<(), NotifyError> {
            self.0.send(notice).unwrap();
            Ok(())
        }
    }

    fn alert(code: &str) -> Alert {
        Alert {
            code: code.into(),
            severity: Severity::Critical,
            order: Some("shop/1".into()),
            text: "look".into(),
        }
    }

    #[tokio::test]
    async fn one_code_does_not_flood_and_hides_no_other() {
        let clock = Arc::new(Hand(AtomicI64::new(0)));
        let (tell, mut told) = mpsc::unbounded_channel();
        let alerts = LogAlerts::new(clock.clone()).with_channel(Arc::new(Told(tell)));
        for _ in 0..50 {
            alerts.raise(alert("parked")).await;
        }
        alerts.raise(alert("rare")).await;
        clock.sleep(WINDOW).await;
        alerts.raise(alert("parked")).await;
        assert_eq!(alerts.snapshot().alerts, [("parked".to_owned(), 51), ("rare".to_owned(), 1)].into());
        drop(alerts);
        let mut notices = Vec::new();
        while let Some(notice) = told.recv().await {
            notices.push(notice);
        }
        assert_eq!(notices.len(), 7, "five, the rare one, and one of the next window");
        assert_eq!(notices.iter().filter(|n| n.subject == "[critical] rare").count(), 1);
        assert!(notices.iter().any(|n| n.text.contains("45 more")), "what was kept quiet is told");
        let ids: std::collections::BTreeSet<_> = notices.iter().map(|n| &n.id).collect();
        assert_eq!(ids.len(), 7);
    }

    #[test]
    fn counters_add_up_and_are_bounded() {
        let alerts = LogAlerts::new(Arc::new(Hand(AtomicI64::new(0))));
        alerts.count("receive_refused", "signature_wrong", 2);
        alerts.count("receive_refused", "signature_wrong", 1);
        for label in 0..1000 {
            alerts.count("by_label", &label.to_string(), 1);
        }
        let snapshot = alerts.snapshot();
        assert_eq!(snapshot.json()["counters"]["receive_refused"]["signature_wrong"], 3);
        let labels = &snapshot.counters["by_label"];
        assert!(labels.len() <= MOST_LABELS + 1);
        assert_eq!(labels.values().sum::<u64>(), 1000);
    }
}
