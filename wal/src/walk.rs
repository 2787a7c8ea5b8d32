//! Walking over the batches of one segment, and telling what ends the walk.

use std::ops::Range;

use crc32fast::Hasher;
use revd_disk::{BLOCK, Error as DiskError};

use crate::error::Corruption;
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, BatchKind, FRAME_HEADER_BYTES, FrameHeader};
use crate::segment::Segment;
use crate::window::Window;

/// How much is read at a time when a whole segment is walked.
const WINDOW_BYTES: usize = 256 << 10;

/// The state between two batches: what the next one must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joint {
    /// Where the next batch starts in its segment.
    pub(crate) offset: u64,
    /// Its number.
    pub(crate) batch: u64,
    /// The last checksum before it.
    pub(crate) chain: u32,
    /// The index of the next entry.
    pub(crate) next: u64,
}

/// What is found where a batch might start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole batch; the walk goes on behind it.
    Batch(BatchHeader),
    /// A header that fits, and behind it not what was written.
    Incomplete(BatchHeader),
    /// No batch of this segment.
    Nothing,
}

/// How the newest segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Clean,
    /// An un-synced batch of so many bytes was cut off by a crash.
    Torn(u64),
}

/// A walk over one segment.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    segment: &'a Segment,
    window: Window,
    pub(crate) joint: Joint,
}

impl<'a> Walk<'a> {
    /// Starts at the first batch.
    pub(crate) fn new(segment: &'a Segment) -> Walk<'a> {
        let window = Window::new(segment.file().clone(), WINDOW_BYTES);
        Walk { segment, window, joint: segment.start() }
    }

    /// Takes one batch, if there is one.
    pub(crate) fn step(&mut self) -> Result<Found, WalkError> {
        let offset = self.joint.offset;
        let Some(bytes) = self.window.array::<BATCH_HEADER_BYTES>(offset)? else {
            return Ok(Found::Nothing);
        };
        let Some((header, checksum)) = BatchHeader::decode(&bytes, self.segment.salt()) else {
            return Ok(Found::Nothing);
        };
        self.check_header(&header)?;
        let Some(chain) = self.check_frames(&header, checksum)? else {
            return Ok(Found::Incomplete(header));
        };
        let next = match header.kind {
            BatchKind::Entries => header.next_index(),
            BatchKind::Truncation => header.first,
        };
        let (offset, batch) = (offset + header.padded(), header.batch + 1);
        self.joint = Joint { offset, batch, chain, next };
        Ok(Found::Batch(header))
    }

    /// A header with the salt of this segment was written here and nowhere else in time: no crash
    /// leaves one that does not fit to what is before it.
    fn check_header(&self, header: &BatchHeader) -> Result<(), Corruption> {
        let joint = &self.joint;
        self.check("number of the batch", joint.batch, header.batch)?;
        self.check("chained checksum", u64::from(joint.chain), u64::from(header.chain))?;
        match header.kind {
            BatchKind::Entries => self.check("index of the first entry", joint.next, header.first),
            // A truncation may reach below the first entry that is kept, never above the last.
            BatchKind::Truncation => {
                self.check("index to truncate at", joint.next.min(header.first), header.first)
            }
        }
    }

    fn check(&self, what: &'static str, expected: u64, found: u64) -> Result<(), Corruption> {
        if expected == found { Ok(()) } else { Err(self.corruption(what, expected, found)) }
    }

    fn corruption(&self, what: &'static str, expected: u64, found: u64) -> Corruption {
        self.segment.corruption(self.joint.offset, what, expected, found)
    }

    /// Returns the last checksum of a batch, or `None` if a frame is not what was written.
    fn check_frames(
        &mut self,
        header: &BatchHeader,
        mut chain: u32,
    ) -> Result<Option<u32>, DiskError> {
        let mut at = self.joint.offset + BATCH_HEADER_BYTES as u64;
        let end = self.joint.offset + header.bytes;
        for index in header.first..header.next_index() {
            let Some(frame) = Frame::read(&mut self.window, at, end, index, chain)? else {
                return Ok(None);
            };
            let mut hasher = frame.hasher;
            hash_range(&mut self.window, frame.payload.clone(), &mut hasher)?;
            chain = hasher.finalize();
            if chain != frame.header.checksum {
                return Ok(None);
            }
            at = frame.payload.end;
        }
        Ok((at == end).then_some(chain))
    }

    /// The verdict on the newest segment, after the walk has ended with `found`.
    ///
    /// Only one batch is un-synced at a time, so a batch that was begun later than the one missing
    /// here proves that the one here had been durable.
    pub(crate) fn tail(&mut self, found: Found) -> Result<Tail, WalkError> {
        let (at, batch) = (self.joint.offset, self.joint.batch);
        let lost = match found {
            Found::Batch(_) => unreachable!("a walk does not end with a batch"),
            Found::Incomplete(_) => batch + 1,
            Found::Nothing => batch,
        };
        let mut offset = at + BLOCK as u64;
        while let Some(bytes) = self.window.array::<BATCH_HEADER_BYTES>(offset)? {
            match BatchHeader::decode(&bytes, self.segment.salt()) {
                Some((later, _)) if later.batch >= lost => {
                    let what = "a later batch follows at a block behind";
                    return Err(self.corruption(what, batch, later.batch).into());
                }
                _ => offset += BLOCK as u64,
            }
        }
        match found {
            Found::Incomplete(header) => Ok(Tail::Torn(header.bytes)),
            // In a file that was used before, what is left of an older batch cannot be told from
            // what is left of the newest, and is no sign of anything.
            _ if self.segment.is_stale() || self.is_zero(at)? => Ok(Tail::Clean),
            _ => Ok(Tail::Torn(BLOCK as u64)),
        }
    }

    fn is_zero(&mut self, offset: u64) -> Result<bool, DiskError> {
        Ok(self.window.bytes(offset, BLOCK)?.iter().all(|&byte| byte == 0))
    }

    /// An error unless a sealed segment ends where its successor says.
    pub(crate) fn check_seal(&self, successor: &Segment) -> Result<(), Corruption> {
        let begun = successor.start();
        self.check("batches before the next segment", begun.batch, self.joint.batch)?;
        self.check("last checksum", u64::from(begun.chain), u64::from(self.joint.chain))?;
        self.check("index before the next segment", begun.next, self.joint.next)
    }
}

/// A frame whose header has been read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    /// Where in the segment the entry lies.
    pub(crate) payload: Range<u64>,
    /// The checksum up to the entry.
    pub(crate) hasher: Hasher,
}

impl Frame {
    /// Reads the header at `at` of the frame of entry `index`, in a batch that ends at `end`.
    /// `None` if it cannot be one. Nothing was allocated for the length that it claims.
    pub(crate) fn read(
        window: &mut Window,
        at: u64,
        end: u64,
        index: u64,
        chain: u32,
    ) -> Result<Option<Frame>, DiskError> {
        let start = at + FRAME_HEADER_BYTES as u64;
        if start > end {
            return Ok(None);
        }
        let Some(bytes) = window.array::<FRAME_HEADER_BYTES>(at)? else {
            return Ok(None);
        };
        let header = FrameHeader::decode(&bytes);
        let payload = start..start + u64::from(header.length);
        if header.index != index || payload.end > end {
            return Ok(None);
        }
        Ok(Some(Frame { header, payload, hasher: FrameHeader::hasher(&bytes, chain) }))
    }
}

/// Adds a range of the file to a checksum; a range that the file does not reach falls short and
/// will not match.
fn hash_range(
    window: &mut Window,
    range: Range<u64>,
    hasher: &mut Hasher,
) -> Result<(), DiskError> {
    let mut at = range.start;
    while at < range.end {
        let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let buffered = window.buffered(at, wanted).len();
        let bytes = window.bytes(at, if buffered > 0 { buffered } else { wanted })?;
        if bytes.is_empty() {
            break;
        }
        hasher.update(bytes);
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Why a walk failed.
#[derive(Debug)]
pub(crate) enum WalkError {
    Disk(DiskError),
    Corrupt(Corruption),
}

impl From<DiskError> for WalkError {
    fn from(error: DiskError) -> WalkError {
        WalkError::Disk(error)
    }
}

impl From<Corruption> for WalkError {
    fn from(error: Corruption) -> WalkError {
        WalkError::Corrupt(error)
    }
}

impl From<WalkError> for crate::OpenError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Disk(error) => error.into(),
            WalkError::Corrupt(error) => error.into(),
        }
    }
}

impl From<WalkError> for crate::Error {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Disk(error) => error.into(),
            WalkError::Corrupt(error) => error.into(),
        }
    }
}
