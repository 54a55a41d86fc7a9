//! Customers of the token vault: those made by the API, and those a payment made (`TOKEN_CREATE`).

use serde_json::{Value, json};

use super::CybersourceSandbox;
use super::body::Body;
use super::errors::ApiError;
use super::ids::Kind;
use super::model::Card;
use super::source::Source;

/// A customer.
#[derive(Debug, Clone)]
pub(super) struct Customer {
    id: String,
    email: Option<String>,
    reference: Option<String>,
    /// The card kept for it, and the token that it was made of.
    pub(super) card: Option<(Card, String)>,
}

/// All customers.
#[derive(Debug, Default)]
pub(super) struct Vault(Vec<Customer>);

impl Vault {
    pub(super) fn customer(&self, id: &str) -> Option<&Customer> {
        self.0.iter().find(|c| c.id == id)
    }
}

impl CybersourceSandbox {
    /// `POST /tms/v2/customers`.
    pub(super) fn make_customer(&mut self, body: Body<'_>) -> Result<Value, ApiError> {
        let reference = body.short("buyerInformation.merchantCustomerID", 100)?.map(str::to_owned);
        let email = body.short("buyerInformation.email", 255)?.map(str::to_owned);
        if body.get("buyerInformation.merchantCustomerId").is_some() {
            let what = "spelled merchantCustomerID here";
            return Err(ApiError::invalid("buyerInformation.merchantCustomerId", what));
        }
        let id = self.keep(email, reference, None);
        self.customer(&id)
    }

    fn keep(
        &mut self,
        email: Option<String>,
        reference: Option<String>,
        card: Option<(Card, String)>,
    ) -> String {
        let id = self.ids.token(Kind::Customer, self.vault.0.len());
        self.vault.0.push(Customer { id: id.clone(), email, reference, card });
        id
    }

    /// Makes a customer of a payment's source; answers its id.
    pub(super) fn keep_card(&mut self, source: &Source, body: Body<'_>) -> Result<String, ApiError> {
        let email = body.text("orderInformation.billTo.email")?.map(str::to_owned);
        let reference = body.text("buyerInformation.merchantCustomerId")?.map(str::to_owned);
        let card = source.origin.clone().map(|origin| (source.card.clone(), origin));
        Ok(self.keep(email, reference, card))
    }

    /// `GET /tms/v2/customers/{id}`.
    pub(super) fn customer(&self, id: &str) -> Result<Value, ApiError> {
        let found = self.vault.customer(id).ok_or_else(ApiError::not_found)?;
        let mut buyer = serde_json::Map::new();
        buyer.extend(found.reference.as_ref().map(|r| ("merchantCustomerID".to_owned(), json!(r))));
        buyer.extend(found.email.as_ref().map(|e| ("email".to_owned(), json!(e))));
        let href = format!("/tms/v2/customers/{id}");
        Ok(json!({"_links": {"self": {"href": href}}, "id": id, "buyerInformation": buyer,
            "metadata": {"creator": self.config.credentials.merchant_id}}))
    }

    /// Customers there are: id and the shop's reference.
    pub fn all_customers(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.vault.0.iter().map(|c| (c.id.as_str(), c.reference.as_deref()))
    }
}
