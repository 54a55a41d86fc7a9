//! Asks Clarity what happened, and finds the webhooks that never came.
//!
//! Listens to: the schedule, every quarter of an hour.
//! Feeds: the events queue.
//! May: send to the events queue; read and write items of the table; put objects into the claims bucket;
//! read the secrets `tillway` and those of the clarity connections; publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::sweep("clarity")
}
