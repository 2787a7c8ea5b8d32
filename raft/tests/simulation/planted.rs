//! Bugs planted in the core, to show that the oracle finds them. The core's own asserts are off.
//!
//! Without the feature `planted-bugs` there are none, and this module is next to empty:
//! `cargo test -p revd-raft --features planted-bugs --test simulation planted`.

#[cfg(feature = "planted-bugs")]
pub(crate) use revd_raft::Bug;

/// No bug can be planted without the feature.
#[cfg(not(feature = "planted-bugs"))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bug {}

#[cfg(feature = "planted-bugs")]
pub(crate) fn plant(raft: &mut revd_raft::Raft, bug: Bug) {
    raft.plant(bug);
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) fn plant(_: &mut revd_raft::Raft, bug: Bug) {
    match bug {}
}

#[cfg(feature = "planted-bugs")]
mod table {
    use std::fmt::Write;

    use revd_raft::Bug::{self, *};
    use revd_raft::without_asserts;
    use revd_sim::Violation;
    use revd_sim::runs::{What, attempt};

    use crate::world::World;

    /// A bug, the seeds within which it must be found, and why the oracle must see it. To add one:
    /// a line in the core's `Bug`, its `if self.planted(…)`, and a line here. The number is such
    /// that by the share of 150 seeds that found it, all miss it once in ten thousand times.
    const PLANTED: [(Bug, u64, &str); 22] = [
        (VoteTwice, 25, "two durable votes in one term, then two leaders of it"),
        (VoteForShorterLog, 20, "a leader without a committed entry"),
        (VoteBeforeDurable, 3, "a vote is said that no disk has"),
        (ForgetTerm, 5, "a term is spoken for, and forgotten in a crash"),
        (CommitOlderTerm, 10, "a commit index on an entry of an earlier term"),
        (CountUnpersisted, 10, "a commit that is durable on no quorum"),
        (AcknowledgeUnpersisted, 5, "an acknowledgement of what the disk has not"),
        (CountTruncatedPersist, 700, "an acknowledgement of what was cut off"),
        (AcceptWithoutPrevious, 70, "a durable log with a gap or another order"),
        (KeepConflictingSuffix, 15, "an acknowledgement of entries that are not the leader's"),
        (ApplyBeyondCommit, 3, "an entry handed out that nobody has committed"),
        (HeartbeatCommitUncapped, 30, "a commit beyond the log, or of another entry"),
        (ReadWithoutRound, 80, "a deposed leader's read, older than a commit before it"),
        (CountEarlierRound, 700, "as before, with an answer that was on its way"),
        (ReadBeforeOwnEntry, 20, "a new leader's read, older than what was committed before"),
        (StayWithoutQuorum, 50, "a leader that has heard of no quorum for too long"),
        (SkipJoint, 25, "a commit or election without a majority of the outgoing voters"),
        (LearnerVotes, 10, "a commit or election by learners"),
        (PromoteLagging, 60, "a promoted learner without what was committed long ago"),
        (ChangeWhilePending, 15, "a change behind one that its leader had not applied"),
        (InstallBehind, 130, "a snapshot at or below what is applied"),
        (CountRecovering, 75, "a vote or acknowledgement of a member with a damaged log"),
    ];

    #[test]
    fn planted_bugs_are_found() {
        let mut report = String::new();
        let mut missed = 0;
        for (bug, seeds, why) in PLANTED {
            let mut others = 0;
            let found = (0..seeds).find_map(|seed| {
                let failed = without_asserts(|| attempt::<World>(seed, Some(bug), false)).err()?;
                match failed.what {
                    // The core fell over, or the healed cluster stood still, before the oracle
                    // could tell why: that does not count.
                    What::Violation(Violation(what)) if !what.starts_with("no progress") => {
                        Some((seed, failed.age, what))
                    }
                    _ => {
                        others += 1;
                        None
                    }
                }
            });
            let told = match found {
                Some((seed, age, what)) => format!("seed {seed} after {age}: {what}"),
                None => format!("MISSED in {seeds} seeds, expected {why}"),
            };
            missed += u64::from(told.starts_with("MISSED"));
            writeln!(report, "{bug:?}: {told} ({others} failed otherwise before)").unwrap();
        }
        println!("{report}");
        assert_eq!(missed, 0, "{report}");
    }
}
