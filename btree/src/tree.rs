//! The writer: everything that changes a tree.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{OpenSaved, Outstanding};
use crate::cursor::{Record, Rows};
use crate::format::{
    BLOCK_BYTES, HEAD_BYTES_MAX, INLINE_ROW_BYTES, INLINE_VALUE_BYTES, LeafTotals, ROW_BYTES_MAX,
    Run, VALUE_BYTES_MAX, blocks_of,
};
use crate::leaf::{Extent, Fill, MemLeaf, RawRecord, Segment, Value};
use crate::link::{Changes, Link};
use crate::pages::{Epoch, Pages};
use crate::reader::{Published, Reader, State};
use crate::shelf::Shelf;
use crate::space::Space;
use crate::stats::Stats;
use crate::table::TableEdit;
use crate::view::{Recent, RecentLeaves, TableRoots, View};
use crate::{Error, Key, Table};

/// Blocks that each checkpoint takes besides what was changed: commit record, map pages, the nodes
/// on the right edge.
const OVERHEAD_BLOCKS: u64 = 32;

/// A file of one history and [`Table::COUNT`] tables, and its only writer.
///
/// A change goes through three stages. `append`, `put` and `delete` are seen by this value alone;
/// [`publish`](Tree::publish) shows all of them to readers at once; a
/// [`checkpoint`](Tree::checkpoint) makes all that was published durable, at once and together with
/// a note of the owner's. Without a checkpoint nothing survives: whoever needs each change to be
/// durable keeps a log beside the tree, and the note tells where in the log the checkpoint is.
///
/// Invariants:
///
/// 1. All keys of `base` < those of `recent` < those of `open` < those of `pending` <= `last_key`.
/// 2. Whatever is published or frozen is never changed: nodes are shared by `Arc` and copied first,
///    and the lists that grow in place are cut to a length by each state.
/// 3. Each block is in one condition of `Space`; those that are used are those of the last
///    checkpoint and of the outstanding one.
///
/// # Panics
///
/// All methods that take a [`Table`] panic if its number is not below [`Table::COUNT`].
pub struct Tree {
    pub(crate) pages: Arc<Pages>,
    pub(crate) published: Arc<Published>,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) owner: [u8; 16],
    pub(crate) base: Link,
    pub(crate) recent: Arc<RecentLeaves>,
    pub(crate) open: Option<OpenLeaf>,
    /// What was appended to the open leaf since the last publication.
    pub(crate) pending: Segment,
    pub(crate) last_key: Option<Key>,
    pub(crate) tables: Arc<TableRoots>,
    /// Records in the history.
    pub(crate) records: u64,
    /// Rows in all tables.
    pub(crate) rows: u64,
    /// Closed leaves of the history.
    pub(crate) leaves: LeafTotals,
    pub(crate) changes: Changes,
    pub(crate) dirty: Dirty,
    pub(crate) space: Space,
    /// Anything was changed since the last publication.
    pub(crate) unpublished: bool,
    /// Anything was changed since the last checkpoint was begun.
    pub(crate) changed: bool,
    /// The last durable checkpoint.
    pub(crate) sequence: u64,
    pub(crate) note: Vec<u8>,
    pub(crate) commit: Run,
    pub(crate) open_saved: Option<OpenSaved>,
    pub(crate) outstanding: Option<Outstanding>,
}

/// The leaf that is being filled.
#[derive(Debug)]
pub(crate) struct OpenLeaf {
    pub(crate) leaf: Arc<MemLeaf>,
    pub(crate) fill: Fill,
}

/// What was appended since the last checkpoint was begun.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Bytes of cells and of extents.
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl Tree {
    /// The owner's note of the last durable checkpoint.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// The number of the last durable checkpoint.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.pages.path
    }

    /// The last key ever appended to the history, whether or not a sweep has removed it.
    #[must_use]
    pub fn last_key(&self) -> Option<Key> {
        self.last_key
    }

    /// Appends a record to the history. `head` is a short description that is always kept beside
    /// the key; a value of more than 4 KiB goes to blocks of its own, which are read only when it
    /// is asked for.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`] unless `key` is greater than all that were ever appended;
    /// [`Error::TooLarge`] for a head of more than 64 KiB or a value of more than 64 MiB;
    /// [`Error::Full`]; [`Error::Poisoned`]. Nothing was changed then.
    pub fn append(&mut self, key: Key, head: &[u8], value: &[u8]) -> Result<(), Error> {
        self.append_by(key, head, value, false)
    }

    /// Appends a record that leads to room, such as one that says that another is to be removed:
    /// it may use the reserve of a full disk. Whoever appends much this way leaves no room for the
    /// sweep that would give room back.
    ///
    /// # Errors
    ///
    /// As [`Tree::append`]; [`Error::Full`] only if even the reserve is used up.
    pub fn append_from_reserve(
        &mut self,
        key: Key,
        head: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        self.append_by(key, head, value, true)
    }

    fn append_by(
        &mut self,
        key: Key,
        head: &[u8],
        value: &[u8],
        from_reserve: bool,
    ) -> Result<(), Error> {
        self.check_usable()?;
        if let Some(last) = self.last_key.filter(|last| key <= *last) {
            return Err(Error::OutOfOrder { key, last });
        }
        check_size("a head", head, HEAD_BYTES_MAX)?;
        check_size("a value", value, VALUE_BYTES_MAX)?;
        let bytes = (head.len() + value.len()) as u64;
        let dirty = self.dirty_blocks() + bytes / BLOCK_BYTES as u64 + 2;
        let is_long = value.len() > INLINE_VALUE_BYTES;
        if from_reserve {
            self.space.admit_from_reserve(dirty)?;
        } else {
            self.space.admit(dirty)?;
        }
        if !is_long {
            self.push(&RawRecord { key, head, value: Value::Inline(value) });
        } else {
            self.space.back_long(dirty, extent_blocks(value))?;
            let extent = Extent::new(value);
            self.space.note_long(u64::from(extent.blocks()));
            self.dirty.bytes += u64::from(extent.blocks()) * BLOCK_BYTES as u64;
            self.push(&RawRecord { key, head, value: Value::Memory(&extent) });
        }
        Ok(())
    }

    /// Sets a row of a table. A value of more than 1 KiB goes to blocks of its own.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for a value of more than 16 MiB; [`Error::Full`]; [`Error::Poisoned`].
    /// Nothing was changed then. [`Error::Corrupt`] or [`Error::Disk`] if the pages that lead to
    /// the row cannot be read; the row is as it was.
    pub fn put(&mut self, table: Table, key: Key, value: &[u8]) -> Result<(), Error> {
        self.check_usable()?;
        check_size("a row", value, ROW_BYTES_MAX)?;
        let dirty = self.dirty_blocks() + value.len() as u64 / BLOCK_BYTES as u64 + 4;
        self.space.admit(dirty)?;
        if value.len() > INLINE_ROW_BYTES {
            self.space.back_long(dirty, extent_blocks(value))?;
        }
        self.put_row(table, key, value)
    }

    /// Sets a row for which there is room.
    pub(crate) fn put_row(&mut self, table: Table, key: Key, value: &[u8]) -> Result<(), Error> {
        let added = self.edit_table(table, |edit, root| edit.put(root, key, value))?;
        if value.len() > INLINE_ROW_BYTES {
            self.space.note_long(extent_blocks(value));
        }
        self.rows += u64::from(added);
        self.dirty.records += 1;
        self.touch();
        Ok(())
    }

    /// Removes a row of a table; false if there is none. May use the reserve of a full disk.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`]; [`Error::Corrupt`] or [`Error::Disk`] if the pages that lead to the row
    /// cannot be read; the row is as it was.
    pub fn delete(&mut self, table: Table, key: Key) -> Result<bool, Error> {
        self.check_usable()?;
        let removed = self.edit_table(table, |edit, root| edit.delete(root, key))?;
        if removed {
            // The number in the file may be wrong until `verify` finds that out.
            self.rows = self.rows.saturating_sub(1);
            self.dirty.records += 1;
            self.touch();
        }
        Ok(removed)
    }

    /// The value of a row, whether or not it was published.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] or [`Error::Disk`] if the pages that lead there cannot be read.
    pub fn get(&self, table: Table, key: Key) -> Result<Option<Vec<u8>>, Error> {
        let view = self.view();
        let Some(value) = view.row(table, key)? else { return Ok(None) };
        Ok(Some(view.value(value)?.to_vec()))
    }

    /// Calls `f` for the rows of a table from `from` on, in rising order, published or not, until
    /// it returns false.
    ///
    /// # Errors
    ///
    /// As [`Tree::get`].
    pub fn scan(
        &self,
        table: Table,
        from: Key,
        f: &mut dyn FnMut(Key, &[u8]) -> bool,
    ) -> Result<(), Error> {
        for row in Rows::new(self.view(), table, from) {
            let (key, value) = row?;
            if !f(key, value) {
                break;
            }
        }
        Ok(())
    }

    /// A record of the history, whether or not it was published.
    ///
    /// # Errors
    ///
    /// As [`Tree::get`].
    pub fn record(&self, key: Key) -> Result<Option<Record<'_>>, Error> {
        let view = self.view();
        Ok(view.record(key)?.map(|record| Record::new(record, view)))
    }

    /// Makes all that was appended, put and deleted so far visible to readers, at once. Copies
    /// nothing: costs an allocation or two whatever the number of changes.
    pub fn publish(&mut self) {
        if self.unpublished {
            self.flush();
            self.unpublished = false;
            self.published.replace(self.state());
        }
    }

    /// A handle for reading what was published, on any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.published.clone())
    }

    /// Figures about the file and about what is in memory.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(self)
    }

    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        if self.pages.is_poisoned() { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Notes that something was changed.
    pub(crate) fn touch(&mut self) {
        self.unpublished = true;
        self.changed = true;
    }

    /// Blocks that the next checkpoint needs, about and rather too many.
    pub(crate) fn dirty_blocks(&self) -> u64 {
        let bytes = self.dirty.bytes + self.dirty.bytes / 16;
        OVERHEAD_BLOCKS + self.changes.dirty_blocks + bytes / BLOCK_BYTES as u64
    }

    pub(crate) fn view(&self) -> View<'_> {
        View {
            pages: &self.pages,
            epoch: &self.epoch,
            base: &self.base,
            recent: &self.recent,
            recent_len: self.recent.len(),
            open: self.open.as_ref().map(|open| (&*open.leaf, open.leaf.segments.len())),
            pending: Some(&self.pending),
            tables: &self.tables,
        }
    }

    /// What readers shall see.
    pub(crate) fn state(&self) -> State {
        State {
            pages: self.pages.clone(),
            epoch: self.epoch.clone(),
            base: self.base.clone(),
            recent: self.recent.clone(),
            recent_len: self.recent.len(),
            open: self.open.as_ref().map(|open| (open.leaf.clone(), open.leaf.segments.len())),
            tables: self.tables.clone(),
        }
    }

    /// Closes the open leaf, with what is pending.
    pub(crate) fn close_leaf(&mut self) {
        self.move_pending();
        if let Some(OpenLeaf { leaf, .. }) = self.open.take() {
            self.leaves.add(leaf.encoded_len(leaf.segments.len()));
            self.recent.push(Recent { first: leaf.first, link: Link::Leaf(leaf) });
        }
    }

    /// Moves what is pending into the open leaf.
    pub(crate) fn flush(&mut self) {
        self.move_pending();
        let is_full = |open: &OpenLeaf| open.leaf.segments.len() == Shelf::<Segment, 9>::CAPACITY;
        if self.open.as_ref().is_some_and(is_full) {
            self.close_leaf();
        }
    }

    fn move_pending(&mut self) {
        let Some(open) = &mut self.open else { return };
        if self.pending.len() == 0 {
            return;
        }
        // The next batch will be like this one.
        let (slots, cells) = (self.pending.len(), self.pending.cell_bytes() + 32);
        let next = Segment::with_room(open.fill.count, slots, cells);
        open.leaf.segments.push(std::mem::replace(&mut self.pending, next));
    }

    fn push(&mut self, record: &RawRecord<'_>) {
        let len = record.encoded_len();
        if self.open.as_ref().is_some_and(|open| !open.fill.has_room(record.key, len)) {
            self.close_leaf();
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                self.pending.restart();
                let (leaf, fill) = (MemLeaf::new(record.key), Fill::new(record.key));
                none.insert(OpenLeaf { leaf: Arc::new(leaf), fill })
            }
        };
        open.fill.add(len);
        self.pending.push(record);
        self.last_key = Some(record.key);
        self.records += 1;
        self.dirty.records += 1;
        self.dirty.bytes += len as u64;
        self.touch();
    }

    fn edit_table<T>(
        &mut self,
        table: Table,
        change: impl FnOnce(&mut TableEdit<'_>, &mut Link) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut edit =
            TableEdit { pages: &self.pages, epoch: &self.epoch, changes: &mut self.changes };
        let roots = Arc::make_mut(&mut self.tables);
        change(&mut edit, &mut roots[table.index()])
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("file", &self.pages.path)
            .field("sequence", &self.sequence)
            .field("last_key", &self.last_key)
            .field("records", &self.records)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// The blocks of its own that a long value takes.
pub(crate) fn extent_blocks(value: &[u8]) -> u64 {
    u64::from(blocks_of(value.len()))
}

pub(crate) fn check_size(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), Error> {
    if bytes.len() > limit {
        return Err(Error::TooLarge { what, bytes: bytes.len(), limit });
    }
    Ok(())
}
