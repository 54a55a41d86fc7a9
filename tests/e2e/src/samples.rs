//! The sample webhooks in events/.

use std::path::PathBuf;

use serde_json::Value;

/// A sample.
pub struct Sample {
    /// The system its folder names.
    pub system: String,
    /// Its file.
    pub file: PathBuf,
    /// Its `type` or `eventType`.
    pub kind: String,
    /// Its body.
    pub body: Value,
}

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize().unwrap()
}

/// The samples of one system, sorted by file.
#[must_use]
pub fn of(system: &str) -> Vec<Sample> {
    all().into_iter().filter(|s| s.system == system).collect()
}

/// Every sample, sorted by file.
#[must_use]
pub fn all() -> Vec<Sample> {
    let mut out = Vec::new();
    for system in std::fs::read_dir(root().join("events")).unwrap() {
        let system = system.unwrap().path();
        if !system.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&system).unwrap() {
            let file = file.unwrap().path();
            let body: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap())
                .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            let kind = body["type"].as_str().or_else(|| body["eventType"].as_str());
            let kind = kind.unwrap_or_else(|| panic!("{}: no type", file.display())).to_owned();
            let system = system.file_name().unwrap().to_string_lossy().into_owned();
            out.push(Sample { system, file, kind, body });
        }
    }
    out.sort_by(|a, b| a.file.cmp(&b.file));
    out
}
