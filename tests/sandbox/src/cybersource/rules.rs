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

/// Whose lines they are: a payment's and a decision's have other members.
#[derive(Clone, Copy)]
pub(super) enum Lines {
    Payment,
    Decision,
}

/// Most lines \[from memory\].
const LINES: usize = 200;

fn line_items(body: Body<'_>, of: Lines) -> Result<(), ApiError> {
    let path = "orderInformation.lineItems";
    let Some(list) = body.get(path) else { return Ok(()) };
    let items = list.as_array().ok_or_else(|| ApiError::invalid(path, "expected a list"))?;
    if items.is_empty() || items.len() > LINES {
        return Err(ApiError::invalid(path, "from 1 to 200 lines"));
    }
    let texts = ["productCode", "productName", "productSku", "productSKU"];
    let amounts = ["unitPrice", "taxAmount", "totalAmount", "discountAmount"];
    // What the real service would pass over is a bug of the caller's here.
    let theirs = match of {
        Lines::Payment => ["productSKU"].as_slice(),
        Lines::Decision => &["productSku", "discountAmount"],
    };
    for (at, item) in items.iter().enumerate() {
        let wrong = |name: &str| ApiError::invalid(format!("{path}[{at}].{name}"), "not as it must be");
        let members = item.as_object().ok_or_else(|| wrong(""))?;
        for name in members.keys().map(String::as_str) {
            let known = name == "quantity" || texts.contains(&name) || amounts.contains(&name);
            if !known || theirs.contains(&name) {
                return Err(wrong(name));
            }
        }
        let item = Body(item);
        if item
            .whole("quantity")
            .map_err(|_| wrong("quantity"))?
            .is_none_or(|q| !(1..=999_999_999).contains(&q))
        {
            return Err(wrong("quantity"));
        }
        for name in texts {
            item.short(name, 255).map_err(|_| wrong(name))?;
        }
        for name in amounts {
            let text = item.text(name).map_err(|_| wrong(name))?;
            let decimal = |t: &str| {
                t.len() <= 15
                    && t.bytes().all(|b| b.is_ascii_digit() || b == b'.')
                    && t.bytes().any(|b| b.is_ascii_digit())
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
pub(super) fn payment(body: Body<'_>, stored: bool, of: Lines) -> Result<(), ApiError> {
    if !stored {
        for name in BILL_TO {
            body.needed(&format!("orderInformation.billTo.{name}"))?;
        }
    }
    address(body, "billTo")?;
    address(body, "shipTo")?;
    line_items(body, of)?;
    body.short("processingInformation.commerceIndicator", 20)?;
    if let Some(ip) = body.short("deviceInformation.ipAddress", 45)?
        && ip.parse::<std::net::IpAddr>().is_err()
    {
        return Err(ApiError::invalid("deviceInformation.ipAddress", "no IP address"));
    }
    body.short("deviceInformation.fingerprintSessionId", 88)?;
    body.short("buyerInformation.merchantCustomerId", 100)?;
    Ok(())
}
