//! What an inner node or a root refers to: a node on disk, or one that is still in memory.

use std::sync::{Arc, OnceLock};

use crate::format::{Pointer, Run};
use crate::inner::MemInner;
use crate::leaf::MemLeaf;
use crate::rows::MemRows;

/// A child, or the root of a tree.
#[derive(Clone, Debug, Default)]
pub(crate) enum Link {
    /// There is nothing: an empty tree.
    #[default]
    Empty,
    /// A node that a durable checkpoint holds.
    Disk(Pointer),
    /// A closed leaf of the history that no checkpoint holds yet, or the outstanding one.
    Leaf(Arc<MemLeaf>),
    /// A leaf of a table, likewise.
    Rows(Arc<MemRows>),
    /// An inner node, likewise.
    Inner(Arc<MemInner>),
}

impl Link {
    /// Where a node in memory goes, or went.
    pub(crate) fn home(&self) -> Option<&Home> {
        match self {
            Link::Empty | Link::Disk(_) => None,
            Link::Leaf(leaf) => Some(&leaf.home),
            Link::Rows(rows) => Some(&rows.home),
            Link::Inner(inner) => Some(&inner.home),
        }
    }

    /// Where the node is on disk, if it has been written.
    pub(crate) fn pointer(&self) -> Option<Pointer> {
        match self {
            Link::Disk(pointer) => Some(*pointer),
            _ => self.home()?.pointer(),
        }
    }

    /// The blocks that the node takes, or will take, on disk.
    pub(crate) fn run(&self) -> Option<Run> {
        match self {
            Link::Disk(pointer) => Some(pointer.run()),
            _ => self.home()?.run(),
        }
    }

    /// True if both lead to the same node, though one may lead there by memory and the other by
    /// disk.
    pub(crate) fn is_same(&self, other: &Link) -> bool {
        match (self, other) {
            (Link::Empty, Link::Empty) => true,
            (Link::Leaf(a), Link::Leaf(b)) => Arc::ptr_eq(a, b),
            (Link::Rows(a), Link::Rows(b)) => Arc::ptr_eq(a, b),
            (Link::Inner(a), Link::Inner(b)) => Arc::ptr_eq(a, b),
            _ => self.pointer().is_some() && self.pointer() == other.pointer(),
        }
    }
}

/// The place on disk of something that began its life in memory: the writer chooses the blocks when
/// it begins a checkpoint, whoever writes the checkpoint adds the checksum.
///
/// A clone has no place: it is a node that differs from the one that was written.
#[derive(Debug, Default)]
pub(crate) struct Home {
    place: OnceLock<(u32, u16)>,
    crc: OnceLock<u32>,
}

impl Clone for Home {
    fn clone(&self) -> Home {
        Home::default()
    }
}

impl Home {
    /// The home of something that is on disk already.
    pub(crate) fn of(pointer: Pointer) -> Home {
        let home = Home::default();
        home.settle(pointer.run());
        home.seal(pointer.crc);
        home
    }

    /// Chooses the blocks.
    pub(crate) fn settle(&self, run: Run) {
        let blocks = u16::try_from(run.blocks).expect("a node or extent has at most 2^14 blocks");
        assert!(
            self.place.set((run.block, blocks)).is_ok(),
            "a node was given blocks at {} though it has {:?}",
            run.block,
            self.place
        );
    }

    /// Adds the checksum.
    pub(crate) fn seal(&self, crc: u32) {
        assert!(self.crc.set(crc).is_ok(), "the node at {:?} was written twice", self.place);
    }

    /// True if blocks have been chosen.
    pub(crate) fn is_settled(&self) -> bool {
        self.place.get().is_some()
    }

    pub(crate) fn run(&self) -> Option<Run> {
        let (block, blocks) = *self.place.get()?;
        Some(Run { block, blocks: u32::from(blocks) })
    }

    pub(crate) fn pointer(&self) -> Option<Pointer> {
        let (block, blocks) = *self.place.get()?;
        Some(Pointer { block, blocks, crc: *self.crc.get()? })
    }
}

/// What the changes since the last checkpoint leave behind.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Blocks of the last checkpoint, or of the outstanding one, that the tree no longer uses.
    pub(crate) retired: Vec<Run>,
    /// Blocks that the next checkpoint will need for what is in memory, about.
    pub(crate) dirty_blocks: u64,
}

impl Changes {
    /// The node behind a link leaves the tree.
    pub(crate) fn retire(&mut self, link: &Link) {
        self.retired.extend(link.run());
    }
}
