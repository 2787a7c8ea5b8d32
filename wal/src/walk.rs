//! Walking over the batches of one segment, and telling what ends the walk.

use revd_disk::{BLOCK, Error as DiskError};

use crate::error::Corruption;
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, BatchKind, ENTRY_BYTES_MAX, FRAME_HEADER_BYTES, Footer,
    FrameHeader, frame_checksum,
};
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
    /// An un-synced batch of so many bytes, as far as is known, was cut off by a crash.
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
        let bytes = self.window.bytes(offset, BATCH_HEADER_BYTES)?.first_chunk();
        let header = bytes.and_then(|bytes| BatchHeader::decode(bytes, self.segment.salt()));
        let Some((header, checksum)) = header else {
            return Ok(Found::Nothing);
        };
        // A copy: see `FORMAT.md`, "Three verdicts".
        if header.batch < self.joint.batch {
            return Ok(Found::Nothing);
        }
        self.check_header(&header)?;
        let Some(chain) = self.check_frames(&header, checksum)? else {
            return Ok(Found::Incomplete(header));
        };
        let next = match header.kind {
            BatchKind::Entries => header.next_index(),
            BatchKind::Truncation => header.first,
        };
        if header.kind == BatchKind::Truncation {
            self.segment.set_truncated();
        }
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
            let Some(len) = frame_len(self.window.bytes(at, FRAME_HEADER_BYTES)?, index, end - at)
            else {
                return Ok(None);
            };
            let Some(checksum) = check_frame(self.window.bytes(at, len)?, len, chain) else {
                return Ok(None);
            };
            chain = checksum;
            at += len as u64;
        }
        Ok((at == end).then_some(chain))
    }

    /// The verdict on the newest segment, after the walk has ended with `found`.
    ///
    /// Only one batch is un-synced at a time, so a batch that was begun later than the one missing
    /// here proves that the one here had been durable.
    pub(crate) fn tail(&mut self, found: Found) -> Result<Tail, WalkError> {
        let (start, batch) = (self.joint.offset, self.joint.batch);
        let missing = match found {
            Found::Batch(_) => unreachable!("a walk does not end with a batch"),
            Found::Incomplete(_) => batch + 1,
            Found::Nothing => batch,
        };
        let mut torn = None;
        let mut offset = start;
        loop {
            let block = self.window.bytes(offset, BLOCK)?;
            if block.is_empty() {
                break;
            }
            if block != &ZEROS[..block.len()] {
                self.segment.set_littered();
                if offset == start {
                    torn = Some(BLOCK as u64);
                }
                let (header, footer) = witnesses(block, self.segment.salt());
                let later = header.filter(|&later| later >= missing && offset > start);
                if let Some(later) = later.or(footer.filter(|&later| later > batch)) {
                    let what = "a later batch follows at a block behind";
                    return Err(self.corruption(what, batch, later).into());
                }
                if footer == Some(batch) {
                    torn = Some(offset + BLOCK as u64 - start);
                }
            }
            offset += BLOCK as u64;
        }
        Ok(match (found, torn) {
            (Found::Incomplete(header), _) => Tail::Torn(header.bytes),
            (_, Some(bytes)) => Tail::Torn(bytes),
            _ => Tail::Clean,
        })
    }

    /// An error unless a sealed segment ends where its successor says.
    pub(crate) fn check_seal(&self, successor: &Segment) -> Result<(), Corruption> {
        let begun = successor.start();
        self.check("batches before the next segment", begun.batch, self.joint.batch)?;
        self.check("last checksum", u64::from(begun.chain), u64::from(self.joint.chain))?;
        self.check("index before the next segment", begun.next, self.joint.next)
    }
}

/// A block without a trace of anything.
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The numbers of the batches that a block bears witness of, by a header and by a footer.
fn witnesses(block: &[u8], salt: u64) -> (Option<u64>, Option<u64>) {
    let header = block.first_chunk().and_then(|bytes| BatchHeader::decode(bytes, salt));
    let footer = match block.last_chunk() {
        Some(bytes) if block.len() == BLOCK => Footer::decode(bytes, salt),
        _ => None,
    };
    (header.map(|(header, _)| header.batch), footer.map(|footer| footer.batch))
}

/// The length of the frame that starts with `header`, if it can be that of entry `index`, in a
/// batch of which `room` bytes are left. So far nothing was allocated for the length it claims.
pub(crate) fn frame_len(header: &[u8], index: u64, room: u64) -> Option<usize> {
    let header = FrameHeader::decode(header.first_chunk()?);
    let entry = header.length as usize;
    let len = FRAME_HEADER_BYTES + entry;
    (header.index == index && entry <= ENTRY_BYTES_MAX && len as u64 <= room).then_some(len)
}

/// The checksum of a frame of `len` bytes, if it is right and there is so much of it.
pub(crate) fn check_frame(frame: &[u8], len: usize, chain: u32) -> Option<u32> {
    let header = FrameHeader::decode(frame.first_chunk()?);
    if frame.len() != len {
        return None;
    }
    let checksum = frame_checksum(&frame[FRAME_HEADER_BYTES..], chain);
    (checksum == header.checksum).then_some(checksum)
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
