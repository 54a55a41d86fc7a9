//! Notices to people: sent once, for a second one says less than none.

use tillway_connectors::Observation;
use tillway_connectors::port::NotDone;
use tillway_core::facts::CommandEnd;
use tillway_core::time::Millis;

use super::Held;
use crate::engine::{Engine, PersonAccess, WorkError};
use crate::records::CommandState;

impl Engine {
    pub(super) async fn send_notice(&self, mut held: Held) -> Result<(), WorkError> {
        let now = self.now();
        let params = match (&held.record.params, &held.record.sealed_params, &held.access) {
            (Some(params), _, _) => params.clone(),
            (None, Some(sealed), Some(PersonAccess::Live(key)))
                if let Ok(params) = Self::open_value(key, sealed) =>
            {
                params
            }
            _ => return self.end_parked(held, "person_erased", None, "the person's data was erased").await,
        };
        let notice = match crate::notices::render(&self.config.notices, &held.record, &params) {
            Ok(notice) => notice,
            Err((code, what)) => {
                return self.end_parked(held, code, Some("template".to_owned()), &what).await;
            }
        };
        held.record.attempts = held.record.attempts.saturating_add(1);
        held.record.fence = held.record.fence.saturating_add(1);
        held.record.first_sent_at.get_or_insert(now);
        held.record.summary = format!("notice to {}", notice.audience);
        let deadline = now + self.config.times.call_limit;
        held.record.state = CommandState::Claimed { deadline };
        if !self.write(&mut held, deadline).await? {
            return Ok(());
        }
        let sent = self.ports.notify.notify(notice).await;
        match sent {
            Ok(()) => self.end(held, CommandEnd::Done, Observation::default(), "sent".to_owned()).await,
            // A notice that may have gone out is not sent twice: a second mail says less than none.
            Err(crate::ports::NotifyError::Unknown(why)) => {
                self.end(held, CommandEnd::Done, Observation::default(), format!("sent, unconfirmed: {why}"))
                    .await
            }
            Err(crate::ports::NotifyError::Refused(why)) => {
                let end = CommandEnd::Refused { code: "notice_refused".to_owned() };
                self.end(held, end, Observation::default(), why).await
            }
            Err(crate::ports::NotifyError::NotSent(why)) => {
                if now.since(held.record.created_at) > Millis::hours(24) {
                    let end = CommandEnd::Refused { code: "notice_not_sent".to_owned() };
                    return self.end(held, end, Observation::default(), why).await;
                }
                let at = now + self.backoff(held.record.attempts, &held.record);
                self.postpone(held, at, Some(NotDone::Unavailable), &why).await
            }
        }
    }
}
