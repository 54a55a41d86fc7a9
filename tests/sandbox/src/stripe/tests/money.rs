use tillway_core::time::Millis;

use super::{Bench, id};

fn refund(bench: &mut Bench, pi: &str, amount: i64) -> serde_json::Value {
    bench.done("/v1/refunds", &format!("payment_intent={pi}&amount={amount}&reason=requested_by_customer"))
}

#[test]
fn refunds_add_up_and_stop_at_what_was_captured() {
    let mut bench = Bench::new();
    let pi = bench.paid();
    let from = bench.event_count();
    let first = refund(&mut bench, &pi, 400);
    assert_eq!((&first["status"], &first["amount"]), (&"succeeded".into(), &400.into()));
    let body = format!("payment_intent={pi}&amount=700");
    assert_eq!(bench.refused("/v1/refunds", &body), (400, "-".into()), "more than is left");
    refund(&mut bench, &pi, 699);
    assert_eq!(bench.refused("/v1/refunds", &format!("payment_intent={pi}")).1, "charge_already_refunded");
    let pair = ["refund.created", "charge.refunded"];
    assert_eq!(bench.events_since(from), [pair, pair].concat());
    let charge = bench.last_event("charge.refunded")["data"]["object"].clone();
    assert_eq!((&charge["amount_refunded"], &charge["refunded"]), (&1099.into(), &true.into()));
    let listed = bench.read(&format!("/v1/refunds?payment_intent={pi}"));
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    assert_eq!(bench.s.balance("usd"), -62, "the fee is not returned");
    for wrong in ["amount=5", "payment_intent=pi_x", &format!("payment_intent={pi}&charge={}", id(&charge))] {
        assert_eq!(bench.refused("/v1/refunds", wrong).0, 400, "{wrong}");
    }
}

#[test]
fn a_hold_cannot_be_refunded() {
    let mut bench = Bench::new();
    let pi = bench.held();
    assert_eq!(bench.refused("/v1/refunds", &format!("payment_intent={pi}")).0, 400);
}

#[test]
fn a_refund_can_fail_after_it_succeeded_and_then_be_made_again() {
    let mut bench = Bench::new();
    let pi = bench.paid();
    let first = id(&refund(&mut bench, &pi, 1099));
    let from = bench.event_count();
    bench.s.fail_refund(bench.now, &first).unwrap();
    assert_eq!(bench.events_since(from), ["refund.updated", "refund.failed"]);
    let updated = bench.last_event("refund.updated");
    assert_eq!(updated["data"]["previous_attributes"]["status"], "succeeded");
    let failed = bench.read(&format!("/v1/refunds/{first}?expand[]=failure_balance_transaction"));
    assert_eq!(
        (&failed["status"], &failed["failure_reason"]),
        (&"failed".into(), &"lost_or_stolen_card".into())
    );
    let back = &failed["failure_balance_transaction"];
    assert_eq!((&back["amount"], &back["type"]), (&1099.into(), &"refund_failure".into()));
    assert!(bench.s.fail_refund(bench.now, &first).is_err());
    assert_eq!(bench.s.balance("usd"), 1037);
    refund(&mut bench, &pi, 1099);
    let truth = bench.s.payment_truth(&pi).unwrap();
    assert_eq!((truth.refunded, truth.refunds_failed, truth.refunds), (1099, 1099, 2));
}

#[test]
fn refunds_of_test_cards_change_their_mind() {
    let mut bench = Bench::new();
    let (_, pending) = bench.pay("pm_card_pendingRefund_x1", "automatic");
    let (_, failing) = bench.pay("pm_card_refundFail_x1", "automatic");
    let (pending, failing) = (id(&pending), id(&failing));
    assert_eq!(refund(&mut bench, &pending, 100)["status"], "pending");
    assert_eq!(refund(&mut bench, &failing, 100)["status"], "succeeded");
    assert_eq!(bench.s.payment_truth(&pending).unwrap().refunded, 100, "pending counts");
    bench.wait(Millis::mins(1));
    assert_eq!(bench.s.refunds_of(&pending)[0].2, "succeeded");
    assert_eq!(bench.s.refunds_of(&failing)[0].2, "failed");
    let again = id(&refund(&mut bench, &pending, 100));
    bench.s.cancel_refund(bench.now, &again).unwrap();
    bench.wait(Millis::mins(1));
    assert_eq!(bench.s.refunds_of(&pending)[1].2, "canceled");
    assert_eq!(bench.s.payment_truth(&pending).unwrap().refunded, 100);
}

#[test]
fn the_dashboard_refunds_what_is_left() {
    let mut bench = Bench::new();
    let pi = bench.paid();
    refund(&mut bench, &pi, 99);
    bench.s.dashboard_refund(bench.now, &pi, None, Some("duplicate")).unwrap();
    assert_eq!(bench.s.payment_truth(&pi).unwrap().refunded, 1099);
    assert_eq!(bench.last_event("refund.created")["data"]["object"]["amount"], 1000);
    assert_eq!(
        bench.s.dashboard_refund(bench.now, &pi, None, None).unwrap_err().code,
        Some("charge_already_refunded")
    );
}

#[test]
fn a_dispute_takes_the_money_and_may_give_it_back() {
    let mut bench = Bench::new();
    let pi = bench.paid();
    let from = bench.event_count();
    let dispute = bench.s.open_dispute(bench.now, &pi, None, "fraudulent").unwrap();
    assert_eq!(bench.s.balance("usd"), 1037 - 1099 - 1500);
    assert_eq!(bench.refused("/v1/refunds", &format!("payment_intent={pi}")).1, "charge_disputed");
    bench.s.close_dispute(bench.now, &dispute, false).unwrap();
    assert!(bench.s.close_dispute(bench.now, &dispute, false).is_err());
    bench.s.close_dispute(bench.now, &dispute, true).unwrap();
    assert_eq!(
        bench.events_since(from),
        [
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.closed",
            "charge.dispute.closed",
            "charge.dispute.funds_reinstated",
        ]
    );
    let shown = bench.read(&format!("/v1/disputes?payment_intent={pi}"))["data"][0].clone();
    assert_eq!((&shown["id"], &shown["status"]), (&dispute.as_str().into(), &"won".into()));
    let rows = shown["balance_transactions"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["net"], &rows[1]["net"]), (2, &(-2599).into(), &1099.into()));
    let truth = bench.s.payment_truth(&pi).unwrap();
    assert_eq!(
        (truth.disputed_withdrawn, truth.disputed_reinstated, truth.disputes),
        (1099, 1099, vec!["won"])
    );
    assert!(bench.s.reinstate_funds(bench.now, &dispute).is_err());

    let part = bench.paid();
    assert!(bench.s.open_dispute(bench.now, &part, Some(2000), "general").is_err());
    let dispute = bench.s.open_dispute(bench.now, &part, Some(500), "product_not_received").unwrap();
    bench.s.reinstate_funds(bench.now, &dispute).unwrap();
    assert_eq!(bench.s.disputes_of(&part), [(dispute, 500, "needs_response")]);
}

#[test]
fn a_disputing_card_disputes_by_itself() {
    let mut bench = Bench::new();
    let (_, payment) = bench.pay("pm_card_createDispute", "automatic");
    bench.wait(Millis::secs(1));
    assert_eq!(bench.s.disputes_of(&id(&payment)).len(), 1);
}

#[test]
fn payouts_are_made_at_the_cut_off_of_what_is_available() {
    let mut bench = Bench::new();
    bench.s.config_mut().payouts = Some(crate::stripe::Schedule::default());
    bench.paid();
    bench.wait(Millis::days(1));
    bench.paid();
    assert_eq!(bench.s.all_payouts().count(), 0, "nothing is available yet");
    // Booked at 08:00; available two days later, paid out at the cut-off of 06:00 the day after.
    bench.wait(Millis::hours(46));
    let (payout, amount, _, status) = bench.s.all_payouts().next().unwrap();
    assert_eq!((amount, status), (1037, "in_transit"));
    let list = format!("/v1/balance_transactions?payout={payout}");
    assert_eq!(bench.get(&list).1["error"]["code"], "payout_reconciliation_not_ready");
    bench.wait(Millis::mins(20));
    assert_eq!(bench.read(&list)["data"].as_array().unwrap().len(), 2);
    bench.wait(Millis::hours(18));
    let shown = bench.read(&format!("/v1/payouts/{payout}"));
    assert_eq!((&shown["status"], &shown["reconciliation_status"]), (&"paid".into(), &"completed".into()));
    let day = shown["arrival_date"].as_i64().unwrap();
    assert_eq!(day % 86_400, 0);
    let on = |bench: &mut Bench, from: i64| {
        let to = from + 86_400;
        let page = bench.read(&format!("/v1/payouts?arrival_date[gte]={from}&arrival_date[lt]={to}"));
        page["data"].as_array().unwrap().len()
    };
    assert_eq!((on(&mut bench, day), on(&mut bench, day - 86_400)), (1, 0));
    bench.s.fail_payout(bench.now, &payout).unwrap();
    assert!(bench.s.fail_payout(bench.now, &payout).is_err());
    bench.s.bill_account(bench.now, 500, "usd");
    bench.wait(Millis::days(4));
    let all: Vec<_> = bench.s.all_payouts().map(|(_, amount, _, status)| (amount, status)).collect();
    // The second sale alone, then what came back less the bill.
    assert_eq!(all, [(1037, "failed"), (1037, "paid"), (537, "paid")]);
}

#[test]
fn a_payout_adds_up_to_its_rows() {
    let mut bench = Bench::new();
    let (a, _) = (bench.paid(), bench.paid());
    refund(&mut bench, &a, 200);
    assert!(bench.s.pay_out(bench.now, "eur").is_err());
    let payout = bench.s.pay_out(bench.now, "usd").unwrap();
    let amount = bench.read(&format!("/v1/payouts/{payout}"))["amount"].as_i64().unwrap();
    assert_eq!(amount, 2 * 1037 - 200);
    let rows =
        bench.read(&format!("/v1/balance_transactions?payout={payout}&limit=100&expand[]=data.source"));
    let rows = rows["data"].as_array().unwrap();
    let net = |r: &&serde_json::Value| r["net"].as_i64().unwrap();
    assert_eq!(rows.iter().filter(|r| r["type"] != "payout").map(|r| net(&r)).sum::<i64>(), amount);
    assert_eq!(rows.iter().map(|r| net(&r)).sum::<i64>(), 0);
    assert!(rows.iter().all(|r| r["source"]["id"].is_string()), "expanded");
    assert!(bench.s.pay_out(bench.now, "usd").is_err(), "nothing twice");
}
