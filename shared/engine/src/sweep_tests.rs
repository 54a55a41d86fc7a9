//! What a sweep says was missed, in money.

use tillway_core::facts::RefundStatus;
use tillway_core::money::Currency;

use super::*;

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::parse("USD").unwrap())
}
fn captured(total: i64) -> Fact {
    Fact::Captured { payment: "pi".into(), charge: "ch".into(), total: usd(total) }
}
fn refund(id: &str, minor: i64) -> Fact {
    Fact::Refund {
        refund: id.into(),
        payment: "pi".into(),
        amount: usd(minor),
        status: RefundStatus::Succeeded,
        moved: true,
        returned: false,
        request: None,
        of: None,
        undoes: None,
        resent: false,
    }
}
fn moved(txn: &str, minor: i64) -> Fact {
    Fact::DisputeMoved {
        dispute: "dp".into(),
        payment: "pi".into(),
        txn: txn.into(),
        amount: usd(minor),
        fee: 0,
    }
}
fn all(facts: &[Fact], known: Option<&OrderState>) -> Vec<i64> {
    let mut counted = BTreeMap::new();
    facts.iter().map(|f| missed(f, known, &mut counted).map_or(0, |m| m.minor)).collect()
}

#[test]
fn money_that_several_events_tell_of_is_counted_once() {
    // charge.succeeded, payment_intent.succeeded; then a second capture.
    assert_eq!(all(&[captured(1000), captured(1000), captured(1500)], None), [1000, 0, 500]);
    assert_eq!(all(&[refund("re_1", 300), refund("re_1", 300), refund("re_2", 300)], None), [300, 0, 300]);
    // Withdrawn and reinstated are two movements.
    assert_eq!(all(&[moved("t1", -700), moved("t1", -700), moved("t2", 700)], None), [700, 0, 700]);
    assert_eq!(all(&[Fact::NothingNew], None), [0]);
}

#[test]
fn what_the_order_knows_was_not_missed() {
    let mut known = OrderState::new(OrderKey::new("shop/A"), Timestamp(0));
    for fact in [captured(1000), refund("re_1", 300), moved("t1", -700)] {
        known.apply(&fact, &ConnectionName::new("gateway"), Timestamp(1));
    }
    let told = [captured(1000), captured(1500), refund("re_1", 300), refund("re_2", 50), moved("t1", -700)];
    assert_eq!(all(&told, Some(&known)), [0, 500, 0, 50, 0]);
}
