//! Looking at a log without opening it.

use std::path::{Path, PathBuf};

use revd_disk::{Access, Disk};

use crate::error::OpenError;
use crate::format::{BatchHeader, BatchKind};
use crate::recover::{End, Listing, walk_newest, walk_sealed};
use crate::segment::Segment;

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
    let Some(newest) = listing.segments.back() else {
        return Err(OpenError::Absent { dir: dir.to_owned() });
    };
    for (segment, successor) in listing.segments.iter().zip(listing.segments.iter().skip(1)) {
        visit(segment_part(segment));
        walk_sealed(segment, successor, &mut |header, offset| visit(batch_part(header, offset)))?;
    }
    visit(segment_part(newest));
    let (_, end) = walk_newest(newest, &mut |header, offset| visit(batch_part(header, offset)))?;
    Ok(end)
}

fn segment_part(segment: &Segment) -> Part {
    Part::Segment {
        path: segment.path().to_owned(),
        sequence: segment.sequence(),
        owner: segment.owner(),
        capacity: segment.capacity(),
        next: segment.start().next,
        origin: segment.is_origin(),
    }
}

fn batch_part(header: &BatchHeader, offset: u64) -> Part {
    Part::Batch {
        offset,
        number: header.batch,
        kind: header.kind,
        first: header.first,
        count: header.count,
        bytes: header.bytes,
    }
}
