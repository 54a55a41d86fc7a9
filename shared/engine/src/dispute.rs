//! How a dispute ended, said by a person where the gateway never does.
//!
//! The word is a fact and goes the way of all facts, so it is booked, shown and rebuilt like any other. It is numbered: said
//! twice it is one word, and a later one stands. It holds as long as no more money is withdrawn.

use tillway_connectors::capabilities::Support;
use tillway_core::facts::{DisputeStatus, Fact};
use tillway_core::ids::OrderKey;
use tillway_core::money::Money;
use tillway_core::state::{Dispute, OrderState};

use crate::engine::{Engine, WorkError};
use crate::word;

/// What a person says.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    /// Which dispute; the one that is open where none is named.
    pub dispute: Option<&'a str>,
    /// Decided for the merchant.
    pub won: bool,
    /// Who says it.
    pub by: &'a str,
    /// Why, in a few words.
    pub reason: &'a str,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The dispute.
    pub dispute: String,
    /// It was said before, and nothing was sent.
    pub before: bool,
    /// Withdrawn and not given back as the books have it.
    pub withdrawn: Money,
}

/// Why a word was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DisputeError {
    /// Of an order nobody knows, or that belongs to no pair any more.
    #[error("order {0} is not known, or its pair is not configured any more")]
    Order(OrderKey),
    /// The gateway says it.
    #[error(
        "{connection} tells by itself how a dispute ends ({system}); what it says is booked, and nobody else's word. Where a \
         webhook was lost, `tillway sweep` finds it"
    )]
    Told {
        /// Connection.
        connection: String,
        /// System.
        system: &'static str,
    },
    /// Nothing to close.
    #[error("order {order} has no open dispute{}", if .known.is_empty() { String::new() } else { format!("; known: {}", .known.join(", ")) })]
    NoneOpen {
        /// Order.
        order: OrderKey,
        /// Disputes that are not open, with how far they got.
        known: Vec<String>,
    },
    /// Several are open.
    #[error("several disputes of the order are open; say which with --dispute: {}", .0.join(", "))]
    Several(Vec<String>),
    /// The reason.
    #[error("the reason {}", word::FINE)]
    Reason,
    /// Engine.
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// The dispute that is meant.
fn meant<'s>(
    state: &'s OrderState,
    key: &OrderKey,
    named: Option<&str>,
) -> Result<(&'s String, &'s Dispute), DisputeError> {
    let all = || state.disputes.iter().filter(|(id, _)| named.is_none_or(|n| n == id.as_str()));
    let open: Vec<_> = all().filter(|(_, d)| d.standing().is_open()).collect();
    match open.as_slice() {
        [one] => return Ok(*one),
        [] => {}
        several => return Err(DisputeError::Several(several.iter().map(|(id, _)| (*id).clone()).collect())),
    }
    // One that a person closed may be said anew, and said again does no harm.
    let said: Vec<_> = all().filter(|(_, d)| d.word().is_some()).collect();
    match said.as_slice() {
        [one] => Ok(*one),
        _ => {
            let far = |(id, d): (&String, &Dispute)| format!("{id} ({})", name(d.standing()));
            Err(DisputeError::NoneOpen {
                order: key.clone(),
                known: state.disputes.iter().map(far).collect(),
            })
        }
    }
}

const fn name(status: DisputeStatus) -> &'static str {
    match status {
        DisputeStatus::Inquiry => "a question, no money moved",
        DisputeStatus::NeedsResponse => "open",
        DisputeStatus::UnderReview => "under review",
        DisputeStatus::InquiryClosed => "a question, closed",
        DisputeStatus::Prevented => "prevented",
        DisputeStatus::Lost => "lost",
        DisputeStatus::Won => "won",
    }
}

impl Engine {
    /// Takes a person's word about how a dispute of an order ended.
    ///
    /// # Errors
    /// [`DisputeError`]: nothing is open, several are, or the gateway itself tells it. Nothing was changed then.
    pub async fn dispute_close(&self, key: &OrderKey, word: Word<'_>) -> Result<Said, DisputeError> {
        let reason = word.reason.trim();
        if !word::is_fine(reason) {
            return Err(DisputeError::Reason);
        }
        let record = self.order_record(key).await?.ok_or_else(|| DisputeError::Order(key.clone()))?;
        let state = &record.state;
        let pair = state.binding.as_ref().map(|b| &b.pair);
        let pair = self.config.pairs.iter().find(|p| Some(&p.name) == pair);
        let gateway = pair.and_then(|p| self.config.connection(p.gateway.as_str()));
        let (connection, connector) = gateway.ok_or_else(|| DisputeError::Order(key.clone()))?;
        if connector.capabilities().dispute_end != Support::No {
            let (connection, system) = (connection.name.to_string(), connector.system());
            return Err(DisputeError::Told { connection, system });
        }
        let (dispute, known) = meant(state, key, word.dispute)?;
        let withdrawn = Money::new(known.withdrawn(), known.amount.currency);
        let before = known.word().is_some_and(|said| said.won == word.won);
        let said = Said { dispute: dispute.clone(), before, withdrawn };
        if before {
            return Ok(said);
        }
        let nth = known.closed.map_or(0, |said| said.nth).saturating_add(1);
        let fact = Fact::DisputeClosed {
            dispute: dispute.clone(),
            nth,
            won: word.won,
            withdrawals: known.withdrawals(),
            by: word.by.to_owned(),
            reason: reason.to_owned(),
        };
        // Of two words at once the first one counts.
        let id = format!("dispute-close:{dispute}:{nth}");
        self.take_word(&connection.name, key, (id, "tillway.dispute_closed"), fact).await?;
        Ok(said)
    }
}
