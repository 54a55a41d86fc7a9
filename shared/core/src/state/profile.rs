//! Joining what is known of a customer of the shop, and what its flow sees of it.

use std::collections::BTreeSet;

use super::OrderState;
use crate::facts::StepState;
use crate::profile::{CustomerSnapshot, Profile};
use crate::value::Value;

impl OrderState {
    /// Whether a snapshot says more than what is known: it is newer, or as old and told otherwise.
    #[must_use]
    pub fn is_newer_profile(&self, snapshot: &CustomerSnapshot) -> bool {
        self.profile.as_ref().is_none_or(|known| {
            let same = snapshot.version == known.snapshot.version;
            snapshot.version > known.snapshot.version || (same && !known.told.contains(&snapshot.mark()))
        })
    }

    /// Older versions never replace newer ones. What matters to the gateway is counted; an echo, in which the shop names
    /// the customer that we wrote, is not.
    pub(super) fn join_profile(&mut self, snapshot: &CustomerSnapshot) -> bool {
        let token = snapshot.instrument.clone().is_some_and(|token| self.instruments.insert(token));
        if !self.is_newer_profile(snapshot) {
            return token;
        }
        // The shop's own pointer goes before what was found by e-mail: it is asked about anew.
        let points_elsewhere =
            snapshot.gateway_customer.is_some() && snapshot.gateway_customer != self.customer;
        if points_elsewhere {
            self.customer = None;
        }
        let (mut seq, mut told) = (1, BTreeSet::new());
        if let Some(known) = self.profile.take() {
            let before = &known.snapshot;
            let lost = before.gateway_customer.is_some() && snapshot.gateway_customer.is_none();
            let matters = before.digest != snapshot.digest || points_elsewhere || lost;
            seq = known.seq.saturating_add(u32::from(matters));
            if before.version == snapshot.version {
                told = known.told;
            }
        }
        told.insert(snapshot.mark());
        self.forget_older_changes(seq);
        self.profile = Some(Box::new(Profile { snapshot: snapshot.clone(), seq, told }));
        true
    }

    /// What older changes asked for and is over is forgotten: a profile has no end, and would grow with each.
    fn forget_older_changes(&mut self, seq: u32) {
        self.steps.retain(|instance, state| {
            let over = matches!(state, StepState::Done | StepState::Skipped { .. });
            let change = instance.split_once('/').and_then(|(_, key)| key.parse::<u32>().ok());
            !over || change.is_none_or(|change| change >= seq)
        });
    }

    /// The gateway's customer is gone, or turned out to be another person's.
    pub(super) fn join_customer_lost(&mut self, id: &str) -> bool {
        if self.customer.as_deref() == Some(id) {
            self.customer = None;
        }
        self.lost_customers.insert(id.to_owned())
    }

    /// `profile` of the base view; none for an order.
    pub(super) fn profile_view(&self, personal: Option<&Value>) -> Option<Value> {
        let known = &self.profile.as_ref()?.snapshot;
        let own = |name: &str| personal.map_or(Value::Null, |p| p.at("profile").at(name).clone());
        Some(Value::map([
            ("id", Value::text(known.customer_id.clone())),
            ("gateway_customer", Value::opt_text(known.gateway_customer.clone())),
            (
                "known_customer",
                Value::opt_text(known.gateway_customer.clone().or_else(|| self.customer.clone())),
            ),
            ("email", own("email")),
            ("name", own("name")),
            ("first_name", own("first_name")),
            ("last_name", own("last_name")),
        ]))
    }

    /// The newest change alone: what an older one asked for is part of it. It waits until no command for an older one is
    /// out: what that brings is known then, and is not overtaken.
    pub(super) fn profile_changes(&self) -> Vec<(String, Value)> {
        let Some(profile) = &self.profile else { return Vec::new() };
        let older = |instance: &str| {
            let change = instance.split_once('/').and_then(|(_, key)| key.parse::<u32>().ok());
            change.is_some_and(|change| (1..profile.seq).contains(&change))
        };
        if self.steps.iter().any(|(name, s)| matches!(s, StepState::Issued { .. }) && older(name)) {
            return Vec::new();
        }
        let key = profile.seq.to_string();
        vec![(key, Value::map([("seq", Value::Int(i64::from(profile.seq)))]))]
    }

    /// Reusable tokens.
    pub(super) fn instrument_views(&self) -> Vec<(String, Value)> {
        let view = |id: &String| (id.clone(), Value::map([("id", Value::text(id.clone()))]));
        self.instruments.iter().map(view).collect()
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
