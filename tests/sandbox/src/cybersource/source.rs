//! What is charged: an id of the vault, or a transient token. Exactly one, and it must exist.

use super::CybersourceSandbox;
use super::body::Body;
use super::errors::ApiError;
use super::magic;
use super::model::Card;

/// A source as far as a payment needs it.
pub(super) struct Source {
    pub(super) card: Card,
    pub(super) customer: Option<String>,
    /// The token that says what becomes of it: the magic one, or the one a stored one was made of.
    pub(super) origin: Option<String>,
    /// A stored customer or instrument, which knows the cardholder.
    pub(super) stored: bool,
}

const CUSTOMER: &str = "paymentInformation.customer.id";
/// The others, and whether they know the cardholder.
const OTHERS: [(&str, bool); 5] = [
    ("paymentInformation.paymentInstrument.id", true),
    ("paymentInformation.instrumentIdentifier.id", false),
    ("paymentInformation.legacyToken.id", true),
    ("tokenInformation.transientTokenJwt", false),
    ("tokenInformation.jti", false),
];

impl CybersourceSandbox {
    /// The source of a payment.
    pub(super) fn source(&self, body: Body<'_>) -> Result<Source, ApiError> {
        let unknown = |path: &str| ApiError::invalid(path, "no such token");
        let customer = body.text(CUSTOMER)?;
        let mut others = Vec::new();
        for (path, stored) in OTHERS {
            others.extend(body.text(path)?.map(|token| (path, token, stored)));
        }
        match (others.as_slice(), customer) {
            // An instrument may be named with its customer, which magic ones all have.
            ([(path, token, stored)], customer) if customer.is_none() || path.contains("Instrument") => {
                let card = magic::card_of(token).ok_or_else(|| unknown(path))?;
                let customer = customer.map(str::to_owned);
                Ok(Source { card, customer, origin: Some((*token).to_owned()), stored: *stored })
            }
            ([], Some(id)) => {
                let kept = || self.vault.customer(id).and_then(|c| c.card.clone());
                let magic = magic::card_of(id).map(|card| (card, id.to_owned()));
                let (card, origin) = magic.or_else(kept).ok_or_else(|| unknown(CUSTOMER))?;
                Ok(Source { card, customer: Some(id.to_owned()), origin: Some(origin), stored: true })
            }
            ([], None) => Err(ApiError::missing("paymentInformation")),
            _ => Err(ApiError::invalid("paymentInformation", "more than one source")),
        }
    }
}
