//! What a payment request must hold.

use super::body::Body;
use super::errors::ApiError;

/// Longest texts of an address.
const LENGTHS: [(&str, usize); 9] = [
    ("firstName", 60),
    ("lastName", 60),
    ("company", 60),
    ("address1", 60),
    ("address2", 60),
    ("locality", 50),
    ("administrativeArea", 20),
    ("postalCode", 14),
    ("phoneNumber", 15),
];

/// What a card payment needs to know of the cardholder, where no stored customer knows it.
const BILL_TO: [&str; 6] = ["firstName", "lastName", "address1", "locality", "country", "email"];

fn address(body: Body<'_>, whose: &str) -> Result<(), ApiError> {
    let path = |name: &str| format!("orderInformation.{whose}.{name}");
    if body.get(&format!("orderInformation.{whose}")).is_none() {
        return Ok(());
    }
    for (name, most) in LENGTHS {
        body.short(&path(name), most)?;
    }
    if let Some(country) = body.text(&path("country"))? {
        if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(ApiError::invalid(path("country"), "expected two capital letters of ISO 3166"));
        }
        if matches!(country, "US" | "CA") {
            body.needed(&path("administrativeArea"))?;
            body.needed(&path("postalCode"))?;
        }
    }
    match body.text(&path("email"))? {
        Some(email) if !email.contains('@') => Err(ApiError::invalid(path("email"), "no e-mail address")),
        _ => Ok(()),
    }
}

fn line_items(body: Body<'_>) -> Result<(), ApiError> {
    let path = "orderInformation.lineItems";
    let Some(list) = body.get(path) else { return Ok(()) };
    let items = list.as_array().ok_or_else(|| ApiError::invalid(path, "expected a list"))?;
    for (at, item) in items.iter().enumerate() {
        let item = Body(item);
        let wrong = |name: &str| ApiError::invalid(format!("{path}[{at}].{name}"), "not as it must be");
        if item.whole("quantity").map_err(|_| wrong("quantity"))?.is_some_and(|q| q < 1) {
            return Err(wrong("quantity"));
        }
        for name in ["unitPrice", "taxAmount", "totalAmount", "discountAmount"] {
            let text = item.text(name).map_err(|_| wrong(name))?;
            let decimal = |t: &str| {
                t.bytes().all(|b| b.is_ascii_digit() || b == b'.') && t.bytes().any(|b| b.is_ascii_digit())
            };
            if text.is_some_and(|t| !decimal(t)) {
                return Err(wrong(name));
            }
        }
    }
    Ok(())
}

const ACTIONS: [&str; 5] = [
    "TOKEN_CREATE",
    "DECISION_SKIP",
    "CONSUMER_AUTHENTICATION",
    "VALIDATE_CONSUMER_AUTHENTICATION",
    "WATCHLIST_SCREENING",
];

/// The actions a payment may carry.
pub(super) fn actions<'a>(body: Body<'a>) -> Result<Vec<&'a str>, ApiError> {
    let path = "processingInformation.actionList";
    let actions = body.words(path)?;
    match actions.iter().find(|a| !ACTIONS.contains(a) && !a.starts_with("AP_")) {
        Some(_) => Err(ApiError::invalid(path, "no such action")),
        None => Ok(actions),
    }
}

/// Everything about a payment but its money and its source; `stored`: a customer's token tells who pays.
pub(super) fn payment(body: Body<'_>, stored: bool) -> Result<(), ApiError> {
    if !stored {
        for name in BILL_TO {
            body.needed(&format!("orderInformation.billTo.{name}"))?;
        }
    }
    address(body, "billTo")?;
    address(body, "shipTo")?;
    line_items(body)?;
    body.short("processingInformation.commerceIndicator", 20)?;
    if let Some(ip) = body.short("deviceInformation.ipAddress", 45)?
        && ip.parse::<std::net::IpAddr>().is_err()
    {
        return Err(ApiError::invalid("deviceInformation.ipAddress", "no IP address"));
    }
    body.short("buyerInformation.merchantCustomerId", 100)?;
    Ok(())
}
