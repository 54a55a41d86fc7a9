//! Events that are authentic and cannot be accepted.

use serde_json::{Value as Json, json};

use super::{Clarity, assert_clean, connection, doc, order, usd, with};
use crate::config::Connection;
use crate::port::{Connector, Interpreted, Owner, Rejected};

fn rejected(connection: &Connection, event_type: &str, data: &Json) -> Rejected {
    let rejected = Clarity.interpret(connection, event_type, doc(event_type, data).json()).unwrap_err();
    assert_clean(&format!("{rejected:?}"));
    rejected
}

#[track_caller]
fn faulty(data: &Json, code: &str, field: &str) {
    let rejected = rejected(&connection(&[]), "order.created", data);
    assert_eq!((rejected.code.as_str(), rejected.field.as_str()), (code, field), "{}", rejected.what);
    assert_eq!(rejected.owner, Owner::Order { id: "C-1".into() });
}

#[track_caller]
fn fine(data: &Json) {
    let read = Clarity.interpret(&connection(&[]), "order.created", doc("order.created", data).json());
    assert!(matches!(read, Ok(Interpreted::About { .. })), "{read:?}");
}

#[test]
fn amounts_that_cannot_be_read() {
    let set = |pointer: &str, value: Json| with(order(), pointer, value);
    faulty(&set("/total/amount", "canary".into()), "amount_malformed", "data.total.amount");
    faulty(&set("/total/amount", 25.into()), "amount_malformed", "data.total.amount");
    faulty(&set("/total/amount", json!(25.52)), "amount_malformed", "data.total.amount");
    faulty(&set("/total/amount", "25.521".into()), "amount_too_many_digits", "data.total.amount");
    faulty(&set("/total/amount", "-25.52".into()), "amount_negative", "data.total.amount");
    faulty(&set("/total/currency", "canary".into()), "currency_unknown", "data.total.currency");
    faulty(&set("/shippingTotal/currency", "EUR".into()), "currency_mixed", "data.shippingTotal.currency");
    faulty(&set("/lines/0/tax/currency", "EUR".into()), "currency_mixed", "data.lines.0.tax.currency");
    faulty(&set("/lines/0/discount/amount", "-1".into()), "amount_negative", "data.lines.0.discount.amount");
    faulty(&set("/lines/0/discount/amount", "99".into()), "amount_negative", "data.lines.0.discount");
    faulty(
        &set("/lines/0/unitPrice/amount", "-1".into()),
        "amount_negative",
        "data.lines.0.unitPrice.amount",
    );
    faulty(
        &set("/lines/0/unitPrice/amount", "1e3".into()),
        "amount_malformed",
        "data.lines.0.unitPrice.amount",
    );
    faulty(
        &set("/lines/0/unitPrice/amount", "1.00001".into()),
        "amount_too_many_digits",
        "data.lines.0.unitPrice.amount",
    );
    faulty(
        &set("/lines/0/unitPrice/amount", "999999999999999999".into()),
        "amount_overflow",
        "data.lines.0.unitPrice",
    );
}

#[test]
fn members_of_another_kind() {
    let set = |pointer: &str, value: Json| with(order(), pointer, value);
    faulty(&set("/total", Json::Null), "member_malformed", "data.total");
    faulty(&set("/total", "25.52".into()), "member_malformed", "data.total");
    faulty(&set("/lines", Json::Null), "no_lines", "data.lines");
    faulty(&set("/lines", json!([])), "no_lines", "data.lines");
    faulty(&set("/lines", json!({})), "member_malformed", "data.lines");
    faulty(&set("/lines/0", "canary".into()), "member_malformed", "data.lines.0");
    faulty(&set("/lines/0/quantity", json!(1.5)), "member_malformed", "data.lines.0.quantity");
    faulty(&set("/lines/0/quantity", "-1".into()), "member_malformed", "data.lines.0.quantity");
    faulty(&set("/lines/0/quantity", "0.00001".into()), "member_malformed", "data.lines.0.quantity");
    faulty(&set("/lines/0/sku", Json::Null), "member_malformed", "data.lines.0.sku");
    faulty(&set("/version", "3".into()), "member_malformed", "data.version");
    faulty(&set("/version", (-1).into()), "member_malformed", "data.version");
    faulty(&set("/createdAt", "canary".into()), "member_malformed", "data.createdAt");
    faulty(&set("/customer", "canary".into()), "member_malformed", "data.customer");
    faulty(&set("/customer/email", json!(["canary"])), "member_malformed", "data.customer.email");
    faulty(&set("/billingAddress/city", json!({})), "member_malformed", "data.billingAddress.city");
    faulty(&set("/status", "canary status".into()), "status_unknown", "data.status");
    faulty(&set("/status", Json::Null), "member_malformed", "data.status");
    faulty(&set("/testMode", "yes".into()), "member_malformed", "data.testMode");
    faulty(&set("/payment/token", "4111 1111 1111 1111".into()), "card_number", "data.payment.token");
    faulty(&set("/payment/token", "[card number removed]".into()), "member_malformed", "data.payment.token");
    let nobody = rejected(&connection(&[]), "order.created", &with(order(), "/orderId", "..".into()));
    assert_eq!((nobody.field.as_str(), nobody.owner), ("data.orderId", Owner::Nobody));
}

#[test]
fn totals_must_add_up_to_a_minor_unit_per_line() {
    let set = |pointer: &str, value: Json| with(order(), pointer, value);
    for total in ["25.51", "25.52", "25.53"] {
        fine(&set("/total", usd(total)));
    }
    for total in ["25.50", "25.54", "0.00", "20.52"] {
        faulty(&set("/total", usd(total)), "totals_do_not_add_up", "data.total.amount");
    }
    // A part that is not there is no money.
    faulty(&set("/shippingTotal", Json::Null), "totals_do_not_add_up", "data.total.amount");
    fine(&set("/taxTotal", Json::Null));
    // Tax beyond the lines', e.g. on shipping; less than theirs is a contradiction.
    fine(&with(set("/taxTotal", usd("2.00")), "/total", usd("26.00")));
    faulty(&set("/taxTotal", usd("1.00")), "totals_do_not_add_up", "data.taxTotal");
    for subtotal in ["20.00", "19.00", "20.52"] {
        fine(&set("/subtotal", usd(subtotal)));
    }
    faulty(&set("/subtotal", usd("17.00")), "totals_do_not_add_up", "data.subtotal");
}

#[test]
fn a_discount_total_may_hold_the_lines_discounts_or_stand_beside_them() {
    let discounted = |discount: &str, total: &str| {
        with(with(order(), "/discountTotal", usd(discount)), "/total", usd(total))
    };
    fine(&discounted("1.00", "25.52"));
    fine(&discounted("3.00", "23.52"));
    fine(&discounted("3.00", "22.52"));
    fine(&discounted("0.50", "25.02"));
    faulty(&discounted("3.00", "25.52"), "totals_do_not_add_up", "data.total.amount");
    faulty(&discounted("0.50", "25.52"), "totals_do_not_add_up", "data.total.amount");
}

#[test]
fn fine_prices_round_once_per_line_half_to_even_in_the_currencys_own_units() {
    let line = |id: &str, quantity: &str, price: &str, currency: &str| {
        json!({"lineId": id, "sku": "A", "quantity": quantity,
               "unitPrice": {"amount": price, "currency": currency}})
    };
    let of = |lines: Json, total: &str, currency: &str| {
        let money = json!({"amount": total, "currency": currency});
        json!({"orderId": "C-1", "status": "Paid", "version": 1, "lines": lines, "total": money})
    };
    fine(&of(json!([line("1", "3", "0.3335", "USD")]), "1.00", "USD"));
    fine(&of(json!([line("1", "2", "600", "JPY")]), "1200", "JPY"));
    fine(&of(json!([line("1", "1.5", "3.4133", "KWD")]), "5.120", "KWD"));
    faulty(
        &of(json!([line("1", "2", "6", "JPY")]), "1200", "JPY"),
        "totals_do_not_add_up",
        "data.total.amount",
    );
    // Three thirds of a unit off are fine with three lines and not with one.
    let three = json!([line("1", "1", "1", "USD"), line("2", "1", "1", "USD"), line("3", "1", "1", "USD")]);
    fine(&of(three, "3.03", "USD"));
    faulty(
        &of(json!([line("1", "3", "1", "USD")]), "3.03", "USD"),
        "totals_do_not_add_up",
        "data.total.amount",
    );
}

#[test]
fn test_orders_do_not_reach_production() {
    let data = with(order(), "/testMode", true.into());
    faulty(&data, "test_event_in_production", "data.testMode");
    let testing = Connection { production: false, ..connection(&[]) };
    assert!(Clarity.interpret(&testing, "order.created", doc("order.created", &data).json()).is_ok());
}

#[test]
fn refund_requests_that_cannot_be_trusted() {
    let refund = |settings: &[(&str, &str)], data: Json| {
        let rejected = rejected(&connection(settings), "order.refund_requested", &data);
        (rejected.code, rejected.field)
    };
    let data = json!({"orderId": "C-1", "refundId": "R-1", "amount": usd("5.00"), "reason": "canary"});
    let of = |code: &str, field: &str| (code.to_owned(), field.to_owned());
    assert_eq!(
        refund(&[], with(data.clone(), "/refundId", Json::Null)),
        of("refund_without_id", "data.refundId")
    );
    for amount in ["0", "0.00", "-5.00"] {
        let asked = refund(&[], with(data.clone(), "/amount", usd(amount)));
        assert_eq!(asked, of("amount_not_positive", "data.amount.amount"));
    }
    assert_eq!(refund(&[], with(data.clone(), "/amount", Json::Null)), of("member_malformed", "data.amount"));
    assert_eq!(
        refund(&[], with(data.clone(), "/amount/currency", "XXX".into())),
        of("currency_unknown", "data.amount.currency")
    );
    assert_eq!(
        refund(&[], with(data.clone(), "/orderId", Json::Null)),
        of("member_malformed", "data.orderId")
    );
    let unsigned = [("webhook.scheme", "shared_header")];
    assert_eq!(
        refund(&unsigned, data),
        of("refund_not_authentic", "data.refundId"),
        "no way to read it again"
    );
}
