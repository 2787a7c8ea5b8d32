//! Writing a batch.

use std::sync::Arc;

use revd_disk::{BLOCK, Buffer, Error as DiskError, File};

use crate::error::Error;
use crate::format::{
    BATCH_BYTES_MAX, BATCH_HEADER_BYTES, BatchHeader, BatchKind, ENTRY_BYTES_MAX, FOOTER_BYTES,
    FRAME_HEADER_BYTES, Footer, FrameHeader, chained, frame_checksum, padded, seal_frame,
};
use crate::segment::Segment;
use crate::walk::Joint;

/// How much is written at once, so that memory is bounded. A longer batch takes several writes.
const PIECE_BYTES: usize = 2 << 20;
const _: () = assert!(PIECE_BYTES.is_multiple_of(BLOCK));

/// A buffer of this size lies in huge pages, which make long writes faster.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The longest write that is synchronous by itself, which the hardware may do in one step. Beyond
/// it, a write and then a sync are faster.
const SYNCHRONOUS_MAX: usize = 64 << 10;

/// The end of the log, where the one writer is.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) segment: Arc<Segment>,
    pub(crate) joint: Joint,
    /// Reused from batch to batch.
    buffer: Buffer,
    /// Entries that came together, from when they are taken until they are written.
    pub(crate) gathered: Gathered,
    /// A write failed: what is on the disk is unknown.
    pub(crate) poisoned: bool,
}

impl Writer {
    pub(crate) fn new(segment: Arc<Segment>, joint: Joint) -> Writer {
        Writer {
            segment,
            joint,
            buffer: Buffer::new(),
            gathered: Gathered::default(),
            poisoned: false,
        }
    }

    /// Writes one batch at the end of the log, where there is room for it. Durable on return, which
    /// tells its header and the number of writes that it took.
    ///
    /// After an error the end is where it was. If the disk was full, another batch may be written
    /// there: none of its frames can be mistaken for one of this batch, because each checksum goes
    /// on from the header's, or the two batches were the same up to that frame.
    pub(crate) fn write<T: AsRef<[u8]>>(
        &mut self,
        kind: BatchKind,
        first: u64,
        entries: &[T],
        bytes: u64,
    ) -> Result<(BatchHeader, u64), DiskError> {
        let header = self.header(kind, first, entries.len() as u32, bytes);
        let salt = self.segment.salt();
        if self.buffer.capacity() == 0 {
            self.buffer = Buffer::with_capacity(buffer_bytes(self.segment.capacity()));
        }
        self.buffer.clear();
        let (file, offset) = (self.segment.file().as_ref(), self.joint.offset);
        let mut pieces = Pieces { file, offset, buffer: &mut self.buffer, writes: 0 };
        let (encoded, mut chain) = header.encode(salt);
        pieces.push(&encoded)?;
        for (entry, index) in entries.iter().zip(first..) {
            chain = pieces.push_frame(index, entry.as_ref(), chain)?;
        }
        let padding = (header.padded() - header.bytes) as usize - FOOTER_BYTES;
        pieces.push(&[0; BLOCK][..padding])?;
        pieces.push(&footer(&header).encode(salt))?;
        pieces.push(&[0; BLOCK][..self.segment.clearance(offset + header.padded())])?;
        let writes = pieces.finish()?;
        self.advance(&header, chain);
        Ok((header, writes))
    }

    /// As [`Writer::write`], for the entries that were gathered, in one write.
    pub(crate) fn write_gathered(&mut self) -> Result<(BatchHeader, u64), DiskError> {
        let (count, bytes) = (self.gathered.count, self.gathered.bytes());
        let header = self.header(BatchKind::Entries, self.joint.next, count, bytes);
        let offset = self.joint.offset;
        let behind = self.segment.clearance(offset + header.padded());
        let chain = self.gathered.seal(&header, self.segment.salt(), behind);
        let file = self.segment.file().as_ref();
        let writes = write_durably(file, &self.gathered.buffer, offset)?;
        self.advance(&header, chain);
        Ok((header, writes))
    }

    fn header(&self, kind: BatchKind, first: u64, count: u32, bytes: u64) -> BatchHeader {
        let Joint { offset, batch, chain, .. } = self.joint;
        let header = BatchHeader { kind, batch, first, bytes, count, chain };
        assert!(
            offset + header.padded() <= self.segment.capacity(),
            "a batch of {bytes} bytes at {offset} is too long for its segment"
        );
        header
    }

    fn advance(&mut self, header: &BatchHeader, chain: u32) {
        let next = match header.kind {
            BatchKind::Entries => header.next_index(),
            BatchKind::Truncation => header.first,
        };
        let offset = self.joint.offset + header.padded();
        self.joint = Joint { offset, batch: header.batch + 1, chain, next };
    }
}

fn footer(header: &BatchHeader) -> Footer {
    Footer { blocks: (header.padded() / BLOCK as u64) as u32, batch: header.batch }
}

/// Memory for one piece; less if no batch of a segment of `capacity` can fill it.
pub(crate) fn buffer_bytes(capacity: u64) -> usize {
    usize::try_from(capacity).unwrap_or(HUGE_PAGE_BYTES).min(HUGE_PAGE_BYTES)
}

/// The length of the frames of these entries.
pub(crate) fn frames_bytes<T: AsRef<[u8]>>(entries: &[T]) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in entries {
        let len = entry.as_ref().len();
        if len > ENTRY_BYTES_MAX {
            return Err(Error::TooLarge { bytes: len as u64 });
        }
        bytes += (FRAME_HEADER_BYTES + len) as u64;
    }
    Ok(bytes)
}

/// The length of a batch of these entries.
pub(crate) fn batch_bytes<T: AsRef<[u8]>>(entries: &[T]) -> Result<u64, Error> {
    let bytes = BATCH_HEADER_BYTES as u64 + frames_bytes(entries)?;
    if bytes > BATCH_BYTES_MAX || entries.len() > u32::MAX as usize {
        return Err(Error::TooLarge { bytes });
    }
    Ok(bytes)
}

/// Writes whole blocks, durable on return, which tells the number of writes.
fn write_durably(file: &dyn File, bytes: &[u8], offset: u64) -> Result<u64, DiskError> {
    if file.is_direct() && bytes.len() <= SYNCHRONOUS_MAX {
        file.write_at(bytes, offset)?;
    } else {
        file.write_unsynced_at(bytes, offset)?;
        file.sync_data()?;
    }
    Ok(1)
}

/// Gathers bytes and writes them in whole blocks.
struct Pieces<'a> {
    file: &'a dyn File,
    offset: u64,
    buffer: &'a mut Buffer,
    writes: u64,
}

impl Pieces<'_> {
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        while bytes.len() > PIECE_BYTES - self.buffer.len() {
            let (now, later) = bytes.split_at(PIECE_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            self.file.write_unsynced_at(self.buffer, self.offset)?;
            self.offset += self.buffer.len() as u64;
            self.buffer.clear();
            self.writes += 1;
            bytes = later;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds a frame; returns its checksum.
    fn push_frame(&mut self, index: u64, entry: &[u8], chain: u32) -> Result<u32, DiskError> {
        let checksum = frame_checksum(entry, chain);
        let header = FrameHeader::encode(index, entry, checksum);
        if header.len() + entry.len() <= PIECE_BYTES - self.buffer.len() {
            self.buffer.extend_from_slices(&header, entry);
        } else {
            self.push(&header)?;
            self.push(entry)?;
        }
        Ok(checksum)
    }

    /// Writes the rest and makes all pieces durable; returns the number of writes.
    fn finish(self) -> Result<u64, DiskError> {
        if self.writes == 0 {
            return write_durably(self.file, self.buffer, self.offset);
        }
        if !self.buffer.is_empty() {
            self.file.write_unsynced_at(self.buffer, self.offset)?;
        }
        self.file.sync_data()?;
        Ok(self.writes + 1)
    }
}

/// Entries gathered for one batch, in the memory from which it is written, before it is known where
/// and as which batch that will be.
///
/// In place of its checksum each frame holds the sum of its entry, so that the rest is quickly
/// done.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Room for the header, then frames.
    buffer: Buffer,
    pub(crate) count: u32,
}

impl Gathered {
    /// Begins anew, in the same memory.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.count = 0;
    }

    /// The length of the batch, footer and padding left out.
    pub(crate) fn bytes(&self) -> u64 {
        (self.buffer.len().max(BATCH_HEADER_BYTES)) as u64
    }

    /// Adds entries that alone would make a batch of `bytes`. Memory is taken for at least `room`.
    pub(crate) fn extend<T: AsRef<[u8]>>(&mut self, entries: &[T], bytes: u64, room: usize) {
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(2 * BLOCK);
        self.buffer.reserve(wanted.max(room.saturating_sub(self.buffer.len())));
        if self.buffer.is_empty() {
            self.buffer.resize(BATCH_HEADER_BYTES);
        }
        for entry in entries {
            let entry = entry.as_ref();
            let header = FrameHeader::encode(0, entry, crc32fast::hash(entry));
            self.buffer.extend_from_slices(&header, entry);
        }
        self.count += entries.len() as u32;
    }

    /// Makes whole blocks of it: header, indexes, checksums, footer, and `behind` zeros. Returns
    /// the last checksum.
    fn seal(&mut self, header: &BatchHeader, salt: u64, behind: usize) -> u32 {
        let (encoded, mut chain) = header.encode(salt);
        let (start, mut rest) = self.buffer.split_at_mut(BATCH_HEADER_BYTES);
        start.copy_from_slice(&encoded);
        for index in header.first..header.next_index() {
            let frame = FrameHeader::of(rest);
            chain = chained(frame.checksum, chain);
            seal_frame(rest, index, chain);
            rest = &mut rest[FRAME_HEADER_BYTES + frame.length as usize..];
        }
        self.buffer.resize(padded(header.bytes) as usize - FOOTER_BYTES);
        self.buffer.extend_from_slice(&footer(header).encode(salt));
        let len = self.buffer.len() + behind;
        self.buffer.resize(len);
        chain
    }
}
