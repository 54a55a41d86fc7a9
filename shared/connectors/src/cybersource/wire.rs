//! Reading Cybersource's objects. Leniently: unknown members are ignored, numbers may be texts, and a status that
//! nobody here knows is carried by its name. Amounts are decimal texts in major units, as is the currency's way.

use tillway_core::doc::Json;
use tillway_core::money::{Currency, Money};
use tillway_core::time::Timestamp;

pub(super) use crate::common::Fault;
use crate::common::plain_word;
use crate::config::Connection;
use crate::port::Owner;

/// A status nobody here knows: never taken for success or failure.
pub(super) fn status_unknown(of: &str, raw: &str) -> Fault {
    unknown(of, "status", "status", raw)
}

/// The same of another word that says how it went.
pub(super) fn unknown(of: &str, word: &str, field: &str, raw: &str) -> Fault {
    let what = format!(
        "Cybersource gives this {of} the {word} {}, which Tillway does not know; look at it in the Business \
         Center, do by hand what is to be done, and tell us",
        shown(raw)
    );
    Fault::new("status_unknown", field, what)
}

/// A raw word of the vendor's as it may be shown: with underscores, dashes and blanks, as its statuses and reasons may be
/// written.
pub(super) fn shown(raw: &str) -> String {
    match (plain_word(raw, b"_- "), raw.is_empty()) {
        (true, _) => format!("`{raw}`"),
        (false, true) => "(none)".to_owned(),
        (false, false) => format!("of {} characters that is no plain word", raw.chars().count()),
    }
}

/// A member that is a text with something in it.
pub(super) fn text<'a>(object: Json<'a>, path: &[&str]) -> Option<&'a str> {
    object.at(path)?.as_str().filter(|t| !t.is_empty())
}

/// A member that is a text or a whole number, as text.
pub(super) fn scalar(object: Json<'_>, path: &[&str]) -> Option<String> {
    let member = object.at(path)?;
    let text = member.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    text.or_else(|| member.as_i64().map(|n| n.to_string()))
}

/// Whether a text can stand in a path as one of Cybersource's ids.
pub(super) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The object's id.
pub(super) fn id(object: Json<'_>) -> Result<&str, Fault> {
    text(object, &["id"]).filter(|i| is_id(i)).ok_or_else(|| {
        Fault::new("id_missing", "id", "the answer carries no id; look at the order in the Business Center")
    })
}

/// When it was submitted; the member is spelled in two ways.
pub(super) fn submitted(object: Json<'_>) -> Option<Timestamp> {
    let found = text(object, &["submitTimeUtc"]).or_else(|| text(object, &["submitTimeUTC"]))?;
    // Times of this API without a zone are UTC [from memory].
    let zoned = if found.ends_with('Z') || found.get(19..).is_some_and(|z| z.contains(['+', '-'])) {
        found.to_owned()
    } else {
        format!("{found}Z")
    };
    Timestamp::parse_rfc3339(&zoned)
}

/// Our reference on an object.
pub(super) fn code(object: Json<'_>) -> Option<&str> {
    text(object, &["clientReferenceInformation", "code"])
}

/// The shop's order id in a reference; `None` for references that are not ours.
pub(super) fn order_of<'a>(connection: &Connection, code: &'a str) -> Option<&'a str> {
    code.strip_prefix(connection.setting("reference_prefix", "")).filter(|o| !o.is_empty())
}

/// Our reference for an order.
pub(super) fn code_for(connection: &Connection, order_id: &str) -> Result<String, Fault> {
    let code = format!("{}{order_id}", connection.setting("reference_prefix", ""));
    // The reference goes into searches, where these mean something.
    let plain = code.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.#/".contains(&b));
    if code.is_empty() || code.len() > 50 || !plain {
        let what = "Cybersource takes a reference of 1 to 50 letters, digits, `-`, `_`, `.`, `#` and `/`; number \
                    the order so in the shop";
        return Err(Fault::new("reference_malformed", "order_id", what));
    }
    Ok(code)
}

/// Whom an object is about: its order, or nobody where the reference is not ours; else the ids in sight.
pub(super) fn owner(connection: &Connection, object: Json<'_>) -> Owner {
    let reference = code(object).or_else(|| text(object, &["referenceNumber"]));
    if let Some(reference) = reference {
        let order = order_of(connection, reference);
        return order.map_or(Owner::Nobody, |id| Owner::Order { id: id.to_owned() });
    }
    let mut ids: Vec<String> = Vec::new();
    for found in [["rootId"], ["id"]].iter().filter_map(|path| text(object, path)).filter(|i| is_id(i)) {
        if !ids.iter().any(|known| known == found) {
            ids.push(found.to_owned());
        }
    }
    if ids.is_empty() { Owner::Nobody } else { Owner::Objects { ids } }
}

/// A currency this connection may use.
pub(super) fn currency(connection: &Connection, code: &str, field: &str) -> Result<Currency, Fault> {
    let currency = Currency::parse(code).map_err(|e| Fault::new("currency_unknown", field, e.to_string()))?;
    if currency.exponent() > 2 && !connection.flag("allow_three_decimals", false) {
        let what = format!(
            "{currency} has {} decimals, and how Cybersource takes them is not confirmed; ask your processor, \
             then set `allow_three_decimals: yes`",
            currency.exponent()
        );
        return Err(Fault::new("currency_unconfirmed", field, what));
    }
    Ok(currency)
}

/// An amount of an answer: its text at `path` in the currency at `currency_path`; `default` where none is told.
pub(super) fn money(
    connection: &Connection,
    object: Json<'_>,
    path: &[&str],
    currency_path: &[&str],
    default: Option<Currency>,
) -> Result<Money, Fault> {
    let currency = match (text(object, currency_path), default) {
        (Some(code), _) => currency(connection, code, &currency_path.join("."))?,
        (None, Some(currency)) => currency,
        (None, None) => {
            let what = "the answer names no currency; look at it in the Business Center";
            return Err(Fault::new("currency_unknown", currency_path.join("."), what));
        }
    };
    let field = path.join(".");
    let amount = scalar(object, path).ok_or_else(|| {
        Fault::new(
            "amount_missing",
            field.clone(),
            "expected an amount as decimal text; look at it in the Business Center",
        )
    })?;
    let money = Money::parse_major(&amount, currency)
        .map_err(|e| Fault::new(e.code(), field.clone(), e.to_string()))?;
    if money.minor < 0 {
        return Err(Fault::new(
            "amount_negative",
            field,
            "the amount is negative; look at it in the Business Center",
        ));
    }
    Ok(money)
}

/// An amount for the wire: decimal text with all the currency's places and no more.
pub(super) fn to_wire(connection: &Connection, amount: Money, field: &str) -> Result<String, Fault> {
    currency(connection, amount.currency.code(), field)?;
    if !amount.is_positive() {
        let what = format!("an amount sent to Cybersource must be above zero, got {amount}");
        return Err(Fault::new("amount_not_positive", field, what));
    }
    Ok(amount.to_major().to_string())
}

/// The last part of a link's path: links may be relative, and absolute ones bear odd ports.
pub(super) fn last_segment(href: &str) -> Option<&str> {
    let path = href.split(['?', '#']).next().unwrap_or(href);
    path.rsplit('/').next().filter(|id| is_id(id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tillway_core::doc::Doc;

    use super::super::testing::connection;
    use super::*;

    fn of(minor: i64, code: &str) -> Money {
        Money::new(minor, Currency::parse(code).unwrap())
    }

    #[test]
    fn amounts_are_decimal_texts_by_the_currencys_exponent_and_come_back() {
        let c = connection();
        for (minor, code, wire) in
            [(10_221, "USD", "102.21"), (100, "EUR", "1.00"), (5, "USD", "0.05"), (1200, "JPY", "1200")]
        {
            assert_eq!(to_wire(&c, of(minor, code), "amount").unwrap(), wire);
            let body = json!({"a": {"v": wire, "c": code}});
            let back = money(&c, Doc::from(&body).json(), &["a", "v"], &["a", "c"], None).unwrap();
            assert_eq!(back, of(minor, code));
        }
        assert_eq!(to_wire(&c, of(5120, "KWD"), "amount").unwrap_err().code, "currency_unconfirmed");
        assert_eq!(to_wire(&c, of(0, "USD"), "amount").unwrap_err().code, "amount_not_positive");
        let mut sure = c.clone();
        sure.settings.insert("allow_three_decimals".into(), "yes".into());
        assert_eq!(to_wire(&sure, of(5120, "KWD"), "amount").unwrap(), "5.120");
        for (bad, code) in
            [("1.005", "amount_too_many_digits"), ("-1", "amount_negative"), ("1e3", "amount_malformed")]
        {
            let body = json!({"v": bad, "c": "USD"});
            assert_eq!(money(&c, Doc::from(&body).json(), &["v"], &["c"], None).unwrap_err().code, code);
        }
    }

    #[test]
    fn a_raw_word_is_named_however_it_is_written_and_what_may_be_somebodys_is_not() {
        for word in
            ["HALF_DONE", "AuthorizedPendingReview", "Pending review", "half-done", "520", "3DS_FAILED_2"]
        {
            assert_eq!(shown(word), format!("`{word}`"));
        }
        assert_eq!(shown(""), "(none)");
        let long = "A".repeat(41);
        for hidden in [
            "ann@example.com",
            "4111",
            "4111 1111 1111 1111",
            "41-11-11",
            "+49 30 12",
            "Ünklar",
            "a\nb",
            "`x`",
            &long,
        ] {
            let said = shown(hidden);
            assert!(said.ends_with("that is no plain word") && !said.contains(hidden), "{said}");
        }
    }

    #[test]
    fn references_are_ours_by_their_prefix_and_fit_a_search() {
        let mut c = connection();
        assert_eq!(code_for(&c, "A-1001").unwrap(), "A-1001");
        for bad in ["", "A 1", "A:1 OR code:B", "Ä", &"x".repeat(51)] {
            assert_eq!(code_for(&c, bad).unwrap_err().field, "order_id", "{bad}");
        }
        c.settings.insert("reference_prefix".into(), "web-".into());
        assert_eq!(code_for(&c, "A-1").unwrap(), "web-A-1");
        assert_eq!((order_of(&c, "web-A-1"), order_of(&c, "POS-7")), (Some("A-1"), None));
    }

    #[test]
    fn links_and_times_are_read_as_they_come() {
        assert_eq!(last_segment("/pts/v2/captures/763"), Some("763"));
        assert_eq!(last_segment("https://x.example:-1/tss/v2/transactions/763?a=b"), Some("763"));
        assert_eq!(last_segment("https://x.example/"), None);
        for text in ["2026-11-20T10:15:30Z", "2026-11-20T10:15:30"] {
            let body = json!({"submitTimeUTC": text});
            assert_eq!(submitted(Doc::from(&body).json()).unwrap().unix(), 1_795_169_730);
        }
    }
}
