//! Writing a batch.

use std::sync::Arc;

use revd_disk::{BLOCK, Buffer, Error as DiskError, File};

use crate::error::Error;
use crate::format::{
    BATCH_BYTES_MAX, BATCH_HEADER_BYTES, BatchHeader, BatchKind, ENTRY_BYTES_MAX,
    FRAME_HEADER_BYTES, FrameHeader,
};
use crate::segment::Segment;
use crate::walk::Joint;

/// How much is written at once. A batch of a thousand entries of 300 bytes is one write; a longer
/// one takes several, so that memory is bounded.
const PIECE_BYTES: usize = 1 << 20;
const _: () = assert!(PIECE_BYTES.is_multiple_of(BLOCK));

/// The end of the log, where the one writer is.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) segment: Arc<Segment>,
    pub(crate) joint: Joint,
    /// Reused from batch to batch.
    buffer: Buffer,
    /// A write failed: what is on the disk is unknown.
    pub(crate) poisoned: bool,
}

impl Writer {
    pub(crate) fn new(segment: Arc<Segment>, joint: Joint) -> Writer {
        Writer { segment, joint, buffer: Buffer::new(), poisoned: false }
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
        let Joint { offset, batch, chain, .. } = self.joint;
        let count = entries.len() as u32;
        let header = BatchHeader { kind, batch, first, bytes, count, chain };
        assert!(
            offset + header.padded() <= self.segment.capacity(),
            "a batch of {bytes} bytes at {offset} is too long for its segment"
        );
        self.buffer.clear();
        let file = self.segment.file().as_ref();
        let mut pieces = Pieces { file, offset, buffer: &mut self.buffer, writes: 0 };
        let (encoded, mut chain) = header.encode(self.segment.salt());
        pieces.push(&encoded)?;
        for (entry, index) in entries.iter().zip(first..) {
            let (encoded, checksum) = FrameHeader::encode(index, entry.as_ref(), chain);
            chain = checksum;
            pieces.push(&encoded)?;
            pieces.push(entry.as_ref())?;
        }
        pieces.finish()?;
        let writes = pieces.writes;
        let next = match kind {
            BatchKind::Entries => header.next_index(),
            BatchKind::Truncation => first,
        };
        self.joint = Joint { offset: offset + header.padded(), batch: batch + 1, chain, next };
        Ok((header, writes))
    }
}

/// The length of a batch of these entries.
pub(crate) fn batch_bytes<T: AsRef<[u8]>>(entries: &[T]) -> Result<u64, Error> {
    let mut bytes = BATCH_HEADER_BYTES as u64;
    for entry in entries {
        let len = entry.as_ref().len();
        if len > ENTRY_BYTES_MAX {
            return Err(Error::TooLarge { bytes: len as u64 });
        }
        bytes += (FRAME_HEADER_BYTES + len) as u64;
    }
    if bytes > BATCH_BYTES_MAX {
        return Err(Error::TooLarge { bytes });
    }
    Ok(bytes)
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
            self.write()?;
            bytes = later;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), DiskError> {
        if !self.buffer.is_empty() {
            self.buffer.pad_to_block();
            self.write()?;
        }
        if self.file.is_direct() { Ok(()) } else { self.file.sync_data() }
    }

    fn write(&mut self) -> Result<(), DiskError> {
        self.file.write_at(self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        self.writes += 1;
        Ok(())
    }
}
