//! Shipments: what is still to be sent, and `/orders/{id}/shipments`.

use rust_decimal::Decimal;
use tillway_core::http::{Request, Response};
use tillway_core::time::Timestamp;

use super::ClaritySandbox;
use super::answers::{Check, Outcome, answer, json_body, not_found, problem, read_quantity};
use super::config::StatusTexts;
use super::model::{Actor, OrderStatus, OrderTruth, Shipment, ShipmentLine};

/// Why a shipment cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unshippable {
    /// Nothing is left to be sent.
    Nothing,
    /// No such line; its place in what was asked.
    Line(usize),
    /// More than is left, or nothing; its place in what was asked.
    Quantity(usize),
}

impl OrderTruth {
    /// Pieces of a line that are still to be sent.
    #[must_use]
    pub fn remaining(&self, line_id: &str) -> Decimal {
        let ordered: Decimal = self.lines.iter().filter(|l| l.line_id == line_id).map(|l| l.quantity).sum();
        let sent: Decimal = self
            .shipments
            .iter()
            .flat_map(|s| &s.lines)
            .filter(|l| l.line_id == line_id)
            .map(|l| l.quantity)
            .sum();
        (ordered - sent).max(Decimal::ZERO)
    }

    /// The lines of a shipment: those asked for, or all that is left.
    pub(super) fn plan(&self, asked: Option<&[(String, Decimal)]>) -> Result<Vec<ShipmentLine>, Unshippable> {
        let all: Vec<_>;
        let asked = match asked {
            Some(asked) => asked,
            None => {
                all = self.lines.iter().map(|l| (l.line_id.clone(), self.remaining(&l.line_id))).collect();
                let left = all.iter().any(|(_, quantity)| !quantity.is_zero());
                if !left {
                    return Err(Unshippable::Nothing);
                }
                &all
            }
        };
        let whole = asked.len() == self.lines.len();
        let mut planned: Vec<ShipmentLine> = Vec::new();
        for (at, (line_id, quantity)) in asked.iter().enumerate() {
            if whole && quantity.is_zero() {
                continue;
            }
            let line = self.lines.iter().find(|l| l.line_id == *line_id).ok_or(Unshippable::Line(at))?;
            let twice = planned.iter().any(|p| p.line_id == *line_id);
            if twice || *quantity <= Decimal::ZERO || *quantity > self.remaining(line_id) {
                return Err(Unshippable::Quantity(at));
            }
            planned.push(ShipmentLine {
                line_id: line_id.clone(),
                sku: line.sku.clone(),
                quantity: *quantity,
            });
        }
        if planned.is_empty() { Err(Unshippable::Nothing) } else { Ok(planned) }
    }

    /// Adds a shipment and moves the status on: Shipped when nothing is left, Processing before.
    pub(super) fn add_shipment(
        &mut self,
        shipment: Shipment,
        texts: &StatusTexts,
        now: Timestamp,
        by: Actor,
    ) {
        self.shipments.push(shipment);
        let done = self.lines.iter().all(|line| self.remaining(&line.line_id).is_zero());
        if self.status.follows_shipments() {
            let status = if done { OrderStatus::Shipped } else { OrderStatus::Processing };
            self.move_to(status, texts, now, by);
        }
    }
}

/// Lines asked for and how much of each; nothing where all that is left is meant.
type Asked = Option<Vec<(String, Decimal)>>;

fn read_shipment(request: &Request) -> Result<(Shipment, Asked), Response> {
    let body = json_body(request)?;
    let mut check = Check::default();
    let mut shipment = Shipment {
        shipment_id: String::new(),
        carrier: None,
        tracking_number: None,
        tracking_url: None,
        shipped_at: Timestamp(0),
        lines: Vec::new(),
    };
    let mut asked = None;
    let allowed = ["shipmentId", "carrier", "trackingNumber", "trackingUrl", "shippedAt", "lines"];
    if let Some(map) = check.object(&body, "", &allowed) {
        shipment.shipment_id = check.needed(map, "", "shipmentId");
        shipment.carrier = check.text(map, "", "carrier");
        shipment.tracking_number = check.text(map, "", "trackingNumber");
        shipment.tracking_url = check.text(map, "", "trackingUrl");
        let at = check.needed(map, "", "shippedAt");
        match Timestamp::parse_rfc3339(&at) {
            Some(at) => shipment.shipped_at = at,
            None if at.is_empty() => {}
            None => check.wrong("/shippedAt".into(), "expected an RFC 3339 date-time"),
        }
        if let Some(lines) = check.list(map, "", "lines") {
            let mut read = Vec::new();
            for (n, line) in lines.iter().enumerate() {
                let at = format!("/lines/{n}");
                let Some(line) = check.object(line, &at, &["lineId", "sku", "quantity"]) else { continue };
                check.text(line, &at, "sku");
                let id = check.needed(line, &at, "lineId");
                let quantity = check.needed(line, &at, "quantity");
                match read_quantity(&quantity) {
                    Some(quantity) => read.push((id, quantity)),
                    None if quantity.is_empty() => {}
                    None => check.wrong(format!("{at}/quantity"), "expected a decimal with at most 4 places"),
                }
            }
            asked = Some(read);
        }
    }
    check.done((shipment, asked))
}

impl ClaritySandbox {
    /// A shipment id that comes again is a 409 `conflict`, whatever else the body says: a caller whose
    /// first call went unanswered learns that way that it took effect.
    pub(super) fn post_shipment(&mut self, now: Timestamp, id: &str, request: &Request) -> Outcome {
        let order = self.orders.get(id).ok_or_else(|| not_found("order"))?;
        let (mut shipment, asked) = read_shipment(request)?;
        if order.shipments.iter().any(|s| s.shipment_id == shipment.shipment_id) {
            return Err(problem(409, "conflict", "the order has a shipment of this id"));
        }
        let over = matches!(order.status, OrderStatus::Cancelled | OrderStatus::Refunded);
        if over && self.config.strict_transitions {
            let detail = format!("an order that is {} is not shipped", order.status_text);
            return Err(problem(409, "invalid_transition", &detail));
        }
        shipment.lines = order.plan(asked.as_deref()).or_else(|why| {
            let mut check = Check::default();
            match why {
                Unshippable::Nothing => check.wrong("/lines".into(), "nothing is left to be sent"),
                Unshippable::Line(n) => check.wrong(format!("/lines/{n}/lineId"), "no such line"),
                Unshippable::Quantity(n) => {
                    check.wrong(format!("/lines/{n}/quantity"), "more than is left, or nothing");
                }
            }
            check.done(Vec::new())
        })?;
        let response = answer(201, &shipment);
        self.change_order(now, id, Actor::Api, |order, texts| {
            order.add_shipment(shipment, texts, now, Actor::Api);
            Ok::<_, std::convert::Infallible>(true)
        });
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tillway_core::http::Method;

    use super::super::testing::{Shop, json_of, new_order, now};
    use super::super::{ControlError, OrderStatus};

    #[test]
    fn a_partial_shipment_is_processing_and_the_rest_is_shipped() {
        let mut shop = Shop::new();
        let order = shop.0.place_order(now(), new_order("USD")).unwrap();
        shop.drain(now());
        shop.0.ship(now(), &order, Some(&[("1", "1")])).unwrap();
        assert_eq!(shop.0.order(&order).unwrap().status, OrderStatus::Processing);
        assert_eq!(
            shop.0.ship(now(), &order, Some(&[("1", "1.5")])),
            Err(ControlError::Quantity("1.5".into())),
            "only one is left"
        );
        assert_eq!(
            shop.0.ship(now(), &order, Some(&[("9", "1")])),
            Err(ControlError::UnknownLine("9".into()))
        );
        shop.0.ship(now(), &order, None).unwrap();
        let truth = shop.0.order(&order).unwrap();
        assert_eq!((truth.status, truth.shipments.len(), truth.version), (OrderStatus::Shipped, 2, 3));
        assert_ne!(truth.shipments[0].shipment_id, truth.shipments[1].shipment_id);
        assert_eq!(shop.0.ship(now(), &order, None), Err(ControlError::NothingToShip));
        let events = shop.drain(now());
        let of = |n: usize| events[n]["data"]["shipments"].as_array().unwrap().len();
        assert_eq!((events.len(), of(0), of(1)), (2, 1, 2));
        assert_eq!(
            events[1]["data"]["shipments"][1]["lines"][0],
            json!({"lineId": "1", "sku": "MUG", "quantity": "1"})
        );
    }

    fn post(shop: &mut Shop, order: &str, body: &Value) -> (u16, Value) {
        let response = shop.call(now(), Method::Post, &format!("/orders/{order}/shipments"), Some(body));
        (response.status, json_of(&response))
    }

    #[test]
    fn the_api_adds_shipments_once_and_checks_them() {
        let mut shop = Shop::new();
        let order = shop.0.place_order(now(), new_order("USD")).unwrap();
        shop.drain(now());
        let part = json!({
            "shipmentId": "S1", "carrier": "DHL", "trackingNumber": "00340", "shippedAt": "2026-11-21T10:00:00+01:00",
            "lines": [{"lineId": "2", "sku": "TEA", "quantity": "0.5"}],
        });
        let (status, body) = post(&mut shop, &order, &part);
        assert_eq!((status, &body["shippedAt"]), (201, &"2026-11-21T09:00:00.000Z".into()));
        assert_eq!(shop.0.order(&order).unwrap().status, OrderStatus::Processing);
        assert_eq!(shop.drain(now()).len(), 1, "an echo");
        let (status, body) = post(&mut shop, &order, &part);
        assert_eq!((status, &body["code"]), (409, &"conflict".into()));
        for (body, pointer) in [
            (json!({"shipmentId": "S2"}), "/shippedAt"),
            (json!({"shippedAt": "2026-11-21T10:00:00Z"}), "/shipmentId"),
            (json!({"shipmentId": "S2", "shippedAt": "today"}), "/shippedAt"),
            (
                json!({"shipmentId": "S2", "shippedAt": "2026-11-21T10:00:00Z", "lines": [{"lineId": "7", "quantity": "1"}]}),
                "/lines/0/lineId",
            ),
            (
                json!({"shipmentId": "S2", "shippedAt": "2026-11-21T10:00:00Z", "lines": [{"lineId": "1", "quantity": "3"}]}),
                "/lines/0/quantity",
            ),
            (
                json!({"shipmentId": "S2", "shippedAt": "2026-11-21T10:00:00Z", "lines": [{"lineId": "1", "quantity": 1}]}),
                "/lines/0/quantity",
            ),
            (json!({"shipmentId": "S2", "shippedAt": "2026-11-21T10:00:00Z", "lines": []}), "/lines"),
        ] {
            let (status, problem) = post(&mut shop, &order, &body);
            assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &pointer.into()), "{body}");
            assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
        }
        let rest = json!({"shipmentId": "S2", "shippedAt": "2026-11-21T10:00:00Z"});
        assert_eq!(post(&mut shop, &order, &rest).0, 201);
        assert_eq!(shop.0.order(&order).unwrap().status, OrderStatus::Shipped);
    }
}
