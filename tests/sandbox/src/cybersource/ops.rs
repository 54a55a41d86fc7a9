//! The operations there are, and which handler serves each.

use serde_json::Value;
use tillway_core::http::{Method, Request};

use super::body::Body;
use super::errors::ApiError;
use super::gate::Doc;
use super::model::Kind;
use super::{CybersourceSandbox, Manner};

/// Names a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Pay,
    Capture,
    Reverse,
    Refund(Kind),
    Void(Kind),
    TimeoutReversal,
    TimeoutVoid,
    Search,
    Detail,
    Screen,
    CaseAction,
    MakeCustomer,
    Customer,
    ChangeCustomer,
    Instruments,
    MakeInstrument,
    Chargebacks,
    Conversions,
    Download,
    Reports,
    NetFundings,
    Fees,
}

/// An operation.
pub(super) struct Route {
    method: Method,
    /// `POST /pts/v2/payments/{id}/captures`.
    pub(super) operation: &'static str,
    pub(super) op: Op,
}

const fn route(method: Method, operation: &'static str, op: Op) -> Route {
    Route { method, operation, op }
}

use Method::{Get, Patch, Post};

pub(super) const ROUTES: &[Route] = &[
    route(Post, "POST /pts/v2/payments", Op::Pay),
    route(Post, "POST /pts/v2/payments/{id}/captures", Op::Capture),
    route(Post, "POST /pts/v2/payments/{id}/reversals", Op::Reverse),
    route(Post, "POST /pts/v2/captures/{id}/refunds", Op::Refund(Kind::Capture)),
    route(Post, "POST /pts/v2/payments/{id}/refunds", Op::Refund(Kind::Payment)),
    route(Post, "POST /pts/v2/payments/{id}/voids", Op::Void(Kind::Payment)),
    route(Post, "POST /pts/v2/captures/{id}/voids", Op::Void(Kind::Capture)),
    route(Post, "POST /pts/v2/refunds/{id}/voids", Op::Void(Kind::Refund)),
    route(Post, "POST /pts/v2/reversals", Op::TimeoutReversal),
    route(Post, "POST /pts/v2/voids", Op::TimeoutVoid),
    route(Post, "POST /tss/v2/searches", Op::Search),
    route(Get, "GET /tss/v2/transactions/{id}", Op::Detail),
    route(Post, "POST /risk/v1/decisions", Op::Screen),
    route(Post, "POST /risk/v1/decisions/{id}/actions", Op::CaseAction),
    route(Post, "POST /tms/v2/customers", Op::MakeCustomer),
    route(Get, "GET /tms/v2/customers/{customerId}", Op::Customer),
    route(Patch, "PATCH /tms/v2/customers/{customerId}", Op::ChangeCustomer),
    route(Get, "GET /tms/v2/customers/{customerId}/payment-instruments", Op::Instruments),
    route(Post, "POST /tms/v2/customers/{customerId}/payment-instruments", Op::MakeInstrument),
    route(Get, "GET /reporting/v3/chargeback-details", Op::Chargebacks),
    route(Get, "GET /reporting/v3/conversion-details", Op::Conversions),
    route(Get, "GET /reporting/v3/report-downloads", Op::Download),
    route(Get, "GET /reporting/v3/reports", Op::Reports),
    route(Get, "GET /reporting/v3/net-fundings", Op::NetFundings),
    route(Get, "GET /reporting/v3/purchase-refund-details", Op::Fees),
];

/// The ids in a path that fits a template.
fn fits<'a>(template: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let (mut names, mut parts) = (template.split('/'), path.split('/'));
    let mut ids = Vec::new();
    loop {
        match (names.next(), parts.next()) {
            (None, None) => return Some(ids),
            (Some(name), Some(part)) if name.starts_with('{') && !part.is_empty() => ids.push(part),
            (Some(name), Some(part)) if name == part => {}
            _ => return None,
        }
    }
}

/// The operation of a request, and the ids in its path.
pub(super) fn find(method: Method, path: &str) -> Option<(&'static Route, Vec<&str>)> {
    ROUTES.iter().filter(|r| r.method == method).find_map(|route| {
        let template = route.operation.split_once(' ').map_or("", |(_, template)| template);
        Some((route, fits(template, path)?))
    })
}

impl CybersourceSandbox {
    /// What the merchant id that calls does not do though it takes payments.
    fn is_not_refused(&mut self, op: Op) -> Result<(), ApiError> {
        let (what, error) = match (self.config.manner_of(self.caller), op) {
            (Manner::NoCaptures, Op::Capture) => {
                ("captures", ApiError::refuse("PROCESSOR_UNAVAILABLE", "the processor is not available"))
            }
            (Manner::NoReads, Op::Search | Op::Detail) => ("reads", ApiError::unavailable(503)),
            _ => return Ok(()),
        };
        *self.counters.refused_in_manner.entry(what).or_default() += 1;
        Err(error)
    }

    pub(super) fn dispatch(
        &mut self,
        op: Op,
        ids: &[&str],
        body: &Value,
        request: &Request,
    ) -> Result<Doc, ApiError> {
        let query = request.query();
        let id = ids.first().copied().unwrap_or("");
        let body = Body(body);
        self.is_not_refused(op)?;
        let made = |answer: Value| Doc(201, answer, None);
        let found = |answer: Value| Doc(200, answer, None);
        match op {
            Op::Pay => self.pay(body).map(made),
            Op::Capture => self.capture(id, body).map(made),
            Op::Reverse => self.reverse(id, body).map(made),
            Op::Refund(of) => self.refund(of, id, body).map(made),
            Op::Void(of) => self.void(of, id, body).map(made),
            Op::TimeoutReversal => self.timeout_reversal(body).map(made),
            Op::TimeoutVoid => self.timeout_void(body).map(made),
            Op::Search => self.search(body).map(made),
            Op::Detail => self.detail(id).map(found),
            Op::Screen => self.screen(body).map(made),
            Op::CaseAction => self.case_action(id, body).map(made),
            Op::MakeCustomer => self.make_customer(body).map(made),
            Op::Customer => self.customer(id),
            Op::ChangeCustomer => self.change_customer(id, body, request.header("if-match")),
            Op::Instruments => self.instruments(id, query).map(found),
            Op::MakeInstrument => self.make_instrument(id, body).map(made),
            Op::Chargebacks => self.chargeback_details(query).map(found),
            Op::Conversions => self.conversion_details(query).map(found),
            Op::Download => self.download(query, request.header("accept").unwrap_or("")).map(found),
            Op::Reports => self.report_search(query).map(found),
            Op::NetFundings => self.net_fundings(query).map(found),
            Op::Fees => self.purchase_refund_details(query).map(found),
        }
    }
}
