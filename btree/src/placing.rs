//! Where the nodes and extents of one checkpoint go.

use crate::format::Run;
use crate::runs::RunSet;

/// Nodes and extents of one checkpoint that are being given their blocks, in order.
pub(crate) struct Placing<'s> {
    sizes: &'s [u32],
    /// The first block of each that has been placed.
    pub(crate) blocks: Vec<u32>,
    /// What these take together.
    pub(crate) taken: Vec<Run>,
}

impl<'s> Placing<'s> {
    pub(crate) fn new(sizes: &'s [u32]) -> Placing<'s> {
        Placing { sizes, blocks: Vec::with_capacity(sizes.len()), taken: Vec::new() }
    }

    /// Blocks that are still to be found.
    pub(crate) fn rest(&self) -> u64 {
        self.sizes[self.blocks.len()..].iter().map(|&size| u64::from(size)).sum()
    }

    /// Places what follows into free runs of at least `least` blocks, lowest first.
    pub(crate) fn place(&mut self, free: &mut RunSet, least: u32) {
        let least = u64::from(least).min(self.rest());
        let mut used = Vec::new();
        for run in free.iter().filter(|run| u64::from(run.blocks) >= least) {
            let mut next = run.block;
            while let Some(&size) = self.sizes.get(self.blocks.len())
                && size <= run.end() - next
            {
                self.blocks.push(next);
                next += size;
            }
            if next > run.block {
                used.push(Run { block: run.block, blocks: next - run.block });
            }
            if self.blocks.len() == self.sizes.len() {
                break;
            }
        }
        used.iter().for_each(|run| free.remove(*run));
        self.taken.extend(used);
    }
}
