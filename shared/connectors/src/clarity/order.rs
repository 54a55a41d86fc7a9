//! An order as the shop has it: the snapshot, checked; the personal data beside it; who ordered.

use std::collections::BTreeMap;

use tillway_core::facts::{Line, OrderSnapshot, OrderStatus, Shipment};
use tillway_core::money::{Currency, Money};
use tillway_core::pan;
use tillway_core::value::Value;

use super::settings::{self, VersionFrom};
use super::wire::{Fault, Node};
use crate::config::{Connection, Secret};

/// What an order says.
pub struct Read {
    /// Free of personal data.
    pub snapshot: OrderSnapshot,
    /// By the names flows know.
    pub personal: Value,
    /// Who ordered.
    pub person: Option<Secret>,
    /// Brand of the card behind the token, where the shop says it.
    pub brand: Option<String>,
}

/// What orders the snapshots of one order; see [`VersionFrom`] for why only one member ever counts.
pub fn version(connection: &Connection, order: &Node<'_>) -> Result<Option<i64>, Fault> {
    match settings::version_from(connection) {
        VersionFrom::Version => order.member("version")?.count(),
        VersionFrom::UpdatedAt => Ok(order.member("updatedAt")?.time()?.map(|at| at.0)),
    }
}

/// Refuses a test order where real money moves.
pub fn no_test_in_production(connection: &Connection, node: &Node<'_>) -> Result<bool, Fault> {
    let flag = node.member("testMode")?;
    let test = flag.flag()?;
    if test && connection.production {
        let what = "a test order came to a production connection; point the shop's test store elsewhere";
        return Err(flag.fault("test_event_in_production", what));
    }
    Ok(test)
}

/// Reads an order of a known version.
pub fn read(connection: &Connection, order: &Node<'_>, version: i64) -> Result<Read, Fault> {
    let order_id = order.member("orderId")?.needed_id()?;
    let test = no_test_in_production(connection, order)?;
    let status = status(connection, &order.member("status")?)?;
    let total_at = order.member("total")?;
    let Some(total) = total_at.money(None)? else {
        return Err(total_at.fault("member_malformed", "expected an amount, got nothing"));
    };
    let amounts = Amounts::read(order, total)?;
    amounts.check(order)?;

    let payment = order.member("payment")?;
    let customer = order.member("customer")?;
    let customer_ref = customer.member("customerId")?.id()?;
    let pointer = settings::get(connection, settings::GATEWAY_CUSTOMER);
    let snapshot = OrderSnapshot {
        number: order.member("orderNumber")?.id()?.unwrap_or_else(|| order_id.clone()),
        order_id,
        version,
        placed_at: order.member("createdAt")?.time()?,
        status,
        total,
        tax: amounts.tax,
        shipping: amounts.shipping,
        shipments: shipments(order)?,
        token: token(&payment.member("token")?, TRANSIENT)?,
        payment: payment.member("paymentIntentId")?.id()?,
        gateway: payment.member("gateway")?.id()?,
        guest: customer_ref.is_none(),
        gateway_customer: customer.member("externalIds")?.member(pointer)?.id()?,
        customer_ref,
        test,
        lines: amounts.lines,
    };
    let device = device(connection, order)?;
    let (personal, person) = people(order, &customer, device, snapshot.customer_ref.as_deref())?;
    // A brand that cannot be read is one that is not known.
    let brand = payment.member("cardBrand").and_then(|at| at.text()).ok().flatten();
    let brand = brand.filter(|b| b.len() <= 40 && b.bytes().all(|c| c.is_ascii_alphabetic() || c == b' '));
    Ok(Read { snapshot, personal, person, brand })
}

fn status(connection: &Connection, at: &Node<'_>) -> Result<OrderStatus, Fault> {
    let text =
        at.text()?.ok_or_else(|| at.fault("member_malformed", "expected a status text, got nothing"))?;
    settings::status_in(connection, &text).ok_or_else(|| {
        let what = "the shop's status text is not in status_in; add it with its canonical name and replay";
        at.fault("status_unknown", what)
    })
}

/// Longest token that is charged: the JWT of a card field (Microform and the like) has some thousand characters.
const TRANSIENT: usize = 8192;
/// Longest id of a stored token.
pub(super) const STORED: usize = 256;

/// A gateway's token, which is never a card number.
pub(super) fn token(at: &Node<'_>, most: usize) -> Result<Option<String>, Fault> {
    let Some(token) = at.text()? else { return Ok(None) };
    if !pan::find(&token).is_empty() {
        return Err(at.fault("card_number", "a card number stands where a gateway's token belongs"));
    }
    if token.len() > most || !token.bytes().all(|b| b.is_ascii_graphic()) {
        let what = format!("expected a token of up to {most} characters without spaces");
        return Err(at.fault("member_malformed", what));
    }
    Ok(Some(token))
}

fn shipments(order: &Node<'_>) -> Result<Vec<Shipment>, Fault> {
    let mut shipments = Vec::new();
    for at in order.member("shipments")?.list()? {
        let mut lines = Vec::new();
        for line in at.member("lines")?.list()? {
            lines.push((line.member("lineId")?.needed_id()?, line.member("quantity")?.quantity()?));
        }
        shipments.push(Shipment { id: at.member("shipmentId")?.needed_id()?, lines });
    }
    Ok(shipments)
}

/// Most characters of an article's name.
const NAME: usize = 255;

/// The amounts of an order in minor units.
struct Amounts {
    currency: Currency,
    total: i64,
    lines: Vec<Line>,
    /// Quantity × unit price of all lines.
    gross: i64,
    /// Discounts of the lines.
    line_discount: i64,
    /// Taxes of the lines.
    line_tax: i64,
    /// All tax.
    tax: i64,
    shipping: i64,
    discount: Option<i64>,
    subtotal: Option<i64>,
}

impl Amounts {
    fn read(order: &Node<'_>, total: Money) -> Result<Self, Fault> {
        let currency = total.currency;
        let minor = |name: &str| Ok::<_, Fault>(order.member(name)?.money(Some(currency))?.map(|m| m.minor));
        let mut amounts = Self {
            currency,
            total: total.minor,
            lines: Vec::new(),
            gross: 0,
            line_discount: 0,
            line_tax: 0,
            tax: 0,
            shipping: minor("shippingTotal")?.unwrap_or(0),
            discount: minor("discountTotal")?,
            subtotal: minor("subtotal")?,
        };
        let lines = order.member("lines")?;
        for line in lines.list()? {
            amounts.add(&line)?;
        }
        if amounts.lines.is_empty() {
            return Err(lines.fault("no_lines", "an order has at least one line"));
        }
        amounts.tax = minor("taxTotal")?.unwrap_or(amounts.line_tax);
        Ok(amounts)
    }

    fn add(&mut self, at: &Node<'_>) -> Result<(), Fault> {
        let quantity = at.member("quantity")?.quantity()?;
        let price_at = at.member("unitPrice")?;
        let price = price_at.price(self.currency)?;
        let gross =
            Money::extend(price, quantity, self.currency).map_err(|e| price_at.money_fault(&e))?.minor;
        let minor =
            |name: &str| Ok::<_, Fault>(at.member(name)?.money(Some(self.currency))?.map_or(0, |m| m.minor));
        let (discount, tax) = (minor("discount")?, minor("tax")?);
        let overflow = || at.fault("amount_overflow", "the amounts do not fit");
        let net = gross.checked_sub(discount).ok_or_else(overflow)?;
        if net < 0 {
            let what = "the discount is larger than the line";
            return Err(at.member("discount")?.fault("amount_negative", what));
        }
        let line_id = at.member("lineId")?.needed_id()?;
        let sku = at.member("sku")?.needed_id()?;
        let total = net.checked_add(tax).ok_or_else(overflow)?;
        self.gross = self.gross.checked_add(gross).ok_or_else(overflow)?;
        self.line_discount = self.line_discount.checked_add(discount).ok_or_else(overflow)?;
        self.line_tax = self.line_tax.checked_add(tax).ok_or_else(overflow)?;
        // A name that is no text is one that is not known.
        let name = at.member("name").and_then(|name| name.text()).ok().flatten();
        let name = name.map(|name| name.chars().filter(|c| !c.is_control()).take(NAME).collect());
        let unit_price = Some(price);
        self.lines.push(Line { line_id, sku, quantity, total, tax, name, unit_price, discount });
        Ok(())
    }

    /// The total must be what its parts make, within one minor unit for each line. A part that is absent
    /// counts as nothing: a total with unexplained money in it would be charged and posted wrongly.
    ///
    /// The contract leaves two things open, and either reading may fit: whether `discountTotal` holds the
    /// lines' discounts too, and what `subtotal` is before. `taxTotal` always holds the lines' taxes.
    fn check(&self, order: &Node<'_>) -> Result<(), Fault> {
        let slack = i128::try_from(self.lines.len()).unwrap_or(0);
        let wide = i128::from;
        let (gross, line_discount, line_tax) =
            (wide(self.gross), wide(self.line_discount), wide(self.line_tax));
        let off = |a: i128, b: i128| (a - b).abs();

        if wide(self.tax) - line_tax < -slack {
            let what = "taxTotal is less than the taxes of the lines";
            return Err(order.member("taxTotal")?.fault("totals_do_not_add_up", what));
        }
        if let Some(subtotal) = self.subtotal.map(wide) {
            let readings = [gross, gross - line_discount, gross - line_discount + line_tax];
            if !readings.into_iter().any(|reading| off(reading, subtotal) <= slack) {
                let what = "subtotal is not the sum of the lines, neither before nor after discount and tax";
                return Err(order.member("subtotal")?.fault("totals_do_not_add_up", what));
            }
        }
        let before = gross + wide(self.shipping) + wide(self.tax);
        let total = wide(self.total);
        let beside_lines = line_discount + self.discount.map_or(0, wide);
        let with_lines = self.discount.map(wide).filter(|all| *all >= line_discount - slack);
        let by = off(before - beside_lines, total);
        let by = with_lines.map_or(by, |all| off(before - all, total).min(by));
        if by > slack {
            let what = format!(
                "lines, tax, shipping and discount make another total; they are {by} minor units apart, \
                 allowed is 1 for each line. Correct the order in the shop"
            );
            return Err(order.member("total")?.member("amount")?.fault("totals_do_not_add_up", what));
        }
        Ok(())
    }
}

/// A full name of its parts.
pub fn joined(first: Option<&String>, last: Option<&String>) -> Option<String> {
    let parts: Vec<&str> = [first, last].into_iter().flatten().map(String::as_str).collect();
    Some(parts.join(" ")).filter(|name| !name.is_empty())
}

/// The texts that are there, by name.
pub fn map(pairs: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Option<Value> {
    let there = pairs.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::Text(text?))));
    let map: BTreeMap<String, Value> = there.collect();
    (!map.is_empty()).then_some(Value::Map(map))
}

fn address(at: &Node<'_>) -> Result<Option<Value>, Fault> {
    let text = |name: &str| at.member(name)?.text();
    Ok(map([
        ("name", joined(text("firstName")?.as_ref(), text("lastName")?.as_ref()).or(text("company")?)),
        ("company", text("company")?),
        ("line1", text("street1")?),
        ("line2", text("street2")?),
        ("city", text("city")?),
        ("region", text("region")?),
        ("postal_code", text("postalCode")?),
        ("country", text("country")?),
        ("phone", text("phone")?),
        ("email", text("email")?),
    ]))
}

/// What the order was placed with, from where the connection's settings say that this shop tells it.
fn device(connection: &Connection, order: &Node<'_>) -> Result<Option<Value>, Fault> {
    let told = |setting: &'static str| {
        let path = settings::get(connection, setting);
        if path.is_empty() {
            return Ok(None);
        }
        path.split('.').try_fold(*order, |at, name| at.member(name))?.text()
    };
    Ok(map([("ip_address", told(settings::IP_ADDRESS)?), ("session", told(settings::DEVICE_SESSION)?)]))
}

/// Personal data, and the identity it belongs to: the e-mail, for a shop's own id tells nothing to the
/// other systems that know the person; a guest's may stand in the billing address alone.
fn people(
    order: &Node<'_>,
    customer: &Node<'_>,
    device: Option<Value>,
    reference: Option<&str>,
) -> Result<(Value, Option<Secret>), Fault> {
    let billing = order.member("billingAddress")?;
    let text = |name: &str| customer.member(name)?.text();
    let (first, last) = (text("firstName")?, text("lastName")?);
    let mut email = text("email")?;
    if email.is_none() && reference.is_none() {
        email = billing.member("email")?.text()?;
    }
    let person = match (&email, reference) {
        (Some(email), _) => Some(Secret::new(format!("mail:{}", email.to_lowercase()))),
        (None, Some(id)) => Some(Secret::new(format!("ref:{id}"))),
        (None, None) => None,
    };
    let bill_to = address(&billing)?;
    let ship_to = address(&order.member("shippingAddress")?)?.filter(|ship| Some(ship) != bill_to.as_ref());
    let customer = map([
        ("name", joined(first.as_ref(), last.as_ref())),
        ("first_name", first),
        ("last_name", last),
        ("company", text("company")?),
        ("phone", text("phone")?),
        ("email", email),
    ]);
    let parts = [("customer", customer), ("bill_to", bill_to), ("ship_to", ship_to), ("device", device)];
    let parts: BTreeMap<String, Value> =
        parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?))).collect();
    let personal = if parts.is_empty() { Value::Null } else { Value::map([("order", Value::Map(parts))]) };
    Ok((personal, person))
}
