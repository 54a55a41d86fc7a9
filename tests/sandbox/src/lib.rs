//! Stateful sandboxes of the outside systems, one implementation for two uses: the demo serves them over
//! HTTP on loopback, the simulator calls them in memory under a virtual clock.
//!
//! A sandbox is a pure state machine: it never reads a clock or draws randomness. Callers pass the time
//! in, ids come from a seed and a counter, and faults are put in by name.

pub mod clarity;
pub mod cybersource;
mod faults;
pub mod server;
pub mod stripe;

use tillway_core::http::{Method, Request, Response};
use tillway_core::time::{Millis, Timestamp};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The answer reaches the caller.
    Answer(Response),
    /// The caller hears nothing: the connection times out or breaks. Whether the effect took place is the
    /// sandbox's secret.
    Silence,
}

/// A webhook on its way to Tillway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Handle for [`Sandbox::delivered`].
    pub id: u64,
    /// The topic, i.e. the last part of the webhook URL: `payments`, `orders`, ….
    pub topic: String,
    /// The provider's event id.
    pub event_id: String,
    /// The provider's event type.
    pub event_type: String,
    /// Signed headers and exact body; the URL is filled in by the caller.
    pub request: Request,
}

/// A fault of one API call, used up by the first call it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiFault {
    /// Answers with this status before anything is executed (429, 503, …).
    Refuse(u16),
    /// Executes nothing, and stores and answers a 500 under the idempotency key where there is one.
    Fail500,
    /// Executes the call and then answers 500, stored under the idempotency key where there is one.
    Fail500AfterEffect,
    /// Nothing is executed and nobody answers.
    SilenceBefore,
    /// The call is executed and nobody answers.
    SilenceAfter,
}

/// Where a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiFaultRule {
    /// Only this method; any where `None`.
    pub method: Option<Method>,
    /// Only paths that contain this text.
    pub path_contains: String,
    /// What happens.
    pub fault: ApiFault,
    /// How many calls it strikes.
    pub times: u32,
}

/// A fault of webhook delivery, used up by the first event it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookFault {
    /// Delivered this many extra times.
    Duplicate(u32),
    /// Held back this long, so that later events overtake it.
    Delay(Millis),
    /// Never delivered, never retried. The event can still be listed.
    Lose,
}

/// Where a webhook fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookFaultRule {
    /// Only event types that contain this text; all where empty.
    pub type_contains: String,
    /// What happens.
    pub fault: HookFault,
    /// How many events it strikes.
    pub times: u32,
}

/// What every sandbox can do.
pub trait Sandbox: Send {
    /// Answers one API request. `now` never goes backwards.
    fn handle(&mut self, now: Timestamp, request: &Request) -> Reply;
    /// The next request arrived at this time already, and is carried out only now. Matters where requests age.
    fn arrived(&mut self, _at: Timestamp) {}
    /// Lets time-driven things happen (authorizations expire, refunds fail later, retries fall due).
    fn advance(&mut self, now: Timestamp);
    /// Webhooks due now. Each is signed as of `now`. A delivery taken is in flight until
    /// [`Sandbox::delivered`] is called for it.
    fn take_deliveries(&mut self, now: Timestamp) -> Vec<Delivery>;
    /// Tells the answer a delivery got (`None`: nobody answered). Anything but 2xx is retried later.
    fn delivered(&mut self, now: Timestamp, id: u64, status: Option<u16>);
    /// When something next falls due by time alone, if anything.
    fn next_due(&self) -> Option<Timestamp>;
    /// Deliveries taken whose answer was not told yet.
    fn in_flight(&self) -> usize;
    /// Adds a fault of API calls.
    fn inject(&mut self, rule: ApiFaultRule);
    /// Adds a fault of webhooks.
    fn inject_hook(&mut self, rule: HookFaultRule);
    /// Every call is refused with 503 until this time.
    fn down_until(&mut self, until: Timestamp);
}
