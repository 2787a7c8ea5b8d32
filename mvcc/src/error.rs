//! Every way in which a call can fail, sorted by what the caller can do about it.
//!
//! * [`Invalid`]: the request contradicts itself. Found without looking at the store, at the door.
//! * [`Rejected`]: the store's state forbids the request. The same on every replica, nothing was
//!   changed; it is an answer, not a fault.
//! * [`Fatal`]: storage failed or is damaged. The store must not be written any further, unless it
//!   is [`Fatal::Full`]: then nothing was changed.

use bytes::Bytes;
use thiserror::Error;

/// Why a request is malformed, whatever the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// An operation or a comparison with an empty key.
    #[error("key is not provided")]
    EmptyKey,
    /// A put with `ignore_value` and a value.
    #[error("value is provided")]
    ValueProvided,
    /// A put with `ignore_lease` and a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// More compares or operations than a transaction may hold.
    #[error("too many operations in txn request")]
    TooManyOps,
    /// A transaction that puts a key twice, or puts a key and deletes it.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// An operation of a transaction that says nothing.
    #[error("operation of a transaction without content")]
    EmptyOperation,
    /// A sort order or sort target of unknown number.
    #[error("invalid sort option")]
    SortOption,
}

/// Why the store refuses a request: a deterministic answer, nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Rejected {
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// A lease that does not exist.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// A grant of a lease that exists.
    #[error("lease already exists")]
    LeaseExists,
    /// A grant of more than [`crate::LEASE_TTL_MAX`] seconds.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// A revision below the compaction floor.
    #[error("required revision has been compacted")]
    Compacted,
    /// A revision that does not exist yet.
    #[error("required revision is a future revision")]
    FutureRevision,
}

impl Rejected {
    /// A number from 1 to 127 that never changes, for whoever writes it down.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::KeyNotFound => 1,
            Self::LeaseNotFound => 2,
            Self::LeaseExists => 3,
            Self::LeaseTtlTooLarge => 4,
            Self::Compacted => 5,
            Self::FutureRevision => 6,
        }
    }
}

/// Storage failed: what is in memory and what is on disk can no longer be trusted to agree.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Fatal {
    /// The disk has no room for this. Nothing was changed, and the store goes on: the same call
    /// succeeds once there is room.
    #[error("no room for it: {free_bytes} bytes are free, {needed_bytes} must be")]
    Full {
        /// Free bytes that the disk is sure to have room for, in pieces that are long enough.
        free_bytes: u64,
        /// Bytes that must be free, what is kept back included.
        needed_bytes: u64,
    },
    /// The tree refused an operation.
    #[error("the history tree failed: {0}")]
    Tree(#[from] revd_btree::Error),
    /// The index names a record that the tree does not hold.
    #[error("record ({main}, {sub}) of key {key:?} is missing from the history tree")]
    MissingRecord {
        /// The key whose record is missing.
        key: Bytes,
        /// Its revision.
        main: u64,
        /// Its position within the revision.
        sub: u64,
    },
    /// A record whose head or value cannot be read.
    #[error("record ({main}, {sub}) of the history tree is malformed: {reason}")]
    BadRecord {
        /// The record's revision.
        main: u64,
        /// Its position within the revision.
        sub: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A row of a table that cannot be read.
    #[error("a row of the store's tables is malformed: {reason}")]
    BadRow {
        /// Which row, and what is wrong with it.
        reason: String,
    },
    /// An earlier failure left the store in an unknown state.
    #[error("the store failed before and takes no more writes")]
    Poisoned,
}

impl Fatal {
    /// True if the disk is full, nothing was changed, and the store goes on.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// True if bytes on the disk are not what was written there. Reading them again, or writing,
    /// does not help: the store has to be replaced.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Tree(error) => matches!(error, revd_btree::Error::Corrupt(_)),
            Self::MissingRecord { .. } | Self::BadRecord { .. } | Self::BadRow { .. } => true,
            Self::Full { .. } | Self::Poisoned => false,
        }
    }

    /// For an error of the tree that came before anything was changed.
    pub(crate) fn before_change(error: revd_btree::Error) -> Self {
        match error {
            revd_btree::Error::Full { free_bytes, needed_bytes } => {
                Self::Full { free_bytes, needed_bytes }
            }
            error => Self::Tree(error),
        }
    }

    /// For the owner of tables 8 to 15: one of its rows cannot be read, for this reason.
    #[must_use]
    pub fn damaged(reason: String) -> Self {
        Self::BadRow { reason }
    }
}

/// Why a read gave no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The state of the store forbids it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Storage failed.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// Whoever asked has said that the answer is no longer wanted
    /// ([`View::until`](crate::View::until)).
    #[error("the read was abandoned")]
    Abandoned,
}

impl From<revd_btree::Error> for ReadError {
    fn from(error: revd_btree::Error) -> Self {
        Self::Fatal(error.into())
    }
}

/// Why a store could not be opened or created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The tree could not be opened.
    #[error("the history tree cannot be opened: {0}")]
    Tree(#[from] revd_btree::OpenError),
    /// The records could not be read while the index was rebuilt.
    #[error("the index cannot be rebuilt: {0}")]
    Rebuild(#[from] Fatal),
}

impl OpenError {
    /// As [`Fatal::is_damage`].
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Tree(error) => matches!(error, revd_btree::OpenError::Corrupt(_)),
            Self::Rebuild(fatal) => fatal.is_damage(),
        }
    }
}

impl From<revd_btree::Error> for OpenError {
    fn from(error: revd_btree::Error) -> Self {
        Self::Rebuild(error.into())
    }
}
