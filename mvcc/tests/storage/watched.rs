//! A disk that puts a copy of itself aside for each change, while the change pends.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use revd_disk::{Create, Disk, Error, File, Lock, Mapping, Open, Operation, Sim};

/// The disk in the midst of a change of which its caller has not heard yet.
pub(crate) struct Moment {
    pub(crate) disk: Sim,
    pub(crate) operation: Operation,
}

/// A disk as [`Sim`] is, that keeps what it was at each change.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) sim: Sim,
    moments: Arc<Mutex<Vec<Moment>>>,
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.operation.fmt(f)
    }
}

impl Watched {
    pub(crate) fn new(sim: Sim) -> Self {
        Self { sim, moments: Arc::default() }
    }

    /// The moments since the last call.
    pub(crate) fn take(&self) -> Vec<Moment> {
        std::mem::take(&mut self.moments.lock().unwrap())
    }

    fn change<T>(
        &self,
        operation: Operation,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        // A sync that has not returned has promised nothing; any other change pends once it is
        // made.
        let is_sync = matches!(operation, Operation::Sync | Operation::SyncDir);
        let before = is_sync.then(|| self.sim.fork());
        let done = work();
        let disk = before.unwrap_or_else(|| self.sim.fork());
        self.moments.lock().unwrap().push(Moment { disk, operation });
        done
    }
}

impl Disk for Watched {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>, Error> {
        let open = || self.sim.open(path, how);
        let is_new = how.create != Create::Existing && !self.sim.exists(path)?;
        let file = if is_new { self.change(Operation::Open, open)? } else { open()? };
        Ok(Arc::new(WatchedFile { file, disk: self.clone() }))
    }

    fn create_dir(&self, path: &Path) -> Result<(), Error> {
        self.sim.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.change(Operation::Rename, || self.sim.rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        self.change(Operation::Remove, || self.sim.remove(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, Error> {
        self.sim.list(dir)
    }

    fn exists(&self, path: &Path) -> Result<bool, Error> {
        self.sim.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.change(Operation::SyncDir, || self.sim.sync_dir(dir))
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
        self.disk.change(Operation::Write, || self.file.write_at(buf, offset))
    }

    fn write_unsynced_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        self.disk.change(Operation::Write, || self.file.write_unsynced_at(buf, offset))
    }

    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.disk.change(Operation::Sync, || self.file.sync_data())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.disk.change(Operation::Allocate, || self.file.allocate(offset, len))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.disk.change(Operation::PunchHole, || self.file.punch_hole(offset, len))
    }

    fn truncate(&self, len: u64) -> Result<(), Error> {
        self.disk.change(Operation::Truncate, || self.file.truncate(len))
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
