//! The file system of the operating system (Linux).

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FallocateFlags, StatxFlags, fallocate, statx};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use crate::marks::{self, Mark};
use crate::{Access, BLOCK, Create, Disk, Error, File, Kind, Lock, Mapping, Open, Operation};

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real {
    refuses_direct: bool,
}

impl Real {
    /// The file system of this machine.
    #[must_use]
    pub fn new() -> Real {
        Real::default()
    }

    /// The same without direct writes, as on a file system that knows none: a file opened with
    /// [`Access::Direct`] is durable only after a sync. To see what a store makes of that, and for
    /// file systems that know direct writes but are slow at them.
    #[must_use]
    pub fn without_direct() -> Real {
        Real { refuses_direct: true }
    }
}

impl Disk for Real {
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>, Error> {
        RealFile::open(path, how, self.refuses_direct)
            .map(|file| Arc::new(file) as Arc<dyn File>)
            .map_err(|source| Error::from_io(Operation::Open, path, source))
    }

    fn create_dir(&self, path: &Path) -> Result<(), Error> {
        create_dirs(path).map_err(|source| Error::from_io(Operation::CreateDir, path, source))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let renamed =
            refuse_directory(fs::symlink_metadata(from)).and_then(|()| fs::rename(from, to));
        renamed.map_err(|source| Error::from_io(Operation::Rename, from, source))
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        fs::remove_file(path).map_err(|source| Error::from_io(Operation::Remove, path, source))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, Error> {
        let names = || {
            fs::read_dir(dir)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()
        };
        let mut names = names().map_err(|source| Error::from_io(Operation::List, dir, source))?;
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> Result<bool, Error> {
        path.try_exists().map_err(|source| Error::from_io(Operation::Exists, path, source))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        sync_dir(dir).map_err(|source| Error::from_io(Operation::SyncDir, dir, source))
    }

    fn lock(&self, path: &Path) -> Result<Lock, Error> {
        let open = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path);
        let file = open.map_err(|source| Error::from_io(Operation::Lock, path, source))?;
        match file.try_lock() {
            // The lock of the operating system is released when the file is closed.
            Ok(()) => Ok(Lock::new(file)),
            Err(fs::TryLockError::WouldBlock) => {
                Err(Error::new(Operation::Lock, path, Kind::Locked))
            }
            Err(fs::TryLockError::Error(source)) => {
                Err(Error::from_io(Operation::Lock, path, source))
            }
        }
    }
}

/// Only the user that runs the store may read it.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Syncing each parent makes the promise of `create_dir` true, and costs only once.
fn create_dirs(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    create_dirs(parent)?;
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_dir(parent),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY).open(dir)?.sync_all()
}

/// Some calls would do something with a directory that is not promised here.
fn refuse_directory(metadata: io::Result<fs::Metadata>) -> io::Result<()> {
    if metadata?.is_dir() { Err(Errno::ISDIR.into()) } else { Ok(()) }
}

#[derive(Debug)]
struct RealFile {
    path: PathBuf,
    /// Reads, syncs, allocations, and the writes of a file that is not direct.
    file: fs::File,
    /// Writes past the page cache. A descriptor of its own, so that reads need no alignment; the
    /// kernel drops cached pages of a range before and after a direct write to it, so reads through
    /// `file` see what was written.
    direct: Option<fs::File>,
    access: Access,
    mark: Mark,
    /// Set by a failed sync, and by a failed direct write, which includes one.
    poisoned: AtomicBool,
}

impl RealFile {
    fn open(path: &Path, how: Open, refuses_direct: bool) -> io::Result<RealFile> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(how.access != Access::Read).mode(FILE_MODE);
        match how.create {
            Create::Existing => {}
            Create::New => drop(options.create_new(true)),
            Create::Either => drop(options.create(true).truncate(false)),
        }
        if how.access == Access::Read && how.create != Create::Existing {
            // Creating needs the right to write; the handle is not used for it.
            options.write(true);
        }
        let file = options.open(path)?;
        if how.access == Access::Read {
            // The operating system opens a directory for reading, and then nothing can be read.
            refuse_directory(file.metadata())?;
        }
        let wants_direct = how.access == Access::Direct && !refuses_direct;
        let direct = if wants_direct && can_be_direct(&file) { open_direct(path)? } else { None };
        let (mark, poisoned) = (Mark::default(), AtomicBool::new(false));
        Ok(RealFile { path: path.to_owned(), file, direct, access: how.access, mark, poisoned })
    }

    fn error(&self, operation: Operation, source: impl Into<io::Error>) -> Error {
        Error::from_io(operation, &self.path, source.into())
    }

    /// Writes all of `buf`; what is written past the page cache is written with these flags.
    fn write(&self, buf: &[u8], offset: u64, flags: ReadWriteFlags) -> Result<(), Error> {
        if self.access == Access::Direct {
            // Also where it is not needed, so that a mistake shows everywhere.
            assert_aligned(buf, offset);
        }
        self.check_writable(Operation::Write).map_err(|error| error.at(offset))?;
        let written = match &self.direct {
            Some(direct) => write_all(direct, buf, offset, flags),
            None => self.file.write_all_at(buf, offset),
        };
        written.map_err(|source| {
            let error = self.error(Operation::Write, source).at(offset);
            if self.direct.is_some() && !error.is_full() {
                self.poisoned.store(true, Ordering::Release);
            }
            error
        })
    }

    /// A handle that was opened to be read may have the right to write, if it created the file.
    fn check_writable(&self, operation: Operation) -> Result<(), Error> {
        if self.access == Access::Read {
            return Err(self.error(operation, Errno::BADF));
        }
        self.check_poison(operation)
    }

    fn check_poison(&self, operation: Operation) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::new(operation, &self.path, Kind::Poisoned));
        }
        Ok(())
    }
}

/// False if the file system says that it cannot write whole blocks past its cache. Those too old to
/// say (before Linux 6.1) are taken at their word when the file is opened.
fn can_be_direct(file: &fs::File) -> bool {
    match statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
        Ok(stat) if stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
            let suits = |align: u32| (1..=BLOCK as u32).contains(&align);
            suits(stat.stx_dio_mem_align) && suits(stat.stx_dio_offset_align)
        }
        _ => true,
    }
}

fn open_direct(path: &Path) -> io::Result<Option<fs::File>> {
    match fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes all of `buf`. With [`ReadWriteFlags::DSYNC`] each write is also a sync of what it wrote,
/// though not of the time of the file, for which the journal would have to be awaited.
fn write_all(
    file: &fs::File,
    mut buf: &[u8],
    mut offset: u64,
    flags: ReadWriteFlags,
) -> io::Result<()> {
    while !buf.is_empty() {
        match pwritev2(file, &[io::IoSlice::new(buf)], offset, flags) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                buf = &buf[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl File for RealFile {
    fn len(&self) -> Result<u64, Error> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(|source| self.error(Operation::Length, source))?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        let mut read = 0;
        while read < buf.len() {
            let at = offset + read as u64;
            match self.file.read_at(&mut buf[read..], at) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(Operation::Read, error).at(at)),
            }
        }
        Ok(read)
    }

    fn unexpected_end(&self, offset: u64) -> Error {
        Error::new(Operation::Read, &self.path, Kind::UnexpectedEnd).at(offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        self.write(buf, offset, ReadWriteFlags::DSYNC)
    }

    fn write_unsynced_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        self.write(buf, offset, ReadWriteFlags::empty())
    }

    fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.check_poison(Operation::Sync)?;
        self.file.sync_data().map_err(|source| {
            self.poisoned.store(true, Ordering::Release);
            self.error(Operation::Sync, source)
        })
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.check_writable(Operation::Allocate).map_err(|error| error.at(offset))?;
        if len == 0 {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), offset, len) {
            // Some file systems cannot reserve; growing the file is what is left.
            Err(Errno::OPNOTSUPP) => match self.len()? {
                length if length < offset.saturating_add(len) => {
                    self.truncate(offset.saturating_add(len))
                }
                _ => Ok(()),
            },
            result => result.map_err(|e| self.error(Operation::Allocate, e).at(offset)),
        }
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.check_writable(Operation::PunchHole).map_err(|error| error.at(offset))?;
        if len == 0 {
            return Ok(());
        }
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, how, offset, len)
            .map_err(|source| self.error(Operation::PunchHole, source).at(offset))
    }

    fn truncate(&self, len: u64) -> Result<(), Error> {
        self.check_writable(Operation::Truncate).map_err(|error| error.at(len))?;
        self.file.set_len(len).map_err(|source| self.error(Operation::Truncate, source).at(len))
    }

    fn allocated(&self) -> Result<u64, Error> {
        let metadata = self.file.metadata();
        // The unit of this count is 512 bytes, whatever the file system.
        Ok(metadata.map_err(|source| self.error(Operation::Allocated, source))?.blocks() * 512)
    }

    fn map(&self, len: u64) -> Result<Mapping, Error> {
        Mapping::of_file(&self.file, len, &self.path)
            .map_err(|source| self.error(Operation::Map, source))
    }

    fn mark(&self, at: u64) -> Result<(), Error> {
        self.mark.set(&self.file, at).map_err(|source| self.error(Operation::Mark, source).at(at))
    }

    fn is_marked(&self, range: Range<u64>) -> Result<bool, Error> {
        let start = range.start;
        marks::is_marked(&self.file, range)
            .map_err(|source| self.error(Operation::Mark, source).at(start))
    }
}

/// Panics on a write that the hardware would refuse: on some machines only, were it not checked.
pub(crate) fn assert_aligned(buf: &[u8], offset: u64) {
    let address = buf.as_ptr() as usize;
    assert!(
        address.is_multiple_of(BLOCK)
            && buf.len().is_multiple_of(BLOCK)
            && offset.is_multiple_of(BLOCK as u64),
        "a direct write of {} bytes from address {address:#x} to offset {offset} is not aligned",
        buf.len()
    );
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    #[test]
    fn direct_writes_are_not_asked_of_a_file_system_that_refuses_them() {
        // Every machine has one such file system.
        assert!(open_direct(Path::new("/proc/self/comm")).unwrap().is_none());
    }

    #[test]
    fn what_a_file_system_says_about_direct_writes_is_heeded() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("file")).unwrap();
        let is_opened = open_direct(&dir.path().join("file")).unwrap().is_some();
        assert!(is_opened || !can_be_direct(&file), "it says that it can, and cannot");
    }

    #[test]
    fn created_files_and_directories_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let (deep, file) = (dir.path().join("a/b"), dir.path().join("a/file"));
        let disk = Real::new();
        disk.create_dir(&deep).unwrap();
        disk.open(&file, Open::new_file(Access::Direct)).unwrap();
        drop(disk.lock(&dir.path().join("a/lock")).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&deep), 0o700);
        assert_eq!(mode(deep.parent().unwrap()), 0o700);
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&dir.path().join("a/lock")), 0o600);
    }

    #[test]
    fn a_failed_sync_poisons_the_handle() {
        let dir = tempfile::tempdir().unwrap();
        let how = Open::new_file(Access::Buffered);
        let mut file = RealFile::open(&dir.path().join("file"), how, false).unwrap();
        // A pipe cannot be synced.
        let (_reader, pipe) = io::pipe().unwrap();
        file.file = fs::File::from(std::os::fd::OwnedFd::from(pipe));
        assert_eq!(file.sync_data().unwrap_err().kind(), Kind::Io);
        assert_eq!(file.sync_data().unwrap_err().kind(), Kind::Poisoned);
        assert_eq!(file.write_at(b"x", 0).unwrap_err().kind(), Kind::Poisoned);
        assert_eq!(file.write_unsynced_at(b"x", 0).unwrap_err().kind(), Kind::Poisoned);
        assert_eq!(file.truncate(0).unwrap_err().kind(), Kind::Poisoned);
        assert_eq!(file.allocate(0, 10).unwrap_err().kind(), Kind::Poisoned);
        assert_eq!(file.punch_hole(0, 10).unwrap_err().kind(), Kind::Poisoned);
    }

    #[test]
    fn a_failed_direct_write_poisons_the_handle_and_a_full_disk_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let buffer = crate::Buffer::zeroed(BLOCK);
        let mut file = RealFile::open(&path, Open::new_file(Access::Direct), false).unwrap();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        file.direct = Some(full);
        for _ in 0..2 {
            // That device knows no synchronous writes.
            assert!(file.write_unsynced_at(&buffer, 0).unwrap_err().is_full());
        }
        file.direct = Some(fs::File::open(&path).unwrap());
        assert_eq!(file.write_at(&buffer, 0).unwrap_err().kind(), Kind::Io);
        assert_eq!(file.write_at(&buffer, 0).unwrap_err().kind(), Kind::Poisoned);
        assert_eq!(file.sync_data().unwrap_err().kind(), Kind::Poisoned);
    }
}
