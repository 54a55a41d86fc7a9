//! The pairs of systems a world can be made of.

/// A pair of gateway and shop, by the name of its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pair {
    /// Stripe and Clarity.
    #[default]
    StripeClarity,
    /// Cybersource and Clarity.
    CybersourceClarity,
}

impl Pair {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::StripeClarity, Self::CybersourceClarity];

    /// The template's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StripeClarity => "stripe-clarity",
            Self::CybersourceClarity => "cybersource-clarity",
        }
    }

    /// The systems whose commands have a queue.
    pub(crate) const fn systems(self) -> [&'static str; 3] {
        match self {
            Self::StripeClarity => ["stripe", "clarity", "notify"],
            Self::CybersourceClarity => ["cybersource", "clarity", "notify"],
        }
    }

    /// Names of the connections: two shops, then the two gateways beside them.
    pub(crate) const fn connections(self) -> [&'static str; 4] {
        match self {
            Self::StripeClarity => ["shop", "shop2", "stripe", "stripe2"],
            Self::CybersourceClarity => ["shop", "shop2", "cyber", "cyber2"],
        }
    }

    /// The configuration as a file would have it.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::StripeClarity => STRIPE,
            Self::CybersourceClarity => CYBERSOURCE,
        }
    }

    /// What the shop calls a paid order.
    pub(crate) const fn paid(self) -> &'static str {
        match self {
            Self::StripeClarity => "Paid",
            Self::CybersourceClarity => "Payment Received",
        }
    }

    /// A mapping that a merchant changes in mid-run.
    pub(crate) const fn changed_mapping(self) -> &'static str {
        match self {
            Self::StripeClarity => "clarity/status",
            Self::CybersourceClarity => "clarity/cybersource-status",
        }
    }
}

const STRIPE: &str = r#"
masking: off
connections:
  shop: { system: clarity, base_url: "https://shop.sim.example/api/v1", rate_limit.per_second: 1000 }
  shop2: { system: clarity, base_url: "https://shop2.sim.example/api/v1", rate_limit.per_second: 1000 }
  stripe: { system: stripe, base_url: "https://stripe.sim.example", rate_limit.per_second: 1000, multicapture: if_available }
  stripe2: { system: stripe, base_url: "https://stripe2.sim.example", rate_limit.per_second: 1000, multicapture: if_available }
pairs:
  main: { flow: stripe-clarity, shop: shop, gateway: stripe, return_url: "https://shop.example.com/return" }
  second: { flow: stripe-clarity, shop: shop2, gateway: stripe2, return_url: "https://shop.example.com/return" }
"#;

const CYBERSOURCE: &str = r#"
masking: off
connections:
  shop: { system: clarity, base_url: "https://shop.sim.example/api/v1", rate_limit.per_second: 1000 }
  shop2: { system: clarity, base_url: "https://shop2.sim.example/api/v1", rate_limit.per_second: 1000 }
  cyber: { system: cybersource, base_url: "https://cyber.sim.example", merchant_id: sim, key_id: k1, rate_limit.per_second: 1000, allow_three_decimals: yes }
  cyber2: { system: cybersource, base_url: "https://cyber2.sim.example", merchant_id: sim, key_id: k1, rate_limit.per_second: 1000, allow_three_decimals: yes }
pairs:
  main: { flow: cybersource-clarity, shop: shop, gateway: cyber }
  second: { flow: cybersource-clarity, shop: shop2, gateway: cyber2 }
"#;
