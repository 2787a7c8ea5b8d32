//! What can go wrong, by what the caller can do about it.

use std::path::PathBuf;

use revd_disk as disk;
use thiserror::Error;

use crate::format::{BATCH_BYTES_MAX, ENTRY_BYTES_MAX, VERSION};
use crate::options::InvalidOptions;

/// A log that cannot be opened. Nothing on the disk was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The options make no sense.
    #[error("the options are invalid")]
    Options(#[from] InvalidOptions),
    /// The disk refused.
    #[error("the log cannot be opened")]
    Disk(#[from] disk::Error),
    /// Bytes that were durable are not what was written. Nothing was cut off or repaired.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// There is no log, and none was to be created.
    #[error("there is no log in {}", dir.display())]
    Absent {
        /// The directory.
        dir: PathBuf,
    },
    /// The log belongs to another store.
    #[error(
        "{} belongs to the store {found:02x?}, not to {expected:02x?}", path.display()
    )]
    Foreign {
        /// The segment that says so.
        path: PathBuf,
        /// The store that was to be opened.
        expected: [u8; 16],
        /// The store that the segment names.
        found: [u8; 16],
    },
    /// The log was written by another version of this crate.
    #[error("{} has the format {found}, and only {VERSION} is known", path.display())]
    Version {
        /// The segment that says so.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// An operation on an open log that failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused. If [`Error::is_full`], the log is as it was before, and the same call may
    /// succeed once there is room; otherwise changes are refused from now on ([`Error::Poisoned`]).
    #[error("the log cannot be used")]
    Disk(#[from] disk::Error),
    /// An earlier change failed, so what is on the disk is unknown until the log is opened anew.
    #[error("an earlier change of the log failed: it must be opened anew")]
    Poisoned,
    /// Entries must be appended in order, without gap.
    #[error("entry {found} cannot be appended where {expected} is next")]
    OutOfOrder {
        /// The index of the next entry.
        expected: u64,
        /// The index that was given.
        found: u64,
    },
    /// The entries are not there, or not any more.
    #[error("entry {found} is not in the log, which holds {first} to {last}")]
    Missing {
        /// The index that was asked for.
        found: u64,
        /// The first entry of the log.
        first: u64,
        /// Its last; one less than the first if there is none.
        last: u64,
    },
    /// An entry or a batch is longer than the format allows.
    #[error(
        "{bytes} bytes are more than an entry ({ENTRY_BYTES_MAX}) or a batch \
         ({BATCH_BYTES_MAX}) may have"
    )]
    TooLarge {
        /// The length of the entry or batch.
        bytes: u64,
    },
    /// Bytes that were durable are not what was written.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
}

impl Error {
    /// True if the disk is full, and the log is as it was before the call.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Disk(error) if error.is_full())
    }
}

/// Durable bytes that are not what was written: rot, a write that the disk lost or put elsewhere, a
/// missing file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{} is damaged at offset {offset}: {what}: expected {expected:#x}, found {found:#x}",
    path.display()
)]
pub struct Corruption {
    /// The segment.
    pub path: PathBuf,
    /// Where in the segment the damaged header or batch begins.
    pub offset: u64,
    /// What does not match.
    pub what: &'static str,
    /// What should be there.
    pub expected: u64,
    /// What is there.
    pub found: u64,
}
