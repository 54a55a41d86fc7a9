//! Looks at dead letters: parks what they were about, tells the order and raises an alert.
//!
//! Listens to: the dead-letter queues of events and of every system's commands.
//! Feeds: the events queue.
//! May: receive from and delete from the dead-letter queues; send to the events queue; read, write and
//! delete items of the table; put, get and delete objects of the claims bucket; read the secret `tillway`;
//! publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::triage()
}
