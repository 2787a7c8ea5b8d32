//! Reading a file from front to back through a buffer of bounded size.

use std::sync::Arc;

use revd_disk::{Error, File};

/// A part of a file in memory, moved along as it is read.
///
/// Reads are positional and not mapped, so that a medium that fails gives an error and not a
/// signal.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn File>,
    /// Never changes its length, which is that of one read.
    buffer: Vec<u8>,
    /// The offset in the file of the first byte.
    start: u64,
    /// How many bytes are valid.
    len: usize,
}

impl Window {
    /// A window that reads `size` bytes at a time.
    pub(crate) fn new(file: Arc<dyn File>, size: usize) -> Window {
        Window { file, buffer: vec![0; size], start: 0, len: 0 }
    }

    /// Moves on to another file.
    pub(crate) fn change_file(&mut self, file: Arc<dyn File>) {
        self.file = file;
        self.len = 0;
    }

    /// Up to `len` bytes at `offset`: fewer at the end of the file, and no more than the size of
    /// the window.
    pub(crate) fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], Error> {
        let len = len.min(self.buffer.len());
        let end = offset + len as u64;
        if offset < self.start || end > self.start + self.len as u64 {
            self.len = 0;
            self.len = self.file.read_at(&mut self.buffer, offset)?;
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buffer[from..self.len.min(from + len)])
    }

    /// Exactly `N` bytes at `offset`, or `None` if the file ends before.
    pub(crate) fn array<const N: usize>(&mut self, offset: u64) -> Result<Option<[u8; N]>, Error> {
        let bytes = self.bytes(offset, N)?;
        Ok(bytes.try_into().ok())
    }

    /// What is at `offset` in the buffer already, without reading; at most `len` bytes.
    pub(crate) fn buffered(&self, offset: u64, len: usize) -> &[u8] {
        if offset < self.start || offset >= self.start + self.len as u64 {
            return &[];
        }
        let from = (offset - self.start) as usize;
        &self.buffer[from..self.len.min(from + len)]
    }

    /// How many bytes it can hold.
    pub(crate) fn size(&self) -> usize {
        self.buffer.len()
    }

    /// The file that is read.
    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }
}
