//! Payments and charges as the provider shows them.

use super::StripeSandbox;
use super::ids::Kind;
use super::json::{self, Obj};
use super::model::{Charge, LastError, Outcome, Payment, PaymentStatus};
use super::render::{Expand, metadata};
use super::tokens;

impl StripeSandbox {
    pub(super) fn write_payment(&self, out: &mut String, p: &Payment, expand: &Expand) {
        let id = self.ids.id(Kind::Payment, p.row);
        let mut obj = Obj::new(out);
        obj.text("id", &id).text("object", "payment_intent").int("amount", p.amount);
        obj.int("amount_capturable", p.amount_capturable).raw("amount_details", r#"{"tip":{}}"#);
        obj.int("amount_received", p.amount_received);
        obj.fixed(r#""application":null,"application_fee_amount":null"#);
        obj.with("automatic_payment_methods", |out| {
            if !p.allowed_types.is_empty() {
                return out.push_str("null");
            }
            let mut methods = Obj::new(out);
            methods
                .text("allow_redirects", if p.redirects { "always" } else { "never" })
                .flag("enabled", true);
            methods.end();
        });
        obj.opt_int("canceled_at", p.canceled_at).opt("cancellation_reason", p.cancellation_reason);
        obj.text("capture_method", p.capture.name());
        obj.text("client_secret", &format!("{id}{}", self.ids.id(Kind::Secret, p.row)));
        obj.text("confirmation_method", "automatic").int("created", p.created).text("currency", &p.currency);
        self.refer(&mut obj, expand, "customer", Kind::Customer, p.customer);
        obj.opt("description", p.description.as_deref()).raw("excluded_payment_method_types", "null");
        obj.with("last_payment_error", |out| match &p.last_error {
            Some(error) => self.write_last_error(out, error),
            None => out.push_str("null"),
        });
        self.refer(&mut obj, expand, "latest_charge", Kind::Charge, p.latest_charge);
        obj.flag("livemode", self.config.livemode);
        metadata(&mut obj, &p.metadata);
        obj.with("next_action", |out| match p.status {
            PaymentStatus::RequiresAction => write_next_action(out, &id, p.return_url.as_deref()),
            _ => out.push_str("null"),
        });
        obj.raw("on_behalf_of", "null").opt("payment_method", p.payment_method.as_deref());
        obj.fixed(r#""payment_method_configuration_details":null,"payment_method_options":{"card":{"installments":null,"mandate_options":null,"network":null,"request_three_d_secure":"automatic"}}"#);
        obj.with("payment_method_types", |out| {
            if p.allowed_types.is_empty() {
                return out.push_str(r#"["card","link"]"#);
            }
            json::array(out, p.allowed_types.iter(), |out, name| json::text(out, name));
        });
        obj.raw("processing", "null").opt("receipt_email", p.receipt_email.as_deref());
        self.refer(&mut obj, expand, "review", Kind::Review, p.review);
        obj.opt("setup_future_usage", p.future_usage.as_deref());
        obj.raw("shipping", p.shipping.as_deref().unwrap_or("null"));
        obj.fixed(r#""source":null,"statement_descriptor":null"#);
        obj.opt("statement_descriptor_suffix", p.descriptor_suffix.as_deref())
            .text("status", p.status.name());
        obj.fixed(r#""transfer_data":null,"transfer_group":null"#);
        obj.end();
    }

    fn write_last_error(&self, out: &mut String, e: &LastError) {
        let mut obj = Obj::new(out);
        if let Some(charge) = e.charge {
            obj.text("charge", &self.ids.id(Kind::Charge, charge));
        }
        obj.text("code", e.code);
        if e.decline_code.is_some() {
            obj.opt("decline_code", e.decline_code);
        }
        if e.advice_code.is_some() {
            obj.opt("advice_code", e.advice_code);
        }
        obj.text("message", e.message);
        obj.with("payment_method", |out| {
            let mut method = Obj::new(out);
            method.text("id", &e.payment_method).text("object", "payment_method").text("type", "card");
            method.end();
        });
        obj.text("type", e.kind);
        obj.end();
    }

    pub(super) fn write_charge(&self, out: &mut String, c: &Charge, expand: &Expand) {
        let id = self.ids.id(Kind::Charge, c.row);
        let failed = c.failure.as_ref();
        let mut obj = Obj::new(out);
        obj.text("id", &id).text("object", "charge").int("amount", c.amount);
        obj.int("amount_captured", c.amount_captured).int("amount_refunded", c.amount_refunded);
        obj.fixed(r#""application":null,"application_fee":null,"application_fee_amount":null"#);
        self.refer(&mut obj, expand, "balance_transaction", Kind::Txn, c.txn);
        obj.fixed(r#""billing_details":{"address":{"city":null,"country":null,"line1":null,"line2":null,"postal_code":null,"state":null},"email":null,"name":null,"phone":null,"tax_id":null},"calculated_statement_descriptor":"SANDBOX""#);
        obj.flag("captured", c.captured).int("created", c.created).text("currency", &c.currency);
        self.refer(&mut obj, expand, "customer", Kind::Customer, c.customer);
        obj.opt("description", c.description.as_deref()).flag("disputed", c.disputed);
        obj.raw("failure_balance_transaction", "null").opt("failure_code", failed.map(|f| f.code));
        obj.opt("failure_message", failed.map(|f| f.message)).raw("fraud_details", "{}");
        obj.flag("livemode", self.config.livemode);
        metadata(&mut obj, &c.metadata);
        obj.raw("on_behalf_of", "null")
            .with("outcome", |out| write_outcome(out, c))
            .flag("paid", failed.is_none());
        self.refer(&mut obj, expand, "payment_intent", Kind::Payment, Some(c.payment));
        obj.text("payment_method", &c.payment_method);
        obj.with("payment_method_details", |out| self.write_card(out, c));
        obj.opt("receipt_email", c.receipt_email.as_deref())
            .fixed(r#""receipt_number":null,"receipt_url":null"#);
        // Whole amount given back; where a released remainder does not count, the whole captured amount.
        let whole = if self.config.release_marks_refunded { c.amount } else { c.amount_captured };
        obj.flag("refunded", c.amount_refunded > 0 && c.amount_refunded >= whole);
        if let Some(below) = expand.below("refunds") {
            obj.with("refunds", |out| self.write_refunds(out, &id, c, &below));
        }
        self.refer(&mut obj, expand, "review", Kind::Review, c.review);
        obj.raw("shipping", c.shipping.as_deref().unwrap_or("null"));
        obj.fixed(r#""source":null,"source_transfer":null,"statement_descriptor":null"#);
        obj.opt("statement_descriptor_suffix", c.descriptor_suffix.as_deref());
        obj.text("status", if failed.is_some() { "failed" } else { "succeeded" });
        obj.fixed(r#""transfer_data":null,"transfer_group":null"#);
        obj.end();
    }

    fn write_card(&self, out: &mut String, c: &Charge) {
        let (brand, last4) = tokens::card(&c.payment_method);
        let mut obj = Obj::new(out);
        obj.with("card", |out| {
            let mut card = Obj::new(out);
            card.opt_int("amount_authorized", c.failure.is_none().then_some(c.amount)).text("brand", brand);
            if let Some(before) = c.capture_before {
                card.int("capture_before", before);
            }
            card.fixed(r#""checks":{"address_line1_check":null,"address_postal_code_check":"pass","cvc_check":"pass"},"country":"US","exp_month":8,"exp_year":2030"#);
            card.text("fingerprint", &format!("sandbox{brand}{last4}")).text("funding", "credit");
            card.raw("installments", "null").text("last4", last4).raw("mandate", "null");
            let several =
                if c.multicapture { r#"{"status":"available"}"# } else { r#"{"status":"unavailable"}"# };
            card.raw("multicapture", several).text("network", brand);
            card.fixed(r#""network_token":{"used":false},"network_transaction_id":null"#);
            let three_d_secure = if c.authenticated {
                r#"{"authentication_flow":"challenge","result":"authenticated","result_reason":null,"version":"2.2.0"}"#
            } else {
                "null"
            };
            card.raw("three_d_secure", three_d_secure).raw("wallet", "null");
            card.end();
        });
        obj.text("type", "card");
        obj.end();
    }

    fn write_refunds(&self, out: &mut String, id: &str, c: &Charge, expand: &Expand) {
        let refunds = self.links.get(c.payment).map_or(&[][..], |l| &l.refunds);
        let of_charge =
            refunds.iter().rev().filter_map(|r| self.refunds.get(*r)).filter(|r| r.charge == c.row);
        let mut obj = Obj::new(out);
        obj.text("object", "list").with("data", |out| {
            json::array(out, of_charge, |out, r| {
                self.write(out, &super::model::Snap::Refund(r.clone()), expand);
            });
        });
        obj.flag("has_more", false).text("url", &format!("/v1/charges/{id}/refunds"));
        obj.end();
    }
}

/// Where the shopper has to go; under the caller's own URL, for nobody serves a bank's page here.
fn write_next_action(out: &mut String, id: &str, return_url: Option<&str>) {
    let base = return_url.unwrap_or("https://sandbox.invalid/authenticate");
    let joint = if base.contains('?') { '&' } else { '?' };
    let mut obj = Obj::new(out);
    obj.with("redirect_to_url", |out| {
        let mut target = Obj::new(out);
        target.opt("return_url", return_url).text("url", &format!("{base}{joint}authenticate={id}"));
        target.end();
    });
    obj.text("type", "redirect_to_url");
    obj.end();
}

fn write_outcome(out: &mut String, c: &Charge) {
    let failed = c.failure.as_ref();
    let (kind, network, risk, message) = match c.outcome {
        Outcome::Authorized => ("authorized", "approved_by_network", "normal", "Payment complete."),
        Outcome::ManualReview => (
            "manual_review",
            "approved_by_network",
            "elevated",
            "Stripe evaluated this payment as having elevated risk, and placed it in your manual review queue.",
        ),
        Outcome::Declined => {
            ("issuer_declined", "declined_by_network", "normal", "The bank did not accept the payment.")
        }
        Outcome::Blocked => {
            ("blocked", "not_sent_to_network", "highest", "Stripe blocked this payment as too risky.")
        }
    };
    let reason = match c.outcome {
        Outcome::Authorized => None,
        Outcome::ManualReview => Some("elevated_risk_level"),
        Outcome::Declined => failed.map(|f| f.decline_code),
        Outcome::Blocked => Some("highest_risk_level"),
    };
    let mut obj = Obj::new(out);
    obj.opt("advice_code", failed.and_then(|f| f.advice_code));
    obj.fixed(r#""network_advice_code":null,"network_decline_code":null"#);
    obj.text("network_status", network).opt("reason", reason).text("risk_level", risk);
    obj.text("seller_message", message).text("type", kind);
    obj.end();
}
