//! Turning a flow's parameters into the bytes of a request. Pure; the bytes hold no credentials, are stored
//! before the first one leaves, and are what is sent again, if anything ever is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tillway_core::ids::CommandId;
use tillway_core::money::Money;
use tillway_core::value::Value;

use super::wire::{self, COMMAND_KEY, Fault, ORIGIN, ORIGIN_KEY};
use super::{currency, form};
use crate::common::{amount, needed, text};
use crate::config::Connection;
use crate::port::Prepared;

/// A request made ready, and what its answer must agree with. No `Debug`: the form may be personal.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) method: String,
    pub(super) path: String,
    /// The body, byte for byte.
    #[serde(default)]
    pub(super) form: String,
    /// The payment it is about, where that is known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) amount: Option<Money>,
    /// Metadata the answer must echo.
    #[serde(default)]
    pub(super) echo: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) customer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    /// The newest failed charge known when the attempt was decided on, or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure_before: Option<String>,
    /// Nothing will be captured after it.
    #[serde(default)]
    pub(super) last: bool,
    /// What a customer shall look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wanted: Option<Wanted>,
}

/// A customer as the shop has it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) email: Option<String>,
    pub(super) name: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) known: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// A parameter that goes into a path.
fn object_id(params: &Value, name: &str) -> Result<String, Fault> {
    let id = needed(params, name)?;
    wire::is_id(id).then(|| id.to_owned()).ok_or_else(|| {
        Fault::new(
            "id_malformed",
            name,
            format!("`{name}` is no id of Stripe's (letters, digits, underscores)"),
        )
    })
}

/// Checks Stripe's limits of metadata \[from memory\]; nothing is cut off silently.
fn metadata(given: &Value, own: &[(&str, &str)]) -> Result<BTreeMap<String, String>, Fault> {
    let mut out = BTreeMap::new();
    if let Value::Map(members) = given {
        for (key, value) in members.iter().filter(|(_, v)| !v.is_empty()) {
            let value = match value {
                Value::Text(t) => t.clone(),
                Value::Int(i) => i.to_string(),
                Value::Bool(b) => b.to_string(),
                Value::Decimal(d) => d.to_string(),
                other => {
                    let what = format!("metadata holds texts, and this is a {}", other.kind());
                    return Err(Fault::new("metadata_not_text", format!("metadata.{key}"), what));
                }
            };
            out.insert(key.clone(), value);
        }
    }
    // What is ours wins: it is how objects are found again.
    out.extend(own.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    for (key, value) in &out {
        let field = format!("metadata.{key}");
        if key.is_empty() || key.chars().count() > 40 || key.contains(['[', ']']) {
            let what = "a metadata key has 1 to 40 characters and no square brackets; shorten it";
            return Err(Fault::new("metadata_key_invalid", field, what));
        }
        if value.chars().count() > 500 {
            let what =
                format!("a metadata value has at most 500 characters, this one {}", value.chars().count());
            return Err(Fault::new("metadata_value_too_long", field, what));
        }
    }
    if out.len() > 50 {
        let what = format!("at most 50 metadata keys, got {}", out.len());
        return Err(Fault::new("metadata_too_many", "metadata", what));
    }
    Ok(out)
}

fn dict(entries: &BTreeMap<String, String>) -> Json {
    Json::Object(entries.iter().map(|(k, v)| (k.clone(), Json::from(v.as_str()))).collect())
}

fn one_of<'a>(params: &'a Value, name: &str, known: &[&str]) -> Option<&'a str> {
    text(params, name).filter(|t| known.contains(t))
}

/// Makes the bytes of a request.
pub(super) fn prepare(
    connection: &Connection,
    action: &str,
    command: &CommandId,
    params: &Value,
) -> Result<Prepared, Fault> {
    let plan = match action {
        "stripe.ensure_customer" => ensure_customer(params)?,
        "stripe.create_payment" => create_payment(connection, command, params)?,
        "stripe.update_payment" => update_payment(connection, params)?,
        "stripe.confirm_payment" => confirm_payment(connection, params)?,
        "stripe.capture" => capture(connection, command, params)?,
        "stripe.cancel_payment" => cancel_payment(params)?,
        "stripe.refund" => refund(connection, command, params)?,
        "stripe.read_payment" => {
            let payment = object_id(params, "payment")?;
            let path = format!("/v1/payment_intents/{payment}");
            Plan { method: "GET".into(), path, payment: Some(payment), ..Plan::default() }
        }
        _ => return Err(Fault::new("action_unknown", "do", "Stripe's connector has no such action")),
    };
    let sum = plan.amount.map(|a| format!(" {a}")).unwrap_or_default();
    let summary = format!("{} {}{sum}", plan.method, plan.path);
    let bytes = serde_json::to_vec(&plan).map_err(|_| {
        Fault::new("unserializable", "", "the request could not be written down; this is a bug")
    })?;
    Ok(Prepared { bytes, summary })
}

fn post(path: String, form: &Json) -> Plan {
    Plan { method: "POST".into(), path, form: form::encode(form), ..Plan::default() }
}

fn ensure_customer(params: &Value) -> Result<Plan, Fault> {
    let own = |name| text(params, name).map(str::to_owned);
    let (email, reference) = (own("email"), own("reference"));
    if email.is_none() && reference.is_none() {
        let what = "a customer needs an e-mail address or the shop's customer id; map one of them";
        return Err(Fault::new("parameter_missing", "email", what));
    }
    if let Some(length) = email.as_ref().map(|e| e.chars().count()).filter(|n| *n > 512) {
        let what = format!("an e-mail address has at most 512 characters, this one {length}");
        return Err(Fault::new("email_too_long", "email", what));
    }
    let stamp: Vec<(&str, &str)> = reference.iter().map(|r| (wire::CUSTOMER_KEY, r.as_str())).collect();
    let metadata = metadata(params.at("metadata"), &stamp)?;
    // An id the shop mistyped is no reason to make no customer.
    let known = own("known").filter(|k| wire::is_id(k));
    let wanted = Wanted { email, name: own("name"), phone: own("phone"), reference, known, metadata };
    Ok(Plan { method: "POST".into(), path: "/v1/customers".into(), wanted: Some(wanted), ..Plan::default() })
}

fn shipping(to: &Value) -> Json {
    let get = |name| text(to, name);
    // Stripe demands the name; an address without one is left out rather than refused.
    let Some(name) = get("name") else { return Json::Null };
    let address = json!({
        "line1": get("line1"),
        "line2": get("line2"),
        "city": get("city"),
        "state": get("region"),
        "postal_code": get("postal_code"),
        "country": get("country"),
    });
    if address.as_object().is_none_or(|a| a.values().all(Json::is_null)) {
        return Json::Null;
    }
    json!({"name": name, "phone": get("phone"), "address": address})
}

fn create_payment(connection: &Connection, command: &CommandId, params: &Value) -> Result<Plan, Fault> {
    let amount = amount(params)?;
    let (count, code) = currency::to_wire(connection, amount, "amount")?;
    let order = needed(params, "order_id")?;
    let order_key = connection.setting("order_metadata_key", wire::ORDER_KEY);
    let own = [(order_key, order), (ORIGIN_KEY, ORIGIN), (COMMAND_KEY, command.as_str())];
    let metadata = metadata(params.at("metadata"), &own)?;
    let capture = match text(params, "capture") {
        None => None,
        Some(how @ ("automatic" | "manual")) => Some(how),
        Some(_) => {
            return Err(Fault::new("capture_unknown", "capture", "`capture` is `automatic` or `manual`"));
        }
    };
    let customer = text(params, "customer").map(|_| object_id(params, "customer")).transpose()?;
    let mut methods = json!({"enabled": true});
    if let (Some(m), "never") = (methods.as_object_mut(), connection.setting("allow_redirects", "always")) {
        m.insert("allow_redirects".into(), "never".into());
    }
    // Several captures of one authorization must be asked for, and not every account may ask.
    let several = capture == Some("manual") && multicapture(connection);
    let options =
        if several { json!({"card": {"request_multicapture": "if_available"}}) } else { Json::Null };
    let form = json!({
        "amount": count,
        "currency": code,
        "automatic_payment_methods": methods,
        "customer": customer,
        "capture_method": capture,
        "description": text(params, "description"),
        "receipt_email": text(params, "receipt_email"),
        "shipping": shipping(params.at("ship_to")),
        "payment_method_options": options,
        "metadata": dict(&metadata),
    });
    let echo = own.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Ok(Plan { amount: Some(amount), customer, echo, ..post("/v1/payment_intents".into(), &form) })
}

/// Whether payments are made so that they can be captured several times.
fn multicapture(connection: &Connection) -> bool {
    connection.setting("multicapture", "never") == "if_available"
}

fn update_payment(connection: &Connection, params: &Value) -> Result<Plan, Fault> {
    let (payment, amount) = (object_id(params, "payment")?, amount(params)?);
    let (count, code) = currency::to_wire(connection, amount, "amount")?;
    // With the currency beside it, so that 10 USD never becomes 1000 yen.
    let form = json!({"amount": count, "currency": code});
    let plan = post(format!("/v1/payment_intents/{payment}"), &form);
    Ok(Plan { payment: Some(payment), amount: Some(amount), ..plan })
}

fn confirm_payment(connection: &Connection, params: &Value) -> Result<Plan, Fault> {
    let (payment, token) = (object_id(params, "payment")?, object_id(params, "token")?);
    let default = Some(connection.setting("return_url", "")).filter(|u| !u.is_empty());
    let mut form = Map::new();
    if token.starts_with("ctoken_") {
        form.insert("confirmation_token".into(), token.as_str().into());
    } else if token.starts_with("tok_") {
        form.insert("payment_method_data".into(), json!({"type": "card", "card": {"token": token}}));
    } else {
        form.insert("payment_method".into(), token.as_str().into());
    }
    form.insert("return_url".into(), json!(text(params, "return_url").or(default)));
    form.insert("expand".into(), json!(["latest_charge"]));
    let plan = post(format!("/v1/payment_intents/{payment}/confirm"), &Json::Object(form));
    let failure_before = text(params, "failure_before").map(str::to_owned);
    Ok(Plan { payment: Some(payment), token: Some(token), failure_before, ..plan })
}

fn capture(connection: &Connection, command: &CommandId, params: &Value) -> Result<Plan, Fault> {
    let (payment, amount) = (object_id(params, "payment")?, amount(params)?);
    let (count, _) = currency::to_wire(connection, amount, "amount")?;
    let last = params.at("last").as_bool().unwrap_or(true);
    if !last && !multicapture(connection) {
        let what = "this capture is not to be the last, and Stripe would release the rest: set \
                    `multicapture: if_available` on the connection where the account has it, or capture by hand";
        return Err(Fault::new("multicapture_off", "last", what));
    }
    let form = json!({
        "amount_to_capture": count,
        // Only with several captures in play is there anything to say: alone, a capture is the last.
        "final_capture": (!last).then_some(false),
        "metadata": {wire::CAPTURE_KEY: command.as_str()},
        "expand": ["latest_charge"],
    });
    let echo = [(wire::CAPTURE_KEY.to_owned(), command.as_str().to_owned())].into();
    let plan = post(format!("/v1/payment_intents/{payment}/capture"), &form);
    Ok(Plan { payment: Some(payment), amount: Some(amount), echo, last, ..plan })
}

fn cancel_payment(params: &Value) -> Result<Plan, Fault> {
    let payment = object_id(params, "payment")?;
    let known = ["abandoned", "duplicate", "fraudulent", "requested_by_customer"];
    let form = json!({"cancellation_reason": one_of(params, "reason", &known)});
    let plan = post(format!("/v1/payment_intents/{payment}/cancel"), &form);
    Ok(Plan { payment: Some(payment), ..plan })
}

fn refund(connection: &Connection, command: &CommandId, params: &Value) -> Result<Plan, Fault> {
    let (payment, amount) = (object_id(params, "payment")?, amount(params)?);
    let (count, _) = currency::to_wire(connection, amount, "amount")?;
    let request = needed(params, "request")?;
    let own = [(wire::REQUEST_KEY, request), (COMMAND_KEY, command.as_str()), (ORIGIN_KEY, ORIGIN)];
    let metadata = metadata(&Value::Null, &own)?;
    let mut form = Map::new();
    form.insert(refund_of(&payment).into(), payment.as_str().into());
    form.insert("amount".into(), count.into());
    let known = ["duplicate", "fraudulent", "requested_by_customer"];
    form.insert("reason".into(), json!(one_of(params, "reason", &known)));
    form.insert("metadata".into(), dict(&metadata));
    let plan = post("/v1/refunds".into(), &Json::Object(form));
    Ok(Plan { payment: Some(payment), amount: Some(amount), echo: metadata, ..plan })
}

/// The parameter that names what is refunded: charges made without a PaymentIntent are their own payment.
pub(super) fn refund_of(payment: &str) -> &'static str {
    if payment.starts_with("ch_") || payment.starts_with("py_") { "charge" } else { "payment_intent" }
}
