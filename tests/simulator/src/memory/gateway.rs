//! The gateways' sandboxes, of whichever kind, and how the accounts of a world are set up.

use std::sync::OnceLock;

use tillway_core::time::Millis;
use tillway_sandbox::Sandbox;
use tillway_sandbox::cybersource::{
    Credentials, CybersourceConfig, CybersourceSandbox, Duplicates, Encryption, Envelope, Manner, Merchant,
    SignedOver, WebhookConfig,
};
use tillway_sandbox::stripe::{StripeConfig, StripeSandbox};

use super::small::{CYBERSOURCE_HOOKS, CYBERSOURCE_KEY, STRIPE_HOOKS, STRIPE_KEY};
use crate::dice::Dice;
use crate::draw::{MERCHANTS, Plan};
use crate::pair::Pair;

/// A gateway.
pub(crate) enum Gateway {
    Stripe(Box<StripeSandbox>),
    Cybersource(Box<CybersourceSandbox>),
}

impl Gateway {
    /// The gateway of a pair, by its place.
    pub(crate) fn new(plan: &Plan, place: usize) -> Self {
        let seed = plan.seed.wrapping_add(3).wrapping_add(u64::try_from(place).unwrap_or(0));
        match plan.pair {
            Pair::StripeClarity => {
                let config = StripeConfig::new(STRIPE_KEY, STRIPE_HOOKS, seed);
                Self::Stripe(Box::new(StripeSandbox::new(config)))
            }
            Pair::CybersourceClarity => {
                let manners = plan.manners.get(place).copied().unwrap_or_default();
                let config = account(seed, plan.seed, manners);
                Self::Cybersource(Box::new(CybersourceSandbox::new(config)))
            }
        }
    }

    pub(crate) fn sandbox(&mut self) -> &mut dyn Sandbox {
        match self {
            Self::Stripe(stripe) => stripe.as_mut(),
            Self::Cybersource(cyber) => cyber.as_mut(),
        }
    }

    /// Whether a request changes anything there.
    pub(crate) fn changes(url: &str) -> bool {
        !url.ends_with("/tss/v2/searches")
    }
}

/// The key webhooks are encrypted for, and its private half as PEM.
pub(crate) fn mle() -> Option<&'static (Encryption, String)> {
    static KEY: OnceLock<Option<(Encryption, String)>> = OnceLock::new();
    KEY.get_or_init(|| Encryption::made_of(b"the simulator's key for webhooks")).as_ref()
}

/// An account at Cybersource: what differs between accounts, and what the sources leave open, is drawn.
fn account(seed: u64, world: u64, [own, eu, br]: [Manner; MERCHANTS]) -> CybersourceConfig {
    let mut dice = Dice::new(seed, 7);
    // Support must switch `payments.*` on: without it sweeps alone tell of payments made elsewhere.
    let encryption = mle().map(|(key, _)| key.clone()).filter(|_| dice.chance(5500));
    let mut hooks = WebhookConfig::new("k1", CYBERSOURCE_HOOKS, encryption);
    hooks.envelope = dice.pick(&ENVELOPES).unwrap_or(hooks.envelope);
    hooks.signed_over = dice.pick(&SIGNED).unwrap_or(hooks.signed_over);
    let credentials = Credentials::new("sim", "k1", CYBERSOURCE_KEY);
    let mut config = CybersourceConfig::new(credentials, hooks, seed);
    config.currencies.push("KWD".into());
    config.duplicates = dice
        .pick(&[Duplicates::Off, Duplicates::Off, Duplicates::Approved, Duplicates::Any])
        .unwrap_or(Duplicates::Off);
    config.search_lag = Millis::secs(dice.pick(&[5, 60, 300, 600]).unwrap_or(5));
    config.loose_search = dice.chance(5000);
    config.clock_skew = Millis::secs(dice.between(-60, 60));
    config.unknown_is_404 = dice.chance(5000);
    config.shows_comments = dice.chance(7000);
    config.shows_defined = !config.shows_comments || dice.chance(7000);
    config.lenient = lenient(world);
    config.manner = own;
    let further = |id: &str, key: &str, manner| Merchant {
        credentials: Credentials::new(id, key, CYBERSOURCE_KEY),
        manner,
    };
    // They are there even where nobody routes over them.
    config.conversions_as_xml = dice.chance(5000);
    config.merchants = vec![further("sim_eu", "k2", eu), further("sim_br", "k3", br)];
    config
}

/// Whether the gateways of a world take what others refuse.
pub(crate) const fn lenient(world: u64) -> bool {
    world.is_multiple_of(2)
}

const ENVELOPES: [Envelope; 4] =
    [Envelope::EncData, Envelope::EncryptedRequest, Envelope::Payload, Envelope::Whole];
const SIGNED: [SignedOver; 2] = [SignedOver::Body, SignedOver::Payload];
