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
    /// Of the length of one read, but for a while longer where more was asked for at once.
    buffer: Vec<u8>,
    /// The length of one read.
    size: usize,
    /// The offset in the file of the first byte.
    start: u64,
    /// How many bytes are valid.
    len: usize,
}

impl Window {
    /// A window that reads `size` bytes at a time.
    pub(crate) fn new(file: Arc<dyn File>, size: usize) -> Window {
        Window { file, buffer: Vec::new(), size, start: 0, len: 0 }
    }

    /// Moves on to another file.
    pub(crate) fn change_file(&mut self, file: Arc<dyn File>) {
        self.file = file;
        self.len = 0;
    }

    /// The `len` bytes at `offset`, or fewer at the end of the file. Memory is taken for bytes that
    /// are there, whatever `len` claims.
    pub(crate) fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], Error> {
        let end = offset.saturating_add(len as u64);
        if offset < self.start || end > self.start + self.len as u64 {
            self.read(offset, len)?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buffer[from..self.len.min(from + len)])
    }

    fn read(&mut self, offset: u64, len: usize) -> Result<(), Error> {
        self.len = 0;
        self.start = offset;
        let left = usize::try_from(self.file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = len.max(self.size).min(left);
        if wanted > self.buffer.len() || self.buffer.len() > self.size {
            self.buffer = vec![0; wanted];
        }
        self.len = self.file.read_at(&mut self.buffer[..wanted], offset)?;
        Ok(())
    }
}
