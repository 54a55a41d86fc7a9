//! Sends what is due: commands, waits, events whose owner is not known yet.
//!
//! Listens to: the schedule, every minute.
//! Feeds: every commands queue, and the events queue.
//! May: send to the events and commands queues; read, write and delete items of the table; query the table's
//! indexes `due` and `list`; put objects into the claims bucket; read the secrets `tillway` and those of
//! every connection, for it asks the providers whose an object is; publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::tick()
}
