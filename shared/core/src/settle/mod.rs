//! Settlement: what the gateway says it settled, against what the books expect of it.
//!
//! ```text
//! journal ──▶ Expected ─┐
//!                       ├─▶ settle ──▶ Outcome: groups, explained, open, evidence, exceptions
//! reports ──▶ lines ────┘                 │
//!                                         ├─▶ certify ──▶ Certificate (ids, sums, rule, hash)
//! batch ──────────────────▶ entries ──────┤
//!                                         └─▶ check ────▶ Verdict: post, or Rejections: post nothing
//! ```
//! All of it is pure: no clock (the caller says what day it is), no I/O, integers only.
//!
//! # Expectations
//! Every capture, refund and movement of a dispute that the journal holds is an [`Expected`] line with a due
//! day ([`Rules::due`]); a fee that the gateway writes on a line of its own is one by rule
//! ([`Rules::fee_line_of`]). An effect of unknown outcome is one too ([`Standing::Unknown`]): a line that
//! names it by gateway id or by our reference proves that it happened ([`Outcome::evidence`]); looks alone
//! never match it, and it is never missing. A refund is not named by its payment, for others refund too.
//!
//! # Tiers
//! A line looks for its expectation tier by tier ([`Tier`]): by the gateway's id of the object itself, of what
//! it belongs to, of the payment; by our reference; by amount, currency, day and card; by amount, currency
//! and day where one side does not name the card. What a tier decides, a later one does not touch. Items that
//! share a tier's key make a bucket. In a bucket three steps follow each other:
//! 1. *pairs* of the same kind and amount;
//! 2. *sums*, exact to the minor unit: one line for several expectations (captures settled together, refunds
//!    netted) or several lines for one (a charge and its uncaptured part, a capture paid out in two). Kinds may
//!    mix where an id or a reference holds them together;
//! 3. *pairs within a tolerance*, which names the account that takes the difference.
//!
//! In each step the best choice is that of the most groups, then of the least days apart, counted as squares
//! (of a group, its furthest member), so that one common delay is better than a short and a long one; plain
//! days could not tell these apart. A booked expectation goes before one of unknown outcome. The choice is
//! exact (`packing`): a table over subsets of at most 14 items gives every group that is in some best choice.
//! **Taken is what every best choice agrees on.** What they do not agree on stays open as ambiguous, all
//! candidates named, and no weaker tier is asked: a tie by gateway id is not broken by looks.
//!
//! Against inventing matches:
//! - two items that each name an object of their own, and neither the other's, do not match by anything weaker;
//! - where the gateway id agrees and the amount or the currency does not, neither item is matched by our
//!   reference or by looks any more: the difference is the finding;
//! - by looks, references, payments and cards that both name must agree;
//! - several lines that only together equal several expectations stay open, as does what is too much alike.
//!
//! A line that is left beside a match of the same kind and amount under the same name is a duplicate.
//! Everything else that stays open keeps its nearest miss and the reason ([`Miss`]); two that are each other's
//! nearest under one name are one exception: amount, currency, or late.
//!
//! # What holds
//! - *No order matters.* Items are ranked by id before anything is decided; the tests run permutations.
//! - *Exact.* Up to 12 items the tests compare with a matcher that tries every set of groups (`brute`). Bounds:
//!   14 items that are tied to each other by possible groups of one step, and in step 2 fourteen in the bucket;
//!   16,384 pairs in a bucket. Beyond them nothing is guessed, the items go on to the next tier, and where
//!   none decides the reason is [`Reason::TooMany`].
//! - *Each once.* A line and an expectation is in one group at most; a line id that comes twice counts once and
//!   is reported.
//! - *Checked by another.* [`check::check`] shares no matching code. It verifies each certificate's hash over all
//!   fields of its items, its shape, sums, tolerance, window and what it claims to be matched by; that every
//!   line is matched, explained or open; that the lines' net is the payout; that what the books held in clearing
//!   for these lines, with the batch's entries, is zero in every currency. [`check::check_run`] says the same of
//!   every line and expectation of a run. What they cannot see is whether a better match existed: that is what
//!   the oracle is for.
//! - *Said by a person.* What stays open a person may accept ([`accepted`]): the item is explained by a sealed word that names who, when,
//!   why and the account, and the checker verifies it like a certificate.
//! - *Posted once.* [`entries()`] books only what the journal lacks, under ids made of the provider's ids. An open
//!   line goes to suspense, so that a funded batch always leaves clearing at zero, and comes back out once a
//!   later run explains it. A batch that was only submitted posts nothing and is closed as submitted until a
//!   net-funding record or a line of the bank's statement gives it a payout; fees that only that record tells
//!   are given as lines of the batch.
//!
//! # Size
//! A pass is O(n log n), the bounded search aside, and needs only the items of one tier that share keys. So a
//! large run spreads items over files by [`line_partition`] and [`expected_partition`] (equal keys give equal
//! numbers), runs [`pass`] on each file, hands the groups to [`Conclusion::take`] and writes what is left open,
//! with its flag and miss, into the files of the next tier; [`Conclusion::conclude`] takes the rest. Nothing
//! spans partitions, because a group lives within one key of one tier; the tests compare with a run in
//! memory. Where gateways give ids, all but a few in a hundred items are gone after the first tier. Ids have to
//! be made unique before the first pass ([`settle`] does it in memory); the copies go to
//! [`Conclusion::copies`].
//!
//! A settlement run, which needs certificates and entries as well, takes another way: what the gateway's own ids settle by
//! themselves ([`plain`]) is taken out section by section, and what is left is matched in one piece.
//!
//! [`report`] says what became of a day, [`watch`] what is out of the ordinary in it. [`market`] invents months of trade from a seed with every class of exception planted, for tests and benches.

pub mod accepted;
mod books;
mod bucket;
pub mod certificate;
pub mod check;
mod cut_off;
mod entries;
mod line;
pub mod market;
mod matching;
mod near;
mod outcome;
mod packing;
pub mod plain;
pub mod rates;
pub mod report;
mod rule_book;
mod rules;
pub mod watch;

#[cfg(test)]
mod brute;
#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod matching_tests;

pub use books::expected_of;
pub use cut_off::CutOff;
pub use entries::{ToBook, entries, line_entries};
pub use line::{
    Batch, Card, Day, Expected, Funding, Ids, Kind, SECTIONS, SettlementLine, Standing, section_of,
};
pub use matching::{Conclusion, expected_partition, line_partition, pass, settle};
pub use outcome::{
    Ambiguous, Class, Evidence, Exception, Explained, Group, Miss, Open, Outcome, Pass, Reason, Tier,
    Undecided,
};
pub use rule_book::RuleBook;
pub use rules::{Explain, FeeRule, MAX_DAYS, Rules, Tolerance, Window};
