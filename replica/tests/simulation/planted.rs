//! Bugs planted in members, to show that the oracle finds them. The asserts of consensus are off.
//!
//! Without the feature `planted-bugs` there are none, and this module is next to empty:
//! `cargo test -p revd-replica --features planted-bugs --test simulation planted`.

use crate::driver::Driver;

/// Where a bug is, and which.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    Replica(revd_replica::Bug),
    KeySpace(revd_mvcc::Bug),
    Consensus(revd_raft::Bug),
}

/// No bug can be planted without the feature.
#[cfg(not(feature = "planted-bugs"))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bug {}

#[cfg(feature = "planted-bugs")]
pub(crate) fn plant(driver: &mut Driver, bug: Option<Bug>) {
    match bug {
        Some(Bug::Consensus(bug)) => driver.consensus.plant(bug),
        Some(Bug::Replica(_) | Bug::KeySpace(_)) | None => {}
    }
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) fn plant(_: &mut Driver, bug: Option<Bug>) {
    if let Some(bug) = bug {
        match bug {}
    }
}

#[cfg(feature = "planted-bugs")]
mod table {
    use std::fmt::Write;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use revd_mvcc::Bug::*;
    use revd_raft::{Bug::*, without_asserts};
    use revd_replica::Bug::*;
    use revd_sim::Violation;
    use revd_sim::runs::{Failed, What, attempt};

    use super::Bug::{self, Consensus, KeySpace, Replica};
    use crate::world::World;

    /// A bug, the seeds within which it must be found, and why the oracle must see it. To add one:
    /// a line in the `Bug` of its crate, its `planted(…)`, and a line here.
    const PLANTED: [(Bug, u64, &str); 23] = [
        (Replica(CheckpointBehind), 20, "an entry applied twice, behind a restart"),
        (Replica(CheckpointAheadOfLog), 600, "a tree that its log does not reach"),
        (Replica(ForgetVote), 20, "a term that was spoken for, and is forgotten"),
        (Replica(ExpireDeposed), 60, "a lease ended by a leader that is none"),
        (Replica(RenewDeposed), 60, "a lease that runs out before its time"),
        (Replica(RenewBehindCheckpoint), 60, "a lease that runs out before its time"),
        (Replica(CountFromGrant), 60, "a lease that runs out before its time"),
        (Replica(ForgetLeases), 20, "a lease that is there and cannot be renewed"),
        (Replica(KeepAcrossTerms), 60, "a member that holds what was never committed"),
        (Replica(ProposeTwice), 5, "a request applied twice"),
        (Replica(CountRemoved), 20, "a configuration with a member that was removed"),
        (Replica(InstallWithoutMembers), 60, "a member that does not know the others"),
        (Replica(ForgetAlarms), 60, "a member without an alarm that stands"),
        (Replica(ForgetLeaseOfOwn), 20, "a state hash that is one member's alone"),
        (Replica(ForgetRefill), 20, "a vote or acknowledgement of who has lost what it had"),
        (KeySpace(SkipRevisionAtCatchUp), 60, "a watch that misses a revision"),
        (KeySpace(DropWhenQueueIsFull), 20, "a watch that misses a revision"),
        (KeySpace(ProgressWhileBehind), 20, "a mark of progress before the events"),
        (KeySpace(ReadBelowFloor), 20, "a read of what is compacted"),
        (
            Consensus(ReadWithoutRound),
            60,
            "a stale read of a leader that stood still or was cut off",
        ),
        (Consensus(AcknowledgeUnpersisted), 200, "a write that was acknowledged and is lost"),
        (Replica(ReadBeforeApplied), 10, "a read older than a write before it"),
        (Replica(ReadByOwnCommit), 10, "a read older than a write before it"),
    ];

    fn attempt_with(seed: u64, bug: Bug) -> Option<Failed> {
        let run = || without_asserts(|| attempt::<World>(seed, Some(bug), false)).err();
        match bug {
            Replica(bug) => revd_replica::with_bug(bug, run),
            KeySpace(bug) => revd_mvcc::with_bug(bug, run),
            Consensus(_) => run(),
        }
    }

    /// A line about what became of a bug, and whether it was found.
    fn search((bug, seeds, why): (Bug, u64, &str)) -> (String, bool) {
        let mut others = 0;
        for seed in 0..seeds {
            match attempt_with(seed, bug).map(|failed| (failed.what, failed.age)) {
                // A member fell over, or the healed cluster stood still, before the oracle could
                // tell why: that does not count.
                Some((What::Violation(Violation(what)), age)) if !what.starts_with("no pro") => {
                    let what: String = what.chars().take(160).collect();
                    return (
                        format!("{bug:?}: seed {seed} after {age}: {what} ({others} others)"),
                        true,
                    );
                }
                Some(_) => others += 1,
                None => {}
            }
        }
        (format!("{bug:?}: MISSED in {seeds} seeds ({others} others), expected {why}"), false)
    }

    /// `REVD_SIM_BUG=…` looks for those alone whose name has this in it.
    #[test]
    fn planted_bugs_are_found() {
        let wanted = std::env::var("REVD_SIM_BUG").unwrap_or_default();
        let is_wanted = |(bug, ..): &&(Bug, u64, &str)| format!("{bug:?}").contains(&wanted);
        let planted: Vec<_> = PLANTED.iter().filter(is_wanted).copied().collect();
        let (next, mut report) = (AtomicUsize::new(0), String::new());
        let work = || {
            let mut found = Vec::new();
            while let Some(&planted) = planted.get(next.fetch_add(1, Relaxed)) {
                found.push(search(planted));
            }
            found
        };
        let found: Vec<(String, bool)> = std::thread::scope(|scope| {
            let threads = [scope.spawn(work), scope.spawn(work)];
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for (line, _) in &found {
            writeln!(report, "{line}").unwrap();
        }
        println!("{report}");
        assert!(found.iter().all(|(_, is_found)| *is_found), "{report}");
    }
}
