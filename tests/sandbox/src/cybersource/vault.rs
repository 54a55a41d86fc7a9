//! Customers of the token vault, those made by the API and those a payment made (`TOKEN_CREATE`), and their payment
//! instruments. Nothing can be found here but by its id, as at the provider.

use serde_json::{Value, json};
use tillway_core::ids::digest;

use super::CybersourceSandbox;
use super::body::Body;
use super::errors::ApiError;
use super::gate::Doc;
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
    /// Counts changes: what `If-Match` is held against.
    version: u32,
    deleted: bool,
    instruments: Vec<Instrument>,
}

/// A payment instrument: an identifier kept with a customer.
#[derive(Debug, Clone)]
struct Instrument {
    id: String,
    identifier: String,
    closed: bool,
}

/// A customer as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerTruth {
    /// Its id.
    pub id: String,
    /// The shop's reference.
    pub reference: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Identifiers of its open instruments.
    pub instruments: Vec<String>,
    /// Changes so far.
    pub changes: u32,
}

/// All customers.
#[derive(Debug, Default)]
pub(super) struct Vault {
    customers: Vec<Customer>,
    instruments: usize,
}

impl Vault {
    pub(super) fn customer(&self, id: &str) -> Option<&Customer> {
        self.customers.iter().find(|c| c.id == id && !c.deleted)
    }
}

/// Most instruments on a page.
const MOST: usize = 100;

impl CybersourceSandbox {
    /// `POST /tms/v2/customers`.
    pub(super) fn make_customer(&mut self, body: Body<'_>) -> Result<Value, ApiError> {
        let (reference, email) = buyer(body)?;
        let id = self.keep(email, reference, None);
        self.customer(&id).map(|doc| doc.1)
    }

    fn keep(
        &mut self,
        email: Option<String>,
        reference: Option<String>,
        card: Option<(Card, String)>,
    ) -> String {
        let id = self.ids.token(Kind::Customer, self.vault.customers.len());
        let (version, deleted, instruments) = (0, false, Vec::new());
        let customer = Customer { id: id.clone(), email, reference, card, version, deleted, instruments };
        self.vault.customers.push(customer);
        id
    }

    /// Makes a customer of a payment's source, with an instrument; answers its id and the identifier's. One source has one
    /// identifier, as one card has.
    pub(super) fn keep_card(
        &mut self,
        source: &Source,
        body: Body<'_>,
    ) -> Result<(String, String), ApiError> {
        let email = body.text("orderInformation.billTo.email")?.map(str::to_owned);
        let reference = body.text("buyerInformation.merchantCustomerId")?.map(str::to_owned);
        let card = source.origin.clone().map(|origin| (source.card.clone(), origin));
        let of_card = digest(&["identifier", source.origin.as_deref().unwrap_or_default()]);
        let number = u64::from_str_radix(of_card.get(..12).unwrap_or_default(), 16).unwrap_or(0);
        let identifier = format!("7010{number:015}");
        let id = self.keep(email, reference, card);
        self.attach(&id, identifier.clone())?;
        Ok((id, identifier))
    }

    fn attach(&mut self, id: &str, identifier: String) -> Result<Instrument, ApiError> {
        let made = self.ids.token(Kind::Instrument, self.vault.instruments);
        let instrument = Instrument { id: made, identifier, closed: false };
        self.kept_mut(id)?.instruments.push(instrument.clone());
        self.vault.instruments += 1;
        Ok(instrument)
    }

    fn kept(&self, id: &str) -> Result<&Customer, ApiError> {
        let found = self.vault.customers.iter().find(|c| c.id == id).ok_or_else(ApiError::not_found)?;
        if found.deleted { Err(ApiError::gone()) } else { Ok(found) }
    }

    fn kept_mut(&mut self, id: &str) -> Result<&mut Customer, ApiError> {
        self.kept(id)?;
        self.vault.customers.iter_mut().find(|c| c.id == id).ok_or_else(ApiError::not_found)
    }

    /// `GET /tms/v2/customers/{id}`.
    pub(super) fn customer(&self, id: &str) -> Result<Doc, ApiError> {
        let found = self.kept(id)?;
        let mut buyer = serde_json::Map::new();
        buyer.extend(found.reference.as_ref().map(|r| ("merchantCustomerID".to_owned(), json!(r))));
        buyer.extend(found.email.as_ref().map(|e| ("email".to_owned(), json!(e))));
        let href = format!("/tms/v2/customers/{id}");
        let body = json!({"_links": {"self": {"href": href}}, "id": id, "buyerInformation": buyer,
            "metadata": {"creator": self.config.credentials.merchant_id}});
        Ok(Doc(200, body, Some(found.version.to_string())))
    }

    /// `PATCH /tms/v2/customers/{id}`, with `if-match` where the caller sends it.
    pub(super) fn change_customer(
        &mut self,
        id: &str,
        body: Body<'_>,
        tag: Option<&str>,
    ) -> Result<Doc, ApiError> {
        let (reference, email) = buyer(body)?;
        let customer = self.kept_mut(id)?;
        if tag.is_some_and(|tag| tag.trim_matches('"') != customer.version.to_string()) {
            return Err(ApiError::changed());
        }
        customer.reference = reference.or(customer.reference.take());
        customer.email = email.or(customer.email.take());
        customer.version += 1;
        self.customer(id)
    }

    /// `GET /tms/v2/customers/{id}/payment-instruments`.
    pub(super) fn instruments(&self, id: &str, query: &str) -> Result<Value, ApiError> {
        let customer = self.kept(id)?;
        let number = |name: &str, default: usize| {
            let given = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            given.map_or(Ok(default), |n| n.parse().map_err(|_| ApiError::invalid(name, "expected a number")))
        };
        let (offset, limit) = (number("offset", 0)?, number("limit", 20)?);
        if !(1..=MOST).contains(&limit) {
            return Err(ApiError::invalid("limit", "1 to 100"));
        }
        let page: Vec<Value> = customer.instruments.iter().skip(offset).take(limit).map(shown).collect();
        Ok(json!({"offset": offset, "limit": limit, "count": page.len(), "total": customer.instruments.len(),
            "_embedded": {"paymentInstruments": page}}))
    }

    /// `POST /tms/v2/customers/{id}/payment-instruments`: by an identifier. The same one twice is taken [assumed]: who
    /// asks has to look first.
    pub(super) fn make_instrument(&mut self, id: &str, body: Body<'_>) -> Result<Value, ApiError> {
        let identifier = body.needed("instrumentIdentifier.id")?.to_owned();
        self.attach(id, identifier).map(|instrument| shown(&instrument))
    }

    /// Somebody makes a customer in the Business Center. Answers its id.
    pub fn add_customer(&mut self, reference: Option<&str>, email: Option<&str>) -> String {
        self.keep(email.map(str::to_owned), reference.map(str::to_owned), None)
    }

    /// Somebody deletes a customer in the Business Center.
    pub fn delete_customer(&mut self, id: &str) {
        if let Ok(customer) = self.kept_mut(id) {
            customer.deleted = true;
        }
    }

    /// Somebody changes a customer in the Business Center.
    pub fn set_customer(&mut self, id: &str, reference: Option<&str>, email: Option<&str>) {
        if let Ok(customer) = self.kept_mut(id) {
            (customer.reference, customer.email) = (reference.map(str::to_owned), email.map(str::to_owned));
            customer.version += 1;
        }
    }

    /// The card behind a customer's instrument is closed.
    pub fn close_instrument(&mut self, id: &str, identifier: &str) {
        if let Ok(customer) = self.kept_mut(id) {
            let of = customer.instruments.iter_mut().filter(|i| i.identifier == identifier);
            of.for_each(|instrument| instrument.closed = true);
        }
    }

    /// Customers there are: id and the shop's reference.
    pub fn all_customers(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.vault.customers.iter().filter(|c| !c.deleted).map(|c| (c.id.as_str(), c.reference.as_deref()))
    }

    /// All of a customer that is not deleted.
    #[must_use]
    pub fn customer_truth(&self, id: &str) -> Option<CustomerTruth> {
        let customer = self.vault.customer(id)?;
        let open = customer.instruments.iter().filter(|i| !i.closed);
        Some(CustomerTruth {
            id: customer.id.clone(),
            reference: customer.reference.clone(),
            email: customer.email.clone(),
            instruments: open.map(|i| i.identifier.clone()).collect(),
            changes: customer.version,
        })
    }
}

fn buyer(body: Body<'_>) -> Result<(Option<String>, Option<String>), ApiError> {
    let reference = body.short("buyerInformation.merchantCustomerID", 100)?.map(str::to_owned);
    let email = body.short("buyerInformation.email", 255)?.map(str::to_owned);
    if body.get("buyerInformation.merchantCustomerId").is_some() {
        return Err(ApiError::invalid(
            "buyerInformation.merchantCustomerId",
            "spelled merchantCustomerID here",
        ));
    }
    if email.as_deref().is_some_and(|email| !email.contains('@')) {
        return Err(ApiError::vault("invalidRequest", "an invalid e-mail address").at("email"));
    }
    Ok((reference, email))
}

fn shown(instrument: &Instrument) -> Value {
    let state = if instrument.closed { "CLOSED" } else { "ACTIVE" };
    json!({"id": instrument.id, "object": "paymentInstrument", "state": state,
        "instrumentIdentifier": {"id": instrument.identifier}})
}
