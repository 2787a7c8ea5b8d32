//! Blocking work as values: what must be read, written or synced, and what came of it.
//!
//! Neither consensus nor the machine waits for a disk. They hand out jobs; whoever drives runs
//! each on a thread of its choice (a simulation: at a moment of its choice) and feeds the result
//! back. A job that fails is fatal: what has become durable is then unknown, so the member stops.

use std::sync::Arc;

use revd_mvcc as mvcc;
use revd_raft::{Fetch, Fetched, Index, Persist, PersistNumber};

use crate::error::Fatal;
use crate::log_store::LogStore;
use crate::refill::Refill;
use crate::snapshot::{InstallJob, Installation};

/// Work for a thread that may block.
#[derive(Debug)]
pub enum Job {
    /// Make entries, term and vote durable. Everything else waits for it: run it first.
    Persist(PersistJob),
    /// Read entries that have left the memory.
    Fetch(FetchJob),
    /// Give up a prefix of the log.
    Release(ReleaseJob),
    /// Prepare room for the log ahead of the entries to come.
    LogUpkeep(LogUpkeepJob),
    /// Write the tree's checkpoint.
    Checkpoint(CheckpointJob),
    /// Remove what a compaction has given up, a bounded step of it.
    Sweep(mvcc::SweepJob),
    /// Read a part of the tree again, and compare it with its checksums.
    Scrub(mvcc::ScrubJob),
    /// Put a snapshot in the place of tree and log.
    Install(Box<InstallJob>),
    /// Note that the member is whole again.
    EndRefill(EndRefillJob),
}

/// What came of a job.
#[derive(Debug)]
pub enum JobDone {
    /// For [`crate::Consensus::done`].
    Log(LogDone),
    /// For [`crate::Machine::done`].
    Tree(TreeDone),
    /// For [`crate::Machine::installed`].
    Installed(Box<Installation>),
}

/// What came of a job on the log.
#[derive(Debug)]
pub enum LogDone {
    /// All of it is durable.
    Persisted(PersistNumber),
    /// The entries that were asked for.
    Fetched(Fetched),
    /// The prefix is gone, or will be.
    Released,
    /// How far room is prepared.
    Upkeep(Prepared),
    /// The next start finds a whole member.
    Refilled,
}

/// What came of [`Job::LogUpkeep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// There is more to prepare.
    More,
    /// All that is wanted.
    All,
    /// The disk had no room for the next step.
    Full,
}

/// What came of a job on the tree.
#[derive(Debug)]
pub enum TreeDone {
    /// The checkpoint is durable.
    Checkpointed {
        /// What the tree wants back.
        written: mvcc::Written,
        /// The last entry whose effects it holds.
        applied: Index,
    },
    /// The leaves are rewritten.
    Swept(mvcc::SweepDone),
    /// A part of the tree is as it was written.
    Scrubbed(mvcc::Scrubbed),
}

/// See [`Job::Persist`].
#[derive(Debug)]
pub struct PersistJob {
    pub(crate) log: Arc<LogStore>,
    pub(crate) persist: Persist,
}

/// See [`Job::Fetch`].
#[derive(Debug)]
pub struct FetchJob {
    pub(crate) log: Arc<LogStore>,
    pub(crate) fetch: Fetch,
}

/// See [`Job::Release`].
#[derive(Debug)]
pub struct ReleaseJob {
    pub(crate) log: Arc<LogStore>,
    pub(crate) before: Index,
}

/// See [`Job::LogUpkeep`].
#[derive(Debug)]
pub struct LogUpkeepJob {
    pub(crate) log: Arc<LogStore>,
}

/// See [`Job::EndRefill`].
#[derive(Debug)]
pub struct EndRefillJob {
    pub(crate) refill: Refill,
}

/// See [`Job::Checkpoint`].
#[derive(Debug)]
pub struct CheckpointJob {
    /// In a box: it is larger than all the other jobs, which cross the same queue.
    pub(crate) checkpoint: Box<mvcc::Checkpoint>,
    pub(crate) applied: Index,
}

impl Job {
    /// Does the work; blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub fn run(self) -> Result<JobDone, Fatal> {
        match self {
            Self::Persist(job) => job.run().map(JobDone::Log),
            Self::Fetch(job) => job.run().map(JobDone::Log),
            Self::Release(job) => {
                // The entries are out of the log all the same; upkeep disposes of their files.
                unless_full(job.log.wal().release_prefix(job.before.0))?;
                Ok(JobDone::Log(LogDone::Released))
            }
            Self::LogUpkeep(job) => {
                let prepared = match unless_full(job.log.wal().upkeep())? {
                    Some(true) => Prepared::More,
                    Some(false) => Prepared::All,
                    None => Prepared::Full,
                };
                Ok(JobDone::Log(LogDone::Upkeep(prepared)))
            }
            Self::Checkpoint(job) => {
                let written = job.checkpoint.write().map_err(mvcc::Fatal::from)?;
                Ok(JobDone::Tree(TreeDone::Checkpointed { written, applied: job.applied }))
            }
            Self::Sweep(job) => Ok(JobDone::Tree(TreeDone::Swept(job.run()?))),
            Self::Scrub(job) => Ok(JobDone::Tree(TreeDone::Scrubbed(job.run()?))),
            Self::Install(job) => Ok(JobDone::Installed(Box::new(job.run()?))),
            Self::EndRefill(job) => {
                job.refill.end().map_err(Fatal::Refill)?;
                Ok(JobDone::Log(LogDone::Refilled))
            }
        }
    }
}

/// The result of an operation on the log; `None` if the disk was full and nothing was changed.
fn unless_full<T>(result: Result<T, revd_wal::Error>) -> Result<Option<T>, Fatal> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_full() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl PersistJob {
    /// Makes it durable.
    ///
    /// # Errors
    /// If [`Fatal::is_full`], none of the entries is in the log, and the job may be run again once
    /// there is room, before any later one. Any other [`Fatal`]: the member must stop.
    pub fn run(&self) -> Result<LogDone, Fatal> {
        self.log.persist(&self.persist)?;
        Ok(LogDone::Persisted(self.persist.number))
    }

    /// Bytes of the entries in it.
    pub fn bytes(&self) -> usize {
        self.persist.entries.iter().map(|entry| entry.data.len()).sum()
    }
}

impl ReleaseJob {
    /// The first entry that stays.
    pub fn before(&self) -> Index {
        self.before
    }
}

impl FetchJob {
    fn run(self) -> Result<LogDone, Fatal> {
        let Fetch { number, first, last, max_bytes } = self.fetch;
        let entries = match self.log.read(first, last, max_bytes) {
            Ok(entries) => entries,
            // Since it was asked for, the log may have been released, for which consensus takes an
            // empty answer, or cut off: then it waits for none any more.
            Err(_) if !self.log.holds(first, last) => Vec::new(),
            Err(fatal) => return Err(fatal),
        };
        Ok(LogDone::Fetched(Fetched { number, entries }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use revd_disk::{Disk, Sim};
    use revd_raft::{Entry, EntryKind, FetchNumber, HardState, Term};

    use super::*;
    use crate::vote::{Identity, VoteFile};

    fn entries(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
        let entry = |index| Entry {
            term: Term(term),
            index: Index(index),
            kind: EntryKind::Normal,
            data: vec![7; 10].into(),
        };
        indexes.map(entry).collect()
    }

    #[test]
    fn a_fetch_of_what_has_left_the_log_finds_nothing() {
        let (disk, dir) = (Arc::new(Sim::new(1)), Path::new("d"));
        disk.create_dir(dir).unwrap();
        let identity = Identity { cluster: 1, member: 2 };
        let vote = VoteFile::create(&*disk, dir, identity, HardState::default()).unwrap();
        let options = revd_wal::Options::default();
        let (log, _) = LogStore::open(disk, dir, vote, options).unwrap();
        let log = Arc::new(log);
        let number = PersistNumber(1);
        let persist = |truncate_from, entries| {
            log.persist(&Persist { number, hard_state: None, truncate_from, entries }).unwrap();
        };
        let fetched = |first, last| {
            let (first, last) = (Index(first), Index(last));
            let fetch = Fetch { number: FetchNumber(1), first, last, max_bytes: 1_000 };
            let job = FetchJob { log: Arc::clone(&log), fetch };
            let LogDone::Fetched(fetched) = job.run().unwrap() else { panic!("it fetches") };
            fetched.entries.len()
        };
        persist(None, entries(1, 1..=10));
        assert_eq!(fetched(8, 10), 3);
        // Another leader's entries take the place of some of them.
        persist(Some(Index(6)), entries(2, 6..=8));
        assert_eq!(fetched(9, 10), 0);
        assert_eq!(fetched(8, 10), 0);
        assert_eq!(fetched(5, 8), 4);
    }
}
