//! The exceptions a market plants, one a payment.

use super::{Item, Teller, batch_id, id};
use crate::settle::line::{Expected, Ids, Kind, SettlementLine};
use crate::settle::outcome::Class;

impl<S: FnMut(Item)> Teller<'_, S> {
    /// One exception of some class.
    pub(super) fn fault(&mut self, n: u32, e: Expected) {
        let mut line = self.line_of(n, 0, &e);
        let which = self.draw.below(16);
        match which {
            0 => {
                self.plant(Class::MissingAtGateway, &[], &[&e]);
                return self.expect(e);
            }
            1 => {
                self.plant(Class::MissingHere, &[&line], &[]);
                return self.settle(line);
            }
            2 => {
                line.gross = line.gross.saturating_add(500);
                self.charge_fee(&mut line);
                self.plant(Class::Amount, &[&line], &[&e]);
            }
            3 => {
                line.currency = if e.currency == self.usd { self.eur } else { self.usd };
                self.charge_fee(&mut line);
                self.plant(Class::Currency, &[&line], &[&e]);
            }
            // Settled again on a later day; on the same day; the same line read twice.
            4 => {
                let mut again = SettlementLine { id: format!("txn_{n}_1").into(), ..line.clone() };
                line.day = e.due;
                again.day = e.due.plus(3);
                self.plant(Class::Duplicate, &[&line, &again], &[]);
                self.settle(again);
            }
            5 => {
                let again = SettlementLine { id: format!("txn_{n}_1").into(), ..line.clone() };
                self.plant(Class::Duplicate, &[&line, &again], &[&e]);
                self.settle(again);
            }
            6 => {
                self.plant(Class::Duplicate, &[&line], &[]);
                self.settle(line.clone());
                line.net = line.gross.saturating_sub(line.fee);
                line.batch = batch_id(line.currency, line.day);
                (self.sink)(Item::Line(line));
                return self.expect(e);
            }
            7 => {
                line.day = e.due.plus(9);
                self.plant(Class::Late, &[&line], &[&e]);
            }
            8 => {
                line.fee = line.fee.saturating_add(100);
                self.plant(Class::UnexpectedFee, &[&line], &[]);
            }
            9..=11 => {
                let mut other = self.line_of(n, 1, &e);
                let (kind, class, name) = match which {
                    9 => (Kind::Fee, Class::UnexpectedFee, "fx"),
                    10 => (Kind::Refund, Class::UnknownRefund, "rx"),
                    _ => (Kind::Dispute, Class::UnknownChargeback, "dx"),
                };
                (other.kind, other.fee, other.fee_tax) = (kind, 0, 0);
                other.gross = if which == 9 { -9_999 } else { e.amount.saturating_neg() };
                other.ids =
                    Ids { own: id(name, n), parent: e.ids.own.clone(), payment: e.ids.payment.clone() };
                self.plant(class, &[&other], &[]);
                self.settle(other);
            }
            12 => {
                let mut back = self.line_of(n, 1, &e);
                (back.kind, back.fee, back.fee_tax) = (Kind::PayoutReversal, 0, 0);
                (back.ids, back.reference, back.card) =
                    (Ids { own: id("po", n), ..Ids::default() }, None, None);
                self.plant(Class::PayoutFailedLater, &[&back], &[]);
                self.settle(back);
            }
            // Two captures and two lines that nothing tells apart.
            13 => {
                let mut e = Expected { ids: Ids::default(), reference: None, ..e };
                e.amount = 1_000_003_i64.saturating_add(i64::from(n).saturating_mul(7));
                let twin = Expected { id: format!("capture:ch_{n}:2").into(), ..e.clone() };
                let line = self.line_of(n, 0, &e);
                let other = SettlementLine { id: format!("txn_{n}_1").into(), ..line.clone() };
                self.plant(Class::Ambiguous, &[&line, &other], &[&e, &twin]);
                self.expect(twin);
                self.settle(other);
                self.expect(e);
                return self.settle(line);
            }
            // Two lines that only together equal two captures.
            14 => {
                let twin = Expected { id: format!("capture:ch_{n}:2").into(), amount: 10_000, ..e.clone() };
                let mut other =
                    SettlementLine { id: format!("txn_{n}_1").into(), gross: 10_050, ..line.clone() };
                line.gross = e.amount.saturating_sub(50);
                self.charge_fee(&mut line);
                self.charge_fee(&mut other);
                if line.gross.abs_diff(10_000) < 3 || e.amount.abs_diff(10_050) < 3 || line.gross <= 0 {
                    return self.plain(n, e);
                }
                self.plant(Class::Ambiguous, &[&line, &other], &[&e, &twin]);
                self.expect(twin);
                self.settle(other);
            }
            // A refund of another id than ours, of the same charge and amount: one missing and one unknown.
            _ => {
                let ours = Expected {
                    id: format!("refund:ra_{n}").into(),
                    kind: Kind::Refund,
                    ids: Ids { own: id("ra", n), parent: e.ids.own.clone(), payment: e.ids.payment.clone() },
                    amount: e.amount.saturating_neg(),
                    ..e.clone()
                };
                let mut theirs = self.line_of(n, 1, &ours);
                theirs.ids.own = id("rx", n);
                self.plant(Class::UnknownRefund, &[&theirs], &[]);
                self.plant(Class::MissingAtGateway, &[], &[&ours]);
                self.expect(ours);
                self.settle(theirs);
            }
        }
        self.expect(e);
        self.settle(line);
    }
}
