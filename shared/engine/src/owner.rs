//! Which pair an order belongs to.
//!
//! An order is bound to one pair with its first decision, under the condition of the order's revision: of two pairs that
//! would both take it, one wins, for good. Where a shop has several, the gateway that sent the event decides, else the
//! gateway the order names, else nothing: the event is parked. What another gateway tells of a bound order is
//! not joined to it but parked, and money of the order waits: somebody took it, or tried to, in a way that the order does
//! not expect.

use tillway_connectors::Observation;
use tillway_core::facts::{Fact, OrderSnapshot, Parked};
use tillway_core::ids::{ConnectionName, OrderKey};
use tillway_core::state::OrderState;

use crate::Engine;
use crate::config::Pair;
use crate::meaning::{Extra, event_parked};
use crate::records::{Event, EventBody};

/// Identity of the item that is parked once where the shop moves an order to another gateway.
const MOVED: &str = "gateway_changed";

/// The gateway a snapshot names, where that is the name of a system; a shop may use the field for other words.
fn named(snapshot: &OrderSnapshot) -> Option<String> {
    let word = snapshot.gateway.as_deref()?.to_ascii_lowercase();
    tillway_connectors::find(&word).map(|_| word)
}

/// The newest snapshot of the order among facts.
fn snapshot(facts: &[Fact]) -> Option<&OrderSnapshot> {
    facts.iter().rev().find_map(|f| match f {
        Fact::Order(snapshot) => Some(&**snapshot),
        _ => None,
    })
}

impl Engine {
    fn pairs_of_shop<'a, 'k>(&'a self, key: &'k OrderKey) -> impl Iterator<Item = &'a Pair> + use<'a, 'k> {
        self.config.pairs.iter().filter(|p| p.shop.as_str() == key.shop())
    }

    /// The pair an order belongs to: bound already, or the only one that fits.
    ///
    /// # Errors
    /// A sentence for the parking lot.
    pub(crate) fn pair_for<'a>(
        &'a self,
        state: &OrderState,
        connection: &ConnectionName,
        key: &OrderKey,
        facts: &[Fact],
    ) -> Result<&'a Pair, String> {
        if let Some(binding) = &state.binding {
            let lost = || format!("the order belongs to pair {}, which is not configured", binding.pair);
            return self.config.pair(&binding.pair).ok_or_else(lost);
        }
        if key.is_customer() {
            let none = || format!("no pair of {} keeps customers", key.shop());
            return self.config.profile_pair(&ConnectionName::new(key.shop())).ok_or_else(none);
        }
        let by_gateway: Vec<&'a Pair> =
            self.pairs_of_shop(key).filter(|p| p.gateway == *connection).collect();
        if let [one] = by_gateway.as_slice() {
            return Ok(one);
        }
        let named = snapshot(facts).or(state.order.as_deref()).and_then(named);
        let fits = |p: &&Pair| named.as_ref().is_none_or(|n| p.options.get("gateway") == Some(n));
        let all: Vec<&'a Pair> = self.pairs_of_shop(key).filter(fits).collect();
        match (all.as_slice(), named) {
            ([one], _) => Ok(one),
            ([], Some(gateway)) => Err(format!(
                "the order is to be paid at {gateway}, and no pair of {} has such a gateway; configure one, or mend the \
                 order's payment.gateway",
                key.shop()
            )),
            ([], None) => Err(format!("no pair takes orders of {}; configure one", key.shop())),
            (_, Some(gateway)) => Err(format!(
                "several pairs of {} have a gateway of {gateway}; an order can belong to one only",
                key.shop()
            )),
            (_, None) => Err(format!(
                "several pairs take orders of {}, and the order does not say where it is to be paid; let the shop \
                 send payment.gateway, or configure one pair",
                key.shop()
            )),
        }
    }

    /// What becomes of an event that a gateway of another pair sent about a bound order.
    pub(crate) fn of_another_pair(
        &self,
        pair: &Pair,
        event: &Event,
        key: &OrderKey,
    ) -> Option<(Observation, Extra)> {
        let provider = matches!(event.body, EventBody::Provider { .. });
        let other = self.pairs_of_shop(key).any(|p| p.gateway == event.connection);
        if !provider || !other || pair.gateway == event.connection {
            return None;
        }
        let what = format!(
            "{} tells of a payment of this order, which belongs to pair {} and is paid at {}; find out whether money was \
             taken twice, give back what is too much, then drop the item",
            event.connection, pair.name, pair.gateway
        );
        let parked = Parked { blocks_money: true, ..event_parked(event, "other_pair", what) };
        let observation = Observation { facts: vec![Fact::Parked(parked.clone())], ..Observation::default() };
        Some((observation, Extra { parked_raw: Some(parked), ..Extra::default() }))
    }

    /// An item for the parking lot where the shop sends a bound order that names another gateway than its pair's.
    pub(crate) fn names_another_gateway(
        &self,
        state: &OrderState,
        pair: &Pair,
        facts: &[Fact],
    ) -> Option<Fact> {
        let newest = snapshot(facts)?;
        // A late or repeated one replaces nothing.
        if state.order.as_ref().is_some_and(|known| newest.version <= known.version) {
            return None;
        }
        let named_now = named(newest)?;
        let own = pair.options.get("gateway")?;
        // Told once; dropped by a person, it comes again only when the shop changes its word.
        let known = state.order.as_deref().and_then(named).as_ref() == Some(&named_now);
        if state.binding.is_none() || named_now == *own || known || state.parked.contains_key(MOVED) {
            return None;
        }
        Some(Fact::Parked(Parked {
            id: MOVED.to_owned(),
            code: MOVED.to_owned(),
            field: Some("payment.gateway".to_owned()),
            what: format!(
                "the shop wants this order paid at {named_now}, and it belongs to pair {}, which uses {own}; cancel what is \
                 reserved there and place the order anew, or set payment.gateway back, then drop the item",
                pair.name
            ),
            step: None,
            blocks_money: true,
        }))
    }
}
