//! What can go wrong at the file system, told by what the caller can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The operation that was attempted. It names itself in messages, and faults are aimed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening or creating a file.
    Open,
    /// Creating a directory and its parents.
    CreateDir,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Listing a directory.
    List,
    /// Asking whether a path exists.
    Exists,
    /// Making the entries of a directory durable.
    SyncDir,
    /// Taking an exclusive lock.
    Lock,
    /// Asking for the length of a file.
    Length,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making the content of a file durable.
    Sync,
    /// Reserving room.
    Allocate,
    /// Giving room back.
    PunchHole,
    /// Changing the length of a file.
    Truncate,
    /// Asking how much room a file takes.
    Allocated,
    /// Mapping a file into memory.
    Map,
    /// Marking a byte number of a file, or asking for the marks of others.
    Mark,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Operation::Open => "open",
            Operation::CreateDir => "create directory",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::List => "list",
            Operation::Exists => "look up",
            Operation::SyncDir => "sync directory",
            Operation::Lock => "lock",
            Operation::Length => "get the length of",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "sync",
            Operation::Allocate => "allocate room for",
            Operation::PunchHole => "punch a hole into",
            Operation::Truncate => "truncate",
            Operation::Allocated => "get the size on disk of",
            Operation::Map => "map",
            Operation::Mark => "mark",
        }
    }
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// No room is left on the disk, or in the quota of this user. Nothing of the call was lost that
    /// was there before; the same call may succeed once there is room.
    Full,
    /// Somebody else holds the lock.
    Locked,
    /// The path does not exist.
    NotFound,
    /// The path exists and must not.
    Exists,
    /// The file ends before the range that was asked for.
    UnexpectedEnd,
    /// An earlier sync of this file failed: what it holds is unknown until it is opened anew.
    Poisoned,
    /// The simulated machine has lost its power.
    Crashed,
    /// Anything else; see the source.
    Io,
}

/// A failed operation: what was attempted, on what, where, and why it failed.
///
/// ```
/// use revd_disk::{Disk, Error, Open, Real};
///
/// let error: Error = Real::new().open("/does/not/exist".as_ref(), Open::read()).unwrap_err();
/// assert!(error.is_not_found());
/// assert_eq!(error.to_string(), "cannot open /does/not/exist: not found");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    operation: Operation,
    path: PathBuf,
    offset: Option<u64>,
    kind: Kind,
    source: Option<io::Error>,
}

impl Clone for Error {
    /// The same error for one more of those who waited for the operation.
    fn clone(&self) -> Error {
        let Inner { operation, ref path, offset, kind, ref source } = *self.0;
        let source = source.as_ref().map(|source| match source.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(source.kind(), source.to_string()),
        });
        Error(Box::new(Inner { operation, path: path.clone(), offset, kind, source }))
    }
}

impl Error {
    /// An error that did not come from the operating system.
    #[must_use]
    pub fn new(operation: Operation, path: &Path, kind: Kind) -> Error {
        let path = path.to_owned();
        Error(Box::new(Inner { operation, path, offset: None, kind, source: None }))
    }

    /// An error of the operating system; its kind is read off `source`.
    #[must_use]
    pub fn from_io(operation: Operation, path: &Path, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Kind::Full,
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::AlreadyExists => Kind::Exists,
            io::ErrorKind::UnexpectedEof => Kind::UnexpectedEnd,
            _ => Kind::Io,
        };
        let mut error = Error::new(operation, path, kind);
        error.0.source = Some(source);
        error
    }

    /// The same error, with the offset in the file at which it happened.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Error {
        self.0.offset = Some(offset);
        self
    }

    /// What was attempted.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// The file or directory that it was attempted on.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Where in the file, for reads, writes and the like.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// Why it failed.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// True if the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.kind == Kind::Full
    }

    /// True if somebody else holds the lock.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.kind == Kind::Locked
    }

    /// True if the path does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.0.kind == Kind::NotFound
    }

    /// True if the simulated machine has lost its power.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.0.kind == Kind::Crashed
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.0.operation.verb(), self.0.path.display())?;
        if let Some(offset) = self.0.offset {
            write!(f, " at offset {offset}")?;
        }
        let reason = match self.0.kind {
            Kind::Full => "no room is left",
            Kind::Locked => "somebody else holds its lock",
            Kind::NotFound => "not found",
            Kind::Exists => "it exists already",
            Kind::UnexpectedEnd => "the file ends before",
            Kind::Poisoned => "an earlier write or sync of it failed",
            Kind::Crashed => "the simulated machine has crashed",
            Kind::Io => "input/output error",
        };
        write!(f, ": {reason}")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("operation", &self.0.operation)
            .field("path", &self.0.path)
            .field("offset", &self.0.offset)
            .field("kind", &self.0.kind)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
