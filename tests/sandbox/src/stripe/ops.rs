//! The calls: method, path, parameters, handler.

use tillway_core::http::Method;

use super::StripeSandbox;
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::Kind;
use super::params::{self, Param};

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    CreateCustomer,
    ListCustomers,
    SearchCustomers,
    UpdateCustomer,
    DeleteCustomer,
    CreatePayment,
    ListPayments,
    SearchPayments,
    UpdatePayment,
    ConfirmPayment,
    CapturePayment,
    CancelPayment,
    ListCharges,
    CreateRefund,
    ListRefunds,
    UpdateRefund,
    ListDisputes,
    ListReviews,
    ApproveReview,
    ListEvents,
    ListTxns,
    ListPayouts,
    CreateEndpoint,
    UpdateEndpoint,
    DeleteEndpoint,
    ListEndpoints,
    /// Any object by its id.
    Retrieve(Kind),
}

/// A call's place and parameters.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) op: Op,
    pub(super) method: Method,
    operation: &'static str,
    pub(super) params: &'static [Param],
}

const fn get(op: Op, operation: &'static str, params: &'static [Param]) -> Route {
    Route { op, method: Method::Get, operation, params }
}
const fn post(op: Op, operation: &'static str, params: &'static [Param]) -> Route {
    Route { op, method: Method::Post, operation, params }
}

/// All calls; a fixed path stands before one with a parameter.
pub(super) const ROUTES: &[Route] = &[
    post(Op::CreatePayment, "POST /v1/payment_intents", params::CREATE_PAYMENT),
    post(Op::ConfirmPayment, "POST /v1/payment_intents/{intent}/confirm", params::CONFIRM_PAYMENT),
    post(Op::CapturePayment, "POST /v1/payment_intents/{intent}/capture", params::CAPTURE_PAYMENT),
    post(Op::CancelPayment, "POST /v1/payment_intents/{intent}/cancel", params::CANCEL_PAYMENT),
    post(Op::UpdatePayment, "POST /v1/payment_intents/{intent}", params::UPDATE_PAYMENT),
    get(Op::ListPayments, "GET /v1/payment_intents", params::LIST_PAYMENTS),
    get(Op::SearchPayments, "GET /v1/payment_intents/search", params::SEARCH),
    get(Op::Retrieve(Kind::Payment), "GET /v1/payment_intents/{intent}", params::RETRIEVE),
    post(Op::CreateRefund, "POST /v1/refunds", params::CREATE_REFUND),
    post(Op::UpdateRefund, "POST /v1/refunds/{refund}", params::UPDATE_REFUND),
    get(Op::ListRefunds, "GET /v1/refunds", params::LIST_REFUNDS),
    get(Op::Retrieve(Kind::Refund), "GET /v1/refunds/{refund}", params::RETRIEVE),
    get(Op::ListCharges, "GET /v1/charges", params::LIST_CHARGES),
    get(Op::Retrieve(Kind::Charge), "GET /v1/charges/{charge}", params::RETRIEVE),
    get(Op::ListEvents, "GET /v1/events", params::LIST_EVENTS),
    get(Op::Retrieve(Kind::Event), "GET /v1/events/{id}", params::NONE),
    post(Op::CreateCustomer, "POST /v1/customers", params::CUSTOMER),
    get(Op::ListCustomers, "GET /v1/customers", params::LIST_CUSTOMERS),
    get(Op::SearchCustomers, "GET /v1/customers/search", params::SEARCH),
    get(Op::Retrieve(Kind::Customer), "GET /v1/customers/{customer}", params::RETRIEVE),
    post(Op::UpdateCustomer, "POST /v1/customers/{customer}", params::CUSTOMER),
    Route {
        op: Op::DeleteCustomer,
        method: Method::Delete,
        operation: "DELETE /v1/customers/{customer}",
        params: params::NONE,
    },
    get(Op::ListDisputes, "GET /v1/disputes", params::LIST_REFUNDS),
    get(Op::Retrieve(Kind::Dispute), "GET /v1/disputes/{dispute}", params::RETRIEVE),
    get(Op::ListReviews, "GET /v1/reviews", params::LIST),
    get(Op::Retrieve(Kind::Review), "GET /v1/reviews/{review}", params::RETRIEVE),
    post(Op::ApproveReview, "POST /v1/reviews/{review}/approve", params::RETRIEVE),
    get(Op::ListTxns, "GET /v1/balance_transactions", params::LIST_TXNS),
    get(Op::Retrieve(Kind::Txn), "GET /v1/balance_transactions/{id}", params::RETRIEVE),
    get(Op::ListPayouts, "GET /v1/payouts", params::LIST_PAYOUTS),
    get(Op::Retrieve(Kind::Payout), "GET /v1/payouts/{payout}", params::RETRIEVE),
    post(Op::CreateEndpoint, "POST /v1/webhook_endpoints", params::CREATE_ENDPOINT),
    get(Op::ListEndpoints, "GET /v1/webhook_endpoints", params::LIST_ENDPOINTS),
    post(Op::UpdateEndpoint, "POST /v1/webhook_endpoints/{webhook_endpoint}", params::UPDATE_ENDPOINT),
    Route {
        op: Op::DeleteEndpoint,
        method: Method::Delete,
        operation: "DELETE /v1/webhook_endpoints/{webhook_endpoint}",
        params: params::NONE,
    },
    get(Op::Retrieve(Kind::Endpoint), "GET /v1/webhook_endpoints/{webhook_endpoint}", params::RETRIEVE),
];

impl Route {
    /// Method and path as the vendor's description names them.
    pub(super) const fn operation(&self) -> &'static str {
        self.operation
    }
    fn path(&self) -> &'static str {
        self.operation.split_once(' ').map_or("", |(_, path)| path)
    }
}

/// The call a path stands for, and the id in it.
pub(super) fn find(method: Method, path: &str) -> Option<(&'static Route, Option<&str>)> {
    ROUTES.iter().filter(|r| r.method == method).find_map(|r| fit(r.path(), path).map(|id| (r, id)))
}

fn fit<'a>(template: &str, path: &'a str) -> Option<Option<&'a str>> {
    let Some((head, rest)) = template.split_once('{') else { return (template == path).then_some(None) };
    let tail = rest.split_once('}').map_or("", |(_, tail)| tail);
    let id = path.strip_prefix(head)?.strip_suffix(tail)?;
    (!id.is_empty() && !id.contains('/')).then_some(Some(id))
}

impl StripeSandbox {
    /// Runs a call whose parameters were checked.
    pub(super) fn dispatch(&mut self, op: Op, id: Option<&str>, form: &Node) -> Result<Doc, ApiError> {
        let id = id.unwrap_or("");
        match op {
            Op::CreateCustomer => self.create_customer(form),
            Op::ListCustomers => self.list_customers(form),
            Op::SearchCustomers => self.search_customers(form),
            Op::UpdateCustomer => self.update_customer(id, form),
            Op::DeleteCustomer => self.delete_customer(id),
            Op::CreatePayment => self.create_payment(form),
            Op::ListPayments => self.list_payments(form),
            Op::SearchPayments => self.search_payments(form),
            Op::UpdatePayment => self.update_payment(id, form),
            Op::ConfirmPayment => self.confirm_payment(id, form),
            Op::CapturePayment => self.capture_payment(id, form),
            Op::CancelPayment => self.cancel_payment(id, form),
            Op::ListCharges => self.list_charges(form),
            Op::CreateRefund => self.create_refund(form),
            Op::ListRefunds => self.list_refunds(form),
            Op::UpdateRefund => self.update_refund(id, form),
            Op::ListDisputes => self.list_disputes(form),
            Op::ListReviews => self.list_reviews(form),
            Op::ApproveReview => self.approve_review(id, form),
            Op::ListEvents => self.list_events(form),
            Op::ListTxns => self.list_txns(form),
            Op::ListPayouts => self.list_payouts(form),
            Op::CreateEndpoint => self.create_endpoint(form),
            Op::ListEndpoints => self.list_endpoints(form),
            Op::UpdateEndpoint => self.update_endpoint(id, form),
            Op::DeleteEndpoint => self.delete_endpoint(id),
            Op::Retrieve(Kind::Endpoint) => self.retrieve_endpoint(id, form),
            Op::Retrieve(Kind::Event) => self.retrieve_event(id),
            Op::Retrieve(kind) => {
                let row = self.row_at(kind, id)?;
                self.shown(kind, row, form)
            }
        }
    }
}
