//! Explain: for any order what happened, why, what each outside system was told and answered, and what
//! comes next. Everything shown is free of personal data.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use tillway_core::facts::{AuthorizationEnd, CommandEnd, Fact, OrderStatus, Parked, StepState, Unparked};
use tillway_core::ids::{CommandId, ConnectionName, OrderKey};
use tillway_core::journal::Entry;
use tillway_core::time::Timestamp;

use crate::engine::{Engine, WorkError};
use crate::ports::{Item, Key};
use crate::records::{self as rec, CommandRecord, CommandState, LogRecord, OrderRecord, Origin};

/// One line of the time line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// The system it is about: a connection, `tillway` or `books`.
    pub system: String,
    /// What happened, in a sentence.
    pub what: String,
    /// More of it, line by line.
    pub details: Vec<String>,
}

/// Everything there is to say about an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The order, or the profile.
    pub order: String,
    /// Of a profile, or of an order's person: the gateway's customer.
    pub customer: Option<String>,
    /// Its computed status.
    pub status: OrderStatus,
    /// Why.
    pub status_reason: String,
    /// Flow version.
    pub flow: Option<String>,
    /// Reserved, taken, returned, in minor units.
    pub authorized: i64,
    /// Taken, minor units.
    pub captured: i64,
    /// Returned, minor units.
    pub refunded: i64,
    /// ISO 4217.
    pub currency: Option<String>,
    /// The time line.
    pub lines: Vec<Line>,
    /// What waits for a person.
    pub parked: Vec<Parked>,
    /// What comes next.
    pub next: Vec<String>,
}

impl Engine {
    /// Finds an order by key (`shop/A-1001`), by the shop's id, or by a gateway's id; a customer's profile by the shop's
    /// customer id, where no order has it, or by key (`customer@shop/CU-1`).
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn find_order(&self, text: &str) -> Result<Option<OrderKey>, WorkError> {
        let mut candidates = vec![OrderKey::new(text)];
        for pair in &self.config.pairs {
            candidates.push(OrderKey::of(&pair.shop, text));
        }
        candidates.extend(self.config.pairs.iter().map(|pair| OrderKey::of_customer(&pair.shop, text)));
        for candidate in candidates {
            if self.ports.store.get(&[rec::state_key(&candidate)]).await?.iter().any(Option::is_some) {
                return Ok(Some(candidate));
            }
        }
        let id = [text.to_owned()];
        for connection in self.config.connections.keys() {
            if let Some(order) = self.by_alias(connection, &id).await? {
                return Ok(Some(order));
            }
        }
        Ok(None)
    }

    /// Explains an order.
    ///
    /// # Errors
    /// [`WorkError`]; `None` where nothing is known of it.
    pub async fn explain(&self, order: &OrderKey) -> Result<Option<Explanation>, WorkError> {
        let items = self.order_items(order).await?;
        let mut record: Option<OrderRecord> = None;
        let mut lines = Vec::new();
        let mut commands: Vec<CommandRecord> = Vec::new();
        let mut shared: BTreeSet<CommandId> = BTreeSet::new();
        let mut entries: Vec<Entry> = Vec::new();
        for item in &items {
            let sk = item.key.sk.as_str();
            if sk == "state" {
                record = Some(serde_json::from_slice(&item.body)?);
            } else if sk.starts_with("log#") || sk.starts_with("note#") {
                let log: LogRecord = serde_json::from_slice(&item.body)?;
                shared.extend(log.facts.iter().filter_map(|f| match f {
                    Fact::Step { state: StepState::Issued { command }, .. } => Some(command.clone()),
                    _ => None,
                }));
                lines.push(log_line(&log));
            } else if sk.starts_with("cmd#") {
                commands.push(serde_json::from_slice(&item.body)?);
            } else if sk.starts_with("jrn#") {
                entries.push(serde_json::from_slice(&item.body)?);
            }
        }
        let Some(record) = record else { return Ok(None) };
        lines.extend(entries.iter().map(entry_line));
        lines.extend(self.settlement_lines(&entries).await?);
        let own: BTreeSet<CommandId> = commands.iter().map(|c| c.id.clone()).collect();
        if let Some(person) = &record.state.person {
            let keys: Vec<Key> = shared
                .difference(&own)
                .map(|id| rec::command_key(order, Some(person), id))
                .take(100)
                .collect();
            if !keys.is_empty() {
                for item in self.ports.store.get(&keys).await?.into_iter().flatten() {
                    commands.push(serde_json::from_slice(&item.body)?);
                }
            }
        }
        for command in &commands {
            lines.extend(command_lines(command));
        }
        // Same instant: what came in, then what it booked, then what was sent for it.
        lines.sort_by_key(|l| (l.at, rank(&l.system)));
        let state = &record.state;
        let mut next = Vec::new();
        for (step, standing) in &state.steps {
            match standing {
                StepState::Waiting { since } => next.push(format!("{step} waits since {since}")),
                StepState::Issued { command } => {
                    next.push(issued(step, commands.iter().find(|c| c.id == *command)))
                }
                _ => {}
            }
        }
        if let Some(at) = record.wake_at {
            next.push(format!("looked at again at {at}"));
        }
        let parked: Vec<Parked> = state.parked.values().cloned().collect();
        next.extend(parked.iter().map(|p| format!("waits for a person: {} ({}): {}", p.id, p.code, p.what)));
        if next.is_empty() {
            next.push("nothing: the flow is finished until something new comes in".to_owned());
        }
        Ok(Some(Explanation {
            order: order.to_string(),
            customer: state.customer.clone(),
            status: state.status,
            status_reason: state.status_reason.clone(),
            flow: state
                .binding
                .as_ref()
                .map(|b| format!("{} @ {}", b.flow, b.hash.as_str().get(..12).unwrap_or(""))),
            authorized: state.authorized(),
            captured: state.captured(),
            refunded: state.refunded(),
            currency: state.currency().map(|c| c.code().to_owned()),
            lines,
            parked,
            next,
        }))
    }

    /// Everything stored in an order's partition.
    pub(crate) async fn order_items(&self, order: &OrderKey) -> Result<Vec<Item>, WorkError> {
        let pk = rec::order_pk(order);
        let mut out = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&pk, "", after.as_deref(), 500).await?;
            out.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(out),
            }
        }
    }
}

fn rank(system: &str) -> u8 {
    match system {
        "books" => 1,
        s if s.starts_with('→') => 2,
        _ => 0,
    }
}

fn log_line(log: &LogRecord) -> Line {
    let came = match log.origin {
        Origin::Webhook => "webhook",
        Origin::Sweep => "found by the sweep, its webhook never came",
        Origin::Result => "answer to our command",
        Origin::Wake => "time came",
        Origin::Replay => "a person",
        Origin::Triage => "triage",
    };
    let mut what = format!("{} ({came}", log.kind);
    if let Some(created) = log.created_at {
        let late = log.received_at.since(created).0 / 1000;
        if late > 60 {
            what.push_str(&format!(", {late} s after it happened"));
        }
    }
    what.push(')');
    let mut details: Vec<String> = log.facts.iter().filter_map(sentence).collect();
    details.extend(log.why.iter().map(|w| format!("· {w}")));
    Line { at: log.at, system: log.connection.to_string(), what, details }
}

fn entry_line(entry: &Entry) -> Line {
    let leg = |p: &tillway_core::journal::Posting| {
        let side = if p.amount.minor >= 0 { "Dr" } else { "Cr" };
        let amount = tillway_core::money::Money::new(p.amount.minor.saturating_abs(), p.amount.currency);
        format!("{side} {} {amount}", p.role.name())
    };
    Line {
        at: entry.at,
        system: "books".to_owned(),
        what: format!("{}: {}", entry.memo, entry.postings.iter().map(leg).collect::<Vec<_>>().join(", ")),
        details: Vec::new(),
    }
}

fn command_lines(command: &CommandRecord) -> Vec<Line> {
    let title = if command.summary.is_empty() { command.action.clone() } else { command.summary.clone() };
    let line = |note: &rec::CommandNote| Line {
        at: note.at,
        system: format!("→ {}", command.connection),
        what: format!("{title}: {}", note.what),
        details: Vec::new(),
    };
    command.history.iter().map(line).collect()
}

fn issued(step: &str, command: Option<&CommandRecord>) -> String {
    match command.map(|c| (&c.state, c)) {
        Some((CommandState::Unknown { since, lookups, .. }, _)) => {
            format!(
                "{step}: its outcome is unknown since {since}; looked up {lookups} time(s), nothing is sent twice"
            )
        }
        Some((CommandState::Pending { not_before: Some(at) }, c)) => {
            let why = c.last_not_done.map(|w| format!(" ({w:?})")).unwrap_or_default();
            format!("{step}: tried again at {at}{why}")
        }
        Some((CommandState::Claimed { deadline }, _)) => format!("{step}: being sent, until {deadline}"),
        Some((CommandState::Ended { .. }, _)) => format!("{step}: answered, on its way back"),
        _ => format!("{step}: about to be sent"),
    }
}

/// A fact in a sentence; `None` for those that only keep the machine going.
#[must_use]
pub fn sentence(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::Order(o) => {
            format!("order {} is {} at {} (version {})", o.number, o.status.name(), o.total, o.version)
        }
        Fact::RefundRequested { id, amount, .. } => format!("the shop asks to refund {amount} ({id})"),
        Fact::Customer { id } => format!("the gateway's customer is {id}"),
        Fact::CustomerLost { id } => format!("the gateway's customer {id} is gone, or another person's"),
        Fact::Profile(c) => match &c.gateway_customer {
            Some(id) => format!("customer {} points to {id} (version {})", c.customer_id, c.version),
            None => format!("customer {} (version {})", c.customer_id, c.version),
        },
        Fact::Instrument { id } => format!("reusable token {id}"),
        Fact::Payment { payment, amount } => format!("payment {payment} for {amount}"),
        Fact::Routed { payment, route } => format!("payment {payment} lies with merchant id {route}"),
        Fact::RouteChosen { choice, .. } => choice.to_string(),
        Fact::RouteEnded { step, end, .. } => format!("{step}: at its route it ended {}", end.name()),
        Fact::Authorized { charge, amount, expires_at, .. } => match expires_at {
            Some(at) => format!("{amount} reserved by {charge} until {at}"),
            None => format!("{amount} reserved by {charge}"),
        },
        Fact::Captured { charge, total, .. } => format!("{total} taken of {charge} in all"),
        Fact::CaptureMade { charge, capture, amount, .. } => {
            format!("{amount} taken of {charge} by capture {capture}")
        }
        Fact::AuthorizationEnded { charge, how: AuthorizationEnd::Kept, .. } => {
            format!("what is left of {charge} is taken by nobody; the gateway keeps it until it runs out")
        }
        Fact::AuthorizationEnded { charge, how, .. } => format!("what was left of {charge} is gone: {how:?}"),
        Fact::PaymentCancelled { payment, reason } => format!("payment {payment} is cancelled: {reason}"),
        Fact::AttemptFailed { attempt, code, .. } => format!("attempt {attempt} failed: {code}"),
        Fact::ActionRequired { .. } => "the cardholder must confirm (3-D Secure)".to_owned(),
        Fact::ReviewOpened { review, .. } => format!("held for review {review}"),
        Fact::ReviewClosed { review, outcome, .. } => format!("review {review} ended: {outcome:?}"),
        Fact::Refund { refund, amount, status, .. } => format!("refund {refund} of {amount}: {status:?}"),
        Fact::Dispute { dispute, amount, status, reason, .. } => {
            format!("dispute {dispute} over {amount}: {status:?} {reason}")
        }
        Fact::DisputeMoved { dispute, amount, fee, .. } => {
            format!("dispute {dispute} moved {amount}, fee {fee} minor units")
        }
        Fact::DisputeClosed { dispute, won, by, reason, .. } => {
            let how = if *won { "won" } else { "lost" };
            format!("{by} says that dispute {dispute} is {how}: {reason}")
        }
        Fact::ReviewRuled { review, accept, by, note, .. } => {
            let what = if *accept { "accept" } else { "reject" };
            format!("{by} says to {what} review {review}: {note}")
        }
        Fact::Bound { pair, flow, .. } => format!("belongs to pair {pair}, flow {flow}"),
        Fact::StatusChanged { status, reason, .. } if reason.is_empty() => {
            format!("status is now {}", status.name())
        }
        Fact::StatusChanged { status, reason, .. } => format!("status is now {} ({reason})", status.name()),
        Fact::CommandEnded { step, end, .. } => match end {
            CommandEnd::Done => format!("{step} is done"),
            CommandEnd::Refused { code } => format!("{step} was refused: {code}"),
            CommandEnd::Parked { code } => format!("{step} was given up: {code}"),
            CommandEnd::Unsent { code } => format!("{step} could not be sent: {code}"),
        },
        Fact::Parked(p) => format!(
            "parked: {} ({}{})",
            p.what,
            p.code,
            p.field.as_ref().map(|f| format!(", {f}")).unwrap_or_default()
        ),
        Fact::Unparked { id, how } => match how {
            Unparked::Replayed { by } => format!("{by} let {id} run again"),
            Unparked::Dropped { by, reason } => format!("{by} dropped {id}: {reason}"),
            Unparked::Resolved => format!("{id} resolved itself"),
        },
        Fact::Duplicate => "the same event again; nothing changed".to_owned(),
        Fact::NothingNew => "says nothing new".to_owned(),
        Fact::Person { .. } | Fact::Step { .. } | Fact::CardBrand { .. } => return None,
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let currency = self.currency.as_deref().unwrap_or("");
        let exact = |minor: i64| match ConnectionName::new(currency)
            .as_str()
            .parse::<tillway_core::money::Currency>()
        {
            Ok(c) => tillway_core::money::Money::new(minor, c).to_string(),
            Err(_) => minor.to_string(),
        };
        if OrderKey::new(self.order.as_str()).is_customer() {
            let customer = self.customer.as_deref().unwrap_or("none yet");
            writeln!(f, "profile {}: the gateway's customer is {customer}", self.order)?;
        } else {
            writeln!(f, "order {}: {} {}", self.order, self.status.name(), self.status_reason)?;
            writeln!(
                f,
                "reserved {}, taken {}, returned {}",
                exact(self.authorized),
                exact(self.captured),
                exact(self.refunded)
            )?;
        }
        if let Some(flow) = &self.flow {
            writeln!(f, "flow {flow}")?;
        }
        writeln!(f)?;
        for line in &self.lines {
            writeln!(f, "{}  {:<16} {}", line.at, line.system, line.what)?;
            for detail in &line.details {
                writeln!(f, "{:<26}{:<16}   {detail}", "", "")?;
            }
        }
        writeln!(f, "\nnext:")?;
        for next in &self.next {
            writeln!(f, "  {next}")?;
        }
        Ok(())
    }
}
