//! The two reports that tell what no webhook does for sure: decided cases, and chargebacks.

use serde_json::{Value, json};
use tillway_core::time::Timestamp;

use super::CybersourceSandbox;
use super::batch_detail::escaped;
use super::errors::{ApiError, time};
use super::ids::Row;

impl CybersourceSandbox {
    /// A parameter of a report's query.
    pub(super) fn parameter(query: &str, name: &str) -> Result<String, ApiError> {
        let found = find(query, name).filter(|v| !v.is_empty());
        found.ok_or_else(|| ApiError::reporting(name, "missing"))
    }

    /// Refuses what is asked for another merchant id.
    pub(super) fn own(&self, query: &str) -> Result<(), ApiError> {
        let own = &self.config.credentials_of(self.caller).merchant_id;
        if find(query, "organizationId").is_some_and(|o| o != *own) {
            return Err(ApiError::reporting("organizationId", "another merchant"));
        }
        Ok(())
    }

    /// Start and end of a report's query.
    pub(super) fn span(&self, query: &str) -> Result<(Timestamp, Timestamp), ApiError> {
        let at = |name: &str| {
            let text = Self::parameter(query, name)?;
            Timestamp::parse_rfc3339(&text).ok_or_else(|| ApiError::reporting(name, "no ISO 8601 time"))
        };
        let (from, to) = (at("startTime")?, at("endTime")?);
        self.own(query)?;
        if to < from {
            return Err(ApiError::reporting("endTime", "before the start"));
        }
        Ok((from, to))
    }

    /// `GET /reporting/v3/conversion-details`.
    pub(super) fn conversion_details(&self, query: &str) -> Result<Value, ApiError> {
        let (from, to) = self.span(query)?;
        let mut rows = Vec::new();
        let ours = |row: Row| self.txs.get(row).is_some_and(|t| t.merchant == self.caller);
        for found in self.conversions.iter().filter(|c| (from..to).contains(&c.at) && ours(c.payment)) {
            let decision = if found.accepted { "ACCEPT" } else { "REJECT" };
            rows.push(json!({"merchantReferenceNumber": self.tx(found.payment)?.code.as_ref(),
                "conversionTime": time(found.at), "requestId": self.ids.tx(found.payment),
                "originalDecision": "REVIEW", "newDecision": decision, "reviewer": found.reviewer,
                "reviewerComments": found.comments, "queue": "Review queue", "profile": "Sandbox"}));
        }
        if rows.is_empty() {
            return Err(ApiError::not_found());
        }
        let merchant = &self.config.credentials_of(self.caller).merchant_id;
        if self.config.conversions_as_xml {
            return Ok(conversions_xml(merchant, (from, to), &rows).into());
        }
        Ok(
            json!({"organizationId": merchant, "startTime": time(from), "endTime": time(to), "conversionDetails": rows}),
        )
    }

    /// `GET /reporting/v3/chargeback-details`.
    pub(super) fn chargeback_details(&self, query: &str) -> Result<Value, ApiError> {
        let (from, to) = self.span(query)?;
        let mut rows = Vec::new();
        let ours = |row: Row| self.txs.get(row).is_some_and(|t| t.merchant == self.caller);
        for found in self
            .chargebacks
            .iter()
            .filter(|c| (from..to).contains(&c.at) && c.listed <= self.now && ours(c.capture))
        {
            let tx = self.tx(found.capture)?;
            let (sign, action) = if found.returned { ("+", "WON") } else { ("-", "NEW") };
            rows.push(json!({"processorMerchantId": "123456", "merchantName": "Sandbox",
                "transactionReferenceNumber": self.ids.number(5, u64::try_from(tx.row).unwrap_or(0), 1 << 40).to_string(),
                "merchantReferenceNumber": tx.code.as_ref(), "natureOfDispute": "Chargeback",
                "amount": tx.money(found.amount), "sign": sign, "action": action, "cardType": "Visa",
                "currencyCode": tx.currency.code(), "requestId": self.ids.tx(tx.root),
                "time": time(found.at), "reasonCode": found.reason}));
        }
        if rows.is_empty() {
            return Err(ApiError::not_found());
        }
        Ok(
            json!({"organizationId": self.config.credentials_of(self.caller).merchant_id, "startTime": time(from),
            "endTime": time(to), "chargebackDetails": rows}),
        )
    }
}

/// The same list as its document type 1.1 has it.
fn conversions_xml(merchant: &str, (from, to): (Timestamp, Timestamp), rows: &[Value]) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!DOCTYPE Report SYSTEM \
         \"https://api.cybersource.com/reporting/v3/dtds/cdr\">\n<Report Name=\"Conversion Detail Report\" Version=\"1.1\" \
         xmlns=\"https://api.cybersource.com/reporting/v3/dtds/cdr\" MerchantID=\"{merchant}\" ReportStartDate=\"{}\" \
         ReportEndDate=\"{}\">\n",
        time(from),
        time(to)
    );
    for row in rows {
        let of = |name: &str| escaped(row.get(name).and_then(Value::as_str).unwrap_or(""));
        out.push_str(&format!(
            "<Conversion ConversionDate=\"{}\" MerchantReferenceNumber=\"{}\" RequestID=\"{}\"><NewDecision>{}\
             </NewDecision><OriginalDecision>{}</OriginalDecision><Reviewer>{}</Reviewer></Conversion>\n",
            of("conversionTime"),
            of("merchantReferenceNumber"),
            of("requestId"),
            of("newDecision"),
            of("originalDecision"),
            of("reviewer")
        ));
    }
    out.push_str("</Report>\n");
    out
}

fn find(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
}
