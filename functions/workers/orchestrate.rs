//! Decides: works events, writes facts, commands and journal in one transaction, sends the commands.
//!
//! Listens to: the events queue (FIFO).
//! Feeds: every commands queue.
//! May: receive from, delete from, give back to and send to the events queue; send to the commands queues;
//! read, write and delete items of the table; put, get and delete objects of the claims bucket; read the
//! secret `tillway`; publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::decide()
}
