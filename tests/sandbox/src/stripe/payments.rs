//! Payments: create, update, confirm, cancel, expire. What a confirmation leads to is in `attempt`.

use std::sync::Arc;

use super::attempt::Terms;
use super::customers::{file, merge_metadata, metadata_key};
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};
use super::model::{Capture, Metadata, Payment, PaymentStatus};
use super::render::shipping_json;
use super::{Links, StripeSandbox, currency, tokens};

fn shared(form: &Node, name: &str) -> Option<Arc<str>> {
    form.filled(name).map(Arc::from)
}

fn set(field: &mut Option<Arc<str>>, form: &Node, name: &str) {
    if form.text(name).is_some() {
        *field = shared(form, name);
    }
}

fn owned(form: &Node, name: &str) -> Arc<[String]> {
    form.items(name).into_iter().map(str::to_owned).collect()
}

/// Applies what create, update and confirm have in common.
fn apply(payment: &mut Payment, form: &Node) {
    set(&mut payment.description, form, "description");
    set(&mut payment.receipt_email, form, "receipt_email");
    set(&mut payment.descriptor_suffix, form, "statement_descriptor_suffix");
    set(&mut payment.future_usage, form, "setup_future_usage");
    set(&mut payment.return_url, form, "return_url");
    if let Some(node) = form.get("shipping") {
        payment.shipping = shipping_json(Some(node));
    }
    if form.get("allowed_payment_method_types").is_some() {
        payment.allowed_types = owned(form, "allowed_payment_method_types");
    }
    if let Some(capture) = form.filled("capture_method") {
        payment.capture = Capture::parse(Some(capture));
    }
    let card = form.get("payment_method_options").and_then(|o| o.get("card"));
    if let Some(asked) = card.and_then(|c| c.text("request_multicapture")) {
        payment.multicapture = asked == "if_available";
    }
    payment.metadata = merge_metadata(&payment.metadata, form);
}

/// Whether a parameter asks for use without the shopper (`true`, `one_off`, `recurring`).
fn off_session(form: &Node) -> bool {
    form.filled("off_session").is_some_and(|v| v != "false")
}

impl StripeSandbox {
    pub(super) fn payment(&self, row: Row) -> Result<Arc<Payment>, ApiError> {
        self.payments.get(row).cloned().ok_or_else(ApiError::bug)
    }
    pub(super) fn payment_mut(&mut self, row: Row) -> Result<&mut Payment, ApiError> {
        self.payments.edit(row).ok_or_else(ApiError::bug)
    }

    fn customer_param(&self, form: &Node) -> Result<Option<Row>, ApiError> {
        let Some(id) = form.filled("customer") else { return Ok(None) };
        let row = self.row_in(Kind::Customer, id, "customer")?;
        match self.customers.get(row) {
            Some(customer) if !customer.deleted => Ok(Some(row)),
            _ => Err(ApiError::missing_in(Kind::Customer, id, "customer")),
        }
    }

    fn index_payment_metadata(&mut self, row: Row) {
        let Some(payment) = self.payments.get(row).cloned() else { return };
        for (name, value) in payment.metadata.iter() {
            file(self.index.payments_by_metadata.entry(metadata_key(name, value)).or_default(), row);
        }
    }

    /// Makes the row, without confirming it.
    pub(super) fn new_payment(&mut self, form: &Node) -> Result<Row, ApiError> {
        let currency = currency::parse(form.text("currency").unwrap_or(""))?;
        let amount = form.int("amount").unwrap_or(0);
        currency::check_charge(&currency, amount)?;
        let customer = self.customer_param(form)?;
        let method = checked_method(form)?;
        let automatic = form.get("automatic_payment_methods");
        let redirects = automatic.and_then(|a| a.text("allow_redirects")) != Some("never");
        let row = self.payments.len();
        let mut payment = Payment {
            row,
            created: self.now.unix(),
            amount,
            amount_capturable: 0,
            amount_received: 0,
            currency: currency.into(),
            customer,
            metadata: Metadata::default(),
            capture: Capture::parse(form.filled("capture_method")),
            multicapture: false,
            status: match method {
                Some(_) => PaymentStatus::RequiresConfirmation,
                None => PaymentStatus::RequiresPaymentMethod,
            },
            payment_method: method,
            description: None,
            receipt_email: None,
            shipping: None,
            descriptor_suffix: None,
            future_usage: None,
            allowed_types: Arc::from([]),
            redirects,
            return_url: None,
            latest_charge: None,
            last_error: None,
            canceled_at: None,
            cancellation_reason: None,
            review: None,
        };
        apply(&mut payment, form);
        let confirming = form.flag("confirm") == Some(true);
        if !confirming && form.get("return_url").is_some() {
            let message = "You can only pass `return_url` when you confirm: set `confirm` to true";
            return Err(ApiError::invalid(message).param("return_url"));
        }
        if confirming {
            self.check_confirmable(&payment, form)?;
        }
        self.payments.push(payment);
        self.links.push(Links::default());
        if let Some(customer) = customer {
            self.index.payments_of.entry(customer).or_default().push(row);
        }
        self.index_payment_metadata(row);
        Ok(row)
    }

    /// What is refused before a confirmation is tried.
    fn check_confirmable(&self, payment: &Payment, form: &Node) -> Result<(), ApiError> {
        if payment.payment_method.is_none() {
            let message = "You cannot confirm this PaymentIntent because it's missing a payment method. You can \
                           either update the PaymentIntent with a payment method and then confirm it again, or \
                           confirm it again directly with a payment method or ConfirmationToken.";
            let error = ApiError::invalid(message).code("payment_intent_unexpected_state");
            let known = self.payments.get(payment.row).is_some();
            return Err(if known { error.payment(payment.row).executed() } else { error });
        }
        // With payment methods chosen in the dashboard, some may redirect, and then the server wants to
        // know where to. Whether `off_session` waives that is from memory.
        let dashboard = payment.allowed_types.is_empty() && payment.redirects;
        if self.config.require_return_url && dashboard && payment.return_url.is_none() && !off_session(form) {
            let message = "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. \
                           Because some of these payment methods might redirect your customer off of your page, you \
                           must provide a `return_url`. If you don't want to accept redirect-based payment methods, \
                           set `automatic_payment_methods[enabled]` to `true` and \
                           `automatic_payment_methods[allow_redirects]` to `never`.";
            return Err(ApiError::invalid(message).param("return_url"));
        }
        Ok(())
    }

    pub(super) fn create_payment(&mut self, form: &Node) -> Result<Doc, ApiError> {
        Self::expand(Kind::Payment, form, false)?;
        let row = self.new_payment(form)?;
        self.emit_of(Kind::Payment, row, "payment_intent.created", None);
        if form.flag("confirm") == Some(true) {
            self.attempt(row, &terms(form))?;
        }
        self.shown(Kind::Payment, row, form)
    }

    pub(super) fn update_payment(&mut self, id: &str, form: &Node) -> Result<Doc, ApiError> {
        let row = self.row_at(Kind::Payment, id)?;
        let before = self.payment(row)?;
        let customer = self.customer_param(form)?;
        let method = checked_method(form)?;
        use PaymentStatus::{RequiresAction, RequiresConfirmation, RequiresPaymentMethod};
        let open = matches!(before.status, RequiresPaymentMethod | RequiresConfirmation | RequiresAction);
        let fixed =
            ["amount", "currency", "capture_method", "customer", "payment_method", "setup_future_usage"];
        if !open && let Some(name) = fixed.into_iter().find(|name| form.get(name).is_some()) {
            let message = format!(
                "This PaymentIntent's {name} could not be updated because it has a status of {}. You may only \
                 update the {name} of a PaymentIntent with one of the following statuses: \
                 requires_payment_method, requires_confirmation, requires_action.",
                before.status.name()
            );
            let error = ApiError::invalid(message).code("payment_intent_unexpected_state");
            return Err(error.param(name).payment(row).executed());
        }
        let currency =
            form.filled("currency").map_or_else(|| Ok(before.currency.to_string()), currency::parse)?;
        let amount = form.int("amount").unwrap_or(before.amount);
        currency::check_charge(&currency, amount)?;
        Self::expand(Kind::Payment, form, false)?;
        let payment = self.payment_mut(row)?;
        apply(payment, form);
        (payment.amount, payment.currency) = (amount, currency.into());
        if method.is_some() {
            payment.payment_method = method;
            payment.status = RequiresConfirmation;
        }
        if customer.is_some() && customer != before.customer {
            payment.customer = customer;
            if let Some(rows) = before.customer.and_then(|c| self.index.payments_of.get_mut(&c)) {
                rows.retain(|r| *r != row);
            }
            if let Some(customer) = customer {
                file(self.index.payments_of.entry(customer).or_default(), row);
            }
        }
        self.index_payment_metadata(row);
        self.shown(Kind::Payment, row, form)
    }

    pub(super) fn confirm_payment(&mut self, id: &str, form: &Node) -> Result<Doc, ApiError> {
        let row = self.row_at(Kind::Payment, id)?;
        let method = checked_method(form)?;
        Self::expand(Kind::Payment, form, false)?;
        let mut after = self.payment(row)?.as_ref().clone();
        use PaymentStatus::{RequiresAction, RequiresConfirmation, RequiresPaymentMethod};
        if !matches!(after.status, RequiresPaymentMethod | RequiresConfirmation | RequiresAction) {
            let status = after.status.name();
            let message = if after.status == PaymentStatus::Succeeded {
                "You cannot confirm this PaymentIntent because it has already succeeded after being previously \
                 confirmed."
                    .to_owned()
            } else {
                format!("You cannot confirm this PaymentIntent because it has a status of {status}.")
            };
            let error = ApiError::invalid(message).code("payment_intent_unexpected_state");
            return Err(error.payment(row).executed());
        }
        apply(&mut after, form);
        if method.is_some() {
            after.payment_method = method;
        }
        self.check_confirmable(&after, form)?;
        *self.payment_mut(row)? = after;
        self.attempt(row, &terms(form))?;
        self.shown(Kind::Payment, row, form)
    }

    pub(super) fn cancel_payment(&mut self, id: &str, form: &Node) -> Result<Doc, ApiError> {
        let row = self.row_at(Kind::Payment, id)?;
        Self::expand(Kind::Payment, form, false)?;
        let reasons = ["abandoned", "duplicate", "fraudulent", "requested_by_customer"];
        let reason = form.filled("cancellation_reason");
        self.cancel(row, reasons.into_iter().find(|r| Some(*r) == reason))?;
        self.shown(Kind::Payment, row, form)
    }

    /// Cancels, releasing what is held.
    pub(super) fn cancel(&mut self, row: Row, reason: Option<&'static str>) -> Result<(), ApiError> {
        let payment = self.payment(row)?;
        if matches!(payment.status, PaymentStatus::Succeeded | PaymentStatus::Canceled) {
            let message = format!(
                "You cannot cancel this PaymentIntent because it has a status of {}. Only a PaymentIntent with one \
                 of the following statuses may be canceled: requires_payment_method, requires_capture, \
                 requires_reauthorization, requires_confirmation, requires_action, processing.",
                payment.status.name()
            );
            let error = ApiError::invalid(message).code("payment_intent_unexpected_state");
            return Err(error.payment(row).executed());
        }
        if payment.amount_received > 0 {
            // Part was captured and stays: only the rest is released. [from memory]
            return self.finish_capture(row);
        }
        let now = self.now.unix();
        let payment = self.payment_mut(row)?;
        payment.status = PaymentStatus::Canceled;
        payment.amount_capturable = 0;
        payment.canceled_at = Some(now);
        payment.cancellation_reason = reason;
        let held =
            payment.latest_charge.filter(|c| self.charges.get(*c).is_some_and(|c| c.failure.is_none()));
        if let Some(charge) = held {
            self.release(charge)?;
        }
        self.close_reviews(row, "canceled");
        self.emit_of(Kind::Payment, row, "payment_intent.canceled", None);
        Ok(())
    }

    /// The hold ran out.
    pub(super) fn expire(&mut self, row: Row) -> Result<(), ApiError> {
        let payment = self.payment(row)?;
        if payment.status != PaymentStatus::RequiresCapture {
            let error =
                ApiError::invalid("Only an authorization can expire").code("payment_intent_unexpected_state");
            return Err(error.payment(row));
        }
        if payment.amount_received > 0 {
            return self.finish_capture(row);
        }
        if let Some(charge) = payment.latest_charge {
            if let Some(charge) = self.charges.edit(charge) {
                charge.released = true;
            }
            self.emit_of(Kind::Charge, charge, "charge.expired", None);
        }
        self.cancel(row, Some("automatic"))
    }

    /// Lets a hold go.
    fn release(&mut self, row: Row) -> Result<(), ApiError> {
        let marks = self.config.release_marks_refunded;
        let charge = self.charges.edit(row).ok_or_else(ApiError::bug)?;
        let expired = charge.released;
        charge.released = true;
        if marks {
            charge.amount_refunded = charge.amount;
            if !expired {
                self.emit_of(Kind::Charge, row, "charge.refunded", None);
            }
        }
        Ok(())
    }
}

fn terms(form: &Node) -> Terms {
    Terms {
        off_session: off_session(form),
        error_on_action: form.flag("error_on_requires_action") == Some(true),
    }
}

/// The payment method parameter, if it names one the sandbox knows.
fn checked_method(form: &Node) -> Result<Option<Arc<str>>, ApiError> {
    let Some(token) = form.filled("payment_method") else { return Ok(None) };
    if tokens::behaviour(token).is_none() {
        return Err(ApiError::invalid(format!("No such PaymentMethod: '{token}'"))
            .code("resource_missing")
            .param("payment_method"));
    }
    Ok(Some(token.into()))
}
