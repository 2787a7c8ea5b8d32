//! Which blocks of the file are used, and when those that no longer are may be used again.
//!
//! A block is in one of these conditions:
//!
//! - **used** by the last checkpoint or the outstanding one: its bit in the allocation map is set;
//! - **retired**: the last checkpoint does not use it, but the one before it does, or a pin may see
//!   it. Retired blocks wait in batches, one for each checkpoint;
//! - **punching**: handed to the outstanding checkpoint to be given back to the file system;
//! - **backed**: free, and the file system has room for it. Checkpoints are placed here only, so a
//!   full disk is found out by `append`, which can refuse, and never by a checkpoint;
//! - **hole**: free, but to be allocated before it is used.
//!
//! Free blocks are given out lowest first, so that the file's end stays free.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Error;
use crate::format::{BLOCK_BYTES, Encode, FIRST_FREE_BLOCK, MAP_PAGE_BLOCKS, Run};
use crate::link::Home;
use crate::pages::{Epoch, Pages};
use crate::runs::RunSet;

/// Free runs of this many blocks (64 KiB) are worth a call to give them back, and a checkpoint that
/// needs several runs is placed in no shorter ones while there are others.
const RUN_BLOCKS: u32 = 16;
/// The file grows in steps of an eighth of what is used, within these bounds (1 MiB and 16 MiB).
const STEP_BLOCKS: (u64, u64) = (256, 4096);
/// Runs that one checkpoint gives back at most, so that its duration is bounded.
const PUNCHED_RUNS_MAX: usize = 64;
/// On a full disk every n-th refused change asks the file system again.
const ASK_AGAIN: u32 = 64;

/// One page of the allocation map: a bit for each block, set if the block is used.
#[derive(Debug)]
struct MapPage {
    words: Vec<u64>,
    /// Where it is on disk; `None` for a new page.
    home: Option<Arc<Home>>,
    /// True if it differs from what is there.
    dirty: bool,
}

impl MapPage {
    fn empty() -> MapPage {
        MapPage { words: vec![0; MAP_PAGE_BLOCKS as usize / 64], home: None, dirty: true }
    }
}

/// Blocks that became unused with one checkpoint.
#[derive(Debug)]
struct Batch {
    /// The checkpoint that does not use them.
    sequence: u64,
    /// Whoever may still see them holds this; see the pin rule in [`pages`](crate::pages).
    epoch: Arc<Epoch>,
    runs: Vec<Run>,
}

/// The file's blocks; see the module.
#[derive(Debug)]
pub(crate) struct Space {
    pages: Arc<Pages>,
    /// The most blocks that the file may have.
    limit: u32,
    reserve_min: u64,
    /// Blocks of the largest checkpoint so far.
    largest: u64,
    map: Vec<MapPage>,
    backed: RunSet,
    holes: RunSet,
    batches: VecDeque<Batch>,
    retired: u64,
    /// The disk was full when it was last asked, and how many changes were refused since.
    full: Option<u32>,
}

/// A page of the allocation map that a checkpoint is to write.
#[derive(Debug)]
pub(crate) struct MapImage {
    pub(crate) home: Arc<Home>,
    words: Vec<u64>,
}

impl MapImage {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.words.iter().for_each(|word| out.u64(*word));
    }
}

impl Space {
    /// The space of a file whose used blocks are told by map pages: `map` has them with their
    /// homes. All other blocks are free; whether they are backed is unknown, which is to say not.
    pub(crate) fn new(
        pages: Arc<Pages>,
        limit: u32,
        reserve: u64,
        map: Vec<(Vec<u64>, Arc<Home>)>,
    ) -> Space {
        let map = map
            .into_iter()
            .map(|(words, home)| MapPage { words, home: Some(home), dirty: false })
            .collect();
        let mut space = Space {
            limit,
            reserve_min: reserve,
            largest: 0,
            map,
            backed: RunSet::default(),
            holes: RunSet::default(),
            batches: VecDeque::new(),
            retired: 0,
            full: None,
            pages,
        };
        space.mark(Run { block: 0, blocks: FIRST_FREE_BLOCK }, true);
        assert!(
            space.pages.blocks() >= FIRST_FREE_BLOCK,
            "the file has no room for its root slots"
        );
        let mut start = 0;
        for block in 0..space.pages.blocks() {
            if space.is_used(block) {
                space.holes.insert(Run { block: start, blocks: block - start });
                start = block + 1;
            }
        }
        space
            .holes
            .insert(Run { block: start, blocks: space.pages.blocks().saturating_sub(start) });
        space
    }

    /// Keeps free blocks back because the checkpoint before `sequence` uses them: `words` are its
    /// map pages.
    pub(crate) fn keep_for_fallback(&mut self, sequence: u64, words: &[Vec<u64>]) {
        let mut runs = RunSet::default();
        for run in self.holes.iter() {
            for block in run.block..run.end() {
                let page = words.get((block / MAP_PAGE_BLOCKS) as usize);
                if page.is_some_and(|words| bit(words, block)) {
                    runs.insert(Run { block, blocks: 1 });
                }
            }
        }
        let runs: Vec<Run> = runs.iter().collect();
        runs.iter().for_each(|run| self.holes.remove(*run));
        self.retire(sequence, Epoch::new(), runs);
    }

    /// Makes sure that `dirty` blocks can be written and the reserve is left, or refuses growth.
    pub(crate) fn admit(&mut self, dirty: u64) -> Result<(), Error> {
        let needed = dirty + self.reserve();
        if self.backed.usable() >= needed {
            return Ok(());
        }
        if let Some(refused) = &mut self.full {
            *refused += 1;
            if !refused.is_multiple_of(ASK_AGAIN) {
                return Err(self.full(needed));
            }
        }
        match self.back(needed + self.step()) {
            Ok(()) => self.full = None,
            Err(Error::Full { .. }) if self.backed.usable() >= needed => {}
            Err(error) => {
                if let Error::Full { .. } = error {
                    self.full.get_or_insert(0);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The same for a change with a long value, which needs its blocks in one piece: there must be
    /// a run that takes all that is dirty.
    pub(crate) fn admit_long(&mut self, dirty: u64) -> Result<(), Error> {
        self.admit(dirty)?;
        if self.backed.iter().any(|run| u64::from(run.blocks) >= dirty) {
            return Ok(());
        }
        self.back_in_one_piece(dirty)
    }

    /// Makes sure that so many blocks are backed, the reserve included.
    pub(crate) fn back(&mut self, target: u64) -> Result<(), Error> {
        let mut most = 4 * STEP_BLOCKS.1;
        while self.backed.usable() < target {
            let missing = (target - self.backed.usable()).max(self.step()).min(most);
            let run = match self.holes.iter().next() {
                Some(hole) => Run { blocks: hole.blocks.min(missing as u32), ..hole },
                None => self.beyond_the_end(missing, target)?,
            };
            match self.allocate(run, target) {
                // There may be room for less.
                Err(Error::Full { .. }) if run.blocks > RUN_BLOCKS => {
                    most = u64::from(run.blocks / 2);
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Gives out blocks for a checkpoint, or nothing if there is not enough room: the first block
    /// of the commit record, which takes `commit` blocks, and for each of `sizes`.
    ///
    /// Nodes and extents go lowest first. The commit record, and the map's pages later, live for
    /// two checkpoints only and take the smallest runs that hold them: these are what leaves
    /// between them leave over.
    pub(crate) fn place(&mut self, commit: u32, sizes: &[u32]) -> Result<(u32, Vec<u32>), Error> {
        let commit = self.take_smallest(commit)?;
        let mut blocks = Vec::with_capacity(sizes.len());
        let mut taken = vec![commit];
        self.place_in(RUN_BLOCKS, sizes, &mut blocks, &mut taken);
        self.place_in(1, sizes, &mut blocks, &mut taken);
        while blocks.len() < sizes.len() {
            let rest = sizes[blocks.len()..].iter().map(|&size| u64::from(size)).sum();
            if let Err(error) = self.back_in_one_piece(rest) {
                taken.into_iter().for_each(|run| self.backed.insert(run));
                return Err(error);
            }
            self.place_in(1, sizes, &mut blocks, &mut taken);
        }
        for run in taken {
            self.give(run);
        }
        Ok((commit.block, blocks))
    }

    /// Takes blocks out of the smallest run that has so many.
    fn take_smallest(&mut self, blocks: u32) -> Result<Run, Error> {
        let fits = |run: &Run| run.blocks >= blocks;
        if !self.backed.iter().any(|run| fits(&run)) {
            self.back_in_one_piece(u64::from(blocks))?;
        }
        let smallest = self.backed.iter().filter(fits).min_by_key(|run| run.blocks);
        let smallest = smallest.expect("a run of this length has just been backed");
        let run = Run { blocks, ..smallest };
        self.backed.remove(run);
        Ok(run)
    }

    /// Notes that blocks that were taken are used from now on.
    fn give(&mut self, run: Run) {
        self.pages.forget(run);
        self.mark(run, true);
    }

    /// Places what follows in `sizes` into free runs of at least `least` blocks.
    fn place_in(&mut self, least: u32, sizes: &[u32], blocks: &mut Vec<u32>, taken: &mut Vec<Run>) {
        let rest: u64 = sizes[blocks.len()..].iter().map(|&size| u64::from(size)).sum();
        let least = u64::from(least).min(rest);
        let mut used = Vec::new();
        for run in self.backed.iter().filter(|run| u64::from(run.blocks) >= least) {
            let mut next = run.block;
            while let Some(&size) = sizes.get(blocks.len())
                && size <= run.end() - next
            {
                blocks.push(next);
                next += size;
            }
            used.push(Run { block: run.block, blocks: next - run.block });
            if blocks.len() == sizes.len() {
                break;
            }
        }
        used.retain(|run| run.blocks > 0);
        used.iter().for_each(|run| self.backed.remove(*run));
        taken.extend(used);
    }

    /// Backs a run of `blocks` blocks: the lowest hole that is long enough, or the file's end.
    fn back_in_one_piece(&mut self, blocks: u64) -> Result<(), Error> {
        let target = self.backed.blocks() + blocks;
        let hole = self.holes.iter().find(|hole| u64::from(hole.blocks) >= blocks);
        let run = match hole {
            Some(hole) => Run { blocks: blocks as u32, ..hole },
            None => self.beyond_the_end(blocks, target)?,
        };
        self.allocate(run, target)
    }

    /// Blocks behind the end of the file.
    fn beyond_the_end(&self, blocks: u64, target: u64) -> Result<Run, Error> {
        let end = self.pages.blocks();
        let blocks = blocks.min(u64::from(self.limit.saturating_sub(end)));
        if blocks == 0 {
            return Err(self.full(target));
        }
        Ok(Run { block: end, blocks: blocks as u32 })
    }

    fn allocate(&mut self, run: Run, target: u64) -> Result<(), Error> {
        let done = self.pages.file.allocate(run.offset(), run.bytes());
        done.map_err(|error| if error.is_full() { self.full(target) } else { error.into() })?;
        if run.end() > self.pages.blocks() {
            self.pages.grown_to(run.end());
        } else {
            self.holes.remove(run);
        }
        self.backed.insert(run);
        Ok(())
    }

    /// Notes that blocks are used, or no longer, in the next checkpoint.
    pub(crate) fn mark(&mut self, run: Run, used: bool) {
        for block in run.block..run.end() {
            let index = (block / MAP_PAGE_BLOCKS) as usize;
            while self.map.len() <= index {
                self.map.push(MapPage::empty());
            }
            let page = &mut self.map[index];
            let at = block % MAP_PAGE_BLOCKS;
            let word = &mut page.words[at as usize / 64];
            let changed = if used { *word | 1 << (at % 64) } else { *word & !(1 << (at % 64)) };
            page.dirty |= changed != *word;
            *word = changed;
        }
    }

    pub(crate) fn is_used(&self, block: u32) -> bool {
        let page = self.map.get((block / MAP_PAGE_BLOCKS) as usize);
        page.is_some_and(|page| bit(&page.words, block))
    }

    /// The most pages that the map can have when `blocks` blocks, and the map itself, have been
    /// placed: each of them may make the file longer by itself and one step.
    pub(crate) fn map_pages_after(&self, blocks: u64) -> usize {
        let end = u64::from(self.pages.blocks()) + 2 * (blocks + STEP_BLOCKS.1);
        (end / u64::from(MAP_PAGE_BLOCKS)) as usize + 2
    }

    /// Gives each changed page of the map a new place, which may change further pages, until all is
    /// told. Returns the pages to write, and the runs of their predecessors.
    pub(crate) fn settle_map(&mut self) -> Result<(Vec<MapImage>, Vec<Run>), Error> {
        let mut settled = Vec::new();
        let mut old = Vec::new();
        while let Some(index) = self.map.iter().position(|page| page.dirty) {
            if !settled.contains(&index) {
                let run = self.take_smallest(1)?;
                self.give(run);
                let home = Arc::new(Home::default());
                home.settle(run);
                if let Some(run) = self.map[index].home.replace(home).and_then(|home| home.run()) {
                    self.mark(run, false);
                    old.push(run);
                }
                settled.push(index);
            }
            self.map[index].dirty = false;
        }
        let images = settled.into_iter().map(|index| {
            let page = &self.map[index];
            let home = page.home.clone().expect("a settled page has a home");
            MapImage { home, words: page.words.clone() }
        });
        Ok((images.collect(), old))
    }

    /// The places of all map pages.
    pub(crate) fn map_homes(&self) -> Vec<Arc<Home>> {
        self.map.iter().filter_map(|page| page.home.clone()).collect()
    }

    /// Keeps blocks that checkpoint `sequence` does not use until nobody can need them.
    pub(crate) fn retire(&mut self, sequence: u64, epoch: Arc<Epoch>, runs: Vec<Run>) {
        self.retired += runs.iter().map(|run| u64::from(run.blocks)).sum::<u64>();
        self.batches.push_back(Batch { sequence, epoch, runs });
    }

    /// Frees the batches that neither a root on disk nor a pin needs, `durable` being the newest
    /// checkpoint on disk.
    pub(crate) fn release(&mut self, durable: u64) {
        while let Some(batch) = self.batches.front_mut() {
            if batch.sequence >= durable || Arc::get_mut(&mut batch.epoch).is_none() {
                return;
            }
            let runs = std::mem::take(&mut batch.runs);
            self.batches.pop_front();
            self.retired -= runs.iter().map(|run| u64::from(run.blocks)).sum::<u64>();
            runs.into_iter().for_each(|run| self.backed.insert(run));
            self.full = None;
        }
    }

    /// Takes free runs, highest first, to be given back to the file system; not so many that the
    /// reserve would have to be allocated again.
    pub(crate) fn take_surplus(&mut self) -> Vec<Run> {
        let keep = self.reserve() + 2 * self.step();
        let mut taken = Vec::new();
        while let Some(run) = self.surplus(keep)
            && taken.len() < PUNCHED_RUNS_MAX
        {
            self.backed.remove(run);
            taken.push(run);
        }
        taken
    }

    fn surplus(&self, keep: u64) -> Option<Run> {
        let excess = self.backed.blocks().saturating_sub(keep);
        let run = self.backed.iter().rev().find(|run| run.blocks >= RUN_BLOCKS)?;
        let blocks = u64::from(run.blocks).min(excess) as u32;
        (blocks >= RUN_BLOCKS).then_some(Run { block: run.end() - blocks, blocks })
    }

    /// True if checkpoints alone, without any change, would give a good deal of room back.
    pub(crate) fn has_surplus(&self) -> bool {
        let waiting = self.backed.blocks() + self.retired;
        let keep = self.reserve() + 2 * self.step() + STEP_BLOCKS.0;
        waiting > keep && (self.retired >= STEP_BLOCKS.0 || self.surplus(keep).is_some())
    }

    /// Notes that runs were given back.
    pub(crate) fn punched(&mut self, runs: Vec<Run>) {
        runs.into_iter().for_each(|run| self.holes.insert(run));
        self.full = None;
    }

    /// Notes the size of a checkpoint; the reserve follows the largest.
    pub(crate) fn note_checkpoint(&mut self, blocks: u64) {
        self.largest = self.largest.max(blocks);
    }

    /// Free blocks that must be left when growth is admitted.
    pub(crate) fn reserve(&self) -> u64 {
        self.reserve_min.max(2 * self.largest)
    }

    pub(crate) fn backed_blocks(&self) -> u64 {
        self.backed.blocks()
    }

    pub(crate) fn hole_blocks(&self) -> u64 {
        self.holes.blocks()
    }

    pub(crate) fn retired_blocks(&self) -> u64 {
        self.retired
    }

    fn step(&self) -> u64 {
        let free = self.backed.blocks() + self.holes.blocks();
        (u64::from(self.pages.blocks()).saturating_sub(free) / 8)
            .clamp(STEP_BLOCKS.0, STEP_BLOCKS.1)
    }

    fn full(&self, needed: u64) -> Error {
        let bytes = BLOCK_BYTES as u64;
        Error::Full { free_bytes: self.backed.blocks() * bytes, needed_bytes: needed * bytes }
    }
}

/// The bit of a block in the map page that tells of it.
pub(crate) fn bit(words: &[u64], block: u32) -> bool {
    let at = block % MAP_PAGE_BLOCKS;
    words.get(at as usize / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
}
