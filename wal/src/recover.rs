//! Opening a log: what is there, how it ends, and whether to believe it.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, BLOCK, Buffer, Disk, Error as DiskError, File, Open};

use crate::error::{Corruption, OpenError};
use crate::format::{BatchHeader, NUMBER_MAX, SEGMENT_HEADER_BYTES};
use crate::index::Index;
use crate::options::Options;
use crate::pool::{Before, Pool, Spare};
use crate::segment::{Name, Segment, corruption, segment_name, spare_name};
use crate::walk::{Found, Joint, Tail, Walk, WalkError};

/// What was found when a log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The index of the first entry.
    pub first: u64,
    /// The index of the last entry; `first - 1` if there is none.
    pub last: u64,
    /// How the log ended.
    pub end: End,
    /// The number of segments.
    pub segments: usize,
    /// The number of batches in them, truncations included.
    pub batches: u64,
    /// True if there was no log, and an empty one was created.
    pub created: bool,
}

/// How a log ended. The third verdict, corruption, is an [`OpenError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// After a whole batch.
    Clean,
    /// With a batch that was not durable when the power failed, and was never acknowledged. It was
    /// left out.
    Torn {
        /// The newest segment.
        segment: PathBuf,
        /// Where the batch begins.
        offset: u64,
        /// Its length, as far as it is known.
        bytes: u64,
    },
}

/// An opened log, in parts.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) joint: Joint,
    pub(crate) pool: Pool,
    pub(crate) recovery: Recovery,
}

/// The files in the directory of a log.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Ascending, without gap, from the oldest that belongs to the log.
    pub(crate) segments: VecDeque<Arc<Segment>>,
    /// Segments before the log's origin.
    void: Vec<PathBuf>,
    spares: Vec<u64>,
}

/// Opens or creates the log in `dir`. Changes nothing before its end and the headers of all that is
/// before it have been verified.
pub(crate) fn recover(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: Options,
) -> Result<Recovered, OpenError> {
    options.validate()?;
    disk.create_dir(dir)?;
    // If only the process ended, names may be visible that a loss of power would still undo.
    disk.sync_dir(dir)?;
    let listing = Listing::read(disk.as_ref(), dir, Access::Direct, Some(options.owner))?;
    if listing.segments.is_empty() {
        return create(disk, dir, options, listing);
    }
    let mut index = Index::new(listing.segments.clone());
    let mut successors = listing.segments.iter().skip(1);
    for (segment, successor) in listing.segments.iter().zip(&mut successors) {
        if successor.has_entries_before() {
            check_entries(segment, successor)?;
            segment.set_unread();
            index.record_unread(segment, successor.start().next);
        } else {
            walk_sealed(segment, successor, &mut |header, offset| {
                index.record(header, segment.sequence(), offset);
            })?;
            segment.set_verified();
        }
    }
    let (active, mut last) = (Arc::clone(index.active()), 0..0);
    let (joint, end) = walk_newest(&active, &mut |header, offset| {
        index.record(header, active.sequence(), offset);
        last = offset..offset + header.padded();
    })?;
    if last.end == active.end() {
        write_again(active.file().as_ref(), last)?;
    }
    // For the same reason: what was read may be in memory only.
    active.file().sync_data()?;
    let pool = collect_pool(disk, dir, options, &listing)?;
    let segments = listing.segments.len();
    let (first, last) = (index.first(), index.next - 1);
    let batches = joint.batch - listing.segments[0].start().batch;
    let recovery = Recovery { first, last, end, segments, batches, created: false };
    Ok(Recovered { index, joint, pool, recovery })
}

/// Who is shown the batches of a segment, each with its offset.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&BatchHeader, u64);

/// Takes all whole batches of a segment and returns what ends the walk.
fn walk_over(walk: &mut Walk<'_>, visit: Visit<'_>) -> Result<Found, WalkError> {
    loop {
        let offset = walk.joint.offset;
        match walk.step()? {
            Found::Batch(header) => visit(&header, offset),
            end => return Ok(end),
        }
    }
}

/// Walks over a sealed segment, and makes sure that it ends where its successor says.
pub(crate) fn walk_sealed(
    segment: &Segment,
    successor: &Segment,
    visit: Visit<'_>,
) -> Result<(), WalkError> {
    let mut walk = Walk::new(segment);
    walk_over(&mut walk, visit)?;
    walk.check_seal(successor)?;
    segment.set_end(walk.joint.offset);
    segment.set_filled(walk.joint.offset);
    Ok(())
}

/// Walks over the newest segment, and gives the verdict.
pub(crate) fn walk_newest(segment: &Segment, visit: Visit<'_>) -> Result<(Joint, End), WalkError> {
    let mut walk = Walk::new(segment);
    let found = walk_over(&mut walk, visit)?;
    let offset = walk.joint.offset;
    segment.set_end(offset);
    segment.set_filled(offset);
    let end = match walk.tail(found)? {
        Tail::Clean => End::Clean,
        Tail::Torn(bytes) => End::Torn { segment: segment.path().to_owned(), offset, bytes },
    };
    segment.set_verified();
    Ok((walk.joint, end))
}

/// What two headers say of the segment between them, which holds entries alone, must be possible:
/// each batch has an entry and takes a block.
fn check_entries(segment: &Segment, successor: &Segment) -> Result<(), Corruption> {
    let (start, end) = (segment.start(), successor.start());
    let entries = end.next.checked_sub(start.next);
    let batches = end.batch.checked_sub(start.batch);
    let blocks = (segment.capacity() - SEGMENT_HEADER_BYTES) / BLOCK as u64;
    if batches.is_none_or(|batches| batches > blocks) {
        let what = "number of the first batch";
        return Err(successor.corruption(0, what, start.batch, end.batch));
    }
    if entries.is_none_or(|entries| Some(entries) < batches)
        || (entries == Some(0)) != (batches == Some(0))
    {
        return Err(successor.corruption(0, "first index", start.next, end.next));
    }
    if batches == Some(0) && start.chain != end.chain {
        let (expected, found) = (u64::from(start.chain), u64::from(end.chain));
        return Err(successor.corruption(0, "last checksum before", expected, found));
    }
    Ok(())
}

impl Listing {
    /// Opens the segments of the log, and tells them from what is left of an earlier one.
    pub(crate) fn read(
        disk: &dyn Disk,
        dir: &Path,
        access: Access,
        owner: Option<[u8; 16]>,
    ) -> Result<Listing, OpenError> {
        let mut listing = Listing::default();
        let mut sequences = Vec::new();
        for name in disk.list(dir)? {
            match Name::parse(&name) {
                Some(Name::Segment(sequence)) => sequences.push(sequence),
                Some(Name::Spare(number)) => listing.spares.push(number),
                None => {}
            }
        }
        sequences.sort_unstable();
        while let Some(sequence) = sequences.pop() {
            let path = dir.join(segment_name(sequence));
            let newer = listing.segments.front();
            if newer.is_some_and(|newer| newer.is_origin()) {
                listing.void.push(path);
                continue;
            }
            if let Some(newer) = newer.filter(|newer| newer.sequence() != sequence + 1) {
                let (what, expected) = ("number of the segment before", newer.sequence() - 1);
                let error = corruption(newer.path(), 0, what, expected, sequence);
                return Err(error.into());
            }
            let segment = Segment::open(disk, path, sequence, access, owner)?;
            listing.segments.push_front(Arc::new(segment));
        }
        Ok(listing)
    }
}

/// A longer batch may have been written in several pieces with one sync.
const ONE_WRITE_MAX: u64 = 64 << 10;

/// How much of the last batch is in memory at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Writes the last batch of the log once more, byte for byte. An earlier process may have failed to
/// sync it, upon which a page cache may go on showing it, and later syncs leave it out.
///
/// A batch that one direct write made durable is what the medium holds, and is left alone.
fn write_again(file: &dyn File, batch: Range<u64>) -> Result<(), DiskError> {
    if file.is_direct() && batch.end - batch.start <= ONE_WRITE_MAX {
        return Ok(());
    }
    for at in batch.clone().step_by(PIECE_BYTES as usize) {
        let mut piece = Buffer::zeroed(PIECE_BYTES.min(batch.end - at) as usize);
        file.read_exact_at(&mut piece, at)?;
        file.write_at(&piece, at)?;
    }
    Ok(())
}

/// Makes a log whose first segment is its origin.
fn create(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: Options,
    listing: Listing,
) -> Result<Recovered, OpenError> {
    let next = options.first_index;
    let mut pool = collect_pool(disk, dir, options, &listing)?;
    let start = Joint { offset: 0, batch: 1, chain: 0, next };
    let segment = pool.begin(1, start, Before::Void, 0).map_err(|failure| failure.error)?;
    let joint = segment.start();
    let index = Index::new(VecDeque::from([segment]));
    let (first, last, end) = (next, next - 1, End::Clean);
    let recovery = Recovery { first, last, end, segments: 1, batches: 0, created: true };
    Ok(Recovered { index, joint, pool, recovery })
}

/// Takes over the spare files that can be used and removes what is left over. A removal of a spare
/// that is undone by a crash is repeated at the next open. What lies before the origin is known by
/// the origin alone, so it is gone for good before that may be released.
fn collect_pool(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: Options,
    listing: &Listing,
) -> Result<Pool, DiskError> {
    for path in &listing.void {
        disk.remove(path)?;
    }
    if !listing.void.is_empty() {
        disk.sync_dir(dir)?;
    }
    let mut spares = VecDeque::new();
    for &number in &listing.spares {
        let path = dir.join(spare_name(number));
        let capacity = options.segment_bytes;
        let file = disk.open(&path, Open::existing(Access::Direct))?;
        let is_ours = number <= NUMBER_MAX;
        if is_ours && spares.len() < options.spares_max && file.len()? == capacity {
            // Nobody knows what it holds, or how much of it was ever written.
            spares.push_back(Spare { path, file, capacity, filled: 0, stale: true });
        } else {
            disk.remove(&path)?;
        }
    }
    let ours = listing.spares.iter().filter(|number| **number <= NUMBER_MAX);
    let next_spare = ours.max().map_or(0, |number| number + 1);
    Ok(Pool::new(disk, dir.to_owned(), options, spares, next_spare))
}
