//! What the runs have met, counted.

use std::fmt;

macro_rules! totals {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often each kind of event was met.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Totals {
            $($(#[$doc])* pub(crate) $name: u64,)*
        }

        impl Totals {
            pub(crate) fn add(&mut self, other: &Totals) {
                $(self.$name += other.$name;)*
            }

            /// Each count with its name.
            pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

totals! {
    /// Messages delivered, persists answered, calls made.
    steps,
    messages,
    persists,
    calls,
    ticks,
    /// Elections stood for, and won.
    campaigns,
    leaders,
    /// Of those, with another one still in office that has not heard of it.
    rivals,
    /// Changes applied for the first time in the cluster, by kind, and those rejected.
    changes_simple,
    changes_joint,
    changes_left,
    changes_rejected,
    promotions,
    /// Members that were shut down for good after their removal.
    retired,
    snapshots_sent,
    snapshots_installed,
    snapshots_failed,
    crashes,
    /// Crashes that lost something handed out to be persisted, or torn in the middle.
    losses,
    /// Logs whose end was damaged, and members that were whole again.
    damaged,
    recovered,
    /// Conflicting suffixes cut off a durable log.
    truncations,
    entries_truncated,
    cuts,
    pauses,
    slow_disks,
    lost,
    repeated,
    /// Entries committed in the cluster, and entries applied by all members.
    committed,
    applied,
    /// Writes applied where they were asked for.
    writes_acknowledged,
    /// Reads served, and compared with all writes.
    reads,
    reads_by_followers,
    reads_failed,
    transfers,
    /// Transfers after which the target led the next term.
    transfers_done,
    fetches,
    fetches_gone,
    refused_full,
    refused_pending,
    /// Runs that ended in a working cluster, and those that rightly did not.
    healed,
    stood_still,
    heal_ticks,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.counts() {
            writeln!(f, "  {:<22} {count:>12}", name.replace('_', " "))?;
        }
        Ok(())
    }
}
