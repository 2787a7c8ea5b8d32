//! Bugs that a simulation has to find, each planted at the spot where one would make it.
//!
//! A build without the feature `planted-bugs` holds none of them: [`planted`] is then the constant
//! `false`. To plant one more: a line in [`Bug`], and `planted(Bug::…)` where it bites.

/// A bug to be planted with [`with_bug`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    allow(dead_code, unreachable_pub, reason = "the feature makes it public")
)]
#[non_exhaustive]
pub enum Bug {
    /// A checkpoint says that it holds one entry less than it does: after a restart that one is
    /// applied again.
    CheckpointBehind,
    /// A checkpoint is written before the log is durable up to it.
    CheckpointAheadOfLog,
    /// A vote is not written.
    ForgetVote,
    /// The clock of a leader goes on when it is deposed: it has leases expire, and hands that on.
    ExpireDeposed,
    /// A deposed leader renews leases.
    RenewDeposed,
    /// A renewal leaves what a checkpoint has said of the time that is left.
    RenewBehindCheckpoint,
    /// A new leader counts leases from when they were granted.
    CountFromGrant,
    /// The leases of a member that starts are unknown to its clock.
    ForgetLeases,
    /// The command kept from the door is taken for the entry at its index, of whatever term.
    KeepAcrossTerms,
    /// A command is handed to the leader twice.
    ProposeTwice,
    /// Who was removed still counts.
    CountRemoved,
    /// A snapshot is installed, and the members stay as they were.
    InstallWithoutMembers,
    /// Reads are served although their read index is not applied.
    ReadBeforeApplied,
    /// Reads are served by what this member knows to be committed.
    ReadByOwnCommit,
    /// The alarms are unknown to a member that starts.
    ForgetAlarms,
    /// A put of a member's own door loses its lease there: the member does what no other does.
    ForgetLeaseOfOwn,
    /// A member whose log was damaged votes and acknowledges as if nothing were missing.
    ForgetRefill,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Runs `simulation` on this thread with a bug planted.
#[cfg(feature = "planted-bugs")]
pub fn with_bug<T>(bug: Bug, simulation: impl FnOnce() -> T) -> T {
    /// Takes it out again, whichever way the simulation ends.
    struct Out;
    impl Drop for Out {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    PLANTED.set(Some(bug));
    let _out = Out;
    simulation()
}

/// Whether there is this bug.
#[cfg(feature = "planted-bugs")]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether there is this bug.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}
