//! Removing records from the history: leaves are read, what is to be kept is written into new, full
//! leaves, and these take the place of the old ones.
//!
//! Closed leaves never change, so all of the work is done by a [`Sweep`], a value that any thread
//! may run while the writer goes on; the writer plans it and adopts its result, which are changes
//! of pointers.

use std::sync::Arc;

use crate::format::{LEAF_BYTES, LeafTotals, Run, blocks_of};
use crate::history::{HistoryEdit, warm};
use crate::inner::Replacement;
use crate::leaf::{Extent, Fill, LeafView, MemLeaf, RawRecord, Segment, Value};
use crate::link::Link;
use crate::pages::{Epoch, Pages};
use crate::{Error, Key, Tree};

/// A leaf of less than this many bytes is worth joining with its neighbour.
const WELL_FILLED_BYTES: usize = LEAF_BYTES / 4 * 3;

/// A bounded run of leaves of the history that are to be swept; see [`Tree::plan_sweep`].
#[derive(Debug)]
#[must_use = "a sweep does nothing until it is run"]
pub struct Sweep {
    pages: Arc<Pages>,
    /// The leaves, each with its separator; not empty.
    leaves: Replacement,
    /// The separator of the leaf behind them, if there is one.
    next: Option<Key>,
    end: Key,
    /// Why the leaves could not be listed.
    failed: Option<Error>,
    /// The inner nodes above the leaves.
    base: Link,
    /// As long as this is held, the blocks of leaves and inner nodes are not reused: see the pin
    /// rule.
    epoch: Arc<Epoch>,
}

/// The leaves that shall take the place of those that were swept; for [`Tree::adopt`].
#[derive(Debug)]
#[must_use = "a sweep takes effect when it is adopted"]
pub struct Swept {
    old: Replacement,
    new: Replacement,
    dropped: Vec<Dropped>,
    before: LeafTotals,
    after: LeafTotals,
    next: Option<Key>,
    kept: u64,
    removed: u64,
}

/// The extent of a record that was removed.
#[derive(Debug)]
enum Dropped {
    Memory(Arc<Extent>),
    Disk(Run),
}

impl Tree {
    /// Plans the sweep of some leaves of the history, from the one that holds `from` on: as many as
    /// have `max_bytes` together, and at least two if there are. The open leaf is never swept.
    /// `None` if there is no closed leaf from `from` on.
    ///
    /// Several sweeps may be planned and run at once if their ranges do not overlap.
    ///
    /// Lists the leaves by the inner nodes above them, and reads nothing else. These are in memory,
    /// since each checkpoint leaves those that it wrote in the page cache and [`Sweep::run`] has
    /// read those that come next; only the first plan after open, or after the system has dropped
    /// them, waits for the disk, once for each level.
    pub fn plan_sweep(&mut self, from: Key, max_bytes: usize) -> Option<Sweep> {
        let mut planned = self.leaves_from(from, max_bytes);
        // Leaves that no inner node lists yet are put there when a sweep comes near them.
        if self.recent.len() > 0 && matches!(planned, Ok((_, None))) {
            planned = self.fold_recent().and_then(|()| self.leaves_from(from, max_bytes));
        }
        let open = self.open.as_ref().map(|open| open.leaf.first);
        let last = self.last_key.and_then(Key::next);
        let ((leaves, next), failed) = match planned {
            Ok(planned) => (planned, None),
            Err(error) => ((vec![(from, Link::Empty)], None), Some(error)),
        };
        if leaves.is_empty() || open.is_some_and(|open| open <= from) {
            return None;
        }
        let end = next.or(open).or(last).unwrap_or(Key::MAX);
        let (pages, base, epoch) = (self.pages.clone(), self.base.clone(), self.epoch.clone());
        Some(Sweep { pages, leaves, next, end, failed, base, epoch })
    }

    /// Puts swept leaves in the place of those they were made from. Durable, and the room of the
    /// old ones free, after the next checkpoints. May use the reserve of a full disk. Changes
    /// pointers only, and copies each inner node above the leaves once for each checkpoint: what it
    /// costs goes by the number of leaves that were swept.
    ///
    /// # Errors
    ///
    /// [`Error::StaleSweep`] if the leaves of the range are no longer those that were swept, and
    /// nothing was changed; [`Error::Poisoned`]; [`Error::Corrupt`] or [`Error::Disk`] if inner
    /// nodes cannot be read: the tree is poisoned then.
    pub fn adopt(&mut self, swept: Swept) -> Result<(), Error> {
        self.check_usable()?;
        let Some(&(low, _)) = swept.old.first() else { return Ok(()) };
        let mut edit =
            HistoryEdit { pages: &self.pages, epoch: &self.epoch, changes: &mut self.changes };
        let mut wanted = swept.old.len();
        let (live, high) = edit.leaves(&self.base, low, |_| {
            let more = wanted > 0;
            wanted -= usize::from(more);
            more
        })?;
        let is_same =
            |((a, old), (b, live)): (&(Key, Link), &(Key, Link))| a == b && old.is_same(live);
        if live.len() != swept.old.len() || !swept.old.iter().zip(&live).all(is_same) {
            return Err(Error::StaleSweep { from: low });
        }
        let is_kept = |link: &Link| swept.new.iter().any(|(_, new)| new.is_same(link));
        let (kept, replaced): (Vec<_>, Vec<_>) =
            live.into_iter().map(|(_, link)| link).partition(is_kept);
        if replaced.is_empty() {
            return Ok(());
        }
        let is_new = |link: &&(Key, Link)| !kept.iter().any(|kept| kept.is_same(&link.1));
        let blocks = swept.new.iter().filter(is_new).map(|(_, link)| match link {
            Link::Leaf(leaf) => u64::from(blocks_of(leaf.encoded_len(leaf.segments.len()))),
            _ => 0,
        });
        edit.changes.dirty_blocks += blocks.sum::<u64>();
        replaced.iter().for_each(|link| edit.changes.retire(link));
        edit.changes.retired.extend(swept.dropped.iter().filter_map(|dropped| match dropped {
            Dropped::Memory(extent) => extent.home.run(),
            Dropped::Disk(run) => Some(*run),
        }));
        let done = edit.replace(&mut self.base, low, high, swept.new);
        if done.is_err() {
            // Some of the range may be there twice, or not at all.
            self.pages.poison();
        }
        done?;
        // The number in the file may be wrong until `verify` finds that out.
        self.records = self.records.saturating_sub(swept.removed);
        self.leaves.replace(swept.before, swept.after);
        self.touch();
        Ok(())
    }

    /// The leaves below the inner nodes from the one that holds `from` on.
    fn leaves_from(
        &mut self,
        from: Key,
        max_bytes: usize,
    ) -> Result<(Replacement, Option<Key>), Error> {
        let edit =
            HistoryEdit { pages: &self.pages, epoch: &self.epoch, changes: &mut self.changes };
        let (mut leaves, mut bytes) = (0, 0);
        edit.leaves(&self.base, from, |link| {
            bytes += match link {
                Link::Leaf(leaf) => leaf.encoded_len(leaf.segments.len()),
                link => link.run().map_or(0, |run| run.bytes() as usize),
            };
            leaves += 1;
            leaves <= 2 || bytes <= max_bytes
        })
    }
}

impl Sweep {
    /// The keys that it covers: from the first, up to but without the second.
    #[must_use]
    pub fn range(&self) -> (Key, Key) {
        (self.leaves[0].0, self.end)
    }

    /// Reads the leaves and copies the records for which `keep` says so, by key and head, into new
    /// leaves. Long values are not read: their extents stay where they are, or are given up. Reads
    /// the inner nodes, too, that the writer will need next, so that it does not wait for the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] or [`Error::Disk`] if a leaf cannot be read.
    pub fn run(mut self, keep: &mut dyn FnMut(Key, &[u8]) -> bool) -> Result<Swept, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut leaves = Leaves::default();
        for (low, link) in &self.leaves {
            let bytes;
            let view = match link {
                Link::Leaf(leaf) => leaf.view(),
                link => {
                    let pointer = link.pointer().expect("a closed leaf is in memory or on disk");
                    bytes = self.pages.load(pointer)?;
                    LeafView::parse(&bytes, pointer.block, &self.pages)?
                }
            };
            leaves.add(*low, link, view, &self.pages, keep)?;
        }
        if leaves.last.zip(self.next).is_some_and(|(last, next)| last >= next) {
            let next = self.next.map_or(0, |next| next.main);
            return Err(self.pages.corrupt(0, "order of leaves", next, 0));
        }
        leaves.finish();
        warm(&self.base, self.leaves[0].0, self.next, &self.pages, &self.epoch);
        let last = leaves.last_partial.filter(|_| self.next.is_some());
        Ok(Swept {
            old: self.leaves,
            new: leaves.done,
            dropped: leaves.dropped,
            before: leaves.before,
            after: leaves.after,
            next: last.or(self.next),
            kept: leaves.kept,
            removed: leaves.removed,
        })
    }
}

impl Swept {
    /// Where the next sweep is to be planned from; `None` if there was no closed leaf behind these.
    /// May be a key of this range: a new leaf that is not full is taken up again by the next sweep.
    #[must_use]
    pub fn next(&self) -> Option<Key> {
        self.next
    }

    /// How many records were kept.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// How many records were removed.
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.removed
    }
}

/// Leaves that are being filled with what is kept.
#[derive(Default)]
struct Leaves {
    done: Replacement,
    filling: Option<(Fill, Segment)>,
    /// The old leaf that the one being filled equals, if it does.
    unchanged: Option<(Key, Link)>,
    /// The first key of the last leaf, if that is new and not well filled.
    last_partial: Option<Key>,
    /// The last key that was read.
    last: Option<Key>,
    dropped: Vec<Dropped>,
    before: LeafTotals,
    after: LeafTotals,
    kept: u64,
    removed: u64,
}

impl Leaves {
    /// Takes what is kept of an old leaf.
    fn add(
        &mut self,
        low: Key,
        link: &Link,
        view: LeafView<'_>,
        pages: &Pages,
        keep: &mut dyn FnMut(Key, &[u8]) -> bool,
    ) -> Result<(), Error> {
        let mut kept = Vec::with_capacity(view.count());
        let block = link.run().map_or(0, |run| run.block);
        if self.last.is_some_and(|last| last >= low) {
            return Err(pages.corrupt(block, "order of leaves", 0, low.main));
        }
        for index in 0..view.count() {
            let record = view.record(index, pages)?;
            // New leaves are made of these keys: they must rise.
            if record.key < low || self.last.is_some_and(|last| last >= record.key) {
                return Err(pages.corrupt(block, "order of keys", low.main, record.key.main));
            }
            self.last = Some(record.key);
            if keep(record.key, record.head) {
                kept.push(record);
                continue;
            }
            self.removed += 1;
            match record.value {
                Value::Inline(_) => {}
                Value::Memory(extent) => self.dropped.push(Dropped::Memory(extent.clone())),
                Value::Disk { pointer, .. } => self.dropped.push(Dropped::Disk(pointer.run())),
            }
        }
        self.kept += kept.len() as u64;
        self.before.add(view.encoded_len());
        let is_whole = kept.len() == view.count();
        let filled = self.filling.as_ref().map_or(0, |(fill, _)| fill.bytes);
        let is_apart = filled == 0 || filled >= LEAF_BYTES / 2;
        if is_whole && is_apart && view.encoded_len() >= WELL_FILLED_BYTES {
            self.finish();
            self.after.add(view.encoded_len());
            self.done.push((low, link.clone()));
            self.last_partial = None;
            return Ok(());
        }
        let begins = self.filling.is_none();
        for record in &kept {
            self.push(record);
        }
        self.unchanged = (begins && is_whole).then(|| (low, link.clone()));
        Ok(())
    }

    fn push(&mut self, record: &RawRecord<'_>) {
        let len = record.encoded_len();
        if self.filling.as_ref().is_some_and(|(fill, _)| !fill.has_room(record.key, len)) {
            self.finish();
        }
        let (fill, segment) =
            self.filling.get_or_insert_with(|| (Fill::new(record.key), Segment::default()));
        fill.add(len);
        segment.push(record);
        self.unchanged = None;
    }

    /// Closes the leaf that is being filled.
    fn finish(&mut self) {
        let Some((fill, segment)) = self.filling.take() else { return };
        self.after.add(fill.bytes);
        self.last_partial = (fill.bytes < WELL_FILLED_BYTES).then_some(fill.first);
        let new = self.unchanged.take();
        self.done.push(
            new.unwrap_or_else(|| (fill.first, Link::Leaf(MemLeaf::closed(fill.first, segment)))),
        );
    }
}
