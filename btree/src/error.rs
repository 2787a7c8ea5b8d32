//! What can go wrong, told by what the caller can do about it.

use std::fmt;
use std::path::PathBuf;

use crate::Key;

/// Why an operation on an open tree failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Growth is refused: the disk, or the address space reserved for the file, has no more room
    /// than what is held back for deletes, sweeps and checkpoints. Nothing was changed; the call
    /// may succeed once a sweep has given room back.
    #[error("no room to grow: {free_bytes} bytes are free, {needed_bytes} must stay so")]
    Full {
        /// Free bytes that the disk is sure to have room for, in pieces that are long enough.
        free_bytes: u64,
        /// Bytes that must be free: what waits for a checkpoint, the reserve, and this change.
        needed_bytes: u64,
    },
    /// Bytes of the file are not what was written there.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The file system failed.
    #[error("the file of the tree cannot be used")]
    Disk(#[from] revd_disk::Error),
    /// History is appended in rising order only. Nothing was changed.
    #[error("cannot append {key} to the history: its last key is {last}")]
    OutOfOrder {
        /// The key that was to be appended.
        key: Key,
        /// The last key ever appended.
        last: Key,
    },
    /// A head, value or note is longer than the format allows. Nothing was changed.
    #[error("cannot store {bytes} bytes as {what}: the limit is {limit}")]
    TooLarge {
        /// What it was to be stored as.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// A checkpoint has been begun and its [`Written`](crate::Written) has not been handed back.
    #[error("cannot begin a checkpoint while another is outstanding")]
    CheckpointPending,
    /// The leaves that were swept are no longer those of the tree: they were swept twice. Nothing
    /// was changed.
    #[error("cannot adopt the swept leaves from {from} on: the tree has others there now")]
    StaleSweep {
        /// The first key of the swept range.
        from: Key,
    },
    /// A checkpoint failed. What is on disk is the checkpoint before it; this tree must be dropped
    /// and opened anew.
    #[error("the tree cannot be used any more: writing a checkpoint failed")]
    Poisoned,
}

/// Why a tree could not be created or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file system failed, the file does not exist, or, when creating, does.
    #[error("the file of the tree cannot be opened")]
    Disk(#[from] revd_disk::Error),
    /// Neither root leads to an intact checkpoint; this is the first thing found wrong with the
    /// newest.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The file is of a format that this version does not know.
    #[error("{} has format version {found}, this program knows version {known}", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// The version it says it has.
        found: u32,
        /// The version that this crate reads and writes.
        known: u32,
    },
    /// The file belongs to another store.
    #[error("{} belongs to store {found:02x?}, not to {expected:02x?}", file.display())]
    Owner {
        /// The file.
        file: PathBuf,
        /// The identity in the options.
        expected: [u8; 16],
        /// The identity in the file.
        found: [u8; 16],
    },
    /// Whoever writes the file replaced its root each time that it was read; try again.
    #[error("the root of {} changed each time it was read", file.display())]
    Busy {
        /// The file.
        file: PathBuf,
    },
    /// The options contradict themselves or the file.
    #[error("invalid options: {0}")]
    Options(&'static str),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> OpenError {
        match error {
            Error::Disk(error) => OpenError::Disk(error),
            Error::Corrupt(corruption) => OpenError::Corrupt(corruption),
            _ => OpenError::Options("map_bytes leaves no room for an empty tree"),
        }
    }
}

/// Bytes of a file that are not what was written there: rot, a lost or misdirected write, or a
/// foreign hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file.
    pub file: PathBuf,
    /// Where the damaged structure begins.
    pub offset: u64,
    /// What is wrong with which structure.
    pub what: &'static str,
    /// What should be found: a checksum, a number, a bound.
    pub expected: u64,
    /// What was found.
    pub found: u64,
}

impl std::error::Error for Corruption {}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is corrupt at offset {}: {}: expected {:#x}, found {:#x}",
            self.file.display(),
            self.offset,
            self.what,
            self.expected,
            self.found
        )
    }
}
