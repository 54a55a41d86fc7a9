//! A Clarity eCommerce shop, after the working contract (`spec/clarity/openapi.yaml`).
//!
//! The API side is [`Sandbox::handle`]; what shoppers and the shop's staff do are the controls
//! (`place_order`, `ship`, …); what the shop tells Tillway comes out of [`Sandbox::take_deliveries`].
//! A request passes these gates in this order: the shop is down, a fault that strikes before anything is
//! executed, the rate limit, the path, who calls, the idempotency key. Only then is it executed.
//!
//! Beyond the contract, as our own assumption: an order shows its `shipments`, `note` and `statusReason`,
//! `version` counts its changes from 1, and `updatedAt` has milliseconds. `updatedSince` is inclusive. A
//! PATCH that changes nothing is answered 200 and makes neither a version nor a webhook. Unknown members
//! and unknown query parameters are refused, so that a misspelling shows.

mod answers;
mod auth;
mod config;
mod customers;
mod hooks;
mod idempotency;
mod model;
mod orders;
mod route;
mod shipments;
mod shop;
mod stock;
mod subscriptions;
mod table;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;

use serde_json::Value;
use tillway_core::http::{Request, Response};
use tillway_core::time::{Millis, Timestamp};

pub use config::{Auth, ClarityConfig, Paging, StatusTexts, WebhookScheme};
pub use hooks::{LostEvent, RETRY_WAITS, sign_standard};
pub use model::{
    Actor, Address, Customer, Device, InventoryLevel, OrderLine, OrderStatus, OrderTruth, PaymentInfo,
    Product, RefundRequest, Shipment, ShipmentLine, StatusChange, Subscription,
};
pub use shop::{ControlError, NewLine, NewOrder};

use crate::faults::ApiFaults;
use crate::{ApiFault, ApiFaultRule, Delivery, HookFaultRule, Reply, Sandbox};
use answers::{Outcome, problem, refusal, with_header};
use route::Route;

/// What has happened so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests by kind, e.g. `PATCH /orders/{id}`; unknown paths are `GET ?`.
    pub requests: BTreeMap<String, u64>,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// Calls nobody answered.
    pub silences: u64,
    /// Answers repeated for an idempotency key.
    pub replays: u64,
    /// Faults that struck, by name; those of webhooks begin with `hook_`.
    pub faults: BTreeMap<&'static str, u64>,
    /// Events by type, lost ones too.
    pub events: BTreeMap<String, u64>,
    /// Deliveries handed out, repeated ones too.
    pub attempts: u64,
    /// Deliveries put off after a failure.
    pub retries: u64,
    /// Events given up after the last attempt.
    pub given_up: u64,
}

fn count(map: &mut BTreeMap<String, u64>, name: &str) {
    match map.get_mut(name) {
        Some(n) => *n += 1,
        None => {
            map.insert(name.to_owned(), 1);
        }
    }
}

impl Counters {
    fn count_event(&mut self, event_type: &str) {
        count(&mut self.events, event_type);
    }
    fn count_fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }
}

/// The shop.
pub struct ClaritySandbox {
    config: ClarityConfig,
    orders: table::Table<OrderTruth>,
    order_count: u64,
    customers: customers::Customers,
    stock: stock::Stock,
    subscriptions: subscriptions::Subscriptions,
    tokens: auth::Tokens,
    answers: idempotency::Answers,
    hooks: hooks::Hooks,
    faults: ApiFaults,
    down_until: Timestamp,
    /// The second of the clock the rate is counted in, and the calls within it.
    rate: (i64, u32),
    counters: Counters,
}

impl ClaritySandbox {
    /// An empty shop.
    #[must_use]
    pub fn new(config: ClarityConfig) -> Self {
        Self {
            orders: table::Table::default(),
            order_count: 0,
            customers: customers::Customers::default(),
            stock: stock::Stock::default(),
            subscriptions: subscriptions::Subscriptions::default(),
            tokens: auth::Tokens::default(),
            answers: idempotency::Answers::default(),
            hooks: hooks::Hooks::new(config.webhook.clone(), config.seed),
            faults: ApiFaults::default(),
            down_until: Timestamp(i64::MIN),
            rate: (i64::MIN, 0),
            counters: Counters::default(),
            config,
        }
    }

    /// An order.
    #[must_use]
    pub fn order(&self, id: &str) -> Option<&OrderTruth> {
        self.orders.get(id)
    }
    /// Every order, in the order they were placed.
    pub fn orders(&self) -> impl Iterator<Item = &OrderTruth> {
        self.orders.iter()
    }
    /// A customer; guests are found in their orders only.
    #[must_use]
    pub fn customer(&self, id: &str) -> Option<&Customer> {
        self.customers.get(id)
    }
    /// Every customer, in the order they came.
    pub fn customers(&self) -> impl Iterator<Item = &Customer> {
        self.customers.iter()
    }
    /// Stock of an article, one entry for each place.
    pub fn inventory(&self, sku: &str) -> impl Iterator<Item = &InventoryLevel> {
        self.stock.levels(sku)
    }
    /// What has happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
    /// Events that [`crate::HookFault::Lose`] kept from being delivered.
    #[must_use]
    pub fn lost_events(&self) -> &[LostEvent] {
        &self.hooks.lost
    }
    /// Makes every token invalid at once.
    pub fn revoke_tokens(&mut self) {
        self.tokens.revoke();
    }
    /// Signs webhooks in another way from now on, e.g. with rotated secrets.
    pub fn set_webhook_scheme(&mut self, scheme: WebhookScheme) {
        self.config.webhook = scheme.clone();
        self.hooks.set_scheme(scheme);
    }
    /// Switches on or off that changes through the API emit webhooks.
    pub const fn set_echo(&mut self, echo: bool) {
        self.config.echo = echo;
    }
    /// Sets or lifts the limit of requests in one second.
    pub const fn set_rate_limit(&mut self, limit: Option<u32>) {
        self.config.rate_limit = limit;
    }
    /// Emits any event, however malformed its data; signed like any other. Returns the event's id.
    pub fn emit_raw(&mut self, now: Timestamp, topic: &str, event_type: &str, data: &Value) -> String {
        self.hooks.emit(now, topic, event_type, data.to_string().as_bytes(), &mut self.counters)
    }

    fn emit<T: serde::Serialize>(&mut self, now: Timestamp, event_type: &str, data: &T) -> String {
        let topic = hooks::topic_of(event_type);
        self.hooks.emit(now, topic, event_type, &answers::bytes(data), &mut self.counters)
    }

    /// Uses up one stroke of a fault.
    fn strike(&mut self, at: usize) {
        if let Some(name) = self.faults.use_up(at) {
            self.counters.count_fault(name);
        }
    }

    fn reply(&mut self, now: Timestamp, request: &Request, route: Option<&Route>) -> Reply {
        let html = self.config.html_refusals;
        if now < self.down_until {
            let wait = self.down_until.since(now).0.saturating_add(999) / 1000;
            return Reply::Answer(refusal(503, html, wait));
        }
        let fault = self.faults.matching(request);
        match &fault {
            Some((at, ApiFault::Refuse(status))) => {
                self.strike(*at);
                return Reply::Answer(refusal(*status, html, 1));
            }
            Some((at, ApiFault::SilenceBefore)) => {
                self.strike(*at);
                return Reply::Silence;
            }
            _ => {}
        }
        let route = match self.admit(now, request, route) {
            Ok(route) => route,
            Err(response) => return Reply::Answer(response),
        };

        let key = match self.idempotency_key(request, route) {
            Ok(key) => key,
            Err(response) => return Reply::Answer(response),
        };
        if let Some(known) = key.as_ref().and_then(|key| self.answers.find(now, key)) {
            self.counters.replays += u64::from(known.is_ok());
            if let Some((at, ApiFault::SilenceAfter)) = fault {
                self.strike(at);
                return Reply::Silence;
            }
            return Reply::Answer(known.unwrap_or_else(|refused| refused));
        }

        let failed = || problem(500, "unavailable", "something went wrong");
        let response = match &fault {
            Some((_, ApiFault::Fail500)) => failed(),
            _ => {
                let outcome = self.execute(now, request, route).unwrap_or_else(|refused| refused);
                let after = matches!(fault, Some((_, ApiFault::Fail500AfterEffect)));
                if after { failed() } else { outcome }
            }
        };
        if let Some((at, _)) = fault {
            self.strike(at);
        }
        if let Some(key) = key
            && (response.is_success() || response.status == 500)
        {
            self.answers.keep(now, key, &response, self.config.idempotency_keep);
        }
        if matches!(fault, Some((_, ApiFault::SilenceAfter))) {
            Reply::Silence
        } else {
            Reply::Answer(response)
        }
    }

    /// The gates of rate, path and caller.
    fn admit<'a>(
        &mut self,
        now: Timestamp,
        request: &Request,
        route: Option<&'a Route>,
    ) -> Result<&'a Route, Response> {
        if let Some(limit) = self.config.rate_limit {
            let second = now.unix();
            let used = if self.rate.0 == second { self.rate.1 } else { 0 };
            self.rate = (second, used.saturating_add(1).min(limit));
            if used >= limit {
                return Err(with_header(
                    problem(429, "rate_limited", "too many requests in this second"),
                    "retry-after",
                    "1",
                ));
            }
        }
        let route = route.ok_or_else(|| problem(404, "not_found", "no such path"))?;
        if !route.methods().contains(&request.method) {
            let allowed: Vec<_> = route.methods().iter().map(|m| m.as_str()).collect();
            let refused = problem(405, "validation_failed", "no such method on this path");
            return Err(with_header(refused, "allow", &allowed.join(", ")));
        }
        if !matches!(route, Route::Token | Route::Login) {
            self.tokens.admit(now, &self.config, request, route.scope(request.method))?;
        }
        Ok(route)
    }

    fn execute(&mut self, now: Timestamp, request: &Request, route: &Route) -> Outcome {
        use tillway_core::http::Method::{Delete, Get, Patch, Post};
        match (route, request.method) {
            (Route::Token, _) => self.tokens.issue(now, &self.config, request),
            (Route::Login, _) => self.tokens.login(now, &self.config, request),
            (Route::Orders, _) => self.list_orders(request),
            (Route::Order(id), Patch) => self.patch_order(now, id, request),
            (Route::Order(id), _) => self.get_order(id),
            (Route::Shipments(id), _) => self.post_shipment(now, id, request),
            (Route::Customers, Post) => self.post_customer(now, request),
            (Route::Customers, _) => self.list_customers(request),
            (Route::Customer(id), Patch) => self.patch_customer(now, id, request),
            (Route::Customer(id), _) => self.get_customer(id),
            (Route::Products, _) => self.list_products(request),
            (Route::Inventory(sku), Get) => self.get_inventory(sku),
            (Route::Inventory(sku), _) => self.put_inventory(now, sku, request),
            (Route::Webhooks, Post) => self.post_webhook(request),
            (Route::Webhooks, _) => Ok(self.subscriptions.list()),
            (Route::Webhook(id), Delete) => self.delete_webhook(id),
            (Route::Webhook(_), _) => Err(problem(404, "not_found", "no such path")),
        }
    }
}

impl Sandbox for ClaritySandbox {
    fn handle(&mut self, now: Timestamp, request: &Request) -> Reply {
        let route = Route::of(&self.config, request.path());
        let kind = format!("{} {}", request.method.as_str(), route.as_ref().map_or("?", Route::label));
        count(&mut self.counters.requests, &kind);
        match self.reply(now, request, route.as_ref()) {
            Reply::Silence => {
                self.counters.silences += 1;
                Reply::Silence
            }
            Reply::Answer(mut response) => {
                *self.counters.answers.entry(response.status).or_default() += 1;
                if let Some(limit) = self.config.rate_limit {
                    let used = if self.rate.0 == now.unix() { self.rate.1 } else { 0 };
                    let left = limit.saturating_sub(used);
                    for (name, value) in [("limit", limit), ("remaining", left), ("reset", 1)] {
                        response = with_header(response, &format!("ratelimit-{name}"), &value.to_string());
                    }
                }
                Reply::Answer(response)
            }
        }
    }

    fn advance(&mut self, now: Timestamp) {
        self.answers.forget(now - Millis::hours(24));
    }

    fn take_deliveries(&mut self, now: Timestamp) -> Vec<Delivery> {
        self.hooks.take(now, &mut self.counters)
    }

    fn delivered(&mut self, now: Timestamp, id: u64, status: Option<u16>) {
        self.hooks.delivered(now, id, status, &mut self.counters);
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.hooks.next_due()
    }

    fn in_flight(&self) -> usize {
        self.hooks.in_flight()
    }

    fn inject(&mut self, rule: ApiFaultRule) {
        self.faults.inject(rule);
    }

    fn inject_hook(&mut self, rule: HookFaultRule) {
        self.hooks.inject(rule);
    }

    fn down_until(&mut self, until: Timestamp) {
        self.down_until = until;
    }
}
