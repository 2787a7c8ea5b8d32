//! When a leader hands over because its disk is slower than those of the others: time and how far
//! the log has come in, a verdict out.
//!
//! A leader's own disk is not in the way of its writes as long as a majority of the others is
//! quicker: what they hold is committed without it. But all that it has not made durable stays in
//! its memory, and a disk that takes seconds for a write keeps the process waiting elsewhere, too.
//! So it is judged by how much later than a majority it has an entry, and not by how long a write
//! takes:
//!
//! * Where all disks are slow, or this one is needed for a majority, an entry takes long to be
//!   committed as well. Nobody could do better in this member's place, and nobody is asked to.
//! * Who takes over holds what was committed: it was quicker. If its disk becomes slow as well, it
//!   hands over only if by then another majority is quicker still. So leadership does not go to and
//!   fro, and no member hands it over twice within [`Options::rest`].
//!
//! One entry at a time is watched, the last in the log when it is looked; a quick one among them
//! makes up for all before it.

use revd_raft::{Index, NodeId, Role, Status};

use crate::lessor::Now;

const SECOND: u64 = 1_000_000_000;

/// What counts as slow; in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// An entry is late that is durable here so long after it was committed, and besides took twice
    /// as long for that as for being committed.
    pub late: u64,
    /// Late entries have been waited for so long, all together and without a quick one between
    /// them, when the leader hands over.
    pub patience: u64,
    /// From one verdict to the next, at least.
    pub rest: u64,
}

impl Default for Options {
    /// Half a second, ten seconds, a minute.
    fn default() -> Self {
        Self { late: SECOND / 2, patience: 10 * SECOND, rest: 60 * SECOND }
    }
}

/// To whom a leader should hand over, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Who takes over.
    pub to: NodeId,
    /// Late entries have been waited for so long, in nanoseconds.
    pub waited: u64,
    /// Entries that are committed and not durable here.
    pub entries: u64,
}

/// An entry on its way.
#[derive(Clone, Copy, Debug)]
struct Watched {
    index: Index,
    since: Now,
    committed: Option<Now>,
}

/// See the module's first lines.
#[derive(Clone, Debug)]
pub struct SlowDisk {
    options: Options,
    watched: Option<Watched>,
    /// How long late entries have been waited for since the last quick one.
    waited: u64,
    /// Where the log ended when the last late one was durable.
    seen: Index,
    /// No verdict is given before.
    rests_until: Now,
}

impl SlowDisk {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, watched: None, waited: 0, seen: Index(0), rests_until: Now(0) }
    }

    /// Looks at where consensus stands, some times in each [`Options::late`]. Says that leadership
    /// should go to `successor`; without one it stays here.
    pub fn look(&mut self, now: Now, status: &Status, successor: Option<NodeId>) -> Option<Slow> {
        if status.role != Role::Leader {
            self.watched = None;
            self.waited = 0;
            return None;
        }
        let mut late = self.late(now, status);
        if self.watched.is_some_and(|watched| status.persisted >= watched.index) {
            self.watched = None;
            self.waited = if late == 0 { 0 } else { self.waited + late };
            (self.seen, late) = (status.last.index, 0);
        }
        if self.watched.is_some() {
            // One at a time.
        } else if status.persisted >= status.last.index {
            if status.last.index > self.seen {
                // What has come since was so quick that there was nothing to wait for.
                self.waited = 0;
            }
        } else {
            let committed = (status.commit >= status.last.index).then_some(now);
            self.watched = Some(Watched { index: status.last.index, since: now, committed });
        }
        let waited = self.waited + late;
        if waited < self.options.patience || now < self.rests_until {
            return None;
        }
        let to = successor?;
        self.rests_until = Now(now.0 + self.options.rest);
        let entries = status.commit.0.saturating_sub(status.persisted.0);
        Some(Slow { to, waited, entries })
    }

    /// How long the watched entry has been waited for beyond its commit, if that is late.
    fn late(&mut self, now: Now, status: &Status) -> u64 {
        let Some(watched) = &mut self.watched else { return 0 };
        if watched.committed.is_none() && status.commit >= watched.index {
            watched.committed = Some(now);
        }
        let Some(committed) = watched.committed else { return 0 };
        let (took, waited) = (committed.0 - watched.since.0, now.0 - committed.0);
        if waited >= self.options.late && waited >= 2 * took { waited } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use revd_raft::{Config, Configuration, HardState, Position, Raft, Restart};

    use super::*;

    const MS: u64 = 1_000_000;

    const OTHER: Option<NodeId> = Some(NodeId(2));

    fn status(role: Role, commit: u64, persisted: u64) -> Status {
        let config = Config::new(NodeId(1));
        let members = Configuration::lone(NodeId(1));
        let restart = Restart::new(&config, HardState::default(), Position::default(), members);
        let mut status = Raft::new(config, restart, 1).unwrap().status();
        (status.role, status.commit, status.persisted) = (role, Index(commit), Index(persisted));
        status.last.index = Index(commit.max(persisted));
        status
    }

    /// Looks each 10 ms at a leader that commits an entry each 10 ms, and has each durable so long
    /// after that as `delay` says of it; returns when it is to hand over, in milliseconds.
    fn run(disk: &mut SlowDisk, length: u64, delay: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut durable = 0;
        let mut verdicts = Vec::new();
        for step in 1..=length / 10 {
            let ms = step * 10;
            while durable < step && (durable + 1) * 10 + delay((durable + 1) * 10) <= ms {
                durable += 1;
            }
            let status = status(Role::Leader, step, durable);
            verdicts.extend(disk.look(Now(ms * MS), &status, OTHER).map(|_| ms));
        }
        verdicts
    }

    #[test]
    fn a_disk_that_lags_behind_the_others_for_long_is_slow() {
        let mut disk = SlowDisk::new(Options::default());
        assert_eq!(run(&mut disk, 30_000, |_| 0), [0; 0]);
        assert_eq!(run(&mut disk, 30_000, |_| 490), [0; 0]);
        let verdicts = run(&mut SlowDisk::new(Options::default()), 30_000, |_| 1_000);
        assert_eq!(verdicts, [10_010], "after ten late ones in a row, and once in a minute");
    }

    #[test]
    fn a_disk_that_hangs_is_slow_before_it_answers() {
        let hangs = |at| if at < 5_000 { 0 } else { 1_000_000 };
        let mut disk = SlowDisk::new(Options::default());
        assert_eq!(run(&mut disk, 140_000, hangs), [15_000, 75_000, 135_000]);
    }

    #[test]
    fn quick_entries_make_up_for_late_ones() {
        let mut disk = SlowDisk::new(Options::default());
        let hiccups = |at: u64| 8_000_u64.saturating_sub(at % 20_000);
        assert_eq!(run(&mut disk, 300_000, hiccups), [0; 0]);
    }

    #[test]
    fn where_commits_take_as_long_nobody_hands_over() {
        let mut disk = SlowDisk::new(Options::default());
        for second in 0..200 {
            // Entry n is there in second n, committed 3 seconds later, durable here 5 later.
            let (commit, persisted) = (second - second.min(3), second - second.min(8));
            let mut status = status(Role::Leader, commit, persisted);
            status.last.index = Index(second);
            assert_eq!(disk.look(Now(second * SECOND), &status, OTHER), None, "{second}");
        }
    }

    #[test]
    fn a_quiet_leader_does_not_wait() {
        let mut disk = SlowDisk::new(Options::default());
        for second in 0..1_000 {
            assert_eq!(disk.look(Now(second * SECOND), &status(Role::Leader, 5, 5), OTHER), None);
        }
    }

    #[test]
    fn whoever_does_not_lead_has_nothing_to_hand_over() {
        let mut disk = SlowDisk::new(Options::default());
        let mut look =
            |second, role| disk.look(Now(second * SECOND), &status(role, 5, 4), OTHER).is_some();
        for second in 0..9 {
            assert!(!look(second, Role::Leader));
        }
        assert!(!look(20, Role::Follower));
        assert!(!look(21, Role::Leader));
    }

    #[test]
    fn without_a_successor_leadership_stays_until_there_is_one() {
        let mut disk = SlowDisk::new(Options::default());
        let slow = status(Role::Leader, 5, 4);
        for second in 0..30 {
            assert_eq!(disk.look(Now(second * SECOND), &slow, None), None);
        }
        let verdict = disk.look(Now(30 * SECOND), &slow, OTHER);
        assert_eq!(verdict, Some(Slow { to: NodeId(2), waited: 30 * SECOND, entries: 1 }));
    }
}
