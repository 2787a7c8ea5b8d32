//! A disk that can hold up the core thread at its next write.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use revd_disk::{Disk, Error, File, Lock, Mapping, Open};
use tokio::sync::watch;

/// Holds up what the core thread writes while it is closed; other threads pass.
#[derive(Debug)]
pub struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
    /// Whether the core thread stands before the gate.
    is_reached: watch::Sender<bool>,
}

impl Gate {
    pub fn new() -> Arc<Self> {
        let is_reached = watch::Sender::new(false);
        Arc::new(Self { is_closed: Mutex::new(false), opened: Condvar::new(), is_reached })
    }

    pub fn close(&self) {
        *self.is_closed.lock() = true;
    }

    pub fn open(&self) {
        *self.is_closed.lock() = false;
        self.opened.notify_all();
    }

    /// Returns when the core thread stands before the closed gate.
    pub async fn reached(&self) {
        self.is_reached.subscribe().wait_for(|is_reached| *is_reached).await.unwrap();
    }

    fn pass(&self) {
        if std::thread::current().name() != Some("revd-core") {
            return;
        }
        let mut is_closed = self.is_closed.lock();
        while *is_closed {
            self.is_reached.send_replace(true);
            self.opened.wait(&mut is_closed);
        }
        self.is_reached.send_replace(false);
    }
}

/// A disk behind a gate.
#[derive(Debug)]
pub struct GatedDisk {
    pub disk: Arc<dyn Disk>,
    pub gate: Arc<Gate>,
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>, Error> {
        let file = self.disk.open(path, how)?;
        Ok(Arc::new(GatedFile { file, gate: Arc::clone(&self.gate) }))
    }

    fn create_dir(&self, path: &Path) -> Result<(), Error> {
        self.disk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, Error> {
        self.disk.list(dir)
    }

    fn exists(&self, path: &Path) -> Result<bool, Error> {
        self.disk.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Lock, Error> {
        self.disk.lock(path)
    }
}

impl File for GatedFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        self.gate.pass();
        self.file.write_at(buf, offset)
    }

    fn len(&self) -> Result<u64, Error> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.file.read_at(buf, offset)
    }

    fn unexpected_end(&self, offset: u64) -> Error {
        self.file.unexpected_end(offset)
    }

    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.file.sync_data()
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.file.allocate(offset, len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.file.punch_hole(offset, len)
    }

    fn truncate(&self, len: u64) -> Result<(), Error> {
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
