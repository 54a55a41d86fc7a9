//! The narration: what happens at each order, told while it happens.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde::Serialize;
use tillway_core::facts::{Fact, OrderStatus};
use tillway_core::ids::OrderKey;
use tillway_core::time::Timestamp;
use tillway_engine::ports::Key;
use tillway_engine::records::{CommandRecord, LogRecord, Origin};
use tillway_sandbox::clarity::Actor;

use super::gateway::System;
use super::seen::{Seen, describe};
use super::stage::Merchant;
use super::world::World;

/// One line.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// On the demo's clock.
    pub at: String,
    /// The order.
    pub order: String,
    /// `shop`, the gateway, `tillway`, `people`, `sweep`, `world`.
    pub who: &'static str,
    /// What happened.
    pub what: String,
}

/// What was told of an order already.
#[derive(Default)]
struct Told {
    history: usize,
    action: bool,
    payments: BTreeMap<String, String>,
    log: Option<String>,
    notes: BTreeMap<String, usize>,
}

/// The narrator.
pub struct Story {
    /// Prints while it happens.
    loud: bool,
    /// Tells what each look finds new; else only what is told to it.
    curious: bool,
    /// Of the column that says who does something.
    width: usize,
    epoch: Timestamp,
    /// Lines of the present scenario.
    pub lines: Vec<Line>,
    told: BTreeMap<String, Told>,
    notices: usize,
}

/// Writes a line to standard output; a closed pipe is nobody's fault.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Story {
    /// Begins at the stage's first moment.
    pub fn new(loud: bool, epoch: Timestamp, systems: &[&System]) -> Self {
        let width = systems.iter().map(|s| s.key.len()).fold(8, usize::max);
        Self { loud, curious: true, width, epoch, lines: Vec::new(), told: BTreeMap::new(), notices: 0 }
    }

    /// Tells nobody, and reads nothing of its own.
    pub fn silent(epoch: Timestamp) -> Self {
        Self { curious: false, ..Self::new(false, epoch, &[]) }
    }

    /// Heads a scenario.
    pub fn head(&self, name: &str, title: &str) {
        if self.loud {
            say(&format!("\n── {name}: {title}"));
        }
    }

    /// Tells one thing.
    pub fn tell(&mut self, now: Timestamp, order: &str, who: &'static str, what: impl Into<String>) {
        let days = now.since(self.epoch).0.div_euclid(86_400_000);
        let text = now.rfc3339();
        let clock = text.get(11..19).unwrap_or_default();
        let line =
            Line { at: format!("day {days} {clock}"), order: order.to_owned(), who, what: what.into() };
        if self.loud {
            let width = self.width;
            say(&format!("  {}  {:<9} {:<width$} {}", line.at, line.order, line.who, line.what));
        }
        self.lines.push(line);
    }

    /// Tells what is new about an order in all three systems, and what people were told meanwhile.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn catch_up(
        &mut self,
        stage: &dyn World,
        merchant: &Merchant,
        seen: &Seen,
    ) -> anyhow::Result<()> {
        if !self.curious {
            return Ok(());
        }
        let order = seen.shop.order_id.clone();
        let key = OrderKey::of(&merchant.shop, &order);
        let now = stage.now();
        let mut told = self.told.remove(&order).unwrap_or_default();
        let news = self.of_tillway(stage, &key, &mut told).await;
        self.of_gateway(now, seen, &mut told);
        self.of_shop(seen, &mut told);
        self.told.insert(order.clone(), told);
        self.of_people(stage, now, &order);
        news
    }

    fn of_shop(&mut self, seen: &Seen, told: &mut Told) {
        let order = &seen.shop.order_id;
        for change in seen.shop.history.iter().skip(told.history.max(1)) {
            let by = match change.by {
                Actor::Shop => "by the shop itself",
                Actor::Api => "by Tillway",
            };
            self.tell(change.at, order, "shop", format!("status is {} ({by})", change.status.text()));
        }
        told.history = seen.shop.history.len();
        if !told.action && seen.shop.external_ids.contains_key("stripe_next_action") {
            told.action = true;
            self.tell(seen.shop.updated_at, order, "shop", "has the address where the customer confirms");
        }
    }

    fn of_gateway(&mut self, now: Timestamp, seen: &Seen, told: &mut Told) {
        for payment in &seen.payments {
            let words = describe(payment);
            if told.payments.get(&payment.id) != Some(&words) {
                let what = format!("{}: {words}", payment.id);
                self.tell(now, &seen.shop.order_id, seen.system.key, what);
                told.payments.insert(payment.id.clone(), words);
            }
        }
    }

    async fn of_tillway(&mut self, stage: &dyn World, key: &OrderKey, told: &mut Told) -> anyhow::Result<()> {
        let order = key.order_id().to_owned();
        let commands: Vec<(Key, CommandRecord)> = stage.below(key, "cmd#", None).await?;
        for (_, command) in commands {
            let seen = told.notes.entry(command.id.to_string()).or_default();
            for note in command.history.iter().skip(*seen) {
                if worth_telling(&note.what) {
                    // Of a read it means that what a webhook told of is not to be seen yet.
                    let early = command.action.ends_with("read_order") && note.what == "not done: Conflict";
                    let note_text = if early { "not to be seen yet, read again later" } else { &note.what };
                    let what = format!("{}: {note_text}", command.action);
                    self.tell(note.at, &order, "tillway", what);
                }
            }
            *seen = command.history.len();
        }
        for (place, record) in stage.log(key, told.log.as_deref()).await? {
            if let Some(what) = words_of(&record) {
                self.tell(record.at, &order, "tillway", what);
            }
            told.log = Some(place.sk);
        }
        Ok(())
    }

    fn of_people(&mut self, stage: &dyn World, now: Timestamp, order: &str) {
        let sent = stage.notices();
        for notice in sent.iter().skip(self.notices) {
            // Subjects only: a notice's text may name people.
            self.tell(now, order, "people", format!("{} told: {}", notice.audience, notice.subject));
        }
        self.notices = sent.len();
    }
}

/// Notes that say more than "it was sent and answered".
fn worth_telling(note: &str) -> bool {
    ["unknown", "again", "not done", "held back", "looked", "claim", "used up"]
        .iter()
        .any(|w| note.contains(w))
}

/// A decision in a line, or nothing where it only kept books of its own.
fn words_of(record: &LogRecord) -> Option<String> {
    let mut parts: Vec<String> = record.facts.iter().filter_map(words).collect();
    let done = record.why.iter().filter(|w| !w.contains(": skipped") && !w.contains(": parked"));
    parts.extend(done.map(|w| format!("→ {}", short(w))));
    if parts.is_empty() {
        return None;
    }
    let from = match record.origin {
        Origin::Sweep => " (found by the sweep)",
        Origin::Result => " (answer)",
        Origin::Replay => " (by hand)",
        _ => "",
    };
    Some(format!("{}{from}: {}", record.kind, parts.join("; ")))
}

/// `step/object: action` without the object, which is long and says little to people.
fn short(why: &str) -> String {
    match (why.split_once('/'), why.split_once(": ")) {
        (Some((step, _)), Some((head, action))) if head.contains('/') => format!("{step} ({action})"),
        (_, Some((step, action))) => format!("{step} ({action})"),
        _ => why.to_owned(),
    }
}

fn words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::Order(o) => format!("order version {}, {} in all", o.version, o.total),
        Fact::RefundRequested { id, amount, .. } => format!("refund {id} of {amount} asked for"),
        Fact::Customer { id } => format!("customer {id}"),
        Fact::Authorized { amount, .. } => format!("{amount} reserved"),
        Fact::Captured { total, .. } => format!("{total} taken so far"),
        Fact::CaptureMade { amount, .. } => format!("{amount} taken"),
        Fact::AuthorizationEnded { how, .. } => format!("the rest is gone ({how:?})").to_lowercase(),
        Fact::PaymentCancelled { reason, .. } => format!("payment cancelled ({reason})"),
        Fact::AttemptFailed { code, .. } => format!("attempt failed ({code})"),
        Fact::ActionRequired { .. } => "the cardholder must confirm".to_owned(),
        Fact::ReviewOpened { .. } => "held for review".to_owned(),
        Fact::ReviewClosed { outcome, .. } => format!("review over ({outcome:?})").to_lowercase(),
        Fact::Refund { amount, status, .. } => {
            format!("refund of {amount} {}", format!("{status:?}").to_lowercase())
        }
        Fact::Dispute { amount, status, .. } => format!("dispute over {amount}: {status:?}"),
        Fact::DisputeMoved { amount, .. } => format!("dispute moved {amount}"),
        Fact::Parked(item) => format!("PARKED {}: {}", item.code, item.what),
        Fact::Unparked { .. } => "no longer parked".to_owned(),
        Fact::Duplicate => "dropped as a duplicate".to_owned(),
        Fact::StatusChanged { status, reason, .. } if !reason.is_empty() && *status != OrderStatus::Paid => {
            format!("because {reason}")
        }
        _ => return None,
    })
}
