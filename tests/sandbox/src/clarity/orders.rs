//! `/orders` and `/orders/{id}`, and the one place where an order changes.

use tillway_core::http::{Request, Response};
use tillway_core::money::{Money, MoneyError};
use tillway_core::time::Timestamp;

use super::ClaritySandbox;
use super::answers::{Check, Outcome, Query, answer, invalid, json_body, not_found, problem, with_header};
use super::config::StatusTexts;
use super::model::{Actor, OrderStatus, OrderTruth, PaymentInfo, StatusChange};

/// What a PATCH asks for.
#[derive(Default)]
struct Patch {
    status: Option<OrderStatus>,
    status_reason: Option<String>,
    payment: PaymentInfo,
    external_ids: Vec<(String, Option<String>)>,
    note: Option<String>,
}

const PAYMENT: [&str; 8] = [
    "gateway",
    "transactionId",
    "authorizationCode",
    "token",
    "cardBrand",
    "cardLast4",
    "amount",
    "paymentIntentId",
];

/// Sets what is given; tells whether that made a difference.
pub(super) fn set<T: PartialEq>(slot: &mut Option<T>, given: Option<T>) -> bool {
    let differs = given.is_some() && *slot != given;
    if differs {
        *slot = given;
    }
    differs
}

/// Sets and removes texts by name; tells whether that made a difference.
pub(super) fn set_texts(
    texts: &mut std::collections::BTreeMap<String, String>,
    given: Vec<(String, Option<String>)>,
) -> bool {
    let mut differs = false;
    for (name, text) in given {
        differs |= match text {
            Some(text) => texts.insert(name, text.clone()).as_ref() != Some(&text),
            None => texts.remove(&name).is_some(),
        };
    }
    differs
}

impl OrderTruth {
    /// Moves to a status; tells whether that made a difference.
    pub(super) fn move_to(
        &mut self,
        status: OrderStatus,
        texts: &StatusTexts,
        now: Timestamp,
        by: Actor,
    ) -> bool {
        if self.status == status {
            return false;
        }
        self.status = status;
        texts.text(status).clone_into(&mut self.status_text);
        self.history.push(StatusChange { status, at: now, by });
        true
    }

    /// Makes the totals those of the lines.
    pub(super) fn recount(&mut self) -> Result<(), MoneyError> {
        let currency = self.currency();
        let (mut subtotal, mut tax) = (Money::zero(currency), Money::zero(currency));
        let mut discount = self.order_discount;
        for line in &self.lines {
            let amount = Money::extend(line.unit_price.to_major(), line.quantity, currency)?;
            subtotal = subtotal.checked_add(amount)?;
            tax = tax.checked_add(line.tax)?;
            discount = discount.checked_add(line.discount)?;
        }
        self.total = subtotal.checked_sub(discount)?.checked_add(self.shipping_total)?.checked_add(tax)?;
        (self.subtotal, self.tax_total, self.discount_total) = (subtotal, tax, discount);
        Ok(())
    }

    fn apply(&mut self, patch: Patch, texts: &StatusTexts, now: Timestamp) -> bool {
        let mut differs = patch.status.is_some_and(|s| self.move_to(s, texts, now, Actor::Api));
        differs |= set(&mut self.status_reason, patch.status_reason);
        differs |= set(&mut self.note, patch.note);
        differs |= set_texts(&mut self.external_ids, patch.external_ids);
        let (mine, new) = (&mut self.payment, patch.payment);
        differs |= set(&mut mine.gateway, new.gateway);
        differs |= set(&mut mine.transaction_id, new.transaction_id);
        differs |= set(&mut mine.authorization_code, new.authorization_code);
        differs |= set(&mut mine.token, new.token);
        differs |= set(&mut mine.card_brand, new.card_brand);
        differs |= set(&mut mine.card_last4, new.card_last4);
        differs |= set(&mut mine.amount, new.amount);
        differs |= set(&mut mine.payment_intent_id, new.payment_intent_id);
        differs
    }
}

pub(super) fn order_answer(order: &OrderTruth) -> Response {
    with_header(answer(200, order), "etag", &format!("\"{}\"", order.version))
}

impl ClaritySandbox {
    /// Changes an order. `edit` changes all or nothing and tells whether it changed anything; if so the
    /// version goes up and `order.updated` goes out. `None` where there is no such order.
    pub(super) fn change_order<E>(
        &mut self,
        now: Timestamp,
        id: &str,
        by: Actor,
        edit: impl FnOnce(&mut OrderTruth, &StatusTexts) -> Result<bool, E>,
    ) -> Option<Result<(), E>> {
        let texts = &self.config.status_texts;
        let outcome = self.orders.change(id, now, |order| {
            let outcome = edit(order, texts);
            let changed = matches!(outcome, Ok(true));
            if changed {
                order.version += 1;
                order.updated_at = now;
            }
            (changed, outcome)
        })?;
        if matches!(outcome, Ok(true)) && (by == Actor::Shop || self.config.echo) {
            self.emit_order(now, "order.updated", id);
        }
        Some(outcome.map(|_| ()))
    }

    pub(super) fn emit_order(&mut self, now: Timestamp, event_type: &str, id: &str) {
        if let Some(order) = self.orders.get(id) {
            let data = super::answers::bytes(order);
            self.hooks.emit(now, "orders", event_type, &data, &mut self.counters);
        }
    }

    pub(super) fn list_orders(&self, request: &Request) -> Outcome {
        let paging = &self.config.paging;
        let query = Query::read(request.query(), paging, &["status", "updatedSince"])?;
        let status = query
            .get("status")
            .map(|text| {
                let status = self.config.status_texts.read(text);
                status.ok_or_else(|| invalid("/query/status", "unknown status"))
            })
            .transpose()?;
        let rows = self.orders.changed_since(query.updated_since()?);
        query.page(paging, rows.filter(|order| status.is_none_or(|s| order.status == s)))
    }

    pub(super) fn get_order(&self, id: &str) -> Outcome {
        self.orders.get(id).map(order_answer).ok_or_else(|| not_found("order"))
    }

    pub(super) fn patch_order(&mut self, now: Timestamp, id: &str, request: &Request) -> Outcome {
        let order = self.orders.get(id).ok_or_else(|| not_found("order"))?;
        let patch = self.read_patch(order, &json_body(request)?)?;
        if let Some(wanted) = request.header("if-match") {
            let version = order.version.to_string();
            let mut tags = wanted.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'));
            if !tags.any(|tag| tag == "*" || tag == version) {
                return Err(problem(412, "version_conflict", &format!("the order is at version {version}")));
            }
        }
        let refused = patch.status.filter(|to| self.config.strict_transitions && order.status.refuses(*to));
        if let Some(to) = refused {
            let to = self.config.status_texts.text(to);
            let detail = format!("no way from {} back to {to}", order.status_text);
            return Err(problem(409, "invalid_transition", &detail));
        }
        self.change_order(now, id, Actor::Api, |order, texts| {
            Ok::<_, Response>(order.apply(patch, texts, now))
        });
        self.get_order(id)
    }

    fn read_patch(&self, order: &OrderTruth, body: &serde_json::Value) -> Result<Patch, Response> {
        let mut check = Check::default();
        let mut patch = Patch::default();
        let allowed = ["status", "statusReason", "payment", "externalIds", "note"];
        if let Some(map) = check.object(body, "", &allowed) {
            if map.is_empty() {
                check.wrong(String::new(), "expected at least one member");
            }
            if let Some(text) = check.text(map, "", "status") {
                patch.status = self.config.status_texts.read(&text);
                if patch.status.is_none() {
                    check.wrong("/status".into(), "unknown status");
                }
            }
            patch.status_reason = check.text(map, "", "statusReason");
            patch.note = check.text(map, "", "note");
            patch.external_ids = check.texts(map, "", "externalIds", true);
            if let Some(payment) = map.get("payment") {
                patch.payment = read_payment(&mut check, payment, order);
            }
        }
        check.done(patch)
    }
}

fn read_payment(check: &mut Check, value: &serde_json::Value, order: &OrderTruth) -> PaymentInfo {
    let at = "/payment";
    let Some(map) = check.object(value, at, &PAYMENT) else { return PaymentInfo::default() };
    let mut text = |name| check.text(map, at, name);
    let mut payment = PaymentInfo {
        gateway: text("gateway"),
        transaction_id: text("transactionId"),
        authorization_code: text("authorizationCode"),
        token: text("token"),
        card_brand: text("cardBrand"),
        card_last4: text("cardLast4"),
        amount: None,
        payment_intent_id: text("paymentIntentId"),
    };
    payment.amount = check.money(map, at, "amount");
    if payment.gateway.as_deref().is_some_and(|g| !["cybersource", "stripe", "paytrace"].contains(&g)) {
        check.wrong(format!("{at}/gateway"), "expected cybersource, stripe or paytrace");
    }
    let four = |text: &str| text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
    if payment.card_last4.as_deref().is_some_and(|text| !four(text)) {
        check.wrong(format!("{at}/cardLast4"), "expected four digits");
    }
    if payment.amount.is_some_and(|amount| amount.currency != order.currency()) {
        check.wrong(format!("{at}/amount/currency"), "not the currency of the order");
    }
    payment
}

#[cfg(test)]
mod tests;
