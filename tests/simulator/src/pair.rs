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

    /// The configuration as a file would have it: with several merchant ids, where the gateway can have them.
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
  cyber: { system: cybersource, base_url: "https://cyber.sim.example", merchant_id: sim, key_id: k1, rate_limit.per_second: 1000, allow_three_decimals: yes,
    merchant_ids: [sim_eu, sim_br], routes: { sim_eu: { key_id: k2 }, sim_br: { key_id: k3 } } }
  cyber2: { system: cybersource, base_url: "https://cyber2.sim.example", merchant_id: sim, key_id: k1, rate_limit.per_second: 1000, allow_three_decimals: yes,
    merchant_ids: [sim_eu, sim_br], routes: { sim_eu: { key_id: k2 }, sim_br: { key_id: k3 } } }
pairs:
  main:
    flow: cybersource-clarity
    shop: shop
    gateway: cyber
    routing:
      retry_soft_declines: yes
      leave_out_after: 2
      pause: 5m
      one_in: 2
      rules:
        - { when: 'order.currency == "JPY"', routes: sim }
        - { when: 'order.currency == "EUR"', routes: [sim_eu, sim], retry_soft_declines: no }
        - { routes: [sim, sim_eu, sim_br] }
  second: { flow: cybersource-clarity, shop: shop2, gateway: cyber2, routing: { retry_soft_declines: yes } }
"#;
