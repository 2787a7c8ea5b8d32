//! Sealed segments as memory.
//!
//! The one place of this crate with `unsafe` code, and the argument for it.
//!
//! # The pin rule
//!
//! A segment is *sealed* when the log goes on in another one. The bytes of a sealed segment before
//! its end do not change as long as anybody holds an `Arc` of it:
//!
//! - Entries are written to the segment that the writer holds, which is never a sealed one: it lets
//!   go of a segment in the moment in which it seals it.
//! - Zeros are written behind the end of the newest segment only, under the lock of the pool, which
//!   sealing takes too.
//! - A file is used again only as a [`Spare`](crate::pool::Spare), which `Pool::recycle` makes of a
//!   `&mut Segment`: `Arc::get_mut` gives none while there is another `Arc`, and the one that it is
//!   from is not handed out any more. A file that is removed while it is read keeps its bytes.
//! - Nobody cuts a segment's file or punches holes into it. That nobody outside of this crate does
//!   is the condition under which a log is opened at all.

#![expect(unsafe_code, reason = "slices of mapped files cannot be had without")]

use std::sync::Arc;

use revd_disk::{Error, Mapping};

use crate::segment::Segment;

/// A sealed segment, mapped into memory.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// Keeps the file from being used again.
    _segment: Arc<Segment>,
    mapping: Mapping,
    /// The end of the segment's last batch.
    end: u64,
}

impl Sealed {
    /// Maps a segment, which the caller knows to be sealed.
    pub(crate) fn map(segment: Arc<Segment>) -> Result<Sealed, Error> {
        let end = segment.end();
        let mapping = segment.file().map(end)?;
        Ok(Sealed { _segment: segment, mapping, end })
    }

    /// The `len` bytes at `offset`, or fewer at the end of the segment.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> &[u8] {
        let left = self.end.saturating_sub(offset);
        let len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
        // SAFETY: these bytes lie before the end of a sealed segment, of which `self` holds an
        // `Arc`; by the pin rule above they do not change, and the file is not cut, before it is
        // dropped. They lie within the file, since batches were written or read there.
        unsafe { self.mapping.slice(offset.min(self.end), len) }
    }
}
