//! Planted bugs: they prove that the simulator finds what it is there to find.
//!
//! The switch exists only under the feature `planted-bugs`, which a release build refuses; without the
//! feature [`Planted::has`] is a constant `false` and the compiler removes what depends on it.

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("planted bugs cannot be compiled into a release build");

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// Commands are sent before the decision is committed, and act trusts the message.
    SendBeforeCommit,
    /// The command id is taken from the event and not from the intent.
    IdFromEvent,
    /// Unknown is followed by a second attempt under a new key.
    ChargeAgainFromUnknown,
    /// The tick sends nothing again.
    TickForgets,
    /// A stalled worker writes and sends without looking at its fence and deadline.
    NoFence,
    /// An older read of the order overwrites a newer one.
    OlderReadWins,
    /// An event is marked as seen before it was sent on.
    SeenBeforeSent,
    /// A refund is booked from the charge's cumulative total.
    RefundFromTotal,
    /// Amounts go over the wire with the ISO exponent.
    IsoExponent,
    /// After a failed message the rest of its group is answered as done.
    SkipRestOfGroup,
    /// A sweep moves its cursor before its sends were accepted.
    CursorFirst,
    /// A waiting event is dropped when its alias appears.
    DropWaiting,
    /// Unknown is sent again under a new identity, at a gateway without idempotency keys: nothing is looked up, nothing undone.
    ResendBlind,
    /// Unknown is told as a refusal, so that the next attempt goes out, or the next merchant id is taken.
    FailOverFromUnknown,
    /// A money command that another needs is not waited for: a refund goes out beside a pending void.
    RefundBesideVoid,
    /// A capture after a review goes out without looking for one that was made elsewhere.
    CaptureWithoutLooking,
    /// Whatever is looked up or sent again takes another merchant id than the one that was chosen and recorded.
    RouteDrawnAnew,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::SendBeforeCommit,
        Self::IdFromEvent,
        Self::ChargeAgainFromUnknown,
        Self::TickForgets,
        Self::NoFence,
        Self::OlderReadWins,
        Self::SeenBeforeSent,
        Self::RefundFromTotal,
        Self::IsoExponent,
        Self::SkipRestOfGroup,
        Self::CursorFirst,
        Self::DropWaiting,
        Self::ResendBlind,
        Self::FailOverFromUnknown,
        Self::RefundBesideVoid,
        Self::CaptureWithoutLooking,
        Self::RouteDrawnAnew,
    ];
}

/// The bug planted in an engine, if any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

impl Planted {
    /// An engine with this bug.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub const fn with(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }
    /// Whether it has this bug.
    #[must_use]
    pub fn has(self, bug: Bug) -> bool {
        #[cfg(feature = "planted-bugs")]
        {
            self.bug == Some(bug)
        }
        #[cfg(not(feature = "planted-bugs"))]
        {
            let _ = bug;
            false
        }
    }
}
