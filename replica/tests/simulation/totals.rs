//! How much of what has happened, to show that it was enough.

use std::fmt;

/// Declares the counters with their names, so that none is forgotten in a sum or a print.
macro_rules! totals {
    ($($name:ident: $words:literal,)+) => {
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Totals {
            $(pub(crate) $name: u64,)+
        }

        impl Totals {
            pub(crate) fn add(&mut self, other: &Totals) {
                $(self.$name += other.$name;)+
            }
        }

        impl fmt::Display for Totals {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "  {:>12} {}", self.$name, $words)?;)+
                Ok(())
            }
        }
    };
}

totals! {
    milliseconds: "simulated milliseconds",
    events: "events",
    acknowledged: "client operations acknowledged",
    writes: "writes acknowledged",
    rejected: "writes rejected by what they met",
    reads: "linearizable reads",
    reads_by_followers: "linearizable reads of members that do not lead",
    serializable: "serializable reads",
    old_reads: "reads of old revisions",
    compacted_reads: "reads refused because of a compaction",
    swaps: "compare-and-swaps that held",
    swaps_failed: "compare-and-swaps that did not",
    given_up: "calls given up",
    refused: "calls refused",
    grants: "leases granted",
    renewals: "leases renewed",
    revoked: "leases revoked",
    expired: "leases that ran out",
    compactions: "compactions",
    sweeps: "steps of compaction",
    checkpoints: "checkpoints",
    scrubs: "steps of reading everything again",
    fetches: "reads of the log",
    watch_events: "events watched",
    watch_progress: "marks of progress",
    watch_resumed: "watches resumed on another member",
    watch_compacted: "watches ended by a compaction",
    leaders: "leaders elected",
    rivals: "leaders with a rival in office",
    confirmations: "leaders that had to confirm their leadership",
    transfers: "transfers asked for",
    transfers_done: "transfers completed",
    added: "members added",
    promoted: "learners promoted",
    removed: "members removed",
    retired: "members shut down after their removal",
    snapshots_sent: "snapshots begun",
    snapshots: "snapshots installed",
    snapshots_failed: "snapshots that failed on their way",
    messages: "messages delivered",
    lost: "messages lost",
    repeated: "messages repeated",
    starts: "starts of a member",
    crashes: "power failures between operations",
    torn: "power failures within an operation",
    kills: "processes killed",
    stopped: "members that stopped because a write failed",
    full_disks: "disks that became full",
    waits: "times that something waited for room",
    alarms: "NOSPACE alarms cleared",
    slow_disks: "slow disks",
    cuts: "partitions",
    pauses: "pauses",
    broken: "broken connections",
    compared: "comparisons of a member with the model",
    hashed: "hashes compared",
    heal_milliseconds: "milliseconds until healed, all runs together",
}
