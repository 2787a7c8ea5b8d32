//! Looking at a log without opening it.

use std::path::{Path, PathBuf};

use revd_disk::{Access, Disk};

use crate::error::OpenError;
use crate::format::BatchKind;
use crate::recover::{End, Listing, read_segments};
use crate::walk::Found;

/// A part of a log, as [`inspect`] comes across it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// A segment, followed by its batches.
    Segment {
        /// Its file.
        path: PathBuf,
        /// Its number.
        sequence: u64,
        /// The store that it belongs to.
        owner: [u8; 16],
        /// The length of the file when it was allocated.
        capacity: u64,
        /// The index of the next entry when it was begun.
        next: u64,
        /// True if nothing in earlier segments belongs to the log.
        origin: bool,
    },
    /// A whole batch.
    Batch {
        /// Where it begins in its segment.
        offset: u64,
        /// Its number.
        number: u64,
        /// What it does.
        kind: BatchKind,
        /// The index of its first entry, or the one that is removed with all that follow.
        first: u64,
        /// The number of its entries.
        count: u32,
        /// Its length, padding left out.
        bytes: u64,
    },
}

/// Reads the log in `dir`, whoever it belongs to, shows its parts in order, and says how it ends.
/// Changes nothing.
///
/// # Errors
///
/// As [`Wal::open`](crate::Wal::open), after the parts before the damage have been shown; and if
/// there is no log, [`OpenError::Absent`].
pub fn inspect(disk: &dyn Disk, dir: &Path, visit: &mut dyn FnMut(Part)) -> Result<End, OpenError> {
    let listing = Listing::read(disk, dir, Access::Read, None)?;
    if listing.segments.is_empty() {
        return Err(OpenError::Absent { dir: dir.to_owned() });
    }
    let mut current = None;
    let (_, end) = read_segments(&listing.segments, &mut |segment, found, offset| {
        if current.replace(segment.sequence()) != Some(segment.sequence()) {
            visit(Part::Segment {
                path: segment.path().to_owned(),
                sequence: segment.sequence(),
                owner: segment.owner(),
                capacity: segment.capacity(),
                next: segment.start().next,
                origin: segment.is_origin(),
            });
        }
        if let Found::Batch(header) = found {
            visit(Part::Batch {
                offset,
                number: header.batch,
                kind: header.kind,
                first: header.first,
                count: header.count,
                bytes: header.bytes,
            });
        }
    })?;
    Ok(end)
}
