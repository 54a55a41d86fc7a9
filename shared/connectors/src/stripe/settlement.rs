//! What Stripe settled: payouts, and the balance transactions of each (reference `stripe.md` section 4).
//!
//! | `reporting_category` | kind | own id, parent |
//! |---|---|---|
//! | charge | charge | the charge |
//! | partial_capture_reversal | part never captured | the charge |
//! | refund, refund_failure | refund, one that came back | the refund, its charge |
//! | dispute, dispute_reversal | chargeback, money given back | the balance transaction, the dispute |
//! | fee, network_cost; tax | fee; tax on it | what it is charged for |
//! | payout, payout_reversal | sent to the bank, came back | the payout |
//! | risk_reserved_funds, connect_reserved_funds | held back or let go, by sign | what it is held for |
//! | anything else | adjustment | its source |
//!
//! Rows are grouped by `reporting_category` and never by `type`, which calls the part of a charge that was never
//! captured a refund. A dispute's movement is named by its balance transaction, as the books name it. A line's day
//! is the one its money is available.

use async_trait::async_trait;
use serde_json::json;
use tillway_core::doc::Json;
use tillway_core::money::Money;
use tillway_core::settle::{Batch, Card, Day, Funding, Ids, Kind, SettlementLine};
use tillway_core::time::Millis;
use tillway_core::value::Value as Params;

use super::client::{Client, ReadFault};
use super::settlement_report::{kind_of, signed};
use super::wire::{self, Fault, expanded, flag, id, int, text};
use super::{currency, events, subscriptions};
use crate::config::Connection;
use crate::port::{Call, Purpose, Subscription};
use crate::settlement::{
    BatchPage, BatchStanding, Effect, FileFault, LinePage, ListedBatch, SettleFault, Settlement, Unfamiliar,
};

/// The rules where a shop gives none. Money is available two days after a charge or later; by then the payout of the
/// next days has it.
const RULES: &str = "\
settlement: stripe
due: {charge: 2, refund: 2, refund_failure: 2}
grace: 5
windows:
  gateway-id: {early: 30, late: 400}
  reference: {early: 7, late: 60}
  content: {early: 3, late: 5}
";

/// A payout on its way is asked for again after this, and one whose rows are being put together.
const ON_ITS_WAY: Millis = Millis::hours(1);
const IN_PROGRESS: Millis = Millis::mins(30);

/// Payouts and balance transactions.
pub(super) struct Payouts;

#[async_trait]
impl Settlement for Payouts {
    fn rules(&self, _connection: &Connection) -> &'static str {
        RULES
    }

    async fn batches(
        &self,
        call: &Call<'_>,
        day: Day,
        cursor: Option<&str>,
    ) -> Result<BatchPage, SettleFault> {
        // A payout's arrival is a midnight in UTC.
        let query = json!({
            "arrival_date": {"gte": day.start().unix(), "lt": day.plus(1).start().unix()},
            "limit": 100,
            "starting_after": cursor,
        });
        let page = Client::for_many(call, 1).get("/v1/payouts", &query).await.map_err(not_read)?;
        let page = page.json();
        let items = || page.get("data").into_iter().flat_map(Json::items);
        let batches = items().map(|p| listed(call.connection, p)).collect::<Result<_, _>>()?;
        Ok(BatchPage { batches, next: next(page) })
    }

    fn announced(&self, connection: &Connection, event_type: &str, body: Json<'_>) -> Option<Day> {
        let object = body.at(&["data", "object"])?;
        let announces = |s: &Subscription| s.purpose == Purpose::Settlement && s.types.contains(&event_type);
        if !subscriptions::SUBSCRIPTIONS.iter().any(announces) || !events::is_of(connection, body) {
            return None;
        }
        Some(Day::of(tillway_core::time::Timestamp::from_unix(int(object, "arrival_date")?)))
    }

    async fn lines(
        &self,
        call: &Call<'_>,
        batch: &Batch,
        cursor: Option<&str>,
    ) -> Result<LinePage, SettleFault> {
        let query = json!({
            "payout": batch.id.as_ref(),
            "limit": 100,
            "starting_after": cursor,
            "expand": ["data.source"],
        });
        let page = Client::for_many(call, 1).get("/v1/balance_transactions", &query).await;
        let page = page.map_err(not_read)?;
        let page = page.json();
        let items = page.get("data").into_iter().flat_map(Json::items);
        let mut unfamiliar = Unfamiliar::default();
        let lines = items.map(|row| {
            read_line(call.connection, batch, row, &mut unfamiliar).map_err(|fault| unreadable(fault, row))
        });
        let lines = lines.collect::<Result<_, _>>()?;
        Ok(LinePage { lines, next: next(page), unfamiliar: unfamiliar.0, ..LinePage::default() })
    }

    fn effect(&self, _connection: &Connection, action: &str, params: &Params) -> Option<Effect> {
        let kind = match action {
            "stripe.confirm_payment" | "stripe.capture" => Kind::Charge,
            "stripe.refund" => Kind::Refund,
            _ => return None,
        };
        let payment = params.at("payment").as_text().map(Into::into);
        Some(Effect { kind, amount: params.at("amount").as_money(), payment, parent: None })
    }
}

/// The last id of a page, where more follow.
fn next(page: Json<'_>) -> Option<String> {
    let last = page.get("data").into_iter().flat_map(Json::items).last();
    last.filter(|_| flag(page, "has_more")).and_then(|e| text(e, "id")).map(str::to_owned)
}

pub(super) fn not_read(fault: ReadFault) -> SettleFault {
    match fault {
        ReadFault::NotNow(after, why) => SettleFault::NotNow { why, after },
        ReadFault::Refused(answer) if answer.code() == "payout_reconciliation_not_ready" => {
            SettleFault::NotReady { after: IN_PROGRESS }
        }
        // The list of a payout that was listed a moment ago.
        ReadFault::Missing(_) => SettleFault::NotReady { after: IN_PROGRESS },
        ReadFault::Refused(answer) => {
            let what = format!("Stripe said {}; look at the connection's `api_version`", answer.said());
            FileFault::new("refused", "settlement", what).into()
        }
    }
}

/// The fault with the row it is in.
fn unreadable(fault: Fault, row: Json<'_>) -> SettleFault {
    let Fault { code, field, what } = fault;
    let row = text(row, "id").filter(|t| wire::is_id(t)).unwrap_or("a row without id");
    FileFault::new(code, format!("{row}.{field}"), what).into()
}

fn needed(row: Json<'_>, name: &str) -> Result<i64, Fault> {
    let what = "expected a whole number; the API version is another than the connection's `api_version`";
    int(row, name).ok_or_else(|| Fault::new("bad_number", name, what))
}

fn named(row: Json<'_>) -> Result<&str, Fault> {
    let what = "the row has no id; ask Stripe, and settle again";
    text(row, "id").filter(|t| wire::is_id(t)).ok_or_else(|| Fault::new("no_id", "id", what))
}

fn money(connection: &Connection, row: Json<'_>, name: &str) -> Result<Money, Fault> {
    let code = text(row, "currency")
        .ok_or_else(|| Fault::new("currency_unknown", "currency", "the row names no currency"))?;
    currency::from_wire(connection, code, needed(row, name)?, name)
}

fn listed(connection: &Connection, payout: Json<'_>) -> Result<ListedBatch, SettleFault> {
    let read = || -> Result<ListedBatch, Fault> {
        let paid = money(connection, payout, "amount")?;
        let day = Day::of(tillway_core::time::Timestamp::from_unix(needed(payout, "arrival_date")?));
        let batch = Batch {
            id: named(payout)?.into(),
            connection: connection.name.clone(),
            currency: paid.currency,
            funding: Funding::Funded { payout: paid.minor, day },
        };
        Ok(ListedBatch { batch, standing: standing(payout) })
    };
    read().map_err(|fault| unreadable(fault, payout))
}

fn standing(payout: Json<'_>) -> BatchStanding {
    let put_together = text(payout, "reconciliation_status").unwrap_or("completed");
    match (put_together, text(payout, "status").unwrap_or("")) {
        ("not_applicable", _) => BatchStanding::Unlisted {
            why: "Stripe keeps no list of rows for a payout made by hand; compare it with the balance report, or \
                  let payouts be made automatically"
                .to_owned(),
        },
        ("in_progress", _) => BatchStanding::Pending { after: IN_PROGRESS },
        (_, "failed" | "canceled") => {
            let code = text(payout, "failure_code").or_else(|| text(payout, "status")).unwrap_or("failed");
            BatchStanding::Failed { code: super::errors::safe(code) }
        }
        (_, "paid") => BatchStanding::Ready,
        _ => BatchStanding::Pending { after: ON_ITS_WAY },
    }
}

/// What the customer saw of a row's source, which is in another currency; signed as the gross is.
fn presentment(
    connection: &Connection,
    source: Json<'_>,
    kind: Kind,
    gross: i64,
) -> Result<Option<Money>, Fault> {
    let amount = || money(connection, source, "amount");
    let shown = match kind {
        Kind::Charge | Kind::Refund | Kind::RefundFailure | Kind::Dispute => amount()?,
        // Of the charge, the part that was never captured.
        Kind::CaptureReversal if text(source, "object") == Some("charge") => {
            let (whole, captured) = (amount()?, money(connection, source, "amount_captured")?.minor);
            let left = whole.minor.checked_sub(captured).filter(|left| *left >= 0).ok_or_else(|| {
                let what = "is more than the charge; look at it in the dashboard";
                Fault::new("wrong_sign", "source.amount_captured", what)
            })?;
            Money::new(left, whole.currency)
        }
        Kind::CaptureReversal => amount()?,
        _ => return Ok(None),
    };
    Ok(Some(signed(shown, gross)))
}

/// Code of an amount below zero where there should be none, or above.
pub(super) const WRONG_SIGN: &str = "wrong_sign";

/// What is said of it; `which` names the movement.
pub(super) fn wrong_sign(kind: Kind, which: &str) -> String {
    format!("the amount of a {} has the wrong sign; look at {which} in the dashboard", kind.name())
}

fn read_line(
    connection: &Connection,
    batch: &Batch,
    row: Json<'_>,
    unfamiliar: &mut Unfamiliar,
) -> Result<SettlementLine, Fault> {
    let own = named(row)?;
    let category = text(row, "reporting_category").unwrap_or("");
    let (gross, fee, net) = (
        money(connection, row, "amount")?,
        money(connection, row, "fee")?.minor,
        money(connection, row, "net")?.minor,
    );
    let mut fee_tax = 0_i64;
    for part in row.get("fee_details").into_iter().flat_map(Json::items) {
        if text(part, "type") == Some("tax") {
            fee_tax = fee_tax.saturating_add(money(connection, part, "amount")?.minor);
        }
    }
    let (kind, known) = kind_of(category, gross.minor)
        .map_err(|kind| Fault::new(WRONG_SIGN, "amount", wrong_sign(kind, "it")))?;
    if !known {
        unfamiliar.note(category);
    }
    let source = expanded(row, "source");
    let object = id(row, "source");
    let of_source = |name: &str| source.and_then(|s| id(s, name));
    let charge = || of_source("charge").or(object.filter(|o| o.starts_with("ch_") || o.starts_with("py_")));
    let (named, parent) = match kind {
        Kind::Dispute | Kind::DisputeReversal => (Some(own), object),
        Kind::CaptureReversal => (charge(), None),
        Kind::Charge => (object, None),
        _ => (object, charge().filter(|c| Some(*c) != object)),
    };
    let shown =
        source.filter(|s| text(*s, "currency").is_some_and(|c| c != text(row, "currency").unwrap_or("")));
    let presentment =
        shown.map(|shown| presentment(connection, shown, kind, gross.minor)).transpose()?.flatten();
    let day = needed(row, "available_on").or_else(|_| needed(row, "created"))?;
    let card = source.and_then(|s| s.get("payment_method_details")?.get("card"));
    let card = card.and_then(|c| {
        let last4 = text(c, "last4").filter(|t| t.len() == 4 && t.bytes().all(|b| b.is_ascii_digit()))?;
        Some(Card { brand: text(c, "brand")?.to_lowercase().into(), last4: last4.into() })
    });
    let reference = source.and_then(|s| wire::metadata(s, wire::COMMAND_KEY));
    Ok(SettlementLine {
        id: own.into(),
        batch: batch.id.clone(),
        kind,
        ids: Ids {
            own: named.map(Into::into),
            parent: parent.map(Into::into),
            payment: of_source("payment_intent").map(Into::into),
        },
        reference: reference.map(Into::into),
        gross: gross.minor,
        fee,
        fee_tax,
        net,
        currency: gross.currency,
        presentment,
        day: Day::of(tillway_core::time::Timestamp::from_unix(day)),
        card,
    })
}
