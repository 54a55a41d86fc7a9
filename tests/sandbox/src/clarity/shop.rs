//! What shoppers and the shop's staff do. Each control changes the shop and emits the webhook of it.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::json;
use tillway_core::money::{Currency, Money, MoneyError};
use tillway_core::time::Timestamp;

use super::ClaritySandbox;
use super::answers::read_quantity;
use super::config::StatusTexts;
use super::model::{
    Actor, Address, Customer, Device, OrderLine, OrderStatus, OrderTruth, PaymentInfo, RefundRequest,
    Shipment, StatusChange, Subscription, WireMoney,
};
use super::orders::set;
use super::shipments::Unshippable;

/// Why a control did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No such order.
    #[error("no order {0}")]
    UnknownOrder(String),
    /// An order of this id is there already.
    #[error("order {0} exists already")]
    OrderExists(String),
    /// No such line in the order.
    #[error("no line {0} in the order")]
    UnknownLine(String),
    /// An order has at least one line.
    #[error("an order needs at least one line")]
    NoLines,
    /// Not a count with at most four places above zero, or more than there is.
    #[error("not a fitting quantity: {0}")]
    Quantity(String),
    /// Everything has been shipped.
    #[error("nothing is left to be shipped")]
    NothingToShip,
    /// The amounts do not add up to one that fits.
    #[error(transparent)]
    Amount(#[from] MoneyError),
}

/// A line of an order to be placed. Amounts are in minor units of the order's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewLine {
    /// Article.
    pub sku: String,
    /// What it is.
    pub name: String,
    /// Pieces, a decimal text such as `2` or `0.5`, at most four places.
    pub quantity: String,
    /// Price of one piece, minor units.
    pub unit_price: i64,
    /// Discount on the line, minor units.
    pub discount: i64,
    /// Tax on the line, minor units.
    pub tax: i64,
}

/// An order to be placed. Amounts are in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Its id; the shop numbers it where there is none.
    pub order_id: Option<String>,
    /// Who orders; a guest has no `customer_id`. An account that the shop does not know yet is opened
    /// without a webhook of its own; of one it knows, the account's external ids are shown.
    pub customer: Customer,
    /// Where the bill goes; the customer's first address where there is none.
    pub billing_address: Option<Address>,
    /// Where the goods go, where that differs.
    pub shipping_address: Option<Address>,
    /// What it is placed with.
    pub device: Option<Device>,
    /// Lines, at least one.
    pub lines: Vec<NewLine>,
    /// Shipping, minor units.
    pub shipping: i64,
    /// Discount on the order as a whole, minor units.
    pub discount: i64,
    /// Currency of all of it.
    pub currency: Currency,
    /// Goes to `payment.gateway`.
    pub gateway: Option<String>,
    /// Goes to `payment.token`.
    pub payment_token: Option<String>,
    /// Goes to `payment.paymentIntentId`.
    pub payment_intent_id: Option<String>,
    /// Subscription it begins.
    pub subscription: Option<Subscription>,
    /// Note.
    pub note: Option<String>,
}

impl NewOrder {
    /// A guest's order without lines.
    #[must_use]
    pub fn new(currency: Currency) -> Self {
        Self {
            order_id: None,
            customer: Customer::default(),
            billing_address: None,
            shipping_address: None,
            device: None,
            lines: Vec::new(),
            shipping: 0,
            discount: 0,
            currency,
            gateway: None,
            payment_token: None,
            payment_intent_id: None,
            subscription: None,
            note: None,
        }
    }
}

fn count(text: &str) -> Result<Decimal, ControlError> {
    let read = read_quantity(text).filter(|q| *q > Decimal::ZERO);
    read.ok_or_else(|| ControlError::Quantity(text.to_owned()))
}

/// A quantity in ten-thousandths, the finest there is.
fn fine(quantity: Decimal) -> i64 {
    (quantity * Decimal::from(10_000)).to_i64().unwrap_or(i64::MAX)
}

/// Changes the pieces of a line or takes it out; its discount and tax shrink or grow with it.
fn resize(order: &mut OrderTruth, line_id: &str, quantity: Option<Decimal>) -> Result<bool, ControlError> {
    let mut new = order.clone();
    let at = new.lines.iter().position(|line| line.line_id == line_id);
    let at = at.ok_or_else(|| ControlError::UnknownLine(line_id.to_owned()))?;
    if let Some(quantity) = quantity {
        if let Some(line) = new.lines.get_mut(at) {
            let (part, whole) = (fine(quantity), fine(line.quantity));
            line.discount = line.discount.share(part, whole)?;
            line.tax = line.tax.share(part, whole)?;
            line.quantity = quantity;
        }
    } else if new.lines.len() == 1 {
        return Err(ControlError::NoLines);
    } else {
        new.lines.remove(at);
    }
    new.recount()?;
    let changed = new != *order;
    *order = new;
    Ok(changed)
}

impl ClaritySandbox {
    /// Places an order, with the totals its lines make; emits `order.created`. Returns its id.
    ///
    /// # Errors
    /// The id is taken, there are no lines, or a quantity or an amount does not fit.
    pub fn place_order(&mut self, now: Timestamp, new: NewOrder) -> Result<String, ControlError> {
        let currency = new.currency;
        let number = self.order_count + 1;
        let id = new.order_id.unwrap_or_else(|| format!("{}{}", self.config.order_ids, 100_000 + number));
        if self.orders.contains(&id) {
            return Err(ControlError::OrderExists(id));
        }
        let mut lines = Vec::with_capacity(new.lines.len());
        for (line, at) in new.lines.into_iter().zip(1_u32..) {
            lines.push(OrderLine {
                line_id: at.to_string(),
                sku: line.sku,
                name: line.name,
                quantity: count(&line.quantity)?,
                unit_price: Money::new(line.unit_price, currency),
                discount: Money::new(line.discount, currency),
                tax: Money::new(line.tax, currency),
            });
        }
        if lines.is_empty() {
            return Err(ControlError::NoLines);
        }
        let mut customer = Customer { updated_at: now, ..new.customer };
        if let Some(known) = customer.customer_id.as_deref().and_then(|id| self.customers.get(id)) {
            customer.external_ids.clone_from(&known.external_ids);
            customer.updated_at = known.updated_at;
        }
        let zero = Money::zero(currency);
        let status = OrderStatus::PendingPayment;
        let mut order = OrderTruth {
            order_number: id.clone(),
            status_text: self.config.status_texts.text(status).to_owned(),
            status,
            status_reason: None,
            created_at: now,
            updated_at: now,
            version: 1,
            billing_address: new.billing_address.or_else(|| customer.addresses.first().cloned()),
            shipping_address: new.shipping_address,
            device: new.device,
            customer,
            lines,
            subtotal: zero,
            shipping_total: Money::new(new.shipping, currency),
            tax_total: zero,
            discount_total: zero,
            total: zero,
            order_discount: Money::new(new.discount, currency),
            payment: PaymentInfo {
                gateway: new.gateway,
                token: new.payment_token,
                payment_intent_id: new.payment_intent_id,
                ..PaymentInfo::default()
            },
            subscription: new.subscription,
            external_ids: std::collections::BTreeMap::new(),
            note: new.note,
            shipments: Vec::new(),
            history: vec![StatusChange { status, at: now, by: Actor::Shop }],
            refund_requests: Vec::new(),
            order_id: id.clone(),
        };
        order.recount()?;
        self.order_count = number;
        self.customers.meet(now, &order.customer);
        self.orders.put(&id, now, order);
        self.emit_order(now, "order.created", &id);
        Ok(id)
    }

    fn by_shop(
        &mut self,
        now: Timestamp,
        id: &str,
        edit: impl FnOnce(&mut OrderTruth, &StatusTexts) -> Result<bool, ControlError>,
    ) -> Result<(), ControlError> {
        self.change_order(now, id, Actor::Shop, edit)
            .unwrap_or_else(|| Err(ControlError::UnknownOrder(id.to_owned())))
    }

    fn move_order(&mut self, now: Timestamp, id: &str, status: OrderStatus) -> Result<(), ControlError> {
        self.by_shop(now, id, |order, texts| Ok(order.move_to(status, texts, now, Actor::Shop)))
    }

    /// The shopper gives a card: its gateway token.
    ///
    /// # Errors
    /// No such order.
    pub fn set_payment_token(&mut self, now: Timestamp, id: &str, token: &str) -> Result<(), ControlError> {
        self.by_shop(now, id, |order, _| Ok(set(&mut order.payment.token, Some(token.to_owned()))))
    }

    /// The shop itself has begun a Stripe PaymentIntent.
    ///
    /// # Errors
    /// No such order.
    pub fn set_payment_intent(&mut self, now: Timestamp, id: &str, pi: &str) -> Result<(), ControlError> {
        self.by_shop(now, id, |order, _| Ok(set(&mut order.payment.payment_intent_id, Some(pi.to_owned()))))
    }

    /// Changes the pieces of a line, or takes it out where there is no quantity. Discount and tax of the
    /// line follow, rounded half to even.
    ///
    /// # Errors
    /// No such order or line, the last line, or a quantity that does not fit.
    pub fn change_total(
        &mut self,
        now: Timestamp,
        id: &str,
        line_id: &str,
        quantity: Option<&str>,
    ) -> Result<(), ControlError> {
        let quantity = quantity.map(count).transpose()?;
        self.by_shop(now, id, |order, _| resize(order, line_id, quantity))
    }

    /// Cancels.
    ///
    /// # Errors
    /// No such order.
    pub fn cancel(&mut self, now: Timestamp, id: &str) -> Result<(), ControlError> {
        self.move_order(now, id, OrderStatus::Cancelled)
    }

    /// Completes.
    ///
    /// # Errors
    /// No such order.
    pub fn complete(&mut self, now: Timestamp, id: &str) -> Result<(), ControlError> {
        self.move_order(now, id, OrderStatus::Completed)
    }

    /// Puts on hold.
    ///
    /// # Errors
    /// No such order.
    pub fn hold(&mut self, now: Timestamp, id: &str) -> Result<(), ControlError> {
        self.move_order(now, id, OrderStatus::OnHold)
    }

    /// Ships these pieces (line id and quantity), or all that is left. Returns the shipment's id.
    ///
    /// # Errors
    /// No such order or line, more than is left, or nothing is left.
    pub fn ship(
        &mut self,
        now: Timestamp,
        id: &str,
        lines: Option<&[(&str, &str)]>,
    ) -> Result<String, ControlError> {
        let read = |lines: &[(&str, &str)]| {
            lines
                .iter()
                .map(|(id, q)| Ok(((*id).to_owned(), count(q)?)))
                .collect::<Result<Vec<_>, ControlError>>()
        };
        let asked = lines.map(read).transpose()?;
        let mut shipment_id = String::new();
        self.by_shop(now, id, |order, texts| {
            let told = |n: usize| lines.and_then(|l| l.get(n)).copied().unwrap_or_default();
            let lines = order.plan(asked.as_deref()).map_err(|why| match why {
                Unshippable::Nothing => ControlError::NothingToShip,
                Unshippable::Line(n) => ControlError::UnknownLine(told(n).0.to_owned()),
                Unshippable::Quantity(n) => ControlError::Quantity(told(n).1.to_owned()),
            })?;
            let number = order.shipments.len() + 1;
            shipment_id = format!("{}-S{number}", order.order_id);
            let shipment = Shipment {
                shipment_id: shipment_id.clone(),
                carrier: Some("UPS".into()),
                tracking_number: Some(format!("1Z{}{number}", order.order_id)),
                tracking_url: None,
                shipped_at: now,
                lines,
            };
            order.add_shipment(shipment, texts, now, Actor::Shop);
            Ok(true)
        })?;
        Ok(shipment_id)
    }

    /// Asks for a refund of an amount in minor units of the order's currency. The order itself does not
    /// change. Any amount goes: to judge it is Tillway's business.
    ///
    /// # Errors
    /// No such order.
    pub fn request_refund(
        &mut self,
        now: Timestamp,
        id: &str,
        refund_id: Option<&str>,
        amount: i64,
        reason: &str,
    ) -> Result<(), ControlError> {
        let asked = self.orders.change(id, now, |order| {
            let amount = Money::new(amount, order.currency());
            order.refund_requests.push(RefundRequest {
                refund_id: refund_id.map(str::to_owned),
                amount,
                reason: reason.to_owned(),
                at: now,
            });
            (false, amount)
        });
        let amount = asked.ok_or_else(|| ControlError::UnknownOrder(id.to_owned()))?;
        let mut data = json!({"orderId": id, "amount": WireMoney::from(amount), "reason": reason});
        if let (Some(map), Some(refund_id)) = (data.as_object_mut(), refund_id) {
            map.insert("refundId".into(), refund_id.into());
        }
        self.emit(now, "order.refund_requested", &data);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
