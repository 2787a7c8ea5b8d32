//! Why a snapshot could not be made, or was not accepted.

use thiserror::Error;

use crate::error::{Fatal, OpenError};

/// Why an export ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store let compaction go on ([`Store::release_exports`](crate::Store::release_exports)),
    /// so what the stream has left to hold may be gone.
    #[error("the snapshot was given up: its compaction floor is no longer held")]
    Released,
    /// More exports at once than a store allows.
    #[error("{0} snapshots are being exported, which is the most")]
    TooMany(usize),
    /// The owner's note is longer than a snapshot can carry.
    #[error("a note of {bytes} bytes is too long for a snapshot: the limit is {limit}")]
    NoteTooLong {
        /// Its length.
        bytes: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// The position to go on from is one in another snapshot.
    #[error("cannot go on with snapshot {expected:016x} from a position in {found:016x}")]
    OtherSnapshot {
        /// This snapshot.
        expected: u64,
        /// The snapshot of the position.
        found: u64,
    },
    /// Storage failed.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Why bytes are not the chunk that comes next. Nothing of them was taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// Fewer or more bytes than a chunk's header and length say.
    #[error("a snapshot's chunk has {found} bytes where {expected} were expected")]
    Length {
        /// What its header says, or the length of a header.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The bytes do not begin as a chunk does.
    #[error("this is no chunk of a snapshot")]
    Magic,
    /// The chunk is of a format that this version does not know.
    #[error("a snapshot's chunk has format {found}, this program knows format {known}")]
    Format {
        /// The format it says it has.
        found: u8,
        /// The format that this crate reads and writes.
        known: u8,
    },
    /// The chunk says that it is longer than any can be.
    #[error("a snapshot's chunk says it holds {bytes} bytes: the limit is {limit}")]
    TooLarge {
        /// The length of its payload.
        bytes: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// The bytes are not those that were written.
    #[error("a snapshot's chunk has checksum {found:08x}, its bytes give {expected:08x}")]
    Checksum {
        /// The checksum of its bytes.
        expected: u32,
        /// The checksum at its end.
        found: u32,
    },
    /// The chunk belongs to another snapshot.
    #[error("a chunk of snapshot {found:016x} arrived within snapshot {expected:016x}")]
    OtherSnapshot {
        /// The snapshot that is being imported.
        expected: u64,
        /// The chunk's.
        found: u64,
    },
    /// A chunk is missing, repeated or in the wrong place.
    #[error("a chunk that follows {found} cells of the snapshot arrived after {expected}")]
    OutOfOrder {
        /// The cells that were imported.
        expected: u64,
        /// The cells that come before this chunk.
        found: u64,
    },
    /// The stream up to this chunk is not what the exporter sent.
    #[error("after {cells} cells the hash of the snapshot is {found:016x}, not {expected:016x}")]
    Hash {
        /// The cells that were imported.
        cells: u64,
        /// The hash of what was imported.
        expected: u64,
        /// What the chunk says.
        found: u64,
    },
    /// The content contradicts the format, although all checksums match.
    #[error("the snapshot is malformed at cell {cell}: {what}")]
    Malformed {
        /// The number of the cell, from 0.
        cell: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The snapshot was complete already.
    #[error("a chunk arrived after the end of the snapshot")]
    Ended,
}

/// Why an import failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The chunk is not the next one of the stream. Nothing was changed: the import can go on with
    /// the right one.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The file that takes the snapshot cannot be made.
    #[error("the file for the snapshot cannot be made")]
    Create(#[from] OpenError),
    /// The file cannot be removed or renamed.
    #[error("the file for the snapshot cannot be put in its place")]
    Disk(#[from] revd_disk::Error),
    /// The tree refused what it was given, for want of room or because the disk failed. The import
    /// is over; [`Import::begin`](crate::Import::begin) goes on from what is durable.
    #[error("the snapshot cannot be written")]
    Write(#[from] revd_btree::Error),
    /// A write failed before.
    #[error("an earlier write failed, the import must be begun again")]
    Failed,
    /// The end of the stream has not arrived.
    #[error("the snapshot is not complete after {cells} cells")]
    Unfinished {
        /// The cells that were imported.
        cells: u64,
    },
}
