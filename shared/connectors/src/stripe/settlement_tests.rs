//! Reading payouts and balance transactions from a scripted server.

use serde_json::{Value, json};
use tillway_core::http::Response;
use tillway_core::money::{Currency, Money};
use tillway_core::settle::{Batch, Day, Funding, Kind, Rules};

use super::Stripe;
use super::testing::{Bench, connection};
use crate::port::{Connector, NotDone};
use crate::settlement::{BatchStanding, FileFault, LinePage, SettleFault, Settlement};

fn bench(answers: impl IntoIterator<Item = Response>) -> Bench {
    Bench::new("settle", answers.into_iter().map(Ok))
}
fn api(bench: &Bench) -> &'static dyn Settlement {
    Stripe.settlement(&bench.connection).unwrap()
}
async fn lines(rows: Value) -> Result<LinePage, SettleFault> {
    let bench = bench([Response::json(200, &json!({"data": rows, "has_more": false}))]);
    api(&bench).lines(&bench.call(), &batch(), None).await
}

fn usd() -> Currency {
    Currency::parse("USD").unwrap()
}

fn batch() -> Batch {
    let funding = Funding::Funded { payout: 0, day: DAY };
    Batch { id: "po_1".into(), connection: "stripe-test".into(), currency: usd(), funding }
}

const DAY: Day = Day(20_786);

fn payout(status: &str, reconciliation: &str) -> Value {
    json!({"id": "po_1", "object": "payout", "amount": 4821, "currency": "usd", "status": status,
           "arrival_date": DAY.start().unix(), "reconciliation_status": reconciliation,
           "failure_code": "account_closed"})
}

fn row(category: &str, amount: i64, fee: i64, source: Value) -> Value {
    json!({"id": "txn_1", "object": "balance_transaction", "amount": amount, "fee": fee, "net": amount - fee,
           "currency": "usd", "reporting_category": category, "type": "adjustment", "source": source,
           "created": DAY.plus(-2).start().unix(), "available_on": DAY.start().unix(),
           "fee_details": [{"amount": fee, "currency": "usd", "type": "stripe_fee"}]})
}

#[tokio::test]
async fn payouts_of_a_day_are_listed_with_how_they_stand() {
    let standing = |status, put_together| async move {
        let page = json!({"data": [payout(status, put_together)], "has_more": true});
        let bench = bench([Response::json(200, &page)]);
        let page = api(&bench).batches(&bench.call(), DAY, None).await.unwrap();
        assert_eq!(page.next.as_deref(), Some("po_1"));
        let asked = bench.http.seen.lock().unwrap()[0].url.clone();
        let (from, to) = (DAY.start().unix(), DAY.plus(1).start().unix());
        assert!(
            asked.contains(&format!("arrival_date%5Bgte%5D={from}&arrival_date%5Blt%5D={to}")),
            "{asked}"
        );
        page.batches[0].clone()
    };
    let ready = standing("paid", "completed").await;
    assert_eq!(ready.batch.funding, Funding::Funded { payout: 4821, day: DAY });
    assert_eq!(ready.standing, BatchStanding::Ready);
    let code = "account_closed".to_owned();
    assert_eq!(standing("failed", "completed").await.standing, BatchStanding::Failed { code });
    for (status, put_together) in [("in_transit", "completed"), ("paid", "in_progress")] {
        let standing = standing(status, put_together).await.standing;
        assert!(matches!(standing, BatchStanding::Pending { .. }), "{status} {put_together}");
    }
    let by_hand = standing("paid", "not_applicable").await.standing;
    assert!(matches!(by_hand, BatchStanding::Unlisted { .. }));
}

#[tokio::test]
async fn rows_are_told_by_their_reporting_category_and_named_as_the_books_name_them() {
    let charge = json!({"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "currency": "usd",
                        "metadata": {"tillway_command": "c-1"},
                        "payment_method_details": {"card": {"brand": "Visa", "last4": "4242"}}});
    let refund = json!({"id": "re_1", "object": "refund", "charge": "ch_1", "payment_intent": "pi_1"});
    let dispute = json!({"id": "dp_1", "object": "dispute", "charge": "ch_1", "payment_intent": "pi_1"});
    let cases = [
        ("charge", 1000, charge.clone(), Kind::Charge, Some("ch_1"), None),
        ("partial_capture_reversal", -400, refund.clone(), Kind::CaptureReversal, Some("ch_1"), None),
        ("partial_capture_reversal", -400, charge.clone(), Kind::CaptureReversal, Some("ch_1"), None),
        ("refund", -200, refund.clone(), Kind::Refund, Some("re_1"), Some("ch_1")),
        ("refund_failure", 200, refund, Kind::RefundFailure, Some("re_1"), Some("ch_1")),
        ("dispute", -1000, dispute.clone(), Kind::Dispute, Some("txn_1"), Some("dp_1")),
        ("dispute_reversal", 1000, dispute, Kind::DisputeReversal, Some("txn_1"), Some("dp_1")),
        ("fee", -500, Value::Null, Kind::Fee, None, None),
        ("payout", -4821, json!("po_1"), Kind::Payout, Some("po_1"), None),
        ("payout_reversal", 4821, json!("po_0"), Kind::PayoutReversal, Some("po_0"), None),
        ("risk_reserved_funds", -10, Value::Null, Kind::ReserveHold, None, None),
        ("risk_reserved_funds", 10, Value::Null, Kind::ReserveRelease, None, None),
        ("some_new_thing", 10, Value::Null, Kind::Adjustment, None, None),
    ];
    for (category, amount, source, kind, own, parent) in cases {
        let page = lines(json!([row(category, amount, 30, source)])).await.unwrap();
        let line = &page.lines[0];
        assert_eq!(
            (line.kind, line.gross, line.fee, line.net),
            (kind, amount, 30, amount - 30),
            "{category}"
        );
        assert_eq!((line.ids.own.as_deref(), line.ids.parent.as_deref()), (own, parent), "{category}");
        assert_eq!((line.day, line.batch.as_ref(), line.presentment), (DAY, "po_1", None));
    }
    // A row without a category is not told by its type, which calls parts of charges refunds.
    let mut untold = row("", 10, 0, Value::Null);
    untold["type"] = "charge".into();
    for (row, word) in
        [(row("some_new_thing", 10, 0, Value::Null), "some_new_thing"), (untold, "(no plain word)")]
    {
        let page = lines(json!([row])).await.unwrap();
        assert_eq!((page.lines[0].kind, page.unfamiliar), (Kind::Adjustment, [word.to_owned()].into()));
    }
    let page = lines(json!([row("charge", 1000, 59, charge)])).await.unwrap();
    assert_eq!(page.unfamiliar, [].into());
    let line = &page.lines[0];
    assert_eq!(line.reference.as_deref(), Some("c-1"));
    assert_eq!(line.ids.payment.as_deref(), Some("pi_1"));
    let card = line.card.as_ref().unwrap();
    assert_eq!((card.brand.as_ref(), card.last4.as_ref()), ("visa", "4242"));
}

#[tokio::test]
async fn what_the_customer_saw_and_the_tax_on_the_fee_are_kept() {
    let refund =
        json!({"id": "re_1", "object": "refund", "amount": 900, "currency": "eur", "charge": "ch_1"});
    let mut row = row("refund", -1000, 12, refund);
    row["fee_details"] = json!([
        {"amount": 10, "currency": "usd", "type": "stripe_fee"}, {"amount": 2, "currency": "usd", "type": "tax"}]);
    let page = lines(json!([row])).await.unwrap();
    let line = &page.lines[0];
    assert_eq!(line.presentment, Some(Money::new(-900, Currency::parse("EUR").unwrap())));
    assert_eq!((line.fee, line.fee_tax), (12, 2));
}

/// A capture in part is a row of the whole and one of what was left: each is matched by what the customer saw.
#[tokio::test]
async fn the_part_that_was_never_captured_is_kept_in_the_customers_currency() {
    let charge =
        json!({"id": "ch_1", "object": "charge", "amount": 1000, "amount_captured": 700, "currency": "eur"});
    let refund =
        json!({"id": "re_1", "object": "refund", "amount": 300, "currency": "eur", "charge": "ch_1"});
    let shown = |category: &'static str, gross: i64, source: Value| async move {
        let page = lines(json!([row(category, gross, 0, source)])).await?;
        Ok::<_, SettleFault>(page.lines[0].presentment.map(|m| m.to_string()))
    };
    let eur = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(shown("charge", 1100, charge.clone()).await, eur("10.00 EUR"));
    for source in [&charge, &refund] {
        assert_eq!(
            shown("partial_capture_reversal", -330, source.clone()).await,
            eur("-3.00 EUR"),
            "{source}"
        );
    }
    let mut odd = charge;
    odd["amount_captured"] = 1001.into();
    assert_eq!(shown("partial_capture_reversal", -330, odd).await.unwrap_err().code(), "wrong_sign");
}

#[tokio::test]
async fn what_cannot_be_read_is_named_with_its_row() {
    let fault = |change: fn(&mut Value)| async move {
        let mut row = row("charge", 1000, 0, json!("ch_1"));
        change(&mut row);
        match lines(json!([row])).await.unwrap_err() {
            SettleFault::Unreadable(FileFault { code, field, .. }) => (code, field),
            other => panic!("{other}"),
        }
    };
    assert_eq!(fault(|r| r["net"] = "9.41".into()).await, ("bad_number", "txn_1.net".into()));
    assert_eq!(fault(|r| r["id"] = "".into()).await, ("no_id", "a row without id.id".into()));
    assert_eq!(fault(|r| r["amount"] = (-1000).into()).await, ("wrong_sign", "txn_1.amount".into()));
    assert_eq!(fault(|r| r["currency"] = "xxx9".into()).await.0, "currency_unknown");
    assert_eq!(fault(|r| r["currency"] = Value::Null).await, ("currency_unknown", "txn_1.currency".into()));
}

#[tokio::test]
async fn rows_that_are_not_there_yet_are_waited_for() {
    let ask = |status: u16, code: &'static str| async move {
        let bench = bench([Response::json(status, &json!({"error": {"code": code}}))]);
        api(&bench).lines(&bench.call(), &batch(), None).await.unwrap_err()
    };
    let not_ready = ask(400, "payout_reconciliation_not_ready").await;
    assert!(matches!(not_ready, SettleFault::NotReady { .. }));
    assert!(matches!(ask(404, "resource_missing").await, SettleFault::NotReady { .. }));
    assert!(matches!(ask(401, "").await, SettleFault::NotNow { why: NotDone::Unauthorized, .. }));
    assert!(matches!(ask(403, "").await, SettleFault::NotNow { why: NotDone::Unauthorized, .. }));
    assert!(matches!(ask(429, "").await, SettleFault::NotNow { why: NotDone::Throttled, .. }));
    // What is refused is not asked again for ever, and says why.
    let refused = ask(400, "parameter_unknown").await;
    assert_eq!(refused.code(), "refused");
    assert!(refused.to_string().contains("400 parameter_unknown"), "{refused}");
}

#[test]
fn the_rules_load() {
    let rules =
        Rules::load("stripe", Stripe.settlement(&connection()).unwrap().rules(&connection())).unwrap();
    assert_eq!(rules.due(Kind::Charge, DAY), DAY.plus(2));
}
