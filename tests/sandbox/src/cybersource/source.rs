//! What is charged: an id of the vault, or a transient token. Exactly one, and it must exist.

use super::CybersourceSandbox;
use super::body::Body;
use super::errors::ApiError;
use super::magic;
use super::model::{Card, Tokens};

/// A source as far as a payment needs it.
pub(super) struct Source {
    pub(super) card: Card,
    pub(super) tokens: Tokens,
    /// The token that says what becomes of it: the magic one, or the one a stored one was made of.
    pub(super) origin: Option<String>,
    /// A stored customer or instrument, which knows the cardholder.
    pub(super) stored: bool,
}

const CUSTOMER: &str = "paymentInformation.customer.id";
const INSTRUMENT: &str = "paymentInformation.paymentInstrument.id";
const IDENTIFIER: &str = "paymentInformation.instrumentIdentifier.id";
const LEGACY: &str = "paymentInformation.legacyToken.id";
const JWT: &str = "tokenInformation.transientTokenJwt";
const JTI: &str = "tokenInformation.jti";

fn unknown(path: &str) -> ApiError {
    ApiError::invalid(path, "no such token")
}

impl CybersourceSandbox {
    /// The source of a payment.
    pub(super) fn source(&mut self, body: Body<'_>) -> Result<Source, ApiError> {
        let get = |path: &'static str| Ok::<_, ApiError>(body.text(path)?.map(|id| (path, id)));
        let transient = match get(JWT)? {
            Some(jwt) => Some(jwt),
            None => get(JTI)?,
        };
        let (customer, instrument) = (get(CUSTOMER)?, get(INSTRUMENT)?);
        let (identifier, legacy) = (get(IDENTIFIER)?, get(LEGACY)?);
        let kinds = [transient, customer.or(instrument), identifier, legacy];
        match kinds.iter().flatten().count() {
            0 => return Err(ApiError::missing("paymentInformation")),
            1 => {}
            _ => return Err(ApiError::invalid("paymentInformation", "more than one source")),
        }
        if let Some((path, token)) = transient {
            return self.transient_source(path, token);
        }
        if let Some((path, id)) = identifier {
            return self.identifier_source(body, path, id);
        }
        if let Some((path, id)) = legacy {
            let card = magic::card_of(id).ok_or_else(|| unknown(path))?;
            let origin = Some(id.to_owned());
            return Ok(Source { card, tokens: Tokens::default(), origin, stored: true });
        }
        self.stored_source(customer, instrument)
    }

    fn stored_source(
        &self,
        customer: Option<(&str, &str)>,
        instrument: Option<(&str, &str)>,
    ) -> Result<Source, ApiError> {
        let mut tokens = Tokens {
            customer: customer.map(|(_, id)| id.to_owned()),
            instrument: instrument.map(|(_, id)| id.to_owned()),
            ..Tokens::default()
        };
        let named = instrument.or(customer);
        if let Some((_, id)) = named
            && let Some(card) = magic::card_of(id)
        {
            return Ok(Source { card, tokens, origin: Some(id.to_owned()), stored: true });
        }
        let whose = match customer {
            Some((path, id)) => {
                Some(self.vault.live_customer(id).ok_or_else(|| unknown(path))?)
            }
            None => None,
        };
        let chosen = match (instrument, whose) {
            (Some((path, id)), whose) => {
                let found = self.vault.live_instrument(id).ok_or_else(|| unknown(path))?;
                if whose.is_some_and(|c| found.customer.as_deref() != Some(c.id.as_str())) {
                    return Err(ApiError::invalid(path, "belongs to another customer"));
                }
                found
            }
            (None, Some(customer)) => {
                let default = customer.default_instrument.as_deref();
                default
                    .and_then(|id| self.vault.live_instrument(id))
                    .ok_or_else(|| ApiError::invalid(CUSTOMER, "the customer has no payment instrument"))?
            }
            (None, None) => return Err(ApiError::missing("paymentInformation")),
        };
        tokens.instrument = Some(chosen.id.clone());
        tokens.identifier = Some(chosen.identifier.clone());
        let origin = Some(chosen.origin.clone());
        Ok(Source { card: chosen.card.clone(), tokens, origin, stored: true })
    }

    fn identifier_source(&self, body: Body<'_>, path: &str, id: &str) -> Result<Source, ApiError> {
        let (mut card, origin) = match (magic::card_of(id), self.vault.identifier(id)) {
            (Some(card), _) => (card, id.to_owned()),
            (None, Some(found)) => (found.card.clone(), found.origin.clone()),
            (None, None) => return Err(unknown(path)),
        };
        // It names the number alone: the expiry comes with the payment.
        let (month, year) =
            ("paymentInformation.card.expirationMonth", "paymentInformation.card.expirationYear");
        card.month = body.needed(month)?.to_owned();
        card.year = body.needed(year)?.to_owned();
        let month_fits = card.month.len() == 2
            && card.month.parse::<u8>().is_ok_and(|m| (1..=12).contains(&m));
        if !month_fits {
            return Err(ApiError::invalid(month, "expected 01 to 12"));
        }
        if card.year.len() != 4 || card.year.parse::<u16>().is_err() {
            return Err(ApiError::invalid(year, "expected four digits"));
        }
        let tokens = Tokens { identifier: Some(id.to_owned()), ..Tokens::default() };
        Ok(Source { card, tokens, origin: Some(origin), stored: false })
    }

    fn transient_source(&mut self, path: &str, token: &str) -> Result<Source, ApiError> {
        let now = self.now;
        if let Some(card) = magic::card_of(token) {
            let origin = Some(token.to_owned());
            return Ok(Source { card, tokens: Tokens::default(), origin, stored: false });
        }
        let found = self.vault.transient(token).ok_or_else(|| unknown(path))?;
        if now >= found.ends {
            return Err(ApiError::invalid(path, "the transient token has expired"));
        }
        let origin = Some(found.origin.clone());
        let card = magic::card_of(&found.origin).ok_or_else(|| unknown(path))?;
        Ok(Source { card, tokens: Tokens::default(), origin, stored: false })
    }
}
