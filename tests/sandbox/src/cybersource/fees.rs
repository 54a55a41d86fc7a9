//! Purchase and refund details: what the processor charged for each payment, as the vendor's schema has it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tillway_core::money::Currency;

use super::CybersourceSandbox;
use super::errors::{ApiError, time};
use super::model::Kind;

/// What is wrong with the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailsFault {
    /// The page says that it has one request more than it has.
    Cut,
    /// One payment is not told of.
    Missing,
    /// One fee is a cent more than what the funding kept back for it.
    Dearer,
    /// Of one payment another amount is told.
    OtherAmount,
}

impl CybersourceSandbox {
    /// `GET /reporting/v3/purchase-refund-details`: of what was submitted in a time, once its fees are known. A payment's fee is its
    /// part of what the funding keeps back, to the cent.
    pub(super) fn purchase_refund_details(&self, query: &str) -> Result<Value, ApiError> {
        let (from, to) = self.span(query)?;
        for (name, only) in [("paymentSubtype", "ALL"), ("viewBy", "submissionDate")] {
            if Self::parameter(query, name)? != only {
                return Err(ApiError::reporting(name, "not served here"));
            }
        }
        let number = |name: &str| {
            let text = Self::parameter(query, name)?;
            text.parse::<usize>().map_err(|_| ApiError::reporting(name, "no number"))
        };
        let (offset, limit) = (number("offset")?, number("limit")?);
        if !(1..=2_000).contains(&limit) {
            return Err(ApiError::reporting("limit", "1 to 2000"));
        }
        let after = self.config.fees_after.ok_or_else(ApiError::not_found)?;
        let fault = self.config.details_fault;
        let merchant = &self.config.credentials_of(self.caller).merchant_id;
        let mut charged: BTreeMap<Currency, i64> = BTreeMap::new();
        let mut rows = Vec::new();
        for row in self.submitted(from, to).into_iter().filter(|row| row.at + after <= self.now) {
            let tx = row.tx;
            let mut fee = 0;
            if tx.kind != Kind::Refund {
                let all = charged.entry(tx.currency).or_default();
                let before = *all * self.config.fee_basis_points / 10_000;
                *all += tx.amount;
                fee = *all * self.config.fee_basis_points / 10_000 - before;
            }
            let first = rows.is_empty();
            if first && fault == Some(DetailsFault::Missing) {
                rows.push(None);
                continue;
            }
            fee += i64::from(first && fault == Some(DetailsFault::Dearer));
            let amount = tx.amount + i64::from(first && fault == Some(DetailsFault::OtherAmount));
            rows.push(Some((row, amount, fee)));
        }
        let page: Vec<_> = rows.into_iter().flatten().skip(offset).take(limit).collect();
        if page.is_empty() {
            return Err(ApiError::not_found());
        }
        let (mut details, mut settlements, mut fees) = (Vec::new(), Vec::new(), Vec::new());
        for (row, amount, fee) in &page {
            let tx = row.tx;
            let (id, currency) = (self.ids.tx(tx.row), tx.currency.code());
            let kind = if tx.kind == Kind::Refund { "Refunds" } else { "Purchases" };
            details.push(json!({"requestId": id, "cybersourceMerchantId": merchant,
                "merchantReferenceNumber": tx.code.as_ref()}));
            settlements.push(json!({"requestId": id, "transactionType": kind, "submissionTime": time(row.at),
                "amount": tx.money(*amount), "currencyCode": currency, "cardType": "Visa", "accountSuffix": "1111",
                "cybersourceBatchId": row.batch, "cybersourceBatchTime": time(row.at)}));
            fees.push(json!({"requestId": id, "totalFee": tx.money(*fee), "feeCurrency": currency,
                "fundingAmount": tx.money(amount - fee), "fundingCurrency": currency}));
        }
        let told = page.len() + usize::from(fault == Some(DetailsFault::Cut));
        Ok(json!({"offset": offset, "limit": limit, "pageResults": told, "requestDetails": details,
            "settlements": settlements, "feeAndFundingDetails": fees}))
    }
}
