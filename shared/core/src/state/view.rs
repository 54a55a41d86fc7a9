//! What flows and mappings see of an order: declared schemas, and the values behind them.
//!
//! The base view is always in scope; a step with `for-each` also sees one object by its own name. An
//! object's key is the identity of the causing fact, so the same fact never makes two instances.

mod schema;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use schema::{ADDRESS, AWAITS, BASE, OBJECTS, PAIR_OPTIONS, personal_part};

use super::OrderState;
use super::routes::attempt_key;
use crate::facts::{AuthorizationEnd, Line, OrderStatus, RefundStatus, ReviewOutcome};
use crate::money::{Currency, Money};
use crate::value::Value;

/// Undone ones as well: whoever compares must know them.
fn capture_ids<'a>(charges: impl IntoIterator<Item = &'a super::Charge>) -> String {
    let ids = charges.into_iter().flat_map(|charge| charge.made.keys());
    ids.map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn line_view(line: &Line, currency: Currency) -> Value {
    let money = |minor| Value::Money(Money::new(minor, currency));
    Value::map([
        ("id", Value::text(line.line_id.clone())),
        ("sku", Value::text(line.sku.clone())),
        ("name", Value::opt_text(line.name.clone())),
        ("quantity", Value::Decimal(line.quantity)),
        ("unit_price", line.unit_price.map_or(Value::Null, Value::Decimal)),
        ("discount", money(line.discount)),
        ("tax", money(line.tax)),
        ("total", money(line.total)),
    ])
}

impl OrderState {
    /// Whether an awaited fact is there.
    #[must_use]
    pub fn has(&self, awaited: &str) -> bool {
        match awaited {
            "order" => self.order.is_some(),
            "payment" => !self.payments.is_empty(),
            "customer" => self.customer.is_some(),
            "authorized" => self.capturable() > 0 || self.captured() > 0,
            "captured" => self.captured() > 0,
            "released" => !self.held() && !self.rejected(),
            "clear_to_capture" => self.has("authorized") && self.has("released"),
            _ => false,
        }
    }

    fn amount(&self, minor: i64) -> Value {
        self.currency().map_or(Value::Null, |c| Value::Money(Money::new(minor, c)))
    }

    /// The base view. `pair` holds the pair's options; `personal` what is known of the person, opened.
    #[must_use]
    pub fn base_view(&self, pair: &BTreeMap<String, String>, personal: Option<&Value>) -> Value {
        let t = |s: &str| Value::text(s);
        let mut order = BTreeMap::new();
        let mut put = |name: &str, value: Value| {
            order.insert(name.to_owned(), value);
        };
        put("known", Value::Bool(self.order.is_some()));
        put("id", t(self.key.order_id()));
        put("cancelled", Value::Bool(self.cancelled_by_shop));
        put("token", Value::opt_text(self.tokens.last().cloned()));
        let status = self.order.as_ref().map(|o| o.status);
        put("shipped", Value::Bool(matches!(status, Some(OrderStatus::Shipped | OrderStatus::Completed))));
        put("guest", Value::Bool(self.order.as_ref().is_some_and(|o| o.guest)));
        if let Some(o) = &self.order {
            put("number", t(&o.number));
            put("total", Value::Money(o.total));
            put("tax", Value::Money(Money::new(o.tax, o.total.currency)));
            put("shipping", Value::Money(Money::new(o.shipping, o.total.currency)));
            put("currency", t(o.total.currency.code()));
            put("status", t(o.status.name()));
            put("customer_ref", Value::opt_text(o.customer_ref.clone()));
            put("gateway_customer", Value::opt_text(o.gateway_customer.clone()));
            put("payment", Value::opt_text(o.payment.clone()));
            put("lines", Value::List(o.lines.iter().map(|line| line_view(line, o.total.currency)).collect()));
        }
        for part in ["customer", "bill_to", "ship_to", "device"] {
            if let Some(value) = personal.and_then(|p| p.get("order")).and_then(|o| o.get(part)) {
                put(part, value.clone());
            }
        }
        let current = self.payment();
        let captured = self.captured();
        let refunded = self.refunded();
        let payment = Value::map([
            ("id", Value::opt_text(current.map(|(id, _)| id.clone()))),
            ("charge", Value::opt_text(current.and_then(|(_, p)| p.charges.keys().last().cloned()))),
            ("authorized", self.amount(self.authorized())),
            ("captured", self.amount(captured)),
            ("reserved", self.amount(current.map_or(0, |(_, p)| p.authorized()))),
            ("taken", self.amount(current.map_or(0, |(_, p)| p.captured()))),
            ("captures", Value::text(capture_ids(current.into_iter().flat_map(|(_, p)| p.charges.values())))),
            ("capturable", self.amount(self.capturable())),
            ("refunded", self.amount(refunded)),
            ("refundable", self.amount(captured.saturating_sub(refunded).max(0))),
            ("disputed", self.amount(self.disputed())),
            ("live", Value::Bool(captured > 0 || self.capturable() > 0)),
            ("lapsed", Value::Bool(self.lapsed())),
            ("cancelled", Value::Bool(current.is_some_and(|(_, p)| p.cancelled.is_some()))),
            ("held", Value::Bool(self.held())),
            ("rejected", Value::Bool(self.rejected())),
            ("reviewed", Value::Bool(!self.reviews.is_empty())),
            ("fits", Value::Bool(self.payment_fits())),
        ]);
        let pair = pair.iter().map(|(k, v)| (k.clone(), t(v))).collect();
        let profile = self.profile_view(personal).map(|profile| ("profile", profile));
        let view = [
            ("order", Value::Map(order)),
            ("payment", payment),
            ("customer", Value::map([("id", Value::opt_text(self.customer.clone()))])),
            ("status", self.status_view()),
            ("pair", Value::Map(pair)),
        ];
        Value::map(view.into_iter().chain(profile))
    }

    fn status_view(&self) -> Value {
        Value::map([
            ("name", Value::text(self.status.name())),
            ("reason", Value::text(self.status_reason.clone())),
            ("seq", Value::Int(i64::from(self.status_seq))),
        ])
    }

    /// Whether there can be objects of a kind at all; of most kinds most orders have none. `true` may be a false
    /// alarm.
    #[must_use]
    pub fn may_have(&self, kind: &str) -> bool {
        match kind {
            "attempt" => !self.tokens.is_empty(),
            "authorization" | "capture" | "doomed_payment" | "decline" | "action" => {
                !self.payments.is_empty()
            }
            "doomed_capture" => self.cancelled_by_shop,
            // Where none is listed, a status may tell of one that is everything.
            "shipment" => self.order.is_some(),
            "refund_request" => !self.refund_requests.is_empty(),
            "refund" | "refund_failure" => !self.refunds.is_empty(),
            "dispute" | "dispute_outcome" => !self.disputes.is_empty(),
            "review" | "review_outcome" | "review_ruling" => !self.reviews.is_empty(),
            "total_change" => !self.total_changes.is_empty(),
            "profile_change" => self.profile.is_some(),
            "instrument" => !self.instruments.is_empty(),
            _ => true,
        }
    }

    /// The keys of [`OrderState::objects`], without building the views.
    #[must_use]
    pub fn object_keys(&self, kind: &str) -> Vec<Cow<'_, str>> {
        fn known<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<Cow<'a, str>> {
            keys.map(|key| Cow::Borrowed(key.as_str())).collect()
        }
        let payments = || self.payments.values();
        let captures = || {
            let charges = payments().flat_map(|p| p.charges.iter().map(move |(id, c)| (p, id, c)));
            let levels = |(p, id, c): (&super::Payment, &String, &super::Charge)| {
                let keys = c.captures.iter().map(|level| c.capture_key(id, *level));
                keys.filter(|key| !p.counts_for_nothing(key)).map(Cow::Owned).collect::<Vec<_>>()
            };
            charges.flat_map(levels).collect()
        };
        match kind {
            "attempt" => {
                let again = self.second_attempts().map(|(key, _)| Cow::Owned(key));
                self.tokens.iter().map(|token| attempt_key(token)).chain(again).collect()
            }
            "authorization" => known(payments().flat_map(|p| p.charges.keys())),
            "capture" => captures(),
            "doomed_capture" if self.cancelled_by_shop => captures(),
            "doomed_capture" => Vec::new(),
            "refund_request" => known(self.refund_requests.keys()),
            "refund" => known(self.refunds.iter().filter(|(_, r)| !r.resent).map(|(id, _)| id)),
            "refund_failure" => {
                known(self.refunds.iter().filter(|(_, r)| !r.status.stands()).map(|(id, _)| id))
            }
            "decline" => {
                let told = payments().filter(|_| !self.is_unsettled());
                known(told.flat_map(|p| &p.failures).map(|f| &f.attempt))
            }
            "dispute" => {
                let views = self.dispute_views(false);
                views.into_iter().map(|(key, _)| Cow::Owned(key)).collect()
            }
            "review" => known(self.reviews.keys()),
            "review_outcome" => {
                known(self.reviews.iter().filter(|(_, r)| r.outcome.is_some()).map(|(id, _)| id))
            }
            "total_change" => self.total_changes.iter().map(|c| Cow::Owned(c.version.to_string())).collect(),
            "short" => self.short().map(|s| Cow::Owned(s.key)).into_iter().collect(),
            "overpaid" => self.overpaid().map(|o| Cow::Owned(o.key)).into_iter().collect(),
            "action" => known(payments().flat_map(|p| &p.actions)),
            "instrument" => known(self.instruments.iter()),
            "status_change" if self.status_seq > 0 => vec![Cow::Owned(self.status_seq.to_string())],
            "status_change" => Vec::new(),
            _ => self.objects(kind, None).into_iter().map(|(key, _)| Cow::Owned(key)).collect(),
        }
    }

    /// The objects of a kind: key (identity of the causing fact) and view, in a stable order.
    #[must_use]
    pub fn objects(&self, kind: &str, personal: Option<&Value>) -> Vec<(String, Value)> {
        match kind {
            "attempt" => self.attempts(),
            "authorization" => self.authorizations(),
            "shipment" => self.shipments(),
            "capture" => self.capture_views(),
            "doomed_capture" if self.cancelled_by_shop => self.capture_views(),
            "doomed_payment" => self.doomed_payments(),
            "refund_request" => self
                .refund_requests
                .iter()
                .map(|(id, r)| {
                    let (capture, whole) = self.capture_for(None, r.amount);
                    let of_capture = capture.as_deref().and_then(|c| self.payment_of_capture(c));
                    let payment = of_capture.or_else(|| self.payment().map(|(id, _)| id));
                    let view = Value::map([
                        ("id", Value::text(id.clone())),
                        ("amount", Value::Money(r.amount)),
                        ("reason", Value::text(r.reason.clone())),
                        ("payment", Value::opt_text(payment.cloned())),
                        ("capture", Value::opt_text(capture)),
                        ("whole", Value::Bool(whole)),
                        ("served", Value::Bool(self.served(id))),
                    ]);
                    (id.clone(), view)
                })
                .collect(),
            "refund" => self.refund_views(|_| true),
            "refund_failure" => self.refund_views(|s| !s.stands()),
            "decline" => self.declines(),
            "dispute" => self.dispute_views(false),
            "dispute_outcome" => self.dispute_views(true),
            "review" => self.review_views(false),
            "review_outcome" => self.review_views(true),
            "review_ruling" => self.review_rulings(),
            "total_change" => self.total_change_views(),
            "short" => self.short_views(),
            "overpaid" => self.overpaid_views(),
            "action" => self.action_views(personal),
            "profile_change" => self.profile_changes(),
            "instrument" => self.instrument_views(),
            "status_change" if self.status_seq > 0 => {
                vec![(self.status_seq.to_string(), self.status_view())]
            }
            _ => Vec::new(),
        }
    }

    fn attempts(&self) -> Vec<(String, Value)> {
        let before = self.payment().and_then(|(_, p)| p.failures.last()).map(|f| f.attempt.clone());
        let one = |(n, token): (usize, &String)| {
            let n = i64::try_from(n).unwrap_or(i64::MAX).saturating_add(1);
            let view = Value::map([
                ("token", Value::text(token.clone())),
                ("n", Value::Int(n)),
                ("failure_before", Value::opt_text(before.clone())),
            ]);
            (attempt_key(token).into_owned(), view)
        };
        let mut out: Vec<(String, Value)> = self.tokens.iter().enumerate().map(one).collect();
        for (key, token) in self.second_attempts() {
            let n = self.tokens.iter().position(|t| t == token).unwrap_or(0);
            out.push((key, one((n, &token.to_owned())).1));
        }
        out
    }

    fn authorizations(&self) -> Vec<(String, Value)> {
        let mut out = Vec::new();
        let captured = self.captured();
        let owed = self.order.as_ref().map_or(i64::MAX, |o| o.total.minor.saturating_sub(captured).max(0));
        for (payment, p) in &self.payments {
            for (id, charge) in &p.charges {
                let currency = charge.authorized.currency;
                let open = if charge.holds() { charge.open(&p.undone) } else { 0 };
                // Money of another currency pays nothing of the order.
                let owed = if self.currency() == Some(currency) { owed } else { 0 };
                let ended = match charge.ended {
                    None => "",
                    Some(AuthorizationEnd::Kept) => "kept",
                    Some(AuthorizationEnd::Released) => "released",
                    Some(AuthorizationEnd::Expired) => "expired",
                    Some(AuthorizationEnd::Voided) => "voided",
                };
                let view = Value::map([
                    ("id", Value::text(id.clone())),
                    ("payment", Value::text(payment.clone())),
                    ("amount", Value::Money(charge.authorized)),
                    ("captured", Value::Money(Money::new(charge.taken(&p.undone), currency))),
                    ("captures", Value::text(capture_ids([charge]))),
                    ("uncaptured", Value::Money(Money::new(open, currency))),
                    ("due", Value::Money(Money::new(open.min(owed), currency))),
                    ("expires_at", charge.expires_at.map_or(Value::Null, Value::Time)),
                    ("ended", Value::text(ended)),
                ]);
                out.push((id.clone(), view));
            }
        }
        out
    }

    fn shipments(&self) -> Vec<(String, Value)> {
        let capturable = self.capturable();
        let one = |s: super::ShipmentAmount| {
            let capture = Money::new(s.amount.minor.min(capturable).max(0), s.amount.currency);
            let view = Value::map([
                ("id", Value::text(s.id.clone())),
                ("amount", Value::Money(s.amount)),
                ("capture", Value::Money(capture)),
                ("last", Value::Bool(s.last)),
            ]);
            (s.id, view)
        };
        self.shipment_amounts().into_iter().map(one).collect()
    }

    fn capture_views(&self) -> Vec<(String, Value)> {
        let one = |capture: super::balance::CaptureLeft| {
            let left = Money::new(capture.left, capture.amount.currency);
            let view = Value::map([
                ("id", Value::text(capture.key.clone())),
                ("capture", Value::opt_text(capture.capture)),
                ("payment", Value::text(capture.payment)),
                ("amount", Value::Money(capture.amount)),
                ("refundable", Value::Money(left)),
                ("whole", Value::Bool(left == capture.amount)),
            ]);
            (capture.key, view)
        };
        self.refundables().into_iter().map(one).collect()
    }

    /// Whether a refund that stands bears this request.
    fn served(&self, request: &str) -> bool {
        self.refunds.values().any(|r| r.status.stands() && r.request.as_deref() == Some(request))
    }

    /// The capture that can give an amount back alone, and whether that is all of it: one that is given back whole
    /// before others.
    fn capture_for(&self, payment: Option<&str>, amount: Money) -> (Option<String>, bool) {
        let all = self.refundables().into_iter();
        let fits = all.filter(|c| payment.is_none_or(|p| p == c.payment));
        let fits = fits.filter(|c| c.amount.currency == amount.currency && c.left >= amount.minor);
        let whole = |c: &super::balance::CaptureLeft| c.amount == amount && c.left == amount.minor;
        let best = fits.filter(|c| c.capture.is_some()).max_by_key(whole);
        best.map_or((None, false), |c| (c.capture.clone(), whole(&c)))
    }

    /// Payments that must not go on: the order was cancelled or a review refused it, and nothing was taken; or the
    /// attempt failed after money was reserved.
    fn doomed_payments(&self) -> Vec<(String, Value)> {
        let all = self.cancelled_by_shop || self.rejected();
        let alive = self.payments.iter().filter(|(_, p)| p.cancelled.is_none() && p.captured() == 0);
        let doomed = alive.filter(|(_, p)| all || p.refused_hold() > 0);
        let one = |(id, p): (&String, &super::Payment)| {
            // Refused once because it was changing, it is tried again when it reserved money since.
            let key = format!("{id}:{}", p.authorized());
            let view = Value::map([
                ("id", Value::text(key.clone())),
                ("payment", Value::text(id.clone())),
                ("amount", p.amount.map_or(Value::Null, Value::Money)),
                ("held", p.held().map_or_else(|| self.amount(0), Value::Money)),
            ]);
            (key, view)
        };
        doomed.map(one).collect()
    }

    fn refund_views(&self, which: impl Fn(RefundStatus) -> bool) -> Vec<(String, Value)> {
        let chosen = self.refunds.iter().filter(|(_, r)| which(r.status) && !r.resent);
        let one = |(id, r): (&String, &super::Refund)| {
            let view = Value::map([
                ("id", Value::text(id.clone())),
                ("payment", Value::text(r.payment.clone())),
                ("amount", Value::Money(r.amount)),
                ("request", Value::opt_text(r.request.clone())),
                ("since", r.since.map_or(Value::Null, Value::Time)),
                ("open", Value::Bool(r.status == RefundStatus::Pending)),
            ]);
            (id.clone(), view)
        };
        chosen.map(one).collect()
    }

    fn declines(&self) -> Vec<(String, Value)> {
        let mut out = Vec::new();
        if self.is_unsettled() {
            return out;
        }
        for (payment, p) in &self.payments {
            for failure in &p.failures {
                let view = Value::map([
                    ("attempt", Value::text(failure.attempt.clone())),
                    ("payment", Value::text(payment.clone())),
                    ("code", Value::text(failure.code.clone())),
                    ("shopper_reason", Value::text(failure.shopper_reason.clone())),
                    ("soft", Value::Bool(failure.soft)),
                    ("again", Value::Bool(self.goes_on(&failure.attempt))),
                ]);
                out.push((failure.attempt.clone(), view));
            }
        }
        out
    }

    fn dispute_views(&self, decided: bool) -> Vec<(String, Value)> {
        use crate::facts::DisputeStatus::{Lost, Won};
        let mut out = Vec::new();
        for (id, d) in &self.disputes {
            let standing = d.standing();
            if decided && !matches!(standing, Lost | Won) {
                continue;
            }
            let won = standing == Won;
            // Words of people: a second one is another outcome, and what opens after one is to be told as well.
            let nth = d.closed.map_or(0, |word| word.nth);
            let key = match (decided, won) {
                (false, _) => id.clone(),
                (true, true) => format!("{id}:won"),
                (true, false) => format!("{id}:lost"),
            };
            let key = match (decided, nth) {
                (true, 2..) => format!("{key}:{nth}"),
                (false, 1..) if standing.is_open() => format!("{id}:again:{nth}"),
                _ => key,
            };
            let view = Value::map([
                ("id", Value::text(id.clone())),
                ("payment", Value::text(d.payment.clone())),
                ("amount", Value::Money(d.amount)),
                ("reason", Value::text(d.reason.clone())),
                ("won", Value::Bool(won)),
            ]);
            out.push((key, view));
        }
        out
    }

    fn review_views(&self, closed: bool) -> Vec<(String, Value)> {
        let chosen = self.reviews.iter().filter(|(_, r)| !closed || r.outcome.is_some());
        let one = |(id, r): (&String, &super::Review)| {
            let view = Value::map([
                ("id", Value::text(id.clone())),
                ("payment", Value::text(r.payment.clone())),
                ("approved", Value::Bool(r.outcome == Some(ReviewOutcome::Approved))),
            ]);
            (id.clone(), view)
        };
        chosen.map(one).collect()
    }

    /// The newest word of a person about each review: one that came before it is carried out no more.
    fn review_rulings(&self) -> Vec<(String, Value)> {
        let ruled = self.reviews.iter().filter_map(|(id, r)| Some((id, r, r.ruling.as_ref()?)));
        let one = |(id, r, ruling): (&String, &super::Review, &super::Ruling)| {
            let decision = if ruling.accept { "accept" } else { "reject" };
            let view = Value::map([
                ("id", Value::text(id.clone())),
                ("payment", Value::text(r.payment.clone())),
                ("decision", Value::text(decision)),
                ("note", Value::text(ruling.note.clone())),
                ("open", Value::Bool(r.outcome.is_none())),
            ]);
            (ruling.key(id), view)
        };
        ruled.map(one).collect()
    }

    fn total_change_views(&self) -> Vec<(String, Value)> {
        let one = |c: &super::TotalChange| {
            let key = c.version.to_string();
            let lowered = c.after.currency == c.before.currency && c.after.minor < c.before.minor;
            let view = Value::map([
                ("id", Value::text(key.clone())),
                ("before", Value::Money(c.before)),
                ("after", Value::Money(c.after)),
                ("lowered", Value::Bool(lowered)),
            ]);
            (key, view)
        };
        self.total_changes.iter().map(one).collect()
    }

    /// Whether the payment that matters was ever made out for the order's present total.
    fn payment_fits(&self) -> bool {
        let total = self.order.as_ref().map(|o| o.total);
        self.payment().zip(total).is_some_and(|((_, payment), total)| payment.was_for(total))
    }

    fn imbalance_since(&self) -> Value {
        self.imbalance.as_ref().map_or(Value::Null, |i| Value::Time(i.since))
    }

    fn short_views(&self) -> Vec<(String, Value)> {
        let one = |s: super::Short| {
            let view = Value::map([
                ("id", Value::text(s.key.clone())),
                ("missing", Value::Money(s.missing)),
                ("raised", Value::Bool(s.raised)),
                ("lapsed", Value::Bool(s.lapsed)),
                ("since", self.imbalance_since()),
            ]);
            (s.key, view)
        };
        self.short().map(one).into_iter().collect()
    }

    fn overpaid_views(&self) -> Vec<(String, Value)> {
        let one = |o: super::Overpaid| {
            let (capture, whole) = self.capture_for(Some(&o.payment), o.refundable);
            let view = Value::map([
                ("capture", Value::opt_text(capture)),
                ("whole", Value::Bool(whole)),
                ("id", Value::text(o.key.clone())),
                ("payment", Value::text(o.payment)),
                ("amount", Value::Money(o.amount)),
                ("refundable", Value::Money(o.refundable)),
                ("lowered", Value::Bool(o.lowered)),
                ("since", self.imbalance_since()),
            ]);
            (o.key, view)
        };
        self.overpaid().map(one).into_iter().collect()
    }

    fn action_views(&self, personal: Option<&Value>) -> Vec<(String, Value)> {
        let url = personal.map_or(Value::Null, |p| p.at("action.url").clone());
        let mut out = Vec::new();
        for (payment, p) in &self.payments {
            for id in &p.actions {
                let view = Value::map([
                    ("id", Value::text(id.clone())),
                    ("payment", Value::text(payment.clone())),
                    ("url", url.clone()),
                ]);
                out.push((id.clone(), view));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{DisputeStatus, Fact, OrderSnapshot};
    use crate::ids::{ConnectionName, OrderKey};
    use crate::money::Currency;
    use crate::time::Timestamp;

    #[test]
    fn keys_alone_are_the_keys_of_the_objects() {
        let gateway = ConnectionName::new("gateway");
        let usd = |minor| Money::new(minor, Currency::parse("USD").unwrap());
        let mut state = OrderState::new(OrderKey::new("shop/A"), Timestamp(0));
        let text = |t: &str| t.to_owned();
        let order = |version, total, status, token: &str| {
            Fact::Order(Box::new(OrderSnapshot {
                order_id: text("A"),
                number: text("1"),
                version,
                placed_at: None,
                status,
                total: usd(total),
                tax: 0,
                shipping: 0,
                lines: Vec::new(),
                shipments: Vec::new(),
                token: Some(text(token)),
                payment: None,
                gateway: None,
                guest: false,
                customer_ref: None,
                gateway_customer: None,
                test: false,
            }))
        };
        let facts = [
            order(1, 500, OrderStatus::PendingPayment, "t1"),
            order(2, 400, OrderStatus::Cancelled, "t2"),
            Fact::RefundRequested { id: text("R"), amount: usd(1), reason: text("other") },
            Fact::Authorized { payment: text("p"), charge: text("c"), amount: usd(400), expires_at: None },
            Fact::Captured { payment: text("p"), charge: text("c"), total: usd(100) },
            Fact::Captured { payment: text("p"), charge: text("c"), total: usd(400) },
            Fact::Payment { payment: text("q"), amount: usd(400) },
            Fact::ActionRequired { payment: text("p"), attempt: text("a") },
            Fact::AttemptFailed {
                payment: text("p"),
                attempt: text("f"),
                code: text("x"),
                shopper_reason: text("x"),
                soft: false,
            },
            Fact::ReviewClosed { review: text("v"), payment: text("p"), outcome: ReviewOutcome::Approved },
            Fact::ReviewRuled { review: text("v"), nth: 1, accept: true, by: text("x"), note: text("y") },
            Fact::Refund {
                refund: text("r"),
                payment: text("p"),
                amount: usd(10),
                status: RefundStatus::Failed,
                moved: true,
                returned: true,
                request: None,
                of: None,
                undoes: None,
                resent: false,
            },
            Fact::Dispute {
                dispute: text("d"),
                payment: text("p"),
                amount: usd(400),
                status: DisputeStatus::Lost,
                reason: text("x"),
            },
            Fact::StatusChanged { seq: 1, status: OrderStatus::Paid, reason: String::new() },
            Fact::Instrument { id: text("i") },
            Fact::Profile(Box::new(crate::profile::CustomerSnapshot {
                customer_id: text("CU"),
                version: 1,
                gateway_customer: None,
                instrument: None,
                digest: text("d"),
            })),
        ];
        for fact in &facts {
            state.apply(fact, &gateway, Timestamp(1));
        }
        for (kind, _) in OBJECTS {
            let from_objects: Vec<String> = state.objects(kind, None).into_iter().map(|(k, _)| k).collect();
            assert_eq!(state.object_keys(kind), from_objects, "{kind}");
            assert!(state.may_have(kind) || from_objects.is_empty(), "{kind}");
            let elsewhere = ["shipment", "short", "overpaid"].contains(kind);
            assert!(!from_objects.is_empty() || elsewhere, "{kind}");
        }
    }
}
