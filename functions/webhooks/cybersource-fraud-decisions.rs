//! Receives Cybersource's webhooks about reviews of Decision Manager.
//!
//! Listens to: `POST /webhooks/{connection}/fraud-decisions`, and under the commissioned name
//! `POST /webhooks/{connection}/frauddecisionupdate`; `GET` of both, the provider's health check.
//! Feeds: the events queue (a body over 200 KB lies in the bucket of claim checks).
//! May: send to the events queue, put objects into the claims bucket, read the secrets `intake` and those of
//! the cybersource connections, publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::webhook("cybersource", &["fraud-decisions", "frauddecisionupdate"])
}
