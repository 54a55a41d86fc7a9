//! Everything flows can name: the connectors' actions, our own, and the declared actions of ERP and cases.

use tillway_connectors::Connector;
use tillway_core::bundle::Vocabulary;
use tillway_core::facts::OrderStatus;
use tillway_core::state::view;
use tillway_core::value::{ActionSpec, Schema, Type, field};

static PARK: Schema = Schema {
    name: "tillway.park",
    fields: &[
        field("code", Type::Text, "stable code").required(),
        field("what", Type::Text, "what is wrong and what to do").required(),
        field("blocks_money", Type::Bool, "hold money commands back"),
    ],
};

static NOTICE: Schema = Schema {
    name: "notify",
    fields: &[
        field("template", Type::Text, "name of the notice").required(),
        field("to", Type::Text, "e-mail of the customer").personal(),
        field("data", Type::Dict, "values the notice may show"),
    ],
};

static ERP_ORDER: Schema = Schema {
    name: "erp.create_sales_order",
    fields: &[
        field("order_id", Type::Text, "the shop's order id").required(),
        field("total", Type::Money, "grand total").required(),
        field("tax", Type::Money, "tax inside the total"),
        field("customer_ref", Type::Text, "the shop's customer id"),
    ],
};
static ERP_MONEY: Schema = Schema {
    name: "erp.money",
    fields: &[
        field("order_id", Type::Text, "the shop's order id").required(),
        field("reference", Type::Text, "the gateway's id").required(),
        field("amount", Type::Money, "amount").required(),
    ],
};

static CASE_OPENED: Schema = Schema {
    name: "case.open",
    fields: &[
        field("case", Type::Text, "the gateway's id of the case").required(),
        field("kind", Type::Text, "what it is about: `fraud_review`").required(),
        field("order_id", Type::Text, "the shop's order id").required(),
        field("payment", Type::Text, "the gateway's id of the payment").required(),
        field("amount", Type::Money, "what is at stake"),
        field("customer_ref", Type::Text, "the shop's customer id"),
    ],
};
static CASE_CLOSED: Schema = Schema {
    name: "case.close",
    fields: &[
        field("case", Type::Text, "the gateway's id of the case").required(),
        field("order_id", Type::Text, "the shop's order id").required(),
        field("accepted", Type::Bool, "the order goes on").required(),
    ],
};

const fn action(name: &'static str, params: &'static Schema, doc: &'static str) -> ActionSpec {
    ActionSpec { name, params, money: false, doc }
}

/// Actions of the engine itself.
pub static OWN: [ActionSpec; 3] = [
    action("tillway.park", &PARK, "hands the order to a person"),
    action("notify.customer", &NOTICE, "writes to the customer"),
    action("notify.staff", &NOTICE, "writes to the shop's staff"),
];

/// ERP actions, declared so that flows can name and check them; a step that uses one is skipped while the
/// pair has no ERP connection.
pub static ERP: [ActionSpec; 4] = [
    action("erp.create_sales_order", &ERP_ORDER, "creates the sales order"),
    action("erp.issue_invoice", &ERP_MONEY, "invoices what was captured"),
    action("erp.record_payment", &ERP_MONEY, "records the payment against the invoice"),
    action("erp.issue_credit_memo", &ERP_MONEY, "credits what was refunded"),
];

/// Cases for a desk or CRM, declared as the ERP actions are: until one is connected, the shop and its staff are told by steps of
/// their own.
pub static CASES: [ActionSpec; 2] = [
    action("case.open", &CASE_OPENED, "opens a case"),
    action("case.close", &CASE_CLOSED, "closes a case with its decision"),
];

/// The vocabulary over a set of connectors.
#[must_use]
pub fn vocabulary(connectors: &[&'static dyn Connector]) -> Vocabulary {
    let mut actions: Vec<&'static ActionSpec> = OWN.iter().chain(&ERP).chain(&CASES).collect();
    actions.extend(connectors.iter().flat_map(|c| c.actions()).map(|a| a.spec));
    let mut enums: Vec<(&'static str, &'static [&'static str])> = vec![("order_status", &OrderStatus::NAMES)];
    let closed = view::PAIR_OPTIONS.iter().filter(|(_, values, _)| !values.is_empty());
    enums.extend(closed.map(|(name, values, _)| (*name, *values)));
    let mut domains = vec![("order.status", "order_status"), ("status.name", "order_status")];
    domains.extend(PAIR_DOMAINS);
    Vocabulary {
        actions,
        base: &view::BASE,
        objects: view::OBJECTS.to_vec(),
        awaits: view::AWAITS.to_vec(),
        enums,
        domains,
    }
}

const PAIR_DOMAINS: [(&str, &str); 8] = [
    ("pair.initiates", "initiates"),
    ("pair.capture", "capture"),
    ("pair.on_expiring", "on_expiring"),
    ("pair.on_expired", "on_expired"),
    ("pair.on_total_lowered", "on_total_lowered"),
    ("pair.on_cancelled", "on_cancelled"),
    ("pair.notify_customer", "notify_customer"),
    ("pair.notify_staff", "notify_staff"),
];
