//! Sets of blocks as runs.

use std::collections::BTreeMap;

use crate::format::{LEAF_BYTES, Run, blocks_of};

/// A set of blocks, kept as runs of greatest length.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunSet {
    /// Length by first block. No two runs touch.
    runs: BTreeMap<u32, u32>,
    blocks: u64,
    /// Blocks in runs that are too short for a leaf.
    short: u64,
    /// The last answer of [`RunSet::room`], with its question; `None` if runs have changed since.
    room: Option<(u64, u64)>,
}

impl RunSet {
    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How many blocks there are in runs that are long enough for a leaf.
    pub(crate) fn usable(&self) -> u64 {
        self.blocks - self.short
    }

    /// Blocks that pieces of up to `longest` blocks are sure to find, placed one after the other:
    /// a piece that does not fit leaves less than its own length at the end of each run.
    pub(crate) fn room(&mut self, longest: u64) -> u64 {
        if let Some((asked, room)) = self.room
            && asked == longest
        {
            return room;
        }
        let room =
            self.runs.values().map(|&blocks| (u64::from(blocks) + 1).saturating_sub(longest));
        let room = room.sum();
        self.room = Some((longest, room));
        room
    }

    /// The runs, lowest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Run> {
        self.runs.iter().map(|(&block, &blocks)| Run { block, blocks })
    }

    /// True if all blocks of the run are there.
    pub(crate) fn has(&self, run: Run) -> bool {
        let around = self.runs.range(..=run.block).next_back();
        around.is_some_and(|(&block, &blocks)| run.end() <= block + blocks)
    }

    /// Adds blocks, none of which is there.
    pub(crate) fn insert(&mut self, run: Run) {
        if run.blocks == 0 {
            return;
        }
        let mut merged = run;
        if let Some((&block, &blocks)) = self.runs.range(..run.end()).next_back() {
            let before = Run { block, blocks };
            assert!(before.end() <= run.block, "{run:?} is free already, by {before:?}");
            if before.end() == run.block {
                self.take(block);
                merged = Run { block, blocks: blocks + run.blocks };
            }
        }
        merged.blocks += self.take(run.end());
        self.put(merged);
    }

    /// Takes blocks out, all of which are there.
    pub(crate) fn remove(&mut self, run: Run) {
        if run.blocks == 0 {
            return;
        }
        let around = self.runs.range(..=run.block).next_back();
        let around = around.map(|(&block, &blocks)| Run { block, blocks });
        let Some(around) = around.filter(|around| run.end() <= around.end()) else {
            panic!("{run:?} is not free, only {around:?} before it");
        };
        self.take(around.block);
        self.put(Run { block: around.block, blocks: run.block - around.block });
        self.put(Run { block: run.end(), blocks: around.end() - run.end() });
    }

    /// Takes the run that begins at `block` out; its length, or 0 if there is none.
    fn take(&mut self, block: u32) -> u32 {
        let blocks = self.runs.remove(&block).unwrap_or(0);
        self.blocks -= u64::from(blocks);
        self.short -= short(blocks);
        self.room = None;
        blocks
    }

    /// Adds a run that touches no other.
    fn put(&mut self, run: Run) {
        if run.blocks > 0 {
            self.runs.insert(run.block, run.blocks);
            self.blocks += u64::from(run.blocks);
            self.short += short(run.blocks);
            self.room = None;
        }
    }
}

/// The blocks of a run, if it is too short for a leaf.
fn short(blocks: u32) -> u64 {
    if blocks < blocks_of(LEAF_BYTES) { u64::from(blocks) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_merge_and_split() {
        let mut set = RunSet::default();
        for block in [10, 12, 11, 20, 21, 9] {
            set.insert(Run { block, blocks: 1 });
        }
        let runs: Vec<_> = set.iter().collect();
        assert_eq!(runs, [Run { block: 9, blocks: 4 }, Run { block: 20, blocks: 2 }]);
        set.remove(Run { block: 10, blocks: 2 });
        let runs: Vec<_> = set.iter().map(|run| (run.block, run.blocks)).collect();
        assert_eq!(runs, [(9, 1), (12, 1), (20, 2)]);
        assert_eq!((set.blocks(), set.usable()), (4, 0));
        set.insert(Run { block: 13, blocks: 3 });
        assert_eq!((set.blocks(), set.usable()), (7, 4));
        // Runs of 1, 4 and 2 blocks.
        assert_eq!([1, 2, 4, 5].map(|longest| set.room(longest)), [7, 4, 1, 0]);
        set.remove(Run { block: 12, blocks: 1 });
        assert_eq!(set.room(4), 0);
    }

    #[test]
    #[should_panic(expected = "is free already")]
    fn a_block_is_not_freed_twice() {
        let mut set = RunSet::default();
        set.insert(Run { block: 10, blocks: 5 });
        set.insert(Run { block: 8, blocks: 3 });
    }
}
