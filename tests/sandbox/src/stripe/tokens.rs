//! What a payment method does, told by its token, like the provider's own test tokens.

/// How a charge of a token is declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decline {
    pub(super) code: &'static str,
    pub(super) decline_code: &'static str,
    pub(super) advice_code: Option<&'static str>,
    pub(super) message: &'static str,
    /// Stopped by Radar and never sent to the network.
    pub(super) blocked: bool,
}

/// What happens to a refund of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefundFate {
    Succeeds,
    /// Pending first, succeeded later.
    Pending,
    /// Succeeded first, failed later.
    Fails,
}

/// What a charge of a token leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    Approve {
        review: bool,
        dispute: bool,
        refund: RefundFate,
    },
    Decline(Decline),
    /// Asks for 3-D Secure first, then approves.
    Challenge,
}

const PLAIN: Behaviour = Behaviour::Approve { review: false, dispute: false, refund: RefundFate::Succeeds };

const fn declined(
    code: &'static str,
    decline_code: &'static str,
    advice_code: &'static str,
    message: &'static str,
) -> Behaviour {
    Behaviour::Decline(Decline {
        code,
        decline_code,
        advice_code: Some(advice_code),
        message,
        blocked: false,
    })
}

/// The behaviour of a token, or nothing where no such token exists. `_x…` at the end makes a token unique
/// (`pm_card_visa_x17`) and is ignored here.
pub(super) fn behaviour(token: &str) -> Option<Behaviour> {
    let base = token.split("_x").next().unwrap_or(token);
    let name = base.strip_prefix("pm_card_")?;
    let name = name.strip_prefix("visa_").unwrap_or(name);
    let again = "try_again_later";
    let never = "do_not_try_again";
    let check = "confirm_card_data";
    Some(match name {
        "visa" | "debit" | "mastercard" | "amex" | "discover" | "us" => PLAIN,
        "chargeDeclined" => declined("card_declined", "generic_decline", again, "Your card was declined."),
        "chargeDeclinedInsufficientFunds" => {
            declined("card_declined", "insufficient_funds", again, "Your card has insufficient funds.")
        }
        "chargeDeclinedExpiredCard" => {
            declined("expired_card", "expired_card", check, "Your card has expired.")
        }
        "chargeDeclinedFraudulent" => {
            declined("card_declined", "fraudulent", never, "Your card was declined.")
        }
        "chargeDeclinedLostCard" => declined("card_declined", "lost_card", never, "Your card was declined."),
        "chargeDeclinedStolenCard" => {
            declined("card_declined", "stolen_card", never, "Your card was declined.")
        }
        "chargeDeclinedIncorrectCvc" => {
            declined("incorrect_cvc", "incorrect_cvc", check, "Your card's security code is incorrect.")
        }
        "chargeDeclinedProcessingError" => declined(
            "processing_error",
            "processing_error",
            again,
            "An error occurred while processing your card. Try again in a little bit.",
        ),
        "radarBlock" => Behaviour::Decline(Decline {
            code: "card_declined",
            decline_code: "fraudulent",
            advice_code: None,
            message: "Your card was declined.",
            blocked: true,
        }),
        "authenticationRequired" | "threeDSecure2Required" | "threeDSecureRequired" => Behaviour::Challenge,
        "riskLevelElevated" => {
            Behaviour::Approve { review: true, dispute: false, refund: RefundFate::Succeeds }
        }
        "createDispute" => Behaviour::Approve { review: false, dispute: true, refund: RefundFate::Succeeds },
        "pendingRefund" => Behaviour::Approve { review: false, dispute: false, refund: RefundFate::Pending },
        "refundFail" => Behaviour::Approve { review: false, dispute: false, refund: RefundFate::Fails },
        _ => return None,
    })
}

/// Brand and last four digits shown for a token.
pub(super) fn card(token: &str) -> (&'static str, &'static str) {
    if token.contains("mastercard") {
        ("mastercard", "4444")
    } else if token.contains("amex") {
        ("amex", "0005")
    } else if token.contains("discover") {
        ("discover", "1117")
    } else {
        ("visa", "4242")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_makes_a_token_unique_and_changes_nothing() {
        assert_eq!(behaviour("pm_card_visa_x17"), Some(PLAIN));
        assert_eq!(behaviour("pm_card_visa"), Some(PLAIN));
        assert_eq!(behaviour("pm_card_visa_chargeDeclined_xa_b"), behaviour("pm_card_chargeDeclined"));
        assert_eq!(behaviour("pm_card_nothing"), None);
        assert_eq!(behaviour("tok_visa"), None);
    }
}
