//! The actions flows may use, and how their parameters become a request.

use serde_json::{Map, Value as Json, json};
use tillway_core::facts::OrderStatus;
use tillway_core::pan;
use tillway_core::value::{ActionSpec, Field, Schema, Type, Value, field};

use super::settings;
use super::wire::fits_as_id;
use crate::capabilities::{Amounts, Capabilities, Form, Role, Support};
use crate::config::Connection;
use crate::port::{Action, Owner, Prepared, Rejected};

/// Reads an order again.
pub const READ_ORDER: &str = "clarity.read_order";
/// Writes status, payment data and ids to an order.
pub const UPDATE_ORDER: &str = "clarity.update_order";
/// Writes ids to a customer.
pub const UPDATE_CUSTOMER: &str = "clarity.update_customer";
/// Reads a customer again.
pub const READ_CUSTOMER: &str = "clarity.read_customer";
/// Tells the shop of a shipment.
pub const ADD_SHIPMENT: &str = "clarity.add_shipment";

const fn text(name: &'static str, doc: &'static str) -> Field {
    field(name, Type::Text, doc)
}

static PAYMENT: Schema = Schema {
    name: "clarity.payment",
    fields: &[
        text("gateway", "cybersource, stripe or paytrace"),
        text("transaction_id", "the gateway's id of the charge or capture"),
        text("authorization_code", "the issuer's approval code"),
        text("token", "a gateway's token, never a card number"),
        text("card_brand", "card brand"),
        text("card_last4", "last four digits of the card"),
        text("payment_intent_id", "the gateway's payment object"),
        field("amount", Type::Money, "what was paid"),
    ],
};

/// Our names of the payment's texts with the wire's.
const PAYMENT_TEXTS: [(&str, &str); 7] = [
    ("gateway", "gateway"),
    ("transaction_id", "transactionId"),
    ("authorization_code", "authorizationCode"),
    ("token", "token"),
    ("card_brand", "cardBrand"),
    ("card_last4", "cardLast4"),
    ("payment_intent_id", "paymentIntentId"),
];

static UPDATE_ORDER_PARAMS: Schema = Schema {
    name: UPDATE_ORDER,
    fields: &[
        text("order_id", "the shop's order id").required(),
        text(
            "status",
            "the shop's status text, through the flow's lookup; the connection's `status_out` goes before",
        ),
        text("status_reason", "why, e.g. a decline code that may be shown"),
        text("note", "a note for the shop's staff"),
        field("payment", Type::Record(&PAYMENT), "how it was paid"),
        field("external_ids", Type::Dict, "ids in other systems, by name"),
    ],
};
static READ_ORDER_PARAMS: Schema =
    Schema { name: READ_ORDER, fields: &[text("order_id", "the shop's order id").required()] };
static UPDATE_CUSTOMER_PARAMS: Schema = Schema {
    name: UPDATE_CUSTOMER,
    fields: &[
        text("customer_id", "the shop's customer id").required(),
        text(
            "gateway_customer",
            "the gateway's customer id, under the name that setting gateway_external_id gives",
        ),
        field("external_ids", Type::Dict, "ids in other systems, by name"),
    ],
};
static READ_CUSTOMER_PARAMS: Schema =
    Schema { name: READ_CUSTOMER, fields: &[text("customer_id", "the shop's customer id").required()] };
static ADD_SHIPMENT_PARAMS: Schema = Schema {
    name: ADD_SHIPMENT,
    fields: &[
        text("order_id", "the shop's order id").required(),
        text("shipment_id", "id of the shipment; the shop keeps one of each").required(),
        text("carrier", "carrier"),
        text("tracking_number", "tracking number"),
        text("tracking_url", "where the parcel can be followed"),
        field("shipped_at", Type::Time, "when it left").required(),
    ],
};

static UPDATE_ORDER_SPEC: ActionSpec = ActionSpec {
    name: UPDATE_ORDER,
    params: &UPDATE_ORDER_PARAMS,
    money: false,
    doc: "Reads the order and writes what differs; never replaces a fulfilment status unless told to.",
};
static READ_ORDER_SPEC: ActionSpec =
    ActionSpec { name: READ_ORDER, params: &READ_ORDER_PARAMS, money: false, doc: "Reads the order again." };
static UPDATE_CUSTOMER_SPEC: ActionSpec = ActionSpec {
    name: UPDATE_CUSTOMER,
    params: &UPDATE_CUSTOMER_PARAMS,
    money: false,
    doc: "Reads the customer and writes the external ids that differ.",
};
static READ_CUSTOMER_SPEC: ActionSpec = ActionSpec {
    name: READ_CUSTOMER,
    params: &READ_CUSTOMER_PARAMS,
    money: false,
    doc: "Reads the customer again.",
};
static ADD_SHIPMENT_SPEC: ActionSpec = ActionSpec {
    name: ADD_SHIPMENT,
    params: &ADD_SHIPMENT_PARAMS,
    money: false,
    doc: "Adds a shipment that the order does not have yet.",
};

/// All of them; each may be done twice without harm.
pub static ACTIONS: [Action; 5] = [
    Action { spec: &UPDATE_ORDER_SPEC, per_person: false, repeatable: true, reads: false },
    Action { spec: &READ_ORDER_SPEC, per_person: false, repeatable: true, reads: true },
    Action { spec: &UPDATE_CUSTOMER_SPEC, per_person: false, repeatable: true, reads: false },
    Action { spec: &READ_CUSTOMER_SPEC, per_person: false, repeatable: true, reads: true },
    Action { spec: &ADD_SHIPMENT_SPEC, per_person: false, repeatable: true, reads: false },
];

/// Reads parameters, and knows whom a refusal is about.
struct Params<'a> {
    params: &'a Value,
    owner: Owner,
}

impl Params<'_> {
    fn reject(&self, code: &str, field: &str, what: &str) -> Rejected {
        Rejected { code: code.into(), field: field.into(), what: what.into(), owner: self.owner.clone() }
    }

    fn text(&self, name: &str) -> Result<Option<String>, Rejected> {
        match self.params.at(name) {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
            other => {
                let what = format!("expected a text, got {}", other.kind());
                Err(self.reject("parameter_malformed", name, &what))
            }
        }
    }

    fn id(&self, name: &str) -> Result<String, Rejected> {
        let id = self.text(name)?.filter(|id| fits_as_id(id));
        id.ok_or_else(|| self.reject("parameter_malformed", name, "expected an id of 1 to 128 characters"))
    }

    fn texts(&self, name: &str) -> Result<Option<Json>, Rejected> {
        let malformed = |what: &str| Err(self.reject("parameter_malformed", name, what));
        let given = match self.params.at(name) {
            Value::Null => return Ok(None),
            Value::Map(given) => given,
            _ => return malformed("expected texts by name"),
        };
        let mut texts = Map::new();
        for (key, value) in given {
            match value {
                Value::Null => {}
                Value::Text(text) if text.is_empty() => {}
                Value::Text(text) => {
                    texts.insert(key.clone(), Json::from(text.as_str()));
                }
                _ => return malformed("expected texts by name"),
            }
        }
        Ok((!texts.is_empty()).then_some(Json::Object(texts)))
    }
}

/// Turns parameters into the intent that is stored: the ids, and the members as the wire has them.
///
/// # Errors
/// [`Rejected`] where a parameter cannot go over this wire.
pub fn prepare(connection: &Connection, action: &str, params: &Value) -> Result<Prepared, Rejected> {
    let order_id = params.at("order_id").as_text().unwrap_or_default().trim();
    let customer_id = params.at("customer_id").as_text().unwrap_or_default().trim();
    let owner = match (order_id, customer_id) {
        ("", "") => Owner::Nobody,
        ("", id) => Owner::Customer { id: id.to_owned() },
        (id, _) => Owner::Order { id: id.to_owned() },
    };
    let params = Params { params, owner };
    let (intent, summary) = match action {
        READ_ORDER => (json!({"order_id": params.id("order_id")?}), "GET order".to_owned()),
        UPDATE_ORDER => update_order(connection, &params)?,
        READ_CUSTOMER => (json!({"customer_id": params.id("customer_id")?}), "GET customer".to_owned()),
        UPDATE_CUSTOMER => update_customer(connection, &params)?,
        ADD_SHIPMENT => add_shipment(&params)?,
        _ => return Err(params.reject("action_unknown", "", "this connector has no such action")),
    };
    Ok(Prepared { bytes: intent.to_string().into_bytes(), summary })
}

/// The names of the members, for people.
pub fn names(patch: &Map<String, Json>) -> String {
    if patch.is_empty() {
        return "nothing".to_owned();
    }
    patch.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn update_order(connection: &Connection, params: &Params<'_>) -> Result<(Json, String), Rejected> {
    let order_id = params.id("order_id")?;
    let mut patch = Map::new();
    let mut summary = String::new();
    if let Some(status) = params.text("status")? {
        let target = settings::status_in(connection, &status).map(OrderStatus::name).ok_or_else(|| {
            let what = "this status text cannot be read back; add it to status_in with its canonical name";
            params.reject("status_unknown", "status", what)
        })?;
        summary = format!(" (status {target})");
        // The shop's own word for it, where its connection names one.
        let own = connection.setting(&format!("status_out.{target}"), "");
        patch.insert("status".into(), if own.is_empty() { status.into() } else { own.into() });
    }
    for (ours, theirs) in [("status_reason", "statusReason"), ("note", "note")] {
        patch.extend(params.text(ours)?.map(|text| (theirs.to_owned(), Json::from(text))));
    }
    let payment = payment(params)?;
    if !payment.is_empty() {
        patch.insert("payment".into(), Json::Object(payment));
    }
    patch.extend(params.texts("external_ids")?.map(|ids| ("externalIds".to_owned(), ids)));
    let summary = format!("PATCH order: {}{summary}", names(&patch));
    Ok((json!({"order_id": order_id, "patch": patch}), summary))
}

fn update_customer(connection: &Connection, params: &Params<'_>) -> Result<(Json, String), Rejected> {
    let mut ids = match params.texts("external_ids")? {
        Some(Json::Object(ids)) => ids,
        _ => Map::new(),
    };
    if params.text("gateway_customer")?.is_some() {
        let name = settings::get(connection, settings::GATEWAY_CUSTOMER).to_owned();
        ids.insert(name, params.id("gateway_customer")?.into());
    }
    let mut patch = Map::new();
    if !ids.is_empty() {
        patch.insert("externalIds".to_owned(), Json::Object(ids));
    }
    let summary = format!("PATCH customer: {}", names(&patch));
    Ok((json!({"customer_id": params.id("customer_id")?, "patch": patch}), summary))
}

fn payment(params: &Params<'_>) -> Result<Map<String, Json>, Rejected> {
    let mut payment = Map::new();
    for (ours, theirs) in PAYMENT_TEXTS {
        let name = format!("payment.{ours}");
        let Some(text) = params.text(&name)? else { continue };
        if ours == "token" && !pan::find(&text).is_empty() {
            let what = "a card number stands where a gateway's token belongs";
            return Err(params.reject("card_number", &name, what));
        }
        if ours == "card_last4" && (text.len() != 4 || !text.bytes().all(|b| b.is_ascii_digit())) {
            return Err(params.reject("parameter_malformed", &name, "expected four digits"));
        }
        payment.insert(theirs.to_owned(), text.into());
    }
    match params.params.at("payment.amount") {
        Value::Null => {}
        Value::Money(money) if money.minor >= 0 => {
            let amount = json!({"amount": money.to_major().to_string(), "currency": money.currency.code()});
            payment.insert("amount".into(), amount);
        }
        Value::Money(_) => {
            return Err(params.reject(
                "amount_negative",
                "payment.amount",
                "expected an amount from zero on",
            ));
        }
        _ => return Err(params.reject("parameter_malformed", "payment.amount", "expected an amount")),
    }
    Ok(payment)
}

fn add_shipment(params: &Params<'_>) -> Result<(Json, String), Rejected> {
    let mut shipment = Map::new();
    shipment.insert("shipmentId".into(), params.id("shipment_id")?.into());
    for (ours, theirs) in
        [("carrier", "carrier"), ("tracking_number", "trackingNumber"), ("tracking_url", "trackingUrl")]
    {
        shipment.extend(params.text(ours)?.map(|text| (theirs.to_owned(), Json::from(text))));
    }
    let Value::Time(at) = params.params.at("shipped_at") else {
        return Err(params.reject("parameter_malformed", "shipped_at", "expected an instant"));
    };
    shipment.insert("shippedAt".into(), at.rfc3339().into());
    Ok((json!({"order_id": params.id("order_id")?, "shipment": shipment}), "POST shipment".to_owned()))
}

/// What can be done with them.
pub static CAPABILITIES: Capabilities = Capabilities {
    role: Role::Shop,
    signature: "Standard Webhooks; or a header secret, then read again",
    sweep: "orders and customers changed",
    amounts: Amounts { form: Form::Decimals, own_exponents: &[], refused: &[] },
    customer: Support::With(READ_CUSTOMER, "read again"),
    read: Support::By(READ_ORDER),
    status: Support::By(UPDATE_ORDER),
    shipment: Support::By(ADD_SHIPMENT),
    references: Support::By(UPDATE_CUSTOMER),
    ..Capabilities::NONE
};
