//! A person's word about an order: a fact like any other, so it is booked, shown and rebuilt like any other.

use tillway_core::facts::Fact;
use tillway_core::ids::{ConnectionName, OrderKey};
use tillway_core::pan;

use crate::engine::{Engine, WorkError};
use crate::records::{Event, EventBody, Origin};

/// Longest reason: it stays in the order's history.
const LONGEST: usize = 200;

/// What a reason may be, for the messages that refuse one.
pub(crate) const FINE: &str =
    "has 1 to 200 characters on one line and no card number; it stays in the order's history";

/// Whether a reason, trimmed, may stay in an order's history.
pub(crate) fn is_fine(reason: &str) -> bool {
    let plain = (1..=LONGEST).contains(&reason.chars().count()) && !reason.chars().any(char::is_control);
    plain && pan::find(reason).is_empty()
}

impl Engine {
    /// Tells an order what a person says. `id`: of two events that bear it the first one counts.
    pub(crate) async fn take_word(
        &self,
        connection: &ConnectionName,
        key: &OrderKey,
        (id, kind): (String, &str),
        fact: Fact,
    ) -> Result<(), WorkError> {
        let event = Event {
            connection: connection.clone(),
            id,
            kind: kind.to_owned(),
            origin: Origin::Replay,
            received_at: self.now(),
            created_at: None,
            replay: 0,
            group: key.order_id().to_owned(),
            redacted: Vec::new(),
            body: EventBody::Told { order: key.clone(), facts: vec![fact] },
        };
        if self.send_events(&[event]).await { Ok(()) } else { Err(WorkError::NotSent) }
    }
}
