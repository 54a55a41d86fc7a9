//! Error answers in the provider's shape.

use std::ops::{Deref, DerefMut};

use super::ids::{Kind, Row};

/// What a call is refused with; also what the controls answer when they are asked for the impossible.
/// Boxed, for almost every result here carries one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError(Box<Refusal>);

/// The members of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// `api_error`, `card_error`, `idempotency_error` or `invalid_request_error`.
    pub kind: &'static str,
    /// Stable code, where there is one.
    pub code: Option<&'static str>,
    /// The issuer's reason, for a `card_error`.
    pub decline_code: Option<&'static str>,
    /// What to make of the decline: `try_again_later`, `do_not_try_again`, `confirm_card_data`.
    pub advice_code: Option<&'static str>,
    /// For people.
    pub message: String,
    /// The parameter at fault.
    pub param: Option<String>,
    /// The payment shown in the error.
    pub(super) payment: Option<Row>,
    /// The failed charge named in the error.
    pub(super) charge: Option<Row>,
    /// Whether execution had begun, so that the answer is stored under the idempotency key.
    pub(super) executed: bool,
}

impl Deref for ApiError {
    type Target = Refusal;
    fn deref(&self) -> &Refusal {
        &self.0
    }
}
impl DerefMut for ApiError {
    fn deref_mut(&mut self) -> &mut Refusal {
        &mut self.0
    }
}
impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}: {}", self.status, self.kind, self.code.unwrap_or("-"), self.message)
    }
}
impl std::error::Error for ApiError {}

impl ApiError {
    /// A refused request, before anything was executed.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            status: 400,
            kind: "invalid_request_error",
            code: None,
            decline_code: None,
            advice_code: None,
            message: message.into(),
            param: None,
            payment: None,
            charge: None,
            executed: false,
        }))
    }
    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
    pub(super) fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }
    pub(super) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
    pub(super) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }
    pub(super) fn payment(mut self, row: Row) -> Self {
        self.payment = Some(row);
        self
    }
    /// Marks the refusal as found during execution: it is stored under the idempotency key.
    pub(super) fn executed(mut self) -> Self {
        self.executed = true;
        self
    }
    /// An object named in the path does not exist.
    pub(super) fn missing(kind: Kind, id: &str) -> Self {
        let message = format!("No such {}: '{id}'", kind.noun());
        Self::invalid(message).status(404).code("resource_missing").param("id")
    }
    /// An object named in a parameter does not exist.
    pub(super) fn missing_in(kind: Kind, id: &str, param: &str) -> Self {
        Self::missing(kind, id).status(400).param(param)
    }
    /// The sandbox lost track of its own objects.
    pub(super) fn bug() -> Self {
        Self::invalid("An unknown error occurred").status(500).kind("api_error")
    }
}
