//! Linearizable reads by read index (section 6.4 of the dissertation).
//!
//! A leader that has committed an entry of its own term knows everything that was committed before
//! it (section 8 of the paper): its commit index, noted after a read arrived, is what the read has
//! to see. Until then reads wait. No clock is involved.

use crate::number::{Index, ReadId};
use crate::output::ReadReady;

#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// Arrived at this leader before it had committed an entry of its term.
    waiting: Vec<ReadId>,
    /// Answered and not taken yet.
    ready: Vec<ReadReady>,
}

impl Reads {
    /// Reads that wait for their index.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Reads that wait for their index, or whose answers have not been taken yet.
    pub(crate) fn held(&self) -> usize {
        self.waiting.len() + self.ready.len()
    }

    /// The read must wait.
    pub(crate) fn wait(&mut self, id: ReadId) {
        self.waiting.push(id);
    }

    /// The read may be served from `index` on.
    pub(crate) fn answer(&mut self, id: ReadId, index: Index) {
        self.ready.push(ReadReady { id, index });
    }

    /// Everything that waits may be served from `index` on. Returns how many.
    pub(crate) fn answer_waiting(&mut self, index: Index) -> u64 {
        let count = self.waiting.len() as u64;
        self.ready.extend(self.waiting.drain(..).map(|id| ReadReady { id, index }));
        count
    }

    /// The answers that are due.
    pub(crate) fn take(&mut self) -> Vec<ReadReady> {
        std::mem::take(&mut self.ready)
    }
}
