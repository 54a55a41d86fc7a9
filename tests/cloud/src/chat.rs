//! Where staff are told: takes whatever is posted and keeps it.

use tillway_core::http::Request;
use tillway_core::time::Timestamp;
use tillway_sandbox::{ApiFaultRule, Delivery, HookFaultRule, Reply, Sandbox};

/// A chat room.
#[derive(Default)]
pub struct Chat {
    /// What was posted.
    pub posts: Vec<String>,
}

impl Sandbox for Chat {
    fn handle(&mut self, _: Timestamp, request: &Request) -> Reply {
        self.posts.push(String::from_utf8_lossy(&request.body).into_owned());
        Reply::Answer(tillway_core::http::Response { status: 200, headers: Vec::new(), body: b"ok".to_vec() })
    }
    fn advance(&mut self, _: Timestamp) {}
    fn take_deliveries(&mut self, _: Timestamp) -> Vec<Delivery> {
        Vec::new()
    }
    fn delivered(&mut self, _: Timestamp, _: u64, _: Option<u16>) {}
    fn next_due(&self) -> Option<Timestamp> {
        None
    }
    fn in_flight(&self) -> usize {
        0
    }
    fn inject(&mut self, _: ApiFaultRule) {}
    fn inject_hook(&mut self, _: HookFaultRule) {}
    fn down_until(&mut self, _: Timestamp) {}
}
