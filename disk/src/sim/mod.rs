//! A simulated file system with faults, in memory.
//!
//! It keeps the contract of [`Disk`] and not a hair more: what a program forgot to sync is lost at
//! the next crash, in whole or in part, in order or not. Everything that happens is determined by
//! the calls and the seeds.

mod fault;
mod file;
mod inode;
mod state;
mod survival;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use fault::{Effect, Fault};

use crate::{Access, Create, Disk, Error, File, Kind, Lock, Open, Operation};
use file::SimFile;
use state::State;

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

    /// Returns the power after it was cut; the seed decides what has survived.
    pub fn recover(&self, seed: u64) {
        self.state.lock().recover(seed);
    }

    /// Cuts the power and returns it.
    pub fn crash(&self, seed: u64) {
        self.recover(seed);
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

    /// Removes all faults, and the limit of [`Sim::set_capacity`].
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.capacity = u64::MAX;
    }

    /// Limits the bytes that all files together may take, in blocks: what goes beyond fails with
    /// [`Kind::Full`].
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Behaves like a file system that knows no direct writes: files opened from now on with
    /// [`Access::Direct`] are durable only after a sync.
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
        let mut state = self.state.lock();
        let inode = state.open(path, Open::read())?;
        if offset >= state.inode(inode).len() {
            return Err(Error::new(Operation::Write, path, Kind::UnexpectedEnd).at(offset));
        }
        state.inode(inode).damage(offset, mask);
        Ok(())
    }
}

impl Disk for Sim {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>, Error> {
        let mut state = self.state.lock();
        let inode = state.open(path, how)?;
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
        state.begin_read(Operation::Lock, path)?;
        state.open(path, Open { create: Create::Either, access: Access::Buffered })?;
        if !state.locks.insert(path.to_owned()) {
            return Err(Error::new(Operation::Lock, path, Kind::Locked));
        }
        let (state, epoch) = (Arc::clone(&self.state), state.epoch);
        Ok(Lock::new(SimLock { state, epoch, path: path.to_owned() }))
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
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}
