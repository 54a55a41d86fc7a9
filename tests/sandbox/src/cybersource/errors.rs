//! Error answers in the provider's shapes, which differ by product.

use serde_json::{Value, json};
use tillway_core::time::Timestamp;

/// The shape of an error body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Payments and risk: `{submitTimeUtc,status,reason,message,details}`.
    Payments,
    /// The token vault and what was not found: `{errors:[…]}`.
    Errors,
    /// Reporting: the first without `status`.
    Reporting,
    /// Credentials.
    Credentials,
}

/// What a call is refused with; also what the controls answer when they are asked for the impossible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError(Box<Refusal>);

/// The members of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The vendor's reason, e.g. `EXCEEDS_AUTH_AMOUNT`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Fields at fault.
    pub fields: Vec<String>,
    shape: Shape,
}

impl std::ops::Deref for ApiError {
    type Target = Refusal;
    fn deref(&self) -> &Refusal {
        &self.0
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}: {}", self.status, self.reason, self.fields, self.message)
    }
}
impl std::error::Error for ApiError {}

impl ApiError {
    fn of(status: u16, shape: Shape, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Refusal { status, reason, message: message.into(), fields: Vec::new(), shape }))
    }

    /// A 400 of the payments' shape.
    pub(super) fn refuse(reason: &'static str, message: impl Into<String>) -> Self {
        Self::of(400, Shape::Payments, reason, message)
    }
    /// A field that is not there.
    pub(super) fn missing(field: impl Into<String>) -> Self {
        let mut this = Self::refuse("MISSING_FIELD", "one or more fields missing");
        this.0.fields.push(field.into());
        this
    }
    /// A field that is wrong; `message` is for whoever debugs.
    pub(super) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::refuse("INVALID_DATA", message).at(field)
    }
    /// No such object (or not indexed yet).
    pub(super) fn not_found() -> Self {
        Self::of(404, Shape::Errors, "notFound", "resource not found")
    }
    /// A 400 of the token vault.
    pub(super) fn vault(kind: &'static str, message: impl Into<String>) -> Self {
        Self::of(400, Shape::Errors, kind, message)
    }
    /// An object of the token vault that was deleted.
    pub(super) fn gone() -> Self {
        Self::of(410, Shape::Errors, "notAvailable", "the token is not available: it was deleted")
    }
    /// It was changed since it was read.
    pub(super) fn changed() -> Self {
        Self::of(412, Shape::Errors, "preconditionFailed", "the if-match header does not match the resource")
    }
    /// An error of reporting that names a parameter.
    pub(super) fn reporting(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::of(400, Shape::Reporting, "INVALID_DATA", message).at(field)
    }
    /// A 401; `why` is counted and not told.
    pub(super) fn credentials(why: &'static str) -> Self {
        Self::of(401, Shape::Credentials, why, "Authentication Failed")
    }
    /// A 502 of the payments' shape.
    pub(super) fn server(reason: &'static str) -> Self {
        Self::of(
            502,
            Shape::Payments,
            reason,
            if reason == "SYSTEM_ERROR" { "system error" } else { "timeout" },
        )
    }
    /// Throttled or out of service. The real body's shape was not found.
    pub(super) fn unavailable(status: u16) -> Self {
        let reason = if status == 429 { "TOO_MANY_REQUESTS" } else { "SERVICE_UNAVAILABLE" };
        Self::of(status, Shape::Payments, reason, "try again later")
    }
    /// The sandbox itself is wrong.
    pub(super) fn bug() -> Self {
        Self::server("SYSTEM_ERROR")
    }
    /// Names a field.
    #[must_use]
    pub(super) fn at(mut self, field: impl Into<String>) -> Self {
        self.0.fields.push(field.into());
        self
    }

    /// The body.
    pub(super) fn body(&self, now: Timestamp) -> Value {
        let refusal = &self.0;
        let details: Vec<Value> =
            refusal.fields.iter().map(|field| json!({"field": field, "reason": refusal.reason})).collect();
        let mut body = match refusal.shape {
            Shape::Credentials => return json!({"response": {"rmsg": refusal.message}}),
            Shape::Errors => {
                let mut error = json!({"type": refusal.reason, "message": refusal.message});
                if let (false, Some(error)) = (details.is_empty(), error.as_object_mut()) {
                    let names: Vec<Value> = refusal.fields.iter().map(|f| json!({"name": f})).collect();
                    error.insert("details".into(), names.into());
                }
                return json!({"errors": [error]});
            }
            Shape::Reporting => {
                json!({"submitTimeUtc": time(now), "reason": refusal.reason, "message": refusal.message})
            }
            Shape::Payments => {
                let status = if refusal.status >= 500 { "SERVER_ERROR" } else { "INVALID_REQUEST" };
                json!({"submitTimeUtc": time(now), "status": status, "reason": refusal.reason,
                    "message": refusal.message})
            }
        };
        if !details.is_empty()
            && let Some(members) = body.as_object_mut()
        {
            members.insert("details".into(), details.into());
        }
        body
    }
}

/// `2026-11-20T10:15:30Z`, as the payment APIs write times.
pub(super) fn time(at: Timestamp) -> String {
    let text = at.rfc3339();
    format!("{}Z", text.get(..19).unwrap_or(&text))
}
