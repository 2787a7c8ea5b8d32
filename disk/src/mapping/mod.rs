//! Memory maps, and what becomes of a process that reads a page that cannot be read.
//!
//! A [`Mapping`] is read-only for its holder, but not constant: the file below it is written. A
//! reference promises that the bytes behind it do not change, so handing out a `&[u8]` is sound
//! only while nobody rewrites those bytes. Only the crate that decides which pages are reused can
//! know that, hence [`Mapping::slice`] is an `unsafe fn` whose contract that crate keeps.

#![expect(unsafe_code, reason = "slices of mapped files and signal handlers need it")]

mod bus;
#[cfg(miri)]
mod heap;
mod registry;

use std::fmt;
use std::fs;
use std::io;
#[cfg(not(miri))]
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
#[cfg(not(miri))]
use rustix::fs::{MemfdFlags, memfd_create};

pub use bus::report_bus_errors;

use registry::Entry;

/// A read-only view of a file in memory; see [`File::map`](crate::File::map).
///
/// The address stays the same as long as the mapping or a clone of it lives.
#[derive(Clone)]
pub struct Mapping {
    memory: Arc<Mapped>,
}

/// What all clones of a mapping share.
struct Mapped {
    /// Dropped before the memory is, as a field that comes earlier.
    _entry: Option<Entry>,
    raw: Raw,
}

/// Where the bytes are.
enum Raw {
    Map(MmapRaw),
    #[cfg(miri)]
    Heap(heap::Heap),
}

impl Raw {
    fn as_ptr(&self) -> *const u8 {
        match self {
            Raw::Map(map) => map.as_ptr(),
            #[cfg(miri)]
            Raw::Heap(heap) => heap.as_ptr(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Raw::Map(map) => map.len(),
            #[cfg(miri)]
            Raw::Heap(heap) => heap.len(),
        }
    }
}

impl Mapping {
    /// Maps the first `len` bytes of the real file at `path`.
    pub(crate) fn of_file(file: &fs::File, len: u64, path: &Path) -> io::Result<Mapping> {
        let raw = map(file, len)?;
        let entry = Entry::enter(raw.as_ptr() as usize, raw.len(), path);
        Ok(Mapping { memory: Arc::new(Mapped { _entry: entry, raw: Raw::Map(raw) }) })
    }

    /// The number of bytes of address space.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.memory.raw.len() as u64
    }

    /// True if it maps nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes at `[offset, offset + len)`.
    ///
    /// # Safety
    ///
    /// While the slice lives, nobody may write to these bytes of the file, cut the file below their
    /// end or punch them out; and they must lie within the file when they are read.
    ///
    /// # Panics
    ///
    /// If the range is not within the mapping.
    #[must_use]
    pub unsafe fn slice(&self, offset: u64, len: usize) -> &[u8] {
        let start = self.check(offset, len);
        // SAFETY: `check` has made sure that the range lies within the mapping, which lives as long
        // as `self`. The memory is readable and initialised (by the file, or zeros). That it does
        // not change while the slice lives is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.memory.raw.as_ptr().add(start), len) }
    }

    /// Checks that a range lies within the mapping and returns its start.
    fn check(&self, offset: u64, len: usize) -> usize {
        let end = offset.checked_add(len as u64);
        assert!(
            end.is_some_and(|end| end <= self.len()),
            "range of {len} bytes at {offset} is not within a mapping of {} bytes",
            self.len()
        );
        offset as usize
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("len", &self.len()).finish()
    }
}

/// The memory behind the mappings of one simulated file: a file without a name, so that it has a
/// stable address, takes room only where it is written, and is written without `unsafe`. Miri,
/// which knows no such files, gets memory of the heap.
#[derive(Debug)]
pub(crate) struct Memory {
    #[cfg(not(miri))]
    file: fs::File,
    mapping: Mapping,
}

impl Memory {
    /// Reserves `len` bytes of address space, all zero.
    #[cfg(not(miri))]
    pub(crate) fn reserve(len: u64) -> io::Result<Memory> {
        let file = fs::File::from(memfd_create("revd-disk-sim", MemfdFlags::CLOEXEC)?);
        file.set_len(len)?;
        let memory = Arc::new(Mapped { _entry: None, raw: Raw::Map(map(&file, len)?) });
        Ok(Memory { file, mapping: Mapping { memory } })
    }

    /// A view of it.
    pub(crate) fn mapping(&self) -> Mapping {
        self.mapping.clone()
    }

    /// True if a view of it is in use.
    pub(crate) fn is_mapped(&self) -> bool {
        Arc::strong_count(&self.mapping.memory) > 1
    }

    /// Copies `bytes` to `offset`; what lies beyond the end is left out, as with a mapping that is
    /// shorter than its file.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let room = usize::try_from(self.mapping.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        self.write_within(offset, &bytes[..room.min(bytes.len())])
    }

    #[cfg(not(miri))]
    fn write_within(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
}

fn map(file: &fs::File, len: u64) -> io::Result<MmapRaw> {
    MmapOptions::new().len(address_space(len)?).no_reserve_swap().map_raw_read_only(file)
}

/// `len` as address space; a mapping of nothing takes one byte, since none cannot be mapped.
fn address_space(len: u64) -> io::Result<usize> {
    usize::try_from(len.max(1)).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_its_address_and_shows_what_is_written() {
        let memory = Memory::reserve(1 << 40).unwrap();
        assert!(!memory.is_mapped());
        let mapping = memory.mapping();
        assert!(memory.is_mapped());
        memory.write(1 << 39, b"far out").unwrap();
        // SAFETY: nobody writes these bytes any more.
        assert_eq!(unsafe { mapping.slice(1 << 39, 7) }, b"far out");
        memory.write((1 << 40) - 3, b"cut off").unwrap();
        // SAFETY: nobody writes these bytes any more.
        assert_eq!(unsafe { mapping.slice((1 << 40) - 3, 3) }, b"cut");
    }

    #[test]
    #[should_panic(expected = "not within a mapping of 4096 bytes")]
    fn a_range_beyond_the_mapping_is_refused() {
        let mapping = Memory::reserve(4096).unwrap().mapping();
        // SAFETY: nobody writes; the range is refused before it is read.
        let _ = unsafe { mapping.slice(u64::MAX, 2) };
    }
}
