//! What a webhook, a swept order or a swept customer means.

use tillway_core::doc::Json;
use tillway_core::facts::Fact;
use tillway_core::money::Currency;

use super::order::{self, Read};
use super::wire::{Fault, Node};
use super::{actions, customer, settings, sweep};
use crate::config::Connection;
use crate::port::{Interpreted, Observation, Owner, Rejected};

/// Who an event is about, as far as it tells.
fn owner(data: &Node<'_>) -> Owner {
    let id = data.member("orderId").and_then(|id| id.needed_id());
    id.map_or(Owner::Nobody, |id| Owner::Order { id })
}

impl From<Read> for Observation {
    fn from(read: Read) -> Self {
        let brand = read.snapshot.token.clone().zip(read.brand);
        let brand = brand.map(|(token, brand)| Fact::CardBrand { token, brand });
        Self {
            facts: std::iter::once(Fact::Order(Box::new(read.snapshot))).chain(brand).collect(),
            personal: read.personal,
            person: read.person,
        }
    }
}

/// Says what an event means. `believed`: its content is what the shop said, signed or read by ourselves.
///
/// # Errors
/// [`Rejected`] where an authentic event cannot be accepted.
pub fn interpret(
    connection: &Connection,
    event_type: &str,
    body: Json<'_>,
    believed: bool,
) -> Result<Interpreted, Rejected> {
    let root = Node::root(body);
    if event_type == sweep::UNREADABLE {
        let said = root.member("said").and_then(|said| said.text()).ok().flatten().unwrap_or_default();
        return Err(Rejected {
            code: "customers_unreadable".to_owned(),
            field: "paths.customers".to_owned(),
            what: format!(
                "the list of customers is refused ({said}): changes of customers that no webhook told are not found; give the \
                 key the right to read customers, or set paths.customers, then drop the item"
            ),
            owner: Owner::Nobody,
        });
    }
    let data = root.member("data").map_err(|f| f.about("", Owner::Nobody))?;
    let read = match settings::event(connection, event_type) {
        Some("order.created" | "order.updated") => order_event(connection, &data, believed),
        Some("order.refund_requested") => refund_event(connection, &data),
        Some("customer.updated") => {
            let read = customer::event(connection, &data, believed);
            return read.map_err(|fault| fault.about("", customer::owner(&data)));
        }
        _ => return Ok(Interpreted::Unhandled),
    };
    read.map_err(|fault| fault.about("", owner(&data)))
}

fn order_event(connection: &Connection, data: &Node<'_>, believed: bool) -> Result<Interpreted, Fault> {
    let owner = Owner::Order { id: data.member("orderId")?.needed_id()? };
    let read_again =
        Interpreted::ReadAgain { owner: owner.clone(), action: actions::READ_ORDER, object: None };
    // A header secret proves who sent, not what was sent: the event is a hint.
    if !believed {
        return Ok(read_again);
    }
    let Some(version) = order::version(connection, data)? else { return Ok(read_again) };
    let read = order::read(connection, data, version)?;
    let person = read.person.clone();
    Ok(Interpreted::About { owner, observation: read.into(), person })
}

/// Reasons that pass as they are; free text may hold anything and becomes `other`.
const REASONS: [&str; 4] = ["requested_by_customer", "duplicate", "fraudulent", "goods_returned"];

fn refund_event(connection: &Connection, data: &Node<'_>) -> Result<Interpreted, Fault> {
    let id = data.member("orderId")?.needed_id()?;
    order::no_test_in_production(connection, data)?;
    let refund_at = data.member("refundId")?;
    let Some(refund_id) = refund_at.id()? else {
        let what = "a refund request without a stable id could be paid twice; make the refund by hand";
        return Err(refund_at.fault("refund_without_id", what));
    };
    let amount_at = data.member("amount")?;
    let Some(amount) = amount_at.signed_money(None::<Currency>)? else {
        return Err(amount_at.fault("member_malformed", "expected an amount, got nothing"));
    };
    if !amount.is_positive() {
        let what = "a refund has an amount above zero";
        return Err(amount_at.member("amount")?.fault("amount_not_positive", what));
    }
    if !settings::signed(connection) {
        // It cannot be read again either: the shop has no list of requests.
        let what = "this connection's webhooks carry no signature and a refund request cannot be read again; \
                    make sure of it in the shop, then make the refund by hand";
        return Err(refund_at.fault("refund_not_authentic", what));
    }
    let reason = data.member("reason")?.text()?.unwrap_or_default().to_lowercase().replace([' ', '-'], "_");
    let reason = REASONS.into_iter().find(|known| *known == reason).unwrap_or("other").to_owned();
    let fact = Fact::RefundRequested { id: refund_id, amount, reason };
    let observation = Observation { facts: vec![fact], ..Observation::default() };
    Ok(Interpreted::About { owner: Owner::Order { id }, observation, person: None })
}
