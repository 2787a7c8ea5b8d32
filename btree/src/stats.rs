//! Figures for whoever watches over a tree.

use crate::Tree;
use crate::format::BLOCK_BYTES;

/// The state of a file and of its writer, in plain numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The last durable checkpoint.
    pub sequence: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Bytes of the blocks that the last checkpoint, or the outstanding one, uses.
    pub used_bytes: u64,
    /// Free bytes that the disk has room for.
    pub free_bytes: u64,
    /// Free bytes that were given back to the disk, or never taken from it.
    pub hole_bytes: u64,
    /// Bytes that are no longer used, but still needed by the root before the last or by a pin.
    pub retired_bytes: u64,
    /// Free bytes that growth leaves for deletes, sweeps and checkpoints.
    pub reserve_bytes: u64,
    /// Bytes that the next checkpoint will write, about.
    pub dirty_bytes: u64,
    /// Records appended, and rows put or deleted, since the last checkpoint was begun.
    pub dirty_records: u64,
    /// Closed leaves of the history that no inner node lists.
    pub recent_leaves: u64,
    /// Records in the history.
    pub records: u64,
    /// Rows in all tables.
    pub rows: u64,
    /// True while a checkpoint is outstanding.
    pub checkpointing: bool,
}

impl Stats {
    pub(crate) fn of(tree: &Tree) -> Stats {
        let bytes = |blocks: u64| blocks * BLOCK_BYTES as u64;
        let space = &tree.space;
        let blocks = u64::from(tree.pages.blocks());
        let punching = tree.outstanding.as_ref().map_or(0, |outstanding| outstanding.punching());
        let idle = space.backed_blocks() + space.hole_blocks() + space.retired_blocks() + punching;
        let dirty = if tree.changed { tree.dirty_blocks() } else { 0 };
        Stats {
            sequence: tree.sequence,
            file_bytes: bytes(blocks),
            used_bytes: bytes(blocks.saturating_sub(idle)),
            free_bytes: bytes(space.backed_blocks()),
            hole_bytes: bytes(space.hole_blocks() + punching),
            retired_bytes: bytes(space.retired_blocks()),
            reserve_bytes: bytes(space.reserve()),
            dirty_bytes: bytes(dirty),
            dirty_records: tree.dirty.records,
            recent_leaves: tree.recent.len() as u64,
            records: tree.records,
            rows: tree.rows,
            checkpointing: tree.outstanding.is_some(),
        }
    }
}
