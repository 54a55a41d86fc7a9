//! The conformance kit: what every connector has to hold, written once and run on each against its sandbox.
//!
//! A system takes part by implementing [`world::System`] in a file of its own and a line in [`conform`]. What a connector
//! declares it cannot do is printed as such and never passed over in silence: `cargo test -p tillway-sandbox --test
//! conformance -- --nocapture` shows it, with the table of capabilities. Each check is seen to fail in `broken`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

#[path = "conformance/broken.rs"]
mod broken;
#[path = "conformance/clarity.rs"]
mod clarity;
#[path = "conformance/cybersource.rs"]
mod cybersource;
#[path = "conformance/declared.rs"]
mod declared;
#[path = "conformance/echo.rs"]
mod echo;
#[path = "conformance/once.rs"]
mod once;
#[path = "conformance/redaction.rs"]
mod redaction;
#[path = "conformance/signatures.rs"]
mod signatures;
#[path = "conformance/statuses.rs"]
mod statuses;
#[path = "conformance/stripe.rs"]
mod stripe;
#[path = "conformance/sweeps.rs"]
mod sweeps;
#[path = "conformance/throttled.rs"]
mod throttled;
#[path = "conformance/world.rs"]
mod world;

/// All checks on one system.
macro_rules! conform {
    ($($name:ident: $system:ty),+) => {$(
        mod $name {
            #[test]
            fn every_action_declared_is_driven_here() {
                super::declared::actions::<$system>();
            }
            #[test]
            fn every_currency_goes_as_declared_or_not_at_all() {
                super::declared::amounts::<$system>();
            }
            #[test]
            fn the_vendors_signature_vectors_hold() {
                super::signatures::vectors::<$system>();
            }
            #[tokio::test]
            async fn a_webhook_with_one_bit_changed_is_refused() {
                super::signatures::flips::<$system>().await;
            }
            #[tokio::test]
            async fn a_webhook_of_another_time_or_key_is_refused() {
                super::signatures::times_and_keys::<$system>().await;
            }
            #[tokio::test]
            async fn every_status_has_a_row_and_a_new_one_is_named() {
                super::statuses::total::<$system>().await;
            }
            #[tokio::test]
            async fn a_new_status_is_neither_done_nor_refused() {
                super::statuses::unheard_of::<$system>().await;
            }
            #[tokio::test]
            async fn an_answer_about_something_else_disagrees() {
                super::echo::lies::<$system>().await;
            }
            #[tokio::test]
            async fn one_command_is_one_effect_however_often_it_is_sent() {
                super::once::twice::<$system>().await;
            }
            #[tokio::test]
            async fn a_lost_answer_is_found_out_and_done_once() {
                super::once::lost::<$system>().await;
            }
            #[tokio::test]
            async fn a_sweep_cut_anywhere_goes_on_without_loss() {
                super::sweeps::cut::<$system>().await;
            }
            #[tokio::test]
            async fn a_rate_limit_is_kept_and_nothing_is_done() {
                super::throttled::all::<$system>().await;
            }
            #[tokio::test]
            async fn no_secret_and_nothing_personal_is_shown() {
                super::redaction::outcomes::<$system>().await;
            }
            #[test]
            fn no_refusal_repeats_a_parameter() {
                super::redaction::parameters::<$system>();
            }
        }
    )+

    /// A connector without a place in this kit fails.
    #[test]
    fn every_connector_takes_part() {
        let here = [$(<$system as world::System>::connector().system()),+];
        let all: Vec<&str> = tillway_connectors::registry().iter().map(|c| c.system()).collect();
        assert_eq!(here.as_slice(), all);
    }};
}

conform!(on_stripe: crate::stripe::Stripe, on_clarity: crate::clarity::Clarity, on_cybersource: crate::cybersource::Cybersource);
