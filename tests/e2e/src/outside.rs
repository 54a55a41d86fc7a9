//! The way out in process: requests go to the sandboxes by host, and are written down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tillway_connectors::http::{Http, HttpError};
use tillway_core::http::{Request, Response};
use tillway_core::time::Millis;
use tillway_engine::ports::Clock;
use tillway_sandbox::clarity::ClaritySandbox;
use tillway_sandbox::stripe::StripeSandbox;
use tillway_sandbox::{Reply, Sandbox};

/// Locks; a poisoned lock is a failed test already.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Host of the shop.
pub const SHOP_HOST: &str = "shop.example";
/// Host of the gateway.
pub const GATEWAY_HOST: &str = "gateway.example";

/// A request that left, and the status it got (`None`: no answer).
#[derive(Clone)]
pub struct Sent {
    /// The request.
    pub request: Request,
    /// The answer's status.
    pub status: Option<u16>,
}

/// [`Http`] over both sandboxes.
pub struct Outside {
    /// The gateway.
    pub stripe: Arc<Mutex<StripeSandbox>>,
    /// The shop.
    pub shop: Arc<Mutex<ClaritySandbox>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What left.
    pub sent: Mutex<Vec<Sent>>,
}

#[async_trait]
impl Http for Outside {
    async fn send(&self, request: Request, limit: Millis) -> Result<Response, HttpError> {
        // As a real call would, this one lets others run.
        tokio::task::yield_now().await;
        let now = self.clock.now();
        let host = request.url.split("://").nth(1).and_then(|r| r.split('/').next()).unwrap_or_default();
        let reply = match host {
            SHOP_HOST => lock(&self.shop).handle(now, &request),
            GATEWAY_HOST => lock(&self.stripe).handle(now, &request),
            _ => return Err(HttpError::NotSent),
        };
        let status = match &reply {
            Reply::Answer(answer) => Some(answer.status),
            Reply::Silence => None,
        };
        lock(&self.sent).push(Sent { request, status });
        tokio::task::yield_now().await;
        match reply {
            Reply::Answer(answer) => Ok(answer),
            Reply::Silence => {
                self.clock.sleep(limit).await;
                Err(HttpError::NoAnswer)
            }
        }
    }
}
