//! Memory at the alignment that direct writes need.

use std::fmt;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

use crate::BLOCK;

/// A growable byte buffer whose first byte lies at a multiple of [`BLOCK`].
///
/// The alignment costs no `unsafe`: the buffer allocates one block more than it needs and starts at
/// the first aligned byte. It never shrinks; clear and fill it again to write without allocating.
///
/// A buffer of 2 MiB and more lies in huge pages where the system has them. A direct write hands
/// its memory to the device in physically contiguous pieces: one piece instead of hundreds makes
/// writes of 1 MiB and more up to twice as fast.
///
/// ```
/// use revd_disk::{BLOCK, Buffer};
///
/// let mut buffer = Buffer::new();
/// buffer.extend_from_slice(b"an entry");
/// buffer.pad_to_block();
/// assert_eq!(buffer.len(), BLOCK);
/// assert_eq!(buffer.as_ptr() as usize % BLOCK, 0);
/// ```
#[derive(Default)]
pub struct Buffer {
    /// All of it is initialised, so growing within it writes only what is new.
    raw: Raw,
    /// Offset in `raw` of the first aligned byte.
    start: usize,
    len: usize,
}

impl Buffer {
    /// An empty buffer that has not allocated.
    #[must_use]
    pub const fn new() -> Buffer {
        Buffer { raw: Raw::Heap(Vec::new()), start: 0, len: 0 }
    }

    /// An empty buffer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Buffer {
        let mut buffer = Buffer::new();
        buffer.reserve(capacity);
        buffer
    }

    /// A buffer of `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Buffer {
        let mut buffer = Buffer::with_capacity(len);
        // What was just reserved is zero already.
        buffer.len = len;
        buffer
    }

    /// The number of bytes it can hold without allocating.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.raw.len() - self.start
    }

    /// Makes room for `additional` bytes behind those that are there.
    pub fn reserve(&mut self, additional: usize) {
        let needed = self.len.checked_add(additional).expect("a buffer is smaller than memory");
        if needed <= self.capacity() {
            return;
        }
        let capacity = needed.max(self.capacity() * 2).next_multiple_of(BLOCK);
        let (mut raw, start) = Raw::zeroed(capacity);
        raw[start..start + self.len].copy_from_slice(self);
        self.raw = raw;
        self.start = start;
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slices(bytes, &[]);
    }

    /// Appends `first` and then `second`.
    #[inline]
    pub fn extend_from_slices(&mut self, first: &[u8], second: &[u8]) {
        let len = first.len() + second.len();
        if len > self.capacity() - self.len {
            self.reserve(len);
        }
        let end = self.start + self.len;
        let (one, two) = self.raw[end..end + len].split_at_mut(first.len());
        one.copy_from_slice(first);
        two.copy_from_slice(second);
        self.len += len;
    }

    /// Cuts to, or fills with zeros up to, `len` bytes.
    pub fn resize(&mut self, len: usize) {
        if len > self.len {
            self.reserve(len - self.len);
            self.raw[self.start + self.len..self.start + len].fill(0);
        }
        self.len = len;
    }

    /// Fills with zeros up to the next multiple of [`BLOCK`].
    pub fn pad_to_block(&mut self) {
        self.resize(self.len.next_multiple_of(BLOCK));
    }

    /// Forgets the content and keeps the room.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Forgets the content, and the room too if it is more than `capacity`.
    pub fn clear_and_shrink(&mut self, capacity: usize) {
        self.len = 0;
        if self.capacity() > capacity {
            *self = Buffer::new();
        }
    }
}

/// The size and alignment of a huge page on common machines.
const HUGE_PAGE: usize = 2 << 20;

/// The memory of a buffer.
enum Raw {
    Heap(Vec<u8>),
    Huge(MmapMut),
}

impl Default for Raw {
    fn default() -> Raw {
        Raw::Heap(Vec::new())
    }
}

impl Raw {
    /// Memory with `capacity` zeros from the returned, aligned offset to its end, or nearly so.
    fn zeroed(capacity: usize) -> (Raw, usize) {
        if capacity >= HUGE_PAGE && !cfg!(miri) {
            // Without room for the alignment or without huge pages, ordinary ones do.
            if let Ok(map) = MmapMut::map_anon(capacity + HUGE_PAGE) {
                let _ = map.advise(memmap2::Advice::HugePage);
                let start = map.as_ptr().align_offset(HUGE_PAGE);
                if start <= HUGE_PAGE {
                    return (Raw::Huge(map), start);
                }
            }
        }
        let mut raw = vec![0; capacity + BLOCK];
        let start = raw.as_ptr().align_offset(BLOCK);
        assert!(start < BLOCK, "memory cannot be aligned: offset {start}");
        raw.truncate(start + capacity);
        (Raw::Heap(raw), start)
    }
}

impl Deref for Raw {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Raw::Heap(bytes) => bytes,
            Raw::Huge(map) => map,
        }
    }
}

impl DerefMut for Raw {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Raw::Heap(bytes) => bytes,
            Raw::Huge(map) => map,
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.raw[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.raw[self.start..self.start + self.len]
    }
}

impl Clone for Buffer {
    /// A copy at an aligned address of its own.
    fn clone(&self) -> Buffer {
        let mut copy = Buffer::new();
        copy.extend_from_slice(self);
        copy
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_aligned_and_keeps_its_content_while_growing() {
        let mut buffer = Buffer::new();
        let mut model = Vec::new();
        for round in 1..if cfg!(miri) { 100 } else { 2000_usize } {
            let bytes = vec![round as u8; round % 97];
            buffer.extend_from_slice(&bytes);
            model.extend_from_slice(&bytes);
            assert_eq!(buffer.as_ptr() as usize % BLOCK, 0, "round {round}");
        }
        assert_eq!(&buffer[..], &model[..]);
        assert_eq!(&buffer.clone()[..], &model[..]);
    }

    #[test]
    fn padding_is_zero_even_over_old_content() {
        let mut buffer = Buffer::new();
        buffer.extend_from_slice(&[0xff; BLOCK]);
        buffer.clear();
        buffer.extend_from_slice(b"x");
        buffer.pad_to_block();
        assert_eq!(buffer.len(), BLOCK);
        assert!(buffer[1..].iter().all(|&byte| byte == 0));
        assert!(Buffer::zeroed(10_000).iter().all(|&byte| byte == 0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "millions of bytes take miri minutes")]
    fn a_huge_buffer_keeps_its_content_and_its_alignment() {
        let mut buffer = Buffer::new();
        for round in 0..5_u8 {
            buffer.extend_from_slice(&vec![round; HUGE_PAGE / 2]);
            assert_eq!(buffer.as_ptr() as usize % BLOCK, 0, "round {round}");
        }
        assert!(matches!(buffer.raw, Raw::Huge(_)) || cfg!(miri));
        for (round, part) in buffer.chunks(HUGE_PAGE / 2).enumerate() {
            assert!(part.iter().all(|&byte| byte == round as u8), "round {round}");
        }
        let zeroed = Buffer::zeroed(HUGE_PAGE);
        assert!(zeroed.len() == HUGE_PAGE && zeroed.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_large_room_can_be_given_back() {
        let mut buffer = Buffer::zeroed(100 * BLOCK);
        buffer.clear_and_shrink(200 * BLOCK);
        assert_eq!(buffer.capacity(), 100 * BLOCK);
        buffer.clear_and_shrink(BLOCK);
        assert_eq!(buffer.capacity(), 0);
    }
}
