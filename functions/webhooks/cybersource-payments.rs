//! Receives Cybersource's webhooks about payments, captures, reversals and voids; bodies are encrypted.
//!
//! Listens to: `POST /webhooks/{connection}/payments`, and under the commissioned name
//! `POST /webhooks/{connection}/paymentstatusupdate`; `GET` of both, the provider's health check.
//! Feeds: the events queue (a body over 200 KB lies in the bucket of claim checks).
//! May: send to the events queue, put objects into the claims bucket, read the secrets `intake` and those of
//! the cybersource connections, publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::webhook("cybersource", &["payments", "paymentstatusupdate"])
}
