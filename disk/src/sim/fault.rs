//! Faults on demand.

use std::path::Path;

use crate::Operation;

/// A fault that strikes some operations: see [`Sim::inject`](super::Sim::inject).
///
/// ```
/// use revd_disk::{Effect, Fault, Operation};
///
/// // The third write to a file whose path contains ".wal" fails, and no other.
/// let fault = Fault::new(Operation::Write, Effect::Io).on(".wal").after(2);
/// # let _ = fault;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is injected"]
pub struct Fault {
    operation: Operation,
    effect: Effect,
    path: String,
    skip: u64,
    times: u64,
}

/// What a fault does to the operation that it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// It fails with an input/output error and does nothing. A sync that fails loses an arbitrary
    /// subset of the pending sectors for good: reads still show them, as a page cache does, but no
    /// later sync writes them.
    Io,
    /// It fails because the disk is full.
    Full,
    /// A write that fails with an input/output error after an arbitrary subset of its sectors.
    Torn,
    /// A write or sync that reports success and does nothing.
    Lost,
    /// A write that reports success and goes to this offset instead.
    Misdirected(u64),
    /// A write that reports success, with its first and its last block in each other's place. One
    /// of less than two blocks is as asked.
    Swapped,
    /// A write that ends after so many bytes because the disk is full, as [`Effect::Full`]. A
    /// direct one ends at a block.
    Short(u64),
    /// One bit flips somewhere in what the medium holds of the file; the operation itself goes on.
    Rot,
    /// The operation takes so many nanoseconds longer, by the count of
    /// [`Sim::busy`](super::Sim::busy), and goes on.
    Slow(u64),
}

impl Effect {
    /// True if the operation goes on, and other faults may strike it too.
    pub(super) fn is_beside(self) -> bool {
        matches!(self, Effect::Rot | Effect::Slow(_))
    }
}

impl Fault {
    /// A fault that strikes the next `operation`, once.
    pub fn new(operation: Operation, effect: Effect) -> Fault {
        Fault { operation, effect, path: String::new(), skip: 0, times: 1 }
    }

    /// Strikes only paths that contain `part`.
    pub fn on(mut self, part: &str) -> Fault {
        self.path = part.to_owned();
        self
    }

    /// Spares the first `skip` operations that it could strike.
    pub fn after(mut self, skip: u64) -> Fault {
        self.skip = skip;
        self
    }

    /// Strikes so many times, rather than once.
    pub fn times(mut self, times: u64) -> Fault {
        self.times = times;
        self
    }

    /// Strikes until the faults are cleared.
    pub fn forever(self) -> Fault {
        self.times(u64::MAX)
    }

    /// What it does to the operations that it strikes.
    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    /// Counts an operation, and returns the effect if it is struck.
    pub(super) fn strike(&mut self, operation: Operation, path: &Path) -> Option<Effect> {
        if self.operation != operation || !path.to_string_lossy().contains(&self.path) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        Some(self.effect)
    }
}
