//! A disk that is watched: before each change takes effect for good, a copy of the disk is put
//! aside, from which the power can fail in as many ways as one likes.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use revd_disk::{Create, Disk, Error, File, Lock, Mapping, Open, Operation, Sim};

use super::layout::{BLOCK, has_commit, is_slot};

/// What a change was for, as far as its place and first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A root slot, or a commit record that is written by itself.
    Root,
    /// Anything else.
    Other,
}

/// The disk in the midst of a change: it pends, and its caller has learned nothing.
pub struct Moment {
    pub disk: Sim,
    pub operation: Operation,
    pub purpose: Purpose,
    /// Counts the changes of this watch.
    pub number: u64,
}

type Between = Box<dyn FnMut() + Send>;

#[derive(Default)]
struct Log {
    number: AtomicU64,
    moments: std::sync::Mutex<Vec<Moment>>,
    between: std::sync::Mutex<Option<Between>>,
}

/// A disk as [`Sim`] is, that keeps a copy of itself for each change.
#[derive(Clone)]
pub struct Watched {
    pub sim: Sim,
    log: Arc<Log>,
}

impl Watched {
    pub fn new(sim: Sim) -> Watched {
        Watched { sim, log: Arc::default() }
    }

    /// The moments since the last call.
    pub fn take(&self) -> Vec<Moment> {
        std::mem::take(&mut self.log.moments.lock().unwrap())
    }

    /// From now on, calls `f` before each change that is not made by `f` itself.
    pub fn between(&self, f: Option<Between>) {
        *self.log.between.lock().unwrap() = f;
    }

    fn change<T>(
        &self,
        operation: Operation,
        purpose: Purpose,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let between = self.log.between.lock().unwrap().take();
        if let Some(mut f) = between {
            f();
            self.between(Some(f));
        }
        let number = self.log.number.fetch_add(1, Ordering::Relaxed);
        let keep = |disk| {
            let moment = Moment { disk, operation, purpose, number };
            self.log.moments.lock().unwrap().push(moment);
        };
        // A sync in the midst of which the power fails has made nothing durable for certain; of
        // all else it may be that everything is there.
        if matches!(operation, Operation::Sync | Operation::SyncDir) {
            keep(self.sim.fork());
            return work();
        }
        let done = work();
        keep(self.sim.fork());
        done
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.sim.fmt(f)
    }
}

impl Disk for Watched {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>, Error> {
        let is_new = how.create != Create::Existing && !self.sim.exists(path)?;
        let file = if is_new {
            self.change(Operation::Open, Purpose::Other, || self.sim.open(path, how))?
        } else {
            self.sim.open(path, how)?
        };
        Ok(Arc::new(WatchedFile { file, disk: self.clone() }))
    }

    fn create_dir(&self, path: &Path) -> Result<(), Error> {
        self.sim.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.change(Operation::Rename, Purpose::Other, || self.sim.rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        self.change(Operation::Remove, Purpose::Other, || self.sim.remove(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, Error> {
        self.sim.list(dir)
    }

    fn exists(&self, path: &Path) -> Result<bool, Error> {
        self.sim.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.change(Operation::SyncDir, Purpose::Other, || self.sim.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> Result<Lock, Error> {
        self.sim.lock(path)
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn File>,
    disk: Watched,
}

impl File for WatchedFile {
    fn len(&self) -> Result<u64, Error> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.file.read_at(buf, offset)
    }

    fn unexpected_end(&self, offset: u64) -> Error {
        self.file.unexpected_end(offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        let root = is_slot(offset / BLOCK) || has_commit(buf.get(..8));
        let purpose = if root { Purpose::Root } else { Purpose::Other };
        self.disk.change(Operation::Write, purpose, || self.file.write_at(buf, offset))
    }

    fn write_unsynced_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        let write = || self.file.write_unsynced_at(buf, offset);
        self.disk.change(Operation::Write, Purpose::Other, write)
    }

    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.disk.change(Operation::Sync, Purpose::Other, || self.file.sync_data())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.disk.change(Operation::Allocate, Purpose::Other, || self.file.allocate(offset, len))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.disk.change(Operation::PunchHole, Purpose::Other, || self.file.punch_hole(offset, len))
    }

    fn truncate(&self, len: u64) -> Result<(), Error> {
        self.disk.change(Operation::Truncate, Purpose::Other, || self.file.truncate(len))
    }

    fn allocated(&self) -> Result<u64, Error> {
        self.file.allocated()
    }

    fn mark(&self, at: u64) -> Result<(), Error> {
        self.file.mark(at)
    }

    fn is_marked(&self, range: Range<u64>) -> Result<bool, Error> {
        self.file.is_marked(range)
    }

    fn map(&self, len: u64) -> Result<Mapping, Error> {
        self.file.map(len)
    }
}
