//! Receives Stripe's webhooks about payments; also topic `events`, for one endpoint that gets every type.
//!
//! Listens to: `POST /webhooks/{connection}/payments`, `POST /webhooks/{connection}/events`.
//! Feeds: the events queue (a body over 200 KB lies in the bucket of claim checks).
//! May: send to the events queue, put objects into the claims bucket, read the secrets `intake` and those of
//! the stripe connections, publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::webhook("stripe", &["payments", "events"])
}
