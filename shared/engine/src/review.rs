//! How a case is to end, said by a person here and not at the gateway.
//!
//! The word is a numbered fact. The order's flow carries it out as an effect like any other: sent once, looked up where the
//! answer is lost. Only what the gateway says then ends the review.

use tillway_core::facts::{Fact, ReviewOutcome, StepState};
use tillway_core::ids::OrderKey;
use tillway_core::state::{OrderState, Review};

use crate::engine::{Engine, WorkError};
use crate::word;

/// The object a flow's step is made for each of.
const RULING: &str = "review_ruling";

/// What a person says.
#[derive(Debug, Clone, Copy)]
pub struct Ruling<'a> {
    /// Which review; the one that is open where none is named.
    pub review: Option<&'a str>,
    /// The order goes on.
    pub accept: bool,
    /// Who says it.
    pub by: &'a str,
    /// Why, in a few words.
    pub note: &'a str,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// The review.
    pub review: String,
    /// It was said before, and nothing was sent.
    pub before: bool,
}

/// Why a word was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Of an order nobody knows, or that belongs to no pair any more.
    #[error("order {0} is not known, or its pair is not configured any more")]
    Order(OrderKey),
    /// The gateway, or the flow, has no way for it.
    #[error(
        "{0} of this order decides its reviews by itself: the flow has no step for each `review_ruling`. Decide it there; the \
         order hears of it"
    )]
    Elsewhere(String),
    /// Nothing to decide.
    #[error("order {order} has no open review{}", if .known.is_empty() { String::new() } else { format!("; known: {}", .known.join(", ")) })]
    NoneOpen {
        /// Order.
        order: OrderKey,
        /// Reviews that are over, with how they ended.
        known: Vec<String>,
    },
    /// Several are open.
    #[error("several reviews of the order are open; say which with --review: {}", .0.join(", "))]
    Several(Vec<String>),
    /// The other word is on its way to the gateway.
    #[error(
        "review {0} was decided the other way, and that is on its way to the gateway or its outcome is not known yet; \
         `tillway explain` shows how it goes"
    )]
    UnderWay(String),
    /// The note.
    #[error("the note {}", word::FINE)]
    Note,
    /// Engine.
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// The review that is meant.
fn meant<'s>(
    state: &'s OrderState,
    key: &OrderKey,
    named: Option<&str>,
) -> Result<(&'s String, &'s Review), ReviewError> {
    let all = || state.reviews.iter().filter(|(id, _)| named.is_none_or(|n| n == id.as_str()));
    let open: Vec<_> = all().filter(|(_, r)| r.outcome.is_none()).collect();
    match open.as_slice() {
        [one] => Ok(*one),
        [] => {
            let ended = |(id, r): (&String, &Review)| format!("{id} ({})", name(r.outcome));
            Err(ReviewError::NoneOpen {
                order: key.clone(),
                known: state.reviews.iter().map(ended).collect(),
            })
        }
        several => Err(ReviewError::Several(several.iter().map(|(id, _)| (*id).clone()).collect())),
    }
}

const fn name(outcome: Option<ReviewOutcome>) -> &'static str {
    match outcome {
        None => "open",
        Some(ReviewOutcome::Approved) => "accepted",
        Some(ReviewOutcome::Closed) => "closed",
        Some(ReviewOutcome::Rejected) => "rejected",
    }
}

/// How far a word that stands was carried out: `true` where it was tried and came to nothing, so that it may be said anew.
fn failed(state: &OrderState, key: &str) -> Option<bool> {
    let of_it = |step: &&String| step.split_once('/').is_some_and(|(_, object)| object == key);
    let standing: Vec<&StepState> = state.steps.iter().filter(|(s, _)| of_it(s)).map(|(_, is)| is).collect();
    let out = |is: &&StepState| match is {
        StepState::Issued { .. } => true,
        StepState::Parked { item } => item.starts_with("command:"),
        _ => false,
    };
    if standing.iter().any(out) {
        return Some(false);
    }
    (!standing.is_empty()).then_some(true)
}

impl Engine {
    /// Takes a person's word about how a review of an order is to end.
    ///
    /// # Errors
    /// [`ReviewError`]: nothing is open, several are, or nobody here can decide it. Nothing was changed then.
    pub async fn review_decide(&self, key: &OrderKey, ruling: Ruling<'_>) -> Result<Ruled, ReviewError> {
        let note = ruling.note.trim();
        if !word::is_fine(note) {
            return Err(ReviewError::Note);
        }
        let record = self.order_record(key).await?.ok_or_else(|| ReviewError::Order(key.clone()))?;
        let state = &record.state;
        let binding = state.binding.as_ref().ok_or_else(|| ReviewError::Order(key.clone()))?;
        let pair = self.config.pairs.iter().find(|p| p.name == binding.pair);
        let gateway = pair.and_then(|p| self.config.connection(p.gateway.as_str()));
        let (connection, _) = gateway.ok_or_else(|| ReviewError::Order(key.clone()))?;
        let (bundle, _) = self.flow_of(Some(binding), &binding.flow).await?;
        let acts = bundle.flow(&binding.flow).is_some_and(|flow| {
            flow.steps.iter().any(|s| s.action.money && s.for_each.as_deref() == Some(RULING))
        });
        if !acts {
            return Err(ReviewError::Elsewhere(connection.name.to_string()));
        }
        let (review, known) = meant(state, key, ruling.review)?;
        let said = known.ruling.as_ref();
        let carried = said.and_then(|said| failed(state, &said.key(review)));
        let same = said.is_some_and(|said| said.accept == ruling.accept);
        if same && carried != Some(true) {
            return Ok(Ruled { review: review.clone(), before: true });
        }
        if carried == Some(false) {
            return Err(ReviewError::UnderWay(review.clone()));
        }
        let nth = said.map_or(0, |said| said.nth).saturating_add(1);
        let fact = Fact::ReviewRuled {
            review: review.clone(),
            nth,
            accept: ruling.accept,
            by: ruling.by.to_owned(),
            note: note.to_owned(),
        };
        let id = format!("review-ruled:{review}:{nth}");
        self.take_word(&connection.name, key, (id, "tillway.review_ruled"), fact).await?;
        Ok(Ruled { review: review.clone(), before: false })
    }
}
