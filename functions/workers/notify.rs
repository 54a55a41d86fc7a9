//! Tells customers and staff, by e-mail or a chat webhook.
//!
//! Listens to: the commands queue of notices.
//! Feeds: the events queue, with the results.
//! May: receive from, delete from and give back to its commands queue; send to the events queue; read, write
//! and delete items of the table; put objects into the claims bucket; read the secrets `tillway`, `smtp` and
//! `staff`; publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::act("notify")
}
