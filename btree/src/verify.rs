//! Walking everything: what is durable, by its bytes on disk, and what readers and the writer see.

use crate::cursor::{Cursor, Rows};
use crate::format::{
    BLOCK_BYTES, Commit, FIRST_FREE_BLOCK, LeafTotals, Pointer, Run, SLOT_BLOCKS, Slot, u64_at,
};
use crate::inner::{INNER_KIND, InnerView};
use crate::leaf::{LeafView, Value};
use crate::open::read_commit;
use crate::pages::Pages;
use crate::rows::RowsView;
use crate::{Error, Key, Table, Tree};

/// What [`Tree::verify`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Records in the durable history.
    pub records: u64,
    /// Rows in the durable tables.
    pub rows: u64,
    /// Nodes of the durable trees.
    pub nodes: u64,
    /// Long values of the durable trees.
    pub extents: u64,
    /// Inner levels of the durable history.
    pub depth: u64,
    /// Bytes of all blocks that the durable checkpoint uses.
    pub bytes: u64,
    /// Bytes of cells in the durable leaves of the history, headers included; with `leaf_bytes` it
    /// tells how full they are.
    pub filled_bytes: u64,
    /// Bytes of the blocks of the durable leaves of the history.
    pub leaf_bytes: u64,
    /// Durable leaves of the history.
    pub leaves: u64,
}

impl Tree {
    /// Reads every byte of the last checkpoint from the disk, and checks its checksums, the order
    /// of its keys, its counts, and that the allocation map tells exactly the blocks that are used;
    /// then walks over the current state, published or not, long values included.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] names the first thing found wrong; [`Error::Disk`].
    pub fn verify(&self) -> Result<Verified, Error> {
        let verified = self.verify_durable()?;
        self.verify_current()?;
        Ok(verified)
    }

    fn verify_durable(&self) -> Result<Verified, Error> {
        let block = SLOT_BLOCKS[(self.sequence % 2) as usize];
        let run = Run { block, blocks: 1 };
        let mut bytes = vec![0; BLOCK_BYTES];
        self.pages.file.read_exact_at(&mut bytes, run.offset())?;
        let slot = Slot::decode(&bytes).filter(|slot| slot.sequence == self.sequence);
        let corrupt = || self.pages.corrupt(block, "root slot", self.sequence, 0);
        let slot = slot.ok_or_else(corrupt)?;
        let commit = read_commit(&self.pages, slot)?;
        let mut walk = Walk::new(&self.pages);
        walk.reach(Run { block: 0, blocks: FIRST_FREE_BLOCK })?;
        walk.reach(slot.commit)?;
        walk.history(&commit)?;
        for (_, root) in &commit.tables {
            walk.last = None;
            walk.table(*root, None)?;
        }
        walk.counts(&commit)?;
        walk.map(&commit)?;
        Ok(walk.seen)
    }

    fn verify_current(&self) -> Result<(), Error> {
        let wrong = |what, expected, found| Err(self.pages.corrupt(0, what, expected, found));
        let mut last: Option<Key> = None;
        let mut records = self.pending.len() as u64;
        for record in Cursor::new(self.view(), Key::MIN) {
            let record = record?;
            if last.is_some_and(|last| record.key <= last) {
                return wrong("order of records in memory", 0, record.key.main);
            }
            record.value()?;
            last = Some(record.key);
            records += 1;
        }
        if last > self.last_key {
            return wrong("last key", self.last_key.map_or(0, |key| key.main), 0);
        }
        if records != self.records {
            return wrong("number of records in memory", self.records, records);
        }
        let mut rows = 0;
        for table in (0..Table::COUNT).map(Table) {
            let mut last = None;
            for row in Rows::new(self.view(), table, Key::MIN) {
                let key = row?.0;
                if last.is_some_and(|last| key <= last) {
                    return wrong("order of rows in memory", 0, key.main);
                }
                last = Some(key);
                rows += 1;
            }
        }
        if rows != self.rows {
            return wrong("number of rows in memory", self.rows, rows);
        }
        Ok(())
    }
}

/// A walk over the nodes of one checkpoint, by their bytes on disk.
struct Walk<'p> {
    pages: &'p Pages,
    /// A bit for each block that was reached.
    reached: Vec<u64>,
    /// The last key that was passed.
    last: Option<Key>,
    seen: Verified,
}

impl<'p> Walk<'p> {
    fn new(pages: &'p Pages) -> Walk<'p> {
        let words = (pages.blocks() as usize).div_ceil(64);
        Walk { pages, reached: vec![0; words], last: None, seen: Verified::default() }
    }

    fn reach(&mut self, run: Run) -> Result<(), Error> {
        for block in run.block..run.end() {
            let (word, mask) = (block as usize / 64, 1 << (block % 64));
            match self.reached.get_mut(word) {
                Some(word) if *word & mask == 0 => *word |= mask,
                _ => return self.wrong(block, "a block that is used twice", 1, 2),
            }
        }
        self.seen.bytes += run.bytes();
        Ok(())
    }

    fn load(&mut self, pointer: Pointer) -> Result<Vec<u8>, Error> {
        let bytes = self.pages.load(pointer)?;
        self.reach(pointer.run())?;
        self.seen.nodes += 1;
        Ok(bytes)
    }

    /// Checks that keys rise and stay within the separators around them.
    fn pass(&mut self, block: u32, key: Key, high: Option<Key>) -> Result<(), Error> {
        if self.last.is_some_and(|last| key <= last) {
            return self.wrong(block, "order of keys", 0, key.main);
        }
        if let Some(high) = high.filter(|high| key >= *high) {
            return self.wrong(block, "a key at or above the next separator", high.main, key.main);
        }
        self.last = Some(key);
        Ok(())
    }

    fn history(&mut self, commit: &Commit) -> Result<(), Error> {
        let recent = &commit.recent;
        let firsts = recent.iter().map(|(first, _)| *first).chain([Key::MAX]);
        let mut highs = firsts.clone().skip(1);
        if let Some(base) = commit.base {
            self.history_inner(base, None, None, firsts.clone().next())?;
        }
        for (first, pointer) in recent {
            self.history_leaf(*pointer, *first, highs.next().filter(|high| *high < Key::MAX))?;
        }
        self.leaf_totals(commit)?;
        if let Some(open) = commit.open {
            self.history_leaf(open, self.last.and_then(Key::next).unwrap_or(Key::MIN), None)?;
        }
        if self.last > commit.last_key {
            let expected = commit.last_key.map_or(0, |key| key.main);
            return self.wrong(0, "last key", expected, self.last.map_or(0, |key| key.main));
        }
        Ok(())
    }

    fn history_inner(
        &mut self,
        pointer: Pointer,
        level: Option<u8>,
        low: Option<Key>,
        high: Option<Key>,
    ) -> Result<(), Error> {
        let bytes = self.load(pointer)?;
        let inner = InnerView::parse(&bytes, pointer.block, self.pages)?;
        self.check_inner(inner, pointer.block, level, low)?;
        self.seen.depth = self.seen.depth.max(u64::from(inner.level()));
        for index in 0..inner.count() {
            let low = inner.key(index);
            let next = (index + 1 < inner.count()).then(|| inner.key(index + 1)).or(high);
            let child = inner.child(index).to_link().pointer().expect("children are on disk");
            if inner.level() == 1 {
                self.history_leaf(child, low, next)?;
            } else {
                self.history_inner(child, Some(inner.level() - 1), Some(low), next)?;
            }
        }
        Ok(())
    }

    fn history_leaf(&mut self, pointer: Pointer, low: Key, high: Option<Key>) -> Result<(), Error> {
        let bytes = self.load(pointer)?;
        let leaf = LeafView::parse(&bytes, pointer.block, self.pages)?;
        if self.last.is_some_and(|last| last >= low) {
            return self.wrong(pointer.block, "order of leaves", 0, low.main);
        }
        self.seen.leaves += 1;
        self.seen.leaf_bytes += pointer.run().bytes();
        self.seen.filled_bytes += leaf.encoded_len() as u64;
        for index in 0..leaf.count() {
            let record = leaf.record(index, self.pages)?;
            if record.key < low {
                return self.wrong(pointer.block, "first key", low.main, record.key.main);
            }
            self.pass(pointer.block, record.key, high)?;
            self.extent(record.value)?;
            self.seen.records += 1;
        }
        Ok(())
    }

    /// A node of a table: `parent` has level and separators if it is not the root.
    fn table(
        &mut self,
        pointer: Pointer,
        parent: Option<(u8, Key, Option<Key>)>,
    ) -> Result<(), Error> {
        let bytes = self.load(pointer)?;
        let block = pointer.block;
        let high = parent.and_then(|(_, _, high)| high);
        let is_leaf = match parent {
            Some((level, ..)) => level == 1,
            None => bytes.first() != Some(&INNER_KIND),
        };
        if is_leaf {
            let rows = RowsView::parse(&bytes, block, self.pages)?;
            for index in 0..rows.count() {
                let (key, value) = rows.row(index, self.pages)?;
                if let Some((_, low, _)) = parent.filter(|(_, low, _)| key < *low) {
                    return self.wrong(block, "first key", low.main, key.main);
                }
                self.pass(block, key, high)?;
                self.extent(value)?;
                self.seen.rows += 1;
            }
            return Ok(());
        }
        let inner = InnerView::parse(&bytes, block, self.pages)?;
        let level = parent.map(|(level, ..)| level - 1);
        self.check_inner(inner, block, level, parent.map(|(_, low, _)| low))?;
        for index in 0..inner.count() {
            let next = (index + 1 < inner.count()).then(|| inner.key(index + 1)).or(high);
            let child = inner.child(index).to_link().pointer().expect("children are on disk");
            self.table(child, Some((inner.level(), inner.key(index), next)))?;
        }
        Ok(())
    }

    fn check_inner(
        &self,
        inner: InnerView<'_>,
        block: u32,
        level: Option<u8>,
        low: Option<Key>,
    ) -> Result<(), Error> {
        if let Some(level) = level.filter(|level| *level != inner.level()) {
            return self.wrong(block, "level", u64::from(level), u64::from(inner.level()));
        }
        if let Some(low) = low.filter(|low| *low != inner.key(0)) {
            return self.wrong(block, "first separator", low.main, inner.key(0).main);
        }
        for index in 1..inner.count() {
            if inner.key(index) <= inner.key(index - 1) {
                return self.wrong(block, "order of separators", 0, inner.key(index).main);
            }
        }
        Ok(())
    }

    fn extent(&mut self, value: Value<'_>) -> Result<(), Error> {
        if let Value::Disk { pointer, .. } = value {
            self.pages.check(pointer)?;
            self.reach(pointer.run())?;
            self.seen.extents += 1;
        }
        Ok(())
    }

    /// Compares the closed leaves that were passed with what the commit record says.
    fn leaf_totals(&self, commit: &Commit) -> Result<(), Error> {
        let Verified { leaves, leaf_bytes, filled_bytes, .. } = self.seen;
        let found = [leaves, leaf_bytes / BLOCK_BYTES as u64, filled_bytes];
        let LeafTotals { count, blocks, bytes } = commit.leaves;
        for (expected, found) in [count, blocks, bytes].into_iter().zip(found) {
            if expected != found {
                return self.wrong(0, "size of the closed leaves", expected, found);
            }
        }
        Ok(())
    }

    fn counts(&self, commit: &Commit) -> Result<(), Error> {
        if self.seen.records != commit.records {
            return self.wrong(0, "number of records", commit.records, self.seen.records);
        }
        if self.seen.rows != commit.rows {
            return self.wrong(0, "number of rows", commit.rows, self.seen.rows);
        }
        Ok(())
    }

    /// Compares what was reached with the allocation map.
    fn map(&mut self, commit: &Commit) -> Result<(), Error> {
        let mut words = Vec::new();
        for &(block, crc) in &commit.map {
            let pointer = Pointer { block, blocks: 1, crc };
            let bytes = self.pages.load(pointer)?;
            self.reach(pointer.run())?;
            words.extend(bytes.chunks_exact(8).filter_map(|word| u64_at(word, 0)));
        }
        for block in 0..(words.len() * 64) as u32 {
            let used = bit_of(&words, block);
            let reached = bit_of(&self.reached, block);
            if used != reached {
                let what = "allocation map";
                return self.wrong(block, what, u64::from(reached), u64::from(used));
            }
        }
        Ok(())
    }

    fn wrong<T>(
        &self,
        block: u32,
        what: &'static str,
        expected: u64,
        found: u64,
    ) -> Result<T, Error> {
        Err(self.pages.corrupt(block, what, expected, found))
    }
}

/// The bit of a block in a map of all blocks.
fn bit_of(words: &[u64], block: u32) -> bool {
    words.get(block as usize / 64).is_some_and(|word| word & (1 << (block % 64)) != 0)
}
