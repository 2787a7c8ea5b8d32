//! A disk that keeps, of each change, what a loss of power in the midst of it leaves.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use revd_disk::{Access, Create, Disk, Error, File, Lock, Mapping, Open, Operation, Sim};

/// A change during which the power failed.
#[derive(Debug)]
pub(crate) struct Moment {
    /// The disk without power: what the change would have done pends with the rest.
    pub(crate) disk: Sim,
    /// Counts the changes of the disk.
    pub(crate) number: u64,
    /// What was being done.
    pub(crate) operation: Operation,
    /// On what.
    pub(crate) path: PathBuf,
    /// The new name, if it was a renaming.
    pub(crate) target: Option<PathBuf>,
    /// What the counter of acknowledgements said before.
    pub(crate) acknowledged: usize,
}

/// Whoever is shown the moments, before the change takes place.
type Observer = Arc<dyn Fn(Moment) + Send + Sync>;

/// A simulated disk that shows every change to an observer. A workload runs over it once, and each
/// of its changes is cut short on a copy, so that no run begins anew for each moment.
#[derive(Clone)]
pub(crate) struct Traced {
    sim: Sim,
    acknowledged: Arc<AtomicUsize>,
    observer: Observer,
}

impl Traced {
    /// Shows the changes of `sim` to `observer`.
    pub(crate) fn new(sim: Sim, observer: impl Fn(Moment) + Send + Sync + 'static) -> Traced {
        Traced { sim, acknowledged: Arc::default(), observer: Arc::new(observer) }
    }

    /// Notes with each moment how many calls had been acknowledged, for callers in several threads.
    pub(crate) fn counting(self, acknowledged: &Arc<AtomicUsize>) -> Traced {
        Traced { acknowledged: Arc::clone(acknowledged), ..self }
    }

    /// Does a change on a copy whose power fails, and shows what is left.
    fn cut(
        &self,
        operation: Operation,
        path: &Path,
        target: Option<&Path>,
        change: impl FnOnce(&Sim) -> Result<(), Error>,
    ) {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let disk = self.sim.fork();
        let number = disk.operations();
        disk.crash_at(number);
        // A change that is refused for another reason is none, and leaves the power on.
        if change(&disk).is_err_and(|error| error.is_crashed()) {
            let (path, target) = (path.to_owned(), target.map(Path::to_owned));
            (self.observer)(Moment { disk, number, operation, path, target, acknowledged });
        }
    }
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sim.fmt(f)
    }
}

impl Disk for Traced {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>, Error> {
        if how.create != Create::Existing && !self.sim.exists(path)? {
            self.cut(Operation::Open, path, None, |disk| disk.open(path, how).map(drop));
        }
        let file = self.sim.open(path, how)?;
        let (disk, path) = (self.clone(), path.to_owned());
        Ok(Arc::new(TracedFile { disk, file, path, access: how.access }))
    }

    fn create_dir(&self, path: &Path) -> Result<(), Error> {
        self.cut(Operation::CreateDir, path, None, |disk| disk.create_dir(path));
        self.sim.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.cut(Operation::Rename, from, Some(to), |disk| disk.rename(from, to));
        self.sim.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        self.cut(Operation::Remove, path, None, |disk| disk.remove(path));
        self.sim.remove(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, Error> {
        self.sim.list(dir)
    }

    fn exists(&self, path: &Path) -> Result<bool, Error> {
        self.sim.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.cut(Operation::SyncDir, dir, None, |disk| disk.sync_dir(dir));
        self.sim.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Lock, Error> {
        self.sim.lock(path)
    }
}

/// An open file of a [`Traced`] disk. It is found on the copies by the name under which it was
/// opened; the log opens a file anew when it has renamed it.
#[derive(Debug)]
struct TracedFile {
    disk: Traced,
    file: Arc<dyn File>,
    path: PathBuf,
    access: Access,
}

impl TracedFile {
    fn cut(&self, operation: Operation, change: impl FnOnce(&dyn File) -> Result<(), Error>) {
        self.disk.cut(operation, &self.path, None, |disk| {
            let file = disk.open(&self.path, Open::existing(self.access))?;
            change(file.as_ref())
        });
    }
}

impl File for TracedFile {
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
        self.cut(Operation::Write, |file| file.write_at(buf, offset));
        self.file.write_at(buf, offset)
    }

    fn write_unsynced_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        self.cut(Operation::Write, |file| file.write_unsynced_at(buf, offset));
        self.file.write_unsynced_at(buf, offset)
    }

    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.cut(Operation::Sync, |file| file.sync_data());
        self.file.sync_data()
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.cut(Operation::Allocate, |file| file.allocate(offset, len));
        self.file.allocate(offset, len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.cut(Operation::PunchHole, |file| file.punch_hole(offset, len));
        self.file.punch_hole(offset, len)
    }

    fn truncate(&self, len: u64) -> Result<(), Error> {
        self.cut(Operation::Truncate, |file| file.truncate(len));
        self.file.truncate(len)
    }

    fn allocated(&self) -> Result<u64, Error> {
        self.file.allocated()
    }

    fn map(&self, len: u64) -> Result<Mapping, Error> {
        self.file.map(len)
    }

    fn mark(&self, at: u64) -> Result<(), Error> {
        self.file.mark(at)
    }

    fn is_marked(&self, range: Range<u64>) -> Result<bool, Error> {
        self.file.is_marked(range)
    }
}
