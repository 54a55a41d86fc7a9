//! Amounts on Stripe's wire.
//!
//! Stripe counts in its own smallest unit, which is ISO 4217's for most currencies and not for all
//! (reference `stripe.md` section 3, "Currencies"). What is not known for certain is refused: a wrong
//! exponent is a mistake by a factor of ten, a hundred or a thousand.

use tillway_core::money::{Currency, Money};

use super::wire::Fault;
use crate::config::Connection;

/// Stripe's zero-decimal currencies, UGX aside.
const ZERO_DECIMAL: &[&str] = &[
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF",
];

/// Three decimals, of which the last must be 0.
const THREE_DECIMAL: &[&str] = &["BHD", "JOD", "KWD", "OMR", "TND"];

/// Where Stripe's decimals are known and not those of ISO 4217.
pub(super) const OWN: &[(&str, u32)] = &[("ISK", 2), ("MGA", 0)];

/// Where they are not known, unless `allow_ugx` says so.
pub(super) const UNCONFIRMED: &[&str] = &["CLF", "IQD", "LYD", "UGX", "UYI", "UYW"];

/// Digits after the decimal point on the wire, where they are known.
fn wire_exponent(currency: Currency, connection: &Connection) -> Option<u32> {
    let code = currency.code();
    match code {
        // Two sources say no decimals, one says two. A person must say which, in the configuration.
        "UGX" => match connection.setting("allow_ugx", "no") {
            "0" => Some(0),
            "2" => Some(2),
            _ => None,
        },
        // Krónur without aurar, still counted in hundredths.
        "ISK" => Some(2),
        _ if ZERO_DECIMAL.contains(&code) => Some(0),
        _ if THREE_DECIMAL.contains(&code) => Some(3),
        // Anything else is two-decimal at Stripe; where ISO disagrees nobody has told us who is right.
        _ => (currency.exponent() == 2).then_some(2),
    }
}

fn unknown(field: &str, what: &str) -> Fault {
    Fault::new("currency_unknown", field, what.to_owned())
}

fn exponent(currency: Currency, connection: &Connection, field: &str) -> Result<u32, Fault> {
    wire_exponent(currency, connection).ok_or_else(|| {
        let how = if currency.code() == "UGX" {
            "; set `allow_ugx` to 0 or 2, the number of decimals your Stripe account uses"
        } else {
            ""
        };
        unknown(field, &format!("the number of decimals Stripe uses for {currency} is not confirmed{how}"))
    })
}

/// An amount from the wire. It may be zero; whether it may be negative is the caller's business.
///
/// # Errors
/// `currency_unknown`, or `amount_unrepresentable` where our minor units cannot hold it.
pub(super) fn from_wire(
    connection: &Connection,
    code: &str,
    count: i64,
    field: &str,
) -> Result<Money, Fault> {
    let currency = Currency::parse(code).map_err(|e| unknown("currency", &e.to_string()))?;
    let (wire, own) = (exponent(currency, connection, "currency")?, currency.exponent());
    let bad = || {
        let what = format!("Stripe's count of {currency} does not come out in whole minor units");
        Fault::new("amount_unrepresentable", field, what)
    };
    let minor = if own >= wire {
        count.checked_mul(10_i64.pow(own.saturating_sub(wire).min(6))).ok_or_else(bad)?
    } else {
        let factor = 10_i64.pow(wire.saturating_sub(own).min(6));
        (count % factor == 0).then(|| count / factor).ok_or_else(bad)?
    };
    Ok(Money::new(minor, currency))
}

/// An amount for the wire: the count, and the lower-case code.
///
/// # Errors
/// `amount_not_positive`, `amount_forbidden` or `currency_unknown`.
pub(super) fn to_wire(connection: &Connection, amount: Money, field: &str) -> Result<(i64, String), Fault> {
    let currency = amount.currency;
    if !amount.is_positive() {
        let what = format!("an amount sent to Stripe must be above zero, got {amount}");
        return Err(Fault::new("amount_not_positive", field, what));
    }
    let (wire, own) = (exponent(currency, connection, field)?, currency.exponent());
    let forbidden = |rule: &str| {
        Fault::new(
            "amount_forbidden",
            field,
            format!("Stripe does not take {amount}: {rule}; change the amount"),
        )
    };
    let count = if wire >= own {
        let factor = 10_i64.pow(wire.saturating_sub(own).min(6));
        amount.minor.checked_mul(factor).ok_or_else(|| forbidden("it is too large"))?
    } else {
        let factor = 10_i64.pow(own.saturating_sub(wire).min(6));
        if amount.minor % factor != 0 {
            return Err(forbidden(&format!("{currency} has {wire} decimals there")));
        }
        amount.minor / factor
    };
    if wire == 3 && count % 10 != 0 {
        return Err(forbidden(&format!("the last of the three decimals of {currency} must be 0")));
    }
    Ok((count, currency.code().to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::connection;
    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, Currency::parse(code).unwrap())
    }

    #[test]
    fn amounts_cross_the_wire_and_come_back() {
        let c = connection();
        for (minor, code, count) in [
            (1099, "USD", 1099),
            (1200, "JPY", 1200),
            (5120, "KWD", 5120),
            // Ariary have two decimals in ISO 4217 and none at Stripe; krónur none in ISO and two there.
            (50_000, "MGA", 500),
            (7, "ISK", 700),
            (350_000, "HUF", 350_000),
        ] {
            let (sent, lower) = to_wire(&c, money(minor, code), "amount").unwrap();
            assert_eq!((sent, lower.as_str()), (count, code.to_ascii_lowercase().as_str()), "{code}");
            assert_eq!(from_wire(&c, &lower, sent, "amount").unwrap(), money(minor, code), "{code}");
        }
    }

    #[test]
    fn what_the_wire_cannot_carry_is_refused_and_not_rounded() {
        let c = connection();
        for (minor, code, why) in [
            (5124, "KWD", "amount_forbidden"),
            (50_001, "MGA", "amount_forbidden"),
            (0, "USD", "amount_not_positive"),
            (-1, "USD", "amount_not_positive"),
            (500, "UGX", "currency_unknown"),
            (500, "IQD", "currency_unknown"),
            (500, "CLF", "currency_unknown"),
        ] {
            assert_eq!(to_wire(&c, money(minor, code), "amount").unwrap_err().code, why, "{code}");
        }
        assert_eq!(from_wire(&c, "isk", 750, "amount").unwrap_err().code, "amount_unrepresentable");
        assert_eq!(from_wire(&c, "zzz", 750, "amount").unwrap_err().code, "currency_unknown");
    }

    #[test]
    fn shillings_go_only_with_a_confirmed_exponent() {
        let mut c = connection();
        c.settings.insert("allow_ugx".into(), "2".into());
        assert_eq!(to_wire(&c, money(5, "UGX"), "amount").unwrap().0, 500);
        c.settings.insert("allow_ugx".into(), "0".into());
        assert_eq!(to_wire(&c, money(5, "UGX"), "amount").unwrap().0, 5);
    }
}
