//! What the shop knows: orders, customers, products and stock. The serialised form is the contract's.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use tillway_core::money::{Currency, Money};
use tillway_core::time::Timestamp;

/// The statuses of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the variants are the texts of the contract")]
pub enum OrderStatus {
    PendingPayment,
    PaymentReceived,
    PaymentFailed,
    Paid,
    Processing,
    Shipped,
    Completed,
    OnHold,
    PartiallyRefunded,
    Refunded,
    Disputed,
    Cancelled,
}

impl OrderStatus {
    /// Every status.
    pub const ALL: [Self; 12] = [
        Self::PendingPayment,
        Self::PaymentReceived,
        Self::PaymentFailed,
        Self::Paid,
        Self::Processing,
        Self::Shipped,
        Self::Completed,
        Self::OnHold,
        Self::PartiallyRefunded,
        Self::Refunded,
        Self::Disputed,
        Self::Cancelled,
    ];

    /// The contract's text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::PendingPayment => "Pending Payment",
            Self::PaymentReceived => "Payment Received",
            Self::PaymentFailed => "Payment Failed",
            Self::Paid => "Paid",
            Self::Processing => "Processing",
            Self::Shipped => "Shipped",
            Self::Completed => "Completed",
            Self::OnHold => "On Hold",
            Self::PartiallyRefunded => "Partially Refunded",
            Self::Refunded => "Refunded",
            Self::Disputed => "Disputed",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Whether a strict shop refuses to go from here to there.
    pub(super) const fn refuses(self, to: Self) -> bool {
        matches!(self, Self::Shipped | Self::Completed | Self::Cancelled | Self::Refunded)
            && matches!(to, Self::PendingPayment | Self::Paid | Self::PaymentReceived)
    }

    /// Whether a shipment moves the status on to Processing or Shipped.
    pub(super) const fn follows_shipments(self) -> bool {
        !matches!(
            self,
            Self::Completed | Self::PartiallyRefunded | Self::Refunded | Self::Disputed | Self::Cancelled
        )
    }
}

/// Who changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A shopper or the shop's staff, through a control.
    Shop,
    /// A caller of the API.
    Api,
}

/// One status an order has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// The status.
    pub status: OrderStatus,
    /// Since when.
    pub at: Timestamp,
    /// Who set it.
    pub by: Actor,
}

/// An address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members are the contract's")]
pub struct Address {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street2: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// E.164.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// A customer. A guest has no id and is kept in the order only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members are the contract's")]
pub struct Customer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub external_ids: BTreeMap<String, String>,
    #[serde(serialize_with = "rfc3339")]
    pub updated_at: Timestamp,
}

/// What an order was placed with. Not in the contract: a merchant's shop may tell it, under names of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The shopper's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// The visit, as the gateway's device fingerprint knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// Id within the order: `1`, `2`, ….
    pub line_id: String,
    /// Article.
    pub sku: String,
    /// What it is.
    pub name: String,
    /// Pieces, at most four decimal places.
    #[serde(serialize_with = "quantity")]
    pub quantity: Decimal,
    /// Price of one piece.
    #[serde(serialize_with = "money")]
    pub unit_price: Money,
    /// Discount on the line.
    #[serde(serialize_with = "money")]
    pub discount: Money,
    /// Tax on the line, not contained in the price.
    #[serde(serialize_with = "money")]
    pub tax: Money,
}

/// What the shop knows of the payment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members are the contract's")]
pub struct PaymentInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_code: Option<String>,
    /// A gateway token, never a card number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_brand: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_last4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "opt_money")]
    pub amount: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_intent_id: Option<String>,
}

impl PaymentInfo {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A subscription that an order begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Article of the plan.
    pub plan_sku: String,
    /// `day`, `week`, `month` or `year`.
    pub interval: String,
    /// Every how many of them.
    pub interval_count: u32,
}

/// Part of a shipment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShipmentLine {
    /// Line of the order.
    pub line_id: String,
    /// Article.
    pub sku: String,
    /// Pieces sent.
    #[serde(serialize_with = "quantity")]
    pub quantity: Decimal,
}

/// A parcel on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members are the contract's")]
pub struct Shipment {
    pub shipment_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking_url: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    pub shipped_at: Timestamp,
    pub lines: Vec<ShipmentLine>,
}

/// A refund somebody asked for in the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// The shop's id of it, where it gave one.
    pub refund_id: Option<String>,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// An order as it really is. Its serialised form is the contract's `Order`, with `shipments`, `note`,
/// `statusReason` and `device` besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderTruth {
    /// Id.
    pub order_id: String,
    /// Number shown to people.
    pub order_number: String,
    /// The status as this shop writes it.
    #[serde(rename = "status")]
    pub status_text: String,
    /// The status.
    #[serde(skip)]
    pub status: OrderStatus,
    /// Why, as the last PATCH told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// When it was placed.
    #[serde(serialize_with = "rfc3339")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "rfc3339")]
    pub updated_at: Timestamp,
    /// Counts changes, from 1.
    pub version: u64,
    /// The customer as of the placing.
    pub customer: Customer,
    /// Where the bill goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Address>,
    /// Where the goods go, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// What it was placed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Lines, at least one.
    pub lines: Vec<OrderLine>,
    /// Sum of price times quantity.
    #[serde(serialize_with = "money")]
    pub subtotal: Money,
    /// Shipping.
    #[serde(serialize_with = "money")]
    pub shipping_total: Money,
    /// Sum of the lines' taxes.
    #[serde(serialize_with = "money")]
    pub tax_total: Money,
    /// Sum of the lines' discounts and of the order's own.
    #[serde(serialize_with = "money")]
    pub discount_total: Money,
    /// Subtotal − discount + shipping + tax.
    #[serde(serialize_with = "money")]
    pub total: Money,
    /// The discount on the order as a whole.
    #[serde(skip)]
    pub order_discount: Money,
    /// Payment.
    #[serde(skip_serializing_if = "PaymentInfo::is_empty")]
    pub payment: PaymentInfo,
    /// Subscription it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
    /// Ids in other systems.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub external_ids: BTreeMap<String, String>,
    /// Note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Shipments.
    pub shipments: Vec<Shipment>,
    /// Every status it has had, the present one last.
    #[serde(skip)]
    pub history: Vec<StatusChange>,
    /// Refunds asked for.
    #[serde(skip)]
    pub refund_requests: Vec<RefundRequest>,
}

impl OrderTruth {
    /// The currency of every amount in it.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.total.currency
    }
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members are the contract's")]
pub struct Product {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_id: Option<String>,
    pub sku: String,
    pub name: String,
    #[serde(serialize_with = "money")]
    pub price: Money,
    pub active: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub external_ids: BTreeMap<String, String>,
    #[serde(serialize_with = "rfc3339")]
    pub updated_at: Timestamp,
}

/// Stock of one article at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members are the contract's")]
pub struct InventoryLevel {
    pub sku: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    #[serde(serialize_with = "quantity")]
    pub available: Decimal,
    #[serde(serialize_with = "rfc3339")]
    pub updated_at: Timestamp,
}

/// An amount as the wire has it.
#[derive(Serialize)]
pub(super) struct WireMoney {
    amount: String,
    currency: &'static str,
}

impl From<Money> for WireMoney {
    fn from(money: Money) -> Self {
        Self { amount: money.to_major().to_string(), currency: money.currency.code() }
    }
}

fn money<S: Serializer>(money: &Money, s: S) -> Result<S::Ok, S::Error> {
    WireMoney::from(*money).serialize(s)
}

fn opt_money<S: Serializer>(money: &Option<Money>, s: S) -> Result<S::Ok, S::Error> {
    money.map(WireMoney::from).serialize(s)
}

fn rfc3339<S: Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&at.rfc3339())
}

fn quantity<S: Serializer>(quantity: &Decimal, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&quantity.normalize())
}
