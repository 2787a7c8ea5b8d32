//! All upkeep in one call, for owners without threads of their own for it.

use std::time::Duration;

use super::Store;
use crate::error::Fatal;

/// The time between two checkpoints.
const CHECKPOINT_AFTER: Duration = Duration::from_millis(100);

impl Store {
    /// Does a bounded step of what is due: gives up what compactions have made unreachable, reading
    /// no more than about `budget` bytes of it, and writes a checkpoint with `note` when the last
    /// one is a tenth of a second old. Returns when it wants to be called again; `None` if not
    /// before the next write.
    ///
    /// `now` is any clock that does not go back. This blocks for as long as the disk takes: who
    /// must not wait has [`Store::sweep`] and [`Store::checkpoint`], whose jobs run on any thread.
    ///
    /// # Errors
    /// If [`Fatal::is_full`], there is no room for a checkpoint now. Any other [`Fatal`]: the store
    /// must not be used any more.
    pub fn upkeep(
        &mut self,
        now: Duration,
        budget: usize,
        note: &[u8],
    ) -> Result<Option<Duration>, Fatal> {
        let usual = std::mem::replace(&mut self.options.sweep_bytes, budget);
        let job = self.sweep();
        self.options.sweep_bytes = usual;
        if let Some(job) = job {
            let done = job.run()?;
            self.swept(done)?;
            self.publish();
        }
        let mut next = Some(self.checkpoint_at);
        if now >= self.checkpoint_at {
            self.checkpoint_at = now + CHECKPOINT_AFTER;
            // After one that was written the next may free, or give back, what it has retired.
            next = match self.checkpoint(note)? {
                Some(checkpoint) => {
                    let written = checkpoint.write()?;
                    self.checkpointed(written);
                    Some(self.checkpoint_at)
                }
                None => None,
            };
        }
        Ok(if self.is_compacting() { Some(now) } else { next })
    }
}
