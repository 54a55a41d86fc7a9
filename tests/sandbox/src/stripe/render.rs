//! Objects as the provider shows them: the members real clients read, with those that never vary here
//! written out. Payments and charges are in `render_charge`.

use std::sync::Arc;

use super::StripeSandbox;
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};
use super::json::{self, Obj};
use super::model::{Customer, Dispute, Endpoint, Metadata, Payout, Refund, Review, Snap, Source, Txn};

/// Paths to show as objects rather than ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Expand(Vec<String>);

impl Expand {
    /// What is to be expanded below a member, if it is to be expanded at all.
    pub(super) fn below(&self, name: &str) -> Option<Self> {
        let fits = |p: &String| {
            let rest = p.strip_prefix(name)?;
            if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('.').map(str::to_owned) }
        };
        let found: Vec<String> = self.0.iter().filter_map(fits).collect();
        (!found.is_empty()).then(|| Self(found.into_iter().filter(|p| !p.is_empty()).collect()))
    }
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The kind of object behind an expandable member.
fn behind(kind: Kind, name: &str) -> Option<Kind> {
    Some(match (kind, name) {
        (Kind::Payment, "latest_charge") => Kind::Charge,
        (Kind::Payment | Kind::Charge, "customer") => Kind::Customer,
        (Kind::Payment | Kind::Charge, "review") => Kind::Review,
        (Kind::Charge, "refunds") => Kind::Refund,
        (Kind::Charge | Kind::Refund | Kind::Payout, "balance_transaction") => Kind::Txn,
        (Kind::Refund, "failure_balance_transaction") => Kind::Txn,
        (Kind::Refund | Kind::Dispute | Kind::Review, "charge") => Kind::Charge,
        (Kind::Charge | Kind::Refund | Kind::Dispute | Kind::Review, "payment_intent") => Kind::Payment,
        (Kind::Txn, "source") => Kind::Other,
        // The source of a balance transaction may be any of them.
        (Kind::Other, "charge") => Kind::Charge,
        (Kind::Other, "payment_intent") => Kind::Payment,
        (Kind::Other, "balance_transaction") => Kind::Txn,
        (Kind::Other, "customer") => Kind::Customer,
        _ => return None,
    })
}

impl StripeSandbox {
    /// Reads and checks `expand[]`.
    pub(super) fn expand(kind: Kind, form: &Node, in_list: bool) -> Result<Expand, ApiError> {
        let mut paths = Vec::new();
        for path in form.items("expand") {
            let refuse =
                || ApiError::invalid(format!("This property cannot be expanded ({path}).")).param("expand");
            let inner = if in_list { path.strip_prefix("data.").ok_or_else(refuse)? } else { path };
            let parts: Vec<&str> = inner.split('.').filter(|p| *p != "data").collect();
            if parts.len() > 4 {
                return Err(ApiError::invalid("You cannot expand more than 4 levels").param("expand"));
            }
            parts.iter().try_fold(kind, |kind, part| behind(kind, part)).ok_or_else(refuse)?;
            paths.push(parts.join("."));
        }
        Ok(Expand(paths))
    }

    pub(super) fn snap(&self, kind: Kind, row: Row) -> Option<Snap> {
        match kind {
            Kind::Customer => self.customers.get(row).cloned().map(Snap::Customer),
            Kind::Payment => self.payments.get(row).cloned().map(Snap::Payment),
            Kind::Charge => self.charges.get(row).cloned().map(Snap::Charge),
            Kind::Refund => self.refunds.get(row).cloned().map(Snap::Refund),
            Kind::Dispute => self.disputes.get(row).cloned().map(Snap::Dispute),
            Kind::Review => self.reviews.get(row).cloned().map(Snap::Review),
            Kind::Txn => self.txns.get(row).cloned().map(Snap::Txn),
            Kind::Payout => self.payouts.get(row).cloned().map(Snap::Payout),
            Kind::Endpoint => self.endpoints.get(row).cloned().map(Snap::Endpoint),
            _ => None,
        }
    }

    /// The row of an id in a path.
    pub(super) fn row_at(&self, kind: Kind, id: &str) -> Result<Row, ApiError> {
        self.find(kind, id).ok_or_else(|| ApiError::missing(kind, id))
    }
    /// The row of an id in a parameter.
    pub(super) fn row_in(&self, kind: Kind, id: &str, param: &str) -> Result<Row, ApiError> {
        self.find(kind, id).ok_or_else(|| ApiError::missing_in(kind, id, param))
    }
    fn find(&self, kind: Kind, id: &str) -> Option<Row> {
        let row = self.ids.row(kind, id)?;
        self.snap(kind, row).map(|_| row)
    }

    /// An object as an answer.
    pub(super) fn shown(&self, kind: Kind, row: Row, form: &Node) -> Result<Doc, ApiError> {
        let expand = Self::expand(kind, form, false)?;
        let snap = self.snap(kind, row).ok_or_else(ApiError::bug)?;
        if expand.is_empty() {
            return Ok(Doc::Plain(snap));
        }
        let mut out = String::new();
        self.write(&mut out, &snap, &expand);
        Ok(Doc::Text(out.into()))
    }

    /// An object without expansions.
    pub(super) fn json(&self, snap: &Snap) -> String {
        let mut out = String::with_capacity(2048);
        self.write(&mut out, snap, &Expand::default());
        out
    }

    pub(super) fn write(&self, out: &mut String, snap: &Snap, expand: &Expand) {
        match snap {
            Snap::Customer(c) => self.write_customer(out, c),
            Snap::Payment(p) => self.write_payment(out, p, expand),
            Snap::Charge(c) => self.write_charge(out, c, expand),
            Snap::Refund(r) => self.write_refund(out, r, expand),
            Snap::Dispute(d) => self.write_dispute(out, d, expand),
            Snap::Review(r) => self.write_review(out, r, expand),
            Snap::Txn(t) => self.write_txn(out, t, expand),
            Snap::Payout(p) => self.write_payout(out, p, expand),
            Snap::Endpoint(e) => self.write_endpoint(out, e),
            Snap::Raw(text) => out.push_str(text),
        }
    }

    /// A member that is an id, or the object where that was asked for.
    pub(super) fn refer(&self, obj: &mut Obj<'_>, expand: &Expand, name: &str, kind: Kind, row: Option<Row>) {
        let Some(row) = row else {
            obj.raw(name, "null");
            return;
        };
        match expand.below(name).and_then(|below| Some((below, self.snap(kind, row)?))) {
            Some((below, snap)) => obj.with(name, |out| self.write(out, &snap, &below)),
            None => obj.text(name, &self.ids.id(kind, row)),
        };
    }

    fn write_customer(&self, out: &mut String, c: &Customer) {
        let mut obj = Obj::new(out);
        obj.text("id", &self.ids.id(Kind::Customer, c.row)).text("object", "customer");
        if c.deleted {
            obj.flag("deleted", true);
            return obj.end();
        }
        obj.raw("address", c.address.as_deref().unwrap_or("null"))
            .int("balance", 0)
            .int("created", c.created);
        obj.fixed(r#""currency":null,"default_source":null,"delinquent":false"#);
        obj.opt("description", c.description.as_deref())
            .raw("discount", "null")
            .opt("email", c.email.as_deref());
        obj.fixed(
            r#""invoice_settings":{"custom_fields":null,"default_payment_method":null,"footer":null,"rendering_options":null}"#,
        );
        obj.flag("livemode", self.config.livemode);
        metadata(&mut obj, &c.metadata);
        obj.opt("name", c.name.as_deref()).opt("phone", c.phone.as_deref()).raw("preferred_locales", "[]");
        obj.raw("shipping", c.shipping.as_deref().unwrap_or("null"));
        obj.fixed(r#""tax_exempt":"none","test_clock":null"#);
        obj.end();
    }

    fn write_refund(&self, out: &mut String, r: &Refund, expand: &Expand) {
        let mut obj = Obj::new(out);
        obj.text("id", &self.ids.id(Kind::Refund, r.row)).text("object", "refund").int("amount", r.amount);
        self.refer(&mut obj, expand, "balance_transaction", Kind::Txn, r.txn);
        self.refer(&mut obj, expand, "charge", Kind::Charge, Some(r.charge));
        obj.int("created", r.created).text("currency", &r.currency);
        obj.fixed(r#""customer":null,"customer_account":null"#);
        obj.fixed(r#""destination_details":{"card":{"type":"refund"},"type":"card"}"#);
        if r.failure_txn.is_some() {
            self.refer(&mut obj, expand, "failure_balance_transaction", Kind::Txn, r.failure_txn);
        }
        if r.failure_reason.is_some() {
            obj.opt("failure_reason", r.failure_reason);
        }
        metadata(&mut obj, &r.metadata);
        self.refer(&mut obj, expand, "payment_intent", Kind::Payment, Some(r.payment));
        obj.opt("payment_method", self.charges.get(r.charge).map(|c| c.payment_method.as_ref()));
        if r.status == "pending" {
            obj.text("pending_reason", "processing");
        }
        obj.opt("reason", r.reason.as_deref()).raw("receipt_number", "null");
        obj.raw("source_transfer_reversal", "null").text("status", r.status).raw("transfer_reversal", "null");
        obj.end();
    }

    fn write_dispute(&self, out: &mut String, d: &Dispute, expand: &Expand) {
        let mut obj = Obj::new(out);
        obj.text("id", &self.ids.id(Kind::Dispute, d.row)).text("object", "dispute").int("amount", d.amount);
        obj.with("balance_transactions", |out| {
            json::array(out, d.txns.iter().filter_map(|t| self.txns.get(*t)), |out, txn| {
                self.write_txn(out, txn, &Expand::default());
            });
        });
        self.refer(&mut obj, expand, "charge", Kind::Charge, Some(d.charge));
        obj.int("created", d.created).text("currency", &d.currency);
        obj.raw("enhanced_eligibility_types", "[]").raw("evidence", "{}");
        obj.with("evidence_details", |out| {
            let mut details = Obj::new(out);
            details.int("due_by", d.created + 9 * 86_400);
            details.fixed(
                r#""enhanced_eligibility":{},"has_evidence":false,"past_due":false,"submission_count":0"#,
            );
            details.end();
        });
        obj.flag("is_charge_refundable", false).flag("livemode", self.config.livemode).raw("metadata", "{}");
        self.refer(&mut obj, expand, "payment_intent", Kind::Payment, Some(d.payment));
        obj.fixed(
            r#""payment_method_details":{"card":{"brand":"visa","case_type":"chargeback","network_reason_code":"10.4"},"type":"card"}"#,
        );
        obj.text("reason", &d.reason).text("status", d.status);
        obj.end();
    }

    fn write_review(&self, out: &mut String, r: &Review, expand: &Expand) {
        let mut obj = Obj::new(out);
        obj.text("id", &self.ids.id(Kind::Review, r.row)).text("object", "review").raw("billing_zip", "null");
        self.refer(&mut obj, expand, "charge", Kind::Charge, Some(r.charge));
        obj.opt("closed_reason", r.closed_reason).int("created", r.created);
        obj.fixed(r#""ip_address":null,"ip_address_location":null"#);
        obj.flag("livemode", self.config.livemode).flag("open", r.closed_reason.is_none());
        obj.text("opened_reason", "rule");
        self.refer(&mut obj, expand, "payment_intent", Kind::Payment, Some(r.payment));
        obj.text("reason", r.closed_reason.unwrap_or("rule")).raw("session", "null");
        obj.end();
    }

    fn write_txn(&self, out: &mut String, t: &Txn, expand: &Expand) {
        let mut obj = Obj::new(out);
        obj.text("id", &self.ids.id(Kind::Txn, t.row)).text("object", "balance_transaction");
        obj.int("amount", t.amount).int("available_on", t.created + 2 * 86_400);
        obj.text("balance_type", "payments").int("created", t.created).text("currency", &t.currency);
        let rate = t.rate.map(|rate| format!("{}.{:04}", rate / 10_000, rate % 10_000));
        obj.raw("description", "null")
            .raw("exchange_rate", rate.as_deref().unwrap_or("null"))
            .int("fee", t.fee);
        obj.with("fee_details", |out| {
            json::array(out, (t.fee != 0).then_some(t), |out, t| {
                let mut fee = Obj::new(out);
                fee.int("amount", t.fee).raw("application", "null").text("currency", &t.currency);
                fee.text("description", "Stripe processing fees").text("type", "stripe_fee");
                fee.end();
            });
        });
        obj.int("net", t.amount - t.fee).text("reporting_category", t.category);
        let (kind, row) = match t.source {
            Source::Charge(row) => (Kind::Charge, Some(row)),
            Source::Refund(row) => (Kind::Refund, Some(row)),
            Source::Dispute(row) => (Kind::Dispute, Some(row)),
            Source::Payout(row) => (Kind::Payout, Some(row)),
            Source::Account => (Kind::Other, None),
        };
        self.refer(&mut obj, expand, "source", kind, row);
        let available = self.now.unix() >= t.created + 2 * 86_400 || t.payout.is_some();
        obj.text("status", if available { "available" } else { "pending" }).text("type", t.kind);
        obj.end();
    }

    fn write_payout(&self, out: &mut String, p: &Payout, expand: &Expand) {
        let mut obj = Obj::new(out);
        obj.text("id", &self.ids.id(Kind::Payout, p.row)).text("object", "payout").int("amount", p.amount);
        obj.int("arrival_date", p.arrival).flag("automatic", true);
        self.refer(&mut obj, expand, "balance_transaction", Kind::Txn, Some(p.txn));
        obj.int("created", p.created).text("currency", &p.currency).text("description", "STRIPE PAYOUT");
        obj.raw("destination", "null");
        self.refer(&mut obj, expand, "failure_balance_transaction", Kind::Txn, p.failure_txn);
        obj.opt("failure_code", p.failure_code).raw("failure_message", "null");
        obj.flag("livemode", self.config.livemode).raw("metadata", "{}").text("method", "standard");
        obj.raw("original_payout", "null");
        obj.text("reconciliation_status", if p.put_together { "completed" } else { "in_progress" });
        obj.fixed(r#""reversed_by":null,"source_type":"card","statement_descriptor":null,"trace_id":null"#);
        obj.text("status", p.status).text("type", "bank_account");
        obj.end();
    }

    fn write_endpoint(&self, out: &mut String, e: &Endpoint) {
        let mut obj = Obj::new(out);
        obj.text("id", &self.ids.id(Kind::Endpoint, e.row)).text("object", "webhook_endpoint");
        obj.opt("api_version", e.api_version.as_deref()).raw("application", "null").int("created", e.created);
        obj.opt("description", e.description.as_deref());
        obj.with("enabled_events", |out| json::array(out, &e.events, |out, event| json::text(out, event)));
        obj.flag("livemode", self.config.livemode);
        metadata(&mut obj, &e.metadata);
        obj.text("status", if e.disabled { "disabled" } else { "enabled" }).text("url", &e.url);
        obj.end();
    }

    /// An error in the provider's shape.
    pub(super) fn error_body(&self, e: &ApiError) -> String {
        let mut out = String::new();
        let mut outer = Obj::new(&mut out);
        outer.with("error", |out| {
            let mut obj = Obj::new(out);
            for (name, value) in [
                ("advice_code", e.advice_code),
                ("code", e.code),
                ("decline_code", e.decline_code),
                ("param", e.param.as_deref()),
            ] {
                if value.is_some() {
                    obj.opt(name, value);
                }
            }
            if let Some(charge) = e.charge {
                obj.text("charge", &self.ids.id(Kind::Charge, charge));
            }
            obj.text("message", &e.message).text("type", e.kind);
            if let Some(payment) = e.payment.and_then(|row| self.payments.get(row)) {
                obj.with("payment_intent", |out| self.write_payment(out, payment, &Expand::default()));
            }
            obj.end();
        });
        outer.end();
        out
    }
}

/// Writes `metadata`.
pub(super) fn metadata(obj: &mut Obj<'_>, metadata: &Metadata) {
    obj.with("metadata", |out| {
        let mut inner = Obj::new(out);
        for (name, value) in metadata.iter() {
            inner.text(name, value);
        }
        inner.end();
    });
}

/// An address or shipping parameter as JSON; `None` where it is missing or unset.
pub(super) fn shipping_json(node: Option<&Node>) -> Option<Arc<str>> {
    let node = node.filter(|n| !n.members().is_empty())?;
    let mut out = String::new();
    let mut obj = Obj::new(&mut out);
    let address = node.get("address").map(address_json);
    obj.raw("address", address.as_deref().unwrap_or("null"));
    for name in ["carrier", "name", "phone", "tracking_number"] {
        obj.opt(name, node.filled(name));
    }
    obj.end();
    Some(out.into())
}

/// An address as JSON.
pub(super) fn address_json(node: &Node) -> String {
    let mut out = String::new();
    let mut obj = Obj::new(&mut out);
    for name in ["city", "country", "line1", "line2", "postal_code", "state"] {
        obj.opt(name, node.filled(name));
    }
    obj.end();
    out
}
