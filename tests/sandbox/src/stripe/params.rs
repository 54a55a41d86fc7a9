//! Which parameters each call takes. What is not listed is refused, as the real server does; a parameter
//! that exists but that this sandbox does not model is refused as well, so that nobody relies on it.

use super::errors::ApiError;
use super::form::Node;

/// The type of a parameter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ty {
    Text,
    Int,
    Bool,
    Choice(&'static [&'static str]),
    /// `true`, `false`, or one of these.
    BoolOr(&'static [&'static str]),
    /// Free keys with text values.
    Dict,
    List(&'static Ty),
    Record(&'static [Param]),
    /// A Unix time, or bounds.
    Created,
}

/// One parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) ty: Ty,
    required: bool,
    clearable: bool,
}

const fn opt(name: &'static str, ty: Ty) -> Param {
    Param { name, ty, required: false, clearable: false }
}
const fn req(name: &'static str, ty: Ty) -> Param {
    Param { required: true, ..opt(name, ty) }
}
/// May be sent empty, which unsets it.
const fn clear(name: &'static str, ty: Ty) -> Param {
    Param { clearable: true, ..opt(name, ty) }
}

use Ty::{Bool, BoolOr, Choice, Created, Dict, Int, List, Record, Text};

const EXPAND: Param = opt("expand", List(&Text));
const LIMIT: Param = opt("limit", Int);
const AFTER: Param = opt("starting_after", Text);
const BEFORE: Param = opt("ending_before", Text);
const CREATED: Param = opt("created", Created);
/// Bounds of `created`.
pub(super) const BOUNDS: &[Param] = &[opt("gt", Int), opt("gte", Int), opt("lt", Int), opt("lte", Int)];

const ADDRESS: &[Param] = &[
    opt("city", Text),
    opt("country", Text),
    opt("line1", Text),
    opt("line2", Text),
    opt("postal_code", Text),
    opt("state", Text),
];
const SHIPPING: &[Param] = &[
    req("address", Record(ADDRESS)),
    req("name", Text),
    opt("phone", Text),
    opt("carrier", Text),
    opt("tracking_number", Text),
];
const CUSTOMER_SHIPPING: &[Param] = &[req("address", Record(ADDRESS)), req("name", Text), opt("phone", Text)];
const CAPTURE: Ty = Choice(&["automatic", "automatic_async", "manual"]);
const FUTURE: Ty = Choice(&["off_session", "on_session"]);
const AUTOMATIC: &[Param] = &[opt("allow_redirects", Choice(&["always", "never"])), req("enabled", Bool)];
const CARD_OPTIONS: &[Param] = &[
    opt("request_multicapture", Choice(&["if_available", "never"])),
    opt("request_three_d_secure", Choice(&["any", "automatic", "challenge"])),
];
const METHOD_OPTIONS: &[Param] = &[opt("card", Record(CARD_OPTIONS))];

pub(super) const NONE: &[Param] = &[];
pub(super) const RETRIEVE: &[Param] = &[EXPAND];
pub(super) const SEARCH: &[Param] = &[req("query", Text), EXPAND, LIMIT, opt("page", Text)];
pub(super) const LIST: &[Param] = &[CREATED, EXPAND, LIMIT, AFTER, BEFORE];
pub(super) const LIST_CUSTOMERS: &[Param] = &[opt("email", Text), CREATED, EXPAND, LIMIT, AFTER, BEFORE];
pub(super) const LIST_PAYMENTS: &[Param] = &[opt("customer", Text), CREATED, EXPAND, LIMIT, AFTER, BEFORE];
pub(super) const LIST_CHARGES: &[Param] =
    &[opt("customer", Text), opt("payment_intent", Text), CREATED, EXPAND, LIMIT, AFTER, BEFORE];
pub(super) const LIST_REFUNDS: &[Param] =
    &[opt("charge", Text), opt("payment_intent", Text), CREATED, EXPAND, LIMIT, AFTER, BEFORE];
pub(super) const LIST_TXNS: &[Param] = &[
    opt("currency", Text),
    opt("payout", Text),
    opt("source", Text),
    opt("type", Text),
    CREATED,
    EXPAND,
    LIMIT,
    AFTER,
    BEFORE,
];
pub(super) const LIST_PAYOUTS: &[Param] =
    &[opt("arrival_date", Created), opt("status", Text), CREATED, EXPAND, LIMIT, AFTER, BEFORE];
pub(super) const LIST_EVENTS: &[Param] =
    &[opt("type", Text), opt("types", List(&Text)), CREATED, EXPAND, LIMIT, AFTER, BEFORE];
pub(super) const LIST_ENDPOINTS: &[Param] = &[EXPAND, LIMIT, AFTER, BEFORE];

pub(super) const CUSTOMER: &[Param] = &[
    clear("address", Record(ADDRESS)),
    clear("description", Text),
    clear("email", Text),
    EXPAND,
    clear("metadata", Dict),
    clear("name", Text),
    clear("phone", Text),
    clear("shipping", Record(CUSTOMER_SHIPPING)),
];
pub(super) const CREATE_PAYMENT: &[Param] = &[
    req("amount", Int),
    req("currency", Text),
    opt("allowed_payment_method_types", List(&Text)),
    opt("automatic_payment_methods", Record(AUTOMATIC)),
    opt("capture_method", CAPTURE),
    opt("confirm", Bool),
    opt("confirmation_method", Choice(&["automatic", "manual"])),
    opt("customer", Text),
    opt("description", Text),
    opt("error_on_requires_action", Bool),
    EXPAND,
    opt("metadata", Dict),
    opt("off_session", BoolOr(&["one_off", "recurring"])),
    opt("payment_method", Text),
    opt("payment_method_options", Record(METHOD_OPTIONS)),
    opt("receipt_email", Text),
    opt("return_url", Text),
    opt("setup_future_usage", FUTURE),
    opt("shipping", Record(SHIPPING)),
    opt("statement_descriptor_suffix", Text),
];
pub(super) const UPDATE_PAYMENT: &[Param] = &[
    opt("allowed_payment_method_types", List(&Text)),
    opt("amount", Int),
    opt("capture_method", CAPTURE),
    opt("currency", Text),
    opt("customer", Text),
    opt("description", Text),
    EXPAND,
    clear("metadata", Dict),
    opt("payment_method", Text),
    opt("payment_method_options", Record(METHOD_OPTIONS)),
    clear("receipt_email", Text),
    clear("setup_future_usage", FUTURE),
    clear("shipping", Record(SHIPPING)),
    opt("statement_descriptor_suffix", Text),
];
pub(super) const CONFIRM_PAYMENT: &[Param] = &[
    opt("allowed_payment_method_types", List(&Text)),
    opt("capture_method", CAPTURE),
    opt("error_on_requires_action", Bool),
    EXPAND,
    opt("off_session", BoolOr(&["one_off", "recurring"])),
    opt("payment_method", Text),
    opt("payment_method_options", Record(METHOD_OPTIONS)),
    clear("receipt_email", Text),
    opt("return_url", Text),
    clear("setup_future_usage", FUTURE),
    clear("shipping", Record(SHIPPING)),
];
pub(super) const CAPTURE_PAYMENT: &[Param] = &[
    opt("amount_to_capture", Int),
    EXPAND,
    opt("final_capture", Bool),
    clear("metadata", Dict),
    opt("statement_descriptor_suffix", Text),
];
pub(super) const CANCEL_PAYMENT: &[Param] = &[
    opt("cancellation_reason", Choice(&["abandoned", "duplicate", "fraudulent", "requested_by_customer"])),
    EXPAND,
];
pub(super) const CREATE_REFUND: &[Param] = &[
    opt("amount", Int),
    opt("charge", Text),
    EXPAND,
    clear("metadata", Dict),
    opt("payment_intent", Text),
    opt("reason", Choice(&["duplicate", "fraudulent", "requested_by_customer"])),
];
pub(super) const UPDATE_REFUND: &[Param] = &[EXPAND, clear("metadata", Dict)];
pub(super) const CREATE_ENDPOINT: &[Param] = &[
    req("enabled_events", List(&Text)),
    req("url", Text),
    opt("api_version", Text),
    opt("description", Text),
    EXPAND,
    clear("metadata", Dict),
];

/// The version cannot be changed.
pub(super) const UPDATE_ENDPOINT: &[Param] = &[
    clear("description", Text),
    opt("disabled", Bool),
    opt("enabled_events", List(&Text)),
    EXPAND,
    clear("metadata", Dict),
    opt("url", Text),
];

/// Checks names, presence and types of all parameters of a call.
pub(super) fn check(form: &Node, params: &[Param], prefix: &str) -> Result<(), ApiError> {
    for (name, node) in form.members() {
        let path = nested(prefix, name);
        let Some(param) = params.iter().find(|p| p.name == name) else {
            return Err(ApiError::invalid(format!("Received unknown parameter: {path}"))
                .code("parameter_unknown")
                .param(path));
        };
        match node {
            Node::Text(text) if text.is_empty() && param.clearable => {}
            Node::Text(text) if text.is_empty() => return Err(cannot_unset(&path)),
            _ => check_value(node, &param.ty, &path)?,
        }
    }
    for param in params.iter().filter(|p| p.required) {
        if form.get(param.name).is_none() {
            let path = nested(prefix, param.name);
            return Err(ApiError::invalid(format!("Missing required param: {path}."))
                .code("parameter_missing")
                .param(path));
        }
    }
    Ok(())
}

pub(super) fn nested(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}[{name}]") }
}

fn cannot_unset(path: &str) -> ApiError {
    ApiError::invalid(format!(
        "You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; \
         however '{path}' cannot be unset."
    ))
    .code("parameter_invalid_empty")
    .param(path)
}

fn check_value(node: &Node, ty: &Ty, path: &str) -> Result<(), ApiError> {
    let refuse = |what: &str| Err(ApiError::invalid(format!("Invalid {what}: {path}")).param(path));
    match (ty, node) {
        (Text, Node::Text(text)) => {
            if text.chars().count() > 5000 {
                return refuse("string, longer than 5000 characters");
            }
            Ok(())
        }
        (Int, Node::Text(text)) => check_int(text, path),
        (Created, Node::Text(text)) => check_int(text, path),
        (Created, Node::Map(_)) => check(node, BOUNDS, path),
        (Bool, Node::Text(text)) => {
            if matches!(text.as_str(), "true" | "false") {
                Ok(())
            } else {
                refuse("boolean")
            }
        }
        (Choice(names), Node::Text(text)) => {
            if names.contains(&text.as_str()) {
                Ok(())
            } else {
                refuse(&format!("value, must be one of {}", names.join(", ")))
            }
        }
        (BoolOr(names), Node::Text(text)) => {
            let known = matches!(text.as_str(), "true" | "false") || names.contains(&text.as_str());
            if known { Ok(()) } else { refuse("boolean") }
        }
        (Dict, Node::Map(members)) => check_metadata(members, path),
        (List(item), Node::Map(members)) => {
            for (at, (name, node)) in members.iter().enumerate() {
                if *name != at.to_string() {
                    return refuse("array");
                }
                check_value(node, item, &nested(path, name))?;
            }
            Ok(())
        }
        (Record(params), Node::Map(_)) => check(node, params, path),
        (Dict | Record(_), Node::Text(_)) => refuse("object"),
        (List(_), Node::Text(_)) => refuse("array"),
        (_, Node::Map(_)) => refuse("string"),
    }
}

fn check_int(text: &str, path: &str) -> Result<(), ApiError> {
    let shaped = text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
    if shaped && text.parse::<i64>().is_ok() {
        return Ok(());
    }
    Err(ApiError::invalid(format!("Invalid integer: {path}")).code("parameter_invalid_integer").param(path))
}

/// 50 keys of 40 characters with values of 500; no square brackets in keys. \[from memory\]
fn check_metadata(members: &[(String, Node)], path: &str) -> Result<(), ApiError> {
    if members.len() > 50 {
        return Err(ApiError::invalid("Metadata can have up to 50 keys").param(path));
    }
    for (name, node) in members {
        let path = nested(path, name);
        let Node::Text(value) = node else {
            return Err(ApiError::invalid(format!("Invalid string: {path}")).param(path));
        };
        if name.is_empty() || name.chars().count() > 40 || value.chars().count() > 500 {
            let message = "Metadata keys can have up to 40 characters, values up to 500";
            return Err(ApiError::invalid(message).param(path));
        }
    }
    Ok(())
}
