//! How an order must end, in each system, and what is not so.

use serde_json::{Value, json};
use tillway_core::facts::OrderStatus;

use super::gateway::{STRIPE, System};
use super::seen::Seen;

/// How an order must end, in each system. Amounts are the gateway's minor units.
#[derive(Debug, Clone)]
pub struct End {
    /// Whose words the gateway's are.
    pub system: &'static System,
    /// The shop's status.
    pub clarity: &'static str,
    /// The gateway's status of the payment.
    pub gateway: &'static str,
    /// Tillway's status.
    pub tillway: &'static str,
    /// Held and neither taken nor let go.
    pub held: i64,
    /// Let go by a reversal.
    pub let_go: i64,
    /// Taken, and not voided.
    pub captured: i64,
    /// Withdrawn before the batch.
    pub voided: i64,
    /// Given back.
    pub refunded: i64,
    /// Withdrawn by disputes and not reinstated.
    pub disputed: i64,
    /// Charges approved, over all payments of the order.
    pub charges: usize,
    /// Codes of what waits for a person, sorted.
    pub parked: Vec<&'static str>,
}

impl End {
    /// Paid in full by one charge, and the shop says so.
    pub fn paid(captured: i64) -> Self {
        Self::paid_at(&STRIPE, captured)
    }
    /// The same at any gateway.
    pub fn paid_at(system: &'static System, captured: i64) -> Self {
        let [approved, ..] = system.statuses;
        Self {
            system,
            clarity: system.paid,
            gateway: approved,
            tillway: OrderStatus::Paid.name(),
            held: 0,
            let_go: 0,
            captured,
            voided: 0,
            refunded: 0,
            disputed: 0,
            charges: 1,
            parked: Vec::new(),
        }
    }
    /// No money moved.
    pub fn unpaid(clarity: &'static str, stripe: &'static str, tillway: OrderStatus) -> Self {
        Self { clarity, gateway: stripe, tillway: tillway.name(), charges: 0, ..Self::paid(0) }
    }
    /// No money moved at any gateway, and none is held: nothing was approved.
    pub fn declined_at(system: &'static System) -> Self {
        let [.., failed] = system.statuses;
        let end = Self { gateway: failed, charges: 0, ..Self::paid_at(system, 0) };
        end.status("Payment Failed", OrderStatus::PaymentFailed)
    }
    /// One charge was approved and let go before anything was taken of it.
    pub fn let_go_at(system: &'static System, minor: i64) -> Self {
        let [_, ended, _] = system.statuses;
        // Stripe says it with the status alone.
        let let_go = if system.key == STRIPE.key { 0 } else { minor };
        let end = Self { gateway: ended, let_go, ..Self::paid_at(system, 0) };
        end.status("Cancelled", OrderStatus::Cancelled)
    }
    /// So much is still held.
    pub const fn holding(mut self, minor: i64) -> Self {
        self.held = minor;
        self
    }
    /// This much was voided: of what was taken as much less is.
    pub const fn voided(mut self, minor: i64) -> Self {
        self.captured = self.captured.saturating_sub(minor);
        self.voided = minor;
        self
    }
    /// The shop shows this.
    pub const fn shop(mut self, clarity: &'static str) -> Self {
        self.clarity = clarity;
        self
    }
    /// Both the shop and Tillway show this.
    pub fn status(mut self, clarity: &'static str, tillway: OrderStatus) -> Self {
        self.clarity = clarity;
        self.tillway = tillway.name();
        self
    }
    /// Given back.
    pub const fn refunded(mut self, minor: i64) -> Self {
        self.refunded = minor;
        self
    }
    /// Withdrawn by a dispute.
    pub const fn disputed(mut self, minor: i64) -> Self {
        self.disputed = minor;
        self
    }
    /// One charge was approved (and nothing taken of it).
    pub const fn authorized_once(mut self) -> Self {
        self.charges = 1;
        self
    }
    /// This waits for a person.
    pub fn parked(mut self, code: &'static str) -> Self {
        self.parked.push(code);
        self
    }

    /// What is not as it must be; empty where all is.
    pub fn differences(&self, seen: &Seen) -> Vec<String> {
        let mut out = Vec::new();
        let mut compare = |what: &str, is: String, must: String| {
            if is != must {
                out.push(format!("{what} is {is}, must be {must}"));
            }
        };
        compare("Clarity", seen.shop_status().to_owned(), self.clarity.to_owned());
        let gateway = seen.payment_status().unwrap_or("none");
        compare(self.system.name, gateway.to_owned(), self.gateway.to_owned());
        compare(
            "Tillway",
            seen.status().map_or("none", OrderStatus::name).to_owned(),
            self.tillway.to_owned(),
        );
        compare("held", seen.held().to_string(), self.held.to_string());
        compare("let go", seen.let_go().to_string(), self.let_go.to_string());
        compare("voided", seen.voided().to_string(), self.voided.to_string());
        compare("captured", seen.captured().to_string(), self.captured.to_string());
        compare("refunded", seen.refunded().to_string(), self.refunded.to_string());
        compare("disputed", seen.disputed().to_string(), self.disputed.to_string());
        compare("charges", seen.charges().to_string(), self.charges.to_string());
        compare("parked", seen.parked().join(" "), self.parked.join(" "));
        out
    }

    /// The same at the very end: what was held then may have run out since.
    pub fn differences_at_last(&self, seen: &Seen) -> Vec<String> {
        let held = if seen.held() == 0 { 0 } else { self.held };
        Self { held, ..self.clone() }.differences(seen)
    }

    /// As JSON, the gateway under its own name.
    pub fn json(&self) -> Value {
        let mut out = json!({
            "clarity": self.clarity,
            "tillway": self.tillway,
            "captured": self.captured,
            "refunded": self.refunded,
            "disputed": self.disputed,
            "charges": self.charges,
            "parked": self.parked,
        });
        let amounts = [("held", self.held), ("let_go", self.let_go), ("voided", self.voided)];
        let amounts = amounts.into_iter().filter(|(_, minor)| *minor != 0);
        if let Some(members) = out.as_object_mut() {
            members.insert(self.system.key.to_owned(), self.gateway.into());
            members.extend(amounts.map(|(name, minor)| (name.to_owned(), minor.into())));
        }
        out
    }
}
