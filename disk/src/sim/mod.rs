//! A simulated file system with faults, in memory.
//!
//! It keeps the contract of [`Disk`] and not a hair more: what a program forgot to sync is lost at
//! the next crash, in whole or in part, in order or not. Everything that happens is determined by
//! the calls and the seeds.

mod chance;
mod content;
mod directory;
mod fault;
mod file;
mod inode;
mod names;
mod pace;
mod state;
mod survival;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use chance::Chances;
pub use fault::{Effect, Fault};
pub use survival::Survivors;

use crate::{BLOCK, Disk, Error, File, Kind, Lock, Open, Operation};
use chance::Lottery;
use file::SimFile;
use inode::Inode;
use names::Found;
use state::{InodeId, State};

/// A simulated disk. Clones are handles of the same disk; [`Sim::fork`] makes another one.
///
/// # Crashes
///
/// [`Sim::crash`] cuts the power between two operations, [`Sim::crash_at`] in the midst of one.
/// When the power returns, each pending sector and each pending change of a directory has survived
/// or not, as the seed says; all handles, locks and faults from before are gone.
///
/// ```
/// use std::path::Path;
/// use revd_disk::{Access, Disk, Open, Sim};
///
/// # fn main() -> Result<(), revd_disk::Error> {
/// let (dir, path) = (Path::new("/data"), Path::new("/data/file"));
/// let disk = Sim::new(1);
/// disk.create_dir(dir)?;
/// let file = disk.open(path, Open::new_file(Access::Buffered))?;
/// file.write_at(b"durable", 0)?;
/// file.sync_data()?;
/// disk.sync_dir(dir)?;
/// file.write_at(b"pending", 4096)?;
///
/// disk.crash(2);
/// assert!(file.len().unwrap_err().is_crashed());
/// let mut content = [0; 7];
/// disk.open(path, Open::read())?.read_exact_at(&mut content, 0)?;
/// assert_eq!(&content, b"durable");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sim {
    state: Arc<Mutex<State>>,
}

impl Sim {
    /// An empty disk, without limit. The seed decides what faults leave behind.
    #[must_use]
    pub fn new(seed: u64) -> Sim {
        Sim { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// A disk of its own in the same state, pending changes included: to look at several outcomes
    /// of one crash. Its locks are free.
    #[must_use]
    pub fn fork(&self) -> Sim {
        Sim { state: Arc::new(Mutex::new(self.state.lock().fork())) }
    }

    /// The number of changes so far: creations, renames, removals, writes, syncs, allocations,
    /// holes and truncations, failed ones included. Reads do not count.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Cuts the power in the midst of the change that is made when [`Sim::operations`] is `moment`:
    /// it and all later operations fail with [`Kind::Crashed`] until [`Sim::recover`]. What it
    /// would have changed pends.
    pub fn crash_at(&self, moment: u64) {
        self.state.lock().crash_at = Some(moment);
    }

    /// Cuts the power now: every operation fails until [`Sim::recover`].
    pub fn cut_power(&self) {
        self.state.lock().crashed = true;
    }

    /// The change in the midst of which [`Sim::crash_at`] has cut the power, and its path (for a
    /// rename the old one); `None` once the power is back.
    #[must_use]
    pub fn crashed_in(&self) -> Option<(Operation, PathBuf)> {
        self.state.lock().crashed_in.clone()
    }

    /// Returns the power after it was cut; the seed decides what has survived, and the result
    /// tells it.
    pub fn recover(&self, seed: u64) -> Survivors {
        self.state.lock().recover(seed)
    }

    /// Cuts the power and returns it.
    pub fn crash(&self, seed: u64) -> Survivors {
        self.recover(seed)
    }

    /// Kills the process and not the machine: handles and locks are gone, and what is pending still
    /// is, visible to whoever opens the files next.
    pub fn kill(&self) {
        self.state.lock().kill();
    }

    /// Adds a fault. Of several that could strike, the oldest does.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Lets faults strike by chance, as the seed says, until [`Sim::heal`] or the next loss of
    /// power. Chances that were set before are replaced; faults that were injected come first.
    ///
    /// ```
    /// use std::path::Path;
    /// use revd_disk::{Access, Chances, Disk, Open, Sim};
    ///
    /// # fn main() -> Result<(), revd_disk::Error> {
    /// let disk = Sim::new(1);
    /// let file = disk.open(Path::new("/file"), Open::new_file(Access::Buffered))?;
    /// disk.fail_by_chance(42, Chances { write_error: 250_000, ..Chances::default() });
    /// let failed = (0..100).filter(|round| file.write_at(b"x", *round).is_err()).count();
    /// assert!((10..40).contains(&failed));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail_by_chance(&self, seed: u64, chances: Chances) {
        self.state.lock().lottery = Some(Lottery::new(seed, chances));
    }

    /// Removes all faults and chances of faults, and the limit of [`Sim::set_capacity`].
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.lottery = None;
        state.capacity = u64::MAX;
    }

    /// The nanoseconds that all operations so far would have taken on a disk, [`Effect::Slow`]
    /// included. The simulated disk itself never waits: a simulator that takes the difference
    /// before and after a piece of work knows when to report it done.
    ///
    /// A read of the medium counts 50 µs, a sync or a synchronous write 100 µs, other changes 5 µs,
    /// anything else 1 µs; and each two bytes that move 1 ns.
    #[must_use]
    pub fn busy(&self) -> u64 {
        self.state.lock().busy
    }

    /// Limits the bytes that all files together may take, in blocks: what goes beyond fails with
    /// [`Kind::Full`].
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Behaves like a file system that knows no direct writes: files opened from now on with
    /// [`Access::Direct`](crate::Access::Direct) are durable only after a sync.
    pub fn refuse_direct(&self) {
        self.state.lock().refuses_direct = true;
    }

    /// The bytes that all files together take.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.state.lock().allocated()
    }

    /// Rot: flips the bits of `mask` in the byte at `offset`, on the medium.
    ///
    /// # Errors
    ///
    /// The file must exist and reach so far.
    pub fn damage(&self, path: &Path, offset: u64, mask: u8) -> Result<(), Error> {
        self.tamper(path, offset, 1, |inode| inode.damage(offset, mask))
    }

    /// Puts other bytes in the place of those at `offset`, on the medium: with what was there
    /// earlier, a write that was lost; with what belongs elsewhere, one that was misdirected.
    ///
    /// # Errors
    ///
    /// The file must exist and reach to the end of the bytes.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.tamper(path, offset, bytes.len() as u64, |inode| inode.overwrite(offset, bytes))
    }

    /// Puts two blocks of a file, counted from 0, into each other's place, on the medium.
    ///
    /// # Errors
    ///
    /// The file must exist and reach to the end of both.
    pub fn swap_blocks(&self, path: &Path, one: u64, other: u64) -> Result<(), Error> {
        let block = BLOCK as u64;
        self.tamper(path, one.max(other).saturating_mul(block), block, |inode| {
            let (mut first, mut second) = ([0; BLOCK], [0; BLOCK]);
            inode.read(&mut first, one * block);
            inode.read(&mut second, other * block);
            inode.overwrite(one * block, &second);
            inode.overwrite(other * block, &first);
        })
    }

    /// Does to a file what no operation does. It is none: it is not counted, and no fault strikes
    /// it.
    fn tamper(
        &self,
        path: &Path,
        offset: u64,
        len: u64,
        work: impl FnOnce(&mut Inode),
    ) -> Result<(), Error> {
        let error = |kind| Error::new(Operation::Write, path, kind).at(offset);
        let mut state = self.state.lock();
        if state.crashed {
            return Err(error(Kind::Crashed));
        }
        let Found::File(id) = state.names.find(path) else {
            return Err(error(Kind::NotFound));
        };
        if offset.checked_add(len).is_none_or(|end| end > state.inode(id).len()) {
            return Err(error(Kind::UnexpectedEnd));
        }
        work(state.inode(id));
        Ok(())
    }
}

impl Disk for Sim {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>, Error> {
        let mut state = self.state.lock();
        let inode = state.open(Operation::Open, path, how)?;
        let file = SimFile::new(&self.state, &mut state, inode, path.to_owned(), how.access);
        Ok(Arc::new(file))
    }

    fn create_dir(&self, path: &Path) -> Result<(), Error> {
        self.state.lock().create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.state.lock().rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        self.state.lock().remove(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, Error> {
        self.state.lock().list(dir)
    }

    fn exists(&self, path: &Path) -> Result<bool, Error> {
        self.state.lock().exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.state.lock().sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Lock, Error> {
        let mut state = self.state.lock();
        let inode = state.lock(path)?;
        let (state, epoch) = (Arc::clone(&self.state), state.epoch);
        Ok(Lock::new(SimLock { state, epoch, inode }))
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Sim")
            .field("epoch", &state.epoch)
            .field("operations", &state.operations)
            .field("crashed", &state.crashed)
            .finish_non_exhaustive()
    }
}

/// Holds a lock of the current epoch.
#[derive(Debug)]
struct SimLock {
    state: Arc<Mutex<State>>,
    epoch: u64,
    inode: InodeId,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.inode);
            state.inode(self.inode).handles -= 1;
            state.collect(self.inode);
        }
    }
}
