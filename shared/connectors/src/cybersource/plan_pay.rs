//! The request that makes a payment: the token in its place, addresses, and what Decision Manager looks at.

use std::net::IpAddr;

use serde_json::{Map, Value as Json, json};
use tillway_core::money::Money;
use tillway_core::value::Value;

use super::plan::{Params, Plan};
use super::plan_lines::{self, Asks};
use super::wire::{self, Fault};

/// A payment, reserved or taken at once.
pub(super) fn authorize(p: &Params<'_>) -> Result<Plan, Fault> {
    let taking = p.flag("capture", false);
    let (code, amount, mut body) = bought(p, Asks::Payment)?;
    body.insert("processingInformation".into(), processing(p, taking));
    body.extend(source(p)?);
    let path = p.path("payments", "");
    Ok(Plan { path, body: Json::Object(body), code, amount: Some(amount), taking, ..Plan::default() })
}

/// What is bought by whom, as a payment and a screening tell it: our reference, the amount, the body's members.
pub(super) fn bought(p: &Params<'_>, asks: Asks) -> Result<(String, Money, Map<String, Json>), Fault> {
    let (code, amount) = (p.code()?, p.amount()?);
    let mut order = Map::new();
    order.insert("amountDetails".into(), p.amount_details(amount)?);
    let (bill_to, ship_to) = (address(p.params.at("bill_to"), true), address(p.params.at("ship_to"), false));
    // Only a shipping address that differs is one.
    let ship_to = ship_to.filter(|ship| differs(ship, bill_to.as_ref()));
    order.extend(bill_to.map(|a| ("billTo".to_owned(), Json::Object(a))));
    order.extend(ship_to.map(|a| ("shipTo".to_owned(), Json::Object(a))));
    order.extend(plan_lines::lines(p, amount.currency, asks)?.map(|l| ("lineItems".to_owned(), l)));
    let mut body = Map::new();
    body.insert("clientReferenceInformation".into(), p.reference(&code));
    body.insert("orderInformation".into(), Json::Object(order));
    body.extend(device(p)?.map(|d| ("deviceInformation".to_owned(), Json::Object(d))));
    let buyer = texts(&[("merchantCustomerId", p.text("customer_ref"))]);
    body.extend(buyer.map(|b| ("buyerInformation".to_owned(), Json::Object(b))));
    body.insert("merchantDefinedInformation".into(), p.defined(None)?);
    Ok((code, amount, body))
}

/// What the order was placed with.
fn device(p: &Params<'_>) -> Result<Option<Map<String, Json>>, Fault> {
    let (ip, session) = (p.text("ip_address"), p.text("fingerprint"));
    if ip.is_some_and(|ip| ip.parse::<IpAddr>().is_err()) {
        let what = "this is no IP address, and Cybersource would refuse the payment; let the shop send one address, or leave \
                    `ip_address` out of the mapping";
        return Err(Fault::new("ip_address_malformed", "ip_address", what));
    }
    let fits = |s: &str| s.len() <= 88 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if session.is_some_and(|s| !fits(s)) {
        let what = "a session of the device fingerprint has at most 88 letters, digits, `-`, `_` and `.`; let the shop send \
                    it as its page made it, or leave `fingerprint` out of the mapping";
        return Err(Fault::new("fingerprint_malformed", "fingerprint", what));
    }
    Ok(texts(&[("ipAddress", ip), ("fingerprintSessionId", session)]))
}

fn processing(p: &Params<'_>, taking: bool) -> Json {
    let mut out = json!({
        "capture": taking,
        "commerceIndicator": p.connection.setting("commerce_indicator", "internet"),
    });
    let mut list: Vec<&str> = Vec::new();
    if p.connection.setting("decision_manager", "on") == "off" || p.text("screening") == Some("before") {
        list.push("DECISION_SKIP");
    }
    let save = p.connection.flag("save_card", false) && is_transient(p);
    if save {
        list.push("TOKEN_CREATE");
    }
    if let Some(map) = out.as_object_mut() {
        if !list.is_empty() {
            map.insert("actionList".into(), json!(list));
        }
        if save {
            let types = ["customer", "paymentInstrument", "shippingAddress", "instrumentIdentifier"];
            map.insert("actionTokenTypes".into(), json!(types));
        }
    }
    out
}

/// A token of Flex, Microform or Unified Checkout: a JWT, or the long hexadecimal id of one.
fn looks_transient(token: &str) -> bool {
    let jwt = token.split('.').count() == 3 && token.len() > 60;
    let jti = token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit());
    jwt || jti
}

pub(super) fn is_transient(p: &Params<'_>) -> bool {
    match p.connection.setting("token_kind", "auto") {
        "transient_token" => true,
        "auto" => p.text("token").is_some_and(looks_transient),
        _ => false,
    }
}

/// The token, which is no card number.
pub(super) fn token<'a>(p: &Params<'a>) -> Result<&'a str, Fault> {
    let token = p.needed("token")?;
    if !tillway_core::pan::find(token).is_empty() {
        let what = "a card number stands where a token belongs; the shop must send Cybersource's token";
        return Err(Fault::new("card_number", "token", what));
    }
    let fits = token.len() <= 8192 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !fits {
        let what = "this is no token of Cybersource's (letters, digits, `-`, `_`, `.`)";
        return Err(Fault::new("token_malformed", "token", what));
    }
    Ok(token)
}

/// The member that names what is charged.
fn source(p: &Params<'_>) -> Result<Option<(String, Json)>, Fault> {
    let token = token(p)?;
    if is_transient(p) {
        let name = if token.contains('.') { "transientTokenJwt" } else { "jti" };
        return Ok(Some(("tokenInformation".to_owned(), json!({name: token}))));
    }
    let customer = p.text("customer").filter(|c| wire::is_id(c));
    let mut info = Map::new();
    let mut put = |name: &str, id: &str| {
        info.insert(name.to_owned(), json!({"id": id}));
    };
    match p.connection.setting("token_kind", "auto") {
        "payment_instrument" => {
            if let Some(customer) = customer {
                put("customer", customer);
            }
            put("paymentInstrument", token);
        }
        "instrument_identifier" => put("instrumentIdentifier", token),
        "legacy" => put("legacyToken", token),
        _ => put("customer", token),
    }
    Ok(Some(("paymentInformation".to_owned(), Json::Object(info))))
}

fn texts(members: &[(&str, Option<&str>)]) -> Option<Map<String, Json>> {
    let there = members.iter().filter_map(|(name, text)| Some(((*name).to_owned(), Json::from((*text)?))));
    let map: Map<String, Json> = there.collect();
    (!map.is_empty()).then_some(map)
}

fn address(given: &Value, billing: bool) -> Option<Map<String, Json>> {
    let get = |name: &str| given.at(name).as_text().map(str::trim).filter(|t| !t.is_empty());
    texts(&[
        ("firstName", get("first_name")),
        ("lastName", get("last_name")),
        ("company", get("company")),
        ("address1", get("line1")),
        ("address2", get("line2")),
        ("locality", get("city")),
        ("administrativeArea", get("region")),
        ("postalCode", get("postal_code")),
        ("country", get("country")),
        ("email", get("email").filter(|_| billing)),
        ("phoneNumber", get("phone")),
    ])
}

/// Whether a shipping address is another than the billing address: either may say what the other does not. E-mail addresses
/// are of billing addresses alone.
fn differs(ship: &Map<String, Json>, bill: Option<&Map<String, Json>>) -> bool {
    let Some(bill) = bill else { return true };
    let lacks = |from: &Map<String, Json>, other: &Map<String, Json>| {
        from.iter().any(|(name, value)| name != "email" && other.get(name) != Some(value))
    };
    lacks(ship, bill) || lacks(bill, ship)
}
