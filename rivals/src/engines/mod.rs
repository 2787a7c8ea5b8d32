//! What is measured: logs and ordered stores, each behind a small trait.

mod fjall;
mod floor;
mod lmdb;
mod okaywal;
mod raft_engine;
mod redb;
mod revd_btree;
mod revd_wal;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

pub(crate) use floor::RECORD_BYTES_FILE;

use crate::Result;
use crate::content::Key;
use crate::measure;

/// The same bytes by the least that the system can do; what the ratios are of.
pub(crate) const FLOOR: &str = "floor";
/// The floor with a lock around write and sync, which is sometimes quicker for several appenders.
pub(crate) const FLOOR_LOCKED: &str = "floor-locked";
/// The crate `wal`.
pub(crate) const REVD_WAL: &str = "revd-wal";
/// The crate `btree`.
pub(crate) const REVD_BTREE: &str = "revd-btree";
/// LMDB, by the crate heed.
pub(crate) const LMDB: &str = "lmdb";

/// All logs, the floor first.
pub(crate) const LOGS: &[LogEngine] = &[
    LogEngine { name: FLOOR, open: floor::open_log, replay: Some(floor::replay) },
    LogEngine { name: FLOOR_LOCKED, open: floor::open_locked_log, replay: None },
    LogEngine { name: REVD_WAL, open: revd_wal::open, replay: Some(revd_wal::replay) },
    LogEngine { name: "okaywal", open: okaywal::open, replay: Some(okaywal::replay) },
    LogEngine { name: "raft-engine", open: raft_engine::open, replay: Some(raft_engine::replay) },
];

/// All ordered stores, the floor first.
pub(crate) const STORES: &[StoreEngine] = &[
    StoreEngine { name: FLOOR, reads: false, open: floor::open_store },
    StoreEngine { name: REVD_BTREE, reads: true, open: revd_btree::open },
    StoreEngine { name: LMDB, reads: true, open: lmdb::open },
    StoreEngine { name: "lmdb-append", reads: false, open: lmdb::open_appending },
    StoreEngine { name: "redb", reads: true, open: redb::open },
    StoreEngine { name: "fjall", reads: true, open: fjall::open },
];

/// A log, by name.
pub(crate) struct LogEngine {
    /// What the tables and `--only` call it.
    pub name: &'static str,
    /// Opens an empty log in an empty directory.
    pub open: fn(&Path, LogShape) -> Result<Box<dyn Log>>,
    /// Opens a log that was filled before, and hands every record to the sink, in order.
    pub replay: Option<Replay>,
}

/// See [`LogEngine::replay`].
pub(crate) type Replay = fn(&Path, Sink) -> Result<(Sink, Replayed)>;

/// An ordered store, by name.
pub(crate) struct StoreEngine {
    /// What the tables and `--only` call it.
    pub name: &'static str,
    /// Takes part in what reads: not what would be the same as another.
    pub reads: bool,
    /// Opens the store in a directory, or creates one in an empty directory.
    pub open: fn(&Path) -> Result<Box<dyn Store>>,
}

/// What a log will be asked for, so that it can be given the settings that suit it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogShape {
    /// Threads that append.
    pub appenders: usize,
    /// Bytes of all records of one batch.
    pub batch_bytes: usize,
    /// Everything is kept for a replay; otherwise old records may go.
    pub keep: bool,
}

/// An open log.
pub(crate) trait Log: Send + Sync {
    /// Whoever appends the same records again and again as one batch. What it can do once for all
    /// of them, it does here.
    fn appender<'l>(&'l self, number: usize, records: &'l [&'l [u8]]) -> Box<dyn Appender + 'l>;

    /// Background work, done by a thread of its own every [`UPKEEP_EVERY`].
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    fn upkeep(&self) -> Result<()> {
        Ok(())
    }
}

/// How often a log's background work is done.
pub(crate) const UPKEEP_EVERY: Duration = Duration::from_millis(2);

/// One of the threads that append.
pub(crate) trait Appender: Send {
    /// Appends the batch once more; it is durable on return.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    fn append(&mut self) -> Result<()>;
}

/// Where a replay hands its records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink {
    /// Records so far.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Of what was touched.
    sum: u64,
    /// Most bytes of memory, files mapped aside, that were seen every [`LOOK_EVERY`] bytes.
    pub memory: u64,
}

/// How often a sink looks at the memory in use.
const LOOK_EVERY: u64 = 32 << 20;

impl Sink {
    /// Takes a record.
    pub(crate) fn take(&mut self, record: &[u8]) {
        if self.bytes / LOOK_EVERY != (self.bytes + record.len() as u64) / LOOK_EVERY {
            self.memory = self.memory.max(measure::anonymous_bytes());
        }
        self.records += 1;
        self.bytes += record.len() as u64;
        self.sum = self.sum.wrapping_add(touch(record));
    }
}

/// How long a replay took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replayed {
    /// To open the log.
    pub open: Duration,
    /// To hand over all records. None if the engine does that while it opens.
    pub replay: Option<Duration>,
}

/// An open store. One thread changes it; others may read.
pub(crate) trait Store {
    /// Puts records of rising keys, which are durable after the next commit.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    fn put(&mut self, puts: &[(Key, &[u8])]) -> Result<()>;

    /// Makes durable what was put and deleted.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    fn commit(&mut self) -> Result<()>;

    /// The same for a loop that must not wait: what the engine can do on another thread may go on
    /// after this returns.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    fn commit_aside(&mut self) -> Result<()> {
        self.commit()
    }

    /// Does a small step of removing all records up to `last` but each tenth, and tells how many
    /// are gone. [`Purged::Done`] if none is left.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    fn purge(&mut self, last: u64) -> Result<Purged>;

    /// Whoever reads what was committed, on any thread.
    fn reader(&self) -> Box<dyn Reader + '_>;

    /// Whether records are there, for a store that may be new.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    fn last(&self) -> Result<Option<u64>>;
}

/// How far [`Store::purge`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purged {
    /// This many records were deleted by this step.
    Some(u64),
    /// Another thread is at it.
    Waiting,
    /// All are gone.
    Done,
}

/// Whether a reader takes a new snapshot for each get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Snapshot {
    /// One for all.
    Reused,
    /// One each.
    Fresh,
}

/// Reads what was committed. Values are touched where they are: first byte and last.
pub(crate) trait Reader: Send + Sync {
    /// Gets these records, all of which are there.
    ///
    /// # Errors
    ///
    /// When the engine fails or one is missing.
    fn gets(&self, mains: &[u64], snapshot: Snapshot) -> Result<u64>;

    /// Reads `count` records from each start on, and returns how many they were.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    fn scans(&self, mains: &[u64], count: usize) -> Result<u64>;
}

/// Touches a value, so that a store that hands out a pointer has to fetch what is there.
fn touch(value: &[u8]) -> u64 {
    match value {
        [first, .., last] => u64::from(*first) + u64::from(*last),
        _ => 0,
    }
}

/// The keys that a purge deletes, in order, for the engines that delete key by key.
#[derive(Debug)]
struct Doomed {
    next: u64,
}

/// Records that are deleted in one step, as etcd does.
const PURGE_BATCH: usize = 1000;

impl Doomed {
    fn new() -> Doomed {
        Doomed { next: 1 }
    }

    /// The next keys; empty if none is left.
    fn take(&mut self, last: u64) -> Vec<Key> {
        let from = self.next;
        let keys: Vec<Key> =
            (from..=last).filter(|main| !is_kept(*main)).take(PURGE_BATCH).map(Key).collect();
        self.next = keys.last().map_or(last + 1, |key| key.0 + 1);
        keys
    }
}

/// Whether a purge keeps this record.
fn is_kept(main: u64) -> bool {
    main.is_multiple_of(10)
}
