//! The durable half of consensus: the log of entries, and the vote file beside it.
//!
//! A log record is one raft entry; its index is the log's own:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | term, little-endian |
//! | 8 | 1 | kind: 0 normal, 1 configuration, 2 empty (the first of a leader's term) |
//! | 9 | … | data |
//!
//! A promise is kept in this order: a new term or vote first, then the removal of a conflicting
//! suffix, then the new entries. Any prefix of these steps is a state that the member may be
//! found in, because nothing is said to anybody before all of them are durable.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use revd_disk::Disk;
use revd_raft::{Entry, EntryKind, HardState, Index, Persist, Term};
use revd_wal::{Recovery, Wal};

use crate::error::{Fatal, OpenError};
use crate::vote::{Identity, VoteFile};

/// The folder of the log in the data directory.
pub const FOLDER: &str = "wal";

const HEADER: usize = 9;

/// The log and the vote of one member.
#[derive(Debug)]
pub struct LogStore {
    wal: Wal,
    vote: Mutex<VoteFile>,
    scratch: Mutex<Scratch>,
}

/// Where records are put together; reused, so that a batch allocates nothing in the steady state.
#[derive(Debug, Default)]
struct Scratch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Scratch space above this is given back after the batch that needed it.
const SCRATCH_KEPT: usize = 1 << 20;

impl LogStore {
    /// Opens the log beside an open vote file.
    ///
    /// # Errors
    /// [`OpenError::Log`] when the log is damaged or not this member's; those of the disk.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        vote: VoteFile,
        mut options: revd_wal::Options,
    ) -> Result<(Self, Recovery), OpenError> {
        options.owner = vote.identity().owner();
        let (wal, recovery) = Wal::open(disk, &dir.join(FOLDER), options)?;
        let store = Self { wal, vote: Mutex::new(vote), scratch: Mutex::default() };
        Ok((store, recovery))
    }

    /// Whose log this is.
    pub fn identity(&self) -> Identity {
        self.vote.lock().identity()
    }

    /// The newest durable term and vote.
    pub fn hard_state(&self) -> HardState {
        self.vote.lock().state()
    }

    /// Makes all of it durable, in the order of this module's first lines.
    ///
    /// # Errors
    /// Any error is fatal: what has become durable is unknown.
    pub fn persist(&self, persist: &Persist) -> Result<(), Fatal> {
        if let Some(state) = persist.hard_state {
            self.vote.lock().store(state)?;
        }
        if let Some(from) = persist.truncate_from {
            self.wal.truncate_suffix(from.0)?;
        }
        let Some(first) = persist.entries.first() else { return Ok(()) };
        let mut scratch = self.scratch.lock();
        let Scratch { bytes, ends } = &mut *scratch;
        bytes.clear();
        ends.clear();
        for entry in &persist.entries {
            encode(entry, bytes);
            ends.push(bytes.len());
        }
        let mut start = 0;
        let records: Vec<&[u8]> =
            ends.iter().map(|&end| &bytes[std::mem::replace(&mut start, end)..end]).collect();
        self.wal.append(first.index.0, &records)?;
        drop(records);
        bytes.shrink_to(SCRATCH_KEPT);
        Ok(())
    }

    /// Reads entries from the log: at least one, then as many as fit.
    ///
    /// # Errors
    /// Those of the log, also for a range that it does not hold.
    pub fn read(&self, first: Index, last: Index, max_bytes: usize) -> Result<Vec<Entry>, Fatal> {
        let records = self.wal.read(first.0, last.0, max_bytes)?;
        (first.0..)
            .zip(records)
            .map(|(index, record)| {
                decode(index, record).ok_or_else(|| {
                    Fatal::Consensus(format!("record {index} of the log is no raft entry"))
                })
            })
            .collect()
    }

    /// Whether all of these entries are in the log.
    pub(crate) fn holds(&self, first: Index, last: Index) -> bool {
        let (begin, end) = self.wal.bounds();
        begin <= first.0 && last.0 <= end
    }

    /// The log itself.
    pub fn wal(&self) -> &Wal {
        &self.wal
    }
}

/// Adds the record of an entry to `bytes`.
pub(crate) fn encode(entry: &Entry, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&entry.term.0.to_le_bytes());
    bytes.push(kind_number(entry.kind));
    bytes.extend_from_slice(&entry.data);
}

/// The raft entry in a record; `None` if the record cannot be one.
pub(crate) fn decode(index: u64, record: Vec<u8>) -> Option<Entry> {
    let record = Bytes::from(record);
    let term = Term(u64::from_le_bytes(record.get(..8)?.try_into().ok()?));
    let kind = kind_from(*record.get(8)?)?;
    Some(Entry { term, index: Index(index), kind, data: record.slice(HEADER..) })
}

/// The number of a kind, on disk and between members.
pub(crate) fn kind_number(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Normal => 0,
        EntryKind::Configuration => 1,
        EntryKind::Empty => 2,
    }
}

/// The kind with this number.
pub(crate) fn kind_from(number: u8) -> Option<EntryKind> {
    match number {
        0 => Some(EntryKind::Normal),
        1 => Some(EntryKind::Configuration),
        2 => Some(EntryKind::Empty),
        _ => None,
    }
}
