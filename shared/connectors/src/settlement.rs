//! How a gateway says what it settled: batches of a day, and the lines of a batch.
//!
//! A reader brings each source to the convention of `core::settle::line`: amounts in minor units, signed as they
//! change the balance at the gateway. It reads and names; it matches nothing and keeps nothing. The engine asks
//! for whole batches and reads a page again after a crash, so a page has to say the same each time it is read.

mod fault;
pub(crate) mod paged;
pub(crate) mod source;
mod statement;
pub(crate) mod table;
pub(crate) mod values;
pub(crate) mod xml;

use std::collections::BTreeSet;

use async_trait::async_trait;
use tillway_core::doc::Json;
use tillway_core::money::Money;
use tillway_core::settle::{Batch, Day, Kind, SettlementLine};
use tillway_core::time::Millis;
use tillway_core::value::Value;

use crate::config::Connection;
use crate::port::{Call, NotDone};

pub use fault::FileFault;
pub use statement::{BatchSum, Ending, Evidence, Lines, Reader, Statement, Tally};
pub(crate) use statement::{Unfamiliar, Whole};

/// Whoever is not there so long after the day's end is missed: what can be had without it goes on without it, and anything else
/// raises an alarm.
pub const PATIENCE: Millis = Millis::hours(36);

/// How a batch stands at the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchStanding {
    /// Its lines can be read.
    Ready,
    /// It exists and is not finished there; ask again after this long.
    Pending {
        /// At least this long.
        after: Millis,
    },
    /// Its lines can be read, and the bank sent the money back: a later batch will hold the return.
    Failed {
        /// The gateway's code.
        code: String,
    },
    /// The gateway keeps no list of lines for it (a payout made by hand, say): a person has to look.
    Unlisted {
        /// Why, and what to do.
        why: String,
    },
}

/// A batch as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBatch {
    /// The batch. Listed as submitted first and as funded on a later day, it is one batch: the later listing,
    /// with the same id, brings the money.
    pub batch: Batch,
    /// How it stands.
    pub standing: BatchStanding,
}

/// A page of batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchPage {
    /// Batches in any order.
    pub batches: Vec<ListedBatch>,
    /// Where the next page begins; `None`: done.
    pub next: Option<String>,
}

/// A page of a batch's lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinePage {
    /// Lines in the gateway's order.
    pub lines: Vec<SettlementLine>,
    /// Where the next page begins; `None`: done.
    pub next: Option<String>,
    /// The gateway's words that nobody here knows. Their lines are adjustments, which stay open for a person.
    pub unfamiliar: BTreeSet<String>,
    /// What a person should hear of the batch although it can be posted, a sentence each.
    pub remarks: Vec<String>,
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleFault {
    /// The report is not there yet.
    #[error("the report is not there yet; it is asked for again")]
    NotReady {
        /// Ask again after this long.
        after: Millis,
    },
    /// The gateway could not be asked now.
    #[error("the gateway could not be asked now ({why:?})")]
    NotNow {
        /// Why.
        why: NotDone,
        /// Wait at least this long, where the gateway says so.
        after: Option<Millis>,
    },
    /// What came cannot be read as a settlement of this connection and day. Asking again changes nothing.
    #[error(transparent)]
    Unreadable(#[from] FileFault),
}

impl SettleFault {
    /// Stable code for logs and alerts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotReady { .. } => "not_ready",
            Self::NotNow { .. } => "not_now",
            Self::Unreadable(fault) => fault.code,
        }
    }
}

/// What a command of unknown outcome would have moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What a line of it would be.
    pub kind: Kind,
    /// How much, unsigned; `None`: the command does not say.
    pub amount: Option<Money>,
    /// The gateway's id of the payment it is about.
    pub payment: Option<Box<str>>,
    /// Of the authorization or charge.
    pub parent: Option<Box<str>>,
}

/// A gateway's settlement.
#[async_trait]
pub trait Settlement: Send + Sync {
    /// The rules a connection settles by where its shop gives none (`core::settle::Rules`, YAML).
    fn rules(&self, connection: &Connection) -> &'static str;

    /// Lists the batches that settle on a day: funded ones on the day their money reaches the bank, submitted ones
    /// on the day they were submitted. Whose midnight the day has, the connection's settings say. `cursor` goes on
    /// with a page.
    ///
    /// # Errors
    /// [`SettleFault`].
    async fn batches(
        &self,
        call: &Call<'_>,
        day: Day,
        cursor: Option<&str>,
    ) -> Result<BatchPage, SettleFault>;

    /// The day of a batch that an event announces: finished, at the bank, or sent back. `None`: it announces none.
    fn announced(&self, _connection: &Connection, _event_type: &str, _body: Json<'_>) -> Option<Day> {
        None
    }

    /// Reads a page of a batch's lines. The movement to the bank may be among them ([`tillway_core::settle::Kind::Payout`]).
    ///
    /// # Errors
    /// [`SettleFault`].
    async fn lines(
        &self,
        call: &Call<'_>,
        batch: &Batch,
        cursor: Option<&str>,
    ) -> Result<LinePage, SettleFault>;

    /// What the gateway's line of something booked bears as our reference, where that follows from the order. `None`: its lines
    /// bear none, or one that the order does not tell.
    fn reference(&self, _kind: Kind, _order_id: &str) -> Option<Box<str>> {
        None
    }

    /// Whether a batch may have more lines after it was settled, as the list of a day of which something is told late. It is
    /// listed again for some days; what a later run finds new in it is a batch of that run's day.
    fn grows(&self, _batch: &str) -> bool {
        false
    }

    /// What a command moves, by its action and parameters: the line that would prove it. `None`: no line would.
    fn effect(&self, _connection: &Connection, _action: &str, _params: &Value) -> Option<Effect> {
        None
    }
}
