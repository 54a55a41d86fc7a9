//! Acts on Stripe: one command is one effect, claimed by condition, done once.
//!
//! Listens to: the commands queue of stripe.
//! Feeds: the events queue, with the results.
//! May: receive from, delete from and give back to its commands queue; send to the events queue; read, write
//! and delete items of the table; put objects into the claims bucket; read the secrets `tillway` and those of
//! the stripe connections; publish alerts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillway_aws::entry::act("stripe")
}
