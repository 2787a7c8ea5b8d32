//! One file of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use revd_disk::{Access, BLOCK, Disk, File, Open};

use crate::error::{Corruption, OpenError};
use crate::format::{
    HeaderFault, MAGIC, NUMBER_MAX, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_USED, SegmentHeader,
};
use crate::walk::Joint;

/// A segment whose header is durable.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    file: Arc<dyn File>,
    header: SegmentHeader,
    /// The log's end in this segment: readers may look at what lies before.
    end: AtomicU64,
    /// Up to here the file system has written blocks. At least `end` and whatever is being
    /// appended; raised under the lock of the pool only.
    filled: AtomicU64,
    /// Behind the log's end there may be something else than zeros: an earlier use of the file, or
    /// a batch that was never acknowledged.
    littered: AtomicBool,
    /// All of it was read and found right since it was opened, or was written since then.
    verified: AtomicBool,
    /// One of its batches is a truncation.
    truncated: AtomicBool,
}

impl Segment {
    pub(crate) fn new(
        path: PathBuf,
        file: Arc<dyn File>,
        header: SegmentHeader,
        filled: u64,
    ) -> Segment {
        Segment {
            path,
            file,
            header,
            end: AtomicU64::new(SEGMENT_HEADER_BYTES),
            filled: AtomicU64::new(filled.max(SEGMENT_HEADER_BYTES)),
            littered: AtomicBool::new(header.stale),
            verified: AtomicBool::new(true),
            truncated: AtomicBool::new(false),
        }
    }

    /// Opens a segment and checks its header against its name and the store that it should be of.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: PathBuf,
        sequence: u64,
        access: Access,
        owner: Option<[u8; 16]>,
    ) -> Result<Segment, OpenError> {
        let file = disk.open(&path, Open::existing(access))?;
        let mut block = [0; SEGMENT_HEADER_USED];
        // A file that is too short reads as zeros, which are no header.
        file.read_at(&mut block, 0)?;
        let header = SegmentHeader::decode(&block).map_err(|fault| header_error(&path, fault))?;
        if header.sequence != sequence {
            let what = "number of the segment";
            return Err(corruption(&path, 0, what, sequence, header.sequence).into());
        }
        if let Some(expected) = owner.filter(|owner| *owner != header.owner) {
            return Err(OpenError::Foreign { path, expected, found: header.owner });
        }
        // The length is durable before the header is written, so no crash explains a shorter file.
        let len = file.len()?;
        if len < header.capacity {
            return Err(corruption(&path, len, "length of the file", header.capacity, len).into());
        }
        let segment = Segment::new(path, file, header, header.written.min(header.capacity));
        segment.verified.store(false, Ordering::Relaxed);
        Ok(segment)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.header.sequence
    }

    pub(crate) fn owner(&self) -> [u8; 16] {
        self.header.owner
    }

    pub(crate) fn salt(&self) -> u64 {
        self.header.salt
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.header.capacity
    }

    pub(crate) fn is_origin(&self) -> bool {
        self.header.origin
    }

    /// True if the segment before holds entries alone and no truncation.
    pub(crate) fn has_entries_before(&self) -> bool {
        self.header.entries_before
    }

    /// True if its bytes were read and found right, or were written, since it was opened.
    pub(crate) fn is_verified(&self) -> bool {
        self.verified.load(Ordering::Acquire)
    }

    pub(crate) fn set_verified(&self) {
        self.verified.store(true, Ordering::Release);
    }

    /// Takes note of a segment that the log has left behind and that nobody has read yet: its end
    /// is not known, but it is nearly full, as its successor was begun for want of room.
    pub(crate) fn set_unread(&self) {
        self.set_end(self.capacity());
        self.set_filled(self.capacity());
    }

    /// True if one of its batches is a truncation.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated.load(Ordering::Acquire)
    }

    pub(crate) fn set_truncated(&self) {
        self.truncated.store(true, Ordering::Release);
    }

    /// Takes note that there is something else than zeros behind the log's end.
    pub(crate) fn set_littered(&self) {
        self.littered.store(true, Ordering::Relaxed);
    }

    /// How many zeros must follow a batch that ends at `end`, so that the next block does not look
    /// like one that was begun.
    pub(crate) fn clearance(&self, end: u64) -> usize {
        let littered = self.littered.load(Ordering::Relaxed);
        if littered && end < self.header.capacity { BLOCK } else { 0 }
    }

    /// The state of the log before the first batch.
    pub(crate) fn start(&self) -> Joint {
        Joint {
            offset: SEGMENT_HEADER_BYTES,
            batch: self.header.first_batch,
            chain: self.header.first_chain,
            next: self.header.first_index,
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    pub(crate) fn filled(&self) -> u64 {
        self.filled.load(Ordering::Acquire)
    }

    /// Raises the mark up to which blocks are written. The caller holds the lock of the pool, or
    /// is the only one who knows of the segment.
    pub(crate) fn set_filled(&self, filled: u64) {
        self.filled.fetch_max(filled, Ordering::AcqRel);
    }

    pub(crate) fn corruption(
        &self,
        offset: u64,
        what: &'static str,
        expected: u64,
        found: u64,
    ) -> Corruption {
        corruption(&self.path, offset, what, expected, found)
    }
}

pub(crate) fn corruption(
    path: &Path,
    offset: u64,
    what: &'static str,
    expected: u64,
    found: u64,
) -> Corruption {
    Corruption { path: path.to_owned(), offset, what, expected, found }
}

/// A segment gets its name only when its header is durable, so no crash explains a bad header.
fn header_error(path: &Path, fault: HeaderFault) -> OpenError {
    let (what, expected, found) = match fault {
        HeaderFault::Version { found } => {
            return OpenError::Version { path: path.to_owned(), found };
        }
        HeaderFault::Magic { found } => ("mark of a segment", u64::from_le_bytes(MAGIC), found),
        HeaderFault::Checksum { expected, found } => {
            ("checksum of the header", u64::from(expected), u64::from(found))
        }
        HeaderFault::Flags { found } => ("flags of the header", 0, u64::from(found)),
        HeaderFault::Number { what, found } => (what, NUMBER_MAX, found),
    };
    corruption(path, 0, what, expected, found).into()
}

/// The name of a segment's file.
pub(crate) fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// The name of a file that waits to become a segment.
pub(crate) fn spare_name(number: u64) -> String {
    format!("{number:016x}.spare")
}

/// What a file in the directory of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Segment(u64),
    Spare(u64),
}

impl Name {
    /// Reads a name that this crate gives; `None` for every other.
    pub(crate) fn parse(name: &str) -> Option<Name> {
        let (number, kind) = name.split_once('.')?;
        let digits = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if number.len() != 16 || !number.bytes().all(digits) {
            return None;
        }
        let number = u64::from_str_radix(number, 16).ok()?;
        match kind {
            "wal" => Some(Name::Segment(number)),
            "spare" => Some(Name::Spare(number)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_given() {
        for number in [0, 1, 0xabc_def0, u64::MAX] {
            assert_eq!(Name::parse(&segment_name(number)), Some(Name::Segment(number)));
            assert_eq!(Name::parse(&spare_name(number)), Some(Name::Spare(number)));
        }
        for other in ["", "1.wal", "000000000000000A.wal", "+00000000000000a.wal", "lock"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
