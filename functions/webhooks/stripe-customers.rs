//! Receives Stripe's webhooks about customers.
//!
//! Listens to: `POST /webhooks/{connection}/customers`.
//! Feeds: the events queue (a body over 200 KB lies in the bucket of claim checks).
//! May: send to the events queue, put objects into the claims bucket, read the secrets `intake` and those of
//! the stripe connections, publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::webhook("stripe", &["customers"])
}
