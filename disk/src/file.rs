//! An open file.

use std::fmt::Debug;
use std::ops::Range;

use crate::{Error, Mapping};

/// An open file. Used as `Arc<dyn File>`; all calls may be made from several threads at once, and
/// writes of disjoint ranges do not disturb each other.
///
/// What is durable when is told at [`Disk`](crate::Disk).
pub trait File: Debug + Send + Sync {
    /// The length in bytes.
    ///
    /// # Errors
    ///
    /// The operating system may refuse to tell.
    fn len(&self) -> Result<u64, Error>;

    /// True if the file has no bytes.
    ///
    /// # Errors
    ///
    /// As [`File::len`].
    fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }

    /// Reads at `offset` until `buf` is full or the file ends; returns how many bytes were read.
    ///
    /// # Errors
    ///
    /// The medium may refuse.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    ///
    /// [`Kind::UnexpectedEnd`](crate::Kind::UnexpectedEnd) if the file ends before; and as
    /// [`File::read_at`].
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        let read = self.read_at(buf, offset)?;
        if read < buf.len() { Err(self.unexpected_end(offset + read as u64)) } else { Ok(()) }
    }

    /// The error for a file that ends at `offset`, where more was expected.
    fn unexpected_end(&self, offset: u64) -> Error;

    /// Writes all of `buf` at `offset`, growing the file if needed. On a file opened with
    /// [`Access::Direct`](crate::Access::Direct) the address, length and offset of `buf` must be
    /// multiples of [`BLOCK`](crate::BLOCK): see [`Buffer`](crate::Buffer).
    ///
    /// # Errors
    ///
    /// Some of the bytes may have been written. If [`Error::is_full`], the call may be repeated
    /// later; any other error poisons a direct file. The handle must not have been opened with
    /// [`Access::Read`](crate::Access::Read).
    ///
    /// # Panics
    ///
    /// On a misaligned write to a file opened with `Access::Direct`.
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), Error>;

    /// As [`File::write_at`], but what was written is durable only after [`File::sync_data`], on a
    /// direct file too: for a run of several writes that are synced once.
    ///
    /// # Errors
    ///
    /// As [`File::write_at`].
    ///
    /// # Panics
    ///
    /// As [`File::write_at`].
    fn write_unsynced_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        self.write_at(buf, offset)
    }

    /// True if every `write_at` is durable when it returns, and `sync_data` need not be called.
    fn is_direct(&self) -> bool;

    /// Makes everything that was written durable, with the length.
    ///
    /// # Errors
    ///
    /// After any error the file is poisoned: later changes and syncs through this handle fail,
    /// since nobody can tell which of the pending writes were lost.
    fn sync_data(&self) -> Result<(), Error>;

    /// Reserves room for a range, which reads as zeros where nothing was written; the file grows to
    /// the end of the range if it was shorter.
    ///
    /// # Errors
    ///
    /// [`Error::is_full`] if there is not so much room; the handle must be one for writing.
    fn allocate(&self, offset: u64, len: u64) -> Result<(), Error>;

    /// Gives the room of a range back; it reads as zeros from then on. The length stays.
    ///
    /// # Errors
    ///
    /// The file system may not be able to; the handle must be one for writing.
    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Error>;

    /// Cuts or grows the file to `len`; what is new reads as zeros.
    ///
    /// # Errors
    ///
    /// The operating system may refuse; the handle must be one for writing.
    fn truncate(&self, len: u64) -> Result<(), Error>;

    /// How many bytes of the disk the file takes.
    ///
    /// # Errors
    ///
    /// The operating system may refuse to tell.
    fn allocated(&self) -> Result<u64, Error>;

    /// Maps `[0, len)` for reading. `len` may be more than the file has now: later growth and later
    /// writes appear in the mapping. To read beyond the end of the file is an error of the caller
    /// (the process gets a SIGBUS).
    ///
    /// # Errors
    ///
    /// There may not be so much address space.
    fn map(&self, len: u64) -> Result<Mapping, Error>;

    /// Sets this handle's mark on the byte number `at`, which may lie far behind the end of the
    /// file, at most at [`i64::MAX`]` - 1`. A handle has one mark: setting it again moves it, and
    /// the new one holds before the old one goes. It goes when the handle is dropped or its
    /// process ends.
    ///
    /// A mark changes nothing but the answer of [`File::is_marked`]. It is a reader's word to a
    /// writer, perhaps in another process, about what it still reads; the two agree on what the
    /// numbers mean. Handles that were opened only to read may set it too.
    ///
    /// # Errors
    ///
    /// `at` is too large, or the file system does not know marks.
    fn mark(&self, at: u64) -> Result<(), Error>;

    /// True if any other handle of this file, of this process or another, has its mark in `range`.
    ///
    /// # Errors
    ///
    /// The file system may not know marks.
    fn is_marked(&self, range: Range<u64>) -> Result<bool, Error>;
}

/// The largest number that can be marked: the operating system counts signed, and needs one more
/// for the end of a range.
pub(crate) const MARK_MAX: u64 = i64::MAX as u64 - 1;
