//! The join is a lattice, the ledger balances, and both say the same in whatever order the facts come.

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::OrderState;
use crate::facts::{
    AuthorizationEnd, DisputeStatus, Fact, Line, OrderSnapshot, OrderStatus, RefundStatus, ReviewOutcome,
    Shipment,
};
use crate::ids::{ConnectionName, OrderKey};
use crate::journal::{Role, TrialBalance};
use crate::money::{Currency, Money};
use crate::time::Timestamp;

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::parse("USD").unwrap())
}

fn order(version: i64, total: i64, tax: i64) -> OrderSnapshot {
    OrderSnapshot {
        order_id: "A".into(),
        number: "1".into(),
        version,
        placed_at: None,
        status: OrderStatus::PendingPayment,
        total: usd(total),
        tax,
        shipping: 0,
        lines: Vec::new(),
        shipments: Vec::new(),
        token: None,
        payment: None,
        gateway: None,
        guest: true,
        customer_ref: None,
        gateway_customer: None,
        test: false,
    }
}

fn captured(total: i64) -> Fact {
    Fact::Captured { payment: "pi".into(), charge: "ch".into(), total: usd(total) }
}
fn authorized(total: i64) -> Fact {
    Fact::Authorized { payment: "pi".into(), charge: "ch".into(), amount: usd(total), expires_at: None }
}
fn refund(id: &str, minor: i64, status: RefundStatus, moved: bool, returned: bool) -> Fact {
    Fact::Refund {
        refund: id.into(),
        payment: "pi".into(),
        amount: usd(minor),
        status,
        moved,
        returned,
        request: None,
        of: None,
        undoes: None,
        resent: false,
    }
}
fn dispute(status: DisputeStatus) -> Fact {
    Fact::Dispute {
        dispute: "dp".into(),
        payment: "pi".into(),
        amount: usd(1000),
        status,
        reason: "fraud".into(),
    }
}
fn moved(txn: &str, minor: i64, fee: i64) -> Fact {
    Fact::DisputeMoved {
        dispute: "dp".into(),
        payment: "pi".into(),
        txn: txn.into(),
        amount: usd(minor),
        fee,
    }
}

/// A life with everything in it, in one possible order.
fn life() -> Vec<Fact> {
    vec![
        Fact::Order(Box::new(order(1, 1000, 77))),
        Fact::Payment { payment: "pi".into(), amount: usd(1000) },
        authorized(1000),
        captured(300),
        captured(1000),
        refund("re_1", 100, RefundStatus::Pending, false, false),
        refund("re_1", 100, RefundStatus::Succeeded, true, false),
        refund("re_2", 333, RefundStatus::Succeeded, true, false),
        refund("re_2", 333, RefundStatus::Failed, true, true),
        Fact::ReviewOpened { review: "prv".into(), payment: "pi".into() },
        Fact::ReviewClosed { review: "prv".into(), payment: "pi".into(), outcome: ReviewOutcome::Approved },
        dispute(DisputeStatus::NeedsResponse),
        moved("txn_1", -1000, 1500),
        dispute(DisputeStatus::Lost),
        dispute(DisputeStatus::Won),
        moved("txn_2", 1000, 0),
    ]
}

fn run<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> (OrderState, TrialBalance, usize) {
    let gateway = ConnectionName::new("gateway");
    let mut state = OrderState::new(OrderKey::new("shop/A"), Timestamp(0));
    let mut balance = TrialBalance::default();
    let mut contradictions = 0;
    let mut ids = std::collections::BTreeSet::new();
    for fact in facts {
        let applied = state.apply(fact, &gateway, Timestamp(1));
        contradictions += applied.contradictions.len();
        for entry in &applied.entries {
            entry.check().unwrap();
            assert!(ids.insert(entry.id.clone()), "{} booked twice", entry.id);
            balance.add(entry);
        }
    }
    (state, balance, contradictions)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_any_repetition_end_the_same(shuffled in Just(life()).prop_shuffle(), again in 0..16_usize) {
        let (state, balance, contradictions) = run(life().iter());
        prop_assert_eq!(contradictions, 0);
        let mut facts = shuffled;
        facts.extend(life().into_iter().skip(again));
        let (other, other_balance, contradictions) = run(facts.iter());
        prop_assert_eq!(contradictions, 0);
        prop_assert_eq!(other.project(), state.project());
        prop_assert_eq!(
            (other.captured(), other.refunded(), other.disputed()),
            (state.captured(), state.refunded(), state.disputed())
        );
        prop_assert_eq!(other.refunds.get("re_2").map(|r| r.status), Some(RefundStatus::Failed));
        // Clearing, receivable and losses do not depend on the order; the tax of single parts may be split
        // another way, but each currency balances and the receivable is settled.
        let usd = Currency::parse("USD").unwrap();
        prop_assert_eq!(other_balance.of(Role::GatewayClearing, usd), balance.of(Role::GatewayClearing, usd));
        prop_assert_eq!(other_balance.of(Role::Receivable, usd), 0);
        prop_assert_eq!(other_balance.of(Role::ChargebackLoss, usd), 0);
        prop_assert_eq!(other_balance.of(Role::Disputed, usd), 0);
        prop_assert!(other_balance.unbalanced().is_empty());
    }

    #[test]
    fn tax_of_parts_adds_up_to_the_orders_tax(total in 1_i64..100_000, rate in 0_i64..30, cuts in prop::collection::vec(1_i64..100, 0..6)) {
        let tax = total * rate / 100;
        let mut levels: Vec<i64> = cuts.iter().map(|c| (total * c / 100).max(1)).collect();
        levels.push(total);
        let mut facts = vec![Fact::Order(Box::new(order(1, total, tax))), authorized(total)];
        facts.extend(levels.into_iter().map(captured));
        let (_, balance, _) = run(facts.iter());
        let usd = Currency::parse("USD").unwrap();
        prop_assert_eq!(balance.of(Role::Tax, usd), -i128::from(tax));
        prop_assert_eq!(balance.of(Role::Sales, usd), -i128::from(total - tax));
        prop_assert_eq!(balance.of(Role::Receivable, usd), 0);
    }

    #[test]
    fn shipments_add_up_to_the_total(prices in prop::collection::vec((1_i64..5_000, 1_i64..5), 1..5), shipping in 0_i64..900, off in 0_i64..50, order_of in any::<u64>()) {
        let goods: i64 = prices.iter().map(|(p, q)| p * q).sum();
        let mut o = order(1, goods - goods * off / 100 + shipping, 0);
        o.shipping = shipping;
        o.lines = prices.iter().enumerate().map(|(n, (p, q))| Line {
            line_id: n.to_string(),
            sku: "S".into(),
            quantity: Decimal::from(*q),
            total: p * q,
            tax: 0,
            name: None,
            unit_price: None,
            discount: 0,
        }).collect();
        // One unit at a time, from lines drawn by the number.
        let mut left: Vec<i64> = prices.iter().map(|(_, q)| *q).collect();
        let mut draw = order_of;
        while left.iter().sum::<i64>() > 0 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let line = usize::try_from(draw >> 33).unwrap() % left.len();
            if left[line] > 0 {
                left[line] -= 1;
                o.shipments.push(Shipment { id: format!("S{}", o.shipments.len()), lines: vec![(line.to_string(), Decimal::ONE)] });
            }
        }
        let total = o.total.minor;
        let (state, _, _) = run([Fact::Order(Box::new(o))].iter());
        let amounts = state.shipment_amounts();
        prop_assert_eq!(amounts.iter().map(|s| s.amount.minor).sum::<i64>(), total);
        prop_assert!(amounts.iter().all(|s| s.amount.minor >= 0));
        prop_assert_eq!(amounts.iter().filter(|s| s.last).count(), 1);
    }
}

#[test]
fn state_and_journal_are_rebuilt_from_the_facts_alone() {
    let gateway = ConnectionName::new("gateway");
    let key = OrderKey::new("shop/A");
    let facts = life();
    let mut state = OrderState::new(key.clone(), Timestamp(5));
    let mut entries = Vec::new();
    for fact in &facts {
        entries.extend(state.apply(fact, &gateway, Timestamp(5)).entries);
    }
    let (rebuilt, again) = OrderState::rebuild(key, facts.iter().map(|f| (Timestamp(5), &gateway, f)));
    assert_eq!(serde_json::to_string(&rebuilt.unwrap()).unwrap(), serde_json::to_string(&state).unwrap());
    assert_eq!(again, entries);
}

#[test]
fn a_payment_that_overtakes_its_order_is_booked_at_once_and_its_sale_follows() {
    let (_, early, _) = run([captured(1000)].iter());
    let usd = Currency::parse("USD").unwrap();
    assert_eq!(early.of(Role::GatewayClearing, usd), 1000);
    assert_eq!(early.of(Role::Receivable, usd), -1000);
    let (_, late, _) = run([captured(1000), Fact::Order(Box::new(order(1, 1000, 77)))].iter());
    assert_eq!(late.of(Role::Receivable, usd), 0);
    assert_eq!(late.of(Role::Tax, usd), -77);
}

#[test]
fn captured_above_authorized_is_a_contradiction() {
    let (_, _, contradictions) = run([authorized(500), captured(501)].iter());
    assert_eq!(contradictions, 1);
}

#[test]
fn an_older_snapshot_never_replaces_a_newer() {
    let (state, _, _) =
        run([Fact::Order(Box::new(order(2, 900, 0))), Fact::Order(Box::new(order(1, 1000, 0)))].iter());
    assert_eq!(state.order.unwrap().total, usd(900));
    assert!(state.total_changes.is_empty());
}

#[test]
fn a_cancellation_that_our_own_write_went_over_is_still_seen() {
    let cancelled = OrderSnapshot { status: OrderStatus::Cancelled, ..order(2, 1000, 0) };
    let cancelled = Fact::Order(Box::new(cancelled));
    let after = |facts: &[Fact]| run(facts.iter()).0;
    // Our own write made version 3 of it before its webhook was worked.
    let overtaken = after(&[
        Fact::Order(Box::new(order(1, 1000, 0))),
        Fact::Order(Box::new(order(3, 1000, 0))),
        cancelled.clone(),
    ]);
    assert!(overtaken.cancelled_by_shop);
    assert_eq!(overtaken.order.unwrap().version, 3, "the older snapshot replaces nothing else");
    // Where we cancelled it ourselves, the shop only repeats it.
    let ours = Fact::StatusChanged { seq: 1, status: OrderStatus::Cancelled, reason: String::new() };
    let echoed = after(&[Fact::Order(Box::new(order(1, 1000, 0))), ours, cancelled]);
    assert!(!echoed.cancelled_by_shop);
}

#[test]
fn a_late_event_does_not_bring_an_old_amount_back() {
    let told = |minor| Fact::Payment { payment: "pi".into(), amount: usd(minor) };
    let (state, _, _) = run([told(1000), authorized(1200), told(900)].iter());
    let payment = &state.payments["pi"];
    assert_eq!((payment.amount, payment.charges["ch"].authorized), (Some(usd(1000)), usd(1200)));
    assert_eq!(state.authorized(), 1200);
    // Heard once more, none of them is news.
    let mut known = state.clone();
    for fact in [told(1000), told(900), authorized(1200)] {
        assert!(!known.apply(&fact, &ConnectionName::new("gateway"), Timestamp(9)).changed);
    }
}

#[test]
fn failed_becomes_paid_with_another_card_and_an_expired_authorization_is_no_payment() {
    let failed = Fact::AttemptFailed {
        payment: "pi".into(),
        attempt: "ch_0".into(),
        code: "stolen_card".into(),
        shopper_reason: "generic_decline".into(),
        soft: false,
    };
    let (state, _, _) = run([failed.clone()].iter());
    assert_eq!(state.project(), (OrderStatus::PaymentFailed, "generic_decline".to_owned()));
    let (state, _, _) = run([failed, authorized(1000), captured(1000)].iter());
    assert_eq!(state.project().0, OrderStatus::Paid);
    let ended = Fact::AuthorizationEnded {
        payment: "pi".into(),
        charge: "ch".into(),
        how: AuthorizationEnd::Expired,
    };
    let cancelled = Fact::PaymentCancelled { payment: "pi".into(), reason: "automatic".into() };
    let (state, _, _) = run([authorized(1000), ended, cancelled].iter());
    assert_eq!(state.project(), (OrderStatus::PaymentFailed, "authorization_ended".to_owned()));
}

#[test]
fn a_hold_that_is_told_of_late_takes_nothing_from_an_order_that_is_paid() {
    let late = Fact::Authorized {
        payment: "lost".into(),
        charge: "lost".into(),
        amount: usd(1000),
        expires_at: None,
    };
    let known = Fact::Order(Box::new(order(1, 1000, 0)));
    let (state, _, _) = run([known.clone(), authorized(1000), captured(1000), late.clone()].iter());
    assert_eq!((state.project().0, state.capturable()), (OrderStatus::Paid, 1000));
    // Where a part is still to be taken, it is partly paid as before.
    let (state, _, _) = run([known, authorized(1000), captured(600), late].iter());
    assert_eq!(state.project().0, OrderStatus::PartiallyPaid);
}

#[test]
fn reinstated_funds_are_not_a_won_dispute() {
    let facts = [
        captured(1000),
        dispute(DisputeStatus::NeedsResponse),
        moved("t1", -1000, 1500),
        moved("t2", 1000, 0),
    ];
    let (state, balance, _) = run(facts.iter());
    assert_eq!(state.project().0, OrderStatus::Disputed);
    assert_eq!(balance.of(Role::Fees, Currency::parse("USD").unwrap()), 1500);
}

fn word(nth: u32, won: bool, withdrawals: u32) -> Fact {
    let (by, reason) = ("ann".into(), "seen".into());
    Fact::DisputeClosed { dispute: "dp".into(), nth, won, withdrawals, by, reason }
}

/// Status, what is disputed, lost and cleared, of a captured order with these facts.
fn closed(more: &[Fact]) -> (OrderStatus, i128, i128) {
    let known =
        [Fact::Order(Box::new(order(1, 1000, 0))), captured(1000), dispute(DisputeStatus::NeedsResponse)];
    let facts: Vec<Fact> = known.iter().chain(more).cloned().collect();
    let (state, balance, contradictions) = run(facts.iter());
    assert!(contradictions == 0 && balance.unbalanced().is_empty(), "{more:?}");
    let usd = Currency::parse("USD").unwrap();
    // Once more changes nothing, books included.
    let again: Vec<Fact> = facts.iter().chain(more).cloned().collect();
    let (twice, books, _) = run(again.iter());
    assert_eq!(twice.project(), state.project(), "{more:?}");
    assert_eq!(books.of(Role::ChargebackLoss, usd), balance.of(Role::ChargebackLoss, usd));
    // Disputed money is an asset while it is away.
    let (disputed, loss) = (balance.of(Role::Disputed, usd), balance.of(Role::ChargebackLoss, usd));
    assert_eq!(disputed + loss, i128::from(state.disputed()), "{more:?}");
    (state.project().0, disputed, loss)
}

#[test]
fn a_persons_word_ends_a_dispute_and_the_books_follow() {
    use OrderStatus::{ChargedBack, Disputed, Paid};
    let taken = moved("t1", -1000, 0);
    let back = moved("t2", 1000, 0);
    assert_eq!(closed(std::slice::from_ref(&taken)), (Disputed, 1000, 0));
    assert_eq!(closed(&[taken.clone(), word(1, false, 1)]), (ChargedBack, 0, 1000));
    assert_eq!(closed(&[taken.clone(), word(1, true, 1)]), (Paid, 1000, 0), "not given back yet");
    assert_eq!(closed(&[taken.clone(), word(1, true, 1), back.clone()]), (Paid, 0, 0));
    assert_eq!(closed(&[taken.clone(), back.clone(), word(1, true, 1)]), (Paid, 0, 0));
    // The other word corrects it, whichever is heard last.
    for words in [[word(1, false, 1), word(2, true, 1)], [word(2, true, 1), word(1, false, 1)]] {
        let facts = [&[taken.clone(), back.clone()][..], &words].concat();
        assert_eq!(closed(&facts), (Paid, 0, 0));
    }
    // Lost, and given back after all: no loss is left.
    assert_eq!(closed(&[taken.clone(), word(1, false, 1), back.clone()]), (ChargedBack, 0, 0));
    // A second chargeback opens it again, and takes a loss that was booked back until it is said anew.
    let second = moved("t3", -1000, 0);
    let reopened = [taken.clone(), back.clone(), word(1, true, 1), second.clone()];
    assert_eq!(closed(&reopened), (Disputed, 1000, 0));
    assert_eq!(closed(&[&reopened[..], &[word(2, false, 2)]].concat()), (ChargedBack, 0, 1000));
    // The gateway's own word is above a person's.
    assert_eq!(closed(&[taken.clone(), word(1, false, 1), dispute(DisputeStatus::Won)]), (Paid, 1000, 0));
    assert_eq!(closed(&[taken, word(1, true, 1), dispute(DisputeStatus::Lost)]), (ChargedBack, 0, 1000));
}

#[test]
fn what_becomes_of_a_dispute_is_told_each_time() {
    let keys = |more: &[Fact], kind: &str| {
        let (state, _, _) = run([captured(1000), dispute(DisputeStatus::NeedsResponse)].iter().chain(more));
        let keys: Vec<String> = state.object_keys(kind).into_iter().map(|k| k.into_owned()).collect();
        assert_eq!(keys, state.objects(kind, None).into_iter().map(|(k, _)| k).collect::<Vec<_>>());
        keys
    };
    let (taken, second) = (moved("t1", -1000, 0), moved("t2", -1000, 0));
    let said = [taken.clone(), word(1, true, 1)];
    assert_eq!(
        (keys(&said, "dispute"), keys(&said, "dispute_outcome")),
        (vec!["dp".into()], vec!["dp:won".into()])
    );
    let again = [&said[..], &[second]].concat();
    assert_eq!(
        (keys(&again, "dispute"), keys(&again, "dispute_outcome")),
        (vec!["dp:again:1".into()], vec![])
    );
    let anew = [&again[..], &[word(2, true, 2)]].concat();
    assert_eq!(keys(&anew, "dispute_outcome"), ["dp:won:2"]);
}

fn of_currency(minor: i64, code: &str) -> Money {
    Money::new(minor, Currency::parse(code).unwrap())
}

#[test]
fn what_captures_have_to_give_back_is_what_was_captured_and_not_returned() {
    let left = |state: &OrderState| {
        let captures = state.objects("capture", None);
        let left = captures.iter().map(|(_, c)| c.at("refundable").as_money().unwrap().minor);
        left.collect::<Vec<_>>()
    };
    let start = [Fact::Order(Box::new(order(1, 100, 0))), authorized(100), captured(60), captured(100)];
    let with = |more: &[Fact]| {
        let (state, _, _) = run(start.iter().chain(more));
        assert_eq!(left(&state).iter().sum::<i64>(), state.captured() - state.refunded());
        left(&state)
    };
    let done = |id, minor| refund(id, minor, RefundStatus::Succeeded, true, false);
    assert_eq!(with(&[]), [60, 40]);
    assert_eq!(with(&[done("a", 60)]), [0, 40], "the second capture keeps its own");
    assert_eq!(with(&[done("a", 10)]), [50, 40]);
    assert_eq!(with(&[done("a", 10), done("b", 60)]), [0, 30]);
    assert_eq!(with(&[done("a", 60), refund("b", 40, RefundStatus::Failed, true, true)]), [0, 40]);
    // A refund that names a capture is charged to it, in whatever order captures stand.
    let Fact::Refund { refund, payment, amount, status, moved, returned, .. } = done("c", 40) else {
        panic!()
    };
    let request = Some("cancelled:ch:100".to_owned());
    let named = Fact::Refund {
        refund,
        payment,
        amount,
        status,
        moved,
        returned,
        request,
        of: None,
        undoes: None,
        resent: false,
    };
    assert_eq!(with(std::slice::from_ref(&named)), [60, 0]);
    assert_eq!(with(&[named, done("d", 20)]), [40, 0]);
}

#[test]
fn money_of_another_currency_is_a_contradiction_once_and_adds_to_nothing() {
    let yen = |minor| of_currency(minor, "JPY");
    let pay = Fact::Payment { payment: "pi".into(), amount: yen(4712) };
    let take = Fact::Captured { payment: "pi".into(), charge: "ch".into(), total: yen(4712) };
    let known = Fact::Order(Box::new(order(1, 4712, 0)));
    for facts in [[&known, &pay, &take], [&pay, &take, &known], [&take, &known, &pay]] {
        let (state, balance, contradictions) = run(facts);
        assert_eq!(contradictions, 1);
        assert_eq!((state.captured(), state.authorized(), state.capturable()), (0, 0, 0));
        assert_eq!(state.project().0, OrderStatus::PendingPayment);
        assert!(balance.unbalanced().is_empty());
    }
    // A refund of it is booked as cash, and takes no goods of the order back.
    let back = Fact::Refund {
        refund: "re".into(),
        payment: "pi".into(),
        amount: yen(4712),
        status: RefundStatus::Succeeded,
        moved: true,
        returned: false,
        request: None,
        of: None,
        undoes: None,
        resent: false,
    };
    let (state, balance, _) = run([&known, &pay, &take, &back]);
    let jpy = Currency::parse("JPY").unwrap();
    assert_eq!(state.refunded(), 0);
    assert_eq!((balance.of(Role::GatewayClearing, jpy), balance.of(Role::Refunds, jpy)), (0, 0));
}

#[test]
fn a_payment_is_compared_with_every_total_the_order_had() {
    let at = |total| Fact::Order(Box::new(order(1, total, 0)));
    let to = |version, total| Fact::Order(Box::new(order(version, total, 0)));
    let (state, _, _) = run([at(1000), captured(100)].iter());
    assert_eq!(state.project().0, OrderStatus::PartiallyPaid, "never agreed to");
    let short = state.short().unwrap();
    assert_eq!((short.missing, short.raised, short.lapsed), (usd(900), false, false));
    let (state, _, _) = run([at(1000), captured(1000), to(2, 1200)].iter());
    assert_eq!(state.project().0, OrderStatus::Paid);
    assert!(state.short().unwrap().raised && state.overpaid().is_none());
    let (state, _, _) = run([at(1000), captured(1000), to(2, 800), to(3, 900)].iter());
    let over = state.overpaid().unwrap();
    assert_eq!((over.amount, over.refundable, over.lowered), (usd(100), usd(100), true));
    let (state, _, _) = run([at(1000), captured(1500)].iter());
    let over = state.overpaid().unwrap();
    assert_eq!((over.amount, over.refundable, over.lowered), (usd(500), usd(0), false));
    let (state, _, _) = run([at(1000), authorized(1000)].iter());
    assert!(state.short().is_none() && state.overpaid().is_none());
}
