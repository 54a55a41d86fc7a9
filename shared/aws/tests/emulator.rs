//! The contract of the ports and the way of an event, over an emulator of AWS (ministack).
//!
//! `TILLWAY_TEST_AWS` names its address; `TILLWAY_TEST_AWS_CLOCK` the file that puts its clock forward (see
//! `emulator.py`). Without them these tests say so and pass.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests talk to a service that the environment names, in real time"
)]

mod emulator {
    pub(crate) mod cloud;
    mod contract;
    mod keeper;
    mod pages;
    mod parts;
}
