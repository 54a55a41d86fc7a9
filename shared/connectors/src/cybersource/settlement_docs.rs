//! What the reporting API says in JSON: chargebacks, net fundings, purchases and refunds with their fees. No sample of the
//! last two was to be had: their members are the vendor's schema's, and what their values mean is **unverified**. So
//! nothing is taken for granted: what does not add up is refused.

use std::collections::BTreeMap;

use tillway_core::doc::Json;
use tillway_core::facts::Fact;
use tillway_core::money::{Currency, Money};
use tillway_core::settle::{Card, Day, Ids, Kind, SettlementLine};

use super::settlement_detail::Asked;
use super::wire::{self, scalar, text};
use super::{chargebacks, settlement_chargebacks};
use crate::common::Fault;
use crate::config::Connection;
use crate::settlement::{FileFault, values};

fn unreadable(fault: Fault) -> FileFault {
    let code = match fault.code {
        "amount_malformed" | "amount_too_many_digits" | "amount_missing" => "bad_number",
        "amount_overflow" => "overflow",
        "amount_negative" => "wrong_sign",
        "id_missing" => "no_id",
        other => other,
    };
    FileFault::new(code, fault.field, fault.what)
}

fn items<'a>(doc: Json<'a>, list: &str) -> impl Iterator<Item = Json<'a>> {
    doc.get(list).into_iter().flat_map(Json::items)
}

fn money(item: Json<'_>, list: &str, amount: &str, currency: &str) -> Result<Money, FileFault> {
    let field = |name: &str| format!("{list}.{name}");
    let code = text(item, &[currency]).unwrap_or("");
    let currency = values::currency(&field(currency), code)?;
    let written = scalar(item, &[amount]).unwrap_or_default();
    values::amount(&field(amount), &written, currency)
}

/// The chargebacks of some days whose money moved, as lines of `batch`, by currency and day.
///
/// # Errors
/// The first fault.
pub(super) fn chargeback_lines(
    connection: &Connection,
    doc: Json<'_>,
    (first, last): (Day, Day),
    batch: impl Fn(Currency, Day) -> Box<str>,
) -> Result<Vec<SettlementLine>, FileFault> {
    let mut lines = Vec::new();
    for item in items(doc, "chargebackDetails") {
        let time = text(item, &["time"]).unwrap_or("");
        // A day alone is the merchant's own; an instant is of the day that has it where the merchant counts days.
        let alone = values::needed_day("chargebackDetails.time", time)?;
        let instant = values::instant(time).filter(|_| time.trim().len() > 10);
        let day = instant.map_or(alone, |at| settlement_chargebacks::day_of(connection, at));
        if !(first..=last).contains(&day) {
            continue;
        }
        let request = text(item, &["requestId"]).filter(|i| wire::is_id(i));
        let facts = chargebacks::facts(connection, item, request).map_err(unreadable)?;
        for fact in facts {
            let Fact::DisputeMoved { payment, txn, amount, .. } = fact else { continue };
            lines.push(SettlementLine {
                id: txn.as_str().into(),
                batch: batch(amount.currency, day),
                kind: if amount.minor < 0 { Kind::Dispute } else { Kind::DisputeReversal },
                // The journal names a chargeback's movement by the same text.
                ids: Ids { own: Some(txn.into()), parent: None, payment: Some(payment.into()) },
                reference: None,
                gross: amount.minor,
                fee: 0,
                fee_tax: 0,
                net: amount.minor,
                currency: amount.currency,
                presentment: None,
                day,
                card: None,
            });
        }
    }
    Ok(lines)
}

/// What reached the bank of one currency in a period, by what it was for; unsigned minor units but the net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetFunding {
    pub(super) currency: Currency,
    pub(super) purchases: i64,
    pub(super) refunds: i64,
    pub(super) fees: i64,
    pub(super) chargebacks: i64,
    pub(super) net: i64,
}

/// Net fundings by currency.
///
/// # Errors
/// `sum_differs`, `unknown_type`, and what amounts can be.
pub(super) fn net_fundings(doc: Json<'_>) -> Result<Vec<NetFunding>, FileFault> {
    let mut found: BTreeMap<Currency, NetFunding> = BTreeMap::new();
    let overflow = || FileFault::new("overflow", "netFundingSummaries.fundedAmount", "does not fit 64 bits");
    for item in items(doc, "netFundingSummaries") {
        let amount = money(item, "netFundingSummaries", "fundedAmount", "currencyCode")?;
        let currency = amount.currency;
        let fresh = NetFunding { currency, purchases: 0, refunds: 0, fees: 0, chargebacks: 0, net: 0 };
        let of = found.entry(currency).or_insert(fresh);
        let place = match text(item, &["type"]).unwrap_or("") {
            "PURCHASES" => &mut of.purchases,
            "REFUNDS" => &mut of.refunds,
            "FEES" => &mut of.fees,
            "CHARGEBACKS" => &mut of.chargebacks,
            other => {
                let what = format!(
                    "{} is none of PURCHASES, REFUNDS, FEES and CHARGEBACKS; tell us, and set `settlement.funding: none` \
                     until then",
                    wire::shown(other)
                );
                return Err(FileFault::new("unknown_type", "netFundingSummaries.type", what));
            }
        };
        *place = place.checked_add(amount.minor.saturating_abs()).ok_or_else(overflow)?;
    }
    for item in items(doc, "netTotal") {
        let net = money(item, "netTotal", "value", "currency")?;
        let Some(of) = found.get_mut(&net.currency) else {
            let what = format!("a total in {} and nothing it is made of; ask Cybersource", net.currency);
            return Err(FileFault::new("sum_differs", "netTotal.value", what));
        };
        of.net = of.net.checked_add(net.minor).ok_or_else(overflow)?;
    }
    for of in found.values() {
        let parts = [of.refunds, of.fees, of.chargebacks].map(i128::from);
        let sum = i128::from(of.purchases).saturating_sub(parts.iter().sum());
        if sum != i128::from(of.net) {
            let what = format!(
                "purchases less refunds, fees and chargebacks are {sum} and the total is {} ({} minor units); ask \
                 Cybersource, and set `settlement.funding: none` until it is clear",
                of.net, of.currency
            );
            return Err(FileFault::new("sum_differs", "netTotal.value", what));
        }
    }
    Ok(found.into_values().collect())
}

/// One page of the purchase and refund details: how many requests are on it, and what is settled of them as lines with their fees.
/// What has no fee yet is left out: the processor has not told of it.
///
/// # Errors
/// The first fault.
pub(super) fn purchase_refund_page(
    connection: &Connection,
    asked: &Asked,
    doc: Json<'_>,
) -> Result<(usize, Vec<SettlementLine>), FileFault> {
    let by_request = |list: &str| -> BTreeMap<String, Json<'_>> {
        let rows = items(doc, list).filter_map(|i| Some((scalar(i, &["requestId"])?, i)));
        rows.collect()
    };
    let (details, fees) = (by_request("requestDetails"), by_request("feeAndFundingDetails"));
    let announced = doc.get("pageResults").and_then(Json::as_i64).and_then(|n| usize::try_from(n).ok());
    let there = items(doc, "requestDetails").count();
    if announced.is_some_and(|n| n != there) {
        let what = "is not the number of requests on the page";
        return Err(FileFault::new("truncated", "pageResults", format!("{what}; fetch it again")));
    }
    let mut lines = Vec::new();
    for row in items(doc, "settlements") {
        let request = scalar(row, &["requestId"]).filter(|r| wire::is_id(r));
        let request = request.ok_or_else(|| FileFault::no_id("settlements.requestId"))?;
        let Some(detail) = details.get(&request) else {
            let what = "a settlement without its request; fetch the page again";
            return Err(FileFault::new("truncated", "requestDetails.requestId", what));
        };
        let merchant = text(*detail, &["cybersourceMerchantId"]).unwrap_or("");
        asked.merchant("requestDetails.cybersourceMerchantId", merchant)?;
        let Some(fee) = fees.get(&request) else { continue };
        lines.push(settled(connection, row, *detail, *fee, &request)?);
    }
    Ok((there, lines))
}

fn settled(
    connection: &Connection,
    row: Json<'_>,
    detail: Json<'_>,
    fee: Json<'_>,
    request: &str,
) -> Result<SettlementLine, FileFault> {
    let amount = money(row, "settlements", "amount", "currencyCode")?;
    let currency = amount.currency;
    let spoken = text(row, &["transactionType"]).unwrap_or("").to_ascii_lowercase();
    let kind = match (spoken.contains("purchase"), spoken.contains("refund") || spoken.contains("credit")) {
        (true, false) => Kind::Charge,
        (false, true) => Kind::Refund,
        _ => {
            let what = "neither a purchase nor a refund, so the sign of the amount is not known; tell us";
            return Err(FileFault::new("unknown_application", "settlements.transactionType", what));
        }
    };
    let size = amount.minor.saturating_abs();
    let gross = if kind == Kind::Refund { size.saturating_neg() } else { size };
    let charged = money(fee, "feeAndFundingDetails", "totalFee", "feeCurrency")?;
    let funded = money(fee, "feeAndFundingDetails", "fundingAmount", "fundingCurrency")?;
    for (other, field) in [(charged, "feeCurrency"), (funded, "fundingCurrency")] {
        if other.currency != currency {
            let what = format!("{} and the amount is in {currency}; that is not read yet", other.currency);
            return Err(FileFault::new("mixed_currencies", format!("feeAndFundingDetails.{field}"), what));
        }
    }
    let net = gross.checked_sub(charged.minor).ok_or_else(|| {
        FileFault::new("overflow", "feeAndFundingDetails.totalFee", "gross less fee does not fit 64 bits")
    })?;
    // Whether it is meant with or without the fee is not known; anything else is neither.
    if ![size, net.saturating_abs()].contains(&funded.minor.saturating_abs()) {
        let what = "is neither the amount nor the amount less the fee; ask Cybersource";
        return Err(FileFault::new("sum_differs", "feeAndFundingDetails.fundingAmount", what));
    }
    let batch = scalar(row, &["cybersourceBatchId"]).unwrap_or_default();
    if batch.is_empty() {
        return Err(FileFault::no_id("settlements.cybersourceBatchId"));
    }
    values::id("settlements.cybersourceBatchId", &batch)?;
    let day = text(row, &["cybersourceBatchTime"]).or_else(|| text(row, &["submissionTime"])).unwrap_or("");
    let code = text(detail, &["merchantReferenceNumber"]).unwrap_or("");
    let ours = kind == Kind::Charge && values::is_reference(code);
    let last4 =
        text(row, &["accountSuffix"]).filter(|s| s.len() == 4 && s.bytes().all(|b| b.is_ascii_digit()));
    let brand = text(row, &["cardType"]);
    Ok(SettlementLine {
        id: format!("{batch}:{request}").into(),
        batch: batch.into(),
        kind,
        ids: Ids { own: Some(request.into()), parent: None, payment: None },
        reference: wire::order_of(connection, code).filter(|_| ours).map(Into::into),
        gross,
        fee: charged.minor,
        fee_tax: 0,
        net,
        currency,
        presentment: None,
        day: values::needed_day("settlements.cybersourceBatchTime", day)?,
        card: brand.zip(last4).map(|(b, l)| Card { brand: b.to_lowercase().into(), last4: l.into() }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tillway_core::doc::Doc;

    use super::super::testing::{connection, spec};
    use super::*;

    fn funding(rows: &Value, net: &str) -> Result<Vec<NetFunding>, FileFault> {
        let doc = json!({"netFundingSummaries": rows, "netTotal": [{"currency": "USD", "value": net}]});
        net_fundings(Doc::from(&doc).json())
    }
    fn row(kind: &str, amount: &str) -> Value {
        json!({"type": kind, "fundedCount": 1, "fundedAmount": amount, "currencyCode": "USD"})
    }

    #[test]
    fn net_fundings_have_to_add_up() {
        let rows = json!([
            row("PURCHASES", "152.21"),
            row("REFUNDS", "-10.00"),
            row("FEES", "4.42"),
            row("CHARGEBACKS", "50")
        ]);
        let found = funding(&rows, "87.79").unwrap();
        let [of] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            (of.purchases, of.refunds, of.fees, of.chargebacks, of.net),
            (15_221, 1_000, 442, 5_000, 8_779)
        );
        assert_eq!(funding(&rows, "87.78").unwrap_err().code, "sum_differs");
        assert_eq!(funding(&json!([row("GIFTS", "1")]), "1").unwrap_err().code, "unknown_type");
        assert_eq!(funding(&json!([row("FEES", "1,00")]), "-1").unwrap_err().code, "bad_number");
        assert_eq!(funding(&json!([]), "1").unwrap_err().code, "sum_differs");
        assert_eq!(
            funding(&json!([row("PURCHASES", "92233720368547758.07"), row("PURCHASES", "1")]), "1")
                .unwrap_err()
                .code,
            "overflow"
        );
    }

    #[test]
    fn chargebacks_are_named_as_the_journal_names_them() {
        let Some(file) = spec("fixtures/chargeback_details_200.json") else { return };
        let doc = Doc::from(&file);
        let connection = connection();
        let of = |day: &str| {
            let day = values::day(day).unwrap();
            let batch = |c, _| format!("chargebacks-{c}").into();
            chargeback_lines(&connection, doc.json(), (day, day), batch).unwrap()
        };
        let lines = of("2026-11-19");
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (lines[0].kind, lines[0].gross, lines[0].batch.as_ref()),
            (Kind::Dispute, -10_221, "chargebacks-USD")
        );
        let own = "chargeback:7638950001206437203999:000123:2026-11-19T08:00:00Z:-10221";
        assert_eq!(lines[0].ids.own.as_deref(), Some(own));
        assert_eq!(of("2026-11-20"), []);
        // Eight in the morning UTC is midnight here, and nine is the day before in Hawaii.
        let mut there = connection;
        there.settings.insert("settlement.utc_offset".into(), "-10:00".into());
        let of = |day: &str| {
            let day = values::day(day).unwrap();
            chargeback_lines(&there, doc.json(), (day, day), |c, _| format!("{c}").into()).unwrap().len()
        };
        assert_eq!((of("2026-11-18"), of("2026-11-19")), (1, 0));
    }

    #[test]
    fn what_is_wrong_with_a_chargeback_is_named() {
        let sound = json!({"chargebackDetails": [{"requestId": "764", "amount": "102.21", "currencyCode": "USD", "sign": "-",
            "natureOfDispute": "Chargeback", "trackingNumber": "1", "time": "2026-11-19T08:00:00Z"}]});
        let day = values::day("2026-11-19").unwrap();
        let read = |doc: &Value| {
            chargeback_lines(&connection(), Doc::from(doc).json(), (day, day), |c, _| format!("{c}").into())
        };
        assert_eq!(read(&sound).unwrap().len(), 1);
        for (member, value, code, field) in [
            ("requestId", json!(""), "no_id", "requestId"),
            ("amount", json!("1.102,21"), "bad_number", "amount"),
            ("amount", json!("92233720368547758.08"), "overflow", "amount"),
            ("sign", json!(""), "chargeback_unclear", "sign"),
            ("time", json!("19.11.2026"), "wrong_date", "chargebackDetails.time"),
        ] {
            let mut doc = sound.clone();
            doc["chargebackDetails"][0][member] = value;
            let fault = read(&doc).unwrap_err();
            assert_eq!((fault.code, fault.field.as_str()), (code, field), "{fault}");
        }
    }

    fn details() -> Value {
        json!({"offset": 0, "limit": 100, "pageResults": 2,
            "requestDetails": [
                {"requestId": "71", "cybersourceMerchantId": "acme_test_001", "merchantReferenceNumber": "A-1"},
                {"requestId": "72", "cybersourceMerchantId": "acme_test_001", "merchantReferenceNumber": "A-1"}],
            "settlements": [
                {"requestId": "71", "transactionType": "Purchases", "submissionTime": "2026-11-19T21:00:00Z", "amount": "102.21",
                 "currencyCode": "USD", "accountSuffix": "1111", "cardType": "Visa", "cybersourceBatchId": "21265991580",
                 "cybersourceBatchTime": "2026-11-20T04:15:21Z"},
                {"requestId": "72", "transactionType": "Refunds", "amount": "10.00", "currencyCode": "USD",
                 "cybersourceBatchId": "21265991580", "cybersourceBatchTime": "2026-11-20T04:15:21Z"}],
            "feeAndFundingDetails": [
                {"requestId": "71", "totalFee": "3.26", "feeCurrency": "USD", "fundingAmount": "98.95", "fundingCurrency": "USD"},
                {"requestId": "72", "totalFee": "0.00", "feeCurrency": "USD", "fundingAmount": "10.00", "fundingCurrency": "USD"}]})
    }
    fn read(doc: &Value) -> Result<Vec<SettlementLine>, FileFault> {
        let connection = connection();
        let page = purchase_refund_page(&connection, &Asked::of(&connection, None), Doc::from(doc).json())?;
        Ok(page.1)
    }

    #[test]
    fn purchases_and_refunds_bring_their_fees() {
        let lines = read(&details()).unwrap();
        let shape: Vec<_> = lines.iter().map(|l| (l.kind, l.gross, l.fee, l.net)).collect();
        assert_eq!(shape, [(Kind::Charge, 10_221, 326, 9_895), (Kind::Refund, -1_000, 0, -1_000)]);
        assert_eq!(lines[0].id.as_ref(), "21265991580:71");
        assert_eq!(lines[0].card, Some(Card { brand: "visa".into(), last4: "1111".into() }));
        let mut later = details();
        later["feeAndFundingDetails"].as_array_mut().unwrap().pop();
        assert_eq!(read(&later).unwrap().len(), 1, "what has no fee yet is not told of");
        for (path, value, code) in [
            ("/pageResults", json!(3), "truncated"),
            ("/requestDetails/0/requestId", json!("79"), "truncated"),
            ("/requestDetails/0/cybersourceMerchantId", json!("other"), "wrong_merchant"),
            ("/settlements/0/requestId", json!(""), "no_id"),
            ("/settlements/0/amount", json!("1.102,21"), "bad_number"),
            ("/settlements/0/transactionType", json!("Other"), "unknown_application"),
            ("/settlements/0/cybersourceBatchId", json!(""), "no_id"),
            ("/settlements/0/cybersourceBatchTime", json!("20.11.2026"), "wrong_date"),
            ("/feeAndFundingDetails/0/fundingAmount", json!("98.94"), "sum_differs"),
            ("/feeAndFundingDetails/0/fundingCurrency", json!("EUR"), "mixed_currencies"),
        ] {
            let mut doc = details();
            *doc.pointer_mut(path).unwrap() = value;
            assert_eq!(read(&doc).unwrap_err().code, code, "{path}");
        }
    }
}
