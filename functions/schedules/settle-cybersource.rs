//! Settles what Cybersource paid out: each day after its cut-off, and what was announced or is waited for.
//!
//! Listens to: the schedules, every morning in the merchant's time zone and every five minutes.
//! Feeds: the events queue, with what orders did not know of their payments.
//! May: read, write and delete items of the table; query the table and its index `list`; get, put and delete
//! the documents of settlement, and put those that were thrown away aside; send to the events queue; put
//! objects into the claims bucket; read the secrets `tillway` and those of the cybersource connections;
//! publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::settle("cybersource")
}
