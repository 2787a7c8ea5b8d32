//! The logical snapshot: a store as a stream of chunks, out ([`Export`]) and in ([`Import`]).
//!
//! The stream holds what a replica needs and nothing of how this one came by it: the rows of the
//! tables, then the history above the compaction floor with the newest record of each key up to it,
//! in the order of the tree's keys, (main, sub, kind). So two replicas with the same state make the
//! same stream, wherever their sweeps and checkpoints stand, and the one who imports appends to its
//! tree as it reads. FORMAT.md has the bytes.
//!
//! An export pins a compaction floor and not pages: each chunk is a read of its own, and sweeps
//! that would remove what the stream still has to hold wait
//! ([`Store::export`](crate::Store::export)).

mod cell;
mod chunk;
mod error;
mod export;
mod floors;
mod import;
mod position;
#[cfg(test)]
mod tests;

pub use chunk::{SNAPSHOT_HEADER_BYTES, snapshot_chunk_len};
pub use error::{ChunkError, ExportError, ImportError};
pub use export::Export;
pub(crate) use floors::Floors;
pub use import::{Import, Imported};
pub use position::SnapshotPosition;

/// Continues the hash of a stream. Each cell is hashed with the hash before it as the seed, so the
/// result does not depend on how the stream is cut into chunks.
fn fold(hash: u64, bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, hash)
}
