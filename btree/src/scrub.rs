//! Reading everything again, a bounded step at a time.
//!
//! Nodes are checked when they are first read after open, and then trusted. What rots later, or
//! lies where nobody reads, is found by a scrub: it reads each node and each long value from the
//! medium, past the page cache where the file system lets it, and compares it with the checksum in
//! what points to it. It needs a pin for one step, and nothing of the writer.

use std::collections::BTreeSet;

use revd_disk::Buffer;

use crate::format::{Pointer, checksum};
use crate::inner::{Child, level_of};
use crate::leaf::{LeafView, Value};
use crate::link::Link;
use crate::pages::{Epoch, Pages};
use crate::rows::RowsView;
use crate::view::View;
use crate::{Error, Key, Table};

/// Bytes that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// How far a scrub has come; the default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubAt {
    /// 0 for the history, or one more than the number of a table.
    area: u8,
    key: Key,
}

/// A step of a scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where the next step begins; `None` at the end.
    pub next: Option<ScrubAt>,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Scrubs a state from `at` on: at least one leaf, and no more once `max_bytes` were read.
pub(crate) fn scrub(view: View<'_>, at: ScrubAt, max_bytes: u64) -> Result<Scrubbed, Error> {
    let View { pages, epoch, .. } = view;
    let mut step = Step { pages, epoch, inner: BTreeSet::new(), bytes: 0 };
    let mut at = at;
    while at.area <= Table::COUNT {
        let high = match at.area.checked_sub(1) {
            None => step.history(view, at.key)?,
            Some(table) => step.leaf_below(&view.tables[usize::from(table)], at.key, true)?,
        };
        at = match high {
            Some(key) => ScrubAt { key, ..at },
            None => ScrubAt { area: at.area + 1, key: Key::MIN },
        };
        if step.bytes >= max_bytes {
            break;
        }
    }
    let next = (at.area <= Table::COUNT).then_some(at);
    Ok(Scrubbed { next, bytes: step.bytes })
}

struct Step<'a> {
    pages: &'a Pages,
    epoch: &'a Epoch,
    /// Inner nodes that this step has read.
    inner: BTreeSet<u32>,
    bytes: u64,
}

impl Step<'_> {
    /// Reads the closed leaf of the history that holds `key`. Returns the separator of the next.
    fn history(&mut self, view: View<'_>, key: Key) -> Result<Option<Key>, Error> {
        let listed = |index| if index < view.recent_len { view.recent.get(index) } else { None };
        let after = view.recent.partition_point(view.recent_len, |recent| recent.first <= key);
        let next = listed(after).map(|recent| recent.first);
        match after.checked_sub(1).and_then(listed) {
            Some(recent) => {
                if let Some(pointer) = recent.link.pointer() {
                    self.history_leaf(pointer)?;
                }
                Ok(next)
            }
            None => Ok(self.leaf_below(view.base, key, false)?.or(next)),
        }
    }

    /// Reads the leaf of a tree that holds `key`, and the nodes that lead to it, as far as they are
    /// on disk. Returns the separator of the next leaf.
    fn leaf_below(&mut self, root: &Link, key: Key, is_table: bool) -> Result<Option<Key>, Error> {
        if matches!(root, Link::Empty) {
            return Ok(None);
        }
        let mut level = level_of(root, self.pages, self.epoch)?;
        let mut child = Child::Link(root);
        let mut high = None;
        while level > 0 {
            if let Some(pointer) = child.on_disk()
                && self.inner.insert(pointer.block)
            {
                self.read(pointer)?;
            }
            let node = child.inner(Some(level), self.pages, self.epoch)?;
            let index = node.position(key);
            if index + 1 < node.count() {
                high = Some(node.key(index + 1));
            }
            child = node.child(index);
            level -= 1;
        }
        if high.is_some_and(|high| high <= key) {
            return Err(self.pages.corrupt(0, "order of leaves", key.main, 0));
        }
        match child.on_disk() {
            Some(pointer) if is_table => self.rows(pointer)?,
            Some(pointer) => self.history_leaf(pointer)?,
            None => {}
        }
        Ok(high)
    }

    fn history_leaf(&mut self, pointer: Pointer) -> Result<(), Error> {
        let bytes = self.read(pointer)?;
        let leaf = LeafView::parse(&bytes, pointer.block, self.pages)?;
        for index in 0..leaf.count() {
            self.value(leaf.record(index, self.pages)?.value)?;
        }
        Ok(())
    }

    fn rows(&mut self, pointer: Pointer) -> Result<(), Error> {
        let bytes = self.read(pointer)?;
        let rows = RowsView::parse(&bytes, pointer.block, self.pages)?;
        for index in 0..rows.count() {
            self.value(rows.row(index, self.pages)?.1)?;
        }
        Ok(())
    }

    fn value(&mut self, value: Value<'_>) -> Result<(), Error> {
        match value {
            Value::Disk { pointer, .. } => self.check(pointer),
            Value::Inline(_) | Value::Memory(_) => Ok(()),
        }
    }

    /// Reads a node, which is short, and compares it with its checksum.
    fn read(&mut self, pointer: Pointer) -> Result<Buffer, Error> {
        self.pages.check_bounds(pointer)?;
        let run = pointer.run();
        let mut bytes = Buffer::zeroed(run.bytes() as usize);
        self.pages.medium().read_exact_at(&mut bytes, run.offset())?;
        self.bytes += run.bytes();
        self.pages.compare(pointer, checksum(&bytes))?;
        Ok(bytes)
    }

    /// Compares a long value with its checksum.
    fn check(&mut self, pointer: Pointer) -> Result<(), Error> {
        self.pages.check_bounds(pointer)?;
        let run = pointer.run();
        let mut bytes = Buffer::zeroed(READ_BYTES.min(run.bytes()) as usize);
        let mut hasher = crc32fast::Hasher::new();
        let mut done = 0;
        while done < run.bytes() {
            let len = bytes.len().min((run.bytes() - done) as usize);
            self.pages.medium().read_exact_at(&mut bytes[..len], run.offset() + done)?;
            hasher.update(&bytes[..len]);
            done += len as u64;
        }
        self.bytes += run.bytes();
        self.pages.compare(pointer, hasher.finalize())
    }
}
