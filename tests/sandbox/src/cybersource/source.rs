//! What is charged: an id of the vault, or a transient token. Exactly one, and it must exist.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

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
                let token = match path.ends_with("Jwt") && token.contains('.') {
                    true => self.transient(token).map_err(|what| ApiError::invalid(*path, what))?,
                    false => (*token).to_owned(),
                };
                let card = magic::card_of(&token).ok_or_else(|| unknown(path))?;
                let customer = customer.map(str::to_owned);
                Ok(Source { card, customer, origin: Some(token), stored: *stored })
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

    /// The magic token in a JWT as Microform makes them: its `jti`, until it ends. Nobody but the service itself could check
    /// its signature.
    fn transient(&self, jwt: &str) -> Result<String, &'static str> {
        let parts: Vec<&str> = jwt.split('.').collect();
        let [_, claims, _] = parts.as_slice() else { return Err("no JWT") };
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| "no JWT")?;
        let claims: Value = serde_json::from_slice(&claims).map_err(|_| "no JWT")?;
        let ends = claims.get("exp").and_then(Value::as_i64).ok_or("a JWT without an end")?;
        if self.now.unix() >= ends {
            return Err("the transient token has expired");
        }
        claims.get("jti").and_then(Value::as_str).map(str::to_owned).ok_or("a JWT without jti")
    }
}
