//! What the provider demands of an amount in each currency (`reference/stripe.md`, "Currencies").

use tillway_core::money::Currency;

use super::errors::ApiError;

/// Highest amount of one charge: eight digits. \[from memory, reference section 3\]
const MAX_AMOUNT: i64 = 99_999_999;

/// Smallest charges; about 0.50 USD where a currency is not listed. \[from memory\]
const MINIMA: &[(&str, i64)] = &[
    ("aed", 200),
    ("bgn", 100),
    ("czk", 1500),
    ("dkk", 250),
    ("gbp", 30),
    ("hkd", 400),
    ("huf", 17_500),
    ("isk", 100),
    ("krw", 100),
    ("mxn", 1000),
    ("myr", 200),
    ("nok", 300),
    ("pln", 200),
    ("ron", 200),
    ("sek", 300),
    ("thb", 1000),
    ("bhd", 200),
    ("jod", 360),
    ("kwd", 160),
    ("omr", 200),
    ("tnd", 1600),
];

const THREE_DECIMAL: &[&str] = &["bhd", "jod", "kwd", "omr", "tnd"];

/// Reads a currency parameter: lower-case ISO 4217.
pub(super) fn parse(code: &str) -> Result<String, ApiError> {
    let refuse = |message: String| Err(ApiError::invalid(message).param("currency"));
    if code == "ugx" {
        // Sources disagree whether 500 means 5 or 500 shillings; nobody shall learn a wrong answer here.
        return refuse(
            "The sandbox does not take UGX: its number of decimals at Stripe is not confirmed".into(),
        );
    }
    if Currency::parse(code).is_err() || code.bytes().any(|b| b.is_ascii_uppercase()) {
        return refuse(format!("Invalid currency: {code}. Stripe wants a lower-case ISO code it supports."));
    }
    Ok(code.to_owned())
}

/// Checks what holds for every amount of a currency: charges, captures and refunds.
pub(super) fn check_unit(currency: &str, amount: i64, param: &str) -> Result<(), ApiError> {
    if amount < 1 {
        return Err(ApiError::invalid("This value must be greater than or equal to 1.")
            .code("parameter_invalid_integer")
            .param(param));
    }
    if currency == "isk" && amount % 100 != 0 {
        return Err(ApiError::invalid("ISK has no decimals: the amount must be a multiple of 100.")
            .code("invalid_charge_amount_no_decimal_compatible")
            .param(param));
    }
    if THREE_DECIMAL.contains(&currency) && amount % 10 != 0 {
        return Err(ApiError::invalid("Three-decimal currencies must end in 0: round to the nearest ten.")
            .code("invalid_charge_amount")
            .param(param));
    }
    Ok(())
}

/// Checks the amount of a charge.
pub(super) fn check_charge(currency: &str, amount: i64) -> Result<(), ApiError> {
    check_unit(currency, amount, "amount")?;
    let minimum = MINIMA.iter().find(|(code, _)| *code == currency).map_or(50, |(_, minimum)| *minimum);
    if amount < minimum {
        return Err(ApiError::invalid(format!("Amount must be at least {minimum} {currency}"))
            .code("amount_too_small")
            .param("amount"));
    }
    if amount > MAX_AMOUNT {
        return Err(ApiError::invalid(format!("Amount must be no more than {MAX_AMOUNT} {currency}"))
            .code("amount_too_large")
            .param("amount"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(currency: &str, amount: i64) -> Option<&'static str> {
        check_charge(currency, amount).err().map(|e| e.code.unwrap_or("none"))
    }

    #[test]
    fn each_currency_has_its_own_rule() {
        for (currency, amount) in [("usd", 50), ("jpy", 50), ("kwd", 5120), ("isk", 1200), ("huf", 17_500)] {
            assert_eq!(code(currency, amount), None, "{currency} {amount}");
        }
        assert_eq!(code("usd", 49), Some("amount_too_small"));
        assert_eq!(code("usd", 0), Some("parameter_invalid_integer"));
        assert_eq!(code("usd", 100_000_000), Some("amount_too_large"));
        assert_eq!(code("kwd", 5124), Some("invalid_charge_amount"));
        assert_eq!(code("isk", 1250), Some("invalid_charge_amount_no_decimal_compatible"));
    }

    #[test]
    fn only_lower_case_iso_codes_are_taken() {
        assert_eq!(parse("mga").unwrap(), "mga");
        for bad in ["USD", "zzz", "", "ugx", "xau"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
