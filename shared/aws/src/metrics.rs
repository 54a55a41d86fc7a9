//! Every metric there is. A counter or gauge that is not in this table fails a test, and so does a row nobody tells.

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name in CloudWatch, in the namespace [`NAMESPACE`].
    pub name: &'static str,
    /// Unit.
    pub unit: &'static str,
    /// The dimension beside `environment`; none where empty.
    pub label: &'static str,
    /// What one more of it, or its value, means.
    pub meaning: &'static str,
}

/// Namespace of all metrics.
pub const NAMESPACE: &str = "Tillway";

const fn counter(name: &'static str, label: &'static str, meaning: &'static str) -> Metric {
    Metric { name, unit: "Count", label, meaning }
}

/// Told by every tick, zero included, with the dimension `environment` alone.
const fn gauge(name: &'static str, unit: &'static str, meaning: &'static str) -> Metric {
    Metric { name, unit, label: "", meaning }
}

/// The table.
pub const METRICS: [Metric; 15] = [
    counter("received", "connection", "a webhook was accepted: verified, and taken by the events queue"),
    counter(
        "receive_refused",
        "code",
        "a webhook was refused at the edge, or could not be stored (not_stored)",
    ),
    counter("decided", "type", "an event changed an order: facts, commands or both were committed"),
    counter("events", "outcome", "an event changed nothing: duplicate, nothing_new, parked_already"),
    counter("events_waiting", "connection", "an event waits for the order it belongs to"),
    counter("events_unhandled", "type", "an authentic event of a type that no flow uses"),
    counter("alerts", "code", "an alert was raised, told to people or not"),
    counter(
        "messages_returned",
        "queue",
        "a message could not be worked, or not in time, and is handed out again",
    ),
    counter(
        "claims_gone",
        "queue",
        "a message whose large body is gone: it came again after it was dealt with",
    ),
    counter("sweep_lost", "connection", "an event whose webhook never came, found by a sweep"),
    gauge("due_oldest_seconds", "Seconds", "how long the oldest due piece of work has waited to be sent"),
    gauge("unknown_oldest_seconds", "Seconds", "for how long the oldest outcome of a call has been unknown"),
    gauge("parked_open", "Count", "items that wait for a person"),
    gauge(
        "settlement_overdue_seconds",
        "Seconds",
        "for how long a day has waited for its settlement since its cut-off",
    ),
    gauge("settlement_open_days", "Count", "days that the oldest open item of settlement has stood"),
];

/// The row of a name.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }

    /// Names of all metrics in the code: the first argument of `.count("…", …)` and `.gauge("…", …)`.
    fn told() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        sources(&root.join("../engine/src"), &mut files);
        sources(&root.join("src"), &mut files);
        let mut names = BTreeSet::new();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for call in code.split(".count(").skip(1).chain(code.split(".gauge(").skip(1)) {
                let argument = call.trim_start();
                if let Some(name) = argument.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                    names.insert(name.to_owned());
                }
            }
        }
        names
    }

    #[test]
    fn every_metric_is_in_the_table_and_every_row_is_told() {
        let table: BTreeSet<String> = METRICS.iter().map(|m| m.name.to_owned()).collect();
        assert_eq!(table.len(), METRICS.len(), "a name twice");
        assert_eq!(told(), table);
    }
}
