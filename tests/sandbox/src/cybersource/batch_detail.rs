//! The Payment Batch Detail report as a file, the list of reports, and net fundings. A report is of one UTC day and says
//! what was submitted at its cut-off; its name, and how it is written, are those of the vendor's sample.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tillway_core::money::{Currency, Money};
use tillway_core::time::{Millis, Timestamp};

use super::CybersourceSandbox;
use super::errors::{ApiError, time};
use super::ids::Row;
use super::model::{Batch, Kind, Tx};

const DAY: Millis = Millis::days(1);

/// A row of the report.
pub(super) struct Detail<'a> {
    pub(super) batch: String,
    pub(super) at: Timestamp,
    pub(super) tx: &'a Tx,
}

impl CybersourceSandbox {
    /// What of the batches of a time is the caller's.
    pub(super) fn submitted(&self, from: Timestamp, to: Timestamp) -> Vec<Detail<'_>> {
        let mut rows = Vec::new();
        for (n, batch) in self.batches.iter().enumerate().filter(|(_, b)| (from..to).contains(&b.at)) {
            // Each merchant id has a batch of its own.
            let serial = u64::try_from(n.saturating_mul(32).saturating_add(self.caller)).unwrap_or(0);
            let id = 20_000_000_000 + self.ids.number(6, serial, 1_000_000) * 1_000 + serial % 1_000;
            let ours = batch.rows.iter().filter_map(|row| self.txs.get(*row));
            rows.extend(ours.filter(|tx| tx.merchant == self.caller).map(|tx| Detail {
                batch: id.to_string(),
                at: batch.at,
                tx,
            }));
        }
        rows
    }

    /// Whether a report of this name is the caller's to read.
    fn named(&self, query: &str) -> Result<bool, ApiError> {
        self.own(query)?;
        Ok(Self::parameter(query, "reportName")? == self.config.report_name)
    }

    /// `GET /reporting/v3/report-downloads`.
    pub(super) fn download(&self, query: &str, accept: &str) -> Result<Value, ApiError> {
        let day = Self::parameter(query, "reportDate")?;
        let from = Timestamp::parse_rfc3339(&format!("{day}T00:00:00Z"))
            .ok_or_else(|| ApiError::reporting("reportDate", "invalid report date"))?;
        let to = from + DAY;
        let rows = self.submitted(from, to);
        let never = from < self.config.reports_since || rows.is_empty();
        if !self.named(query)? || never || self.now < to + self.config.report_after {
            return Err(ApiError::not_found());
        }
        match accept {
            "text/csv" => Ok(self.csv(&rows, from, to).into()),
            "application/xml" => Ok(self.xml(&rows, from, to).into()),
            _ => Err(ApiError::reporting("Accept", "not the report's format")),
        }
    }

    fn csv(&self, rows: &[Detail<'_>], from: Timestamp, to: Timestamp) -> String {
        let merchant = &self.config.credentials_of(self.caller).merchant_id;
        let mut out = format!(
            "{merchant},{},PaymentBatchDetail,1.10,{} to {},,,,,,,\r\nbatch_id, merchant_id,batch_date,request_id,\
             merchant_ref_number,TransactionReferenceNumber,payment_type,currency,amount,ics_applications,status,\
             transaction_date\r\n",
            self.config.report_name,
            time(from),
            time(to)
        );
        for Detail { batch, at, tx } in rows {
            let (applications, trace) = (applications(tx), self.trace(tx.row));
            out.push_str(&format!(
                "{batch},{merchant},{},{},{},{trace},Visa,{},{},\"{applications}\",BATCHED,{}\r\n",
                time(*at),
                self.ids.tx(tx.row),
                quoted(&tx.code),
                tx.currency.code(),
                tx.money(tx.amount),
                time(tx.at)
            ));
        }
        out
    }

    fn xml(&self, rows: &[Detail<'_>], from: Timestamp, to: Timestamp) -> String {
        let merchant = &self.config.credentials_of(self.caller).merchant_id;
        let mut batches: BTreeMap<&str, String> = BTreeMap::new();
        for Detail { batch, at, tx } in rows {
            let day: String = time(*at).chars().take(10).collect();
            let fresh = || format!("<Batch BatchID=\"{batch}\" BatchDate=\"{day}\"><Requests>");
            batches.entry(batch).or_insert_with(fresh).push_str(&format!(
                "<Request RequestID=\"{}\" MerchantReferenceNumber=\"{}\"><TransactionReferenceNumber>{}\
                 </TransactionReferenceNumber><PaymentMethod>Visa</PaymentMethod><CurrencyCode>{}</CurrencyCode>\
                 <Amount>{}</Amount><Application>{}</Application></Request>\n",
                self.ids.tx(tx.row),
                escaped(&tx.code),
                self.trace(tx.row),
                tx.currency.code(),
                tx.money(tx.amount),
                if tx.kind == Kind::Refund { "ics_credit" } else { "ics_bill" }
            ));
        }
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Report Name=\"Payment Batch Detail\" Version=\"1.2\" \
             xmlns=\"https://api.cybersource.com/reporting/v3/dtds/pbdr\" MerchantID=\"{merchant}\" \
             ReportStartDate=\"{}\" ReportEndDate=\"{}\"><Batches>\n",
            time(from),
            time(to)
        );
        for batch in batches.values() {
            out.push_str(batch);
            out.push_str("</Requests></Batch>\n");
        }
        out.push_str("</Batches></Report>\n");
        out
    }

    fn trace(&self, row: Row) -> u64 {
        70_000_000 + self.ids.number(5, u64::try_from(row).unwrap_or(0), 10_000_000)
    }

    /// `GET /reporting/v3/reports`.
    pub(super) fn report_search(&self, query: &str) -> Result<Value, ApiError> {
        let (from, to) = self.span(query)?;
        if Self::parameter(query, "timeQueryType")? != "reportTimeFrame" {
            return Err(ApiError::reporting("timeQueryType", "not served here"));
        }
        let mut results = Vec::new();
        let mut day = Timestamp(from.0 - from.0.rem_euclid(DAY.0));
        while self.named(query)? && day + DAY <= to && day + DAY <= self.now {
            let end = day + DAY;
            if day < self.config.reports_since {
                day = end;
                continue;
            }
            let ready = end + self.config.report_after;
            let status = match (self.now < ready, self.submitted(day, end).is_empty()) {
                (true, _) => "RUNNING",
                (false, true) => "NO_DATA",
                (false, false) => "COMPLETED",
            };
            results.push(
                json!({"reportId": format!("report-{}", time(day)), "reportName": self.config.report_name,
                "reportMimeType": "text/csv", "reportFrequency": "DAILY", "status": status,
                "reportStartTime": time(day), "reportEndTime": time(end), "timezone": "GMT",
                "queuedTime": time(end), "subscriptionType": "CLASSIC"}),
            );
            day = end;
        }
        if results.is_empty() {
            return Err(ApiError::not_found());
        }
        Ok(json!({"reportSearchResults": results}))
    }

    /// `GET /reporting/v3/net-fundings`: sums of the batches that were funded in a time, and what chargebacks took in it,
    /// also in a currency of which nothing was funded.
    pub(super) fn net_fundings(&self, query: &str) -> Result<Value, ApiError> {
        let (from, to) = self.span(query)?;
        let after = self.config.funded_after.ok_or_else(ApiError::not_found)?;
        let mut sums: BTreeMap<Currency, [(u64, i64); 3]> = BTreeMap::new();
        let funded = |b: &Batch| (from..to).contains(&(b.at + after)) && b.at + after <= self.now;
        for batch in self.batches.iter().filter(|b| funded(b)) {
            for tx in batch.rows.iter().filter_map(|row| self.txs.get(*row)) {
                if tx.merchant == self.caller {
                    let [sales, refunds, _] = sums.entry(tx.currency).or_default();
                    let of = if tx.kind == Kind::Refund { refunds } else { sales };
                    *of = (of.0.saturating_add(1), of.1.saturating_add(tx.amount));
                }
            }
        }
        for found in self.chargebacks.iter().filter(|c| (from..to).contains(&c.at) && !c.returned) {
            let tx = self.tx(found.capture)?;
            if tx.merchant == self.caller {
                let [_, _, taken] = sums.entry(tx.currency).or_default();
                *taken = (taken.0.saturating_add(1), taken.1.saturating_add(found.amount));
            }
        }
        if sums.is_empty() {
            return Err(ApiError::not_found());
        }
        let (mut rows, mut totals) = (Vec::new(), Vec::new());
        for (currency, [sales, refunds, taken]) in sums {
            let fee = (0, sales.1.saturating_mul(self.config.fee_basis_points) / 10_000);
            let text = |minor: i64| Money::new(minor, currency).to_major().to_string();
            for (kind, (count, minor)) in
                [("PURCHASES", sales), ("REFUNDS", refunds), ("FEES", fee), ("CHARGEBACKS", taken)]
            {
                rows.push(json!({"type": kind, "paymentSubType": "ALL", "fundedCount": count,
                    "fundedAmount": text(minor), "currencyCode": currency.code()}));
            }
            let net = sales.1 - refunds.1 - fee.1 - taken.1;
            totals.push(json!({"currency": currency.code(), "value": text(net)}));
        }
        Ok(
            json!({"startTime": time(from), "endTime": time(to), "netFundingSummaries": rows, "netTotal": totals}),
        )
    }
}

fn applications(tx: &Tx) -> &'static str {
    match tx.kind {
        Kind::Refund => "ics_credit",
        // A sale is authorized and captured by one request.
        Kind::Payment => "ics_bill,ics_auth",
        _ => "ics_bill",
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
