//! The `Http` port: the one way out. Its live adapter is [`live::LiveHttp`].

pub mod kept;
pub mod live;

use async_trait::async_trait;
use tillway_core::http::{Request, Response};
use tillway_core::time::Millis;

use kept::Kept;

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The connection was never made: not a byte of the request left. Safe to send again.
    #[error("could not connect; nothing was sent")]
    NotSent,
    /// The request may have arrived; no answer did.
    #[error("no answer; the request may have arrived")]
    NoAnswer,
    /// The address is not allowed (private network, plain HTTP, bad URL). Nothing was sent.
    #[error("address refused by configuration; nothing was sent")]
    Forbidden,
}

/// Sends HTTP requests. Never follows redirects, bounds the answer's size, and keeps to the time limit.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends and waits for the whole answer, at most `limit`.
    async fn send(&self, request: Request, limit: Millis) -> Result<Response, HttpError>;

    /// The same of a file: its answer may have `most` bytes, where other answers are bounded more tightly.
    async fn download(&self, request: Request, limit: Millis, _most: usize) -> Result<Response, HttpError> {
        self.send(request, limit).await
    }

    /// What was downloaded on this way out, where it lasts for a whole run.
    fn kept(&self) -> Option<&Kept> {
        None
    }
}
