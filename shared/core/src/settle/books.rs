//! What the books expect: the journal's entries as expectations.

use super::line::{Day, Expected, Ids, Kind, Standing};
use super::rules::Rules;
use crate::journal::{Entry, Role};

/// The line that a journal entry expects; nothing where it moved no money at the gateway. The gateway's ids beyond
/// the object's own, and the card, are for whoever knows the order to add.
#[must_use]
pub fn expected_of(entry: &Entry, order: Option<&str>, rules: &Rules) -> Option<Expected> {
    let (what, object) = entry.id.split_once(':')?;
    let sum = |role: Role| {
        let of_role = entry.postings.iter().filter(|p| p.role == role);
        of_role.fold(0_i64, |sum, p| sum.saturating_add(p.amount.minor))
    };
    let fee = if what == "dispute" { sum(Role::Fees) } else { 0 };
    let amount = sum(Role::GatewayClearing).saturating_add(fee);
    let kind = match what {
        "capture" => Kind::Charge,
        "refund" => Kind::Refund,
        "refund_failed" => Kind::RefundFailure,
        "dispute" if amount < 0 => Kind::Dispute,
        "dispute" => Kind::DisputeReversal,
        _ => return None,
    };
    let currency = entry.postings.iter().find(|p| p.role == Role::GatewayClearing)?.amount.currency;
    Some(Expected {
        id: entry.id.as_str().into(),
        kind,
        standing: Standing::Booked,
        ids: Ids { own: Some(own(kind, object).into()), parent: None, payment: None },
        reference: None,
        amount,
        booked_fee: fee,
        currency,
        due: rules.due(kind, Day::of(entry.at)),
        card: None,
        order: order.map(Into::into),
    })
}

/// A capture without an id of its own is booked as the authorization with the watermark it raised.
fn own(kind: Kind, object: &str) -> &str {
    match object.rsplit_once(':') {
        Some((charge, level)) if kind == Kind::Charge && level.bytes().all(|b| b.is_ascii_digit()) => charge,
        _ => object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::{Currency, Money};
    use crate::time::Timestamp;

    #[test]
    fn entries_that_move_money_at_the_gateway_are_expected() {
        let usd = |minor| Money::new(minor, Currency::parse("USD").unwrap());
        let rules = Rules::load("r", "settlement: r\ndue: {charge: 2}\n").unwrap();
        let at = Timestamp::from_unix(86_400 * 10 + 5);
        let of = |id: &str, lines: &[(Role, Money)]| {
            let entry = Entry::new(id, &"gate".into(), at, "", lines).unwrap();
            expected_of(&entry, Some("shop/A-1"), &rules)
        };
        let into = [(Role::GatewayClearing, usd(1000)), (Role::Receivable, usd(-1000))];
        let out = [(Role::GatewayClearing, usd(-1000)), (Role::Receivable, usd(1000))];
        let capture = of("capture:ch_1:1000", &into).unwrap();
        assert_eq!((capture.kind, capture.amount, capture.due), (Kind::Charge, 1000, Day(12)));
        assert_eq!(capture.ids.own.as_deref(), Some("ch_1"));
        assert_eq!(capture.order.as_deref(), Some("shop/A-1"));
        assert_eq!(of("capture:7012", &into).unwrap().ids.own.as_deref(), Some("7012"));
        let refund = of("refund:re_1", &out).unwrap();
        assert_eq!((refund.kind, refund.amount, refund.due), (Kind::Refund, -1000, Day(10)));
        assert_eq!(of("refund_failed:re_1", &into).unwrap().kind, Kind::RefundFailure);
        let lost =
            [(Role::Disputed, usd(1000)), (Role::Fees, usd(1500)), (Role::GatewayClearing, usd(-2500))];
        let dispute = of("dispute:txn_1", &lost).unwrap();
        assert_eq!((dispute.kind, dispute.amount, dispute.booked_fee), (Kind::Dispute, -1000, 1500));
        let won = of("dispute:txn_2", &[(Role::Disputed, usd(-1000)), (Role::GatewayClearing, usd(1000))]);
        assert_eq!(won.unwrap().kind, Kind::DisputeReversal);
        for other in ["sale:ch_1:1000", "return:re_1", "payout:po_1", "fee:txn_1"] {
            assert_eq!(of(other, &into), None, "{other}");
        }
    }
}
