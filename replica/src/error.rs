//! The two ways in which a member cannot go on: it cannot open, or it must stop.

use std::path::PathBuf;

use crate::comparison::Difference;
use crate::entry::EntryError;
use crate::note::NoteError;
use crate::refill::Lost;

/// Why a member's files could not be opened. Nothing was changed by the attempt, apart from what
/// an interrupted write had left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file system refused.
    #[error(transparent)]
    Disk(#[from] revd_disk::Error),
    /// The log could not be opened.
    #[error("cannot open the log: {0}")]
    Log(#[from] revd_wal::OpenError),
    /// The log was opened and then could not be read or changed.
    #[error("cannot use the log: {0}")]
    LogUse(#[from] revd_wal::Error),
    /// What an unfinished snapshot has left could not be removed.
    #[error("cannot clear away an unfinished snapshot: {0}")]
    Leftover(#[from] crate::snapshot::ReceiveError),
    /// The key space could not be opened.
    #[error("cannot open the key space: {0}")]
    KeySpace(#[from] revd_mvcc::OpenError),
    /// The key space was opened and then could not be read.
    #[error("cannot use the key space: {0}")]
    KeySpaceUse(#[from] revd_mvcc::Fatal),
    /// The tree's note is not readable.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// An entry of the log is not readable.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Consensus does not accept the configuration or the state found on disk.
    #[error("consensus cannot start: {0}")]
    Consensus(#[from] revd_raft::StartError),
    /// What the log holds could not be carried out.
    #[error("cannot carry out what the log holds: {0}")]
    Apply(#[from] Fatal),
    /// The member does not belong to the cluster that it is to go on with.
    #[error("member {0:x} was removed from its cluster, and cannot go on with it")]
    Removed(u64),
    /// A member that is being refilled is no survivor to go on with.
    #[error("this member has lost what it had, and is not refilled yet: go on with another one")]
    Refilled,
    /// The founding members name one twice.
    #[error("the founding members do not make a configuration: {0}")]
    Founders(revd_raft::ChangeError),
    /// A record of the log is whole and yet no entry.
    #[error("record {index} of the log is no entry of consensus")]
    NoEntry {
        /// Where it stands.
        index: u64,
    },
    /// A file is damaged.
    #[error("{path} is damaged: {what}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file was written by a version that this one does not know.
    #[error("{path} has format {found}, and this version knows {known}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The format that is known.
        known: u32,
    },
    /// The log is damaged, and nobody can bring back what it held.
    #[error(
        "{source}; nothing was changed. Others cannot refill this member, because there is no \
         majority of voters without it: restore the data directory from a backup"
    )]
    Alone {
        /// What is wrong with the log.
        source: Box<OpenError>,
    },
    /// The log and the tree do not belong together.
    #[error(
        "the log ends at entry {last} but the tree holds the effects of entry {applied}: entries \
         that were durable are missing, and the member must not guess them"
    )]
    LogTooShort {
        /// The last entry of the log.
        last: u64,
        /// The last entry whose effects are in the tree.
        applied: u64,
    },
    /// The log begins after the entry that the tree needs next.
    #[error("the log begins at entry {first} but the tree needs entry {needed} next")]
    LogTooLate {
        /// The first entry of the log.
        first: u64,
        /// The entry after the tree's.
        needed: u64,
    },
}

impl OpenError {
    /// What the member has lost by rot, if it can begin anew without it: see [`crate::refill`].
    #[must_use]
    pub fn lost(&self) -> Option<Lost> {
        match self {
            Self::KeySpace(error) if error.is_damage() => Some(Lost::Tree),
            Self::KeySpaceUse(fatal) if fatal.is_damage() => Some(Lost::Tree),
            Self::Log(revd_wal::OpenError::Corrupt(_))
            | Self::LogUse(revd_wal::Error::Corrupt(_))
            | Self::NoEntry { .. }
            | Self::LogTooShort { .. }
            | Self::LogTooLate { .. } => Some(Lost::Log),
            _ => None,
        }
    }
}

/// Why a member must stop, unless [`Fatal::is_full`]. What it acknowledged is durable; what it has
/// not yet is unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// The key space cannot go on.
    #[error("the key space failed: {0}")]
    KeySpace(#[from] revd_mvcc::Fatal),
    /// The log cannot go on.
    #[error("the log failed: {0}")]
    Log(#[from] revd_wal::Error),
    /// The vote file cannot go on.
    #[error("the vote file failed: {0}")]
    Vote(#[from] revd_disk::Error),
    /// A majority has come to another state by the same entries.
    #[error("this member is not what the others are: {0}")]
    Differs(Difference),
    /// That the member is whole again could not be noted.
    #[error("the end of the refill could not be noted: {0}")]
    Refill(#[source] revd_disk::Error),
    /// A snapshot could not be put in its place.
    #[error("the snapshot could not be installed: {0}")]
    Install(#[from] revd_mvcc::ImportError),
    /// A snapshot is in its place and cannot be opened.
    #[error("the installed snapshot cannot be opened: {0}")]
    Reopen(#[from] Box<revd_mvcc::OpenError>),
    /// A snapshot that others need cannot be made.
    #[error("the snapshot could not be begun: {0}")]
    Export(#[from] revd_mvcc::ExportError),
    /// A committed entry is not readable: it was written by a newer version, or is damaged.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Consensus was fed something that cannot be.
    #[error("consensus refused an answer of its own driver: {0}")]
    Consensus(String),
}

impl Fatal {
    /// What the member has lost by rot or a mistake, if it can begin anew without it: see
    /// [`crate::refill`].
    #[must_use]
    pub fn lost(&self) -> Option<Lost> {
        match self {
            Self::KeySpace(fatal) | Self::Export(revd_mvcc::ExportError::Fatal(fatal))
                if fatal.is_damage() =>
            {
                Some(Lost::Tree)
            }
            Self::Reopen(error) if error.is_damage() => Some(Lost::Tree),
            Self::Differs(_) => Some(Lost::Tree),
            Self::Log(revd_wal::Error::Corrupt(_)) => Some(Lost::Log),
            _ => None,
        }
    }

    /// Whether all that is wrong is that the disk is full, and nothing was changed: what failed may
    /// be tried again, and the member need not stop.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::KeySpace(fatal) => fatal.is_full(),
            Self::Log(error) => error.is_full(),
            _ => false,
        }
    }
}
