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
//! Backed blocks are either **primed**, which is to say written before, or **raw**: the first write
//! of a raw block makes the file system record that it is written, and the next sync wait for its
//! journal. That more than doubles the time of a small checkpoint, so small ones go to primed
//! blocks; when these run out, a checkpoint writes zeros to a stretch of raw ones for all that
//! follow. Large ones take raw blocks as they are: to write them twice would cost more.
//!
//! Free blocks are given out lowest first, so that the file's end stays free.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Error;
use crate::format::{BLOCK_BYTES, Encode, FIRST_FREE_BLOCK, MAP_PAGE_BLOCKS, Run};
use crate::link::Home;
use crate::pages::{Epoch, Pages};
use crate::placing::Placing;
use crate::runs::RunSet;

/// Free runs of this many blocks (64 KiB) are worth a call to give them back, and a checkpoint that
/// needs several runs is placed in no shorter ones while there are others.
const RUN_BLOCKS: u32 = 16;
/// The file grows in steps of a 32nd of what is used, within these bounds (1 MiB and 8 MiB).
const STEP_BLOCKS: (u64, u64) = (256, 2048);
/// A small file holds less than the whole reserve back: a 32nd of what is used, but at least this
/// (4 MiB).
const SMALL_RESERVE_BLOCKS: u64 = 1024;
/// Checkpoints of less than this many blocks (256 KiB) go to primed blocks: from about there on
/// the zeros take longer than the journal.
const LARGE_BLOCKS: u32 = 64;
/// Raw blocks that are primed at once: an eighth of what is used, within these bounds (64 KiB and
/// 1 MiB).
const PRIME_BLOCKS: (u64, u64) = (16, 256);
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
    /// False if the file system may have no room for them.
    backed: bool,
}

/// The file's blocks; see the module.
#[derive(Debug)]
pub(crate) struct Space {
    pages: Arc<Pages>,
    /// The most blocks that the file may have.
    limit: u32,
    reserve_most: u64,
    /// Blocks of the largest checkpoint of late.
    largest: u64,
    map: Vec<MapPage>,
    /// Backed, and written before, but for those that the next checkpoint is to prime.
    primed: RunSet,
    /// Backed, and perhaps never written.
    raw: RunSet,
    /// Runs that the next checkpoint writes zeros to, before all else.
    to_prime: Vec<Run>,
    /// See [`Space::map_pages_guess`].
    map_pages_guess: u32,
    /// Blocks of the longest value that waits for the next checkpoint; 0 if none has its own.
    longest: u64,
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
    pub(crate) fn encode(&self, out: &mut impl Encode) {
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
            reserve_most: reserve,
            largest: 0,
            map,
            primed: RunSet::default(),
            raw: RunSet::default(),
            to_prime: Vec::new(),
            map_pages_guess: 1,
            longest: 0,
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

    /// Keeps all free blocks back if processes that only read are marked on a root before
    /// `sequence`: which blocks these use, nobody knows any more.
    pub(crate) fn keep_for_marks(&mut self, sequence: u64) {
        if self.is_marked_before(sequence) {
            let runs: Vec<Run> = self.holes.iter().collect();
            self.holes = RunSet::default();
            self.retire(sequence, Epoch::new(), runs);
            self.batches.iter_mut().for_each(|batch| batch.backed = false);
        }
    }

    /// True if another process may see a root before `sequence`. If that cannot be told, it may.
    fn is_marked_before(&self, sequence: u64) -> bool {
        self.pages.file.is_marked(0..sequence).unwrap_or(true)
    }

    /// Makes sure that `dirty` blocks can be written and the reserve is left, or refuses growth.
    pub(crate) fn admit(&mut self, dirty: u64) -> Result<(), Error> {
        self.admit_keeping(dirty, self.reserve())
    }

    /// The same with `kept` blocks in place of the reserve.
    pub(crate) fn admit_keeping(&mut self, dirty: u64, kept: u64) -> Result<(), Error> {
        let needed = dirty + kept;
        if self.usable() >= needed {
            return self.back_waiting(dirty);
        }
        if let Some(refused) = &mut self.full {
            *refused += 1;
            if !refused.is_multiple_of(ASK_AGAIN) {
                return Err(full(self.usable(), needed));
            }
        }
        match self.back(needed + self.step()) {
            Ok(()) => self.full = None,
            Err(Error::Full { .. }) if self.usable() >= needed => {}
            Err(Error::Full { .. }) => {
                self.full.get_or_insert(0);
                return Err(full(self.usable(), needed));
            }
            Err(error) => return Err(error),
        }
        self.back_waiting(dirty)
    }

    /// Makes sure that `dirty` blocks can be written, if need be to the reserve.
    pub(crate) fn admit_from_reserve(&mut self, dirty: u64) -> Result<(), Error> {
        match self.admit(dirty) {
            Err(Error::Full { .. }) if self.usable() >= dirty => self.back_waiting(dirty),
            Err(Error::Full { .. }) => Err(full(self.usable(), dirty)),
            // A file system that fails is not a full one.
            done => done,
        }
    }

    /// Makes sure that values of up to `longest` blocks, each of which needs its blocks in one
    /// piece, find their place when `dirty` blocks are written: by a run that takes all of it, or
    /// by several, however much of them is left over between the values.
    pub(crate) fn back_long(&mut self, dirty: u64, longest: u64) -> Result<(), Error> {
        let longest = longest.max(self.longest).max(1);
        // Priming may cut a run in two.
        let room = (self.primed.room(longest) + self.raw.room(longest)).saturating_sub(longest);
        let fits = |run: Run| u64::from(run.blocks) >= dirty;
        if room >= dirty || self.primed.iter().any(fits) || self.raw.iter().any(fits) {
            return Ok(());
        }
        self.back_in_one_piece(dirty)
    }

    /// The same for the values that wait already, if there are any.
    fn back_waiting(&mut self, dirty: u64) -> Result<(), Error> {
        if self.longest > 0 { self.back_long(dirty, 0) } else { Ok(()) }
    }

    /// Notes that a value of so many blocks of its own waits for the next checkpoint.
    pub(crate) fn note_long(&mut self, blocks: u64) {
        self.longest = self.longest.max(blocks);
    }

    /// Makes sure that so many blocks are backed, the reserve included.
    pub(crate) fn back(&mut self, target: u64) -> Result<(), Error> {
        let mut most = 4 * STEP_BLOCKS.1;
        while self.usable() < target {
            let missing = (target - self.usable()).max(self.step()).min(most);
            let run = match self.holes.iter().next() {
                Some(hole) => Run { blocks: hole.blocks.min(missing as u32), ..hole },
                None => {
                    let run = self.beyond_the_end(missing);
                    run.ok_or_else(|| full(self.usable(), target))?
                }
            };
            match self.allocate(run) {
                // There may be room for less.
                Err(Error::Full { .. }) if run.blocks > RUN_BLOCKS => {
                    most = u64::from(run.blocks / 2);
                }
                Err(Error::Full { .. }) => return Err(full(self.usable(), target)),
                done => done?,
            }
        }
        Ok(())
    }

    /// Gives out blocks for a checkpoint, or nothing if there is not enough room: one run of
    /// `brief` blocks, and the first block for each of `sizes`.
    ///
    /// Nodes and extents go lowest first. The brief run is for what the next checkpoint writes
    /// anew: the open leaf, pages of the map, the commit record. It is the smallest that is long
    /// enough, so that such runs are cut from each other's room, and not from that of leaves.
    pub(crate) fn place(&mut self, brief: u32, sizes: &[u32]) -> Result<(Run, Vec<u32>), Error> {
        let total = sizes.iter().map(|&size| u64::from(size)).sum::<u64>() + u64::from(brief);
        let is_small = total < u64::from(LARGE_BLOCKS);
        if is_small && !self.primed.iter().any(|run| run.blocks >= brief) {
            self.prime(brief);
        }
        let brief = self.take_smallest(brief)?;
        let mut placing = Placing::new(sizes);
        if is_small {
            placing.place(&mut self.primed, RUN_BLOCKS);
            placing.place(&mut self.primed, 1);
            if placing.rest() > 0 && self.prime(placing.rest() as u32) {
                placing.place(&mut self.primed, 1);
            }
        }
        for least in [LARGE_BLOCKS, RUN_BLOCKS, 1] {
            placing.place(&mut self.primed, least);
            placing.place(&mut self.raw, least);
        }
        while placing.rest() > 0 {
            if let Err(error) = self.back_in_one_piece(placing.rest()) {
                self.primed.insert(brief);
                placing.taken.into_iter().for_each(|run| self.primed.insert(run));
                return Err(error);
            }
            placing.place(&mut self.raw, 1);
        }
        self.give(brief);
        placing.taken.into_iter().for_each(|run| self.give(run));
        self.longest = 0;
        Ok((brief, placing.blocks))
    }

    /// Takes blocks out of the smallest run that has so many.
    fn take_smallest(&mut self, blocks: u32) -> Result<Run, Error> {
        let smallest = |set: &RunSet| {
            set.iter().filter(|run| run.blocks >= blocks).min_by_key(|run| run.blocks)
        };
        if let Some(run) = smallest(&self.primed) {
            let run = Run { blocks, ..run };
            self.primed.remove(run);
            return Ok(run);
        }
        if smallest(&self.raw).is_none() {
            self.back_in_one_piece(u64::from(blocks))?;
        }
        let run = smallest(&self.raw).expect("a run of this length has just been backed");
        let run = Run { blocks, ..run };
        self.raw.remove(run);
        Ok(run)
    }

    /// Has the next checkpoint prime a run of at least `blocks` raw blocks; false if there is none.
    fn prime(&mut self, blocks: u32) -> bool {
        let Some(run) = self.raw.iter().find(|run| run.blocks >= blocks) else { return false };
        let step = (self.used_blocks() / 8).clamp(PRIME_BLOCKS.0, PRIME_BLOCKS.1) as u32;
        let run = Run { blocks: run.blocks.min(step.max(blocks)), ..run };
        self.raw.remove(run);
        self.primed.insert(run);
        self.to_prime.push(run);
        true
    }

    /// The runs that the checkpoint which is being begun has to write zeros to before it writes
    /// anything else: they are free, or its own.
    pub(crate) fn take_to_prime(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.to_prime)
    }

    /// Notes that blocks that were taken are used from now on.
    fn give(&mut self, run: Run) {
        self.pages.forget(run);
        self.mark(run, true);
    }

    /// Backs a run of `blocks` blocks: the lowest hole that is long enough, or the file's end.
    fn back_in_one_piece(&mut self, blocks: u64) -> Result<(), Error> {
        let hole = self.holes.iter().find(|hole| u64::from(hole.blocks) >= blocks);
        let run = match hole {
            Some(hole) => Some(Run { blocks: blocks as u32, ..hole }),
            None => self.beyond_the_end(blocks).filter(|run| u64::from(run.blocks) == blocks),
        };
        match run.map(|run| self.allocate(run)) {
            None | Some(Err(Error::Full { .. })) => Err(full(self.longest_run(), blocks)),
            Some(done) => done,
        }
    }

    /// Blocks of the longest backed run.
    fn longest_run(&self) -> u64 {
        let runs = self.primed.iter().chain(self.raw.iter());
        runs.map(|run| u64::from(run.blocks)).max().unwrap_or(0)
    }

    /// Blocks behind the end of the file, as many as it may still have; `None` if none.
    fn beyond_the_end(&self, blocks: u64) -> Option<Run> {
        let end = self.pages.blocks();
        let blocks = blocks.min(u64::from(self.limit.saturating_sub(end)));
        (blocks > 0).then_some(Run { block: end, blocks: blocks as u32 })
    }

    /// Takes room for a run from the file system.
    fn allocate(&mut self, run: Run) -> Result<(), Error> {
        let done = self.pages.file.allocate(run.offset(), run.bytes());
        let needed = u64::from(run.blocks);
        done.map_err(|error| if error.is_full() { full(0, needed) } else { error.into() })?;
        if run.end() > self.pages.blocks() {
            self.pages.grown_to(run.end());
        } else {
            self.holes.remove(run);
        }
        self.raw.insert(run);
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

    /// Checks that each of the runs lies within the file, is used, and overlaps no other.
    pub(crate) fn check_used(&self, mut runs: Vec<Run>) -> Result<(), Error> {
        runs.retain(|run| run.blocks > 0);
        runs.sort_unstable_by_key(|run| run.block);
        let mut free = FIRST_FREE_BLOCK;
        for run in runs {
            let end = u64::from(run.block) + u64::from(run.blocks);
            let is_apart = run.block >= free && end <= u64::from(self.pages.blocks());
            if !is_apart || !(run.block..run.end()).all(|block| self.is_used(block)) {
                let what = "blocks are given up that are not in use";
                return Err(self.pages.corrupt(run.block, what, u64::from(run.blocks), 0));
            }
            free = run.end();
        }
        Ok(())
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
    /// told. `places` is a run that was given for this; what is left of it is free again. Returns
    /// the pages to write, and the runs of their predecessors.
    pub(crate) fn settle_map(&mut self, places: Run) -> Result<(Vec<MapImage>, Vec<Run>), Error> {
        let mut settled = Vec::new();
        let mut old = Vec::new();
        let mut places: Vec<_> = (places.block..places.end()).rev().collect();
        while let Some(index) = self.next_dirty(&mut places) {
            if !settled.contains(&index) {
                let run = match places.pop() {
                    Some(block) => Run { block, blocks: 1 },
                    None => {
                        let run = self.take_smallest(1)?;
                        self.give(run);
                        run
                    }
                };
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
        self.map_pages_guess = settled.len().max(1) as u32;
        let images = settled.into_iter().map(|index| {
            let page = &self.map[index];
            let home = page.home.clone().expect("a settled page has a home");
            MapImage { home, words: page.words.clone() }
        });
        Ok((images.collect(), old))
    }

    /// A page of the map that has changed. When there is none left, what is left of the places is
    /// given up, which may change one more.
    fn next_dirty(&mut self, places: &mut Vec<u32>) -> Option<usize> {
        let dirty = |map: &[MapPage]| map.iter().position(|page| page.dirty);
        if dirty(&self.map).is_none() {
            for block in places.drain(..) {
                let run = Run { block, blocks: 1 };
                self.mark(run, false);
                self.primed.insert(run);
            }
        }
        dirty(&self.map)
    }

    /// How many pages of the map the next checkpoint will write, by the last one.
    pub(crate) fn map_pages_guess(&self) -> u32 {
        self.map_pages_guess
    }

    /// The places of all map pages.
    pub(crate) fn map_homes(&self) -> Vec<Arc<Home>> {
        self.map.iter().filter_map(|page| page.home.clone()).collect()
    }

    /// Keeps blocks that checkpoint `sequence` does not use until nobody can need them.
    pub(crate) fn retire(&mut self, sequence: u64, epoch: Arc<Epoch>, runs: Vec<Run>) {
        self.retired += runs.iter().map(|run| u64::from(run.blocks)).sum::<u64>();
        self.batches.push_back(Batch { sequence, epoch, runs, backed: true });
    }

    /// Frees the batches that no root on disk, no pin and no process that only reads needs,
    /// `durable` being the newest checkpoint on disk.
    pub(crate) fn release(&mut self, durable: u64) {
        while let Some(batch) = self.batches.front_mut() {
            if batch.sequence >= durable || Arc::get_mut(&mut batch.epoch).is_none() {
                return;
            }
            let sequence = batch.sequence;
            if self.is_marked_before(sequence) {
                return;
            }
            let Some(Batch { runs, backed, .. }) = self.batches.pop_front() else { return };
            self.retired -= runs.iter().map(|run| u64::from(run.blocks)).sum::<u64>();
            let free = if backed { &mut self.primed } else { &mut self.holes };
            runs.into_iter().for_each(|run| free.insert(run));
            self.full = None;
        }
    }

    /// Retired blocks that only a pin, or a process that only reads, keeps from being free.
    pub(crate) fn pinned_blocks(&self, durable: u64) -> u64 {
        let kept = self.batches.iter().filter(|batch| batch.sequence < durable);
        kept.flat_map(|batch| &batch.runs).map(|run| u64::from(run.blocks)).sum()
    }

    /// Takes free runs, highest first, to be given back to the file system; not so many that the
    /// reserve would have to be allocated again.
    pub(crate) fn take_surplus(&mut self) -> Vec<Run> {
        let keep = self.reserve() + 2 * self.step();
        let mut taken = Vec::new();
        while let Some(run) = self.surplus(keep)
            && taken.len() < PUNCHED_RUNS_MAX
        {
            let set = if self.raw.has(run) { &mut self.raw } else { &mut self.primed };
            set.remove(run);
            taken.push(run);
        }
        taken
    }

    fn surplus(&self, keep: u64) -> Option<Run> {
        let excess = self.backed_blocks().saturating_sub(keep);
        let last = |set: &RunSet| set.iter().rev().find(|run| run.blocks >= RUN_BLOCKS);
        let run = last(&self.primed).into_iter().chain(last(&self.raw)).max_by_key(|r| r.block)?;
        let blocks = u64::from(run.blocks).min(excess) as u32;
        (blocks >= RUN_BLOCKS).then_some(Run { block: run.end() - blocks, blocks })
    }

    /// True if checkpoints alone, without any change, would give a good deal of room back.
    pub(crate) fn has_surplus(&self) -> bool {
        let waiting = self.backed_blocks() + self.retired;
        let keep = self.reserve() + 2 * self.step() + STEP_BLOCKS.0;
        waiting > keep && (self.retired >= STEP_BLOCKS.0 || self.surplus(keep).is_some())
    }

    /// Notes that runs were given back.
    pub(crate) fn punched(&mut self, runs: Vec<Run>) {
        runs.into_iter().for_each(|run| self.holes.insert(run));
        self.full = None;
    }

    /// Notes the size of a checkpoint; the reserve follows the largest of late.
    pub(crate) fn note_checkpoint(&mut self, blocks: u64) {
        self.largest = blocks.max(self.largest - self.largest / 16);
    }

    /// Free blocks that must be left when growth is admitted.
    pub(crate) fn reserve(&self) -> u64 {
        let share = (self.used_blocks() / 32).max(SMALL_RESERVE_BLOCKS);
        self.reserve_most.min(share).max(2 * self.largest)
    }

    /// Has the next change ask the file system again.
    pub(crate) fn look_for_room(&mut self) {
        self.full = None;
    }

    /// Blocks of the checkpoints, without those that only wait to be free.
    pub(crate) fn data_blocks(&self) -> u64 {
        self.used_blocks().saturating_sub(self.retired)
    }

    pub(crate) fn backed_blocks(&self) -> u64 {
        self.primed.blocks() + self.raw.blocks()
    }

    /// Backed blocks in runs that are long enough for a leaf.
    fn usable(&self) -> u64 {
        self.primed.usable() + self.raw.usable()
    }

    /// Blocks that are neither backed nor holes.
    fn used_blocks(&self) -> u64 {
        u64::from(self.pages.blocks()).saturating_sub(self.backed_blocks() + self.holes.blocks())
    }

    pub(crate) fn hole_blocks(&self) -> u64 {
        self.holes.blocks()
    }

    pub(crate) fn retired_blocks(&self) -> u64 {
        self.retired
    }

    fn step(&self) -> u64 {
        (self.used_blocks() / 32).clamp(STEP_BLOCKS.0, STEP_BLOCKS.1)
    }
}

/// So many blocks would do, but fewer are free that can be used for it.
fn full(free: u64, needed: u64) -> Error {
    let bytes = BLOCK_BYTES as u64;
    Error::Full { free_bytes: free * bytes, needed_bytes: needed * bytes }
}

/// The bit of a block in the map page that tells of it.
pub(crate) fn bit(words: &[u64], block: u32) -> bool {
    let at = block % MAP_PAGE_BLOCKS;
    words.get(at as usize / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
}
