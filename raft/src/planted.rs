//! Bugs that a simulation has to find, each planted at the spot where one would make it.
//!
//! A build without the feature `planted-bugs` holds none of them: [`Raft::planted`] is then the
//! constant `false`. To plant one more: a line in [`Bug`], and `if self.planted(Bug::…)` where it
//! bites.

use crate::raft::Raft;

/// A bug to be planted with [`Raft::plant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    allow(dead_code, unreachable_pub, reason = "the feature makes it public")
)]
#[non_exhaustive]
pub enum Bug {
    /// Votes for whoever asks, though it has voted for somebody else in the term.
    VoteTwice,
    /// Votes for a candidate whose log lacks what this member's has.
    VoteForShorterLog,
    /// Sends its vote, and counts it for itself, before it is durable.
    VoteBeforeDurable,
    /// Never makes a term durable in which it has not voted.
    ForgetTerm,
    /// Commits entries of earlier terms by counting (figure 8 of the paper).
    CommitOlderTerm,
    /// A leader counts its own entries before they are durable.
    CountUnpersisted,
    /// A follower acknowledges entries before they are durable.
    AcknowledgeUnpersisted,
    /// Takes the answer of a persist for entries that were cut off meanwhile.
    CountTruncatedPersist,
    /// Accepts entries whatever is before them.
    AcceptWithoutPrevious,
    /// Keeps its own entries where the leader's differ.
    KeepConflictingSuffix,
    /// Hands out entries that are not committed.
    ApplyBeyondCommit,
    /// A heartbeat carries the commit index whatever the receiver holds.
    HeartbeatCommitUncapped,
    /// Answers a read at once, by what the leader believes.
    ReadWithoutRound,
    /// Counts the answer to any heartbeat for the latest round.
    CountEarlierRound,
    /// Answers reads before an entry of the leader's term is committed.
    ReadBeforeOwnEntry,
    /// Stays leader without a quorum, and answers the reads that wait.
    StayWithoutQuorum,
    /// Counts only the incoming voters of a joint configuration.
    SkipJoint,
    /// Treats learners as voters.
    LearnerVotes,
    /// Lets a learner become a voter however far it lags.
    PromoteLagging,
    /// Proposes a change of configuration while an earlier one is not applied.
    ChangeWhilePending,
    /// Installs a snapshot of what it has already applied.
    InstallBehind,
    /// A member whose log was damaged votes and acknowledges at once.
    CountRecovering,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static ASSERTING: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}

/// Runs `simulation` on this thread with the core's own asserts switched off, so that what finds a
/// planted bug is the simulation.
#[cfg(feature = "planted-bugs")]
pub fn without_asserts<T>(simulation: impl FnOnce() -> T) -> T {
    /// Switches them on again, whichever way the simulation ends.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            ASSERTING.set(self.0);
        }
    }
    let _back = Back(ASSERTING.replace(false));
    simulation()
}

/// Whether the core checks its own invariants.
#[cfg(feature = "planted-bugs")]
pub(crate) fn asserting() -> bool {
    ASSERTING.get()
}

/// Whether the core checks its own invariants.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn asserting() -> bool {
    true
}

/// An assert of the core's own, which [`without_asserts`] switches off.
macro_rules! invariant {
    ($($claim:tt)*) => {
        if $crate::planted::asserting() {
            assert!($($claim)*);
        }
    };
}
pub(crate) use invariant;

impl Raft {
    /// Plants a bug, in the place of the last one.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: Bug) {
        self.bug = Some(bug);
        self.count_by(self.configuration.clone());
    }

    /// Whether this member has the bug.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn planted(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether this member has the bug.
    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self, reason = "as with the feature")]
    pub(crate) const fn planted(&self, _: Bug) -> bool {
        false
    }
}
