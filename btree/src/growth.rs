//! Asking for room before anything is changed.
//!
//! An owner that must do several appends or none asks first, by [`Tree::admit`], and then appends
//! from the reserve: what was admitted fits. It also says how much of the reserve must stay, so
//! that requests which were let in under the whole reserve still fit when they are carried out
//! later, under a part of it.

use crate::format::{BLOCK_BYTES, INLINE_ROW_BYTES, ROW_BYTES_MAX};
use crate::tree::{check_size, extent_blocks};
use crate::{Error, Key, Table, Tree};

/// Bytes that a record takes in its leaf besides head and value, at most.
const RECORD_OVERHEAD: u64 = 64;
/// Blocks by which the estimate of a single append may exceed its share of the whole.
const MARGIN_BLOCKS: u64 = 4;

/// What is to be appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Records.
    pub records: u64,
    /// Bytes of their heads and values.
    pub bytes: u64,
    /// Values among them of more than 4 KiB, which need blocks of their own in one piece.
    pub long: u64,
}

impl Growth {
    /// Adds what another change needs.
    pub fn add(&mut self, other: Growth) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.long += other.long;
    }

    /// Takes away what a change needed that was added before.
    pub fn subtract(&mut self, other: Growth) {
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.long = self.long.saturating_sub(other.long);
    }

    /// The blocks that it takes, rather too many: the writer reckons with a sixteenth for headers,
    /// and each long value rounds up to blocks.
    fn blocks(&self) -> u64 {
        let bytes = self.bytes + self.records * RECORD_OVERHEAD;
        (bytes + bytes / 16) / BLOCK_BYTES as u64 + 2 * self.long + MARGIN_BLOCKS
    }
}

/// How much of the reserve must be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// All of it.
    Whole,
    /// Half of it.
    Half,
    /// None of it: for what leads to room.
    None,
}

impl Tree {
    /// Makes sure that so much can be appended, by [`Tree::append_from_reserve`] and before the
    /// next checkpoint is begun, and so much of the reserve is left. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Full`]; [`Error::Poisoned`]; [`Error::Disk`].
    pub fn admit(&mut self, growth: Growth, reserve: Reserve) -> Result<(), Error> {
        self.check_usable()?;
        let dirty = self.dirty_blocks() + growth.blocks();
        let kept = match reserve {
            Reserve::Whole => self.space.reserve(),
            Reserve::Half => self.space.reserve() / 2,
            Reserve::None => 0,
        };
        self.space.admit_keeping(dirty, kept)?;
        // The longest value is not known, but it is no longer than all of them.
        if growth.long > 0 { self.space.back_long(dirty, growth.blocks()) } else { Ok(()) }
    }

    /// Has the next change ask the file system for room, although it was full a moment ago. Without
    /// this only some of the changes do.
    pub fn look_for_room(&mut self) {
        self.space.look_for_room();
    }

    /// Sets a row as [`Tree::put`] does, from the reserve of a full disk if need be: for the few
    /// rows without which an owner could not go on there.
    ///
    /// # Errors
    ///
    /// As [`Tree::put`]; [`Error::Full`] only if even the reserve is used up.
    pub fn put_from_reserve(&mut self, table: Table, key: Key, value: &[u8]) -> Result<(), Error> {
        self.check_usable()?;
        check_size("a row", value, ROW_BYTES_MAX)?;
        let dirty = self.dirty_blocks() + value.len() as u64 / BLOCK_BYTES as u64 + 4;
        self.space.admit_from_reserve(dirty)?;
        if value.len() > INLINE_ROW_BYTES {
            self.space.back_long(dirty, extent_blocks(value))?;
        }
        self.put_row(table, key, value)
    }

    /// Bytes of the blocks that are used, and of those that the next checkpoint will take, about.
    /// Cheap, unlike [`Tree::stats`].
    #[must_use]
    pub fn bytes_in_use(&self) -> u64 {
        let dirty = if self.changed { self.dirty_blocks() } else { 0 };
        (self.space.data_blocks() + dirty) * BLOCK_BYTES as u64
    }
}
