//! The door: what every crate above may do to a file system.

use std::any::Any;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use crate::{Error, File};

/// A file system, real or simulated. Used as `Arc<dyn Disk>`.
///
/// What survives a loss of power, and what not, is the contract that both implementations keep:
///
/// - A file's **content** (bytes and length) is durable once [`File::sync_data`] has returned, or
///   [`File::write_at`] on a file of which [`File::is_direct`] is true. Until then each 512-byte
///   sector of each write may survive or not, independently of all others.
/// - A directory's **entries** (created, renamed, removed files) are durable once
///   [`Disk::sync_dir`] of that directory has returned. Until then each such step may survive or
///   not, independently of all others; one rename survives as a whole or not at all.
/// - Directories made by [`Disk::create_dir`] are durable on return.
pub trait Disk: Debug + Send + Sync {
    /// Opens or creates a file. A created file has mode 0600; its directory entry is durable only
    /// after [`Disk::sync_dir`].
    ///
    /// # Errors
    ///
    /// The path must exist, or must not, as `how` says, and must not be a directory; and the
    /// operating system may refuse.
    fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn File>, Error>;

    /// Creates a directory with all its parents, mode 0700, durable on return. No error if it
    /// exists.
    ///
    /// # Errors
    ///
    /// No part of the path may be a file; and the operating system may refuse.
    fn create_dir(&self, path: &Path) -> Result<(), Error>;

    /// Renames a file, atomically, in place of whatever file `to` was.
    ///
    /// # Errors
    ///
    /// `from` must exist, neither may be a directory, and `to` must lie in one; and the operating
    /// system may refuse.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error>;

    /// Removes a file. Open handles stay usable.
    ///
    /// # Errors
    ///
    /// `path` must exist and must not be a directory; and the operating system may refuse.
    fn remove(&self, path: &Path) -> Result<(), Error>;

    /// The names in a directory, sorted; names that are not UTF-8 appear with replacement
    /// characters.
    ///
    /// # Errors
    ///
    /// `dir` must be a directory; and the operating system may refuse.
    fn list(&self, dir: &Path) -> Result<Vec<String>, Error>;

    /// True if there is a file or directory at `path`.
    ///
    /// # Errors
    ///
    /// The operating system may refuse to tell.
    fn exists(&self, path: &Path) -> Result<bool, Error>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    ///
    /// `dir` must be a directory. After any other error nothing is known about what survives a loss
    /// of power.
    fn sync_dir(&self, dir: &Path) -> Result<(), Error>;

    /// Takes an exclusive lock on the file at `path`, creating it if needed, until the lock is
    /// dropped or the process ends. Does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::is_locked`] if somebody else holds it.
    fn lock(&self, path: &Path) -> Result<Lock, Error>;
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Whether the file must exist.
    pub create: Create,
    /// What will be done with it.
    pub access: Access,
}

impl Open {
    /// An existing file, only to be read.
    #[must_use]
    pub const fn read() -> Open {
        Open { create: Create::Existing, access: Access::Read }
    }

    /// An existing file.
    #[must_use]
    pub const fn existing(access: Access) -> Open {
        Open { create: Create::Existing, access }
    }

    /// A file that must not exist yet.
    #[must_use]
    pub const fn new_file(access: Access) -> Open {
        Open { create: Create::New, access }
    }

    /// A file that is created if it does not exist.
    #[must_use]
    pub const fn either(access: Access) -> Open {
        Open { create: Create::Either, access }
    }
}

/// Whether a file must exist when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// It must exist.
    Existing,
    /// It must not exist, and is created.
    New,
    /// It is created if it does not exist.
    Either,
}

/// What an opened file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing through the page cache; durable after [`File::sync_data`].
    Buffered,
    /// Writing past the page cache, where a returned write is durable. Where the file system cannot
    /// do that, the file behaves like `Buffered`, and [`File::is_direct`] says so; alignment is
    /// asked for all the same. Reads need no alignment.
    Direct,
}

/// An exclusive lock on a file, released on drop.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this is dropped"]
pub struct Lock {
    _held: Box<dyn Held>,
}

impl Lock {
    /// A lock that is held as long as `held` is not dropped.
    pub fn new(held: impl Any + Debug + Send + Sync) -> Lock {
        Lock { _held: Box::new(held) }
    }
}

/// Anything whose drop releases the lock.
trait Held: Debug + Send + Sync {}

impl<T: Debug + Send + Sync> Held for T {}
