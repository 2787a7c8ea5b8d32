//! Figures for whoever watches over a tree.

use crate::Tree;
use crate::format::BLOCK_BYTES;
use crate::inner::level_of;

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
    /// Part of these that only a pin, or a process that only reads, keeps from being free.
    pub pinned_bytes: u64,
    /// Free bytes that growth leaves for deletes, sweeps and checkpoints.
    pub reserve_bytes: u64,
    /// Bytes that the next checkpoint will write, about.
    pub dirty_bytes: u64,
    /// Records appended, and rows put or deleted, since the last checkpoint was begun.
    pub dirty_records: u64,
    /// Blocks of [`Stats::used_bytes`].
    pub used_pages: u64,
    /// Inner levels of the history; 0 while all leaves are listed by the commit record.
    pub depth: u64,
    /// Closed leaves of the history.
    pub leaves: u64,
    /// Bytes of the blocks of the closed leaves; with `filled_bytes` it tells how full they are.
    pub leaf_bytes: u64,
    /// Bytes that the closed leaves have in their blocks.
    pub filled_bytes: u64,
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
            pinned_bytes: bytes(space.pinned_blocks(tree.sequence)),
            reserve_bytes: bytes(space.reserve()),
            dirty_bytes: bytes(dirty),
            dirty_records: tree.dirty.records,
            used_pages: blocks.saturating_sub(idle),
            // A root that cannot be read has no depth that anybody could use.
            depth: level_of(&tree.base, &tree.pages, &tree.epoch).map_or(0, u64::from),
            leaves: tree.leaves.count,
            leaf_bytes: bytes(tree.leaves.blocks),
            filled_bytes: tree.leaves.bytes,
            recent_leaves: tree.recent.len() as u64,
            records: tree.records,
            rows: tree.rows,
            checkpointing: tree.outstanding.is_some(),
        }
    }
}
