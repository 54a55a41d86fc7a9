//! Products and stock.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use tillway_core::http::Request;
use tillway_core::time::Timestamp;

use super::ClaritySandbox;
use super::answers::{Check, Outcome, Query, answer, json_body, not_found, read_quantity};
use super::model::{InventoryLevel, Product};
use super::shop::ControlError;
use super::table::Table;

/// The warehouse.
#[derive(Default)]
pub(super) struct Stock {
    products: Table<Product>,
    /// By article, then by place.
    levels: BTreeMap<String, BTreeMap<Option<String>, InventoryLevel>>,
}

impl Stock {
    pub fn levels(&self, sku: &str) -> impl Iterator<Item = &InventoryLevel> {
        self.levels.get(sku).into_iter().flat_map(BTreeMap::values)
    }
}

impl ClaritySandbox {
    /// Puts a product in, or its new state. There is no webhook for products.
    pub fn add_product(&mut self, now: Timestamp, product: Product) {
        let product = Product { updated_at: now, ..product };
        self.stock.products.put(&product.sku.clone(), now, product);
    }

    /// Stock is counted; emits `inventory.updated`. `available` is a decimal text.
    ///
    /// # Errors
    /// The text is no count.
    pub fn update_inventory(
        &mut self,
        now: Timestamp,
        sku: &str,
        location: Option<&str>,
        available: &str,
    ) -> Result<(), ControlError> {
        let available =
            read_quantity(available).ok_or_else(|| ControlError::Quantity(available.to_owned()))?;
        self.keep_level(now, sku, location.map(str::to_owned), available, true);
        Ok(())
    }

    fn keep_level(
        &mut self,
        now: Timestamp,
        sku: &str,
        location: Option<String>,
        available: Decimal,
        emit: bool,
    ) -> InventoryLevel {
        let level =
            InventoryLevel { sku: sku.to_owned(), location: location.clone(), available, updated_at: now };
        self.stock.levels.entry(sku.to_owned()).or_default().insert(location, level.clone());
        if emit {
            self.emit(now, "inventory.updated", &level);
        }
        level
    }

    pub(super) fn list_products(&self, request: &Request) -> Outcome {
        let paging = &self.config.paging;
        let query = Query::read(request.query(), paging, &["sku", "updatedSince"])?;
        let rows = self.stock.products.changed_since(query.updated_since()?);
        query.page(paging, rows.filter(|p| query.get("sku").is_none_or(|sku| p.sku == sku)))
    }

    pub(super) fn get_inventory(&self, sku: &str) -> Outcome {
        let levels: Vec<_> = self.stock.levels(sku).collect();
        if levels.is_empty() { Err(not_found("article")) } else { Ok(answer(200, &levels)) }
    }

    pub(super) fn put_inventory(&mut self, now: Timestamp, sku: &str, request: &Request) -> Outcome {
        let body = json_body(request)?;
        let mut check = Check::default();
        let (mut location, mut available) = (None, Decimal::ZERO);
        if let Some(map) = check.object(&body, "", &["sku", "location", "available", "updatedAt"]) {
            let named = check.needed(map, "", "sku");
            if !named.is_empty() && named != sku {
                check.wrong("/sku".into(), "not the article of the path");
            }
            location = check.text(map, "", "location");
            let text = check.needed(map, "", "available");
            match read_quantity(&text) {
                Some(count) => available = count,
                None if text.is_empty() => {}
                None => check.wrong("/available".into(), "expected a decimal with at most 4 places"),
            }
        }
        check.done(())?;
        let same = |level: &&InventoryLevel| level.location == location && level.available == available;
        if let Some(level) = self.stock.levels(sku).find(same) {
            return Ok(answer(200, level));
        }
        Ok(answer(200, &self.keep_level(now, sku, location, available, self.config.echo)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tillway_core::http::Method;
    use tillway_core::money::{Currency, Money};

    use super::super::testing::{Shop, json_of, now};
    use super::*;

    #[test]
    fn stock_is_set_to_a_count_and_told() {
        let mut shop = Shop::new();
        assert_eq!(shop.call(now(), Method::Get, "/inventory/MUG", None).status, 404);
        shop.0.update_inventory(now(), "MUG", Some("east"), "12").unwrap();
        assert!(shop.0.update_inventory(now(), "MUG", None, "many").is_err());
        let [delivery] = &crate::Sandbox::take_deliveries(&mut shop.0, now())[..] else { panic!("one") };
        assert_eq!(
            (delivery.topic.as_str(), delivery.event_type.as_str()),
            ("inventory", "inventory.updated")
        );
        let level = json!({"sku": "MUG", "location": "east", "available": "7.5"});
        for events in [1, 0] {
            assert_eq!(shop.call(now(), Method::Put, "/inventory/MUG", Some(&level)).status, 200);
            assert_eq!(shop.drain(now()).len(), events, "the second changes nothing");
        }
        let levels = json_of(&shop.call(now(), Method::Get, "/inventory/MUG", None));
        assert_eq!((levels.as_array().unwrap().len(), &levels[0]["available"]), (1, &"7.5".into()));
        for body in [
            json!({"sku": "CUP", "available": "1"}),
            json!({"sku": "MUG", "available": 1}),
            json!({"sku": "MUG"}),
        ] {
            assert_eq!(shop.call(now(), Method::Put, "/inventory/MUG", Some(&body)).status, 400, "{body}");
        }
    }

    #[test]
    fn products_are_listed() {
        let mut shop = Shop::new();
        for sku in ["MUG", "TEA"] {
            let product = Product {
                product_id: None,
                sku: sku.into(),
                name: sku.into(),
                price: Money::new(1200, Currency::parse("JPY").unwrap()),
                active: true,
                external_ids: BTreeMap::new(),
                updated_at: now(),
            };
            shop.0.add_product(now(), product);
        }
        let body = json_of(&shop.call(now(), Method::Get, "/products?sku=TEA", None));
        assert_eq!((&body["totalCount"], &body["items"][0]["price"]["amount"]), (&1.into(), &"1200".into()));
    }
}
