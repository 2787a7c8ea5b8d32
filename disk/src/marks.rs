//! Marks on byte numbers of a file that other processes see.
//!
//! They are shared byte-range locks of open file descriptions (`F_OFD_SETLK`, Linux 3.15): they
//! belong to the descriptor, unlike the older POSIX locks, which belong to the process and vanish
//! when it closes *any* descriptor of the file. Nobody takes an exclusive lock, so none waits and
//! none is refused; to look for marks is to ask whether an exclusive lock would be.

#![expect(unsafe_code, reason = "no crate that this one uses wraps locks of descriptions")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use parking_lot::Mutex;

use crate::file::MARK_MAX;

/// The mark of one open file.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    at: Mutex<Option<u64>>,
}

impl Mark {
    /// Sets the mark, and takes the earlier one away afterwards. `file` is the same each time.
    pub(crate) fn set(&self, file: &File, at: u64) -> io::Result<()> {
        if at > MARK_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Held throughout: of two threads that set the same mark, one comes after the other.
        let mut held = self.at.lock();
        if *held == Some(at) {
            return Ok(());
        }
        lock(file, libc::F_OFD_SETLK, &mut range_of(libc::F_RDLCK, at, 1))?;
        if let Some(old) = held.replace(at) {
            lock(file, libc::F_OFD_SETLK, &mut range_of(libc::F_UNLCK, old, 1))?;
        }
        Ok(())
    }
}

/// True if an open file other than this one has a mark in `range`.
pub(crate) fn is_marked(file: &File, range: Range<u64>) -> io::Result<bool> {
    let end = range.end.min(MARK_MAX + 1);
    if range.start >= end {
        return Ok(false);
    }
    let mut asked = range_of(libc::F_WRLCK, range.start, end - range.start);
    lock(file, libc::F_OFD_GETLK, &mut asked)?;
    Ok(asked.l_type != libc::F_UNLCK as libc::c_short)
}

/// A range for [`lock`]. The end is at most `MARK_MAX + 1`, and `len` not zero, which would mean
/// all that follows.
fn range_of(kind: libc::c_int, start: u64, len: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as libc::off_t,
        l_len: len as libc::off_t,
        // Must be zero for locks of descriptions.
        l_pid: 0,
    }
}

fn lock(file: &File, command: libc::c_int, range: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed; both commands that are used
    // read, and one of them writes, the one `flock` that the pointer leads to, borrowed for the
    // call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut *range) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
