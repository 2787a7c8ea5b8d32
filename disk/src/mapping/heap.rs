//! The memory behind the mappings of a simulated file, for Miri.
//!
//! Miri sees each write to it. If one changes bytes that a slice still lends, or does so beside a
//! reader on another thread without anything that orders them, then whoever was given the slice has
//! broken the contract of [`Mapping::slice`](super::Mapping::slice), and Miri says so.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::sync::Arc;

use super::{Mapped, Mapping, Memory, Raw};

/// Zeroed memory with a stable address.
pub(super) struct Heap {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: it is plain memory, which belongs to no thread.
unsafe impl Send for Heap {}
// SAFETY: as above; that nobody reads what is being written is the contract of `Mapping::slice`.
unsafe impl Sync for Heap {}

impl Heap {
    fn reserve(len: u64) -> io::Result<Heap> {
        let len = usize::try_from(len.max(1)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let layout = Layout::array::<u8>(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            Err(io::ErrorKind::OutOfMemory.into())
        } else {
            Ok(Heap { start, layout })
        }
    }

    pub(super) fn as_ptr(&self) -> *const u8 {
        self.start
    }

    pub(super) fn len(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and slices of it borrow what owns it.
        unsafe { dealloc(self.start, self.layout) };
    }
}

impl Memory {
    /// Reserves `len` bytes, all zero.
    pub(crate) fn reserve(len: u64) -> io::Result<Memory> {
        let raw = Raw::Heap(Heap::reserve(len)?);
        Ok(Memory { mapping: Mapping { memory: Arc::new(Mapped { _entry: None, raw }) } })
    }

    /// Copies `bytes`, which lie within the mapping, to `offset`.
    pub(super) fn write_within(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Raw::Heap(heap) = &self.mapping.memory.raw else { return Ok(()) };
        if bytes.is_empty() {
            return Ok(());
        }
        let start = self.mapping.check(offset, bytes.len());
        // SAFETY: the range lies within the memory, and the bytes come from elsewhere. That no
        // slice lends the range is the contract of `Mapping::slice`; Miri finds out if one does.
        unsafe { heap.start.add(start).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }
}
