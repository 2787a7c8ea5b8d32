//! Reading a file from front to back through a buffer of bounded size.

use std::sync::Arc;

use revd_disk::{BLOCK, Buffer, Error, File};

/// A part of a file in memory, moved along as it is read.
///
/// Reads are positional and not mapped, so that a medium that fails gives an error and not a
/// signal.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn File>,
    /// Of the length of one read, but for a while longer where more was asked for at once.
    buffer: Buffer,
    /// The length of one read.
    size: usize,
    /// The offset in the file of the first byte: that of a block, as the kernel copies faster from
    /// the start of a page to an aligned address.
    start: u64,
    /// How many bytes are valid.
    len: usize,
}

impl Window {
    /// A window that reads `size` bytes at a time.
    pub(crate) fn new(file: Arc<dyn File>, size: usize) -> Window {
        Window { file, buffer: Buffer::new(), size, start: 0, len: 0 }
    }

    /// Moves on to another file.
    pub(crate) fn change_file(&mut self, file: Arc<dyn File>) {
        self.file = file;
        self.len = 0;
    }

    /// The `len` bytes at `offset`, or fewer at the end of the file. Memory is taken for bytes that
    /// are there, whatever `len` claims.
    #[inline]
    pub(crate) fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], Error> {
        let end = offset.saturating_add(len as u64);
        if offset < self.start || end > self.start + self.len as u64 {
            self.read(offset, len)?;
        }
        let from = (offset - self.start) as usize;
        Ok(self.buffer[..self.len].get(from..).map_or(&[], |rest| &rest[..len.min(rest.len())]))
    }

    #[cold]
    fn read(&mut self, offset: u64, len: usize) -> Result<(), Error> {
        self.len = 0;
        self.start = offset - offset % BLOCK as u64;
        let len = len.saturating_add((offset - self.start) as usize);
        let left = self.file.len()?.saturating_sub(self.start);
        let wanted = len.max(self.size).min(usize::try_from(left).unwrap_or(usize::MAX));
        if wanted > self.buffer.len() || self.buffer.len() > self.size {
            self.buffer = Buffer::zeroed(wanted);
        }
        self.len = self.file.read_at(&mut self.buffer[..wanted], self.start)?;
        Ok(())
    }
}
