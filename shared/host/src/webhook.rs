//! The address and the answers of webhooks, the same on one machine and on AWS.
//!
//! | answer | body |
//! |---|---|
//! | of the engine, 2xx | `{"status": code}` |
//! | of the engine, else | `{"error": code}` |
//! | of the front (no such address, method, size) | `{"error": {"code": …, "message": …}}` |

use tillway_engine::receive::Receipt;

/// Seconds in `Retry-After` where the event was not stored.
pub const RETRY_AFTER: u32 = 5;

/// 403: the count, the code and the message for an address that a connection takes nothing from.
pub const ADDRESS: (&str, &str, &str) =
    ("address_refused", "forbidden", "webhooks are not taken from this address");

/// An answer to a webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: serde_json::Value,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl From<Receipt> for Answer {
    fn from(receipt: Receipt) -> Self {
        let key = if receipt.status < 300 { "status" } else { "error" };
        Self {
            status: receipt.status,
            body: serde_json::json!({ key: receipt.code }),
            retry_after: (receipt.status == 503).then_some(RETRY_AFTER),
        }
    }
}

/// The body of an answer that the front gives itself.
#[must_use]
pub fn fault(code: &str, message: &str) -> serde_json::Value {
    serde_json::json!({ "error": { "code": code, "message": message } })
}

/// Connection and topic of `/webhooks/{connection}/{topic}`. Names are plain: what is escaped or nested is
/// nobody's.
#[must_use]
pub fn address(path: &str) -> Option<(&str, &str)> {
    let plain = |name: &str| !name.is_empty() && !name.contains(['/', '%']);
    let (connection, topic) = path.strip_prefix("/webhooks/")?.split_once('/')?;
    (plain(connection) && plain(topic)).then_some((connection, topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_plain() {
        assert_eq!(address("/webhooks/stripe-main/payments"), Some(("stripe-main", "payments")));
        for path in
            ["/webhooks/a", "/webhooks//b", "/webhooks/a/", "/webhooks/a/b/c", "/webhooks/a/%2e", "/a/b", ""]
        {
            assert_eq!(address(path), None, "{path}");
        }
    }

    #[test]
    fn what_was_not_stored_is_to_be_sent_again() {
        let answer = Answer::from(Receipt { status: 503, code: "not_stored" });
        assert_eq!((answer.retry_after, answer.body["error"].as_str()), (Some(5), Some("not_stored")));
        assert_eq!(Answer::from(Receipt { status: 202, code: "accepted" }).body["status"], "accepted");
    }
}
