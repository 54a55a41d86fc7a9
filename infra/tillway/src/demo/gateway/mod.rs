//! The gateway's side of a merchant, whichever gateway it is: what it took and told, and in which words.

mod cybersource;
mod stripe;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tillway_sandbox::Sandbox;
use tillway_sandbox::cybersource::CybersourceSandbox;
use tillway_sandbox::server::{SandboxClock, SandboxServer};
use tillway_sandbox::stripe::StripeSandbox;

pub use cybersource::{CYBERSOURCE, Keys, WEBHOOK_KEY, WEBHOOK_KEY_ID};
pub use stripe::{STRIPE, WEBHOOK_SECRET as STRIPE_WEBHOOK_SECRET};

/// A gateway's words, and what scenarios name at its sandbox.
#[derive(Debug)]
pub struct System {
    /// The pair with Clarity: the name of its flow.
    pub pair: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// Name in configuration, lines and JSON.
    pub key: &'static str,
    /// What a connection's settings say besides its address.
    pub settings: &'static str,
    /// Where the merchant's people look at payments.
    pub desk: &'static str,
    /// A card with nothing wrong, and another one.
    pub cards: [&'static str; 2],
    /// Cards that are declined, each for its own reason.
    pub declined: &'static [&'static str],
    /// What the shop shows of an order that is paid in full.
    pub paid: &'static str,
    /// The status of a payment that was approved, of one let go before anything was taken, and of a declined one.
    pub statuses: [&'static str; 3],
    /// Part of the path of the call that charges or reserves, and of the one that gives back.
    pub paths: [&'static str; 2],
}

/// All of them, in the order they are played.
pub const SYSTEMS: [&System; 2] = [&STRIPE, &CYBERSOURCE];

/// One payment as the gateway has it. Amounts are in its minor units.
#[derive(Debug, Clone)]
pub struct Payment {
    /// Its id.
    pub id: String,
    /// The order it names.
    pub order: Option<String>,
    /// Its status, in the gateway's words.
    pub status: &'static str,
    /// Its currency's code.
    pub currency: String,
    /// What it was to be.
    pub amount: i64,
    /// Approved by the issuer.
    pub authorized: i64,
    /// Held and neither taken nor let go.
    pub held: i64,
    /// Taken, and not voided.
    pub captured: i64,
    /// Withdrawn before the batch.
    pub voided: i64,
    /// Let go by a reversal.
    pub let_go: i64,
    /// Given back.
    pub refunded: i64,
    /// Given back in vain.
    pub came_back: i64,
    /// Taken back by issuers.
    pub withdrawn: i64,
    /// Returned by them.
    pub reinstated: i64,
    /// Attempts, approved or not.
    pub attempts: usize,
    /// Charges approved.
    pub charges: usize,
    /// Of these, what nobody undid: more than one for an order is a double charge.
    pub standing: usize,
    /// Times that something was taken.
    pub captures: usize,
    /// Refunds, whatever became of them.
    pub refunds: usize,
}

/// How the webhooks of an account fared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deliveries {
    /// Lost on purpose.
    pub lost: usize,
    /// Given up.
    pub given_up: u64,
    /// Still to come.
    pub open: usize,
}

/// What the demo asks of any gateway's sandbox.
pub trait Gateway: Sandbox {
    /// The payments made for an order, oldest first.
    fn made_for(&self, order: &str) -> Vec<Payment>;
    /// All payments, oldest first.
    fn payments(&self) -> Vec<Payment>;
    /// Everything it told: the id that Tillway knows it by, and its type.
    fn told(&self) -> Vec<(String, String)>;
    /// Whether what a sweep found under this id is told by no webhook: nothing was lost then.
    fn only_swept(&self, event: &str) -> bool;
    /// How its webhooks fared.
    fn deliveries(&self) -> Deliveries;
    /// E-mail addresses of the customers it keeps.
    fn customers(&self) -> Vec<String>;
    /// What one command did more than once, in words.
    fn done_twice(&self) -> Vec<String>;
}

/// A merchant's account at a gateway.
#[derive(Clone)]
pub enum Account {
    /// At Stripe.
    Stripe(Arc<Mutex<StripeSandbox>>),
    /// At Cybersource.
    Cybersource(Arc<Mutex<CybersourceSandbox>>),
}

/// An account being looked at: nobody else touches it meanwhile.
pub enum Open<'a> {
    /// At Stripe.
    Stripe(MutexGuard<'a, StripeSandbox>),
    /// At Cybersource.
    Cybersource(MutexGuard<'a, CybersourceSandbox>),
}

/// A mutex stays usable when another thread panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    /// Opens an account and serves its sandbox on loopback.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub async fn open(
        system: &System,
        seed: u64,
        keys: &Keys,
        clock: &SandboxClock,
    ) -> std::io::Result<(Self, SandboxServer)> {
        if system.key == CYBERSOURCE.key {
            let account = Arc::new(Mutex::new(cybersource::sandbox(seed, keys)));
            let server = SandboxServer::start(account.clone(), clock.clone(), None).await?;
            return Ok((Self::Cybersource(account), server));
        }
        let account = Arc::new(Mutex::new(stripe::sandbox(seed)));
        let server = SandboxServer::start(account.clone(), clock.clone(), None).await?;
        Ok((Self::Stripe(account), server))
    }

    /// Looks at it.
    pub fn look(&self) -> Open<'_> {
        match self {
            Self::Stripe(account) => Open::Stripe(lock(account)),
            Self::Cybersource(account) => Open::Cybersource(lock(account)),
        }
    }
}

impl Deref for Open<'_> {
    type Target = dyn Gateway;
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Stripe(account) => &**account,
            Self::Cybersource(account) => &**account,
        }
    }
}

impl DerefMut for Open<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Stripe(account) => &mut **account,
            Self::Cybersource(account) => &mut **account,
        }
    }
}

/// The secrets of a connection, by the system its name begins with.
pub fn secrets(system: &str, keys: &Keys) -> Option<Vec<(&'static str, String)>> {
    match system {
        "stripe" => Some(stripe::secrets()),
        "cybersource" => Some(cybersource::secrets(keys)),
        _ => None,
    }
}
