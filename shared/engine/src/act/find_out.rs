//! Finding out what became of a call whose answer was lost, and what follows from what is found.

use tillway_connectors::port::Call;
use tillway_connectors::{Finding, Observation, Outcome};
use tillway_core::decide::system_of;
use tillway_core::facts::CommandEnd;
use tillway_core::time::Millis;

use super::{Held, REPLAYS, RESENDS, Sending, held_at, note};
use crate::engine::{Engine, WorkError};
use crate::limits::Go;
use crate::ports::Severity;
use crate::records::CommandState;

impl Engine {
    /// Looks for evidence of what became of a call.
    pub(super) async fn find_out(&self, mut held: Held) -> Result<(), WorkError> {
        let now = self.now();
        if matches!(system_of(&held.record.action), "notify") {
            // A notice has no provider to ask, and may have gone out: a second one says less than none.
            let said = "sent, unconfirmed: its sender was interrupted".to_owned();
            return self.end(held, CommandEnd::Done, Observation::default(), said).await;
        }
        let Some((connection, connector, action)) = self.resolve(&held.record) else {
            return self
                .end_parked(held, "connection_missing", None, "its connection or action is not configured")
                .await;
        };
        let CommandState::Unknown { since, settled_by, lookups, stored, replays } = held.record.state.clone()
        else {
            return Ok(());
        };
        let visible = settled_by + connector.lag_of(connection);
        if now < settled_by {
            return self.write(&mut held, settled_by + Millis::secs(1)).await.map(|_| ());
        }
        if now.since(since) > self.config.times.give_up_after {
            let what = "nobody could find out what became of this call; look at the provider's dashboard by our \
                        reference, then replay the item";
            return self.end_parked(held, "outcome_unknown", None, what).await;
        }
        if now.since(since) > Millis::hours(1) && lookups == 5 {
            let order = held.record.listeners.first().map(|l| l.order.to_string());
            let text = format!("the outcome of {} is unknown for more than an hour", held.record.action);
            self.alert("unknown_aging", Severity::Critical, order, text).await;
        }
        if let Go::NotBefore(at) = self.limits.go(&connection.name, held_at(&held.record, action), now) {
            return self.write(&mut held, at).await.map(|_| ());
        }
        // The fence is raised before looking: what was claimed before this can write nothing any more.
        held.record.fence = held.record.fence.saturating_add(1);
        held.record.state =
            CommandState::Unknown { since, settled_by, lookups: lookups.saturating_add(1), stored, replays };
        let again = now + self.widening(lookups);
        if !self.write(&mut held, again).await? {
            return Ok(());
        }
        if action.repeatable {
            held.record.state = CommandState::Pending { not_before: None };
            return self.send(held, Sending::Due).await;
        }
        let prepared = match self.prepared(&mut held, connection, connector)? {
            Ok(bytes) => bytes,
            Err((code, field, what)) => return self.end_parked(held, &code, Some(field), &what).await,
        };
        let secrets = match self.secrets(connection.name.as_str(), false).await {
            Ok(secrets) => secrets,
            Err(error) => return self.without_secrets(held, &error).await,
        };
        let Ok(token) = self.token_for(connection, connector, None).await? else { return Ok(()) };
        let out = self.outbound(connection, connector, None);
        let call = Call {
            connection,
            secrets: &secrets,
            token: token.as_ref(),
            http: &out,
            action: &held.record.action,
            command: &held.record.id,
            generation: held.record.generation,
            prepared: &prepared,
            now,
            limit: self.config.times.call_limit,
        };
        let finding = connector.find_out(call).await;
        let key_lives = held.record.first_sent_at.is_some_and(|t| now.since(t) < connector.key_lifetime());
        match finding {
            Finding::Evidence(Outcome::Unknown { why, .. }) | Finding::StillUnknown { why } => {
                note(&mut held.record, now, &format!("looked up, still unknown: {why}"));
                self.write(&mut held, again).await.map(|_| ())
            }
            Finding::Evidence(Outcome::NotDone { why, .. }) => {
                note(&mut held.record, now, &format!("could not look it up: {why:?}"));
                self.write(&mut held, again).await.map(|_| ())
            }
            Finding::Evidence(outcome) => {
                note(&mut held.record, now, "looked up: found");
                self.settle(held, connection, action, outcome, now, 0).await
            }
            Finding::NotThere if now < visible => {
                note(&mut held.record, now, "looked up: not there yet");
                // It may show long before the lag is over, and somebody waits for it.
                let at = again.min(visible + Millis::secs(1));
                self.write(&mut held, at).await.map(|_| ())
            }
            Finding::NotThere
                if held.record.resends >= RESENDS
                    && now < settled_by + self.widening(held.record.resends) =>
            {
                note(&mut held.record, now, "looked up: it did not happen; tried often enough for now");
                let at = settled_by + self.widening(held.record.resends);
                self.write(&mut held, at).await.map(|_| ())
            }
            Finding::NotThere => {
                note(&mut held.record, now, "looked up: it did not happen");
                held.record.resends = held.record.resends.saturating_add(1);
                if stored || connector.key_lifetime() == Millis(0) {
                    // The key would only give the stored failure again, and nothing happened under it. Where a provider
                    // keeps no keys, the connector is told that this is not the first sending.
                    held.record.generation = held.record.generation.saturating_add(1);
                    held.record.first_sent_at = None;
                }
                held.record.state = CommandState::Pending { not_before: None };
                self.send(held, Sending::LookedUp).await
            }
            Finding::Replay if key_lives && replays < REPLAYS => self.send(held, Sending::Replay).await,
            Finding::Replay
                if !self.restoring()
                    && held.record.first_sent_at.is_none()
                    && self.may_be_done(&held.record) =>
            {
                let what = "nobody can find out whether this was done before the restore from backup; look at the \
                            provider's dashboard: where it was done, drop the item, else replay it";
                self.end_parked(held, "outcome_unknown", None, what).await
            }
            Finding::Replay => {
                note(&mut held.record, now, "key used up; only a read can tell");
                self.write(&mut held, again).await.map(|_| ())
            }
        }
    }

    /// Minutes, then hours, then days.
    pub(super) fn widening(&self, lookups: u32) -> Millis {
        match lookups {
            0 => Millis::secs(10),
            1 => Millis::mins(1),
            2 => Millis::mins(5),
            3 => Millis::mins(20),
            4 | 5 => Millis::hours(1),
            6 | 7 => Millis::hours(4),
            _ => Millis::hours(12),
        }
    }
}
